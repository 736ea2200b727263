"""Embedding and mean pooling."""

import numpy as np

from squeezeops.backends._numba.compiled import kernel
from squeezeops.backends._numba.elementary import ZERO
from squeezeops.backends._numba.rows import divide, fill
from squeezeops.backends._numba.vector import LANES, load_n, pointer, set1, store_n


@kernel
def embedding(first, last, ids, table, stride, scales, add, n, out):
    """Row i of out = row ids[i] of the table, or is increased by it. A uint16 table holds the bits of float16.

    An int8 table comes with the scale of each row of out; its own rows have more at their end.
    """
    scaled = scales.size > 0
    ids, table, scales, out = pointer(ids), pointer(table), pointer(scales), pointer(out)
    for row in range(first, last):
        at, to = ids[row] * stride, row * n
        for i in range(0, n, LANES):
            lanes = min(LANES, n - i)
            value = load_n(table, at + i, lanes)
            if scaled:
                value = value * set1(scales[row])
            if add:
                value = load_n(out, to + i, lanes) + value
            store_n(out, to + i, value, lanes)


@kernel
def mean_pool(first, last, x, mask, length, n, out):
    """Row b of out = the mean of those of `length` rows of x that are not 0 in the mask (all, if it is empty).

    They are added in their order. Without any, zeros.
    """
    masked = mask.size > 0
    x, mask, out = pointer(x), pointer(mask), pointer(out)
    for b in range(first, last):
        to = b * n
        fill(out, to, n, ZERO)
        count = 0
        for row in range(b * length, (b + 1) * length):
            if masked and mask[row] == 0:
                continue
            count += 1
            for i in range(0, n, LANES):
                lanes = min(LANES, n - i)
                store_n(out, to + i, load_n(out, to + i, lanes) + load_n(x, row * n + i, lanes), lanes)
        if count > 0:
            divide(out, to, n, np.float32(count))
