"""The Numba backend: kernels that Numba compiles on first use, for machines without a compiler of C++.

The kernels (in `_numba`) do the operations of the compiled ones in the same order, so the bits are those of `native`,
wherever the processor has a fused multiply-add. What differs:

* The floating-point environment (rounding, flush to zero) is the caller's. It is not set to the default one.
* Compiled code is kept in Numba's cache: NUMBA_CACHE_DIR, else beside the kernels, else in the user's cache folder.
  Where none of these can be written, every process compiles for itself, which takes seconds for an op.
* With NUMBA_DISABLE_JIT=1 the kernels run as Python, for debugging: the same bits, thousands of times slower.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from squeezeops import packing
from squeezeops.backends import _checks as check
from squeezeops.backends._numba import attention as _attention
from squeezeops.backends._numba import convolution, gather, rows
from squeezeops.backends._numba.elementary import ACTIVATIONS
from squeezeops.backends._numba.threads import get_num_threads, run, set_num_threads  # noqa: F401
from squeezeops.backends._numba.vector import TILE_ROWS, WIDTH
from squeezeops.backends._packed import check_address
from squeezeops.packing import SCALE_BYTES

F = np.float32
# Work that pays for a thread's part in it: elements of a row-wise op, multiply-adds of a product.
ELEMENTS, PRODUCTS = 2**18, 2**23


# Every argument of a kernel has one form, so that each is compiled once: flat and read-only, scalars of float32.


def _flat(x: np.ndarray) -> np.ndarray:
    """A read-only view of a C-contiguous array as one row."""
    view = (x if x.flags.aligned else x.copy()).reshape(-1)
    view.flags.writeable = False
    return view


NONE = _flat(np.empty(0, F))


def _flat_or_none(x: np.ndarray | None) -> np.ndarray:
    return NONE if x is None else _flat(x)


def _scalar(value: float) -> np.float32:
    with np.errstate(all="ignore"):
        return F(value)


def _added(mask: Any) -> np.ndarray:
    """A mask of bool or float32 as one that is added: -0, which changes nothing, or -inf, which excludes."""
    if mask.dtype == bool:
        return np.where(mask, F(-0.0), F(-np.inf))
    return np.asarray(mask)


def _least(work: int, per_item: int) -> int:
    """How many items, each of so much work, are worth a thread."""
    return work // max(per_item, 1) + 1


def _run_rows(kernel: Any, arguments: tuple[Any, ...], out: np.ndarray, work: int = 1) -> None:
    """Run a kernel on the rows of out, each of so much work an element."""
    n = out.shape[-1]
    if out.size:
        target, least = out.reshape(-1), _least(ELEMENTS, n * work)
        run(lambda first, last: kernel(first, last, *arguments, n, target), out.size // n, least, least)


def _activate(op: str, x: object, number: int, out: object) -> np.ndarray:
    given, x = x, check.floats(op, "x", x)
    out = check.output(op, out, x.shape, in_place=given)
    source, target = _flat(x), out.reshape(-1)
    run(lambda first, last: rows.activation(first, last, source, number, target), out.size, ELEMENTS, ELEMENTS, 16)
    return out


def gelu(x: object, approximate: str, out: object) -> np.ndarray:
    """See `squeezeops.gelu`."""
    check.floats("gelu", "x", x)
    check.choice("gelu", "approximate", approximate, check.APPROXIMATE)
    return _activate("gelu", x, ACTIVATIONS["gelu" if approximate == "none" else "gelu_tanh"], out)


def tanh(x: object, out: object) -> np.ndarray:
    """See `squeezeops.tanh`."""
    return _activate("tanh", x, ACTIVATIONS["tanh"], out)


# Grouped pointwise convolution.


class _Packed(NamedTuple):
    dtype: str
    groups: int
    k: int  # input channels a group
    n: int  # output channels a group
    weight: np.ndarray
    scales: np.ndarray  # of the output channels, for int8
    bias: np.ndarray | None


def _pack(op: str, weight: np.ndarray, bias: object, groups: Any, dtype: str) -> _Packed:
    """Check bias and groups, and pack the weight."""
    c_out, k = weight.shape[:2]
    groups = check.divisor(op, "groups", groups, C_out=c_out)
    b = check.optional(op, "bias", bias, (c_out,))
    scales = NONE
    with np.errstate(all="ignore"):  # NaN is a weight like others
        w = check.stored_weight(op, weight, dtype)
        if dtype == "int8":
            values, row_scales = _quantize_rows(w, 1)
            w, scales = (values[:, :k] - np.uint8(128)).view(np.int8), _flat(row_scales)
        elif dtype == "float16":
            w = w.astype(np.float16).view(np.uint16)
        packed = convolution.pack(w, groups)
    return _Packed(dtype, groups, k, c_out // groups, _flat(packed), scales, None if b is None else b.copy())


def _convolve(
    op: str,
    x: Any,
    x_scales: object,
    packed: _Packed,
    activation: str | None,
    residual: object,
    quantize_groups: Any,
    out: object,
    out_scales: object,
    **inputs: Any,
) -> Any:
    dtype, groups, k, n, weight, channels, bias = packed
    given, row_scales = x, NONE
    if x_scales is not None:
        values, scales = check.quantized_rows(op, "x", (x, x_scales), groups * k, groups)
        leading, inputs["x.scales"] = values.shape[:-1], x_scales
        by_group = values.reshape(math.prod(leading), groups, values.shape[-1] // groups)[:, :, :k]
        x, row_scales = by_group.astype(F, order="C") - F(128), _flat(scales)
    else:
        x = check.rows(op, "x", x)
        if x.shape[-1] != groups * k:
            raise ValueError(f"{op}: x: expected shape (..., {groups * k}), got {x.shape}")
        leading = x.shape[:-1]
    check.choice(op, "activation", activation, check.ACTIVATIONS)
    shape = (*leading, groups * n)
    added = check.optional(op, "residual", residual, shape)
    wanted = (
        None if quantize_groups is None else check.divisor(op, "quantize_groups", quantize_groups, C_out=groups * n)
    )
    inputs |= {"x": given, "residual": residual}
    room = None
    if wanted is not None:
        room = check.quantized_output(op, (out, out_scales), leading, groups * n, wanted, **inputs)
    out = check.output(op, out if room is None else None, shape, **inputs)
    if out.size:
        source, target, biases, residuals = _flat(x), out.reshape(-1), _flat_or_none(bias), _flat_or_none(added)
        number = ACTIVATIONS[activation]
        ends = biases, number, residuals, groups, k, n

        def part(first: int, last: int) -> None:
            if dtype == "int8":
                scratch = np.zeros(convolution.int8_scratch_size(groups, k), F)
                totals = np.zeros(TILE_ROWS * WIDTH)
                convolution.convolve_int8(
                    first, last, source, row_scales, weight, channels, *ends, scratch, totals, target
                )
            else:
                scratch = np.zeros(convolution.scratch_size(k), F)
                convolution.convolve(first, last, source, weight, *ends, scratch, target)

        least = _least(PRODUCTS, groups * k * n)
        run(part, math.prod(shape[:-1]), least, max(least, convolution.ROW_BLOCK), TILE_ROWS)
    return out if wanted is None else _quantize_rows(out, wanted, room)


def pointwise_conv(
    x: object, weight: object, bias: object, groups: int, activation: str | None, residual: object, out: object
) -> np.ndarray:
    """See `squeezeops.pointwise_conv`."""
    op = "pointwise_conv"
    packed = _pack(op, check.conv_weight(op, weight, "float32"), bias, groups, "float32")
    c_in = check.rows(op, "x", x).shape[-1]
    check.divisor(op, "groups", groups, C_in=c_in)
    if packed.groups * packed.k != c_in:
        got = (packed.groups * packed.n, packed.k)
        raise ValueError(f"{op}: weight: expected shape (C_out, {c_in // packed.groups}), got {got}")
    y: np.ndarray = _convolve(op, x, None, packed, activation, residual, None, out, None, weight=weight, bias=bias)
    return y


def pack_pointwise_conv(weight: object, bias: object, groups: int, dtype: str, memory: object) -> _Packed:
    """See `squeezeops.PointwiseConv`; NumPy chooses the memory."""
    op = "PointwiseConv"
    check.choice(op, "dtype", dtype, check.STORAGE)
    return _pack(op, check.conv_weight(op, weight, "float32", "float16"), bias, groups, dtype)


def run_pointwise_conv(
    handle: _Packed,
    x: object,
    x_scales: object,
    activation: str | None,
    residual: object,
    quantize_groups: int | None,
    out: object,
    out_scales: object,
) -> Any:
    """See `squeezeops.PointwiseConv`."""
    return _convolve("PointwiseConv", x, x_scales, handle, activation, residual, quantize_groups, out, out_scales)


def _quantize_rows(
    x: np.ndarray, groups: int, out: tuple[np.ndarray, np.ndarray] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    leading, n = x.shape[:-1], x.shape[-1] // groups
    values, scales = out or check.quantized_output("", (None, None), leading, x.shape[-1], groups)
    source, bytes_of, scales_of = _flat(x), values.reshape(-1), scales.reshape(-1)

    def part(first: int, last: int) -> None:
        scratch = np.zeros(max(n, 1), F)
        convolution.quantize_rows(first, last, source, groups, n, scratch, bytes_of, scales_of)

    least = _least(ELEMENTS, x.shape[-1])
    run(part, math.prod(leading), least, least)
    return values, scales


def quantize_rows(x: object, groups: int, values: object, scales: object) -> tuple[np.ndarray, np.ndarray]:
    """See `squeezeops.quantize_rows`."""
    op = "quantize_rows"
    given, x = x, check.rows(op, "x", x)
    groups = check.divisor(op, "groups", groups, C=x.shape[-1])
    return _quantize_rows(
        x, groups, check.quantized_output(op, (values, scales), x.shape[:-1], x.shape[-1], groups, x=given)
    )


def run_pointwise_convs(handles: tuple[_Packed, ...], x: object, x_scales: object, outs: Any) -> tuple[np.ndarray, ...]:
    """See `squeezeops.pointwise_convs`."""
    op = "pointwise_convs"
    results: list[np.ndarray] = []
    for handle, out in zip(handles, outs, strict=True):
        apart = {f"out[{i}]": y for i, y in enumerate(results)}
        results.append(_convolve(op, x, x_scales, handle, None, None, None, out, None, **apart))
    return tuple(results)


def use_packed_pointwise_conv(
    packed: memoryview, bias: object, c_in: int, c_out: int, groups: int, dtype: str
) -> _Packed:
    """See `squeezeops.PointwiseConv.from_packed`; the weight is packed anew, to panels of this backend's width."""
    op = "PointwiseConv"
    check_address(op, packing.address(packed), packed.nbytes)
    b = check.optional(op, "bias", bias, (c_out,))
    n, k = c_out // groups, c_in // groups
    weight, scales = packing.unpack(packed, c_in, c_out, groups, dtype)
    stored = weight.view({"float32": F, "float16": np.uint16, "int8": np.int8}[dtype]).reshape(c_out, k)
    panels = _flat(convolution.pack(stored, groups))
    return _Packed(dtype, groups, k, n, panels, _flat(scales), None if b is None else b.copy())


def packed_form(handle: _Packed) -> np.ndarray:
    """See `squeezeops.PointwiseConv.packed`."""
    weight = convolution.unpack(handle.weight, handle.groups, handle.k, handle.n)
    return packing.pack(weight.view(np.float16) if handle.dtype == "float16" else weight, handle.scales, handle.dtype)


# Row-wise ops.


def _normalise(
    x: np.ndarray,
    residual: np.ndarray | None,
    weight: np.ndarray | None,
    bias: np.ndarray | None,
    eps: float,
    out: np.ndarray,
) -> None:
    arrays = _flat(x), _flat_or_none(residual), _flat_or_none(weight), _flat_or_none(bias)
    _run_rows(rows.layer_norm, (*arrays, _scalar(eps)), out)


def layer_norm(x: object, weight: object, bias: object, eps: float, residual: object, out: object) -> np.ndarray:
    """See `squeezeops.layer_norm`."""
    op = "layer_norm"
    given, x = x, check.rows(op, "x", x)
    w = check.optional(op, "weight", weight, x.shape[-1:])
    b = check.optional(op, "bias", bias, x.shape[-1:])
    eps = check.epsilon(op, eps)
    added = check.optional(op, "residual", residual, x.shape)
    out = check.output(op, out, x.shape, given, weight=weight, bias=bias, residual=residual)
    _normalise(x, added, w, b, eps, out)
    return out


def l2_normalize(x: object, eps: float, out: object) -> np.ndarray:
    """See `squeezeops.l2_normalize`."""
    op = "l2_normalize"
    given, x = x, check.rows(op, "x", x)
    smallest = _scalar(check.epsilon(op, eps))
    out = check.output(op, out, x.shape, given)
    _run_rows(rows.l2_normalize, (_flat(x), smallest), out)
    return out


def softmax(x: object, mask: object, scale: float, fully_masked: str, out: object) -> np.ndarray:
    """See `squeezeops.softmax`."""
    op = "softmax"
    given, x = x, check.rows(op, "x", x)
    keep = check.mask(op, "mask", mask, x.shape)
    factor = _scalar(check.real(op, "scale", scale))
    check.choice(op, "fully_masked", fully_masked, check.FULLY_MASKED)
    out = check.output(op, out, x.shape, given, mask=mask)
    masks, stride, n = NONE, 0, x.shape[-1]
    if keep is not None and keep.size:
        added = _added(mask)
        if added.ndim and added.size > added.shape[-1]:
            added, stride = np.broadcast_to(added, x.shape), n
        else:  # one for all rows
            added = np.broadcast_to(added.reshape(-1), (n,))
        masks = _flat(np.ascontiguousarray(added))
    _run_rows(rows.softmax, (_flat(x), masks, stride, factor, fully_masked == "uniform"), out, work=2)
    return out


# Pooling and embeddings.


def mean_pool(x: object, mask: object, out: object) -> np.ndarray:
    """See `squeezeops.mean_pool`."""
    op = "mean_pool"
    given, x = x, check.rows(op, "x", x, axes=2)
    keep = check.mask(op, "mask", mask, x.shape[:-1], ("bool",))
    out = check.output(op, out, (*x.shape[:-2], x.shape[-1]), x=given, mask=mask)
    kept = np.empty(0, np.uint8) if keep is None else np.ascontiguousarray(keep).view(np.uint8)
    length = x.shape[-2]
    _run_rows(gather.mean_pool, (_flat(x), _flat(kept), length), out, work=length)
    return out


def _gather(ids: np.ndarray, table: np.ndarray, add: bool, out: np.ndarray) -> None:
    """Copy or add rows of a table to the rows of out."""
    scales = NONE
    if table.dtype == np.int8:
        scales = _flat(np.ascontiguousarray(table[ids, -SCALE_BYTES:]).view(F))
    rows_of_table = _flat(table.view(np.uint16) if table.dtype == np.float16 else table)
    _run_rows(gather.embedding, (_flat(ids), rows_of_table, table.shape[1], scales, add), out)


def embedding(ids: object, table: object, out: object) -> np.ndarray:
    """See `squeezeops.embedding`."""
    op = "embedding"
    given, (table, channels) = table, check.table(op, "table", table)
    numbers = check.ids(op, "ids", ids, len(table))
    out = check.output(op, out, (*numbers.shape, channels), table=given, ids=ids)
    _gather(numbers, table, False, out)
    return out


def embedding_layer_norm(
    ids: object,
    table: object,
    position_ids: object,
    position_table: object,
    type_ids: object,
    type_table: object,
    weight: object,
    bias: object,
    eps: float,
    out: object,
) -> np.ndarray:
    """See `squeezeops.embedding_layer_norm`."""
    op = "embedding_layer_norm"
    tables, numbers, w, b, eps, out = check.embedding_layer_norm(
        op, (ids, position_ids, type_ids), (table, position_table, type_table), weight, bias, eps, out
    )
    for i in range(3):
        _gather(numbers[i], tables[i], i > 0, out)
    _normalise(out, None, w, b, eps, out)
    return out


# Attention.


class _Layout(NamedTuple):
    """How rows make up sequences, and channels heads."""

    q_offsets: np.ndarray
    k_offsets: np.ndarray
    heads: int
    size: int  # channels of a head


def _equal_lengths(batch: int, length: int) -> np.ndarray:
    """Offsets of sequences of one length."""
    return _flat(np.arange(batch + 1, dtype=np.int64) * length)


def _mask_4d(mask: Any, keys: int) -> tuple[np.ndarray, tuple[int, int, int, int]]:
    """A mask that broadcasts to (B, heads, Lq, Lk) as one that is added, with rows of all keys, and its strides."""
    if mask is None:
        return NONE, (0, 0, 0, 0)
    added = _added(mask)
    shape = (1,) * (4 - added.ndim) + added.shape
    added = np.ascontiguousarray(np.broadcast_to(added.reshape(shape), (*shape[:3], keys)))
    b, h, q = (0 if size == 1 else stride // 4 for size, stride in zip(shape[:3], added.strides, strict=False))
    return _flat(added), (b, h, q, 0)


def _run_heads(call: Callable[[int, int, int, np.ndarray], object], layout: _Layout, queries: int, keys: int) -> None:
    """Run call(first, last, splits, scratch) on the heads of all sequences, of at most so many queries and keys.

    A task is a head of a sequence, or one of `splits` parts of its queries where there are few heads.
    """
    threads, heads = get_num_threads(), (len(layout.q_offsets) - 1) * layout.heads
    splits = max(1, math.ceil(2 * threads / heads)) if threads > 1 else 1
    floats = _attention.scratch_size(keys, layout.size)

    def part(first: int, last: int) -> None:
        call(first, last, splits, np.zeros(floats, F))

    run(part, heads * splits, _least(PRODUCTS, 2 * queries * keys * layout.size // splits))


def _attend(
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    mask: np.ndarray,
    strides: tuple[int, int, int, int],
    layout: _Layout,
    queries: int,
    keys: int,
    scale: np.float32,
    fully_masked: str,
    out: np.ndarray,
) -> None:
    """Attention of sequences of at most so many queries and keys."""
    if out.size:
        arrays, target, uniform = (_flat(q), _flat(k), _flat(v), mask), out.reshape(-1), fully_masked == "uniform"

        def call(first: int, last: int, splits: int, scratch: np.ndarray) -> None:
            _attention.attend(first, last, *arrays, strides, *layout, scale, uniform, splits, scratch, target)

        _run_heads(call, layout, queries, keys)


def attention(
    q: object,
    k: object,
    v: object,
    num_heads: int,
    cu_seqlens: object,
    cu_seqlens_q: object,
    cu_seqlens_k: object,
    mask: object,
    scale: float | None,
    fully_masked: str,
    out: object,
) -> np.ndarray:
    """See `squeezeops.attention`."""
    op = "attention"
    if not (cu_seqlens is cu_seqlens_q is cu_seqlens_k is None):
        return _attention_ragged(
            q, k, v, num_heads, cu_seqlens, cu_seqlens_q, cu_seqlens_k, mask, scale, fully_masked, out
        )
    queries, keys, values = check.batched(op, q, k, check.floats(op, "v", v))
    (batch, length, channels), key_length = queries.shape, keys.shape[1]
    heads = check.divisor(op, "num_heads", num_heads, C=channels)
    check.mask(op, "mask", mask, (batch, heads, length, key_length))
    factor = _scalar(check.attention_scale(op, scale, channels // heads))
    check.choice(op, "fully_masked", fully_masked, check.FULLY_MASKED)
    out = check.output(op, out, queries.shape, q=q, k=k, v=v, mask=mask)
    layout = _Layout(_equal_lengths(batch, length), _equal_lengths(batch, key_length), heads, channels // heads)
    added, strides = _mask_4d(mask, key_length)
    _attend(queries, keys, values, added, strides, layout, length, key_length, factor, fully_masked, out)
    return out


def _attention_ragged(
    q: object,
    k: object,
    v: object,
    num_heads: int,
    cu_seqlens: object,
    cu_seqlens_q: object,
    cu_seqlens_k: object,
    mask: object,
    scale: float | None,
    fully_masked: str,
    out: object,
) -> np.ndarray:
    """`attention` of a ragged batch."""
    op = "attention"
    a = check.ragged(op, q, k, v, num_heads, cu_seqlens, cu_seqlens_q, cu_seqlens_k, mask)
    size = a.q.shape[1] // a.heads
    factor = _scalar(check.attention_scale(op, scale, size))
    check.choice(op, "fully_masked", fully_masked, check.FULLY_MASKED)
    inputs = {"q": q, "k": k, "v": v, "mask": mask}
    inputs |= {"cu_seqlens": cu_seqlens, "cu_seqlens_q": cu_seqlens_q, "cu_seqlens_k": cu_seqlens_k}
    out = check.output(op, out, a.q.shape, **inputs)
    begins = _flat(np.array(a.queries, np.int64)), _flat(np.array(a.keys, np.int64))
    queries, keys = (int(np.diff(offsets).max(initial=0)) for offsets in begins)  # at most
    added = NONE if a.kept is None else _flat(_added(a.kept))
    strides = (0, 0, 0, 1)  # a sequence's part of the mask begins where its keys do
    _attend(a.q, a.k, a.v, added, strides, _Layout(*begins, a.heads, size), queries, keys, factor, fully_masked, out)
    return out


def attention_scores(
    q: object, k: object, num_heads: int, mask: object, scale: float | None, out: object
) -> np.ndarray:
    """See `squeezeops.attention_scores`."""
    op = "attention_scores"
    queries, keys = check.batched(op, q, k)
    (batch, length, channels), key_length = queries.shape, keys.shape[1]
    heads = check.divisor(op, "num_heads", num_heads, C=channels)
    shape = (batch, heads, length, key_length)
    check.mask(op, "mask", mask, shape)
    factor = _scalar(check.attention_scale(op, scale, channels // heads))
    scores = check.output(op, out, shape, q=q, k=k, mask=mask)
    if scores.size:
        layout = _Layout(_equal_lengths(batch, length), _equal_lengths(batch, key_length), heads, channels // heads)
        added, strides = _mask_4d(mask, key_length)
        source, target = (_flat(queries), _flat(keys), added), scores.reshape(-1)

        def call(first: int, last: int, splits: int, scratch: np.ndarray) -> None:
            _attention.score(first, last, *source, strides, *layout, factor, splits, scratch, target)

        _run_heads(call, layout, length, key_length)
    return scores


def cpu_info() -> dict[str, Any]:
    """No compiled kernels, so nothing to list."""
    return {"isas": [], "compiled": [], "missing": {}, "isa": None, "kernels": {}}
