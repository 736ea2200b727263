"""PyTorch: inference mode, scaled_dot_product_attention, and oneDNN kernels on prepacked weights.

What was tried, in ms at 16 and 128 tokens on one thread of a Zen 5:

* Conv1d: 28 and 143; traced and frozen: 30 and 185.
* baddbmm over the groups: 21 and 120; compiled by inductor: 18 and 95; with freezing: 17 and 92.
* One Linear per group: 25 and 106.
* Channels-last Conv2d, compiled with freezing: 15 and 73. It ends in the oneDNN convolutions below, which need no
  transpose. Calling those directly ("conv"): 15 and 48.
* The products that inductor emits for Linear in a build without MKL, one per group ("linear"): 13 and 65.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from bench.libraries import Inputs
from bench.model import CONFIG, convolutions, saved_weights
from squeezeops.benchmark.cases import copies, floats

EPS = 1e-12


def version() -> str:
    return str(torch.__version__)


def forms(tokens: int, lengths: int) -> tuple[str, ...]:
    return ("conv", "linear")


def start(threads: int) -> None:
    torch.set_num_threads(threads)
    torch.set_num_interop_threads(1)


class ChannelsLastConv(torch.nn.Module):
    """A grouped convolution over rows (T, C) as a channels-last image of height 1. The weight is packed for T."""

    def __init__(self, weight: Any, bias: Any, groups: int, tokens: int, activation: str) -> None:
        super().__init__()
        image = weight[..., None].contiguous(memory_format=torch.channels_last)
        size = [1, weight.shape[1] * groups, 1, tokens]
        self.weight = torch.ops.mkldnn._reorder_convolution_weight(image, [0, 0], [1, 1], [1, 1], groups, size)
        self.bias, self.groups, self.activation = bias, groups, activation

    def forward(self, x: Any) -> Any:
        image = x.t()[None, :, None]
        y = torch.ops.mkldnn._convolution_pointwise(
            image, self.weight, self.bias, [0, 0], [1, 1], [1, 1], self.groups, self.activation, [], "none"
        )
        return y[0, :, 0].t()


class GroupedLinear(torch.nn.Module):
    """The same as one product per group. The weights are packed for T rows."""

    def __init__(self, weight: Any, bias: Any, groups: int, tokens: int, activation: str) -> None:
        super().__init__()
        parts = weight[..., 0].chunk(groups)
        self.weights = [torch.ops.mkldnn._reorder_linear_weight(part.contiguous(), tokens) for part in parts]
        self.biases = [part.contiguous() for part in bias.chunk(groups)]
        self.groups, self.activation = groups, activation

    def forward(self, x: Any) -> Any:
        results = [
            torch.ops.mkldnn._linear_pointwise(part, weight, bias, self.activation, [], "none")
            for part, weight, bias in zip(x.chunk(self.groups, -1), self.weights, self.biases, strict=True)
        ]
        return results[0] if self.groups == 1 else torch.cat(results, -1)


CONVOLUTIONS = {"conv": ChannelsLastConv, "linear": GroupedLinear}


class Norm(torch.nn.Module):
    def __init__(self, weights: dict[str, Any], name: str) -> None:
        super().__init__()
        self.weight, self.bias = weights[name + ".weight"], weights[name + ".bias"]

    def forward(self, x: Any) -> Any:
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, EPS)


class Layer(torch.nn.Module):
    def __init__(self, weights: dict[str, Any], name: str, form: str, tokens: int) -> None:
        super().__init__()
        self.convs = torch.nn.ModuleDict()
        for part, (_, _, groups) in convolutions().items():
            weight, bias = weights[f"{name}.{part}.weight"], weights[f"{name}.{part}.bias"]
            activation = "gelu" if part == "intermediate.conv1d" else "none"
            self.convs[part.replace(".", "_")] = CONVOLUTIONS[form](weight, bias, groups, tokens, activation)
        self.post_norm = Norm(weights, f"{name}.post_attention.layernorm")
        self.output_norm = Norm(weights, f"{name}.output.layernorm")

    def forward(self, x: Any, batch: int, mask: Any) -> Any:
        heads = CONFIG["num_attention_heads"]
        q, k, v = (
            self.convs[f"attention_{name}"](x).view(batch, -1, heads, x.shape[-1] // heads).transpose(1, 2)
            for name in ("query", "key", "value")
        )
        a = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        a = self.convs["post_attention_conv1d"](a.transpose(1, 2).reshape(x.shape))
        a = self.post_norm(a + x)
        y = self.convs["output_conv1d"](self.convs["intermediate_conv1d"](a))
        return self.output_norm(y + a)


class Encoder(torch.nn.Module):
    def __init__(self, weights: dict[str, Any], form: str, task: str, tokens: int) -> None:
        super().__init__()
        self.weights, self.task = weights, task
        self.norm = Norm(weights, "embeddings.LayerNorm")
        types = weights["embeddings.token_type_embeddings.weight"]
        self.places = weights["embeddings.position_embeddings.weight"] + types[0]
        names = [f"encoder.layers.{i}" for i in range(CONFIG["num_hidden_layers"])]
        self.layers = torch.nn.ModuleList(Layer(weights, name, form, tokens) for name in names)

    def forward(self, ids: Any, mask: Any) -> Any:
        w = self.weights
        x = F.embedding(ids, w["embeddings.word_embeddings.weight"]) + self.places[: ids.shape[1]]
        x = self.norm(x).view(-1, x.shape[-1])
        for layer in self.layers:
            x = layer(x, len(ids), mask)
        x = x.view(*ids.shape, -1)
        if self.task == "base":
            return x
        pooled = torch.tanh(F.linear(x[:, 0], w["pooler.dense.weight"], w["pooler.dense.bias"]))
        return F.linear(pooled, w["classifier.weight"], w["classifier.bias"])


def forward(form: str, task: str, inputs: list[Inputs]) -> Callable[[], list[Any]]:
    """Build one model per number of tokens, because the packing depends on it."""
    weights = {name: torch.from_numpy(array.copy()) for name, array in saved_weights().items()}
    with torch.inference_mode():
        models = {tokens: Encoder(weights, form, task, tokens).eval() for tokens in {item.ids.size for item in inputs}}
    calls = []
    for ids, mask in inputs:
        keys = None if mask is None else torch.from_numpy(mask).bool()[:, None, None]
        calls.append((models[ids.size], torch.from_numpy(ids), keys))
    return _inference(lambda: [model(ids, keys).numpy() for model, ids, keys in calls])


def _inference(run: Callable[[], Any]) -> Callable[[], Any]:
    wrapped: Callable[[], Any] = torch.inference_mode()(run)
    return wrapped


def _tensor(*shape: int) -> Any:
    return torch.from_numpy(floats(*shape))


def _conv(
    tokens: int, c_in: int, c_out: int, groups: int, activation: str, residual: int, cold: bool
) -> Callable[[], Any]:
    weight, bias, x = _tensor(c_out, c_in // groups, 1), _tensor(c_out), _tensor(tokens, c_in)
    added = _tensor(tokens, c_out) if residual else None
    count = copies(weight.nbytes, cold)
    with torch.inference_mode():
        convs = [ChannelsLastConv(weight, bias, groups, tokens, activation) for _ in range(count)]
    turn = itertools.cycle(convs)
    if added is None:
        return _inference(lambda: next(turn)(x).numpy())
    return _inference(lambda: next(turn)(x).add_(added).numpy())


def _attention(batch: int, tokens: int, channels: int, heads: int, cold: bool) -> Callable[[], Any]:
    q, k, v = (_tensor(batch, tokens, channels).view(batch, tokens, heads, -1).transpose(1, 2) for _ in range(3))
    return _inference(lambda: F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2).numpy())


def _layer_norm(tokens: int, channels: int, cold: bool) -> Callable[[], Any]:
    x, weight = _tensor(tokens, channels), _tensor(channels)
    return _inference(lambda: F.layer_norm(x, (channels,), weight, weight, EPS).numpy())


def _softmax(rows: int, columns: int, cold: bool) -> Callable[[], Any]:
    x = _tensor(rows, columns)
    out = torch.empty_like(x)
    return _inference(lambda: torch.softmax(x, -1, out=out).numpy())


def _gelu(tokens: int, channels: int, approximate: str, cold: bool) -> Callable[[], Any]:
    x = _tensor(tokens, channels)
    out = torch.empty_like(x)
    return _inference(lambda: torch.ops.aten.gelu.out(x, out=out).numpy())


OPS = {
    "pointwise_conv": _conv, "attention": _attention, "layer_norm": _layer_norm, "softmax": _softmax, "gelu": _gelu,
}  # fmt: skip
