"""What the compiled backends share for texts: a tokenizer of the C library, behind a function of one text or pair."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping
from functools import partial
from itertools import accumulate
from typing import Any, NamedTuple

ADDED_FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")
TEXTS = {"A": -1, "B": -2}  # in templates
SIDES = ("right", "left")


def utf8(text: str) -> bytes:
    """Return a text as the library takes it, with code points that UTF-8 does not have."""
    return str.encode(text, "utf-8", "surrogatepass")  # also of a subclass with an `encode` of its own


class Settings(NamedTuple):
    """Arguments of `sqz_tokenizer_create`; numbers as bytes of int32. python/text.cc has this order."""

    vocab_bytes: bytes
    vocab_offsets: bytes
    vocab_ids: bytes
    lowercase: bool
    strip_accents: bool
    handle_chinese_chars: bool
    clean_text: bool
    unk_token: bytes
    continuing_subword_prefix: bytes
    max_input_chars_per_word: int
    added: list[tuple[Any, ...]]  # content, id, flags
    split_special_tokens: bool
    single: list[tuple[int, int]]
    pair: list[tuple[int, int]]
    truncation_side: int


def settings_of(vocab: Mapping[str, int], settings: Mapping[str, Any]) -> Settings:
    """Convert a vocabulary and what `Tokenizer.settings` returns."""
    if set(map(type, vocab)) - {str}:  # the library trusts the lengths, and a subclass has a `__len__` of its own
        vocab = {str.__str__(token): number for token, number in vocab.items()}
    tokens = sorted(vocab)  # in the order of their bytes, too
    together = utf8("".join(tokens))
    sizes = map(len, tokens if together.isascii() else map(utf8, tokens))
    single, pair = ([(TEXTS.get(part, part), kind) for part, kind in settings[key]] for key in ("single", "pair"))
    return Settings(
        together,
        array("i", accumulate(sizes, initial=0)).tobytes(),
        array("i", map(vocab.__getitem__, tokens)).tobytes(),
        settings["lowercase"],
        settings["strip_accents"],
        settings["handle_chinese_chars"],
        settings["clean_text"],
        utf8(settings["unk_token"]),
        utf8(settings["continuing_subword_prefix"]),
        min(settings["max_input_chars_per_word"], (1 << 63) - 1),
        [
            (utf8(record["content"]), record["id"], *(record.get(flag, False) for flag in ADDED_FLAGS))
            for record in settings["added_tokens"]
        ],
        settings["split_special_tokens"],
        single,
        pair,
        SIDES.index(settings["truncation_side"]),
    )


class Encoder:
    """A tokenizer of the library, which is freed with this object.

    Attributes
    ----------
    encode : callable
        A function of text, pair or None, whether to add special tokens, the number of a strategy of truncation (0:
        none), its length, and a tuple of names of columns. It returns a row, a dict of lists; or None if the tokenizer
        in Python is to say what is wrong with a text.
    plain : bool
        Whether one text without special tokens is that text, once.
    """

    def __init__(self, binding: Any, vocab: Mapping[str, int], settings: Mapping[str, Any]) -> None:
        self._free: Callable[[], Any] = lambda: None
        self.plain = [part for part, _ in settings["single"]].count("A") == 1
        handle = binding.tokenizer_create(settings_of(vocab, settings))
        self._free = partial(binding.tokenizer_free, handle)
        self.encode: Callable[..., Any] = partial(binding.tokenizer_encode, handle)

    def __del__(self) -> None:
        self._free()
