"""A call of each op with arrays that the caller makes, of NumPy or not. No NumPy here.

As a program, with NumPy blocked: runs them on the cffi backend and prints each result, as JSON of shape and bytes.
``python buffer_calls.py API`` or ``ABI`` says which mode of cffi.
"""

import json
import random
import sys
from inspect import signature


def calls(ops, array):
    """Results by name; ``array(format, values, *shape)`` makes an argument."""
    from squeezeops.ops import __all__ as names

    rng = random.Random(7)

    def floats(*shape, format="f"):
        size = 1
        for n in shape:
            size *= n
        # Sixteenths, which a float16 holds.
        return array(format, [rng.randrange(-64, 65) / 16 for _ in range(size)], *shape)

    def ids(format, limit, *shape):
        return array(format, [rng.randrange(limit) for _ in range(shape[0] * shape[1])], *shape)

    def bools(*shape):
        return array("?", [rng.random() < 0.6 for _ in range(shape[0] * shape[1])], *shape)

    x, residual = floats(5, 24), floats(5, 40)
    weight, bias = floats(40, 6), floats(40)
    q, k, v = floats(2, 5, 12), floats(2, 7, 12), floats(2, 7, 12)
    words, positions, types = floats(50, 24), floats(9, 24, format="e"), floats(2, 24)
    ragged = [floats(9, 12) for _ in range(3)]
    convs = [ops.PointwiseConv(floats(n, 24 // groups), floats(n), groups=groups) for n, groups in ((40, 4), (7, 1))]
    several = ops.pointwise_convs(x, convs)
    int8 = ops.PointwiseConv(weight, bias, groups=4, dtype="int8")
    next_int8 = ops.PointwiseConv(floats(10, 8, format="e"), groups=5, dtype="int8")
    row = {"weight": floats(24), "bias": floats(24), "eps": 1e-3, "residual": floats(5, 24)}
    normalised = {}
    for name in names:
        takes = signature(getattr(ops, name)).parameters.keys()
        if "eps" in takes and takes <= {"x", *row, "out"}:
            normalised[name] = getattr(ops, name)(x, **{key: row[key] for key in row if key in takes})
    return {
        "pointwise_convs": several[0],
        "pointwise_convs, the second": several[1],
        "pointwise_conv": ops.pointwise_conv(x, weight, bias, groups=4, activation="gelu", residual=residual),
        "PointwiseConv": ops.PointwiseConv(floats(40, 24, 1, format="e"), bias)(x, activation="tanh"),
        "PointwiseConv, float16": ops.PointwiseConv(weight, bias, groups=4, dtype="float16")(x),
        "PointwiseConv, int8": int8(x, activation="gelu", residual=residual),
        "PointwiseConv, quantised": next_int8(int8(ops.quantize_rows(x, groups=4), quantize_groups=5)),
        "quantize_rows": ops.quantize_rows(x, groups=4).scales,
        "quantize_rows, values": ops.quantize_rows(x, groups=4).values,
        **normalised,
        "softmax": ops.softmax(x, mask=bools(5, 24), scale=0.3),
        "softmax, one row of a mask": ops.softmax(x, mask=floats(24), fully_masked="zero"),
        "gelu": ops.gelu(x, approximate="tanh"),
        "tanh": ops.tanh(q),
        "mean_pool": ops.mean_pool(q, mask=bools(2, 5)),
        "embedding": ops.embedding(ids("i", 9, 3, 4), positions),
        "embedding_layer_norm": ops.embedding_layer_norm(
            ids("q", 50, 3, 4), words, ids("i", 9, 3, 4), positions, ids("l", 2, 3, 4), types, floats(24), floats(24)
        ),
        "attention": ops.attention(q, k, v, num_heads=3, mask=bools(5, 7)),
        "attention_scores": ops.attention_scores(q, k, num_heads=3, mask=bools(5, 7)),
        "attention, ragged": ops.attention(*ragged, num_heads=2, cu_seqlens=array("i", [0, 4, 4, 9], 4)),
    }


def view(format, values, *shape):
    """A memoryview with a shape. Python itself has none of float16, but of its bits."""
    import struct

    memory = memoryview(struct.pack(f"{len(values)}{format}", *values))
    return memory.cast("H" if format == "e" else format, shape)


if __name__ == "__main__":
    sys.modules["numpy"] = None
    if sys.argv[1] == "ABI":
        sys.modules["squeezeops._cffi"] = None
    import squeezeops
    from squeezeops.backends import _buffers

    squeezeops.set_backend("cffi")
    results = calls(squeezeops, view)
    out = memoryview(bytearray(4 * 120)).cast("f", (5, 24))
    assert squeezeops.tanh(view("f", [1.0] * 120, 5, 24), out=out) is out
    assert all(type(result) is memoryview and result.format in ("f", "B") for result in results.values())
    found = {name: [result.shape, result.tobytes().hex()] for name, result in results.items()}
    print(json.dumps({"mode": _buffers.mode, "numpy": sys.modules["numpy"], "results": found}))
