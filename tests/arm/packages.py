"""Unpacks a distribution's packages and sources into a folder. Nothing is installed: apt has a state of its own."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from machinery import download, run

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "squeezeops-arm"


def sources(folder: Path = Path("/etc/apt"), suite: str | None = None) -> dict[str, str]:
    """Lists of packages, by file name: the distribution's own, without third parties, and of those the main suite.

    Another `suite`, such as that of a later release, takes its place.

    The main suite is complete. Those of updates and security are other indexes, any of which may be out of step with
    its signature for a while, which would end the tests though nothing is needed from there.
    """
    files = [folder / "sources.list", *sorted((folder / "sources.list.d").glob("*"))]
    named = [f for f in files if re.fullmatch(r"sources\.list|(debian|ubuntu|raspbian).*\.(sources|list)", f.name)]
    lists = {f"{f.stem}-main{f.suffix}": main_suite(f.read_text(), f.suffix, suite) for f in named if f.exists()}
    return {name: text for name, text in lists.items() if text}


def main_suite(text: str, suffix: str, suite: str | None = None) -> str:
    """The part of a list of packages, in the format of such files, that is about the main suite, such as "bookworm".

    With a `suite`, the same about that one.
    """
    name = r"[a-z]+"  # the others are called "bookworm-updates" and the like
    if suffix == ".list":
        lines = re.findall(rf"^(deb\s+(?:\[.*?\]\s+)?\S+\s+)({name})(\s.*\n)", text + "\n", re.MULTILINE)
        return "".join(before + (suite or found) + after for before, found, after in lines)
    stanzas = []
    for stanza in re.split(r"\n\s*\n", re.sub(r"^#.*\n", "", text + "\n", flags=re.MULTILINE)):
        suites = re.search(r"^Suites:((?:.*\n)(?:[ \t].*\n)*)", stanza.strip() + "\n", re.MULTILINE)
        wanted = [suite for suite in suites[1].split() if re.fullmatch(name, suite)] if suites else []
        if suites and wanted and re.search(r"^Types:.*\bdeb\b(?!-)", stanza, re.MULTILINE):
            kept = (stanza.strip() + "\n").replace(suites[0], f"Suites: {suite or ' '.join(wanted)}\n")
            stanzas.append(re.sub(r"^Types:.*", "Types: deb", kept, flags=re.MULTILINE))
    return "\n".join(stanzas)


def private_apt(architecture: str, work: Path, lists: dict[str, str]) -> Callable[..., None]:
    """Return a function that runs apt-get with a state of its own in `work`, and these lists of packages."""
    parts = work / "parts"
    for folder in (parts, work / "cache" / "archives" / "partial", work / "state" / "lists" / "partial"):
        folder.mkdir(parents=True)
    for name, text in lists.items():
        (parts / name).write_text(text)
    (work / "status").touch()
    config = work / "apt.conf"
    config.write_text(
        f"""Dir::State "{work}/state";
Dir::State::status "{work}/status";
Dir::Cache "{work}/cache";
Dir::Etc::sourcelist "/dev/null";
Dir::Etc::sourceparts "{parts}";
APT::Architecture "{architecture}";
APT::Architectures {{ "{architecture}"; }};
APT::Sandbox::User "";
"""
    )
    apt = partial(download, "env", "-C", str(work), "apt-get", "-q", APT_CONFIG=str(config), LC_ALL="C")
    apt("update", "-o", "APT::Update::Error-Mode=any")  # else a list that is missing is a warning
    return apt


def unpack_packages(
    architecture: str, packages: Sequence[str], root: Path, work: Path, suite: str | None = None
) -> None:
    """Unpack packages and their dependencies below `root`. The architecture has Debian's name."""
    apt = private_apt(architecture, work, sources(suite=suite))
    apt("install", "--yes", "--no-install-recommends", "--download-only", *packages)
    for package in sorted((work / "cache" / "archives").glob("*.deb")):
        run("dpkg-deb", "-x", package, root)


def unpack_source(package: str, root: Path, work: Path, suite: str) -> None:
    """Unpack the source of a package below `root`, as its authors published it."""
    lists = {name: re.sub(r"(?m)^(Types: )?deb\b", r"\1deb-src", text) for name, text in sources(suite=suite).items()}
    apt = private_apt("amd64", work, lists)
    apt("source", "--download-only", "--tar-only", package)  # into the current folder
    (archive,) = work.glob("*.orig.tar.*[!c]")  # beside it may lie its signature, .asc
    run("tar", "-xf", archive, "-C", root, "--strip-components", "1")


def made_once(name: str, make: Callable[[Path, Path], None]) -> Path:
    """A folder of the cache that `make` fills; it gets another folder for temporary files."""
    folder = CACHE / name
    if not folder.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as work:
            new = Path(work) / "new"
            new.mkdir()
            make(new, Path(work))
            try:
                new.rename(folder)
            except OSError:  # another process was faster
                if not folder.exists():
                    raise
    return folder
