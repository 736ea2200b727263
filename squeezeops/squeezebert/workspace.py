"""Room for the activations of a forward pass, reused from one to the next."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from squeezeops import ops
from squeezeops.squeezebert.memory import pages

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

__all__ = ["Activations", "Workspace", "Workspaces"]

LINE = 64  # bytes
STEP = 64  # rows by which a workspace grows


class Activations(NamedTuple):
    """Arrays for n rows: hidden and intermediate size are C and F, the output convolution has G groups."""

    x: Floats  # a layer's input, and its output, [n, C]
    q: Floats  # [n, C]
    k: Floats  # [n, C]
    v: Floats  # [n, C]
    context: Floats  # what attention gives, [n, C]
    chosen: Floats  # rows of x, [n, C]
    wide: Floats  # [n, F]
    values: NDArray[np.uint8]  # those, quantised, with up to 3 bytes more a group, [n, F + ...]
    scales: Floats  # [n, G]

    def first(self, n: int) -> Activations:
        """Arrays for n rows at most as many, in the same memory."""
        parts: list[Any] = [array[:n] for array in self]
        return Activations(*parts)

    @property
    def quantized(self) -> ops.QuantizedRows:
        return ops.QuantizedRows(self.values, self.scales)


class Workspace:
    """The memory of one forward pass at a time, as large as the largest so far."""

    def __init__(self, channels: int, intermediate: int, groups: int) -> None:
        floats = (*[channels] * 6, intermediate)
        bytes_wide = groups * -(-(intermediate // groups) // 4) * 4
        self._columns = [*[(np.float32, width) for width in floats], (np.uint8, bytes_wide), (np.float32, groups)]
        self._capacity = 0
        self._memory: Any = None
        self._arrays: Activations | None = None

    def rows(self, n: int) -> Activations:
        """Arrays for n rows, which hold anything. What is not written to takes no memory."""
        if self._arrays is None or len(self._arrays.x) != n:
            if n > self._capacity:
                capacity = -(-n // STEP) * STEP
                widths = [np.dtype(kind).itemsize * width for kind, width in self._columns]
                self._memory = pages(sum(capacity * width + LINE for width in widths))
                self._capacity = capacity  # not before there is memory for it
            arrays, start = [], 0
            for kind, width in self._columns:
                array = np.frombuffer(self._memory, kind, n * width, start).reshape(n, width)
                arrays.append(array)
                start += -(-array.nbytes // LINE) * LINE
            self._arrays = Activations(*arrays)
        return self._arrays


class Workspaces:
    """The workspaces of a model: one for each forward pass under way, kept for the next.

    Threads may share it: a list's pop and append are atomic, without the GIL too. A copy begins empty.
    """

    def __init__(self, channels: int, intermediate: int, groups: int) -> None:
        self._sizes = channels, intermediate, groups
        self._idle: list[Workspace] = []

    def take(self) -> Workspace:
        """Return a workspace that nobody else has until it is given back."""
        try:
            return self._idle.pop()
        except IndexError:
            return Workspace(*self._sizes)

    def give(self, workspace: Workspace) -> None:
        """Take it back; there is no need to keep more than can run at a time."""
        if len(self._idle) < (os.cpu_count() or 1):
            self._idle.append(workspace)

    def __reduce__(self) -> tuple[Any, ...]:
        return Workspaces, self._sizes
