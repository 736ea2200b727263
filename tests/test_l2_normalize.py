"""l2_normalize against float64, and to the bit against the sum of squares in the numerics contract."""

import numpy as np
import pytest
from op_helpers import (
    EXACT_ISAS,
    SQUARES,
    Variant,
    assert_same_bits,
    few_bits,
    normal,
    sum_of_squares,
)

from squeezeops import ops


@pytest.mark.parametrize("isa", EXACT_ISAS)
def test_order_of_the_sum(rng, isa):
    for channels in SQUARES:
        x = few_bits(rng, 9, channels)
        with Variant("native", isa).active():
            assert_same_bits(ops.l2_normalize(x), x / np.sqrt(sum_of_squares(x)))


def test_one_channel_is_the_sign(variant, rng):
    x = normal(rng, 999, 1)
    assert_same_bits(ops.l2_normalize(x), np.sign(x))


def test_eps(variant):
    x = np.array([[3, -4], [0.3, -0.4], [0, -0.0]], np.float32)
    assert_same_bits(ops.l2_normalize(x, eps=5), x / np.float32(5))
    assert_same_bits(ops.l2_normalize(x, eps=8), x / np.float32(8))
    assert_same_bits(ops.l2_normalize(x, eps=0.1)[2], x[2])
    tenth = np.float32(0.1)
    assert_same_bits(ops.l2_normalize(x / np.float32(100), eps=0.1), x / np.float32(100) / tenth)
    assert_same_bits(ops.l2_normalize(x, eps=np.float32(8)), x / np.float32(8))
    assert_same_bits(ops.l2_normalize(x, eps=3e38), x / np.float32(3e38))


def test_zero_rows(variant):
    """Zeros keep their signs. With eps 0 the result is NaN."""
    x = np.zeros((5, 35), np.float32)
    x[:, ::2] = -0.0
    assert_same_bits(ops.l2_normalize(x), x)
    assert np.isnan(ops.l2_normalize(x, eps=0)).all()


def test_squares_that_overflow(variant):
    x = np.full((3, 16), 2e19, np.float32)
    x[:, 1::2] *= -1
    assert_same_bits(ops.l2_normalize(x), np.copysign(np.float32(0.25), x))
    x[:, 1:] = 1  # one overflowing square is enough
    assert_same_bits(ops.l2_normalize(x), x / np.float32(2e19))
    assert_same_bits(ops.l2_normalize(x, eps=3e38), x / np.float32(3e38))


def test_squares_that_underflow(variant):
    """With a greater eps the values are divided by it."""
    x = np.array([1e-25, -3e-30, 1e-40, 2.0**-149], np.float32).repeat(5).reshape(1, 20)
    assert_same_bits(ops.l2_normalize(x), x / np.float32(1e-12))
    for size in (1e-25, 2.0**-74, 2.0**-149):
        y = ops.l2_normalize(np.full((1, 16), size, np.float32), eps=0)
        assert_same_bits(y, np.full((1, 16), 0.25, np.float32))
