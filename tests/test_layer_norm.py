"""layer_norm against float64: sizes, large means, residual, special values."""

import numpy as np
import pytest
from op_helpers import CHANNELS, ROWS, UNIT, assert_same_bits, assert_within, normal

from squeezeops import ops


def check(guards, x, weight=None, bias=None, *, eps=1e-5, residual=None):
    """Compare with float64. The bound: 5e-6 relative to a normalised value, plus the rounding of the mean.

    The mean m has an error of UNIT * m, which shifts a row with deviation s by UNIT * m / s. That is the error of two
    passes. E[x^2] - E[x]^2 would have an error of UNIT * (m / s)^2.
    """
    y = guards.call(ops.layer_norm, x, weight, bias, eps=eps, residual=residual)
    s = (x if residual is None else x + residual).astype(float)
    if s.size == 0:
        assert y.shape == s.shape
        return
    mean = s.mean(axis=-1, keepdims=True)
    deviation = np.sqrt(((s - mean) ** 2).mean(axis=-1, keepdims=True) + float(np.float32(eps)))
    normalised = (s - mean) / deviation
    w = 1.0 if weight is None else weight.astype(float)
    b = 0.0 if bias is None else bias.astype(float)
    bound = (5e-6 + 8 * UNIT * np.abs(mean) / deviation) * np.maximum(1, np.abs(normalised)) * np.abs(w)
    assert_within(y, normalised * w + b, bound + 2 * UNIT * np.abs(b) + 1e-30)


@pytest.mark.parametrize("channels", CHANNELS)
def test_sizes(variant, guards, rng, channels):
    weight, bias = normal(rng, channels) + 1, normal(rng, channels)
    for rows in ROWS:
        check(guards, normal(rng, rows, channels), weight, bias)


@pytest.mark.parametrize("channels", [768, 1000])
def test_model_sizes(variant, guards, rng, channels):
    x, residual = normal(rng, 3, channels), normal(rng, 3, channels)
    check(guards, x, normal(rng, channels), normal(rng, channels), eps=1e-12, residual=residual)


@pytest.mark.parametrize("given", ["", "w", "b", "r", "wb", "wr", "br", "wbr"])
def test_optional_arguments(variant, guards, rng, given):
    x = normal(rng, 2, 3, 35)
    check(
        guards,
        x,
        normal(rng, 35) + 2 if "w" in given else None,
        normal(rng, 35) if "b" in given else None,
        residual=normal(rng, 2, 3, 35) if "r" in given else None,
    )


@pytest.mark.parametrize("mean", [10.0, -1e3, 1e5])
def test_mean_far_above_deviation(variant, guards, rng, mean):
    weight, bias = normal(rng, 96) + 1, normal(rng, 96)
    check(guards, normal(rng, 7, 96) + np.float32(mean), weight, bias, eps=1e-12)


@pytest.mark.parametrize("scale", [1e-12, 1e-6, 1e6, 1e15])
def test_scales(variant, guards, rng, scale):
    check(guards, normal(rng, 7, 50) * np.float32(scale), eps=1e-12)


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


@pytest.mark.parametrize("shape", [(0, 8), (4, 0), (0, 0), (2, 0, 8)])
def test_empty(variant, shape):
    assert ops.layer_norm(np.zeros(shape, np.float32)).shape == shape


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_special_values_stay_in_their_row(variant, rng, bad):
    x = normal(rng, 9, 33)
    y = ops.layer_norm(x)
    x[4, 32] = bad
    spoilt = ops.layer_norm(x)
    assert np.isnan(spoilt[4]).all() if np.isnan(bad) else np.isnan(spoilt[4, 32])
    others = [row for row in range(9) if row != 4]
    assert_same_bits(spoilt[others], y[others])


def test_in_place(variant, rng):
    x, residual = normal(rng, 5, 33), normal(rng, 5, 33)
    y = ops.layer_norm(x, residual=residual)
    assert ops.layer_norm(x, residual=residual, out=x) is x
    assert_same_bits(x, y)


def test_residual_may_be_x(variant, rng):
    x = normal(rng, 5, 33)
    assert_same_bits(ops.layer_norm(x, residual=x), ops.layer_norm(x + x))


def test_layouts(variant, rng):
    x, residual, weight = normal(rng, 6, 40), normal(rng, 6, 40), normal(rng, 40)
    y = ops.layer_norm(x[:, ::2].copy(), weight[::2].copy(), residual=residual[:, ::2].copy())
    assert_same_bits(ops.layer_norm(x[:, ::2], weight[::2], residual=residual[:, ::2]), y)
    fortran = np.asfortranarray(x)
    assert_same_bits(ops.layer_norm(fortran), ops.layer_norm(x))
    assert_same_bits(ops.layer_norm(x[0]), ops.layer_norm(x[:1])[0])
    for array in (x, residual, weight):
        array.flags.writeable = False
    assert_same_bits(ops.layer_norm(x[:, ::2], weight[::2], residual=residual[:, ::2]), y)
