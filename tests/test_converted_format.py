"""The converted format: version 1 keeps loading with its bits; what version 2 stores; what its readers refuse."""

import hashlib
import json
import re
import shutil
import struct
from dataclasses import asdict

import numpy as np
import pytest
from cli_helpers import caller
from model_helpers import CHECKPOINT, WORDS, write_model
from op_helpers import assert_same_bits
from test_convert import TOKENIZER_JSON, Edited
from test_squeezebert import GOLDEN

from squeezeops import ops
from squeezeops.packing import TARGETS
from squeezeops.pipelines import default_model, pipeline
from squeezeops.squeezebert import SqueezeBert, Tokenizer
from squeezeops.squeezebert.conversion.convert import convert
from squeezeops.squeezebert.files.converted import pack_vocabulary, read_vocabulary
from squeezeops.squeezebert.files.safetensors import read_header, read_tensors, write_file

VERSION_1 = GOLDEN / "version_1.safetensors"  # a BERT in int8 with a vocab.txt, written by a release of version 1
VERSION_2 = GOLDEN / "version_2.safetensors"  # a SqueezeBERT in int8, written before there was attention in int8
EXACT = [name for name in ops.available_backends() if name != "numpy"]
LABELS = ["bad", "so so", "good"]
TEXTS = ["The good movies!", "É 北 bad.", "good[MASK]movie a.", ""]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("models") / "reviews", LABELS, seed=3)


@pytest.fixture(scope="module")
def converted(folder, tmp_path_factory):
    """Tests that change it must copy it."""
    path = tmp_path_factory.mktemp("converted") / "model.safetensors"
    convert(folder, path)
    return path


@pytest.fixture
def edited(converted, tmp_path):
    """A copy, taken apart for changes."""
    return Edited(shutil.copy(converted, tmp_path / "edited.safetensors"))


def write_version_1(folder, converted, path):
    """Write a converted file as version 1 had it: the same tensors, and the texts of the folder's files."""
    tensors, metadata = read_header(converted)
    arrays = read_tensors(converted)
    kept = {name: (info.dtype, info.shape) for name, info in tensors.items() if not name.startswith("vocab.")}
    texts = {
        file.name: file.read_text(encoding="utf-8") for file in folder.iterdir() if file.suffix in (".json", ".txt")
    }
    metadata = {"squeezeops_format": "1", "dtype": metadata["dtype"], "task": metadata["task"], **texts}
    with open(path, "wb") as file:
        write_file(file, kept, metadata, (arrays[name].tobytes() for name in kept))
    return path


def logits(path, texts=TEXTS):
    batch = Tokenizer.from_pretrained(path)(texts, padding=True)
    return SqueezeBert.from_pretrained(path)(
        batch["input_ids"], batch["attention_mask"], batch["token_type_ids"]
    ).logits


# ---- version 1 -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", EXACT)
def test_version_1_keeps_its_bits(backend):
    tokenizer = Tokenizer.from_pretrained(VERSION_1)
    batch = tokenizer(["The good movies!", "É 北 bad."], padding=True)
    assert batch["input_ids"] == [[2, 6, 7, 9, 10, 13, 3], [2, 11, 12, 8, 14, 3, 0]] and tokenizer.max_length == 12
    with ops.backend(backend):
        model = SqueezeBert.from_pretrained(VERSION_1)
        output = model(batch["input_ids"], batch["attention_mask"], batch["token_type_ids"])
        hidden = model.encoder()(batch["input_ids"], batch["attention_mask"], batch["token_type_ids"])
    assert (model.dtype, model.task, model.embedding) == ("int8", "text-classification", None)
    for array, digest in (
        (output.logits, "fa6e2c4b104cd5d4f8461a945670789c90c089299dc50ff87808e2ef4e2360b8"),
        (hidden.last_hidden_state, "903c3098f86f9e15cef54a1d293348814e5746092c8267208a884d6791ab6444"),
    ):
        assert hashlib.sha256(array.tobytes()).hexdigest() == digest


@pytest.mark.parametrize("dtype", TARGETS)
@pytest.mark.parametrize("kind", ["vocab.txt", "tokenizer.json"])
def test_both_versions_have_the_same_results(dtype, kind, tmp_path):
    folder = write_model(tmp_path / "model", LABELS)
    if kind == "tokenizer.json":
        (folder / kind).write_text(json.dumps(TOKENIZER_JSON))
    convert(folder, new := tmp_path / "new.safetensors", dtype=dtype, attention="float32")
    old = write_version_1(folder, new, tmp_path / "old.safetensors")
    assert read_header(old)[1]["squeezeops_format"] == "1"
    assert_same_bits(logits(new), logits(old))
    assert pipeline("text-classification", old)(TEXTS[0]) == pipeline("text-classification", new)(TEXTS[0])


def test_the_built_in_model_is_its_checkpoint_converted(tmp_path):
    """As version 1, the checkpoint gives the file that ships: the same tensors and texts, in the same order."""
    convert(CHECKPOINT, new := tmp_path / "new.safetensors", attention="float32")
    mine, built_in = (
        write_version_1(CHECKPOINT, new, tmp_path / "old.safetensors"),
        default_model() / "model.safetensors",
    )
    (ours, our_texts), (theirs, their_texts) = read_header(mine), read_header(built_in)
    assert [(name, info.dtype, info.shape) for name, info in ours.items()] == [
        (name, info.dtype, info.shape) for name, info in theirs.items()
    ]
    start, end = min(info.start for info in ours.values()), min(info.start for info in theirs.values())
    assert mine.read_bytes()[start:] == built_in.read_bytes()[end:]
    source = json.loads(their_texts.pop("source"))
    assert source == json.loads(read_header(new)[1]["source"])
    assert their_texts.pop("squeezeops_version") and their_texts.pop("format") == "squeezeops"
    assert our_texts == their_texts
    tokenizers = Tokenizer.from_pretrained(built_in), Tokenizer.from_pretrained(new)
    assert tokenizers[0].vocab == tokenizers[1].vocab and tokenizers[0].settings() == tokenizers[1].settings()


def test_version_1_is_copied_and_described(capsys, monkeypatch, tmp_path):
    call, out = caller(capsys, monkeypatch), tmp_path / "out.safetensors"
    assert call("convert", VERSION_1, out, "--quiet") == (0, "", "")
    assert out.read_bytes() == VERSION_1.read_bytes()
    text = call("info", "--model", out)[1]
    assert "format: converted, version 1; int8 with float32 attention, for text-classification" in text


# ---- version 2 before attention in int8 ------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", EXACT)
def test_an_earlier_version_2_keeps_its_bits(backend):
    """Attention stays in float32."""
    batch = Tokenizer.from_pretrained(VERSION_2)(["the good movies!", "bad, awful."], padding=True)
    assert batch["input_ids"] == [[2, 6, 7, 9, 10, 15, 3], [2, 8, 14, 12, 13, 3, 0]]
    with ops.backend(backend):
        model = SqueezeBert.from_pretrained(VERSION_2)
        output = model(batch["input_ids"], batch["attention_mask"], batch["token_type_ids"])
        hidden = model.encoder()(batch["input_ids"], batch["attention_mask"], batch["token_type_ids"])
    assert (model.dtype, model.attention) == ("int8", "float32")
    for array, digest in (
        (output.logits, "274bc294bbbbc93798fac6339d2d4344c86e50f42b93c21cfb99a608c6750773"),
        (hidden.last_hidden_state, "55e42e1269157cafcfdf2617a7c9e1c2c470c0f9be981f5d5350f3c261b8dfbd"),
    ):
        assert hashlib.sha256(array.tobytes()).hexdigest() == digest


def test_a_conversion_with_float32_attention_is_that_of_an_earlier_version_2(tmp_path):
    """Byte for byte, the version of the writer aside."""
    folder = write_model(tmp_path / "reviews", LABELS, seed=3)
    convert(folder, out := tmp_path / "out.safetensors", attention="float32")
    files = [Edited(path) for path in (out, shutil.copy(VERSION_2, tmp_path / "old.safetensors"))]
    for file in files:
        assert file.metadata.pop("squeezeops_version")
    assert files[0].header == files[1].header and files[0].data == files[1].data


# ---- version 2 -------------------------------------------------------------------------------------------------------


def test_the_metadata(converted, folder, capsys, monkeypatch):
    metadata = read_header(converted)[1]
    assert list(metadata) == [
        "format", "squeezeops_format", "squeezeops_version", "requires", "dtype", "task", "attention", "source",
        "config.json", "tokenizer",
    ]  # fmt: skip
    assert metadata["squeezeops_format"] == "2"
    assert (metadata["requires"], metadata["attention"]) == ("int8-attention", "int8")
    config = SqueezeBert.from_pretrained(folder).config
    assert json.loads(metadata["config.json"]) == json.loads(json.dumps(asdict(config)))
    settings = Tokenizer.from_pretrained(folder).settings()
    assert json.loads(metadata["tokenizer"]) == json.loads(json.dumps(settings))
    assert settings["single"] == [(2, 0), ("A", 0), (3, 0)] and settings["strip_accents"] is True
    assert not any("movie" in value for value in metadata.values())  # no token is in the JSON
    text = caller(capsys, monkeypatch)("info", "--model", converted)[1]
    assert "format: converted, version 2; int8 with int8 attention, for text-classification" in text


def search(file, token):
    """Return a token's id as a program in C finds it: by binary search in the mapped tensors."""
    tensors = read_header(file)[0]
    content = file.read_bytes()
    data, offsets, ids = (
        content[tensors[f"vocab.{name}"].start : tensors[f"vocab.{name}"].stop] for name in ("bytes", "offsets", "ids")
    )
    assert tensors["vocab.offsets"].start % 4 == tensors["vocab.ids"].start % 4 == 0
    wanted, low, high = token.encode(), 0, len(ids) // 4
    while low < high:
        middle = (low + high) // 2
        begin, end = struct.unpack_from("<2i", offsets, 4 * middle)
        if data[begin:end] == wanted:
            return struct.unpack_from("<i", ids, 4 * middle)[0]
        low, high = (middle + 1, high) if data[begin:end] < wanted else (low, middle)
    return None


def test_a_vocabulary_is_searched_where_it_lies(tmp_path):
    words = [*WORDS, "北", "é", "e\u0301", "ﬁ", "🙂", "##a", "Ā", "zz", "z"]
    folder = write_model(tmp_path / "model", words=words)
    convert(folder, out := tmp_path / "out.safetensors")
    assert read_vocabulary(str(out)) == {word: i for i, word in enumerate(words)}
    assert [search(out, word) for word in words] == list(range(len(words)))
    assert [search(out, word) for word in ("", "!!", "zzz", "mov", "\U0010ffff")] == [None] * 5


@pytest.mark.parametrize("words", [["b", "a"], [], [""], ["a", "\ud800", "\uffff", "🙂", "\0", "a\nb"]])
def test_a_vocabulary_survives_packing(words, tmp_path):
    """Also one with gaps between ids, and with tokens that UTF-8 does not know."""
    vocab = {word: 7 * i for i, word in enumerate(words)}
    parts = pack_vocabulary(vocab)
    tensors = {"vocab.bytes": ("U8", (len(parts["vocab.bytes"]),)), "vocab.offsets": ("I32", (len(words) + 1,))}
    tensors["vocab.ids"] = ("I32", (len(words),))
    with open(tmp_path / "x.safetensors", "wb") as file:
        write_file(file, tensors, {}, (parts[name] for name in tensors))
    assert read_vocabulary(str(tmp_path / "x.safetensors")) == vocab


def template(**changes):
    """TOKENIZER_JSON with another post-processor, normaliser or decoder."""
    return {**TOKENIZER_JSON, **changes}


CLS, A, B, SEP = (
    {"SpecialToken": {"id": "[CLS]", "type_id": 0}},
    {"Sequence": {"id": "A", "type_id": 0}},
    {"Sequence": {"id": "B", "type_id": 1}},
    {"SpecialToken": {"id": "[SEP]", "type_id": 1}},
)
POST = {
    "type": "TemplateProcessing",
    "single": [CLS, A],
    "pair": [CLS, B, SEP, A],
    "special_tokens": {"[CLS]": {"ids": [2]}, "[SEP]": {"ids": [3, 3]}},
}
GENERAL = {"tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast"}}  # tokenizer.json says it all
KINDS = {
    "tokenizer.json": {"tokenizer.json": TOKENIZER_JSON},
    "templates": {"tokenizer.json": template(post_processor=POST), **GENERAL},
    "no special tokens": {"tokenizer.json": template(post_processor=None, added_tokens=None), **GENERAL},
    "no decoder": {"tokenizer.json": template(decoder=None), **GENERAL},
    "flags": {
        "tokenizer.json": template(
            added_tokens=[
                {"id": 4, "content": "[MASK]", "special": True, "lstrip": True, "normalized": False},
                {"id": 9, "content": "movie", "single_word": True, "rstrip": True, "normalized": True},
            ],
            normalizer={**TOKENIZER_JSON["normalizer"], "lowercase": True, "strip_accents": False},
        ),
        **GENERAL,
    },
    "vocab.txt": {"tokenizer_config.json": {"do_lower_case": False, "model_max_length": 9, "strip_accents": True}},
    "no accents": {"tokenizer_config.json": {"tokenize_chinese_chars": False}},
}


@pytest.mark.parametrize("name", KINDS)
def test_a_tokenizer_survives_conversion(name, tmp_path):
    folder = write_model(tmp_path / "model", LABELS)
    for file, value in KINDS[name].items():
        (folder / file).write_text(json.dumps(value))
    theirs = Tokenizer.from_pretrained(folder)
    convert(folder, out := tmp_path / "out.safetensors")
    ours = Tokenizer.from_pretrained(out)
    assert ours.settings() == theirs.settings()
    assert ours.settings().keys() == {*Tokenizer.__init__.__kwdefaults__, "single", "pair", "decoder"}
    texts = [*TEXTS, "GOOD Movie movies [MASK]  x", "Good é É"]
    for text in texts:
        assert ours(text)[0] == theirs(text)[0]
        assert ours(text, "bad") == theirs(text, "bad")
        ids = ours(text)["input_ids"]
        assert ours.decode(ids) == theirs.decode(ids)
        assert ours.decode(ids, skip_special_tokens=False) == theirs.decode(ids, skip_special_tokens=False)
    assert (len(ours), ours.vocab_size, ours.max_length) == (len(theirs), theirs.vocab_size, theirs.max_length)


def test_a_tokenizer_that_is_not_supported_is_not_converted(tmp_path):
    folder = write_model(tmp_path / "model", LABELS)
    (folder / "tokenizer.json").write_text('{"model": {"type": "BPE"}}')
    with pytest.raises(ValueError, match=r"tokenizer\.json: model: expected WordPiece, got 'BPE'"):
        convert(folder, tmp_path / "out.safetensors")


def test_unknown_keys_are_ignored(edited, converted):
    """A later writer may add keys; it lists the features that change results in `requires`."""
    edited.metadata["later"] = "x"
    edited.metadata["embedding"] = json.dumps({"pooling": ["cls"], "later": 1})
    for name in ("tokenizer", "config.json"):
        edited.metadata[name] = json.dumps({**json.loads(edited.metadata[name]), "later": 1})
    edited.write()
    assert_same_bits(logits(edited.path), logits(converted))
    assert SqueezeBert.from_pretrained(edited.path).embedding.pooling == ("cls",)


def test_missing_keys_have_the_defaults_of_the_constructor(edited, converted):
    edited.metadata["tokenizer"] = "{}"
    edited.write()
    assert Tokenizer.from_pretrained(edited.path)("Good é movies") == Tokenizer.from_pretrained(converted)(
        "Good é movies"
    )


NEWER = r"\(needs a newer squeezeops, [\d.]+\w* or later\)"
UNKNOWN = {
    "a feature": (
        {"requires": "block-scales"},
        rf"requires: expected features that this version knows, got 'block-scales' {NEWER}",
    ),
    "a feature of two": ({"requires": "x\n\x1b y"}, rf"requires: expected .*got 'x' {NEWER}"),
    "no list": ({"requires": None}, r"requires: expected the features that a reader must know, got none"),
    "attention": ({"attention": "int4"}, rf"attention: expected 'int8', got 'int4' {NEWER}"),
    "float32 attention": ({"attention": "float32"}, rf"attention: expected 'int8', got 'float32' {NEWER}"),
    "attention without its word": (
        {"attention": "int8", "requires": ""},
        rf"attention: expected 'float32', got 'int8' {NEWER}",
    ),
    "no attention": ({"attention": None}, rf"attention: expected 'int8', got None {NEWER}"),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_needs_a_newer_reader_is_refused_by_name(edited, name):
    changes, message = UNKNOWN[name]
    for key, value in changes.items():
        edited.metadata.pop(key)
        edited.metadata.update({key: value} if value is not None else {})
    edited.write()
    for load in (SqueezeBert.from_pretrained, Tokenizer.from_pretrained):
        with pytest.raises(ValueError, match=rf"^{re.escape(str(edited.path))}: {message}"):
            load(edited.path)


def numbers(*values):
    return struct.pack(f"<{len(values)}i", *values)


def replaced(name, change):
    """Replace the bytes of a tensor by `change` of them."""

    def edit(file):
        entry = file.header[f"vocab.{name}"]
        begin, end = entry["data_offsets"]
        data = change(file.data[begin:end])
        file.remove(f"vocab.{name}")
        size = {"U8": 1, "I32": 4}[entry["dtype"]]
        file.insert(f"vocab.{name}", entry["dtype"], [len(data) // size], data, at=begin)

    return edit


def retyped(name, dtype, shape):
    return lambda file: file.header[f"vocab.{name}"].update(dtype=dtype, shape=shape)


def swapped(data):
    """The first two offsets of tokens in the wrong order."""
    return data[:4] + data[8:12] + data[4:8] + data[12:]


WORD_COUNT = len(WORDS)
BROKEN_VOCABULARY = {
    "no bytes": (lambda file: file.remove("vocab.bytes"), r"vocab\.bytes: expected U8 with one axis, got none"),
    "no ids": (lambda file: file.remove("vocab.ids"), r"vocab\.ids: expected I32 with one axis, got none"),
    "dtype": (
        retyped("ids", "F32", [WORD_COUNT]),
        rf"vocab\.ids: expected I32 with one axis, got F32 of shape \({WORD_COUNT},\)",
    ),
    "axes": (retyped("ids", "I32", [4, 4]), r"vocab\.ids: expected I32 with one axis, got I32 of shape \(4, 4\)"),
    "fewer ids": (
        replaced("ids", lambda data: data[4:]),
        rf"vocab\.offsets: expected {WORD_COUNT} numbers, one more than vocab\.ids, got {WORD_COUNT + 1}",
    ),
    "first offset": (
        replaced("offsets", lambda data: numbers(1) + data[4:]),
        r"vocab\.offsets: expected numbers that ascend from 0 to \d+, the bytes of vocab\.bytes, got others",
    ),
    "last offset": (
        replaced("offsets", lambda data: data[:-4] + numbers(2**31 - 1)),
        r"vocab\.offsets: expected numbers that ascend from 0 to",
    ),
    "negative offset": (
        replaced("offsets", lambda data: data[:4] + numbers(-5) + data[8:]),
        r"vocab\.offsets: expected numbers that ascend from 0 to",
    ),
    "descending": (replaced("offsets", swapped), r"vocab\.offsets: expected numbers that ascend from 0 to"),
    "order": (
        replaced("bytes", lambda data: b"~" + data[1:]),
        r"vocab\.bytes: expected tokens in the order of their bytes, each once, got b'\S+' after b'~",
    ),
    "not UTF-8": (
        replaced("bytes", lambda data: data[:-1] + b"\xff"),
        r"vocab\.bytes: expected tokens in UTF-8, got the byte 0xff",
    ),
    "negative id": (
        replaced("ids", lambda data: numbers(-1) + data[4:]),
        r"vocab\.ids: expected ids from 0 on, got -1",
    ),
}


@pytest.mark.parametrize("name", BROKEN_VOCABULARY)
def test_a_broken_vocabulary(edited, name):
    change, message = BROKEN_VOCABULARY[name]
    change(edited)
    edited.write()
    with pytest.raises(ValueError, match=rf"^{re.escape(str(edited.path))}: {message}"):
        Tokenizer.from_pretrained(edited.path)


def test_an_id_without_a_row(edited):
    replaced("ids", lambda data: data[:-4] + numbers(2**31 - 1))(edited)
    edited.write()
    with pytest.raises(ValueError, match=r"tokenizer: expected ids below the model's vocab_size, 16, got 2147483647"):
        pipeline("text-classification", edited.path)


BROKEN_SETTINGS = {
    "a list": ([], r"file: expected a JSON object, got \[\]"),
    "flag": ({"lowercase": 1}, r"lowercase: expected bool, got 1"),
    "length": ({"max_length": 0}, r"max_length: expected at least 1, got 0"),
    "special token": ({"sep_token": 3}, r"sep_token: expected str( or None)?, got 3"),
    "unknown special token": ({"sep_token": "[END]"}, r"vocab: special tokens \['\[END\]'\] are missing"),
    "added tokens": ({"added_tokens": [3]}, r"added_tokens\[0\]: expected Mapping, got 3"),
    "added token": (
        {"added_tokens": [{"content": "a", "id": -1}]},
        r"added_tokens\[0\]: expected a str with an int in \[0, 2\*\*31\), got",
    ),
    "too many added tokens": (
        {"added_tokens": [{"content": f"<{i}>", "id": 100 + i} for i in range(20_001)]},
        r"added_tokens: expected at most 20000 tokens, got more",
    ),
    "long added token": (
        {"added_tokens": [{"content": "<" * 257, "id": 100}]},
        r"added_tokens\[0\]: content: expected at most 256 characters, got 257",
    ),
    "long words": ({"max_input_chars_per_word": 257}, r"max_input_chars_per_word: expected at most 256, got 257"),
    "negative length of words": (
        {"max_input_chars_per_word": -1},
        r"max_input_chars_per_word: expected at least 0, got -1",
    ),
    "side": ({"truncation_side": "up"}, r"truncation_side: expected .*, got 'up'"),
    "long template": ({"single": [["A", 0]] * 65}, r"single: expected at most 64 pieces, got 65"),
    "template": ({"single": "A"}, r"single: expected list, got 'A'"),
    "item": ({"single": [3]}, r"single: expected a str with an int in"),
    "type": ({"single": [["A", "x"]]}, r"single: expected a str with an int in .*'A': 'x'"),
    "id": ({"single": [[99, 0]]}, r"single: expected 'A', 'B' or the id of a token, got \[99, 0\]"),
    "flag as id": ({"pair": [[True, 0]]}, r"pair: expected 'A', 'B' or the id of a token, got \[True, 0\]"),
    "part": ({"pair": [[["A"], 0]]}, r"pair: expected 'A', 'B' or the id of a token, got \[\['A'\], 0\]"),
    "decoder": ({"decoder": 3}, r"decoder: expected list or tuple or None, got 3"),
    "short decoder": ({"decoder": ["##"]}, r"decoder: prefix: expected str, got None"),
    "cleanup": ({"decoder": ["##", 1]}, r"decoder: cleanup: expected bool, got 1"),
}


@pytest.mark.parametrize("name", BROKEN_SETTINGS)
def test_broken_settings_of_a_tokenizer(edited, name):
    changes, message = BROKEN_SETTINGS[name]
    if isinstance(changes, dict):
        changes = {**json.loads(edited.metadata["tokenizer"]), **changes}
    edited.metadata["tokenizer"] = json.dumps(changes)
    edited.write()
    with pytest.raises(ValueError, match=rf"^{re.escape(str(edited.path))}: tokenizer: {message}"):
        Tokenizer.from_pretrained(edited.path)


@pytest.mark.parametrize(
    "value, message",
    [
        ("[]", r"embedding: file: expected a JSON object, got \[\]"),
        ("{", r"embedding: file: expected JSON, got"),
        ('{"pooling": ["lasttoken"]}', r"embedding: pooling: expected some of cls, max, mean, each once, got"),
        ('{"pooling": ["cls"], "normalize": 1}', r"embedding: normalize: expected true or false, got 1"),
        ('{"max_length": -1}', r"embedding: max_length: expected a number of tokens, at least 3, or null, got -1"),
        ('{"prompts": {"a": 1}}', r"embedding: prompts: expected an object that maps names to texts"),
        ('{"default_prompt_name": "a"}', r"embedding: default_prompt_name: expected null, got 'a'"),
    ],
)
def test_broken_settings_of_an_embedding(edited, value, message):
    edited.metadata["embedding"] = value
    edited.write()
    with pytest.raises(ValueError, match=rf"^{re.escape(str(edited.path))}: {message}"):
        SqueezeBert.from_pretrained(edited.path)


def test_a_file_without_a_vocabulary(edited, converted):
    del edited.metadata["tokenizer"]
    edited.write()
    with pytest.raises(FileNotFoundError, match="expected a tokenizer.json or a vocab.txt, found neither at"):
        Tokenizer.from_pretrained(edited.path)
    ids = np.array([[1, 2, 3]])
    assert_same_bits(
        SqueezeBert.from_pretrained(edited.path)(ids).logits, SqueezeBert.from_pretrained(converted)(ids).logits
    )
