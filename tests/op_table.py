"""The table of ops under test: how to call each one, its result in float64, and the sizes and options to try.

One entry gives an op all common tests: those of test_ops.py, and those of test_float_environment.py, test_numba.py,
test_registry.py and test_threads.py that need a call of every op. What is special to an op has a file of its own.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator
from op_helpers import (
    ACTIVATIONS64,
    UNIT,
    Guards,
    assert_repeats,
    assert_same_bits,
    assert_within,
    isas_with,
    mask_parts,
    normal,
    parts,
    softmax64,
    variants_on,
)

from squeezeops import ops
from squeezeops.packing import pack_table

F = np.float32
ROWS = (0, 1, 2, 5, 6, 7, 8, 9, 13, 17)  # around tiles of 6 and 8 rows
# Around vectors of 4, 8 and 16 lanes, and tiles of 48 columns.
CHANNELS = (0, 1, 2, 3, 7, 8, 15, 16, 17, 31, 32, 33, 47, 48, 49, 63, 64, 65, 96)  # fmt: skip

Arguments = dict[str, Any]
# The expected result and the bound of its error: None if another op gives the same bits, 0 if all bits are known.
Expected = tuple[Any, Any]


class OpCase(NamedTuple):
    """An entry of the table."""

    name: str
    kernel: str  # op and dtype in the table of kernels
    call: Callable[..., Any]  # with arguments by name
    make: Callable[..., Arguments]  # the arguments, from a generator, a number of rows and one of `sizes`
    reference: Callable[..., Expected]  # from the same arguments
    sizes: Sequence[tuple[Any, ...]]
    typical: tuple[Any, ...]  # the size at which `options` are tried
    # Changes to the arguments: a value, or a function of what was made. The first ones are tried at all sizes.
    at_all_sizes: Sequence[Arguments] = ({},)
    options: Sequence[Arguments] = ()
    rows: Sequence[int] = ROWS
    by_row: tuple[str, ...] = ("x",)  # the arguments whose first axis is the rows
    # Numbers of rows, and sizes, that are worth several threads.
    large: Sequence[tuple[int, tuple[Any, ...]]] = ()
    leading: bool = True  # whether the rows may have any number of axes
    in_place: bool = False  # whether `out` may be x

    def arguments(self, rng: Generator, rows: int, size: tuple[Any, ...] | None = None, **changes: Any) -> Arguments:
        made = self.make(rng, rows, *(self.typical if size is None else size))
        changed = {name: value(made[name]) if callable(value) else value for name, value in changes.items()}
        return made | changed

    def calls(self, rng: Generator, rows: int = 7) -> Iterator[Arguments]:
        """The arguments of each option at the typical size."""
        return (self.arguments(rng, rows, **changes) for changes in (*self.at_all_sizes, *self.options))

    def check(self, guards: Guards, **arguments: Any) -> Any:
        """Call the op between guard bands, compare with the reference, and return the result."""
        with np.errstate(all="ignore"):
            expected, bound = self.reference(**arguments)
        result = guards.call(self.call, **arguments, in_place=self.in_place)
        for part, wanted in zip(parts(result), expected if isinstance(expected, tuple) else [expected], strict=True):
            if bound is None:
                assert_repeats(part, wanted)
            elif isinstance(bound, int):
                assert_same_bits(part, wanted)
            else:
                assert_within(part, wanted, bound)
        return result

    def variants(self) -> list[Any]:
        return variants_on(isas_with(self.kernel))


def times(factor: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda x: x * F(factor)


def plus(number: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda x: x + F(number)


def with_tiny_rows(x: np.ndarray) -> np.ndarray:
    """Every third row has values near the smallest normal number: products and squares are subnormal."""
    x = x.copy()
    x[::3] *= F(1e-38)
    return x


def subsets(*names: str) -> list[Arguments]:
    """Changes that omit each combination of optional arguments."""
    counts = range(len(names) + 1)
    return [dict.fromkeys(omitted) for count in counts for omitted in itertools.combinations(names, count)]


# Row-wise ops: normalisations, softmax, activations.


def make_rows(*names: str, scale: float = 1) -> Callable[..., Arguments]:
    """Arguments among x, residual, weight, bias and mask."""

    def make(rng: Generator, rows: int, channels: int) -> Arguments:
        mask = rng.random((rows, channels)) < 0.6
        mask[2:3] = False
        made = {
            "x": normal(rng, rows, channels) * F(scale),
            "residual": normal(rng, rows, channels),
            "weight": normal(rng, channels) + 1,
            "bias": normal(rng, channels),
            "mask": mask,
        }
        return {name: made[name] for name in names}

    return make


def layer_norm64(x, weight=None, bias=None, *, eps=1e-5, residual=None) -> Expected:
    """The bound: 3e-6 relative to a normalised value, at least 1, however far the mean is from zero."""
    s = (x if residual is None else x + residual).astype(float)
    n = max(s.shape[-1], 1)
    mean = s.sum(axis=-1, keepdims=True) / n
    deviation = np.sqrt(((s - mean) ** 2).sum(axis=-1, keepdims=True) / n + float(F(eps)))
    normalised = (s - mean) / deviation
    w = 1.0 if weight is None else weight.astype(float)
    b = 0.0 if bias is None else bias.astype(float)
    bound = 3e-6 * np.maximum(1, np.abs(normalised)) * np.abs(w)
    return normalised * w + b, bound + 2 * UNIT * np.abs(b) + 1e-30


def rms_norm64(x, weight=None, *, eps=1e-6, residual=None) -> Expected:
    """The bound: one rounding per term of a partial sum, and those of what follows the sum."""
    s = (x if residual is None else x + residual).astype(float)
    n = s.shape[-1]
    expected = s / np.sqrt((s * s).sum(axis=-1, keepdims=True) / max(n, 1) + float(F(eps)))
    expected *= 1.0 if weight is None else weight.astype(float)
    return expected, (n / 16 + 12) * UNIT * np.abs(expected) + 2.0**-149


def l2_normalize64(x, *, eps=1e-12) -> Expected:
    """The bound: one rounding per term of a partial sum, and those of tree, root and division."""
    norm = np.sqrt((x.astype(float) ** 2).sum(axis=-1, keepdims=True))
    expected = x / np.maximum(norm, float(F(eps)))
    return expected, (x.shape[-1] / 16 + 8) * UNIT * np.abs(expected) + 2.0**-149


def softmax_of(x, *, axis=-1, mask=None, scale=1.0, fully_masked="uniform") -> Expected:
    """The result in float64 and a bound.

    The bound for the relative error: the absolute error of the scores, which exp turns into a relative one, in both
    numerator and denominator; 2 ULP for exp; the roundings of the sum. Excluded elements are exact.
    """
    excluded, added = mask_parts(mask, x.shape)
    s = x.astype(float) * float(F(scale)) + added
    shown = np.where(excluded | ~np.isfinite(s), 0, np.abs(s) + np.abs(added)).max(axis=axis, keepdims=True, initial=0)
    relative = (4 * shown + x.shape[axis] + 16) * UNIT
    moved = softmax64(np.moveaxis(s, axis, -1), np.moveaxis(excluded, axis, -1), fully_masked)
    expected = np.moveaxis(moved, -1, axis)
    bound = np.where(excluded, 0, relative * expected + 2e-38)
    return np.where(excluded, expected.astype(F), expected), bound


def mask_added(mask: np.ndarray) -> np.ndarray:
    """An additive mask that excludes the same elements."""
    numbers = np.linspace(-3, 3, mask.size, dtype=F).reshape(mask.shape)
    return np.where(mask, numbers, F(-np.inf))


MASKS = ({}, {"mask": None}, {"mask": mask_added})
FULLY_MASKED = ({"fully_masked": "zero"}, {"mask": mask_added, "fully_masked": "zero"})


def gelu64(x, approximate="none") -> Expected:
    y = ACTIVATIONS64["gelu_tanh" if approximate == "tanh" else "gelu"](x)
    return y, (5e-7 if approximate == "tanh" else 2e-7) * np.maximum(1, np.abs(x.astype(float)))


def tanh64(x) -> Expected:
    return np.tanh(x.astype(float)), 3e-7


ROW_OPS = [
    OpCase(
        "layer_norm", "layer_norm_f32", ops.layer_norm, make_rows("x", "weight", "bias", "residual"), layer_norm64,
        sizes=[*((n,) for n in (*CHANNELS, 768, 1000))], typical=(53,), options=[
            *subsets("weight", "bias", "residual"), {"x": with_tiny_rows, "residual": None, "eps": 1e-12},
            *({"x": plus(mean), "eps": 1e-12} for mean in (10, -1e3, 1e6)),
            *({"x": times(scale), "residual": None, "eps": eps}
              for scale in (1e-35, 1e-12, 1e-6, 1e6, 1e15, 5e37) for eps in (1e-40, 1e-12)),
        ],
        by_row=("x", "residual"), in_place=True,
    ),
    OpCase(
        "rms_norm", "rms_norm_f32", ops.rms_norm, make_rows("x", "weight", "residual"), rms_norm64,
        sizes=[*((n,) for n in (*CHANNELS, 768, 1000, 4096))], typical=(53,), at_all_sizes=[{}, {"residual": None}],
        options=[
            {"weight": None}, {"weight": None, "residual": None}, {"x": with_tiny_rows, "residual": None},
            *({"x": times(scale), "residual": None, "eps": eps}
              for scale in (1e-35, 1e-12, 1e-6, 1e6, 1e15, 5e37) for eps in (0, 1e-12, 1e-6)),
        ],
        by_row=("x", "residual"), in_place=True,
    ),
    OpCase(
        "l2_normalize", "l2_normalize_f32", ops.l2_normalize, make_rows("x"), l2_normalize64,
        sizes=[*((n,) for n in (*CHANNELS, 384, 768, 1000))], typical=(53,), options=[
            {"eps": 0}, {"eps": 0.7}, {"eps": 1e30}, {"x": with_tiny_rows, "eps": 1e-35}, {"x": with_tiny_rows},
            *({"x": times(scale), "eps": eps}
              for scale in (1e-35, 1e-15, 1e-6, 1e6, 1e15, 5e37) for eps in (1e-38, 1e-18, 1e-12)),
        ],
        in_place=True,
    ),
    OpCase(
        "softmax", "softmax_f32", ops.softmax, make_rows("x", "mask", scale=4), softmax_of,
        sizes=[*((n,) for n in (*CHANNELS, 81, 127, 512, 1000))], typical=(53,), at_all_sizes=MASKS, options=[
            *FULLY_MASKED, {"x": with_tiny_rows},
            # The nearest float32 is below 0.7: rounding up would change it.
            *({"scale": scale} | mask for scale in (0.0, 0.7, 1 / 3, -2, F(7.5), 3) for mask in MASKS),
        ],
        by_row=("x", "mask"), in_place=True,
    ),
    OpCase(
        "gelu", "activation_f32", ops.gelu, make_rows("x", scale=3), gelu64,
        sizes=[*((n,) for n in (*CHANNELS, 127, 128, 129, 1000))], typical=(53,),
        at_all_sizes=[{}, {"approximate": "tanh"}],
        options=[{"x": with_tiny_rows}, {"x": with_tiny_rows, "approximate": "tanh"}],
        rows=(1, 5), in_place=True,
    ),
    OpCase(
        "tanh", "activation_f32", ops.tanh, make_rows("x", scale=3), tanh64,
        sizes=[*((n,) for n in (*CHANNELS, 127, 128, 129, 1000))], typical=(53,), options=[{"x": with_tiny_rows}],
        rows=(1, 5), in_place=True,
    ),
]  # fmt: skip


# mean_pool.


def mean_of_chain(x: np.ndarray, mask: np.ndarray | None = None) -> Expected:
    """The definition in float32, to the bit: add the rows to +0 in ascending order, then divide."""
    keep = np.broadcast_to(True if mask is None else mask, x.shape[:-1])
    total = np.zeros((*x.shape[:-2], x.shape[-1]), F)
    for position in range(x.shape[-2]):
        total = np.where(keep[..., position, None], total + x[..., position, :], total)
    count = keep.sum(axis=-1)[..., None]
    mean = np.where(count > 0, total / np.maximum(count, 1).astype(F), F(0))
    # One rounding per addition and one for the division.
    kept = np.where(keep[..., None], x, 0).astype(float)
    error = np.abs(mean - kept.sum(axis=-2) / np.maximum(count, 1))
    assert not (error > (count + 1) * UNIT * np.abs(kept).sum(axis=-2) / np.maximum(count, 1) + 2.0**-149).any()
    return mean, 0


def make_pooling(rng: Generator, rows: int, channels: int, length: int) -> Arguments:
    mask = rng.random((rows, length)) < 0.6
    mask[2:3] = False
    return {"x": normal(rng, rows, length, channels) + 1, "mask": mask}


MEAN_POOL = OpCase(
    "mean_pool", "mean_pool_f32", ops.mean_pool, make_pooling, mean_of_chain,
    # Around the number of rows that are added per step.
    sizes=[*itertools.product(CHANNELS, (0, 1, 2, 3, 4, 5, 7, 8, 9, 13)), (384, 128), (768, 50)], typical=(53, 7),
    at_all_sizes=[{}, {"mask": None}], options=[{"x": with_tiny_rows}], rows=(0, 3), by_row=("x", "mask"),
)  # fmt: skip


# Embeddings.


def table_of(floats: np.ndarray, dtype: str) -> np.ndarray:
    if dtype == "int8":
        return pack_table(*ops.quantize_rows(floats), channels=floats.shape[1])
    return floats.astype(dtype)


def dequantized(table: np.ndarray) -> np.ndarray:
    """The float32 values of a table: of an int8 one, a product per element."""
    if table.dtype != np.int8:
        return table.astype(F)
    return table[:, :-4].astype(F) * np.ascontiguousarray(table[:, -4:]).view("<f4")


def make_embedding(rng: Generator, rows: int, channels: int, dtype: str) -> Arguments:
    return {"ids": rng.integers(0, 11, rows), "table": table_of(normal(rng, 11, channels), dtype)}


def embedding_of(ids, table) -> Expected:
    return dequantized(table)[ids], 0


def make_embeddings(rng: Generator, rows: int, channels: int, dtype: str) -> Arguments:
    made = {}
    for prefix, count, stored in (("", 13, dtype), ("position_", 9, "float32"), ("type_", 2, "float16")):
        made[prefix + "ids"] = rng.integers(0, count, rows)
        made[prefix + "table"] = table_of(normal(rng, count, channels), stored)
    return made | {"weight": normal(rng, channels) + 1, "bias": normal(rng, channels)}


def embedding_layer_norm_of(
    ids, table, position_ids, position_table, type_ids, type_table, weight=None, bias=None, *, eps=1e-12
) -> Expected:
    """The additions in float32, in this order, then layer_norm."""
    words, positions, types = dequantized(table), dequantized(position_table), dequantized(type_table)
    return layer_norm64(words[ids] + positions[position_ids], weight, bias, eps=eps, residual=types[type_ids])


TABLES = ("float32", "float16", "int8")
EMBEDDINGS = [
    OpCase(
        "embedding", "embedding_f32", ops.embedding, make_embedding, embedding_of,
        sizes=[*itertools.product(CHANNELS, TABLES)], typical=(53, "float16"),
        at_all_sizes=[{}, {"ids": lambda ids: ids.astype(np.int32)}],
        options=[{"table": lambda table: table.astype(F)}, {"table": lambda table: table_of(table.astype(F), "int8")}],
        rows=(0, 1, 2, 7, 8, 17), by_row=("ids",),
    ),
    OpCase(
        "embedding_layer_norm", "embedding_layer_norm_f32", ops.embedding_layer_norm, make_embeddings,
        embedding_layer_norm_of,
        sizes=[*itertools.product((*CHANNELS, 768), TABLES)], typical=(53, "float16"),
        at_all_sizes=[{}, {"type_ids": lambda ids: ids.astype(np.int32), "eps": 1e-6}],
        options=[{"weight": None, "bias": None}, {"bias": None}, {"eps": 0.3}],
        rows=(0, 1, 7), by_row=("ids", "position_ids", "type_ids"),
    ),
]  # fmt: skip


# Attention: a row is a sequence here.


def heads64(x: np.ndarray, heads: int) -> np.ndarray:
    """(B, L, C) to (B, heads, L, C / heads) in float64."""
    return x.astype(float).reshape(*x.shape[:2], heads, x.shape[2] // heads).transpose(0, 2, 1, 3)


def scores64(q, k, *, num_heads, mask=None, scale=None) -> Expected:
    size = q.shape[2] // num_heads
    factor = float(F(1 / math.sqrt(max(size, 1)) if scale is None else scale))
    a, b = heads64(q, num_heads), heads64(k, num_heads).swapaxes(2, 3)
    scores = a @ b * factor
    excluded, added = mask_parts(mask, scores.shape)
    error = (size + 2) * UNIT * (np.abs(a) @ np.abs(b)) * abs(factor) + 2 * UNIT * (np.abs(scores) + np.abs(added))
    return np.where(excluded, -np.inf, scores + added), np.where(excluded, 0, error + 1e-37)


def attention64(q, k, v, *, num_heads, mask=None, scale=None, fully_masked="uniform") -> Expected:
    """The result in float64 and a bound for its error.

    An error of d in every score changes a probability by a factor of at most e^2d. Softmax adds a few roundings and
    those of its sum. The weighted sum of the values adds one rounding per key.
    """
    scores, error = scores64(q, k, num_heads=num_heads, mask=mask, scale=scale)
    excluded, _ = mask_parts(mask, scores.shape)
    p = softmax64(np.where(excluded, 0, scores), excluded, fully_masked)
    products = p[..., None] * heads64(v, num_heads)[:, :, None]
    products[excluded & (p == 0)] = 0  # whatever the value
    relative = 2 * error.max(axis=-1, keepdims=True, initial=0) + (2 * k.shape[1] + 16) * UNIT
    y, bound = products.sum(axis=-2), np.abs(products).sum(axis=-2) * relative + 1e-37
    return tuple(a.transpose(0, 2, 1, 3).reshape(q.shape) for a in (y, bound))


def make_attention(rng: Generator, rows: int, heads: int, size: int, lq: int, lk: int) -> Arguments:
    mask = rng.random((rows, 1, lq, lk)) < 0.6
    mask[2:3, :, :2] = False
    q, k, v = (normal(rng, rows, length, heads * size) for length in (lq, lk, lk))
    return {"q": q, "k": k, "v": v, "num_heads": heads, "mask": mask}


def make_scores(rng: Generator, *sizes: int) -> Arguments:
    made = make_attention(rng, *sizes)
    del made["v"]
    return made


def attend_quantised(q, k, v, *, num_heads, **rest):
    return ops.attention(*(ops.quantize_rows(x, groups=num_heads) for x in (q, k, v)), num_heads=num_heads, **rest)


def attention_s8_64(
    q, k, v, *, num_heads, mask=None, scale=None, fully_masked="uniform", value_scale=None, value_bias=None
) -> Expected:
    """The result for the quantised rows in float64, and a bound for its error.

    With e the exponentials, 254 for the largest product of one with the scale of its row of v: bytes p round them by
    1/2. Their polynomial is off by a relative 1e-4, and their exponents by a few roundings and 3e-6 for log2.
    """
    integers, scales = [], []
    for x in (q, k, v):
        by_head = x.reshape(*x.shape[:2], num_heads, x.shape[2] // num_heads).transpose(0, 2, 1, 3)
        whole, own = quantized_by_formula(by_head)
        integers.append(whole.astype(float)), scales.append(own.astype(float))
    size = q.shape[2] // num_heads
    factor = float(F(1 / math.sqrt(max(size, 1)) if scale is None else scale)) * math.log2(math.e)
    products = integers[0] @ integers[1].swapaxes(2, 3) * scales[1][:, :, None] * scales[0][..., None] * factor
    excluded, _ = mask_parts(mask, products.shape)
    products = np.where(excluded, -np.inf, products)
    keep, size_of_v = ~excluded[:, :, :1].swapaxes(2, 3), scales[2][..., None]
    if q.shape[1] == 0 or k.shape[1] == 0:
        y = bound = np.zeros(q.shape)
        return y, bound
    top = np.maximum(np.where(keep, size_of_v, 0).max(axis=2, keepdims=True), 2.0**-108)
    x = np.where(keep, np.maximum(size_of_v / top, 2.0**-60), 1).swapaxes(2, 3)
    exponents = products + np.log2(x)
    least = exponents.max(axis=-1, keepdims=True)
    e = np.where(excluded, 0, 254 * np.exp2(exponents - least))
    total = (e / x).sum(axis=-1, keepdims=True)
    y = top * (e @ integers[2]) / total
    shown = np.where(excluded | ~np.isfinite(products), 0, np.abs(products)).max(axis=-1, keepdims=True)
    relative = 1e-4 + 2 * (8 * UNIT * (shown + 64) + 3e-6) + (k.shape[1] / 16 + 16) * UNIT
    magnitude = np.abs(integers[2])
    bound = top / total * ((0.5 + relative * e) @ magnitude) + relative * np.abs(y) + 1e-37
    empty = excluded.all(axis=-1, keepdims=True)
    mean = (integers[2] * size_of_v).mean(axis=2, keepdims=True)
    error = (k.shape[1] + 4) * UNIT * (magnitude * size_of_v).mean(axis=2, keepdims=True)
    y, bound = np.where(empty, mean, y), np.where(empty, error + 1e-37, bound)
    y, bound, empty = (
        np.broadcast_to(a, (*e.shape[:3], size)).transpose(0, 2, 1, 3).reshape(q.shape) for a in (y, bound, empty)
    )
    y, bound = (a if value_scale is None else a * value_scale.astype(float) for a in (y, bound))
    y = y if value_bias is None else y + value_bias
    if fully_masked == "zero":
        y, bound = np.where(empty, 0, y), np.where(empty, 0, bound)
    return y, np.abs(bound) + UNIT * np.abs(y)


def make_attention_s8(rng: Generator, rows: int, heads: int, size: int, lq: int, lk: int) -> Arguments:
    made = make_attention(rng, rows, heads, size, lq, lk)
    scales = F(2.0) ** rng.integers(-9, 9, (rows, lk, 1)).astype(F)
    more = {"value_scale": normal(rng, heads * size), "value_bias": normal(rng, heads * size)}
    return made | more | {"v": made["v"] * scales, "mask": made["mask"][:, :, :1]}


LENGTHS = [(1, 1), (2, 1), (1, 5), (7, 7), (8, 16), (9, 17), (6, 33), (17, 15), (5, 49), (12, 32), (25, 66), (3, 0)]
BYTE_HEADS = (1, 2, 3, 4, 8, 24, 32, 64, 65, 80)  # bytes of products in steps of 4, of values in vectors
ATTENTION_OPTIONS = [{"scale": scale} for scale in (0.0, 0.3, -1, F(2), 1)]
ATTENTION = [
    OpCase(
        "attention", "attention_f32", ops.attention, make_attention, attention64,
        sizes=[
            *((heads, size, *both) for heads in (1, 3) for size in (1, 8, 12, 16, 20, 64, 87) for both in LENGTHS),
            (1, 16, 70, 513), (2, 16, 3, 1030),
        ],
        typical=(3, 8, 9, 17), at_all_sizes=[{"mask": None}, {}],
        options=[*MASKS[2:], *FULLY_MASKED, *ATTENTION_OPTIONS, {"q": with_tiny_rows}],
        rows=(0, 2), by_row=("q", "k", "v", "mask"), large=[(1, (1, 20, 70, 33))], leading=False,
    ),
    OpCase(
        "attention_scores", "attention_f32", ops.attention_scores, make_scores, scores64,
        sizes=[(heads, size, 9, 17) for heads, size in [(1, 8), (3, 20), (2, 1), (2, 0)]], typical=(3, 8, 9, 17),
        at_all_sizes=MASKS, options=ATTENTION_OPTIONS, rows=(0, 2), by_row=("q", "k", "mask"), leading=False,
    ),
    OpCase(
        "attention_int8", "attention_s8", attend_quantised, make_attention_s8, attention_s8_64,
        sizes=[
            *((heads, size, *both) for heads in (1, 3) for size in BYTE_HEADS for both in LENGTHS),
            (1, 64, 70, 384), (2, 16, 3, 1030), (12, 64, 5, 20),
        ],
        typical=(3, 8, 9, 17), at_all_sizes=[{"mask": None}, {}],
        options=[
            {"fully_masked": "zero"}, *subsets("value_scale", "value_bias"), *ATTENTION_OPTIONS, {"q": with_tiny_rows},
            {"v": with_tiny_rows}, {"q": times(30)}, {"v": times(1e30)},
        ],
        rows=(0, 2), by_row=("q", "k", "v", "mask"), large=[(1, (1, 20, 70, 33))], leading=False,
    ),
]  # fmt: skip


# Convolutions.

# An activation scales an error by at most its largest slope, and adds its own error.
SLOPE = {None: 1, "gelu": 1.13, "gelu_tanh": 1.13, "relu": 1, "tanh": 1}
OWN_ERROR = {None: 0, "gelu": 2e-7, "gelu_tanh": 5e-7, "relu": 0, "tanh": 2.4e-7}


def make_conv(rng: Generator, rows: int, groups: int, k: int, n: int) -> Arguments:
    return {
        "x": normal(rng, rows, groups * k),
        "weight": normal(rng, groups * n, k),
        "bias": normal(rng, groups * n),
        "groups": groups,
        "residual": normal(rng, rows, groups * n),
    }


def conv64(x, weight, bias=None, *, groups=1, activation=None, residual=None) -> Expected:
    """The result in float64, and a bound for the error of K products summed in float32 in any order."""
    w = weight.astype(float).reshape(groups, weight.shape[0] // groups, weight.shape[1])
    a = x.astype(float).reshape(math.prod(x.shape[:-1]), groups, w.shape[2])
    shape = (*x.shape[:-1], weight.shape[0])
    z = np.einsum("rgk,gnk->rgn", a, w).reshape(shape)
    magnitude = np.einsum("rgk,gnk->rgn", np.abs(a), np.abs(w)).reshape(shape)
    if bias is not None:
        z, magnitude = z + bias, magnitude + np.abs(bias)
    bound = SLOPE[activation] * (w.shape[2] + 2) * UNIT * magnitude
    bound = np.where(np.isfinite(z), bound + OWN_ERROR[activation] * np.maximum(1, np.abs(z)), 1e-30)
    y = ACTIVATIONS64[activation](z)
    if residual is not None:
        y = y + residual
    return y, bound + UNIT * np.abs(y) + 1e-37


def packed_conv(dtype: str) -> Callable[..., Any]:
    def call(x, weight, bias=None, *, groups=1, **rest):
        return ops.PointwiseConv(weight, bias, groups=groups, dtype=dtype)(x, **rest)

    return call


def make_half_conv(rng: Generator, *sizes: int) -> Arguments:
    made = make_conv(rng, *sizes)
    return made | {"weight": made["weight"].astype(np.float16)}


def half_conv_of(x, weight, bias=None, **rest) -> Expected:
    """The bits of the same weights in float32."""
    return ops.pointwise_conv(x, weight.astype(np.float16).astype(F), bias, **rest), None


def quantized_by_formula(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The quantised rows of `a` (int64) and their scales, one float32 operation at a time."""
    m = np.abs(a).max(axis=-1, keepdims=True, initial=0)
    some = (m >= 2.0**-100) & np.isfinite(m)
    numbers = np.where(some, a, 0) * (F(127) / np.where(some, m, F(1)))
    scales = np.where(some, np.where(some, m, 0) / F(127), np.where(np.isfinite(m), F(0), F(np.nan)))
    return np.rint(numbers).astype(np.int64), scales.astype(F)[..., 0]


def integer_product(x: np.ndarray, weight: np.ndarray, groups: int = 1) -> np.ndarray:
    """The convolution in int8: exact integer sums, then one float32 operation at a time."""
    c_out, k = weight.shape[:2]
    n, rows = c_out // groups, math.prod(x.shape[:-1])
    w32 = weight.reshape(c_out, k).astype(F)
    w, w_scales = quantized_by_formula(np.where(np.abs(w32) < 2.0**-126, F(0), w32))
    a, a_scales = quantized_by_formula(x.reshape(rows, groups, k))
    total = np.einsum("rgk,gnk->rgn", a, w.reshape(groups, n, k))
    assert np.abs(total).max(initial=0) < 2**31
    y = total.astype(F) * a_scales[:, :, None] * w_scales.reshape(groups, n)
    return y.reshape(*x.shape[:-1], c_out)


def rotated(x: np.ndarray) -> np.ndarray:
    """The product with the Hadamard matrix of size 128, by its stages, one float32 addition at a time."""
    y, channel = x.reshape(-1, 128).copy(), np.arange(128)
    for h in (1, 2, 4, 8, 16, 32, 64):
        i = channel[channel & h == 0]
        y[:, i], y[:, i + h] = y[:, i] + y[:, i + h], y[:, i] - y[:, i + h]
    return y.reshape(x.shape)


def rotated_conv_of(x, weight, bias=None, **rest) -> Expected:
    with np.errstate(all="ignore"):
        return int8_conv_of(rotated(x), rotated(weight) * F(1 / 128), bias, **rest)


def int8_conv_of(x, weight, bias=None, *, groups=1, activation=None, residual=None) -> Expected:
    """To the bit. Activations are computed by the active backend."""
    z = integer_product(x, weight, groups)
    z = z if bias is None else z + bias
    if activation == "tanh":
        z = ops.tanh(z)
    elif activation == "relu":
        z = np.where(z < 0, F(0), z)
    elif activation is not None:
        z = ops.gelu(z, approximate="tanh" if activation == "gelu_tanh" else "none")
    return z if residual is None else z + residual, 0


def quantized_rows_of(x, *, groups=1) -> Expected:
    by_group = x.reshape(*x.shape[:-1], groups, x.shape[-1] // groups)
    values, scales = quantized_by_formula(by_group)
    width = -(-values.shape[-1] // 4) * 4
    padded = np.full((*values.shape[:-1], width), 128, np.uint8)
    padded[..., : values.shape[-1]] = values + 128
    return ops.QuantizedRows(padded.reshape(*x.shape[:-1], groups * width), scales), 0


def quantize_rotated(x, **rest):
    return ops.quantize_rows(x, rotate=True, **rest)


def quantized_rotated_of(x, *, groups=1) -> Expected:
    with np.errstate(all="ignore"):
        return quantized_rows_of(rotated(x), groups=groups)


def make_quantize(rng: Generator, rows: int, groups: int, k: int) -> Arguments:
    scales = F(2.0) ** rng.integers(-40, 40, (rows, 1)).astype(F)
    return {"x": normal(rng, rows, groups * k) * scales, "groups": groups}


ACTIVATIONS = [{"activation": name} | omitted for name in ACTIVATIONS64 for omitted in subsets("bias", "residual")]
CONV_BASE = {
    "typical": (4, 15, 17), "at_all_sizes": [{"residual": None}], "by_row": ("x", "residual"),
    "options": [*ACTIVATIONS, {"x": with_tiny_rows, "weight": times(1e-3)}],
    # Tasks split rows, channels, or both, or span several groups.
    "large": [(130, (1, 96, 200)), (130, (4, 24, 50)), (1100, (4, 100, 5)), (33, (4, 96, 100))],
}  # fmt: skip
# Outputs per group around a panel (16) and tiles (32, 48, 96), inputs around a step of int8 (4); then long sums.
CONV_SIZES = [
    *itertools.product((1, 2, 3, 4, 5), (1, 3, 7, 16, 17, 33), (1, 3, 8, 15, 16, 17, 31, 33)),
    *itertools.product((2,), (5,), (32, 47, 48, 49, 64, 96, 97)),
    *((1, 5, 0), (2, 0, 3), (1, 0, 0)),
    *itertools.product((1, 2), (255, 256, 257, 513, 768), (17, 49)),
]
INT8_SIZES = [
    *itertools.product((1, 2, 3, 4, 5), (1, 2, 3, 4, 5, 7, 8, 17, 33, 64), (1, 3, 15, 16, 17, 33)),
    *itertools.product((2,), (6,), (31, 32, 47, 48, 49, 64, 96, 97)),
    *((1, 5, 0), (2, 0, 3), (1, 0, 0)),
    *itertools.product((1, 2), (255, 767, 1039, 1040, 1041, 2081), (17, 49)),
]
CONVS = [
    OpCase("pointwise_conv", "pwconv_f32", ops.pointwise_conv, make_conv, conv64, sizes=CONV_SIZES, **CONV_BASE),
    OpCase("conv_float16", "pwconv_f16", packed_conv("float16"), make_half_conv, half_conv_of, CONV_SIZES, **CONV_BASE),
    OpCase(
        "conv_int8", "pwconv_s8", packed_conv("int8"), make_conv, int8_conv_of, INT8_SIZES, rows=(*ROWS, 24, 25),
        **CONV_BASE,
    ),
    OpCase(
        "quantize_rows", "quantize_rows_s8", ops.quantize_rows, make_quantize, quantized_rows_of,
        sizes=[*itertools.product((1, 2, 3, 5), (*CHANNELS, 4, 5, 67, 127, 128, 192, 300)), (1, 4100), (5, 4100)],
        typical=(4, 15), options=[{"x": with_tiny_rows}], rows=(0, 1, 2, 7, 17),
    ),
    OpCase(
        "conv_int8_rotated", "pwconv_s8", packed_conv("int8_rotated"), make_conv, rotated_conv_of,
        sizes=[(1, 128, 7), (1, 384, 48), (2, 256, 33), (3, 128, 17), (1, 640, 50), (1, 0, 3)],
        **CONV_BASE | {"typical": (2, 128, 17), "large": [(130, (1, 128, 200)), (33, (4, 128, 100))]},
    ),
    OpCase(  # odd and even numbers of blocks, groups on their own and in batches
        "quantize_rows rotated", "quantize_rows_s8", quantize_rotated, make_quantize, quantized_rotated_of,
        sizes=[*itertools.product((1, 2, 3), (0, 128, 256, 384, 640)), (1, 1536), (2, 4096), (1, 8192)],
        typical=(2, 384), options=[{"x": with_tiny_rows}], rows=(0, 1, 2, 7, 17),
    ),
]  # fmt: skip

TABLE = [*ROW_OPS, MEAN_POOL, *EMBEDDINGS, *ATTENTION, *CONVS]
OPS = {op.name: op for op in TABLE}
