"""The input of a command: files with one text per line, read as lines arrive, with a progress bar."""

from __future__ import annotations

import codecs
import os
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from importlib import import_module
from typing import Any, BinaryIO, NamedTuple

from squeezeops.cli.streams import CommandError, is_terminal

PROGRESS_DELAY = 1.0  # seconds; a shorter run shows no bar


def open_input(option: str, path: str, stack: ExitStack) -> tuple[str, BinaryIO]:
    """Open a file, or standard input for "-"; return its name for messages, and the file."""
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


class Input(NamedTuple):
    """An item to answer, or the reason why it cannot be; a blank line that is kept has neither."""

    place: str
    item: Any = None
    problem: str = ""


def read_items(
    files: Iterable[tuple[str, Any]], batch_size: int, make_item: Callable[[str], Any], noun: str, blank_lines: str
) -> Iterator[list[Input]]:
    """Yield what `make_item` makes of each line of the files, in lists of at most `batch_size`.

    A list is shorter if the input has no further line ready, so a program that writes line by line into a pipe gets its
    answers line by line. `blank_lines` is "error", "skip" or "keep"; for an error, text must follow in the same file.
    """
    for name, file in files:
        number = 0
        blank: list[Input] = []  # to be reported if text follows
        for lines in _arriving_lines(file):
            batch: list[Input] = []
            for line in lines:
                number += 1
                place = f"{name}: line {number}"
                found = _read_line(line if number > 1 else line.removeprefix(codecs.BOM_UTF8), place, make_item)
                if found is not None:
                    batch += [*blank, found]
                    blank = []
                elif blank_lines == "keep":
                    batch.append(Input(place))
                elif blank_lines == "error":
                    problem = f"expected a {noun}, got a blank line (--blank-lines skip or keep allows it)"
                    blank.append(Input(place, problem=problem))
                while len(batch) >= batch_size:
                    yield batch[:batch_size]
                    del batch[:batch_size]
            if batch:
                yield batch


def _read_line(line: bytes, place: str, make_item: Callable[[str], Any]) -> Input | None:
    """Return what is on a line; None if that is nothing."""
    try:
        text = _decode(line).removesuffix("\r")
        return Input(place, make_item(text)) if text.strip() else None
    except CommandError as error:
        return Input(place, problem=str(error))


def _decode(content: bytes) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        byte, place = content[error.start], error.start + 1
        raise CommandError(f"expected UTF-8, got the byte 0x{byte:02x} at position {place}") from error


def _arriving_lines(file: Any) -> Iterator[list[bytes]]:
    """Yield lists of the lines that each read completes."""
    unfinished: list[bytes] = []
    while chunk := file.read1(1 << 16):  # one system call, which waits only if nothing is ready
        head, newline, tail = chunk.rpartition(b"\n")
        if newline:
            lines = b"".join([*unfinished, head]).split(b"\n")
            unfinished = []
            yield lines
        unfinished.append(tail)
    last = b"".join(unfinished)
    if last:
        yield [last]


def with_progress(
    batches: Iterable[list[Any]], files: Iterable[BinaryIO], unit: str, stack: ExitStack, scrolls: bool
) -> Iterable[list[Any]]:
    """Show a progress bar while the batches pass, if standard error is a terminal and tqdm is installed.

    There is none if the results scroll over the same terminal: a bar would break their lines.
    """
    if not is_terminal(sys.stderr) or (scrolls and is_terminal(sys.stdout)):
        return batches
    try:
        tqdm = import_module("tqdm").tqdm
    except ImportError:
        return batches
    lines = [count_lines(file) for file in files]
    total = None if None in lines else sum(count or 0 for count in lines)
    bar = stack.enter_context(tqdm(total=total, unit=f" {unit}", delay=PROGRESS_DELAY, file=sys.stderr))

    def watched() -> Iterator[list[Any]]:
        for batch in batches:
            yield batch
            bar.update(len(batch))

    return watched()


def count_lines(file: BinaryIO) -> int | None:
    """Return the number of lines of a regular file that has not been read yet; None for anything else."""
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        return None
    start = file.tell()
    count = 0
    last = b"\n"
    while chunk := file.read(1 << 20):
        count += chunk.count(b"\n")
        last = chunk[-1:]
    file.seek(start)
    return count + (last != b"\n")
