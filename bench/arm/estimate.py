"""Estimates milliseconds on boards from the recorded counts and cycles: ``python -m bench.arm estimate``.

Inner loops take the cycles per product of LLVM's model of the core; all other instructions are assumed to run at a
constant number per cycle. Weights come from memory once per forward. Computing and reading overlap to some degree: the
lower bound is the longer of the two, the upper bound their sum.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from bench.arm.instructions import PRODUCTS

LAYERS = 12
# Elements of a layer's weights: three convolutions of 768 to 768 in 4 groups, one without groups, 768 to 3072 and back.
WEIGHTS = 3 * 768 * 192 + 768 * 768 + 2 * 3072 * 192


class Board(NamedTuple):
    """What an estimate needs of a board; docs/arm.md has the sources."""

    name: str
    core: str
    model: str  # LLVM's, for loops of floats and of bytes
    gigahertz: float
    gigabytes: float  # read from memory per second
    others: float  # instructions per cycle outside of inner loops: a guess
    int8: str  # the instruction set of its int8 kernels


BOARDS = (
    Board("Raspberry Pi 3 B+", "Cortex-A53", "cortex-a53", 1.4, 2.0, 0.7, "neon"),
    Board("Raspberry Pi 4", "Cortex-A72", "cortex-a57", 1.8, 5.5, 1.2, "neon"),
    Board("Raspberry Pi 5", "Cortex-A76", "neoverse-n1", 2.4, 10.0, 2.0, "neon_dotprod"),
)
CORES = 4


def _cycles(board: Board, row: dict[str, Any], kernel: str, models: dict[tuple[str, str], dict[str, Any]]) -> float:
    model = models[kernel, board.model]
    inner = sum(row["inner_loop"].values())
    products = sum(row["inner_loop"].get(name, 0) for name in PRODUCTS)
    return float(products * model["cycles"] / model["products"] + (row["instructions"] - inner) / board.others)


def estimate_rows(layers: Iterable[dict[str, Any]], cycles: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return one row per board, dtype and number of tokens, from the rows of arm-layer.json and arm-cycles.json."""
    models = {(row["kernel"], row["processor"]): row for row in cycles}
    by_name = {(row["name"], row["tokens"]): row for row in layers}
    rows = []
    for board in BOARDS:
        kinds = (
            ("float32", "squeezeops float32", "pwconv_f32_neon", 4),
            ("int8", f"squeezeops int8, {board.int8}", f"pwconv_s8_{board.int8}", 1),
        )
        for dtype, name, kernel, size in kinds:
            for tokens in sorted({tokens for found, tokens in by_name if found == name}):
                compute = LAYERS * _cycles(board, by_name[name, tokens], kernel, models) / (board.gigahertz * 1e6)
                memory = LAYERS * WEIGHTS * size / (board.gigabytes * 1e6)
                row = {"board": board.name, "core": board.core, "dtype": dtype, "tokens": tokens}
                row |= {"compute": compute, "memory": memory}
                for cores in (1, CORES):
                    row[f"on {cores}"] = (max(compute / cores, memory), compute / cores + memory)
                rows.append(row)
    return rows


def markdown(rows: Iterable[dict[str, Any]]) -> list[str]:
    """Format the table of docs/arm.md, in milliseconds."""
    lines = [f"| board | weights | tokens | computing | reading weights | 1 core | {CORES} cores |", "|" + " --- |" * 7]
    for row in rows:
        spans = [f"{low:.0f} to {high:.0f}" for low, high in (row["on 1"], row[f"on {CORES}"])]
        parts = [f"{row['compute']:.0f}", f"{row['memory']:.0f}"]
        lines.append("| " + " | ".join([row["board"], row["dtype"], str(row["tokens"]), *parts, *spans]) + " |")
    return lines


def recorded(folder: Path) -> list[dict[str, Any]]:
    """Return the estimate from bench/results."""
    layer, cycles = (
        json.loads((folder / f"arm-{name}.json").read_text(encoding="utf-8")) for name in ("layer", "cycles")
    )
    return estimate_rows(layer["layer"], cycles["cycles"])
