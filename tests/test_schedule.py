"""How a call is split over threads, held to its rules without running a kernel: properties over many sizes, in C++."""

import os
import shlex

import pytest
from build_helpers import ROOT, run, tool

SCHEDULES = sorted((ROOT / "csrc" / "schedule").glob("*.cc"))


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    first, *flags = shlex.split(os.environ.get("CXX", "c++"))
    compiler, path = tool(first, "g++", "clang++"), tmp_path_factory.mktemp("schedule") / "schedule_test"
    # An integer overflow traps, which needs no library of the sanitizer.
    trap = ("-fsanitize=undefined", "-fsanitize-undefined-trap-on-error")
    sources = (ROOT / "tests" / "schedule_test.cc", *SCHEDULES)
    run(
        compiler,
        *flags,
        "-std=c++17",
        "-O1",
        "-Wall",
        "-Wextra",
        "-Werror",
        *trap,
        f"-I{ROOT}/csrc",
        *sources,
        "-o",
        path,
    )
    return path


@pytest.mark.parametrize("name", [path.stem for path in SCHEDULES])
def test_schedule(program, name):
    run(program, name)
