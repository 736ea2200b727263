"""Build the C library and its bindings with CMake.

Flags and sources are in CMakeLists.txt, everything else is in pyproject.toml. SQUEEZEOPS_PURE=1 builds a pure-Python
package without them.
"""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
PURE = os.environ.get("SQUEEZEOPS_PURE", "") not in ("", "0")
NO_COMPILER = """
squeezeops: no working C++ compiler was found, and the native kernels need one (C++17: g++ >= 11 or clang >= 14).
  Debian, Ubuntu, Raspberry Pi OS:  sudo apt install g++
  Fedora:                           sudo dnf install gcc-c++
  Alpine:                           apk add g++
Or build without the native kernels, for the slower NumPy backend only:
  SQUEEZEOPS_PURE=1 pip install .
"""


class CMakeBuild(build_ext):
    """Let CMake build and install the extension, the library that it links, the cffi module and the header."""

    def build_extension(self, ext: Extension) -> None:
        build = self.folder()
        compiler = shlex.split(os.environ.get("CXX", ""))[:1] or ["c++", "g++", "clang++"]
        if not any(shutil.which(name) for name in compiler):
            sys.exit(NO_COMPILER)
        import pybind11

        # CMake's cache of an earlier build names tools in a build environment that pip has deleted.
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
        try:
            subprocess.run(configure, check=True)
        except subprocess.CalledProcessError as error:
            # CMake has printed its message. The usual cause is a compiler that is installed but does not work.
            log = build / "CMakeCache.txt"
            found = log.read_text() if log.exists() else ""
            if any(f"CMAKE_{language}_COMPILER_WORKS:INTERNAL=TRUE" not in found for language in ("C", "CXX")):
                sys.exit(NO_COMPILER)
            raise SystemExit(f"squeezeops: CMake failed with status {error.returncode}") from None
        subprocess.run(["cmake", "--build", str(build)], check=True)
        self.install(Path(self.get_ext_fullpath(ext.name)).resolve().parents[1])

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
