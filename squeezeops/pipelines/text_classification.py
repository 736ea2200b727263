"""A label for a whole text: ``pipeline("text-classification")``."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, overload

import numpy as np

from squeezeops import ops
from squeezeops.pipelines.base import Pipeline, Row, TextError, TruncationOptions, by_score

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from squeezeops.pipelines import types

__all__ = ["TextClassificationPipeline", "sigmoid"]

FUNCTIONS = ("softmax", "sigmoid", "none")


class _TopK(enum.Enum):
    """The default of top_k. Unlike 1, it gives a dict and not a list of one dict.

    A member of an enumeration remains the same object when it is unpickled.
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

    An input is a str or, for models of pairs, a dict with ``"text"`` and ``"text_pair"``. In a list or stream, a tuple
    of two str is a pair, too, and so is ``[[text, text_pair]]``, as in transformers. The result is
    ``{"label": str, "score": float}`` or, with `top_k`, a list of such dicts, best first. As in transformers, a single
    str gives a list of one dict unless the call has `top_k`.

    Parameters
    ----------
    model : SqueezeBert
    tokenizer : Tokenizer
    batch_size : int
        Texts per forward pass (32). Affects speed, not results.
    top_k : int or None
        Return the best `top_k` labels of a text as a list; None returns all. By default, the result is the best label.
    function_to_apply : {None, "softmax", "sigmoid", "none"}
        The function from logits to scores. None: by the model's configuration, "none" for a regression, "sigmoid" for a
        single label or a multi-label model, "softmax" otherwise.
    truncation : bool or {"longest_first", "only_first", "only_second", "do_not_truncate"}
        Whether a text that is too long for the model is cut at its end; otherwise (False, the default, or
        "do_not_truncate") it is an error. The names say which text of a pair is cut; True is "longest_first".
    max_length : int or None
        With truncation, the length to cut to, [CLS] and [SEP] included. None: the maximum of tokenizer and model.

    Examples
    --------
    >>> import squeezeops
    >>> classify = squeezeops.pipeline("text-classification")
    >>> [entry["label"] for entry in classify(["a dull movie", ("a gorgeous movie", "I loved every minute")])]
    ['NEGATIVE', 'POSITIVE']
    """

    task = "text-classification"
    model_tasks = ("text-classification",)
    options_type = TextClassificationOptions
    input_types = "a str, a dict with 'text' and 'text_pair', or an iterable of either"

    @overload  # type: ignore[override]
    def __call__(self, inputs: str, **options: Unpack[types.TextClassificationOptions]) -> list[types.Label]: ...
    @overload
    def __call__(self, inputs: Mapping[str, str], **options: Unpack[types.LabelOptions]) -> types.Label: ...
    @overload
    def __call__(
        self, inputs: Mapping[str, str], *, top_k: int | None, **options: Unpack[types.LabelOptions]
    ) -> list[types.Label]: ...
    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, inputs: list[Any] | tuple[Any, ...], **options: Unpack[types.LabelOptions]
    ) -> list[types.Label]: ...
    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, inputs: list[Any] | tuple[Any, ...], *, top_k: int | None, **options: Unpack[types.LabelOptions]
    ) -> list[list[types.Label]]: ...
    @overload
    def __call__(
        self, inputs: Iterable[Any], **options: Unpack[types.TextClassificationOptions]
    ) -> Iterator[types.Label]: ...
    def __call__(self, inputs: Any, **options: Any) -> Any:
        result = super().__call__(inputs, **options)
        # transformers returns a list for a single str, but not for a single dict or with top_k.
        return [result] if isinstance(inputs, str) and "top_k" not in options else result

    __call__.__doc__ = Pipeline.__call__.__doc__

    def _encode(self, index: int, item: Any, options: TextClassificationOptions) -> list[Row]:
        pair = None
        if isinstance(item, Mapping):
            if not {"text"} <= set(item) <= {"text", "text_pair"}:
                got = sorted(map(str, item))
                raise TextError(self.task, index, f"expected the keys 'text' and 'text_pair', got {got}")
            item, pair = item["text"], item.get("text_pair")
        elif isinstance(item, list) and len(item) == 1 and isinstance(item[0], list | tuple) and len(item[0]) == 2:
            item, pair = item[0]
        elif isinstance(item, tuple) and len(item) == 2:
            item, pair = item
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
        return sigmoid(logits)

    def _decode(self, item: Any, rows: list[Row], outputs: list[Any], options: TextClassificationOptions) -> Any:
        labels = self.model.config.id2label
        ranked = [{"label": labels[index], "score": score} for index, score in enumerate(outputs[0])]
        ranked.sort(key=lambda entry: by_score(entry["score"]), reverse=True)  # stable: of equals the first label
        return ranked[0] if options.top_k is BEST else ranked[: options.top_k]


def sigmoid(x: Any) -> Any:
    """Return the second entries of softmax([0, x])."""
    pairs = np.zeros((*x.shape, 2), dtype=np.float32)
    pairs[..., 1] = x
    return ops.softmax(pairs)[..., 1]
