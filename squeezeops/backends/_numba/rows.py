"""The row-wise ops. Loops take 16 elements at a time, then the rest of the row, by the same step.

In lanes beyond the row a step gives +0, which changes no sum.
"""

import math

import numpy as np

from squeezeops.backends._numba.compiled import inline, kernel, part
from squeezeops.backends._numba.elementary import ONE, ZERO, activate, exp
from squeezeops.backends._numba.vector import (
    LANES,
    absolute,
    any_lane,
    fma,
    head,
    load_n,
    max_of,
    none_of,
    pointer,
    select,
    set1,
    store_n,
    sum_of,
)

F = np.float32
LARGEST, TINY, MINUS_INFINITY = np.finfo(F).max, np.finfo(F).tiny, F(-np.inf)
LOWEST = -LARGEST


@inline
def whole(n):
    """n, rounded down to whole vectors."""
    return n // LANES * LANES


@inline
def copy(source, at, target, to, n):
    """target[to : to + n] = source[at : at + n]."""
    for i in range(0, n, LANES):
        lanes = min(LANES, n - i)
        store_n(target, to + i, load_n(source, at + i, lanes), lanes)


@inline
def fill(target, to, n, value):
    """target[to : to + n] = value."""
    for i in range(0, n, LANES):
        store_n(target, to + i, set1(value), min(LANES, n - i))


@inline
def divide(target, to, n, divisor):
    """target[to : to + n] /= divisor."""
    for i in range(0, n, LANES):
        lanes = min(LANES, n - i)
        store_n(target, to + i, load_n(target, to + i, lanes) / set1(divisor), lanes)


@kernel
def activation(first, last, x, number, out):
    """out = activate(x), element by element from `first` to `last`."""
    x, out = pointer(x), pointer(out)
    for i in range(first, last, LANES):
        lanes = min(LANES, last - i)
        store_n(out, i, activate(load_n(x, i, lanes), number), lanes)


# Rows whose squares overflow or underflow.


@inline
def _is_usual(mean_square):
    """Whether overflow and underflow of squares cannot be seen in a result; False for NaN."""
    return F(2.0**-100) <= mean_square <= LARGEST


@inline
def _amax(out, at, top, lanes):
    value = absolute(load_n(out, at, lanes))
    return select(top < value, value, top)


@part
def _rescale(out, at, n, least):
    """Scale a row by the power of two that it returns: then amax, or `least` if that is greater, is about 2^40."""
    full, top = whole(n), set1(least)
    for i in range(0, full, LANES):
        top = _amax(out, at + i, top, LANES)
    if full < n:
        top = _amax(out, at + full, top, n - full)
    amax = max_of(top)
    power = math.frexp(amax)[1] if amax <= LARGEST else 129
    factor = F(math.ldexp(1.0, min(41 - power, 127)))
    for i in range(0, n, LANES):
        lanes = min(LANES, n - i)
        store_n(out, at + i, load_n(out, at + i, lanes) * set1(factor), lanes)
    return factor


# LayerNorm.

# Columns whose partial sums are formed from 0, before they are added to the sums of the columns before them.
BLOCK = 1024


@inline
def _residual_sum(x, residual, added, out, at, lanes):
    s = load_n(x, at, lanes)
    if added:
        s = s + load_n(residual, at, lanes)
    store_n(out, at, s, lanes)
    return s


@inline
def _difference(s, mean, lanes):
    return select(head(lanes), s - mean, set1(ZERO))


@part
def _pivot(x, residual, added, at, n):
    """The mean of the first columns of x + residual."""
    few = min(n, LANES)
    s = load_n(x, at, few)
    if added:
        s = s + load_n(residual, at, few)
    return sum_of(s) / F(few)


@part
def _offset(x, residual, added, out, at, n, pivot):
    """out = x + residual; return the mean difference of that from the pivot."""
    total, center = ZERO, set1(pivot)
    for begin in range(0, n, BLOCK):
        end, acc = min(n, begin + BLOCK), set1(ZERO)
        full = begin + whole(end - begin)
        for i in range(begin, full, LANES):
            acc = acc + (_residual_sum(x, residual, added, out, at + i, LANES) - center)
        if full < end:
            s = _residual_sum(x, residual, added, out, at + full, end - full)
            acc = acc + _difference(s, center, end - full)
        total = total + sum_of(acc)
    return total / F(n)


@part
def _mean_square_difference(out, at, n, center):
    total, mean = ZERO, set1(center)
    for begin in range(0, n, BLOCK):
        end, acc = min(n, begin + BLOCK), set1(ZERO)
        full = begin + whole(end - begin)
        for i in range(begin, full, LANES):
            d = load_n(out, at + i, LANES) - mean
            acc = fma(d, d, acc)
        if full < end:
            d = _difference(load_n(out, at + full, end - full), mean, end - full)
            acc = fma(d, d, acc)
        total = total + sum_of(acc)
    return total / F(n)


@part
def _moments(out, at, n, pivot, offset):
    """The mean in two parts, as pivot + offset is not a float32, and the variance."""
    mean = pivot + offset
    below = offset - (mean - pivot)
    variance = _mean_square_difference(out, at, n, mean) - below * below
    return mean, below, ZERO if variance < ZERO else variance


@part
def _moments_of_scaled(out, at, n, eps):
    """The moments of a row that is scaled; eps is added to the variance."""
    factor = _rescale(out, at, n, np.sqrt(eps))
    added = eps * factor * factor
    if eps > ZERO and added < TINY:
        added = TINY
    pivot = _pivot(out, out, False, at, n)
    pivot = pivot + _offset(out, out, False, out, at, n, pivot)
    mean, below, variance = _moments(out, at, n, pivot, _offset(out, out, False, out, at, n, pivot))
    return mean, below, variance + added


@inline
def _normalised(out, at, mean, below, scale, weight, has_weight, bias, has_bias, i, lanes):
    w, b = set1(ONE), set1(ZERO)
    if has_weight:
        w = load_n(weight, i, lanes)
    if has_bias:
        b = load_n(bias, i, lanes)
    store_n(out, at, fma(((load_n(out, at, lanes) - mean) - below) * scale, w, b), lanes)


@kernel
def layer_norm(first, last, x, residual, weight, bias, eps, n, out):
    """Rows of n, which `out` holds until they are normalised. All inputs but x may be empty."""
    added, has_weight, has_bias = residual.size > 0, weight.size > 0, bias.size > 0
    x, residual, weight, bias, out = pointer(x), pointer(residual), pointer(weight), pointer(bias), pointer(out)
    full = whole(n)
    for row in range(first, last):
        at = row * n
        pivot = _pivot(x, residual, added, at, n)
        offset = _offset(x, residual, added, out, at, n, pivot)
        center, low, square = _moments(out, at, n, pivot, offset)
        square = square + eps
        if not (_is_usual(square) and offset * offset <= F(4) * square):
            center, low, square = _moments_of_scaled(out, at, n, eps)

        mean, below, scale = set1(center), set1(low), set1(ONE / np.sqrt(square))
        for i in range(0, full, LANES):
            _normalised(out, at + i, mean, below, scale, weight, has_weight, bias, has_bias, i, LANES)
        if full < n:
            _normalised(out, at + full, mean, below, scale, weight, has_weight, bias, has_bias, full, n - full)


# RMSNorm and the L2 norm.


@part
def _square_sum(x, residual, added, out, at, n):
    """out = x + residual; return the sum of its squares."""
    full, total = whole(n), set1(ZERO)
    for i in range(0, full, LANES):
        s = _residual_sum(x, residual, added, out, at + i, LANES)
        total = fma(s, s, total)
    if full < n:
        s = _residual_sum(x, residual, added, out, at + full, n - full)
        total = fma(s, s, total)
    return sum_of(total)


@inline
def _scaled_by(out, at, scale, weight, has_weight, i, lanes):
    s = load_n(out, at, lanes) * scale
    if has_weight:
        s = s * load_n(weight, i, lanes)
    store_n(out, at, s, lanes)


@kernel
def rms_norm(first, last, x, residual, weight, eps, n, out):
    """Rows of n; `out` holds x + residual until it is scaled. `residual` and `weight` may be empty."""
    added, has_weight = residual.size > 0, weight.size > 0
    x, residual, weight, out = pointer(x), pointer(residual), pointer(weight), pointer(out)
    full, count = whole(n), F(n)
    for row in range(first, last):
        at = row * n
        square = _square_sum(x, residual, added, out, at, n) / count + eps
        if not _is_usual(square):
            factor = _rescale(out, at, n, np.sqrt(eps))
            square = _square_sum(out, out, False, out, at, n) / count + eps * factor * factor
        scale = set1(ONE / np.sqrt(square))
        for i in range(0, full, LANES):
            _scaled_by(out, at + i, scale, weight, has_weight, i, LANES)
        if full < n:
            _scaled_by(out, at + full, scale, weight, has_weight, full, n - full)


@kernel
def l2_normalize(first, last, x, eps, n, out):
    """Rows of n, divided by their norms or by eps, whichever is greater."""
    x, out = pointer(x), pointer(out)
    for row in range(first, last):
        at, least = row * n, eps
        norm = np.sqrt(_square_sum(x, x, False, out, at, n))
        divisor = least if norm < least else norm  # NaN is not below it
        if not F(2.0**-50) <= divisor <= LARGEST:
            least = eps * _rescale(out, at, n, ZERO)
            norm = np.sqrt(_square_sum(out, out, False, out, at, n))
            divisor = least if norm < least else norm
        divide(out, at, n, divisor)


# Softmax.


@inline
def _kept(mask, at, masked, lanes):
    """Which lanes are in the row and not excluded. (Not mask > -inf: a NaN in the mask must reach the result.)"""
    chosen = head(lanes)
    if masked:
        chosen = chosen & none_of(load_n(mask, at, lanes) < set1(LOWEST))
    return chosen


@inline
def _scaled(x, at, mask, mask_at, masked, factor, out, to, top, some, lanes):
    s = load_n(x, at, lanes) * factor
    if masked:
        s = s + load_n(mask, mask_at, lanes)
    store_n(out, to, s, lanes)
    keep = _kept(mask, mask_at, masked, lanes)
    return select(keep & (top < s), s, top), some or any_lane(keep)


@inline
def _exponential(out, to, mask, mask_at, masked, top, lanes):
    e = select(_kept(mask, mask_at, masked, lanes), exp(load_n(out, to, lanes) - top), set1(ZERO))
    store_n(out, to, e, lanes)
    return e


@inline
def _share(out, to, mask, mask_at, masked, total, lanes):
    p = select(_kept(mask, mask_at, masked, lanes), load_n(out, to, lanes) / total, set1(ZERO))
    store_n(out, to, p, lanes)


@part
def softmax_row(x, at, mask, mask_at, masked, n, scale, out, to):
    """Softmax of x * scale + mask; False, with `out` undefined, if every element is excluded."""
    full = whole(n)
    rest, factor = n - full, set1(scale)
    top, some = set1(MINUS_INFINITY), False
    for i in range(0, full, LANES):
        top, some = _scaled(x, at + i, mask, mask_at + i, masked, factor, out, to + i, top, some, LANES)
    if rest > 0:
        top, some = _scaled(x, at + full, mask, mask_at + full, masked, factor, out, to + full, top, some, rest)
    if not some:
        return False

    top, total = set1(max_of(top)), set1(ZERO)
    for i in range(0, full, LANES):
        total = total + _exponential(out, to + i, mask, mask_at + i, masked, top, LANES)
    if rest > 0:
        total = total + _exponential(out, to + full, mask, mask_at + full, masked, top, rest)

    total = set1(sum_of(total))
    for i in range(0, full, LANES):
        _share(out, to + i, mask, mask_at + i, masked, total, LANES)
    if rest > 0:
        _share(out, to + full, mask, mask_at + full, masked, total, rest)
    return True


@kernel
def softmax(first, last, x, mask, mask_stride, scale, uniform, n, out):
    """Rows of n; the mask is empty, or added: -inf excludes. Its rows are mask_stride apart: n, or 0 for one mask."""
    masked = mask.size > 0
    x, mask, out = pointer(x), pointer(mask), pointer(out)
    value = ONE / F(n) if uniform else ZERO
    for row in range(first, last):
        at = row * n
        if not softmax_row(x, at, mask, row * mask_stride, masked, n, scale, out, at):
            fill(out, at, n, value)
