"""quantize_rows: exact errors, ties, zero, tiny and special rows."""

from fractions import Fraction

import numpy as np
import pytest
from golden_bits import every_kind
from op_helpers import INT8_VARIANTS, normal
from op_table import OPS

from squeezeops import ops

F = np.float32
check = OPS["quantize_rows"].check
pytestmark = pytest.mark.parametrize("variant", INT8_VARIANTS, ids=str, indirect=True)


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


def test_the_largest_is_127_whatever_it_is(variant, guards, rng):
    """amax always becomes 127, for all kinds of mantissas and exponents, so no clamp is needed."""
    mantissas = 1 + rng.integers(0, 2**23, 3000) / 2**23
    x = (mantissas * 2.0 ** rng.integers(-99, 127, 3000)).astype(F)[:, None] * np.array([1, -1, 0.5], F)
    values = ops.quantize_rows(x).values
    assert (values[:, 0] == 255).all() and (values[:, 1] == 1).all()
    check(guards, x=np.array([[np.finfo(F).max, -np.finfo(F).max, 1]], F))


def test_zero_and_tiny_rows(variant, guards):
    least = F(2.0**-100)
    x = np.zeros((6, 5), F)
    x[1, 2], x[2, 2], x[3, 4], x[4, 0], x[5, :] = least, np.nextafter(least, F(0)), -least, 2.0**-149, -0.0
    values, scales = check(guards, x=x)
    assert values[1, 2] == 255 and values[3, 4] == 1
    assert (values[[0, 2, 4, 5]] == 128).all() and (scales[[0, 2, 4, 5]] == 0).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_special_values_mark_their_row_and_group(variant, guards, rng, bad):
    for n in (1, 3, 16, 33, 64, 100):
        for place in {0, n // 2, n - 1}:
            x = normal(rng, 7, 3 * n)
            x[4, n + place] = bad
            scales = check(guards, x=x, groups=3).scales
            assert np.isnan(scales[4, 1]) and np.isnan(scales).sum() == 1


def test_any_bit_patterns(variant, guards):
    check(guards, x=every_kind(50, 300, 30), groups=3)
    check(guards, x=every_kind(51, 600, 1))


def test_rotation_is_the_hadamard_matrix(variant):
    """One-hot rows give its rows: each 1 or -1, orthogonal, the first all 1."""
    rows = ops.quantize_rows(np.eye(128, dtype=F), rotate=True)
    matrix = (rows.values.astype(int) - 128) // 127
    assert (np.abs(matrix) == 1).all() and (matrix[0] == 1).all() and (rows.scales == F(1) / F(127)).all()
    assert (matrix == matrix.T).all() and (matrix @ matrix == 128 * np.eye(128)).all()


def test_rotated_rows_of_odd_values(variant, guards):
    """Zeros, subnormals (which no instruction set may flush), overflow to infinity and NaN in one block."""
    x = np.zeros((7, 256), F)
    x[1, 200] = 1e-45
    x[2, ::3], x[2, 4] = 1.2e-38, 1e-30
    x[3, :2] = 3e38
    x[4, 130] = np.nan
    x[5, 7] = -np.inf
    x[6, 1::2] = np.nextafter(F(2.0**-100), F(0))
    OPS["quantize_rows rotated"].check(guards, x=x, groups=2)
