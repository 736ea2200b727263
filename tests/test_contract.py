"""Wrong arguments: every backend raises the same exception, with the same text, naming the same argument.

For each op there is a call that works, and a table of arguments that must not. Each is put into the good call alone.
"""

import datetime
import decimal
import itertools
import re

import numpy as np
import pytest
from op_helpers import VARIANTS, normal

from squeezeops import ops

RNG = np.random.default_rng(0)


@pytest.fixture(params=ops.available_backends())
def backend(request):
    """The checks come before the choice of an instruction set, so each backend runs once."""
    with ops.backend(request.param):
        yield request.param


def floats(*shape):
    return normal(RNG, *shape)


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


def packed_conv(x, weight, bias, *, groups, dtype, **rest):
    return ops.PointwiseConv(weight, bias, groups=groups, dtype=dtype)(x, **rest)


def quantized_conv(x_values, x_scales, quantize_groups, out_values, out_scales, residual):
    """From quantised rows to quantised rows."""
    conv = ops.PointwiseConv(np.ones((8, 3), np.float32), groups=4, dtype="int8")
    x, out = ops.QuantizedRows(x_values, x_scales), ops.QuantizedRows(out_values, out_scales)
    return conv(x, quantize_groups=quantize_groups, out=out, residual=residual).scales


def from_packed(packed, bias, **sizes):
    return ops.PointwiseConv.from_packed(packed, bias, **sizes)(np.ones((1, 6), np.float32))


def several_convs(x, out):
    """The first result of two convolutions."""
    convs = ops.PointwiseConv(np.ones((8, 3), np.float32), groups=4), ops.PointwiseConv(np.ones((3, 12), np.float32))
    return ops.pointwise_convs(x, convs, out=(out, None))[0]


def embedding_layer_norm(ids, table, position_ids, position_table, type_ids, type_table, weight, bias, **rest):
    return ops.embedding_layer_norm(
        ids, table, position_ids, position_table, type_ids, type_table, weight, bias, **rest
    )


def quantize_rows(x, groups, out_values, out_scales):
    return ops.quantize_rows(x, groups=groups, out=ops.QuantizedRows(out_values, out_scales)).scales


OPS = {
    "pointwise_conv": ops.pointwise_conv,
    "pointwise_conv NCW": ops.pointwise_conv,
    "PointwiseConv": packed_conv,
    "pointwise_convs": several_convs,
    "PointwiseConv int8": packed_conv,
    "PointwiseConv quantised": quantized_conv,
    "PointwiseConv from packed": from_packed,
    "quantize_rows": quantize_rows,
    "layer_norm": ops.layer_norm,
    "rms_norm": ops.rms_norm,
    "l2_normalize": ops.l2_normalize,
    "softmax": ops.softmax,
    "softmax axis 0": ops.softmax,
    "gelu": ops.gelu,
    "tanh": ops.tanh,
    "mean_pool": ops.mean_pool,
    "embedding": ops.embedding,
    "embedding_layer_norm": embedding_layer_norm,
    "attention": ops.attention,
    "attention ragged": ops.attention,
    "attention ragged holes": ops.attention,
    "attention some queries": ops.attention,
    "attention_scores": ops.attention_scores,
}

GOOD = {
    "pointwise_conv": {
        "x": floats(5, 12), "weight": floats(8, 3), "bias": floats(8), "groups": 4, "activation": "gelu",
        "residual": floats(5, 8), "layout": "NWC", "out": floats(5, 8),
    },
    "pointwise_conv NCW": {
        "x": floats(2, 12, 5), "weight": floats(8, 3, 1), "bias": floats(8), "groups": 4, "activation": None,
        "residual": floats(2, 8, 5), "layout": "NCW", "out": floats(2, 8, 5),
    },
    "PointwiseConv": {
        "x": floats(5, 12), "weight": floats(8, 3), "bias": floats(8), "groups": 4, "dtype": "float32",
        "activation": "relu", "residual": floats(5, 8), "out": floats(5, 8),
    },
    "pointwise_convs": {"x": floats(5, 12), "out": floats(5, 8)},
    "PointwiseConv int8": {
        "x": floats(5, 12), "weight": floats(8, 3), "bias": floats(8), "groups": 4, "dtype": "int8",
        "activation": "relu", "residual": floats(5, 8), "out": floats(5, 8),
    },
    "PointwiseConv quantised": {
        "x_values": np.full((5, 16), 130, np.uint8), "x_scales": floats(5, 4), "quantize_groups": 2,
        "out_values": np.zeros((5, 8), np.uint8), "out_scales": floats(5, 2), "residual": floats(5, 8),
    },
    "PointwiseConv from packed": {
        "packed": ops.PointwiseConv(floats(34, 3), groups=2).packed, "bias": floats(34), "in_channels": 6,
        "out_channels": 34, "groups": 2, "dtype": "float32",
    },
    "quantize_rows": {
        "x": floats(5, 12), "groups": 4, "out_values": np.zeros((5, 16), np.uint8), "out_scales": floats(5, 4),
    },
    "layer_norm": {
        "x": floats(5, 12), "weight": floats(12), "bias": floats(12), "eps": 1e-5, "residual": floats(5, 12),
        "out": floats(5, 12),
    },
    "rms_norm": {
        "x": floats(5, 12), "weight": floats(12), "eps": 1e-6, "residual": floats(5, 12), "out": floats(5, 12),
    },
    "l2_normalize": {"x": floats(5, 12), "eps": 1e-12, "out": floats(5, 12)},
    "softmax": {
        "x": floats(5, 12), "axis": -1, "mask": floats(5, 12) > 0, "scale": 0.5, "fully_masked": "zero",
        "out": floats(5, 12),
    },
    "softmax axis 0": {
        "x": floats(5, 12), "axis": 0, "mask": floats(5, 12), "scale": 0.5, "fully_masked": "zero",
        "out": floats(5, 12),
    },
    "gelu": {"x": floats(5, 12), "approximate": "tanh", "out": floats(5, 12)},
    "tanh": {"x": floats(5, 12), "out": floats(5, 12)},
    "mean_pool": {"x": floats(2, 7, 12), "mask": floats(2, 7) > 0, "out": floats(2, 12)},
    "embedding": {"ids": np.arange(5), "table": floats(7, 12), "out": floats(5, 12)},
    "embedding_layer_norm": {
        "ids": np.arange(5), "table": floats(7, 12), "position_ids": np.arange(5), "position_table": floats(6, 12),
        "type_ids": np.zeros(5, np.int32), "type_table": floats(2, 12).astype(np.float16), "weight": floats(12),
        "bias": floats(12), "eps": 1e-5, "out": floats(5, 12),
    },
    "attention": {
        "q": floats(2, 5, 12), "k": floats(2, 7, 12), "v": floats(2, 7, 12), "num_heads": 3,
        "mask": floats(2, 3, 5, 7), "scale": 0.5, "fully_masked": "uniform", "out": floats(2, 5, 12),
    },
    "attention ragged": {
        "q": floats(9, 12), "k": floats(9, 12), "v": floats(9, 12), "num_heads": 3,
        "cu_seqlens": np.array([0, 4, 9], np.int32), "scale": 0.5, "fully_masked": "uniform", "out": floats(9, 12),
    },
    "attention ragged holes": {
        "q": floats(9, 12), "k": floats(9, 12), "v": floats(9, 12), "num_heads": 3,
        "cu_seqlens": np.array([0, 4, 9], np.int32), "mask": np.arange(9) % 2 > 0, "scale": 0.5,
        "fully_masked": "uniform", "out": floats(9, 12),
    },
    "attention some queries": {
        "q": floats(3, 12), "k": floats(9, 12), "v": floats(9, 12), "num_heads": 3,
        "cu_seqlens_q": np.array([0, 2, 3], np.int32), "cu_seqlens_k": np.array([0, 4, 9], np.int32),
        "fully_masked": "uniform", "out": floats(3, 12),
    },
    "attention_scores": {
        "q": floats(2, 5, 12), "k": floats(2, 7, 12), "num_heads": 3, "mask": floats(2, 3, 5, 7), "scale": 0.5,
        "out": floats(2, 3, 5, 7),
    },
}  # fmt: skip


class Agrees(str):
    """Equals everything, unlike the word that it is."""

    __hash__ = str.__hash__

    def __eq__(self, other):
        return True


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
    "zero": 0,
    "negative": -4,
    "not dividing": 5,
    "huge": 2**70,
    "hugely negative": -(2**70),
    "too long to write": 10**5000,
    "numpy": np.int8(-1),
}
HUGE = 1 << 44  # of elements; no machine has the memory for a copy
AXES = 64 if np.lib.NumpyVersion(np.__version__) >= "2.0.0" else 32  # at most, of an array


def wrong_types(good):
    """What an array argument must not be."""
    if good.dtype.kind == "i":
        dtypes = (np.float32, np.int16, np.uint32, np.uint64, bool)
    elif good.dtype == bool:
        dtypes = (np.int64, np.uint8, np.float64)
    elif good.dtype == np.uint8:
        dtypes = (np.int8, np.float32, np.int64, bool)
    else:
        dtypes = (np.float64, np.int32, np.int64, np.complex64, object, "S4", "f4,f4", "M8[s]")
    swapped = good.astype(good.dtype.newbyteorder())
    bad = {np.dtype(dtype).name: good.astype(np.int64).astype(dtype) for dtype in dtypes}
    bad |= {
        "list": good.tolist(),
        "capsule": datetime.datetime_CAPI,
        "long name": type("a" + 3000 * "é", (), {})(),
        "bytes": good.tobytes(),
        "str": "x",
        "scalar": good.flat[0],
        "float": 1.0,
    }
    return bad if swapped.dtype == good.dtype else bad | {"byte-swapped": swapped}


def named(argument):
    """How messages call it."""
    return re.sub("_(values|scales)$", "", argument)


def bad_arguments():
    """(op, argument, what is wrong, value, exception)."""

    def case(op, argument, bad, exception):
        return [(op, argument, what, value, exception) for what, value in bad.items()]

    cases = []
    required = {"x", "ids", "table", "position_ids", "position_table", "type_ids", "type_table", "q", "k", "v"}
    for op, good in GOOD.items():
        for argument, value in good.items():
            if isinstance(value, np.ndarray):
                bad = wrong_types(value)
                if argument in required or (argument == "weight" and "conv" in op.lower()):
                    bad["None"] = None
                cases += case(op, argument, bad, TypeError)
        for argument in {"activation", "layout", "approximate", "fully_masked", "dtype"} & good.keys():
            cases += case(op, argument, WORDS, ValueError)
        for argument in {"eps", "scale"} & good.keys():
            cases += case(op, argument, NUMBERS, TypeError)
            cases += case(op, argument, {"beyond a float": 10**400, "far below": -(10**400)}, ValueError)
        for argument in {"groups", "num_heads", "quantize_groups"} & good.keys():
            not_counts = {what: n for what, n in NOT_COUNTS.items() if n is not None or argument != "quantize_groups"}
            cases += case(op, argument, not_counts, TypeError)
            cases += case(op, argument, COUNTS, ValueError)
        if "eps" in good:
            cases += case(op, "eps", EPS, ValueError)
            cases += case(op, "eps", {"None": None}, TypeError)
        for argument in {"out", "out_values", "out_scales"} & good.keys():
            shape, dtype = good[argument].shape, good[argument].dtype
            unusable = {
                "flat": np.zeros(good[argument].size, dtype), "more rows": np.zeros((shape[0] + 1, *shape[1:]), dtype),
                "no rows": np.zeros((0, *shape[1:]), dtype), "0-d": np.array(0, dtype),
                "strided": strided(shape, dtype), "reversed": np.zeros(shape, dtype)[::-1],
                "Fortran order": np.asfortranarray(np.zeros(shape, dtype)), "read-only": read_only(shape, dtype),
                "broadcast": np.broadcast_to(np.zeros(shape[-1:], dtype), shape),
            }  # fmt: skip
            if dtype != np.uint8:
                unusable["unaligned"] = unaligned(shape)
            cases += case(op, argument, unusable, ValueError)

    for op in ("pointwise_conv", "PointwiseConv"):
        cases += case(op, "x", {"0-d": np.array(1, np.float32)}, ValueError)
        cases += case(
            op, "residual", {"shape": floats(5, 12), "broadcast": floats(8), "rank": floats(1, 5, 8)}, ValueError
        )
        weights = {
            "rank 1": floats(24),
            "kernel 2": floats(8, 3, 2),
            "rank 4": floats(8, 3, 1, 1),
            "0-d": np.array(1, "f4"),
        }
        cases += case(op, "weight", weights, ValueError)
        cases += case(op, "bias", {"shape": floats(12), "scalar": floats(1), "rank": floats(1, 8)}, ValueError)
    cases += case("pointwise_convs", "x", {"channels": floats(5, 11), "0-d": np.array(1, np.float32)}, ValueError)
    cases += case("PointwiseConv", "x", {"channels": floats(5, 11), "transposed": floats(12, 5)}, ValueError)
    cases += case("pointwise_conv", "weight", {"channels": floats(8, 4)}, ValueError)
    cases += case("pointwise_conv", "groups", {"not of C_in": 8, "not of C_out": 3, "huge": 2**70}, ValueError)
    cases += case("PointwiseConv", "groups", {"not of C_out": 3, "huge": 2**70}, ValueError)
    cases += case("pointwise_conv NCW", "x", {"rank": floats(12, 5), "0-d": np.array(1, np.float32)}, ValueError)
    cases += case("pointwise_conv NCW", "residual", {"shape": floats(2, 5, 8), "rank": floats(8, 5)}, ValueError)
    cases += case("pointwise_conv NCW", "weight", {"channels": floats(8, 4, 1), "0-d": np.array(1, "f4")}, ValueError)
    op = "PointwiseConv quantised"
    cases += case(op, "x_values", {"width": np.zeros((5, 12), np.uint8), "0-d": np.array(1, np.uint8)}, ValueError)
    cases += case(op, "x_scales", {"shape": floats(5, 1), "rows": floats(4, 4), "rank": floats(1, 5, 4)}, ValueError)
    cases += case(op, "residual", {"shape": floats(5, 12), "no rows": floats(0, 8)}, ValueError)
    cases += case("quantize_rows", "x", {"0-d": np.array(1, np.float32)}, ValueError)
    op = "PointwiseConv from packed"
    packed = GOOD[op]["packed"]
    released = memoryview(bytes(768))
    released.release()
    wrong = {
        "int": 5, "floats": np.zeros(192, np.float32), "None": None, "list": [0] * 768, "str": "x" * 768,
        "times": np.zeros(96, "M8[s]"), "released": released,
    }  # fmt: skip
    cases += case(op, "packed", wrong, TypeError)
    elsewhere = np.zeros(1024, np.uint8)
    elsewhere = elsewhere[-elsewhere.__array_interface__["data"][0] % 64 + 4 :][:768]
    wrong = {"short": packed[:-1], "long": bytes(832), "empty": b"", "elsewhere": elsewhere}
    cases += case(op, "packed", wrong | {"strided": np.zeros(1536, np.uint8)[::2]}, ValueError)
    cases += case(op, "bias", {"shape": floats(33), "rank": floats(1, 34), "empty": floats(0)}, ValueError)
    for argument in ("in_channels", "out_channels"):
        cases += case(op, argument, NOT_COUNTS, TypeError)
        cases += case(op, argument, {"negative": -6, "huge": 2**70, "too many": 2**29}, ValueError)
    for op in ("layer_norm", "embedding_layer_norm", "rms_norm"):
        for argument in {"weight", "bias"} & GOOD[op].keys():
            cases += case(op, argument, {"shape": floats(5), "scalar": floats(1), "rank": floats(1, 12)}, ValueError)
    for op in ("layer_norm", "rms_norm", "l2_normalize", "softmax", "softmax axis 0"):
        cases += case(op, "x", {"0-d": np.array(1, np.float32)}, ValueError)
    for op in ("layer_norm", "rms_norm"):
        cases += case(op, "residual", {"shape": floats(12, 5), "broadcast": floats(12)}, ValueError)
    masks = {
        "shape": floats(5),
        "rank": floats(1, 5, 12),
        "enlarging": floats(2, 5, 12) > 0,
        "transposed": floats(12, 5),
    }
    for op in ("softmax", "softmax axis 0"):
        cases += case(op, "mask", masks, ValueError)
        cases += case(op, "axis", {"too high": 2, "too low": -3, "huge": 2**70}, ValueError)
        cases += case(op, "axis", {"str": "0", "float": 0.0, "None": None, "bool": True}, TypeError)
        cases += case(op, "scale", {"None": None}, TypeError)
    cases += case("mean_pool", "x", {"0-d": np.array(1, np.float32), "1-d": floats(12)}, ValueError)
    shapes = {"shape": (2, 6), "rank": (1, 2, 7), "of x": (2, 7, 12), "transposed": (7, 2)}
    cases += case("mean_pool", "mask", {what: np.ones(shape, bool) for what, shape in shapes.items()}, ValueError)
    cases += case("mean_pool", "mask", {"additive": np.zeros((2, 7), np.float32)}, TypeError)
    for op in ("embedding", "embedding_layer_norm"):
        for integer in (np.int32, np.int64):
            for argument in {"ids", "position_ids", "type_ids"} & GOOD[op].keys():
                high, low = np.array([0, 1, 1, 7, 1], integer), np.array([0, 1, -1, 0, 1], integer)
                bounds = {f"high {integer.__name__}": high, f"low {integer.__name__}": low}
                if integer == np.int64:
                    far = np.array([0, 1, 2**32, 0, 1])  # 0, if it were cut to 32 bits
                    bounds["far"] = far
                cases += case(op, argument, bounds, ValueError)
        for argument in {"table", "position_table", "type_table"} & GOOD[op].keys():
            cases += case(op, argument, {"rank 1": floats(7), "rank 3": floats(7, 12, 1)}, ValueError)
    for argument in ("position_table", "type_table"):
        cases += case("embedding_layer_norm", argument, {"channels": floats(7, 11)}, ValueError)
    for argument in ("position_ids", "type_ids"):
        shapes = {"shape": np.zeros(4, int), "scalar": np.array(0), "rank": np.zeros((1, 5), int)}
        cases += case("embedding_layer_norm", argument, shapes, ValueError)
    masks = {
        "shape": floats(7, 5),
        "rank": floats(1, 2, 3, 5, 7),
        "heads": floats(2, 2, 5, 7) > 0,
        "batch": floats(4, 1, 1, 7),
    }
    for op in ("attention", "attention_scores"):
        cases += case(op, "q", {"rank 2": floats(5, 12), "rank 4": floats(1, 2, 5, 12)}, ValueError)
        cases += case(op, "k", {"rank": floats(7, 12), "batch": floats(3, 7, 12), "C": floats(2, 7, 9)}, ValueError)
        cases += case(op, "mask", masks, ValueError)
    cases += case(
        "attention", "v", {"rank": floats(7, 12), "batch": floats(1, 7, 12), "length": floats(2, 5, 12)}, ValueError
    )
    offsets = {
        "start": [1, 4, 9], "decrease": [0, 5, 4, 9], "negative": [0, -1, 9], "short": [0, 4, 8], "long": [0, 4, 10],
        "empty": [], "rank": [[0, 4, 9]], "one": [0], "scalar": 0,
    }  # fmt: skip
    for op in ("attention ragged", "attention ragged holes"):
        cases += case(op, "q", {"rank 3": floats(1, 9, 12), "rank 1": floats(9)}, ValueError)
        cases += case(op, "k", {"rank": floats(1, 9, 12), "rows": floats(8, 12), "channels": floats(9, 9)}, ValueError)
        cases += case(op, "v", {"rank": floats(1, 9, 12), "rows": floats(8, 12), "channels": floats(9, 9)}, ValueError)
        cases += case(op, "cu_seqlens", {what: np.array(o, np.int32) for what, o in offsets.items()}, ValueError)
        cases += case(op, "cu_seqlens", {"int64": np.array([0, 4, 9])}, TypeError)
    op = "attention some queries"
    cases += case(op, "q", {"rank 3": floats(1, 3, 12), "rank 1": floats(3)}, ValueError)
    cases += case(op, "k", {"rank": floats(1, 9, 12), "channels": floats(9, 9)}, ValueError)
    cases += case(op, "v", {"rank": floats(1, 9, 12), "rows": floats(8, 12), "channels": floats(9, 9)}, ValueError)
    cases += case(
        op, "cu_seqlens_k", {what: np.array(o, np.int32) for what, o in offsets.items() if what != "one"}, ValueError
    )
    cases += case(op, "cu_seqlens_k", {"missing": None, "int64": np.array([0, 4, 9])}, TypeError)
    cases += case(op, "cu_seqlens_q", {"missing": None, "int64": np.array([0, 2, 3])}, TypeError)
    cases += case(op, "cu_seqlens", {"next to the others": np.array([0, 4, 9], np.int32)}, ValueError)
    of_queries = {
        "start": [1, 2, 3],
        "decrease": [0, 4, 3],
        "long": [0, 2, 4],
        "batch": [0, 1, 2, 3],
        "rank": [[0, 2, 3]],
    }
    cases += case(op, "cu_seqlens_q", {what: np.array(o, np.int32) for what, o in of_queries.items()}, ValueError)
    cases += case(
        "attention ragged", "mask", {"4 axes": np.ones((2, 3, 5, 5), bool), "floats": floats(9, 9)}, ValueError
    )
    cases += case(
        "attention ragged holes",
        "mask",
        {"shape": np.ones(8, bool), "rank": np.ones((1, 9), bool), "floats": floats(8)},
        ValueError,
    )
    cases += case("attention ragged holes", "mask", {"ints": np.ones(9, int)}, TypeError)
    return cases


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


def assert_bad(op, arguments, argument, exception, what=""):
    arrays = [value for value in arguments.values() if isinstance(value, np.ndarray)]
    assert_refused(op, lambda: OPS[op](**arguments), arrays, named(argument), exception, what)


BAD = {
    (op, argument): [case[2:] for case in cases]
    for (op, argument), cases in itertools.groupby(
        sorted(bad_arguments(), key=lambda case: case[:2]), lambda case: case[:2]
    )
}


@pytest.mark.parametrize("op", OPS)
def test_good_arguments(backend, op):
    result = OPS[op](**GOOD[op])
    assert result.dtype == np.float32
    for name in {"out", "out_scales"} & GOOD[op].keys():
        assert result is GOOD[op][name]
        GOOD[op][name][...] = 0.5  # the tests below look for a change


@pytest.mark.parametrize("op", OPS)
def test_inputs_may_lie_anywhere(backend, op):
    """Strides of any kind, unaligned, read-only, subclasses: the result is the same."""
    results = {"out", "out_values", "out_scales"}
    expected = OPS[op](**GOOD[op]).copy()
    for argument in {name for name, value in GOOD[op].items() if isinstance(value, np.ndarray)} - results:
        value = GOOD[op][argument]
        copies = [strided(value.shape, value.dtype), unaligned(value.shape, value.dtype)]
        copies += [np.zeros(value.shape, value.dtype, "F")[::-1], np.zeros(value.shape, value.dtype).view(np.memmap)]
        copies += [strided(value.shape, value.dtype).view(Elsewhere)]
        copies += [np.zeros(value.shape, value.dtype.newbyteorder().newbyteorder())]  # "<", not "="
        for copy in copies:
            copy[...] = value
            copy.flags.writeable = False
            np.testing.assert_array_equal(OPS[op](**GOOD[op] | {argument: copy}), expected)
    for name in results & GOOD[op].keys():
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
        assert_bad(op, GOOD[op] | {argument: value}, argument, exception, what)


@pytest.mark.parametrize(
    "argument, table", [("ids", "table"), ("position_ids", "position_table"), ("type_ids", "type_table")]
)
def test_message_tells_the_id(backend, argument, table):
    good = GOOD["embedding_layer_norm"]
    rows = len(good[table])
    for value in (rows, -1, 2**40):
        for ids in (np.array([0, 1, value, 0, 99]), np.array([0, 9, 1, 9, value, 9, 0, 9, 99, 9])[::2]):
            arguments = good | {argument: ids}
            assert_bad("embedding_layer_norm", arguments, argument, ValueError)
            expected = f"{argument}: expected values in [0, {rows}), got {value} at position 2"
            assert outcome(lambda a=arguments: embedding_layer_norm(**a))[1] == f"embedding_layer_norm: {expected}"
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
    for out in ("out", "out_values", "out_scales")
    for argument, value in good.items()
    if out in good and argument != out and isinstance(value, np.ndarray)
    if not (op.startswith("PointwiseConv") and argument in ("weight", "bias"))  # these were copied when packed
    if not (out == "out_values" and argument == "out_scales")  # the other way round
]


@pytest.mark.parametrize("op, argument, out", OVERLAPS)
def test_out_must_not_overlap_an_input(backend, op, argument, out):
    value, room = overlapping(GOOD[op][argument], GOOD[op][out])
    assert_bad(op, GOOD[op] | {argument: value, out: room}, out, ValueError)


@pytest.mark.parametrize("op", ["layer_norm", "rms_norm", "l2_normalize", "softmax", "softmax axis 0", "gelu", "tanh"])
def test_out_may_be_x_but_not_part_of_it(backend, op):
    arguments = {name: value for name, value in GOOD[op].items() if name not in ("out", "mask", "residual")}
    memory = floats(16, 12)
    x = memory[:5]
    expected = OPS[op](**arguments | {"x": x})
    for other in (memory[1:6], memory[4:9], memory.reshape(-1)[1:61].reshape(5, 12)):
        assert_bad(op, arguments | {"x": x, "out": other}, "out", ValueError)
    # The same start but other strides, and a span with room for out between its rows.
    square = floats(12, 12)
    assert_bad(op, GOOD[op] | {"x": square.T, "out": square} | no_neighbours(op), "out", ValueError)
    assert_bad(op, arguments | {"x": memory[:15:14], "out": memory[2:4]} | no_affine(op), "out", ValueError)
    result = OPS[op](**arguments | {"x": x, "out": x[:]})
    np.testing.assert_array_equal(result, expected)
    assert np.shares_memory(result, x)
    apart = OPS[op](**arguments | {"x": memory[:5], "out": memory[5:10]})
    assert np.shares_memory(apart, memory)


def no_neighbours(op):
    """Drop what has the shape of the usual x."""
    return {name: None for name in ("mask", "residual") if name in GOOD[op]}


def no_affine(op):
    return {name: None for name in ("weight", "bias") if name in GOOD[op]}


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
        (floats(5, 12), None, 4, "float16", "quantize_groups", ValueError),
        (floats(5, 12), None, "4", "float32", "quantize_groups", ValueError),
    ],
)
def test_quantised_rows_are_pairs(backend, x, out, quantize_groups, dtype, argument, exception):
    def call():
        ops.PointwiseConv(np.ones((8, 3), np.float32), groups=4, dtype=dtype)(
            x, out=out, quantize_groups=quantize_groups
        )

    assert_refused("PointwiseConv", call, [*QUANTISED], argument, exception)


def test_quantised_rows_of_several_convs(backend):
    weights = [(floats(8, 3), 4, "int8"), (floats(8, 6), 2, "int8"), (floats(8, 3), 4, "float32")]
    for other in weights[1:]:

        def call(other=other):
            convs = [ops.PointwiseConv(w, groups=g, dtype=d) for w, g, d in (weights[0], other)]
            ops.pointwise_convs(QUANTISED, convs)

        assert_refused("pointwise_convs", call, [*QUANTISED], "x", ValueError)


@pytest.mark.parametrize(
    "weight, dtype",
    [
        (np.full((2, 3), 65505, np.float32), "float16"),
        (np.full((2, 3), -1e30, np.float32), "float16"),
        (np.zeros((1, 2**17 + 1), np.float32), "int8"),
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


@pytest.mark.parametrize(
    "call",
    [
        lambda: ops.tanh(np.broadcast_to(np.float32(1), (HUGE,))),
        lambda: ops.layer_norm(np.broadcast_to(np.float32(1), (HUGE, 4))),
        lambda: ops.l2_normalize(np.broadcast_to(np.float32(1), (HUGE, 4))),
        lambda: ops.mean_pool(np.broadcast_to(np.float32(1), (4, HUGE, 4))),
        lambda: ops.mean_pool(np.zeros((HUGE, 0, 4), np.float32)),
        lambda: ops.embedding(np.broadcast_to(np.int32(1), (HUGE,)), np.ones((2, 1), np.float32)),
        lambda: ops.embedding(np.broadcast_to(np.int64(1), (HUGE,)), np.ones((2, 1), np.float32)),
        lambda: ops.softmax(np.ones(3, np.float32)[:0], mask=None, out=np.broadcast_to(np.float32(1), (HUGE,))),
        lambda: ops.PointwiseConv(np.broadcast_to(np.float32(1), (HUGE // 4, 4))),
        lambda: ops.PointwiseConv(np.ones((4, 0), np.float32), np.broadcast_to(np.float32(1), (HUGE,))),
    ],
    ids=[
        "tanh",
        "layer_norm",
        "l2_normalize",
        "mean_pool",
        "its result",
        "int32 ids",
        "int64 ids",
        "out",
        "weight",
        "bias",
    ],
)
def test_no_memory_for_a_copy(backend, call):
    """An exception, be it of the memory or of an argument, and no crash."""
    result = outcome(call)
    assert issubclass(result[0], (MemoryError, ValueError))
    assert re.fullmatch(r"\w+: (\w+: )?expected .+, got .+", result[1])
    if backend not in COMPILED:  # which allocate the result before they copy an argument
        with ops.backend("numpy"):
            assert outcome(call) == result


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
