"""The time of a forward pass by op: the model runs on a stand-in for the backend, which reads the clock at each call.

So the rows are what the model really calls, with its shapes and in its order, and no second description of the pass can
disagree with it. What is left is Python: the model's own code, checks of arguments in `squeezeops.ops`, and the clock.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from squeezeops import backends, ops
from squeezeops.benchmark.measure import (
    ENOUGH,
    PATIENCE,
    Sample,
    fma_peak,
    raw,
    take_sample,
    without_garbage_collection,
)
from squeezeops.benchmark.variants import Variant, compiled_library

__all__ = ["Call", "Profile", "Row", "profile"]

PAIRS = 30  # of passes, for what the clock adds
PUBLIC = {"run_pointwise_conv": "PointwiseConv", "run_pointwise_convs": "pointwise_convs"}  # the others are equal


class Call(NamedTuple):
    """What calls have in common that make one row."""

    op: str  # in `squeezeops.ops`
    given: str  # the shape of the first array
    result: str
    kernel: str


class _Timed:
    """The backend in force, which notes the seconds of each call; and what is called, while `calls` is a list."""

    def __init__(self, backend: backends.Backend) -> None:
        self.backend, self.times = backend, list[float]()
        self.calls: list[Call] | None = None

    # A packed convolution finds its weight by the backend.
    def __hash__(self) -> int:
        return hash(self.backend)

    def __eq__(self, other: object) -> bool:
        return other is self or other is self.backend

    def __getattr__(self, name: str) -> Any:
        value, clock, note = getattr(self.backend, name), time.perf_counter, self.times.append
        if not callable(value):
            return value

        def timed(*args: Any) -> Any:
            begin = clock()
            result = value(*args)
            note(clock() - begin)
            if self.calls is not None:
                self.calls.append(Call(PUBLIC.get(name, name), _first_shape(args), _shape(result), _kernel()))
            return result

        setattr(self, name, timed)  # the next look-up does not come here
        return timed

    @contextmanager
    def active(self) -> Iterator[None]:
        token = ops._scoped.set(self)
        try:
            yield
        finally:
            ops._scoped.reset(token)


def _shape(result: Any) -> str:
    """Write the shapes of the arrays of a result; of several results that are quantised rows, it has pairs."""
    if not isinstance(result, tuple):
        return "x".join(map(str, getattr(result, "shape", ())))
    parts = list(filter(None, map(_shape, result)))
    if len(parts) > 1 and len(set(parts)) == 1:
        return f"{len(parts)} x ({parts[0]})" if "+" in parts[0] else f"{len(parts)} x {parts[0]}"
    return "+".join(parts)


def _first_shape(args: tuple[Any, ...]) -> str:
    return next(filter(None, (_shape(value) for value in args if not isinstance(value, tuple))), "")


def _kernel() -> str:
    library, backend = compiled_library(), ops.get_backend()
    return str(library.last_kernel()) if library and backend in ("native", "cffi") else backend


class Row(NamedTuple):
    """The calls of a kind: their number and their samples, which are sums over a pass."""

    call: Call
    calls: int
    samples: list[Sample]


class Profile(NamedTuple):
    """Passes with a clock around each call, the rows of which they consist, and passes without it.

    `other` is what a pass takes besides the rows. The index of a pass is the same everywhere.
    """

    rows: list[Row]
    other: list[Sample]
    timed: list[Sample]
    alone: list[Sample]

    def seconds(self, samples: list[Sample]) -> float | None:
        """Return the mean over the fastest quarter of the accepted passes, whose parts add up; None without one."""
        passes = self.alone if samples is self.alone else self.timed
        accepted = sorted((one.seconds, i) for i, one in enumerate(passes) if one.accepted)
        fastest = [samples[i].seconds for _, i in accepted[: -(-len(accepted) // 4)]]
        return sum(fastest) / len(fastest) if fastest else None

    def cost(self) -> float | None:
        """Return what the clock adds to a pass, relatively: the median of neighbouring passes, with it and without.

        None of fewer pairs than `PAIRS`: passes differ by more than that.
        """
        pairs = zip(self.timed, self.alone, strict=True)
        ratios = [timed.seconds / alone.seconds for timed, alone in pairs if timed.accepted and alone.accepted]
        return statistics.median(ratios) - 1 if len(ratios) >= PAIRS else None

    def as_dicts(self, variant: Variant, threads: int, model: str, dtype: str, tokens: int) -> list[dict[str, Any]]:
        """Return rows for JSON, with the fields that `squeezeops.benchmark.compare` reads."""
        nothing = Call("", "", "", "")
        rows = [("forward", nothing, 1, self.alone), ("forward timed by op", nothing, 1, self.timed)]
        rows += [(row.call.op, row.call, row.calls, row.samples) for row in self.rows]
        common = {"cold": False, "threads": threads, "backend": variant.backend, "isa": variant.isa, "dtype": dtype}
        found = []
        for op, call, count, samples in [*rows, ("other", nothing, 1, self.other)]:
            shape = {"tokens": tokens, **({"given": call.given, "result": call.result} if call.op else {})}
            seconds = self.seconds(samples)
            figures = {"microseconds": seconds and 1e6 * seconds}
            which = {"op": op, "shape": shape, "model": model, **common, "kernel": call.kernel, "calls": count}
            found.append({**which, "figures": figures, "raw": raw(samples)})
        return found


def profile(call: Callable[[], object], seconds: float, peak: Callable[[], float | None] = fma_peak) -> Profile:
    """Take passes alone and passes with a clock in turn, for `seconds`, or longer if few samples are accepted."""
    timed = _Timed(ops._active())
    call()  # packs weights for this backend, and allocates
    with timed.active():
        timed.calls = []
        call()
        calls, timed.calls = timed.calls, None
    kinds = list(dict.fromkeys(calls))
    found = Profile([Row(kind, calls.count(kind), []) for kind in kinds], [], [], [])
    begin, accepted = time.perf_counter(), 0
    with without_garbage_collection():
        while not accepted or time.perf_counter() - begin < seconds * (1 if accepted >= ENOUGH else PATIENCE):
            if len(found.timed) >= ENOUGH and time.perf_counter() - begin > seconds * PATIENCE:
                break
            found.alone.append(take_sample(call, 1, peak))
            timed.times.clear()
            with timed.active():
                sample = take_sample(call, 1, peak)
            sums = dict.fromkeys(kinds, 0.0)
            for kind, duration in zip(calls, timed.times, strict=True):
                sums[kind] += duration
            for row in found.rows:
                row.samples.append(sample._replace(seconds=sums[row.call]))
            found.timed.append(sample)
            found.other.append(sample._replace(seconds=sample.seconds - sum(sums.values())))
            accepted += sample.accepted
    return found
