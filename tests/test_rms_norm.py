"""rms_norm against float64, and to the bit against the order of operations in the numerics contract."""

import numpy as np
import pytest
from op_helpers import EXACT_ISAS, SQUARES, Variant, assert_same_bits, few_bits, normal, sum_of_squares

from squeezeops import ops


@pytest.mark.parametrize("isa", EXACT_ISAS)
def test_order_of_operations(rng, isa):
    for channels in SQUARES:
        x, weight = few_bits(rng, 9, channels), normal(rng, channels)
        residual = rng.integers(-1, 2, x.shape).astype(np.float32) / np.float32(4)
        s = x + residual
        r = np.float32(1) / np.sqrt(sum_of_squares(s) / np.float32(channels) + np.float32(0.1))
        with Variant("native", isa).active():
            assert_same_bits(ops.rms_norm(x, weight, eps=0.1, residual=residual), (s * r) * weight)
            assert_same_bits(ops.rms_norm(x, eps=0.1, residual=residual), s * r)


def test_exact_values(variant):
    x = np.array([[1, -7], [3, 3]], np.float32)
    assert_same_bits(ops.rms_norm(x, eps=0), np.array([[0.2, -1.4], [1, 1]], np.float32))
    assert_same_bits(ops.rms_norm(x[1:], np.array([2, 0], np.float32), eps=7), np.array([[1.5, 0]], np.float32))
    assert_same_bits(ops.rms_norm(x[1:], eps=np.float32(7)), np.array([[0.75, 0.75]], np.float32))
    assert_same_bits(ops.rms_norm(x[1:], residual=-x[1:]), np.zeros((1, 2), np.float32))


def test_zero_rows(variant):
    """Zeros keep their signs. With eps 0 the result is NaN."""
    x = np.zeros((5, 35), np.float32)
    x[:, ::2] = -0.0
    assert_same_bits(ops.rms_norm(x), x)
    assert np.isnan(ops.rms_norm(x, eps=0)).all()


def test_squares_that_overflow_or_underflow(variant):
    """The row is scaled by a power of two, and eps by its square, so that 1 stays exactly 1."""
    for size in (2e19, 3e38, 1e-25, 1e-40, 2.0**-74, 2.0**-149):
        x = np.full((3, 16), size, np.float32)
        x[:, 1::2] *= -1
        assert_same_bits(ops.rms_norm(x, eps=0), np.sign(x))
    tiny = np.full((1, 20), 1e-25, np.float32)
    assert_same_bits(ops.rms_norm(tiny, eps=0.25), tiny * np.float32(2))
    assert_same_bits(
        ops.rms_norm(np.full((1, 16), 2.0**-70, np.float32), eps=3 * 2.0**-140), np.full((1, 16), np.float32(0.5))
    )


def test_residual_may_be_x(variant, rng):
    x = normal(rng, 5, 33)
    assert_same_bits(ops.rms_norm(x, residual=x), ops.rms_norm(x + x))
