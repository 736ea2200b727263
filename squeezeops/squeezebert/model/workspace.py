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
    Column = tuple[type, int]  # type and number of a row's elements

__all__ = ["Activations", "Workspace", "Workspaces"]

STEP = 64  # rows by which a workspace grows
MOST_IDLE = os.cpu_count() or 1  # counted once: the system takes 10 us


class Activations(NamedTuple):
    """Arrays for n rows; C and F are hidden and intermediate size.

    q, k and v are floats, or quantised with a group per head for attention in int8.
    """

    x: Floats  # a layer's input, and its output, [n, C]
    q: Floats | ops.QuantizedRows  # [n, C]
    k: Floats | ops.QuantizedRows  # [n, C]
    v: Floats | ops.QuantizedRows  # [n, C]
    context: Floats  # result of attention, [n, C]
    chosen: Floats  # rows of x, [n, C]
    attended: Floats  # result of the convolution after attention, [n, C]; in the place of q if that is floats
    wide: Floats  # [n, F]
    quantized: ops.QuantizedRows  # `wide`, for the groups of the output convolution

    def first(self, n: int) -> Activations:
        """Return the arrays of the first n rows."""
        parts: list[Any] = [
            ops.QuantizedRows(part.values[:n], part.scales[:n]) if isinstance(part, ops.QuantizedRows) else part[:n]
            for part in self
        ]
        return Activations(*parts)


class Workspace:
    """The memory of one forward pass at a time. It grows to the largest pass so far.

    Parameters
    ----------
    channels, intermediate : int
    groups : int
        Those of the output convolution.
    heads : int
        The number of heads if attention is in int8, else 0.
    """

    def __init__(self, channels: int, intermediate: int, groups: int, heads: int = 0) -> None:
        row, wide = floats(channels), floats(intermediate)
        self._parts = {"x": row, **dict.fromkeys("qkv", quantized(channels, heads) if heads else row)}
        self._parts |= {"context": row, "chosen": row, "wide": wide, "quantized": quantized(intermediate, groups)}
        if heads:
            self._parts["attended"] = row
        self._capacity = 0
        self._memory: Any = None
        self._arrays: Activations | None = None

    def rows(self, n: int) -> Activations:
        """Return uninitialised arrays for n rows. Untouched pages take no memory."""
        if self._arrays is None or len(self._arrays.x) != n:
            if n > self._capacity:
                capacity = -(-n // STEP) * STEP
                columns = [column for part in self._parts.values() for column in part]
                widths = [np.dtype(kind).itemsize * width for kind, width in columns]
                self._memory = pages(sum(padded(capacity * width) for width in widths))
                self._capacity = capacity  # only after the allocation has succeeded
            found: dict[str, Any] = {}
            start = 0
            for name, part in self._parts.items():
                arrays = []
                for kind, width in part:
                    array: NDArray[Any] = np.frombuffer(self._memory, kind, n * width, start).reshape(n, width)
                    arrays.append(array)
                    start += padded(array.nbytes)
                found[name] = arrays[0] if len(arrays) == 1 else ops.QuantizedRows(*arrays)
            self._arrays = Activations(**{"attended": found["q"], **found})
        return self._arrays


def floats(width: int) -> tuple[Column, ...]:
    return ((np.float32, width),)


def quantized(width: int, groups: int) -> tuple[Column, ...]:
    """Return the columns of the values and the scales of `squeezeops.QuantizedRows`."""
    return (np.uint8, groups * -(-(width // groups) // 4) * 4), (np.float32, groups)


class Workspaces:
    """The workspaces of a model: one for each forward pass in progress, kept for the next.

    Threads may share it: pop and append of a list are atomic, even without the GIL. A copy starts empty.
    """

    def __init__(self, channels: int, intermediate: int, groups: int, heads: int = 0) -> None:
        self._sizes = channels, intermediate, groups, heads
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
