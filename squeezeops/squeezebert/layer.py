"""The weights of an encoder layer, packed for the kernels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from squeezeops import ops

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from squeezeops.squeezebert.config import SqueezeBertConfig
    from squeezeops.squeezebert.weights import Weights

    Norm = tuple[NDArray[np.float32], NDArray[np.float32]]  # LayerNorm's weight and bias, [C] each

__all__ = ["Layer", "make_layer"]


@dataclass(frozen=True)
class Layer:
    """The weights of an encoder layer; C and F are hidden and intermediate size. A convolution may be of any dtype."""

    query: ops.PointwiseConv  # C -> C, q_groups
    key: ops.PointwiseConv  # C -> C, k_groups
    value: ops.PointwiseConv  # C -> C, v_groups
    post_attention: ops.PointwiseConv  # C -> C, post_attention_groups
    post_attention_norm: Norm
    intermediate: ops.PointwiseConv  # C -> F, intermediate_groups
    output: ops.PointwiseConv  # F -> C, output_groups
    output_norm: Norm

    @property
    def quantizes(self) -> bool:
        """Whether what lies between intermediate and output is quantised as soon as it is computed."""
        return self.intermediate.dtype == self.output.dtype == "int8"


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
