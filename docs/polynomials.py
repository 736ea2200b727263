"""Fit the polynomials of exp, tanh and GELU and measure them in float32.

They are those of csrc/simd/math.h and of the NumPy backend. Needs scipy. `python docs/polynomials.py` prints the
coefficients and the worst errors, and fails if a fitted constant is not in csrc/simd/math.h.

The fits are minimax by Lawson's iteration: least squares on a Chebyshev basis, reweighted by the error until it is
level. Each is weighted by what an error of the polynomial does to the function (for GELU: t * Q(t) / max(1, t), with a
floor that keeps a relative accuracy of a few per cent where Q is far below the absolute tolerance).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.special import log_ndtr, ndtr

Array = np.ndarray
LN2 = np.log(2)
F = np.float32


def fit(f: Callable[[Array], Array], low: float, high: float, degree: int, weight: Callable[[Array], Array]) -> Array:
    """Coefficients, constant first, rounded to float32, of the polynomial nearest to f in the weighted maximum norm."""
    n = 6000
    t = np.cos(np.pi * (np.arange(n) + 0.5) / n)
    x = (low + high) / 2 + (high - low) / 2 * t
    basis, y, w = np.polynomial.chebyshev.chebvander(t, degree), f(x), weight(x)
    lawson = np.full(n, 1 / n)
    for _ in range(300):
        s = np.sqrt(lawson) * w
        c = np.linalg.lstsq(basis * s[:, None], y * s, rcond=None)[0]
        lawson *= np.abs(basis @ c - y) * w
        lawson /= lawson.sum()
    return np.polynomial.Chebyshev(c, domain=[low, high]).convert(kind=np.polynomial.Polynomial).coef.astype(F)


def polynomials() -> dict[str, Array]:
    def tanh_rest(u: Array) -> Array:  # (tanh(t) / t - 1) / t^2 with u = t^2
        return (np.tanh(np.sqrt(u)) / np.sqrt(u) - 1) / u

    return {
        "exp": fit(
            lambda r: (np.exp(r) - 1 - r) / r**2, -LN2 / 2 - 1e-3, LN2 / 2 + 1e-3, 4, lambda r: r**2 / np.exp(r)
        ),
        "tanh": fit(tanh_rest, 1e-9, 0.625**2, 4, lambda u: u * np.sqrt(u) / np.tanh(np.sqrt(u))),
        "exp2": fit(np.exp2, -0.501, 0.501, 5, lambda r: 1 / np.exp2(r)),
        "log2_tail": fit(
            lambda t: log_ndtr(-t) / LN2, 0, 13.1, 7, lambda t: np.maximum(t * ndtr(-t) / np.maximum(1, t), 1e-6)
        ),
    }


def fma(a: Array, b: Array, c: Array) -> Array:
    """float32 fused multiply-add, but for a double rounding that is too rare to matter here."""
    return (a.astype(float) * np.asarray(b, float) + np.asarray(c, float)).astype(F)


def horner(c: Array, x: Array) -> Array:
    y = np.full_like(x, c[-1])
    for k in c[-2::-1]:
        y = fma(y, x, k)
    return y


def exp(p: dict[str, Array], x: Array) -> Array:
    n = np.rint(x * F(1 / LN2))
    r = fma(n, F(-0.693359375), x)
    r = fma(n, F(0.693359375 - LN2), r)
    return np.ldexp(fma(r * r, horner(p["exp"], r), r) + F(1), n.astype(int))


def tanh(p: dict[str, Array], x: Array) -> Array:
    t = np.abs(x)
    u = t * t
    small = fma(t * u, horner(p["tanh"], u), t)
    large = F(1) - F(2) / (exp(p, np.minimum(t + t, F(20))) + F(1))
    return np.copysign(np.where(t < F(0.625), small, large), x)


def gelu(p: dict[str, Array], x: Array) -> Array:
    t = np.minimum(np.abs(x), F(13.1))
    y = horner(p["log2_tail"], t)
    n = np.rint(y)
    q = np.where(n < -126, F(0), np.ldexp(horner(p["exp2"], y - n), n.astype(int)))
    return fma(-t, q, np.where(x < 0, F(-0.0), x))


def main() -> None:
    p = polynomials()
    for name, c in p.items():
        print(f"{name:10}", ", ".join(f"{v:.9g}" for v in c))
    source = (Path(__file__).parents[1] / "csrc/simd/math.h").read_text()
    in_source = {F(v) for v in re.findall(r"(-?\d+\.\d+(?:e[+-]?\d+)?)f", source)}
    missing = [v for c in p.values() for v in c if v not in in_source]
    assert not missing, f"not in csrc/simd/math.h: {missing}"

    def ulps(y: Array, exact: Array) -> float:
        return float((np.abs(y - exact) / np.spacing(np.abs(exact).astype(F)).astype(float)).max())

    x = np.linspace(-87.3, 88, 4_000_001).astype(F)
    print(f"exp        {ulps(exp(p, x), np.exp(x.astype(float))):.2f} ULP")
    x = np.concatenate([np.linspace(-10, 10, 4_000_000), np.logspace(-30, 0, 100_000)]).astype(F)
    print(f"tanh       {ulps(tanh(p, x), np.tanh(x.astype(float))):.2f} ULP")
    x = np.linspace(-14, 14, 4_000_001).astype(F)
    d = x.astype(float)
    print(f"gelu       {(np.abs(gelu(p, x) - d * ndtr(d)) / np.maximum(1, np.abs(d))).max():.3g} * max(1, |x|)")


if __name__ == "__main__":
    main()
