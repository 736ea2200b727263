"""Equalisation by powers of two for attention in int8: the rule, decided in rational numbers, and that it is exact."""

import gc
import weakref
from fractions import Fraction

import numpy as np
import pytest
from test_squeezebert import GOLDEN

from squeezeops import ops
from squeezeops.squeezebert import SqueezeBert, SqueezeBertConfig
from squeezeops.squeezebert.model import equalise
from squeezeops.squeezebert.model.equalise import MOST_EXPONENT, equalised
from squeezeops.squeezebert.model.tensors import select_tensors
from squeezeops.squeezebert.model.weights import load_folder

ONE = SqueezeBertConfig.from_dict(
    {"model_type": "squeezebert", "hidden_size": 12, "embedding_size": 12, "num_attention_heads": 2}
    | {"num_hidden_layers": 1, "intermediate_size": 12}
    | {f"{part}_groups": 1 for part in ("q", "k", "v", "post_attention", "intermediate", "output")}
)
NAME = "encoder.layers.0.attention."


def floor_log2(x):
    """Return the largest n with 2^n <= x."""
    n = x.numerator.bit_length() - x.denominator.bit_length()
    return n if Fraction(2) ** n <= x else n - 1


def half_of_log2(x):
    """Return rint(log2(x) / 2), ties to even."""
    t = -((-floor_log2(x)) // 2)  # between x / 2 and x * 2 at most
    candidates = [n for n in range(t - 2, t + 3) if Fraction(2) ** (2 * n - 1) <= x <= Fraction(2) ** (2 * n + 1)]
    return next(n for n in candidates if len(candidates) == 1 or n % 2 == 0)


def ceil_log2(x):
    n = floor_log2(x)
    return n if Fraction(2) ** n == x else n + 1


def weights_of(query, key, value):
    """Return arrays whose rows have these amax, with values of both signs."""
    arrays = {}
    for part, amax in (("query", query), ("key", key), ("value", value)):
        rows = np.outer(np.asarray(amax, np.float32), np.linspace(-1, 0.5, 12).astype(np.float32)).astype(np.float32)
        arrays[f"{NAME}{part}.weight"] = rows[:, ::-1]
        arrays[f"{NAME}{part}.bias"] = np.arange(12, dtype=np.float32) - 3
    return arrays


def exponents_of(arrays):
    """Return t and s."""
    stored = equalised(ONE, arrays)
    query = stored[f"{NAME}query.weight"][:, -1] / arrays[f"{NAME}query.weight"][:, -1]
    return np.log2(query).tolist(), stored[f"{NAME}value.exponents"].tolist()


def test_the_rule(rng):
    """Near and at the powers of two, where log2 in floating point would be in doubt."""
    step = np.nextafter(np.float32(1), np.float32(2))
    near = [float(np.float32(c) * f) for c in (1, 2, 8, 0.5, 32, 1 / 128) for f in (1, step, 1 / step)]
    random = np.exp2(rng.uniform(-9, 9, 18)).astype(np.float32)
    for keys in (near[:12], near[6:], random[:12], random[6:]):
        queries = [1.0, 1.0, 3.0, float(step), *np.exp2(rng.uniform(-3, 3, 8)).astype(np.float32)]
        t, s = exponents_of(weights_of(queries, keys, keys))
        exact = [Fraction(float(np.float32(x))) for x in keys]
        assert t == [half_of_log2(k / Fraction(float(q))) for k, q in zip(exact, queries, strict=True)]
        heads = [max(exact[:6])] * 6 + [max(exact[6:])] * 6
        assert s == [max(ceil_log2(v / head), -MOST_EXPONENT) for v, head in zip(exact, heads, strict=True)]
        assert min(s) < 0 == max(s)


def test_ties_go_to_even():
    ratios = [2.0**n for n in (-5, -3, -1, 1, 3, 5, 7, 0, 2, -2, 4, 6)]
    t, _ = exponents_of(weights_of(np.ones(12), ratios, ratios))
    assert t == [-2, -2, 0, 0, 2, 2, 4, 0, 1, -1, 2, 3]


def test_limits():
    """Exponents stay within 16; channels of zeros, of tiny weights, and with NaN or infinity stay as they are."""
    tiny, most = 2.0**-101, 2.0**60
    keys = [most, 1 / most, 1, 0, tiny, np.nan, np.inf, 1, 1, 2.0**-100, 1, 1]
    queries = [1 / most, most, 4, 1, 1, 1, 1, 0, tiny, 1, np.inf, np.nan]
    values = [1, 2.0**-16, 2.0**-17, 2.0**-99, 0, tiny, *[2.0**-5] * 5, np.inf]
    with np.errstate(invalid="ignore"):
        arrays = weights_of(queries, keys, values)
        for array in arrays.values():
            array[np.isnan(array)] = 0
        for part, amax in (("query", queries), ("key", keys), ("value", values)):
            arrays[f"{NAME}{part}.weight"][~np.isfinite(amax), 3] = np.asarray(amax)[~np.isfinite(amax)]
        stored = equalised(ONE, arrays)
    t = np.array([16, -16, -1, 0, 0, 0, 0, 0, 0, -16, 0, 0])
    for part, exponents in (("query", t), ("key", -t)):
        for tensor in (f"{part}.weight", f"{part}.bias"):
            given = arrays[NAME + tensor].reshape(12, -1)
            expected = given * np.exp2(exponents).astype(np.float32)[:, None]
            np.testing.assert_array_equal(stored[NAME + tensor].reshape(12, -1), expected)
    # The second head has no finite amax.
    assert stored[f"{NAME}value.exponents"].tolist() == [0, -16, -16, -16, 0, 0, *[0] * 6]
    assert stored[f"{NAME}value.exponents"].dtype == np.int8
    assert stored[f"{NAME}value.bias"] is arrays[f"{NAME}value.bias"]


@pytest.mark.parametrize("name", ["classification", "odd_groups", "float16", "bert_classification"])
def test_scaling_is_exact(name):
    """Undone, it gives the weights of the checkpoint, which stay as they are. Products of channels do not change."""
    config, weights = load_folder(GOLDEN / name)
    arrays = select_tensors(config, weights, {})
    before = {key: array.copy() for key, array in arrays.items()}
    stored = equalised(config, arrays)
    for key, array in arrays.items():
        np.testing.assert_array_equal(array, before[key])
    changed = {key for key in arrays if stored[key] is not arrays[key]}
    parts = ("query.weight", "query.bias", "key.weight", "key.bias", "value.weight")
    assert changed <= {
        f"encoder.layers.{i}.attention.{part}" for i in range(config.num_hidden_layers) for part in parts
    }
    assert bool(changed) == (name != "bert_classification")  # whose channels are all alike
    assert stored.keys() - arrays.keys() == {
        f"encoder.layers.{i}.attention.value.exponents" for i in range(config.num_hidden_layers)
    }
    for i in range(config.num_hidden_layers):
        prefix = f"encoder.layers.{i}.attention."
        query, key, value = (
            [
                source[f"{prefix}{part}.weight"].reshape(config.hidden_size, -1).astype(float)
                for source in (arrays, stored)
            ]
            for part in ("query", "key", "value")
        )
        powers = np.exp2(stored[f"{prefix}value.exponents"].astype(float))[:, None]
        np.testing.assert_array_equal(value[1] * powers, value[0])
        np.testing.assert_array_equal(query[1][:, :1] * key[1][:, -1:], query[0][:, :1] * key[0][:, -1:])
        amax = np.abs(value[1]).max(axis=1).reshape(config.num_attention_heads, -1)
        assert (amax > amax.max(axis=1, keepdims=True) / 2).all()
        ratio = np.abs(query[1]).max(axis=1) / np.abs(key[1]).max(axis=1)
        assert ratio.max() <= 2 and ratio.min() >= 0.5


@pytest.mark.parametrize("backend", ops.available_backends())
def test_a_model_does_not_keep_the_scaled_weights(monkeypatch, backend):
    """Only their packed form, which another backend reads too."""
    scaled, times = [], equalise._times_power

    def noted(array, exponents):
        product = times(array, exponents)
        if product is not array and product.ndim > 1:
            scaled.append(weakref.ref(product))
        return product

    monkeypatch.setattr(equalise, "_times_power", noted)
    config, weights = load_folder(GOLDEN / "classification")
    with ops.backend(backend):
        model = SqueezeBert(config, weights, dtype="float32", attention="int8")
        gc.collect()
        assert scaled and not any(reference() is not None for reference in scaled)
        ids = np.arange(6)[None]
        own = model(ids).logits
    with ops.backend("numpy"):
        np.testing.assert_allclose(model(ids).logits, own, atol=0.05)
