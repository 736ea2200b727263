"""Golden bits: the SHA-256 of what every op returns for fixed inputs.

`golden_bits.json` holds them, one for all compilers, machines and instruction sets that promise the same bits.
``python tests/golden_bits.py`` checks them on this machine; with ``--update`` it writes the file anew, provided that
all instruction sets here agree. Update it only for a new case, or for a change of the numerics that CHANGELOG.md has.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from squeezeops import ops
from squeezeops.benchmark.golden import TO_TOLERANCE, digest, model_logits, numbers
from squeezeops.packing import pack_table

FILE = Path(__file__).with_name("golden_bits.json")
CHECKPOINT = FILE.parents[1] / "examples" / "sentiment_checkpoint"


def integers(seed: int, high: int, *shape: int) -> np.ndarray:
    """Pseudo-random int64 in [0, high)."""
    return (numbers(seed, *shape).view(np.uint32) // 2 % high).astype(np.int64)


def every_kind(seed: int, *shape: int) -> np.ndarray:
    """Any bit patterns: all exponents, subnormal, infinite and NaN."""
    return (numbers(seed, *shape).view(np.uint32) * np.uint32(2654435761)).view(np.float32)


def specials() -> np.ndarray:
    """The values at which an elementary function may go wrong, a vector and a tail of them."""
    x = [0.0, np.inf, np.nan, 2.0**-149, 2.0**-126, 0.625, 1, 5.5, 13.1, 14, 20, 44.5, 87.33, 88.73, 1e10, 3e38, 0.3466]
    return np.array(x + [-value for value in x], np.float32)


Cases = dict[str, Callable[[], np.ndarray]]
ACTIVATIONS = (None, "gelu", "gelu_tanh", "relu", "tanh")
# Rows, inputs and outputs per group, groups: odd channels, rows around the tiles.
SHAPES = ((1, 1, 1, 1), (13, 7, 5, 1), (7, 17, 16, 3), (9, 33, 17, 2))


def packed(x: np.ndarray, *weights: np.ndarray, groups: int, dtype: str | None = None, **rest: Any) -> np.ndarray:
    """Pack a weight, and perhaps a bias, and convolve."""
    return ops.PointwiseConv(*weights, groups=groups, **({} if dtype is None else {"dtype": dtype}))(x, **rest)


def conv_cases() -> Cases:
    """Every epilogue, both kinds of weight."""
    cases: Cases = {}
    more = ((8, 64, 48, 4), (17, 31, 49, 5), (6, 192, 96, 1), (100, 40, 65, 1), (5, 600, 33, 2), (130, 96, 200, 1))
    for i, (rows, k, n, groups) in enumerate((*SHAPES, *more, (130, 24, 50, 4))):
        x, weight = numbers(1, rows, groups * k), numbers(2, groups * n, k)
        bias, residual = numbers(3, groups * n), numbers(4, rows, groups * n)
        name, activation = f"{rows}x{groups * k}to{groups * n}g{groups}", ACTIVATIONS[i % len(ACTIVATIONS)]
        epilogue = {"activation": activation, "residual": residual}
        cases[f"pointwise_conv/{name}"] = partial(ops.pointwise_conv, x, weight, groups=groups)
        cases[f"pointwise_conv/{name}-{activation}"] = partial(
            ops.pointwise_conv, x, weight, bias, groups=groups, **epilogue
        )
        cases[f"PointwiseConv/{name}-half"] = partial(packed, x, weight.astype(np.float16), bias, groups=groups)
    odd, ones = np.append(specials(), every_kind(5, 65))[:, None], np.ones((19, 1), np.float32)
    for activation in ACTIVATIONS:
        cases[f"pointwise_conv/every_kind-{activation}"] = partial(ops.pointwise_conv, odd, ones, activation=activation)
    return cases


def as_floats(rows: ops.QuantizedRows) -> np.ndarray:
    """Values and scales as one float32 array."""
    return np.concatenate([rows.values.astype(np.float32).ravel(), rows.scales.ravel()])


def quantized(x: np.ndarray, groups: int, **rest: Any) -> np.ndarray:
    return as_floats(ops.quantize_rows(x, groups=groups, **rest))


def quantized_conv(x: np.ndarray, weight: np.ndarray, groups: int) -> np.ndarray:
    """From quantised rows to quantised rows."""
    rows = ops.quantize_rows(x, groups=groups)
    return as_floats(ops.PointwiseConv(weight, groups=groups, dtype="int8")(rows, quantize_groups=groups))


def storage_cases() -> Cases:
    """Convolutions in float16 and int8, and quantised rows: shapes like `conv_cases`, sums of more than 2^24."""
    cases: Cases = {}
    more = ((26, 64, 48, 4), (17, 31, 49, 5), (5, 1100, 33, 2), (100, 40, 65, 1), (130, 96, 200, 1), (130, 24, 48, 4))
    for i, (rows, k, n, groups) in enumerate((*SHAPES, *more)):
        x, weight = numbers(51, rows, groups * k), numbers(52, groups * n, k)
        bias, residual = numbers(53, groups * n), numbers(54, rows, groups * n)
        x[rows // 2, : (k + 1) // 2] *= np.float32(2.0**-110)
        x[rows // 3, -1] = np.nan if rows > 8 else 2
        name, activation = f"{rows}x{groups * k}to{groups * n}g{groups}", ACTIVATIONS[i % len(ACTIVATIONS)]
        for dtype in ("float16", "int8"):
            of = {"groups": groups, "dtype": dtype}
            cases[f"PointwiseConv/{name}-{dtype}"] = partial(packed, x, weight, **of)
            cases[f"PointwiseConv/{name}-{dtype}-{activation}"] = partial(
                packed, x, weight, bias, **of, activation=activation, residual=residual
            )
        cases[f"PointwiseConv/{name}-int8-quantized"] = partial(quantized_conv, x, weight, groups)
        cases[f"quantize_rows/{name}"] = partial(quantized, x, groups)
    x, weight = every_kind(56, 21, 768), numbers(57, 40, 384)
    x[:, ::2] = numbers(58, 21, 384)
    cases["quantize_rows/rotated"] = partial(quantized, x, 2, rotate=True)
    cases["PointwiseConv/21x768to40g2-int8_rotated"] = partial(packed, x, weight, groups=2, dtype="int8_rotated")
    odd = every_kind(55, 400, 33)
    cases["quantize_rows/every_kind"] = partial(quantized, odd, 3)
    cases["PointwiseConv/every_kind-int8"] = partial(packed, odd[:, :22], odd[:50, :11], groups=2, dtype="int8")
    return cases


def kernels_of(name: str) -> str:
    """The dtype, in the kernels' registry, of the kernels that a case is for."""
    of_bytes = "int8" in name and not name.startswith("embedding")  # whose tables alone are int8
    return "s8" if of_bytes or name.startswith("quantize_rows/") else "f32"


def has_floats(name: str) -> bool:
    """Whether a case has other arithmetic on floats than int8 itself does: elementary functions, a model's, softmax."""
    of_floats = name.startswith(("embedded_model/", "attention/")) or name.endswith(("gelu", "tanh"))
    return kernels_of(name) != "s8" or of_floats


def ends_with_its_kernels(name: str) -> bool:
    """Whether the last kernel of a case is one of `kernels_of`: an int8 model ends in a float32 head."""
    return name != "embedded_model/int8"


def row_cases() -> Cases:
    """gelu, tanh, l2_normalize, layer_norm, rms_norm and softmax at odd lengths, over all kinds of values."""
    cases: Cases = {}
    wide = np.concatenate([specials(), every_kind(6, 4001), numbers(7, 4000, scale=16.0)])
    cases["gelu/wide"] = partial(ops.gelu, wide)
    cases["gelu/wide-tanh"] = partial(ops.gelu, wide, approximate="tanh")
    cases["tanh/wide"] = partial(ops.tanh, wide)
    cases["softmax/exp"] = partial(ops.softmax, np.stack([0 * wide[4036:], -8 * np.abs(wide[4036:])], axis=1))
    for length in (1, 2, 7, 8, 15, 16, 17, 31, 33, 47, 49, 96, 100, 768):
        x, residual = numbers(8, 9, length, scale=8.0), numbers(9, 9, length)
        weight, bias, added = numbers(10, length), numbers(11, length), numbers(12, 9, length)
        keep = integers(13, 3, 9, length) > 0
        keep[2] = False
        added[~keep] = -np.inf
        calls = {
            "layer_norm/9x{}": partial(ops.layer_norm, x),
            "layer_norm/9x{}-all": partial(ops.layer_norm, x, weight, bias, eps=1e-12, residual=residual),
            "layer_norm/9x{}-offset": partial(ops.layer_norm, x + np.float32(1024), weight),
            "rms_norm/9x{}": partial(ops.rms_norm, x),
            "rms_norm/9x{}-all": partial(ops.rms_norm, x, weight, eps=0.7, residual=residual),
            "softmax/9x{}": partial(ops.softmax, x, scale=0.7),
            "softmax/9x{}-bool": partial(ops.softmax, x, mask=keep),
            "softmax/9x{}-added": partial(ops.softmax, x, mask=added, fully_masked="zero"),
            "l2_normalize/9x{}": partial(ops.l2_normalize, x),
            "l2_normalize/9x{}-eps": partial(ops.l2_normalize, x, eps=4 * math.isqrt(length) + 2),
        }
        cases |= {name.format(length): call for name, call in calls.items()}
    odd = every_kind(14, 40, 33)
    cases["l2_normalize/every_kind"] = partial(ops.l2_normalize, odd, eps=1e-30)
    cases["layer_norm/every_kind"] = partial(ops.layer_norm, odd)
    cases["rms_norm/every_kind"] = partial(ops.rms_norm, odd)
    cases["softmax/every_kind"] = partial(ops.softmax, odd)
    return cases


def pooling_cases() -> Cases:
    """Odd channels, lengths around the rows that are added at a time, masks with holes and of nothing."""
    cases: Cases = {}
    for length, channels in ((1, 1), (2, 16), (3, 7), (4, 33), (5, 15), (7, 96), (8, 17), (9, 47), (13, 49), (70, 384)):
        x, keep = numbers(42, 5, length, channels, scale=8.0), integers(43, 3, 5, length) > 0
        keep[2] = False
        cases[f"mean_pool/{length}x{channels}"] = partial(ops.mean_pool, x)
        cases[f"mean_pool/{length}x{channels}-mask"] = partial(ops.mean_pool, x, mask=keep)
    odd = np.where(integers(44, 5, 40, 6, 33) == 0, every_kind(45, 40, 6, 33), numbers(46, 40, 6, 33))
    cases["mean_pool/every_kind"] = partial(ops.mean_pool, odd)
    return cases


def embedding_cases() -> Cases:
    """Gathers, from float32, float16 and int8."""
    cases: Cases = {}
    for channels, dtype in itertools.product((1, 7, 16, 33, 96), ("float32", "float16", "int8")):
        gathered = []
        for i, rows in enumerate((50, 20, 2)):
            floats, ids = numbers(15 + i, rows, channels), integers(18 + i, rows, 3, 7)
            table = pack_table(*ops.quantize_rows(floats), channels) if dtype == "int8" else floats.astype(dtype)
            gathered += [ids, table]
        affine = numbers(21, channels), numbers(22, channels)
        cases[f"embedding/{channels}-{dtype}"] = partial(ops.embedding, *gathered[:2])
        cases[f"embedding_layer_norm/{channels}-{dtype}"] = partial(ops.embedding_layer_norm, *gathered, *affine)
    return cases


def attention_cases() -> Cases:
    """Odd head sizes and lengths, every kind of mask, ragged batches."""
    cases: Cases = {}
    shapes = ((1, 1, 1, 1), (3, 5, 9, 8), (2, 17, 33, 12), (1, 9, 16, 20), (3, 7, 50, 64), (2, 3, 600, 16))
    for heads, lq, lk, size in shapes:
        q, k, v = (numbers(23 + i, 2, n, heads * size) for i, n in enumerate((lq, lk, lk)))
        keep = integers(26, 4, 2, 1, lq, lk) > 0
        keep[1, :, 0] = False
        added = np.where(keep, numbers(27, 2, 1, lq, lk), np.float32(-np.inf))
        name, attend = f"attention/{lq}x{lk}h{heads}d{size}", partial(ops.attention, q, k, v, num_heads=heads)
        cases[name] = attend
        cases[f"{name}-bool"] = partial(attend, mask=keep)
        cases[f"{name}-added"] = partial(attend, mask=added, fully_masked="zero", scale=0.25)
        cases[f"{name}-scores"] = partial(ops.attention_scores, q, k, num_heads=heads, mask=added)
    odd = [
        np.where(integers(32 + i, 40, 2, 9, 24) == 0, every_kind(35 + i, 2, 9, 24), numbers(38 + i, 2, 9, 24))
        for i in range(3)
    ]
    cases["attention/every_kind"] = partial(ops.attention, *odd, num_heads=3)
    cases["attention/every_kind-causal"] = partial(ops.attention, *odd, num_heads=3, mask=np.tri(9, dtype=bool))
    ragged = partial(ops.attention, *(numbers(28 + i, 60, 24) for i in range(3)))
    offsets = np.array([0, 1, 18, 18, 35, 60], np.int32)
    cases["attention/ragged"] = partial(ragged, num_heads=3, cu_seqlens=offsets)
    kept = integers(31, 3, 60) > 0
    cases["attention/ragged-holes"] = partial(ragged, num_heads=2, cu_seqlens=offsets, mask=kept)
    return cases


def attention_int8_cases() -> Cases:
    """Head sizes around steps of 4 bytes and vectors, scales of all magnitudes, NaN, masks, ragged batches."""
    cases: Cases = {}
    shapes = (
        (1, 1, 1, 1),
        (3, 5, 9, 8),
        (2, 17, 33, 3),
        (1, 9, 16, 65),
        (12, 16, 16, 64),
        (2, 7, 50, 80),
        (2, 3, 600, 24),
    )
    for heads, lq, lk, size in shapes:
        q, k, v = (numbers(61 + i, 2, n, heads * size, scale=4.0) for i, n in enumerate((lq, lk, lk)))
        v *= np.float32(2.0) ** (integers(64, 60, 2, lk, 1) - 30).astype(np.float32)
        q[1, 0, 0] = k[1, lk // 2, -1] = np.nan
        rows = [ops.quantize_rows(x, groups=heads) for x in (q, k, v)]
        keep = integers(65, 4, 2, heads, 1, lk) > 0
        keep[0, 0] = False
        ends = {"value_scale": numbers(66, heads * size), "value_bias": numbers(67, heads * size)}
        name, attend = f"attention/{lq}x{lk}h{heads}d{size}", partial(ops.attention, *rows, num_heads=heads)
        cases[f"{name}-int8"] = attend
        cases[f"{name}-int8-mask"] = partial(attend, mask=keep, **ends)
        cases[f"{name}-int8-zero"] = partial(attend, mask=keep, **ends, fully_masked="zero", scale=0.25)
    rows = [ops.quantize_rows(numbers(68 + i, 60, 24), groups=3) for i in range(3)]
    ragged = partial(ops.attention, *rows, num_heads=3, cu_seqlens=np.array([0, 1, 18, 18, 35, 60], np.int32))
    cases["attention/ragged-int8"] = ragged
    cases["attention/ragged-int8-holes"] = partial(ragged, mask=integers(71, 3, 60) > 0)
    return cases


def model_cases() -> Cases:
    """The logits of the embedded model as it ships, and of the checkpoint that it is made from."""
    from squeezeops.pipelines import default_model

    def logits(dtype: str) -> np.ndarray:
        return model_logits(default_model() if dtype == "int8" else CHECKPOINT, dtype)

    return {f"embedded_model/{dtype}": partial(logits, dtype) for dtype in ("float32", "float16", "int8")}


def all_cases() -> Cases:
    """Every case by name; calling one runs it on the backend and the instruction set in force."""
    return {
        **conv_cases(),
        **storage_cases(),
        **row_cases(),
        **pooling_cases(),
        **embedding_cases(),
        **attention_cases(),
        **attention_int8_cases(),
        **model_cases(),
    }


def compute() -> dict[str, str]:
    """Run every case on the backend and the instruction set in force."""
    return {name: digest(run()) for name, run in all_cases().items()}


def main() -> int:
    """Check or update the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--update", action="store_true", help="write golden_bits.json")
    update = parser.parse_args().update

    from squeezeops import _native

    golden = {} if update else json.loads(FILE.read_text())
    isas = [isa for isa in ops.cpu_info()["isas"] if isa not in TO_TOLERANCE]
    differing = set()
    with ops.backend("native"):
        for isa in reversed(isas):  # the portable one first
            _native.force_isa(isa)
            found = compute()
            golden = golden or found
            wrong = {name for name in golden.keys() | found.keys() if golden.get(name) != found.get(name)}
            print(f"{isa}: {len(found)} cases, {len(wrong)} differ {sorted(wrong)}")
            differing |= wrong
        _native.force_isa(None)
    if not differing and update:
        FILE.write_text(json.dumps(golden, indent=0, sort_keys=True) + "\n")
    return len(differing) > 0


if __name__ == "__main__":
    sys.exit(main())
