"""examples/forward.py computes what the model computes."""

import ast
import importlib.util
import os
import subprocess
import sys

import numpy as np
import pytest
from limits import seconds
from model_helpers import CHECKPOINT, write_model

import squeezeops

FILE = CHECKPOINT.parent / "forward.py"
TEXTS = [
    "",
    "a gorgeous, witty, seductive movie",
    "It was neither good nor bad, I suppose; the second half at least was shorter than the first.",
    "dull " * 300,  # cut to 256 tokens
]


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("forward_example", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def ids():
    return squeezeops.Tokenizer.from_pretrained(CHECKPOINT)(TEXTS, truncation=True)["input_ids"]


def model_logits(folder, ids):
    model = squeezeops.SqueezeBert.from_pretrained(folder, dtype="float32")
    return np.concatenate([model([row]).logits for row in ids])


def assert_same(ours, theirs):
    assert ours.dtype == theirs.dtype == np.float32 and ours.shape == theirs.shape
    if squeezeops.get_backend() == "numpy":  # its matrix products depend on the shape
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)
    else:
        assert ours.tobytes() == theirs.tobytes()


@pytest.mark.parametrize("backend", squeezeops.available_backends())
def test_logits(example, ids, backend):
    """One text at a time and all together, for lengths from 2 to 256 tokens."""
    lengths = [len(row) for row in ids]
    assert lengths[0] == 2 and lengths[-1] == 256
    config, weights = example.load(CHECKPOINT)
    with squeezeops.backend(backend):
        theirs = model_logits(CHECKPOINT, ids)
        assert_same(example.forward(config, weights, ids), theirs)
        for row, logits in zip(ids, theirs, strict=True):
            assert_same(example.forward(config, weights, [row]), logits[None])


def test_configuration_is_read(example, tmp_path):
    """A float32 file with another size, number of labels, activation and epsilon of the embeddings."""
    groups = {f"{name}_groups": 4 for name in ("q", "k", "v", "intermediate", "output")}
    folder = write_model(
        tmp_path / "model", ["a", "b", "c"], layer_norm_eps=0.5, hidden_act="relu", post_attention_groups=1, **groups
    )
    config, weights = example.load(folder)
    ids = [[2, 5, 6, 7, 3], [2, 3], [2, 9, 10, 10, 8, 11, 3]]
    assert_same(example.forward(config, weights, ids), model_logits(folder, ids))


def test_program():
    done = subprocess.run(
        [sys.executable, str(FILE), *TEXTS[1:3]],
        capture_output=True,
        check=True,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        timeout=seconds(120),
    )
    results = squeezeops.pipeline("text-classification", CHECKPOINT, dtype="float32")(TEXTS[1:3])
    expected = [f"{r['label']}  {r['score']:.3f}  {text}" for r, text in zip(results, TEXTS[1:3], strict=True)]
    assert done.stdout.decode().splitlines() == expected


def test_it_is_a_map():
    """Short, and nothing but NumPy and public ops."""
    source = FILE.read_text(encoding="utf-8")
    assert len(source.splitlines()) <= 120
    tree = ast.parse(source)
    imports = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    froms = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imports == {"argparse", "json", "numpy", "squeezeops"} and froms == {"pathlib"}
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "squeezeops"
    }
    assert used <= {*squeezeops.ops.__all__, "Tokenizer"}
