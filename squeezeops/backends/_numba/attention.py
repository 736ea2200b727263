"""Attention: TILE_ROWS queries of a head at a time against all keys of the sequence.

    scores  = q k^T, one chain of fma over the head's elements     K is packed to panels of WIDTH keys
    softmax = rows of scores, scale and mask inside                 (rows.py)
    out     = p v, one chain of fma over the keys, ascending        V is packed to panels of WIDTH columns

There is no online rescaling: it would tie the bits to the tile.

Quantised rows come as integers in float32, and take the same way; docs/numerics.md has their operations.
"""

import math

import numpy as np

from squeezeops.backends._numba.compiled import inline, kernel, part
from squeezeops.backends._numba.convolution import EXACT_DEPTH, multiply, multiply_integers
from squeezeops.backends._numba.elementary import EXP2_254, LEAST_EXPONENT, LOG2, ONE, ZERO
from squeezeops.backends._numba.rows import LOWEST, MINUS_INFINITY, copy, fill, softmax_row
from squeezeops.backends._numba.vector import (
    LANES,
    TILE_ROWS,
    WIDTH,
    accumulate,
    fma,
    horner,
    load,
    load_n,
    max_of,
    pointer,
    rint,
    scale2,
    select,
    set1,
    store,
    store_n,
    store_tile,
    sum_of,
    zero_row,
)

F = np.float32
EXACT_KEYS = 2**24 // (254 * 127)
HALF_OF_BYTES, EXCLUDED, LEAST_TOP, LEAST_SHARE, LOW = F(127), F(-3e38), F(2.0**-108), F(2.0**-60), F(0.75)


def places(keys: int, size: int) -> tuple[int, int, int, int, int, int]:
    """Where the parts of the scratch memory begin: q, a tile, scores, K, V; where it ends; the stride of the scores.

    q is TILE_ROWS rows of the head's elements, copied so that a last block of fewer queries can be read as a whole one.
    """
    columns = (keys + WIDTH - 1) // WIDTH * WIDTH
    stride = columns + LANES  # not a power of two, of which rows would share cache sets
    tile = TILE_ROWS * size
    scores = tile + TILE_ROWS * WIDTH
    k = scores + TILE_ROWS * stride
    v = k + columns * size
    end = v + (size + WIDTH - 1) // WIDTH * WIDTH * keys
    return tile, scores, k, v, end, stride


def scratch_size(keys: int, size: int) -> int:
    """Floats of scratch memory of `attend` and `score`, for up to `keys` and heads of `size` elements."""
    return places(keys, size)[4]


_places = inline(places)


@part
def pack_keys(k, at, stride, keys, size, scratch, to):
    """[panel of WIDTH keys][size][WIDTH]. Columns after the last key are not written: their scores are not used."""
    for key in range(keys):
        place = to + key // WIDTH * WIDTH * size + key % WIDTH
        for i in range(size):
            scratch[place + i * WIDTH] = k[at + key * stride + i]


@part
def pack_values(v, at, stride, keys, size, scratch, to):
    """[panel of WIDTH columns][keys][WIDTH], padded with zeros."""
    for column in range(0, size, WIDTH):
        for key in range(keys):
            for j in range(column, column + WIDTH, LANES):
                lanes = max(0, min(LANES, size - j))
                store(scratch, to, load_n(v, at + key * stride + j, lanes))
                to += LANES


@part
def multiply_keys(q, at, stride, rows, keys, size, scratch, scores_at, keys_at, scores_stride):
    """Scores of a block of queries, without scale or mask."""
    for i in range(rows):
        copy(q, at + i * stride, scratch, i * size, size)
    for key in range(0, keys, WIDTH):
        multiply(scratch, 0, size, scratch, keys_at + key * size, size, scratch, scores_at + key, scores_stride)


@part
def multiply_values(scratch, scores_at, stride, values_at, tile_at, rows, keys, size, out, to, out_stride):
    """A block of rows of p v."""
    for column in range(0, size, WIDTH):
        multiply(scratch, scores_at, stride, scratch, values_at + column * keys, keys, scratch, tile_at, WIDTH)
        columns = min(WIDTH, size - column)
        for i in range(rows):
            copy(scratch, tile_at + i * WIDTH, out, to + i * out_stride + column, columns)


@part
def multiply_kept_values(scratch, p_at, mask, mask_at, masked, values_at, tile_at, keys, size, out, to):
    """One row of p v over the keys that the mask does not exclude, so that NaN in the other rows of V cannot leak."""
    for column in range(0, size, WIDTH):
        tile = zero_row()
        for key in range(keys):
            if not (masked and mask[mask_at + key] < LOWEST):
                tile = accumulate(tile, scratch, p_at + key, 0, scratch, values_at + column * keys + key * WIDTH)
        store_tile(scratch, tile_at, WIDTH, tile)
        copy(scratch, tile_at, out, to + column, min(WIDTH, size - column))


@inline
def task_of(number, q_offsets, k_offsets, heads, splits):
    """Sequence, head, first and last query, first key and number of keys of task `number`."""
    part, head, b = number % splits, number // splits % heads, number // splits // heads
    queries, keys = q_offsets[b + 1] - q_offsets[b], k_offsets[b + 1] - k_offsets[b]
    chunk = (queries + splits - 1) // splits
    begin = min(part * chunk, queries)
    return b, head, q_offsets[b] + begin, q_offsets[b] + min(begin + chunk, queries), k_offsets[b], keys


@kernel
def attend(
    first, last, q, k, v, mask, mask_strides, q_offsets, k_offsets, heads, size, scale, uniform, splits, scratch, out
):
    """Attention of tasks from `first` to `last`: each is a part of the queries of a head of a sequence.

    Sequence b has the rows from q_offsets[b] of q and from k_offsets[b] of k and v. The mask is empty, or added: -inf
    excludes. mask_strides are its strides along sequences, heads, queries and rows of k; the last of them is for the
    first key of a sequence alone, as the others follow it without gaps.
    """
    masked, c = mask.size > 0, heads * size
    q, k, v, mask, scratch, out = pointer(q), pointer(k), pointer(v), pointer(mask), pointer(scratch), pointer(out)
    q_offsets, k_offsets = pointer(q_offsets), pointer(k_offsets)
    for number in range(first, last):
        b, head, begin, end, key0, keys = task_of(number, q_offsets, k_offsets, heads, splits)
        if begin == end:
            continue
        tile_at, scores_at, keys_at, values_at, _, stride = _places(keys, size)
        pack_keys(k, key0 * c + head * size, c, keys, size, scratch, keys_at)
        pack_values(v, key0 * c + head * size, c, keys, size, scratch, values_at)
        mask_begin = b * mask_strides[0] + head * mask_strides[1] + key0 * mask_strides[3]
        for row in range(begin, end, TILE_ROWS):
            rows = min(TILE_ROWS, end - row)
            at = row * c + head * size
            multiply_keys(q, at, c, rows, keys, size, scratch, scores_at, keys_at, stride)
            for i in range(rows):
                p_at, to = scores_at + i * stride, at + i * c
                mask_at = mask_begin + (row + i - q_offsets[b]) * mask_strides[2]
                some = softmax_row(scratch, p_at, mask, mask_at, masked, keys, scale, scratch, p_at)
                if masked and (some or uniform):
                    if not some:
                        fill(scratch, p_at, keys, ONE / F(keys))
                    multiply_kept_values(scratch, p_at, mask, mask_at, some, values_at, tile_at, keys, size, out, to)
                elif masked:
                    fill(out, to, size, ZERO)
            if not masked:
                multiply_values(scratch, scores_at, stride, values_at, tile_at, rows, keys, size, out, at, c)


@kernel
def score(first, last, q, k, mask, mask_strides, q_offsets, k_offsets, heads, size, scale, splits, scratch, out):
    """Scaled and masked scores of tasks as in `attend`: out (B, heads, Lq, Lk), for sequences of one length."""
    masked, c = mask.size > 0, heads * size
    q, k, mask, scratch, out = pointer(q), pointer(k), pointer(mask), pointer(scratch), pointer(out)
    q_offsets, k_offsets = pointer(q_offsets), pointer(k_offsets)
    for number in range(first, last):
        b, head, begin, end, key0, keys = task_of(number, q_offsets, k_offsets, heads, splits)
        if begin == end:
            continue
        _, scores_at, keys_at, _, _, stride = _places(keys, size)
        pack_keys(k, key0 * c + head * size, c, keys, size, scratch, keys_at)
        queries = q_offsets[b + 1] - q_offsets[b]
        for row in range(begin, end, TILE_ROWS):
            rows = min(TILE_ROWS, end - row)
            multiply_keys(q, row * c + head * size, c, rows, keys, size, scratch, scores_at, keys_at, stride)
            for i in range(rows):
                query = row + i - q_offsets[b]
                mask_at = b * mask_strides[0] + head * mask_strides[1] + query * mask_strides[2]
                to = ((b * heads + head) * queries + query) * keys
                for key in range(keys):
                    s = scratch[scores_at + i * stride + key] * scale
                    if masked:
                        added = mask[mask_at + key]
                        s = MINUS_INFINITY if added < LOWEST else s + added
                    out[to + key] = s


# Quantised rows.


def s8_scratch_size(keys: int, size: int) -> int:
    """Floats of scratch memory of `attend_s8`: a tile, that of `attend`, and three numbers for each key."""
    return TILE_ROWS * WIDTH + scratch_size(keys, size) + 3 * (keys + LANES)


@part
def prepare_keys(k_scales, v_scales, at, stride, mask, mask_at, masked, keys, scratch, scales_at, logs_at, shares_at):
    """Store the scales of k, and log2 x and 1 / x, with the scales of v as x times the largest; return that.

    For keys that are excluded, and those that fill up the last vector: 0, EXCLUDED and 0.
    """
    top = LEAST_TOP
    for key in range(keys):
        if not (masked and mask[mask_at + key] == 0) and top < v_scales[at + key * stride]:
            top = v_scales[at + key * stride]
    for key in range(0, keys, LANES):
        for i in range(key, key + LANES):
            share = v_scales[at + i * stride] / top if i < keys else ONE
            share = LEAST_SHARE if share < LEAST_SHARE else share
            mantissa, exponent = math.frexp(share)
            low = mantissa < LOW
            scratch[shares_at + i] = share
            scratch[scales_at + i] = F(exponent) - (ONE if low else ZERO)
            scratch[logs_at + i] = F(mantissa + mantissa if low else mantissa) - ONE
        m, n = load(scratch, logs_at + key), load(scratch, scales_at + key)
        store(scratch, logs_at + key, fma(horner(m, LOG2), m, n))
        store(scratch, shares_at + key, set1(ONE) / load(scratch, shares_at + key))
        for i in range(key, key + LANES):
            keep = i < keys and not (masked and mask[mask_at + i] == 0)
            scratch[scales_at + i] = k_scales[at + i * stride] if keep else ZERO
            if not keep:
                scratch[logs_at + i], scratch[shares_at + i] = EXCLUDED, ZERO
    return top


@part
def weigh_keys(scratch, scores_at, scales_at, logs_at, shares_at, keys, row_scale):
    """Turn a row of integer scores to the bytes of their exponentials; return the sum of these."""
    row, most = set1(row_scale), set1(MINUS_INFINITY)
    for key in range(0, keys, LANES):  # the last vector too is whole: its other keys are EXCLUDED
        scores = load_n(scratch, scores_at + key, min(LANES, keys - key)) * load(scratch, scales_at + key)
        t = fma(scores, row, load(scratch, logs_at + key))
        most = select(most < t, t, most)
        store(scratch, scores_at + key, t)
    largest, total = set1(max_of(most)), set1(ZERO)
    for key in range(0, keys, LANES):
        u = load(scratch, scores_at + key) - largest
        u = select(u < set1(LEAST_EXPONENT), set1(LEAST_EXPONENT), u)
        n = rint(u)
        e = scale2(horner(u - n, EXP2_254), n)
        total = fma(e, load(scratch, shares_at + key), total)
        store(scratch, scores_at + key, rint(e - set1(HALF_OF_BYTES)) + set1(HALF_OF_BYTES))
    return sum_of(total)


@part
def mean_of_values(v, at, stride, v_scales, scales_at, heads, keys, size, scratch, to):
    """The mean of the rows of v, a chain of fma, ascending."""
    share = set1(ONE / F(keys))
    for column in range(0, size, LANES):
        lanes = min(LANES, size - column)
        mean = set1(ZERO)
        for key in range(keys):
            row = load_n(v, at + key * stride + column, lanes) * set1(v_scales[scales_at + key * heads])
            mean = fma(share, row, mean)
        store_n(scratch, to + column, mean, lanes)


@inline
def finish_s8(y, value_scale, value_bias, channel, out, place, lanes):
    """out[place : ] = y * value_scale + value_bias."""
    store_n(out, place, fma(y, load_n(value_scale, channel, lanes), load_n(value_bias, channel, lanes)), lanes)


@kernel
def attend_s8(
    first, last, q, q_scales, k, k_scales, v, v_scales, mask, mask_strides, q_offsets, k_offsets, heads, size, factor,
    uniform, value_scale, value_bias, splits, scratch, totals, out,
):  # fmt: skip
    """As `attend`, with q, k and v of integers, and scales (rows, heads). The mask is of bytes; 0 excludes."""
    masked, c = mask.size > 0, heads * size
    q, k, v, mask, scratch, out = pointer(q), pointer(k), pointer(v), pointer(mask), pointer(scratch), pointer(out)
    q_scales, k_scales, v_scales = pointer(q_scales), pointer(k_scales), pointer(v_scales)
    value_scale, value_bias = pointer(value_scale), pointer(value_bias)
    q_offsets, k_offsets = pointer(q_offsets), pointer(k_offsets)
    for number in range(first, last):
        b, head, begin, end, key0, keys = task_of(number, q_offsets, k_offsets, heads, splits)
        if begin == end:
            continue
        channel = head * size
        mask_at = b * mask_strides[0] + head * mask_strides[1] + key0 * mask_strides[3]
        kept = not masked
        for key in range(keys):
            kept = kept or mask[mask_at + key] != 0
        if keys == 0 or not (kept or uniform):
            for row in range(begin, end):
                fill(out, row * c + channel, size, ZERO)
            continue
        _, scores_at, keys_at, values_at, end_at, stride = _places(keys, size)
        tile = TILE_ROWS * WIDTH
        q_at, scores_at, keys_at, values_at, scales_at = (
            tile, tile + scores_at, tile + keys_at, tile + values_at, tile + end_at
        )  # fmt: skip
        logs_at, shares_at = scales_at + keys + LANES, scales_at + 2 * (keys + LANES)
        if not kept:
            mean_of_values(v, key0 * c + channel, c, v_scales, key0 * heads + head, heads, keys, size, scratch, q_at)
            for row in range(begin, end):
                for j in range(0, size, LANES):
                    lanes = min(LANES, size - j)
                    y = load_n(scratch, q_at + j, lanes)
                    finish_s8(y, value_scale, value_bias, channel + j, out, row * c + channel + j, lanes)
            continue
        top = prepare_keys(
            k_scales, v_scales, key0 * heads + head, heads, mask, mask_at, masked, keys, scratch, scales_at, logs_at,
            shares_at,
        )  # fmt: skip
        pack_keys(k, key0 * c + channel, c, keys, size, scratch, keys_at)
        pack_values(v, key0 * c + channel, c, keys, size, scratch, values_at)
        for row in range(begin, end, TILE_ROWS):
            rows = min(TILE_ROWS, end - row)
            for i in range(rows):
                copy(q, (row + i) * c + channel, scratch, q_at + i * size, size)
            for key in range(0, keys, WIDTH):
                start = keys_at + key * size
                multiply_integers(scratch, q_at, size, scratch, start, size, EXACT_DEPTH, scratch, totals)
                for i in range(rows):
                    copy(scratch, i * WIDTH, scratch, scores_at + i * stride + key, min(WIDTH, keys - key))
            for i in range(rows):
                row_scale = q_scales[(row + i) * heads + head] * factor
                total = weigh_keys(scratch, scores_at + i * stride, scales_at, logs_at, shares_at, keys, row_scale)
                scratch[q_at + i] = top / total  # q is not needed any more
            for column in range(0, size, WIDTH):
                start = values_at + column * keys
                multiply_integers(scratch, scores_at, stride, scratch, start, keys, EXACT_KEYS, scratch, totals)
                for i in range(rows):
                    factor_of_row, place = set1(scratch[q_at + i]), (row + i) * c + channel + column
                    for j in range(0, min(WIDTH, size - column), LANES):
                        lanes = min(LANES, size - column - j)
                        y = load(scratch, i * WIDTH + j) * factor_of_row
                        finish_s8(y, value_scale, value_bias, channel + column + j, out, place + j, lanes)
