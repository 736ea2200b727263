"""The C library under the cffi backend: how it is loaded, and Python's buffers as its arrays. No NumPy needed.

cffi's API mode is used where that was built for this Python, or else its ABI mode over the same library.
"""

from __future__ import annotations

import functools
import math
import sys
from typing import Any

from squeezeops import _library
from squeezeops.backends._scalars import array_kind, own_view

Shape = tuple[int, ...]


def _load() -> tuple[Any, Any, str]:
    try:
        import squeezeops._cffi as _cffi

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
NULL = ffi.NULL
_VOID, _SIZES = ffi.typeof("void *"), ffi.typeof("intptr_t[]")
_ROOM = ffi.typeof(f"intptr_t[{lib.SQZ_MAX_RANK}]")

SQZ_OTHER = lib.SQZ_OTHER
# By format, which has the machine's byte order unless it says otherwise, and item size.
_ORDERS = ("", "@", "=", "<" if sys.byteorder == "little" else ">")
_NUMPY_DTYPES = {
    ("f", 4): lib.SQZ_F32,
    ("e", 2): lib.SQZ_F16,
    ("b", 1): lib.SQZ_S8,
    ("B", 1): lib.SQZ_U8,
    ("?", 1): lib.SQZ_BOOL,
} | {(letter, size): lib.SQZ_S32 if size == 4 else lib.SQZ_S64 for letter in "ilq" for size in (4, 8)}
# Python alone has no type for bool and float16 arrays: bytes and 16-bit integers stand for them. NumPy has both.
_OTHER_DTYPES = _NUMPY_DTYPES | {("B", 1): lib.SQZ_BYTE, ("H", 2): lib.SQZ_F16}
_NUMPY_DTYPES, _OTHER_DTYPES = (
    {(order + letter, size): dtype for (letter, size), dtype in table.items() for order in _ORDERS}
    for table in (_NUMPY_DTYPES, _OTHER_DTYPES)
)


@functools.lru_cache(maxsize=256)
def _c_text(text: str) -> Any:
    return ffi.new("char[]", text.encode())


@functools.lru_cache(maxsize=256)
def c_sizes(sizes: Shape) -> Any:
    return ffi.new(_SIZES, sizes)


@functools.lru_cache(maxsize=256)
def _type_of(name: str, format: str) -> Any:
    return ffi.new("char[]", f"{name} of format {format!r}".encode())


_NONE_TYPE = _c_text("NoneType")
NOT_GIVEN = (_NONE_TYPE, NULL, lib.SQZ_NONE, 0, NULL, NULL, 0)


def pointer(contiguous: Any) -> Any:
    """Return a ``void *`` to the memory of a buffer. It stays there as long as a memoryview or the like is kept."""
    # What from_buffer returns is not kept itself: before 3.13, Python crashes when it frees that in a cycle of garbage,
    # such as that of an exception, together with the memoryview behind it.
    return ffi.cast(_VOID, ffi.from_buffer(contiguous))


def address(contiguous: Any) -> int:
    """Return where the memory of a buffer begins."""
    return int(ffi.cast("uintptr_t", ffi.from_buffer(contiguous)))


def describe(value: Any, keep: list[Any], is_result: bool = False) -> tuple[Any, ...]:
    """Return the fields of an sqz_array, which point to what is in `keep` and in the fields themselves."""
    if value is None:
        return NOT_GIVEN
    numpy = sys.modules.get("numpy")
    of_numpy = isinstance(value, getattr(numpy, "ndarray", ()))
    try:
        if not of_numpy and isinstance(value, getattr(numpy, "generic", ())):
            raise TypeError  # a scalar has a buffer, but is no array
        # An array itself describes its own memory; that of a subclass may have a `__buffer__` of other memory.
        own = own_view(value) if of_numpy and type(value) is not numpy.ndarray else value  # type: ignore[union-attr]
        view: Any = memoryview(own)
    except (TypeError, ValueError, BufferError):  # NumPy cannot describe some dtypes to others
        return (_c_text(array_kind(value)), NULL, lib.SQZ_OTHER, 0, NULL, NULL, 0)
    keep.append(view)
    shape, format = view.shape, view.format
    name = NULL
    if of_numpy:
        dtype = _NUMPY_DTYPES.get((format, view.itemsize), SQZ_OTHER)
        if dtype == SQZ_OTHER:
            name = _c_text(array_kind(value))
    else:
        dtype = _OTHER_DTYPES.get((format, view.itemsize), SQZ_OTHER)
        name = _type_of(type(value).__name__, format)
    strides = NULL
    if view.c_contiguous:
        data = pointer(view)
    elif of_numpy:
        data, strides = ffi.cast("void *", own.__array_interface__["data"][0]), c_sizes(view.strides)
    elif is_result:  # to be refused
        strides = c_sizes(view.strides)
        data = ffi.cast("void *", strides)
    else:
        copy = view.tobytes()  # cffi cannot tell where it begins
        keep.append(copy)
        data = pointer(copy)
    return (name, data, dtype, len(shape), c_sizes(shape), strides, view.readonly)


def describe_result(value: Any, keep: list[Any]) -> tuple[Any, ...]:
    """Return the fields of an sqz_array that is written to."""
    if value is not None:
        return describe(value, keep, True)
    sizes = ffi.new(_ROOM)  # for the shape
    keep.append(sizes)
    return (_NONE_TYPE, NULL, lib.SQZ_NONE, lib.SQZ_MAX_RANK, sizes, NULL, 0)


def _no_memory(op: str, shape: Shape) -> Exception:
    error = MemoryError(f"{op}: expected memory for a result of shape {shape}, got none")
    error.argument = None  # type: ignore[attr-defined]
    return error


def allocate(op: str, shape: Shape, dtype: str = "float32") -> Any:
    """Return a memoryview of zeros of float32 or uint8, which needs no NumPy."""
    letter, itemsize = ("f", 4) if dtype == "float32" else ("B", 1)
    size = itemsize * math.prod(shape)
    if size == 0:  # memoryview.cast knows no empty shapes
        try:
            import ctypes
        except ModuleNotFoundError:
            wanted = f"{op}: expected ctypes for a result of shape {shape}"
            raise ImportError(f"{wanted}, got a Python without it: give NumPy arrays") from None
        nothing: Any = ctypes.c_float if dtype == "float32" else ctypes.c_uint8
        for n in reversed(shape):
            nothing = nothing * n
        return memoryview(nothing())
    try:
        whole: Any = memoryview(bytearray(size))
    except (MemoryError, OverflowError):
        raise _no_memory(op, shape) from None
    return whole.cast(letter, shape)


def empty(op: str, shape: Shape, dtype: str, of_numpy: bool) -> Any:
    """Make room for a result."""
    if not of_numpy:
        return allocate(op, shape, dtype)
    try:
        return sys.modules["numpy"].empty(shape, dtype)
    except (MemoryError, ValueError):
        raise _no_memory(op, shape) from None
