"""A copy of an array, which is what a LayerNorm would take if it were free."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np

from bench.inputs import floats


def version() -> str:
    return "the C library's"


def start(threads: int) -> None:
    if threads != 1:
        raise ImportError("memcpy has one thread")


def op(name: str, shape: Any, cold: bool) -> Callable[[], Any] | None:
    if name != "layer_norm":
        return None
    x = floats(shape["tokens"], shape["channels"])
    out = np.empty_like(x)
    # memmove is memcpy where the arrays are apart. What `data_as` returns keeps the array alive.
    target, source = (array.ctypes.data_as(ctypes.c_void_p) for array in (out, x))
    copy, size = ctypes.memmove, x.nbytes

    def run() -> Any:
        copy(target, source, size)
        return out

    return run
