"""Reads converted models: one safetensors file with all that a model and its tokenizer need (`convert` writes them).

The weights of convolutions are stored packed, as the kernels read them, so that loading is no more than mapping a file.
``docs/converted-models.md`` describes the format. A file may come from anywhere: its sizes, its configuration and its
vocabulary are checked against each other. Only the values of weights are taken as they are, unread.
"""

from __future__ import annotations

import os
import re
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, NoReturn

from squeezeops.backends._packed import LINE, packed_size
from squeezeops.backends._scalars import SCALE_BYTES
from squeezeops.squeezebert import safetensors
from squeezeops.squeezebert.config import SqueezeBertConfig
from squeezeops.squeezebert.safetensors import DTYPES, TensorInfo, parse_json, quote
from squeezeops.squeezebert.tensors import WORDS, encoder_shapes, in_encoder, unused_prefixes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from squeezeops import ops
    from squeezeops.squeezebert.tensors import Shape

__all__ = [
    "FORMAT",
    "PACKED",
    "STORED",
    "VERSION",
    "ConvertedFile",
    "Entry",
    "MappedWeights",
    "find_file",
    "open_entry",
]

FORMAT, VERSION = "squeezeops_format", 1  # a key of the metadata, and the version of the format that it names
PACKED = ".packed"  # how the names of packed weights end, where a checkpoint has ".weight"
STORED = {"float32": "F32", "float16": "F16", "int8": "U8"}  # what packed weights are to safetensors


def find_file(path: str) -> str | None:
    """The converted model that `path` is or has in it; None for a folder of another kind.

    In a folder, that is ``model.safetensors``, or the only safetensors file where there is no ``config.json``.

    Raises
    ------
    ValueError
        For a safetensors file that is no converted model, or no intact file at all.
    """
    if not os.path.isdir(path):
        if not path.endswith(".safetensors"):
            return None
        if FORMAT not in safetensors.read_header(path)[1]:
            expected = "a file that squeezeops convert wrote, or the folder of a checkpoint"
            raise ValueError(f"{path}: expected {expected}, got safetensors without {FORMAT} in the metadata")
        return path
    names = sorted(name for name in os.listdir(path) if name.endswith(".safetensors"))
    if "model.safetensors" in names:
        names = ["model.safetensors"]
    elif len(names) > 1 or os.path.lexists(os.path.join(path, "config.json")):
        return None
    has_config = os.path.lexists(os.path.join(path, "config.json"))
    for name in names:
        file = os.path.join(path, name)
        if os.path.isfile(file) and _is_converted(file, has_config):
            return file
    return None


def _is_converted(file: str, has_config: bool) -> bool:
    try:
        return FORMAT in safetensors.read_header(file)[1]
    except ValueError:
        if has_config:
            return False  # whoever reads the checkpoint will say what is wrong
        raise


@dataclass(frozen=True)
class Entry:
    """A file that a converted model holds, or the folder of all: as much of a pathlib.Path as a reader of it needs."""

    file: str
    texts: Mapping[str, str]
    name: str = ""

    def __truediv__(self, name: str) -> Entry:
        return Entry(self.file, self.texts, name)

    def __str__(self) -> str:
        return f"{self.file}: {self.name}" if self.name else self.file

    @property
    def parent(self) -> Entry:
        return Entry(self.file, self.texts)

    @property
    def suffix(self) -> str:
        return os.path.splitext(self.name)[1]

    def is_dir(self) -> bool:
        return not self.name

    def is_file(self) -> bool:
        return self.name in self.texts

    def read_text(self, encoding: str = "utf-8") -> str:
        return self.texts[self.name]

    def read_bytes(self) -> bytes:
        return self.texts[self.name].encode()


def open_entry(file: str) -> Entry:
    """The files that a converted model holds."""
    metadata = safetensors.read_header(file)[1]
    _check_version(file, metadata)
    return Entry(file, metadata)


def _check_version(file: str, metadata: Mapping[str, str]) -> None:
    version = metadata.get(FORMAT, "")
    if version == str(VERSION):
        return
    if re.fullmatch("[1-9][0-9]{0,8}", version):
        writer = metadata.get("squeezeops_version", "")
        advice = f"squeezeops {writer:.20} or later reads it" if writer.isprintable() and writer else "a later one"
        raise ValueError(f"{file}: {FORMAT}: expected at most {VERSION}, got {version} ({advice})")
    raise ValueError(f"{file}: {FORMAT}: expected '{VERSION}', got {reprlib.repr(version)}")


class ConvertedFile:
    """A converted model, mapped.

    Attributes
    ----------
    path : str
    config : SqueezeBertConfig
    dtype, task : str
        What it was converted to, and for.
    metadata : dict of str to str
    tensors : dict of str to TensorInfo
    names : set of str
        Of the tensors, as a checkpoint has them.
    mapped : mmap
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.tensors, self.metadata, self.mapped = safetensors.map_file(path)
        _check_version(path, self.metadata)
        self.dtype, self.task = self._choice("dtype", tuple(STORED)), self.metadata.get("task", "")
        if not self.task:
            self.fail("task", "the one that the file was converted for", "none")
        text = self.metadata.get("config.json")
        if text is None:
            self.fail("config.json", "a text in the metadata", "none")
        try:
            self.config = SqueezeBertConfig.from_dict(parse_json(text.encode("utf-8", "replace"), "file", self.fail))
        except ValueError as error:
            raise ValueError(f"{path}: config.json: {str(error).removeprefix(f'{path}: ')}") from None
        self.names = {name.removesuffix(PACKED) + ".weight" if name.endswith(PACKED) else name for name in self.tensors}

    def _choice(self, key: str, words: tuple[str, ...]) -> str:
        value = self.metadata.get(key, "")
        if value not in words:
            self.fail(key, f"one of {', '.join(map(repr, words))}", reprlib.repr(value))
        return value

    def fail(self, what: str, expected: object, got: object) -> NoReturn:
        raise ValueError(f"{self.path}: {what}: expected {expected}, got {got}")

    def check_dtype(self, dtype: str | Mapping[str, str] | None) -> None:
        """Check what the caller asks for."""
        if dtype not in (None, self.dtype):
            self.fail("dtype", f"{self.dtype!r}, which the file was converted to, or none", repr(dtype))


class MappedWeights:
    """The weights of a converted model, where they lie (see `weights.Weights`)."""

    def __init__(self, file: ConvertedFile, head: Mapping[str, Shape]) -> None:
        self._file, self._head = file, head
        self._shapes = dict(chain(encoder_shapes(file.config), head.items()))
        self._known: set[str] = set()

    def _info(self, name: str) -> TensorInfo:
        info = self._file.tensors.get(name)
        if info is None:
            self._file.fail(name, "a tensor, which config.json asks for", "none")
        self._known.add(name)
        return info

    def __contains__(self, name: object) -> bool:
        return name in self._file.names

    def __getitem__(self, name: str) -> NDArray[Any]:
        info, shape = self._info(name), self._shapes[name]
        dtypes = ("F32",) if len(shape) == 1 else ("F32", "F16")
        expected = f"{' or '.join(dtypes)} of shape {shape}"
        if name == WORDS and self._file.dtype == "int8":
            with_scales = (shape[0], shape[1] + SCALE_BYTES)
            expected += f", or I8 of shape {with_scales}"
            if info.dtype == "I8":
                dtypes, shape = ("I8",), with_scales
        if info.dtype not in dtypes or info.shape != shape:
            self._file.fail(name, expected, f"{info.dtype} of shape {info.shape}")
        if info.start % DTYPES[info.dtype][0]:  # the file's reader would copy it
            self._file.fail(name, f"a place that is a multiple of {DTYPES[info.dtype][0]}", info.start)
        return safetensors.view(self._file.mapped, info)

    def conv(self, name: str, groups: int = 1, *, bias: str | None = None) -> ops.PointwiseConv:
        from squeezeops import ops

        info, (c_out, depth, *_) = self._info(name + PACKED), self._shapes[f"{name}.weight"]
        dtype = next((word for word, stored in STORED.items() if stored == info.dtype), None)
        allowed = self._allowed(name)
        if dtype not in allowed:
            self._file.fail(name + PACKED, " or ".join(STORED[word] for word in allowed), info.dtype)
        size = packed_size(groups, groups * depth, c_out, dtype)
        padded = -(-size // LINE) * LINE
        if info.stop - info.start != padded or len(info.shape) != 1:
            expected = f"{padded} bytes in one axis for {c_out} x {depth} in {groups} groups"
            self._file.fail(name + PACKED, expected, f"{info.stop - info.start} of shape {info.shape}")
        if info.start % LINE:
            self._file.fail(name + PACKED, f"a place that is a multiple of {LINE}", info.start)
        packed = memoryview(self._file.mapped)[info.start : info.start + size]
        added = self[bias or f"{name}.bias"]
        sizes = {"in_channels": groups * depth, "out_channels": c_out, "groups": groups}
        try:
            return ops.PointwiseConv.from_packed(packed, added, **sizes, dtype=dtype)
        except ValueError as error:
            raise ValueError(f"{self._file.path}: {name + PACKED}: {error}") from None

    def _allowed(self, name: str) -> list[str]:
        """What a convolution may be stored in: in the encoder the file's dtype, or a more exact one."""
        least = self._file.dtype if in_encoder(name) else "float16"
        words = list(STORED)  # the most exact first
        return words[: words.index(least) + 1]

    def check_all_known(self) -> None:
        """Check, when the model is complete, that there is nothing that it has no use for."""
        unused = unused_prefixes(self._head)
        for name in self._file.tensors:
            if name not in self._known and not name.startswith(unused):
                self._file.fail("tensors", "those that config.json asks for", f"{quote(name)} too")
