"""The fuzzers of `tests/fuzz`: past failures, a few inputs of each, and that each finds a planted bug."""

import os
import random
import re
import subprocess
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from build_helpers import ROOT, run, tool
from fuzz.targets import CORPUS, GROUPS, TARGETS, C, corpus, inputs, run_target
from limits import seconds

import squeezeops
from squeezeops.backends import _front
from squeezeops.benchmark import compare
from squeezeops.squeezebert.files import (
    checkpoint,
    converted,
    safetensors,
    sentence_transformers,
    torch_file,
    torch_pickle,
    verification,
)
from squeezeops.squeezebert.model import config
from squeezeops.squeezebert.tokenizer import config_files, tokenizer

IN_PYTHON = [name for name in TARGETS if name not in C]


@pytest.mark.parametrize("name", IN_PYTHON)
def test_past_failures_and_a_few_inputs(name, tmp_path):
    for data in corpus(name):
        run_target(name, data, tmp_path)
    for data, _ in zip(inputs(name, random.Random(1)), range(40), strict=False):
        run_target(name, data, tmp_path)


@pytest.mark.parametrize("name", C)
def test_past_failures_and_a_few_inputs_in_c(name, tmp_path):
    library = squeezeops.get_library()
    flags = ["-std=c++17", "-Wall", "-Wextra", "-Werror", "-I", squeezeops.get_include()]
    sources = [ROOT / "tests" / "fuzz" / f"{source}.cc" for source in (name, "replay")]
    compiler = tool(*os.environ.get("CXX", "c++ g++ clang++").split())
    run(compiler, *flags, *sources, library, f"-Wl,-rpath,{os.path.dirname(library)}", "-o", tmp_path / "replay")
    pool = list(islice(inputs(name, random.Random(1)), 200))
    for i, data in enumerate(pool):
        (tmp_path / str(i)).write_bytes(data)
    run(tmp_path / "replay", *(tmp_path / str(i) for i in range(len(pool))))


def test_the_corpus():
    files = [path for path in CORPUS.rglob("*") if path.is_file()]
    assert {path.parent.name for path in files} <= set(TARGETS)
    assert sum(path.stat().st_size for path in files) < 2_000_000


def unchecked(*_, **__):
    """In place of a check that returns nothing."""


def same(name, value, *_):
    """In place of a check that returns the value."""
    return value


PLANTED = {  # target: the module, and what is taken out of it
    "config": (config, "check", unchecked),
    "tokenizer": (config_files, "check", same),
    "tokenizer_config": (config_files, "check", same),
    "special_tokens_map": (config_files, "check", same),
    "added_tokens": (tokenizer, "check_records", lambda records, _: {r["content"]: {**r, "id": -5} for r in records}),
    "vocabulary": (tokenizer.Tokenizer, "_look_up", lambda self, ids, forms: [forms[i] for i in ids]),
    "header": (safetensors, "is_sizes", lambda value: True),
    "index": (checkpoint, "fail_for", lambda path: unchecked),
    "torch": (torch_pickle.Machine, "top", lambda self, kind, name: self.stack[-1]),
    "pickle": (torch_file, "check_tensor", unchecked),
    "modules": (sentence_transformers, "fail_for", lambda path: unchecked),
    "pooling": (sentence_transformers, "are_poolings", lambda names: True),
    "prompts": (sentence_transformers, "fail_for", lambda path: unchecked),
    "converted": (converted, "_check_version", lambda file, metadata: 2),
    "checked": (verification, "unpack", unchecked),
    "bench": (compare, "Sample", lambda us, before, after: 1 / us),
    "one_argument": (_front.Arguments, "ids", lambda self, name, value, *_: np.asarray(value)),
    "any_arguments": (_front.Arguments, "ids", lambda self, name, value, *_: np.asarray(value)),
}


@pytest.mark.parametrize("name", IN_PYTHON)
def test_a_planted_bug_is_found(name, tmp_path, monkeypatch):
    where, what, instead = PLANTED[name]
    assert hasattr(where, what)
    monkeypatch.setattr(where, what, instead)
    for data, _ in zip(inputs(name, random.Random(2)), range(1500), strict=False):
        try:
            run_target(name, data, tmp_path)
        except Exception:
            break
    else:
        pytest.fail("not found")
    monkeypatch.undo()
    run_target(name, data, tmp_path)  # nothing but the bug was found


def test_the_command(tmp_path):
    """It runs each target in a process, prints what it ran, and keeps an input that fails."""
    command = [sys.executable, "-m", "fuzz", "bench", "modules", "--inputs", "20", "--seconds", str(seconds(60))]
    done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=seconds(300))
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"bench: 20 inputs in \d+ s\nmodules: 20 inputs in \d+ s\n", done.stdout)
    assert set(GROUPS) == {"readers", "ops", "c"}
