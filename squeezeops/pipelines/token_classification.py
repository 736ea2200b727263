"""Labels for the words of a text, such as names of people: ``pipeline("token-classification")``."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar, overload

import numpy as np

from squeezeops import ops
from squeezeops.pipelines.base import COLUMNS, Pipeline, Row, TextError, TruncationOptions, by_score

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from squeezeops.pipelines import types

__all__ = ["TokenClassificationPipeline"]

STRATEGIES = ("none", "simple", "first", "average", "max")
Entity = dict[str, Any]


@dataclass(frozen=True)
class TokenClassificationOptions(TruncationOptions):
    task: ClassVar[str] = "token-classification"
    aggregation_strategy: str = "none"
    ignore_labels: Sequence[str] | AbstractSet[str] = ("O",)
    stride: int | None = None

    def check(self) -> None:
        super().check()
        if isinstance(self.aggregation_strategy, str):
            self.set("aggregation_strategy", self.aggregation_strategy.lower())
        self.check_choice("aggregation_strategy", STRATEGIES)
        labels = self.ignore_labels
        if not isinstance(labels, list | tuple | AbstractSet) or not all(isinstance(label, str) for label in labels):
            raise self.error(TypeError, "ignore_labels", "a list of str", f"{labels!r:.60}")
        self.set("ignore_labels", frozenset(labels))
        if self.stride is not None:
            self.check_count("stride", "None or ", least=0)
            if self.aggregation_strategy == "none":
                raise self.error(ValueError, "stride", "None without an aggregation_strategy", self.stride)

    @property
    def makes_windows(self) -> bool:
        return self.stride is not None


@dataclass(frozen=True)
class Token:
    """A token of a text, with a score per label."""

    word: str
    scores: list[float]
    index: int  # in its row
    start: int  # in the text
    end: int
    continues: bool  # the word of the token before


class TokenClassificationPipeline(Pipeline):
    """Labels of tokens, or of entities.

    An input is a str. Its result is a list in the order of the text. Without aggregation it has a dict per token,
    ``{"entity": str, "score": float, "index": int, "word": str, "start": int, "end": int}``, where `index` is the
    position in the row of tokens and 0 is [CLS]. With aggregation it has a dict per entity,
    ``{"entity_group": str, "score": float, "word": str, "start": int, "end": int}``. ``text[start:end]`` is the
    entity in the original text. "word" is joined from tokens, so it is lower-case if the tokenizer lower-cases.

    Parameters
    ----------
    model : SqueezeBert
    tokenizer : Tokenizer
    batch_size : int
        Rows per forward pass (32). Affects speed, not results.
    aggregation_strategy : {"none", "simple", "first", "average", "max"}
        How tokens become entities. "none" (the default) returns tokens. With all others, neighbours of one label are an
        entity: B-LABEL begins it, I-LABEL and plain LABEL continue it, and its score is the mean of its parts. "simple"
        uses tokens as parts. The others use words, which have one label: that of the first token, that of the highest
        average score, or that of the token with the highest score.
    ignore_labels : list, tuple or set of str
        Labels to omit (``["O"]``); with aggregation, without B- and I-.
    stride : int or None
        The number of tokens that neighbouring windows of a long text share. None: no windows. Of overlapping entities
        from two windows, the longer one is kept, then the one with the higher score. Not with "none".
    truncation : bool or {"longest_first", "only_first", "only_second", "do_not_truncate"}
        Whether a text that is too long for the model is cut at its end; otherwise (False, the default, or
        "do_not_truncate") it is an error. With `stride`, nothing is cut.
    max_length : int or None
        With truncation or `stride`, the length of a row, [CLS] and [SEP] included. None: the maximum of tokenizer and
        model.
    """

    task = "token-classification"
    model_tasks = ("token-classification",)
    options_type = TokenClassificationOptions

    if TYPE_CHECKING:

        @overload  # type: ignore[override]
        def __call__(self, inputs: str, **options: Unpack[types.TokenClassificationOptions]) -> list[types.Entity]: ...  # type: ignore[overload-overlap]
        @overload
        def __call__(  # type: ignore[overload-overlap]
            self, inputs: list[str] | tuple[str, ...], **options: Unpack[types.TokenClassificationOptions]
        ) -> list[list[types.Entity]]: ...
        @overload
        def __call__(
            self, inputs: Iterable[str], **options: Unpack[types.TokenClassificationOptions]
        ) -> Iterator[list[types.Entity]]: ...
        def __call__(self, inputs: Any, **options: Any) -> Any: ...

    def _check_options(self, options: TokenClassificationOptions) -> None:
        if options.stride is not None:
            room = self._longest_row(options) - len(self.tokenizer("")["input_ids"])
            if options.stride >= room:
                expected = f"less than the {room} tokens that a window has room for"
                raise self._error(ValueError, "stride", expected, options.stride)

    def _encode(self, index: int, item: Any, options: TokenClassificationOptions) -> list[Row]:
        if options.stride is None:
            return [self._encode_text(index, item, None, options)]
        self._check_text(index, item)
        windows = self._tokenize(
            index,
            item,
            truncation=True,
            max_length=self._longest_row(options),
            stride=options.stride,
            return_overflowing_tokens=True,
        )
        columns = (windows[name] for name in COLUMNS)
        rows = [Row(*window) for window in zip(*columns, strict=True)]
        if not rows[0].ids:
            raise TextError(self.task, index, f"expected at least one token, got none of {item!r:.40}")
        return rows

    def _forward(
        self, rows: list[Row], ids: Any, mask: Any, types: Any, options: TokenClassificationOptions
    ) -> Iterator[list[list[float]]]:
        """Yield the scores of each row's tokens without the special ones."""
        kept = np.zeros_like(mask)
        for i, row in enumerate(rows):
            kept[i, : len(row.ids)] = [in_text(span) for span in row.offsets]
        output: Any = self.model(ids, attention_mask=mask, token_type_ids=types, logits_mask=kept)
        scores = iter(ops.softmax(output.logits).tolist())  # [N, num_labels]
        for count in np.count_nonzero(kept, axis=1):
            yield list(islice(scores, int(count)))

    def _decode(
        self, item: str, rows: list[Row], outputs: list[list[list[float]]], options: TokenClassificationOptions
    ) -> list[Entity]:
        found = []
        for row, scores in zip(rows, outputs, strict=True):
            entities = self._entities(self._tokens(item, row, scores), options.aggregation_strategy)
            name = "entity" if options.aggregation_strategy == "none" else "entity_group"
            found += [entity for entity in entities if entity[name] not in options.ignore_labels]
        return without_overlaps(found) if len(rows) > 1 else found

    def _tokens(self, text: str, row: Row, scores: list[list[float]]) -> Iterator[Token]:
        places = (i for i, span in enumerate(row.offsets) if in_text(span))
        for index, of_labels in zip(places, scores, strict=True):
            start, end = row.offsets[index]
            word = self.tokenizer.convert_ids_to_tokens(row.ids[index])
            # As in transformers, "##s" is longer than its span. The same error results for a token that stands for more
            # characters than it has: a word with a combining accent counts as a continuation.
            continues = len(word) != end - start
            if row.ids[index] == self.tokenizer.unk_token_id:
                word, continues = text[start:end], False
            yield Token(word, of_labels, index, start, end, continues)

    def _entities(self, tokens: Iterable[Token], strategy: str) -> list[Entity]:
        if strategy == "none":
            return [self._entity([token], token.scores, token.word, index=token.index) for token in tokens]
        if strategy == "simple":
            parts = [self._entity([token], token.scores, token.word) for token in tokens]
        else:
            parts = [self._word(word, strategy) for word in runs(tokens, lambda _, token: token.continues)]
        return [self._group(run) for run in runs(parts, belong_together)]

    def _entity(self, tokens: list[Token], scores: list[float], word: str, **more: int) -> Entity:
        label = best(scores)
        entity = {"entity": self.model.config.id2label[label], "score": scores[label], **more}
        return {**entity, "word": word, "start": tokens[0].start, "end": tokens[-1].end}

    def _word(self, tokens: list[Token], strategy: str) -> Entity:
        """Merge the tokens of a word into one entity with one label."""
        if strategy == "first":
            scores = tokens[0].scores
        elif strategy == "max":
            scores = max((token.scores for token in tokens), key=max)
        else:
            scores = [mean(of_label) for of_label in zip(*(token.scores for token in tokens), strict=True)]
        return self._entity(tokens, scores, self.tokenizer.convert_tokens_to_string([token.word for token in tokens]))

    def _group(self, parts: list[Entity]) -> Entity:
        """Merge tokens or words of one label into an entity."""
        return {
            # As in transformers, everything before the first hyphen is removed: from "S-PER", but also from "so-so".
            "entity_group": parts[0]["entity"].split("-", 1)[-1],
            "score": mean([part["score"] for part in parts]),
            "word": self.tokenizer.convert_tokens_to_string([part["word"] for part in parts]),
            "start": parts[0]["start"],
            "end": parts[-1]["end"],
        }


def in_text(span: tuple[int, int]) -> bool:
    """Whether a token belongs to the text; special tokens are at (0, 0)."""
    return span[1] > 0


def best(scores: list[float]) -> int:
    """Return the label of the highest score, the first of equal ones."""
    return max(range(len(scores)), key=lambda label: by_score(scores[label]))


def mean(values: Iterable[float]) -> float:
    """Return the mean of scores without NaN. Not by ``sum``, whose result depends on the version of Python."""
    numbers = [value for value in values if value == value]
    return math.fsum(numbers) / len(numbers) if numbers else math.nan


def runs(items: Iterable[Any], continues: Any) -> list[list[Any]]:
    """Split a sequence into runs; an item belongs to the run of the one before it if ``continues(before, item)``."""
    found: list[list[Any]] = []
    for item in items:
        if found and continues(found[-1][-1], item):
            found[-1].append(item)
        else:
            found.append([item])
    return found


def belong_together(before: Entity, after: Entity) -> bool:
    """Whether a token or word continues the entity of the one before it."""
    label, last = after["entity"], before["entity"]
    return not label.startswith("B-") and without_mark(label) == without_mark(last)


def without_mark(label: str) -> str:
    return label[2:] if label.startswith(("B-", "I-")) else label


def without_overlaps(entities: list[Entity]) -> list[Entity]:
    """Keep one of overlapping entities from several windows: the longer, then the one with the higher score.

    As in transformers, each entity is compared only with the last one kept, in the order of their starts. A dropped
    entity stays dropped even if the one that won over it is replaced later.
    """
    found: list[Entity] = []
    for entity in sorted(entities, key=lambda entity: entity["start"]):
        if not found or entity["start"] >= found[-1]["end"]:
            found.append(entity)
        elif rank(entity) > rank(found[-1]):
            found[-1] = entity
    return found


def rank(entity: Entity) -> tuple[int, float]:
    return entity["end"] - entity["start"], entity["score"]
