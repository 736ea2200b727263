"""The result of a forward pass."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

__all__ = ["SqueezeBertOutput"]


@dataclass(eq=False, repr=False)
class SqueezeBertOutput(Mapping[str, Any]):
    """The result of a forward pass: float32 arrays, or None for what the task lacks or the call did not ask for.

    As in transformers, it is also a mapping of the fields that are not None (``output["logits"]``), and an int is a
    place among those (``output[0]``).

    B, L and C are the rows of the batch, their padded length and ``hidden_size``. For multiple choice, where the input
    is (batch, choices, L), B is batch * choices in all fields but `logits`. Values of tokens after the last attended
    one of a row are zero: they are not computed.

    Attributes
    ----------
    last_hidden_state : ndarray, (B, L, C)
        None for "text-classification", "multiple-choice" and a ``logits_mask``, unless hidden states or attentions are
        asked for: these need the last layer of some tokens only.
    pooler_output : ndarray, (B, C)
        For "text-classification" and "multiple-choice", and for "base" if the checkpoint has a pooler. Classifiers of
        a DistilBERT have a layer with ReLU in its place.
    logits : ndarray
        "text-classification": (B, num_labels). "multiple-choice": (batch, choices). "token-classification": (B, L,
        num_labels). "masked-lm": (B, L, vocab_size). With a ``logits_mask`` of N True values the last two are (N, ...),
        the chosen tokens in row-major order.
    start_logits, end_logits : ndarray, (B, L)
        For "question-answering".
    hidden_states : tuple of ndarray, (B, L, C) each
        The embeddings, then the output of every layer. The last is `last_hidden_state`.
    attentions : tuple of ndarray, (B, H, L, L) each
        Per query (third axis) and key (fourth), as transformers returns them for the type of model. SqueezeBERT: raw
        scores before the softmax, q . k / sqrt(C / H), with float32's minimum added at masked keys. The others:
        probabilities after the softmax, 0 at masked keys. Queries after the last attended token of a row are not
        computed: their scores at attended keys, and all their probabilities, are zero.
    """

    last_hidden_state: Floats | None = None
    pooler_output: Floats | None = None
    logits: Floats | None = None
    start_logits: Floats | None = None
    end_logits: Floats | None = None
    hidden_states: tuple[Floats, ...] | None = None
    attentions: tuple[Floats, ...] | None = None

    def __iter__(self) -> Iterator[str]:
        return (name for name, value in vars(self).items() if value is not None)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __getitem__(self, key: str | int) -> Any:
        if isinstance(key, int):
            return self.to_tuple()[key]
        value = vars(self).get(key)
        if value is None:
            raise KeyError(f"SqueezeBertOutput: expected one of {', '.join(self)}, got {key!r}")
        return value

    def to_tuple(self) -> tuple[Any, ...]:
        """Return the fields that are not None."""
        return tuple(self.values())

    def __repr__(self) -> str:
        def shown(value: Any) -> str:
            if isinstance(value, tuple):
                return f"{len(value)} x {shown(value[0])}"
            return f"{value.dtype} {value.shape}"

        return f"SqueezeBertOutput({', '.join(f'{name}={shown(value)}' for name, value in self.items())})"
