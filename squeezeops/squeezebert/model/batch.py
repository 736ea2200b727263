"""Packs padded inputs into rows, and unpacks the results.

The model computes the rows of a batch's tokens, [T, C] instead of [B, L, C]: one sequence after the other, without the
padding after a sequence's last attended token. Other masked tokens (left padding, holes) keep their rows and positions,
as in transformers; attention skips them as keys. A sequence without any attended token keeps all rows, and its
attention is uniform over the padded length. This module only indexes, copies and fills with zeros.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from squeezeops.squeezebert.model.config import SqueezeBertConfig

    Floats = NDArray[np.float32]

__all__ = ["Batch", "Plain", "Rows", "make_batch", "plain_inputs"]

PART = 512  # tokens computed at a time; from 128 to 4096 the time differs by less than 2 %
MASKED = np.finfo(np.float32).min  # added to the raw scores of masked keys


class Rows(NamedTuple):
    """N of the rows of a batch, in order."""

    indices: NDArray[np.int64]  # (N,)
    cu_rows: NDArray[np.int32]  # offsets of the sequences in `indices`, (B + 1,)


@dataclass(slots=True)
class Batch:
    """The checked and packed inputs of a forward pass, or a part of them that consists of whole sequences.

    Attributes
    ----------
    shape : tuple of int
        Of the inputs: (B, L), or (batch, choices, L), where B = batch * choices.
    sequences : slice
        The sequences of this part among all inputs.
    ids, types, positions : ndarray of int64, (T,)
        Of the kept tokens. Positions count from the beginning of the padded row.
    cu_seqlens : ndarray of int32, (B + 1,)
        Offsets of the sequences in the packed rows.
    attended : ndarray of bool, (B, L), or None
        The attention mask; None if it is all True.
    key_mask : ndarray of bool, (T,), or None
        The attention mask of the kept tokens; None if it is all True.
    chosen : Rows or None
        The kept tokens to compute logits for; None for all.
    chosen_before : int
        The number of chosen tokens in the sequences before this part.
    """

    shape: tuple[int, ...]
    sequences: slice
    ids: NDArray[np.int64]
    types: NDArray[np.int64]
    positions: NDArray[np.int64]
    cu_seqlens: NDArray[np.int32]
    attended: NDArray[np.bool_] | None = None
    key_mask: NDArray[np.bool_] | None = None
    chosen: Rows | None = None
    chosen_before: int = 0

    @property
    def size(self) -> tuple[int, int]:
        """(B, L)."""
        return len(self.cu_seqlens) - 1, self.shape[-1]

    @property
    def is_padded(self) -> bool:
        """Whether padding was dropped."""
        count, length = self.size
        return len(self.ids) < count * length

    def parts(self) -> Iterator[Batch]:
        """Split into parts of at most PART tokens; a longer sequence is a part of its own."""
        count, begin = len(self.cu_seqlens) - 1, 0
        if len(self.ids) <= PART:
            yield self
            return
        while begin < count:
            fitting = int(np.searchsorted(self.cu_seqlens, self.cu_seqlens[begin] + PART, side="right")) - 1
            end = max(begin + 1, fitting)
            yield self._part(begin, end)
            begin = end

    def _part(self, begin: int, end: int) -> Batch:
        sequences, tokens = slice(begin, end), slice(*self.cu_seqlens[[begin, end]].tolist())
        chosen, before = self.chosen, 0
        if chosen is not None:
            before = int(chosen.cu_rows[begin])
            indices = chosen.indices[before : chosen.cu_rows[end]] - tokens.start
            chosen = Rows(indices, chosen.cu_rows[begin : end + 1] - np.int32(before))
        return Batch(
            shape=self.shape,
            sequences=sequences,
            ids=self.ids[tokens],
            types=self.types[tokens],
            positions=self.positions[tokens],
            cu_seqlens=self.cu_seqlens[begin : end + 1] - self.cu_seqlens[begin],
            attended=None if self.attended is None else self.attended[sequences],
            key_mask=None if self.key_mask is None else self.key_mask[tokens],
            chosen=chosen,
            chosen_before=before,
        )

    def first_tokens(self) -> Rows:
        """Return the row of each sequence's first token."""
        return Rows(self.cu_seqlens[:-1].astype(np.int64), np.arange(len(self.cu_seqlens), dtype=np.int32))

    def spread(self, padded: Floats, rows: Floats | None = None) -> None:
        """Copy packed rows (T, ...) to their places in (B, L, ...), and fill the rest with zeros.

        Without `rows`, the packed rows are the first T of `padded` itself, as (B * L, ...).
        """
        flat = padded.reshape(-1, *padded.shape[2:])
        if not self.is_padded:
            if rows is not None:
                flat[...] = rows
            return
        source, length, begins = flat if rows is None else rows, padded.shape[1], self.cu_seqlens.tolist()
        for b in reversed(range(len(begins) - 1)):  # backwards, so that no row is overwritten before it moves
            begin, n, to = begins[b], begins[b + 1] - begins[b], b * length
            if rows is not None or to - begin >= n:
                flat[to : to + n] = source[begin : begin + n]
            elif to > begin:
                for i in reversed(range(n)):  # overlapping ranges; one assignment would make a copy first
                    flat[to + i] = source[begin + i]
            flat[to + n : to + length] = 0

    def unpack(self, rows: Floats) -> Floats:
        """Return packed rows (T, C) as (B, L, C), zero where there is no row."""
        padded = np.empty((*self.size, rows.shape[-1]), np.float32)
        self.spread(padded, rows)
        return padded

    def pairs(self) -> NDArray[np.bool_]:
        """Return which queries attend to which keys, (B, 1, L, L): kept ones to attended ones, or to all if none is."""
        attended = self._attended()
        lengths = np.diff(self.cu_seqlens)
        keep = np.arange(self.shape[-1]) < lengths[:, None]
        keys = attended | ~attended.any(axis=1, keepdims=True)
        pairs: NDArray[np.bool_] = keep[:, None, :, None] & keys[:, None, None, :]
        return pairs

    def bias(self) -> Floats:
        """Return what transformers adds to raw scores, (B, 1, 1, L): 0, or float32's minimum at masked keys."""
        bias: Floats = np.where(self._attended(), np.float32(0), MASKED)
        return bias.reshape(len(bias), 1, 1, -1)

    def _attended(self) -> NDArray[np.bool_]:
        return np.ones(self.size, np.bool_) if self.attended is None else self.attended


def make_batch(
    config: SqueezeBertConfig,
    axes: tuple[str, ...],
    input_ids: ArrayLike,
    attention_mask: ArrayLike | None,
    token_type_ids: ArrayLike | None,
    logits_mask: ArrayLike | None,
) -> Batch:
    """Check and pack the inputs of `SqueezeBert.__call__`, which documents the errors; `axes` names their axes."""
    ids = integers("input_ids", input_ids, config.vocab_size, axes)
    shape, length, longest = ids.shape, ids.shape[-1], config.max_position_embeddings
    if length > longest:
        fail("input_ids", f"rows of at most max_position_embeddings = {longest} tokens", f"{length} tokens")
    if token_type_ids is None:
        types = np.zeros(ids.size, np.int64)
    else:
        types = integers("token_type_ids", token_type_ids, config.type_vocab_size, shape).reshape(-1)
    ids, positions = ids.reshape(-1), np.arange(length)
    count = ids.size // length
    if count > 1:
        positions = np.tile(positions, count)
    batch = Batch(shape, slice(0, count), ids, types, positions, np.arange(0, ids.size + 1, length, dtype=np.int32))
    if attention_mask is not None:
        drop_padding(
            batch, integers("attention_mask", attention_mask, 2, shape).reshape(count, length).astype(np.bool_)
        )
    if logits_mask is not None:
        batch.chosen = chosen_tokens(batch, logits_mask)
    return batch


class Plain(NamedTuple):
    """Inputs as the forward pass in C takes them, which checks their values; has the fields of `Batch` that heads read.

    The masks are bytes; `chosen` are the tokens that `logits_mask` chooses.
    """

    shape: tuple[int, ...]
    size: tuple[int, int]
    ids: NDArray[np.int64]
    types: NDArray[np.int64] | None
    mask: NDArray[np.uint8] | None
    logits_mask: NDArray[np.uint8] | None
    chosen: Rows | None

    def first_tokens(self) -> Rows:
        """Return a value that is not None, for `Head.rows`."""
        return NO_ROWS


NO_ROWS = Rows(np.empty(0, np.int64), np.zeros(1, np.int32))


def plain_inputs(
    axes: tuple[str, ...],
    input_ids: ArrayLike,
    attention_mask: ArrayLike | None,
    token_type_ids: ArrayLike | None,
    logits_mask: ArrayLike | None,
) -> Plain | None:
    """Return inputs of the right types and shapes. None: `make_batch` knows what is wrong, or what is unusual."""
    try:
        # Views, whose shape and dtype no other thread can set.
        ids = np.asarray(input_ids).view()
        types = None if token_type_ids is None else np.asarray(token_type_ids).view()
        mask = None if attention_mask is None else np.asarray(attention_mask).view()
        chosen = None if logits_mask is None else np.asarray(logits_mask).view()
    except (RuntimeError, TypeError, ValueError):
        return None
    shape = ids.shape
    if ids.dtype.kind not in "iu" or len(shape) != len(axes) or not ids.size:
        return None
    if types is not None and (types.dtype.kind not in "iu" or types.shape != shape):
        return None
    if mask is not None:
        if mask.shape != shape or mask.dtype.kind not in "biu":
            return None
        bits = mask.astype(np.bool_)
        if mask.dtype.kind != "b" and (bits != mask).any():
            return None
        mask = bits.view(np.uint8)
    rows = None
    if chosen is not None:
        if chosen.shape != shape or chosen.dtype.kind != "b":
            return None
        # A copy, because another thread may change the mask: the logits have one row for each True.
        chosen = chosen.astype(np.uint8, order="C")
        rows = Rows(np.flatnonzero(chosen), NO_ROWS.cu_rows)
    length = shape[-1]
    size = ids.size // length, length
    ids = np.ascontiguousarray(ids, np.int64).reshape(size)
    types = None if types is None else np.ascontiguousarray(types, np.int64)
    return Plain(shape, size, ids, types, None if mask is None else np.ascontiguousarray(mask), chosen, rows)


def drop_padding(batch: Batch, attended: NDArray[np.bool_]) -> None:
    """Drop the tokens after the last attended one of a row. A row without attended tokens stays whole."""
    if attended.all():
        return
    length = attended.shape[1]
    lengths = length - np.argmax(attended[:, ::-1], axis=1)
    keep = np.arange(length) < lengths[:, None]
    kept = keep.reshape(-1)
    batch.attended = attended
    batch.ids, batch.types, batch.positions = batch.ids[kept], batch.types[kept], batch.positions[kept]
    batch.cu_seqlens = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    key_mask = attended[keep]
    batch.key_mask = None if key_mask.all() else key_mask


def array_of(name: str, values: ArrayLike, shape: tuple[int | str, ...]) -> NDArray[Any]:
    """Return `values` as an array of this shape, in which a name stands for any positive number."""
    if isinstance(values, Mapping):
        got = type(values).__name__
        raise TypeError(f"SqueezeBert: {name}: expected an array, got {got}: pass **{got.lower()}")
    try:
        array: NDArray[Any] = np.asarray(values).view()
        ragged = array.dtype == object and 0 < array.ndim < len(shape)  # NumPy before 1.24
    except ValueError:
        ragged = True
    except (RuntimeError, TypeError) as error:  # of an __array__, such as that of a tensor with a gradient
        got = f"{type(values).__name__}, of which NumPy makes none: {error}"
        raise TypeError(f"SqueezeBert: {name}: expected an array of integers, got {got}") from None
    if ragged:
        fail(name, "rows of equal length", "rows of different lengths: pad them and mask the padding")
    if not isinstance(shape[0], str):
        if array.shape != shape:
            fail(name, f"the shape of input_ids, {shape}", array.shape)
    elif array.ndim != len(shape) or not array.size:
        axes = ", ".join(map(str, shape))
        if array.dtype.kind in "US":
            raise TypeError(f"SqueezeBert: {name}: expected integers, got text: a Tokenizer makes ids of it")
        if array.ndim == 0:
            fail(name, f"shape ({axes})", f"(): one token in one row is [[{name}]]")
        if array.ndim == len(shape) - 1 and array.size:
            fail(name, f"shape ({axes})", f"{array.shape}: add a batch axis, [{name}]")
        fail(name, f"shape ({axes}) with at least one row and one token", array.shape)
    return array


def integers(name: str, values: ArrayLike, end: int, shape: tuple[int | str, ...]) -> NDArray[np.int64]:
    """Return `values` as a new int64 array of this shape (see `array_of`); check that they are in [0, `end`)."""
    array = array_of(name, values, shape)
    if array.dtype.kind not in "iu" and not (name == "attention_mask" and array.dtype.kind == "b"):
        raise TypeError(f"SqueezeBert: {name}: expected integers, got {array.dtype}")
    numbers = array.astype(np.int64)
    if numbers.view(np.uint64).max() >= end:  # negative numbers are large as uint64
        at = tuple(int(i) for i in np.argwhere((numbers < 0) | (numbers >= end))[0])
        fail(name, f"values from 0 to {end - 1}", f"{array[at]} at {list(at)}")
    return numbers


def chosen_tokens(batch: Batch, logits_mask: ArrayLike) -> Rows:
    """Return the kept tokens that a mask (B, L) chooses."""
    mask = array_of("logits_mask", logits_mask, batch.size)
    if mask.dtype.kind != "b":
        raise TypeError(f"SqueezeBert: logits_mask: expected bools, got {mask.dtype}")
    keep = np.arange(batch.shape[-1]) < np.diff(batch.cu_seqlens)[:, None]
    dropped = mask & ~keep
    if dropped.any():
        at = [int(i) for i in np.argwhere(dropped)[0]]
        fail("logits_mask", "True only up to the last attended token of a row", f"True at {at}")
    indices = np.flatnonzero(mask[keep])
    return Rows(indices, np.searchsorted(indices, batch.cu_seqlens).astype(np.int32))


def fail(name: str, expected: str, got: object) -> NoReturn:
    raise ValueError(f"SqueezeBert: {name}: expected {expected}, got {got}")
