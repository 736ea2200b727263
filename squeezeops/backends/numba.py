"""The kernels of the backend "numba", compiled on first use, for machines without a C++ compiler.

They are in `_numba`, do the operations of the C++ ones in the same order and return the same bits, wherever the
processor has a fused multiply-add. What differs:

* The floating-point environment (rounding, flush to zero) is the caller's. It is not set to the default one.
* Compiled code is kept in Numba's cache: NUMBA_CACHE_DIR, else beside the kernels, else in the user's cache folder.
  Where none of these can be written, every process compiles for itself, which takes seconds for an op.
* With NUMBA_DISABLE_JIT=1 the kernels run as Python, for debugging: the same bits, thousands of times slower.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from squeezeops.backends._numba import attention as _attention
from squeezeops.backends._numba import convolution, gather, rows
from squeezeops.backends._numba.elementary import ACTIVATIONS, LOG2E
from squeezeops.backends._numba.threads import get_num_threads as get_num_threads
from squeezeops.backends._numba.threads import run
from squeezeops.backends._numba.threads import set_num_threads as set_num_threads
from squeezeops.backends._numba.vector import TILE_ROWS, WIDTH
from squeezeops.packing import INT8, SCALE_BYTES, rotated

if TYPE_CHECKING:
    from squeezeops.backends._front import Convolution

F = np.float32
Array = np.ndarray
Maybe = Array | None
# The least work for a thread: elements of a row-wise op, multiply-adds of a product.
ELEMENTS, PRODUCTS = 2**18, 2**23


def _flat(x: Array) -> Array:
    """View an array as one read-only row: the one form of inputs, so that a kernel is not compiled once per form."""
    view = x.reshape(-1)
    view.flags.writeable = False
    return view


NONE, NO_BYTES = _flat(np.empty(0, F)), _flat(np.empty(0, np.uint8))


def _flat_or_none(x: Maybe) -> Array:
    return NONE if x is None else _flat(x)


def _least(work: int, per_item: int) -> int:
    """Return how many items, each of so much work, are worth a thread."""
    return work // max(per_item, 1) + 1


def _run_rows(kernel: Any, arguments: tuple[Any, ...], out: Array, work: int = 1) -> None:
    """Run a kernel on the rows of out, with `work` per element."""
    n = out.shape[1]
    if out.size:
        target, least = out.reshape(-1), _least(ELEMENTS, n * work)
        run(lambda first, last: kernel(first, last, *arguments, n, target), len(out), least, least)


def activation(x: Array, word: str, out: Array) -> None:
    source, number = _flat(x), ACTIVATIONS[word]
    run(lambda first, last: rows.activation(first, last, source, number, out), out.size, ELEMENTS, ELEMENTS, 16)


# Grouped pointwise convolution.


def quantize_rows(x: Array, groups: int, values: Array, scales: Array, rotate: bool) -> None:
    source, n = _flat(rotated(x) if rotate else x), x.shape[1] // groups
    target = values.reshape(-1), scales.reshape(-1)

    def part(first: int, last: int) -> None:
        convolution.quantize_rows(first, last, source, groups, n, np.zeros(max(n, 1), F), *target)

    least = _least(ELEMENTS, x.shape[1])
    run(part, len(x), least, least)


def pack(weight: Array) -> Array:
    """Pack to panels; float16 as its bits."""
    return _flat(convolution.pack(weight.view(np.uint16) if weight.dtype == np.float16 else weight))


def unpack(conv: Convolution) -> Array:
    weight = convolution.unpack(conv.weight, conv.groups, conv.k, conv.n)
    return weight.view(np.float16) if conv.dtype == "float16" else weight


def convolve(x: Array, x_scales: Maybe, conv: Convolution, activation: str | None, residual: Maybe, out: Array) -> None:
    if out.size == 0:
        return
    groups, k, n, row_scales = conv.groups, conv.k, conv.n, _flat_or_none(x_scales)
    if x_scales is not None:
        by_group = x.reshape(len(x), groups, x.shape[1] // groups)[:, :, :k]
        x = by_group.astype(F, order="C") - F(128)
    elif conv.dtype == "int8_rotated":
        x = rotated(x)
    source, target = _flat(x), out.reshape(-1)
    ends = _flat_or_none(conv.bias), ACTIVATIONS[activation], _flat_or_none(residual), groups, k, n
    weight, channels = conv.weight, _flat(conv.scales)

    def part(first: int, last: int) -> None:
        if conv.dtype in INT8:
            scratch = np.zeros(convolution.int8_scratch_size(groups, k), F)
            totals = np.zeros(TILE_ROWS * WIDTH)
            convolution.convolve_int8(first, last, source, row_scales, weight, channels, *ends, scratch, totals, target)
        else:
            convolution.convolve(first, last, source, weight, *ends, np.zeros(convolution.scratch_size(k), F), target)

    least = _least(PRODUCTS, groups * k * n)
    run(part, len(out), least, max(least, convolution.ROW_BLOCK), TILE_ROWS)


# Row-wise ops.


def layer_norm(x: Array, weight: Maybe, bias: Maybe, eps: F, residual: Maybe, out: Array) -> None:
    arrays = _flat(x), _flat_or_none(residual), _flat_or_none(weight), _flat_or_none(bias)
    _run_rows(rows.layer_norm, (*arrays, eps), out)


def rms_norm(x: Array, weight: Maybe, eps: F, residual: Maybe, out: Array) -> None:
    _run_rows(rows.rms_norm, (_flat(x), _flat_or_none(residual), _flat_or_none(weight), eps), out)


def l2_normalize(x: Array, eps: F, out: Array) -> None:
    _run_rows(rows.l2_normalize, (_flat(x), eps), out)


def softmax(x: Array, mask: Maybe, scale: F, uniform: bool, out: Array) -> None:
    stride = 0 if mask is None or len(mask) == 1 else x.shape[1]
    _run_rows(rows.softmax, (_flat(x), _flat_or_none(mask), stride, scale, uniform), out, work=2)


# Pooling and embeddings.


def mean_pool(x: Array, mask: Maybe, out: Array) -> None:
    if mask is not None and len(mask) != len(x):
        mask = np.repeat(mask, len(x), axis=0)
    kept = NO_BYTES if mask is None else _flat(mask.view(np.uint8))
    _run_rows(gather.mean_pool, (_flat(x), kept, x.shape[1]), out, work=x.shape[1])


def embedding(ids: Array, table: Array, out: Array, add: bool = False) -> None:
    """Copy rows of the table to those of out, or add them."""
    scales = NONE
    if table.dtype == np.int8:
        scales = _flat(np.ascontiguousarray(table[ids, -SCALE_BYTES:]).view(F))
    rows_of_table = _flat(table.view(np.uint16) if table.dtype == np.float16 else table)
    _run_rows(gather.embedding, (_flat(ids), rows_of_table, table.shape[1], scales, add), out)


def embedding_layer_norm(pairs: list[tuple[Array, Array]], weight: Maybe, bias: Maybe, eps: F, out: Array) -> None:
    for i, (ids, table) in enumerate(pairs):
        embedding(ids, table, out, i > 0)
    layer_norm(out, weight, bias, eps, None, out)


# Attention.


def _strided_mask(mask: Maybe, none: Array = NONE) -> tuple[Array, tuple[int, int, int, int]]:
    """Return a mask flat, and its strides along sequences, heads, queries and the rows of k."""
    if mask is None:
        return none, (0, 0, 0, 0)
    if mask.ndim == 1:  # a sequence's part begins where its keys do
        return _flat(mask), (0, 0, 0, 1)
    b, h, q = (
        0 if size == 1 else stride // mask.itemsize for size, stride in zip(mask.shape[:3], mask.strides, strict=False)
    )
    return _flat(mask), (b, h, q, 0)


def _run_heads(
    call: Callable[..., object],
    heads: int,
    size: int,
    q_offsets: Array,
    k_offsets: Array,
    scratch_size: Callable[[int, int], int] = _attention.scratch_size,
) -> None:
    """Run call(first, last, layout, splits, scratch) on the heads of all sequences, each head of so many channels.

    A task is a head of a sequence, or one of `splits` parts of its queries where there are few heads.
    """
    queries, keys = (int((offsets[1:] - offsets[:-1]).max()) for offsets in (q_offsets, k_offsets))
    threads, all_heads = get_num_threads(), (len(q_offsets) - 1) * heads
    splits = max(1, math.ceil(2 * threads / all_heads)) if threads > 1 else 1
    layout, floats = (_flat(q_offsets), _flat(k_offsets), heads, size), scratch_size(keys, size)

    def part(first: int, last: int) -> None:
        call(first, last, layout, splits, np.zeros(floats, F))

    run(part, all_heads * splits, _least(PRODUCTS, 2 * queries * keys * size // splits))


def attention(
    q: Array,
    k: Array,
    v: Array,
    heads: int,
    q_offsets: Array,
    k_offsets: Array,
    mask: Maybe,
    scale: F,
    uniform: bool,
    out: Array,
) -> None:
    arrays, target = (_flat(q), _flat(k), _flat(v), *_strided_mask(mask)), out.reshape(-1)

    def call(first: int, last: int, layout: tuple[Any, ...], splits: int, scratch: Array) -> None:
        _attention.attend(first, last, *arrays, *layout, scale, uniform, splits, scratch, target)

    if out.size:
        _run_heads(call, heads, q.shape[1] // heads, q_offsets, k_offsets)


def _integers(x: Array, heads: int, size: int) -> Array:
    """Return the numbers that bytes stand for, without what fills up a head."""
    by_head = x.reshape(len(x), heads, x.shape[1] // heads)[:, :, :size]
    return _flat(by_head.astype(F, order="C") - F(128))


def attention_s8(
    q: Array,
    q_scales: Array,
    k: Array,
    k_scales: Array,
    v: Array,
    v_scales: Array,
    heads: int,
    q_offsets: Array,
    k_offsets: Array,
    mask: Maybe,
    scale: F,
    uniform: bool,
    value_scale: Array,
    value_bias: Array,
    out: Array,
) -> None:
    if out.size == 0:
        return
    size, target, factor = out.shape[1] // heads, out.reshape(-1), scale * LOG2E
    flat_mask, strides = _strided_mask(mask if mask is None else mask.view(np.uint8), NO_BYTES)
    rows = ((q, q_scales), (k, k_scales), (v, v_scales))
    arrays = [a for x, scales in rows for a in (_integers(x, heads, size), _flat(scales))]
    ends = _flat(value_scale), _flat(value_bias)

    def call(first: int, last: int, layout: tuple[Any, ...], splits: int, scratch: Array) -> None:
        totals = np.zeros(TILE_ROWS * WIDTH)
        _attention.attend_s8(
            first, last, *arrays, flat_mask, strides, *layout, factor, uniform, *ends, splits, scratch, totals, target
        )

    _run_heads(call, heads, size, q_offsets, k_offsets, _attention.s8_scratch_size)


def attention_scores(q: Array, k: Array, q_offsets: Array, k_offsets: Array, mask: Maybe, scale: F, out: Array) -> None:
    arrays, target, heads = (_flat(q), _flat(k), *_strided_mask(mask)), out.reshape(-1), out.shape[1]

    def call(first: int, last: int, layout: tuple[Any, ...], splits: int, scratch: Array) -> None:
        _attention.score(first, last, *arrays, *layout, scale, splits, scratch, target)

    if out.size:
        _run_heads(call, heads, q.shape[1] // heads, q_offsets, k_offsets)
