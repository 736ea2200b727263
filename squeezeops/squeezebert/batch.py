"""From padded inputs to packed rows and back.

A batch is computed as the rows of its tokens, one sequence after the other, without the padding that follows the
last attended token of a sequence: [T, C] in place of [B, L, C]. Other masked tokens (left padding, holes) keep their
rows and their positions, as in transformers, and are excluded as keys of the attention. A sequence with no attended
token at all keeps all its rows, and its attention is uniform over the padded length. There are only indexing, copies
and zero fill here, no arithmetic on activations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from squeezeops.squeezebert.config import SqueezeBertConfig

    Floats = NDArray[np.float32]

__all__ = ["Batch", "make_batch"]

MASKED = np.finfo(np.float32).min  # what a masked key adds to its raw score


@dataclass(frozen=True)
class Batch:
    """The inputs of a forward pass, checked and packed.

    Attributes
    ----------
    shape : tuple of int
        Of the inputs: (B, L), or (batch, choices, L), which is (B, L) from here on, with B = batch * choices.
    ids, types, positions : ndarray of int64, (T,)
        Of the kept tokens; a position counts from the beginning of the padded row.
    cu_seqlens : ndarray of int32, (B + 1,)
        Where each sequence begins in the packed rows, and T.
    keep : ndarray of bool, (B, L)
        The tokens that have a row.
    attended : ndarray of bool, (B, L)
        The attention mask.
    key_mask : ndarray of bool, (T,), or None
        The attention mask of the kept tokens; None if it is all True.
    chosen : ndarray of bool, (T,), or None
        The kept tokens whose logits are asked for; None for all.
    """

    shape: tuple[int, ...]
    ids: NDArray[np.int64]
    types: NDArray[np.int64]
    positions: NDArray[np.int64]
    cu_seqlens: NDArray[np.int32]
    keep: NDArray[np.bool_]
    attended: NDArray[np.bool_]
    key_mask: NDArray[np.bool_] | None
    chosen: NDArray[np.bool_] | None

    def first(self, rows: Floats) -> Floats:
        """The row of each sequence's first token: (T, C) to (B, C)."""
        return rows[self.cu_seqlens[:-1]]

    def unpack(self, rows: Floats) -> Floats:
        """Padded rows, zero where there is none: (T, C) to (B, L, C)."""
        padded = np.zeros((*self.keep.shape, rows.shape[-1]), np.float32)
        padded[self.keep] = rows
        return padded

    def pairs(self) -> NDArray[np.bool_]:
        """Which queries attend to which keys: kept ones to attended ones, or to all where none is. (B, 1, L, L)."""
        keys = self.attended | ~self.attended.any(axis=1, keepdims=True)
        return self.keep[:, None, :, None] & keys[:, None, None, :]

    def bias(self) -> Floats:
        """What transformers adds to raw scores: 0 or, at masked keys, float32's lowest number. (B, 1, 1, L)."""
        bias: Floats = np.where(self.attended, np.float32(0), MASKED)
        return bias.reshape(len(bias), 1, 1, -1)


def make_batch(
    config: SqueezeBertConfig,
    axes: tuple[str, ...],
    input_ids: ArrayLike,
    attention_mask: ArrayLike | None,
    token_type_ids: ArrayLike | None,
    logits_mask: ArrayLike | None,
) -> Batch:
    """Check and pack the inputs of ``SqueezeBert.__call__``; errors as described there. `axes` names their axes."""
    ids = integers("input_ids", input_ids, config.vocab_size, axes)
    shape, length, longest = ids.shape, ids.shape[-1], config.max_position_embeddings
    if length > longest:
        fail("input_ids", f"rows of at most max_position_embeddings = {longest} tokens", f"{length} tokens")
    types = np.zeros_like(ids)
    if token_type_ids is not None:
        types = integers("token_type_ids", token_type_ids, config.type_vocab_size, shape)
    attended: NDArray[np.bool_] = np.ones(shape, np.bool_)
    if attention_mask is not None:
        attended = integers("attention_mask", attention_mask, 2, shape).astype(np.bool_)

    ids, types, attended = ids.reshape(-1, length), types.reshape(-1, length), attended.reshape(-1, length)
    lengths = length - np.argmax(attended[:, ::-1], axis=1)  # up to the last True; all of a row without any
    positions = np.broadcast_to(np.arange(length), ids.shape)
    keep = positions < lengths[:, None]
    key_mask = attended[keep]
    return Batch(
        shape=shape,
        ids=ids[keep],
        types=types[keep],
        positions=positions[keep],
        cu_seqlens=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32),
        keep=keep,
        attended=attended,
        key_mask=None if key_mask.all() else key_mask,
        chosen=None if logits_mask is None else chosen_tokens(logits_mask, keep),
    )


def array_of(name: str, values: ArrayLike, shape: tuple[int | str, ...]) -> NDArray[Any]:
    """`values` as an array of this shape; a name in place of a number stands for any number but 0."""
    try:
        array = np.asarray(values)
        ragged = array.dtype == object and 0 < array.ndim < len(shape)  # NumPy before 1.24 makes an array of lists
    except ValueError:
        ragged = True
    if ragged:
        fail(name, "rows of equal length", "rows of different lengths: pad them and mask the padding")
    if not isinstance(shape[0], str):
        if array.shape != shape:
            fail(name, f"the shape of input_ids, {shape}", array.shape)
    elif array.ndim != len(shape) or not array.size:
        axes = ", ".join(map(str, shape))
        if array.ndim == len(shape) - 1 and array.size:
            fail(name, f"shape ({axes})", f"{array.shape}: add a batch axis, [{name}]")
        fail(name, f"shape ({axes}) with at least one row and one token", array.shape)
    return array


def integers(name: str, values: ArrayLike, end: int, shape: tuple[int | str, ...]) -> NDArray[np.int64]:
    """`values` as an array of int64 of this shape (see `array_of`), all of them from 0 to `end` - 1."""
    array = array_of(name, values, shape)
    if array.dtype.kind not in "iu" and not (name == "attention_mask" and array.dtype.kind == "b"):
        raise TypeError(f"SqueezeBert: {name}: expected integers, got {array.dtype}")
    wrong = (array < 0) | (array >= end)
    if wrong.any():
        at = tuple(int(i) for i in np.argwhere(wrong)[0])
        fail(name, f"values from 0 to {end - 1}", f"{array[at]} at {list(at)}")
    return array.astype(np.int64)


def chosen_tokens(logits_mask: ArrayLike, keep: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """A mask of padded tokens (B, L) as one of the kept tokens (T,)."""
    mask = array_of("logits_mask", logits_mask, keep.shape)
    if mask.dtype.kind != "b":
        raise TypeError(f"SqueezeBert: logits_mask: expected bools, got {mask.dtype}")
    dropped = mask & ~keep
    if dropped.any():
        at = [int(i) for i in np.argwhere(dropped)[0]]
        fail("logits_mask", "True only up to the last attended token of a row", f"True at {at}")
    chosen: NDArray[np.bool_] = mask[keep]
    return chosen


def fail(name: str, expected: str, got: object) -> NoReturn:
    raise ValueError(f"SqueezeBert: {name}: expected {expected}, got {got}")
