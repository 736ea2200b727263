"""Reranking with a cross-encoder: arguments and results, on a tiny model of one label."""

import inspect
import json
import math
import shutil

import pytest
from pipeline_helpers import write_lively_model

from squeezeops import ops
from squeezeops.pipelines import RerankPipeline, TextError, pipeline
from squeezeops.squeezebert.conversion.convert import convert
from squeezeops.squeezebert.model.squeezebert import SqueezeBert

QUERY = "a good movie"
DOCUMENTS = ["the awful movie.", "new york!", "great, great movies.", "ada", "bad"]
NOTED, TRANSFORMER = "config_sentence_transformers.json", "sentence_bert_config.json"
KIND = {"model_type": "CrossEncoder"}
SIGMOID, IDENTITY = "torch.nn.modules.activation.Sigmoid", "torch.nn.modules.linear.Identity"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_lively_model(tmp_path_factory.mktemp("cross"), ["LABEL_0"], seed=4, positions=40)


@pytest.fixture(scope="module")
def rerank(folder):
    return pipeline("rerank", folder)


@pytest.fixture(scope="module")
def logits(folder):
    judge = pipeline("text-classification", folder, function_to_apply="none")
    return [entry["score"] for entry in judge([(QUERY, document) for document in DOCUMENTS])]


def ranked(scores):
    return sorted(({"index": i, "score": score} for i, score in enumerate(scores)), key=lambda e: -e["score"])


def approx(entries):
    return [{"index": entry["index"], "score": pytest.approx(entry["score"], abs=1e-6)} for entry in entries]


def test_documents_are_sorted_by_their_scores(rerank, logits):
    assert isinstance(rerank, RerankPipeline)
    expected = ranked([1 / (1 + math.exp(-logit)) for logit in logits])
    assert expected[0]["score"] - expected[-1]["score"] > 0.1
    result = rerank(QUERY, DOCUMENTS)
    assert result == approx(expected) and [list(entry) for entry in result] == [["index", "score"]] * len(DOCUMENTS)
    assert rerank(query=QUERY, documents=tuple(DOCUMENTS)) == result
    assert rerank(QUERY, []) == []
    for top_k in (1, 2, 99):
        assert rerank(QUERY, DOCUMENTS, top_k=top_k) == result[:top_k]
    assert rerank(QUERY, DOCUMENTS, function_to_apply="none") == approx(ranked(logits))


def test_streams_of_pairs_give_scores_in_input_order(rerank):
    scores = rerank.stream(((QUERY, document) for document in DOCUMENTS), batch_size=2)
    assert inspect.isgenerator(scores)
    assert ranked(list(scores)) == rerank(QUERY, DOCUMENTS)
    assert list(rerank.stream([[QUERY, DOCUMENTS[0]]])) == list(rerank.stream([(QUERY, DOCUMENTS[0])]))


@pytest.mark.parametrize("batch_size", [1, 2, 3, 32])
def test_results_do_not_depend_on_the_batch(rerank, batch_size):
    alone = ranked([rerank(QUERY, [document])[0]["score"] for document in DOCUMENTS])
    found = rerank(QUERY, DOCUMENTS, batch_size=batch_size)
    assert found == (alone if ops.get_backend() == "native" else approx(alone))


def test_equal_scores_and_nan(rerank, monkeypatch):
    monkeypatch.setattr(rerank, "_decode", lambda item, rows, outputs, options: float(item[1]))
    entries = rerank("a", ["1", "0.5", "nan", "1", "0.5"])
    assert [entry["index"] for entry in entries] == [2, 0, 3, 1, 4]  # NaN is not hidden; the earlier is first


def test_long_pairs_are_cut(rerank):
    fitting = " ".join(["good"] * (40 - 3 - 1))
    expected = rerank("bad", [fitting])
    assert rerank("bad", [fitting + " movie"]) == expected
    assert rerank("bad", [fitting], truncation=False) == expected
    assert rerank("bad", [fitting], max_length=8) == rerank("bad", ["good good good good"])
    with pytest.raises(TextError, match=r"text 1: expected at most 40 tokens, got 41 \(truncation=True cuts it\)"):
        rerank("bad", [fitting, fitting + " movie"], truncation=False)


# ---- what sentence-transformers notes in a folder --------------------------------------------------------------------


def changed_copy(folder, target, changes):
    """A copy with changed JSON files."""
    target.mkdir(parents=True)
    for file in folder.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    for name, values in changes.items():
        file = target / name
        file.write_text(json.dumps((json.loads(file.read_text()) if file.exists() else {}) | values))
    return target


@pytest.mark.parametrize(
    ("changes", "applied"),
    [
        ({"config.json": {"sbert_ce_default_activation_function": IDENTITY}}, "none"),
        ({"config.json": {"sentence_transformers": {"activation_fn": IDENTITY, "version": "4.1.0"}}}, "none"),
        ({NOTED: {"activation_fn": IDENTITY, **KIND, "prompts": {}}}, "none"),
        ({NOTED: {"activation_fn": SIGMOID, **KIND}, "config.json": {"sbert_ce_default_activation_function": IDENTITY}},
         "sigmoid"),
        ({NOTED: {"activation_fn": None, **KIND}}, "sigmoid"),
        ({"config.json": {"sbert_ce_default_activation_function": None}}, "sigmoid"),
        ({NOTED: {"activation_fn": IDENTITY, "model_type": "SentenceTransformer"}}, "sigmoid"),
        ({"config.json": {"sentence_transformers": {"version": "4.1.0"}}}, "sigmoid"),
    ],
)  # fmt: skip
def test_the_noted_function_is_applied(rerank, folder, tmp_path, changes, applied):
    other = changed_copy(folder, tmp_path / "other", changes)
    expected = rerank(QUERY, DOCUMENTS, function_to_apply=applied)
    assert pipeline("rerank", other)(QUERY, DOCUMENTS) == expected
    opposite = {"none": "sigmoid", "sigmoid": "none"}[applied]
    expected = rerank(QUERY, DOCUMENTS, function_to_apply=opposite)
    assert pipeline("rerank", other, function_to_apply=opposite)(QUERY, DOCUMENTS) == expected


def test_the_settings_of_the_transformer(rerank, folder, tmp_path):
    """A length in them replaces the tokenizer's; without the notes of a cross-encoder they are not read."""
    config = {"do_lower_case": False, "model_max_length": 30}
    settings = {"max_seq_length": 12, "do_lower_case": True}
    changes = {NOTED: KIND, TRANSFORMER: settings, "tokenizer_config.json": config}
    other = changed_copy(folder, tmp_path / "other", changes)
    documents = [*DOCUMENTS, "great movie " * 30, "GOOD Movie"]
    expected = rerank(QUERY, documents, max_length=12)
    assert expected != rerank(QUERY, documents)
    assert pipeline("rerank", other)(QUERY, documents) == expected
    convert(other, tmp_path / "other.safetensors", dtype="float32")
    assert pipeline("rerank", tmp_path / "other.safetensors")(QUERY, documents) == expected
    (other / NOTED).unlink()
    assert pipeline("rerank", other)(QUERY, documents) != expected


def test_a_converted_model_keeps_what_is_noted(rerank, folder, tmp_path):
    expected = rerank(QUERY, DOCUMENTS, function_to_apply="none")
    for i, changes in enumerate(
        ({NOTED: {"activation_fn": IDENTITY, **KIND}},
         {"config.json": {"sbert_ce_default_activation_function": IDENTITY}})
    ):  # fmt: skip
        file = tmp_path / f"{i}.safetensors"
        convert(changed_copy(folder, tmp_path / f"{i}", changes), file, dtype="float32")
        assert pipeline("rerank", file)(QUERY, DOCUMENTS) == expected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({NOTED: {"activation_fn": "torch.nn.Tanh", **KIND}}, "an activation_fn of .*Sigmoid.*, got 'torch.nn.Tanh'"),
        ({NOTED: {"activation_fn": 1, **KIND}}, "an activation_fn of .*, got 1"),
        ({"config.json": {"sentence_transformers": {"activation_fn": ["a"]}}}, r"an activation_fn of .*, got \['a'\]"),
        ({"config.json": {"sbert_ce_default_activation_function": "x.Y"}}, "an activation_fn of .*, got 'x.Y'"),
        ({NOTED: {"default_prompt_name": "query", **KIND}}, "no default_prompt_name, got 'query'"),
        ({NOTED: KIND, TRANSFORMER: {"max_seq_length": 3}}, "a max_seq_length of at least 4, got 3"),
        ({NOTED: KIND, TRANSFORMER: {"max_seq_length": "9"}}, "a max_seq_length of at least 4, got '9'"),
        ({NOTED: KIND, TRANSFORMER: {"do_lower_case": "no"}}, "do_lower_case true or false, got 'no'"),
    ],
)
def test_other_notes_are_refused(folder, tmp_path, changes, message):
    other = changed_copy(folder, tmp_path / "other", changes)
    with pytest.raises(ValueError, match=f"rerank: model: expected {message}"):
        pipeline("rerank", other)
    pipeline("text-classification", other)  # they do not concern it
    convert(other, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=f"rerank: model: expected {message}"):
        pipeline("rerank", tmp_path / "other.safetensors")


def test_a_model_object_without_a_folder_has_the_default(rerank, folder):
    from squeezeops.squeezebert.model.weights import load_folder

    model = SqueezeBert(*load_folder(folder))
    assert model.path is None
    assert pipeline("rerank", model, tokenizer=folder)(QUERY, DOCUMENTS) == rerank(QUERY, DOCUMENTS)


# ---- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "documents", "kind", "message"),
    [
        (QUERY, ["a", " "], TextError, "text 1: expected a non-empty text"),
        (QUERY, ["a", None], TypeError, "text 1: expected a str, got NoneType"),
        (QUERY, ["a", ("a", "b")], TypeError, "text 1: expected a str, got tuple"),
        (" ", ["a"], TextError, "text 0: query: expected a non-empty text"),
        (3, ["a"], TypeError, "query: expected a str, got int"),
        ([QUERY], ["a"], TypeError, "query: expected a str, got list"),
        (QUERY, "a", TypeError, "documents: expected a list of str, got str"),
        (QUERY, None, TypeError, "documents: expected a list of str, got NoneType"),
    ],
)
def test_bad_input(rerank, query, documents, kind, message):
    with pytest.raises(kind, match=f"rerank: {message}"):
        rerank(query, documents)


@pytest.mark.parametrize("item", ["a", ("a",), ("a", "b", "c"), {"text": "a"}, 3])
def test_streams_take_pairs(rerank, item):
    with pytest.raises(TypeError, match=r"rerank: text 0: expected a pair \(query, document\), got "):
        list(rerank.stream([item]))


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"top_k": 0}, ValueError, "top_k: expected None or an int of at least 1, got 0"),
        (
            {"function_to_apply": "softmax"},
            ValueError,
            "function_to_apply: expected one of .*'sigmoid', 'none'.*'softmax'",
        ),
        ({"return_documents": True}, TypeError, "return_documents: expected one of the options batch_size"),
    ],
)
def test_bad_options(folder, rerank, options, kind, message):
    with pytest.raises(kind, match=f"rerank: {message}"):
        rerank(QUERY, DOCUMENTS, **options)
    with pytest.raises(kind, match=f"rerank: {message}"):
        pipeline("rerank", folder, **options)


def test_models_with_several_labels(tmp_path):
    write_lively_model(tmp_path, ["no", "yes"])
    with pytest.raises(ValueError, match=r"rerank: model: expected a model with one label, got \['no', 'yes'\]"):
        pipeline("rerank", tmp_path)


# ---- against sentence-transformers -----------------------------------------------------------------------------------


@pytest.fixture
def cross_encoder(transformers):
    return pytest.importorskip("sentence_transformers", reason="the oracle is sentence-transformers").CrossEncoder


@pytest.mark.oracle
@pytest.mark.parametrize("kind", ["SqueezeBert", "Bert", "DistilBert"])
@pytest.mark.parametrize("activation", [None, SIGMOID, IDENTITY])
def test_cross_encoder_ranks_the_same(transformers, cross_encoder, tmp_path, folder, kind, activation):
    import torch

    torch.manual_seed(5)
    words = (folder / "vocab.txt").read_text(encoding="utf-8").splitlines()
    sizes = {"vocab_size": len(words), "max_position_embeddings": 40, "num_labels": 1, "hidden_size": 32}
    sizes |= {"num_attention_heads": 4, "num_hidden_layers": 2}
    if kind == "SqueezeBert":
        sizes["embedding_size"] = 32
    config = getattr(transformers, f"{kind}Config")(**sizes)
    if activation is not None:
        config.sentence_transformers = {"activation_fn": activation}
    model = getattr(transformers, f"{kind}ForSequenceClassification")(config).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(tmp_path / "model")
    transformers.BertTokenizerFast(str(folder / "vocab.txt"), model_max_length=24).save_pretrained(tmp_path / "model")

    documents = [*DOCUMENTS, "great movie " * 30, "ada " * 15, "GOOD Movie"]
    theirs = cross_encoder(str(tmp_path / "model"), device="cpu")
    theirs.save_pretrained(str(tmp_path / "saved"))
    settings = json.loads((tmp_path / "saved" / TRANSFORMER).read_text())
    for saved in ("model", "saved", "shorter"):
        if saved == "shorter":
            shutil.copytree(tmp_path / "saved", tmp_path / saved)
            (tmp_path / saved / TRANSFORMER).write_text(
                json.dumps({**settings, "max_seq_length": 11, "do_lower_case": True})
            )
            theirs = cross_encoder(str(tmp_path / saved), device="cpu")
        ours = pipeline("rerank", tmp_path / saved)
        for options in ({}, {"top_k": 3}):
            for query in (QUERY, "the new york movie " * 10):
                expected = theirs.rank(query, documents, **options)
                found = ours(query, documents, **options)
                assert [entry["index"] for entry in found] == [entry["corpus_id"] for entry in expected]
                scores = [entry["score"] for entry in expected]
                assert [entry["score"] for entry in found] == pytest.approx(scores, abs=1e-5)
    scores = theirs.predict([(QUERY, document) for document in documents])
    assert list(ours.stream((QUERY, document) for document in documents)) == pytest.approx(scores.tolist(), abs=1e-5)
