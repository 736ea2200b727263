"""mean_pool against float64, and to the bit against the chain of additions that defines it; masks."""

import itertools

import numpy as np
import pytest
from op_helpers import ISAS, UNIT, Variant, assert_same_bits, assert_within, call_c, native, normal

from squeezeops import ops

CHANNELS = (1, 15, 16, 17, 31, 32, 33, 47, 48, 49, 63, 64, 65)  # around 1 to 4 vectors of 16 lanes
LENGTHS = (0, 1, 2, 3, 4, 5, 7, 8, 9, 13)  # around the number of rows that are added per step


def chain(x, keep):
    """The definition in float32: add the rows to +0 in ascending order, then divide."""
    total = np.zeros((*x.shape[:-2], x.shape[-1]), np.float32)
    for position in range(x.shape[-2]):
        with np.errstate(invalid="ignore"):
            total = np.where(keep[..., position, None], total + x[..., position, :], total)
    count = keep.sum(axis=-1)[..., None]
    return np.where(count > 0, total / np.maximum(count, 1).astype(np.float32), np.float32(0))


def check(guards, x, mask=None):
    """Compare with float64, with one rounding per addition and one for the division, and with the exact bits."""
    y = guards.call(ops.mean_pool, x, mask=mask)
    keep = np.broadcast_to(True if mask is None else mask, x.shape[:-1])
    kept = np.where(keep[..., None], x, 0).astype(float)
    count = keep.sum(axis=-1)[..., None]
    divisor = np.maximum(count, 1)
    with np.errstate(invalid="ignore"):
        mean, size = kept.sum(axis=-2) / divisor, np.abs(kept).sum(axis=-2) / divisor
    assert_within(y, mean, (count + 1) * UNIT * size)
    assert_same_bits(y, chain(x, keep))
    return y


@pytest.mark.parametrize("channels", CHANNELS)
def test_sizes(variant, guards, rng, channels):
    for length in LENGTHS:
        x = normal(rng, 3, length, channels) + 1
        check(guards, x)
        check(guards, x, rng.random((3, length)) < 0.6)


@pytest.mark.parametrize("shape", [(2, 128, 384), (1, 50, 768)])
def test_model_sizes(variant, guards, rng, shape):
    lengths = rng.integers(1, shape[1], shape[0])
    check(guards, normal(rng, *shape), np.arange(shape[1]) < lengths[:, None])


@pytest.mark.parametrize("shape", [(6, 19), (1, 6, 19), (4, 6, 19), (2, 3, 6, 19), (2, 1, 3, 6, 19)])
def test_leading_axes(variant, guards, rng, shape):
    y = check(guards, normal(rng, *shape), rng.random(shape[:-1]) < 0.5)
    assert y.shape == (*shape[:-2], 19)


@pytest.mark.parametrize(
    "shape", [(2, 3, 7), (3, 7), (7,), (1, 7), (2, 1, 7), (1, 3, 1), (2, 3, 1), (2, 1, 1), (1,), ()]
)
def test_masks_are_broadcast(variant, guards, rng, shape):
    x = normal(rng, 2, 3, 7, 19)
    check(guards, x, np.asarray(rng.random(shape) < 0.6))
    check(guards, x, np.ones(shape, bool))
    check(guards, x, np.zeros(shape, bool))


def test_every_mask(variant, guards, rng):
    """Every subset of 9 rows: each position in a block of rows, before and after gaps."""
    masks = np.array(list(itertools.product((False, True), repeat=9)))
    check(guards, normal(rng, len(masks), 9, 17), masks)


def test_no_row(variant, rng):
    """Without any row, or with all rows masked, the result is +0."""
    mask = np.array([[True] * 5, [False] * 5, [False, True, False, False, False]])
    x = normal(rng, 3, 5, 33)
    y = ops.mean_pool(x, mask=mask)
    assert_same_bits(y[1], np.zeros(33, np.float32))
    assert_same_bits(y[2], x[2, 1])
    out = np.full((2, 33), np.nan, np.float32)
    for mask in (None, np.ones((2, 0), bool), np.ones(1, bool)):
        assert ops.mean_pool(np.zeros((2, 0, 33), np.float32), mask=mask, out=out) is out
        assert_same_bits(out, np.zeros((2, 33), np.float32))
        out[...] = np.nan


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
def test_excluded_rows_do_not_leak(variant, rng, value):
    x = normal(rng, 6, 11, 35)
    mask = rng.random((6, 11)) < 0.6
    mask[3] = False
    spoilt = np.where(mask[..., None], x, np.float32(value))
    assert_same_bits(ops.mean_pool(spoilt, mask=mask), ops.mean_pool(x, mask=mask))


def test_special_values_stay_in_their_channel(variant, guards, rng):
    x = normal(rng, 4, 6, 35)
    y = ops.mean_pool(x)
    x[1, 5, 34] = np.nan
    x[2, 0, 3] = np.inf
    x[2, 2:4, 16] = np.inf, -np.inf
    spoilt = check(guards, x)
    expected = y.copy()
    expected[1, 34] = expected[2, 16] = np.nan
    expected[2, 3] = np.inf
    assert_same_bits(spoilt, expected)


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
    check(guards, x)
    assert_same_bits(ops.mean_pool(np.full((3, 20), 7 * tiny)), np.full(20, 7 * tiny))


@pytest.mark.parametrize("shape", [(0, 5, 8), (2, 5, 0), (0, 8), (5, 0), (0, 0), (0, 0, 0), (2, 0, 3, 8)])
def test_empty(variant, shape):
    expected = np.zeros((*shape[:-2], shape[-1]), np.float32)
    for mask in (None, np.ones(shape[:-1], bool), np.zeros((), bool)):
        assert_same_bits(ops.mean_pool(np.zeros(shape, np.float32), mask=mask), expected)


def test_layouts(variant, rng):
    x, mask = normal(rng, 4, 10, 40), rng.random((4, 10)) < 0.5
    y = ops.mean_pool(x[::2, ::-1, ::2].copy(), mask=mask[::2, ::-1].copy())
    assert_same_bits(ops.mean_pool(x[::2, ::-1, ::2], mask=mask[::2, ::-1]), y)
    assert_same_bits(ops.mean_pool(np.asfortranarray(x), mask=np.asfortranarray(mask)), ops.mean_pool(x, mask=mask))
    assert_same_bits(ops.mean_pool(x, mask=np.broadcast_to(mask[0], (4, 10))), ops.mean_pool(x, mask=mask[0]))
    assert_same_bits(ops.mean_pool(x[3], mask=mask[3]), ops.mean_pool(x, mask=mask)[3])
    x.flags.writeable = mask.flags.writeable = False
    assert_same_bits(ops.mean_pool(x[::2, ::-1, ::2], mask=mask[::2, ::-1]), y)


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


@pytest.mark.skipif(native is None, reason="built without the native extension")
def test_bad_arguments_in_c():
    x, out, mask = np.zeros((6, 8), np.float32), np.full((2, 8), 7, np.float32), np.ones((2, 3), bool)
    good = {"batch": 2, "length": 3, "n": 8, "x": x, "ldx": 8, "mask": mask, "mask_stride": 3, "out": out, "ldo": 8}
    for bad, name in (
        ({"batch": -1}, "batch"),
        ({"length": -1}, "batch"),
        ({"batch": 2**40, "length": 2**40}, "batch"),
        ({"n": -1}, "x"),
        ({"ldx": 7}, "x"),
        ({"ldx": 2**60}, "x"),
        ({"x": None}, "x"),
        ({"mask_stride": 2}, "mask"),
        ({"mask_stride": -3}, "mask"),
        ({"out": None}, "out"),
        ({"ldo": 7}, "out"),
    ):
        status, message = call_c("sqz_mean_pool_f32", *(good | bad).values())
        assert status == 1 and message.startswith(f"{name}: expected "), (bad, message)
        assert (out == 7).all()
    assert call_c("sqz_mean_pool_f32", *good.values()) == (0, "")
