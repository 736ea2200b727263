"""A copy of an array, which is what a LayerNorm would take if it were free."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np

from bench.inputs import floats

FORMS = ()


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
    target, source, size = out.ctypes.data, x.ctypes.data, x.nbytes
    copy = ctypes.memmove  # memcpy by another name: the arrays are apart

    def run() -> Any:
        copy(target, source, size)
        return out

    return run
