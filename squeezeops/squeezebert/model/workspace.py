"""Scratch memory for the activations of a forward pass, reused by the next one."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from squeezeops import ops
from squeezeops.packing import padded, pages

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

__all__ = ["Activations", "Workspace", "Workspaces"]

STEP = 64  # rows by which a workspace grows
MOST_IDLE = os.cpu_count() or 1  # counted once: the system takes 10 us


class Activations(NamedTuple):
    """Arrays for n rows; C and F are hidden and intermediate size, G the groups of the output convolution."""

    x: Floats  # a layer's input, and its output, [n, C]
    q: Floats  # [n, C]
    k: Floats  # [n, C]
    v: Floats  # [n, C]
    context: Floats  # result of attention, [n, C]
    chosen: Floats  # rows of x, [n, C]
    wide: Floats  # [n, F]
    values: NDArray[np.uint8]  # `wide` quantised, each group padded to a multiple of 4, [n, F + ...]
    scales: Floats  # [n, G]

    def first(self, n: int) -> Activations:
        """Return the arrays of the first n rows."""
        parts: list[Any] = [array[:n] for array in self]
        return Activations(*parts)

    @property
    def quantized(self) -> ops.QuantizedRows:
        return ops.QuantizedRows(self.values, self.scales)


class Workspace:
    """The memory of one forward pass at a time. It grows to the largest pass so far."""

    def __init__(self, channels: int, intermediate: int, groups: int) -> None:
        floats = (*[channels] * 6, intermediate)
        bytes_wide = groups * -(-(intermediate // groups) // 4) * 4
        self._columns = [*[(np.float32, width) for width in floats], (np.uint8, bytes_wide), (np.float32, groups)]
        self._capacity = 0
        self._memory: Any = None
        self._arrays: Activations | None = None

    def rows(self, n: int) -> Activations:
        """Return uninitialised arrays for n rows. Untouched pages take no memory."""
        if self._arrays is None or len(self._arrays.x) != n:
            if n > self._capacity:
                capacity = -(-n // STEP) * STEP
                widths = [np.dtype(kind).itemsize * width for kind, width in self._columns]
                self._memory = pages(sum(padded(capacity * width) for width in widths))
                self._capacity = capacity  # only after the allocation has succeeded
            arrays, start = [], 0
            for kind, width in self._columns:
                array = np.frombuffer(self._memory, kind, n * width, start).reshape(n, width)
                arrays.append(array)
                start += padded(array.nbytes)
            self._arrays = Activations(*arrays)
        return self._arrays


class Workspaces:
    """The workspaces of a model: one for each forward pass in progress, kept for the next.

    Threads may share it: pop and append of a list are atomic, even without the GIL. A copy starts empty.
    """

    def __init__(self, channels: int, intermediate: int, groups: int) -> None:
        self._sizes = channels, intermediate, groups
        self._idle: list[Workspace] = []

    def take(self) -> Workspace:
        """Return a workspace for exclusive use until it is given back."""
        try:
            return self._idle.pop()
        except IndexError:
            return Workspace(*self._sizes)

    def give(self, workspace: Workspace) -> None:
        """Take a workspace back; keep at most one per CPU."""
        if len(self._idle) < MOST_IDLE:
            self._idle.append(workspace)

    def __reduce__(self) -> tuple[Any, ...]:
        return Workspaces, self._sizes
