"""The model's configuration: the keys of Hugging Face's ``config.json``, checked. Imports no NumPy."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from squeezeops.squeezebert.files.checks import quote, read_json

if TYPE_CHECKING:
    from squeezeops.literals import Activation

__all__ = ["SqueezeBertConfig"]

# Hugging Face's hidden_act: the activation of `squeezeops.pointwise_conv`. Some names share a formula.
ACTIVATIONS: dict[str, Activation] = {
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_accurate": "gelu_tanh",
    "gelu_python_tanh": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
}
PROBLEM_TYPES = ("regression", "single_label_classification", "multi_label_classification")
MODEL_TYPES = {"SqueezeBert": "squeezebert", "Bert": "bert", "DistilBert": "distilbert"}  # by prefix of the classes
# Keys of a DistilBERT's config.json that have other names here. transformers accepts both names.
DISTILBERT = {
    "dim": "hidden_size",
    "n_layers": "num_hidden_layers",
    "n_heads": "num_attention_heads",
    "hidden_dim": "intermediate_size",
    "activation": "hidden_act",
}
# Keys of a config.json that change the computation, with the only value that is implemented.
FIXED = {
    "position_embedding_type": "absolute",
    "is_decoder": False,
    "add_cross_attention": False,
    "is_encoder_decoder": False,
    "quantization_config": None,
    "pruned_heads": {},
}

# Keys of `cross_encoder`. The last two are in the file of the settings of the transformer.
NOTED = ("activation_fn", "default_prompt_name", "max_seq_length", "do_lower_case")

# A file may claim any number. These limits bound the loops that run before the numbers are compared with the tensors.
LIMITS = {"num_hidden_layers": 10_000, "num_labels": 100_000}
GROUPS = ("q_groups", "k_groups", "v_groups", "post_attention_groups", "intermediate_groups", "output_groups")
SIZES = (
    "vocab_size",
    "hidden_size",
    "embedding_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "max_position_embeddings",
    "type_vocab_size",
    "num_labels",
    *GROUPS,
)


@dataclass(frozen=True)
class SqueezeBertConfig:
    """Hyper-parameters of a SqueezeBERT model, with the keys and defaults of transformers' ``SqueezeBertConfig``.

    A BERT or DistilBERT is a model with one group everywhere and ``model_type`` "bert" or "distilbert".

    Attributes
    ----------
    vocab_size, max_position_embeddings, type_vocab_size : int
        Rows of the three embedding tables.
    hidden_size, embedding_size : int
        Channels of the residual stream; they must be equal.
    num_hidden_layers, num_attention_heads, intermediate_size : int
        Layers; attention heads (a divisor of ``hidden_size``); channels between the two convolutions of the
        feed-forward network.
    q_groups, k_groups, v_groups, post_attention_groups, intermediate_groups, output_groups : int
        Groups of the six convolutions of a layer; divisors of their input and output channels. All 1 unless
        ``model_type`` is "squeezebert".
    hidden_act : str
        "gelu" or "gelu_python" (the erf form); "gelu_new", "gelu_fast", "gelu_accurate", "gelu_python_tanh" or
        "gelu_pytorch_tanh" (the tanh form); "relu".
    layer_norm_eps : float
        For the LayerNorms of the embeddings and of a masked-LM head. For the encoder see `encoder_layer_norm_eps`.
    pad_token_id : int or None
        Not used: a mask says which tokens are padding. Any integer is accepted, others become None.
    id2label : dict of int to str
        Names of the classes 0 to ``num_labels - 1``; integers become strings. Default: ``LABEL_0`` and so on.
    label2id : dict of str to int
        Not used. Default, also for values that are not the numbers of classes: the inverse of ``id2label``.
    num_labels : int
        ``len(id2label)`` if that is given, as in transformers. Default: 2.
    problem_type : str or None
        "regression", "single_label_classification" or "multi_label_classification".
    architectures : tuple of str or None
        Names of the transformers classes that the checkpoint was saved from.
    tie_word_embeddings : bool
        Whether a masked-LM head without a decoder weight of its own decodes with the word embeddings.
    model_type : str
        "squeezebert", "bert" or "distilbert". They differ in `encoder_layer_norm_eps`, in the result of
        `output_attentions`, and in the names of the tensors. A DistilBERT has no table of token types: it ignores
        them. Its pooler is a layer with ReLU, not tanh, and only classifiers have one.
    cross_encoder : dict of str to Any
        What sentence-transformers has noted about the scores of a cross-encoder: ``activation_fn``, the class of torch
        that makes a score of a logit, ``default_prompt_name``, ``max_seq_length`` and ``do_lower_case``. Empty for
        another model. Only the pipeline "rerank" checks and uses it.

    Raises
    ------
    ValueError
        For a value of the wrong type or out of range.
    """

    vocab_size: int = 30522
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    layer_norm_eps: float = 1e-12
    pad_token_id: int | None = 0
    embedding_size: int = 768
    q_groups: int = 4
    k_groups: int = 4
    v_groups: int = 4
    post_attention_groups: int = 1
    intermediate_groups: int = 4
    output_groups: int = 4
    id2label: dict[int, str] = field(default_factory=dict)
    label2id: dict[str, int] = field(default_factory=dict)
    num_labels: int = 2
    problem_type: str | None = None
    architectures: tuple[str, ...] | None = None
    tie_word_embeddings: bool = True
    model_type: str = "squeezebert"
    cross_encoder: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # Model type first: for another model, errors about other keys would be confusing.
        kind = self.model_type
        if kind not in MODEL_TYPES.values():
            got, names = reprlib.repr(kind), self.architectures
            if isinstance(names, list | tuple) and names and isinstance(names[0], str):
                got += f" ({quote(names[0])})"
            expected = "'squeezebert', 'bert' or 'distilbert'"
            raise ValueError(f"model_type: expected {expected}, got {got}, which is not supported; see docs/models.md")
        for key in SIZES:
            value, limit = getattr(self, key), LIMITS.get(key, 2**31 - 1)
            check(is_int(value) and 1 <= value <= limit, key, f"an integer from 1 to {limit}", value)
        hidden = self.hidden_size
        check(self.embedding_size == hidden, "embedding_size", f"hidden_size = {hidden}", self.embedding_size)
        heads = self.num_attention_heads
        check(hidden % heads == 0, "num_attention_heads", f"a divisor of hidden_size = {hidden}", heads)
        inner = self.intermediate_size
        for key in GROUPS:
            groups, expected = getattr(self, key), f"a divisor of hidden_size = {hidden}"
            check(kind == "squeezebert" or groups == 1, key, f"1 where model_type is '{kind}'", groups)
            fits = hidden % groups == 0
            if key in ("intermediate_groups", "output_groups"):
                fits, expected = fits and inner % groups == 0, f"{expected} and intermediate_size = {inner}"
            check(fits, key, expected, groups)

        act, eps = self.hidden_act, self.layer_norm_eps
        check(isinstance(act, str) and act in ACTIVATIONS, "hidden_act", f"one of {', '.join(ACTIVATIONS)}", act)
        eps_fits = (isinstance(eps, float) or is_int(eps)) and 0 <= eps <= 1 and not math.isnan(eps)
        check(eps_fits, "layer_norm_eps", "a number from 0 to 1", eps)
        problem = self.problem_type
        check(problem is None or problem in PROBLEM_TYPES, "problem_type", f"null or one of {PROBLEM_TYPES}", problem)
        tie = self.tie_word_embeddings
        check(isinstance(tie, bool), "tie_word_embeddings", "true or false", tie)
        names = self.architectures
        fits = names is None or (isinstance(names, (list, tuple)) and all(isinstance(name, str) for name in names))
        check(fits, "architectures", "null or a list of strings", names)
        set_field = object.__setattr__  # the dataclass is frozen
        set_field(self, "layer_norm_eps", float(eps))
        set_field(self, "architectures", None if names is None else tuple(names))
        id2label = labels_by_id(self.id2label) or {i: f"LABEL_{i}" for i in range(self.num_labels)}
        set_field(self, "id2label", id2label)
        set_field(self, "num_labels", len(id2label))
        set_field(self, "label2id", ids_by_label(self.label2id) or {label: i for i, label in id2label.items()})
        set_field(self, "pad_token_id", self.pad_token_id if is_int(self.pad_token_id) else None)

    @property
    def head_size(self) -> int:
        """Channels of one attention head."""
        return self.hidden_size // self.num_attention_heads

    @property
    def encoder_layer_norm_eps(self) -> float:
        """The eps of the encoder's LayerNorms: `layer_norm_eps` for BERT, but always 1e-12 for SqueezeBERT."""
        return 1e-12 if self.model_type == "squeezebert" else self.layer_norm_eps

    @property
    def activation(self) -> Activation:
        """The name of ``hidden_act`` in `squeezeops.pointwise_conv`."""
        return ACTIVATIONS[self.hidden_act]

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> SqueezeBertConfig:
        """Make a configuration from the contents of a ``config.json``. Unknown keys are ignored.

        Keys of a SqueezeBERT alone (groups, ``embedding_size``) are ignored for the others. Keys of a DistilBERT that
        have other names here, such as ``dim``, are translated.

        Raises
        ------
        ValueError
            As for the class; if `values` is not a mapping; for features that are not implemented (another
            ``position_embedding_type`` than "absolute", a decoder, cross-attention, pruned heads, quantised weights).
        """
        check(isinstance(values, Mapping), "the configuration", "a JSON object", values)
        known = {f.name for f in dataclasses.fields(cls)}
        # Hugging Face writes null for "not set" here.
        unset = {key for key in ("id2label", "label2id", "tie_word_embeddings") if values.get(key) is None}
        given = {key: value for key, value in values.items() if key in known - unset}
        given["cross_encoder"] = noted_in(values)
        names = values.get("architectures")
        if "model_type" not in given and isinstance(names, list) and names and isinstance(names[0], str):
            # The first checkpoints lack the type, but name a class.
            kind = next((kind for prefix, kind in MODEL_TYPES.items() if names[0].startswith(prefix)), None)
            check(kind is not None, "model_type", f"one of {', '.join(MODEL_TYPES)} in architectures", names[0])
            given["model_type"] = kind
        renamed = {}
        if given.get("model_type") == "distilbert":
            renamed = {ours: theirs for theirs, ours in DISTILBERT.items() if theirs in values}
            given = {"num_hidden_layers": 6, **given, **{ours: values[theirs] for ours, theirs in renamed.items()}}
            given |= {"layer_norm_eps": 1e-12, "type_vocab_size": 2}  # transformers reads neither from the file
        if given.get("model_type") in ("bert", "distilbert"):
            given |= {**dict.fromkeys(GROUPS, 1), "embedding_size": given.get("hidden_size", cls.hidden_size)}
        try:
            config = cls(**given)
        except ValueError as error:
            message = str(error)
            for ours, theirs in renamed.items():
                message = message.replace(ours, theirs)
            raise ValueError(message) from None
        for key, supported in FIXED.items():  # after the model type, whose error says more
            value = values.get(key)
            check(not value or value == supported, key, f"{json.dumps(supported)}, or no such key", value)
        return config

    @classmethod
    def from_json(cls, path: str | os.PathLike[str], model_type: Callable[[], str] | None = None) -> SqueezeBertConfig:
        """Read a ``config.json``, and what sentence-transformers has noted for a cross-encoder in a file beside it.

        Parameters
        ----------
        path : str or path
        model_type : callable, optional
            Returns the model type where the file names neither a type nor a class. Default: "squeezebert".

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            As for `from_dict`, or if it is not a JSON object in UTF-8. The message begins with the path.
        """
        values = read_json(path, "the model's configuration")
        if model_type is not None and values.get("model_type") is None and not values.get("architectures"):
            values["model_type"] = model_type()
        try:
            config = cls.from_dict(values)
        except ValueError as error:
            raise ValueError(f"{os.fspath(path)}: {error}") from None
        beside, settings = (
            os.path.join(os.path.dirname(path), f"{name}.json")
            for name in ("config_sentence_transformers", "sentence_bert_config")
        )
        if os.path.isfile(beside):
            noted = read_json(beside, "notes of sentence-transformers")
            if noted.get("model_type") == "CrossEncoder":
                own = read_json(settings, "settings") if os.path.isfile(settings) else {}
                noted |= {key: own.get(key) for key in NOTED[2:]}
                kept = {key: noted[key] for key in NOTED if noted.get(key) is not None}
                config = dataclasses.replace(config, cross_encoder=config.cross_encoder | kept)
        return config


def check(holds: bool, key: str, expected: str, got: object) -> None:
    if not holds:
        raise ValueError(f"{key}: expected {expected}, got {reprlib.repr(got)}")


def noted_in(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a ``config.json`` notes for a cross-encoder, in any of the forms since the first."""
    ours, newer = values.get("cross_encoder"), values.get("sentence_transformers")
    if isinstance(ours, dict):
        return {key: ours[key] for key in NOTED if key in ours}
    activation = newer.get("activation_fn") if isinstance(newer, dict) else None
    activation = activation or values.get("sbert_ce_default_activation_function")
    return {} if activation is None else {"activation_fn": activation}


def is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def is_numeral(value: object) -> bool:
    return isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10


def labels_by_id(labels: Mapping[Any, str]) -> dict[int, str]:
    """Return class names by number; the keys of `labels` are integers or, from JSON, strings of digits."""
    expected = "an object that maps 0, 1, ... to strings"
    check(isinstance(labels, Mapping), "id2label", expected, labels)
    most = LIMITS["num_labels"]
    check(len(labels) <= most, "id2label", f"at most {most} classes", len(labels))
    by_id = {}
    for key, label in labels.items():
        fits = isinstance(label, str) or is_int(label)
        check((is_int(key) or is_numeral(key)) and fits, "id2label", expected, {key: label})
        by_id[int(key)] = str(label)
    classes = list(range(len(labels)))
    check(sorted(by_id) == classes, "id2label", f"the classes 0 to {len(labels) - 1}", sorted(by_id))
    return dict(sorted(by_id.items()))


def ids_by_label(ids: Any) -> dict[str, int]:
    """Return class numbers by name, or nothing if some are not numbers of classes: no result depends on them."""
    if not isinstance(ids, Mapping):
        return {}
    numbers = {label: int(i) if is_numeral(i) else i for label, i in ids.items()}
    if not all(isinstance(label, str) and isinstance(i, int | float) and i == i // 1 for label, i in numbers.items()):
        return {}
    return {label: int(i) for label, i in numbers.items()}
