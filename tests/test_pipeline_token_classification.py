"""pipeline("token-classification"): entities from token scores, windows, and the results of transformers."""

import math

import numpy as np
import pytest
from pipeline_helpers import LONG, MODELS, assert_alike, assert_same, write_lively_model, write_task_model

from squeezeops.pipelines import TextError, TokenClassificationPipeline, pipeline
from squeezeops.pipelines.base import Row
from squeezeops.squeezebert.tokenizer.tokenizer import Tokenizer

LABELS = MODELS["token-classification"][0]["labels"]
TEXTS = MODELS["token-classification"][1]
STRATEGIES = ["simple", "first", "average", "max"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_task_model(tmp_path_factory.mktemp("tiny"), "token-classification")


@pytest.fixture(scope="module")
def pipe(folder):
    return pipeline("token-classification", folder)


# ---- what a call returns ---------------------------------------------------------------------------------------------

TOKEN_TYPES = {"entity": str, "score": float, "index": int, "word": str, "start": int, "end": int}
ENTITY_TYPES = {"entity_group": str, "score": float, "word": str, "start": int, "end": int}


def assert_entities(found, types):
    assert isinstance(found, list)
    for entity in found:
        assert list(entity) == list(types)  # in this order
        assert [type(value) for value in entity.values()] == list(types.values())


def test_single_text_gives_a_list_of_tokens(pipe):
    found = pipe(TEXTS[0])
    assert_entities(found, TOKEN_TYPES)
    assert len(found) > 5 and {"B-LOC", "I-LOC"} <= {entity["entity"] for entity in found} <= set(LABELS[1:])


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_single_text_gives_a_list_of_entities(pipe, strategy):
    found = pipe(TEXTS[0], aggregation_strategy=strategy)
    assert_entities(found, ENTITY_TYPES)
    assert len(found) > 1 and {entity["entity_group"] for entity in found} <= {"PER", "LOC", "MISC"}


def test_list_gives_a_list_of_lists(pipe):
    assert pipe(TEXTS) == list(pipe.stream(TEXTS))
    assert pipe([TEXTS[0]]) == [pipe(TEXTS[0])]


def test_text_in_which_nothing_is_found(pipe):
    for strategy in ("none", *STRATEGIES):
        ignored = LABELS if strategy == "none" else ["O", "PER", "LOC", "MISC"]
        assert pipe("good", aggregation_strategy=strategy, ignore_labels=ignored) == []
        assert pipe(["good", TEXTS[0]], aggregation_strategy=strategy, ignore_labels=ignored) == [[], []]


def test_text_without_tokens(pipe):
    assert pipe("\ufeff") == []
    assert_same(pipe(["\ufeff", "good"], ignore_labels=[]), [[], pipe("good", ignore_labels=[])])
    assert pipe("\ufeff", aggregation_strategy="average") == []
    assert pipe("\ufeff", aggregation_strategy="simple", stride=1) == []


def test_ner_is_another_name(pipe, folder):
    found = pipeline("ner", folder)
    assert isinstance(found, TokenClassificationPipeline) and found.task == "token-classification"
    assert found(TEXTS) == pipe(TEXTS)


def test_scores_are_probabilities_of_the_labels(pipe):
    encoded = pipe.tokenizer("Ada saw")
    logits = pipe.model([encoded["input_ids"]]).logits[0].astype(np.float64)
    expected = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    found = pipe("Ada saw", ignore_labels=[])
    assert [entity["index"] for entity in found] == list(range(1, len(logits) - 1))
    for entity in found:
        row = expected[entity["index"]]
        assert entity["entity"] == LABELS[row.argmax()]
        assert entity["score"] == pytest.approx(row.max(), abs=1e-6)


def test_only_tokens_of_the_text_are_classified(pipe, monkeypatch):
    rows = []
    head = type(pipe.model.head)
    run = head.__call__
    monkeypatch.setattr(head, "__call__", lambda self, x, *rest: rows.append(len(x)) or run(self, x, *rest))
    monkeypatch.setattr(pipe, "model", pipe.model.op_by_op())
    found = pipe(["good movies", "a b c", "\ufeff"], ignore_labels=[])
    assert rows == [6] == [sum(map(len, found))]


# ---- from scores to entities, calculated by hand ---------------------------------------------------------------------


def row_of(*words):
    """Build a text and its row from words like "love|##lace"; [CLS] and [SEP] are added."""
    text, offsets = "", [(0, 0)]
    for word in words:
        text += " " if text else ""
        for piece in word.split("|"):
            offsets.append((len(text), len(text) + len(piece.removeprefix("##"))))
            text += piece.removeprefix("##")
    return text, [piece for word in words for piece in word.split("|")], [*offsets, (0, 0)]


def scores_of(label, score):
    """Scores of all labels: `score` for `label`, the rest split over the others."""
    return [score if other == label else (1 - score) / (len(LABELS) - 1) for other in LABELS]


def decoded(pipe, words, labelled, strategy, **options):
    text, pieces, offsets = row_of(*words)
    ids = [pipe.tokenizer.cls_token_id, *pipe.tokenizer.convert_tokens_to_ids(pieces), pipe.tokenizer.sep_token_id]
    scores = [given if isinstance(given, list) else scores_of(*given) for given in labelled]
    options = pipe.options_type(aggregation_strategy=strategy, **options)
    return pipe._decode(text, [Row(ids, [0] * len(ids), offsets)], [scores], options)


def entities(*columns):
    return [dict(zip(ENTITY_TYPES, column, strict=True)) for column in columns]


def test_tokens(pipe):
    found = decoded(pipe, ["ada", "love|##lace"], [("B-PER", 0.75), ("O", 0.5), ("I-PER", 0.625)], "none")
    assert found == [
        {"entity": "B-PER", "score": 0.75, "index": 1, "word": "ada", "start": 0, "end": 3},
        {"entity": "I-PER", "score": 0.625, "index": 3, "word": "##lace", "start": 8, "end": 12},
    ]


def test_begin_and_inside(pipe):
    labelled = [("B-PER", 0.75), ("I-PER", 0.5), ("B-PER", 1.0), ("I-LOC", 1.0), ("B-LOC", 0.5), ("O", 1.0)]
    labelled += [("I-LOC", 1.0), ("MISC", 0.75), ("MISC", 0.5)]
    words = ["a", "b", "c", "d", "e", "f", "g", "h", "i"]
    for strategy in STRATEGIES:
        assert decoded(pipe, words, labelled, strategy) == entities(
            ("PER", 0.625, "a b", 0, 3),
            ("PER", 1.0, "c", 4, 5),
            ("LOC", 1.0, "d", 6, 7),
            ("LOC", 0.5, "e", 8, 9),
            ("LOC", 1.0, "g", 12, 13),
            ("MISC", 0.625, "h i", 14, 17),
        )


def test_pieces_of_a_word(pipe):
    words = ["new", "love|##lace|##s", "!"]
    labelled = [
        [0.0, 0.0, 0.0, 1.0, 0.0, 0.0],  # new: B-LOC
        [0.0, 0.0, 0.625, 0.125, 0.25, 0.0],  # love: I-PER
        [0.0, 0.0, 0.125, 0.125, 0.75, 0.0],  # ##lace: I-LOC
        [0.25, 0.0, 0.375, 0.0, 0.375, 0.0],  # ##s: I-PER, the first of equal scores
        [1.0, 0.0, 0.0, 0.0, 0.0, 0.0],  # !: O
    ]
    assert decoded(pipe, words, labelled, "simple") == entities(
        ("LOC", 1.0, "new", 0, 3),
        ("PER", 0.625, "love", 4, 8),
        ("LOC", 0.75, "##lace", 8, 12),
        ("PER", 0.375, "##s", 12, 13),
    )
    assert decoded(pipe, words, labelled, "first") == entities(
        ("LOC", 1.0, "new", 0, 3), ("PER", 0.625, "lovelaces", 4, 13)
    )
    assert decoded(pipe, words, labelled, "max") == entities(("LOC", 0.875, "new lovelaces", 0, 13))
    average = pytest.approx((1.0 + (0.25 + 0.75 + 0.375) / 3) / 2, abs=1e-12)
    assert decoded(pipe, words, labelled, "average") == entities(("LOC", average, "new lovelaces", 0, 13))


def test_ignored_labels_with_and_without_prefix(pipe):
    words, labelled = ["a", "b", "c"], [("B-PER", 0.5), ("O", 1.0), ("B-LOC", 0.5)]

    def names(strategy, ignored):
        return [next(iter(e.values())) for e in decoded(pipe, words, labelled, strategy, ignore_labels=ignored)]

    assert names("none", ["B-PER"]) == ["O", "B-LOC"]
    assert names("none", ("PER",)) == ["B-PER", "O", "B-LOC"]
    assert names("simple", {"PER"}) == ["O", "LOC"]
    assert names("simple", ["B-PER", "O"]) == ["PER", "LOC"]
    assert names("simple", []) == ["PER", "O", "LOC"]


def test_unknown_words_are_copied_from_the_text(pipe):
    text = "Ada \u0416\u0416 York"
    found = pipe(text, ignore_labels=[])
    assert [entity["word"] for entity in found] == ["ada", "\u0416\u0416", "york"]
    assert pipe.tokenizer.tokenize(text)[1] == "[UNK]"


def test_words_and_pieces_are_told_apart_by_their_lengths(pipe):
    # With a combining accent, "movie" is longer than its token. With two, "lace" is as long as "##lace".
    text = "new mo\u0301vie lovela\u0301c\u0301e movies"
    tokens = list(pipe._tokens(text, *encoded_with_scores(pipe, text)))
    words = [("new", False), ("movie", True), ("love", False), ("##lace", False), ("movie", False), ("##s", True)]
    assert [(token.word, token.continues) for token in tokens] == words
    options = pipe.options_type(aggregation_strategy="first", ignore_labels=[])
    row, _ = encoded_with_scores(pipe, text)
    labels = ["B-PER", "B-LOC", "B-PER", "B-LOC", "B-PER", "B-LOC"]
    found = pipe._decode(text, [row], [[scores_of(label, 1.0) for label in labels]], options)
    assert [text[entity["start"] : entity["end"]] for entity in found] == [text[:10], "love", text[15:21], "movies"]


def encoded_with_scores(pipe, text):
    row = pipe._encode_text(0, text, None, pipe._options)
    return row, [scores_of("O", 1.0)] * (len(row.ids) - 2)


def test_nan_scores_stay_visible(pipe):
    labelled = [[0.5, math.nan, 0.5, 0.0, 0.0, 0.0]]
    for strategy in ("none", "simple", "first", "max"):
        (entity,) = decoded(pipe, ["a"], labelled, strategy)
        assert "PER" in next(iter(entity.values())) and math.isnan(entity["score"])
    (entity,) = decoded(pipe, ["a"], [[math.nan] * 6], "average", ignore_labels=[])
    assert math.isnan(entity["score"])


# ---- offsets ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["none", *STRATEGIES])
def test_offsets_count_characters_of_the_text(pipe, strategy):
    for text in TEXTS:
        found = pipe(text, aggregation_strategy=strategy, ignore_labels=[])
        spans = [(entity["start"], entity["end"]) for entity in found]
        assert spans == sorted(spans) and all(0 <= start < end <= len(text) for start, end in spans)
        assert found
        if text.isascii():
            for entity in found:
                meant = entity["word"].removeprefix("##").replace(" ", "")
                assert text[entity["start"] : entity["end"]].lower().replace(" ", "") == meant


def test_offsets_beyond_the_basic_plane(pipe):
    text = "🙂🙂 北京 Ada"
    found = {text[e["start"] : e["end"]] for e in pipe(text, ignore_labels=[])}
    assert found == {"🙂🙂", "北", "京", "Ada"}


# ---- windows ---------------------------------------------------------------------------------------------------------


def test_overlapping_entities_of_windows(pipe):
    text = "abcdefghij"
    letters = [(i, i + 1) for i in range(len(text))]

    def window(first, last, spans):
        """A row of the characters from first to last, with entities at (start, end, score)."""
        offsets = [(0, 0), *letters[first:last], (0, 0)]
        scores = [scores_of("O", 1.0)] * (last - first)
        for start, end, score in spans:
            for i in range(start, end):
                scores[i - first] = scores_of("B-PER" if i == start else "I-PER", score)
        ids = pipe.tokenizer.convert_tokens_to_ids(["[CLS]", *text[first:last], "[SEP]"])
        return Row(ids, [0] * len(ids), offsets), scores

    def found(*windows):
        rows, scores = zip(*(window(*given) for given in windows), strict=True)
        options = pipe.options_type(aggregation_strategy="simple", stride=2)
        return [(e["start"], e["end"], e["score"]) for e in pipe._decode(text, list(rows), list(scores), options)]

    assert found((0, 6, [(1, 3, 0.75)]), (4, 10, [(7, 8, 0.5)])) == [(1, 3, 0.75), (7, 8, 0.5)]
    assert found((0, 6, [(4, 6, 0.75)]), (4, 10, [(4, 7, 0.5)])) == [(4, 7, 0.5)]  # the longer one
    assert found((0, 6, [(3, 6, 0.5)]), (4, 10, [(4, 6, 0.75)])) == [(3, 6, 0.5)]
    assert found((0, 6, [(4, 6, 0.5)]), (4, 10, [(4, 6, 0.75)])) == [(4, 6, 0.75)]  # the higher score
    assert found((0, 6, [(4, 6, 0.75)]), (4, 10, [(4, 6, 0.5)])) == [(4, 6, 0.75)]
    assert found((0, 6, [(4, 6, 0.5)]), (4, 10, [(4, 6, 0.5)])) == [(4, 6, 0.5)]
    assert found((0, 6, [(4, 6, 0.5)]), (4, 10, [(5, 7, 0.5)])) == [(4, 6, 0.5)]  # else the first
    assert found((0, 6, [(5, 6, 0.5)]), (6, 10, [(6, 7, 0.75)])) == [(5, 6, 0.5), (6, 7, 0.75)]  # they only touch
    assert found((0, 6, []), (4, 10, [])) == []
    # Two overlapping entities of one window both stay. Only between windows one is dropped.
    assert found((0, 6, [(1, 3, 0.5), (3, 4, 0.75)])) == [(1, 3, 0.5), (3, 4, 0.75)]


def test_two_entities_of_one_character(pipe):
    # Normalisation may turn a character into several tokens. Entities are dropped only between windows.
    row = Row([2, 5, 6, 3], [0] * 4, [(0, 0), (0, 1), (0, 1), (0, 0)])
    scores = [scores_of("B-PER", 0.5), scores_of("B-LOC", 0.75)]
    options = pipe.options_type(aggregation_strategy="simple", stride=1)
    assert [e["entity_group"] for e in pipe._decode("\uac01", [row], [scores], options)] == ["PER", "LOC"]
    assert [e["entity_group"] for e in pipe._decode("\uac01", [row, row], [scores] * 2, options)] == ["LOC"]


def test_windows_reach_to_the_end_of_the_text(pipe):
    with pytest.raises(TextError, match="text 0: expected at most 24 tokens"):
        pipe(LONG)
    found = pipe(LONG, aggregation_strategy="simple", stride=6)
    assert_entities(found, ENTITY_TYPES)
    assert found[-1]["end"] > len(LONG) - 30
    spans = [(entity["start"], entity["end"]) for entity in found]
    assert all(end <= start for (_, end), (start, _) in zip(spans, spans[1:], strict=False))


def test_short_text_is_one_window(pipe):
    for strategy in STRATEGIES:
        expected = pipe(TEXTS, aggregation_strategy=strategy)
        assert pipe(TEXTS, aggregation_strategy=strategy, stride=0) == expected
        assert pipe(TEXTS, aggregation_strategy=strategy, stride=20) == expected


def test_length_of_windows(pipe):
    longer = pipe(TEXTS[0], aggregation_strategy="first", stride=2, max_length=8)
    assert longer == pipe(TEXTS[0], aggregation_strategy="first", stride=2, max_length=8, truncation=True)
    assert longer != pipe(TEXTS[0], aggregation_strategy="first", stride=2)
    rows = pipe._encode(0, TEXTS[0], pipe.options_type(aggregation_strategy="first", stride=2, max_length=8))
    assert [len(row.ids) for row in rows[:-1]] == [8] * (len(rows) - 1) and len(rows) > 2
    assert all(before.ids[-3:-1] == after.ids[1:3] for before, after in zip(rows, rows[1:], strict=False))


def test_windows_respect_the_maximum_of_the_tokenizer(folder, pipe):
    tokenizer = Tokenizer(pipe.tokenizer._vocab, max_length=8)
    other = pipeline("ner", pipe.model, tokenizer=tokenizer, aggregation_strategy="max")
    assert other(TEXTS[0], stride=2) == pipe(TEXTS[0], aggregation_strategy="max", stride=2, max_length=8)


# ---- bad arguments ---------------------------------------------------------------------------------------------------

AVERAGE = {"aggregation_strategy": "average"}
BAD_OPTIONS = [
    ({"aggregation_strategy": "mean"}, ValueError, "aggregation_strategy: expected one of .*'average'.*, got 'mean'"),
    ({"aggregation_strategy": None}, ValueError, "aggregation_strategy: expected one of"),
    ({"ignore_labels": "O"}, TypeError, "ignore_labels: expected a list of str, got 'O'"),
    ({"ignore_labels": [0]}, TypeError, r"ignore_labels: expected a list of str, got \[0\]"),
    ({"ignore_labels": None}, TypeError, "ignore_labels"),
    ({"stride": 2}, ValueError, "stride: expected None without an aggregation_strategy, got 2"),
    ({"stride": -1} | AVERAGE, ValueError, "stride: expected None or an int of at least 0, got -1"),
    ({"stride": 1.0} | AVERAGE, TypeError, "stride: expected None or an int of at least 0, got float"),
    ({"stride": True} | AVERAGE, TypeError, "stride: expected None or an int of at least 0, got bool"),
    ({"stride": 22} | AVERAGE, ValueError, "stride: expected less than the 22 tokens that a window has room for"),
    ({"stride": 3, "max_length": 5} | AVERAGE, ValueError, "stride: expected less than the 3 tokens .*, got 3"),
    ({"stride": 0, "max_length": 1} | AVERAGE, ValueError, "stride: expected less than the -1 tokens"),
]


@pytest.mark.parametrize(("options", "kind", "message"), BAD_OPTIONS)
def test_bad_option(pipe, folder, options, kind, message):
    with pytest.raises(kind, match=message):
        pipe.stream(["good"], **options)
    with pytest.raises(kind, match=message):
        pipeline("token-classification", folder, **options)


def test_strategy_in_capitals(pipe):
    assert pipe(TEXTS, aggregation_strategy="SIMPLE") == pipe(TEXTS, aggregation_strategy="simple")


@pytest.mark.parametrize(
    ("texts", "kind", "message"),
    [
        (["good", ""], ValueError, "token-classification: text 1: expected a non-empty text, got ''"),
        (["good", 3], TypeError, "text 1: expected a str, got int"),
        ({"text": "good"}, TypeError, "text 0: expected a str, got dict"),
    ],
)
def test_bad_text_in_windows(pipe, texts, kind, message):
    with pytest.raises(kind, match=message):
        pipe(texts, aggregation_strategy="simple", stride=2)


@pytest.mark.parametrize("options", [{}, {"aggregation_strategy": "simple", "stride": 2}], ids=["rows", "windows"])
def test_text_without_tokens_and_a_tokenizer_without_special_ones(pipe, options):
    bare = Tokenizer(pipe.tokenizer._vocab)
    bare._templates = [[("A", 0)], [("A", 0), ("B", 1)]]
    other = pipeline("ner", pipe.model, tokenizer=bare)
    assert len(other("good movie", ignore_labels=[])) == 2
    with pytest.raises(TextError, match="text 1: expected at least one token, got none of '\\\\ufeff'"):
        other(["good", "\ufeff"], **options)


def test_any_text_gets_an_answer(pipe):
    for text in ("\x00", "🙂", "مرحبا", "x" * 500, "[SEP]", "a [PAD] [CLS] b", "\ud800", "ﬁ İ ß ¼"):
        for strategy in ("none", *STRATEGIES):
            types = TOKEN_TYPES if strategy == "none" else ENTITY_TYPES
            assert_entities(pipe(text, aggregation_strategy=strategy, ignore_labels=[], truncation=True), types)


# ---- against transformers itself -------------------------------------------------------------------------------------

EXACT = [
    *TEXTS,
    "[SEP] inside [MASK] and [UNK]",
    "Ⅷ ﬁne İstanbul straße e\u0301 e\u0301a ｆｕｌｌ \u0416 x\u0301\u0302y",
    "new mo\u0301vie lovela\u0301c\u0301e movies",
    "don't ( a ) ... Ada , 's it's New   York\tYork\n2023-01-05",
]


@pytest.mark.oracle
@pytest.mark.parametrize(("seed", "lowercase"), [(1, True), (2, False), (3, True)])
def test_transformers_returns_the_same(transformers, tmp_path, seed, lowercase):
    labels = [*LABELS, "S-ORG", "B-so-so", "so-so"]
    write_lively_model(tmp_path, labels, seed=seed, task="token-classification", positions=40)
    config = f'{{"do_lower_case": {str(lowercase).lower()}, "model_max_length": 40}}'
    (tmp_path / "tokenizer_config.json").write_text(config)
    model = transformers.SqueezeBertForTokenClassification.from_pretrained(tmp_path)
    vocab = str(tmp_path / "vocab.txt")
    tokenizer = transformers.BertTokenizerFast(vocab, do_lower_case=lowercase, model_max_length=40)
    ours = pipeline("ner", tmp_path)
    theirs = transformers.pipeline("ner", model=model, tokenizer=tokenizer, device="cpu")
    calls = [{}, {"ignore_labels": []}, {"ignore_labels": ["B-PER", "LOC", "O"]}]
    calls += [call | {"aggregation_strategy": strategy} for strategy in STRATEGIES for call in calls]
    found = 0
    for call in calls:
        for text in EXACT:
            assert_alike(ours(text, truncation=True, **call), theirs(text, **call))
            found += len(ours(text, truncation=True, **call))
        assert_alike(ours(EXACT[:3], truncation=True, **call), theirs(EXACT[:3], **call))
        assert_alike(ours(EXACT[:1], truncation=True, **call), theirs(EXACT[:1], **call))
    assert found > 500

    for strategy in STRATEGIES:
        for stride in (0, 5, 20, 37):
            call = {"aggregation_strategy": strategy, "stride": stride}
            for text in (LONG, "one " * 60, *EXACT):
                assert_alike(ours(text, **call), theirs(text, **call))
