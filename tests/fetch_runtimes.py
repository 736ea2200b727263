"""Downloads PyPy and MicroPython for test_runtimes.py into the user's cache folder: ``python tests/fetch_runtimes.py``.

They are packages of Debian 13, from the mirror that this machine's own lists of packages name. Their programs are run
by the loader that comes with them, since this machine's C library may be older. ``python tests/fetch_runtimes.py
free-threaded`` builds a CPython without the GIL from the source there, for test_free_threaded.py; that takes minutes,
and the headers of libffi. `.ci/wheels.py` has a CPython over musl built here, too.
"""

from __future__ import annotations

import hashlib
import platform
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.append(str(Path(__file__).parent / "arm"))

from machinery import JOBS, Failed, download, run  # noqa: E402
from packages import CACHE, made_once, sources, unpack_packages, unpack_source  # noqa: E402

SUITE = "trixie"
LONGEST = 3600  # seconds of a build
DEBIAN = {"x86_64": "amd64", "aarch64": "arm64", "armv7": "armhf"}  # by the names of `tests/arm`
TRIPLE = {"x86_64": "x86_64-linux-gnu", "aarch64": "aarch64-linux-gnu", "armv7": "arm-linux-gnueabihf"}
PACKAGES = {"x86_64": ("micropython", "pypy3"), "aarch64": ("micropython",), "armv7": ("micropython",)}
WHEELS = ("--platform=manylinux_2_28_x86_64", "--platform=manylinux_2_27_x86_64", "--platform=manylinux2014_x86_64")


def name_of(what: str) -> str:
    """The folder in the cache, another one when this file or the mirror changes."""
    made_of = Path(__file__).read_bytes() + repr(sources(suite=SUITE)).encode()
    return f"{what}-{hashlib.sha256(made_of).hexdigest()[:12]}"


def root_of(architecture: str) -> Path | None:
    """The folder with the runtimes of an architecture; None if it was not downloaded."""
    folder = CACHE / name_of(f"runtimes-{architecture}")
    return folder if folder.exists() else None


def command(root: Path, architecture: str, program: str) -> list[str]:
    """How a program of such a folder is started: by its own loader."""
    (loader,) = (root / "usr").glob("lib*/ld-linux*.so.?")
    libraries = root / "usr" / "lib" / TRIPLE[architecture]
    return [str(loader), "--library-path", str(libraries), str(root / "usr" / "bin" / program)]


def fetch(architecture: str) -> Path:
    """Download, unless it was done before."""

    def make(root: Path, work: Path) -> None:
        unpack_packages(DEBIAN[architecture], PACKAGES[architecture], root, work, SUITE)
        if "pypy3" in PACKAGES[architecture]:  # NumPy has wheels for it
            pip = (sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-compile")
            abi = ("--implementation=pp", "--abi=pypy311_pp73", "--python-version=3.11", "--only-binary=:all:")
            download(*pip, "--target", root / "site", *abi, *WHEELS, "numpy")

    return made_once(name_of(f"runtimes-{architecture}"), make)


def install_source(package: str, root: Path, work: Path, *options: str, **environment: str) -> None:
    """Build the source of a package, with options of its configuration, and install it below `root`."""
    source = work / package
    source.mkdir()
    unpack_source(package, source, work / f"apt-{package}", SUITE)
    run("./configure", f"--prefix={root}", *options, cwd=source, **environment)
    run("make", "-s", f"-j{JOBS}", "install", cwd=source, timeout=LONGEST)


def make_cpython(root: Path, work: Path, *options: str, **environment: str) -> None:
    options = ("-q", "--disable-test-modules", "CFLAGS=-O1 -Wno-date-time", *options)
    install_source("python3.13", root, work, *options, **environment)


def add_wheels(root: Path, abi: str, platforms: Sequence[str], *packages: str) -> None:
    """Unpack wheels for a CPython 3.13 into `root`/site."""
    pip = (sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check")
    which = ("--implementation=cp", "--python-version=3.13", f"--abi={abi}", "--abi=none", "--only-binary=:all:")
    download(*pip, "--target", root / "site", *which, *platforms, *packages)


def free_threaded() -> Path:
    """Build CPython 3.13 without the GIL, unless it was done before; return its program."""

    def make(root: Path, work: Path) -> None:
        make_cpython(root, work, "--disable-gil")
        run(root / "bin" / "python3.13t", "-c", "import ctypes, zlib, sys; assert not sys._is_gil_enabled()")
        add_wheels(root, "cp313t", WHEELS, "numpy", "pytest")

    return made_once(name_of("free-threaded"), make) / "bin" / "python3.13t"


def musl_library(architecture: str) -> Path:
    """Return the musl of an architecture: its loader, which is its C library, too. Downloaded on first use."""
    folder = made_once(
        name_of(f"musl-{architecture}"),
        lambda root, work: unpack_packages(DEBIAN[architecture], ("musl",), root, work, SUITE),
    )
    (loader,) = (folder / "usr" / "lib").glob("ld-musl-*.so.1")
    return loader


def musl_python(zig: Path) -> Path:
    """Build CPython 3.13 over musl with the compiler of ziglang, unless it was done before; return its program."""
    loader = musl_library("x86_64")

    def make(root: Path, work: Path) -> None:
        compiler = f"{zig} cc -target x86_64-linux-musl"
        # CPython recognises musl by a macro of its <stdarg.h>, which is Clang's here. The libraries of this machine are
        # of another C library: none of them is to be found. In an executable at a fixed address, the linker gives it an
        # `environ` of its own that musl does not set, and mimalloc reads it before main().
        cc, zlib = f"{compiler} -fPIC", work / "installed"
        install_source("zlib", zlib, work, "--static", CC=cc)  # which NumPy needs
        options = [f"CC={cc}", f"CPP={compiler} -E -D__DEFINED_va_list", f"LINKCC={compiler} -pie"]
        options += [f"LDFLAGS=-dynamic -Wl,--dynamic-linker={loader}", "--without-ensurepip", "--without-mimalloc"]
        found = {"ZLIB_CFLAGS": f"-I{zlib / 'include'}", "ZLIB_LIBS": str(zlib / "lib" / "libz.a")}
        make_cpython(root, work, *options, PKG_CONFIG="false", **found)
        run(root / "bin" / "python3.13", "-c", "import zlib")
        add_wheels(root, "cp313", ("--platform=musllinux_1_2_x86_64",), "numpy", "cffi", "pytest")

    return made_once(name_of("musl-python"), make) / "bin" / "python3.13"


def main() -> int:
    if sys.argv[1:] == ["free-threaded"]:
        print(free_threaded())
        return 0
    if platform.machine() != "x86_64":
        print("the runtimes are downloaded on x86-64 machines only")
        return 0
    try:
        for architecture in PACKAGES:
            print(fetch(architecture))
    except Failed as error:
        print(error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
