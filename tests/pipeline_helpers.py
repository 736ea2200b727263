"""Models and comparisons for the tests of the pipelines."""

import string
from pathlib import Path

import numpy as np
import pytest
from model_helpers import WORDS, edit_weights, write_model

from squeezeops import ops

# A vocabulary that can split every ASCII word into pieces.
PIECES = [*WORDS, "new", "york", "ada", "love", "##lace", "##land", "北", "京", "-", "'", "(", ")", "?", "🙂"]
PIECES += [*string.digits, *string.ascii_lowercase[1:]]
PIECES += ["##" + char for char in string.ascii_lowercase + string.digits if char != "s"]


def write_lively_model(folder: Path, labels: list[str] | None = None, **options) -> Path:
    """`write_model` with the vocabulary `PIECES`, changed so that results differ much between tokens.

    The LayerNorms neither scale nor shift and other biases are small, so that the text dominates.
    """

    def enliven(name, values):
        if "layernorm" in name.lower():
            values[:] = name.endswith("weight")
        elif name.endswith("bias"):
            values *= 0.2
        elif name == "classifier.weight" or "word_embeddings" in name:
            values *= 3

    return edit_weights(write_model(folder, labels, words=PIECES, **options), enliven)


POSITIONS = 24
LONG = "Ada Lovelace saw New York, New England and Yorkland; the good movies in 北京 were awful! " * 4
# Per pipeline: the labels and other options of `write_lively_model`, and inputs that are all different.
MODELS = {
    "text-classification": (
        {"labels": ["NEGATIVE", "POSITIVE", "NEUTRAL"]},
        ["a good movie", "bad", "the great movies!", "awful, awful, awful.", "a"],
    ),
    "token-classification": (
        {"labels": ["O", "B-PER", "I-PER", "B-LOC", "I-LOC", "MISC"], "seed": 2, "task": "token-classification"},
        [
            "Ada Lovelace saw New York, the great movies!",
            "good",
            "北京 was New Yorkland (a 'good' 🙂 movie).",
            "the e\u0301a and Ada's \ufeff Émile-Zoë",
        ],
    ),
    "fill-mask": (
        {"seed": 1, "task": "masked-lm"},
        [
            "a good [MASK]!",
            "[MASK]",
            "Ada's 北京 🙂 [MASK] É\ufeff",
            "the [MASK] movies were awful, [MASK]",
            "is [MASK] it?",
        ],
    ),
    "question-answering": (
        {"task": "question-answering"},
        [
            {"question": "Is it?", "context": text}
            for text in ("the good, bad movie", LONG, "Ada", LONG[30:], "who? a.")
        ],
    ),
    "feature-extraction": (
        {},
        ["a good movie!", "bad", "Ada's 北京 🙂 É\ufeff", "the movies were awful, awful, awful.", "is it?"],
    ),
}


def write_task_model(folder: Path, task: str) -> Path:
    """Write the model of a pipeline in `MODELS`."""
    return write_lively_model(folder, positions=POSITIONS, **MODELS[task][0])


def structure(result, types):
    """Replace each dict in nested lists by "*". Check the names, order and types of its values."""
    if isinstance(result, list):
        return [structure(entry, types) for entry in result]
    assert [(key, type(value)) for key, value in result.items()] == list(types.items())
    return "*"


def assert_same(found, expected, tolerance=1e-5):
    """Compare two runs: the same bits natively, nearly the same scores with NumPy's BLAS."""
    if ops.get_backend() == "native":
        np.testing.assert_equal(found, expected)
    assert_alike(found, expected, tolerance)


def assert_alike(found, expected, tolerance=1e-5):
    """Compare arrays, or nested lists of dicts: scores to a tolerance, everything else exactly."""
    assert type(found) is type(expected)
    if isinstance(expected, np.ndarray):
        np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for ours, theirs in zip(found, expected, strict=True):
            assert_alike(ours, theirs, tolerance)
    else:
        assert list(found) == list(expected)
        assert found | {"score": 0} == expected | {"score": 0}
        assert found["score"] == pytest.approx(float(expected["score"]), abs=tolerance)
