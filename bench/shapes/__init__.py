"""What is measured: the cases of forward.csv, and the ops at the model's shapes (squeezeops/benchmark/shapes)."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from bench.inputs import lengths_of
from squeezeops.benchmark.cases import op_of
from squeezeops.benchmark.shapes import Shape, model_shapes

__all__ = ["Forward", "OpCase", "fields_of", "forward_cases", "op_cases", "parse_forward", "variant"]

FILE = Path(__file__).with_name("forward.csv")
TASKS = ("base", "text-classification")
AGAINST = ("", "padded", "each")
DTYPES = ("float32", "float16", "int8")
ISAS = ("", "avx2")
OPS = ("pointwise_conv", "pointwise_conv_int8", "attention", "layer_norm", "softmax", "gelu")


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
    dtype : str
        What our weights are stored in; other than "float32", peers run in float32 as well as in that, where they can.
    isa : str
        The instruction set that our kernels are held to, next to our own float32 alone; "" for the best.
    """

    batch: int
    tokens: str
    threads: int
    task: str
    against: str
    quick: int
    dtype: str = "float32"
    isa: str = ""

    @property
    def lengths(self) -> list[int]:
        return lengths_of(self.batch, self.tokens)

    def describe(self) -> str:
        suffix = {"each": ", peers one by one", "": "" if self.isa else ", alone"}.get(self.against, "")
        threads = f"{self.threads} thread{'s'[: self.threads - 1]}"
        return f"{self.task} {self.batch} x {self.tokens}, {threads}{variant(self.dtype, self.isa)}{suffix}"

    def fields(self) -> dict[str, Any]:
        """Those that a row of results has: `dtype` and `isa` where they are not the default."""
        defaults = self._field_defaults
        return {name: value for name, value in self._asdict().items() if value != defaults.get(name)}


def variant(dtype: str, isa: str) -> str:
    """What a description says of a dtype and an instruction set."""
    return ("" if dtype == "float32" else f", {dtype}") + (f" on {isa}" if isa else "")


def fields_of(row: dict[str, Any]) -> dict[str, Any]:
    """The fields of the case of a row of results, with those that it leaves out."""
    return {**Forward._field_defaults, **row["case"]}


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
        int(row["batch"]),
        row["tokens"],
        int(row["threads"]),
        row["task"],
        row["against"],
        int(row["quick"]),
        row["dtype"] or "float32",
        row["isa"] or "",
    )
    for name, known in (("task", TASKS), ("against", AGAINST), ("dtype", DTYPES), ("isa", ISAS)):
        if getattr(case, name) not in known:
            raise ValueError(f"{name}: expected one of {', '.join(map(repr, known))}, got {row[name]!r}")
    if case.isa and (case.dtype == "float32" or case.against):
        raise ValueError(f"isa: expected one for float16 or int8 alone, against our own float32, got {case.isa!r}")
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
    """Return the ops of an encoder layer at the model's shapes; convolutions warm and cold.

    Those in int8 come with all that the model has them do, and alone: of bytes, without activation and residual.
    """
    cases = []
    for name in OPS:
        op = op_of(name)
        shapes = [shape for shape in model_shapes(name) if shape.get("tokens") != 1]  # the pooler's
        if name == "pointwise_conv_int8":
            shapes += [{**shape, "activation": "none", "residual": 0, "quantized": 1} for shape in shapes]
        for shape in map(op.check, shapes):
            cases += [OpCase(name, shape, cold) for cold in ((False, True) if op.has_weights else (False,))]
    return cases
