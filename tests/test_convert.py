"""Converted models: a mapped file gives the same results as quantisation in memory; errors of broken files."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import re
import shutil
import signal
import struct
import time
from functools import partial

import numpy as np
import pytest
from limits import seconds
from model_helpers import WORDS, edit_weights, write_model
from op_helpers import VARIANTS, assert_same_bits, run_python
from test_checkpoint import save_torch, split
from test_squeezebert import GOLDEN, MODELS

from squeezeops import ops
from squeezeops.packing import TARGETS
from squeezeops.pipelines import default_model, pipeline
from squeezeops.squeezebert import SqueezeBert, SqueezeBertConfig, Tokenizer
from squeezeops.squeezebert.conversion import convert, quality
from squeezeops.squeezebert.files.safetensors import read_header, read_tensors, write_file
from squeezeops.squeezebert.model.equalise import equalised
from squeezeops.squeezebert.model.storage import ONE_SCALE, TOO_LARGE
from squeezeops.squeezebert.model.tensors import encoder_shapes
from squeezeops.squeezebert.model.weights import load_folder

EVERY_DTYPE = pytest.mark.parametrize("dtype", TARGETS)
FIELD_OF = {f"attention.{part}": part for part in ("query", "key", "value")}
FIELD_OF |= {f"{part}.conv1d": part for part in ("post_attention", "intermediate", "output")}
COMPILED = [name for name in ("native", "cffi") if name in ops.available_backends()]
FIELDS = ("logits", "start_logits", "end_logits", "pooler_output", "last_hidden_state")
LABELS = ["bad", "so so", "good"]


def inputs_of(model):
    shape = (3, 2, 9) if model.task == "multiple-choice" else (3, 9)
    random = np.random.default_rng(5)
    ids = random.integers(0, model.config.vocab_size, shape)
    mask = np.ones(shape, np.int64)
    mask[0, ..., 6:] = 0
    mask[1, ..., 2] = 0
    return ids, mask, random.integers(0, model.config.type_vocab_size, shape)


def results(model):
    output = model(*inputs_of(model))
    return {name: getattr(output, name) for name in FIELDS if getattr(output, name) is not None}


def assert_equal_results(found, expected):
    assert found.keys() == expected.keys() and found
    for name in expected:
        assert_same_bits(found[name], expected[name])


@pytest.fixture
def out(tmp_path):
    return tmp_path / "converted.safetensors"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("models") / "reviews", LABELS, seed=3)


@pytest.fixture(scope="module")
def converted(folder, tmp_path_factory):
    """An int8 model with a head and a vocabulary. Tests that change it must copy it."""
    path = tmp_path_factory.mktemp("converted") / "model.safetensors"
    convert.convert(folder, path, dtype="int8")
    return path


# ---- results and file contents -------------------------------------------------------------------------------------


@EVERY_DTYPE
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("backend", ops.available_backends())
def test_the_same_bits_as_in_memory(backend, name, dtype, out):
    with ops.backend(backend):
        done = convert.convert(GOLDEN / name, out, dtype=dtype)
        model, expected = SqueezeBert.from_pretrained(out), SqueezeBert.from_pretrained(GOLDEN / name, dtype=dtype)
        assert (model.task, model.dtype, model.path) == (MODELS[name], dtype, str(out))
        assert model.config == expected.config
        stored = {layer.dtype for conv, layer in done.layers.items() if conv.startswith("encoder.")}
        assert stored <= {dtype, "float16"}
        assert all(layer.reason in ("", ONE_SCALE) for layer in done.layers.values())
        assert_equal_results(results(model), results(expected))
        model, expected = (SqueezeBert.from_pretrained(path, dtype=dtype, task="base") for path in (out, GOLDEN / name))
        assert_equal_results(results(model), results(expected))


@pytest.mark.parametrize("dtype, attention", [("float32", "int8"), ("float16", "int8"), ("int8", "float32")])
@pytest.mark.parametrize("name", ["odd_groups", "float16", "bert_masked_lm"])
@pytest.mark.parametrize("backend", ops.available_backends())
def test_the_same_bits_with_the_other_attention(backend, name, dtype, attention, out):
    """Attention that is not the default of the dtype."""
    with ops.backend(backend):
        done = convert.convert(GOLDEN / name, out, dtype=dtype, attention=attention)
        asked = {"dtype": dtype, "attention": attention}
        model = SqueezeBert.from_pretrained(out, **asked)
        assert (done.attention, model.attention, model.dtype) == (attention, attention, dtype)
        assert_equal_results(results(model), results(SqueezeBert.from_pretrained(GOLDEN / name, **asked)))


def test_what_is_stored_for_int8_attention(out, tmp_path):
    """The equalised weights, and the exponents that undo what was done to the values. Biases are not folded."""
    folder = write_model(tmp_path / "model", LABELS, seed=3)
    plain = tmp_path / "plain.safetensors"
    for path, attention in ((plain, "float32"), (out, "int8")):
        convert.convert(folder, path, dtype="float32", attention=attention)
    before, after = read_tensors(plain), read_tensors(out)
    exponents = [f"encoder.layers.{i}.attention.value.exponents" for i in range(2)]
    assert after.keys() - before.keys() == set(exponents)
    parts = ("query.packed", "query.bias", "key.packed", "key.bias", "value.packed")
    changed = {name for name, array in before.items() if not np.array_equal(array, after[name])}
    assert changed and changed <= {f"encoder.layers.{i}.attention.{part}" for i in range(2) for part in parts}
    config, weights = load_folder(folder)
    arrays = equalised(config, {name.removeprefix("transformer."): array for name, array in weights.items()})
    for name in exponents:
        assert after[name].dtype == np.int8 and after[name].shape == (16,)
        np.testing.assert_array_equal(after[name], arrays[name])
    model = SqueezeBert.from_pretrained(out)
    for i, layer in enumerate(model.layers):
        np.testing.assert_array_equal(layer.value_scale, np.exp2(after[exponents[i]].astype(np.float32)))
        np.testing.assert_array_equal(layer.key_bias, arrays[f"encoder.layers.{i}.attention.key.bias"])
        np.testing.assert_array_equal(layer.value_bias, weights[f"transformer.encoder.layers.{i}.attention.value.bias"])
    assert any((layer.value_scale != 1).any() for layer in model.layers)


def test_the_file_decides_on_attention(tmp_path, out):
    folder = write_model(tmp_path / "model", LABELS)
    for dtype, stored, other in (("int8", "int8", "float32"), ("float32", "float32", "int8")):
        convert.convert(folder, out, dtype=dtype, force=True)
        for asked in (None, stored):
            assert SqueezeBert.from_pretrained(out, attention=asked).attention == stored
        message = rf"attention: expected '{stored}', which the file was converted to, or none, got '{other}'$"
        for load in (SqueezeBert.from_pretrained, partial(pipeline, "text-classification")):
            with pytest.raises(ValueError, match=rf"^{re.escape(str(out))}: {message}"):
                load(out, attention=other)
    with pytest.raises(ValueError, match=r"^SqueezeBert: attention: expected None or one of .*, got 'int4'$"):
        convert.convert(folder, out, attention="int4")


def write_wide(folder):
    """A model with one group and 128 channels, one of which holds most of each state's norm."""
    ones = {f"{part}_groups": 1 for part in ("q", "k", "v", "post_attention", "intermediate", "output")}
    sizes = {"hidden_size": 128, "embedding_size": 128, "intermediate_size": 256, "num_hidden_layers": 2}
    values = {"model_type": "squeezebert", "num_attention_heads": 2, "vocab_size": 40, "max_position_embeddings": 16}
    config = SqueezeBertConfig.from_dict(values | sizes | ones)
    random, arrays = np.random.default_rng(7), {}
    for name, shape in encoder_shapes(config):
        arrays[name] = random.normal(0, 0.1, shape).astype(np.float32)
        if name.lower().endswith("layernorm.weight"):
            arrays[name] += 1
        elif name.lower().endswith("layernorm.bias"):
            arrays[name][5] = 5
        elif name.endswith(("query.weight", "key.weight", "value.weight", "intermediate.conv1d.weight")):
            arrays[name][:, 5] /= 5
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(values | sizes | ones))
    with open(folder / "model.safetensors", "wb") as file:
        write_file(file, {n: ("F32", a.shape) for n, a in arrays.items()}, {}, [a.tobytes() for a in arrays.values()])
    return folder


@pytest.mark.parametrize("backend", ops.available_backends())
def test_rotated_layers(backend, out, tmp_path):
    """Int8 with one group: most convolutions are rotated, and the file has the bits of the model in memory."""
    folder = write_wide(tmp_path / "wide")
    with ops.backend(backend):
        done = convert.convert(folder, out, task="base")
        stored = {name.split(".", 3)[3]: layer.dtype for name, layer in done.layers.items() if ".layers." in name}
        assert stored == {
            "attention.query": "int8_rotated", "attention.key": "int8_rotated", "attention.value": "float16",
            "post_attention.conv1d": "int8", "intermediate.conv1d": "int8_rotated", "output.conv1d": "int8_rotated",
        }  # fmt: skip
        tensors, metadata = read_header(out)
        assert metadata["requires"] == "rotation int8-attention" and metadata["dtype"] == "int8"
        assert tensors["encoder.layers.1.output.conv1d.packed"].dtype == "I8"
        assert tensors["encoder.layers.1.post_attention.conv1d.packed"].dtype == "U8"
        model, expected = SqueezeBert.from_pretrained(out), SqueezeBert.from_pretrained(folder, dtype="int8")
        assert_equal_results(results(model), results(expected))
        names = [f"encoder.layers.{i}.{part}" for i in range(2) for part in stored]
        plain = dict.fromkeys(names, "int8")
        exact, rotated, one_scale = (
            SqueezeBert.from_pretrained(folder, dtype=dtype)(*inputs_of(model)).last_hidden_state
            for dtype in ("float32", "int8", plain)
        )
        errors = [np.abs(close - exact).mean() for close in (rotated, one_scale)]
        assert 1.1 * errors[0] < errors[1]
        copied = out.with_name("copy.safetensors")
        assert {n: s.dtype for n, s in convert.convert(out, copied).layers.items()} == {
            n: s.dtype for n, s in done.layers.items()
        }
        assert copied.read_bytes() == out.read_bytes()


@pytest.mark.parametrize("backend", ops.available_backends())
def test_a_rotated_output_after_a_float32_intermediate(backend, tmp_path):
    folder = write_wide(tmp_path / "wide")
    with ops.backend(backend):
        model = SqueezeBert.from_pretrained(folder, dtype={"encoder.layers.1.output.conv1d": "int8_rotated"})
        exact = SqueezeBert.from_pretrained(folder)
        a, b = (m(*inputs_of(exact)).last_hidden_state for m in (model, exact))
        assert 0 < np.abs(a - b).max() < 0.1


def test_rotated_weights_of_a_file_that_does_not_say_so(tmp_path, out):
    folder = write_wide(tmp_path / "wide")
    convert.convert(folder, out)
    edited = Edited(out)
    edited.metadata["requires"] = "int8-attention"
    edited.write()
    with pytest.raises(ValueError, match=r"query\.packed: expected F32 or F16 or U8, got I8"):
        SqueezeBert.from_pretrained(out)


@pytest.mark.oracle  # because the model is installed with the oracle extra
def test_a_converted_minilm_gives_the_results_of_its_checkpoint_in_int8(minilm, out):
    """A BERT: all convolutions have one group, where int8 has exceptions, and float32 tables."""
    done = convert.convert(minilm, out)
    kept = [name for name, layer in done.layers.items() if layer.dtype == "float16"]
    assert kept == [f"encoder.layers.{i}.attention.value" for i in range(6)]
    assert {done.layers[name].reason for name in kept} == {ONE_SCALE}
    texts = ["Yes.", "Two trains run to the coast, and neither is late."]
    batch = Tokenizer.from_pretrained(minilm)(texts, padding=True)
    models = SqueezeBert.from_pretrained(out), SqueezeBert.from_pretrained(minilm, dtype="int8")
    found, expected = (model(batch["input_ids"], batch["attention_mask"]).last_hidden_state for model in models)
    assert_same_bits(found, expected)


def test_layers_with_large_errors_become_float16(folder, out, monkeypatch):
    """A layer with a large error on sample texts becomes float16. The others are as in memory."""
    error = convert.convert(folder, out).layers["encoder.layers.0.attention.key"].error.output
    monkeypatch.setattr(convert, "MOST_ERROR", error)
    done = convert.convert(folder, out, force=True)
    stored = {name: layer.dtype for name, layer in done.layers.items() if name.startswith("encoder.")}
    assert set(stored.values()) == {"int8", "float16"}
    for name, dtype in stored.items():
        assert (dtype == "float16") == (done.layers[name].error.output > error) == bool(done.layers[name].reason)
    model = SqueezeBert.from_pretrained(out)
    for name, dtype in stored.items():
        _, _, layer, part = name.split(".", 3)
        assert getattr(model.layers[int(layer)], FIELD_OF[part]).dtype == dtype
    found, as_asked = results(model), results(SqueezeBert.from_pretrained(folder, dtype="int8"))
    assert not np.array_equal(found["logits"], as_asked["logits"])


@EVERY_DTYPE
def test_every_backend_and_instruction_set_writes_the_same_file(dtype, tmp_path):
    digests = set()
    for i, variant in enumerate(VARIANTS):
        with variant.active():
            path = tmp_path / f"{i}.safetensors"
            convert.convert(GOLDEN / "masked_lm", path, dtype=dtype)
            digests.add(hashlib.sha256(path.read_bytes()).hexdigest())
    assert len(digests) == 1


def test_reproducible_byte_for_byte(folder, tmp_path):
    """Another process at another time gives the same bytes from a copy in another folder."""
    first = tmp_path / "a.safetensors"
    convert.convert(folder, first)
    copied = shutil.copytree(folder, tmp_path / "elsewhere" / folder.name)
    code = "import sys; from squeezeops.squeezebert.conversion.convert import convert; convert(*sys.argv[1:])"
    second = tmp_path / "b.safetensors"
    result = run_python("-c", code, str(copied), str(second), PYTHONHASHSEED="7")
    assert result.returncode == 0, result.stderr
    assert first.read_bytes() == second.read_bytes()


@EVERY_DTYPE
@pytest.mark.parametrize("name", MODELS)
def test_alignment_and_order(name, dtype, out):
    convert.convert(GOLDEN / name, out, dtype=dtype)
    tensors, metadata = read_header(out)
    packed = {name: info for name, info in tensors.items() if name.endswith(".packed")}
    assert len(packed) >= 6 and not any(name.endswith("conv1d.weight") for name in tensors)
    for name, info in packed.items():
        assert info.start % 64 == 0 and (info.stop - info.start) % 64 == 0, name
        assert len(info.shape) == 1
    multiples = [(info.stop - info.start) % 64 == 0 for info in tensors.values()]
    assert multiples == sorted(multiples, reverse=True)  # sizes that are no multiple come last
    for array in read_tensors(out).values():
        assert array.flags.aligned and array.base is not None  # a view of the mapped file
    assert (metadata["squeezeops_format"], metadata["dtype"]) == ("2", dtype)


def test_what_is_stored(folder, out):
    done = convert.convert(folder, out, dtype="int8")
    tensors, metadata = read_header(out)
    config = SqueezeBertConfig.from_json(folder / "config.json")
    assert json.loads(metadata["config.json"]).keys() == vars(config).keys()  # complete, defaults included
    assert SqueezeBertConfig.from_dict(json.loads(metadata["config.json"])) == config
    source, files = json.loads(metadata["source"]), ("model.safetensors", "config.json", "vocab.txt")
    assert source["name"] == "reviews"
    assert source["sha256"] == {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in files}
    assert not any(str(folder.parent) in value for value in metadata.values())  # no path of this machine
    words = tensors["embeddings.word_embeddings.weight"]
    assert (words.dtype, words.shape) == ("I8", (16, 16 + 4))
    assert tensors["embeddings.position_embeddings.weight"].dtype == "F16"
    assert tensors["encoder.layers.0.attention.query.bias"].dtype == "F32"
    convs = {name: layer.dtype for name, layer in done.layers.items() if "embeddings" not in name}
    assert {name: tensors[f"{name}.packed"].dtype for name in convs} == {
        name: {"int8": "U8", "float16": "F16", "float32": "F32"}[dtype] for name, dtype in convs.items()
    }
    assert 0 < done.layers["embeddings.word_embeddings"].error.weight < 0.01
    assert (done.bytes_before, done.bytes_after) == ((folder / "model.safetensors").stat().st_size, out.stat().st_size)
    assert "embeddings.position_embeddings.weight" in done.rounded and 0 < max(done.rounded.values()) < 2**-10


@pytest.mark.parametrize("value, stored", [(65504.0, "F16"), (65520.0, "F32"), (np.inf, "F16"), (np.nan, "F16")])
def test_a_table_beyond_float16_stays_float32(tmp_path, out, value, stored):
    folder = model_with(tmp_path / "model", "embeddings.word_embeddings.weight", value)
    done = convert.convert(folder, out, dtype="float16")
    assert read_header(out)[0]["embeddings.word_embeddings.weight"].dtype == stored
    assert ("embeddings.word_embeddings.weight" in done.rounded) == (stored == "F16")
    words = done.layers["embeddings.word_embeddings"]
    assert (words.dtype, words.reason) == (("float16", "") if stored == "F16" else ("float32", TOO_LARGE))
    SqueezeBert.from_pretrained(out)


def test_a_layer_beyond_float16_stays_float32(tmp_path, out):
    name = "encoder.layers.1.output.conv1d"
    folder = model_with(tmp_path / "model", f"{name}.weight", 1e6)
    layers = convert.convert(folder, out, dtype="float16", measure=True).layers
    assert (layers[name].dtype, layers[name].reason) == ("float32", "a weight is above 65504, the largest float16")
    assert layers[name].error == quality.LayerError(0.0, 0.0)  # its values are unchanged
    assert 0 < layers["encoder.layers.1.intermediate.conv1d"].error.weight < 0.001
    assert SqueezeBert.from_pretrained(out).layers[1].output.dtype == "float32"
    weight = load_folder(folder)[1][f"transformer.{name}.weight"]
    assert convert.choose(name, weight, 4, quality.LayerError(0.001, 0.04), "int8").dtype == "float32"
    assert convert.choose("encoder.layers.1.intermediate.conv1d", weight, 1, None, "int8").reason == TOO_LARGE


def model_with(folder, name, value):
    """A model with one value of a tensor replaced."""

    def change(tensor, values):
        if tensor == f"transformer.{name}":
            values[10] = value

    return edit_weights(write_model(folder, LABELS), change)


def test_the_rule_for_float16(folder, out):
    """With an outlier in a row of inputs, the row's other values have few quantisation steps left."""
    config, weights = load_folder(folder)
    weights = dict(weights)
    norm = weights["transformer.embeddings.LayerNorm.weight"].copy()
    norm[3] = 3000
    model = SqueezeBert(config, {**weights, "transformer.embeddings.LayerNorm.weight": norm})
    arrays = {name.removeprefix("transformer."): array for name, array in weights.items()}
    inputs = quality.sample(None, config)
    errors = quality.layer_errors(model, arrays, "int8", inputs)
    calm = quality.layer_errors(SqueezeBert(config, weights), arrays, "int8", inputs)
    names = list(errors)
    assert names == [f"encoder.layers.{i}.{part}" for i in (0, 1) for part in FIELD_OF]
    assert all(0 < error.weight < 0.02 and 0 < error.output < 0.02 for error in calm.values())
    assert errors[names[0]].weight == calm[names[0]].weight
    weight = arrays[f"{names[0]}.weight"]
    assert convert.choose(names[0], weight, 4, calm[names[0]], "int8").dtype == "int8"
    kept = convert.choose(names[0], weight, 4, quality.LayerError(0.001, 0.021), "int8")
    assert (kept.dtype, kept.reason) == ("float16", "in int8 its output would be off by 0.021, more than 0.02")
    none = convert.choose(names[0], weight, 4, quality.LayerError(0.001, float("nan")), "int8")
    assert none.dtype == "float16"
    value = names[2]
    assert convert.choose(value, weight, 4, calm[value], "int8").dtype == "int8"
    kept = convert.choose(value, weight, 1, calm[value], "int8")  # for its single scale, not its error
    assert (kept.dtype, kept.reason, kept.error) == ("float16", ONE_SCALE, calm[value])


def test_errors_of_layers_are_those_of_float64():
    config, weights = load_folder(GOLDEN / "odd_groups")
    model = SqueezeBert(config, weights)
    arrays = {name.removeprefix("transformer."): array for name, array in weights.items()}
    inputs = quality.sample(None, config)
    found = quality.layer_errors(model, arrays, "int8", inputs)["encoder.layers.0.attention.query"]
    weight = arrays["encoder.layers.0.attention.query.weight"][..., 0].astype(float)
    scales = np.abs(weight).max(axis=1, keepdims=True) / 127
    stored = np.rint(weight / scales) * scales
    assert found.weight == pytest.approx(np.linalg.norm(stored - weight) / np.linalg.norm(weight), rel=1e-3)
    x = model(inputs["input_ids"], output_hidden_states=True).hidden_states[0].reshape(-1, config.hidden_size)
    groups = config.q_groups
    by_group = x.reshape(len(x), groups, -1).astype(float)
    steps = np.abs(by_group).max(axis=2, keepdims=True) / 127
    rows = np.rint(by_group / steps) * steps

    def product(rows, weight):
        return np.concatenate([rows[:, g] @ part.T for g, part in enumerate(np.split(weight, groups))], axis=1)

    exact = product(by_group, weight)
    expected = np.linalg.norm(product(rows, stored) - exact) / np.linalg.norm(exact)
    assert found.output == pytest.approx(expected, rel=1e-3)


def test_cosines_of_zeros_and_nan():
    """Zeros have cosine 1 with zeros and 0 with anything else. With NaN or infinity the cosine is NaN."""
    rows = np.array([[3.0, 4], [0, 0], [0, 0], [np.nan, 1], [1, 2]])
    others = np.array([[-4.0, 3], [0, 0], [1, 2], [1, 1], [np.inf, 2]])
    np.testing.assert_array_equal(quality.cosine(rows, others), [0, 1, 0, np.nan, np.nan])
    np.testing.assert_array_equal(quality.cosine(others, rows), [0, 1, 0, np.nan, np.nan])


def test_a_model_that_returns_nan_does_not_agree():
    config, weights = load_folder(GOLDEN / "classification")
    name = next(name for name in weights if name.endswith("classifier.bias"))
    broken = SqueezeBert(config, {**weights, name: np.full_like(weights[name], np.nan)})
    found = quality.compare(SqueezeBert(config, weights), broken, quality.sample(None, config))
    assert np.isnan([found.largest, found.mean_cosine, found.worst_cosine]).all()


# ---- the sources ---------------------------------------------------------------------------------------------------


def test_torch_files_shards_and_the_cache(folder, tmp_path, monkeypatch, out):
    expected = results(SqueezeBert.from_pretrained(folder))
    torch, shards = (shutil.copytree(folder, tmp_path / name) for name in ("torch", "shards"))
    save_torch(torch / "pytorch_model.bin", load_folder(folder)[1])
    (torch / "model.safetensors").unlink()
    split(shards, "model.safetensors", 2)
    cache = tmp_path / "cache" / "models--me--reviews"
    (cache / "refs").mkdir(parents=True)
    (cache / "refs" / "main").write_text("0123abc")
    shutil.copytree(folder, cache / "snapshots" / "0123abc")
    monkeypatch.setenv("HF_HUB_CACHE", str(cache.parent))
    parts = [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    for source, name, files in [
        (torch, "torch", ["pytorch_model.bin", "config.json", "vocab.txt"]),
        (shards, "shards", ["model.safetensors.index.json", *parts, "config.json", "vocab.txt"]),
        ("me/reviews", "me/reviews@0123abc", ["model.safetensors", "config.json", "vocab.txt"]),
    ]:
        done = convert.convert(source, out, dtype="float32", force=True)
        assert_equal_results(results(SqueezeBert.from_pretrained(out)), expected)
        found = json.loads(read_header(out)[1]["source"])
        assert (found["name"], list(found["sha256"])) == (name, files)
        assert done.bytes_before > 0


def test_the_built_in_model(out):
    """It is converted already, so converting it copies it."""
    done = convert.convert(default_model(), out)
    assert out.read_bytes() == (default_model() / "model.safetensors").read_bytes()
    assert done.bytes_before == done.bytes_after == out.stat().st_size
    encoder = {name: layer.dtype for name, layer in done.layers.items() if name.startswith("encoder.")}
    assert len(encoder) == 4 * 6 and set(encoder.values()) == {"int8"}
    others = {name: layer.dtype for name, layer in done.layers.items() if name not in encoder}
    assert others == {"embeddings.word_embeddings": "int8", "pooler.dense": "float16", "classifier": "float16"}
    texts = ["a gorgeous, witty, seductive movie", "a terrible waste of time"]
    before, after = pipeline("text-classification")(texts), pipeline("text-classification", out)(texts)
    assert [result["label"] for result in after] == [result["label"] for result in before] == ["POSITIVE", "NEGATIVE"]
    assert after == before


@pytest.mark.parametrize(
    "task, model_task, item",
    [
        ("text-classification", "text-classification", "the good, bad movies!"),
        ("token-classification", "token-classification", "the good, bad movies!"),
        ("question-answering", "question-answering", {"question": "good?", "context": "the good, bad movies!"}),
        ("fill-mask", "masked-lm", "a [MASK] movie"),
        ("feature-extraction", "base", "the good, bad movies!"),
    ],
)
def test_every_pipeline_from_the_file_alone(task, model_task, item, tmp_path, out):
    folder = write_model(tmp_path / "model", ["A", "B"] if "classification" in model_task else None, task=model_task)
    expected = pipeline(task, folder)(item)
    convert.convert(folder, out, dtype="float32")
    shutil.rmtree(folder)
    found = pipeline(task, out)(item)
    np.testing.assert_equal(found, expected)


def test_a_folder_of_the_file(converted, tmp_path):
    for name in ("any name.safetensors", "model.safetensors"):
        folder = tmp_path / name.partition(".")[0]
        folder.mkdir()
        shutil.copy(converted, folder / name)
        if name == "model.safetensors":
            (folder / "config.json").write_text("{}")  # ignored: the configuration in the file is used
        model = SqueezeBert.from_pretrained(folder)
        assert model.path == str(folder / name) and model.dtype == "int8"
        assert Tokenizer.from_pretrained(folder)("good") == Tokenizer.from_pretrained(converted)("good")
    alone = tmp_path / "any name"
    shutil.copy(converted, alone / "another.safetensors")
    with pytest.raises(FileNotFoundError, match=r"config\.json: expected the model's configuration, got no such file"):
        SqueezeBert.from_pretrained(alone)


CLEANING = {"clean_text": True, "handle_chinese_chars": True, "strip_accents": None, "lowercase": False}
PIECES = {"unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100}
TOKENIZER_JSON = {
    "added_tokens": [{"id": 5, "content": "a", "special": False, "normalized": True}],
    "normalizer": {"type": "BertNormalizer", **CLEANING},
    "pre_tokenizer": {"type": "BertPreTokenizer"},
    "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]},
    "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
    "model": {"type": "WordPiece", **PIECES, "vocab": {word: i for i, word in enumerate(WORDS)}},
}


@pytest.mark.parametrize("kind", ["tokenizer.json", "vocab.txt", "CRLF", "none"])
def test_the_tokenizer(kind, tmp_path, out):
    folder = write_model(tmp_path / "model", LABELS, vocab_size=len(WORDS))
    (folder / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 7, "do_lower_case": False}))
    if kind == "tokenizer.json":
        (folder / "tokenizer.json").write_text(json.dumps(TOKENIZER_JSON))
    elif kind == "CRLF":
        (folder / "vocab.txt").write_bytes("\r\n".join(WORDS).encode() + b"\r\n")
    elif kind == "none":
        (folder / "vocab.txt").unlink()
    convert.convert(folder, out)
    tensors, metadata = read_header(out)
    stored = {name for name in (*tensors, *metadata) if name.startswith(("vocab", "token"))}
    if kind == "none":
        assert stored == set()
        message = r"expected a tokenizer\.json or a vocab\.txt, found neither at .*converted"
        with pytest.raises(FileNotFoundError, match=message):
            Tokenizer.from_pretrained(out)
        SqueezeBert.from_pretrained(out)
        return
    assert stored == {"tokenizer", "vocab.bytes", "vocab.offsets", "vocab.ids"}
    ours, theirs = Tokenizer.from_pretrained(out), Tokenizer.from_pretrained(folder)
    for text in ("The good, bad movies!", "good [MASK] a."):
        assert ours(text) == theirs(text)
    assert ours.max_length == 7 == theirs.max_length


def test_tokens_added_beside_a_vocabulary(tmp_path, out):
    folder = write_model(tmp_path / "model", LABELS, words=[*WORDS, "<x>"])
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    (folder / "added_tokens.json").write_text(json.dumps({"<x>": len(WORDS)}))
    (folder / "special_tokens_map.json").write_text(json.dumps({"additional_special_tokens": ["<x>"]}))
    convert.convert(folder, out)
    assert Tokenizer.from_pretrained(out)("a<x>good") == Tokenizer.from_pretrained(folder)("a<x>good")
    assert len(WORDS) in Tokenizer.from_pretrained(out)("a<x>good")["input_ids"]


def test_the_task(tmp_path, out):
    folder = write_model(tmp_path / "model", task="masked-lm")
    convert.convert(folder, out, task="base", dtype="float32")
    model = SqueezeBert.from_pretrained(out)
    assert model.task == "base"
    assert_equal_results(results(model), results(SqueezeBert.from_pretrained(folder, task="base")))
    assert not any(name.startswith("cls.") for name in read_header(out)[0])
    message = "SqueezeBert: task: .*got 'masked-lm'; checkpoint has: base"
    with pytest.raises(ValueError, match=rf"^{re.escape(str(out))}: {message}"):
        SqueezeBert.from_pretrained(out, task="masked-lm")
    with pytest.raises(ValueError, match=rf"^{re.escape(str(folder))}: SqueezeBert: task: .*got 'question-answering'"):
        convert.convert(folder, out, task="question-answering", force=True)


# ---- writing -------------------------------------------------------------------------------------------------------


def test_progress(folder, out):
    seen = []
    convert.convert(folder, out, progress=lambda *now: seen.append(now))
    assert seen[:12] == [("measuring", i + 1, 12) for i in range(12)]
    stages, done, totals = zip(*seen[12:], strict=True)
    assert set(stages) == {"writing"}
    assert list(done) == sorted(done) and set(totals) == {done[-1]} and len(done) == len(read_header(out)[0])


def test_an_existing_file(folder, out):
    out.write_bytes(b"precious")
    message = rf"^{re.escape(str(out))}: expected the name of a new file, got one that exists"
    with pytest.raises(FileExistsError, match=message):
        convert.convert(folder, out)
    assert out.read_bytes() == b"precious"
    convert.convert(folder, out, force=True)
    SqueezeBert.from_pretrained(out)


def test_a_file_created_during_the_conversion(folder, out):
    with pytest.raises(FileExistsError, match=r"got one that has appeared"):
        convert.convert(folder, out, progress=lambda *_: out.write_bytes(b"precious"))
    assert out.read_bytes() == b"precious" and os.listdir(out.parent) == [out.name]


def test_wrong_names(folder, converted, tmp_path):
    def fails(path, pattern, error=ValueError, checkpoint=folder, **options):
        with pytest.raises(error, match=pattern):
            convert.convert(checkpoint, path, **options)

    fails(tmp_path / "x.bin", r"x\.bin: expected the name of a file, ending in \.safetensors")
    fails(5, r"convert: path: expected a str or a path, got int", TypeError)
    (tmp_path / "d.safetensors").mkdir()
    fails(tmp_path / "d.safetensors", r"expected the name of a file, got a folder", force=True)
    fails(tmp_path / "no" / "x.safetensors", r"expected a name in a folder, got no folder .*no$", FileNotFoundError)
    (tmp_path / "link.safetensors").symlink_to(folder / "model.safetensors")
    for path in (folder / "model.safetensors", tmp_path / "link.safetensors"):
        fails(path, r"expected another name than those of the checkpoint's files, got one of them", force=True)
    for options, wanted, attention in (
        ({"dtype": "float16"}, "to float16", ""),
        ({"task": "base"}, "to int8 for base", ""),
        ({"attention": "float32"}, "to int8 with float32 attention", " with int8 attention"),
    ):
        got = f"got a model that is converted already, to int8{attention} for text-classification"
        message = rf"^{re.escape(str(converted))}: model: expected a checkpoint to convert {wanted}, {got}"
        fails(tmp_path / "x.safetensors", message, checkpoint=converted, **options)
    fails(converted, r"model: expected a file other than the one to write", checkpoint=converted, force=True)
    fails(tmp_path / "x.safetensors", r"dtype: expected one of 'float32', 'float16', 'int8', got 'int4'", dtype="int4")
    fails(tmp_path / "x.safetensors", r"expected a folder", FileNotFoundError, checkpoint=tmp_path / "nowhere")
    assert not (tmp_path / "x.safetensors").exists()


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError("disk full"), MemoryError])
def test_an_error_leaves_nothing(folder, out, error):
    def stop(stage, done, total):
        if stage == "writing" and done > total / 2:
            raise error

    out.write_bytes(b"precious")
    with pytest.raises(error if isinstance(error, type) else type(error)):
        convert.convert(folder, out, force=True, progress=stop)
    assert os.listdir(out.parent) == [out.name] and out.read_bytes() == b"precious"


CRASH = """
import os, signal, sys
from squeezeops.squeezebert.conversion.convert import convert
def stop(stage, done, total):
    if stage == "writing" and done > total / 2:
        os.kill(os.getpid(), signal.SIGKILL)
convert(sys.argv[1], sys.argv[2], force=True, progress=stop)
"""


@pytest.mark.skipif(os.name != "posix", reason="signals, pipes and byte arguments of POSIX")
def test_a_crash_leaves_nothing_under_the_name(folder, out):
    out.write_bytes(b"precious")
    result = run_python("-c", CRASH, str(folder), str(out))
    assert result.returncode == -signal.SIGKILL
    assert out.read_bytes() == b"precious"
    rest = [name for name in os.listdir(out.parent) if name != out.name]
    assert all(re.fullmatch(r"converted\.safetensors\.[0-9a-f]{8}\.tmp", name) for name in rest)


def test_the_file_is_synced_before_it_is_renamed(folder, out, monkeypatch):
    events = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, name=name, real=real: (events.append(name), real(*a))[1])
    convert.convert(folder, out)
    assert events == ["fsync", "replace", "fsync"]


# ---- loading -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", COMPILED)
def test_weights_are_used_where_they_lie(backend, converted):
    with ops.backend(backend):
        model = SqueezeBert.from_pretrained(converted)
        tensors, _ = read_header(converted)
        memory = model.words
        while isinstance(memory, np.ndarray):
            memory = memory.base
        start = np.frombuffer(memory, np.uint8).__array_interface__["data"][0]
        conv, info = model.layers[1].output, tensors["encoder.layers.1.output.conv1d.packed"]
        form = np.frombuffer(conv.packed, np.uint8)
        assert form.__array_interface__["data"][0] == start + info.start
        if backend == "native":
            module = ops.backends.load(backend)
            own = module.packed_form(conv._packed[module])
            assert own.__array_interface__["data"][0] == start + info.start


def test_a_file_may_be_replaced_while_it_is_used(converted, folder, tmp_path):
    path = tmp_path / "model.safetensors"
    shutil.copy(converted, path)
    model = SqueezeBert.from_pretrained(path)
    other = write_model(tmp_path / "other", LABELS, seed=9)
    expected = results(SqueezeBert.from_pretrained(converted))
    convert.convert(other, path, force=True)
    assert_equal_results(results(model), expected)
    assert not np.array_equal(results(SqueezeBert.from_pretrained(path))["logits"], expected["logits"])


def test_copies_of_a_model(converted):
    model = SqueezeBert.from_pretrained(converted)
    assert_equal_results(results(pickle.loads(pickle.dumps(model))), results(model))
    output = model.encoder()(*inputs_of(model))
    assert output.last_hidden_state is not None and output.logits is None


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_another_dtype(converted, dtype):
    message = rf"model\.safetensors: dtype: expected 'int8', which the file was conv.*, got '{dtype}'"
    with pytest.raises(ValueError, match=message):
        SqueezeBert.from_pretrained(converted, dtype=dtype)
    for options in ({}, {"dtype": "int8"}):
        assert pipeline("text-classification", converted, **options).model.dtype == "int8"


# ---- broken files --------------------------------------------------------------------------------------------------


class Edited:
    """A converted file, taken apart for changes. `write` keeps all sizes consistent unless a change sets them."""

    def __init__(self, path):
        self.path = path
        content = path.read_bytes()
        self.length = struct.unpack_from("<Q", content)[0]
        self.header = json.loads(content[8 : 8 + self.length])
        self.data = content[8 + self.length :]
        self.metadata = self.header["__metadata__"]
        self.pad = True

    def write(self):
        text = json.dumps(self.header).encode()
        text += b" " * (-(8 + len(text)) % 64) if self.pad else b""
        self.path.write_bytes(struct.pack("<Q", len(text)) + text + self.data)

    def remove(self, name):
        begin, end = self.header.pop(name)["data_offsets"]
        self.data = self.data[:begin] + self.data[end:]
        self.shift(begin, begin - end)

    def insert(self, name, dtype, shape, data, at=0):
        self.data = self.data[:at] + data + self.data[at:]
        self.shift(at, len(data))
        self.header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(data)]}

    def shift(self, at, by):
        for key, entry in self.header.items():
            if key != "__metadata__" and entry["data_offsets"][0] >= at:
                entry["data_offsets"] = [offset + by for offset in entry["data_offsets"]]

    def replace(self, name, dtype, shape, data):
        begin, _ = self.header[name]["data_offsets"]
        self.remove(name)
        self.insert(name, dtype, shape, data, at=begin)

    def config(self, **changes):
        self.metadata["config.json"] = json.dumps({**json.loads(self.metadata["config.json"]), **changes})


QUERY = "encoder.layers.0.attention.query"
EXPONENTS = "encoder.layers.0.attention.value.exponents"
WORD_TABLE = "embeddings.word_embeddings.weight"


def misalign_header(file):
    file.pad = False
    file.metadata["pad"] = ""
    while (8 + len(json.dumps(file.header).encode())) % 64 != 2:
        file.metadata["pad"] += " "


def metadata(**values):
    """Replace values in the metadata; None removes one."""

    def change(file):
        for key, value in values.items():
            key = key.replace("__", ".")
            file.metadata.pop(key)
            file.metadata |= {} if value is None else {key: value}

    return change


def config(**values):
    return lambda file: file.config(**values)


def claims(name, dtype, *shape):
    """Describe a tensor otherwise, with its bytes unchanged. A size of 0 is what the dtype and the bytes imply."""

    def change(file):
        entry = file.header[name]
        size = entry["shape"][0] // {"F32": 4, "I8": 1}.get(dtype, 1)
        entry["dtype"], entry["shape"] = dtype, [*shape] or [size]

    return change


FORMAT, TABLE = "squeezeops_format", r"word_embeddings\.weight"
MANY, MORE = ({"id2label": {str(i): str(i) for i in range(count)}, "label2id": {}} for count in (40, 4))
BROKEN = {  # name: (change, message)
    "newer": (
        metadata(squeezeops_format="3", squeezeops_version="9.1"),
        rf"{FORMAT}: expected at most 2, got 3 \(needs a newer squeezeops, 9\.1 or later\)",
    ),
    "much newer": (
        metadata(squeezeops_format="10", squeezeops_version="\x1b[31m"),
        rf"{FORMAT}: expected at most 2, got 10 \(needs a newer squeezeops\)",
    ),
    "no version": (metadata(squeezeops_format="one"), rf"{FORMAT}: expected '2', got 'one'"),
    "version 0": (metadata(squeezeops_format="0"), rf"{FORMAT}: expected '2', got '0'"),
    "another format": (
        metadata(squeezeops_format=None),
        r"expected a file that squeezeops convert wrote, or the folder of a checkpoint, got safetensors",
    ),
    "dtype": (metadata(dtype="int4"), r"dtype: expected one of 'float32', 'float16', 'int8', got 'int4'"),
    "no dtype": (metadata(dtype=None), r"dtype: expected one of .*, got ''"),
    "dtype float32": (metadata(dtype="float32"), rf"{TABLE}: expected F32 or F16 of .*, got I8"),
    "dtype float16": (metadata(dtype="float16"), rf"{TABLE}: expected F32 or F16 of shape \(16, 16\), got I8"),
    "task": (metadata(task="question-answering"), r"task: expected one that the checkpoint has a head"),
    "no task": (metadata(task=None), r"task: expected the one that the file was converted for, got none"),
    "empty task": (metadata(task=""), r"task: expected the one that the file was converted for, got"),
    "unknown task": (metadata(task="\n"), r"task: expected None or one of"),
    "no config": (metadata(config__json=None), r"config\.json: expected a text in the metadata, got none"),
    "config is no JSON": (metadata(config__json="{"), r"config\.json: file: expected JSON, got"),
    "config is a list": (metadata(config__json="[]"), r"config\.json: file: expected a JSON object"),
    "config has a surrogate": (metadata(config__json="\ud800"), r"config\.json: file: expected JSON"),
    "bad config": (config(q_groups=5), r"config\.json: q_groups: expected a divisor of hidden_size = 16, got 5"),
    "other groups": (config(q_groups=1), r"query\.packed: expected 384 bytes in one axis for 16 x 16 in 1 gro"),
    "more layers": (
        config(num_hidden_layers=9999),
        r"encoder\.layers\.2\.attention\.query\.packed: expected a tensor, which config\.json asks for",
    ),
    "fewer layers": (
        config(num_hidden_layers=1),
        r"tensors: expected those that config\.json asks for, got 'encoder\.layers\.1\.[a-z0-9_.]+' too",
    ),
    "more words": (config(vocab_size=10**9), rf"{TABLE}: expected F32 or F16 of shape \(1000000"),
    "wider": (config(hidden_size=2**20, embedding_size=2**20), rf"{TABLE}: expected F32 or F16"),
    "more labels": (config(**MANY), r"classifier\.packed: expected \d+ bytes in one axis for 40 x 16 in 1 groups"),
    "a label more": (config(**MORE), r"classifier\.bias: expected F32 of shape \(4,\), got F32 of shape \(3,\)"),
    "missing weight": (lambda f: f.remove(f"{QUERY}.packed"), r"query\.packed: expected a tensor, which config"),
    "missing bias": (lambda f: f.remove(f"{QUERY}.bias"), r"query\.bias: expected a tensor, which config\.json asks"),
    "missing exponents": (
        lambda f: f.remove(EXPONENTS),
        r"value\.exponents: expected a tensor, which config\.json asks for, got none",
    ),
    "dtype of exponents": (
        claims(EXPONENTS, "U8", 16),
        r"value\.exponents: expected I8 of shape \(16,\), got U8 of shape \(16,\)",
    ),
    "shape of exponents": (claims(EXPONENTS, "I8", 4, 4), r"exponents: expected I8 of shape \(16,\), got I8 of shape"),
    "an exponent above 0": (
        lambda f: f.replace(EXPONENTS, "I8", [16], bytes(15) + b"\x01"),
        r"value\.exponents: expected exponents from -16 to 0, got 1$",
    ),
    "an exponent below -16": (
        lambda f: f.replace(EXPONENTS, "I8", [16], b"\xef" + bytes(15)),
        r"value\.exponents: expected exponents from -16 to 0, got -17$",
    ),
    "exponents without int8 attention": (
        metadata(attention="float32", requires=""),
        r"tensors: expected those that config\.json asks for, got 'encoder\.layers\.0\.\S+\.exponents' too",
    ),
    "missing table": (lambda f: f.remove(WORD_TABLE), rf"{TABLE}: expected a tensor, which config"),
    "unknown tensor": (
        lambda f: f.insert("x\n\x1b", "U8", [64], bytes(64)),
        r"tensors: expected those .*, got 'x\\n\\x1b' too",
    ),
    "misaligned": (
        lambda f: f.insert("odd", "U8", [1], b"x"),
        r"weight: expected an offset that is a multiple of 2, got \d+",
    ),
    "packed misaligned": (
        lambda f: f.insert("odd", "U8", [4], bytes(4)),  # tables and vectors allow a shift by 4 bytes
        r"packed: expected an offset that is a multiple of 64, got \d+",
    ),
    "header not padded": (
        misalign_header,
        r"(packed|weight): expected an offset that is a multiple of (64|4), got \d+",
    ),
    "packed size": (
        lambda f: f.replace(f"{QUERY}.packed", "U8", [64], bytes(64)),
        r"query\.packed: expected 768 bytes in one axis for 16 x 4 in 4 groups, got 64 of shape",
    ),
    "packed dtype": (claims(f"{QUERY}.packed", "I8"), r"query\.packed: expected F32 or F16 or U8, got I8"),
    "packed axes": (
        claims(f"{QUERY}.packed", "U8", 12, 64),
        r"query\.packed: expected \d+ bytes in one axis .* of shape \(\d+, 64\)",
    ),
    "packed as floats": (
        claims(f"{QUERY}.packed", "F32"),
        r"query\.packed: expected 1024 bytes in one axis for 16 x 4 in 4 groups, got 768",
    ),
    "offsets": (claims(WORD_TABLE, "I8", 16, 21), r"data_offsets: expected 336 bytes for I8"),
    "shape of a table": (
        claims(WORD_TABLE, "I8", 8, 40),
        r"expected F32 or F16 of shape \(16, 16\), or I8 of shape \(16, 20\), got I8 of shape \(8, 40\)",
    ),
    "a table without scales": (
        lambda f: f.replace(WORD_TABLE, "I8", [16, 16], bytes(256)),
        r"weight: expected .* or I8 of shape \(16, 20\), got I8 of shape \(16, 16\)",
    ),
    "dtype of a table": (claims(WORD_TABLE, "I16", 16, 10), rf"{TABLE}: expected F32 or F16 of shape .*, got I16 of"),
    "dtype of a vector": (
        claims(f"{QUERY}.bias", "F16", 32),
        r"query\.bias: expected F32 of shape \(16,\), got F16 of shape \(32,\)",
    ),
    "metadata": (lambda f: f.header.update(__metadata__=[1]), r"__metadata__: expected an object that maps strings"),
}


@pytest.fixture
def edited(converted, tmp_path):
    """A function that writes a changed copy of the converted model and returns its path."""

    def edited(change=lambda file: None):
        path = tmp_path / "model.safetensors"
        shutil.copy(converted, path)
        file = Edited(path)
        change(file)
        file.write()
        return path

    return edited


@pytest.mark.parametrize("backend", ops.available_backends())
@pytest.mark.parametrize("name", BROKEN)
def test_broken_files(name, backend, edited):
    change, message = BROKEN[name]
    path = edited(change)
    started = time.process_time()
    with ops.backend(backend), pytest.raises(ValueError, match=rf"^{re.escape(str(path))}: .*{message}"):
        SqueezeBert.from_pretrained(path)
    assert time.process_time() - started < 20


def test_errors_of_the_ops_name_the_file(converted, monkeypatch):
    monkeypatch.setattr("squeezeops.backends._scalars.MOST_INT8_DEPTH", 3)
    message = rf"{re.escape(QUERY)}\.packed: PointwiseConv: in_channels: expected at most 2\^17 per group"
    with pytest.raises(ValueError, match=rf"^{re.escape(str(converted))}: {message}"):
        SqueezeBert.from_pretrained(converted)


def test_broken_files_are_only_broken_by_their_change(converted, edited):
    assert_equal_results(
        results(SqueezeBert.from_pretrained(edited())), results(SqueezeBert.from_pretrained(converted))
    )


@pytest.mark.parametrize("part", [0, 7, 8, 100, 0.3, 0.5, 0.9, -1, "more"])
def test_a_file_of_another_length(part, converted, tmp_path):
    path, content = tmp_path / "model.safetensors", converted.read_bytes()
    cut = int(part * len(content)) if isinstance(part, float) else part
    path.write_bytes(content + b"x" if part == "more" else content[:cut])
    for load in (SqueezeBert.from_pretrained, Tokenizer.from_pretrained):
        with pytest.raises(ValueError, match=rf"^{re.escape(str(path))}: .*expected .*, got"):
            load(path)


@pytest.mark.parametrize(
    "name, text, message",
    [
        ("vocab.txt", "a\nb", r"vocab: special tokens \[.*\] are missing"),
        ("vocab.txt", "", r"vocab: special tokens"),
        ("vocab.txt", "\ud800", ""),
        ("tokenizer.json", "{", r"file: expected JSON, got Expecting"),
        ("tokenizer.json", "[" * 100000, r"file: expected JSON, got values nested too deeply"),
        ("tokenizer.json", '{"model": {"type": "BPE"}}', r"model: expected WordPiece, got 'BPE'"),
        ("tokenizer_config.json", "[]", r"file: expected a JSON object, got \[\]"),
        ("tokenizer_config.json", '{"tokenizer_class": "T5"}', r"tokenizer_class: expected"),
        ("added_tokens.json", '{"<x>": 99}', r"'<x>': '<x>': expected id 40, got 99"),
        ("special_tokens_map.json", "5", r"file: expected a JSON object, got 5"),
    ],
)
def test_a_broken_vocabulary(name, text, message, tmp_path):
    """In a file of version 1, which has the texts of the tokenizer's files."""
    path = tmp_path / "model.safetensors"
    file = Edited(shutil.copy(GOLDEN / "version_1.safetensors", path))
    file.metadata[name] = text
    file.write()
    for load in (Tokenizer.from_pretrained, partial(pipeline, "text-classification")):
        with pytest.raises(ValueError, match=rf"^{re.escape(f'{path}: {name}')}: {message}"):
            load(path)


@pytest.mark.parametrize("backend", ops.available_backends())
@pytest.mark.parametrize("filling", [0x00, 0x7F, 0x80, 0xFF, None])
def test_no_value_of_a_weight_can_crash(edited, backend, filling):
    """Random bytes as weights give any results, but no crash."""

    def fill(file):
        size, given = len(file.data), file.data
        file.data = np.random.default_rng(0).bytes(size) if filling is None else bytes([filling]) * size
        for i in range(2):  # exponents are no weights: they are checked
            begin, end = file.header[EXPONENTS.replace(".0.", f".{i}.")]["data_offsets"]
            file.data = file.data[:begin] + given[begin:end] + file.data[end:]

    with ops.backend(backend), np.errstate(all="ignore"):
        results(SqueezeBert.from_pretrained(edited(fill)))


# ---- memory --------------------------------------------------------------------------------------------------------


MEASURE = """
import sys
from squeezeops.squeezebert import SqueezeBert
def private():
    with open("/proc/self/smaps_rollup") as file:
        found = dict(line.split()[:2] for line in file if line[:1].isupper())
    return int(found["Anonymous:"])
from squeezeops import ops
ops.get_backend()
small = SqueezeBert.from_pretrained(sys.argv[1])
before = private()
model = SqueezeBert.from_pretrained(sys.argv[2])
print(private() - before)
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/smaps_rollup"), reason="asks Linux how much memory a process has")
@pytest.mark.skipif(not COMPILED, reason="the backends in Python make copies of the weights")
def test_loading_takes_next_to_no_memory(converted, tmp_path):
    sizes = {"hidden_size": 256, "embedding_size": 256, "intermediate_size": 1024, "num_hidden_layers": 8}
    folder, config = tmp_path / "model", {"vocab_size": 2000, "num_attention_heads": 4, **sizes}
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({**config, "architectures": ["SqueezeBertModel"]}))
    shapes = dict(encoder_shapes(SqueezeBertConfig.from_dict(config)))
    random = np.random.default_rng(0)
    with open(folder / "model.safetensors", "wb") as file:
        arrays = (random.standard_normal(shape, np.float32).data for shape in shapes.values())
        write_file(file, {name: ("F32", shape) for name, shape in shapes.items()}, {}, arrays)
    out = tmp_path / "out.safetensors"
    done = convert.convert(folder, out, dtype="float32")
    assert done.bytes_after > 8e6
    result = run_python("-c", MEASURE, str(converted), str(out), SQUEEZEOPS_BACKEND=COMPILED[0])
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) < 1000  # KB; the file has more than 8 MB


@pytest.mark.skipif(not os.path.exists("/proc/self/smaps_rollup"), reason="asks Linux how much memory a process has")
def test_shared_memory_benchmark(converted, folder, tmp_path):
    bench, kept = str(GOLDEN.parents[1] / "bench" / "shared_memory.py"), tmp_path / "out.json"
    for model in (converted, folder):
        result = run_python(bench, str(model), "--processes", "2", "--tokens", "9", "--json", str(kept))
        assert result.returncode == 0, result.stderr
    facts = json.loads(kept.read_text())
    assert list(facts) == ["float32, a folder", "int8, converted"]
    assert facts["int8, converted"]["bytes"] == converted.stat().st_size
    assert facts["float32, a folder"]["bytes"] == sum(file.stat().st_size for file in folder.iterdir())
    for figures in facts.values():
        assert (figures["processes"], figures["tokens"]) == (2, 9)
        assert 0 < figures["seconds"] < seconds(10) and figures["private after a run"] > 0
        assert "pss after a run" in figures  # which may be below 0 when others map or leave the same pages


@pytest.mark.oracle
@EVERY_DTYPE
def test_the_official_package_opens_it(folder, out, dtype):
    safetensors = pytest.importorskip("safetensors", reason="the oracle is safetensors")
    convert.convert(folder, out, dtype=dtype)
    expected = read_tensors(out)
    with safetensors.safe_open(out, "np") as file:
        assert set(file.keys()) == set(expected)
        for name in file.keys():  # noqa: SIM118
            assert file.get_tensor(name).tobytes() == expected[name].tobytes()
        assert file.metadata() == read_header(out)[1]
