"""attention on quantised rows: masks, special scales, ragged batches, and the bits of the specification."""

import itertools

import numpy as np
import pytest
from golden_bits import TO_TOLERANCE
from op_helpers import INT8_VARIANTS, assert_repeats, assert_same_bits, native, normal
from op_table import OPS, attention64

from squeezeops import ops
from squeezeops.benchmark.variants import using_threads

F = np.float32
E0 = F(253.981735)  # the exponential of the largest score, which stands for 254


@pytest.fixture(params=INT8_VARIANTS, ids=str)
def variant(request):
    """A backend, or an ISA of the native backend that has its own int8 kernels."""
    with request.param.active():
        yield request.param


def qkv(rng, batch, lq, lk, channels):
    return normal(rng, batch, lq, channels), normal(rng, batch, lk, channels), normal(rng, batch, lk, channels)


def quantised(arrays, heads):
    return [ops.quantize_rows(x, groups=heads) for x in arrays]


def check(guards, q, k, v, **rest):
    return OPS["attention_int8"].check(guards, q=q, k=k, v=v, **rest)


def fma(a, b, c):
    return (np.asarray(a, float) * np.asarray(b, float) + np.asarray(c, float)).astype(F)


@pytest.mark.parametrize("keys", [1, 16, 128, 384])
def test_close_to_attention_of_floats(variant, rng, keys):
    """Of rows as they leave a convolution: norms differ by channel and by token."""
    q, k, v = qkv(rng, 2, keys, keys, 12 * 64)
    k, v = k * np.exp(normal(rng, 2, keys, 1) / 4), v * np.exp(normal(rng, 2, keys, 1))
    y = ops.attention(*quantised((q, k, v), 12), num_heads=12).astype(float)
    exact, _ = attention64(q, k, v, num_heads=12)
    assert (y * exact).sum() > 0.9995 * np.linalg.norm(y) * np.linalg.norm(exact)
    assert np.linalg.norm(y - exact) < 0.03 * np.linalg.norm(exact)


@pytest.mark.parametrize("variant", [v for v in INT8_VARIANTS if v.isa not in TO_TOLERANCE], ids=str, indirect=True)
def test_the_bits_of_the_specification(variant, rng):
    """NumPy computes a fused multiply-add in float64, which rounds otherwise once in 2^29 times."""
    for heads, size, lq, lk in [(3, 5, 9, 17), (2, 64, 70, 130), (1, 3, 2, 50), (12, 64, 16, 16)]:
        q, k, v = qkv(rng, 2, lq, lk, heads * size)
        v *= F(2.0) ** rng.integers(-20, 20, (2, lk, 1)).astype(F)
        rows = quantised((q * 3, k, v), heads)
        more = {"value_scale": normal(rng, heads * size), "value_bias": normal(rng, heads * size)}
        for mask in (None, rng.random((2, heads, 1, lk)) < 0.7):
            y = ops.attention(*rows, num_heads=heads, mask=mask, **more)
            with ops.backend("numpy"):
                expected = ops.attention(*rows, num_heads=heads, mask=mask, **more)
            assert_same_bits(y, expected)


def test_equal_scores(variant, rng):
    """All bytes are 254 and all sums exact."""
    k, v = normal(rng, 1, 16, 20), rng.integers(-127, 128, (1, 16, 20)).astype(F)
    v[..., 0] = 127
    y = ops.attention(*quantised((np.zeros((1, 3, 20), F), k, v), 1), num_heads=1)
    expected = (254 * v.sum(axis=1)).astype(F) * (F(1) / (16 * E0))
    assert_same_bits(y, np.broadcast_to(expected[:, None], y.shape).copy())


@pytest.mark.parametrize("keys", [1, 15, 16, 33])
def test_equal_scores_far_from_zero(variant, rng, keys):
    """Their size does not matter, also where the keys do not fill their last vector."""
    sizes = np.concatenate([-np.arange(3000), 2.0 ** np.arange(100), -(2.0 ** np.arange(100))]).astype(F)[None, :, None]
    q = ops.QuantizedRows(np.full((*sizes.shape[:2], 4), 255, np.uint8), sizes * F(1e-4))
    k = ops.QuantizedRows(np.full((1, keys, 4), 255, np.uint8), np.ones((1, keys, 1), F))
    (v,) = quantised([np.tile(normal(rng, 1, keys, 1), 4)], 1)
    v = ops.QuantizedRows(v.values, np.ones_like(v.scales))
    y = ops.attention(q, k, v, num_heads=1)
    assert_same_bits(y, np.broadcast_to(y[:, :1], y.shape).copy())
    assert np.isfinite(y).all()


def test_scales_of_values_are_undone(variant, guards, rng):
    """Whatever the scales are, one or two keys have the result that they would have as floats."""
    q, k, v = qkv(rng, 2, 5, 2, 16)
    for low, high in [(0, 0), (-40, 40), (-100, -90), (90, 110), (-99, 100)]:
        scales = F(2.0) ** rng.integers(low, high + 1, (2, 2, 1)).astype(F)
        check(guards, q, k, v * scales, num_heads=2)
        check(guards, q, k[:, :1], (v * scales)[:, :1], num_heads=2)
    v[:, 1] = 0
    check(guards, q, k, v, num_heads=2)
    assert_same_bits(check(guards, q, k, v * 0, num_heads=2), np.zeros_like(q))


MASK_SHAPES = [(2, 3, 1, 17), (2, 1, 1, 17), (1, 3, 1, 17), (3, 1, 17), (3, 1, 1), (1, 17), (17,), (1,), ()]


@pytest.mark.parametrize("fully_masked", ["uniform", "zero"])
@pytest.mark.parametrize("shape", MASK_SHAPES, ids=str)
def test_masks(variant, guards, rng, shape, fully_masked):
    q, k, v = qkv(rng, 2, 9, 17, 24)
    for keep in (np.asarray(rng.random(shape) < 0.6), np.zeros(shape, bool), np.ones(shape, bool)):
        kwargs = {"num_heads": 3, "fully_masked": fully_masked, "value_bias": normal(rng, 24)}
        y = check(guards, q, k, v, mask=keep, **kwargs)
        if keep.all():
            assert_repeats(y, check(guards, q, k, v, **kwargs))


@pytest.mark.parametrize("keys", [*range(1, 71), 384])
def test_numbers_of_keys(variant, guards, rng, keys):
    """Without a mask, with padding on the left or on the right, with holes, with one key alone."""
    q, k, v = qkv(rng, 1, 3, keys, 24)
    place = np.arange(keys)
    check(guards, q, k, v, num_heads=2)
    for mask in (place >= keys // 3, place < keys - keys // 3, rng.random(keys) < 0.6, place == keys // 2):
        check(guards, q, k, v, num_heads=2, mask=mask)


@pytest.mark.parametrize("keys", [*range(1, 71), 384])
def test_numbers_of_queries(variant, guards, rng, keys):
    """Each query has the bits that it has among others; on one thread, which computes all of a head."""
    size = (1, 5, 32, 61, 64, 65, 80)[keys % 7]
    q, *rest = quantised((normal(rng, 1, n, 2 * size) for n in (70, keys, keys)), 2)
    rest = [ops.QuantizedRows(*map(guards.keep, r)) for r in rest]
    options = {"num_heads": 2, "value_bias": guards.keep(normal(rng, 2 * size))}
    with using_threads(1):
        expected = ops.attention(q, *rest, **options)
        if variant.isa not in TO_TOLERANCE:
            with ops.backend("numpy"):
                assert_same_bits(expected, ops.attention(q, *rest, **options))
        for queries in range(1, 70, 1 if variant.isa else 9):
            first = ops.QuantizedRows(*(guards.keep(a[:, :queries]) for a in q))
            room = guards.empty((1, queries, 2 * size))
            ops.attention(first, *rest, **options, out=room)
            assert_repeats(room, expected[:, :queries])


@pytest.mark.parametrize("value", [np.nan, np.inf, 3e38])
def test_excluded_keys_do_not_leak(variant, rng, value):
    rows = quantised(qkv(rng, 2, 9, 35, 24), 2)
    keep = rng.random((2, 1, 1, 35)) < 0.5
    keep[..., 0] = True
    expected = ops.attention(*rows, num_heads=2, mask=keep)
    holes = ~keep[:, 0, 0]
    for which in (1, 2):
        values, scales = (a.copy() for a in rows[which])
        values[holes], scales[holes] = rng.integers(1, 256, values[holes].shape), value
        rows[which] = ops.QuantizedRows(values, scales)
        assert_repeats(ops.attention(*rows, num_heads=2, mask=keep), expected)


def test_an_infinite_scale_of_a_query_gives_nan(variant):
    """Whatever the signs of the scores are, and the number of keys."""
    k = ops.QuantizedRows(np.full((1, 16, 4), 255, np.uint8), np.ones((1, 16, 1), F))
    for byte in (1, 255):
        q = ops.QuantizedRows(np.full((1, 1, 4), byte, np.uint8), np.full((1, 1, 1), np.inf, F))
        for keys in (1, 15, 16):
            some = ops.QuantizedRows(*(a[:, :keys] for a in k))
            assert np.isnan(ops.attention(q, some, some, num_heads=1)).all()


def test_nan_stays_where_it_belongs(variant, rng):
    """In a row of q: in that row and head. In a key: in the head and sequence, but not if it is excluded."""
    rows = quantised(qkv(rng, 2, 9, 35, 24), 2)
    expected = ops.attention(*rows, num_heads=2)
    for which in range(3):
        spoilt = [ops.QuantizedRows(*(a.copy() for a in r)) for r in rows]
        spoilt[which].scales[1, 4, 1] = np.nan
        bad = np.zeros(expected.shape, bool)
        bad[1, 4 if which == 0 else slice(None), 12:] = True
        y = ops.attention(*spoilt, num_heads=2)
        assert np.isnan(y[bad]).all()
        assert_repeats(np.where(bad, expected, y), expected)
        mask = np.ones((2, 1, 1, 35), bool)
        mask[1, ..., 4] = False
        if which > 0:
            assert_repeats(*(ops.attention(*r, num_heads=2, mask=mask) for r in (spoilt, rows)))


@pytest.mark.parametrize("fully_masked", ["uniform", "zero"])
def test_fully_masked(variant, rng, fully_masked):
    """The mean is a chain of fused multiply-adds. It depends on v alone; zeros do not even get the bias."""
    rows = quantised(qkv(rng, 3, 9, 21, 24), 2)
    mask = rng.random((3, 2, 1, 21)) < 0.5
    mask[1] = mask[2, 1] = False
    scale, bias = normal(rng, 24), normal(rng, 24)
    kwargs = {"num_heads": 2, "mask": mask, "fully_masked": fully_masked, "value_scale": scale, "value_bias": bias}
    y = ops.attention(*rows, **kwargs)
    mean = np.zeros((3, 24), F)
    for key in range(21):
        floats = (rows[2].values[:, key].astype(F) - 128) * np.repeat(rows[2].scales[:, key], 12, axis=1)
        mean = fma(F(1) / F(21), floats, mean)
    expected = fma(mean, scale, bias) if fully_masked == "uniform" else np.zeros((3, 24), F)
    for b, part in ((1, slice(0, 24)), (2, slice(12, 24))):
        if variant.isa not in TO_TOLERANCE:
            assert_same_bits(y[b, :, part].copy(), np.broadcast_to(expected[b, part], y[b, :, part].shape).copy())
        np.testing.assert_allclose(y[b, 0, part], expected[b, part], rtol=1e-4, atol=1e-4)
    for which in range(2 if fully_masked == "uniform" else 3):
        rows[which].scales[1] = np.nan
    assert_repeats(ops.attention(*rows, **kwargs), y)
    if fully_masked == "uniform":
        rows[2].scales[1, 3] = np.nan
        assert np.isnan(ops.attention(*rows, **kwargs)[1]).all()


def test_no_keys(variant, rng):
    """The result is +0, without value_bias."""
    rows = quantised((normal(rng, 2, 3, 24), *np.zeros((2, 2, 0, 24), F)), 2)
    for word in ("uniform", "zero"):
        y = ops.attention(*rows, num_heads=2, fully_masked=word, value_bias=normal(rng, 24))
        assert_same_bits(y, np.zeros((2, 3, 24), F))


@pytest.mark.parametrize("batch, lq, channels", [(0, 3, 24), (2, 0, 24), (2, 3, 0), (0, 0, 0)])
def test_empty(variant, rng, batch, lq, channels):
    rows = quantised(qkv(rng, batch, lq, 5, channels), 2)
    assert ops.attention(*rows, num_heads=2).shape == (batch, lq, channels)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 63, 64, 65, 66])
def test_the_channels_of_the_result(variant, guards, rng, size):
    """As many as value_scale, value_bias or out have; without these as the bytes, with zeros for those in between."""
    channels, width = 3 * size, 3 * (-(-size // 4) * 4)
    rows = quantised(qkv(rng, 2, 9, 17, channels), 3)
    options = {"num_heads": 3, "scale": 0.3}
    bare = ops.attention(*rows, **options)
    assert bare.shape == (2, 9, width)
    y = np.ascontiguousarray(bare.reshape(2, 9, 3, -1)[..., :size].reshape(2, 9, channels))
    assert (bare.reshape(2, 9, 3, -1)[..., size:] == 0).all()
    assert_repeats(ops.attention(*rows, **options, out=guards.empty(y.shape)), y)
    scale, bias = normal(rng, channels), normal(rng, channels)
    assert_same_bits(ops.attention(*rows, **options, value_scale=scale), fma(y, scale, 0))
    assert_same_bits(ops.attention(*rows, **options, value_bias=bias), fma(y, 1, bias))
    both = ops.attention(*rows, **options, value_scale=scale, value_bias=bias)
    if variant.isa not in TO_TOLERANCE:
        assert_same_bits(both, fma(y, scale, bias))
    with ops.backend("numpy"):
        default = ops.attention(*rows, num_heads=3, value_bias=bias)
        assert_same_bits(default, ops.attention(*rows, num_heads=3, scale=1 / np.sqrt(size), value_bias=bias))


def test_layouts_and_guard_bands(variant, guards, rng):
    """Rows apart, reversed, with gaps, between other memory: the bits of dense ones."""
    for heads, size, lq, lk in [(3, 5, 9, 17), (2, 64, 13, 50), (1, 80, 2, 33), (2, 65, 7, 16)]:
        rows = quantised(qkv(rng, 2, lq, lk, heads * size), heads)
        bias, mask = normal(rng, heads * size), rng.random((2, 1, 1, lk)) < 0.7
        for options in ({"value_bias": bias}, {"value_bias": bias, "mask": mask}):
            options["num_heads"] = heads
            expected = ops.attention(*rows, **options)
            kept = [ops.QuantizedRows(*map(guards.keep, r)) for r in rows]
            room, safe = guards.empty(expected.shape), guards.keep_all(options)
            assert ops.attention(*kept, **safe, out=room) is room
            guards.check()
            assert_repeats(room, expected)
            for view in (
                lambda a: np.repeat(a, 2, axis=1)[:, ::2],
                lambda a: np.flip(np.flip(a).copy()),
                lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
                np.asfortranarray,
            ):
                strided = [ops.QuantizedRows(*map(view, r)) for r in rows]
                for a in itertools.chain(*strided):
                    a.flags.writeable = False
                assert_repeats(ops.attention(*map(tuple, strided), **options), expected)


@pytest.mark.parametrize("lengths", [[5], [1, 17, 0, 8, 3], [0], [], [0, 0, 9], [33, 2]], ids=str)
@pytest.mark.parametrize("masked", [False, True])
def test_ragged(variant, rng, lengths, masked):
    """Each sequence has the bits that it has alone, or padded in a batch with anything behind or before it."""
    heads, total = 3, sum(lengths)
    rows = quantised((normal(rng, total, heads * 20) for _ in range(3)), heads)
    mask = rng.random(total) < 0.6 if masked else None
    options = {"num_heads": heads, "fully_masked": "zero", "value_bias": normal(rng, heads * 20)}
    offsets = np.cumsum([0, *lengths], dtype=np.int32)
    y = ops.attention(*rows, cu_seqlens=offsets, mask=mask, **options)
    for side in (0, 5):
        padded = [
            ops.QuantizedRows(
                rng.integers(1, 256, (len(lengths), 40, r.values.shape[1])).astype(np.uint8),
                np.full((len(lengths), 40, heads), np.nan, F),
            )
            for r in rows
        ]
        keep = np.zeros((len(lengths), 1, 1, 40), bool)
        for b, (begin, end) in enumerate(itertools.pairwise(offsets)):
            for whole, part in zip(padded, rows, strict=True):
                for to, of in zip(whole, part, strict=True):
                    to[b, side : side + end - begin] = of[begin:end]
            keep[b, ..., side : side + end - begin] = True if mask is None else mask[begin:end]
            alone = [ops.QuantizedRows(r.values[None, begin:end], r.scales[None, begin:end]) for r in rows]
            own = None if mask is None else mask[begin:end]
            assert_repeats(ops.attention(*alone, mask=own, **options)[0], y[begin:end])
        together = ops.attention(*padded, mask=keep, **options)
        for b, (begin, end) in enumerate(itertools.pairwise(offsets)):
            if side == 0:
                assert_repeats(together[b, : end - begin], y[begin:end])
            else:  # the sum of the exponentials has another order
                np.testing.assert_allclose(together[b, side : side + end - begin], y[begin:end], rtol=1e-4, atol=0.03)


@pytest.mark.parametrize("masked", [False, True])
def test_queries_of_some_rows(variant, rng, masked):
    """Fewer queries than rows per sequence give the same rows as all queries."""
    lengths, queries, heads = [5, 1, 17, 0, 8, 3], [2, 1, 9, 0, 0, 3], 3
    total = sum(lengths)
    rows = quantised((normal(rng, total, heads * 8) for _ in range(3)), heads)
    offsets = np.cumsum([0, *lengths], dtype=np.int32)
    mask = rng.random(total) < 0.6 if masked else None
    everything = ops.attention(*rows, num_heads=heads, cu_seqlens=offsets, mask=mask)
    picked = [rng.permutation(length)[:n] + begin for length, n, begin in zip(lengths, queries, offsets, strict=False)]
    chosen = np.concatenate(picked).astype(int)
    some = ops.QuantizedRows(rows[0].values[chosen], rows[0].scales[chosen])
    of_queries = np.cumsum([0, *queries], dtype=np.int32)
    kwargs = {"num_heads": heads, "cu_seqlens_q": of_queries, "cu_seqlens_k": offsets, "mask": mask}
    assert_repeats(ops.attention(some, *rows[1:], **kwargs), everything[chosen])


def test_the_longest_sums(variant):
    """2^17 products of 127 and 127, and 2^16 of 254 and 127: int32 holds their sums."""
    one, both = F(1), np.array([[255], [1]], np.uint8)
    q = ops.QuantizedRows(np.repeat(both, 2**17, axis=1)[None], np.full((1, 2, 1), one))
    k = ops.QuantizedRows(q.values[:, :1], q.scales[:, :1])
    v = ops.QuantizedRows(np.repeat(both, 2**17, axis=1)[None, :1], np.full((1, 1, 1), one))
    y = ops.attention(q, k, v, num_heads=1, scale=1e-9)
    assert_same_bits(y, np.full((1, 2, 2**17), F(254 * 127) * (one / E0)))
    two = [ops.QuantizedRows(q.values[:, [0, 0]], q.scales), ops.QuantizedRows(q.values, q.scales)]
    y = ops.attention(two[0], two[1], two[1], num_heads=1, scale=1e-8)
    assert (y > 0).all()  # keys 1 and -1: the scores differ by all of the sum
    zeros = ops.QuantizedRows(np.full((1, 1, 4), 128, np.uint8), np.zeros((1, 1, 1), F))
    for sign, byte in ((1, 255), (-1, 1)):
        many = ops.QuantizedRows(np.full((1, 2**16, 4), byte, np.uint8), np.ones((1, 2**16, 1), F))
        y = ops.attention(zeros, many, many, num_heads=1)
        np.testing.assert_allclose(y, np.full((1, 1, 4), sign * 127 * 254 / E0), rtol=1e-4)


# ---- the C interface -------------------------------------------------------------------------------------------------


@pytest.mark.skipif(native is None, reason="built without the native extension")
def test_row_strides_in_c(rng):
    """The gaps between rows neither affect the result nor are written; NULL stands for no mask, 1 and 0."""
    pytest.importorskip("cffi", reason="cffi is not installed")
    from squeezeops.backends._buffers import ffi, lib

    heads, size, width, lengths = 3, 5, 8, [4, 0, 9]
    offsets = np.cumsum([0, *lengths], dtype=np.int32)
    rows = quantised((normal(rng, 13, heads * size) for _ in range(3)), heads)
    mask = rng.random((3, heads, 9)) < 0.6
    bias, scale = normal(rng, heads * size), normal(rng, heads * size)
    kept = []

    def pointer(kind, array):
        kept.append(np.ascontiguousarray(array))
        return ffi.cast(f"{kind} *", kept[-1].__array_interface__["data"][0])

    wide = np.full((13, heads * size + 7), 7, F)
    fields = {"batch": 3, "heads": heads, "head_size": size, "scale": 0.4, "ldo": wide.shape[1]}
    fields |= {"q_offsets": pointer("int32_t", offsets), "k_offsets": pointer("int32_t", offsets)}
    for name, r, extra in zip("qkv", rows, (3, 5, 9), strict=True):
        apart = np.full((13, heads * width + extra), 99, np.uint8)
        apart[:, : heads * width] = r.values
        fields |= {name: pointer("uint8_t", apart), f"ld{name}": apart.shape[1]}
        fields[f"{name}_scales"] = pointer("float", r.scales)
    fields["out"] = ffi.cast("float *", wide.__array_interface__["data"][0])
    masks = {"mask": pointer("uint8_t", mask), "mask_strides": [heads * 9, 9]}
    ends = {"value_scale": pointer("float", scale), "value_bias": pointer("float", bias)}
    for more in ({}, masks, ends, masks | ends):
        assert lib.sqz_attention_s8(ffi.new("sqz_attention_s8_args *", fields | more)) == 0
        for b, (begin, end) in enumerate(itertools.pairwise(offsets)):
            own = [ops.QuantizedRows(r.values[None, begin:end], r.scales[None, begin:end]) for r in rows]
            given = {"value_scale": scale, "value_bias": bias} if "value_scale" in more else {}
            given["out"] = np.zeros((1, end - begin, heads * size), F)
            given["mask"] = mask[b, :, None, : end - begin] if "mask" in more else None
            expected = ops.attention(*own, num_heads=heads, scale=0.4, **given)
            assert_same_bits(wide[begin:end, : heads * size].copy(), expected[0])
        assert (wide[:, heads * size :] == 7).all()
