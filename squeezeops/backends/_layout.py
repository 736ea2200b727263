"""Packed weights as NumPy arrays; `_packed` says what they are as bytes."""

from __future__ import annotations

import numpy as np

from squeezeops.backends._packed import LINE

DTYPES = {"float32": "<f4", "float16": "<f2"}


def _by_panel(weight: np.ndarray, depth: int) -> np.ndarray:
    """(groups, C_out / groups, C_in / groups) as (groups, panels, 16, depth), filled up with zeros."""
    groups, n, k = weight.shape
    panels = -(-n // 16)
    padded = np.zeros((groups, panels * 16, depth), weight.dtype)
    padded[:, :n, :k] = weight
    return padded.reshape(groups, panels, 16, depth)


def pack(weight: np.ndarray, scales: np.ndarray | None, dtype: str) -> np.ndarray:
    """Pack a weight (groups, C_out / groups, C_in / groups) of stored values, and for int8 scales (C_out,).

    The result is of uint8, at an address that is a multiple of 64.
    """
    if dtype != "int8":
        panels = _by_panel(weight.astype(DTYPES[dtype]), weight.shape[2])
        return _aligned(np.ascontiguousarray(panels.swapaxes(2, 3)))
    groups, n, k = weight.shape
    steps = -(-k // 4)
    panels = _by_panel(weight.astype(np.int8), 4 * steps)
    packed = np.zeros((*panels.shape[:2], 128 + 64 * steps), np.uint8)
    packed[..., :64] = (panels.sum(axis=-1, dtype=np.int32) * np.int32(-128)).astype("<i4").view("u1")
    assert scales is not None
    packed[..., 64:128] = _by_panel(scales.reshape(groups, n, 1).astype("<f4"), 1)[..., 0].view("u1")
    by_step = panels.reshape(*panels.shape[:3], steps, 4).swapaxes(2, 3)
    packed[..., 128:] = by_step.reshape(*panels.shape[:2], 64 * steps).view("u1")
    return _aligned(packed)


def _aligned(array: np.ndarray) -> np.ndarray:
    """The bytes of an array, at an address that is a multiple of 64."""
    room = np.empty(array.nbytes + LINE, np.uint8)
    start = -room.__array_interface__["data"][0] % LINE
    place = room[start : start + array.nbytes]
    place[...] = array.reshape(-1).view(np.uint8)
    return place


def unpack(packed: memoryview, c_in: int, c_out: int, groups: int, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """A weight (groups, C_out / groups, C_in / groups) of stored values, and scales (C_out,), none but for int8."""
    n, k = c_out // groups, c_in // groups
    panels, data = -(-n // 16), np.frombuffer(packed, np.uint8)
    if dtype != "int8":
        values = data.view(DTYPES[dtype]).reshape(groups, panels, k, 16).swapaxes(2, 3)
        return np.ascontiguousarray(values.reshape(groups, panels * 16, k)[:, :n]), np.empty(0, np.float32)
    steps = -(-k // 4)
    by_panel = data.reshape(groups, panels, 128 + 64 * steps)
    lanes = np.ascontiguousarray(by_panel[..., 64:128]).view("<f4").reshape(groups, panels * 16)
    scales = np.ascontiguousarray(lanes[:, :n].reshape(c_out), np.float32)
    by_step = by_panel[..., 128:].view(np.int8).reshape(groups, panels, steps, 16, 4).swapaxes(2, 3)
    return np.ascontiguousarray(by_step.reshape(groups, panels * 16, 4 * steps)[:, :n, :k]), scales


def address(packed: memoryview) -> int:
    """Where the bytes lie."""
    return int(np.frombuffer(packed, np.uint8).__array_interface__["data"][0]) if packed.nbytes else 0
