"""The table of benchmarks: for each op, how to make its inputs at a shape, how to call it, what it computes and moves.

A row of the kernels' registry without a row here fails ``tests/test_registry.py``.
"""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from squeezeops import ops
from squeezeops.benchmark.shapes import LARGEST, Shape
from squeezeops.packing import pack_table

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["COLD_BYTES", "OPS", "Case", "Op", "floats", "op_of"]

COLD_BYTES = 128 * 2**20  # more than the last cache of most processors
MOST_COPIES = 2**14  # of a weight; with a smaller one, the time would go into Python's own objects
FLOAT = 4  # bytes
ID = 8


class Case(NamedTuple):
    """An op with its inputs."""

    call: Callable[[], object]  # runs it once, on the backend in force
    bytes: int  # what must move: every input and output once
    flops: int = 0  # two a multiply-add; 0 for the ops that are judged by their bytes


@dataclass(frozen=True)
class Op:
    """A row of the table.

    Attributes
    ----------
    name : str
        As the command calls it.
    kernel, dtype : str
        The rows of the kernels' registry that it runs.
    unit : str
        What it is judged by: "GFLOP/s", "GOP/s" (of products of bytes) or "GB/s".
    make : callable
        Makes the `Case` of a shape, for the backend in force; its parameters are the sizes. One named ``cold`` is no
        size: it asks for weights that are in no cache.
    function : str, optional
        The function or class of `squeezeops.ops`, where that has another name.
    """

    name: str
    kernel: str
    dtype: str
    unit: str
    make: Callable[..., Case]
    function: str | None = None

    @property
    def parameters(self) -> dict[str, inspect.Parameter]:
        """The sizes and words of a shape."""
        given = inspect.signature(self.make, eval_str=True).parameters
        return {name: parameter for name, parameter in given.items() if name != "cold"}

    @property
    def has_weights(self) -> bool:
        """Whether it makes a difference that the weights are in a cache."""
        return "cold" in inspect.signature(self.make).parameters

    def check(self, shape: Shape) -> Shape:
        """Return a shape with the defaults of what it leaves out.

        Raises
        ------
        ValueError
            If a size is missing, unknown or no number from 1 on (0 for one that may be left out).
        """
        known = self.parameters
        for name, value in shape.items():
            if name not in known:
                raise ValueError(f"{self.name}: expected sizes among {', '.join(known)}, got {name!r}")
            least = 0 if known[name].default == 0 else 1
            if known[name].annotation is not str and not (isinstance(value, int) and least <= value <= LARGEST):
                raise ValueError(f"{self.name}: {name}: expected a number from {least} to {LARGEST}, got {value!r}")
        full = {name: shape.get(name, parameter.default) for name, parameter in known.items()}
        missing = [name for name, value in full.items() if value is inspect.Parameter.empty]
        if missing:
            raise ValueError(f"{self.name}: expected sizes {', '.join(known)}, got none for {', '.join(missing)}")
        return full


def floats(*shape: int, dtype: str = "float32") -> NDArray[Any]:
    """Normally distributed numbers, the same ones each time; a large array repeats them."""
    block = np.random.default_rng(0).standard_normal(min(math.prod(shape), 99_991), np.float32)
    return np.resize(block.astype(dtype), shape)


def _ids(count: int, rows: int) -> NDArray[np.int64]:
    return np.random.default_rng(1).integers(0, rows, count)


def _table(name: str, rows: int, channels: int, dtype: str) -> NDArray[Any]:
    if dtype == "int8":
        return pack_table(*ops.quantize_rows(floats(rows, channels)), channels=channels)
    if dtype not in ("float32", "float16"):
        raise ValueError(f"{name}: table: expected float32, float16 or int8, got {dtype!r}")
    return floats(rows, channels, dtype=dtype)


# Each writes to an array made beforehand, as a new one for each call would be timed with its page faults.


WEIGHT_BYTES = {"float32": 4, "float16": 2, "int8": 1}


def _convolution(
    name: str,
    dtype: str,
    tokens: int,
    c_in: int,
    c_out: int,
    groups: int,
    activation: str,
    residual: int,
    cold: bool,
    quantized: int = 0,
) -> Case:
    function = None if activation == "none" else activation
    if c_in % groups:
        raise ValueError(f"{name}: groups: expected a divisor of c_in = {c_in}, got {groups}")
    weight, bias, x = floats(c_out, c_in // groups), floats(c_out), floats(tokens, c_in)
    added = floats(tokens, c_out) if residual else None
    given = ops.quantize_rows(x, groups=groups) if quantized else x
    out = np.empty((tokens, c_out), np.float32)
    size = weight.size * WEIGHT_BYTES[dtype]
    copies = -(-COLD_BYTES // size) if cold else 1
    if copies > MOST_COPIES:
        raise ValueError(f"{name}: cold: expected a weight of at least {COLD_BYTES // MOST_COPIES} bytes, got {size}")
    convs = itertools.cycle([ops.PointwiseConv(weight, bias, groups=groups, dtype=dtype) for _ in range(copies)])
    read = tokens * (c_in + FLOAT * groups) if quantized else FLOAT * tokens * c_in
    return Case(
        lambda: next(convs)(given, activation=function, residual=added, out=out),
        bytes=size + read + FLOAT * (c_out + tokens * c_out * (2 if residual else 1)),
        flops=2 * tokens * weight.size,
    )


def _pointwise_conv(
    tokens: int, c_in: int, c_out: int, groups: int = 1, activation: str = "none", residual: int = 0, cold: bool = False
) -> Case:
    """Packed weights and a bias. `residual`: 1 to add one."""
    return _convolution("pointwise_conv", "float32", tokens, c_in, c_out, groups, activation, residual, cold)


def _pointwise_conv_float16(
    tokens: int, c_in: int, c_out: int, groups: int = 1, activation: str = "none", residual: int = 0, cold: bool = False
) -> Case:
    name = "pointwise_conv_float16"
    return _convolution(name, "float16", tokens, c_in, c_out, groups, activation, residual, cold)


def _pointwise_conv_int8(
    tokens: int,
    c_in: int,
    c_out: int,
    groups: int = 1,
    activation: str = "none",
    residual: int = 0,
    quantized: int = 0,
    cold: bool = False,
) -> Case:
    """The input comes as float32, and its quantisation is a part of the time; or, with `quantized` 1, as bytes."""
    name = "pointwise_conv_int8"
    return _convolution(name, "int8", tokens, c_in, c_out, groups, activation, residual, cold, quantized)


def _quantize_rows(tokens: int, channels: int, groups: int = 1) -> Case:
    x = floats(tokens, channels)
    if channels % groups:
        raise ValueError(f"quantize_rows: groups: expected a divisor of channels = {channels}, got {groups}")
    moved = x.nbytes + tokens * (channels + FLOAT * groups)
    return Case(lambda: ops.quantize_rows(x, groups=groups).values, bytes=moved)


def _attention(batch: int, tokens: int, channels: int, heads: int) -> Case:
    """Sequences of equal length without a mask. The two matrix products count, the softmax between them does not."""
    q, k, v = (floats(batch, tokens, channels) for _ in range(3))
    out = np.empty_like(q)
    return Case(
        lambda: ops.attention(q, k, v, num_heads=heads, out=out),
        bytes=4 * q.nbytes,
        flops=4 * batch * tokens * tokens * channels,
    )


def _layer_norm(tokens: int, channels: int) -> Case:
    x, weight, bias = floats(tokens, channels), floats(channels), floats(channels)
    out = np.empty_like(x)
    return Case(lambda: ops.layer_norm(x, weight, bias, out=out), bytes=2 * x.nbytes + 2 * weight.nbytes)


def _l2_normalize(rows: int, channels: int) -> Case:
    x = floats(rows, channels)
    out = np.empty_like(x)
    return Case(lambda: ops.l2_normalize(x, out=out), bytes=2 * x.nbytes)


def _softmax(rows: int, columns: int) -> Case:
    x = floats(rows, columns)
    out = np.empty_like(x)
    return Case(lambda: ops.softmax(x, out=out), bytes=2 * x.nbytes)


def _gelu(tokens: int, channels: int, approximate: str = "none") -> Case:
    x = floats(tokens, channels)
    out = np.empty_like(x)
    return Case(lambda: ops.gelu(x, approximate=approximate, out=out), bytes=2 * x.nbytes)


def _tanh(tokens: int, channels: int) -> Case:
    x = floats(tokens, channels)
    out = np.empty_like(x)
    return Case(lambda: ops.tanh(x, out=out), bytes=2 * x.nbytes)


def _mean_pool(batch: int, tokens: int, channels: int) -> Case:
    x = floats(batch, tokens, channels)
    out = np.empty((batch, channels), np.float32)
    return Case(lambda: ops.mean_pool(x, out=out), bytes=x.nbytes + out.nbytes)


def _embedding(tokens: int, vocabulary: int, channels: int, table: str = "float32") -> Case:
    ids, words = _ids(tokens, vocabulary), _table("embedding", vocabulary, channels, table)
    out = np.empty((tokens, channels), np.float32)
    moved = tokens * (ID + words.strides[0] + FLOAT * channels)
    return Case(lambda: ops.embedding(ids, words, out=out), bytes=moved)


def _embedding_layer_norm(tokens: int, vocabulary: int, positions: int, channels: int, table: str = "float32") -> Case:
    """A text without a second sentence."""
    name = "embedding_layer_norm"
    words, places, types = (_table(name, rows, channels, table) for rows in (vocabulary, positions, 2))
    ids, place_ids, type_ids = _ids(tokens, vocabulary), np.arange(tokens) % positions, np.zeros(tokens, np.int64)
    weight, bias = floats(channels), floats(channels)
    out = np.empty((tokens, channels), np.float32)
    moved = tokens * (3 * (ID + words.strides[0]) + FLOAT * channels) + 2 * FLOAT * channels
    return Case(
        lambda: ops.embedding_layer_norm(ids, words, place_ids, places, type_ids, types, weight, bias, out=out),
        bytes=moved,
    )


OPS = (
    Op("pointwise_conv", "pwconv", "f32", "GFLOP/s", _pointwise_conv),
    Op("pointwise_conv_float16", "pwconv", "f16", "GFLOP/s", _pointwise_conv_float16, "PointwiseConv"),
    Op("pointwise_conv_int8", "pwconv", "s8", "GOP/s", _pointwise_conv_int8, "PointwiseConv"),
    Op("quantize_rows", "quantize_rows", "s8", "GB/s", _quantize_rows),
    Op("attention", "attention", "f32", "GFLOP/s", _attention),
    Op("layer_norm", "layer_norm", "f32", "GB/s", _layer_norm),
    Op("softmax", "softmax", "f32", "GB/s", _softmax),
    Op("gelu", "activation", "f32", "GB/s", _gelu),
    Op("tanh", "activation", "f32", "GB/s", _tanh),
    Op("embedding_layer_norm", "embedding_layer_norm", "f32", "GB/s", _embedding_layer_norm),
    Op("embedding", "embedding", "f32", "GB/s", _embedding),
    Op("mean_pool", "mean_pool", "f32", "GB/s", _mean_pool),
    Op("l2_normalize", "l2_normalize", "f32", "GB/s", _l2_normalize),
)


def op_of(name: str) -> Op:
    """Return the row of an op.

    Raises
    ------
    ValueError
        If there is none.
    """
    for op in OPS:
        if op.name == name:
            return op
    raise ValueError(f"expected one of {', '.join(op.name for op in OPS)}, got {name!r}")
