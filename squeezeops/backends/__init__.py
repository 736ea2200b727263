"""Backends: objects with equal function names, loaded on first use.

`native` is the compiled kernels, `cffi` the same for whatever has the buffer protocol, `numpy` the specification,
`numba` kernels that are compiled on first use. The last two are kernels alone, and share the front of `_front`. Every
function takes its arguments by position; defaults, keywords, documentation and layouts are in `squeezeops.ops`.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

from squeezeops._library import archive, get_library

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# In order of preference, each with the advice given when it is asked for and is not there.
HOW_TO_GET = {
    "native": "install a wheel, or build squeezeops from source with CMake and a C++17 compiler",
    "cffi": "install a wheel, or build squeezeops from source with CMake and a C++17 compiler, and then "
    "pip install 'squeezeops[cffi]'",
    "numpy": "it is always there",
    "numba": "pip install 'squeezeops[numba]'",
}

_loaded: dict[str, Backend] = {}


class Backend(Protocol):
    """A backend: the functions of `_front.Front`, whose arguments are those of the ops, in order."""

    __name__: str
    pack_pointwise_conv: Callable[..., Any]
    use_packed_pointwise_conv: Callable[..., Any]
    packed_form: Callable[..., Any]
    run_pointwise_conv: Callable[..., Any]
    run_pointwise_convs: Callable[..., tuple[NDArray[np.float32], ...]]
    quantize_rows: Callable[..., tuple[Any, Any]]
    set_num_threads: Callable[[int], None]
    get_num_threads: Callable[[], int]
    cpu_info: Callable[[], dict[str, Any]]

    def __getattr__(self, name: str, /) -> Callable[..., NDArray[np.float32]]: ...  # any other op


def _package() -> str:
    return os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def _native_is_built() -> bool:
    """Whether the package was built with its extension, be it importable or not.

    A file built for another Python counts too: using NumPy instead would be the silent fallback that must not happen.
    """
    if archive():
        return False
    if any(name.startswith("_native.") and name.endswith((".so", ".pyd")) for name in os.listdir(_package())):
        return True
    # An editable install may keep the extension elsewhere and serve it through an import hook.
    import importlib.util

    return importlib.util.find_spec("squeezeops._native") is not None


def _native_is_left_out() -> bool:
    """Whether the package was built without its extension on purpose: setup.py then leaves this file in it.

    With neither the file nor the extension it is a source tree.
    """
    if archive():
        from importlib.resources import files

        return files("squeezeops").joinpath("_pure").is_file()
    return os.path.exists(os.path.join(_package(), "_pure"))


def _cffi_is_there() -> bool:
    """Whether the package was built with the C library and cffi is installed."""
    import importlib.util

    try:
        get_library()
    except FileNotFoundError:
        return False
    return importlib.util.find_spec("_cffi_backend") is not None


def _numba_is_installed() -> bool:
    """Whether there is a Numba to import, which takes long and is done when this backend is asked for."""
    import importlib.util

    return importlib.util.find_spec("numba") is not None


def _in_subinterpreter() -> bool:
    for module in ("_interpreters", "_xxsubinterpreters"):  # of CPython, from 3.13 on and before
        with suppress(ImportError):
            interpreters = importlib.import_module(module)
            return bool(interpreters.get_current() != interpreters.get_main())
    return False


def is_there(name: str) -> bool:
    """Whether this installation has a backend of HOW_TO_GET."""
    looks = {"native": _native_is_built, "cffi": _cffi_is_there, "numba": _numba_is_installed}
    return name not in looks or looks[name]()


def available() -> list[str]:
    """Names of the backends that this installation has, best first."""
    return list(filter(is_there, HOW_TO_GET))


def load(name: str, argument: str = "name") -> Backend:
    """Return the backend `name`, imported on first use."""
    try:
        return _loaded[name]
    except (KeyError, TypeError):
        pass
    if not isinstance(name, str) or name not in HOW_TO_GET or not is_there(name):
        from squeezeops.backends._scalars import error

        expected = "one of " + ", ".join(map(repr, available()))
        known = isinstance(name, str) and name in HOW_TO_GET
        unpack = f"unpack {archive()}, from which no library can be loaded" if archive() and name != "numba" else ""
        advice = f" (to get it: {unpack or HOW_TO_GET[name]})" if known else ""
        raise error(ValueError, "backend", argument, expected, f"{name!r}{advice}")
    try:
        if name == "numba" and _in_subinterpreter():  # Numba would wait for a lock forever
            raise ImportError("numba: expected the main interpreter, got a subinterpreter (backend 'cffi' works there)")
        module: Any = importlib.import_module("." + name, __name__)
    except ImportError as reason:
        raise ImportError(f"backend: {argument}: {name!r} was built but cannot be loaded: {reason}") from reason
    if name in ("numpy", "numba"):
        from squeezeops.backends._front import Front

        module = Front(module)
    _loaded[name] = module
    return _loaded[name]


def load_first() -> Backend:
    """Return the best backend that loads, to ask it about the processor; not to compute with."""
    for name in available():
        with suppress(ImportError):  # built for another Python
            return load(name)
    return load("numpy")


def load_default() -> Backend:
    """Return the backend that SQUEEZEOPS_BACKEND names, else the best one that was built."""
    name = os.environ.get("SQUEEZEOPS_BACKEND")
    if name:
        return load(name, "SQUEEZEOPS_BACKEND")
    best = next(filter(is_there, HOW_TO_GET))  # and no look at the others, which takes time
    if best != "native" and not _native_is_left_out():
        if packed := archive():
            import warnings

            warnings.warn(
                f"backend: expected a folder, got {packed}: an archive's compiled kernels cannot be loaded, so the "
                "slower NumPy backend runs (unpack it, or set SQUEEZEOPS_BACKEND=numpy to silence this)",
                RuntimeWarning,
                stacklevel=2,
            )
            return load(best)
        raise ImportError(
            f"backend: expected an installed package, got a source tree without compiled kernels, {_package()}: "
            "install it with pip and start Python elsewhere, or choose the slower backend by SQUEEZEOPS_BACKEND=numpy"
        )
    return load(best)
