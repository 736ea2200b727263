"""Handles of the C library: refused once freed, objects destroyed once, whatever other threads do."""

import os
import shlex

from build_helpers import ROOT, run, tool


def test_handles(tmp_path):
    first, *flags = shlex.split(os.environ.get("CXX", "c++"))
    names = ("tests/handles_test.cc", "csrc/handles.cc", "csrc/memory.cc", "csrc/error.cc")
    sources = [ROOT / name for name in names]
    options = [
        "-std=c++17",
        "-O1",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-pthread",
        f"-I{ROOT}/csrc",
        f"-I{ROOT}/csrc/include",
    ]
    run(tool(first, "g++", "clang++"), *flags, *options, *sources, "-o", tmp_path / "handles_test")
    run(tmp_path / "handles_test")
