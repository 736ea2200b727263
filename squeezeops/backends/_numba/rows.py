"""The row-wise ops. Loops take 16 elements at a time, then the rest of the row, by the same step.

In lanes beyond the row a step gives +0, which changes no sum.
"""

import numpy as np

from squeezeops.backends._numba.compiled import inline, kernel, part
from squeezeops.backends._numba.elementary import ONE, ZERO, activate, exp
from squeezeops.backends._numba.vector import (
    LANES,
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
LOWEST, MINUS_INFINITY = -np.finfo(F).max, F(-np.inf)


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


# LayerNorm.


@inline
def _residual_sum(x, residual, added, out, at, lanes):
    s = load_n(x, at, lanes)
    if added:
        s = s + load_n(residual, at, lanes)
    store_n(out, at, s, lanes)
    return s


@inline
def _deviation(out, at, mean, lanes):
    return select(head(lanes), load_n(out, at, lanes) - mean, set1(ZERO))


@inline
def _normalised(out, at, mean, scale, weight, has_weight, bias, has_bias, i, lanes):
    w, b = set1(ONE), set1(ZERO)
    if has_weight:
        w = load_n(weight, i, lanes)
    if has_bias:
        b = load_n(bias, i, lanes)
    store_n(out, at, fma((load_n(out, at, lanes) - mean) * scale, w, b), lanes)


@kernel
def layer_norm(first, last, x, residual, weight, bias, eps, n, out):
    """Rows of n: two passes over x + residual, which `out` holds in between. All inputs but x may be empty."""
    added, has_weight, has_bias = residual.size > 0, weight.size > 0, bias.size > 0
    x, residual, weight, bias, out = pointer(x), pointer(residual), pointer(weight), pointer(bias), pointer(out)
    full, count = whole(n), F(n)
    rest = n - full
    for row in range(first, last):
        at = row * n
        total = set1(ZERO)
        for i in range(0, full, LANES):
            total = total + _residual_sum(x, residual, added, out, at + i, LANES)
        if rest > 0:
            total = total + _residual_sum(x, residual, added, out, at + full, rest)
        mean = set1(sum_of(total) / count)

        total = set1(ZERO)
        for i in range(0, full, LANES):
            d = _deviation(out, at + i, mean, LANES)
            total = fma(d, d, total)
        if rest > 0:
            d = _deviation(out, at + full, mean, rest)
            total = fma(d, d, total)
        scale = set1(ONE / np.sqrt(sum_of(total) / count + eps))

        for i in range(0, full, LANES):
            _normalised(out, at + i, mean, scale, weight, has_weight, bias, has_bias, i, LANES)
        if rest > 0:
            _normalised(out, at + full, mean, scale, weight, has_weight, bias, has_bias, full, rest)


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
    rest = n - full
    for row in range(first, last):
        at = row * n
        total = set1(ZERO)
        for i in range(0, full, LANES):
            s = _residual_sum(x, residual, added, out, at + i, LANES)
            total = fma(s, s, total)
        if rest > 0:
            s = _residual_sum(x, residual, added, out, at + full, rest)
            total = fma(s, s, total)
        scale = set1(ONE / np.sqrt(sum_of(total) / count + eps))

        for i in range(0, full, LANES):
            _scaled_by(out, at + i, scale, weight, has_weight, i, LANES)
        if rest > 0:
            _scaled_by(out, at + full, scale, weight, has_weight, full, rest)


@kernel
def l2_normalize(first, last, x, eps, n, out):
    """Rows of n, divided by their norms or by eps, whichever is greater."""
    x, out = pointer(x), pointer(out)
    full = whole(n)
    for row in range(first, last):
        at = row * n
        total = set1(ZERO)
        for i in range(0, full, LANES):
            value = load_n(x, at + i, LANES)
            total = fma(value, value, total)
        if full < n:
            value = load_n(x, at + full, n - full)
            total = fma(value, value, total)
        norm = np.sqrt(sum_of(total))
        copy(x, at, out, at, n)
        divide(out, at, n, eps if norm < eps else norm)  # NaN is not below eps


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
