"""The kernels of the backend "numpy": the specification of every op, in float32 (means and norms in float64).

Read this to know what an op computes; `_front` has checked the arguments. The compiled kernels compute the same, with
bits that do not depend on the batch or the machine; here a matrix product is NumPy's, with the bits of its BLAS.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from squeezeops.packing import INT8, SCALE_BYTES, rotated

if TYPE_CHECKING:
    from squeezeops.backends._front import Convolution

F = np.float32
Array = np.ndarray
Maybe = Array | None
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
EXP2_254 = (253.981735, 176.088287, 61.6232262, 14.0136032)  # 254 * 2^x
LOG2 = (1.44268167, -0.721094847, 0.481642336, -0.371062458, 0.292749316, -0.145224512)  # log2(1 + x) / x
EXP2 = (1.00000012, 0.693146944, 0.240221158, 0.055507157, 0.00967577007, 0.00132762431)

Function = TypeVar("Function", bound=Callable[..., Any])


def _kernel(function: Function) -> Function:
    """Let NaN, infinity, overflow and underflow pass without a warning, as IEEE 754 results."""

    @functools.wraps(function)
    def wrapper(*args: Any) -> Any:
        with np.errstate(all="ignore"):
            return function(*args)

    return wrapper  # type: ignore[return-value]


# Elementary functions: array in, new array out. The constants are those of the kernels.


def _horner(x: Array, coefficients: tuple[float, ...]) -> Array:
    """c0 + x * (c1 + x * (c2 + ...))."""
    y = np.full_like(x, F(coefficients[-1]))
    for c in coefficients[-2::-1]:
        y = y * x + F(c)
    return y


def _exp(x: Array) -> Array:
    """e^x, at most 2 ULP off; exactly +0 below -87.33, so never a subnormal."""
    t = np.where(x > -88, np.where(x < 89, x, F(89)), F(-88))  # NaN is put back below
    n = np.rint(t * LOG2E)
    r = (t - n * LN2_HIGH) - n * LN2_LOW
    y = np.ldexp(r * r * _horner(r, EXP) + r + F(1), n.astype(np.int32))
    y = np.where(x < F(-87.33), F(0), y)
    return np.where(x == x, y, x)


def _tanh(x: Array) -> Array:
    """tanh x, at most 2 ULP off."""
    t = np.abs(x)
    u = t * t
    small = t * u * _horner(u, TANH) + t
    large = F(1) - F(2) / (_exp(np.minimum(t + t, F(20))) + F(1))
    result: Array = np.copysign(np.where(t < F(0.625), small, large), x)
    return result


def _gelu(x: Array) -> Array:
    """x * Phi(x) = max(x, 0) - t * Phi(-t) with t = |x|. log2 Phi(-t) is a polynomial: no division, no cancellation."""
    t = np.where(np.abs(x) < F(13.1), np.abs(x), F(13.1))
    y = _horner(t, LOG2_TAIL)
    n = np.rint(y)
    tail = np.ldexp(_horner(y - n, EXP2), n.astype(np.int32))
    result: Array = np.where(x < 0, F(-0.0), x) - t * np.where(n < -126, F(0), tail)
    return result


def _gelu_tanh(x: Array) -> Array:
    """x * (1 + tanh(z)) / 2 = x / (1 + exp(-2z)) with z = sqrt(2 / pi) * (x + 0.044715 x^3)."""
    x = np.where(x < -20, F(-20), x)
    z2 = F(2 * math.sqrt(2 / math.pi)) * (x + F(0.044715) * (x * x * x))
    result: Array = x / (F(1) + _exp(-z2))
    return result


def _relu(x: Array) -> Array:
    """0 where x < 0, else x: NaN stays NaN."""
    return np.where(x < 0, F(0), x)


ACTIVATION = {None: lambda x: x, "gelu": _gelu, "gelu_tanh": _gelu_tanh, "relu": _relu, "tanh": _tanh}


@_kernel
def activation(x: Array, word: str, out: Array) -> None:
    """x and out (size,)."""
    out[...] = ACTIVATION[word](x)


# Grouped pointwise convolution.


@_kernel
def quantize_rows(x: Array, groups: int, values: Array, scales: Array, rotate: bool) -> None:
    """values (rows, width), each group padded with 128 to a multiple of 4; scales (rows, groups)."""
    if rotate:
        x = rotated(x)
    rows, n = len(x), x.shape[1] // groups
    by_group = x.reshape(rows, groups, n)
    most = np.abs(by_group).max(axis=-1, initial=0)  # NaN if there is one
    finite, tiny = np.isfinite(most), most < F(2.0**-100)
    scales[...] = np.where(finite, np.where(tiny, F(0), most / F(127)), F(np.nan))
    integers = np.where((finite & ~tiny)[..., None], np.rint(by_group * (F(127) / most)[..., None]), F(0))
    bytes_of = values.reshape(rows, groups, -(-n // 4) * 4)
    bytes_of[...] = 128
    bytes_of[..., :n] = integers + 128


def pack(weight: Array) -> Array:
    """Convert a weight (groups, C_out / groups, C_in / groups) of float32, float16 or int8 for `convolve`."""
    return weight.astype(float if weight.dtype == np.int8 else F)  # float64 holds sums of so many products of bytes


def unpack(conv: Convolution) -> Array:
    """Return the weight that `pack` was given, as any type."""
    weight: Array = conv.weight
    return weight


@_kernel
def convolve(x: Array, x_scales: Maybe, conv: Convolution, activation: str | None, residual: Maybe, out: Array) -> None:
    """out = activation(conv(x) + bias) + residual. x is float32, or uint8 with x_scales, as from `quantize_rows`."""
    groups, n, k, rows = conv.groups, conv.n, conv.k, len(out)
    a: Any = x
    if conv.dtype in INT8:
        if x_scales is None:
            values, x_scales = np.empty((rows, groups * -(-k // 4) * 4), np.uint8), np.empty((rows, groups), F)
            quantize_rows(x, groups, values, x_scales, conv.dtype == "int8_rotated")
        else:
            values = x
        a = values.reshape(rows, groups, -(-k // 4) * 4)[..., :k] - 128.0
    a, y = a.reshape(rows, groups, k), out.reshape(rows, groups, n)
    for g in range(groups if out.size else 0):
        y[:, g] = a[:, g] @ conv.weight[g].T
        if x_scales is not None:
            y[:, g] *= x_scales[:, g, None]
    if x_scales is not None:
        out *= conv.scales
    if conv.bias is not None:
        out += conv.bias
    out[...] = ACTIVATION[activation](out)
    if residual is not None:
        out += residual


# Row-wise ops; out may be x. Masks are added, and -inf excludes.


def _affine(x: Array, factor: Array, weight: Maybe, bias: Maybe) -> Array:
    y: Array = (x * factor).astype(F)
    if weight is not None:
        y = y * weight
    if bias is not None:
        y = y + bias
    return y


@_kernel
def layer_norm(x: Array, weight: Maybe, bias: Maybe, eps: F, residual: Maybe, out: Array) -> None:
    """In float64 no sum of squares of float32 overflows, and no mean is so far from zero that it is inexact."""
    if residual is not None:
        x = x + residual
    n = max(x.shape[1], 1)
    d = x - x.sum(axis=1, keepdims=True, dtype=float) / n
    variance = (d * d).sum(axis=1, keepdims=True) / n
    out[...] = _affine(d, 1 / np.sqrt(variance + eps), weight, bias)


def _square_sums(x: Array) -> Array:
    sums: Array = np.square(x, dtype=float).sum(axis=1, keepdims=True)
    return sums


@_kernel
def rms_norm(x: Array, weight: Maybe, eps: F, residual: Maybe, out: Array) -> None:
    """Divide rows by their root mean squares."""
    if residual is not None:
        x = x + residual
    out[...] = _affine(x, 1 / np.sqrt(_square_sums(x) / max(x.shape[1], 1) + eps), weight, None)


@_kernel
def l2_normalize(x: Array, eps: F, out: Array) -> None:
    """Divide rows by their norms, or by eps."""
    norm = np.sqrt(_square_sums(x))
    out[...] = x / np.where(norm < eps, eps, norm)  # NaN is not below it


def _softmax(x: Array, mask: Maybe, uniform: bool) -> Array:
    """Softmax of each row of the scaled matrix x. An excluded element becomes 0, whatever its value, even NaN."""
    if x.shape[1] == 0:
        return x
    excluded = np.zeros(x.shape, bool) if mask is None else np.broadcast_to(mask == -np.inf, x.shape)
    if mask is not None:
        x = x + mask
    x = np.where(excluded, F(-np.inf), x)
    e = np.where(excluded, F(0), _exp(x - x.max(axis=1, keepdims=True)))
    p: Array = np.where(excluded, F(0), e / e.sum(axis=1, keepdims=True))
    if uniform:
        p[excluded.all(axis=1)] = F(1) / F(x.shape[1])
    return p


@_kernel
def softmax(x: Array, mask: Maybe, scale: F, uniform: bool, out: Array) -> None:
    """The mask has one row or as many as x. A row whose n elements are all excluded becomes 1/n if uniform, else 0."""
    out[...] = _softmax(x * scale, mask, uniform)


# Pooling and embeddings.


@_kernel
def mean_pool(x: Array, mask: Maybe, out: Array) -> None:
    """x (B, L, C), mask (1, L) or (B, L) of bool, out (B, C)."""
    keep = np.broadcast_to(True if mask is None else mask, x.shape[:2])
    out[...] = 0
    for row in range(x.shape[1]):
        np.add(out, x[:, row], out=out, where=keep[:, row, None])
    count = keep.sum(axis=1, keepdims=True)
    np.divide(out, count.astype(F), out=out, where=count > 0)


@_kernel
def embedding(ids: Array, table: Array, out: Array) -> None:
    """A row of an int8 table ends with the bytes of its scale, a float32."""
    rows = table[ids]
    if table.dtype == np.int8:
        rows = rows[:, :-SCALE_BYTES].astype(F) * np.ascontiguousarray(rows[:, -SCALE_BYTES:]).view("<f4")
    out[...] = rows


@_kernel
def embedding_layer_norm(pairs: list[tuple[Array, Array]], weight: Maybe, bias: Maybe, eps: F, out: Array) -> None:
    """`layer_norm` of the sum of embeddings, for pairs of ids and table."""
    rows = np.empty_like(out)
    embedding(*pairs[0], out)
    for ids, table in pairs[1:]:
        embedding(ids, table, rows)
        out += rows
    layer_norm(out, weight, bias, eps, None, out)


# Attention: one head of a sequence at a time.


def _attend(q: Array, k: Array, v: Array, mask: Maybe, scale: F, uniform: bool) -> Array:
    """A head of a sequence: q (Lq, C), k and v (Lk, C), mask (Lq, Lk)."""
    p = _softmax((q @ k.T) * scale, mask, uniform)
    if mask is None or np.isfinite(v).all():
        product: Array = p @ v
        return product
    used = mask != -np.inf  # 0 * NaN is NaN, so the excluded rows of v are left out, not multiplied
    if uniform:
        used |= ~used.any(axis=1, keepdims=True)
    return np.array([p[row, chosen] @ v[chosen] for row, chosen in enumerate(used)], F).reshape(len(q), v.shape[1])


@_kernel
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
    """The mask is (B, heads, Lq, Lk), where B, heads and Lq may be 1, or (total_k,) for a ragged batch."""
    size = q.shape[1] // heads
    bounds = zip(itertools.pairwise(q_offsets), itertools.pairwise(k_offsets), strict=True)
    for b, ((q0, q1), (k0, k1)) in enumerate(bounds):
        if k0 == k1:
            out[q0:q1] = 0  # an empty sum
            continue
        keep = None
        if mask is not None:
            own = mask[k0:k1] if mask.ndim == 1 else mask[min(b, len(mask) - 1)]
            keep = np.broadcast_to(own, (heads, q1 - q0, k1 - k0))
        for head in range(heads):
            columns = slice(head * size, (head + 1) * size)
            own = None if keep is None else keep[head]
            out[q0:q1, columns] = _attend(q[q0:q1, columns], k[k0:k1, columns], v[k0:k1, columns], own, scale, uniform)


def _fma(a: Array, b: Array, c: Any) -> Array:
    """a * b + c, rounded once, but for a double rounding that is too rare to matter."""
    result: Array = (a.astype(float) * np.asarray(b, float) + np.asarray(c, float)).astype(F)
    return result


def _horner_fma(x: Array, coefficients: tuple[float, ...]) -> Array:
    """c0 + x * (c1 + x * (c2 + ...)), with one rounding per step."""
    y = np.full_like(x, F(coefficients[-1]))
    for c in coefficients[-2::-1]:
        y = _fma(y, x, F(c))
    return y


def _row_sums(x: Array, y: Array) -> Array:
    """The sum of x * y along rows of n elements, n a multiple of 16: 16 striped partial sums, then a tree."""
    lanes = np.zeros((len(x), 16), F)
    for i in range(0, x.shape[1], 16):
        lanes = _fma(x[:, i : i + 16], y[i : i + 16], lanes)
    for half in (8, 4, 2, 1):
        lanes = lanes[:, :half] + lanes[:, half:]
    return lanes


def _attend_s8(
    q: Array, q_scales: Array, k: Array, k_scales: Array, v: Array, v_scales: Array, keep: Array, factor: F
) -> Array:
    """A head of a sequence: q (Lq, C), k and v (Lk, C) as integers in float64, scales by row, keep (Lk,) of bool.

    The exponent carries the scales of v: the probability of key j is a byte p, times v_scales[j] of the largest one.
    """
    top = np.maximum(v_scales[keep].max(initial=0), F(2.0**-108))
    x = np.maximum(v_scales / top, F(2.0**-60))
    m, n = np.frexp(x)
    low = m < F(0.75)
    m, n = np.where(low, m + m, m) - F(1), np.where(low, n - 1, n)  # m from -1/4 to 1/2
    logarithm = _fma(_horner_fma(m, LOG2), m, n)
    k_scales = np.where(keep, k_scales, F(0))
    logarithm, r = np.where(keep, logarithm, F(-3e38)), np.where(keep, F(1) / x, F(0))
    scores = (q @ k.T).astype(F) * k_scales
    # Excluded keys fill up the last vector.
    more = -len(k) % 16
    scores, r = np.pad(scores, ((0, 0), (0, more))), np.pad(r, (0, more))
    logarithm = np.pad(logarithm, (0, more), constant_values=F(-3e38))
    t = _fma(scores, (q_scales * factor)[:, None], logarithm)
    u = np.maximum(t - t.max(axis=1, keepdims=True), F(-126))
    n = np.rint(u)
    e = np.ldexp(_horner_fma(u - n, EXP2_254), n.astype(np.int32))
    p = np.rint(e - F(127)).astype(float) + 127  # 0 to 254
    y: Array = (p[:, : len(k)] @ v).astype(F) * (top / _row_sums(e, r))
    return y


@_kernel
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
    """Rows of `quantize_rows` and their scales. The mask is of bool: (B, heads, 1, Lk), where B and heads may be 1, or
    (total_k,)."""
    size, width = out.shape[1] // heads, q.shape[1] // heads
    bounds = zip(itertools.pairwise(q_offsets), itertools.pairwise(k_offsets), strict=True)
    for b, ((q0, q1), (k0, k1)) in enumerate(bounds):
        out[q0:q1] = 0
        for head in range(heads if k0 < k1 else 0):
            part, bytes_of = slice(head * size, (head + 1) * size), slice(head * width, head * width + size)
            queries, keys, values = q[q0:q1, bytes_of] - 128.0, k[k0:k1, bytes_of] - 128.0, v[k0:k1, bytes_of] - 128.0
            own_scales = q_scales[q0:q1, head], k_scales[k0:k1, head], v_scales[k0:k1, head]
            keep = np.ones(k1 - k0, bool)
            if mask is not None:
                keep = mask[k0:k1] if mask.ndim == 1 else mask[min(b, len(mask) - 1), min(head, mask.shape[1] - 1), 0]
            if keep.any():
                y = _attend_s8(queries, own_scales[0], keys, own_scales[1], values, own_scales[2], keep, scale * LOG2E)
            elif uniform:
                y = np.zeros((1, size), F)
                for row, row_scale in zip(values.astype(F), own_scales[2], strict=True):
                    y = _fma(row * row_scale, F(1) / F(k1 - k0), y)
            else:
                continue
            out[q0:q1, part] = _fma(y, value_scale[part], value_bias[part])


@_kernel
def attention_scores(q: Array, k: Array, q_offsets: Array, k_offsets: Array, mask: Maybe, scale: F, out: Array) -> None:
    """out and mask (B, heads, Lq, Lk), but the mask's B, heads and Lq may be 1."""
    batch, heads, queries, keys = out.shape
    size = q.shape[1] // heads
    by_head = q.reshape(batch, queries, heads, size).transpose(0, 2, 1, 3)
    keys_by_head = k.reshape(batch, keys, heads, size).transpose(0, 2, 3, 1)
    scores = np.matmul(by_head, keys_by_head) * scale
    out[...] = scores if mask is None else np.where(mask == -np.inf, F(-np.inf), scores + mask)


_threads = 1


def set_num_threads(n: int) -> None:
    """Keep the number: the threads of a matrix product are a setting of NumPy's BLAS."""
    global _threads
    _threads = n


def get_num_threads() -> int:
    """Return the number last set, 1 at first."""
    return _threads
