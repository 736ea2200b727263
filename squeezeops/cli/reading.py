"""The input of a command: texts, one per line, or rows of JSON lines or CSV, read as they arrive."""

from __future__ import annotations

import codecs
import os
import stat
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

from squeezeops.cli.streams import CommandError

FORMATS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv"}  # by the end of the name; any other: lines
MOST_BYTES = 1 << 24  # of a line, of a field of CSV, and about those of a batch: bounds the memory


def open_input(option: str, path: str, stack: ExitStack) -> tuple[str, Any]:
    """Open a file, or standard input for "-"; return its name for messages, and the file. Decompress ``.gz``."""
    if path.endswith(".gz"):
        import gzip

        return path, stack.enter_context(gzip.open(path))
    if path != "-":
        return path, stack.enter_context(open(path, "rb"))
    if sys.stdin is None:
        raise CommandError(f"{option}: standard input is closed")
    return "standard input", sys.stdin.buffer


def read_text(option: str, path: str) -> str:
    """Return the text of a file without its byte order mark."""
    with ExitStack() as stack:
        name, file = open_input(option, path, stack)
        try:
            text = _decode(file.read().removeprefix(codecs.BOM_UTF8))
        except CommandError as error:
            raise CommandError(f"{name}: {error}") from error
    if not text.strip():
        raise CommandError(f"{name}: expected a text, got a blank file")
    return text


def input_is_waiting() -> bool:
    """Whether standard input is a pipe or a file, which somebody has given on purpose."""
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (AttributeError, OSError, ValueError):  # closed, or replaced by the caller of `main`
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISREG(mode) or stat.S_ISSOCK(mode)


def input_format(path: str) -> str:
    """Return what the name of a file says about its format: "lines", "jsonl" or "csv"."""
    return FORMATS.get(os.path.splitext(path.removesuffix(".gz"))[1].lower(), "lines")


class Input(NamedTuple):
    """An item to answer, or the reason why it cannot be; a blank line that is kept has neither."""

    place: str
    item: Any = None
    problem: str = ""
    row: dict[str, Any] | None = None  # the fields of JSON lines or CSV


class Lines:
    """The lines of a file, how many were taken, and the hash of their bytes."""

    def __init__(self, name: str, file: Any) -> None:
        from hashlib import blake2b

        self.name, self.number, self.bytes = name, 0, 0
        self._file = file
        self._hash = blake2b(digest_size=16)
        self._ready: deque[bytes] = deque()
        self._unfinished: list[bytes] = []

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        while not self._ready:
            chunk = self._read()
            head, newline, tail = chunk.rpartition(b"\n")
            if newline or not chunk:
                *lines, last = b"".join([*self._unfinished, head, newline]).split(b"\n")
                self._ready += [line + b"\n" for line in lines]
                if last:  # of the file
                    self._ready.append(last)
                elif not chunk and not self._ready:
                    raise StopIteration
                self._unfinished = []
            self._unfinished.append(tail)
            if len(self._unfinished) > MOST_BYTES >> 16 and sum(map(len, self._unfinished)) > MOST_BYTES:
                raise CommandError(f"{self.name}: line {self.number + 1}: expected at most {MOST_BYTES} bytes")
        line = self._ready.popleft()
        self.number += 1
        self._take(line)
        return line

    @property
    def ready(self) -> bool:
        """Whether there is another line without waiting for it."""
        return bool(self._ready)

    @property
    def position(self) -> dict[str, Any]:
        """What `skip_to` takes, as JSON."""
        return {"line": self.number, "bytes": self.bytes, "hash": self._hash.hexdigest()}

    def skip_to(self, position: dict[str, Any]) -> None:
        """Take lines up to a position; fail if they differ from those that were taken before it was asked for."""
        missing = position["bytes"] - self.bytes
        while missing > 0:
            chunk = b"".join(self._ready) + b"".join(self._unfinished) or self._read()
            self._ready.clear()
            self._take(chunk[:missing])
            self._unfinished = [chunk[missing:]]
            missing -= len(chunk)
            if not chunk:
                break
        self.number = position["line"]
        if self.position != position:
            what = f"expected the {position['bytes']} bytes of {self.number} lines that the run has read"
            raise CommandError(f"{self.name}: {what}, got others")

    def _take(self, content: bytes) -> None:
        self.bytes += len(content)
        self._hash.update(content)

    def _read(self) -> bytes:
        import zlib

        try:
            return self._file.read1(1 << 16)  # one system call, which waits only if nothing is ready
        except (EOFError, zlib.error) as error:
            raise CommandError(f"{self.name}: expected a complete file of gzip, got {error}") from error


class Reader:
    """The inputs in some files.

    Parameters
    ----------
    files : sequence of (str, file)
        Names for messages, and open files.
    formats : sequence of str
        "lines", "jsonl" or "csv", per file.
    fields : sequence of str
        Names of the fields with the texts of a row.
    make_item : callable
        Makes an item of a line, or of the texts of a row.
    noun : str
    blank_lines : str
        "error", "skip" or "keep"; for an error, text must follow in the same file.
    """

    def __init__(
        self,
        files: Sequence[tuple[str, Any]],
        formats: Sequence[str],
        fields: Sequence[str],
        make_item: Callable[..., Any],
        noun: str,
        blank_lines: str,
    ) -> None:
        self.files, self._formats, self._fields = files, formats, fields
        self._make_item, self._noun, self._blank_lines = make_item, noun, blank_lines
        self._begun: list[Lines] = []

    @property
    def positions(self) -> list[dict[str, Any]]:
        """The position in each file that was begun, after the last batch."""
        return [lines.position for lines in self._begun]

    def batches(self, size: int, prompt: bool, done: Sequence[dict[str, Any]] = ()) -> Iterator[list[Input]]:
        """Yield lists of about `size` inputs at most.

        A list is shorter if its lines have `MOST_BYTES`, and with `prompt` if the input has no further line ready, so a
        program that writes line by line into a pipe gets its answers line by line. `done`: the positions to begin at.
        """
        for index, (name, file) in enumerate(self.files):
            lines = Lines(name, file)
            self._begun.append(lines)
            batch: list[Input] = []
            start = lines.bytes
            for group in self._groups(lines, self._formats[index], done[index] if index < len(done) else None):
                if index + 1 < len(done):
                    raise CommandError(f"{name}: expected no line after those that the run has read")
                batch += group
                if len(batch) >= size or lines.bytes - start > MOST_BYTES or (prompt and not lines.ready):
                    yield batch
                    batch, start = [], lines.bytes
            if batch:
                yield batch

    def _groups(self, lines: Lines, form: str, position: dict[str, Any] | None) -> Iterator[list[Input]]:
        """Yield each input, together with the blank lines before it that are errors."""
        blank: list[Input] = []  # to be reported if text follows
        for number, content, problem in _READERS[form](lines, position):
            place = f"{lines.name}: line {number}"
            if content is not None or problem:
                yield [*blank, self._input(place, content, problem)]
                blank = []
            elif self._blank_lines == "keep":
                yield [Input(place)]
            elif self._blank_lines == "error":
                problem = f"expected a {self._noun}, got a blank line (--blank-lines skip or keep allows it)"
                blank.append(Input(place, problem=problem))

    def _input(self, place: str, content: Any, problem: str) -> Input:
        try:
            if problem:
                raise CommandError(problem)
            if isinstance(content, str):
                return Input(place, self._make_item(content))
            return Input(place, self._make_item(*[_field(content, name) for name in self._fields]), row=content)
        except CommandError as error:
            return Input(place, problem=str(error))


def _field(row: dict[str, Any], name: str) -> str:
    if name not in row:
        raise CommandError(f"expected a field {name!r} (--field names another), got {', '.join(map(repr, row)):.200}")
    if not isinstance(row[name], str):
        raise CommandError(f"{name}: expected a string, got {type(row[name]).__name__}")
    return row[name]


# A reader yields the number of each line (of the first one of a row), what is on it, and what is wrong with it; neither
# for a blank line. It begins after `position`.
Records = Iterator[tuple[int, Any, str]]


def _read_lines(lines: Lines, position: dict[str, Any] | None) -> Records:
    if position is not None:
        lines.skip_to(position)
    for line in lines:
        if lines.number == 1:
            line = line.removeprefix(codecs.BOM_UTF8)
        text = problem = ""
        try:
            text = _decode(line.removesuffix(b"\n")).removesuffix("\r")
        except CommandError as error:
            problem = str(error)
        yield lines.number, text if text.strip() else None, problem


def _read_jsonl(lines: Lines, position: dict[str, Any] | None) -> Records:
    import json

    def no_constant(name: str) -> None:
        raise ValueError(f"{name}, which is no JSON")

    for number, text, problem in _read_lines(lines, position):
        row = None
        if text is not None:
            try:
                row = json.loads(text, parse_constant=no_constant)
                if not isinstance(row, dict):
                    problem = f"expected an object of JSON, got {text.strip():.40}"
            except (ValueError, RecursionError) as error:
                problem = f"expected an object of JSON, got {error}"
        yield number, None if problem else row, problem


def _read_csv(lines: Lines, position: dict[str, Any] | None) -> Records:
    import csv

    csv.field_size_limit(MOST_BYTES)
    bad = ""  # what is wrong with the bytes of the row

    def decoded() -> Iterator[str]:
        nonlocal bad
        for line in lines:
            if lines.number == 1:
                line = line.removeprefix(codecs.BOM_UTF8)
            try:
                yield _decode(line)
            except CommandError as error:
                bad = str(error)
                yield line.decode("utf-8", "replace")

    reader = csv.reader(decoded(), strict=True)
    header: list[str] | None = None
    while True:
        number, bad, values = lines.number + 1, "", None
        try:
            values = next(reader)
        except StopIteration:
            if header is None and position is not None:
                lines.skip_to(position)  # fails: it is after a header
            return
        except csv.Error as error:
            bad = f"expected a row of CSV, got {error}"
        if header is None:
            if bad or not values or len({*values}) < len(values):
                got = bad or (f"{', '.join(map(repr, values)):.200}" if values else "a blank line")
                raise CommandError(f"{lines.name}: line {number}: expected a header with different names, got {got}")
            header = values
            if position is not None:
                lines.skip_to(position)
        elif bad or not values:
            yield number, None, bad
        elif len(values) != len(header):
            yield number, None, f"expected {len(header)} columns as in the header, got {len(values)}"
        else:
            yield number, dict(zip(header, values, strict=True)), ""


_READERS: dict[str, Callable[[Lines, dict[str, Any] | None], Records]] = {
    "lines": _read_lines,
    "jsonl": _read_jsonl,
    "csv": _read_csv,
}


def _decode(content: bytes) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        byte, place = content[error.start], error.start + 1
        raise CommandError(f"expected UTF-8, got the byte 0x{byte:02x} at position {place}") from error
