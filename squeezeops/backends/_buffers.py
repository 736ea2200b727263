"""The C library under the cffi backend: how it is loaded, and what Python passes to it as buffers. No NumPy needed.

cffi's API mode is used where that was built for this Python, or else its ABI mode over the same library.
"""

from __future__ import annotations

import math
import sys
from typing import Any

from squeezeops import _library
from squeezeops.backends import _scalars as check

Shape = tuple[int, ...]


def _load() -> tuple[Any, Any, str]:
    try:
        from squeezeops import _cffi

        return _cffi.ffi, _cffi.lib, "API"
    except ImportError:
        import cffi

    ffi = cffi.FFI()
    try:
        with open(f"{_library.get_include()}/squeezeops/squeezeops.h", encoding="utf-8") as header:
            ffi.cdef(_library.declarations(header.read()))
        return ffi, ffi.dlopen(_library.get_library()), "ABI"
    except OSError as error:
        raise ImportError(str(error)) from error


ffi, lib, mode = _load()
_library.check_version(ffi.string(lib.sqz_version()).decode())


def raise_for(op: str, status: int) -> None:
    """Raise what a function of the library complains about, if it does."""
    if status != lib.SQZ_OK:
        message = f"{op}: {ffi.string(lib.sqz_error_message()).decode()}"
        raise (MemoryError if status == lib.SQZ_NO_MEMORY else ValueError)(message)


# What a format and an item size mean, and how C points to such elements.
KINDS = {
    ("f", 4): "float32",
    ("e", 2): "float16",
    ("H", 2): "uint16",
    ("?", 1): "bool",
    ("B", 1): "uint8",
    ("b", 1): "int8",
}
KINDS |= {(letter, size): f"int{8 * size}" for letter in "ilq" for size in (4, 8)}
# What Python alone has no type for, so that these formats may stand for it. (NumPy has both, and means what it says.)
STANDS_FOR = {"uint16": "float16", "uint8": "bool"}
POINTERS = {
    "float32": "float *",
    "float16": "uint16_t *",
    "bool": "uint8_t *",
    "uint8": "uint8_t *",
    "int8": "int8_t *",
}
NATIVE_ORDER = ("@", "=", "<" if sys.byteorder == "little" else ">")


def address(contiguous: Any) -> int:
    """Return where the memory of a buffer begins. It stays there as long as a memoryview or the like is kept."""
    # What from_buffer returns is not kept itself: before 3.13, Python crashes when it frees that in a cycle of garbage,
    # such as that of an exception, together with the memoryview behind it.
    return int(ffi.cast("uintptr_t", ffi.from_buffer(contiguous)))


def _view(value: Any) -> tuple[Any, str | None]:
    """The buffer of an argument, if it has one, and what is in it, if that is something to us."""
    if check.is_numpy(value, "generic"):  # a NumPy scalar has one, and is no array
        return None, None
    try:
        view = memoryview(value)
    except (TypeError, ValueError, BufferError):  # NumPy cannot describe some dtypes to others
        return None, None
    order, letter = view.format[:-1] or "@", view.format[-1:]
    kind = KINDS.get((letter, view.itemsize)) if order in NATIVE_ORDER else None
    return view, kind if kind is None or check.is_numpy(value, "ndarray") else STANDS_FOR.get(kind, kind)


class Array:
    """An array argument, of one of `kinds`. Its view keeps the memory where it is."""

    def __init__(self, op: str, name: str, value: Any, *kinds: str) -> None:
        view, kind = _view(value)
        self.of_numpy = check.is_numpy(value, "ndarray")
        if view is None or kind not in kinds:
            got = check.kind(value)
            got += "" if view is None or self.of_numpy else f" of format {view.format!r}"
            raise TypeError(f"{op}: {name}: expected an array of {' or '.join(kinds)}, got {got}")
        self.value, self.view, self.kind = value, view, kind
        self.shape: Shape = view.shape

    @property
    def pointer(self) -> Any:
        """The elements in C order and aligned, copied if they are not; valid as long as this object."""
        data: Any = self.view
        if not data.c_contiguous or address(data) % data.itemsize:
            data = self._copy = data.tobytes()
        return ffi.cast(POINTERS[self.kind], address(data))

    @property
    def span(self) -> tuple[int, int]:
        """Addresses of the first and after the last byte; equal if there are none or nobody tells."""
        if self.view.nbytes == 0:
            return 0, 0
        if self.view.c_contiguous:
            start = address(self.view)
            return start, start + self.view.nbytes
        if not self.of_numpy:
            return 0, 0  # it will be copied before anything is written
        start = end = self.value.__array_interface__["data"][0]
        for size, stride in zip(self.shape, self.view.strides, strict=True):
            last = (size - 1) * stride
            start, end = (start + last, end) if last < 0 else (start, end + last)
        return start, end + self.view.itemsize

    def overlaps(self, other: Array) -> bool:
        (start, end), (other_start, other_end) = self.span, other.span
        return start < other_end and other_start < end

    def is_exactly(self, other: Array) -> bool:
        """Whether the elements are the same, at the same places: when both are C-contiguous, strides follow."""
        contiguous = self.view.c_contiguous and other.view.c_contiguous
        return contiguous and self.shape == other.shape and self.span[0] == other.span[0]


def output(
    op: str,
    out: Any,
    shape: Shape,
    inputs: dict[str, Array | None],
    in_place: Array | None = None,
    kind: str = "float32",
) -> tuple[Any, Array]:
    """Check `out`, or allocate the result; return it, also as an Array.

    It may be the array `in_place` (argument x) itself; any other overlap is an error.
    """
    if out is None:
        of_numpy = any(given is not None and given.of_numpy for given in (in_place, *inputs.values()))
        return empty(op, shape, of_numpy, kind)
    y = Array(op, "out", out, kind if check.is_numpy(out, "ndarray") else STANDS_FOR.get(kind, kind))
    if y.shape != shape:
        raise ValueError(f"{op}: out: expected shape {shape}, got {y.shape}")
    if not y.view.c_contiguous:
        raise ValueError(f"{op}: out: expected a C-contiguous array, got strides {y.view.strides}")
    if address(y.view) % y.view.itemsize:
        raise ValueError(f"{op}: out: expected an aligned array, got an unaligned one")
    if y.view.readonly:
        raise ValueError(f"{op}: out: expected a writeable array, got a read-only one")
    if in_place is not None and not y.is_exactly(in_place) and y.overlaps(in_place):
        raise ValueError(f"{op}: out: expected x itself or memory apart from it, got a partial overlap with x")
    for name, given in inputs.items():
        if given is not None and y.overlaps(given):
            raise ValueError(f"{op}: out: expected memory apart from the inputs, got an overlap with {name}")
    return out, y


def empty(op: str, shape: Shape, of_numpy: bool, kind: str = "float32") -> tuple[Any, Array]:
    """Make room for a result, float32 or uint8; return it, also as an Array."""
    result = sys.modules["numpy"].empty(shape, kind) if of_numpy else allocate(op, shape, kind)
    return result, Array(op, "out", result, kind if of_numpy else STANDS_FOR.get(kind, kind))


def allocate(op: str, shape: Shape, kind: str = "float32") -> Any:
    """Return a memoryview of zeros of float32 or uint8, which needs no NumPy."""
    letter, itemsize = ("f", 4) if kind == "float32" else ("B", 1)
    size = itemsize * math.prod(shape)
    if size > sys.maxsize:  # bytearray has another exception for that
        raise MemoryError(f"{op}: expected memory for a result of shape {shape}, got none")
    if size == 0:  # memoryview.cast knows no empty shapes
        import ctypes

        nothing: Any = ctypes.c_float if kind == "float32" else ctypes.c_uint8
        for n in reversed(shape):
            nothing = nothing * n
        return memoryview(nothing())
    whole: Any = memoryview(bytearray(size))
    return whole.cast(letter, shape)


class Mask:
    """A mask that broadcasts to `shape`: its elements, with a full last axis, and the strides of the others."""

    def __init__(self, op: str, value: Any, shape: Shape, *kinds: str) -> None:
        self.given: Array | None = None
        self.pointer, self.kind = ffi.NULL, lib.SQZ_MASK_NONE
        self.shape: Shape = ()
        if value is None:
            return
        self.given = given = Array(op, "mask", value, *kinds)
        own = given.shape
        tail = shape[len(shape) - len(own) :]
        if len(own) > len(shape) or any(n not in (1, wanted) for n, wanted in zip(own, tail, strict=True)):
            raise ValueError(f"{op}: mask: expected a shape that broadcasts to {shape}, got {own}")
        self.kind = lib.SQZ_MASK_ADD if given.kind == "float32" else lib.SQZ_MASK_BOOL
        if own[-1:] == shape[-1:]:
            self.pointer, self.shape = given.pointer, own
        else:
            self._expand(given, (*own[:-1], shape[-1]))

    def _expand(self, given: Array, shape: Shape) -> None:
        """Repeat elements until the mask has this shape."""
        data = given.view.tobytes()
        block = given.view.itemsize  # bytes of what is repeated
        own = (1,) * (len(shape) - len(given.shape)) + given.shape
        for n, wanted in zip(reversed(own), reversed(shape), strict=True):
            if n != wanted:
                data = b"".join([data[i : i + block] * wanted for i in range(0, len(data), block or 1)])
            block *= wanted
        self._data = data
        self.pointer, self.shape = ffi.cast(POINTERS[given.kind], address(data)), shape

    def strides(self) -> list[int]:
        """In elements, of the last three axes before the last; 0 repeats."""
        strides, stride = [0, 0, 0], self.shape[-1] if self.shape else 0
        for i, n in enumerate(reversed(self.shape[:-1]), 1):
            strides[-i] = 0 if n == 1 else stride
            stride *= n
        return strides

    def row_stride(self, shape: Shape) -> int:
        """How far apart the rows for a matrix (..., n) are: 0 if there is one for all, else the mask is made full."""
        if self.given is None or math.prod(self.shape) == shape[-1]:
            return 0
        if self.shape != shape:
            self._expand(self.given, shape)
        return shape[-1]
