"""How each tensor of a model is stored; the same rules for a checkpoint that is loaded and one that is converted."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf, isfinite
from typing import TYPE_CHECKING, Any

from squeezeops.packing import HALF_MAX, MOST_ROTATED, ROTATED, SCALE_BYTES, STORAGE, TARGETS, pack_table
from squeezeops.squeezebert.model.tensors import DECODER, WORDS, in_encoder

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from squeezeops.literals import Arithmetic, ConvDtype

__all__ = [
    "ATTENTIONS",
    "ONE_SCALE",
    "ROWS",
    "TOO_LARGE",
    "attention_of",
    "check_dtype",
    "dtype_of",
    "dtype_of_table",
    "finite_max",
    "storable",
    "stored_table",
]

# Convolutions whose input has channels of very different magnitude: one channel may hold 99 % of the norm (that of the
# separator in all-MiniLM-L6-v2), and int8 with one scale for all of a token's channels leaves little of the others.
# Rotation spreads that channel over its block, so these are rotated. Not post_attention: it reads averages of values.
UNEVEN = (".attention.query", ".attention.key", ".intermediate.conv1d", ".output.conv1d")
# Those that are float16 where int8 is not enough: values even if rotated. Softmax forgives errors of queries and keys.
SENSITIVE = (".attention.value", ".intermediate.conv1d", ".output.conv1d")
ONE_SCALE = "one group, so one scale for uneven channels"  # reason for float16, for reports
TOO_LARGE = f"a weight is above {HALF_MAX:g}, the largest float16"  # reason for float32
ROWS = 4096  # of a table, converted at a time
ATTENTIONS = ("float32", "int8")  # arithmetics of attention


def check_dtype(dtype: object) -> None:
    """Check the argument `dtype` of a model: a dtype of `TARGETS`, or a mapping to those of `STORAGE`."""
    words, known = (dtype.values(), STORAGE) if isinstance(dtype, Mapping) else ((dtype,), TARGETS)
    for word in words:
        if not isinstance(word, str) or word not in known:
            raise ValueError(f"SqueezeBert: dtype: expected one of {', '.join(map(repr, known))}, got {word!r}")


def attention_of(dtype: str | Mapping[str, str], attention: Any) -> Arithmetic:
    """Return the arithmetic of attention in a model of `dtype`, and check the argument `attention`."""
    if attention is None:
        return "int8" if dtype == "int8" else "float32"
    if not isinstance(attention, str) or attention not in ATTENTIONS:
        raise ValueError(
            f"SqueezeBert: attention: expected None or one of {', '.join(map(repr, ATTENTIONS))}, got {attention!r}"
        )
    return "int8" if attention == "int8" else "float32"


def dtype_of(name: str, dtype: str | Mapping[str, str], weight: NDArray[Any], groups: int) -> tuple[ConvDtype, str]:
    """Return the dtype of a convolution in a model of `dtype`, and the reason if it is another.

    In the encoder it is `dtype`. In an "int8" model, with one group, it is "int8_rotated" for the convolutions of
    `UNEVEN` whose channels can be rotated, and float16 for what is then left of `SENSITIVE`. Heads are float32, except
    a masked-LM decoder, which is stored as the embedding table that it is. A mapping gives the dtype of each
    convolution. Weights beyond the range of float16 are float32.
    """
    chosen: Any = "float32"
    reason = ""
    if isinstance(dtype, Mapping):
        chosen = dtype.get(name, "float32")
    elif in_encoder(name):
        chosen = dtype
        if dtype == "int8" and groups == 1:
            if name.endswith(UNEVEN) and weight.shape[1] % ROTATED == 0 and weight.shape[1] <= MOST_ROTATED:
                chosen = "int8_rotated"
            elif name.endswith(SENSITIVE):
                chosen, reason = "float16", ONE_SCALE
    elif f"{name}.weight" == DECODER and dtype != "float32":
        chosen = "float16"
    stored = storable(chosen, weight)
    return stored, reason if stored == chosen else TOO_LARGE


def dtype_of_table(name: str, dtype: str | Mapping[str, str], table: NDArray[Any]) -> str:
    """Return the dtype of an embedding table in a model of `dtype`.

    In an "int8" model the word embeddings, by far the largest table, are int8. The other tables, and all tables of a
    "float16" model, are float16 if it can hold them. For "float32" and a mapping, tables are as in the checkpoint.
    """
    if dtype == "int8" and name == WORDS:
        return "int8"
    stored: str = storable("float16" if dtype in ("int8", "float16") else table.dtype.name, table)
    return stored


def storable(dtype: Any, weight: NDArray[Any]) -> Any:
    """Return `dtype`, or "float32" for a weight beyond the range of float16."""
    too_large = dtype == "float16" and weight.dtype != "float16" and finite_max(weight) > HALF_MAX
    return "float32" if too_large else dtype


def finite_max(weight: NDArray[Any]) -> float:
    """Return the largest finite magnitude."""
    most = max(weight.max(initial=0), -weight.min(initial=0))  # copies nothing
    return float(most if isfinite(most) else abs(weight[abs(weight) < inf]).max(initial=0))


def stored_table(name: str, table: NDArray[Any], dtype: str | Mapping[str, str]) -> NDArray[Any]:
    """Return an embedding table as a model of `dtype` holds it, C-contiguous; without a copy if nothing changes.

    The bytes of an int8 table are the same on every backend. A row with a NaN or an infinity becomes all NaN, a row of
    magnitudes below 2^-100 all zero.
    """
    import numpy as np

    from squeezeops import ops

    stored = dtype_of_table(name, dtype, table)
    if stored != "int8":
        return np.asarray(table, stored, order="C")
    channels = table.shape[1]
    out = np.empty((len(table), channels + SCALE_BYTES), np.int8)
    for start in range(0, len(table), ROWS):
        rows = ops.quantize_rows(np.ascontiguousarray(table[start : start + ROWS], np.float32))
        out[start : start + ROWS] = pack_table(rows.values, rows.scales, channels)
    return out
