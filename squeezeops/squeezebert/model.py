"""The SqueezeBERT forward pass (Iandola et al. 2020, https://arxiv.org/abs/2006.11316), and BERT's.

A BERT encoder whose linear layers are grouped convolutions over single tokens: only attention mixes tokens. With one
group each, it is a BERT. In the comments T counts the tokens of the batch without padding, and N those that a layer is
computed for, fewer only in the last; H the heads; C and F are hidden and intermediate size.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from squeezeops import ops
from squeezeops.squeezebert import converted, heads, tensors
from squeezeops.squeezebert.batch import Batch, Rows, make_batch
from squeezeops.squeezebert.checkpoint import load_folder
from squeezeops.squeezebert.config import SqueezeBertConfig
from squeezeops.squeezebert.hub_cache import find_folder
from squeezeops.squeezebert.layer import Layer, make_layer
from squeezeops.squeezebert.output import SqueezeBertOutput, attention_scores, make_output
from squeezeops.squeezebert.weights import ArrayWeights
from squeezeops.squeezebert.workspace import Activations, Workspaces

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from squeezeops.squeezebert.weights import Weights

    Floats = NDArray[np.float32]

__all__ = ["SqueezeBert", "SqueezeBertOutput"]


def embed(model: SqueezeBert, batch: Batch, work: Activations) -> Floats:
    tables = (batch.ids, model.words, batch.positions, model.positions, batch.types, model.types)
    eps = model.config.layer_norm_eps
    return ops.embedding_layer_norm(*tables, *model.embedding_norm, eps=eps, out=work.x)  # 3 x [T] -> [T, C]


def encode(
    x: Floats, layer: Layer, model: SqueezeBert, batch: Batch, work: Activations, rows: Rows | None, scores: Any
) -> Floats:
    """A layer: for all rows of x, or for those given, which attend to all of their sequence."""
    num_heads, eps, keys = model.config.num_attention_heads, model.config.encoder_layer_norm_eps, batch.cu_seqlens
    if rows is None:
        q, k, v = ops.pointwise_convs(x, (layer.query, layer.key, layer.value), out=work[1:4])  # [T, C] -> 3 x [T, C]
        queries = keys
    else:
        k, v = ops.pointwise_convs(x, (layer.key, layer.value), out=work[2:4])  # [T, C] -> 2 x [T, C]
        work, queries = work.first(len(rows.indices)), rows.cu_rows
        x = ops.embedding(rows.indices, x, out=work.chosen)  # [T, C] -> [N, C]
        q = layer.query(x, out=work.q)  # [N, C]
    if scores is not None:
        scores[batch.sequences] = attention_scores(q, k, model.config, batch)  # 2 x [T, C] -> [B, H, L, L]
    a = ops.attention(  # within each sequence: [N, C], 2 x [T, C] -> [N, C]
        q, k, v, num_heads=num_heads, cu_seqlens_q=queries, cu_seqlens_k=keys, mask=batch.key_mask, out=work.context
    )
    a = layer.post_attention(a, residual=x, out=work.q)  # [N, C] -> [N, C]
    a = ops.layer_norm(a, *layer.post_attention_norm, eps=eps, out=a)  # [N, C]
    groups, room = (layer.output.groups, work.quantized) if layer.quantizes else (None, work.wide)
    y = layer.intermediate(a, activation=model.config.activation, quantize_groups=groups, out=room)  # [N, C] -> [N, F]
    y = layer.output(y, residual=a, out=work.x)  # [N, F] -> [N, C]
    return ops.layer_norm(y, *layer.output_norm, eps=eps, out=y)  # [N, C]


def run(model: SqueezeBert, batch: Batch, work: Activations, output: SqueezeBertOutput) -> None:
    """Compute a part of the inputs, whole sequences, and put the results into their places in `output`."""
    needed = model.head.rows(batch)
    x = embed(model, batch, work)  # 3 x [T] -> [T, C]
    for i, layer in enumerate(model.layers):
        if output.hidden_states is not None:
            batch.spread(output.hidden_states[i][batch.sequences], x)  # [T, C] -> [B, L, C]
        rows = needed if layer is model.layers[-1] and output.last_hidden_state is None else None
        scores = output.attentions and output.attentions[i]
        x = encode(x, layer, model, batch, work, rows, scores)  # [T, C] -> [N, C]
    if output.last_hidden_state is not None:
        batch.spread(output.last_hidden_state[batch.sequences], x)  # [T, C] -> [B, L, C]
        if needed is not None:
            x = ops.embedding(needed.indices, x, out=work.q[: len(needed.indices)])  # [T, C] -> [N, C]
    model.head(x, batch, work.first(len(x)), output)  # [N, C] -> what the task has


class SqueezeBert:
    """A SqueezeBERT or BERT encoder with the head of a task. Threads may share and call one model.

    Parameters
    ----------
    config : SqueezeBertConfig
        Its ``model_type`` says which of the two.
    weights : mapping of str to ndarray
        float32 or float16, under Hugging Face's names. Embedding tables that stay as they are, are read where they lie:
        do not write to them.
    dtype : {"float32", "float16", "int8"}, or mapping of str to those
        What the weights of the encoder's convolutions are stored in, see `squeezeops.PointwiseConv`: "float16" takes
        half the memory, for a float16 checkpoint with the results of "float32"; "int8" takes a quarter, and multiplies
        bytes. LayerNorm, attention and the heads compute in float32 always: a head is small, and where its few numbers
        decide, rounding shows most. In an "int8" model values, intermediates and outputs are "float16" if they have one
        group, as in a BERT: one channel may hold most of a token's norm there, and a scale for all channels leaves
        little of the others. The table of words is "int8" too; other embedding tables, and a masked-LM head's decoder,
        are "float16" in both. What float16 cannot hold stays float32. A mapping says it for each convolution, by names
        as "encoder.layers.0.attention.query", or "post_attention.conv1d", "intermediate.conv1d", "output.conv1d"; those
        not in it are float32, and tables as in the checkpoint.
    task : str, optional
        "base" (the encoder alone), "masked-lm", "text-classification", "multiple-choice", "token-classification" or
        "question-answering"; by default the one that the checkpoint was saved for.

    Attributes
    ----------
    config, dtype, task : as above
    path : str or None, the folder or the file that the model was loaded from

    Raises
    ------
    TypeError
        If a weight is no NumPy array.
    ValueError
        For tensors that are missing, unknown, or of the wrong shape or dtype (one error for all), for an unknown
        `dtype`, and for a `task` that the checkpoint has no head for.
    """

    path: str | None = None

    def __init__(
        self,
        config: SqueezeBertConfig,
        weights: Mapping[str, NDArray[Any]],
        *,
        dtype: str | Mapping[str, str] = "float32",
        task: str | None = None,
    ) -> None:
        tensors.check_arguments(config, weights, dtype)
        task = heads.choose_task(task, config, weights)
        shapes = heads.HEADS[task].shapes(config, weights)
        self._build(config, ArrayWeights(config, weights, shapes, dtype), dtype, task)

    def _build(self, config: SqueezeBertConfig, w: Weights, dtype: str | Mapping[str, str], task: str) -> None:
        self.config, self.dtype, self.task = config, dtype, task
        self.words = w["embeddings.word_embeddings.weight"]  # [vocab_size, C]
        self.positions = w["embeddings.position_embeddings.weight"]  # [max_position_embeddings, C]
        self.types = w["embeddings.token_type_embeddings.weight"]  # [type_vocab_size, C]
        self.embedding_norm = w["embeddings.LayerNorm.weight"], w["embeddings.LayerNorm.bias"]
        self.layers = [make_layer(config, w, f"encoder.layers.{i}") for i in range(config.num_hidden_layers)]
        self.head = heads.HEADS[task](config, w)
        self._workspaces = Workspaces(config.hidden_size, config.intermediate_size, config.output_groups)

    @classmethod
    def from_pretrained(
        cls, path: str | os.PathLike[str], *, dtype: str | Mapping[str, str] | None = None, task: str | None = None
    ) -> SqueezeBert:
        """Load a folder as Hugging Face writes it, or a file that ``squeezeops convert`` has written.

        A folder's file is mapped into memory, bfloat16 widened to float32, and the weights of the convolutions are
        packed. Those of a converted file are used where they lie: it loads at once, and processes share its memory.
        Replace a file that may be in use by renaming another one over it.

        Errors are those of the class and of `squeezeops.squeezebert.checkpoint.load_folder`.

        Parameters
        ----------
        path : str or path
            The folder; or a model's name in the local Hugging Face cache; or a converted file, or the folder of one.
        dtype : str, optional
            As of the class; by default "float32", or that of a converted file, for which any other is an error.
        task : str, optional
            As of the class; by default the one that the checkpoint was saved, or the file converted, for.
        """
        if dtype is not None:
            tensors.check_dtype(dtype)
        ops.get_backend()  # a backend that cannot be had is not the folder's fault
        folder = find_folder(path)
        file = converted.find_file(folder)
        if file is not None:
            return cls._from_converted(file, dtype, task)
        config, weights = load_folder(folder)
        try:
            model = cls(config, weights, dtype=dtype or "float32", task=task)
        except ValueError as error:
            raise ValueError(f"{folder}: {error}") from None
        model.path = folder
        return model

    @classmethod
    def _from_converted(cls, file: str, dtype: str | Mapping[str, str] | None, task: str | None) -> SqueezeBert:
        opened = converted.ConvertedFile(file)
        opened.check_dtype(dtype)
        try:
            task = heads.choose_task(task or opened.task, opened.config, opened.names)
        except ValueError as error:
            raise ValueError(f"{file}: {error}") from None
        weights = converted.MappedWeights(opened, heads.HEADS[task].shapes(opened.config, opened.names))
        model = cls.__new__(cls)
        model._build(opened.config, weights, opened.dtype, task)
        weights.check_all_known()
        model.path = file
        return model

    def encoder(self) -> SqueezeBert:
        """Return this model without its head and pooler, for its hidden states; it has the same weights, not copies."""
        model = copy.copy(self)
        model.task, model.head = "base", heads.BaseHead(self.config, None)
        return model

    def __call__(
        self,
        input_ids: ArrayLike,
        attention_mask: ArrayLike | None = None,
        token_type_ids: ArrayLike | None = None,
        *,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
        logits_mask: ArrayLike | None = None,
    ) -> SqueezeBertOutput:
        """Run the model.

        Parameters
        ----------
        input_ids : array_like of int, (B, L), for the task "multiple-choice" (batch, choices, L)
        attention_mask : array_like of int or bool, of the same shape, optional
            1 for a token to attend to, 0 for one to leave out; all 1 by default. A row of zeros attends to all tokens
            alike, as in transformers' eager attention.
        token_type_ids : array_like of int, of the same shape, optional
            All 0 by default.
        output_hidden_states, output_attentions : bool
        logits_mask : array_like of bool, (B, L), optional
            For "masked-lm" and "token-classification": the tokens to compute `logits` of, with the bits that they have
            among all. Those after the last attended one of a row have none.

        Returns
        -------
        SqueezeBertOutput of float32 arrays

        Raises
        ------
        TypeError
            If an argument does not hold integers, or `logits_mask` no bools.
        ValueError
            For a shape other than these or without elements, an L above ``config.max_position_embeddings``, a value out
            of range (the message names it and its position), or a `logits_mask` for another task.
        """
        if logits_mask is not None and not self.head.has_token_logits:
            raise ValueError(f"SqueezeBert: logits_mask: expected None for the task {self.task!r}, got a mask")
        batch = make_batch(self.config, self.head.axes, input_ids, attention_mask, token_type_ids, logits_mask)
        output = make_output(self.head, self.config, batch, output_hidden_states, output_attentions)
        workspace = self._workspaces.take()
        try:
            for part in batch.parts():
                run(self, part, workspace.rows(len(part.ids)), output)
        finally:
            self._workspaces.give(workspace)
        return output
