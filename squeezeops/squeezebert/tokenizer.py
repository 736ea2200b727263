r"""BERT WordPiece tokenizer in plain Python, with offsets into the original text.

The output is, id for id and offset for offset, that of the Hugging Face ``tokenizers`` pipeline ``BertNormalizer`` +
``BertPreTokenizer`` + ``WordPiece`` + ``BertProcessing`` (or ``TemplateProcessing``), whatever the Python version:

* That pipeline reads its character classes from fixed tables: categories as of Unicode 8, canonical decomposition and
  combining classes as of Unicode 9, lower-casing as of Unicode 17. ``unicodedata`` moves on with each Python, so the
  classes are written out below, and ``str.lower`` and NFD are patched where Pythons 3.10 to 3.14 differ.
* Special tokens standing verbatim in a text (``"[SEP]"``, ``"[MASK]"``) become those tokens, as they do in
  ``BertTokenizerFast``; they match the raw text, case-sensitively, and are not part of any word. Strip or escape them
  in text that is not trusted.
* Every normalised character keeps the span of the one original character it came from, and a token spans from its
  first to its last. Dropped characters count for nothing: ``"e\u0301"`` is the token ``e`` at (0, 1).
* Unpaired surrogates, which ``tokenizers`` refuses, are dropped like the other control characters (or left to become
  ``[UNK]`` where ``clean_text`` is off).
"""

from __future__ import annotations

import json
import operator
import os
import re
import reprlib
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["Tokenizer"]


def _char_class(spec: str) -> str:
    """Turn ``"41+19 5F"`` (hexadecimal first code point + how many follow) into the inside of a regex ``[...]``."""
    out = []
    for part in spec.split():
        first, _, more = part.partition("+")
        out.append(f"\\U{int(first, 16):08X}-\\U{int(first, 16) + int(more or '0', 16):08X}")
    return "".join(out)


# Each table is what the reference pipeline does with every single code point; the tests go through all of them.
# Nonspacing marks (Mn) of Unicode 8, less those that decompose: dropped when accents are stripped.
_MARKS = _char_class(
    "300+3F 342 345+2A 483+4 591+2C 5BF 5C1+1 5C4+1 5C7 610+A 64B+14 670 6D6+6 6DF+5 6E7+1 6EA+3 711 730+1A 7A6+A "
    "7EB+8 816+3 81B+8 825+2 829+4 859+2 8E3+1F 93A 93C 941+7 94D 951+6 962+1 981 9BC 9C1+3 9CD 9E2+1 A01+1 A3C A41+1 "
    "A47+1 A4B+2 A51 A70+1 A75 A81+1 ABC AC1+4 AC7+1 ACD AE2+1 B01 B3C B3F B41+3 B4D B56 B62+1 B82 BC0 BCD C00 C3E+2 "
    "C46+1 C4A+3 C55+1 C62+1 C81 CBC CBF CC6 CCC+1 CE2+1 D01 D41+3 D4D D62+1 DCA DD2+2 DD6 E31 E34+6 E47+7 EB1 EB4+5 "
    "EBB+1 EC8+5 F18+1 F35 F37 F39 F71+1 F74 F77 F79+5 F80 F82+2 F86+1 F8D+5 F94+3 F99+3 F9E+3 FA3+3 FA8+3 FAD+B FBA+2 "
    "FC6 102D+3 1032+5 1039+1 103D+1 1058+1 105E+2 1071+3 1082 1085+1 108D 109D 135D+2 1712+2 1732+2 1752+1 1772+1 "
    "17B4+1 17B7+6 17C6 17C9+A 17DD 180B+2 18A9 1920+2 1927+1 1932 1939+2 1A17+1 1A1B 1A56 1A58+6 1A60 1A62 1A65+7 "
    "1A73+9 1A7F 1AB0+D 1B00+3 1B34 1B36+4 1B3C 1B42 1B6B+8 1B80+1 1BA2+3 1BA8+1 1BAB+2 1BE6 1BE8+1 1BED 1BEF+2 1C2C+7 "
    "1C36+1 1CD0+2 1CD4+C 1CE2+6 1CED 1CF4 1CF8+1 1DC0+35 1DFC+3 20D0+C 20E1 20E5+B 2CEF+2 2D7F 2DE0+1F 302A+3 3099+1 "
    "A66F A674+9 A69E+1 A6F0+1 A802 A806 A80B A825+1 A8C4 A8E0+11 A926+7 A947+A A980+2 A9B3 A9B6+3 A9BC A9E5 AA29+5 "
    "AA31+1 AA35+1 AA43 AA4C AA7C AAB0 AAB2+2 AAB7+1 AABE+1 AAC1 AAEC+1 AAF6 ABE5 ABE8 ABED FB1E FE00+F FE20+F 101FD "
    "102E0 10376+4 10A01+2 10A05+1 10A0C+3 10A38+2 10A3F 10AE5+1 11001 11038+E 1107F+2 110B3+3 110B9+1 11100+2 11127+4 "
    "1112D 11130+4 11173 11180+1 111B6+8 111CA+2 1122F+2 11234 11236+1 112DF 112E3+7 11300+1 1133C 11340 11366+6 "
    "11370+4 114B3+5 114BA 114BF+1 114C2+1 115B2+3 115BC+1 115BF+1 115DC+1 11633+7 1163D 1163F+1 116AB 116AD 116B0+5 "
    "116B7 1171D+2 11722+3 11727+4 16AF0+4 16B30+6 16F8F+3 1BC9D+1 1D167+2 1D17B+7 1D185+6 1D1AA+3 1D242+2 1DA00+36 "
    "1DA3B+31 1DA75 1DA84 1DA9B+4 1DAA1+E 1E8D0+6 E0100+EF"
)
# Punctuation (P*) of Unicode 8 and the other ASCII symbols.
_PUNCTUATION = _char_class(
    "21+E 3A+6 5B+5 7B+3 A1 A7 AB B6+1 BB BF 37E 387 55A+5 589+1 5BE 5C0 5C3 5C6 5F3+1 609+1 60C+1 61B 61E+1 66A+3 6D4 "
    "700+D 7F7+2 830+E 85E 964+1 970 AF0 DF4 E4F E5A+1 F04+E F14 F3A+3 F85 FD0+4 FD9+1 104A+5 10FB 1360+8 1400 166D+1 "
    "169B+1 16EB+2 1735+1 17D4+2 17D8+2 1800+A 1944+1 1A1E+1 1AA0+6 1AA8+5 1B5A+6 1BFC+3 1C3B+4 1C7E+1 1CC0+7 1CD3 "
    "2010+17 2030+13 2045+C 2053+B 207D+1 208D+1 2308+3 2329+1 2768+D 27C5+1 27E6+9 2983+15 29D8+3 29FC+1 2CF9+3 "
    "2CFE+1 2D70 2E00+2E 2E30+12 3001+2 3008+9 3014+B 3030 303D 30A0 30FB A4FE+1 A60D+2 A673 A67E A6F2+5 A874+3 A8CE+1 "
    "A8F8+2 A8FC A92E+1 A95F A9C1+C A9DE+1 AA5C+3 AADE+1 AAF0+1 ABEB FD3E+1 FE10+9 FE30+22 FE54+D FE63 FE68 FE6A+1 "
    "FF01+2 FF05+5 FF0C+3 FF1A+1 FF1F+1 FF3B+2 FF3F FF5B FF5D FF5F+6 10100+2 1039F 103D0 1056F 10857 1091F 1093F "
    "10A50+8 10A7F 10AF0+6 10B39+6 10B99+3 11047+6 110BB+1 110BE+3 11140+3 11174+1 111C5+4 111CD 111DB 111DD+2 11238+5 "
    "112A9 114C6 115C1+16 11641+2 1173C+2 12470+4 16A6E+1 16AF5 16B37+4 16B44 1BC9F 1DA87+4"
)
# Control, format, private use and surrogate code points (unassigned ones stay), U+FFFD: dropped by cleaning.
_REMOVED = _char_class(
    "0+8 B+1 E+11 7F+20 AD 600+5 61C 6DD 70F 180E 200B+4 202A+4 2060+4 2066+9 D800+20FF FEFF FFF9+2 FFFD 110BD 1BCA0+3 "
    "1D173+7 E0001 E0020+5F F0000+FFFD 100000+FFFD"
)
# The property White_Space; cleaning drops those of them that are control characters.
_WHITESPACE = _char_class("9+4 20 85 A0 1680 2000+A 2028+1 202F 205F 3000")

_MARK = re.compile(f"[{_MARKS}]")
_DROP = re.compile(f"[{_REMOVED}]")
_SPACE = re.compile(f"[{_WHITESPACE}]")
_WORD = re.compile(f"[{_PUNCTUATION}]|[^{_PUNCTUATION}{_WHITESPACE}]+")
# The same for ASCII text only: small classes are several times faster to scan with.
_ASCII_WORD = re.compile(r"[!-/:-@\[-`{-~]|[^!-/:-@\[-`{-~\t-\r ]+")
_ASCII_DROP = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_ASCII_SPACES = {9: " ", 10: " ", 13: " "}
# Ideographs that get spaces around them. 2B820-2B91F are missing in the reference too.
_CJK = re.compile(f"[{_char_class('3400+19BF 4E00+51FF F900+1FF 20000+A6DF 2A700+111F 2B920+158F 2F800+21F')}]")
# Marks with a combining class that stay in the text: only with them can reordering by NFD be seen in the result.
_KEPT_NONSTARTERS = _char_class(
    "8D4+D 1B44 1BAA 1BF2+1 1DFB 302E+1 A953 A9C0 111C0 11235 1134D 11442 11446 116B6 11C3F 1D165+1 1D16D+5 1E000+6 "
    "1E008+10 1E01B+6 1E023+1 1E026+4 1E944+6"
)
_KEPT_NONSTARTER = re.compile(f"[{_KEPT_NONSTARTERS}]")
# Characters with a canonical decomposition that Unicode 9 did not have yet.
_LATER_NFD = re.compile(f"[{_char_class('105C9 105E4 11383+E 113C5+3 11938 16121+7 16D68+2')}]")
# Lower-casing of Unicode 14 to 17, which older Pythons lack: (first, last, step, distance).
_LATER_LOWER = {
    chr(upper): chr(upper + distance)
    for first, last, step, distance in (
        (0x1C89, 0x1C89, 1, 1), (0x2C2F, 0x2C2F, 1, 48), (0xA7C0, 0xA7C0, 1, 1), (0xA7CB, 0xA7CB, 1, 0x264 - 0xA7CB),
        (0xA7CC, 0xA7DA, 2, 1), (0xA7DC, 0xA7DC, 1, 0x19B - 0xA7DC), (0x10570, 0x1057A, 1, 39),
        (0x1057C, 0x1058A, 1, 39), (0x1058C, 0x10592, 1, 39), (0x10594, 0x10595, 1, 39), (0x10D50, 0x10D65, 1, 32),
        (0x16EA0, 0x16EB8, 1, 27),
    )
    for upper in range(first, last + 1, step)
}  # fmt: skip
_OTHER_ALPHABETIC = re.compile(f"[{_char_class('24B6+33 1F130+19 1F150+19 1F170+19 200C+1')}]")

_SPECIAL_KINDS = ("unk", "cls", "sep", "pad", "mask")
_STRATEGIES = ("longest_first", "only_first", "only_second")
_CACHE_SIZE = 1 << 16
_ADDED_FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")
_UNLIMITED = 1 << 31  # ids end here; transformers writes 1e30 as the length of a model that has none
_CLEANUP = (
    (" .", "."), (" ?", "?"), (" !", "!"), (" ,", ","), (" ' ", "'"), (" n't", "n't"), (" 'm", "'m"),
    (" do not", " don't"), (" 's", "'s"), (" 've", "'ve"), (" 're", "'re"),
)  # fmt: skip


def _nfd(char: str) -> str:
    return char if _LATER_NFD.match(char) else unicodedata.normalize("NFD", char)


def _combining_class(char: str) -> int:
    # Classes never change once given, so that only what Unicode 9 knew to be a mark needs looking up.
    return unicodedata.combining(char) if _MARK.match(char) or _KEPT_NONSTARTER.match(char) else 0


def _is_word_char(char: str) -> bool:
    category = unicodedata.category(char)
    return category[0] in "LM" or category in ("Nd", "Nl", "Pc") or bool(_OTHER_ALPHABETIC.match(char))


class _CharMap(dict[str, str]):
    """Normalised form of each character seen so far; the rest is worked out on first sight."""

    def __init__(self, clean: bool = False, cjk: bool = False, strip: bool = False, lower: bool = False) -> None:
        super().__init__()
        self.flags = (clean, cjk, strip, lower)

    def __missing__(self, char: str) -> str:
        clean, cjk, strip, lower = self.flags
        out = char
        if clean:
            out = "" if _DROP.match(char) else " " if _SPACE.match(char) else char
        spaced = cjk and _CJK.match(char)
        if strip:
            out = _MARK.sub("", _nfd(out)) if out else out
        if lower:
            # One by one: a string's lower() would see word-final sigmas.
            out = "".join(_LATER_LOWER.get(c) or c.lower() for c in out)
        out = f" {out} " if spaced else out
        if len(self) < _CACHE_SIZE:
            self[char] = out
        return out


class _AddedTokens:
    """Added tokens of one sort (matched in raw or in normalised text): leftmost, then longest, match wins."""

    def __init__(self, records: Mapping[str, Mapping[str, Any]]) -> None:
        self.records = records
        longest_first = sorted(filter(None, records), key=len, reverse=True)
        self.pattern = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def split(self, text: str) -> Iterator[tuple[int, int, int | None]]:
        """Yield (start, end, id of the added token or None) covering the text."""
        done = 0
        for match in self.pattern.finditer(text) if self.pattern else ():
            start, end = match.span()
            record = self.records[match.group()]
            if record.get("single_word") and (
                (start > 0 and _is_word_char(text[start - 1])) or (end < len(text) and _is_word_char(text[end]))
            ):
                continue
            if record.get("lstrip"):
                while start > done and _SPACE.match(text, start - 1):
                    start -= 1
            if record.get("rstrip"):
                while end < len(text) and _SPACE.match(text, end):
                    end += 1
            if done < start:
                yield done, start, None
            yield start, end, record["id"]
            done = end
        if done < len(text):
            yield done, len(text), None


class Tokenizer:
    """BERT WordPiece tokenizer; calls from several threads at once are safe.

    Parameters
    ----------
    vocab : mapping of str to int, or list or tuple of str
        Token to id, or the tokens in the order of their ids (of equal tokens the last one counts).
    lowercase, handle_chinese_chars, clean_text : bool
        What normalisation does: lower-case, put spaces around ideographs, drop control characters.
    strip_accents : bool or None
        Whether to drop accents; ``None`` follows `lowercase`.
    unk_token, cls_token, sep_token, pad_token, mask_token : str
        The special tokens; all must be in the vocabulary.
    max_length : int or None
        The most tokens the model takes, special ones included: what truncation cuts to by default.
    continuing_subword_prefix : str
        Mark of the pieces inside a word.
    max_input_chars_per_word : int
        Longer words than this become `unk_token`.
    added_tokens : iterable of dict, or None
        Tokens matched as a whole before WordPiece, as records like those of ``added_tokens`` in ``tokenizer.json``;
        ``None`` stands for the five special tokens, matched verbatim.

    Attributes
    ----------
    unk_token_id, cls_token_id, sep_token_id, pad_token_id, mask_token_id : int
        Ids of the special tokens.
    vocab_size : int
        Size of the vocabulary without the added tokens (``len`` counts them).

    Raises
    ------
    TypeError
        If an argument, a token, an id or a record is of another type.
    ValueError
        If an id is not in [0, 2**31), another number is too small, a special token is missing, or an added token has
        another id in the vocabulary.
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
        cls_token: str = "[CLS]",
        sep_token: str = "[SEP]",
        pad_token: str = "[PAD]",
        mask_token: str = "[MASK]",
        max_length: int | None = None,
        continuing_subword_prefix: str = "##",
        max_input_chars_per_word: int = 100,
        added_tokens: Iterable[Mapping[str, Any]] | None = None,
    ) -> None:
        if not isinstance(vocab, (list, tuple, Mapping)):
            raise TypeError(f"vocab: expected a dict of token to id or a list of tokens, got {type(vocab).__name__}")
        items = list(vocab.items() if isinstance(vocab, Mapping) else zip(vocab, range(len(vocab)), strict=True))
        for token, i in items:
            _check_id("vocab", token, i)
        self._vocab = dict(items)
        self.vocab_size = len(self._vocab)
        self.max_length: int | None = _check_int("max_length", max_length, 1, type(None))
        self.unk_token, self.cls_token, self.sep_token = unk_token, cls_token, sep_token
        self.pad_token, self.mask_token = pad_token, mask_token
        self._lowercase, self._clean = _check("lowercase", lowercase, bool), _check("clean_text", clean_text, bool)
        _check("handle_chinese_chars", handle_chinese_chars, bool)
        _check("strip_accents", strip_accents, bool, type(None))
        self._strip = lowercase if strip_accents is None else strip_accents
        self._prefix = _check("continuing_subword_prefix", continuing_subword_prefix, str)
        self._max_chars = _check_int("max_input_chars_per_word", max_input_chars_per_word, 0)
        self._decoder: tuple[str, bool] | None = (continuing_subword_prefix, True)
        self._full_map = _CharMap(clean_text, handle_chinese_chars, self._strip, lowercase)
        self._first_map = _CharMap(clean_text, handle_chinese_chars)
        self._lower_map = _CharMap(lower=lowercase)

        specials = [_check(f"{kind}_token", getattr(self, f"{kind}_token"), str) for kind in _SPECIAL_KINDS]
        if added_tokens is None:
            known = [token for token in specials if token in self._vocab]
            added_tokens = [{"content": token, "id": self._vocab[token], "special": True} for token in known]
        added: dict[str, Mapping[str, Any]] = {}
        for k, record in enumerate(_check("added_tokens", added_tokens, Iterable)):
            name = f"added_tokens[{k}]"
            content, i = (_check(name, record, Mapping).get(key) for key in ("content", "id"))
            _check_id(name, content, i)
            for flag in _ADDED_FLAGS:
                _check(f"{name}: {flag}", record.get(flag, False), bool)
            if i != self._vocab.get(content, i):
                raise ValueError(f"{name}: {content!r}: expected id {self._vocab[content]}, got {i}")
            added[content] = record
        self._ids: dict[str, int] = {content: record["id"] for content, record in added.items()} | self._vocab
        missing = [token for token in specials if token not in self._ids]
        if missing:
            raise ValueError(f"vocab: special tokens {missing} are missing from the vocabulary of {len(vocab)} tokens")
        if self.unk_token not in self._vocab:
            raise ValueError(f"unk_token: {self.unk_token!r} must be in the vocabulary itself")
        self._tokens = {i: token for token, i in self._ids.items()}
        self._specials = {content for content, record in added.items() if record.get("special")}
        self._verbatim = _AddedTokens({c: r for c, r in added.items() if not r.get("normalized")})
        normalized = {content: self._normalize(content)[0] for content, r in added.items() if r.get("normalized")}
        self._normalized = _AddedTokens({form: added[content] for content, form in normalized.items()})
        # The reference decodes tokens that match normalised text to their normalised form.
        self._decoded = self._tokens | {self._ids[content]: form for content, form in normalized.items()}

        self._longest = max(map(len, self._vocab), default=0)
        self._cache: dict[str, tuple[tuple[int, int, int], ...]] = {}
        unk, cls, sep, pad, mask = (self._ids[token] for token in specials)
        self.unk_token_id, self.cls_token_id, self.sep_token_id = unk, cls, sep
        self.pad_token_id, self.mask_token_id = pad, mask
        # For one text and for a pair: "A", "B" or the id of a special token, each with its token type.
        self._templates: list[list[tuple[str | int, int]]] = [
            [(cls, 0), ("A", 0), (sep, 0)],
            [(cls, 0), ("A", 0), (sep, 0), ("B", 1), (sep, 1)],
        ]

    @classmethod
    def from_pretrained(cls, path: str | os.PathLike[str]) -> Tokenizer:
        """Load a tokenizer from a folder (``tokenizer.json`` if there, else ``vocab.txt``) or from one such file.

        ``tokenizer_config.json`` beside it gives ``model_max_length`` and the names of the special tokens and, for a
        ``vocab.txt``, ``do_lower_case``, ``strip_accents`` and ``tokenize_chinese_chars``. ``tokenizer.json`` itself
        says everything else; its ``truncation`` and ``padding`` are not applied, being arguments of each call here.

        Parameters
        ----------
        path : str or path
            The folder or file.

        Returns
        -------
        Tokenizer
            What the files describe.

        Raises
        ------
        TypeError
            If `path` is no path.
        FileNotFoundError
            If there is nothing to load.
        ValueError
            If a file cannot be read or asks for something this class does not do; the message names the file.
        """
        path = Path(_check("path", path, str, os.PathLike))
        candidates = (path / "tokenizer.json", path / "vocab.txt") if path.is_dir() else (path,)
        file = next((candidate for candidate in candidates if candidate.is_file()), None)
        if file is None:
            raise FileNotFoundError(f"path: expected a tokenizer.json or a vocab.txt, found neither at {path}")
        config = file.parent / "tokenizer_config.json"
        with _naming(config):
            options = _read_config(_read_json(config)) if config.is_file() else {}
        with _naming(file):
            if file.suffix == ".json":
                return cls._from_json(_read_json(file), options)
            # One token a line, blank ones included: the line number is the id.
            lines = file.read_bytes().decode("utf-8").removesuffix("\n").split("\n")
            blanks = "".join(filter(_SPACE.match, map(chr, range(0x3001))))
            return cls([line.rstrip(blanks) for line in lines], **options)

    @classmethod
    def _from_json(cls, data: Mapping[str, Any], options: dict[str, Any]) -> Tokenizer:
        sections: list[Any] = [data.get(key) for key in ("model", "normalizer", "post_processor", "decoder")]
        model, normalizer, post, decoder = sections
        # Files of the first releases have neither for WordPiece.
        if not isinstance(model, dict) or "type" in model or "merges" in model:
            _expect("model", model, "WordPiece")
        _expect("normalizer", normalizer, "BertNormalizer")
        _expect("pre_tokenizer", data.get("pre_tokenizer"), "BertPreTokenizer")
        options |= {key: normalizer.get(key) for key in ("clean_text", "handle_chinese_chars", "lowercase")}
        options["strip_accents"] = normalizer.get("strip_accents")
        for key in ("unk_token", "continuing_subword_prefix", "max_input_chars_per_word"):
            options[key] = model.get(key)
        templates: list[list[tuple[str | int, int]]] = [[("A", 0)], [("A", 0), ("B", 1)]]
        ends: dict[str, int] = {}
        if post is not None:
            _expect("post_processor", post, "BertProcessing", "TemplateProcessing")
            if post["type"] == "TemplateProcessing":
                templates = [_read_template(post, kind) for kind in ("single", "pair")]
            else:
                ends = {kind: _read_end(post, kind, options) for kind in ("cls", "sep")}
        vocab = _check("model: vocab", model.get("vocab"), dict)
        added = data.get("added_tokens")
        self = cls(vocab, added_tokens=[] if added is None else _check("added_tokens", added, list), **options)
        for kind, i in ends.items():
            token, own = options[f"{kind}_token"], getattr(self, f"{kind}_token_id")
            if i != own:
                raise ValueError(f"post_processor: {kind}: {token!r}: expected id {own} as in the vocabulary, got {i}")
        unknown = {part for t in templates for part, _ in t if isinstance(part, int)} - self._tokens.keys()
        if unknown:
            raise ValueError(f"post_processor: ids {sorted(unknown)} are not in the vocabulary")
        if not ends:  # what BertProcessing does is what the constructor has set up
            self._templates = templates
        self._decoder = None
        if decoder is not None:
            _expect("decoder", decoder, "WordPiece")
            prefix = _check("decoder: prefix", decoder.get("prefix"), str)
            self._decoder = prefix, _check("decoder: cleanup", decoder.get("cleanup"), bool)
        return self

    def __call__(
        self,
        text: str | Sequence[str],
        pair: str | Sequence[str] | None = None,
        *,
        truncation: bool | str = False,
        max_length: int | None = None,
        padding: bool | str = False,
        add_special_tokens: bool = True,
    ) -> dict[str, list[Any]]:
        """Encode a text, a pair of texts, or a list of either.

        Parameters
        ----------
        text, pair : str, or list or tuple of str
            A text and, for pairs, its second text; or two lists of them, equally long.
        truncation : bool or str
            ``False`` (or ``"do_not_truncate"``) leaves long texts as they are; ``True`` is ``"longest_first"``; also
            ``"only_first"`` and ``"only_second"``. Tokens are cut off the end.
        max_length : int or None
            What truncation cuts to, special tokens included; by default the `max_length` of the tokenizer.
        padding : bool or str
            ``True`` (or ``"longest"``) pads a list of texts on the right to the longest one.
        add_special_tokens : bool
            Whether to put ``[CLS]`` and ``[SEP]`` in.

        Returns
        -------
        dict
            ``input_ids``, ``token_type_ids``, ``attention_mask`` and ``offsets`` ((start, end) of each token in its
            text, (0, 0) for special tokens and padding), as lists; for a list of texts, as lists of lists.

        Raises
        ------
        TypeError
            If a text is not a str, or `max_length` not an int.
        ValueError
            If an option has an unknown value, there are not as many pairs as texts, or truncation lacks a length or
            cannot reach it.
        """
        strategy = "longest_first" if truncation is True else truncation or "do_not_truncate"
        if strategy not in (*_STRATEGIES, "do_not_truncate"):
            raise ValueError(f"truncation: expected a bool, 'do_not_truncate' or {_STRATEGIES}, got {truncation!r}")
        if padding not in (True, False, "longest", "do_not_pad"):
            raise ValueError(f"padding: expected True, False, 'longest' or 'do_not_pad', got {padding!r}")
        limit = _check_int("max_length", max_length, 1, type(None)) or self.max_length
        if strategy == "do_not_truncate":
            limit = None
        elif limit is None:
            raise ValueError("max_length: truncation needs one, and the tokenizer has none of its own; got None")
        if not isinstance(text, (list, tuple)):
            return self._encode_pair(text, pair, "", strategy, limit, add_special_tokens)
        if pair is None:
            pairs: Sequence[str | None] = [None] * len(text)
        elif isinstance(pair, (list, tuple)) and len(pair) == len(text):
            pairs = pair
        else:
            got = f"{len(pair)}" if isinstance(pair, (list, tuple)) else type(pair).__name__
            raise ValueError(f"pair: expected a list of {len(text)} texts, as many as in text, got {got}")
        rows = [
            self._encode_pair(a, b, f"[{i}]", strategy, limit, add_special_tokens)
            for i, (a, b) in enumerate(zip(text, pairs, strict=True))
        ]
        fill = {"input_ids": self.pad_token_id, "token_type_ids": 0, "attention_mask": 0, "offsets": (0, 0)}
        width = max((len(row["input_ids"]) for row in rows), default=0) if padding in (True, "longest") else 0
        return {key: [row[key] + [value] * (width - len(row[key])) for row in rows] for key, value in fill.items()}

    def _encode_pair(
        self, text: object, pair: object, index: str, strategy: str, limit: int | None, add_special: bool
    ) -> dict[str, list[Any]]:
        if not isinstance(text, str):
            raise TypeError(f"text{index}: expected str, got {type(text).__name__}")
        if pair is not None and not isinstance(pair, str):
            raise TypeError(f"pair{index}: expected str or None, got {type(pair).__name__}")
        template = self._templates[pair is not None]
        parts = {"A": self._encode(text), "B": self._encode(pair) if pair is not None else ([], [])}
        if limit is not None:
            budget = limit - (sum(isinstance(part, int) for part, _ in template) if add_special else 0)
            if budget < 0:
                raise ValueError(f"max_length: expected at least the {limit - budget} special tokens, got {limit}")
            sizes = len(parts["A"][0]), len(parts["B"][0])
            keep = _truncated_sizes(*sizes, budget, strategy, pair is not None)
            parts = {key: (ids[:n], spans[:n]) for (key, (ids, spans)), n in zip(parts.items(), keep, strict=True)}
        ids: list[int] = []
        types: list[int] = []
        offsets: list[tuple[int, int]] = []
        for part, type_id in template:
            if isinstance(part, str):
                ids += parts[part][0]
                offsets += parts[part][1]
            elif add_special:
                ids.append(part)
                offsets.append((0, 0))
            types += [type_id] * (len(ids) - len(types))
        return {"input_ids": ids, "token_type_ids": types, "attention_mask": [1] * len(ids), "offsets": offsets}

    def _encode(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Ids and offsets of one text, without special tokens around it."""
        ids: list[int] = []
        offsets: list[tuple[int, int]] = []
        known = self._cache.get
        for base, stop, token in self._verbatim.split(text):
            if token is not None:
                ids.append(token)
                offsets.append((base, stop))
                continue
            chunk = text[base:stop]
            normal, origin = self._normalize(chunk)
            words = (_ASCII_WORD if normal.isascii() else _WORD).finditer
            for begin, end, token in self._normalized.split(normal):
                if token is not None:
                    ids.append(token)
                    first, last = (origin[begin], origin[end - 1]) if origin else (begin, end - 1)
                    offsets.append((base + first, base + last + 1))
                    continue
                for match in words(normal, begin, end):
                    word = match.group()
                    pieces = known(word) or self._word_pieces(word)
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
        return ids, offsets

    def _normalize(self, text: str) -> tuple[str, list[int] | None]:
        """Normalised text and, for each of its characters, the index it came from (None: the same index)."""
        if text.isascii() and not (self._clean and _ASCII_DROP.search(text)):
            if self._clean:
                text = text.translate(_ASCII_SPACES)
            return (text.lower() if self._lowercase else text), None
        if self._strip and _KEPT_NONSTARTER.search(text):
            return self._normalize_reordering(text)
        char_map = self._full_map
        parts = [char_map[char] for char in text]
        normal = "".join(parts)
        if len(normal) == len(text) and max(map(len, parts)) == 1:
            return normal, None
        return normal, [i for i, part in enumerate(parts) for _ in part]

    def _normalize_reordering(self, text: str) -> tuple[str, list[int]]:
        """Normalise text in which NFD may put marks that are kept in another order.

        The reference lets "first of a decomposition" travel with the sorted marks and then hands out origins in
        sequence, so that a reordered mark takes the place, and the origin, of the mark that was there before.
        """
        source = [(char, i) for i, original in enumerate(text) for char in self._first_map[original]]
        marks: list[tuple[int, str, bool]] = []
        ordered: list[tuple[int, str, bool]] = []
        for char, _ in source:
            for k, part in enumerate(_nfd(char)):
                rank = _combining_class(part)
                if rank == 0:
                    ordered += sorted(marks, key=operator.itemgetter(0))
                    marks.clear()
                (marks if rank else ordered).append((rank, part, k == 0))
        ordered += sorted(marks, key=operator.itemgetter(0))
        out, origin, taken = [], [], 0
        for _, part, is_first in ordered:
            taken += is_first
            if not _MARK.match(part):
                lowered = self._lower_map[part]
                out.append(lowered)
                origin += [source[taken - 1][1]] * len(lowered)
        return "".join(out), origin

    def _word_pieces(self, word: str) -> tuple[tuple[int, int, int], ...]:
        """(id, start, end) of the pieces of a word: the longest known prefix, then the longest that continues..."""
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
        result = tuple(pieces) if start == size else ((self.unk_token_id, 0, size),)
        if size > self._max_chars:
            return result  # found fast enough, and of any length
        if len(self._cache) >= _CACHE_SIZE:
            self._cache.clear()  # rare enough that keeping track of use would cost more
        self._cache[word] = result
        return result

    def tokenize(self, text: str) -> list[str]:
        """Tokens of a text, without special tokens around it.

        Parameters
        ----------
        text : str
            The text.

        Returns
        -------
        list of str
            Its tokens.

        Raises
        ------
        TypeError
            If `text` is not a str.
        """
        if not isinstance(text, str):
            raise TypeError(f"text: expected str, got {type(text).__name__}")
        return [self._tokens[i] for i in self._encode(text)[0]]

    def convert_ids_to_tokens(self, ids: int | Iterable[int]) -> str | list[str]:
        """Token of an id, or the list of them.

        Parameters
        ----------
        ids : int or iterable of int
            The id or ids.

        Returns
        -------
        str or list of str
            The token, or as many as there are ids.

        Raises
        ------
        TypeError
            If an id is not an int.
        ValueError
            If an id is outside the vocabulary.
        """
        if isinstance(ids, Iterable):
            return self._look_up(ids, self._tokens)
        return self._look_up([ids], self._tokens)[0]

    def convert_tokens_to_ids(self, tokens: str | Iterable[str]) -> int | list[int]:
        """Id of a token, or the list of them; unknown tokens have that of `unk_token`.

        Parameters
        ----------
        tokens : str or iterable of str
            The token or tokens.

        Returns
        -------
        int or list of int
            The id, or as many as there are tokens.

        Raises
        ------
        TypeError
            If `tokens` is neither.
        """
        if isinstance(tokens, str):
            return self._ids.get(tokens, self.unk_token_id)
        return [self._ids.get(token, self.unk_token_id) for token in tokens]

    def decode(self, ids: Iterable[int], skip_special_tokens: bool = True) -> str:
        """Text of a sequence of ids, with the pieces of words joined and the spaces before punctuation taken out.

        Parameters
        ----------
        ids : iterable of int
            Token ids.
        skip_special_tokens : bool
            Whether to leave the special tokens out, ``[UNK]`` being one of them.

        Returns
        -------
        str
            The text.

        Raises
        ------
        TypeError
            If `ids` is no iterable of int.
        ValueError
            If an id is outside the vocabulary.
        """
        if isinstance(ids, (str, bytes)) or not isinstance(ids, Iterable):
            raise TypeError(f"ids: expected a sequence of int, got {type(ids).__name__}")
        tokens = self._look_up(ids, self._decoded)
        if skip_special_tokens:
            tokens = [token for token in tokens if token not in self._specials]
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

    @staticmethod
    def _look_up(ids: Iterable[int], tokens: Mapping[int, str]) -> list[str]:
        try:
            return [tokens[operator.index(i)] for i in ids]
        except KeyError as error:
            raise ValueError(f"ids: expected ids of the vocabulary, got {error}") from None
        except TypeError as error:
            raise TypeError(f"ids: expected int, got something else: {error}") from None

    def __len__(self) -> int:
        """Size of the vocabulary with the added tokens."""
        return len(self._ids)

    @property
    def largest_id(self) -> int:
        """The largest id that a text may get: what a model's table must have a row for."""
        return max(self._tokens)


def _truncated_sizes(first: int, second: int, budget: int, strategy: str, is_pair: bool) -> tuple[int, int]:
    """How many tokens of each text to keep."""
    excess = first + second - budget
    if excess <= 0:
        return first, second
    if budget == 0:
        return 0, 0
    if strategy == "longest_first":
        if not is_pair:
            return budget, 0
        # The shorter text stays whole while it fits in half the room; otherwise both get half of it.
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


def _check(name: str, value: Any, *kinds: type) -> Any:
    """Return a value of one of these types; True and False are of type bool alone."""
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        expected = " or ".join(kind.__name__.removesuffix("Type") for kind in kinds)
        raise TypeError(f"{name}: expected {expected}, got {reprlib.repr(value)}")
    return value


def _check_int(name: str, value: Any, least: int, *others: type) -> Any:
    if _check(name, value, int, *others) is not None and value < least:
        raise ValueError(f"{name}: expected at least {least}, got {value}")
    return value


def _check_id(name: str, token: Any, i: Any) -> None:
    typed = isinstance(token, str) and isinstance(i, int) and not isinstance(i, bool)
    if not typed or not 0 <= i < _UNLIMITED:
        got = f"{reprlib.repr(token)}: {reprlib.repr(i)}"
        raise (ValueError if typed else TypeError)(f"{name}: expected a str with an int in [0, 2**31), got {got}")


@contextmanager
def _naming(file: Path) -> Iterator[None]:
    """Turn what is wrong with a file's contents into a ValueError that names the file."""
    try:
        yield
    except RecursionError:
        raise ValueError(f"{file}: expected a JSON object, got one nested too deeply") from None
    except (TypeError, ValueError) as error:
        raise ValueError(f"{file}: {error}") from error


def _read_json(file: Path) -> dict[str, Any]:
    data = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(data, dict):
        raise ValueError(f"expected a JSON object, got {reprlib.repr(data)}")
    return data


def _read_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Options that ``tokenizer_config.json`` gives; what ``tokenizer.json`` says comes before them."""
    options: dict[str, Any] = {}
    for key in (f"{kind}_token" for kind in _SPECIAL_KINDS):
        token, name = config.get(key), key
        if isinstance(token, dict):
            token, name = token.get("content"), f"{key}: content"
        if config.get(key) is not None:
            options[key] = _check(name, token, str)
    length = config.get("model_max_length")
    if not isinstance(length, (int, float)) or not length >= _UNLIMITED:
        options["max_length"] = _check_int("model_max_length", length, 1, type(None))
    for key, name in (("do_lower_case", "lowercase"), ("tokenize_chinese_chars", "handle_chinese_chars")):
        if key in config:
            options[name] = _check(key, config[key], bool)
    options["strip_accents"] = _check("strip_accents", config.get("strip_accents"), bool, type(None))
    return options


def _read_end(post: Mapping[str, Any], kind: str, options: dict[str, Any]) -> int:
    """Put the token at one end of BertProcessing into the options and return its id."""
    pair = post.get(kind)
    if not isinstance(pair, list) or len(pair) != 2:
        raise ValueError(f"post_processor: {kind}: expected a token and its id, got {reprlib.repr(pair)}")
    options[f"{kind}_token"], i = pair
    _check_id(f"post_processor: {kind}", *pair)
    return int(i)


def _read_template(post: Mapping[str, Any], kind: str) -> list[tuple[str | int, int]]:
    out: list[tuple[str | int, int]] = []
    specials = _check(name := "post_processor: special_tokens", post.get("special_tokens"), dict)
    for k, item in enumerate(_check(f"post_processor: {kind}", post.get(kind), list)):
        parts: list[str | int]
        match item:
            case {"Sequence": {"id": "A" | "B" as part, "type_id": type_id}}:
                parts = [part]
            case {"SpecialToken": {"id": str(part), "type_id": type_id}} if part in specials:
                ids = _check(f"{name}: {part!r}", specials[part], dict).get("ids")
                parts = _check(f"{name}: {part!r}: ids", ids, list)
                for i in parts:
                    _check_id(name, part, i)
            case _:
                expected = "a Sequence 'A' or 'B' or one of the special_tokens as a SpecialToken, with a type_id"
                raise ValueError(f"post_processor: {kind}[{k}]: expected {expected}, got {reprlib.repr(item)}")
        _check_id(f"post_processor: {kind}[{k}]: type_id", part, type_id)
        out += [(part, type_id) for part in parts]
    return out


def _expect(section: str, found: Any, *types: str) -> None:
    got = found.get("type") if isinstance(found, dict) else found
    if got not in types or got is found:
        raise ValueError(f"{section}: expected {' or '.join(types)}, got {reprlib.repr(got)}")
