r"""BERT's WordPiece tokenizer in plain Python, with offsets into the original text.

Ids and offsets equal those of the Hugging Face ``tokenizers`` pipeline ``BertNormalizer`` + ``BertPreTokenizer`` +
``WordPiece`` + ``BertProcessing`` (or ``TemplateProcessing``) on every Python version:

* `normalizer` has that pipeline's character classes as fixed tables. `config_files` reads the tokenizer's files.
* Special tokens in a text (``"[SEP]"``, ``"[MASK]"``) become those tokens, as in ``BertTokenizerFast``. They match the
  raw text, case-sensitively, and are not part of a word. Strip or escape them in untrusted text.
* Every normalised character has the span of the original character that it came from, and a token spans from its first
  to its last character. Dropped characters do not count: ``"e\u0301"`` is the token ``e`` at (0, 1).
* Unpaired surrogates, which ``tokenizers`` refuses, are dropped like control characters (without ``clean_text`` they
  become ``[UNK]``).
"""

from __future__ import annotations

import itertools
import operator
import os
import re
import reprlib
import warnings
from collections import ChainMap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from squeezeops import backends, ops
from squeezeops.squeezebert.files.converted import TOKENIZER, Entry, find_file, open_entry, read_vocabulary
from squeezeops.squeezebert.files.hub_cache import find_folder
from squeezeops.squeezebert.tokenizer.config_files import (
    ADDED_FLAGS,
    BERT_FLAGS,
    SPECIAL_KINDS,
    UNLIMITED,
    Template,
    bert_templates,
    check,
    check_algorithm,
    check_id,
    check_int,
    check_pieces,
    check_records,
    check_word,
    contradictions,
    naming,
    read_added_tokens,
    read_config,
    read_decoder,
    read_flags,
    read_json,
    read_listed,
    read_model,
    read_normalizer,
    read_post_processor,
    read_pre_tokenizer,
    read_side,
    read_vocabulary_file,
    uses_bert_class,
    without_types,
)
from squeezeops.squeezebert.tokenizer.encoding import EncodedRow, Encoding
from squeezeops.squeezebert.tokenizer.normalizer import (
    SPACE,
    WORD_CHARS,
    BertNormalizer,
    word_pattern,
)

if TYPE_CHECKING:
    from typing import Literal

    from squeezeops.literals import Padding, Side, Truncation

    Texts = str | Sequence[Any]
    Pieces = tuple[tuple[int, int, int], ...]

__all__ = ["Tokenizer"]

MOST_RECENT = 1 << 23  # bytes of half of the remembered words
PIECE_BYTES = 80  # of a piece in CPython; a word, the tuple of its pieces and a place in a dict take as much as three
_STRATEGIES = ("longest_first", "only_first", "only_second")
# The columns of a row. All of them are those of an aligned one.
_COLUMNS = (
    "input_ids", "token_type_ids", "attention_mask", "offset_mapping", "special_tokens_mask", "word_ids",
    "sequence_ids",
)  # fmt: skip
_PADDINGS: dict[bool | str, str] = {
    True: "longest",
    False: "do_not_pad",
    **{name: name for name in ("longest", "max_length", "do_not_pad")},
}
_SEQUENCES: dict[str | int, int] = {"A": 0, "B": 1}
_FRAMEWORKS = {  # of transformers, and what turns an array into their own
    "pt": "torch.from_numpy",
    "tf": "tensorflow.convert_to_tensor",
    "jax": "jax.numpy.asarray",
    "mlx": "mlx.core.array",
}
_CLEANUP = (
    (" .", "."), (" ?", "?"), (" !", "!"), (" ,", ","), (" ' ", "'"), (" n't", "n't"), (" 'm", "'m"),
    (" do not", " don't"), (" 's", "'s"), (" 've", "'ve"), (" 're", "'re"),
)  # fmt: skip


class _AddedTokens:
    """Added tokens that match raw text, or those that match normalised text. The leftmost, then longest match wins."""

    def __init__(self, records: Mapping[str, Mapping[str, Any]]) -> None:
        self.records = records
        lengths: dict[str, set[int]] = {}  # of the tokens, by their first character
        for content in filter(None, records):
            lengths.setdefault(content[0], set()).add(len(content))
        self.lengths = {first: sorted(sizes, reverse=True) for first, sizes in lengths.items()}
        self.first = re.compile(f"[{''.join(map(re.escape, lengths))}]") if lengths else None

    def matches(self, text: str) -> Iterator[tuple[int, int]]:
        """Yield the spans of all tokens. One pattern of all tokens would take seconds for thousands of them."""
        at = 0
        while found := self.first and self.first.search(text, at):
            start = found.start()
            ends = (start + size for size in self.lengths[text[start]])
            content = next((part for end in ends if (part := text[start:end]) in self.records), "")
            at = start + (len(content) or 1)
            if content:
                yield start, at

    def split(self, text: str) -> Iterator[tuple[int, int, int | None]]:
        """Split a text; yield (start, end, id of the added token or None) for each part."""
        done = 0
        for start, end in self.matches(text):
            record = self.records[text[start:end]]
            if record.get("single_word") and (
                (start > 0 and text[start - 1] in WORD_CHARS) or (end < len(text) and text[end] in WORD_CHARS)
            ):
                continue
            if record.get("lstrip"):
                while start > done and SPACE.match(text, start - 1):
                    start -= 1
            if record.get("rstrip"):
                while end < len(text) and SPACE.match(text, end):
                    end += 1
            if done < start:
                yield done, start, None
            yield start, end, record["id"]
            done = end
        if done < len(text):
            yield done, len(text), None


class _Part(NamedTuple):
    """The tokens of a text: ids, spans in the text, and (if asked for) numbers of their words."""

    ids: list[int]
    offsets: list[tuple[int, int]]
    words: list[int]

    def cut(self, window: slice) -> _Part:
        return _Part(self.ids[window], self.offsets[window], self.words[window])


_NOTHING = _Part([], [], [])


class _Plan(NamedTuple):
    """The checked options of a call."""

    strategy: str
    limit: int | None  # of truncation
    stride: int | None  # None: no windows
    cuts_one: bool  # a truncation that is not possible for pairs
    add_special_tokens: bool
    split: bool  # texts are lists of words
    longest: bool  # rows are padded to the longest
    width: int  # or to this width
    multiple: int
    side: str
    arrays: bool
    columns: tuple[str, ...]
    length: bool
    aligned: bool
    alone: tuple[Any, ...] | None = None  # `in_c`, if the row of a single text or pair is the result

    @property
    def in_c(self) -> tuple[Any, ...]:
        """What an `Encoder` takes besides texts. Columns: what is returned, or needed to align a row with its text."""
        number = 0 if self.limit is None else 1 + _STRATEGIES.index(self.strategy)
        columns = _COLUMNS if self.aligned else self.columns
        return self.add_special_tokens, number, self.limit or 0, columns


@lru_cache(maxsize=64, typed=True)  # checking takes as long as encoding a short text
def _plan(
    own_length: int | None, has_pad: bool, own_side: str, add_special_tokens: Any, padding: Any, truncation: Any,
    max_length: Any, stride: Any, is_split_into_words: Any, pad_to_multiple_of: Any, padding_side: Any,
    return_tensors: Any, return_token_type_ids: Any, return_attention_mask: Any, return_overflowing_tokens: Any,
    return_special_tokens_mask: Any, return_offsets_mapping: Any, return_length: Any,
) -> _Plan:  # fmt: skip
    """Check the options of a call."""
    check_int("max_length", max_length, 1, type(None))
    if truncation is None:  # as in transformers
        truncation = max_length is not None and padding is False
    strategy = "longest_first" if truncation is True else truncation or "do_not_truncate"
    if strategy not in (*_STRATEGIES, "do_not_truncate"):
        raise ValueError(f"truncation: expected a bool, 'do_not_truncate' or {_STRATEGIES}, got {truncation!r}")
    if not isinstance(padding, (bool, str)) or padding not in _PADDINGS:
        expected = "a bool, 'longest', 'max_length' or 'do_not_pad'"
        raise ValueError(f"padding: expected {expected}, got {padding!r}")
    way = _PADDINGS[padding]
    if way != "do_not_pad" and not has_pad:
        raise ValueError(f"padding: expected False, because the tokenizer has no pad_token, got {padding!r}")
    limit = max_length or own_length
    cuts = strategy != "do_not_truncate"
    if limit is None and (cuts or way == "max_length"):
        what = "truncation" if cuts else "padding='max_length'"
        raise ValueError(f"max_length: {what} needs one, and the tokenizer has none of its own; got None")
    check_int("stride", stride, 0)
    multiple = check_int("pad_to_multiple_of", pad_to_multiple_of, 1, type(None)) or 1
    if limit is not None and cuts and way != "do_not_pad" and limit % multiple:
        raise ValueError(f"pad_to_multiple_of: expected a divisor of max_length = {limit}, got {multiple}")
    side = own_side if padding_side is None else read_side("padding_side", padding_side)
    windows = check("return_overflowing_tokens", return_overflowing_tokens, bool)
    if return_tensors is not None and return_tensors != "np":
        library = _FRAMEWORKS.get(return_tensors) if isinstance(return_tensors, str) else None
        hint = f" (models take arrays of NumPy; {library} makes others of them)" if library else ""
        raise ValueError(f"return_tensors: expected None or 'np', got {return_tensors!r}{hint}")
    wanted = {
        "input_ids": True,
        "token_type_ids": check("return_token_type_ids", return_token_type_ids, bool),
        "attention_mask": check("return_attention_mask", return_attention_mask, bool),
        "special_tokens_mask": check("return_special_tokens_mask", return_special_tokens_mask, bool),
        "offset_mapping": check("return_offsets_mapping", return_offsets_mapping, bool),
    }
    width = (limit or 0) if way == "max_length" else 0
    plan = _Plan(
        strategy=strategy,
        limit=limit if cuts else None,
        stride=stride if windows else None,
        cuts_one=windows and strategy == "longest_first",
        add_special_tokens=add_special_tokens,
        split=check("is_split_into_words", is_split_into_words, bool),
        longest=way == "longest",
        width=width + -width % multiple,
        multiple=multiple,
        side=side,
        arrays=return_tensors is not None,
        columns=tuple(key for key, want in wanted.items() if want),
        length=check("return_length", return_length, bool),
        aligned=return_special_tokens_mask,
    )
    more = plan.stride is not None or plan.split or plan.arrays or plan.length or plan.aligned
    padded = plan.width > 0 or (plan.longest and multiple > 1)
    return plan if more or padded else plan._replace(alone=plan.in_c)


_Sample = tuple[str, Any, Any]  # index for messages, text, second text or None


def _samples(text: Any, text_pair: Any, split: bool) -> tuple[list[_Sample], bool]:
    """Return the texts of a call, and whether they came as a list."""
    if not isinstance(text, (list, tuple)) or (split and not (text and isinstance(text[0], (list, tuple)))):
        return [("", text, text_pair)], False
    if text_pair is None:
        samples: list[_Sample] = []
        for i, item in enumerate(text):
            is_pair = isinstance(item, (list, tuple)) and len(item) == 2
            if is_pair and split:
                is_pair = isinstance(item[0], (list, tuple))
            samples.append((f"[{i}]", *item) if is_pair else (f"[{i}]", item, None))
        return samples, True
    if not isinstance(text_pair, (list, tuple)) or len(text_pair) != len(text):
        got = f"{len(text_pair)}" if isinstance(text_pair, (list, tuple)) else type(text_pair).__name__
        raise ValueError(f"text_pair: expected a list of {len(text)} texts, as many as in text, got {got}")
    return [(f"[{i}]", *pair) for i, pair in enumerate(zip(text, text_pair, strict=True))], True


def _arrays(columns: dict[str, Any]) -> dict[str, Any]:
    """Return columns as arrays of int64."""
    import numpy as np  # imported late: lists need none

    sizes = dict.fromkeys(map(len, columns["input_ids"]))
    if len(sizes) > 1:
        got = " and ".join(map(str, list(sizes)[:2]))
        raise ValueError(
            f"return_tensors: expected rows of equal length (padding=True makes them so), got {got} tokens"
        )
    return {key: np.array(column, np.int64) for key, column in columns.items()}


class Tokenizer:
    """BERT's WordPiece tokenizer. Threads may share it.

    Parameters
    ----------
    vocab : mapping of str to int, or list or tuple of str
        Token to id, or the tokens in the order of their ids (of equal tokens, the last one counts).
    lowercase, handle_chinese_chars, clean_text : bool
        Steps of normalisation: lower-case, put spaces around ideographs, drop control characters.
    strip_accents : bool or None
        Whether to drop accents; ``None`` follows `lowercase`.
    unk_token, cls_token, sep_token, pad_token, mask_token : str
        The special tokens. `cls_token` and `sep_token` must be in the vocabulary. Without `unk_token` there, a text
        with unknown words is an error; `pad_token` and `mask_token` get the next ids. All but `unk_token` may be None.
    max_length : int or None
        The largest number of tokens that the model takes, special ones included: the default of truncation.
    continuing_subword_prefix : str
        Prefix of the pieces inside a word.
    max_input_chars_per_word : int
        Longer words become `unk_token`.
    added_tokens : iterable of dict, or None
        Tokens matched as a whole before WordPiece, as records of ``added_tokens`` in ``tokenizer.json``. ``None``: the
        five special tokens, matched in raw text.
    padding_side, truncation_side : {"right", "left"}
        Where rows are padded, and where texts are cut.
    split_special_tokens : bool
        Whether special tokens in a text are split like its words.
    clean_up_tokenization_spaces : bool
        Whether `decode` removes further spaces, such as those around an apostrophe.

    Attributes
    ----------
    unk_token_id, cls_token_id, sep_token_id, pad_token_id, mask_token_id : int or None
        Ids of the special tokens.
    vocab_size : int
        Size of the vocabulary without the added tokens (``len`` counts them).

    Raises
    ------
    TypeError
        If an argument, a token, an id or a record has the wrong type.
    ValueError
        If an id is not in [0, 2**31), another number is too small, a special token is missing, or an added token has
        another id in the vocabulary.

    Examples
    --------
    >>> from squeezeops import Tokenizer
    >>> tokenizer = Tokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "token", "##s"])
    >>> encoded = tokenizer("Tokens", return_offsets_mapping=True)
    >>> encoded.input_ids, encoded.offset_mapping
    ([2, 5, 6, 3], [(0, 0), (0, 5), (5, 6), (0, 0)])
    """

    def __init__(
        self,
        vocab: Mapping[str, int] | Sequence[str],
        *,
        lowercase: bool = True,
        strip_accents: bool | None = None,
        handle_chinese_chars: bool = True,
        clean_text: bool = True,
        unk_token: str = "[UNK]",
        cls_token: str | None = "[CLS]",
        sep_token: str | None = "[SEP]",
        pad_token: str | None = "[PAD]",
        mask_token: str | None = "[MASK]",
        max_length: int | None = None,
        continuing_subword_prefix: str = "##",
        max_input_chars_per_word: int = 100,
        added_tokens: Iterable[Mapping[str, Any]] | None = None,
        padding_side: str = "right",
        truncation_side: str = "right",
        split_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool = False,
    ) -> None:
        if not isinstance(vocab, (list, tuple, Mapping)):
            raise TypeError(f"vocab: expected a dict of token to id or a list of tokens, got {type(vocab).__name__}")
        for token, i in vocab.items() if isinstance(vocab, Mapping) else zip(vocab, itertools.count(), strict=False):
            if not (type(token) is str and type(i) is int and 0 <= i < UNLIMITED):
                check_id("vocab", token, i)
        self._vocab = dict(vocab if isinstance(vocab, Mapping) else zip(vocab, itertools.count(), strict=False))
        self.vocab_size = len(self._vocab)
        self.max_length: int | None = check_int("max_length", max_length, 1, type(None))
        self.unk_token, self.cls_token, self.sep_token = unk_token, cls_token, sep_token
        self.pad_token, self.mask_token = pad_token, mask_token
        check("lowercase", lowercase, bool)
        check("clean_text", clean_text, bool)
        check("handle_chinese_chars", handle_chinese_chars, bool)
        check("strip_accents", strip_accents, bool, type(None))
        strip = lowercase if strip_accents is None else strip_accents
        self._normalize = BertNormalizer(clean_text, handle_chinese_chars, strip, lowercase)
        self._prefix = check("continuing_subword_prefix", continuing_subword_prefix, str)
        self._max_chars = check_int("max_input_chars_per_word", max_input_chars_per_word, 0)
        self._decoder: tuple[str, bool] | None = (continuing_subword_prefix, True)

        self.padding_side = read_side("padding_side", padding_side)
        self.truncation_side = read_side("truncation_side", truncation_side)
        self._split_specials = check("split_special_tokens", split_special_tokens, bool)
        self._clean_up = check("clean_up_tokenization_spaces", clean_up_tokenization_spaces, bool)

        check("unk_token", unk_token, str)
        named = {kind: getattr(self, f"{kind}_token") for kind in SPECIAL_KINDS}
        specials: list[str] = [
            check(f"{kind}_token", token, str, type(None)) for kind, token in named.items() if token is not None
        ]
        optional = [pad_token, mask_token]  # some texts and tasks do without
        if added_tokens is None:
            optional.insert(0, unk_token)
            known = [token for token in specials if token in self._vocab]
            added_tokens = [{"content": token, "id": self._vocab[token], "special": True} for token in known]
        added = check_records(added_tokens, self._vocab)
        free = max([len(self._vocab), *(record["id"] + 1 for record in added.values())])
        for token in optional:
            if token is not None and token not in added and token not in self._vocab:
                added[token] = {"content": token, "id": free, "special": True}
                free += 1
        self._added = list(added.values())
        self._ids = ChainMap(self._vocab, {content: record["id"] for content, record in added.items()})
        self._size = len(self._vocab) + sum(content not in self._vocab for content in added)
        missing = [token for token in specials if token not in self._ids and token != unk_token]
        if missing:
            missing = [token if len(token) < 100 else f"{token[:100]}..." for token in missing]
            raise ValueError(f"vocab: special tokens {missing} are missing from the vocabulary of {len(vocab)} tokens")
        self._specials = {content for content, record in added.items() if record.get("special")}
        matched = {c: r for c, r in added.items() if not (self._split_specials and r.get("special"))}
        self._verbatim = _AddedTokens({c: r for c, r in matched.items() if not r.get("normalized")})
        normalized = {content: self._normalize(content)[0] for content, r in added.items() if r.get("normalized")}
        self._normalized = _AddedTokens({form: added[c] for c, form in normalized.items() if c in matched})
        # The reference decodes added tokens of normalised text to their normalised form.
        self._decoded = {self._ids[content]: form for content, form in normalized.items()}

        self._longest = max(map(len, self._vocab), default=0)
        self._encoders: dict[tuple[str, str], Any] = {}  # by backend and side of truncation
        self._until_encoder = 4 * self.vocab_size  # characters
        # Pieces of words. When the words of `_recent` take MOST_RECENT bytes, they become those of `_older`, whose
        # words are forgotten. A word that is used again moves back.
        self._recent: dict[str, Pieces] = {}
        self._older: dict[str, Pieces] = {}
        self._recent_bytes = 0
        self.unk_token_id = self._ids.get(unk_token)
        cls, sep, pad, mask = (None if token is None else self._ids[token] for token in list(named.values())[1:])
        self.cls_token_id, self.sep_token_id, self.pad_token_id, self.mask_token_id = cls, sep, pad, mask
        self._fills = {  # what pads each column
            "input_ids": self.pad_token_id,
            "token_type_ids": 0,
            "attention_mask": 0,
            "special_tokens_mask": 1,
            "offset_mapping": (0, 0),
            "word_ids": None,
            "sequence_ids": None,
        }
        self._templates: list[Template] = [[("A", 0)], [("A", 0), ("B", 1)]]
        if cls is not None and sep is not None:
            self._templates = bert_templates(cls, sep)

    @classmethod
    def from_pretrained(cls, path: str | os.PathLike[str]) -> Tokenizer:
        """Load a tokenizer from a folder (``tokenizer.json``, else ``vocab.txt``), one such file, or a converted model.

        Like transformers, this follows the class that the folder is for: ``tokenizer_class`` of
        ``tokenizer_config.json`` or ``config.json``, else that of the ``model_type``. A BERT class takes only the
        tokens of ``tokenizer.json``. Everything else is what ``tokenizer_config.json`` says (``do_lower_case``,
        ``strip_accents``, ``tokenize_chinese_chars``) or BERT's default; a warning lists what ``tokenizer.json`` has
        otherwise. Another class, or none, follows ``tokenizer.json``. Of ``truncation`` and ``padding`` there, only the
        directions count: the rest are arguments of each call here.

        ``tokenizer_config.json`` also gives the special tokens, ``added_tokens_decoder`` (without it,
        ``special_tokens_map.json`` and ``added_tokens.json`` are read), ``model_max_length``, ``model_input_names``
        (without ``token_type_ids`` these are 0), ``padding_side``, ``truncation_side``, ``split_special_tokens`` and
        ``clean_up_tokenization_spaces``.

        Parameters
        ----------
        path : str or path
            The folder or file, a converted model, or a model's name in the local Hugging Face cache.

        Returns
        -------
        Tokenizer

        Raises
        ------
        TypeError
            If `path` is neither a str nor a path.
        FileNotFoundError
            If there is no such file.
        ValueError
            If a file is malformed or asks for an unsupported feature. The message names the file.

        Warns
        -----
        UserWarning
            If ``tokenizer.json`` and ``tokenizer_config.json`` contradict each other.
        """
        found = find_folder(check("path", path, str, os.PathLike))
        converted = find_file(found)
        source: Path | Entry = Path(found) if converted is None else open_entry(converted)
        if isinstance(source, Entry) and (stored := source / TOKENIZER).is_file():
            vocab = read_vocabulary(source.file)
            with naming(stored):
                settings = read_json(stored)
                check_word("max_input_chars_per_word", settings.get("max_input_chars_per_word"))
                return cls.from_settings(vocab, settings)
        candidates = (source / "tokenizer.json", source / "vocab.txt") if source.is_dir() else (source,)
        file = next((candidate for candidate in candidates if candidate.is_file()), None)
        if file is None:
            raise FileNotFoundError(f"path: expected a tokenizer.json or a vocab.txt, found neither at {source}")
        config_file, model_file = file.parent / "tokenizer_config.json", file.parent / "config.json"
        with naming(model_file):
            model = read_json(model_file) if model_file.is_file() else None
        is_json = file.suffix == ".json"
        with naming(config_file):
            config = read_json(config_file) if config_file.is_file() else {}
            check_algorithm(config, is_json)
            options, flags = read_config(config), read_flags(config)
            bert_class = not is_json or uses_bert_class(config, model)
            no_types = without_types(config, model, bert_class)
        if config.get("tokenizer_class") is None:
            with naming(model_file):  # early folders name the class there
                check_algorithm({"tokenizer_class": (model or {}).get("tokenizer_class")}, is_json)
        if is_json:
            self = cls._from_json(file, config, flags, options, bert_class)
        else:
            with naming(file):
                vocab = read_vocabulary_file(file)
            options |= read_added_tokens(file.parent, config, vocab)
            with naming(file):
                self = cls(vocab, **options, **flags)
        if no_types:
            said = bert_class or "model_input_names" in config or not any(type_id for _, type_id in self._templates[1])
            if not said:
                reason = "not used, because the tokenizer's class needs token_type_ids in model_input_names for them"
                warnings.warn(f"{file}: post_processor: token types: {reason}", UserWarning, stacklevel=2)
            self._templates = [[(part, 0) for part, _ in template] for template in self._templates]
        return self

    @classmethod
    def _from_json(
        cls,
        file: Path | Entry,
        config: Mapping[str, Any],
        flags: Mapping[str, Any],
        options: dict[str, Any],
        bert_class: bool,
    ) -> Tokenizer:
        """Read a ``tokenizer.json``; `options` and, for a BERT class, `flags` are of ``tokenizer_config.json``."""
        with naming(file):
            data = read_json(file)
            section = read_model(data.get("model"))
            vocab = section.pop("vocab")
            listed = read_listed(data.get("added_tokens"), vocab)
            for key in ("truncation", "padding"):
                if isinstance(data.get(key), dict) and "direction" in data[key]:
                    side = check(f"{key}: direction", data[key]["direction"], str).lower()
                    options.setdefault(f"{key}_side", read_side(f"{key}: direction", side))
                if not bert_class and isinstance(data.get(key), dict) and "pad_token" in data[key]:
                    config = {"pad_token": check(f"{key}: pad_token", data[key]["pad_token"], str), **config}
        options |= read_added_tokens(file.parent, config, vocab, listed, bert_class)
        where, other = file, file.parent / "tokenizer_config.json"
        with naming(file):
            if bert_class:
                self = cls(vocab, **options, **flags)
                used = {
                    "unk_token": self.unk_token,
                    "continuing_subword_prefix": self._prefix,
                    "max_input_chars_per_word": self._max_chars,
                }
                unused = contradictions(data, used, self._flags(), self._templates)
                dropped = [record["content"] for record in listed if record["content"] not in self._ids]
                unused += [f"added_tokens: {reprlib.repr(content)}" for content in dropped]
            else:
                self = cls._from_sections(data, section, vocab, options)
                where, other, now = other, where, self._flags()
                unused = [key for key, name in BERT_FLAGS.items() if config.get(key) not in (None, now[name])]
        if unused:
            message = f"{where}: {', '.join(unused)}: not used, because the tokenizer's class follows {other.name}"
            warnings.warn(message, UserWarning, stacklevel=3)
        return self

    @classmethod
    def _from_sections(
        cls, data: Mapping[str, Any], section: Mapping[str, Any], vocab: Mapping[str, int], options: dict[str, Any]
    ) -> Tokenizer:
        """Do what a ``tokenizer.json`` says."""
        options |= {**section, **read_normalizer(data.get("normalizer"))}
        read_pre_tokenizer(data.get("pre_tokenizer"))
        templates, ends = read_post_processor(data.get("post_processor"))
        decoder = read_decoder(data.get("decoder"))
        options = {f"{kind}_token": token for kind, (token, _) in ends.items()} | options
        added = {record["content"] for record in options["added_tokens"]}
        for kind in SPECIAL_KINDS[1:]:
            usual = f"[{kind.upper()}]"
            options.setdefault(f"{kind}_token", usual if usual in vocab or usual in added else None)
        self = cls(vocab, **options)
        for kind, (token, i) in ends.items():
            if i != (own := self._ids.get(token)):
                raise ValueError(f"post_processor: {kind}: {token!r}: expected id {own} as in the vocabulary, got {i}")
        unknown = {part for t in templates for part, _ in t if isinstance(part, int)}.difference(self._all_ids())
        if unknown:
            raise ValueError(f"post_processor: ids {sorted(unknown)} are not in the vocabulary")
        self._templates, self._decoder = templates, decoder
        return self

    @cached_property
    def _tokens(self) -> dict[int, str] | list[str | None]:
        """The token of each id, in a list if there are few holes. Made late: only what reads tokens needs it."""
        largest = max(self._all_ids(), default=0)
        tokens: dict[int, str] | list[str | None] = {}
        if largest < 2 * self._size:
            tokens = [None] * (largest + 1)
        for known in reversed(self._ids.maps):
            for token, i in known.items():
                tokens[i] = token
        return tokens

    def _all_ids(self) -> Iterator[int]:
        return itertools.chain.from_iterable(tokens.values() for tokens in self._ids.maps)

    def _flags(self) -> dict[str, bool]:
        """Return how texts are normalised, by the names of the constructor's arguments."""
        names = ("clean_text", "handle_chinese_chars", "strip_accents", "lowercase")
        return dict(zip(names, self._normalize.full_map.flags, strict=True))

    def settings(self) -> dict[str, Any]:
        """Return everything but the vocabulary as JSON values: what a converted model stores.

        Returns
        -------
        dict
            Arguments of the constructor, of which `strip_accents` is a bool; ``single`` and ``pair``, the templates for
            one text and for two: lists of "A", "B" or the id of a special token, each with its token type;
            ``decoder``, the prefix that joins pieces and whether spaces before punctuation go, or None.
        """
        return self._flags() | {
            **{f"{kind}_token": getattr(self, f"{kind}_token") for kind in SPECIAL_KINDS},
            "max_length": self.max_length,
            "continuing_subword_prefix": self._prefix,
            "max_input_chars_per_word": self._max_chars,
            "added_tokens": [{key: r[key] for key in ("id", "content", *ADDED_FLAGS) if key in r} for r in self._added],
            "padding_side": self.padding_side,
            "truncation_side": self.truncation_side,
            "split_special_tokens": self._split_specials,
            "clean_up_tokenization_spaces": self._clean_up,
            "single": self._templates[0],
            "pair": self._templates[1],
            "decoder": self._decoder,
        }

    @classmethod
    def from_settings(cls, vocab: Mapping[str, int], settings: Mapping[str, Any]) -> Tokenizer:
        """Make the tokenizer of a vocabulary and of what `settings` returned.

        Parameters
        ----------
        vocab : mapping of str to int
        settings : mapping of str to object
            A missing key means the constructor's default. Unknown keys are ignored.

        Returns
        -------
        Tokenizer

        Raises
        ------
        TypeError, ValueError
            As for the class, and for malformed templates.
        """
        known: Any = cls.__init__.__kwdefaults__  # all arguments but vocab
        self = cls(vocab, **{name: settings[name] for name in known if name in settings})
        for i, kind in enumerate(("single", "pair")):
            template = check(kind, settings.get(kind, self._templates[i]), list)
            check_pieces(kind, len(template))
            for item in template:
                part, type_id = item if isinstance(item, list | tuple) and len(item) == 2 else (None, None)
                check_id(kind, str(part), type_id)
                if part not in ("A", "B") and (type(part) is not int or part not in self._all_ids()):
                    raise ValueError(f"{kind}: expected 'A', 'B' or the id of a token, got {reprlib.repr(item)}")
            self._templates[i] = [(part, type_id) for part, type_id in template]
        decoder = check("decoder", settings.get("decoder", self._decoder), list, tuple, type(None))
        if decoder is not None:
            prefix, cleanup = decoder if len(decoder) == 2 else (None, None)
            decoder = check("decoder: prefix", prefix, str), check("decoder: cleanup", cleanup, bool)
        self._decoder = decoder
        return self

    @property
    def vocab(self) -> dict[str, int]:
        """The id of each token, but for added tokens."""
        return dict(self._vocab)

    def lowercased(self) -> Tokenizer:
        """Return this tokenizer if it lower-cases, else one that does. Accents stay if they do here."""
        settings = self.settings()
        return self if settings["lowercase"] else self.from_settings(self._vocab, {**settings, "lowercase": True})

    def __call__(
        self,
        text: Texts,
        text_pair: Texts | None = None,
        *,
        add_special_tokens: bool = True,
        padding: bool | Padding = False,
        truncation: bool | Truncation | None = None,
        max_length: int | None = None,
        stride: int = 0,
        is_split_into_words: bool = False,
        pad_to_multiple_of: int | None = None,
        padding_side: Side | None = None,
        return_tensors: Literal["np"] | None = None,
        return_token_type_ids: bool = True,
        return_attention_mask: bool = True,
        return_overflowing_tokens: bool = False,
        return_special_tokens_mask: bool = False,
        return_offsets_mapping: bool = False,
        return_length: bool = False,
    ) -> Encoding:
        """Encode a text, a pair of texts, or a list of either, as the tokenizers of transformers do.

        Parameters
        ----------
        text, text_pair : str, or list or tuple of str
            A text and, for pairs, its second text; or two lists of equal length. An item of `text` may be a pair, too.
        add_special_tokens : bool
            Whether to add ``[CLS]`` and ``[SEP]``.
        padding : bool or {"longest", "max_length", "do_not_pad"}
            ``True`` (or ``"longest"``) pads a list of texts to the longest one, ``"max_length"`` to `max_length`.
        truncation : bool or {"longest_first", "only_first", "only_second", "do_not_truncate"}, optional
            ``False`` or ``"do_not_truncate"`` does not truncate; ``True`` or ``"longest_first"``, ``"only_first"`` and
            ``"only_second"`` say which text of a pair is cut. Tokens are cut off at `truncation_side`. Default:
            ``True`` if there is a `max_length` and no padding, else ``False``.
        max_length : int or None
            The length to truncate and to pad to, special tokens included. Default: the `max_length` of the tokenizer.
        stride : int
            The number of tokens that neighbouring windows share, with `return_overflowing_tokens`.
        is_split_into_words : bool
            Whether texts are lists of words. Each is encoded on its own, and offsets are those in the word.
        pad_to_multiple_of : int or None
            Padding goes on to a multiple of this length.
        padding_side : {"right", "left"}, optional
            Default: that of the tokenizer.
        return_tensors : {None, "np"}
            None returns lists; "np" arrays of int64, with a row for a single text, too.
        return_token_type_ids, return_attention_mask : bool
            Whether to return these columns.
        return_overflowing_tokens : bool
            Whether to return a truncated text as several rows, its windows. All but the last are as long as possible.
            The other text of a pair is whole in each of them.
        return_special_tokens_mask, return_offsets_mapping, return_length : bool
            Whether to return these columns, too.

        Returns
        -------
        Encoding
            A dict of ``input_ids``, ``token_type_ids`` and ``attention_mask``; if asked for also
            ``special_tokens_mask`` (1 for special tokens and padding), ``offset_mapping`` ((start, end) of each token
            in its text, (0, 0) for special tokens and padding) and ``length`` of the rows. Each is a list or, for a
            list of texts, a list of lists.

            With `return_overflowing_tokens`, always lists of lists, one row per window, and
            ``overflow_to_sample_mapping``, the index of each row's text.

        Raises
        ------
        TypeError
            If a text is not a str, or an option has the wrong type.
        ValueError
            If an option has an unknown value, the lists differ in length, truncation or padding lacks a length, or
            truncation cannot reach it; for arrays of rows of different lengths. With `return_overflowing_tokens`, also
            if `stride` is not below the length of a window, or if `truncation` does not name the text of a pair to cut.
        """
        options: Any = (
            self.max_length, self.pad_token_id is not None, self.padding_side, add_special_tokens, padding, truncation,
            max_length, stride, is_split_into_words, pad_to_multiple_of, padding_side, return_tensors,
            return_token_type_ids, return_attention_mask, return_overflowing_tokens, return_special_tokens_mask,
            return_offsets_mapping, return_length,
        )  # fmt: skip
        try:
            plan = _plan(*options)
        except TypeError:  # perhaps a value without a hash
            plan = _plan.__wrapped__(*options)
        if plan.alone is not None and type(text) is str:
            samples = [("", text, text_pair)]
            encoder = self._encoder(samples)
            row = encoder and encoder.encode(text, text_pair, *plan.alone)
            if row:
                return Encoding(row, partial(self._align, samples, plan, 0, None))
        samples, batched = _samples(text, text_pair, plan.split)
        if plan.cuts_one and samples and samples[0][2] is not None:
            expected = "'only_first' or 'only_second' with return_overflowing_tokens and a pair"
            raise ValueError(f"truncation: expected {expected}, got {truncation!r}")
        found = self._encode_samples(samples, plan)
        rows = [row for sample in found for row in sample] if batched else found[0]
        width = plan.width
        if plan.longest:
            width = max([len(row["input_ids"]) for row in rows], default=0)
            width += -width % plan.multiple
        if width:
            rows = [self._padded(row, width, plan.side) for row in rows]
        align = partial(self._align, samples, plan, width, rows if plan.aligned else None)
        if not batched and plan.stride is None and not plan.arrays:
            out: dict[str, Any] = {key: rows[0][key] for key in plan.columns}
            if plan.length:
                out["length"] = [len(out["input_ids"])]
            return Encoding(out, align)
        out = {key: [row[key] for row in rows] for key in plan.columns}
        if plan.length:
            out["length"] = list(map(len, out["input_ids"]))
        if plan.stride is not None:
            out["overflow_to_sample_mapping"] = [i for i, sample in enumerate(found) for _ in sample]
        return Encoding(_arrays(out) if plan.arrays else out, align)

    def _padded(self, row: dict[str, list[Any]], width: int, side: str) -> dict[str, list[Any]]:
        missing = width - len(row["input_ids"])
        if missing <= 0:
            return row
        if side == "right":
            return {key: values + [self._fills[key]] * missing for key, values in row.items()}
        return {key: [self._fills[key]] * missing + values for key, values in row.items()}

    def _align(
        self, samples: list[_Sample], plan: _Plan, width: int, rows: list[dict[str, list[Any]]] | None
    ) -> list[EncodedRow]:
        """Return the rows of texts with all columns. Encode them again, unless `rows` has these."""
        if rows is None:
            rows = [row for found in self._encode_samples(samples, plan._replace(aligned=True)) for row in found]
        return [self._aligned(row, width, plan.side) for row in rows]

    def _aligned(self, row: dict[str, list[Any]], width: int, side: str) -> EncodedRow:
        ids, types, mask, spans, special, words, sequences = self._padded(row, width, side).values()
        return EncodedRow(ids, types, [self._tokens[i] for i in ids], spans, mask, special, words, sequences)

    def _encode_samples(self, samples: list[_Sample], plan: _Plan) -> list[list[dict[str, list[Any]]]]:
        """Encode each text or pair into rows: in C, as far as the backend in force does that, else here."""
        encoder = self._encoder(samples)
        if encoder is None or plan.stride is not None or plan.split:
            return [self._encode_rows(*sample, plan) for sample in samples]
        encode, options = encoder.encode, plan.in_c
        return [
            [row] if (row := encode(text, pair, *options)) else self._encode_rows(index, text, pair, plan)
            for index, text, pair in samples
        ]

    def _encode_rows(self, index: str, text: Any, pair: Any, plan: _Plan) -> list[dict[str, list[Any]]]:
        """Encode a text or a pair into one row or, with overflow, into a row per window."""
        encode = self._encode_words if plan.split else self._encode_text
        first = encode(f"text{index}", text, plan.aligned)
        second = _NOTHING if pair is None else encode(f"text_pair{index}", pair, plan.aligned)
        template = self._templates[pair is not None]
        if plan.limit is None:
            return [self._fill(template, {"A": first, "B": second}, plan)]
        specials = sum(isinstance(part, int) for part, _ in template) if plan.add_special_tokens else 0
        if plan.limit < specials:
            wrong = ValueError(f"max_length: expected at least the {specials} special tokens, got {plan.limit}")
            wrong.argument = "max_length"  # type: ignore[attr-defined]
            raise wrong
        sizes = len(first.ids), len(second.ids)
        rooms = _truncated_sizes(*sizes, plan.limit - specials, plan.strategy, pair is not None)
        return [
            self._fill(template, {"A": first.cut(a), "B": second.cut(b)}, plan)
            for a in _windows(sizes[0], rooms[0], plan.stride, self.truncation_side)
            for b in _windows(sizes[1], rooms[1], plan.stride, self.truncation_side)
        ]

    def _encode_text(self, name: str, text: Any, with_words: bool) -> _Part:
        if not isinstance(text, str):
            hint = ""
            if hasattr(text, "tolist"):
                hint = f" ({name}.tolist() is a list)"
            elif isinstance(text, (list, tuple)):
                hint = " (is_split_into_words=True takes lists of words)"
            raise TypeError(f"{name}: expected str, got {type(text).__name__}{hint}")
        return self._encode(text, with_words)

    def _encode_words(self, name: str, words: Any, with_words: bool) -> _Part:
        """Encode each word on its own."""
        if not isinstance(words, (list, tuple)):
            raise TypeError(f"{name}: expected a list of str, got {type(words).__name__}")
        all_parts = _Part([], [], [])
        for k, word in enumerate(words):
            part = self._encode_text(f"{name}[{k}]", word, False)
            all_parts.ids.extend(part.ids)
            all_parts.offsets.extend(part.offsets)
            all_parts.words.extend([k] * len(part.ids))
        return all_parts

    def _fill(
        self, template: list[tuple[str | int, int]], parts: Mapping[str, _Part], plan: _Plan
    ) -> dict[str, list[Any]]:
        """Fill a template with the tokens of one or two texts."""
        ids: list[int] = []
        types: list[int] = []
        offsets: list[tuple[int, int]] = []
        words: list[int | None] = []
        sequences: list[int | None] = []
        for part, type_id in template:
            if isinstance(part, str):
                ids += parts[part].ids
                offsets += parts[part].offsets
                words += parts[part].words
            elif plan.add_special_tokens:
                ids.append(part)
                offsets.append((0, 0))
                words.append(None)
            added = len(ids) - len(types)
            types += [type_id] * added
            if plan.aligned:
                sequences += [_SEQUENCES.get(part)] * added
        row: dict[str, list[Any]] = {
            "input_ids": ids,
            "token_type_ids": types,
            "attention_mask": [1] * len(ids),
            "offset_mapping": offsets,
        }
        if plan.aligned:
            special = [int(sequence is None) for sequence in sequences]
            row |= {"special_tokens_mask": special, "word_ids": words, "sequence_ids": sequences}
        return row

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy or a pickle has: not what belongs to this process."""
        return self.__dict__ | {"_encoders": {}}

    def _encoder(self, samples: Iterable[_Sample]) -> Any:
        """Return the tokenizer in C of the backend in force; None if it has none, or if making one is not worth it.

        That takes as long as to encode a few characters per token of the vocabulary in Python.
        """
        if self._until_encoder > 0:
            self._until_encoder -= sum(
                len(text) for _, *texts in samples for text in texts if isinstance(text, (str, list))
            )
            if self._until_encoder > 0:
                return None
        try:
            key = ops.get_backend(), self.truncation_side
        except (ImportError, ValueError):  # the class needs none
            return None
        if key not in self._encoders:
            make = getattr(backends.load(key[0]), "make_encoder", None)
            self._encoders[key] = make and make(self._vocab, self.settings())
        return self._encoders[key]

    def _encode(self, text: str, with_words: bool = False) -> _Part:
        """Encode one text without special tokens."""
        encoder = self._encoder([("", text, None)])
        if encoder is not None and encoder.plain:
            row = encoder.encode(text, None, False, 0, 0, ("input_ids", "offset_mapping", "word_ids"))
            if row:
                return _Part(*row.values())
        ids: list[int] = []
        offsets: list[tuple[int, int]] = []
        words: list[int] = []
        numbers = itertools.count()
        known = self._recent.get
        for base, stop, token in self._verbatim.split(text):
            if token is not None:
                ids.append(token)
                offsets.append((base, stop))
                words.append(next(numbers))
                continue
            chunk = text[base:stop]
            normal, origin = self._normalize(chunk)
            find_words = word_pattern(normal).finditer
            for begin, end, token in self._normalized.split(normal):
                if token is not None:
                    ids.append(token)
                    first, last = (origin[begin], origin[end - 1]) if origin else (begin, end - 1)
                    offsets.append((base + first, base + last + 1))
                    words.append(next(numbers))
                    continue
                for match in find_words(normal, begin, end):
                    word = match.group()
                    pieces = known(word) or self._word_pieces(word)
                    if with_words:
                        words += [next(numbers)] * len(pieces)
                    at = match.start()
                    if origin is None:
                        at += base
                        for i, first, last in pieces:
                            ids.append(i)
                            offsets.append((at + first, at + last))
                    else:
                        for i, first, last in pieces:
                            ids.append(i)
                            offsets.append((base + origin[at + first], base + origin[at + last - 1] + 1))
        return _Part(ids, offsets, words)

    def _word_pieces(self, word: str) -> Pieces:
        """Return (id, start, end) of a word's pieces: the longest known prefix, then the longest continuation, ..."""
        if word in self._older:
            return self._remember(word, self._older[word])
        pieces: list[tuple[int, int, int]] = []
        start, size, prefix = 0, len(word), ""
        while start < size <= self._max_chars:
            for end in range(min(size, start + self._longest - len(prefix)), start, -1):
                i = self._vocab.get(prefix + word[start:end])
                if i is not None:
                    pieces.append((i, start, end))
                    start, prefix = end, self._prefix
                    break
            else:
                break
        if start != size and self.unk_token not in self._vocab:
            shown = reprlib.repr(word)
            raise ValueError(f"text: expected words of the vocabulary, which has no {self.unk_token!r}, got {shown}")
        result = tuple(pieces) if start == size else ((self._vocab[self.unk_token], 0, size),)
        return result if size > self._max_chars else self._remember(word, result)  # cheap to find again

    def _remember(self, word: str, pieces: Pieces) -> Pieces:
        taken = PIECE_BYTES * (len(pieces) + 3) + 4 * len(word)
        self._recent_bytes += taken
        if self._recent_bytes > MOST_RECENT:
            if taken > MOST_RECENT // 8:
                self._recent_bytes -= taken
                return pieces
            self._older, self._recent, self._recent_bytes = self._recent, {}, taken
        self._recent[word] = pieces
        return pieces

    def tokenize(self, text: str) -> list[str]:
        """Return the tokens of a text without special tokens.

        Parameters
        ----------
        text : str

        Returns
        -------
        list of str

        Raises
        ------
        TypeError
            If `text` is not a str.
        """
        if not isinstance(text, str):
            raise TypeError(f"text: expected str, got {type(text).__name__}")
        return self._look_up(self._encode(text).ids, {})

    def convert_ids_to_tokens(self, ids: int | Iterable[int]) -> str | list[str]:
        """Return the token of an id, or a list of tokens.

        Parameters
        ----------
        ids : int or iterable of int

        Returns
        -------
        str or list of str

        Raises
        ------
        TypeError
            If an id is not an int.
        ValueError
            If an id is outside the vocabulary.
        """
        if isinstance(ids, Iterable):
            return self._look_up(ids, {})
        return self._look_up([ids], {})[0]

    def convert_tokens_to_ids(self, tokens: str | Iterable[str]) -> Any:
        """Return the id of a token, or a list of ids. Unknown tokens have the id of `unk_token`.

        Parameters
        ----------
        tokens : str or iterable of str

        Returns
        -------
        int or list of int
            None for an unknown token where there is no `unk_token`.

        Raises
        ------
        TypeError
            If `tokens` is neither.
        """
        if isinstance(tokens, str):
            return self._ids.get(tokens, self.unk_token_id)
        return [self._ids.get(token, self.unk_token_id) for token in tokens]

    def decode(self, ids: Iterable[int], skip_special_tokens: bool = True) -> str:
        """Return the text of a sequence of ids: pieces of words joined, without spaces before punctuation.

        Parameters
        ----------
        ids : iterable of int
            Token ids.
        skip_special_tokens : bool
            Whether to omit special tokens, ``[UNK]`` included.

        Returns
        -------
        str

        Raises
        ------
        TypeError
            If `ids` is not an iterable of int.
        ValueError
            If an id is outside the vocabulary.
        """
        if isinstance(ids, (str, bytes)) or not isinstance(ids, Iterable):
            raise TypeError(f"ids: expected a sequence of int, got {type(ids).__name__}")
        tokens = self._look_up(ids, self._decoded)
        if skip_special_tokens:
            tokens = [token for token in tokens if token not in self._specials]
        text = self.convert_tokens_to_string(tokens)
        for old, new in _CLEANUP if self._clean_up else ():
            text = text if old == " do not" else text.replace(old, new)
        return text

    def convert_tokens_to_string(self, tokens: Iterable[str]) -> str:
        """Join tokens to a text; see `decode`.

        Parameters
        ----------
        tokens : iterable of str
            Pieces inside words with their prefix.

        Returns
        -------
        str

        Raises
        ------
        TypeError
            If `tokens` is not an iterable of str.
        """
        if isinstance(tokens, (str, bytes)) or not isinstance(tokens, Iterable):
            raise TypeError(f"tokens: expected a sequence of str, got {type(tokens).__name__}")
        tokens = [check("tokens", token, str) for token in tokens]
        if self._decoder is None:
            return " ".join(tokens)
        prefix, cleanup = self._decoder
        for k, token in enumerate(tokens):
            if k:
                token = token[len(prefix) :] if token.startswith(prefix) else f" {token}"
            for old, new in _CLEANUP if cleanup else ():
                token = token.replace(old, new)
            tokens[k] = token
        return "".join(tokens)

    def _look_up(self, ids: Iterable[int], forms: Mapping[int, str]) -> list[str]:
        """Return the form or else the token of each id."""
        tokens, out = self._tokens, []
        for item in ids:
            try:
                i = operator.index(item)
            except TypeError as error:
                raise TypeError(f"ids: expected int, got something else: {error}") from None
            try:
                token = forms[i] if i in forms else tokens[i] if i >= 0 else None
            except LookupError:
                token = None
            if token is None:
                raise ValueError(f"ids: expected ids of the vocabulary, got {i}")
            out.append(token)
        return out

    def __repr__(self) -> str:
        lowercase = self._normalize.lowercase
        return f"Tokenizer(vocab_size={self.vocab_size}, max_length={self.max_length}, lowercase={lowercase})"

    def __len__(self) -> int:
        """Return the size of the vocabulary with the added tokens."""
        return self._size

    @property
    def largest_id(self) -> int:
        """The largest id of a token. A model's table of word embeddings must have a row for it.

        Special tokens do not count if they are in no template and not in the vocabulary: most texts do without.
        """
        needed = [part for template in self._templates for part, _ in template if isinstance(part, int)]
        needed += [record["id"] for record in self._added if not record.get("special")]
        largest: int = max([max(self._vocab.values(), default=0), *needed])
        return largest


def _truncated_sizes(first: int, second: int, budget: int, strategy: str, is_pair: bool) -> tuple[int, int]:
    """Return how many tokens of each text to keep."""
    excess = first + second - budget
    if excess <= 0:
        return first, second
    if budget == 0:
        return 0, 0
    if strategy == "longest_first":
        if not is_pair:
            return budget, 0
        # The shorter text stays whole if it fits into half of the budget; otherwise each gets half.
        short, long = min(first, second), max(first, second)
        long = max(short, budget - short)
        if short + long > budget:
            short, long = budget // 2, budget - budget // 2
        return (long, short) if first > second else (short, long)
    size = first if strategy == "only_first" else second
    if strategy == "only_second" and not is_pair:
        raise ValueError("truncation: 'only_second' cannot shorten a single text, expected a pair")
    if size <= excess:
        raise ValueError(f"truncation: {strategy!r} must take off {excess} tokens, but that text has only {size}")
    return (first - excess, second) if strategy == "only_first" else (first, second - excess)


def _windows(size: int, room: int, stride: int | None, side: str) -> list[slice]:
    """Return the tokens of each window of a text; those beyond a window are cut off at a `side`."""
    if size <= room or stride is None:
        starts: Iterable[int] = (0,)
    elif stride >= room:
        raise ValueError(f"stride: expected less than the {room} tokens that a window has room for, got {stride}")
    else:
        starts = range(0, size - stride, room - stride)  # the first window that reaches the end is the last
    if side == "right":
        return [slice(start, start + room) for start in starts]
    return [slice(max(0, size - start - room), size - start) for start in starts]
