"""Zero-shot classification, and text classification of pairs: arguments and results, on tiny models."""

import doctest
import importlib
import inspect
import math
from functools import partial

import numpy as np
import pytest
from pipeline_helpers import assert_same, write_lively_model

from squeezeops import ops
from squeezeops.pipelines import TextError, ZeroShotClassificationPipeline, pipeline

NLI = ["contradiction", "neutral", "entailment"]
LABELS = ["good", "bad", "new york"]
TEXTS = ["a good movie", "new york!", "the awful, awful movies.", "bad"]
TEMPLATE = "the movie is {}."


def softmax(values):
    total = math.fsum(math.exp(value) for value in values)
    return [math.exp(value) / total for value in values]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_lively_model(tmp_path_factory.mktemp("nli"), NLI, seed=11, positions=40)


@pytest.fixture(scope="module")
def pipe(folder):
    return pipeline("zero-shot-classification", folder, hypothesis_template=TEMPLATE)


@pytest.fixture(scope="module")
def judge(folder):
    """Text classification with the same model."""
    return pipeline("text-classification", folder, top_k=None, function_to_apply="none")


def logits_of(judge, text, label, template=TEMPLATE):
    found = judge({"text": text, "text_pair": template.format(label)})
    by_label = {entry["label"]: entry["score"] for entry in found}
    return [by_label[name] for name in judge.model.config.id2label.values()]


def by_label(result):
    return dict(zip(result["labels"], result["scores"], strict=True))


# ---- scores ----------------------------------------------------------------------------------------------------------


def test_scores_are_the_softmax_of_entailment_over_the_labels(pipe, judge):
    for text in TEXTS:
        result = pipe(text, LABELS)
        assert list(result) == ["sequence", "labels", "scores"] and result["sequence"] == text
        expected = softmax([logits_of(judge, text, label)[2] for label in LABELS])
        assert [by_label(result)[label] for label in LABELS] == pytest.approx(expected, abs=1e-6)
        assert result["scores"] == sorted(result["scores"], reverse=True)
        assert math.fsum(result["scores"]) == pytest.approx(1, abs=1e-6)
    assert len({tuple(pipe(text, LABELS)["labels"]) for text in TEXTS}) > 1  # the texts decide


def test_scores_of_several_labels_are_those_of_each_alone(pipe, judge):
    for text in TEXTS:
        result = by_label(pipe(text, LABELS, multi_label=True))
        for label in LABELS:
            contradiction, _, entailment = logits_of(judge, text, label)
            assert result[label] == pytest.approx(softmax([contradiction, entailment])[1], abs=1e-6)
            assert pipe(text, label) == {"sequence": text, "labels": [label], "scores": [result[label]]}


@pytest.mark.parametrize(
    ("labels", "contradiction", "entailment"),
    [
        (["entailment", "neutral", "contradiction"], 2, 0),
        (["neutral", "ENTAILMENT"], 0, 1),
        (["no", "Entails", "entailment"], 0, 1),
        (["entailment", "not_entailment"], 1, 0),
    ],
)
def test_the_classes_of_entailment_and_contradiction(tmp_path, labels, contradiction, entailment):
    write_lively_model(tmp_path, labels, seed=11, positions=40)
    judge = pipeline("text-classification", tmp_path, top_k=None, function_to_apply="none")
    logits = logits_of(judge, TEXTS[0], "good", "This example is {}.")
    expected = softmax([logits[contradiction], logits[entailment]])[1]
    found = pipeline("zero-shot-classification", tmp_path)(TEXTS[0], "good")["scores"]
    assert found == pytest.approx([expected], abs=1e-6)


def decoded(pipe, logits, **options):
    options = pipe.options_type(candidate_labels=["a", "b", "c"], **options)
    return by_label(pipe._decode("a text", [], logits, options))


def test_of_equal_scores_the_later_label_comes_first(pipe):
    assert list(decoded(pipe, [[0, 1], [9, 1], [3, 1]])) == ["c", "b", "a"]  # as in transformers


def test_nan_scores_stay_visible(pipe):
    found = decoded(pipe, [[0, 1], [0, float("nan")], [0, 3]], multi_label=True)
    assert list(found) == ["b", "c", "a"] and math.isnan(found["b"])


# ---- calls -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "labels", [LABELS, tuple(LABELS), "good,bad,new york", " good , bad,, new york,", ["good", " bad", "new york"]]
)
def test_forms_of_labels(folder, pipe, labels):
    expected = pipe(TEXTS, LABELS)
    if not isinstance(labels, str) and " bad" in labels:  # as in transformers, only a str is stripped
        expected = [{**e, "labels": [" bad" if label == "bad" else label for label in e["labels"]]} for e in expected]
    assert pipe(TEXTS, labels) == pipe(TEXTS, candidate_labels=labels) == expected
    made = pipeline("zero-shot-classification", folder, candidate_labels=labels, hypothesis_template=TEMPLATE)
    assert made(TEXTS) == expected
    assert made(TEXTS[0], "bad, good")["labels"] in (["good", "bad"], ["bad", "good"])


def test_structure_of_a_result(pipe):
    call = partial(pipe, candidate_labels="good, bad")
    assert isinstance(pipe, ZeroShotClassificationPipeline) and type(call("bad")) is dict
    assert call(["bad"]) == call(("bad",)) == [call("bad")]
    assert call([]) == []
    results = call(iter(TEXTS))
    assert inspect.isgenerator(results) and list(results) == call(TEXTS)


@pytest.mark.parametrize("batch_size", [1, 2, 5, 32])
def test_results_do_not_depend_on_the_batch(pipe, batch_size):
    results = pipe(TEXTS, LABELS, batch_size=batch_size)
    for text, result in zip(TEXTS, results, strict=True):
        scores = by_label(pipe(text, LABELS, batch_size=1))
        assert by_label(result) == pytest.approx(scores, abs=0 if ops.get_backend() == "native" else 1e-6)


def test_pairs_of_several_texts_share_a_batch(pipe, monkeypatch):
    sizes = []
    forward = pipe._forward
    monkeypatch.setattr(pipe, "_forward", lambda rows, *rest: sizes.append(len(rows)) or forward(rows, *rest))
    pipe(TEXTS, LABELS, batch_size=10)
    assert sizes == [10, 2]


def test_a_long_text_is_cut_and_the_hypothesis_is_not(pipe):
    hypothesis = len(pipe.tokenizer.tokenize(TEMPLATE.format("good")))
    fitting = " ".join(["bad"] * (40 - 3 - hypothesis))
    assert by_label(pipe(fitting + " good", "good")) == by_label(pipe(fitting, "good", truncation=False))
    with pytest.raises(TextError, match=r"text 1: expected at most 40 tokens, got 41 \(truncation=True cuts it\)"):
        pipe([fitting, fitting + " good"], "good", truncation=False)
    short = " ".join(["bad"] * (20 - 3 - hypothesis))
    assert by_label(pipe(fitting, "good", max_length=20)) == by_label(pipe(short, "good"))
    with pytest.raises(
        TextError, match=r"text 0: expected a hypothesis that leaves room for the text in 8 tokens, got"
    ):
        pipe("bad", "good", max_length=8)
    with pytest.raises(
        TextError, match=r"text 1: expected a text that leaves room for the hypothesis in 40 tokens, got"
    ):
        pipe(["bad", "bad " * 50], "good", truncation="only_second")


BAD = [
    ({}, TypeError, "candidate_labels: expected a list of str, or a str with commas, got None"),
    ({"candidate_labels": []}, ValueError, "candidate_labels: expected at least one label, and none blank, got none"),
    (
        {"candidate_labels": " , "},
        ValueError,
        "candidate_labels: expected at least one label, and none blank, got none",
    ),
    ({"candidate_labels": ["a", " "]}, ValueError, "candidate_labels: expected at least .*, got a blank one"),
    ({"candidate_labels": [1]}, TypeError, r"candidate_labels: expected a list of str, or a .*, got \[1\]"),
    ({"candidate_labels": {"a"}}, TypeError, "candidate_labels: expected a list of str, or a"),
    ({"candidate_labels": "a", "multi_label": 1}, TypeError, "multi_label: expected a bool, got int"),
    ({"candidate_labels": "a", "hypothesis_template": 1}, TypeError, "hypothesis_template: expected a str, got int"),
    *(
        ({"candidate_labels": "a", "hypothesis_template": template}, ValueError, "hypothesis_template: expected .* {}")
        for template in ("no label", "{{}}", "{label}", "{0} {1}", "{0} {}", "{} {}", "{", "{:d}", "{.x}", "")
        # A label would be cut, quoted or padded; its parts taken.
        + ("{:.1}", "{!s:}", "{!r} {}", "{:>99999999999}", "{[a]}", "{[0]}", "{0.real}")
    ),
    (
        {"candidate_labels": "a", "max_length": 1},
        ValueError,
        "max_length: expected at least the 3 special tokens, got 1",
    ),
    (
        {"candidate_labels": "a", "max_length": 3},
        ValueError,
        "max_length: expected room for tokens besides the special ones, got 3",
    ),
    ({"candidate_labels": "a", "top_k": 1}, TypeError, "top_k: expected one of the options"),
]


@pytest.mark.parametrize(("options", "kind", "message"), BAD)
def test_bad_options(folder, options, kind, message):
    with pytest.raises(kind, match=f"zero-shot-classification: {message}|^{message}"):
        pipeline("zero-shot-classification", folder)("a text", **options)
    with pytest.raises(kind, match=message):
        pipeline("zero-shot-classification", folder, **options)("a text")


@pytest.mark.parametrize(
    ("texts", "kind", "message"),
    [
        (["good", " "], TextError, "text 1: expected a non-empty text"),
        (["good", 3], TypeError, "text 1: expected a str, got int"),
        ({"text": "good"}, TypeError, "text 0: expected a str, got dict"),
        (None, TypeError, "inputs: expected a str or an iterable of str, got NoneType"),
    ],
)
def test_bad_texts(pipe, texts, kind, message):
    with pytest.raises(kind, match=f"zero-shot-classification: {message}"):
        pipe(texts, LABELS)


@pytest.mark.parametrize(
    ("labels", "config"),
    [
        (["NEGATIVE", "POSITIVE"], {}),
        (["entailment"], {}),
        (["a", "b"], {"label2id": {"entailment": 2}}),
        (["a", "b"], {"label2id": {"entailment": -1}}),
    ],
)
def test_models_of_other_classes(tmp_path, labels, config):
    write_lively_model(tmp_path, labels, **config)
    with pytest.raises(ValueError, match='model: expected a model with two labels .* begins with "entail", got {'):
        pipeline("zero-shot-classification", tmp_path)


# ---- pairs in text classification ------------------------------------------------------------------------------------


def test_forms_of_a_pair(judge):
    expected = judge([{"text": a, "text_pair": b} for a in TEXTS for b in LABELS])
    assert judge([(a, b) for a in TEXTS for b in LABELS]) == expected
    assert judge([[[a, b]] for a in TEXTS for b in LABELS]) == expected  # as in transformers
    assert judge([[(a, b)] for a in TEXTS for b in LABELS]) == expected
    assert list(judge.stream((a, b) for a in TEXTS for b in LABELS)) == expected
    assert judge(("good", "bad")) == judge(["good", "bad"])  # a tuple of texts is no pair


def test_pairs_and_texts_share_a_batch(judge):
    mixed = ["good", ("good", "bad"), {"text": "bad"}, ("bad", "good")]
    assert_same(judge(mixed), [judge([item], batch_size=1)[0] for item in mixed])
    assert judge([("good", "bad")]) != judge([("bad", "good")])


@pytest.mark.parametrize(
    ("item", "kind", "message"),
    [
        (("good",), TypeError, "expected a str, got tuple"),
        (("good", "bad", "good"), TypeError, "expected a str, got tuple"),
        (["good", "bad"], TypeError, "expected a str, got list"),  # in transformers, too
        ([["good"]], TypeError, "expected a str, got list"),
        (("good", 3), TypeError, "expected a str, got int"),
        (("good", ""), TextError, "expected a non-empty text"),
        (("", "good"), TextError, "expected a non-empty text"),
    ],
)
def test_bad_pairs(judge, item, kind, message):
    with pytest.raises(kind, match=f"text-classification: text 1: {message}"):
        judge(["good", item])


def test_the_longer_text_of_a_pair_is_cut(judge):
    long = " ".join(["good"] * 60)
    fitting = " ".join(["good"] * (40 - 4))
    assert judge([(long, "bad")], truncation=True) == judge([(fitting, "bad")])
    assert judge([("bad", long)], truncation=True) == judge([("bad", fitting)])
    with pytest.raises(TextError, match=r"text 0: expected at most 40 tokens, got 64 \(truncation=True cuts it\)"):
        judge([(long, "bad")])


@pytest.mark.parametrize("module", ["text_classification", "zero_shot_classification"])
def test_examples_of_the_docstrings(module):
    found = doctest.testmod(importlib.import_module(f"squeezeops.pipelines.{module}"))
    assert found.attempted > 0 and found.failed == 0


# ---- against transformers --------------------------------------------------------------------------------------------


@pytest.mark.oracle
@pytest.mark.parametrize(
    "labels",
    [NLI, NLI[::-1], ["neutral", "Entailment"], ["entailment", "not_entailment"], ["no", "entails", "entailment"]],
    ids="-".join,
)
def test_transformers_returns_the_same(transformers, tmp_path, labels):
    write_lively_model(tmp_path, labels, seed=11, positions=40)
    model = transformers.SqueezeBertForSequenceClassification.from_pretrained(tmp_path).eval()
    tokenizer = transformers.BertTokenizerFast(str(tmp_path / "vocab.txt"), model_max_length=40)
    ours = pipeline("zero-shot-classification", tmp_path)
    theirs = transformers.pipeline("zero-shot-classification", model=model, tokenizer=tokenizer, device="cpu")

    ordered = []

    def check(found, expected):
        assert type(found) is type(expected)
        if isinstance(found, list):
            for one, other in zip(found, expected, strict=True):
                check(one, other)
            return
        assert list(found) == list(expected) and found["sequence"] == expected["sequence"]
        assert by_label(found) == pytest.approx(by_label(expected), abs=1e-5)
        assert len(found["labels"]) == len(expected["labels"])
        if np.diff(expected["scores"]).max(initial=-1) < -1e-4:  # else rounding decides
            assert found["labels"] == expected["labels"]
            ordered.append(len(found["labels"]) > 1)

    for texts in (TEXTS[0], TEXTS, TEXTS[:1], "bad " * 60):
        for candidates in (LABELS, "good, bad,ada lovelace", "good", ["new york"]):
            for options in ({}, {"multi_label": True}, {"hypothesis_template": TEMPLATE}):
                check(ours(texts, candidates, **options), theirs(texts, candidates, **options))
    assert sum(ordered) > 10


@pytest.mark.oracle
def test_transformers_classifies_the_same_pairs(transformers, folder, judge):
    model = transformers.SqueezeBertForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = transformers.BertTokenizerFast(str(folder / "vocab.txt"), model_max_length=40)
    theirs = transformers.pipeline("text-classification", model=model, tokenizer=tokenizer, device="cpu")
    call = {"top_k": None, "function_to_apply": "none", "truncation": True}
    for a, b in zip([*TEXTS, "bad " * 60], [*LABELS, "good " * 60, "good"], strict=True):
        for inputs in ({"text": a, "text_pair": b}, [{"text": a, "text_pair": b}], [[[a, b]]]):
            found, expected = judge(inputs, **call), theirs(inputs, **call)
            if isinstance(inputs, list):
                (found,), (expected,) = found, expected
            assert [entry["label"] for entry in found] == [entry["label"] for entry in expected]
            scores = [entry["score"] for entry in expected]
            assert [entry["score"] for entry in found] == pytest.approx(scores, abs=1e-5)
