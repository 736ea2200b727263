"""Calls of each op that work, with arrays that the caller makes, of NumPy or not. No NumPy here.

As a program, with NumPy blocked: runs them on the cffi backend and prints each result, as JSON of shape and bytes.
``python buffer_calls.py API`` or ``ABI`` says which mode of cffi.
"""

import json
import random
import sys
from inspect import signature
from math import prod


def calls(ops, array):
    """Function and arguments by the name of the op and what is special; ``array(format, values, *shape)`` makes one."""
    from squeezeops.ops import __all__ as names

    rng = random.Random(7)

    def floats(*shape, format="f"):
        # Sixteenths, which a float16 holds.
        return array(format, [rng.randrange(-64, 65) / 16 for _ in range(prod(shape))], *shape)

    def bools(*shape):
        return array("?", [rng.random() < 0.6 for _ in range(prod(shape))], *shape)

    def same(format, value, *shape):
        return array(format, [value] * prod(shape), *shape)

    def rows(values, scales):
        return None if values is None else ops.QuantizedRows(values, scales)

    def packed_conv(x, weight, bias, *, groups, dtype, **rest):
        return ops.PointwiseConv(weight, bias, groups=groups, dtype=dtype)(x, **rest)

    def quantized_conv(x_values, x_scales, quantize_groups, residual, out_values=None, out_scales=None):
        conv = ops.PointwiseConv(same("f", 1, 8, 3), groups=4, dtype="int8")
        x, out = rows(x_values, x_scales), rows(out_values, out_scales)
        return conv(x, quantize_groups=quantize_groups, out=out, residual=residual)

    def from_packed(packed, bias, **sizes):
        return ops.PointwiseConv.from_packed(packed, bias, **sizes)(same("f", 1, 1, 6))

    def several_convs(x, out=None):
        convs = ops.PointwiseConv(same("f", 1, 8, 3), groups=4), ops.PointwiseConv(same("f", 1, 3, 12))
        return ops.pointwise_convs(x, convs, out=(out, None))

    def quantized_convs(x, quantize_groups, out_values=None, out_scales=None):
        convs = ops.PointwiseConv(same("f", 1, 8, 3), groups=4, dtype="int8"), ops.PointwiseConv(same("f", 1, 4, 12))
        return ops.pointwise_convs(x, convs, quantize_groups=quantize_groups, out=(rows(out_values, out_scales), None))[
            0
        ]

    def quantized_attention(q_values, q_scales, k_values, k_scales, v_values, v_scales, **rest):
        return ops.attention(rows(q_values, q_scales), rows(k_values, k_scales), rows(v_values, v_scales), **rest)

    def row_scales(*shape):
        return array("f", [rng.randrange(65) / 16 for _ in range(prod(shape))], *shape)

    def byte_rows(**shapes):
        made = {}
        for name, shape in shapes.items():
            values = [rng.randrange(1, 256) if i % 4 < 3 else 128 for i in range(prod(shape))]  # heads of 3 channels
            made[f"{name}_values"] = array("B", values, *shape)
            made[f"{name}_scales"] = row_scales(*shape[:-1], 3)
        return made | {"num_heads": 3, "scale": 0.5, "value_scale": floats(9), "value_bias": floats(9)}

    def embedding_layer_norm(ids, table, position_ids, position_table, type_ids, type_table, weight, bias, **rest):
        tables = position_ids, position_table, type_ids, type_table
        return ops.embedding_layer_norm(ids, table, *tables, weight, bias, **rest)

    def quantize_rows(x, groups, out_values=None, out_scales=None):
        return ops.quantize_rows(x, groups=groups, out=rows(out_values, out_scales))

    conv = {"x": floats(5, 12), "weight": floats(8, 3), "bias": floats(8), "groups": 4, "residual": floats(5, 8)}
    conv["out"] = floats(5, 8)
    packed = {**conv, "activation": "relu"}
    halves = {"weight": floats(8, 3, 1, format="e"), "activation": "tanh", "dtype": "float16"}
    ids = array("q", range(5), 5)
    ragged = {name: floats(9, 12) for name in "qkv"} | {"num_heads": 3, "cu_seqlens": array("i", [0, 4, 9], 3)}
    ragged |= {"scale": 0.5, "fully_masked": "uniform", "out": floats(9, 12)}
    normalised = {"x": floats(5, 12), "weight": floats(12), "bias": floats(12), "eps": 1e-3, "residual": floats(5, 12)}
    normalised["out"] = floats(5, 12)
    found = {}
    for name in names:
        takes = signature(getattr(ops, name)).parameters.keys()
        if {"x", "eps"} <= takes <= normalised.keys():
            found[name] = getattr(ops, name), {key: value for key, value in normalised.items() if key in takes}
    return found | {
        "pointwise_conv": (ops.pointwise_conv, {**conv, "activation": "gelu", "layout": "NWC"}),
        "pointwise_conv NCW": (ops.pointwise_conv, {
            "x": floats(2, 12, 5), "weight": floats(8, 3, 1), "bias": floats(8), "groups": 4, "activation": None,
            "residual": floats(2, 8, 5), "layout": "NCW", "out": floats(2, 8, 5),
        }),
        "PointwiseConv": (packed_conv, {**packed, "dtype": "float32"}),
        "PointwiseConv float16": (packed_conv, {**packed, **halves}),
        "PointwiseConv int8": (packed_conv, {**packed, "dtype": "int8"}),
        "PointwiseConv quantised": (quantized_conv, {
            "x_values": same("B", 130, 5, 16), "x_scales": floats(5, 4), "quantize_groups": 2,
            "residual": floats(5, 8), "out_values": same("B", 0, 5, 8), "out_scales": floats(5, 2),
        }),
        "PointwiseConv from packed": (from_packed, {
            "packed": ops.PointwiseConv(floats(34, 3), groups=2).packed, "bias": floats(34), "in_channels": 6,
            "out_channels": 34, "groups": 2, "dtype": "float32",
        }),
        "pointwise_convs": (several_convs, {"x": floats(5, 12), "out": floats(5, 8)}),
        "pointwise_convs quantised": (quantized_convs, {
            "x": floats(5, 12), "quantize_groups": 2, "out_values": same("B", 0, 5, 8), "out_scales": floats(5, 2),
        }),
        "quantize_rows": (quantize_rows, {
            "x": floats(5, 12), "groups": 4, "out_values": same("B", 0, 5, 16), "out_scales": floats(5, 4),
        }),
        "softmax": (ops.softmax, {
            "x": floats(5, 12), "axis": -1, "mask": bools(5, 12), "scale": 0.5, "fully_masked": "zero",
            "out": floats(5, 12),
        }),
        "softmax axis 0": (ops.softmax, {
            "x": floats(5, 12), "axis": 0, "mask": floats(5, 12), "scale": 0.5, "fully_masked": "zero",
            "out": floats(5, 12),
        }),
        "gelu": (ops.gelu, {"x": floats(5, 12), "approximate": "tanh", "out": floats(5, 12)}),
        "tanh": (ops.tanh, {"x": floats(5, 12), "out": floats(5, 12)}),
        "mean_pool": (ops.mean_pool, {"x": floats(2, 7, 12), "mask": bools(2, 7), "out": floats(2, 12)}),
        "embedding": (ops.embedding, {"ids": ids, "table": floats(7, 12), "out": floats(5, 12)}),
        "embedding_layer_norm": (embedding_layer_norm, {
            "ids": ids, "table": floats(7, 12), "position_ids": ids, "position_table": floats(6, 12),
            "type_ids": same("i", 0, 5), "type_table": floats(2, 12, format="e"), "weight": floats(12),
            "bias": floats(12), "eps": 1e-5, "out": floats(5, 12),
        }),
        "attention": (ops.attention, {
            "q": floats(2, 5, 12), "k": floats(2, 7, 12), "v": floats(2, 7, 12), "num_heads": 3,
            "mask": floats(2, 3, 5, 7), "scale": 0.5, "fully_masked": "uniform", "out": floats(2, 5, 12),
        }),
        "attention ragged": (ops.attention, ragged),
        "attention ragged holes": (ops.attention, {**ragged, "mask": bools(9)}),
        "attention some queries": (ops.attention, {
            "q": floats(3, 12), "k": floats(9, 12), "v": floats(9, 12), "num_heads": 3,
            "cu_seqlens_q": array("i", [0, 2, 3], 3), "cu_seqlens_k": array("i", [0, 4, 9], 3),
            "fully_masked": "uniform", "out": floats(3, 12),
        }),
        "attention quantised": (quantized_attention, {
            **byte_rows(q=(2, 5, 12), k=(2, 7, 12), v=(2, 7, 12)), "mask": bools(2, 3, 1, 7), "fully_masked": "uniform",
            "out": floats(2, 5, 9),
        }),
        "attention quantised ragged": (quantized_attention, {
            **byte_rows(q=(3, 12), k=(9, 12), v=(9, 12)), "mask": bools(9), "fully_masked": "zero",
            "cu_seqlens_q": array("i", [0, 2, 3], 3), "cu_seqlens_k": array("i", [0, 4, 9], 3), "out": floats(3, 9),
        }),
        "attention_scores": (ops.attention_scores, {
            "q": floats(2, 5, 12), "k": floats(2, 7, 12), "num_heads": 3, "mask": floats(2, 3, 5, 7), "scale": 0.5,
            "out": floats(2, 3, 5, 7),
        }),
    }  # fmt: skip


def results(ops, array):
    """The results of the calls, each a list, in memory that the op allocates."""
    found = {}
    for name, (function, arguments) in calls(ops, array).items():
        if name in ("pointwise_conv NCW", "softmax axis 0"):
            continue  # which need NumPy
        given = {key: value for key, value in arguments.items() if key not in ("out", "out_values", "out_scales")}
        result = function(**given)
        found[name] = list(result) if isinstance(result, tuple | list) else [result]
    return found


def view(format, values, *shape):
    """A memoryview with a shape. Python itself has none of float16, but of its bits."""
    import struct

    memory = memoryview(struct.pack(f"{len(values)}{format}", *values))
    return memory.cast("B").cast("H" if format == "e" else format, shape)


if __name__ == "__main__":
    sys.modules["numpy"] = None
    if sys.argv[1] == "ABI":
        sys.modules["squeezeops._cffi"] = None
    import squeezeops
    from squeezeops.backends import _buffers

    squeezeops.set_backend("cffi")
    made = results(squeezeops, view)
    out = memoryview(bytearray(4 * 120)).cast("f", (5, 24))
    assert squeezeops.tanh(view("f", [1.0] * 120, 5, 24), out=out) is out
    assert all(type(part) is memoryview and part.format in ("f", "B") for parts in made.values() for part in parts)
    found = {name: [[part.shape, part.tobytes().hex()] for part in parts] for name, parts in made.items()}
    print(json.dumps({"mode": _buffers.mode, "numpy": sys.modules["numpy"], "results": found}))
