"""All fuzz targets by name, and the inputs of each: those of the corpus, then random or mutated ones."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

from fuzz.calls import run_call
from fuzz.mutations import mutate
from fuzz.readers import READERS, converted_models, run_reader

CORPUS = Path(__file__).parent / "corpus"
CALLS = {"one_argument": True, "any_arguments": False}
LENGTHS = dict.fromkeys(CALLS, (4, 8, 16, 64)) | {"c_interface": (16, 64, 128, 256)}  # of random bytes
C = ("c_interface", "c_model", "c_text")  # each is a source beside this one
GROUPS = {"readers": list(READERS), "ops": list(CALLS), "c": list(C)}
TARGETS = {name: group for group, names in GROUPS.items() for name in names}

TOKENIZER = b"\x0f\x01\0\xff\x64\x2d\x01\0" + b"\0".join(
    [b"##b", b"##\xc3\xa9", b"[SEP]", b"[UNK]", b"a", b"ab", b"b", b"\xe4\xb8\xad", b"\xed\xa0\x80", b""]
    + [b"\x01<x>", b"\x0e<y>", b"\x1f[SEP]", b"", b"A b ab <x> <y>[SEP] aab \xc3\x89\xe4\xb8\xad\xf0\x9f\x98\x80", b"b"]
)


def corpus(name: str) -> list[bytes]:
    """Past failures of a target."""
    return [path.read_bytes() for path in sorted((CORPUS / name).glob("*"))]


def seeds(name: str) -> list[bytes]:
    """Inputs to begin with."""
    if name in READERS:
        return [*READERS[name][2](), *corpus(name)]
    made = {"c_model": converted_models, "c_text": lambda: [TOKENIZER]}.get(name, list)
    return [*made(), *corpus(name)]


def inputs(name: str, rng: random.Random) -> Iterator[bytes]:
    """Yield inputs without end."""
    pool = seeds(name)
    yield from pool
    while name in LENGTHS:
        yield rng.randbytes(rng.choice(LENGTHS[name]))
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
