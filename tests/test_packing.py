"""The storage formats: packed weights and int8 tables against plain loops, sizes, and the examples of the docs."""

import doctest
import importlib

import numpy as np
import pytest
from op_helpers import normal

from squeezeops import ops, packing

SHAPES = [(1, 1, 1), (1, 5, 3), (2, 17, 4), (3, 16, 9), (1, 0, 4), (1, 4, 0)]  # groups, outputs and inputs of each
EVERY_SHAPE = pytest.mark.parametrize("groups, n, k", SHAPES)


@pytest.mark.parametrize("dtype", packing.STORAGE)
@EVERY_SHAPE
def test_unpack_undoes_pack(rng, dtype, groups, n, k):
    if dtype in packing.INT8:
        weight = rng.integers(-127, 128, (groups, n, k)).astype(np.int8)
    else:
        weight = normal(rng, groups, n, k).astype(dtype)
    scales = normal(rng, groups * n) if dtype in packing.INT8 else None
    packed = packing.pack(weight, scales, dtype)
    sizes = groups * k, groups * n, groups
    assert packed.dtype == np.uint8 and packed.nbytes == packing.packed_size(groups, *sizes[:2], dtype)
    assert packing.address(packed) % packing.LINE == 0
    for buffer in (packed, bytes(packed), memoryview(packed).toreadonly()):
        values, of_channels = packing.unpack(buffer, *sizes, dtype)
        np.testing.assert_array_equal(values, weight)
        assert values.dtype == weight.dtype
        np.testing.assert_array_equal(of_channels, [] if scales is None else scales)


@EVERY_SHAPE
def test_int8_layout(rng, groups, n, k):
    """Per panel: 16 sums times -128, 16 scales, then for each four inputs 16 times four bytes."""
    weight, scales = rng.integers(-127, 128, (groups, n, k)).astype(np.int8), normal(rng, groups * n)
    steps = -(-k // 4)
    expected = b""
    for g in range(groups):
        for panel in range(0, n, 16):
            lanes = [weight[g, o] if o < n else np.zeros(k, np.int8) for o in range(panel, panel + 16)]
            own = scales[g * n : (g + 1) * n][panel : panel + 16]
            expected += np.array([-128 * lane.astype(int).sum() for lane in lanes], "<i4").tobytes()
            expected += own.astype("<f4").tobytes().ljust(64, b"\0")
            filled = [np.concatenate([lane, np.zeros(4 * steps - k, np.int8)]) for lane in lanes]
            for step in range(steps):
                expected += b"".join(lane[4 * step : 4 * step + 4].tobytes() for lane in filled)
    assert packing.pack(weight, scales, "int8").tobytes() == expected


@pytest.mark.parametrize("channels", [0, 1, 3, 4, 7])
def test_tables(rng, channels):
    floats = normal(rng, 5, channels)
    values, scales = ops.quantize_rows(floats)
    table = packing.pack_table(values, scales, channels)
    assert table.dtype == np.int8 and table.shape == (5, channels + packing.SCALE_BYTES)
    np.testing.assert_array_equal(table[:, :channels], values[:, :channels].astype(int) - 128)
    assert table[:, channels:].tobytes() == scales.tobytes()
    np.testing.assert_allclose(ops.embedding(np.arange(5), table), floats, atol=0.05)


def test_padded():
    assert [packing.padded(size) for size in (0, 1, 64, 65)] == [0, 64, 64, 128]
    assert packing.address(b"") == 0


@pytest.mark.parametrize(
    "module",
    ["packing", "pipelines", "squeezebert.model.squeezebert", "squeezebert.tokenizer.tokenizer"],
)
def test_examples(module):
    found = doctest.testmod(importlib.import_module(f"squeezeops.{module}"))
    assert found.attempted and not found.failed
