"""The Python front, which the backends "numpy" and "numba" share.

`Front` checks the arguments of an op, allocates the result and calls a kernel of the backend's module with aligned
C-contiguous arrays: by default, float32 matrices with the rows of the result, vectors of channels, and None for
arguments left out. The specification of the kernels is `backends/numpy.py`.
"""

from __future__ import annotations

import math
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from squeezeops import packing
from squeezeops.backends import _scalars as check
from squeezeops.backends._packed import check_address, check_rotated
from squeezeops.backends._scalars import MOST_CHANNELS, MOST_HEADS, MOST_INT8_DEPTH, MOST_INT8_KEYS, error, kind

Shape = tuple[int, ...]
F = np.float32
MOST_AXES = 64 if np.lib.NumpyVersion(np.__version__) >= "2.0.0" else 32


class Arguments:
    """Checks the array arguments of one call in turn, `out` last."""

    def __init__(self, op: str) -> None:
        self.op = op
        self.inputs: list[tuple[str, np.ndarray]] = []  # as given, for `output`
        self.no_memory: Exception | None = None  # for a copy: raised by `done`, since a wrong argument comes first
        self.outs: list[tuple[np.ndarray, Any]] = []  # views of results of the caller, and these

    def given(self, name: str, value: Any, *dtypes: str, what: str = "an array") -> np.ndarray:
        """Check an input of one of `dtypes` in native byte order."""
        self.inputs.append((name, self._typed(name, value, what, *dtypes)))
        return self.inputs[-1][1]

    def _typed(self, name: str, value: Any, what: str, *dtypes: str) -> np.ndarray:
        """Check the type; return a view, whose shape no one else can change, and no subclass, which may run code."""
        if isinstance(value, np.ndarray):
            plain: np.ndarray = check.own_view(value)
            if plain.dtype in dtypes:
                return plain
        raise error(TypeError, self.op, name, f"{what} of {' or '.join(dtypes)}", check.array_kind(value))

    def plain(self, name: str, value: np.ndarray, dtype: Any = None, copy: bool = False) -> np.ndarray:
        """Return the array C-contiguous and aligned, copied if it is not; as it is if there is no memory for that."""
        if value.flags.c_contiguous and value.flags.aligned and not copy:
            return value
        try:
            return np.array(value, dtype, order="C")
        except (MemoryError, ValueError):  # ValueError: the size overflows
            self.no_memory = self.no_memory or error(MemoryError, self.op, name, "memory for a copy", "none")
            return value

    def done(self) -> None:
        """Raise the error of a copy, after the last check."""
        if self.no_memory:
            raise self.no_memory

    def array(self, name: str, value: Any, *dtypes: str) -> np.ndarray:
        """Check an array of one of `dtypes` (float32 if none is given) and any shape."""
        return self.plain(name, self.given(name, value, *(dtypes or ("float32",))))

    def rows(self, name: str, value: Any, axes: int = 1, channels: int | None = None) -> np.ndarray:
        """Check a float32 array of at least so many axes, and of so many channels in the last one."""
        value = self.given(name, value, "float32")
        if value.ndim < axes:
            expected = f"at least {axes} dimension{'s' if axes > 1 else ''}"
            hint = "" if value.ndim else " (reshape a single number to (1, 1))"
            raise error(ValueError, self.op, name, expected, f"shape {value.shape}{hint}")
        if channels is not None and value.shape[-1] != channels:
            raise error(ValueError, self.op, name, f"shape (..., {channels})", value.shape)
        return self.plain(name, value)

    def shaped(self, name: str, value: Any, shape: Shape, *dtypes: str) -> np.ndarray:
        """Check an array of `shape`."""
        value = self.given(name, value, *(dtypes or ("float32",)))
        if value.shape != shape:
            raise error(ValueError, self.op, name, f"shape {shape}", value.shape)
        return self.plain(name, value)

    def optional(self, name: str, value: Any, shape: Shape) -> np.ndarray | None:
        """Check None or a float32 array of `shape`."""
        return None if value is None else self.shaped(name, value, shape)

    def weight(self, value: Any, *dtypes: str) -> np.ndarray:
        """Check a weight (C_out, C_in / groups), with or without Conv1d's axis of size 1 at the end; do not copy it."""
        given = self.given("weight", value, *dtypes)
        if given.ndim not in (2, 3) or given.shape[2:] not in ((), (1,)):
            expected = "shape (C_out, C_in / groups) or (C_out, C_in / groups, 1)"
            raise error(ValueError, self.op, "weight", expected, given.shape)
        return given

    def table(self, name: str, value: Any, channels: int | None = None) -> tuple[np.ndarray, int]:
        """Check an embedding table (rows, channels), for int8 with the scale after the channels; return these too."""
        value = self.given(name, value, "float32", "float16", "int8")
        more = packing.SCALE_BYTES if value.dtype == np.int8 else 0
        if value.ndim != 2 or value.shape[1] < more or (channels is not None and value.shape[1] != channels + more):
            wanted = ("channels" + (f" + {more}" if more else "")) if channels is None else channels + more
            raise error(ValueError, self.op, name, f"shape (rows, {wanted})", value.shape)
        return self.plain(name, value), value.shape[1] - more

    def ids(self, name: str, value: Any, limit: int, shape: Shape | None = None) -> np.ndarray:
        """Check row numbers below `limit`; return an int64 copy, which no other thread can change afterwards."""
        value = self.given(name, value, "int32", "int64")
        if shape is not None and value.shape != shape:
            raise error(ValueError, self.op, name, f"shape {shape}", value.shape)
        if value.ndim >= MOST_AXES:
            raise error(ValueError, self.op, name, f"at most {MOST_AXES - 1} dimensions", value.ndim)
        numbers = self.plain(name, value, np.int64, copy=True)
        self.done()
        bad = np.flatnonzero((numbers < 0) | (numbers >= limit))
        if bad.size:
            first = f"{numbers.flat[bad[0]]} at position {bad[0]}"
            raise error(ValueError, self.op, name, f"values in [0, {limit})", first)
        return numbers

    def offsets(self, name: str, value: Any, total: int) -> np.ndarray:
        """Check the offsets of the sequences of a ragged batch; return an int64 copy."""
        value = self.given(name, value, "int32")
        if value.ndim != 1 or value.size == 0:
            raise error(ValueError, self.op, name, "shape (batch + 1,)", value.shape)
        numbers = self.plain(name, value, np.int64, copy=True)
        self.done()
        if numbers[0] != 0:
            raise error(ValueError, self.op, name, "to start at 0", numbers[0])
        falls = np.flatnonzero(numbers[1:] < numbers[:-1])
        if falls.size:
            before, after = numbers[falls[0] : falls[0] + 2]
            raise error(ValueError, self.op, name, "values that do not decrease", f"{after} after {before}")
        if numbers[-1] != total:
            raise error(ValueError, self.op, name, f"to end at {total}", numbers[-1])
        return numbers

    def mask(self, value: Any, shape: Shape, *dtypes: str) -> np.ndarray | None:
        """Check None or a mask that broadcasts to `shape`; return it with as many axes, and the last one full.

        A mask that may be bool or float32 is returned as `additive`.
        """
        if value is None:
            return None
        value = self.given("mask", value, *dtypes)
        own = (1,) * (len(shape) - value.ndim) + value.shape
        if len(own) > len(shape) or any(n not in (1, m) for n, m in zip(own, shape, strict=True)):
            raise error(ValueError, self.op, "mask", f"a shape that broadcasts to {shape}", value.shape)
        value = self.plain("mask", np.broadcast_to(value.reshape(own), (*own[:-1], shape[-1])))
        return additive(value) if len(dtypes) > 1 and not self.no_memory else value

    def mask_rows(self, value: Any, shape: Shape, *dtypes: str) -> np.ndarray | None:
        """Check a mask as `mask` does; return a matrix of one row, or with all rows of `shape`."""
        mask = self.mask(value, shape, *dtypes)
        if mask is not None and mask.size != shape[-1] and mask.shape != shape:
            mask = self.plain("mask", np.broadcast_to(mask, shape))
        return mask if self.no_memory else matrix(mask)

    def output(self, out: Any, shape: Shape, dtype: str = "float32", in_place: bool = False) -> np.ndarray:
        """Check `out`, or allocate it. It must not overlap an input, but if `in_place` it may be the first one, x.

        Overlap is between first and last bytes, as in the compiled backends: interleaved views overlap.
        """
        if out is None:
            try:
                made = np.empty(shape, dtype)
            except (MemoryError, ValueError):
                wrong = MemoryError(f"{self.op}: expected memory for a result of shape {shape}, got none")
                wrong.argument = None  # type: ignore[attr-defined]
                raise wrong from None
            self.done()
            return made
        op, inputs = self.op, iter(self.inputs)
        plain = self._typed("out", out, "an array", dtype)
        if plain.shape != shape:
            raise error(ValueError, op, "out", f"shape {shape}", plain.shape)
        if not plain.flags.c_contiguous:
            raise error(ValueError, op, "out", "a C-contiguous array", f"strides {plain.strides}")
        if not plain.flags.aligned:
            raise error(ValueError, op, "out", "an aligned array", "an unaligned one")
        if not plain.flags.writeable:
            raise error(ValueError, op, "out", "a writeable array", "a read-only one")
        if in_place:  # of the first input, x
            _, x = next(inputs)
            if np.may_share_memory(plain, x) and not same_memory(plain, x):
                expected = "x itself or memory apart from it"
                raise error(ValueError, op, "out", expected, "a partial overlap with x")
        for name, value in inputs:
            if np.may_share_memory(plain, value):
                raise error(ValueError, op, "out", "memory apart from the inputs", f"an overlap with {name}")
        self.done()
        self.outs.append((plain, out))
        return plain

    def result(self, found: Any) -> Any:
        """Return the caller's own array in place of its view; of a tuple, each."""
        if isinstance(found, tuple):
            return tuple(map(self.result, found))
        return next((own for view, own in self.outs if view is found), found)

    def quantized_output(
        self, values: Any, scales: Any, leading: Shape, channels: int, groups: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Check the values and scales of quantised rows, or allocate them."""
        values = self.output(values, (*leading, quantized_width(channels, groups)), "uint8")
        scales = self.output(scales, (*leading, groups))
        if np.may_share_memory(values, scales):
            raise error(ValueError, self.op, "out", "values apart from scales", "an overlap")
        return values, scales


def same_memory(a: np.ndarray, b: np.ndarray) -> bool:
    """Return whether two arrays are the same elements at the same places: strides follow if both are C-contiguous."""
    start_a, start_b = (array.__array_interface__["data"][0] for array in (a, b))
    return start_a == start_b and a.shape == b.shape and a.flags.c_contiguous and b.flags.c_contiguous


def matrix(x: Any) -> Any:
    """View (..., C) as (rows, C); None stays None."""
    if x is None:
        return None
    x = np.asarray(x)
    return x.reshape(math.prod(x.shape[:-1]), x.shape[-1])


def additive(mask: np.ndarray) -> np.ndarray:
    """Return a mask of bool or float32 as numbers to add: True is -0, which changes nothing, False is -inf."""
    return np.where(mask, F(-0.0), F(-np.inf)) if mask.dtype == bool else mask


def single(value: float) -> np.float32:
    """Round to float32; too large numbers become infinite."""
    with np.errstate(all="ignore"):
        return F(value)


def quantized_width(channels: int, groups: int) -> int:
    """Return the bytes of a quantised row, whose groups are padded to multiples of 4."""
    return groups * -(-(channels // groups) // 4) * 4


def rotation(op: str, name: str, value: Any, what: str, channels: int) -> bool:
    """Check an argument that asks for rotation, and the channels of the groups of the argument `what`."""
    if value is None:
        return False
    flag = check.int64(op, name, value)
    if flag not in (0, 1):
        raise error(ValueError, op, name, "0 or 1", flag)
    if flag:
        check_rotated(op, what, channels, "channels per group to rotate")
    return flag == 1


class Convolution(NamedTuple):
    """A packed convolution."""

    dtype: str
    groups: int
    k: int  # input channels per group
    n: int  # output channels per group
    weight: Any  # as the kernels' `pack` returns it
    scales: np.ndarray  # of the output channels; empty unless `dtype` is in `packing.INT8`
    bias: np.ndarray | None


class Rows(NamedTuple):
    """What q, k and v are, in messages: floats, or the values of quantised rows."""

    dtype: str
    what: str
    of: str
    channels: str


FLOATS, BYTES = Rows("float32", "an array", "", "C"), Rows("uint8", "values", "values of ", "W")


class Front:
    """A backend, `squeezeops.backends.Backend`, on a module of kernels.

    Each method converts its numbers first: that runs code of the caller, which may change arrays.
    """

    def __init__(self, kernels: ModuleType) -> None:
        self.__name__ = kernels.__name__
        self.kernels = kernels
        self.get_num_threads = kernels.get_num_threads

    # Grouped pointwise convolution.

    def pointwise_conv(
        self, x: Any, weight: Any, bias: Any, groups: Any, activation: Any, residual: Any, out: Any
    ) -> Any:
        a, groups = Arguments("pointwise_conv"), check.int64("pointwise_conv", "groups", groups)
        x = a.rows("x", x)
        w = a.weight(weight, "float32")
        bias = a.optional("bias", bias, w.shape[:1])
        c_in = x.shape[-1]
        groups = check.divisor(a.op, "groups", groups, C_in=c_in, C_out=len(w))
        if groups * w.shape[1] != c_in:
            raise error(ValueError, a.op, "weight", f"shape (C_out, {c_in // groups})", w.shape)
        self._weight_sizes(a, w, groups, "float32")
        activation = check.choice(a.op, "activation", activation, check.ACTIVATIONS)
        shape = (*x.shape[:-1], len(w))
        residual = a.optional("residual", residual, shape)
        out = a.output(out, shape)
        conv = self._pack(a, w, bias, groups, "float32")
        self.kernels.convolve(matrix(x), None, conv, activation, matrix(residual), matrix(out))
        return a.result(out)

    def pack_pointwise_conv(self, weight: Any, bias: Any, groups: Any, dtype: Any, memory: Any) -> Convolution:
        a, groups = Arguments("PointwiseConv"), check.int64("PointwiseConv", "groups", groups)
        w = a.weight(weight, "float32", "float16")
        bias = a.optional("bias", bias, w.shape[:1])
        groups = check.divisor(a.op, "groups", groups, C_out=len(w))
        dtype = check.choice(a.op, "dtype", dtype, packing.STORAGE)
        self._weight_sizes(a, w, groups, dtype)
        a.done()
        return self._pack(a, w, None if bias is None else bias.copy(), groups, dtype)

    def _weight_sizes(self, a: Arguments, weight: np.ndarray, groups: int, dtype: str) -> None:
        op, (c_out, k) = a.op, weight.shape[:2]
        if groups * k > MOST_CHANNELS:
            raise error(ValueError, op, "weight", "at most 2^28 input channels", f"{groups} groups of {k}")
        if c_out > MOST_CHANNELS:
            raise error(ValueError, op, "weight", "at most 2^28 output channels", c_out)
        if dtype == "int8" and k > MOST_INT8_DEPTH:
            raise error(ValueError, op, "weight", "at most 2^17 input channels per group for int8", k)
        if dtype == "int8_rotated":
            check_rotated(op, "weight", k, "input channels per group for int8_rotated")

    def _pack(self, a: Arguments, weight: np.ndarray, bias: np.ndarray | None, groups: int, dtype: str) -> Convolution:
        op, (c_out, k) = a.op, weight.shape[:2]
        weight = a.plain("weight", weight)
        a.done()
        w: np.ndarray
        w, scales = weight.reshape(c_out, k).astype(F), np.empty(0, F)
        with np.errstate(all="ignore"):  # NaN and infinity are weights like others
            if dtype == "float16" and weight.dtype != np.float16:
                finite = np.where(np.isfinite(w), w, 0)
                if np.abs(finite).max(initial=0) > packing.HALF_MAX:
                    worst = finite.flat[np.abs(finite).argmax()]
                    expected = f"values up to {packing.HALF_MAX:g}, the largest float16"
                    raise error(ValueError, op, "weight", expected, f"{worst:g}")
                w = w.astype(np.float16).astype(F)
            w[np.abs(w) < np.finfo(F).tiny] = 0
            if dtype == "float16":
                w = w.astype(np.float16)
            elif dtype in packing.INT8:
                w = packing.rotated(w) * F(1 / packing.ROTATED) if dtype == "int8_rotated" else w
                values, scales = np.empty((c_out, quantized_width(k, 1)), np.uint8), np.empty((c_out, 1), F)
                self.kernels.quantize_rows(w, 1, values, scales, False)
                w, scales = (values[:, :k] - np.uint8(128)).view(np.int8), scales.reshape(c_out)
        panels = self.kernels.pack(w.reshape(groups, c_out // groups, k))
        return Convolution(dtype, groups, k, c_out // groups, panels, scales, bias)

    def use_packed_pointwise_conv(
        self, packed: memoryview, bias: Any, c_in: int, c_out: int, groups: int, dtype: str
    ) -> Convolution:
        a = Arguments("PointwiseConv")
        check_address(a.op, packing.address(packed), packed.nbytes)
        bias = a.optional("bias", bias, (c_out,))
        a.done()
        weight, scales = packing.unpack(packed, c_in, c_out, groups, dtype)
        kept = None if bias is None else bias.copy()
        return Convolution(dtype, groups, c_in // groups, c_out // groups, self.kernels.pack(weight), scales, kept)

    def packed_form(self, handle: Convolution) -> np.ndarray:
        return packing.pack(self.kernels.unpack(handle), handle.scales, handle.dtype)

    def run_pointwise_conv(
        self,
        handle: Convolution,
        x: Any,
        x_scales: Any,
        activation: Any,
        residual: Any,
        quantize_groups: Any,
        out: Any,
        out_scales: Any,
        quantize_rotate: Any,
    ) -> Any:
        a = Arguments("PointwiseConv")
        if quantize_groups is not None:
            quantize_groups = check.int64(a.op, "quantize_groups", quantize_groups)
        x, x_scales = self._convolved(a, handle, x, x_scales)
        activation = check.choice(a.op, "activation", activation, check.ACTIVATIONS)
        shape = (*x.shape[:-1], handle.groups * handle.n)
        residual = a.optional("residual", residual, shape)
        room = self._room(a, shape, quantize_groups, out, out_scales, quantize_rotate)
        return a.result(self._convolve(matrix(x), matrix(x_scales), handle, activation, matrix(residual), *room))

    def _room(
        self, a: Arguments, shape: Shape, quantize_groups: Any, out: Any, out_scales: Any, quantize_rotate: Any
    ) -> tuple[np.ndarray, Any, int, bool]:
        """Return room for a result of floats; the quantised rows it goes to, if any, and their groups and rotation."""
        if quantize_groups is None:
            return a.output(out, shape), None, 0, False
        c_out = shape[-1]
        groups = check.divisor(a.op, "quantize_groups", quantize_groups, C_out=c_out)
        rotate = rotation(a.op, "quantize_rotate", quantize_rotate, "quantize_groups", c_out // groups)
        rows = a.quantized_output(out, out_scales, shape[:-1], c_out, groups)
        return a.output(None, shape), rows, groups, rotate

    def _convolve(
        self,
        x: np.ndarray,
        x_scales: np.ndarray | None,
        conv: Convolution,
        activation: str | None,
        residual: np.ndarray | None,
        y: np.ndarray,
        rows: Any,
        groups: int,
        rotate: bool,
    ) -> Any:
        self.kernels.convolve(x, x_scales, conv, activation, residual, matrix(y))
        if rows is None:
            return y
        self.kernels.quantize_rows(matrix(y), groups, *map(matrix, rows), rotate)
        return rows

    def run_pointwise_convs(
        self, handles: Any, x: Any, x_scales: Any, activation: Any, residual: Any, quantize_groups: Any, outs: Any
    ) -> tuple[Any, ...]:
        """The activation and the residual are None: the table of operations has them here."""
        a = Arguments("pointwise_convs")
        if quantize_groups is not None:
            quantize_groups = check.int64(a.op, "quantize_groups", quantize_groups)
        if not handles:
            a.rows("x", x)
        rooms = []
        for i, (handle, out) in enumerate(zip(handles, outs, strict=True)):
            x, x_scales = self._convolved(a, handle, x, x_scales)
            pair: tuple[Any, Any] = (out, None) if quantize_groups is None else out
            y, rows, *rest = self._room(a, (*x.shape[:-1], handle.groups * handle.n), quantize_groups, *pair, None)
            a.inputs += [(f"out[{i}]", array) for array in ((y,) if rows is None else rows)]
            rooms.append((y, rows, *rest))
        matrices = matrix(x), matrix(x_scales)
        return tuple(
            a.result(self._convolve(*matrices, h, activation, residual, *r))
            for h, r in zip(handles, rooms, strict=True)
        )

    def _convolved(self, a: Arguments, conv: Convolution, x: Any, x_scales: Any) -> tuple[Any, Any]:
        """Check floats (..., C_in), or the values and scales of quantised rows."""
        if x_scales is None:
            return a.rows("x", x, channels=conv.groups * conv.k), None
        values = a.given("x", x, "uint8", what="values")
        scales = a.given("x", x_scales, "float32", what="scales")
        width, shape = quantized_width(conv.groups * conv.k, conv.groups), (*values.shape[:-1], conv.groups)
        if values.shape[-1:] != (width,):
            raise error(ValueError, a.op, "x", f"values of shape (..., {width})", values.shape)
        if scales.shape != shape:
            raise error(ValueError, a.op, "x", f"scales of shape {shape}", scales.shape)
        return a.plain("x", values), a.plain("x", scales)

    def quantize_rows(self, x: Any, groups: Any, values: Any, scales: Any, rotate: Any) -> tuple[Any, Any]:
        a, groups = Arguments("quantize_rows"), check.int64("quantize_rows", "groups", groups)
        x = a.rows("x", x)
        channels = x.shape[-1]
        if channels > MOST_CHANNELS:
            raise error(ValueError, a.op, "x", "at most 2^28 channels", channels)
        groups = check.divisor(a.op, "groups", groups, C=channels)
        rotate = rotation(a.op, "rotate", rotate, "x", channels // groups)
        quantized = a.quantized_output(values, scales, x.shape[:-1], channels, groups)
        self.kernels.quantize_rows(matrix(x), groups, *map(matrix, quantized), rotate)
        rows: tuple[Any, Any] = a.result(quantized)
        return rows

    # Row-wise ops. x and out may be the same memory.

    def layer_norm(self, x: Any, weight: Any, bias: Any, eps: Any, residual: Any, out: Any) -> Any:
        a, eps = Arguments("layer_norm"), check.real("layer_norm", "eps", eps)
        x = a.rows("x", x)
        weight, bias = a.optional("weight", weight, x.shape[-1:]), a.optional("bias", bias, x.shape[-1:])
        eps = check.epsilon(a.op, eps)
        residual = a.optional("residual", residual, x.shape)
        out = a.output(out, x.shape, in_place=True)
        self.kernels.layer_norm(matrix(x), weight, bias, single(eps), matrix(residual), matrix(out))
        return a.result(out)

    def rms_norm(self, x: Any, weight: Any, eps: Any, residual: Any, out: Any) -> Any:
        a, eps = Arguments("rms_norm"), check.real("rms_norm", "eps", eps)
        x = a.rows("x", x)
        weight = a.optional("weight", weight, x.shape[-1:])
        eps = check.epsilon(a.op, eps)
        residual = a.optional("residual", residual, x.shape)
        out = a.output(out, x.shape, in_place=True)
        self.kernels.rms_norm(matrix(x), weight, single(eps), matrix(residual), matrix(out))
        return a.result(out)

    def l2_normalize(self, x: Any, eps: Any, out: Any) -> Any:
        a, eps = Arguments("l2_normalize"), check.real("l2_normalize", "eps", eps)
        x = a.rows("x", x)
        eps = check.epsilon(a.op, eps)
        out = a.output(out, x.shape, in_place=True)
        self.kernels.l2_normalize(matrix(x), single(eps), matrix(out))
        return a.result(out)

    def softmax(self, x: Any, mask: Any, scale: Any, fully_masked: Any, out: Any) -> Any:
        a, scale = Arguments("softmax"), check.real("softmax", "scale", scale)
        x = a.rows("x", x)
        mask = a.mask_rows(mask, x.shape, "bool", "float32")
        fully_masked = check.choice(a.op, "fully_masked", fully_masked, check.FULLY_MASKED)
        out = a.output(out, x.shape, in_place=True)
        self.kernels.softmax(matrix(x), mask, single(scale), fully_masked == "uniform", matrix(out))
        return a.result(out)

    def gelu(self, x: Any, approximate: Any, out: Any) -> Any:
        a = Arguments("gelu")
        x = a.array("x", x)
        approximate = check.choice(a.op, "approximate", approximate, check.APPROXIMATE)
        return self._activate(a, x, "gelu" if approximate == "none" else "gelu_tanh", out)

    def tanh(self, x: Any, out: Any) -> Any:
        a = Arguments("tanh")
        return self._activate(a, a.array("x", x), "tanh", out)

    def _activate(self, a: Arguments, x: np.ndarray, word: str, out: Any) -> Any:
        out = a.output(out, x.shape, in_place=True)
        self.kernels.activation(x.reshape(-1), word, out.reshape(-1))
        return a.result(out)

    # Pooling and embeddings.

    def mean_pool(self, x: Any, mask: Any, out: Any) -> Any:
        a = Arguments("mean_pool")
        x = a.rows("x", x, axes=2)
        *batch, length, channels = x.shape
        mask = a.mask_rows(mask, (*batch, length), "bool")
        out = a.output(out, (*batch, channels))
        self.kernels.mean_pool(x.reshape(math.prod(batch), length, channels), mask, matrix(out))
        return a.result(out)

    def embedding(self, ids: Any, table: Any, out: Any) -> Any:
        a = Arguments("embedding")
        table, channels = a.table("table", table)
        ids = a.ids("ids", ids, len(table))
        out = a.output(out, (*ids.shape, channels))
        self.kernels.embedding(ids.reshape(-1), table, matrix(out))
        return a.result(out)

    def embedding_layer_norm(
        self,
        ids: Any,
        table: Any,
        position_ids: Any,
        position_table: Any,
        type_ids: Any,
        type_table: Any,
        weight: Any,
        bias: Any,
        eps: Any,
        out: Any,
    ) -> Any:
        a, eps = Arguments("embedding_layer_norm"), check.real("embedding_layer_norm", "eps", eps)
        words, channels = a.table("table", table)
        positions, _ = a.table("position_table", position_table, channels)
        types, _ = a.table("type_table", type_table, channels)
        ids = a.ids("ids", ids, len(words))
        position_ids = a.ids("position_ids", position_ids, len(positions), ids.shape)
        type_ids = a.ids("type_ids", type_ids, len(types), ids.shape)
        weight, bias = a.optional("weight", weight, (channels,)), a.optional("bias", bias, (channels,))
        eps = check.epsilon(a.op, eps)
        out = a.output(out, (*ids.shape, channels))
        pairs = [(i.reshape(-1), t) for i, t in ((ids, words), (position_ids, positions), (type_ids, types))]
        self.kernels.embedding_layer_norm(pairs, weight, bias, single(eps), matrix(out))
        return a.result(out)

    # Attention. Sequence b has the rows from offsets[b] up to offsets[b + 1].

    def attention(
        self,
        q: Any,
        k: Any,
        v: Any,
        num_heads: Any,
        cu_seqlens: Any,
        cu_seqlens_q: Any,
        cu_seqlens_k: Any,
        mask: Any,
        scale: Any,
        fully_masked: Any,
        out: Any,
        q_scales: Any,
        k_scales: Any,
        v_scales: Any,
        value_scale: Any,
        value_bias: Any,
    ) -> Any:
        a, num_heads = Arguments("attention"), check.int64("attention", "num_heads", num_heads)
        scale = None if scale is None else check.real(a.op, "scale", scale)
        sequences = {"cu_seqlens": cu_seqlens, "cu_seqlens_q": cu_seqlens_q, "cu_seqlens_k": cu_seqlens_k}
        sequences = {name: value for name, value in sequences.items() if value is not None}
        ends = {"value_scale": value_scale, "value_bias": value_bias}
        if not q_scales is k_scales is v_scales is None:
            scales = q_scales, k_scales, v_scales
            return self._attention_s8(a, q, k, v, scales, num_heads, sequences, mask, scale, fully_masked, ends, out)
        for name, value in ends.items():
            if value is not None:
                raise error(ValueError, a.op, name, "None for rows of floats", kind(value))
        q, k = self._rows(a, FLOATS, q, k, sequences)
        v = self._values(a, FLOATS, v, k)
        heads = self._heads(a, num_heads, q.shape[-1])
        offsets = self._offsets(a, q, k, sequences)
        mask = self._key_mask(a, mask, q, k, heads, "bool", "float32")
        factor = self._scale(a, scale, q.shape[-1] // heads)
        fully_masked = check.choice(a.op, "fully_masked", fully_masked, check.FULLY_MASKED)
        rows = [a.plain(name, value) for name, value in zip("qkv", (q, k, v), strict=True)]
        out = a.output(out, q.shape)
        self.kernels.attention(
            *map(matrix, rows), heads, *offsets, mask, factor, fully_masked == "uniform", matrix(out)
        )
        return a.result(out)

    def _attention_s8(
        self,
        a: Arguments,
        q: Any,
        k: Any,
        v: Any,
        scales: tuple[Any, Any, Any],
        num_heads: Any,
        sequences: dict[str, Any],
        mask: Any,
        scale: Any,
        fully_masked: Any,
        ends: dict[str, Any],
        out: Any,
    ) -> Any:
        """Attention on quantised rows; `ends` are value_scale and value_bias."""
        q, k = self._rows(a, BYTES, q, k, sequences)
        v = self._values(a, BYTES, v, k)
        width = q.shape[-1]
        heads = self._byte_heads(a, num_heads, width)
        rows = []
        for name, values, of_rows in zip("qkv", (q, k, v), scales, strict=True):
            of_rows = a.given(name, of_rows, "float32", what="scales")
            if of_rows.shape != (*values.shape[:-1], heads):
                expected = f"scales of shape {(*values.shape[:-1], heads)}"
                raise error(ValueError, a.op, name, expected, of_rows.shape)
            rows += [a.plain(name, values), a.plain(name, of_rows)]
        offsets = self._offsets(a, q, k, sequences)
        longest = int(np.diff(offsets[1]).max(initial=0)) if sequences else k.shape[1]
        if longest > MOST_INT8_KEYS:
            raise error(ValueError, a.op, "k", "at most 2^16 keys per sequence", longest)
        mask = self._key_mask(a, mask, q, k, heads, "bool")
        fully_masked = check.choice(a.op, "fully_masked", fully_masked, check.FULLY_MASKED)
        channels = self._channels(a, ends, out, q.ndim, heads, width)
        factor = self._scale(a, scale, channels // heads)
        value_scale, value_bias = (
            np.full(channels, missing, F) if value is None else a.plain(name, value)
            for (name, value), missing in zip(ends.items(), (1, 0), strict=True)
        )
        out = a.output(out, (*q.shape[:-1], channels))
        uniform = fully_masked == "uniform"
        self.kernels.attention_s8(
            *map(matrix, rows), heads, *offsets, mask, factor, uniform, value_scale, value_bias, matrix(out)
        )
        return a.result(out)

    def attention_scores(self, q: Any, k: Any, num_heads: Any, mask: Any, scale: Any, out: Any) -> Any:
        a, num_heads = Arguments("attention_scores"), check.int64("attention_scores", "num_heads", num_heads)
        scale = None if scale is None else check.real(a.op, "scale", scale)
        q, k = self._rows(a, FLOATS, q, k, {})
        heads = self._heads(a, num_heads, q.shape[2])
        offsets = self._offsets(a, q, k, {})
        shape = len(q), heads, q.shape[1], k.shape[1]
        mask = a.mask(mask, shape, "bool", "float32")
        factor = self._scale(a, scale, q.shape[2] // heads)
        q, k = a.plain("q", q), a.plain("k", k)
        out = a.output(out, shape)
        self.kernels.attention_scores(matrix(q), matrix(k), *offsets, mask, factor, out)
        return a.result(out)

    def _rows(
        self, a: Arguments, rows: Rows, q: Any, k: Any, sequences: dict[str, Any]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Check q (B, Lq, C) and k (B, Lk, C); for a ragged batch q (total_q, C) and k (total_k, C)."""
        both = "cu_seqlens" in sequences
        if both and len(sequences) > 1:
            expected = "None next to cu_seqlens_q and cu_seqlens_k"
            raise error(ValueError, a.op, "cu_seqlens", expected, kind(sequences["cu_seqlens"]))
        q = a.given("q", q, rows.dtype, what=rows.what)
        if q.ndim != (2 if sequences else 3):
            expected = f"(total, {rows.channels}) with cu_seqlens" if sequences else f"(B, Lq, {rows.channels})"
            raise error(ValueError, a.op, "q", f"{rows.of}shape {expected}", q.shape)
        k = a.given("k", k, rows.dtype, what=rows.what)
        if both and k.shape != q.shape:
            raise error(ValueError, a.op, "k", f"{rows.of}shape {q.shape}", k.shape)
        if k.ndim != q.ndim or k.shape[-1] != q.shape[-1] or (not sequences and len(k) != len(q)):
            expected = f"(total, {q.shape[-1]})" if sequences else f"({len(q)}, Lk, {q.shape[-1]})"
            raise error(ValueError, a.op, "k", f"{rows.of}shape {expected}", k.shape)
        for name, length in (("q", q.shape[1]), ("k", k.shape[1])):
            if not sequences and len(q) * length >= 2**31:
                raise error(ValueError, a.op, name, "fewer than 2^31 rows", f"{len(q)} sequences of {length}")
        return q, k

    def _values(self, a: Arguments, rows: Rows, v: Any, k: np.ndarray) -> np.ndarray:
        """Check v, of k's shape."""
        given = a.given("v", v, rows.dtype, what=rows.what)
        if given.shape != k.shape:
            raise error(ValueError, a.op, "v", f"{rows.of}shape {k.shape}", given.shape)
        return given

    def _offsets(self, a: Arguments, q: np.ndarray, k: np.ndarray, sequences: dict[str, Any]) -> list[np.ndarray]:
        """Return where the sequences of queries and of keys begin and end."""
        if not sequences:
            numbers = np.arange(len(q) + 1, dtype=np.int64)
            return [numbers * q.shape[1], numbers * k.shape[1]]
        if "cu_seqlens" in sequences:
            return [a.offsets("cu_seqlens", sequences["cu_seqlens"], len(q))] * 2
        queries = a.offsets("cu_seqlens_q", sequences.get("cu_seqlens_q"), len(q))
        keys = a.offsets("cu_seqlens_k", sequences.get("cu_seqlens_k"), len(k))
        if len(queries) != len(keys):
            raise error(ValueError, a.op, "cu_seqlens_q", f"shape {keys.shape}", queries.shape)
        return [queries, keys]

    def _key_mask(self, a: Arguments, mask: Any, q: Any, k: Any, heads: int, *dtypes: str) -> np.ndarray | None:
        """Check a mask (B, H, Lq, Lk), for quantised rows with one row for all queries; or (total_k,)."""
        if q.ndim == 3:
            return a.mask(mask, (len(q), heads, q.shape[1] if len(dtypes) > 1 else 1, k.shape[1]), *dtypes)
        if mask is None:
            return None
        mask = a.shaped("mask", mask, k.shape[:1], *dtypes)
        return additive(mask) if len(dtypes) > 1 else mask

    def _heads(self, a: Arguments, num_heads: Any, channels: int) -> int:
        heads = check.divisor(a.op, "num_heads", num_heads, C=channels)
        if heads > MOST_HEADS or channels // heads > MOST_HEADS:
            expected = "at most 2^24 heads of 2^24 channels"
            raise error(ValueError, a.op, "num_heads", expected, f"{heads} of {channels // heads}")
        return heads

    def _byte_heads(self, a: Arguments, num_heads: Any, width: int) -> int:
        heads = check.divisor(a.op, "num_heads", num_heads, W=width)
        n = width // heads
        if n % 4:
            raise error(ValueError, a.op, "num_heads", "heads of a multiple of 4 bytes", f"{heads} of {n}")
        if heads > MOST_HEADS or n > MOST_INT8_DEPTH:
            raise error(ValueError, a.op, "num_heads", "at most 2^24 heads of 2^17 channels", f"{heads} of {n}")
        return heads

    def _channels(self, a: Arguments, ends: dict[str, Any], out: Any, ndim: int, heads: int, width: int) -> int:
        """Return the channels of the result. The bytes do not tell how many of them fill up a head; `ends` and out do.

        Check `ends`, which may be None, and put views of them in their place.
        """

        def fits(channels: int) -> bool:
            return channels % heads == 0 and quantized_width(channels, heads) == width

        channels, n = None, width // heads
        for name, value in ends.items():
            if value is None:
                continue
            if channels is not None:
                ends[name] = a.shaped(name, value, (channels,))
                continue
            given = ends[name] = a.given(name, value, "float32")
            if given.ndim != 1 or not fits(len(given)):
                expected = f"shape (C,) with C / num_heads from {n - 3 if n else 0} to {n}"
                raise error(ValueError, a.op, name, expected, given.shape)
            channels = len(given)
        if channels is not None:
            return channels
        if isinstance(out, np.ndarray):
            plain = check.own_view(out)
            if plain.dtype == F and plain.ndim == ndim and fits(plain.shape[-1]):
                return int(plain.shape[-1])
        return width

    def _scale(self, a: Arguments, scale: Any, head_size: int) -> np.float32:
        return single(1 / math.sqrt(max(head_size, 1)) if scale is None else check.real(a.op, "scale", scale))

    # Threads and processor.

    def set_num_threads(self, n: Any) -> None:
        self.kernels.set_num_threads(check.num_threads(n))

    def cpu_info(self) -> dict[str, Any]:
        """No compiled kernels, so nothing to list."""
        return {"isas": [], "compiled": [], "missing": {}, "isa": None, "kernels": {}}
