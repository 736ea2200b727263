"""Performance on ARM without the hardware: instructions counted in QEMU, cycles of loops predicted by LLVM's models.

instructions  of every kernel at the model's shapes (select with --tokens and --op)
cycles        of the inner loops, compared with the cycles of their products alone
loops         the inner loops that `cycles` models, as assembly
layer         one layer of SqueezeBERT-base at 32, 128 and 384 tokens; with --peers also in onnxruntime and NumPy
estimate      milliseconds on boards, from bench/results
functions     the functions that take an operation's instructions
check         compare with the targets and bench/results, without other libraries: exit status 1 if a figure rose
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.arm.build import CXX, Missing, build, run_tool
from bench.arm.check import FLOAT32, RESULTS, check
from bench.arm.counting import Counts, Functions, kinds, run_counted
from bench.arm.cycles import MODELS, model_rows
from bench.arm.estimate import markdown, recorded
from bench.arm.instructions import CPUS, PRODUCTS, instruction_rows, model_cases
from bench.arm.layer import OURS, our_rows, peer_rows
from bench.arm.loops import kernel_loop
from bench.report import columns

TOKENS_OF_LAYERS = (32, 128, 384)
MOST_FUNCTIONS = 16
TOKENS = (1, 16, 32, 128)


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="python -m bench.arm", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("what", choices=("instructions", "cycles", "layer", "estimate", "loops", "functions", "check"))
    p.add_argument("--tokens", type=int, action="append", help="only the shapes with so many; may be repeated")
    p.add_argument("--op", action="append", help="only this operation; may be repeated; `functions` has 'layer' too")
    p.add_argument("--peers", action="store_true", help="of a layer: onnxruntime and NumPy too; downloads a Python")
    p.add_argument("--json", metavar="FILE", type=Path, help="write the table there")
    return p


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    given = parser().parse_args(arguments)
    if given.what == "estimate":
        print("\n".join(markdown(recorded(RESULTS))))
        return 0
    try:
        return run(given, build())
    except Missing as error:
        print(f"bench.arm: {error}", file=sys.stderr)
        return 2


def run(given: argparse.Namespace, folder: Path) -> int:
    if given.what == "check":
        return check(folder)
    if given.what == "loops":
        for kernel in dict.fromkeys(model.kernel for model in MODELS):
            print(kernel_loop(folder, kernel))
        return 0
    if given.what == "cycles":
        rows = model_rows(folder)
        print(cycles_table(rows))
    elif given.what == "layer":
        rows = [row for tokens in given.tokens or TOKENS_OF_LAYERS for row in our_rows(folder, tokens)]
        if given.peers:
            rows += peer_rows(folder)
        print(layer_table(rows))
    else:
        cases = [case for isa in CPUS for case in model_cases(isa, given.tokens or TOKENS)]
        cases = [case for case in cases if not given.op or case.op in given.op]
        if given.what == "functions":
            lines = [
                (f"layer {dtype} {tokens} {attention}", cpu)
                for _, dtype, attention, cpu in OURS
                for tokens in given.tokens or TOKENS_OF_LAYERS[:1]
                if "layer" in (given.op or ())
            ]
            return print_functions(folder, lines + [(case.line, CPUS[case.isa]) for case in cases])
        rows = instruction_rows(folder, cases)
        print(instructions_table(rows))
    if given.json:
        compiler = run_tool(CXX, "--version").splitlines()[0]
        results = {"compiler": compiler, given.what: rows}
        given.json.write_text(json.dumps(rounded(results), indent=1) + "\n", encoding="utf-8")
    return 0


def rounded(value: Any) -> Any:
    """Round figures to four decimals; leave counts."""
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    return [rounded(item) for item in value] if isinstance(value, list) else value


def decimals(value: float | None, digits: int = 3) -> str:
    return f"{value:.{digits}f}" if value else ""


def instructions_table(rows: Sequence[dict[str, Any]]) -> str:
    names = (*PRODUCTS, "pairwise", "vector", "load", "store", "prefetch")
    lines = [["kernel", "shape", "instructions", "a unit", "inner loop", *names, "else"]]
    for row in rows:
        found = [row["kinds"].get(name, 0) / row["units"] for name in names]
        inner = (row.get("inner_loop") or {}).get("per_product")
        figures = [row["per_unit"], inner, *found, row["per_unit"] - sum(found)]
        lines.append(
            [row["kernel"], ",".join(row["shape"].values()), str(row["instructions"]), *map(decimals, figures)]
        )
    return columns(lines, 2)


def cycles_table(rows: Sequence[dict[str, Any]]) -> str:
    lines = [["loop", "processor", "for", "cycles", "limit", "all ports", "of limit", "target"]]
    lines[0] += ["instructions", "products", "sums"]
    for row in rows:
        cycles = [decimals(row[name], 2) for name in ("cycles", "limit", "all_ports")]
        counts = [str(row[name]) for name in ("instructions", "products", "accumulators")]
        target = "" if row["target"] is None else f"{row['target']}"
        names = [row["kernel"], row["processor"], row["stands_for"]]
        lines.append([*names, *cycles, decimals(row["over_limit"]), target, *counts])
    return columns(lines, 2)


def layer_table(rows: Sequence[dict[str, Any]]) -> str:
    head = ["layer", "on", "tokens", "instructions", *PRODUCTS, "of float32"]
    lines, float32 = [head], {row["tokens"]: row["instructions"] for row in rows if row["name"] == FLOAT32}
    for row in rows:
        products = [f"{row['kinds'].get(name, 0):.0f}" for name in PRODUCTS]
        of = row["instructions"] / float32[row["tokens"]]
        lines.append(
            [row["name"], row["processor"], str(row["tokens"]), f"{row['instructions']:.0f}", *products, f"{of:.3f}"]
        )
    return columns(lines, 2)


def print_functions(folder: Path, lines: Sequence[tuple[str, str]]) -> int:
    """Print the functions that take the most instructions, for lines of the driver on QEMU's processors."""
    functions = Functions(folder / "driver")
    for line, cpu in lines:
        _, intervals = run_counted(folder, cpu, [folder / "driver"], text=f"{line}\n")
        sums: dict[str, Counts] = {}
        for (address, word), count in intervals[1].items():
            sums.setdefault(functions(address), Counts())[address, word] = count
        print(f"{line}, {cpu}: {intervals[1].total()}")
        for name, counts in sorted(sums.items(), key=lambda item: -item[1].total())[:MOST_FUNCTIONS]:
            print(f"  {counts.total():10}  {name}\n              {kinds(counts)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
