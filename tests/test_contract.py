"""Wrong arguments: every backend raises the same exception, with the same text, naming the same argument.

For each op `buffer_calls` has calls that work. Here are tables of arguments that must not; each is put into the good
call alone.
"""

import datetime
import decimal
import itertools
import re

import buffer_calls
import numpy as np
import pytest
from op_helpers import VARIANTS, assert_repeats, normal
from op_table import OPS

from squeezeops import ops

RNG = np.random.default_rng(0)


@pytest.fixture(params=ops.available_backends())
def backend(request):
    """The checks come before the choice of an instruction set, so each backend runs once."""
    with ops.backend(request.param):
        yield request.param


def floats(*shape):
    return np.asarray(normal(RNG, *shape))


class Elsewhere(np.ndarray):
    """Lies about its memory."""

    __array_interface__ = {"data": (16, False)}


def strided(shape, dtype=np.float32):
    """Of the right shape and dtype, but not contiguous."""
    return np.zeros((*shape[:-1], 2 * shape[-1]), dtype)[..., ::2]


def read_only(shape, dtype=np.float32):
    array = np.zeros(shape, dtype)
    array.flags.writeable = False
    return array


def unaligned(shape, dtype=np.float32):
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return np.zeros(size + 1, np.uint8)[1:].view(dtype).reshape(shape)


def numpy_array(format, values, *shape):
    return np.array(values, format).reshape(shape)


CALLS = buffer_calls.calls(ops, numpy_array)
GOOD = {op: arguments for op, (_, arguments) in CALLS.items()}
NORMALISED = [op for op, good in GOOD.items() if {"x", "eps"} <= good.keys()]
RESULTS = {"out", "out_values", "out_scales"}


def call(op, **changes):
    """The result of a good call with some arguments changed: the first of several, the scales of quantised rows."""
    function, arguments = CALLS[op]
    result = function(**arguments | changes)
    result = getattr(result, "scales", result)
    return result[0] if isinstance(result, list | tuple) else result


class Agrees(str):
    """Equals everything, unlike the word that it is."""

    __hash__ = str.__hash__

    def __eq__(self, other):
        return True


# What is wrong with any argument of a kind, by name.
WORDS = {
    "unknown": "swish", "empty": "", "upper case": "GELU", "number": 3, "bool": True, "array": np.zeros(2),
    "too long to write": 10**5000, "equal to all": Agrees("swish"),
}  # fmt: skip
NUMBERS = {
    "str": "0.5", "list": [0.5], "array": np.zeros(2, np.float32), "0-d": np.array(0.5), "complex": 1j, "bool": True,
    "numpy bool": np.False_, "numpy complex": np.complex64(1), "decimal": decimal.Decimal(1),
}  # fmt: skip
EPS = {
    "negative": -1e-5, "nan": float("nan"), "negative nan": -float("nan"), "inf": float("inf"), "-inf": -np.inf,
    "beyond float32": 1e300, "numpy": np.float32(-0.1), "int": -3,
}  # fmt: skip
NOT_COUNTS = {
    "float": 2.0, "numpy float": np.float32(2), "str": "2", "bool": True, "numpy bool": np.True_, "None": None,
    "array": np.array([1, 2]), "0-d floats": np.array(2.0), "list": [2], "nan": float("nan"),
}  # fmt: skip
COUNTS = {
    "zero": 0, "negative": -4, "not dividing": 5, "huge": 2**70, "hugely negative": -(2**70),
    "too long to write": 10**5000, "numpy": np.int8(-1),
}  # fmt: skip
HUGE = 1 << 44  # of elements; no machine has the memory for a copy
AXES = 64 if np.lib.NumpyVersion(np.__version__) >= "2.0.0" else 32  # at most, of an array


def wrong_types(good):
    """What an array argument must not be."""
    dtypes = {
        "i": (np.float32, np.int16, np.uint32, np.uint64, bool), "b": (np.int64, np.uint8, np.float64),
        "u": (np.int8, np.float32, np.int64, bool),
        "f": (np.float64, np.int32, np.int64, np.uint16, np.complex64, object, "S4", "f4,f4", "M8[s]"),
    }[good.dtype.kind]  # fmt: skip
    swapped = good.astype(good.dtype.newbyteorder())
    bad = {np.dtype(dtype).name: good.astype(np.int64).astype(dtype) for dtype in dtypes}
    bad |= {
        "list": good.tolist(), "capsule": datetime.datetime_CAPI, "long name": type("a" + 3000 * "é", (), {})(),
        "bytes": good.tobytes(), "str": "x", "scalar": good.flat[0], "float": 1.0,
    }  # fmt: skip
    return bad if swapped.dtype == good.dtype else bad | {"byte-swapped": swapped}


def named(argument):
    """How messages call it."""
    return re.sub("_(values|scales)$", "", argument)


# Wrong shapes of float arrays, of masks also as bools, by calls and argument.
CONVS, SOFTMAX = "pointwise_conv, PointwiseConv", "softmax, softmax axis 0"
NORMS = {name: ", ".join(op for op in NORMALISED if name in GOOD[op]) for name in ("x", "weight", "bias", "residual")}
BYTES = "attention quantised, attention quantised ragged"
BOTH, RAGGED = "attention, attention_scores", "attention ragged, attention ragged holes"
SHAPES = {
    (CONVS, "x"): [()],
    (CONVS, "residual"): [(5, 12), (8,), (1, 5, 8)],
    (CONVS, "weight"): [(24,), (8, 3, 2), (8, 3, 1, 1), ()],
    (CONVS, "bias"): [(12,), (1,), (1, 8)],
    ("PointwiseConv, pointwise_convs", "x"): [(5, 11), (12, 5), ()],
    ("pointwise_conv", "weight"): [(8, 4)],
    ("pointwise_conv NCW", "x"): [(12, 5), ()],
    ("pointwise_conv NCW", "residual"): [(2, 5, 8), (8, 5)],
    ("pointwise_conv NCW", "weight"): [(8, 4, 1), ()],
    ("PointwiseConv quantised", "x_scales"): [(5, 1), (4, 4), (1, 5, 4)],
    ("PointwiseConv quantised", "residual"): [(5, 12), (0, 8)],
    ("PointwiseConv from packed", "bias"): [(33,), (1, 34), (0,)],
    (f"{NORMS['x']}, {SOFTMAX}, quantize_rows", "x"): [()],
    (f"{NORMS['weight']}, embedding_layer_norm", "weight"): [(5,), (1,), (1, 12)],
    (f"{NORMS['bias']}, embedding_layer_norm", "bias"): [(5,), (1,), (1, 12)],
    (NORMS["residual"], "residual"): [(12, 5), (12,)],
    (SOFTMAX, "mask"): [(5,), (1, 5, 12), (2, 5, 12), (12, 5)],
    ("mean_pool", "x"): [(), (12,)],
    ("embedding, embedding_layer_norm", "table"): [(7,), (7, 12, 1)],
    ("embedding_layer_norm", "position_table"): [(7,), (7, 12, 1), (7, 11)],
    ("embedding_layer_norm", "type_table"): [(7,), (7, 12, 1), (7, 11)],
    (BOTH, "q"): [(5, 12), (1, 2, 5, 12)],
    (BOTH, "k"): [(7, 12), (3, 7, 12), (2, 7, 9)],
    ("attention", "v"): [(7, 12), (1, 7, 12), (2, 5, 12)],
    (BOTH, "mask"): [(7, 5), (1, 2, 3, 5, 7), (2, 2, 5, 7), (4, 1, 1, 7)],
    (BYTES, "q_scales"): [(2, 5, 12), (5, 3), (2, 5, 1), (3, 1), ()],
    (BYTES, "k_scales"): [(2, 7, 12), (7, 3), (2, 5, 3), (9, 1), ()],
    (BYTES, "v_scales"): [(2, 7, 12), (7, 3), (2, 5, 3), (9, 1), ()],
    (BYTES, "value_scale"): [(8,), (15,), (0,), (1, 9), ()],
    (BYTES, "value_bias"): [(8,), (12,), (0,), (1, 9), ()],
    (RAGGED, "q"): [(1, 9, 12), (9,)],
    (RAGGED, "k"): [(1, 9, 12), (8, 12), (9, 9)],
    (f"{RAGGED}, attention some queries", "v"): [(1, 9, 12), (8, 12), (9, 9)],
    ("attention some queries", "q"): [(1, 3, 12), (3,)],
    ("attention some queries", "k"): [(1, 9, 12), (9, 9)],
    ("attention ragged", "mask"): [(2, 3, 5, 5), (9, 9)],
    ("attention ragged holes", "mask"): [(8,), (1, 9)],
}
# int32, of the three ways to say where sequences begin.
OFFSETS = [[1, 4, 9], [0, 5, 4, 9], [0, -1, 9], [0, 4, 8], [0, 4, 10], [], [[0, 4, 9]], 0]
OFFSETS_Q = [[1, 2, 3], [0, 4, 3], [0, 2, 4], [0, 1, 2, 3], [[0, 2, 3]]]


def bad_arguments():
    """(op, argument, what is wrong, value, exception)."""
    cases = []

    def add(calls, argument, exception, bad):
        for op in calls.split(", "):
            cases.extend((op, argument, what, value, exception) for what, value in bad.items())

    required = {"x", "ids", "table", "position_ids", "position_table", "type_ids", "type_table", "q", "k", "v"}
    for op, good in GOOD.items():
        for argument, value in good.items():
            if isinstance(value, np.ndarray):
                needed = argument in required or (argument == "weight" and "conv" in op.lower())
                add(op, argument, TypeError, wrong_types(value) | ({"None": None} if needed else {}))
            if argument in ("activation", "layout", "approximate", "fully_masked", "dtype"):
                add(op, argument, ValueError, WORDS)
            if argument in ("eps", "scale"):
                add(op, argument, TypeError, NUMBERS)
                add(op, argument, ValueError, {"beyond a float": 10**400, "far below": -(10**400)})
            if argument in ("groups", "num_heads", "quantize_groups"):
                optional = argument == "quantize_groups"
                add(op, argument, TypeError, {k: n for k, n in NOT_COUNTS.items() if not (optional and n is None)})
                add(op, argument, ValueError, COUNTS)
            if argument == "eps":
                add(op, argument, ValueError, EPS)
                add(op, argument, TypeError, {"None": None})
            if argument in RESULTS:
                shape, dtype = value.shape, value.dtype
                unusable = {
                    "flat": np.zeros(value.size, dtype), "more rows": np.zeros((shape[0] + 1, *shape[1:]), dtype),
                    "no rows": np.zeros((0, *shape[1:]), dtype), "0-d": np.array(0, dtype),
                    "strided": strided(shape, dtype), "reversed": np.zeros(shape, dtype)[::-1],
                    "Fortran order": np.asfortranarray(np.zeros(shape, dtype)), "read-only": read_only(shape, dtype),
                    "broadcast": np.broadcast_to(np.zeros(shape[-1:], dtype), shape),
                }  # fmt: skip
                add(op, argument, ValueError, unusable)
                if dtype != np.uint8:
                    add(op, argument, ValueError, {"unaligned": unaligned(shape)})

    for (calls, argument), shapes in SHAPES.items():
        for shape in shapes:
            bad = floats(*shape)
            add(
                calls,
                argument,
                ValueError,
                {str(shape): bad} | ({f"{shape} of bools": bad > 0} if "mask" in argument else {}),
            )
    add("pointwise_conv, PointwiseConv", "groups", ValueError, {"not of C_out": 3, "huge": 2**70})
    add("pointwise_conv", "groups", ValueError, {"not of C_in": 8})
    bad = {"width": np.zeros((5, 12), np.uint8), "0-d": np.array(1, np.uint8)}
    add("PointwiseConv quantised", "x_values", ValueError, bad)
    byte_shapes = {
        "attention quantised": {
            "q": [(5, 12), (1, 2, 5, 12), (2, 9, 12)], "k": [(7, 12), (1, 7, 12), (2, 7, 8)],
            "v": [(7, 12), (2, 7, 8), (2, 9, 12)],
        },
        "attention quantised ragged": {
            "q": [(3,), (1, 3, 12), (8, 12)], "k": [(9,), (1, 9, 12), (9, 8)], "v": [(9,), (9, 8), (8, 12)],
        },
    }  # fmt: skip
    for op, of_rows in byte_shapes.items():
        for name, shapes in of_rows.items():
            bad = {str(shape): np.full(shape, 130, np.uint8) for shape in [*shapes, ()]}
            add(op, f"{name}_values", ValueError, bad)
            add(op, f"{name}_scales", TypeError, {"None": None})
    add(BYTES, "k_values", TypeError, {"None": None})
    add(BYTES, "v_values", TypeError, {"None": None})
    add(BYTES, "num_heads", ValueError, {"of 6 bytes": 2, "of a byte": 12})
    shapes = [(7, 5), (5, 7), (2, 3, 5, 7), (2, 1, 5, 7), (4, 1, 1, 7), (1, 2, 3, 1, 7), (2, 2, 1, 7), (8,), (1, 9)]
    add(BYTES, "mask", ValueError, {str(shape): np.ones(shape, bool) for shape in shapes})
    add(BYTES, "mask", TypeError, {"additive": np.zeros(7, np.float32), "additive, ragged": np.zeros(9, np.float32)})
    for argument in ("value_scale", "value_bias"):
        add(f"attention, {RAGGED}, attention some queries", argument, ValueError, {"floats": floats(12), "int": 3})
    op = "PointwiseConv from packed"
    packed, released = GOOD[op]["packed"], memoryview(bytes(768))
    released.release()
    bad = {
        "int": 5, "floats": np.zeros(192, np.float32), "None": None, "list": [0] * 768, "str": "x" * 768,
        "times": np.zeros(96, "M8[s]"), "released": released,
    }  # fmt: skip
    add(op, "packed", TypeError, bad)
    elsewhere = np.zeros(1024, np.uint8)
    elsewhere = elsewhere[-elsewhere.__array_interface__["data"][0] % 64 + 4 :][:768]
    bad = {"short": packed[:-1], "long": bytes(832), "empty": b"", "elsewhere": elsewhere}
    add(op, "packed", ValueError, bad | {"strided": np.zeros(1536, np.uint8)[::2]})
    for argument in ("in_channels", "out_channels"):
        add(op, argument, TypeError, NOT_COUNTS)
        add(op, argument, ValueError, {"negative": -6, "huge": 2**70, "too many": 2**29})
    add(SOFTMAX, "axis", ValueError, {"too high": 2, "too low": -3, "huge": 2**70})
    add(SOFTMAX, "axis", TypeError, {"str": "0", "float": 0.0, "None": None, "bool": True})
    add(SOFTMAX, "scale", TypeError, {"None": None})
    shapes = [(2, 6), (1, 2, 7), (2, 7, 12), (7, 2)]
    add("mean_pool", "mask", ValueError, {str(shape): np.ones(shape, bool) for shape in shapes})
    add("mean_pool", "mask", TypeError, {"additive": np.zeros((2, 7), np.float32)})
    for op, argument in (
        ("embedding", "ids"),
        *(("embedding_layer_norm", f"{k}ids") for k in ("", "position_", "type_")),
    ):
        for integer in (np.int32, np.int64):
            high, low = np.array([0, 1, 1, 7, 1], integer), np.array([0, 1, -1, 0, 1], integer)
            add(op, argument, ValueError, {f"high {high.dtype}": high, f"low {low.dtype}": low})
        add(op, argument, ValueError, {"far": np.array([0, 1, 2**32, 0, 1])})  # 0, if it were cut to 32 bits
    shapes = {"shape": np.zeros(4, int), "scalar": np.array(0), "rank": np.zeros((1, 5), int)}
    for argument in ("position_ids", "type_ids"):
        add("embedding_layer_norm", argument, ValueError, shapes)
    some, bad = "attention some queries", {str(o): np.array(o, np.int32) for o in OFFSETS}
    add(RAGGED, "cu_seqlens", ValueError, bad | {"one": np.array([0], np.int32)})
    add(RAGGED, "cu_seqlens", TypeError, {"int64": np.array([0, 4, 9])})
    add(some, "cu_seqlens_k", ValueError, bad)
    add(some, "cu_seqlens_k", TypeError, {"missing": None, "int64": np.array([0, 4, 9])})
    add(some, "cu_seqlens_q", ValueError, {str(o): np.array(o, np.int32) for o in OFFSETS_Q})
    add(some, "cu_seqlens_q", TypeError, {"missing": None, "int64": np.array([0, 2, 3])})
    add("attention ragged holes", "mask", TypeError, {"ints": np.ones(9, int)})
    return cases + [(some, "cu_seqlens", "next to the others", np.array([0, 4, 9], np.int32), ValueError)]


def outcome(call, arrays=()):
    """The exception of a call that must not change these arrays: type, text and the argument's name."""
    before = [array.copy() for array in arrays]
    try:
        call()
        raised = None
    except Exception as error:
        raised = error
    for array, copy in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(array, copy)
    return type(raised), str(raised), getattr(raised, "argument", "not said")


def assert_refused(op, call, arrays, argument, exception, what=""):
    """The call must raise `exception`, name the op and the argument, and change nothing, as with "numpy"."""
    result = outcome(call, arrays)
    assert result[0] is exception, f"{what}: {result}"
    message = rf"{op.split()[0]}: {argument}: expected .+, got .+"
    assert re.fullmatch(message, result[1], re.DOTALL), f"{what}: {result[1]!r} is not {message}"
    assert result[2] == argument, what
    if what != "bytes":  # whose format "cffi" tells
        with ops.backend("numpy"):
            assert outcome(call, arrays) == result, what


def assert_bad(op, changes, argument, exception, what=""):
    arrays = [value for value in (GOOD[op] | changes).values() if isinstance(value, np.ndarray)]
    assert_refused(op, lambda: call(op, **changes), arrays, named(argument), exception, what)


BAD = {
    (op, argument): [case[2:] for case in cases]
    for (op, argument), cases in itertools.groupby(
        sorted(bad_arguments(), key=lambda case: case[:2]), lambda case: case[:2]
    )
}


@pytest.mark.parametrize("op", CALLS)
def test_good_arguments(backend, op):
    result = call(op)
    assert result.dtype == np.float32
    for name in {"out", "out_scales"} & GOOD[op].keys():
        assert result is GOOD[op][name]
        GOOD[op][name][...] = 0.5  # the tests below look for a change


def copies(value):
    """The same, elsewhere: strides of any kind, unaligned, read-only, subclasses."""
    shape, dtype = value.shape, value.dtype
    padded = np.zeros((*shape[:-1], shape[-1] + 3), dtype)[..., :-3]
    backwards = np.zeros(shape, dtype)[(slice(None, None, -1),) * value.ndim]
    found = [strided(shape, dtype), unaligned(shape, dtype), padded, backwards]
    found += [np.zeros(shape, dtype, "F")[::-1], np.zeros(shape, dtype).view(np.memmap)]
    if value.ndim > 2:
        found.append(np.zeros((shape[1], shape[0], *shape[2:]), dtype).swapaxes(0, 1))
    found += [
        strided(shape, dtype).view(Elsewhere),
        np.zeros(shape, dtype.newbyteorder().newbyteorder()),
    ]  # "<", not "="
    for copy in found:
        copy[...] = value
        copy.flags.writeable = False
    return found


def repetitions(value):
    """Views in which elements recur."""
    overlapping = np.lib.stride_tricks.as_strided(value, value.shape, [value.itemsize] * value.ndim)
    return [np.broadcast_to(part, value.shape) for part in (value[:1], value[..., :1])] + [overlapping]


@pytest.mark.parametrize("op", CALLS)
def test_inputs_may_lie_anywhere(backend, op):
    expected = call(op).copy()
    for argument in {name for name, value in GOOD[op].items() if isinstance(value, np.ndarray)} - RESULTS:
        value = GOOD[op][argument]
        for copy in copies(value):
            np.testing.assert_array_equal(call(op, **{argument: copy}), expected)
        for view in repetitions(value) if value.ndim > 1 else []:
            dense = call(op, **{argument: view.copy()}).copy()
            assert_repeats(call(op, **{argument: view}), dense)
    for name in RESULTS & GOOD[op].keys():
        GOOD[op][name][...] = 0


def test_words_of_a_subclass(backend):
    """A word counts as what it is, whatever it claims to equal."""

    class Unhashable(str):
        __hash__ = None

    x = floats(2, 3)
    for word in (Agrees("tanh"), Unhashable("tanh"), np.str_("tanh")):
        np.testing.assert_array_equal(ops.gelu(x, approximate=word), ops.gelu(x, approximate="tanh"))
        result = ops.pointwise_conv(x, x, activation=word)
        np.testing.assert_array_equal(result, ops.pointwise_conv(x, x, activation="tanh"))


@pytest.mark.parametrize("op, argument", BAD)
def test_bad_arguments(backend, op, argument):
    for what, value, exception in BAD[op, argument]:
        if backend == "cffi" and what == "bytes" and ("mask" in argument or argument.endswith("_values")):
            continue  # which are these there
        assert_bad(op, {argument: value}, argument, exception, what)


@pytest.mark.parametrize(
    "argument, table", [("ids", "table"), ("position_ids", "position_table"), ("type_ids", "type_table")]
)
def test_message_tells_the_id(backend, argument, table):
    good = GOOD["embedding_layer_norm"]
    rows = len(good[table])
    for value in (rows, -1, 2**40):
        for ids in (np.array([0, 1, value, 0, 99]), np.array([0, 9, 1, 9, value, 9, 0, 9, 99, 9])[::2]):
            assert_bad("embedding_layer_norm", {argument: ids}, argument, ValueError)
            expected = f"{argument}: expected values in [0, {rows}), got {value} at position 2"
            result = outcome(lambda ids=ids: call("embedding_layer_norm", **{argument: ids}))
            assert result[1] == f"embedding_layer_norm: {expected}"
    transposed = np.array([[0, 1], [9, 0]]).T
    result = outcome(lambda: ops.embedding(transposed, good["table"]))
    assert result[1] == "embedding: ids: expected values in [0, 7), got 9 at position 1"


def test_ids_have_an_axis_less_than_arrays_may_have(backend):
    ids, table = np.zeros((1,) * (AXES - 1), int), floats(2, 3)
    assert ops.embedding(ids, table).shape == (*ids.shape, 3)
    expected = f"embedding: ids: expected at most {AXES - 1} dimensions, got {AXES}"
    assert outcome(lambda: ops.embedding(ids[None], table)) == (ValueError, expected, "ids")


def test_as_many_axes_as_arrays_may_have(backend):
    x = floats(1, 1, 4).reshape(*(1,) * (AXES - 1), 4)
    row = x.reshape(1, 4)
    for function in (
        lambda x: ops.layer_norm(x, residual=x), ops.l2_normalize, ops.gelu, ops.tanh,
        lambda x: ops.softmax(x, mask=x > 0), lambda x: ops.quantize_rows(x, groups=2).values,
        lambda x: ops.pointwise_conv(x, row), lambda x: ops.PointwiseConv(row, dtype="int8")(x, quantize_groups=1)[0],
    ):  # fmt: skip
        result = function(x)
        assert result.ndim == AXES
        np.testing.assert_array_equal(result.reshape(1, -1), function(row))
    assert ops.mean_pool(x).ndim == AXES - 1


def overlapping(array, result):
    """A copy of `array`, and room for a result that starts within its last element."""
    result_size = result.nbytes
    memory = np.zeros(array.nbytes + result_size, np.uint8)
    copied = memory[: array.nbytes].view(array.dtype).reshape(array.shape)
    copied[...] = array
    start = (array.nbytes - 1) // 4 * 4
    return copied, memory[start : start + result_size].view(result.dtype).reshape(result.shape)


OVERLAPS = [
    (op, argument, out)
    for op, good in GOOD.items()
    for out in sorted(RESULTS)
    for argument, value in good.items()
    if out in good and argument != out and isinstance(value, np.ndarray)
    if not (op.startswith("PointwiseConv") and argument in ("weight", "bias"))  # these were copied when packed
    if not (out == "out_values" and argument == "out_scales")  # the other way round
]


@pytest.mark.parametrize("op, argument, out", OVERLAPS)
def test_out_must_not_overlap_an_input(backend, op, argument, out):
    value, room = overlapping(GOOD[op][argument], GOOD[op][out])
    assert_bad(op, {argument: value, out: room}, out, ValueError)


@pytest.mark.parametrize("op", [op for op in GOOD if op.split()[0] in OPS and OPS[op.split()[0]].in_place])
def test_out_may_be_x_but_not_part_of_it(backend, op):
    alone = {name: None for name in ("mask", "residual") if name in GOOD[op]}  # without what has the shape of x
    memory = floats(16, 12)
    x = memory[:5]
    expected = call(op, **alone, x=x, out=None)
    for other in (memory[1:6], memory[4:9], memory.reshape(-1)[1:61].reshape(5, 12)):
        assert_bad(op, alone | {"x": x, "out": other}, "out", ValueError)
    # The same span or start but other strides, and a span with room for out between its rows.
    assert_bad(op, alone | {"x": memory[4::-1], "out": memory[:5]}, "out", ValueError)
    square = floats(12, 12)
    assert_bad(op, alone | {"x": square.T, "out": square}, "out", ValueError)
    bare = alone | {name: None for name in ("weight", "bias") if name in GOOD[op]}
    assert_bad(op, bare | {"x": memory[:15:14], "out": memory[2:4]}, "out", ValueError)
    result = call(op, **alone, x=x, out=x[:])
    np.testing.assert_array_equal(result, expected)
    assert np.shares_memory(result, x)
    apart = call(op, **alone, x=memory[:5], out=memory[5:10])
    assert np.shares_memory(apart, memory)


def test_out_must_not_be_x_elsewhere(backend):
    x, weight = floats(5, 12), floats(12, 12)
    assert_refused("pointwise_conv", lambda: ops.pointwise_conv(x, weight, out=x), [x], "out", ValueError)
    assert_refused("PointwiseConv", lambda: ops.PointwiseConv(weight)(x, out=x), [x], "out", ValueError)
    q = floats(1, 5, 12)
    assert_refused("attention", lambda: ops.attention(q, q * 1, q * 1, num_heads=1, out=q), [q], "out", ValueError)


def test_several_convs(backend):
    """What is not an array: the convolutions, and the results together."""
    x, memory = floats(5, 12), floats(10, 8)
    weight, wide = floats(8, 3), floats(8, 4)
    for exception, argument, convs, outs in [
        (TypeError, "convs", (weight, None), None),
        (TypeError, "convs", None, None),
        (TypeError, "convs", weight, None),
        (TypeError, "out", (weight, weight), 3),
        (ValueError, "out", (weight, weight), memory[:1]),
        (ValueError, "out", (weight, weight), (None, None, None)),
        (TypeError, "out", (weight, weight), (memory[:5], 3)),
        (ValueError, "out", (weight, weight), (memory[:5], memory[4:9])),
        (ValueError, "out", (weight, weight), (memory[:5], memory[:5])),
        (ValueError, "x", (weight, wide), (memory[:5], None)),
    ]:

        def call(convs=convs, outs=outs):
            if isinstance(convs, tuple):
                convs = [w if w is None else ops.PointwiseConv(w, groups=4) for w in convs]
            return ops.pointwise_convs(x, convs, out=outs)

        assert_refused("pointwise_convs", call, [memory], argument, exception)


QUANTISED = ops.QuantizedRows(np.full((5, 16), 130, np.uint8), np.ones((5, 4), np.float32))


@pytest.mark.parametrize(
    "x, out, quantize_groups, dtype, argument, exception",
    [
        ((*QUANTISED, 3), None, None, "int8", "x", ValueError),
        (QUANTISED[:1], None, None, "int8", "x", ValueError),
        ((), None, None, "int8", "x", ValueError),
        (QUANTISED, None, None, "float32", "x", TypeError),
        (floats(5, 12), QUANTISED, None, "int8", "out", TypeError),
        (floats(5, 12), floats(5, 8), 4, "int8", "out", TypeError),
        (floats(5, 12), (1, 2, 3), 4, "int8", "out", TypeError),
        (floats(5, 12), list(QUANTISED), 4, "int8", "out", TypeError),
        (floats(5, 12), floats(5, 8), 4, "float16", "out", TypeError),
        (floats(5, 12), None, "4", "float32", "quantize_groups", TypeError),
        (floats(5, 12), None, 3, "float32", "quantize_groups", ValueError),
    ],
)
def test_quantised_rows_are_pairs(backend, x, out, quantize_groups, dtype, argument, exception):
    def call():
        ops.PointwiseConv(np.ones((8, 3), np.float32), groups=4, dtype=dtype)(
            x, out=out, quantize_groups=quantize_groups
        )

    assert_refused("PointwiseConv", call, [*QUANTISED], argument, exception)


def test_quantised_results_of_several_convs(backend):
    x, convs = floats(5, 12), [ops.PointwiseConv(floats(8, 3), groups=4, dtype=dtype) for dtype in ("float32", "int8")]
    memory, scales = np.zeros(100, np.uint8), np.zeros((2, 5, 2), np.float32)
    first, second = (ops.QuantizedRows(memory[i : i + 40].reshape(5, 8), scales[i // 40]) for i in (0, 40))
    within = memory[60:100].view(np.float32).reshape(5, 2)
    for exception, argument, groups, outs in [
        (TypeError, "out", None, (None, first)),
        (TypeError, "out", None, (None, tuple(first))),
        (TypeError, "out", 2, (first, floats(5, 8))),
        (TypeError, "out", 2, (first, (1, 2, 3))),
        (TypeError, "out", 2, (first, (*second[:1], None, None))),
        (ValueError, "out", 4, (first, None)),
        (ValueError, "out", 2, (first, first)),
        (ValueError, "out", 2, (first, ops.QuantizedRows(second.values, first.scales))),
        (ValueError, "out", 2, (None, ops.QuantizedRows(second.values, within))),
        (ValueError, "out", 2, (first, ops.QuantizedRows(second.values, memory[:40].view(np.float32).reshape(5, 2)))),
        (ValueError, "out", 2, (None, ops.QuantizedRows(x.view(np.uint8).reshape(-1)[:40].reshape(5, 8), scales[0]))),
        (ValueError, "quantize_groups", 3, None),
        (TypeError, "quantize_groups", "2", None),
    ]:

        def call(groups=groups, outs=outs):
            return ops.pointwise_convs(x, convs, quantize_groups=groups, out=outs)

        assert_refused("pointwise_convs", call, [x, memory, scales], argument, exception, str((groups, outs)))


ROWS3 = [ops.quantize_rows(floats(2, 5, 12), groups=3) for _ in range(3)]


def test_all_or_no_quantised_rows_in_attention(backend):
    x, three, rotated = floats(2, 5, 12), (*ROWS3[0], 3), ops.quantize_rows(floats(2, 5, 384), groups=3, rotate=True)
    for position, name in enumerate("qkv"):
        for exception, other in [
            (TypeError, x), (TypeError, None), (TypeError, list(ROWS3[0])), (ValueError, three), (ValueError, ()),
            (ValueError, rotated), (TypeError, (x, ROWS3[0].scales)), (TypeError, (ROWS3[0].values, None)),
        ]:  # fmt: skip
            rows = [*ROWS3]
            rows[position] = other
            # Floats as q make quantised rows wrong.
            named = "k" if name == "q" and other is x else name

            def call(rows=rows):
                return ops.attention(*rows, num_heads=3)

            assert_refused("attention", call, [], named, exception, f"{name}: {type(other)}")


def test_quantised_rows_that_are_too_large_for_attention(backend):
    def rows(*shape):
        return ops.QuantizedRows(
            np.broadcast_to(np.uint8(130), shape), np.broadcast_to(np.float32(1), (*shape[:-1], 1))
        )

    few, keys, wide = rows(1, 1, 4), rows(1, 2**16 + 1, 4), rows(1, 1, 2**17 + 4)
    of_queries, of_keys = np.array([0, 1], np.int32), np.array([0, 2**16 + 1], np.int32)
    ragged = {"cu_seqlens_q": of_queries, "cu_seqlens_k": of_keys}
    many, one = rows(2, 2**30, 4), rows(2, 1, 4)
    for argument, call in [
        ("k", lambda: ops.attention(few, keys, keys, num_heads=1)),
        ("k", lambda: ops.attention(rows(1, 4), rows(2**16 + 1, 4), rows(2**16 + 1, 4), num_heads=1, **ragged)),
        ("num_heads", lambda: ops.attention(wide, wide, wide, num_heads=1)),
        ("q", lambda: ops.attention(many, one, one, num_heads=1)),
        ("k", lambda: ops.attention(one, many, many, num_heads=1)),
    ]:
        assert_refused("attention", call, [], argument, ValueError)


def test_quantised_rows_of_several_convs(backend):
    weights = [(floats(8, 3), 4, "int8"), (floats(8, 6), 2, "int8"), (floats(8, 3), 4, "float32")]
    for other in weights[1:]:

        def call(other=other):
            convs = [ops.PointwiseConv(w, groups=g, dtype=d) for w, g, d in (weights[0], other)]
            ops.pointwise_convs(QUANTISED, convs)

        assert_refused("pointwise_convs", call, [*QUANTISED], "x", ValueError)


@pytest.mark.parametrize(
    "rotate, channels, argument, exception",
    [(1, 128, "rotate", TypeError), (None, 128, "rotate", TypeError), ("x", 128, "rotate", TypeError)]
    + [(True, channels, "x", ValueError) for channels in (1, 96, 200, 2**13 + 128)],
)
def test_rows_that_cannot_be_rotated(backend, rotate, channels, argument, exception):
    x = floats(2, channels)
    assert_refused("quantize_rows", lambda: ops.quantize_rows(x, rotate=rotate), [x], argument, exception)
    conv = ops.PointwiseConv(floats(channels, 2), dtype="int8")
    argument = {"rotate": "quantize_rotate", "x": "quantize_groups"}[argument]

    def call():
        conv(floats(2, 2), quantize_groups=1, quantize_rotate=rotate)

    assert_refused("PointwiseConv", call, [], argument, exception)


def test_rotation_of_floats(backend):
    conv = ops.PointwiseConv(floats(4, 4), dtype="int8")
    assert_refused("PointwiseConv", lambda: conv(floats(2, 4), quantize_rotate=True), [], "quantize_rotate", ValueError)


@pytest.mark.parametrize(
    "weight, dtype",
    [
        (np.full((2, 3), 65505, np.float32), "float16"),
        (np.full((2, 3), -1e30, np.float32), "float16"),
        (np.zeros((1, 2**17 + 1), np.float32), "int8"),
        (np.zeros((2, 64), np.float32), "int8_rotated"),
        (np.zeros((2, 2**13 + 128), np.float32), "int8_rotated"),
        (np.zeros((0, 2**28 + 1), np.float32), "float32"),
        (np.zeros((2**28 + 1, 0), np.float32), "float32"),
        (np.broadcast_to(np.float32(1), (HUGE, 4)), "float32"),
    ],
)
def test_weights_that_cannot_be_stored(backend, weight, dtype):
    def call():
        ops.PointwiseConv(weight, dtype=dtype)

    assert_refused("PointwiseConv", call, [weight[:1]], "weight", ValueError)
    if dtype == "float32" and weight.shape[0]:
        x = np.zeros((1, weight.shape[1]), np.float32)
        assert_refused("pointwise_conv", lambda: ops.pointwise_conv(x, weight), [], "weight", ValueError)


def test_sizes_beyond_32_bits(backend):
    rows = np.zeros((1, 2**28 + 1), np.float32)[:0]
    assert_refused("quantize_rows", lambda: ops.quantize_rows(rows), [], "x", ValueError)
    conv, x = ops.PointwiseConv(floats(3, 4)), np.broadcast_to(np.float32(1), (HUGE, 5))
    assert_refused("PointwiseConv", lambda: conv(x), [], "x", ValueError)
    wide = np.zeros((0, 1, 2**25), np.float32)
    long, short = np.zeros((2, 2**30, 0), np.float32), np.zeros((2, 1, 0), np.float32)
    for op in (ops.attention_scores, lambda q, k, **rest: ops.attention(q, k, k, **rest)):
        name = "attention_scores" if op is ops.attention_scores else "attention"
        assert_refused(name, lambda op=op: op(long, short, num_heads=1), [], "q", ValueError)
        assert_refused(name, lambda op=op: op(short, long, num_heads=1), [], "k", ValueError)
        for repeated in (np.broadcast_to(np.float32(1), (2, 2**31, 4)), np.broadcast_to(np.float32(1), (1, 2**32, 4))):
            few = floats(len(repeated), 1, 4)
            assert_refused(name, lambda op=op, k=repeated, q=few: op(q, k, num_heads=1), [], "k", ValueError)
        for heads in (1, 2**25):
            assert_refused(name, lambda op=op, n=heads: op(wide, wide, num_heads=n), [], "num_heads", ValueError)


@pytest.mark.parametrize("memory", [3, "take", [64]], ids=repr)
def test_memory_without_a_method(backend, memory):
    text = f"PointwiseConv: memory: expected an object with a method take, got {type(memory).__name__}"
    assert outcome(lambda: ops.PointwiseConv(floats(16, 4), memory=memory)) == (TypeError, text, "memory")


class Piece:
    """Gives a buffer, whatever is asked for."""

    def __init__(self, buffer):
        self.take = lambda size: buffer


COMPILED = [name for name in ("native", "cffi") if name in ops.available_backends()]


@pytest.mark.parametrize("backend", COMPILED)
def test_memory_for_a_packed_weight(backend):
    weight = floats(16, 4)  # 256 bytes when packed
    room = np.zeros(1024, np.uint8)
    room = room[-room.__array_interface__["data"][0] % 64 :][:512]
    wrong = [
        ([0] * 512, TypeError, "a buffer of bytes, got list"),
        (np.zeros(64, "M8[s]"), TypeError, "a buffer of bytes, got datetime64[s]"),
        (bytes(512), ValueError, "a writeable buffer, got a read-only one"),
        (room[:255], ValueError, "at least 256 bytes, got 255"),
        (room[32:], ValueError, "an address that is a multiple of 64, got 64n + 32"),
    ]
    with ops.backend(backend):
        for buffer, exception, text in wrong:
            result = outcome(lambda buffer=buffer: ops.PointwiseConv(weight, memory=Piece(buffer)))
            assert result == (exception, f"PointwiseConv: memory: expected {text}", "memory")
        conv = ops.PointwiseConv(weight, memory=Piece(memoryview(room)[:256]))
        assert room[:256].view(np.float32).reshape(4, 16).tolist() == weight.T.tolist() and not room[256:].any()
        np.testing.assert_array_equal(conv(floats(2, 4) * 0), np.zeros((2, 16), np.float32))


@pytest.mark.parametrize("n", [0, -1, 257, 2**70, 1.0, "2", None, True, np.float32(1), [2]], ids=str)
def test_set_num_threads(backend, n):
    exception = ValueError if type(n) is int else TypeError
    assert_refused("set_num_threads", lambda: ops.set_num_threads(n), [], "n", exception)


TOO_LARGE = {
    "tanh": lambda: ops.tanh(np.broadcast_to(np.float32(1), (HUGE,))),
    "layer_norm": lambda: ops.layer_norm(np.broadcast_to(np.float32(1), (HUGE, 4))),
    "l2_normalize": lambda: ops.l2_normalize(np.broadcast_to(np.float32(1), (HUGE, 4))),
    "mean_pool": lambda: ops.mean_pool(np.broadcast_to(np.float32(1), (4, HUGE, 4))),
    "its result": lambda: ops.mean_pool(np.zeros((HUGE, 0, 4), np.float32)),
    "int32 ids": lambda: ops.embedding(np.broadcast_to(np.int32(1), (HUGE,)), np.ones((2, 1), np.float32)),
    "int64 ids": lambda: ops.embedding(np.broadcast_to(np.int64(1), (HUGE,)), np.ones((2, 1), np.float32)),
    "out": lambda: ops.softmax(np.ones(3, np.float32)[:0], mask=None, out=np.broadcast_to(np.float32(1), (HUGE,))),
    "weight": lambda: ops.PointwiseConv(np.broadcast_to(np.float32(1), (HUGE // 4, 4))),
    "bias": lambda: ops.PointwiseConv(np.ones((4, 0), np.float32), np.broadcast_to(np.float32(1), (HUGE,))),
}


@pytest.mark.parametrize("what", TOO_LARGE)
def test_no_memory_for_a_copy(backend, what):
    """An exception, be it of the memory or of an argument, and no crash."""
    result = outcome(TOO_LARGE[what])
    assert issubclass(result[0], (MemoryError, ValueError))
    assert re.fullmatch(r"\w+: (\w+: )?expected .+, got .+", result[1])
    if backend not in COMPILED:  # which allocate the result before they copy an argument
        with ops.backend("numpy"):
            assert outcome(TOO_LARGE[what]) == result


LARGE = np.broadcast_to(np.float32(1), (2**40, 2**18))  # more than any memory holds, though one number is stored
WRONG_NEXT_TO_LARGE = {
    "pointwise_conv": lambda: ops.pointwise_conv(LARGE, np.ones((4, 5), np.float32)),
    "pointwise_conv with groups": lambda: ops.pointwise_conv(LARGE, np.ones((4, 2**18), np.float32), groups=3),
    "PointwiseConv": lambda: ops.PointwiseConv(np.ones((4, 5), np.float32))(LARGE),
    "quantize_rows": lambda: ops.quantize_rows(LARGE, groups=3),
    "layer_norm": lambda: ops.layer_norm(LARGE, eps=-1),
    "softmax": lambda: ops.softmax(LARGE, mask=np.broadcast_to(True, LARGE.shape), fully_masked="neither"),
    "gelu": lambda: ops.gelu(LARGE, approximate="x"),
    "mean_pool": lambda: ops.mean_pool(LARGE, mask=np.ones(3, bool)),
    "out": lambda: ops.tanh(LARGE, out=np.ones(3, np.float32)),
}


@pytest.mark.parametrize("what", WRONG_NEXT_TO_LARGE)
def test_a_wrong_argument_comes_before_a_copy(backend, what):
    result = outcome(WRONG_NEXT_TO_LARGE[what])
    assert result[0] is ValueError
    with ops.backend("numpy"):
        assert outcome(WRONG_NEXT_TO_LARGE[what]) == result


@pytest.mark.parametrize("variant", VARIANTS, ids=str, indirect=True)
@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_more_groups_than_channels_could_have(variant, dtype):
    """Zero channels could have any number of groups, and sizes that follow from it would overflow."""
    for groups in (2**28 + 1, 2**62, 2**63 - 1):
        with pytest.raises(ValueError, match="groups: expected .*, got"):
            ops.PointwiseConv(np.zeros((0, 0), np.float32), groups=groups, dtype=dtype)
        with pytest.raises(ValueError, match="groups: expected .*, got"):
            ops.quantize_rows(np.zeros((1, 0), np.float32), groups=groups)


def test_numbers_are_copied_before_they_are_checked():
    """Another thread may change them between the check and the use."""
    from squeezeops.backends._front import Arguments

    ids, offsets = np.arange(3), np.array([0, 3], np.int32)
    checked = Arguments("op").ids("ids", ids, 3), Arguments("op").offsets("cu_seqlens", offsets, 3)
    ids[...], offsets[...] = 99, 99
    assert [numbers.tolist() for numbers in checked] == [[0, 1, 2], [0, 3]]
