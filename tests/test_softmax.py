"""softmax: the exp inside it, axes, masks of every shape."""

import functools
import os
import shlex

import numpy as np
import pytest
from build_helpers import ROOT, run, tool
from golden_bits import TO_TOLERANCE
from op_helpers import assert_same_bits, normal, ulps
from op_table import OPS

from squeezeops import ops

check = OPS["softmax"].check


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
    check(guards, x=normal(rng, 3, 5, 9), axis=axis)
    check(guards, x=normal(rng, 3, 5, 9), axis=np.int64(axis), mask=rng.random((5, 1)) < 0.6, scale=0.5)


@pytest.mark.parametrize("fully_masked", ["uniform", "zero"])
@pytest.mark.parametrize("length", [1, 7, 16, 33, 49])
def test_bool_masks(variant, guards, rng, length, fully_masked):
    x = normal(rng, 2, 9, length) * 3
    for shape in [(2, 9, length), (9, length), (length,), (2, 1, length), (9, 1), (1,), ()]:
        mask = np.asarray(rng.random(shape) < 0.6)
        check(guards, x=x, mask=mask, scale=0.5, fully_masked=fully_masked)
    mask = rng.random((2, 9, length)) < 0.5
    mask[:, ::3] = False
    y = check(guards, x=x, mask=mask, fully_masked=fully_masked)
    expected = np.float32(1 / length if fully_masked == "uniform" else 0)
    assert_same_bits(y[:, ::3], np.full((2, 3, length), expected))


@pytest.mark.parametrize("fully_masked", ["uniform", "zero"])
def test_additive_masks(variant, guards, rng, fully_masked):
    x = normal(rng, 3, 4, 21)
    for shape in [(3, 4, 21), (21,), (3, 1, 21)]:
        mask = normal(rng, *shape) * 3
        mask[rng.random(shape) < 0.3] = -np.inf
        check(guards, x=x, mask=mask, scale=1.5, fully_masked=fully_masked)
    mask = normal(rng, 4, 21)
    mask[1] = -np.inf
    y = check(guards, x=x, mask=mask, fully_masked=fully_masked)
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


def test_the_quotient_is_that_of_a_division(tmp_path):
    """csrc/kernels/softmax divides by the sum without a division; numerics.md has the proof."""
    first, *flags = shlex.split(os.environ.get("CXX", "c++"))
    program, include = tmp_path / "quotient_test", f"-I{ROOT}/csrc"
    options = ["-std=c++17", "-O2", "-ffp-contract=off", "-Wall", "-Wextra", "-Werror", include, f"{include}/include"]
    run(tool(first, "g++", "clang++"), *flags, *options, ROOT / "tests" / "quotient_test.cc", "-o", program, "-lm")
    run(program, 16)


@pytest.mark.parametrize("lowest", [-50, -60, -87, -100])
def test_small_quotients_in_long_rows(variant, rng, lowest):
    """Down to where dividing by the sum gives subnormal numbers: each quotient is that of a division."""
    x = np.zeros((3, 600), np.float32)
    x[:, 100:] = rng.uniform(lowest, lowest + 5, (3, 500))
    p = ops.softmax(x)
    assert (p[:, :100] == np.float32(1) / np.float32(100)).all()
    alone = ops.softmax(np.stack([np.zeros_like(x[:, 100:]), x[:, 100:]], axis=-1))[..., 1]  # divided by 1
    if variant.isa not in TO_TOLERANCE:
        assert_same_bits(p[:, 100:], alone / np.float32(100))
