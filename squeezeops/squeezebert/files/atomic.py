"""Writes files that appear under their names only when they are complete."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO

__all__ = ["atomic_file", "flush_folder"]


@contextmanager
def atomic_file(target: str, replace: bool) -> Iterator[IO[bytes]]:
    """Open a temporary file beside `target`; at the end flush it to disk and rename it, after an error delete it.

    Parameters
    ----------
    target : str
        A path without links.
    replace : bool
        Whether to replace a file that has appeared under this name meanwhile.

    Raises
    ------
    FileExistsError
        If there is such a file, and not `replace`.
    """
    temporary = f"{target}.{os.urandom(4).hex()}.tmp"
    try:  # from here on: a signal's exception may come as soon as the file is there
        try:
            file = open(temporary, "xb")  # noqa: SIM115
        except OSError as error:
            raise OSError(error.errno, error.strerror, target) from error
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if not replace and os.path.lexists(target):
            raise FileExistsError(f"{target}: expected the name of a new file, got one that has appeared")
        os.replace(temporary, target)
    except BaseException as error:
        with suppress(OSError):  # renamed already, or never made
            os.unlink(temporary)
        if isinstance(error, OSError) and error.errno and error.filename is None:  # such as that of a full disk
            error.filename = target
        raise
    flush_folder(target)


def flush_folder(target: str) -> None:
    """Flush the name of a file to disk; its contents are another matter."""
    if os.name == "posix":
        folder = os.open(os.path.dirname(target), os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
