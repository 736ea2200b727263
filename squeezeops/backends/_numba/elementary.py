"""exp, tanh, GELU over the vector: the operations of csrc/simd/math.h in their order, so the bits are the same."""

import numpy as np

from squeezeops.backends._numba.compiled import inline
from squeezeops.backends._numba.vector import (
    absolute,
    fma,
    horner,
    negative,
    rint,
    scale2,
    select,
    set1,
    with_sign,
)

F = np.float32
ZERO, ONE, TWO = F(0), F(1), F(2)

LOG2E, MINUS_LN2_HIGH, MINUS_LN2_LOW = F(1.44269504), F(-0.693359375), F(2.12194440e-4)
EXP = tuple(map(F, (0.49999994, 0.166665196, 0.0416684076, 0.00836891402, 0.00138141913)))
EXP_UNDERFLOW = F(-87.33)

TANH = tuple(map(F, (-0.333332807, 0.133314416, -0.0537397154, 0.0206390861, -0.00570498686)))
TANH_SMALL, TANH_LARGEST = F(0.625), F(20)

LOG2_TAIL = tuple(map(F, (
    -0.999991655, -1.15121973, -0.458695829, -0.0535520948, 0.00821138639, -0.000831133511, 4.68577382e-05,
    -1.08079598e-06,
)))  # fmt: skip
EXP2 = tuple(map(F, (1.00000012, 0.693146944, 0.240221158, 0.055507157, 0.00967577007, 0.00132762431)))
EXP2_254 = tuple(map(F, (253.981735, 176.088287, 61.6232262, 14.0136032)))  # 254 * 2^x
LOG2 = tuple(map(F, (1.44268167, -0.721094847, 0.481642336, -0.371062458, 0.292749316, -0.145224512)))  # of 1 + x, / x
GELU_LARGEST, LEAST_EXPONENT = F(13.1), F(-126)

GELU_TANH_LEAST, GELU_TANH_SCALE, GELU_TANH_CUBE, EXP_LARGEST = F(-20), F(-1.59576912), F(0.044715), F(88)

# Numbers for `activate`, in the order of the words.
ACTIVATIONS = {None: 0, "gelu": 1, "gelu_tanh": 2, "relu": 3, "tanh": 4}


@inline
def exp(x):
    """e^x for x <= 88, at most 2 ULP off; exactly +0 below -87.33, so never subnormal; NaN stays NaN."""
    underflow = x < set1(EXP_UNDERFLOW)
    x = select(underflow, set1(ZERO), x)
    n = rint(x * set1(LOG2E))
    r = fma(n, set1(MINUS_LN2_HIGH), x)
    r = fma(n, set1(MINUS_LN2_LOW), r)
    p = fma(r * r, horner(r, EXP), r) + set1(ONE)
    return select(underflow, set1(ZERO), scale2(p, n))


@inline
def tanh(x):
    """tanh x, at most 2 ULP off: a polynomial near zero, where 1 - 2 / (e^2t + 1) would cancel."""
    t = absolute(x)
    u = t * t
    small = fma(t * u, horner(u, TANH), t)
    t2 = t + t
    t2 = select(set1(TANH_LARGEST) < t2, set1(TANH_LARGEST), t2)
    large = set1(ONE) - set1(TWO) / (exp(t2) + set1(ONE))
    return with_sign(select(t < set1(TANH_SMALL), small, large), x)


@inline
def gelu(x):
    """x * Phi(x) = relu(x) - t * 2^P(t) with t = |x|."""
    t = absolute(x)
    t = select(t < set1(GELU_LARGEST), t, set1(GELU_LARGEST))
    y = horner(t, LOG2_TAIL)
    n = rint(y)
    underflow = n < set1(LEAST_EXPONENT)
    n = select(underflow, set1(LEAST_EXPONENT), n)
    tail = select(underflow, set1(ZERO), scale2(horner(y - n, EXP2), n))
    # -0 made of x and not a constant: LLVM may turn x < 0 ? -0.0 : x into a maximum, which loses the sign of +0.
    positive = select(x < set1(ZERO), with_sign(set1(ZERO), x), x)
    return fma(negative(t), tail, positive)


@inline
def gelu_tanh(x):
    """x * (1 + tanh(z)) / 2 = x / (1 + e^-2z), z = sqrt(2 / pi) * (x + 0.044715 * x^3)."""
    x = select(x < set1(GELU_TANH_LEAST), set1(GELU_TANH_LEAST), x)
    z = set1(GELU_TANH_SCALE) * fma(set1(GELU_TANH_CUBE), x * x * x, x)
    z = select(set1(EXP_LARGEST) < z, set1(EXP_LARGEST), z)
    return x / (set1(ONE) + exp(z))


@inline
def relu(x):
    """0 where x < 0, else x: NaN stays NaN."""
    return select(x < set1(ZERO), set1(ZERO), x)


@inline
def activate(x, activation):
    """The function of that number in ACTIVATIONS."""
    if activation == 1:
        return gelu(x)
    if activation == 2:
        return gelu_tanh(x)
    if activation == 3:
        return relu(x)
    if activation == 4:
        return tanh(x)
    return x
