"""Reads and writes safetensors files.

A file is an 8-byte little-endian length n, n bytes of JSON with each tensor's dtype, shape and byte range, and the
bytes of the tensors. Every number in the header is checked against the file's size before anything is built from it.
Values of tensors are not read. Only `view` imports NumPy.

Format: https://huggingface.co/docs/safetensors. The checks are those of its reference reader, plus limits (`limits`).
"""

from __future__ import annotations

import json
import math
import os
import reprlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from squeezeops.packing import LINE
from squeezeops.squeezebert.files.checks import Fail, fail_for, is_sizes, memory_map, open_file, parse_json, quote
from squeezeops.squeezebert.files.limits import MAX_JSON, MAX_RANK

if TYPE_CHECKING:
    import mmap

    from numpy.typing import NDArray

__all__ = ["DTYPES", "TensorInfo", "map_file", "read_header", "read_padding", "read_tensors", "view", "write_file"]

# safetensors' name of a dtype: bytes per element, NumPy's name (None if NumPy has no such dtype)
DTYPES: dict[str, tuple[int, str | None]] = {
    "BOOL": (1, "?"),
    "U8": (1, "u1"),
    "I8": (1, "i1"),
    "U16": (2, "<u2"),
    "I16": (2, "<i2"),
    "F16": (2, "<f2"),
    "BF16": (2, None),
    "U32": (4, "<u4"),
    "I32": (4, "<i4"),
    "F32": (4, "<f4"),
    "U64": (8, "<u8"),
    "I64": (8, "<i8"),
    "F64": (8, "<f8"),
}


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """A tensor in a file.

    Attributes
    ----------
    dtype : str
        In safetensors' spelling: "F32", "F16", "BF16", ...
    shape : tuple of int
    start, stop : int
        Byte range in the file.
    """

    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


def read_header(path: str | os.PathLike[str]) -> tuple[dict[str, TensorInfo], dict[str, str]]:
    """Read and check the header of a safetensors file.

    Returns
    -------
    tensors : dict of str to TensorInfo
        In the order of their bytes in the file.
    metadata : dict of str to str
        The header's ``__metadata__``; empty if there is none.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the header is malformed or does not match the file's size. The message names the file and the tensor.
    """
    with open_file(path, "a safetensors file") as file:
        return parse_header(file, path)


def read_padding(path: str | os.PathLike[str]) -> bytes:
    """Return the bytes between the JSON of a valid file's header and its tensors."""
    with open_file(path, "a safetensors file") as file:
        text = file.read(int.from_bytes(file.read(8), "little"))
    return text[len(text.rstrip()) :]


def read_tensors(path: str | os.PathLike[str]) -> dict[str, NDArray[Any]]:
    """Map all tensors of a safetensors file into memory.

    Returns
    -------
    dict of str to ndarray
        Read-only views of the mapped file; pages are read on first use and shared between processes. NumPy has no
        bfloat16, so BF16 tensors are widened to new float32 arrays, which is exact. A tensor that is not aligned to its
        element size is copied; the safetensors library writes no such file.

    Raises
    ------
    FileNotFoundError, ValueError
        As for `read_header`.

    Notes
    -----
    Replace a file that may be in use by renaming a new one over it. After truncation in place, the operating system
    kills a process that touches the lost pages.
    """
    tensors, _, mapped = map_file(path)  # the arrays keep the mapping alive
    return {name: view(mapped, info) for name, info in tensors.items()}


def map_file(path: str | os.PathLike[str]) -> tuple[dict[str, TensorInfo], dict[str, str], mmap.mmap]:
    """Return the results of `read_header`, and the mapped file for `view`."""
    with open_file(path, "a safetensors file") as file:
        tensors, metadata = parse_header(file, path)
        return tensors, metadata, memory_map(file)


def write_file(
    file: IO[bytes],
    tensors: Mapping[str, tuple[str, tuple[int, ...]]],
    metadata: Mapping[str, str],
    data: Iterable[Any],
) -> None:
    """Write a safetensors file. The same arguments give the same bytes.

    The header is padded with spaces to a multiple of 64 bytes. The format has no gaps between tensors, so tensors start
    at multiples of 64 as long as all sizes before them are such multiples.

    Parameters
    ----------
    file : binary file
        Written from its current position.
    tensors : mapping of str to (str, tuple of int)
        Dtype, in safetensors' spelling, and shape of each tensor, in the order of writing.
    metadata : mapping of str to str
    data : iterable of buffers
        The bytes of each tensor, little-endian and in C order. Taken one at a time, so only one need be in memory.

    Raises
    ------
    ValueError
        If a buffer does not have the size of its tensor, or the header is larger than readers accept.
    """
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    sizes, end = [], 0
    for name, (dtype, shape) in tensors.items():
        sizes.append(math.prod(shape) * DTYPES[dtype][0])
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [end, end + sizes[-1]]}
        end += sizes[-1]
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % LINE)
    if len(text) > MAX_JSON:
        raise ValueError(f"safetensors: header: expected at most {MAX_JSON} bytes, got {len(text)}")
    file.write(len(text).to_bytes(8, "little") + text)
    for name, size, content in zip(tensors, sizes, data, strict=True):
        view = memoryview(content)
        if view.nbytes != size:
            raise ValueError(f"safetensors: {quote(name)}: expected {size} bytes, got {view.nbytes}")
        file.write(view)


# ---- the safetensors header ----------------------------------------------------------------------------------------


def parse_header(file: IO[bytes], path: str | os.PathLike[str]) -> tuple[dict[str, TensorInfo], dict[str, str]]:
    fail, size = fail_for(path), os.fstat(file.fileno()).st_size
    if size < 8:
        fail("file", "at least 8 bytes", size)
    length = int.from_bytes(file.read(8), "little")
    if length > MAX_JSON:
        fail("header length", f"at most {MAX_JSON} bytes", length)
    if length > size - 8:
        fail("header length", f"at most the {size - 8} bytes that follow it", length)
    text = file.read(length)
    if text[:1] != b"{":
        fail("header", "a JSON object that begins with '{'", reprlib.repr(text[:20]))
    header = parse_json(text, "header", fail)
    metadata = header.pop("__metadata__", None)
    metadata = {} if metadata is None else metadata
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        fail("__metadata__", "an object that maps strings to strings", reprlib.repr(metadata))

    begin = 8 + length
    tensors = {name: parse_tensor(name, entry, begin, size, fail) for name, entry in header.items()}
    tensors = dict(sorted(tensors.items(), key=lambda item: (item[1].start, item[1].stop)))
    position = begin
    for name, info in tensors.items():  # tensors must tile the rest of the file without overlaps and gaps
        if info.start != position:
            relation = "overlaps the tensor before it" if info.start < position else "leaves a hole before it"
            fail(quote(name), f"data_offsets from {position - begin}", f"{info.start - begin} ({relation})")
        position = info.stop
    if position != size:
        fail("file", f"{position} bytes (header and tensors)", size)
    return tensors, metadata


def parse_tensor(name: str, entry: object, begin: int, file_size: int, fail: Fail) -> TensorInfo:
    """Check a tensor's entry in the header."""
    if not isinstance(entry, dict) or not entry.keys() >= {"dtype", "shape", "data_offsets"}:
        fail(quote(name), "an object with dtype, shape and data_offsets", reprlib.repr(entry))
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        fail(f"{quote(name)}: dtype", f"one of {', '.join(DTYPES)}", reprlib.repr(dtype))
    if not is_sizes(shape) or len(shape) > MAX_RANK:
        fail(f"{quote(name)}: shape", f"a list of at most {MAX_RANK} integers from 0 to 2**63 - 1", reprlib.repr(shape))
    if not is_sizes(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        fail(f"{quote(name)}: data_offsets", "two integers, begin <= end", reprlib.repr(offsets))
    start, stop = begin + offsets[0], begin + offsets[1]
    if stop > file_size:
        fail(f"{quote(name)}: data_offsets", f"an end of at most {file_size - begin}", offsets[1])
    nbytes = math.prod(shape) * DTYPES[dtype][0]
    if stop - start != nbytes:
        fail(f"{quote(name)}: data_offsets", f"{nbytes} bytes for {dtype} {shape}", f"{stop - start} ({offsets})")
    # An empty tensor has no bytes whatever its other sizes, but NumPy refuses sizes like 0 x 2**62.
    if math.prod(size for size in shape if size) * DTYPES[dtype][0] >= 2**63:
        fail(f"{quote(name)}: shape", "a product, zeros aside, below 2**63 bytes", shape)
    return TensorInfo(dtype, tuple(shape), start, stop)


def view(mapped: mmap.mmap, info: TensorInfo) -> NDArray[Any]:
    """Return a tensor of a mapped file; see `read_tensors`."""
    import numpy

    array: NDArray[Any]
    itemsize, dtype = DTYPES[info.dtype]
    count = (info.stop - info.start) // itemsize
    if count == 0:  # frombuffer refuses an empty buffer
        array = numpy.zeros(info.shape, dtype or "<f4")
    elif dtype is None:
        half = numpy.frombuffer(mapped, "<u2", count, info.start).astype("<u4")
        array = numpy.left_shift(half, 16, out=half).view("<f4").reshape(info.shape)
    else:
        array = numpy.frombuffer(mapped, dtype, count, info.start).reshape(info.shape)
        if not array.flags.aligned:
            array = array.copy()
    array.flags.writeable = False
    return array
