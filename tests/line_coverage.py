"""Measure which lines the tests run, and fail below the limits: ``python tests/line_coverage.py``.

It needs GCC with its gcov, a checkout and the extra ``test,coverage``. A copy of the checkout is built in a scratch
folder with ``gcc --coverage``, and the tests run over it: `LIMITS` says how many lines of which folders they must run.

* C++: a line counts as run if the object of any ISA ran it. Kernels of AMX and AVX-VNNI run over the stand-ins of
  `test_stand_ins.py`, on any machine with AVX512_VNNI. Sources of other machines are in `ELSEWHERE`.
* Python: processes that tests start count. Numba's kernels count as the Python that they are with NUMBA_DISABLE_JIT=1,
  which `test_numba.py` runs; compiled ones leave no trace.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).parents[1]
LIMITS = {"csrc and python": 97.0, "squeezeops": 94.0}  # percent of lines
ELSEWHERE = {  # sources that no x86 machine compiles: what tests them
    "csrc/*neon*": "tests/arm, under qemu",
    "csrc/kernels/pwconv/pwconv_s8_staged.inl": "tests/arm, as a part of two kernels for NEON",
    "csrc/*wasm*": "tests/test_wasm.py, in WebAssembly",
    "csrc/model/no_files.cc": "tests/test_wasm.py",
    "csrc/threading/no_threads.cc": "tests/test_c_library.py, in a build without threads",
}
FLAGS = "-O1 --coverage -fprofile-update=atomic"
STAND_INS = "test_stand_ins.py"
SETTINGS = """
[run]
source = {package}
data_file = {data}
parallel = true
patch =
    subprocess
    _exit
[report]
exclude_also =
    if TYPE_CHECKING
    @overload
"""
Lines = dict[str, dict[int, int]]  # by file and number, how often a line ran


def run(*command: object, check: bool = True, **environment: str) -> str:
    done = subprocess.run(
        [str(part) for part in command], env={**os.environ, **environment}, capture_output=True, text=True
    )
    if check and done.returncode:
        sys.exit(f"{done.stdout}\n{done.stderr}\n{command[0]}: status {done.returncode}")
    return done.stdout


def build(tree: Path, folder: Path) -> None:
    """Copy the checkout and build it with counters."""
    tree.mkdir(parents=True)
    files = run("git", "-C", ROOT, "ls-files", "-co", "--exclude-standard", "-z").split("\0")[:-1]
    archive = subprocess.run(["tar", "c", *files], cwd=ROOT, stdout=subprocess.PIPE, check=True)
    subprocess.run(["tar", "x"], cwd=tree, input=archive.stdout, check=True)
    import pybind11

    options = ["-DSQUEEZEOPS_PYTHON=ON", f"-DPython_EXECUTABLE={sys.executable}"]
    options += [f"-Dpybind11_DIR={pybind11.get_cmake_dir()}", "-DCMAKE_BUILD_TYPE=Debug"]
    options += [f"-DCMAKE_{language}_FLAGS={FLAGS}" for language in ("C", "CXX")]
    run("cmake", "-S", tree, "-B", folder, "-GNinja", *options)
    run("cmake", "--build", folder)
    run("cmake", "--install", folder, "--prefix", tree, "--component", "python")


def test(tree: Path, work: Path, arguments: list[str]) -> int:
    """Run the tests over the copy; return pytest's status."""
    settings = work / "coverage.ini"
    settings.write_text(SETTINGS.format(package=tree / "squeezeops", data=work / "data" / "coverage"))
    (work / "data").mkdir(exist_ok=True)
    given = f"-DCMAKE_BUILD_TYPE=Debug '-DCMAKE_C_FLAGS={FLAGS}' '-DCMAKE_CXX_FLAGS={FLAGS}'"
    environment = {**os.environ, "PYTHONPATH": f"{tree}:{tree / 'tests'}", "SQUEEZEOPS_TEST_PATIENCE": "20"}
    status = 0
    # The stand-ins are a build of their own, which their tests make.
    parts = [["--ignore", STAND_INS], [STAND_INS]] if not arguments else [arguments]
    for i, part in enumerate(parts):
        command = [sys.executable, "-m", "coverage", "run", f"--rcfile={settings}", "-m", "pytest", "-q", "-n", "2"]
        command += ["--dist", "loadfile", "-p", "no:cacheprovider", f"--basetemp={work / f'tests{i}'}", *part]
        building = {"CMAKE_ARGS": given} if STAND_INS in part[0] else {}
        status |= subprocess.run(command, cwd=tree / "tests", env=environment | building).returncode
    return status


def lines_of_cpp(tree: Path, work: Path) -> Lines:
    """Add up what all objects counted: a template or a source has lines in the objects of several ISAs."""
    found: Lines = defaultdict(lambda: defaultdict(int))
    objects = list(work.rglob("*.gcno"))
    for notes in objects:
        counts = notes.with_suffix(".gcda")
        output = run("gcov", "--json-format", "--stdout", counts if counts.exists() else notes)
        for text in output.splitlines():
            data = json.loads(text)
            for file in data["files"]:
                path = (work / data["current_working_directory"] / file["file"]).resolve()
                if not path.is_relative_to(tree):
                    continue
                name = path.relative_to(tree).as_posix()
                for line in file["lines"] if name.startswith(("csrc/", "python/")) else ():
                    found[name][line["line_number"]] += line["count"]
    for name in run("git", "-C", ROOT, "ls-files", "csrc/*.cc", "csrc/*.inl", "csrc/*.c", "python/*.cc").split():
        compiled = name in found or any(notes.as_posix().endswith(f"/{name}.gcno") for notes in objects)
        if compiled == any(fnmatch(name, pattern) for pattern in ELSEWHERE):
            sys.exit(f"{name}: expected to be either compiled or in the list ELSEWHERE")
    return found


def lines_of_python(tree: Path, work: Path) -> Lines:
    settings, report = f"--rcfile={work / 'coverage.ini'}", work / "python.json"
    run(sys.executable, "-m", "coverage", "combine", "--quiet", "--keep", settings, work / "data")
    run(sys.executable, "-m", "coverage", "json", "--quiet", "-o", report, settings)
    found = {}
    for name, file in json.loads(report.read_text())["files"].items():
        path = (ROOT / name).resolve() if not Path(name).is_absolute() else Path(name)
        lines = {**dict.fromkeys(file["executed_lines"], 1), **dict.fromkeys(file["missing_lines"], 0)}
        found[path.relative_to(tree).as_posix()] = lines
    return found


def ranges(numbers: list[int]) -> Iterator[str]:
    """3, 4, 5, 9 as 3-5 and 9."""
    begin = None
    for number, after in zip(numbers, [*numbers[1:], 0], strict=True):
        begin = begin or number
        if after != number + 1:
            yield f"{begin}-{number}" if begin != number else f"{number}"
            begin = None


def report(found: Lines, show: bool) -> bool:
    """Print a table; return whether the limits are kept."""
    folders: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    totals: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for name, lines in sorted(found.items()):
        top = next(key for key in LIMITS if name.split("/")[0] in key.split())
        for total in (folders[str(Path(name).parent)], totals[top]):
            total[0] += len(lines)
            total[1] += sum(count > 0 for count in lines.values())
        not_run = sorted(number for number, count in lines.items() if not count)
        if show and not_run:
            print(f"{name}: {', '.join(ranges(not_run))}")
    print(f"{'folder':40} {'lines':>7} {'run':>7} {'percent':>8}")
    for folder, (lines, ran) in sorted(folders.items()):
        print(f"{folder:40} {lines:7} {ran:7} {100 * ran / lines:8.2f}")
    good = True
    for total, (lines, ran) in totals.items():
        kept = 100 * ran >= LIMITS[total] * lines
        print(f"{'all of ' + total:40} {lines:7} {ran:7} {100 * ran / lines:8.2f}{'' if kept else ': FAILED'}", end="")
        print(f", at least {LIMITS[total]:.0f}")
        good = good and kept
    return good


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", action="store_true", help="print which lines were not run")
    parser.add_argument("--work", type=Path, help="folder for the build and the counts (default: a temporary one)")
    parser.add_argument("--report", action="store_true", help="only report what an earlier run left in the folder")
    parser.add_argument("tests", nargs="*", help="pytest's arguments (default: all tests)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = (arguments.work or Path(temporary)).resolve()
        tree, folder = work / "squeezeops", work / "build"
        status = 0
        if not arguments.report:
            if not folder.exists():
                build(tree, folder)
            status = test(tree, work, arguments.tests)
        good = report({**lines_of_cpp(tree, work), **lines_of_python(tree, work)}, arguments.lines)
    return status or not good


if __name__ == "__main__":
    sys.exit(main())
