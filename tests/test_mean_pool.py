"""mean_pool: masks of every shape, the order of the additions, strides in C."""

import itertools

import numpy as np
import pytest
from op_helpers import ISAS, Variant, assert_same_bits, call_c, normal
from op_table import OPS

from squeezeops import ops

check = OPS["mean_pool"].check


@pytest.mark.parametrize(
    "shape", [(2, 3, 7), (3, 7), (7,), (1, 7), (2, 1, 7), (1, 3, 1), (2, 3, 1), (2, 1, 1), (1,), ()]
)
def test_masks_are_broadcast(variant, guards, rng, shape):
    x = normal(rng, 2, 3, 7, 19)
    check(guards, x=x, mask=np.asarray(rng.random(shape) < 0.6))
    check(guards, x=x, mask=np.ones(shape, bool))
    check(guards, x=x, mask=np.zeros(shape, bool))
    check(guards, x=x[:, :0, 0], mask=np.ones(1, bool))


def test_every_mask(variant, guards, rng):
    """Every subset of 9 rows: each position in a block of rows, before and after gaps."""
    masks = np.array(list(itertools.product((False, True), repeat=9)))
    check(guards, x=normal(rng, len(masks), 9, 17), mask=masks)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
def test_excluded_rows_do_not_leak(variant, rng, value):
    x = normal(rng, 6, 11, 35)
    mask = rng.random((6, 11)) < 0.6
    mask[3] = False
    spoilt = np.where(mask[..., None], x, np.float32(value))
    assert_same_bits(ops.mean_pool(spoilt, mask=mask), ops.mean_pool(x, mask=mask))


def test_order_and_start(variant):
    """The sum ascends from +0. Another order or start, pairwise or wider sums would give other bits."""
    x = np.array([[1e8, 1, -1e8, 0], [1, 1e8, -1e8, 0], [1e8, -1e8, 1, 0], [3e38, 3e38, -3e38, -3e38]], np.float32)
    expected = np.array([0, 0, 0.25, np.inf], np.float32)
    for channels in (1, 16, 40):
        y = ops.mean_pool(np.repeat(x[..., None], channels, axis=-1))
        assert_same_bits(y, np.repeat(expected[:, None], channels, axis=-1))
        y = ops.mean_pool(np.full((3, channels), -0.0, np.float32))
        assert_same_bits(y, np.zeros(channels, np.float32))


def test_true_division(variant):
    """The sum is divided by the count, not multiplied by its reciprocal."""
    counts = np.arange(1, 100)
    x = np.zeros((99, 99, 5), np.float32)
    x[:, 0] = [1, 3, 7, 1.1, -0.3]
    y = ops.mean_pool(x, mask=np.arange(99) < counts[:, None])
    assert_same_bits(y, x[:, 0] / counts[:, None].astype(np.float32))
    assert (y != x[:, 0] * (np.float32(1) / counts[:, None].astype(np.float32))).any()


def test_subnormal_values(variant, guards):
    tiny = np.float32(2.0**-149)
    x = np.arange(-60, 60, dtype=np.float32).reshape(1, 6, 20) * tiny
    check(guards, x=x)
    assert_same_bits(ops.mean_pool(np.full((3, 20), 7 * tiny)), np.full(20, 7 * tiny))


@pytest.mark.parametrize("isa", ISAS)
def test_row_strides_in_c(rng, isa):
    """The gaps between rows are neither read nor written."""
    x, out = np.full((3, 5, 40), np.nan, np.float32), np.full((3, 37), 7, np.float32)
    x[..., :33] = normal(rng, 3, 5, 33)
    mask = np.ones((3, 9), bool)
    mask[:, :5] = rng.random((3, 5)) < 0.6
    tight = x[..., :33].copy()
    with Variant("native", isa).active():
        for given, stride in ((None, 0), (mask, 9), (mask, 0)):
            keep = None if given is None else given[:, :5] if stride else given[0, :5]
            assert call_c("sqz_mean_pool_f32", 3, 5, 33, x, 40, given, stride, out, 37) == (0, "")
            assert_same_bits(out[:, :33].copy(), ops.mean_pool(tight, mask=keep))
            assert (out[:, 33:] == 7).all()
