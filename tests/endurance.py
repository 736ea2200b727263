"""Endurance: forwards of random lengths and models that are loaded and closed; memory, threads and descriptors stay.

``python tests/endurance.py --forwards 1000000 --loads 10000`` takes minutes; `test_endurance.py` runs a short one.
"""

import argparse
import gc
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from c_model import CModel

from squeezeops import ops
from squeezeops.pipelines import default_model
from squeezeops.squeezebert import SqueezeBert, Tokenizer

FILE = default_model() / "model.safetensors"
SLACK = 1 << 20  # bytes by which the resident memory may differ: arenas, and pages of a file that are read late
LONGEST = 48  # tokens


def use() -> tuple[int, int, int]:
    """Return the resident memory of this process in bytes, without pages of files; its threads; its descriptors."""
    gc.collect()
    with open("/proc/self/status", encoding="ascii") as file:
        fields = dict(line.split(":", 1) for line in file)
    memory = int(fields["RssAnon"].split()[0]) * 1024
    return memory, int(fields["Threads"]), len(os.listdir("/proc/self/fd"))


def lengths(seed: int) -> Iterator[int]:
    rng = np.random.default_rng(seed)
    while True:
        yield from rng.integers(1, LONGEST + 1, 1000).tolist()


def forwards_of(backend: str) -> Callable[[], object]:
    """Return a function that runs one sequence of a random length."""
    model, sizes = SqueezeBert.from_pretrained(FILE), lengths(1)
    ids = np.full((1, LONGEST), 7)

    def forward() -> object:
        with ops.backend(backend):
            return model(ids[:, : next(sizes)]).logits

    return forward


def forwards_in_c() -> Callable[[], object]:
    model, sizes = CModel(FILE), lengths(2)
    ids = np.full((1, LONGEST), 7)
    return lambda: model.run(ids[:, : next(sizes)], want=("logits",))


def loads_of(backend: str) -> Callable[[], object]:
    """Return a function that loads a model and a tokenizer, uses both and drops them."""

    def load() -> object:
        with ops.backend(backend):
            ids = Tokenizer.from_pretrained(FILE)(["a good movie"])["input_ids"]
            return SqueezeBert.from_pretrained(FILE)(np.array(ids)).logits

    return load


def loads_in_c() -> Callable[[], object]:
    def load() -> object:
        model = CModel(FILE)
        score = model.classify("a good movie")[1]
        model.close()
        return score

    return load


def endure(name: str, call: Callable[[], object], count: int) -> None:
    """Call it `count` times after a tenth as many; raise if memory, threads or descriptors have grown.

    If memory has grown, it is tried once more: a leak goes on.
    """
    for _ in range(max(count // 10, 20)):
        call()
    after = use()
    others = after[1:]
    for _ in range(2):
        before, started = after, time.perf_counter()
        for _ in range(count):
            call()
        seconds, after = time.perf_counter() - started, use()
        print(f"{name:16} {count:8} in {seconds:7.1f} s, memory {before[0] >> 10} -> {after[0] >> 10} KiB", end="")
        print(f", threads {before[1]} -> {after[1]}, descriptors {before[2]} -> {after[2]}", flush=True)
        if after[0] <= before[0] + SLACK:
            break
    assert after[0] <= before[0] + SLACK, f"{name}: memory grew by {after[0] - before[0]} bytes"
    assert after[1:] == others, f"{name}: threads and descriptors: expected {others}, got {after[1:]}"


def main(forwards: int, loads: int) -> None:
    compiled = [name for name in ("native", "cffi") if name in ops.available_backends()]
    for backend in compiled:
        endure(f"forward, {backend}", forwards_of(backend), forwards)
    endure("forward, C", forwards_in_c(), forwards)
    for backend in compiled:
        endure(f"load, {backend}", loads_of(backend), loads)
    endure("load, C", loads_in_c(), loads)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=Path(__file__).name)
    parser.add_argument("--forwards", type=int, default=1_000_000)
    parser.add_argument("--loads", type=int, default=10_000)
    main(**vars(parser.parse_args()))
