"""Sources of a model's weights: the arrays of a checkpoint, or a converted file."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from itertools import chain
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from squeezeops import ops
from squeezeops.packing import LINE, SCALE_BYTES, Memory, packed_size, padded
from squeezeops.squeezebert.files import safetensors
from squeezeops.squeezebert.files.checkpoint import WEIGHTS, load_weights
from squeezeops.squeezebert.files.checks import quote
from squeezeops.squeezebert.files.converted import PACKED, STORED, VOCABULARY
from squeezeops.squeezebert.files.hub_cache import find_folder
from squeezeops.squeezebert.files.safetensors import DTYPES, TensorInfo
from squeezeops.squeezebert.model.config import SqueezeBertConfig
from squeezeops.squeezebert.model.equalise import MOST_EXPONENT, equalised
from squeezeops.squeezebert.model.storage import dtype_of, stored_table
from squeezeops.squeezebert.model.tensors import (
    EXPONENTS,
    WORDS,
    encoder_shapes,
    exponent_shapes,
    in_encoder,
    model_type_of,
    select_tensors,
    unused_prefixes,
    unwrapped,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from squeezeops.squeezebert.files.converted import ConvertedFile
    from squeezeops.squeezebert.model.tensors import Shape

__all__ = ["ArrayWeights", "MappedWeights", "RecordedWeights", "Weights", "config_of", "describe", "load_folder"]


def load_folder(path: str | os.PathLike[str]) -> tuple[SqueezeBertConfig, dict[str, NDArray[Any]]]:
    """Read the configuration of a local model folder and map its tensors. Nothing is downloaded.

    Names of tensors lose the prefix of a wrapper: ``module.`` of DataParallel, ``_orig_mod.`` of torch.compile. If
    config.json names neither a model type nor a class, the names tell which model it is.

    Parameters
    ----------
    path : str or path
        The folder, or a model's name in the local Hugging Face cache; see `files.hub_cache.find_folder`.

    Returns
    -------
    config : SqueezeBertConfig
    weights : dict of str to ndarray
        Read-only views of the mapped files.

    Raises
    ------
    TypeError
        If `path` is neither a str nor a path.
    FileNotFoundError
        If the folder, its ``config.json`` or its weights are missing. The message says what the folder has instead.
    ValueError
        If one of the files is malformed.
    """
    folder = find_folder(path)
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"{folder}: expected a folder with config.json and {WEIGHTS[0]}, got a file")
    weights: dict[str, NDArray[Any]] = {}

    def model_type() -> str:
        weights.update(unwrapped(load_weights(folder)))
        return model_type_of(weights)

    config = SqueezeBertConfig.from_json(os.path.join(folder, "config.json"), model_type)
    return config, weights or unwrapped(load_weights(folder))


def config_of(file: ConvertedFile) -> SqueezeBertConfig:
    """Return the configuration in a converted model."""
    try:
        return SqueezeBertConfig.from_dict(file.settings)
    except ValueError as error:
        raise ValueError(f"{file.path}: config.json: {error}") from None


class Weights(Protocol):
    """Tensors by the names of `tensors`."""

    def __getitem__(self, name: str, /) -> NDArray[Any]:
        """Return a vector or a table, C-contiguous, not to be modified.

        Vectors are float32, exponents int8, tables as `squeezeops.embedding` takes them.
        """

    def __contains__(self, name: object, /) -> bool:
        """Whether there is a tensor of that name, weights of convolutions included."""

    def conv(self, name: str, groups: int = 1, *, bias: str | None = None) -> ops.PointwiseConv:
        """Return the convolution of `name`.weight and `name`.bias, or of a bias of another name; "" is none."""


def _bias(weights: Weights, name: str, bias: str | None) -> NDArray[Any] | None:
    """Return the bias that the arguments of `Weights.conv` say."""
    return None if bias == "" else weights[bias or f"{name}.bias"]


class RecordedWeights:
    """Other weights, with a record of what a model took of them.

    Attributes
    ----------
    tensors : dict of str to ndarray or PointwiseConv
        By the names in a converted file.
    """

    def __init__(self, weights: Weights) -> None:
        self._weights = weights
        self.tensors: dict[str, Any] = {}

    def __getitem__(self, name: str) -> NDArray[Any]:
        array = self.tensors[name] = self._weights[name]
        return array

    def __contains__(self, name: object) -> bool:
        return name in self._weights

    def conv(self, name: str, groups: int = 1, *, bias: str | None = None) -> ops.PointwiseConv:
        conv = self.tensors[name + PACKED] = self._weights.conv(name, groups, bias=bias)
        _bias(self, name, bias)
        return conv


def describe(
    config: SqueezeBertConfig, attention: str, task: str, tensors: Mapping[str, Any]
) -> tuple[str, str, str, dict[str, NDArray[Any]]]:
    """Describe a model of recorded tensors for `squeezeops.backends.models`."""
    arrays = {
        name: np.frombuffer(tensor.packed, DTYPES[STORED[tensor.dtype]][1])
        if isinstance(tensor, ops.PointwiseConv)
        else tensor
        for name, tensor in tensors.items()
    }
    return json.dumps(asdict(config)), attention, task, arrays


class ArrayWeights:
    """The arrays of a checkpoint, stored for a model of `dtype` and `attention` by the rules of `storage`."""

    def __init__(
        self,
        config: SqueezeBertConfig,
        arrays: Mapping[str, NDArray[Any]],
        head: Mapping[str, Shape],
        dtype: str | Mapping[str, str],
        attention: str = "float32",
    ) -> None:
        given = selected = select_tensors(config, arrays, head)
        if attention == "int8":
            selected = equalised(config, given)
        # What is nobody else's: a convolution would keep it beside its packed form.
        self._scaled = {name for name, a in selected.items() if a is not given.get(name)}
        # Vectors are widened, which is exact. Matrices stay as they are until they are packed.
        self._arrays = {
            name: stored_table(name, a, dtype)
            if name.startswith("embeddings.") and a.ndim == 2
            else np.asarray(a, np.float32 if a.ndim == 1 and a.dtype != np.int8 else a.dtype, order="C")
            for name, a in selected.items()
        }
        self._dtype, self._memory = dtype, Memory()

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self._arrays[name]

    def __contains__(self, name: object) -> bool:
        return name in self._arrays

    def conv(self, name: str, groups: int = 1, *, bias: str | None = None) -> ops.PointwiseConv:
        weight, added = self._arrays[f"{name}.weight"], _bias(self, name, bias)
        dtype, _ = dtype_of(name, self._dtype, weight, groups)
        conv = ops.PointwiseConv(weight, added, groups=groups, dtype=dtype, memory=self._memory)
        if f"{name}.weight" not in self._scaled:
            return conv
        sizes = {"in_channels": conv.in_channels, "out_channels": conv.out_channels, "groups": groups}
        return ops.PointwiseConv.from_packed(conv.packed, added, **sizes, dtype=dtype)


class MappedWeights:
    """The weights of a converted model, used where the file is mapped."""

    def __init__(self, file: ConvertedFile, config: SqueezeBertConfig, head: Mapping[str, Shape]) -> None:
        self._file, self._head = file, head
        self._shapes = dict(chain(encoder_shapes(config), exponent_shapes(config), head.items()))
        self._known: set[str] = set(VOCABULARY if file.version > 1 else ())

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
        dtypes: tuple[str, ...] = ("F32",) if len(shape) == 1 else ("F32", "F16")
        if name.endswith(EXPONENTS):
            dtypes = ("I8",)
        expected = f"{' or '.join(dtypes)} of shape {shape}"
        if name == WORDS and self._file.dtype == "int8":
            with_scales = (shape[0], shape[1] + SCALE_BYTES)
            expected += f", or I8 of shape {with_scales}"
            if info.dtype == "I8":
                dtypes, shape = ("I8",), with_scales
        if info.dtype not in dtypes or info.shape != shape:
            self._file.fail(name, expected, f"{info.dtype} of shape {info.shape}")
        if info.start % DTYPES[info.dtype][0]:  # `safetensors.view` would copy it
            self._file.fail(name, f"an offset that is a multiple of {DTYPES[info.dtype][0]}", info.start)
        array = safetensors.view(self._file.mapped, info)
        for number in array.tolist() if name.endswith(EXPONENTS) else ():
            if not -MOST_EXPONENT <= number <= 0:
                self._file.fail(name, f"exponents from {-MOST_EXPONENT} to 0", number)
        return array

    def conv(self, name: str, groups: int = 1, *, bias: str | None = None) -> ops.PointwiseConv:
        info, (c_out, depth, *_) = self._info(name + PACKED), self._shapes[f"{name}.weight"]
        dtype: Any = next((word for word, stored in STORED.items() if stored == info.dtype), None)
        allowed = self._allowed(name)
        if dtype not in allowed:
            self._file.fail(name + PACKED, " or ".join(STORED[word] for word in allowed), info.dtype)
        size = packed_size(groups, groups * depth, c_out, dtype)
        if info.stop - info.start != padded(size) or len(info.shape) != 1:
            expected = f"{padded(size)} bytes in one axis for {c_out} x {depth} in {groups} groups"
            self._file.fail(name + PACKED, expected, f"{info.stop - info.start} of shape {info.shape}")
        if info.start % LINE:
            self._file.fail(name + PACKED, f"an offset that is a multiple of {LINE}", info.start)
        packed = memoryview(self._file.mapped)[info.start : info.start + size]
        added = _bias(self, name, bias)
        sizes = {"in_channels": groups * depth, "out_channels": c_out, "groups": groups}
        try:
            return ops.PointwiseConv.from_packed(packed, added, **sizes, dtype=dtype)
        except ValueError as error:
            raise ValueError(f"{self._file.path}: {name + PACKED}: {error}") from None

    def _allowed(self, name: str) -> list[str]:
        """Return the dtypes allowed for a convolution: in the encoder the file's, or a more exact one.

        "int8_rotated" is for files that say that they require it.
        """
        least = self._file.dtype if in_encoder(name) else "float16"
        words = list(STORED)  # the most exact first
        words = words[: words.index(least) + 1]
        return [word for word in words if word != "int8_rotated" or self._file.rotates]

    def check_all_known(self) -> None:
        """Check that the complete model has used every tensor of the file, other heads aside."""
        unused = unused_prefixes(self._head)
        for name in self._file.tensors:
            if name not in self._known and not name.startswith(unused):
                self._file.fail("tensors", "those that config.json asks for", f"{quote(name)} too")
