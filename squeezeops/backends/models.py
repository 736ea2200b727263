"""Models in the C library, for the compiled backends: the forward pass without Python between its operations.

`ctypes` calls the public C interface (docs/c-library.md), which does the same operations as the model in Python. What
is wrong with the arguments of a run is not judged here: then `CompiledModel.run` returns nothing, and the model in
Python raises its error.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Mapping
from ctypes import POINTER, c_char_p, c_int32, c_int64, c_size_t, c_uint64, c_void_p
from typing import TYPE_CHECKING, Any

from squeezeops._library import get_library

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["CompiledModel"]

_DTYPES = {"float32": 1, "float16": 2, "int8": 3, "uint8": 5}  # sqz_dtype


class _Tensor(ctypes.Structure):
    """sqz_model_tensor."""

    _fields_ = [("name", c_char_p), ("dtype", c_int32), ("rank", c_int32), ("shape", c_int64 * 2), ("data", c_void_p)]


class _RunArgs(ctypes.Structure):
    """sqz_model_run_args."""

    _fields_ = [
        *(("size", c_size_t), ("model", c_uint64), ("batch", c_int64), ("length", c_int64)),
        *((name, c_void_p) for name in ("offsets", "ids", "type_ids", "mask", "logits_mask")),
        ("unpooled", c_int64),
        *((name, c_void_p) for name in ("hidden", "all_hidden", "pooled", "logits", "embeddings", "workspace")),
        ("workspace_size", c_size_t),
    ]


_SIZE = ctypes.sizeof(_RunArgs)
_library: Any = None


def _load() -> Any:
    """Return the library, which is in the process already: the backends have loaded it."""
    global _library
    if _library is None:
        library = ctypes.CDLL(get_library())
        library.sqz_model_open_tensors.argtypes = [c_char_p, c_char_p, c_char_p, c_int64, c_void_p, POINTER(c_uint64)]
        library.sqz_model_run.argtypes = [c_void_p]
        library.sqz_model_close.argtypes = [c_uint64]
        _library = library
    return _library


def _address(array: NDArray[Any] | None) -> int | None:
    return None if array is None else array.__array_interface__["data"][0]


class CompiledModel:
    """A model of the C library, opened at its first run. Threads may share it. Copies start anew.

    Parameters
    ----------
    describe : callable
        Returns the text of config.json, the arithmetic of attention, the task, and the tensors by their names in a
        converted file.
    """

    def __init__(self, describe: Callable[[], tuple[str, str, str, Mapping[str, NDArray[Any]]]]) -> None:
        self._describe = describe
        self._lock = threading.Lock()
        self._handle: int | None = None  # 0: the library refused
        self._tensors: Any = None  # what the library uses in place

    def _open(self) -> int:
        with self._lock:
            if self._handle is None:
                config, attention, task, tensors = self._describe()
                rows = (_Tensor * len(tensors))()
                for row, (name, array) in zip(rows, tensors.items(), strict=True):
                    row.name, row.dtype, row.rank = name.encode(), _DTYPES[array.dtype.name], array.ndim
                    row.shape[: array.ndim] = array.shape
                    row.data = _address(array)
                handle, texts = c_uint64(), (config.encode(), attention.encode(), task.encode())
                self._tensors = tensors
                status = _load().sqz_model_open_tensors(*texts, len(rows), rows, ctypes.byref(handle))
                self._handle = 0 if status else handle.value
        return self._handle

    def run(
        self,
        ids: NDArray[Any],
        types: NDArray[Any] | None,
        mask: NDArray[Any] | None,
        logits_mask: NDArray[Any] | None,
        results: Mapping[str, NDArray[Any]],
    ) -> bool:
        """Run a padded batch.

        Parameters
        ----------
        ids, types : ndarray of int64, (B, L)
        mask, logits_mask : ndarray of uint8, (B, L), or None
        results : mapping of str to ndarray
            Where the results go, by their names in sqz_model_run_args.

        Returns
        -------
        bool
            Whether it worked.
        """
        handle = self._handle or self._open()
        if not handle:
            return False
        batch, length = ids.shape
        args = _RunArgs(_SIZE, handle, batch, length, None, *map(_address, (ids, types, mask, logits_mask)))
        for name, array in results.items():
            setattr(args, name, _address(array))
        return not _library.sqz_model_run(ctypes.byref(args))

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            _library.sqz_model_close(self._handle)

    def __reduce__(self) -> tuple[Any, ...]:
        return CompiledModel, (self._describe,)  # a handle is good in its process alone
