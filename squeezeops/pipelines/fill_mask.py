"""Words for the gaps of a text: ``pipeline("fill-mask")``."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar, overload

import numpy as np

from squeezeops import ops
from squeezeops.pipelines.base import Pipeline, Row, TextError, TruncationOptions, by_score

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from typing_extensions import Unpack

    from squeezeops.pipelines import types

__all__ = ["FillMaskPipeline"]

Ranking = list[tuple[int, float]]  # ids of tokens with their scores, best first


@dataclass(frozen=True)
class FillMaskOptions(TruncationOptions):
    task: ClassVar[str] = "fill-mask"
    top_k: int = 5
    targets: str | Sequence[str] | None = None

    def check(self) -> None:
        super().check()
        self.check_count("top_k")
        if self.targets is not None:
            words = (self.targets,) if isinstance(self.targets, str) else self.targets
            if not isinstance(words, list | tuple) or not all(isinstance(word, str) for word in words):
                raise self.error(TypeError, "targets", "None, a str or a list of str", f"{words!r:.60}")
            if not words:
                raise self.error(ValueError, "targets", "at least one word", words)
            self.set("targets", tuple(words))


class FillMaskPipeline(Pipeline):
    """The most likely tokens for each mask.

    An input is a str with the tokenizer's mask token, usually "[MASK]". Its result is a list, best first, of
    ``{"score": float, "token": int, "token_str": str, "sequence": str}``: the probability of the token, its id, its
    text, and the input with the token filled in, as the tokenizer decodes it. For a text with several masks it is a
    list of such lists, one per mask. Each mask is filled alone; its sequences show the other masks, [CLS] and [SEP]. As
    in transformers, a list of one text gives the result of that text, not a list of one. `stream` always yields one
    result per text.

    Only masked tokens go through the model's head.

    Parameters
    ----------
    model : SqueezeBert
    tokenizer : Tokenizer
    batch_size : int
        Texts per forward pass (32). Affects speed, not results.
    top_k : int
        The number of tokens to return for a mask (5).
    targets : str, list of str or None
        The tokens to choose from; None for the whole vocabulary. Scores remain probabilities over the whole vocabulary.
        A word that is not in the vocabulary stands for the first of its pieces, with a warning.
    truncation : bool or {"longest_first", "only_first", "only_second", "do_not_truncate"}
        Whether a text that is too long for the model is cut at its end; otherwise (False, the default, or
        "do_not_truncate") it is an error.
    max_length : int or None
        With truncation, the length to cut to, [CLS] and [SEP] included. None: the maximum of tokenizer and model.
    """

    task = "fill-mask"
    model_tasks = ("masked-lm",)
    options_type = FillMaskOptions

    # The last targets and their ids, so that a warning appears once and not for each text.
    _looked_up: tuple[Sequence[str], list[int]] = ((), [])

    @overload  # type: ignore[override]
    def __call__(self, inputs: str, **options: Unpack[types.FillMaskOptions]) -> list[types.Filled]: ...
    @overload
    def __call__(self, inputs: Iterable[str], **options: Unpack[types.FillMaskOptions]) -> Any: ...
    def __call__(self, inputs: Any, **options: Any) -> Any:
        result = super().__call__(inputs, **options)
        # As in transformers, a list of one gives its only result.
        return result[0] if isinstance(inputs, list | tuple) and len(inputs) == 1 else result

    __call__.__doc__ = Pipeline.__call__.__doc__

    def _check_options(self, options: FillMaskOptions) -> None:
        mask = self.tokenizer.mask_token_id
        if mask is None or mask >= self.model.config.vocab_size:
            expected = "one with a mask token in the model's vocabulary"
            raise self._error(ValueError, "tokenizer", expected, f"{self.tokenizer.mask_token} with the id {mask}")
        self._targets(options)

    def _targets(self, options: FillMaskOptions) -> list[int] | None:
        """Return the distinct ids of the targets, ascending; None for the whole vocabulary."""
        if options.targets is None:
            return None
        words, ids = self._looked_up
        if words != options.targets:
            found = {token for token in map(self._target, options.targets) if token is not None}
            if not found:
                expected = "at least one with a token in the vocabulary"
                raise self._error(ValueError, "targets", expected, f"{list(options.targets)!r:.60}")
            words, ids = self._looked_up = options.targets, sorted(found)
        return ids

    def _target(self, word: str) -> int | None:
        """Return the id of a target or of its first piece; None if it has no pieces."""
        rows, token = self.model.config.vocab_size, self.tokenizer.convert_tokens_to_ids(word)
        known = token != self.tokenizer.unk_token_id or word == self.tokenizer.unk_token
        if known and token is not None and token < rows:
            return int(token)
        try:
            pieces = [i for i in self.tokenizer(word, add_special_tokens=False)["input_ids"] if i < rows]
        except ValueError:  # no [UNK] in the vocabulary
            pieces = []
        instead = repr(self.tokenizer.convert_ids_to_tokens(pieces[0])) if pieces else "nothing"
        message = f"{self.task}: targets: expected words of the vocabulary, got {word!r:.60}; {instead} takes its place"
        warnings.warn(message, UserWarning, stacklevel=2)
        return pieces[0] if pieces else None

    def _encode(self, index: int, item: Any, options: FillMaskOptions) -> list[Row]:
        row = self._encode_text(index, item, None, options)
        if self.tokenizer.mask_token_id not in row.ids:
            got = f"{item!r:.40}" + (" (after truncation)" if self.tokenizer.mask_token in item else "")
            raise TextError(self.task, index, f"expected a text with {self.tokenizer.mask_token}, got {got}")
        return [row]

    def _forward(self, rows: list[Row], ids: Any, mask: Any, types: Any, options: FillMaskOptions) -> Iterator[Any]:
        """Yield, for each row, the rankings of its masks."""
        gaps = (ids == self.tokenizer.mask_token_id) & mask
        output: Any = self.model(ids, attention_mask=mask, token_type_ids=types, logits_mask=gaps)
        scores = ops.softmax(output.logits)  # [N, vocab_size]
        targets = self._targets(options)
        rankings = (ranking(row, targets, options.top_k) for row in scores)
        for count in np.count_nonzero(gaps, axis=1):
            yield list(islice(rankings, int(count)))

    def _decode(self, item: str, rows: list[Row], outputs: list[list[Ranking]], options: FillMaskOptions) -> Any:
        mask, ids = self.tokenizer.mask_token_id, rows[0].ids
        gaps = [place for place, token in enumerate(ids) if token == mask]
        result = [
            [self._filled(ids, gap, token, score, len(gaps) == 1) for token, score in best]
            for gap, best in zip(gaps, outputs[0], strict=True)
        ]
        return result[0] if len(gaps) == 1 else result

    def _filled(self, ids: list[int], gap: int, token: int, score: float, alone: bool) -> dict[str, Any]:
        """Fill a gap with a token. Show special tokens unless the gap is the text's only one."""
        try:
            self.tokenizer.convert_ids_to_tokens(token)
            tokens = [token]
        except ValueError:
            tokens = []  # the model's table may be padded with rows that are no tokens
        sequence = [i for i in (*ids[:gap], *tokens, *ids[gap + 1 :]) if i != self.tokenizer.pad_token_id]
        return {
            "score": score,
            "token": token,
            "token_str": self.tokenizer.decode(tokens, skip_special_tokens=False),
            "sequence": self.tokenizer.decode(sequence, skip_special_tokens=alone),
        }


def ranking(scores: NDArray[np.float32], ids: list[int] | None, count: int) -> Ranking:
    """Return the `count` best of some ids, or of all. Of equal scores, the lower id comes first."""
    values = scores if ids is None else scores[ids]
    count = min(count, len(values))
    # Take all scores that equal the last result's, because a partition may pick any of them.
    worst = np.partition(values, -count)[-count]
    places = np.flatnonzero(~(values < worst)).tolist()
    found = [(place if ids is None else ids[place], float(values[place])) for place in places]
    found.sort(key=lambda entry: by_score(entry[1]), reverse=True)
    return found[:count]
