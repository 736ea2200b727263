"""PointwiseConv in int8: the bits of integer arithmetic on every backend and ISA."""

import copy
import pickle

import numpy as np
import pytest
from op_helpers import (
    ACTIVATIONS64,
    INT8_VARIANTS,
    ROWS,
    assert_repeats,
    assert_same_bits,
    native,
    normal,
)
from test_quantize_rows import rotated

from squeezeops import ops

F = np.float32


@pytest.fixture(params=INT8_VARIANTS, ids=str)
def variant(request):
    """A backend, or an ISA of the native backend that has its own int8 kernels."""
    with request.param.active():
        yield request.param


def quantized(a):
    """The quantised rows of `a` (int64) and their scales, by the formula."""
    with np.errstate(all="ignore"):
        m = np.abs(a).max(axis=-1, keepdims=True, initial=0)
        some = (m >= 2.0**-100) & np.isfinite(m)
        integers = np.where(some, np.rint(a * (F(127) / np.where(some, m, 1))), 0).astype(np.int64)
        scales = np.where(some, m / F(127), np.where(np.isfinite(m), F(0), F(np.nan)))
    return integers, scales.astype(F)[..., 0]


def product(x, weight, groups=1):
    """The convolution: exact integer sums, then one float32 operation at a time."""
    c_out, k = weight.shape[:2]
    n, rows = c_out // groups, int(np.prod(x.shape[:-1]))
    w32 = weight.reshape(c_out, k).astype(F)
    w, w_scales = quantized(np.where(np.abs(w32) < 2.0**-126, F(0), w32))
    a, a_scales = quantized(x.reshape(rows, groups, k))
    total = np.einsum("rgk,gnk->rgn", a, w.reshape(groups, n, k))
    assert np.abs(total).max(initial=0) < 2**31
    with np.errstate(all="ignore"):
        y = total.astype(F) * a_scales[:, :, None] * w_scales.reshape(groups, n)
    return y.reshape(*x.shape[:-1], c_out)


def reference(x, weight, bias=None, *, groups=1, activation=None, residual=None):
    """The expected result. Activations are computed by the active backend; they have tests of their own."""
    with np.errstate(all="ignore"):
        z = product(x, weight, groups)
        z = z if bias is None else z + bias
        act = {"gelu": ops.gelu, "gelu_tanh": lambda z: ops.gelu(z, approximate="tanh"), "tanh": ops.tanh}
        act |= {None: lambda z: z, "relu": lambda z: np.where(z < 0, F(0), z)}
        y = act[activation](z)
        return y if residual is None else y + residual


def conv(weight, bias=None, groups=1):
    return ops.PointwiseConv(weight, bias, groups=groups, dtype="int8")


def check(guards, x, weight, bias=None, *, groups=1, **rest):
    packed = conv(weight if guards is None else guards.keep(weight), bias, groups)
    y = packed(x, **rest) if guards is None else guards.call(packed, x, **rest)
    assert_same_bits(y, reference(x, weight, bias, groups=groups, **rest))
    return y


@pytest.mark.parametrize("groups", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("k", [1, 2, 3, 4, 5, 7, 8, 17, 33, 64])
def test_sizes(variant, guards, rng, groups, k):
    """Outputs per group around a panel (16), rows around a tile, inputs around a step (4)."""
    for n in (1, 3, 15, 16, 17, 33):
        weight, bias = normal(rng, groups * n, k), normal(rng, groups * n)
        for rows in ROWS if n in (3, 17) else (5, 9):
            check(guards, normal(rng, rows, groups * k), weight, bias, groups=groups)


@pytest.mark.parametrize("n", [31, 32, 47, 48, 49, 64, 96, 97])
def test_wide_outputs(variant, guards, rng, n):
    for rows in (*ROWS, 24, 25):
        check(guards, normal(rng, rows, 2 * 6), normal(rng, 2 * n, 6), normal(rng, 2 * n), groups=2)


@pytest.mark.parametrize("groups", [1, 4])
def test_many_rows_and_channels(variant, guards, rng, groups):
    """Enough rows and channels that threads split both."""
    check(guards, normal(rng, 130, 96), normal(rng, 200, 96 // groups), normal(rng, 200), groups=groups)
    check(guards, normal(rng, 1100, 400), normal(rng, 20, 400 // groups), groups=groups)


@pytest.mark.parametrize("k", [255, 767, 1039, 1040, 1041, 2081])
def test_long_sums(variant, guards, rng, k):
    check(guards, normal(rng, 9, k), normal(rng, 49, k), normal(rng, 49))
    check(guards, normal(rng, 2, 2 * k), normal(rng, 2 * 17, k), groups=2)


@pytest.mark.parametrize("k", [1, 4, 63, 1041, 5000])
def test_the_largest_numbers(variant, rng, k):
    """All integers are 127 or -127: an instruction that saturates at 16 bits would fail."""
    for signs in (np.ones, lambda s: -np.ones(s), lambda s: rng.choice([-1.0, 1.0], s)):
        check(None, signs((9, k)).astype(F), rng.choice([-1.0, 1.0], (50, k)).astype(F))
        check(None, signs((7, k)).astype(F), np.ones((3, k), F))
        check(None, signs((7, k)).astype(F), -np.ones((3, k), F))


def test_the_longest_sums(variant):
    """2^17 products of 127 and 127: int32 holds their sum. Longer sums are refused."""
    k = 2**17
    x, weight = np.ones((2, k), F), np.ones((2, k), F)
    x[1], weight[1, ::2] = -1, -1
    check(None, x, weight)
    with pytest.raises(ValueError, match=r"PointwiseConv: weight: expected at most 2\^17 input channels per group"):
        conv(np.ones((1, k + 1), F))
    ops.PointwiseConv(np.ones((1, k + 1), F))


def test_every_weight_counts(variant):
    """With one-hot inputs and integer weights the result is the weight."""
    weight = (np.arange(2 * 19 * 21) % 255 - 127).astype(F).reshape(2 * 19, 21)
    weight[:, 20] = 127
    y = check(None, np.eye(2 * 21, dtype=F), weight, groups=2)
    np.testing.assert_allclose(y[:21, :19], weight[:19].T, rtol=1e-6)
    np.testing.assert_allclose(y[21:, 19:], weight[19:].T, rtol=1e-6)
    assert (y[:21, 19:] == 0).all() and (y[21:, :19] == 0).all()


@pytest.mark.parametrize("activation", list(ACTIVATIONS64))
@pytest.mark.parametrize("given", ["", "b", "r", "br"])
def test_epilogue(variant, guards, rng, activation, given):
    for groups, n in [(1, 33), (4, 5), (1, 96)]:
        bias = normal(rng, groups * n) if "b" in given else None
        residual = normal(rng, 2, 9, groups * n) if "r" in given else None
        weight = normal(rng, groups * n, 12 // groups)
        check(guards, normal(rng, 2, 9, 12), weight, bias, groups=groups, activation=activation, residual=residual)


def test_close_to_float32(variant, rng):
    """The error is a few thousandths of the result's size."""
    x, weight = normal(rng, 30, 768), normal(rng, 96, 192)
    y, exact = conv(weight, groups=4)(x), ops.PointwiseConv(weight, groups=4)(x)
    assert np.abs(y - exact).max() < 0.05 * np.abs(exact).max()
    assert np.sqrt(np.mean((y - exact) ** 2)) < 0.012 * np.sqrt(np.mean(exact**2))


def test_zero_and_tiny_rows_and_channels(variant, rng):
    x, weight, bias = normal(rng, 6, 7), normal(rng, 8, 7), normal(rng, 8)
    least = F(2.0**-100)
    x[1], x[2], x[3] = 0, least, np.nextafter(least, F(0))
    weight[1], weight[2], weight[3], weight[4] = 0, least, np.nextafter(least, F(0)), 2.0**-127
    y = check(None, x, weight, bias)
    for row, column in [(1, slice(None)), (3, slice(None)), (slice(None), 1), (slice(None), 3), (slice(None), 4)]:
        assert_same_bits(y[row, column], np.broadcast_to(bias, y.shape)[row, column].copy())
    ones = np.ones((1, 7), F)
    assert conv(weight[2:3])(ones)[0, 0] > 0 and conv(weight[3:4])(ones)[0, 0] == 0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_special_values_stay_in_their_row_and_group(variant, rng, bad):
    for activation in ACTIVATIONS64:
        x, weight = normal(rng, 9, 2 * 7), normal(rng, 2 * 17, 7)
        packed = conv(weight, groups=2)
        y = packed(x, activation=activation)
        spoilt = x.copy()
        spoilt[4, 6] = bad
        z = packed(spoilt, activation=activation)
        assert np.isnan(z[4, :17]).all()
        z[4, :17] = y[4, :17]
        assert_same_bits(z, y)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_special_weights_stay_in_their_channel(variant, rng, bad):
    for half in (False, True):
        x, weight = normal(rng, 9, 2 * 7), normal(rng, 2 * 17, 7).astype(np.float16 if half else F)
        spoilt = weight.copy()
        spoilt[18, 3] = bad
        y, z = conv(weight, groups=2)(x), conv(spoilt, groups=2)(x)
        assert np.isnan(z[:, 18]).all() and np.isnan(conv(spoilt, groups=2)(0 * x)[:, 18]).all()
        z[:, 18] = y[:, 18]
        assert_same_bits(z, y)


@pytest.mark.parametrize(
    "rows, c_in, c_out, groups",
    [((0,), 6, 4, 2), ((2, 0), 6, 4, 2), ((3,), 0, 4, 2), ((3,), 6, 0, 2), ((), 6, 4, 2), ((0,), 0, 0, 1)],
)
def test_empty_and_single(variant, guards, rng, rows, c_in, c_out, groups):
    check(guards, normal(rng, *rows, c_in), normal(rng, c_out, c_in // groups), normal(rng, c_out), groups=groups)
    packed, x = conv(normal(rng, c_out, c_in // groups), groups=groups), normal(rng, *rows, c_in)
    same(packed(x, quantize_groups=2 if c_out else 1), ops.quantize_rows(packed(x), groups=2 if c_out else 1))


def test_random_shapes(variant, rng):
    for _ in range(60):
        groups, k, n, rows = rng.integers(1, (7, 90, 70, 40))
        x = normal(rng, rows, groups * k) * F(10.0) ** rng.integers(-5, 5, (rows, 1)).astype(F)
        weight, bias = normal(rng, groups * n, k), normal(rng, groups * n)
        x[rng.random(x.shape) < 0.3] = 0
        weight[rng.random(weight.shape) < 0.3] = 0
        residual = normal(rng, rows, groups * n) if rng.random() < 0.5 else None
        check(None, x, weight, bias, groups=int(groups), residual=residual)


def test_memory_layouts(variant, rng):
    x, weight, bias, residual = normal(rng, 10, 24), normal(rng, 16, 6), normal(rng, 16), normal(rng, 10, 16)
    views = (x[::2, ::2], weight[::2, ::2], bias[::-2])
    y = check(None, *(v.copy() for v in views), groups=4, residual=residual[::2, ::2].copy())
    assert_same_bits(conv(*views[1:], 4)(views[0], residual=residual[::2, ::2]), y)
    assert_same_bits(conv(weight[:, :, None])(x[:, :6]), conv(weight)(x[:, :6]))


# ---- quantised rows in and out ---------------------------------------------------------------------------------------


def same(actual, expected):
    assert type(actual) is type(expected) is ops.QuantizedRows
    assert actual.values.dtype == np.uint8 and actual.values.flags.c_contiguous
    np.testing.assert_array_equal(actual.values, expected.values)
    assert_same_bits(actual.scales, expected.scales)


@pytest.mark.parametrize("groups, k", [(1, 7), (3, 16), (4, 50), (2, 65)])
def test_takes_quantised_rows(variant, guards, rng, groups, k):
    x, weight, bias = normal(rng, 2, 17, groups * k), normal(rng, groups * 20, k), normal(rng, groups * 20)
    x[1, 3, 0] = np.nan
    residual = normal(rng, 2, 17, groups * 20)
    packed, rows = conv(weight, bias, groups), ops.quantize_rows(x, groups=groups)
    kept = ops.QuantizedRows(*map(guards.keep, rows))
    y = packed(kept, residual=residual)
    assert_same_bits(y, packed(x, residual=residual))
    assert_same_bits(packed(tuple(kept), residual=residual, out=guards.empty(y.shape)), y)
    strided = ops.QuantizedRows(np.repeat(rows.values, 2, axis=1)[:, ::2], np.repeat(rows.scales, 2, axis=0)[::2])
    assert_same_bits(packed(strided, residual=residual), y)
    for a in rows:
        a.flags.writeable = False
    assert_same_bits(packed(rows, activation="gelu"), packed(x, activation="gelu"))
    assert_same_bits(packed((rows.values[0, 0], rows.scales[0, 0])), packed(x[0, 0]))


@pytest.mark.parametrize("rows", [0, 1, 31, 32, 33, 70])
@pytest.mark.parametrize(
    "groups, n, to", [(1, 96, 4), (4, 32, 4), (2, 48, 6), (1, 20, 5), (3, 20, 4), (4, 24, 8), (1, 7, 1), (2, 48, 2)]
)
def test_quantises_its_result(variant, guards, rng, rows, groups, n, to):
    """Groups that begin at a panel, and groups that do not."""
    x, weight, bias = normal(rng, rows, groups * 9), normal(rng, groups * n, 9), normal(rng, groups * n)
    residual = normal(rng, rows, groups * n)
    x[rows // 3 : rows // 3 + 1, 1] = np.inf
    packed = conv(weight, bias, groups)
    for rest in ({}, {"activation": "gelu", "residual": residual}):
        room = ops.QuantizedRows(
            guards.empty((rows, to * -(-groups * n // to // 4) * 4), "uint8"), guards.empty((rows, to))
        )
        into = packed(x, quantize_groups=to, out=room, **rest)
        assert into.values is room.values and into.scales is room.scales
        same(into, ops.quantize_rows(packed(x, **rest), groups=to))
        guards.check()
        same(packed(x, quantize_groups=to, **rest), ops.quantize_rows(packed(x, **rest), groups=to))
        given = ops.quantize_rows(x, groups=groups)
        same(packed(given, quantize_groups=to, **rest), ops.quantize_rows(packed(x, **rest), groups=to))


@pytest.mark.parametrize("rows", [0, 1, 40])
def test_several_of_one_input(variant, guards, rng, rows):
    """From float rows, with weights of all dtypes; from rows that are quantised once, with int8 weights."""
    x = guards.keep(normal(rng, rows, 24))
    kinds = [("int8", 4), ("float32", 2), ("int8", 2), ("float16", 4), ("int8", 4), ("int8", 1), ("int8", 24)] * 2
    convs = [
        ops.PointwiseConv(normal(rng, 48, 24 // g), normal(rng, 48) if i % 3 else None, groups=g, dtype=dtype)
        for i, (dtype, g) in enumerate(kinds)
    ]
    expected = [conv(x) for conv in convs]
    for count in (1, 2, 7, len(convs)):
        outs = [guards.empty(y.shape) for y in expected[:count]]
        for room in (None, outs):
            for actual, wanted in zip(ops.pointwise_convs(x, convs[:count], out=room), expected, strict=False):
                assert_repeats(actual, wanted)
    alike, given = [convs[0], convs[4]], ops.quantize_rows(x, groups=4)
    for actual, wanted in zip(ops.pointwise_convs(given, alike), (expected[0], expected[4]), strict=True):
        assert_same_bits(actual, wanted)
    for other in convs[1:4]:
        with pytest.raises((TypeError, ValueError), match="pointwise_convs: x: expected "):
            ops.pointwise_convs(given, [convs[0], other])
        with pytest.raises((TypeError, ValueError), match="pointwise_convs: x: expected "):
            ops.pointwise_convs(given, [other, convs[0]])


def rotated_conv(weight, bias=None, groups=1):
    return ops.PointwiseConv(weight, bias, groups=groups, dtype="int8_rotated")


@pytest.mark.parametrize("groups, k, n", [(1, 128, 7), (1, 384, 48), (2, 256, 33), (3, 128, 17), (1, 640, 50)])
def test_rotated(variant, guards, rng, groups, k, n):
    """Rows and weights are rotated before they are quantised; what follows is int8."""
    for rows in (1, 5, 33):
        x, weight, bias = normal(rng, rows, groups * k), normal(rng, groups * n, k), normal(rng, groups * n)
        x[:, 3] *= 60
        packed = rotated_conv(guards.keep(weight), bias, groups)
        y = guards.call(packed, x, activation="relu")
        turned = rotated(x), rotated(weight) * F(1 / 128)
        assert_same_bits(y, reference(*turned, bias, groups=groups, activation="relu"))
        assert_same_bits(packed(ops.quantize_rows(x, groups=groups, rotate=True), activation="relu"), y)


def test_rotation_is_for_outliers(variant, rng):
    """One channel holds nearly all of each row's norm, and little of the result."""
    x, weight = normal(rng, 20, 384), normal(rng, 50, 384)
    x[:, 3], weight[:, 3] = 60, weight[:, 3] / 30
    exact = x.astype(float) @ weight.T.astype(float)
    errors = [np.linalg.norm(c(x) - exact) / np.linalg.norm(exact) for c in (rotated_conv(weight), conv(weight))]
    assert errors[0] < 0.05 < 0.1 < errors[1]


@pytest.mark.parametrize("rows", [0, 1, 33, 70])
@pytest.mark.parametrize("groups, n, to", [(1, 384, 1), (1, 256, 2), (3, 128, 3), (2, 384, 2)])
def test_rotates_its_result(variant, rng, rows, groups, n, to):
    x, weight, bias = normal(rng, rows, groups * 8), normal(rng, groups * n, 8), normal(rng, groups * n)
    packed = conv(weight, bias, groups)
    y = packed(x, activation="gelu", quantize_groups=to, quantize_rotate=True)
    same(y, ops.quantize_rows(packed(x, activation="gelu"), groups=to, rotate=True))
    following = rotated_conv(normal(rng, 6 * to, groups * n // to), groups=to)
    assert_same_bits(following(y), following(packed(x, activation="gelu")))


def test_rotated_and_others_of_one_input(variant, rng):
    x = normal(rng, 40, 256)
    kinds = [("int8_rotated", 1), ("float32", 2), ("int8", 1), ("int8_rotated", 2), ("int8_rotated", 1), ("float16", 1)]
    convs = [ops.PointwiseConv(normal(rng, 48, 256 // g), normal(rng, 48), groups=g, dtype=d) for d, g in kinds]
    for actual, one in zip(ops.pointwise_convs(x, convs), convs, strict=True):
        assert_same_bits(actual, one(x))
    given = ops.quantize_rows(x, rotate=True)
    for actual, one in zip(ops.pointwise_convs(given, [convs[0], convs[4]]), (convs[0], convs[4]), strict=True):
        assert_same_bits(actual, one(x))
    with pytest.raises(ValueError, match="pointwise_convs: x: expected floats for weights of other types and groups"):
        ops.pointwise_convs(given, [convs[0], convs[2]])


def test_rotated_weights_are_packed_alike(rng):
    weight = normal(rng, 33, 384)
    weight[3], weight[4, 5], weight[5] = 0, np.nan, 1e-38
    forms = set()
    for name in ops.available_backends():
        with ops.backend(name):
            packed = rotated_conv(weight).packed
            forms.add(bytes(packed))
            again = ops.PointwiseConv.from_packed(packed, in_channels=384, out_channels=33, dtype="int8_rotated")
            assert_same_bits(again(weight[:3]), rotated_conv(weight)(weight[:3]))
            assert_same_bits(
                rotated_conv(weight.astype(np.float16))(weight[:3])[:, 6:],
                rotated_conv(weight.astype(np.float16).astype(F))(weight[:3])[:, 6:],
            )
    assert len(forms) == 1


def test_a_chain(variant, rng):
    x = normal(rng, 40, 48)
    first, second = conv(normal(rng, 192, 12), normal(rng, 192), 4), conv(normal(rng, 48, 48), None, 4)
    y = second(first(x, activation="gelu", quantize_groups=4), residual=x)
    assert_same_bits(y, second(first(x, activation="gelu"), residual=x))


def test_wrong_quantised_rows(variant, rng):
    packed = conv(normal(rng, 8, 5), groups=2)
    values, scales = ops.quantize_rows(normal(rng, 3, 10), groups=2)
    out = np.zeros((3, 8), F)
    wrong = [
        ((values,), ValueError, "expected values and scales, got 1 items"),
        ((values[:, :-1], scales), ValueError, r"expected values of shape \(\.\.\., 16\), got \(3, 15\)"),
        ((np.ones((), np.uint8), scales), ValueError, "expected values of shape"),
        ((values.astype(np.int8), scales), TypeError, "expected values of uint8, got int8"),
        ((values.tolist(), scales), TypeError, "expected values of uint8, got list"),
        ((values, scales.astype(float)), TypeError, "of float32, got float64"),
        ((values, scales[:2]), ValueError, r"expected scales of shape \(3, 2\), got \(2, 2\)"),
        ((values, scales[:, :1]), ValueError, r"expected scales of shape \(3, 2\), got \(3, 1\)"),
    ]
    for rows, exception, message in wrong:
        with pytest.raises(exception, match=f"PointwiseConv: x: .*{message}"):
            packed(rows, out=out)
    with pytest.raises(TypeError, match="PointwiseConv: x: expected an array of float32"):
        ops.PointwiseConv(normal(rng, 8, 5), groups=2)((values, scales))
    x = normal(rng, 3, 10)
    with pytest.raises(ValueError, match="quantize_groups: expected None for a dtype other than int8, got int"):
        ops.PointwiseConv(normal(rng, 8, 5), groups=2)(x, quantize_groups=2)
    with pytest.raises(ValueError, match="quantize_groups: expected a divisor of C_out = 8, got 3"):
        packed(x, quantize_groups=3)
    for count in (0, -1):
        with pytest.raises(ValueError, match="quantize_groups: expected a positive int"):
            packed(x, quantize_groups=count)
    for count in (2.0, True, "2"):
        with pytest.raises(TypeError, match="quantize_groups: expected an int"):
            packed(x, quantize_groups=count)
    room = np.zeros((3, 8), np.uint8), np.zeros((3, 2), F)
    for bad, exception, message in [
        (out, TypeError, "expected quantised rows, got float32"),
        (room[:1], TypeError, "expected quantised rows, got tuple"),
        ((room[1], room[1]), TypeError, "expected an array of "),
        ((room[0], room[0]), TypeError, "expected an array of float32"),
        ((room[0][:2], room[1]), ValueError, r"expected shape \(3, 8\), got \(2, 8\)"),
        ((room[0], room[1][:, :1]), ValueError, r"expected shape \(3, 2\), got \(3, 1\)"),
        (
            (room[0], x.reshape(-1)[:6].reshape(3, 2)),
            ValueError,
            "expected memory apart from the inputs, got an overlap",
        ),
        ((room[0], room[0].reshape(-1).view(F).reshape(3, 2)), ValueError, "expected values apart from scales"),
    ]:
        with pytest.raises(exception, match=f"PointwiseConv: out: {message}"):
            packed(x, quantize_groups=2, out=bad)
    with pytest.raises(TypeError, match="PointwiseConv: out: expected an array of float32"):
        packed(x, out=room)
    assert not room[0].any() and not room[1].any()
    assert (out == 0).all()
    memory = np.zeros(96 + values.nbytes, np.uint8)
    inside = memory[92 : 92 + values.nbytes].reshape(values.shape)  # overlaps the last float of out
    with pytest.raises(ValueError, match="out: expected memory apart from the inputs, got an overlap with x"):
        packed((inside, scales), out=memory[:96].view(F).reshape(3, 8))
    both = np.zeros(24 + 6, F)
    with pytest.raises(ValueError, match="out: expected memory apart from the inputs, got an overlap with x"):
        packed((values, both[23:29].reshape(3, 2)), out=both[:24].reshape(3, 8))


# ---- handles ---------------------------------------------------------------------------------------------------------


def test_attributes_and_copies(variant, rng):
    x, packed = normal(rng, 5, 12), conv(normal(rng, 8, 3), normal(rng, 8), 4)
    assert (packed.groups, packed.in_channels, packed.out_channels, packed.dtype) == (4, 12, 8, "int8")
    assert repr(packed) == "PointwiseConv(12, 8, groups=4, dtype='int8')"
    y = packed(x)
    assert_same_bits(copy.deepcopy(packed)(x), y)
    assert_same_bits(pickle.loads(pickle.dumps(packed))(x), y)


def test_follows_the_backend(rng):
    x, weight = normal(rng, 9, 12), normal(rng, 8, 3)
    expected = product(x, weight, 4)
    for home in INT8_VARIANTS:
        with home.active():
            packed = conv(weight, groups=4)
        for away in INT8_VARIANTS:
            with away.active():
                assert_same_bits(packed(x), expected)


def test_does_not_depend_on_the_threads(rng):
    """With many rows and with many channels; with quantised rows as input and output."""
    for rows, k, n in [(700, 40, 20), (33, 96, 400), (70, 192, 192)]:
        x, packed = normal(rng, rows, 4 * k), conv(normal(rng, 4 * n, k), groups=4)
        expected, before = product(x, packed._weight, 4), ops.get_num_threads()
        quantised = ops.quantize_rows(expected, groups=2)
        try:
            for threads in (1, 2, 3, 4):
                ops.set_num_threads(threads)
                for _ in range(3):
                    assert_same_bits(packed(x), expected)
                    same(packed(ops.quantize_rows(x, groups=4), quantize_groups=2), quantised)
        finally:
            ops.set_num_threads(before)


# ---- the C interface -------------------------------------------------------------------------------------------------


@pytest.fixture
def c():
    pytest.importorskip("cffi", reason="cffi is not installed")
    if native is None:
        pytest.skip(reason="built without the native extension")
    from squeezeops.backends import _buffers

    return _buffers


def pointer(c, kind, array):
    return c.ffi.cast(f"{kind} *", array.__array_interface__["data"][0])


@pytest.mark.parametrize("groups, n, k", [(1, 5, 3), (2, 16, 4), (3, 33, 9), (1, 48, 0)])
def test_the_packed_form(c, rng, groups, n, k):
    """The layout that pwconv_s8.h documents. Files hold it, so it must not change."""
    weight = normal(rng, groups * n, k)
    panels, steps = -(-n // 16), -(-k // 4)
    size = c.lib.sqz_pwconv_packed_size_s8(groups, groups * k, groups * n)
    assert size == groups * panels * (128 + 64 * steps) and size % 64 == 0
    packed = np.full(size + 64, 77, np.uint8)
    arguments = pointer(c, "float", weight), c.lib.SQZ_F32, pointer(c, "uint8_t", packed)
    assert c.lib.sqz_pwconv_pack_s8(groups, groups * k, groups * n, *arguments) == 0
    assert (packed[size:] == 77).all()
    integers, scales = quantized(weight)
    all_panels = packed[:size].reshape(groups, panels, 128 + 64 * steps)
    first = all_panels[..., :64].copy().view(np.int32).reshape(groups, panels * 16)
    found = all_panels[..., 64:128].copy().view(F).reshape(groups, panels * 16)
    bytes_of = all_panels[..., 128:].copy().view(np.int8).reshape(groups, panels, steps, 16, 4)
    bytes_of = bytes_of.transpose(0, 1, 3, 2, 4).reshape(groups, panels * 16, steps * 4)
    np.testing.assert_array_equal(bytes_of[:, :n, :k], integers.reshape(groups, n, k))
    np.testing.assert_array_equal(first[:, :n], -128 * integers.sum(axis=1).reshape(groups, n))
    assert_same_bits(found[:, :n].copy(), scales.reshape(groups, n))
    assert (
        not bytes_of[:, n:].any() and not bytes_of[..., k:].any() and not first[:, n:].any() and not found[:, n:].any()
    )


def test_row_strides(c, rng):
    """The gaps between rows neither affect the result nor are written."""
    rows, groups, k, n, to = 37, 3, 10, 20, 2
    x, weight, bias = normal(rng, rows, groups * k), normal(rng, groups * n, k), normal(rng, groups * n)
    residual = normal(rng, rows, groups * n)
    packed = np.zeros(c.lib.sqz_pwconv_packed_size_s8(groups, groups * k, groups * n), np.uint8)
    sizes = groups, groups * k, groups * n
    c.lib.sqz_pwconv_pack_s8(*sizes, pointer(c, "float", weight), c.lib.SQZ_F32, pointer(c, "uint8_t", packed))

    def apart(array, extra):
        wide = np.full((len(array), array.shape[1] + extra), np.nan if array.dtype == F else 99, array.dtype)
        wide[:, : array.shape[1]] = array
        return wide

    wide_x, wide_residual, wide_out = apart(x, 5), apart(residual, 7), apart(0 * residual, 3)
    q = apart(np.zeros((rows, 36), np.uint8), 13)
    q_out = apart(np.zeros((rows, 64), np.uint8), 9)
    scales, scales_out = np.zeros((rows, groups), F), np.zeros((rows, to), F)
    status = c.lib.sqz_quantize_rows_s8(
        rows, groups * k, groups, pointer(c, "float", wide_x), wide_x.shape[1], pointer(c, "uint8_t", q), q.shape[1],
        pointer(c, "float", scales),
    )  # fmt: skip
    assert status == 0 and (q[:, 36:] == 99).all()
    expected = ops.quantize_rows(x, groups=groups)
    same(ops.QuantizedRows(q[:, :36].copy(), scales), expected)
    common = {"dtype": c.lib.SQZ_S8, "groups": groups, "c_out": groups * n}
    common |= {"packed": pointer(c, "uint8_t", packed), "bias": pointer(c, "float", bias)}
    common |= {"residual": pointer(c, "float", wide_residual), "ldr": wide_residual.shape[1]}
    of_floats = {"x": pointer(c, "float", wide_x), "ldx": wide_x.shape[1]}
    of_bytes = {"q": pointer(c, "uint8_t", q), "ldq": q.shape[1], "scales": pointer(c, "float", scales)}
    of_bytes["groups"] = groups
    to_floats = {"out": pointer(c, "float", wide_out), "ldo": wide_out.shape[1]}
    to_bytes = {"q_out": pointer(c, "uint8_t", q_out), "ldq_out": q_out.shape[1], "groups_out": to}
    to_bytes |= {"scales_out": pointer(c, "float", scales_out)}
    y = product(x, weight, groups) + bias + residual
    for given in (of_floats, of_bytes):
        wide_out[:, : groups * n] = q_out[:, :64] = 0
        for result in (to_floats, to_bytes):
            given_rows = c.ffi.new("sqz_pwconv_input *", given | {"rows": rows, "c_in": groups * k})
            assert c.lib.sqz_pwconv(given_rows, 1, c.ffi.new("sqz_pwconv_part *", common | result)) == 0
        assert_same_bits(wide_out[:, : groups * n].copy(), y)
        assert np.isnan(wide_out[:, groups * n :]).all() and (q_out[:, 64:] == 99).all()
        same(ops.QuantizedRows(q_out[:, :64].copy(), scales_out), ops.quantize_rows(y, groups=to))


def test_no_memory_for_a_part_far_behind(c):
    """Parts run eight at a time. A call that fails for the last part has not written the first."""
    rows = 2**18
    outs, bias = np.full((8, rows, 1), 7, F), np.ones(1, F)
    parts = [
        {"dtype": c.lib.SQZ_F32, "groups": 1, "c_out": 1, "bias": pointer(c, "float", bias), "ldo": 1} for _ in outs
    ]
    for part, out in zip(parts, outs, strict=True):
        part["out"] = pointer(c, "float", out)
    given = c.ffi.new("sqz_pwconv_input *", {"rows": rows})
    assert c.lib.sqz_pwconv(given, 8, c.ffi.new("sqz_pwconv_part[]", parts)) == 0
    assert (outs == 1).all()
    outs[:] = 7
    large = {"dtype": c.lib.SQZ_S8, "groups": 2**28}  # needs scales of 2^48 bytes, which cannot be allocated
    assert c.lib.sqz_pwconv(given, 9, c.ffi.new("sqz_pwconv_part[]", [*parts, large])) == c.lib.SQZ_NO_MEMORY
    assert b"expected scratch memory" in c.ffi.string(c.lib.sqz_error_message())
    assert (outs == 7).all()
