"""Importing squeezeops loads no NumPy before an op is used, and takes little time."""

import os
import subprocess
import sys
from pathlib import Path

import limits
import pytest

import squeezeops

WEIGHTS = Path(__file__).parent / "golden" / "odd_groups" / "model.safetensors"
FILES = [f"files.{name}" for name in ("atomic", "checkpoint", "converted", "torch_file", "torch_pickle", "hub_cache")]
TOKENIZER = "squeezeops.squeezebert.Tokenizer"


def python(code, *arguments, **environment):
    environment = os.environ | environment
    command = [sys.executable, *arguments, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=True)


def test_the_package_imports_no_numpy():
    code = "import sys, squeezeops; print([m for m in sys.modules if m.split('.')[0] == 'numpy'])"
    assert python(code).stdout.strip() == "[]"


@pytest.mark.parametrize(
    "module",
    ["packing", *(f"squeezebert.{name}" for name in ("tokenizer.tokenizer", "model.config", "model.storage", *FILES))],
)
def test_text_and_headers_need_no_numpy(module):
    code = f"import sys; sys.modules['numpy'] = None; import squeezeops.{module}; print('done')"
    assert python(code).stdout.strip() == "done"


@pytest.mark.parametrize(
    ("code", "output"),
    [
        (
            f"{TOKENIZER}(['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', 'a', '##b'])('AB \\u4e2d')['input_ids']",
            "[2, 5, 6, 1, 3]",
        ),
        ("squeezeops.squeezebert.SqueezeBertConfig().hidden_size", "768"),
        (f"len(safetensors.read_header({str(WEIGHTS)!r})[0])", f"{5 + 2 * 16 + 2}"),
    ],
)
def test_what_works_with_other_packages_blocked(code, output):
    block = "import sys; sys.modules |= dict.fromkeys(('numpy', 'regex', 'tokenizers', 'transformers', 'torch'))"
    modules = "import squeezeops.squeezebert; from squeezeops.squeezebert.files import safetensors"
    assert python(f"{block}; {modules}; print({code})").stdout.strip() == output


def test_public_names():
    for name in squeezeops.__all__:
        assert getattr(squeezeops, name) is not None
    assert set(squeezeops.__all__) <= set(dir(squeezeops))
    with pytest.raises(AttributeError, match="no attribute 'missing'"):
        squeezeops.missing  # noqa: B018


def test_import_after_numpy_is_quick(tmp_path):
    """At most 10 ms of CPU time on a Zen 4. Other load can only add time, so the best of several tries counts."""
    code = (
        "import numpy, time; t = time.process_time(); import squeezeops, squeezeops.ops; "
        "squeezeops.get_backend(); print(time.process_time() - t)"
    )
    bytecode = {"PYTHONPYCACHEPREFIX": str(tmp_path), "PYTHONDONTWRITEBYTECODE": ""}  # as an installation has it
    python(code, **bytecode)
    assert any(float(python(code, **bytecode).stdout) <= 0.010 * limits.slowness() for _ in range(15))
