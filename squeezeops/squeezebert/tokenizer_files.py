"""Reading ``tokenizer.json`` and ``tokenizer_config.json``: every value is checked, and the file at fault is named."""

from __future__ import annotations

import json
import reprlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = [
    "SPECIAL_KINDS",
    "check",
    "check_id",
    "check_int",
    "expect",
    "naming",
    "read_config",
    "read_end",
    "read_json",
    "read_template",
]

SPECIAL_KINDS = ("unk", "cls", "sep", "pad", "mask")
UNLIMITED = 1 << 31  # ids end here; transformers writes 1e30 as the length of a model that has none


def check(name: str, value: Any, *kinds: type) -> Any:
    """Return a value of one of these types; True and False are of type bool alone."""
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        expected = " or ".join(kind.__name__.removesuffix("Type") for kind in kinds)
        raise TypeError(f"{name}: expected {expected}, got {reprlib.repr(value)}")
    return value


def check_int(name: str, value: Any, least: int, *others: type) -> Any:
    """Return an int of at least `least`, or a value of the other types."""
    if check(name, value, int, *others) is not None and value < least:
        raise ValueError(f"{name}: expected at least {least}, got {value}")
    return value


def check_id(name: str, token: Any, i: Any) -> None:
    """Check that a token is a str and its id an int that an id may be."""
    typed = isinstance(token, str) and isinstance(i, int) and not isinstance(i, bool)
    if not typed or not 0 <= i < UNLIMITED:
        got = f"{reprlib.repr(token)}: {reprlib.repr(i)}"
        raise (ValueError if typed else TypeError)(f"{name}: expected a str with an int in [0, 2**31), got {got}")


@contextmanager
def naming(file: Path) -> Iterator[None]:
    """Turn what is wrong with a file's contents into a ValueError that names the file."""
    try:
        yield
    except RecursionError:
        raise ValueError(f"{file}: expected a JSON object, got one nested too deeply") from None
    except (TypeError, ValueError) as error:
        raise ValueError(f"{file}: {error}") from error


def read_json(file: Path) -> dict[str, Any]:
    """Read a JSON object."""
    data = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(data, dict):
        raise ValueError(f"expected a JSON object, got {reprlib.repr(data)}")
    return data


def read_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Options that ``tokenizer_config.json`` gives; what ``tokenizer.json`` says comes before them."""
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


def read_end(post: Mapping[str, Any], kind: str, options: dict[str, Any]) -> int:
    """Put the token at one end of BertProcessing into the options and return its id."""
    pair = post.get(kind)
    if not isinstance(pair, list) or len(pair) != 2:
        raise ValueError(f"post_processor: {kind}: expected a token and its id, got {reprlib.repr(pair)}")
    options[f"{kind}_token"], i = pair
    check_id(f"post_processor: {kind}", *pair)
    return int(i)


def read_template(post: Mapping[str, Any], kind: str) -> list[tuple[str | int, int]]:
    """Read a template: "A", "B" or the id of a special token, each with its token type."""
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
