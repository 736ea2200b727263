"""The vector of 16 float32 lanes as a NumPy array, for NUMBA_DISABLE_JIT=1: what `vector_llvm` has, and describes."""

from __future__ import annotations

import numpy as np

F = np.float32
LANES = 16
TILE_ROWS, TILE_PANELS = 6, 2
WIDTH = TILE_PANELS * LANES


def _widened(elements: np.ndarray) -> np.ndarray:
    return elements.view(np.float16).astype(F) if elements.dtype == np.uint16 else elements


def pointer(array: np.ndarray) -> np.ndarray:
    """Where a flat array's elements are."""
    return array


def load(array: np.ndarray, at: int) -> np.ndarray:
    """array[at : at + 16]; a uint16 array holds the bits of float16."""
    return load_n(array, at, LANES)


def load_n(array: np.ndarray, at: int, count: int) -> np.ndarray:
    value = np.zeros(LANES, F)
    value[:count] = _widened(array[at : at + count])
    return value


def store(array: np.ndarray, at: int, value: np.ndarray) -> None:
    array[at : at + LANES] = value


def store_n(array: np.ndarray, at: int, value: np.ndarray, count: int) -> None:
    array[at : at + count] = value[:count]


def set1(value: F) -> np.ndarray:
    return np.full(LANES, value, F)


def fma(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """a * b + c, rounded once.

    In float64 the product is exact and the sum is not. Where it is not, it is rounded to odd: of the two neighbours of
    the exact sum, the one whose last bit is 1. Rounding that to float32 is rounding the exact sum.
    """
    product, addend = a.astype(np.float64) * b, c.astype(np.float64)
    total = product + addend
    rest = total - product
    error = (product - (total - rest)) + (addend - rest)
    even = total.view(np.int64) & 1 == 0
    odd = np.nextafter(total, np.copysign(np.inf, error))
    return np.where(even & (error != 0) & np.isfinite(error), odd, total).astype(F)


# By IEEE rules: a sign is that of zero and NaN too, the nearest integer is the even one of two.
negative, absolute, with_sign, rint = np.negative, np.abs, np.copysign, np.rint
none_of, select = np.logical_not, np.where


def scale2(a: np.ndarray, n: np.ndarray) -> np.ndarray:
    return np.ldexp(a, np.where(n == n, n, 0).astype(np.int32))


def horner(x: np.ndarray, coefficients: tuple[F, ...]) -> np.ndarray:
    value = set1(coefficients[-1])
    for c in coefficients[-2::-1]:
        value = fma(value, x, set1(c))
    return value


def head(count: int) -> np.ndarray:
    return np.arange(LANES) < count


def any_lane(chosen: np.ndarray) -> bool:
    return bool(chosen.any())


def sum_of(a: np.ndarray) -> F:
    """The sum of the lanes: i with i + 8, then i + 4, i + 2, i + 1."""
    for half in (8, 4, 2, 1):
        a = a[:half] + a[half:]
    return a[0]


def max_of(a: np.ndarray) -> F:
    """The greatest of the lanes, by comparisons alone, in the order of `sum_of`."""
    for half in (8, 4, 2, 1):
        a = np.where(a[:half] < a[half:], a[half:], a[:half])
    return a[0]


def zero_tile() -> np.ndarray:
    return np.zeros((TILE_ROWS, TILE_PANELS, LANES), F)


def zero_row() -> np.ndarray:
    return np.zeros((1, TILE_PANELS, LANES), F)


def accumulate(tile: np.ndarray, a: np.ndarray, at: int, stride: int, b: np.ndarray, start: int) -> np.ndarray:
    x = a[at + stride * np.arange(len(tile))]
    return fma(x[:, None, None], _widened(b[start : start + WIDTH]).reshape(TILE_PANELS, LANES), tile)


def store_tile(array: np.ndarray, at: int, stride: int, tile: np.ndarray) -> None:
    for i, row in enumerate(tile):
        array[at + i * stride : at + i * stride + WIDTH] = row.reshape(WIDTH)
