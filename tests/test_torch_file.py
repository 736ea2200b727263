"""The reader of torch.save's files: both formats, and the errors of each."""

from __future__ import annotations

import io
import mmap
import pickle
import struct
import tracemalloc
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import torch_helpers as tw
from torch_helpers import X, integer, mapping, name, numbers, program, rebuild, refusal, storage, text, write

from squeezeops.squeezebert.files.torch_file import read_tensors

LAYOUTS = {"zip": tw.zip_file, "pickles": tw.pickles_file}


@pytest.fixture(params=LAYOUTS)
def layout(request):
    return LAYOUTS[request.param]


# ---- valid files ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_state_dicts(tmp_path, rng, layout, protocol):
    arrays = {f"layer.{i}.weight": rng.standard_normal((3, 5), np.float32) for i in range(40)}
    arrays["bias"] = rng.standard_normal(7)
    path = write(tmp_path, layout(tw.state_dict({name: tw.tensor(array) for name, array in arrays.items()}), protocol))
    found = read_tensors(str(path))
    assert list(found) == list(arrays)
    for key, array in arrays.items():
        assert found[key].dtype == array.dtype
        np.testing.assert_array_equal(found[key], array, strict=True)


@pytest.mark.parametrize("dtype", ["?", "u1", "i1", "<i2", "<i4", "<i8", "<f2", "<f4", "<f8"])
def test_dtypes(tmp_path, layout, dtype):
    values = np.array([[0, 1, 1], [1, 0, 1]]).astype(dtype)
    array = read_tensors(write(tmp_path, layout({"x": tw.tensor(values)})))["x"]
    assert array.dtype == values.dtype and array.flags.aligned and not array.flags.writeable
    np.testing.assert_array_equal(array, values, strict=True)


def test_bfloat16_is_widened_exactly_and_once(tmp_path, layout):
    # 1, -2, the smallest and the largest number, a subnormal, infinity, NaN, -0
    halves = np.array([0x3F80, 0xC000, 0x0080, 0x7F7F, 0x0001, 0x7F80, 0x7FC1, 0x8000], "<u2")
    shared = tw.Storage("BFloat16", halves.tobytes(), 8)
    tensors = {"x": tw.Tensor(shared, 0, (2, 4), (4, 1)), "y": tw.Tensor(shared, 2, (3,), (2,))}
    arrays = read_tensors(write(tmp_path, layout(tensors)))
    wide = halves.astype("<u4") << 16
    assert arrays["x"].dtype == arrays["y"].dtype == np.float32
    np.testing.assert_array_equal(arrays["x"].view("<u4"), wide.reshape(2, 4))
    np.testing.assert_array_equal(np.ascontiguousarray(arrays["y"]).view("<u4"), wide[2:8:2])
    assert np.shares_memory(arrays["x"], arrays["y"])


def test_tensors_are_read_only_views_of_the_file(tmp_path):
    values = np.arange(12, dtype="<f4").reshape(3, 4)
    path = write(tmp_path, tw.zip_file({"x": tw.tensor(values)}))
    array = read_tensors(path)["x"]
    base = array
    while isinstance(base, np.ndarray):
        assert not base.flags.owndata
        base = base.base
    assert isinstance(base.obj if isinstance(base, memoryview) else base, mmap.mmap)
    path.unlink()  # the mapping stays valid without the name
    np.testing.assert_array_equal(array, values)
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1


def test_strides_offsets_and_shared_storages(tmp_path, layout):
    values = np.arange(24, dtype="<f4")
    shared = tw.Storage("Float", values.tobytes(), 24)
    expected = {
        "whole": (values.reshape(4, 6), (6, 1)),
        "transposed": (values.reshape(4, 6).T, (1, 6)),
        "column": (values.reshape(4, 6)[:, 2], (6,)),
        "tail": (values[23:], (1,)),
        "cube": (values.reshape(2, 3, 4).transpose(2, 0, 1), (1, 12, 4)),
    }
    offsets = {"column": 2, "tail": 23}
    path = write(
        tmp_path,
        layout({k: tw.Tensor(shared, offsets.get(k, 0), a.shape, stride) for k, (a, stride) in expected.items()}),
    )
    arrays = read_tensors(path)
    for key, (array, _) in expected.items():
        np.testing.assert_array_equal(arrays[key], array, strict=True)
        assert arrays[key].flags.c_contiguous == array.flags.c_contiguous
        assert np.shares_memory(arrays[key], arrays["whole"]) and not arrays[key].flags.writeable


def test_scalars_empty_tensors_and_unused_strides(tmp_path, layout):
    one, none = tw.Storage("Float", np.float32(7).tobytes(), 1), tw.Storage("Half", b"", 0)
    tensors = {
        "scalar": tw.Tensor(one, 0, (), ()),
        "ones": tw.Tensor(one, 0, (1, 1, 1), (2**62, 0, 5)),
        "empty": tw.Tensor(none, 0, (0, 3), (3, 1)),
        "empty of a full one": tw.Tensor(one, 1, (2, 0), (1, 1)),
        "vast": tw.Tensor(none, 0, (0, 2**60), (2**60, 1)),
    }
    arrays = read_tensors(write(tmp_path, layout(tensors)))
    assert arrays["scalar"].shape == () and arrays["scalar"] == 7
    assert arrays["ones"].shape == (1, 1, 1) and arrays["ones"].ravel() == [7] and arrays["ones"].flags.c_contiguous
    assert arrays["empty"].shape == (0, 3) and arrays["empty"].dtype == np.float16
    assert arrays["empty of a full one"].shape == (2, 0) and arrays["vast"].shape == (0, 2**60)
    assert not any(array.flags.writeable for array in arrays.values())


def test_parameters_sizes_and_plain_dicts(tmp_path, layout):
    values = np.arange(6, dtype="<f4").reshape(2, 3)
    parameter = tw.tensor(values)
    parameter.parameter = True
    sized = tw.tensor(values)
    sized.shape = tw.TORCH.Size(sized.shape)
    for container in (dict, OrderedDict):
        arrays = read_tensors(write(tmp_path, layout(container(p=parameter, s=sized))))
        np.testing.assert_array_equal(arrays["p"], values, strict=True)
        np.testing.assert_array_equal(arrays["s"], values, strict=True)
    assert read_tensors(write(tmp_path, layout({}))) == {}


def test_the_first_rebuilding_function_and_the_metadata_of_the_second(tmp_path):
    v1 = name("torch._utils", "_rebuild_tensor") + tw.group(storage(), integer(0), numbers(2, 3), numbers(3, 1)) + b"R"
    for body in (v1, rebuild(None, integer(0), numbers(2, 3), numbers(3, 1), b"}"), rebuild()):
        path = write(tmp_path, tw.archive(mapping(text("x"), body), {"0": np.arange(6, dtype="<f4").tobytes()}))
        np.testing.assert_array_equal(read_tensors(path)["x"], np.arange(6).reshape(2, 3))


def test_any_alignment(tmp_path):
    values = np.arange(5, dtype="<f4")
    for pad in range(4):  # bytes before the storages of the older format
        arrays = read_tensors(write(tmp_path, tw.pickles_file({"x" * (pad + 1): tw.tensor(values)})))
        (array,) = arrays.values()
        assert array.flags.aligned and not array.flags.writeable
        np.testing.assert_array_equal(array, values)
    buffer = io.BytesIO()  # and an archive by another writer, which does not align
    with zipfile.ZipFile(buffer, "w") as file:
        data, storages = tw.pickled({"x": tw.tensor(values)})
        for key, content in {"m/data.pkl": data, "m/data/0": storages["0"].data}.items():
            file.writestr(key, content)
    np.testing.assert_array_equal(read_tensors(write(tmp_path, buffer.getvalue()))["x"], values)


# ---- invalid archives ----------------------------------------------------------------------------------------------

GOOD = mapping(X, rebuild())
ZEROS = bytes(24)
u32 = struct.Struct("<I").pack


def patched(content: bytes, signature: bytes, offset: int, value: bytes, which: int = 0) -> bytes:
    """The archive with the bytes at an offset in one of its headers replaced."""
    position = -1
    for _ in range(which + 1):
        position = content.index(signature, position + 1)
    return content[: position + offset] + value + content[position + offset + len(value) :]


FINE = tw.archive(GOOD, {"0": ZEROS})  # entries: data.pkl, byteorder, data/0, version
CENTRAL, LOCAL, END = b"PK\1\2", b"PK\3\4", b"PK\5\6"
INSIDE = "expected bytes that end before what comes next"
KEYS = "keys of the storages: expected a list of strings, got"
ARCHIVES = {  # name: (file, parts of the message)
    "deflated": (
        tw.zip_bytes({"m/data.pkl": GOOD, "m/data/0": ZEROS}, zipfile.ZIP_DEFLATED),
        "entry 'm/data.pkl': expected bytes stored as they are, got compressed ones (deflated)",
    ),
    "a bomb": (
        tw.zip_bytes({"m/data.pkl": GOOD, "m/data/0": bytes(10**8)}, zipfile.ZIP_DEFLATED),
        "compressed ones (deflated)",
    ),
    "compressed in another way": (tw.zip_bytes({"m/data.pkl": GOOD}, zipfile.ZIP_LZMA), "(method 14)"),
    "compressed in an unknown way": (patched(FINE, CENTRAL, 10, b"\x63"), "(method 99)"),
    "encrypted": (
        patched(FINE, CENTRAL, 8, b"\1"),
        "entry 'model/data.pkl': expected bytes as they are, got encrypted",
    ),
    "an entry twice": (
        FINE.replace(b"model/byteorder", b"model/data.pkl\0"),  # a name ends at the first zero byte
        "entry 'model/data.pkl': expected every name once, got it twice",
    ),
    "one place twice": (patched(FINE, CENTRAL, 42, u32(FINE.index(LOCAL, 1)), 2), "a header of its own before byte"),
    "an entry inside another": (
        patched(FINE, CENTRAL, 42, u32(FINE.index(LOCAL, 1) - 8), 2),
        f"entry 'model/data.pkl': {INSIDE}",
    ),
    "an entry outside": (patched(FINE, CENTRAL, 42, u32(2**31), 3), "a header of its own before byte"),
    "an entry in the directory": (
        patched(FINE, CENTRAL, 42, u32(len(FINE) - 40), 3),
        "a header of its own before byte",
    ),
    "no header there": (patched(FINE, LOCAL, 0, b"PK\7\x08", 1), "a header of its own before byte", "got none at"),
    "another name there": (patched(FINE, LOCAL, 30, b"n", 1), "the same name in its header, got b'nodel/byteorder'"),
    "a name beyond the file": (patched(FINE, LOCAL, 26, b"\xff\xff", 3), "the same name in its header"),
    "padding beyond the file": (patched(FINE, LOCAL, 28, b"\xff\xff", 3), f"entry 'model/version': {INSIDE}"),
    "longer than the place": (
        patched(patched(FINE, CENTRAL, 20, b"\xff\xff", 2), CENTRAL, 24, b"\xff\xff", 2),
        f"entry 'model/data/0': {INSIDE}",
        "got 65535 (65535 in the file)",
    ),
    "longer than the bytes of it": (patched(FINE, CENTRAL, 24, b"\x19", 2), "got 25 (24 in the file)"),
    "shorter than the bytes of it": (patched(FINE, CENTRAL, 24, b"\1", 3), "'model/version'", "got 1 (2 in the file)"),
    "4 GB": (patched(FINE, CENTRAL, 24, b"\xff\xff\xff\xfe", 0), INSIDE),
    "zip64 without its sizes": (patched(FINE, CENTRAL, 24, b"\xff\xff\xff\xff", 0), ": expected "),
    "no directory": (FINE[: FINE.index(CENTRAL)], "archive: expected a zip archive with its directory at the end"),
    "a directory of 4 GB": (patched(FINE, END, 12, b"\xff\xff\xff\xfe"), "archive: expected a zip archive"),
    "a directory elsewhere": (patched(FINE, END, 16, b"\xff\xff\xff\x7f"), " expected "),
    "a large directory": (
        tw.zip_bytes(
            [("m/data.pkl", GOOD), ("n" * 60_000, b"")] + [(f"{i}" * 9_000, b"") for i in range(100_000, 100_100)]
        ),
        "archive: expected a zip archive",
        "which is more than 2097152",
    ),
    "no data.pkl": (tw.zip_bytes({"m/data/0": ZEROS}), "archive: expected one NAME/data.pkl, got none"),
    "data.pkl in no folder": (tw.zip_bytes({"data.pkl": GOOD}), "archive: expected one NAME/data.pkl, got none"),
    "two of them": (
        tw.zip_bytes({"m/data.pkl": GOOD, "n/data.pkl": GOOD}),
        "expected one NAME/data.pkl, got ['m/data.pkl', 'n/data.pkl']",
    ),
    "TorchScript": (
        tw.archive(GOOD, {"0": ZEROS}, {"constants.pkl": b""}),
        "got a program of TorchScript (torch.save(",
    ),
    "big-endian": (
        tw.zip_bytes({"m/data.pkl": GOOD, "m/byteorder": b"big", "m/data/0": ZEROS}),
        "byteorder: expected little, got b'big'",
    ),
    "a long byte order": (
        tw.zip_bytes({"m/data.pkl": GOOD, "m/byteorder": b"little" * 9_999, "m/data/0": ZEROS}),
        "byteorder: expected little, got b'littlelittle",
    ),
    "only an end": (b"PK\5\6" + bytes(18), "file: expected what torch.save writes", "got a beginning of b'PK"),
    "only a beginning": (b"PK\3\4", "archive: expected a zip archive with its directory at the end"),
}


@pytest.mark.parametrize("case", ARCHIVES)
def test_hostile_archives(tmp_path, case):
    content, *parts = ARCHIVES[case]
    refusal(write(tmp_path, content), *parts)


# ---- the older layout, and other files -----------------------------------------------------------------------------

SYSTEM = program(name("os", "system"), tw.group(X), b"R")
OLDER = program(b"}", X, rebuild(tw.group(text("storage"), tw.FLOATS, text("0"), X, b"K\6N") + b"Q"), b"s")
SIX = {"0": (6, ZEROS)}
FILES = {  # name: (file, parts of the message)
    "empty": (b"", "file: expected what torch.save writes, got no bytes"),
    "text": (b"not weights", "file: expected what torch.save writes", "got a beginning of b'not weights'"),
    "safetensors": (struct.pack("<Q", 2) + b"{}", "got a beginning of b'\\x02"),
    "tar": (bytes(257) + b"ustar\x0000" + bytes(1024), "got a tar archive, torch's oldest format"),
    "another pickle": (pickle.dumps({"x": 1}, 2), "the magic number of torch.save, got something else"),
    "another number": (tw.pickles(OLDER, SIX, head=(tw.MAGIC + 1, 1001, tw.SYSTEM)), "the magic number"),
    "another version": (
        tw.pickles(OLDER, SIX, head=(tw.MAGIC, 1002, tw.SYSTEM)),
        "protocol version: expected 1001, got 1002",
    ),
    "a version that nests": (tw.pickles(OLDER, SIX, head=(tw.MAGIC, [1001], tw.SYSTEM)), "protocol version"),
    "big-endian": (
        tw.pickles(OLDER, SIX, head=(tw.MAGIC, 1001, {**tw.SYSTEM, "little_endian": False})),
        "system: expected a dict with little_endian: True",
    ),
    "a system that is a list": (tw.pickles(OLDER, SIX, head=(tw.MAGIC, 1001, [])), "system: expected a dict"),
    "keys that are no list": (tw.pickles(OLDER, SIX, keys="0"), f"{KEYS} str"),
    "keys that are numbers": (tw.pickles(OLDER, SIX, keys=[0]), KEYS),
    "keys that nest": (tw.pickles(OLDER, SIX, keys=[["0"]]), KEYS),
    "a key twice": (
        tw.pickles(OLDER, SIX, keys=["0", "0"]),
        "storage '0': expected every storage of the tensors once, got it tw",
    ),
    "a key of nothing": (
        tw.pickles(OLDER, SIX, keys=["0", "1"]),
        "storage '1': expected every storage",
        "got it, which none has",
    ),
    "a key that is missing": (tw.pickles(OLDER, {}), "keys of the storages: expected '0', got none of this name"),
    "fewer elements": (tw.pickles(OLDER, {"0": (5, ZEROS)}), "storage '0': expected 6 elements of F32, got 5"),
    "-1 elements": (tw.pickles(OLDER, {"0": (-1, ZEROS)}), "storage '0': expected 6 elements of F32, got -1"),
    "2**63 - 1 elements": (
        tw.pickles(OLDER, {"0": (2**63 - 1, ZEROS)}),
        f"expected 6 elements of F32, got {2**63 - 1}",
    ),
    "fewer bytes": (
        tw.pickles(OLDER, {"0": (6, ZEROS[1:])}),
        "expected 6 elements of F32, got an end of the file at byte",
    ),
    "more bytes": (tw.pickles(OLDER, SIX) + b"!", "bytes (pickles and storages), got"),
    "2**61 elements": (
        tw.pickles(OLDER.replace(b"K\6N", integer(2**61) + b"N"), {"0": (2**61, ZEROS)}),
        f"storage '0': expected {2**61} elements of F32, got an end of the file",
    ),
    "a call": (tw.pickles(SYSTEM, {}), "names 'os.system'"),
    "a magic number that calls": (SYSTEM, "names 'os.system'"),
}


@pytest.mark.parametrize("case", FILES)
def test_hostile_files(tmp_path, case):
    content, *parts = FILES[case]
    refusal(write(tmp_path, content), *parts)


def test_the_hostile_files_differ_from_good_ones(tmp_path):
    for content in (FINE, tw.pickles(OLDER, SIX), tw.archive(GOOD, {"0": ZEROS}, {"data/1": b"not of any tensor"})):
        np.testing.assert_array_equal(read_tensors(write(tmp_path, content))["x"], np.zeros((2, 3), np.float32))


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.bin: expected a file of torch\.save, got no such file"):
        read_tensors(tmp_path / "none.bin")


def test_sharing_has_a_limit(tmp_path):
    """A few bytes add a tensor that shares a storage, so a small file could make a model copy gigabytes."""
    whole = rebuild(storage(numel=integer(5_000)), integer(0), numbers(5_000), numbers(1)) + b"q\0"
    for count in (15, 18):
        body = [text(f"{i}") + (b"h\0" if i else whole) for i in range(count)]
        path = write(tmp_path, tw.archive(mapping(*body), {"0": bytes(20_000)}))
        if count == 15:
            assert len(read_tensors(path)) == count
        else:
            assert f"tensors: expected at most 16 times the file's {path.stat().st_size} bytes" in refusal(path)


# ---- damaged files -------------------------------------------------------------------------------------------------


def test_every_truncation_is_an_error(tmp_path, layout):
    content = layout({"x": tw.tensor(np.ones((2, 3), "<f4")), "y": tw.tensor(np.ones(3, "u1"))})
    path = write(tmp_path, content)
    assert len(read_tensors(path)) == 2
    for length in range(len(content)):
        path.write_bytes(content[:length])
        refusal(path)


def test_flipped_bytes_cause_at_most_an_error(tmp_path, rng, layout):
    tensors = {"x": tw.tensor(np.ones((2, 3), "<f4")), "y": tw.tensor(np.ones(4, "<u2"), "BFloat16")}
    content = layout(tw.state_dict(tensors))
    path = tmp_path / "pytorch_model.bin"
    refused = 0
    for _ in range(700):
        flipped = bytearray(content)
        for position in rng.integers(0, len(content), rng.integers(1, 4)):
            flipped[position] = rng.integers(0, 256)
        path.write_bytes(flipped)
        try:
            for array in read_tensors(path).values():
                assert array.nbytes < 1_000
        except ValueError as error:
            assert str(error).startswith(f"{path}: ")
            refused += 1
    assert refused > 70


CLAIMS = {  # what the tables above claim, in the older format
    "storage": tw.pickles(OLDER.replace(b"K\6N", integer(2**40) + b"N"), {"0": (2**40, ZEROS)}),
    "string": tw.pickles(program(b"X\xff\xff\xff\xff"), {}),
    "bomb": ARCHIVES["a bomb"][0],  # 97 kB, so that the table's test does not trace it
}


@pytest.mark.parametrize("case", CLAIMS)
def test_nothing_large_is_allocated_for_a_claim(tmp_path, case):
    path = write(tmp_path, CLAIMS[case])
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="expected"):
            read_tensors(path)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
