"""The model that is compared: SqueezeBERT-base in its official configuration, with random weights."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

CONFIG: dict[str, Any] = {
    "model_type": "squeezebert", "vocab_size": 30528, "embedding_size": 768, "hidden_size": 768,
    "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072, "hidden_act": "gelu",
    "max_position_embeddings": 512, "type_vocab_size": 2, "layer_norm_eps": 1e-12, "num_labels": 3,
    "q_groups": 4, "k_groups": 4, "v_groups": 4, "post_attention_groups": 1, "intermediate_groups": 4,
    "output_groups": 4,
}  # fmt: skip


def convolutions() -> dict[str, tuple[int, int, int]]:
    """Return the convolutions of a layer: output channels, input channels and groups by name."""
    c, inner = CONFIG["hidden_size"], CONFIG["intermediate_size"]
    return {
        "attention.query": (c, c, CONFIG["q_groups"]),
        "attention.key": (c, c, CONFIG["k_groups"]),
        "attention.value": (c, c, CONFIG["v_groups"]),
        "post_attention.conv1d": (c, c, CONFIG["post_attention_groups"]),
        "intermediate.conv1d": (inner, c, CONFIG["intermediate_groups"]),
        "output.conv1d": (c, inner, CONFIG["output_groups"]),
    }


def make_weights() -> dict[str, Floats]:
    """Return seeded weights under Hugging Face's names without a prefix.

    They are normally distributed with standard deviation 0.04, so that attention is far from uniform.
    """
    random = np.random.default_rng(0)
    c = CONFIG["hidden_size"]

    def normal(*shape: int) -> Floats:
        return random.standard_normal(shape, np.float32) * np.float32(0.04)

    weights = {
        "embeddings.word_embeddings.weight": normal(CONFIG["vocab_size"], c),
        "embeddings.position_embeddings.weight": normal(CONFIG["max_position_embeddings"], c),
        "embeddings.token_type_embeddings.weight": normal(CONFIG["type_vocab_size"], c),
        "embeddings.LayerNorm.weight": 1 + normal(c),
        "embeddings.LayerNorm.bias": normal(c),
    }
    for i in range(CONFIG["num_hidden_layers"]):
        layer = f"encoder.layers.{i}"
        for name, (c_out, c_in, groups) in convolutions().items():
            weights[f"{layer}.{name}.weight"] = normal(c_out, c_in // groups, 1)
            weights[f"{layer}.{name}.bias"] = normal(c_out)
        for name in ("post_attention.layernorm", "output.layernorm"):
            weights[f"{layer}.{name}.weight"] = 1 + normal(c)
            weights[f"{layer}.{name}.bias"] = normal(c)
    weights["pooler.dense.weight"], weights["pooler.dense.bias"] = normal(c, c), normal(c)
    labels = CONFIG["num_labels"]
    weights["classifier.weight"], weights["classifier.bias"] = normal(labels, c), normal(labels)
    return weights


def flops(lengths: list[int]) -> int:
    """Return the operations of the encoder, two per multiply-add: convolutions, and the products of attention."""
    per_token = sum(c_out * c_in // groups for c_out, c_in, groups in convolutions().values())
    layer = sum(2 * length * per_token + 4 * length * length * CONFIG["hidden_size"] for length in lengths)
    return int(CONFIG["num_hidden_layers"] * layer)


def weight_bytes(dtype: str = "float32") -> int:
    """Return the bytes of the encoder's weights, all of which a forward reads. (It reads few rows of the embeddings.)

    Convolution weights have this dtype, with one scale per output channel in int8. The rest is float32.
    """
    c, size = CONFIG["hidden_size"], {"float32": 4, "float16": 2, "int8": 1}[dtype]
    scales = 4 if dtype == "int8" else 0
    layer = sum(size * c_out * c_in // groups + (4 + scales) * c_out for c_out, c_in, groups in convolutions().values())
    return int(CONFIG["num_hidden_layers"] * (layer + 4 * 4 * c))


def cache_folder() -> Path:
    """Return the folder for exported graphs, outside the tree. Its name depends on the sources that write them."""
    here = Path(__file__).parent
    sources = [here / "model.py", here / "graph.py", *sorted(here.glob("libraries/*_int8.py"))]
    content = b"".join(path.read_bytes() for path in sources)
    folder = Path(tempfile.gettempdir()) / f"squeezeops-bench-{hashlib.sha256(content).hexdigest()[:16]}"
    folder.mkdir(exist_ok=True)
    return folder


def saved_model() -> Path:
    """Return a folder with the model in Hugging Face's format. The first call writes it."""
    folder = cache_folder() / "model"
    folder.mkdir(exist_ok=True)
    config = json.dumps({**CONFIG, "architectures": ["SqueezeBertForSequenceClassification"]})
    write_once(folder / "config.json", lambda file: file.write_text(config, encoding="utf-8"))
    write_once(folder / "model.safetensors", lambda file: write_tensors(file, make_weights()))
    return folder


def write_once(path: Path, write: Callable[[Path], object]) -> Path:
    """Write a file if it does not exist. Other processes see the whole file or none."""
    if not path.exists():
        written = path.with_name(f"{os.getpid()}-{path.name}")
        write(written)
        written.rename(path)
    return path


def write_tensors(path: Path, weights: dict[str, Floats]) -> None:
    """Write a safetensors file, with Hugging Face's prefix."""
    from squeezeops.squeezebert.files.safetensors import write_file

    named = {name if name.startswith("classifier.") else "transformer." + name: a for name, a in weights.items()}
    with path.open("wb") as file:
        write_file(file, {name: ("F32", array.shape) for name, array in named.items()}, {}, named.values())


def saved_weights() -> dict[str, Any]:
    """Map the weights of the saved model into memory, read-only, under the names of `make_weights`."""
    from squeezeops.squeezebert.model.weights import load_folder

    return {name.removeprefix("transformer."): array for name, array in load_folder(saved_model())[1].items()}
