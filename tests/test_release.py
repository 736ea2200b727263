"""The gates of a release: what they find, and that a missed one fails the release."""

import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader

import pytest
from pages import ROOT, blocks

import squeezeops


def load(name, tmp_path, monkeypatch):
    """Return a program of .ci as a module, with an empty folder DIST."""
    monkeypatch.setenv("DIST", str(tmp_path / "dist"))
    monkeypatch.setattr("sys.path", sys.path[:])
    monkeypatch.setattr("sys.dont_write_bytecode", True)  # .ci/__pycache__ is nobody's
    loader = SourceFileLoader(name, str(ROOT / ".ci" / name))
    module = module_from_spec(spec_from_loader(name, loader))
    loader.exec_module(module)
    module.DIST.mkdir()
    return module


@pytest.fixture
def release(tmp_path, monkeypatch):
    return load("release", tmp_path, monkeypatch)


@pytest.fixture
def wheels(tmp_path, monkeypatch):
    return load("wheels.py", tmp_path, monkeypatch)


def test_the_changes_begin_with_the_version(release, monkeypatch, tmp_path):
    assert release.version() == squeezeops.__version__
    (tmp_path / "squeezeops").mkdir()
    (tmp_path / "squeezeops/_version.py").write_text('__version__ = "9.9.9"\n')
    (tmp_path / "CHANGELOG.md").write_text("# Changelog\n\n## 9.9.8\n\n## 9.9.9\n")
    monkeypatch.setattr(release, "ROOT", tmp_path)
    with pytest.raises(release.Missed, match=r"9\.9\.9, but .* 9\.9\.8"):
        release.version()


def test_the_page_about_c_asks_for_this_version():
    minor = ".".join(squeezeops.__version__.split(".")[:2])
    assert f"find_package(squeezeops {minor} REQUIRED)" in blocks("docs/c-library.md", "cmake")[0].text


def test_sizes(release):
    with pytest.raises(release.Missed, match="no wheel"):
        release.sizes()
    (release.DIST / "a.whl").write_bytes(bytes(release.WHEEL_BYTES))
    assert release.sizes() == "a.whl: 2,000,000"
    (release.DIST / "b.whl").write_bytes(bytes(release.WHEEL_BYTES + 1))
    with pytest.raises(release.Missed, match="b.whl: 2,000,001"):
        release.sizes()


def test_the_check_of_a_wheel(wheels):
    name = "squeezeops-1-cp311-cp311-manylinux_2_17_x86_64.whl"
    with pytest.raises(SystemExit, match="expected one wheel cp311-manylinux_2_17_x86_64 in .*, got 0"):
        wheels.check_wheel("manylinux_2_17_x86_64", "3.11")
    (wheels.DIST / name).write_bytes(bytes(wheels.WHEEL_BYTES + 1))
    with pytest.raises(SystemExit, match=f"{name}: expected at most 2,000,000 bytes, got 2,000,001"):
        wheels.check_wheel("manylinux_2_17_x86_64", "3.11")


def test_a_command_that_fails_misses_its_gate(release):
    assert release.command("sh", "-c", "echo found") == "found\n"
    with pytest.raises(release.Missed, match="^sh failed: one / two$"):
        release.command("sh", "-c", "echo one; echo two; exit 3")


def test_the_table(release, capsys):
    (release.DIST / "a.whl").write_bytes(b"12345")
    assert release.main(["version", "sizes"]) == 0
    table = capsys.readouterr().out
    assert f"| version | {squeezeops.__version__} | that of CHANGELOG.md | 0 | ok |" in table
    assert "| sizes | a.whl: 5 | 2,000,000 bytes | 0 | ok |" in table
    assert (release.DIST / "release.md").read_text() == table
    (release.DIST / "a.whl").unlink()
    assert release.main(["version", "sizes"]) == 1
    assert "| sizes | no wheel | 2,000,000 bytes | 0 | MISSED |" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="release: gates: expected some of version, .*, got siezs"):
        release.main(["siezs"])
