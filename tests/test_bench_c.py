"""The benchmark in C: CMake builds it, it needs the public header alone, and its operations and work are ours."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from build_helpers import ROOT, cmake_build, run, tool
from kernel_tables import without_simd
from limits import seconds

import squeezeops
from squeezeops import backends, ops
from squeezeops.benchmark.cases import op_of

sys.path.append(str(ROOT))  # last, so that only bench/ is imported from here

from bench.arm.instructions import model_cases  # noqa: E402

if "native" not in backends.available():
    pytest.skip(reason="built without the native extension", allow_module_level=True)

ROW = re.compile(r"  (\S.*?)  +([\d.]+) us +([\d.]+) +([\d.]+) +([\d.]+) (G\S+) +(\d+)  (\w+)")


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """The program, linked with the library of the package."""
    path, library = tmp_path_factory.mktemp("bench") / "squeezeops_bench", squeezeops.get_library()
    warnings = ("-std=c11", "-O2", "-Wall", "-Wextra", "-Werror")
    rpath = f"-Wl,-rpath,{Path(library).parent}"
    compiler = tool("cc", "gcc", "clang")
    run(compiler, *warnings, f"-I{squeezeops.get_include()}", ROOT / "bench/bench.c", library, rpath, "-o", path)
    return path


def rows(program, *arguments):
    first, head, *lines = run(program, "--threads", 1, "--seconds", 1e-4, *arguments).splitlines()
    assert first == f"squeezeops {squeezeops.__version__}, {ops.cpu_info()['isa']}, 1 thread"
    assert head.split() == ["operation", "time", "p25", "median", "p75", "samples", "kernel"]
    return [ROW.fullmatch(line).groups() for line in lines]


def test_the_model_is_that_of_the_table(program):
    """The same operations at the same shapes, and the same operations or bytes per call."""
    cases = {case.line: case for isa in ("neon", "neon_dotprod") for case in model_cases(isa, [32])}
    found = rows(program, "--tokens", 32)
    layers = ["layer f32 32 f32", "layer f16 32 f32", "layer s8 32 s8"]
    assert sorted(row[0] for row in found) == sorted([*cases, *layers])
    kernels = set(ops.cpu_info()["kernels"].values())
    for line, time, low, median, high, unit, samples, kernel in found:
        assert float(low) <= float(median) <= float(high) and int(samples) > 0 and kernel in kernels
        if line in cases:
            op = op_of(cases[line].op)
            made = op.make(*(int(size) if size.isdigit() else size for size in cases[line].shape.values()))
            work = made.bytes if op.unit == "GB/s" else made.flops
            least, most = ((float(median) + s * 0.005) * (float(time) + s * 0.05) * 1e3 for s in (-1.01, 1.01))
            assert unit == op.unit and least <= work <= most, line  # as far as they are printed


def test_operations_that_are_asked_for(program):
    (row,) = rows(program, "l2_normalize 3 8")
    assert row[0] == "l2_normalize 3 8" and row[-1] == ops.cpu_info()["kernels"]["l2_normalize"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["abacus 3"], 'expected an operation and its words, such as "layer_norm 128 768 0", got: abacus 3'),
        (["layer_norm 3"], "expected an operation and its words"),
        (["layer_norm 3 x 0"], "expected sizes as whole numbers"),
        (["pwconv f32 3 8 8 0 none 0"], "expected sizes as whole numbers"),
        (["pwconv f32 3 8 8 3 none 0"], "groups: expected a divisor of c_in = 8"),
        (["pwconv f64 3 8 8 1 none 0"], "expected a dtype among f32, f16, s8"),
        (["--threads", "0"], "--threads: expected a number from 1 to 256, got 0"),
        (["--seconds"], "--seconds: expected a number from 1e-06 to 3600, got none"),
        (["--abacus"], "expected --threads N, --seconds S, --tokens N or an operation, got --abacus"),
    ],
)
def test_wrong_arguments(program, arguments, message):
    done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=seconds(60))
    assert done.returncode in (1, 2) and message in done.stderr and done.stderr.count("\n") == 1


def test_cmake_builds_it(tmp_path):
    """Without Python; the portable kernels alone, not optimised, which is quick."""
    options = ("-DSQUEEZEOPS_BENCH=ON", "-DSQUEEZEOPS_WERROR=ON", "-DCMAKE_BUILD_TYPE=Debug", *without_simd())
    build = cmake_build(tmp_path, *options, targets=("squeezeops_bench",))
    assert "layer_norm_f32_scalar" in run(build / "squeezeops_bench", "--seconds", 1e-4, "layer_norm 3 8 1")
