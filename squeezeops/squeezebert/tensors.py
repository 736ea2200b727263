"""The tensors that a configuration asks for: their names and shapes, and their selection from a checkpoint.

Tensors are named here as in transformers' SqueezeBERT, without the prefix of a model with a head. What else they may be
called in a file, all of BERT's names included, `labels_of` knows.
"""

from __future__ import annotations

import reprlib
from collections.abc import Iterator, Mapping
from itertools import chain, islice
from math import inf, isfinite
from typing import TYPE_CHECKING, Any

from squeezeops.backends._scalars import STORAGE
from squeezeops.squeezebert.config import SqueezeBertConfig

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "DECODER",
    "WORDS",
    "Shape",
    "check_arguments",
    "check_dtype",
    "dtype_of",
    "dtype_of_table",
    "encoder_shapes",
    "groups_by_part",
    "groups_of",
    "in_encoder",
    "select_tensors",
    "storable",
    "unused_prefixes",
    "without_prefix",
]

Shape = tuple[int, ...]
PREFIXES = {"squeezebert": "transformer.", "bert": "bert."}  # of all but the head's tensors in a model with a head
HEADS = ("cls.", "classifier.", "qa_outputs.")  # how the names of the heads' tensors begin; they have no other prefix
BUFFERS = ("position_ids", "token_type_ids")  # stale buffers that older versions of transformers saved
NO_HEAD = ("cls.seq_relationship.",)  # what is before us only as part of another head's checkpoint
HALF_MAX = 65504.0  # the largest float16
# What needs more than one scale for all of a token's channels in int8: what reads states in which one channel may hold
# 99 % of the norm (the separator's, in all-MiniLM-L6-v2), or activations as uneven, and passes its errors on. Not
# queries and keys, whose errors softmax forgives, nor what reads averages of values. Groups have a scale each.
UNEVEN = (".attention.value", ".intermediate.conv1d", ".output.conv1d")
ONE_SCALE = "one group, so one scale for uneven channels"  # why in float16, for reports
TOO_LARGE = f"a weight is above {HALF_MAX:g}, the largest float16"  # why in float32
SHOWN = 20  # differences that the message of an error lists

# What parts of our names are in BERT. No replacement brings about another's pattern.
BERT = {
    "encoder.layers.": "encoder.layer.",
    ".attention.query.": ".attention.self.query.",
    ".attention.key.": ".attention.self.key.",
    ".attention.value.": ".attention.self.value.",
    ".post_attention.conv1d.": ".attention.output.dense.",
    ".post_attention.layernorm.": ".attention.output.LayerNorm.",
    ".intermediate.conv1d.": ".intermediate.dense.",
    ".output.conv1d.": ".output.dense.",
    ".output.layernorm.": ".output.LayerNorm.",
}
WORDS = "embeddings.word_embeddings.weight"
DECODER = "cls.predictions.decoder.weight"
DECODER_BIAS = "cls.predictions.bias"


def encoder_shapes(config: SqueezeBertConfig) -> Iterator[tuple[str, Shape]]:
    """Names and shapes of the embeddings' and the encoder's tensors, one by one: a file may claim any depth.

    Convolutions have (C_out, C_in / groups, 1); `select_tensors` accepts them without the last axis too.
    """
    c, inner = config.hidden_size, config.intermediate_size
    yield WORDS, (config.vocab_size, c)
    yield "embeddings.position_embeddings.weight", (config.max_position_embeddings, c)
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


def groups_by_part(config: SqueezeBertConfig) -> dict[str, int]:
    """The convolutions of a layer, with their groups."""
    return {
        "attention.query": config.q_groups,
        "attention.key": config.k_groups,
        "attention.value": config.v_groups,
        "post_attention.conv1d": config.post_attention_groups,
        "intermediate.conv1d": config.intermediate_groups,
        "output.conv1d": config.output_groups,
    }


def in_encoder(name: str) -> bool:
    """Whether a tensor or a convolution is one of the encoder's, neither the embeddings' nor a head's."""
    return name.startswith("encoder.")


def groups_of(name: str, config: SqueezeBertConfig) -> int:
    """The groups of a convolution, by its name without ".weight"."""
    return groups_by_part(config)[name.split(".", 3)[3]] if in_encoder(name) else 1


def unused_prefixes(head: Mapping[str, Shape]) -> tuple[str, ...]:
    """How the names begin of what a checkpoint may have for other heads than that of these tensors."""
    return tuple(part for part in (*HEADS, "pooler.") if not any(name.startswith(part) for name in head))


def labels_of(name: str, config: SqueezeBertConfig, prefix: str) -> list[str]:
    """What a tensor may be called in a checkpoint, that which counts first where there are several first.

    A masked-LM head's decoder is the word embeddings, unless the file has both; or unless ``tie_word_embeddings`` says
    that they are two. The decoder's bias has two names. LayerNorms of old files have gamma and beta.
    """
    label = name if name.startswith(HEADS) else prefix + name
    if config.model_type == "bert":
        for ours, theirs in BERT.items():
            label = label.replace(ours, theirs)
    if name == DECODER_BIAS:
        return ["cls.predictions.decoder.bias", label]
    if name in (WORDS, DECODER) and config.tie_word_embeddings:
        return [label, DECODER if name == WORDS else prefix + WORDS]
    if "LayerNorm." in label:
        return [label, label.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")]
    return [label]


def select_tensors(
    config: SqueezeBertConfig, weights: Mapping[str, NDArray[Any]], head: Mapping[str, Shape]
) -> dict[str, NDArray[Any]]:
    """Pick the tensors of the encoder and of a head from a checkpoint's, and check them.

    Nothing is allocated for what the configuration claims.

    Parameters
    ----------
    config : SqueezeBertConfig
    weights : mapping of str to ndarray
        Under Hugging Face's names. If one of them begins with ``transformer.`` (``bert.`` for a BERT) the checkpoint is
        one of a model with a head, and all but the head's must; a base model that was saved on its own has no such
        prefix.
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
        One for all that is wrong: every missing tensor, every unknown one, every one of the wrong shape or dtype (only
        float32 and float16 will do); the message lists the first few. Tensors of other heads, and a pooler that the
        head has no use for, are not unknown.
    """
    for label, array in weights.items():
        if not (hasattr(array, "dtype") and hasattr(array, "__array_interface__")):  # a list, another library's tensor
            raise TypeError(f"checkpoint: {shown(label)}: expected a NumPy array, got {type(array).__name__}")
    selected: dict[str, NDArray[Any]] = {}
    differences = compare(config, weights, head, selected)
    faults = list(islice(differences, SHOWN))
    if faults:
        more = sum(1 for _ in differences)
        count = f"{len(faults) + more} difference{'s' if len(faults) + more > 1 else ''}"
        raise ValueError(
            f"checkpoint: expected the tensors that the configuration describes, got {count}:\n  "
            + "\n  ".join([*faults, f"and {more} more"] if more else faults)
        )
    return selected


def compare(
    config: SqueezeBertConfig,
    weights: Mapping[str, NDArray[Any]],
    head: Mapping[str, Shape],
    selected: dict[str, NDArray[Any]],
) -> Iterator[str]:
    """Yield what is wrong with a checkpoint; put what is right in `selected`."""
    prefix = PREFIXES[config.model_type]
    prefix = prefix if any(label.startswith(prefix) for label in weights) else ""
    known = set()
    axes = 2 if config.model_type == "bert" else None  # as many as messages show: BERT's layers are linear
    for name, shape in chain(encoder_shapes(config), head.items()):
        labels = labels_of(name, config, prefix)
        there = [label for label in labels if label in weights]
        known.update(there)
        if not there:
            yield f"missing: {labels[-1] if name == DECODER_BIAS else labels[0]} {shape[:axes]}"
            continue
        label, array = there[0], weights[there[0]]
        if array.shape != shape and not (len(shape) == 3 and array.shape == shape[:-1]):
            yield f"wrong shape: {label}: expected {shape[:axes]}, got {array.shape}"
        elif array.dtype.str not in ("<f4", "<f2"):
            yield f"wrong dtype: {label}: expected float32 or float16, got {array.dtype}"
        else:
            selected[name] = array
    unused = unused_prefixes(head)
    for label in weights:
        stale = label.rpartition(".")[2] in BUFFERS
        if label not in known and not stale and not label.removeprefix(prefix).startswith((*unused, *NO_HEAD)):
            yield f"unknown: {shown(label)}"


def without_prefix(label: str) -> str:
    """A tensor's name in a checkpoint without the prefix that it has in a model with a head."""
    for prefix in PREFIXES.values():
        label = label.removeprefix(prefix)
    return label


def shown(label: str) -> str:
    """A name from a file for a message: escaped or cut if it must be."""
    return label if label.isprintable() and len(label) <= 120 else reprlib.repr(label)


def check_dtype(dtype: object) -> None:
    expected = ", ".join(map(repr, STORAGE))
    for word in dtype.values() if isinstance(dtype, Mapping) else (dtype,):
        if not isinstance(word, str) or word not in STORAGE:
            raise ValueError(f"SqueezeBert: dtype: expected one of {expected}, got {word!r}")


def dtype_of(name: str, dtype: str | Mapping[str, str], weight: NDArray[Any], groups: int) -> tuple[str, str]:
    """What a convolution of a model in `dtype` is stored in, and why, if not in that.

    The encoder's are in `dtype`; but in "int8", those of `UNEVEN` with one group are float16. A head's are float32,
    but for a masked-LM decoder, which is an embedding table and stored as one. A mapping says it of each. What float16
    cannot hold is float32.
    """
    chosen, reason = "float32", ""
    if isinstance(dtype, Mapping):
        chosen = dtype.get(name, "float32")
    elif in_encoder(name):
        chosen = dtype
        if dtype == "int8" and groups == 1 and name.endswith(UNEVEN):
            chosen, reason = "float16", ONE_SCALE
    elif f"{name}.weight" == DECODER and dtype != "float32":
        chosen = "float16"
    stored = storable(chosen, weight)
    return stored, reason if stored == chosen else TOO_LARGE


def dtype_of_table(name: str, dtype: str | Mapping[str, str], table: NDArray[Any]) -> str:
    """What an embedding table of a model in `dtype` is stored in.

    For "int8" the words are int8, by far the largest table. Others, and all for "float16", are float16 if that can hold
    them. For "float32" and a mapping tables are as in the checkpoint.
    """
    if dtype == "int8" and name == WORDS:
        return "int8"
    return storable("float16" if dtype in ("int8", "float16") else table.dtype.name, table)


def storable(dtype: str, weight: NDArray[Any]) -> str:
    """The same, but float32 for a weight that float16 cannot hold."""
    too_large = dtype == "float16" and weight.dtype != "float16" and finite_max(weight) > HALF_MAX
    return "float32" if too_large else dtype


def finite_max(weight: NDArray[Any]) -> float:
    """The largest magnitude that is finite."""
    most = max(weight.max(initial=0), -weight.min(initial=0))  # which copies nothing
    return float(most if isfinite(most) else abs(weight[abs(weight) < inf]).max(initial=0))


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
    if isinstance(dtype, Mapping):
        known = {
            f"encoder.layers.{i}.{part}" for i in range(config.num_hidden_layers) for part in groups_by_part(config)
        }
        for name in dtype:
            if name not in known:
                raise ValueError(f"SqueezeBert: dtype: expected names of the encoder's convolutions, got {name!r}")
