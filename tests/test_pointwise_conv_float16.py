"""PointwiseConv with weights stored as float16: the bits of the same weights as float32."""

import numpy as np
import pytest
from op_helpers import ACTIVATIONS64, ROWS, assert_repeats, normal

from squeezeops import ops

F = np.float32


def check(guards, x, weight, bias=None, groups=1, **rest):
    """Compare with the float32 convolution; `weight` is float16."""
    y = guards.call(ops.PointwiseConv(guards.keep(weight), bias, groups=groups, dtype="float16"), x, **rest)
    assert_repeats(y, ops.pointwise_conv(x, weight.astype(F), bias, groups=groups, **rest))
    assert_repeats(ops.PointwiseConv(weight.astype(F), bias, groups=groups, dtype="float16")(x, **rest), y)
    return y


def halves(rng, *shape):
    return normal(rng, *shape).astype(np.float16)


@pytest.mark.parametrize("groups", [1, 2, 5])
@pytest.mark.parametrize("k", [1, 3, 16, 33])
def test_sizes(variant, guards, rng, groups, k):
    for n in (1, 3, 15, 16, 17, 33):
        weight, bias = halves(rng, groups * n, k), normal(rng, groups * n)
        for rows in ROWS if n in (3, 17) else (5, 9):
            check(guards, normal(rng, rows, groups * k), weight, bias, groups=groups)


@pytest.mark.parametrize("n", [47, 48, 49, 96])
def test_wide_outputs(variant, guards, rng, n):
    for rows in ROWS:
        check(guards, normal(rng, rows, 10), halves(rng, 2 * n, 5), normal(rng, 2 * n), groups=2)


@pytest.mark.parametrize("groups", [1, 4])
def test_many_rows_and_channels(variant, guards, rng, groups):
    check(guards, normal(rng, 130, 96), halves(rng, 200, 96 // groups), normal(rng, 200), groups=groups)


@pytest.mark.parametrize("activation", list(ACTIVATIONS64))
@pytest.mark.parametrize("given", ["", "b", "r", "br"])
def test_epilogue(variant, guards, rng, activation, given):
    for groups, n in [(1, 33), (4, 5), (1, 96)]:
        bias = normal(rng, groups * n) if "b" in given else None
        residual = normal(rng, 2, 9, groups * n) if "r" in given else None
        weight = halves(rng, groups * n, 12 // groups)
        check(guards, normal(rng, 2, 9, 12), weight, bias, groups, activation=activation, residual=residual)


def test_every_half(variant):
    """Each float16 value is widened exactly, including NaN, infinities and subnormals."""
    weight = np.arange(2**16, dtype=np.uint16).view(np.float16).reshape(-1, 1)
    y = ops.PointwiseConv(weight, dtype="float16")(np.ones((1, 1), F))
    np.testing.assert_array_equal(y, weight.T.astype(F))


def test_rounds_to_nearest_even(variant, rng):
    """All float16 values, the midpoints between them, and their float32 neighbours."""
    all_halves = np.arange(0x7C00, dtype=np.uint16).view(np.float16).astype(F)
    midpoints = (all_halves[:-1] + all_halves[1:]) / F(2)  # exact
    near = [np.nextafter(midpoints, F(0)), midpoints, np.nextafter(midpoints, F(np.inf)), all_halves]
    tiny = np.array([2.0**-149, 2.0**-127, 2.0**-126, 2.0**-26, 1.5 * 2.0**-25], F)
    weight = np.concatenate([*near, tiny, np.array([65504, np.inf, np.nan], F)])
    weight = np.concatenate([weight, -weight])[:, None]
    y = ops.PointwiseConv(weight, dtype="float16")(np.ones((1, 1), F))
    np.testing.assert_array_equal(y[0], weight[:, 0].astype(np.float16).astype(F))


def test_too_large_for_float16(variant):
    for bad in (65504.004, -65520, 1e30):
        weight = np.array([[1, 2], [bad, np.inf]], F)
        with pytest.raises(ValueError, match="PointwiseConv: weight: expected values up to 65504.*, got -?[0-9.e+]+$"):
            ops.PointwiseConv(weight, dtype="float16")
        ops.PointwiseConv(weight)


def test_attributes(variant, rng):
    conv = ops.PointwiseConv(halves(rng, 8, 3), groups=4, dtype="float16")
    assert repr(conv) == "PointwiseConv(12, 8, groups=4, dtype='float16')" and conv.dtype == "float16"
