"""Writes an array row by row, as a .npy file that appears under its name when it is complete."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from squeezeops.cli.table_file import check_target
from squeezeops.squeezebert.files.atomic import atomic_file

HEADER = 128  # bytes; enough for any shape


@contextmanager
def array_file(path: str, columns: int) -> Iterator[Callable[[Any], None]]:
    """Write a .npy file of float32, shape (n, columns); yield a function that appends a row.

    Parameters
    ----------
    path : str
        Links are followed. After an error, an existing file stays as it was.
    columns : int

    Raises
    ------
    CommandError
        If the name belongs to something other than a file.
    OSError
        If the folder is not writeable.
    """
    rows = 0

    def append(row: Any) -> None:
        nonlocal rows
        file.write(np.asarray(row, dtype="<f4").tobytes())
        rows += 1

    with atomic_file(check_target(path), replace=True) as file:
        file.write(bytes(HEADER))
        yield append
        file.seek(0)
        file.write(_header(rows, columns))


def _header(rows: int, columns: int) -> bytes:
    """Return the header of format 1.0 of https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html."""
    entries = {"descr": "<f4", "fortran_order": False, "shape": (rows, columns)}
    start = b"\x93NUMPY\x01\x00" + struct.pack("<H", HEADER - 10)
    return start + repr(entries).encode().ljust(HEADER - len(start) - 1) + b"\n"
