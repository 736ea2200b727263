"""The commands that read pairs, on tiny random models: classify --pair, zero-shot, rerank."""

import json

import pytest
from cli_helpers import caller, check_error, run
from pipeline_helpers import write_lively_model

from squeezeops.pipelines import pipeline

TEXTS = ["a good movie", "New York!", "the awful, awful movies."]
PAIRS = ["bad", "new\tyork", "a good movie"]
QUERY = "a good movie"


@pytest.fixture
def call(capsys, monkeypatch):
    return caller(capsys, monkeypatch)


@pytest.fixture(scope="module")
def nli(tmp_path_factory):
    return write_lively_model(
        tmp_path_factory.mktemp("nli"), ["contradiction", "neutral", "entailment"], seed=11, positions=40
    )


@pytest.fixture(scope="module")
def cross_encoder(tmp_path_factory):
    return write_lively_model(tmp_path_factory.mktemp("cross"), ["LABEL_0"], seed=4, positions=40)


def table(out):
    return [line.split("\t") for line in out.splitlines()]


def objects(out):
    return [json.loads(line) for line in out.splitlines()]


def score(value):
    return f"{value:.4f}"


# ---- classify --pair -------------------------------------------------------------------------------------------------


def test_one_second_text_for_all(call, nli, tmp_path):
    expected = pipeline("text-classification", nli)([(text, "bad") for text in TEXTS])
    lines = [[e["label"], score(e["score"]), t, "bad"] for e, t in zip(expected, TEXTS, strict=True)]
    assert table(call("classify", "--model", nli, *TEXTS, "--pair", "bad")[1]) == lines
    (tmp_path / "texts").write_text("\n".join(TEXTS))
    assert table(call("classify", "--model", nli, "--input", tmp_path / "texts", "--pair", "bad")[1]) == lines
    found = objects(call("classify", "--model", nli, "--json", "--pair", "bad", "--", *TEXTS)[1])
    assert found == [{"text": t, "text_pair": "bad", **e} for e, t in zip(expected, TEXTS, strict=True)]


def test_pairs_of_a_file(call, nli, tmp_path):
    """Only the first tab of a line separates."""
    (tmp_path / "pairs").write_text("".join(f"{a}\t{b}\n" for a, b in zip(TEXTS, PAIRS, strict=True)))
    expected = pipeline("text-classification", nli, top_k=None)(list(zip(TEXTS, PAIRS, strict=True)))
    status, out, _ = call("classify", "--model", nli, "--input", tmp_path / "pairs", "--pair", "--json", "--all")
    assert status == 0
    assert objects(out) == [
        {"text": a, "text_pair": b, "scores": e} for a, b, e in zip(TEXTS, PAIRS, expected, strict=True)
    ]
    lines = table(call("classify", "--model", nli, "--pair", "--input", tmp_path / "pairs", "--top-k", 2)[1])
    assert [line[4:] for line in lines] == [[a, b.replace("\t", " ")] for a, b in zip(TEXTS, PAIRS, strict=True)]


def test_lines_with_tabs_are_texts_unless_pairs_are_asked_for(call, nli, tmp_path):
    (tmp_path / "pairs").write_text("good\tbad\n")
    (found,) = objects(call("classify", "--model", nli, "--json", "--input", tmp_path / "pairs")[1])
    assert found == {"text": "good\tbad", **pipeline("text-classification", nli)("good\tbad")[0]}


def test_bad_pairs(call, nli, tmp_path):
    model = ("classify", "--model", nli)
    check_error(
        call(*model, "good", "--pair"), r"--pair: expected a second text, or --input FILE with a tab in each line"
    )
    check_error(call(*model, "good", "--pair", " "), "--pair: expected a text, got ' '")
    check_error(call(*model, "--pair", "good"), r"expected texts or --input FILE \(see squeezeops classify --help\)")
    (tmp_path / "pairs").write_text("good\tbad\nbad\n")
    result = call(*model, "--input", tmp_path / "pairs", "--pair")
    out = check_error(result, r"pairs: line 2: expected a text, a tab and its second text, got no tab")
    assert len(out.splitlines()) == 1
    check_error(
        call(*model, "--input", tmp_path / "pairs", "--pair", "good"),
        r"pairs: line 1: expected a text without a tab since --pair has the second text, got 'good\\tbad'",
    )
    for line in ("good\t", "\tgood"):
        (tmp_path / "pairs").write_text(line)
        check_error(call(*model, "--input", tmp_path / "pairs", "--pair"), r"line 1: expected a non-empty text, got ''")
    long = " ".join(["good"] * 50)
    check_error(
        call(*model, long, "--pair", "bad"), r"text 1: expected at most 40 tokens, got 54 \(--truncation cuts it\)"
    )
    assert call(*model, long, "--pair", "bad", "--truncation")[0] == 0


# ---- zero-shot -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"multi_label": True}, {"hypothesis_template": "the {} movie"}], ids=str)
def test_zero_shot(call, nli, tmp_path, options):
    labels = "good, bad,new york"
    expected = pipeline("zero-shot-classification", nli, candidate_labels=labels, **options)(TEXTS)
    arguments = ["zero-shot", "--model", nli, "--labels", labels]
    arguments += ["--multi-label"] if "multi_label" in options else []
    arguments += ["--template", options["hypothesis_template"]] if "hypothesis_template" in options else []
    lines = [
        [c for label, s in zip(e["labels"], e["scores"], strict=True) for c in (label, score(s))] + [e["sequence"]]
        for e in expected
    ]
    assert table(call(*arguments, *TEXTS)[1]) == lines
    (tmp_path / "texts").write_text("\n".join(TEXTS))
    assert table(call(*arguments, "--input", tmp_path / "texts", "--batch-size", 2)[1]) == lines
    assert objects(call(*arguments, "--json", *TEXTS)[1]) == [
        {"text": e["sequence"], "labels": e["labels"], "scores": e["scores"]} for e in expected
    ]


def test_labels_may_be_repeated(call, nli):
    model = ("zero-shot", "--model", nli)
    expected = call(*model, "--labels", "good,bad,new york", *TEXTS)
    assert call(*model, "--labels", "good, bad", "--labels", "new york,", *TEXTS) == expected


def test_zero_shot_cuts_long_texts(call, nli):
    labels = ("--labels", "good,bad")
    long = " ".join(["good"] * 60)
    for more, options in (((), {}), (("--max-length", 30), {"max_length": 30})):
        expected = pipeline("zero-shot-classification", nli, **options)(long, "good,bad")
        (found,) = objects(call("zero-shot", "--model", nli, *labels, *more, "--json", long)[1])
        assert (found["labels"], found["scores"]) == (expected["labels"], expected["scores"])


def test_bad_calls_of_zero_shot(call, nli, cross_encoder):
    model = ("zero-shot", "--model", nli)
    check_error(call(*model, "good"), "the following arguments are required: --labels")
    check_error(
        call(*model, "--labels", ", ", "good"), "error: --labels: expected at least one label, and none blank, got"
    )
    check_error(
        call(*model, "--labels", "a", "--template", "b", "good"), "--template: expected a text with {} for the label"
    )
    for option in ("--labels", "--template"):
        result = call(*model, "--labels", "a", option, "\udcff {}", "good")
        check_error(result, rf"{option}: expected valid UTF-8, got '\\udcff {{}}'")
    check_error(call(*model, "--labels", "a", "--max-length", 3, "good"), "--max-length: expected room for tokens")
    check_error(call(*model, "--labels", "a", "good", " "), "text 2: expected a non-empty text")
    check_error(
        call(*model, "--labels", "a", "--max-length", 9, "good"), "text 1: expected a hypothesis that leaves room"
    )
    check_error(
        call("zero-shot", "--model", cross_encoder, "--labels", "a", "good"),
        'model: expected a model with two labels or more in label2id, one of which begins with "entail", got',
    )


# ---- rerank ----------------------------------------------------------------------------------------------------------


def test_rerank(call, cross_encoder, tmp_path):
    expected = pipeline("rerank", cross_encoder)(QUERY, TEXTS)
    assert [entry["index"] for entry in expected] != [0, 1, 2]
    arguments = ("rerank", "--model", cross_encoder, "--query", QUERY)
    lines = [[score(e["score"]), str(e["index"]), TEXTS[e["index"]]] for e in expected]
    assert table(call(*arguments, *TEXTS)[1]) == lines
    (tmp_path / "documents").write_text("\n".join(TEXTS))
    for size in (1, 2, 32):
        result = call(*arguments, "--input", tmp_path / "documents", "--batch-size", size, "--json", "--top-k", 2)
        assert objects(result[1]) == [{**e, "text": TEXTS[e["index"]]} for e in expected[:2]]
    status, out, _ = run(*map(str, arguments), "--input", "-", stdin="\n".join(TEXTS).encode())
    assert status == 0 and table(out) == lines


def test_rerank_cuts_long_documents(call, cross_encoder):
    long = ["good " * 60, "bad " * 60]
    for more, options in (((), {}), (("--max-length", 12), {"max_length": 12})):
        expected = pipeline("rerank", cross_encoder, **options)(QUERY, long)
        found = objects(call("rerank", "--model", cross_encoder, "--query", QUERY, *more, "--json", *long)[1])
        assert [(e["index"], e["score"]) for e in found] == [(e["index"], e["score"]) for e in expected]


def test_bad_calls_of_rerank(call, cross_encoder, nli, tmp_path):
    model = ("rerank", "--model", cross_encoder)
    check_error(call(*model, "good"), "the following arguments are required: --query")
    check_error(call(*model, "--query", " ", "good"), "--query: expected a text, got ' '")
    check_error(call(*model, "--query", QUERY), r"expected documents or --input FILE \(see squeezeops rerank --help\)")
    (tmp_path / "documents").write_text("good\nbad\n\ngood")
    result = call(*model, "--query", QUERY, "--input", tmp_path / "documents")
    assert check_error(result, "documents: line 3: expected a document, got a blank line") == ""  # nothing unsorted
    assert check_error(call(*model, "--query", QUERY, "good", ""), "document 2: expected a non-empty text") == ""
    check_error(
        call("rerank", "--model", nli, "--query", QUERY, "good"),
        r"error: model: expected a model with one label, got \['contradiction', 'neutral', 'entailment'\]",
    )


def test_scores_that_are_no_numbers_are_no_json(call, cross_encoder, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    for file in cross_encoder.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[-4:] = b"\x00\x00\xc0\x7f"  # the classifier's bias, the last tensor
    (folder / "model.safetensors").write_bytes(data)
    arguments = ("rerank", "--model", folder, "--query", QUERY, "good")
    check_error(call(*arguments, "--json"), "score: expected a number, got nan")
    assert table(call(*arguments)[1]) == [["nan", "0", "good"]]
