"""Choosing a backend: contexts, threads, tasks, the environment variable; and what the functions around it tell."""

import asyncio
import doctest
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from limits import seconds
from op_helpers import run_python

import squeezeops
from squeezeops import backends, ops

BEST = ops.available_backends()[0]


@pytest.fixture(autouse=True)
def restored(monkeypatch):
    """Leave the choice of the process as it was."""
    monkeypatch.setattr(ops, "_process_wide", ops._process_wide)


@pytest.fixture
def other(monkeypatch):
    """A second backend, also where only NumPy's is built."""

    class Other:
        __name__ = "squeezeops.backends.other"

        @staticmethod
        def tanh(x, out):
            return "other"

    monkeypatch.setitem(backends._loaded, "other", Other())
    return "other"


def test_available():
    names = ops.available_backends()
    assert "numpy" in names and set(names) <= backends.HOW_TO_GET.keys()
    for name in names:
        with ops.backend(name):
            assert ops.get_backend() == name


def test_default_is_the_best():
    result = run_python("-c", "from squeezeops import ops; print(ops.get_backend())", SQUEEZEOPS_BACKEND="")
    assert result.stdout.strip() == BEST, result.stderr


def test_block_and_its_end(other):
    x = np.ones(3, np.float32)
    before = ops.get_backend()
    with ops.backend(other):
        assert ops.get_backend() == other
        assert ops.tanh(x) == "other"
    assert ops.get_backend() == before
    assert isinstance(ops.tanh(x), np.ndarray)


def test_blocks_nest(other):
    with ops.backend(other):
        with ops.backend("numpy"):
            with ops.backend(other):
                assert ops.get_backend() == other
            assert ops.get_backend() == "numpy"
        assert ops.get_backend() == other


def test_block_ends_with_an_exception(other):
    before = ops.get_backend()
    with pytest.raises(KeyError), ops.backend(other):
        raise KeyError
    assert ops.get_backend() == before


def test_decorator(other):
    @ops.backend(other)
    def inside():
        return ops.get_backend()

    before = ops.get_backend()
    assert [inside(), inside(), ops.get_backend()] == [other, other, before]


def test_set_backend_is_for_all_threads(other):
    ops.set_backend(other)
    assert ops.get_backend() == other
    seen = []
    thread = threading.Thread(target=lambda: seen.append(ops.get_backend()))
    thread.start()
    thread.join()
    assert seen == [other]
    with ops.backend("numpy"):
        ops.set_backend(BEST)
        assert ops.get_backend() == "numpy"
    assert ops.get_backend() == BEST


def test_block_is_of_its_thread_only(other):
    ops.set_backend("numpy")
    inside, done = threading.Event(), threading.Event()
    seen = {}

    def in_a_block():
        with ops.backend(other):
            inside.set()
            assert done.wait(seconds(10))
            seen["block"] = ops.get_backend()

    thread = threading.Thread(target=in_a_block)
    thread.start()
    assert inside.wait(seconds(10))
    seen["outside"] = ops.get_backend()
    done.set()
    thread.join()
    assert seen == {"block": other, "outside": "numpy"}


def test_block_is_of_its_task_only(other):
    ops.set_backend("numpy")

    async def in_a_block(name, turn):
        with ops.backend(name):
            for _ in range(5):
                await turn.wait()
                await asyncio.sleep(0)
                assert ops.get_backend() == name

    async def all_at_once():
        turn = asyncio.Event()
        tasks = [asyncio.create_task(in_a_block(name, turn)) for name in (other, "numpy", other, "numpy")]
        await asyncio.sleep(0)
        assert ops.get_backend() == "numpy"
        turn.set()
        await asyncio.gather(*tasks)

    asyncio.run(all_at_once())


@pytest.mark.parametrize("name", ["cuda", "", "NumPy", None, 3, ["numpy"], "_front", "."])
def test_unknown_name(name):
    before = ops.get_backend()
    listed = ", ".join(map(repr, ops.available_backends()))
    with pytest.raises(ValueError, match=f"backend: name: expected one of {listed}, got "):
        ops.set_backend(name)
    with pytest.raises(ValueError, match=f"backend: name: expected one of {listed}, got "), ops.backend(name):
        pass
    assert ops.get_backend() == before


def test_known_but_not_built(monkeypatch):
    monkeypatch.setattr(backends, "_native_is_built", lambda: False)
    monkeypatch.setattr(backends, "_cffi_is_there", lambda: False)
    for name, advice in {"native": "install a wheel, or build", "cffi": r".*pip install 'squeezeops\[cffi\]'"}.items():
        monkeypatch.delitem(backends._loaded, name, raising=False)
        with pytest.raises(ValueError, match=rf"'{name}' .*to get it: {advice}"):
            ops.set_backend(name)
    assert ops.available_backends()[0] == "numpy"
    monkeypatch.delenv("SQUEEZEOPS_BACKEND", raising=False)
    monkeypatch.setattr(backends, "_native_is_left_out", lambda: True)
    assert backends.load_default().__name__ == "squeezeops.backends.numpy"
    assert ops.cpu_info() == {"isas": [], "compiled": [], "missing": {}, "isa": None, "kernels": {}}


def test_a_source_tree_is_an_error(monkeypatch):
    """It was not built, and nobody chose to leave the kernels out."""
    monkeypatch.setattr(backends, "_native_is_built", lambda: False)
    monkeypatch.setattr(backends, "_native_is_left_out", lambda: False)
    monkeypatch.delenv("SQUEEZEOPS_BACKEND", raising=False)
    with pytest.raises(ImportError, match=r"got a source tree without compiled kernels, .*: install it with pip"):
        backends.load_default()
    monkeypatch.setenv("SQUEEZEOPS_BACKEND", "numpy")
    assert backends.load_default().__name__ == "squeezeops.backends.numpy"


def test_broken_extension_is_an_error(monkeypatch):
    """It was built, so to use NumPy instead would be a silent fallback."""
    monkeypatch.setattr(backends, "_native_is_built", lambda: True)
    monkeypatch.delitem(backends._loaded, "native", raising=False)
    monkeypatch.setitem(sys.modules, "squeezeops.backends.native", None)  # makes an import fail
    monkeypatch.delenv("SQUEEZEOPS_BACKEND", raising=False)
    with pytest.raises(ImportError, match="'native' was built but cannot be loaded"):
        backends.load_default()
    with pytest.raises(ImportError, match="'native' was built but cannot be loaded"), ops.backend("native"):
        pass
    assert backends.load("numpy").__name__ == "squeezeops.backends.numpy"


def test_extension_for_another_python_counts_as_built(tmp_path):
    package = tmp_path / "squeezeops"
    (package / "backends").mkdir(parents=True)
    (package / "__init__.py").touch()
    copied = package / "backends" / "__init__.py"
    copied.write_bytes(Path(backends.__file__).read_bytes())
    for name in ("_library.py", "_version.py"):
        (package / name).write_bytes((Path(squeezeops.__file__).parent / name).read_bytes())
    code = "from squeezeops import backends; print(backends._native_is_built(), backends.__file__)"
    for built in ("False", "True"):
        result = run_python("-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {code}")
        assert result.stdout.split() == [built, str(copied)], result.stderr
        (package / "_native.cpython-27-m68k-amiga.so").touch()


@pytest.mark.parametrize("name", ops.available_backends())
def test_environment_variable(name):
    code = "from squeezeops import ops; print(ops.get_backend())"
    assert run_python("-c", code, SQUEEZEOPS_BACKEND=name).stdout.strip() == name


def test_environment_variable_with_an_unknown_name():
    """Importing works; the first use tells. A block needs no default."""
    code = (
        "import numpy as np; from squeezeops import ops\n"
        "with ops.backend('numpy'): ops.tanh(np.ones(2, np.float32))\n"
        "print('so far')\n"
        "ops.tanh(np.ones(2, np.float32))"
    )
    result = run_python("-c", code, SQUEEZEOPS_BACKEND="abacus")
    assert result.stdout.strip() == "so far"
    listed = ", ".join(map(repr, ops.available_backends()))
    assert f"ValueError: backend: SQUEEZEOPS_BACKEND: expected one of {listed}, got 'abacus'" in result.stderr


def test_backends_have_the_same_functions():
    """Each has all of the Python front's."""
    from squeezeops.backends._front import Front

    names = {name for name in dir(Front) if not name.startswith("_")} | backends.Backend.__annotations__.keys()
    assert len(names) > 20
    for name in ops.available_backends():
        assert names <= set(dir(backends.load(name))), name


def test_threads(variant):
    before = ops.get_num_threads()
    assert before >= 1
    try:
        for n in (1, 2, np.int64(3)):
            ops.set_num_threads(n)
            assert ops.get_num_threads() == n
    finally:
        ops.set_num_threads(before)


@pytest.mark.filterwarnings("error")
def test_no_numpy_warnings(variant):
    """IEEE special values are results, not mistakes. test_ops.py puts them into the rows; here they are elsewhere."""
    x = np.array([[np.nan, np.inf, -np.inf, 3e38, -3e38, 1e-45, 0, -0.0]], np.float32)
    with np.errstate(all="raise"):
        ops.softmax(x, mask=np.zeros(8, bool))
        ops.softmax(x, scale=1e300)
        ops.l2_normalize(np.zeros_like(x), eps=0)
        ops.layer_norm(x, x[0], x[0], eps=0, residual=x)
        ops.mean_pool(np.concatenate([x, x[:, ::-1]]), mask=np.zeros(2, bool))
        ops.pointwise_conv(x, np.repeat(x, 3, axis=0), x[0, :3], activation="gelu")
        ops.PointwiseConv(np.full((2, 8), np.inf, np.float16))(x)
        ops.attention(x[None], x[None], x[None], num_heads=2, mask=x[0, :1])


@pytest.mark.parametrize("name", ops.available_backends())
def test_examples_in_docstrings(name):
    with ops.backend(name):
        results = doctest.testmod(ops)
    assert results.attempted > 20 and results.failed == 0


def test_everything_public_is_documented():
    assert set(ops.__all__) <= set(squeezeops.__all__)
    for name in ops.__all__:
        assert getattr(ops, name).__doc__, name
        assert getattr(squeezeops, name) is getattr(ops, name)


@pytest.mark.skipif("native" not in backends.available(), reason="the native extension is not built")
def test_calls_that_only_a_wrong_package_makes():
    """The extension is called by this package alone, but whatever it is given must not end the process."""
    from squeezeops import Tokenizer, _native
    from squeezeops.backends import _text

    with pytest.raises(TypeError, match="^softmax: expected [0-9]+ arguments, got 1"):
        _native.softmax(np.zeros(3, np.float32))
    with pytest.raises(TypeError, match="^tokenizer_encode: expected 7 arguments"):
        _native.tokenizer_encode(1)
    vocab = {name: i for i, name in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a"])}
    handle = _native.tokenizer_create(_text.settings_of(vocab, Tokenizer(vocab).settings()))
    with pytest.raises(KeyError, match="columns"):
        _native.tokenizer_encode(handle, "a", None, True, 0, 0, ("columns",))
    with pytest.raises(TypeError):
        _native.tokenizer_encode(handle, "a", None, True, "x", 0, ("input_ids",))
