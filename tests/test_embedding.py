"""embedding and embedding_layer_norm: every stored value, tables in int8, the order of the additions."""

import numpy as np
import pytest
from op_helpers import assert_same_bits, normal
from op_table import dequantized

from squeezeops import ops
from squeezeops.squeezebert.model.storage import stored_table
from squeezeops.squeezebert.model.tensors import WORDS


def quantized_table(floats):
    return stored_table(WORDS, floats, "int8")


@pytest.mark.parametrize("channels", [0, 1, 3, 17, 96])
def test_int8_tables(variant, rng, channels):
    floats = normal(rng, 11, channels)
    table = quantized_table(floats)
    assert table.shape == (11, channels + 4) and table.dtype == np.int8
    most = np.abs(floats).max(axis=1, keepdims=True, initial=0)
    assert (np.abs(ops.embedding(np.arange(11), table) - floats) <= most * (0.5 / 127 + 2.0**-22)).all()


def test_every_int8_value_with_special_scales(variant):
    scales = np.array([1, -2.5, 0, 2.0**-126, 1e-45, 3e38, np.inf, np.nan], "<f4")
    values = np.tile(np.arange(-128, 128).astype(np.int8), (len(scales), 1))
    table = np.concatenate([values, scales[:, None].view(np.int8)], axis=1)
    with np.errstate(all="ignore"):
        assert_same_bits(ops.embedding(np.arange(len(scales)), table), dequantized(table))


def test_rows_that_cannot_be_quantised(variant):
    floats = np.ones((5, 9), np.float32)
    floats[0], floats[1], floats[2, 3], floats[3, 8] = 0, 2.0**-101, np.nan, -np.inf
    y = ops.embedding(np.arange(5), quantized_table(floats))
    assert (y[:2] == 0).all() and np.isnan(y[2:4]).all() and (y[4] == 1).all()


def test_a_table_is_quantised_to_the_same_bytes_everywhere(variant, rng):
    floats = normal(rng, 5000, 7).astype(np.float16)
    expected = np.abs(floats.astype(np.float32)).max(axis=1, keepdims=True)
    values = np.rint(floats.astype(np.float32) * (np.float32(127) / expected)).astype(np.int8)
    scales = (expected / np.float32(127)).view(np.int8)
    np.testing.assert_array_equal(quantized_table(floats), np.concatenate([values, scales], axis=1))


def test_wrong_int8_tables(variant):
    ids, table = np.zeros(2, np.int64), np.zeros((3, 12), np.int8)
    with pytest.raises(ValueError, match=r"^embedding: table: expected shape \(rows, channels \+ 4\), got \(3, 3\)"):
        ops.embedding(ids, table[:, :3])
    with pytest.raises(ValueError, match=r"^embedding: out: expected shape \(2, 8\), got \(2, 12\)"):
        ops.embedding(ids, table, out=np.zeros((2, 12), np.float32))
    floats = np.zeros((3, 12), np.float32)
    wanted = r"^embedding_layer_norm: position_table: expected shape \(rows, 16\), got \(3, 12\)"
    with pytest.raises(ValueError, match=wanted):
        ops.embedding_layer_norm(ids, floats, ids, table, ids, floats, None, None)
    assert ops.embedding_layer_norm(ids, table, ids, floats[:, :8], ids, table, None, None).shape == (2, 8)


def test_every_half_widens_exactly(variant):
    """All 65,536 float16 values, including subnormals, infinities and NaN."""
    table = np.arange(2**16, dtype=np.uint16).view(np.float16).reshape(2**10, 2**6)
    assert_same_bits(ops.embedding(np.arange(2**10), table), table.astype(np.float32))


def test_subnormal_floats_are_kept(variant):
    table = (2.0 ** -np.arange(120, 150, dtype=np.float32)).astype(np.float32).reshape(2, 15)
    assert_same_bits(ops.embedding(np.array([1, 0]), table), table[::-1].copy())


def test_embedding_layer_norm_is_the_sum_of_its_parts(variant, rng):
    """The same additions in the same order, so the same bits."""
    tables = [normal(rng, rows, 50).astype(np.float16) for rows in (13, 9, 2)]
    tables[0] = quantized_table(tables[0])
    ids = [rng.integers(0, len(t), (3, 7)) for t in tables]
    weight, bias = normal(rng, 50), normal(rng, 50)
    words, positions, types = (ops.embedding(i, t) for i, t in zip(ids, tables, strict=True))
    gathered = [a for pair in zip(ids, tables, strict=True) for a in pair]
    for w, b in [(weight, bias), (None, None), (weight, None)]:
        y = ops.embedding_layer_norm(*gathered, w, b, eps=1e-12)
        assert_same_bits(y, ops.layer_norm(words + positions, w, b, eps=1e-12, residual=types))
