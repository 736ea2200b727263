"""The package in an archive (zipapp): pure Python runs from it, compiled libraries cannot."""

import json
import os
import shutil
import subprocess
import sys
import zipapp
from pathlib import Path

import pytest
from cli_helpers import PACKAGE, check_error

from squeezeops import backends, ops
from squeezeops.pipelines import pipeline

MAIN = "import sys\nfrom squeezeops.cli import main\nsys.exit(main())\n"  # as docs/backends.md has it
TEXT = "a gorgeous, witty, seductive movie"
BUILT = ("*.so", "*.so.*", "include", "_pure")


def archive(folder, *, pure):
    """Pack the package with a program that starts the command line."""
    ignored = shutil.ignore_patterns("__pycache__", *(BUILT if pure else ()))
    shutil.copytree(PACKAGE, folder / "app" / "squeezeops", ignore=ignored)
    if pure:
        (folder / "app" / "squeezeops" / "_pure").touch()
    (folder / "app" / "__main__.py").write_text(MAIN)
    zipapp.create_archive(folder / "app", folder / "app.pyz", compressed=True)
    shutil.rmtree(folder / "app")
    return folder / "app.pyz"


@pytest.fixture(scope="module")
def pure(tmp_path_factory):
    return archive(tmp_path_factory.mktemp("pure"), pure=True)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """With the compiled libraries of this installation, if there are any."""
    if "native" not in backends.available():
        pytest.skip(reason="built without the native extension")
    return archive(tmp_path_factory.mktemp("built"), pure=False)


def run(*arguments, **changes):
    kept = {name: value for name, value in os.environ.items() if name not in ("SQUEEZEOPS_BACKEND", "PYTHONPATH")}
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=kept | changes, check=False)
    return done.returncode, done.stdout, done.stderr


def test_a_pure_package(pure, tmp_path):
    status, out, err = run(pure, "classify", "--json", TEXT, TMPDIR=str(tmp_path))
    assert (status, err) == (0, "")
    with ops.backend("numpy"):
        assert json.loads(out) == {"text": TEXT, **pipeline("text-classification")(TEXT)[0]}
    assert os.listdir(tmp_path) == []  # the unpacked model is deleted
    status, out, err = run(pure, "info", "--json")
    facts = json.loads(out)
    assert (status, err, facts["backend"]) == (0, "", "numpy") and facts["model"]["parameters"] == 945_698
    check_error(run(pure, "classify", ""), "text 1: ")
    assert run(pure, "check", "built-in")[0] == 0


def test_on_the_path(pure):
    """Instead of starting it."""
    code = "import squeezeops as sq; print(sq.pipeline('sentiment-analysis')('good')[0]['label'], sq.__file__)"
    assert run("-c", code, PYTHONPATH=str(pure)) == (0, f"POSITIVE {pure / 'squeezeops' / '__init__.py'}\n", "")


def test_compiled_libraries(built):
    """They stay unused, which a warning says; a backend that is asked for is an error that says it, too."""
    status, out, err = run(built, "classify", TEXT)
    assert status == 0 and out.startswith("POSITIVE\t")
    assert err == (
        f"squeezeops: warning: backend: expected a folder, got {built}: an archive's compiled kernels cannot be "
        "loaded, so the slower NumPy backend runs (unpack it, or set SQUEEZEOPS_BACKEND=numpy to silence this)\n"
    )
    assert run(built, "classify", TEXT, SQUEEZEOPS_BACKEND="numpy") == (0, out, "")
    for name in ("native", "cffi"):
        message = f"SQUEEZEOPS_BACKEND: expected one of 'numpy'.*, got '{name}' .to get it: unpack {built}, "
        check_error(run(built, "classify", TEXT, SQUEEZEOPS_BACKEND=name), message)
    status, _, err = run("-c", "import squeezeops; squeezeops.get_library()", PYTHONPATH=str(built))
    assert status == 1 and f"FileNotFoundError: get_library: expected a package in a folder, got {built}" in err


@pytest.mark.skipif("numba" not in backends.available(), reason="the backend needs Numba, of the numba extra")
def test_numba(pure, tmp_path):
    status, out, err = run(pure, "classify", TEXT, SQUEEZEOPS_BACKEND="numba", NUMBA_CACHE_DIR=str(tmp_path))
    assert (status, err) == (0, "") and out.startswith("POSITIVE\t")


def test_the_page_has_these_commands():
    page = (Path(__file__).parents[1] / "docs" / "backends.md").read_text(encoding="utf-8")
    assert MAIN.strip().replace("\n", "\\n") in page and "python -m zipapp" in page
