"""Load on ``examples/serve.py``: ``python -m bench.serve [--task TASK] [--model MODEL] [--clients 1 8] [--seconds 5]``.

Each client is a process with one connection that sends one sentence per request, the next one when the answer has
arrived. The server batches the requests that wait; "alone" is the same server with each request as its own batch. The
two are measured in turn, several times. Prints the latency (p50 and p95 of all requests), the requests per second and
the server's peak memory.
"""

from __future__ import annotations

import argparse
import http.client
import json
import multiprocessing
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import bench.installed  # noqa: F401 before squeezeops is imported
from bench.sentence import SENTENCES

SERVER = Path(__file__).parents[1] / "examples" / "serve.py"
ALONE = f"""
import queue, runpy
queue.SimpleQueue = type("Queue", (queue.SimpleQueue,), {{"qsize": lambda self: 0}})
runpy.run_path({str(SERVER)!r}, run_name="__main__")
"""
ROUNDS = 3


def client(port: int, first: int, end: float, times: Any) -> None:
    """Send sentences until `end`; put the seconds that each took into a queue."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    taken: list[float] = []
    while time.time() < end:
        body = json.dumps({"inputs": SENTENCES[(first + len(taken)) % len(SENTENCES)]})
        start = time.perf_counter()
        connection.request("POST", "/", body)
        answer = connection.getresponse()
        answer.read()
        taken.append(time.perf_counter() - start)
        if answer.status != 200:
            raise SystemExit(f"the server answered {answer.status}")
    times.put(taken)


def load(command: list[str], clients: int, seconds: float) -> tuple[list[float], float]:
    """Return the seconds of each request, and the peak memory of the server in bytes."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout
            port = int(server.stdout.readline().rsplit(":", 1)[1])
            client(port, 0, time.time() + 0.5, multiprocessing.SimpleQueue())  # warm-up
            times, end = multiprocessing.Queue(), time.time() + seconds  # type: ignore[var-annotated]
            senders = [multiprocessing.Process(target=client, args=(port, i, end, times)) for i in range(clients)]
            for sender in senders:
                sender.start()
            taken = [second for _ in senders for second in times.get(timeout=seconds + 60)]
            for sender in senders:
                sender.join()
            status = Path(f"/proc/{server.pid}/status").read_text()
            return taken, float(status.split("VmHWM:")[1].split()[0]) * 1024
        finally:
            server.terminate()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="text-classification")
    parser.add_argument("--model", help="default: the built-in model")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--seconds", type=float, default=5, help="of each of the measurements (default: 5)")
    given = parser.parse_args()
    options = ["--port", "0", "--task", given.task, *(["--model", given.model] if given.model else [])]
    commands = {
        "batched": [sys.executable, str(SERVER), *options],
        "alone": [sys.executable, "-c", ALONE, *options],
    }
    print("| clients | server | p50, p95 | requests per second | memory |\n| --- | --- | --- | --- | --- |")
    for clients in given.clients:
        runs: dict[str, list[tuple[list[float], float]]] = {name: [] for name in commands}
        for _ in range(ROUNDS):
            for name, command in commands.items():
                runs[name].append(load(command, clients, given.seconds))
        for name, results in runs.items():
            taken = [second for times, _ in results for second in times]
            p50, p95 = np.percentile(taken, (50, 95)) * 1e3
            rate = len(taken) / ROUNDS / given.seconds
            memory = max(memory for _, memory in results) / 1e6
            print(f"| {clients} | {name} | {p50:.2f}, {p95:.2f} ms | {rate:.0f} | {memory:.0f} MB |", flush=True)


if __name__ == "__main__":
    main()
