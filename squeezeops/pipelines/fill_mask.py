"""Words for the gaps of a text: ``pipeline("fill-mask")``."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from squeezeops import ops
from squeezeops.pipelines.base import Pipeline, Row, TextError, TruncationOptions

if TYPE_CHECKING:
    from numpy.typing import NDArray

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
    """The likeliest tokens in the place of a mask.

    An input is a str that holds the tokenizer's mask token, as a rule "[MASK]", verbatim. Its result is a list, best
    first, of ``{"score": float, "token": int, "token_str": str, "sequence": str}``: the probability of the token in
    that place, its id, the token itself, and the text with the token in it, as the tokenizer decodes it. A text with
    several masks has a list of such lists, one for each mask; each is filled by itself, and its sequences show the
    other masks along with [CLS] and [SEP]. As in transformers, a list of a single text gives the result of that text,
    and not a list of one; `stream` yields a result for each text whatever their number.

    Only the masked tokens go through the model's head.

    Parameters
    ----------
    model : SqueezeBert
    tokenizer : Tokenizer
    batch_size : int
        How many texts go through the model at once (32). It changes the speed, never a result.
    top_k : int
        How many tokens to return for a mask (5), or as many as there are.
    targets : str, list of str or None
        The tokens to choose from, None for the whole vocabulary. Their scores stay those among the whole vocabulary. A
        word that the vocabulary does not have counts as the first of its pieces, with a warning.
    truncation : bool or {"longest_first", "only_first", "only_second", "do_not_truncate"}
        Whether a text longer than the model is cut at its end or is an error (False, the default, and
        "do_not_truncate").
    max_length : int or None
        With truncation, cut to so many tokens, [CLS] and [SEP] included, instead of the maximum of tokenizer and model.
    """

    task = "fill-mask"
    model_tasks = ("masked-lm",)
    options_type = FillMaskOptions

    # The ids of the targets looked up last: they are the same for all texts, and one warning is enough.
    _looked_up: tuple[Sequence[str], list[int]] = ((), [])

    def __call__(self, inputs: Any, **options: Any) -> Any:
        result = super().__call__(inputs, **options)
        # transformers takes a list of one apart.
        return result[0] if isinstance(inputs, list | tuple) and len(inputs) == 1 else result

    __call__.__doc__ = Pipeline.__call__.__doc__

    def _check_options(self, options: FillMaskOptions) -> None:
        self._targets(options)

    def _targets(self, options: FillMaskOptions) -> list[int] | None:
        """The ids of the targets, ascending and each once; None for the whole vocabulary."""
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
        """The id of a target, or of the first of its pieces, or None if it has none."""
        token: int = self.tokenizer.convert_tokens_to_ids(word)
        if token != self.tokenizer.unk_token_id or word == self.tokenizer.unk_token:
            return token
        pieces: list[int] = self.tokenizer(word, add_special_tokens=False)["input_ids"]
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
        """Yield, for each row, a ranking for each of its masks."""
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
        """Fill the gap of a text with a token; unless it is the text's only one, leave the special tokens in sight."""
        try:
            self.tokenizer.convert_ids_to_tokens(token)
            tokens = [token]
        except ValueError:
            tokens = []  # the model has more rows than the tokenizer has tokens, to make their number a round one
        sequence = [i for i in (*ids[:gap], *tokens, *ids[gap + 1 :]) if i != self.tokenizer.pad_token_id]
        return {
            "score": score,
            "token": token,
            "token_str": self.tokenizer.decode(tokens, skip_special_tokens=False),
            "sequence": self.tokenizer.decode(sequence, skip_special_tokens=alone),
        }


def ranking(scores: NDArray[np.float32], ids: list[int] | None, count: int) -> Ranking:
    """The `count` best of some ids, or of all; of equal scores the lower id leads. NaN comes first, and is seen."""
    values = scores if ids is None else scores[ids]
    count = min(count, len(values))
    # All that are no worse than the last one of the result: which of several equals a partition picks, may vary.
    worst = np.partition(values, -count)[-count]
    places = np.flatnonzero(~(values < worst)).tolist()
    found = [(place if ids is None else ids[place], float(values[place])) for place in places]
    found.sort(key=lambda entry: (entry[1] != entry[1], entry[1]), reverse=True)
    return found[:count]
