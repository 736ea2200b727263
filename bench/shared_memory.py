"""Memory of several processes with one model: python bench/shared_memory.py MODEL [--processes 4] [--json FILE]

MODEL is a converted file, or a folder to compare it with. Each process loads it and runs it once. When all have done
so, each reports what that cost: the time to load, private memory, and PSS (a page shared by n processes counts as 1/n
page in each). Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROLLUP = "/proc/self/smaps_rollup"


def memory() -> dict[str, int]:
    """Return bytes: private to this process, shared, and PSS."""
    with open(ROLLUP) as file:
        kilobytes = {line.split(":")[0]: int(line.split()[1]) for line in list(file)[1:]}
    return {
        "private": 1024 * kilobytes["Anonymous"],
        "shared": 1024 * (kilobytes["Rss"] - kilobytes["Anonymous"]),
        "pss": 1024 * kilobytes["Pss"],
    }


def worker(model: str, tokens: int) -> None:
    """Load and run the model, then answer a line on standard input with the figures."""
    import numpy as np

    from squeezeops import ops
    from squeezeops.squeezebert import SqueezeBert  # noqa: F401 - imported before memory is read

    ops.get_backend()
    before, started = memory(), time.perf_counter()
    loaded = SqueezeBert.from_pretrained(model)
    seconds, after = time.perf_counter() - started, memory()
    if tokens:
        loaded(np.random.default_rng(0).integers(0, loaded.config.vocab_size, (1, tokens)))
    print("ready", flush=True)
    sys.stdin.readline()
    now = memory()
    loading = {f"{name} by loading": after[name] - before[name] for name in ("private", "shared")}
    running = {f"{name} after a run": now[name] - before[name] for name in now}
    print(json.dumps({"seconds": seconds, **loading, **running}), flush=True)
    sys.stdin.readline()  # wait until all have reported


def measure(model: str, processes: int, tokens: int) -> list[dict[str, float]]:
    """Run the workers at the same time."""
    arguments = [sys.executable, __file__, model, "--tokens", str(tokens), "--worker"]
    started = [subprocess.Popen(arguments, stdin=-1, stdout=-1, text=True) for _ in range(processes)]
    try:
        for process in started:
            if process.stdout is None or process.stdout.readline() != "ready\n":
                raise SystemExit("a process failed")
        figures = []
        for process in started:
            print("go", file=process.stdin, flush=True)
            assert process.stdout is not None
            figures.append(json.loads(process.stdout.readline()))
        return figures
    finally:
        for process in started:
            process.communicate("end\n")


def size_of(model: str) -> int:
    """Return the bytes of the file, or of the files in a folder."""
    path = Path(model)
    return sum(file.stat().st_size for file in (path.iterdir() if path.is_dir() else [path]) if file.is_file())


def describe(model: str) -> str:
    """Describe what is measured, without its path."""
    from squeezeops.squeezebert.files.converted import ConvertedFile, find_file

    file = find_file(model)
    return f"{ConvertedFile(file).dtype}, converted" if file else "float32, a folder"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=128, help="length of the text; 0 runs none")
    parser.add_argument("--json", metavar="FILE", type=Path, help="add the medians to this file")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if not os.path.exists(ROLLUP):
        raise SystemExit(f"expected Linux with {ROLLUP}, got a system without")
    if arguments.worker:
        worker(arguments.model, arguments.tokens)
        return
    figures = measure(arguments.model, arguments.processes, arguments.tokens)
    print(f"{arguments.model}, {arguments.processes} processes, {arguments.tokens} tokens")
    for name in figures[0]:
        values, scale, unit = [figure[name] for figure in figures], 1e6, "MB"
        if name == "seconds":
            name, scale, unit = "loading", 1e-3, "ms"
        shown = "  ".join(f"{value / scale:8.2f}" for value in values)
        print(f"  {name:<20} {shown}  {unit}; all: {sum(values) / scale:.2f}")
    if arguments.json:
        facts = json.loads(arguments.json.read_text()) if arguments.json.exists() else {}
        facts[describe(arguments.model)] = {
            "bytes": size_of(arguments.model),
            "processes": arguments.processes,
            "tokens": arguments.tokens,
            **{name: statistics.median(figure[name] for figure in figures) for name in figures[0]},
        }
        arguments.json.write_text(json.dumps(facts, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
