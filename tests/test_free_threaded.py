"""The native backend in a CPython without the GIL, which fetch_runtimes.py builds."""

import os
import shutil

import pytest
from build_helpers import ROOT, cmake_build, run, tool

pytestmark = pytest.mark.full

THREADS = """
import sys, threading
import numpy as np
import squeezeops
from squeezeops.pipelines import pipeline

assert not sys._is_gil_enabled(), "importing the package has enabled the GIL"
assert squeezeops.get_backend() == "native"
classify, texts = pipeline("text-classification"), ["a good movie", "a dull and endless one"] * 4
x = np.random.default_rng(0).standard_normal((64, 96)).astype(np.float32)
conv = squeezeops.PointwiseConv(np.ones((96, 96), np.float32), dtype="int8")
work = lambda: (classify(texts), conv(squeezeops.layer_norm(x)).tobytes())
expected, found = work(), []
def run():
    for i in range(100):
        squeezeops.set_num_threads(1 + i % 4)
        found.append(work())
threads = [threading.Thread(target=run) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert len(found) == 800 and all(one == expected for one in found)
assert not sys._is_gil_enabled()
print("ok")
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """A function that runs that CPython, with the package built for it."""
    import pybind11
    from fetch_runtimes import free_threaded

    program = free_threaded()
    folder = tmp_path_factory.mktemp("package")
    options = [f"-DPython_EXECUTABLE={program}", f"-Dpybind11_DIR={pybind11.get_cmake_dir()}"]
    build = cmake_build(tmp_path_factory.mktemp("build"), "-DSQUEEZEOPS_PYTHON=ON", *options, limit=1200)
    ignored = shutil.ignore_patterns("__pycache__", "*.so*")
    shutil.copytree(ROOT / "squeezeops", folder / "squeezeops", ignore=ignored)
    run(tool("cmake"), "--install", build, "--prefix", folder, "--component", "python")
    site = program.parents[1] / "site"
    environment = {"PYTHONPATH": os.pathsep.join(map(str, (folder, site, ROOT / "tests")))}
    return lambda *arguments, **options: run(program, *arguments, limit=900, **environment, **options)


def test_threads(python):
    assert python("-c", THREADS).strip() == "ok"


@pytest.mark.parametrize("name", ["ops", "threads", "workspace", "hostile_callers"])
def test_module(python, name):
    """That of this folder, on the native backend."""
    options = ("-q", "-p", "no:cacheprovider", "-o", "addopts=", "-m", "not oracle and not runtimes and not full")
    python("-m", "pytest", *options, "-k", "not numpy and not numba and not cffi", ROOT / "tests" / f"test_{name}.py")
