"""Text classification and pipelines in general: arguments and results, on tiny models and the built-in one."""

import inspect
import math
import pickle
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from model_helpers import CHECKPOINT, POSITIONS, WORDS, write_model
from pipeline_helpers import assert_alike, assert_same, structure

from squeezeops import ops
from squeezeops.pipelines import TextClassificationPipeline, TextError, default_model, pipeline
from squeezeops.squeezebert.model.squeezebert import SqueezeBert
from squeezeops.squeezebert.tokenizer.tokenizer import Tokenizer

shape_of = partial(structure, types={"label": str, "score": float})
TEXTS = ["a good movie", "bad", "the great movies!", "awful, awful, awful.", "a"]


def logits_of(pipe, text: str) -> list[float]:
    encoded = pipe.tokenizer(text)
    return pipe.model([encoded["input_ids"]]).logits[0].tolist()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("tiny"), ["NEGATIVE", "POSITIVE", "NEUTRAL"])


@pytest.fixture(scope="module")
def pipe(folder):
    return pipeline("text-classification", folder)


@pytest.fixture(scope="module")
def sentiment():
    return pipeline("sentiment-analysis")


# ---- the built-in model ----------------------------------------------------------------------------------------------

JUDGED = {
    "a gorgeous, witty, seductive movie": "POSITIVE",
    "a wonderful film with a brilliant cast": "POSITIVE",
    "I loved every minute of it": "POSITIVE",
    "dull, lifeless and far too long": "NEGATIVE",
    "a terrible waste of time": "NEGATIVE",
    "the worst movie I have ever seen": "NEGATIVE",
}


def test_builtin_model_knows_clear_cases(sentiment):
    results = sentiment(list(JUDGED))
    assert [result["label"] for result in results] == list(JUDGED.values())
    assert all(result["score"] > 0.7 for result in results)


def test_builtin_model_has_two_labels_that_share_the_probability(sentiment):
    ((first, second),) = sentiment(["a gorgeous, witty, seductive movie"], top_k=None)
    assert (first["label"], second["label"]) == ("POSITIVE", "NEGATIVE")
    assert first["score"] + second["score"] == pytest.approx(1.0, abs=1e-6)


def test_default_model_is_a_model_folder_inside_the_package(sentiment):
    assert default_model() == default_model("sentiment-analysis") == Path(sentiment.model.path).parent
    assert sentiment.model.dtype == "int8"
    assert {path.name for path in default_model().iterdir()} == {"model.safetensors", "README.md"}


def test_the_built_in_model_agrees_with_its_checkpoint(sentiment):
    texts = [*JUDGED, "The staff were lovely but the food was cold.", "no"]
    exact = pipeline("sentiment-analysis", CHECKPOINT)(texts)
    for found, expected in zip(sentiment(texts), exact, strict=True):
        assert found["label"] == expected["label"] and abs(found["score"] - expected["score"]) < 0.03


# ---- what a call returns: exactly what transformers 5 returns --------------------------------------------------------


@pytest.mark.parametrize(
    ("inputs", "options", "expected"),
    [
        ("bad", {}, ["*"]),
        (["bad"], {}, ["*"]),
        (["bad", "good"], {}, ["*", "*"]),
        (("bad", "good"), {}, ["*", "*"]),
        ([], {}, []),
        ("bad", {"top_k": None}, ["*", "*", "*"]),
        ("bad", {"top_k": 1}, ["*"]),
        ("bad", {"top_k": 2}, ["*", "*"]),
        ("bad", {"top_k": 10}, ["*", "*", "*"]),
        (["bad"], {"top_k": 1}, [["*"]]),
        (["bad", "good"], {"top_k": 2}, [["*", "*"], ["*", "*"]]),
        ([], {"top_k": None}, []),
        ({"text": "good", "text_pair": "bad"}, {}, "*"),
        ([{"text": "good", "text_pair": "bad"}], {}, ["*"]),
        ({"text": "good", "text_pair": "bad"}, {"top_k": 2}, ["*", "*"]),
    ],
)
def test_structure_of_a_result(pipe, inputs, options, expected):
    assert shape_of(pipe(inputs, **options)) == expected


def test_structure_with_top_k_given_when_the_pipeline_is_made(folder):
    pipe = pipeline("text-classification", folder, top_k=2)
    assert shape_of(pipe("bad")) == [["*", "*"]]  # surprising, but as in transformers
    assert shape_of(pipe(["bad", "good"])) == [["*", "*"], ["*", "*"]]
    assert shape_of(pipe("bad", top_k=3)) == ["*", "*", "*"]
    assert len(pipe("bad")[0]) == 2  # options of a call do not affect the next call


def test_labels_are_sorted_by_score(pipe):
    ranked = pipe("a good movie", top_k=None)
    assert sorted(entry["label"] for entry in ranked) == ["NEGATIVE", "NEUTRAL", "POSITIVE"]
    scores = [entry["score"] for entry in ranked]
    assert scores == sorted(scores, reverse=True)
    assert pipe("a good movie") == pipe("a good movie", top_k=1) == ranked[:1]


def decoded(pipe, scores, **options):
    return pipe._decode("a text", [], [scores], pipe.options_type(**options))


def test_equal_scores_keep_the_order_of_the_labels(pipe):
    assert decoded(pipe, [0.25, 0.25, 0.25], top_k=None) == [
        {"label": label, "score": 0.25} for label in ("NEGATIVE", "POSITIVE", "NEUTRAL")
    ]


def test_nan_scores_stay_visible(pipe):
    best = decoded(pipe, [0.9, float("nan"), 0.5], top_k=1)[0]
    assert best["label"] == "POSITIVE" and math.isnan(best["score"])


# ---- scores ----------------------------------------------------------------------------------------------------------


def softmax(values):
    total = math.fsum(math.exp(value) for value in values)
    return [math.exp(value) / total for value in values]


def sigmoid(values):
    return [1.0 / (1.0 + math.exp(-value)) for value in values]


@pytest.mark.parametrize(
    ("labels", "problem_type", "expected"),
    [
        (["A", "B"], None, softmax),
        (["A", "B", "C"], None, softmax),
        (["A", "B", "C"], "single_label_classification", softmax),
        (["A", "B", "C"], "multi_label_classification", sigmoid),
        (["A"], None, sigmoid),
        (["A"], "regression", list),
        (["A", "B"], "regression", list),
    ],
)
def test_default_function_follows_the_configuration(tmp_path, labels, problem_type, expected):
    pipe = pipeline("text-classification", write_model(tmp_path, labels, problem_type=problem_type))
    found = {entry["label"]: entry["score"] for entry in pipe("a good movie", top_k=None)}
    assert [found[label] for label in labels] == pytest.approx(expected(logits_of(pipe, "a good movie")), abs=1e-6)


@pytest.mark.parametrize(("name", "expected"), [("softmax", softmax), ("Sigmoid", sigmoid), ("none", list)])
def test_function_to_apply(pipe, folder, name, expected):
    scores = sorted(expected(logits_of(pipe, "a good movie")), reverse=True)
    for found in (
        pipe("a good movie", top_k=None, function_to_apply=name),
        pipeline("text-classification", folder, function_to_apply=name)("a good movie", top_k=None),
    ):
        assert [entry["score"] for entry in found] == pytest.approx(scores, abs=1e-6)


def test_sigmoid_in_the_tails(pipe):
    logits = np.array([[-200.0, -30.0, -1.0, 0.0, 1.0, 30.0, 200.0]], dtype=np.float32)
    found = pipe._scores(logits, "sigmoid")[0].tolist()
    assert found[0] == 0.0 and found[3] == 0.5 and found[-1] == 1.0
    assert found[1:6] == pytest.approx(sigmoid(logits[0, 1:6].tolist()), rel=1e-6)


# ---- batches and streams ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 2, 3, 32])
def test_results_do_not_depend_on_the_batch(pipe, batch_size):
    alone = [pipe(text)[0] for text in TEXTS]
    assert_same(pipe(TEXTS, batch_size=batch_size), alone, 1e-6)
    assert_same(pipe(TEXTS[::-1], batch_size=batch_size), alone[::-1], 1e-6)


@pytest.mark.parametrize("backend", ops.available_backends())
def test_backends_agree(pipe, backend):
    expected = pipe("the great movies!", top_k=None)
    with ops.backend(backend):
        assert_alike(pipe("the great movies!", top_k=None), expected, 1e-6)


def test_stream_yields_in_input_order(pipe):
    texts = TEXTS * 20
    assert_same(list(pipe.stream(iter(texts), batch_size=7)), pipe(texts), 1e-6)


def test_stream_reads_no_further_than_its_batch(pipe):
    taken = []

    def source():
        for text in TEXTS * 20:
            taken.append(text)
            yield text

    results = pipe.stream(source(), batch_size=4)
    assert not taken
    for count in range(1, 11):
        next(results)
        assert len(taken) == -(-count // 4) * 4


def test_calling_with_an_iterator_streams(pipe):
    results = pipe(text for text in TEXTS)
    assert inspect.isgenerator(results)
    assert list(results) == pipe(TEXTS)


def test_results_before_a_bad_text_are_delivered(pipe):
    results = pipe.stream(["good", "bad", " ", "good"])
    assert [next(results), next(results)] == pipe(["good", "bad"])
    with pytest.raises(TextError) as error:
        next(results)
    assert error.value.index == 2


def test_results_before_a_failing_source_are_delivered(pipe):
    def source():
        yield "good"
        raise OSError("the line went dead")

    results = pipe.stream(source())
    assert [next(results)] == pipe("good")
    with pytest.raises(OSError, match="the line went dead"):
        next(results)


def test_index_counts_through_the_whole_stream(pipe):
    with pytest.raises(TextError, match="text 9: ") as error:
        list(pipe.stream(["good"] * 9 + [""], batch_size=2))
    assert error.value.index == 9


# ---- pairs and long texts --------------------------------------------------------------------------------------------


def test_pair_is_one_sequence_of_two_segments(pipe):
    encoded = pipe.tokenizer("a good movie", "bad")
    assert 1 in encoded["token_type_ids"]
    logits = pipe.model([encoded["input_ids"]], token_type_ids=[encoded["token_type_ids"]]).logits[0].tolist()
    found = pipe({"text": "a good movie", "text_pair": "bad"}, top_k=None, function_to_apply="none")
    assert sorted(logits, reverse=True) == [entry["score"] for entry in found]
    assert pipe({"text": "bad"}) == pipe("bad")[0]


def test_longest_text_that_fits(pipe):
    text = " ".join(["good"] * (POSITIONS - 2))
    assert pipe(text) == pipe(text, truncation=True)
    with pytest.raises(ValueError, match=r"text 1: expected at most 16 tokens, got 17 \(truncation=True cuts it\)"):
        pipe([text, text + " good"])


def test_truncation(pipe, folder):
    text = " ".join(["good"] * (POSITIONS - 2))
    longer = text + " bad awful bad"
    for truncation in (True, "longest_first", "only_first"):
        assert pipe(longer, truncation=truncation) == pipe(text)
    assert pipeline("text-classification", folder, truncation=True)(longer) == pipe(text)
    assert pipe(longer, truncation=True, max_length=4) == pipe("good good")
    assert pipe(longer, truncation=True, max_length=1000) == pipe(text)
    with pytest.raises(TextError):
        pipe(longer, truncation="do_not_truncate")


def test_truncation_respects_the_maximum_of_the_tokenizer(tmp_path):
    write_model(tmp_path, ["A", "B"])
    (tmp_path / "tokenizer_config.json").write_text('{"model_max_length": 5}')
    pipe = pipeline("text-classification", tmp_path)
    assert pipe("good bad awful great", truncation=True) == pipe("good bad awful")
    assert pipe("good bad awful great", truncation=True, max_length=6) == pipe("good bad awful great")


# ---- making a pipeline -----------------------------------------------------------------------------------------------


def test_model_object_with_its_tokenizer(pipe, folder):
    model = SqueezeBert.from_pretrained(folder)
    for tokenizer in (Tokenizer.from_pretrained(folder), folder, str(folder)):
        made = pipeline("text-classification", model, tokenizer=tokenizer)
        assert isinstance(made, TextClassificationPipeline)
        assert made.task == "text-classification" and made.model is model
        assert made(TEXTS) == pipe(TEXTS)


def test_folder_may_be_a_string(pipe, folder):
    assert pipeline("sentiment-analysis", str(folder))(TEXTS) == pipe(TEXTS)


def test_model_object_without_a_tokenizer(pipe):
    with pytest.raises(ValueError, match="tokenizer: expected a Tokenizer"):
        pipeline("text-classification", pipe.model)


@pytest.mark.parametrize("task", ["summarization", "", None, ["text-classification"]])
def test_unknown_task(task):
    with pytest.raises(ValueError, match=r"task: expected one of .*'text-classification', 'sentiment-analysis'"):
        pipeline(task)


def test_model_of_the_wrong_type():
    with pytest.raises(TypeError, match="model: expected None, a folder or a SqueezeBert, got int"):
        pipeline("text-classification", 3)


def test_missing_model(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing-here"):
        pipeline("text-classification", tmp_path / "nothing-here")
    with pytest.raises(FileNotFoundError, match=r"config\.json"):
        pipeline("text-classification", tmp_path)


def test_model_without_a_vocabulary(tmp_path):
    (write_model(tmp_path, ["A", "B"]) / "vocab.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"vocab\.txt"):
        pipeline("text-classification", tmp_path)


@pytest.mark.parametrize(
    ("task", "head"),
    [
        ("text-classification", "text-classification"),
        ("ner", "token-classification"),
        ("fill-mask", "masked-lm"),
        ("question-answering", "question-answering"),
    ],
)
def test_model_without_the_head(tmp_path, task, head):
    write_model(tmp_path)
    with pytest.raises(ValueError, match=head):
        pipeline(task, tmp_path)
    base = SqueezeBert.from_pretrained(tmp_path, task="base")
    with pytest.raises(ValueError, match=f"model: expected a model of task '{head}', got 'base'"):
        pipeline(task, base, tokenizer=tmp_path)


@pytest.mark.parametrize("make", [pipeline, default_model])
@pytest.mark.parametrize("task", ["feature-extraction", "fill-mask", "question-answering", "token-classification"])
def test_tasks_without_a_default_model(make, task):
    with pytest.raises(ValueError, match=f"{task}: model: expected a folder .*, got None"):
        make(task)


def test_unknown_dtype(folder):
    with pytest.raises(ValueError, match="dtype"):
        pipeline("text-classification", folder, dtype="float99")


BAD_OPTIONS = [
    ({"batch_size": 0}, ValueError, "batch_size: expected an int of at least 1, got 0"),
    ({"batch_size": True}, TypeError, "batch_size: expected an int of at least 1, got bool"),
    ({"batch_size": 2.0}, TypeError, "batch_size"),
    ({"top_k": 0}, ValueError, "top_k: expected None or an int of at least 1, got 0"),
    ({"top_k": -1}, ValueError, "top_k"),
    ({"top_k": "all"}, TypeError, "top_k: expected None or an int of at least 1, got str"),
    ({"function_to_apply": "tanh"}, ValueError, "function_to_apply: expected None or one of .*'softmax'.*, got tanh"),
    ({"function_to_apply": 1}, ValueError, "function_to_apply"),
    ({"truncation": "both"}, ValueError, "truncation: expected one of .*, got both"),
    ({"truncation": 1}, ValueError, "truncation"),
    ({"max_length": 8}, ValueError, "max_length: expected None, or truncation=True with it, got 8"),
    ({"max_length": 0, "truncation": True}, ValueError, "max_length: expected None or an int of at least 1, got 0"),
    ({"max_length": 1, "truncation": True}, ValueError, "max_length: expected at least the 2 special tokens, got 1"),
]


@pytest.mark.parametrize(("options", "kind", "message"), BAD_OPTIONS)
def test_bad_option(pipe, folder, options, kind, message):
    with pytest.raises(kind, match=message):
        pipe("good", **options)
    with pytest.raises(kind, match=message):
        pipeline("text-classification", folder, **options)("good")


def test_integers_of_numpy(pipe):
    assert pipe(TEXTS, batch_size=np.int64(2), top_k=np.uint8(1)) == pipe(TEXTS, batch_size=2, top_k=1)


def test_a_tokenizer_of_the_wrong_type(folder):
    with pytest.raises(TypeError, match="tokenizer: expected a Tokenizer, a folder or None, got int"):
        pipeline("text-classification", folder, tokenizer=5)


def test_repr(pipe, folder):
    assert repr(pipe) == f"TextClassificationPipeline(model={str(folder)!r})"


def test_unknown_option(pipe):
    with pytest.raises(TypeError, match="padding: expected one of the options batch_size, truncation"):
        pipe("good", padding=True)


def test_options_are_checked_before_the_first_result(pipe):
    with pytest.raises(ValueError, match="batch_size"):
        pipe.stream(["good"], batch_size=0)


# ---- bad texts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("texts", "kind", "message"),
    [
        (["good", ""], ValueError, "text 1: expected a non-empty text, got ''"),
        (" \t\n", ValueError, "text 0: expected a non-empty text"),
        (["good", "bad", 3], TypeError, "text 2: expected a str, got int"),
        ([None], TypeError, "text 0: expected a str, got NoneType"),
        ([b"good"], TypeError, "text 0: expected a str, got bytes"),
        ([["good", "bad"]], TypeError, "text 0: expected a str, got list"),
        ([{"text": "good", "text_pair": ""}], ValueError, "text 0: expected a non-empty text"),
        ([{"text": "good", "text_pair": 1}], TypeError, "text 0: expected a str, got int"),
        ([{"text_pair": "good"}], ValueError, "text 0: expected the keys 'text' and 'text_pair'"),
        ([{"text": "good", "label": "bad"}], ValueError, "text 0: expected the keys 'text' and 'text_pair'"),
        (None, TypeError, "inputs: expected a str, a dict .*, or an iterable of either, got NoneType"),
        (3, TypeError, "inputs: expected a str, a dict .*, or an iterable of either, got int"),
        (b"good", TypeError, "inputs: expected a str, a dict .*, or an iterable of either, got bytes"),
    ],
)
def test_bad_text(pipe, texts, kind, message):
    with pytest.raises(kind, match=message):
        pipe(texts)


def test_stream_refuses_a_single_text(pipe):
    with pytest.raises(TypeError, match=r"inputs: expected .* or an iterable of either, got str"):
        pipe.stream("good")


def test_any_text_gets_an_answer(pipe):
    for text in ("\x00", "\ufeff", "🙂", "مرحبا", "x" * 500, "[SEP]", "\ud800"):
        assert shape_of(pipe(text)) == ["*"]


# ---- against transformers itself -------------------------------------------------------------------------------------


@pytest.mark.oracle
@pytest.mark.parametrize("problem_type", [None, "regression", "multi_label_classification"])
@pytest.mark.parametrize("labels", [["A"], ["A", "B"], ["A", "B", "C"]], ids=len)
def test_transformers_returns_the_same(transformers, tmp_path, labels, problem_type):
    write_model(tmp_path, labels, problem_type=problem_type)
    model = transformers.SqueezeBertForSequenceClassification.from_pretrained(tmp_path)
    tokenizer = transformers.BertTokenizerFast(str(tmp_path / "vocab.txt"))

    def same(found, expected):
        if isinstance(expected, list):
            return isinstance(found, list) and all(map(same, found, expected)) and len(found) == len(expected)
        close = found["score"] == pytest.approx(expected["score"], abs=2e-6)
        return close and found["label"] == expected["label"] and list(found) == list(expected)

    inputs = ["a good movie", TEXTS[:2], {"text": "a", "text_pair": "bad!"}, [{"text": "a"}]]
    calls = [
        {},
        {"top_k": None},
        {"top_k": 1},
        {"top_k": 2},
        {"function_to_apply": "none"},
        {"function_to_apply": "softmax", "top_k": None},
        {"truncation": True, "max_length": 4},
    ]
    for made in ({}, {"top_k": 1}, {"function_to_apply": "sigmoid"}):
        ours = pipeline("text-classification", tmp_path, **made)
        theirs = transformers.pipeline("text-classification", model=model, tokenizer=tokenizer, device="cpu", **made)
        for given in inputs:
            for call in calls:
                assert same(ours(given, **call), theirs(given, **call)), (made, given, call)
        assert same(list(ours(iter(TEXTS))), list(theirs(text for text in TEXTS)))


# ---- pickling, for process pools -------------------------------------------------------------------------------------


def test_a_pipeline_survives_pickling():
    pipe = pipeline("text-classification")
    assert pickle.loads(pickle.dumps(pipe))("good film") == pipe("good film")


def test_errors_survive_pickling():
    with pytest.raises(ValueError, match="text 1") as caught:
        pipeline("text-classification")(["good", " "])
    error = pickle.loads(pickle.dumps(caught.value))
    assert type(error) is type(caught.value) and str(error) == str(caught.value)
    assert (error.index, error.problem, error.too_long) == (1, caught.value.problem, False)


def test_top_k_is_no_word():
    with pytest.raises(TypeError, match="top_k"):
        pipeline("text-classification", top_k="best")


def test_huge_batch_size():
    with pytest.raises(ValueError, match="batch_size"):
        pipeline("text-classification", batch_size=10**20)


def test_a_tokenizer_larger_than_the_model(tmp_path):
    folder = write_model(tmp_path / "model", ["A", "B"])
    with open(folder / "vocab.txt", "a", encoding="utf-8") as file:
        file.write("more\n")
    with pytest.raises(ValueError, match=f"tokenizer: expected ids below the model's vocab_size, {len(WORDS)}, got"):
        pipeline("text-classification", folder)
