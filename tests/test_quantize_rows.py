"""quantize_rows against exact arithmetic: groups, odd channels, ties, zero, tiny and special rows."""

from fractions import Fraction

import numpy as np
import pytest
from golden_bits import every_kind
from op_helpers import INT8_VARIANTS, assert_same_bits, normal

from squeezeops import ops

F = np.float32
CHANNELS = (1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 31, 48, 63, 64, 65, 67, 127, 128, 192, 300, 4100)


@pytest.fixture(params=INT8_VARIANTS, ids=str)
def variant(request):
    """A backend, or an ISA of the native backend that has its own int8 kernels."""
    with request.param.active():
        yield request.param


def expected(x, groups):
    """Values and scales by the formula, one float32 operation at a time."""
    n = x.shape[-1] // groups
    by_group = x.reshape(*x.shape[:-1], groups, n)
    values = np.full((*by_group.shape[:-1], -(-n // 4) * 4), 128, np.uint8)
    scales = np.zeros(by_group.shape[:-1], F)
    for at in np.ndindex(scales.shape):
        row = by_group[at]
        m = F(0) if n == 0 else np.abs(row).max()
        if not np.isfinite(m):
            scales[at] = np.nan
        elif m >= 2.0**-100:
            scales[at] = m / F(127)
            values[at][:n] = np.rint(row * (F(127) / m)).astype(int) + 128
    return values.reshape(*x.shape[:-1], groups * values.shape[-1]), scales


def rotated(x):
    """The product with the Hadamard matrix of size 128, by its stages, one float32 addition at a time."""
    y, h = x.reshape(-1, 128).copy(), 1
    low = np.arange(128)
    while h < 128:
        i = low[low & h == 0]
        y[:, i], y[:, i + h] = y[:, i] + y[:, i + h], y[:, i] - y[:, i + h]
        h *= 2
    return y.reshape(x.shape)


def check(x, groups=1):
    rows = ops.quantize_rows(x, groups=groups)
    values, scales = expected(x, groups)
    assert type(rows) is ops.QuantizedRows
    assert rows.values.dtype == np.uint8 and rows.values.flags.c_contiguous
    np.testing.assert_array_equal(rows.values, values)
    assert_same_bits(rows.scales, scales)
    room = ops.QuantizedRows(np.empty_like(values), np.empty_like(scales))
    into = ops.quantize_rows(x, groups=groups, out=room)
    assert into.values is room.values and into.scales is room.scales
    np.testing.assert_array_equal(into.values, values)
    assert_same_bits(into.scales, scales)
    return rows


@pytest.mark.parametrize("groups", [1, 2, 3, 5])
def test_sizes(variant, guards, rng, groups):
    for n in CHANNELS:
        for rows in (1, 2, 7, 17) if n < 70 else (3,):
            x = normal(rng, rows, groups * n) * F(2.0) ** rng.integers(-40, 40, (rows, 1)).astype(F)
            check(guards.keep(x), groups)
    guards.check()


def test_shapes(variant, rng):
    for shape in [(8,), (0,), (0, 8), (2, 0, 8), (3, 0), (2, 3, 8), (2, 1, 3, 8)]:
        check(normal(rng, *shape), 2)


def test_values_are_within_half_a_step(variant, rng):
    x = normal(rng, 9, 200)
    values, scales = ops.quantize_rows(x)
    for row, bytes_of, scale in zip(x.tolist(), values.tolist(), scales[:, 0].tolist(), strict=True):
        step, most = Fraction(scale), max(map(abs, row))
        assert 1 in bytes_of or 255 in bytes_of  # the value of largest magnitude becomes -127 or 127
        for x_, v in zip(row, bytes_of, strict=False):
            assert abs((v - 128) * step - Fraction(x_)) <= step * Fraction(1, 2) + Fraction(most) * Fraction(2, 2**24)


def test_ties_go_to_even(variant):
    x = np.array([[127, 0.5, 1.5, 2.5, 3.5, -0.5, -1.5, -2.5, 126.5, -126.5, 125.5]], F)
    values, scales = ops.quantize_rows(x)
    assert (values[0, :11].astype(int) - 128).tolist() == [127, 0, 2, 2, 4, 0, -2, -2, 126, -126, 126]
    assert values[0, 11] == 128 and scales.tolist() == [[1]]


def test_the_largest_is_127_whatever_it_is(variant, rng):
    """amax always becomes 127, for all kinds of mantissas and exponents, so no clamp is needed."""
    mantissas = 1 + rng.integers(0, 2**23, 3000) / 2**23
    x = (mantissas * 2.0 ** rng.integers(-99, 127, 3000)).astype(F)[:, None] * np.array([1, -1, 0.5], F)
    values = ops.quantize_rows(x).values
    assert (values[:, 0] == 255).all() and (values[:, 1] == 1).all()
    check(np.array([[np.finfo(F).max, -np.finfo(F).max, 1]], F))


def test_zero_and_tiny_rows(variant):
    least = F(2.0**-100)
    x = np.zeros((6, 5), F)
    x[1, 2], x[2, 2], x[3, 4], x[4, 0], x[5, :] = least, np.nextafter(least, F(0)), -least, 2.0**-149, -0.0
    values, scales = check(x)
    assert values[1, 2] == 255 and values[3, 4] == 1
    assert (values[[0, 2, 4, 5]] == 128).all() and (scales[[0, 2, 4, 5]] == 0).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("n", [1, 3, 16, 33, 64, 100])
def test_special_values_mark_their_row_and_group(variant, rng, bad, n):
    x = normal(rng, 7, 3 * n)
    before = ops.quantize_rows(x, groups=3)
    for place in {0, n // 2, n - 1}:
        spoilt = x.copy()
        spoilt[4, n + place] = bad
        values, scales = check(spoilt, 3)
        assert np.isnan(scales[4, 1]) and np.isnan(scales).sum() == 1
        width = values.shape[1] // 3
        assert (values[4, width : 2 * width] == 128).all()
        values[4], scales[4] = before.values[4], before.scales[4]
        np.testing.assert_array_equal(values, before.values)
        assert_same_bits(scales, before.scales)


def test_any_bit_patterns(variant):
    check(every_kind(50, 300, 30), 3)
    check(every_kind(51, 600, 1))


def test_memory_layouts(variant, rng):
    x = normal(rng, 10, 24)
    for view in (x[::2], x[:, ::2], x.T, x[::-1, ::-1], np.asfortranarray(x)):
        check(view, 2)
    x.flags.writeable = False
    check(x, 2)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("n", [128, 256, 384, 640, 1536, 4096, 8192])
def test_rotates_rows(variant, guards, rng, n, groups):
    """Odd and even numbers of blocks, groups on their own and in batches; one channel with an outlier."""
    for rows in (1, 2, 9, 33) if n < 1000 else (3,):
        x = normal(rng, rows, groups * n) * F(2.0) ** rng.integers(-40, 40, (rows, 1)).astype(F)
        x[:, 5] *= 50
        kept, room = guards.keep(x), guards.empty((rows, groups * n), "uint8")
        result = ops.quantize_rows(kept, groups=groups, rotate=True, out=(room, guards.empty((rows, groups))))
        values, scales = expected(rotated(x), groups)
        np.testing.assert_array_equal(result.values, values)
        assert_same_bits(result.scales, scales)
    guards.check()


def test_rotation_is_the_hadamard_matrix(variant):
    """One-hot rows give its rows: each 1 or -1, orthogonal, the first all 1."""
    rows = ops.quantize_rows(np.eye(128, dtype=F), rotate=True)
    matrix = (rows.values.astype(int) - 128) // 127
    assert (np.abs(matrix) == 1).all() and (matrix[0] == 1).all() and (rows.scales == F(1) / F(127)).all()
    assert (matrix == matrix.T).all() and (matrix @ matrix == 128 * np.eye(128)).all()


def test_rotated_rows_of_odd_values(variant):
    """Zeros, subnormals (which no instruction set may flush), overflow to infinity and NaN in one block."""
    x = np.zeros((7, 256), F)
    x[1, 200] = 1e-45
    x[2, ::3], x[2, 4] = 1.2e-38, 1e-30
    x[3, :2] = 3e38
    x[4, 130] = np.nan
    x[5, 7] = -np.inf
    x[6, 1::2] = np.nextafter(F(2.0**-100), F(0))
    with np.errstate(all="ignore"):
        values, scales = expected(rotated(x), 2)
        result = ops.quantize_rows(x, groups=2, rotate=True)
    np.testing.assert_array_equal(result.values, values)
    assert_same_bits(result.scales, scales)


@pytest.mark.parametrize("shape", [(0,), (0, 128), (2, 0, 256), (3, 0), (2, 3, 128)])
def test_shapes_of_rotated_rows(variant, rng, shape):
    x = normal(rng, *shape)
    result = ops.quantize_rows(x, rotate=True)
    values, scales = expected(rotated(x), 1)
    np.testing.assert_array_equal(result.values, values)
    assert_same_bits(result.scales, scales)
