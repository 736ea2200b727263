"""The model against what transformers computed for the golden models, on every backend; tasks, inputs, threads."""

from __future__ import annotations

import contextvars
import json
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from op_helpers import EXACT_ISAS, VARIANTS, assert_same_bits

from squeezeops import ops
from squeezeops.squeezebert import SqueezeBert, SqueezeBertConfig, SqueezeBertOutput
from squeezeops.squeezebert.checkpoint import load_folder

GOLDEN = Path(__file__).parent / "golden"
MODELS = ["classification", "odd_groups", "float16", "bfloat16"]
TOLERANCE = 1e-5  # absolute, on values of a few units
MASKED = np.finfo(np.float32).min
NATIVE = [variant for variant in VARIANTS if variant.backend == "native"]
INPUTS = ("input_ids", "attention_mask", "token_type_ids")


def load(name: str, **kwargs: object) -> SqueezeBert:
    return SqueezeBert.from_pretrained(GOLDEN / name, **kwargs)


def expected_of(name: str) -> dict[str, np.ndarray]:
    with np.load(GOLDEN / name / "expected.npz") as file:
        return {key: file[key].astype(np.int64) if key in INPUTS else file[key] for key in file}


def kept(mask: np.ndarray) -> np.ndarray:
    """The positions that are computed: up to the last attended one of a row, all of a row without any."""
    after = np.cumsum(mask[:, ::-1], axis=1)[:, ::-1] > 0
    return after | ~mask.any(axis=1, keepdims=True)


def arrays_of(output: SqueezeBertOutput) -> dict[str, np.ndarray]:
    found = {}
    for field in fields(output):
        value = getattr(output, field.name)
        for i, array in enumerate(value if isinstance(value, tuple) else [value]):
            if array is not None:
                found[f"{field.name}[{i}]"] = array
    return found


def assert_close(actual: np.ndarray, expected: np.ndarray, scale: float = 1.0) -> None:
    assert actual.dtype == np.float32 and actual.shape == expected.shape
    assert np.abs(actual.astype(float) - expected).max() <= TOLERANCE * scale


# ---- against transformers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_golden(variant, name):
    expected = expected_of(name)
    model = load(name)
    output = model(*(expected[key] for key in INPUTS))
    keep = kept(expected["attention_mask"])
    assert list(expected["rows"]) == ["full", "padded", "left_padded", "holes", "holes_padded", "all_zero"]
    assert list(keep.sum(axis=1)) == [10, 6, 10, 10, 6, 10]
    assert_close(output.last_hidden_state[keep], expected["last_hidden_state"][keep])
    assert (output.last_hidden_state[~keep] == 0).all()
    assert_close(output.pooler_output, expected["pooler_output"])
    if name == "odd_groups":
        assert model.task == "base" and output.logits is None
    else:
        assert model.task == "text-classification"
        assert_close(output.logits, expected["logits"])
    assert output.hidden_states is None and output.attentions is None
    assert output.start_logits is None and output.end_logits is None


@pytest.mark.parametrize("name", ["classification", "odd_groups"])
def test_hidden_states_and_attentions(variant, name):
    expected = expected_of(name)
    model = load(name)
    inputs = [expected[key] for key in INPUTS]
    output = model(*inputs, output_hidden_states=True, output_attentions=True)
    mask = expected["attention_mask"].astype(bool)
    keep = kept(mask)
    assert len(output.hidden_states) == len(expected["hidden_states"]) == model.config.num_hidden_layers + 1
    for actual, state in zip(output.hidden_states, expected["hidden_states"], strict=True):
        assert_close(actual[keep], state[keep])
        assert (actual[~keep] == 0).all()
    assert_same_bits(output.hidden_states[-1], output.last_hidden_state)

    assert len(output.attentions) == len(expected["attentions"]) == model.config.num_hidden_layers
    masked_keys = np.broadcast_to(~mask[:, None, None, :], output.attentions[0].shape)
    for actual, scores in zip(output.attentions, expected["attentions"], strict=True):
        assert actual.shape == scores.shape
        np.testing.assert_array_equal(actual == MASKED, masked_keys)
        computed = ~masked_keys & keep[:, None, :, None]
        assert_close(actual[computed], scores[computed], scale=np.abs(scores[computed]).max())
        assert (actual[~masked_keys & ~keep[:, None, :, None]] == 0).all()  # queries in dropped rows

    plain = model(*inputs)
    assert_same_bits(output.last_hidden_state, plain.last_hidden_state)
    assert_same_bits(output.pooler_output, plain.pooler_output)


@pytest.mark.parametrize("name", ["classification", "odd_groups"])
def test_rows_alone(variant, name):
    """Each row of the golden batch as a batch of its own: what transformers computed for it holds there too."""
    expected = expected_of(name)
    model = load(name)
    keep = kept(expected["attention_mask"])
    for i in range(len(keep)):
        output = model(*(expected[key][i : i + 1] for key in INPUTS))
        assert_close(output.last_hidden_state[0, keep[i]], expected["last_hidden_state"][i, keep[i]])


def test_float16_weights_give_the_bits_of_their_float32_values(variant):
    config, weights = load_folder(GOLDEN / "float16")
    assert {array.dtype.name for array in weights.values()} == {"float16"}
    widened = {name: array.astype(np.float32) for name, array in weights.items()}
    expected = expected_of("float16")
    inputs = [expected[key] for key in INPUTS]
    half, full = SqueezeBert(config, weights)(*inputs), SqueezeBert(config, widened)(*inputs)
    assert_same_bits(half.last_hidden_state, full.last_hidden_state)
    assert_same_bits(half.logits, full.logits)


# ---- the same bits in any company ----------------------------------------------------------------------------------


# Not the NumPy backend: its bits are those of a BLAS, which may depend on the number of rows.
@pytest.mark.parametrize("variant", NATIVE, ids=str, indirect=True)
@pytest.mark.parametrize("name", ["classification", "odd_groups"])
def test_batch_and_padding_do_not_change_bits(variant, name, rng):
    model = load(name)
    config, limit = model.config, 10
    lengths = rng.integers(1, limit + 1, 7)
    rows = [rng.integers(0, config.vocab_size, n) for n in lengths]
    masks = [np.ones(n, np.int64) for n in lengths]
    for i in (1, 4):  # holes, which take the path with a key mask in whatever batch they are
        masks[i][: lengths[i] // 2] = 0
    kinds = [rng.integers(0, config.type_vocab_size, n) for n in lengths]
    alone = [model(*(part[None] for part in parts)) for parts in zip(rows, masks, kinds, strict=True)]
    for chosen in ([0, 1, 2, 3, 4, 5, 6], [6, 2, 0], [3, 3], [5, 1], [1, 4]):
        for width in {max(lengths[chosen]), limit}:
            padded = [
                np.stack([np.pad(parts[i], (0, width - lengths[i])) for i in chosen]) for parts in (rows, masks, kinds)
            ]
            together = model(*padded)
            for at, i in enumerate(chosen):
                assert_same_bits(together.last_hidden_state[at, : lengths[i]], alone[i].last_hidden_state[0])
                assert_same_bits(together.pooler_output[at], alone[i].pooler_output[0])
                if together.logits is not None:
                    assert_same_bits(together.logits[at], alone[i].logits[0])


@pytest.mark.parametrize("variant", [v for v in NATIVE if v.isa in EXACT_ISAS], ids=str, indirect=True)
@pytest.mark.parametrize("name", MODELS)
def test_instruction_sets_agree(variant, name):
    expected = expected_of(name)
    inputs = [expected[key] for key in INPUTS]
    model = load(name)
    here = arrays_of(model(*inputs, output_hidden_states=True, output_attentions=True))
    with replace(variant, isa="scalar").active():
        there = arrays_of(model(*inputs, output_hidden_states=True, output_attentions=True))
    for key in here:
        assert_same_bits(here[key], there[key])


def test_threads_share_a_model(variant, rng):
    model = load("classification")
    batches = [rng.integers(0, model.config.vocab_size, (1 + i % 4, 3 + i % 9)) for i in range(16)]
    alone = [model(ids).logits for ids in batches]

    def run(i: int) -> None:
        for _ in range(5):
            assert_same_bits(model(batches[i]).logits, alone[i])

    with ThreadPoolExecutor(4) as pool:
        # A thread starts with the default backend: hand the chosen one over with the context.
        for done in [pool.submit(contextvars.copy_context().run, run, i) for i in range(len(batches))]:
            done.result()


def test_a_model_follows_the_backend():
    model = load("classification")
    expected = expected_of("classification")
    for name in ops.available_backends() * 2:
        with ops.backend(name):
            assert_close(model(*(expected[key] for key in INPUTS)).logits, expected["logits"])


def test_outputs_are_new_and_inputs_are_kept(variant):
    model = load("classification")
    expected = expected_of("classification")
    inputs = [expected[key].copy() for key in INPUTS]
    for array in inputs:
        array.flags.writeable = False
    first = model(*inputs, output_hidden_states=True)
    again = model(*inputs, output_hidden_states=True)
    for state in first.hidden_states:
        state[...] = np.nan
    assert_same_bits(again.logits, model(*inputs).logits)
    for name, array in zip(INPUTS, inputs, strict=True):
        np.testing.assert_array_equal(array, expected[name])


# ---- tasks ---------------------------------------------------------------------------------------------------------


def test_from_pretrained_keeps_the_path():
    model = load("classification")
    assert model.path == str(GOLDEN / "classification")
    assert SqueezeBert(*load_folder(GOLDEN / "classification")).path is None


def test_a_base_model_of_a_classification_checkpoint():
    expected = expected_of("classification")
    model = load("classification", task="base")
    output = model(*(expected[key] for key in INPUTS))
    assert model.task == "base" and output.logits is None
    assert_close(output.pooler_output, expected["pooler_output"])


def test_a_base_model_without_a_pooler():
    config, weights = load_folder(GOLDEN / "odd_groups")
    encoder = {name: array for name, array in weights.items() if not name.startswith("pooler.")}
    output = SqueezeBert(config, encoder)([[1, 2, 3]])
    assert output.pooler_output is None
    assert_same_bits(output.last_hidden_state, SqueezeBert(config, weights)([[1, 2, 3]]).last_hidden_state)
    half_a_pooler = {**encoder, "pooler.dense.weight": weights["pooler.dense.weight"]}
    with pytest.raises(ValueError, match=r"missing: pooler\.dense\.bias"):
        SqueezeBert(config, half_a_pooler)


def test_tensors_of_other_heads_and_stale_buffers_are_ignored():
    config, weights = load_folder(GOLDEN / "classification")
    extra = {
        "transformer.embeddings.position_ids": np.arange(16)[None],
        "cls.predictions.bias": np.zeros(100, np.float32),
        "qa_outputs.weight": np.zeros((2, 32), np.float32),
    }
    expected = SqueezeBert(config, weights)([[5, 6]])
    assert_same_bits(SqueezeBert(config, weights | extra)([[5, 6]]).logits, expected.logits)
    base = {name.removeprefix("transformer."): array for name, array in (weights | extra).items()}
    output = SqueezeBert(replace(config, architectures=None), base, task="base")([[5, 6]])
    assert_same_bits(output.pooler_output, expected.pooler_output)
    # a head's own beginning is not ignored where the head is used
    with pytest.raises(ValueError, match=r"1 difference:\n  unknown: classifier\.dense\.weight$"):
        SqueezeBert(config, {**weights, "classifier.dense.weight": np.zeros((3, 3), np.float32)})


def test_convolution_weights_without_the_last_axis():
    config, weights = load_folder(GOLDEN / "odd_groups")
    flat = {name: array[:, :, 0] if array.ndim == 3 else array for name, array in weights.items()}
    assert_same_bits(
        SqueezeBert(config, flat)([[7, 8]]).last_hidden_state, SqueezeBert(config, weights)([[7, 8]]).last_hidden_state
    )


@pytest.mark.parametrize(
    ("architectures", "task"),
    [
        (("SqueezeBertForSequenceClassification",), "text-classification"),
        (None, "text-classification"),
        ((), "text-classification"),
        (("MyOwnModel",), "text-classification"),
        (("SqueezeBertModel",), "base"),
        (("SqueezeBertForMaskedLM",), "base"),
    ],
)
def test_the_task_is_inferred(architectures, task):
    config, weights = load_folder(GOLDEN / "classification")
    assert SqueezeBert(replace(config, architectures=architectures), weights).task == task


@pytest.mark.parametrize(
    ("architecture", "task"),
    [("ForTokenClassification", "token-classification"), ("ForMultipleChoice", "multiple-choice")],
)
def test_another_task_is_not_taken_for_text_classification(architecture, task):
    config, weights = load_folder(GOLDEN / "classification")
    config = replace(config, architectures=(f"SqueezeBert{architecture}",))
    with pytest.raises(ValueError, match=f"got one for {task}, which is not supported yet; task='base' loads"):
        SqueezeBert(config, weights)
    with pytest.raises(ValueError, match=rf"has tensors for \(base, {task}\), got 'text-classification'"):
        SqueezeBert(config, weights, task="text-classification")
    assert SqueezeBert(config, weights, task="base").task == "base"


def test_tasks_that_are_not_there():
    with pytest.raises(ValueError, match=r"has tensors for \(base\), got 'text-classification'"):
        load("odd_groups", task="text-classification")
    with pytest.raises(ValueError, match="expected None or one of base, text-classification, got 'summarization'"):
        load("odd_groups", task="summarization")
    config, weights = load_folder(GOLDEN / "odd_groups")
    weights["qa_outputs.weight"] = np.zeros((2, 48), np.float32)
    with pytest.raises(ValueError, match=r"has tensors for \(base, question-answering\), got 'text-classification'"):
        SqueezeBert(config, weights, task="text-classification")
    with pytest.raises(ValueError, match="got one for question-answering, which is not supported yet"):
        SqueezeBert(replace(config, architectures=None), weights)


def test_dtype():
    with pytest.raises(ValueError, match="SqueezeBert: dtype: expected 'float32', got 'int8'"):
        load("classification", dtype="int8")


def test_another_model_type_is_named(tmp_path):
    folder = shutil.copytree(GOLDEN / "classification", tmp_path / "model")
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**values, "model_type": "bert"}))
    with pytest.raises(ValueError, match=r"config\.json: model_type: expected 'squeezebert', got 'bert'"):
        SqueezeBert.from_pretrained(folder)


# ---- inputs --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model():
    with ops.backend("numpy"):
        return load("classification")


def test_kinds_of_input(model):
    expected = model([[1, 2, 3], [4, 5, 6]], [[1, 1, 1], [1, 1, 0]], [[0, 0, 0], [0, 0, 0]]).logits
    ids = np.array([[1, 2, 3], [4, 5, 6]])
    mask = np.array([[1, 1, 1], [1, 1, 0]])
    for dtype in ("i1", "u1", "i4", "u4", "i8", "u8", ">i4"):
        assert_same_bits(model(ids.astype(dtype), mask.astype(dtype)).logits, expected)
    assert_same_bits(model(np.asfortranarray(ids), mask.astype(bool)).logits, expected)
    assert_same_bits(model([[1, 2, 3]]).logits, model([[1, 2, 3]], [[1, 1, 1]], [[0, 0, 0]]).logits)


OK = [[1, 2, 3], [4, 5, 6]]
WRONG = [
    (([1, 2, 3],), ValueError, r"input_ids: expected shape \(batch, tokens\), got \(3,\): add a batch axis"),
    ((7,), ValueError, r"input_ids: .* got \(\)"),
    (([[[1]]],), ValueError, r"input_ids: .* got \(1, 1, 1\)"),
    (([],), ValueError, r"input_ids: .* at least one row and one token, got \(0,\)"),
    (([[], []],), ValueError, r"input_ids: .* at least one row and one token, got \(2, 0\)"),
    ((np.zeros((0, 5), int),), ValueError, r"input_ids: .* got \(0, 5\)"),
    (([[1, 2], [3]],), ValueError, "input_ids: expected rows of equal length, got rows of different lengths"),
    (([[1.0, 2.0]],), TypeError, "input_ids: expected integers, got float64"),
    (([[True]],), TypeError, "input_ids: expected integers, got bool"),
    (([["a"]],), TypeError, "input_ids: expected integers, got <U1"),
    (([[None]],), TypeError, "input_ids: expected integers, got object"),
    (([[2**70]],), TypeError, "input_ids: expected integers, got object"),
    (([[1, 2], [3, 100]],), ValueError, r"input_ids: expected values from 0 to 99, got 100 at \[1, 1\]"),
    (([[1, -1]],), ValueError, r"input_ids: expected values from 0 to 99, got -1 at \[0, 1\]"),
    ((np.array([[2**64 - 1]], "u8"),), ValueError, r"input_ids: .* got 18446744073709551615 at \[0, 0\]"),
    (([[1] * 17],), ValueError, "input_ids: expected rows of at most max_position_embeddings = 16 tokens, got 17"),
    ((OK, [[1, 1, 1]]), ValueError, r"attention_mask: expected the shape of input_ids, \(2, 3\), got \(1, 3\)"),
    ((OK, [1, 1, 1]), ValueError, r"attention_mask: .* got \(3,\)"),
    ((OK, [[1, 1], [1]]), ValueError, "attention_mask: expected rows of equal length"),
    ((OK, [[1, 1, 2], [1, 1, 1]]), ValueError, r"attention_mask: expected values from 0 to 1, got 2 at \[0, 2\]"),
    ((OK, [[1, 1, 1], [-1, 1, 1]]), ValueError, r"attention_mask: .* got -1 at \[1, 0\]"),
    ((OK, np.ones((2, 3))), TypeError, "attention_mask: expected integers, got float64"),
    ((OK, None, [[0, 0, 0]]), ValueError, r"token_type_ids: expected the shape of input_ids, \(2, 3\), got \(1, 3\)"),
    ((OK, None, [[0, 0, 0], [0, 2, 0]]), ValueError, r"token_type_ids: expected values from 0 to 1, got 2 at \[1, 1\]"),
    ((OK, None, np.zeros((2, 3), bool)), TypeError, "token_type_ids: expected integers, got bool"),
    ((OK, None, np.zeros((2, 3), np.float32)), TypeError, "token_type_ids: expected integers, got float32"),
]


@pytest.mark.parametrize(("arguments", "error", "message"), WRONG, ids=lambda value: str(value)[:30])
def test_wrong_inputs(model, arguments, error, message):
    with pytest.raises(error, match=f"^SqueezeBert: {message}"):
        model(*arguments)


def test_ids_under_a_mask_are_checked_too(model):
    with pytest.raises(ValueError, match=r"input_ids: .* got 100 at \[0, 1\]"):
        model([[1, 100]], [[1, 0]])


@pytest.mark.parametrize(
    "config, weights, message",
    [
        ({}, {}, "SqueezeBert: config: expected a SqueezeBertConfig, got dict"),
        (None, None, "SqueezeBert: weights: expected a dict of arrays, got NoneType"),
        (None, {1: np.zeros(1, np.float32)}, "SqueezeBert: weights: expected names as keys, got 1"),
    ],
)
def test_arguments_of_another_type(config, weights, message):
    config = SqueezeBertConfig() if config is None else config
    with pytest.raises(TypeError, match=re.escape(message)):
        SqueezeBert(config, weights)


def test_no_path():
    with pytest.raises(TypeError, match="from_pretrained: path: expected a str or a path, got NoneType"):
        SqueezeBert.from_pretrained(None)


def test_weights_in_any_memory_order():
    """A table in columns is brought into rows once, not at each call, and gives the same bits."""
    config, weights = load_folder(GOLDEN / "classification")
    turned = {name: np.asfortranarray(array) for name, array in weights.items()}
    model = SqueezeBert(config, turned)
    assert model.words.flags.c_contiguous
    ids = np.arange(12).reshape(2, 6) % config.vocab_size
    np.testing.assert_array_equal(model(ids).logits, SqueezeBert(config, weights)(ids).logits)
