"""Memory for the packed weights of a model: one piece after the other, in large pages."""

from __future__ import annotations

import mmap
import threading
from contextlib import suppress
from typing import Any

__all__ = ["Memory"]

CHUNK = 2**26  # bytes of address space; what is not written to takes no memory
LINE = 64


class Memory:
    """Where the convolutions of a model put their packed weights.

    A forward pass reads every weight once. In arrays of their own, in pages of 4 KB, short inputs would spend a
    twentieth of their time on looking up the addresses. Here weights lie one after the other in the order in which they
    were packed, and the system is asked for large pages, which Linux gives to who asks.

    A piece keeps alive the chunk that it lies in, and the last piece frees it. Threads may share a Memory. A copy of it
    begins empty, and so does what is unpickled.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rest = memoryview(b"")

    def take(self, size: int) -> memoryview:
        """Return a piece of `size` bytes, zeros, at an address that is a multiple of 64."""
        padded = -(-size // LINE) * LINE
        with self._lock:
            if padded > len(self._rest):
                self._rest = memoryview(pages(max(padded, CHUNK)))
            piece, self._rest = self._rest[:size], self._rest[padded:]
        return piece

    def __reduce__(self) -> tuple[Any, ...]:
        return Memory, ()


def pages(size: int) -> mmap.mmap:
    """Return zeroed memory of this process alone, in large pages where there are any."""
    if not hasattr(mmap, "MAP_PRIVATE"):  # not a Unix
        return mmap.mmap(-1, size)
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):  # a kernel without them
            memory.madvise(mmap.MADV_HUGEPAGE)
    return memory
