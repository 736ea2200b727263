"""Argument checks of the NumPy backend.

Every message reads `{op}: {argument}: expected {what}, got {what}`: a TypeError for a wrong type or dtype, a ValueError
for a wrong shape or value. The compiled backends raise the same exception types naming the same arguments.
"""

from __future__ import annotations

import numpy as np

from squeezeops.backends._scalars import ACTIVATIONS as ACTIVATIONS
from squeezeops.backends._scalars import APPROXIMATE as APPROXIMATE
from squeezeops.backends._scalars import FULLY_MASKED as FULLY_MASKED
from squeezeops.backends._scalars import choice as choice
from squeezeops.backends._scalars import count as count
from squeezeops.backends._scalars import divisor as divisor
from squeezeops.backends._scalars import epsilon as epsilon
from squeezeops.backends._scalars import kind, offsets
from squeezeops.backends._scalars import real as real


def array(op: str, name: str, value: object, *dtypes: str) -> np.ndarray:
    """Check an array of one of `dtypes` in native byte order; return it C-contiguous, copied if it was not."""
    if not isinstance(value, np.ndarray) or not any(value.dtype == dtype for dtype in dtypes):
        raise TypeError(f"{op}: {name}: expected an array of {' or '.join(dtypes)}, got {kind(value)}")
    return np.asarray(value, order="C")


def floats(op: str, name: str, value: object) -> np.ndarray:
    """Check a float32 array of any shape."""
    return array(op, name, value, "float32")


def rows(op: str, name: str, value: object, axes: int = 1) -> np.ndarray:
    """Check a float32 array with a last axis to work along, or more."""
    value = floats(op, name, value)
    if value.ndim < axes:
        expected = f"at least {axes} dimension{'s' if axes > 1 else ''}"
        raise ValueError(f"{op}: {name}: expected {expected}, got shape {value.shape}")
    return value


def shaped(op: str, name: str, value: object, shape: tuple[int, ...]) -> np.ndarray:
    """Check a float32 array of exactly `shape`."""
    value = floats(op, name, value)
    if value.shape != shape:
        raise ValueError(f"{op}: {name}: expected shape {shape}, got {value.shape}")
    return value


def optional(op: str, name: str, value: object, shape: tuple[int, ...]) -> np.ndarray | None:
    """Check None or a float32 array of exactly `shape`."""
    return None if value is None else shaped(op, name, value, shape)


def conv_weight(op: str, value: object, *dtypes: str) -> np.ndarray:
    """Check a weight (C_out, C_in / groups), with or without Conv1d's axis of size 1 at the end."""
    value = array(op, "weight", value, *dtypes)
    if value.ndim not in (2, 3) or value.shape[2:] not in ((), (1,)):
        expected = "shape (C_out, C_in / groups) or (C_out, C_in / groups, 1)"
        raise ValueError(f"{op}: weight: expected {expected}, got {value.shape}")
    return value


def table(op: str, name: str, value: object, channels: int | None = None) -> np.ndarray:
    """Check an embedding table (rows, channels), float32 or float16."""
    value = array(op, name, value, "float32", "float16")
    if value.ndim != 2 or (channels is not None and value.shape[1] != channels):
        wanted = "channels" if channels is None else channels
        raise ValueError(f"{op}: {name}: expected shape (rows, {wanted}), got {value.shape}")
    return value


def ids(op: str, name: str, value: object, limit: int, shape: tuple[int, ...] | None = None) -> np.ndarray:
    """Check an integer array of row numbers below `limit`."""
    value = array(op, name, value, "int32", "int64")
    if shape is not None and value.shape != shape:
        raise ValueError(f"{op}: {name}: expected shape {shape}, got {value.shape}")
    bad = np.flatnonzero((value < 0) | (value >= limit))
    if bad.size:
        first = f"{value.flat[bad[0]]} at position {bad[0]}"
        raise ValueError(f"{op}: {name}: expected values in [0, {limit}), got {first}")
    return value


def mask(
    op: str, name: str, value: object, shape: tuple[int, ...], dtypes: tuple[str, ...] = ("bool", "float32")
) -> np.ndarray | None:
    """Check a mask of one of `dtypes`; return it broadcast to `shape` (a view)."""
    if value is None:
        return None
    value = array(op, name, value, *dtypes)
    try:
        return np.broadcast_to(value, shape)
    except ValueError:
        raise ValueError(f"{op}: {name}: expected a shape that broadcasts to {shape}, got {value.shape}") from None


def cu_seqlens(op: str, value: object, total: int) -> list[int]:
    """Check the offsets of the sequences of a ragged batch."""
    value = array(op, "cu_seqlens", value, "int32")
    if value.ndim != 1 or value.size == 0:
        raise ValueError(f"{op}: cu_seqlens: expected shape (batch + 1,), got {value.shape}")
    return offsets(op, value.tolist(), total)


def same_memory(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two arrays have the same elements at the same places: when both are C-contiguous, strides follow."""
    start_a, start_b = (array.__array_interface__["data"][0] for array in (a, b))
    return start_a == start_b and a.shape == b.shape and a.flags.c_contiguous and b.flags.c_contiguous


def output(op: str, out: object, shape: tuple[int, ...], in_place: object = None, **inputs: object) -> np.ndarray:
    """Check `out`, or allocate it. It may be the array `in_place` (argument x) itself; any other overlap is an error.

    The overlap is that of the memory bounds, as a compiled backend sees it: interleaved views count as overlapping.
    """
    if out is None:
        return np.empty(shape, np.float32)
    if not isinstance(out, np.ndarray) or out.dtype != np.float32:
        raise TypeError(f"{op}: out: expected an array of float32, got {kind(out)}")
    if out.shape != shape:
        raise ValueError(f"{op}: out: expected shape {shape}, got {out.shape}")
    if not out.flags.c_contiguous:
        raise ValueError(f"{op}: out: expected a C-contiguous array, got strides {out.strides}")
    if not out.flags.aligned:
        raise ValueError(f"{op}: out: expected an aligned array, got an unaligned one")
    if not out.flags.writeable:
        raise ValueError(f"{op}: out: expected a writeable array, got a read-only one")
    if isinstance(in_place, np.ndarray) and not same_memory(out, in_place) and np.may_share_memory(out, in_place):
        raise ValueError(f"{op}: out: expected x itself or memory apart from it, got a partial overlap with x")
    for name, value in inputs.items():
        if isinstance(value, np.ndarray) and np.may_share_memory(out, value):
            raise ValueError(f"{op}: out: expected memory apart from the inputs, got an overlap with {name}")
    return out
