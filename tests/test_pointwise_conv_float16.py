"""PointwiseConv with weights stored as float16: how they are rounded and widened."""

import numpy as np
import pytest

from squeezeops import ops

F = np.float32


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
