"""The model as an ONNX graph in several forms. Each peer runs the form that is fastest for it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from bench.model import CONFIG, cache_folder, convolutions, saved_weights, write_once

FORMS = ("conv1d", "conv2d", "split", "batched", "contrib")
OPSET = 20
EPS = 1e-12


class Graph:
    """Collects nodes and constants. Each method returns the name of its result."""

    def __init__(self, weights: dict[str, Any]) -> None:
        self.weights = weights
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}

    def op(self, kind: str, *inputs: str, outputs: int = 1, domain: str = "", **attributes: Any) -> Any:
        names = [f"{kind}_{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), names, domain=domain, **attributes))
        return names[0] if outputs == 1 else names

    def constant(self, value: Any, name: str | None = None) -> str:
        name = name or f"constant_{len(self.constants)}"
        self.constants[name] = np.asarray(value, order="C")
        return name

    def ints(self, *values: int) -> str:
        return self.constant(np.array(values, np.int64), "ints_" + "_".join(str(v).replace("-", "m") for v in values))

    def weight(self, name: str) -> str:
        return self.constant(self.weights[name], name)

    def reshape(self, x: str, *shape: int) -> str:
        return str(self.op("Reshape", x, self.ints(*shape)))

    def transpose(self, x: str, *axes: int) -> str:
        return str(self.op("Transpose", x, perm=list(axes)))

    def norm(self, x: str, name: str) -> str:
        y = self.op("LayerNormalization", x, self.weight(name + ".weight"), self.weight(name + ".bias"), epsilon=EPS)
        return str(y)


def embed(g: Graph) -> str:
    """[B, L] to [B, L, C]."""
    words = g.op("Gather", g.weight("embeddings.word_embeddings.weight"), "input_ids")
    length = g.op("Gather", g.op("Shape", "input_ids"), g.constant(np.array(1, np.int64), "one"))
    zero = g.constant(np.array(0, np.int64), "zero")
    places = g.op("Range", zero, length, "one")
    # Folding the token types into the positions saves the peers an addition.
    table = g.weights["embeddings.position_embeddings.weight"] + g.weights["embeddings.token_type_embeddings.weight"][0]
    return g.norm(g.op("Add", words, g.op("Gather", g.constant(table, "places"), places)), "embeddings.LayerNorm")


def project(g: Graph, x: str, name: str, groups: int, form: str) -> str:
    """Apply a convolution of the model.

    "conv1d" and "conv2d": channels first, [B, C, L] or [B, C, 1, L]. "split" and "contrib": channels last, [B, L, C].
    "batched": groups first, [G, T, C / G], or [B, L, C] without groups.
    """
    weight, bias = g.weights[name + ".weight"], g.weights[name + ".bias"]
    if form in ("conv1d", "conv2d"):
        weight = weight[..., None] if form == "conv2d" else weight
        return str(g.op("Conv", x, g.constant(weight, name + ".weight"), g.weight(name + ".bias"), group=groups))
    weight = weight[..., 0]
    if groups == 1:
        y = g.op("MatMul", x, g.constant(weight.T, name))
    elif form == "batched":
        y = g.op("MatMul", x, g.constant(weight.reshape(groups, len(weight) // groups, -1).transpose(0, 2, 1), name))
        bias = bias.reshape(groups, 1, -1)
    else:
        parts = zip(
            g.op("Split", x, outputs=groups, axis=-1, num_outputs=groups), np.split(weight, groups), strict=True
        )
        products = [g.op("MatMul", part, g.constant(w.T, f"{name}.{i}")) for i, (part, w) in enumerate(parts)]
        y = g.op("Concat", *products, axis=-1)
    return str(g.op("Add", y, g.constant(bias, name + ".bias")))


def attention(g: Graph, q: str, k: str, v: str, masked: bool) -> str:
    """[B, H, L, D], [B, H, D, L], [B, H, L, D] to [B, H, L, D]."""
    size = CONFIG["hidden_size"] // CONFIG["num_attention_heads"]
    scale = g.constant(np.array(size**-0.5, np.float32), "scale")
    scores = g.op("Mul", g.op("MatMul", q, k), scale)
    if masked:
        scores = g.op("Add", scores, "bias")
    return str(g.op("MatMul", g.op("Softmax", scores, axis=-1), v))


def layer(g: Graph, x: str, name: str, form: str, masked: bool) -> str:
    """Add an encoder layer in one of `FORMS`; x and y are [B, L, C]. Channels first is the reference implementation."""
    heads, c, n = CONFIG["num_attention_heads"], CONFIG["hidden_size"], CONFIG["q_groups"]
    size, first = c // heads, form in ("conv1d", "conv2d")

    def convolve(x: str, part: str) -> str:
        return project(g, x, f"{name}.{part}", convolutions()[part][2], form)

    def enter(x: str) -> str:
        """From [B, L, C] to what a convolution takes."""
        if form == "batched":
            return g.transpose(g.reshape(x, -1, n, c // n), 1, 0, 2)
        x = g.transpose(x, 0, 2, 1) if first else x
        return str(g.op("Unsqueeze", x, g.ints(2))) if form == "conv2d" else x

    def leave(x: str) -> str:
        if form == "batched":
            return str(g.op("Reshape", g.transpose(x, 1, 0, 2), joined))
        x = g.op("Squeeze", x, g.ints(2)) if form == "conv2d" else x
        return g.transpose(x, 0, 2, 1) if first else x

    if form == "batched":
        batch = g.op("Slice", g.op("Shape", "input_ids"), g.ints(0), g.ints(1))
        length = g.op("Slice", g.op("Shape", "input_ids"), g.ints(1), g.ints(2))
        split = g.op("Concat", g.ints(n), batch, length, g.ints(heads // n), g.ints(size), axis=0)
        joined = g.op("Concat", batch, length, g.ints(c), axis=0)
    t = enter(x)
    q, k, v = (convolve(t, f"attention.{part}") for part in ("query", "key", "value"))
    if form == "contrib":  # onnxruntime's own attention
        inputs = (q, k, v, "", "", "bias") if masked else (q, k, v)
        a = g.op("MultiHeadAttention", *inputs, domain="com.microsoft", num_heads=heads)
    elif first:
        q, k, v = (g.reshape(y, 0, heads, size, -1) for y in (q, k, v))
        a = attention(g, g.transpose(q, 0, 1, 3, 2), k, g.transpose(v, 0, 1, 3, 2), masked)
        a = g.reshape(g.transpose(a, 0, 1, 3, 2), 0, c, -1)
        a = g.op("Unsqueeze", a, g.ints(2)) if form == "conv2d" else a
    elif form == "batched":
        q, k, v = (g.op("Reshape", y, split) for y in (q, k, v))  # [G, B, L, H / G, D]
        q, k, v = g.transpose(q, 1, 0, 3, 2, 4), g.transpose(k, 1, 0, 3, 4, 2), g.transpose(v, 1, 0, 3, 2, 4)
        q, v = (g.reshape(y, 0, heads, -1, size) for y in (q, v))
        a = attention(g, q, g.reshape(k, 0, heads, size, -1), v, masked)
        a = g.op("Reshape", g.transpose(a, 0, 2, 1, 3), joined)
    else:
        q, k, v = (g.reshape(y, 0, -1, heads, size) for y in (q, k, v))
        a = attention(g, g.transpose(q, 0, 2, 1, 3), g.transpose(k, 0, 2, 3, 1), g.transpose(v, 0, 2, 1, 3), masked)
        a = g.reshape(g.transpose(a, 0, 2, 1, 3), 0, -1, c)
    a = convolve(a, "post_attention.conv1d")
    a = g.norm(g.op("Add", leave(a) if first else a, x), f"{name}.post_attention.layernorm")
    y = g.op("Gelu", convolve(enter(a), "intermediate.conv1d"))
    return g.norm(g.op("Add", leave(convolve(y, "output.conv1d")), a), f"{name}.output.layernorm")


def classify(g: Graph, x: str) -> str:
    """[B, L, C] to [B, labels]."""
    first = g.op("Gather", x, g.constant(np.array(0, np.int64), "zero"), axis=1)
    pooled = g.op("Gemm", first, g.weight("pooler.dense.weight"), g.weight("pooler.dense.bias"), transB=1)
    weight, bias = g.weight("classifier.weight"), g.weight("classifier.bias")
    return str(g.op("Gemm", g.op("Tanh", pooled), weight, bias, transB=1))


def build(weights: dict[str, Any], form: str, masked: bool, task: str) -> Any:
    g = Graph(weights)
    x = embed(g)
    inputs = [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "length"])]
    if masked:
        inputs.append(helper.make_tensor_value_info("attention_mask", TensorProto.INT64, ["batch", "length"]))
        left_out = g.op("Sub", g.constant(np.float32(1), "unit"), g.op("Cast", "attention_mask", to=TensorProto.FLOAT))
        bias = g.op("Mul", left_out, g.constant(np.finfo(np.float32).min, "lowest"))
        bias = g.op("Unsqueeze", bias, g.ints(1, 2))  # [B, 1, 1, L]
        if form == "contrib":
            length = g.op("Slice", g.op("Shape", "input_ids"), g.ints(1), g.ints(2))
            bias = g.op("Expand", bias, g.op("Concat", g.ints(1, 1), length, g.ints(1), axis=0))
        g.nodes.append(helper.make_node("Identity", [bias], ["bias"]))
    for i in range(CONFIG["num_hidden_layers"]):
        x = layer(g, x, f"encoder.layers.{i}", form, masked)
    shape = ["batch", "length", CONFIG["hidden_size"]]
    if task == "text-classification":
        x, shape = classify(g, x), ["batch", CONFIG["num_labels"]]
    g.nodes.append(helper.make_node("Identity", [x], ["result"]))
    return model_of(g, inputs, shape)


def model_of(g: Graph, inputs: list[Any], shape: Sequence[Any]) -> Any:
    """Return a model whose nodes end in "result", a tensor of this shape."""
    output = helper.make_tensor_value_info("result", TensorProto.FLOAT, shape)
    tensors = [numpy_helper.from_array(value, name) for name, value in g.constants.items()]
    graph = helper.make_graph(g.nodes, "graph", inputs, [output], tensors)
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def export(form: str, masked: bool, task: str) -> Path:
    """Return the file of a form of the model, with or without an attention mask. The first call writes it."""
    path = cache_folder() / f"{task}-{form}{'-masked' if masked else ''}.onnx"
    return write_once(path, lambda file: onnx.save(build(saved_weights(), form, masked, task), file))
