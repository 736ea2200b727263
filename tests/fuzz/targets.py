"""All fuzz targets by name, and the inputs of each: those of the corpus, then changed ones."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

from fuzz.calls import run_call
from fuzz.mutations import mutate
from fuzz.readers import READERS, run_reader

CORPUS = Path(__file__).parent / "corpus"
CALLS = {"one_argument": True, "any_arguments": False}
GROUPS = {"readers": list(READERS), "ops": list(CALLS)}
TARGETS = {name: group for group, names in GROUPS.items() for name in names}


def corpus(name: str) -> list[bytes]:
    """Past failures of a target."""
    return [path.read_bytes() for path in sorted((CORPUS / name).glob("*"))]


def inputs(name: str, rng: random.Random) -> Iterator[bytes]:
    """Yield inputs without end."""
    if name in CALLS:
        yield from corpus(name)
        while True:
            yield rng.randbytes(rng.choice((4, 8, 16, 64)))
    pool = [*READERS[name][2](), *corpus(name)]
    yield from pool
    while True:
        data = mutate(rng, rng.choice(pool), pool)
        if len(data) < 1 << 20:
            yield data
        if len(pool) < 50 and rng.random() < 0.05:
            pool.append(data)


def run_target(name: str, data: bytes, folder: Path) -> None:
    """Run a target on an input, in an empty folder. It raises what is wrong."""
    if name in CALLS:
        run_call(data, CALLS[name])
        return
    place = folder / "files"
    try:
        run_reader(name, data, place)
    finally:
        shutil.rmtree(place, ignore_errors=True)
