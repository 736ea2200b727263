"""Build the C library and its bindings with CMake.

Flags and sources are in CMakeLists.txt, everything else is in pyproject.toml. SQUEEZEOPS_PURE=1 builds a pure-Python
package without them.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
PURE = os.environ.get("SQUEEZEOPS_PURE", "") not in ("", "0")
PURE_ADVICE = """\
Or build without the native kernels, for the slower NumPy backend only:
  SQUEEZEOPS_PURE=1 pip install .
"""
NO_COMPILER = """
squeezeops: no working C++ compiler was found, and the native kernels need one (C++17: g++ >= 11 or clang >= 14).
  Debian, Ubuntu, Raspberry Pi OS:  sudo apt install g++
  Fedora:                           sudo dnf install gcc-c++
  Alpine:                           apk add g++
"""
NO_HEADERS = """
squeezeops: the headers of Python were not found, and the native kernels need them.
  Debian, Ubuntu, Raspberry Pi OS:  sudo apt install python3-dev
  Fedora:                           sudo dnf install python3-devel
  Alpine:                           apk add python3-dev
"""
MODULES, TOOLS = ("pybind11", "cffi"), ("cmake", "ninja")  # what pip installs to build with, see pyproject.toml
JOB_MEMORY = 400 << 20  # bytes; see docs/backends.md


def memory() -> int | None:
    """Return how many bytes of memory a build may take; None where the system does not tell."""
    limits = []
    with suppress(OSError, ValueError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                limits.append(int(line.split()[1]) << 10)
    with suppress(OSError, ValueError):  # a container's limit; "max" is no number
        limits.append(int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return min(limits, default=None)


def jobs(cores: int, memory: int | None) -> int:
    """Return how many compilers to run at once: Ninja alone would count cores, and a small board would swap."""
    return cores if memory is None else max(1, min(cores, memory // JOB_MEMORY))


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class CMakeBuild(build_ext):
    """Let CMake build and install the extension, the library that it links, the cffi module and the header."""

    def build_extension(self, ext: Extension) -> None:
        missing = [name for name in MODULES if find_spec(name) is None]
        missing += [name for name in TOOLS if shutil.which(name) is None]
        if missing:
            wanted = " ".join(missing)
            sys.exit(f"squeezeops: to build, {wanted} must be installed: pip install {wanted}\n{PURE_ADVICE}")
        import pybind11

        # CMake's cache of an earlier build names tools in a build environment that pip has deleted.
        build = self.folder()
        shutil.rmtree(build, ignore_errors=True)
        configure = [
            "cmake",
            f"-S{ROOT.resolve()}",
            f"-B{build}",
            "-GNinja",
            "-DCMAKE_BUILD_TYPE=Release",
            "-DSQUEEZEOPS_PYTHON=ON",
            f"-DPython_EXECUTABLE={sys.executable}",
            f"-Dpybind11_DIR={pybind11.get_cmake_dir()}",
            *shlex.split(os.environ.get("CMAKE_ARGS", "")),
        ]
        done = subprocess.run(configure, stderr=subprocess.PIPE, encoding="utf-8", errors="replace")
        sys.stderr.write(done.stderr)
        if done.returncode:
            sys.exit(self.advice(done.stderr))
        command = ["cmake", "--build", str(build)]
        if "CMAKE_BUILD_PARALLEL_LEVEL" not in os.environ:
            command.append(f"-j{jobs(cores(), memory())}")
        if status := subprocess.run(command).returncode:
            hint = "CMAKE_BUILD_PARALLEL_LEVEL=1 takes the least memory, if the compiler was killed"
            sys.exit(f"squeezeops: the build failed with status {status}; the compiler's message is above ({hint})")
        self.install(Path(self.get_ext_fullpath(ext.name)).resolve().parents[1])

    def advice(self, message: str) -> str:
        """Return what to do about CMake's message, which has been printed."""
        for language in ("C", "CXX"):
            # CMake notes here that its test program was compiled.
            notes = self.folder().glob(f"CMakeFiles/*/CMake{language}Compiler.cmake")
            if not any(f"CMAKE_{language}_COMPILER_WORKS TRUE" in note.read_text() for note in notes):
                return NO_COMPILER + PURE_ADVICE
        if "Could NOT find Python" in message and "Development" in message:
            return NO_HEADERS + PURE_ADVICE
        return "squeezeops: CMake failed; its reason is above"

    def copy_extensions_to_source(self) -> None:
        """Install everything for an editable installation; the inherited method copies only the extension."""
        self.install(ROOT.resolve())

    def folder(self) -> Path:
        return Path(self.build_temp).resolve() / "squeezeops-cmake"

    def install(self, prefix: Path) -> None:
        """Install the build's output into the package below `prefix`."""
        command = ["cmake", "--install", str(self.folder()), "--prefix", str(prefix), "--component", "python"]
        subprocess.run([*command, "--strip"], check=True)


class BuildPy(build_py):
    """Mark a pure package with a file, so that a missing extension can be reported as intended or as an error."""

    def run(self) -> None:
        super().run()
        mark = (ROOT if self.editable_mode else Path(self.build_lib)) / "squeezeops" / "_pure"
        if PURE:
            mark.touch()
        else:
            mark.unlink(missing_ok=True)


setup(
    ext_modules=[] if PURE else [Extension("squeezeops._native", [])],
    cmdclass={"build_ext": CMakeBuild, "build_py": BuildPy},
)
