"""Runs the cases: starts the libraries, compares their results, takes the samples, makes the rows of the tables."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from bench import model
from bench.inputs import one_by_one, padded
from bench.libraries import HELD_TO, INT8_PEERS, OURS, OURS_FLOAT32, Inputs
from bench.pairs import as_dict, best_peer, over_floor, ratio, shares, take_rounds, wanted_pairs
from bench.shapes import Forward, OpCase
from bench.worker import Missing, Prepared, Worker
from squeezeops.benchmark.cases import op_of
from squeezeops.benchmark.measure import Sample, quartiles

__all__ = ["Disagreement", "Libraries", "cosines", "largest_difference", "run_forward", "run_op"]

AGREEMENT = 1e-4  # of float32; what is rounded further has a cosine with float32, row by row, of at least
LEAST_COSINE = {"float16": 0.999, "int8": 0.9}
PAUSE = 0.02  # seconds, with several threads: the pools of the others spin for a while
SAMPLE_SECONDS = 200e-6  # at least; short calls are repeated
WARM_BELOW = 0.02  # seconds of a call that is preceded by an untimed one
READ_SECONDS = 2.0  # between measurements of the read bandwidth
CHOOSING_ROUNDS = 5  # for the fastest form of a peer


class Disagreement(RuntimeError):
    """Libraries that do not compute the same."""


class Libraries:
    """The workers of one number of threads; those that cannot be had are left out.

    Parameters
    ----------
    names : iterable of str
    threads : int
    isa : str, optional
        The instruction set that our kernels are held to.

    Attributes
    ----------
    workers : dict of str to Worker
    missing : dict of str to str
        Why one is not there.
    versions : dict of str to str
    """

    def __init__(self, names: Iterable[str], threads: int, isa: str = "") -> None:
        self.threads = threads
        self.workers: dict[str, Worker] = {}
        self.missing: dict[str, str] = {}
        self.versions: dict[str, str] = {}
        cpus = sorted(os.sched_getaffinity(0))[:threads] if hasattr(os, "sched_getaffinity") else []
        for name in names:
            worker = Worker(name, threads, cpus, isa=HELD_TO.get(name, isa))
            try:
                self.versions[name] = worker.ask("start")
                self.workers[name] = worker
            except Missing as error:
                worker.close()
                if name == OURS:
                    self.__exit__()
                    raise
                self.missing[name] = str(error)

    def __enter__(self) -> Libraries:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers.values():
            worker.close()

    def peers(self) -> list[str]:
        return [name for name in self.workers if name != OURS]

    def sampler(self, name: str, key: Any, once: float, int8: bool = False) -> Callable[[], Sample]:
        """Return a function that takes a sample of what a worker has prepared under `key`.

        The peaks around it are of products of bytes if `int8`, else of multiply-adds.
        """
        calls = max(1, round(SAMPLE_SECONDS / max(once, 1e-9)))
        pause = PAUSE if self.threads > 1 else 0.0
        worker = self.workers[name]
        return lambda: Sample(*worker.ask("sample", key, calls, once < WARM_BELOW, pause, int8))


class ReadSpeed:
    """The read bandwidth, measured now and then among the samples."""

    def __init__(self, worker: Worker, clock: Callable[[], float] = time.monotonic) -> None:
        self.worker, self.clock = worker, clock
        self.speeds: list[float] = []
        self.next = clock()

    def __call__(self) -> None:
        """Measure it, if that was not done a moment ago."""
        if self.clock() >= self.next:
            self.measure()

    def measure(self) -> None:
        speed = self.worker.ask("read_peak")
        self.speeds += [speed] if speed else []
        self.next = self.clock() + READ_SECONDS

    def median(self) -> float | None:
        middle = quartiles(self.speeds)
        return middle and middle.median


def rows_of(results: Sequence[Any], inputs: Sequence[Inputs], task: str) -> Any:
    """The rows to compare: of hidden states those of attended tokens, text after text."""
    if task != "base":
        return np.concatenate(list(results))
    rows = []
    for y, (ids, mask) in zip(results, inputs, strict=True):
        for row in range(len(ids)):
            rows.append(y[row] if mask is None else y[row][: int(mask[row].sum())])
    return np.concatenate(rows)


def largest_difference(ours: Any, theirs: Any) -> float:
    """The largest difference of two results, relative to the larger of 1 and the largest magnitude of ours.

    Infinite for results of different shapes, or with a NaN.
    """
    if ours.shape != theirs.shape:
        return float("inf")
    with np.errstate(invalid="ignore"):
        difference = float(np.abs(ours.astype(np.float64) - theirs).max(initial=0.0))
    return difference / max(1.0, float(np.abs(ours).max(initial=0.0))) if difference == difference else float("inf")


def cosines(expected: Any, found: Any) -> dict[str, float]:
    """The cosines of rows with those expected, by mean and worst; NaN for what is no number or of another shape."""
    if expected.shape != found.shape:
        return {"mean": float("nan"), "worst": float("nan")}
    x, y = expected.astype(np.float64), found.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        of_rows = (x * y).sum(-1) / np.sqrt((x * x).sum(-1) * (y * y).sum(-1))
    return {"mean": float(of_rows.mean()), "worst": float(of_rows.min())}


class Error(NamedTuple):
    """How far results are from those of float32; `cosine` is of results that are rounded further."""

    difference: float
    cosine: dict[str, float] | None = None


def compare(case: str, name: str, dtype: str, expected: Any, found: Any) -> Error:
    """Hold what a library that computes in a dtype has found against the results in float32."""
    if dtype == "float32":
        return Error(agree(case, name, expected, found))
    cosine, least = cosines(expected, found), LEAST_COSINE[dtype]
    if not cosine["worst"] >= least:
        raise Disagreement(f"{case}: {name}: cosine with float32 {cosine['worst']:.3g}, less than {least}")
    return Error(largest_difference(expected, found), cosine)


def agree(case: str, name: str, ours: Any, theirs: Any) -> float:
    difference = largest_difference(ours, theirs)
    if difference > AGREEMENT:
        raise Disagreement(f"{case}: {name} differs from squeezeops by {difference:.3g}, more than {AGREEMENT}")
    return difference


def run_forward(
    libraries: Libraries, case: Forward, *, pairs: int | None, limit: float, choose: bool
) -> dict[str, Any]:
    """Measure a forward pass.

    Parameters
    ----------
    libraries : Libraries
    case : Forward
    pairs : int or None
        Accepted pairs to take with each peer; None for as many as its duration asks for.
    limit : float
        Seconds after which no further round begins.
    choose : bool
        Whether to try every form of a peer; the first otherwise.

    Raises
    ------
    Disagreement
        If a peer's results differ.
    """
    lengths = case.lengths
    batch = [padded(lengths)]
    texts = one_by_one(lengths) if case.against == "each" else batch
    dtypes = dtypes_of(libraries, case)
    shapes = len({item.ids.shape for item in texts})
    mean = sum(item.ids.size for item in texts) // len(texts)
    expected = None
    chosen: dict[str, tuple[str, Prepared]] = {}
    errors: dict[str, Error] = {}
    for name, dtype in dtypes.items():
        worker = libraries.workers[name]
        if name in (OURS, OURS_FLOAT32):
            given, known = batch, ["ragged" if dtype == "float32" else f"ragged-{dtype}"]
        else:
            given, known = texts, worker.ask("forms", mean, shapes)
        tried: dict[str, Prepared] = {}
        errors_of = {}
        for form in known if choose else known[:1]:
            tried[form] = worker.ask("forward", form, case.task, given)
            found = rows_of(tried[form].result, given, case.task)
            if expected is None:  # the first is our own in float32
                expected = found
            else:
                errors_of[form] = compare(case.describe(), name, dtype, expected, found)
        if tried:
            times = {form: prepared.once for form, prepared in tried.items()}
            form = fastest(libraries, name, times, int8=dtype == "int8")
            worker.ask("keep", ("forward", form))
            chosen[name] = form, tried[form]
            if form in errors_of:
                errors[name] = errors_of[form]
    read = ReadSpeed(libraries.workers[OURS])
    takers = {
        name: libraries.sampler(name, ("forward", form), prepared.once, dtypes[name] == "int8")
        for name, (form, prepared) in chosen.items()
    }
    takers = {OURS: takers[OURS], **takers}
    wanted = pairs or wanted_pairs(chosen[OURS][1].once)
    samples = take_rounds(takers, OURS, wanted, limit, read)
    read.measure()
    for name in chosen:
        libraries.workers[name].ask("keep", None)
    work, speed = model.flops(lengths), read.median()
    row = {
        "case": case.fields(),
        "flops": work,
        "bytes": model.weight_bytes(case.dtype),
        "read": speed,
        **table_row(samples, work),
    }
    for name, figures in row["libraries"].items():
        figures["form"], figures["loading"] = chosen[name][0], chosen[name][1].loading
        if dtypes[name] != "float32":
            figures["dtype"] = dtypes[name]
        if speed and figures["seconds"]:
            moved = model.weight_bytes(dtypes[name])
            figures["of_read"] = moved / figures["seconds"]["median"] / speed
            figures["over_traffic"] = 1 / figures["of_read"]
            figures["over_floor"] = as_dict(over_floor(samples[name], work, moved, speed))
        if name in errors:
            figures["difference"] = errors[name].difference
            if errors[name].cosine:
                figures["cosine"] = errors[name].cosine
    return row


def dtypes_of(libraries: Libraries, case: Forward) -> dict[str, str]:
    """The libraries that a case is measured with, and what each computes in; the first is ours in float32."""
    names = [name for name in (OURS_FLOAT32, OURS) if name in libraries.workers]
    if case.against:
        names += [name for name in libraries.peers() if name not in names]
    return {name: case.dtype if name == OURS else "int8" if name in INT8_PEERS else "float32" for name in names}


def fastest(libraries: Libraries, name: str, forms: dict[str, float], int8: bool = False) -> str:
    """Return the form with the lowest median of a few alternating samples."""
    if len(forms) == 1:
        return next(iter(forms))
    takers = {form: libraries.sampler(name, ("forward", form), once, int8) for form, once in forms.items()}
    rounds = 2 if min(forms.values()) > 1 else CHOOSING_ROUNDS
    times: dict[str, list[float]] = {form: [] for form in forms}
    for _ in range(rounds):
        for form, take in takers.items():
            times[form].append(take().seconds)
    return min(times, key=lambda form: sorted(times[form])[rounds // 2])


def run_op(libraries: Libraries, case: OpCase, *, pairs: int | None, limit: float) -> dict[str, Any]:
    """Measure an op; arguments and errors as for `run_forward`."""
    key = ("op", case.cold)
    done: dict[str, Prepared] = {}
    for name, worker in libraries.workers.items():
        if name == "avx2" and case.op != "pointwise_conv":
            continue
        prepared = worker.ask("op", case.op, case.shape, case.cold)
        if prepared is not None:
            done[name] = prepared
    for name, prepared in done.items():
        if name not in (OURS, "memcpy"):
            agree(case.describe(), name, done[OURS].result, prepared.result)
    int8 = op_of(case.op).unit == "GOP/s"
    takers = {name: libraries.sampler(name, key, prepared.once, int8) for name, prepared in done.items()}
    samples = take_rounds(takers, OURS, pairs or wanted_pairs(0), limit)
    for name in done:
        libraries.workers[name].ask("keep", None)
    op = op_of(case.op)
    made = op.make(**case.shape)
    row = {
        "case": {"op": case.op, **case.shape, "cold": int(case.cold)},
        "flops": made.flops,
        "bytes": made.bytes,
        **table_row(samples, made.flops),
    }
    if case.op == "gelu":
        elements = int(case.shape["tokens"]) * int(case.shape["channels"])
        for figures in row["libraries"].values():
            if figures["seconds"]:
                figures["gigaelements"] = elements / figures["seconds"]["median"] / 1e9
    return row


def table_row(samples: dict[str, list[Sample]], work: int) -> dict[str, Any]:
    """The figures that both tables have."""
    figures = {}
    for name, taken in samples.items():
        accepted = [sample for sample in taken if sample.accepted]
        peaks = quartiles([sample.peak for sample in accepted if sample.peak])
        figures[name] = {
            "seconds": as_dict(quartiles([sample.seconds for sample in accepted])),
            "samples": len(taken),
            "accepted": len(accepted),
            "peak": peaks and peaks.median,
            "share": as_dict(shares(taken, work)) if work else None,
        }
    ratios = {name: as_dict(ratio(samples[OURS], taken)) for name, taken in samples.items() if name != OURS}
    return {"libraries": figures, "ratios": ratios, "best": best_peer(ratios)}


def note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
