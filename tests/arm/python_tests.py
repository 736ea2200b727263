"""Makes a Python for 64-bit ARM out of a distribution's packages and wheels, and runs the package and its tests in it.

Nothing is installed on this machine: apt unpacks into a cache folder, with a state of its own, and qemu-user redirects
the programs there. The same is done for 32-bit ARM, where whole models are held to a tolerance.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from machinery import (
    AARCH64_CLANG,
    AARCH64_GCC,
    ARMV7_GCC,
    BUILD,
    JOBS,
    PROCESSORS,
    ROOT,
    Build,
    Failed,
    Job,
    Missing,
    Processor,
    Row,
    download,
    need,
    run,
    run_jobs,
)
from packages import made_once, sources, unpack_packages

SENTENCE = "a gorgeous, witty, seductive movie"
FOR_OTHERS = re.compile("the flags' names are those of x86|got empty parameter set")


@dataclass(frozen=True)
class Distribution:
    """What a Python is made of."""

    architecture: str  # as in PROCESSORS
    debian: str  # Debian's name for it
    packages: tuple[str, ...]
    wheels: tuple[str, ...]
    platforms: tuple[str, ...]  # of the wheels
    libraries: tuple[str, ...] = ()  # folders that the package manager would add to the loader's path
    suite: str | None = None  # of a release of Debian; None: this machine's


PYTHON = ("python3-minimal", "libpython3-stdlib", "libpython3-dev", "libstdc++6")
ARM64 = Distribution(
    "aarch64", "arm64", PYTHON, ("numpy", "pytest", "cffi"),
    ("manylinux2014_aarch64", "manylinux_2_27_aarch64", "manylinux_2_28_aarch64"),
)  # fmt: skip
ARMHF = Distribution(  # NumPy has no wheels for it
    "armv7", "armhf", (*PYTHON, "python3-numpy", "python3-cffi", "python3-pytest"), (), (),
    ("usr/lib/arm-linux-gnueabihf/blas", "usr/lib/arm-linux-gnueabihf/lapack"),
)  # fmt: skip


def python_of(root: Path) -> Path:
    """The interpreter, python3.X."""
    (found,) = (p for p in (root / "usr" / "bin").glob("python3.*") if re.fullmatch(r"python3\.\d+", p.name))
    return found


def install_wheels(distribution: Distribution, root: Path) -> None:
    version = python_of(root).name.removeprefix("python")
    options = [f"--platform={platform}" for platform in distribution.platforms]
    options += ["--implementation=cp", f"--python-version={version}", "--only-binary=:all:", "--no-compile"]
    options += [f"--abi={abi}" for abi in (f"cp{version.replace('.', '')}", "abi3", "none")]
    pip = (sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check")
    download(*pip, "--target", root / "site", *options, *distribution.wheels)


def root_of(distribution: Distribution) -> Path:
    """The folder with that Python, made on first use and again when what it is made of changes."""

    def make(root: Path, work: Path) -> None:
        unpack_packages(distribution.debian, distribution.packages, root, work, distribution.suite)
        (root / "site").mkdir()
        if not (root / "lib").exists():  # from Debian 13 on it is a link, which the packages do not have
            (root / "lib").symlink_to("usr/lib")
        if distribution.wheels:
            install_wheels(distribution, root)
        # If this machine has the same Python, compile here, which takes a tenth of the time.
        python = shutil.which(python_of(root).name)
        if python:
            folders = (root / "usr" / "lib" / python_of(root).name, root / "usr" / "lib" / "python3", root / "site")
            subprocess.run([python, "-m", "compileall", "-q", *(f for f in folders if f.exists())], capture_output=True)

    made_of = repr((distribution, sources(suite=distribution.suite)))
    key = hashlib.sha256(made_of.encode()).hexdigest()[:12]
    return made_once(f"{distribution.debian}-{key}", make)


def tools() -> Path:
    """The packages that building the two extension modules needs."""

    def make(folder: Path, work: Path) -> None:
        pip = (sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check")
        download(*pip, "--target", folder, "pybind11", "cffi", "setuptools")

    return made_once(f"tools-{sys.version_info[0]}.{sys.version_info[1]}", make)


def package(build: Build, root: Path) -> Path:
    """The package with its libraries, cross-built: a folder for PYTHONPATH."""
    folder = BUILD / f"package-{build.name}"
    shutil.rmtree(folder, ignore_errors=True)
    ignored = shutil.ignore_patterns("*.so", "*.so.*", "__pycache__", "include", "_pure")
    made = Path(shutil.copytree(ROOT / "squeezeops", folder / "squeezeops", ignore=ignored))
    shutil.copytree(ROOT / "csrc" / "include", made / "include")

    build.make("squeezeops")
    (library,) = build.folder.glob("libsqueezeops.so.?")
    shutil.copy(library, made)
    python = python_of(root).name
    source, csrc = build.folder / "_cffi.c", ROOT / "csrc"
    headers = (csrc / "include" / "squeezeops" / "squeezeops.h", csrc / "measure" / "measure.h")
    path = os.pathsep.join([str(tools()), os.environ.get("PYTHONPATH", "")])
    run(sys.executable, ROOT / "python" / "build_cffi.py", *headers, source, PYTHONPATH=path)
    include = root / "usr" / "include"
    # Debian's Python headers include one from a folder named after the architecture.
    flags = ["-O2", "-fPIC", "-shared", "-fvisibility=hidden", f"-I{include / python}", f"-I{include}"]
    flags += [f"-I{csrc}", f"-I{csrc / 'include'}", f"-I{tools() / 'pybind11' / 'include'}"]
    link = [library, "-Wl,-rpath,$ORIGIN"]
    native = made / "_native.so"
    cxx, binding = build.compiler(), sorted((ROOT / "python").glob("*.cc"))
    run(*cxx, "-std=c++17", "-ffp-contract=off", "-Wno-psabi", *flags, *binding, *link, "-o", native)
    limited = ("-w", "-DPy_LIMITED_API=0x030A0000")
    run(*build.compiler("c"), *limited, *flags, source, *link, "-o", made / "_cffi.abi3.so")
    return folder


@dataclass(frozen=True)
class Python:
    """An interpreter under qemu, with the package."""

    distribution: Distribution
    root: Path
    package: Path

    def __call__(self, processor: Processor, *arguments: str | Path, **environment: str) -> str:
        libraries = ":".join(str(self.root / folder) for folder in self.distribution.libraries)
        guest = ["-E", f"LD_LIBRARY_PATH={libraries}"] if libraries else []
        command = [*processor.qemu(), "-L", self.root, *guest, python_of(self.root), *arguments]
        path = os.pathsep.join([str(self.package), str(self.root / "site")])
        variables = {"PYTHONPATH": path, "PYTHONNOUSERSITE": "1", "OPENBLAS_NUM_THREADS": "1", **environment}
        return run(*map(str, command), cwd=self.package, **variables)

    def pytest(self, processor: Processor, *arguments: str | Path) -> str:
        options = ("-q", "-p", "no:cacheprovider", "-p", "no:benchmark", "-c", ROOT / "pyproject.toml")
        output = self(processor, "-m", "pytest", *options, "--rootdir", ROOT, *arguments)
        found = re.findall(r"^(.*\d+ passed.*) in .*$", output, re.MULTILINE)
        skipped = [line for line in re.findall(r"^SKIPPED .*$", output, re.MULTILINE) if not FOR_OTHERS.search(line)]
        if len(found) != 1 or skipped:
            raise Failed(f"{output}expected all tests to run that are not for other processors")
        return str(found[0])


def classify(python: Python, processor: Processor) -> str:
    """Run the command line on the built-in model with every instruction set forced in turn."""
    lines = set()
    for isa in ("", *processor.isas):
        output = python(processor, "-m", "squeezeops", "classify", SENTENCE, SQUEEZEOPS_ISA=isa)
        lines |= set(output.splitlines())
        if not output.startswith("POSITIVE"):
            raise Failed(f"{output}expected POSITIVE, with SQUEEZEOPS_ISA={isa}")
    if processor.architecture == "aarch64" and len(lines) != 1:
        raise Failed(f"expected the same from every instruction set, got {lines}")
    info = python(processor, "-m", "squeezeops", "info")
    if not re.search(rf"^instructions.*\b{processor.isas[0]}\b", info, re.MULTILINE):
        raise Failed(f"{info}expected {processor.isas[0]}")
    return sorted(lines)[0].replace("\t", " ")


def tests(*names: str) -> list[str | Path]:
    return [ROOT / "tests" / name for name in names]


# Without tests that start programs: these would run Python outside of qemu.
DISPATCH = (*tests("test_dispatch.py"), "-k", "not environment and not unknown")
OPS = (
    *tests("test_ops.py", "test_layer_norm.py", "test_softmax.py", "test_pointwise_conv_int8.py"),
    *tests("test_quantize_rows.py"),
    *("-k", "native and (layer_norm or softmax or int8 or quantize_rows) and not embedding"),
)
GOLDEN = tests("test_bits.py::test_golden_bits")
CFFI = tests("test_cffi.py::test_golden_bits")
CLOSE = (*tests("test_bits.py"), "-k", "golden or close")
MODELS = (*tests("test_squeezebert.py::test_golden"), "-k", "native-neon")


def check(only: str = "") -> list[Row]:
    need("cmake", "ninja", "aarch64-linux-gnu-g++", "arm-linux-gnueabihf-g++", "qemu-aarch64", "qemu-arm")
    if importlib.util.find_spec("pip") is None:
        raise Missing("this Python has no pip (apt-get install python3-pip, or use that of a virtual environment)")
    if not sources() or not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        raise Missing("this is no Debian or Ubuntu, whose packages the Pythons are made of")
    processors = {processor.model: processor for processor in PROCESSORS}
    processors["max"] = replace(processors["max"], model="max,sve=off")  # with SVE, NumPy warns about qemu's results
    runs: tuple[tuple[str, Distribution, Build, str, Sequence[str | Path]], ...] = (
        ("cortex-a72", ARM64, AARCH64_GCC, "classify", ()),
        ("cortex-a72", ARM64, AARCH64_GCC, "test_bits", tests("test_bits.py")),
        ("cortex-a72", ARM64, AARCH64_GCC, "dispatch", DISPATCH),
        ("cortex-a72", ARM64, AARCH64_GCC, "ops", OPS),
        ("cortex-a76", ARM64, AARCH64_GCC, "classify", ()),
        ("cortex-a76", ARM64, AARCH64_GCC, "golden bits", GOLDEN),
        ("cortex-a76", ARM64, AARCH64_GCC, "golden bits through cffi", CFFI),
        ("cortex-a76", ARM64, AARCH64_GCC, "dispatch", DISPATCH),
        ("cortex-a76", ARM64, AARCH64_CLANG, "golden bits", GOLDEN),
        ("max", ARM64, AARCH64_GCC, "golden bits", GOLDEN),
        ("max", ARM64, AARCH64_CLANG, "golden bits", GOLDEN),
        ("cortex-a7", ARMHF, ARMV7_GCC, "classify", ()),
        ("cortex-a7", ARMHF, ARMV7_GCC, "golden bits, close on NEON", CLOSE),
        ("cortex-a7", ARMHF, ARMV7_GCC, "models", MODELS),
        ("cortex-a9", ARMHF, ARMV7_GCC, "golden bits", GOLDEN),
        ("cortex-a9,neon=off", ARMHF, ARMV7_GCC, "classify", ()),
    )
    selected = [
        (processors[model], distribution, build, f"Python, {build.compiler_name}: {what}", arguments)
        for model, distribution, build, what, arguments in runs
        if only in f"{model}: Python, {build.compiler_name}: {what}"
    ]
    roots = {distribution: root_of(distribution) for _, distribution, *_ in selected}
    builds = {build: roots[distribution] for _, distribution, build, *_ in selected}
    tools()
    with ThreadPoolExecutor(JOBS) as pool:
        packages = dict(zip(builds, pool.map(package, builds, builds.values()), strict=True))
    jobs = []
    for processor, distribution, build, name, arguments in selected:
        python = Python(distribution, roots[distribution], packages[build])
        run_one = partial(python.pytest, processor, *arguments) if arguments else partial(classify, python, processor)
        jobs.append(Job(processor.model, name, run_one))
    return run_jobs(jobs)
