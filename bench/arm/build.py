"""What is built to count and to model: the plugin of QEMU, and for AArch64 the library and the driver."""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

__all__ = [
    "CXX_FOR",
    "FOLDER",
    "ROOT",
    "Missing",
    "build",
    "build_mark",
    "compile_for_arm",
    "run_tool",
    "tests_module",
    "tool",
]

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]
TOOLCHAIN = ROOT / "tests/arm/aarch64.cmake"
CXX_FOR = {"gcc": ("aarch64-linux-gnu-gcc", "aarch64-linux-gnu-g++"), "clang": ("clang-19", "clang++-19")}


def tests_module(name: str) -> Any:
    """A module of tests/, which is no package."""
    folder = str(ROOT / "tests")
    if folder not in sys.path:
        sys.path.append(folder)
    return importlib.import_module(name)


class Missing(RuntimeError):
    """A program that is not installed, or a folder that was not made."""


@cache
def tool(name: str, package: str = "") -> str:
    """Return the path of a program; `Missing` that names the package to install."""
    found = shutil.which(name)
    if not found:
        raise Missing(f"{name}: not found; on Debian: apt install {package or name}")
    return found


def run_tool(*command: str | Path, text: str = "", environment: dict[str, str] | None = None) -> str:
    """Run a program with a text as its standard input and return its output; RuntimeError if it fails."""
    done = subprocess.run(
        [str(part) for part in command], input=text, env=environment, capture_output=True, encoding="utf-8"
    )
    if done.returncode:
        words = " ".join(str(part) for part in command)
        raise RuntimeError(f"{words}: status {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    return done.stdout


def compile_for_arm(compiler: str, *arguments: str | Path) -> None:
    """Compile C for AArch64."""
    target = ("--target=aarch64-linux-gnu",) if compiler == "clang" else ()
    run_tool(tool(CXX_FOR[compiler][0], "gcc-aarch64-linux-gnu"), *target, "-O2", "-Wall", "-Wextra", *arguments)


def build(folder: Path, compiler: str = "gcc") -> Path:
    """Build the plugin, the static library and the driver in a folder, as far as they are not up to date.

    Returns the folder: libcount.so, library/ (the CMake build, with the objects of the kernels), driver.
    """
    folder.mkdir(parents=True, exist_ok=True)
    c, cxx = CXX_FOR[compiler]
    tool("aarch64-linux-gnu-gcc", "g++-aarch64-linux-gnu")
    library = folder / "library"
    if not (library / "build.ninja").exists():
        compilers = (f"-DCMAKE_C_COMPILER={tool(c)}", f"-DCMAKE_CXX_COMPILER={tool(cxx)}")
        generator = ("-GNinja", f"-DCMAKE_MAKE_PROGRAM={tool('ninja', 'ninja-build')}")
        options = (f"-DCMAKE_TOOLCHAIN_FILE={TOOLCHAIN}", "-DSQUEEZEOPS_WERROR=ON")  # as in tests/arm: ccache
        run_tool(tool("cmake"), "-S", ROOT, "-B", library, *generator, *options, *compilers)
    run_tool(tool("cmake"), "--build", library, "--target", "squeezeops_static")
    plugin = (tool("cc", "gcc"), "-O2", "-Wall", "-Wextra", "-shared", "-fPIC")
    run_tool(*plugin, "-o", folder / "libcount.so", FOLDER / "count.c")
    include = (f"-I{ROOT}/csrc", f"-I{ROOT}/csrc/include")
    parts = ("-static", *include, FOLDER / "driver.c", library / "libsqueezeops.a", "-lpthread", "-lm")
    compile_for_arm(compiler, "-o", folder / "driver", *parts)
    return folder


def build_mark(folder: Path, compiler: str) -> None:
    """Build libmark.so, by which a program that is not ours sets marks."""
    compile_for_arm(compiler, "-shared", "-fPIC", "-nostdlib", "-o", folder / "libmark.so", FOLDER / "mark.c")
