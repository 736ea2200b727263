"""Embedding tables as a model stores them; in int8 with a scale at the end of each row (see `squeezeops.embedding`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from squeezeops import ops
from squeezeops.backends._scalars import SCALE_BYTES
from squeezeops.squeezebert.tensors import dtype_of_table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = ["quantized_table", "stored_table"]

ROWS = 4096  # at a time


def stored_table(name: str, table: NDArray[Any], dtype: str | Mapping[str, str]) -> NDArray[Any]:
    """A table as a model in `dtype` holds it, C-contiguous; where that changes nothing, the table itself."""
    stored = dtype_of_table(name, dtype, table)
    return quantized_table(table) if stored == "int8" else np.asarray(table, stored, order="C")


def quantized_table(table: NDArray[Any]) -> NDArray[np.int8]:
    """Quantise a table, [V, C] of float32 or float16, as `squeezeops.quantize_rows` does: [V, C + 4].

    The same bytes on every backend. A row of zeros, or of numbers below 2^-100, is zeros; one with a NaN or an infinity
    will be all NaN.
    """
    channels = table.shape[1]
    out = np.empty((len(table), channels + SCALE_BYTES), np.int8)
    for start in range(0, len(table), ROWS):
        rows = ops.quantize_rows(np.ascontiguousarray(table[start : start + ROWS], np.float32))
        part = out[start : start + ROWS]
        np.subtract(rows.values[:, :channels], np.uint8(128), out=part[:, :channels].view(np.uint8))
        part[:, channels:] = np.ascontiguousarray(rows.scales, "<f4").view(np.int8)
    return out
