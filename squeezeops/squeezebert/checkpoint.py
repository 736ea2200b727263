"""Reads a model folder as Hugging Face writes it: ``config.json`` and ``model.safetensors``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from squeezeops.squeezebert.config import SqueezeBertConfig
from squeezeops.squeezebert.safetensors import read_tensors

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["load_folder"]


def load_folder(path: str | os.PathLike[str]) -> tuple[SqueezeBertConfig, dict[str, NDArray[Any]]]:
    """Read the configuration and map the tensors of a local model folder. Nothing is downloaded.

    Raises
    ------
    FileNotFoundError
        If the folder, its ``config.json`` or its ``model.safetensors`` is missing; says what lies there instead.
    ValueError
        If one of the two files is not what it should be.
    """
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"from_pretrained: path: expected a str or a path, got {type(path).__name__}")
    folder = os.fspath(path)
    if not os.path.isdir(folder):
        got = "a file" if os.path.exists(folder) else "no such folder (models are not downloaded by name)"
        raise FileNotFoundError(f"{folder}: expected a folder with config.json and model.safetensors, got {got}")
    config = SqueezeBertConfig.from_json(os.path.join(folder, "config.json"))
    weights = os.path.join(folder, "model.safetensors")
    if not os.path.exists(weights):
        raise FileNotFoundError(f"{folder}: expected model.safetensors, got {describe_other_weights(folder)}")
    return config, read_tensors(weights)


def describe_other_weights(folder: str) -> str:
    """What a folder without ``model.safetensors`` holds in its place, and what to do about it."""
    if os.path.exists(os.path.join(folder, "pytorch_model.bin")):
        return (
            "only pytorch_model.bin, which is not supported yet. Where torch and safetensors are installed, this "
            "Python code converts it: "
            "import torch, safetensors.torch; "
            "weights = torch.load('pytorch_model.bin', map_location='cpu', weights_only=True); "
            "weights = {name: tensor.clone().contiguous() for name, tensor in weights.items()}; "
            "safetensors.torch.save_file(weights, 'model.safetensors')"
        )
    if os.path.exists(os.path.join(folder, "model.safetensors.index.json")):
        return "a checkpoint split into several files, which is not supported: save it as one"
    return "no weights"
