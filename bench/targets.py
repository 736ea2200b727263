"""Compares a results file with targets.csv. A row that was not measured misses its target."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from bench.cases import fields_of
from bench.libraries import PEERS
from bench.pairs import best_peer

FILE = Path(__file__).with_name("targets.csv")
RELATIONS = (">=", "<=")
RATIOS = ("ratio", "ratio_float32", "ratio_or_traffic")
FIGURES = (*RATIOS, "share", "over_floor", "gigaelements")  # and ratio:NAME, over:NAME


class Target(NamedTuple):
    """A row of targets.csv. Its figure is one of these:

    "ratio": time of the best peer / ours. "ratio_float32": of the best peer in float32. "ratio:NAME": of one library.
    "over:NAME": our time / that library's. "share": of the FMA peak (of int8 products in int8), at p75. "over_floor":
    our time / the floor. "gigaelements": per second. "ratio_or_traffic": "ratio", unless the best peer is so close to
    the traffic floor that nothing could beat it by the limit.
    """

    name: str
    table: str  # "forward" or "ops"
    where: dict[str, tuple[str, ...]]  # values by field of a row of results; every combination must be measured
    figure: str
    relation: str  # ">=" or "<="
    limit: float
    machine: str  # that the limit is for: it is a part of the name of its results, compare-MACHINE.json


class Line(NamedTuple):
    """A target and a row of results. `reached` is None if the row or its figure is missing."""

    target: Target
    which: str
    reached: float | None
    note: str
    fine: bool
    elsewhere: bool  # the results are of another machine than the target


def parse_targets(lines: Iterable[str]) -> list[Target]:
    """Read targets. Raises ValueError, which names the line."""
    targets = []
    for number, row in enumerate(csv.DictReader(lines), 2):
        try:
            pairs = [part.split("=") for part in row["where"].split()]
            where = {name: tuple(values.split("/")) for name, values in pairs}
            if row["table"] == "forward":
                where = {"dtype": ("float32",), "isa": ("",), **where}
            words = (row["figure"], row["relation"], float(row["limit"]), row["machine"])
            target = Target(row["target"], row["table"], where, *words)
            if not target.machine:
                raise ValueError("machine: expected one, got none")
            if target.table not in ("forward", "ops"):
                raise ValueError(f"table: expected forward or ops, got {target.table!r}")
            if target.relation not in RELATIONS:
                raise ValueError(f"relation: expected one of {', '.join(RELATIONS)}, got {target.relation!r}")
            if target.figure not in FIGURES and not target.figure.startswith(("ratio:", "over:")):
                raise ValueError(f"figure: expected one of {', '.join(FIGURES)}, got {target.figure!r}")
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"line {number}: {error}") from None
        targets.append(target)
    return targets


def read_targets() -> list[Target]:
    """Return the targets of targets.csv."""
    with FILE.open(encoding="utf-8", newline="") as file:
        return parse_targets(file)


def matches(case: dict[str, Any], where: Mapping[str, Collection[str]]) -> bool:
    return all(name in case and str(case[name]) in values for name, values in where.items())


def is_target(table: str, case: dict[str, Any], targets: Iterable[Target]) -> bool:
    """Return whether a target is about a case."""
    case = fields_of({"case": case})
    return any(target.table == table and matches(case, target.where) for target in targets)


def machine_of(path: Path) -> str:
    """Return the machine that the name of a results file tells; any other name is that of another machine."""
    return path.stem.removeprefix("compare-")


def check(results: dict[str, Any], targets: Iterable[Target], machine: str) -> list[Line]:
    """Judge results of a machine: one line per target and combination of its values."""
    lines = []
    for target in targets:
        for values in itertools.product(*target.where.values()):
            where = {name: (value,) for name, value in zip(target.where, values, strict=True)}
            varied = [f"{name} {where[name][0]}" for name, all_ in target.where.items() if len(all_) > 1]
            rows = [row for row in results.get(target.table, []) if matches(fields_of(row), where)]
            judged = [_judge(target, row) for row in rows] or [(None, "not measured", False)]
            lines += [Line(target, ", ".join(varied), *found, target.machine != machine) for found in judged]
    return lines


def _judge(target: Target, row: dict[str, Any]) -> tuple[float | None, str, bool]:
    reached, note = _figure(target.figure, row)
    if reached is None:
        return None, note, False
    fine = reached >= target.limit if target.relation == ">=" else reached <= target.limit
    if target.figure == "ratio_or_traffic" and not fine:
        room = row["ratios"][row["best"]]["quartiles"]["median"] * row["libraries"]["squeezeops"]["over_traffic"]
        fine, note = room < target.limit, f"{note}, itself at {room:.2f} x the traffic floor"
    return reached, note, fine


def _figure(figure: str, row: dict[str, Any]) -> tuple[float | None, str]:
    ours = row["libraries"]["squeezeops"]
    kind, _, name = figure.partition(":")
    if kind in (*RATIOS, "over"):
        name = name or (best_peer(row["ratios"], PEERS) if kind == "ratio_float32" else row.get("best")) or ""
        quartiles = row["ratios"].get(name, {}).get("quartiles")
        if not quartiles:
            return None, f"no pair with {name or 'a peer'}"
        median = quartiles["median"]
        return (1 / median if kind == "over" else median), f"against {name}"
    value = ours.get(figure)
    if isinstance(value, dict):
        value = value["p75" if figure == "share" else "median"]
    return value, "" if value is not None else "no figure"
