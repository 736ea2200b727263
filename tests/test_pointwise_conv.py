"""pointwise_conv, PointwiseConv and pointwise_convs: exact cases, layouts, packed weights."""

import copy
import pickle

import numpy as np
import pytest
from op_helpers import ACTIVATIONS64, assert_repeats, assert_within, normal
from op_table import OPS, conv64

from squeezeops import ops


def test_relu_keeps_nan(variant):
    x = np.array([[np.nan], [-np.inf], [np.inf], [-1], [2]], np.float32)
    y = ops.pointwise_conv(x, np.ones((1, 1), np.float32), activation="relu")
    np.testing.assert_array_equal(y, np.array([[np.nan], [0], [np.inf], [0], [2]], np.float32))


def test_subnormal_weights_are_zero(variant):
    weight = np.array([[2.0**-127], [-(2.0**-149)], [2.0**-126]], np.float32)
    x = np.array([[2.0**126]], np.float32)
    np.testing.assert_array_equal(ops.pointwise_conv(x, weight), np.array([[0, 0, 1]], np.float32))
    np.testing.assert_array_equal(ops.PointwiseConv(weight)(x), np.array([[0, 0, 1]], np.float32))


def test_subnormal_results_are_kept(variant):
    y = ops.pointwise_conv(np.array([[2.0**-100]], np.float32), np.array([[2.0**-40]], np.float32))
    assert y[0, 0] == np.float32(2.0**-140)


def test_torch_weight_shape(variant, rng):
    x, weight = normal(rng, 5, 12), normal(rng, 8, 3)
    assert_repeats(ops.pointwise_conv(x, weight[:, :, None], groups=4), ops.pointwise_conv(x, weight, groups=4))
    assert_repeats(ops.PointwiseConv(weight[:, :, None], groups=4)(x), ops.PointwiseConv(weight, groups=4)(x))


def test_torch_layout(variant, guards, rng):
    x, weight, bias = normal(rng, 3, 12, 7), normal(rng, 8, 3), normal(rng, 8)
    residual = normal(rng, 3, 8, 7)
    y = guards.call(ops.pointwise_conv, x, weight, bias, groups=4, activation="gelu", residual=residual, layout="NCW")
    expected, bound = conv64(
        x.transpose(0, 2, 1), weight, bias, groups=4, activation="gelu", residual=residual.transpose(0, 2, 1)
    )
    assert_within(y, expected.transpose(0, 2, 1), bound.transpose(0, 2, 1))
    assert ops.pointwise_conv(np.zeros((0, 12, 7), np.float32), weight, groups=4, layout="NCW").shape == (0, 8, 7)


@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("half", [False, True])
def test_packed_gives_the_same(variant, guards, rng, groups, half):
    x, bias, residual = normal(rng, 2, 9, 20), normal(rng, 36), normal(rng, 2, 9, 36)
    weight = normal(rng, 36, 20 // groups).astype(np.float16 if half else np.float32)
    conv = ops.PointwiseConv(weight, bias, groups=groups)
    for activation in ACTIVATIONS64:
        y = guards.call(conv, x, activation=activation, residual=residual)
        expected = ops.pointwise_conv(
            x, weight.astype(np.float32), bias, groups=groups, activation=activation, residual=residual
        )
        assert_repeats(y, expected)


def test_packed_half_subnormals_are_kept(variant):
    weight = np.array([[2.0**-24], [-(2.0**-20)]], np.float16)
    np.testing.assert_array_equal(ops.PointwiseConv(weight)(np.ones((1, 1), np.float32)), weight.T.astype(np.float32))


EVERY_DTYPE = pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])


@EVERY_DTYPE
def test_packed_attributes(variant, rng, dtype):
    conv = ops.PointwiseConv(normal(rng, 8, 3), groups=np.int64(4), dtype=dtype)
    assert (conv.groups, conv.in_channels, conv.out_channels, conv.dtype) == (4, 12, 8, dtype)
    assert repr(conv).startswith(f"PointwiseConv(12, 8, groups=4, dtype='{dtype}', bias=False, bytes=")
    assert type(conv.groups) is int


@EVERY_DTYPE
def test_packed_can_be_copied(variant, rng, dtype):
    x, conv = normal(rng, 5, 12), ops.PointwiseConv(normal(rng, 8, 3), normal(rng, 8), groups=4, dtype=dtype)
    y = conv(x)
    assert_repeats(copy.deepcopy(conv)(x), y)
    assert_repeats(pickle.loads(pickle.dumps(conv))(x), y)


@pytest.mark.parametrize("rows", [(0,), (1,), (2, 9), (130,)])
def test_several_give_the_results_of_each(variant, guards, rng, rows):
    """Various groups and widths, one without outputs, more than fit into one parallel region; also with `out`."""
    x = guards.keep(normal(rng, *rows, 24))
    sizes = [(24, 2), (24, 2), (24, 4), (7, 1), (0, 3), (33, 1), (40, 8), (1, 1), (16, 2), (96, 24), (3, 3)]
    convs = [ops.PointwiseConv(normal(rng, n, 24 // g), normal(rng, n) if n % 3 else None, groups=g) for n, g in sizes]
    for count in (0, 1, 3, len(convs)):
        expected = [conv(x) for conv in convs[:count]]
        outs = [guards.empty(y.shape) if i % 2 else None for i, y in enumerate(expected)]
        for room in (None, outs):
            results = ops.pointwise_convs(x, convs[:count], out=room)
            assert type(results) is tuple and len(results) == count
            for y, out, wanted in zip(results, outs, expected, strict=True):
                assert room is None or out is None or y is out
                assert_repeats(y, wanted)


@pytest.mark.parametrize("name", ["pointwise_conv", "conv_int8"])
def test_packed_follows_the_backend(rng, name):
    x, weight, dtype = normal(rng, 9, 12), normal(rng, 8, 3), "int8" if name == "conv_int8" else "float32"
    expected, bound = OPS[name].reference(x, weight, groups=4)
    for home in OPS[name].variants():
        with home.active():
            conv = ops.PointwiseConv(weight, groups=4, dtype=dtype)
        for away in OPS[name].variants():
            with away.active():
                assert_repeats(ops.pointwise_convs(x, [conv])[0], conv(x))
                assert_within(conv(x), expected, bound)
                assert_repeats(conv(x), ops.PointwiseConv(weight, groups=4, dtype=dtype)(x))
