"""An encoder layer: its packed weights, and its forward pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from squeezeops import ops
from squeezeops.packing import INT8

if TYPE_CHECKING:
    import numpy as np
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
    """The weights of an encoder layer. C and F are hidden and intermediate size. Convolutions may be of any dtype."""

    query: ops.PointwiseConv  # C -> C, q_groups
    key: ops.PointwiseConv  # C -> C, k_groups
    value: ops.PointwiseConv  # C -> C, v_groups
    post_attention: ops.PointwiseConv  # C -> C, post_attention_groups
    post_attention_norm: Norm
    intermediate: ops.PointwiseConv  # C -> F, intermediate_groups
    output: ops.PointwiseConv  # F -> C, output_groups
    output_norm: Norm

    def __call__(
        self, x: Floats, config: SqueezeBertConfig, batch: Batch, work: Activations, rows: Rows | None, scores: Any
    ) -> Floats:
        """Compute the layer for all rows of x, [T, C], or for `rows`, which attend to all of their sequence."""
        num_heads, eps, keys = config.num_attention_heads, config.encoder_layer_norm_eps, batch.cu_seqlens
        if rows is None:
            q, k, v = ops.pointwise_convs(x, (self.query, self.key, self.value), out=work[1:4])  # [T, C] -> 3 x [T, C]
            queries = keys
        else:
            k, v = ops.pointwise_convs(x, (self.key, self.value), out=work[2:4])  # [T, C] -> 2 x [T, C]
            work, queries = work.first(len(rows.indices)), rows.cu_rows
            x = ops.embedding(rows.indices, x, out=work.chosen)  # [T, C] -> [N, C]
            q = self.query(x, out=work.q)  # [N, C]
        if scores is not None:
            scores[batch.sequences] = attention_scores(q, k, config, batch)  # 2 x [T, C] -> [B, H, L, L]
        a = ops.attention(  # within each sequence: [N, C], 2 x [T, C] -> [N, C]
            q, k, v, num_heads=num_heads, cu_seqlens_q=queries, cu_seqlens_k=keys, mask=batch.key_mask, out=work.context
        )
        a = self.post_attention(a, residual=x, out=work.q)  # [N, C] -> [N, C]
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


def attention_scores(q: Floats, k: Floats, config: SqueezeBertConfig, batch: Batch) -> Floats:
    """Return what ``output_attentions`` gives, from queries and keys [T, C]."""
    num_heads, bias = config.num_attention_heads, batch.bias()
    q, k = batch.unpack(q), batch.unpack(k)  # 2 x [T, C] -> 2 x [B, L, C]
    s = ops.attention_scores(q, k, num_heads=num_heads, mask=bias)  # [B, H, L, L]
    if config.model_type != "squeezebert":  # transformers returns probabilities for BERT and DistilBERT
        s = ops.softmax(s, mask=batch.pairs(), fully_masked="zero", out=s)  # [B, H, L, L]
    return s


def make_layer(config: SqueezeBertConfig, weights: Weights, name: str) -> Layer:
    """Take the layer whose tensors' names begin with `name`."""

    def conv(part: str, groups: int) -> ops.PointwiseConv:
        return weights.conv(f"{name}.{part}", groups)

    def norm(part: str) -> Norm:
        return weights[f"{name}.{part}.weight"], weights[f"{name}.{part}.bias"]

    return Layer(
        query=conv("attention.query", config.q_groups),
        key=conv("attention.key", config.k_groups),
        value=conv("attention.value", config.v_groups),
        post_attention=conv("post_attention.conv1d", config.post_attention_groups),
        post_attention_norm=norm("post_attention.layernorm"),
        intermediate=conv("intermediate.conv1d", config.intermediate_groups),
        output=conv("output.conv1d", config.output_groups),
        output_norm=norm("output.layernorm"),
    )
