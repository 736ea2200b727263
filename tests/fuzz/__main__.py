"""Fuzz the readers of files and the ops: ``python -m fuzz --seconds 60 --seed 1``, in the folder ``tests``.

Each target runs in a process of its own, so that a crash of the interpreter is found, too. The first input on which one
fails is written to a folder and its name printed; the exit status is then 1. The same seed gives the same inputs.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from fuzz.targets import GROUPS, TARGETS, inputs, run_target

SLOWEST = 20  # seconds of CPU time that one input may take
MEMORY = 2 << 30  # bytes that a process may add


def work(name: str, seconds: float, seed: int, most: int, current: Path) -> None:
    """Run one target; `current` always has the input that runs."""
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, resource.RLIM_INFINITY))
    rng, end, count = random.Random(f"{name} {seed}"), time.monotonic() + seconds, 0
    with tempfile.TemporaryDirectory() as folder:
        for data in inputs(name, rng):
            if time.monotonic() > end or count == most:
                break
            current.write_bytes(data)
            signal.setitimer(signal.ITIMER_VIRTUAL, SLOWEST)  # ends the process
            run_target(name, data, Path(folder))
            count += 1
    print(f"{name}: {count} inputs in {seconds:.0f} s", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)}, {', '.join(GROUPS)}")
    parser.add_argument("--seconds", type=float, default=60, help="of all targets together (default: 60)")
    parser.add_argument("--inputs", type=int, default=-1, help="at most so many per target")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--crashes", type=Path, default=Path("crashes"), help="folder for inputs that fail")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        work(arguments.work, arguments.seconds, arguments.seed, arguments.inputs, arguments.crashes)
        return 0
    names = [name for given in arguments.targets or GROUPS for name in GROUPS.get(given, [given])]
    if unknown := set(names) - TARGETS.keys():
        parser.error(f"expected targets, got {', '.join(sorted(unknown))}")
    failed = 0
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            current = Path(folder) / "input"
            command = [sys.executable, "-X", "faulthandler", "-m", "fuzz", "--work", name, "--crashes", str(current)]
            command += ["--seconds", str(arguments.seconds / len(names)), "--seed", str(arguments.seed)]
            status = subprocess.run([*command, "--inputs", str(arguments.inputs)], env=dict(os.environ)).returncode
            if status:
                failed += 1
                arguments.crashes.mkdir(parents=True, exist_ok=True)
                kept = arguments.crashes / f"{name}-{os.urandom(4).hex()}"
                kept.write_bytes(current.read_bytes() if current.exists() else b"")
                print(f"{name}: FAILED with status {status}: {kept}", flush=True)
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
