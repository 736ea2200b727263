"""Storage formats: packed weights, int8 embedding tables, and the memory that they lie in.

The model, the converter and the backends share this module. The formats are the same in memory and in a file, for
every backend and machine. Importing it does not import NumPy; the functions that take arrays do.

* **Packed weight.** Panels of 16 output channels, filled up with zeros, little-endian, one group after the other.
  float32 and float16: for each input channel of the group, 16 values. int8: for each panel 16 int32, the sums of its
  weights times -128; 16 float32, the scales; then, for each four input channels, 16 times four bytes.
  `csrc/kernels/pwconv` has the same layouts.
* **int8 embedding table.** int8, (V, C + 4): each row ends with its scale, a float32 in four bytes, so that a row is
  read from one place.
* **Memory.** Packed weights start at multiples of 64 bytes, a cache line. `Memory` puts those of a model side by side,
  in huge pages.
"""

from __future__ import annotations

import mmap
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "INT8",
    "LINE",
    "MOST_ROTATED",
    "PANEL",
    "ROTATED",
    "SCALE_BYTES",
    "STORAGE",
    "SUM_BYTES",
    "TARGETS",
    "Memory",
    "address",
    "pack",
    "pack_table",
    "packed_size",
    "padded",
    "pages",
    "rotated",
    "unpack",
]

STORAGE = ("float32", "float16", "int8", "int8_rotated")  # dtypes of a packed weight
INT8 = STORAGE[2:]  # those whose input is quantised
TARGETS = STORAGE[:3]  # dtypes of a model
ROTATED = 128  # successive channels that are rotated together
MOST_ROTATED = 8192  # channels of a group that can be rotated
SCALE_BYTES = 4  # the float32 at the end of a row of an int8 embedding table
LINE = 64  # bytes of a cache line: the alignment of a packed weight
PANEL = 16  # output channels
SUM_BYTES = 4 * PANEL  # the sums at the beginning of an int8 panel, before its scales
HALF_MAX = 65504.0  # the largest float16
CHUNK = 2**26  # bytes of address space that `Memory` asks for at a time; untouched pages take no memory
_FLOATS = {"float32": "<f4", "float16": "<f2"}


def padded(size: int) -> int:
    """Return `size`, rounded up to a multiple of `LINE`.

    Examples
    --------
    >>> padded(65)
    128
    """
    return -(-size // LINE) * LINE


def packed_size(groups: int, c_in: int, c_out: int, dtype: str) -> int:
    """Return the size of a packed weight in bytes.

    Parameters
    ----------
    groups, c_in, c_out : int
        Groups, input and output channels of the convolution.
    dtype : {"float32", "float16", "int8", "int8_rotated"}

    Examples
    --------
    >>> packed_size(1, 3, 17, "float32")  # two panels of three times 16 floats
    384
    """
    depth, panels = c_in // groups, groups * -(-(c_out // groups) // PANEL)
    if dtype in INT8:
        return panels * (128 + 64 * -(-depth // 4))
    return panels * depth * {"float32": 64, "float16": 32}[dtype]


def pack(weight: NDArray[Any], scales: NDArray[np.float32] | None, dtype: str) -> NDArray[np.uint8]:
    """Pack the weight of a convolution.

    Parameters
    ----------
    weight : ndarray, (groups, C_out / groups, C_in / groups)
        Stored values: floats, or integers from -127 to 127 for int8; rotated for "int8_rotated".
    scales : ndarray of float32, (C_out,), or None
        The scale of each output channel; for int8 alone.
    dtype : {"float32", "float16", "int8", "int8_rotated"}

    Returns
    -------
    ndarray of uint8, (packed_size,)
        At an address that is a multiple of `LINE`.

    Examples
    --------
    >>> import numpy as np
    >>> pack(np.ones((1, 17, 3)), None, "float32").shape
    (384,)
    """
    import numpy as np

    groups, n, k = weight.shape
    if dtype not in INT8:
        return _aligned(np.ascontiguousarray(_by_panel(weight.astype(_FLOATS[dtype]), k).swapaxes(2, 3)))
    steps = -(-k // 4)
    panels = _by_panel(weight.astype(np.int8), 4 * steps)
    packed = np.zeros((*panels.shape[:2], 128 + 64 * steps), np.uint8)
    packed[..., :64] = (panels.sum(axis=-1, dtype=np.int32) * np.int32(-128)).astype("<i4").view("u1")
    assert scales is not None
    packed[..., 64:128] = _by_panel(scales.reshape(groups, n, 1).astype("<f4"), 1)[..., 0].view("u1")
    by_step = panels.reshape(*panels.shape[:3], steps, 4).swapaxes(2, 3)
    packed[..., 128:] = by_step.reshape(*panels.shape[:2], 64 * steps).view("u1")
    return _aligned(packed)


def unpack(packed: Any, c_in: int, c_out: int, groups: int, dtype: str) -> tuple[NDArray[Any], NDArray[np.float32]]:
    """Undo `pack`.

    Parameters
    ----------
    packed : buffer of bytes
        Of `packed_size` bytes.
    c_in, c_out, groups : int
    dtype : {"float32", "float16", "int8", "int8_rotated"}

    Returns
    -------
    weight : ndarray, (groups, C_out / groups, C_in / groups)
        The stored values.
    scales : ndarray of float32, (C_out,)
        Empty unless `dtype` is in `INT8`.

    Examples
    --------
    >>> import numpy as np
    >>> weight, scales = unpack(pack(np.ones((1, 2, 3)), None, "float16"), 3, 2, 1, "float16")
    >>> weight.tolist(), scales.size
    ([[[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]], 0)
    """
    import numpy as np

    n, k = c_out // groups, c_in // groups
    panels, data = -(-n // PANEL), np.frombuffer(packed, np.uint8)
    if dtype not in INT8:
        values = data.view(_FLOATS[dtype]).reshape(groups, panels, k, PANEL).swapaxes(2, 3)
        return np.ascontiguousarray(values.reshape(groups, panels * PANEL, k)[:, :n]), np.empty(0, np.float32)
    steps = -(-k // 4)
    by_panel = data.reshape(groups, panels, 128 + 64 * steps)
    lanes = np.ascontiguousarray(by_panel[..., 64:128]).view("<f4").reshape(groups, panels * PANEL)
    scales = np.ascontiguousarray(lanes[:, :n].reshape(c_out), np.float32)
    by_step = by_panel[..., 128:].view(np.int8).reshape(groups, panels, steps, PANEL, 4).swapaxes(2, 3)
    return np.ascontiguousarray(by_step.reshape(groups, panels * PANEL, 4 * steps)[:, :n, :k]), scales


def rotated(x: NDArray[Any]) -> NDArray[Any]:
    """Multiply each `ROTATED` successive channels by the Hadamard matrix, as `squeezeops.quantize_rows` can.

    Twice is a multiplication by `ROTATED`.

    Parameters
    ----------
    x : ndarray of float32 or float64, (..., C)
        C is a multiple of `ROTATED`.

    Returns
    -------
    ndarray of the same dtype and shape

    Examples
    --------
    >>> import numpy as np
    >>> x = np.arange(128.0)
    >>> (rotated(rotated(x)) == 128 * x).all()
    np.True_
    """
    import numpy as np

    with np.errstate(all="ignore"):  # NaN and infinity are values like others
        for h in (1, 2, 4, 8, 16, 32, 64):
            a, b = x.reshape(-1, 2, h).swapaxes(0, 1)
            x = np.stack((a + b, a - b), axis=1).reshape(x.shape)
    return x


def _by_panel(weight: NDArray[Any], depth: int) -> NDArray[Any]:
    """Return (groups, C_out / groups, C_in / groups) as (groups, panels, 16, depth), filled up with zeros."""
    import numpy as np

    groups, n, k = weight.shape
    panels = -(-n // PANEL)
    filled = np.zeros((groups, panels * PANEL, depth), weight.dtype)
    filled[:, :n, :k] = weight
    return filled.reshape(groups, panels, PANEL, depth)


def _aligned(array: NDArray[Any]) -> NDArray[np.uint8]:
    """Copy the bytes of an array to an address that is a multiple of `LINE`."""
    import numpy as np

    room = np.empty(array.nbytes + LINE, np.uint8)
    start = -address(room) % LINE
    place = room[start : start + array.nbytes]
    place[...] = array.reshape(-1).view(np.uint8)
    return place


def address(buffer: Any) -> int:
    """Return the address of a buffer's first byte; 0 for an empty one."""
    import numpy as np

    array = np.frombuffer(buffer, np.uint8) if memoryview(buffer).nbytes else None
    return 0 if array is None else int(array.__array_interface__["data"][0])


def pack_table(values: NDArray[np.uint8], scales: NDArray[np.float32], channels: int) -> NDArray[np.int8]:
    """Join quantised rows and their scales to an int8 embedding table, as `squeezeops.embedding` takes it.

    Parameters
    ----------
    values : ndarray of uint8, (V, W)
        Of `squeezeops.quantize_rows` with one group, where W is `channels` rounded up to a multiple of 4.
    scales : ndarray of float32, (V, 1)
    channels : int

    Returns
    -------
    ndarray of int8, (V, channels + SCALE_BYTES)

    Examples
    --------
    >>> import numpy as np
    >>> import squeezeops
    >>> rows = squeezeops.quantize_rows(np.array([[127, -64, 2]], np.float32))
    >>> pack_table(*rows, channels=3).tolist()
    [[127, -64, 2, 0, 0, -128, 63]]
    """
    import numpy as np

    table = np.empty((len(values), channels + SCALE_BYTES), np.int8)
    np.subtract(values[:, :channels], np.uint8(128), out=table[:, :channels].view(np.uint8))
    table[:, channels:] = np.ascontiguousarray(scales, "<f4").view(np.int8)
    return table


class Memory:
    """Memory for the packed weights of a model; see the parameter `memory` of `squeezeops.PointwiseConv`.

    A forward pass reads every weight once. In separate arrays, in pages of 4 KB, short inputs spend a twentieth of
    their time on TLB misses. Here weights lie side by side in the order in which they were packed, and the system is
    asked for huge pages.

    Each piece keeps the chunk alive that it lies in; the last piece frees it. Threads may share a Memory. Copies and
    unpickled objects start empty.

    Examples
    --------
    >>> import numpy as np
    >>> import squeezeops
    >>> memory = Memory()
    >>> conv = squeezeops.PointwiseConv(np.ones((2, 3), np.float32), memory=memory)
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rest = memoryview(b"")

    def take(self, size: int) -> memoryview:
        """Return `size` zero bytes at an address that is a multiple of `LINE`."""
        step = padded(size)
        with self._lock:
            if step > len(self._rest):
                self._rest = memoryview(pages(max(step, CHUNK)))
            piece, self._rest = self._rest[:size], self._rest[step:]
        return piece

    def __reduce__(self) -> tuple[Any, ...]:
        return Memory, ()


def pages(size: int) -> mmap.mmap:
    """Return `size` zero bytes of private memory, in huge pages where the system has them."""
    if not hasattr(mmap, "MAP_PRIVATE"):  # not a Unix
        return mmap.mmap(-1, size)
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):  # a kernel without huge pages
            memory.madvise(mmap.MADV_HUGEPAGE)
    return memory
