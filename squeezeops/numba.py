"""The kernels of the backend "numba" as functions that your own ``@njit`` code can call.

They are compiled into your function, with the operations of the compiled kernels in the same order. So the bits are
those of the op of the same name, wherever the processor has a fused multiply-add; and your ``fastmath=True`` does not
reach them.

Common to all functions:

* Arrays are C-contiguous float32. (Other dtypes and layouts, and results in read-only arrays, are a TypingError of
  Numba, at compile time.) They are matrices (rows, C), unless a function says otherwise; the result goes to `out`, and
  nothing is returned.
* Optional arguments may be None. Scalars are rounded to float32.
* A wrong shape is a ValueError: the message names function and argument. That shapes fit is all that is checked: ids
  must be valid, and `out` must not overlap an input, though it may be x where a function says so.
* A call runs on the calling thread, without the GIL. For several threads, call it on slices of the rows, for example in
  Numba's ``prange``: the bits of a row do not depend on the rows beside it.
* ``cache=True`` of your own function is not renewed by a new version of squeezeops: clear Numba's cache then.
"""

from __future__ import annotations

from typing import Any

import numpy as np

try:
    from numba import types
    from numba.core.errors import TypingError
    from numba.extending import overload
except ImportError as reason:
    raise ImportError(
        "squeezeops.numba: expected Numba, got none (to get it: pip install 'squeezeops[numba]')"
    ) from reason

from squeezeops.backends import load
from squeezeops.backends._numba import attention as _attention
from squeezeops.backends._numba import convolution as _convolution
from squeezeops.backends._numba import gather as _gather
from squeezeops.backends._numba import rows as _rows
from squeezeops.backends._numba.compiled import kernel, part
from squeezeops.backends._numba.elementary import ACTIVATIONS, LOG2E
from squeezeops.backends._numba.vector import TILE_ROWS, WIDTH

__all__ = [
    "GELU",
    "GELU_TANH",
    "NONE",
    "RELU",
    "TANH",
    "attention",
    "attention_int8",
    "embedding",
    "gelu",
    "gelu_tanh",
    "l2_normalize",
    "layer_norm",
    "mean_pool",
    "pack_weight",
    "pointwise_conv",
    "pointwise_conv_int8",
    "quantize_rows",
    "relu",
    "rms_norm",
    "softmax",
    "tanh",
]

F = np.float32
# The activations of `pointwise_conv`.
NONE, GELU, GELU_TANH, RELU, TANH = (ACTIVATIONS[name] for name in (None, "gelu", "gelu_tanh", "relu", "tanh"))


def _inside(of_backend: Any) -> Any:
    """Make a kernel of the backend callable from compiled code, apart from the signatures that the backend uses."""
    return part(getattr(of_backend, "py_func", of_backend))


_activate, _layer_norm, _rms_norm = map(_inside, (_rows.activation, _rows.layer_norm, _rows.rms_norm))
_l2_normalize, _softmax = map(_inside, (_rows.l2_normalize, _rows.softmax))
_mean_pool, _embedding = map(_inside, (_gather.mean_pool, _gather.embedding))
_convolve, _quantize, _attend = map(_inside, (_convolution.convolve, _convolution.quantize_rows, _attention.attend))
_convolve_int8, _attend_int8 = _inside(_convolution.convolve_int8), _inside(_attention.attend_s8)
_scratch_of_convolve = part(_convolution.scratch_size)


@part
def _scratch_of_int8(groups, k):
    return _scratch_of_convolve(k) + _convolution.ROW_BLOCK * groups * (k + 1)


def _flat(x):
    """View an array as one row; None becomes an empty one, as the kernels expect it."""
    return np.empty(0, F) if x is None else x.reshape(x.size)


def _into(x):
    """View a result as one row. A read-only array, which may be a mapped file, is refused."""
    return x.reshape(x.size)


def _size(x, otherwise):
    """The number of elements of an optional array, which is right if it is not given."""
    return otherwise if x is None else x.size


def _is_none(given):
    return isinstance(given, types.NoneType) or getattr(given, "value", 0) is None  # left out


@overload(_flat)
def _compile_flat(x):
    return (lambda x: np.empty(0, np.float32)) if _is_none(x) else lambda x: x.reshape(x.size)


@overload(_into)
def _compile_into(x):
    if not x.mutable:
        raise TypingError("expected a result that is writeable, got a read-only array")
    return lambda x: x.reshape(x.size)


@overload(_size)
def _compile_size(x, otherwise):
    return (lambda x, otherwise: otherwise) if _is_none(x) else lambda x, otherwise: x.size


def _float_weight(packed):
    return packed


def _int8_weight(packed, scales):
    return packed


@overload(_float_weight)
def _compile_float_weight(packed):
    if packed.dtype not in (types.float32, types.uint16):
        raise TypingError(
            f"pointwise_conv: packed: expected a weight of dtype float32 or float16 from pack_weight, got {packed}"
        )
    return lambda packed: packed


@overload(_int8_weight)
def _compile_int8_weight(packed, scales):
    if packed.dtype != types.int8:
        raise TypingError(
            f"pointwise_conv_int8: packed: expected a weight of dtype int8 from pack_weight, got {packed}"
        )
    if scales.dtype != types.float32:
        raise TypingError(f"pointwise_conv_int8: scales: expected float32, got {scales}")
    return lambda packed, scales: packed


@kernel
def gelu(x, out):
    """Gaussian error linear unit of each element: ``x * Phi(x)``. See `squeezeops.gelu`.

    Parameters
    ----------
    x : ndarray of float32, of any shape
    out : ndarray of float32, of x's size
        May be x.

    Examples
    --------
    >>> import numpy as np, numba, squeezeops.numba as sn
    >>> @numba.njit
    ... def sum_of_gelu(x):
    ...     y = np.empty_like(x)
    ...     sn.gelu(x, y)
    ...     return y.sum()
    >>> float(sum_of_gelu(np.zeros(100, np.float32)))
    0.0
    """
    if out.size != x.size:
        raise ValueError("gelu: out: expected as many elements as x")
    _activate(0, x.size, _flat(x), GELU, _into(out))


@kernel
def gelu_tanh(x, out):
    """The approximation of `gelu` by tanh. See `squeezeops.gelu` with ``approximate="tanh"``.

    Parameters
    ----------
    x : ndarray of float32, of any shape
    out : ndarray of float32, of x's size
        May be x.

    Examples
    --------
    >>> import numpy as np, squeezeops.numba as sn
    >>> x = np.zeros(3, np.float32)
    >>> sn.gelu_tanh(x, x)
    >>> x.tolist()
    [0.0, 0.0, 0.0]
    """
    if out.size != x.size:
        raise ValueError("gelu_tanh: out: expected as many elements as x")
    _activate(0, x.size, _flat(x), GELU_TANH, _into(out))


@kernel
def relu(x, out):
    """0 where x < 0, else x, so that NaN stays NaN.

    Parameters
    ----------
    x : ndarray of float32, of any shape
    out : ndarray of float32, of x's size
        May be x.

    Examples
    --------
    >>> import numpy as np, squeezeops.numba as sn
    >>> x = np.array([-1, 2], np.float32)
    >>> sn.relu(x, x)
    >>> x.tolist()
    [0.0, 2.0]
    """
    if out.size != x.size:
        raise ValueError("relu: out: expected as many elements as x")
    _activate(0, x.size, _flat(x), RELU, _into(out))


@kernel
def tanh(x, out):
    """Hyperbolic tangent of each element. See `squeezeops.tanh`.

    Parameters
    ----------
    x : ndarray of float32, of any shape
    out : ndarray of float32, of x's size
        May be x.

    Examples
    --------
    >>> import numpy as np, squeezeops.numba as sn
    >>> x = np.array([0, 100], np.float32)
    >>> sn.tanh(x, x)
    >>> x.tolist()
    [0.0, 1.0]
    """
    if out.size != x.size:
        raise ValueError("tanh: out: expected as many elements as x")
    _activate(0, x.size, _flat(x), TANH, _into(out))


@kernel
def layer_norm(x, out, weight=None, bias=None, eps=1e-5, residual=None):
    """Layer normalisation of the rows of x + residual. See `squeezeops.layer_norm`.

    Parameters
    ----------
    x : ndarray of float32, shape (rows, C)
    out : ndarray of float32, shape (rows, C)
        May be x.
    weight, bias : ndarray of float32, shape (C,), optional
    eps : float
    residual : ndarray of float32, shape (rows, C), optional

    Examples
    --------
    >>> import numpy as np, numba, squeezeops.numba as sn
    >>> @numba.njit(parallel=True)
    ... def in_parallel(x, out):
    ...     for part in numba.prange(2):
    ...         first, last = part * len(x) // 2, (part + 1) * len(x) // 2
    ...         sn.layer_norm(x[first:last], out[first:last], eps=0.0)
    >>> x = np.array([[1, 3], [5, 1], [2, 4]], np.float32)
    >>> in_parallel(x, x)
    >>> x.tolist()
    [[-1.0, 1.0], [1.0, -1.0], [-1.0, 1.0]]
    """
    n = x.shape[1]
    if out.shape != x.shape:
        raise ValueError("layer_norm: out: expected the shape of x")
    if _size(residual, x.size) != x.size:
        raise ValueError("layer_norm: residual: expected the shape of x")
    if _size(weight, n) != n or _size(bias, n) != n:
        raise ValueError("layer_norm: weight: expected shape (C,), as of bias")
    arrays = _flat(x), _flat(residual), _flat(weight), _flat(bias)
    _layer_norm(0, len(x), *arrays, np.float32(eps), n, _into(out))


@kernel
def rms_norm(x, out, weight=None, eps=1e-6, residual=None):
    """Division of the rows of x + residual by their root mean squares. See `squeezeops.rms_norm`.

    Parameters
    ----------
    x : ndarray of float32, shape (rows, C)
    out : ndarray of float32, shape (rows, C)
        May be x.
    weight : ndarray of float32, shape (C,), optional
    eps : float
    residual : ndarray of float32, shape (rows, C), optional

    Examples
    --------
    >>> import numpy as np, squeezeops.numba as sn
    >>> x = np.array([[2, -2]], np.float32)
    >>> sn.rms_norm(x, x, eps=0.0)
    >>> x.tolist()
    [[1.0, -1.0]]
    """
    n = x.shape[1]
    if out.shape != x.shape:
        raise ValueError("rms_norm: out: expected the shape of x")
    if _size(residual, x.size) != x.size:
        raise ValueError("rms_norm: residual: expected the shape of x")
    if _size(weight, n) != n:
        raise ValueError("rms_norm: weight: expected shape (C,)")
    _rms_norm(0, len(x), _flat(x), _flat(residual), _flat(weight), np.float32(eps), n, _into(out))


@kernel
def l2_normalize(x, out, eps=1e-12):
    """Division of each row by the larger of its norm and eps. See `squeezeops.l2_normalize`.

    Parameters
    ----------
    x : ndarray of float32, shape (rows, C)
    out : ndarray of float32, shape (rows, C)
        May be x.
    eps : float

    Examples
    --------
    >>> import numpy as np, squeezeops.numba as sn
    >>> x = np.array([[0, 5]], np.float32)
    >>> sn.l2_normalize(x, x)
    >>> x.tolist()
    [[0.0, 1.0]]
    """
    if out.shape != x.shape:
        raise ValueError("l2_normalize: out: expected the shape of x")
    _l2_normalize(0, len(x), _flat(x), np.float32(eps), x.shape[1], _into(out))


@kernel
def softmax(x, out, mask=None, scale=1.0, uniform=True):
    """Softmax of each row of x * scale + mask. See `squeezeops.softmax`.

    Parameters
    ----------
    x : ndarray of float32, shape (rows, C)
    out : ndarray of float32, shape (rows, C)
        May be x.
    mask : ndarray of float32, shape (rows, C) or (1, C), optional
        Added after scaling; -inf excludes the element.
    scale : float
    uniform : bool
        What a row becomes of which every element is excluded: 1/C each, or 0.

    Examples
    --------
    >>> import numpy as np, numba, squeezeops.numba as sn
    >>> @numba.njit
    ... def largest_share(x):
    ...     p = np.empty_like(x)
    ...     sn.softmax(x, p, scale=0.5)
    ...     return p.max()
    >>> float(largest_share(np.zeros((3, 4), np.float32)))
    0.25
    """
    n = x.shape[1]
    if out.shape != x.shape:
        raise ValueError("softmax: out: expected the shape of x")
    of_mask = _size(mask, n)
    if of_mask != n and of_mask != x.size:
        raise ValueError("softmax: mask: expected the shape of x, or one row")
    stride = n if of_mask == x.size else 0
    _softmax(0, len(x), _flat(x), _flat(mask), stride, np.float32(scale), uniform, n, _into(out))


@kernel
def mean_pool(x, out, mask=None):
    """Mean of the rows of each sequence that the mask keeps; zeros if it keeps none. See `squeezeops.mean_pool`.

    Parameters
    ----------
    x : ndarray of float32, shape (B, L, C)
    out : ndarray of float32, shape (B, C)
    mask : ndarray of uint8, shape (B, L), optional
        0 leaves a row out.

    Examples
    --------
    >>> import numpy as np, squeezeops.numba as sn
    >>> out = np.empty((1, 2), np.float32)
    >>> sn.mean_pool(np.array([[[1, 2], [3, 4]]], np.float32), out)
    >>> out.tolist()
    [[2.0, 3.0]]
    """
    batch, length, n = x.shape
    if out.shape != (batch, n):
        raise ValueError("mean_pool: out: expected shape (B, C)")
    if _size(mask, batch * length) != batch * length:
        raise ValueError("mean_pool: mask: expected shape (B, L)")
    _mean_pool(0, batch, _flat(x), _flat(mask), length, n, _into(out))


@kernel
def embedding(ids, table, out):
    """Rows of a table, as float32. See `squeezeops.embedding`.

    Parameters
    ----------
    ids : ndarray of int64, shape (rows,)
        Each in [0, V): this is not checked.
    table : ndarray of float32, or of uint16 with the bits of float16, shape (V, C)
    out : ndarray of float32, shape (rows, C)

    Examples
    --------
    >>> import numpy as np, squeezeops.numba as sn
    >>> table, out = np.array([[1, 2], [3, 4]], np.float16), np.empty((1, 2), np.float32)
    >>> sn.embedding(np.array([1]), table.view(np.uint16), out)
    >>> out.tolist()
    [[3.0, 4.0]]
    """
    n = table.shape[1]
    if out.shape != (len(ids), n):
        raise ValueError("embedding: out: expected shape (rows, C)")
    _embedding(0, len(ids), ids, _flat(table), n, _flat(None), False, n, _into(out))


@kernel
def quantize_rows(x, values, scales):
    """Bytes of rows, with a scale for each group of channels. See `squeezeops.quantize_rows`.

    Parameters
    ----------
    x : ndarray of float32, shape (rows, C)
    values : ndarray of uint8, shape (rows, width)
        Result. The width is C, with each group filled up to a multiple of 4.
    scales : ndarray of float32, shape (rows, groups)
        Result.

    Examples
    --------
    >>> import numpy as np, squeezeops.numba as sn
    >>> values, scales = np.empty((1, 4), np.uint8), np.empty((1, 1), np.float32)
    >>> sn.quantize_rows(np.array([[-127, 2, 0, 127]], np.float32), values, scales)
    >>> values.tolist(), scales.tolist()
    ([[1, 130, 128, 255]], [[1.0]])
    """
    count, groups = scales.shape
    if len(x) != count or groups == 0 or x.shape[1] % groups != 0:
        raise ValueError("quantize_rows: scales: expected shape (rows, groups), groups a divisor of C")
    n = x.shape[1] // groups
    if values.shape != (count, groups * ((n + 3) // 4 * 4)):
        raise ValueError("quantize_rows: values: expected shape (rows, width)")
    _quantize(0, count, _flat(x), groups, n, np.zeros(max(n, 1), np.float32), _into(values), _into(scales))


def pack_weight(weight: Any, groups: int = 1, dtype: str = "float32") -> Any:
    """Pack a weight for `pointwise_conv` or `pointwise_conv_int8`. Call it from Python, once.

    The form depends on the processor.

    Parameters
    ----------
    weight : ndarray of float32 or float16, shape (C_out, C_in / groups)
    groups : int
        A divisor of C_out.
    dtype : {"float32", "float16", "int8"}
        See `squeezeops.PointwiseConv`.

    Returns
    -------
    ndarray of float32, of uint16, or of int8, shape (elements,)
        For int8 a tuple, with the scales of the output channels: ndarray of float32, shape (C_out,).

    Raises
    ------
    TypeError, ValueError
        As `squeezeops.PointwiseConv`.

    Examples
    --------
    >>> import numpy as np, squeezeops.numba as sn
    >>> packed, scales = sn.pack_weight(np.full((2, 3), 127, np.float32), dtype="int8")
    >>> scales.tolist()
    [1.0, 1.0]
    """
    if dtype not in ("float32", "float16", "int8"):
        raise ValueError(f"pack_weight: dtype: expected one of 'float32', 'float16', 'int8', got {dtype!r}")
    conv = load("numba").pack_pointwise_conv(weight, None, groups, dtype, None)
    return (conv.weight, conv.scales) if dtype == "int8" else conv.weight


@part
def _check_conv(x, packed, out, groups, bias, residual):
    (count, c_in), c_out = x.shape, out.shape[1]
    if groups < 1 or c_in % groups != 0 or c_out % groups != 0:
        raise ValueError("pointwise_conv: groups: expected a divisor of C_in and C_out")
    if len(out) != count or _size(residual, out.size) != out.size:
        raise ValueError("pointwise_conv: out: expected as many rows as x, as of residual")
    if _size(bias, c_out) != c_out:
        raise ValueError("pointwise_conv: bias: expected shape (C_out,)")
    k, n = c_in // groups, c_out // groups
    if packed.size != groups * ((n + WIDTH - 1) // WIDTH * WIDTH) * k:
        raise ValueError("pointwise_conv: packed: expected a weight of (C_out, C_in / groups), packed for these groups")
    return k, n


@kernel
def pointwise_conv(x, packed, out, groups=1, bias=None, activation=NONE, residual=None):
    """Grouped convolution of kernel size 1: ``act(conv(x) + bias) + residual``. See `squeezeops.PointwiseConv`.

    Parameters
    ----------
    x : ndarray of float32, shape (rows, C_in)
    packed : ndarray
        What `pack_weight` returned for the same groups.
    out : ndarray of float32, shape (rows, C_out)
    groups : int
    bias : ndarray of float32, shape (C_out,), optional
    activation : int
        `NONE`, `GELU`, `GELU_TANH`, `RELU` or `TANH` of this module.
    residual : ndarray of float32, shape (rows, C_out), optional

    Examples
    --------
    >>> import numpy as np, numba, squeezeops.numba as sn
    >>> packed = sn.pack_weight(np.array([[1, 1], [1, -1]], np.float32), groups=2)
    >>> @numba.njit
    ... def layer(x, packed):
    ...     y = np.empty((len(x), 2), np.float32)
    ...     sn.pointwise_conv(x, packed, y, 2, activation=sn.RELU)
    ...     return y
    >>> layer(np.array([[1, 2, 3, 4]], np.float32), packed).tolist()
    [[3.0, 0.0]]
    """
    k, n = _check_conv(x, packed, out, groups, bias, residual)
    if out.size > 0:
        ends = _flat(bias), activation, _flat(residual), groups, k, n, np.zeros(_scratch_of_convolve(k), np.float32)
        _convolve(0, len(x), _flat(x), _float_weight(packed), *ends, _into(out))


@kernel
def pointwise_conv_int8(x, packed, scales, out, groups=1, bias=None, activation=NONE, residual=None):
    """`pointwise_conv` with a weight in int8; x is quantised. See `squeezeops.PointwiseConv`.

    Parameters
    ----------
    x : ndarray of float32, shape (rows, C_in)
    packed, scales : ndarray
        What `pack_weight` returned for the same groups and the dtype "int8".
    out : ndarray of float32, shape (rows, C_out)
    groups, bias, activation, residual
        As for `pointwise_conv`.

    Examples
    --------
    >>> import numpy as np, squeezeops.numba as sn
    >>> packed, scales = sn.pack_weight(np.full((1, 2), 127, np.float32), dtype="int8")
    >>> out = np.empty((1, 1), np.float32)
    >>> sn.pointwise_conv_int8(np.array([[127, 1]], np.float32), packed, scales, out)
    >>> out.tolist()
    [[16256.0]]
    """
    k, n = _check_conv(x, packed, out, groups, bias, residual)
    if scales.size != out.shape[1]:
        raise ValueError("pointwise_conv: scales: expected shape (C_out,)")
    if out.size > 0:
        ends = _flat(bias), activation, _flat(residual), groups, k, n
        scratch = np.zeros(_scratch_of_int8(groups, k), np.float32)
        totals = np.zeros(TILE_ROWS * WIDTH)
        weight = _int8_weight(packed, scales)
        _convolve_int8(0, len(x), _flat(x), _flat(None), weight, scales, *ends, scratch, totals, _into(out))


@kernel
def attention(q, k, v, out, num_heads, mask=None, uniform=True):
    """Multi-head attention, with scores divided by the root of the size of a head. See `squeezeops.attention`.

    Parameters
    ----------
    q : ndarray of float32, shape (B, Lq, C)
    k, v : ndarray of float32, shape (B, Lk, C)
    out : ndarray of float32, shape (B, Lq, C)
    num_heads : int
        A divisor of C.
    mask : ndarray of float32, shape (B, Lk), optional
        Added to the scores of a key; -inf excludes it.
    uniform : bool
        Whether a query attends to all keys if each is excluded; else its result is 0.

    Examples
    --------
    >>> import numpy as np, squeezeops.numba as sn
    >>> x = np.ones((1, 3, 4), np.float32)
    >>> out = np.empty_like(x)
    >>> sn.attention(x, x, x, out, 2)
    >>> bool((out == 1).all())
    True
    """
    batch, queries, c = q.shape
    keys = k.shape[1]
    if num_heads < 1 or c % num_heads != 0:
        raise ValueError("attention: num_heads: expected a divisor of C")
    if k.shape != (batch, keys, c) or v.shape != k.shape:
        raise ValueError("attention: k: expected shape (B, Lk, C), as of v")
    if out.shape != q.shape:
        raise ValueError("attention: out: expected the shape of q")
    if _size(mask, batch * keys) != batch * keys:
        raise ValueError("attention: mask: expected shape (B, Lk)")
    if out.size > 0:
        size = c // num_heads
        offsets = np.arange(batch + 1)
        arrays = _flat(q), _flat(k), _flat(v), _flat(mask), (keys, 0, 0, 0), offsets * queries, offsets * keys
        scale = np.float32(1) / np.sqrt(np.float32(size))
        scratch = np.zeros(_attention._places(keys, size)[4], np.float32)
        _attend(0, batch * num_heads, *arrays, num_heads, size, scale, uniform, 1, scratch, _into(out))


@part
def _integers(values, heads, size):
    """The numbers that bytes stand for, without what fills up a head, as one row."""
    batch, length, width = values.shape
    step, found = width // heads, np.empty(batch * length * heads * size, np.float32)
    bytes_of, at = _flat(values), 0
    for head in range(batch * length * heads):
        for i in range(size):
            found[at] = np.float32(bytes_of[head * step + i]) - np.float32(128)
            at += 1
    return found


@part
def _filled(x, size, value):
    """An optional row, or one of equal values."""
    row = _flat(x)
    return np.full(size, np.float32(value), np.float32) if row.size == 0 else row


@kernel
def attention_int8(
    q, q_scales, k, k_scales, v, v_scales, out, num_heads, mask=None, uniform=True, value_scale=None, value_bias=None
):
    """Multi-head attention of quantised rows, with a group per head. See `squeezeops.attention`.

    Scores are divided by the root of the size of a head.

    Parameters
    ----------
    q, q_scales : ndarray of uint8, shape (B, Lq, width), and of float32, shape (B, Lq, num_heads)
        What `quantize_rows` makes of rows in as many groups as heads: each head is filled up to a multiple of 4.
    k, k_scales, v, v_scales : likewise, shapes (B, Lk, width) and (B, Lk, num_heads)
    out : ndarray of float32, shape (B, Lq, C)
    num_heads : int
        A divisor of C.
    mask : ndarray of uint8, shape (B, Lk), optional
        0 excludes a key.
    uniform : bool
        Whether a query attends to all keys if each is excluded; else its result is 0.
    value_scale, value_bias : ndarray of float32, shape (C,), optional
        Of the channels of the result, which is multiplied by one and added to the other.

    Examples
    --------
    >>> import numpy as np, squeezeops.numba as sn
    >>> values, scales = np.empty((3, 4), np.uint8), np.empty((3, 1), np.float32)
    >>> sn.quantize_rows(np.full((3, 4), 127, np.float32), values, scales)
    >>> x, s, out = values.reshape(1, 3, 4), scales.reshape(1, 3, 1), np.empty((1, 3, 4), np.float32)
    >>> sn.attention_int8(x, s, x, s, x, s, out, 1)
    >>> bool((out.round() == 127).all())
    True
    """
    batch, queries, c = out.shape
    keys = k.shape[1]
    if num_heads < 1 or c % num_heads != 0:
        raise ValueError("attention_int8: num_heads: expected a divisor of C")
    size = c // num_heads
    width = num_heads * ((size + 3) // 4 * 4)
    if q.shape != (batch, queries, width):
        raise ValueError("attention_int8: q: expected shape (B, Lq, width)")
    if q_scales.shape != (batch, queries, num_heads):
        raise ValueError("attention_int8: q_scales: expected shape (B, Lq, heads)")
    if k.shape != (batch, keys, width) or v.shape != k.shape:
        raise ValueError("attention_int8: k: expected shape (B, Lk, width), as of v")
    if k_scales.shape != (batch, keys, num_heads) or v_scales.shape != k_scales.shape:
        raise ValueError("attention_int8: k_scales: expected shape (B, Lk, heads), as of v_scales")
    if _size(mask, batch * keys) != batch * keys:
        raise ValueError("attention_int8: mask: expected shape (B, Lk)")
    if _size(value_scale, c) != c or _size(value_bias, c) != c:
        raise ValueError("attention_int8: value_scale: expected shape (C,), as of value_bias")
    if out.size > 0:
        offsets = np.arange(batch + 1)
        arrays = (
            _integers(q, num_heads, size), _flat(q_scales), _integers(k, num_heads, size), _flat(k_scales),
            _integers(v, num_heads, size), _flat(v_scales), _flat(mask), (keys, 0, 0, 0), offsets * queries,
            offsets * keys,
        )  # fmt: skip
        factor = np.float32(1) / np.sqrt(np.float32(size)) * LOG2E
        ends = _filled(value_scale, c, 1), _filled(value_bias, c, 0)
        scratch = np.zeros(TILE_ROWS * WIDTH + _attention._places(keys, size)[4] + 3 * (keys + WIDTH), np.float32)
        totals = np.zeros(TILE_ROWS * WIDTH)
        _attend_int8(
            0, batch * num_heads, *arrays, num_heads, size, factor, uniform, *ends, 1, scratch, totals, _into(out)
        )
