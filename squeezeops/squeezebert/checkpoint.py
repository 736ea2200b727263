"""Reads a model folder as Hugging Face writes it: ``config.json`` and the weights, in one file or in several.

The weights are the first of these that is there: ``model.safetensors``, ``model.safetensors.index.json`` and the files
that it names, ``pytorch_model.bin``, ``pytorch_model.bin.index.json`` and the files that it names. An index is JSON::

    {"metadata": {...}, "weight_map": {"embeddings.LayerNorm.bias": "model-00001-of-00002.safetensors", ...}}
"""

from __future__ import annotations

import os
import reprlib
from typing import TYPE_CHECKING, Any, NoReturn

from squeezeops.squeezebert import safetensors
from squeezeops.squeezebert.config import SqueezeBertConfig
from squeezeops.squeezebert.hub_cache import find_folder
from squeezeops.squeezebert.safetensors import parse_json, quote, read_json

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["load_folder", "weight_files"]

WEIGHTS = ("model.safetensors", "pytorch_model.bin")  # the order of preference; each may have an index in its place
INDEX = ".index.json"
FOREIGN = {  # endings of weights that are not read
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


def load_folder(path: str | os.PathLike[str]) -> tuple[SqueezeBertConfig, dict[str, NDArray[Any]]]:
    """Read the configuration and map the tensors of a local model folder. Nothing is downloaded.

    Parameters
    ----------
    path : str or path
        The folder, or a model's name in the local Hugging Face cache (see `hub_cache.find_folder`).

    Returns
    -------
    config : SqueezeBertConfig
    weights : dict of str to ndarray
        Read-only views of the mapped files, as of `safetensors.read_tensors` and `torch_file.read_tensors`.

    Raises
    ------
    TypeError
        If `path` is neither a str nor a path.
    FileNotFoundError
        If the folder, its ``config.json``, its weights or one of the files that their index names is missing; says what
        lies there instead.
    ValueError
        If one of the files is not what it should be, or lacks a tensor that the index promises.
    """
    folder = find_folder(path)
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"{folder}: expected a folder with config.json and {WEIGHTS[0]}, got a file")
    config = SqueezeBertConfig.from_json(os.path.join(folder, "config.json"))
    file = find_weights(folder)
    return config, read_indexed(file) if file.endswith(INDEX) else read_weights(file)


def weight_files(folder: str) -> list[str]:
    """The names of the files that the weights of a folder are read from, an index first."""
    file = find_weights(folder)
    shards = sorted(set(read_index(file).values())) if file.endswith(INDEX) else []
    return [os.path.basename(file), *shards]


def find_weights(folder: str) -> str:
    """The file that counts, weights or an index."""
    for name in WEIGHTS:
        file = os.path.join(folder, name)
        if os.path.lexists(file):  # a link to nowhere is an error, and no reason to take other weights
            return file
        if os.path.lexists(file + INDEX):
            return file + INDEX
    raise FileNotFoundError(f"{folder}: expected {' or '.join(WEIGHTS)}, got {describe_other_weights(folder)}")


def read_weights(file: str) -> dict[str, NDArray[Any]]:
    """The tensors of one file, by its ending."""
    if os.path.isfile(file) and os.path.getsize(file) < 1024:  # what git leaves in the place of a large file
        with open(file, "rb") as content:
            if content.read(23) == b"version https://git-lfs":
                raise ValueError(f"{file}: expected weights, got a pointer to them: git lfs pull fetches the file")
    if file.endswith(".safetensors"):
        return safetensors.read_tensors(file)
    from squeezeops.squeezebert import torch_file  # and its imports only where it is needed

    return torch_file.read_tensors(file)


def read_indexed(index: str) -> dict[str, NDArray[Any]]:
    """The tensors that an index lists, from the files beside it."""
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
    """The ``weight_map`` of an index: the name of a file in the index's folder for each tensor."""

    def fail(what: str, expected: object, got: object) -> NoReturn:
        raise ValueError(f"{path}: {what}: expected {expected}, got {got}")

    files = parse_json(read_json(path, "an index of weights", fail), "index", fail).get("weight_map")
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
    """What a folder without weights of this library's formats holds in their place."""
    found = []
    for name in sorted(os.listdir(folder)):
        ending = os.path.splitext(name)[1]
        if ending in FOREIGN:
            found.append(f"{quote(name)} ({FOREIGN[ending]})")
    if not found:
        return "no weights"
    return f"only {', '.join(found[:4])}{', ...' if len(found) > 4 else ''}, which is not read"
