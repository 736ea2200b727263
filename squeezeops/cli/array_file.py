"""An array that is written row by row and appears under its name when it is complete."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from squeezeops.cli.streams import CommandError

HEADER = 128  # bytes; room for the largest shape


@contextmanager
def array_file(path: str, columns: int) -> Iterator[Callable[[Any], None]]:
    """Write a .npy file of float32, shape (n, columns); give the function that adds a row.

    The rows go to a temporary file beside it. That takes its name at the end; after an error it is deleted, and a file
    that was there before stays as it was.

    Parameters
    ----------
    path : str
        A link is followed.
    columns : int

    Raises
    ------
    CommandError
        If something else than a file has that name.
    OSError
        If its folder cannot be written to.
    """
    target = os.path.realpath(path)
    if os.path.exists(target) and not os.path.isfile(target):
        got = "a folder" if os.path.isdir(target) else "a device"
        raise CommandError(f"--output: expected the name of a file, got {got}: {path}")
    temporary = f"{target}.{os.urandom(4).hex()}.tmp"
    try:
        file = open(temporary, "xb")  # noqa: SIM115
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from error
    rows = 0

    def append(row: Any) -> None:
        nonlocal rows
        file.write(np.asarray(row, dtype="<f4").tobytes())
        rows += 1

    try:
        with file:
            file.write(bytes(HEADER))
            yield append
            file.seek(0)
            file.write(_header(rows, columns))
        os.replace(temporary, target)
    except BaseException:
        os.unlink(temporary)
        raise


def _header(rows: int, columns: int) -> bytes:
    """Format 1.0 of https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html."""
    entries = {"descr": "<f4", "fortran_order": False, "shape": (rows, columns)}
    start = b"\x93NUMPY\x01\x00" + struct.pack("<H", HEADER - 10)
    return start + repr(entries).encode().ljust(HEADER - len(start) - 1) + b"\n"
