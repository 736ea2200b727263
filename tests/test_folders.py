"""Folders as people have them: what transformers opens is opened, and what changes an answer is never ignored."""

from __future__ import annotations

import errno
import json
import mmap
import os
import shutil
import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
import tokenizers
import torch_helpers as tw
from model_helpers import WORDS, write_model
from test_tokenizer import SPECIALS, VOCAB, assert_same, reference
from tokenizers import AddedToken, decoders, normalizers, pre_tokenizers, processors

from squeezeops import pipeline
from squeezeops.squeezebert import SqueezeBert
from squeezeops.squeezebert.conversion.convert import convert
from squeezeops.squeezebert.files.safetensors import read_tensors
from squeezeops.squeezebert.files.torch_file import read_tensors as read_torch
from squeezeops.squeezebert.model.config import SqueezeBertConfig
from squeezeops.squeezebert.model.weights import load_folder
from squeezeops.squeezebert.tokenizer import normalizer
from squeezeops.squeezebert.tokenizer.tokenizer import Tokenizer

GOLDEN = Path(__file__).parent / "golden"
IDS = np.arange(12).reshape(2, 6)


@pytest.fixture(params=["classification", "bert_classification"])
def folder(request, tmp_path):
    """A copy of a golden model, to change."""
    return Path(shutil.copytree(GOLDEN / request.param, tmp_path / "model"))


@pytest.fixture
def quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def change(file: Path, **values) -> None:
    """Change keys of a JSON file; None removes one."""
    data = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    data |= values
    data = {key: value for key, value in data.items() if value is not None}
    file.write_text(json.dumps(data), encoding="utf-8")


def save(folder: Path, tensors: dict[str, np.ndarray], metadata: object = "none") -> None:
    header: dict[str, object] = {} if metadata == "none" else {"__metadata__": metadata}
    position = 0
    for name, array in tensors.items():
        dtype = {"float64": "F64", "float32": "F32", "float16": "F16", "int64": "I64"}[str(array.dtype)]
        header[name] = {"dtype": dtype, "shape": array.shape, "data_offsets": [position, position + array.nbytes]}
        position += array.nbytes
    text = json.dumps(header).encode()
    data = b"".join(array.tobytes() for array in tensors.values())
    (folder / "model.safetensors").unlink()  # the old one is mapped
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)


def logits(folder: Path) -> np.ndarray:
    return SqueezeBert.from_pretrained(folder)(IDS).logits


# ---- tensors -------------------------------------------------------------------------------------------------------


def test_tensors_that_the_model_does_not_need(folder):
    expected = logits(folder)
    tensors = read_tensors(folder / "model.safetensors")
    extra = {"linear.weight": np.zeros((2, 2), np.float32), "classifier.dense.bias": np.zeros(2, np.float32)}
    save(folder, tensors | extra)
    with pytest.warns(UserWarning) as caught:
        np.testing.assert_array_equal(logits(folder), expected)
    expected = "checkpoint: expected the tensors of the model, got others too, which are not used: "
    assert [str(entry.message) for entry in caught] == [f"{expected}linear.weight, classifier.dense.bias"]
    many = {f"a{i}": np.zeros(1, np.float32) for i in range(23)}
    save(folder, tensors | many | {"b\n": np.zeros(1, np.float32)})
    with pytest.warns(UserWarning, match=r"a0, a1, .*, a19 and 4 more$"):
        SqueezeBert.from_pretrained(folder)
    del tensors["classifier.bias"]
    save(folder, tensors | extra)
    with pytest.raises(ValueError, match=r"3 differences:\n  missing: classifier.bias .*\n  unknown: linear.weight"):
        SqueezeBert.from_pretrained(folder)


@pytest.mark.parametrize("wrapper", ["module.", "_orig_mod.", "_orig_mod.module."])
def test_names_of_a_wrapped_model(folder, quiet, wrapper):
    expected = logits(folder)
    tensors = read_tensors(folder / "model.safetensors")
    save(folder, {wrapper + name: array for name, array in tensors.items()})
    np.testing.assert_array_equal(logits(folder), expected)
    assert list(load_folder(folder)[1]) == list(tensors)


def test_float64_weights(folder, quiet):
    expected = logits(folder)
    tensors = read_tensors(folder / "model.safetensors")
    save(folder, {name: array.astype(np.float64) for name, array in tensors.items()})
    np.testing.assert_array_equal(logits(folder), expected)
    (folder / "model.safetensors").unlink()
    state = {name: tw.tensor(array.astype(np.float64)) for name, array in tensors.items()}
    (folder / "pytorch_model.bin").write_bytes(tw.zip_file(tw.state_dict(state)))
    np.testing.assert_array_equal(logits(folder), expected)


@pytest.mark.parametrize("metadata", [None, {}, {"format": "pt"}])
def test_metadata_of_safetensors(folder, quiet, metadata):
    expected = logits(folder)
    save(folder, read_tensors(folder / "model.safetensors"), metadata)
    np.testing.assert_array_equal(logits(folder), expected)


# ---- config.json ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "values",
    [
        {"pad_token_id": -1},
        {"pad_token_id": 10**6},
        {"pad_token_id": "[PAD]"},
        {"label2id": {"a": 0.0, "b": 1.0, "c": 2.0}},
        {"label2id": {"a": 0.5}},
        {"label2id": ["a", "b", "c"]},
        {"label2id": {"a": "0"}},
        {"id2label": {"0": 0, "1": 1, "2": 2}},
    ],
    ids=str,
)
def test_keys_without_influence(folder, quiet, values):
    expected = logits(folder)
    change(folder / "config.json", **values)
    np.testing.assert_array_equal(logits(folder), expected)


def test_labels():
    config = SqueezeBertConfig.from_dict({"id2label": {"0": 7, "1": "b"}, "label2id": {"7": 0.0, "b": 1.0}})
    assert (config.id2label, config.label2id) == ({0: "7", 1: "b"}, {"7": 0, "b": 1})
    for bad in ({"a": 0.5}, {"a": None}, [0], 3, {"a": float("inf")}):
        assert SqueezeBertConfig.from_dict({"label2id": bad}).label2id == {"LABEL_0": 0, "LABEL_1": 1}
    ids = [SqueezeBertConfig.from_dict({"pad_token_id": i}).pad_token_id for i in (-1, 5, None, 1.5, "0")]
    assert ids == [-1, 5, None, None, None]


def test_keys_of_another_model_in_a_bert(tmp_path, quiet):
    folder = Path(shutil.copytree(GOLDEN / "bert_classification", tmp_path / "model"))
    expected = logits(folder)
    change(folder / "config.json", embedding_size=128, q_groups=4, output_groups=2)
    np.testing.assert_array_equal(logits(folder), expected)


@pytest.mark.parametrize("name", ["classification", "bert_classification"])
def test_the_tensors_tell_the_model_type(tmp_path, quiet, name):
    folder = Path(shutil.copytree(GOLDEN / name, tmp_path / "model"))
    expected = logits(folder)
    change(folder / "config.json", model_type=None)
    np.testing.assert_array_equal(logits(folder), expected)  # the class tells
    change(folder / "config.json", architectures=None)
    np.testing.assert_array_equal(logits(folder), expected)
    change(folder / "config.json", architectures=["RobertaForSequenceClassification"])
    with pytest.raises(ValueError, match=r"model_type: expected one of .*DistilBert in architectures, got 'RobertaF"):
        SqueezeBert.from_pretrained(folder)


@pytest.mark.parametrize("name", ["gelu_accurate", "gelu_python_tanh"])
def test_names_of_the_tanh_form_of_gelu(name):
    assert SqueezeBertConfig(hidden_act=name).activation == "gelu_tanh"


# ---- file systems without shared mappings --------------------------------------------------------------------------


@pytest.mark.parametrize("modes", [{mmap.ACCESS_READ}, {mmap.ACCESS_READ, mmap.ACCESS_COPY}], ids=["private", "read"])
def test_no_shared_mapping(folder, monkeypatch, modes):
    expected, tensors = logits(folder), read_tensors(folder / "model.safetensors")
    torch_file = folder / "x.bin"
    torch_file.write_bytes(tw.zip_file(tw.state_dict({name: tw.tensor(array) for name, array in tensors.items()})))
    make = mmap.mmap

    def refuse(fileno, length, **options):
        if options.get("access") in modes:
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
        return make(fileno, length, **options)

    monkeypatch.setattr(mmap, "mmap", refuse)
    np.testing.assert_array_equal(logits(folder), expected)
    for arrays in (read_torch(torch_file), read_tensors(folder / "model.safetensors")):
        assert list(arrays) == list(tensors)
        for name, array in arrays.items():
            np.testing.assert_array_equal(array, tensors[name], strict=True)
            assert not array.flags.writeable


def test_a_file_that_cannot_be_read_is_named(folder, monkeypatch):
    def refuse(fileno, length, **options):
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))

    monkeypatch.setattr(mmap, "mmap", refuse)
    with pytest.raises(OSError, match=r"model\.safetensors: expected a file that can be mapped or read, got .*No such"):
        SqueezeBert.from_pretrained(folder)


def test_a_converted_file_without_shared_mapping(tmp_path, monkeypatch):
    classify = pipeline("sentiment-analysis")
    expected = classify("a gorgeous, witty, seductive movie")
    make = mmap.mmap

    def refuse(fileno, length, **options):
        if options.get("access") == mmap.ACCESS_READ:
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
        return make(fileno, length, **options)

    monkeypatch.setattr(mmap, "mmap", refuse)
    assert pipeline("sentiment-analysis")("a gorgeous, witty, seductive movie") == expected


# ---- special tokens that a vocabulary lacks ------------------------------------------------------------------------


def without(*specials: str) -> list[str]:
    return [word for word in WORDS if word not in specials]


def test_a_vocabulary_without_mask_and_pad(tmp_path):
    words = without("[MASK]", "[PAD]")
    folder = write_model(tmp_path / "m", ["bad", "good"], words=words)
    classify = pipeline("text-classification", folder)
    assert classify(["the movie", "a good movie !"])[0]["label"] in ("bad", "good")
    tokenizer = Tokenizer.from_pretrained(folder)
    # As in transformers they get the next ids.
    assert (tokenizer.pad_token_id, tokenizer.mask_token_id, len(tokenizer)) == (14, 15, 16)
    assert tokenizer("a [MASK]")["input_ids"] == [1, 3, 15, 2] and tokenizer.largest_id == 13
    with pytest.raises(ValueError, match=r"text 0: expected tokens of the model's vocabulary, got '\[MASK\]'"):
        classify("a [MASK]")
    with pytest.raises(ValueError, match=r"fill-mask: tokenizer: expected one with a mask token.*\[MASK\] with the id"):
        pipeline("fill-mask", write_model(tmp_path / "lm", task="masked-lm", words=words))


def test_a_vocabulary_without_unk(tmp_path):
    tokenizer = Tokenizer(without("[UNK]"))
    assert tokenizer("a good movie")["input_ids"] == [1, 4, 6, 8, 2]
    with pytest.raises(ValueError, match=r"text: expected words of the vocabulary, which has no '\[UNK\]', got 'film'"):
        tokenizer("a film")


@pytest.mark.parametrize("token", ["[CLS]", "[SEP]"])
def test_a_vocabulary_without_ends_is_refused(tmp_path, token):
    folder = write_model(tmp_path, ["bad", "good"], words=without(token))
    with pytest.raises(ValueError, match=rf"vocab\.txt: vocab: special tokens \['\{token[:-1]}\]'\] are missing"):
        Tokenizer.from_pretrained(folder)


def test_special_tokens_without_ids_get_the_next_ones(tmp_path):
    write_model(tmp_path)
    change(tmp_path / "tokenizer_config.json", bos_token="<s>", extra_special_tokens=["<e>"], ent_token="<t>")
    tokenizer = Tokenizer.from_pretrained(tmp_path)
    assert tokenizer("<s><e> <t>", add_special_tokens=False)["input_ids"] == [16, 18, 17]
    assert pipeline("feature-extraction", tmp_path)("a movie").shape == (1, 16)


# ---- which file decides --------------------------------------------------------------------------------------------


def write_tokenizer(folder: Path, tokenizer=None, config=None, model=None) -> None:
    (tokenizer or reference()).save(str(folder / "tokenizer.json"))
    if config is not None:
        (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    if model is not None:
        (folder / "config.json").write_text(json.dumps(model), encoding="utf-8")


BERT = {"tokenizer_class": "BertTokenizer"}


@pytest.mark.parametrize(
    ("flags", "config", "text", "tokens", "unused"),
    [
        ({}, {"do_lower_case": False}, "Hello hello", ["Hello", "hello"], "lowercase true"),
        ({"lowercase": False}, {}, "Hello", ["hello"], "lowercase false"),
        ({"lowercase": False}, {"do_lower_case": True}, "Hello", ["hello"], "lowercase false"),
        ({"strip_accents": False}, {}, "é", ["e"], "strip_accents false"),
        ({}, {"strip_accents": False}, "é", ["é"], "strip_accents null"),
        ({}, {"tokenize_chinese_chars": False}, "中文", ["中文"], "handle_chinese_chars true"),
        ({"clean_text": False}, {}, "a\u200bb", ["a", "##b"], "clean_text false"),
    ],
)
def test_the_configuration_decides_for_a_bert_class(tmp_path, flags, config, text, tokens, unused):
    message = rf"tokenizer\.json: normalizer: {unused}: not used, because .* follows tokenizer_config\.json"
    for named, model in (
        (BERT, None),
        ({"tokenizer_class": "SqueezeBertTokenizerFast"}, {"model_type": "bert"}),
        ({}, {"model_type": "squeezebert"}),
        ({}, {"tokenizer_class": "BertTokenizer", "model_type": "bert"}),
    ):
        write_tokenizer(tmp_path, reference(**flags), config | named, model)
        with pytest.warns(UserWarning, match=message):
            assert Tokenizer.from_pretrained(tmp_path).tokenize(text) == tokens


def test_tokenizer_json_decides_for_a_general_class(tmp_path):
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "do_lower_case": False, "strip_accents": True}
    write_tokenizer(tmp_path, None, config, {"model_type": "bert"})
    with pytest.warns(UserWarning) as caught:
        tokenizer = Tokenizer.from_pretrained(tmp_path)
    assert tokenizer.tokenize("Hello") == ["hello"]
    assert tokenizer("a", "a")["token_type_ids"] == [0] * 5
    assert [str(entry.message).partition(": ")[2] for entry in caught] == [
        "do_lower_case: not used, because the tokenizer's class follows tokenizer.json",
        "post_processor: token types: not used, because the tokenizer's class needs token_type_ids in "
        "model_input_names for them",
    ]
    names = ["input_ids", "token_type_ids", "attention_mask"]
    config = {"tokenizer_class": "TokenizersBackend", "model_input_names": names}
    write_tokenizer(tmp_path, None, config, {"model_type": "bert"})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Tokenizer.from_pretrained(tmp_path)("a", "a")["token_type_ids"] == [0, 0, 0, 1, 1]


def test_other_sections_that_a_bert_class_does_not_use(tmp_path):
    theirs = reference()
    theirs.normalizer, theirs.pre_tokenizer = normalizers.NFKC(), pre_tokenizers.Whitespace()
    theirs.post_processor = processors.TemplateProcessing(single="$A [SEP]", special_tokens=[("[SEP]", 3)])
    theirs.decoder = decoders.ByteLevel()
    theirs.add_tokens(["<e>"])
    write_tokenizer(tmp_path, theirs, BERT | {"added_tokens_decoder": {}})
    change(
        tmp_path / "tokenizer.json", truncation={"max_length": 8, "direction": "Left"}, padding={"direction": "Left"}
    )
    data = json.loads((tmp_path / "tokenizer.json").read_text())
    change(tmp_path / "tokenizer.json", model=data["model"] | {"max_input_chars_per_word": 3, "unk_token": "a"})
    with pytest.warns(UserWarning) as caught:
        ours = Tokenizer.from_pretrained(tmp_path)
    sections = 'normalizer, pre_tokenizer, model: unk_token "a", model: max_input_chars_per_word 3, post_processor, '
    sections += "decoder, added_tokens: '<e>'"
    assert f"tokenizer.json: {sections}: not used" in str(caught[0].message) and len(caught) == 1
    assert_same(ours, reference(), "The film, İstanbul 中文")
    assert (ours.truncation_side, ours.padding_side) == ("left", "left")


def test_messages_about_long_values_are_short(tmp_path):
    write_tokenizer(tmp_path, reference(), BERT)
    data = json.loads((tmp_path / "tokenizer.json").read_text())
    change(tmp_path / "tokenizer.json", model=data["model"] | {"unk_token": "a" * 9999})
    with pytest.warns(UserWarning, match='model: unk_token "aaaa') as caught:
        Tokenizer.from_pretrained(tmp_path)
    assert len(str(caught[0].message)) < 400
    data["model"]["vocab"]["[SEP]"] = "\n" * 9999
    change(tmp_path / "tokenizer.json", model=data["model"])
    with pytest.raises(ValueError, match=r"'\[SEP\]': expected id '.{9,99}', got 3$"):
        Tokenizer.from_pretrained(tmp_path)


def test_no_warning_where_the_files_agree(tmp_path, quiet):
    for flags, config in (
        ({}, {}),
        ({"lowercase": False}, {"do_lower_case": False}),
        ({"strip_accents": True}, {}),
        ({"strip_accents": False}, {"strip_accents": False}),
        ({}, {"do_lower_case": True, "strip_accents": None, "tokenize_chinese_chars": True}),
    ):
        write_tokenizer(tmp_path, reference(**flags), config | BERT)
        assert_same(Tokenizer.from_pretrained(tmp_path), reference(**flags), "The film É é 中文", "a")
        write_tokenizer(tmp_path, reference(**flags), {}, {"model_type": "bert"})
    theirs = reference()
    theirs.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    theirs.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()])
    write_tokenizer(tmp_path, theirs, BERT)
    assert_same(Tokenizer.from_pretrained(tmp_path), theirs, "The film, é", "a")


def test_options_of_the_configuration(tmp_path):
    def load(**config):
        write_tokenizer(tmp_path, None, BERT | config)
        return Tokenizer.from_pretrained(tmp_path)

    assert load(max_len=9).max_length == 9 and load(max_len=9, model_max_length=7).max_length == 7
    assert load(model_max_length=9.0).max_length == 9
    types = load(model_input_names=["input_ids"])("a", "a")["token_type_ids"]
    assert types == load(tokenizer_class="DistilBertTokenizer")("a", "a")["token_type_ids"] == [0] * 5
    left = load(padding_side="left", truncation_side="left")
    rows = left(["a b c d", "a"], truncation=True, max_length=4, padding=True)
    assert [left.decode(row, False) for row in rows["input_ids"]] == ["[CLS] c d [SEP]", "[PAD] [CLS] a [SEP]"]
    assert rows["attention_mask"] == [[1] * 4, [0, 1, 1, 1]]
    assert load(split_special_tokens=True).tokenize("[MASK]") == ["[", "mask", "]"]
    ids = left("a ' s")["input_ids"]
    assert left.decode(ids) == "a ' s" and load(clean_up_tokenization_spaces=True).decode(ids) == "a's"
    for key, value, message in (
        ("padding_side", "top", "expected 'left' or 'right', got 'top'"),
        ("truncation_side", None, "expected 'left' or 'right', got None"),
        ("split_special_tokens", "yes", "expected bool, got 'yes'"),
        ("clean_up_tokenization_spaces", 1, "expected bool, got 1"),
        ("model_input_names", "input_ids", "expected list or None, got 'input_ids'"),
        ("fast_tokenizer_files", ["tokenizer.4.0.json"], r"expected \['tokenizer.json'\], got"),
    ):
        with pytest.raises(ValueError, match=rf"tokenizer_config\.json: {key}: {message}"):
            load(**{key: value})


def test_windows_from_the_left():
    theirs = reference()
    ours = Tokenizer(VOCAB, truncation_side="left")
    texts = "a b c d e f g h i j", "k l m"
    for limit in range(4, 14):
        for stride in range(limit - 3):
            theirs.enable_truncation(limit, stride=stride, direction="left")
            first = theirs.encode(texts[0])
            rows = ours(texts[0], truncation=True, max_length=limit, stride=stride, return_overflowing_tokens=True)
            assert rows["input_ids"] == [window.ids for window in (first, *first.overflowing)]
            assert [rows[i].offsets for i in range(len(rows.input_ids))] == [
                window.offsets for window in (first, *first.overflowing)
            ]
        theirs.enable_truncation(limit, direction="left")
        assert_same(ours, theirs, *texts, truncation=True, max_length=limit)


# ---- sections of tokenizer.json ------------------------------------------------------------------------------------

NFD, LOWER, STRIP = normalizers.NFD(), normalizers.Lowercase(), normalizers.StripAccents()
SEQUENCES = {
    "bert": [normalizers.BertNormalizer()],
    "course": [NFD, LOWER, STRIP],
    "strip first": [NFD, STRIP, LOWER],
    "lower first": [LOWER, NFD, STRIP],
    "cased": [NFD, STRIP],
    "lower": [LOWER],
    "nested": [normalizers.Sequence([NFD, STRIP]), LOWER],
    "bert and lower": [normalizers.BertNormalizer(lowercase=False), LOWER],
    "lower and bert": [LOWER, normalizers.BertNormalizer(lowercase=False)],
    "lower and bert, no accents": [LOWER, normalizers.BertNormalizer(lowercase=False, strip_accents=True)],
    "bert and strip": [normalizers.BertNormalizer(strip_accents=False), NFD, STRIP],
    "empty": [],
}
MARKED = "İstanbul Élan ﬁ ǅ Ω Å \U0001d15f\u05b4x a\u0301\u0323b 中文 \x01a\u200bb ẞ ậ각 Σς\u0345"


@pytest.mark.parametrize("name", SEQUENCES)
def test_normalizers_in_a_sequence(tmp_path, name):
    theirs = reference()
    theirs.normalizer = normalizers.Sequence(SEQUENCES[name])
    theirs.save(str(tmp_path / "tokenizer.json"))
    ours = Tokenizer.from_pretrained(tmp_path)
    assert_same(ours, theirs, MARKED)
    for first in range(0x80, 0x3000, 100):
        text = " ".join(f"a{chr(i)}b" for i in range(first, first + 100) if not 0xD800 <= i <= 0xDFFF)
        if all(theirs.normalizer.normalize_str(c) == ours._normalize(c)[0] for c in text):  # the tables of lower-casing
            assert_same(ours, theirs, text)


def test_no_normalizer(tmp_path):
    theirs = reference()
    theirs.normalizer = None
    theirs.save(str(tmp_path / "tokenizer.json"))
    assert_same(Tokenizer.from_pretrained(tmp_path), theirs, MARKED)


@pytest.mark.parametrize(
    ("section", "value", "message"),
    [
        ("normalizer", [normalizers.NFKC(), normalizers.BertNormalizer()], "normalizer: expected .*, got 'NFKC'"),
        ("normalizer", [NFD, normalizers.BertNormalizer()], "expected BertNormalizer first, and NFD before Strip"),
        ("normalizer", [STRIP], "expected BertNormalizer first, and NFD before StripAccents, got"),
        ("normalizer", [NFD], "expected BertNormalizer first, and NFD before StripAccents, got"),
        ("pre_tokenizer", [pre_tokenizers.Whitespace(), pre_tokenizers.Punctuation()], "pre_tokenizer: expected Bert"),
        ("pre_tokenizer", [pre_tokenizers.BertPreTokenizer(), pre_tokenizers.Digits()], "pre_tokenizer: expected Bert"),
        (
            "pre_tokenizer",
            [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation("removed")],
            r"Punctuation \(Isolated\), got \['WhitespaceSplit', 'Punctuation'\]",
        ),
        ("post_processor", [processors.ByteLevel(), processors.ByteLevel()], "expected one, got a Sequence of 2"),
        ("decoder", [decoders.Fuse(), decoders.Fuse()], "decoder: expected WordPiece, got a Sequence of 2"),
    ],
)
def test_sequences_that_are_refused(tmp_path, section, value, message):
    theirs = reference()
    modules = {"normalizer": normalizers, "pre_tokenizer": pre_tokenizers, "post_processor": processors}
    setattr(theirs, section, modules.get(section, decoders).Sequence(value))
    theirs.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(ValueError, match=rf"tokenizer\.json: .*{message}"):
        Tokenizer.from_pretrained(tmp_path)


def test_other_sections_in_a_sequence(tmp_path):
    theirs = reference()
    theirs.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()])
    theirs.post_processor = processors.Sequence([theirs.post_processor])
    theirs.decoder = decoders.Sequence([theirs.decoder])
    theirs.save(str(tmp_path / "tokenizer.json"))
    ours = Tokenizer.from_pretrained(tmp_path)
    assert_same(ours, theirs, f"a.b €5 <<film>> {MARKED}", "a\u3000b…c")
    assert ours.decode(ours("film , a")["input_ids"]) == "film, a"


def test_a_tokenizer_of_the_library_alone(tmp_path):
    """It has only the tokens and ends that its own file names."""
    words = ["[UNK]", "a", "b", "[X]"]
    theirs = tokenizers.Tokenizer(tokenizers.models.WordPiece({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
    theirs.normalizer, theirs.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    theirs.post_processor = processors.TemplateProcessing(single="$A [X]", special_tokens=[("[X]", 3)])
    theirs.save(str(tmp_path / "tokenizer.json"))
    ours = Tokenizer.from_pretrained(tmp_path)
    assert ours("a [MASK] c")["input_ids"] == theirs.encode("a [MASK] c").ids
    assert (ours.cls_token_id, ours.pad_token_id, ours.mask_token_id) == (None, None, None)
    with pytest.raises(ValueError, match="padding: expected False, because the tokenizer has no pad_token, got True"):
        ours(["a", "a b"], padding=True)


def test_added_tokens_of_tokenizer_json_have_the_next_ids(tmp_path):
    data = json.loads(reference().to_str())
    data["added_tokens"].append({"id": 5000, "content": "<e>", "special": False})
    (tmp_path / "tokenizer.json").write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(ValueError, match=rf"added_tokens: '<e>': expected id {len(VOCAB)}, got 5000"):
        Tokenizer.from_pretrained(tmp_path)


def test_two_files_that_give_an_id_to_different_tokens(tmp_path):
    theirs = reference()
    theirs.add_tokens(["<e>"])
    decoder = {str(len(VOCAB)): {"content": "<f>"}}
    write_tokenizer(tmp_path, theirs, {"tokenizer_class": "TokenizersBackend", "added_tokens_decoder": decoder})
    with pytest.raises(ValueError, match=r"tokenizer_config\.json: .*: expected '<e>' as in .*, got '<f>'"):
        Tokenizer.from_pretrained(tmp_path)


# ---- tables --------------------------------------------------------------------------------------------------------


def test_every_word_character(tmp_path):
    """A single_word token does not match beside one, on every version of Python."""
    theirs = tokenizers.Tokenizer(tokenizers.models.WordPiece({"[UNK]": 0}, unk_token="[UNK]"))
    theirs.add_tokens([AddedToken("ab", single_word=True, normalized=False)])
    # Planes 4 to 13 are unassigned, 15 and 16 are for private use.
    chars = [chr(i) for i in (*range(0x40000), *range(0xE0000, 0xE1000)) if not 0xD800 <= i <= 0xDFFF]
    for k in range(0, len(chars), 500):
        part = chars[k : k + 500]
        encoding = theirs.encode(" ".join(f"ab{c}" for c in part))
        matched = {begin // 4 for i, (begin, _) in zip(encoding.ids, encoding.offsets, strict=True) if i == 1}
        assert matched == {j for j, c in enumerate(part) if c not in normalizer.WORD_CHARS}, hex(ord(part[0]))


def test_single_word_asks_no_table_of_python(monkeypatch):
    monkeypatch.setattr(normalizer.unicodedata, "category", None)
    records = [{"content": "ab", "id": len(SPECIALS), "single_word": True}]
    tokenizer = Tokenizer(SPECIALS, added_tokens=records)
    # A letter of Unicode 15 and a digit of Unicode 16 are parts of a word; a letter of Unicode 17 is none.
    texts = ["ab", "ab\U00011f04", "\U00010d40ab", "ab\U00011db0", "ab_", "ab\u0301", "ab-"]
    found = [len(SPECIALS) in tokenizer(text)["input_ids"] for text in texts]
    assert found == [True, False, False, True, False, False, True]


@pytest.mark.parametrize("first", [0x1D15E, 0x1D15F, 0x1D164, 0x1D1BB, 0x1D1C0])
def test_offsets_around_characters_that_decompose_to_marks(first):
    vocab = {token: i for i, token in enumerate([*SPECIALS, *map(chr, range(0x1D157, 0x1D166)), "a"])}
    vocab |= {f"##{token}": len(vocab) + i for i, token in enumerate(list(vocab)[5:])}
    ours, theirs = (make(vocab, lowercase=False, strip_accents=True) for make in (Tokenizer, reference))
    for text in (
        f"{chr(first)}\u05b4",
        f"a{chr(first)}\u05b4a",
        f"\u0301{chr(first)}\u0323\u05b4 a",
        f"{chr(first)} a",
    ):
        assert_same(ours, theirs, text)


def test_options_survive_conversion(tmp_path):
    write_model(tmp_path / "m", positions=32)
    sides = {"padding_side": "left", "truncation_side": "left", "model_input_names": ["input_ids"]}
    others = {"split_special_tokens": True, "clean_up_tokenization_spaces": True, "mask_token": None}
    (tmp_path / "m" / "tokenizer_config.json").write_text(json.dumps(sides | others), encoding="utf-8")
    convert(tmp_path / "m", tmp_path / "x.safetensors", dtype="float16")
    before, after = (Tokenizer.from_pretrained(tmp_path / name) for name in ("m", "x.safetensors"))
    for call in (
        lambda tokenizer: tokenizer(["a good movie [SEP] !", "a"], ["the", "b"], padding=True),
        lambda tokenizer: tokenizer(["a good movie", "a"], truncation=True, max_length=4, padding=True),
        lambda tokenizer: tokenizer.decode(tokenizer("the movie ' s")["input_ids"]),
        lambda tokenizer: (tokenizer.mask_token_id, tokenizer.pad_token_id, len(tokenizer), tokenizer.largest_id),
    ):
        assert call(before) == call(after)
