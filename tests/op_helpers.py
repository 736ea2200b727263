"""Helpers of the op tests: the variants under test, float64 references, guarded arrays, comparisons."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from golden_bits import TO_TOLERANCE, has_floats, kernels_of
from kernel_tables import ISAS as ROWS
from limits import seconds

import squeezeops
from squeezeops import backends, ops
from squeezeops.benchmark.variants import Variant

UNIT = 2.0**-24  # the largest relative error of one float32 rounding


def run_python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a fresh interpreter that imports the same squeezeops as this one."""
    path = os.pathsep.join([str(Path(squeezeops.__file__).parents[1]), *sys.path])
    return subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": path, **environment},
        stdin=subprocess.DEVNULL,  # a command without texts would read a pipe
        capture_output=True,
        text=True,
        timeout=seconds(120),
    )


native: Any = None  # the extension module; None if it was not built
if "native" in backends.available():
    from squeezeops import _native as native


def call_c(name: str, *arguments: Any) -> tuple[int, str]:
    """Call a function of the C interface with ints, floats, arrays and None; return the status and error message."""
    import ctypes  # which a Python without libffi lacks

    library = ctypes.CDLL(native.__file__)
    library.sqz_error_message.restype = ctypes.c_char_p
    types = {int: ctypes.c_int64, float: ctypes.c_double, type(None): ctypes.c_void_p}
    status = getattr(library, name)(
        *(
            ctypes.c_void_p(a.__array_interface__["data"][0]) if isinstance(a, np.ndarray) else types[type(a)](a)
            for a in arguments
        )
    )
    return status, library.sqz_error_message().decode() if status else ""


ALL_ISAS: list[str] = [] if native is None else list(ops.cpu_info()["isas"])


def isas_with(kernel: str) -> list[str]:
    """The ISAs of this machine that have a kernel of their own, such as "pwconv_s8", or any of a dtype, best first."""
    table = native.kernel_table() if native else []
    own = {row["isa"] for row in table if kernel in (row["dtype"], f"{row['op']}_{row['dtype']}")}
    return [isa for isa in ALL_ISAS if isa in own]


def variants_on(isas: list[str]) -> list[Variant]:
    """Every backend, the native one on each of the given ISAs."""
    others = [Variant(name) for name in ("cffi", "numba") if name in backends.available()]
    return [Variant("numpy"), *(Variant("native", isa) for isa in isas), *others]


ISAS, INT8_ISAS = isas_with("f32"), isas_with("s8")
EXACT_ISAS = [isa for isa in ISAS if isa not in TO_TOLERANCE]
VARIANTS, INT8_VARIANTS = variants_on(ISAS), variants_on(INT8_ISAS)


def golden_isas(name: str) -> list[str]:
    """The ISAs with kernels of their own for a case of `golden_bits` that promise its bits."""
    isas = INT8_ISAS if kernels_of(name) == "s8" else ISAS
    return [isa for isa in isas if not (has_floats(name) and isa in TO_TOLERANCE)]


def ran_on(isa: str) -> bool:
    """Whether the native kernel that ran last in this thread is the one that `isa` runs, its own or an implied one."""
    names = {row["symbol"]: f"{row['op']}_{row['dtype']}" for row in native.kernel_table()}
    symbols = [f"{names.get(native.last_kernel())}_{row.tag}" for row in ROWS[isa].chain()]
    return native.last_kernel() == next((symbol for symbol in symbols if symbol in names), None)


class Guards:
    """Puts arrays in the middle of larger buffers, to catch reads and writes out of bounds.

    The guard bands hold NaN (for integers, an unusual number), so that a read there changes the result. Their size is a
    prime number of elements, so that the array has no more than the alignment of its elements.
    """

    BAND = 67

    def __init__(self) -> None:
        self._kept: list[tuple[np.ndarray, bytes, slice]] = []

    def _buffer(self, shape: tuple[int, ...], dtype: Any) -> tuple[np.ndarray, np.ndarray]:
        size = math.prod(shape)
        fill = {"f": np.nan, "b": True, "i": 2**30 + 7, "u": 201}[np.dtype(dtype).kind]
        fill = 101 if dtype == np.int8 else fill
        buffer = np.full(size + 2 * self.BAND, fill, dtype)
        return buffer, buffer[self.BAND : self.BAND + size].reshape(shape)

    def keep(self, array: np.ndarray) -> np.ndarray:
        """Copy an input between two bands. `check` also checks that the input is unchanged."""
        buffer, inside = self._buffer(array.shape, array.dtype)
        inside[...] = array
        self._kept.append((buffer, buffer.tobytes(), slice(0, 0)))
        return inside

    def empty(self, shape: tuple[int, ...], dtype: Any = np.float32) -> np.ndarray:
        """Return an array for an output between two bands."""
        buffer, inside = self._buffer(shape, dtype)
        self._kept.append((buffer, buffer.tobytes(), slice(self.BAND, self.BAND + inside.size)))
        return inside

    def check(self) -> None:
        for buffer, before, output in self._kept:
            bands = np.frombuffer(before, buffer.dtype).copy()
            bands[output] = 0
            now = buffer.copy()
            now[output] = 0
            assert now.tobytes() == bands.tobytes(), "an op wrote to an input or out of bounds"
        self._kept.clear()

    def keep_all(self, arguments: dict[str, Any]) -> dict[str, Any]:
        return {name: self.keep(a) if isinstance(a, np.ndarray) else a for name, a in arguments.items()}

    def call(self, function: Callable[..., Any], *args: Any, in_place: bool = False, **kwargs: Any) -> Any:
        """Call an op with guarded arrays, with `out` and without. Check that all results agree; return one."""
        args = tuple(self.keep(a) if isinstance(a, np.ndarray) else a for a in args)
        kwargs = self.keep_all(kwargs)
        result = function(*args, **kwargs)
        room = [self.empty(part.shape, part.dtype) for part in parts(result)]
        out = ops.QuantizedRows(*room) if isinstance(result, tuple) else room[0]
        again = function(*args, **kwargs, out=out)
        for part, given, wanted in zip(parts(again), room, parts(result), strict=True):
            assert part is given and wanted.flags.c_contiguous and type(wanted) is np.ndarray
            assert_repeats(given, wanted)
        if in_place:
            x = self.empty(result.shape)
            x[...] = kwargs.pop("x")
            assert function(x, **kwargs, out=x) is x
            assert_repeats(x, result)
        self.check()
        return result


def parts(result: Any) -> list[np.ndarray]:
    """The arrays of a result: one, or values and scales."""
    if isinstance(result, tuple):
        assert isinstance(result, ops.QuantizedRows)
        assert (result.values.dtype, result.scales.dtype) == (np.uint8, np.float32)
        return list(result)
    assert result.dtype == np.float32
    return [result]


def bits(array: np.ndarray) -> np.ndarray:
    """The bits of a float32 array, and bytes as they are. All NaNs get the same bit pattern."""
    if array.dtype == np.uint8:
        return array
    return np.where(array != array, np.float32(np.nan), array).view(np.uint32)


def assert_same_bits(actual: np.ndarray, expected: np.ndarray) -> None:
    assert actual.shape == expected.shape
    np.testing.assert_array_equal(bits(actual), bits(expected))


def assert_repeats(actual: np.ndarray, expected: np.ndarray) -> None:
    """Two runs of one computation have the same bits, except with NumPy: its BLAS depends on alignment and strides."""
    if ops.get_backend() == "numpy":
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)
    else:
        assert_same_bits(actual, expected)


def assert_within(actual: np.ndarray, expected: np.ndarray, bound: np.ndarray | float) -> None:
    """Check that abs(actual - expected) <= bound for each element. NaN and infinity must match exactly."""
    assert actual.shape == expected.shape
    bound = np.broadcast_to(np.asarray(bound, float), expected.shape)
    expected = np.asarray(expected)
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(actual[~finite].astype(float), expected[~finite])
    error = np.abs(actual[finite].astype(float) - expected[finite])
    assert np.isfinite(actual[finite]).all()
    bound = bound[finite]
    if error.size:
        worst = (error - bound).argmax()
        assert (error <= bound).all(), f"error {error[worst]} at {expected[finite][worst]}, the bound is {bound[worst]}"


def ulps(actual: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """The error in units in the last place (ULP) of the expected value in float32, subnormal numbers included."""
    return np.abs(actual.astype(float) - expected) / np.spacing(np.abs(expected.astype(np.float32))).astype(float)


def normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


# The sum of squares of l2_normalize and rms_norm, to the bit.

SQUARES = (1, 2, 3, 7, 8, 15, 16, 17, 31, 32, 33, 47, 48, 49, 63, 64, 65, 96)  # channels


def few_bits(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Values whose square plus a partial sum is exact in float64: rounded, it is that of a fused multiply-add."""
    x = rng.integers(2**23, 2**24, shape).astype(np.float32) / np.float32(2**24)
    return x * rng.choice(np.array([-1, 1], np.float32), shape)


def sum_of_squares(x: np.ndarray) -> np.ndarray:
    """16 striped partial sums by fused multiply-add, then a tree: lanes i and i+8, i+4, i+2, i+1."""
    lanes = np.zeros((len(x), 16), np.float32)
    for i in range(x.shape[1]):
        lanes[:, i % 16] = lanes[:, i % 16].astype(float) + x[:, i].astype(float) ** 2
    for half in (8, 4, 2, 1):
        lanes = lanes[:, :half] + lanes[:, half : 2 * half]
    return lanes


# References in float64.

_erfc = np.vectorize(math.erfc, otypes=[float])


def gelu64(x: np.ndarray) -> np.ndarray:
    x = x.astype(float)
    with np.errstate(all="ignore"):
        y = x * 0.5 * _erfc(-x / math.sqrt(2))
    return np.where(x == -np.inf, -0.0, y)


def gelu_tanh64(x: np.ndarray) -> np.ndarray:
    x = x.astype(float)
    with np.errstate(all="ignore"):
        z2 = 2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
        y = x / (1 + np.exp(-z2))
    return np.where(x == -np.inf, -0.0, y)


ACTIVATIONS64: dict[str | None, Callable[[np.ndarray], np.ndarray]] = {
    None: lambda x: x,
    "gelu": gelu64,
    "gelu_tanh": gelu_tanh64,
    "relu": lambda x: np.maximum(x, 0),
    "tanh": np.tanh,
}


def softmax64(s: np.ndarray, excluded: np.ndarray, fully_masked: str) -> np.ndarray:
    """Softmax of scores along the last axis in float64."""
    s = np.where(excluded, -np.inf, s)
    with np.errstate(all="ignore"):
        e = np.where(excluded, 0, np.exp(s - s.max(axis=-1, keepdims=True, initial=-np.inf)))
        p = np.where(excluded, 0, e / e.sum(axis=-1, keepdims=True))
    uniform = 1 / max(s.shape[-1], 1) if fully_masked == "uniform" else 0.0
    return np.where(excluded.all(axis=-1, keepdims=True), uniform, p)


def mask_parts(mask: np.ndarray | None, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The excluded elements and the added values of a mask, both broadcast to `shape`."""
    if mask is None:
        return np.zeros(shape, bool), np.zeros(shape)
    mask = np.broadcast_to(mask, shape)
    if mask.dtype == bool:
        return ~mask, np.zeros(shape)
    return mask == -np.inf, np.where(mask == -np.inf, 0, mask).astype(float)
