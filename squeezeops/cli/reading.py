"""The input of a command: a text a line, as the lines arrive, and a bar that tells how far it is."""

from __future__ import annotations

import codecs
import os
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from importlib import import_module
from typing import Any, BinaryIO

from squeezeops.cli.streams import CommandError, is_terminal

PROGRESS_DELAY = 1.0  # seconds; a shorter run shows no bar


def open_input(option: str, path: str, stack: ExitStack) -> tuple[str, BinaryIO]:
    """Open a file, or standard input for -; return the name to use in messages, and the file."""
    if path != "-":
        return path, stack.enter_context(open(path, "rb"))
    if sys.stdin is None:
        raise CommandError(f"{option}: standard input is closed")
    return "standard input", sys.stdin.buffer


def read_text(option: str, path: str) -> str:
    """Return the text of a whole file, as it is but for a byte order mark."""
    with ExitStack() as stack:
        name, file = open_input(option, path, stack)
        try:
            text = _decode(file.read().removeprefix(codecs.BOM_UTF8))
        except CommandError as error:
            raise CommandError(f"{name}: {error}") from error
    if not text.strip():
        raise CommandError(f"{name}: expected a text, got a blank file")
    return text


def read_items(
    name: str, file: Any, batch_size: int, make_item: Callable[[str], Any], noun: str
) -> Iterator[list[Any]]:
    """Yield what `make_item` makes of the lines of the input, in lists of at most `batch_size`.

    A list is shorter when the input has no further line ready, so a program that writes into a pipe line by line gets
    its answers line by line.  Before an error is raised, all items before the bad line are yielded.
    """
    number = 0
    blank = 0  # the first blank line, forgiven as long as no text follows
    for lines in _arriving_lines(file):
        batch: list[Any] = []
        problem = ""
        for line in lines:
            number += 1
            if number == 1:
                line = line.removeprefix(codecs.BOM_UTF8)
            try:
                text = _decode(line).removesuffix("\r")
                if not text.strip():
                    blank = blank or number
                    continue
                if blank:
                    problem = f"line {blank}: expected a {noun}, got a blank line"
                    break
                batch.append(make_item(text))
            except CommandError as error:
                problem = f"line {number}: {error}"
                break
            if len(batch) == batch_size:
                yield batch
                batch = []
        if batch:
            yield batch
        if problem:
            raise CommandError(f"{name}: {problem}")


def _decode(content: bytes) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        byte, place = content[error.start], error.start + 1
        raise CommandError(f"expected UTF-8, got the byte 0x{byte:02x} at position {place}") from error


def _arriving_lines(file: Any) -> Iterator[list[bytes]]:
    """Yield lists of lines: those that each read of the file completes."""
    unfinished: list[bytes] = []
    while chunk := file.read1(1 << 16):  # one system call: returns what there is, waits only when there is nothing
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
    batches: Iterable[list[Any]], file: BinaryIO, unit: str, stack: ExitStack, scrolls: bool
) -> Iterable[list[Any]]:
    """Show a progress bar while the batches pass, where there is someone to see it and tqdm is installed.

    When the results themselves scroll over the terminal they are the progress, and a bar would tear them apart.
    """
    if not is_terminal(sys.stderr) or (scrolls and is_terminal(sys.stdout)):
        return batches
    try:
        tqdm = import_module("tqdm").tqdm
    except ImportError:
        return batches
    bar = stack.enter_context(tqdm(total=count_lines(file), unit=f" {unit}", delay=PROGRESS_DELAY, file=sys.stderr))

    def watched() -> Iterator[list[Any]]:
        for batch in batches:
            yield batch
            bar.update(len(batch))

    return watched()


def count_lines(file: BinaryIO) -> int | None:
    """Return the number of lines of a regular file that has not been read from yet, None for anything else."""
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
