"""The golden file's bits on every ISA; attention, softmax and mean_pool do not depend on padding.

That a row's bits depend neither on the batch nor on the number of threads is for test_ops.py.
"""

import json

import golden_bits
import numpy as np
import pytest
from op_helpers import (
    ALL_ISAS,
    EXACT_ISAS,
    ISAS,
    VARIANTS,
    Variant,
    assert_same_bits,
    golden_isas,
    native,
    normal,
    parts,
    ran_on,
)
from op_table import TABLE

from squeezeops import ops

pytestmark = pytest.mark.skipif(native is None, reason="the package was built without its extension")
EXACT = [variant for variant in VARIANTS if variant.isa in EXACT_ISAS or variant.backend == "numba"]
exact = pytest.mark.parametrize("variant", EXACT, ids=str, indirect=True)


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


# Quiet and signalling ones of both signs.
NANS = np.array([0x7FC00001, 0xFFC00002, 0x7FC12345, 0xFFD54321, 0x7FA00003, 0xFF800007], np.uint32)


def with_nans(array):
    """A copy in which each 11th element is another NaN."""
    array = array.copy()
    places = array.reshape(-1).view(np.uint32)[3::11]
    places[:] = np.resize(NANS, places.size)
    return array


@pytest.mark.parametrize("op", TABLE, ids=lambda op: op.name)
def test_nans(op):
    """Each ISA has NaNs at the same places and the same numbers elsewhere; GELU and `embedding` keep the NaN itself."""
    rng = np.random.default_rng(5)
    calls = [
        {**arguments, name: with_nans(value)}
        for arguments in op.calls(rng, 20)
        for name, value in arguments.items()
        if isinstance(value, np.ndarray) and value.dtype == np.float32
    ]
    found = {}
    for isa in EXACT_ISAS:
        with Variant("native", isa).active():
            found[isa] = [part for arguments in calls for part in parts(op.call(**arguments))]
    some = 0
    for isa, results in found.items():
        for result, expected in zip(results, found["scalar"], strict=True):
            assert_same_bits(result, expected)
            some += result.dtype == np.float32 and int(np.isnan(result).sum())
            if op.name in ("gelu", "embedding"):
                assert result.tobytes() == expected.tobytes(), isa
    assert some or not calls
    if op.name == "gelu":
        x = with_nans(np.zeros(100, np.float32))
        y = ops.gelu(x)
        assert (y.view(np.uint32)[3::11] == x.view(np.uint32)[3::11] | 0x400000).all()


@exact
@pytest.mark.parametrize("size", [8, 20, 64])
def test_attention_does_not_depend_on_other_queries_and_heads(variant, rng, size):
    q, k, v = normal(rng, 3, 19, 2 * size), normal(rng, 3, 37, 2 * size), normal(rng, 3, 37, 2 * size)
    y = ops.attention(q, k, v, num_heads=2)
    for begin, end in [(0, 1), (18, 19), (3, 12), (2, 10)]:
        assert_same_bits(ops.attention(q[:, begin:end].copy(), k, v, num_heads=2), y[:, begin:end].copy())
    for head in range(2):
        own = slice(head * size, (head + 1) * size)
        assert_same_bits(ops.attention(q[..., own], k[..., own], v[..., own], num_heads=1), y[..., own].copy())


@exact
@pytest.mark.parametrize("size", [8, 20, 64])
def test_attention_does_not_depend_on_padding(variant, rng, size):
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


@exact
def test_softmax_does_not_depend_on_padding(variant, rng):
    x = normal(rng, 7, 70) * 5
    for length in (1, 15, 16, 17, 33, 48, 69):
        keep = np.arange(70) < length
        y = ops.softmax(np.where(keep, x, np.float32(np.nan)), mask=keep)
        assert_same_bits(y[:, :length].copy(), ops.softmax(x[:, :length]))


@exact
def test_mean_pool_does_not_depend_on_padding(variant, rng):
    """Only the kept rows and their order count, whether the padding is left, right or between them."""
    x = normal(rng, 3, 40, 53)
    for length in (1, 3, 4, 5, 8, 17, 39):
        short = ops.mean_pool(x[:, :length])
        for places in (np.arange(length), np.arange(40 - length, 40), np.sort(rng.permutation(40)[:length])):
            padded, keep = np.full((3, 40, 53), np.nan, np.float32), np.zeros(40, bool)
            padded[:, places], keep[places] = x[:, :length], True
            assert_same_bits(ops.mean_pool(padded, mask=keep), short)


@pytest.mark.parametrize("isa", sorted(set(ISAS) & golden_bits.TO_TOLERANCE))
def test_close_where_bits_differ(isa):
    for name, run in golden_bits.all_cases().items():
        if "every_kind" in name or "wide" in name:
            continue  # near overflow and underflow a small difference becomes a large one
        if name.startswith("attention/") and "-int8" in name:
            continue  # a probability may round to another byte; test_ops.py has the bound for that
        with Variant("native", "scalar").active():
            expected = run()
        rtol, atol = (0, 1e-5) if name == "embedded_model/float32" else (2e-4, 2e-5)
        with Variant("native", isa).active():
            np.testing.assert_allclose(run(), expected, rtol=rtol, atol=atol, err_msg=name)
            assert golden_bits.kernels_of(name) == "s8" or not golden_bits.ends_with_its_kernels(name) or ran_on(isa)
