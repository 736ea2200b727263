"""PointwiseConv in int8: the bits of integer arithmetic on every backend and ISA."""

import numpy as np
import pytest
from op_helpers import (
    INT8_VARIANTS,
    assert_repeats,
    assert_same_bits,
    native,
    normal,
    parts,
)
from op_table import OPS, int8_conv_of, integer_product

from squeezeops import ops

F = np.float32


@pytest.fixture(params=INT8_VARIANTS, ids=str)
def variant(request):
    """A backend, or an ISA of the native backend that has its own int8 kernels."""
    with request.param.active():
        yield request.param


def conv(weight, bias=None, groups=1):
    return ops.PointwiseConv(weight, bias, groups=groups, dtype="int8")


def check(x, weight, bias=None, **rest):
    y = OPS["conv_int8"].call(x, weight, bias, **rest)
    assert_same_bits(y, int8_conv_of(x, weight, bias, **rest)[0])
    return y


@pytest.mark.parametrize(
    "groups, k, n, activation",  # k and n around the 64 and 16 of a tile
    [
        (1, 1, 5, None),
        (4, 24, 24, "gelu"),
        (1, 60, 16, "relu"),
        (2, 63, 33, None),
        (1, 64, 48, "gelu_tanh"),
        (3, 65, 32, "tanh"),
        (2, 127, 17, "gelu"),
        (1, 192, 40, None),
        (1, 300, 70, None),
    ],
)
def test_every_number_of_rows(variant, rng, groups, k, n, activation):
    """Each has the bits of its rows one by one."""
    x, weight, bias = normal(rng, 100, groups * k), normal(rng, groups * n, k), normal(rng, groups * n)
    packed, rows = conv(weight, bias, groups), ops.quantize_rows(x, groups=groups)
    for residual in (None, normal(rng, 100, groups * n)):

        def some(begin, end):
            part = ops.QuantizedRows(rows.values[begin:end], rows.scales[begin:end])
            added = {} if residual is None else {"residual": residual[begin:end]}  # noqa: B023
            return packed(part, activation=activation, **added)

        one_by_one = np.concatenate([some(i, i + 1) for i in range(100)])
        for count in (*range(2, 70), 79, 80, 81, 95, 96, 97):
            assert_same_bits(some(0, count), one_by_one[:count])
        assert_same_bits(some(3, 100), one_by_one[3:])


@pytest.mark.parametrize("k", [1, 4, 63, 1041, 5000])
def test_the_largest_numbers(variant, rng, k):
    """All integers are 127 or -127: an instruction that saturates at 16 bits would fail."""
    for signs in (np.ones, lambda s: -np.ones(s), lambda s: rng.choice([-1.0, 1.0], s)):
        check(signs((9, k)).astype(F), rng.choice([-1.0, 1.0], (50, k)).astype(F))
        check(signs((7, k)).astype(F), np.ones((3, k), F))
        check(signs((7, k)).astype(F), -np.ones((3, k), F))


def test_the_longest_sums(variant):
    """2^17 products of 127 and 127: int32 holds their sum. Longer sums are refused."""
    k = 2**17
    x, weight = np.ones((2, k), F), np.ones((2, k), F)
    x[1], weight[1, ::2] = -1, -1
    check(x, weight)
    with pytest.raises(ValueError, match=r"PointwiseConv: weight: expected at most 2\^17 input channels per group"):
        conv(np.ones((1, k + 1), F))
    ops.PointwiseConv(np.ones((1, k + 1), F))


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
    y = check(x, weight, bias)
    for row, column in [(1, slice(None)), (3, slice(None)), (slice(None), 1), (slice(None), 3), (slice(None), 4)]:
        assert_same_bits(y[row, column], np.broadcast_to(bias, y.shape)[row, column].copy())
    ones = np.ones((1, 7), F)
    assert conv(weight[2:3])(ones)[0, 0] > 0 and conv(weight[3:4])(ones)[0, 0] == 0


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
    packed, x = conv(normal(rng, c_out, c_in // groups), groups=groups), normal(rng, *rows, c_in)
    same(packed(x, quantize_groups=2 if c_out else 1), ops.quantize_rows(packed(x), groups=2 if c_out else 1))


# ---- quantised rows in and out ---------------------------------------------------------------------------------------


def same(actual, expected):
    for part, wanted in zip(parts(actual), parts(expected), strict=True):
        assert part.flags.c_contiguous
        assert_same_bits(part, wanted)


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
    x[rows // 3 : rows // 3 + 1, 1] = np.inf
    packed, quantised = conv(weight, bias, groups), ops.quantize_rows(x, groups=groups)
    for rest in ({}, {"activation": "gelu", "residual": normal(rng, rows, groups * n)}):
        expected = ops.quantize_rows(packed(x, **rest), groups=to)
        same(guards.call(packed, x, quantize_groups=to, **rest), expected)
        same(packed(quantised, quantize_groups=to, **rest), expected)


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8_rotated"])
@pytest.mark.parametrize("rows", [0, 1, 33, 130])
@pytest.mark.parametrize("groups, n, to", [(1, 96, 4), (3, 32, 3), (1, 20, 5), (3, 20, 4), (1, 7, 1), (1, 256, 2)])
def test_other_weights_quantise_their_result(variant, guards, rng, dtype, rows, groups, n, to):
    """The rows of x are longer than the largest step of a sum."""
    k = 384 if dtype == "int8_rotated" else 300
    x, weight, bias = normal(rng, rows, groups * k), normal(rng, groups * n, k), normal(rng, groups * n)
    x[rows // 3 : rows // 3 + 1, 1] = np.inf
    packed = ops.PointwiseConv(weight, bias, groups=groups, dtype=dtype)
    for rest in ({}, {"activation": "gelu", "residual": normal(rng, rows, groups * n)}):
        with np.errstate(all="ignore"):
            expected = ops.quantize_rows(packed(x, **rest), groups=to)
        same(guards.call(packed, x, quantize_groups=to, **rest), expected)
    if n % 128 == 0:
        same(packed(x, quantize_groups=to, quantize_rotate=True), ops.quantize_rows(packed(x), groups=to, rotate=True))


@pytest.mark.parametrize("rows", [0, 1, 40])
def test_several_quantise_their_results(variant, guards, rng, rows):
    """More of them than fit into one parallel region."""
    x = guards.keep(normal(rng, rows, 24))
    kinds = [("int8", 4, 48), ("float32", 2, 48), ("float16", 1, 12), ("int8", 4, 24), ("float32", 4, 96)] * 2
    convs = [ops.PointwiseConv(normal(rng, n, 24 // g), groups=g, dtype=dtype) for dtype, g, n in kinds]
    for to in (1, 4, 12):
        expected = [ops.quantize_rows(conv(x), groups=to) for conv in convs]
        for count in (0, 1, 3, len(convs)):
            outs = [
                ops.QuantizedRows(*(guards.empty(a.shape, a.dtype) for a in rows)) if i % 2 else None
                for i, rows in enumerate(expected[:count])
            ]
            for room in (None, outs):
                results = ops.pointwise_convs(x, convs[:count], quantize_groups=to, out=room)
                assert type(results) is tuple and len(results) == count
                for actual, out, wanted in zip(results, outs, expected, strict=False):
                    assert type(actual) is ops.QuantizedRows
                    assert room is None or out is None or all(a is b for a, b in zip(actual, out, strict=True))
                    same(actual, wanted)


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
    for other in convs[1:4]:  # test_contract.py has the other order
        with pytest.raises((TypeError, ValueError), match="pointwise_convs: x: expected "):
            ops.pointwise_convs(given, [other, convs[0]])


def rotated_conv(weight, bias=None, groups=1):
    return ops.PointwiseConv(weight, bias, groups=groups, dtype="int8_rotated")


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


def test_rotated_rows_and_others_are_told_apart(variant, rng):
    x = normal(rng, 4, 128)
    plain, rotated = (ops.PointwiseConv(normal(rng, 8, 128), dtype=dtype) for dtype in ("int8", "int8_rotated"))
    rows = plain(x, quantize_groups=8), ops.quantize_rows(x), ops.quantize_rows(x, rotate=True)
    assert [type(r) for r in rows] == [ops.QuantizedRows, ops.QuantizedRows, ops.RotatedRows]
    with pytest.raises(ValueError, match="x: expected rows that are not rotated for weights of int8, got RotatedRows"):
        plain(rows[2])
    for given in (rows[1], tuple(rows[1])):
        with pytest.raises(ValueError, match="x: expected RotatedRows for weights of int8_rotated, got"):
            rotated(given)
        with pytest.raises(ValueError, match="x: expected RotatedRows for weights of int8_rotated, got"):
            ops.pointwise_convs(given, [rotated])


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


def test_float_and_quantised_memory_must_not_overlap(variant, rng):
    """Between a quantised input and a float result, and the other way round. See test_contract.py for the rest."""
    packed, x = conv(normal(rng, 8, 5), groups=2), normal(rng, 3, 10)
    values, scales = ops.quantize_rows(x, groups=2)
    memory, both = np.zeros(96 + values.nbytes, np.uint8), np.zeros(24 + 6, F)
    inside = memory[92 : 92 + values.nbytes].reshape(values.shape)  # overlaps the last float of out
    room = np.zeros((3, 8), np.uint8)
    for rows, rest in [
        ((inside, scales), {"out": memory[:96].view(F).reshape(3, 8)}),
        ((values, both[23:29].reshape(3, 2)), {"out": both[:24].reshape(3, 8)}),
        (x, {"quantize_groups": 2, "out": (room, x.reshape(-1)[:6].reshape(3, 2))}),
    ]:
        with pytest.raises(
            ValueError, match="PointwiseConv: out: expected memory apart from the inputs, got an overlap"
        ):
            packed(rows, **rest)


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
    y = integer_product(x, weight, groups) + bias + residual
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
