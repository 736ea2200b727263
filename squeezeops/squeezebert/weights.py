"""Where a model takes its weights from: the arrays of a checkpoint, or a converted file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from squeezeops import ops
from squeezeops.squeezebert import tensors
from squeezeops.squeezebert.memory import Memory
from squeezeops.squeezebert.tables import stored_table

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from squeezeops.squeezebert.config import SqueezeBertConfig
    from squeezeops.squeezebert.tensors import Shape

__all__ = ["ArrayWeights", "Weights"]


class Weights(Protocol):
    """Tensors by the names of `tensors`."""

    def __getitem__(self, name: str, /) -> NDArray[Any]:
        """A vector, float32, or a table as `squeezeops.embedding` takes it; C-contiguous, not to be written to."""

    def __contains__(self, name: object, /) -> bool:
        """Whether there is a tensor of that name, be it a weight of a convolution."""

    def conv(self, name: str, groups: int = 1, *, bias: str | None = None) -> ops.PointwiseConv:
        """The convolution of `name`.weight and `name`.bias, or a bias of another name."""


class ArrayWeights:
    """Arrays of a checkpoint, stored for a model in `dtype` as `tensors` has it."""

    def __init__(
        self,
        config: SqueezeBertConfig,
        arrays: Mapping[str, NDArray[Any]],
        head: Mapping[str, Shape],
        dtype: str | Mapping[str, str],
    ) -> None:
        selected = tensors.select_tensors(config, arrays, head)
        # Vectors are widened, exactly; matrices stay as stored until they are packed.
        self._arrays = {
            name: stored_table(name, a, dtype)
            if name.startswith("embeddings.") and a.ndim == 2
            else np.asarray(a, np.float32 if a.ndim == 1 else a.dtype, order="C")
            for name, a in selected.items()
        }
        self._dtype, self._memory = dtype, Memory()

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self._arrays[name]

    def __contains__(self, name: object) -> bool:
        return name in self._arrays

    def conv(self, name: str, groups: int = 1, *, bias: str | None = None) -> ops.PointwiseConv:
        weight, added = self._arrays[f"{name}.weight"], self._arrays[bias or f"{name}.bias"]
        dtype, _ = tensors.dtype_of(name, self._dtype, weight, groups)
        return ops.PointwiseConv(weight, added, groups=groups, dtype=dtype, memory=self._memory)
