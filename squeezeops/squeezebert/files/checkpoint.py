"""Reads the weights of a model folder in Hugging Face's layout: one file, or several listed by an index.

The first of these that exists is read: ``model.safetensors``, ``model.safetensors.index.json``, ``pytorch_model.bin``,
``pytorch_model.bin.index.json``. An index names the other files::

    {"metadata": {...}, "weight_map": {"embeddings.LayerNorm.bias": "model-00001-of-00002.safetensors", ...}}
"""

from __future__ import annotations

import os
import reprlib
from typing import TYPE_CHECKING, Any

from squeezeops.squeezebert.files import safetensors
from squeezeops.squeezebert.files.checks import fail_for, quote, read_json

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["WEIGHTS", "load_weights", "weight_files"]

WEIGHTS = ("model.safetensors", "pytorch_model.bin")  # in order of preference; an index may take a file's place
INDEX = ".index.json"
FOREIGN = {  # endings of weights in formats that are not read
    ".h5": "TensorFlow's",
    ".ckpt": "TensorFlow's or Lightning's",
    ".msgpack": "Flax's",
    ".onnx": "ONNX",
    ".gguf": "llama.cpp's",
    ".ot": "Rust's",
    ".pt": "PyTorch's under another name",
    ".pth": "PyTorch's under another name",
    ".bin": "PyTorch's under another name",
    ".safetensors": "safetensors under another name",
}


def load_weights(folder: str) -> dict[str, NDArray[Any]]:
    """Map the tensors of a model folder into memory.

    Returns
    -------
    dict of str to ndarray
        Read-only views of the mapped files; see `safetensors.read_tensors` and `torch_file.read_tensors`.

    Raises
    ------
    FileNotFoundError
        If the folder has no weights, or lacks a file that its index names. The message says what the folder has.
    ValueError
        If a file is malformed, or lacks a tensor that the index lists.
    """
    file = find_weights(folder)
    return read_indexed(file) if file.endswith(INDEX) else read_weights(file)


def weight_files(folder: str) -> list[str]:
    """Return the names of the files that `load_weights` reads, an index first."""
    file = find_weights(folder)
    shards = sorted(set(read_index(file).values())) if file.endswith(INDEX) else []
    return [os.path.basename(file), *shards]


def find_weights(folder: str) -> str:
    """Return the path of the weights or of their index."""
    for name in WEIGHTS:
        file = os.path.join(folder, name)
        if os.path.lexists(file):  # a broken link is an error, not a reason to read other weights
            return file
        if os.path.lexists(file + INDEX):
            return file + INDEX
    raise FileNotFoundError(f"{folder}: expected {' or '.join(WEIGHTS)}, got {describe_other_weights(folder)}")


def read_weights(file: str) -> dict[str, NDArray[Any]]:
    """Map the tensors of one file; its name's ending tells the format."""
    if os.path.isfile(file) and os.path.getsize(file) < 1024:  # a Git LFS pointer is that small
        with open(file, "rb") as content:
            if content.read(23) == b"version https://git-lfs":
                raise ValueError(f"{file}: expected weights, got a pointer to them: git lfs pull fetches the file")
    if file.endswith(".safetensors"):
        return safetensors.read_tensors(file)
    from squeezeops.squeezebert.files import torch_file  # imports zipfile and pickletools

    return torch_file.read_tensors(file)


def read_indexed(index: str) -> dict[str, NDArray[Any]]:
    """Map the tensors that an index lists."""
    files: dict[str, list[str]] = {}
    for tensor, file in read_index(index).items():
        files.setdefault(file, []).append(tensor)
    weights = {}
    for file, names in files.items():
        path = os.path.join(os.path.dirname(index), file)
        if not os.path.isfile(path):
            raise FileNotFoundError(f"{path}: expected a file with {len(names)} tensors of {index}, got no such file")
        tensors = read_weights(path)
        for name in names:
            if name not in tensors:
                raise ValueError(f"{path}: expected the tensor {quote(name)}, which {index} promises, got none")
            weights[name] = tensors[name]
    return weights


def read_index(path: str) -> dict[str, str]:
    """Read the ``weight_map`` of an index: for each tensor, the name of a file in the same folder."""
    fail = fail_for(path)
    files = read_json(path, "an index of weights", "index").get("weight_map")
    if not isinstance(files, dict) or not files:
        fail("weight_map", "an object that maps tensors to files", reprlib.repr(files))
    ending = os.path.splitext(path.removesuffix(INDEX))[1]
    for tensor, name in files.items():
        plain = isinstance(name, str) and len(name) < 256 and name.isprintable() and not set(name) & set("/\\:")
        if not plain or not name.endswith(ending):
            expected = f"the name of a {ending} file in this folder"
            fail(f"weight_map: {quote(tensor)}", expected, reprlib.repr(name))
    return files


def describe_other_weights(folder: str) -> str:
    """Say which weights of other formats a folder has."""
    found = []
    for name in sorted(os.listdir(folder)):
        ending = os.path.splitext(name)[1]
        if ending in FOREIGN:
            found.append(f"{quote(name)} ({FOREIGN[ending]})")
    if not found:
        return "no weights"
    return f"only {', '.join(found[:4])}{', ...' if len(found) > 4 else ''}, which is not read"
