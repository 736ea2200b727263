"""softmax, and the exp inside it, against float64; masks."""

import functools

import numpy as np
import pytest
from op_helpers import CHANNELS, ROWS, UNIT, assert_same_bits, assert_within, mask_parts, normal, softmax64, ulps

from squeezeops import ops


def check(guards, x, *, axis=-1, mask=None, scale=1.0, fully_masked="uniform"):
    """Compare with float64.

    The bound for the relative error: the absolute error of the scores, which exp turns into a relative one, in both
    numerator and denominator; 2 ULP for exp; the roundings of the sum.
    """
    y = guards.call(ops.softmax, x, axis=axis, mask=mask, scale=scale, fully_masked=fully_masked)
    excluded, added = mask_parts(mask, x.shape)
    s = x.astype(float) * float(np.float32(scale)) + added
    shown = np.where(excluded, 0, np.abs(s) + np.abs(added)).max(axis=axis, keepdims=True) if x.size else 0
    relative = (4 * shown + x.shape[axis] + 16) * UNIT
    moved = softmax64(np.moveaxis(s, axis, -1), np.moveaxis(excluded, axis, -1), fully_masked)
    expected = np.moveaxis(moved, -1, axis)
    assert_within(y, expected, relative * expected + 2e-38)
    np.testing.assert_array_equal(y[excluded], expected[excluded].astype(np.float32))
    return y


@pytest.mark.parametrize("length", CHANNELS)
def test_sizes(variant, guards, rng, length):
    for rows in ROWS:
        y = check(guards, normal(rng, rows, length) * 4)
        assert_within(y.sum(axis=-1, dtype=float), np.ones(rows), 1e-6)


@pytest.mark.parametrize("length", [63, 64, 65, 81, 127, 512, 1000])
def test_long_rows(variant, guards, rng, length):
    y = check(guards, normal(rng, 3, length) * 10)
    assert_within(y.sum(axis=-1, dtype=float), np.ones(3), 1e-6)


@functools.cache
def exponents() -> tuple[np.ndarray, np.ndarray]:
    """Floats in [-87.33, 0] and around the ends of each polynomial's range, with their exponentials in float64."""
    around = [np.float32(-s).view(np.uint32).astype(int) + np.arange(-50, 51) for s in (0.3466, 0.5, 1, 17.3, 87.3)]
    close = np.concatenate(around).astype(np.uint32).view(np.float32)
    tiny = -(np.float32(2.0) ** -np.arange(1, 150, dtype=np.float32))
    x = np.concatenate([np.linspace(-87.329, 0, 100_000, dtype=np.float32), close[close > -87.329], tiny])
    return x, np.exp(x.astype(float))


def test_exp_over_its_range(variant):
    """softmax([0, x])[1] / softmax([0, x])[0] is e^x, up to the rounding of two divisions."""
    x, expected = exponents()
    p = ops.softmax(np.stack([np.zeros_like(x), x], axis=1))
    assert ulps(p[:, 1].astype(float) / p[:, 0], expected).max() <= 3
    alone = p[:, 0] == 1  # where p[:, 1] is exp itself
    assert alone.sum() > 50_000
    assert ulps(p[alone, 1], expected[alone]).max() <= 2


def test_exp_has_no_subnormal_tail(variant):
    x = np.concatenate([np.linspace(-87.33, -200, 10_000), [-1e3, -1e10, -3e38]]).astype(np.float32)
    p = ops.softmax(np.stack([np.zeros_like(x), x], axis=1))
    assert_same_bits(p[1:, 1], np.zeros(len(x) - 1, np.float32))
    assert (p[:, 0] == 1).all()


def test_large_scores(variant):
    x = np.array([[3e38, -3e38], [3e38, 3e38], [-3e38, -3e38]], np.float32)
    assert_same_bits(ops.softmax(x), np.array([[1, 0], [0.5, 0.5], [0.5, 0.5]], np.float32))


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -2, -3])
def test_axes(variant, guards, rng, axis):
    check(guards, normal(rng, 3, 5, 9), axis=axis)
    check(guards, normal(rng, 3, 5, 9), axis=np.int64(axis), mask=rng.random((5, 1)) < 0.6, scale=0.5)
    x = normal(rng, 3, 5, 9)
    y = ops.softmax(x, axis=axis)
    assert ops.softmax(x, axis=axis, out=x) is x
    assert_same_bits(x, y)


@pytest.mark.parametrize("scale", [0.0, 0.125, 1 / 3, -2, np.float32(7.5), 3])
def test_scale(variant, guards, rng, scale):
    check(guards, normal(rng, 5, 19), scale=scale)
    check(guards, normal(rng, 5, 19), scale=scale, mask=normal(rng, 5, 19))


@pytest.mark.parametrize("fully_masked", ["uniform", "zero"])
@pytest.mark.parametrize("length", [1, 7, 16, 33, 49])
def test_bool_masks(variant, guards, rng, length, fully_masked):
    x = normal(rng, 2, 9, length) * 3
    for shape in [(2, 9, length), (9, length), (length,), (2, 1, length), (9, 1), (1,), ()]:
        mask = np.asarray(rng.random(shape) < 0.6)
        check(guards, x, mask=mask, scale=0.5, fully_masked=fully_masked)
    mask = rng.random((2, 9, length)) < 0.5
    mask[:, ::3] = False
    y = check(guards, x, mask=mask, fully_masked=fully_masked)
    expected = np.float32(1 / length if fully_masked == "uniform" else 0)
    assert_same_bits(y[:, ::3], np.full((2, 3, length), expected))


@pytest.mark.parametrize("fully_masked", ["uniform", "zero"])
def test_additive_masks(variant, guards, rng, fully_masked):
    x = normal(rng, 3, 4, 21)
    for shape in [(3, 4, 21), (21,), (3, 1, 21)]:
        mask = normal(rng, *shape) * 3
        mask[rng.random(shape) < 0.3] = -np.inf
        check(guards, x, mask=mask, scale=1.5, fully_masked=fully_masked)
    mask = normal(rng, 4, 21)
    mask[1] = -np.inf
    y = check(guards, x, mask=mask, fully_masked=fully_masked)
    assert_same_bits(y[:, 1], np.full((3, 21), np.float32(1 / 21 if fully_masked == "uniform" else 0)))


def test_finite_masks_are_added(variant, rng):
    """Hugging Face masks with the lowest float. A row masked as a whole becomes uniform."""
    lowest = np.finfo(np.float32).min
    x = normal(rng, 2, 5)
    mask = np.array([[0, 0, lowest, 0, lowest], [lowest] * 5], np.float32)
    y = ops.softmax(x, mask=mask, fully_masked="zero")
    assert_same_bits(y[0, [2, 4]], np.zeros(2, np.float32))
    assert_same_bits(y[1], np.full(5, np.float32(1 / 5)))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
def test_excluded_values_do_not_leak(variant, rng, value):
    x = normal(rng, 6, 35)
    mask = rng.random((6, 35)) < 0.7
    mask[:, 0] = True
    spoilt = np.where(mask, x, np.float32(value))
    additive = np.where(mask, np.float32(0), np.float32(-np.inf))
    expected = ops.softmax(x, mask=mask)
    assert_same_bits(ops.softmax(spoilt, mask=mask), expected)
    assert_same_bits(ops.softmax(spoilt, mask=additive), expected)


def test_special_values_stay_in_their_row(variant, rng):
    x = normal(rng, 7, 35)
    y = ops.softmax(x)
    spoilt = x.copy()
    spoilt[1, 5], spoilt[2, 34], spoilt[3] = np.nan, np.inf, -np.inf
    spoilt[4, 0] = -np.inf
    p = ops.softmax(spoilt)
    assert np.isnan(p[1:4]).all()
    assert p[4, 0] == 0 and abs(p[4].sum() - 1) < 1e-6
    assert_same_bits(p[[0, 5, 6]], y[[0, 5, 6]])
    mask = np.ones(35, bool)
    mask[:9] = False
    p = ops.softmax(spoilt, mask=mask)
    assert np.isnan(p[2:4, 9:]).all() and (p[:, :9] == 0).all()
    assert np.isfinite(p[1]).all()


@pytest.mark.parametrize("shape", [(0,), (0, 8), (4, 0), (2, 0, 3)])
def test_empty(variant, shape):
    x = np.zeros(shape, np.float32)
    assert ops.softmax(x).shape == shape
    assert ops.softmax(x, axis=0, mask=np.zeros(shape, bool), fully_masked="zero").shape == shape


def test_in_place(variant, rng):
    x, mask = normal(rng, 5, 33), rng.random((5, 33)) < 0.5
    y = ops.softmax(x, mask=mask)
    assert ops.softmax(x, mask=mask, out=x) is x
    assert_same_bits(x, y)


def test_layouts(variant, rng):
    x, mask = normal(rng, 6, 40), rng.random((6, 40)) < 0.5
    y = ops.softmax(x[::2, ::2].copy(), mask=mask[::2, ::2].copy())
    assert_same_bits(ops.softmax(x[::2, ::2], mask=mask[::2, ::2]), y)
    assert_same_bits(ops.softmax(np.asfortranarray(x), mask=np.asfortranarray(mask)), ops.softmax(x, mask=mask))
    assert_same_bits(ops.softmax(x, mask=np.broadcast_to(mask[0], (6, 40))), ops.softmax(x, mask=mask[0]))
    assert_same_bits(ops.softmax(x[3]), ops.softmax(x)[3])
    x.flags.writeable = mask.flags.writeable = False
    assert_same_bits(ops.softmax(x[::2, ::2], mask=mask[::2, ::2]), y)
