"""Builds the wheels of a release, or checks them: ``python .ci/wheels.py build|check [PLATFORM ...]``.

The compiler of PyPI's ziglang builds them into ``dist/``, or the folder DIST, beside an sdist and their checksums. The
core is compiled once per platform and the binding once per Python. It needs Linux, a network and CPython 3.10 to 3.13
(of pyenv, or on the path, but not a distribution's: its headers are for one processor). `check` looks at the checksums,
sizes and tags, then classifies a text and compares the golden bits with the wheels of x86-64 in bare environments, and
with those of other platforms in Pythons that it downloads or builds, under qemu-user. It prints a table of what ran.
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
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "arm")]

from fetch_runtimes import musl_library, musl_python  # noqa: E402
from machinery import PROCESSORS, Failed, Missing  # noqa: E402
from python_tests import ARM64, ARMHF, SENTENCE, Distribution, Python, python_of, root_of  # noqa: E402

DIST, BUILD = Path(os.environ.get("DIST", ROOT / "dist")).resolve(), ROOT / "build" / "wheels"
RUNTIMES, LIBRARY = ROOT / "examples" / "runtimes", "libsqueezeops.so.0"
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
TOOLS = ("ziglang", "cmake", "ninja", "build", "wheel", "setuptools", "twine", "auditwheel", "abi3audit")
WHEEL_BYTES = 2_000_000

PLATFORMS = {  # the tags of wheels, and ziglang's names
    "manylinux_2_17_x86_64": "x86_64-linux-gnu.2.17",
    "manylinux_2_17_aarch64": "aarch64-linux-gnu.2.17",
    "manylinux_2_17_armv7l": "arm-linux-gnueabihf.2.17",
    "musllinux_1_2_x86_64": "x86_64-linux-musl",
    "musllinux_1_2_aarch64": "aarch64-linux-musl",
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


def zig() -> Path:
    """Return ziglang's program."""
    tools()
    return next((BUILD / "environments" / "tools").glob("lib/python*/site-packages/ziglang/zig"))


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


def compile_for(platform: str, python: str) -> Path:
    """Compile what a Python needs on a platform; return a folder with the files to add to the package."""
    interpreter = environment(python, find_python(python), "pybind11", "cffi", "setuptools")
    script = "import sysconfig, pybind11; print(sysconfig.get_path('include'), pybind11.get_cmake_dir(), sep='\\n')"
    include, pybind11 = run(interpreter, "-c", script).split()
    if "multiarch" in (Path(include) / "pyconfig.h").read_text():
        hint = f"pyenv install {python}"
        sys.exit(f"wheels.py: expected CPython's own headers, got a distribution's in {include} ({hint})")
    build, stage = BUILD / platform, BUILD / f"{platform}-{python}"
    run(
        *(tools() / "cmake", "-S", ROOT, "-B", build, "-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={tools() / 'ninja'}"),
        *("-DCMAKE_BUILD_TYPE=Release", f"-DCMAKE_TOOLCHAIN_FILE={ROOT / '.ci' / 'zig.cmake'}"),
        *(f"-DZIG={zig()}", f"-DTARGET={PLATFORMS[platform]}", "-DSQUEEZEOPS_PYTHON=ON", "-DSQUEEZEOPS_WERROR=ON"),
        *("-DCMAKE_SHARED_LINKER_FLAGS=-s", "-DCMAKE_MODULE_LINKER_FLAGS=-s"),
        *("-UPython_*", "-U_Python_*", f"-DPython_EXECUTABLE={interpreter}", f"-DPython_INCLUDE_DIR={include}"),
        f"-Dpybind11_DIR={pybind11}",
    )
    run(tools() / "cmake", "--build", build, "--target", "squeezeops", "_native", "_cffi")
    shutil.rmtree(stage, ignore_errors=True)
    run(tools() / "cmake", "--install", build, "--prefix", stage, "--component", "python")
    (module,) = (stage / "squeezeops").glob("_native.*")  # named after this machine
    module.rename(module.with_name("_native.so"))
    return stage / "squeezeops"


def build(platforms: list[str]) -> None:
    DIST.mkdir(exist_ok=True)
    for pattern in ("*.tar.gz", *(f"*-{platform}.whl" for platform in platforms)):
        for old in DIST.glob(f"squeezeops-{pattern}"):
            old.unlink()
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
            text = about.read_text()
            for line, value in (("Tag", f"{tag}-{tag}-{platform}"), ("Root-Is-Purelib", "false")):
                text, count = re.subn(rf"(?m)^{line}: .*$", f"{line}: {value}", text)
                if count != 1:
                    sys.exit(f"wheels.py: expected one line {line} in {about}, got {count}")
            about.write_text(text)
            run(tools() / "python", "-m", "wheel", "pack", "-d", DIST, unpacked)  # writes the sums of RECORD
    names = sorted(path.name for path in DIST.iterdir() if path.name.endswith((".whl", ".tar.gz")))
    sums = (f"{hashlib.sha256((DIST / name).read_bytes()).hexdigest()}  {name}\n" for name in names)
    (DIST / "SHA256SUMS").write_text("".join(sums))


def check(platforms: list[str]) -> None:
    run("sha256sum", "--check", "--quiet", "SHA256SUMS", cwd=DIST)
    found = {platform: {python: check_wheel(platform, python) for python in PYTHONS} for platform in platforms}
    sdists = list(DIST.glob("*.tar.gz"))
    run(tools() / "twine", "check", "--strict", *sdists, *(wheel for of in found.values() for wheel in of.values()))
    rows = []
    for platform, wheels in found.items():
        ran = list(CHECKS[platform](wheels))
        rows.append((platform, max(wheel.stat().st_size for wheel in wheels.values()), "; ".join(ran)))
    print("| platform | largest wheel, bytes | self-test |\n| --- | --- | --- |")
    for tag, size, text in rows:
        print(f"| {tag} | {size:,} | {text} |")


def check_wheel(platform: str, python: str) -> Path:
    """Check a wheel's size, its tag, and its module for the limited API."""
    tag = f"cp{python.replace('.', '')}"
    wheels = list(DIST.glob(f"squeezeops-*-{tag}-{tag}-{platform}.whl"))
    if len(wheels) != 1:
        sys.exit(f"wheels.py: expected one wheel {tag}-{platform} in {DIST}, got {len(wheels)}")
    (wheel,) = wheels
    if wheel.stat().st_size > WHEEL_BYTES:
        sys.exit(f"{wheel.name}: expected at most {WHEEL_BYTES:,} bytes, got {wheel.stat().st_size:,}")
    if platform.startswith("musl"):  # auditwheel looks for musl among this machine's libraries
        folder = unpacked(wheel) / "squeezeops"
        shown = run("readelf", "-d", *folder.glob("*.so*"))
        wrong = set(re.findall(r"\(NEEDED\).*\[(.+)\]", shown)) - {"libc.so", LIBRARY}
        if wrong:
            sys.exit(f"{wheel.name}: expected to need musl alone, got {', '.join(sorted(wrong))}")
    else:
        shown = " ".join(run(tools() / "auditwheel", "show", wheel).split())
        if f'consistent with the following platform tag: "{platform}"' not in shown:
            sys.exit(f"{wheel.name}: expected {platform}, got\n{shown}")
    with zipfile.ZipFile(wheel) as archive:
        module = archive.extract("squeezeops/_cffi.abi3.so", BUILD)
    run(tools() / "abi3audit", "--strict", "--assume-minimum-abi3", "3.10", module)
    return wheel


def unpacked(wheel: Path) -> Path:
    """Return a folder for PYTHONPATH with the content of a wheel."""
    folder = BUILD / "installed" / wheel.stem
    shutil.rmtree(folder, ignore_errors=True)
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def local(*command: object, path: str = "", **variables: str) -> str:
    """Run a command of this machine away from the sources, with PYTHONPATH and environment variables."""
    return run(*command, cwd=BUILD, env={**os.environ, "PYTHONPATH": path, **variables})


def self_test(name: str, python: Callable[..., str]) -> str:
    """Classify a text with both compiled backends and compare the golden bits; `python` runs that Python."""
    labels = [python("-m", "squeezeops", "classify", SENTENCE, SQUEEZEOPS_BACKEND=each) for each in ("native", "cffi")]
    if not labels[0].startswith("POSITIVE") or labels[0] != labels[1]:
        sys.exit(f"{name}: expected POSITIVE, the same from native and cffi, got\n{''.join(labels)}")
    options = ("-q", "-p", "no:cacheprovider", "-c", ROOT / "pyproject.toml", "--rootdir", ROOT, "-o", "addopts=")
    test = python("-m", "pytest", *options, ROOT / "tests" / "test_bits.py::test_golden_bits")
    if not re.search(r"^1 passed", test, re.MULTILINE):
        sys.exit(f"{name}: expected the test of golden bits to run, got\n{test}")
    print(f"{name}: passed", flush=True)
    return name


def check_x86_64(wheels: dict[str, Path]) -> Iterator[str]:
    """Install into bare environments; then processors that have SSE4.2 or SSE2 alone."""
    for python, wheel in wheels.items():
        interpreter = environment(f"check-{python}", find_python(python), "numpy", "cffi", "pytest")
        pip = (interpreter, "-m", "pip", "-q", "--disable-pip-version-check")
        run(*pip, "uninstall", "-y", "squeezeops")
        run(*pip, "install", "--no-index", "--find-links", DIST, f"squeezeops[cffi]=={wheel.name.split('-')[1]}")
        yield self_test(f"CPython {python}, this machine", partial(local, interpreter))
    emulated = partial(local, "qemu-x86_64", "-cpu", "Nehalem", interpreter)
    yield self_test(f"CPython {python}, QEMU's Nehalem", emulated)
    package = unpacked(wheel) / "squeezeops"
    program = (interpreter, RUNTIMES / "classify_ctypes.py", package / LIBRARY)
    yield c_library("QEMU's qemu64", package, "qemu-x86_64", "-cpu", "qemu64", *program)


def check_arm(wheels: dict[str, Path], distribution: Distribution, *models: str) -> Iterator[str]:
    """Run in the Pythons of Debian 12 and 13, which are those of Raspberry Pi OS."""
    processors = {processor.model: processor for processor in PROCESSORS}
    for suite in ("bookworm", "trixie"):
        made = replace(distribution, suite=suite)
        root = root_of(made)
        python = python_of(root).name.removeprefix("python")
        installed = Python(made, root, unpacked(wheels[python]))
        for model in models:
            yield self_test(f"CPython {python}, QEMU's {model}", partial(installed, processors[model]))


def check_musl(wheels: dict[str, Path]) -> Iterator[str]:
    """Run in a CPython over musl."""
    program = musl_python(zig())
    path = os.pathsep.join(map(str, (unpacked(wheels["3.13"]), program.parents[1] / "site")))
    yield self_test("CPython 3.13 over musl, this machine", partial(local, program, path=path))


def check_musl_arm(wheels: dict[str, Path]) -> Iterator[str]:
    """Run the C library in a program of C."""
    program, package = BUILD / "classify", unpacked(wheels["3.13"]) / "squeezeops"
    link = ("-dynamic", package / LIBRARY, f"-Wl,-rpath,{package}", "-o", program)
    include = f"-I{package / 'include'}"
    run(zig(), "cc", "-target", "aarch64-linux-musl", "-O2", include, RUNTIMES / "classify.c", *link)
    for model in ("cortex-a53", "cortex-a76"):
        yield c_library(f"QEMU's {model}", package, "qemu-aarch64", "-cpu", model, musl_library("aarch64"), program)


def c_library(name: str, package: Path, *command: object) -> str:
    """Classify a text by a program that needs the C library alone."""
    label = run(*command, package / "models" / "sentiment" / "model.safetensors", SENTENCE)
    if not label.startswith("POSITIVE"):
        sys.exit(f"{name}: expected POSITIVE, got\n{label}")
    print(f"{name}: passed", flush=True)
    return f"C library, {name}"


CHECKS: dict[str, Callable[[dict[str, Path]], Iterator[str]]] = {
    "manylinux_2_17_x86_64": check_x86_64,
    "manylinux_2_17_aarch64": lambda wheels: check_arm(wheels, ARM64, "cortex-a53", "cortex-a76"),
    "manylinux_2_17_armv7l": lambda wheels: check_arm(wheels, ARMHF, "cortex-a7", "cortex-a9", "cortex-a9,neon=off"),
    "musllinux_1_2_x86_64": check_musl,
    "musllinux_1_2_aarch64": check_musl_arm,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("build", "check"))
    parser.add_argument("platforms", nargs="*", metavar="PLATFORM", help=f"default: {', '.join(PLATFORMS)}")
    given = parser.parse_args()
    unknown = [name for name in given.platforms if name not in PLATFORMS]
    if unknown:
        parser.error(f"PLATFORM: expected some of {', '.join(PLATFORMS)}, got {', '.join(unknown)}")
    try:
        {"build": build, "check": check}[given.what](given.platforms or list(PLATFORMS))
    except (Failed, Missing) as error:
        sys.exit(f"wheels.py: {error}")


if __name__ == "__main__":
    main()
