"""The tensors that a configuration asks for: their names and shapes, and their selection from a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from squeezeops.squeezebert.config import SqueezeBertConfig

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Shape", "check_arguments", "check_dtype", "encoder_shapes", "select_tensors"]

Shape = tuple[int, ...]
BUFFERS = ("embeddings.position_ids",)  # stale buffers that older versions of transformers saved
HEADS = ("cls.", "classifier.", "qa_outputs.")  # how the names of the heads' tensors begin; they have no other prefix


def encoder_shapes(config: SqueezeBertConfig) -> dict[str, Shape]:
    """Names and shapes of the embeddings' and the encoder's tensors, without the prefix ``transformer.``.

    Convolutions have (C_out, C_in / groups, 1); `select_tensors` accepts them without the last axis too.
    """
    c, inner = config.hidden_size, config.intermediate_size
    shapes: dict[str, Shape] = {
        "embeddings.word_embeddings.weight": (config.vocab_size, c),
        "embeddings.position_embeddings.weight": (config.max_position_embeddings, c),
        "embeddings.token_type_embeddings.weight": (config.type_vocab_size, c),
        "embeddings.LayerNorm.weight": (c,),
        "embeddings.LayerNorm.bias": (c,),
    }
    convolutions = {
        "attention.query": (c, c, config.q_groups),
        "attention.key": (c, c, config.k_groups),
        "attention.value": (c, c, config.v_groups),
        "post_attention.conv1d": (c, c, config.post_attention_groups),
        "intermediate.conv1d": (inner, c, config.intermediate_groups),
        "output.conv1d": (c, inner, config.output_groups),
    }
    for i in range(config.num_hidden_layers):
        for name, (c_out, c_in, groups) in convolutions.items():
            shapes[f"encoder.layers.{i}.{name}.weight"] = (c_out, c_in // groups, 1)
            shapes[f"encoder.layers.{i}.{name}.bias"] = (c_out,)
        for name in ("post_attention.layernorm", "output.layernorm"):
            shapes[f"encoder.layers.{i}.{name}.weight"] = (c,)
            shapes[f"encoder.layers.{i}.{name}.bias"] = (c,)
    return shapes


def select_tensors(weights: Mapping[str, NDArray[Any]], shapes: Mapping[str, Shape]) -> dict[str, NDArray[Any]]:
    """Pick the tensors of `shapes` from a checkpoint's, and check them.

    Parameters
    ----------
    weights : mapping of str to ndarray
        Under Hugging Face's names. If one of them begins with ``transformer.`` the checkpoint is one of a model with a
        head, and all but the head's must; a base model that was saved on its own has no such prefix.
    shapes : mapping of str to tuple of int
        Names, without the prefix, and shapes. The last axis of a (C_out, C_in / groups, 1) may be left out.

    Returns
    -------
    dict of str to ndarray
        Under the names of `shapes`.

    Raises
    ------
    TypeError
        If a weight is no NumPy array.
    ValueError
        One for all that is wrong: every missing tensor, every unknown one, every one of the wrong shape or dtype (only
        float32 and float16 will do). Tensors of heads that `shapes` does not ask for are not unknown.
    """
    prefix = "transformer." if any(name.startswith("transformer.") for name in weights) else ""
    names = {name: name if name.startswith(HEADS) else prefix + name for name in shapes}  # ours to the checkpoint's
    faults = []
    for label, array in weights.items():
        if not hasattr(array, "__array_interface__"):  # a list, or another library's tensor
            raise TypeError(f"checkpoint: {label}: expected a NumPy array, got {type(array).__name__}")
    for name, shape in shapes.items():
        label = names[name]
        if label not in weights:
            faults.append(f"missing: {label} {shape}")
            continue
        array = weights[label]
        if array.shape != shape and not (len(shape) == 3 and array.shape == shape[:-1]):
            faults.append(f"wrong shape: {label}: expected {shape}, got {array.shape}")
        elif array.dtype.str not in ("<f4", "<f2"):
            faults.append(f"wrong dtype: {label}: expected float32 or float16, got {array.dtype}")
    unused = tuple(head for head in (*HEADS, "pooler.") if not any(name.startswith(head) for name in shapes))
    known = set(names.values())
    for label in weights:
        if label not in known and not label.removeprefix("transformer.").startswith((*unused, *BUFFERS)):
            faults.append(f"unknown: {label}")
    if faults:
        differences = f"{len(faults)} difference{'s' if len(faults) > 1 else ''}"
        raise ValueError(
            f"checkpoint: expected the tensors that the configuration describes, got {differences}:\n  "
            + "\n  ".join(faults)
        )
    return {name: weights[label] for name, label in names.items()}


def check_dtype(dtype: object) -> None:
    if dtype != "float32":
        raise ValueError(f"SqueezeBert: dtype: expected 'float32', got {dtype!r}")


def check_arguments(config: object, weights: object, dtype: object) -> None:
    """Check the arguments of ``SqueezeBert(config, weights, dtype=dtype)`` as far as their types go."""
    check_dtype(dtype)
    if not isinstance(config, SqueezeBertConfig):
        raise TypeError(f"SqueezeBert: config: expected a SqueezeBertConfig, got {type(config).__name__}")
    if not isinstance(weights, Mapping):
        raise TypeError(f"SqueezeBert: weights: expected a dict of arrays, got {type(weights).__name__}")
    for name in weights:
        if not isinstance(name, str):
            raise TypeError(f"SqueezeBert: weights: expected names as keys, got {name!r}")
