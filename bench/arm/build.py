"""Builds the plugin of QEMU, and for AArch64 the library and the driver."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]
CC, CXX = "aarch64-linux-gnu-gcc", "aarch64-linux-gnu-g++"


def tests_module(name: str) -> Any:
    """Import a module of tests/ or tests/arm/, which are no packages."""
    for folder in (str(ROOT / "tests"), str(ROOT / "tests" / "arm")):
        if folder not in sys.path:
            sys.path.append(folder)
    return importlib.import_module(name)


machinery = tests_module("machinery")
Missing: type[Exception] = machinery.Missing  # a program is not installed


def run_tool(program: str | Path, *arguments: str | Path, text: str = "", **options: Any) -> str:
    """Run a program with a text as its standard input and return its output.

    Raises `Missing` with the package to install, or RuntimeError if the program fails.
    """
    machinery.need(str(program))
    words = [str(part) for part in (program, *arguments)]
    done: subprocess.CompletedProcess[str] = subprocess.run(
        words, input=text, capture_output=True, encoding="utf-8", **options
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)}: status {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    return done.stdout


def build() -> Path:
    """Build the library as tests/arm does, the plugin and the driver, unless they are up to date.

    Returns the folder of the CMake build, which has the objects of the kernels, and of libcount.so and driver.
    """
    machinery.need("cmake", "ninja", CXX)
    library = machinery.AARCH64_GCC
    library.make("squeezeops_static")
    folder: Path = library.folder
    warnings = ("-O2", "-Wall", "-Wextra")
    run_tool("cc", *warnings, "-shared", "-fPIC", "-o", folder / "libcount.so", FOLDER / "count.c")
    include = (f"-I{ROOT}/csrc", f"-I{ROOT}/csrc/include")
    parts = ("-static", *include, FOLDER / "counted.c", folder / "libsqueezeops.a", "-lpthread", "-lm")
    run_tool(CC, *warnings, "-o", folder / "driver", *parts)
    return folder


def build_mark(folder: Path) -> None:
    """Build libmark.so, with which other programs set marks."""
    run_tool(CC, "-O2", "-shared", "-fPIC", "-nostdlib", "-o", folder / "libmark.so", FOLDER / "mark.c")
