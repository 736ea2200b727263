"""Changes of a fuzzer's input. There is no feedback from what they reach."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from typing import Any

NUMBERS = (0, 1, -1, 2, 7, 63, 64, 65, 255, 256, 2**15, 2**31 - 1, 2**31, 2**32, 2**53, 2**63 - 1, 2**63, 2**64, 10**30)
VALUES: tuple[Any, ...] = (*NUMBERS, None, True, False, 1.5, 1e308, float("nan"), float("inf"), -0.0, "", "a", "[CLS]")
VALUES += ("\ud800", "\0", "\N{GRINNING FACE}" * 3, "a" * 300, [], [[]], {}, [1, 2], {"a": 1}, {"type": "Sequence"})
BYTES = (
    b"\0",
    b"\xff",
    b"{",
    b"}",
    b"[",
    b"]",
    b'"',
    b",",
    b":",
    b"\\u0000",
    b"\\ud800",
    b"1e999",
    b"\xf0\x9f\x98\x80",
)
BYTES += (b"\x80\x02", b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06", b"(", b"t", b"R", b"\x94", b"h\0", b"\n", b"9" * 40)


def mutate(rng: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """Change an input in one or a few places; `others` are inputs to take parts from."""
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        data = rng.choice((*BY_BYTES, change_json, change_json, change_json))(rng, data, others)
    return data


def place(rng: random.Random, data: bytes) -> tuple[int, int]:
    start = rng.randrange(len(data) + 1)
    return start, min(len(data), start + rng.choice((1, 1, 2, 4, 8, 64, 1000)))


def flip(rng: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    at = rng.randrange(len(data) or 1)
    return data[:at] + bytes(byte ^ 1 << rng.randrange(8) for byte in data[at : at + 1]) + data[at + 1 :]


def drop(rng: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    start, stop = place(rng, data)
    return data[:start] + data[stop:]


def repeat(rng: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    start, stop = place(rng, data)
    return data[:start] + data[start:stop] * rng.choice((2, 3, 100)) + data[stop:]


def insert(rng: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    start, stop = place(rng, data)
    return data[:start] + rng.choice(BYTES) + data[rng.choice((start, stop)) :]


def overwrite(rng: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """Put a number where one may be: lengths, offsets and counts are little-endian."""
    size, start = rng.choice((1, 2, 4, 8)), rng.randrange(len(data) + 1)
    number = (rng.choice(NUMBERS) % 2 ** (8 * size)).to_bytes(size, "little")
    return data[:start] + number + data[start + size :]


def splice(rng: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    start, stop = place(rng, data)
    other = rng.choice(others) if others else data
    begin, end = place(rng, other)
    return data[:start] + other[begin:end] + data[stop:]


BY_BYTES: tuple[Callable[..., bytes], ...] = (flip, drop, repeat, insert, overwrite, splice)


def change_json(rng: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """Replace, remove, copy or exchange a value of a JSON text; also of one inside a string, and after a length."""
    if data[8:9] == b"{" and int.from_bytes(data[:8], "little") <= len(data):
        length = int.from_bytes(data[:8], "little")
        text = change_json(rng, data[8 : 8 + length], others)
        return len(text).to_bytes(8, "little") + text + data[8 + length :]
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return rng.choice(BY_BYTES)(rng, data, others)
    nodes: list[tuple[Any, Any]] = []
    collect(value, nodes)
    if not nodes:
        return json.dumps(rng.choice(VALUES)).encode()
    parent, key = rng.choice(nodes)
    old = parent[key]
    if isinstance(old, str) and old[:1] in ("{", "[") and rng.random() < 0.7:
        parent[key] = change_json(rng, old.encode("utf-8", "surrogatepass"), others).decode("utf-8", "replace")
    else:
        action = rng.randrange(5)
        if action == 0:
            del parent[key]
        elif action == 1:
            other, name = rng.choice(nodes)
            parent[key] = (
                other.get(name) if isinstance(other, dict) else other[name % (len(other) or 1)] if other else 0
            )
        elif action == 2 and isinstance(parent, list):
            parent[key:key] = [old] * rng.choice((1, 2, 100))
        elif action == 3 and isinstance(parent, dict):
            parent[str(rng.choice(VALUES))] = old
        else:
            parent[key] = rng.choice(VALUES)
    try:
        return json.dumps(value, ensure_ascii=rng.random() < 0.5).encode("utf-8", "surrogatepass")
    except (ValueError, RecursionError):  # a value inside itself
        return data


def collect(value: Any, nodes: list[tuple[Any, Any]]) -> None:
    """List the (parent, key) of each value, but for most of a large object."""
    keys = (
        list(value)[:30] if isinstance(value, dict) else range(min(len(value), 30)) if isinstance(value, list) else ()
    )
    for key in keys:
        nodes.append((value, key))
        if len(nodes) < 2000:
            collect(value[key], nodes)
