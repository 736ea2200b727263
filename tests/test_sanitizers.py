"""Memory and threads under instruments: AddressSanitizer, UndefinedBehaviorSanitizer, ThreadSanitizer, valgrind.

They take minutes: ``pytest -m sanitizers`` and the stage `sanitizers` of `.ci/run` run them. They need clang 19 and its
runtime (libclang-rt-19-dev), and valgrind.
"""

import concurrent.futures
import os
import re
import shlex
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from build_helpers import ROOT, cmake_build, run, tool
from fuzz.targets import GROUPS
from limits import seconds
from op_helpers import ISAS, native

import squeezeops

pytestmark = [
    pytest.mark.sanitizers,
    pytest.mark.skipif(native is None or sys.platform != "linux", reason="built without the native extension"),
]
TESTS = ROOT / "tests"
COMPILERS = {"CC": "clang-19", "CXX": "clang++-19"}
INCLUDE = [f"-I{ROOT / 'csrc'}", f"-I{ROOT / 'csrc' / 'include'}"]
WARNINGS = ["-Wall", "-Wextra", "-Werror", "-Wno-psabi"]
FUZZ = shlex.split(os.environ.get("SANITIZERS_FUZZ", "--inputs 30000 --seconds 100000"))  # the same ones every time


def clang(*arguments):
    return run(tool(COMPILERS["CXX"]), *arguments)


def both(jobs):
    """Run functions at the same time, each of which waits for a process."""
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for future in [pool.submit(job) for job in jobs]:
            future.result()


# ---- AddressSanitizer and UndefinedBehaviorSanitizer -----------------------------------------------------------------


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    """The folder of a build with the Python modules and the fuzzer of the C interface."""
    import pybind11

    options = ["-DSQUEEZEOPS_SANITIZE=address,undefined", "-DSQUEEZEOPS_FUZZ=ON", "-DSQUEEZEOPS_PYTHON=ON"]
    options += [f"-DPython_EXECUTABLE={sys.executable}", f"-Dpybind11_DIR={pybind11.get_cmake_dir()}"]
    return cmake_build(tmp_path_factory.mktemp("address"), *options, limit=1200, **COMPILERS)


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    """Where the sanitizers write, because pytest keeps what a process that dies has written."""
    return tmp_path_factory.mktemp("reports")


@pytest.fixture(scope="module")
def address(build, reports, tmp_path_factory):
    """The environment of a Python that imports the package with the modules of that build."""
    folder = tmp_path_factory.mktemp("package")
    ignored = shutil.ignore_patterns("__pycache__", "*.so*")
    shutil.copytree(Path(squeezeops.__file__).parent, folder / "squeezeops", ignore=ignored)
    run(tool("cmake"), "--install", build, "--prefix", folder, "--component", "python")
    # Python itself has no sanitizer, so the runtime is loaded before it. That needs the C++ library, for exceptions.
    runtime = [clang(f"-print-file-name={name}").strip() for name in ("libclang_rt.asan-x86_64.so", "libstdc++.so.6")]
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("SQUEEZEOPS_", "PYTEST_"))}
    return inherited | {
        "PYTHONPATH": os.pathsep.join([str(folder), str(TESTS), *filter(None, sys.path)]),
        "LD_PRELOAD": ":".join(runtime),
        "PYTHONMALLOC": "malloc",  # each object has a block of its own
        # Python never frees what it keeps until its end. Some tests ask for more memory than there is.
        "ASAN_OPTIONS": f"detect_leaks=0:allocator_may_return_null=1:log_path={reports}/asan",
        "UBSAN_OPTIONS": f"print_stacktrace=1:log_path={reports}/ubsan",
        "SQUEEZEOPS_TEST_PATIENCE": str(seconds(5)),
    }


def written(reports):
    """What the sanitizers have written since the last call."""
    paths = sorted(reports.iterdir())
    texts = [path.read_text(errors="replace") for path in paths]
    for path in paths:
        path.unlink()
    return "".join(texts)


def passed_under(environment, reports, *arguments, least):
    """Run pytest there, on both cores; at least so many tests pass, and none fails. Return how many."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-n", "2", "-p", "no:cacheprovider", *arguments]
    done = subprocess.run(
        command, env=environment, cwd=TESTS, capture_output=True, text=True, errors="replace", timeout=seconds(900)
    )
    assert done.returncode == 0, written(reports)[:20000] + done.stdout[-20000:] + done.stderr[-20000:]
    passed = re.search(r"^(\d+) passed", done.stdout, re.MULTILINE)
    assert passed and int(passed[1]) >= least, done.stdout
    return int(passed[1])


def test_the_build_reports(address, reports):
    """The tests below import the modules of that build: there a read beyond an array ends the process."""
    code = """
import ctypes, sys
import numpy as np
from squeezeops import get_library
x = np.zeros(1000, np.float32)
place, count = ctypes.c_void_p(x.ctypes.data), ctypes.c_int64(int(sys.argv[1]))
ctypes.CDLL(get_library()).sqz_activation_f32(1, count, place, place)
"""
    for count, status, text in ((1000, 0, ""), (1001, 1, "AddressSanitizer: heap-buffer-overflow")):
        done = subprocess.run([sys.executable, "-c", code, str(count)], env=address, capture_output=True, text=True)
        report = written(reports)
        assert done.returncode == status and text in report and (text or not report), report + done.stderr


def test_ops(address, reports, record_property):
    """Each op on each ISA: all sizes, options, special values, strides, threads, golden cases."""
    names = ("ops", "memory", "bits", "attention", "embedding", "extreme_rows", "quantize_rows")
    # Of the sizes, those next to unreadable pages: they are not compared with float64, which takes most of the time.
    chosen = "(native or cffi or golden) and not test_sizes and not before and not apart"
    count = passed_under(address, reports, "-k", chosen, *(f"test_{name}.py" for name in names), least=500)
    record_property("ran", [f"{count} tests of ops"])


def test_readers(address, reports, record_property):
    """Converted files with changed bytes, and hostile ones, to the readers in C and in Python; callers in C; texts."""
    names = ("c_model", "c_tokenizer", "c_front", "converted_format", "hostile_callers")
    # Some compile programs or load a library of their own first; Numba and NumPy are not built with it.
    apart = ("every_code", "every_kind", "tables", "inside", "example", "mapped", "numba", "numpy")
    chosen = " and ".join(f"not {name}" for name in apart)
    count = passed_under(address, reports, "-k", chosen, *(f"test_{name}.py" for name in names), least=500)
    record_property("ran", [f"{count} tests of readers"])


def test_c_interface(build, tmp_path, record_property):
    """The fuzzers of the C interface, its models and its tokenizers."""
    command = [sys.executable, "-m", "fuzz", "c", "--build", build, "--crashes", tmp_path, *FUZZ]
    ran = re.findall(r"^(c_\w+: \d+ inputs)", run(*command, cwd=TESTS, limit=7200), re.MULTILINE)
    assert len(ran) == len(GROUPS["c"]), ran
    record_property("ran", ran)


# ---- ThreadSanitizer -------------------------------------------------------------------------------------------------

POOL = {"callers": 40000, "executor": 2000, "forks": 100}  # commands of pool_test.cc, and how much


@pytest.fixture(scope="module")
def races(tmp_path_factory):
    """pool_test with ThreadSanitizer, kernels of several instruction sets included."""
    folder = tmp_path_factory.mktemp("thread")
    options = ["-DSQUEEZEOPS_SANITIZE=thread", "-DSQUEEZEOPS_ISAS=scalar avx2 avx512 avx512vnni"]
    options += ["-DSQUEEZEOPS_OPS=activation softmax l2_normalize pwconv_f32 pwconv_s8 quantize_rows attention_f32"]
    cmake_build(folder, *options, targets=["squeezeops_static"], limit=1200, **COMPILERS)
    source, library = TESTS / "pool_test.cc", folder / "libsqueezeops.a"
    flags = ["-std=c++17", "-O1", "-g", "-fsanitize=thread", *WARNINGS, *INCLUDE]
    clang(*flags, source, library, "-pthread", "-lm", "-o", folder / "pool_test")
    return folder / "pool_test"


@pytest.mark.parametrize("command", POOL)
def test_races(races, command, record_property):
    """Callers on many threads, while others set the number of threads and the ISA, and fork. No suppressions."""
    # By default the child of a program with threads may not start any.
    output = run(races, command, POOL[command], TSAN_OPTIONS="die_after_fork=0:halt_on_error=1", limit=600)
    record_property("ran", [output.strip()])


# ---- valgrind --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def valgrind(tmp_path_factory):
    """A function that builds a test program in C++ and runs its commands under valgrind's memcheck."""
    # valgrind runs one thread at a time. By default a waiting thread gets no turn while two others have work, so the
    # main thread of test_pool could wait without end.
    memcheck = [tool("valgrind"), "--quiet", "--error-exitcode=99", "--fair-sched=yes"]
    leaks = ["--leak-check=full", "--show-leak-kinds=definite", "--errors-for-leak-kinds=definite"]
    folder, library = tmp_path_factory.mktemp("valgrind"), Path(squeezeops.get_library())
    compiler, *flags = shlex.split(os.environ.get("CXX", "c++"))

    def check(name, commands, sources=(), uses_library=False):
        program, source = folder / name, TESTS / ("arm" if name == "kernel_test" else "") / f"{name}.cc"
        linked = [library, f"-Wl,-rpath,{library.parent}"] if uses_library else []
        options = ["-std=c++17", "-O1", "-g", "-w", *INCLUDE]
        run(
            tool(compiler, "g++", "clang++"),
            *flags,
            *options,
            source,
            *sources,
            *linked,
            "-pthread",
            "-lm",
            "-o",
            program,
        )
        # The child of a fork loses what belongs to threads that it does not have.
        tools = [[*memcheck, *leaks[: 0 if "forks" in words else None]] for words in commands]
        both([partial(run, *how, program, *words, limit=900) for how, words in zip(tools, commands, strict=True)])

    return check


def test_kernels(valgrind, record_property):
    """Every op of every ISA that valgrind knows reads nothing that was not written, scratch memory included."""
    isas = [isa for isa in ISAS if "512" not in isa]
    valgrind("kernel_test", [("memory", isa) for isa in isas], uses_library=True)
    record_property("ran", isas)


def test_pool(valgrind):
    valgrind("pool_test", [("callers", 200), ("executor", 20), ("forks", 2)], uses_library=True)


def test_schedules(valgrind):
    schedules = sorted((ROOT / "csrc" / "schedule").glob("*.cc"))
    valgrind("schedule_test", [[path.stem] for path in schedules], schedules)


def test_texts_and_handles(valgrind):
    core = [ROOT / "csrc" / f"{name}.cc" for name in ("handles", "memory", "error")]
    valgrind("text_test", [["sets"], ["memory"]], core)
    valgrind("handles_test", [[]], core)
