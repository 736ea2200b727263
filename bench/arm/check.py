"""Compares current counts and models with the records in bench/results and with the targets."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from bench.arm.build import CXX, ROOT, run_tool
from bench.arm.cycles import MODELS, model_rows
from bench.arm.instructions import CPUS, instruction_rows, key, model_cases
from bench.arm.layer import FLOAT_ATTENTION, our_rows

RESULTS = ROOT / "bench/results"
INSTRUCTIONS, CYCLES, LAYER = (RESULTS / f"arm-{name}.json" for name in ("instructions", "cycles", "layer"))
ROOM = 1.002  # a bug-fix release of the compiler may move an instruction
TOKENS = 32  # enough: counts grow with the rows
INNER_LOOP, WHOLE = 1.25, 1.33  # instructions per FMLA of float32 convolution, GELU's included
FLOAT32, INT8 = "squeezeops float32", "squeezeops int8, neon_dotprod"
OVER_ONNXRUNTIME, OVER_FLOAT32 = 0.90, 0.35  # instructions of a layer: float32 over onnxruntime's, int8 over float32's
OVER_FLOAT_ATTENTION = {128: 0.85, 384: 0.70}  # by tokens: an int8 layer over one with attention in float32

# Targets that are missed so far; only the records apply to them. docs/arm.md says why.
MISSED = {
    "pwconv_s8_neon on cortex-a53, cycles a product in its limit",
    "a layer of 128 tokens, int8 attention by dot products in float attention",
}


class Line(NamedTuple):
    """A figure and its upper limit."""

    what: str
    reached: float
    limit: float
    why: str

    @property
    def fine(self) -> bool:
        return self.reached <= self.limit


def hold_instructions(rows: Iterable[dict[str, Any]], recorded: Iterable[dict[str, Any]]) -> list[Line]:
    """One line per recorded row, and the targets of float32 convolution. A new row has only targets."""
    before = {key(row): row for row in recorded}
    lines = []
    for row in rows:
        name = key(row)
        if name in before:
            lines.append(Line(name, row["instructions"], before[name]["instructions"] * ROOM, "recorded"))
        if row["op"] == "pointwise_conv":
            lines.append(Line(f"{name}, an FMLA", row["instructions"] / row["kinds"]["fmla"], WHOLE, "target"))
            lines.append(Line(f"{name}, an FMLA, inner loop", row["inner_loop"]["per_product"], INNER_LOOP, "target"))
    return lines


def hold_cycles(rows: Iterable[dict[str, Any]], recorded: Iterable[dict[str, Any]]) -> list[Line]:
    """Likewise for the models of inner loops."""
    before = {(row["kernel"], row["processor"]): row for row in recorded}
    lines = []
    for row in rows:
        name = f"{row['kernel']} on {row['processor']}, cycles a product"
        was = before.get((row["kernel"], row["processor"]))
        if was:
            limit = was["cycles"] / was["products"] * ROOM
            lines.append(Line(name, row["cycles"] / row["products"], limit, "recorded"))
        if row["target"] is not None:
            lines.append(Line(f"{name} in its limit", row["over_limit"], row["target"], "target"))
    return lines


def hold_layer(rows: Iterable[dict[str, Any]], recorded: Iterable[dict[str, Any]]) -> list[Line]:
    """Likewise for a layer. onnxruntime's figure is recorded, for the form of the graph that takes the fewest."""
    now = {(row["name"], row["tokens"]): row["instructions"] for row in rows}
    before = {(row["name"], row["tokens"]): row["instructions"] for row in recorded}
    lines = [
        Line(f"a layer of {tokens} tokens, {name}", count, before[name, tokens] * ROOM, "recorded")
        for (name, tokens), count in now.items()
        if (name, tokens) in before
    ]
    theirs = [count for (name, _), count in before.items() if name.startswith("onnxruntime")]
    ours, int8 = now[FLOAT32, TOKENS], now[INT8, TOKENS]
    if theirs:
        lines.append(Line("a layer, float32 in onnxruntime's", ours / min(theirs), OVER_ONNXRUNTIME, "target"))
    lines.append(Line("a layer, int8 by dot products in float32", int8 / ours, OVER_FLOAT32, "target"))
    for tokens, limit in OVER_FLOAT_ATTENTION.items():
        over = now[INT8, tokens] / now[INT8 + FLOAT_ATTENTION, tokens]
        what = f"a layer of {tokens} tokens, int8 attention by dot products in float attention"
        lines.append(Line(what, over, limit, "target"))
    return lines


def _recorded(path: Path, name: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))[name] if path.exists() else []
    return rows


def check(build: Path) -> int:
    """Count, model and compare; print the figures that rose or missed their targets; return the exit status."""
    cases = [case for isa in CPUS for case in model_cases(isa, [TOKENS])]
    instructions, cycles = instruction_rows(build, cases), model_rows(build)
    lines = hold_instructions(instructions, _recorded(INSTRUCTIONS, "instructions"))
    lines += hold_cycles(cycles, _recorded(CYCLES, "cycles"))
    layers = our_rows(build) + [row for tokens in OVER_FLOAT_ATTENTION for row in our_rows(build, tokens, INT8)]
    lines += hold_layer(layers, _recorded(LAYER, "layer"))
    missed = [line for line in lines if not line.fine and line.what not in MISSED]
    left_out = {model.kernel for model in MODELS} - {row["kernel"] for row in cycles}
    left_out |= {f"{row['op']} on {row['isa']}" for row in instructions if not row["kernel"].endswith(f"_{row['isa']}")}
    for line in lines:
        if not line.fine:
            known = ", known" if line.what in MISSED else ""
            print(f"{line.what}: {line.reached:.6g}, at most {line.limit:.6g} ({line.why}{known})")
    print(f"{sum(line.fine for line in lines)} of {len(lines)} figures within their limits")
    version = run_tool(CXX, "--version").splitlines()[0]
    recorded = json.loads(INSTRUCTIONS.read_text(encoding="utf-8"))["compiler"] if INSTRUCTIONS.exists() else version
    if missed and version != recorded:
        print(f"recorded with another compiler: {recorded}; this is {version}")
    for what in sorted(left_out):
        print(f"{what}: expected a kernel of its own, got none")
    return 1 if missed or left_out else 0
