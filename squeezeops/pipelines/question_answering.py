"""Answers to questions, as parts of a text: ``pipeline("question-answering")``."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, overload

import numpy as np

from squeezeops import ops
from squeezeops.pipelines.base import Options, Pipeline, Row, TextError, by_score

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from squeezeops.pipelines import types

__all__ = ["QuestionAnsweringPipeline"]

KEYS = ("question", "context")


@dataclass(frozen=True)
class QuestionAnsweringOptions(Options):
    task: ClassVar[str] = "question-answering"
    top_k: int = 1
    doc_stride: int | None = None
    max_answer_len: int = 15
    max_seq_len: int | None = None
    max_question_len: int = 64
    handle_impossible_answer: bool = False
    align_to_words: bool = True

    def check(self) -> None:
        super().check()
        for name in ("top_k", "max_answer_len", "max_question_len"):
            self.check_count(name)
        if self.max_seq_len is not None:
            self.check_count("max_seq_len", "None or ")
        if self.doc_stride is not None:
            self.check_count("doc_stride", "None or ", least=0)
        self.check_flag("handle_impossible_answer")
        self.check_flag("align_to_words")


@dataclass(frozen=True)
class Window(Row):
    """A row with a question and a part of its context.

    Attributes
    ----------
    words : list of int or None
        The number of each token's word; None for special tokens.
    context : range
        The tokens of the context.
    has_null : bool
        Whether token 0 is [CLS], to which models point if they find no answer.
    """

    words: list[int | None]
    context: range
    has_null: bool


class QuestionAnsweringPipeline(Pipeline):
    """Answers to questions, as parts of a context.

    An input is a dict with ``"question"`` and ``"context"``, both str. Its result is
    ``{"score": float, "start": int, "end": int, "answer": str}`` with ``answer == context[start:end]``. With `top_k`
    above 1 it is a list of such dicts, best first, which is shorter if the context has fewer different answers (in
    transformers, a single one comes without a list). As there, a list of one input gives the result itself.

    A long context is read in overlapping windows. The score of a span of tokens is the probability that the answer
    begins at its first token times the probability that it ends at its last; both are softmaxes over the window's
    context and [CLS]. Spans whose texts differ only in case are one answer, at the first place and with the sum of the
    scores, which may exceed 1. Of equal scores, the earlier span comes first.

    Parameters
    ----------
    model : SqueezeBert
    tokenizer : Tokenizer
    batch_size : int
        Windows per forward pass (32). Affects speed, not results.
    top_k : int
        The number of answers to return (1).
    doc_stride : int or None
        The number of context tokens that neighbouring windows share. None: 128, but at most half of `max_seq_len`, and
        half of the room beside a long question.
    max_answer_len : int
        The largest number of tokens of an answer (15), before alignment to words.
    max_seq_len : int or None
        The tokens of a window: question, context, [CLS] and [SEP]s. None: 384 or the maximum of the tokenizer. At most
        the maximum of the model.
    max_question_len : int
        The number of tokens to cut a question to (64). (In transformers, only slow tokenizers do so.)
    handle_impossible_answer : bool
        Whether "" may be an answer (False): at 0, 0, with the lowest score of [CLS] in any window.
    align_to_words : bool
        Whether to widen an answer to whole words (True).
    """

    task = "question-answering"
    model_tasks = ("question-answering",)
    options_type = QuestionAnsweringOptions
    input_types = "a dict with 'question' and 'context' or an iterable of them"

    @overload  # type: ignore[override]
    def __call__(self, inputs: Mapping[str, str], **options: Unpack[types.AnswerOptions]) -> types.Answer: ...
    @overload
    def __call__(self, *, question: str, context: str, **options: Unpack[types.AnswerOptions]) -> types.Answer: ...
    @overload
    def __call__(
        self, inputs: Mapping[str, str], *, top_k: int, **options: Unpack[types.AnswerOptions]
    ) -> list[types.Answer]: ...
    @overload
    def __call__(
        self, *, question: str, context: str, top_k: int, **options: Unpack[types.AnswerOptions]
    ) -> list[types.Answer]: ...
    @overload
    def __call__(
        self, inputs: Iterable[Mapping[str, str]], **options: Unpack[types.QuestionAnsweringOptions]
    ) -> Any: ...
    @overload
    def __call__(
        self,
        *,
        question: list[str] | tuple[str, ...],
        context: str | list[str] | tuple[str, ...],
        **options: Unpack[types.QuestionAnsweringOptions],
    ) -> Any: ...
    def __call__(self, inputs: Any = None, *, question: Any = None, context: Any = None, **options: Any) -> Any:
        """Answer a question, a list of them, or a stream.

        Parameters
        ----------
        inputs : dict, list or tuple of dict, or any other iterable of them
            Dicts with ``"question"`` and ``"context"``.
        question, context : str or list of str
            Instead of `inputs`: a question and its context, or a list of questions with one context or a list of them.
        **options
            Options of the class, for this call.

        Returns
        -------
        result, list of results, or iterator
            The result of a single input, or of a list of one; for another list or tuple a list, in input order; for any
            other iterable a lazy iterator (see `stream`).

        Raises
        ------
        TextError
            (a ValueError) For a blank question or context, or a question that leaves no room for context. It has the
            input's index.
        TypeError
            For an input of another type, or an unknown option.
        ValueError
            For lists of questions and contexts of different lengths.
        """
        if question is not None or context is not None:
            if inputs is not None:
                raise self._error(TypeError, "inputs", "None along with question and context", type(inputs).__name__)
            inputs = self._pair_up(question, context)
        if isinstance(inputs, list | tuple) and len(inputs) == 1:
            return next(self.stream(inputs, **options))
        return super().__call__(inputs, **options)

    def _pair_up(self, question: Any, context: Any) -> dict[str, str] | list[dict[str, str]]:
        if not isinstance(question, str | list | tuple):
            raise self._error(TypeError, "question", "a str or a list of str", type(question).__name__)
        if not isinstance(context, str if isinstance(question, str) else str | list | tuple):
            expected = "a str" if isinstance(question, str) else "a str or a list of str"
            raise self._error(TypeError, "context", expected, type(context).__name__)
        if isinstance(question, str):
            return {"question": question, "context": context}
        contexts = [context] * len(question) if isinstance(context, str) else context
        if len(contexts) != len(question):
            raise self._error(ValueError, "context", f"{len(question)}, one for each question", len(contexts))
        return [{"question": q, "context": c} for q, c in zip(question, contexts, strict=True)]

    def _longest(self, options: QuestionAnsweringOptions) -> int:
        """Return the largest number of tokens of a window."""
        most = self.model.config.max_position_embeddings
        return min(options.max_seq_len or min(getattr(self.tokenizer, "max_length", None) or most, 384), most)

    def _specials(self) -> int:
        """Return the number of special tokens of a window."""
        return len(self.tokenizer("", "")["input_ids"])

    def _check_options(self, options: QuestionAnsweringOptions) -> None:
        longest, specials = self._longest(options), self._specials()
        if longest <= specials:
            raise self._error(ValueError, "max_seq_len", f"more than the {specials} special tokens", longest)
        if options.doc_stride is not None and options.doc_stride > longest:
            raise self._error(ValueError, "doc_stride", f"at most max_seq_len, {longest}", options.doc_stride)

    def _encode(self, index: int, item: Any, options: QuestionAnsweringOptions) -> list[Row]:
        if not isinstance(item, Mapping):
            kind = type(item).__name__
            raise TypeError(f"{self.task}: text {index}: expected a dict with 'question' and 'context', got {kind}")
        if set(item) != set(KEYS):
            got = sorted(map(str, item))
            raise TextError(self.task, index, f"expected the keys 'question' and 'context', got {got}")
        for key in KEYS:
            self._check_text(index, item[key], key)
        question, context = item["question"], item["context"]

        offsets = self._tokenize(index, question, add_special_tokens=False)["offset_mapping"]
        if len(offsets) > options.max_question_len:
            question = question[: offsets[options.max_question_len][0]]
            offsets = offsets[: options.max_question_len]
        longest = self._longest(options)
        room = longest - self._specials() - len(offsets)
        if room < 1:
            most = longest - self._specials() - 1
            problem = f"question: expected at most {most} tokens, to leave some of {longest} to the context"
            raise TextError(self.task, index, f"{problem}, got {len(offsets)} (of at most max_question_len)")
        stride = options.doc_stride
        if stride is None:
            stride = min(longest // 2, 128)
            stride = stride if stride < room else room // 2
        elif stride >= room and (size := len(self.tokenizer.tokenize(context))) > room:
            problem = f"doc_stride: expected less than {room}, the room for the context's {size} tokens, got {stride}"
            raise TextError(self.task, index, problem, argument="doc_stride")
        windows = self._tokenize(
            index,
            question,
            context,
            truncation="only_second",
            max_length=longest,
            stride=stride,
            return_overflowing_tokens=True,
            return_special_tokens_mask=True,  # so that `windows[i]` need not encode the texts again
        )
        return [self._window(windows[i]) for i in range(len(windows["input_ids"]))]

    def _window(self, row: Any) -> Window:
        ids, sequences = row.ids, row.sequence_ids
        tokens = [k for k, sequence in enumerate(sequences) if sequence == 1]
        context = range(tokens[0], tokens[-1] + 1) if tokens else range(0)
        has_null = sequences[0] is None and ids[0] == self.tokenizer.cls_token_id
        return Window(ids, row.type_ids, row.offsets, row.word_ids, context, has_null)

    def _forward(
        self, rows: list[Any], ids: Any, mask: Any, types: Any, options: QuestionAnsweringOptions
    ) -> Iterable[tuple[list[float], list[float]]]:
        output: Any = self.model(ids, attention_mask=mask, token_type_ids=types)
        allowed = np.zeros_like(mask)  # [B, L]
        for i, row in enumerate(rows):
            allowed[i, row.context.start : row.context.stop] = True
            allowed[i, 0] |= row.has_null
        starts = ops.softmax(output.start_logits, mask=allowed)  # [B, L]
        ends = ops.softmax(output.end_logits, mask=allowed)
        return zip(starts.tolist(), ends.tolist(), strict=True)

    def _decode(self, item: Any, rows: list[Any], outputs: list[Any], options: QuestionAnsweringOptions) -> Any:
        answers: dict[str, dict[str, Any]] = {}
        # Alignment to words merges spans, so more of them are needed.
        count = 2 * options.top_k + 10 if options.align_to_words else options.top_k
        for row, (starts, ends) in zip(rows, outputs, strict=True):
            for score, s, e in best_spans(starts, ends, row.context, options.max_answer_len, count):
                first, last = whole_words(s, e, row) if options.align_to_words else (s, e)
                start, end = row.offsets[first][0], row.offsets[last][1]
                text = item["context"][start:end]
                new = {"score": 0.0, "start": start, "end": end, "answer": text}
                answers.setdefault(text.lower(), new)["score"] += score
        ranked = list(answers.values())
        null = {"score": 0.0, "start": 0, "end": 0, "answer": ""}
        if options.handle_impossible_answer:
            pairs = zip(rows, outputs, strict=True)
            null["score"] = min(starts[0] * ends[0] if row.has_null else 0.0 for row, (starts, ends) in pairs)
        if options.handle_impossible_answer or not ranked:  # a context of blanks and control characters has no tokens
            ranked.append(null)
        ranked.sort(key=lambda answer: by_score(answer["score"]), reverse=True)  # stable
        return ranked[0] if options.top_k == 1 else ranked[: options.top_k]


def best_spans(
    starts: list[float], ends: list[float], context: range, max_answer_len: int, count: int
) -> list[tuple[float, int, int]]:
    """Return the spans of tokens with the highest scores, best first; of equal scores, the earlier first.

    Parameters
    ----------
    starts, ends : list of float
        Probabilities that an answer begins, and that it ends, at a token. As float32 values their products are exact.
    context : range
        The tokens in which spans may lie.
    max_answer_len : int
        The largest number of tokens of a span.
    count : int
        The number of spans to return.

    Returns
    -------
    list of (float, int, int)
        Score, first and last token.
    """
    best: list[tuple[float, int, int]] = []  # a heap of (score, -first, -last), the worst at its top
    likeliest = max(ends[context.start : context.stop], default=0.0)
    for s in sorted(context, key=starts.__getitem__, reverse=True):
        if len(best) == count and starts[s] * likeliest < best[0][0]:
            break  # neither this start nor later ones can enter
        for e in range(s, min(s + max_answer_len, context.stop)):
            span = (starts[s] * ends[e], -s, -e)
            if len(best) < count:
                heapq.heappush(best, span)
            elif span > best[0]:
                heapq.heapreplace(best, span)
    return [(score, -s, -e) for score, s, e in sorted(best, reverse=True)]


def whole_words(first: int, last: int, row: Window) -> tuple[int, int]:
    """Widen a span of tokens to whole words within the window."""
    while first > row.context.start and row.words[first - 1] == row.words[first]:
        first -= 1
    while last + 1 < row.context.stop and row.words[last + 1] == row.words[last]:
        last += 1
    return first, last
