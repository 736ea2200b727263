"""OpenVINO in its default precision: bfloat16 where the processor multiplies it. The rest is as in float32."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bench.executed import executed
from bench.graph import export
from bench.libraries import Inputs, openvino_
from bench.libraries.openvino_ import OPS, forms, version

__all__ = ["OPS", "forms", "forward", "precision", "start", "version"]

compiled_models: list[Any] = []


def start(threads: int) -> None:
    openvino_.start(threads)
    openvino_.precision.clear()


def forward(form: str, task: str, inputs: list[Inputs]) -> Callable[[], list[Any]]:
    graph, _, any_length = form.partition("-")
    compiled_models.clear()
    path = export(graph, inputs[0].mask is not None, task)
    return openvino_.run_file(path, inputs, bool(any_length), compiled_models.append)


def precision() -> str:
    """Return what the products of the last model run in."""
    return ", ".join(sorted({of_product for _, of_product in executed(compiled_models[-1])}))
