"""The reader of safetensors files: valid files and every kind of broken file."""

from __future__ import annotations

import json
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from squeezeops.squeezebert.files.safetensors import TensorInfo, read_header, read_tensors

GOLDEN = Path(__file__).parent / "golden"


def file_bytes(header: object, data: bytes = b"") -> bytes:
    """A safetensors file. A header of bytes or text is used unchanged, any other is written as JSON."""
    text = header if isinstance(header, (bytes, str)) else json.dumps(header)
    text = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(text)) + text + data


def entry(dtype: object, shape: object, begin: object, end: object) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def write(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    return path


# ---- valid files ---------------------------------------------------------------------------------------------------


def test_header_and_tensors(tmp_path):
    a = np.arange(6, dtype="<f4").reshape(2, 3)
    b = np.array([[1.5], [-(2**-24)]], "<f2")
    # Listed in another order than the data. The safetensors library pads with spaces, too.
    header = {"b": entry("F16", [2, 1], 24, 28), "__metadata__": {"format": "pt"}, "a": entry("F32", [2, 3], 0, 24)}
    text = json.dumps(header) + "   "
    path = write(tmp_path, file_bytes(text, a.tobytes() + b.tobytes()))
    begin = 8 + len(text)
    tensors, metadata = read_header(path)
    assert metadata == {"format": "pt"}
    assert list(tensors.items()) == [
        ("a", TensorInfo("F32", (2, 3), begin, begin + 24)),
        ("b", TensorInfo("F16", (2, 1), begin + 24, begin + 28)),
    ]
    arrays = read_tensors(str(path))
    assert {name: (array.dtype.str, array.shape) for name, array in arrays.items()} == {
        "a": ("<f4", (2, 3)),
        "b": ("<f2", (2, 1)),
    }
    np.testing.assert_array_equal(arrays["a"], a)
    np.testing.assert_array_equal(arrays["b"], b)


@pytest.mark.parametrize("dtype", ["BOOL", "U8", "I8", "U16", "I16", "F16", "U32", "I32", "F32", "U64", "I64", "F64"])
def test_dtypes(tmp_path, dtype):
    numpy_dtype = {"B": "?", "U": "<u", "I": "<i", "F": "<f"}[dtype[0]]
    numpy_dtype = np.dtype(numpy_dtype if dtype == "BOOL" else f"{numpy_dtype}{int(dtype[1:]) // 8}")
    values = np.array([[0, 1, 1], [1, 0, 1]]).astype(numpy_dtype)
    path = write(tmp_path, file_bytes({"x": entry(dtype, [2, 3], 0, values.nbytes)}, values.tobytes()))
    array = read_tensors(path)["x"]
    assert array.dtype == numpy_dtype
    np.testing.assert_array_equal(array, values)


def test_bfloat16_is_widened_exactly(tmp_path):
    # 1, -2, the smallest and the largest number, a subnormal, infinity, NaN, -0
    halves = np.array([0x3F80, 0xC000, 0x0080, 0x7F7F, 0x0001, 0x7F80, 0x7FC1, 0x8000], "<u2")
    path = write(tmp_path, file_bytes({"x": entry("BF16", [2, 4], 0, 16)}, halves.tobytes()))
    array = read_tensors(path)["x"]
    assert array.dtype == np.float32 and array.shape == (2, 4)
    np.testing.assert_array_equal(array.view("<u4").ravel(), halves.astype("<u4") << 16)


def test_tensors_are_read_only_views_of_the_file(tmp_path):
    values = np.arange(4, dtype="<f4")
    head = json.dumps({"x": entry("F32", [4], 0, 16), "y": entry("BF16", [1], 16, 18)})
    head += " " * (-len(head) % 8)
    path = write(tmp_path, file_bytes(head, values.tobytes() + b"\x80\x3f"))
    arrays = read_tensors(path)
    assert not arrays["x"].flags.owndata
    path.unlink()  # the mapping stays valid without the name
    np.testing.assert_array_equal(arrays["x"], values)
    for array in arrays.values():
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


def test_unaligned_tensors_are_copied(tmp_path):
    values = np.arange(5, dtype="<f4")
    for pad in range(4):
        header = json.dumps({"x": entry("U8", [pad], 0, pad), "y": entry("F32", [5], pad, pad + 20)})
        header += " " * (-len(header) % 8)
        array = read_tensors(write(tmp_path, file_bytes(header, bytes(pad) + values.tobytes())))["y"]
        assert array.flags.aligned and not array.flags.writeable
        np.testing.assert_array_equal(array, values)


def test_empty_files_scalars_and_empty_tensors(tmp_path):
    assert read_header(write(tmp_path, file_bytes({}))) == ({}, {})
    assert read_tensors(write(tmp_path, file_bytes({"__metadata__": {}}))) == {}
    header = {"none": entry("F32", [0, 2**60], 0, 0), "one": entry("F32", [], 0, 4), "end": entry("BF16", [3, 0], 4, 4)}
    arrays = read_tensors(write(tmp_path, file_bytes(header, np.float32(7).tobytes())))
    assert arrays["none"].shape == (0, 2**60) and arrays["end"].shape == (3, 0)
    assert arrays["one"].shape == () and arrays["one"] == 7


def test_further_keys_of_a_tensor_are_ignored(tmp_path):
    header = {"x": {**entry("U8", [1], 0, 1), "note": "of a later version"}}
    assert read_tensors(write(tmp_path, file_bytes(header, b"\1")))["x"] == 1


# ---- broken files --------------------------------------------------------------------------------------------------


def one(dtype: object, shape: object, begin: object = 0, end: object = 1, data: bytes = b".") -> bytes:
    """A file with one tensor, "x"."""
    return file_bytes({"x": entry(dtype, shape, begin, end)}, data)


X = entry("F32", [2], 0, 8)
HOSTILE = {  # name: (bytes, parts of the message)
    "empty": (b"", "file: expected at least 8 bytes, got 0"),
    "cut in the length": (b"\x10\0\0", "file", "got 3"),
    "cut in the header": (file_bytes({"x": X}, bytes(8))[:20], "header length: expected at most the 12 bytes"),
    "cut in the data": (file_bytes({"x": X}, bytes(7)), "'x': data_offsets: expected an end of at most 7, got 8"),
    "no data": (file_bytes({"x": X}), "'x'", "at most 0, got 8"),
    "header beyond the file": (struct.pack("<Q", 99) + b"{}", "header length", "got 99"),
    "header beyond the limit": (struct.pack("<Q", 2**24 + 1) + b"{}", "at most 16777216 bytes, got 16777217"),
    "length of all ones": (b"\xff" * 8 + b"{}", "header length", "got 18446744073709551615"),
    "no header": (struct.pack("<Q", 0), "header: expected a JSON object that begins with '{'"),
    "list": (file_bytes("[]"), "header", "begins with '{'"),
    "leading space": (file_bytes(" {}"), "header", "begins with '{'"),
    "pickle": (file_bytes(b"\x80\x02}q\x00."), "header", "begins with '{'"),
    "not UTF-8": (file_bytes(b'{"\xff": 1}'), "header: expected UTF-8, got byte 0xff at offset 2"),
    "not JSON": (file_bytes('{"x": }'), "header: expected JSON, got Expecting value at offset 6"),
    "text after the JSON": (file_bytes("{} {}"), "header: expected JSON, got Extra data"),
    "control character": (file_bytes('{"a\0b": 1}'), "header: expected JSON"),
    "deep": (file_bytes('{"x": ' + "[" * 200_000), "header: expected JSON"),
    "tensor twice": (file_bytes('{"x": 1, "y": 2, "x": 3}'), "header: expected every key once, got 'x' twice"),
    "dtype twice": (file_bytes('{"x": {"dtype": "U8", "dtype": "U8"}}'), "'dtype' twice"),
    "entry is a number": (file_bytes({"x": 5}), "'x': expected an object with dtype, shape and data_offsets, got 5"),
    "entry is null": (file_bytes({"x": None}), "'x'", "got None"),
    "no dtype": (file_bytes({"x": {"shape": [], "data_offsets": [0, 0]}}), "'x'", "an object with dtype"),
    "no shape": (file_bytes({"x": {"dtype": "U8", "data_offsets": [0, 0]}}), "'x'", "an object with dtype"),
    "no offsets": (file_bytes({"x": {"dtype": "U8", "shape": []}}), "'x'", "an object with dtype"),
    "unknown dtype": (one("F12", [1]), "'x': dtype: expected one of BOOL", "'F12'"),
    "dtype is a list": (one(["F32"], [1], 0, 4, bytes(4)), "'x': dtype", "['F32']"),
    "shape is a number": (one("U8", 1), "'x': shape", "got 1"),
    "shape is text": (one("U8", "1"), "'x': shape", "got '1'"),
    "negative size": (one("U8", [-1, -1]), "'x': shape", "[-1, -1]"),
    "size is true": (one("U8", [True]), "'x': shape", "[True]"),
    "size is a float": (one("U8", [1.0]), "'x': shape", "[1.0]"),
    "size is NaN": (file_bytes('{"x": {"dtype": "U8", "shape": [NaN], "data_offsets": [0, 0]}}'), "'x': shape"),
    "size of 2**63": (one("U8", [2**63]), "'x': shape"),
    "size of 5000 digits": (
        file_bytes('{"x": {"dtype": "U8", "shape": [' + "9" * 5000 + '], "data_offsets": [0, 0]}}'),
        "'x': shape",
    ),
    "sizes that wrap to 4": (
        one("U8", [2**62 + 1, 4], 0, 4, bytes(4)),
        f"'x': data_offsets: expected {2**64 + 4} bytes for U8",
    ),
    "no bytes, but sizes beyond NumPy's": (
        one("F32", [0, 2**62], 0, 0, b""),
        "'x': shape: expected a product, zeros aside, below 2**63 bytes, got [0, ",
    ),
    "33 axes": (one("U8", [1] * 33), "'x': shape: expected a list of at most 32"),
    "offsets of one": (
        file_bytes({"x": {"dtype": "U8", "shape": [1], "data_offsets": [1]}}, b"."),
        "'x': data_offsets: expected two integers",
    ),
    "offsets are null": (one("U8", [1], None, 1), "'x': data_offsets"),
    "negative offset": (one("U8", [1], -1, 0), "'x': data_offsets", "[-1, 0]"),
    "end before begin": (one("U8", [1], 1, 0), "'x': data_offsets", "begin <= end"),
    "offset of 2**63": (one("U8", [1], 0, 2**63), "'x': data_offsets"),
    "end beyond the file": (one("U8", [2], 0, 2), "'x'", "at most 1, got 2"),
    "fewer bytes than the shape": (
        one("F32", [3], 0, 8, bytes(8)),
        "'x': data_offsets: expected 12 bytes for F32 [3], got 8",
    ),
    "more bytes than the shape": (one("F16", [3], 0, 8, bytes(8)), "expected 6 bytes", "got 8"),
    "overlap": (
        file_bytes({"x": X, "y": entry("F32", [2], 4, 12)}, bytes(12)),
        "'y': expected data_offsets from 8, got 4 (overlaps",
    ),
    "twice the same bytes": (file_bytes({"x": X, "y": X}, bytes(8)), "'y'", "overlaps the tensor before it"),
    "hole between": (
        file_bytes({"x": X, "y": entry("F32", [1], 12, 16)}, bytes(16)),
        "'y': expected data_offsets from 8, got 12 (leaves a hole",
    ),
    "hole at the beginning": (one("F32", [1], 4, 8, bytes(8)), "'x'", "leaves a hole"),
    "bytes left over": (file_bytes({"x": X}, bytes(9)), "file: expected", "bytes (header and tensors), got"),
    "no tensors but bytes": (file_bytes({}, bytes(1)), "file: expected 10 bytes (header and tensors), got 11"),
    "metadata is a list": (file_bytes({"__metadata__": []}), "__metadata__: expected an object that maps strings to"),
    "metadata holds a number": (file_bytes({"__metadata__": {"a": 1}}), "__metadata__", "{'a': 1}"),
    "lone surrogate": (file_bytes('{"\\ud800": 1}'), "'\\ud800': expected an object"),
    "long name": (file_bytes({"x" * 100_000: 5}), "xxx..."),
    "long value": (file_bytes({"x": ["y" * 100_000]}), "'x': expected an object"),
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("read", [read_header, read_tensors])
def test_hostile_files(tmp_path, name, read):
    content, *parts = HOSTILE[name]
    path = write(tmp_path, content)
    with pytest.raises(ValueError) as error:
        read(path)
    message = str(error.value)
    assert message.startswith(f"{path}: ") and ": expected " in message and ", got " in message
    assert all(part in message for part in parts) and len(message) < len(str(path)) + 500
    message.encode()  # whatever names the file contains


def test_every_truncation_is_an_error(tmp_path):
    content = file_bytes({"x": X, "y": entry("U8", [3], 8, 11)}, bytes(11))
    path = write(tmp_path, content)
    read_header(path)
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError):
            read_header(path)


def test_flipped_bytes_cause_at_most_an_error(tmp_path, rng):
    content = file_bytes({"x": X, "y": entry("F16", [2, 1], 8, 12), "__metadata__": {"a": "b"}}, bytes(12))
    path = tmp_path / "model.safetensors"
    for _ in range(500):
        flipped = bytearray(content)
        for position in rng.integers(0, len(content) - 12, rng.integers(1, 4)):
            flipped[position] = rng.integers(0, 256)
        path.write_bytes(flipped)
        try:
            read_tensors(path)
        except ValueError as error:
            assert str(error).startswith(f"{path}: ")


def test_nothing_large_is_allocated_for_a_claim(tmp_path):
    path = write(tmp_path, one("F32", [2**40], 0, 2**42, bytes(8)))
    long_header = tmp_path / "long.safetensors"
    long_header.write_bytes(struct.pack("<Q", 99_999_999) + b"{}")
    tracemalloc.start()
    try:
        for claim in (path, long_header):
            with pytest.raises(ValueError):
                read_tensors(claim)
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.safetensors: expected a safetensors file, got no such file"):
        read_header(tmp_path / "none.safetensors")
