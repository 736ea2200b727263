"""What is measured: the cases of forward.csv, and the ops at the model's shapes (squeezeops/benchmark/shapes)."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from bench.inputs import lengths_of
from squeezeops.benchmark.cases import op_of
from squeezeops.benchmark.shapes import Shape, model_shapes

__all__ = ["Forward", "OpCase", "forward_cases", "op_cases", "parse_forward"]

FILE = Path(__file__).with_name("forward.csv")
TASKS = ("base", "text-classification")
AGAINST = ("", "padded", "each")
OPS = ("pointwise_conv", "attention", "layer_norm", "softmax", "gelu")


class Forward(NamedTuple):
    """A forward pass.

    Attributes
    ----------
    batch, tokens : int and str
        As for `bench.inputs.lengths_of`.
    threads : int
    task : str
    against : str
        What peers are given: "padded", the batch as one; "each", one text after the other; "" for no peers.
    quick : int
        Pairs that a quick run takes; 0 leaves the case out of it.
    """

    batch: int
    tokens: str
    threads: int
    task: str
    against: str
    quick: int

    @property
    def lengths(self) -> list[int]:
        return lengths_of(self.batch, self.tokens)

    def describe(self) -> str:
        suffix = {"each": ", peers one by one", "": ", alone"}.get(self.against, "")
        return f"{self.task} {self.batch} x {self.tokens}, {self.threads} thread{'s'[: self.threads - 1]}{suffix}"


class OpCase(NamedTuple):
    """An op at a shape, with weights in a cache or in none."""

    op: str
    shape: Shape
    cold: bool

    def describe(self) -> str:
        sizes = ",".join(f"{name}={value}" for name, value in self.shape.items())
        return f"{self.op} {sizes}{' cold' if self.cold else ''}"


def parse_forward(lines: Iterable[str]) -> list[Forward]:
    """Read the lines of a file of cases.

    Raises
    ------
    ValueError
        That names the line, if a column is missing or unknown, or a value is none that it can have.
    """
    reader = csv.DictReader(lines)
    if reader.fieldnames is None or sorted(reader.fieldnames) != sorted(Forward._fields):
        raise ValueError(f"line 1: expected columns {', '.join(Forward._fields)}, got {reader.fieldnames}")
    cases: list[Forward] = []
    for number, row in enumerate(reader, 2):
        try:
            case = _case(row)
        except (TypeError, ValueError) as error:
            raise ValueError(f"line {number}: {error}") from None
        if case in cases:
            raise ValueError(f"line {number}: expected each case once, got {case.describe()} again")
        cases.append(case)
    return cases


def _case(row: dict[str, str]) -> Forward:
    case = Forward(
        int(row["batch"]), row["tokens"], int(row["threads"]), row["task"], row["against"], int(row["quick"])
    )
    for name, known in (("task", TASKS), ("against", AGAINST)):
        if row[name] not in known:
            raise ValueError(f"{name}: expected one of {', '.join(map(repr, known))}, got {row[name]!r}")
    for name, least in (("batch", 1), ("threads", 1), ("quick", 0)):
        if getattr(case, name) < least:
            raise ValueError(f"{name}: expected at least {least}, got {row[name]}")
    lengths_of(case.batch, case.tokens)
    return case


def forward_cases() -> list[Forward]:
    """Return the cases of forward.csv."""
    with FILE.open(encoding="utf-8", newline="") as file:
        return parse_forward(file)


def op_cases() -> list[OpCase]:
    """Return the ops of an encoder layer at the model's shapes; convolutions warm and cold."""
    cases = []
    for name in OPS:
        op = op_of(name)
        for shape in map(op.check, model_shapes(name)):
            if shape.get("tokens") == 1:  # the pooler's
                continue
            cases += [OpCase(name, shape, cold) for cold in ((False, True) if op.has_weights else (False,))]
    return cases
