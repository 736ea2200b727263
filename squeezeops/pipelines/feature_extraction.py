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

    An input is a str. The result is one float32 array: (n, C) for a list or tuple of n texts, where C is the model's
    ``hidden_size``, and (1, C) for a lone str. A stream yields arrays (C,).

    The vector of a text is the mean of the last hidden states of its tokens, [CLS] and [SEP] included, divided by its
    Euclidean norm; so the dot product of two vectors is the cosine of their angle. That is what sentence-transformers
    computes for models whose modules are Transformer, mean Pooling and Normalize. It cuts long texts to the
    ``max_seq_length`` in the model's ``sentence_bert_config.json``, which is given here as `max_length`, with
    ``truncation=True``. The pipeline of the same name in transformers does not pool: it returns the hidden states of
    all tokens, which are ``SqueezeBert.__call__``'s ``last_hidden_state`` here.

    The model may be one for any task but "multiple-choice": its head is not used.

    Parameters
    ----------
    model : SqueezeBert
    tokenizer : Tokenizer
    batch_size : int
        How many texts go through the model at once (32). It changes the speed, never a result.
    pooling : {"mean", "cls"}
        "cls" takes the last hidden state of the first token, [CLS], in place of the mean.
    normalize : bool
        Whether to divide by the norm (True).
    truncation : bool or {"longest_first", "only_first", "only_second", "do_not_truncate"}
        Whether a text longer than the model is cut at its end or is an error (False, the default, and
        "do_not_truncate").
    max_length : int or None
        With truncation, cut to so many tokens, [CLS] and [SEP] included, instead of the maximum of tokenizer and model.
    """

    task = "feature-extraction"
    model_tasks = ("base", "masked-lm", "text-classification", "token-classification", "question-answering")
    options_type = FeatureExtractionOptions

    def __call__(self, inputs: Any, **options: Any) -> Any:
        result = super().__call__(inputs, **options)
        if not isinstance(inputs, str | list | tuple):
            return result
        return np.array(result, np.float32).reshape(-1, self.model.config.hidden_size)  # 2-dimensional if empty, too

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
        vector: Floats = outputs[0].copy()  # or it would keep those of the whole batch alive
        return vector
