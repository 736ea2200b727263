"""Shows on standard error how far a command is, and how fast."""

from __future__ import annotations

import os
import stat
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from squeezeops.cli.streams import is_terminal

DELAY = 1.0  # seconds; a shorter run shows nothing
PERIODS = {True: 0.2, False: 10.0}  # seconds between two lines on a terminal, and elsewhere


@contextmanager
def progress(files: Sequence[Any], unit: str, shown: bool) -> Iterator[Callable[[int], None]]:
    """Yield a function that takes the number of inputs that have been answered since its last call.

    Parameters
    ----------
    files : sequence of files
        Their sizes and positions give the percentage, if all are regular files.
    unit : str
    shown : bool
        If false, nothing is shown.
    """
    if not shown or sys.stderr is None:
        yield lambda count: None
        return
    raw = [getattr(file, "fileobj", file) for file in files]  # of gzip: the compressed file
    size = _size(raw)
    terminal = is_terminal(sys.stderr)
    started = time.monotonic()
    total, due, width = 0, started + DELAY, 0

    def show(now: float) -> None:
        nonlocal width
        part = f"  {100 * sum(file.tell() for file in raw) // size} %" if size else ""
        text = f"{total:,} {unit}{part}  {total / max(now - started, 1e-9):,.0f} per second"
        print(f"\r{text:<{width}}" if terminal else text, end="" if terminal else "\n", file=sys.stderr, flush=True)
        width = len(text)

    def advance(count: int) -> None:
        nonlocal total, due
        total += count
        now = time.monotonic()
        if now >= due:
            show(now)
            due = now + PERIODS[terminal]

    try:
        yield advance
    finally:
        if width:
            show(time.monotonic())
            if terminal:
                print(file=sys.stderr)


def _size(files: Sequence[Any]) -> int:
    """Return the size of regular files; 0 if there are others."""
    try:
        modes = [os.fstat(file.fileno()) for file in files]
    except (AttributeError, OSError, ValueError):  # replaced by the caller of `main`
        return 0
    return sum(mode.st_size for mode in modes) if all(stat.S_ISREG(mode.st_mode) for mode in modes) else 0
