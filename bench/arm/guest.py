"""Runs one layer of SqueezeBERT-base in a Python for AArch64, between marks that the plugin of QEMU sees.

    python guest.py MARK_LIBRARY onnxruntime MODEL X
    python guest.py MARK_LIBRARY squeezeops WEIGHTS X

X and WEIGHTS are NumPy's files. The layer runs twice before the first mark, then once and three times, each between two
marks, so that a call is half of the difference. What it computes last goes to standard output: the mean and the
standard deviation, so that libraries can be told to do the same.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from typing import Any

import numpy as np


def onnxruntime_layer(model: str, x: Any) -> Callable[[], Any]:
    import onnxruntime

    onnxruntime.set_default_logger_severity(3)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.inter_op_num_threads = options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"x": x[None]})[0][0]


def squeezeops_layer(weights: str, x: Any) -> Callable[[], Any]:
    """As squeezeops/squeezebert/model/layer.py runs it, on the backend that the environment says."""
    import squeezeops as sq

    tensors = np.load(weights)

    def conv(name: str) -> Any:
        weight, bias = tensors[f"{name}.weight"][..., 0], tensors[f"{name}.bias"]
        return sq.PointwiseConv(weight, bias, groups=1 if name.startswith("post") else 4)

    def norm(y: Any, name: str) -> Any:
        return sq.layer_norm(y, tensors[f"{name}.weight"], tensors[f"{name}.bias"], eps=1e-12)

    query, key, value = conv("attention.query"), conv("attention.key"), conv("attention.value")
    post, inner, outer = conv("post_attention.conv1d"), conv("intermediate.conv1d"), conv("output.conv1d")

    def run() -> Any:
        q, k, v = sq.pointwise_convs(x, (query, key, value))
        a = sq.attention(q[None], k[None], v[None], num_heads=12)[0]
        a = norm(post(a, residual=x), "post_attention.layernorm")
        return norm(outer(inner(a, activation="gelu"), residual=a), "output.layernorm")

    return run


LAYERS = {"onnxruntime": onnxruntime_layer, "squeezeops": squeezeops_layer}


def main(library: str, name: str, weights: str, x: str) -> None:
    mark = ctypes.CDLL(library).mark
    call = LAYERS[name](weights, np.load(x))
    call()
    result = call()
    for times in (1, 3):
        mark()
        for _ in range(times):
            call()
        mark()
    print(f"{result.mean():.5f} {result.std():.5f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
