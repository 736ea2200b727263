"""An encoder layer: its packed weights, and its forward pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from squeezeops import ops
from squeezeops.packing import INT8
from squeezeops.squeezebert.model.tensors import EXPONENTS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from squeezeops.squeezebert.model.batch import Batch, Rows
    from squeezeops.squeezebert.model.config import SqueezeBertConfig
    from squeezeops.squeezebert.model.weights import Weights
    from squeezeops.squeezebert.model.workspace import Activations

    Floats = NDArray[np.float32]
    Norm = tuple[Floats, Floats]  # weight and bias of a LayerNorm, [C] each

__all__ = ["Layer", "make_layer"]


@dataclass(frozen=True)
class Layer:
    """The weights of an encoder layer. C and F are hidden and intermediate size. Convolutions may be of any dtype.

    For attention in int8, keys and values have no bias: softmax does not see the keys', and the values' is added after
    the attention, so that it takes nothing of the range of a byte. `equalise` says what the scale of the values is.
    """

    query: ops.PointwiseConv  # C -> C, q_groups
    key: ops.PointwiseConv  # C -> C, k_groups
    value: ops.PointwiseConv  # C -> C, v_groups
    post_attention: ops.PointwiseConv  # C -> C, post_attention_groups
    post_attention_norm: Norm
    intermediate: ops.PointwiseConv  # C -> F, intermediate_groups
    output: ops.PointwiseConv  # F -> C, output_groups
    output_norm: Norm
    # For attention in int8, [C] each:
    key_bias: Floats | None = None  # for raw scores alone
    value_scale: Floats | None = None
    value_bias: Floats | None = None

    def __call__(
        self, x: Floats, config: SqueezeBertConfig, batch: Batch, work: Activations, rows: Rows | None, scores: Any
    ) -> Floats:
        """Compute the layer for all rows of x, [T, C], or for `rows`, which attend to all of their sequence."""
        num_heads, eps, keys = config.num_attention_heads, config.encoder_layer_norm_eps, batch.cu_seqlens
        # Attention in int8 takes queries, keys and values with one scale per token and head.
        heads = None if self.value_scale is None else num_heads
        if scores is not None:
            scores[batch.sequences] = self.scores(x, config, batch)  # [T, C] -> [B, H, L, L]
        if rows is None:
            q, k, v = ops.pointwise_convs(  # [T, C] -> 3 x [T, C]
                x, (self.query, self.key, self.value), quantize_groups=heads, out=work[1:4]
            )
            queries = keys
        else:
            k, v = ops.pointwise_convs(  # [T, C] -> 2 x [T, C]
                x, (self.key, self.value), quantize_groups=heads, out=work[2:4]
            )
            work, queries = work.first(len(rows.indices)), rows.cu_rows
            x = ops.embedding(rows.indices, x, out=work.chosen)  # [T, C] -> [N, C]
            q = self.query(x, quantize_groups=heads, out=work.q)  # [N, C]
        a = ops.attention(  # within each sequence: [N, C], 2 x [T, C] -> [N, C]
            q,
            k,
            v,
            num_heads=num_heads,
            cu_seqlens_q=queries,
            cu_seqlens_k=keys,
            mask=batch.key_mask,
            value_scale=self.value_scale,
            value_bias=self.value_bias,
            out=work.context,
        )
        a = self.post_attention(a, residual=x, out=work.attended)  # [N, C] -> [N, C]
        a = ops.layer_norm(a, *self.post_attention_norm, eps=eps, out=a)  # [N, C]
        # Quantise what lies between on store.
        quantizes = self.intermediate.dtype in INT8 and self.output.dtype in INT8
        groups, room = (self.output.groups, work.quantized) if quantizes else (None, work.wide)
        rotate = quantizes and self.output.dtype == "int8_rotated"
        y = self.intermediate(  # [N, C] -> [N, F]
            a, activation=config.activation, quantize_groups=groups, quantize_rotate=rotate, out=room
        )
        y = self.output(y, residual=a, out=work.x)  # [N, F] -> [N, C]
        return ops.layer_norm(y, *self.output_norm, eps=eps, out=y)  # [N, C]

    def scores(self, x: Floats, config: SqueezeBertConfig, batch: Batch) -> Floats:
        """Return what ``output_attentions`` gives. It is computed in float32, whatever attention is."""
        num_heads, bias = config.num_attention_heads, batch.bias()
        q, k = ops.pointwise_convs(x, (self.query, self.key))  # [T, C] -> 2 x [T, C]
        if self.key_bias is not None:
            k += self.key_bias
        q, k = batch.unpack(q), batch.unpack(k)  # 2 x [T, C] -> 2 x [B, L, C]
        s = ops.attention_scores(q, k, num_heads=num_heads, mask=bias)  # [B, H, L, L]
        if config.model_type != "squeezebert":  # transformers returns probabilities for BERT and DistilBERT
            s = ops.softmax(s, mask=batch.pairs(), fully_masked="zero", out=s)  # [B, H, L, L]
        return s


def make_layer(config: SqueezeBertConfig, weights: Weights, name: str, attention: str) -> Layer:
    """Take the layer whose tensors' names begin with `name`."""
    bias = "" if attention == "int8" else None  # of keys and values

    def conv(part: str, groups: int, bias: str | None = None) -> ops.PointwiseConv:
        return weights.conv(f"{name}.{part}", groups, bias=bias)

    def norm(part: str) -> Norm:
        return weights[f"{name}.{part}.weight"], weights[f"{name}.{part}.bias"]

    def in_int8() -> dict[str, Floats]:
        biases = {f"{part}_bias": weights[f"{name}.attention.{part}.bias"] for part in ("key", "value")}
        return {"value_scale": np.ldexp(np.float32(1), weights[f"{name}{EXPONENTS}"]), **biases}

    return Layer(
        query=conv("attention.query", config.q_groups),
        key=conv("attention.key", config.k_groups, bias),
        value=conv("attention.value", config.v_groups, bias),
        post_attention=conv("post_attention.conv1d", config.post_attention_groups),
        post_attention_norm=norm("post_attention.layernorm"),
        intermediate=conv("intermediate.conv1d", config.intermediate_groups),
        output=conv("output.conv1d", config.output_groups),
        output_norm=norm("output.layernorm"),
        **(in_int8() if attention == "int8" else {}),
    )
