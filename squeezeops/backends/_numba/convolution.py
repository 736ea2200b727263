"""Grouped pointwise convolution, and the inner loop that attention has too.

Weights are packed to [groups][panels][C_in / groups][WIDTH]: a panel is WIDTH successive output channels of a group,
the last one filled up with zeros.
"""

import numpy as np

from squeezeops.backends._numba.compiled import kernel, part
from squeezeops.backends._numba.elementary import activate
from squeezeops.backends._numba.rows import copy
from squeezeops.backends._numba.vector import (
    LANES,
    TILE_ROWS,
    WIDTH,
    accumulate,
    load,
    load_n,
    pointer,
    store_n,
    store_tile,
    zero_tile,
)

# Rows that take their turn at a panel before the next one comes: they stay in the second cache.
ROW_BLOCK = 96


def pack(weight: np.ndarray, groups: int) -> np.ndarray:
    """Pack a float32 weight (C_out, C_in / groups)."""
    c_out, k = weight.shape
    n = c_out // groups
    panels = -(-n // WIDTH)
    packed = np.zeros((groups, panels * WIDTH, k), np.float32)
    packed[:, :n] = weight.reshape(groups, n, k)
    packed[np.abs(packed) < np.finfo(np.float32).tiny] = 0  # a packed weight is never subnormal, in any backend
    return np.ascontiguousarray(packed.reshape(groups, panels, WIDTH, k).transpose(0, 1, 3, 2))


def unpack(packed: np.ndarray, groups: int, k: int, n: int) -> np.ndarray:
    """The weight (groups, C_out / groups, C_in / groups) that was packed."""
    panels = -(-n // WIDTH)
    padded = packed.reshape(groups, panels, k, WIDTH).transpose(0, 1, 3, 2).reshape(groups, panels * WIDTH, k)
    return padded[:, :n]


def scratch_size(k: int) -> int:
    """Floats of memory that `convolve` works in, for k input channels a group."""
    return TILE_ROWS * (WIDTH + k)


@part
def multiply(x, at, stride, panel, start, depth, out, to, out_stride):
    """out[to + row * out_stride + column] = sum of x[at + row * stride + k] * panel[start + k * WIDTH + column].

    For the rows and columns of a tile, each a chain of fma, k ascending.
    """
    tile = zero_tile()
    for k in range(depth):
        tile = accumulate(tile, x, at + k, stride, panel, start + k * WIDTH)
    store_tile(out, to, out_stride, tile)


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
                # The tile comes through memory: beside one in registers there is no room for an activation.
                if rows == TILE_ROWS:
                    multiply(x, at, c_in, weight, start, k, scratch, 0, WIDTH)
                else:  # copied, so that there is a whole tile to read; what is computed of its rest is not used
                    for i in range(rows):
                        copy(x, at + i * c_in, scratch, copied + i * k, k)
                    multiply(scratch, copied, k, weight, start, k, scratch, 0, WIDTH)
                for i in range(rows):
                    place = (row + i) * c_out + to
                    for j in range(0, columns, LANES):
                        lanes = min(LANES, columns - j)
                        y = load(scratch, i * WIDTH + j)
                        if has_bias:
                            y = y + load_n(bias, to + j, lanes)
                        y = activate(y, activation)
                        if added:
                            y = y + load_n(residual, place + j, lanes)
                        store_n(out, place + j, y, lanes)
