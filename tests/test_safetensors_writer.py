"""The writer of safetensors files. This library and the official package read the files back."""

import io

import numpy as np
import pytest

from squeezeops.packing import LINE
from squeezeops.squeezebert.files.safetensors import DTYPES, MAX_JSON, read_header, read_tensors, write_file

METADATA = {"vocab.txt": '[PAD]\n"naïve" \\ 電\n\x7f', "": "x", "format": "squeezeops"}


def example():
    random = np.random.default_rng(0)
    return {
        "a": random.integers(0, 255, 128).astype(np.uint8),
        "weight ü": random.standard_normal((3, 5)).astype("<f4"),
        "half": random.standard_normal((7, 1)).astype("<f2"),
        "scalar": np.array(2.5, "<f4"),
        "empty": np.zeros((0, 3), "<f4"),
        "odd": np.arange(3, dtype=np.uint8),
    }


NAMES = {np.dtype(numpy): name for name, (_, numpy) in DTYPES.items() if numpy}


def written(arrays, metadata):
    file = io.BytesIO()
    tensors = {name: (NAMES[array.dtype], array.shape) for name, array in arrays.items()}
    write_file(file, tensors, metadata, (array.tobytes() for array in arrays.values()))
    return file.getvalue()


def check_equal(found, arrays):
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype and found[name].shape == array.shape
        assert found[name].tobytes() == array.tobytes()


@pytest.mark.parametrize("metadata", [METADATA, {}])
def test_read_back(tmp_path, metadata):
    path = tmp_path / "x.safetensors"
    path.write_bytes(written(example(), metadata))
    check_equal(read_tensors(path), example())
    tensors, found = read_header(path)
    assert found == metadata
    assert list(tensors) == list(example())  # in the given order
    assert min(info.start for info in tensors.values()) % LINE == 0
    assert path.read_bytes()[8:9] == b"{"


@pytest.mark.parametrize("length", range(130))
def test_aligned_whatever_the_length_of_the_header(length):
    content = written({"a": np.arange(4, dtype=np.uint8)}, {"k": "x" * length})
    assert (len(content) - 4) % LINE == 0 and content[-4:] == bytes(range(4))


def test_same_arguments_same_bytes():
    assert written(example(), METADATA) == written(example(), METADATA)


def test_no_tensors(tmp_path):
    path = tmp_path / "x.safetensors"
    path.write_bytes(written({}, METADATA))
    assert read_header(path) == ({}, METADATA)


def test_one_tensor_at_a_time():
    alive = []

    class Piece(bytearray):
        def __del__(self):
            alive.pop()

    def pieces():
        for _ in range(5):
            assert len(alive) <= 1
            alive.append(1)
            yield Piece(8)

    write_file(io.BytesIO(), {str(i): ("U8", (8,)) for i in range(5)}, {}, pieces())


@pytest.mark.parametrize("size", [7, 9])
def test_wrong_buffer_size(size):
    with pytest.raises(ValueError, match=rf"safetensors: 'x': expected 8 bytes, got {size}"):
        write_file(io.BytesIO(), {"x": ("F32", (2,))}, {}, [bytes(size)])


@pytest.mark.parametrize("count", [0, 2])
def test_wrong_number_of_buffers(count):
    with pytest.raises(ValueError, match=r"zip\(\)"):
        write_file(io.BytesIO(), {"x": ("F32", (2,))}, {}, [bytes(8)] * count)


def test_too_large_header():
    with pytest.raises(ValueError, match=rf"header: expected at most {MAX_JSON} bytes, got 1\d+"):
        write_file(io.BytesIO(), {}, {"k": "x" * MAX_JSON}, [])


@pytest.mark.oracle
def test_the_official_package_reads_it(tmp_path):
    safetensors = pytest.importorskip("safetensors.numpy", reason="the oracle is safetensors")
    path = tmp_path / "x.safetensors"
    path.write_bytes(written(example(), METADATA))
    check_equal(safetensors.load_file(path), example())
    from safetensors import safe_open

    with safe_open(path, "np") as file:
        assert file.metadata() == METADATA
