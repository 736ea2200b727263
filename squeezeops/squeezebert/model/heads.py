"""The heads of the model: one class per task.

A head declares the tensors it needs (`shapes`) and takes them (`__init__`). It declares the fields of the output that
it sets (`fields`) and the rows of the encoder that it needs (`rows`), and computes the fields (`__call__`). To add a
head, write such a class and add it to `HEADS`.
"""

from __future__ import annotations

import reprlib
from abc import ABC, abstractmethod
from collections.abc import Collection
from typing import TYPE_CHECKING, Any, ClassVar

from squeezeops import ops
from squeezeops.squeezebert.model.config import MODEL_TYPES
from squeezeops.squeezebert.model.tensors import without_prefix

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from squeezeops.literals import Activation, ModelTask
    from squeezeops.squeezebert.model.batch import Batch, Plain, Rows
    from squeezeops.squeezebert.model.config import SqueezeBertConfig
    from squeezeops.squeezebert.model.output import SqueezeBertOutput
    from squeezeops.squeezebert.model.tensors import Shape
    from squeezeops.squeezebert.model.weights import Weights
    from squeezeops.squeezebert.model.workspace import Activations

    Floats = NDArray[np.float32]

__all__ = ["HEADS", "Head", "choose_task"]


class Head(ABC):
    """A task's head.

    Attributes
    ----------
    axes : tuple of str
        The axes of the model's inputs.
    has_token_logits : bool
        Whether logits belong to single tokens, so that a ``logits_mask`` can choose some.
    """

    axes: ClassVar[tuple[str, ...]] = ("batch", "tokens")
    has_token_logits: ClassVar[bool] = False

    @staticmethod
    @abstractmethod
    def shapes(config: SqueezeBertConfig, names: Collection[str]) -> dict[str, Shape]:
        """Return names and shapes of the tensors that the head takes from a checkpoint with these `names`."""

    @abstractmethod
    def __init__(self, config: SqueezeBertConfig, weights: Weights) -> None:
        """Take the tensors of `shapes`."""

    @abstractmethod
    def fields(self, batch: Batch | Plain) -> dict[str, tuple[int, ...]]:
        """Return the fields of the output that the head sets, with their shapes for these inputs."""

    def rows(self, batch: Batch | Plain) -> Rows | None:
        """Return the rows of the last layer that the head needs; None for all."""
        return None

    @abstractmethod
    def __call__(self, x: Floats, batch: Batch, work: Activations, output: SqueezeBertOutput) -> None:
        """Compute the fields for a part of the inputs, from the encoder's rows x, [N, C], which `rows` asked for.

        `work` has N rows and holds x, but not in `chosen`, which a head may overwrite.
        """


class BaseHead(Head):
    """No head; `pooler_output` if the checkpoint has a pooler."""

    @staticmethod
    def shapes(config: SqueezeBertConfig, names: Collection[str]) -> dict[str, Shape]:
        has_pooler = any(without_prefix(name).startswith("pooler.") for name in names)
        return linear_shapes("pooler.dense", config.hidden_size, config.hidden_size) if has_pooler else {}

    def __init__(self, config: SqueezeBertConfig, weights: Weights | None) -> None:
        """Take the pooler if there is one. None means no weights."""
        has_pooler = weights is not None and "pooler.dense.weight" in weights
        self.pooler = weights.conv("pooler.dense") if weights is not None and has_pooler else None

    def fields(self, batch: Batch | Plain) -> dict[str, tuple[int, ...]]:
        return {} if self.pooler is None else pooled(batch, self.pooler)

    def __call__(self, x: Floats, batch: Batch, work: Activations, output: SqueezeBertOutput) -> None:
        if self.pooler is not None:
            first = batch.first_tokens()
            x = ops.embedding(first.indices, x, out=work.chosen[: len(first.indices)])  # [T, C] -> [B, C]
            pool(x, batch, self.pooler, "tanh", output)  # [B, C] -> [B, C]


class MaskedLMHead(Head):
    """A distribution over the vocabulary for every token: dense, activation, LayerNorm, decoder.

    The decoder's weight usually is the table of word embeddings; `tensors.labels_of` resolves it.
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

    def __init__(self, config: SqueezeBertConfig, weights: Weights) -> None:
        self.dense, self.activation = weights.conv("cls.predictions.transform.dense"), config.activation
        self.norm = tuple(weights[f"cls.predictions.transform.LayerNorm.{part}"] for part in ("weight", "bias"))
        self.eps = config.layer_norm_eps
        self.decoder = weights.conv("cls.predictions.decoder", bias="cls.predictions.bias")

    def fields(self, batch: Batch | Plain) -> dict[str, tuple[int, ...]]:
        return token_logits(batch, self.decoder)

    def rows(self, batch: Batch | Plain) -> Rows | None:
        return batch.chosen

    def __call__(self, x: Floats, batch: Batch, work: Activations, output: SqueezeBertOutput) -> None:
        x = self.dense(x, activation=self.activation, out=work.chosen)  # [N, C]
        x = ops.layer_norm(x, *self.norm, eps=self.eps, out=x)  # [N, C]
        classify_tokens(x, batch, self.decoder, output)  # [N, C] -> [B, L, V] or [N, V]


class TextClassificationHead(Head):
    """A label for the whole text: pooler (for a DistilBERT a layer with ReLU), then a linear classifier."""

    @staticmethod
    def shapes(config: SqueezeBertConfig, names: Collection[str]) -> dict[str, Shape]:
        c = config.hidden_size
        return {**linear_shapes(pooler_of(config)[0], c, c), **linear_shapes("classifier", config.num_labels, c)}

    def __init__(self, config: SqueezeBertConfig, weights: Weights) -> None:
        name, self.activation = pooler_of(config)
        self.pooler = weights.conv(name)
        self.classifier = weights.conv("classifier")

    def fields(self, batch: Batch | Plain) -> dict[str, tuple[int, ...]]:
        return {**pooled(batch, self.pooler), "logits": (batch.size[0], self.classifier.out_channels)}

    def rows(self, batch: Batch | Plain) -> Rows | None:
        return batch.first_tokens()

    def __call__(self, x: Floats, batch: Batch, work: Activations, output: SqueezeBertOutput) -> None:
        x = pool(x, batch, self.pooler, self.activation, output)  # [B, C] -> [B, C]
        assert output.logits is not None
        logits = output.logits.reshape(-1, self.classifier.out_channels)[batch.sequences]
        self.classifier(x, out=logits)  # [B, C] -> [B, num_labels]


class MultipleChoiceHead(TextClassificationHead):
    """A score for each choice: pooler, then a linear classifier with one output."""

    axes = ("batch", "choices", "tokens")

    @staticmethod
    def shapes(config: SqueezeBertConfig, names: Collection[str]) -> dict[str, Shape]:
        c = config.hidden_size
        return {**linear_shapes(pooler_of(config)[0], c, c), **linear_shapes("classifier", 1, c)}

    def fields(self, batch: Batch | Plain) -> dict[str, tuple[int, ...]]:
        return {**pooled(batch, self.pooler), "logits": batch.shape[:-1]}


class TokenClassificationHead(Head):
    """A label for every token: a linear classifier."""

    has_token_logits = True

    @staticmethod
    def shapes(config: SqueezeBertConfig, names: Collection[str]) -> dict[str, Shape]:
        return linear_shapes("classifier", config.num_labels, config.hidden_size)

    def __init__(self, config: SqueezeBertConfig, weights: Weights) -> None:
        self.classifier = weights.conv("classifier")

    def fields(self, batch: Batch | Plain) -> dict[str, tuple[int, ...]]:
        return token_logits(batch, self.classifier)

    def rows(self, batch: Batch | Plain) -> Rows | None:
        return batch.chosen

    def __call__(self, x: Floats, batch: Batch, work: Activations, output: SqueezeBertOutput) -> None:
        classify_tokens(x, batch, self.classifier, output)  # [N, C] -> [B, L, num_labels] or [N, num_labels]


class QuestionAnsweringHead(Head):
    """For every token, one logit for an answer that begins there and one for an answer that ends there."""

    @staticmethod
    def shapes(config: SqueezeBertConfig, names: Collection[str]) -> dict[str, Shape]:
        return linear_shapes("qa_outputs", 2, config.hidden_size)

    def __init__(self, config: SqueezeBertConfig, weights: Weights) -> None:
        self.outputs = weights.conv("qa_outputs")

    def fields(self, batch: Batch | Plain) -> dict[str, tuple[int, ...]]:
        return {"start_logits": batch.size, "end_logits": batch.size}

    def __call__(self, x: Floats, batch: Batch, work: Activations, output: SqueezeBertOutput) -> None:
        logits = self.outputs(x)  # [T, C] -> [T, 2]
        assert output.start_logits is not None and output.end_logits is not None
        batch.spread(output.start_logits[batch.sequences], logits[:, 0])  # [T] -> [B, L]
        batch.spread(output.end_logits[batch.sequences], logits[:, 1])


HEADS: dict[str, type[Head]] = {
    "base": BaseHead,
    "masked-lm": MaskedLMHead,
    "text-classification": TextClassificationHead,
    "multiple-choice": MultipleChoiceHead,
    "token-classification": TokenClassificationHead,
    "question-answering": QuestionAnsweringHead,
}


def pooled(batch: Batch | Plain, dense: ops.PointwiseConv) -> dict[str, tuple[int, ...]]:
    return {"pooler_output": (batch.size[0], dense.out_channels)}


def pooler_of(config: SqueezeBertConfig) -> tuple[str, Activation]:
    """Return the name of the layer between encoder and classifier, and its activation."""
    return ("pre_classifier", "relu") if config.model_type == "distilbert" else ("pooler.dense", "tanh")


def pool(
    x: Floats, batch: Batch, dense: ops.PointwiseConv, activation: Activation, output: SqueezeBertOutput
) -> Floats:
    """Apply a linear layer and an activation to the states of the first tokens: [B, C] -> [B, C]."""
    assert output.pooler_output is not None
    y: Floats = dense(x, activation=activation, out=output.pooler_output[batch.sequences])
    return y


def token_logits(batch: Batch | Plain, linear: ops.PointwiseConv) -> dict[str, tuple[int, ...]]:
    of_tokens = batch.size if batch.chosen is None else batch.chosen.indices.shape
    return {"logits": (*of_tokens, linear.out_channels)}


def classify_tokens(x: Floats, batch: Batch, linear: ops.PointwiseConv, output: SqueezeBertOutput) -> None:
    """Compute logits of all rows in padded shape, [T, C] -> [B, L, V], or of the chosen rows, [N, C] -> [N, V]."""
    assert output.logits is not None
    if batch.chosen is not None:
        linear(x, out=output.logits[batch.chosen_before : batch.chosen_before + len(x)])
    else:
        logits = output.logits[batch.sequences]
        linear(x, out=logits.reshape(-1, linear.out_channels)[: len(x)])
        batch.spread(logits)


def linear_shapes(name: str, c_out: int, c_in: int) -> dict[str, Shape]:
    return {f"{name}.weight": (c_out, c_in), f"{name}.bias": (c_out,)}


# ---- choice of the head --------------------------------------------------------------------------------------------

# Class names in transformers, without the prefix of the model type, and their tasks. There is no head for next-sentence
# prediction.
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
ARCHITECTURES = {kind + name: task for kind in MODEL_TYPES for name, task in CLASSES.items()}
POOLERS = ("pooler.", "pre_classifier.")
# Prefixes of the heads' tensors, and their tasks. Three heads use "classifier". Only the architecture tells them apart;
# without one, the first is the default.
OWNERS = {
    "classifier.": ("text-classification", "token-classification", "multiple-choice"),
    "qa_outputs.": ("question-answering",),
    "cls.predictions.": ("masked-lm",),
    "vocab_transform.": ("masked-lm",),  # of a DistilBERT
}


def choose_task(task: str | None, config: SqueezeBertConfig, names: Collection[str]) -> ModelTask:
    """Return the task to load a checkpoint for: `task`, or the one that the checkpoint was saved for.

    Parameters
    ----------
    task : str or None
    config : SqueezeBertConfig
    names : collection of str
        Names of the checkpoint's tensors.

    Raises
    ------
    ValueError
        If the task is unknown or the checkpoint has no head for it. The message lists the heads that it has.
    """
    if task is not None and not (isinstance(task, str) and task in HEADS):
        raise ValueError(f"SqueezeBert: task: expected None or one of {', '.join(HEADS)}, got {reprlib.repr(task)}")
    saved_for = next((ARCHITECTURES[name] for name in config.architectures or () if name in ARCHITECTURES), None)
    has = ["base"]
    for prefix, tasks in OWNERS.items():
        if any(name.startswith(prefix) for name in names):
            if prefix == "classifier." and not any(without_prefix(name).startswith(POOLERS) for name in names):
                tasks = ("token-classification",)  # the only one of the three without a pooler
            has += [saved_for] if saved_for in tasks else tasks
    wanted: Any = task or saved_for or (has[1] if len(has) > 1 else "base")
    if wanted not in has:
        reason = "" if task else ", which it was saved for"
        raise ValueError(
            f"SqueezeBert: task: expected one that the checkpoint has a head for, got {reprlib.repr(wanted)}{reason}; "
            f"checkpoint has: {', '.join(has)}"
        )
    return wanted  # type: ignore[no-any-return]
