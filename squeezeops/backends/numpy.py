"""The NumPy backend: the specification of every op, in float32.

Read this to know what an op computes. The compiled backends compute the same, faster, and with bits that do not depend
on the batch or the machine; here a matrix product is NumPy's, so its bits are those of the BLAS underneath.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numpy as np

from squeezeops import packing
from squeezeops.backends import _checks as check
from squeezeops.backends._packed import check_address
from squeezeops.packing import SCALE_BYTES

F = np.float32
LOG2E = F(1.44269504)
LN2_HIGH = F(0.693359375)  # 9 bits, so that n * LN2_HIGH is exact
LN2_LOW = F(math.log(2) - 0.693359375)
EXP = (0.49999994, 0.166665196, 0.0416684076, 0.00836891402, 0.00138141913)
TANH = (-0.333332807, 0.133314416, -0.0537397154, 0.0206390861, -0.00570498686)
LOG2_TAIL = (
    -0.999991655,
    -1.15121973,
    -0.458695829,
    -0.0535520948,
    0.00821138639,
    -0.000831133511,
    4.68577382e-05,
    -1.08079598e-06,
)
EXP2 = (1.00000012, 0.693146944, 0.240221158, 0.055507157, 0.00967577007, 0.00132762431)

Function = TypeVar("Function", bound=Callable[..., Any])


def _quiet(function: Function) -> Function:
    """Let NaN, infinity, overflow and underflow pass without a warning: IEEE results are what the ops promise."""

    @functools.wraps(function)
    def wrapper(*args: Any) -> Any:
        with np.errstate(all="ignore"):
            return function(*args)

    return wrapper  # type: ignore[return-value]


def _matrix(x: np.ndarray) -> np.ndarray:
    """View (..., C) as (rows, C)."""
    return x.reshape(math.prod(x.shape[:-1]), x.shape[-1])


# Elementary functions: array in, new array out. The constants are those of the kernels.


def _horner(x: np.ndarray, coefficients: tuple[float, ...]) -> np.ndarray:
    """c0 + x * (c1 + x * (c2 + ...))."""
    y = np.full_like(x, F(coefficients[-1]))
    for c in coefficients[-2::-1]:
        y = y * x + F(c)
    return y


def _exp(x: np.ndarray) -> np.ndarray:
    """e^x, at most 2 ULP off; exactly +0 below -87.33, so never a subnormal."""
    t = np.where(x > -88, np.where(x < 89, x, F(89)), F(-88))  # NaN is put back below
    n = np.rint(t * LOG2E)
    r = (t - n * LN2_HIGH) - n * LN2_LOW
    y = np.ldexp(r * r * _horner(r, EXP) + r + F(1), n.astype(np.int32))
    y = np.where(x < F(-87.33), F(0), y)
    return np.where(x == x, y, x)


def _tanh(x: np.ndarray) -> np.ndarray:
    """tanh x, at most 2 ULP off."""
    t = np.abs(x)
    u = t * t
    small = t * u * _horner(u, TANH) + t
    large = F(1) - F(2) / (_exp(np.minimum(t + t, F(20))) + F(1))
    result: np.ndarray = np.copysign(np.where(t < F(0.625), small, large), x)
    return result


def _gelu(x: np.ndarray) -> np.ndarray:
    """x * Phi(x) = max(x, 0) - t * Phi(-t) with t = |x|. log2 Phi(-t) is a polynomial: no division, no cancellation."""
    t = np.where(np.abs(x) < F(13.1), np.abs(x), F(13.1))
    y = _horner(t, LOG2_TAIL)
    n = np.rint(y)
    tail = np.ldexp(_horner(y - n, EXP2), n.astype(np.int32))
    result: np.ndarray = np.where(x < 0, F(-0.0), x) - t * np.where(n < -126, F(0), tail)
    return result


def _gelu_tanh(x: np.ndarray) -> np.ndarray:
    """x * (1 + tanh(z)) / 2 = x / (1 + exp(-2z)) with z = sqrt(2 / pi) * (x + 0.044715 x^3)."""
    x = np.where(x < -20, F(-20), x)
    z2 = F(2 * math.sqrt(2 / math.pi)) * (x + F(0.044715) * (x * x * x))
    result: np.ndarray = x / (F(1) + _exp(-z2))
    return result


def _relu(x: np.ndarray) -> np.ndarray:
    """0 where x < 0, else x: NaN stays NaN."""
    return np.where(x < 0, F(0), x)


ACTIVATION = {None: lambda x: x, "gelu": _gelu, "gelu_tanh": _gelu_tanh, "relu": _relu, "tanh": _tanh}


@_quiet
def gelu(x: object, approximate: str, out: object) -> np.ndarray:
    """See `squeezeops.gelu`."""
    given, x = x, check.floats("gelu", "x", x)
    check.choice("gelu", "approximate", approximate, check.APPROXIMATE)
    out = check.output("gelu", out, x.shape, in_place=given)
    out[...] = (_gelu if approximate == "none" else _gelu_tanh)(x.ravel()).reshape(x.shape)
    return out


@_quiet
def tanh(x: object, out: object) -> np.ndarray:
    """See `squeezeops.tanh`."""
    given, x = x, check.floats("tanh", "x", x)
    out = check.output("tanh", out, x.shape, in_place=given)
    out[...] = _tanh(x.ravel()).reshape(x.shape)
    return out


# Grouped pointwise convolution.


def _quantize(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Integers from -127 to 127 as float32, and scales: x is about integers * scales, along the last axis."""
    most = np.abs(x).max(axis=-1, keepdims=True, initial=0)  # NaN if there is one
    finite, tiny = np.isfinite(most), most < F(2.0**-100)
    integers = np.where(finite & ~tiny, np.rint(x * (F(127) / most)), F(0))
    scales = np.where(finite, np.where(tiny, F(0), most / F(127)), F(np.nan))
    return integers, scales


def _quantize_rows(
    x: np.ndarray, groups: int, out: tuple[np.ndarray, np.ndarray] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Bytes (..., width), each group filled up with 128, and scales (..., groups)."""
    values, scales = out or check.quantized_output("", (None, None), x.shape[:-1], x.shape[-1], groups)
    n = x.shape[-1] // scales.shape[-1]
    integers, factors = _quantize(x.reshape(*scales.shape, n))
    by_group = values.reshape(*scales.shape, -(-n // 4) * 4)
    by_group[...] = 128
    by_group[..., :n] = integers + 128
    scales[...] = factors[..., 0]
    return values, scales


@_quiet
def quantize_rows(x: object, groups: int, values: object, scales: object) -> tuple[np.ndarray, np.ndarray]:
    """See `squeezeops.quantize_rows`."""
    op = "quantize_rows"
    given, x = x, check.rows(op, "x", x)
    groups = check.divisor(op, "groups", groups, C=x.shape[-1])
    return _quantize_rows(
        x, groups, check.quantized_output(op, (values, scales), x.shape[:-1], x.shape[-1], groups, x=given)
    )


class _Packed(NamedTuple):
    dtype: str
    weight: np.ndarray  # (groups, C_out / groups, C_in / groups): float32; for int8 integers, as float64
    scales: np.ndarray | None  # for int8, (C_out,)
    bias: np.ndarray | None  # (C_out,)


def _pack(op: str, weight: np.ndarray, bias: object, groups: Any, dtype: str) -> _Packed:
    """Check bias and groups, and split the weight by group."""
    c_out, k = weight.shape[:2]
    groups = check.divisor(op, "groups", groups, C_out=c_out)
    b = check.optional(op, "bias", bias, (c_out,))
    w, scales = check.stored_weight(op, weight, dtype), None
    if dtype == "int8":
        w, scales = _quantize(w)
        w, scales = w.astype(float), scales[:, 0]
    return _Packed(dtype, w.reshape(groups, c_out // groups, k), scales, None if b is None else b.copy())


def _multiply_integers(rows: tuple[np.ndarray, np.ndarray], packed: _Packed) -> np.ndarray:
    """conv(x) of quantised rows."""
    groups, n, k = packed.weight.shape
    values, scales = (_matrix(a) for a in rows)
    integers = values.reshape(len(values), groups, values.shape[1] // groups)[:, :, :k] - 128.0
    y = np.empty((len(values), groups, n), F)
    for g in range(groups):
        total = integers[:, g] @ packed.weight[g].T  # exact: float64 holds sums of so many products of bytes
        y[:, g] = total.astype(F) * scales[:, g, None]
    assert packed.scales is not None
    product: np.ndarray = y.reshape(len(values), groups * n) * packed.scales
    return product


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
    """activation(conv(x) + bias) + residual."""
    groups, n, k = packed.weight.shape  # n outputs and k inputs a group
    given, rows = x, None
    if x_scales is not None:
        rows = check.quantized_rows(op, "x", (x, x_scales), groups * k, groups)
        leading = rows[0].shape[:-1]
        inputs["x.scales"] = x_scales
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
    y = _matrix(out)
    if packed.dtype == "int8":
        y[...] = _multiply_integers(rows or _quantize_rows(x, groups), packed)
    else:
        a = _matrix(x)
        for g in range(groups if y.size else 0):
            y[:, g * n : (g + 1) * n] = a[:, g * k : (g + 1) * k] @ packed.weight[g].T
    if packed.bias is not None:
        y += packed.bias
    y[...] = ACTIVATION[activation](y)
    if added is not None:
        y += _matrix(added)
    return out if wanted is None else _quantize_rows(out, wanted, room)


@_quiet
def pointwise_conv(
    x: object, weight: object, bias: object, groups: int, activation: str | None, residual: object, out: object
) -> np.ndarray:
    """See `squeezeops.pointwise_conv`."""
    op = "pointwise_conv"
    packed = _pack(op, check.conv_weight(op, weight, "float32"), bias, groups, "float32")
    c_in = check.rows(op, "x", x).shape[-1]
    check.divisor(op, "groups", groups, C_in=c_in)
    split, n, k = packed.weight.shape
    if split * k != c_in:
        raise ValueError(f"{op}: weight: expected shape (C_out, {c_in // split}), got {(split * n, k)}")
    y: np.ndarray = _convolve(op, x, None, packed, activation, residual, None, out, None, weight=weight, bias=bias)
    return y


@_quiet
def pack_pointwise_conv(weight: object, bias: object, groups: int, dtype: str, memory: object) -> _Packed:
    """See `squeezeops.PointwiseConv`; NumPy chooses the memory."""
    op = "PointwiseConv"
    check.choice(op, "dtype", dtype, check.STORAGE)
    return _pack(op, check.conv_weight(op, weight, "float32", "float16"), bias, groups, dtype)


@_quiet
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


@_quiet
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
    """See `squeezeops.PointwiseConv.from_packed`; the weight is unpacked."""
    op = "PointwiseConv"
    check_address(op, packing.address(packed), packed.nbytes)
    b = check.optional(op, "bias", bias, (c_out,))
    weight, scales = packing.unpack(packed, c_in, c_out, groups, dtype)
    values = weight.astype(float if dtype == "int8" else F)
    return _Packed(dtype, values, scales if dtype == "int8" else None, None if b is None else b.copy())


def packed_form(handle: _Packed) -> np.ndarray:
    """See `squeezeops.PointwiseConv.packed`."""
    return packing.pack(handle.weight, handle.scales, handle.dtype)


# Row-wise ops.


def _layer_norm(x: np.ndarray, weight: np.ndarray | None, bias: np.ndarray | None, eps: float) -> np.ndarray:
    """Rows of the matrix x, in two passes: E[x^2] - E[x]^2 would cancel where the mean is large."""
    n = F(max(x.shape[1], 1))
    d = x - x.sum(axis=1, keepdims=True) / n
    variance = (d * d).sum(axis=1, keepdims=True) / n
    y: np.ndarray = d * (F(1) / np.sqrt(variance + F(eps)))
    if weight is not None:
        y = y * weight
    return y if bias is None else y + bias


@_quiet
def layer_norm(x: object, weight: object, bias: object, eps: float, residual: object, out: object) -> np.ndarray:
    """See `squeezeops.layer_norm`."""
    op = "layer_norm"
    given, x = x, check.rows(op, "x", x)
    w = check.optional(op, "weight", weight, x.shape[-1:])
    b = check.optional(op, "bias", bias, x.shape[-1:])
    eps = check.epsilon(op, eps)
    added = check.optional(op, "residual", residual, x.shape)
    out = check.output(op, out, x.shape, given, weight=weight, bias=bias, residual=residual)
    out[...] = _layer_norm(_matrix(x if added is None else x + added), w, b, eps).reshape(x.shape)
    return out


@_quiet
def l2_normalize(x: object, eps: float, out: object) -> np.ndarray:
    """See `squeezeops.l2_normalize`."""
    op = "l2_normalize"
    given, x = x, check.rows(op, "x", x)
    smallest = F(check.epsilon(op, eps))
    out = check.output(op, out, x.shape, given)
    norm = np.sqrt((x * x).sum(axis=-1, keepdims=True))
    out[...] = x / np.where(norm < smallest, smallest, norm)  # NaN is not below it
    return out


def _excluded(mask: np.ndarray) -> np.ndarray:
    """Keys that a mask takes away: False, or an additive -inf."""
    return ~mask if mask.dtype == bool else mask == -np.inf


def _softmax(x: np.ndarray, mask: np.ndarray | None, fully_masked: str) -> np.ndarray:
    """Softmax of each row of the scaled matrix x; an excluded element gets 0, whatever its value (NaN included)."""
    if x.shape[1] == 0:
        return x
    excluded = np.zeros(x.shape, bool) if mask is None else _excluded(mask)
    if mask is not None and mask.dtype != bool:
        x = x + mask
    x = np.where(excluded, F(-np.inf), x)
    e = np.where(excluded, F(0), _exp(x - x.max(axis=1, keepdims=True)))
    p: np.ndarray = np.where(excluded, F(0), e / e.sum(axis=1, keepdims=True))
    if fully_masked == "uniform":
        p[excluded.all(axis=1)] = F(1) / F(x.shape[1])
    return p


@_quiet
def softmax(x: object, mask: object, scale: float, fully_masked: str, out: object) -> np.ndarray:
    """See `squeezeops.softmax`."""
    op = "softmax"
    given, x = x, check.rows(op, "x", x)
    keep = check.mask(op, "mask", mask, x.shape)
    factor = F(check.real(op, "scale", scale))
    check.choice(op, "fully_masked", fully_masked, check.FULLY_MASKED)
    out = check.output(op, out, x.shape, given, mask=mask)
    rows = _softmax(_matrix(x) * factor, None if keep is None else _matrix(keep), fully_masked)
    out[...] = rows.reshape(x.shape)
    return out


# Pooling.


@_quiet
def mean_pool(x: object, mask: object, out: object) -> np.ndarray:
    """See `squeezeops.mean_pool`."""
    op = "mean_pool"
    given, x = x, check.rows(op, "x", x, axes=2)
    keep = check.mask(op, "mask", mask, x.shape[:-1], ("bool",))
    if keep is None:
        keep = np.ones(x.shape[:-1], bool)
    out = check.output(op, out, (*x.shape[:-2], x.shape[-1]), x=given, mask=mask)
    out[...] = 0
    for row in range(x.shape[-2]):
        np.add(out, x[..., row, :], out=out, where=keep[..., row, None])
    count = keep.sum(axis=-1, keepdims=True)
    np.divide(out, count.astype(F), out=out, where=count > 0)
    return out


# Embeddings.


def _gather(table: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Rows of a table as float32."""
    rows = table[ids]
    if rows.dtype != np.int8:
        floats: np.ndarray = rows.astype(F, copy=False)
        return floats
    values, scales = rows[..., :-SCALE_BYTES], np.ascontiguousarray(rows[..., -SCALE_BYTES:]).view("<f4")
    product: np.ndarray = values.astype(F) * scales
    return product


@_quiet
def embedding(ids: object, table: object, out: object) -> np.ndarray:
    """See `squeezeops.embedding`."""
    op = "embedding"
    given, (table, channels) = table, check.table(op, "table", table)
    rows = check.ids(op, "ids", ids, len(table))
    out = check.output(op, out, (*rows.shape, channels), table=given, ids=ids)
    out[...] = _gather(table, rows)
    return out


@_quiet
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
    tables, rows, w, b, eps, out = check.embedding_layer_norm(
        op, (ids, position_ids, type_ids), (table, position_table, type_table), weight, bias, eps, out
    )
    x = _gather(tables[0], rows[0]) + _gather(tables[1], rows[1]) + _gather(tables[2], rows[2])
    out[...] = _layer_norm(_matrix(x), w, b, eps).reshape(out.shape)
    return out


# Attention: one (sequence, head) at a time.


def _attend(
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    num_heads: int,
    mask: np.ndarray | None,
    scale: np.float32,
    fully_masked: str,
    out: np.ndarray,
) -> None:
    """One sequence: q, out (Lq, C), k, v (Lk, C), mask (heads, Lq, Lk) or None."""
    if k.shape[0] == 0:
        out[...] = 0  # an empty sum
        return
    for head in range(num_heads):
        columns = slice(head * q.shape[1] // num_heads, (head + 1) * q.shape[1] // num_heads)
        keep = None if mask is None else mask[head]
        p = _softmax((q[:, columns] @ k[:, columns].T) * scale, keep, fully_masked)
        values = v[:, columns]
        if keep is None or np.isfinite(values).all():
            out[:, columns] = p @ values
        else:  # 0 * NaN is NaN, so the excluded rows of V are left out, not multiplied
            used = ~_excluded(keep)
            if fully_masked == "uniform":
                used |= ~used.any(axis=1, keepdims=True)
            for row, chosen in enumerate(used):
                out[row, columns] = p[row, chosen] @ values[chosen]


@_quiet
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
    batch, length, channels = queries.shape
    heads = check.divisor(op, "num_heads", num_heads, C=channels)
    keep = check.mask(op, "mask", mask, (batch, heads, length, keys.shape[1]))
    factor = F(check.attention_scale(op, scale, channels // heads))
    check.choice(op, "fully_masked", fully_masked, check.FULLY_MASKED)
    out = check.output(op, out, queries.shape, q=q, k=k, v=v, mask=mask)
    for b in range(batch):
        _attend(queries[b], keys[b], values[b], heads, None if keep is None else keep[b], factor, fully_masked, out[b])
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
    factor = F(check.attention_scale(op, scale, a.q.shape[1] // a.heads))
    check.choice(op, "fully_masked", fully_masked, check.FULLY_MASKED)
    inputs = {"q": q, "k": k, "v": v, "mask": mask}
    inputs |= {"cu_seqlens": cu_seqlens, "cu_seqlens_q": cu_seqlens_q, "cu_seqlens_k": cu_seqlens_k}
    out = check.output(op, out, a.q.shape, **inputs)
    for queries, keys in zip(itertools.pairwise(a.queries), itertools.pairwise(a.keys), strict=True):
        rows, of_keys = slice(*queries), slice(*keys)
        shape = (a.heads, queries[1] - queries[0], keys[1] - keys[0])
        keep = None if a.kept is None else np.broadcast_to(a.kept[of_keys], shape)
        _attend(a.q[rows], a.k[of_keys], a.v[of_keys], a.heads, keep, factor, fully_masked, out[rows])
    return out


@_quiet
def attention_scores(
    q: object, k: object, num_heads: int, mask: object, scale: float | None, out: object
) -> np.ndarray:
    """See `squeezeops.attention_scores`."""
    op = "attention_scores"
    queries, keys = check.batched(op, q, k)
    batch, length, channels = queries.shape
    heads = check.divisor(op, "num_heads", num_heads, C=channels)
    shape = (batch, heads, length, keys.shape[1])
    keep = check.mask(op, "mask", mask, shape)
    factor = F(check.attention_scale(op, scale, channels // heads))
    out = check.output(op, out, shape, q=q, k=k, mask=mask)
    by_head = queries.reshape(batch, length, heads, channels // heads).transpose(0, 2, 1, 3)  # (B, heads, Lq, d)
    keys_by_head = keys.reshape(batch, keys.shape[1], heads, channels // heads).transpose(0, 2, 3, 1)
    scores = np.matmul(by_head, keys_by_head) * factor
    if keep is not None:
        if keep.dtype != bool:
            scores = scores + keep
        scores = np.where(_excluded(keep), F(-np.inf), scores)
    out[...] = scores
    return out


# Threads and processor.

_threads = 1


def set_num_threads(n: int) -> None:
    """Keep the number: the threads of a NumPy matrix product are the setting of its BLAS."""
    global _threads
    number = check.count("set_num_threads", "n", n)
    if number > 256:
        raise ValueError(f"set_num_threads: n: expected a number from 1 to 256, got {number}")
    _threads = number


def get_num_threads() -> int:
    """The number last set, 1 at first."""
    return _threads


def cpu_info() -> dict[str, Any]:
    """No kernels, so nothing to list."""
    return {"isas": [], "compiled": [], "missing": {}, "isa": None, "kernels": {}}
