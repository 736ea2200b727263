"""Fit the polynomials of exp, tanh, GELU and int8 attention and measure them in float32.

They are those of csrc/simd/math.h and of the NumPy backend. Needs scipy. `python docs/polynomials.py` prints the
fitted coefficients and the worst errors of those in csrc/simd/math.h. It fails if a fit is more than 0.5 % better than
those; that much may depend on how coefficients are rounded.

The fits are minimax by Lawson's iteration: least squares on a Chebyshev basis, reweighted by the error until it is
level. Each is weighted by what an error of the polynomial does to the function (for GELU: t * Q(t) / max(1, t), with a
floor that keeps a relative accuracy of a few per cent where Q is far below the absolute tolerance).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.special import log_ndtr, ndtr

Array = np.ndarray
LN2 = np.log(2)
F = np.float32


class Fit(NamedTuple):
    """The polynomial nearest to f in the weighted maximum norm. The weight is of absolute errors."""

    f: Callable[[Array], Array]
    low: float
    high: float
    degree: int
    weight: Callable[[Array], Array]

    def nodes(self) -> tuple[Array, Array]:
        """Return Chebyshev nodes on [-1, 1] and on [low, high]."""
        n = 6000
        t = np.cos(np.pi * (np.arange(n) + 0.5) / n)
        return t, (self.low + self.high) / 2 + (self.high - self.low) / 2 * t

    def coefficients(self) -> Array:
        """Return them, constant first, rounded to float32."""
        t, x = self.nodes()
        basis, y, w = np.polynomial.chebyshev.chebvander(t, self.degree), self.f(x), self.weight(x)
        lawson = np.full(len(t), 1 / len(t))
        for _ in range(300):
            s = np.sqrt(lawson) * w
            c = np.linalg.lstsq(basis * s[:, None], y * s, rcond=None)[0]
            lawson *= np.abs(basis @ c - y) * w
            lawson /= lawson.sum()
        fitted = np.polynomial.Chebyshev(c, domain=[self.low, self.high])
        return fitted.convert(kind=np.polynomial.Polynomial).coef.astype(F)

    def error(self, c: Array) -> float:
        """Return the worst weighted error of a polynomial, not counting roundings."""
        x = self.nodes()[1]
        return float((np.abs(np.polynomial.polynomial.polyval(x, c.astype(float)) - self.f(x)) * self.weight(x)).max())


def tanh_rest(u: Array) -> Array:
    """(tanh(t) / t - 1) / t^2 with u = t^2."""
    return (np.tanh(np.sqrt(u)) / np.sqrt(u) - 1) / u


# By their names in csrc/simd/math.h.
FITS = {
    "kExp": Fit(lambda r: (np.exp(r) - 1 - r) / r**2, -LN2 / 2 - 1e-3, LN2 / 2 + 1e-3, 4, lambda r: r**2 / np.exp(r)),
    "kTanh": Fit(tanh_rest, 1e-9, 0.625**2, 4, lambda u: u * np.sqrt(u) / np.tanh(np.sqrt(u))),
    "kLog2Q": Fit(
        lambda t: log_ndtr(-t) / LN2, 0, 13.1, 7, lambda t: np.maximum(t * ndtr(-t) / np.maximum(1, t), 1e-6)
    ),
    "kExp2": Fit(np.exp2, -0.501, 0.501, 5, lambda r: 1 / np.exp2(r)),
    "kExp2Bytes": Fit(lambda r: 254 * np.exp2(r), -0.5, 0.5, 3, lambda r: 1 / np.exp2(r)),
    "kLog2": Fit(lambda z: np.log2(1 + z) / z, -0.25, 0.5, 5, np.abs),
}


def in_source() -> dict[str, Array]:
    """Return the coefficients in csrc/simd/math.h."""
    source = (Path(__file__).parents[1] / "csrc/simd/math.h").read_text()
    found = re.findall(r"float (k\w+)\[\] = \{([^}]*)\}", source)
    return {name: np.array([F(v.strip().rstrip("f")) for v in values.split(",")]) for name, values in found}


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
    return np.ldexp(fma(r * r, horner(p["kExp"], r), r) + F(1), n.astype(int))


def tanh(p: dict[str, Array], x: Array) -> Array:
    t = np.abs(x)
    u = t * t
    small = fma(t * u, horner(p["kTanh"], u), t)
    large = F(1) - F(2) / (exp(p, np.minimum(t + t, F(20))) + F(1))
    return np.copysign(np.where(t < F(0.625), small, large), x)


def gelu(p: dict[str, Array], x: Array) -> Array:
    t = np.minimum(np.abs(x), F(13.1))
    y = horner(p["kLog2Q"], t)
    n = np.rint(y)
    q = np.where(n < -126, F(0), np.ldexp(horner(p["kExp2"], y - n), n.astype(int)))
    return fma(-t, q, np.where(x < 0, F(-0.0), x))


def exp2_bytes(p: dict[str, Array], x: Array) -> Array:
    n = np.rint(x)
    return np.ldexp(horner(p["kExp2Bytes"], x - n), n.astype(int))


def log2(p: dict[str, Array], x: Array) -> Array:
    n = np.floor(np.log2(x.astype(float) / 0.75)).astype(F)
    z = np.ldexp(x, -n.astype(int)) - F(1)
    return fma(horner(p["kLog2"], z), z, n)


def main() -> None:
    p = in_source()
    assert list(p) == list(FITS), f"csrc/simd/math.h: expected {list(FITS)}, got {list(p)}"
    for name, wanted in FITS.items():
        c = wanted.coefficients()
        print(f"{name:10}", ", ".join(f"{v:.9g}" for v in c))
        best, found = wanted.error(c), wanted.error(p[name])
        assert found <= 1.005 * best, f"csrc/simd/math.h: {name}: expected an error of {best:.3g}, got {found:.3g}"

    def ulps(y: Array, exact: Array) -> float:
        return float((np.abs(y - exact) / np.spacing(np.abs(exact).astype(F)).astype(float)).max())

    x = np.linspace(-87.3, 88, 4_000_001).astype(F)
    print(f"exp        {ulps(exp(p, x), np.exp(x.astype(float))):.2f} ULP")
    x = np.concatenate([np.linspace(-10, 10, 4_000_000), np.logspace(-30, 0, 100_000)]).astype(F)
    print(f"tanh       {ulps(tanh(p, x), np.tanh(x.astype(float))):.2f} ULP")
    x = np.linspace(-14, 14, 4_000_001).astype(F)
    d = x.astype(float)
    print(f"gelu       {(np.abs(gelu(p, x) - d * ndtr(d)) / np.maximum(1, np.abs(d))).max():.3g} * max(1, |x|)")
    x = np.linspace(-126, 0, 4_000_001).astype(F)
    print(f"exp2_bytes {np.abs(exp2_bytes(p, x) / (254 * np.exp2(x.astype(float))) - 1).max():.3g}, relative")
    x = np.concatenate([np.linspace(2**-4, 1, 4_000_000), np.exp2(np.linspace(-60, 0, 1_000_000))]).astype(F)
    error = np.abs(log2(p, x) - np.log2(x.astype(float)))
    near = x > 0.75
    print(f"log2       {error[near].max():.3g} in (0.75, 1], {error.max():.3g} down to 2^-60")


if __name__ == "__main__":
    main()
