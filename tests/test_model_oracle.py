"""Every task, model type and file format against transformers in float64.

The weights are random and large enough that mistakes show; a test checks that. At the end the largest error per model
type is printed.
"""

from __future__ import annotations

import json
import math
from dataclasses import replace
from functools import cache
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from model_helpers import kept

from squeezeops import ops
from squeezeops.squeezebert import SqueezeBert, SqueezeBertConfig

pytestmark = pytest.mark.oracle
torch: Any = None  # imported by a fixture, because it takes seconds even if these tests are deselected
transformers: Any = None

TOLERANCE = 1e-5  # absolute, on values of a few units
LENGTH = 22
MASKS = [  # an even number of rows, because multiple choice uses them as pairs
    "1" * 22,
    "1" * 13 + "0" * 9,
    "0" * 7 + "1" * 15,
    "1101101110111101011011",
    "1011010001000000000000",
    "0" * 22,
    "0001110011100000000000",
    "1" + "0" * 21,
]
TASKS = {  # the class in transformers, without the model type at the beginning of its name
    "base": "Model",
    "masked-lm": "ForMaskedLM",
    "text-classification": "ForSequenceClassification",
    "multiple-choice": "ForMultipleChoice",
    "token-classification": "ForTokenClassification",
    "question-answering": "ForQuestionAnswering",
}
KINDS = {"squeezebert": "SqueezeBert", "bert": "Bert"}
INPUTS = ("input_ids", "attention_mask", "token_type_ids")
LOGITS = ("logits", "start_logits", "end_logits")


def sizes(channels, heads, inner, layers=2, **others):
    return {
        "vocab_size": 203,
        "hidden_size": channels,
        "num_attention_heads": heads,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "max_position_embeddings": LENGTH + 3,
        **others,
    }


def groups(*numbers):
    names = ("q", "k", "v", "post_attention", "intermediate", "output")
    return {f"{name}_groups": number for name, number in zip(names, numbers, strict=True)}


MODELS = {
    "squeezebert": sizes(64, 4, 256, 3),
    "squeezebert odd groups": sizes(48, 6, 96, **groups(2, 2, 2, 2, 4, 1), hidden_act="gelu_new", layer_norm_eps=0.05),
    "squeezebert groups of 3 and 6": sizes(48, 3, 96, **groups(3, 6, 3, 6, 3, 6), type_vocab_size=3),
    "squeezebert 96 channels": sizes(96, 4, 192, **groups(6, 3, 6, 1, 3, 6), hidden_act="relu", layer_norm_eps=0.02),
    "bert": sizes(64, 4, 256, 3),
    "bert odd sizes": sizes(40, 5, 100, type_vocab_size=3, layer_norm_eps=0.05, hidden_act="gelu_new"),
    "bert one head": sizes(23, 1, 31, hidden_act="relu", layer_norm_eps=1e-5),
}
worst: dict[tuple[str, str], float] = {}  # the largest error by model type and quantity


@pytest.fixture(scope="module", autouse=True)
def libraries():
    global torch, transformers
    torch = pytest.importorskip("torch", reason="the oracle is transformers, which needs torch")
    transformers = pytest.importorskip("transformers", reason="the oracle is transformers")
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # with such small models more threads are slower
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module", autouse=True)
def report(request):
    """Print the largest errors after the last test."""
    yield
    if worst:
        with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
            print("\nworst absolute errors against transformers in float64:")
            for (kind, what), error in sorted(worst.items()):
                print(f"  {kind:<11} {what:<13} {error:.1e}")


# ---- models and reference results ----------------------------------------------------------------------------------


def draw(model, seed):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.lower().endswith("norm.weight"):
                parameter.uniform_(0.6, 1.4, generator=generator)
                continue
            std = 1 / math.sqrt(parameter.shape[1]) if parameter.ndim > 1 else 0.3
            if "embeddings." in name:
                std = 0.11
            elif name.endswith(("query.weight", "key.weight")):
                std *= 2  # makes attention far from uniform
            elif name == "classifier.weight" and not type(model).__name__.endswith("ForTokenClassification"):
                std *= 3  # because tanh makes the pooled values small
            parameter.normal_(0, std, generator=generator)


def make_model(name, architecture, seed=0, **changes):
    kind = name.split()[0]
    values = MODELS[name] | changes
    if kind == "squeezebert":
        values["embedding_size"] = values["hidden_size"]
    if architecture != "ForQuestionAnswering":
        values["num_labels"] = 5
    class_ = getattr(transformers, KINDS[kind] + architecture)
    model = class_._from_config(class_.config_class(**values), attn_implementation="eager").eval()
    model.config.architectures = [class_.__name__]  # as save_pretrained sets it
    draw(model, seed)
    return model


def ours(model, state):
    """Our model with the configuration and the float32 weights of theirs."""
    weights = {name: value.numpy() for name, value in state.items()}
    return SqueezeBert(SqueezeBertConfig.from_dict(model.config.to_dict()), weights)


def make_inputs(model, seed=1):
    generator = torch.Generator().manual_seed(seed)
    shape = (len(MASKS), LENGTH)
    inputs = {
        "input_ids": torch.randint(model.config.vocab_size, shape, generator=generator),
        "attention_mask": torch.tensor([[int(digit) for digit in mask] for mask in MASKS]),
        "token_type_ids": torch.randint(model.config.type_vocab_size, shape, generator=generator),
    }
    if type(model).__name__.endswith("ForMultipleChoice"):
        inputs = {name: value.reshape(-1, 2, LENGTH) for name, value in inputs.items()}
    return inputs


def run(model, inputs):
    """The outputs of their model, under our names."""
    output = model(**inputs, output_hidden_states=True, output_attentions=True)
    found = {key: output[key] for key in ("logits", "start_logits", "end_logits", "pooler_output") if key in output}
    if "prediction_logits" in output:
        found["logits"] = output.prediction_logits
    return found | {
        "last_hidden_state": output.hidden_states[-1],
        "hidden_states": output.hidden_states,
        "attentions": output.attentions,
    }


@cache
def case(name, task):
    """Their model, its weights in float32, the inputs, and its results in float64."""
    model = make_model(name, TASKS[task])
    state = {key: value.clone() for key, value in model.state_dict().items()}
    inputs = make_inputs(model)
    with torch.no_grad():
        expected = run(model.double(), inputs)
    arrays = {key: np.stack([part.numpy() for part in value]) if isinstance(value, tuple) else value.numpy()
              for key, value in expected.items()}  # fmt: skip
    return model, state, [inputs[key].numpy() for key in INPUTS], arrays


def check(name, what, actual, expected, tolerance=TOLERANCE):
    assert actual.dtype == np.float32 and actual.shape == expected.shape
    error = np.abs(actual - expected).max()
    key = name.split()[0], what
    worst[key] = max(worst.get(key, 0), error)
    assert error <= tolerance


def check_output(name, output, inputs, expected):
    """Compare all outputs. Values of tokens that are not computed must be zero."""
    keep = kept(inputs[1])
    for key in (*LOGITS, "last_hidden_state", "pooler_output"):
        actual, what = getattr(output, key), "logits" if key in LOGITS else "states"
        if actual is None and (key, output.pooler_output is None) == ("last_hidden_state", False):
            pass  # the last layer computes only the first token of each row
        elif actual is None:
            assert key not in expected, key
        elif key == "pooler_output" and key not in expected:
            pass  # transformers does not return the pooler output of a classifier
        elif key != "pooler_output" and actual.shape[:2] == keep.shape:
            check(name, what, actual[keep], expected[key][keep])
            assert (actual[~keep] == 0).all()
        else:
            check(name, what, actual, expected[key])


# ---- the tests -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", MODELS)
def test_every_task(variant, name, task):
    theirs, state, inputs, expected = case(name, task)
    model = ours(theirs, state)
    assert model.task == task
    check_output(name, model(*inputs), inputs, expected)
    output = model(*inputs, output_hidden_states=True)
    assert output.last_hidden_state is not None
    check_output(name, output, inputs, expected)


@pytest.mark.parametrize("name", MODELS)
def test_states_and_attentions(variant, name):
    theirs, state, inputs, expected = case(name, "base")
    output = ours(theirs, state)(*inputs, output_hidden_states=True, output_attentions=True)
    mask = inputs[1].astype(bool)
    keep = kept(mask)
    assert len(output.hidden_states) == len(expected["hidden_states"])
    for actual, state_ in zip(output.hidden_states, expected["hidden_states"], strict=True):
        check(name, "states", actual[keep], state_[keep])
    attended = np.broadcast_to(mask[:, None, None, :], output.attentions[0].shape)
    queries = np.broadcast_to(keep[:, None, :, None], attended.shape)
    assert len(output.attentions) == len(expected["attentions"])
    for actual, scores in zip(output.attentions, expected["attentions"], strict=True):
        if name.startswith("bert"):
            check(name, "probabilities", actual[queries], scores[queries])
            assert (actual[~queries] == 0).all()
            sums = np.where(keep, 1.0, 0.0)[:, None, :]
            np.testing.assert_allclose(actual.sum(axis=-1), np.broadcast_to(sums, actual.shape[:3]), atol=1e-5)
        else:
            computed = attended & queries
            tolerance = TOLERANCE * np.abs(scores[computed]).max()  # relative: raw scores are large
            check(name, "scores", actual[computed], scores[computed], tolerance)
            assert (actual[~attended] == np.finfo(np.float32).min).all()
            assert (actual[attended & ~queries] == 0).all()


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", MODELS)
def test_mistakes_show(name, task):
    """Values are a few units large. Every tensor, input and setting changes them by far more than the tolerance."""
    theirs, state, inputs, expected = case(name, task)
    keys = [key for key in LOGITS if key in expected] or ["last_hidden_state", "pooler_output"]
    assert 1 < np.abs(expected[keys[0]]).max() < 20
    probabilities = torch.tensor(expected["attentions"][:, 0])  # the row without padding
    probabilities = probabilities if name.startswith("bert") else probabilities.softmax(-1)
    entropy = -(probabilities * probabilities.clamp_min(1e-30).log()).sum(-1).mean()
    assert entropy < 0.75 * math.log(LENGTH)

    output = run(theirs, make_inputs(theirs))
    theirs.zero_grad()
    sum(output[key].square().sum() for key in keys).backward()
    for label, parameter in theirs.named_parameters():
        if parameter.grad is None:
            assert "pooler" in label and task in ("masked-lm", "token-classification", "question-answering")
        elif not label.endswith("key.bias"):  # it adds a constant to all scores of a query
            assert parameter.grad.abs().max() > 1e-2, label

    config = SqueezeBertConfig.from_dict(theirs.config.to_dict())
    weights = {label: value.numpy() for label, value in state.items()}
    eps = {1e-12: 0.05}.get(config.layer_norm_eps, 1e-12)
    act = "gelu_new" if config.hidden_act == "gelu" else "gelu"
    changes = [{"hidden_act": act}, {"num_attention_heads": 1 if config.num_attention_heads > 1 else 23}]
    changes += [{"layer_norm_eps": eps}] if config.layer_norm_eps != 1e-5 else []
    with ops.backend("numpy"):
        for change in changes:
            output = SqueezeBert(replace(config, **change), weights)(*inputs)
            assert max(np.abs(getattr(output, key) - expected[key]).max() for key in keys) > 10 * TOLERANCE, change
        for i, key in enumerate(INPUTS):
            other = [np.roll(part, 1, axis=-1) if i == j else part for j, part in enumerate(inputs)]
            output = SqueezeBert(config, weights)(*other)
            assert max(np.abs(getattr(output, k) - expected[k]).max() for k in keys) > 0.1, key


@pytest.mark.parametrize(
    ("architecture", "task"),
    [("ForPreTraining", "masked-lm"), ("ForNextSentencePrediction", "base"), ("LMHeadModel", "masked-lm")],
)
def test_other_classes_of_bert(architecture, task):
    theirs = make_model("bert odd sizes", architecture)
    model = ours(theirs, {key: value.clone() for key, value in theirs.state_dict().items()})
    assert model.task == task
    inputs = make_inputs(theirs)
    with torch.no_grad():
        expected = {key: value.numpy() for key, value in run(theirs.double(), inputs).items() if torch.is_tensor(value)}
    if task == "base":
        del expected["logits"]  # they come from another head
    check_output("bert odd sizes", model(*inputs.values()), list(map(np.asarray, inputs.values())), expected)


# ---- files ---------------------------------------------------------------------------------------------------------


def safetensors(model, folder, **options):
    model.save_pretrained(folder, **options)
    assert len(list(folder.glob("model-*.safetensors"))) > 2 or not options


def torch_file(model, folder, **options):
    model.config.save_pretrained(folder)
    torch.save(model.state_dict(), folder / "pytorch_model.bin", **options)


def torch_shards(model, folder):
    model.config.save_pretrained(folder)
    state = model.state_dict()
    files = {name: f"pytorch_model-{i % 3 + 1:05}-of-00003.bin" for i, name in enumerate(state)}
    for file in set(files.values()):
        torch.save({name: value for name, value in state.items() if files[name] == file}, folder / file)
    index = {"metadata": {"total_size": 1}, "weight_map": files}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))


FORMATS = [  # the function that writes, its options, and the dtype
    *((safetensors, {}, dtype) for dtype in ("float32", "float16", "bfloat16")),
    (safetensors, {"max_shard_size": "15KB"}, "float32"),
    *((torch_file, {}, dtype) for dtype in ("float32", "float16", "bfloat16")),
    (torch_file, {"_use_new_zipfile_serialization": False}, "float32"),
    (torch_shards, {}, "float32"),
]


@pytest.mark.parametrize(
    ("write", "options", "dtype"), FORMATS, ids=lambda value: getattr(value, "__name__", str(value))
)
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", ["squeezebert odd groups", "bert odd sizes"])
def test_every_file_format(tmp_path, name, task, write, options, dtype):
    model = make_model(name, TASKS[task], seed=2).to(getattr(torch, dtype))
    write(model, tmp_path, **options)
    inputs = make_inputs(model)
    with torch.no_grad():
        expected = run(model.double(), inputs)
    expected = {key: value.numpy() for key, value in expected.items() if torch.is_tensor(value)}
    arrays = [value.numpy() for value in inputs.values()]
    loaded = SqueezeBert.from_pretrained(tmp_path)
    assert loaded.task == task
    check_output(name, loaded(*arrays), arrays, expected)


@pytest.mark.parametrize("tie", [True, False])
@pytest.mark.parametrize("name", ["squeezebert odd groups", "bert odd sizes"])
def test_untied_decoders(tmp_path, name, tie):
    """If a file has both tensors or only one of them, the same one is used as in transformers."""
    source = make_model(name, "ForMaskedLM", tie_word_embeddings=tie)
    state = {label: value.clone() for label, value in source.state_dict().items()}
    words = next(label for label in state if label.endswith("word_embeddings.weight"))
    decoder, bias, other_bias = (f"cls.predictions.{part}" for part in ("decoder.weight", "bias", "decoder.bias"))
    assert state.keys() >= {words, decoder, bias, other_bias}
    state[decoder] = state[words].roll(1, 0)
    state[other_bias] = state[bias].roll(1, 0)
    left_out = [(), (bias,)]
    if tie:
        left_out += [(decoder,), (other_bias,), (words,), (decoder, other_bias), (words, other_bias)]
    results = []
    for without in left_out:
        torch_file(source, tmp_path)
        torch.save({k: v for k, v in state.items() if k not in without}, tmp_path / "pytorch_model.bin")
        theirs = type(source).from_pretrained(tmp_path, attn_implementation="eager").eval().double()
        inputs = make_inputs(theirs)
        with torch.no_grad():
            expected = run(theirs, inputs)
        arrays = [value.numpy() for value in inputs.values()]
        output = SqueezeBert.from_pretrained(tmp_path)(*arrays)
        keep = kept(arrays[1])
        check(name, "logits", output.logits[keep], expected["logits"].numpy()[keep])
        results.append(expected["logits"])
    assert (results[0] == results[1]).all()
    for one, other in combinations(results[1:], 2):
        assert (one - other).abs().max() > 0.1
