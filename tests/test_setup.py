"""setup.py in environments where something is missing: the message has CMake's own reason and what to install."""

import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from build_helpers import ROOT, tool

# Runs the command without the rest of setuptools, of which an environment may have any version.
BUILD = """
import runpy, sys, setuptools
setuptools.setup = lambda **arguments: None
extension = setuptools.Extension("squeezeops._native", [])
command = runpy.run_path(sys.argv[1])["CMakeBuild"](setuptools.Distribution({"ext_modules": [extension]}))
command.build_temp = sys.argv[2]
command.build_extension(extension)
"""
COMPILER, HEADERS = "no working C++ compiler was found", "the headers of Python were not found"
PURE = "SQUEEZEOPS_PURE=1 pip install ."


def cmakes():
    """All CMakes of this machine: of the system, and of the environment. They report differently."""
    folders = [os.path.dirname(sys.executable), *os.environ["PATH"].split(os.pathsep)]
    found = [path for folder in folders if (path := shutil.which("cmake", path=folder))]
    return list({os.path.realpath(path): path for path in found}.values())


@pytest.fixture(params=cmakes() or [None])
def build(request, tmp_path):
    """A function that builds with the given tools alone on PATH and returns the output, which must end in an error."""
    pytest.importorskip("setuptools", reason="the test extra has it")
    pytest.importorskip("pybind11", reason="the test extra has it")
    known = {"cmake": request.param or tool("cmake"), "ninja": tool("ninja", "ninja-build")}

    def build(*tools, without=(), **environment):
        (tmp_path / "bin").mkdir()
        for name in tools:
            (tmp_path / "bin" / name).symlink_to(known.get(name) or tool(name))
        (tmp_path / "sitecustomize.py").write_text(f"import sys\nsys.modules.update(dict.fromkeys({without!r}))\n")
        dropped = ("CC", "CXX", "CMAKE_ARGS", "CMAKE_C_COMPILER_LAUNCHER", "CMAKE_CXX_COMPILER_LAUNCHER")
        kept = {name: value for name, value in os.environ.items() if name not in dropped}
        paths = {"PATH": str(tmp_path / "bin"), "PYTHONPATH": str(tmp_path)}
        command = [sys.executable, "-c", BUILD, str(ROOT / "setup.py"), str(tmp_path / "temp")]
        done = subprocess.run(command, env=kept | paths | environment, capture_output=True, text=True, check=False)
        assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
        return done.stderr

    return build


COMPILERS = ("cc", "c++", "as", "ld", "ar", "ranlib")


def test_no_compiler(build):
    message = build("cmake", "ninja")
    assert "No CMAKE_CXX_COMPILER could be found" in message  # CMake's own words
    assert COMPILER in message and "sudo apt install g++" in message and PURE in message


@pytest.mark.parametrize("program", ["/nonexistent/c++", "false"])
def test_a_compiler_that_does_not_work(build, program):
    message = build("cmake", "ninja", "cc", CXX=shutil.which(program) or program)
    assert COMPILER in message and "CMake Error" in message


def test_no_headers_of_python(build):
    """The compiler works, so it is not blamed."""
    message = build("cmake", "ninja", *COMPILERS, CMAKE_ARGS="-DPython_INCLUDE_DIR=/nonexistent")
    assert "Could NOT find Python (missing: " in message and "Development.Module" in message
    assert HEADERS in message and "sudo apt install python3-dev" in message and PURE in message
    assert COMPILER not in message


def test_any_other_reason(build):
    message = build("cmake", "ninja", *COMPILERS, CMAKE_ARGS="-Dpybind11_DIR=/nonexistent -DCMAKE_PREFIX_PATH=/none")
    assert 'provided by "pybind11"' in message and message.endswith("CMake failed; its reason is above\n")
    assert COMPILER not in message and HEADERS not in message


def test_a_compiler_that_fails_later(build, tmp_path):
    """Here by a launcher, elsewhere because the system kills it for its memory."""
    (tmp_path / "launcher").write_text('#!/bin/sh\ncase "$*" in *csrc/*) exit 1;; esac\nexec "$@"\n')
    (tmp_path / "launcher").chmod(0o755)
    message = build("cmake", "ninja", *COMPILERS, CMAKE_CXX_COMPILER_LAUNCHER=str(tmp_path / "launcher"))
    assert "the build failed with status 1; the compiler's message is above" in message
    assert "CMAKE_BUILD_PARALLEL_LEVEL=1" in message and COMPILER not in message


@pytest.mark.parametrize("missing", [("pybind11",), ("cffi",), ("pybind11", "cffi")], ids=" ".join)
def test_no_modules_to_build_with(build, missing):
    """Without pip's build isolation."""
    message = build("cmake", "ninja", without=missing)
    assert f"pip install {' '.join(missing)}\n" in message and PURE in message
    assert COMPILER not in message and HEADERS not in message


@pytest.mark.parametrize("missing", ["cmake", "ninja"])
def test_no_tools_to_build_with(build, missing):
    message = build(*{"cmake", "ninja"} - {missing})
    assert f"pip install {missing}\n" in message and COMPILER not in message


# ---- how many compilers at once --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def setup():
    """The names of setup.py, which is run without its call of setup()."""
    setuptools = pytest.importorskip("setuptools", reason="the test extra has it")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(setuptools, "setup", lambda **arguments: None)
        return runpy.run_path(str(ROOT / "setup.py"))


GB = 1 << 30


@pytest.mark.parametrize(
    ("cores", "memory", "expected"),
    [(4, GB * 15 // 16, 2), (4, 4 * GB, 4), (4, 100 << 20, 1), (2, 64 * GB, 2), (1, None, 1), (64, None, 64)],
)
def test_jobs(setup, cores, memory, expected):
    """A Raspberry Pi with 1 GB has four cores, and Ninja would run six compilers."""
    assert setup["jobs"](cores, memory) == expected


def test_this_machine(setup):
    assert 1 <= setup["cores"]() <= os.cpu_count()
    assert setup["memory"]() is None or 1 << 20 < setup["memory"]() < 1 << 50
    assert (setup["memory"]() is None) == (not Path("/proc/meminfo").exists())
