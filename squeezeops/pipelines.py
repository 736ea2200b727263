"""From texts to labels in one call: ``pipeline("text-classification")``.

The calls and what they return are those of ``transformers.pipeline``.  The default model is part of the package, so
nothing is ever downloaded.  Between the model's logits and the scores stands only the library's own softmax.
"""

from __future__ import annotations

import enum
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from squeezeops import ops
from squeezeops.squeezebert.model import SqueezeBert
from squeezeops.squeezebert.tokenizer import Tokenizer

__all__ = ["TextClassificationPipeline", "TextError", "default_model", "pipeline"]

TASKS = {"text-classification": "text-classification", "sentiment-analysis": "text-classification"}
FUNCTIONS = ("softmax", "sigmoid", "none")
TRUNCATIONS = (True, False, "longest_first", "only_first", "only_second", "do_not_truncate")
MOST = 2**31 - 1  # of a count


class _TopK(enum.Enum):
    """The default of top_k.  It differs from 1 in form only: a bare dict for a text instead of a list of one dict.

    The member of an enumeration is the same object after pickling, too.
    """

    BEST = "best"


BEST: Any = _TopK.BEST


class TextError(ValueError):
    """A text that cannot be classified.

    Attributes
    ----------
    index : int
        The position of the text in the input, from 0.
    problem : str
        What is wrong with it.
    too_long : bool
        Whether truncation would help.
    """

    def __init__(self, index: int, problem: str, too_long: bool = False) -> None:
        hint = " (truncation=True cuts it)" if too_long else ""
        super().__init__(f"text-classification: text {index}: {problem}{hint}")
        self.index = index
        self.problem = problem
        self.too_long = too_long

    def __reduce__(self) -> tuple[Any, ...]:
        # An exception is made again from its message alone, if nothing else is said; process pools need more.
        return type(self), (self.index, self.problem, self.too_long)


@dataclass(frozen=True)
class _Options:
    """What may be set when a pipeline is made, and again for a single call."""

    batch_size: int = 32
    top_k: int | None = BEST
    function_to_apply: str | None = None
    truncation: bool | str = False
    max_length: int | None = None

    def __post_init__(self) -> None:
        _check_count("batch_size", self.batch_size)
        if self.top_k is not None and self.top_k is not BEST:
            _check_count("top_k", self.top_k, "None or ")
        if self.function_to_apply is not None:
            name = self.function_to_apply.lower() if isinstance(self.function_to_apply, str) else None
            if name not in FUNCTIONS:
                raise _error(ValueError, "function_to_apply", f"None or one of {FUNCTIONS}", self.function_to_apply)
            object.__setattr__(self, "function_to_apply", name)
        if not isinstance(self.truncation, bool | str) or self.truncation not in TRUNCATIONS:
            raise _error(ValueError, "truncation", f"one of {TRUNCATIONS}", self.truncation)
        if self.truncation == "do_not_truncate":
            object.__setattr__(self, "truncation", False)
        if self.max_length is not None:
            _check_count("max_length", self.max_length, "None or ")
            if not self.truncation:
                raise _error(ValueError, "max_length", "None, or truncation=True with it", self.max_length)

    def updated(self, changes: dict[str, Any]) -> _Options:
        """Return a copy with the changes of one call."""
        known = [field.name for field in fields(self)]
        for name in changes:
            if name not in known:
                raise TypeError(f"text-classification: {name}: expected one of the options {', '.join(known)}")
        return replace(self, **changes)


class TextClassificationPipeline:
    """Tokenizer, model and scoring function behind one call.  Made by :func:`pipeline`.

    Attributes
    ----------
    model : SqueezeBert
    tokenizer : Tokenizer
    task : str
        ``"text-classification"``.
    """

    task = "text-classification"

    def __init__(self, model: SqueezeBert, tokenizer: Any, **options: Any) -> None:
        if model.task != self.task:
            raise _error(ValueError, "model", "a model with a classifier", f"a model of task {model.task!r}")
        size = model.config.vocab_size
        if isinstance(tokenizer, Tokenizer) and tokenizer.largest_id >= size:
            expected = f"ids below the model's vocab_size, {size}"
            raise _error(ValueError, "tokenizer", expected, f"{tokenizer.largest_id}")
        self.model = model
        self.tokenizer = tokenizer
        self._options = _Options().updated(options)

    def __call__(self, inputs: Any, **options: Any) -> Any:
        """Classify a text, a list of texts, or a stream of them.

        Parameters
        ----------
        inputs : str, list or tuple of str, or any other iterable of str
            A text may also be a dict with ``"text"`` and ``"text_pair"``, for models that judge a pair.
        **options
            For this call only, as in :func:`pipeline`: `batch_size`, `top_k`, `function_to_apply`, `truncation`,
            `max_length`.

        Returns
        -------
        list or iterator
            One result a text, in input order: a list for a text or a list, a lazy iterator (see :meth:`stream`) for
            any other iterable.  A result is ``{"label": str, "score": float}``; where `top_k` was given it is the list
            of such dicts, best first.  As in transformers, `top_k` given for this call with a single text returns
            that text's list itself, not a list of one.

        Raises
        ------
        TextError
            (a ValueError) An empty text, or one longer than the model without ``truncation=True``.  It names the
            text's index.
        TypeError
            A text that is not a str, or an unknown option.
        """
        if isinstance(inputs, str | Mapping):
            result = list(self.stream([inputs], **options))
            # transformers wraps a lone str in a list, but a lone dict or a call with top_k it does not.
            return result if isinstance(inputs, str) and "top_k" not in options else result[0]
        results = self.stream(inputs, **options)
        return list(results) if isinstance(inputs, list | tuple) else results

    def stream(self, texts: Iterable[Any], **options: Any) -> Iterator[Any]:
        """Classify an iterable lazily; yield the results one by one, in input order.

        At most `batch_size` texts are read ahead.  A result does not depend on the other texts of its batch (with the
        native backend to the last bit).  When a text is bad, or the iterable itself raises, the results of all texts
        before come first.

        Parameters
        ----------
        texts : iterable of str
            See :meth:`__call__`.
        **options
            See :meth:`__call__`.

        Yields
        ------
        dict or list of dict
            The result of the next text.
        """
        if isinstance(texts, str | bytes | Mapping) or not isinstance(texts, Iterable):
            raise _error(TypeError, "inputs", "a str or an iterable of str", type(texts).__name__)
        return self._stream(texts, self._options.updated(options))

    def _stream(self, texts: Iterable[Any], options: _Options) -> Iterator[Any]:
        source = (self._encode(index, text, options) for index, text in enumerate(texts))
        failure: Exception | None = None
        while failure is None:
            batch: list[tuple[list[int], list[int]]] = []
            try:
                # Not batch = list(...): what came before a bad text has to survive.
                for encoded in islice(source, options.batch_size):
                    batch.append(encoded)
            except Exception as error:
                failure = error
            if not batch:
                break
            yield from self._classify(batch, options)
        if failure is not None:
            raise failure

    def _encode(self, index: int, text: Any, options: _Options) -> tuple[list[int], list[int]]:
        """Return the token ids and the segment ids of one text."""
        pair = None
        if isinstance(text, Mapping):
            if not {"text"} <= set(text) <= {"text", "text_pair"}:
                raise TextError(index, f"expected the keys 'text' and 'text_pair', got {sorted(map(str, text))}")
            text, pair = text["text"], text.get("text_pair")
        for part in (text,) if pair is None else (text, pair):
            if not isinstance(part, str):
                raise TypeError(f"text-classification: text {index}: expected a str, got {type(part).__name__}")
            if not part.strip():
                raise TextError(index, f"expected a non-empty text, got {part!r:.40}")
        most = self.model.config.max_position_embeddings
        if options.truncation:
            wanted = options.max_length or self.tokenizer.max_length or most
            encoded = self.tokenizer(text, pair, truncation=options.truncation, max_length=min(wanted, most))
        else:
            encoded = self.tokenizer(text, pair)
        ids = encoded["input_ids"]
        if len(ids) > most:
            raise TextError(index, f"expected at most {most} tokens, got {len(ids)}", too_long=not options.truncation)
        return ids, encoded["token_type_ids"]

    def _classify(self, batch: list[tuple[list[int], list[int]]], options: _Options) -> Iterator[Any]:
        """Run one batch through the model; yield a result a text."""
        width = max(len(ids) for ids, _ in batch)
        # The model takes the padding out again before it computes anything, so its values do not matter.
        ids = np.zeros((len(batch), width), dtype=np.int64)
        types, mask = np.zeros_like(ids), np.zeros_like(ids)
        for row, (tokens, segments) in enumerate(batch):
            ids[row, : len(tokens)] = tokens
            types[row, : len(tokens)] = segments
            mask[row, : len(tokens)] = 1
        logits = self.model(ids, attention_mask=mask, token_type_ids=types).logits
        for scores in self._scores(logits, options.function_to_apply).tolist():
            yield self._result(scores, options.top_k)

    def _scores(self, logits: Any, function: str | None) -> Any:
        """Turn logits (texts, labels) into scores of the same shape."""
        config = self.model.config
        if function is None:
            if config.problem_type == "regression":
                function = "none"
            elif config.problem_type == "multi_label_classification" or config.num_labels == 1:
                function = "sigmoid"
            else:
                function = "softmax"
        if function == "none":
            return logits
        if function == "softmax":
            return ops.softmax(logits)
        # sigmoid(x) is the second entry of softmax([0, x]): one exp kernel for both.
        pairs = np.zeros((*logits.shape, 2), dtype=np.float32)
        pairs[..., 1] = logits
        return ops.softmax(pairs)[..., 1]

    def _result(self, scores: list[float], top_k: int | None) -> Any:
        labels = self.model.config.id2label
        ranked = [{"label": labels[index], "score": score} for index, score in enumerate(scores)]
        # The sort is stable: of equal scores the first label leads.  NaN comes first, as in an argmax, and is seen.
        ranked.sort(key=lambda entry: (entry["score"] != entry["score"], entry["score"]), reverse=True)
        return ranked[0] if top_k is BEST else ranked[:top_k]


def default_model(task: str = "text-classification") -> Path:
    """Return the folder of the model that ships with the package for a task.

    Parameters
    ----------
    task : str
        A task of :func:`pipeline`.

    Returns
    -------
    pathlib.Path
        A folder in Hugging Face's layout: config.json, vocab.txt, model.safetensors.
    """
    _check_task(task)
    return Path(__file__).parent / "models" / "sentiment"


def pipeline(
    task: str,
    model: SqueezeBert | str | os.PathLike[str] | None = None,
    *,
    tokenizer: Any = None,
    dtype: str = "float32",
    batch_size: int = 32,
    top_k: int | None = BEST,
    function_to_apply: str | None = None,
    truncation: bool | str = False,
    max_length: int | None = None,
) -> TextClassificationPipeline:
    """Make a pipeline: an object that is called with texts and returns labels.

    Parameters
    ----------
    task : str
        ``"text-classification"``, also known as ``"sentiment-analysis"``.
    model : SqueezeBert, str, path or None
        None is the model that ships with the package (English sentiment: POSITIVE, NEGATIVE).  A path is a folder in
        Hugging Face's layout; nothing is downloaded.
    tokenizer : Tokenizer, str, path or None
        None takes the vocabulary from the model's folder.  Needed where `model` is a SqueezeBert object.
    dtype : str
        Passed to ``SqueezeBert.from_pretrained``; a SqueezeBert object keeps its own.
    batch_size : int
        How many texts go through the model at once.  It changes the speed, never a result.
    top_k : int or None
        Return the `top_k` best labels of a text as a list, None returns all of them.  Left out, the result of a text is
        the best label alone.
    function_to_apply : {None, "softmax", "sigmoid", "none"}
        How logits become scores.  None decides by the model's configuration: "none" for a regression, "sigmoid" for a
        single label or a multi-label model, "softmax" otherwise.
    truncation : bool or {"longest_first", "only_first", "only_second", "do_not_truncate"}
        Whether a text longer than the model is cut at its end or is an error (False, "do_not_truncate").  The names say
        which text of a pair is cut; True is "longest_first".
    max_length : int or None
        With truncation, cut to so many tokens, [CLS] and [SEP] included, instead of the maximum of tokenizer and model.

    Returns
    -------
    TextClassificationPipeline

    Raises
    ------
    ValueError
        An unknown task or option value, or a model without a classifier.
    OSError
        A missing model folder or file.

    Examples
    --------
    >>> classify = pipeline("text-classification")
    >>> classify("a gorgeous, witty, seductive movie")[0]["label"]
    'POSITIVE'
    """
    name = _check_task(task)
    options = {
        "batch_size": batch_size,
        "top_k": top_k,
        "function_to_apply": function_to_apply,
        "truncation": truncation,
        "max_length": max_length,
    }
    _Options().updated(options)  # a wrong option should not have to wait for the model
    if model is None:
        model = default_model(name)
    if isinstance(model, str | os.PathLike):
        folder = model
        model = SqueezeBert.from_pretrained(folder, dtype=dtype, task=name)
        tokenizer = folder if tokenizer is None else tokenizer
    elif not isinstance(model, SqueezeBert):
        expected = "None, a folder or a SqueezeBert"
        raise TypeError(f"pipeline: model: expected {expected}, got {type(model).__name__}")
    if tokenizer is None:
        raise ValueError("pipeline: tokenizer: expected a Tokenizer along with a SqueezeBert object, got None")
    if isinstance(tokenizer, str | os.PathLike):
        tokenizer = Tokenizer.from_pretrained(Path(tokenizer))
    return TextClassificationPipeline(model, tokenizer, **options)


def _check_task(task: Any) -> str:
    if not isinstance(task, str) or task not in TASKS:
        raise ValueError(f"pipeline: task: expected one of {tuple(TASKS)}, got {task!r}")
    return TASKS[task]


def _check_count(name: str, value: Any, also: str = "") -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise _error(TypeError, name, f"{also}an int of at least 1", type(value).__name__)
    if not 1 <= value <= MOST:
        raise _error(ValueError, name, f"{also}an int " + ("of at least 1" if value < 1 else "below 2**31"), value)


def _error(kind: type[Exception], argument: str, expected: str, got: Any) -> Exception:
    return kind(f"text-classification: {argument}: expected {expected}, got {got}")
