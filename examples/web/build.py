#!/usr/bin/env python3
"""Build the web page: the two WebAssembly modules, the files of this folder, and the built-in model.

It needs CMake, Ninja and the compiler from PyPI: ``pip install ziglang cmake ninja``. Then
``python examples/web/build.py`` writes a folder that any web server can serve, ``build/web``.
"""

from __future__ import annotations

import argparse
import gzip
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
# File, and the instruction set of its kernels.
MODULES = {"squeezeops.wasm": "wasm_simd128", "squeezeops_relaxed.wasm": "wasm_relaxed"}
FILES = ("index.html", "page.js", "service-worker.js", "squeezeops.js", "worker.js")
MODEL = ROOT / "squeezeops" / "models" / "sentiment" / "model.safetensors"
LIMIT = 300_000  # bytes of a module


def zig() -> str:
    """Return the path of ziglang's compiler."""
    try:
        import ziglang
    except ImportError:
        raise SystemExit("build.py: expected the compiler of ziglang, got none (pip install ziglang)") from None
    return os.path.join(os.path.dirname(ziglang.__file__), "zig")


def program(name: str) -> str:
    """Return the path of a program, which may lie beside Python."""
    found = shutil.which(name) or shutil.which(name, path=os.path.dirname(sys.executable))
    if not found:
        raise SystemExit(f"build.py: expected the program {name}, got none (pip install {name})")
    return found


def run(command: list[Any]) -> None:
    """Run a program; end with its output if it fails."""
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"build.py: {' '.join(map(str, command))}\n{done.stdout}{done.stderr}")


def build_module(isa: str, folder: Path, *options: str) -> Path:
    """Compile the C library with the kernels of one instruction set; return the path of the module."""
    configure = [
        *(program("cmake"), "-S", ROOT, "-B", folder, "-GNinja", f"-DCMAKE_MAKE_PROGRAM={program('ninja')}"),
        *(f"-DCMAKE_TOOLCHAIN_FILE={HERE / 'zig.cmake'}", f"-DZIG={zig()}"),
        *("-DSQUEEZEOPS_THREADS=OFF", f"-DSQUEEZEOPS_ISAS={isa}", *options),
    ]
    run(configure)
    run([program("cmake"), "--build", folder])
    return folder / "squeezeops.wasm"


def build_modules(folder: Path, work: Path, *options: str) -> None:
    """Build both modules into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor() as both:
        built = list(both.map(lambda isa: build_module(isa, work / isa, *options), MODULES.values()))
    for name, module in zip(MODULES, built, strict=True):
        data = module.read_bytes()
        (folder / name).write_bytes(data)
        print(f"{folder / name}: {len(data)} bytes, {len(gzip.compress(data, 9))} compressed")
        if len(data) > LIMIT:
            raise SystemExit(f"build.py: {name}: expected at most {LIMIT} bytes, got {len(data)}")


def build_side_modules(folder: Path, work: Path) -> None:
    """Link the objects of both modules for Pyodide, as libraries that ctypes loads.

    This is not Pyodide's own toolchain, which is Emscripten: the objects are made for WASI, and the linker's format of
    shared libraries is the one that Emscripten reads. They take functions of C from Pyodide.
    """
    for name, isa in MODULES.items():
        objects = sorted((work / isa).glob("CMakeFiles/**/*.obj"))
        side = folder / name.replace(".wasm", ".so")
        options = ["-shared", "--experimental-pic", "--import-undefined", "--unresolved-symbols=import-dynamic"]
        run([zig(), "wasm-ld", *options, "--export-dynamic", "-s", "-o", side, *objects])
        print(f"{side}: {side.stat().st_size} bytes")


def build_page(folder: Path, work: Path, *options: str) -> None:
    """Build all that the page needs into a folder."""
    build_modules(folder, work, *options)
    for name in FILES:
        shutil.copy(HERE / name, folder / name)
    shutil.copy(MODEL, folder / "sentiment.safetensors")


def main() -> None:
    """Build the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "web", help="folder of the page")
    parser.add_argument("--pyodide", action="store_true", help="build libraries for Pyodide too")
    arguments = parser.parse_args()
    out = arguments.out
    work = out.with_name(f"{out.name}-objects")
    build_page(out, work)
    if arguments.pyodide:
        build_side_modules(out, work)


if __name__ == "__main__":
    main()
