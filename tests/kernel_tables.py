"""The tables of csrc/isa/isas.def and csrc/kernels/ops.def, and the objects that the build makes of them.

Tests, `tests/arm` and `bench/arm` take their lists of instruction sets and kernels from here where no compiled library
can be asked.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
CSRC = ROOT / "csrc"


class Isa(NamedTuple):
    """A row of isas.def."""

    tag: str
    architecture: str
    implies: str
    floats: str | None  # the trait
    bytes: str | None
    test: str
    permission: str | None

    def chain(self) -> list[Isa]:
        """The row and those that it implies, the nearest first."""
        return [self] if self.implies == self.tag else [self, *ISAS[self.implies].chain()]

    def has(self, op: Op) -> bool:
        """Whether there are kernels of an op for it alone."""
        return getattr(self, op.trait) is not None or any(CSRC.glob(f"kernels/*/{op.name}_{self.tag}.cc"))


class Op(NamedTuple):
    """A row of ops.def."""

    op: str
    dtype: str
    trait: str

    @property
    def name(self) -> str:
        return f"{self.op}_{self.dtype}"


def read_table(text: str, macro: str, columns: int) -> list[list[Any]]:
    """The words of each row of a table: SQZ_ISA(word, ...), of which `none` becomes None."""
    found = re.findall(rf"{macro}\(([^)]*)", re.sub("//.*", "", text))
    rows = [re.findall(r"\w+", row) for row in found]
    for row in rows:
        if len(row) != columns:
            raise ValueError(f"{macro}: expected {columns} words in a row, got: {' '.join(row)}")
    return [[None if word == "none" else word for word in row] for row in rows]


def _rows(path: str, macro: str, columns: int) -> list[list[Any]]:
    return read_table((CSRC / path).read_text(encoding="utf-8"), macro, columns)


ISAS = {row[0]: Isa(*row) for row in _rows("isa/isas.def", "SQZ_ISA", len(Isa._fields))}
OPS = {op.name: op for op in (Op(*row) for row in _rows("kernels/ops.def", "SQZ_OP", len(Op._fields)))}
# What an architecture's compiler can build, by the names of uname and of the folder `tests/arm`.
ARCHITECTURES = {
    "x86_64": ("any", "x86_64"),
    "aarch64": ("any", "arm", "arm64"),
    "armv7": ("any", "arm", "arm32"),
    "wasm": ("any", "wasm"),
}


def isas_on(machine: str) -> list[Isa]:
    """The rows of an architecture, best first."""
    return [isa for isa in reversed(ISAS.values()) if isa.architecture in ARCHITECTURES[machine]]


def without_simd() -> list[str]:
    """Options for CMake that leave all instruction sets out but the plainest."""
    return [f"-DSQUEEZEOPS_WITHOUT_{tag.upper()}=ON" for tag in ISAS if tag != "scalar"]


def source_of(name: str, isa: str) -> Path:
    """The source of a kernel or a peak loop, such as "pwconv_f32" for "avx2"."""
    return next(path for stem in (f"{name}_{isa}", name) for path in CSRC.glob(f"*/**/{stem}.cc"))


def object_of(name: str, isa: str) -> str:
    """The object made of that source, below a build folder."""
    return f"CMakeFiles/squeezeops_{isa}.dir/{source_of(name, isa).relative_to(ROOT).as_posix()}.o"


def includes(path: Path) -> list[str]:
    """The project's files that a source includes itself, such as "simd/common.h"."""
    return re.findall(r'^\s*#\s*include "([^"]+)"', path.read_text(encoding="utf-8"), re.MULTILINE)


def included(path: Path) -> set[str]:
    """What it includes, and what that includes in turn."""
    found: set[str] = set()
    new = includes(path)
    while new:
        name = new.pop()
        if name not in found and (CSRC / name).exists():
            found.add(name)
            new += includes(CSRC / name)
    return found


def isa_of_object(path: Path) -> str | None:
    """The instruction set that an object was compiled for; None for one that runs everywhere."""
    found = re.search(r"/squeezeops_(\w+)\.dir/", path.as_posix())
    return found[1] if found and found[1] in ISAS else None
