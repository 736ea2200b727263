"""Write files of ``torch.save`` without torch: with Python's pickler, or opcode by opcode."""

from __future__ import annotations

import io
import pickle
import struct
import sys
import tracemalloc
import zipfile
from collections import OrderedDict
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from squeezeops.squeezebert.files.torch_file import read_tensors

# ---- with Python's pickler -----------------------------------------------------------------------------------------

TORCH, UTILS = ModuleType("torch"), ModuleType("torch._utils")  # the pickler imports these instead of torch
KINDS = {"?": "Bool", "B": "Byte", "b": "Char", "h": "Short", "i": "Int", "l": "Long", "e": "Half", "f": "Float"}
KINDS |= {"d": "Double", "bfloat16": "BFloat16"}
for kind in KINDS.values():
    setattr(TORCH, f"{kind}Storage", type(f"{kind}Storage", (), {"__module__": "torch"}))
TORCH.Size = type("Size", (tuple,), {"__module__": "torch", "__reduce__": lambda self: (type(self), (tuple(self),))})


def _rebuild_tensor_v2():
    """A stub of torch's function: the pickle holds only its name."""


def _rebuild_parameter():
    """A stub, too."""


for function in (_rebuild_tensor_v2, _rebuild_parameter):
    function.__module__ = "torch._utils"
    setattr(UTILS, function.__name__, function)


@dataclass(eq=False)
class Storage:
    """The bytes of `numel` elements of one kind ("Float", "Half", ...)."""

    kind: str
    data: bytes
    numel: int


@dataclass(eq=False)
class Tensor:
    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    parameter: bool = False

    def __reduce__(self):
        if self.parameter:
            data = Tensor(self.storage, self.offset, self.shape, self.stride)
            return UTILS._rebuild_parameter, (data, True, OrderedDict())
        return UTILS._rebuild_tensor_v2, (self.storage, self.offset, self.shape, self.stride, False, OrderedDict())


def tensor(array: np.ndarray, kind: str | None = None) -> Tensor:
    """A tensor of a whole array. `kind` is needed for a dtype that NumPy does not have."""
    storage = Storage(kind or KINDS[array.dtype.char], array.tobytes(), array.size)
    return Tensor(storage, 0, array.shape, tuple(step // array.itemsize for step in np.empty_like(array).strides))


def state_dict(tensors: dict[str, object]) -> OrderedDict[str, object]:
    """An OrderedDict like that of ``module.state_dict()``, with versions in an attribute."""
    values = OrderedDict(tensors)
    values._metadata = OrderedDict({"": {"version": 1}, "encoder": {}})
    return values


@contextmanager
def stub_modules():
    names = {"torch": TORCH, "torch._utils": UTILS}
    before = {name: sys.modules.get(name) for name in names}
    sys.modules.update(names)
    try:
        yield
    finally:
        for name, module in before.items():
            sys.modules.pop(name)
            if module is not None:
                sys.modules[name] = module


def pickled(value: object, protocol: int = 2, older: bool = False) -> tuple[bytes, dict[str, Storage]]:
    """Return the pickle, and the storages by key."""
    storages: dict[str, Storage] = {}

    class Pickler(pickle.Pickler):
        def persistent_id(self, item):
            if not isinstance(item, Storage):
                return None
            key = next((key for key, storage in storages.items() if storage is item), f"{len(storages)}")
            storages[key] = item
            identity = ("storage", getattr(TORCH, f"{item.kind}Storage"), key, "cpu", item.numel)
            return (*identity, None) if older else identity

    buffer = io.BytesIO()
    with stub_modules():
        Pickler(buffer, protocol).dump(value)
    return buffer.getvalue(), storages


def zip_file(value: object, protocol: int = 2) -> bytes:
    data, storages = pickled(value, protocol)
    return archive(data, {key: storage.data for key, storage in storages.items()})


def pickles_file(value: object, protocol: int = 2) -> bytes:
    data, storages = pickled(value, protocol, older=True)
    return pickles(data, {key: (storage.numel, storage.data) for key, storage in storages.items()}, protocol)


# ---- the two layouts -----------------------------------------------------------------------------------------------


def archive(data: bytes, storages: dict[str, bytes], extra: dict[str, bytes] | None = None) -> bytes:
    """A file in the format since torch 1.6: a zip archive, the storages at multiples of 64 bytes."""
    entries = {"data.pkl": data, "byteorder": b"little", **{f"data/{key}": raw for key, raw in storages.items()}}
    return zip_bytes(
        {f"model/{name}": content for name, content in {**entries, "version": b"3\n", **(extra or {})}.items()}
    )


def zip_bytes(entries: dict[str, bytes] | list[tuple[str, bytes]], method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as file:
        for name, content in entries.items() if isinstance(entries, dict) else entries:
            info = zipfile.ZipInfo(name)
            info.compress_type = method
            padding = -(buffer.tell() + 30 + len(name) + 4) % 64
            info.extra = b"FB" + struct.pack("<H", padding) + b"Z" * padding
            file.writestr(info, content)
    return buffer.getvalue()


MAGIC = 0x1950A86A20F9469CFC6C
SYSTEM = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}


def pickles(
    data: bytes,
    storages: dict[str, tuple[int, bytes]],
    protocol: int = 2,
    *,
    head: tuple[object, ...] = (MAGIC, 1001, SYSTEM),
    keys: object = None,
) -> bytes:
    """A file in the format before torch 1.6: pickles, then the storages."""
    parts = [pickle.dumps(item, protocol) for item in head]
    parts += [data, pickle.dumps(list(storages) if keys is None else keys, protocol)]
    return b"".join(parts + [struct.pack("<q", count) + raw for count, raw in storages.values()])


# ---- opcode by opcode ----------------------------------------------------------------------------------------------


def name(module: str, attribute: str) -> bytes:
    return f"c{module}\n{attribute}\n".encode()


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def integer(value: int) -> bytes:
    data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def group(*items: bytes) -> bytes:
    return b"(" + b"".join(items) + b"t"


def numbers(*values: int) -> bytes:
    return group(*map(integer, values))


def storage(key: bytes = text("0"), numel: bytes = integer(6), kind: bytes = name("torch", "FloatStorage")) -> bytes:
    return group(text("storage"), kind, key, text("cpu"), numel) + b"Q"


ORDERED_DICT = name("collections", "OrderedDict")


def rebuild(
    of: bytes | None = None,
    offset: bytes = integer(0),
    shape: bytes = numbers(2, 3),
    stride: bytes = numbers(3, 1),
    *rest: bytes,
    function: bytes = name("torch._utils", "_rebuild_tensor_v2"),
) -> bytes:
    return function + group(of or storage(), offset, shape, stride, b"\x89", ORDERED_DICT + b")R", *rest) + b"R"


def program(*body: bytes) -> bytes:
    return b"\x80\x02" + b"".join(body) + b"."


def mapping(*items: bytes) -> bytes:
    """A pickle of a dict; keys and values alternate."""
    return program(b"}(", *items, b"u")


X = text("x")
FLOATS = name("torch", "FloatStorage")


def utils(function: str) -> bytes:
    return name("torch._utils", function)


def view(
    shape: bytes = numbers(2, 3), stride: bytes = numbers(3, 1), *rest: bytes, offset: bytes = integer(0)
) -> bytes:
    """A pickle of a dict with one tensor, "x"."""
    return mapping(X, rebuild(None, offset, shape, stride, *rest))


def stored(*arguments: bytes, **options: bytes) -> bytes:
    """A pickle of a dict with one tensor, "x", whose storage is not the usual one."""
    return mapping(X, rebuild(storage(*arguments, **options)))


# ---- reading -------------------------------------------------------------------------------------------------------


def write(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "pytorch_model.bin"
    path.write_bytes(content)
    return path


def refusal(path: Path, *parts: str) -> str:
    """Check that the reader refuses the file with one short line: the path, then a message that has all the parts.

    A small file must not make the reader allocate more than a megabyte. Large files are not traced: it is slow.
    """
    small = path.stat().st_size < 10_000
    if small:
        tracemalloc.start()
    try:
        with pytest.raises(ValueError) as error:
            read_tensors(path)
        assert not small or tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
    message = str(error.value)
    assert message.startswith(f"{path}: ") and ": expected " in message and ", got " in message
    assert len(message) < len(str(path)) + 700 and message.isprintable()
    assert all(part in message for part in parts), message
    return message
