"""A label for a whole text: ``pipeline("text-classification")``."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from squeezeops import ops
from squeezeops.pipelines.base import Pipeline, Row, TextError, TruncationOptions

__all__ = ["TextClassificationPipeline"]

FUNCTIONS = ("softmax", "sigmoid", "none")


class _TopK(enum.Enum):
    """The default of top_k. It differs from 1 in form only: a bare dict for a text instead of a list of one dict.

    The member of an enumeration is the same object after pickling, too.
    """

    BEST = "best"


BEST: Any = _TopK.BEST


@dataclass(frozen=True)
class TextClassificationOptions(TruncationOptions):
    task: ClassVar[str] = "text-classification"
    top_k: int | None = BEST
    function_to_apply: str | None = None

    def check(self) -> None:
        super().check()
        if self.top_k is not None and self.top_k is not BEST:
            self.check_count("top_k", "None or ")
        function = self.function_to_apply
        if function is not None:
            name = function.lower() if isinstance(function, str) else None
            if name not in FUNCTIONS:
                raise self.error(ValueError, "function_to_apply", f"None or one of {FUNCTIONS}", function)
            self.set("function_to_apply", name)


class TextClassificationPipeline(Pipeline):
    """Labels of whole texts.

    An input is a str, or a dict with ``"text"`` and ``"text_pair"`` for models that judge a pair. Its result is
    ``{"label": str, "score": float}``; where `top_k` was given it is the list of such dicts, best first. As in
    transformers a lone str gives a list of one such dict, unless `top_k` is given for this call.

    Parameters
    ----------
    model : SqueezeBert
    tokenizer : Tokenizer
    batch_size : int
        How many texts go through the model at once (32). It changes the speed, never a result.
    top_k : int or None
        Return the `top_k` best labels of a text as a list, None returns all of them. Left out, the result of a text is
        the best label alone.
    function_to_apply : {None, "softmax", "sigmoid", "none"}
        How logits become scores. None decides by the model's configuration: "none" for a regression, "sigmoid" for a
        single label or a multi-label model, "softmax" otherwise.
    truncation : bool or {"longest_first", "only_first", "only_second", "do_not_truncate"}
        Whether a text longer than the model is cut at its end or is an error (False, the default, and
        "do_not_truncate"). The names say which text of a pair is cut; True is "longest_first".
    max_length : int or None
        With truncation, cut to so many tokens, [CLS] and [SEP] included, instead of the maximum of tokenizer and model.
    """

    task = "text-classification"
    model_tasks = ("text-classification",)
    options_type = TextClassificationOptions
    input_types = "a str, a dict with 'text' and 'text_pair', or an iterable of either"

    def __call__(self, inputs: Any, **options: Any) -> Any:
        result = super().__call__(inputs, **options)
        # transformers wraps a lone str in a list, but a lone dict or a call with top_k it does not.
        return [result] if isinstance(inputs, str) and "top_k" not in options else result

    __call__.__doc__ = Pipeline.__call__.__doc__

    def _encode(self, index: int, item: Any, options: TextClassificationOptions) -> list[Row]:
        pair = None
        if isinstance(item, Mapping):
            if not {"text"} <= set(item) <= {"text", "text_pair"}:
                got = sorted(map(str, item))
                raise TextError(self.task, index, f"expected the keys 'text' and 'text_pair', got {got}")
            item, pair = item["text"], item.get("text_pair")
        return [self._encode_text(index, item, pair, options)]

    def _forward(
        self, rows: list[Row], ids: Any, mask: Any, types: Any, options: TextClassificationOptions
    ) -> Iterable[list[float]]:
        logits = self.model(ids, attention_mask=mask, token_type_ids=types).logits  # [B, num_labels]
        scores: list[list[float]] = self._scores(logits, options.function_to_apply).tolist()
        return scores

    def _scores(self, logits: Any, function: str | None) -> Any:
        """Turn logits (texts, labels) into scores of the same shape."""
        config = self.model.config
        if function is None:
            if config.problem_type == "regression":
                function = "none"
            elif config.problem_type == "multi_label_classification" or config.num_labels == 1:
                function = "sigmoid"
            else:
                function = "softmax"
        if function == "none":
            return logits
        if function == "softmax":
            return ops.softmax(logits)
        # sigmoid(x) is the second entry of softmax([0, x]): one exp kernel for both.
        pairs = np.zeros((*logits.shape, 2), dtype=np.float32)
        pairs[..., 1] = logits
        return ops.softmax(pairs)[..., 1]

    def _decode(self, item: Any, rows: list[Row], outputs: list[Any], options: TextClassificationOptions) -> Any:
        labels = self.model.config.id2label
        ranked = [{"label": labels[index], "score": score} for index, score in enumerate(outputs[0])]
        # The sort is stable: of equal scores the first label leads. NaN comes first, as in an argmax, and is seen.
        ranked.sort(key=lambda entry: (entry["score"] != entry["score"], entry["score"]), reverse=True)
        return ranked[0] if options.top_k is BEST else ranked[: options.top_k]
