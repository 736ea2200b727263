"""From texts to answers in one call: ``pipeline("text-classification")``.

Calls and results are those of ``transformers.pipeline`` (those of "rerank" of sentence-transformers), but nothing is
ever downloaded. Only the library's own ops turn logits into scores. `base` has the shared part; each task has a module,
which is imported when the task is first asked for.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any, overload

from squeezeops.pipelines.base import Pipeline, TextError
from squeezeops.squeezebert.files.built_in import built_in_folder
from squeezeops.squeezebert.model.squeezebert import SqueezeBert
from squeezeops.squeezebert.tokenizer.tokenizer import Tokenizer

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Literal

    from typing_extensions import Unpack

    from squeezeops.literals import Arithmetic, Dtype, Task
    from squeezeops.pipelines import types
    from squeezeops.pipelines.feature_extraction import FeatureExtractionPipeline
    from squeezeops.pipelines.fill_mask import FillMaskPipeline
    from squeezeops.pipelines.question_answering import QuestionAnsweringPipeline
    from squeezeops.pipelines.rerank import RerankPipeline
    from squeezeops.pipelines.text_classification import TextClassificationPipeline
    from squeezeops.pipelines.token_classification import TokenClassificationPipeline
    from squeezeops.pipelines.zero_shot_classification import ZeroShotClassificationPipeline

    Model = SqueezeBert | str | os.PathLike[str] | None

__all__ = [
    "FeatureExtractionPipeline",
    "FillMaskPipeline",
    "Pipeline",
    "QuestionAnsweringPipeline",
    "RerankPipeline",
    "TextClassificationPipeline",
    "TextError",
    "TokenClassificationPipeline",
    "ZeroShotClassificationPipeline",
    "default_model",
    "pipeline",
]

# The class of each task. Its module is the task's name with underscores.
CLASSES = {
    "text-classification": "TextClassificationPipeline",
    "zero-shot-classification": "ZeroShotClassificationPipeline",
    "rerank": "RerankPipeline",
    "token-classification": "TokenClassificationPipeline",
    "question-answering": "QuestionAnsweringPipeline",
    "fill-mask": "FillMaskPipeline",
    "feature-extraction": "FeatureExtractionPipeline",
}
ALIASES = {"sentiment-analysis": "text-classification", "ner": "token-classification"}
# Built-in models by task: folders in squeezeops/models.
DEFAULT_MODELS = {"text-classification": "sentiment"}


def default_model(task: Task = "text-classification") -> Path:
    """Return the folder of the built-in model for a task.

    Parameters
    ----------
    task : str
        A task of `pipeline`.

    Returns
    -------
    pathlib.Path
        The folder of a converted int8 model. If the package is in an archive, a temporary copy, which is deleted when
        the program ends.

    Raises
    ------
    ValueError
        If the task is unknown or has no built-in model.
    """
    name = _name(task)
    if name not in DEFAULT_MODELS:
        raise ValueError(
            f"{name}: model: expected a folder or a SqueezeBert, got None, and no model for it is built in"
        )
    return built_in_folder(DEFAULT_MODELS[name])


@overload
def pipeline(
    task: Literal["text-classification", "sentiment-analysis"],
    model: Model = None,
    *,
    tokenizer: Any = None,
    dtype: Dtype | None = None,
    attention: Arithmetic | None = None,
    **options: Unpack[types.TextClassificationOptions],
) -> TextClassificationPipeline: ...
@overload
def pipeline(
    task: Literal["zero-shot-classification"],
    model: Model = None,
    *,
    tokenizer: Any = None,
    dtype: Dtype | None = None,
    attention: Arithmetic | None = None,
    **options: Unpack[types.ZeroShotClassificationOptions],
) -> ZeroShotClassificationPipeline: ...
@overload
def pipeline(
    task: Literal["rerank"],
    model: Model = None,
    *,
    tokenizer: Any = None,
    dtype: Dtype | None = None,
    attention: Arithmetic | None = None,
    **options: Unpack[types.RerankOptions],
) -> RerankPipeline: ...
@overload
def pipeline(
    task: Literal["token-classification", "ner"],
    model: Model = None,
    *,
    tokenizer: Any = None,
    dtype: Dtype | None = None,
    attention: Arithmetic | None = None,
    **options: Unpack[types.TokenClassificationOptions],
) -> TokenClassificationPipeline: ...
@overload
def pipeline(
    task: Literal["question-answering"],
    model: Model = None,
    *,
    tokenizer: Any = None,
    dtype: Dtype | None = None,
    attention: Arithmetic | None = None,
    **options: Unpack[types.QuestionAnsweringOptions],
) -> QuestionAnsweringPipeline: ...
@overload
def pipeline(
    task: Literal["fill-mask"],
    model: Model = None,
    *,
    tokenizer: Any = None,
    dtype: Dtype | None = None,
    attention: Arithmetic | None = None,
    **options: Unpack[types.FillMaskOptions],
) -> FillMaskPipeline: ...
@overload
def pipeline(
    task: Literal["feature-extraction"],
    model: Model = None,
    *,
    tokenizer: Any = None,
    dtype: Dtype | None = None,
    attention: Arithmetic | None = None,
    **options: Unpack[types.FeatureExtractionOptions],
) -> FeatureExtractionPipeline: ...
def pipeline(
    task: Task,
    model: Model = None,
    *,
    tokenizer: Any = None,
    dtype: Dtype | None = None,
    attention: Arithmetic | None = None,
    **options: Any,
) -> Pipeline:
    """Make a pipeline: an object that is called with texts and returns answers.

    Parameters
    ----------
    task : str
        ``"text-classification"`` or ``"sentiment-analysis"``; ``"zero-shot-classification"``; ``"rerank"``;
        ``"token-classification"`` or ``"ner"``; ``"question-answering"``; ``"fill-mask"``; ``"feature-extraction"``.
    model : SqueezeBert, str, path or None
        A folder in Hugging Face's layout, a converted file, or the name of a model in the local Hugging Face cache.
        "built-in", or None with "text-classification": the built-in model (English sentiment: POSITIVE, NEGATIVE).
    tokenizer : Tokenizer, str, path or None
        None: from the model's folder. Required if `model` is a SqueezeBert.
    dtype, attention : str or None
        Passed to `SqueezeBert.from_pretrained`. A SqueezeBert keeps its own.
    **options
        Options of the task, for all calls. The classes document them, and inputs and results:
        `TextClassificationPipeline`, `ZeroShotClassificationPipeline`, `RerankPipeline`, `TokenClassificationPipeline`,
        `QuestionAnsweringPipeline`, `FillMaskPipeline`, `FeatureExtractionPipeline`.

    Returns
    -------
    Pipeline

    Raises
    ------
    ValueError
        For an unknown task or option value, or a model without a head for the task.
    TypeError
        For an unknown option, or one of the wrong type.
    OSError
        For a missing folder or file.

    Examples
    --------
    >>> classify = pipeline("text-classification")
    >>> classify("a gorgeous, witty, seductive movie")[0]["label"]
    'POSITIVE'
    """
    kind: type[Pipeline] = getattr(sys.modules[__name__], CLASSES[_name(task)])
    kind.options_type().updated(options)  # report a wrong option before the model is loaded
    if model is None:
        model = default_model(task)
    if isinstance(model, str | os.PathLike):
        folder = model
        model = SqueezeBert.from_pretrained(folder, dtype=dtype, attention=attention, task=kind.model_tasks[0])
        tokenizer = folder if tokenizer is None else tokenizer
    elif not isinstance(model, SqueezeBert):
        expected = "None, a folder or a SqueezeBert"
        raise TypeError(f"pipeline: model: expected {expected}, got {type(model).__name__}")
    if tokenizer is None:
        raise ValueError("pipeline: tokenizer: expected a Tokenizer along with a SqueezeBert object, got None")
    if isinstance(tokenizer, str | os.PathLike):
        tokenizer = Tokenizer.from_pretrained(tokenizer)
    return kind(model, tokenizer, **options)


def _name(task: Any) -> str:
    """Return the name of a task without its alias."""
    if not isinstance(task, str) or task not in {**CLASSES, **ALIASES}:
        raise ValueError(f"pipeline: task: expected one of {(*CLASSES, *ALIASES)}, got {task!r}")
    return ALIASES.get(task, task)


if not TYPE_CHECKING:  # a type checker would take every name for one of these

    def __getattr__(name: str) -> Any:
        for task, kind in CLASSES.items():
            if kind == name:
                globals()[name] = value = getattr(import_module("." + task.replace("-", "_"), __name__), name)
                return value
        raise AttributeError(f"module 'squeezeops.pipelines' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
