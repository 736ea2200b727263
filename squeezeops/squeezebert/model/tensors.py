"""The tensors of a model: their names and shapes, and their selection from a checkpoint.

Names are those of transformers' SqueezeBERT, without the prefix of a model with a head. `labels_of` has the other names
that a file may use, those of BERT and DistilBERT included.
"""

from __future__ import annotations

import reprlib
import warnings
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from squeezeops.squeezebert.model.config import SqueezeBertConfig

__all__ = [
    "DECODER",
    "EXPONENTS",
    "WORDS",
    "Shape",
    "encoder_shapes",
    "exponent_shapes",
    "groups_by_part",
    "groups_of",
    "in_encoder",
    "model_type_of",
    "select_tensors",
    "unused_prefixes",
    "unwrapped",
    "without_prefix",
]

Shape = tuple[int, ...]
# Prefixes of the encoder's tensors in a model with a head.
PREFIXES = {"squeezebert": "transformer.", "bert": "bert.", "distilbert": "distilbert."}
HEADS = ("cls.", "classifier.", "qa_outputs.", "pre_classifier.", "vocab_")  # prefixes of the heads' tensors
BUFFERS = ("position_ids", "token_type_ids")  # buffers that older versions of transformers saved; not used
WRAPPERS = ("module.", "_orig_mod.")  # prefixes of DataParallel and torch.compile
NO_HEAD = ("cls.seq_relationship.",)  # next-sentence prediction, for which there is no head here
SHOWN = 20  # differences that an error message lists

# Parts of our names and of theirs. No replacement creates the pattern of another.
NAMES: dict[str, dict[str, str]] = {
    "squeezebert": {},
    "bert": {
        "encoder.layers.": "encoder.layer.",
        ".attention.query.": ".attention.self.query.",
        ".attention.key.": ".attention.self.key.",
        ".attention.value.": ".attention.self.value.",
        ".post_attention.conv1d.": ".attention.output.dense.",
        ".post_attention.layernorm.": ".attention.output.LayerNorm.",
        ".intermediate.conv1d.": ".intermediate.dense.",
        ".output.conv1d.": ".output.dense.",
        ".output.layernorm.": ".output.LayerNorm.",
    },
    "distilbert": {
        "encoder.layers.": "transformer.layer.",
        ".attention.query.": ".attention.q_lin.",
        ".attention.key.": ".attention.k_lin.",
        ".attention.value.": ".attention.v_lin.",
        ".post_attention.conv1d.": ".attention.out_lin.",
        ".post_attention.layernorm.": ".sa_layer_norm.",
        ".intermediate.conv1d.": ".ffn.lin1.",
        ".output.conv1d.": ".ffn.lin2.",
        ".output.layernorm.": ".output_layer_norm.",
        "cls.predictions.transform.dense.": "vocab_transform.",
        "cls.predictions.transform.LayerNorm.": "vocab_layer_norm.",
        "cls.predictions.decoder.": "vocab_projector.",
        "cls.predictions.bias": "vocab_projector.bias",
    },
}
WORDS = "embeddings.word_embeddings.weight"
DECODER = "cls.predictions.decoder.weight"
EXPONENTS = ".attention.value.exponents"  # after a layer's name: the tensor that a model with int8 attention adds
DECODER_BIAS, OTHER_DECODER_BIAS = "cls.predictions.bias", "cls.predictions.decoder.bias"


def encoder_shapes(config: SqueezeBertConfig) -> Iterator[tuple[str, Shape]]:
    """Yield names and shapes of the embeddings' and the encoder's tensors; lazily, because a file may claim any depth.

    Weights of convolutions are (C_out, C_in / groups, 1); `select_tensors` also accepts them without the last axis.
    """
    c, inner = config.hidden_size, config.intermediate_size
    yield WORDS, (config.vocab_size, c)
    yield "embeddings.position_embeddings.weight", (config.max_position_embeddings, c)
    if config.model_type != "distilbert":
        yield "embeddings.token_type_embeddings.weight", (config.type_vocab_size, c)
    yield "embeddings.LayerNorm.weight", (c,)
    yield "embeddings.LayerNorm.bias", (c,)
    for i in range(config.num_hidden_layers):
        for name, groups in groups_by_part(config).items():
            c_out, c_in = inner if name == "intermediate.conv1d" else c, inner if name == "output.conv1d" else c
            yield f"encoder.layers.{i}.{name}.weight", (c_out, c_in // groups, 1)
            yield f"encoder.layers.{i}.{name}.bias", (c_out,)
        for name in ("post_attention.layernorm", "output.layernorm"):
            yield f"encoder.layers.{i}.{name}.weight", (c,)
            yield f"encoder.layers.{i}.{name}.bias", (c,)


def exponent_shapes(config: SqueezeBertConfig) -> Iterator[tuple[str, Shape]]:
    """Yield names and shapes of the tensors that a stored model with int8 attention has beside a checkpoint's."""
    for i in range(config.num_hidden_layers):
        yield f"encoder.layers.{i}{EXPONENTS}", (config.hidden_size,)


def groups_by_part(config: SqueezeBertConfig) -> dict[str, int]:
    """Return the groups of each convolution of a layer."""
    return {
        "attention.query": config.q_groups,
        "attention.key": config.k_groups,
        "attention.value": config.v_groups,
        "post_attention.conv1d": config.post_attention_groups,
        "intermediate.conv1d": config.intermediate_groups,
        "output.conv1d": config.output_groups,
    }


def in_encoder(name: str) -> bool:
    """Whether a tensor or a convolution belongs to the encoder, not to the embeddings or a head."""
    return name.startswith("encoder.")


def groups_of(name: str, config: SqueezeBertConfig) -> int:
    """Return the groups of a convolution, by its name without ".weight"."""
    return groups_by_part(config)[name.split(".", 3)[3]] if in_encoder(name) else 1


def unused_prefixes(head: Iterable[str]) -> tuple[str, ...]:
    """Return the prefixes of tensors that a file may have for heads other than the one with tensors of these names."""
    names = tuple(head)
    return tuple(part for part in (*HEADS, "pooler.") if not any(name.startswith(part) for name in names))


def label_of(name: str, config: SqueezeBertConfig, prefix: str) -> str:
    """Return the name of a tensor in checkpoints of the model's type."""
    label = name if name.startswith(HEADS) else prefix + name
    for ours, theirs in NAMES[config.model_type].items():
        label = label.replace(ours, theirs)
    return label


def labels_of(name: str, config: SqueezeBertConfig, prefix: str) -> list[str]:
    """Return the names that a tensor may have in a checkpoint, in order of preference.

    With ``tie_word_embeddings``, a masked-LM head's decoder and the word embeddings stand in for each other where one
    is missing. The decoder's bias has two names. Old files call the parameters of a LayerNorm gamma and beta.
    """
    label = label_of(name, config, prefix)
    if name == DECODER_BIAS:
        return [label_of(OTHER_DECODER_BIAS, config, prefix), label]
    if name in (WORDS, DECODER) and config.tie_word_embeddings:
        return [label, label_of(DECODER if name == WORDS else WORDS, config, prefix)]
    if "LayerNorm." in label:
        return [label, label.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")]
    return [label]


def select_tensors(
    config: SqueezeBertConfig, weights: Mapping[str, NDArray[Any]], head: Mapping[str, Shape]
) -> dict[str, NDArray[Any]]:
    """Select the tensors of the encoder and of a head from a checkpoint, and check them.

    Allocates nothing in proportion to the sizes that the configuration claims.

    Parameters
    ----------
    config : SqueezeBertConfig
    weights : mapping of str to ndarray
        Under Hugging Face's names. In the checkpoint of a model with a head, all names but the head's begin with
        ``transformer.`` (for a BERT ``bert.``, for a DistilBERT ``distilbert.``); in that of a base model, none.
    head : mapping of str to tuple of int
        Names and shapes of the head's tensors.

    Returns
    -------
    dict of str to ndarray
        Under the names of `encoder_shapes` and `head`.

    Raises
    ------
    TypeError
        If a weight is no NumPy array.
    ValueError
        For missing tensors, and for those of the wrong shape or dtype (float64 is rounded to float32; no other than
        float16 and float32 are accepted). One error for all; the message lists the first few.

    Warns
    -----
    UserWarning
        For tensors that the model does not need: one warning, which lists the first few. Tensors of other heads and an
        unused pooler are not mentioned.
    """
    for label, array in weights.items():
        if not (hasattr(array, "dtype") and hasattr(array, "__array_interface__")):  # a list or a torch tensor
            raise TypeError(f"checkpoint: {shown(label)}: expected a NumPy array, got {type(array).__name__}")
    selected: dict[str, NDArray[Any]] = {}
    known: set[str] = set()
    differences = compare(config, weights, head, selected, known)
    faults = list(islice(differences, SHOWN))
    more = sum(1 for _ in differences)
    unknown = list(unknown_tensors(config, weights, head, known))
    if not faults:
        if unknown:
            listed = ", ".join(map(shown, unknown[:SHOWN]))
            listed += f" and {len(unknown) - SHOWN} more" if len(unknown) > SHOWN else ""
            message = f"checkpoint: expected the tensors of the model, got others too, which are not used: {listed}"
            warnings.warn(message, UserWarning, stacklevel=1)  # one place, so that Python shows it once
        return selected
    more += len(unknown)  # one of them may be a missing tensor under another name
    while more and len(faults) < SHOWN:
        faults.append(f"unknown: {shown(unknown.pop(0))}")
        more -= 1
    count = f"{len(faults) + more} difference{'s' if len(faults) + more > 1 else ''}"
    raise ValueError(
        f"checkpoint: expected the tensors that the configuration describes, got {count}:\n  "
        + "\n  ".join([*faults, f"and {more} more"] if more else faults)
    )


def compare(
    config: SqueezeBertConfig,
    weights: Mapping[str, NDArray[Any]],
    head: Mapping[str, Shape],
    selected: dict[str, NDArray[Any]],
    known: set[str],
) -> Iterator[str]:
    """Yield what is wrong with a checkpoint; put valid tensors into `selected`, and their names there into `known`."""
    import numpy as np

    prefix = prefix_of(config, weights)
    axes = None if config.model_type == "squeezebert" else 2  # shown in messages: linear layers have two
    views: dict[int, tuple[Any, NDArray[Any]]] = {}
    for name, shape in chain(encoder_shapes(config), head.items()):
        labels = labels_of(name, config, prefix)
        there = [label for label in labels if label in weights]
        known.update(there)
        if not there:
            yield f"missing: {labels[-1] if name == DECODER_BIAS else labels[0]} {shape[:axes]}"
            continue
        label, given = there[0], weights[there[0]]
        # A view, whose shape and dtype nobody else can set; one of an array with two names, such as a tied decoder.
        _, array = views.setdefault(id(given), (given, np.asarray(given).view()))
        if array.shape != shape and not (len(shape) == 3 and array.shape == shape[:-1]):
            yield f"wrong shape: {label}: expected {shape[:axes]}, got {array.shape}"
        elif array.dtype.str not in ("<f8", "<f4", "<f2"):
            yield f"wrong dtype: {label}: expected float32, float16 or float64, got {array.dtype}"
        else:
            selected[name] = array.astype("<f4") if array.dtype.str == "<f8" else array


def unknown_tensors(
    config: SqueezeBertConfig, weights: Mapping[str, NDArray[Any]], head: Mapping[str, Shape], known: set[str]
) -> Iterator[str]:
    """Yield the names of tensors that are neither `known`, nor of another head, nor a stale buffer."""
    prefix = prefix_of(config, weights)
    unused = unused_prefixes(label_of(name, config, prefix) for name in head)
    for label in weights:
        stale = label.rpartition(".")[2] in BUFFERS
        if label not in known and not stale and not label.removeprefix(prefix).startswith((*unused, *NO_HEAD)):
            yield label


def prefix_of(config: SqueezeBertConfig, weights: Mapping[str, NDArray[Any]]) -> str:
    """Return the prefix of the encoder's tensors in a checkpoint."""
    prefix = PREFIXES[config.model_type]
    return prefix if any(label.startswith(prefix) for label in weights) else ""


def unwrapped(weights: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return tensors under their names without the prefix of a wrapper around the model, if all have it."""
    while (wrapper := next(iter(weights), "").partition(".")[0] + ".") in WRAPPERS:
        if not all(label.startswith(wrapper) for label in weights):
            break
        weights = {label.removeprefix(wrapper): array for label, array in weights.items()}
    return weights


def model_type_of(labels: Iterable[str]) -> str:
    """Return the model type of a checkpoint by the names of its tensors."""
    parts = {"encoder.layer.": "bert", "transformer.layer.": "distilbert"}
    return next((kind for label in labels for part, kind in parts.items() if part in label), "squeezebert")


def without_prefix(label: str) -> str:
    """Return a tensor's name without the prefix that it has in a model with a head."""
    for prefix in PREFIXES.values():
        label = label.removeprefix(prefix)
    return label


def shown(label: str) -> str:
    """Return a name from a file for a message, escaped or cut if need be."""
    return label if label.isprintable() and len(label) <= 120 else reprlib.repr(label)
