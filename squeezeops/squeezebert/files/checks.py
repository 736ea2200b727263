"""Helpers for readers of untrusted files: every number is checked before anything is built from it."""

from __future__ import annotations

import json
import os
import reprlib
import sys
from collections.abc import Callable
from typing import IO, TYPE_CHECKING, Any, NoReturn

from squeezeops.squeezebert.files.limits import CONTAINER, FACTOR, ITEM, MAX_JSON, MEMORY, NAME, tokens_cost

if TYPE_CHECKING:
    import mmap

__all__ = [
    "Fail",
    "decode_lines",
    "fail_for",
    "is_sizes",
    "memory_map",
    "open_file",
    "parse_json",
    "quote",
    "read_bytes",
    "read_json",
]

Fail = Callable[[str, object, object], NoReturn]  # raises a ValueError; takes what, expected and got


def fail_for(path: str | os.PathLike[str]) -> Fail:
    """Return a function that raises a ValueError about a file."""

    def fail(what: str, expected: object, got: object) -> NoReturn:
        raise ValueError(f"{os.fspath(path)}: {what}: expected {expected}, got {got}")

    return fail


def open_file(path: str | os.PathLike[str], kind: str) -> IO[bytes]:
    """Open a regular file for reading."""
    if not os.path.exists(path):
        raise FileNotFoundError(f"{os.fspath(path)}: expected {kind}, got no such file")
    if not os.path.isfile(path):  # opening a pipe would block until somebody writes to it
        raise ValueError(f"{os.fspath(path)}: expected {kind}, got a folder or a special file")
    return open(path, "rb")


def memory_map(file: IO[bytes]) -> mmap.mmap:
    """Map an open file that is not empty, for reading; closing the file does not end the mapping.

    Some file systems have no shared mappings (FUSE with direct_io). There the mapping is private: processes still share
    its pages as long as nobody writes to them. Where there is none either, the file is read.
    """
    import mmap

    for access in (mmap.ACCESS_READ, mmap.ACCESS_COPY):
        try:
            return mmap.mmap(file.fileno(), 0, access=access)
        except OSError:
            continue
    try:
        memory = mmap.mmap(-1, os.fstat(file.fileno()).st_size)
        file.seek(0)
        while chunk := file.read(1 << 20):
            memory.write(chunk)
    except (OSError, ValueError) as error:  # ValueError: the file has grown
        raise OSError(f"{file.name}: expected a file that can be mapped or read, got {error}") from None
    return memory


def read_bytes(path: str | os.PathLike[str], kind: str, fail: Fail | None = None) -> bytes:
    """Read a file of at most `MAX_JSON` bytes."""
    with open_file(path, kind) as file:
        size = os.fstat(file.fileno()).st_size
        if size > MAX_JSON:
            (fail or fail_for(path))("file", f"at most {MAX_JSON} bytes", size)
        return file.read(size)


def decode(text: bytes, values: int, what: str, fail: Fail) -> str:
    """Decode UTF-8. Refuse a text whose `values` take too many bytes of memory."""
    try:
        decoded = text.decode("utf-8")
    except UnicodeDecodeError as error:
        fail(what, "UTF-8", f"byte {text[error.start]:#04x} at offset {error.start}")
    # The text, its characters, which may take four bytes each, the strings that are made of them, and the other values.
    # PyPy tells no size: its strings are UTF-8.
    cost, most = len(text) + 2 * sys.getsizeof(decoded, len(text)) + values, MEMORY + FACTOR * len(text)
    if cost > most:
        fail(what, f"values that take at most {most} bytes of memory (64 MiB and {FACTOR} times the text)", cost)
    return decoded


def decode_lines(text: bytes, what: str, fail: Fail) -> list[str]:
    """Decode a text with one token per line."""
    return decode(text, tokens_cost(text.count(b"\n"), text.isascii()), what, fail).removesuffix("\n").split("\n")


def read_json(path: str | os.PathLike[str], kind: str, what: str = "file", of: type = dict) -> Any:
    """Read a JSON object, or a list, from a file of at most `MAX_JSON` bytes; messages call the text `what`."""
    return parse_json(read_bytes(path, kind), what, fail_for(path), of)


def parse_json(text: bytes, what: str, fail: Fail, of: type = dict, repeats: bool = False) -> Any:
    """Parse a JSON object, or a list. Unlike `json.loads`, refuse values that take too much memory (see `limits`).

    With `repeats`, of two equal keys of an object the last one counts. Otherwise they are refused.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        entries = dict(pairs)
        if len(entries) != len(pairs):
            seen: set[str] = set()
            repeated = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
            fail(what, "every key once", f"{quote(repeated)} twice")
        return entries

    # Characters inside strings count, too: there are few where it matters, and counting takes no memory.
    names, items = text.count(b":"), text.count(b",")
    values = CONTAINER * (text.count(b"[") + text.count(b"{")) + ITEM * items
    # What finds repeated names needs a list of pairs. Without it, a name takes as much as a token and its id.
    values += tokens_cost(names, text.isascii()) - ITEM * min(names, items) if repeats else NAME * names
    decoded = decode(text, values, what, fail)
    try:
        # Keep a long number as a string: int() takes quadratic time, and no valid value is that long.
        value = json.loads(
            decoded,
            object_pairs_hook=None if repeats else unique,
            parse_int=lambda text: int(text) if len(text) < 40 else text,
        )
    except json.JSONDecodeError as error:
        fail(what, "JSON", f"{error.msg} at offset {error.pos}")
    except RecursionError:
        fail(what, "JSON", "values nested too deeply")
    if not isinstance(value, of):
        fail(what, "a JSON object" if of is dict else "a JSON list", reprlib.repr(value))
    return value


def is_sizes(value: object) -> bool:
    """Whether `value` is a list of integers from 0 to 2**63 - 1."""
    # type() and not isinstance(): true and false are integers to Python
    return isinstance(value, list) and all(type(item) is int and 0 <= item < 2**63 for item in value)


def quote(name: str) -> str:
    """Return a name from a file for a message: escaped, and cut if it is long."""
    return repr(name) if len(name) <= 120 else repr(name[:117] + "...")
