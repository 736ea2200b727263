"""Models through the C interface: the bits of the Python model, and an error for everything that is wrong."""

import copy
import ctypes
import gc
import json
import os
import pickle
import re
import shutil
import struct
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from build_helpers import run, tool
from c_model import LIB, STATUS, CError, ClassifyArgs, CModel, Info, RunArgs, Text, check, exactly, in_memory
from model_helpers import WORDS, write_model
from op_helpers import assert_same_bits, run_python
from test_convert import BROKEN, Edited
from test_converted_format import (
    BROKEN_SETTINGS,
    BROKEN_VOCABULARY,
    KINDS,
    UNKNOWN,
    VERSION_1,
    VERSION_2,
    write_version_1,
)
from test_distilbert import TASKS, write_distilbert
from test_safetensors import HOSTILE
from test_squeezebert import GOLDEN, MIXED, MODELS, WITH_STATES, arrays_of

from squeezeops import backends, ops
from squeezeops.backends import models
from squeezeops.backends.models import CompiledModel
from squeezeops.packing import TARGETS
from squeezeops.pipelines import default_model, pipeline
from squeezeops.squeezebert import SqueezeBert, SqueezeBertConfig, Tokenizer
from squeezeops.squeezebert.conversion.convert import convert
from squeezeops.squeezebert.files import limits
from squeezeops.squeezebert.files.safetensors import write_file
from squeezeops.squeezebert.model import squeezebert
from squeezeops.squeezebert.model.tensors import encoder_shapes, labels_of

if "native" not in backends.available():
    pytest.skip(reason="built without the native extension", allow_module_level=True)

LABELS = ["bad", "so so", "gut \U0001f642"]
MASKS = ["1111111111", "1111110000", "0001111111", "1101100111", "1011010000", "0000000000"]
LENGTH = len(MASKS[0])
BUILT_IN = default_model() / "model.safetensors"


@pytest.fixture(autouse=True)
def native(monkeypatch):
    """The Python model, the specification, does not use C, but for the tests of that."""
    monkeypatch.setattr(squeezebert, "COMPILED", ())
    with ops.backend("native"):
        yield


def write_bert(folder):
    """A base BERT of 128 channels, which is the fewest whose convolutions are rotated."""
    sizes = {"vocab_size": 40, "hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2}
    sizes |= {"intermediate_size": 256, "max_position_embeddings": 16}
    values = {"model_type": "bert", "architectures": ["BertModel"], **sizes}
    config = SqueezeBertConfig.from_dict(values)
    shapes = {labels_of(name, config, "")[0]: shape for name, shape in encoder_shapes(config)}
    shapes |= {"pooler.dense.weight": (128, 128), "pooler.dense.bias": (128,)}
    shapes = {name: shape[:2] for name, shape in shapes.items()}
    rng = np.random.default_rng(1)
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(values))
    with open(folder / "model.safetensors", "wb") as file:
        arrays = (rng.normal(0, 0.3, shape).astype("<f4") for shape in shapes.values())
        write_file(file, {name: ("F32", shape) for name, shape in shapes.items()}, {}, arrays)
    return folder


CHECKPOINTS = {
    **{name: lambda folder, name=name: GOLDEN / name for name in MODELS},
    **{f"distilbert{name}": lambda folder, name=name: write_distilbert(folder, name) for name in TASKS},
    "bert of 128 channels": write_bert,
    "random": lambda folder: write_model(folder, LABELS),
}
STORED = [("float32", "float32"), ("float32", "int8"), ("float16", "float32"), ("int8", "float32"), ("int8", "int8")]


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """A function that returns the path of a converted model; each is converted once."""
    made = {}

    def converted(name, dtype="int8", attention=None):
        key = name, dtype, attention
        if key not in made:
            folder = tmp_path_factory.mktemp("model")
            made[key] = folder / "out.safetensors"
            with ops.backend("native"):
                convert(CHECKPOINTS[name](folder / "in"), made[key], dtype=dtype, attention=attention)
        return made[key]

    return converted


def inputs_of(model, seed=0):
    """Ids, mask and types of six sequences, which are two times three choices for that task."""
    rng = np.random.default_rng(seed)
    mask = np.array([[int(c) for c in row] for row in MASKS])
    ids = rng.integers(model.config.vocab_size, size=mask.shape)
    types = rng.integers(model.config.type_vocab_size, size=mask.shape)
    shape = (2, 3, LENGTH) if model.task == "multiple-choice" else mask.shape
    return ids.reshape(shape), mask.reshape(shape), types.reshape(shape)


def expected_of(model, *inputs, **options):
    """What the Python model gives, by the names of the C interface."""
    output, states = model(*inputs, **options), model(*inputs, output_hidden_states=True)
    hidden = states.last_hidden_state
    flat = {"hidden": hidden, "all_hidden": np.stack(states.hidden_states)}
    found = {name: array.reshape(*array.shape[:-3], -1, array.shape[-1]) for name, array in flat.items()}
    if output.pooler_output is not None:
        found["pooled"] = output.pooler_output
    logits = output.logits
    if model.task == "question-answering":
        logits = np.stack([output.start_logits, output.end_logits], axis=-1)
    if logits is not None:
        found["logits"] = logits.reshape(-1, 1 if model.task == "multiple-choice" else logits.shape[-1])
    return found


def embeddings_of(hidden, mask):
    """The mean of the attended tokens, divided by its norm, as the pipeline computes it."""
    return ops.l2_normalize(ops.mean_pool(hidden.reshape(*mask.shape, -1), mask=mask.astype(bool)))


def assert_results(found, expected):
    for name, array in found.items():
        assert_same_bits(array, np.ascontiguousarray(expected[name]))


# ---- the bits of the Python model ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype, attention", STORED)
@pytest.mark.parametrize("name", CHECKPOINTS)
def test_results(converted, name, dtype, attention):
    path = converted(name, dtype, attention)
    python, c = SqueezeBert.from_pretrained(path), CModel(path)
    ids, mask, types = inputs_of(python)
    rows = mask.reshape(-1, LENGTH)
    for masks in (None, mask):
        for kinds in (None, types):
            expected = expected_of(python, ids, masks, kinds)
            expected["embeddings"] = embeddings_of(expected["hidden"], np.ones_like(rows) if masks is None else rows)
            for want in [tuple(expected), *((name,) for name in expected)]:  # all results, and each alone
                assert_results(c.run(ids, masks, kinds, want=want), expected)
    c.close()


@pytest.mark.parametrize("name", ["classification", "masked_lm", "bert_classification"])
def test_sequences_of_any_lengths(converted, name):
    """Each sequence has the results that it has alone, with and without tokens to leave out."""
    path = converted(name)
    python, c = SqueezeBert.from_pretrained(path), CModel(path)
    rng = np.random.default_rng(0)
    lengths = [3, 1, 10, 7, 1]
    offsets = np.cumsum([0, *lengths])
    ids, types = (rng.integers(n, size=offsets[-1]) for n in (python.config.vocab_size, 2))
    for mask in (None, np.array([rng.integers(2) for _ in ids])):
        parts = []
        for begin, end in zip(offsets, offsets[1:], strict=False):
            part = slice(begin, end)
            parts.append(
                expected_of(python, ids[None, part], None if mask is None else mask[None, part], types[None, part])
            )
        want = [name for name in ("hidden", "pooled", "logits") if name in parts[0]]
        found = c.run(ids, mask, types, offsets, want=want)
        assert_results(found, {name: np.concatenate([part[name] for part in parts]) for name in want})


@pytest.mark.parametrize("name", ["masked_lm", "token_classification", "distilbertForTokenClassification"])
def test_logits_of_some_tokens(converted, name):
    path = converted(name)
    python, c = SqueezeBert.from_pretrained(path), CModel(path)
    ids, mask, types = inputs_of(python)
    chosen = np.zeros(ids.shape, bool)
    chosen[0, 2:4] = chosen[2, 0] = chosen[4, 5] = chosen[5, 9] = True
    for wanted in (chosen, np.zeros_like(chosen)):
        expected = expected_of(python, ids, mask, types, logits_mask=wanted)
        assert_results(c.run(ids, mask, types, logits_mask=wanted, want=["logits"]), expected)
        assert_results(c.run(ids, mask, types, logits_mask=wanted, want=["logits", "hidden"]), expected)
    chosen[1, 8] = True
    with pytest.raises(CError, match=r"^logits_mask: expected 0 after the last attended token of a sequence, got 1 at"):
        c.run(ids, mask, types, logits_mask=chosen, want=["logits"])


@pytest.mark.parametrize("want", [["logits"], ["pooled", "logits"], ["hidden", "logits", "embeddings"]])
def test_more_tokens_than_are_computed_at_a_time(want):
    python, c = SqueezeBert.from_pretrained(BUILT_IN), CModel(BUILT_IN)
    rng = np.random.default_rng(2)
    ids = rng.integers(8000, size=(40, 60))
    mask = np.arange(60) < rng.integers(1, 61, size=(40, 1))
    expected = expected_of(python, ids, mask)
    expected["embeddings"] = embeddings_of(expected["hidden"], mask)
    assert_results(c.run(ids, mask, want=want), expected)


def test_logits_of_some_of_many_tokens(converted):
    path = converted("token_classification", "float32")
    python, c = SqueezeBert.from_pretrained(path), CModel(path)
    rng = np.random.default_rng(2)
    ids = rng.integers(python.config.vocab_size, size=(200, 16))
    chosen = rng.random(ids.shape) < 0.1
    assert_results(c.run(ids, logits_mask=chosen, want=["logits"]), expected_of(python, ids, logits_mask=chosen))
    assert_results(c.run(ids, want=["logits"]), expected_of(python, ids))


@pytest.mark.parametrize(
    "settings", [{}, {"pooling": ["cls"], "normalize": False}, {"pooling": ["mean", "max", "cls"]}]
)
@pytest.mark.parametrize("unpooled", [0, 2])
def test_embeddings(converted, tmp_path, settings, unpooled):
    """Those of the pipeline, also without the tokens of a prompt."""
    file = Edited(shutil.copy(converted("random"), tmp_path / "model.safetensors"))
    prompts = {"prompts": {"p": "a"}, "default_prompt_name": "p", "include_prompt": False} if unpooled else {}
    file.metadata["embedding"] = json.dumps({**settings, **prompts})
    file.write()
    texts = ["the good movies!", "bad", "a movie, awful."]
    vectors = pipeline("feature-extraction", file.path)(texts)
    encoded = Tokenizer.from_pretrained(file.path)([("a" if unpooled else "") + text for text in texts])
    rows, c = encoded["input_ids"], CModel(file.path)
    assert c.info.embedding_size == vectors.shape[1]
    ids, offsets = np.concatenate(rows), np.cumsum([0, *map(len, rows)])
    assert_same_bits(c.run(ids, offsets=offsets, want=["embeddings"], unpooled=unpooled)["embeddings"], vectors)


def test_a_special_value_in_a_pooled_maximum(converted, tmp_path):
    file = Edited(shutil.copy(converted("random", "float32"), tmp_path / "model.safetensors"))
    file.metadata["embedding"] = json.dumps({"pooling": ["max"], "normalize": False})
    file.write()
    c = CModel(file.path)
    ids = np.array([[5, 6, 7, 8]])
    found = c.run(ids, want=["hidden", "embeddings"])
    assert_same_bits(found["embeddings"][0], found["hidden"].max(axis=0) + 0)
    assert_same_bits(c.run(ids, unpooled=9, want=["embeddings"])["embeddings"], np.zeros((1, 16), np.float32))


@pytest.mark.parametrize("path", [VERSION_1, VERSION_2, BUILT_IN])
def test_files_of_every_version(path):
    python = SqueezeBert.from_pretrained(path)
    for c in (CModel(path), CModel(in_memory(path.read_bytes()))):
        assert c.info.format == (2 if path == VERSION_2 else 1)
        ids, mask, types = inputs_of(python)
        assert_results(c.run(ids, mask, types, want=["logits", "pooled"]), expected_of(python, ids, mask, types))


@pytest.mark.parametrize("dtype", TARGETS)
def test_a_file_of_version_1(converted, dtype, tmp_path):
    new = converted("random", dtype, "float32")
    old = write_version_1(CHECKPOINTS["random"](tmp_path / "in"), new, tmp_path / "old.safetensors")
    python, c = SqueezeBert.from_pretrained(new), CModel(old)
    ids = inputs_of(python)[0]
    assert_results(c.run(ids, want=["logits"]), expected_of(python, ids))


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_description(converted, name):
    path = converted(name)
    python, c = SqueezeBert.from_pretrained(path), CModel(path)
    config, info = python.config, c.info
    texts = [getattr(info, name).decode() for name in ("task", "model_type", "dtype", "attention")]
    assert texts == [python.task, config.model_type, "int8", "int8"] and info.format == 2
    assert (info.vocab_size, info.types, info.max_tokens) == (
        config.vocab_size,
        config.type_vocab_size,
        config.max_position_embeddings,
    )
    assert (info.hidden_size, info.layers, info.labels) == (
        config.hidden_size,
        config.num_hidden_layers,
        config.num_labels,
    )
    assert [c.label(i) for i in range(info.labels)] == list(config.id2label.values())
    output = python(*inputs_of(python))
    assert info.pooled_size == (0 if output.pooler_output is None else config.hidden_size)
    of_tokens = python.task in ("masked-lm", "token-classification", "question-answering")
    assert info.logits_per_token == of_tokens and (info.logits_size > 0) == (python.task != "base")
    assert info.embedding_size == config.hidden_size and info.normalize == 1


def test_labels_in_another_order_and_numbers(converted, tmp_path):
    file = Edited(shutil.copy(converted("random"), tmp_path / "model.safetensors"))
    for labels in ({"2": 7, "0": "\u00e9\ud83d\ude42\n", "1": ""}, {"0": 1, "1": 2, "2": -3}):
        file.metadata["config.json"] = json.dumps({**json.loads(file.metadata["config.json"]), "id2label": labels})
        file.write()
        c = CModel(file.path)
        expected = SqueezeBert.from_pretrained(file.path).config.id2label
        assert [c.label(i) for i in range(3)] == list(expected.values())
    room = ctypes.create_string_buffer(b"xxxx", 4)
    file.config(id2label={"0": "negative", "1": "b", "2": "c"})
    file.write()
    c = CModel(file.path)
    assert LIB.sqz_model_label(c.handle, 0, room, 4) == 8 and room.value == b"neg"
    assert LIB.sqz_model_label(c.handle, 0, None, 0) == 8


@pytest.mark.parametrize("task", ["base", "text-classification"])
def test_another_task(converted, task):
    path = converted("classification")
    python, c = SqueezeBert.from_pretrained(path, task=task), CModel(path, task)
    assert c.info.task.decode() == task
    ids, mask, types = inputs_of(python)
    expected = expected_of(python, ids, mask, types)
    assert_results(c.run(ids, mask, types, want=expected), expected)
    for wrong in ("question-answering", "masked-lm", "token-classification", "haiku", ""):
        with pytest.raises(CError, match=r"^task: expected .*, got"):
            CModel(path, wrong)


# ---- texts -----------------------------------------------------------------------------------------------------------


UNUSED = ("decoder", "short decoder", "cleanup")  # settings of a tokenizer that the C library has no use for
REVIEWS = [
    "a dull movie",
    "A gorgeous, MOVIE!!",
    "caf\u00e9 na\u00efve e\u0301 \u5317\u4eac",
    "unbelievably " * 20,
    "\U0001f642 [SEP] x",
]


def assert_classifies(path, texts, **options):
    """As the pipeline does, for each text and for pairs."""
    python, c = pipeline("text-classification", path), CModel(path)
    labels = list(python.model.config.id2label.values())
    for text in texts:
        for pair in (None, texts[0]):
            item = {"text": text} if pair is None else {"text": text, "text_pair": pair}
            expected = python(item, top_k=None, **options)
            label, score, scores, logits, tokens = c.classify(text, pair, truncate=bool(options))
            assert (c.label(label), score) == (expected[0]["label"], expected[0]["score"])
            assert {name: float(scores[i]) for i, name in enumerate(labels)} == {
                entry["label"]: entry["score"] for entry in expected
            }
            encoded = python.tokenizer(text, pair, **options, **({"max_length": longest(python)} if options else {}))
            assert tokens == len(encoded["input_ids"])
            inputs = [np.array([encoded[key]]) for key in ("input_ids", "attention_mask", "token_type_ids")]
            assert_same_bits(logits, python.model(*inputs).logits[0])


def longest(python):
    return min(python.tokenizer.max_length or 2**31, python.model.config.max_position_embeddings)


@pytest.mark.parametrize("path", [BUILT_IN, VERSION_1, VERSION_2])
def test_texts(path):
    assert_classifies(path, ["good movie", "the bad!", "\u00e9 \u5317"])
    assert_classifies(path, REVIEWS, truncation=True)


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_tokenizer(name, tmp_path):
    folder = write_model(tmp_path / "model", LABELS)
    for file, value in KINDS[name].items():
        (folder / file).write_text(json.dumps(value))
    convert(folder, out := tmp_path / "out.safetensors")
    assert_classifies(out, ["the good movies!", "movie [MASK] \u00c9 a", "GOOD Bad movies"], truncation=True)


@pytest.mark.parametrize("problem", ["regression", "multi_label_classification", "single_label_classification", None])
@pytest.mark.parametrize("labels", [["one"], LABELS])
def test_scores(problem, labels, tmp_path):
    convert(write_model(tmp_path / "model", labels, problem_type=problem), out := tmp_path / "out.safetensors")
    assert_classifies(out, ["good movie", "bad"])


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"do_lower_case": False, "tokenize_chinese_chars": False},
        {"do_lower_case": False, "strip_accents": True, "model_max_length": 7},
        {"tokenizer_class": "DistilBertTokenizerFast", "model_max_length": 1e30, "strip_accents": False},
        {"unk_token": "a", "pad_token": None, "mask_token": None, "truncation_side": "left", "max_len": 8},
        {"mask_token": "<mask>", "pad_token": "<pad>"},
    ],
)
def test_files_of_a_tokenizer_in_version_1(converted, config, tmp_path):
    folder = write_model(tmp_path / "in", LABELS, words=[*WORDS, "good", "z\u00a0 ", "\u00e9"])
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    convert(folder, new := tmp_path / "new.safetensors", dtype="float32")
    old = write_version_1(folder, new, tmp_path / "old.safetensors")
    assert_classifies(old, ["the Good movies!", "\u00e9 \u5317 z", "a [MASK]"], truncation=True)
    if "<mask>" in config.values():  # its id is beyond those of the model
        with pytest.raises(CError, match=r"^ids: expected values in \[0, 19\), got 19 at position 1"):
            CModel(old).classify("<mask>")


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"tokenizer.json": "{}"}, "tokenizer.json: expected a file of version 2 .*convert it anew"),
        ({"added_tokens.json": "{}"}, "added_tokens.json: expected a file of version 2"),
        ({"tokenizer_config.json": '{"tokenizer_class": "T5"}'}, "tokenizer_class: expected one that"),
        ({"tokenizer_config.json": '{"added_tokens_decoder": {"0": {}}}'}, "tokenizer_config.json: added_tokens_dec"),
        ({"tokenizer_config.json": "[]"}, "tokenizer_config.json: expected an object"),
        ({"vocab.txt": "a\nb"}, r"tokenizer: expected the special tokens .*\[CLS\]"),
        ({"vocab.txt": None}, "vocab.txt: expected a model with a vocabulary"),
    ],
)
def test_what_version_1_has_no_tokenizer_for(changes, message, tmp_path):
    file = Edited(shutil.copy(VERSION_1, tmp_path / "model.safetensors"))
    for name, text in changes.items():
        file.metadata.pop(name, None)
        file.metadata |= {} if text is None else {name: text}
    file.write()
    c = CModel(file.path)
    for _ in range(2):
        with pytest.raises(CError, match=f"^{message}"):
            c.tokenizer()


@pytest.mark.parametrize("name", BROKEN_VOCABULARY)
def test_a_broken_vocabulary(converted, name, tmp_path):
    file = Edited(shutil.copy(converted("random"), tmp_path / "model.safetensors"))
    BROKEN_VOCABULARY[name][0](file)
    file.write()
    with pytest.raises(CError, match=r"^(vocab[._]\w+|\S+\.packed): expected "):  # less data moves the weights
        CModel(file.path).tokenizer()


@pytest.mark.parametrize("name", [name for name in BROKEN_SETTINGS if name not in UNUSED])
def test_broken_settings_of_a_tokenizer(converted, name, tmp_path):
    file = Edited(shutil.copy(converted("random"), tmp_path / "model.safetensors"))
    changes = BROKEN_SETTINGS[name][0]
    if isinstance(changes, dict):
        changes = {**json.loads(file.metadata["tokenizer"]), **changes}
    file.metadata["tokenizer"] = json.dumps(changes)
    file.write()
    with pytest.raises(CError, match=r"^(tokenizer|single|pair)(: \w+)?: expected "):
        CModel(file.path).tokenizer()


def test_texts_that_are_refused(converted):
    c = CModel(converted("random"))
    for text, message in {
        "": "text: expected a text that is not blank",
        " \n\u3000": "text: expected a text that is not blank",
        "a " * 40: "text: expected at most 16 tokens, got 42",
        b"a\xff": "text: ",
        "\ud800": "text: ",
    }.items():
        with pytest.raises(CError, match=f"^{message}"):
            c.classify(text)
    with pytest.raises(CError, match=r"^pair: expected a text that is not blank"):
        c.classify("a", " ")
    with pytest.raises(CError, match=r"^model: expected a model of the task 'text-classification', got 'base'"):
        CModel(converted("random"), "base").classify("a")
    with pytest.raises(CError, match=r"^tokenizer: expected a model with a vocabulary"):
        CModel(converted("classification")).classify("a")
    args = ClassifyArgs(size=ctypes.sizeof(ClassifyArgs), model=c.handle, text=Text(None, 5))
    assert LIB.sqz_model_classify(ctypes.byref(args)) == 1 and LIB.sqz_error_message().startswith(b"text: expected")
    assert LIB.sqz_model_classify(None) == 1 and LIB.sqz_model_tokenizer(c.handle, None) == 1


def test_threads_ask_for_one_tokenizer(converted):
    for _ in range(20):
        c = CModel(converted("random"))
        with ThreadPoolExecutor(6) as pool:
            handles = set(pool.map(lambda _, c=c: c.tokenizer(), range(6)))
            assert len(handles) == 1
            found = list(pool.map(lambda _, c=c: c.classify("good movie")[:2], range(12)))
        assert len(set(found)) == 1
        c.close()
        with pytest.raises(CError, match="tokenizer: expected an open handle"):
            check(LIB.sqz_tokenizer_free(ctypes.c_uint64(handles.pop())))


# ---- memory and threads ----------------------------------------------------------------------------------------------


def test_a_workspace_of_the_caller(converted):
    c = CModel(converted("classification"))
    ids, mask = np.ones((300, 10), int), np.tile([1] * 7 + [0] * 3, (300, 1))
    expected = c.run(ids, mask, want=["logits"])["logits"]
    size = LIB.sqz_model_workspace_size(c.handle, ids.size, 300, 10)
    for shift in (0, 1, 63):
        room = np.full(size + 64 + 64, 0xAB, np.uint8)
        begin = -room.ctypes.data % 64 + shift
        place = room[begin : begin + size]
        found = c.run(ids, mask, want=["logits"], workspace=place, workspace_size=size)["logits"]
        assert_same_bits(found, expected)
        assert (room[:begin] == 0xAB).all() and (room[begin + size :] == 0xAB).all()
    with pytest.raises(CError, match=rf"^workspace_size: expected at least {size}, got {size - 1}$"):
        c.run(ids, mask, want=["logits"], workspace=place, workspace_size=size - 1)
    assert LIB.sqz_model_workspace_size(c.handle, 2**31 - 1, 2**31 - 1, 2**31 - 1) > 0
    for sizes in ((-1, 1, 1), (1, -1, 1), (1, 1, -1), (2**31, 1, 1)):
        assert LIB.sqz_model_workspace_size(c.handle, *sizes) == -1


def test_threads_run_one_model(converted):
    """Also while another thread closes it: a run that has begun ends well."""
    path = converted("classification")
    c = CModel(path)
    rng = np.random.default_rng(0)
    batches = [rng.integers(100, size=(n % 5 + 1, n % 9 + 1)) for n in range(40)]
    expected = [c.run(ids, want=["logits", "hidden"]) for ids in batches]
    with ThreadPoolExecutor(6) as pool:
        for _ in range(5):
            for found, one in zip(
                pool.map(lambda ids: c.run(ids, want=["logits", "hidden"]), batches), expected, strict=True
            ):
                assert_results(found, one)

        def run(i):
            try:
                assert_results(c.run(batches[i % 40], want=["logits", "hidden"]), expected[i % 40])
            except CError as error:
                assert "model: expected an open handle" in str(error)
                return False
            return True

        runs = [pool.submit(run, i) for i in range(200)]
        runs[20].result()
        c.close()
        done = [future.result() for future in runs]
    assert any(done) and not run(0)
    with pytest.raises(CError, match=r"^model: expected an open handle"):
        c.close()


# ---- the Python model runs in C --------------------------------------------------------------------------------------


@pytest.fixture
def in_both(monkeypatch):
    """A function that runs a model in C and in Python, and checks that the results are the same."""
    runs = []
    run = CompiledModel.run
    monkeypatch.setattr(CompiledModel, "run", lambda *args: runs.append(run(*args)) or runs[-1])

    def in_both(model, *inputs, **options):
        expected = model(*inputs, **options)
        with monkeypatch.context() as patch:
            patch.setattr(squeezebert, "COMPILED", ("native", "cffi"))
            count = len(runs)
            found = model(*inputs, **options)
            assert runs[count:] == [True]
        theirs, ours = arrays_of(expected), arrays_of(found)
        assert ours.keys() == theirs.keys() and ours
        for name, array in ours.items():
            assert array.shape == theirs[name].shape and array.flags.c_contiguous and array.flags.writeable
            assert_same_bits(array, np.ascontiguousarray(theirs[name]))
        return found

    return in_both


@pytest.mark.parametrize("dtype, attention", [*STORED, (MIXED, "float32")])
@pytest.mark.parametrize("name", CHECKPOINTS)
def test_the_python_model_runs_in_c(in_both, name, dtype, attention, tmp_path):
    if dtype is MIXED and name not in WITH_STATES:
        dtype = {}  # too few layers
    model = SqueezeBert.from_pretrained(CHECKPOINTS[name](tmp_path / "in"), dtype=dtype, attention=attention)
    ids, mask, types = inputs_of(model)
    for inputs in (
        (ids,),
        (ids, mask),
        (ids.tolist(), mask.astype(bool), types.astype(np.int32)),
        (ids[:1, ..., ::2],),
    ):
        in_both(model, *inputs)
        in_both(model.encoder(), *[array.reshape(-1, array.shape[-1]) for array in map(np.asarray, inputs)])
    if model.head.has_token_logits:
        in_both(model, ids, mask, logits_mask=(np.arange(LENGTH) == 0) & np.ones(ids.shape, bool))


def test_a_converted_model_runs_in_c(in_both, converted):
    for name in ("classification", "question_answering"):
        model = SqueezeBert.from_pretrained(converted(name))
        in_both(model, *inputs_of(model))


def test_copies_run_in_c(in_both):
    model = SqueezeBert.from_pretrained(GOLDEN / "classification", dtype="int8")
    inputs = inputs_of(model)
    first = in_both(model, *inputs)
    for twin in (copy.copy(model), copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert_same_bits(in_both(twin, *inputs).logits, first.logits)
    encoder = model.encoder()
    del model, twin
    gc.collect()
    in_both(encoder, *inputs)


def test_errors_are_those_of_python(monkeypatch):
    """Whatever is wrong or unusual, with the same message, or with a result."""
    monkeypatch.setattr(squeezebert, "COMPILED", ("native",))
    model = SqueezeBert.from_pretrained(GOLDEN / "token_classification")
    good = model([[1, 2]]).logits
    assert_same_bits(model([[1, 2]], [[True, True]], [[0, 0]]).logits, good)
    assert_same_bits(model(np.array([[1, 2]], np.uint8), np.array([[1, 1]], np.uint64)).logits, good)
    calls = [
        ([[1, 60]],), ([[1, -1]],), (np.array([[2**64 - 1]], np.uint64),), ([[1.0]],), ([1, 2],), ([[1], [1, 2]],),
        (np.empty((0, 3), int),), ([[1]] * 2, [[1]]), ([[1, 2]], [[1, 2]]), ([[1, 2]], [[1, 256]]),
        ([[1, 2]], [[0.5, 1]]), ([[1, 2]], None, [[0, 5]]), ([[1, 2]], None, [[False, True]]),
        (np.ones((1, 17), int),), (None,), ("ab",),
    ]  # fmt: skip
    for inputs in calls:
        found = []
        for backends_in_c in (("native",), ()):
            monkeypatch.setattr(squeezebert, "COMPILED", backends_in_c)
            with pytest.raises((TypeError, ValueError), match=r"^SqueezeBert: \w+: expected") as info:
                model(*inputs)
            found.append((type(info.value), str(info.value)))
        assert found[0] == found[1]
    monkeypatch.setattr(squeezebert, "COMPILED", ("native",))
    assert model([[1, 2]], [[0, 1]], logits_mask=[[True, False]]).logits.shape == (1, 3)
    for mask in ([[1, 0]], [[True]]):
        with pytest.raises((TypeError, ValueError), match=r"^SqueezeBert: logits_mask: expected"):
            model([[1, 2]], [[0, 1]], logits_mask=mask)
    with pytest.raises(ValueError, match=r"logits_mask: expected True only up to the last attended token"):
        model([[1, 2]], [[1, 0]], logits_mask=np.array([[False, True]]))


def test_a_model_that_the_library_refuses_runs_in_python(monkeypatch):
    monkeypatch.setattr(squeezebert, "COMPILED", ("native",))
    model = SqueezeBert.from_pretrained(GOLDEN / "classification")
    expected = model([[1, 2]]).logits
    other = SqueezeBert.from_pretrained(GOLDEN / "classification")
    other._compiled = CompiledModel(lambda: ("{", "float32", "base", {}))
    assert_same_bits(other([[1, 2]]).logits, expected)


@pytest.mark.parametrize("backend", ["native", "cffi"])
def test_a_python_without_ctypes_runs_its_own_model(backend):
    """It was built without libffi."""
    code = "import sys; sys.modules['_ctypes'] = {}; from squeezeops.pipelines import pipeline\n"
    code += "print(pipeline('text-classification')(['a good movie', 'dull']), end='')"
    found = [
        run_python("-c", code.format(module), SQUEEZEOPS_BACKEND=backend)
        for module in ("None", "__import__('_ctypes')")
    ]
    assert found[0].returncode == 0, found[0].stderr
    assert found[0].stdout == found[1].stdout != ""


def test_a_model_of_tensors(converted):
    """The public function: what is wrong with the tensors or texts."""
    tensors = {"classifier.bias": np.zeros(3, np.float32)}

    def opened(config=b"{}", attention=b"float32", task=b"base", count=1, rows=tensors, **changes):
        array = (models._interface().Tensor * len(rows))()
        for row, (name, data) in zip(array, rows.items(), strict=True):
            row.name, row.dtype, row.rank, row.data = name.encode(), 1, 1, data.ctypes.data
            row.shape[0] = data.size
            for key, value in changes.items():
                setattr(row, key, value)
        handle = ctypes.c_uint64()
        status = LIB.sqz_model_open_tensors(config, attention, task, ctypes.c_int64(count), array, ctypes.byref(handle))
        assert STATUS[status] == "INVALID" and handle.value == 0
        return LIB.sqz_error_message().decode()

    assert opened(config=None).startswith("config: expected a pointer")
    assert opened(attention=None).startswith("attention: expected a pointer")
    assert opened(attention=b"int4").startswith("attention: expected 'float32' or 'int8', got 'int4'")
    assert opened(task=None).startswith("task: expected a pointer")
    assert opened(task=b"haiku").startswith("task: expected base, ")
    assert opened(config=b"[]").startswith("config.json: expected an object")
    assert opened(config=b"\xff").startswith("config: expected UTF-8")
    assert opened(count=-1).startswith("count: expected 0 to 2^31 - 1")
    assert opened(name=None).startswith("tensors[0]: expected a name and data")
    assert opened(data=None).startswith("tensors[0]: expected a name and data")
    assert opened(shape=(ctypes.c_int64 * 2)(-1, 1)).startswith("classifier.bias: expected sizes >= 0")
    assert opened(shape=(ctypes.c_int64 * 2)(2**62, 1)).startswith("classifier.bias: expected sizes >= 0")
    assert opened().startswith("embeddings.word_embeddings.weight: expected a tensor")


# ---- what is wrong ---------------------------------------------------------------------------------------------------


def refused(path, task=None):
    """The message for a file that cannot be opened; from a path and in memory it is the same."""
    messages = []
    for source in (path, in_memory(path.read_bytes())):
        with pytest.raises(CError) as info:
            CModel(source, task)
        assert info.value.status == "INVALID"
        messages.append(str(info.value))
    return messages[0]


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files(converted, name, tmp_path):
    """Those that the Python reader refuses, for the same reason."""
    file = Edited(shutil.copy(converted("random"), tmp_path / "model.safetensors"))
    BROKEN[name][0](file)
    file.write()
    with pytest.raises(ValueError, match="expected") as info:
        SqueezeBert.from_pretrained(file.path)
    message = refused(file.path)
    assert re.match(r"[^:]+(: [^:]+)*: expected .*, got", message), message
    theirs = str(info.value).removeprefix(f"{file.path}: ").removeprefix("SqueezeBert: ").split(":")[0].strip("'")
    assert message.split(":")[0] == ("squeezeops_format" if name == "another format" else theirs)


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_needs_a_newer_reader(converted, name, tmp_path):
    file = Edited(shutil.copy(converted("random"), tmp_path / "model.safetensors"))
    changes, message = UNKNOWN[name]
    for key, value in changes.items():
        file.metadata.pop(key)
        file.metadata.update({key: value} if value is not None else {})
    file.write()
    found = refused(file.path)
    assert found.split(":")[0] == message.split(":")[0]
    assert "needs a newer squeezeops, " in found or name == "no list"


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files(name, tmp_path):
    (path := tmp_path / "x.safetensors").write_bytes(HOSTILE[name][0])
    assert ": expected " in refused(path) if HOSTILE[name][0] else "path: expected"


def test_an_unknown_class_without_a_model_type(converted, tmp_path):
    file = Edited(shutil.copy(converted("random"), tmp_path / "model.safetensors"))
    config = json.loads(file.metadata["config.json"])
    del config["model_type"]
    file.metadata["config.json"] = json.dumps(config | {"architectures": ["XModel"]})
    file.write()
    assert refused(file.path).startswith("config.json: model_type: expected one of SqueezeBert, Bert, DistilBert in")


def test_a_long_message_ends_between_characters():
    """It is cut, at the same length or up to three bytes before it."""
    lengths = set()
    for padding in range(4):
        assert LIB.sqz_force_isa(b"x" * padding + "\U0001f642".encode() * 1000)
        message = LIB.sqz_error_message()
        assert message.decode().endswith("\U0001f642")
        lengths.add(len(message))
    assert max(lengths) - min(lengths) == 3


def test_a_header_beyond_the_limit():
    """The one of the reader in Python, in a file that has so many bytes."""
    room = in_memory(struct.pack("<Q", limits.MAX_JSON + 1) + b"{" + b" " * (limits.MAX_JSON - 1) + b"}")
    with pytest.raises(CError, match="header: expected at most 16777216 bytes, got 16777217"):
        CModel(room)


CONFIGS = {
    "hidden_act": ["swish", None, 5, ["gelu"]],
    "layer_norm_eps": [-1, 2, "1e-12", None, True],
    "num_attention_heads": [0, 3, 1.0, "2", True, 2**40],
    "max_position_embeddings": [0, -1, 2**31],
    "intermediate_groups": [3],
    "embedding_size": [8],
    "position_embedding_type": ["relative_key"],
    "is_decoder": [True, 1],
    "pruned_heads": [{"1": [0]}],
    "quantization_config": [{"bits": 4}],
    "problem_type": ["ranking", 3],
    "model_type": ["roberta", 3, None],
    "architectures": ["X", [1]],
    "tie_word_embeddings": ["yes"],
    "id2label": [{"0": "a", "2": "b"}, {"0": []}, [1], {"x": "a"}, {"0": "a", "00": "b"}],
}


@pytest.mark.parametrize("key, value", [(key, value) for key, values in CONFIGS.items() for value in values])
def test_configurations(converted, key, value, tmp_path):
    file = Edited(shutil.copy(converted("random"), tmp_path / "model.safetensors"))
    file.config(**{key: value})
    file.write()
    with pytest.raises(ValueError, match="expected"):
        SqueezeBert.from_pretrained(file.path)
    assert refused(file.path).startswith(f"config.json: {key}")


@pytest.mark.parametrize(
    "values",
    [
        {"hidden_act": "gelu_fast"},
        {"hidden_act": "relu", "layer_norm_eps": 1},
        {"layer_norm_eps": 1.00000000000000001e-5},
        {"problem_type": "regression", "position_embedding_type": "absolute", "is_decoder": False, "pruned_heads": {}},
        {"label2id": {"x": []}, "pad_token_id": "none", "unknown": [{"a": [1.5e3, -0.1, True, None, '\\"']}]},
        {"architectures": None, "id2label": None, "num_labels": 3, "tie_word_embeddings": None},
    ],
)
def test_configurations_that_work(converted, values, tmp_path):
    file = Edited(shutil.copy(converted("random"), tmp_path / "model.safetensors"))
    file.config(**values)
    file.write()
    python, c = SqueezeBert.from_pretrained(file.path), CModel(file.path)
    ids, mask, types = inputs_of(python)
    assert_results(c.run(ids, mask, types, want=["logits"]), expected_of(python, ids, mask, types))


def test_wrong_arguments_of_open(converted, tmp_path):
    path = converted("random")
    handle = ctypes.c_uint64(77)
    data = in_memory(path.read_bytes())
    calls = {
        "path: expected a pointer": lambda: LIB.sqz_model_open(None, None, ctypes.byref(handle)),
        "path: expected a file": lambda: LIB.sqz_model_open(b"/nowhere", None, ctypes.byref(handle)),
        "path: expected a file that": lambda: LIB.sqz_model_open(str(tmp_path).encode(), None, ctypes.byref(handle)),
        "model: expected a pointer": lambda: LIB.sqz_model_open(str(path).encode(), None, None),
        "data: expected a pointer": lambda: LIB.sqz_model_open_memory(None, 8, None, ctypes.byref(handle)),
        "data: expected an address": lambda: LIB.sqz_model_open_memory(
            data.ctypes.data + 1, data.size - 1, None, ctypes.byref(handle)
        ),
        "data: expected at least 8": lambda: LIB.sqz_model_open_memory(data.ctypes.data, 7, None, ctypes.byref(handle)),
        "size: expected": lambda: LIB.sqz_model_open_memory(data.ctypes.data, 2**64 - 1, None, ctypes.byref(handle)),
    }
    for message, call in calls.items():
        assert STATUS[call()] == "INVALID" and LIB.sqz_error_message().decode().startswith(message)
    assert handle.value == 77
    (tmp_path / "empty.safetensors").write_bytes(b"")
    with pytest.raises(CError, match=r"^path: expected .*, got an empty file"):
        CModel(tmp_path / "empty.safetensors")


def test_a_file_that_cannot_be_mapped(converted, tmp_path):
    """It is read, as on file systems without mappings: a library in front of libc refuses to map."""
    source = tmp_path / "nomap.c"
    source.write_text(
        "#define _GNU_SOURCE\n#include <errno.h>\n#include <stdlib.h>\n#include <sys/mman.h>\n"
        "#include <sys/syscall.h>\n#include <unistd.h>\n"
        "void *mmap(void *at, size_t size, int protection, int flags, int file, off_t offset) {\n"
        '  if (file >= 0 && getenv("NO_MAPS")) return errno = ENODEV, MAP_FAILED;\n'
        "  return (void *)syscall(SYS_mmap, at, size, protection, flags, file, offset);\n}\n"
    )
    compiler = tool(*os.environ.get("CC", "cc gcc clang").split())
    run(compiler, "-shared", "-fPIC", "-O1", source, "-o", tmp_path / "nomap.so")
    code = """
import ctypes, sys
from c_model import CModel
libc = ctypes.CDLL(None)
libc.setenv(b"NO_MAPS", b"1", 1)
model = CModel(sys.argv[1])
libc.unsetenv(b"NO_MAPS")
print(sys.argv[1] in open("/proc/self/maps").read(), model.classify("good")[0])
"""
    path = converted("random")
    done = run_python("-c", code, str(path), LD_PRELOAD=str(tmp_path / "nomap.so"))
    assert done.stdout.split() == ["False", str(CModel(path).classify("good")[0])], done.stderr


def test_a_handle_of_another_kind():
    c = CModel(BUILT_IN)
    info = Info(size=ctypes.sizeof(Info))
    assert LIB.sqz_model_get_info(c.tokenizer(), ctypes.byref(info)) == 1
    assert LIB.sqz_error_message().startswith(b"model: expected an open handle, got")


def test_what_is_no_model():
    info, args = Info(size=ctypes.sizeof(Info)), RunArgs(size=ctypes.sizeof(RunArgs))
    c = CModel(BUILT_IN)
    c.close()
    for handle in (0, 1, 2**63, 2**64 - 1, c.handle):
        args.model = handle
        for status in (
            LIB.sqz_model_close(handle),
            LIB.sqz_model_get_info(handle, ctypes.byref(info)),
            LIB.sqz_model_run(ctypes.byref(args)),
            -LIB.sqz_model_label(handle, 0, None, 0),
            -LIB.sqz_model_workspace_size(handle, 1, 1, 1),
        ):
            assert status == 1 and LIB.sqz_error_message().startswith(b"model: expected an open handle, got")


def test_wrong_arguments_of_run(converted):
    c, tokens = CModel(converted("classification")), CModel(converted("masked_lm"))
    ids, ones = np.ones((2, 4), int), np.ones((2, 4), np.uint8)
    logits = np.full((2, 3), 7, np.float32)

    def message(model=c, given=ids, **changes):
        """Of a call with a result, which stays as it was."""
        offsets, types = changes.pop("offsets", None), changes.pop("types", None)
        args = model.args(given, None, types, offsets, logits=logits)
        for name, value in changes.items():
            setattr(args, name, value.ctypes.data if isinstance(value, np.ndarray) else value)
        status = LIB.sqz_model_run(ctypes.byref(args))
        assert STATUS[status] == "INVALID" and (logits == 7).all()
        return LIB.sqz_error_message().decode()

    largest = c.info.vocab_size - 1
    assert message(given=[[1, -1]]) == f"ids: expected values in [0, {largest + 1}), got -1 at position 1"
    assert message(given=[[largest + 1]]).startswith("ids: expected values in")
    assert message(given=[[2**62]]).startswith("ids: expected values in")
    assert message(types=ones * 2).startswith("type_ids: expected values in [0, 2), got 2 at position 0")
    assert message(given=np.ones((1, 17), int)).startswith("ids: expected sequences of at most 16 tokens, got 17")
    assert message(given=np.ones(20, int), offsets=[0, 20]).startswith("ids: expected sequences of at most 16 tokens")
    assert message(given=[1, 2, 3], offsets=[0, 0, 3]).startswith("offsets: expected sequences of at least one token")
    assert message(given=[1, 2, 3], offsets=[0, 2, 1]).startswith("offsets: expected values that do not decrease")
    assert message(given=[1, 2, 3], offsets=[1, 2, 3]).startswith("offsets: expected to start at 0")
    assert message(given=[1, 2, 3], offsets=[0, -2]).startswith("offsets: expected")
    assert message(ids=None).startswith("ids: expected a pointer, got NULL")
    assert message(length=0).startswith("length: expected at least one token")
    assert message(batch=-1).startswith("batch: expected 0 to")
    assert message(batch=2**31).startswith("batch: expected 0 to")
    assert message(batch=2**30).startswith("length: expected fewer than 2^31 tokens")
    assert message(logits_mask=ones).startswith("logits_mask: expected NULL for the task 'text-classification'")
    assert message(unpooled=-1).startswith("unpooled: expected a number >= 0")
    assert message(model=tokens, pooled=logits).startswith("pooled: expected NULL for a model without a pooler")
    assert message(model=CModel(converted("classification"), "base")).startswith("logits: expected NULL for the task")
    assert message(size=4).startswith("size: expected that of the struct")
    assert LIB.sqz_model_run(None) == 1 and LIB.sqz_error_message() == b"args: expected a pointer, got NULL"
    assert LIB.sqz_model_get_info(c.handle, None) == 1
    for index in (-1, 3, 2**62):
        assert LIB.sqz_model_label(c.handle, index, None, 0) == -1
    assert LIB.sqz_model_label(c.handle, 0, None, 1) == -1


def test_a_batch_without_sequences(converted):
    c = CModel(converted("classification"))
    args = c.args(np.ones((1, 1), int))
    args.batch = args.length = 0
    args.ids = None
    assert LIB.sqz_model_run(ctypes.byref(args)) == 0


@pytest.mark.parametrize("length", [-1, 7, 2**63 - 1])
def test_a_length_beside_offsets(converted, length):
    """It is not used. That a product with it does not overflow, UndefinedBehaviorSanitizer sees."""
    c = CModel(converted("classification"))
    results = [np.zeros((2, 3), np.float32) for _ in range(2)]
    for result, of in zip(results, (0, length), strict=True):
        args = c.args(np.array([1, 2, 3]), None, None, [0, 2, 3], logits=result)
        args.length = of
        assert LIB.sqz_model_run(ctypes.byref(args)) == 0
    assert_same_bits(*results)


def mutations(data, rng):
    """Files with a few changed bytes, cut, or with an edited header; most changes are in the header."""
    (length,) = struct.unpack_from("<Q", data)
    words = [
        b'"',
        b"\\",
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b"-1",
        b"9" * 19,
        b"0",
        b"null",
        b"\xff",
        b"\0",
        b"\\u0000",
    ]
    while True:
        mutated = bytearray(data)
        for _ in range(rng.integers(1, 4)):
            at = int(rng.integers(length + 8 if rng.random() < 0.9 else len(data)))
            kind = rng.integers(4)
            if kind == 0:
                mutated[at] ^= 1 << int(rng.integers(8))
            elif kind == 1:
                mutated[at] = int(rng.integers(256))
            elif kind == 2:
                word = words[rng.integers(len(words))]
                mutated[at : at + len(word)] = word
            else:
                end = at + int(rng.integers(1, 40))
                piece = bytes(mutated[at:end])
                to = int(rng.integers(length + 8))
                mutated[to : to + len(piece)] = piece
        yield bytes(mutated[: int(rng.integers(len(mutated)))] if rng.random() < 0.1 else mutated)


@pytest.mark.parametrize("name", ["version 1", "version 2"])
def test_mutated_files(converted, name):
    """Any bytes: an error, or a model that runs. The process survives."""
    data = (VERSION_1 if name == "version 1" else converted("random")).read_bytes()
    opened = 0
    for _, mutated in zip(range(3000), mutations(data, np.random.default_rng(5)), strict=False):
        with exactly(mutated) as source:
            try:
                c = CModel(source)
            except CError as error:
                assert ": expected " in str(error)
                continue
            opened += 1
            c.label(0)
            c.run([[1, 2]], want=["hidden", "embeddings"])
            c.close()
    assert 100 < opened < 2900
