"""l2_normalize against float64, and to the bit against the sum of squares in the numerics contract."""

import numpy as np
import pytest
from op_helpers import EXACT_ISAS, ISAS, ROWS, UNIT, Variant, assert_same_bits, assert_within, call_c, native, normal

from squeezeops import ops

CHANNELS = (1, 2, 15, 16, 17, 31, 32, 33, 47, 48, 49, 63, 64, 65)  # around 1 to 4 vectors of 16 lanes


def check(guards, x, eps=1e-12):
    """Compare with float64. The bound: one rounding per term of a partial sum, and those of tree, root and division."""
    y = guards.call(ops.l2_normalize, x, eps=eps)
    norm = np.sqrt((x.astype(float) ** 2).sum(axis=-1, keepdims=True))
    expected = x / np.maximum(norm, float(np.float32(eps)))
    assert_within(y, expected, (x.shape[-1] / 16 + 8) * UNIT * np.abs(expected) + 2.0**-149)
    return y


@pytest.mark.parametrize("channels", CHANNELS)
def test_sizes(variant, guards, rng, channels):
    for rows in ROWS:
        y = check(guards, normal(rng, rows, channels))
        assert_within((y.astype(float) ** 2).sum(axis=-1), np.ones(rows), 2e-6)


@pytest.mark.parametrize("channels", [384, 768, 1000])
def test_model_sizes(variant, guards, rng, channels):
    check(guards, normal(rng, 5, channels))


@pytest.mark.parametrize("shape", [(19,), (1, 19), (2, 3, 19), (2, 1, 3, 19)])
def test_leading_axes(variant, guards, rng, shape):
    check(guards, normal(rng, *shape))


@pytest.mark.parametrize("scale", [1e-15, 1e-6, 1e6, 1e15])
def test_scales(variant, guards, rng, scale):
    check(guards, normal(rng, 7, 50) * np.float32(scale), eps=1e-18)
    check(guards, normal(rng, 7, 50) * np.float32(scale))


@pytest.mark.parametrize("isa", EXACT_ISAS)
@pytest.mark.parametrize("channels", CHANNELS)
def test_order_of_the_sum(rng, isa, channels):
    """16 striped partial sums by fused multiply-add, then a tree: lanes i and i+8, i+4, i+2, i+1.

    The values have few enough bits that a square plus a partial sum is exact in float64. Rounding it to float32 gives
    the result of a fused multiply-add.
    """
    x = rng.integers(2**23, 2**24, (9, channels)).astype(np.float32) / np.float32(2**24)
    x *= rng.choice(np.array([-1, 1], np.float32), x.shape)
    lanes = np.zeros((9, 16), np.float32)
    for i in range(channels):
        lanes[:, i % 16] = lanes[:, i % 16].astype(float) + x[:, i].astype(float) ** 2
    for half in (8, 4, 2, 1):
        lanes = lanes[:, :half] + lanes[:, half : 2 * half]
    with Variant("native", isa).active():
        assert_same_bits(ops.l2_normalize(x), x / np.sqrt(lanes))


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


@pytest.mark.parametrize("eps", [0, 1e-12, 1e30])
@pytest.mark.parametrize("place", [0, 15, 16, 34])
def test_nan_fills_its_row(variant, rng, eps, place):
    x = normal(rng, 9, 35)
    y = ops.l2_normalize(x, eps=eps)
    x[4, place] = np.nan
    y[4] = np.nan
    assert_same_bits(ops.l2_normalize(x, eps=eps), y)


def test_infinity(variant, rng):
    x = normal(rng, 6, 35)
    y = ops.l2_normalize(x)
    x[1, 0], x[3, 34] = np.inf, -np.inf
    y[[1, 3]] = np.copysign(np.float32(0), x[[1, 3]])
    y[1, 0] = y[3, 34] = np.nan
    assert_same_bits(ops.l2_normalize(x), y)


def test_squares_that_overflow(variant):
    """The norm is infinite, so the result is zeros with the signs of x."""
    x = np.full((3, 20), 2e19, np.float32)
    x[:, 1::2] *= -1
    assert_same_bits(ops.l2_normalize(x), np.copysign(np.float32(0), x))
    x[:, 1:] = 1  # one overflowing square is enough
    assert_same_bits(ops.l2_normalize(x), np.zeros_like(x))
    x[:, 0] = 1e19  # whose square does not overflow
    assert_within(ops.l2_normalize(x), x / 1e19, 1e-6 * x / 1e19)


def test_squares_that_underflow(variant, guards):
    """The norm is 0, so the values are divided by eps."""
    x = np.array([1e-25, -3e-30, 1e-40, 2.0**-149], np.float32).repeat(5).reshape(1, 20)
    assert_same_bits(ops.l2_normalize(x), x / np.float32(1e-12))
    assert_same_bits(ops.l2_normalize(x, eps=0), np.copysign(np.float32(np.inf), x))
    # Subnormal squares are not flushed to zero.
    assert_same_bits(
        ops.l2_normalize(np.full((1, 16), 2.0**-74, np.float32), eps=0), np.full((1, 16), 0.25, np.float32)
    )


@pytest.mark.parametrize("shape", [(0,), (0, 8), (4, 0), (0, 0), (2, 0, 8)])
def test_empty(variant, shape):
    assert ops.l2_normalize(np.zeros(shape, np.float32)).shape == shape
    assert ops.l2_normalize(np.zeros(shape, np.float32), eps=0).shape == shape


def test_in_place(variant, rng):
    for channels in (1, 16, 33, 100):
        x = normal(rng, 7, channels)
        y = ops.l2_normalize(x)
        assert ops.l2_normalize(x, out=x) is x
        assert_same_bits(x, y)


def test_layouts(variant, rng):
    x = normal(rng, 6, 40)
    y = ops.l2_normalize(x[::-1, ::2].copy())
    assert_same_bits(ops.l2_normalize(x[::-1, ::2]), y)
    assert_same_bits(ops.l2_normalize(np.asfortranarray(x)), ops.l2_normalize(x))
    assert_same_bits(ops.l2_normalize(x[3]), ops.l2_normalize(x)[3])
    x.flags.writeable = False
    assert_same_bits(ops.l2_normalize(x[::-1, ::2]), y)


@pytest.mark.parametrize("isa", ISAS)
def test_row_strides_in_c(rng, isa):
    """The gaps between rows are neither read nor written."""
    x, out = np.full((7, 40), np.nan, np.float32), np.full((7, 37), 7, np.float32)
    x[:, :33] = normal(rng, 7, 33)
    with Variant("native", isa).active():
        assert call_c("sqz_l2_normalize_f32", 7, 33, x, 40, 1e-12, out, 37) == (0, "")
        assert_same_bits(out[:, :33].copy(), ops.l2_normalize(x[:, :33].copy()))
    assert (out[:, 33:] == 7).all()


@pytest.mark.skipif(native is None, reason="built without the native extension")
def test_bad_arguments_in_c():
    x, out = np.zeros((6, 8), np.float32), np.full((6, 8), 7, np.float32)
    good = {"rows": 6, "n": 8, "x": x, "ldx": 8, "eps": 1e-12, "out": out, "ldo": 8}
    for bad, name in (
        ({"rows": -1}, "x"),
        ({"n": -1}, "x"),
        ({"ldx": 7}, "x"),
        ({"ldx": 2**60}, "x"),
        ({"x": None}, "x"),
        ({"out": None}, "out"),
        ({"ldo": 7}, "out"),
        ({"eps": -1e-300}, "eps"),
        ({"eps": np.nan}, "eps"),
        ({"eps": 1e39}, "eps"),
    ):
        status, message = call_c("sqz_l2_normalize_f32", *(good | bad).values())
        assert status == 1 and message.startswith(f"{name}: expected "), (bad, message)
        assert (out == 7).all()
    assert call_c("sqz_l2_normalize_f32", *good.values()) == (0, "")
