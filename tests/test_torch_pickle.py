"""The interpreter of torch's pickles: it refuses invalid ones, runs no code, and limits memory and time."""

from __future__ import annotations

import pickle
import struct
import tracemalloc

import pytest
import torch_helpers as tw
from torch_helpers import (
    FLOATS,
    X,
    integer,
    mapping,
    name,
    numbers,
    program,
    rebuild,
    refusal,
    storage,
    stored,
    text,
    utils,
    view,
    write,
)

from squeezeops.squeezebert.files import torch_pickle
from squeezeops.squeezebert.files.torch_file import read_tensors

OS_SYSTEM = name("os", "system") + tw.group(text("touch executed"))
DEEP = 100_000


class Net:
    """A class whose instances are pickled, as torch.save does with a module."""


def pickled_net(protocol: int) -> bytes:
    return pickle.dumps(Net(), protocol)


def binunicode(data: bytes) -> bytes:
    return b"X" + struct.pack("<I", len(data)) + data


# Each of 30 nested dicts holds the next one twice ("billion laughs").
LAUGHS = (tw.ORDERED_DICT + b")R(" + X) * 30 + b"]" + (b"q\0" + text("y") + b"h\0u") * 30

PICKLES = {  # name: (pickle, parts of the message)
    "REDUCE": (program(OS_SYSTEM, b"R"), "names 'os.system', which is not a tensor (it was not run"),
    "REDUCE inside a dict": (mapping(X, OS_SYSTEM + b"R"), "names 'os.system'"),
    "STACK_GLOBAL": (program(text("os"), text("system"), b"\x93", tw.group(X), b"R"), "names 'os.system'"),
    "STACK_GLOBAL of no strings": (program(b"K\1", X, b"\x93"), "a name as two strings, got int, str"),
    "INST": (program(b"(", text("touch executed"), b"ios\nsystem\n"), "got INST 'os system'"),
    "OBJ": (program(b"(", name("os", "system"), X, b"o"), "names 'os.system'"),
    "OBJ of a name that is allowed": (program(b"(", tw.ORDERED_DICT, b"o"), "got OBJ ("),
    "NEWOBJ": (program(name("os", "system"), b")\x81"), "names 'os.system'"),
    "NEWOBJ of a name that is allowed": (program(tw.ORDERED_DICT, b")\x81"), "got NEWOBJ ("),
    "NEWOBJ_EX": (program(tw.ORDERED_DICT, b")}\x92"), "got NEWOBJ_EX ("),
    "EXT1": (program(b"\x82\1"), "got EXT1 ("),
    "EXT4": (program(b"\x84\1\0\0\0"), "got EXT4 ("),
    "eval": (program(name("builtins", "eval"), tw.group(text("1")), b"R"), "names 'builtins.eval'"),
    "getattr": (program(name("builtins", "getattr")), "names 'builtins.getattr'"),
    "torch.load": (program(name("torch", "load")), "names 'torch.load'"),
    "a dotted attribute": (
        program(text("collections"), text("OrderedDict.fromkeys"), b"\x93"),
        "OrderedDict.fromkeys'",
    ),
    "a name with an escape": (program(name("os", "sys\\x74em")), "a complete one", "a line with a backslash"),
    "a name with spaces": (program(name("os ", " system")), "names 'os"),
    "a long name": (program(name("os", "s" * 2000)), "a complete one"),
    "a name that is not ASCII": (program(name("os", "systém")), "a complete one"),
    "a tensor of other dtypes": (program(utils("_rebuild_tensor_v3")), "_rebuild_tensor_v3'"),
    "a quantised tensor": (program(utils("_rebuild_qtensor")), "_rebuild_qtensor'"),
    "a model": (pickled_net(2), "Net', which is not a tensor", "torch.save(model.state_dict(), ...)"),
    "a model of the older layout": (
        program(tw.group(text("module"), X, b"NN"), b"Q"),
        "got a whole model (torch.save(",
    ),
    "calls a storage": (program(FLOATS, b")R"), "got one of 'torch.FloatStorage'"),
    "calls a string": (program(X, b")R"), "got one of 'str'"),
    "calls with no tuple": (program(tw.ORDERED_DICT, b"]R"), "got one of 'collections.OrderedDict'"),
    "OrderedDict of a list": (program(tw.ORDERED_DICT, b"]\x85R"), "got one of 'collections.OrderedDict'"),
    "Size of a number": (program(name("torch", "Size"), b"K\1\x85R"), "got one of 'torch.Size'"),
    "Size of a list": (program(name("torch", "Size"), b"]\x85R"), "got one of 'torch.Size'"),
    "parameter of a number": (program(utils("_rebuild_parameter"), b"K\1\x88N\x87R"), "_rebuild_parameter'"),
    "tensor of no storage": (mapping(X, rebuild(b"K\1")), "got one of 'torch._utils._rebuild_tensor_v2'"),
    "tensor of too few arguments": (
        program(utils("_rebuild_tensor_v2"), tw.group(storage()), b"R"),
        "_rebuild_tensor_v2'",
    ),
    "tensor with values negated": (
        view(numbers(2, 3), numbers(3, 1), b"}(" + text("neg") + b"\x88u"),
        "_rebuild_tensor_v2'",
    ),
    "BUILD on a dict": (program(b"}}b"), "opcode BUILD after OrderedDict, got dict"),
    "BUILD on a list": (program(b"]}b"), "opcode BUILD", "got list"),
    "BUILD of other attributes": (
        program(tw.ORDERED_DICT, b")R}", text("__class__"), b"K\1sb"),
        "no attributes but a state dict's _metadata",
    ),
    "BUILD of a tuple": (program(tw.ORDERED_DICT, b")R)b"), "no attributes but"),
    "PERSID": (program(b"P0\n"), "got PERSID '0'"),
    "DUP": (program(b"}2"), "got DUP"),
    "POP": (program(b"}}0"), "got POP"),
    "EMPTY_SET": (program(b"\x8f"), "got EMPTY_SET"),
    "BYTEARRAY8": (program(b"\x96" + struct.pack("<Q", 1) + b"a"), "got BYTEARRAY8 ("),
    "BYTEARRAY8 of 2**60 bytes": (program(b"\x96" + struct.pack("<Q", 2**60)), "a complete one"),
    "LONG4 of 2 GB": (program(b"\x8b\xff\xff\xff\x7f"), "a complete one"),
    "BINBYTES8 of 2**40 bytes": (program(b"\x8e" + struct.pack("<Q", 2**40)), "a complete one"),
    "FRAME of 2**40 bytes": (program(b"\x95" + struct.pack("<Q", 2**40)), "one value at its end, got 0"),
    "LONG4": (program(b"\x8b" + struct.pack("<i", 4) + b"\1\0\0\0"), "got LONG4 ("),
    "LONG of many digits": (program(b"L" + b"9" * 100_000 + b"L\n"), "a complete one"),
    "INT of many digits": (program(b"I" + b"9" * 900 + b"\n"), "got INT ("),
    "an unknown opcode": (program(b"\xff"), "a complete one", "unknown"),
    "a string that is not UTF-8": (program(binunicode(b"\xff")), "a complete one"),
    "a string of 4 GB": (program(b"X\xff\xff\xff\xff"), "a complete one"),
    "a string of 2**63 bytes": (program(b"\x8d" + b"\xff" * 8), "a complete one"),
    "no opcode": (b"", "a complete one, got 'pickle exhausted before seeing STOP'"),
    "only STOP": (b".", "one value at its end, got 0"),
    "two values": (program(b"}}"), "one value at its end, got 2"),
    "an open mark": (program(b"}("), "one value at its end, got 0 and 1 open marks"),
    "an open mark below a value": (program(b"(}"), "1 open marks"),
    "no mark": (program(b"}u"), "opcode SETITEMS with its operands"),
    "TUPLE with no mark": (program(b"t"), "opcode TUPLE with its operands"),
    "TUPLE3 of two": (program(b"NN\x87"), "opcode TUPLE3 with its operands"),
    "TUPLE2 across a mark": (program(b"N(N\x86"), "opcode TUPLE2 with its operands"),
    "SETITEM of one": (program(b"K\1s"), "opcode SETITEM with its operands"),
    "SETITEMS of an odd number": (program(b"}(", X, b"u"), "opcode SETITEMS with its operands"),
    "SETITEM on a list": (program(b"]K\1K\2s"), "opcode SETITEM after dict, got list"),
    "APPEND to a dict": (program(b"}K\1a"), "opcode APPEND after list, got dict"),
    "APPENDS to a tuple": (program(b")(K\1e"), "opcode APPENDS after list, got tuple"),
    "REDUCE of nothing": (program(b"R"), "opcode REDUCE with its operands"),
    "BINPERSID of nothing": (program(b"Q"), "opcode BINPERSID with its operands"),
    "BINPUT of nothing": (program(b"q\0"), "opcode BINPUT with its operands"),
    "BINGET of nothing": (program(b"h\0"), "opcode BINGET with its operands"),
    "MEMOIZE of nothing": (program(b"\x94"), "opcode MEMOIZE with its operands"),
    "a memo of 4 thousand million": (program(b"]r\xff\xff\xff\xff"), "a dict of tensors, got list"),
    "LONG_BINGET of 4 thousand million": (program(b"j\xff\xff\xff\xff"), "opcode LONG_BINGET with its operands"),
    "a key that is a tuple": (mapping(b")", rebuild()), "as keys, got ()"),
    "a key that is a deep tuple": (mapping(b")" + b"\x85" * DEEP, rebuild()), "as keys, got ("),
    "a key that is a list": (mapping(b"]", rebuild()), "as keys, got []"),
    "a key that is NaN": (mapping(b"G\x7f\xf8\0\0\0\0\0\0", rebuild()), "as keys, got nan"),
    "a key that is true": (mapping(b"\x88", rebuild()), "as keys, got True"),
    "a key below 0": (mapping(integer(-1), rebuild()), "integers from 0 to 2**31 - 1 as keys, got -1"),
    "a key of 2**31": (mapping(integer(2**31), rebuild()), "as keys, got 2147483648"),
    "a key of 2**1000": (mapping(integer(2**1000), rebuild()), "as keys, got 107150860718"),
    "a key twice": (mapping(X, rebuild(), X, rebuild()), "every key of a dict once, got 'x' twice"),
    "a list": (program(b"]"), "a dict of tensors, got list (torch.save("),
    "a tensor": (program(rebuild()), "a dict of tensors, got Tensor"),
    "a name": (program(tw.ORDERED_DICT), "a dict of tensors, got Global"),
    "a number for a tensor": (mapping(X, b"K\1"), "a dict of tensors, got one with int for 'x'"),
    "a storage for a tensor": (mapping(X, storage()), "got one with Storage for 'x'"),
    "a number for a name": (mapping(b"K\1", rebuild()), "got one with Tensor for 1"),
    "a training checkpoint": (
        mapping(text("epoch"), b"K\1", text("state_dict"), mapping(X, rebuild())[2:-1]),
        "int for 'epoch' (a training checkpoint? Save what is under 'state_dict' by itself)",
    ),
    "a list in itself": (program(b"]q\0h\0a"), "got list"),
    "a dict in itself": (program(b"}q\0", X, b"h\0s"), "got one with dict for 'x'"),
    "a shape in itself": (view(b"]q\0h\0\x85a"), "'x': shape: expected", "got [("),
    "deep lists": (program(b"]" * DEEP + b"a" * (DEEP - 1)), "got list"),
    "deep tuples": (program(b")" + b"\x85" * DEEP), "got tuple"),
    "deep shapes": (
        program(b")q\0", utils("_rebuild_tensor") + b"q\1", storage() + b"q\2", b"h\1(h\2Nh\0NtRq\0" * 30_000),
        "one value at its end",
    ),
    "deep marks": (program(b"(" * DEEP), "open marks"),
    "deep dicts": (program((b"}" + X) * DEEP + b"N" + b"s" * DEEP), "got one with dict for 'x'"),
    "a thousand million laughs": (program(b")" + b"q\0h\0\x86" * 30), "got tuple"),
    "a thousand million laughs for a shape": (
        view(b")" + b"q\0h\0\x86" * 30),
        "'x': shape: expected at most 32 integers",
    ),
    "a thousand million laughs of dicts for a shape": (
        view(LAUGHS),
        "'x': shape: expected at most 32 integers from 0 to 2**63 - 1, got <OrderedDict>",
    ),
    "a thousand million laughs of dicts in a shape": (view(LAUGHS + b"\x85"), "<Ord"),
    "a thousand million laughs for a key": (mapping(LAUGHS, rebuild()), "as keys, got <OrderedDict>"),
    "tuples in a shape": (view(b")\x85\x85\x85"), "got (((...),),)"),
    "tensors in a shape": (view(rebuild() + b"\x85"), "got (<Tensor>,)"),
    "a thousand million laughs for a device": (
        program(tw.group(text("storage"), FLOATS, X, b")" + b"q\0h\0\x86" * 30, b"K\1"), b"Q"),
        "the tuple of a storage",
    ),
    "too many opcodes": (program(b"}", b"q\0" * 1_000_000), "at most 400000 opcodes, got more"),
    "too long": (program(b"}", binunicode(bytes(17 * 2**20))), "data.pkl: expected at most 16777216 bytes"),
    # storages
    "a persistent id that is a string": (program(X, b"Q"), "the tuple of a storage, got another str"),
    "a storage of no class": (program(storage(kind=X), b""), "the tuple of a storage"),
    "a storage of a class that is none": (program(storage(kind=tw.ORDERED_DICT)), "the tuple of a storage"),
    "an untyped storage": (program(storage(kind=name("torch", "UntypedStorage"))), "names 'torch.UntypedStorage'"),
    "a storage with a number for a key": (program(storage(key=b"K\0")), "the tuple of a storage"),
    "a storage that is a view of another": (
        program(tw.group(text("storage"), FLOATS, X, X, b"K\6", tw.group(X, b"K\0K\2")), b"Q"),
        "the tuple of a storage",
    ),
    "a storage with more to say": (
        program(tw.group(text("storage"), FLOATS, text("0"), X, b"K\6NN"), b"Q"),
        "the tuple of a storage",
    ),
    "a negative storage": (stored(numel=integer(-1)), "storage '0': expected a count", "got -1"),
    "a storage of true elements": (stored(numel=b"\x88"), "storage '0': expected a count"),
    "a storage of 2**63 elements": (stored(numel=integer(2**63)), "storage '0': expected a"),
    "a storage of 2**1000 elements": (stored(numel=integer(2**1000)), "storage '0': expected"),
    "a storage of 2**62 elements": (
        stored(numel=integer(2**62)),
        f"'model/data/0': expected {2**64} bytes for {2**62} elements of F32, got 24",
    ),
    "a storage of too many elements": (stored(numel=b"K\7"), "'model/data/0': expected 28", "got 24"),
    "a storage of too few elements": (stored(numel=b"K\5"), "'model/data/0': expected 20", "got 24"),
    "a storage that is missing": (stored(text("1")), "an entry 'model/data/1', got none"),
    "a storage outside": (stored(text("../data.pkl")), "an entry 'model/data/../data.pkl', got"),
    "a storage with a long key": (stored(text("k" * 1_001)), "a key of at most 1000 characters"),
    "a storage with an odd key": (stored(text("\n\x1b[31m")), "an entry 'model/data/\\n\\x1b[31m'"),
    "two sizes of a storage": (
        mapping(X, rebuild(), text("y"), rebuild(storage(numel=b"K\3"))),
        "storage '0': expected 6 elements of F32 as before, got 3 of F32",
    ),
    "two dtypes of a storage": (
        mapping(X, rebuild(), text("y"), rebuild(storage(kind=name("torch", "IntStorage")))),
        "storage '0': expected 6 elements of F32 as before, got 6 of I32",
    ),
    # tensors
    "beyond the storage": (
        view(offset=integer(1)),
        "'x': expected a view inside a storage of 6 elements",
        "shape (2, 3) with strides (3, 1) from element 1",
    ),
    "strides beyond the storage": (view(numbers(2, 3), numbers(4, 1)), "strides (4, 1)"),
    "strides of 2**62": (view(numbers(2, 2), numbers(2**62, 2**62)), "'x': expected a"),
    "an offset of 2**62": (view(offset=integer(2**62)), f"from element {2**62}"),
    "an offset of 2**63": (view(offset=integer(2**63)), "'x': offset: expected an integer from 0"),
    "an offset of -1": (view(offset=integer(-1)), "'x': offset: expected an integer from 0", "got -1"),
    "an offset of true": (view(offset=b"\x88"), "'x': offset", "got True"),
    "an offset that is a tensor": (view(offset=rebuild()), "'x': offset"),
    "a negative stride": (view(numbers(2, 3), numbers(-3, -1), offset=integer(5)), "'x': stride", "(-3, -1)"),
    "a negative size": (view(numbers(-2, -3)), "'x': shape", "(-2, -3)"),
    "a size of 2**63": (view(numbers(2**63, 0)), "'x': shape"),
    "sizes that wrap to 6": (view(numbers(2**63 - 1, 2, 3), numbers(0, 3, 1)), "'x': e"),
    "no elements, but sizes beyond NumPy's": (
        view(numbers(0, 2**62), numbers(0, 0)),
        "'x': shape: expected a product, zeros aside, below 2**63 bytes",
    ),
    "repeats": (view(numbers(2**40), numbers(0)), "without many repeats, got shape (1099511627776,) with strides (0,)"),
    "more strides than sizes": (view(numbers(6), numbers(3, 1)), "'x': stride: expected 1"),
    "a size that is a float": (view(b"G@\0\0\0\0\0\0\0\x85"), "'x': shape", "(2.0,)"),
    "sizes in a list": (view(b"](K\2K\3e"), "'x': shape", "[2, 3]"),
    "33 axes": (view(numbers(*[1] * 33), numbers(*[1] * 33)), "'x': shape"),
    "a long name of a tensor": (mapping(text("x" * 100_000), rebuild(None, integer(9))), "xxx..."),
    "an odd name of a tensor": (
        mapping(binunicode(b"\n\xed\xa0\x80"), rebuild(None, integer(9))),
        "'\\n\\ud800': expected",
    ),
}


@pytest.mark.parametrize("case", PICKLES)
def test_hostile_pickles(tmp_path, case):
    data, *parts = PICKLES[case]
    refusal(write(tmp_path, tw.archive(data, {"0": bytes(24)})), *parts)


CALLS = {  # pickles that call a function in Python's unpickler
    "REDUCE": program(OS_SYSTEM, b"R"),
    "REDUCE inside a dict": mapping(X, OS_SYSTEM + b"R"),
    "STACK_GLOBAL": program(text("os"), text("system"), b"\x93", tw.group(text("touch executed")), b"R"),
    "INST": program(b"(", text("touch executed"), b"ios\nsystem\n"),
    "OBJ": program(b"(", name("os", "system"), text("touch executed"), b"o"),
    "eval": program(name("builtins", "eval"), tw.group(text("open('executed', 'x').close()")), b"R"),
    "NEWOBJ": program(  # bytes(map(os.system, [...]))
        name("builtins", "bytes"),
        tw.group(name("builtins", "map"), tw.group(name("os", "system"), b"](", text("touch executed"), b"e"), b"\x81"),
        b"\x81",
    ),
}


@pytest.mark.parametrize("case", CALLS)
@pytest.mark.parametrize("place", ["zip", "tensors", "magic number", "keys"])
def test_nothing_is_run(tmp_path, monkeypatch, case, place):
    monkeypatch.chdir(tmp_path)
    program = CALLS[case]
    content = {
        "zip": tw.archive(program, {}),
        "tensors": tw.pickles(program, {}),
        "magic number": program + tw.pickles(mapping(), {}),
        "keys": tw.pickles(mapping(), {}, keys=[]).replace(pickle.dumps([], 2), program),
    }[place]
    refusal(write(tmp_path, content))
    assert not (tmp_path / "executed").exists()
    pickle.loads(program)  # Python's unpickler runs the call
    assert (tmp_path / "executed").exists()


@pytest.mark.parametrize("opcode", [b"}", b"]", b"(", b"\x85", b"\x94", b"N"])
def test_what_an_opcode_may_cost(tmp_path, monkeypatch, opcode):
    """The memory per opcode is limited. With the limit on opcodes, a pickle needs at most about 80 MB."""
    count = 50_000
    monkeypatch.setattr(torch_pickle, "MAX_OPCODES", count)
    path = write(tmp_path, tw.archive(program(b")" + opcode * count), {}))
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="opcodes"):
            read_tensors(path)
        assert tracemalloc.get_traced_memory()[1] < 200 * count
    finally:
        tracemalloc.stop()
