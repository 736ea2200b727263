"""The inner loops of kernels compiled for AArch64, by the tests' reader of disassembly."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.arm.build import run_tool, tests_module, tool

__all__ = ["InnerLoop", "disassemble", "inner_loops", "kernel_loop", "largest"]

# What takes a product's place on a multiplier's port, and what ends in a sum beside it.
PRODUCT = r"fml[as]|[us]{1,2}dot|[us]{1,2}mmla|[us]m(ull|lal|lsl)2?"
ACCUMULATE = r"fml[as]|[us]{1,2}dot|[us]{1,2}mmla|[us]m(lal|lsl)2?|[us]adalp"
ARITHMETIC = rf"{PRODUCT}|[us]adalp|[us]addlp|[us]addw2?"


@dataclass(frozen=True)
class InnerLoop:
    """An innermost loop with products in it.

    Attributes
    ----------
    file, symbol : str
        Of the object or program, and the function.
    instructions : tuple
        Of `address`, `name` and `operands`, in the order of their addresses.
    """

    file: str
    symbol: str
    instructions: tuple[Any, ...]

    @property
    def products(self) -> int:
        return self.count(PRODUCT)

    @property
    def accumulators(self) -> int:
        """Registers that sums are in: the size of the tile, however far the loop is unrolled."""
        adds = (i for i in self.instructions if re.fullmatch(ACCUMULATE, i.name))
        return len({re.split(r"[.,]", add.operands)[0] for add in adds})

    @property
    def arithmetic(self) -> tuple[Any, ...]:
        """Products and sums without what feeds them."""
        return tuple(i for i in self.instructions if re.fullmatch(ARITHMETIC, i.name))

    @property
    def multiplies(self) -> bool:
        """Whether it is a tile's: mostly products and sums, which the loops of polynomials are not."""
        return 2 * len(self.arithmetic) > len(self.instructions)

    def count(self, pattern: str) -> int:
        """Instructions whose names match."""
        return sum(bool(re.fullmatch(pattern, i.name)) for i in self.instructions)

    def assembly(self) -> str:
        """The loop as an assembler takes it, with jumps to its first instruction."""
        lines = [re.sub(r"[0-9a-f]+ <.*>", ".Lloop", str(i)) for i in self.instructions]
        return "\n".join([".Lloop:", *lines, ""])

    def __str__(self) -> str:
        return f"{self.file}: {self.symbol}\n{self.assembly()}"


def disassemble(path: Path) -> str:
    """The listing of an object or a program."""
    objdump = tool("aarch64-linux-gnu-objdump", "binutils-aarch64-linux-gnu")
    return run_tool(objdump, "--disassemble", "--demangle", "--no-show-raw-insn", path)


def inner_loops(listing: str, file: str = "", symbols: set[str] | None = None) -> list[InnerLoop]:
    """The innermost loops of a listing that have products; of all functions, or of those named."""
    reader = tests_module("disassembly")
    architecture, functions = reader.parse(listing)
    loops = []
    for symbol, instructions in functions:
        if symbols is not None and symbol not in symbols:
            continue
        if not any(re.fullmatch(PRODUCT, i.name) for i in instructions):
            continue
        for innermost, part in reader.own_parts(architecture, instructions):
            loop = InnerLoop(file, symbol, tuple(instructions[i] for i in part))
            if innermost and loop.products:
                loops.append(loop)
    return loops


def largest(loops: list[InnerLoop]) -> InnerLoop:
    """The loop of the whole tile: with the most sums, and of those the one with the least else.

    Where there are matrix products of bytes, dot products are for what is left over.
    """
    loops = [loop for loop in loops if loop.multiplies] or loops
    loops = [loop for loop in loops if loop.count(r"[us]{1,2}mmla")] or loops
    most = max(loop.accumulators for loop in loops)
    whole = [loop for loop in loops if loop.accumulators == most]
    return min(whole, key=lambda loop: len(loop.instructions) / loop.products)


def kernel_loop(build: Path, kernel: str) -> InnerLoop | None:
    """The loop of a kernel's whole tile; None if the kernel was not compiled.

    Parameters
    ----------
    build : Path
        As `bench.arm.build.build` returns it.
    kernel : str
        Its symbol, such as "pwconv_s8_neon".
    """
    tables = tests_module("kernel_tables")
    names = [(op, isa) for op in tables.OPS for isa in tables.ISAS if f"{op}_{isa}" == kernel]
    path = build / "library" / tables.object_of(*names[0])
    return largest(inner_loops(disassemble(path), path.name)) if path.exists() else None
