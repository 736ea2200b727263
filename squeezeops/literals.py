"""The words that arguments take, as types for type checkers. Nothing imports this at run time."""

from typing import Literal

__all__ = [
    "Activation",
    "Aggregation",
    "Approximate",
    "Arithmetic",
    "ConvDtype",
    "Dtype",
    "FullyMasked",
    "Layout",
    "ModelTask",
    "Padding",
    "Pooling",
    "Side",
    "Task",
    "Truncation",
]

# Ops
Activation = Literal["gelu", "gelu_tanh", "relu", "tanh"]
Approximate = Literal["none", "tanh"]
ConvDtype = Literal["float32", "float16", "int8", "int8_rotated"]
FullyMasked = Literal["uniform", "zero"]
Layout = Literal["NWC", "NCW"]

# Models
Arithmetic = Literal["float32", "int8"]
Dtype = Literal["float32", "float16", "int8"]
ModelTask = Literal[
    "base", "masked-lm", "text-classification", "multiple-choice", "token-classification", "question-answering"
]

# Tokenizers
Padding = Literal["longest", "max_length", "do_not_pad"]
Side = Literal["right", "left"]
Truncation = Literal["longest_first", "only_first", "only_second", "do_not_truncate"]

# Pipelines
Aggregation = Literal["none", "simple", "first", "average", "max"]
Pooling = Literal["cls", "max", "mean"]
Task = Literal[
    "text-classification",
    "sentiment-analysis",
    "zero-shot-classification",
    "rerank",
    "token-classification",
    "ner",
    "question-answering",
    "fill-mask",
    "feature-extraction",
]
