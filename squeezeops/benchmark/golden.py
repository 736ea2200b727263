"""A few of the tests' golden bits, for installed packages: what ops return for fixed inputs, on any machine."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from squeezeops import ops

__all__ = ["BITS", "TO_TOLERANCE", "cases", "digest", "model_logits", "numbers", "wrong_cases"]

# Instruction sets of which floats have other bits: without a fused multiply-add, or, where pointers have 32 bits, with
# vectors that flush subnormal numbers.
TO_TOLERANCE = {"sse2", "wasm_simd128"} | ({"neon", "neon_vfpv4"} if sys.maxsize < 2**32 else set())

# The first 16 digits of entries of tests/golden_bits.json; a test compares them.
BITS = {
    "layer_norm/9x768": "b73c75f4e49659a3",
    "rms_norm/9x768": "5a78fb386188f44d",
    "softmax/9x768": "34d68a37671e1be5",
    "l2_normalize/9x768": "fa315cf7a2f2b167",
    "pointwise_conv/100x40to65g1": "35c3e77510fa7492",
    "pointwise_conv/130x96to200g4": "30dcfe8e3d340de6",
    "attention/7x50h3d64": "78f84dbc3a5064e6",
    "attention/ragged-int8": "0ac6725e6a09a21e",
    "embedded_model/int8": "c01b03ead3d01d82",
}

TEXTS = (
    "A gorgeous, witty, seductive movie.",
    "no",
    "The battery dies in an hour, and nobody at the shop would so much as look at it; I want my money back!",
)


def numbers(seed: int, *shape: int, scale: float = 2.0) -> Any:
    """Pseudo-random float32 in [-scale, scale), scale a power of two: a hash of integers, exact from there on.

    So the inputs depend on no random number generator and on no rounding.
    """
    h = np.arange(int(np.prod(shape)), dtype=np.uint64) + np.uint64(seed * 2**32 + 1)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 0x9E3779B97F4A7C15)):
        h = (h ^ (h >> np.uint64(shift))) * np.uint64(factor)
    integers = (h >> np.uint64(40)).astype(np.int32) - 2**23  # 24 bits, which a float32 holds
    return (integers.astype(np.float32) * np.float32(scale / 2**23)).reshape(shape)


def digest(result: Any) -> str:
    """SHA-256 of shape and bits; any NaN equals any NaN."""
    bits = np.where(result == result, result.view(np.uint32), np.uint32(0x7FC00000)).astype("<u4")
    return hashlib.sha256(f"float32{result.shape}".encode() + bits.tobytes()).hexdigest()


def cases() -> dict[str, Callable[[], Any]]:
    """Return a function for each entry of `BITS`."""
    x = numbers(8, 9, 768, scale=8.0)
    q, k, v = (numbers(23 + i, 2, n, 192) for i, n in enumerate((7, 50, 50)))
    rows = [ops.quantize_rows(numbers(68 + i, 60, 24), groups=3) for i in range(3)]
    offsets = np.array([0, 1, 18, 18, 35, 60], np.int32)
    from squeezeops.pipelines import default_model

    return {
        "layer_norm/9x768": partial(ops.layer_norm, x),
        "rms_norm/9x768": partial(ops.rms_norm, x),
        "softmax/9x768": partial(ops.softmax, x, scale=0.7),
        "l2_normalize/9x768": partial(ops.l2_normalize, x),
        "pointwise_conv/100x40to65g1": partial(ops.pointwise_conv, numbers(1, 100, 40), numbers(2, 65, 40), groups=1),
        "pointwise_conv/130x96to200g4": partial(ops.pointwise_conv, numbers(1, 130, 96), numbers(2, 200, 24), groups=4),
        "attention/7x50h3d64": partial(ops.attention, q, k, v, num_heads=3),
        "attention/ragged-int8": partial(ops.attention, *rows, num_heads=3, cu_seqlens=offsets),
        "embedded_model/int8": lambda: model_logits(default_model(), "int8"),
    }


def model_logits(folder: Any, dtype: Any) -> Any:
    """Return the logits of a model for `TEXTS`."""
    from squeezeops import SqueezeBert, Tokenizer

    batch = Tokenizer.from_pretrained(folder)(list(TEXTS), padding=True)
    model = SqueezeBert.from_pretrained(folder, dtype=dtype)
    return model(batch["input_ids"], batch["attention_mask"], batch["token_type_ids"]).logits


def wrong_cases() -> list[str]:
    """Return the names of the cases that have other bits here, on the backend in force."""
    return [name for name, run in cases().items() if digest(run())[:16] != BITS[name]]
