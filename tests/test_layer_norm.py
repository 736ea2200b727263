"""layer_norm: exact cases."""

import numpy as np
from op_helpers import assert_same_bits, normal

from squeezeops import ops


def test_eps(variant, rng):
    x = np.array([[1, 3], [5, 5]], np.float32)
    assert_same_bits(ops.layer_norm(x, eps=0.5625), np.array([[-0.8, 0.8], [0, 0]], np.float32))
    assert_same_bits(ops.layer_norm(x[:1], eps=0), np.array([[-1, 1]], np.float32))
    # In a constant row, 0 is multiplied by a large number or, with eps 0, by infinity.
    assert_same_bits(ops.layer_norm(x[1:], eps=1e-12), np.zeros((1, 2), np.float32))
    assert np.isnan(ops.layer_norm(x[1:], eps=0)).all()


def test_one_channel_is_the_bias(variant, rng):
    bias = np.array([0.75], np.float32)
    y = ops.layer_norm(normal(rng, 9, 1), np.array([3], np.float32), bias)
    assert_same_bits(y, np.full((9, 1), 0.75, np.float32))


def test_residual_may_be_x(variant, rng):
    x = normal(rng, 5, 33)
    assert_same_bits(ops.layer_norm(x, residual=x), ops.layer_norm(x + x))
