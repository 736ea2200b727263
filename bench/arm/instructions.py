"""Instructions of every kernel, counted exactly: ``python -m bench.arm instructions``.

A row is an operation at a shape of the model, as a call of the C interface. Its unit is an instruction of products:
four multiply-adds of floats (FMLA), sixteen of bytes (SDOT), 32 (SMMLA), or eight without those (SMULL, SMLAL). Where
there are no products by shape, as in LayerNorm, it is four elements, a vector.
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

__all__ = ["CPUS", "PRODUCTS", "Case", "instruction_rows", "key", "loops_inside", "model_cases", "of_addresses"]

# QEMU's model whose kernels are counted. It has those of the instruction set and no better ones.
CPUS = {"neon": "cortex-a72", "neon_dotprod": "cortex-a76", "neon_i8mm": "max"}
PER_PRODUCT = {"neon": 8, "neon_dotprod": 16, "neon_i8mm": 32}  # multiply-adds of bytes
DTYPES = {"pointwise_conv": "f32", "pointwise_conv_float16": "f16", "pointwise_conv_int8": "s8"}
PRODUCTS = ("fmla", "dot", "mmla", "mull")


class Case(NamedTuple):
    """An operation at a shape.

    Attributes
    ----------
    op : str
        As `squeezeops bench` calls it.
    isa : str
    shape : dict of str to str
    line : str
        For the driver.
    multiply_adds, elements : int
        That it computes, in convolutions and in the products of attention; that it reads.
    """

    op: str
    isa: str
    shape: dict[str, str]
    line: str
    multiply_adds: int
    elements: int

    @property
    def units(self) -> int:
        """Instructions that its products alone would take, or its vectors."""
        if not self.multiply_adds:
            return self.elements // 4
        return self.multiply_adds // (PER_PRODUCT[self.isa] if self.op == "pointwise_conv_int8" else 4)


def _case(op: str, isa: str, shape: dict[str, str]) -> Case:
    sizes = [int(size) for size in shape.values() if size.isdigit()]
    words, products, elements = " ".join(shape.values()), 0, sizes[0] * sizes[1]
    if op in DTYPES:
        line = f"pwconv {DTYPES[op]} {words}"
        products = int(shape["tokens"]) * int(shape["c_in"]) * int(shape["c_out"]) // int(shape["groups"])
    elif op == "attention":
        tokens, channels = int(shape["tokens"]), int(shape["channels"])
        line, products = f"attention {tokens} {channels} {shape['heads']}", 2 * tokens * tokens * channels
    elif op in ("gelu", "tanh"):
        line = f"activation {op} {elements}"
    elif op == "layer_norm":
        line = f"layer_norm {words} 0"
    elif op in ("embedding", "embedding_layer_norm"):
        elements = int(shape["tokens"]) * int(shape["channels"])
        line = f"{op} {shape['tokens']} {shape['channels']}"
    elif op == "mean_pool":
        elements = int(shape["tokens"]) * int(shape["channels"])
        line = f"mean_pool {shape['tokens']} {shape['channels']}"
    else:
        line = f"{op} {words}"
    return Case(op, isa, shape, line, products, elements)


def model_cases(isa: str, tokens: Iterable[int]) -> list[Case]:
    """The shapes of the benchmarks with so many tokens, on the kernels that an instruction set brings itself."""
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
    """A row's name: what it counts."""
    return " ".join([row["op"], row["isa"], *(f"{name}={value}" for name, value in row["shape"].items())])


def loops_inside(build: Path, intervals: Iterable[Counts]) -> set[int]:
    """Addresses of the driver's instructions in inner loops of products, of the functions that ran."""
    functions = Functions(build / "driver")
    ran = {functions(address) for counts in intervals for address, _ in counts}
    loops = inner_loops(disassemble(build / "driver"), symbols=ran)
    return {i.address for loop in loops if loop.multiplies for i in loop.instructions}


def of_addresses(counts: Counts, addresses: set[int]) -> Counts:
    """The counts of some of the instructions."""
    return Counter({(address, word): n for (address, word), n in counts.items() if address in addresses})


def instruction_rows(build: Path, cases: Iterable[Case]) -> list[dict[str, Any]]:
    """Count the cases: a row each."""
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
