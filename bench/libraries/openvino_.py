"""OpenVINO: latency hint, float32, threads pinned, shapes fixed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import openvino

from bench.graph import export
from bench.libraries import Inputs

# "conv2d" is no faster than "conv1d", "split" slower than both; "batched" wins at few tokens.
FORMS = ("conv1d", "batched")
thread_count = 1


def version() -> str:
    return str(openvino.__version__).partition("-")[0]


def start(threads: int) -> None:
    global thread_count
    thread_count = threads


def settings() -> dict[str, Any]:
    return {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": thread_count,
        "ENABLE_CPU_PINNING": True,
    }


def forward(form: str, task: str, inputs: list[Inputs]) -> Callable[[], list[Any]]:
    """Texts of several lengths share a model without fixed shapes: one for each would not fit into memory."""
    model = openvino.Core().read_model(export(form, inputs[0].mask is not None, task))
    shapes = {item.ids.shape for item in inputs}
    if len(shapes) == 1:
        model.reshape(dict.fromkeys(range(len(model.inputs)), list(next(iter(shapes)))))
    compiled = openvino.Core().compile_model(model, "CPU", settings())
    request, output = compiled.create_infer_request(), compiled.output(0)
    feeds = [[array for array in item if array is not None] for item in inputs]
    if len(feeds) == 1:  # its result may lie in the request's memory
        return lambda: [request.infer(feeds[0], share_inputs=True, share_outputs=True)[output]]
    return lambda: [request.infer(feed, share_inputs=True)[output] for feed in feeds]


def op(name: str, shape: Any, cold: bool) -> Callable[[], Any] | None:
    return None
