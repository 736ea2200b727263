"""Backends: modules with equal function names, loaded on first use.

`numpy` is the specification, `native` the compiled kernels, `cffi` the same for whatever has the buffer protocol. Every
function takes its arguments by position; defaults, keywords, documentation and layout changes live in `squeezeops.ops`.
"""

from __future__ import annotations

import importlib
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
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
    """What a backend module defines; arrays are checked there, so the types here are those after the checks."""

    __name__: str

    def pointwise_conv(
        self, x: Any, weight: Any, bias: Any, groups: int, activation: str | None, residual: Any, out: Any, /
    ) -> NDArray[Any]: ...
    def pack_pointwise_conv(self, weight: Any, bias: Any, groups: int, dtype: str, memory: Any, /) -> Any: ...
    def use_packed_pointwise_conv(
        self, packed: memoryview, bias: Any, c_in: int, c_out: int, groups: int, dtype: str, /
    ) -> Any: ...
    def packed_form(self, handle: Any, /) -> Any: ...
    def run_pointwise_conv(
        self,
        handle: Any,
        x: Any,
        x_scales: Any,
        activation: str | None,
        residual: Any,
        quantize_groups: int | None,
        out: Any,
        out_scales: Any,
        /,
    ) -> Any: ...
    def run_pointwise_convs(self, handles: Any, x: Any, x_scales: Any, outs: Any, /) -> tuple[NDArray[Any], ...]: ...
    def quantize_rows(self, x: Any, groups: int, values: Any, scales: Any, /) -> tuple[NDArray[Any], NDArray[Any]]: ...
    def layer_norm(self, x: Any, weight: Any, bias: Any, eps: float, residual: Any, out: Any, /) -> NDArray[Any]: ...
    def l2_normalize(self, x: Any, eps: float, out: Any, /) -> NDArray[Any]: ...
    def softmax(self, x: Any, mask: Any, scale: float, fully_masked: str, out: Any, /) -> NDArray[Any]: ...
    def gelu(self, x: Any, approximate: str, out: Any, /) -> NDArray[Any]: ...
    def tanh(self, x: Any, out: Any, /) -> NDArray[Any]: ...
    def mean_pool(self, x: Any, mask: Any, out: Any, /) -> NDArray[Any]: ...
    def embedding(self, ids: Any, table: Any, out: Any, /) -> NDArray[Any]: ...
    def embedding_layer_norm(
        self,
        ids: Any,
        table: Any,
        position_ids: Any,
        position_table: Any,
        type_ids: Any,
        type_table: Any,
        weight: Any,
        bias: Any,
        eps: float,
        out: Any,
        /,
    ) -> NDArray[Any]: ...
    def attention(
        self,
        q: Any,
        k: Any,
        v: Any,
        num_heads: int,
        cu_seqlens: Any,
        cu_seqlens_q: Any,
        cu_seqlens_k: Any,
        mask: Any,
        scale: float | None,
        fully_masked: str,
        out: Any,
        /,
    ) -> NDArray[Any]: ...
    def attention_scores(
        self, q: Any, k: Any, num_heads: int, mask: Any, scale: float | None, out: Any, /
    ) -> NDArray[Any]: ...
    def set_num_threads(self, n: int, /) -> None: ...
    def get_num_threads(self) -> int: ...
    def cpu_info(self) -> dict[str, Any]: ...


def _package() -> str:
    return os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def _native_is_built() -> bool:
    """Whether the package was built with its extension, be it importable or not.

    A file built for another Python counts too: using NumPy instead would be the silent fallback that must not happen.
    """
    if any(name.startswith("_native.") and name.endswith((".so", ".pyd")) for name in os.listdir(_package())):
        return True
    # An editable install may keep the extension elsewhere and serve it through an import hook.
    import importlib.util

    return importlib.util.find_spec("squeezeops._native") is not None


def _native_is_left_out() -> bool:
    """Whether the package was built without its extension on purpose: setup.py then leaves this file in it.

    With neither the file nor the extension it is a source tree.
    """
    return os.path.exists(os.path.join(_package(), "_pure"))


def _cffi_is_there() -> bool:
    """Whether the package was built with the C library and cffi is installed."""
    import importlib.util

    from squeezeops._library import get_library

    try:
        get_library()
    except FileNotFoundError:
        return False
    return importlib.util.find_spec("_cffi_backend") is not None


def _numba_is_installed() -> bool:
    """Whether there is a Numba to import, which takes long and is done when this backend is asked for."""
    import importlib.util

    return importlib.util.find_spec("numba") is not None


def is_there(name: str) -> bool:
    """Whether this installation has a backend of HOW_TO_GET."""
    looks = {"native": _native_is_built, "cffi": _cffi_is_there, "numba": _numba_is_installed}
    return name not in looks or looks[name]()


def available() -> list[str]:
    """Names of the backends that this installation has, best first."""
    return list(filter(is_there, HOW_TO_GET))


def load(name: str, argument: str = "name") -> Backend:
    """Return the backend module `name`, imported on first use."""
    try:
        return _loaded[name]
    except (KeyError, TypeError):
        pass
    if not isinstance(name, str) or name not in HOW_TO_GET or not is_there(name):
        expected = "one of " + ", ".join(map(repr, available()))
        advice = f" (to get it: {HOW_TO_GET[name]})" if isinstance(name, str) and name in HOW_TO_GET else ""
        raise ValueError(f"backend: {argument}: expected {expected}, got {name!r}{advice}")
    try:
        module: Any = importlib.import_module("." + name, __name__)
    except ImportError as error:
        raise ImportError(f"backend: {argument}: {name!r} was built but cannot be loaded: {error}") from error
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
        raise ImportError(
            f"backend: expected an installed package, got a source tree without compiled kernels, {_package()}: "
            "install it with pip and start Python elsewhere, or choose the slower backend by SQUEEZEOPS_BACKEND=numpy"
        )
    return load(best)
