"""Grouped pointwise convolution, and the inner loop that attention shares.

Weights are packed to [groups][panels][C_in / groups][WIDTH]: a panel is WIDTH successive output channels of a group,
the last one padded with zeros. The elements are float32, float16 as its bits, or int8.

Products of bytes are summed in float32, which is exact up to 2^24, or EXACT_DEPTH products; longer sums are split.
"""

import numpy as np

from squeezeops.backends._numba.compiled import inline, kernel, part
from squeezeops.backends._numba.elementary import ZERO, activate
from squeezeops.backends._numba.rows import copy, fill
from squeezeops.backends._numba.vector import (
    LANES,
    TILE_ROWS,
    WIDTH,
    absolute,
    accumulate,
    load,
    load_n,
    max_of,
    pointer,
    rint,
    select,
    set1,
    store_n,
    store_tile,
    sum_of,
    zero_tile,
)

F = np.float32
EXACT_DEPTH = 2**24 // 127**2
LARGEST_BYTE, LEAST_MOST, NAN = F(127), F(2.0**-100), F(np.nan)

# Rows that are multiplied with one panel after the other: they stay in the L2 cache.
ROW_BLOCK = 96


def pack(weight: np.ndarray) -> np.ndarray:
    """Pack a weight (groups, C_out / groups, C_in / groups) of any type."""
    groups, n, k = weight.shape
    panels = -(-n // WIDTH)
    packed = np.zeros((groups, panels * WIDTH, k), weight.dtype)
    packed[:, :n] = weight
    return np.ascontiguousarray(packed.reshape(groups, panels, WIDTH, k).transpose(0, 1, 3, 2))


def unpack(packed: np.ndarray, groups: int, k: int, n: int) -> np.ndarray:
    """The weight (groups, C_out / groups, C_in / groups) that was packed."""
    panels = -(-n // WIDTH)
    padded = packed.reshape(groups, panels, k, WIDTH).transpose(0, 1, 3, 2).reshape(groups, panels * WIDTH, k)
    return padded[:, :n]


def scratch_size(k: int) -> int:
    """Floats of scratch memory of `convolve`, for k input channels per group."""
    return TILE_ROWS * (WIDTH + k)


def int8_scratch_size(groups: int, k: int) -> int:
    """Floats of scratch memory of `convolve_int8`, which holds quantised rows, too."""
    return scratch_size(k) + ROW_BLOCK * groups * (k + 1)


@part
def multiply(x, at, stride, panel, start, depth, out, to, out_stride):
    """out[to + row * out_stride + column] = sum of x[at + row * stride + k] * panel[start + k * WIDTH + column].

    For the rows and columns of a tile, each a chain of fma, k ascending.
    """
    tile = zero_tile()
    for k in range(depth):
        tile = accumulate(tile, x, at + k, stride, panel, start + k * WIDTH)
    store_tile(out, to, out_stride, tile)


@part
def multiply_integers(x, at, stride, panel, start, depth, most, scratch, totals):
    """As `multiply`, of integers, to a tile at scratch[0]: sums of more than `most` products are split."""
    for k in range(0, max(depth, 1), most):
        multiply(x, at + k, stride, panel, start + k * WIDTH, min(most, depth - k), scratch, 0, WIDTH)
        if depth > most:
            for i in range(TILE_ROWS * WIDTH):
                totals[i] = scratch[i] + (totals[i] if k > 0 else 0.0)
    if depth > most:
        for i in range(TILE_ROWS * WIDTH):
            scratch[i] = F(totals[i])


@inline
def finish(y, bias, has_bias, channel, activation, residual, added, out, place, lanes):
    """out[place : ] = activate(y + bias) + residual."""
    if has_bias:
        y = y + load_n(bias, channel, lanes)
    y = activate(y, activation)
    if added:
        y = y + load_n(residual, place, lanes)
    store_n(out, place, y, lanes)


@kernel
def convolve(first, last, x, weight, bias, activation, residual, groups, k, n, scratch, out):
    """out = activate(conv(x) + bias) + residual for rows from `first` to `last`; bias and residual may be empty.

    k and n are the input and output channels of a group.
    """
    has_bias, added = bias.size > 0, residual.size > 0
    x, weight, bias, residual = pointer(x), pointer(weight), pointer(bias), pointer(residual)
    scratch, out = pointer(scratch), pointer(out)
    c_in, c_out = groups * k, groups * n
    panels = (n + WIDTH - 1) // WIDTH
    copied = TILE_ROWS * WIDTH
    for block in range(first, last, ROW_BLOCK):
        end = min(block + ROW_BLOCK, last)
        for panel in range(groups * panels):
            group, column = panel // panels, panel % panels * WIDTH
            start, to = panel * k * WIDTH, group * n + column
            columns = min(WIDTH, n - column)
            for row in range(block, end, TILE_ROWS):
                rows = min(TILE_ROWS, end - row)
                at = row * c_in + group * k
                # The tile goes through memory: the registers have no room for it and an activation.
                if rows == TILE_ROWS:
                    multiply(x, at, c_in, weight, start, k, scratch, 0, WIDTH)
                else:  # copied, so that a whole tile can be read; the excess results are not used
                    for i in range(rows):
                        copy(x, at + i * c_in, scratch, copied + i * k, k)
                    multiply(scratch, copied, k, weight, start, k, scratch, 0, WIDTH)
                for i in range(rows):
                    place = (row + i) * c_out + to
                    for j in range(0, columns, LANES):
                        lanes = min(LANES, columns - j)
                        y = load(scratch, i * WIDTH + j)
                        finish(y, bias, has_bias, to + j, activation, residual, added, out, place + j, lanes)


@part
def quantize(x, at, n, out, to):
    """Quantise x[at : at + n] to integers, as floats, out[to : to + n]; return the scale."""
    most, special = set1(ZERO), set1(ZERO)
    for i in range(0, n, LANES):
        v = load_n(x, at + i, min(LANES, n - i))
        magnitude = absolute(v)
        most = select(most < magnitude, magnitude, most)
        special = special + (v - v)  # NaN if v is NaN or infinite
    total, m = sum_of(special), max_of(most)
    if total != total or m < LEAST_MOST:
        fill(out, to, n, ZERO)
        return NAN if total != total else ZERO
    factor = set1(LARGEST_BYTE / m)
    for i in range(0, n, LANES):
        lanes = min(LANES, n - i)
        store_n(out, to + i, rint(load_n(x, at + i, lanes) * factor), lanes)
    return m / LARGEST_BYTE


@kernel
def quantize_rows(first, last, x, groups, n, scratch, values, scales):
    """Bytes and scales of rows from `first` to `last`; n channels per group."""
    x, scratch, values, scales = pointer(x), pointer(scratch), pointer(values), pointer(scales)
    width = (n + 3) // 4 * 4
    for group in range(first * groups, last * groups):
        scales[group] = quantize(x, group * n, n, scratch, 0)
        for i in range(width):
            values[group * width + i] = np.uint8(np.int32(scratch[i]) + 128) if i < n else np.uint8(128)


@kernel
def convolve_int8(
    first, last, x, scales, weight, channels, bias, activation, residual, groups, k, n, scratch, totals, out
):
    """As `convolve` with a weight of int8 and its scales, `channels`.

    x is quantised here; or, if `scales` are given, it holds integers.
    """
    has_bias, added, ready = bias.size > 0, residual.size > 0, scales.size > 0
    x, weight, bias, residual = pointer(x), pointer(weight), pointer(bias), pointer(residual)
    scales, channels, scratch, totals, out = (
        pointer(scales), pointer(channels), pointer(scratch), pointer(totals), pointer(out)
    )  # fmt: skip
    c_in, c_out = groups * k, groups * n
    panels = (n + WIDTH - 1) // WIDTH
    copied = TILE_ROWS * WIDTH
    integers = copied + TILE_ROWS * k
    scales_at = integers + ROW_BLOCK * c_in
    for block in range(first, last, ROW_BLOCK):
        end = min(block + ROW_BLOCK, last)
        for i in range((end - block) * groups):
            at = block * c_in + i * k
            if ready:
                copy(x, at, scratch, integers + i * k, k)
                scratch[scales_at + i] = scales[block * groups + i]
            else:
                scratch[scales_at + i] = quantize(x, at, k, scratch, integers + i * k)
        for panel in range(groups * panels):
            group, column = panel // panels, panel % panels * WIDTH
            start, to = panel * k * WIDTH, group * n + column
            columns = min(WIDTH, n - column)
            for row in range(block, end, TILE_ROWS):
                rows = min(TILE_ROWS, end - row)
                at, stride = integers + (row - block) * c_in + group * k, c_in
                if rows < TILE_ROWS:  # copied, so that a whole tile can be read
                    for i in range(rows):
                        copy(scratch, at + i * c_in, scratch, copied + i * k, k)
                    at, stride = copied, k
                multiply_integers(scratch, at, stride, weight, start, k, EXACT_DEPTH, scratch, totals)
                for i in range(rows):
                    place = (row + i) * c_out + to
                    scale = set1(scratch[scales_at + (row + i - block) * groups + group])
                    for j in range(0, columns, LANES):
                        lanes = min(LANES, columns - j)
                        y = load(scratch, i * WIDTH + j) * scale * load_n(channels, to + j, lanes)
                        finish(y, bias, has_bias, to + j, activation, residual, added, out, place + j, lanes)
