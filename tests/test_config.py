"""The configuration: defaults, checks, labels, error messages."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest

from squeezeops.squeezebert.model.config import SqueezeBertConfig

SMALL = {"hidden_size": 12, "embedding_size": 12, "num_attention_heads": 3, "intermediate_size": 24}


def test_defaults_are_those_of_the_published_model():
    config = SqueezeBertConfig.from_dict({})
    assert (config.hidden_size, config.embedding_size, config.intermediate_size) == (768, 768, 3072)
    assert (config.num_hidden_layers, config.num_attention_heads, config.head_size) == (12, 12, 64)
    assert (config.q_groups, config.k_groups, config.v_groups, config.post_attention_groups) == (4, 4, 4, 1)
    assert (config.intermediate_groups, config.output_groups) == (4, 4)
    assert (config.vocab_size, config.max_position_embeddings, config.type_vocab_size) == (30522, 512, 2)
    assert (config.layer_norm_eps, config.hidden_act, config.model_type) == (1e-12, "gelu", "squeezebert")
    assert config.id2label == {0: "LABEL_0", 1: "LABEL_1"}
    assert config.label2id == {"LABEL_0": 0, "LABEL_1": 1}
    assert (config.num_labels, config.problem_type, config.architectures) == (2, None, None)
    assert config.tie_word_embeddings is True


GROUPS = ("q_groups", "k_groups", "v_groups", "post_attention_groups", "intermediate_groups", "output_groups")


def test_a_bert_has_one_group_everywhere():
    config = SqueezeBertConfig.from_dict({"model_type": "bert", "hidden_size": 384})
    assert config.model_type == "bert"
    assert [getattr(config, key) for key in GROUPS] == [1] * 6
    assert (config.hidden_size, config.embedding_size, config.intermediate_size) == (384, 384, 3072)
    assert SqueezeBertConfig.from_dict({"model_type": "bert"}).embedding_size == 768


@pytest.mark.parametrize("eps", [1e-12, 1e-5])
def test_the_encoder_of_a_squeezebert_has_an_eps_of_its_own(eps):
    assert SqueezeBertConfig.from_dict({"layer_norm_eps": eps}).encoder_layer_norm_eps == 1e-12
    assert SqueezeBertConfig.from_dict({"layer_norm_eps": eps, "model_type": "bert"}).encoder_layer_norm_eps == eps


@pytest.mark.parametrize(
    ("values", "model_type"),
    [
        ({"architectures": ["BertForMaskedLM"]}, "bert"),  # the first BERTs have no model_type
        ({"architectures": ["SqueezeBertForMaskedLM"]}, "squeezebert"),
        ({"architectures": ["BertModel"], "model_type": "squeezebert"}, "squeezebert"),
        ({"architectures": []}, "squeezebert"),
    ],
)
def test_the_model_type_where_the_key_is_missing(values, model_type):
    assert SqueezeBertConfig.from_dict(values).model_type == model_type


@pytest.mark.parametrize("model_type", ["squeezebert", "bert"])
def test_unsupported_keys_with_neutral_values(model_type):
    """transformers writes these keys with values that request nothing special."""
    plain = {"position_embedding_type": "absolute", "is_decoder": False, "add_cross_attention": False}
    plain |= {"is_encoder_decoder": False, "pruned_heads": {}, "tie_word_embeddings": None}
    config = SqueezeBertConfig.from_dict({"model_type": model_type, **plain, "quantization_config": None})
    assert config == SqueezeBertConfig.from_dict({"model_type": model_type})


def test_unknown_keys_are_ignored():
    config = SqueezeBertConfig.from_dict({**SMALL, "summary_type": "first", "initializer_range": 0.02})
    assert config.hidden_size == 12


@pytest.mark.parametrize(
    ("name", "activation"),
    [("gelu", "gelu"), ("gelu_new", "gelu_tanh"), ("gelu_pytorch_tanh", "gelu_tanh"), ("relu", "relu")],
)
def test_activations(name, activation):
    assert SqueezeBertConfig(hidden_act=name).activation == activation


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        ({"id2label": {"1": "good", "0": "bad", "2": "ugly"}}, ["bad", "good", "ugly"]),
        ({"num_labels": 3, "id2label": None, "label2id": None}, ["LABEL_0", "LABEL_1", "LABEL_2"]),
        ({"num_labels": 5, "id2label": {"0": "only"}, "label2id": {"only": "0"}}, ["only"]),
    ],
)
def test_labels(values, labels):
    config = SqueezeBertConfig.from_dict(values)
    assert list(config.id2label.items()) == list(enumerate(labels))
    assert config.label2id == {label: i for i, label in enumerate(labels)}
    assert config.num_labels == len(labels)


def test_configurations_compare_and_do_not_change():
    config = SqueezeBertConfig(**SMALL)
    assert config == SqueezeBertConfig.from_dict(SMALL)
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.hidden_size = 24


UNFIT = {  # values that do not fit, by key
    "model_type": [None, ["bert"]],
    "tie_word_embeddings": [1],
    "vocab_size": [-3, 2**31],
    "num_hidden_layers": [10**9],
    "num_labels": [10**9, 0],
    "type_vocab_size": [None],
    "max_position_embeddings": [[]],
    "k_groups": [0],
    "v_groups": [7],
    "post_attention_groups": [9],
    "output_groups": [1024],
    "hidden_act": [["gelu"]],
    "layer_norm_eps": [-1e-12, math.nan, math.inf, "1e-12", False],
    "problem_type": ["regress", []],
    "architectures": ["SqueezeBertModel", [1]],
    "id2label": [["bad", "good"], {"0": None}, {"zero": "bad"}, {"-1": "bad"}, {"0": "bad", "00": "worse"}],
}
WRONG = [
    ({"model_type": "roberta"}, "model_type: expected 'squeezebert', 'bert' or 'distilbert', got 'roberta'"),
    ({"model_type": "albert", "q_groups": 0, "is_decoder": True}, "model_type: expected 'squeezebert', 'bert'"),
    ({"model_type": "bert", "hidden_size": "768"}, "hidden_size: expected an integer"),
    ({"model_type": "bert", "hidden_act": "silu"}, "hidden_act: expected one of gelu, gelu_python, gelu_new, gelu_f"),
    (
        {"model_type": "bert", "position_embedding_type": "relative_key"},
        "position_embedding_type: expected \"absolute\", or no such key, got 'relative_key'",
    ),
    ({"position_embedding_type": "relative_key_query"}, 'position_embedding_type: expected "absolute"'),
    ({"model_type": "bert", "is_decoder": True}, "is_decoder: expected false, or no such key, got True"),
    ({"model_type": "bert", "add_cross_attention": True}, "add_cross_attention: expected false"),
    ({"is_encoder_decoder": True}, "is_encoder_decoder: expected false"),
    ({"quantization_config": {"quant_method": "gptq"}}, "quantization_config: expected null, or no such key, got {'q"),
    ({"model_type": "bert", "pruned_heads": {"0": [1]}}, "pruned_heads: expected {}, or no such key, got {'0': [1]}"),
    ({"tie_word_embeddings": "yes"}, "tie_word_embeddings: expected true or false, got 'yes'"),
    ({"vocab_size": 0}, "vocab_size: expected an integer from 1 to 2147483647, got 0"),
    ({"hidden_size": 768.0}, "hidden_size: expected an integer"),
    ({"hidden_size": "768"}, "hidden_size: expected an integer"),
    ({"num_hidden_layers": True}, "num_hidden_layers: expected an integer"),
    ({"embedding_size": 128}, "embedding_size: expected hidden_size = 768, got 128"),
    ({"num_attention_heads": 5}, "num_attention_heads: expected a divisor of hidden_size = 768, got 5"),
    ({"q_groups": 5}, "q_groups: expected a divisor of hidden_size = 768, got 5"),
    ({"intermediate_size": 3070}, "intermediate_groups: expected a divisor of hidden_size = 768 and intermediate"),
    ({"hidden_act": "swish"}, "hidden_act: expected one of gelu, gelu_python, gelu_new, gelu_fast, gelu_ac"),
    ({"id2label": {"1": "good"}}, "id2label: expected the classes 0 to 0, got [1]"),
    ({"id2label": {"0": "bad", "2": "good"}}, "id2label: expected the classes 0 to 1, got [0, 2]"),
    *[({key: value}, f"{key}: expected ") for key, values in UNFIT.items() for value in values],
]


@pytest.mark.parametrize(("values", "message"), WRONG, ids=lambda value: str(value)[:40])
def test_wrong_values(values, message):
    with pytest.raises(ValueError) as error:
        SqueezeBertConfig.from_dict(values)
    assert message in str(error.value)
    assert ": expected " in str(error.value) and ", got " in str(error.value)


def test_a_long_wrong_value_is_cut():
    with pytest.raises(ValueError) as error:
        SqueezeBertConfig(hidden_act="x" * 10_000)
    assert len(str(error.value)) < 300


def test_from_json(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**SMALL, "architectures": ["SqueezeBertModel"]}))
    config = SqueezeBertConfig.from_json(path)
    assert (config.hidden_size, config.architectures) == (12, ("SqueezeBertModel",))


BROKEN = {
    "empty": b"",
    "cut": b"{",
    "list": b"[1]",
    "null": b"null",
    "float": b'{"vocab_size": 1e3}',
    "nan": b'{"layer_norm_eps": NaN}',
    "not-utf-8": b'{"a": "\xff"}',
    "deep": b"[" * 100_000,
    "huge-integer": b'{"vocab_size": ' + b"9" * 5000 + b"}",
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
def test_broken_files(tmp_path, text):
    path = tmp_path / "config.json"
    path.write_bytes(text)
    with pytest.raises(ValueError, match=f"^{path}"):
        SqueezeBertConfig.from_json(path)


def test_a_file_too_large(tmp_path):
    path = tmp_path / "config.json"
    with open(path, "wb") as file:
        file.truncate(2**40)
    with pytest.raises(ValueError, match=f"file: expected at most {16 * 2**20} bytes, got {2**40}"):
        SqueezeBertConfig.from_json(path)


def test_too_many_labels():
    with pytest.raises(ValueError, match="id2label: expected at most 100000 classes, got 100001"):
        SqueezeBertConfig(id2label=dict.fromkeys(range(100001), "x"))


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file"):
        SqueezeBertConfig.from_json(tmp_path / "config.json")
