"""The kernels of amx_int8 and avxvnni on processors without AMX and AVX_VNNI, and what AMX asks the system for.

The other tests run these as any other ISA where they run. Here the tests of int8 ops run on a copy of the package whose
library has stand-ins (SQUEEZEOPS_STAND_INS), which need AVX512_VNNI alone: tiles in plain C, and the code of avxvnni
with each product in the encoding of AVX512_VNNI.
"""

import ctypes
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from build_helpers import ROOT, cmake_build, run, tool
from disassembly import disassemble, parse
from kernel_tables import isas_on, object_of
from limits import seconds
from op_helpers import ALL_ISAS, Variant, native, normal

import squeezeops
from squeezeops import ops

pytestmark = pytest.mark.skipif(
    native is None or os.uname().machine != "x86_64", reason="built without the native extension, or not for x86"
)
ON_TILES = "amx_int8" in ALL_ISAS
needs_tiles = pytest.mark.skipif(not ON_TILES, reason="this processor has no AMX")
# Plain tiles replace the tiles alone; the epilogue is that of AVX-512.
needs_vnni = pytest.mark.skipif("avx512vnni" not in ALL_ISAS, reason="this processor has no AVX512_VNNI")
TESTS = ROOT / "tests"
STAND_INS = {
    "amx_int8": ("on tiles in plain C", "on a processor's tiles: there is no AMX here"),
    "avxvnni": ("in the encoding of AVX512_VNNI", "in its own encoding: there is no AVX_VNNI here"),
}


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    """The folder of a build with stand-ins."""
    kept = {"scalar", "avxvnni", "avx512", "avx512vnni", "amx_int8"}
    without = [f"-DSQUEEZEOPS_WITHOUT_{row.tag.upper()}=ON" for row in isas_on("x86_64") if row.tag not in kept]
    return cmake_build(tmp_path_factory.mktemp("build"), "-DSQUEEZEOPS_STAND_INS=ON", *without, targets=["squeezeops"])


@pytest.fixture(scope="module")
def plain(build, tmp_path_factory):
    """The environment of a Python that imports the package with stand-ins."""
    package, folder = Path(squeezeops.__file__).parent, tmp_path_factory.mktemp("plain")
    (library,) = package.glob("libsqueezeops.so.*")
    shutil.copytree(package, folder / "squeezeops", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(build / library.name, folder / "squeezeops")
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("SQUEEZEOPS_", "PYTEST_"))}
    return inherited | {"PYTHONPATH": os.pathsep.join([str(folder), str(TESTS), *filter(None, sys.path)])}


def python(environment, *arguments, **more):
    return subprocess.run(
        [sys.executable, *arguments],
        env=environment | more,
        capture_output=True,
        text=True,
        timeout=seconds(600),
        cwd=TESTS,
    )


@needs_vnni
@pytest.mark.parametrize("isa", STAND_INS)
def test_int8_ops(plain, record_property, isa):
    """Golden bits, every number of rows, odd channels, groups, epilogues, strides, guard bands, the peak loop."""
    files = [f"test_{name}.py" for name in ("bits", "pointwise_conv_int8", "attention_int8", "ops", "benchmark")]
    options = ["-q", "-p", "no:cacheprovider", "-k", f"{isa} or golden"]
    done = python(plain, "-m", "pytest", *options, *files)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(rf"test_golden_bits ran (.*, )?{isa} s8,", done.stdout)
    passed = re.search(r"^(\d+) passed", done.stdout, re.MULTILINE)
    assert passed and int(passed[1]) > 100, done.stdout
    how, missing = STAND_INS[isa]
    record_property("ran", [f"{isa} {how}" + (f", NOT {missing}" if isa not in ALL_ISAS else "")])


def test_avxvnni_differs_in_an_encoding_alone(build, tmp_path):
    """What ran above is what processors with AVX_VNNI run: the same instructions and registers, in the same order."""
    paths = [object_of(f"{name}_s8", "avxvnni") for name in ("attention", "pwconv", "quantize_rows", "peak")]
    own = cmake_build(tmp_path, targets=paths)

    def instructions(path):
        """Without addresses, which depend on the length of the encoding."""
        architecture, functions = parse(disassemble(path, tool("objdump")))
        found = [i for _, function in functions for i in function if not re.fullmatch(architecture.padding, str(i))]
        return [i.name if re.fullmatch(rf"call|{architecture.jump}", i.name) else str(i) for i in found]

    for path in paths:
        expected = instructions(own / path)
        assert instructions(build / path) == expected
        products = sum(i.startswith("vpdpbusd ") for i in expected)
        assert (products > 0) == ("quantize_rows" not in path)


@needs_tiles
def test_no_call_leaves_tiles_in_use(tmp_path, rng, record_property):
    """The system would save them at every context switch."""
    compiler, library = tool(*os.environ.get("CC", "cc gcc clang").split()), tmp_path / "tiles.so"
    run(compiler, "-shared", "-fPIC", TESTS / "tile_state.c", "-o", library)
    state = ctypes.CDLL(library).tile_state
    before = ops.get_num_threads()
    ops.set_num_threads(1)
    try:
        with Variant("native", "amx_int8").active():
            for rows in (1, 15, 16, 17, 40, 130):
                for k in (1, 64, 100):
                    for options in ({}, {"activation": "gelu"}, {"quantize_groups": 3}):
                        conv = ops.PointwiseConv(normal(rng, 3 * 24, k), groups=3, dtype="int8")
                        conv(normal(rng, rows, 3 * k), **options)
                        assert state() == 0, (rows, k, options)
                    q = ops.quantize_rows(normal(rng, 1, rows, 3 * k), groups=3)
                    ops.attention(q, q, q, num_heads=3)
                    assert state() == 0, (rows, k)
    finally:
        ops.set_num_threads(before)
    record_property("ran", ["amx_int8 on the processor's tiles"])


# ---- the sums of a block ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    first, *flags = shlex.split(os.environ.get("CXX", "c++"))
    path = tmp_path_factory.mktemp("tiles") / "tiles_test"
    isa = ("-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl")
    warnings = ("-Wall", "-Wextra", "-Werror")
    source = TESTS / "tiles_test.cc"
    run(
        tool(first, "g++", "clang++"),
        *flags,
        "-std=c++17",
        "-O1",
        *warnings,
        *isa,
        f"-I{ROOT}/csrc",
        source,
        "-o",
        path,
    )
    return path


@needs_vnni
@pytest.mark.parametrize("name", ["sums on plain tiles", "misuse of plain tiles"])
def test_tiles(program, name):
    run(program, name)


@needs_tiles
def test_tiles_of_the_processor(program):
    run(program, "sums on the processor's tiles")


# ---- the calls that use tiles, and permission ------------------------------------------------------------------------

CALLS = """
import sys, threading
import numpy as np
from squeezeops import _native, ops
x, times = np.ones((20, 8), np.float32), lambda what="asked": open(sys.argv[1]).read().split().count(what)
open(sys.argv[1], "w").close()
"""


def calls(plain, tmp_path, code, **environment):
    """What Python prints with plain tiles.

    `times()` there is how often permission was asked for, `times("configured")` how often tiles were configured.
    """
    log = str(tmp_path / "log")
    done = python(plain, "-c", CALLS + code, log, PLAIN_TILES_LOG=log, **environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.split("\n")[:-1]


@needs_vnni
def test_which_calls_use_tiles(plain, tmp_path):
    """Those of 16 rows or more, attention from 17 keys on.

    Attention configures once per head, or, if the shapes of its two products differ, for each of them.
    """
    code = """
ops.set_num_threads(1)
conv = ops.PointwiseConv(x, dtype="int8")
def count(call):
    before = times("configured")
    call()
    return times("configured") - before
print([count(lambda: conv(np.ones((rows, 8), np.float32))) for rows in (15, 16, 40)])
for size in (64, 8):
    rows = [ops.quantize_rows(np.ones((1, n, 3 * size), np.float32), groups=3) for n in (15, 16, 17, 40)]
    print([[count(lambda: ops.attention(q, k, k, num_heads=3)) for k in rows] for q in rows])
"""
    none = [0, 0, 0, 0]
    assert calls(plain, tmp_path, code) == [
        "[0, 1, 1]",
        str([none, [0, 0, 3, 3], [0, 0, 3, 3], [0, 0, 3, 3]]),
        str([none, [0, 0, 6, 6], [0, 0, 6, 6], [0, 0, 12, 12]]),
    ]


@needs_vnni
def test_permission_is_asked_for_once_and_late(plain, tmp_path):
    code = """
ops.tanh(x)
conv = ops.PointwiseConv(x, dtype="int8")
for isa in ("scalar", "avx512vnni", None):
    _native.force_isa(isa)
    ops.tanh(x)
    if isa: conv(x)
_native.isas()
print(times())
threads = [threading.Thread(target=conv, args=(x,)) for _ in range(2)]
conv(x)
print(times(), _native.last_kernel())
for thread in threads: thread.start()
for thread in threads: thread.join()
ops.cpu_info()
_native.force_isa("amx_int8")
print(times())
"""
    assert calls(plain, tmp_path, code) == ["0", "1 pwconv_s8_amx_int8", "1"]


@needs_vnni
@pytest.mark.parametrize(
    "code",
    [
        "ops.cpu_info()",
        "_native.force_isa('amx_int8')",
        "ops.PointwiseConv(x, dtype='int8')(x)",
        "ops.attention(q, q, q, num_heads=1)",
    ],
)
def test_what_asks_for_permission(plain, tmp_path, code):
    code = f"q = ops.quantize_rows(x[None])\nprint(times())\n{code}\nprint(times())"
    assert calls(plain, tmp_path, code) == ["0", "1"]


REFUSED = (
    "expected an ISA that runs here (avx512vnni, avx512, avxvnni, scalar), got 'amx_int8', which is refused by the"
)


@needs_vnni
def test_a_refusal(plain, tmp_path):
    """The next ISA takes the place of amx_int8, and `squeezeops info` says why; forcing it is an error."""
    code = """
conv = ops.PointwiseConv(x, dtype="int8")
conv(x)
print(_native.last_kernel())
info = ops.cpu_info()
print(info["isa"], info["isas"][0], info["missing"]["amx_int8"], info["kernels"]["pwconv_s8"])
try:
    _native.force_isa("amx_int8")
except ValueError as error:
    print(error)
conv(x)
print(_native.last_kernel(), times())
"""
    lines = calls(plain, tmp_path, code, PLAIN_TILES_REFUSED="1")
    assert lines == [
        "pwconv_s8_avx512vnni",
        "avx512vnni avx512vnni refused by the operating system pwconv_s8_avx512vnni",
        f"force_isa: isa: {REFUSED} operating system",
        "pwconv_s8_avx512vnni 1",
    ]
    info = python(plain, "-m", "squeezeops", "info", PLAIN_TILES_REFUSED="1").stdout
    assert re.search(r"^left out +amx_int8: refused by the operating system$", info, re.MULTILINE)
    forced = {"PLAIN_TILES_REFUSED": "1", "SQUEEZEOPS_ISA": "amx_int8"}
    for code in ("ops.tanh(x)", "ops.quantize_rows(x)"):  # also where no kernel of amx_int8 would run
        done = python(plain, "-c", CALLS + code, os.devnull, **forced)
        assert done.returncode == 1 and f": SQUEEZEOPS_ISA: {REFUSED} operating system" in done.stderr


@needs_tiles
def test_a_small_signal_stack_is_a_refusal():
    """Linux refuses tiles to a process with a thread whose signal stack could not hold them."""
    code = """
import ctypes
import numpy as np
class Stack(ctypes.Structure):
    _fields_ = [("address", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t)]
memory = ctypes.create_string_buffer(4096)
assert ctypes.CDLL(None).sigaltstack(ctypes.byref(Stack(ctypes.addressof(memory), 0, 4096)), None) == 0
from squeezeops import _native, ops
ops.PointwiseConv(np.ones((20, 8), np.float32), dtype="int8")(np.ones((20, 8), np.float32))
print(_native.last_kernel(), ops.cpu_info()["missing"]["amx_int8"])
"""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("SQUEEZEOPS_")}
    path = os.pathsep.join([str(Path(squeezeops.__file__).parents[1]), *sys.path])
    done = python(kept | {"PYTHONPATH": path}, "-c", code)
    assert done.stdout == "pwconv_s8_avx512vnni refused by the operating system\n", done.stderr


def test_instructions(tmp_path):
    """The bytes of HardwareTiles, read by the disassembler."""
    source = tmp_path / "tiles.cc"
    source.write_text("""
#include "simd/tiles_amx.h"
using T = sqz::HardwareTiles;
extern "C" void f(const sqz::TileShapes &shapes, void *p, int64_t stride) {
  T::configure(shapes), T::zero<0>(), T::zero<7>();
  T::load<0>(p, stride), T::load<7>(p, stride);
  T::dot<0, 4, 6>(), T::dot<1, 4, 7>(), T::dot<2, 5, 6>(), T::dot<3, 5, 7>(), T::dot<7, 0, 1>();
  T::store<0>(p, stride), T::store<7>(p, stride), T::release();
}
""")
    first, *flags = shlex.split(os.environ.get("CXX", "c++"))
    compiler = tool(first, "g++", "clang++")
    run(compiler, *flags, "-std=c++17", "-O2", f"-I{ROOT}/csrc", "-c", source, "-o", tmp_path / "tiles.o")
    listing = run(tool("objdump"), "--disassemble", "--no-show-raw-insn", tmp_path / "tiles.o")
    found = [" ".join(line.split()) for line in re.findall(r"\t((?:ldtile|tile|tdp).*)$", listing, re.MULTILINE)]
    assert found == [
        "ldtilecfg (%rax)",
        "tilezero %tmm0",
        "tilezero %tmm7",
        "tileloadd (%rax,%rcx,1),%tmm0",
        "tileloadd (%rax,%rcx,1),%tmm7",
        "tdpbusd %tmm6,%tmm4,%tmm0",
        "tdpbusd %tmm7,%tmm4,%tmm1",
        "tdpbusd %tmm6,%tmm5,%tmm2",
        "tdpbusd %tmm7,%tmm5,%tmm3",
        "tdpbusd %tmm1,%tmm0,%tmm7",
        "tilestored %tmm0,(%rax,%rcx,1)",
        "tilestored %tmm7,(%rax,%rcx,1)",
        "tilerelease",
    ]
