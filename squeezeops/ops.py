"""The ops, and the choice of the backend that runs them.

Common to all ops, unless an op says otherwise:

* Float arrays are float32 in native byte order, of any strides (a non-contiguous array is copied) and any size, zero
  included. NaN and infinity follow IEEE 754.
* The result is a new C-contiguous float32 array, or `out`: float32, C-contiguous, writeable, of the result's shape. It
  must not overlap an input, but ``out=x`` is accepted where the op's text says that `out` may be x. Overlap is between
  the first and the last byte: interleaved views overlap.
* A wrong type or dtype is a TypeError, a wrong shape or value a ValueError. Both read ``op: argument: expected ...,
  got ...``, have the argument's name in the attribute ``argument``, and leave `out` unchanged. Backends raise the same.
* On the compiled backends the bits of a row do not depend on the batch around it, the number of threads or the
  instruction set (but SSE2, which has no fused multiply-add, is within a tolerance). The formulas below are evaluated
  in float32, in the order written.
* The backend "cffi" takes any buffer for an array and does not need NumPy; see `squeezeops.backends.cffi`. (The layout
  "NCW", and `softmax` along another axis than the last, do need it.)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple, overload

from squeezeops import backends
from squeezeops.backends._scalars import choice, error, integer, kind

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from squeezeops.literals import Activation, Approximate, ConvDtype, FullyMasked, Layout

    Floats = NDArray[np.float32]

__all__ = [
    "PointwiseConv",
    "QuantizedRows",
    "RotatedRows",
    "attention",
    "attention_scores",
    "available_backends",
    "backend",
    "cpu_info",
    "embedding",
    "embedding_layer_norm",
    "gelu",
    "get_backend",
    "get_num_threads",
    "l2_normalize",
    "layer_norm",
    "mean_pool",
    "pointwise_conv",
    "pointwise_convs",
    "quantize_rows",
    "rms_norm",
    "set_backend",
    "set_num_threads",
    "softmax",
    "tanh",
]

_scoped: ContextVar[backends.Backend | None] = ContextVar("squeezeops_backend", default=None)
_process_wide: backends.Backend | None = None


def _active() -> backends.Backend:
    return _scoped.get() or _process_wide or _load_process_wide()


def _load_process_wide() -> backends.Backend:
    global _process_wide
    _process_wide = backends.load_default()
    return _process_wide


def pointwise_conv(
    x: Floats,
    weight: Floats,
    bias: Floats | None = None,
    *,
    groups: int = 1,
    activation: Activation | None = None,
    residual: Floats | None = None,
    layout: Layout = "NWC",
    out: Floats | None = None,
) -> Floats:
    """Grouped convolution of kernel size 1: in each group a matrix product along the channels.

    ``y[..., o] = act(sum_i weight[o, i] * x[..., g * C_in/G + i] + bias[o]) + residual[..., o]``, where G is the number
    of groups, ``g = o // (C_out/G)`` the group of output channel o, and i ascends from 0 to ``C_in/G - 1``.

    The weight is packed on every call; `PointwiseConv` packs it once.

    Parameters
    ----------
    x : ndarray of float32, shape (..., C_in), or (N, C_in, W) for layout "NCW"
    weight : ndarray of float32, shape (C_out, C_in / groups) or (C_out, C_in / groups, 1)
        As in torch.nn.Linear and torch.nn.Conv1d. Subnormal values (below 2^-126) count as zero.
    bias : ndarray of float32, shape (C_out,), optional
    groups : int
        A divisor of C_in and of C_out.
    activation : {None, "gelu", "gelu_tanh", "relu", "tanh"}
        See `gelu` and `tanh`. "relu" is 0 where the value is below 0, so that NaN stays NaN.
    residual : ndarray of float32, of the result's shape, optional
        Added last.
    layout : {"NWC", "NCW"}
        Channels last, or the layout of torch.nn.Conv1d, for x, residual, out and the result. "NCW" transposes each.
    out : ndarray of float32, optional
        Where the result goes.

    Returns
    -------
    ndarray of float32, shape (..., C_out), or (N, C_out, W) for layout "NCW"

    Raises
    ------
    TypeError
        An argument of another type or dtype; a bool for `groups`.
    ValueError
        Shapes that do not fit together, `groups` that do not divide the channels, an unknown word, an unusable `out`.

    Examples
    --------
    >>> import numpy as np
    >>> import squeezeops
    >>> x = np.array([[1, 2, 3, 4]], np.float32)
    >>> weight = np.array([[1, 1], [1, -1]], np.float32)
    >>> squeezeops.pointwise_conv(x, weight, groups=2).tolist()
    [[3.0, -1.0]]
    """
    if type(layout) is not str:
        layout = choice("pointwise_conv", "layout", layout, ("NWC", "NCW"))
    if layout == "NWC":
        return _active().pointwise_conv(x, weight, bias, groups, activation, residual, out)
    return _pointwise_conv_ncw(x, weight, bias, groups, activation, residual, layout, out)


def _pointwise_conv_ncw(
    x: Any, weight: Any, bias: Any, groups: Any, activation: Any, residual: Any, layout: Any, out: Any
) -> Floats:
    """Transpose, convolve, transpose back; check first, so that messages have the shapes given."""
    from squeezeops.backends._front import Arguments

    op = "pointwise_conv"
    choice(op, "layout", layout, ("NWC", "NCW"))
    a = Arguments(op)
    x = a.given("x", x, "float32")
    if x.ndim != 3:
        raise error(ValueError, op, "x", "shape (N, C_in, W) for layout 'NCW'", x.shape)
    weight = a.weight(weight, "float32")
    bias = a.optional("bias", bias, weight.shape[:1])
    shape = (x.shape[0], weight.shape[0], x.shape[2])
    residual = a.optional("residual", residual, shape)
    y = a.output(out, shape)
    swapped = residual if residual is None else residual.transpose(0, 2, 1)
    result = _active().pointwise_conv(x.transpose(0, 2, 1), weight, bias, groups, activation, swapped, None)
    y[...] = result.transpose(0, 2, 1)
    checked: Floats = a.result(y)
    return checked


class QuantizedRows(NamedTuple):
    """Rows as bytes with scales: the result of `quantize_rows`, and an input of `PointwiseConv` and `attention`.

    Attributes
    ----------
    values : ndarray of uint8, shape (..., W)
        The channels of each group, padded with 128 to a multiple of 4. A byte v, from 1 to 255, stands for
        ``(v - 128) * scale``. A 0, or padding of another value, is not checked for: its results depend on the backend
        and the instruction set.
    scales : ndarray of float32, shape (..., groups)
    """

    values: NDArray[np.uint8]
    scales: Floats


class RotatedRows(QuantizedRows):
    """`QuantizedRows` that were rotated first: an input of a `PointwiseConv` of dtype "int8_rotated" alone."""

    __slots__ = ()


def quantize_rows(
    x: Floats, *, groups: int = 1, rotate: bool = False, out: QuantizedRows | None = None
) -> QuantizedRows:
    """Quantise rows to bytes, with a scale for each group of channels: the input of an int8 `PointwiseConv`.

    With m the largest ``abs(x)`` in a group of a row: ``scale = m / 127`` and ``value = rint(x * (127 / m)) + 128``,
    where rint rounds to nearest, ties to even. For m below 2^-100 the scale is 0 and the values are 128. If there is a
    NaN or an infinity, the scale is NaN and the values are 128, so that results of the group are NaN.

    A `PointwiseConv` quantises its input itself. Use this to quantise the input of several ones only once.

    Parameters
    ----------
    x : ndarray of float32, shape (..., C)
    groups : int
        A divisor of C; that of the convolution.
    rotate : bool
        First multiply each 128 successive channels by the Hadamard matrix of that size (Sylvester's, whose elements are
        1 and -1), for a convolution of dtype "int8_rotated". That spreads an outlier over its block [1]_. The sums are
        formed in stages: for h = 1, 2, 4, ..., 64, the elements i and i + h become their sum and their difference. The
        channels of a group are then a multiple of 128, at most 8192.
    out : QuantizedRows, optional
        Where the result goes.

    Returns
    -------
    QuantizedRows
        RotatedRows if `rotate`. The same bits on every backend.

    Raises
    ------
    TypeError, ValueError
        As `pointwise_conv`.

    References
    ----------
    .. [1] S. Ashkboos et al., QuaRot: outlier-free 4-bit inference in rotated LLMs, 2024.

    Examples
    --------
    >>> import numpy as np
    >>> import squeezeops
    >>> rows = squeezeops.quantize_rows(np.array([[127, -64, 2, 2, -1, 0]], np.float32), groups=2)
    >>> rows.values.tolist()
    [[255, 64, 130, 128, 255, 64, 128, 128]]
    >>> rows.scales.round(4).tolist()
    [[1.0, 0.015699999406933784]]
    """
    op = "quantize_rows"
    rows = _active().quantize_rows(x, groups, *_quantized_out(op, out), _flag(op, "rotate", rotate))
    return (RotatedRows if rotate else QuantizedRows)(*rows)


def _flag(op: str, name: str, value: object) -> int | None:
    """Return a bool as the backends take it."""
    if not isinstance(value, bool):
        raise error(TypeError, op, name, "a bool", kind(value))
    return 1 if value else None


def _quantized_out(op: str, out: Any) -> tuple[Any, Any]:
    """Return `out` as values and scales, None for new arrays."""
    if out is None:
        return None, None
    if not isinstance(out, tuple) or len(out) != 2:
        raise error(TypeError, op, "out", "quantised rows", kind(out))
    return out


def _check_pair(op: str, name: str, rows: tuple[Any, ...]) -> None:
    if len(rows) != 2:
        raise error(ValueError, op, name, "values and scales", f"{len(rows)} items")


def _quantized_in(op: str, x: tuple[Any, ...], dtype: str) -> tuple[Any, ...]:
    """Return quantised rows as values and scales."""
    _check_pair(op, "x", x)
    if isinstance(x, RotatedRows) != (dtype == "int8_rotated"):
        wanted = "RotatedRows" if dtype == "int8_rotated" else "rows that are not rotated"
        raise error(ValueError, op, "x", f"{wanted} for weights of {dtype}", kind(x))
    return x


class PointwiseConv:
    """`pointwise_conv` with a weight that is packed once, and stored as float32, float16 or int8.

    Several threads may call it at a time. The weight is packed for the backend in force at construction, and for
    another one at the first call there. The arrays are kept for that: do not modify them.

    In int8, each output channel has a scale, and its weights are bytes: with m the largest ``abs(w)`` of the channel,
    ``scale = m / 127`` and ``byte = rint(w * (127 / m))``, all 0 for m below 2^-100. The input is quantised as by
    `quantize_rows`. The result is ``act((sum * input's scale) * channel's scale + bias) + residual`` with the exact sum
    of the products of bytes; without an activation, its bits are the same on every backend. A NaN or an infinity among
    the weights of a channel makes its results NaN.

    "int8_rotated" is int8 for inputs with outliers, such as the states of a BERT, where one channel may hold nearly all
    of a row's norm. The input is rotated before it is quantised, see `quantize_rows`; the weight is rotated in the same
    way and divided by 128, which leaves the products as they are.

    Parameters
    ----------
    weight : ndarray of float32 or float16, shape (C_out, C_in / groups) or (C_out, C_in / groups, 1)
        float16 is widened to float32, which is exact. Subnormal float32 values (below 2^-126) count as zero.
    bias : ndarray of float32, shape (C_out,), optional
    groups : int
        A divisor of C_in and of C_out.
    dtype : {"float32", "float16", "int8", "int8_rotated"}
        Storage of the packed weight. "float16" takes half the memory and is widened when used: a float16 weight has the
        results of "float32"; a float32 weight is rounded to nearest, ties to even. "int8" takes a quarter of the memory
        and multiplies bytes.
    memory : object with a method ``take(size)``, optional
        Provides the memory of the packed weight: `take` returns a writeable buffer of at least `size` bytes at an
        address that is a multiple of 64. By default each weight has its own memory, as it has on the backends "numpy"
        and "numba" anyway.

    Attributes
    ----------
    groups, in_channels, out_channels : int
    dtype : str

    Raises
    ------
    TypeError
        As `pointwise_conv`; for a `memory` without the method.
    ValueError
        As `pointwise_conv`; for "float16" a finite weight above 65504, for "int8" more than 2^17 channels per group;
        for "int8_rotated" more than 2^13, or no multiple of 128.

    Examples
    --------
    >>> import numpy as np
    >>> import squeezeops
    >>> conv = squeezeops.PointwiseConv(np.array([[2], [3]], np.float32), np.array([0, 1], np.float32), groups=2)
    >>> conv
    PointwiseConv(2, 2, groups=2, dtype='float32', bias=True, bytes=128)
    >>> conv(np.array([[1, 1], [5, 7]], np.float32), activation="relu").tolist()
    [[2.0, 4.0], [10.0, 22.0]]
    """

    def __init__(
        self,
        weight: NDArray[Any],
        bias: Floats | None = None,
        *,
        groups: int = 1,
        dtype: ConvDtype = "float32",
        memory: Any = None,
    ) -> None:
        if memory is not None and not callable(getattr(memory, "take", None)):
            raise error(TypeError, "PointwiseConv", "memory", "an object with a method take", kind(memory))
        module = _active()
        self._packed = {module: module.pack_pointwise_conv(weight, bias, groups, dtype, memory)}
        self._weight: Any = weight
        self._is_packed = False
        self._bias = bias
        self.groups = int(groups)
        shape: Any = memoryview(weight).shape  # type: ignore[arg-type]  # not every buffer says it itself
        self.out_channels, self.in_channels = shape[0], shape[1] * self.groups
        self.dtype = dtype
        self._is_int8 = dtype.startswith("int8")
        self._memory = memory

    @classmethod
    def from_packed(
        cls,
        packed: Any,
        bias: Floats | None = None,
        *,
        in_channels: int,
        out_channels: int,
        groups: int = 1,
        dtype: ConvDtype = "float32",
    ) -> PointwiseConv:
        """Use a weight that is already packed: the attribute `packed` of another convolution.

        The compiled backends use it in place, which may be in a mapped file; the others copy it. Its values are not
        checked.

        Parameters
        ----------
        packed : buffer of bytes
            Of the size that follows from the other arguments, at an address that is a multiple of 64, read-only or
            not. It is kept: do not modify it.
        bias : ndarray of float32, shape (out_channels,), optional
        in_channels, out_channels, groups : int
            Those of the other convolution.
        dtype : {"float32", "float16", "int8", "int8_rotated"}
            Storage of the weight.

        Raises
        ------
        TypeError
            As `PointwiseConv`; a `packed` that is not a buffer of bytes.
        ValueError
            As `PointwiseConv`; a `packed` of another size or at another address.

        Examples
        --------
        >>> import numpy as np
        >>> import squeezeops
        >>> conv = squeezeops.PointwiseConv(np.array([[2], [3]], np.float32), groups=2)
        >>> same = squeezeops.PointwiseConv.from_packed(conv.packed, in_channels=2, out_channels=2, groups=2)
        >>> same(np.array([[1, 1], [5, 7]], np.float32)).tolist()
        [[2.0, 3.0], [10.0, 21.0]]
        """
        from squeezeops.backends._packed import packed_weight

        sizes = in_channels, out_channels, groups
        view, c_in, c_out, groups = packed_weight("PointwiseConv", packed, *sizes, dtype)
        self = cls.__new__(cls)
        self._packed, self._weight, self._is_packed, self._bias, self._memory = {}, view, True, bias, None
        self.in_channels, self.out_channels, self.groups, self.dtype = c_in, c_out, groups, dtype
        self._is_int8 = dtype.startswith("int8")
        self._pack(_active())
        return self

    @property
    def packed(self) -> memoryview:
        """The packed weight as read-only bytes, the same on every backend (see `docs/converted-models.md`).

        The backends "numpy" and "numba", which store weights in another form, convert it on each access.
        """
        if self._is_packed:
            return memoryview(self._weight)  # the caller may release it; ours keeps the memory
        module = _active()
        form = module.packed_form(self._packed.get(module) or self._pack(module))
        return memoryview(form).toreadonly()

    @overload
    def __call__(
        self,
        x: Floats | QuantizedRows,
        *,
        activation: Activation | None = None,
        residual: Floats | None = None,
        quantize_groups: None = None,
        out: Floats | None = None,
    ) -> Floats: ...
    @overload
    def __call__(
        self,
        x: Floats | QuantizedRows,
        *,
        activation: Activation | None = None,
        residual: Floats | None = None,
        quantize_groups: int,
        quantize_rotate: bool = False,
        out: QuantizedRows | None = None,
    ) -> QuantizedRows: ...
    @overload
    def __call__(
        self,
        x: Floats | QuantizedRows,
        *,
        activation: Activation | None = None,
        residual: Floats | None = None,
        quantize_groups: int | None,
        quantize_rotate: bool = False,
        out: Floats | QuantizedRows | None = None,
    ) -> Any: ...
    def __call__(
        self,
        x: Floats | QuantizedRows,
        *,
        activation: Activation | None = None,
        residual: Floats | None = None,
        quantize_groups: int | None = None,
        quantize_rotate: bool = False,
        out: Floats | QuantizedRows | None = None,
    ) -> Any:
        """Convolve x (..., in_channels). Arguments and result are those of `pointwise_conv`, and:

        Parameters
        ----------
        x : QuantizedRows
            For int8 alone: the result of `quantize_rows`, or of a convolution with `quantize_groups`, for the groups of
            this one.
        quantize_groups : int, optional
            Quantise the result as `quantize_rows` does, for the groups of the next convolution or the heads of
            `attention`. This saves a pass over memory. `out` is QuantizedRows, too.
        quantize_rotate : bool
            Rotate a result that is quantised, for a next convolution of "int8_rotated".
        """
        module = _scoped.get() or _process_wide or _load_process_wide()
        handle = self._packed.get(module) or self._pack(module)
        x_scales = None
        if isinstance(x, tuple) and self._is_int8:
            x, x_scales = _quantized_in("PointwiseConv", x, self.dtype)
        if quantize_groups is None:
            if quantize_rotate is not False:
                expected = "False without quantize_groups"
                raise error(ValueError, "PointwiseConv", "quantize_rotate", expected, repr(quantize_rotate))
            return module.run_pointwise_conv(handle, x, x_scales, activation, residual, None, out, None, None)
        out, out_scales = _quantized_out("PointwiseConv", out)
        rotate = None if quantize_rotate is False else _flag("PointwiseConv", "quantize_rotate", quantize_rotate)
        quantize = quantize_groups, out, out_scales, rotate
        rows = module.run_pointwise_conv(handle, x, x_scales, activation, residual, *quantize)
        return (RotatedRows if rotate else QuantizedRows)(*rows)

    def _pack(self, module: backends.Backend) -> Any:
        if self._is_packed:
            sizes = self.in_channels, self.out_channels, self.groups
            handle = module.use_packed_pointwise_conv(self._weight, self._bias, *sizes, self.dtype)
        else:
            handle = module.pack_pointwise_conv(self._weight, self._bias, self.groups, self.dtype, self._memory)
        self._packed[module] = handle
        return handle

    def __repr__(self) -> str:
        from squeezeops.packing import packed_size

        sizes = self.in_channels, self.out_channels
        stored = packed_size(self.groups, *sizes, self.dtype)
        options = f"groups={self.groups}, dtype={self.dtype!r}, bias={self._bias is not None}, bytes={stored}"
        return f"PointwiseConv({sizes[0]}, {sizes[1]}, {options})"

    def __getstate__(self) -> dict[str, Any]:
        # The packed form belongs to a process and its backends; a copy packs anew.
        state = {**self.__dict__, "_packed": {}}
        return {**state, "_weight": bytes(self._weight)} if self._is_packed else state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self._is_packed:
            from mmap import mmap

            pages = mmap(-1, max(len(self._weight), 1))  # whose address is a multiple of 64
            pages[: len(self._weight)] = self._weight
            self._weight = memoryview(pages)[: len(self._weight)].toreadonly()


@overload
def pointwise_convs(
    x: Floats | QuantizedRows,
    convs: Sequence[PointwiseConv],
    *,
    quantize_groups: None = None,
    out: Sequence[Floats | None] | None = None,
) -> tuple[Floats, ...]: ...
@overload
def pointwise_convs(
    x: Floats | QuantizedRows,
    convs: Sequence[PointwiseConv],
    *,
    quantize_groups: int,
    out: Sequence[QuantizedRows | None] | None = None,
) -> tuple[QuantizedRows, ...]: ...
@overload
def pointwise_convs(
    x: Floats | QuantizedRows,
    convs: Sequence[PointwiseConv],
    *,
    quantize_groups: int | None,
    out: Sequence[Floats | QuantizedRows | None] | None = None,
) -> tuple[Any, ...]: ...
def pointwise_convs(
    x: Floats | QuantizedRows,
    convs: Sequence[PointwiseConv],
    *,
    quantize_groups: int | None = None,
    out: Sequence[Floats | QuantizedRows | None] | None = None,
) -> tuple[Any, ...]:
    """Convolve one x several times, as separate calls do, but split all the work over the threads at once.

    x is quantised once for all int8 convolutions with the same dtype and number of groups.

    Parameters
    ----------
    x : ndarray of float32, shape (..., C_in), or QuantizedRows
        The latter if all are int8, with the same dtype and number of groups.
    convs : sequence of PointwiseConv
        Each with C_in input channels; groups, output channels and dtype may differ.
    quantize_groups : int, optional
        Quantise all results as `quantize_rows` does, such as queries, keys and values for the heads of `attention`.
    out : sequence of ndarray of float32, or with `quantize_groups` of QuantizedRows, or of None, optional
        Where the results go, one for each of `convs`. They must not overlap.

    Returns
    -------
    tuple of ndarray of float32, shape (..., C_out) each, or of QuantizedRows

    Raises
    ------
    TypeError, ValueError
        As `pointwise_conv`; a `convs` or an `out` of other items or another length.

    Examples
    --------
    >>> import numpy as np
    >>> import squeezeops
    >>> convs = [squeezeops.PointwiseConv(np.full((n, 2), n, np.float32)) for n in (1, 2)]
    >>> [y.tolist() for y in squeezeops.pointwise_convs(np.array([1, 1], np.float32), convs)]
    [[2.0], [4.0, 4.0]]
    """
    op, module = "pointwise_convs", _active()
    convs = _items(op, "convs", convs, "PointwiseConvs")
    handles = []
    for conv in convs:
        if not isinstance(conv, PointwiseConv):
            raise error(TypeError, op, "convs", "PointwiseConvs", kind(conv))
        handles.append(conv._packed.get(module) or conv._pack(module))
    outs: Any = (None,) * len(handles)
    if out is not None:
        outs = _items(op, "out", out, "arrays")
        if len(outs) != len(handles):
            raise error(ValueError, op, "out", f"{len(handles)} arrays", len(outs))
    x_scales = None
    if isinstance(x, tuple) and convs and convs[0]._is_int8:
        x, x_scales = _quantized_in(op, x, convs[0].dtype)
        if x_scales is not None and any(
            (conv.dtype, conv.groups) != (convs[0].dtype, convs[0].groups) for conv in convs
        ):
            raise error(ValueError, op, "x", "floats for weights of other types and groups", "quantised rows")
    if quantize_groups is None:
        for room in outs:
            if isinstance(room, tuple):  # which the backends take for values and scales
                raise error(TypeError, op, "out", "an array of float32", kind(room))
        return module.run_pointwise_convs(tuple(handles), x, x_scales, None, None, None, outs)
    outs = tuple([_quantized_out(op, room) for room in outs])
    rows = module.run_pointwise_convs(tuple(handles), x, x_scales, None, None, quantize_groups, outs)
    return tuple(map(QuantizedRows._make, rows))


def _items(op: str, name: str, value: Any, what: str) -> Sequence[Any]:
    if type(value) is tuple:
        return value
    try:
        return list(value)
    except TypeError:
        raise error(TypeError, op, name, f"a sequence of {what}", kind(value)) from None


def layer_norm(
    x: Floats,
    weight: Floats | None = None,
    bias: Floats | None = None,
    *,
    eps: float = 1e-5,
    residual: Floats | None = None,
    out: Floats | None = None,
) -> Floats:
    """Layer normalisation along the last axis of ``x + residual``.

    With s a row of ``x + residual``: ``d = s - mean(s)``, ``r = 1 / sqrt(mean(d * d) + eps)``,
    ``y = (d * r) * weight + bias``. Without weight and bias the error is at most ``3e-6 * max(1, abs(y))`` for up to
    4096 channels, where the mean is up to 2^20 times the deviation, and for all finite magnitudes. A row of equal
    values gives exactly `bias`.

    Parameters
    ----------
    x : ndarray of float32, shape (..., C)
    weight, bias : ndarray of float32, shape (C,), optional
        Without them, 1 and 0.
    eps : float
        Finite and not negative. With 0, a row of equal values becomes NaN.
    residual : ndarray of float32, of x's shape, optional
        Added to x before the normalisation.
    out : ndarray of float32, optional
        Where the result goes; may be x.

    Returns
    -------
    ndarray of float32, of x's shape
        NaN throughout a row that has NaN or an infinity.

    Raises
    ------
    TypeError
        An argument of another type or dtype.
    ValueError
        Shapes that do not fit together, a negative or non-finite `eps`, an unusable `out`.

    Examples
    --------
    >>> import numpy as np
    >>> import squeezeops
    >>> squeezeops.layer_norm(np.array([[1, 3], [5, 5]], np.float32), eps=0.5625).tolist()
    [[-0.800000011920929, 0.800000011920929], [0.0, 0.0]]
    """
    return _active().layer_norm(x, weight, bias, eps, residual, out)


def rms_norm(
    x: Floats,
    weight: Floats | None = None,
    *,
    eps: float = 1e-6,
    residual: Floats | None = None,
    out: Floats | None = None,
) -> Floats:
    """RMS normalisation along the last axis of ``x + residual``.

    With s a row of ``x + residual``: ``r = 1 / sqrt(mean(s * s) + eps)``, ``y = (s * r) * weight``. Unlike `layer_norm`
    it subtracts no mean and adds no bias. Squares may overflow or underflow: such a row is scaled by a power of two.

    Source: Zhang and Sennrich, Root Mean Square Layer Normalization, 2019 (arXiv 1910.07467).

    Parameters
    ----------
    x : ndarray of float32, shape (..., C)
    weight : ndarray of float32, shape (C,), optional
        Without it, 1.
    eps : float
        Finite and not negative. With 0, a row of zeros becomes NaN.
    residual : ndarray of float32, of x's shape, optional
        Added to x before the normalisation.
    out : ndarray of float32, optional
        Where the result goes; may be x.

    Returns
    -------
    ndarray of float32, of x's shape

    Raises
    ------
    TypeError
        An argument of another type or dtype.
    ValueError
        Shapes that do not fit together, a negative or non-finite `eps`, an unusable `out`.

    Examples
    --------
    >>> import numpy as np
    >>> import squeezeops
    >>> squeezeops.rms_norm(np.array([[3, 3], [1, -7]], np.float32), eps=7).tolist()
    [[0.75, 0.75], [0.1767766922712326, -1.2374368906021118]]
    """
    return _active().rms_norm(x, weight, eps, residual, out)


def l2_normalize(x: Floats, *, eps: float = 1e-12, out: Floats | None = None) -> Floats:
    """Divide each row along the last axis by its Euclidean norm: ``y = x / max(sqrt(sum(x * x)), eps)``.

    The dot product of two such rows is the cosine of the angle between them. Squares may overflow or underflow: such a
    row is scaled by a power of two.

    Parameters
    ----------
    x : ndarray of float32, shape (..., C)
    eps : float
        Finite and not negative. With 0, a row of zeros becomes NaN.
    out : ndarray of float32, optional
        Where the result goes; may be x.

    Returns
    -------
    ndarray of float32, of x's shape
        NaN throughout a row that has one.

    Raises
    ------
    TypeError
        An argument of another type or dtype.
    ValueError
        An x without axes, a negative or non-finite `eps`, an unusable `out`.

    Examples
    --------
    >>> import numpy as np
    >>> import squeezeops
    >>> squeezeops.l2_normalize(np.array([[3, -4], [0, 0]], np.float32)).tolist()
    [[0.6000000238418579, -0.800000011920929], [0.0, 0.0]]
    """
    return _active().l2_normalize(x, eps, out)


def softmax(
    x: Floats,
    *,
    axis: int = -1,
    mask: NDArray[Any] | None = None,
    scale: float = 1.0,
    fully_masked: FullyMasked = "uniform",
    out: Floats | None = None,
) -> Floats:
    """Softmax of ``x * scale + mask`` along an axis.

    With s a row of ``x * scale + mask``: ``e = exp(s - max(s))``, ``y = e / sum(e)``.

    Parameters
    ----------
    x : ndarray of float32, at least 1-dimensional
    axis : int
        Another axis than the last costs a transposition.
    mask : ndarray of bool or float32, of a shape that broadcasts to x's, optional
        False or -inf excludes an element: it becomes 0, and its value, even NaN, does not affect the others. Other
        floats are added.
    scale : float
        Multiplies x, before the mask is added.
    fully_masked : {"uniform", "zero"}
        The result of a row of n elements that are all excluded: 1/n or 0 everywhere. Finite masks do not exclude.
    out : ndarray of float32, optional
        Where the result goes; may be x.

    Returns
    -------
    ndarray of float32, of x's shape

    Raises
    ------
    TypeError
        An argument of another type or dtype.
    ValueError
        An axis that x does not have, a mask that does not broadcast, an unknown word, an unusable `out`.

    Examples
    --------
    >>> import numpy as np
    >>> import squeezeops
    >>> x = np.array([7, 7, np.nan, 7], np.float32)
    >>> squeezeops.softmax(x, mask=np.array([True, True, False, False])).tolist()
    [0.5, 0.5, 0.0, 0.0]
    """
    if type(axis) is not int:
        axis = integer("softmax", "axis", axis)
    if axis == -1:
        return _active().softmax(x, mask, scale, fully_masked, out)
    return _softmax_along(x, axis, mask, scale, fully_masked, out)


def _softmax_along(x: Any, axis: int, mask: Any, scale: Any, fully_masked: Any, out: Any) -> Floats:
    """Move another axis to the end and back; check first, so that messages have the shapes given."""
    import numpy as np

    from squeezeops.backends._front import Arguments

    op = "softmax"
    a = Arguments(op)
    x = a.rows("x", x)
    if not -x.ndim <= axis < x.ndim:
        raise error(ValueError, op, "axis", f"an int from {-x.ndim} to {x.ndim - 1}", axis)
    mask = a.mask(mask, x.shape, "bool", "float32")
    y = a.output(out, x.shape, in_place=True)
    if mask is not None:
        mask = np.moveaxis(np.broadcast_to(mask, x.shape), axis, -1)
    moved = _active().softmax(np.moveaxis(x, axis, -1), mask, scale, fully_masked, None)
    y[...] = np.moveaxis(moved, -1, axis)
    checked: Floats = a.result(y)
    return checked


def gelu(x: Floats, *, approximate: Approximate = "none", out: Floats | None = None) -> Floats:
    """Gaussian error linear unit, element by element.

    ``x * Phi(x)``, with the normal distribution function Phi, to 2e-7 * max(1, abs(x)); or its approximation
    ``x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x**3))) / 2``, to 5e-7 * max(1, abs(x)).

    Parameters
    ----------
    x : ndarray of float32
    approximate : {"none", "tanh"}
    out : ndarray of float32, optional
        Where the result goes; may be x.

    Returns
    -------
    ndarray of float32, of x's shape
        At -inf, -0.

    Raises
    ------
    TypeError
        An argument of another type or dtype.
    ValueError
        An unknown word, an unusable `out`.

    Examples
    --------
    >>> import numpy as np
    >>> import squeezeops
    >>> squeezeops.gelu(np.array([-1, 0, 1], np.float32)).round(4).tolist()
    [-0.15870000422000885, 0.0, 0.8413000106811523]
    """
    return _active().gelu(x, approximate, out)


def tanh(x: Floats, *, out: Floats | None = None) -> Floats:
    """Hyperbolic tangent, element by element, to 2 ULP.

    Parameters
    ----------
    x : ndarray of float32
    out : ndarray of float32, optional
        Where the result goes; may be x.

    Returns
    -------
    ndarray of float32, of x's shape

    Raises
    ------
    TypeError
        An argument of another type or dtype.
    ValueError
        An unusable `out`.

    Examples
    --------
    >>> import numpy as np
    >>> import squeezeops
    >>> squeezeops.tanh(np.array([-np.inf, -0.0, 20], np.float32)).tolist()
    [-1.0, -0.0, 1.0]
    """
    return _active().tanh(x, out)


def mean_pool(x: Floats, *, mask: NDArray[np.bool_] | None = None, out: Floats | None = None) -> Floats:
    """Mean of the rows of each sequence, over those that a mask keeps.

    ``y[..., c] = sum_l x[..., l, c] / count``, where l ascends over the rows kept and count is their number.

    Parameters
    ----------
    x : ndarray of float32, shape (..., L, C)
    mask : ndarray of bool, of a shape that broadcasts to (..., L), optional
        False excludes a row: its values, even NaN, have no effect. Without a mask, all rows are kept.
    out : ndarray of float32, optional
        Where the result goes.

    Returns
    -------
    ndarray of float32, shape (..., C)
        Zeros where no row is kept.

    Raises
    ------
    TypeError
        An argument of another type or dtype.
    ValueError
        Fewer than 2 axes, a mask that does not broadcast, an unusable `out`.

    Examples
    --------
    >>> import numpy as np
    >>> import squeezeops
    >>> x = np.array([[[1, 2], [5, 6], [np.nan, np.inf]]], np.float32)
    >>> squeezeops.mean_pool(x, mask=np.array([[True, True, False]])).tolist()
    [[3.0, 4.0]]
    """
    return _active().mean_pool(x, mask, out)


def embedding(ids: NDArray[Any], table: NDArray[Any], *, out: Floats | None = None) -> Floats:
    """Gather rows of a table: ``y[...] = table[ids[...]]``.

    Parameters
    ----------
    ids : ndarray of int32 or int64, any shape
        From 0 to V - 1; a negative number does not count from the end.
    table : ndarray of float32 or float16, shape (V, C), or of int8, shape (V, C + 4)
        Only the rows of `ids` are read. float16 is widened. A row of an int8 table is C values from -127 to 127 and the
        4 bytes of a little-endian float32, the scale: ``float32(value) * scale``.
    out : ndarray of float32, optional
        Where the result goes.

    Returns
    -------
    ndarray of float32, shape ids.shape + (C,)

    Raises
    ------
    TypeError
        An argument of another type or dtype.
    ValueError
        An id out of range, a table that is not 2-dimensional, an unusable `out`.

    Examples
    --------
    >>> import numpy as np
    >>> import squeezeops
    >>> squeezeops.embedding(np.array([1, 1, 0]), np.array([[1, 2], [3, 4]], np.float16)).tolist()
    [[3.0, 4.0], [3.0, 4.0], [1.0, 2.0]]
    """
    return _active().embedding(ids, table, out)


def embedding_layer_norm(
    ids: NDArray[Any],
    table: NDArray[Any],
    position_ids: NDArray[Any],
    position_table: NDArray[Any],
    type_ids: NDArray[Any],
    type_table: NDArray[Any],
    weight: Floats | None,
    bias: Floats | None,
    *,
    eps: float = 1e-12,
    out: Floats | None = None,
) -> Floats:
    """Layer normalisation of the sum of three embeddings, the first step of BERT and its kin.

    ``y = layer_norm((table[ids] + position_table[position_ids]) + type_table[type_ids], weight, bias, eps=eps)``

    Parameters
    ----------
    ids, position_ids, type_ids : ndarray of int32 or int64, all of one shape
        Rows of the table that follows.
    table, position_table, type_table : ndarray of float32 or float16, shape (rows, C), or of int8, shape (rows, C + 4)
        As in `embedding`.
    weight, bias : ndarray of float32, shape (C,), or None
    eps : float
        Finite and not negative.
    out : ndarray of float32, optional
        Where the result goes.

    Returns
    -------
    ndarray of float32, shape ids.shape + (C,)

    Raises
    ------
    TypeError
        An argument of another type or dtype.
    ValueError
        An id out of range, shapes that do not fit together, a negative or non-finite `eps`, an unusable `out`.

    Examples
    --------
    >>> import numpy as np
    >>> import squeezeops
    >>> table = np.array([[1, 2], [3, 5]], np.float32)
    >>> ids, zeros = np.array([0, 1]), np.array([0, 0])
    >>> squeezeops.embedding_layer_norm(ids, table, ids, table, zeros, table, None, None).tolist()
    [[-1.0, 1.0], [-1.0, 1.0]]
    """
    return _active().embedding_layer_norm(
        ids, table, position_ids, position_table, type_ids, type_table, weight, bias, eps, out
    )


def attention(
    q: Floats | QuantizedRows,
    k: Floats | QuantizedRows,
    v: Floats | QuantizedRows,
    *,
    num_heads: int,
    cu_seqlens: NDArray[np.int32] | None = None,
    cu_seqlens_q: NDArray[np.int32] | None = None,
    cu_seqlens_k: NDArray[np.int32] | None = None,
    mask: NDArray[Any] | None = None,
    scale: float | None = None,
    fully_masked: FullyMasked = "uniform",
    value_scale: Floats | None = None,
    value_bias: Floats | None = None,
    out: Floats | None = None,
) -> Floats:
    """Multi-head attention: ``softmax(q @ k.T * scale + mask) @ v`` for each sequence and head.

    Head h has the channels from ``h * C/H`` up to ``(h + 1) * C/H`` of q, k, v and the result. The scores are never
    stored for a whole batch, nor for a whole sequence.

    q, k and v may be quantised rows, with a group per head. The result is then ``softmax(q @ k.T * scale) @ v *
    value_scale + value_bias``. Sums of products of bytes are exact. The exponential of a score is rounded to a byte
    from 0 to 254, relative to the largest one of the query; the scales of v are put into the exponent first, so that
    all rows of v are summed with one scale. `docs/numerics.md` has the operations one by one.

    Parameters
    ----------
    q : ndarray of float32, shape (B, Lq, C), or (total_q, C) for a ragged batch; or QuantizedRows
    k, v : ndarray of float32, shape (B, Lk, C), or (total_k, C) for a ragged batch; or QuantizedRows
        All three are arrays, or all are `QuantizedRows` with `num_heads` groups, of at most 2^17 channels each; at most
        2^16 keys per sequence then. Scales are not negative, which is not checked.
    num_heads : int
        H, a divisor of C.
    cu_seqlens : ndarray of int32, shape (B + 1,), optional
        The cumulative lengths of a ragged batch, whose sequences are concatenated without padding. Sequence b has the
        rows from ``cu_seqlens[b]`` up to ``cu_seqlens[b + 1]`` of q, k and v. Starts at 0, does not decrease, ends at
        the number of rows.
    cu_seqlens_q, cu_seqlens_k : ndarray of int32, shape (B + 1,), optional
        In place of `cu_seqlens`, where the numbers of queries and keys differ: the cumulative lengths of q and the
        result, and of k and v.
    mask : ndarray of bool or float32, of a shape that broadcasts to (B, H, Lq, Lk), optional
        False or -inf excludes a key: its score and its row of v, even NaN, have no effect. Other floats are added to
        the scaled score. For a ragged batch of shape (total_k,), for all heads and queries. With quantised rows bool
        alone, of a shape that broadcasts to (B, H, 1, Lk): for all queries.
    scale : float, optional
        ``1 / sqrt(C / H)`` if not given.
    fully_masked : {"uniform", "zero"}
        The result of a query whose keys are all excluded: the mean of all rows of v, as in Hugging Face's models, or
        zeros. Without keys, Lk = 0, it is zeros. `value_bias` is not added to zeros.
    value_scale, value_bias : ndarray of float32, shape (C,), optional
        With quantised rows alone; without them, 1 and 0. A channel of v may have been divided by value_scale before it
        was quantised, and value_bias is the bias of v: it passes through unchanged, because probabilities sum to 1.
    out : ndarray of float32, optional
        Where the result goes.

    Returns
    -------
    ndarray of float32, of q's shape
        With quantised rows, C is the size of value_scale, value_bias or `out`; without these, the number of bytes of a
        row, which is more where ``C / H`` is no multiple of 4.

    Raises
    ------
    TypeError
        An argument of another type or dtype; arrays next to quantised rows; a bool for `num_heads`.
    ValueError
        Shapes that do not fit together, `num_heads` that do not divide the channels, offsets that do not describe a
        ragged batch, an unknown word, RotatedRows, `value_scale` or `value_bias` with arrays, an unusable `out`.

    Examples
    --------
    >>> import numpy as np
    >>> import squeezeops
    >>> q = k = np.zeros((1, 3, 2), np.float32)
    >>> v = np.array([[[1, 2], [3, 4], [np.nan, np.inf]]], np.float32)
    >>> squeezeops.attention(q, k, v, num_heads=2, mask=np.array([True, True, False]))[0, 0].tolist()
    [2.0, 3.0]
    >>> squeezeops.attention(q[0], k[0], v[0], num_heads=1, cu_seqlens=np.array([0, 2, 3], np.int32)).tolist()
    [[2.0, 3.0], [2.0, 3.0], [nan, inf]]
    >>> rows = [squeezeops.quantize_rows(x, groups=2) for x in (q, k, v)]
    >>> bias = np.array([10, 20], np.float32)
    >>> y = squeezeops.attention(*rows, num_heads=2, mask=np.array([True, True, False]), value_bias=bias)
    >>> y[0, 0].round(2).tolist()
    [12.0, 23.0]
    """
    q_scales = k_scales = v_scales = None
    if isinstance(q, tuple):
        q, q_scales = _quantized_head("q", q)
        k, k_scales = _quantized_head("k", k)
        v, v_scales = _quantized_head("v", v)
    return _active().attention(
        q, k, v, num_heads, cu_seqlens, cu_seqlens_q, cu_seqlens_k, mask, scale, fully_masked, out, q_scales, k_scales,
        v_scales, value_scale, value_bias,
    )  # fmt: skip


def _quantized_head(name: str, rows: Any) -> tuple[Any, Any]:
    """Return quantised rows of `attention` as values and scales."""
    if not isinstance(rows, tuple):
        raise error(TypeError, "attention", name, "quantised rows, as q", kind(rows))
    _check_pair("attention", name, rows)
    if isinstance(rows, RotatedRows):
        raise error(ValueError, "attention", name, "rows that are not rotated", kind(rows))
    return rows[0], rows[1]


def attention_scores(
    q: Floats,
    k: Floats,
    *,
    num_heads: int,
    mask: NDArray[Any] | None = None,
    scale: float | None = None,
    out: Floats | None = None,
) -> Floats:
    """Scaled and masked attention scores, before the softmax: ``q @ k.T * scale + mask`` for each sequence and head.

    `attention` does not store them; this op is for inspecting them.

    Parameters
    ----------
    q : ndarray of float32, shape (B, Lq, C)
    k : ndarray of float32, shape (B, Lk, C)
    num_heads : int
        H, a divisor of C. Head h has the channels from ``h * C/H`` up to ``(h + 1) * C/H``.
    mask : ndarray of bool or float32, of a shape that broadcasts to (B, H, Lq, Lk), optional
        A score at False or at -inf becomes -inf; other floats are added to the scaled score.
    scale : float, optional
        ``1 / sqrt(C / H)`` if not given.
    out : ndarray of float32, optional
        Where the result goes.

    Returns
    -------
    ndarray of float32, shape (B, H, Lq, Lk)

    Raises
    ------
    TypeError
        An argument of another type or dtype; a bool for `num_heads`.
    ValueError
        Shapes that do not fit together, `num_heads` that do not divide the channels, an unusable `out`.

    Examples
    --------
    >>> import numpy as np
    >>> import squeezeops
    >>> q = np.array([[[1, 2]]], np.float32)
    >>> k = np.array([[[3, 4], [5, 6]]], np.float32)
    >>> squeezeops.attention_scores(q, k, num_heads=1, scale=1, mask=np.array([True, False])).tolist()
    [[[[11.0, -inf]]]]
    """
    return _active().attention_scores(q, k, num_heads, mask, scale, out)


@contextmanager
def backend(name: str) -> Iterator[None]:
    """Run the ops within a ``with`` block (or a decorated function) on another backend.

    Other threads and asyncio tasks are not affected. Blocks nest.

    Parameters
    ----------
    name : str
        One of `available_backends`.

    Raises
    ------
    ValueError
        This installation has no such backend; the message names those it has, and how to get this one.
    ImportError
        The backend was built but does not load.

    Examples
    --------
    >>> import squeezeops
    >>> with squeezeops.backend("numpy"):
    ...     squeezeops.get_backend()
    'numpy'
    """
    token = _scoped.set(backends.load(name))
    try:
        yield
    finally:
        _scoped.reset(token)


def set_backend(name: str) -> None:
    """Choose the backend of all threads outside `backend` blocks.

    The default is that of the environment variable SQUEEZEOPS_BACKEND, or else "native"; "numpy" only if the package
    was built without its extension.

    Parameters
    ----------
    name : str
        One of `available_backends`.

    Raises
    ------
    ValueError, ImportError
        As `backend`.
    """
    global _process_wide
    _process_wide = backends.load(name)


def get_backend() -> str:
    """Return the name of the backend in force."""
    return _active().__name__.rpartition(".")[2]


def available_backends() -> list[str]:
    """Return the names of the backends of this installation, best first."""
    return backends.available()


def set_num_threads(n: int) -> None:
    """Set how many threads the backend in force uses for an op, the caller's included. The results do not change.

    The NumPy backend only stores the number: the threads of its matrix products are a setting of NumPy's BLAS.

    Parameters
    ----------
    n : int
        1 to 256.

    Raises
    ------
    TypeError, ValueError
        Not an int; out of range.
    """
    _active().set_num_threads(n)


def get_num_threads() -> int:
    """Return how many threads the backend in force uses for an op."""
    return _active().get_num_threads()


def cpu_info() -> dict[str, Any]:
    """Describe the processor as the kernels see it.

    Returns
    -------
    dict
        "isas", the instruction sets that can run here, best first; "compiled", those that were built; "missing", the
        reasons why others of this architecture cannot run, by name; "isa", the one chosen; "kernels", the symbol of the
        chosen kernel by op. Without compiled kernels the lists are empty and "isa" is None.

    Notes
    -----
    If "amx_int8" is the best, this asks the operating system for permission to use it, as the first int8
    convolution or attention does.
    """
    return backends.load_first().cpu_info()
