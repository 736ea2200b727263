"""What all pipelines share, and text classification: arguments and results, on tiny models and the built-in one."""

import inspect
import math
import pickle
import re
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from model_helpers import CHECKPOINT, write_model
from pipeline_helpers import (
    LONG,
    MODELS,
    PIECES,
    POSITIONS,
    assert_alike,
    assert_same,
    structure,
    write_lively_model,
    write_task_model,
)

from squeezeops import ops
from squeezeops.pipelines import TextError, default_model, pipeline
from squeezeops.squeezebert.model.squeezebert import SqueezeBert
from squeezeops.squeezebert.tokenizer.tokenizer import Tokenizer

shape_of = partial(structure, types={"label": str, "score": float})
TEXTS = MODELS["text-classification"][1]


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
def task_folders(tmp_path_factory):
    return {task: write_task_model(tmp_path_factory.mktemp("tiny"), task) for task in MODELS}


every_task = pytest.mark.parametrize("task", MODELS)
# Options that change the path of an input through a pipeline.
WINDOWS = {"aggregation_strategy": "average", "stride": 5}
PATHS = [(task, {}) for task in MODELS]
PATHS += [("token-classification", WINDOWS), ("question-answering", {"top_k": 3})]
PATHS += [("feature-extraction", {"pooling": "cls"})]
every_path = pytest.mark.parametrize(("task", "options"), PATHS, ids=str)
# Options of a pipeline, none of which is the default.
OPTIONS = {
    "text-classification": {"top_k": 2, "function_to_apply": "sigmoid", "truncation": True},
    "token-classification": {"aggregation_strategy": "first", "stride": 4, "ignore_labels": ["MISC"]},
    "fill-mask": {"top_k": 2, "targets": ["good", "bad", "a"]},
    "question-answering": {"top_k": 2, "align_to_words": False},
    "feature-extraction": {"pooling": "cls", "normalize": False},
}


def inputs_of(task, options):
    return [*MODELS[task][1], *[LONG] * ("stride" in options)]


# ---- every pipeline --------------------------------------------------------------------------------------------------


@every_path
@pytest.mark.parametrize("batch_size", [1, 2, 3, 32])
def test_results_do_not_depend_on_the_batch(task_folders, task, options, batch_size):
    pipe, inputs = pipeline(task, task_folders[task], **options), inputs_of(task, options)
    alone = [result for text in inputs for result in pipe.stream([text])]
    assert_same(list(pipe.stream(inputs, batch_size=batch_size)), alone)
    assert_same(list(pipe.stream(iter(inputs[::-1]), batch_size=batch_size)), alone[::-1])


@every_path
@pytest.mark.parametrize("backend", ops.available_backends())
def test_backends_agree(task_folders, task, options, backend):
    pipe, inputs = pipeline(task, task_folders[task], **options), inputs_of(task, options)
    expected = list(pipe.stream(inputs))
    with ops.backend(backend):
        assert_alike(list(pipe.stream(inputs)), expected)


@every_task
def test_stream_reads_no_further_than_its_batch(task_folders, task):
    inputs, taken = MODELS[task][1] * 5, []
    pipe = pipeline(task, task_folders[task])
    results = pipe.stream((taken.append(item) or item for item in inputs), batch_size=4)
    assert not taken
    found = []
    for count in range(1, 17):
        found.append(next(results))
        assert len(taken) == -(-count // 4) * 4
    assert_same(found, list(pipe.stream(inputs[:16])))


@every_task
def test_a_list_and_an_iterator(task_folders, task):
    pipe, inputs = pipeline(task, task_folders[task]), MODELS[task][1]
    results = pipe(text for text in inputs)
    assert inspect.isgenerator(results)
    assert_same(list(results), list(pipe(inputs)))
    assert_same(list(pipe(tuple(inputs))), list(pipe(inputs)))
    assert list(pipe.stream([])) == []


@every_task
@pytest.mark.parametrize("blank", ["", " \t\n"])
def test_results_before_a_bad_text_are_delivered(task_folders, task, blank):
    pipe, (one, two, *_) = pipeline(task, task_folders[task]), MODELS[task][1]
    bad = one | {"context": blank} if task == "question-answering" else blank
    results = pipe.stream(iter([one, two, bad, one]), batch_size=4)
    assert_same([next(results), next(results)], list(pipe.stream([one, two])))
    message = f"^{task}: text 2: (context: )?expected a non-empty text, got {re.escape(repr(blank))}"
    with pytest.raises(TextError, match=message) as error:
        next(results)
    assert error.value.index == 2


@every_task
def test_results_before_a_failing_source_are_delivered(task_folders, task):
    def source():
        yield MODELS[task][1][0]
        raise OSError("the line went dead")

    pipe = pipeline(task, task_folders[task])
    results = pipe.stream(source())
    assert_same([next(results)], list(pipe.stream(MODELS[task][1][:1])))
    with pytest.raises(OSError, match="the line went dead"):
        next(results)


@every_task
def test_options_of_the_pipeline_and_of_a_call(task_folders, task):
    folder, inputs, options = task_folders[task], MODELS[task][1], OPTIONS[task]
    pipe, made = pipeline(task, folder), pipeline(task, folder, **options)
    expected, default = list(pipe.stream(inputs, **options)), list(pipe.stream(inputs))
    assert_same(list(made.stream(inputs)), expected)
    assert_same(list(pickle.loads(pickle.dumps(made)).stream(inputs)), expected)
    plain = {name: getattr(pipe.options_type(), name) for name in options}
    assert_same(list(made.stream(inputs, **plain)), default)
    assert_same(list(made.stream(inputs, batch_size=np.int64(2))), expected)  # options of a call do not affect the next
    assert repr(default) != repr(expected)


ODD_TEXTS = ["\x00", "\ufeff", "🙂", "مرحبا", "x" * 500, "[SEP]", "a [PAD] [CLS] b", "\ud800", "ﬁ İ ß ¼", "e\u0301"]


@every_task
def test_any_text_gets_an_answer(task_folders, task):
    pipe = pipeline(task, task_folders[task])
    cut = {} if task == "question-answering" else {"truncation": True}
    for text in ODD_TEXTS:
        if task == "question-answering":
            text = {"question": text, "context": text}
        elif task == "fill-mask":
            text = f"[MASK] {text}"
        assert len(list(pipe.stream([text], **cut))) == 1


@pytest.mark.parametrize("task", [task for task in MODELS if task != "question-answering"])
def test_truncation(task_folders, task):
    pipe = pipeline(task, task_folders[task])
    text = " ".join(["[MASK]" if task == "fill-mask" else "a", *"bcdefghijklmnopqrstuvwxyz"[: POSITIONS - 3]])
    longer = text + " y z"
    for options in ({}, *({"truncation": value} for value in (True, "longest_first", "only_first"))):
        assert_same(list(pipe.stream([longer if options else text], **options)), list(pipe.stream([text])))
    assert_same(list(pipe.stream([longer], truncation=True, max_length=1000)), list(pipe.stream([text])))
    beginning = text[: text.index(" d")]
    assert_same(list(pipe.stream([longer], truncation=True, max_length=5)), list(pipe.stream([beginning])))
    for options in ({}, {"truncation": False}, {"truncation": "do_not_truncate"}):
        with pytest.raises(TextError, match=r"text 1: expected at most 24 tokens, got 26 \(truncation=True cuts it\)"):
            list(pipe.stream([text, longer], **options))


@every_task
@pytest.mark.parametrize("bad", [None, 3, b"good", "good", {"text": "good"}])
def test_a_stream_of_no_inputs(task_folders, task, bad):
    pipe = pipeline(task, task_folders[task])
    for call in (pipe.stream, *[pipe] * (not isinstance(bad, str | dict))):
        with pytest.raises(TypeError, match=f"^{task}: inputs: expected a .*, got {type(bad).__name__}"):
            call(bad)


@every_task
@pytest.mark.parametrize("bad", [None, 3, b"good", ["good", "bad"], {"text": "good"}])
def test_inputs_of_another_type(task_folders, task, bad):
    pipe, good = pipeline(task, task_folders[task]), MODELS[task][1][0]
    if isinstance(bad, dict) and task == "text-classification":
        bad = [bad]  # a dict is an input of this one
    asked = {"question": good["question"], "context": bad} if task == "question-answering" else bad
    message = f"^{task}: text 1: (context: )?expected a str, got {type(bad).__name__}"
    with pytest.raises(TypeError, match=message):
        pipe([good, asked])


SHARED = [
    ({"batch_size": 0}, ValueError, "batch_size: expected an int of at least 1, got 0"),
    ({"batch_size": True}, TypeError, "batch_size: expected an int of at least 1, got bool"),
    ({"batch_size": 2.0}, TypeError, "batch_size: expected an int of at least 1, got float"),
    ({"batch_size": 10**20}, ValueError, r"batch_size: expected an int below 2\*\*31, got 1000"),
    ({"padding": True}, TypeError, "padding: expected one of the options batch_size, "),
]
TRUNCATION = [
    ({"truncation": "both"}, ValueError, "truncation: expected one of .*, got both"),
    ({"truncation": 1}, ValueError, "truncation: expected one of .*, got 1"),
    ({"max_length": 8}, ValueError, "max_length: expected None, or truncation=True with it, got 8"),
    ({"max_length": 0, "truncation": True}, ValueError, "max_length: expected None or an int of at least 1, got 0"),
]


@every_task
@pytest.mark.parametrize(("options", "kind", "message"), [*SHARED, *TRUNCATION])
def test_bad_shared_option(task_folders, task, options, kind, message):
    if task == "question-answering" and options not in [row[0] for row in SHARED]:
        kind, message = TypeError, f"{next(iter(options))}: expected one of the options"
    pipe = pipeline(task, task_folders[task])
    inputs = MODELS[task][1]
    for call in (partial(pipe, inputs), partial(pipe.stream, inputs), partial(pipeline, task, task_folders[task])):
        with pytest.raises(kind, match=f"^{task}: {message}"):  # before the first result is requested
            call(**options)


@every_task
def test_bad_models(tmp_path, task_folders, task):
    folder = task_folders[task]
    model = SqueezeBert.from_pretrained(folder)
    choices = write_model(tmp_path / "choices", ["A"], architectures=["SqueezeBertForMultipleChoice"])
    other = SqueezeBert.from_pretrained(choices)
    (tmp_path / "vocab.txt").write_text((folder / "vocab.txt").read_text(encoding="utf-8") + "more\n", encoding="utf-8")
    (shutil.copytree(folder, tmp_path / "no-vocab") / "vocab.txt").unlink()
    own, larger = {"tokenizer": folder}, {"tokenizer": tmp_path}
    for error, message, given, options in [
        (TypeError, "^pipeline: model: expected None, a folder or a SqueezeBert, got int", 3, {}),
        (ValueError, rf"^{task}: model: expected a model of task '.*', got 'multiple-choice'", other, own),
        (FileNotFoundError, "nothing-here", tmp_path / "nothing-here", {}),
        (FileNotFoundError, r"config\.json", tmp_path, {}),
        (FileNotFoundError, r"vocab\.txt", tmp_path / "no-vocab", {}),
        (ValueError, "dtype", folder, {"dtype": "float99"}),
        (ValueError, "^pipeline: tokenizer: expected a Tokenizer along with a SqueezeBert object, got None", model, {}),
        (TypeError, f"^{task}: tokenizer: expected a Tokenizer, a folder or None, got int", folder, {"tokenizer": 5}),
        (ValueError, f"tokenizer: expected ids below the model's vocab_size, {len(PIECES)}", model, larger),
    ]:
        with pytest.raises(error, match=message):
            pipeline(task, given, **options)
    if task != "feature-extraction":
        with pytest.raises(ValueError, match=model.task):
            pipeline(task, write_model(tmp_path / "base"))
    if task != "text-classification":  # which has a built-in model
        for make in (pipeline, default_model):
            with pytest.raises(ValueError, match=f"{task}: model: expected a folder .*, got None"):
                make(task)


@every_task
def test_a_folder_or_a_model_with_its_tokenizer(task_folders, task):
    folder, inputs = task_folders[task], MODELS[task][1]
    expected, model = pipeline(task, folder), SqueezeBert.from_pretrained(folder)
    assert repr(expected).startswith(f"{type(expected).__name__}(model={expected.model!r}")
    tokenizers = [Tokenizer.from_pretrained(folder), folder, str(folder)]
    for given, tokenizer in [(str(folder), None), *((model, tokenizer) for tokenizer in tokenizers)]:
        made = pipeline(task, given, tokenizer=tokenizer)
        assert type(made) is type(expected) and made.task == expected.task == task
        assert given is not model or made.model is model
        assert_same(list(made.stream(inputs)), list(expected.stream(inputs)))


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
        ("bad", {"top_k": np.uint8(2)}, ["*", "*"]),
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


def test_truncation_respects_the_maximum_of_the_tokenizer(tmp_path):
    write_model(tmp_path, ["A", "B"])
    (tmp_path / "tokenizer_config.json").write_text('{"model_max_length": 5}')
    pipe = pipeline("text-classification", tmp_path)
    assert pipe("good bad awful great", truncation=True) == pipe("good bad awful")
    assert pipe("good bad awful great", truncation=True, max_length=6) == pipe("good bad awful great")


# ---- making a pipeline -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["summarization", "", None, ["text-classification"]])
def test_unknown_task(task):
    with pytest.raises(ValueError, match=r"task: expected one of .*'text-classification', .*'sentiment-analysis'"):
        pipeline(task)


BAD_OPTIONS = [
    ({"top_k": 0}, ValueError, "top_k: expected None or an int of at least 1, got 0"),
    ({"top_k": -1}, ValueError, "top_k"),
    ({"top_k": "all"}, TypeError, "top_k: expected None or an int of at least 1, got str"),
    ({"function_to_apply": "tanh"}, ValueError, "function_to_apply: expected None or one of .*'softmax'.*, got tanh"),
    ({"function_to_apply": 1}, ValueError, "function_to_apply"),
    ({"max_length": 1, "truncation": True}, ValueError, "max_length: expected at least the 2 special tokens, got 1"),
    ({"max_length": 2, "truncation": True}, ValueError, "max_length: expected room for tokens besides the special"),
]


@pytest.mark.parametrize(("options", "kind", "message"), BAD_OPTIONS)
def test_bad_option(pipe, folder, options, kind, message):
    with pytest.raises(kind, match=message):
        pipe("good", **options)
    with pytest.raises(kind, match=message):
        pipeline("text-classification", folder, **options)("good")


# ---- bad texts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("texts", "kind", "message"),
    [
        ([{"text": "good", "text_pair": ""}], ValueError, "text 0: expected a non-empty text"),
        ([{"text": "good", "text_pair": 1}], TypeError, "text 0: expected a str, got int"),
        ([{"text_pair": "good"}], ValueError, "text 0: expected the keys 'text' and 'text_pair'"),
        ([{"text": "good", "label": "bad"}], ValueError, "text 0: expected the keys 'text' and 'text_pair'"),
    ],
)
def test_bad_text(pipe, texts, kind, message):
    with pytest.raises(kind, match=message):
        pipe(texts)


def without(folder, *words):
    """Replace tokens in a vocabulary by others."""
    text = (folder / "vocab.txt").read_text(encoding="utf-8")
    for i, word in enumerate(words):
        text = text.replace(word, f"{i}unused")
    (folder / "vocab.txt").write_text(text, encoding="utf-8")
    return folder


def test_a_tokenizer_with_other_results(pipe):
    other = pipeline("text-classification", pipe.model, tokenizer=lambda *texts, **options: {"input_ids": [1, 2]})
    message = "text-classification: tokenizer: expected a Tokenizer, .*, got none with token_type_ids, offset_mapping"
    with pytest.raises(TypeError, match=message):
        other("good")
    own = pipeline("text-classification", pipe.model, tokenizer=lambda *texts, **more: pipe.tokenizer(*texts, **more))
    assert own("good") == pipe("good")


LACKING = [
    ("text-classification", {}, "{}"),
    ("rerank", {}, "{}"),
    ("zero-shot-classification", {"candidate_labels": "a", "hypothesis_template": "{}"}, "{}"),
    ("feature-extraction", {}, "{}"),
    ("fill-mask", {}, "[MASK] {}"),
    ("token-classification", {}, "{}"),
    ("token-classification", {"aggregation_strategy": "first", "stride": 1}, "{}"),
    ("question-answering", {}, "{}"),
]


@pytest.mark.parametrize("task, options, text", LACKING)
def test_a_token_that_the_vocabulary_lacks_is_an_error_of_its_text(task, options, text, tmp_path):
    """Without [UNK] no word is unknown, and a special token may have no row in the model."""
    labels = {"rerank": ["A"], "zero-shot-classification": ["no", "entailment"]}.get(task, ["A", "B"])
    head = {"fill-mask": "masked-lm"}.get(
        task, task if task in ("token-classification", "question-answering") else None
    )
    folder = write_lively_model(tmp_path / "model", labels, task=head)
    pipe = pipeline(task, without(folder, "[UNK]", "[PAD]"), **options)
    forms = {
        "rerank": lambda text: ("a", text),
        "question-answering": lambda text: {"question": "a", "context": text},
    }
    make = forms.get(task, lambda text: text)
    for word, problem in (
        ("\u0416", r"expected words of the vocabulary, which has no '\[UNK\]', got '.'"),
        ("[PAD]", r"expected tokens of the model's vocabulary, got '\[PAD\]'"),
    ):
        results = pipe.stream([make(text.format(each)) for each in ("good", word)])
        next(results)
        with pytest.raises(TextError, match=rf"^{task}: text 1: {problem}$"):
            next(results)


@pytest.mark.parametrize("task", ["text-classification", "rerank"])
def test_a_text_that_cannot_be_cut_is_an_error_of_that_text(task, tmp_path):
    pipe = pipeline(task, write_lively_model(tmp_path / "model", ["A"]), truncation="only_first")
    results = pipe.stream([("good", "bad"), ("good", "bad " * 20)])
    next(results)
    with pytest.raises(TextError, match=f"^{task}: text 1: truncation: 'only_first' must take off 8 tokens"):
        next(results)


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


def test_errors_survive_pickling():
    with pytest.raises(ValueError, match="text 1") as caught:
        pipeline("text-classification")(["good", " "])
    error = pickle.loads(pickle.dumps(caught.value))
    assert type(error) is type(caught.value) and str(error) == str(caught.value)
    assert (error.index, error.problem, error.too_long) == (1, caught.value.problem, False)
