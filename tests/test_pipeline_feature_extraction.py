"""pipeline("feature-extraction"): one vector per text, on tiny models and on a published one."""

import json
from pathlib import Path

import numpy as np
import pytest
from pipeline_helpers import MODELS, assert_same, write_lively_model, write_task_model

from squeezeops.pipelines import FeatureExtractionPipeline, TextError, pipeline
from squeezeops.squeezebert.model.squeezebert import SqueezeBert
from squeezeops.squeezebert.tokenizer.tokenizer import Tokenizer

TEXTS = MODELS["feature-extraction"][1]
HEADS = dict.fromkeys(("base", "masked-lm", "question-answering"))
HEADS |= {"text-classification": ["A", "B"], "token-classification": ["A", "B", "C"]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_task_model(tmp_path_factory.mktemp("tiny"), "feature-extraction")


@pytest.fixture(scope="module")
def pipe(folder):
    return pipeline("feature-extraction", folder)


def states_of(pipe, text, **options):
    """The last hidden states of a single text, (L, C), in float64."""
    ids = pipe.tokenizer(text, **options)["input_ids"]
    return pipe.model([ids]).last_hidden_state[0].astype(np.float64)


# ---- what a call returns ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("inputs", "rows"), [("bad", 1), (["bad"], 1), (TEXTS, 5), (tuple(TEXTS), 5), ([], 0), ((), 0)], ids=str
)
@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_result_is_one_array(pipe, inputs, rows, pooling):
    found = pipe(inputs, pooling=pooling)
    assert type(found) is np.ndarray and found.dtype == np.float32 and found.shape == (rows, 16)
    assert found.flags.c_contiguous and found.flags.writeable


def test_stream_yields_vectors(pipe):
    found = list(pipe.stream(TEXTS))
    assert all(vector.dtype == np.float32 and vector.shape == (16,) for vector in found)
    assert all(vector.base is None for vector in found)  # no vector keeps its batch alive
    assert_same(np.array(found), pipe(TEXTS))


@pytest.mark.parametrize(
    ("pooling", "pool"), [("mean", lambda states: states.mean(axis=0)), ("cls", lambda states: states[0])]
)
def test_pooling(pipe, pooling, pool):
    expected = np.array([pool(states_of(pipe, text)) for text in TEXTS])
    np.testing.assert_allclose(pipe(TEXTS, pooling=pooling, normalize=False), expected, rtol=0, atol=1e-6)
    expected /= np.linalg.norm(expected, axis=-1, keepdims=True)
    np.testing.assert_allclose(pipe(TEXTS, pooling=pooling), expected, rtol=0, atol=1e-6)
    if pooling == "mean":  # the default
        assert_same(pipe(TEXTS), pipe(TEXTS, pooling="mean"))
        assert np.ptp(expected, axis=0).max() > 0.2  # the texts differ enough


@pytest.mark.parametrize("task", HEADS)
def test_heads_are_ignored(tmp_path, task):
    folder = write_lively_model(tmp_path, HEADS[task], task=task)
    expected = pipeline("feature-extraction", folder)
    assert isinstance(expected, FeatureExtractionPipeline) and expected.model.task == "base"
    model = SqueezeBert.from_pretrained(folder, task=task)
    found = pipeline("feature-extraction", model, tokenizer=folder)
    assert found.model is model
    assert_same(found(TEXTS[:3]), expected(TEXTS[:3]))
    model.head = None  # not computed
    assert_same(found(TEXTS[:3]), expected(TEXTS[:3]))


# ---- bad arguments ---------------------------------------------------------------------------------------------------

BAD_OPTIONS = [
    (
        {"pooling": "min"},
        ValueError,
        r"pooling: expected one or several of \('cls', 'max', 'mean'\), each once, got 'min'",
    ),
    ({"pooling": None}, ValueError, "pooling"),
    ({"normalize": 1}, TypeError, "normalize: expected a bool, got int"),
    ({"normalize": None}, TypeError, "normalize: expected a bool, got NoneType"),
    ({"return_tensors": True}, TypeError, "return_tensors: expected one of the options .*pooling, normalize"),
]


@pytest.mark.parametrize(("options", "kind", "message"), BAD_OPTIONS)
def test_bad_option(pipe, folder, options, kind, message):
    for inputs in ("good", ["good"], [], iter(["good"])):
        with pytest.raises(kind, match=message):
            pipe(inputs, **options)
    with pytest.raises(kind, match=message):
        pipeline("feature-extraction", folder, **options)


def test_tokenizer_without_special_tokens(pipe):
    bare = Tokenizer(pipe.tokenizer._vocab)
    bare._templates = [[("A", 0)], [("A", 0), ("B", 1)]]
    other = pipeline("feature-extraction", pipe.model, tokenizer=bare, normalize=False)
    expected = states_of(other, "a good movie").mean(axis=0)
    np.testing.assert_allclose(other("a good movie")[0], expected, rtol=0, atol=1e-6)
    with pytest.raises(TextError, match="text 1: expected at least one token"):
        other(["good", "\ufeff"])


def test_any_text_gets_a_vector(pipe):
    for text in ("\x00", "🙂", "مرحبا", "x" * 500, "[SEP]", "\ud800"):
        assert np.linalg.norm(pipe(text)) == pytest.approx(1, abs=1e-6)


# ---- a published model -----------------------------------------------------------------------------------------------

SENTENCES = json.loads((Path(__file__).parent / "golden" / "texts.json").read_text(encoding="utf-8"))["sentences"]


@pytest.mark.oracle
@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_published_model_as_in_transformers(transformers, minilm, pooling):
    import torch

    tokenizer = transformers.AutoTokenizer.from_pretrained(minilm)
    model = transformers.BertModel.from_pretrained(minilm, attn_implementation="eager").eval()
    batch = tokenizer(SENTENCES, padding=True, truncation=True, return_tensors="pt")
    with torch.no_grad():
        states = model(**batch).last_hidden_state
        mask = batch["attention_mask"][..., None].float()
        pooled = (states * mask).sum(dim=1) / mask.sum(dim=1) if pooling == "mean" else states[:, 0]
        expected = torch.nn.functional.normalize(pooled, dim=-1).numpy()

    pipe = pipeline("feature-extraction", minilm, pooling=pooling)
    found = pipe(SENTENCES)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    assert_same(np.concatenate([pipe(sentence) for sentence in SENTENCES]), found)
    assert_same(pipe(SENTENCES, batch_size=3), found)


@pytest.mark.oracle
def test_published_model_ranks_by_meaning(minilm):
    vectors = pipeline("feature-extraction", minilm)(SENTENCES)
    likeness = vectors @ vectors.T
    np.fill_diagonal(likeness, -1)
    assert likeness[7].argmax() == 8 and likeness[0].argmax() == 4
