"""Reads a tokenizer's JSON files. Every value is checked; errors name the file."""

from __future__ import annotations

import json
import re
import reprlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from squeezeops.squeezebert.files.converted import Entry

__all__ = [
    "ADDED_FLAGS",
    "SPECIAL_KINDS",
    "check",
    "check_algorithm",
    "check_id",
    "check_int",
    "expect",
    "naming",
    "read_config",
    "read_end",
    "read_json",
    "read_template",
    "read_vocab_options",
]

SPECIAL_KINDS = ("unk", "cls", "sep", "pad", "mask")
ADDED_FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")
# Classes that use a vocab.txt as BERT does; each has a "Fast" form.
BERT_CLASSES = (
    "BertTokenizer",
    "SqueezeBertTokenizer",
    "DistilBertTokenizer",
    "ElectraTokenizer",
    "MobileBertTokenizer",
)
UNLIMITED = 1 << 31  # ids are smaller; transformers writes 1e30 as the length of a model without a limit


def check(name: str, value: Any, *kinds: type) -> Any:
    """Check the type of a value and return it. A bool is not an int here."""
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        expected = " or ".join(kind.__name__.removesuffix("Type") for kind in kinds)
        raise TypeError(f"{name}: expected {expected}, got {reprlib.repr(value)}")
    return value


def check_int(name: str, value: Any, least: int, *others: type) -> Any:
    """Check an int of at least `least`, or a value of the other types, and return it."""
    if check(name, value, int, *others) is not None and value < least:
        raise ValueError(f"{name}: expected at least {least}, got {value}")
    return value


def check_id(name: str, token: Any, i: Any) -> None:
    """Check that a token is a str and its id an int in [0, 2**31)."""
    typed = isinstance(token, str) and isinstance(i, int) and not isinstance(i, bool)
    if not typed or not 0 <= i < UNLIMITED:
        got = f"{reprlib.repr(token)}: {reprlib.repr(i)}"
        raise (ValueError if typed else TypeError)(f"{name}: expected a str with an int in [0, 2**31), got {got}")


@contextmanager
def naming(file: Path | Entry) -> Iterator[None]:
    """Turn errors about a file's contents into a ValueError that names the file."""
    try:
        yield
    except RecursionError:
        raise ValueError(f"{file}: expected a JSON object, got one nested too deeply") from None
    except (TypeError, ValueError) as error:
        raise ValueError(f"{file}: {error}") from error


def read_json(file: Path | Entry) -> dict[str, Any]:
    """Read a JSON object."""
    data = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(data, dict):
        raise ValueError(f"expected a JSON object, got {reprlib.repr(data)}")
    return data


def read_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Read the options of ``tokenizer_config.json``. Those of ``tokenizer.json`` take precedence."""
    options: dict[str, Any] = {}
    for key in (f"{kind}_token" for kind in SPECIAL_KINDS):
        token, name = config.get(key), key
        if isinstance(token, dict):
            token, name = token.get("content"), f"{key}: content"
        if config.get(key) is not None:
            options[key] = check(name, token, str)
    length = config.get("model_max_length")
    if not isinstance(length, (int, float)) or not length >= UNLIMITED:
        options["max_length"] = check_int("model_max_length", length, 1, type(None))
    for key, name in (("do_lower_case", "lowercase"), ("tokenize_chinese_chars", "handle_chinese_chars")):
        if key in config:
            options[name] = check(key, config[key], bool)
    options["strip_accents"] = check("strip_accents", config.get("strip_accents"), bool, type(None))
    return options


def check_algorithm(config: Mapping[str, Any]) -> None:
    """Refuse a ``vocab.txt`` of another algorithm than BERT's WordPiece, which is the default without a class."""
    for key, known in (
        ("tokenizer_class", BERT_CLASSES),
        ("word_tokenizer_type", ("basic",)),
        ("subword_tokenizer_type", ("wordpiece",)),
    ):
        name = check(key, config.get(key), str, type(None))
        if name is not None and (name.removesuffix("Fast") if known is BERT_CLASSES else name) not in known:
            expected = f"one of {known}" if len(known) > 1 else repr(known[0])
            raise ValueError(f"{key}: expected {expected}, got {reprlib.repr(name)}")
    if not check("do_basic_tokenize", config.get("do_basic_tokenize", True), bool):
        raise ValueError("do_basic_tokenize: expected True, got False")


def _read_record(name: str, token: Any) -> dict[str, Any]:
    """Read a token, given as its text or as a record."""
    record = token if isinstance(token, dict) else {"content": check(name, token, str)}
    if not check(f"{name}: content", record.get("content"), str):
        raise ValueError(f"{name}: content: expected a token, got ''")
    flags = {flag: check(f"{name}: {flag}", record[flag], bool) for flag in ADDED_FLAGS if flag in record}
    return {"content": record["content"]} | flags


def _read_specials(config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Read the records of all special tokens that a configuration names."""
    named = {key: config.get(key) for key in (f"{kind}_token" for kind in (*SPECIAL_KINDS, "bos", "eos"))}
    specials = {key: _read_record(key, token) for key, token in named.items() if token is not None}
    for key in ("additional_special_tokens", "extra_special_tokens"):
        extra = check(key, config.get(key), list, dict, type(None)) or []
        for k, token in extra.items() if isinstance(extra, dict) else enumerate(extra):
            record = _read_record(f"{key}[{k!r}]", token)
            specials[f"{key}: {record['content']!r}"] = record
    return specials


def _check_new_ids(added: dict[int, tuple[str, dict[str, Any]]], vocab: Mapping[str, int]) -> None:
    """Check that added tokens have their id of the vocabulary, or the next free id."""
    free, seen = len(vocab), dict(vocab)
    for i, (name, record) in sorted(added.items()):
        expected = seen.setdefault(record["content"], free)
        if i != expected:
            raise ValueError(f"{name}: {reprlib.repr(record['content'])}: expected id {expected}, got {i}")
        free = max(free, i + 1)


def read_vocab_options(folder: Path | Entry, config: Mapping[str, Any], vocab: Mapping[str, int]) -> dict[str, Any]:
    """Read the special and added tokens of a ``vocab.txt`` from the files beside it.

    ``added_tokens_decoder`` of ``tokenizer_config.json`` lists them all. Older folders have ``added_tokens.json`` and
    ``special_tokens_map.json``, which takes precedence over the configuration.
    """
    added: dict[int, tuple[str, dict[str, Any]]] = {}  # id: name for messages, record
    config_file, map_file, added_file = (
        folder / f"{name}.json" for name in ("tokenizer_config", "special_tokens_map", "added_tokens")
    )
    with naming(config_file):
        specials = {key: (config_file, record) for key, record in _read_specials(config).items()}
        if "added_tokens_decoder" in config:
            for key, record in check("added_tokens_decoder", config["added_tokens_decoder"], dict).items():
                name = f"added_tokens_decoder: {reprlib.repr(key)}"
                if not re.fullmatch("[0-9]{1,10}", key) or int(key) in added:
                    raise ValueError(f"{name}: expected an id of its own, got {reprlib.repr(key)}")
                check_id(name, check(name, record, dict).get("content"), int(key))
                added[int(key)] = name, _read_record(name, record)
            _check_new_ids(added, vocab)
    if "added_tokens_decoder" not in config:
        if map_file.is_file():
            with naming(map_file):
                specials |= {key: (map_file, record) for key, record in _read_specials(read_json(map_file)).items()}
        if added_file.is_file():
            with naming(added_file):
                for token, i in read_json(added_file).items():
                    check_id(name := reprlib.repr(token), token, i)
                    if i in added:
                        raise ValueError(f"{name}: expected an id of its own, got {i} again")
                    added[i] = name, _read_record(name, token)
                _check_new_ids(added, vocab)
    options = {
        key: record["content"] for key, (_, record) in specials.items() if key.removesuffix("_token") in SPECIAL_KINDS
    }
    for kind in SPECIAL_KINDS:
        specials.setdefault(f"{kind}_token", (config_file, {"content": f"[{kind.upper()}]"}))
    special_contents = {record["content"] for _, record in specials.values()}
    records = {record["content"]: record | {"id": i} for i, (_, record) in sorted(added.items())}
    for key, (file, record) in specials.items():
        token = record["content"]
        if token in vocab:
            records.setdefault(token, record | {"id": vocab[token]})
        # The constructor checks the five required tokens.
        elif token not in records and key.removesuffix("_token") not in SPECIAL_KINDS:
            raise ValueError(f"{file}: {key}: expected a token with an id, got {reprlib.repr(token)}, which has none")
    for token, record in records.items():
        record["special"] = record.get("special", False) or token in special_contents
        record.setdefault("normalized", not record["special"])
    return options | {"added_tokens": list(records.values())}


def read_end(post: Mapping[str, Any], kind: str, options: dict[str, Any]) -> int:
    """Put the special token at one end of BertProcessing into the options; return its id."""
    pair = post.get(kind)
    if not isinstance(pair, list) or len(pair) != 2:
        raise ValueError(f"post_processor: {kind}: expected a token and its id, got {reprlib.repr(pair)}")
    options[f"{kind}_token"], i = pair
    check_id(f"post_processor: {kind}", *pair)
    return int(i)


def read_template(post: Mapping[str, Any], kind: str) -> list[tuple[str | int, int]]:
    """Read a template: items "A", "B" or the id of a special token, each with its token type."""
    out: list[tuple[str | int, int]] = []
    specials = check(name := "post_processor: special_tokens", post.get("special_tokens"), dict)
    for k, item in enumerate(check(f"post_processor: {kind}", post.get(kind), list)):
        parts: list[str | int]
        match item:
            case {"Sequence": {"id": "A" | "B" as part, "type_id": type_id}}:
                parts = [part]
            case {"SpecialToken": {"id": str(part), "type_id": type_id}} if part in specials:
                ids = check(f"{name}: {part!r}", specials[part], dict).get("ids")
                parts = check(f"{name}: {part!r}: ids", ids, list)
                for i in parts:
                    check_id(name, part, i)
            case _:
                expected = "a Sequence 'A' or 'B' or one of the special_tokens as a SpecialToken, with a type_id"
                raise ValueError(f"post_processor: {kind}[{k}]: expected {expected}, got {reprlib.repr(item)}")
        check_id(f"post_processor: {kind}[{k}]: type_id", part, type_id)
        out += [(part, type_id) for part in parts]
    return out


def expect(section: str, found: Any, *types: str) -> None:
    """Check the type of a section of ``tokenizer.json``."""
    got = found.get("type") if isinstance(found, dict) else found
    if got not in types or got is found:
        raise ValueError(f"{section}: expected {' or '.join(types)}, got {reprlib.repr(got)}")
