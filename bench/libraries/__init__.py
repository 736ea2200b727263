"""The libraries that are compared, behind one interface. Each is imported only in its own process."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Inputs(NamedTuple):
    """Inputs of a model: ids (B, L), and an attention mask (B, L), or None if all tokens count."""

    ids: NDArray[np.int64]
    mask: NDArray[np.int64] | None = None


class Library(Protocol):
    """A module of this package. Those without a model have no `forms` and no `forward`.

    One of `DEFAULT_PEERS` has a function `precision`, which tells what its last model computes in.

    `OPS` maps names of ops to makers. A maker takes a shape and ``cold``, and returns a function that runs the op on
    inputs of `squeezeops.benchmark.cases.floats`, or None if the library cannot.
    """

    OPS: dict[str, Callable[..., Callable[[], NDArray[np.float32]] | None]]

    def version(self) -> str: ...

    def start(self, threads: int) -> None:
        """Set the library up. This is called first."""

    def forms(self, tokens: int, lengths: int) -> tuple[str, ...]:
        """Return the ways to run the model, the one that is usually fastest first. The fastest counts.

        `tokens` is the mean per call, and `lengths` the number of different shapes.
        """

    def forward(self, form: str, task: str, inputs: list[Inputs]) -> Callable[[], list[NDArray[np.float32]]]:
        """Load the model for these inputs and return a function that runs it on one after the other.

        The results are the last hidden states (B, L, C) for the task "base", the logits (B, labels) for
        "text-classification".
        """


# Name on the command line and in tables: module.
LIBRARIES = {
    "squeezeops": "squeezeops_",
    "torch": "torch_",
    "onnxruntime": "onnxruntime_",
    "openvino": "openvino_",
    "openvino-default": "openvino_default",
    "squeezeops-float32": "squeezeops_",
    "onnxruntime-int8": "onnxruntime_int8",
    "openvino-int8": "openvino_int8",
    "numpy": "numpy_",
    "avx2": "squeezeops_",
    "memcpy": "memcpy",
}
OURS = "squeezeops"
OURS_FLOAT32 = "squeezeops-float32"  # next to ours in another dtype
PEERS = ("torch", "onnxruntime", "openvino")  # in float32
INT8_PEERS = ("onnxruntime-int8", "openvino-int8")  # torch has no int8 kernel for these convolutions
DEFAULT_PEERS = ("openvino-default",)  # in the precision that they choose, which may be bfloat16
JUDGED = (*PEERS, *INT8_PEERS, "numpy")  # of which one is the best peer
ALL_PEERS = (*JUDGED, *DEFAULT_PEERS)
HELD_TO = {"avx2": "avx2"}  # our kernels held to an ISA, and so are their peaks


def load(name: str) -> Any:
    """Import the module of a library. Raises ImportError if it is not installed."""
    return importlib.import_module(f"bench.libraries.{LIBRARIES[name]}")
