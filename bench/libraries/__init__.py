"""The libraries that are compared, behind one interface; each is imported in its own process alone."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from squeezeops.benchmark.shapes import Shape

__all__ = [
    "ALL_PEERS",
    "HELD_TO",
    "INT8_PEERS",
    "LIBRARIES",
    "OURS",
    "OURS_FLOAT32",
    "PEERS",
    "Inputs",
    "Library",
    "load",
]


class Inputs(NamedTuple):
    """What a model is called with: ids (B, L), and an attention mask of the same shape, or None for all of them."""

    ids: NDArray[np.int64]
    mask: NDArray[np.int64] | None = None


class Library(Protocol):
    """A module of this package; those without a model have no `forms` and no `forward`."""

    def version(self) -> str: ...

    def start(self, threads: int) -> None:
        """Set the library up, before anything else is called."""

    def forms(self, tokens: int, lengths: int) -> tuple[str, ...]:
        """The ways to run the model, of which the fastest counts; the one that is mostly so comes first.

        `tokens` are those of a call, on average, and `lengths` the number of different shapes.
        """

    def forward(self, form: str, task: str, inputs: list[Inputs]) -> Callable[[], list[NDArray[np.float32]]]:
        """Load the model for these inputs and return a function that runs it on one after the other.

        Its results are the last hidden states (B, L, C) for the task "base", the logits (B, labels) for
        "text-classification".
        """

    def op(self, name: str, shape: Shape, cold: bool) -> Callable[[], NDArray[np.float32]] | None:
        """Return a function that runs an op on the inputs of `bench.inputs`, or None if the library has no such op."""


# name on the command line and in tables: module here
LIBRARIES = {
    "squeezeops": "squeezeops_",
    "torch": "torch_",
    "onnxruntime": "onnxruntime_",
    "openvino": "openvino_",
    "squeezeops-float32": "squeezeops_",
    "onnxruntime-int8": "onnxruntime_int8",
    "openvino-int8": "openvino_int8",
    "numpy": "numpy_",
    "avx2": "squeezeops_",
    "memcpy": "memcpy",
}
OURS = "squeezeops"
OURS_FLOAT32 = "squeezeops-float32"  # beside ours in another dtype
PEERS = ("torch", "onnxruntime", "openvino")  # in float32
INT8_PEERS = ("onnxruntime-int8", "openvino-int8")  # torch has no kernel for these convolutions in int8
ALL_PEERS = (*PEERS, *INT8_PEERS, "numpy")
HELD_TO = {"avx2": "avx2"}  # ours by the instruction set that it is held to; its peaks are those of it, too


def load(name: str) -> Any:
    """Import the module of a library; ImportError if it is not installed."""
    return importlib.import_module(f"bench.libraries.{LIBRARIES[name]}")
