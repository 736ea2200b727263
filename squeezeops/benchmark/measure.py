"""The harness: how a sample is taken on a shared machine, when it counts, and how samples become figures.

Other processes change the processor's speed within seconds. So a short loop of multiply-adds in registers, the peak,
runs before and after each sample. If the two differ by more than 6 %, something else used the processor meanwhile, and
the sample is dropped. The accepted samples give quartiles, of the rate and of its share of the peaks around it.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from squeezeops.benchmark.variants import compiled_library, forced, isas_with, using_threads

if TYPE_CHECKING:
    from squeezeops.benchmark.cases import Case, Op, Shape
    from squeezeops.benchmark.counters import Counters
    from squeezeops.benchmark.variants import Variant

__all__ = [
    "Figures",
    "Quartiles",
    "Result",
    "Sample",
    "as_dict",
    "bench",
    "calls_for",
    "fma_peak",
    "int8_peak",
    "machine_peaks",
    "prime",
    "quartiles",
    "raw",
    "read_peak",
    "some_memory",
    "summarize",
    "take_sample",
    "take_samples",
    "without_garbage_collection",
]

PEAK_SECONDS = 50e-6
SAMPLE_SECONDS = 200e-6  # minimum; shorter calls are repeated
TOLERANCE = 0.06  # between the peaks before and after a sample
ENOUGH = 3  # accepted samples; a row with fewer gets more time ...
PATIENCE = 4  # ... up to this multiple of its own
TRIES = 100
READ_FLOATS = 2**26  # 256 MiB


class Sample(NamedTuple):
    """Seconds per call, and the peaks before and after in operations per second; None where there is no peak."""

    seconds: float
    before: float | None
    after: float | None

    @property
    def accepted(self) -> bool:
        if self.before is None or self.after is None:
            return True
        return abs(self.before - self.after) <= TOLERANCE * max(self.before, self.after)

    @property
    def peak(self) -> float | None:
        return None if self.before is None or self.after is None else (self.before + self.after) / 2


class Quartiles(NamedTuple):
    p25: float
    median: float
    p75: float

    def scaled(self, factor: float) -> Quartiles:
        return Quartiles(*(factor * value for value in self))


class Figures(NamedTuple):
    """A summary of samples. A figure is None if no sample was accepted, or if it needs a peak and there is none."""

    samples: int
    accepted: int
    seconds: Quartiles | None  # per call
    rate: Quartiles | None  # operations or bytes per second
    peak: float | None  # of the machine, in the same unit, at the median
    share: Quartiles | None  # rate / peak


class Result(NamedTuple):
    """The figures of an op at a shape on a variant."""

    op: Op
    shape: Shape
    cold: bool
    threads: int
    variant: Variant
    kernel: str
    case: Case
    figures: Figures
    taken: Sequence[Sample] = ()
    counts: Mapping[str, float | None] = {}  # instructions and cycles of a call, where they can be counted

    def as_dict(self) -> dict[str, Any]:
        """Return nested dictionaries for JSON, in microseconds and in billions per second.

        `raw` has the time of each sample and its two peaks.
        """
        f = self.figures
        figures = {
            "samples": f.samples,
            "accepted": f.accepted,
            "microseconds": f.seconds and f.seconds.scaled(1e6),
            "rate": f.rate and f.rate.scaled(1e-9),
            "peak": f.peak and f.peak / 1e9,
            "share": f.share,
        }
        return {
            "op": self.op.name,
            "shape": self.shape,
            "cold": self.cold,
            "threads": self.threads,
            "backend": self.variant.backend,
            "isa": self.variant.isa,
            "dtype": self.op.dtype,
            "kernel": self.kernel,
            "unit": self.op.unit,
            "flops": self.case.flops,
            "bytes": self.case.bytes,
            **self.counts,
            "figures": {name: as_dict(value) for name, value in figures.items()},
            "raw": raw(self.taken),
        }


def raw(samples: Iterable[Sample]) -> list[list[float | None]]:
    """Return samples for JSON, in microseconds and billions per second, to six digits."""
    factors = 1e6, 1e-9, 1e-9
    return [
        [None if value is None else float(f"{value * factor:.6g}") for value, factor in zip(s, factors, strict=True)]
        for s in samples
    ]


def as_dict(value: Any) -> Any:
    """Turn named tuples into dictionaries, at every level."""
    if hasattr(value, "_asdict"):
        return {name: as_dict(item) for name, item in value._asdict().items()}
    return value


# ---- peaks -----------------------------------------------------------------------------------------------------------


def fma_peak(seconds: float = PEAK_SECONDS) -> float | None:
    """Measure multiply-adds on the current threads and ISA, in operations per second, two each.

    None without the compiled extension.
    """
    library = compiled_library()
    return None if library is None else float(library.peak_fma(seconds))


def int8_peak(seconds: float = PEAK_SECONDS) -> float | None:
    """Measure int8 products in the same way; a product and its addition count as two operations."""
    library = compiled_library()
    return None if library is None else float(library.peak_s8(seconds))


def read_peak(memory: Any, threads: int) -> float | None:
    """Measure how fast an array of float32 is read, in bytes per second; None without the compiled extension."""
    library = compiled_library()
    if library is None:
        return None
    with using_threads(threads):
        return float(library.peak_read(memory))


def some_memory() -> Any:
    """Return an array for `read_peak` that is larger than any cache; None without the compiled extension."""
    if compiled_library() is None:
        return None
    import numpy as np

    return np.ones(READ_FLOATS, np.float32)


def machine_peaks(isas: Iterable[str], threads: int, memory: Any) -> dict[str, Any]:
    """Measure all peaks, each the best of many tries.

    Returns "fma" in GFLOP/s by ISA, "int8" in GOP/s by ISA, and "read" in GB/s or None.
    """
    isas = list(isas)

    def best_of(peak: Callable[[], float | None], dtype: str) -> dict[str, float]:
        rates = {}
        for isa in isas_with(dtype, isas):
            with forced(isa):
                best = max(filter(None, (peak() for _ in range(TRIES))), default=None)
            if best is not None:
                rates[isa] = best / 1e9
        return rates

    with using_threads(threads):
        fma, int8 = best_of(fma_peak, "f32"), best_of(int8_peak, "s8")
    read = read_peak(memory, threads)
    return {"threads": threads, "fma": fma, "int8": int8, "read": read and read / 1e9}


# ---- samples ---------------------------------------------------------------------------------------------------------


@contextmanager
def without_garbage_collection() -> Iterator[None]:
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _seconds(call: Callable[[], object], calls: int, clock: Callable[[], float]) -> float:
    repeats = range(calls)
    begin = clock()
    for _ in repeats:
        call()
    return (clock() - begin) / calls


def prime(call: Callable[[], Any], clock: Callable[[], float] = time.perf_counter) -> tuple[Any, float]:
    """Return the result of a first call, which may compile and touch memory, and the seconds of a later one."""
    result = call()
    times: list[float] = []
    while len(times) < 3 and sum(times) <= 1:
        times.append(_seconds(call, 1, clock))
    return result, min(times)


def calls_for(once: float) -> int:
    """Return how many calls make a sample, if one takes `once` seconds."""
    return max(1, round(SAMPLE_SECONDS / max(once, 1e-9)))


def take_sample(
    call: Callable[[], object],
    calls: int,
    peak: Callable[[], float | None],
    *,
    before: float | None = None,
    warm: bool = False,
    settle: Callable[[], object] = lambda: None,
    clock: Callable[[], float] = time.perf_counter,
) -> Sample:
    """Time `calls` calls between two peaks.

    `before` is the first peak, if it has just been measured. `warm` adds an untimed call. `settle` is called before the
    second peak.
    """
    if before is None:
        before = peak()
    if warm:
        call()
    seconds = _seconds(call, calls, clock)
    settle()
    return Sample(seconds, before, peak())


def take_samples(
    call: Callable[[], object],
    seconds: float,
    peak: Callable[[], float | None] = fma_peak,
    clock: Callable[[], float] = time.perf_counter,
) -> list[Sample]:
    """Sample a call for `seconds`, or longer if few samples are accepted."""
    calls = calls_for(prime(call, clock)[1])
    samples: list[Sample] = []
    accepted, before = 0, None
    with without_garbage_collection():
        begin = clock()
        while not samples or clock() - begin < (seconds if accepted >= ENOUGH else seconds * PATIENCE):
            samples.append(take_sample(call, calls, peak, before=before, clock=clock))
            accepted += samples[-1].accepted
            before = samples[-1].after
    return samples


# ---- figures ---------------------------------------------------------------------------------------------------------


def quartiles(values: Sequence[float]) -> Quartiles | None:
    """Return the interpolated quartiles; None if there are no values."""
    if len(values) < 2:
        return Quartiles(values[0], values[0], values[0]) if values else None
    return Quartiles(*statistics.quantiles(values, n=4, method="inclusive"))


def summarize(samples: Sequence[Sample], work: float, speed: float | None = None) -> Figures:
    """Summarise samples of a call that does `work`, in operations or bytes; 0 if there is no rate to tell.

    `speed` is the peak in bytes per second, if `work` counts bytes. By default each sample has its own peak.
    """
    accepted = [sample for sample in samples if sample.accepted]
    peaks = [(sample, speed or sample.peak) for sample in accepted]
    known = [(sample, peak) for sample, peak in peaks if peak]
    middle = quartiles([peak for _, peak in known])
    return Figures(
        samples=len(samples),
        accepted=len(accepted),
        seconds=quartiles([sample.seconds for sample in accepted]),
        rate=quartiles([work / sample.seconds for sample in accepted]) if work else None,
        peak=middle and middle.median,
        share=quartiles([work / sample.seconds / peak for sample, peak in known]) if work else None,
    )


def bench(
    op: Op,
    shape: Shape,
    variants: Iterable[Variant],
    *,
    threads: int,
    seconds: float,
    cold: bool,
    memory: Any,
    counters: Counters | None = None,
) -> list[Result]:
    """Measure an op at a shape, checked by `Op.check`, on variants that have a kernel for it.

    Each variant gets `seconds`. `cold` asks for weights, if the op has any, that are in no cache. `memory` is for
    `read_peak`, which is measured before and after if the rate counts bytes. `counters` count with one thread alone, as
    they are those of the caller.
    """
    by_bytes, options = op.unit == "GB/s", (op, shape, cold and op.has_weights, threads)
    taken: list[tuple[Variant, str, Case, list[Sample], Mapping[str, float | None]]] = []
    speeds = [read_peak(memory, threads)] if by_bytes else []
    for variant in variants:
        with variant.active(), using_threads(threads):
            case = op.make(**shape, cold=cold, function=variant.function)
            samples = take_samples(case.call, seconds, int8_peak if op.int8 else fma_peak)
            counts: Mapping[str, float | None] = dict.fromkeys(counters.names) if counters else {}
            if counters and threads == 1:
                counts = counters.count(case.call, calls_for(min(sample.seconds for sample in samples)))
            taken.append((variant, variant.kernel(), case, samples, counts))
    speeds += [read_peak(memory, threads)] if by_bytes else []
    known = [speed for speed in speeds if speed is not None]
    speed = statistics.mean(known) if known else None
    return [
        Result(
            *options,
            variant,
            kernel,
            case,
            summarize(samples, case.bytes if by_bytes else case.flops, speed),
            samples,
            counts,
        )
        for variant, kernel, case, samples, counts in taken
    ]
