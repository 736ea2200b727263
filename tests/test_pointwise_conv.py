"""pointwise_conv and PointwiseConv against float64: groups, odd channels, epilogues, layouts."""

import copy
import math
import pickle

import numpy as np
import pytest
from op_helpers import ACTIVATIONS64, ROWS, UNIT, VARIANTS, assert_repeats, assert_same_bits, assert_within, normal

from squeezeops import ops

# An activation scales an error by at most its largest slope, and adds its own error.
SLOPE = {None: 1, "gelu": 1.13, "gelu_tanh": 1.13, "relu": 1, "tanh": 1}
OWN_ERROR = {None: 0, "gelu": 2e-7, "gelu_tanh": 5e-7, "relu": 0, "tanh": 2.4e-7}


def reference(x, weight, bias=None, *, groups=1, activation=None, residual=None):
    """The result in float64, and a bound for the error of K products summed in float32 in any order."""
    w = weight.astype(float).reshape(groups, weight.shape[0] // groups, weight.shape[1])
    a = x.astype(float).reshape(math.prod(x.shape[:-1]), groups, w.shape[2])
    shape = (*x.shape[:-1], weight.shape[0])
    z = np.einsum("rgk,gnk->rgn", a, w).reshape(shape)
    magnitude = np.einsum("rgk,gnk->rgn", np.abs(a), np.abs(w)).reshape(shape)
    if bias is not None:
        z, magnitude = z + bias, magnitude + np.abs(bias)
    bound = (w.shape[2] + 2) * UNIT * magnitude
    y = ACTIVATIONS64[activation](z)
    bound = SLOPE[activation] * bound + OWN_ERROR[activation] * np.maximum(1, np.abs(z))
    if residual is not None:
        y = y + residual
    return y, bound + UNIT * np.abs(y) + 1e-37


def check(guards, *args, **kwargs):
    y = guards.call(ops.pointwise_conv, *args, **kwargs)
    assert_within(y, *reference(*args, **kwargs))
    return y


@pytest.mark.parametrize("groups", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("k", [1, 3, 7, 16, 17, 33])
def test_sizes(variant, guards, rng, groups, k):
    """Outputs per group around a panel (16) and a tile (48), rows around a tile, odd numbers of inputs per group."""
    for n in (1, 3, 8, 15, 16, 17, 31, 33):
        weight, bias = normal(rng, groups * n, k), normal(rng, groups * n)
        for rows in ROWS if n in (3, 17) else (5, 9):
            check(guards, normal(rng, rows, groups * k), weight, bias, groups=groups)


@pytest.mark.parametrize("n", [47, 48, 49, 64, 96])
def test_wide_outputs(variant, guards, rng, n):
    for rows in ROWS:
        check(guards, normal(rng, rows, 2 * 5), normal(rng, 2 * n, 5), normal(rng, 2 * n), groups=2)


@pytest.mark.parametrize("groups", [1, 4])
def test_many_rows_and_channels(variant, guards, rng, groups):
    """Enough rows and channels that threads split both."""
    check(guards, normal(rng, 130, 96), normal(rng, 200, 96 // groups), normal(rng, 200), groups=groups)


@pytest.mark.parametrize("k", [255, 256, 257, 513, 768])
def test_long_sums(variant, guards, rng, k):
    check(guards, normal(rng, 9, k), normal(rng, 49, k), normal(rng, 49))
    check(guards, normal(rng, 2, 2 * k), normal(rng, 2 * 17, k), groups=2)


def test_each_group_sees_its_own_inputs(variant):
    """Exact: the inputs encode their group, and each output is the number of its group."""
    for groups, k, n in [(4, 3, 5), (3, 17, 1), (5, 1, 16)]:
        x = np.repeat(np.arange(1, groups + 1, dtype=np.float32), k)[None]
        y = ops.pointwise_conv(x, np.ones((groups * n, k), np.float32), groups=groups)
        assert_same_bits(y, np.repeat(np.arange(1, groups + 1, dtype=np.float32), n)[None] * k)


def test_every_weight_counts(variant):
    """Exact: with one-hot inputs the result is the weight."""
    weight = np.arange(2 * 19 * 21, dtype=np.float32).reshape(2 * 19, 21)
    y = ops.pointwise_conv(np.eye(2 * 21, dtype=np.float32), weight, groups=2)
    assert_same_bits(y[:21, :19], weight[:19].T.copy())
    assert_same_bits(y[21:, 19:], weight[19:].T.copy())
    assert (y[:21, 19:] == 0).all() and (y[21:, :19] == 0).all()


@pytest.mark.parametrize("activation", list(ACTIVATIONS64))
@pytest.mark.parametrize("given", ["", "b", "r", "br"])
def test_epilogue(variant, guards, rng, activation, given):
    for groups, n in [(1, 33), (4, 5)]:
        x = normal(rng, 2, 5, 12)
        check(
            guards,
            x,
            normal(rng, groups * n, 12 // groups),
            normal(rng, groups * n) if "b" in given else None,
            groups=groups,
            activation=activation,
            residual=normal(rng, 2, 5, groups * n) if "r" in given else None,
        )


@pytest.mark.parametrize("groups", [1, 2])
def test_integers_are_exact(variant, rng, groups):
    """With small integers every product and sum is exact, so a wrong or missing term is visible."""
    x = rng.integers(-8, 9, (13, 34)).astype(np.float32)
    weight = rng.integers(-8, 9, (34, 34 // groups)).astype(np.float32)
    bias, residual = rng.integers(-8, 9, 34).astype(np.float32), rng.integers(-8, 9, (13, 34)).astype(np.float32)
    y = ops.pointwise_conv(x, weight, bias, groups=groups, residual=residual)
    np.testing.assert_array_equal(y, reference(x, weight, bias, groups=groups, residual=residual)[0])


def test_relu_keeps_nan(variant):
    x = np.array([[np.nan], [-np.inf], [np.inf], [-1], [2]], np.float32)
    y = ops.pointwise_conv(x, np.ones((1, 1), np.float32), activation="relu")
    np.testing.assert_array_equal(y, np.array([[np.nan], [0], [np.inf], [0], [2]], np.float32))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_special_values_stay_in_their_row_and_group(variant, rng, bad):
    x, weight = normal(rng, 9, 2 * 7), np.abs(normal(rng, 2 * 17, 7))
    y = ops.pointwise_conv(x, weight, groups=2)
    spoilt = x.copy()
    spoilt[4, 6] = bad
    z = ops.pointwise_conv(spoilt, weight, groups=2)
    np.testing.assert_array_equal(z[4, :17], np.full(17, bad, np.float32))
    z[4, :17] = y[4, :17]
    assert_within(z, y.astype(float), 1e-6)


def test_subnormal_weights_are_zero(variant):
    weight = np.array([[2.0**-127], [-(2.0**-149)], [2.0**-126]], np.float32)
    x = np.array([[2.0**126]], np.float32)
    np.testing.assert_array_equal(ops.pointwise_conv(x, weight), np.array([[0, 0, 1]], np.float32))
    np.testing.assert_array_equal(ops.PointwiseConv(weight)(x), np.array([[0, 0, 1]], np.float32))


def test_subnormal_results_are_kept(variant):
    y = ops.pointwise_conv(np.array([[2.0**-100]], np.float32), np.array([[2.0**-40]], np.float32))
    assert y[0, 0] == np.float32(2.0**-140)


@pytest.mark.parametrize(
    "rows, c_in, c_out, groups",
    [((0,), 6, 4, 2), ((2, 0), 6, 4, 2), ((3,), 0, 4, 2), ((3,), 6, 0, 2), ((), 6, 4, 2), ((0,), 0, 0, 1)],
)
def test_empty_and_single(variant, guards, rng, rows, c_in, c_out, groups):
    check(guards, normal(rng, *rows, c_in), normal(rng, c_out, c_in // groups), normal(rng, c_out), groups=groups)


def test_torch_weight_shape(variant, rng):
    x, weight = normal(rng, 5, 12), normal(rng, 8, 3)
    assert_repeats(ops.pointwise_conv(x, weight[:, :, None], groups=4), ops.pointwise_conv(x, weight, groups=4))
    assert_repeats(ops.PointwiseConv(weight[:, :, None], groups=4)(x), ops.PointwiseConv(weight, groups=4)(x))


def test_torch_layout(variant, guards, rng):
    x, weight, bias = normal(rng, 3, 12, 7), normal(rng, 8, 3), normal(rng, 8)
    residual = normal(rng, 3, 8, 7)
    y = guards.call(ops.pointwise_conv, x, weight, bias, groups=4, activation="gelu", residual=residual, layout="NCW")
    expected, bound = reference(
        x.transpose(0, 2, 1), weight, bias, groups=4, activation="gelu", residual=residual.transpose(0, 2, 1)
    )
    assert_within(y, expected.transpose(0, 2, 1), bound.transpose(0, 2, 1))
    assert ops.pointwise_conv(np.zeros((0, 12, 7), np.float32), weight, groups=4, layout="NCW").shape == (0, 8, 7)


def test_memory_layouts(variant, rng):
    x, weight, bias, residual = normal(rng, 10, 24), normal(rng, 16, 6), normal(rng, 16), normal(rng, 10, 16)
    views = (x[::2, ::2], weight[::2, ::2], bias[::-2])
    y = ops.pointwise_conv(*(v.copy() for v in views), groups=4, residual=residual[::2, ::2].copy())
    assert_repeats(ops.pointwise_conv(*views, groups=4, residual=residual[::2, ::2]), y)
    conv = ops.PointwiseConv(*views[1:], groups=4)
    assert_repeats(conv(views[0], residual=residual[::2, ::2]), y)
    for array in (x, weight, bias, residual):
        array.flags.writeable = False
    assert_repeats(ops.pointwise_conv(*views, groups=4, residual=residual[::2, ::2]), y)
    fortran = np.asfortranarray(x)
    assert_repeats(ops.pointwise_conv(fortran, weight, groups=4), ops.pointwise_conv(x, weight, groups=4))


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


def test_packed_attributes(variant, rng):
    conv = ops.PointwiseConv(normal(rng, 8, 3), groups=np.int64(4))
    assert (conv.groups, conv.in_channels, conv.out_channels, conv.dtype) == (4, 12, 8, "float32")
    assert repr(conv) == "PointwiseConv(12, 8, groups=4, dtype='float32')"
    assert type(conv.groups) is int


def test_packed_can_be_copied(variant, rng):
    x, conv = normal(rng, 5, 12), ops.PointwiseConv(normal(rng, 8, 3), normal(rng, 8), groups=4)
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


def test_packed_follows_the_backend(rng):
    x, weight = normal(rng, 9, 12), normal(rng, 8, 3)
    expected = reference(x, weight, groups=4)
    for home in VARIANTS:
        with home.active():
            conv = ops.PointwiseConv(weight, groups=4)
        for away in VARIANTS:
            with away.active():
                assert_repeats(ops.pointwise_convs(x, [conv])[0], conv(x))
                assert_within(conv(x), *expected)
                assert_repeats(conv(x), ops.pointwise_conv(x, weight, groups=4))
