"""The model against the golden results of transformers, on every backend; tasks, inputs, threads."""

from __future__ import annotations

import contextvars
import json
import re
import shutil
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from model_helpers import kept
from op_helpers import INT8_VARIANTS, VARIANTS, assert_repeats, assert_same_bits

from squeezeops import ops, pipeline
from squeezeops.squeezebert import SqueezeBert, SqueezeBertConfig, SqueezeBertOutput
from squeezeops.squeezebert.model.weights import load_folder

GOLDEN = Path(__file__).parent / "golden"
MODELS = {  # name: task
    "classification": "text-classification",
    "odd_groups": "base",
    "float16": "text-classification",
    "bfloat16": "text-classification",
    "masked_lm": "masked-lm",
    "token_classification": "token-classification",
    "question_answering": "question-answering",
    "multiple_choice": "multiple-choice",
    "bert_classification": "text-classification",
    "bert_masked_lm": "masked-lm",
}
OF_TOKENS = [name for name in MODELS if name.endswith("masked_lm") or name == "token_classification"]
POOLED = [name for name in MODELS if name.endswith("classification") and name not in OF_TOKENS]
POOLED += ["float16", "bfloat16", "multiple_choice"]
WITH_STATES = ["classification", "odd_groups", "bert_classification"]
# int8 convolutions before and after float convolutions, in every combination.
MIXED = {
    "encoder.layers.0.attention.query": "int8",
    "encoder.layers.0.attention.key": "float16",
    "encoder.layers.0.intermediate.conv1d": "int8",
    "encoder.layers.1.attention.key": "int8",
    "encoder.layers.1.attention.value": "int8",
    "encoder.layers.1.post_attention.conv1d": "float16",
    "encoder.layers.1.output.conv1d": "int8",
}
TOLERANCE = 1e-5  # absolute, on values of a few units
MASKED = np.finfo(np.float32).min
NATIVE = [variant for variant in VARIANTS if variant.backend == "native"]
INPUTS = ("input_ids", "attention_mask", "token_type_ids")
LOGITS = ("logits", "start_logits", "end_logits")


def load(name: str, **kwargs: object) -> SqueezeBert:
    return SqueezeBert.from_pretrained(GOLDEN / name, **kwargs)


def expected_of(name: str) -> dict[str, np.ndarray]:
    with np.load(GOLDEN / name / "expected.npz") as file:
        return {key: file[key].astype(np.int64) if key in INPUTS else file[key] for key in file}


def inputs_of(name: str) -> list[np.ndarray]:
    expected = expected_of(name)
    return [expected[key] for key in INPUTS]


def arrays_of(output: SqueezeBertOutput) -> dict[str, np.ndarray]:
    found = {}
    for field in fields(output):
        value = getattr(output, field.name)
        if isinstance(value, tuple):
            found |= {f"{field.name}[{i}]": array for i, array in enumerate(value)}
        elif value is not None:
            found[field.name] = value
    return found


def assert_close(actual: np.ndarray, expected: np.ndarray, scale: float = 1.0) -> None:
    assert actual.dtype == np.float32 and actual.shape == expected.shape
    assert np.abs(actual.astype(float) - expected).max() <= TOLERANCE * scale


# ---- against transformers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_golden(variant, name):
    expected = expected_of(name)
    model = load(name)
    assert model.task == MODELS[name]
    inputs = [expected[key] for key in INPUTS]
    output, everything = model(*inputs), model(*inputs, output_hidden_states=True)
    keep = kept(expected["attention_mask"])
    assert list(expected["rows"]) == ["full", "padded", "left_padded", "holes", "holes_padded", "all_zero"]
    assert list(keep.sum(axis=1)) == [10, 6, 10, 10, 6, 10]
    assert output.hidden_states is None and len(everything.hidden_states) == model.config.num_hidden_layers + 1
    everything.hidden_states = None
    found, some = arrays_of(everything), arrays_of(output)
    assert {"last_hidden_state", *LOGITS, "pooler_output"} & expected.keys() == found.keys()
    assert found.keys() - some.keys() == ({"last_hidden_state"} if name in POOLED else set())
    for key, array in some.items():  # the same bits if the last layer computes only some rows
        assert_repeats(array, found[key])
    for key, array in found.items():
        if array.shape[:2] == keep.shape:
            assert_close(array[keep], expected[key][keep])
            assert (array[~keep] == 0).all()
        else:
            assert_close(array, expected[key])


def test_outputs_of_each_task():
    """The golden files hold all outputs, in the right shapes; the test above compares only what they hold."""
    shapes = {}
    for name in MODELS:
        arrays = arrays_of(load(name)(*inputs_of(name)))
        shapes[name] = {key: array.shape for key, array in arrays.items() if key != "last_hidden_state"}
    classification = {"pooler_output": (6, 32), "logits": (6, 3)}
    assert shapes == dict.fromkeys(("classification", "float16", "bfloat16"), classification) | {
        "odd_groups": {"pooler_output": (6, 48)},
        "masked_lm": {"logits": (6, 10, 60)},
        "token_classification": {"logits": (6, 10, 3)},
        "question_answering": {"start_logits": (6, 10), "end_logits": (6, 10)},
        "multiple_choice": {"pooler_output": (6, 32), "logits": (2, 3)},
        "bert_classification": {"pooler_output": (6, 24), "logits": (6, 3)},
        "bert_masked_lm": {"logits": (6, 10, 40)},
    }


@pytest.mark.parametrize("name", WITH_STATES)
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
    queries = np.broadcast_to(keep[:, None, :, None], masked_keys.shape)
    for actual, scores in zip(output.attentions, expected["attentions"], strict=True):
        assert actual.shape == scores.shape
        assert (actual[~masked_keys & ~queries] == 0).all()
        if model.config.model_type == "bert":  # probabilities
            assert_close(actual[queries], scores[queries])
            assert (actual[~queries] == 0).all()
            assert (actual[masked_keys & mask.any(axis=1)[:, None, None, None]] == 0).all()
        else:  # raw scores
            np.testing.assert_array_equal(actual == MASKED, masked_keys)
            computed = ~masked_keys & queries
            assert_close(actual[computed], scores[computed], scale=np.abs(scores[computed]).max())

    attentions = model(*inputs, output_attentions=True)
    assert attentions.hidden_states is None
    for actual, state in zip(attentions.attentions, output.attentions, strict=True):
        assert_same_bits(actual, state)
    assert_same_bits(attentions.last_hidden_state, output.last_hidden_state)
    assert_repeats(model(*inputs).pooler_output, output.pooler_output)


@pytest.mark.parametrize("name", OF_TOKENS)
def test_logits_of_some_tokens(variant, name, rng):
    """They have the same bits as among the logits of all tokens, in row-major order."""
    expected = expected_of(name)
    inputs = [expected[key] for key in INPUTS]
    model = load(name)
    keep = kept(expected["attention_mask"])
    everything = model(*inputs)
    for share in (0, 0.05, 0.5, 1):
        some = (rng.random(keep.shape) < share) & keep
        output = model(*inputs, logits_mask=some)
        if some.any():
            assert_close(output.logits, expected["logits"][some])
        assert output.logits.shape == (some.sum(), expected["logits"].shape[2])
        assert_repeats(output.logits, everything.logits[some])
        assert output.last_hidden_state is None
    with_states = model(*inputs, logits_mask=some, output_hidden_states=True)
    assert_same_bits(with_states.last_hidden_state, everything.last_hidden_state)
    assert_repeats(with_states.logits, everything.logits[some])
    assert_repeats(model(*inputs, logits_mask=keep.tolist()).logits, everything.logits[keep])
    half = (rng.random(keep.shape) < 0.5) & keep
    for form in (
        half.tolist(),
        np.asfortranarray(half),
        np.repeat(half, 2, axis=1)[:, ::2],
        half[::-1, ::-1].copy()[::-1, ::-1],
    ):
        assert_repeats(model(*inputs, logits_mask=form).logits, everything.logits[half])


@pytest.mark.parametrize("name", ["classification", "odd_groups"])
def test_rows_alone(variant, name):
    """Each row of the golden batch alone gives the golden results, too."""
    expected = expected_of(name)
    model = load(name)
    keep = kept(expected["attention_mask"])
    for i in range(len(keep)):
        output = model(*(expected[key][i : i + 1] for key in INPUTS), output_hidden_states=True)
        assert_close(output.last_hidden_state[0, keep[i]], expected["last_hidden_state"][i, keep[i]])


def test_float16_weights_give_the_bits_of_their_float32_values(variant):
    config, weights = load_folder(GOLDEN / "float16")
    assert {array.dtype.name for array in weights.values()} == {"float16"}
    widened = {name: array.astype(np.float32) for name, array in weights.items()}
    inputs = inputs_of("float16")
    half, full = (arrays_of(SqueezeBert(config, w)(*inputs, output_hidden_states=True)) for w in (weights, widened))
    assert half.keys() == full.keys() >= {"last_hidden_state", "logits"}
    for key, array in half.items():
        assert_same_bits(array, full[key])


@pytest.mark.parametrize("name", ["float16", "classification"])
def test_float16_storage(variant, name):
    """A float16 checkpoint gives the bits of float32, another one those of its rounded weights."""
    config, weights = load_folder(GOLDEN / name)
    parts = (".encoder.", ".embeddings.")
    rounded = {
        key: a.astype(np.float16) if a.ndim > 1 and any(p in f".{key}" for p in parts) else a
        for key, a in weights.items()
    }
    inputs = inputs_of(name)
    half = SqueezeBert(config, weights, dtype="float16")(*inputs, output_hidden_states=True)
    full = SqueezeBert(config, rounded)(*inputs, output_hidden_states=True)
    for key, array in arrays_of(half).items():
        assert_repeats(array, arrays_of(full)[key])


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8", {"encoder.layers.0.output.conv1d": "int8"}])
@pytest.mark.parametrize("name", ["float16", "classification", "masked_lm"])
def test_dtypes_of_tables(name, dtype):
    config, weights = load_folder(GOLDEN / name)
    model = SqueezeBert(config, weights, dtype=dtype)
    given = next(array.dtype for key, array in weights.items() if key.endswith("word_embeddings.weight"))
    words, others = {"float16": ("f2", "f2"), "int8": ("i1", "f2")}.get(str(dtype), (given, given))
    assert model.words.dtype == words and model.positions.dtype == model.types.dtype == others
    assert model.words.shape == (config.vocab_size, config.hidden_size + (4 if dtype == "int8" else 0))
    if name == "masked_lm":
        assert model.head.decoder.dtype == ("float16" if dtype in ("float16", "int8") else "float32")


def test_a_table_beyond_float16_stays_float32():
    config, weights = load_folder(GOLDEN / "classification")
    for part in ("word_embeddings", "position_embeddings"):
        name = next(key for key in weights if key.endswith(f"{part}.weight"))
        weights = weights | {name: weights[name] * np.float32(1e5)}
    for dtype, expected in (("float16", ["f4", "f4", "f2"]), ("int8", ["i1", "f4", "f2"])):
        model = SqueezeBert(config, weights, dtype=dtype)
        assert [a.dtype for a in (model.words, model.positions, model.types)] == expected


def test_weights_beyond_float16_stay_float32():
    config, weights = load_folder(GOLDEN / "classification")
    name = next(key for key in weights if key.endswith("layers.1.intermediate.conv1d.weight"))
    for value, dtype in [(65504.0, "float16"), (np.inf, "float16"), (65505.0, "float32"), (-1e30, "float32")]:
        changed = weights[name].copy()
        changed[3, 1], changed[0, 0] = value, np.nan
        layer = SqueezeBert(config, weights | {name: changed}, dtype="float16").layers[1]
        assert (layer.intermediate.dtype, layer.output.dtype) == (dtype, "float16")


@pytest.mark.parametrize("attention", ["float32", "int8"])
@pytest.mark.parametrize("name", WITH_STATES)
def test_int8_is_close_to_float32(variant, name, attention):
    expected = expected_of(name)
    exact, close = states_of(name), states_of(name, dtype="int8", attention=attention)
    keep = kept(expected["attention_mask"])
    a, b = exact[keep].astype(float), close[keep].astype(float)
    assert 0.001 < np.sqrt(((a - b) ** 2).mean() / (a**2).mean()) < 0.04  # narrow layers with large random weights
    assert ((a * b).sum(axis=-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)).min() > 0.995


@pytest.mark.parametrize("name", ["classification", "bert_classification"])
def test_convolutions_that_stay_float16_in_int8(name):
    """With one group and channels that cannot be rotated, three convolutions stay float16. A mapping is obeyed."""
    model = load(name, dtype="int8")
    one = model.config.v_groups == model.config.intermediate_groups == model.config.output_groups == 1
    assert one == (name == "bert_classification")
    for layer in model.layers:
        assert {layer.query.dtype, layer.key.dtype, layer.post_attention.dtype} == {"int8"}
        assert {layer.value.dtype, layer.intermediate.dtype, layer.output.dtype} == {"float16" if one else "int8"}
    asked = load(name, dtype={"encoder.layers.0.attention.value": "int8"})
    assert asked.layers[0].value.dtype == "int8"


@pytest.mark.oracle
def test_int8_embeddings_of_a_published_model(minilm):
    """int8 embeddings of all-MiniLM-L6-v2 are close to those of float32."""
    texts = [
        "The train to the coast leaves at half past seven, and it is rarely late.",
        "Where do the birds go when it is cold and the lake is frozen?",
        "An honest, funny and quietly moving story of two brothers.",
        "It broke after two days, and the shop refused to take it back.",
        "Thank you ! ! !",  # short texts have the largest errors
        "Yes.",
    ]
    exact, close = (
        [np.array(pipeline("feature-extraction", minilm, dtype=dtype, pooling="mean")(t), float).ravel() for t in texts]
        for dtype in ("float32", "int8")
    )
    cosines = [a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in zip(exact, close, strict=True)]
    # The worst, "Thank you ! ! !", has 0.9979; with float32 attention 0.9983.
    assert np.mean(cosines) > 0.999 and min(cosines) > 0.9975, cosines
    layers = SqueezeBert.from_pretrained(minilm, dtype="int8").layers
    assert {layer.value.dtype for layer in layers} == {"float16"}
    assert {getattr(layer, part).dtype for layer in layers for part in ("query", "key", "intermediate", "output")} == {
        "int8_rotated"
    }


def test_dtypes_of_convolutions():
    model = load("classification", dtype=MIXED)
    parts = {"query": "attention.query", "key": "attention.key", "value": "attention.value"}
    parts |= {part: f"{part}.conv1d" for part in ("post_attention", "intermediate", "output")}
    for i, layer in enumerate(model.layers):
        for attribute, part in parts.items():
            assert getattr(layer, attribute).dtype == MIXED.get(f"encoder.layers.{i}.{part}", "float32")


# ---- attention in int8 ---------------------------------------------------------------------------------------------


def states_of(name: str, **options: object) -> np.ndarray:
    inputs = [part.reshape(6, 10) for part in inputs_of(name)]
    return load(name, task="base", **options)(*inputs, output_hidden_states=True).last_hidden_state


@pytest.mark.parametrize("name", MODELS)
def test_int8_attention_is_close_to_that_in_float32(variant, name):
    """With float32 convolutions, so that only attention differs. The inputs have holes and fully masked rows."""
    keep = kept(expected_of(name)["attention_mask"])
    exact, close = (states_of(name, attention=attention)[keep].astype(float) for attention in ("float32", "int8"))
    assert 1e-4 < np.sqrt(((exact - close) ** 2).mean() / (exact**2).mean()) < 0.015
    cosines = (exact * close).sum(-1) / np.linalg.norm(exact, axis=-1) / np.linalg.norm(close, axis=-1)
    assert cosines.min() > 0.998


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8", MIXED])
@pytest.mark.parametrize("name", WITH_STATES)
def test_backends_agree_on_int8_attention(name, dtype):
    """The compiled backends have the same bits, and NumPy's are close: rounding to bytes may turn a last bit over."""
    found = {}
    for backend in ops.available_backends():
        with ops.backend(backend):
            found[backend] = states_of(name, dtype=dtype, attention="int8")
    reference = found.pop("numpy")
    first = next(iter(found.values()), reference)
    for states in found.values():
        assert_same_bits(states, first)
    assert np.abs(first - reference).max() < 0.05 and np.abs(first - reference).mean() < 0.002


def test_the_default_of_attention():
    """In int8 models, attention is in int8, too."""
    for dtype, default in (("float32", "float32"), ("float16", "float32"), ("int8", "int8"), (MIXED, "float32")):
        for attention in (None, "float32", "int8"):
            model = load("classification", dtype=dtype, attention=attention)
            assert model.attention == (attention or default)
            quantized = [layer.value_scale is not None for layer in model.layers]
            assert quantized == [model.attention == "int8"] * 2
    assert load("classification", dtype="int8").encoder().attention == "int8"


@pytest.mark.parametrize("attention", ["int7", "", "float16", 8, ["int8"]])
def test_unknown_attention(attention):
    message = rf"SqueezeBert: attention: expected None or one of 'float32', 'int8', got {re.escape(repr(attention))}$"
    config, weights = load_folder(GOLDEN / "classification")
    for make in (
        partial(SqueezeBert, config, weights),
        partial(SqueezeBert.from_pretrained, GOLDEN / "classification"),
    ):
        with pytest.raises(ValueError, match=f"^{message}"):
            make(attention=attention)


@pytest.mark.parametrize("dtype", ["float32", "int8"])
@pytest.mark.parametrize("name", WITH_STATES)
def test_scores_next_to_int8_attention(variant, name, dtype):
    """Asking for them changes no state. They are computed in float32, with the bias of the keys."""
    inputs = inputs_of(name)
    model, exact = (load(name, dtype=dtype, attention=attention) for attention in ("int8", "float32"))
    assert any(layer.key_bias.any() for layer in model.layers)
    asked = model(*inputs, output_hidden_states=True, output_attentions=True)
    for states, others in zip(
        asked.hidden_states, model(*inputs, output_hidden_states=True).hidden_states, strict=True
    ):
        assert_repeats(states, others)
    # The first layer has the same input in both.
    scores, expected = (output.attentions[0] for output in (asked, exact(*inputs, output_attentions=True)))
    np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-5 * np.abs(expected[expected > MASKED]).max())
    assert len(asked.attentions) == len(model.layers)


def test_channels_of_different_magnitude(variant):
    """A key's channel 32 times larger, a query's and a value's so much smaller: equalised, the states are as before."""
    config, weights = load_folder(GOLDEN / "odd_groups")
    heads, groups = config.num_attention_heads, config.post_attention_groups
    uneven, channel = dict(weights), np.arange(heads) * (config.hidden_size // heads) + 1
    for i in range(config.num_hidden_layers):
        layer = f"encoder.layers.{i}."
        for part, factor in (("query", 1 / 32), ("key", 32), ("value", 1 / 32)):
            for tensor in ("weight", "bias"):
                label = f"{layer}attention.{part}.{tensor}"
                uneven[label] = weights[label].copy()
                uneven[label][channel] *= np.float32(factor)
        label = f"{layer}post_attention.conv1d.weight"
        undo = np.ones(config.hidden_size, np.float32)
        undo[channel] = 32
        by_group = weights[label].reshape(groups, -1, config.hidden_size // groups) * undo.reshape(groups, 1, -1)
        uneven[label] = by_group.reshape(weights[label].shape)
    inputs = inputs_of("odd_groups")
    exact, even, other = (
        SqueezeBert(config, w, attention=attention)(*inputs, output_hidden_states=True).last_hidden_state
        for w, attention in ((weights, "float32"), (weights, "int8"), (uneven, "int8"))
    )
    errors = [np.abs(close - exact).mean() for close in (even, other)]
    assert errors[1] < 1.5 * errors[0]


# ---- the same bits in every batch ----------------------------------------------------------------------------------


# Without the NumPy backend: it calls a BLAS, whose bits may depend on the number of rows.
@pytest.mark.parametrize("variant", NATIVE, ids=str, indirect=True)
@pytest.mark.parametrize(
    "name, dtype",
    [(name, "float32") for name in MODELS if name not in ("float16", "bfloat16", "multiple_choice")]
    + [(name, dtype) for name in ("classification", "odd_groups") for dtype in ("float16", "int8", MIXED)]
    + [("masked_lm", "int8"), ("bert_classification", "int8")],
)
def test_batch_and_padding_do_not_change_bits(variant, name, dtype, rng):
    model = load(name, dtype=dtype)
    config, limit = model.config, 10
    lengths = rng.integers(1, limit + 1, 7)
    rows = [rng.integers(0, config.vocab_size, n) for n in lengths]
    masks = [np.ones(n, np.int64) for n in lengths]
    for i in (1, 4):  # rows with holes, which use a key mask in every batch
        masks[i][: lengths[i] // 2] = 0
    kinds = [rng.integers(0, config.type_vocab_size, n) for n in lengths]
    parts_of = zip(rows, masks, kinds, strict=True)
    alone = [arrays_of(model(*(part[None] for part in parts), output_hidden_states=True)) for parts in parts_of]
    for chosen in ([0, 1, 2, 3, 4, 5, 6], [6, 2, 0], [3, 3], [5, 1], [1, 4]):
        for width in {max(lengths[chosen]), limit}:
            padded = [
                np.stack([np.pad(parts[i], (0, width - lengths[i])) for i in chosen]) for parts in (rows, masks, kinds)
            ]
            some = arrays_of(model(*padded))
            for key, together in arrays_of(model(*padded, output_hidden_states=True)).items():
                assert_same_bits(some.get(key, together), together)
                of_tokens = key != "pooler_output" and (key, model.task) != ("logits", "text-classification")
                for at, i in enumerate(chosen):
                    assert_same_bits(together[at, : lengths[i]] if of_tokens else together[at], alone[i][key][0])


@pytest.mark.parametrize("variant", NATIVE, ids=str, indirect=True)
def test_choices_are_rows(variant):
    """A choice has the same score alone. Outputs per row are those of a batch of rows."""
    ids, mask, types = inputs_of("multiple_choice")
    model = load("multiple_choice")
    output = model(ids, mask, types, output_hidden_states=True)
    for i in range(2):
        for j in range(3):
            alone = model(ids[i : i + 1, j : j + 1], mask[i : i + 1, j : j + 1], types[i : i + 1, j : j + 1])
            assert_same_bits(alone.logits, output.logits[i : i + 1, j : j + 1])
    rows = load("multiple_choice", task="base")(*(part.reshape(6, 10) for part in (ids, mask, types)))
    assert_same_bits(output.last_hidden_state, rows.last_hidden_state)
    assert_same_bits(output.pooler_output, rows.pooler_output)


@pytest.mark.parametrize("variant", [v for v in INT8_VARIANTS if v.backend == "native"], ids=str, indirect=True)
@pytest.mark.parametrize(
    "name, dtype",
    [(name, "float32") for name in MODELS] + [(name, "int8") for name in WITH_STATES] + [("float16", MIXED)],
)
def test_instruction_sets_agree(variant, name, dtype):
    inputs = inputs_of(name)
    model = load(name, dtype=dtype)
    here = arrays_of(model(*inputs, output_hidden_states=True, output_attentions=True))
    with replace(variant, isa="scalar").active():
        there = arrays_of(model(*inputs, output_hidden_states=True, output_attentions=True))
    for key in here:
        assert_same_bits(here[key], there[key])


@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_threads_share_a_model(variant, dtype, rng):
    model = load("classification", dtype=dtype)
    batches = [rng.integers(0, model.config.vocab_size, (1 + i % 4, 3 + i % 9)) for i in range(16)]
    alone = [model(ids).logits for ids in batches]

    def run(i: int) -> None:
        for _ in range(5):
            assert_same_bits(model(batches[i]).logits, alone[i])

    with ThreadPoolExecutor(4) as pool:
        # A new thread has the default backend: pass the active one with the context.
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
    assert_repeats(again.logits, model(*inputs).logits)
    for name, array in zip(INPUTS, inputs, strict=True):
        np.testing.assert_array_equal(array, expected[name])


# ---- tasks ---------------------------------------------------------------------------------------------------------


def test_from_pretrained_keeps_the_path():
    model = load("classification")
    assert model.path == str(GOLDEN / "classification")
    assert SqueezeBert(*load_folder(GOLDEN / "classification")).path is None


@pytest.mark.parametrize("name", MODELS)
def test_the_encoder_of_any_checkpoint(name):
    """It has a pooler if the checkpoint has one: transformers saves BERTs for token tasks without."""
    expected = expected_of(name)
    inputs = [expected[key].reshape(6, 10) for key in INPUTS]
    output = load(name, task="base")(*inputs)
    keep = kept(expected["attention_mask"])
    assert_close(output.last_hidden_state[keep], expected["last_hidden_state"][keep])
    assert output.logits is None and output.start_logits is None
    assert (output.pooler_output is None) == (name == "bert_masked_lm")
    if "pooler_output" in expected:
        assert_close(output.pooler_output, expected["pooler_output"])


def test_the_encoder_of_a_model():
    """The encoder has no head and shares the model's weights."""
    for name in MODELS:
        model = load(name)
        encoder = model.encoder()
        assert (encoder.task, encoder.path, model.task) == ("base", model.path, MODELS[name])
        assert encoder.layers is model.layers and encoder.words is model.words
        inputs = [part.reshape(6, 10) for part in inputs_of(name)]
        found = arrays_of(encoder(*inputs))
        assert found.keys() == {"last_hidden_state"}
        assert_same_bits(found["last_hidden_state"], load(name, task="base")(*inputs).last_hidden_state)


def test_a_base_model_without_a_pooler():
    config, weights = load_folder(GOLDEN / "odd_groups")
    encoder = {name: array for name, array in weights.items() if not name.startswith("pooler.")}
    output = SqueezeBert(config, encoder)([[1, 2, 3]])
    assert output.pooler_output is None
    assert_same_bits(output.last_hidden_state, SqueezeBert(config, weights)([[1, 2, 3]]).last_hidden_state)
    half_a_pooler = {**encoder, "pooler.dense.weight": weights["pooler.dense.weight"]}
    with pytest.raises(ValueError, match=r"missing: pooler\.dense\.bias"):
        SqueezeBert(config, half_a_pooler)


@pytest.mark.parametrize("name", ["masked_lm", "token_classification", "question_answering"])
def test_a_head_without_use_for_the_pooler_ignores_it(name):
    config, weights = load_folder(GOLDEN / name)
    without = {label: array for label, array in weights.items() if "pooler." not in label}
    assert len(without) == len(weights) - 2
    expected = arrays_of(SqueezeBert(config, weights)([[1, 2, 3]]))
    for key, array in arrays_of(SqueezeBert(config, without)([[1, 2, 3]])).items():
        assert_same_bits(array, expected[key])


@pytest.mark.parametrize("name", ["classification", "bert_classification"])
def test_tensors_of_other_heads_and_stale_buffers_are_ignored(name):
    config, weights = load_folder(GOLDEN / name)
    prefix = "bert." if name.startswith("bert") else "transformer."
    assert any(label.startswith(prefix) for label in weights)
    extra = {
        f"{prefix}embeddings.position_ids": np.arange(16)[None],
        "embeddings.position_ids": np.arange(16)[None],
        f"{prefix}embeddings.token_type_ids": np.zeros((1, 16), np.int64),
        "cls.predictions.bias": np.zeros(100, np.float32),
        "cls.seq_relationship.weight": np.zeros((2, 7), np.float32),
        "qa_outputs.weight": np.zeros((2, 32), np.float32),
    }
    expected = SqueezeBert(config, weights)([[5, 6]])
    assert_same_bits(SqueezeBert(config, weights | extra)([[5, 6]]).logits, expected.logits)
    base = {name.removeprefix(prefix): array for name, array in (weights | extra).items()}
    output = SqueezeBert(replace(config, architectures=None), base, task="base")([[5, 6]])
    assert_same_bits(output.pooler_output, expected.pooler_output)
    # Names that begin like the head in use are not ignored.
    with pytest.warns(UserWarning, match=r"not used: classifier\.dense\.weight$"):
        SqueezeBert(config, {**weights, "classifier.dense.weight": np.zeros((3, 3), np.float32)})


@pytest.mark.parametrize("name", ["masked_lm", "bert_masked_lm"])
def test_the_decoder_of_a_masked_lm(name):
    """As in transformers 5: a file has a decoder, word embeddings or both. If one is missing, the other is used."""
    config, weights = load_folder(GOLDEN / name)
    words = next(label for label in weights if label.endswith("word_embeddings.weight"))
    decoder, bias, other_bias = (f"cls.predictions.{part}" for part in ("decoder.weight", "bias", "decoder.bias"))
    assert decoder not in weights and other_bias not in weights
    ids = np.arange(10).reshape(2, 5)
    expected = SqueezeBert(config, weights)(ids).logits

    def check(changes: dict[str, np.ndarray], *without: str, tie: bool = True) -> np.ndarray:
        changed = {label: array for label, array in (weights | changes).items() if label not in without}
        return SqueezeBert(replace(config, tie_word_embeddings=tie), changed)(ids).logits

    # BERT's pre-training has a second head, whose tensors are ignored.
    weights |= {f"cls.seq_relationship.{part}": np.zeros((2, 3), np.float32) for part in ("weight", "bias")}
    twins = {decoder: weights[words], other_bias: weights[bias]}
    assert_same_bits(check(twins), expected)
    assert_same_bits(check(twins, tie=False), expected)
    assert_same_bits(check(twins, bias), expected)
    assert_same_bits(check({decoder: weights[words]}, words), expected)
    doubled = {decoder: 2 * weights[words], other_bias: 2 * weights[bias]}  # doubles the logits exactly
    for tie in (True, False):
        assert_same_bits(check(doubled, tie=tie), 2 * expected)
    for label, *arguments in [
        (decoder, {}),
        (words, {decoder: weights[words]}, words),
        (bias, twins, bias, other_bias),
    ]:
        with pytest.raises(ValueError, match=rf"1 difference:\n  missing: {re.escape(label)} \("):
            check(*arguments, tie=False)
    with pytest.raises(ValueError, match=rf"missing: {re.escape(words)} \("):
        check({}, words)


@pytest.mark.parametrize("name", ["masked_lm", "bert_classification", "bert_masked_lm"])
def test_old_names_of_layer_norms(name):
    config, weights = load_folder(GOLDEN / name)
    old = {
        label.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): array
        for label, array in weights.items()
    }
    assert len(old.keys() - weights.keys()) >= 4
    assert_same_bits(SqueezeBert(config, old)([[7, 8]]).logits, SqueezeBert(config, weights)([[7, 8]]).logits)


@pytest.mark.parametrize("name", ["odd_groups", "bert_classification"])
def test_convolution_weights_with_and_without_the_last_axis(name):
    config, weights = load_folder(GOLDEN / name)
    other = {label: array[:, :, 0] if array.ndim == 3 else array for label, array in weights.items()}
    if name.startswith("bert"):
        other = {
            label: array[..., None] if ".encoder." in label and array.ndim == 2 else array
            for label, array in weights.items()
        }
    assert any(array.shape != weights[label].shape for label, array in other.items())
    states = [SqueezeBert(config, w).encoder()([[7, 8]]).last_hidden_state for w in (other, weights)]
    assert_same_bits(*states)


@pytest.mark.parametrize(
    ("name", "architectures", "task"),
    [
        ("classification", ("SqueezeBertForSequenceClassification",), "text-classification"),
        ("classification", None, "text-classification"),
        ("classification", (), "text-classification"),
        ("classification", ("MyOwnModel",), "text-classification"),
        ("classification", ("SqueezeBertModel",), "base"),
        ("masked_lm", None, "masked-lm"),
        ("question_answering", None, "question-answering"),
        ("bert_masked_lm", ("BertForPreTraining",), "masked-lm"),
        ("bert_masked_lm", ("BertLMHeadModel",), "masked-lm"),
        ("bert_masked_lm", ("BertModel",), "base"),
        ("bert_masked_lm", ("BertForNextSentencePrediction",), "base"),
        ("bert_masked_lm", None, "masked-lm"),
        ("odd_groups", None, "base"),
    ],
)
def test_the_task_is_inferred(name, architectures, task):
    config, weights = load_folder(GOLDEN / name)
    assert SqueezeBert(replace(config, architectures=architectures), weights).task == task


def test_the_caller_chooses_the_task_of_an_unknown_head():
    """Three tasks call their classifier the same. If the architecture does not tell which it is, the caller can."""
    config, weights = load_folder(GOLDEN / "token_classification")
    unknown = replace(config, architectures=None)
    assert SqueezeBert(unknown, weights).task == "text-classification"
    as_asked = SqueezeBert(unknown, weights, task="token-classification")([[5, 6]])
    assert_same_bits(as_asked.logits, SqueezeBert(config, weights)([[5, 6]]).logits)


def test_a_classifier_without_a_pooler_is_one_of_tokens():
    """Without an architecture, a classifier without a pooler can only be a token classifier."""
    config, weights = load_folder(GOLDEN / "token_classification")
    weights = {name: array for name, array in weights.items() if "pooler." not in name}
    config = replace(config, architectures=None)
    assert SqueezeBert(config, weights).task == "token-classification"
    with pytest.raises(ValueError, match="checkpoint has: base, token-classification$"):
        SqueezeBert(config, weights, task="text-classification")


def test_probabilities_of_masked_keys_are_zero_whatever_they_hold():
    config, weights = load_folder(GOLDEN / "bert_classification")
    words = weights["bert.embeddings.word_embeddings.weight"].copy()
    words[7] = np.nan
    model = SqueezeBert(config, {**weights, "bert.embeddings.word_embeddings.weight": words})
    (first, *_) = model([[1, 7, 2, 3]], [[1, 0, 1, 1]], output_attentions=True).attentions
    assert (first[..., 1] == 0).all()
    attended = first[:, :, [0, 2, 3]]
    assert np.isfinite(attended).all() and np.allclose(attended.sum(-1), 1)


MISSING = [  # model, task, and the end of the message
    ("odd_groups", "masked-lm", "'masked-lm'; checkpoint has: base"),
    ("masked_lm", "question-answering", "'question-answering'; checkpoint has: base, masked-lm"),
    *(  # one is not taken for the other
        ("token_classification", task, f"{task!r}; checkpoint has: base, token-classification")
        for task in ("text-classification", "multiple-choice")
    ),
    (
        "bert_classification",
        None,
        "'masked-lm', which it was saved for; "
        "checkpoint has: base, text-classification, token-classification, multiple-choice",
    ),
    *(("odd_groups", task, f"{task!r}") for task in ("summarization", "", 7, ["base"])),
]


@pytest.mark.parametrize(("name", "task", "got"), MISSING)
def test_missing_tasks(name, task, got):
    config, weights = load_folder(GOLDEN / name)
    if task is None:
        config = replace(config, architectures=("BertForMaskedLM",))
    tasks = "base, masked-lm, text-classification, multiple-choice, token-classification, question-answering"
    expected = "one that the checkpoint has a head for" if "checkpoint" in got else f"None or one of {tasks}"
    with pytest.raises(ValueError, match=f"^SqueezeBert: task: expected {expected}, got {re.escape(got)}$"):
        SqueezeBert(config, weights, task=task)


def test_next_sentence_prediction_has_only_its_encoder():
    config, weights = load_folder(GOLDEN / "bert_classification")
    weights = {label.replace("classifier.", "cls.seq_relationship."): array for label, array in weights.items()}
    config = replace(config, architectures=("BertForNextSentencePrediction",))
    assert SqueezeBert(config, weights).task == "base"
    with pytest.raises(ValueError, match="got 'masked-lm'; checkpoint has: base$"):
        SqueezeBert(config, weights, task="masked-lm")


# ---- tensors that do not fit ---------------------------------------------------------------------------------------


def test_messages_use_the_names_in_the_file():
    config, weights = load_folder(GOLDEN / "bert_classification")
    names = ("attention.self.key.weight", "attention.output.LayerNorm.bias", "intermediate.dense.bias")
    missing, short, integers = (f"bert.encoder.layer.1.{name}" for name in names)
    unknown = weights["bert.encoder.layer.1.output.dense.weight"]
    changed = {label: array for label, array in weights.items() if label != missing}
    changed[short] = np.zeros(25, np.float32)
    changed[integers] = weights[integers].astype(int)
    changed["bert.encoder.layer.1.attention.query.weight"] = unknown
    changed["a\nb" * 1000] = unknown
    with pytest.raises(ValueError) as error:
        SqueezeBert(config, changed)
    assert str(error.value).split("\n") == [
        "checkpoint: expected the tensors that the configuration describes, got 5 differences:",
        f"  missing: {missing} (24, 24)",
        f"  wrong dtype: {integers}: expected float32, float16 or float64, got int64",
        f"  wrong shape: {short}: expected (24,), got (25,)",
        "  unknown: bert.encoder.layer.1.attention.query.weight",
        r"  unknown: 'a\nba\nba\nb...ba\nba\nba\nb'",
    ]


CLAIMS = {
    "rows": {"vocab_size": 2 * 10**9, "max_position_embeddings": 2**31 - 1, "type_vocab_size": 2**30},
    "channels": {"hidden_size": 2**20, "embedding_size": 2**20, "intermediate_size": 2**30, "num_attention_heads": 4},
    "layers": {"num_hidden_layers": 1000},
}


@pytest.mark.parametrize("name", ["classification", "bert_classification", "masked_lm"])
@pytest.mark.parametrize("claim", CLAIMS)
def test_nothing_is_allocated_for_what_a_configuration_claims(tmp_path, name, claim):
    folder = changed_config(tmp_path / "model", name, **CLAIMS[claim])
    tracemalloc.start()
    try:
        with pytest.raises(ValueError) as error:
            SqueezeBert.from_pretrained(folder)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()
    lines = str(error.value).split("\n")
    assert re.fullmatch(r".*: expected the tensors that the configuration describes, got \d+ differences:", lines[0])
    assert len(lines) <= 22 and len(str(error.value)) < 4000


def test_the_message_for_many_differences_is_short():
    config, weights = load_folder(GOLDEN / "bert_classification")
    with pytest.raises(ValueError) as error:
        SqueezeBert(replace(config, num_hidden_layers=10_000), weights)
    lines = str(error.value).split("\n")
    assert lines[0].endswith(f" got {16 * 9998} differences:")
    assert lines[1] == "  missing: bert.encoder.layer.2.attention.self.query.weight (24, 24)"
    assert lines[21:] == [f"  and {16 * 9998 - 20} more"]


DTYPES = "one of 'float32', 'float16', 'int8'"
CONVOLUTIONS = "names of the encoder's convolutions"
UNKNOWN = [(dtype, DTYPES) for dtype in ("int7", "", 8, "int8_rotated")]
UNKNOWN += [({"encoder.layers.0.attention.query": "int7"}, f"{DTYPES}, 'int8_rotated'")]
NO_CONVOLUTIONS = ("encoder.layers.2.attention.query", "encoder.layers.0.attention", "pooler.dense", 0)
UNKNOWN += [({name: "int8"}, CONVOLUTIONS) for name in NO_CONVOLUTIONS]


@pytest.mark.parametrize(("dtype", "expected"), UNKNOWN)
def test_unknown_dtypes(dtype, expected):
    with pytest.raises(ValueError, match=f"SqueezeBert: dtype: expected {expected}, got "):
        load("classification", dtype=dtype)


def changed_config(folder: Path, name: str, **changes: object) -> Path:
    """A copy of a golden model with other values in its configuration."""
    shutil.copytree(GOLDEN / name, folder)
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(values | changes))
    return folder


def test_another_model_type_is_named(tmp_path):
    folder = changed_config(tmp_path / "model", "classification", model_type="roberta")
    with pytest.raises(ValueError, match=r"config\.json: model_type: expected .*, got 'roberta' .*docs/models\.md"):
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
    (([[1, 100]], [[1, 0]]), ValueError, r"input_ids: .* got 100 at \[0, 1\]"),  # under a mask, too
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


CHOICES = np.ones((2, 3, 4), int)
OF_CHOICES = r"input_ids: expected shape \(batch, choices, tokens\)"
WRONG_CHOICES = [
    ((CHOICES[0],), ValueError, rf"{OF_CHOICES}, got \(3, 4\): add a batch axis"),
    (([1],), ValueError, rf"{OF_CHOICES} with at least one row .* got \(1,\)"),
    ((CHOICES[:, :0],), ValueError, r"input_ids: .* with at least one row and one token, got \(2, 0, 4\)"),
    (([[[1, 2], [3]]],), ValueError, "input_ids: expected rows of equal length"),
    (([[[1], [2]], [[3]]],), ValueError, "input_ids: expected rows of equal length"),
    ((60 * CHOICES,), ValueError, r"input_ids: expected values from 0 to 59, got 60 at \[0, 0, 0\]"),
    ((CHOICES, CHOICES[0]), ValueError, r"attention_mask: expected the shape of input_ids, \(2, 3, 4\), got \(3, 4\)"),
    ((CHOICES, None, 2 * CHOICES), ValueError, r"token_type_ids: .* got 2 at \[0, 0, 0\]"),
]
CALLS = [("classification", *row) for row in WRONG] + [("multiple_choice", *row) for row in WRONG_CHOICES]


@pytest.mark.parametrize(("name", "arguments", "error", "message"), CALLS, ids=lambda value: str(value)[:30])
def test_wrong_inputs(name, arguments, error, message):
    with ops.backend("numpy"), pytest.raises(error, match=f"^SqueezeBert: {message}"):
        load(name)(*arguments)


WRONG_MASKS = [
    ([[True, False]], ValueError, r"expected the shape of input_ids, \(2, 3\), got \(1, 2\)"),
    ([True] * 3, ValueError, r"expected the shape of input_ids, \(2, 3\), got \(3,\)"),
    ([[True], [True, False]], ValueError, "expected rows of equal length"),
    ([[1, 0, 0], [0, 1, 0]], TypeError, "expected bools, got int64"),
    ([[0.0] * 3] * 2, TypeError, "expected bools, got float64"),
    ([[False, True, True], [False, True, False]], ValueError, r"expected True only up to .*, got True at \[0, 2\]"),
]


@pytest.mark.parametrize(("mask", "error", "message"), WRONG_MASKS, ids=lambda value: str(value)[:30])
@pytest.mark.parametrize("name", OF_TOKENS)
def test_wrong_logits_masks(name, mask, error, message):
    with ops.backend("numpy"), pytest.raises(error, match=f"^SqueezeBert: logits_mask: {message}"):
        load(name)(OK, [[0, 1, 0], [0, 0, 0]], logits_mask=mask)


@pytest.mark.parametrize("name", ["odd_groups", "classification", "question_answering", "multiple_choice"])
def test_a_logits_mask_where_tokens_have_no_logits(name):
    message = f"^SqueezeBert: logits_mask: expected None for the task '{MODELS[name]}', got a mask$"
    with ops.backend("numpy"), pytest.raises(ValueError, match=message):
        load(name)(OK, logits_mask=np.ones((2, 3), bool))


@pytest.mark.parametrize(
    "make, arguments, message",
    [
        (SqueezeBert, ({}, {}), "SqueezeBert: config: expected a SqueezeBertConfig, got dict"),
        (SqueezeBert, (SqueezeBertConfig(), None), "SqueezeBert: weights: expected a dict of arrays, got NoneType"),
        (SqueezeBert, (SqueezeBertConfig(), {1: OK}), "SqueezeBert: weights: expected names as keys, got 1"),
        (SqueezeBert.from_pretrained, (None,), "from_pretrained: path: expected a str or a path, got NoneType"),
    ],
)
def test_arguments_of_another_type(make, arguments, message):
    with pytest.raises(TypeError, match=re.escape(message)):
        make(*arguments)


def test_weights_in_any_memory_order():
    """A column-major table is copied to row-major order once, not per call, and gives the same bits."""
    config, weights = load_folder(GOLDEN / "classification")
    turned = {name: np.asfortranarray(array) for name, array in weights.items()}
    model = SqueezeBert(config, turned)
    assert model.words.flags.c_contiguous
    ids = np.arange(12).reshape(2, 6) % config.vocab_size
    np.testing.assert_array_equal(model(ids).logits, SqueezeBert(config, weights)(ids).logits)
