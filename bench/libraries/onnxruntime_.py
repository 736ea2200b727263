"""onnxruntime: all graph optimisations, pinned threads, sequential execution, fixed shapes."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from onnx import TensorProto, helper

from bench.graph import Graph, export, model_of
from bench.libraries import Inputs
from squeezeops.benchmark.cases import copies, floats

# On the machines seen, "split" and "batched" were slower at every length: a product with a 3-D constant is packed at
# each call. "contrib" has the attention fusion of onnxruntime.transformers.optimizer, written by hand.
FEW = 48  # tokens
thread_count = 1


def version() -> str:
    return str(onnxruntime.__version__)


def forms(tokens: int, lengths: int) -> tuple[str, ...]:
    return ("conv1d", "conv2d", "contrib") if tokens <= FEW else ("conv2d", "conv1d", "contrib")


def start(threads: int) -> None:
    global thread_count
    thread_count = threads
    onnxruntime.set_default_logger_severity(3)


def _session(model: Any, sizes: dict[str, int] | None = None) -> Any:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.inter_op_num_threads = 1
    options.intra_op_num_threads = thread_count
    if thread_count > 1:  # one per thread except the caller's; CPUs count from 1
        cpus = sorted(os.sched_getaffinity(0))[1:thread_count]
        options.add_session_config_entry("session.intra_op_thread_affinities", ";".join(str(cpu + 1) for cpu in cpus))
    for name, size in (sizes or {}).items():
        options.add_free_dimension_override_by_name(name, size)
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def forward(form: str, task: str, inputs: list[Inputs]) -> Callable[[], list[Any]]:
    return run_file(export(form, inputs[0].mask is not None, task), inputs)


def run_file(path: Path, inputs: list[Inputs]) -> Callable[[], list[Any]]:
    """Several lengths share a session without fixed shapes, because one session per length would not fit in memory."""
    shapes = {item.ids.shape for item in inputs}
    sizes = dict(zip(("batch", "length"), next(iter(shapes)), strict=True)) if len(shapes) == 1 else None
    session = _session(str(path), sizes)
    feeds = [{"input_ids": ids} if mask is None else {"input_ids": ids, "attention_mask": mask} for ids, mask in inputs]
    return lambda: [session.run(None, feed)[0] for feed in feeds]


def _runner(sessions: list[Any], feed: dict[str, Any], after: Callable[[Any], Any] = lambda y: y) -> Callable[[], Any]:
    """Bind each session to its own output array, so that a call allocates none."""
    bound = []
    for session in sessions:
        binding = session.io_binding()
        for key, value in feed.items():
            binding.bind_cpu_input(key, value)
        out = np.empty(session.get_outputs()[0].shape, np.float32)
        pointer, form = out.__array_interface__["data"][0], out.shape
        binding.bind_output("result", "cpu", 0, np.float32, form, pointer)
        bound.append((session, binding, out))
    turn = itertools.cycle(bound)

    def run() -> Any:
        session, binding, out = next(turn)
        session.run_with_iobinding(binding)
        return after(out)

    return run


def _one(g: Graph, result: str, inputs: dict[str, Any], shape: tuple[int, ...]) -> Any:
    g.nodes.append(helper.make_node("Identity", [result], ["result"]))
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, value.shape) for name, value in inputs.items()]
    return _session(model_of(g, infos, shape).SerializeToString())


def _conv(
    tokens: int, c_in: int, c_out: int, groups: int, activation: str, residual: int, cold: bool
) -> Callable[[], Any]:
    """Channels first, the layout of onnxruntime."""
    weight, bias = floats(c_out, c_in // groups), floats(c_out)
    feed = {"x": np.ascontiguousarray(floats(tokens, c_in).T[None])}
    if residual:
        feed["residual"] = np.ascontiguousarray(floats(tokens, c_out).T[None])
    sessions = []
    for _ in range(copies(weight.nbytes, cold)):
        g = Graph({})
        y = g.op("Conv", "x", g.constant(weight[..., None], "weight"), g.constant(bias, "bias"), group=groups)
        y = g.op({"gelu": "Gelu", "tanh": "Tanh"}[activation], y) if activation != "none" else y
        y = g.op("Add", y, "residual") if residual else y
        sessions.append(_one(g, y, feed, (1, c_out, tokens)))
    return _runner(sessions, feed, lambda y: y[0].T)


def _attention(batch: int, tokens: int, channels: int, heads: int, cold: bool) -> Callable[[], Any]:
    x = floats(batch, tokens, channels)
    feed = {"q": x, "k": x, "v": x}
    g = Graph({})
    y = g.op("MultiHeadAttention", *feed, domain="com.microsoft", num_heads=heads)
    return _runner([_one(g, y, feed, x.shape)], feed)


def _row_wise(x: Any, node: Callable[[Graph], Any]) -> Callable[[], Any]:
    g = Graph({})
    return _runner([_one(g, node(g), {"x": x}, x.shape)], {"x": x})


def _layer_norm(tokens: int, channels: int, cold: bool) -> Callable[[], Any]:
    weight = floats(channels)

    def node(g: Graph) -> Any:
        return g.op("LayerNormalization", "x", g.constant(weight, "weight"), g.constant(weight, "bias"), epsilon=1e-12)

    return _row_wise(floats(tokens, channels), node)


def _softmax(rows: int, columns: int, cold: bool) -> Callable[[], Any]:
    return _row_wise(floats(rows, columns), lambda g: g.op("Softmax", "x", axis=-1))


def _gelu(tokens: int, channels: int, approximate: str, cold: bool) -> Callable[[], Any]:
    return _row_wise(floats(tokens, channels), lambda g: g.op("Gelu", "x"))


OPS = {
    "pointwise_conv": _conv, "attention": _attention, "layer_norm": _layer_norm, "softmax": _softmax, "gelu": _gelu,
}  # fmt: skip
