"""How a figure is taken on a machine that others use too.

A short run of multiply-adds in registers, the peak, comes before and after each sample. Where the two differ by more
than 6 %, something else had the processor meanwhile, and the sample is dropped. The rest gives quartiles, of the rate
and of its share of the peaks around it.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from squeezeops.benchmark.variants import compiled_library, forced, isas_with, using_threads

if TYPE_CHECKING:
    from squeezeops.benchmark.cases import Case, Op
    from squeezeops.benchmark.shapes import Shape
    from squeezeops.benchmark.variants import Variant

__all__ = [
    "Figures",
    "Quartiles",
    "Result",
    "Sample",
    "bench",
    "fma_peak",
    "int8_peak",
    "machine_peaks",
    "quartiles",
    "read_peak",
    "some_memory",
    "summarize",
    "take_samples",
    "without_garbage_collection",
]

PEAK_SECONDS = 50e-6
SAMPLE_SECONDS = 200e-6  # at least; short calls are repeated
TOLERANCE = 0.06  # between the peaks before and after a sample
ENOUGH = 3  # samples accepted; for fewer a row is given more time ...
PATIENCE = 4  # ... up to so many times what it was meant to have
TRIES = 100
READ_FLOATS = 2**26  # 256 MiB


class Sample(NamedTuple):
    """A measurement: seconds of one call; the peaks around it, in operations a second, or None where there are none."""

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


class Figures(NamedTuple):
    """A summary of samples; what is None is so for want of accepted ones, or of a peak."""

    samples: int
    accepted: int
    microseconds: Quartiles | None  # of a call
    rate: Quartiles | None  # billions a second, of operations or of bytes
    peak: float | None  # the same of the machine, at the median
    share: Quartiles | None  # of the rate in the peak


class Result(NamedTuple):
    """The figures of an op at a shape on a variant."""

    op: str
    shape: Shape
    cold: bool
    threads: int
    backend: str
    isa: str | None
    dtype: str
    kernel: str
    unit: str
    flops: int
    bytes: int
    figures: Figures

    def as_dict(self) -> dict[str, Any]:
        """Return it as dictionaries, for JSON."""
        figures = {k: v._asdict() if isinstance(v, Quartiles) else v for k, v in self.figures._asdict().items()}
        return {**self._asdict(), "figures": figures}


def fma_peak(seconds: float = PEAK_SECONDS) -> float | None:
    """Measure multiply-adds on the threads and the instruction set in force, in operations a second, two each.

    None without the compiled extension.
    """
    library = compiled_library()
    return None if library is None else float(library.peak_fma(seconds))


def int8_peak(seconds: float = PEAK_SECONDS) -> float | None:
    """Measure products of bytes likewise, a product and its addition counting as two."""
    library = compiled_library()
    return None if library is None else float(library.peak_s8(seconds))


def read_peak(memory: Any, threads: int) -> float | None:
    """Measure how fast an array of float32 is read, in bytes a second; None without the compiled extension."""
    library = compiled_library()
    if library is None:
        return None
    with using_threads(threads):
        return float(library.peak_read(memory))


def some_memory() -> Any:
    """Make an array for `read_peak`, too large for a cache; None where that would not use it."""
    return None if compiled_library() is None else np.ones(READ_FLOATS, np.float32)


def machine_peaks(isas: Iterable[str], threads: int, memory: Any) -> dict[str, Any]:
    """Measure all peaks, the best of many tries.

    They are "fma", GFLOP/s by instruction set, "int8", GOP/s of products of bytes likewise, and "read", GB/s or None.
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


def take_samples(
    call: Callable[[], object],
    seconds: float,
    peak: Callable[[], float | None] = fma_peak,
    clock: Callable[[], float] = time.perf_counter,
) -> list[Sample]:
    """Time a call over and over for `seconds`, longer if few samples are accepted."""

    def time_of(calls: int) -> float:
        repeats = range(calls)
        begin = clock()
        for _ in repeats:
            call()
        return (clock() - begin) / calls

    call()  # compiles, packs, and touches memory, if it does any of that
    once = min(time_of(1) for _ in range(3))
    calls = max(1, round(SAMPLE_SECONDS / once))
    samples: list[Sample] = []
    accepted = 0
    with without_garbage_collection():
        begin = clock()
        before = peak()
        while True:
            spent = clock() - begin
            if samples and spent >= (seconds if accepted >= ENOUGH else seconds * PATIENCE):
                return samples
            duration = time_of(calls)
            after = peak()
            samples.append(Sample(duration, before, after))
            accepted += samples[-1].accepted
            before = after


@contextmanager
def without_garbage_collection() -> Iterator[None]:
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def quartiles(values: Sequence[float]) -> Quartiles | None:
    """Return the quartiles of numbers, interpolated; None of none."""
    if not values:
        return None
    if len(values) == 1:
        return Quartiles(values[0], values[0], values[0])
    p25, median, p75 = statistics.quantiles(values, n=4, method="inclusive")
    return Quartiles(p25, median, p75)


def summarize(samples: Sequence[Sample], work: int, speed: float | None = None) -> Figures:
    """Turn samples into figures.

    Parameters
    ----------
    samples : sequence of Sample
    work : int
        Operations or bytes of one call.
    speed : float, optional
        The peak in bytes a second, where `work` counts bytes. By default the peaks are those of the samples.
    """
    accepted = [sample for sample in samples if sample.accepted]
    rates = [work / sample.seconds for sample in accepted]
    peaks = [speed or sample.peak for sample in accepted]
    pairs = [(rate, peak) for rate, peak in zip(rates, peaks, strict=True) if peak]
    middle = quartiles([peak / 1e9 for _, peak in pairs])
    return Figures(
        samples=len(samples),
        accepted=len(accepted),
        microseconds=quartiles([sample.seconds * 1e6 for sample in accepted]),
        rate=quartiles([rate / 1e9 for rate in rates]),
        peak=middle and middle.median,
        share=quartiles([rate / peak for rate, peak in pairs]),
    )


def bench(
    op: Op, shape: Shape, variants: Iterable[Variant], *, threads: int, seconds: float, cold: bool, memory: Any
) -> list[Result]:
    """Measure an op at a shape on each of some variants.

    Parameters
    ----------
    op, shape : Op and Shape
        As `Op.check` returns it.
    variants : iterable of Variant
        Those that have a kernel for it.
    threads : int
    seconds : float
        For each variant.
    cold : bool
        Whether the weights of an op that has some are to be in no cache.
    memory : ndarray of float32
        An array to read, for the speed of memory; read before and after, where the op is judged by its bytes.
    """
    options = {"cold": cold} if op.has_weights else {}
    by_bytes = op.unit == "GB/s"
    taken: list[tuple[Variant, str, Case, list[Sample]]] = []
    speeds = [read_peak(memory, threads)] if by_bytes else []
    for variant in variants:
        with variant.active(), using_threads(threads):
            case = op.make(**shape, **options)
            samples = take_samples(case.call, seconds, int8_peak if op.unit == "GOP/s" else fma_peak)
            taken.append((variant, variant.kernel(), case, samples))
    speeds += [read_peak(memory, threads)] if by_bytes else []
    known = [speed for speed in speeds if speed is not None]
    speed = statistics.mean(known) if known else None
    return [
        Result(
            op=op.name,
            shape=shape,
            cold=cold and op.has_weights,
            threads=threads,
            backend=variant.backend,
            isa=variant.isa,
            dtype=op.dtype,
            kernel=kernel,
            unit=op.unit,
            flops=case.flops,
            bytes=case.bytes,
            figures=summarize(samples, case.bytes if by_bytes else case.flops, speed),
        )
        for variant, kernel, case, samples in taken
    ]
