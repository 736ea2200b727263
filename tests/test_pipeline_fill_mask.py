"""pipeline("fill-mask"): rankings, sequences, targets, and the results of transformers."""

import math
import warnings
from functools import partial

import numpy as np
import pytest
from model_helpers import write_model
from pipeline_helpers import MODELS, PIECES, assert_alike, assert_same, structure, write_lively_model, write_task_model

from squeezeops.pipelines import FillMaskPipeline, TextError, pipeline
from squeezeops.pipelines.fill_mask import ranking
from squeezeops.squeezebert.model.squeezebert import SqueezeBert
from squeezeops.squeezebert.tokenizer.tokenizer import Tokenizer

shape_of = partial(structure, types={"score": float, "token": int, "token_str": str, "sequence": str})
TEXTS = MODELS["fill-mask"][1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_task_model(tmp_path_factory.mktemp("tiny"), "fill-mask")


@pytest.fixture(scope="module")
def pipe(folder):
    return pipeline("fill-mask", folder)


def probabilities(pipe, text):
    """The probabilities of all tokens at each position of a text."""
    logits = pipe.model([pipe.tokenizer(text)["input_ids"]]).logits[0].astype(np.float64)
    return np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)


# ---- what a call returns ---------------------------------------------------------------------------------------------


ONE, TWO = TEXTS[0], TEXTS[3]  # with one mask and with two


@pytest.mark.parametrize(
    ("inputs", "options", "expected"),
    [
        (ONE, {}, ["*"] * 5),
        (ONE, {"top_k": 1}, ["*"]),
        (ONE, {"top_k": 10**6}, ["*"] * len(PIECES)),
        (TWO, {"top_k": 2}, [["*"] * 2] * 2),
        ([ONE, ONE], {"top_k": 2}, [["*"] * 2] * 2),
        ([ONE, TWO], {"top_k": 1}, [["*"], [["*"]] * 2]),
        ((ONE, ONE), {"top_k": 1}, [["*"], ["*"]]),
        ([ONE], {"top_k": 2}, ["*"] * 2),  # surprising, but as in transformers
        ([TWO], {"top_k": 2}, [["*"] * 2] * 2),
        ((ONE,), {"top_k": 2}, ["*"] * 2),
        ([], {}, []),
        (ONE, {"targets": ["good", "bad"]}, ["*"] * 2),
        (ONE, {"targets": "good"}, ["*"]),
        (TWO, {"targets": ["good", "bad", "good", "a"], "top_k": 4}, [["*"] * 3] * 2),
    ],
)
def test_structure_of_a_result(pipe, inputs, options, expected):
    assert shape_of(pipe(inputs, **options)) == expected


@pytest.mark.parametrize("text", TEXTS)
def test_scores_and_tokens(pipe, text):
    ids = pipe.tokenizer(text)["input_ids"]
    expected = probabilities(pipe, text)[[i for i, token in enumerate(ids) if token == pipe.tokenizer.mask_token_id]]
    found = pipe(text, top_k=7)
    found = [found] if len(expected) == 1 else found
    for ranked, row in zip(found, expected, strict=True):
        assert [entry["token"] for entry in ranked] == np.argsort(-row)[:7].tolist()
        assert [entry["score"] for entry in ranked] == pytest.approx(np.sort(row)[::-1][:7].tolist(), abs=1e-6)
        assert [entry["token_str"] for entry in ranked] == [PIECES[entry["token"]] for entry in ranked]


def test_sequence_is_the_text_with_the_token(pipe):
    found = {entry["token_str"]: entry["sequence"] for entry in pipe("A good[MASK]!", top_k=len(PIECES))}
    assert found["movie"] == "a good movie!"
    assert found["##s"] == "a goods!"
    assert found["北"] == "a good 北!"
    assert found["."] == "a good.!"
    assert found["[SEP]"] == found["[PAD]"] == "a good!"


def test_sequences_of_several_masks_show_the_special_tokens(pipe):
    first, second = pipe("[MASK] good [MASK]", targets=["bad", "[PAD]"])
    assert {entry["sequence"] for entry in first} == {"[CLS] bad good [MASK] [SEP]", "[CLS] good [MASK] [SEP]"}
    assert {entry["sequence"] for entry in second} == {"[CLS] [MASK] good bad [SEP]", "[CLS] [MASK] good [SEP]"}


def test_token_beyond_the_vocabulary(tmp_path):
    folder = write_lively_model(tmp_path, task="masked-lm")
    (folder / "vocab.txt").write_text("\n".join(PIECES[:-2]) + "\n", encoding="utf-8")
    found = pipeline("fill-mask", folder)("a [MASK]", top_k=len(PIECES))
    beyond = [entry for entry in found if entry["token"] >= len(PIECES) - 2]
    assert len(beyond) == 2 and all(entry["token_str"] == "" and entry["sequence"] == "a" for entry in beyond)


# ---- rankings --------------------------------------------------------------------------------------------------------


def test_ranking_of_equal_scores_follows_the_ids():
    scores = np.array([0.1, 0.25, 0.1, 0.25, 0.1, 0.2], np.float32)
    tenth, fifth = float(np.float32(0.1)), float(np.float32(0.2))
    assert ranking(scores, None, 4) == [(1, 0.25), (3, 0.25), (5, fifth), (0, tenth)]
    assert ranking(scores, None, 1) == [(1, 0.25)]
    assert ranking(scores, [2, 3, 4], 2) == [(3, 0.25), (2, tenth)]
    assert ranking(scores, [4], 5) == [(4, tenth)]
    assert len(ranking(scores, None, 100)) == 6


def test_nan_scores_stay_visible():
    scores = np.array([0.5, np.nan, 0.25], np.float32)
    (best, score), second = ranking(scores, None, 2)
    assert best == 1 and math.isnan(score) and second == (0, 0.5)
    assert [place for place, _ in ranking(np.full(4, np.nan, np.float32), None, 3)] == [0, 1, 2]


# ---- the head --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 2, 32])
def test_only_masked_tokens_are_decoded(pipe, monkeypatch, batch_size):
    seen = []
    monkeypatch.setattr(pipe, "model", pipe.model.op_by_op())
    dense = pipe.model.head.dense
    monkeypatch.setattr(pipe.model.head, "dense", lambda x, **rest: seen.append(x.copy()) or dense(x, **rest))
    pipe(TEXTS, batch_size=batch_size)
    expected = []
    for text in TEXTS:
        ids = pipe.tokenizer(text)["input_ids"]
        states = pipe.model([ids]).last_hidden_state[0]
        expected += [states[i] for i, token in enumerate(ids) if token == pipe.tokenizer.mask_token_id]
    assert len(expected) == 6
    np.testing.assert_allclose(np.concatenate(seen[: -len(TEXTS)]), expected, atol=1e-5)


def test_padding_is_not_taken_for_a_mask(tmp_path):
    words = ["[MASK]", *(word for word in PIECES if word != "[MASK]")]  # gives it id 0, which also pads rows
    folder = write_model(tmp_path, words=words, task="masked-lm")
    pipe = pipeline("fill-mask", folder)
    texts = ["[MASK]", "a good [MASK] movie", "the [MASK]"]
    assert pipe.tokenizer.mask_token_id == 0
    assert_same(pipe(texts), [pipe(text) for text in texts])


# ---- targets ---------------------------------------------------------------------------------------------------------


def test_targets_keep_the_scores_of_the_vocabulary(pipe):
    scores = probabilities(pipe, ONE)[3]
    found = pipe(ONE, targets=["bad", "##s", "good"])
    assert sum(entry["score"] for entry in found) < 0.5
    assert [entry["score"] for entry in found] == sorted((entry["score"] for entry in found), reverse=True)
    assert {entry["token_str"]: entry["score"] for entry in found} == pytest.approx(
        {word: scores[PIECES.index(word)] for word in ("bad", "##s", "good")}, abs=1e-6
    )
    assert pipe(ONE, targets=["bad", "##s", "good"], top_k=2) == found[:2]


def test_target_of_several_pieces_is_its_first(pipe):
    with pytest.warns(
        UserWarning, match="fill-mask: targets: expected words of the vocabulary, got 'Lovelace'; 'love'"
    ):
        found = pipe(ONE, targets=["Lovelace", "bad"])
    assert {entry["token_str"] for entry in found} == {"love", "bad"}
    with pytest.warns(UserWarning, match=r"got '\\u0416'; '\[UNK\]' takes its place|got 'Ж'; '\[UNK\]' takes"):
        assert pipe(ONE, targets="Ж")[0]["token_str"] == "[UNK]"
    with pytest.warns(UserWarning, match="got ' '; nothing takes its place"):
        assert len(pipe(ONE, targets=[" ", "bad"])) == 1


def test_target_without_a_row_in_the_model(tmp_path):
    folder = write_lively_model(tmp_path / "model", task="masked-lm")
    vocabulary = (folder / "vocab.txt").read_text(encoding="utf-8")
    (folder / "vocab.txt").write_text(vocabulary.replace("[PAD]", "0x").replace("[UNK]", "1x"), encoding="utf-8")
    pipe = pipeline("fill-mask", folder)
    for target in ("[PAD]", "[UNK]", "\u0416"):
        with pytest.warns(UserWarning, match=r"targets: expected words of the vocabulary, got .*; nothing takes"):
            assert [entry["token_str"] for entry in pipe(ONE, targets=[target, "good"])] == ["good"]
        with pytest.warns(UserWarning), pytest.raises(ValueError, match="targets: expected at least one with a token"):
            pipe(ONE, targets=[target])


def test_target_of_the_vocabulary_gives_no_warning(pipe):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(pipe(ONE, targets=["bad", "[UNK]", "[MASK]", "##lace"])) == 4


def test_one_warning_is_enough_for_all_texts(folder):
    with pytest.warns(UserWarning) as caught:
        pipe = pipeline("fill-mask", folder, targets=["Lovelace", "bad"])
        results = pipe(TEXTS * 3, batch_size=2)
    assert len(caught) == 1 and len(results) == 15
    assert {entry["token_str"] for entry in results[0]} == {"love", "bad"}


def test_targets_of_a_call_last_for_that_call(folder):
    pipe = pipeline("fill-mask", folder, targets=["good"])
    first, second = pipe.stream([ONE, ONE], batch_size=1), pipe.stream([ONE, ONE], batch_size=1, targets="bad")
    found = [next(results)[0]["token_str"] for results in (first, second, first, second)]
    assert found == ["good", "bad", "good", "bad"]


def test_truncation_of_the_mask(pipe):
    with pytest.raises(TextError, match=r"expected a text with \[MASK\], got 'a b c \[MASK\]' \(after truncation\)"):
        pipe("a b c [MASK]", truncation=True, max_length=5)


# ---- bad arguments ---------------------------------------------------------------------------------------------------

BAD_OPTIONS = [
    ({"top_k": 0}, ValueError, "top_k: expected an int of at least 1, got 0"),
    ({"top_k": None}, TypeError, "top_k: expected an int of at least 1, got NoneType"),
    ({"top_k": 2.0}, TypeError, "top_k"),
    ({"targets": []}, ValueError, r"targets: expected at least one word, got \[\]"),
    ({"targets": ["good", 3]}, TypeError, r"targets: expected None, a str or a list of str, got \['good', 3\]"),
    ({"targets": 3}, TypeError, "targets: expected None, a str or a list of str, got 3"),
    ({"targets": {"good"}}, TypeError, "targets"),
    ({"targets": ["", " "]}, ValueError, r"targets: expected at least one with a token in .*, got \['', ' '\]"),
]


@pytest.mark.filterwarnings("ignore:fill-mask. targets")
@pytest.mark.parametrize(("options", "kind", "message"), BAD_OPTIONS)
def test_bad_option(pipe, folder, options, kind, message):
    with pytest.raises(kind, match=message):
        pipe.stream([ONE], **options)
    with pytest.raises(kind, match=message):
        pipeline("fill-mask", folder, **options)


@pytest.mark.parametrize(
    ("texts", "kind", "message"),
    [
        ("good", TextError, r"fill-mask: text 0: expected a text with \[MASK\], got 'good'"),
        ([ONE, "[mask]"], TextError, r"text 1: expected a text with \[MASK\], got '\[mask\]'"),
    ],
)
def test_bad_text(pipe, texts, kind, message):
    with pytest.raises(kind, match=message):
        pipe(texts)


def test_mask_token_of_another_name(tmp_path):
    folder = write_model(tmp_path, words=[*PIECES, "<gap>"], task="masked-lm")
    vocab = {word: i for i, word in enumerate([*PIECES, "<gap>"])}
    model = SqueezeBert.from_pretrained(folder)
    pipe = pipeline("fill-mask", model, tokenizer=Tokenizer(vocab, mask_token="<gap>"))
    assert isinstance(pipe, FillMaskPipeline)
    assert len(pipe("a <gap>")) == 5
    with pytest.raises(TextError, match="expected a text with <gap>, got 'a .MASK.'"):
        pipe("a [MASK]")


# ---- against transformers itself -------------------------------------------------------------------------------------


@pytest.mark.oracle
@pytest.mark.filterwarnings("ignore:fill-mask. targets")
@pytest.mark.parametrize("lowercase", [True, False], ids=["uncased", "cased"])
@pytest.mark.parametrize("seed", [1, 2])
def test_transformers_returns_the_same(transformers, tmp_path, seed, lowercase):
    write_lively_model(tmp_path, seed=seed, task="masked-lm", positions=40)
    (tmp_path / "tokenizer_config.json").write_text(f'{{"do_lower_case": {str(lowercase).lower()}}}')
    model = transformers.SqueezeBertForMaskedLM.from_pretrained(tmp_path)
    # The default of transformers 5; version 4 cleans sequences up.
    cleanup = {"clean_up_tokenization_spaces": False}
    tokenizer = transformers.BertTokenizerFast(str(tmp_path / "vocab.txt"), do_lower_case=lowercase, **cleanup)
    ours = pipeline("fill-mask", tmp_path)
    theirs = transformers.pipeline("fill-mask", model=model, tokenizer=tokenizer, device="cpu")
    texts = [
        *TEXTS,
        "[CLS] [PAD] [MASK] don't, it's ' a ( [UNK] ) ... 's",
        "Émile-Zoë [MASK] ﬁne \u0416\u0416 e\u0301a",
        "love[MASK]ly [MASK][MASK]s " + "new york " * 10,
    ]
    calls = [{}, {"top_k": 1}, {"targets": "good"}, {"targets": ["good", "good", "[PAD]"]}]
    calls += [{"targets": ["bad", "Lovelace", "", "Ж", "##s", "movie"], "top_k": k} for k in (2, 50)]
    for call in calls:
        for text in texts:
            assert_alike(ours(text, **call), theirs(text, **call))
        assert_alike(ours(texts, **call), theirs(texts, **call))
        assert_alike(ours(texts[:1], **call), theirs(texts[:1], **call))
        assert_alike(ours(texts[3:4], **call), theirs(texts[3:4], **call))

    whole = {"top_k": len(PIECES)}
    for text in texts[:3]:  # not all: the order of the smallest scores depends on rounding
        found, expected = (sorted(pipe(text, **whole), key=lambda entry: entry["token"]) for pipe in (ours, theirs))
        assert_alike(found, expected)

    long = "new [MASK] york " * 20
    limits = {"truncation": True, "max_length": 20}
    assert_alike(ours(long, **limits), theirs(long, tokenizer_kwargs=limits))
