"""Checks of the arguments that are not arrays, for every backend that checks in Python; without NumPy.

The messages and exceptions are those of `_checks`.
"""

from __future__ import annotations

import itertools
import numbers
import operator
import sys
from typing import Any

from squeezeops.packing import SCALE_BYTES
from squeezeops.packing import STORAGE as STORAGE

ACTIVATIONS = (None, "gelu", "gelu_tanh", "relu", "tanh")
APPROXIMATE = ("none", "tanh")
FULLY_MASKED = ("uniform", "zero")
MOST_INT8_DEPTH = 2**17  # channels a group, whose sums of products int32 holds
FLOAT_MAX = (2 - 2**-23) * 2.0**127


def is_numpy(value: object, name: str) -> bool:
    """Whether `value` is an instance of that class of NumPy, which is not imported to find out."""
    return isinstance(value, getattr(sys.modules.get("numpy"), name, ()))


def kind(value: Any) -> str:
    """How a message calls the type of `value`: the dtype of an array, else the class."""
    if is_numpy(value, "ndarray"):
        return str(value.dtype)
    return f"a {type(value).__name__} scalar" if is_numpy(value, "generic") else type(value).__name__


def integer(op: str, name: str, value: Any) -> int:
    """Check an int. A bool is a mistake here, not a 1."""
    try:
        if isinstance(value, bool) or is_numpy(value, "bool_"):
            raise TypeError
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{op}: {name}: expected an int, got {kind(value)}") from None


def size(op: str, name: str, value: Any) -> int:
    """Check an int that is not negative."""
    number = integer(op, name, value)
    if not 0 <= number < 2**63:
        raise ValueError(f"{op}: {name}: expected an int from 0 to 2^63 - 1, got {number}")
    return number


def count(op: str, name: str, value: Any) -> int:
    """Check a positive int."""
    number = integer(op, name, value)
    if not 1 <= number < 2**63:
        raise ValueError(f"{op}: {name}: expected a positive int below 2^63, got {number}")
    return number


MOST_GROUPS = 2**28  # as of channels: zero of those could have any number


def divisor(op: str, name: str, value: object, **sizes: int) -> int:
    """Check a positive int that divides every one of `sizes`."""
    number = count(op, name, value)
    if number > MOST_GROUPS or any(size % number for size in sizes.values()):
        wanted = " and ".join(f"{key} = {size}" for key, size in sizes.items())
        raise ValueError(f"{op}: {name}: expected a divisor of {wanted}, got {number}")
    return number


def channels_of(op: str, name: str, shape: tuple[int, ...], dtype: str, channels: int | None) -> int:
    """Check the shape of an embedding table, of `channels` if that is given; return how many it has."""
    more = SCALE_BYTES if dtype == "int8" else 0
    if len(shape) != 2 or shape[1] < more or (channels is not None and shape[1] != channels + more):
        wanted = ("channels" + (f" + {more}" if more else "")) if channels is None else channels + more
        raise ValueError(f"{op}: {name}: expected shape (rows, {wanted}), got {shape}")
    return shape[1] - more


def real(op: str, name: str, value: Any) -> float:
    """Check a number."""
    try:
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            raise TypeError
        return float(value)
    except (TypeError, OverflowError):
        raise TypeError(f"{op}: {name}: expected a number, got {kind(value)}") from None


def epsilon(op: str, value: object) -> float:
    """Check the eps of a normalisation."""
    number = real(op, "eps", value)
    if not 0 <= number <= FLOAT_MAX:
        raise ValueError(f"{op}: eps: expected a finite number >= 0, got {number}")
    return number


def choice(op: str, name: str, value: object, allowed: tuple[str | None, ...]) -> Any:
    """Check one of a few words."""
    if not any(value is None if word is None else isinstance(value, str) and value == word for word in allowed):
        raise ValueError(f"{op}: {name}: expected one of {', '.join(map(repr, allowed))}, got {value!r}")
    return value


def offsets(op: str, name: str, values: list[int], total: int) -> list[int]:
    """Check the offsets of the sequences of a ragged batch, at least one."""
    if values[0] != 0:
        raise ValueError(f"{op}: {name}: expected to start at 0, got {values[0]}")
    for before, after in itertools.pairwise(values):
        if after < before:
            raise ValueError(f"{op}: {name}: expected values that do not decrease, got {after} after {before}")
    if values[-1] != total:
        raise ValueError(f"{op}: {name}: expected to end at {total}, got {values[-1]}")
    return values
