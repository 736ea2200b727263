"""The shapes to measure an op at: the model's, from shapes/<op>.csv, and those a user writes. Imports no NumPy."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

__all__ = ["Shape", "describe", "model_shapes", "op_names", "parse"]

FOLDER = Path(__file__).parent / "shapes"
LARGEST = 2**31 - 1

Shape = dict[str, int | str]  # parameters of an op's maker in `cases`: sizes, and words such as an activation


def op_names() -> list[str]:
    """Return the names of the ops that have shapes, in alphabetical order."""
    return sorted(path.stem for path in FOLDER.glob("*.csv"))


def model_shapes(op: str) -> list[Shape]:
    """Return the shapes at which SqueezeBERT-base runs `op`: texts of 16, 32, 128 and 384 tokens."""
    import csv

    with open(FOLDER / f"{op}.csv", encoding="utf-8", newline="") as file:
        return [_values(row.items()) for row in csv.DictReader(file)]


def parse(text: str) -> Shape:
    """Read a shape as `describe` writes it: ``tokens=64,c_in=768``.

    Raises
    ------
    ValueError
        If a part of it is not ``name=value``, or a name comes twice.
    """
    pairs = [part.partition("=") for part in text.split(",")]
    names = [name.strip() for name, _, _ in pairs]
    if not all(name and equals and value.strip() for name, (_, equals, value) in zip(names, pairs, strict=True)):
        raise ValueError(f"expected a shape such as tokens=64,channels=768, got {text!r}")
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"expected each size once, got {name} twice in {text!r}")
    return _values((name, value.strip()) for name, (_, _, value) in zip(names, pairs, strict=True))


def describe(shape: Shape) -> str:
    """Write a shape in one word, for `parse`."""
    return ",".join(f"{name}={value}" for name, value in shape.items())


def _values(pairs: Iterable[tuple[str, str]]) -> Shape:
    return {name: int(value) if value.isascii() and value.isdigit() else value for name, value in pairs}
