"""What comes after the encoder: one class a task.

A head says which tensors it needs (`shapes`), takes them (`__init__`) and sets fields of the model's output from the
encoder's rows (`__call__`). A further head is one such class and one line in `HEADS`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from squeezeops import ops
from squeezeops.squeezebert.tensors import without_prefix

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from squeezeops.squeezebert.batch import Batch
    from squeezeops.squeezebert.config import SqueezeBertConfig
    from squeezeops.squeezebert.memory import Memory
    from squeezeops.squeezebert.tensors import Shape

    Floats = NDArray[np.float32]
    Weights = Mapping[str, NDArray[Any]]

__all__ = ["HEADS", "Head", "SqueezeBertOutput", "choose_task"]


@dataclass
class SqueezeBertOutput:
    """What a forward pass returns, float32 arrays; None is what the task does not have or the call did not ask for.

    B, L and C are the rows of the batch, their padded length and ``hidden_size``; for multiple choice, where the input
    is (batch, choices, L), B is batch * choices in all fields but `logits`. Whatever belongs to a token is zero after
    the last attended token of a row: nothing is computed there.

    Attributes
    ----------
    last_hidden_state : ndarray, (B, L, C)
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

    last_hidden_state: Floats
    pooler_output: Floats | None = None
    logits: Floats | None = None
    start_logits: Floats | None = None
    end_logits: Floats | None = None
    hidden_states: tuple[Floats, ...] | None = None
    attentions: tuple[Floats, ...] | None = None


class Head(ABC):
    """A task's head.

    Attributes
    ----------
    axes : tuple of str
        What the axes of the model's inputs are.
    has_token_logits : bool
        Whether there are logits of single tokens, so that a part of them can be asked for.
    """

    axes: ClassVar[tuple[str, ...]] = ("batch", "tokens")
    has_token_logits: ClassVar[bool] = False

    @staticmethod
    @abstractmethod
    def shapes(config: SqueezeBertConfig, names: Collection[str]) -> dict[str, Shape]:
        """Names and shapes of the tensors that the head needs of a checkpoint with these `names`."""

    @abstractmethod
    def __init__(self, config: SqueezeBertConfig, weights: Weights, memory: Memory) -> None:
        """Take the tensors, under the names of `shapes`; `memory` is for packed weights."""

    @abstractmethod
    def __call__(self, x: Floats, batch: Batch, output: SqueezeBertOutput) -> None:
        """Set the task's fields of `output` from the encoder's packed rows x, [T, C]."""


class BaseHead(Head):
    """No head: pooled output for a checkpoint that has a pooler."""

    @staticmethod
    def shapes(config: SqueezeBertConfig, names: Collection[str]) -> dict[str, Shape]:
        has_pooler = any(without_prefix(name).startswith("pooler.") for name in names)
        return linear_shapes("pooler.dense", config.hidden_size, config.hidden_size) if has_pooler else {}

    def __init__(self, config: SqueezeBertConfig, weights: Weights, memory: Memory) -> None:
        self.pooler = linear(weights, "pooler.dense", memory) if "pooler.dense.weight" in weights else None

    def __call__(self, x: Floats, batch: Batch, output: SqueezeBertOutput) -> None:
        if self.pooler is not None:
            output.pooler_output = pool(x, batch, self.pooler)  # [T, C] -> [B, C]


class MaskedLMHead(Head):
    """A distribution over the vocabulary for every token: dense, activation, LayerNorm, then the decoder.

    The decoder's weight is as a rule the word embeddings; `squeezeops.squeezebert.tensors` sees to that.
    """

    has_token_logits = True

    @staticmethod
    def shapes(config: SqueezeBertConfig, names: Collection[str]) -> dict[str, Shape]:
        c, vocab_size = config.hidden_size, config.vocab_size
        return {
            **linear_shapes("cls.predictions.transform.dense", c, c),
            "cls.predictions.transform.LayerNorm.weight": (c,),
            "cls.predictions.transform.LayerNorm.bias": (c,),
            "cls.predictions.decoder.weight": (vocab_size, c),
            "cls.predictions.bias": (vocab_size,),
        }

    def __init__(self, config: SqueezeBertConfig, weights: Weights, memory: Memory) -> None:
        self.dense, self.activation = linear(weights, "cls.predictions.transform.dense", memory), config.activation
        self.norm = tuple(weights[f"cls.predictions.transform.LayerNorm.{part}"] for part in ("weight", "bias"))
        self.eps = config.layer_norm_eps
        decoder = weights["cls.predictions.decoder.weight"], weights["cls.predictions.bias"]
        self.decoder = ops.PointwiseConv(*decoder, memory=memory)

    def __call__(self, x: Floats, batch: Batch, output: SqueezeBertOutput) -> None:
        output.logits = token_logits(x, batch, self.decode)  # [T, C] -> [B, L, V] or [N, V]

    def decode(self, x: Floats) -> Floats:
        x = self.dense(x, activation=self.activation)  # [N, C]
        x = ops.layer_norm(x, *self.norm, eps=self.eps, out=x)  # [N, C]
        return self.decoder(x)  # [N, C] -> [N, V]


class TextClassificationHead(Head):
    """A label for the whole text: pooler, then a linear classifier."""

    @staticmethod
    def shapes(config: SqueezeBertConfig, names: Collection[str]) -> dict[str, Shape]:
        return {
            **linear_shapes("pooler.dense", config.hidden_size, config.hidden_size),
            **linear_shapes("classifier", config.num_labels, config.hidden_size),
        }

    def __init__(self, config: SqueezeBertConfig, weights: Weights, memory: Memory) -> None:
        self.pooler = linear(weights, "pooler.dense", memory)
        self.classifier = linear(weights, "classifier", memory)

    def __call__(self, x: Floats, batch: Batch, output: SqueezeBertOutput) -> None:
        output.pooler_output = pool(x, batch, self.pooler)  # [T, C] -> [B, C]
        output.logits = self.classifier(output.pooler_output)  # [B, C] -> [B, num_labels]


class MultipleChoiceHead(TextClassificationHead):
    """A score for each of several texts that compete: pooler, then a linear classifier with one output."""

    axes = ("batch", "choices", "tokens")

    @staticmethod
    def shapes(config: SqueezeBertConfig, names: Collection[str]) -> dict[str, Shape]:
        c = config.hidden_size
        return {**linear_shapes("pooler.dense", c, c), **linear_shapes("classifier", 1, c)}

    def __call__(self, x: Floats, batch: Batch, output: SqueezeBertOutput) -> None:
        output.pooler_output = pool(x, batch, self.pooler)  # [T, C] -> [B, C]
        output.logits = self.classifier(output.pooler_output).reshape(batch.shape[:-1])  # -> [batch, choices]


class TokenClassificationHead(Head):
    """A label for every token: a linear classifier."""

    has_token_logits = True

    @staticmethod
    def shapes(config: SqueezeBertConfig, names: Collection[str]) -> dict[str, Shape]:
        return linear_shapes("classifier", config.num_labels, config.hidden_size)

    def __init__(self, config: SqueezeBertConfig, weights: Weights, memory: Memory) -> None:
        self.classifier = linear(weights, "classifier", memory)

    def __call__(self, x: Floats, batch: Batch, output: SqueezeBertOutput) -> None:
        output.logits = token_logits(x, batch, self.classifier)  # [T, C] -> [B, L, num_labels] or [N, num_labels]


class QuestionAnsweringHead(Head):
    """For every token, how well an answer would begin there, and how well it would end there."""

    @staticmethod
    def shapes(config: SqueezeBertConfig, names: Collection[str]) -> dict[str, Shape]:
        return linear_shapes("qa_outputs", 2, config.hidden_size)

    def __init__(self, config: SqueezeBertConfig, weights: Weights, memory: Memory) -> None:
        self.outputs = linear(weights, "qa_outputs", memory)

    def __call__(self, x: Floats, batch: Batch, output: SqueezeBertOutput) -> None:
        logits = batch.unpack(self.outputs(x))  # [T, C] -> [B, L, 2]
        output.start_logits, output.end_logits = logits[..., 0].copy(), logits[..., 1].copy()  # [B, L] each


HEADS: dict[str, type[Head]] = {
    "base": BaseHead,
    "masked-lm": MaskedLMHead,
    "text-classification": TextClassificationHead,
    "multiple-choice": MultipleChoiceHead,
    "token-classification": TokenClassificationHead,
    "question-answering": QuestionAnsweringHead,
}


def pool(x: Floats, batch: Batch, dense: ops.PointwiseConv) -> Floats:
    """The state of each sequence's first token, through a linear layer and tanh: [T, C] -> [B, C]."""
    return dense(batch.first(x), activation="tanh")


def token_logits(x: Floats, batch: Batch, decode: Callable[[Floats], Floats]) -> Floats:
    """Decode all rows to padded shape, [T, C] -> [B, L, V], or only the N chosen ones, [T, C] -> [N, V]."""
    return batch.unpack(decode(x)) if batch.chosen is None else decode(x[batch.chosen])


def linear(weights: Weights, name: str, memory: Memory) -> ops.PointwiseConv:
    """A linear layer, which is a pointwise convolution with one group."""
    return ops.PointwiseConv(weights[f"{name}.weight"], weights[f"{name}.bias"], memory=memory)


def linear_shapes(name: str, c_out: int, c_in: int) -> dict[str, Shape]:
    return {f"{name}.weight": (c_out, c_in), f"{name}.bias": (c_out,)}


# ---- which head ----------------------------------------------------------------------------------------------------

# The classes of transformers that a checkpoint may name as the one it was saved from: SqueezeBertModel, BertModel and
# so on. Next-sentence prediction has no head here.
CLASSES = {
    "Model": "base",
    "ForNextSentencePrediction": "base",
    "ForPreTraining": "masked-lm",
    "ForMaskedLM": "masked-lm",
    "LMHeadModel": "masked-lm",
    "ForSequenceClassification": "text-classification",
    "ForMultipleChoice": "multiple-choice",
    "ForTokenClassification": "token-classification",
    "ForQuestionAnswering": "question-answering",
}
ARCHITECTURES = {kind + name: task for kind in ("SqueezeBert", "Bert") for name, task in CLASSES.items()}
# How a head's tensors are called, and whose they may be. Three heads call theirs "classifier": only the architecture
# tells them apart, and where none is given they are taken for the first's, unless another is asked for.
OWNERS = {
    "classifier.": ("text-classification", "token-classification", "multiple-choice"),
    "qa_outputs.": ("question-answering",),
    "cls.predictions.": ("masked-lm",),
}


def choose_task(task: str | None, config: SqueezeBertConfig, names: Collection[str]) -> str:
    """The task to load a checkpoint for: `task`, if the checkpoint has that head, or the one that it was saved for.

    Parameters
    ----------
    task : str or None
    config : SqueezeBertConfig
    names : collection of str
        The checkpoint's tensors.

    Raises
    ------
    ValueError
        If `task` is unknown, or the checkpoint has no head for it, or none for the task that its configuration says it
        was saved for (the message says which it has).
    """
    if task is not None and not (isinstance(task, str) and task in HEADS):
        raise ValueError(f"SqueezeBert: task: expected None or one of {', '.join(HEADS)}, got {task!r}")
    saved_for = next((ARCHITECTURES[name] for name in config.architectures or () if name in ARCHITECTURES), None)
    has = ["base"]
    for prefix, tasks in OWNERS.items():
        if any(name.startswith(prefix) for name in names):
            if prefix == "classifier." and not any(without_prefix(name).startswith("pooler.") for name in names):
                tasks = ("token-classification",)  # the only one of the three that goes without
            has += [saved_for] if saved_for in tasks else tasks
    wanted = task or saved_for or (has[1] if len(has) > 1 else "base")
    if wanted not in has:
        reason = "" if task else ", which it was saved for"
        raise ValueError(
            f"SqueezeBert: task: expected one that the checkpoint has a head for, got {wanted!r}{reason}; "
            f"checkpoint has: {', '.join(has)}"
        )
    return wanted
