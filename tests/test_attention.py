"""attention: masks of every shape, ragged batches."""

import itertools

import numpy as np
import pytest
from op_helpers import assert_repeats, assert_same_bits, assert_within, normal
from op_table import OPS, attention64

from squeezeops import ops


def check(guards, q, k, v, **kwargs):
    return OPS["attention"].check(guards, q=q, k=k, v=v, **kwargs)


def qkv(rng, batch, lq, lk, channels):
    return normal(rng, batch, lq, channels), normal(rng, batch, lk, channels), normal(rng, batch, lk, channels)


def test_sharp_attention_picks_one_key(variant):
    eye = np.eye(20, dtype=np.float32)[None] * 30
    v = np.arange(20 * 20, dtype=np.float32).reshape(1, 20, 20)
    assert_same_bits(ops.attention(eye, eye, v, num_heads=1, scale=1.0), v)


MASK_SHAPES = [
    (2, 3, 9, 17), (2, 1, 1, 17), (2, 1, 9, 17), (1, 3, 9, 17), (2, 3, 1, 1), (3, 1, 17), (9, 17), (9, 1), (17,), (1,),
    (),
]  # fmt: skip


@pytest.mark.parametrize("fully_masked", ["uniform", "zero"])
@pytest.mark.parametrize("shape", MASK_SHAPES, ids=str)
def test_masks(variant, guards, rng, shape, fully_masked):
    q, k, v = qkv(rng, 2, 9, 17, 24)
    kwargs = {"num_heads": 3, "fully_masked": fully_masked}
    keep = np.asarray(rng.random(shape) < 0.6)
    y = check(guards, q, k, v, mask=keep, **kwargs)
    additive = np.where(keep, np.float32(0), np.float32(-np.inf))
    assert_repeats(ops.attention(q, k, v, mask=additive, **kwargs), y)
    mixed = np.where(keep, np.asarray(normal(rng, *shape) * 2, np.float32), np.float32(-np.inf))
    check(guards, q, k, v, mask=mixed, **kwargs)


def test_causal_mask(variant, guards, rng):
    q, k, v = qkv(rng, 2, 17, 17, 16)
    y = check(guards, q, k, v, num_heads=2, mask=np.tri(17, dtype=bool))
    assert_same_bits(y[:, 0], v[:, 0])


@pytest.mark.parametrize("fully_masked", ["uniform", "zero"])
def test_fully_masked_rows(variant, guards, rng, fully_masked):
    q, k, v = qkv(rng, 3, 9, 17, 24)
    mask = rng.random((3, 2, 9, 17)) < 0.5
    mask[1] = mask[0, 1] = mask[2, :, ::2] = False
    y = check(guards, q, k, v, num_heads=2, mask=mask, fully_masked=fully_masked)
    if fully_masked == "zero":
        assert (y[1] == 0).all() and (y[0, :, 12:] == 0).all() and (y[2, ::2] == 0).all()
        k[1] = v[1] = np.nan
        spoilt = ops.attention(q, k, v, num_heads=2, mask=mask, fully_masked=fully_masked)
        assert_repeats(spoilt, y)
    else:
        k[1] = np.nan  # the mean of the values does not depend on the scores
        spoilt = ops.attention(q, k, v, num_heads=2, mask=mask, fully_masked=fully_masked)
        assert_repeats(spoilt, y)


@pytest.mark.parametrize("value", [np.nan, np.inf, 3e38])
@pytest.mark.parametrize("kind", ["bool", "-inf"])
def test_excluded_keys_do_not_leak(variant, rng, value, kind):
    q, k, v = qkv(rng, 2, 9, 35, 24)
    keep = rng.random((2, 1, 1, 35)) < 0.5
    keep[..., 0] = True
    mask = keep if kind == "bool" else np.where(keep, np.float32(0), np.float32(-np.inf))
    expected = ops.attention(q, k, v, num_heads=2, mask=mask)
    spoilt = [np.where(keep[:, 0, 0, :, None], a, np.float32(value)) for a in (k, v)]
    assert_repeats(ops.attention(q, *spoilt, num_heads=2, mask=mask), expected)


def test_excluded_keys_do_not_leak_by_query(variant, rng):
    """Each query excludes a different key. A NaN key affects only the queries that attend to it."""
    q, k, v = qkv(rng, 1, 17, 17, 16)
    v[0, 3] = np.nan
    mask = ~np.eye(17, dtype=bool)
    y = ops.attention(q, k, v, num_heads=2, mask=mask)
    assert np.isfinite(y[0, 3]).all()
    assert np.isnan(np.delete(y[0], 3, axis=0)).all()


def test_finite_masks_are_added(variant, guards, rng):
    """Hugging Face masks with the lowest float. It removes a key, but a row masked as a whole becomes uniform."""
    q, k, v = qkv(rng, 2, 5, 9, 16)
    mask = np.where(rng.random((2, 1, 1, 9)) < 0.5, 0, np.finfo(np.float32).min).astype(np.float32)
    mask[0, ..., 0] = 0
    mask[1] = np.finfo(np.float32).min
    y = ops.attention(q, k, v, num_heads=2, mask=mask, fully_masked="zero")
    expected, bound = attention64(q, k, v, num_heads=2, mask=mask > -1)
    assert_within(y, expected, bound)


@pytest.mark.parametrize("lengths", [[5], [1, 17, 0, 8, 3], [0], [], [0, 0, 9], [33, 2]], ids=str)
@pytest.mark.parametrize("kind", ["none", "bool", "float"])
def test_ragged(variant, guards, rng, lengths, kind):
    """Each sequence has the bits that it has alone, or padded in a batch with anything behind it."""
    heads, total = 3, sum(lengths)
    q, k, v = (normal(rng, total, heads * (20 if kind == "none" else 8)) for _ in range(3))
    mask = {"none": None, "bool": rng.random(total) < 0.6, "float": normal(rng, total)}[kind]
    if kind == "float":
        mask[rng.random(total) < 0.3] = -np.inf
    options = {"num_heads": heads, "scale": 0.5, "fully_masked": "uniform" if kind == "none" else "zero"}
    offsets = np.cumsum([0, *lengths], dtype=np.int32)
    y = guards.call(ops.attention, q, k, v, cu_seqlens=offsets, mask=mask, **options)
    padded = [np.full((len(lengths), 40, q.shape[1]), np.nan, np.float32) for _ in range(3)]
    keep = np.full((len(lengths), 1, 1, 40), -np.inf, np.float32)
    for b, (begin, end) in enumerate(itertools.pairwise(offsets)):
        alone = [a[None, begin:end] for a in (q, k, v)]
        own = None if mask is None else mask[begin:end]
        assert_repeats(y[begin:end], check(guards, *alone, mask=own, **options)[0])
        for whole, part in zip(padded, alone, strict=True):
            whole[b, : end - begin] = part[0]
        keep[b, ..., : end - begin] = 0 if own is None else np.where(own, 0, -np.inf) if kind == "bool" else own
    together = ops.attention(*padded, mask=keep, **options)
    for b, (begin, end) in enumerate(itertools.pairwise(offsets)):
        assert_repeats(together[b, : end - begin], y[begin:end])


@pytest.mark.parametrize("masked", [False, True])
def test_queries_of_some_rows(variant, guards, rng, masked):
    """Fewer queries than rows per sequence give the same rows as all queries."""
    lengths, queries = [5, 1, 17, 0, 8, 3], [2, 1, 9, 0, 0, 3]
    total, heads = sum(lengths), 3
    q, k, v = (normal(rng, total, heads * 8) for _ in range(3))
    offsets = np.cumsum([0, *lengths], dtype=np.int32)
    key_mask = rng.random(total) < 0.6 if masked else None
    if masked:
        key_mask[:5] = False  # a whole sequence
    everything = ops.attention(q, k, v, num_heads=heads, cu_seqlens=offsets, mask=key_mask)
    chosen = [rng.permutation(length)[:n] + begin for length, n, begin in zip(lengths, queries, offsets, strict=False)]
    rows = np.concatenate(chosen).astype(int)
    some = guards.call(
        ops.attention,
        q[rows],
        k,
        v,
        num_heads=heads,
        cu_seqlens_q=np.cumsum([0, *queries], dtype=np.int32),
        cu_seqlens_k=offsets,
        mask=key_mask,
    )
    assert_repeats(some, everything[rows])


def test_ragged_sequences_do_not_mix(variant, rng):
    q, k, v = (normal(rng, 20, 16) for _ in range(3))
    offsets = np.array([0, 7, 12, 20], np.int32)
    y = ops.attention(q, k, v, num_heads=2, cu_seqlens=offsets)
    for a in (q, k, v):
        a[7:12] = np.nan
    z = ops.attention(q, k, v, num_heads=2, cu_seqlens=offsets)
    assert np.isnan(z[7:12]).all()
    z[7:12] = y[7:12]
    assert_repeats(z, y)
