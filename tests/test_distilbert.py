"""DistilBERT checkpoints: a BERT without token types under other names, with ReLU before a classifier."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from model_helpers import kept
from op_helpers import assert_repeats, assert_same_bits

from squeezeops import ops
from squeezeops.pipelines import pipeline
from squeezeops.squeezebert import SqueezeBert, SqueezeBertConfig
from squeezeops.squeezebert.conversion.convert import convert
from squeezeops.squeezebert.files.safetensors import write_file
from squeezeops.squeezebert.model.weights import load_folder

GOLDEN = Path(__file__).parent / "golden"
LENGTH = 10  # of the golden inputs
RENAMED = {  # parts of BERT's names, and DistilBERT's
    "bert.encoder.layer.": "distilbert.transformer.layer.",
    "bert.embeddings.": "distilbert.embeddings.",
    ".attention.self.query.": ".attention.q_lin.",
    ".attention.self.key.": ".attention.k_lin.",
    ".attention.self.value.": ".attention.v_lin.",
    ".attention.output.dense.": ".attention.out_lin.",
    ".attention.output.LayerNorm.": ".sa_layer_norm.",
    ".intermediate.dense.": ".ffn.lin1.",
    ".output.dense.": ".ffn.lin2.",
    ".output.LayerNorm.": ".output_layer_norm.",
    "bert.pooler.dense.": "pre_classifier.",
    "cls.predictions.transform.dense.": "vocab_transform.",
    "cls.predictions.transform.LayerNorm.": "vocab_layer_norm.",
    "cls.predictions.bias": "vocab_projector.bias",
}
CONFIG = {
    "hidden_size": "dim",
    "num_hidden_layers": "n_layers",
    "num_attention_heads": "n_heads",
    "intermediate_size": "hidden_dim",
    "hidden_act": "activation",
}
TASKS = {  # a class of transformers without its prefix, and the golden BERT that it is made of
    "ForSequenceClassification": ("text-classification", "bert_classification"),
    "ForMultipleChoice": ("multiple-choice", "bert_classification"),
    "ForTokenClassification": ("token-classification", "bert_classification"),
    "ForQuestionAnswering": ("question-answering", "bert_classification"),
    "ForMaskedLM": ("masked-lm", "bert_masked_lm"),
    "Model": ("base", "bert_classification"),
}


def bert_without_types(name):
    """A golden BERT with tables of token types that are zero and LayerNorms with DistilBERT's eps."""
    config, weights = load_folder(GOLDEN / name)
    values = json.loads((GOLDEN / name / "config.json").read_text()) | {"layer_norm_eps": 1e-12}
    weights = {key: np.zeros_like(a) if "token_type" in key else a for key, a in weights.items()}
    return values, weights


def write_distilbert(folder, architecture, **config):
    """Write a golden BERT under the names of DistilBERT, with the head of a class of transformers."""
    task, name = TASKS[architecture]
    values, weights = bert_without_types(name)
    values = {CONFIG.get(key, key): value for key, value in values.items() if key != "type_vocab_size"}
    values |= {"model_type": "distilbert", "architectures": ["DistilBert" + architecture], "qa_dropout": 0.1, **config}
    arrays = {}
    for key, array in weights.items():
        for theirs, ours in RENAMED.items():
            key = key.replace(theirs, ours)
        if task == "base":
            key = key.removeprefix("distilbert.")
        if "token_type" not in key and not (task != "text-classification" and "classifier" in key):
            arrays[key] = array
    rng, c = np.random.default_rng(3), values["dim"]
    head = {"multiple-choice": 1, "token-classification": 3, "question-answering": 2}.get(task)
    if head is not None:
        name = "qa_outputs" if head == 2 else "classifier"
        arrays |= {f"{name}.weight": rng.normal(size=(head, c)), f"{name}.bias": rng.normal(size=head)}
    if task == "multiple-choice":
        arrays |= {"pre_classifier.weight": rng.normal(size=(c, c)), "pre_classifier.bias": rng.normal(size=c)}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(values))
    arrays = {key: np.ascontiguousarray(array, "<f4") for key, array in arrays.items()}
    with open(folder / "model.safetensors", "wb") as file:
        write_file(file, {key: ("F32", a.shape) for key, a in arrays.items()}, {}, iter(arrays.values()))
    return folder


def inputs_of(model, name="bert_classification"):
    with np.load(GOLDEN / name / "expected.npz") as file:
        ids, mask, types = (file[key].astype(np.int64) for key in ("input_ids", "attention_mask", "token_type_ids"))
    ids, types = ids % model.config.vocab_size, types % 2
    if model.task == "multiple-choice":
        ids, mask, types = (array.reshape(2, -1, LENGTH) for array in (ids, mask, types))
    return ids, mask, types


# ---- results ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", TASKS)
def test_the_encoder_is_that_of_a_bert_without_token_types(variant, tmp_path, architecture):
    task, name = TASKS[architecture]
    model = SqueezeBert.from_pretrained(write_distilbert(tmp_path, architecture))
    assert (model.task, model.config.model_type) == (task, "distilbert")
    ids, mask, types = inputs_of(model)
    flat = [array.reshape(-1, LENGTH) for array in (ids, mask)]
    values, weights = bert_without_types(name)
    bert = SqueezeBert(SqueezeBertConfig.from_dict(values), weights)
    options = {"output_hidden_states": True, "output_attentions": True}
    expected, output = bert(*flat, **options), model(ids, mask, types, **options)
    for field in ("hidden_states", "attentions"):
        for actual, exact in zip(getattr(output, field), getattr(expected, field), strict=True):
            assert_same_bits(actual, exact)
    if task == "masked-lm":
        assert_same_bits(output.logits, expected.logits)
    if task == "base":
        assert output.pooler_output is None
    assert_repeats(model(ids, mask).last_hidden_state if task == "base" else output.hidden_states[-1],
                   expected.last_hidden_state)  # fmt: skip


@pytest.mark.parametrize("architecture", ["ForSequenceClassification", "ForMultipleChoice"])
def test_relu_is_applied_before_the_classifier(variant, tmp_path, architecture):
    model = SqueezeBert.from_pretrained(write_distilbert(tmp_path, architecture))
    ids, mask, types = inputs_of(model)
    output = model(ids, mask, types, output_hidden_states=True)
    _, w = load_folder(tmp_path)
    first = output.last_hidden_state[:, 0].astype(float)
    middle = np.maximum(first @ w["pre_classifier.weight"].T + w["pre_classifier.bias"], 0)
    logits = middle @ w["classifier.weight"].T + w["classifier.bias"]
    assert (middle == 0).any() and (middle > 1).any()
    np.testing.assert_allclose(output.pooler_output, middle, atol=1e-5)
    np.testing.assert_allclose(output.logits, logits.reshape(output.logits.shape), atol=2e-5)
    assert_repeats(model(ids, mask).logits, output.logits)


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
@pytest.mark.parametrize("architecture", TASKS)
def test_a_converted_model_has_the_bits_of_the_folder(tmp_path, architecture, dtype):
    folder, file = write_distilbert(tmp_path / "folder", architecture), tmp_path / "model.safetensors"
    convert(folder, file, dtype=dtype)
    one, other = SqueezeBert.from_pretrained(folder, dtype=dtype), SqueezeBert.from_pretrained(file)
    assert other.task == one.task and other.config == one.config
    ids, mask, types = inputs_of(one)
    expected, found = (model(ids, mask, types, output_hidden_states=True) for model in (one, other))
    assert_same_bits(found.last_hidden_state, expected.last_hidden_state)
    for field in ("logits", "start_logits", "end_logits", "pooler_output"):
        values = [getattr(output, field) for output in (found, expected)]
        assert (values[0] is None) == (values[1] is None)
        if values[0] is not None:
            assert_same_bits(*values)
    base = SqueezeBert.from_pretrained(file, task="base")
    assert base(ids.reshape(-1, LENGTH)).pooler_output is None


def test_both_names_of_tied_embeddings(tmp_path):
    """Without a decoder, or without the embeddings, the other stands in; with both, each is used as stored."""
    config, weights = load_folder(write_distilbert(tmp_path, "ForMaskedLM"))
    words, decoder = "distilbert.embeddings.word_embeddings.weight", "vocab_projector.weight"
    assert decoder not in weights
    expected = SqueezeBert(config, weights)([[1, 2, 3]]).logits
    moved = {decoder if name == words else name: array for name, array in weights.items()}
    assert_same_bits(SqueezeBert(config, moved)([[1, 2, 3]]).logits, expected)
    doubled = SqueezeBert(config, {**weights, decoder: 2 * weights[words]})([[1, 2, 3]]).logits
    bias = weights["vocab_projector.bias"]
    np.testing.assert_allclose(doubled, 2 * (expected - bias) + bias, atol=1e-4)


def test_a_head_for_another_task_is_no_error(tmp_path):
    folder = write_distilbert(tmp_path, "ForSequenceClassification")
    ids = [[1, 2, 3]]
    assert SqueezeBert.from_pretrained(folder, task="base")(ids).pooler_output is None
    with pytest.raises(ValueError, match="expected one that the checkpoint has a head for, got 'masked-lm'"):
        SqueezeBert.from_pretrained(folder, task="masked-lm")
    config, weights = load_folder(write_distilbert(tmp_path / "lm", "ForMaskedLM"))
    assert SqueezeBert(config, weights, task="base")(ids).logits is None


def test_without_architectures_the_tensors_tell_the_task(tmp_path):
    for architecture, (task, _) in TASKS.items():
        folder = write_distilbert(tmp_path / task, architecture, architectures=None)
        expected = "text-classification" if task == "multiple-choice" else task
        if task == "multiple-choice":  # its classifier has one output
            values = json.loads((folder / "config.json").read_text())
            (folder / "config.json").write_text(json.dumps({**values, "id2label": {"0": "a"}, "label2id": None}))
        assert SqueezeBert.from_pretrained(folder).task == expected


def test_a_missing_tensor_is_named_as_in_the_file(tmp_path):
    config, weights = load_folder(write_distilbert(tmp_path, "ForMaskedLM"))
    for name in ("distilbert.transformer.layer.0.ffn.lin1.weight", "vocab_layer_norm.bias", "vocab_projector.bias"):
        with pytest.raises(ValueError, match=f"missing: {name} "):
            SqueezeBert(config, {key: a for key, a in weights.items() if key != name})


# ---- the configuration -----------------------------------------------------------------------------------------------


def test_keys_of_the_configuration():
    published = {
        "activation": "gelu",
        "architectures": ["DistilBertForSequenceClassification"],
        "attention_dropout": 0.1,
        "dim": 768,
        "dropout": 0.1,
        "hidden_dim": 3072,
        "id2label": {"0": "NEGATIVE", "1": "POSITIVE"},
        "initializer_range": 0.02,
        "max_position_embeddings": 512,
        "model_type": "distilbert",
        "n_heads": 12,
        "n_layers": 6,
        "output_past": True,
        "pad_token_id": 0,
        "qa_dropout": 0.1,
        "seq_classif_dropout": 0.2,
        "sinusoidal_pos_embds": False,
        "tie_weights_": True,
        "vocab_size": 30522,
    }
    config = SqueezeBertConfig.from_dict(published)
    assert (config.hidden_size, config.embedding_size, config.num_hidden_layers, config.num_attention_heads) == (
        768, 768, 6, 12,
    )  # fmt: skip
    assert (config.intermediate_size, config.hidden_act, config.q_groups, config.model_type) == (
        3072, "gelu", 1, "distilbert",
    )  # fmt: skip
    assert SqueezeBertConfig.from_dict({"architectures": ["DistilBertModel"]}) == SqueezeBertConfig.from_dict(
        {"model_type": "distilbert", "architectures": ["DistilBertModel"]}
    )
    defaults = {key: value for key, value in published.items() if key in ("model_type", "architectures", "id2label")}
    assert SqueezeBertConfig.from_dict(defaults) == config
    # transformers accepts the names of BERT, too, and does not read this eps.
    others = {**defaults, "hidden_size": 36, "num_hidden_layers": 2, "num_attention_heads": 3, "layer_norm_eps": 0.1}
    config = SqueezeBertConfig.from_dict(others)
    assert (config.hidden_size, config.num_hidden_layers, config.num_attention_heads) == (36, 2, 3)
    assert config.layer_norm_eps == config.encoder_layer_norm_eps == 1e-12


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"activation": "silu"}, "activation: expected one of gelu, .*, got 'silu'"),
        ({"dim": 100}, "n_heads: expected a divisor of dim = 100, got 12"),
        ({"dim": "768"}, "dim: expected an integer"),
        ({"n_layers": 0}, "n_layers: expected an integer from 1"),
        ({"hidden_dim": -1}, "hidden_dim: expected an integer from 1"),
        ({"pruned_heads": {"0": [1]}}, "pruned_heads: expected {}"),
        ({"type_vocab_size": "x", "sinusoidal_pos_embds": True}, None),  # no such table; the other one is stored
    ],
)
def test_settings_that_change_the_answer_are_refused(values, message):
    values = {"model_type": "distilbert", "n_heads": 12, **values}
    if message is None:
        assert SqueezeBertConfig.from_dict(values).type_vocab_size == 2
        return
    with pytest.raises(ValueError, match=f"^{message}"):
        SqueezeBertConfig.from_dict(values)


OTHERS = {
    "roberta": "RobertaForSequenceClassification",
    "xlm-roberta": "XLMRobertaModel",
    "mpnet": "MPNetModel",
    "albert": "AlbertForMaskedLM",
    "electra": "ElectraForPreTraining",
    "deberta-v2": "DebertaV2ForSequenceClassification",
    "camembert": "CamembertModel",
    "bart": "BartForSequenceClassification",
    "modernbert": "ModernBertModel",
}


@pytest.mark.parametrize(("kind", "architecture"), OTHERS.items())
def test_other_architectures_are_named(tmp_path, kind, architecture):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind, "architectures": [architecture]}))
    with pytest.raises(ValueError) as error:
        SqueezeBert.from_pretrained(tmp_path)
    got = f"got '{kind}' ('{architecture}'), which is not supported; see docs/models.md"
    expected = f"model_type: expected 'squeezebert', 'bert' or 'distilbert', {got}"
    assert str(error.value) == f"{tmp_path}/config.json: {expected}"


# ---- against transformers --------------------------------------------------------------------------------------------

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "good", "bad", "movie", "the", "new", "york", "."]


def make(transformers, architecture, **config):
    import torch

    torch.manual_seed(len(architecture))
    sizes = {"vocab_size": len(WORDS), "dim": 32, "n_heads": 4, "hidden_dim": 56, "n_layers": 2}
    kind = getattr(transformers, "DistilBert" + architecture)
    config = transformers.DistilBertConfig(**sizes, max_position_embeddings=40, **config)
    model = kind._from_config(config, attn_implementation="eager").eval()
    for name, parameter in model.named_parameters():
        torch.nn.init.normal_(parameter, std=0.1 if "embeddings" in name else 0.4)
    model.config.architectures = [kind.__name__]
    return model


@pytest.mark.oracle
@pytest.mark.parametrize(
    "config",
    [{}, {"activation": "relu"}, {"activation": "gelu_new", "sinusoidal_pos_embds": True}],
    ids=["gelu", "relu", "gelu_new"],
)
@pytest.mark.parametrize("architecture", TASKS)
def test_transformers_gives_the_same(variant, transformers, tmp_path, architecture, config):
    import torch

    labels = {} if architecture in ("ForQuestionAnswering", "ForMultipleChoice") else {"num_labels": 5}
    theirs = make(transformers, architecture, **config, **labels)
    theirs.save_pretrained(tmp_path)
    model = SqueezeBert.from_pretrained(tmp_path)
    assert model.task == TASKS[architecture][0]
    ids, mask, types = inputs_of(model)
    with torch.no_grad():
        expected = theirs.double()(
            torch.tensor(ids), torch.tensor(mask), output_hidden_states=True, output_attentions=True
        )
    output = model(ids, mask, types, output_hidden_states=True, output_attentions=True)
    mask = mask.reshape(-1, LENGTH).astype(bool)
    keep = kept(mask)
    queries = np.broadcast_to(keep[:, None, :, None], output.attentions[0].shape)
    pairs = list(zip(output.hidden_states, expected.hidden_states, strict=True))
    pairs += [(output.last_hidden_state, expected.hidden_states[-1])]
    names = [name for name in ("logits", "start_logits", "end_logits") if name in expected]
    assert [name for name in ("logits", "start_logits", "end_logits") if getattr(output, name) is not None] == names
    pairs += [(getattr(output, name), expected[name]) for name in names]
    for actual, exact in pairs:
        exact = exact.numpy()
        assert actual.shape == exact.shape and 0.3 < np.abs(exact).max() < 20
        if actual.shape[:2] == keep.shape:
            actual, exact = actual[keep], exact[keep]
        assert np.abs(actual - exact).max() < 1e-5
    for actual, exact in zip(output.attentions, expected.attentions, strict=True):
        assert np.abs(actual - exact.numpy())[queries].max() < 1e-5


@pytest.mark.oracle
@pytest.mark.parametrize("form", ["safetensors", "pytorch_model.bin", "float16", "converted"])
def test_pipelines_and_files(transformers, tmp_path, form):
    """The pipelines that transformers runs on a DistilBERT by default, and the forms of its weights."""
    import torch

    labels = {"id2label": {0: "NEGATIVE", 1: "POSITIVE"}, "label2id": {"NEGATIVE": 0, "POSITIVE": 1}}
    tolerance = 2e-3 if form == "float16" else 1e-5
    for task, architecture, texts in (
        ("sentiment-analysis", "ForSequenceClassification", ["a good movie", "the new york movie.", "bad bad bad"]),
        ("fill-mask", "ForMaskedLM", ["a [MASK] movie", "new [MASK]."]),
        ("ner", "ForTokenClassification", ["a good movie", "the new york movie."]),
    ):
        folder = tmp_path / architecture
        theirs = make(transformers, architecture, **labels)
        (folder).mkdir()
        (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")
        tokenizer = transformers.DistilBertTokenizerFast(str(folder / "vocab.txt"))
        tokenizer.save_pretrained(folder)
        theirs.config.save_pretrained(folder)
        if form == "pytorch_model.bin":
            torch.save(theirs.state_dict(), folder / form)
        else:
            theirs.to(torch.float16 if form == "float16" else torch.float32).save_pretrained(folder)
        theirs = theirs.float()
        expected = transformers.pipeline(task, model=theirs, tokenizer=tokenizer, device="cpu")(texts)
        if form == "converted":
            convert(folder, tmp_path / f"{architecture}.safetensors", dtype="float32")
            shutil.rmtree(folder)
            folder = tmp_path / f"{architecture}.safetensors"
        found = pipeline(task, folder, **({"aggregation_strategy": "none"} if task == "ner" else {}))(texts)
        assert len(found) == len(expected)
        flat = [
            [entry for part in result for entry in (part if isinstance(part, list) else [part])]
            for result in (found, expected)
        ]
        for ours, other in zip(*flat, strict=True):
            assert ours["score"] == pytest.approx(float(other["score"]), abs=tolerance)
            name = next(key for key in ("label", "token_str", "entity") if key in other)
            assert ours[name] == other[name]


def test_available_backends_agree(tmp_path):
    model = SqueezeBert.from_pretrained(write_distilbert(tmp_path, "ForSequenceClassification"))
    ids, mask, _ = inputs_of(model)
    expected = model(ids, mask).logits
    for backend in ops.available_backends():
        with ops.backend(backend):
            np.testing.assert_allclose(model(ids, mask).logits, expected, atol=1e-5)
