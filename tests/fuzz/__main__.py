"""Fuzz the readers of files and the ops: ``python -m fuzz --seconds 60 --seed 1``, in the folder ``tests``.

Each target runs in a process of its own, so that a crash of the interpreter is found, too. The first input on which one
fails is written to a folder and its name printed; the exit status is then 1. The targets of the group `c` are programs
of a build with ``-DSQUEEZEOPS_FUZZ=ON``.

The engine `random` gives the same inputs for the same seed. The engine `coverage` keeps inputs that reach new code and
mutates them, so every run differs: atheris in Python (``pip install ".[fuzz]"``), libFuzzer in C.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

SLOWEST = 20  # seconds of CPU time that one input may take
MEMORY = 2 << 30  # bytes that a process may add
LONGEST = 1 << 16  # bytes of an input that libFuzzer makes
LIBFUZZER = (f"-timeout={5 * SLOWEST}", "-print_funcs=0", "-rss_limit_mb=4096")
DONE = re.compile(r"^#(\d+)\s+DONE\s+(cov: \d+ ft: \d+).*?^Done .* in (\d+)", re.MULTILINE | re.DOTALL)
BATCH = 1000  # inputs of one process of a program


def guided(arguments: argparse.Namespace) -> list[str]:
    options = [f"-max_total_time={arguments.seconds:.0f}", f"-seed={arguments.seed}", f"-runs={arguments.inputs}"]
    return [*options, f"-max_len={LONGEST}"]


def work(name: str, arguments: argparse.Namespace) -> None:
    """Run one target; the file `crashes` always has the input that runs."""
    if arguments.engine == "coverage":
        import atheris

        with atheris.instrument_imports(include=["squeezeops"], enable_loader_override=False):
            import fuzz.targets  # noqa: F401, with all that it imports
    from fuzz.targets import inputs, run_target

    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, resource.RLIM_INFINITY))

    def run(data: bytes) -> None:
        arguments.crashes.write_bytes(data)
        signal.setitimer(signal.ITIMER_VIRTUAL, SLOWEST)  # ends the process
        run_target(name, data, Path(folder))

    with tempfile.TemporaryDirectory() as folder:
        if arguments.engine == "coverage":
            fuzz_by_coverage(name, arguments, run)
        rng, started, count = random.Random(f"{name} {arguments.seed}"), time.monotonic(), 0
        for data in inputs(name, rng):
            if time.monotonic() > started + arguments.seconds or count == arguments.inputs:
                break
            run(data)
            count += 1
    print(f"{name}: {count} inputs in {time.monotonic() - started:.0f} s", flush=True)


def fuzz_by_coverage(name: str, arguments: argparse.Namespace, run: Callable[[bytes], None]) -> None:
    """Let atheris keep inputs. They are changed as those of the other engine are. It ends the process."""
    import atheris

    from fuzz.targets import CALLS, mutate, seeds

    pool = seeds(name)
    with tempfile.TemporaryDirectory() as begin:
        for i, data in enumerate(pool):
            (Path(begin) / str(i)).write_bytes(data)
        kept = [str(arguments.keep / name)] if arguments.keep else []
        command = [sys.argv[0], *LIBFUZZER, *guided(arguments), f"-artifact_prefix={begin}/", *kept, begin]
        mutator = {"custom_mutator": lambda data, most, seed: mutate(random.Random(seed), data, pool)[:most]}
        atheris.Setup(command, run, **({} if name in CALLS else mutator))
        atheris.Fuzz()


def work_in_c(name: str, arguments: argparse.Namespace) -> int:
    """Run a program, once or for each batch of inputs; libFuzzer writes the input that fails."""
    from fuzz.targets import CORPUS, inputs, seeds

    program = arguments.build.resolve() / f"squeezeops_fuzz{name[1:]}".removesuffix("_interface")
    command = [program, *LIBFUZZER, f"-artifact_prefix={arguments.crashes}/{name}-"]
    if arguments.engine == "coverage":
        with tempfile.TemporaryDirectory() as begin:
            for i, data in enumerate(seeds(name)):
                (Path(begin) / str(i)).write_bytes(data)
            folders = [arguments.keep / name] if arguments.keep else []
            folders += [begin, *([CORPUS / name] if (CORPUS / name).exists() else [])]
            return watched(name, [*command, *guided(arguments), *folders])[0]
    rng, started, count = random.Random(f"{name} {arguments.seed}"), time.monotonic(), 0
    made = islice(inputs(name, rng), arguments.inputs if arguments.inputs >= 0 else None)
    while time.monotonic() < started + arguments.seconds and (batch := list(islice(made, BATCH))):
        with tempfile.TemporaryDirectory() as folder:
            for i, data in enumerate(batch):
                (Path(folder) / f"{i:04}").write_bytes(data)
            status, ran = watched(name, [*command, "-runs=0", "-shuffle=0", f"-max_len={1 << 20}", folder], show=False)
        if status:
            return status
        if ran <= len(batch) - batch.count(b""):  # libFuzzer skips empty ones, and has one of its own
            sys.exit(f"{name}: expected {len(batch)} inputs to run, got {ran}")
        count += len(batch)
    print(f"{name}: {count} inputs in {time.monotonic() - started:.0f} s", flush=True)
    return 0


def work_in_python(name: str, arguments: argparse.Namespace) -> int:
    """Run this command for one target in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        current = Path(folder) / "input"
        command = [sys.executable, "-X", "faulthandler", "-m", "fuzz", f"--work={name}", f"--crashes={current}"]
        for key in ("seconds", "inputs", "seed", "engine", *(["keep"] if arguments.keep else [])):
            command.append(f"--{key}={getattr(arguments, key)}")
        status, _ = watched(name, command)
        if status:
            kept = arguments.crashes / f"{name}-{os.urandom(4).hex()}"
            kept.write_bytes(current.read_bytes() if current.exists() else b"")
            print(f"{name}: the input is {kept}", flush=True)
    return status


def watched(name: str, command: list[str | Path], show: bool = True) -> tuple[int, int]:
    """Run a process; return its status and the number of inputs that libFuzzer counted, if any.

    Print the end of what it said if it fails, and with `show` what libFuzzer counted.
    """
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, errors="replace")
    if done.returncode:
        said = re.sub(r"^(#|INFO: Instrumenting).*\n", "", done.stderr, flags=re.MULTILINE)
        print(f"{said[-20_000:]}\n{name}: FAILED with status {done.returncode}", flush=True)
    if "Is the code instrumented for coverage?" in done.stderr and not done.returncode:
        sys.exit(f"{name}: expected instrumented code, got none: the engine sees no lines of the package")
    ran = 0
    for count, reached, took in DONE.findall(done.stderr):
        ran += int(count)
        if show:
            print(f"{name}: {count} inputs in {took} s, {reached}", flush=True)
    return done.returncode, ran


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m fuzz", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="targets or groups; a wrong name prints all")
    parser.add_argument("--seconds", type=float, default=60, help="of all targets together (default: 60)")
    parser.add_argument("--inputs", type=int, default=-1, help="at most so many per target")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--crashes", type=Path, default=Path("crashes"), help="folder for inputs that fail")
    parser.add_argument("--engine", choices=("random", "coverage"), default="random", help="see above")
    parser.add_argument("--build", type=Path, help="folder with the programs of the group c")
    parser.add_argument("--keep", type=Path, help="folder for inputs that reached new code, for the next run too")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        work(arguments.work, arguments)
        return 0
    from fuzz.targets import GROUPS, TARGETS, C

    chosen = arguments.targets or [group for group in GROUPS if group != "c" or arguments.build]
    names = [name for given in chosen for name in GROUPS.get(given, [given])]
    if set(names) - TARGETS.keys():
        parser.error(f"expected targets of {', '.join(TARGETS)}, or of {', '.join(GROUPS)}, got {', '.join(names)}")
    if arguments.keep and arguments.engine == "random":
        parser.error("--keep: expected --engine coverage, got random")
    if set(names) & set(C) and not arguments.build:
        parser.error("--build: expected a folder, for targets in C")
    arguments.seconds /= len(names)
    arguments.crashes.mkdir(parents=True, exist_ok=True)
    failed = 0
    for name in names:
        if arguments.keep:
            (arguments.keep / name).mkdir(parents=True, exist_ok=True)
        failed += (work_in_c if name in C else work_in_python)(name, arguments) != 0
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
