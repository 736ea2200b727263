"""The pictures of a results file: latency by length, roofline of the ops, scaling with threads and batch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot  # noqa: E402

from bench.cases import fields_of, plural  # noqa: E402
from bench.libraries import OURS, PEERS  # noqa: E402

COLOURS = {OURS: "C3", "torch": "C1", "onnxruntime": "C0", "openvino": "C2", "numpy": "C4", "memcpy": "0.7"}
MARKERS = {"pointwise_conv": "o", "attention": "s"}


def draw(results: dict[str, Any], folder: Path) -> list[Path]:
    """Write the pictures that have results. Return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    figures = {picture.__name__: picture(results) for picture in (latency, roofline, scaling)}
    written = {folder / f"{name}.png": figure for name, figure in figures.items() if figure is not None}
    for path, figure in written.items():
        figure.savefig(path, dpi=120, bbox_inches="tight")
        pyplot.close(figure)
    return list(written)


def encoders(results: dict[str, Any], **wanted: Any) -> list[Any]:
    """Return rows of forward passes, in float32 by default."""
    wanted = {"task": "base", "dtype": "float32", "isa": "", **wanted}
    rows = [row for row in results["forward"] if all(fields_of(row)[name] == value for name, value in wanted.items())]
    rows = [row for row in rows if row["case"]["tokens"].isdecimal() and row["libraries"][OURS]["seconds"]]
    return sorted(rows, key=lambda row: (row["case"]["batch"], int(row["case"]["tokens"])))


def floor(row: dict[str, Any]) -> float | None:
    """Return the floor in seconds."""
    peak = row["libraries"][OURS]["peak"]
    if not peak or not row["read"]:
        return None
    return float(max(row["bytes"] / row["read"], row["flops"] / peak))


def line(axes: Any, points: list[tuple[float, float]], **style: Any) -> None:
    if points:
        axes.plot(*zip(*points, strict=True), **style)


def finish(axes: Any, ticks: Sequence[int]) -> None:
    """Put marks at these sizes alone, on a logarithmic axis, and add the legend."""
    axes.set_xticks(ticks, list(map(str, ticks)))
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)


def milliseconds(rows: list[Any], library: str, by: str) -> list[tuple[float, float]]:
    found = [(row, row["libraries"].get(library, {}).get("seconds")) for row in rows]
    return [(float(row["case"][by]), 1e3 * seconds["median"]) for row, seconds in found if seconds]


def latency(results: dict[str, Any]) -> Any:
    """Time of one text by length, with peers and the floor, for each number of threads."""
    by_threads = {n: encoders(results, batch=1, threads=n) for n in (1, 2)}
    by_threads = {n: rows for n, rows in by_threads.items() if rows}
    if not by_threads:
        return None
    figure, all_axes = pyplot.subplots(1, len(by_threads), figsize=(5.5 * len(by_threads), 4.5), squeeze=False)
    for axes, (threads, rows) in zip(all_axes[0], by_threads.items(), strict=True):
        for name in (*PEERS, OURS):
            line(axes, milliseconds(rows, name, "tokens"), label=name, color=COLOURS[name], marker="o", markersize=4)
        floors = [(float(row["case"]["tokens"]), floor(row)) for row in rows]
        known = [(x, 1e3 * y) for x, y in floors if y]
        line(axes, known, label="floor: read the weights, do the multiply-adds", color="0.4", linestyle="--")
        axes.set(xscale="log", yscale="log", xlabel="tokens", ylabel="ms")
        axes.set_title(f"SqueezeBERT-base encoder, batch 1, {plural(threads)}")
        finish(axes, [int(row["case"]["tokens"]) for row in rows])
    return figure


def roofline(results: dict[str, Any]) -> Any:
    """Rates of the ops and the machine's limits: flops by operations per byte, and bytes."""
    timed = [row for row in results["ops"] if row["libraries"][OURS]["seconds"]]
    rows = [row for row in timed if row["case"]["op"] in MARKERS]
    peaks = [row["libraries"][OURS]["peak"] for row in rows if row["libraries"][OURS]["peak"]]
    reads = [row["read"] for row in results["forward"] if row["read"] and row["case"]["threads"] == 1]
    if not peaks or not reads:
        return None
    peak, read = sorted(peaks)[len(peaks) // 2] / 1e9, sorted(reads)[len(reads) // 2] / 1e9
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(13, 5), width_ratios=(3, 2))
    most = max(row["flops"] / row["bytes"] for row in rows)
    left.plot([1, peak / read, 2 * most], [read, peak, peak], color="0.3", label=f"{peak:.0f} GFLOP/s, {read:.0f} GB/s")
    for name in ("numpy", *PEERS, OURS):
        for op, marker in MARKERS.items():
            for cold in (0, 1) if op == "pointwise_conv" else (0,):
                of_op = [row for row in rows if row["case"]["op"] == op and row["case"]["cold"] == cold]
                points = [(row["flops"] / row["bytes"], rate / 1e9) for row, rate in rates(of_op, name, "flops")]
                style = {"marker": marker, "linestyle": "", "color": COLOURS[name], "markersize": 5}
                style |= {"markerfacecolor": "none"} if cold else {}
                line(left, points, label=f"{name}: {op}{' cold' if cold else ''}", **style)
    left.set(xscale="log", yscale="log", xlabel="operations per byte of inputs, weights and outputs", ylabel="GFLOP/s")
    left.set_title("Ops at SqueezeBERT-base's shapes, 1 thread")
    left.grid(alpha=0.3)
    left.legend(fontsize=7)
    by_bytes = [row for row in timed if not row["flops"]]
    labels = [f"{row['case']['op']}\n{' x '.join(str(v) for v in sizes(row))}" for row in by_bytes]
    names = [name for name in ("memcpy", "numpy", *PEERS, OURS) if rates(by_bytes, name, "bytes")]
    for number, name in enumerate(names):
        found = [(labels[by_bytes.index(row)], rate / 1e9) for row, rate in rates(by_bytes, name, "bytes")]
        places = [labels.index(label) + 0.8 * number / len(names) for label, _ in found]
        heights = [rate for _, rate in found]
        right.barh(places, heights, 0.8 / len(names), label=name, color=COLOURS[name])
    right.axvline(read, color="0.3", linestyle="--", label="reading memory")
    right.set_yticks([place + 0.4 for place in range(len(labels))], labels, fontsize=7)
    right.set(xlabel="GB/s, each input and output once", xscale="log")
    right.legend(fontsize=7)
    return figure


def sizes(row: dict[str, Any]) -> list[int]:
    return [value for name, value in row["case"].items() if name != "cold" and isinstance(value, int)]


def rates(rows: list[Any], library: str, work: str) -> list[tuple[Any, float]]:
    """Return rows with a library's rate, where it is known."""
    found = [(row, row["libraries"].get(library, {}).get("seconds")) for row in rows]
    return [(row, row[work] / seconds["median"]) for row, seconds in found if seconds]


def scaling(results: dict[str, Any]) -> Any:
    """Texts per second by batch, and the speedup of a second thread by tokens."""
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4.5))
    drawn = False
    for threads, style in ((1, "-"), (2, "--")):
        rows = encoders(results, tokens="32", threads=threads)
        points = [(x, 1e3 * x / y) for x, y in milliseconds(rows, OURS, "batch")]
        drawn = drawn or bool(points)
        label = f"{OURS}, {plural(threads)}"
        line(left, points, label=label, color=COLOURS[OURS], linestyle=style, marker="o")
        limits = [
            (float(row["case"]["batch"]), row["case"]["batch"] * row["libraries"][OURS]["peak"] / row["flops"])
            for row in rows
            if row["libraries"][OURS]["peak"]
        ]
        line(left, limits, label=f"multiply-adds only, {threads}", color="0.5", linestyle=style)
    left.set(xscale="log", xlabel="texts of 32 tokens in a batch", ylabel="texts per second")
    for name in (*PEERS, OURS):
        one = dict(milliseconds(encoders(results, batch=1, threads=1), name, "tokens"))
        two = dict(milliseconds(encoders(results, batch=1, threads=2), name, "tokens"))
        points = [(x, one[x] / two[x]) for x in sorted(one.keys() & two.keys())]
        drawn = drawn or bool(points)
        line(right, points, label=name, color=COLOURS[name], marker="o")
    right.axhline(2, color="0.5", linestyle="--")
    right.set(xscale="log", xlabel="tokens, batch 1", ylabel="time on 1 thread / time on 2")
    finish(left, [1, 2, 4, 8, 16, 32])
    finish(right, [16, 32, 128, 384])
    if not drawn:
        pyplot.close(figure)
        return None
    return figure
