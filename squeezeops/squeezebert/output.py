"""What a forward pass returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from squeezeops import ops

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from squeezeops.squeezebert.batch import Batch
    from squeezeops.squeezebert.config import SqueezeBertConfig
    from squeezeops.squeezebert.heads import Head

    Floats = NDArray[np.float32]

__all__ = ["SqueezeBertOutput", "attention_scores", "make_output"]


@dataclass
class SqueezeBertOutput:
    """What a forward pass returns, float32 arrays; None is what the task does not have or the call did not ask for.

    B, L and C are the rows of the batch, their padded length and ``hidden_size``; for multiple choice, where the input
    is (batch, choices, L), B is batch * choices in all fields but `logits`. Whatever belongs to a token is zero after
    the last attended token of a row: nothing is computed there.

    Attributes
    ----------
    last_hidden_state : ndarray, (B, L, C)
        None where the task needs the last layer for some tokens only, which is then computed for these alone: for
        "text-classification", "multiple-choice" and a ``logits_mask``, unless hidden states or attentions are asked
        for.
    pooler_output : ndarray, (B, C)
        Of "text-classification" and "multiple-choice", and of "base" if the checkpoint has a pooler.
    logits : ndarray
        "text-classification": (B, num_labels). "multiple-choice": (batch, choices). "token-classification": (B, L,
        num_labels). "masked-lm": (B, L, vocab_size). With a ``logits_mask`` of N True values the last two are (N, ...),
        the chosen tokens in row-major order.
    start_logits, end_logits : ndarray, (B, L)
        Of "question-answering".
    hidden_states : tuple of ndarray, (B, L, C) each
        The embeddings, then every layer's output; the last is `last_hidden_state`.
    attentions : tuple of ndarray, (B, H, L, L) each
        Of query (third axis) and key (fourth), what transformers has for the type of model. SqueezeBERT: raw scores
        before the softmax, q . k / sqrt(C / H), with float32's lowest number at masked keys. BERT: probabilities after
        the softmax, 0 at masked keys. For queries after the last attended token of a row, which are not computed, the
        scores of attended keys, and all probabilities, are zero.
    """

    last_hidden_state: Floats | None = None
    pooler_output: Floats | None = None
    logits: Floats | None = None
    start_logits: Floats | None = None
    end_logits: Floats | None = None
    hidden_states: tuple[Floats, ...] | None = None
    attentions: tuple[Floats, ...] | None = None


def make_output(
    head: Head, config: SqueezeBertConfig, batch: Batch, hidden_states: bool, attentions: bool
) -> SqueezeBertOutput:
    """The arrays that a call returns, yet to be filled in."""
    layers, (count, length) = range(config.num_hidden_layers), batch.size
    output = SqueezeBertOutput()
    for name, shape in head.fields(batch).items():
        setattr(output, name, np.empty(shape, np.float32))
    if hidden_states or attentions or head.rows(batch) is None:
        last = output.last_hidden_state = np.empty((count, length, config.hidden_size), np.float32)
        if hidden_states:
            output.hidden_states = (*(np.empty_like(last) for _ in layers), last)
    if attentions:
        shape = count, config.num_attention_heads, length, length
        output.attentions = tuple(np.empty(shape, np.float32) for _ in layers)
    return output


def attention_scores(q: Floats, k: Floats, config: SqueezeBertConfig, batch: Batch) -> Floats:
    """What ``output_attentions`` gives, of queries and keys [T, C]."""
    num_heads, bias = config.num_attention_heads, batch.bias()
    q, k = batch.unpack(q), batch.unpack(k)  # 2 x [T, C] -> 2 x [B, L, C]
    s = ops.attention_scores(q, k, num_heads=num_heads, mask=bias)  # [B, H, L, L]
    if config.model_type == "bert":  # asked for its scores, it gives probabilities
        s = ops.softmax(s, mask=batch.pairs(), fully_masked="zero", out=s)  # [B, H, L, L]
    return s
