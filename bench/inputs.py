"""The inputs that all libraries are given: token ids for the model, arrays for the ops."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bench.libraries import Inputs
from bench.model import CONFIG
from squeezeops.benchmark.cases import COLD_BYTES, floats

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["copies", "floats", "lengths_of", "one_by_one", "padded"]


def lengths_of(batch: int, tokens: str) -> list[int]:
    """Lengths of texts: ``"128"`` for equal ones, ``"8-128"`` for uniformly distributed ones, the same each time.

    Raises
    ------
    ValueError
        If it reads otherwise, or a length is out of the model's range.
    """
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
    """Texts of random tokens as one batch, with a mask if they differ in length."""
    shape = len(lengths), max(lengths)
    ids, mask = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    for row, text in enumerate(_texts(lengths)):
        ids[row, : len(text)], mask[row, : len(text)] = text, 1
    return Inputs(ids, None if mask.all() else mask)


def one_by_one(lengths: list[int]) -> list[Inputs]:
    """The same texts, each a batch of its own."""
    return [Inputs(text[None]) for text in _texts(lengths)]


def copies(weight: Any, cold: bool) -> int:
    """How many copies of a weight do not fit a cache; 1 if it may be in one."""
    return -(-COLD_BYTES // weight.nbytes) if cold else 1
