"""The everyday calls of a tokenizer and a model, as in transformers: options, keys, attributes, shapes and dtypes."""

import copy
import pickle
import random
import re

import numpy as np
import pytest
from pipeline_helpers import MODELS, PIECES, write_lively_model, write_task_model

import squeezeops
from squeezeops import SqueezeBert, Tokenizer

TEXTS = ["a good movie", "", "the movies were awful , awful !", "isn't [MASK] it?"]
PAIRS = ["bad", "it was good", "", "a , b"]
SPLIT = [["a", "good", "movie!"], [], ["isn't", "", "it", "[MASK]"], ["the", "the movies"]]
KEYS = ["input_ids", "token_type_ids", "attention_mask"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_lively_model(tmp_path_factory.mktemp("encoding") / "model", ["A", "B"], positions=24)


@pytest.fixture(scope="module")
def tok(folder):
    return Tokenizer.from_pretrained(folder)


@pytest.fixture(scope="module")
def model(folder):
    return SqueezeBert.from_pretrained(folder)


# ---- the model takes what the tokenizer returns ----------------------------------------------------------------------


def test_a_model_takes_an_encoding(tok, model):
    expected = model(*(tok(TEXTS, padding=True)[key] for key in ("input_ids", "attention_mask", "token_type_ids")))
    for options in ({}, {"return_tensors": "np"}, {"padding": "max_length", "max_length": 20}):
        logits = model(**tok(TEXTS, **{"padding": True, **options})).logits
        assert np.array_equal(logits, expected.logits)
    one = model(**tok(TEXTS[0], return_tensors="np"))
    assert np.array_equal(one["logits"], expected["logits"][:1])


def test_outputs_are_mappings(tok, model):
    output = model(**tok(TEXTS, padding=True))
    assert list(output) == list(output.keys()) == ["pooler_output", "logits"] and len(output) == 2
    assert output["logits"] is output.logits is output[1] is output.to_tuple()[1] is dict(output)["logits"]
    assert "logits" in output and "start_logits" not in output and output.get("start_logits") is None
    with pytest.raises(KeyError, match=r"expected one of pooler_output, logits, got 'start_logits'"):
        output["start_logits"]
    full = model(**tok(TEXTS, padding=True), output_hidden_states=True)
    assert full["last_hidden_state"] is full["hidden_states"][-1] is full[0]
    with pytest.raises(AttributeError):
        output.missing  # noqa: B018
    assert repr(output) == "SqueezeBertOutput(pooler_output=float32 (4, 16), logits=float32 (4, 2))"
    assert re.search(r"hidden_states=3 x float32 \(4, \d+, 16\)", repr(full))


def test_what_a_model_says_about_other_inputs(tok, model):
    for bad, message in (
        (tok(TEXTS, padding=True), r"input_ids: expected an array, got Encoding: pass \*\*encoding"),
        ({"input_ids": [[1]]}, r"input_ids: expected an array, got dict: pass \*\*dict"),
        ("a text", r"input_ids: expected integers, got text: a Tokenizer makes ids of it"),
        (["a text"], r"input_ids: expected integers, got text: a Tokenizer makes ids of it"),
    ):
        with pytest.raises(TypeError, match=f"^SqueezeBert: {message}$"):
            model(bad)
    for bad in (3, np.array(3)):
        with pytest.raises(ValueError, match=r"got \(\): one token in one row is \[\[input_ids\]\]$"):
            model(bad)


class Tensor:
    """What NumPy makes an array of, as it does of a tensor of torch."""

    def __array__(self, dtype=None, copy=None):
        return np.ones((1, 4), np.float32)


def test_a_tensor_is_refused_with_what_to_do():
    foreign = type("Tensor", (Tensor,), {"__module__": "torch"})()
    weight = type("Parameter", (Tensor,), {"__module__": "torch.nn.parameter"})()
    narrow = type("Tensor", (Tensor,), {"__module__": "torch", "dtype": "torch.bfloat16"})()
    for x, hint in (
        (Tensor(), r"got Tensor \(numpy.asarray\(x\) is an array\)"),
        (foreign, r"got torch.Tensor \(x.detach\(\).cpu\(\).numpy\(\) is an array\)"),
        (np.float32(1), r"got a float32 scalar \(numpy.atleast_1d\(x\) is an array\)"),
        (weight, r"got torch.Parameter \(x.detach\(\).cpu\(\).numpy\(\) is an array\)"),
        (narrow, r"got torch.Tensor \(x.detach\(\).float\(\).cpu\(\).numpy\(\) is an array\)"),
        ([[1.0]], "got list"),
    ):
        for backend in squeezeops.available_backends():
            with squeezeops.backend(backend), pytest.raises(TypeError, match=f"expected an array of float32, {hint}$"):
                squeezeops.layer_norm(x)


def test_a_tensor_that_makes_no_array(model):
    class Gradient:
        def __array__(self, dtype=None, copy=None):
            raise RuntimeError("use x.detach()")

    for name, arguments in (("input_ids", (Gradient(),)), ("attention_mask", ([[1, 2]], Gradient()))):
        message = f"^SqueezeBert: {name}: expected an array of integers, got Gradient, .* makes none: use x.detach"
        with pytest.raises(TypeError, match=message):
            model(*arguments)


def test_an_array_in_place_of_a_number():
    for backend in squeezeops.available_backends():
        with squeezeops.backend(backend), pytest.raises(TypeError, match=r"got float32 \(x.item\(\) is a number\)$"):
            squeezeops.softmax(np.ones((1, 4), np.float32), scale=np.array(1, np.float32))


def test_an_array_without_axes_is_refused_with_what_to_do():
    message = r"expected at least 1 dimension, got shape \(\) \(reshape a single number to \(1, 1\)\)$"
    for backend in squeezeops.available_backends():
        with squeezeops.backend(backend), pytest.raises(ValueError, match=message):
            squeezeops.layer_norm(np.array(1, np.float32))


# ---- encodings -------------------------------------------------------------------------------------------------------


def test_items_and_attributes(tok):
    batch = tok(TEXTS, PAIRS, padding=True)
    assert list(batch) == list(batch.keys()) == KEYS and isinstance(batch, dict)
    assert batch.input_ids is batch["input_ids"] and batch.attention_mask is batch["attention_mask"]
    for missing in ("offset_mapping", "labels", "__len_hint__"):
        assert not hasattr(batch, missing)
    with pytest.raises(KeyError, match="offset_mapping"):
        batch["offset_mapping"]
    more = tok("a good", return_offsets_mapping=True, return_special_tokens_mask=True, return_length=True)
    assert list(more) == [*KEYS, "special_tokens_mask", "offset_mapping", "length"]
    assert more.offset_mapping == [(0, 0), (0, 1), (2, 6), (0, 0)]
    assert more.special_tokens_mask == [1, 0, 0, 1] and more.length == [4]
    assert list(tok("a", return_token_type_ids=False, return_attention_mask=False)) == ["input_ids"]
    assert batch == {**batch} and repr(tok("a")) == repr(dict(tok("a")))


def test_alignment_of_an_encoding(tok):
    batch = tok(["isn't it", "a"], ["good", "b"], padding=True)
    assert batch.tokens(0)[:2] == ["[CLS]", "i"] and batch.tokens(0) == batch.tokens() == batch[0].tokens
    assert batch.word_ids(1) == [None, 0, None, 0, None, *[None] * (len(batch.input_ids[1]) - 5)]
    assert batch.sequence_ids(1)[:5] == [None, 0, None, 1, None]
    row = batch[1]
    assert row.ids == batch.input_ids[1] and row.type_ids == batch.token_type_ids[1]
    assert row.attention_mask == batch.attention_mask[1] and row.offsets[1] == (0, 1) == row.offsets[3]
    assert row.special_tokens_mask[:5] == [1, 0, 1, 0, 1]
    assert tok("a b").word_ids() == [None, 0, 1, None]
    with pytest.raises(IndexError):
        batch.word_ids(2)
    for same in (pickle.loads(pickle.dumps(batch)), copy.copy(batch)):
        assert same == batch and same.word_ids(0) == batch.word_ids(0) and type(same) is type(batch)


def test_lists_or_arrays(tok):
    options = {"padding": True, "return_offsets_mapping": True, "return_special_tokens_mask": True}
    lists, arrays = tok(TEXTS, **options), tok(TEXTS, return_tensors="np", **options)
    for key, values in lists.items():
        assert type(values) is list and type(arrays[key]) is np.ndarray
        assert arrays[key].dtype == np.int64 and np.array_equal(arrays[key], values)
    assert tok("a good movie", return_tensors="np").input_ids.shape == (1, 5)
    assert type(tok("a")["input_ids"][0]) is int
    for name, hint in (("pt", "torch.from_numpy"), ("tf", "tensorflow"), ("jax", "jax"), ("mlx", "mlx")):
        with pytest.raises(ValueError, match=rf"^return_tensors: expected None or 'np', got '{name}' \(.*{hint}"):
            tok("a", return_tensors=name)
    for bad in ("numpy", 3, True):
        with pytest.raises(ValueError, match="^return_tensors: expected None or 'np', got "):
            tok("a", return_tensors=bad)
    message = r"^return_tensors: expected rows of equal length \(padding=True makes them so\), got 5 and 2 tokens$"
    with pytest.raises(ValueError, match=message):
        tok(TEXTS[:2], return_tensors="np")


def test_padding(tok):
    def width(*texts, **options):
        return [len(row) for row in tok(list(texts), **options).input_ids]

    assert width("a", "a b", padding="max_length", max_length=6) == [6, 6]
    assert width("a", "a b c d e f", padding="max_length", max_length=6) == [6, 8]
    assert width("a", "a b c d e f", padding="max_length", max_length=6, truncation=True) == [6, 6]
    assert width("a", "a b c", padding=True, pad_to_multiple_of=4) == [8, 8]
    assert width("a", "a b c", padding="max_length", max_length=5, pad_to_multiple_of=4) == [8, 8]
    assert width("a", "a b c", pad_to_multiple_of=4) == [3, 5]
    own = Tokenizer(tok.vocab, max_length=7)
    assert len(own("a", padding="max_length").input_ids) == 7
    left = tok(["a", "a b"], padding=True, padding_side="left")
    assert left.attention_mask == [[0, 1, 1, 1], [1, 1, 1, 1]]
    assert tok("a b c d e f", max_length=4).input_ids == tok("a b").input_ids  # as in transformers
    assert len(tok("a b c d e f", max_length=4, truncation=False).input_ids) == 8


def test_words(tok):
    row = tok(["isn't", "", "good"], is_split_into_words=True, return_offsets_mapping=True)
    assert row.tokens() == ["[CLS]", *tok.tokenize("isn't good"), "[SEP]"]
    assert row.word_ids() == [None, *[0] * (len(row.tokens()) - 3), 2, None]
    assert row.offset_mapping[-2] == (0, 4)  # in the word
    batch = tok(SPLIT, padding=True, is_split_into_words=True)
    assert [len(ids) for ids in batch.input_ids] == [max(map(len, batch.input_ids))] * 4
    pair = tok(["a", "b"], ["good", "movie"], is_split_into_words=True)
    assert pair.word_ids() == [None, 0, 1, None, 0, 1, None] and pair.sequence_ids()[4:6] == [1, 1]
    pairs = tok([(["a"], ["b"]), (["a", "b"], ["c"])], is_split_into_words=True)
    assert pairs == tok([["a"], ["a", "b"]], [["b"], ["c"]], is_split_into_words=True)
    assert tok([("a", "b"), ["a b", "c"]]) == tok(["a", "a b"], ["b", "c"])
    assert tok(text="a", text_pair="b") == tok("a", "b")


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((np.array(["a"]),), {}, TypeError, r"text: expected str, got ndarray \(text.tolist\(\) is a list\)"),
        ((["a", ["b", "c", "d"]],), {}, TypeError, r"text\[1\]: expected str, got list \(is_split_into_words=True "),
        (("a b",), {"is_split_into_words": True}, TypeError, "text: expected a list of str, got str"),
        ((["a", 3],), {"is_split_into_words": True}, TypeError, r"text\[1\]: expected str, got int"),
        (([["a"], "b"],), {"is_split_into_words": True}, TypeError, r"text\[1\]: expected a list of str, got str"),
        (([["a"], [3]],), {"is_split_into_words": True}, TypeError, r"text\[1\]\[0\]: expected str, got int"),
        ((["a"], "b"), {"is_split_into_words": True}, TypeError, "text_pair: expected a list of str, got str"),
        (([["a"]], [["a"], ["b"]]), {"is_split_into_words": True}, ValueError, "text_pair: expected a list of 1 "),
        (("a",), {"padding": "max_length"}, ValueError, "max_length: padding='max_length' needs one, .* got None"),
        (("a",), {"padding": "left"}, ValueError, "padding: expected a bool, 'longest', 'max_length' or 'do_not_pad'"),
        (("a",), {"padding_side": "both"}, ValueError, "padding_side: expected 'left' or 'right', got 'both'"),
        (("a",), {"pad_to_multiple_of": 0}, ValueError, "pad_to_multiple_of: expected at least 1, got 0"),
        (
            ("a",),
            {"padding": True, "truncation": True, "max_length": 5, "pad_to_multiple_of": 4},
            ValueError,
            "pad_to_multiple_of: expected a divisor of max_length = 5, got 4",
        ),
        (("a",), {"return_offsets_mapping": 1}, TypeError, "return_offsets_mapping: expected bool, got 1"),
        (("a",), {"is_split_into_words": "no"}, TypeError, "is_split_into_words: expected bool, got 'no'"),
    ],
)
def test_bad_calls(arguments, options, error, message):
    own = Tokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a"])
    with pytest.raises(error, match=f"^{message}"):
        own(*arguments, **options)


def test_representations(tok, model, folder):
    assert repr(tok) == f"Tokenizer(vocab_size={len(PIECES)}, max_length=None, lowercase=True)"
    sizes = "squeezebert, 2 layers, 16 channels"
    shown = f"<SqueezeBert for 'text-classification': {sizes}, dtype 'float32', from {str(folder)!r}>"
    assert repr(model) == shown
    pipe = squeezeops.pipeline("text-classification", model, tokenizer=tok, top_k=2)
    assert repr(pipe) == f"TextClassificationPipeline(model={shown}, top_k=2)"
    conv = squeezeops.PointwiseConv(np.ones((4, 2), np.float32), np.ones(4, np.float32), groups=2, dtype="int8")
    assert repr(conv) == f"PointwiseConv(4, 4, groups=2, dtype='int8', bias=True, bytes={len(conv.packed)})"


# ---- against transformers --------------------------------------------------------------------------------------------


def calls(rng):
    """Arguments and options at random, of which some are errors."""
    split, paired = rng.random() < 0.4, rng.random() < 0.5
    texts, pairs = rng.sample(SPLIT if split else TEXTS, k=3), rng.sample(SPLIT if split else PAIRS, k=3)
    if rng.random() < 0.3:
        texts, pairs = texts[0], next(filter(None, pairs))  # they take an empty second text for none
    options = {
        "padding": rng.choice([True, False, "longest", "max_length", "do_not_pad"]),
        "truncation": rng.choice([None, True, False, "longest_first", "only_first", "do_not_truncate"]),
        "max_length": rng.choice([None, 6, 9, 12]),
        "add_special_tokens": rng.random() < 0.8,
        "is_split_into_words": split,
        "pad_to_multiple_of": rng.choice([None, None, 3, 4]),
        "padding_side": rng.choice([None, "left", "right"]),
        "return_tensors": rng.choice([None, "np"]),
        "return_special_tokens_mask": rng.random() < 0.5,
        "return_offsets_mapping": rng.random() < 0.5,
        "return_length": rng.random() < 0.2,
    }
    if rng.random() < 0.2 and not paired:
        options |= {"return_overflowing_tokens": True, "stride": rng.choice([0, 1])}
    options = {name: value for name, value in options.items() if rng.random() < 0.6 or name == "is_split_into_words"}
    return (texts, pairs) if paired else (texts,), options


def outcome(call, *arguments, **options):
    try:
        return call(*arguments, **options), None
    except Exception as error:
        return None, error


@pytest.mark.oracle
@pytest.mark.filterwarnings("ignore")
def test_transformers_returns_the_same(transformers, tok, folder):
    theirs = transformers.BertTokenizerFast.from_pretrained(folder)
    rng, same, refused = random.Random(31), 0, 0
    for _ in range(3000):
        arguments, options = calls(rng)
        (expected, failure), (found, error) = (
            outcome(theirs, *arguments, **options),
            outcome(tok, *arguments, **options),
        )
        if failure is not None or error is not None:
            # They make arrays of objects of rows that are not equally long, and guess what lacks a length.
            ragged = failure is None and options.get("return_tensors") and expected["input_ids"].dtype == object
            lacking = options.get("max_length") is None and "needs one" in str(error)
            assert (failure and error) or ragged or lacking, (arguments, options, failure, error)
            refused += 1
            continue
        assert list(found) == list(expected.keys()), (arguments, options)
        for key, values in expected.items():
            if options.get("return_tensors"):
                assert found[key].shape == values.shape and found[key].dtype == values.dtype, (arguments, options, key)
                assert np.array_equal(found[key], values), (arguments, options, key)
            else:
                assert found[key] == values, (arguments, options, key)
            assert getattr(found, key) is found[key]
        for i in range(len(expected.encodings)):
            assert found.word_ids(i) == expected.word_ids(i), (arguments, options)
            assert found.sequence_ids(i) == expected.sequence_ids(i)
            assert found.tokens(i) == expected.tokens(i)
            assert all(getattr(found[i], name) == getattr(expected[i], name) for name in found[i]._fields)
        same += 1
    assert same > 1500 and refused > 30, (same, refused)


@pytest.mark.oracle
@pytest.mark.parametrize("task", ["token-classification", "question-answering"])
def test_a_tokenizer_of_transformers_works_in_a_pipeline(transformers, tmp_path, task):
    made = write_task_model(tmp_path / "model", task)
    theirs = transformers.BertTokenizerFast.from_pretrained(made)
    inputs, options = MODELS[task][1], {}
    if task == "token-classification":
        options = {"stride": 1, "aggregation_strategy": "first"}
    ours = squeezeops.pipeline(task, made, **options)
    assert squeezeops.pipeline(task, ours.model, tokenizer=theirs, **options)(inputs) == ours(inputs)
