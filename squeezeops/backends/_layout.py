"""Packed weights as NumPy arrays; `_packed` says what they are as bytes."""

from __future__ import annotations

import numpy as np

DTYPES = {"float32": "<f4", "float16": "<f2"}


def pack(weight: np.ndarray, dtype: str) -> np.ndarray:
    """Pack a weight (groups, C_out / groups, C_in / groups), already in what it is stored in; return uint8."""
    groups, n, k = weight.shape
    panels = -(-n // 16)
    padded = np.zeros((groups, panels * 16, k), DTYPES[dtype])
    padded[:, :n] = weight
    by_panel = padded.reshape(groups, panels, 16, k).transpose(0, 1, 3, 2)
    return np.ascontiguousarray(by_panel).reshape(-1).view(np.uint8)


def unpack(packed: memoryview, c_in: int, c_out: int, groups: int, dtype: str) -> np.ndarray:
    """A weight (groups, C_out / groups, C_in / groups), in what it is stored in."""
    n, k = c_out // groups, c_in // groups
    panels = -(-n // 16)
    by_panel = np.frombuffer(packed, DTYPES[dtype]) if packed.nbytes else np.empty(0, DTYPES[dtype])
    padded = by_panel.reshape(groups, panels, k, 16).transpose(0, 1, 3, 2).reshape(groups, panels * 16, k)
    return np.ascontiguousarray(padded[:, :n])


def address(packed: memoryview) -> int:
    """Where the bytes lie."""
    return int(np.frombuffer(packed, np.uint8).__array_interface__["data"][0]) if packed.nbytes else 0
