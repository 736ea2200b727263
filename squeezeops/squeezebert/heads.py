"""What comes after the encoder: one class a task.

A head says which tensors it needs (`shapes`), takes them (`__init__`) and sets fields of the model's output from the
encoder's rows (`__call__`). A further head is one such class and one line in `HEADS`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from squeezeops import ops

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from squeezeops.squeezebert.batch import Batch
    from squeezeops.squeezebert.config import SqueezeBertConfig
    from squeezeops.squeezebert.tensors import Shape

    Floats = NDArray[np.float32]
    Weights = Mapping[str, NDArray[Any]]

__all__ = ["HEADS", "Head", "SqueezeBertOutput", "choose_task"]


@dataclass
class SqueezeBertOutput:
    """What a forward pass returns, float32 arrays; None is what the task does not have or the call did not ask for.

    Attributes
    ----------
    last_hidden_state : ndarray, (B, L, C)
        Zero after the last attended token of a row: nothing is computed there.
    pooler_output : ndarray, (B, C)
    logits : ndarray, (B, num_labels)
    start_logits, end_logits : ndarray
        Of a question-answering head.
    hidden_states : tuple of ndarray, (B, L, C) each
        The embeddings, then every layer's output; the last is `last_hidden_state`.
    attentions : tuple of ndarray, (B, H, L, L) each
        As transformers' SqueezeBERT has them, raw scores before the softmax: q . k / sqrt(C / H) of query (third axis)
        and key (fourth), with float32's lowest number at masked keys. For queries after the last attended token of a
        row, which are not computed, the scores of attended keys are zero.
    """

    last_hidden_state: Floats
    pooler_output: Floats | None = None
    logits: Floats | None = None
    start_logits: Floats | None = None
    end_logits: Floats | None = None
    hidden_states: tuple[Floats, ...] | None = None
    attentions: tuple[Floats, ...] | None = None


class Head(Protocol):
    """A task's head."""

    @staticmethod
    def shapes(config: SqueezeBertConfig, names: Collection[str]) -> dict[str, Shape]:
        """Names and shapes of the tensors that the head needs of a checkpoint with these `names`."""

    def __init__(self, weights: Weights) -> None:
        """Take the tensors, under the names of `shapes`."""

    def __call__(self, x: Floats, batch: Batch, output: SqueezeBertOutput) -> None:
        """Set the task's fields of `output` from the encoder's packed rows x, [T, C]."""


class BaseHead:
    """No head: pooled output for a checkpoint that has a pooler."""

    @staticmethod
    def shapes(config: SqueezeBertConfig, names: Collection[str]) -> dict[str, Shape]:
        has_pooler = any(name.removeprefix("transformer.").startswith("pooler.") for name in names)
        return linear_shapes("pooler.dense", config.hidden_size, config.hidden_size) if has_pooler else {}

    def __init__(self, weights: Weights) -> None:
        self.pooler = linear(weights, "pooler.dense") if "pooler.dense.weight" in weights else None

    def __call__(self, x: Floats, batch: Batch, output: SqueezeBertOutput) -> None:
        if self.pooler is not None:
            output.pooler_output = pool(x, batch, self.pooler)  # [T, C] -> [B, C]


class TextClassificationHead:
    """A label for the whole text: pooler, then a linear classifier."""

    @staticmethod
    def shapes(config: SqueezeBertConfig, names: Collection[str]) -> dict[str, Shape]:
        return {
            **linear_shapes("pooler.dense", config.hidden_size, config.hidden_size),
            **linear_shapes("classifier", config.num_labels, config.hidden_size),
        }

    def __init__(self, weights: Weights) -> None:
        self.pooler = linear(weights, "pooler.dense")
        self.classifier = linear(weights, "classifier")

    def __call__(self, x: Floats, batch: Batch, output: SqueezeBertOutput) -> None:
        output.pooler_output = pool(x, batch, self.pooler)  # [T, C] -> [B, C]
        output.logits = self.classifier(output.pooler_output)  # [B, C] -> [B, num_labels]


HEADS: dict[str, type[Head]] = {"base": BaseHead, "text-classification": TextClassificationHead}


def pool(x: Floats, batch: Batch, dense: ops.PointwiseConv) -> Floats:
    """The state of each sequence's first token, through a linear layer and tanh: [T, C] -> [B, C]."""
    return dense(batch.first(x), activation="tanh")


def linear(weights: Weights, name: str) -> ops.PointwiseConv:
    """A linear layer, which is a pointwise convolution with one group."""
    return ops.PointwiseConv(weights[f"{name}.weight"], weights[f"{name}.bias"])


def linear_shapes(name: str, c_out: int, c_in: int) -> dict[str, Shape]:
    return {f"{name}.weight": (c_out, c_in), f"{name}.bias": (c_out,)}


# ---- which head ----------------------------------------------------------------------------------------------------

# The classes of transformers that a checkpoint may name as the one it was saved from.
ARCHITECTURES = {
    "SqueezeBertModel": "base",
    "SqueezeBertForMaskedLM": "masked-lm",
    "SqueezeBertForSequenceClassification": "text-classification",
    "SqueezeBertForMultipleChoice": "multiple-choice",
    "SqueezeBertForTokenClassification": "token-classification",
    "SqueezeBertForQuestionAnswering": "question-answering",
}
# Three heads call their tensors "classifier": only the architecture tells them apart, and where none is given it is
# taken for the first.
OWNERS = {
    "classifier.": ("text-classification", "token-classification", "multiple-choice"),
    "qa_outputs.": ("question-answering",),
    "cls.": ("masked-lm",),
}


def choose_task(task: str | None, config: SqueezeBertConfig, names: Collection[str]) -> str:
    """The task to load a checkpoint for: `task`, if the checkpoint has that head, or the one that it was saved with.

    Parameters
    ----------
    task : str or None
    config : SqueezeBertConfig
    names : collection of str
        The checkpoint's tensors.

    Raises
    ------
    ValueError
        If `task` is unknown or the checkpoint has no head for it (says which it has), or, with None, if the
        checkpoint's own head is not supported. A masked-LM head does not count as one: it is what a pre-trained
        encoder comes with.
    """
    saved_as = next((ARCHITECTURES[name] for name in config.architectures or () if name in ARCHITECTURES), None)
    has = [
        saved_as if saved_as in tasks else tasks[0]
        for prefix, tasks in OWNERS.items()
        if any(name.startswith(prefix) for name in names)
    ]
    if task is None:
        task = saved_as or (has[0] if has else "base")
        task = "base" if task == "masked-lm" else task
        if task not in HEADS:
            raise ValueError(
                f"SqueezeBert: task: expected a checkpoint for {' or '.join(HEADS)}, got one for {task}, which is not "
                "supported yet; task='base' loads its encoder"
            )
    elif task not in HEADS:
        raise ValueError(f"SqueezeBert: task: expected None or one of {', '.join(HEADS)}, got {task!r}")
    elif task != "base" and task not in has:
        raise ValueError(
            f"SqueezeBert: task: expected one that the checkpoint has tensors for ({', '.join(['base', *has])}), "
            f"got {task!r}"
        )
    return task
