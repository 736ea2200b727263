"""What `bench.compare` measures, and the token ids: forward passes (forward.csv), and the ops of an encoder layer."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bench.libraries import Inputs
from bench.model import CONFIG
from squeezeops.benchmark.cases import Op, Shape, describe, op_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

FILE = Path(__file__).with_name("forward.csv")
DTYPES = ("float32", "float16", "int8")
WORDS = {
    "task": ("base", "text-classification"),
    "against": ("", "padded", "each"),
    "dtype": DTYPES,
    "isa": ("", "avx2"),
}
OPS = ("pointwise_conv", "pointwise_conv_int8", "attention", "layer_norm", "softmax", "gelu")


class Forward(NamedTuple):
    """A forward pass."""

    batch: int
    tokens: str  # of each text, as for `lengths_of`
    threads: int
    task: str
    against: str  # what peers run: "padded", one padded batch; "each", one text after the other; "", no peers
    quick: int  # pairs that a quick run takes; 0 skips the case
    dtype: str = "float32"  # of our weights; peers run in float32, and next to int8 in int8 too
    isa: str = ""  # that our kernels are held to, compared with our own float32 only; "" for the best

    @property
    def lengths(self) -> list[int]:
        return lengths_of(self.batch, self.tokens)

    def describe(self) -> str:
        suffix = {"each": ", peers one by one", "": "" if self.isa else ", alone"}.get(self.against, "")
        on = ("" if self.dtype == "float32" else f", {self.dtype}") + (f" on {self.isa}" if self.isa else "")
        return f"{self.task} {self.batch} x {self.tokens}, {plural(self.threads)}{on}{suffix}"

    def fields(self) -> dict[str, Any]:
        """Return the fields for a results file, which leaves out `dtype` and `isa` if they are the default."""
        defaults = self._field_defaults
        return {name: value for name, value in self._asdict().items() if value != defaults.get(name)}


def plural(threads: int) -> str:
    return f"{threads} thread{'s' if threads > 1 else ''}"


def fields_of(row: dict[str, Any]) -> dict[str, Any]:
    """Return the case of a row of results, with the defaults that the file leaves out."""
    return {**Forward._field_defaults, **row["case"]}


class OpCase(NamedTuple):
    """An op at a shape; `cold` if its weights are in no cache."""

    op: Op
    shape: Shape
    cold: bool

    def describe(self) -> str:
        return f"{self.op.name} {describe(self.shape)}{' cold' if self.cold else ''}"

    def fields(self) -> dict[str, Any]:
        """Return the fields for a results file."""
        return {"op": self.op.name, **self.shape, "cold": int(self.cold)}


def parse_forward(lines: Iterable[str]) -> list[Forward]:
    """Read a file of cases. Raises ValueError, which names the line."""
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
    numbers = {name: int(row[name]) for name in ("batch", "threads", "quick")}
    words = {"dtype": row["dtype"] or "float32", "isa": row["isa"] or ""}
    case = Forward(**{**row, **numbers, **words})  # type: ignore[arg-type]
    for name, known in WORDS.items():
        if getattr(case, name) not in known:
            raise ValueError(f"{name}: expected one of {', '.join(map(repr, known))}, got {row[name]!r}")
    if case.isa and (case.dtype == "float32" or case.against):
        raise ValueError(f"isa: expected one for float16 or int8 without peers only, got {case.isa!r}")
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
    """Return the ops of an encoder layer at the model's shapes; convolutions with warm and with cold weights.

    An int8 convolution comes twice: with all the model's work, and alone, on int8 rows without activation and residual.
    """
    cases = []
    for op in map(op_of, OPS):
        shapes = [shape for shape in op.shapes if shape.get("tokens") != 1]  # without the pooler
        if op.int8:
            shapes += [{**shape, "activation": "none", "residual": 0, "quantized": 1} for shape in shapes]
        for shape in map(op.check, shapes):
            cases += [OpCase(op, shape, cold) for cold in ((False, True) if op.has_weights else (False,))]
    return cases


# ---- token ids -------------------------------------------------------------------------------------------------------


def lengths_of(batch: int, tokens: str) -> list[int]:
    """Return the lengths of texts: ``"128"`` for equal ones, ``"8-128"`` for uniformly distributed, seeded ones."""
    first, dash, last = tokens.partition("-")
    if not (first.isdecimal() and (last.isdecimal() if dash else True)):
        raise ValueError(f"tokens: expected a number or a range such as 8-128, got {tokens!r}")
    low, high = int(first), int(last or first)
    if not 1 <= low <= high <= CONFIG["max_position_embeddings"]:
        raise ValueError(f"tokens: expected lengths from 1 to {CONFIG['max_position_embeddings']}, got {tokens!r}")
    return [int(length) for length in np.random.default_rng(2).integers(low, high + 1, batch)]


def _texts(lengths: list[int]) -> list[NDArray[np.int64]]:
    random = np.random.default_rng(3)
    return [random.integers(0, CONFIG["vocab_size"], length) for length in lengths]


def padded(lengths: list[int]) -> Inputs:
    """Return texts of random tokens as one batch, with a mask if their lengths differ."""
    shape = len(lengths), max(lengths)
    ids, mask = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    for row, text in enumerate(_texts(lengths)):
        ids[row, : len(text)], mask[row, : len(text)] = text, 1
    return Inputs(ids, None if mask.all() else mask)


def one_by_one(lengths: list[int]) -> list[Inputs]:
    """Return the same texts, each in its own batch."""
    return [Inputs(text[None]) for text in _texts(lengths)]
