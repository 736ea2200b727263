"""The operations on arrays of the C interface: the table, the argument structs, what they check. Called through cffi.

test_contract.py holds the same checks to those of Python's backends, with the arrays that Python has. Here is what only
other callers can pass.
"""

from inspect import signature

import numpy as np
import pytest
from op_helpers import native, normal

from squeezeops import backends, ops

pytestmark = [
    pytest.mark.skipif(native is None, reason="built without the native extension"),
    pytest.mark.skipif("cffi" not in backends.available(), reason="cffi is not installed"),
]
if native is not None and "cffi" in backends.available():
    from squeezeops.backends._buffers import ffi, lib

    TABLE = [lib.sqz_operation_get(i) for i in range(lib.sqz_operation_count())]
else:
    TABLE = []
RNG = np.random.default_rng(3)
DTYPES = {"f4": "F32", "f2": "F16", "i1": "S8", "u1": "U8", "b1": "BOOL", "i4": "S32", "i8": "S64"}


def text(pointer):
    return ffi.string(pointer).decode()


def message():
    return text(lib.sqz_error_message())


class Args:
    """A struct of arguments: arrays, numbers, None for what is not given."""

    def __init__(self, op, size=None, **values):
        self.name = f"sqz_{op}"
        self.kept = []
        self.pointer = ffi.new(f"{self.name}_args *")
        self.pointer.size = ffi.sizeof(f"{self.name}_args") if size is None else size
        for result in RESULTS.get(op, ()):
            self.set(result, {"rank": lib.SQZ_MAX_RANK, "shape": self.keep(ffi.new("intptr_t[]", lib.SQZ_MAX_RANK))})
        for name, value in values.items():
            self.set(name, value)

    def keep(self, value):
        self.kept.append(value)
        return value

    def set(self, name, value):
        if isinstance(value, np.ndarray):
            array = self.keep(value)
            value = {
                "data": ffi.cast("void *", array.__array_interface__["data"][0]),
                "dtype": getattr(lib, f"SQZ_{DTYPES.get(array.dtype.str[1:], 'OTHER')}"),
                "rank": array.ndim,
                "shape": self.keep(ffi.new("intptr_t[]", array.shape)),
                "strides": self.keep(ffi.new("intptr_t[]", array.strides)),
                "readonly": not array.flags.writeable,
            }
        if value is not None:
            setattr(self.pointer, name, value)

    def call(self):
        return getattr(lib, self.name)(self.pointer)

    def finish(self, *names):
        """Allocate what a call asked for, call again and return it."""
        assert self.call() == lib.SQZ_NEEDS_OUT, message()
        results = []
        for name in names:
            out = getattr(self.pointer, name)
            dtype = {lib.SQZ_F32: np.float32, lib.SQZ_U8: np.uint8}[out.dtype]
            room = np.zeros(np.prod([out.shape[i] for i in range(out.rank)], dtype=int) * dtype().itemsize + 64, "u1")
            start = -room.__array_interface__["data"][0] % 64
            results.append(room[start : len(room) - 64 + start].view(dtype))
            results[-1].shape = tuple(out.shape[0 : out.rank])
        for name, result in zip(names, results, strict=True):
            self.set(name, result)
        assert self.call() == lib.SQZ_OK, message()
        return results


RESULTS = {
    text(row.name): [text(a.name) for a in row.arguments[0 : row.argument_count] if a.kind == lib.SQZ_ARG_OUT]
    for row in TABLE
}


def refused(args, status, start):
    assert args.call() == status
    assert message().startswith(start), message()
    assert text(lib.sqz_error_argument()) == start.partition(":")[0]


X, WEIGHT, IDS = normal(RNG, 3, 8), normal(RNG, 6, 4), np.array([2, 0, 1])
Q = normal(RNG, 2, 5, 8)


# The table.


@pytest.mark.parametrize("row", TABLE, ids=lambda row: text(row.name))
def test_the_table_describes_the_structs(row):
    name = text(row.name)
    struct = ffi.typeof(f"sqz_{name.removesuffix('s') if row.several else name}_args")
    assert row.size == ffi.sizeof(struct)
    fields = dict(struct.fields)
    assert fields.pop("size").offset == 0
    arguments = [row.arguments[i] for i in range(row.argument_count)]
    assert [text(a.name) for a in arguments] == list(fields)
    for a in arguments:
        field = fields[text(a.name)]
        assert field.offset == a.offset
        kind = {
            lib.SQZ_ARG_ARRAY: "sqz_array",
            lib.SQZ_ARG_OUT: "sqz_array",
            lib.SQZ_ARG_INT: "int64_t *" if a.optional else "int64_t",
            lib.SQZ_ARG_REAL: "double *" if a.optional else "double",
        }.get(a.kind)
        assert (field.type.kind == "enum") if kind is None else field.type.cname == kind
        if a.kind == lib.SQZ_ARG_WORD:
            assert ffi.sizeof(field.type) == 4 and a.word_count > 1
            assert sorted(field.type.elements)[a.first_word] == a.first_word


@pytest.mark.parametrize("row", [row for row in TABLE if text(row.name) in ops.__all__], ids=lambda row: text(row.name))
def test_an_optional_argument_may_be_none_in_python(row):
    """The compiled backends take None for it. If the signature does not, the other backends refuse None. `ops` itself
    checks a bool."""
    parameters = signature(getattr(ops, text(row.name))).parameters
    for a in row.arguments[0 : row.argument_count]:
        if text(a.name) in parameters and a.kind != lib.SQZ_ARG_WORD and parameters[text(a.name)].annotation != "bool":
            assert bool(a.optional) == ("None" in parameters[text(a.name)].annotation), text(a.name)


def test_the_table_has_an_end():
    assert len({text(row.name) for row in TABLE}) == len(TABLE) > 10
    assert lib.sqz_operation_get(-1) == lib.sqz_operation_get(len(TABLE)) == ffi.NULL


@pytest.mark.parametrize("row", TABLE, ids=lambda row: text(row.name))
def test_every_operation_is_reached_by_its_pointer(row):
    """Which runs the checks: a struct of zeros lacks an argument."""
    args = ffi.new("char[]", row.size)
    ffi.cast("size_t *", args)[0] = row.size
    status = row.run(args, 1, 0)
    assert status in (lib.SQZ_TYPE, lib.SQZ_INVALID)
    assert text(lib.sqz_error_argument()) in {text(row.arguments[i].name) for i in range(row.argument_count)}
    if not row.several:
        assert row.run(args, 2, 0) == lib.SQZ_INVALID and message() == "count: expected 1, got 2"


def test_a_result_by_the_pointer():
    (row,) = [row for row in TABLE if text(row.name) == "tanh"]
    args = Args("tanh", x=X)
    assert row.run(args.pointer, 1, 0) == lib.SQZ_NEEDS_OUT
    args.set("out", np.empty_like(X))
    assert row.run(args.pointer, 1, 1) == lib.SQZ_OK
    np.testing.assert_array_equal(args.kept[-3], ops.tanh(X))


# Results.


def test_a_result_that_was_asked_for_needs_memory():
    args = Args("embedding", ids=IDS.reshape(3, 1), table=X)
    assert args.call() == lib.SQZ_NEEDS_OUT
    out = args.pointer.out
    assert (out.dtype, out.rank, list(out.shape[0:3]), out.data) == (lib.SQZ_F32, 3, [3, 1, 8], ffi.NULL)
    refused(args, lib.SQZ_INVALID, "out: expected a pointer, got NULL")
    out.dtype = lib.SQZ_NONE  # asks once more
    (result,) = args.finish("out")
    np.testing.assert_array_equal(result, X[IDS][:, None])


def test_room_for_a_shape():
    """The caller's memory, of as many sizes as `rank` says."""
    args = Args("embedding", ids=IDS, table=X)
    for rank, room, got in [(1, ffi.new("intptr_t[]", 1), "2 sizes, got 1"), (64, ffi.NULL, "its shape, got NULL")]:
        args.set("out", {"rank": rank, "shape": args.keep(room)})
        refused(args, lib.SQZ_INVALID, "out: expected ")
        assert message().endswith(got)
    room = args.keep(ffi.new("intptr_t[]", [7, 7, 7]))
    args.set("out", {"rank": 2, "shape": room})
    assert args.call() == lib.SQZ_NEEDS_OUT
    assert list(room) == [3, 8, 7]


BIAS, CONV = normal(RNG, 6), {"c_in": 8, "c_out": 6, "groups": 2, "dtype": 1}
VALID = {
    "pointwise_conv": {"x": X, "weight": WEIGHT, "groups": 2},
    "pack_pointwise_conv": {"weight": WEIGHT, "bias": BIAS, "groups": 2, "dtype": 1},
    "use_packed_pointwise_conv": CONV | {"bias": BIAS},
    "run_pointwise_conv": CONV | {"x": X, "quantize_groups": ffi.new("int64_t *", 2)} if TABLE else {},
    "quantize_rows": {"x": X, "groups": 2},
    "softmax": {"x": X, "scale": 1.0},
    "embedding": {"ids": IDS, "table": X},
    "embedding_layer_norm": {f"{of}{name}": value for of in ("", "position_", "type_")
                             for name, value in (("ids", IDS), ("table", X))},
    "attention": {"q": Q, "k": Q, "v": Q, "num_heads": 2},
    "attention_scores": {"q": Q, "k": Q, "num_heads": 2},
}  # fmt: skip


@pytest.mark.parametrize("name", [text(row.name) for row in TABLE if not row.several])
def test_a_result_without_a_shape(name):
    """It is refused before its sizes are read, beside arguments that are right otherwise."""
    values = VALID.get(name, {"x": X})
    if "packed" in name or "run" in name:
        values = values | {"packed": np.asarray(ops.PointwiseConv(WEIGHT, groups=2).packed)}
    asked = Args(name, **values)
    assert asked.call() == lib.SQZ_NEEDS_OUT, message()
    for result in RESULTS[name]:
        of = getattr(asked.pointer, result)
        assert of.dtype != lib.SQZ_NONE and of.rank
        for rank in range(1, of.rank + 2):
            args = Args(name, **values)
            args.set(result, descriptor(dtype=of.dtype, rank=rank, shape=ffi.NULL))
            refused(args, lib.SQZ_INVALID, "out: expected a shape, got NULL")


def test_two_results():
    (values, scales) = Args("quantize_rows", x=X, groups=2).finish("values", "scales")
    expected = native.quantize_rows(X, 2, None, None, None)
    np.testing.assert_array_equal(values, expected[0])
    np.testing.assert_array_equal(scales, expected[1])
    args = Args("quantize_rows", x=X, groups=2, values=values)  # one of them is there
    args.finish("scales")


def test_a_packed_weight():
    bias = normal(RNG, 6)
    packed, copied = Args("pack_pointwise_conv", weight=WEIGHT, bias=bias, groups=2, dtype=lib.SQZ_F16).finish(
        "packed", "bias_out"
    )
    np.testing.assert_array_equal(copied, bias)
    sizes = {"c_in": 8, "c_out": 6, "groups": 2, "dtype": lib.SQZ_F16}
    assert Args("use_packed_pointwise_conv", packed=packed, **sizes).call() == lib.SQZ_OK
    run = Args("run_pointwise_conv", packed=packed, bias=copied, **sizes, x=X)
    expected = ops.PointwiseConv(WEIGHT, bias, groups=2, dtype="float16")(X)
    np.testing.assert_array_equal(run.finish("out")[0], expected)
    shifted = np.concatenate([packed, packed])[1 : 1 + len(packed)]
    for wrong, status, start in [
        ({"packed": packed[:-1]}, lib.SQZ_INVALID, "packed: expected 256 bytes, got 255"),
        ({"packed": shifted}, lib.SQZ_INVALID, "packed: expected an address"),
        ({"c_in": 2**28 + 1}, lib.SQZ_INVALID, "c_in: expected 0 to 2^28 channels"),
        ({"dtype": 0}, lib.SQZ_INVALID, "dtype: expected a value from 1 to 4, got 0"),
        ({"x_scales": X}, lib.SQZ_INVALID, "x_scales: expected none for weights of another type"),
        ({"out_scales": X}, lib.SQZ_INVALID, "out_scales: expected none without quantize_groups"),
        ({"quantize_groups": ffi.new("int64_t *", 5)}, lib.SQZ_INVALID, "quantize_groups: expected a divisor of C_out"),
        ({"activation": 77}, lib.SQZ_INVALID, "activation: expected a value from 0 to 4, got 77"),
    ]:  # fmt: skip
        refused(Args("run_pointwise_conv", **{"packed": packed, **sizes, "x": X} | wrong), status, start)


def test_several_convolutions_of_one_input():
    weights = [normal(RNG, 6, 8), normal(RNG, 3, 8)]
    convs = [ops.PointwiseConv(w) for w in weights]
    packed = [np.asarray(conv.packed) for conv in convs]
    calls = [
        Args("run_pointwise_conv", packed=p, c_in=8, c_out=len(w), groups=1, dtype=lib.SQZ_F32, x=X)
        for p, w in zip(packed, weights, strict=True)
    ]

    def several(*every):
        return ffi.new("sqz_run_pointwise_conv_args[]", [args.pointer[0] for args in every])

    structs = several(*calls)
    assert lib.sqz_run_pointwise_convs(structs, 2) == lib.SQZ_NEEDS_OUT
    assert [list(structs[i].out.shape[0:2]) for i in range(2)] == [[3, 6], [3, 3]]
    outs = [np.empty((3, 6), np.float32), np.empty((3, 3), np.float32)]
    for args, out in zip(calls, outs, strict=True):
        args.set("out", out)
    assert lib.sqz_run_pointwise_convs(several(*calls), 2) == lib.SQZ_OK
    for conv, out in zip(convs, outs, strict=True):
        np.testing.assert_array_equal(out, conv(X))

    for change, start in [
        ({"out": outs[0].reshape(-1)[:9].reshape(3, 3)}, "out: expected memory apart from the inputs"),
        ({"x": X.copy()}, "x: expected one array for all convolutions"),
    ]:  # fmt: skip
        for name, value in change.items():
            calls[1].set(name, value)
        assert lib.sqz_run_pointwise_convs(several(*calls), 2) == lib.SQZ_INVALID
        assert message().startswith(start), message()
        calls[1].set("out", outs[1])
    assert lib.sqz_run_pointwise_convs(ffi.NULL, 0) == lib.SQZ_OK
    assert lib.sqz_run_pointwise_convs(ffi.NULL, 1) == lib.SQZ_INVALID
    assert lib.sqz_run_pointwise_convs(structs, -1) == lib.SQZ_INVALID
    structs[1].size = 8
    assert lib.sqz_run_pointwise_convs(structs, 2) == lib.SQZ_INVALID and message().startswith("size: ")


# Versions of the structs.


def test_a_struct_of_an_older_caller():
    """What it does not have is not given."""
    packed = np.asarray(ops.PointwiseConv(WEIGHT, groups=2).packed)
    size = ffi.offsetof("sqz_run_pointwise_conv_args", "out_scales")
    fields = {"packed": packed, "c_in": 8, "c_out": 6, "groups": 2, "dtype": lib.SQZ_F32, "x": X}
    args = Args("run_pointwise_conv", size, **fields)
    args.pointer.out_scales.dtype = lib.SQZ_F32  # beyond its size: other memory
    (result,) = args.finish("out")
    np.testing.assert_array_equal(result, ops.pointwise_conv(X, WEIGHT, groups=2))
    assert args.pointer.size == size and args.pointer.out_scales.dtype == lib.SQZ_F32
    assert lib.sqz_run_pointwise_convs(args.pointer, 1) == lib.SQZ_OK
    args = Args("tanh", ffi.offsetof("sqz_tanh_args", "x"))
    refused(args, lib.SQZ_TYPE, "x: expected an array of float32, got none")


def test_attention_of_an_older_caller():
    """Which knows no quantised rows."""
    args = Args("attention", ffi.offsetof("sqz_attention_args", "q_scales"), q=Q, k=Q, v=Q, num_heads=2)
    args.pointer.q_scales.dtype = lib.SQZ_U8
    np.testing.assert_array_equal(args.finish("out")[0], ops.attention(Q, Q, Q, num_heads=2))


def test_a_struct_of_a_newer_caller():
    """It may have more, as long as that is not used."""
    size = ffi.sizeof("sqz_tanh_args") + 24
    memory = ffi.new("char[]", size)
    for several in (False, True):
        known = Args("tanh", size, x=X, out=np.empty_like(X))
        ffi.buffer(memory)[0 : ffi.sizeof("sqz_tanh_args")] = ffi.buffer(known.pointer)[:]
        args = ffi.cast("sqz_tanh_args *", memory)
        assert lib.sqz_tanh(args) == lib.SQZ_OK, several
    memory[size - 1] = b"\1"
    assert lib.sqz_tanh(args) == lib.SQZ_INVALID and message().startswith("size: expected a struct of")


def test_no_struct():
    assert lib.sqz_tanh(ffi.NULL) == lib.SQZ_INVALID and message() == "args: expected a pointer, got NULL"
    for size in (
        0,
        7,
        ffi.offsetof("sqz_tanh_args", "out") + ffi.sizeof("void *") // 2,
    ):  # the last one ends inside a pointer
        refused(Args("tanh", size, x=X), lib.SQZ_INVALID, "size: expected that of the struct")


# Arrays.


def descriptor(**fields):
    return {"dtype": lib.SQZ_F32, "data": ffi.cast("void *", 64), **fields}


@pytest.mark.parametrize(
    ("fields", "status", "start"),
    [
        ({"dtype": "NONE"}, "TYPE", "x: expected an array of float32, got none"),
        ({"dtype": "OTHER"}, "TYPE", "x: expected an array of float32, got another type"),
        ({"dtype": "S64"}, "TYPE", "x: expected an array of float32, got int64"),
        ({"dtype": "BYTE"}, "TYPE", "x: expected an array of float32, got bytes"),
        ({"dtype": 77}, "TYPE", "x: expected an array of float32, got another type"),
        ({"rank": -1}, "INVALID", "x: expected at most 64 dimensions, got -1"),
        ({"rank": 65}, "INVALID", "x: expected at most 64 dimensions, got 65"),
        ({"rank": 1}, "INVALID", "x: expected a shape, got NULL"),
        ({"sizes": (-1,)}, "INVALID", "x: expected sizes >= 0 and fewer than 2^58 elements, got shape (-1,)"),
        ({"sizes": (2**40, 2**40)}, "INVALID", "x: expected sizes >= 0 and fewer than 2^58 elements, got shape (1099"),
        ({"sizes": (2**40, 0, 2**40)}, "INVALID", "x: expected sizes >= 0 and fewer than 2^58 elements"),
        ({"sizes": (2,), "data": 0}, "INVALID", "x: expected a pointer, got NULL"),
        ({"sizes": ()}, "INVALID", "x: expected at least 1 dimension, got shape () (reshape a single number to (1"),
    ],
)  # fmt: skip
def test_descriptors(fields, status, start):
    fields = dict(fields)
    args = Args("l2_normalize")
    if "sizes" in fields:
        sizes = fields.pop("sizes")
        fields |= {"rank": len(sizes), "shape": args.keep(ffi.new("intptr_t[]", sizes))}
    if isinstance(fields.get("dtype"), str):
        fields["dtype"] = getattr(lib, f"SQZ_{fields['dtype']}")
    if fields.get("data") == 0:
        fields["data"] = ffi.NULL
    args.set("x", descriptor(**fields))
    refused(args, getattr(lib, f"SQZ_{status}"), start)


def test_the_callers_own_name_of_a_type():
    args = Args("tanh")
    args.set("x", descriptor(dtype=lib.SQZ_OTHER, type=args.keep(ffi.new("char[]", b"quaternion"))))
    refused(args, lib.SQZ_TYPE, "x: expected an array of float32, got quaternion")


def test_many_axes():
    """Up to 64, whatever NumPy has."""
    for rank in (0, 1, 2, 64):
        sizes = [1] * (rank - 1) + [24] * (rank > 0)
        x, result = X.copy(), np.zeros_like(X)
        args = Args("tanh")
        shape = args.keep(ffi.new("intptr_t[]", sizes))
        for name, array in (("x", x), ("out", result)):
            data = ffi.cast("void *", array.__array_interface__["data"][0])
            args.set(name, descriptor(data=data, rank=rank, shape=shape))
        assert args.call() == lib.SQZ_OK, message()
        expected = np.zeros(24, np.float32)
        expected[: 24 if rank else 1] = ops.tanh(X).reshape(-1)[: 24 if rank else 1]
        np.testing.assert_array_equal(result.reshape(-1), expected)


def test_bytes_stand_for_what_is_expected():
    keep = np.array([1, 0, 1, 0, 0, 1, 1, 17], np.uint8)
    args = Args("softmax", x=X, mask=keep, scale=1.0)
    refused(args, lib.SQZ_TYPE, "mask: expected an array of bool or float32, got uint8")
    args.pointer.mask.dtype = lib.SQZ_BYTE
    np.testing.assert_array_equal(args.finish("out")[0], ops.softmax(X, mask=keep > 0))
