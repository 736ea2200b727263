"""The student: a small SqueezeBERT."""

from __future__ import annotations

import argparse

import numpy as np
import torch
import torch.nn.functional as F
from batching import length_batches, pad
from torch import nn


def new_student(args: argparse.Namespace, vocab_size: int):
    """Return a new SqueezeBertForSequenceClassification of the size that the arguments ask for."""
    from transformers import SqueezeBertConfig, SqueezeBertForSequenceClassification

    return SqueezeBertForSequenceClassification(
        SqueezeBertConfig(
            vocab_size=vocab_size,
            hidden_size=args.hidden,
            embedding_size=args.hidden,
            num_hidden_layers=args.layers,
            num_attention_heads=args.heads,
            intermediate_size=args.intermediate,
            hidden_act="gelu",
            max_position_embeddings=args.positions,
            type_vocab_size=2,
            layer_norm_eps=1e-12,
            pad_token_id=0,
            q_groups=4,
            k_groups=4,
            v_groups=4,
            post_attention_groups=1,
            intermediate_groups=4,
            output_groups=4,
            num_labels=2,
            id2label={0: "NEGATIVE", 1: "POSITIVE"},
            label2id={"NEGATIVE": 0, "POSITIVE": 1},
        )
    )


def grouped(conv: nn.Conv1d, x: torch.Tensor, half: bool) -> torch.Tensor:
    """Apply a grouped pointwise convolution to [rows, tokens, channels]: one product with a block-diagonal weight."""
    weight = conv.weight.squeeze(-1)
    if conv.groups > 1:
        weight = torch.block_diag(*weight.chunk(conv.groups))
    if half:  # operands and results are bfloat16, all between the products is float32
        return F.linear(x.bfloat16(), weight.bfloat16(), conv.bias.bfloat16())
    return F.linear(x, weight, conv.bias)


def forward_student(model, ids: torch.Tensor, half: bool = False, drop: float = 0.0) -> torch.Tensor:
    """Return the logits of ``model(ids, attention_mask=ids != 0)``, several times faster on a CPU: without permutes.

    For training there are products in bfloat16 (`half`) and dropout of embeddings and block outputs (`drop`).
    """
    body, heads = model.transformer, model.config.num_attention_heads
    emb = body.embeddings
    x = emb.word_embeddings(ids) + emb.position_embeddings.weight[: ids.shape[1]] + emb.token_type_embeddings.weight[0]
    x = F.dropout(emb.LayerNorm(x), drop)
    rows, tokens, width = x.shape
    mask = torch.zeros(rows, 1, 1, tokens).masked_fill_((ids == 0)[:, None, None, :], -1e4)

    def add_norm(block, y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        norm, y = block.layernorm, F.dropout(grouped(block.conv1d, y, half), drop)
        return F.layer_norm(x + y, (width,), norm.weight, norm.bias, 1e-12)

    for layer in body.encoder.layers:
        q, k, v = (
            grouped(conv, x, half).float().view(rows, tokens, heads, width // heads).transpose(1, 2)
            for conv in (layer.attention.query, layer.attention.key, layer.attention.value)
        )
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        x = add_norm(layer.post_attention, mixed.transpose(1, 2).reshape(rows, tokens, width), x)
        x = add_norm(layer.output, F.gelu(grouped(layer.intermediate.conv1d, x, half)), x)
    return model.classifier(torch.tanh(body.pooler.dense(x[:, 0])))


@torch.inference_mode()
def score_student(model, tokenizer, texts: list[str]) -> np.ndarray:
    """Return the log-odds of "positive" for the texts."""
    model.eval()
    ids = [e.ids for e in tokenizer.encode_batch(texts)]
    out = np.zeros(len(ids), dtype=np.float32)
    for batch in length_batches(np.array([len(t) for t in ids]), 8192, 256, None):
        logits = forward_student(model, pad([ids[i] for i in batch]))
        out[batch] = (logits[:, 1] - logits[:, 0]).numpy()
    return out
