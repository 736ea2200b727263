"""A layer of the model that is compared, as an ONNX graph of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto, helper

from bench.graph import Graph, layer, model_of
from bench.model import CONFIG

__all__ = ["write_layer"]


def write_layer(path: Path, form: str, weights: dict[str, Any], tokens: int) -> None:
    """Write the first layer in one of `bench.graph.FORMS`, from "x" (1, tokens, channels) to "result"."""
    g = Graph(weights)
    g.nodes.append(helper.make_node("ReduceMax", ["x", g.ints(2)], ["input_ids"], keepdims=0))  # for its shape
    y, shape = layer(g, "x", "encoder.layers.0", form, False), [1, tokens, CONFIG["hidden_size"]]
    g.nodes.append(helper.make_node("Identity", [y], ["result"]))
    onnx.save(model_of(g, [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)], shape), path)
