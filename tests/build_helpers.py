"""Helpers that find build tools and build this source tree with CMake."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from limits import seconds

ROOT = Path(__file__).parents[1]


def tool(*names):
    """Return the first program that exists, on PATH or beside Python, where the test extra installs its tools."""
    for name in names:
        found = shutil.which(name) or shutil.which(name, path=os.path.dirname(sys.executable))
        if found:
            return found
    pytest.skip(reason=f"there is no {names[0]}")


def run(*command, cwd=None, limit=300, **environment):
    """Run a command, check that it succeeds within so many seconds, and return its output."""
    done = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=seconds(limit),
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def ninja():
    """The options that make CMake use Ninja."""
    return ["-GNinja", f"-DCMAKE_MAKE_PROGRAM={tool('ninja', 'ninja-build')}"]


def cmake_build(folder, *options, targets=("all",), limit=300, **environment):
    """Configure and build. As in setup.py, the compiler is CXX or CMake's default, and CMAKE_ARGS adds options."""
    cmake, given = tool("cmake"), shlex.split(os.environ.get("CMAKE_ARGS", ""))
    tool(os.environ.get("CXX", "c++").split()[0], "g++", "clang++")
    run(cmake, "-S", ROOT, "-B", folder, *ninja(), *given, *options, **environment)
    run(cmake, "--build", folder, "--target", *targets, limit=limit)
    return folder
