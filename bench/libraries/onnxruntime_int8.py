"""onnxruntime in int8 by dynamic quantisation: weights ahead of time, activations by the range of each tensor."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from onnx import TensorProto
from onnxruntime.quantization import QuantType, quantize_dynamic

from bench.graph import export
from bench.libraries import Inputs, onnxruntime_
from bench.libraries.onnxruntime_ import OPS, start, version
from bench.model import write_once

__all__ = ["OPS", "forms", "forward", "start", "version"]

WEIGHTS = {"int8": QuantType.QInt8, "uint8": QuantType.QUInt8}


def forms(tokens: int, lengths: int) -> tuple[str, ...]:
    return ("contrib-int8", "split-int8", "split-uint8")


def forward(form: str, task: str, inputs: list[Inputs]) -> Callable[[], list[Any]]:
    graph, _, weights = form.partition("-")
    return onnxruntime_.run_file(quantized(graph, weights, inputs[0].mask is not None, task), inputs)


def quantized(form: str, weights: str, masked: bool, task: str) -> Path:
    """Return the file of a quantised form of the model. The first call writes it, which takes seconds."""
    source = export(form, masked, task)
    path = source.with_name(f"{source.stem}-{weights}-ort-{version()}.onnx")
    logging.getLogger().setLevel(logging.ERROR)  # it recommends preprocessing that these graphs do not need
    options = {"DefaultTensorType": TensorProto.FLOAT}  # for results of operators that ONNX does not know
    write = partial(quantize_dynamic, str(source), weight_type=WEIGHTS[weights], extra_options=options)
    return write_once(path, lambda file: write(str(file)))
