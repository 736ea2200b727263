"""Reads files of ``torch.save`` (``pytorch_model.bin``) without torch and without executing their pickles.

Such a file has a pickled dict of tensors, and the raw bytes of their storages. A tensor is a view of a storage: offset,
shape and strides, in elements. There are two layouts:

* Since torch 1.6: a zip archive of uncompressed entries, ``NAME/data.pkl`` and ``NAME/data/KEY`` for each storage.
* Before: a sequence of pickles (magic number, version, system, the dict, the keys of the storages), then for each key
  the number of elements as int64 and the bytes.

`torch_pickle` reads the pickles. Every number in a file is checked against the file's size before anything is built
from it. Values of tensors are not read.
"""

from __future__ import annotations

import io
import math
import os
import reprlib
import struct
import zipfile
from collections.abc import Mapping
from typing import IO, TYPE_CHECKING, Any

from squeezeops.squeezebert.files.checks import Fail, fail_for, is_sizes, memory_map, open_file, quote
from squeezeops.squeezebert.files.limits import MAX_DIRECTORY, MAX_PICKLE, MAX_RANK, MAX_SHARING
from squeezeops.squeezebert.files.safetensors import DTYPES, TensorInfo, view
from squeezeops.squeezebert.files.torch_pickle import ADVICE, Machine, Stream, Tensor, brief

if TYPE_CHECKING:
    import mmap

    from numpy.typing import NDArray

__all__ = ["read_tensors"]

MAGIC_NUMBER, PROTOCOL_VERSION = 0x1950A86A20F9469CFC6C, 1001  # of the old layout

Spans = Mapping[str, tuple[int, int]]  # byte ranges of the storages


def read_tensors(path: str | os.PathLike[str]) -> dict[str, NDArray[Any]]:
    """Map all tensors of a file of ``torch.save(state_dict, path)`` into memory.

    Returns
    -------
    dict of str to ndarray
        Read-only views of the mapped file: float32, float64, float16, bool and integers, with their shapes and strides.
        Tensors that shared memory do again. A bfloat16 storage is widened to float32, which is exact. A storage that is
        not aligned to its element size (in the layout before torch 1.6) is copied.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file does not hold a dict of tensors or is malformed. Nothing in the file is executed.

    Notes
    -----
    Replace a file that may be in use by renaming a new one over it, as for `safetensors.read_tensors`.
    """
    import numpy as np

    fail = fail_for(path)
    with open_file(path, "a file of torch.save") as file:
        if os.fstat(file.fileno()).st_size == 0:
            fail("file", "what torch.save writes", "no bytes")
        mapped = memory_map(file)  # kept alive by the arrays
        if mapped[:4] == b"PK\3\4":
            tensors, spans = read_zip(file, mapped, fail)
        elif mapped[:1] == b"\x80":
            tensors, spans = read_pickles(mapped, fail)
        elif mapped[257:262] == b"ustar":
            fail("file", "a zip archive or pickles", "a tar archive, torch's oldest format: save it again with torch")
        else:
            fail("file", "what torch.save writes, a zip archive or pickles", f"a beginning of {mapped[:16]!r}")
    for name, tensor in tensors.items():
        check_tensor(name, tensor, fail)
    nbytes = sum(math.prod(tensor.shape) * DTYPES[tensor.storage.dtype][0] for tensor in tensors.values())
    if nbytes > MAX_SHARING * len(mapped):
        fail("tensors", f"at most {MAX_SHARING} times the file's {len(mapped)} bytes", f"{nbytes} bytes of shared ones")

    storages: dict[str, NDArray[Any]] = {}
    arrays = {}
    for name, tensor in tensors.items():
        storage = tensor.storage
        if storage.key not in storages:
            info = TensorInfo(storage.dtype, (storage.numel,), *spans[storage.key])
            storages[storage.key] = view(mapped, info)
        arrays[name] = strided(np, storages[storage.key], tensor)
    return arrays


def check_tensor(name: str, tensor: Tensor, fail: Fail) -> None:
    """Check that a tensor lies inside its storage."""
    storage, offset, shape, stride = tensor.storage, tensor.offset, tensor.shape, tensor.stride
    if not is_tuple_of_sizes(shape):
        fail(f"{quote(name)}: shape", f"at most {MAX_RANK} integers from 0 to 2**63 - 1", brief(shape))
    if not is_tuple_of_sizes(stride) or len(stride) != len(shape):
        fail(f"{quote(name)}: stride", f"{len(shape)} integers from 0 to 2**63 - 1", brief(stride))
    if not is_sizes([offset]):
        fail(f"{quote(name)}: offset", "an integer from 0 to 2**63 - 1", brief(offset))
    count = math.prod(shape)
    if count == 0:  # nothing lies outside, but NumPy refuses sizes like 0 x 2**62
        if math.prod(size for size in shape if size) * DTYPES[storage.dtype][0] >= 2**63:
            fail(f"{quote(name)}: shape", "a product, zeros aside, below 2**63 bytes", shape)
        return
    last = offset + sum((size - 1) * step for size, step in zip(shape, stride, strict=True))
    if last >= storage.numel or count > MAX_SHARING * storage.numel:  # expand() may repeat elements
        got = f"shape {shape} with strides {stride} from element {offset}"
        fail(quote(name), f"a view inside a storage of {storage.numel} elements, without many repeats", got)


def is_tuple_of_sizes(value: object) -> bool:
    return isinstance(value, tuple) and len(value) <= MAX_RANK and is_sizes(list(value))


def strided(numpy: Any, storage: NDArray[Any], tensor: Tensor) -> NDArray[Any]:
    """Return a tensor as a read-only view of its storage."""
    shape = tensor.shape
    array: NDArray[Any]
    if 0 in shape:
        array = numpy.zeros(shape, storage.dtype)
        array.flags.writeable = False
        return array
    # The stride of an axis of one element has no meaning and may be any number.
    strides = [(step if size > 1 else 1) * storage.itemsize for size, step in zip(shape, tensor.stride, strict=True)]
    array = numpy.ndarray(shape, storage.dtype, storage, tensor.offset * storage.itemsize, strides)
    return array


# ---- the two layouts -----------------------------------------------------------------------------------------------


def read_zip(file: IO[bytes], mapped: mmap.mmap, fail: Fail) -> tuple[dict[str, Tensor], Spans]:
    entries = read_directory(file, mapped, fail)
    pickles = [name for name in entries if name.count("/") == 1 and name.endswith("/data.pkl")]
    if len(pickles) != 1:
        fail("archive", "one NAME/data.pkl", reprlib.repr(pickles) if pickles else "none")
    folder = pickles[0].removesuffix("data.pkl")
    if f"{folder}byteorder" in entries:
        start, stop = entries[f"{folder}byteorder"]
        if mapped[start : min(stop, start + 16)] != b"little":
            fail("byteorder", "little", reprlib.repr(mapped[start : min(stop, start + 16)]))
    start, stop = entries[pickles[0]]
    if stop - start > MAX_PICKLE:
        fail("data.pkl", f"at most {MAX_PICKLE} bytes", stop - start)
    machine = Machine(fail)
    tensors = machine.tensors(Stream(mapped[start:stop]))
    spans = {}
    for key, storage in machine.storages.items():
        name = f"{folder}data/{key}"
        if name not in entries:
            fail("archive", f"an entry {quote(name)}", "none of this name")
        start, stop = spans[key] = entries[name]
        nbytes = storage.numel * DTYPES[storage.dtype][0]
        if stop - start != nbytes:
            fail(quote(name), f"{nbytes} bytes for {storage.numel} elements of {storage.dtype}", stop - start)
    return tensors, spans


class Directory(io.FileIO):
    """The file for zipfile, with a limit on the directory, which zipfile reads at once."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > MAX_DIRECTORY:
            raise zipfile.BadZipFile(f"one of {size} bytes, which is more than {MAX_DIRECTORY}")
        return super().read(-1 if size is None else size)


def read_directory(file: IO[bytes], mapped: mmap.mmap, fail: Fail) -> dict[str, tuple[int, int]]:
    """Return the byte ranges of an archive's entries, which must be uncompressed and must not overlap."""
    try:
        with zipfile.ZipFile(Directory(file.fileno(), closefd=False)) as archive:
            infos, end = sorted(archive.infolist(), key=lambda info: info.header_offset), archive.start_dir
    # zipfile raises RuntimeError for archives that it does not support.
    except (zipfile.BadZipFile, RuntimeError, OSError, ValueError, OverflowError, struct.error) as error:
        fail("archive", "a zip archive with its directory at the end", quote(str(error)))
    if any(info.filename.endswith("/constants.pkl") for info in infos):
        fail("archive", "the tensors of a model", f"a program of TorchScript ({ADVICE})")
    entries: dict[str, tuple[int, int]] = {}
    limits = [*(info.header_offset for info in infos[1:]), end]
    for info, limit in zip(infos, limits, strict=False):  # without entries there is one limit more
        what = f"entry {quote(info.filename)}"
        if info.filename in entries:
            fail(what, "every name once", "it twice")
        if info.flag_bits & 1:
            fail(what, "bytes as they are", "encrypted ones")
        if info.compress_type != zipfile.ZIP_STORED:
            method = "deflated" if info.compress_type == zipfile.ZIP_DEFLATED else f"method {info.compress_type}"
            fail(what, "bytes stored as they are", f"compressed ones ({method})")
        begin = info.header_offset
        if not 0 <= begin <= limit - 30 or mapped[begin : begin + 4] != b"PK\3\4":
            fail(what, f"a header of its own before byte {limit}, where the next begins", f"none at {begin}")
        names, extra = struct.unpack_from("<HH", mapped, begin + 26)
        encoded = info.orig_filename.encode("utf-8" if info.flag_bits & 0x800 else "cp437", "replace")
        if mapped[begin + 30 : begin + 30 + names] != encoded:
            fail(what, "the same name in its header", reprlib.repr(mapped[begin + 30 : begin + 30 + names]))
        start = begin + 30 + names + extra
        stop = start + info.file_size
        if info.compress_size != info.file_size or stop > limit:
            got = f"{info.file_size} ({info.compress_size} in the file) from byte {start}"
            fail(what, f"bytes that end before what comes next, at {limit}", got)
        entries[info.filename] = start, stop
    return entries


def read_pickles(mapped: mmap.mmap, fail: Fail) -> tuple[dict[str, Tensor], Spans]:
    stream = Stream(mapped[:MAX_PICKLE])
    magic = Machine(fail).run(stream)
    if type(magic) is not int or magic != MAGIC_NUMBER:
        fail("pickle", "the magic number of torch.save", "something else")
    version = Machine(fail).run(stream)
    if type(version) is not int or version != PROTOCOL_VERSION:
        fail("protocol version", PROTOCOL_VERSION, brief(version))
    system = Machine(fail).run(stream)
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        fail("system", "a dict with little_endian: True", "none")
    machine = Machine(fail)
    tensors = machine.tensors(stream)
    keys = Machine(fail).run(stream)
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        fail("keys of the storages", "a list of strings", type(keys).__name__)
    spans: dict[str, tuple[int, int]] = {}
    position = stream.tell()
    for key in keys:
        what = f"storage {quote(key)}"
        if key in spans or key not in machine.storages:
            fail(what, "every storage of the tensors once", "it twice" if key in spans else "it, which none has")
        storage = machine.storages[key]
        start, stop = position + 8, position + 8 + storage.numel * DTYPES[storage.dtype][0]
        if stop > len(mapped):
            fail(what, f"{storage.numel} elements of {storage.dtype}", f"an end of the file at byte {len(mapped)}")
        count = int.from_bytes(mapped[position:start], "little", signed=True)
        if count != storage.numel:
            fail(what, f"{storage.numel} elements of {storage.dtype}", count)
        spans[key] = start, stop
        position = stop
    for key in machine.storages:
        if key not in spans:
            fail("keys of the storages", quote(key), "none of this name")
    if position != len(mapped):
        fail("file", f"{position} bytes (pickles and storages)", len(mapped))
    return tensors, spans
