"""squeezeops: fast, small, bit-reproducible kernels and a SqueezeBERT forward pass that needs NumPy and nothing else.

Public names are looked up on first use, so that importing the package imports neither NumPy nor the kernels:
the ops of `squeezeops.ops`; `SqueezeBert`, `SqueezeBertConfig`, `Tokenizer` and `pipeline`; and for C programs
`get_include` and `get_library`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from squeezeops._version import __version__

if TYPE_CHECKING:
    from squeezeops._library import get_include, get_library
    from squeezeops.ops import (
        PointwiseConv,
        QuantizedRows,
        RotatedRows,
        attention,
        attention_scores,
        available_backends,
        backend,
        cpu_info,
        embedding,
        embedding_layer_norm,
        gelu,
        get_backend,
        get_num_threads,
        l2_normalize,
        layer_norm,
        mean_pool,
        pointwise_conv,
        pointwise_convs,
        quantize_rows,
        rms_norm,
        set_backend,
        set_num_threads,
        softmax,
        tanh,
    )
    from squeezeops.pipelines import pipeline
    from squeezeops.squeezebert.model.config import SqueezeBertConfig
    from squeezeops.squeezebert.model.squeezebert import SqueezeBert
    from squeezeops.squeezebert.tokenizer.tokenizer import Tokenizer

__all__ = [
    "PointwiseConv",
    "QuantizedRows",
    "RotatedRows",
    "SqueezeBert",
    "SqueezeBertConfig",
    "Tokenizer",
    "__version__",
    "attention",
    "attention_scores",
    "available_backends",
    "backend",
    "cpu_info",
    "embedding",
    "embedding_layer_norm",
    "gelu",
    "get_backend",
    "get_include",
    "get_library",
    "get_num_threads",
    "l2_normalize",
    "layer_norm",
    "mean_pool",
    "pipeline",
    "pointwise_conv",
    "pointwise_convs",
    "quantize_rows",
    "rms_norm",
    "set_backend",
    "set_num_threads",
    "softmax",
    "tanh",
]

# Whatever is not listed is an op.
_HOME = {
    "SqueezeBert": "squeezebert.model.squeezebert",
    "SqueezeBertConfig": "squeezebert.model.config",
    "Tokenizer": "squeezebert.tokenizer.tokenizer",
    "get_include": "_library",
    "get_library": "_library",
    "pipeline": "pipelines",
}


if not TYPE_CHECKING:  # a type checker would take every name for one of these

    def __getattr__(name: str) -> Any:
        if name not in __all__:
            raise AttributeError(f"module 'squeezeops' has no attribute {name!r}")
        value = getattr(import_module("." + _HOME.get(name, "ops"), __name__), name)
        globals()[name] = value  # the next look-up does not come here
        return value


def __dir__() -> list[str]:
    return sorted(__all__)
