"""NumPy: the matrix products of its BLAS, and elementwise code around them. It has ops, but no model."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

from squeezeops.benchmark.cases import copies, floats


def version() -> str:
    return str(np.__version__)


def start(threads: int) -> None:
    """The number of threads is OPENBLAS_NUM_THREADS, which `bench.worker` sets."""


def _conv(
    tokens: int, c_in: int, c_out: int, groups: int, activation: str, residual: int, cold: bool
) -> Callable[[], Any] | None:
    if activation == "gelu":
        return None
    weight, bias, x = floats(c_out, c_in // groups), floats(c_out), floats(tokens, c_in)
    added = floats(tokens, c_out) if residual else None
    parts = weight.reshape(groups, c_out // groups, -1).transpose(0, 2, 1)
    weights = itertools.cycle([parts.copy() for _ in range(copies(weight.nbytes, cold))])
    out = np.empty((tokens, c_out), np.float32)
    rows = x.reshape(tokens, groups, -1).transpose(1, 0, 2)
    results = out.reshape(tokens, groups, -1).transpose(1, 0, 2)

    def run() -> Any:
        for w, part, result in zip(next(weights), rows, results, strict=True):
            np.matmul(part, w, out=result)
        np.add(out, bias, out=out)
        if activation == "tanh":
            np.tanh(out, out=out)
        if added is not None:
            np.add(out, added, out=out)
        return out

    return run


def _attention(batch: int, tokens: int, channels: int, heads: int, cold: bool) -> Callable[[], Any]:
    x = floats(batch, tokens, heads, channels // heads)
    q, k, v = x.transpose(0, 2, 1, 3), x.transpose(0, 2, 3, 1), x.transpose(0, 2, 1, 3)
    scale = np.float32((channels // heads) ** -0.5)

    def run() -> Any:
        s = np.matmul(q, k)
        s *= scale
        s -= s.max(axis=-1, keepdims=True)
        np.exp(s, out=s)
        s /= s.sum(axis=-1, keepdims=True)
        return np.matmul(s, v).transpose(0, 2, 1, 3).reshape(batch, tokens, channels)

    return run


def _layer_norm(tokens: int, channels: int, cold: bool) -> Callable[[], Any]:
    x, weight, bias = floats(tokens, channels), floats(channels), floats(channels)
    out = np.empty_like(x)

    def run() -> Any:
        np.subtract(x, x.mean(axis=-1, keepdims=True), out=out)
        scale = 1 / np.sqrt(np.square(out).mean(axis=-1, keepdims=True) + np.float32(1e-12))
        np.multiply(out, scale, out=out)
        np.multiply(out, weight, out=out)
        return np.add(out, bias, out=out)

    return run


def _softmax(rows: int, columns: int, cold: bool) -> Callable[[], Any]:
    x = floats(rows, columns)
    out = np.empty_like(x)

    def run() -> Any:
        np.subtract(x, x.max(axis=-1, keepdims=True), out=out)
        np.exp(out, out=out)
        return np.divide(out, out.sum(axis=-1, keepdims=True), out=out)

    return run


# There is no erf, so no GELU.
OPS = {"pointwise_conv": _conv, "attention": _attention, "layer_norm": _layer_norm, "softmax": _softmax}
