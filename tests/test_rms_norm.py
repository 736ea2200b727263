"""rms_norm against float64, and to the bit against the order of operations in the numerics contract."""

import numpy as np
import pytest
from op_helpers import (
    CHANNELS,
    EXACT_ISAS,
    ISAS,
    ROWS,
    UNIT,
    Variant,
    assert_same_bits,
    assert_within,
    call_c,
    native,
    normal,
)

from squeezeops import ops


def check(guards, x, weight=None, *, eps=1e-6, residual=None):
    """Compare with float64. The bound: one rounding per term of a partial sum, and those of what follows the sum."""
    y = guards.call(ops.rms_norm, x, weight, eps=eps, residual=residual)
    s = (x if residual is None else x + residual).astype(float)
    if s.size == 0:
        assert y.shape == s.shape
        return
    expected = s / np.sqrt((s * s).mean(axis=-1, keepdims=True) + float(np.float32(eps)))
    expected *= 1.0 if weight is None else weight.astype(float)
    assert_within(y, expected, (x.shape[-1] / 16 + 12) * UNIT * np.abs(expected) + 2.0**-149)


@pytest.mark.parametrize("channels", CHANNELS)
def test_sizes(variant, guards, rng, channels):
    weight = normal(rng, channels) + 1
    for rows in ROWS:
        check(guards, normal(rng, rows, channels), weight)
        check(guards, normal(rng, rows, channels), weight, residual=normal(rng, rows, channels))


@pytest.mark.parametrize("channels", [768, 1000, 2048, 4096])
def test_model_sizes(variant, guards, rng, channels):
    check(guards, normal(rng, 5, channels), normal(rng, channels), residual=normal(rng, 5, channels))


@pytest.mark.parametrize("given", ["", "w", "r", "wr"])
@pytest.mark.parametrize("shape", [(35,), (1, 35), (2, 3, 35)])
def test_optional_arguments(variant, guards, rng, shape, given):
    weight, residual = normal(rng, 35) + 2, normal(rng, *shape)
    check(guards, normal(rng, *shape), weight if "w" in given else None, residual=residual if "r" in given else None)


@pytest.mark.parametrize("scale", [1e-12, 1e-6, 1e6, 1e15])
def test_scales(variant, guards, rng, scale):
    for eps in (0, 1e-12, 1e-6):
        check(guards, normal(rng, 7, 50) * np.float32(scale), eps=eps)


@pytest.mark.parametrize("isa", EXACT_ISAS)
@pytest.mark.parametrize("channels", CHANNELS)
def test_order_of_operations(rng, isa, channels):
    """16 striped partial sums by fused multiply-add, then a tree: lanes i and i+8, i+4, i+2, i+1.

    The values have few enough bits that a square plus a partial sum is exact in float64. Rounding it to float32 gives
    the result of a fused multiply-add.
    """
    x = rng.integers(2**23, 2**24, (9, channels)).astype(np.float32) / np.float32(2**24)
    x *= rng.choice(np.array([-1, 1], np.float32), x.shape)
    residual, weight = rng.integers(-1, 2, x.shape).astype(np.float32) / np.float32(4), normal(rng, channels)
    s = x + residual
    lanes = np.zeros((9, 16), np.float32)
    for i in range(channels):
        lanes[:, i % 16] = lanes[:, i % 16].astype(float) + s[:, i].astype(float) ** 2
    for half in (8, 4, 2, 1):
        lanes = lanes[:, :half] + lanes[:, half : 2 * half]
    r = np.float32(1) / np.sqrt(lanes / np.float32(channels) + np.float32(0.1))
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


@pytest.mark.parametrize("shape", [(0,), (0, 8), (4, 0), (0, 0), (2, 0, 8)])
def test_empty(variant, shape):
    x = np.zeros(shape, np.float32)
    for eps in (0, 1e-6):
        assert ops.rms_norm(x, np.ones(shape[-1:], np.float32), eps=eps, residual=x).shape == shape


@pytest.mark.parametrize("place", [0, 15, 16, 34])
def test_special_values_stay_in_their_row(variant, rng, place):
    """A NaN fills its row. An infinity makes the others 0, with their signs, and itself NaN."""
    x = normal(rng, 9, 35)
    y, spoilt = ops.rms_norm(x), x.copy()
    spoilt[4, place], y[4] = np.nan, np.nan
    assert_same_bits(ops.rms_norm(spoilt), y)
    spoilt[4, place], y[4] = -np.inf, np.copysign(np.float32(0), x[4])
    y[4, place] = np.nan
    assert_same_bits(ops.rms_norm(spoilt), y)
    assert_same_bits(ops.rms_norm(x, residual=spoilt - x), y)


def test_squares_that_overflow_or_underflow(variant):
    x = np.full((3, 20), 2e19, np.float32)
    x[:, 1::2] *= -1
    assert_same_bits(ops.rms_norm(x), np.copysign(np.float32(0), x))  # 1 / inf is 0
    tiny = np.full((1, 20), 1e-25, np.float32)
    assert_same_bits(ops.rms_norm(tiny, eps=0.25), tiny * np.float32(2))
    assert np.isinf(ops.rms_norm(tiny, eps=0)).all()
    # Subnormal squares are not flushed to zero.
    exact = np.full((1, 16), 2.0**-74, np.float32)
    assert_same_bits(ops.rms_norm(exact, eps=0), np.ones((1, 16), np.float32))


def test_in_place(variant, rng):
    for channels in (1, 16, 33, 100):
        x, residual, weight = normal(rng, 7, channels), normal(rng, 7, channels), normal(rng, channels)
        for added in (None, residual):
            y, copy = ops.rms_norm(x, weight, residual=added), x.copy()
            assert ops.rms_norm(copy, weight, residual=added, out=copy) is copy
            assert_same_bits(copy, y)


def test_residual_may_be_x(variant, rng):
    x = normal(rng, 5, 33)
    assert_same_bits(ops.rms_norm(x, residual=x), ops.rms_norm(x + x))


def test_layouts(variant, rng):
    x, residual, weight = normal(rng, 6, 40), normal(rng, 6, 40), normal(rng, 40)
    y = ops.rms_norm(x[:, ::2].copy(), weight[::2].copy(), residual=residual[:, ::2].copy())
    for array in (x, residual, weight):
        array.flags.writeable = False
    assert_same_bits(ops.rms_norm(x[:, ::2], weight[::2], residual=residual[:, ::2]), y)
    assert_same_bits(ops.rms_norm(np.asfortranarray(x)), ops.rms_norm(x))
    assert_same_bits(ops.rms_norm(x[3]), ops.rms_norm(x)[3])


@pytest.mark.parametrize("isa", EXACT_ISAS)
def test_rows_do_not_depend_on_batch_or_threads(rng, isa):
    x, residual, weight = normal(rng, 1301, 53), normal(rng, 1301, 53), normal(rng, 53)
    before = ops.get_num_threads()
    with Variant("native", isa).active():
        try:
            ops.set_num_threads(1)
            whole = ops.rms_norm(x, weight, residual=residual)
            for begin, end in [(0, 1), (3, 4), (0, 5), (1, 7), (5, 14), (7, 28)]:
                assert_same_bits(ops.rms_norm(x[begin:end], weight, residual=residual[begin:end]), whole[begin:end])
            for n in (2, 3, 4):
                ops.set_num_threads(n)
                assert_same_bits(ops.rms_norm(x, weight, residual=residual), whole)
        finally:
            ops.set_num_threads(before)


@pytest.mark.parametrize("isa", ISAS)
def test_row_strides_in_c(rng, isa):
    """The gaps between rows are neither read nor written."""
    x, residual, weight = np.full((7, 40), np.nan, np.float32), np.full((7, 35), np.nan, np.float32), normal(rng, 33)
    x[:, :33], residual[:, :33] = normal(rng, 7, 33), normal(rng, 7, 33)
    out = np.full((7, 37), 7, np.float32)
    with Variant("native", isa).active():
        assert call_c("sqz_rms_norm_f32", 7, 33, x, 40, residual, 35, weight, 0.1, out, 37) == (0, "")
        expected = ops.rms_norm(x[:, :33].copy(), weight, eps=0.1, residual=residual[:, :33].copy())
    assert_same_bits(out[:, :33].copy(), expected)
    assert (out[:, 33:] == 7).all()


@pytest.mark.skipif(native is None, reason="built without the native extension")
def test_bad_arguments_in_c():
    x, out = np.zeros((6, 8), np.float32), np.full((6, 8), 7, np.float32)
    good = {
        "rows": 6, "n": 8, "x": x, "ldx": 8, "residual": x, "ldr": 8, "weight": None, "eps": 1e-6, "out": out, "ldo": 8,
    }  # fmt: skip
    for bad, name in (
        ({"rows": -1}, "x"),
        ({"n": -1}, "x"),
        ({"ldx": 7}, "x"),
        ({"x": None}, "x"),
        ({"ldr": 7}, "residual"),
        ({"out": None}, "out"),
        ({"ldo": 7}, "out"),
        ({"eps": -1e-300}, "eps"),
        ({"eps": np.nan}, "eps"),
    ):
        status, message = call_c("sqz_rms_norm_f32", *(good | bad).values())
        assert status == 1 and message.startswith(f"{name}: expected "), (bad, message)
        assert (out == 7).all()
    assert call_c("sqz_rms_norm_f32", *good.values()) == (0, "")
