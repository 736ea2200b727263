"""Instruction counts of the plugin count.c, sorted into kinds by encoding and into functions by address."""

from __future__ import annotations

import bisect
import os
import tempfile
from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from bench.arm.build import run_tool

# (name, mask, value): the first row with word & mask == value tells what an instruction of AArch64 is.
ENCODINGS = (
    ("fmla", 0xBFA0FC00, 0x0E20CC00),  # vectors, as FMLS
    ("fmla", 0xBFA0FC00, 0x0EA0CC00),
    ("fmla", 0xBF80B400, 0x0F801000),  # by element, as FMLS
    ("dot", 0x9FE0FC00, 0x0E809400),  # SDOT, UDOT
    ("dot", 0xBFE0FC00, 0x0E809C00),  # USDOT
    ("dot", 0x9FC0F400, 0x0F80E000),  # by element
    ("mmla", 0xDFE0F400, 0x4E80A400),  # SMMLA, UMMLA, USMMLA
    ("mull", 0x9F20FC00, 0x0E208000),  # SMLAL, UMLAL
    ("mull", 0x9F20FC00, 0x0E20C000),  # SMULL, UMULL
    ("mull", 0x9F00F400, 0x0F002000),  # SMLAL by element
    ("mull", 0x9F00F400, 0x0F00A000),  # SMULL by element
    ("pairwise", 0x9F3FBC00, 0x0E202800),  # SADDLP, SADALP, and unsigned
    ("branch", 0x7C000000, 0x14000000),  # B, BL
    ("branch", 0xFE000000, 0x54000000),  # B.cond
    ("branch", 0x7C000000, 0x34000000),  # CBZ, CBNZ, TBZ, TBNZ
    ("branch", 0xFE000000, 0xD6000000),  # BR, BLR, RET
    ("prefetch", 0xFFC00000, 0xF9800000),  # PRFM, immediate offset
    ("prefetch", 0xFFE00C00, 0xF8A00800),  # register offset
    ("prefetch", 0xFFE00C00, 0xF8800000),  # PRFUM
    ("load", 0xBE400000, 0x0C400000),  # LD1 to LD4, LD1R
    ("store", 0xBE400000, 0x0C000000),
    ("load", 0x3A400000, 0x28400000),  # LDP
    ("store", 0x3A400000, 0x28000000),
    ("load", 0x3B000000, 0x18000000),  # literal
    ("load", 0x3F400000, 0x08400000),  # exclusive, acquire
    ("store", 0x3F400000, 0x08000000),
    ("load", 0x3A400000, 0x38400000),  # one register
    ("load", 0x3E800000, 0x38800000),  # with sign
    ("store", 0x3A400000, 0x38000000),
    ("vector", 0x0E000000, 0x0E000000),  # all else of floats and vectors
    ("integer", 0x1C000000, 0x10000000),  # immediates
    ("integer", 0x0E000000, 0x0A000000),  # registers
)
Counts = Counter[tuple[int, int]]  # how often an instruction ran, by its address and its word

KINDS = (*dict.fromkeys(name for name, _, _ in ENCODINGS), "other")


@cache
def kind(word: int) -> str:
    """Return the kind of an instruction, one of `KINDS`."""
    return next((name for name, mask, value in ENCODINGS if word & mask == value), "other")


def kinds(counts: Counts) -> dict[str, int]:
    """Sum the counts by kind, without zeros."""
    sums: Counter[str] = Counter()
    for (_, word), count in counts.items():
        sums[kind(word)] += count
    return {name: sums[name] for name in KINDS if sums[name]}


def read_intervals(path: Path) -> list[Counts]:
    """Read the plugin's output."""
    intervals: list[Counts] = []
    with path.open(encoding="ascii") as file:
        for line in file:
            if line == "interval\n":
                intervals.append(Counter())
                continue
            address, count, *words = (int(part, 16) for part in line.split())
            counts = intervals[-1]
            for i, word in enumerate(words):
                counts[address + 4 * i, word] += count
    return intervals


def run_counted(
    build: Path,
    cpu: str,
    program: Sequence[str | Path],
    qemu: Sequence[str | Path] = (),
    text: str = "",
    environment: dict[str, str] | None = None,
) -> tuple[str, list[Counts]]:
    """Run a program under the plugin on a processor that QEMU emulates; return its output and the intervals."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("SQUEEZEOPS_", "QEMU_"))}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "counts"
        plugin = ("-plugin", f"{build / 'libcount.so'},out={out}")
        command = ("qemu-aarch64", "-cpu", cpu, *plugin, *qemu, *program)
        output = run_tool(*command, text=text, env={**clean, **(environment or {})})
        return output, read_intervals(out)


class Functions:
    """The functions of a program by address."""

    def __init__(self, program: Path) -> None:
        listing = run_tool("aarch64-linux-gnu-nm", "-nC", program)
        rows = (line.split(" ", 2) for line in listing.splitlines())
        table = [(int(address, 16), name) for address, sort, name in rows if sort in "TtWwi"]
        self.addresses = [address for address, _ in table]
        self.names = [name for _, name in table]

    def __call__(self, address: int) -> str:
        i = bisect.bisect_right(self.addresses, address) - 1
        return self.names[i] if i >= 0 else "?"
