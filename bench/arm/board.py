"""Milliseconds per sentence on this machine, to compare with an estimate: ``python -m bench.arm.board``.

Runs SqueezeBERT-base with random weights, which take as long as trained ones, and the built-in model. A line shows the
median and the fastest of the calls of some seconds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import bench.installed  # noqa: F401 before squeezeops is imported
import squeezeops
from bench.model import CONFIG, make_weights
from squeezeops.benchmark.machine import describe_machine
from squeezeops.benchmark.variants import chosen_isa
from squeezeops.squeezebert import SqueezeBert, SqueezeBertConfig

WORDS = 1000  # rows of the word table: more would only take memory
SENTENCE = "a gorgeous, witty, seductive movie"


def timed(call: Callable[[], Any], seconds: float) -> dict[str, Any]:
    call()
    samples: list[float] = []
    end = time.perf_counter() + seconds
    while len(samples) < 3 or time.perf_counter() < end:
        begin = time.perf_counter()
        call()
        samples.append((time.perf_counter() - begin) * 1e3)
    return {"median": statistics.median(samples), "best": min(samples), "calls": len(samples)}


def measure(seconds: float) -> list[dict[str, Any]]:
    weights: dict[str, Any] = dict(make_weights())
    weights["embeddings.word_embeddings.weight"] = weights["embeddings.word_embeddings.weight"][:WORDS].copy()
    config = SqueezeBertConfig.from_dict({**CONFIG, "vocab_size": WORDS})
    counts = sorted({1, squeezeops.get_num_threads()})
    rows = []

    def take(model: str, tokens: int | str, call: Callable[[], Any]) -> None:
        for threads in counts:
            squeezeops.set_num_threads(threads)
            row = {"model": model, "tokens": tokens, "threads": threads, **timed(call, seconds)}
            what = f"{model:24} {tokens:>9} tokens, {threads} threads"
            print(f"{what}: {row['median']:8.2f} ms, best {row['best']:8.2f}", flush=True)
            rows.append(row)

    for dtype in ("float32", "int8"):
        model = SqueezeBert(config, weights, task="base", dtype=dtype)
        for tokens in (32, 128):
            ids = np.random.default_rng(0).integers(0, WORDS, (1, tokens))
            take(f"SqueezeBERT-base {dtype}", tokens, lambda model=model, ids=ids: model(ids))  # type: ignore[misc]
    classify = squeezeops.pipeline("sentiment-analysis")
    take("built in", "sentence", lambda: classify(SENTENCE))
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    p = argparse.ArgumentParser(prog="python -m bench.arm.board", description=__doc__)
    p.add_argument("--seconds", type=float, default=3.0, help="for a line")
    p.add_argument("--json", metavar="FILE", type=Path, help="write the results there")
    given = p.parse_args(arguments)
    machine = describe_machine()
    machine["instructions"] = " ".join(chosen_isa())
    print(", ".join(f"{name} {value}" for name, value in machine.items()), flush=True)
    rows = measure(given.seconds)
    if given.json:
        given.json.write_text(json.dumps({"machine": machine, "forward": rows}, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
