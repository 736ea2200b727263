"""Instructions of every kernel, counted exactly: ``python -m bench.arm instructions``.

A row is one call of the C interface at a shape of the model. Its unit is one instruction of products: four
multiply-adds of floats (FMLA), sixteen of bytes (SDOT), 32 (SMMLA), or eight without those (SMULL, SMLAL). An op
without products by shape, such as LayerNorm, counts vectors of four elements.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from bench.arm.build import tests_module
from bench.arm.counting import Counts, Functions, kinds, run_counted
from bench.arm.loops import disassemble, inner_loops
from squeezeops.benchmark.cases import OPS

# The processor that QEMU emulates: it has the instruction set and none that is better.
CPUS = {"neon": "cortex-a72", "neon_dotprod": "cortex-a76", "neon_i8mm": "max"}
PER_PRODUCT = {"neon": 8, "neon_dotprod": 16, "neon_i8mm": 32}  # multiply-adds of bytes
DTYPES = {"pointwise_conv": "f32", "pointwise_conv_float16": "f16", "pointwise_conv_int8": "s8"}
ATTENTION = {"attention": "f32", "attention_int8": "s8"}
PRODUCTS = ("fmla", "dot", "mmla", "mull")


class Case(NamedTuple):
    """An operation at a shape."""

    op: str  # its name in `squeezeops bench`
    isa: str
    shape: dict[str, str]
    line: str  # for the driver
    multiply_adds: int  # of convolutions and of the products of attention
    elements: int  # that are read

    @property
    def units(self) -> int:
        """The instructions of its products alone, or its vectors."""
        if not self.multiply_adds:
            return self.elements // 4
        return self.multiply_adds // (PER_PRODUCT[self.isa] if self.op.endswith("_int8") else 4)


def _case(op: str, isa: str, shape: dict[str, str]) -> Case:
    sizes = {name: int(size) for name, size in shape.items() if size.isdigit()}
    tokens, channels = sizes.get("tokens", 0), sizes.get("channels", 0)
    first, second, *_ = sizes.values()
    words, products, elements = " ".join(shape.values()), 0, first * second
    if op in ("embedding", "embedding_layer_norm", "mean_pool"):
        words, elements = f"{tokens} {channels}", tokens * channels
    line = f"{op} {words}"
    if op in DTYPES:
        line = f"pwconv {DTYPES[op]} {words}"
        products = tokens * sizes["c_in"] * sizes["c_out"] // sizes["groups"]
    elif op in ATTENTION:
        line = f"attention {ATTENTION[op]} {tokens} {channels} {shape['heads']}"
        products, elements = 2 * tokens * tokens * channels, tokens * channels
    elif op in ("gelu", "tanh"):
        line = f"activation {op} {elements}"
    elif op == "layer_norm":
        line += " 0"
    return Case(op, isa, shape, line, products, elements)


def model_cases(isa: str, tokens: Iterable[int]) -> list[Case]:
    """The benchmarks' shapes with these numbers of tokens, for the kernels that an instruction set has itself."""
    wanted, cases = {str(n) for n in tokens}, []
    for op in sorted(OPS, key=lambda op: op.name):
        if tests_module("kernel_tables").ISAS[isa].floats is None and op.dtype != "s8":
            continue
        for shape in ({name: str(value) for name, value in sizes.items()} for sizes in op.shapes):
            # Rows of softmax are queries of 12 heads.
            length = shape.get("tokens") or (shape["columns"] if op.name == "softmax" else shape["rows"])
            if length in wanted:
                cases.append(_case(op.name, isa, shape))
    return cases


def key(row: dict[str, Any]) -> str:
    """Return the name of a row."""
    return " ".join([row["op"], row["isa"], *(f"{name}={value}" for name, value in row["shape"].items())])


def loops_inside(build: Path, intervals: Iterable[Counts]) -> set[int]:
    """Addresses of the instructions in inner loops of products, in the driver's functions that ran."""
    functions = Functions(build / "driver")
    ran = {functions(address) for counts in intervals for address, _ in counts}
    loops = inner_loops(disassemble(build / "driver"), symbols=ran)
    return {i.address for loop in loops if loop.multiplies for i in loop.instructions}


def of_addresses(counts: Counts, addresses: set[int]) -> Counts:
    """The counts of some of the instructions."""
    return Counter({(address, word): n for (address, word), n in counts.items() if address in addresses})


def instruction_rows(build: Path, cases: Iterable[Case]) -> list[dict[str, Any]]:
    """Count the cases; return one row for each."""
    program, rows = build / "driver", []
    cases = list(cases)
    for isa in dict.fromkeys(case.isa for case in cases):
        those = [case for case in cases if case.isa == isa]
        text = "".join(f"{case.line}\n" for case in those)
        output, intervals = run_counted(build, CPUS[isa], [program], text=text)
        inside = loops_inside(build, intervals[1::2])
        for case, kernel, counts in zip(those, output.split(), intervals[1::2], strict=True):
            rows.append(_row(case, kernel, counts, inside))
    return rows


def _row(case: Case, kernel: str, counts: Counts, inside: set[int]) -> dict[str, Any]:
    inner = kinds(of_addresses(counts, inside))
    products = sum(inner.get(name, 0) for name in PRODUCTS)
    row = {
        "op": case.op,
        "isa": case.isa,
        "shape": case.shape,
        "kernel": kernel,
        "instructions": counts.total(),
        "units": case.units,
        "per_unit": counts.total() / case.units,
        "kinds": kinds(counts),
    }
    if case.multiply_adds:
        row["inner_loop"] = {"per_product": sum(inner.values()) / products if products else None, "kinds": inner}
    return row
