"""The cffi backend: the compiled kernels for whatever has the buffer protocol, NumPy neither needed nor imported.

An array argument is a `memoryview`, an `array.array`, a ctypes array, a NumPy array: the format of its elements is its
type, and its shape counts. Except in NumPy arrays, bytes (format "B") stand for bools, and 16-bit integers ("H") for
the float16 with those bits. The result is `out`, if that is given; else a NumPy array, if an argument is one; else a
`memoryview`.
"""

from __future__ import annotations

import math
from array import array
from typing import Any

from squeezeops import packing
from squeezeops.backends import _packed
from squeezeops.backends import _scalars as check
from squeezeops.backends._buffers import Array, Mask, Shape, address, allocate, ffi, lib, output, raise_for

# What the functions for a packed weight are called, what they point to, and the bytes of what they count.
STORED = {"float32": ("f32", "float *", 4), "float16": ("f16", "uint16_t *", 2), "int8": ("s8", "uint8_t *", 1)}
DTYPES = {"float32": lib.SQZ_F32, "float16": lib.SQZ_F16, "int8": lib.SQZ_S8}
FULLY_MASKED = {"uniform": lib.SQZ_MASKED_UNIFORM, "zero": lib.SQZ_MASKED_ZERO}
ACTIVATIONS = {
    None: lib.SQZ_ACT_NONE,
    "gelu": lib.SQZ_ACT_GELU,
    "gelu_tanh": lib.SQZ_ACT_GELU_TANH,
    "relu": lib.SQZ_ACT_RELU,
    "tanh": lib.SQZ_ACT_TANH,
}


def _floats(op: str, name: str, value: Any) -> Array:
    return Array(op, name, value, "float32")


def _rows(op: str, name: str, value: Any, axes: int = 1) -> Array:
    """At least one axis, the last to work along; or more."""
    x = _floats(op, name, value)
    if len(x.shape) < axes:
        expected = f"at least {axes} dimension{'s' if axes > 1 else ''}"
        raise ValueError(f"{op}: {name}: expected {expected}, got shape {x.shape}")
    return x


def _check_shape(op: str, name: str, x: Array, shape: Shape) -> None:
    if x.shape != shape:
        raise ValueError(f"{op}: {name}: expected shape {shape}, got {x.shape}")


def _optional(op: str, name: str, value: Any, shape: Shape) -> Array | None:
    if value is None:
        return None
    x = _floats(op, name, value)
    _check_shape(op, name, x, shape)
    return x


def _pointer(x: Array | None) -> Any:
    return ffi.NULL if x is None else x.pointer


def _table(op: str, name: str, value: Any, channels: int | None = None) -> tuple[Array, int]:
    """An embedding table, and its channels."""
    table = Array(op, name, value, "float32", "float16", "int8")
    return table, check.channels_of(op, name, table.shape, table.kind, channels)


def _ids(op: str, name: str, value: Any, shape: Shape | None = None) -> tuple[Array, Any]:
    """Ids, and an int64 copy, which no other thread can change after it was checked."""
    ids = Array(op, name, value, "int32", "int64")
    if shape is not None:
        _check_shape(op, name, ids, shape)
    copied: Any = ids.view.tobytes()
    if ids.kind == "int32":
        copied = array("q", memoryview(copied).cast("i"))
    return ids, ffi.from_buffer("int64_t[]", copied)


def _matrix(shape: Shape) -> tuple[int, int]:
    """(..., n) as (rows, n)."""
    return math.prod(shape[:-1]), shape[-1]


def _fully_masked(op: str, word: Any) -> int:
    return int(FULLY_MASKED[check.choice(op, "fully_masked", word, check.FULLY_MASKED)])


# Row-wise ops.


def layer_norm(x: Any, weight: Any, bias: Any, eps: float, residual: Any, out: Any) -> Any:
    """See `squeezeops.layer_norm`."""
    op = "layer_norm"
    given = _rows(op, "x", x)
    rows, n = _matrix(given.shape)
    w, b = _optional(op, "weight", weight, (n,)), _optional(op, "bias", bias, (n,))
    eps = check.epsilon(op, eps)
    added = _optional(op, "residual", residual, given.shape)
    result, y = output(op, out, given.shape, {"weight": w, "bias": b, "residual": added}, given)
    pointers = _pointer(added), n, _pointer(w), _pointer(b)
    raise_for(op, lib.sqz_layer_norm_f32(rows, n, given.pointer, n, *pointers, eps, y.pointer, n))
    return result


def l2_normalize(x: Any, eps: float, out: Any) -> Any:
    """See `squeezeops.l2_normalize`."""
    op = "l2_normalize"
    given = _rows(op, "x", x)
    rows, n = _matrix(given.shape)
    eps = check.epsilon(op, eps)
    result, y = output(op, out, given.shape, {}, given)
    raise_for(op, lib.sqz_l2_normalize_f32(rows, n, given.pointer, n, eps, y.pointer, n))
    return result


def softmax(x: Any, mask: Any, scale: float, fully_masked: str, out: Any) -> Any:
    """See `squeezeops.softmax`."""
    op = "softmax"
    given = _rows(op, "x", x)
    rows, n = _matrix(given.shape)
    keep = Mask(op, mask, given.shape, "bool", "float32")
    scale = check.real(op, "scale", scale)
    word = _fully_masked(op, fully_masked)
    result, y = output(op, out, given.shape, {"mask": keep.given}, given)
    stride = keep.row_stride(given.shape)
    masked = keep.pointer, keep.kind, stride
    raise_for(op, lib.sqz_softmax_f32(rows, n, given.pointer, n, *masked, scale, word, y.pointer, n))
    return result


def _activate(op: str, activation: int, x: Any, out: Any) -> Any:
    given = _floats(op, "x", x)
    result, y = output(op, out, given.shape, {}, given)
    raise_for(op, lib.sqz_activation_f32(activation, math.prod(given.shape), given.pointer, y.pointer))
    return result


def gelu(x: Any, approximate: str, out: Any) -> Any:
    """See `squeezeops.gelu`."""
    word = check.choice("gelu", "approximate", approximate, check.APPROXIMATE)
    return _activate("gelu", lib.SQZ_ACT_GELU if word == "none" else lib.SQZ_ACT_GELU_TANH, x, out)


def tanh(x: Any, out: Any) -> Any:
    """See `squeezeops.tanh`."""
    return _activate("tanh", lib.SQZ_ACT_TANH, x, out)


# Pooling and embeddings.


def mean_pool(x: Any, mask: Any, out: Any) -> Any:
    """See `squeezeops.mean_pool`."""
    op = "mean_pool"
    given = _rows(op, "x", x, axes=2)
    *batch, length, n = given.shape
    sequences = (*batch, length)
    keep = Mask(op, mask, sequences, "bool")
    result, y = output(op, out, (*batch, n), {"x": given, "mask": keep.given})
    stride = keep.row_stride(sequences)
    count = math.prod(batch)
    raise_for(op, lib.sqz_mean_pool_f32(count, length, n, given.pointer, n, keep.pointer, stride, y.pointer, n))
    return result


def embedding(ids: Any, table: Any, out: Any) -> Any:
    """See `squeezeops.embedding`."""
    op = "embedding"
    rows, n = _table(op, "table", table)
    given, numbers = _ids(op, "ids", ids)
    size = rows.shape[0]
    result, y = output(op, out, (*given.shape, n), {"table": rows, "ids": given})
    count = math.prod(given.shape)
    raise_for(op, lib.sqz_embedding_f32(count, n, numbers, rows.pointer, DTYPES[rows.kind], size, y.pointer, n))
    return result


def embedding_layer_norm(
    ids: Any,
    table: Any,
    position_ids: Any,
    position_table: Any,
    type_ids: Any,
    type_table: Any,
    weight: Any,
    bias: Any,
    eps: float,
    out: Any,
) -> Any:
    """See `squeezeops.embedding_layer_norm`."""
    op = "embedding_layer_norm"
    words, n = _table(op, "table", table)
    positions, types = (
        _table(op, name, value, n)[0]
        for name, value in (("position_table", position_table), ("type_table", type_table))
    )
    tables = [words, positions, types]
    first = _ids(op, "ids", ids)
    shape = first[0].shape
    all_ids = [first, _ids(op, "position_ids", position_ids, shape), _ids(op, "type_ids", type_ids, shape)]
    w, b = _optional(op, "weight", weight, (n,)), _optional(op, "bias", bias, (n,))
    eps = check.epsilon(op, eps)
    names = ("ids", "position_ids", "type_ids", "table", "position_table", "type_table")
    inputs = dict(zip(names, [given for given, _ in all_ids] + tables, strict=True))
    result, y = output(op, out, (*shape, n), {**inputs, "weight": w, "bias": b})
    pointers = [table.pointer for table in tables]
    status = lib.sqz_embedding_layer_norm_f32(
        math.prod(shape),
        n,
        ffi.new("int64_t *[3]", [numbers for _, numbers in all_ids]),
        ffi.new("void *[3]", pointers),
        ffi.new("sqz_dtype[3]", [DTYPES[table.kind] for table in tables]),
        ffi.new("int64_t[3]", [table.shape[0] for table in tables]),
        _pointer(w),
        _pointer(b),
        eps,
        y.pointer,
        n,
    )
    raise_for(op, status)
    return result


# Grouped pointwise convolution.


def _copy_of_bias(op: str, bias: Any, c_out: int) -> Any:
    """A copy: a handle outlives the call, and must not keep what holds the bias from being resized or closed."""
    given = _optional(op, "bias", bias, (c_out,))
    return ffi.NULL if given is None else ffi.from_buffer("float[]", given.view.tobytes())


class _PackedPointwiseConv:
    """A weight packed for the kernels, with a copy of its bias."""

    def __init__(self, op: str, weight: Array, bias: Any, groups: Any, dtype: str, memory: Any) -> None:
        shape = weight.shape
        if len(shape) not in (2, 3) or shape[2:] not in ((), (1,)):
            expected = "shape (C_out, C_in / groups) or (C_out, C_in / groups, 1)"
            raise ValueError(f"{op}: weight: expected {expected}, got {shape}")
        self.dtype = dtype
        self.groups = check.divisor(op, "groups", groups, C_out=shape[0])
        self.c_out, self.c_in = shape[0], self.groups * shape[1]
        if self.c_in > _packed.MOST_CHANNELS:
            got = f"{self.groups} groups of {shape[1]}"
            raise ValueError(f"{op}: weight: expected at most 2^28 input channels, got {got}")
        if dtype == "int8" and shape[1] > check.MOST_INT8_DEPTH:
            raise ValueError(f"{op}: weight: expected at most 2^17 input channels a group for int8, got {shape[1]}")
        self.bias = _copy_of_bias(op, bias, self.c_out)
        suffix, pointer, itemsize = STORED[dtype]
        sizes = self.groups, self.c_in, self.c_out
        size = getattr(lib, f"sqz_pwconv_packed_size_{suffix}")(*sizes)
        if size < 0:
            raise_for(op, lib.SQZ_INVALID)
        size *= itemsize
        self._memory = memoryview(allocate(op, (size + 64,), "uint8") if memory is None else memory.take(size))
        start = address(self._memory)
        if memory is not None and (start % 64 or self._memory.nbytes < size or self._memory.readonly):
            expected = "pieces of writeable memory of the size asked for, at multiples of 64"
            raise ValueError(f"{op}: memory: expected {expected}, got {self._memory.nbytes} bytes")
        self.packed = ffi.cast(pointer, start + -start % 64)
        source = weight.pointer, DTYPES[weight.kind]
        raise_for(op, getattr(lib, f"sqz_pwconv_pack_{suffix}")(*sizes, *source, self.packed))


def _width(channels: int, groups: int) -> int:
    return int(lib.sqz_quantized_width_s8(channels, groups))


def _quantized_rows(op: str, value: tuple[Any, ...], channels: int, groups: int) -> tuple[Array, Array]:
    """Check values (..., width) of bytes and scales (..., groups) of float32."""
    if len(value) != 2:
        raise ValueError(f"{op}: x: expected values and scales, got {len(value)} items")
    try:
        values = Array(op, "x", value[0], "uint8" if check.is_numpy(value[0], "ndarray") else "bool")
    except TypeError:
        raise TypeError(f"{op}: x: expected values of uint8, got {check.kind(value[0])}") from None
    scales, width = _floats(op, "x", value[1]), _width(channels, groups)
    if values.shape[-1:] != (width,):
        raise ValueError(f"{op}: x: expected values of shape (..., {width}), got {values.shape}")
    if scales.shape != (*values.shape[:-1], groups):
        raise ValueError(f"{op}: x: expected scales of shape {(*values.shape[:-1], groups)}, got {scales.shape}")
    return values, scales


def _quantized_output(
    op: str, out: Any, leading: Shape, channels: int, groups: int, inputs: dict[str, Array | None]
) -> tuple[Any, Array, Array]:
    """Check where quantised rows go, or make room for them."""
    given = (None, None) if out is None else out
    values, q = output(op, given[0], (*leading, _width(channels, groups)), inputs, kind="uint8")
    scales, s = output(op, given[1], (*leading, groups), inputs)
    if q.overlaps(s):
        raise ValueError(f"{op}: out: expected values apart from scales, got an overlap")
    return (values, scales), q, s


def quantize_rows(x: Any, groups: int, values: Any, scales: Any) -> Any:
    """See `squeezeops.quantize_rows`."""
    op = "quantize_rows"
    given = _rows(op, "x", x)
    rows, n = _matrix(given.shape)
    groups = check.divisor(op, "groups", groups, C=n)
    if n > 2**28:
        raise ValueError(f"{op}: x: expected at most 2^28 channels, got {n}")
    result, q, s = _quantized_output(op, (values, scales), given.shape[:-1], n, groups, {"x": given})
    to = q.pointer, _width(n, groups), s.pointer
    raise_for(op, lib.sqz_quantize_rows_s8(rows, n, groups, given.pointer, n, *to))
    return result


class _Input:
    """What convolutions take: floats, or quantised rows in the groups of the first of them."""

    def __init__(self, op: str, x: Any, handles: tuple[_PackedPointwiseConv, ...]) -> None:
        self.groups: int | None = None
        self.arrays: dict[str, Array | None]
        if handles and handles[0].dtype == "int8" and isinstance(x, tuple):
            c_in, self.groups = handles[0].c_in, handles[0].groups
            values, scales = _quantized_rows(op, x, c_in, self.groups)
            self.arrays = {"x": values, "x.scales": scales}
            self.leading = values.shape[:-1]
            pointers = {"q": values.pointer, "ldq": values.shape[-1], "scales": scales.pointer, "groups": self.groups}
        else:
            values = _rows(op, "x", x)
            self.arrays = {"x": values}
            *leading, c_in = values.shape
            self.leading = tuple(leading)
            pointers = {"x": values.pointer, "ldx": c_in}
        self.c_in = c_in
        self.struct = ffi.new("sqz_pwconv_input *", {"rows": math.prod(self.leading), "c_in": c_in, **pointers})

    def part(self, op: str, handle: _PackedPointwiseConv) -> dict[str, Any]:
        """Return the part of a weight, without an epilogue and without where the result goes."""
        if self.c_in != handle.c_in:
            got = (*self.leading, self.c_in)
            raise ValueError(f"{op}: x: expected shape (..., {handle.c_in}), got {got}")
        if self.groups is not None and (handle.dtype != "int8" or handle.groups != self.groups):
            raise ValueError(f"{op}: x: expected floats for weights of other types and groups, got quantised rows")
        part = {"dtype": DTYPES[handle.dtype], "groups": handle.groups, "c_out": handle.c_out}
        return {**part, "packed": handle.packed, "bias": handle.bias}


def _convolve(
    op: str,
    handle: _PackedPointwiseConv,
    x: Any,
    activation: Any,
    residual: Any,
    out: Any,
    quantize_groups: Any = None,
    **inputs: Array | None,
) -> Any:
    given, n = _Input(op, x, (handle,)), handle.c_out
    part, shape = given.part(op, handle), (*given.leading, n)
    part["activation"] = ACTIVATIONS[check.choice(op, "activation", activation, check.ACTIVATIONS)]
    added = _optional(op, "residual", residual, shape)
    inputs |= {**given.arrays, "residual": added}
    if quantize_groups is None:
        result, y = output(op, out, shape, inputs)
        part |= {"out": y.pointer, "ldo": n}
    else:
        if handle.dtype != "int8":
            got = check.kind(quantize_groups)
            raise ValueError(f"{op}: quantize_groups: expected None for a dtype other than int8, got {got}")
        groups = check.divisor(op, "quantize_groups", quantize_groups, C_out=n)
        result, y, scales = _quantized_output(op, out, given.leading, n, groups, inputs)
        part |= {"q_out": y.pointer, "ldq_out": _width(n, groups), "scales_out": scales.pointer, "groups_out": groups}
    part |= {"residual": _pointer(added), "ldr": n}
    raise_for(op, lib.sqz_pwconv(given.struct, 1, ffi.new("sqz_pwconv_part *", part)))
    return result


def pointwise_conv(x: Any, weight: Any, bias: Any, groups: int, activation: str | None, residual: Any, out: Any) -> Any:
    """See `squeezeops.pointwise_conv`."""
    op = "pointwise_conv"
    given = _floats(op, "weight", weight)
    c_in = _rows(op, "x", x).shape[-1]
    handle = _PackedPointwiseConv(op, given, bias, groups, "float32", None)
    check.divisor(op, "groups", groups, C_in=c_in)
    if handle.c_in != c_in:
        raise ValueError(f"{op}: weight: expected shape (C_out, {c_in // handle.groups}), got {given.shape}")
    biases = _optional(op, "bias", bias, (handle.c_out,))
    return _convolve(op, handle, x, activation, residual, out, weight=given, bias=biases)


def pack_pointwise_conv(weight: Any, bias: Any, groups: int, dtype: str, memory: Any) -> _PackedPointwiseConv:
    """See `squeezeops.PointwiseConv`."""
    op = "PointwiseConv"
    check.choice(op, "dtype", dtype, check.STORAGE)
    return _PackedPointwiseConv(op, Array(op, "weight", weight, "float32", "float16"), bias, groups, dtype, memory)


def run_pointwise_conv(
    handle: _PackedPointwiseConv,
    x: Any,
    x_scales: Any,
    activation: str | None,
    residual: Any,
    quantize_groups: int | None,
    out: Any,
    out_scales: Any,
) -> Any:
    """See `squeezeops.PointwiseConv`."""
    x = x if x_scales is None else (x, x_scales)
    out = out if quantize_groups is None else (out, out_scales)
    return _convolve("PointwiseConv", handle, x, activation, residual, out, quantize_groups)


def run_pointwise_convs(handles: tuple[_PackedPointwiseConv, ...], x: Any, x_scales: Any, outs: Any) -> tuple[Any, ...]:
    """See `squeezeops.pointwise_convs`."""
    op = "pointwise_convs"
    x = x if x_scales is None else (x, x_scales)
    given = _Input(op, x, handles)
    results: list[Any] = []
    arrays = dict(given.arrays)
    parts = ffi.new("sqz_pwconv_part[]", len(handles))
    for i, (handle, out) in enumerate(zip(handles, outs, strict=True)):
        part = given.part(op, handle)
        result, y = output(op, out, (*given.leading, handle.c_out), arrays)
        parts[i] = {**part, "out": y.pointer, "ldo": handle.c_out}
        results.append(result)
        arrays[f"out[{i}]"] = y
    raise_for(op, lib.sqz_pwconv(given.struct, len(handles), parts))
    return tuple(results)


class _UsedPointwiseConv(_PackedPointwiseConv):
    """A weight that lies packed in memory of the caller's, which is kept and not copied."""

    def __init__(self, op: str, packed: memoryview, bias: Any, c_in: int, c_out: int, groups: int, dtype: str) -> None:
        self.dtype, self.groups, self.c_in, self.c_out = dtype, groups, c_in, c_out
        self._memory = memoryview(packed)  # one that nobody else can release
        start = address(self._memory) if packed.nbytes else 0
        _packed.check_address(op, start, packed.nbytes)
        self.packed = ffi.cast(STORED[dtype][1], start)
        self.bias = _copy_of_bias(op, bias, c_out)


def use_packed_pointwise_conv(
    packed: memoryview, bias: Any, c_in: int, c_out: int, groups: int, dtype: str
) -> _PackedPointwiseConv:
    """See `squeezeops.PointwiseConv.from_packed`."""
    return _UsedPointwiseConv("PointwiseConv", packed, bias, c_in, c_out, groups, dtype)


def packed_form(handle: _PackedPointwiseConv) -> Any:
    """See `squeezeops.PointwiseConv.packed`."""
    size = packing.packed_size(handle.groups, handle.c_in, handle.c_out, handle.dtype)
    start = int(ffi.cast("uintptr_t", handle.packed)) - address(handle._memory) if size else 0
    return memoryview(handle._memory).cast("B")[start : start + size]


# Attention.


def _scale(op: str, scale: Any, head_size: int) -> float:
    return float(lib.sqz_attention_scale(head_size)) if scale is None else check.real(op, "scale", scale)


def _equal_offsets(op: str, name: str, batch: int, length: int) -> Any:
    """0, length, 2 length, ..."""
    if batch * length >= 2**31:
        raise ValueError(f"{op}: {name}: expected fewer than 2^31 rows, got {batch} sequences of {length}")
    return ffi.from_buffer("int32_t[]", array("i", [b * length for b in range(batch + 1)]))


def _attend(op: str, **arguments: Any) -> None:
    """Call sqz_attention_f32; the values keep alive what the struct only points to."""
    raise_for(op, lib.sqz_attention_f32(ffi.new("sqz_attention_args *", arguments)))


def _batched(op: str, q: Any, k: Any, num_heads: Any) -> tuple[Array, Array, dict[str, Any], Shape]:
    """Check q (B, Lq, C) and k (B, Lk, C); return them, what the struct says of them, and (B, heads, Lq, Lk)."""
    queries = _floats(op, "q", q)
    if len(queries.shape) != 3:
        raise ValueError(f"{op}: q: expected shape (B, Lq, C), got {queries.shape}")
    batch, length, channels = queries.shape
    keys = _floats(op, "k", k)
    if len(keys.shape) != 3 or keys.shape[0] != batch or keys.shape[2] != channels:
        raise ValueError(f"{op}: k: expected shape ({batch}, Lk, {channels}), got {keys.shape}")
    heads = check.divisor(op, "num_heads", num_heads, C=channels)
    arguments = {
        "batch": batch,
        "q_offsets": _equal_offsets(op, "q", batch, length),
        "k_offsets": _equal_offsets(op, "k", batch, keys.shape[1]),
        "heads": heads,
        "head_size": channels // heads,
        "ldq": channels,
        "ldk": channels,
        "ldv": channels,
        "ldo": channels,
    }
    return queries, keys, arguments, (batch, heads, length, keys.shape[1])


def attention(
    q: Any,
    k: Any,
    v: Any,
    num_heads: int,
    cu_seqlens: Any,
    cu_seqlens_q: Any,
    cu_seqlens_k: Any,
    mask: Any,
    scale: float | None,
    fully_masked: str,
    out: Any,
) -> Any:
    """See `squeezeops.attention`."""
    op = "attention"
    if not (cu_seqlens is cu_seqlens_q is cu_seqlens_k is None):
        return _attention_ragged(
            q, k, v, num_heads, cu_seqlens, cu_seqlens_q, cu_seqlens_k, mask, scale, fully_masked, out
        )
    queries, keys, arguments, shape = _batched(op, q, k, num_heads)
    values = _floats(op, "v", v)
    _check_shape(op, "v", values, keys.shape)
    keep = Mask(op, mask, shape, "bool", "float32")
    scale = _scale(op, scale, arguments["head_size"])
    word = _fully_masked(op, fully_masked)
    inputs = {"q": queries, "k": keys, "v": values, "mask": keep.given}
    result, y = output(op, out, queries.shape, inputs)
    _attend(
        op,
        **arguments,
        q=queries.pointer,
        k=keys.pointer,
        v=values.pointer,
        mask=keep.pointer,
        mask_kind=keep.kind,
        mask_strides=keep.strides(),
        scale=scale,
        fully_masked=word,
        out=y.pointer,
    )
    return result


def attention_scores(q: Any, k: Any, num_heads: int, mask: Any, scale: float | None, out: Any) -> Any:
    """See `squeezeops.attention_scores`."""
    op = "attention_scores"
    queries, keys, arguments, shape = _batched(op, q, k, num_heads)
    keep = Mask(op, mask, shape, "bool", "float32")
    scale = _scale(op, scale, arguments["head_size"])
    result, y = output(op, out, shape, {"q": queries, "k": keys, "mask": keep.given})
    if math.prod(shape):
        _attend(
            op,
            **arguments,
            q=queries.pointer,
            k=keys.pointer,
            mask=keep.pointer,
            mask_kind=keep.kind,
            mask_strides=keep.strides(),
            scale=scale,
            scores=y.pointer,
        )
    return result


def _offsets(op: str, name: str, value: Any, total: int) -> tuple[Array, list[int]]:
    """Where the sequences of ragged rows begin, and their total."""
    given = Array(op, name, value, "int32")
    if len(given.shape) != 1 or given.shape[0] == 0:
        raise ValueError(f"{op}: {name}: expected shape (batch + 1,), got {given.shape}")
    numbers = memoryview(given.view.tobytes()).cast("i").tolist()
    return given, check.offsets(op, name, numbers, total)


def _attention_ragged(
    q: Any,
    k: Any,
    v: Any,
    num_heads: int,
    cu_seqlens: Any,
    cu_seqlens_q: Any,
    cu_seqlens_k: Any,
    mask: Any,
    scale: float | None,
    fully_masked: str,
    out: Any,
) -> Any:
    """`attention` of a ragged batch."""
    op = "attention"
    if cu_seqlens is not None and (cu_seqlens_q is not None or cu_seqlens_k is not None):
        expected = "None next to cu_seqlens_q and cu_seqlens_k"
        raise ValueError(f"{op}: cu_seqlens: expected {expected}, got {check.kind(cu_seqlens)}")
    queries = _floats(op, "q", q)
    if len(queries.shape) != 2:
        raise ValueError(f"{op}: q: expected shape (total, C) with cu_seqlens, got {queries.shape}")
    channels = queries.shape[1]
    keys, values = _floats(op, "k", k), _floats(op, "v", v)
    if cu_seqlens is not None:
        _check_shape(op, "k", keys, queries.shape)
    elif len(keys.shape) != 2 or keys.shape[1] != channels:
        raise ValueError(f"{op}: k: expected shape (total, {channels}), got {keys.shape}")
    _check_shape(op, "v", values, keys.shape)
    heads = check.divisor(op, "num_heads", num_heads, C=channels)
    inputs: dict[str, Array | None] = {"q": queries, "k": keys, "v": values}
    if cu_seqlens is not None:
        inputs["cu_seqlens"], q_offsets = _offsets(op, "cu_seqlens", cu_seqlens, queries.shape[0])
        k_offsets = q_offsets
    else:
        inputs["cu_seqlens_q"], q_offsets = _offsets(op, "cu_seqlens_q", cu_seqlens_q, queries.shape[0])
        inputs["cu_seqlens_k"], k_offsets = _offsets(op, "cu_seqlens_k", cu_seqlens_k, keys.shape[0])
    if len(q_offsets) != len(k_offsets):
        raise ValueError(f"{op}: cu_seqlens_q: expected shape ({len(k_offsets)},), got ({len(q_offsets)},)")
    kept = inputs["mask"] = None if mask is None else Array(op, "mask", mask, "bool", "float32")
    mask_kind = lib.SQZ_MASK_NONE
    if kept is not None:
        _check_shape(op, "mask", kept, keys.shape[:1])
        mask_kind = lib.SQZ_MASK_ADD if kept.kind == "float32" else lib.SQZ_MASK_BOOL
    scale = _scale(op, scale, channels // heads)
    word = _fully_masked(op, fully_masked)
    result, y = output(op, out, queries.shape, inputs)
    _attend(
        op,
        batch=len(k_offsets) - 1,
        q_offsets=ffi.new("int32_t[]", q_offsets),
        k_offsets=ffi.new("int32_t[]", k_offsets),
        heads=heads,
        head_size=channels // heads,
        q=queries.pointer,
        ldq=channels,
        k=keys.pointer,
        ldk=channels,
        v=values.pointer,
        ldv=channels,
        mask=_pointer(kept),
        mask_kind=mask_kind,
        mask_ragged=kept is not None,
        scale=scale,
        fully_masked=word,
        out=y.pointer,
        ldo=channels,
    )
    return result


# Threads and processor.


def set_num_threads(n: int) -> None:
    """See `squeezeops.set_num_threads`; the number is that of the native backend too."""
    op = "set_num_threads"
    raise_for(op, lib.sqz_set_num_threads(check.count(op, "n", n)))


def get_num_threads() -> int:
    """See `squeezeops.get_num_threads`."""
    n = int(lib.sqz_get_num_threads())
    if n < 0:
        raise_for("get_num_threads", lib.SQZ_INVALID)
    return n


def _text(pointer: Any) -> str:
    return str(ffi.string(pointer).decode())


def cpu_info() -> dict[str, Any]:
    """See `squeezeops.cpu_info`."""
    op = "cpu_info"
    chosen = lib.sqz_isa_chosen()
    if chosen == ffi.NULL:
        raise_for(op, lib.SQZ_UNSUPPORTED)
    states = {_text(lib.sqz_isa_name(i)): lib.sqz_isa_get_state(i) for i in range(lib.sqz_isa_count())}
    why = {
        lib.SQZ_ISA_NOT_COMPILED: "left out of this build: the compiler lacks it",
        lib.SQZ_ISA_NOT_ON_CPU: "not supported by this processor or operating system",
    }
    kernels = {}
    kernel = ffi.new("sqz_kernel_info *")
    for i in range(lib.sqz_kernel_count()):
        raise_for(op, lib.sqz_kernel_get_info(i, kernel))
        if kernel.in_use:
            dtype = _text(kernel.dtype)
            kernels[_text(kernel.op) + ("" if dtype == "f32" else f"_{dtype}")] = _text(kernel.symbol)
    return {
        "isas": [name for name, state in states.items() if state == lib.SQZ_ISA_RUNNABLE],
        "compiled": [name for name, state in states.items() if state != lib.SQZ_ISA_NOT_COMPILED],
        "missing": {name: why[state] for name, state in states.items() if state != lib.SQZ_ISA_RUNNABLE},
        "isa": _text(chosen),
        "kernels": kernels,
    }
