"""Decorators: `kernel` for functions that Python calls, `inline` and `part` for those that kernels call."""

import functools
import hashlib
import os
import pickle
from contextlib import suppress
from importlib.resources import files

import numpy as np
from numba import config, njit
from numba.core.caching import FunctionCache, IndexDataCacheFile
from numba.core.compiler_lock import global_compiler_lock

# A child forked while another thread compiles would wait forever for that thread's lock.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=global_compiler_lock.acquire,
        after_in_parent=global_compiler_lock.release,
        after_in_child=global_compiler_lock.release,
    )

# The exceptions of a cache file that is damaged, or that another version has written.
_DAMAGED = (EOFError, ValueError, pickle.UnpicklingError, AttributeError, ImportError, LookupError, TypeError)


def _digest_of_sources():
    """A hash of all files of this folder."""
    digest = hashlib.sha256()
    for path in sorted(files(__package__).iterdir(), key=lambda path: path.name):  # also in an archive
        if path.name.endswith(".py"):
            digest.update(path.read_bytes())
    return digest.hexdigest()


_SOURCES = _digest_of_sources()


class _CacheFile(IndexDataCacheFile):
    """The index and the code of a kernel. What the index promises of a file stands in the file, too.

    Two processes that save code for different types at the same time may choose one name for both files, so that the
    index leads from one's types to the other's code. A full disk may leave an old file under a new index.
    """

    def _promise(self, key):
        return self._version, self._source_stamp, key

    def save(self, key, data):
        super().save(key, (self._promise(key), self._dump(data)))

    def load(self, key):
        promise, data = super().load(key) or (None, b"")
        return pickle.loads(data) if promise == self._promise(key) else None


class _Cache(FunctionCache):
    """Numba's cache of compiled code, with three differences.

    Its key covers all files of this folder, as kernels call functions of other files; Numba's covers the kernel's own.
    Code that cannot be stored (a full disk) or loaded (a damaged file) is compiled again. And code is compared with
    the key, whatever other processes save.
    """

    def __init__(self, function):
        super().__init__(function)
        locator = self._impl.locator
        self._cache_file = _CacheFile(self._cache_path, self._impl.filename_base, locator.get_source_stamp())

    def _index_key(self, sig, codegen):
        return (*super()._index_key(sig, codegen), _SOURCES)

    def load_overload(self, sig, target_context):
        try:
            return super().load_overload(sig, target_context)
        except (OSError, *_DAMAGED):
            return None

    def save_overload(self, sig, data):
        with suppress(OSError):
            try:
                super().save_overload(sig, data)
            except _DAMAGED:
                self.flush()  # a damaged index is not overwritten
                super().save_overload(sig, data)


def _as_python(function):
    """Run a kernel as Python, without warnings of NaN or infinity, which are results."""

    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        with np.errstate(all="ignore"):
            function(*args, **kwargs)

    return wrapper


# IEEE rules. A function that is compiled for a caller inherits the caller's fastmath unless it says otherwise.
_IEEE = {"nogil": True, "error_model": "numpy", "fastmath": False, "no_cfunc_wrapper": True}


def kernel(function):
    """Compile a function on its first call, or load it from Numba's cache; without the GIL, by IEEE rules."""
    if config.DISABLE_JIT:
        return _as_python(function)
    try:
        dispatcher = njit(cache=True, **_IEEE)(function)
        dispatcher._cache = _Cache(function)
    except RuntimeError:  # without a writeable folder every process compiles for itself
        dispatcher = njit(**_IEEE)(function)
    return dispatcher


# `inline` is for the steps of loops, `part` for large or rarely called functions.
inline = njit(forceinline=True, no_cpython_wrapper=True, **_IEEE)
part = njit(no_cpython_wrapper=True, **_IEEE)
