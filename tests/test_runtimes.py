"""The examples of examples/runtimes/: each prints what the package computes, with the same logits to the bit.

PyPy and MicroPython come from fetch_runtimes.py. The programs in C run on emulated ARM processors too.
"""

import importlib.util
import os
import platform
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from build_helpers import ROOT, ninja, run, tool
from fetch_runtimes import PACKAGES, command, root_of

import squeezeops
from squeezeops import backends

if "native" not in backends.available():
    pytest.skip(reason="built without the native extension", allow_module_level=True)

EXAMPLES = ROOT / "examples" / "runtimes"
MODEL = Path(squeezeops.__file__).parent / "models" / "sentiment" / "model.safetensors"
TEXTS = [
    "a gorgeous, witty, seductive movie",
    "A waste of time!",
    "Ünlü şef 映画 is ok \N{THUMBS UP SIGN} zzzqqq",
    "not bad, not good. " * 13,  # an argument of MicroPython has at most 255 bytes
]
HINT = "run tests/fetch_runtimes.py, which downloads it"
PAGE = (ROOT / "docs" / "embedding.md").read_text(encoding="utf-8")
# The page's build for this model alone.
(SENTIMENT_ONLY,) = set(re.findall(r'-DSQUEEZEOPS_OPS="(embedding[^"]*)"', PAGE))
x86 = pytest.mark.skipif(platform.machine() != "x86_64", reason="the programs of fetch_runtimes.py are for x86")


@pytest.fixture(scope="module")
def expected():
    """Label, score and logits of each text, by the native backend."""
    with squeezeops.backend("native"):
        classify = squeezeops.pipeline("text-classification")
        results = classify(TEXTS)
        logits = classify(TEXTS, function_to_apply="none", top_k=None)
    names = list(classify.model.config.id2label.values())
    by_name = [{one["label"]: one["score"] for one in found} for found in logits]
    return [
        (result["label"], f"{result['score']:.4f}", np.float32([found[name] for name in names]))
        for result, found in zip(results, by_name, strict=True)
    ]


def lines_of(*program, **environment):
    """Label, score and logits of each line that a program prints."""
    environment = {"PYTHONIOENCODING": "utf-8", "PYTHONUTF8": "1", **environment}
    lines = run(*program, MODEL, *TEXTS, **environment).splitlines()
    parts = [line.split(" ", 4) for line in lines]
    assert [part[4] for part in parts] == TEXTS
    return [(label, score, np.float32(logits)) for label, score, *logits in (part[:4] for part in parts)]


def assert_same(found, expected):
    assert [one[:2] for one in found] == [one[:2] for one in expected]
    assert [one[2].tobytes() for one in found] == [one[2].tobytes() for one in expected]


def assert_close(found, expected):
    assert [one[0] for one in found] == [one[0] for one in expected]
    np.testing.assert_allclose([one[2] for one in found], [one[2] for one in expected], rtol=0, atol=1e-4)


def assert_complains(*program, **environment):
    """With arguments that are wrong, a program ends with the library's message."""
    for arguments, message in [
        (["/nonexistent", "text"], "path: expected a file that squeezeops convert wrote, got No such file"),
        ([MODEL, " "], "text: expected a text that is not blank, got a blank one"),
    ]:
        words = list(map(str, [*program, *arguments]))
        done = subprocess.run(words, env={**os.environ, **environment}, capture_output=True, text=True)
        assert done.returncode > 0 and re.search(message, done.stderr + done.stdout), done.stderr + done.stdout


LIBRARY = Path(squeezeops.get_library())
SOURCES = {"classify.c": ("CC", "cc", "-std=c99"), "classify.cc": ("CXX", "c++", "-std=c++11")}


@pytest.mark.parametrize("name", SOURCES)
def test_c(name, expected, tmp_path):
    variable, default, standard = SOURCES[name]
    compiler = shlex.split(os.environ.get(variable, default))
    flags = ["-Wall", "-Wextra", "-Werror", "-I", squeezeops.get_include(), LIBRARY, f"-Wl,-rpath,{LIBRARY.parent}"]
    run(tool(compiler[0]), *compiler[1:], standard, EXAMPLES / name, *flags, "-o", tmp_path / "classify")
    assert_same(lines_of(tmp_path / "classify"), expected)
    assert_complains(tmp_path / "classify")


@pytest.mark.parametrize("name", ["ctypes", "cffi"])
def test_cpython_without_numpy(name, expected, tmp_path):
    if name == "cffi" and not importlib.util.find_spec("cffi"):
        pytest.skip(reason="cffi is not installed")
    (tmp_path / "numpy.py").write_text("raise ImportError('not here')")
    program = [sys.executable, EXAMPLES / f"classify_{name}.py", LIBRARY]
    assert_same(lines_of(*program, PYTHONPATH=str(tmp_path)), expected)
    assert_complains(*program, PYTHONPATH=str(tmp_path))


def test_cpython_with_numpy(expected):
    path = str(Path(squeezeops.__file__).parents[1])
    assert_same(lines_of(sys.executable, EXAMPLES / "classify_numpy.py", PYTHONPATH=path), expected)


def runtime(name, architecture="x86_64"):
    """The command of PyPy or MicroPython, and the folder that it is in."""
    assert name in PACKAGES[architecture]
    root = root_of(architecture)
    if root is None:
        pytest.skip(reason=f"{name} for {architecture} is not in the cache: {HINT}")
    return command(root, architecture, name), root


@x86
def test_pypy_without_numpy(expected):
    pypy, _ = runtime("pypy3")
    version = run(*pypy, "-c", "import sys; print(sys.implementation.name, *sys.version_info[:2])")
    assert version == "pypy 3 11\n"
    program = [*pypy, EXAMPLES / "classify_cffi.py", LIBRARY]
    assert_same(lines_of(*program, PYTHONPATH=""), expected)
    assert_complains(*program)


@x86
def test_pypy_with_numpy(expected, tmp_path):
    """The package itself, with cffi's ABI mode: the modules for CPython are none for PyPy."""
    pypy, root = runtime("pypy3")
    # Beside an installed package there are the NumPy and the cffi of CPython.
    (tmp_path / "squeezeops").symlink_to(Path(squeezeops.__file__).parent)
    paths = os.pathsep.join([str(tmp_path), str(root / "site")])
    environment = {"PYTHONPATH": paths, "SQUEEZEOPS_BACKEND": "cffi", "PYTHONDONTWRITEBYTECODE": "1"}
    assert_same(lines_of(*pypy, EXAMPLES / "classify_numpy.py", **environment), expected)


@x86
def test_micropython(expected):
    micropython, _ = runtime("micropython")
    program = [*micropython, EXAMPLES / "classify_micropython.py", LIBRARY]
    assert_same(lines_of(*program), expected)
    assert_complains(*program)


# Other processors, under qemu, with the library for this model alone.

EMULATORS = {"aarch64": ("qemu-aarch64", "cortex-a53"), "armv7": ("qemu-arm", "cortex-a7")}
TARGETS = {"aarch64": "aarch64-linux-gnu", "armv7": "arm-linux-gnueabihf"}
ISAS = {"aarch64": "neon", "armv7": "scalar neon neon_vfpv4"}


@pytest.fixture(scope="module")
def small_library(tmp_path_factory):
    """Build it for an architecture, once."""
    built = {}

    def build(architecture):
        if architecture not in built:
            options = [f"-DSQUEEZEOPS_OPS={SENTIMENT_ONLY}", "-DCMAKE_BUILD_TYPE=Release"]
            if architecture in ISAS:
                tool(f"{TARGETS[architecture]}-g++")
                options.append(f"-DSQUEEZEOPS_ISAS={ISAS[architecture]}")
                options.append(f"-DCMAKE_TOOLCHAIN_FILE={ROOT}/tests/arm/{architecture}.cmake")
            folder = tmp_path_factory.mktemp(architecture)
            run(tool("cmake"), "-S", ROOT, "-B", folder, *ninja(), *options)
            run(tool("cmake"), "--build", folder, "--target", "squeezeops", "squeezeops_static")
            built[architecture] = folder
        return built[architecture]

    return build


def assert_right(architecture, program, expected):
    """NEON on 32-bit ARM computes floats to a tolerance; everything else has the same bits."""
    if architecture == "armv7":
        assert_close(lines_of(*program), expected)
        program = [program[0], "-E", "SQUEEZEOPS_ISA=scalar", *program[1:]]
    assert_same(lines_of(*program), expected)


@x86
@pytest.mark.parametrize("architecture", EMULATORS)
def test_c_under_qemu(architecture, expected, small_library, tmp_path):
    library = small_library(architecture) / "libsqueezeops.a"
    flags = ["-static", "-I", ROOT / "csrc" / "include", library, "-lm", "-pthread", "-o", tmp_path / "classify"]
    run(f"{TARGETS[architecture]}-gcc", EXAMPLES / "classify.c", *flags)
    emulator, cpu = EMULATORS[architecture]
    assert_right(architecture, [tool(emulator), "-cpu", cpu, tmp_path / "classify"], expected)


@x86
@pytest.mark.parametrize("architecture", EMULATORS)
def test_micropython_under_qemu(architecture, expected, small_library):
    micropython, _ = runtime("micropython", architecture)
    library = next(small_library(architecture).glob("libsqueezeops.so.?"))
    emulator, cpu = EMULATORS[architecture]
    program = [tool(emulator), "-cpu", cpu, *micropython, EXAMPLES / "classify_micropython.py", library]
    assert_right(architecture, program, expected)


def test_the_examples_are_short():
    sources = list(EXAMPLES.iterdir())
    assert len(sources) == 6
    for source in sources:
        assert len(source.read_text(encoding="utf-8").splitlines()) <= 60
