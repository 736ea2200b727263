"""Writes rows to a file of JSON lines or CSV in chunks, so that a run that was killed can go on.

Until the file is complete, its rows are in ``OUTPUT.part``, and ``OUTPUT.journal`` says how much of that counts: its
bytes, the position in the input, and the settings of the run. A chunk is appended and flushed to disk; then a new
journal replaces the old one. Whatever a crash leaves after the bytes in the journal is cut off by the next run.
"""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO

from squeezeops.cli import streams
from squeezeops.cli.streams import CommandError
from squeezeops.squeezebert.files.atomic import flush_folder

PART, JOURNAL = ".part", ".journal"
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # a disk is
CHUNK_SECONDS = 1.0  # between two flushes to disk; a kill loses the work since the last one


def check_target(path: str) -> str:
    """Return the path of a file to write, without links."""
    target = os.path.realpath(path)
    if os.path.exists(target) and not os.path.isfile(target):
        got = "a folder" if os.path.isdir(target) else "a device"
        raise CommandError(f"--output: expected the name of a file, got {got}: {path}")
    return target


class TableFile:
    """An open table."""

    def __init__(self, target: str, part: BinaryIO, journal: dict[str, Any]) -> None:
        self._target, self._part, self._journal = target, part, journal
        self._columns: list[str] | None = journal["columns"]
        self._rows: list[str] = []
        self._flushed = time.monotonic()

    @property
    def complete(self) -> bool:
        return bool(self._journal["complete"])

    @property
    def state(self) -> dict[str, Any]:
        """What the last commit was told, in this run or the one that goes on; empty at the beginning."""
        state: dict[str, Any] = self._journal["state"]
        return state

    def append(self, row: dict[str, Any] | None) -> None:
        """Append a row to the chunk; None is a blank line of the input.

        Raises
        ------
        CommandError
            If a row of CSV has other fields than the first one.
        """
        if not self._target.endswith(".csv"):
            self._rows.append(streams.to_json(row) + "\n")
        elif row is None:
            self._rows.append("\n")
        else:
            if self._columns is None:
                self._columns = list(row)
                self._rows.append(_csv_line(self._columns))
            if list(row) != self._columns and set(row) != set(self._columns):
                expected, got = (", ".join(map(repr, names)) for names in (self._columns, row))
                raise CommandError(f"expected the fields of the first row, {expected:.200}, got {got:.200}")
            self._rows.append(_csv_line([_cell(row[name]) for name in self._columns]))

    def commit(self, state: dict[str, Any], complete: bool = False) -> None:
        """End a chunk: what was appended, and `state`, survive from here on. At most one per `CHUNK_SECONDS`."""
        self._part.write("".join(self._rows).encode())
        self._rows = []
        now = time.monotonic()
        if not complete and now - self._flushed < CHUNK_SECONDS:
            return
        self._flushed = now
        self._part.flush()
        os.fsync(self._part.fileno())
        size = self._part.tell()
        self._journal.update(state=state, columns=self._columns, bytes=size, complete=complete)
        _write_journal(self._target, self._journal)

    def finish(self, state: dict[str, Any]) -> None:
        """End the last chunk and give the file its name."""
        self.commit(state, complete=True)
        _finish(self._target)


@contextmanager
def table_file(path: str, settings: Mapping[str, Any], resume: bool, force: bool) -> Iterator[TableFile]:
    """Write a table, or go on with one; `TableFile.complete` says that there is nothing left to do.

    Parameters
    ----------
    path : str
        A name that ends in ``.jsonl`` or ``.csv``. Links are followed.
    settings : mapping
        What the rows depend on, besides the input, by the option's name. A run is continued with the same only.
    resume : bool
        Go on with the run that was interrupted, if there is one.
    force : bool
        Drop what is there and start again.

    Raises
    ------
    CommandError
        If the file exists, an interrupted run with other settings does, or another process writes it.
    OSError
        If the folder is not writeable.
    """
    target = check_target(path)
    with _open_part(target, path) as part:
        journal = None if force else _read_journal(target, path)
        complete = resume and (os.path.lexists(target) if journal is None else journal["complete"])
        try:
            if journal is None:
                if os.path.lexists(target) and not (resume or force):
                    raise CommandError(f"{path}: expected a new file, got one that exists (--force replaces it)")
                journal = {"settings": dict(settings), "state": {}, "columns": None, "bytes": 0, "complete": False}
            elif not resume:
                raise CommandError(f"{path}: expected --resume, which goes on with an interrupted run, or --force")
            else:
                _compare(path, journal["settings"], dict(settings))
            if complete:
                streams.note(f"{path} is complete")
                if journal["complete"]:
                    _finish(target, journal["bytes"])
                yield TableFile(target, part, {**journal, "complete": True})
                return
            if os.fstat(part.fileno()).st_size < journal["bytes"]:
                raise CommandError(f"{path}.part: expected {journal['bytes']} bytes, got fewer (--force starts again)")
            if force:
                _unlink(target + JOURNAL)
            part.truncate(journal["bytes"])
            part.seek(0, os.SEEK_END)
            begun = journal["bytes"]
            try:
                yield TableFile(target, part, journal)
            except BaseException:
                if journal["bytes"] > begun:
                    streams.note(f"{path}: --resume goes on after {journal['state']['inputs']} inputs")
                raise
        finally:
            if not os.path.lexists(target + JOURNAL) and _is_at(part, target + PART):  # nothing to go on with
                os.unlink(target + PART)


@contextmanager
def _open_part(target: str, path: str) -> Iterator[BinaryIO]:
    """Open the unfinished file, which may be new, and lock it until the end."""
    try:
        with _locked(target, path) as part:
            yield part
    except OSError as error:
        if error.errno in FULL or error.filename == target + PART:
            raise OSError(error.errno, error.strerror, path) from error
        raise


@contextmanager
def _locked(target: str, path: str) -> Iterator[BinaryIO]:
    with open(target + PART, "ab+") as part:
        with suppress(ImportError):
            import fcntl

            locked = False
            with suppress(BlockingIOError):
                fcntl.flock(part, fcntl.LOCK_EX | fcntl.LOCK_NB)
                locked = _is_at(part, target + PART)  # or the other process has finished meanwhile
            if not locked:
                raise CommandError(f"{path}: expected a file for this command alone, got one that another one writes")
        yield part


def _is_at(file: BinaryIO, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False


def _read_journal(target: str, path: str) -> dict[str, Any] | None:
    try:
        with open(target + JOURNAL, "rb") as file:
            journal = json.load(file)
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise CommandError(f"{path}{JOURNAL}: expected JSON, got {error} (--force starts again)") from error
    if not isinstance(journal, dict) or not journal.keys() >= {"settings", "state", "columns", "bytes", "complete"}:
        raise CommandError(f"{path}{JOURNAL}: expected the journal of a run, got another file (--force starts again)")
    return journal


def _write_journal(target: str, journal: dict[str, Any]) -> None:
    temporary = target + JOURNAL + ".tmp"
    with open(temporary, "wb") as file:
        file.write(json.dumps(journal).encode())
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, target + JOURNAL)
    flush_folder(target)


def _finish(target: str, size: int | None = None) -> None:
    """Give a complete table its name, unless that was done before: then its `size` tells it from a new part."""
    if size is None or os.path.getsize(target + PART) == size:
        os.replace(target + PART, target)
        flush_folder(target)
    _unlink(target + JOURNAL + ".tmp")
    _unlink(target + JOURNAL)


def _unlink(path: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(path)


def _compare(path: str, begun: dict[str, Any], now: dict[str, Any]) -> None:
    """Fail if a run would go on with other settings."""
    now = json.loads(json.dumps(now))
    for name in {**begun, **now}:
        if begun.get(name) != now.get(name):
            told = [json.dumps(settings.get(name)) for settings in (begun, now)]
            expected, got = ("none" if text == "null" else text for text in told)
            raise CommandError(f"{path}: --resume: {name}: expected {expected:.200}, as when it began, got {got:.200}")


def _cell(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else streams.to_json(value)


def _csv_line(cells: list[str]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(cells)
    text = line.getvalue()
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise CommandError(f"expected text that UTF-8 can encode, got {error.object[error.start]!a}") from error
    return text
