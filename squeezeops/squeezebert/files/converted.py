"""Converted models: one safetensors file with everything that a model and its tokenizer need.

The weights of convolutions are packed as the kernels read them, so loading only maps the file. `docs/format.md`
describes both versions of the format. A file may come from anywhere: everything but the values of the weights is
checked.
"""

from __future__ import annotations

import os
import re
import reprlib
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from squeezeops.packing import TARGETS
from squeezeops.squeezebert.files import safetensors
from squeezeops.squeezebert.files.checks import fail_for, parse_json, quote
from squeezeops.squeezebert.files.sentence_transformers import EmbeddingSettings

__all__ = [
    "ATTENTION",
    "EMBEDDING",
    "FORMAT",
    "INT8_ATTENTION",
    "PACKED",
    "REQUIRES",
    "ROTATION",
    "STORED",
    "TOKENIZER",
    "VERSION",
    "VOCABULARY",
    "ConvertedFile",
    "Entry",
    "find_file",
    "open_entry",
    "pack_vocabulary",
    "read_vocabulary",
]

FORMAT, VERSION = "squeezeops_format", 2  # the key in the metadata that marks a converted model, and its value
# Keys of the metadata since version 2.
REQUIRES, ATTENTION, TOKENIZER, EMBEDDING = "requires", "attention", "tokenizer", "embedding"
ROTATION = "rotation"  # the word in REQUIRES of a file with weights of int8_rotated
INT8_ATTENTION = "int8-attention"  # that of a file for attention in int8
FEATURES = frozenset({ROTATION, INT8_ATTENTION})  # words in REQUIRES that this reader knows
VOCABULARY = {"vocab.bytes": "U8", "vocab.offsets": "I32", "vocab.ids": "I32"}  # tensors since version 2
PACKED = ".packed"  # replaces ".weight" at the end of the name of a packed weight
# safetensors' dtypes of packed weights, the most exact first.
STORED = {"float32": "F32", "float16": "F16", "int8_rotated": "I8", "int8": "U8"}


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

    def read_bytes(self) -> bytes:
        return self.texts[self.name].encode()


def open_entry(file: str) -> Entry:
    """Return the folder of texts that a converted model holds."""
    metadata = safetensors.read_header(file)[1]
    _check_version(file, metadata)
    return Entry(file, metadata)


def _check_version(file: str, metadata: Mapping[str, str]) -> int:
    """Return the version of the format; refuse a file that this reader would misunderstand."""
    text, fail = metadata.get(FORMAT, ""), fail_for(file)
    writer = metadata.get("squeezeops_version", "")
    advice = f"(needs a newer squeezeops{f', {writer:.20} or later' if writer.isprintable() and writer else ''})"
    if not re.fullmatch("[1-9][0-9]{0,8}", text):
        fail(FORMAT, f"'{VERSION}'", reprlib.repr(text))
    version = int(text)
    if version > VERSION:
        fail(FORMAT, f"at most {VERSION}", f"{version} {advice}")
    if version > 1:
        if REQUIRES not in metadata:
            fail(REQUIRES, "the features that a reader must know", "none")
        features = metadata[REQUIRES].split()
        for feature in features:
            if feature not in FEATURES:
                fail(REQUIRES, "features that this version knows", f"{quote(feature)} {advice}")
        attention, said = metadata.get(ATTENTION), "int8" if INT8_ATTENTION in features else "float32"
        if attention != said:
            fail(ATTENTION, repr(said), f"{reprlib.repr(attention)} {advice}")
    return version


def pack_vocabulary(vocab: Mapping[str, int]) -> dict[str, bytes]:
    """Return the tensors of a vocabulary; `read_vocabulary` undoes it.

    Tokens are in the order of their bytes, in UTF-8, so that a program finds one by binary search in the mapped file.
    """
    tokens = sorted((token.encode("utf-8", "surrogatepass"), i) for token, i in vocab.items())
    offsets = [0]
    for token, _ in tokens:
        offsets.append(offsets[-1] + len(token))
    return {
        "vocab.bytes": b"".join(token for token, _ in tokens),
        "vocab.offsets": struct.pack(f"<{len(offsets)}i", *offsets),
        "vocab.ids": struct.pack(f"<{len(tokens)}i", *(i for _, i in tokens)),
    }


def read_vocabulary(file: str) -> dict[str, int]:
    """Return the vocabulary of a converted model: the id of each token.

    Raises
    ------
    ValueError
        If a tensor is missing or malformed. The message names it.
    """
    fail, (tensors, _, mapped) = fail_for(file), safetensors.map_file(file)
    parts = {}
    for name, dtype in VOCABULARY.items():
        info = tensors.get(name)
        if info is None or info.dtype != dtype or len(info.shape) != 1:
            got = "none" if info is None else f"{info.dtype} of shape {info.shape}"
            fail(name, f"{dtype} with one axis", got)
        parts[name] = mapped[info.start : info.stop]
    data = parts["vocab.bytes"]
    offsets, ids = (struct.unpack(f"<{len(part) // 4}i", part) for part in (parts["vocab.offsets"], parts["vocab.ids"]))
    if len(offsets) != len(ids) + 1:
        fail("vocab.offsets", f"{len(ids) + 1} numbers, one more than vocab.ids", len(offsets))
    if offsets[0] != 0 or offsets[-1] != len(data) or list(offsets) != sorted(offsets):
        fail("vocab.offsets", f"numbers that ascend from 0 to {len(data)}, the bytes of vocab.bytes", "others")
    if min(ids, default=0) < 0:
        fail("vocab.ids", "ids from 0 on", min(ids))
    tokens = [data[begin:end] for begin, end in pairwise(offsets)]
    try:
        if b"\0" in data:
            words = [token.decode("utf-8", "surrogatepass") for token in tokens]
        else:  # several times faster
            words = b"\0".join(tokens).decode("utf-8", "surrogatepass").split("\0")[: len(tokens)]
    except UnicodeDecodeError as error:
        fail("vocab.bytes", "tokens in UTF-8", f"the byte {error.object[error.start]:#04x}")
    vocab = dict(zip(words, ids, strict=True))
    if len(vocab) < len(ids) or tokens != sorted(tokens):
        before, token = next((a, b) for a, b in pairwise(tokens) if a >= b)
        fail("vocab.bytes", "tokens in the order of their bytes, each once", f"{token!r:.40} after {before!r:.40}")
    return vocab


class ConvertedFile:
    """A converted model, mapped into memory.

    Attributes
    ----------
    path : str
    dtype, attention, task : str
        The target of the conversion. In version 1, attention is "float32".
    version : int
        Of the format.
    rotates : bool
        Whether the file says that it has weights of "int8_rotated".
    settings : dict
        The contents of ``config.json``.
    embedding : EmbeddingSettings or None
        How a text becomes an embedding, if its checkpoint says so; None in version 1.
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
        self.version = _check_version(path, self.metadata)
        self.dtype, self.task = self.metadata.get("dtype", ""), self.metadata.get("task", "")
        self.attention = self.metadata[ATTENTION] if self.version > 1 else "float32"
        self.rotates = ROTATION in self.metadata.get(REQUIRES, "").split()
        if self.dtype not in TARGETS:
            self.fail("dtype", f"one of {', '.join(map(repr, TARGETS))}", reprlib.repr(self.dtype))
        if not self.task:
            self.fail("task", "the one that the file was converted for", "none")
        if "config.json" not in self.metadata:
            self.fail("config.json", "a text in the metadata", "none")
        self.settings = self._parse("config.json")
        self.embedding: EmbeddingSettings | None = None
        if self.version > 1 and EMBEDDING in self.metadata:
            self.embedding = EmbeddingSettings.from_json(self._parse(EMBEDDING), fail_for(f"{path}: {EMBEDDING}"))
        self.names = {name.removesuffix(PACKED) + ".weight" if name.endswith(PACKED) else name for name in self.tensors}

    def _parse(self, name: str) -> dict[str, Any]:
        text = self.metadata[name].encode("utf-8", "replace")
        values: dict[str, Any] = parse_json(text, "file", fail_for(f"{self.path}: {name}"))
        return values
