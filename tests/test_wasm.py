"""The WebAssembly modules in node and in wasmtime: the golden bits, or a tolerance, op by op.

SQUEEZEOPS_WEB names a folder with modules that are built already; else the tests build them (examples/web/build.py).
"""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import golden_bits
import numpy as np
import pytest

import squeezeops
from squeezeops import backends, ops

pytestmark = pytest.mark.runtimes
ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests" / "wasm"), str(ROOT / "examples" / "web")]
import binding  # noqa: E402
import hosts  # noqa: E402

import build  # noqa: E402

MODULES = {isa: name for name, isa in build.MODULES.items()}
RELAXED = [0, 97, 115, 109, 1, 0, 0, 0, 1, 8, 1, 96, 3, 123, 123, 123, 1, 123, 3, 2, 1, 0, 10, 13, 1, 11, 0]
RELAXED += [32, 0, 32, 1, 32, 2, 253, 133, 2, 11]  # a module with f32x4.relaxed_madd


@pytest.fixture(scope="session")
def modules(tmp_path_factory):
    """The folder of the two modules."""
    if given := os.environ.get("SQUEEZEOPS_WEB"):
        return Path(given)
    if importlib.util.find_spec("ziglang") is None:
        pytest.skip(reason="there is no ziglang (pip install '.[runtimes]')")
    folder = tmp_path_factory.mktemp("web")
    build.build_modules(folder / "page", folder / "objects", "-DSQUEEZEOPS_WERROR=ON")
    return folder / "page"


@pytest.fixture(scope="session")
def node():
    """The path of a node that has relaxed SIMD: version 24 or later."""
    found = shutil.which("node")
    check = f"process.exit(WebAssembly.validate(new Uint8Array({RELAXED})) ? 0 : 1)"
    if found is None or subprocess.run([found, "-e", check]).returncode:
        pytest.skip(reason="there is no node with relaxed SIMD (npm install node)")
    return found


@pytest.fixture(scope="session")
def run_module(request, modules):
    """A function that starts a module on a host, and returns it as a backend."""
    running = {}

    def start(isa, host, *options):
        if (isa, host, options) not in running:
            path = modules / MODULES[isa]
            if host == "node":
                running[isa, host, options] = hosts.Node(path, request.getfixturevalue("node"), *options)
            else:
                pytest.importorskip("wasmtime", reason="there is no wasmtime (pip install '.[runtimes]')")
                running[isa, host, options] = hosts.Wasmtime(path)
        return binding.Module(running[isa, host, options])

    yield start
    for host in running.values():
        host.close()


@pytest.fixture(params=["node", "wasmtime"])
def host(request):
    return request.param


@pytest.fixture(params=MODULES)
def isa(request):
    return request.param


@pytest.fixture
def module(run_module, isa, host, monkeypatch):
    """A module on a host, as the backend in force."""
    found = run_module(isa, host)
    monkeypatch.setitem(backends._loaded, "wasm", found)
    with ops.backend("wasm"):
        yield found


def expected(run):
    """What the native kernels give."""
    with ops.backend("native"):
        return run()


def test_the_module_says_what_it_is(module, isa):
    info = module.cpu_info()
    assert info["isa"] == isa and info["isas"] == info["compiled"] == [isa]
    assert info["kernels"] and all(symbol.endswith(isa) for symbol in info["kernels"].values())
    assert module.text(module.call("sqz_version")) == squeezeops.__version__
    assert module.get_num_threads() == 1


def test_the_module_imports_nothing(modules, isa):
    wasmtime = pytest.importorskip("wasmtime", reason="there is no wasmtime (pip install '.[runtimes]')")
    module = wasmtime.Module.from_file(wasmtime.Engine(), str(modules / MODULES[isa]))
    assert [imported.name for imported in module.imports] == []
    assert (modules / MODULES[isa]).stat().st_size <= 300_000


def test_golden_bits(module, isa):
    """All bits with relaxed SIMD, on this processor, which has FMA; without, those of int8."""
    golden = json.loads(golden_bits.FILE.read_text())
    same = isa not in golden_bits.TO_TOLERANCE
    ran = 0
    for name, run in golden_bits.all_cases().items():
        if same or not golden_bits.has_floats(name):
            assert golden_bits.digest(run()) == golden[name], name
            ran += 1
    assert ran == (len(golden) if same else sum(not golden_bits.has_floats(name) for name in golden)) > 30


@pytest.mark.parametrize("isa", golden_bits.TO_TOLERANCE & MODULES.keys(), indirect=True)
def test_close_where_bits_differ(module):
    """The tolerance that docs/web.md states."""
    for name, run in golden_bits.all_cases().items():
        if "every_kind" in name or "wide" in name:
            continue  # near overflow and underflow a small difference becomes a large one
        np.testing.assert_allclose(run(), expected(run), rtol=2e-5, atol=2e-5, err_msg=name)


@pytest.mark.parametrize("isa", golden_bits.TO_TOLERANCE & MODULES.keys())
def test_hosts_agree(run_module, isa, monkeypatch):
    """Multiplication and addition are IEEE, so the hosts have the same bits, whatever their processors."""
    found = []
    for host in ("node", "wasmtime"):
        monkeypatch.setitem(backends._loaded, "wasm", run_module(isa, host))
        with ops.backend("wasm"):
            found.append({name: golden_bits.digest(run()) for name, run in golden_bits.all_cases().items()})
    assert found[0] == found[1]


def test_errors_have_the_texts_of_the_front(module):
    x = np.zeros((2, 3), np.float32)
    for call in (
        lambda: ops.softmax(x.astype(np.float64)),
        lambda: ops.layer_norm(x, np.zeros(4, np.float32)),
        lambda: ops.pointwise_conv(x, np.zeros((4, 2), np.float32), groups=2),
        lambda: ops.embedding(np.array([7]), x),
        lambda: ops.attention(x[None], x[None], x[None], num_heads=2),
    ):
        with pytest.raises((TypeError, ValueError)) as of_wasm:
            call()
        with ops.backend("native"), pytest.raises(of_wasm.type) as of_native:
            call()
        assert str(of_wasm.value) == str(of_native.value)


def test_without_fused_multiply_add(run_module):
    """Where relaxed_madd rounds twice, the relaxed module says so and computes nothing; a page takes the other."""
    module = run_module("wasm_relaxed", "node", "--no-enable-fma3")
    if module.call("sqz_isa_chosen"):
        pytest.skip(reason="this processor fuses without the flags of x86")
    assert "isa: expected one that runs here" in module.text(module.call("sqz_error_message"))
    with pytest.raises(ValueError, match="isa: expected one that runs here"):
        module.gelu(np.zeros(16, np.float32), "none", None)
