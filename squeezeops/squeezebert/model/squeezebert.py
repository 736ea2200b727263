"""The model: SqueezeBERT (Iandola et al. 2020, https://arxiv.org/abs/2006.11316), BERT or DistilBERT, with a head.

A BERT encoder whose linear layers are grouped convolutions over single tokens, so only attention mixes tokens. BERT and
DistilBERT are the special case with one group each. In comments, T is the number of tokens of the batch without
padding; N that of the tokens that a layer is computed for, which is smaller only in the last; H the number of heads; C
and F are hidden and intermediate size.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from squeezeops import ops
from squeezeops.backends.models import CompiledModel
from squeezeops.squeezebert.files.converted import ConvertedFile, find_file
from squeezeops.squeezebert.files.hub_cache import find_folder
from squeezeops.squeezebert.files.sentence_transformers import EmbeddingSettings, read_embedding
from squeezeops.squeezebert.model import heads
from squeezeops.squeezebert.model.batch import Batch, make_batch, plain_inputs
from squeezeops.squeezebert.model.config import SqueezeBertConfig
from squeezeops.squeezebert.model.layer import make_layer
from squeezeops.squeezebert.model.output import SqueezeBertOutput
from squeezeops.squeezebert.model.storage import attention_of, check_dtype
from squeezeops.squeezebert.model.tensors import groups_by_part
from squeezeops.squeezebert.model.weights import (
    ArrayWeights,
    MappedWeights,
    RecordedWeights,
    config_of,
    describe,
    load_folder,
)
from squeezeops.squeezebert.model.workspace import Activations, Workspaces

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from squeezeops.literals import Arithmetic, ConvDtype, Dtype, ModelTask
    from squeezeops.squeezebert.model.weights import Weights

    Floats = NDArray[np.float32]

__all__ = ["SqueezeBert"]

COMPILED = ("native", "cffi")  # backends that have the forward pass in C, too
RESULTS = {"pooler_output": "pooled", "logits": "logits"}  # names of fields there


class SqueezeBert:
    """A SqueezeBERT, BERT or DistilBERT encoder with the head of a task. Threads may share a model.

    Parameters
    ----------
    config : SqueezeBertConfig
        Its ``model_type`` says which of the three.
    weights : mapping of str to ndarray
        float32 or float16, under Hugging Face's names. Do not modify them: embedding tables may be used in place.
    dtype : {"float32", "float16", "int8"}, or mapping of str to those
        The storage of the encoder's convolutions, see `squeezeops.PointwiseConv`. "float16" takes half the memory and,
        for a float16 checkpoint, gives the results of "float32". "int8" takes a quarter and multiplies bytes.
        LayerNorm and heads always compute in float32: a head is small, and rounding its few numbers shows most.

        In an "int8" model, convolutions with one group (as in a BERT) have a rule of their own, because one channel may
        hold most of a token's norm, and one scale for all channels leaves little of the others: queries, keys,
        intermediates and outputs are "int8_rotated", values "float16". If channels are no multiple of 128 (or above
        8192), intermediates and outputs are "float16" and queries and keys "int8". The word embeddings are "int8";
        other embedding tables, and a masked-LM head's decoder, are "float16" in both. Weights beyond the range of
        float16 stay float32.

        A mapping gives the dtype of each convolution, by names like "encoder.layers.0.attention.query" (parts:
        "attention.query", "attention.key", "attention.value", "post_attention.conv1d", "intermediate.conv1d",
        "output.conv1d"), also "int8_rotated". Convolutions not in it are float32, and tables stay as in the checkpoint.
    attention : {"float32", "int8"}, optional
        The arithmetic of attention. "int8" multiplies bytes, as `squeezeops.attention` does with quantised rows; the
        weights of queries, keys and values are equalised for it, see `model.equalise`. Default: "int8" for the dtype
        "int8", else "float32".
    task : str, optional
        "base" (the encoder alone), "masked-lm", "text-classification", "multiple-choice", "token-classification" or
        "question-answering". Default: the task that the checkpoint was saved for.

    Attributes
    ----------
    config, dtype, attention, task
        As above.
    path : str or None
        The folder or file that the model was loaded from.
    embedding : EmbeddingSettings, Exception or None
        How the folder's files for sentence-transformers turn hidden states into an embedding; the error if they are
        malformed or ask for what is not implemented; None if there are none. Concerns embeddings alone.

    Raises
    ------
    TypeError
        If a weight is not a NumPy array.
    ValueError
        For tensors that are missing, unknown, or of the wrong shape or dtype (one error for all); for an unknown
        `dtype` or `attention`; for a `task` that the checkpoint has no head for.

    Examples
    --------
    >>> import squeezeops
    >>> from squeezeops.pipelines import default_model
    >>> model = squeezeops.SqueezeBert.from_pretrained(default_model())
    >>> model([[1, 2, 3]]).logits.shape
    (1, 2)
    """

    path: str | None = None
    embedding: EmbeddingSettings | Exception | None = None
    _compiled: CompiledModel | None = None  # the same model in C; None: not used

    def __init__(
        self,
        config: SqueezeBertConfig,
        weights: Mapping[str, NDArray[Any]],
        *,
        dtype: Dtype | Mapping[str, ConvDtype] = "float32",
        attention: Arithmetic | None = None,
        task: ModelTask | None = None,
    ) -> None:
        _check_arguments(config, weights, dtype)
        attention = attention_of(dtype, attention)
        task = heads.choose_task(task, config, weights)
        shapes = heads.HEADS[task].shapes(config, weights)
        self._build(config, ArrayWeights(config, weights, shapes, dtype, attention), dtype, attention, task)

    def _build(
        self, config: SqueezeBertConfig, w: Weights, dtype: str | Mapping[str, str], attention: str, task: str
    ) -> None:
        self.config, self.dtype, self.attention, self.task = config, dtype, attention, task
        w = RecordedWeights(w)
        self.words = w["embeddings.word_embeddings.weight"]  # [vocab_size, C]
        self.positions = w["embeddings.position_embeddings.weight"]  # [max_position_embeddings, C]
        if config.model_type == "distilbert":  # has no token types: whatever they are, add zeros
            self.types = np.zeros((config.type_vocab_size, config.hidden_size), np.float32)
        else:
            self.types = w["embeddings.token_type_embeddings.weight"]  # [type_vocab_size, C]
        self.embedding_norm = w["embeddings.LayerNorm.weight"], w["embeddings.LayerNorm.bias"]
        self.layers = [make_layer(config, w, f"encoder.layers.{i}", attention) for i in range(config.num_hidden_layers)]
        self.head = heads.HEADS[task](config, w)
        quantized = config.num_attention_heads if attention == "int8" else 0
        self._compiled = CompiledModel(partial(describe, config, attention, task, w.tensors))
        self._workspaces = Workspaces(config.hidden_size, config.intermediate_size, config.output_groups, quantized)

    @classmethod
    def from_pretrained(
        cls,
        path: str | os.PathLike[str],
        *,
        dtype: Dtype | Mapping[str, ConvDtype] | None = None,
        attention: Arithmetic | None = None,
        task: ModelTask | None = None,
    ) -> SqueezeBert:
        """Load a folder in Hugging Face's layout, or a file that ``squeezeops convert`` has written.

        The files of a folder are mapped into memory, bfloat16 is widened to float32, and the weights of convolutions
        are packed. Those of a converted file are used in place: it loads at once, and processes share its memory.
        Replace a file that may be in use by renaming another one over it.

        Parameters
        ----------
        path : str or path
            The folder; a model's name in the local Hugging Face cache; a converted file, or the folder of one.
        dtype : str, optional
            As for the class. Default: "float32", or that of a converted file, for which any other is an error.
        attention : str, optional
            As for the class. For a converted file its own; any other is an error.
        task : str, optional
            As for the class. Default: the task that the checkpoint was saved, or the file converted, for.

        Raises
        ------
        TypeError, ValueError
            As for the class, and for malformed files.
        FileNotFoundError
            If the folder, its ``config.json`` or its weights are missing.
        """
        if dtype is not None:
            check_dtype(dtype)
        chosen = attention_of(dtype or "float32", attention)
        ops.get_backend()  # a missing backend is not an error of the folder
        folder = find_folder(path)
        file = find_file(folder)
        if file is not None:
            return cls._from_converted(ConvertedFile(file), dtype, attention, task)
        config, weights = load_folder(folder)
        try:
            model = cls(config, weights, dtype=dtype or "float32", attention=chosen, task=task)
        except ValueError as error:
            raise ValueError(f"{folder}: {error}") from None
        model.path = folder
        try:
            model.embedding = read_embedding(folder)
        except (OSError, ValueError) as error:
            model.embedding = error
        return model

    @classmethod
    def _from_converted(
        cls, file: ConvertedFile, dtype: Dtype | Mapping[str, ConvDtype] | None, attention: str | None, task: str | None
    ) -> SqueezeBert:
        config = config_of(file)
        for what, asked, stored in (("dtype", dtype, file.dtype), ("attention", attention, file.attention)):
            if asked not in (None, stored):
                file.fail(what, f"{stored!r}, which the file was converted to, or none", repr(asked))
        try:
            task = heads.choose_task(task or file.task, config, file.names)
        except ValueError as error:
            raise ValueError(f"{file.path}: {error}") from None
        weights = MappedWeights(file, config, heads.HEADS[task].shapes(config, file.names))
        model = cls.__new__(cls)
        model._build(config, weights, file.dtype, file.attention, task)
        weights.check_all_known()
        model.path, model.embedding = file.path, file.embedding
        return model

    def __repr__(self) -> str:
        config = self.config
        sizes = f"{config.model_type}, {config.num_hidden_layers} layers, {config.hidden_size} channels"
        dtype = "mixed" if isinstance(self.dtype, Mapping) else self.dtype
        return f"<SqueezeBert for {self.task!r}: {sizes}, dtype {dtype!r}, from {self.path!r}>"

    def encoder(self) -> SqueezeBert:
        """Return this model without its head and pooler, for its hidden states. The weights are shared, not copied."""
        model = copy.copy(self)
        model.task, model.head = "base", heads.BaseHead(self.config, None)
        return model

    def op_by_op(self) -> SqueezeBert:
        """Return this model with its forward pass in Python on every backend. The weights are shared, not copied.

        The compiled backends run the whole pass in C, with the same results. This one calls each op of
        `squeezeops.ops`, so that calls can be watched or timed.
        """
        model = copy.copy(self)
        model._compiled = None
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
            1 for a token to attend to, 0 for one to leave out. Default: all 1. A row of zeros attends to all tokens
            equally, as in transformers' eager attention.
        token_type_ids : array_like of int, of the same shape, optional
            Default: all 0. A DistilBERT ignores them.
        output_hidden_states, output_attentions : bool
            Whether to return them.
        logits_mask : array_like of bool, (B, L), optional
            For "masked-lm" and "token-classification": the tokens to compute `logits` for. Their bits do not depend on
            it. Tokens after the last attended one of a row have none.

        Returns
        -------
        SqueezeBertOutput of float32 arrays

        Raises
        ------
        TypeError
            If an argument does not hold integers, or `logits_mask` no bools.
        ValueError
            For another shape or an empty one, an L above ``config.max_position_embeddings``, a value out of range (the
            message has it and its position), or a `logits_mask` for another task.
        """
        if logits_mask is not None and not self.head.has_token_logits:
            raise ValueError(f"SqueezeBert: logits_mask: expected None for the task {self.task!r}, got a mask")
        if not (output_hidden_states or output_attentions):
            compiled = self._run_compiled(input_ids, attention_mask, token_type_ids, logits_mask)
            if compiled is not None:
                return compiled
        batch = make_batch(self.config, self.head.axes, input_ids, attention_mask, token_type_ids, logits_mask)
        output = self._empty_output(batch, output_hidden_states, output_attentions)
        workspace = self._workspaces.take()
        try:
            for part in batch.parts():
                self._run(part, workspace.rows(len(part.ids)), output)
        finally:
            self._workspaces.give(workspace)
        return output

    def _run_compiled(self, ids: ArrayLike, *others: ArrayLike | None) -> SqueezeBertOutput | None:
        """Run the model in C, which does what `_run` does; None where that is not possible, or the inputs are wrong."""
        if self._compiled is None or ops.get_backend() not in COMPILED:
            return None
        plain = plain_inputs(self.head.axes, ids, *others)
        if plain is None:
            return None
        output, (count, length), results = SqueezeBertOutput(), plain.size, {}
        fields = self.head.fields(plain)
        if "start_logits" in fields:
            results["logits"] = np.empty((count, length, 2), np.float32)
        else:
            for name, shape in fields.items():
                array = results[RESULTS[name]] = np.empty(shape, np.float32)
                setattr(output, name, array)
        if self.head.rows(plain) is None:
            output.last_hidden_state = results["hidden"] = np.empty(
                (count, length, self.config.hidden_size), np.float32
            )
        if not self._compiled.run(plain.ids, plain.types, plain.mask, plain.logits_mask, results):
            return None
        if "start_logits" in fields:
            logits = results["logits"]
            output.start_logits, output.end_logits = logits[..., 0].copy(), logits[..., 1].copy()
        return output

    def _empty_output(self, batch: Batch, hidden_states: bool, attentions: bool) -> SqueezeBertOutput:
        """Allocate the arrays that a call returns."""
        config, (count, length) = self.config, batch.size
        layers, output = range(config.num_hidden_layers), SqueezeBertOutput()
        for name, shape in self.head.fields(batch).items():
            setattr(output, name, np.empty(shape, np.float32))
        if hidden_states or attentions or self.head.rows(batch) is None:
            last = output.last_hidden_state = np.empty((count, length, config.hidden_size), np.float32)
            if hidden_states:
                output.hidden_states = (*(np.empty_like(last) for _ in layers), last)
        if attentions:
            shape = count, config.num_attention_heads, length, length
            output.attentions = tuple(np.empty(shape, np.float32) for _ in layers)
        return output

    def _run(self, batch: Batch, work: Activations, output: SqueezeBertOutput) -> None:
        """Compute a part of the batch, whole sequences, and write the results to their places in `output`."""
        needed = self.head.rows(batch)
        x = self._embed(batch, work)  # 3 x [T] -> [T, C]
        for i, layer in enumerate(self.layers):
            if output.hidden_states is not None:
                batch.spread(output.hidden_states[i][batch.sequences], x)  # [T, C] -> [B, L, C]
            rows = needed if layer is self.layers[-1] and output.last_hidden_state is None else None
            scores = output.attentions and output.attentions[i]
            x = layer(x, self.config, batch, work, rows, scores)  # [T, C] -> [N, C]
        if output.last_hidden_state is not None:
            batch.spread(output.last_hidden_state[batch.sequences], x)  # [T, C] -> [B, L, C]
            if needed is not None:
                x = ops.embedding(needed.indices, x, out=work.attended[: len(needed.indices)])  # [T, C] -> [N, C]
        self.head(x, batch, work.first(len(x)), output)  # [N, C] -> the fields of the task

    def _embed(self, batch: Batch, work: Activations) -> Floats:
        tables = (batch.ids, self.words, batch.positions, self.positions, batch.types, self.types)
        eps = self.config.layer_norm_eps
        return ops.embedding_layer_norm(*tables, *self.embedding_norm, eps=eps, out=work.x)  # 3 x [T] -> [T, C]


def _check_arguments(config: object, weights: object, dtype: object) -> None:
    """Check the types of the arguments of the constructor."""
    check_dtype(dtype)
    if not isinstance(config, SqueezeBertConfig):
        raise TypeError(f"SqueezeBert: config: expected a SqueezeBertConfig, got {type(config).__name__}")
    if not isinstance(weights, Mapping):
        raise TypeError(f"SqueezeBert: weights: expected a dict of arrays, got {type(weights).__name__}")
    for name in weights:
        if not isinstance(name, str):
            raise TypeError(f"SqueezeBert: weights: expected names as keys, got {name!r}")
    if isinstance(dtype, Mapping):
        known = {
            f"encoder.layers.{i}.{part}" for i in range(config.num_hidden_layers) for part in groups_by_part(config)
        }
        for name in dtype:
            if name not in known:
                raise ValueError(f"SqueezeBert: dtype: expected names of the encoder's convolutions, got {name!r}")
