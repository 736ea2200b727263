"""A row's bits depend neither on ISA, batch, padding nor number of threads, and they match the golden file."""

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import golden_bits
import numpy as np
import pytest
from op_helpers import (
    ALL_ISAS,
    EXACT_ISAS,
    INT8_ISAS,
    ISAS,
    Variant,
    assert_same_bits,
    golden_isas,
    native,
    normal,
    ran_on,
)

from squeezeops import ops

pytestmark = pytest.mark.skipif(native is None, reason="the package was built without its extension")
exact_isas = pytest.mark.parametrize("isa", EXACT_ISAS)


@pytest.fixture
def on(isa):
    """Force the native backend to one ISA, and check at the end that its kernel ran."""
    with Variant("native", isa).active():
        yield
        assert ran_on(isa), f"{native.last_kernel()} ran instead of {isa}"


@contextmanager
def threads(n):
    before = ops.get_num_threads()
    ops.set_num_threads(n)
    try:
        yield
    finally:
        ops.set_num_threads(before)


def test_golden_bits(record_property):
    """Compare with the file on every ISA that this machine reports; none may be left out."""
    golden = json.loads(golden_bits.FILE.read_text())
    cases = golden_bits.all_cases()
    assert cases.keys() == golden.keys(), "run python tests/golden_bits.py --update for new cases"
    ran = set()
    for isa in ALL_ISAS:
        with Variant("native", isa).active():
            for name, run in cases.items():
                if isa not in golden_isas(name):
                    continue
                assert golden_bits.digest(run()) == golden[name], f"{name} on {isa}"
                if golden_bits.ends_with_its_kernels(name):
                    assert ran_on(isa), f"{name}: {native.last_kernel()} ran instead of {isa}"
                ran.add((isa, golden_bits.kernels_of(name)))
    assert {isa for isa, _ in ran} >= set(ops.cpu_info()["isas"]) - golden_bits.TO_TOLERANCE
    assert {("scalar", "f32"), ("scalar", "s8")} <= ran
    record_property("ran", sorted(ran))


def test_forced_isas_run(record_property):
    """With a forced ISA, every op runs the kernel of that ISA."""
    x = np.ones((40, 8), np.float32)
    ids, weight = np.zeros(40, np.int64), np.ones((60, 4), np.float32)
    calls = {  # by kernel
        "pwconv_f32": lambda: ops.pointwise_conv(x, weight, groups=2),
        "pwconv_s8": lambda: ops.PointwiseConv(weight, groups=2, dtype="int8")(x),
        "quantize_rows_s8": lambda: ops.quantize_rows(x, groups=2),
        "layer_norm_f32": lambda: ops.layer_norm(x),
        "l2_normalize_f32": lambda: ops.l2_normalize(x),
        "softmax_f32": lambda: ops.softmax(x),
        "mean_pool_f32": lambda: ops.mean_pool(x),
        "activation_f32": lambda: (ops.gelu(x), ops.tanh(x)),
        "embedding_f32": lambda: ops.embedding(ids, x),
        "embedding_layer_norm_f32": lambda: ops.embedding_layer_norm(ids, x, ids, x, ids, x, None, None),
        "attention_f32": lambda: ops.attention(x[None], x[None], x[None], num_heads=2),
    }
    for kernel, call in calls.items():
        isas = INT8_ISAS if kernel.endswith("s8") else ISAS
        assert "scalar" in isas
        for isa in isas:
            with Variant("native", isa).active():
                call()
                assert native.last_kernel().endswith(f"{kernel}_{isa}")
    record_property("ran", [f"{kernel} on {' '.join(INT8_ISAS)}" for kernel in calls if kernel.endswith("s8")])


def conv(channels_in, channels_out, groups, rng):
    weight, bias = normal(rng, channels_out, channels_in // groups), normal(rng, channels_out)
    packed = ops.PointwiseConv(weight, bias, groups=groups)
    return lambda x: packed(x, activation="gelu", residual=x[:, :1] * np.ones(channels_out, np.float32))


def row_functions(rng):
    """Ops on a matrix whose rows do not depend on each other, by name: (channels, function)."""
    weight, bias = normal(rng, 53), normal(rng, 53)
    added = normal(rng, 53)
    added[::4] = -np.inf
    tables = [normal(rng, rows, 53) for rows in (9, 7, 2)]
    return {
        "conv": (34, conv(34, 51, 1, rng)),
        "grouped conv": (60, conv(60, 68, 4, rng)),
        "pointwise_conv": (34, lambda x: ops.pointwise_conv(x, np.outer(bias, bias)[:, :34], activation="tanh")),
        "layer_norm": (53, lambda x: ops.layer_norm(x, weight, bias, residual=x[:, ::-1])),
        "l2_normalize": (53, ops.l2_normalize),
        "mean_pool": (7 * 21, lambda x: ops.mean_pool(x.reshape(-1, 7, 21))),
        "mean_pool, masked": (7 * 21, lambda x: ops.mean_pool(x.reshape(-1, 7, 21), mask=x[:, :7] > -0.5)),
        "softmax": (53, lambda x: ops.softmax(x, mask=added, scale=0.3)),
        "softmax, bool": (53, lambda x: ops.softmax(x, mask=x[:, ::-1] > 0.5)),
        "softmax, added": (53, lambda x: ops.softmax(x, mask=np.where(x > 0.5, np.float32(-np.inf), x[:, ::-1]))),
        "gelu": (53, ops.gelu),
        "gelu_tanh": (53, lambda x: ops.gelu(x, approximate="tanh")),
        "tanh": (53, ops.tanh),
        "embedding_layer_norm": (
            3,
            lambda x: ops.embedding_layer_norm(
                *(a for i, t in enumerate(tables) for a in ((np.abs(x[:, i]) * 100).astype(np.int64) % len(t), t)),
                weight,
                bias,
            ),
        ),
    }


@exact_isas
@pytest.mark.parametrize("name", list(row_functions(np.random.default_rng(0))))
def test_rows_do_not_depend_on_the_batch(on, rng, isa, name):
    channels, function = row_functions(rng)[name]
    x = normal(rng, 29, channels)
    whole = function(x)
    for begin, end in [(0, 1), (3, 4), (28, 29), (0, 5), (1, 7), (2, 9), (4, 12), (5, 14), (7, 28)]:
        assert_same_bits(function(x[begin:end]), whole[begin:end])
    assert_same_bits(function(np.ascontiguousarray(x[::-1])), np.ascontiguousarray(whole[::-1]))
    x[::2] = np.nan  # NaN in the other rows changes nothing either
    if name != "embedding_layer_norm":
        assert_same_bits(function(x)[1::2], whole[1::2])


@exact_isas
@pytest.mark.parametrize("name", list(row_functions(np.random.default_rng(0))))
def test_rows_do_not_depend_on_the_threads(on, rng, isa, name):
    channels, function = row_functions(rng)[name]
    x = normal(rng, 1301, channels)  # enough rows for one task per thread
    with threads(1):
        expected = function(x)
    for n in (2, 3, 4):
        with threads(n):
            for _ in range(3):
                assert_same_bits(function(x), expected)


@exact_isas
@pytest.mark.parametrize("groups", [1, 4])
def test_wide_convolutions_do_not_depend_on_the_threads(on, rng, isa, groups):
    """Enough channels that tasks split the channels too, and that a task spans several groups."""
    function = conv(96, 200, groups, rng)
    x = normal(rng, 130, 96)
    with threads(1):
        expected = function(x)
        assert_same_bits(function(x[77:78]), expected[77:78])
    for n in (2, 4):
        with threads(n):
            assert_same_bits(function(x), expected)


@exact_isas
@pytest.mark.parametrize("size", [8, 20, 64])
def test_attention_does_not_depend_on_the_batch(on, rng, isa, size):
    q, k, v = normal(rng, 3, 19, 2 * size), normal(rng, 3, 37, 2 * size), normal(rng, 3, 37, 2 * size)
    y = ops.attention(q, k, v, num_heads=2)
    for b in range(3):
        one = slice(b, b + 1)
        assert_same_bits(ops.attention(q[one], k[one], v[one], num_heads=2), y[one])
        for begin, end in [(0, 1), (18, 19), (3, 12), (2, 10)]:
            assert_same_bits(ops.attention(q[one, begin:end], k[one], v[one], num_heads=2), y[one, begin:end])
    for head in range(2):  # nor does it depend on the other heads
        own = slice(head * size, (head + 1) * size)
        assert_same_bits(ops.attention(q[..., own], k[..., own], v[..., own], num_heads=1), y[..., own].copy())


@exact_isas
@pytest.mark.parametrize("size", [8, 20, 64])
def test_attention_does_not_depend_on_padding(on, rng, isa, size):
    """Masked keys at the end do not change the bits, whatever values they hold."""
    q, k, v = normal(rng, 2, 19, 2 * size), normal(rng, 2, 70, 2 * size), normal(rng, 2, 70, 2 * size)
    for length in (1, 15, 16, 17, 33, 48, 69):
        short = ops.attention(q, k[:, :length], v[:, :length], num_heads=2)
        scores = ops.attention_scores(q, k[:, :length], num_heads=2)
        for value in (0.0, np.nan, np.inf):
            padding = np.full((2, 70 - length, 2 * size), value, np.float32)
            padded = [np.concatenate([a[:, :length], padding], axis=1) for a in (k, v)]
            keep = np.arange(70) < length
            assert_same_bits(ops.attention(q, *padded, num_heads=2, mask=keep), short)
            added = np.where(keep, np.float32(0), np.float32(-np.inf))
            assert_same_bits(ops.attention(q, *padded, num_heads=2, mask=added), short)
            padded_scores = ops.attention_scores(q, padded[0], num_heads=2, mask=keep)
            assert_same_bits(padded_scores[..., :length].copy(), scores)


@exact_isas
def test_softmax_does_not_depend_on_padding(on, rng, isa):
    x = normal(rng, 7, 70) * 5
    for length in (1, 15, 16, 17, 33, 48, 69):
        keep = np.arange(70) < length
        y = ops.softmax(np.where(keep, x, np.float32(np.nan)), mask=keep)
        assert_same_bits(y[:, :length].copy(), ops.softmax(x[:, :length]))


@exact_isas
def test_mean_pool_does_not_depend_on_padding(on, rng, isa):
    """Only the kept rows and their order count, whether the padding is left, right or between them."""
    x = normal(rng, 3, 40, 53)
    for length in (1, 3, 4, 5, 8, 17, 39):
        short = ops.mean_pool(x[:, :length])
        for places in (np.arange(length), np.arange(40 - length, 40), np.sort(rng.permutation(40)[:length])):
            padded, keep = np.full((3, 40, 53), np.nan, np.float32), np.zeros(40, bool)
            padded[:, places], keep[places] = x[:, :length], True
            assert_same_bits(ops.mean_pool(padded, mask=keep), short)


@exact_isas
def test_ragged_padded_and_single_sequences_agree(on, rng, isa):
    lengths = [5, 1, 17, 0, 32, 9]
    offsets = np.cumsum([0, *lengths], dtype=np.int32)
    q, k, v = (normal(rng, offsets[-1], 24) for _ in range(3))
    y = ops.attention(q, k, v, num_heads=3, cu_seqlens=offsets)
    kept = rng.random(offsets[-1]) < 0.6
    holes = ops.attention(q, k, v, num_heads=3, cu_seqlens=offsets, mask=kept, fully_masked="zero")
    padded = [np.full((len(lengths), 40, 24), np.nan, np.float32) for _ in range(3)]
    mask = np.zeros((len(lengths), 1, 1, 40), bool)
    for b, (begin, length) in enumerate(zip(offsets[:-1], lengths, strict=True)):
        rows = slice(begin, begin + length)
        alone = [a[None, rows] for a in (q, k, v)]
        assert_same_bits(ops.attention(*alone, num_heads=3)[0], y[rows])
        with_holes = ops.attention(*alone, num_heads=3, mask=kept[rows], fully_masked="zero")
        assert_same_bits(with_holes[0], holes[rows])
        for whole, part in zip(padded, alone, strict=True):
            whole[b, :length] = part[0]
        mask[b, ..., :length] = True
    together = ops.attention(*padded, num_heads=3, mask=mask)
    for b, (begin, length) in enumerate(zip(offsets[:-1], lengths, strict=True)):
        assert_same_bits(together[b, :length], y[begin : begin + length])


@exact_isas
def test_attention_does_not_depend_on_the_threads(on, rng, isa):
    q, k, v = normal(rng, 3, 40, 48), normal(rng, 3, 50, 48), normal(rng, 3, 50, 48)
    mask = rng.random((3, 1, 40, 50)) < 0.7
    offsets = np.array([0, 7, 7, 50, 120], np.int32)
    flat = [a.reshape(-1, 48)[:120] for a in (q, k, v)]
    results = []
    for n in (1, 2, 3, 4):
        with threads(n):
            results.append(
                [
                    ops.attention(q, k, v, num_heads=6, mask=mask),
                    ops.attention(*flat, num_heads=6, cu_seqlens=offsets),
                    ops.attention_scores(q, k, num_heads=6, mask=mask),
                ]
            )
    for result in results[1:]:
        for actual, expected in zip(result, results[0], strict=True):
            assert_same_bits(actual, expected)


def test_callers_in_many_threads(rng):
    """Four concurrent callers that use the thread pool get the bits of a single caller."""
    channels, function = row_functions(rng)["conv"]
    inputs = [normal(rng, 60, channels) for _ in range(16)]
    with ops.backend("native"):
        expected = [function(x) for x in inputs]

    def work(x):
        with ops.backend("native"):
            return [function(x) for _ in range(5)]

    with ThreadPoolExecutor(4) as pool:
        for results, y in zip(pool.map(work, inputs), expected, strict=True):
            for result in results:
                assert_same_bits(result, y)


@pytest.mark.parametrize("isa", sorted(set(ISAS) & golden_bits.TO_TOLERANCE))
def test_close_where_bits_differ(on, isa):
    for name, run in golden_bits.all_cases().items():
        if "every_kind" in name or "wide" in name:
            continue  # near overflow and underflow a small difference becomes a large one
        with Variant("native", "scalar").active():
            expected = run()
        rtol, atol = (0, 1e-5) if name == "embedded_model/float32" else (2e-4, 2e-5)
        with Variant("native", isa).active():
            np.testing.assert_allclose(run(), expected, rtol=rtol, atol=atol, err_msg=name)
