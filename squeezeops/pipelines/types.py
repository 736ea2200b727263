"""Options and results of the pipelines, for type checkers. Nothing imports this at run time.

The options are those of the dataclasses of the tasks, which check them and have their defaults.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Literal, TypedDict

from squeezeops.literals import Aggregation, Pooling, Truncation


class Options(TypedDict, total=False):
    """Of all pipelines."""

    batch_size: int


class TruncationOptions(Options, total=False):
    """Of pipelines that encode a text as one row."""

    truncation: bool | Truncation
    max_length: int | None


class LabelOptions(TruncationOptions, total=False):
    """Of "text-classification", but for the one that changes the type of results."""

    function_to_apply: Literal["softmax", "sigmoid", "none"] | None


class TextClassificationOptions(LabelOptions, total=False):
    top_k: int | None


class Label(TypedDict):
    """A result of "text-classification"."""

    label: str
    score: float


class HypothesisOptions(TruncationOptions, total=False):
    """Of "zero-shot-classification", but for the one that a call has as an argument."""

    hypothesis_template: str
    multi_label: bool


class ZeroShotClassificationOptions(HypothesisOptions, total=False):
    candidate_labels: str | Sequence[str] | None


class RankedLabels(TypedDict):
    """A result of "zero-shot-classification"."""

    sequence: str
    labels: list[str]
    scores: list[float]


class RerankOptions(TruncationOptions, total=False):
    top_k: int | None
    function_to_apply: Literal["sigmoid", "none"] | None


class Rank(TypedDict):
    """A result of "rerank"."""

    index: int
    score: float


class TokenClassificationOptions(TruncationOptions, total=False):
    aggregation_strategy: Aggregation
    ignore_labels: Sequence[str] | AbstractSet[str]
    stride: int | None


class Entity(TypedDict, total=False):
    """A result of "token-classification": with "entity" and "index", or with "entity_group"."""

    entity: str
    entity_group: str
    score: float
    index: int
    word: str
    start: int
    end: int


class AnswerOptions(Options, total=False):
    """Of "question-answering", but for the one that changes the type of results."""

    doc_stride: int | None
    max_answer_len: int
    max_seq_len: int | None
    max_question_len: int
    handle_impossible_answer: bool
    align_to_words: bool


class QuestionAnsweringOptions(AnswerOptions, total=False):
    top_k: int


class Answer(TypedDict):
    """A result of "question-answering"."""

    score: float
    start: int
    end: int
    answer: str


class FillMaskOptions(TruncationOptions, total=False):
    top_k: int
    targets: str | Sequence[str] | None


class Filled(TypedDict):
    """A result of "fill-mask"."""

    score: float
    token: int
    token_str: str
    sequence: str


class FeatureExtractionOptions(TruncationOptions, total=False):
    pooling: Pooling | Sequence[Pooling]
    normalize: bool
    prompt: str | None
    prompt_name: str | None
    include_prompt: bool
