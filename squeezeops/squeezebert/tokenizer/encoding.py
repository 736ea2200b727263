"""The result of a tokenizer: what a model takes, and how its tokens lie in the text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

__all__ = ["EncodedRow", "Encoding"]


class EncodedRow(NamedTuple):
    """One row of an `Encoding`, padding included. The fields are those of ``tokenizers.Encoding``."""

    ids: list[int]
    type_ids: list[int]
    tokens: list[str]
    offsets: list[tuple[int, int]]
    attention_mask: list[int]
    special_tokens_mask: list[int]
    word_ids: list[int | None]
    sequence_ids: list[int | None]


class Encoding(dict[str, Any]):
    """The result of a `Tokenizer`: a dict of the columns, which are attributes, too.

    Keys and values are those of transformers' ``BatchEncoding``, so that ``model(**encoding)`` runs a model.
    ``encoding[i]`` is row i as an `EncodedRow`. Rows are aligned with their texts when that is first asked for, by
    encoding the texts again.

    Parameters
    ----------
    columns : mapping of str to list or ndarray
    align : function that returns a list of EncodedRow

    Examples
    --------
    >>> from squeezeops import Tokenizer
    >>> tokenizer = Tokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "token", "##s"])
    >>> encoding = tokenizer(["a token", "tokens"], padding=True)
    >>> encoding.input_ids
    [[2, 1, 5, 3], [2, 5, 6, 3]]
    >>> encoding.tokens(1), encoding.word_ids(1)
    (['[CLS]', 'token', '##s', '[SEP]'], [None, 0, 0, None])
    """

    __slots__ = ("_align",)  # and no dict of attributes: there may be one such object per text

    if TYPE_CHECKING:  # so that a type checker knows them, and no other name
        input_ids: Any
        token_type_ids: Any
        attention_mask: Any
        special_tokens_mask: Any
        offset_mapping: Any
        length: Any
        overflow_to_sample_mapping: Any
    else:

        def __getattr__(self, name: str) -> Any:
            try:
                return self[name]
            except KeyError:
                raise AttributeError(f"Encoding: expected one of {', '.join(self)}, got {name!r}") from None

    def __init__(self, columns: Mapping[str, Any], align: Callable[[], list[EncodedRow]]) -> None:
        super().__init__(columns)
        self._align = align

    def __missing__(self, key: object) -> EncodedRow:
        if hasattr(key, "__index__") and not isinstance(key, bool):
            return self._rows()[key]
        raise KeyError(key)

    def _rows(self) -> list[EncodedRow]:
        """Return all rows, aligned with their texts."""
        rows = self._align()
        self._align = lambda: rows
        return rows

    def tokens(self, batch_index: int = 0) -> list[str]:
        """Return the tokens of a row."""
        return self._rows()[batch_index].tokens

    def word_ids(self, batch_index: int = 0) -> list[int | None]:
        """Return the number of each token's word in its text; None for special tokens and padding.

        With ``is_split_into_words=True`` these are the words given. Otherwise, punctuation marks, ideographs and added
        tokens are words of their own.
        """
        return self._rows()[batch_index].word_ids

    def sequence_ids(self, batch_index: int = 0) -> list[int | None]:
        """Return 0 for each token of `text` and 1 for each of `text_pair`; None for special tokens and padding."""
        return self._rows()[batch_index].sequence_ids

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (dict(self), self._rows())


def _restored(columns: dict[str, Any], rows: list[EncodedRow]) -> Encoding:
    return Encoding(columns, lambda: rows)
