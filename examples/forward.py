"""The forward pass of SqueezeBERT as the papers have it, with NumPy and the public ops alone.

    python examples/forward.py "a gorgeous movie" "far too long"

It prints the sentiment of each text. The logits have the bits of those of `squeezeops.SqueezeBert`. That class is
faster: it packs each weight once, reuses memory, and in the last layer computes the first token of each text only.

Papers:
  [S] Iandola et al. 2020, SqueezeBERT, arXiv 2006.11316
  [V] Vaswani et al. 2017, Attention is all you need, arXiv 1706.03762
  [B] Devlin et al. 2019, BERT, arXiv 1810.04805

Shapes: N texts have T tokens in total. They follow each other without padding, and `cu_seqlens` [N + 1] says where each
begins. C is the hidden size, F the intermediate size, G the number of groups, L the number of labels.
"""

import argparse
import json
from pathlib import Path

import numpy as np

import squeezeops

FOLDER = Path(__file__).parent / "sentiment_checkpoint"
ENCODER_EPS = 1e-12  # fixed in SqueezeBERT; `layer_norm_eps` of the configuration is for the embeddings
DTYPES = {"F16": "<f2", "F32": "<f4"}


def load(folder):
    """Return the configuration of a checkpoint and its weights: float32 arrays by name."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    data = (folder / "model.safetensors").read_bytes()  # header size, header in JSON, values
    start = 8 + int.from_bytes(data[:8], "little")
    weights = {}
    for name, entry in json.loads(data[8:start]).items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            values = np.frombuffer(data[start + begin : start + end], DTYPES[entry["dtype"]])
            weights[name.removeprefix("transformer.")] = values.reshape(entry["shape"]).astype(np.float32)
    return config, weights


def conv(w, name, x, groups=1, activation=None):
    """A position-wise fully-connected (PFC) layer, y[t, o] = sum_i w[o, i] x[t, i] + b[o]: [T, C_in] -> [T, C_out].

    [S] observes that this is a convolution with kernel size 1, and divides it into groups as in vision networks: output
    channel o only reads the C_in / G input channels of its own group. The weight is [C_out, C_in / G, 1].
    """
    return squeezeops.pointwise_conv(
        x, w[f"{name}.weight"], w[f"{name}.bias"], groups=groups, activation=activation
    )  # [T, C_in] -> [T, C_out]


def add_norm(w, name, x, residual):
    """LayerNorm(x + Sublayer(x)), [V] section 3.1."""
    weight, bias = w[f"{name}.weight"], w[f"{name}.bias"]  # 2 x [C]
    return squeezeops.layer_norm(x, weight, bias, eps=ENCODER_EPS, residual=residual)  # 2 x [T, C] -> [T, C]


def encoder_layer(config, w, name, x, cu_seqlens):
    """A block of [S]: self-attention with three PFC layers, then FFN1, FFN2 and FFN3. G is 1 in FFN1, else 4."""
    # Attention(Q, K, V) = softmax(Q K^T / sqrt(d)) V, [V] eq. 1, in each text and in each head of d channels.
    q = conv(w, f"{name}.attention.query", x, config["q_groups"])  # [T, C] -> [T, C]
    k = conv(w, f"{name}.attention.key", x, config["k_groups"])  # [T, C] -> [T, C]
    v = conv(w, f"{name}.attention.value", x, config["v_groups"])  # [T, C] -> [T, C]
    heads = config["num_attention_heads"]
    a = squeezeops.attention(q, k, v, num_heads=heads, cu_seqlens=cu_seqlens)  # 3 x [T, C] -> [T, C]
    # FFN1 is the output projection of multi-head attention, W^O in [V] section 3.2.2. It mixes the groups.
    a = conv(w, f"{name}.post_attention.conv1d", a, config["post_attention_groups"])  # [T, C] -> [T, C]
    x = add_norm(w, f"{name}.post_attention.layernorm", a, x)  # [T, C] -> [T, C]
    # FFN2 and FFN3 are the feed-forward network, [V] eq. 2, with the GELU of [B] in place of ReLU.
    act = config["hidden_act"]
    y = conv(w, f"{name}.intermediate.conv1d", x, config["intermediate_groups"], act)  # [T, C] -> [T, F]
    y = conv(w, f"{name}.output.conv1d", y, config["output_groups"])  # [T, F] -> [T, C]
    return add_norm(w, f"{name}.output.layernorm", y, x)  # [T, C] -> [T, C]


def forward(config, w, texts):
    """Return the logits [N, L] of N texts, which are lists of token ids beginning with [CLS]."""
    lengths = [len(ids) for ids in texts]  # N
    cu_seqlens = np.cumsum([0, *lengths], dtype=np.int32)  # [N + 1]
    ids = np.concatenate(texts)  # [T]
    positions = np.concatenate([np.arange(n) for n in lengths])  # [T]
    segments = np.zeros_like(ids)  # [T], all 0: there is no second text
    # The input is the sum of token, position and segment embeddings, [B] section 3, normalised.
    words = w["embeddings.word_embeddings.weight"]  # [vocab_size, C]
    places = w["embeddings.position_embeddings.weight"]  # [max_position_embeddings, C]
    kinds = w["embeddings.token_type_embeddings.weight"]  # [type_vocab_size, C]
    norm = w["embeddings.LayerNorm.weight"], w["embeddings.LayerNorm.bias"]  # 2 x [C]
    x = squeezeops.embedding_layer_norm(
        ids, words, positions, places, segments, kinds, *norm, eps=config["layer_norm_eps"]
    )  # 3 x [T] -> [T, C]
    for i in range(config["num_hidden_layers"]):
        x = encoder_layer(config, w, f"encoder.layers.{i}", x, cu_seqlens)  # [T, C] -> [T, C]
    # The final vector of [CLS] represents the text, [B] section 4.1. The pooler, with tanh, is from BERT's code.
    x = x[cu_seqlens[:-1]]  # [T, C] -> [N, C]
    x = conv(w, "pooler.dense", x, activation="tanh")  # [N, C] -> [N, C]
    return conv(w, "classifier", x)  # [N, C] -> [N, L]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("texts", nargs="+", metavar="text")
    texts = parser.parse_args().texts
    config, weights = load(FOLDER)
    tokenizer = squeezeops.Tokenizer.from_pretrained(FOLDER)
    ids = tokenizer(texts, truncation=True)["input_ids"]
    for text, scores in zip(texts, squeezeops.softmax(forward(config, weights, ids)), strict=True):  # N x [L]
        print(f"{config['id2label'][str(scores.argmax())]}  {scores.max():.3f}  {text}")


if __name__ == "__main__":
    main()
