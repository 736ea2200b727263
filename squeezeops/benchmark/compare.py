"""Two files of ``squeezeops bench --json``: which rows differ by more than chance, by the test of Mann and Whitney.

H. B. Mann, D. R. Whitney, "On a test of whether one of two random variables is stochastically larger than the other",
Annals of Mathematical Statistics 18 (1947). A test of ranks needs no assumption about how times are distributed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import IO, Any, NamedTuple

import numpy as np

from squeezeops.benchmark.cases import describe
from squeezeops.benchmark.measure import Sample
from squeezeops.squeezebert.files.checks import fail_for, parse_json
from squeezeops.squeezebert.files.limits import MAX_JSON

__all__ = ["Line", "compare", "differences_of_machines", "in_blocks", "mann_whitney", "read_results"]

LEVEL = 0.01  # of all rows together
LEAST = 0.02  # relative difference of medians that is worth a verdict: less differs from process to process
BLOCKS = 20  # of samples, on each side
FASTER, SLOWER, SAME, ONE_SIDE = "faster", "slower", "no difference", "only in {}"


def mann_whitney(a: Sequence[float], b: Sequence[float]) -> float:
    """Return the two-sided p value of the hypothesis that a and b come from one distribution, ties included.

    It is exact: of all ways to divide the ranks, the share whose rank sum is at least as far from the mean. That takes
    (len(a) + len(b))^4 steps, so it is for tens of values.
    """
    n, both = len(a), len(a) + len(b)
    if not 0 < n < both:
        raise ValueError(f"mann_whitney: expected values on both sides, got {n} and {both - n}")
    _, group, sizes = np.unique([*a, *b], return_inverse=True, return_counts=True)
    doubled = (2 * np.cumsum(sizes) - sizes + 1)[group]  # twice the ranks: equal values share the mean one
    total = int(doubled.sum())
    ways = np.zeros((n + 1, total + 1))  # of choosing so many ranks with that sum
    ways[0, 0] = 1
    for rank in doubled:
        ways[1:, rank:] += ways[:-1, : total + 1 - rank].copy()
    off = np.abs(np.arange(total + 1) - n * (both + 1))
    return float(ways[n][off >= off[doubled[:n].sum()]].sum() / ways[n].sum())


def in_blocks(times: Sequence[float]) -> list[float]:
    """Return the medians of up to `BLOCKS` blocks of neighbouring samples.

    What slows down a sample on a shared machine slows down its neighbours too, and the test needs independent values.
    """
    return [float(np.median(block)) for block in np.array_split(times, min(BLOCKS, len(times)))]


# ---- files -----------------------------------------------------------------------------------------------------------


def read_results(name: str, file: IO[bytes]) -> dict[str, Any]:
    """Read the results of ``squeezeops bench --json`` from an open file. Raises ValueError, which names it."""
    content = file.read(MAX_JSON + 1)
    if len(content) > MAX_JSON:
        fail_for(name)("file", f"at most {MAX_JSON} bytes", "more")
    report = parse_json(content, "file", fail_for(name))
    expected = f"{name}: expected results of squeezeops bench --json"
    try:
        rows = {_key(row): row for row in report["results"]}
        report["machine"].items()
    except (AttributeError, KeyError, TypeError):
        raise ValueError(f"{expected}, got something else") from None
    if not all("raw" in row for row in rows.values()):
        raise ValueError(f"{expected} with raw samples, got those of an older version: measure again")
    for key, row in rows.items():
        try:
            samples = [Sample(float(us), before, after) for us, before, after in row["raw"]]
            row["accepted"] = [sample.seconds for sample in samples if sample.accepted]
            if not all(0 < sample.seconds < math.inf for sample in samples):
                raise ValueError
        except (OverflowError, TypeError, ValueError):
            raise ValueError(f"{expected}, got wrong samples in {key}") from None
    return {"machine": report["machine"], "rows": rows}


def _key(row: dict[str, Any]) -> str:
    """Return what the rows of two files must share, for people to read."""
    which = row["kernel"] if row["backend"] == "yours" else row["isa"]
    words = [row["op"], describe(row["shape"]), row["dtype"], row["backend"], which, row.get("model")]
    threads, cold = row["threads"], ("cold",) if row["cold"] else ()
    return " ".join([*map(str, filter(None, words)), *cold, f"{threads} thread{'s' if threads > 1 else ''}"])


def differences_of_machines(before: dict[str, Any], after: dict[str, Any]) -> Iterator[str]:
    """Yield what makes times of two files incomparable. (Another version of squeezeops is what one compares.)"""
    for name in dict.fromkeys([*before["machine"], *after["machine"]]):
        values = [str(side["machine"].get(name)) for side in (before, after)]
        if values[0] != values[1] and name not in ("squeezeops", "counters"):
            yield f"{name}: {values[0]} before, {values[1]} after"
    threads = [sorted({row["threads"] for row in side["rows"].values()}) for side in (before, after)]
    if threads[0] != threads[1]:
        yield f"threads: {', '.join(map(str, threads[0]))} before, {', '.join(map(str, threads[1]))} after"


class Line(NamedTuple):
    """The comparison of a row. Times are medians in microseconds; what is in one file only has None."""

    row: str
    before: float | None
    after: float | None
    ratio: float | None  # after / before
    p: float | None
    verdict: str


def compare(before: dict[str, Any], after: dict[str, Any]) -> list[Line]:
    """Compare two results of `read_results`.

    A row is faster or slower if its medians differ by at least `LEAST`, and its p value is below `LEVEL` divided by the
    number of rows, so that a chance verdict in the whole table is as unlikely as `LEVEL`.
    """
    rows = [before["rows"], after["rows"]]
    names = list(dict.fromkeys([*rows[0], *rows[1]]))
    shared = sum(name in rows[0] and name in rows[1] for name in names)

    def accepted(name: str) -> tuple[list[float] | None, list[float] | None]:
        first, second = (side.get(name, {}).get("accepted") for side in rows)
        return first, second

    return [_line(name, *accepted(name), shared) for name in names]


def _line(name: str, a: list[float] | None, b: list[float] | None, shared: int) -> Line:
    before, after = (float(np.median(side)) if side else None for side in (a, b))
    if a is None or b is None:
        return Line(name, before, after, None, None, ONE_SIDE.format("after" if a is None else "before"))
    if before is None or after is None:
        return Line(name, before, after, None, None, "no accepted samples")
    p, ratio = mann_whitney(in_blocks(a), in_blocks(b)), after / before
    differ = p < LEVEL / shared and abs(ratio - 1) >= LEAST
    return Line(name, before, after, ratio, p, (FASTER if ratio < 1 else SLOWER) if differ else SAME)
