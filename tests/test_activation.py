"""gelu and tanh: accuracy over all of float32, special values, sizes."""

import functools

import numpy as np
import pytest
from op_helpers import CHANNELS, assert_same_bits, assert_within, gelu64, gelu_tanh64, normal, ulps

from squeezeops import ops

GELU_ERROR = {"none": 2e-7, "tanh": 5e-7}
GELU64 = {"none": gelu64, "tanh": gelu_tanh64}


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
def expected(name: str) -> np.ndarray:
    return np.tanh(sweep().astype(float)) if name == "tanh()" else GELU64[name](sweep())


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_gelu_over_all_floats(variant, approximate):
    y = ops.gelu(sweep(), approximate=approximate)
    assert_within(y, expected(approximate), GELU_ERROR[approximate] * np.maximum(1, np.abs(sweep().astype(float))))


def test_tanh_over_all_floats(variant):
    y = ops.tanh(sweep())
    assert ulps(y, expected("tanh()")).max() <= 2
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


@pytest.mark.parametrize("size", [0, *CHANNELS, 63, 64, 65, 127, 128, 129, 1000])
def test_sizes(variant, guards, rng, size):
    x = normal(rng, size) * 3
    assert_within(guards.call(ops.gelu, x), gelu64(x), 1e-6)
    assert_within(guards.call(ops.gelu, x, approximate="tanh"), gelu_tanh64(x), 1e-6)
    assert_within(guards.call(ops.tanh, x), np.tanh(x.astype(float)), 1e-6)


@pytest.mark.parametrize("op", [ops.gelu, ops.tanh])
def test_layouts(variant, rng, op):
    x = normal(rng, 4, 6, 10)
    y = op(x)
    assert_same_bits(op(x[()]), y)
    assert_same_bits(op(np.array(x[1, 2, 3])), np.array(y[1, 2, 3]))  # 0-dimensional
    assert_same_bits(op(x.transpose(2, 0, 1)), np.ascontiguousarray(y.transpose(2, 0, 1)))
    assert_same_bits(op(x[:, ::-2]), np.ascontiguousarray(y[:, ::-2]))
    assert_same_bits(op(np.broadcast_to(x[:1], (3, 6, 10))), np.repeat(y[:1], 3, axis=0))
    x.flags.writeable = False
    assert_same_bits(op(x), y)
    unaligned = np.frombuffer(b"?" + x.tobytes(), np.uint8)[1:].view(np.float32).reshape(x.shape)
    assert_same_bits(op(unaligned), y)


@pytest.mark.parametrize("op", [ops.gelu, ops.tanh])
def test_in_place(variant, rng, op):
    x = normal(rng, 5, 33)
    y = op(x)
    assert op(x, out=x) is x
    assert_same_bits(x, y)
