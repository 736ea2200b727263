"""The pictures of a results file: latency by length, roofline of the ops, scaling with threads and batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot  # noqa: E402

from bench.libraries import OURS, PEERS  # noqa: E402

__all__ = ["draw"]

COLOURS = {OURS: "C3", "torch": "C1", "onnxruntime": "C0", "openvino": "C2", "numpy": "C4"}
OPS = {"pointwise_conv": "o", "attention": "s", "layer_norm": "^", "softmax": "v", "gelu": "D"}


def draw(results: dict[str, Any], folder: Path) -> list[Path]:
    """Write the pictures for which there are results; return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, picture in (("latency", latency), ("roofline", roofline), ("scaling", scaling)):
        figure = picture(results)
        if figure is not None:
            written.append(folder / f"{name}.png")
            figure.savefig(written[-1], dpi=120, bbox_inches="tight")
            pyplot.close(figure)
    return written


def encoders(results: dict[str, Any], **wanted: Any) -> list[Any]:
    wanted = {"task": "base", **wanted}
    rows = [row for row in results["forward"] if all(row["case"][name] == value for name, value in wanted.items())]
    rows = [row for row in rows if row["case"]["tokens"].isdecimal() and row["libraries"][OURS]["seconds"]]
    return sorted(rows, key=lambda row: (row["case"]["batch"], int(row["case"]["tokens"])))


def floor(row: dict[str, Any]) -> float | None:
    """Seconds."""
    peak = row["libraries"][OURS]["peak"]
    if not peak or not row["read"]:
        return None
    return float(max(row["bytes"] / row["read"], row["flops"] / peak))


def line(axes: Any, points: list[tuple[float, float]], **style: Any) -> None:
    if points:
        axes.plot(*zip(*points, strict=True), **style)


def milliseconds(rows: list[Any], library: str, by: str) -> list[tuple[float, float]]:
    found = [(row, row["libraries"].get(library, {}).get("seconds")) for row in rows]
    return [(float(row["case"][by]), 1e3 * seconds["median"]) for row, seconds in found if seconds]


def latency(results: dict[str, Any]) -> Any:
    """Time of a text by its length, against peers and the floor, for each number of threads."""
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
        line(axes, known, label="floor: weights read, multiply-adds done", color="0.4", linestyle="--")
        axes.set(xscale="log", yscale="log", xlabel="tokens", ylabel="ms", title=title("batch 1", threads))
        ticks = [row["case"]["tokens"] for row in rows]
        axes.set_xticks([int(tick) for tick in ticks], ticks)
        axes.minorticks_off()
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    return figure


def title(what: str, threads: int) -> str:
    return f"SqueezeBERT-base encoder, {what}, {threads} thread{'s'[: threads - 1]}"


def roofline(results: dict[str, Any]) -> Any:
    """Rate of the ops that have one by operations a byte, ours and the peers', under the machine's limits."""
    rows = [row for row in results["ops"] if row["flops"] and row["libraries"][OURS]["seconds"]]
    peaks = [row["libraries"][OURS]["peak"] for row in rows if row["libraries"][OURS]["peak"]]
    reads = [row["read"] for row in results["forward"] if row["read"] and row["case"]["threads"] == 1]
    if not rows or not peaks or not reads:
        return None
    peak, read = sorted(peaks)[len(peaks) // 2] / 1e9, sorted(reads)[len(reads) // 2] / 1e9
    figure, axes = pyplot.subplots(figsize=(7, 5))
    intensities = [row["flops"] / row["bytes"] for row in rows]
    ends = [min(intensities) / 2, max(intensities) * 2]
    grid = sorted({*ends, peak / read})
    grid = [x for x in grid if ends[0] <= x <= ends[1]]
    axes.plot(grid, [min(peak, x * read) for x in grid], color="0.3", label=f"{peak:.0f} GFLOP/s, {read:.0f} GB/s")
    for name in ("numpy", *PEERS, OURS):
        for op, marker in OPS.items():
            points = []
            for row in rows:
                figures = row["libraries"].get(name, {})
                if row["case"]["op"] == op and figures.get("seconds"):
                    points.append((row["flops"] / row["bytes"], row["flops"] / figures["seconds"]["median"] / 1e9))
            style = {"marker": marker, "linestyle": "", "color": COLOURS[name], "markersize": 5, "alpha": 0.8}
            line(axes, points, label=f"{name}: {op}", **style)
    axes.set(xscale="log", yscale="log", xlabel="operations a byte of inputs, weights and outputs", ylabel="GFLOP/s")
    axes.set_title("Ops at SqueezeBERT-base's shapes, 1 thread")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7)
    return figure


def scaling(results: dict[str, Any]) -> Any:
    """Texts a second by batch, and what a second thread brings by tokens."""
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4.5))
    drawn = False
    for threads, style in ((1, "-"), (2, "--")):
        rows = encoders(results, tokens="32", threads=threads)
        points = [(x, 1e3 * x / y) for x, y in milliseconds(rows, OURS, "batch")]
        drawn = drawn or bool(points)
        label = f"{OURS}, {threads} thread{'s'[: threads - 1]}"
        line(left, points, label=label, color=COLOURS[OURS], linestyle=style, marker="o")
        limits = [
            (float(row["case"]["batch"]), row["case"]["batch"] * row["libraries"][OURS]["peak"] / row["flops"])
            for row in rows
            if row["libraries"][OURS]["peak"]
        ]
        line(left, limits, label=f"multiply-adds alone, {threads}", color="0.5", linestyle=style)
    left.set(xscale="log", xlabel="texts of 32 tokens in a batch", ylabel="texts a second")
    left.set_xticks([1, 2, 4, 8, 16, 32], ["1", "2", "4", "8", "16", "32"])
    for name in (*PEERS, OURS):
        one = dict(milliseconds(encoders(results, batch=1, threads=1), name, "tokens"))
        two = dict(milliseconds(encoders(results, batch=1, threads=2), name, "tokens"))
        points = [(x, one[x] / two[x]) for x in sorted(one.keys() & two.keys())]
        drawn = drawn or bool(points)
        line(right, points, label=name, color=COLOURS[name], marker="o")
    right.axhline(2, color="0.5", linestyle="--")
    right.set(xscale="log", xlabel="tokens, batch 1", ylabel="time on 1 thread / time on 2")
    ticks = [16, 32, 128, 384]
    right.set_xticks(ticks, [str(tick) for tick in ticks])
    for axes in (left, right):
        axes.minorticks_off()
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    if not drawn:
        pyplot.close(figure)
        return None
    return figure
