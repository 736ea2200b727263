"""Finds the inner loops of kernels compiled for AArch64, with the disassembly reader of the tests."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.arm.build import run_tool, tests_module

# Instructions that use a multiplier's port, and those that accumulate.
PRODUCT = r"fml[as]|[us]{1,2}dot|[us]{1,2}mmla|[us]m(ull|lal|lsl)2?"
ACCUMULATE = r"fml[as]|[us]{1,2}dot|[us]{1,2}mmla|[us]m(lal|lsl)2?|[us]adalp"
ARITHMETIC = rf"{PRODUCT}|[us]adalp|[us]addlp|[us]addw2?"


@dataclass(frozen=True)
class InnerLoop:
    """An innermost loop with products."""

    file: str  # the object or program
    symbol: str  # the function
    instructions: tuple[Any, ...]  # with `address`, `name` and `operands`, in the order of their addresses

    @property
    def products(self) -> int:
        return self.count(PRODUCT)

    @property
    def accumulators(self) -> int:
        """Registers that hold sums: the size of the tile, however far the loop is unrolled."""
        adds = (i for i in self.instructions if re.fullmatch(ACCUMULATE, i.name))
        return len({re.split(r"[.,]", add.operands)[0] for add in adds})

    @property
    def arithmetic(self) -> tuple[Any, ...]:
        """Products and sums, without loads."""
        return tuple(i for i in self.instructions if re.fullmatch(ARITHMETIC, i.name))

    @property
    def multiplies(self) -> bool:
        """Whether it is the loop of a tile: mostly products and sums, unlike loops of polynomials."""
        return 2 * len(self.arithmetic) > len(self.instructions)

    def count(self, pattern: str) -> int:
        """The number of instructions whose names match."""
        return sum(bool(re.fullmatch(pattern, i.name)) for i in self.instructions)

    def assembly(self) -> str:
        """The loop as assembler input, with jumps to its first instruction."""
        lines = [re.sub(r"[0-9a-f]+ <.*>", ".Lloop", str(i)) for i in self.instructions]
        return "\n".join([".Lloop:", *lines, ""])

    def __str__(self) -> str:
        return f"{self.file}: {self.symbol}\n{self.assembly()}"


def disassemble(path: Path) -> str:
    """The listing of an object or a program."""
    return run_tool("aarch64-linux-gnu-objdump", "--disassemble", "--demangle", "--no-show-raw-insn", path)


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
    """The loop of the whole tile: the one with the most sums, and among those the fewest other instructions.

    Where there are matrix products of bytes, loops of dot products handle the remainder only.
    """
    loops = [loop for loop in loops if loop.multiplies] or loops
    loops = [loop for loop in loops if loop.count(r"[us]{1,2}mmla")] or loops
    most = max(loop.accumulators for loop in loops)
    whole = [loop for loop in loops if loop.accumulators == most]
    return min(whole, key=lambda loop: len(loop.instructions) / loop.products)


def kernel_loop(build: Path, kernel: str) -> InnerLoop | None:
    """The loop of the whole tile of a kernel, such as "pwconv_s8_neon"; None if it was not compiled."""
    tables = tests_module("kernel_tables")
    (path,) = (build / tables.object_of(op, isa) for op in tables.OPS for isa in tables.ISAS if f"{op}_{isa}" == kernel)
    return largest(inner_loops(disassemble(path), path.name)) if path.exists() else None
