"""How tests/arm gets packages: from which lists, and what it makes of a download that fails. Nothing is downloaded."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent / "arm"))

import machinery  # noqa: E402
import packages  # noqa: E402

LIST = """# the distribution's
deb [arch=amd64 signed-by=/key] https://mirror.test/debian bookworm main contrib
deb-src https://mirror.test/debian bookworm main
deb https://mirror.test/debian bookworm-updates main
deb https://mirror.test/security bookworm/updates main
"""
STANZAS = """Types: deb deb-src
# a comment
URIs: https://mirror.test/ubuntu
Suites: noble
 noble-updates
Components: main

Types: deb
URIs: https://mirror.test/ubuntu
Suites: noble-security
Components: main
"""


def test_main_suite_alone(tmp_path):
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list").write_text(LIST)
    (tmp_path / "sources.list.d" / "ubuntu.sources").write_text(STANZAS)
    (tmp_path / "sources.list.d" / "others.list").write_text(LIST)
    (tmp_path / "sources.list.d" / "debian-security.list").write_text(LIST.splitlines()[-1])
    assert packages.sources(tmp_path) == {
        "sources-main.list": LIST.splitlines(keepends=True)[1],
        "ubuntu-main.sources": "Types: deb\nURIs: https://mirror.test/ubuntu\nSuites: noble\nComponents: main\n",
    }
    assert packages.sources(tmp_path, "trixie") == {
        "sources-main.list": LIST.splitlines(keepends=True)[1].replace("bookworm", "trixie"),
        "ubuntu-main.sources": "Types: deb\nURIs: https://mirror.test/ubuntu\nSuites: trixie\nComponents: main\n",
    }


@pytest.mark.parametrize("faults", [0, 1, 4])
def test_network_fault(faults, monkeypatch):
    """A few tries with pauses; then an exception that says that no test failed."""
    tries, pauses = [], []

    def run(*command):
        tries.append(command)
        if len(tries) <= faults:
            raise machinery.Failed("E: Some index files failed to download.")
        return ""

    monkeypatch.setattr(machinery, "run", run)
    monkeypatch.setattr(machinery.time, "sleep", pauses.append)
    if faults == 4:
        with pytest.raises(machinery.Unreachable, match="NETWORK FAULT, no test failed: .*\n.*index files failed"):
            machinery.download("apt-get", "update")
    else:
        machinery.download("apt-get", "update")
    assert (len(tries), len(pauses)) == (min(faults + 1, 4), min(faults, 3))


def test_other_failures_are_not_the_network(monkeypatch):
    def run(*command):
        raise machinery.Failed("E: Unable to locate package")

    monkeypatch.setattr(machinery, "run", run)
    with pytest.raises(machinery.Failed) as caught:
        machinery.download("apt-get", "install")
    assert not isinstance(caught.value, machinery.Unreachable)
