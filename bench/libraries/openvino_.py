"""OpenVINO: latency hint, float32, pinned threads, fixed shapes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import openvino

from bench.graph import export
from bench.libraries import Inputs

# "conv2d" is as fast as "conv1d", and "split" is slower than both. "batched" wins at few tokens.
FEW = 24  # tokens
thread_count = 1
precision = {"INFERENCE_PRECISION_HINT": "f32"}
OPS: dict[str, Callable[..., Any]] = {}


def version() -> str:
    return str(openvino.__version__).partition("-")[0]


def forms(tokens: int, lengths: int) -> tuple[str, ...]:
    """Several lengths share a model, or have one each, which takes a minute and 9 GB for 30 lengths."""
    best = ("batched", "conv1d") if tokens <= FEW else ("conv1d", "batched")
    return ("conv1d-any", "batched-any", "conv1d") if lengths > 1 else best


def start(threads: int) -> None:
    global thread_count
    thread_count = threads


def settings() -> dict[str, Any]:
    return {
        "PERFORMANCE_HINT": "LATENCY",
        **precision,
        "INFERENCE_NUM_THREADS": thread_count,
        "ENABLE_CPU_PINNING": True,
    }


def forward(form: str, task: str, inputs: list[Inputs]) -> Callable[[], list[Any]]:
    graph, _, any_length = form.partition("-")
    return run_file(export(graph, inputs[0].mask is not None, task), inputs, bool(any_length))


def run_file(
    path: Path, inputs: list[Inputs], any_length: bool, check: Callable[[Any], None] = lambda compiled: None
) -> Callable[[], list[Any]]:
    """Compile one model for all lengths or one per length, `check` each, and return a function that runs the texts."""
    runs: dict[Any, Callable[[Any], Any]] = {}
    for item in inputs:
        shape = None if any_length else item.ids.shape
        if shape not in runs:
            compiled = _compile(path, shape)
            check(compiled)
            runs[shape] = _runner(compiled, shared=len(inputs) == 1)
    calls = [
        (runs[None if any_length else item.ids.shape], [array for array in item if array is not None])
        for item in inputs
    ]
    return lambda: [run(feed) for run, feed in calls]


def _compile(path: Path, shape: tuple[int, ...] | None) -> Any:
    core = openvino.Core()
    model = core.read_model(path)
    if shape:
        model.reshape(dict.fromkeys(range(len(model.inputs)), list(shape)))
    return core.compile_model(model, "CPU", settings())


def _runner(compiled: Any, shared: bool) -> Callable[[Any], Any]:
    """If `shared`, the next call may overwrite the result."""
    request, output = compiled.create_infer_request(), compiled.output(0)
    return lambda feed: request.infer(feed, share_inputs=True, share_outputs=shared)[output]
