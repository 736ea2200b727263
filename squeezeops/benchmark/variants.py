"""What can run an op here: each backend, and each instruction set that its compiled kernels can be held to."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Any

from squeezeops import backends, ops

if TYPE_CHECKING:
    from squeezeops.benchmark.cases import Function, Op

__all__ = [
    "Variant",
    "all_variants",
    "blas_threads",
    "chosen_isa",
    "compiled_library",
    "forced",
    "has_kernel",
    "isas_with",
    "using_threads",
]


def compiled_library() -> ModuleType | None:
    """Return the native extension; None if it is not built, or is for another Python."""
    try:
        from squeezeops import _native
    except ImportError:
        return None
    return _native  # type: ignore[no-any-return]


def chosen_isa() -> list[str]:
    """Return the ISAs of the kernels in use, best first. They set the peak for variants that have no ISA.

    There may be two, one for floats and one for int8; there are none without the extension.
    """
    library = compiled_library()
    if library is None:
        return []
    used = {row["isa"] for row in library.kernel_table() if row["in_use"]}
    return [isa for isa, _ in library.isas() if isa in used]


def isas_with(dtype: str, isas: Iterable[str]) -> list[str]:
    """Return those of `isas` that have kernels of their own for a dtype of the kernel table."""
    library = compiled_library()
    own = {row["isa"] for row in library.kernel_table() if row["dtype"] == dtype} if library else set()
    return [isa for isa in isas if isa in own]


@dataclass(frozen=True)
class Variant:
    """A backend, and the ISA that its kernels are held to; None if it has no compiled kernels."""

    backend: str
    isa: str | None = None

    @property
    def function(self) -> Function | None:
        """What is measured in the place of the public function, if anything."""
        return None

    def __str__(self) -> str:
        return self.backend if self.isa is None else f"{self.backend}-{self.isa}"

    @contextmanager
    def active(self) -> Iterator[None]:
        """Use this variant inside a ``with`` block."""
        with ops.backend(self.backend), forced(self.isa):
            yield

    def kernel(self) -> str:
        """Return what the last op of this thread ran: the symbol of a compiled kernel, or the name of the backend.

        Raises RuntimeError if a kernel of another ISA ran.
        """
        library = compiled_library()
        if self.isa is None or library is None:
            return self.backend
        symbol = str(library.last_kernel())
        if not symbol.endswith("_" + self.isa):
            raise RuntimeError(f"bench: expected a kernel of {self.isa} to run, got {symbol!r}")
        return symbol


@contextmanager
def forced(isa: str | None) -> Iterator[None]:
    """Hold the compiled kernels to an ISA; do nothing if there is none."""
    library = compiled_library()
    if isa is None or library is None:
        yield
        return
    before = library.isa_chosen()
    library.force_isa(isa)
    try:
        yield
    finally:
        library.force_isa(before)


@contextmanager
def using_threads(n: int) -> Iterator[None]:
    """Set the threads of the current backend, of the compiled kernels, since those measure the peaks, and of OpenBLAS.

    OpenBLAS multiplies for the backend "numpy". On its own it takes all CPUs, and then its threads and the pool of the
    peaks wait for each other.
    """
    library = compiled_library()
    setters = [(ops.get_num_threads(), ops.set_num_threads), *blas_threads()]
    if library:
        setters.append((library.get_num_threads(), library.set_num_threads))
    for _, set_threads in setters:
        set_threads(n)
    try:
        yield
    finally:
        for before, set_threads in setters:
            set_threads(before)


@cache
def _blas() -> tuple[Any, Any] | None:
    """Return the functions of NumPy's OpenBLAS that tell and set its threads; None without one that can be found."""
    import numpy as np  # loads it

    try:
        import ctypes  # which a Python without libffi lacks

        with open("/proc/self/maps", encoding="utf-8", errors="replace") as file:
            paths = {line.split(maxsplit=5)[-1].strip() for line in file if "openblas" in line}
    except (ModuleNotFoundError, OSError):
        return None
    folder = os.path.dirname(np.__file__)
    for path in sorted(paths, key=lambda path: not path.startswith(folder)):  # NumPy's own first, then SciPy's
        library = ctypes.CDLL(path)
        for prefix, suffix in itertools.product(("scipy_openblas", "openblas"), ("64_", "")):
            with suppress(AttributeError):
                return tuple(getattr(library, f"{prefix}_{verb}_num_threads{suffix}") for verb in ("get", "set"))
    return None


def blas_threads() -> list[tuple[int, Callable[[int], object]]]:
    """Return the number of threads of NumPy's OpenBLAS and the function that sets it; nothing without one."""
    found = _blas()
    return [(int(found[0]()), found[1])] if found else []


def all_variants(names: Iterable[str] | None = None) -> list[Variant]:
    """List the variants of this installation, preferred ones first; only those of the backends `names`, if given."""
    variants = []
    if names is None:
        names = [name for name in ops.available_backends() if name != "native" or compiled_library()]
    for backend in names:
        info = backends.load(backend).cpu_info()
        # Only the extension can force an ISA, on behalf of the other binding too.
        isas = info["isas"] if compiled_library() else [info["isa"]][: len(info["isas"])]
        variants += [Variant(backend, isa) for isa in isas or [None]]
    return variants


def has_kernel(variant: Variant, op: Op) -> bool:
    """Return whether a variant has a kernel of its own for an op. A backend without compiled kernels runs every op."""
    library = compiled_library()
    if variant.isa is None or library is None:
        return True
    wanted = {"op": op.kernel, "dtype": op.dtype, "isa": variant.isa}
    return any(wanted.items() <= row.items() for row in library.kernel_table())
