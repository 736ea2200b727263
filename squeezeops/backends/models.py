"""Models in the C library, for the compiled backends: the forward pass without Python between its operations.

`ctypes` calls the public C interface (docs/c-library.md), which does the same operations as the model in Python. Of the
arguments of a run only the sizes of results are checked here, which the library cannot see; it checks the others. If
any is wrong, `CompiledModel.run` returns False, and the model in Python raises its error. Without `ctypes` the model in
Python runs.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from functools import cache
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from squeezeops._library import get_library
from squeezeops.backends._scalars import own_view

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["CompiledModel"]

_DTYPES = {"float32": 1, "float16": 2, "int8": 3, "uint8": 5}  # sqz_dtype


@cache
def _interface() -> Any:
    """Return what calling the library needs. None: this Python was built without libffi and has no ctypes."""
    try:
        import ctypes
        from ctypes import POINTER, c_char_p, c_int32, c_int64, c_size_t, c_uint64, c_void_p
    except ModuleNotFoundError:
        return None

    class Tensor(ctypes.Structure):
        """sqz_model_tensor."""

        _fields_ = [
            ("name", c_char_p),
            ("dtype", c_int32),
            ("rank", c_int32),
            ("shape", c_int64 * 2),
            ("data", c_void_p),
        ]

    class Info(ctypes.Structure):
        """sqz_model_info."""

        _fields_ = [
            ("size", c_size_t),
            *((name, c_char_p) for name in ("task", "model_type", "dtype", "attention", "problem_type")),
            *((name, c_int32) for name in ("format", "normalize")),
            *((name, c_int64) for name in ("vocab_size", "types", "max_tokens", "hidden_size", "layers", "labels")),
            *((name, c_int64) for name in ("pooled_size", "logits_size", "logits_per_token", "embedding_size")),
        ]

    class RunArgs(ctypes.Structure):
        """sqz_model_run_args."""

        _fields_ = [
            *(("size", c_size_t), ("model", c_uint64), ("batch", c_int64), ("length", c_int64)),
            *((name, c_void_p) for name in ("offsets", "ids", "type_ids", "mask", "logits_mask")),
            ("unpooled", c_int64),
            *((name, c_void_p) for name in ("hidden", "all_hidden", "pooled", "logits", "embeddings", "workspace")),
            ("workspace_size", c_size_t),
        ]

    library = ctypes.CDLL(get_library())  # in the process already: the backends have loaded it
    library.sqz_model_open_tensors.argtypes = [c_char_p, c_char_p, c_char_p, c_int64, c_void_p, POINTER(c_uint64)]
    library.sqz_model_get_info.argtypes = [c_uint64, c_void_p]
    library.sqz_model_run.argtypes = [c_void_p]
    library.sqz_model_close.argtypes = [c_uint64]
    return SimpleNamespace(
        Tensor=Tensor,
        Info=Info,
        RunArgs=RunArgs,
        info_size=ctypes.sizeof(Info),
        run_size=ctypes.sizeof(RunArgs),
        library=library,
        byref=ctypes.byref,
        handle=c_uint64,
    )


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
        self._interface: Any = None
        self._handle: int | None = None  # 0: the library refused, or cannot be called
        self._tensors: Any = None  # what the library uses in place
        self._widths: dict[str, int] = {}  # of a row of each result
        self._of_tokens: tuple[str, ...] = ("hidden",)  # those that have a row per token

    def _open(self) -> int:
        with self._lock:
            if self._handle is None:
                self._interface = _interface()
                self._handle = self._open_tensors(self._interface) if self._interface else 0
        return self._handle

    def _open_tensors(self, c: Any) -> int:
        config, attention, task, given = self._describe()
        tensors = {name: own_view(array) for name, array in given.items()}
        if not all(array.flags.c_contiguous for array in tensors.values()):
            return 0
        rows = (c.Tensor * len(tensors))()
        for row, (name, array) in zip(rows, tensors.items(), strict=True):
            row.name, row.dtype, row.rank = name.encode(), _DTYPES[array.dtype.name], array.ndim
            row.shape[: array.ndim] = array.shape
            row.data = _address(array)
        handle, texts = c.handle(), (config.encode(), attention.encode(), task.encode())
        self._tensors = tensors
        if c.library.sqz_model_open_tensors(*texts, len(rows), rows, c.byref(handle)):
            return 0
        info = c.Info(c.info_size)
        c.library.sqz_model_get_info(handle, c.byref(info))
        self._widths = {"hidden": info.hidden_size, "pooled": info.pooled_size, "logits": info.logits_size}
        self._of_tokens = ("hidden", "logits") if info.logits_per_token else ("hidden",)
        return int(handle.value)

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
        c, (batch, length) = self._interface, ids.shape
        args = c.RunArgs(c.run_size, handle, batch, length, None, *map(_address, (ids, types, mask, logits_mask)))
        for name, array in results.items():
            rows = batch * length if name in self._of_tokens else batch
            if name == "logits" and logits_mask is not None:
                rows = int(logits_mask.sum())
            if array.size != rows * self._widths[name]:
                return False
            setattr(args, name, _address(array))
        return not c.library.sqz_model_run(c.byref(args))

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            self._interface.library.sqz_model_close(self._handle)

    def __reduce__(self) -> tuple[Any, ...]:
        return CompiledModel, (self._describe,)  # a handle is good in its process alone
