"""The SqueezeBERT forward pass (Iandola et al. 2020, https://arxiv.org/abs/2006.11316).

A BERT encoder whose linear layers are grouped convolutions over single tokens: only attention mixes tokens. In the
comments T counts the tokens of the batch without padding, H the heads; C and F are hidden and intermediate size.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from squeezeops import ops
from squeezeops.squeezebert import heads, tensors
from squeezeops.squeezebert.batch import Batch, make_batch
from squeezeops.squeezebert.checkpoint import load_folder
from squeezeops.squeezebert.config import SqueezeBertConfig
from squeezeops.squeezebert.heads import SqueezeBertOutput

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float32]
    Weights = Mapping[str, NDArray[Any]]
    Norm = tuple[Floats, ...]  # LayerNorm's weight and bias, [C] each

__all__ = ["SqueezeBert", "SqueezeBertOutput"]

EPS = 1e-12  # of the encoder's LayerNorms, whatever the configuration says; the embeddings' follows the configuration


@dataclass(frozen=True)
class Layer:
    """The weights of an encoder layer."""

    query: ops.PointwiseConv  # C -> C, q_groups
    key: ops.PointwiseConv  # C -> C, k_groups
    value: ops.PointwiseConv  # C -> C, v_groups
    post_attention: ops.PointwiseConv  # C -> C, post_attention_groups
    post_attention_norm: Norm
    intermediate: ops.PointwiseConv  # C -> F, intermediate_groups
    output: ops.PointwiseConv  # F -> C, output_groups
    output_norm: Norm


def make_layer(config: SqueezeBertConfig, weights: Weights, name: str, dtype: str) -> Layer:
    def conv(part: str, groups: int) -> ops.PointwiseConv:
        weight, bias = weights[f"{name}.{part}.weight"], weights[f"{name}.{part}.bias"]
        return ops.PointwiseConv(weight, bias, groups=groups, dtype=dtype)

    return Layer(
        query=conv("attention.query", config.q_groups),
        key=conv("attention.key", config.k_groups),
        value=conv("attention.value", config.v_groups),
        post_attention=conv("post_attention.conv1d", config.post_attention_groups),
        post_attention_norm=tuple(weights[f"{name}.post_attention.layernorm.{part}"] for part in ("weight", "bias")),
        intermediate=conv("intermediate.conv1d", config.intermediate_groups),
        output=conv("output.conv1d", config.output_groups),
        output_norm=tuple(weights[f"{name}.output.layernorm.{part}"] for part in ("weight", "bias")),
    )


def embed(model: SqueezeBert, batch: Batch) -> Floats:
    tables = (batch.ids, model.words, batch.positions, model.positions, batch.types, model.types)
    eps = model.config.layer_norm_eps
    return ops.embedding_layer_norm(*tables, *model.embedding_norm, eps=eps)  # 3 x [T] -> [T, C]


def attend(x: Floats, layer: Layer, num_heads: int, batch: Batch, scores: list[Floats] | None) -> Floats:
    q, k, v = layer.query(x), layer.key(x), layer.value(x)  # [T, C] -> 3 x [T, C]
    if scores is not None:
        padded_q, padded_k = batch.unpack(q), batch.unpack(k)  # 2 x [T, C] -> 2 x [B, L, C]
        scores.append(ops._attention_scores(padded_q, padded_k, num_heads=num_heads, mask=batch.bias()))  # [B, H, L, L]
    return ops._attention_ragged(  # within each sequence: 3 x [T, C] -> [T, C]
        q, k, v, num_heads=num_heads, cu_seqlens=batch.cu_seqlens, key_mask=batch.key_mask, fully_masked="uniform"
    )


def encode(x: Floats, layer: Layer, config: SqueezeBertConfig, batch: Batch, scores: list[Floats] | None) -> Floats:
    a = attend(x, layer, config.num_attention_heads, batch, scores)  # [T, C] -> [T, C]
    a = layer.post_attention(a, residual=x)  # [T, C] -> [T, C]
    a = ops.layer_norm(a, *layer.post_attention_norm, eps=EPS, out=a)  # [T, C]
    y = layer.intermediate(a, activation=config.activation)  # [T, C] -> [T, F]
    y = layer.output(y, residual=a)  # [T, F] -> [T, C]
    return ops.layer_norm(y, *layer.output_norm, eps=EPS, out=y)  # [T, C]


class SqueezeBert:
    """A SqueezeBERT encoder with the head of a task. Threads may share and call one model.

    Parameters
    ----------
    config : SqueezeBertConfig
    weights : mapping of str to ndarray
        float32 or float16, under Hugging Face's names. Embedding tables are read where they lie: do not write to them.
    dtype : str
        What the convolutions compute in: "float32".
    task : str, optional
        "base" or "text-classification"; by default the one that the checkpoint was saved for.

    Attributes
    ----------
    config, task : as above
    path : str or None, the folder that the model was loaded from

    Raises
    ------
    TypeError
        If a weight is no NumPy array.
    ValueError
        For tensors that are missing, unknown, or of the wrong shape or dtype (one error lists them all), for an unknown
        `dtype`, and for a `task` that the checkpoint has no head for.
    """

    path: str | None = None

    def __init__(
        self, config: SqueezeBertConfig, weights: Weights, *, dtype: str = "float32", task: str | None = None
    ) -> None:
        tensors.check_arguments(config, weights, dtype)
        self.config, self.task = config, heads.choose_task(task, config, weights)
        head = heads.HEADS[self.task]
        w = tensors.select_tensors(weights, tensors.encoder_shapes(config) | head.shapes(config, weights))
        # Vectors are widened, exactly; matrices stay as stored. All are made contiguous, or a call would copy a table.
        w = {name: np.asarray(a, np.float32 if a.ndim == 1 else a.dtype, order="C") for name, a in w.items()}

        self.words = w["embeddings.word_embeddings.weight"]  # [vocab_size, C]
        self.positions = w["embeddings.position_embeddings.weight"]  # [max_position_embeddings, C]
        self.types = w["embeddings.token_type_embeddings.weight"]  # [type_vocab_size, C]
        self.embedding_norm = w["embeddings.LayerNorm.weight"], w["embeddings.LayerNorm.bias"]
        self.layers = [make_layer(config, w, f"encoder.layers.{i}", dtype) for i in range(config.num_hidden_layers)]
        self.head = head(w)

    @classmethod
    def from_pretrained(
        cls, path: str | os.PathLike[str], *, dtype: str = "float32", task: str | None = None
    ) -> SqueezeBert:
        """Load a folder as Hugging Face writes it; its file is mapped into memory, bfloat16 widened to float32.

        Parameters and errors are those of the class and of `squeezeops.squeezebert.checkpoint.load_folder`.
        """
        tensors.check_dtype(dtype)
        ops.get_backend()  # a backend that cannot be had is not the folder's fault
        config, weights = load_folder(path)
        try:
            model = cls(config, weights, dtype=dtype, task=task)
        except ValueError as error:
            raise ValueError(f"{os.fspath(path)}: {error}") from None
        model.path = os.fspath(path)
        return model

    def __call__(
        self,
        input_ids: ArrayLike,
        attention_mask: ArrayLike | None = None,
        token_type_ids: ArrayLike | None = None,
        *,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
    ) -> SqueezeBertOutput:
        """Run the model.

        Parameters
        ----------
        input_ids : array_like of int, (B, L)
        attention_mask : array_like of int or bool, (B, L), optional
            1 for a token to attend to, 0 for one to leave out; all 1 by default. A row of zeros attends to all tokens
            alike, as in transformers.
        token_type_ids : array_like of int, (B, L), optional
            All 0 by default.
        output_hidden_states, output_attentions : bool

        Returns
        -------
        SqueezeBertOutput of float32 arrays

        Raises
        ------
        TypeError
            If an argument does not hold integers.
        ValueError
            If `input_ids` is not (B, L) with B and L at least 1, L exceeds ``config.max_position_embeddings``, another
            argument has another shape, or a value is out of range (the message names it and its position).
        """
        batch = make_batch(self.config, input_ids, attention_mask, token_type_ids)
        states: list[Floats] | None = [] if output_hidden_states else None
        scores: list[Floats] | None = [] if output_attentions else None
        x = embed(self, batch)  # 3 x [T] -> [T, C]
        for layer in self.layers:
            if states is not None:
                states.append(batch.unpack(x))  # [T, C] -> [B, L, C]
            x = encode(x, layer, self.config, batch, scores)  # [T, C] -> [T, C]
        output = SqueezeBertOutput(batch.unpack(x))  # [T, C] -> [B, L, C]
        output.hidden_states = None if states is None else (*states, output.last_hidden_state)
        output.attentions = None if scores is None else tuple(scores)
        self.head(x, batch, output)  # [T, C] -> what the task has
        return output
