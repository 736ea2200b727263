"""Vectors for whole texts, to compare and search them by: ``pipeline("feature-extraction")``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from squeezeops import ops
from squeezeops.pipelines.base import Pipeline, Row, TruncationOptions

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

__all__ = ["FeatureExtractionPipeline"]

POOLINGS = ("mean", "cls")


@dataclass(frozen=True)
class FeatureExtractionOptions(TruncationOptions):
    task: ClassVar[str] = "feature-extraction"
    pooling: str = "mean"
    normalize: bool = True

    def check(self) -> None:
        super().check()
        self.check_choice("pooling", POOLINGS)
        self.check_flag("normalize")


class FeatureExtractionPipeline(Pipeline):
    """One vector for each text.

    An input is a str. The result is one float32 array: (n, C) for a list or tuple of n texts, (1, C) for a single str,
    where C is the model's ``hidden_size``. A stream yields arrays (C,).

    The vector of a text is the mean of the last hidden states of its tokens, [CLS] and [SEP] included, divided by its
    2-norm, so the dot product of two vectors is the cosine of their angle. sentence-transformers computes the same for
    models whose modules are Transformer, mean Pooling and Normalize. It cuts long texts to the ``max_seq_length`` in
    the model's ``sentence_bert_config.json``; pass that as `max_length` with ``truncation=True``. The pipeline of the
    same name in transformers does not pool. Its hidden states are the ``last_hidden_state`` of `SqueezeBert` here.

    The model may have any task but "multiple-choice". Its head is not used.

    Parameters
    ----------
    model : SqueezeBert
    tokenizer : Tokenizer
    batch_size : int
        Texts per forward pass (32). Affects speed, not results.
    pooling : {"mean", "cls"}
        "mean" (the default), or the last hidden state of the first token, [CLS].
    normalize : bool
        Whether to divide by the norm (True).
    truncation : bool or {"longest_first", "only_first", "only_second", "do_not_truncate"}
        Whether a text that is too long for the model is cut at its end; otherwise (False, the default, or
        "do_not_truncate") it is an error.
    max_length : int or None
        With truncation, the length to cut to, [CLS] and [SEP] included. None: the maximum of tokenizer and model.
    """

    task = "feature-extraction"
    model_tasks = ("base", "masked-lm", "text-classification", "token-classification", "question-answering")
    options_type = FeatureExtractionOptions

    def __call__(self, inputs: Any, **options: Any) -> Any:
        result = super().__call__(inputs, **options)
        if not isinstance(inputs, str | list | tuple):
            return result
        return np.array(result, np.float32).reshape(-1, self.model.config.hidden_size)  # (0, C) for an empty list

    __call__.__doc__ = Pipeline.__call__.__doc__

    def _forward(
        self, rows: list[Row], ids: Any, mask: Any, types: Any, options: FeatureExtractionOptions
    ) -> Iterator[Floats]:
        x = self.model.encoder()(ids, mask, types).last_hidden_state  # [B, L, C]
        assert x is not None
        x = ops.mean_pool(x, mask=mask) if options.pooling == "mean" else x[:, 0].copy()  # [B, L, C] -> [B, C]
        if options.normalize:
            x = ops.l2_normalize(x)  # [B, C]
        yield from x

    def _decode(self, item: str, rows: list[Row], outputs: list[Floats], options: FeatureExtractionOptions) -> Floats:
        vector: Floats = outputs[0].copy()  # a view would keep the whole batch alive
        return vector
