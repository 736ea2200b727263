"""Equalises the weights of queries, keys and values by powers of two, for attention in int8."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from squeezeops.squeezebert.model.tensors import EXPONENTS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from squeezeops.squeezebert.model.config import SqueezeBertConfig

__all__ = ["MOST_EXPONENT", "equalised"]

MOST_EXPONENT = 16  # magnitude of an exponent
LEAST_AMAX = 2.0**-100  # of weights that are equalised; int8 stores smaller ones as 0


def equalised(config: SqueezeBertConfig, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return the tensors of a model with int8 attention: those of a checkpoint, equalised for it, and the exponents.

    Attention quantises the queries, keys and values of a token and head with one scale, which is small only if no
    channel is much larger than the others. So channels are multiplied by powers of two, which is exact: a key's channel
    by the inverse of its query's, so that the weights of both have about the same amax (as SmoothQuant does with
    activations); a value's so that its amax is above half the head's. The exponents say what undoes the latter.

    With amax(W) the largest magnitude of a channel's weights: for queries and keys
    ``t = rint(log2(amax(Wk) / amax(Wq)) / 2)``, ties to even, from -16 to 16; Wq and its bias times 2^t, Wk and its
    bias times 2^-t. For values ``s = ceil(log2(amax(Wv) / the head's amax))``, at least -16; Wv times 2^-s, but not its
    bias, which is added after attention. t and s are 0 where an amax is below 2^-100 or not finite.
    """
    stored, heads = dict(arrays), config.num_attention_heads
    for i in range(config.num_hidden_layers):
        query, key, value = (f"encoder.layers.{i}.attention.{part}" for part in ("query", "key", "value"))
        of_query, of_key, of_value = (_amax(arrays[f"{name}.weight"]) for name in (query, key, value))
        of_head = np.repeat(of_value.reshape(heads, -1).max(axis=1), config.hidden_size // heads)
        t, s = _balance(of_key, of_query), _magnitude(of_value, of_head)
        for name, exponents in ((query, t), (key, -t)):
            stored[f"{name}.weight"] = _times_power(arrays[f"{name}.weight"], exponents)
            stored[f"{name}.bias"] = _times_power(arrays[f"{name}.bias"], exponents)
        stored[f"{value}.weight"] = _times_power(arrays[f"{value}.weight"], -s)
        stored[f"encoder.layers.{i}{EXPONENTS}"] = s.astype(np.int8)
    return stored


def _amax(weight: NDArray[Any]) -> NDArray[np.float32]:
    """Return the largest magnitude in each row; NaN if the row has one."""
    rows = weight.reshape(len(weight), -1)
    most: NDArray[np.float32] = np.maximum(rows.max(axis=1), -rows.min(axis=1)).astype(np.float32)  # copies little
    return most


def _balance(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return t of `equalised`, from the amax of a key's and a query's channels. Integers decide, so it is exact."""
    (m, e), (n, f) = np.frexp(a), np.frexp(b)
    below = e.astype(np.int64) - f - (m < n)  # floor(log2(a / b))
    t = (below + 1) // 2
    t -= (m == n) & (below % 2 == 1) & (t % 2 == 1)  # a tie goes to even
    return np.where(_usable(a, b), t.clip(-MOST_EXPONENT, MOST_EXPONENT), 0)


def _magnitude(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return s of `equalised`, from the amax of channels and of their heads."""
    (m, e), (n, f) = np.frexp(a), np.frexp(b)
    return np.where(_usable(a, b), np.maximum(e.astype(np.int64) - f + (m > n), -MOST_EXPONENT), 0)


def _usable(*amaxes: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Whether all are finite and not below `LEAST_AMAX`."""
    usable: NDArray[np.bool_] = np.logical_and.reduce([(a >= LEAST_AMAX) & (a < np.inf) for a in amaxes])
    return usable


def _times_power(array: NDArray[Any], exponents: NDArray[np.int64]) -> NDArray[Any]:
    """Return an array with its rows multiplied by powers of two; itself if all are 1."""
    if not exponents.any():
        return array
    powers = np.ldexp(np.float32(1), exponents).reshape(-1, *[1] * (array.ndim - 1))
    product: NDArray[np.float32] = np.multiply(array, powers, dtype=np.float32)
    return product
