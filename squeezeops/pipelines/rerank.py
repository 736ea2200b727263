"""Documents in the order of their relevance to a query, by a cross-encoder: ``pipeline("rerank")``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from squeezeops.pipelines.base import Pipeline, Row, TruncationOptions, by_score
from squeezeops.pipelines.text_classification import sigmoid
from squeezeops.squeezebert.model.squeezebert import SqueezeBert
from squeezeops.squeezebert.tokenizer.tokenizer import Tokenizer

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from squeezeops.pipelines import types

__all__ = ["RerankPipeline"]

FUNCTIONS = ("sigmoid", "none")
CLASSES = {"torch.nn.modules.activation.Sigmoid": "sigmoid", "torch.nn.modules.linear.Identity": "none"}


@dataclass(frozen=True)
class RerankOptions(TruncationOptions):
    task: ClassVar[str] = "rerank"
    top_k: int | None = None
    function_to_apply: str | None = None
    truncation: bool | str = True

    def check(self) -> None:
        super().check()
        if self.top_k is not None:
            self.check_count("top_k", "None or ")
        if self.function_to_apply is not None:
            self.check_choice("function_to_apply", FUNCTIONS)


class RerankPipeline(Pipeline):
    """The documents that answer a query best, by a cross-encoder.

    Called with a query and a list of documents, it returns a list of ``{"index": int, "score": float}``, best first:
    the position of a document in the list, and its score. Of equal scores, the earlier document comes first. These are
    the results of ``CrossEncoder.rank`` of sentence-transformers, where "index" is "corpus_id". `stream` takes an
    iterable of pairs (query, document) and yields their scores, in input order.

    The model has one label: its logit for a query and a document is their score, by default after a sigmoid.

    Parameters
    ----------
    model : SqueezeBert
    tokenizer : Tokenizer
    batch_size : int
        Documents per forward pass (32). Affects speed, not results.
    top_k : int or None
        The number of documents to return. None: all.
    function_to_apply : {"sigmoid", "none"} or None
        What makes a score of a logit. None: what sentence-transformers has noted in the model's folder, or "sigmoid".
    truncation : bool or {"longest_first", "only_first", "only_second", "do_not_truncate"}
        Which part of a pair is cut if it is too long for the model: the longer ("longest_first" or True, the default),
        the query ("only_first") or the document ("only_second"). Without truncation (False or "do_not_truncate") such
        a pair is an error.
    max_length : int or None
        The length to cut to, [CLS] and [SEP] included. None: that of sentence-transformers in the model's folder, else
        the maximum of tokenizer and model.
    """

    task = "rerank"
    model_tasks = ("text-classification",)
    options_type = RerankOptions
    input_types = "an iterable of pairs (query, document)"

    def __init__(self, model: SqueezeBert, tokenizer: Any, **options: Any) -> None:
        noted = model.config.cross_encoder
        self._length, lower = noted.get("max_seq_length"), noted.get("do_lower_case")
        if lower and isinstance(tokenizer, Tokenizer):
            tokenizer = tokenizer.lowercased()
        super().__init__(model, tokenizer, **options)
        if model.config.num_labels != 1:
            raise self._error(ValueError, "model", "a model with one label", f"{list(model.config.label2id)!r:.60}")
        function, prompt = noted.get("activation_fn"), noted.get("default_prompt_name")
        self._function = "sigmoid" if function is None else CLASSES.get(str(function), "")
        if not self._function:
            raise self._error(ValueError, "model", f"an activation_fn of {tuple(CLASSES)}", f"{function!r:.80}")
        if prompt is not None:
            raise self._error(ValueError, "model", "no default_prompt_name", f"{prompt!r:.80}")
        if self._length is not None and (type(self._length) is not int or self._length < 4):  # [CLS] A [SEP] [SEP]
            raise self._error(ValueError, "model", "a max_seq_length of at least 4", f"{self._length!r:.80}")
        if lower not in (None, False, True):
            raise self._error(ValueError, "model", "do_lower_case true or false", f"{lower!r:.80}")

    def __call__(  # type: ignore[override]
        self, query: str, documents: Sequence[str], **options: Unpack[types.RerankOptions]
    ) -> list[types.Rank]:
        """Rank documents by their relevance to a query.

        Parameters
        ----------
        query : str
        documents : list or tuple of str
        **options
            Options of the class, for this call.

        Returns
        -------
        list of dict
            ``{"index": int, "score": float}``, best first.

        Raises
        ------
        TextError
            (a ValueError) For a blank query or document. It has the index of the document.
        TypeError
            For an argument of another type, or an unknown option.
        """
        if not isinstance(query, str):
            raise self._error(TypeError, "query", "a str", type(query).__name__)
        if not isinstance(documents, list | tuple):
            raise self._error(TypeError, "documents", "a list of str", type(documents).__name__)
        changed: Any = self._options.updated(options)
        scores = list(self.stream([(query, document) for document in documents], **options))
        ranked = sorted(range(len(scores)), key=lambda i: by_score(scores[i]), reverse=True)  # stable
        return [{"index": i, "score": scores[i]} for i in ranked[: changed.top_k]]

    def _encode(self, index: int, item: Any, options: RerankOptions) -> list[Row]:
        if not isinstance(item, list | tuple) or len(item) != 2:
            raise TypeError(f"{self.task}: text {index}: expected a pair (query, document), got {type(item).__name__}")
        query, document = item
        self._check_text(index, query, "query")
        self._check_text(index, document)
        return [self._encode_text(index, query, document, options)]

    def _forward(self, rows: list[Row], ids: Any, mask: Any, types: Any, options: RerankOptions) -> Iterable[float]:
        logits: Any = self.model(ids, attention_mask=mask, token_type_ids=types).logits  # [B, 1]
        applied = options.function_to_apply or self._function
        scores: list[float] = (sigmoid(logits) if applied == "sigmoid" else logits)[:, 0].tolist()
        return scores

    def _decode(self, item: Any, rows: list[Row], outputs: list[float], options: RerankOptions) -> float:
        return outputs[0]
