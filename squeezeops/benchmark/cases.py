"""The table of benchmarks. An entry says how to call an op, what the call computes and moves, and the model's shapes.

There is one entry per kernel (op and dtype) and public name; a kernel without one fails a test. Reading the table
imports no NumPy, so that ``squeezeops bench --help`` can list the ops without it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from squeezeops import ops

if TYPE_CHECKING:
    from inspect import Parameter

    from numpy.typing import NDArray

__all__ = ["COLD_BYTES", "OPS", "Case", "Op", "Shape", "copies", "describe", "floats", "op_of", "parse"]

COLD_BYTES = 128 * 2**20  # larger than the last-level cache of most processors
MAX_COPIES = 2**14  # more copies of a small weight would mostly measure Python's own objects
LARGEST = 2**31 - 1
FLOAT = 4  # bytes
PAGE = 4096
ID = 8
WEIGHT_BYTES = {"float32": 4, "float16": 2, "int8": 1}

Shape = dict[str, int | str]  # arguments of an op's maker: sizes, and words such as an activation
Function = Callable[..., Any]  # a function of `squeezeops.ops`, or what is called in its place


# ---- shapes ----------------------------------------------------------------------------------------------------------


def parse(text: str) -> Shape:
    """Read a shape as `describe` writes it: ``tokens=64,c_in=768``. Raises ValueError."""
    pairs = [tuple(map(str.strip, part.partition("="))) for part in text.split(",")]
    if not all(name and equals and value for name, equals, value in pairs):
        raise ValueError(f"expected a shape such as tokens=64,channels=768, got {text!r}")
    names = [name for name, _, _ in pairs]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"expected each size once, got {name} twice in {text!r}")
    return {name: int(value) if value.isascii() and value.isdigit() else value for name, _, value in pairs}


def describe(shape: Shape) -> str:
    """Write a shape as one word, for `parse`."""
    return ",".join(f"{name}={value}" for name, value in shape.items())


# ---- an entry --------------------------------------------------------------------------------------------------------


class Case(NamedTuple):
    """An op with its inputs."""

    call: Callable[[], object]  # runs the op once, on the current backend
    bytes: int  # that must move: each input and output once
    flops: int = 0  # two per multiply-add; 0 for ops that are limited by memory


class _WrongShape(ValueError):
    """Sizes that do not fit together; the entry puts its name before the message."""


class Op(NamedTuple):
    """An entry of the table.

    The maker builds a `Case` of the function it is given: the public one, or what is measured in its place. Its other
    parameters are the sizes of a shape, except one named ``cold``, which asks for weights that are in no cache.
    """

    name: str  # on the command line
    kernel: str  # op and dtype in the library's kernel table
    dtype: str
    unit: str  # of the rate: "GFLOP/s", "GOP/s" (int8 products) or "GB/s"
    maker: Callable[..., Case]
    rows: Sequence[tuple[int | str, ...]]  # SqueezeBERT-base's shapes, as arguments of the maker
    fixed: Mapping[str, Any] = {}  # arguments that distinguish this entry from others with the same maker
    function: str | None = None  # of `squeezeops.ops`, if it has another name

    @property
    def parameters(self) -> dict[str, Parameter]:
        """The sizes and words of a shape, in order."""
        import inspect  # slow to import, and --help does not need it

        _, *given = inspect.signature(self.maker, eval_str=True).parameters.items()
        return {name: parameter for name, parameter in given if name not in ("cold", *self.fixed)}

    @property
    def shapes(self) -> list[Shape]:
        """The model's shapes, without what they leave at its default."""
        return [dict(zip(self.parameters, row, strict=False)) for row in self.rows]

    @property
    def has_weights(self) -> bool:
        """Whether the weights can be cold."""
        return "cold" in self.maker.__annotations__

    @property
    def int8(self) -> bool:
        """Whether the rate counts int8 products."""
        return self.unit == "GOP/s"

    @property
    def public(self) -> Function:
        """The function or class of `squeezeops.ops` that is measured."""
        return getattr(ops, self.function or self.name)  # type: ignore[no-any-return]

    def make(
        self,
        *sizes: int | str,
        cold: bool = False,
        function: Function | None = None,
        **shape: int | str,
    ) -> Case:
        """Build the inputs for the current backend, or for a `function` that is called as the public one is.

        Raises ValueError if sizes do not fit together, or a word is unknown.
        """
        given = {**shape, **self.fixed, **({"cold": cold} if self.has_weights else {})}
        try:
            return self.maker(function or self.public, *sizes, **given)
        except _WrongShape as error:
            raise ValueError(f"{self.name}: {error}") from None

    def check(self, shape: Shape) -> Shape:
        """Return the shape with defaults filled in. Raises ValueError if a size is missing, unknown or out of range."""
        known = self.parameters
        for name, value in shape.items():
            if name not in known:
                raise ValueError(f"{self.name}: expected sizes among {', '.join(known)}, got {name!r}")
            least = 0 if known[name].default == 0 else 1
            if known[name].annotation is not str and not (isinstance(value, int) and least <= value <= LARGEST):
                raise ValueError(f"{self.name}: {name}: expected a number from {least} to {LARGEST}, got {value!r}")
        full = {name: shape.get(name, parameter.default) for name, parameter in known.items()}
        missing = [name for name, value in full.items() if value is known[name].empty]
        if missing:
            raise ValueError(f"{self.name}: expected sizes {', '.join(known)}, got none for {', '.join(missing)}")
        return full


# ---- inputs ----------------------------------------------------------------------------------------------------------


def _room(shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
    """Return uninitialised memory that begins a page, as most of a model's does.

    NumPy's begins 16 bytes after a cache line, at a place in its page that differs by process, and so do the times.
    """
    import numpy as np

    count, width = math.prod(shape), np.dtype(dtype).itemsize
    memory = np.empty(count + PAGE // width, dtype)
    start = -memory.__array_interface__["data"][0] % PAGE // width
    return memory[start : start + count].reshape(shape)


def _in_pages(array: NDArray[Any]) -> NDArray[Any]:
    room = _room(array.shape, str(array.dtype))
    room[...] = array
    return room


def _quantized(x: NDArray[Any], groups: int) -> ops.QuantizedRows:
    values, scales = ops.quantize_rows(x, groups=groups)
    return ops.QuantizedRows(_in_pages(values), _in_pages(scales))


def floats(*shape: int, dtype: str = "float32") -> NDArray[Any]:
    """Return normally distributed numbers, the same ones each time. A large array repeats them."""
    import numpy as np

    block = np.random.default_rng(0).standard_normal(min(math.prod(shape), 99_991), np.float32)
    return _in_pages(np.resize(block.astype(dtype), shape))


def copies(weight_bytes: int, cold: bool) -> int:
    """Return how many copies of a weight exceed every cache; 1 if it may stay in one."""
    return -(-COLD_BYTES // weight_bytes) if cold else 1


# An allocation inside the timed call would add its page faults to the time, so each maker allocates the output. It is
# NaN, so that a function that writes nothing is found.
def _empty(*shape: int) -> NDArray[Any]:
    room = _room(shape, "float32")
    room.fill(math.nan)
    return room


def _ids(values: Iterable[int]) -> NDArray[Any]:
    import numpy as np

    return np.fromiter(values, np.int64)


def _random_ids(count: int, rows: int) -> NDArray[Any]:
    import numpy as np

    return np.random.default_rng(1).integers(0, rows, count)


def _table(rows: int, channels: int, dtype: str) -> NDArray[Any]:
    if dtype == "int8":
        from squeezeops.packing import pack_table

        return pack_table(*ops.quantize_rows(floats(rows, channels)), channels=channels)
    if dtype not in ("float32", "float16"):
        raise _WrongShape(f"table: expected float32, float16 or int8, got {dtype!r}")
    return floats(rows, channels, dtype=dtype)


# ---- makers ----------------------------------------------------------------------------------------------------------


def _pointwise_conv(
    conv: Function,
    tokens: int,
    c_in: int,
    c_out: int,
    groups: int = 1,
    activation: str = "none",
    residual: int = 0,
    quantized: int = 0,
    *,
    dtype: str,
    cold: bool,
) -> Case:
    """Packed weights and a bias. `residual` 1 adds one. `quantized` 1 passes int8 rows, else the call quantises."""
    if c_in % groups:
        raise _WrongShape(f"groups: expected a divisor of c_in = {c_in}, got {groups}")
    weight, bias, x, out = floats(c_out, c_in // groups), floats(c_out), floats(tokens, c_in), _empty(tokens, c_out)
    size = weight.size * WEIGHT_BYTES[dtype]
    count = copies(size, cold)
    if count > MAX_COPIES:
        raise _WrongShape(f"cold: expected a weight of at least {COLD_BYTES // MAX_COPIES} bytes, got {size}")
    convs = itertools.cycle([conv(weight, bias, groups=groups, dtype=dtype) for _ in range(count)])
    given = _quantized(x, groups) if quantized else x
    function, added = None if activation == "none" else activation, floats(tokens, c_out) if residual else None
    read = tokens * (c_in + FLOAT * groups) if quantized else FLOAT * tokens * c_in
    return Case(
        lambda: next(convs)(given, activation=function, residual=added, out=out),
        bytes=size + read + FLOAT * (c_out + tokens * c_out * (2 if residual else 1)),
        flops=2 * tokens * weight.size,
    )


def _quantize_rows(f: Function, tokens: int, channels: int, groups: int = 1) -> Case:
    x = floats(tokens, channels)
    out = _quantized(x, groups)
    out.values.fill(0)
    out.scales.fill(math.nan)
    return Case(lambda: f(x, groups=groups, out=out), x.nbytes + tokens * (channels + FLOAT * groups))


def _attention(f: Function, batch: int, tokens: int, channels: int, heads: int) -> Case:
    """Sequences of equal length, no mask. The two matrix products count as flops; the softmax does not."""
    q, k, v = (floats(batch, tokens, channels) for _ in range(3))
    out = _empty(*q.shape)
    flops = 4 * batch * tokens * tokens * channels
    return Case(lambda: f(q, k, v, num_heads=heads, out=out), 4 * q.nbytes, flops)


def _attention_int8(f: Function, batch: int, tokens: int, channels: int, heads: int) -> Case:
    """As `_attention`, on quantised rows, with a bias of the values."""
    rows = [_quantized(floats(batch, tokens, channels), heads) for _ in range(3)]
    bias, out = floats(channels), _empty(batch, tokens, channels)
    moved = sum(part.nbytes for part in (*rows[0], *rows[1], *rows[2], bias, out))
    flops = 4 * batch * tokens * tokens * channels
    return Case(lambda: f(*rows, num_heads=heads, value_bias=bias, out=out), moved, flops)


def _layer_norm(f: Function, tokens: int, channels: int) -> Case:
    x, weight, bias, out = floats(tokens, channels), floats(channels), floats(channels), _empty(tokens, channels)
    return Case(lambda: f(x, weight, bias, out=out), 2 * x.nbytes + 2 * weight.nbytes)


def _rms_norm(f: Function, rows: int, channels: int) -> Case:
    x, weight, out = floats(rows, channels), floats(channels), _empty(rows, channels)
    return Case(lambda: f(x, weight, out=out), 2 * x.nbytes + weight.nbytes)


def _softmax(f: Function, rows: int, columns: int) -> Case:
    x, out = floats(rows, columns), _empty(rows, columns)
    return Case(lambda: f(x, out=out), 2 * x.nbytes)


def _gelu(f: Function, tokens: int, channels: int, approximate: str = "none") -> Case:
    x, out = floats(tokens, channels), _empty(tokens, channels)
    return Case(lambda: f(x, approximate=approximate, out=out), 2 * x.nbytes)


def _tanh(f: Function, tokens: int, channels: int) -> Case:
    x, out = floats(tokens, channels), _empty(tokens, channels)
    return Case(lambda: f(x, out=out), 2 * x.nbytes)


def _embedding_layer_norm(
    f: Function, tokens: int, vocabulary: int, positions: int, channels: int, table: str = "float32"
) -> Case:
    """A text without a second sentence."""
    words, places, types = (_table(rows, channels, table) for rows in (vocabulary, positions, 2))
    ids, place_ids = _random_ids(tokens, vocabulary), _ids(t % positions for t in range(tokens))
    type_ids = _ids(0 for _ in range(tokens))
    weight, bias, out = floats(channels), floats(channels), _empty(tokens, channels)
    return Case(
        lambda: f(ids, words, place_ids, places, type_ids, types, weight, bias, out=out),
        tokens * (3 * (ID + words.strides[0]) + FLOAT * channels) + 2 * FLOAT * channels,
    )


def _embedding(f: Function, tokens: int, vocabulary: int, channels: int, table: str = "float32") -> Case:
    ids, words, out = _random_ids(tokens, vocabulary), _table(vocabulary, channels, table), _empty(tokens, channels)
    return Case(lambda: f(ids, words, out=out), tokens * (ID + words.strides[0] + FLOAT * channels))


def _mean_pool(f: Function, batch: int, tokens: int, channels: int) -> Case:
    x, out = floats(batch, tokens, channels), _empty(batch, channels)
    return Case(lambda: f(x, out=out), x.nbytes + out.nbytes)


def _l2_normalize(f: Function, rows: int, channels: int) -> Case:
    x, out = floats(rows, channels), _empty(rows, channels)
    return Case(lambda: f(x, out=out), 2 * x.nbytes)


# ---- the table -------------------------------------------------------------------------------------------------------

TOKENS = (16, 32, 128, 384)
LAYER = (
    (768, 768, 4, "none", 0),  # query, key and value
    (768, 768, 1, "none", 1),  # after attention
    (768, 3072, 4, "gelu", 0),
    (3072, 768, 4, "none", 1),
)
CONVOLUTIONS = [(1, 768, 768, 1, "tanh", 0), *((t, *c) for t in TOKENS for c in LAYER)]  # the first is the pooler
QUANTIZED = [(t, *c) for t in TOKENS for c in ((768, 4), (768, 1), (3072, 4))]
ROWS = [(t, 768) for t in TOKENS]
HEADS = [(1, t, 768, 12) for t in TOKENS]
FLOAT32, FLOAT16 = {"dtype": "float32", "quantized": 0}, {"dtype": "float16", "quantized": 0}
INT8 = {"dtype": "int8"}

OPS = (
    Op("pointwise_conv", "pwconv", "f32", "GFLOP/s", _pointwise_conv, CONVOLUTIONS, FLOAT32, "PointwiseConv"),
    Op("pointwise_conv_float16", "pwconv", "f16", "GFLOP/s", _pointwise_conv, CONVOLUTIONS, FLOAT16, "PointwiseConv"),
    Op("pointwise_conv_int8", "pwconv", "s8", "GOP/s", _pointwise_conv, CONVOLUTIONS, INT8, "PointwiseConv"),
    Op("quantize_rows", "quantize_rows", "s8", "GB/s", _quantize_rows, QUANTIZED),
    Op("attention", "attention", "f32", "GFLOP/s", _attention, HEADS),
    Op("attention_int8", "attention", "s8", "GOP/s", _attention_int8, HEADS, {}, "attention"),
    Op("layer_norm", "layer_norm", "f32", "GB/s", _layer_norm, ROWS),
    Op("rms_norm", "rms_norm", "f32", "GB/s", _rms_norm, [(128, 768), (128, 2048), (1, 4096)]),  # as in Llama
    Op("softmax", "softmax", "f32", "GB/s", _softmax, [(12 * t, t) for t in TOKENS]),
    Op("gelu", "activation", "f32", "GB/s", _gelu, [(t, 3072) for t in TOKENS]),
    Op("tanh", "activation", "f32", "GB/s", _tanh, ROWS),
    Op("embedding_layer_norm", "embedding_layer_norm", "f32", "GB/s", _embedding_layer_norm,
       [(t, 30528, 512, 768, "float16") for t in TOKENS]),
    Op("embedding", "embedding", "f32", "GB/s", _embedding, [(t, 30528, 768, "float16") for t in TOKENS]),
    Op("mean_pool", "mean_pool", "f32", "GB/s", _mean_pool, [(1, t, 768) for t in TOKENS]),
    Op("l2_normalize", "l2_normalize", "f32", "GB/s", _l2_normalize, [(1, 768), (32, 768)]),
)  # fmt: skip


def op_of(name: str) -> Op:
    """Return the entry of that name. Raises ValueError if there is none."""
    for op in OPS:
        if op.name == name:
            return op
    raise ValueError(f"expected one of {', '.join(op.name for op in OPS)}, got {name!r}")
