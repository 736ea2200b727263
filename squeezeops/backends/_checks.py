"""Argument checks of the backends that compute on NumPy arrays in Python.

Every message reads `{op}: {argument}: expected {what}, got {what}`: a TypeError for a wrong type or dtype, a ValueError
for a wrong shape or value. The compiled backends raise the same exception types naming the same arguments.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from squeezeops.backends._scalars import ACTIVATIONS as ACTIVATIONS
from squeezeops.backends._scalars import APPROXIMATE as APPROXIMATE
from squeezeops.backends._scalars import FULLY_MASKED as FULLY_MASKED
from squeezeops.backends._scalars import MOST_INT8_DEPTH, channels_of, kind, offsets
from squeezeops.backends._scalars import STORAGE as STORAGE
from squeezeops.backends._scalars import choice as choice
from squeezeops.backends._scalars import count as count
from squeezeops.backends._scalars import divisor as divisor
from squeezeops.backends._scalars import epsilon as epsilon
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


def table(op: str, name: str, value: object, channels: int | None = None) -> tuple[np.ndarray, int]:
    """Check an embedding table (rows, channels), for int8 with more bytes in a row; return how many channels, too."""
    value = array(op, name, value, "float32", "float16", "int8")
    return value, channels_of(op, name, value.shape, str(value.dtype), channels)


def ids(op: str, name: str, value: object, limit: int, shape: tuple[int, ...] | None = None) -> np.ndarray:
    """Check an integer array of row numbers below `limit`; return an int64 copy, which other threads cannot change."""
    value = array(op, name, value, "int32", "int64").astype(np.int64)
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


def cu_seqlens(op: str, name: str, value: object, total: int) -> list[int]:
    """Check the offsets of the sequences of a ragged batch."""
    value = array(op, name, value, "int32")
    if value.ndim != 1 or value.size == 0:
        raise ValueError(f"{op}: {name}: expected shape (batch + 1,), got {value.shape}")
    return offsets(op, name, value.tolist(), total)


def same_memory(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two arrays have the same elements at the same places: when both are C-contiguous, strides follow."""
    start_a, start_b = (array.__array_interface__["data"][0] for array in (a, b))
    return start_a == start_b and a.shape == b.shape and a.flags.c_contiguous and b.flags.c_contiguous


def output(op: str, out: object, shape: tuple[int, ...], in_place: object = None, **inputs: object) -> np.ndarray:
    """Check `out`, or allocate it. It may be the array `in_place` (argument x) itself; any other overlap is an error.

    The overlap is that of the memory bounds, as a compiled backend sees it: interleaved views count as overlapping.
    """
    return _output(op, out, shape, "float32", in_place, inputs)


def _output(
    op: str, out: object, shape: tuple[int, ...], dtype: str, in_place: object, inputs: dict[str, object]
) -> np.ndarray:
    if out is None:
        return np.empty(shape, dtype)
    if not isinstance(out, np.ndarray) or out.dtype != dtype:
        raise TypeError(f"{op}: out: expected an array of {dtype}, got {kind(out)}")
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


# Quantised rows and float16 weights.


def quantized_width(channels: int, groups: int) -> int:
    """Bytes of a row of `channels`: those of a group are filled up to a multiple of 4."""
    return groups * -(-(channels // groups) // 4) * 4


def quantized_rows(op: str, name: str, value: tuple[Any, ...], channels: int, groups: int) -> tuple[Any, Any]:
    """Check values (..., width) of uint8 and scales (..., groups) of float32."""
    values, scales = value
    if not isinstance(values, np.ndarray) or values.dtype != np.uint8:
        raise TypeError(f"{op}: {name}: expected values of uint8, got {kind(values)}")
    scales, width = floats(op, name, scales), quantized_width(channels, groups)
    if values.shape[-1:] != (width,):
        raise ValueError(f"{op}: {name}: expected values of shape (..., {width}), got {values.shape}")
    if scales.shape != (*values.shape[:-1], groups):
        raise ValueError(f"{op}: {name}: expected scales of shape {(*values.shape[:-1], groups)}, got {scales.shape}")
    return np.asarray(values, order="C"), scales


def quantized_output(
    op: str, out: tuple[Any, Any], leading: tuple[int, ...], channels: int, groups: int, **inputs: object
) -> tuple[np.ndarray, np.ndarray]:
    """Check the values and scales of `out`, or allocate them."""
    values = _output(op, out[0], (*leading, quantized_width(channels, groups)), "uint8", None, inputs)
    scales = output(op, out[1], (*leading, groups), **inputs)
    if np.may_share_memory(values, scales):
        raise ValueError(f"{op}: out: expected values apart from scales, got an overlap")
    return values, scales


def stored_weight(op: str, weight: np.ndarray, dtype: str) -> np.ndarray:
    """A weight (C_out, C_in / groups) as float32, rounded to float16 if it is to be stored so; never subnormal."""
    c_out, k = weight.shape[:2]
    if dtype == "int8" and k > MOST_INT8_DEPTH:
        raise ValueError(f"{op}: weight: expected at most 2^17 input channels a group for int8, got {k}")
    w = weight.reshape(c_out, k).astype(np.float32)
    if dtype == "float16" and weight.dtype != np.float16:
        finite = np.where(np.isfinite(w), w, 0)
        if np.abs(finite).max(initial=0) > 65504:
            worst = finite.flat[np.abs(finite).argmax()]
            raise ValueError(f"{op}: weight: expected values up to 65504, the largest float16, got {worst:g}")
        w = w.astype(np.float16).astype(np.float32)
    w[np.abs(w) < np.finfo(np.float32).tiny] = 0
    return w


# The arguments of an op with many, together.


def embedding_layer_norm(
    op: str, ids_of: tuple[Any, ...], tables_of: tuple[Any, ...], weight: object, bias: object, eps: object, out: object
) -> tuple[list[np.ndarray], list[np.ndarray], np.ndarray | None, np.ndarray | None, float, np.ndarray]:
    """Check ids and tables of words, positions and types and the rest; return them with ids and tables as lists."""
    names, table_names = ("ids", "position_ids", "type_ids"), ("table", "position_table", "type_table")
    tables: list[np.ndarray] = []
    channels: int | None = None
    for name, value in zip(table_names, tables_of, strict=True):
        checked, channels = table(op, name, value, channels)
        tables.append(checked)
    assert channels is not None
    numbers: list[np.ndarray] = []
    for name, value, rows_of in zip(names, ids_of, tables, strict=True):
        numbers.append(ids(op, name, value, len(rows_of), numbers[0].shape if numbers else None))
    w, b = optional(op, "weight", weight, (channels,)), optional(op, "bias", bias, (channels,))
    number = epsilon(op, eps)
    inputs = dict(zip((*names, *table_names), (*ids_of, *tables_of), strict=True))
    out = output(op, out, (*numbers[0].shape, channels), weight=weight, bias=bias, **inputs)
    return tables, numbers, w, b, number, out


def batched(op: str, q: object, k: object, v: object = None) -> tuple[np.ndarray, ...]:
    """Check q (B, Lq, C) and k, v (B, Lk, C)."""
    q = floats(op, "q", q)
    if q.ndim != 3:
        raise ValueError(f"{op}: q: expected shape (B, Lq, C), got {q.shape}")
    k = floats(op, "k", k)
    if k.ndim != 3 or k.shape[0] != q.shape[0] or k.shape[2] != q.shape[2]:
        raise ValueError(f"{op}: k: expected shape ({q.shape[0]}, Lk, {q.shape[2]}), got {k.shape}")
    return (q, k) if v is None else (q, k, shaped(op, "v", v, k.shape))


class Ragged(NamedTuple):
    """The checked arguments of attention over a ragged batch."""

    q: np.ndarray
    k: np.ndarray
    v: np.ndarray
    heads: int
    queries: list[int]  # offsets of the sequences in q
    keys: list[int]  # and in k and v
    kept: np.ndarray | None


def ragged(
    op: str,
    q: object,
    k: object,
    v: object,
    num_heads: object,
    both: object,
    of_queries: object,
    of_keys: object,
    mask: object,
) -> Ragged:
    """Check q (total_q, C), k, v (total_k, C), the heads, the offsets of the sequences and the mask of the keys."""
    if both is not None and (of_queries is not None or of_keys is not None):
        expected = "None next to cu_seqlens_q and cu_seqlens_k"
        raise ValueError(f"{op}: cu_seqlens: expected {expected}, got {kind(both)}")
    q = floats(op, "q", q)
    if q.ndim != 2:
        raise ValueError(f"{op}: q: expected shape (total, C) with cu_seqlens, got {q.shape}")
    k = floats(op, "k", k) if both is None else shaped(op, "k", k, q.shape)
    if k.ndim != 2 or k.shape[1] != q.shape[1]:
        raise ValueError(f"{op}: k: expected shape (total, {q.shape[1]}), got {k.shape}")
    v = shaped(op, "v", v, k.shape)
    heads = divisor(op, "num_heads", num_heads, C=q.shape[1])
    if both is not None:
        queries = keys = cu_seqlens(op, "cu_seqlens", both, q.shape[0])
    else:
        queries = cu_seqlens(op, "cu_seqlens_q", of_queries, q.shape[0])
        keys = cu_seqlens(op, "cu_seqlens_k", of_keys, k.shape[0])
    if len(queries) != len(keys):
        raise ValueError(f"{op}: cu_seqlens_q: expected shape ({len(keys)},), got ({len(queries)},)")
    kept = None if mask is None else array(op, "mask", mask, "bool", "float32")
    if kept is not None and kept.shape != k.shape[:1]:
        raise ValueError(f"{op}: mask: expected shape ({k.shape[0]},), got {kept.shape}")
    return Ragged(q, k, v, heads, queries, keys, kept)


def attention_scale(op: str, scale: object, head_size: int) -> float:
    """Check the scale of attention scores; by default it is 1 / sqrt(head_size)."""
    return 1 / math.sqrt(max(head_size, 1)) if scale is None else real(op, "scale", scale)
