"""Labels that need no training, by a model of entailment: ``pipeline("zero-shot-classification")``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from string import Formatter
from typing import TYPE_CHECKING, Any, ClassVar, overload

import numpy as np

from squeezeops import ops
from squeezeops.pipelines.base import Pipeline, Row, TextError, TruncationOptions, by_score
from squeezeops.squeezebert.model.squeezebert import SqueezeBert

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from squeezeops.pipelines import types

__all__ = ["ZeroShotClassificationPipeline"]


@dataclass(frozen=True)
class ZeroShotClassificationOptions(TruncationOptions):
    task: ClassVar[str] = "zero-shot-classification"
    candidate_labels: str | Sequence[str] | None = None
    hypothesis_template: str = "This example is {}."
    multi_label: bool = False
    truncation: bool | str = "only_first"

    def check(self) -> None:
        super().check()
        self.check_flag("multi_label")
        labels = self.candidate_labels
        if labels is not None:
            if isinstance(labels, str):
                labels = [label.strip() for label in labels.split(",") if label.strip()]
            if not isinstance(labels, list | tuple) or not all(isinstance(label, str) for label in labels):
                expected = "a list of str, or a str with commas between the labels"
                raise self.error(TypeError, "candidate_labels", expected, f"{labels!r:.60}")
            if not labels or not all(label.strip() for label in labels):
                got = "a blank one" if labels else "none"
                raise self.error(ValueError, "candidate_labels", "at least one label, and none blank", got)
            self.set("candidate_labels", tuple(labels))
        template = self.hypothesis_template
        if not isinstance(template, str):
            raise self.error(TypeError, "hypothesis_template", "a str", type(template).__name__)
        try:
            found = [part[1:] for part in Formatter().parse(template) if part[1] is not None]
        except ValueError:
            found = []
        # A format or a conversion might cut or change the label, or take any amount of memory.
        if found != [("", "", None)] and set(found) != {("0", "", None)}:
            raise self.error(ValueError, "hypothesis_template", "a text with {} for the label", f"{template!r:.60}")


class ZeroShotClassificationPipeline(Pipeline):
    """Labels of the caller's choice, ranked for each text by a model of natural language inference.

    An input is a str. Its result is ``{"sequence": str, "labels": list of str, "scores": list of float}``: the input,
    and all labels with their scores, best first. Of equal scores, the later label comes first, as in transformers.

    For each label the model reads a pair: the text and the hypothesis that the label makes of the template. A score is
    the softmax of the logits of entailment over the labels. With `multi_label`, or a single label, it is the softmax
    of entailment against contradiction, for each label alone. As in transformers, entailment is the first label of
    ``config.label2id`` that begins with "entail" in any case; contradiction is class 0, or the last class if 0 is
    entailment.

    Parameters
    ----------
    model : SqueezeBert
    tokenizer : Tokenizer
    batch_size : int
        Pairs of text and label per forward pass (32). Affects speed, not results.
    candidate_labels : str, or list of str
        The labels; a str has commas between them. Required, here or in a call.
    hypothesis_template : str
        The hypothesis ("This example is {}."); the label takes the place of ``{}``.
    multi_label : bool
        Whether several labels may be true (False).
    truncation : bool or {"longest_first", "only_first", "only_second", "do_not_truncate"}
        Which part of a pair is cut if it is too long for the model: the text ("only_first", the default), the
        hypothesis ("only_second"), or the longer (True or "longest_first"). Without truncation (False or
        "do_not_truncate") such a pair is an error.
    max_length : int or None
        The length to cut to, [CLS] and [SEP] included. None: the maximum of tokenizer and model.

    Examples
    --------
    No model of inference is built in. The sentiment model stands in for one here.

    >>> from dataclasses import replace
    >>> import squeezeops
    >>> folder = squeezeops.pipelines.default_model()
    >>> model = squeezeops.SqueezeBert.from_pretrained(folder)
    >>> model.config = replace(model.config, label2id={"contradiction": 0, "entailment": 1})
    >>> label = squeezeops.pipeline("zero-shot-classification", model, tokenizer=folder)
    >>> result = label("a gorgeous, witty movie", ["awful", "wonderful"])
    >>> result["labels"], [round(score, 1) for score in result["scores"]]
    (['wonderful', 'awful'], [0.8, 0.2])
    """

    task = "zero-shot-classification"
    model_tasks = ("text-classification",)
    options_type = ZeroShotClassificationOptions

    def __init__(self, model: SqueezeBert, tokenizer: Any, **options: Any) -> None:
        super().__init__(model, tokenizer, **options)
        ids, classes = model.config.label2id, model.config.num_labels
        entailment = next((ids[label] for label in ids if label.lower().startswith("entail")), None)
        if entailment is None or classes < 2 or not 0 <= entailment < classes:
            expected = 'a model with two labels or more in label2id, one of which begins with "entail"'
            raise self._error(ValueError, "model", expected, f"{ids!r:.60}")
        self._classes = [-1 if entailment == 0 else 0, entailment]  # contradiction, entailment

    @overload  # type: ignore[override]
    def __call__(  # type: ignore[overload-overlap]
        self,
        inputs: str,
        candidate_labels: str | Sequence[str] | None = None,
        **options: Unpack[types.HypothesisOptions],
    ) -> types.RankedLabels: ...
    @overload
    def __call__(  # type: ignore[overload-overlap]
        self,
        inputs: list[str] | tuple[str, ...],
        candidate_labels: str | Sequence[str] | None = None,
        **options: Unpack[types.HypothesisOptions],
    ) -> list[types.RankedLabels]: ...
    @overload
    def __call__(
        self,
        inputs: Iterable[str],
        candidate_labels: str | Sequence[str] | None = None,
        **options: Unpack[types.HypothesisOptions],
    ) -> Iterator[types.RankedLabels]: ...
    def __call__(self, inputs: Any, candidate_labels: Any = None, **options: Any) -> Any:
        """Classify one text, a list of them, or a stream.

        Parameters
        ----------
        inputs : str, a list or tuple of str, or any other iterable of them
        candidate_labels : str, or list of str
            See the class.
        **options
            Options of the class, for this call.

        Returns
        -------
        dict, list of dict, or iterator
            The result of a single text; for a list or tuple a list, in input order; for any other iterable a lazy
            iterator (see `stream`).

        Raises
        ------
        TextError
            (a ValueError) For a text that is blank, or a hypothesis that leaves no room for it. It has its index.
        TypeError
            For an input of another type, no labels, or an unknown option.
        ValueError
            For blank labels, or a template without ``{}``.
        """
        if candidate_labels is not None:
            options["candidate_labels"] = candidate_labels
        return super().__call__(inputs, **options)

    def _encode(self, index: int, item: Any, options: ZeroShotClassificationOptions) -> list[Row]:
        if options.candidate_labels is None:
            raise self._error(TypeError, "candidate_labels", "a list of str, or a str with commas", None)
        rows = []
        for label in options.candidate_labels:
            hypothesis = options.hypothesis_template.format(label)
            try:
                rows.append(self._encode_text(index, item, hypothesis, options))
            except TextError as error:
                if error.argument != "truncation":
                    raise
                # The tokenizer cannot cut enough of the one that `truncation` names.
                whole, cut, got = "hypothesis", "text", hypothesis
                if options.truncation == "only_second":
                    whole, cut, got = cut, whole, item
                problem = f"expected a {whole} that leaves room for the {cut} in {self._longest_row(options)} tokens"
                raise TextError(self.task, index, f"{problem}, got {got!r:.60}") from None
        return rows

    def _forward(
        self, rows: list[Row], ids: Any, mask: Any, types: Any, options: ZeroShotClassificationOptions
    ) -> Iterable[Any]:
        logits: Any = self.model(ids, attention_mask=mask, token_type_ids=types).logits  # [B, num_labels]
        return list(logits[:, self._classes])  # [B, 2]

    def _decode(
        self, item: str, rows: list[Row], outputs: list[Any], options: ZeroShotClassificationOptions
    ) -> dict[str, Any]:
        labels = options.candidate_labels or ()
        logits = np.array(outputs, np.float32)  # [labels, 2]
        if options.multi_label or len(labels) == 1:
            scores = ops.softmax(logits)[:, 1].tolist()
        else:
            scores = ops.softmax(logits[:, 1].copy()).tolist()
        ranked = sorted(zip(labels, scores, strict=True), key=lambda pair: by_score(pair[1]))[::-1]
        return {"sequence": item, "labels": [label for label, _ in ranked], "scores": [score for _, score in ranked]}
