"""What type checkers say about programs that use the package: names, words and results are checked."""

import dataclasses
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
from limits import seconds

import squeezeops
from squeezeops import literals, pipelines
from squeezeops.backends import _scalars
from squeezeops.packing import STORAGE
from squeezeops.pipelines import types
from squeezeops.squeezebert.model import heads, storage

GOOD = """
from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

import squeezeops
import squeezeops as sq
from squeezeops.pipelines.types import Answer, Entity, Label, Rank, RankedLabels


def ops(x: NDArray[np.float32]) -> NDArray[np.float32]:
    conv = sq.PointwiseConv(x, groups=4, dtype="int8")
    rows: sq.QuantizedRows = conv(x, activation="gelu", quantize_groups=12)
    y: NDArray[np.float32] = conv(rows, activation=None, residual=x)
    first, second = sq.pointwise_convs(x, [conv, conv])
    total: NDArray[np.float32] = first + second
    scales: NDArray[np.float32] = rows.scales
    threads: int = sq.get_num_threads()
    return sq.softmax(sq.layer_norm(y, residual=total) + scales, scale=1 / threads, fully_masked="zero")


def model(folder: str, texts: list[str]) -> NDArray[np.float32] | None:
    tokenizer = squeezeops.Tokenizer.from_pretrained(folder)
    network = squeezeops.SqueezeBert.from_pretrained(folder, dtype="float16", attention="int8", task="masked-lm")
    encoding = tokenizer(texts, padding="max_length", truncation=True, max_length=64, return_tensors="np")
    words: list[int | None] = encoding.word_ids(0)
    print(words, encoding.input_ids, encoding["attention_mask"], repr(network))
    output = network(**encoding)
    print(output["logits"])
    return output.logits


def tasks(texts: list[str]) -> None:
    classify = squeezeops.pipeline("sentiment-analysis", dtype="int8", truncation="only_first")
    one: list[Label] = classify("text")
    several: list[Label] = classify(texts)
    ranked: list[list[Label]] = classify(texts, top_k=None)
    score: float = several[0]["score"]
    stream = [label["label"] for label in classify(text for text in texts)]
    label: RankedLabels = squeezeops.pipeline("zero-shot-classification", "model")("text", ["a", "b"])
    ranks: list[Rank] = squeezeops.pipeline("rerank", "model")("query", texts, top_k=3)
    entities: list[list[Entity]] = squeezeops.pipeline("ner", "model", aggregation_strategy="first")(texts)
    answer: Answer = squeezeops.pipeline("question-answering", "model")(question="who?", context="a text")
    words: str = squeezeops.pipeline("fill-mask", "model")("a [MASK]")[0]["token_str"]
    vectors: NDArray[np.float32] = squeezeops.pipeline("feature-extraction", "model", pooling=("cls", "mean"))(texts)
    print(one, ranked, score, stream, label, ranks, entities, answer, words, vectors)
"""
# One mistake per line that is marked.
BAD = """
import numpy as np

import squeezeops
from squeezeops import sofmax  # wrong
from squeezeops.pipelines import pipelin  # wrong
from squeezeops.squeezebert import SqueezeBort  # wrong

x = np.ones((4, 4), np.float32)
squeezeops.layr_norm(x)  # wrong
squeezeops.gelu(x, approximate="tan")  # wrong
squeezeops.PointwiseConv(x, dtype="int4")  # wrong
squeezeops.PointwiseConv(x)(x, activation="gelo")  # wrong
squeezeops.softmax(x, axes=1)  # wrong
squeezeops.layer_norm(x).shap  # wrong
squeezeops.pipeline("sentiment")  # wrong
squeezeops.pipeline("rerank", "model", dtype="int4")  # wrong
squeezeops.pipeline("feature-extraction", "model", pooling="men")  # wrong
squeezeops.pipeline("feature-extraction", "model", poling="mean")  # wrong
squeezeops.pipeline("sentiment-analysis")("text")[0]["lable"]  # wrong
squeezeops.SqueezeBert.from_pretrained("model", task="text")  # wrong
tokenizer = squeezeops.Tokenizer(["[CLS]", "[SEP]"])
tokenizer("text", return_tensors="pt")  # wrong
tokenizer("text", padding="longst")  # wrong
tokenizer("text").inputs  # wrong
"""
WRONG = {i for i, line in enumerate(BAD.splitlines(), 1) if line.endswith("# wrong")}
PACKAGE = Path(squeezeops.__file__).parents[1]


def mypy(folder):
    """Return (file, line) of each error."""
    options = ["--strict", "--follow-imports=silent", "--no-error-summary", "--cache-dir", str(folder / "cache")]
    command = [sys.executable, "-m", "mypy", *options, "good.py", "bad.py"]
    # It finds an installed package itself, and refuses to be told.
    installed = PACKAGE.name in ("site-packages", "dist-packages")
    environment = os.environ | ({} if installed else {"MYPYPATH": str(PACKAGE)})
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=seconds(600))
    assert done.returncode == 1, done.stdout + done.stderr
    return re.findall(r"^(\w+\.py):(\d+): error: ", done.stdout, re.MULTILINE), done.stdout


def pyright(folder):
    """Return (file, line) of each error."""
    settings = {"typeCheckingMode": "strict", "extraPaths": [str(PACKAGE)], "reportUnusedExpression": False}
    (folder / "pyrightconfig.json").write_text(json.dumps(settings))
    command = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "--outputjson", "good.py", "bad.py"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=seconds(600))
    found = json.loads(done.stdout)["generalDiagnostics"]
    errors = [
        (Path(each["file"]).name, each["range"]["start"]["line"] + 1, each.get("rule", ""))
        for each in found
        if each["severity"] == "error"
    ]
    # What follows from an unknown name is an error of its own.
    return [(file, line) for file, line, rule in errors if file == "good.py" or "Unknown" not in rule], done.stdout


@pytest.mark.parametrize("checker", [mypy, pyright], ids=lambda checker: checker.__name__)
def test_a_type_checker_finds_the_mistakes_and_nothing_else(tmp_path, checker):
    if importlib.util.find_spec(checker.__name__) is None:
        pytest.skip(reason=f"{checker.__name__} is not installed (pip install '.[lint]')")
    (tmp_path / "good.py").write_text(GOOD)
    (tmp_path / "bad.py").write_text(BAD)
    errors, output = checker(tmp_path)
    assert {("bad.py", line) for line in WRONG} == {(file, int(line)) for file, line in errors}, output


def words(kind):
    return set(get_args(kind))


def test_the_words_are_those_that_are_checked():
    assert words(literals.Activation) | {None} == set(_scalars.ACTIVATIONS)
    assert words(literals.Approximate) == set(_scalars.APPROXIMATE)
    assert words(literals.FullyMasked) == set(_scalars.FULLY_MASKED)
    assert words(literals.ConvDtype) == set(STORAGE)
    assert words(literals.Arithmetic) == set(storage.ATTENTIONS)
    assert words(literals.ModelTask) == set(heads.HEADS)
    assert words(literals.Task) == {*pipelines.CLASSES, *pipelines.ALIASES}
    assert words(literals.Truncation) | {True, False} == set(pipelines.base.TRUNCATIONS)
    assert words(literals.Aggregation) == set(module_of("token-classification").STRATEGIES)
    assert words(literals.Pooling) == set(module_of("feature-extraction").POOLINGS)
    for word in words(literals.Dtype):
        storage.check_dtype(word)
    with pytest.raises(ValueError, match="dtype"):
        storage.check_dtype("int8_rotated")


def module_of(task):
    return importlib.import_module("squeezeops.pipelines." + task.replace("-", "_"))


@pytest.mark.parametrize("task", pipelines.CLASSES)
def test_the_options_are_those_that_are_checked(task):
    kind = getattr(pipelines, pipelines.CLASSES[task])
    checked = {field.name for field in dataclasses.fields(kind.options_type)}
    assert set(getattr(types, pipelines.CLASSES[task].replace("Pipeline", "Options")).__annotations__) == checked


def test_dir_shows_public_names_only():
    assert dir(squeezeops) == sorted(squeezeops.__all__)
    assert dir(squeezeops.squeezebert) == sorted(squeezeops.squeezebert.__all__)
    assert dir(pipelines) == sorted(pipelines.__all__)
