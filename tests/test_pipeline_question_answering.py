"""The question-answering pipeline: calls, windows, spans, scores, and the same answers as transformers."""

import math
import random
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from model_helpers import edit_weights, write_model
from pipeline_helpers import structure

from squeezeops.pipelines import QuestionAnsweringPipeline, TextError, pipeline
from squeezeops.pipelines.question_answering import best_spans
from squeezeops.squeezebert.model.squeezebert import SqueezeBert

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS += [chr(c) for c in range(ord("a"), ord("z") + 1)] + [f"##{chr(c)}" for c in range(ord("a"), ord("z") + 1)]
WORDS += list(".,!?-'0123456789") + ["the", "who", "where", "live", "##s", "in", "ber", "##lin", "paris", "name", "is"]
WORDS += [
    "my",
    "wolf",
    "##gang",
    "and",
    "river",
    "##side",
    "old",
    "town",
    "中",
    "文",
    "é",
    "к",
    "##о",
    "##т",
    "한",
    "##글",
]
WORDS = list(dict.fromkeys(WORDS))
POSITIONS = 48
QUESTION = "Where do I live?"
CONTEXT = "My name is Wolfgang, and I live in Berlin. Paris is an old town in the riverside."


def peaked(folder, factor):
    """Scale the head's weights so that the probabilities are far apart."""

    def scale(name, values):
        values *= factor if name == "qa_outputs.weight" else 1

    return edit_weights(folder, scale)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("qa")
    return peaked(write_model(made, task="question-answering", words=WORDS, positions=POSITIONS), 3.0)


@pytest.fixture(scope="module")
def pipe(folder):
    return pipeline("question-answering", folder)


def random_context(rng, size):
    words = (
        "the Wolfgang lives in Berlin Berlin riverside x-ray don't 3.14 café 中文 кот 한글 \U0001f642 qqq PARIS İs ﬁn"
    )
    words = [*words.split(), "e\u0301t\u0301e", "\u200b", "  ", "\n"]
    return " ".join(rng.choice(words) for _ in range(size)) + " old town."


def stub(pipe, starts, ends, bias=-20.0):
    """A pipeline whose model returns the given logits for some tokens and `bias` for all others."""

    class Model:
        config = pipe.model.config
        task = pipe.model.task
        batches = []

        def __call__(self, ids, attention_mask, token_type_ids):
            self.batches.append(ids.shape[0])
            tokens = pipe.tokenizer.convert_ids_to_tokens
            shown = [tokens(row) for row in ids.tolist()]
            logits = [[[of.get(token, bias) for token in row] for row in shown] for of in (starts, ends)]
            start, end = np.array(logits, np.float32)
            return SimpleNamespace(start_logits=start, end_logits=end)

    made = QuestionAnsweringPipeline(Model(), pipe.tokenizer)
    made.model.batches = []
    return made


# ---- what a call takes and returns -----------------------------------------------------------------------------------


shape_of = partial(structure, types={"score": float, "start": int, "end": int, "answer": str})
PAIR = {"question": QUESTION, "context": CONTEXT}


@pytest.mark.parametrize(
    ("inputs", "given", "options", "expected"),
    [
        (None, PAIR, {}, "*"),
        (PAIR, {}, {}, "*"),
        ([PAIR], {}, {}, "*"),  # surprising, but as in transformers
        ((PAIR,), {}, {}, "*"),
        ([PAIR, PAIR], {}, {}, ["*", "*"]),
        ((PAIR, PAIR), {}, {}, ["*", "*"]),
        ([], {}, {}, []),
        (None, PAIR, {"top_k": 3}, ["*", "*", "*"]),
        ([PAIR, PAIR], {}, {"top_k": 2}, [["*", "*"], ["*", "*"]]),
        (None, {"question": [QUESTION, "Who?"], "context": CONTEXT}, {}, ["*", "*"]),
        (None, {"question": [QUESTION, "Who?"], "context": [CONTEXT, "Paris."]}, {}, ["*", "*"]),
        (None, {"question": ("Who?", "Where?"), "context": (CONTEXT, CONTEXT)}, {}, ["*", "*"]),
        (None, {"question": ["Who?"], "context": CONTEXT}, {}, "*"),
        (None, {"question": [], "context": CONTEXT}, {}, []),
        (None, {"question": "Who?", "context": "Paris"}, {"top_k": 3}, ["*"]),
        (None, {"question": "Who?", "context": "Paris"}, {"top_k": 3, "handle_impossible_answer": True}, ["*", "*"]),
    ],
)
def test_structure_of_a_result(pipe, inputs, given, options, expected):
    assert shape_of(pipe(inputs, **given, **options)) == expected


def test_ways_to_ask_the_same(folder):
    pipe = pipeline("question-answering", folder, batch_size=1)  # the last bits of NumPy's BLAS may depend on the batch
    one, other = pipe(**PAIR), pipe(question="Who?", context=CONTEXT)
    assert one != other
    assert pipe(PAIR) == pipe([PAIR]) == one
    assert pipe(question=[QUESTION, "Who?"], context=CONTEXT) == [one, other]
    assert pipe(question=[QUESTION, "Who?"], context=[CONTEXT, CONTEXT]) == [one, other]
    assert list(pipe.stream(iter([PAIR, {"question": "Who?", "context": CONTEXT}]))) == [one, other]
    assert list(pipe(item for item in [PAIR])) == [one]


def test_answers_are_parts_of_the_context(pipe):
    rng = random.Random(1)
    for size in (1, 2, 5, 20, 120):
        for _ in range(4):
            context = random_context(rng, size)
            for align in (True, False):
                found = pipe(question="Who?", context=context, top_k=8, align_to_words=align)
                assert found
                for answer in found:
                    assert answer["answer"] == context[answer["start"] : answer["end"]] != ""
                    assert 0.0 <= answer["score"]
                scores = [answer["score"] for answer in found]
                assert scores == sorted(scores, reverse=True)
                assert len({answer["answer"].lower() for answer in found}) == len(found)


# ---- scores ----------------------------------------------------------------------------------------------------------


def test_score_is_the_product_of_two_softmaxes_over_the_context_and_cls(pipe):
    encoded = pipe.tokenizer(QUESTION, CONTEXT)
    output = pipe.model([encoded["input_ids"]], token_type_ids=[encoded["token_type_ids"]])
    context = [k for k, kind in enumerate(encoded["token_type_ids"]) if kind][:-1]
    probabilities = []
    for logits in (output.start_logits[0].tolist(), output.end_logits[0].tolist()):
        total = math.fsum(math.exp(logits[k]) for k in (0, *context))
        probabilities.append([math.exp(value) / total for value in logits])
    starts, ends = probabilities
    spans = {(s, e): starts[s] * ends[e] for s in context for e in context if s <= e < s + 4}
    s, e = max(spans, key=spans.get)
    found = pipe(**PAIR, align_to_words=False, max_answer_len=4)
    assert (found["start"], found["end"]) == (encoded[0].offsets[s][0], encoded[0].offsets[e][1])
    assert found["score"] == pytest.approx(spans[s, e], rel=1e-5)
    null = pipe(**PAIR, handle_impossible_answer=True, top_k=1000)
    assert len({answer["answer"] for answer in null}) == len(null)
    (empty,) = [answer for answer in null if answer["answer"] == ""]
    assert empty == {"score": pytest.approx(starts[0] * ends[0], rel=1e-5), "start": 0, "end": 0, "answer": ""}


@pytest.mark.parametrize("max_answer_len", [1, 3, 15, 100])
@pytest.mark.parametrize("count", [1, 2, 12, 400])
def test_best_spans_equal_a_search_of_all_spans(max_answer_len, count):
    rng = random.Random(max_answer_len * count)
    for kind in range(12):
        size, context = 30, range(rng.randint(0, 10), rng.randint(11, 30))
        values = [0.0, 0.25, 0.5] if kind % 2 else [rng.random() ** 8 for _ in range(200)]
        starts, ends = rng.choices(values, k=size), rng.choices(values, k=size)
        table = [(-starts[s] * ends[e], s, e) for s in context for e in context if s <= e < s + max_answer_len]
        expected = [(-score, s, e) for score, s, e in sorted(table)[:count]]
        assert best_spans(starts, ends, context, max_answer_len, count) == expected


def test_best_spans_without_tokens():
    assert best_spans([0.5, 0.5], [0.5, 0.5], range(0), 15, 3) == []


def test_probabilities_of_the_question_are_ignored(pipe):
    """Even NaN there changes nothing."""
    made = stub(pipe, {"who": math.nan, "[SEP]": math.nan, "paris": 5.0}, {"?": math.inf, "paris": 5.0})
    found = made(question="Who?", context="old Paris town")
    assert (found["answer"], found["score"]) == ("Paris", pytest.approx(1.0, abs=1e-6))


def test_nan_scores_stay_visible(pipe):
    made = stub(pipe, {"paris": math.nan, "river": 5.0}, {"river": 5.0})
    context = "river " + "old town " * 30 + "Paris"
    found = made(question="Who?", context=context, top_k=50)
    is_nan = [math.isnan(answer["score"]) for answer in found]
    assert is_nan == sorted(is_nan, reverse=True)
    assert found[is_nan.index(False)]["answer"] == "river"
    assert repr(found) == repr(made(question="Who?", context=context, top_k=50))


def test_equal_scores_keep_the_order_of_the_text(pipe):
    made = stub(pipe, {}, {}, bias=0.0)
    found = made(question="Who?", context="old town in Paris", top_k=4, max_answer_len=1)
    assert [answer["answer"] for answer in found] == ["old", "town", "in", "Paris"]
    assert [answer["score"] for answer in found] == [pytest.approx((1 / 5) ** 2)] * 4


def test_equal_answers_are_merged_and_their_scores_added(pipe):
    made = stub(pipe, {"paris": 3.0, "town": 2.5}, {"paris": 3.0, "town": 2.5})
    context = "paris and PARIS and Paris town"
    found = made(question="Who?", context=context, top_k=2, max_answer_len=1)
    assert [answer["answer"] for answer in found] == ["paris", "town"] and found[0]["start"] == 0
    total = 3 * math.exp(3.0) + math.exp(2.5)
    assert found[0]["score"] == pytest.approx(3 * (math.exp(3.0) / total) ** 2, rel=1e-5)


# ---- windows ---------------------------------------------------------------------------------------------------------


def test_answer_in_the_last_window(pipe):
    made = stub(pipe, {"ber": 6.0, "[CLS]": 3.0}, {"##lin": 6.0, "[CLS]": 3.0})
    filler = "the old town, " * 200
    for context in (f"{filler}Berlin", f"Berlin {filler}", f"{filler}Berlin {filler}", f"{filler} Berlin."):
        found = made(question="Where?", context=context)
        assert found["answer"] == "Berlin" == context[found["start"] : found["end"]]
        assert found["start"] == context.index("Berlin")
    assert max(made.model.batches) == 32 and sum(made.model.batches) > 100


@pytest.mark.parametrize("stride", [0, 1, 7, 20, None])
def test_windows_cover_the_context(pipe, stride):
    """Every token of the context can be the answer, wherever the windows begin."""
    context = " ".join(f"{a}{b}" for a in "abcdefghij" for b in "0123456789")
    for number in (0, 31, 40, 57, 98, 99):
        word = context.split()[number]
        made = stub(pipe, {}, {})
        windows = made._encode(0, {"question": "Who?", "context": context}, made.options_type(doc_stride=stride))
        spans = [(row.offsets[row.context[0]][0], row.offsets[row.context[-1]][1]) for row in windows]
        assert spans[0][0] == 0 and spans[-1][1] == len(context)
        assert all(after[0] <= before[1] + 1 for before, after in zip(spans, spans[1:], strict=False))
        start = context.index(word)
        assert any(first <= start and start + 2 <= last for first, last in spans)
        assert all(len(row.ids) <= POSITIONS for row in windows)


def test_sizes_of_windows(pipe, folder, tmp_path):
    def widths(context="a b c d e f g h i j " * 20, question="who who?", made=pipe, **options):
        rows = made._encode(0, {"question": question, "context": context}, made.options_type(**options))
        spans = [{row.offsets[k] for k in row.context} for row in rows]
        common = {len(a & b) for a, b in zip(spans, spans[1:], strict=False)}
        return (len(rows[0].ids), *common)

    assert widths() == (48, 24)
    assert widths(max_seq_len=20) == (20, 10)
    assert widths(max_seq_len=1000) == (48, 24)
    assert widths(doc_stride=3) == (48, 3)
    assert widths(max_seq_len=20, doc_stride=0) == (20, 0)
    assert widths(context="a b c", doc_stride=45) == (9,)
    # The question leaves room for 20 tokens. An overlap of half a row would be larger than a window.
    assert widths(question="who " * 25) == (48, 10)
    assert widths(question="who " * 25, max_question_len=2) == (48, 24)
    (tmp_path / "vocab.txt").write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    (tmp_path / "tokenizer_config.json").write_text('{"model_max_length": 30}', encoding="utf-8")
    shorter = pipeline("question-answering", SqueezeBert.from_pretrained(folder), tokenizer=tmp_path)
    assert widths(made=shorter) == (30, 15)
    assert widths(made=shorter, max_seq_len=40) == (40, 20)


def test_rows_are_at_most_384_tokens_by_default(tmp_path):
    made = pipeline("question-answering", write_model(tmp_path, task="question-answering", words=WORDS, positions=500))
    rows = made._encode(0, {"question": "who", "context": "a b c " * 400}, made.options_type())
    assert len(rows[0].ids) == 384
    assert rows[1].offsets[2 + 128 + 1][0] == rows[0].offsets[-2][1] + 1  # an overlap of 128 tokens


def test_long_questions_are_cut(pipe):
    long = "who is in the old town? " * 20
    ids = pipe.tokenizer(long, add_special_tokens=False)["input_ids"]
    for most in (1, 5, 8):
        (row,) = pipe._encode(0, {"question": long, "context": "Paris"}, pipe.options_type(max_question_len=most))
        assert row.ids[1 : most + 2] == [*ids[:most], pipe.tokenizer.sep_token_id]
    assert pipe(question=long, context=CONTEXT, max_question_len=5) == pipe(
        question="who is in the old", context=CONTEXT
    )
    (row,) = pipe._encode(0, {"question": "한글한글", "context": "Paris"}, pipe.options_type(max_question_len=2))
    assert row.ids[1:-3] == pipe.tokenizer("한글", add_special_tokens=False)["input_ids"]


def test_windows_go_through_the_model_in_batches(pipe):
    made = stub(pipe, {}, {})
    made(question="Who?", context="a b c d e f g h i j " * 30, batch_size=4)
    assert set(made.model.batches[:-1]) == {4} and 1 <= made.model.batches[-1] <= 4


# ---- words -----------------------------------------------------------------------------------------------------------


def test_answers_are_aligned_to_words(pipe):
    made = stub(pipe, {"##gang": 5.0}, {"ber": 5.0})
    found = made(question="Who?", context="Wolfgang in Berlin.")
    assert (found["answer"], found["start"], found["end"]) == ("Wolfgang in Berlin", 0, 18)
    found = made(question="Who?", context="Wolfgang in Berlin.", align_to_words=False)
    assert (found["answer"], found["start"], found["end"]) == ("gang in Ber", 4, 15)


def test_alignment_goes_no_further_than_the_window(pipe):
    """An answer contains only text of its window, as in transformers."""
    made = stub(pipe, {"##q": 5.0}, {"##q": 5.0})
    context = "q" * 90
    found = made(question="Who?", context=context, doc_stride=0)
    room = POSITIONS - 5
    assert (found["start"], found["end"]) == (2 * room, 90)  # the last window, which has the fewest other spans


def test_alignment_needs_more_spans_than_answers(pipe):
    made = stub(pipe, {"wolf": 5.0, "##gang": 5.0, "paris": 4.0}, {"wolf": 5.0, "##gang": 5.0, "paris": 4.0})
    found = made(question="Who?", context="Wolfgang Paris", top_k=2, max_answer_len=2)
    assert [answer["answer"] for answer in found] == ["Wolfgang", "Wolfgang Paris"]
    total = 2 * math.exp(5.0) + math.exp(4.0)
    assert found[0]["score"] == pytest.approx(3 * math.exp(10.0) / total**2, rel=1e-5)


@pytest.mark.parametrize("context", ["\u200b", "\x00\x01", "\u0301"])
def test_a_context_without_a_token(pipe, context):
    null = {"score": 0.0, "start": 0, "end": 0, "answer": ""}
    assert pipe(question="Who?", context=context) == null
    assert pipe(question="Who?", context=context, top_k=2) == [null]
    assert pipe(question="Who?", context=context, handle_impossible_answer=True) == null | {"score": 1.0}


def test_any_text_gets_an_answer(pipe):
    for text in ("🙂", "مرحبا", "x" * 500, "[SEP]", "[CLS] who", "\ud800 x", "e\u0301"):
        assert shape_of(pipe(question=text, context="the town")) == "*"
        found = pipe(question="Who?", context=text)
        assert found["answer"] == text[found["start"] : found["end"]] != ""


def test_impossible_answers(pipe):
    made = stub(pipe, {"[CLS]": 4.0, "paris": 2.0}, {"[CLS]": 4.0, "paris": 2.0})
    assert made(question="Who?", context="old Paris")["answer"] == "Paris"
    found = made(question="Who?", context="old Paris", handle_impossible_answer=True, top_k=2)
    assert [answer["answer"] for answer in found] == ["", "Paris"]
    # A window without an answer does not rule out an answer in another window: the smallest score of [CLS] counts.
    made = stub(pipe, {"[CLS]": 4.0, "paris": 6.0}, {"[CLS]": 4.0, "paris": 6.0})
    found = made(question="Who?", context="old town " * 50 + "Paris", handle_impossible_answer=True, top_k=2)
    assert [answer["answer"] for answer in found] == ["Paris", ""]
    share = math.exp(4.0) / (math.exp(4.0) + math.exp(6.0))
    assert found[1]["score"] == pytest.approx(share * share, rel=1e-4)


# ---- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("inputs", "kind", "message"),
    [
        ([PAIR, {"question": "", "context": "x"}], ValueError, "text 1: question: expected a non-empty text, got ''"),
        ({"question": "x", "context": " \n"}, ValueError, "text 0: context: expected a non-empty text"),
        ({"question": 3, "context": "x"}, TypeError, "text 0: question: expected a str, got int"),
        ({"question": ["x"], "context": "x"}, TypeError, "text 0: question: expected a str, got list"),
        ({"question": "x"}, ValueError, r"text 0: expected the keys 'question' and 'context', got \['question'\]"),
        (PAIR | {"id": 3}, ValueError, r"text 0: expected the keys .* got \['context', 'id', 'question'\]"),
        ("Who?", TypeError, "text 0: expected a dict with 'question' and 'context', got str"),
        ([PAIR, "Who?"], TypeError, "text 1: expected a dict with 'question' and 'context', got str"),
        (["Who?"], TypeError, "text 0: expected a dict"),
    ],
)
def test_bad_input(pipe, inputs, kind, message):
    with pytest.raises(kind, match=f"^question-answering: {message}"):
        pipe(inputs)


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"question": "x"}, TypeError, "context: expected a str, got NoneType"),
        ({"context": "x"}, TypeError, "question: expected a str or a list of str, got NoneType"),
        ({"question": 3, "context": "x"}, TypeError, "question: expected a str or a list of str, got int"),
        ({"question": "x", "context": ["x"]}, TypeError, "context: expected a str, got list"),
        ({"question": ["x"], "context": 3}, TypeError, "context: expected a str or a list of str, got int"),
        ({"question": ["x"], "context": ["x", "y"]}, ValueError, "context: expected 1, one for each question, got 2"),
        ({"question": ["x", 3], "context": "x"}, TypeError, "text 1: question: expected a str, got int"),
        ({"question": ["x", "y"], "context": ["x", ""]}, ValueError, "text 1: context: expected a non-empty text"),
        (PAIR | {"inputs": PAIR}, TypeError, "inputs: expected None along with question and context, got dict"),
    ],
)
def test_bad_questions_and_contexts(pipe, arguments, kind, message):
    with pytest.raises(kind, match=f"^question-answering: {message}"):
        pipe(**arguments)


def test_questions_that_leave_no_room(pipe):
    question = "who " * 44
    assert shape_of(pipe(question=question, context=CONTEXT)) == "*"
    with pytest.raises(TextError, match="text 1: question: expected at most 44 tokens, to leave some of 48 .* got 45"):
        pipe([PAIR, {"question": question + "who", "context": CONTEXT}])
    assert shape_of(pipe(question=question + "who", context=CONTEXT, max_question_len=44)) == "*"


def test_too_large_strides(pipe):
    given = {"question": "who who who?", "context": "a b c d e f g h i j k l m", "max_seq_len": 12}
    assert shape_of(pipe(**given, doc_stride=4)) == "*"
    with pytest.raises(TextError, match="text 0: doc_stride: expected less than 5, the room .* 13 tokens, got 5"):
        pipe(**given, doc_stride=5)
    assert shape_of(pipe(**given | {"context": "a b c d e"}, doc_stride=5)) == "*"


BAD_OPTIONS = [
    ({"top_k": 0}, ValueError, "top_k: expected an int of at least 1, got 0"),
    ({"top_k": None}, TypeError, "top_k: expected an int of at least 1, got NoneType"),
    ({"max_answer_len": 0}, ValueError, "max_answer_len: expected an int of at least 1, got 0"),
    ({"max_answer_len": 2.0}, TypeError, "max_answer_len: expected an int of at least 1, got float"),
    ({"max_question_len": 0}, ValueError, "max_question_len: expected an int of at least 1, got 0"),
    ({"max_seq_len": 0}, ValueError, "max_seq_len: expected None or an int of at least 1, got 0"),
    ({"max_seq_len": 3}, ValueError, "max_seq_len: expected more than the 3 special tokens, got 3"),
    ({"doc_stride": -1}, ValueError, "doc_stride: expected None or an int of at least 0, got -1"),
    ({"doc_stride": "1"}, TypeError, "doc_stride: expected None or an int of at least 0, got str"),
    ({"doc_stride": 49}, ValueError, "doc_stride: expected at most max_seq_len, 48, got 49"),
    ({"doc_stride": 11, "max_seq_len": 10}, ValueError, "doc_stride: expected at most max_seq_len, 10, got 11"),
    ({"handle_impossible_answer": 1}, TypeError, "handle_impossible_answer: expected a bool, got int"),
    ({"align_to_words": None}, TypeError, "align_to_words: expected a bool, got NoneType"),
    ({"topk": 3}, TypeError, "topk: expected one of the options batch_size, top_k, doc_stride"),
]


@pytest.mark.parametrize(("options", "kind", "message"), BAD_OPTIONS)
def test_bad_option(pipe, folder, options, kind, message):
    for call in (partial(pipe, **PAIR), partial(pipe.stream, [PAIR]), partial(pipeline, "question-answering", folder)):
        with pytest.raises(kind, match=f"^question-answering: {message}"):
            call(**options)


# ---- against transformers itself -------------------------------------------------------------------------------------


@pytest.mark.oracle
@pytest.mark.parametrize("factor", [3.0, 30.0])
def test_question_answering_pipeline_of_transformers_returns_the_same(transformers, tmp_path, factor):
    if not hasattr(transformers, "QuestionAnsweringPipeline"):
        pytest.skip(reason="transformers 5 has no question-answering pipeline; 4.57 has")
    peaked(write_model(tmp_path, task="question-answering", words=WORDS, positions=POSITIONS), factor)
    ours = pipeline("question-answering", tmp_path)
    theirs = transformers.QuestionAnsweringPipeline(
        model=transformers.SqueezeBertForQuestionAnswering.from_pretrained(tmp_path),
        tokenizer=transformers.BertTokenizerFast(str(tmp_path / "vocab.txt"), model_max_length=POSITIONS),
        device="cpu",
    )
    rng = random.Random(4)
    worst = compared = 0
    for number in range(120):
        question = rng.choice((QUESTION, "Who?", "where is the Riverside, in PARIS or Berlin?", "é 中文"))
        context = random_context(rng, rng.choice((1, 3, 10, 40, 150)))
        options = {
            "top_k": rng.choice((1, 1, 2, 5)),
            "max_answer_len": rng.choice((1, 3, 15, 40)),
            "align_to_words": rng.random() < 0.7,
            "handle_impossible_answer": rng.random() < 0.5,
        }
        if rng.random() < 0.5:
            options["max_seq_len"] = rng.choice((36, 40, 48))  # the default stride leaves room for the questions
        if rng.random() < 0.5:
            options["doc_stride"] = rng.choice((0, 1, 5, 8))
        found = ours(question=question, context=context, **options)
        expected = theirs(question=question, context=context, **options)
        if options["top_k"] == 1:
            found, expected = [found], [expected]
        expected = expected if isinstance(expected, list) else [expected]
        # If too few spans exist, transformers adds spans that end before they begin, with a score of zero.
        expected = [answer for answer in expected if answer["score"] > 0.0]
        assert len(found) >= len(expected) > 0, (number, question, context, options)
        for answer, other in zip(found, expected, strict=False):
            assert list(answer) == list(other)
            difference = abs(answer["score"] - other["score"])
            worst, compared = max(worst, difference), compared + 1
            assert difference < 1e-5 and answer | {"score": 0} == other | {"score": 0}, (number, options)
    print(f"worst difference of {compared} scores: {worst:.1e}")
    lists = [
        {"inputs": [PAIR]},
        {"inputs": [PAIR, PAIR]},
        {"inputs": []},
        {"question": [QUESTION, "Who?"], "context": CONTEXT},
        {"question": [QUESTION, "Who?"], "context": [CONTEXT, "Paris."]},
        {"question": [QUESTION], "context": CONTEXT},
        {"question": [QUESTION, "Who?"], "context": CONTEXT, "top_k": 2},
    ]
    for given in lists:
        positional = [given.pop("inputs")] if "inputs" in given else []
        assert shape_of(ours(*positional, **given)) == shape_of(theirs(*positional, **given)), given
