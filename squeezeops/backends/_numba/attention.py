"""Attention: TILE_ROWS queries of a head at a time against all keys of the sequence.

    scores  = q k^T, one chain of fma over the head's elements     K is packed to panels of WIDTH keys
    softmax = rows of scores, scale and mask inside                 (rows.py)
    out     = p v, one chain of fma over the keys, ascending        V is packed to panels of WIDTH columns

There is no online rescaling: it would tie the bits to the tile.
"""

import numpy as np

from squeezeops.backends._numba.compiled import inline, kernel, part
from squeezeops.backends._numba.convolution import multiply
from squeezeops.backends._numba.elementary import ONE, ZERO
from squeezeops.backends._numba.rows import LOWEST, MINUS_INFINITY, copy, fill, softmax_row
from squeezeops.backends._numba.vector import (
    LANES,
    TILE_ROWS,
    WIDTH,
    accumulate,
    load_n,
    pointer,
    store,
    store_tile,
    zero_row,
)

F = np.float32


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
