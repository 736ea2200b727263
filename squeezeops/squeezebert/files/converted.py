"""Converted models: one safetensors file with everything that a model and its tokenizer need.

The weights of convolutions are packed as the kernels read them, so loading only maps the file. The metadata hold the
texts of ``config.json`` and of the tokenizer's files. `docs/converted-models.md` describes the format. A file may come
from anywhere: everything but the values of the weights is checked.
"""

from __future__ import annotations

import os
import re
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass

from squeezeops.squeezebert.files import safetensors
from squeezeops.squeezebert.files.checks import fail_for, parse_json

__all__ = ["FORMAT", "PACKED", "STORED", "VERSION", "ConvertedFile", "Entry", "find_file", "open_entry"]

FORMAT, VERSION = "squeezeops_format", 1  # the key in the metadata that marks a converted model, and its value
PACKED = ".packed"  # replaces ".weight" at the end of the name of a packed weight
STORED = {"float32": "F32", "float16": "F16", "int8": "U8"}  # safetensors' dtypes of packed weights


def find_file(path: str) -> str | None:
    """Return the converted model at `path`: a file, or the one in a folder; None for another kind of folder.

    In a folder, that is ``model.safetensors``, or the only safetensors file if there is no ``config.json``.

    Raises
    ------
    ValueError
        If a safetensors file is malformed or not a converted model.
    """
    if not os.path.isdir(path):
        if not path.endswith(".safetensors"):
            return None
        if FORMAT not in safetensors.read_header(path)[1]:
            expected = "a file that squeezeops convert wrote, or the folder of a checkpoint"
            raise ValueError(f"{path}: expected {expected}, got safetensors without {FORMAT} in the metadata")
        return path
    names = sorted(name for name in os.listdir(path) if name.endswith(".safetensors"))
    has_config = os.path.lexists(os.path.join(path, "config.json"))
    if "model.safetensors" in names:
        names = ["model.safetensors"]
    elif len(names) > 1 or has_config:
        return None
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
            return False  # the checkpoint's reader reports the error
        raise


@dataclass(frozen=True)
class Entry:
    """A text in a converted model, or (without a name) the folder of them; has the methods of `pathlib.Path` used here.

    Attributes
    ----------
    file : str
        The converted model.
    texts : mapping of str to str
        Its metadata.
    name : str
        Of the text.
    """

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
    """Return the folder of texts that a converted model holds."""
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
    """A converted model, mapped into memory.

    Attributes
    ----------
    path : str
    dtype, task : str
        The target of the conversion.
    settings : dict
        The contents of ``config.json``.
    metadata : dict of str to str
    tensors : dict of str to TensorInfo
    names : set of str
        The tensors' names in a checkpoint.
    mapped : mmap
    fail : callable
        Raises a ValueError about this file; takes what, expected and got.
    """

    def __init__(self, path: str) -> None:
        self.path, self.fail = path, fail_for(path)
        self.tensors, self.metadata, self.mapped = safetensors.map_file(path)
        _check_version(path, self.metadata)
        self.dtype, self.task = self.metadata.get("dtype", ""), self.metadata.get("task", "")
        if self.dtype not in STORED:
            self.fail("dtype", f"one of {', '.join(map(repr, STORED))}", reprlib.repr(self.dtype))
        if not self.task:
            self.fail("task", "the one that the file was converted for", "none")
        text = self.metadata.get("config.json")
        if text is None:
            self.fail("config.json", "a text in the metadata", "none")
        self.settings = parse_json(text.encode("utf-8", "replace"), "file", fail_for(f"{path}: config.json"))
        self.names = {name.removesuffix(PACKED) + ".weight" if name.endswith(PACKED) else name for name in self.tensors}
