"""Runs the cases: starts the libraries, compares their results, takes the samples, builds the rows of the tables."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from bench import model
from bench.cases import Forward, OpCase, one_by_one, padded
from bench.libraries import DEFAULT_PEERS, HELD_TO, INT8_PEERS, OURS, OURS_FLOAT32, Inputs
from bench.pairs import best_peer, over_floor, ratio, take_rounds, wanted_pairs
from bench.worker import Missing, Prepared, Worker
from squeezeops.benchmark.against import largest_difference
from squeezeops.benchmark.measure import Sample, as_dict, calls_for, quartiles, summarize

AGREEMENT = 1e-4  # of float32 results
LEAST_COSINE = {"float16": 0.999, "int8": 0.9, "default": 0.9}  # of each row with float32
PAUSE = 0.02  # seconds, with several threads: the thread pools of other libraries keep spinning for a while
WARM_BELOW = 0.02  # seconds; a shorter call follows an untimed one
READ_SECONDS = 2.0  # between measurements of the read bandwidth
CHOOSING_ROUNDS = 5  # to find the fastest form of a peer


class Disagreement(RuntimeError):
    """Libraries that do not compute the same."""


class Libraries:
    """The workers for one number of threads, without the libraries that are missing.

    `isa` is the ISA that our kernels are held to.
    """

    def __init__(self, names: Iterable[str], threads: int, isa: str = "") -> None:
        self.threads = threads
        self.workers: dict[str, Worker] = {}
        self.missing: dict[str, str] = {}  # reasons
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
        """Return a function that samples what a worker has prepared under `key`.

        Its peaks are int8 products if `int8`, else float multiply-adds.
        """
        worker, calls, pause = self.workers[name], calls_for(once), PAUSE if self.threads > 1 else 0.0
        return lambda: Sample(*worker.ask("sample", key, calls, once < WARM_BELOW, pause, int8))

    def race(
        self,
        entrants: dict[str, tuple[Any, Prepared, bool]],
        pairs: int | None,
        limit: float,
        between: Callable[[], None] = lambda: None,
    ) -> dict[str, list[Sample]]:
        """Sample in turn what the workers have prepared, and release it.

        `entrants` has the key, what was prepared under it, and whether its peak is that of int8 products. `pairs` is
        the number of accepted pairs per peer; None derives it from the duration of our call. After `limit` seconds no
        new round begins.
        """
        takers = {name: self.sampler(name, key, ready.once, int8) for name, (key, ready, int8) in entrants.items()}
        takers = {OURS: takers[OURS], **takers}
        samples = take_rounds(takers, OURS, pairs or wanted_pairs(entrants[OURS][1].once), limit, between)
        for name in entrants:
            self.workers[name].ask("keep", None)
        return samples


class ReadSpeed:
    """The read bandwidth, measured every `READ_SECONDS` between samples."""

    def __init__(self, worker: Worker) -> None:
        self.worker, self.next = worker, 0.0
        self.speeds: list[float] = []

    def __call__(self) -> None:
        if time.monotonic() >= self.next:
            self.measure()

    def measure(self) -> None:
        speed = self.worker.ask("read_peak")
        self.speeds += [speed] if speed else []
        self.next = time.monotonic() + READ_SECONDS

    def median(self) -> float | None:
        middle = quartiles(self.speeds)
        return middle and middle.median


# ---- results agree ---------------------------------------------------------------------------------------------------


def rows_of(results: Sequence[Any], inputs: Sequence[Inputs], task: str) -> Any:
    """Return the rows to compare: logits, or the hidden states of attended tokens, text after text."""
    if task != "base":
        return np.concatenate(list(results))
    rows = []
    for y, (ids, mask) in zip(results, inputs, strict=True):
        for row in range(len(ids)):
            rows.append(y[row] if mask is None else y[row][: int(mask[row].sum())])
    return np.concatenate(rows)


def cosines(expected: Any, found: Any) -> dict[str, float]:
    """Return the mean and the worst cosine of corresponding rows; NaN if the shapes differ, or if there is a NaN."""
    if expected.shape != found.shape:
        return {"mean": float("nan"), "worst": float("nan")}
    x, y = expected.astype(np.float64), found.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        of_rows = (x * y).sum(-1) / np.sqrt((x * x).sum(-1) * (y * y).sum(-1))
    return {"mean": float(of_rows.mean()), "worst": float(of_rows.min())}


def compare(case: str, name: str, dtype: str, expected: Any, found: Any) -> dict[str, Any]:
    """Compare results in a dtype with those in float32. Return the error, as a row of results has it."""
    if dtype == "float32":
        return {"difference": agree(case, name, expected, found)}
    cosine, least = cosines(expected, found), LEAST_COSINE[dtype]
    if not cosine["worst"] >= least:
        raise Disagreement(f"{case}: {name}: cosine with float32 {cosine['worst']:.3g}, less than {least}")
    return {"difference": largest_difference(expected, found), "cosine": cosine}


def agree(case: str, name: str, ours: Any, theirs: Any) -> float:
    difference = largest_difference(ours, theirs)
    if difference > AGREEMENT:
        raise Disagreement(f"{case}: {name} differs from squeezeops by {difference:.3g}, more than {AGREEMENT}")
    return difference


# ---- rows of results -------------------------------------------------------------------------------------------------


def run_forward(
    libraries: Libraries, case: Forward, *, pairs: int | None, limit: float, choose: bool
) -> dict[str, Any]:
    """Measure a forward pass and return its row. Raises Disagreement if a peer's results differ.

    `pairs` and `limit` are those of `Libraries.race`. `choose` tries every form of a peer, instead of the first only.
    """
    lengths = case.lengths
    batch = [padded(lengths)]
    texts = one_by_one(lengths) if case.against == "each" else batch
    dtypes = dtypes_of(libraries, case)
    shapes = len({item.ids.shape for item in texts})
    mean = sum(item.ids.size for item in texts) // len(texts)
    expected = None
    entrants: dict[str, tuple[Any, Prepared, bool]] = {}
    errors: dict[str, dict[str, Any]] = {}
    for name, dtype in dtypes.items():
        worker, int8 = libraries.workers[name], dtype == "int8"
        if name in (OURS, OURS_FLOAT32):
            given, forms = batch, ["ragged" if dtype == "float32" else f"ragged-{dtype}"]
        else:
            given, forms = texts, worker.ask("forms", mean, shapes)
        tried: dict[str, Prepared] = {}
        errors_of: dict[str, dict[str, Any]] = {}
        for form in forms if choose else forms[:1]:
            tried[form] = worker.ask("forward", form, case.task, given)
            found = rows_of(tried[form].result, given, case.task)
            if expected is None:  # the first library is ours in float32
                expected = found
            else:
                errors_of[form] = compare(case.describe(), name, dtype, expected, found)
        if tried:
            form = fastest(libraries, name, {form: prepared.once for form, prepared in tried.items()}, int8)
            worker.ask("keep", ("forward", form))
            entrants[name] = ("forward", form), tried[form], int8
            errors[name] = errors_of.get(form, {})
    read = ReadSpeed(libraries.workers[OURS])
    samples = libraries.race(entrants, pairs, limit, between=read)
    read.measure()
    work, speed = model.flops(lengths), read.median()
    facts = {"flops": work, "bytes": model.weight_bytes(case.dtype), "read": speed}
    row = {"case": case.fields(), **facts, **table_row(samples, work)}
    for name, figures in row["libraries"].items():
        (_, figures["form"]), prepared, _ = entrants[name]
        figures["loading"] = prepared.loading
        if dtypes[name] != "float32":
            figures["dtype"] = dtypes[name]
        if dtypes[name] == "default":  # what it reads is not known
            figures["precision"] = libraries.workers[name].ask("precision")
        elif speed and figures["seconds"]:
            moved = model.weight_bytes(dtypes[name])
            figures["of_read"] = moved / figures["seconds"]["median"] / speed
            figures["over_traffic"] = 1 / figures["of_read"]
            figures["over_floor"] = as_dict(over_floor(samples[name], work, moved, speed))
        figures |= errors[name]
    return row


def dtypes_of(libraries: Libraries, case: Forward) -> dict[str, str]:
    """Return the libraries of a case and the dtype each computes in. The first is ours in float32."""
    ours = [name for name in (OURS_FLOAT32, OURS) if name in libraries.workers]
    names = dict.fromkeys([*ours, *(libraries.peers() if case.against else ())])
    peers = {**dict.fromkeys(INT8_PEERS, "int8"), **dict.fromkeys(DEFAULT_PEERS, "default")}
    return {name: case.dtype if name == OURS else peers.get(name, "float32") for name in names}


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
    """Measure an op, like `run_forward`."""
    entrants: dict[str, tuple[Any, Prepared, bool]] = {}
    for name, worker in libraries.workers.items():
        if name in HELD_TO and case.op.name != "pointwise_conv":
            continue
        prepared = worker.ask("op", case.op.name, case.shape, case.cold)
        if prepared is not None:
            entrants[name] = ("op", case.cold), prepared, case.op.int8
    for name, (_, prepared, _) in entrants.items():
        if name not in (OURS, "memcpy"):
            agree(case.describe(), name, entrants[OURS][1].result, prepared.result)
    samples = libraries.race(entrants, pairs, limit)
    made = case.op.make(**case.shape, cold=False, function=None)
    row = {"case": case.fields(), "flops": made.flops, "bytes": made.bytes, **table_row(samples, made.flops)}
    if case.op.name == "gelu":
        elements = int(case.shape["tokens"]) * int(case.shape["channels"])
        for figures in row["libraries"].values():
            if figures["seconds"]:
                figures["gigaelements"] = elements / figures["seconds"]["median"] / 1e9
    return row


def table_row(samples: dict[str, list[Sample]], work: int) -> dict[str, Any]:
    """Return the figures that both tables have."""
    figures = {}
    for name, taken in samples.items():
        found = as_dict(summarize(taken, work))
        figures[name] = {key: found[key] for key in ("seconds", "samples", "accepted", "peak", "share")}
    ratios = {name: as_dict(ratio(samples[OURS], taken)) for name, taken in samples.items() if name != OURS}
    return {"libraries": figures, "ratios": ratios, "best": best_peer(ratios)}


def note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
