"""Programs of the build, and CMake builds of this source tree."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def tool(*names):
    """The first of the programs that is there: those of the test extra lie beside Python, whatever PATH says."""
    for name in names:
        found = shutil.which(name) or shutil.which(name, path=os.path.dirname(sys.executable))
        if found:
            return found
    pytest.skip(reason=f"there is no {names[0]}")


def run(*command, cwd=None, **environment):
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def ninja():
    """Options that make CMake build with it."""
    return ["-GNinja", f"-DCMAKE_MAKE_PROGRAM={tool('ninja', 'ninja-build')}"]


def cmake_build(folder, *options, targets=("all",), **environment):
    """Configures and builds. As in setup.py, CXX or what CMake finds compiles, with the options in CMAKE_ARGS."""
    cmake, given = tool("cmake"), shlex.split(os.environ.get("CMAKE_ARGS", ""))
    tool(os.environ.get("CXX", "c++").split()[0], "g++", "clang++")
    run(cmake, "-S", ROOT, "-B", folder, *ninja(), *given, *options, **environment)
    run(cmake, "--build", folder, "--target", *targets)
    return folder
