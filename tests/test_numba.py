"""The Numba backend: what it promises beyond what the tests of the ops ask of every backend."""

import ast
import importlib
import json
import os
import pickle
import re
import shutil
import sys
import textwrap
from pathlib import Path

import golden_bits
import numpy as np
import pytest
from op_helpers import assert_same_bits, normal, run_python
from op_table import TABLE

from squeezeops import backends, ops

FOLDER = Path(backends.__file__).parent / "_numba"
KERNEL_FILES = sorted(FOLDER.glob("*.py"))

needs_numba = pytest.mark.skipif("numba" not in backends.available(), reason="Numba is not installed")


def python(code, *arguments, **environment):
    """Run a script in a fresh interpreter with this backend; return what it prints."""
    tests = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
    code = tests + textwrap.dedent(code)
    result = run_python("-c", code, *map(str, arguments), SQUEEZEOPS_BACKEND="numba", **environment)
    assert result.returncode == 0, result.stderr
    return result.stdout


def as_on(processor, features):
    """Settings that make Numba compile for another processor, and keep that apart.

    Its index of a cache holds one processor's code or another's if two processes write it at the same time.
    """
    cache = FOLDER / "__pycache__" / processor
    return {"NUMBA_CPU_NAME": processor, "NUMBA_CPU_FEATURES": features, "NUMBA_CACHE_DIR": str(cache)}


# Whether it is there.


def test_not_installed():
    """The name is known, and the message says how to get it."""
    result = run_python(
        "-c", "import sys; sys.modules['numba'] = None; import squeezeops; squeezeops.set_backend('numba')"
    )
    assert re.search(r"ValueError: .*got 'numba' \(to get it: pip install 'squeezeops\[numba\]'\)", result.stderr)


@needs_numba
def test_it_is_imported_only_when_asked_for():
    code = (
        "import sys, numpy, squeezeops; squeezeops.tanh(numpy.ones(3, 'f'))\n"
        "with squeezeops.backend('numpy'): squeezeops.tanh(numpy.ones(3, 'f'))\n"
        "print('numba' in squeezeops.available_backends(), squeezeops.get_backend(), "
        "[m for m in sys.modules if m.split('.')[0] in ('numba', 'llvmlite')])"
    )
    result = run_python("-c", code, SQUEEZEOPS_BACKEND="")
    assert result.stdout.split() == ["True", ops.available_backends()[0], "[]"], result.stderr


def test_it_is_never_the_default():
    names = ops.available_backends()
    assert names[0] != "numba" and names.index("numpy") < names.index("numba") if "numba" in names else True


# What the source must not have.

FORBIDDEN_CALLS = {"dot", "vdot", "inner", "outer", "matmul", "tensordot", "einsum", "prange", "jit", "vectorize"}
FORBIDDEN_OPTIONS = {"fastmath", "parallel"}
LIBM = {"exp", "expm1", "exp2", "log", "log2", "tanh", "erf", "erfc", "pow"}


def broken_rules(source):
    """Matrix products of a library, parallel loops, fast-math, and functions of libm."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.BinOp, ast.AugAssign)) and isinstance(node.op, ast.MatMult):
            yield f"{node.lineno}: @"
        if isinstance(node, ast.Attribute) and node.attr in FORBIDDEN_CALLS:
            yield f"{node.lineno}: .{node.attr}"
        if isinstance(node, ast.Attribute) and node.attr in LIBM and isinstance(node.value, ast.Name):
            yield f"{node.lineno}: {node.value.id}.{node.attr}"
        if isinstance(node, ast.Name) and node.id in FORBIDDEN_CALLS:
            yield f"{node.lineno}: {node.id}"
        if isinstance(node, ast.keyword) and node.arg in FORBIDDEN_OPTIONS:
            yield f"{node.lineno}: {node.arg}="


@pytest.mark.parametrize("path", KERNEL_FILES, ids=lambda path: path.name)
def test_no_product_of_a_library(path):
    assert list(broken_rules(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "line",
    ["y = a @ b", "a @= b", "np.dot(a, b)", "y = a.dot(b)", "matmul(a, b)", "for i in prange(n): pass", "math.exp(x)",
     "np.tanh(x)", *(f"@njit({option}=True)\ndef f(): pass" for option in sorted(FORBIDDEN_OPTIONS))],
)  # fmt: skip
def test_the_rules_find_it(line):
    assert list(broken_rules(line))


KERNELS = {
    name for path in KERNEL_FILES for name in re.findall(r"@kernel\ndef (\w+)", path.read_text(encoding="utf-8"))
}


def test_there_are_kernels_to_look_at():
    some = {"activation", "layer_norm", "softmax", "mean_pool", "convolve", "convolve_int8", "attend", "embedding"}
    assert KERNELS >= some


# The compiled code.


@needs_numba
def test_compiled_code(numba_backend):
    """Packed fused multiply-adds; those of the inner loop find all they need in registers, or where it is read from."""
    from numba import njit

    from squeezeops.backends._numba import convolution, vector

    ops.pointwise_conv(np.ones((8, 16), np.float32), np.ones((16, 16), np.float32))
    # What comes out of the cache cannot be looked at.
    kernel = njit(nogil=True, error_model="numpy")(convolution.convolve.py_func)
    kernel.compile(convolution.convolve.signatures[0])
    assembly = kernel.inspect_asm(kernel.signatures[0])
    if os.uname().machine == "aarch64":
        packed, scalar, stack, registers = r"\tfmla\t", r"\tfmadd\t", r"\[sp", {"v": 4}
    else:
        packed, scalar, stack = r"\tvfn?madd\d+ps\t", r"\tvfn?madd\d+ss\t", r"\([^)]*%r[sb]p"
        registers = {"zmm": 1, "ymm": 2}
    tile = vector.TILE_ROWS * vector.WIDTH // vector.LANES
    inner = 0
    for block in re.split(r"^\.?L\w*:", assembly, flags=re.MULTILINE):
        lines = [line for line in block.splitlines() if re.search(packed, line)]
        if len(lines) >= tile:
            inner += 1
            vectors = tile * next(count for name, count in registers.items() if name in lines[0])
            assert len(lines) % vectors == 0 and not re.search(stack, "".join(lines)), block
    assert inner, "no block has the multiply-adds of a tile"
    assert not re.search(scalar, assembly)


@needs_numba
def test_one_signature_a_kernel(numba_backend, rng):
    """Whatever the arguments, so that an op compiles once. Two have one per dtype of a table, or of weights."""
    from squeezeops.backends._numba import attention, convolution, gather, rows

    ragged = normal(rng, 3, 6, 8)
    ops.attention(*ragged, num_heads=2, cu_seqlens=np.array([0, 2, 6], np.int32))
    for op in TABLE:
        for arguments in op.calls(rng):
            arrays = {name: a for name, a in arguments.items() if isinstance(a, np.ndarray)}
            for view in (np.asarray, np.asfortranarray, lambda a: a[::-1]):
                op.call(**arguments | {name: view(a) for name, a in arrays.items()})
            for a in arrays.values():
                a.flags.writeable = False
            result = op.call(**arguments)
            if not isinstance(result, tuple):
                op.call(**arguments, out=np.empty_like(result))
    int8 = ops.PointwiseConv(ragged[0], dtype="int8")
    int8(ops.quantize_rows(ragged), residual=ragged[..., :6], quantize_groups=3)
    modules = vars(attention) | vars(convolution) | vars(gather) | vars(rows)
    counts = {name: len(modules[name].signatures) for name in KERNELS}
    assert counts == dict.fromkeys(KERNELS, 1) | {"convolve": 2, "embedding": 3}


# The bits.


def fused():
    from squeezeops.backends._numba import vector_llvm

    return vector_llvm._FUSED


@needs_numba
def test_golden_bits(numba_backend):
    """All the hashes that the compiled kernels have, the embedded model's included."""
    assert fused(), "this processor has no fused multiply-add"
    golden = json.loads(golden_bits.FILE.read_text())
    wrong = {name for name, run in golden_bits.all_cases().items() if golden_bits.digest(run()) != golden[name]}
    assert wrong == set()


def run_some_cases(pattern):
    """Check the golden cases whose names match; return their number. For other processes."""
    golden = json.loads(golden_bits.FILE.read_text())
    cases = {name: run for name, run in golden_bits.all_cases().items() if re.match(pattern, name)}
    for name, run in cases.items():
        assert golden_bits.digest(run()) == golden[name], name
    return len(cases)


@needs_numba
def test_golden_bits_as_python():
    """The kernels make sense without Numba's compiler: a debugger can step through them."""
    pattern = (
        r"pointwise_conv/(1x1|13x7|7x51|9x66|every)|PointwiseConv/17x|(layer_norm|rms_norm)/(9x(1|17|96)\b|ev)|l2_normalize/(9x17|ev)"
        r"|softmax/(9x(1|33)\b|every)|gelu|tanh|mean_pool/(1|4)x|embedding.*/(7|16)-|attention/(1x1|9x16|every|ragged)"
    )
    code = f"import numba, test_numba; print(numba.config.DISABLE_JIT, test_numba.run_some_cases({pattern!r}))"
    disabled, count = python(code, NUMBA_DISABLE_JIT="1").split()
    assert disabled == "1" and int(count) > 50


@needs_numba
@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the flags' names are those of x86")
def test_golden_bits_with_narrower_registers():
    """With AVX2 the tile is another one; the bits are the same."""
    code = """
        import test_numba
        from squeezeops.backends._numba import vector
        print(vector.WIDTH, test_numba.run_some_cases("pointwise_conv|PointwiseConv"))
    """
    features = "+avx,+avx2,+fma,+f16c,+bmi,+bmi2,+lzcnt,+movbe,+popcnt,+sse4.2"
    width, count = python(code, **as_on("haswell", features)).split()
    assert width == "16" and int(count) > 30


@needs_numba
@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the flags' names are those of x86")
def test_without_fused_multiply_add():
    """To a tolerance, and by instructions: a library's fmaf would take a hundred times as long."""
    code = """
        import numpy as np, squeezeops as s
        from squeezeops.backends._numba import vector_llvm
        assert not vector_llvm._FUSED
        x = np.random.default_rng(0).standard_normal((40, 50)).astype("f")
        y = s.l2_normalize(x)
        with s.backend("numpy"):
            np.testing.assert_allclose(y, s.l2_normalize(x), rtol=1e-6)
        print("done")
    """
    assert python(code, **as_on("nocona", "+sse3")).strip() == "done"


@needs_numba
def test_fma_of_python():
    """Rounded once: products and sums that two roundings get wrong, halfway cases, subnormal results, specials."""
    from squeezeops.backends._numba import vector_python

    rng = np.random.default_rng(1)
    a, b, c = (rng.integers(0, 2**32, 100_000, dtype=np.uint32).view(np.float32) for _ in range(3))
    with np.errstate(all="ignore"):
        b[::2] = a[::2] * np.float32(-1)
        c[::2] = np.nextafter(a[::2] * a[::2], rng.choice(np.array([0, np.inf], "f"), c[::2].size))
        c[1::4] = rng.standard_normal(c[1::4].size) * np.float32(2.0**-60) * np.abs(a[1::4] * b[1::4])
        result = vector_python.fma(a, b, c)
    with np.errstate(all="ignore"):
        exact = a.astype(np.longdouble) * b + c  # 64 bits: exact, or far from halfway between two float32
        near = np.abs(result - exact) <= np.abs(np.spacing(result)).astype(np.longdouble) / 2
    finite = np.isfinite(result)
    assert finite.mean() > 0.5
    assert near[finite].all()
    a, b, c = np.array([[np.inf, 0, 1, -0.0], [1, np.inf, 2, 1], [3, 1, -2, -0.0]], np.float32)
    with np.errstate(all="ignore"):
        assert_same_bits(vector_python.fma(a, b, c), np.array([np.inf, np.nan, 0, -0.0], np.float32))


# The cache of compiled code.


@pytest.fixture
def triple(tmp_path, monkeypatch):
    """A kernel's function in a file of its own, and Numba's cache in an empty folder."""
    from numba import config

    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path / "cache"))
    (tmp_path / "triple.py").write_text("def triple(x):\n    return 3 * x\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "triple", raising=False)
    return importlib.import_module("triple").triple  # the code that is loaded imports it


@needs_numba
def test_compiled_code_is_kept(triple, tmp_path, monkeypatch):
    """And compiled anew when a file of the kernels has changed, be it another one than that of the kernel."""
    from squeezeops.backends._numba import compiled

    def uses():
        kernel = compiled.kernel(triple)
        assert kernel(2) == 6
        return sum(kernel.stats.cache_hits.values()), sum(kernel.stats.cache_misses.values())

    assert [uses(), uses()] == [(0, 1), (1, 0)]
    assert list((tmp_path / "cache").rglob("*.nbi"))
    monkeypatch.setattr(compiled, "_SOURCES", "others")
    assert [uses(), uses()] == [(0, 1), (1, 0)]


@needs_numba
def test_the_sources_are_all_files(monkeypatch, tmp_path):
    from squeezeops.backends._numba import compiled

    assert compiled._digest_of_sources() == compiled._SOURCES
    for path in KERNEL_FILES:
        shutil.copy(path, tmp_path)
    monkeypatch.setattr(compiled, "files", lambda package: tmp_path)
    assert compiled._digest_of_sources() == compiled._SOURCES
    with open(tmp_path / "rows.py", "a") as file:
        file.write("# changed\n")
    assert compiled._digest_of_sources() != compiled._SOURCES


@needs_numba
@pytest.mark.parametrize("where", ["_CacheLocator.ensure_cache_path", "IndexDataCacheFile.save"])
def test_compiled_code_cannot_be_kept(triple, tmp_path, monkeypatch, where):
    """No folder is to be had, or the disk is full: then it is used all the same."""
    from numba.core import caching

    from squeezeops.backends._numba import compiled

    def fail(*args, **kwargs):
        raise OSError(28, "No space left on device")

    owner, name = where.split(".")
    monkeypatch.setattr(getattr(caching, owner), name, fail)
    assert compiled.kernel(triple)(2) == 6
    assert not list(tmp_path.rglob("*.nbi"))


@needs_numba
def test_processes_that_compile_at_once(triple, tmp_path, monkeypatch):
    """For different types, with an empty cache: both see no file yet, and give theirs the same name."""
    from squeezeops.backends._numba import compiled

    first, second = compiled.kernel(triple), compiled.kernel(triple)
    save = first._cache._cache_file._save_data

    def save_late(name, data):
        assert second(0.5) == 1.5
        save(name, data)

    monkeypatch.setattr(second._cache._cache_file, "_load_index", dict)  # as it was before the first has saved it
    monkeypatch.setattr(first._cache._cache_file, "_save_data", save_late)
    assert first(2) == 6
    assert len(list(tmp_path.rglob("*.nbc"))) == 1
    hits = []
    for _ in range(2):
        kernel = compiled.kernel(triple)
        assert (kernel(2), kernel(0.5)) == (6, 1.5)
        hits.append(sum(kernel.stats.cache_hits.values()))
    assert hits == [0, 2]  # integers are not in the index, and the file of floats has code of integers


@needs_numba
def test_an_old_file_under_a_new_index(triple, monkeypatch):
    """The disk was full between the two. The code is that of another version of Numba."""
    import numba

    from squeezeops.backends._numba import compiled

    with monkeypatch.context() as patch:
        patch.setattr(numba, "__version__", "0")
        compiled.kernel(triple)(2)
    kernel = compiled.kernel(triple)

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(kernel._cache._cache_file, "_save_data", fail)
    assert kernel(2) == 6
    again = compiled.kernel(triple)
    assert again(2) == 6 and sum(again.stats.cache_hits.values()) == 0


@needs_numba
@pytest.mark.parametrize(
    "damage",
    [b"", b"\x80\x04garbage", None, pickle.dumps(5), pickle.dumps((1, 2)), b"cabsent\nname\n.", b"cos\nabsent\n."],
    ids=["empty", "garbage", "cut", "a number", "a pair", "absent module", "absent name"],
)
@pytest.mark.parametrize("ending", [".nbi", ".nbc"])
def test_a_damaged_cache(triple, tmp_path, ending, damage):
    """What was kept and cannot be read is compiled anew, and takes the place of the damaged file."""
    from squeezeops.backends._numba import compiled

    assert compiled.kernel(triple)(2) == 6
    (path,) = (tmp_path / "cache").rglob("*" + ending)
    path.write_bytes(path.read_bytes()[:40] if damage is None else damage)
    assert compiled.kernel(triple)(2) == 6
    again = compiled.kernel(triple)
    assert again(2) == 6 and sum(again.stats.cache_hits.values()) == 1
