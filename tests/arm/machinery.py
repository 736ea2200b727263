"""Shared by the scripts of this folder: processors, tools, builds, parallel jobs, the table at the end."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "tests"))

from kernel_tables import ISAS  # noqa: E402
from limits import seconds  # noqa: E402

BUILD = ROOT / "build" / "arm"
JOBS = max(2, os.cpu_count() or 1)

PACKAGES = {  # of Debian and Ubuntu, by program
    "aarch64-linux-gnu-gcc": "g++-aarch64-linux-gnu",
    "aarch64-linux-gnu-g++": "g++-aarch64-linux-gnu",
    "arm-linux-gnueabihf-g++": "g++-arm-linux-gnueabihf",
    "aarch64-linux-gnu-nm": "binutils-aarch64-linux-gnu",
    "aarch64-linux-gnu-objdump": "binutils-aarch64-linux-gnu",
    "llvm-mca-19": "llvm-19",
    "qemu-aarch64": "qemu-user",
    "qemu-arm": "qemu-user",
    "cmake": "cmake",
    "ninja": "ninja-build",
    "g++": "g++",
    "cc": "gcc",
}


@dataclass(frozen=True)
class Processor:
    """A processor that qemu-user emulates, and the kernels that must run on it."""

    architecture: str
    model: str
    isas: tuple[str, ...]  # best first
    floats: str  # the kernels that run by default
    int8: str

    def qemu(self) -> list[str]:
        return ["qemu-arm" if self.architecture == "armv7" else "qemu-aarch64", "-cpu", self.model]


NEON, VFPV4, DOTPROD, I8MM = (
    tuple(isa.tag for isa in ISAS[tag].chain()) for tag in ("neon", "neon_vfpv4", "neon_dotprod", "neon_i8mm")
)
PROCESSORS = (
    Processor("aarch64", "cortex-a53", NEON, "neon", "neon"),  # Raspberry Pi 3, Zero 2
    Processor("aarch64", "cortex-a72", NEON, "neon", "neon"),  # Raspberry Pi 4
    Processor("aarch64", "cortex-a76", DOTPROD, "neon", "neon_dotprod"),  # Raspberry Pi 5
    Processor("aarch64", "neoverse-n1", DOTPROD, "neon", "neon_dotprod"),
    Processor("aarch64", "max", I8MM, "neon", "neon_i8mm"),
    Processor("armv7", "cortex-a7", VFPV4, "neon_vfpv4", "neon_vfpv4"),  # Raspberry Pi 2
    Processor("armv7", "cortex-a9", NEON, "neon", "neon"),
    Processor("armv7", "cortex-a9,neon=off", ("scalar",), "scalar", "scalar"),
)


class Missing(Exception):
    """A program is not installed; says how to get it."""


class Failed(Exception):
    """A check failed; has the output."""


class Unreachable(Failed):
    """What the tests need could not be downloaded, so nothing is known about the code."""


def need(*programs: str) -> None:
    missing = [name for name in programs if not shutil.which(name)]
    if missing:
        packages = sorted({PACKAGES.get(name, name) for name in missing})
        raise Missing(f"there is no {', '.join(missing)} (apt-get install {' '.join(packages)})")


def run(*command: str | Path, cwd: Path | None = None, timeout: float = 900, **environment: str) -> str:
    """Run a program to its end and return what it wrote; Failed with that, unless it returns 0."""
    words = [str(word) for word in command]
    done = subprocess.run(
        words,
        cwd=cwd,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=seconds(timeout),
    )
    if done.returncode != 0:
        raise Failed(f"$ {' '.join(words)}\n{done.stdout}exit status {done.returncode}")
    return done.stdout


NETWORK_FAULT = re.compile(
    "Failed to fetch|Unable to fetch|index files failed|Hash Sum mismatch|Could not resolve|Temporary failure"  # of apt
    "|ConnectionError|NewConnection|ConnectTimeout|Read timed out|ReadTimeout|ProxyError|SSLError|HTTPError"  # of pip
)
PAUSES = (10, 60, 180)  # seconds; a mirror that is being updated needs a few minutes


def download(*command: str | Path, **environment: str) -> None:
    """Run a program that downloads, again after a pause if the network is at fault; Unreachable if it stays so."""
    for pause in (*PAUSES, None):
        try:
            run(*command, **environment)
            return
        except subprocess.TimeoutExpired as error:
            trouble = str(error)
        except Failed as error:
            trouble = str(error)
            if not NETWORK_FAULT.search(trouble):
                raise
        if pause is not None:
            print(f"network fault, next try in {pause} s: {command[0]}", flush=True)
            time.sleep(pause)
    tries = len(PAUSES) + 1
    raise Unreachable(f"NETWORK FAULT, no test failed: a download did not succeed in {tries} tries\n{trouble}")


@dataclass(frozen=True)
class Build:
    """A build of the C library."""

    name: str
    architecture: str | None  # None: this machine's
    clang: bool = False
    flags: str = ""

    @property
    def folder(self) -> Path:
        return BUILD / self.name

    @property
    def compiler_name(self) -> str:
        return "Clang" if self.clang else "GCC"

    @property
    def target(self) -> str:
        return {"aarch64": "aarch64-linux-gnu", "armv7": "arm-linux-gnueabihf"}[self.architecture or ""]

    def compiler(self, language: str = "c++") -> list[str]:
        cxx = language == "c++"
        if self.architecture is None:
            return ["g++" if cxx else "gcc"]
        if self.clang:
            return [clang(cxx), f"--target={self.target}"]
        return [f"{self.target}-{'g++' if cxx else 'gcc'}"]

    def make(self, target: str, *options: str) -> None:
        """Configure if necessary, and build."""
        if not (self.folder / "build.ninja").exists():
            if self.architecture:
                options += (f"-DCMAKE_TOOLCHAIN_FILE={ROOT / 'tests' / 'arm' / self.architecture}.cmake",)
            if self.clang:
                options += (f"-DCMAKE_C_COMPILER={clang(False)}", f"-DCMAKE_CXX_COMPILER={clang(True)}")
            options += ("-DSQUEEZEOPS_WERROR=ON", f"-DCMAKE_CXX_FLAGS={self.flags}")
            run("cmake", "-GNinja", "-S", ROOT, "-B", self.folder, *options)
        run("cmake", "--build", self.folder, "--target", target)


def clang(cxx: bool) -> str:
    """The newest Clang that is installed."""
    names = [f"clang{'++' if cxx else ''}{version}" for version in ("-19", "-18", "-17", "-16", "-15", "-14", "")]
    for name in names:
        if shutil.which(name):
            return name
    raise Missing("there is no clang++ (apt-get install clang)")


AARCH64_GCC = Build("aarch64-gcc", "aarch64")
AARCH64_CLANG = Build("aarch64-clang", "aarch64", clang=True)
ARMV7_GCC = Build("armv7-gcc", "armv7")


@dataclass(frozen=True)
class Row:
    """A row of the table at the end."""

    where: str
    what: str
    kernels: str
    passed: bool
    seconds: float
    trouble: str = ""


@dataclass(frozen=True)
class Job:
    """One check under qemu: it returns the kernels that ran, or raises Failed."""

    where: str
    what: str
    check: Callable[[], str]

    def row(self) -> Row:
        begin = time.monotonic()
        try:
            kernels, trouble = self.check(), ""
        except (Failed, subprocess.TimeoutExpired) as error:
            kernels, trouble = "", str(error)
        row = Row(self.where, self.what, kernels, not trouble, time.monotonic() - begin, trouble)
        print(f"{'ok    ' if row.passed else 'FAILED'} {row.where}: {row.what} ({row.seconds:.0f} s)", flush=True)
        return row


def run_jobs(jobs: Iterable[Job]) -> list[Row]:
    """Run jobs, as many at a time as there are CPUs."""
    with ThreadPoolExecutor(JOBS) as pool:
        return list(pool.map(Job.row, jobs))


def print_table(rows: Sequence[Row]) -> None:
    lines = [("processor", "what ran", "kernels", "result", "s")]
    lines += [(r.where, r.what, r.kernels, "pass" if r.passed else "FAIL", f"{r.seconds:.0f}") for r in rows]
    widths = [max(len(line[i]) for line in lines) for i in range(5)]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def report(rows: Sequence[Row], skipped: Sequence[str]) -> int:
    """Print what failed, the table and what was skipped; return an exit status."""
    for row in rows:
        if row.trouble:
            print(f"\n---- {row.where}: {row.what}\n{row.trouble.rstrip()}")
    print()
    if rows:
        print_table(rows)
    for reason in skipped:
        print(f"SKIPPED: {reason}")
    if not rows and not skipped:
        print("FAILED: there is no such row")
        return 1
    return 0 if all(row.passed for row in rows) else 1
