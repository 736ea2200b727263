"""gelu and tanh: accuracy over all of float32, special values."""

import functools

import numpy as np
import pytest
from every_float import differences
from golden_bits import TO_TOLERANCE
from op_helpers import EXACT_ISAS, assert_same_bits, assert_within, ulps
from op_table import gelu64, tanh64

from squeezeops import ops


@functools.cache
def sweep() -> np.ndarray:
    """100,000 floats from the whole range, 100,000 in [-20, 20], and all near the ends of each polynomial's range."""
    anywhere = np.arange(0, 2**32, 42_949, dtype=np.uint64).astype(np.uint32).view(np.float32)
    seams = [0, 0.625, 1, 5, 10, 13.1, 20, 44, 88.7, 3e38, 2.0**-126, 2.0**-149]
    around = [np.float32(s).view(np.uint32).astype(int) + np.arange(-50, 51) for s in seams]
    close = np.clip(np.concatenate(around), 0, None).astype(np.uint32).view(np.float32)
    x = np.concatenate([anywhere, np.linspace(-20, 20, 100_001, dtype=np.float32), close, -close])
    return x[x == x]


@functools.cache
def expected(reference, *arguments):
    with np.errstate(all="ignore"):
        return reference(sweep(), *arguments)


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_gelu_over_all_floats(variant, approximate):
    assert_within(ops.gelu(sweep(), approximate=approximate), *expected(gelu64, approximate))


def test_tanh_over_all_floats(variant):
    y = ops.tanh(sweep())
    assert ulps(y, expected(tanh64)[0]).max() <= 2
    assert (np.abs(y) <= 1).all()
    np.testing.assert_array_equal(np.signbit(y), np.signbit(sweep()))


def test_gelu_special_values(variant):
    x = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, -np.nan, 100, -100], np.float32)
    assert_same_bits(ops.gelu(x), np.array([0.0, -0.0, np.inf, -0.0, np.nan, np.nan, 100, -0.0], np.float32))


def test_gelu_tanh_special_values(variant):
    x = np.array([0.0, -0.0, np.inf, np.nan, 100, 3e38], np.float32)
    assert_same_bits(ops.gelu(x, approximate="tanh"), np.array([0.0, -0.0, np.inf, np.nan, 100, 3e38], np.float32))
    tail = ops.gelu(np.array([-np.inf, -3e38, -100], np.float32), approximate="tanh")
    assert (np.signbit(tail) & (tail > -1e-30)).all()


def test_tanh_special_values(variant):
    x = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 100, -100, 2.0**-149, -(2.0**-149)], np.float32)
    assert_same_bits(ops.tanh(x), np.array([0.0, -0.0, 1, -1, np.nan, 1, -1, 2.0**-149, -(2.0**-149)], np.float32))


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_gelu_rises(variant, approximate):
    """gelu rises to the right of its minimum, also where two polynomials meet."""
    x = np.linspace(-0.7, 14, 50_000, dtype=np.float32)
    y = ops.gelu(x, approximate=approximate)
    assert np.diff(y).min() >= -4e-7


def test_gelu_of_nan_is_that_nan(variant):
    """With its sign and its payload, so that the bits of a NaN depend neither on the ISA nor on the backend.

    Where no bits are promised, it is a NaN.
    """
    nan = np.array([0x7FC00000, 0xFFC00000, 0x7FC12345, 0xFFFFFFFF, 0x7F800001, 0xFF812345], np.uint32)
    x = np.tile(nan, 40).view(np.float32)
    y = ops.gelu(x)
    assert np.isnan(y).all()
    if variant.isa not in TO_TOLERANCE:
        np.testing.assert_array_equal(y.view(np.uint32), np.tile(nan | 0x400000, 40))


@pytest.mark.skipif(not EXACT_ISAS, reason="the package was built without its extension")
def test_a_sample_of_all_floats_has_the_bits_of_scalar():
    assert list(differences(4099)) == []
