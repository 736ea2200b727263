"""Tiny random models in Hugging Face's format, for the tests of pipelines, examples and the command line."""

import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS += ["a", "the", "good", "bad", "movie", "##s", "great", "awful", ".", ",", "!"]
POSITIONS = 16
CHECKPOINT = Path(__file__).parents[1] / "examples" / "sentiment_checkpoint"  # the source of the built-in model


def kept(mask: np.ndarray) -> np.ndarray:
    """The positions (B, L) that a model computes: up to a row's last attended one, or all if there is none."""
    mask = mask.reshape(-1, mask.shape[-1])
    after = np.cumsum(mask[:, ::-1], axis=1)[:, ::-1] > 0
    return after | ~mask.any(axis=1, keepdims=True)


def edit_weights(folder: Path, change: Callable[[str, np.ndarray], None]) -> Path:
    """Call `change` with the name of each tensor in a folder and its float32 values, which it may modify in place."""
    data = bytearray((folder / "model.safetensors").read_bytes())
    (size,) = struct.unpack_from("<Q", data)
    for name, entry in json.loads(data[8 : 8 + size]).items():
        start, end = entry["data_offsets"]
        change(name, np.frombuffer(data, "<f4", (end - start) // 4, 8 + size + start))
    (folder / "model.safetensors").write_bytes(data)
    return folder


def write_model(
    folder: Path,
    labels: list[str] | None = None,
    seed: int = 0,
    *,
    task: str | None = None,
    words: list[str] = WORDS,
    positions: int = POSITIONS,
    **config,
) -> Path:
    """Write a random model with the vocabulary `words`, 16 channels, 2 layers and `positions` positions.

    Without a task, it is a text classifier if it has labels, else a base model. `config` adds keys to config.json.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    values = {
        "model_type": "squeezebert",
        "vocab_size": len(words),
        "hidden_size": 16,
        "embedding_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "max_position_embeddings": positions,
    }
    if labels:
        values["id2label"] = {str(index): label for index, label in enumerate(labels)}
        values["label2id"] = {label: index for index, label in enumerate(labels)}
    task = task or ("text-classification" if labels else "base")
    classes = {
        "base": "Model",
        "text-classification": "ForSequenceClassification",
        "token-classification": "ForTokenClassification",
        "question-answering": "ForQuestionAnswering",
        "masked-lm": "ForMaskedLM",
    }
    values["architectures"] = ["SqueezeBert" + classes[task]]
    (folder / "config.json").write_text(json.dumps(values | config), encoding="utf-8")

    shapes = {}

    def add(name, *shape):
        shapes[f"{name}.weight"] = shape
        if len(shape) != 2 or "embeddings" not in name:  # a table has no bias
            shapes[f"{name}.bias"] = shape[:1]

    for name, rows in (("word", len(words)), ("position", positions), ("token_type", 2)):
        add(f"transformer.embeddings.{name}_embeddings", rows, 16)
    add("transformer.embeddings.LayerNorm", 16)
    add("transformer.pooler.dense", 16, 16)
    for layer in range(2):
        for name, *shape in [
            ("attention.query", 16, 4, 1),
            ("attention.key", 16, 4, 1),
            ("attention.value", 16, 4, 1),
            ("post_attention.conv1d", 16, 16, 1),
            ("intermediate.conv1d", 32, 4, 1),
            ("output.conv1d", 16, 8, 1),
            ("post_attention.layernorm", 16),
            ("output.layernorm", 16),
        ]:
            add(f"transformer.encoder.layers.{layer}.{name}", *shape)
    if task in ("text-classification", "token-classification"):
        add("classifier", len(labels), 16)
    elif task == "question-answering":
        add("qa_outputs", 2, 16)
    elif task == "masked-lm":
        add("cls.predictions.transform.dense", 16, 16)
        add("cls.predictions.transform.LayerNorm", 16)
        shapes["cls.predictions.bias"] = (len(words),)
    random = np.random.default_rng(seed)
    header, blobs, end = {}, [], 0
    for name, shape in shapes.items():
        blobs.append(random.normal(0.0, 0.5, shape).astype("<f4").tobytes())
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [end, end + len(blobs[-1])]}
        end += len(blobs[-1])
    encoded = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(b"".join([struct.pack("<Q", len(encoded)), encoded, *blobs]))
    return folder
