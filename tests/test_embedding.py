"""embedding and embedding_layer_norm: exact gathers, half tables, ids of every kind."""

import numpy as np
import pytest
from op_helpers import CHANNELS, assert_same_bits, assert_within, normal

from squeezeops import ops


@pytest.mark.parametrize("channels", [0, *CHANNELS])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_sizes(variant, guards, rng, channels, dtype):
    table = normal(rng, 11, channels).astype(dtype)
    for count in (0, 1, 2, 7, 8, 17):
        for integer in (np.int32, np.int64):
            ids = rng.integers(0, 11, count).astype(integer)
            assert_same_bits(guards.call(ops.embedding, ids, table), table[ids].astype(np.float32))


def test_shapes_of_ids(variant, guards, rng):
    table = normal(rng, 5, 3)
    for shape in [(), (4,), (2, 3), (2, 0), (0, 4), (2, 1, 3)]:
        ids = np.asarray(rng.integers(0, 5, shape))
        assert_same_bits(guards.call(ops.embedding, ids, table), table[ids])
    assert ops.embedding(np.zeros(0, int), np.zeros((0, 4), np.float32)).shape == (0, 4)


def test_every_half_widens_exactly(variant):
    """All 65,536 of them: subnormal, infinite and NaN ones too."""
    table = np.arange(2**16, dtype=np.uint16).view(np.float16).reshape(2**10, 2**6)
    assert_same_bits(ops.embedding(np.arange(2**10), table), table.astype(np.float32))


def test_subnormal_floats_are_kept(variant):
    table = (2.0 ** -np.arange(120, 150, dtype=np.float32)).astype(np.float32).reshape(2, 15)
    assert_same_bits(ops.embedding(np.array([1, 0]), table), table[::-1].copy())


def test_layouts(variant, rng):
    table, ids = normal(rng, 10, 12), rng.integers(0, 5, (6, 8))
    for half in (False, True):
        t = table.astype(np.float16) if half else table
        assert_same_bits(ops.embedding(ids[::2, ::-3], t[::2, 1::2]), t[::2, 1::2][ids[::2, ::-3]].astype(np.float32))
        t.flags.writeable = False
        assert_same_bits(ops.embedding(ids, t), t[ids].astype(np.float32))


def reference(ids, table, positions, position_table, types, type_table, weight, bias, eps):
    """In float64 from the float32 sum, and what may be wrong with it."""
    x = (table[ids].astype(np.float32) + position_table[positions]) + type_table[types]
    x = x.astype(float)
    d = x - x.mean(axis=-1, keepdims=True)
    y = d / np.sqrt((d * d).mean(axis=-1, keepdims=True) + eps)
    return y * weight + bias, 5e-6 * (np.maximum(1, np.abs(y)) * np.abs(weight) + np.abs(bias))


@pytest.mark.parametrize("channels", [2, 3, 8, 15, 16, 17, 33, 64, 96, 768])
@pytest.mark.parametrize("halves", ["", "table", "all"])
def test_embedding_layer_norm(variant, guards, rng, channels, halves):
    tables = [normal(rng, rows, channels) for rows in (13, 9, 2)]
    tables = [
        t.astype(np.float16) if halves == "all" or (halves == "table" and i == 0) else t for i, t in enumerate(tables)
    ]
    weight, bias = normal(rng, channels) + 1, normal(rng, channels)
    for shape, integer in [((2, 5), np.int64), ((7,), np.int32), ((), np.int64), ((0, 3), np.int32)]:
        ids = [np.asarray(rng.integers(0, len(t), shape), integer) for t in tables]
        gathered = [a for pair in zip(ids, tables, strict=True) for a in pair]
        y = guards.call(ops.embedding_layer_norm, *gathered, weight, bias, eps=1e-6)
        assert_within(y, *reference(*gathered, weight, bias, 1e-6))


def test_embedding_layer_norm_is_the_sum_of_its_parts(variant, rng):
    """The same additions in the same order, so the same bits."""
    tables = [normal(rng, rows, 50).astype(np.float16) for rows in (13, 9, 2)]
    ids = [rng.integers(0, len(t), (3, 7)) for t in tables]
    weight, bias = normal(rng, 50), normal(rng, 50)
    words, positions, types = (ops.embedding(i, t) for i, t in zip(ids, tables, strict=True))
    gathered = [a for pair in zip(ids, tables, strict=True) for a in pair]
    for w, b in [(weight, bias), (None, None), (weight, None)]:
        y = ops.embedding_layer_norm(*gathered, w, b, eps=1e-12)
        assert_same_bits(y, ops.layer_norm(words + positions, w, b, eps=1e-12, residual=types))


def test_embedding_layer_norm_layouts(variant, rng):
    tables = [normal(rng, rows, 24)[::2, ::2] for rows in (26, 18, 4)]
    ids = [np.broadcast_to(rng.integers(0, len(t), 7), (3, 7)) for t in tables]
    gathered = [a for pair in zip(ids, tables, strict=True) for a in pair]
    y = ops.embedding_layer_norm(*gathered, None, None)
    assert_same_bits(ops.embedding_layer_norm(*[a.copy() for a in gathered], None, None), y)
