"""Reads a tokenizer's JSON files. Every value is checked; errors name the file."""

from __future__ import annotations

import json
import re
import reprlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from squeezeops.squeezebert.files.checks import decode_lines, parse_json, read_bytes
from squeezeops.squeezebert.files.limits import MAX_ADDED, MAX_ADDED_LENGTH, MAX_PIECES, MAX_WORD
from squeezeops.squeezebert.tokenizer.normalizer import SPACE

if TYPE_CHECKING:
    from squeezeops.squeezebert.files.converted import Entry

__all__ = [
    "ADDED_FLAGS",
    "BERT_FLAGS",
    "SPECIAL_KINDS",
    "UNLIMITED",
    "Template",
    "bert_templates",
    "check",
    "check_algorithm",
    "check_id",
    "check_int",
    "check_pieces",
    "check_records",
    "contradictions",
    "naming",
    "read_added_tokens",
    "read_config",
    "read_decoder",
    "read_flags",
    "read_json",
    "read_listed",
    "read_model",
    "read_normalizer",
    "read_post_processor",
    "read_pre_tokenizer",
    "read_side",
    "read_vocabulary_file",
    "uses_bert_class",
    "without_types",
]

Template = list[tuple[str | int, int]]  # items "A", "B" or the id of a special token, each with its token type

SPECIAL_KINDS = ("unk", "cls", "sep", "pad", "mask")
ADDED_FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")
# Classes that use a vocab.txt as BERT does; each has a "Fast" form. Model types whose class is one of them.
BERT_CLASSES = (
    "BertTokenizer",
    "SqueezeBertTokenizer",
    "DistilBertTokenizer",
    "ElectraTokenizer",
    "MobileBertTokenizer",
    "ConvBertTokenizer",
)
BERT_MODELS = ("bert", "squeezebert", "distilbert", "electra", "mobilebert", "convbert")
# Keys of tokenizer_config.json that these classes follow, and their names here.
BERT_FLAGS = {
    "do_lower_case": "lowercase",
    "tokenize_chinese_chars": "handle_chinese_chars",
    "strip_accents": "strip_accents",
}
UNLIMITED = 1 << 31  # ids are smaller; transformers writes 1e30 as the length of a model without a limit
# Special tokens in the order in which transformers gives them ids.
NAMED = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
SIDES = ("left", "right")


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
    except (TypeError, ValueError) as error:
        raise ValueError(f"{file}: {error}") from error


def fail(what: str, expected: object, got: object) -> NoReturn:
    raise ValueError(f"{what}: expected {expected}, got {got}")


def content(file: Path | Entry) -> bytes:
    return read_bytes(file, "a file of a tokenizer", fail) if isinstance(file, Path) else file.read_bytes()


def read_json(file: Path | Entry) -> dict[str, Any]:
    """Read a JSON object; of equal keys, the last one counts."""
    data: dict[str, Any] = parse_json(content(file), "file", fail, repeats=True)
    return data


def read_vocabulary_file(file: Path | Entry) -> dict[str, int]:
    """Read a ``vocab.txt``: one token per line; the line number is the id, blank lines included."""
    blanks = "".join(filter(SPACE.match, map(chr, range(0x3001))))
    return {line.rstrip(blanks): i for i, line in enumerate(decode_lines(content(file), "file", fail))}


def read_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Read the options of ``tokenizer_config.json`` that hold for every class."""
    options: dict[str, Any] = {}
    length = config.get("model_max_length", config.get("max_len"))  # the older name
    if isinstance(length, float) and length.is_integer():
        length = int(length)
    if not isinstance(length, (int, float)) or not length >= UNLIMITED:
        options["max_length"] = check_int("model_max_length", length, 1, type(None))
    for key in ("padding_side", "truncation_side"):
        if key in config:
            options[key] = read_side(key, config[key])
    for key in ("split_special_tokens", "clean_up_tokenization_spaces"):
        if config.get(key) is not None:
            options[key] = check(key, config[key], bool)
    files = check("fast_tokenizer_files", config.get("fast_tokenizer_files"), list, type(None))
    if files is not None and files != ["tokenizer.json"]:  # transformers chooses one by its own version
        raise ValueError(f"fast_tokenizer_files: expected ['tokenizer.json'], got {reprlib.repr(files)}")
    return options


def read_side(key: str, value: Any) -> str:
    if value not in SIDES:
        raise ValueError(f"{key}: expected 'left' or 'right', got {reprlib.repr(value)}")
    return str(value)


def read_flags(config: Mapping[str, Any]) -> dict[str, Any]:
    """Read how a tokenizer of a BERT class normalises: arguments of the constructor."""
    flags: dict[str, Any] = {
        BERT_FLAGS[key]: check(key, config.get(key, True), bool) for key in ("do_lower_case", "tokenize_chinese_chars")
    }
    return flags | {"strip_accents": check("strip_accents", config.get("strip_accents"), bool, type(None))}


def uses_bert_class(config: Mapping[str, Any], model: Mapping[str, Any] | None) -> bool:
    """Whether transformers loads a folder with one of its BERT classes.

    Of a ``tokenizer.json`` such a class takes nothing but the tokens; the rest is as ``tokenizer_config.json`` or the
    defaults of the class have it. ``PreTrainedTokenizerFast`` and unknown classes follow ``tokenizer.json``.

    Parameters
    ----------
    config : mapping
        Contents of ``tokenizer_config.json``, or nothing.
    model : mapping or None
        Contents of ``config.json``. Without that file, keys that only these classes know tell.
    """
    for settings in (config, model or {}):
        name = check("tokenizer_class", settings.get("tokenizer_class"), str, type(None))
        if name is not None:
            return name.removesuffix("Fast") in BERT_CLASSES
    if model is not None:
        return model.get("model_type") in BERT_MODELS
    return any(config.get(key) is not None for key in BERT_FLAGS)


def without_types(config: Mapping[str, Any], model: Mapping[str, Any] | None, bert_class: bool) -> bool:
    """Whether transformers leaves out the token types, which are then 0. Its general class does by default."""
    names = check("model_input_names", config.get("model_input_names"), list, type(None))
    if names is not None:
        return "token_type_ids" not in names
    name = config.get("tokenizer_class") or (model or {}).get("tokenizer_class")
    return str(name).startswith("DistilBert") or not (bert_class or (name is None and model is None))


def check_algorithm(config: Mapping[str, Any], is_json: bool) -> None:
    """Refuse a ``vocab.txt`` of another algorithm than BERT's WordPiece, which is the default without a class.

    A ``tokenizer.json`` says itself which it is, except for BERT's Japanese tokenizer, which does not read it.
    """
    for key, known in (
        ("tokenizer_class", BERT_CLASSES),
        ("word_tokenizer_type", ("basic",)),
        ("subword_tokenizer_type", ("wordpiece",)),
    ):
        name = check(key, config.get(key), str, type(None))
        if key == "tokenizer_class" and is_json and name != "BertJapaneseTokenizer":
            continue
        if name is not None and (name.removesuffix("Fast") if known is BERT_CLASSES else name) not in known:
            expected = f"one of {known}" if len(known) > 1 else repr(known[0])
            raise ValueError(f"{key}: expected {expected}, got {reprlib.repr(name)}")
    if not check("do_basic_tokenize", config.get("do_basic_tokenize", True), bool) and not is_json:
        raise ValueError("do_basic_tokenize: expected True, got False")


def _read_record(name: str, token: Any) -> dict[str, Any]:
    """Read a token, given as its text or as a record."""
    record = token if isinstance(token, dict) else {"content": check(name, token, str)}
    if not check(f"{name}: content", record.get("content"), str):
        raise ValueError(f"{name}: content: expected a token, got ''")
    flags = {flag: check(f"{name}: {flag}", record[flag], bool) for flag in ADDED_FLAGS if flag in record}
    return {"content": record["content"]} | flags


def _read_specials(config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Read the records of all special tokens that ``tokenizer_config.json`` or ``special_tokens_map.json`` names."""
    named: dict[str, Any] = {}
    for key, token in config.items():
        plain = isinstance(token, str) or (isinstance(token, dict) and "content" in token)
        if token is not None and (key in NAMED or (key.endswith("_token") and plain)):
            named[key] = token
    records = {key: _read_record(key, token) for key, token in named.items()}
    for key in ("extra_special_tokens", "additional_special_tokens"):  # the second is the older name of the first
        extra = check(key, config.get(key), list, dict, type(None)) or []
        for k, token in extra.items() if isinstance(extra, dict) else enumerate(extra):
            record = _read_record(f"{key}[{k!r}]", token)
            records[str(k) if isinstance(extra, dict) else f"{key}: {record['content']!r}"] = record
        if extra and isinstance(extra, list):
            break
    return records


def check_records(records: Any, vocab: Mapping[str, int]) -> dict[str, Mapping[str, Any]]:
    """Check records of added tokens, and return them by content."""
    added: dict[str, Mapping[str, Any]] = {}
    for k, record in enumerate(check("added_tokens", records, Iterable)):
        name = f"added_tokens[{k}]"
        if k == MAX_ADDED:
            fail("added_tokens", f"at most {MAX_ADDED} tokens", "more")
        content, i = (check(name, record, Mapping).get(key) for key in ("content", "id"))
        check_id(name, content, i)
        if len(content) > MAX_ADDED_LENGTH:
            fail(f"{name}: content", f"at most {MAX_ADDED_LENGTH} characters", len(content))
        for flag in ADDED_FLAGS:
            check(f"{name}: {flag}", record.get(flag, False), bool)
        if i != vocab.get(content, i):
            raise ValueError(f"{name}: {content!r:.40}: expected id {reprlib.repr(vocab[content])}, got {i}")
        added[content] = record
    return added


def _next_id(added: Iterable[tuple[str, str, int]], vocab: Mapping[str, int]) -> int:
    """Check that added tokens have their id of the vocabulary, or the next free one; return the one after them.

    `added` has a name for messages, content and id of each.
    """
    free, seen = len(vocab), dict[str, int]()
    for name, content, i in sorted(added, key=lambda item: item[2]):
        expected = vocab[content] if content in vocab else seen.setdefault(content, free)
        if i != expected:
            raise ValueError(f"{name}: {reprlib.repr(content)}: expected id {expected}, got {i}")
        free = max(free, i + 1)
    return free


def read_listed(listed: Any, vocab: Mapping[str, int]) -> list[Mapping[str, Any]]:
    """Read the section ``added_tokens`` of a ``tokenizer.json``."""
    added = check_records([] if listed is None else check("added_tokens", listed, list), vocab)
    _next_id((("added_tokens", content, record["id"]) for content, record in added.items()), vocab)
    return list(added.values())


def _read_decoder_tokens(config: Mapping[str, Any]) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """Yield a name for messages, id and record of the tokens in ``added_tokens_decoder``."""
    seen = set()
    for key, record in check("added_tokens_decoder", config["added_tokens_decoder"], dict).items():
        name = f"added_tokens_decoder: {reprlib.repr(key)}"
        if not re.fullmatch("[0-9]{1,10}", key) or int(key) in seen:
            raise ValueError(f"{name}: expected an id of its own, got {reprlib.repr(key)}")
        seen.add(int(key))
        check_id(name, check(name, record, dict).get("content"), int(key))
        yield name, int(key), _read_record(name, record)


def _read_added_file(data: Mapping[str, Any]) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """Yield the same of the tokens in ``added_tokens.json``."""
    seen = set()
    for token, i in data.items():
        check_id(name := reprlib.repr(token), token, i)
        if i in seen:
            raise ValueError(f"{name}: expected an id of its own, got {i} again")
        seen.add(i)
        yield name, i, _read_record(name, token)


def read_added_tokens(
    folder: Path | Entry,
    config: Mapping[str, Any],
    vocab: Mapping[str, int],
    listed: Sequence[Mapping[str, Any]] = (),
    bert_class: bool = True,
) -> dict[str, Any]:
    """Read the special and added tokens of a vocabulary from the files beside it, as transformers does.

    ``added_tokens_decoder`` of ``tokenizer_config.json`` lists them all. Older folders have ``added_tokens.json`` and
    ``special_tokens_map.json``, which takes precedence over the configuration. Special tokens without an id get the
    next ones.

    Parameters
    ----------
    folder : path
    config : mapping
        Contents of ``tokenizer_config.json``.
    vocab : mapping of str to int
    listed : sequence of mapping
        ``added_tokens`` of a ``tokenizer.json``.
    bert_class : bool
        Whether the special tokens have BERT's names unless files say otherwise, and whether `listed` counts only
        without an ``added_tokens_decoder``.

    Returns
    -------
    dict
        Options of the constructor: names of special tokens, and ``added_tokens``.
    """
    config_file, map_file, added_file = (
        folder / f"{name}.json" for name in ("tokenizer_config", "special_tokens_map", "added_tokens")
    )
    has_decoder = "added_tokens_decoder" in config
    added: dict[int, tuple[str, Mapping[str, Any]]] = {}  # id: name for messages, record
    if not (bert_class and has_decoder):
        added = {record["id"]: ("added_tokens", record) for record in listed}
    with naming(config_file):
        specials = _read_specials(config)
        if has_decoder:
            for name, i, record in _read_decoder_tokens(config):
                content = added.get(i, (name, record))[1]["content"]
                if content != record["content"]:
                    got = reprlib.repr(record["content"])
                    raise ValueError(f"{name}: expected {reprlib.repr(content)} as in tokenizer.json, got {got}")
                added[i] = name, record
            free = _next_id(((name, record["content"], i) for i, (name, record) in added.items()), vocab)
    if not has_decoder:
        if map_file.is_file():
            with naming(map_file):
                others = _read_specials(read_json(map_file))
                # That file has precedence, but not for the list of further tokens.
                if isinstance(config.get("extra_special_tokens"), list) or "additional_special_tokens" in config:
                    others = {key: record for key, record in others.items() if not key.startswith("additional_")}
                specials |= others
        with naming(added_file):
            if added_file.is_file():
                added = {i: (name, record) for name, i, record in _read_added_file(read_json(added_file))} | added
            free = _next_id(((name, record["content"], i) for i, (name, record) in added.items()), vocab)
    keys = [f"{kind}_token" for kind in SPECIAL_KINDS]
    options: dict[str, Any] = {key: specials[key]["content"] for key in keys if key in specials}
    if bert_class:
        for kind, key in zip(SPECIAL_KINDS, keys, strict=True):
            if key not in specials and kind in ("pad", "mask") and key in config:
                options[key] = None  # null in the file
            elif key not in specials:
                specials[key] = {"content": f"[{kind.upper()}]"}
    named = {record["content"] for key, record in specials.items() if ": " not in key}
    further = {record["content"] for record in specials.values()}
    records = {record["content"]: {**record, "id": i} for i, (_, record) in sorted(added.items())}
    if not bert_class:
        # Those of tokenizer.json are special if it says so.
        named -= {record["content"] for name, record in added.values() if name == "added_tokens"}
        named |= {record["content"] for record in listed if record.get("special")}
    for key in sorted(specials, key=lambda key: NAMED.index(key) if key in NAMED else len(NAMED)):
        token = specials[key]["content"]
        if token in vocab:
            records.setdefault(token, {**specials[key], "id": vocab[token]})
        # The constructor refuses a BERT without the tokens that every text needs.
        elif token not in records and not (bert_class and key in ("cls_token", "sep_token")):
            records[token] = {**specials[key], "id": free}
            free += 1
    for token, record in records.items():
        record["special"] = record.get("special", token in further) or token in named
        record.setdefault("normalized", not record["special"])
    return options | {"added_tokens": list(records.values())}


# ---- sections of tokenizer.json ------------------------------------------------------------------------------------


def expect(section: str, found: Any, *types: str) -> str:
    """Check the type of a section of ``tokenizer.json`` and return it."""
    got = found.get("type") if isinstance(found, dict) else found
    if got not in types or got is found:
        raise ValueError(f"{section}: expected {' or '.join(types)}, got {reprlib.repr(got)}")
    return str(got)


def steps(section: str, found: Any, key: str) -> list[Any]:
    """Return the parts of a section that may be a ``Sequence``, or the section as its only part."""
    parts: list[Any] = []
    rest = [found]
    while rest:
        part = rest.pop()
        if isinstance(part, dict) and part.get("type") == "Sequence":
            rest += reversed(check(f"{section}: {key}", part.get(key), list))
        else:
            parts.append(part)
        if len(parts) > MAX_PIECES:
            fail(section, f"at most {MAX_PIECES} steps", "more")
    return parts


def read_model(model: Any) -> dict[str, Any]:
    """Read the section ``model``: options of the constructor, and the vocabulary as ``vocab``."""
    # Files of the first releases have no type for WordPiece.
    if not isinstance(model, dict) or "type" in model or "merges" in model:
        expect("model", model, "WordPiece")
    options = {key: model.get(key) for key in ("unk_token", "continuing_subword_prefix", "max_input_chars_per_word")}
    check_word("model: max_input_chars_per_word", options["max_input_chars_per_word"])
    return options | {"vocab": check("model: vocab", model.get("vocab"), dict)}


def read_normalizer(normalizer: Any) -> dict[str, Any]:
    """Read the section ``normalizer``: options of the constructor.

    Besides ``BertNormalizer``, a ``Sequence`` may have ``Lowercase`` and, after ``NFD``, ``StripAccents``. Without a
    normalizer, texts stay as they are.
    """
    options: dict[str, Any] = dict.fromkeys(("clean_text", "handle_chinese_chars", "strip_accents", "lowercase"), False)
    parts = [] if normalizer is None else steps("normalizer", normalizer, "normalizers")
    kinds = [expect("normalizer", part, "BertNormalizer", "NFD", "Lowercase", "StripAccents") for part in parts]
    if kinds[:2] == ["Lowercase", "BertNormalizer"]:  # sentence-transformers writes it so; the order changes nothing
        parts, kinds = [parts[1], parts[0], *parts[2:]], [kinds[1], kinds[0], *kinds[2:]]
    rest = kinds
    if kinds[:1] == ["BertNormalizer"]:
        options = {key: parts[0].get(key) for key in options}
        rest = kinds[1:]
    if rest and options["strip_accents"] is None:
        options["strip_accents"] = options["lowercase"]
    if "NFD" in rest and "StripAccents" in rest[rest.index("NFD") :]:
        options["strip_accents"] = True
        rest = [kind for kind in rest if kind not in ("NFD", "StripAccents")]
    if rest:
        if set(rest) != {"Lowercase"}:
            expected = "BertNormalizer first, and NFD before StripAccents"
            raise ValueError(f"normalizer: expected {expected}, got {reprlib.repr(kinds)}")
        options["lowercase"] = True
    return options


def read_pre_tokenizer(pre: Any) -> None:
    """Check the section ``pre_tokenizer``: BERT's, or the two that do the same."""
    parts = steps("pre_tokenizer", pre, "pretokenizers")
    kinds = [part.get("type") if isinstance(part, dict) else part for part in parts]
    if kinds == ["WhitespaceSplit", "Punctuation"] and parts[1].get("behavior", "Isolated") == "Isolated":
        return
    if len(parts) != 1:
        expected = "BertPreTokenizer, or WhitespaceSplit and Punctuation (Isolated)"
        raise ValueError(f"pre_tokenizer: expected {expected}, got {reprlib.repr(kinds)}")
    expect("pre_tokenizer", parts[0], "BertPreTokenizer")


def read_decoder(decoder: Any) -> tuple[str, bool] | None:
    """Read the section ``decoder``: the prefix that joins pieces, and whether spaces before punctuation go."""
    if decoder is None:
        return None
    parts = steps("decoder", decoder, "decoders")
    if len(parts) != 1:
        raise ValueError(f"decoder: expected WordPiece, got a Sequence of {len(parts)}")
    expect("decoder", parts[0], "WordPiece")
    prefix = check("decoder: prefix", parts[0].get("prefix"), str)
    return prefix, check("decoder: cleanup", parts[0].get("cleanup"), bool)


def read_post_processor(post: Any) -> tuple[list[Template], dict[str, tuple[str, int]]]:
    """Read the section ``post_processor``: the templates for one text and for two, and the ends of BertProcessing."""
    if post is None:
        return [[("A", 0)], [("A", 0), ("B", 1)]], {}
    parts = steps("post_processor", post, "processors")
    if len(parts) != 1:
        raise ValueError(f"post_processor: expected one, got a Sequence of {len(parts)}")
    post = parts[0]
    if expect("post_processor", post, "BertProcessing", "TemplateProcessing") == "TemplateProcessing":
        return [read_template(post, kind) for kind in ("single", "pair")], {}
    ends = {kind: read_end(post, kind) for kind in ("cls", "sep")}
    return bert_templates(ends["cls"][1], ends["sep"][1]), ends


def bert_templates(cls: int, sep: int) -> list[Template]:
    """Return the templates of BERT for one text and for two."""
    return [
        [(cls, 0), ("A", 0), (sep, 0)],
        [(cls, 0), ("A", 0), (sep, 0), ("B", 1), (sep, 1)],
    ]


def read_end(post: Mapping[str, Any], kind: str) -> tuple[str, int]:
    """Return the special token at one end of BertProcessing, and its id."""
    pair = post.get(kind)
    if not isinstance(pair, list) or len(pair) != 2:
        raise ValueError(f"post_processor: {kind}: expected a token and its id, got {reprlib.repr(pair)}")
    check_id(f"post_processor: {kind}", *pair)
    return pair[0], int(pair[1])


def read_template(post: Mapping[str, Any], kind: str) -> Template:
    """Read a template: items "A", "B" or the id of a special token, each with its token type."""
    out: Template = []
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
        check_pieces(f"post_processor: {kind}", len(out) + len(parts))
        out += [(part, type_id) for part in parts]
    return out


def check_word(name: str, chars: object) -> None:
    """Check the length of the longest word, if it is a number."""
    if isinstance(chars, int) and chars > MAX_WORD:
        fail(name, f"at most {MAX_WORD}", reprlib.repr(chars))


def check_pieces(name: str, count: int) -> None:
    """Check the number of pieces of a template: it multiplies the length of a text."""
    if count > MAX_PIECES:
        fail(name, f"at most {MAX_PIECES} pieces", count)


def contradictions(
    data: Mapping[str, Any], used: Mapping[str, Any], flags: Mapping[str, bool], templates: list[Template]
) -> list[str]:
    """Return what a ``tokenizer.json`` has otherwise than a tokenizer of a BERT class, which does not use it.

    Parameters
    ----------
    data : mapping
        Contents of the file.
    used : mapping
        What the tokenizer has for keys of the section ``model``.
    flags : mapping of str to bool
        How the tokenizer normalises.
    templates : list
        Its templates.
    """
    found = []
    try:
        normalizer = read_normalizer(data.get("normalizer"))
        # None: accents go if upper case goes.
        follows = normalizer["strip_accents"] is None and flags["strip_accents"] == flags["lowercase"]
        differs = [key for key in flags if normalizer[key] != flags[key] and not (key == "strip_accents" and follows)]
        if differs:
            found.append("normalizer: " + " and ".join(f"{key} {json.dumps(normalizer[key]):.40}" for key in differs))
    except (TypeError, ValueError):
        found.append("normalizer")
    try:
        read_pre_tokenizer(data.get("pre_tokenizer"))
    except (TypeError, ValueError):
        found.append("pre_tokenizer")
    for key, value in used.items():
        if data["model"].get(key) not in (None, value):
            found.append(f"model: {key} {json.dumps(data['model'][key]):.40}")
    try:
        if data.get("post_processor") is not None and read_post_processor(data["post_processor"])[0] != templates:
            found.append("post_processor")
    except (TypeError, ValueError):
        found.append("post_processor")
    try:
        if read_decoder(data.get("decoder")) not in (None, ("##", True)):
            found.append("decoder")
    except (TypeError, ValueError):
        found.append("decoder")
    return found
