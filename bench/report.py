"""The tables of a results file as text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.cases import Forward, fields_of
from bench.libraries import OURS
from bench.targets import Line
from squeezeops.benchmark.cases import op_of

MEBI = 2**20


def columns(rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """Align columns. The first `left` ones are left-aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.0f}%"


def times(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}x"


def median(quartiles: Any) -> float | None:
    return quartiles["median"] if quartiles else None


def p75(quartiles: Any) -> float | None:
    return quartiles["p75"] if quartiles else None


def scaled(value: float | None, factor: float, digits: int = 2) -> str:
    return "-" if value is None else f"{factor * value:.{digits}f}"


def spread(quartiles: Any) -> str:
    return f"{quartiles['p25']:.2f} / {quartiles['median']:.2f} / {quartiles['p75']:.2f}" if quartiles else "-"


def forward_table(rows: Sequence[Any]) -> str:
    """One line per case and library. The last columns are shown if some results have a lower precision than float32."""
    head = ["case", "library", "ms", "peer / ours", "pairs", "dropped", "of peak", "of read", "x floor", "read GB/s"]
    rounds = any("cosine" in figures for row in rows for figures in row["libraries"].values())
    lines = [head + (["off by", "cosine", "worst"] if rounds else [])]
    for row in rows:
        name = Forward(**fields_of(row)).describe()
        for library, figures in row["libraries"].items():
            found = row["ratios"].get(library)
            milliseconds = scaled(median(figures["seconds"]), 1e3)
            dropped = found["dropped"] if found else 1 - figures["accepted"] / figures["samples"]
            pairs = [spread(found["quartiles"]), str(found["pairs"])] if found else ["", str(figures["accepted"])]
            read = scaled(row["read"], 1e-9, 1) if library == OURS and row["read"] else ""
            shares = [percent(dropped), percent(p75(figures["share"])), percent(figures.get("of_read"))]
            label = library + (" *" if library == row["best"] else "")
            label += f" ({figures['precision']})" if "precision" in figures else ""
            cells = [name, label, milliseconds, *pairs, *shares, times(median(figures.get("over_floor"))), read]
            lines.append(cells + (accuracy(figures) if rounds else []))
            name = ""
    return columns(lines, left=2)


def accuracy(figures: dict[str, Any]) -> list[str]:
    """Return the largest difference from the results in float32, and the cosines of rows with them."""
    difference, cosine = figures.get("difference"), figures.get("cosine")
    of_rows = [f"{cosine[name]:.5f}" for name in ("mean", "worst")] if cosine else ["", ""]
    return ["" if difference is None else f"{difference:.2g}", *of_rows]


def op_table(rows: Sequence[Any]) -> str:
    """One line per op and shape."""
    names = list(dict.fromkeys(name for row in rows for name in row["libraries"] if name != OURS))
    lines = [["op", "us", "rate", "of peak", *(f"{name} / ours" for name in names), "dropped"]]
    for row in rows:
        case, ours = row["case"], row["libraries"][OURS]
        sizes = " ".join(f"{k}={v}" for k, v in case.items() if k not in ("op", "cold") and v not in ("none", 0))
        seconds = median(ours["seconds"])
        rate = "-"
        if seconds:
            work, unit = (row["flops"], op_of(case["op"]).unit) if row["flops"] else (row["bytes"], "GB/s")
            rate = f"{work / seconds / 1e9:.1f} {unit}"
            rate = f"{ours['gigaelements']:.2f} Gelem/s" if "gigaelements" in ours else rate
        ratios = [times(median(row["ratios"].get(name, {}).get("quartiles"))) for name in names]
        share = percent(p75(ours["share"])) if ours["share"] else ""
        name = f"{case['op']} {sizes}{' cold' if case['cold'] else ''}"
        dropped = percent(1 - ours["accepted"] / ours["samples"])
        lines.append([name, scaled(seconds, 1e6, 1), rate, share, *ratios, dropped])
    return columns(lines)


def footprint_table(rows: dict[str, Any]) -> str:
    """One line per library."""
    lines = [["library", "import s", "load s", "peak memory MiB", "after import", "installed MiB", "wheel MiB"]]
    for name, row in rows.items():
        seconds = [scaled(row[figure], 1) for figure in ("import_seconds", "load_seconds")]
        memory = [scaled(row[figure], 1 / MEBI, 0) for figure in ("memory", "memory_after_import")]
        sizes = [scaled(row.get(figure) or None, 1 / MEBI, 1) for figure in ("installed", "wheel")]
        lines.append([name, *seconds, *memory, *sizes])
    return columns(lines)


def target_table(lines: Sequence[Line]) -> str:
    """One line per target and row of results."""
    rows = [["target", "", "wanted", "reached", "", "", "of"]]
    for line in lines:
        target = line.target
        reached = "-" if line.reached is None else f"{line.reached:.2f}"
        wanted = f"{target.relation} {target.limit:.2f}"
        verdict = "another machine" if line.elsewhere else "ok" if line.fine else "MISSED"
        rows.append([target.name, line.which, wanted, reached, verdict, line.note, target.machine])
    return columns(rows, left=2)
