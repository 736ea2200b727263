"""The shared part of the pipelines: options, batches, streams, and errors that name the input.

A task is a subclass of `Pipeline` with three methods: `_encode` turns an input into rows of tokens, `_forward` runs
rows through the model, and `_decode` turns the outputs of an input's rows into its result.
"""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from squeezeops.squeezebert.model.squeezebert import SqueezeBert
from squeezeops.squeezebert.tokenizer.tokenizer import Tokenizer

if TYPE_CHECKING:
    from typing_extensions import Self

    from squeezeops.literals import ModelTask

__all__ = ["Options", "Pipeline", "Row", "TextError", "TruncationOptions", "by_score"]

TRUNCATIONS = (True, False, "longest_first", "only_first", "only_second", "do_not_truncate")
COLUMNS = ("input_ids", "token_type_ids", "offset_mapping")  # what a tokenizer returns
MOST = 2**31 - 1  # the largest number that an option may be


class TextError(ValueError):
    """An input of a pipeline that cannot be answered.

    Attributes
    ----------
    task : str
        The pipeline's task.
    index : int
        The position of the input, from 0.
    problem : str
        The message without task and position.
    too_long : bool
        Whether truncation helps.
    argument : str or None
        The option that does not suit the text, if it is one.
    """

    def __init__(
        self, task: str, index: int, problem: str, too_long: bool = False, argument: str | None = None
    ) -> None:
        hint = " (truncation=True cuts it)" if too_long else ""
        super().__init__(f"{task}: text {index}: {problem}{hint}")
        self.task = task
        self.index = index
        self.problem = problem
        self.too_long = too_long
        self.argument = argument

    def __reduce__(self) -> tuple[Any, ...]:
        # By default an exception is unpickled from its message alone.
        return type(self), (self.task, self.index, self.problem, self.too_long, self.argument)


def by_score(score: float) -> tuple[bool, float]:
    """Return the sort key of a score. NaN ranks above all numbers, as in an argmax, so that it is not hidden."""
    return score != score, score


def error(kind: type[Exception], task: str, argument: str, expected: str, got: Any) -> Exception:
    """Return the exception for a bad argument, which it has as its attribute `argument`, as those of the ops do."""
    result = kind(f"{task}: {argument}: expected {expected}, got {got}")
    result.argument = argument  # type: ignore[attr-defined]
    return result


@dataclass(frozen=True)
class Options:
    """Options of a pipeline, which a call may override.

    Subclasses add fields with defaults, and extend `check`.
    """

    task: ClassVar[str] = ""
    batch_size: int = 32

    def __post_init__(self) -> None:
        self.check()

    def check(self) -> None:
        """Raise TypeError or ValueError for an invalid value; normalise the others."""
        self.check_count("batch_size")

    def updated(self, changes: Mapping[str, Any]) -> Self:
        """Return a copy with some options changed."""
        known = [field.name for field in fields(self)]
        for name in changes:
            if name not in known:
                raise TypeError(f"{self.task}: {name}: expected one of the options {', '.join(known)}")
        return replace(self, **changes)

    def error(self, kind: type[Exception], name: str, expected: str, got: Any) -> Exception:
        return error(kind, self.task, name, expected, got)

    def check_count(self, name: str, also: str = "", least: int = 1) -> None:
        """Check that an option is an int of at least `least`; convert one of NumPy."""
        value = getattr(self, name)
        if isinstance(value, bool) or not hasattr(value, "__index__"):
            raise self.error(TypeError, name, f"{also}an int of at least {least}", type(value).__name__)
        value = operator.index(value)
        self.set(name, value)
        if not least <= value <= MOST:
            bound = f"of at least {least}" if value < least else "below 2**31"
            raise self.error(ValueError, name, f"{also}an int {bound}", value)

    def check_flag(self, name: str) -> None:
        """Check that an option is a bool."""
        value = getattr(self, name)
        if not isinstance(value, bool):
            raise self.error(TypeError, name, "a bool", type(value).__name__)

    def check_choice(self, name: str, choices: Sequence[Any]) -> None:
        """Check that an option is one of some words."""
        value = getattr(self, name)
        if not isinstance(value, str) or value not in choices:
            raise self.error(ValueError, name, f"one of {tuple(choices)}", repr(value))

    def set(self, name: str, value: Any) -> None:
        """Replace an option by its normalised form; for use in `check` only."""
        object.__setattr__(self, name, value)


@dataclass(frozen=True)
class TruncationOptions(Options):
    """Options of pipelines that encode a text as one row."""

    truncation: bool | str = False
    max_length: int | None = None

    def check(self) -> None:
        super().check()
        if not isinstance(self.truncation, bool | str) or self.truncation not in TRUNCATIONS:
            raise self.error(ValueError, "truncation", f"one of {TRUNCATIONS}", self.truncation)
        if self.truncation == "do_not_truncate":
            self.set("truncation", False)
        if self.max_length is not None:
            self.check_count("max_length", "None or ")
            if not self.truncation and not self.makes_windows:
                raise self.error(ValueError, "max_length", "None, or truncation=True with it", self.max_length)

    @property
    def makes_windows(self) -> bool:
        """Whether a long text becomes several rows, so that `max_length` is valid without truncation."""
        return False


@dataclass(frozen=True)
class Row:
    """One row of tokens for the model.

    Attributes
    ----------
    ids, types : list of int
        Token ids and segment ids.
    offsets : list of (int, int)
        Span of each token in its text; (0, 0) for special tokens.
    """

    ids: list[int]
    types: list[int]
    offsets: list[tuple[int, int]]


class Pipeline(ABC):
    """A tokenizer, a model and a decoder behind one call. Made by `squeezeops.pipeline`.

    Attributes
    ----------
    model : SqueezeBert
    tokenizer : Tokenizer
    task : str
    """

    task: ClassVar[str]
    model_tasks: ClassVar[tuple[ModelTask, ...]]  # accepted tasks of models; the first is loaded by default
    options_type: ClassVar[type[Options]]
    _length: int | None = None  # that the model's folder asks for, instead of the tokenizer's
    input_types: ClassVar[str] = "a str or an iterable of str"  # for messages

    def __init__(self, model: SqueezeBert, tokenizer: Any, **options: Any) -> None:
        if model.task not in self.model_tasks:
            expected = f"a model of task {' or '.join(map(repr, self.model_tasks))}"
            raise self._error(ValueError, "model", expected, repr(model.task))
        if not callable(tokenizer):
            raise self._error(TypeError, "tokenizer", "a Tokenizer, a folder or None", type(tokenizer).__name__)
        size = model.config.vocab_size
        if isinstance(tokenizer, Tokenizer) and tokenizer.largest_id >= size:
            expected = f"ids below the model's vocab_size, {size}"
            raise self._error(ValueError, "tokenizer", expected, f"{tokenizer.largest_id}")
        self.model = model
        self.tokenizer = tokenizer
        self._options = self.options_type().updated(options)
        self._check_options(self._options)

    def __repr__(self) -> str:
        changed = [
            f"{field.name}={value!r}"
            for field in fields(self._options)
            if (value := getattr(self._options, field.name)) != field.default
        ]
        return f"{type(self).__name__}({', '.join([f'model={self.model!r}', *changed])})"

    def __call__(self, inputs: Any, **options: Any) -> Any:
        """Answer one input, a list of them, or a stream.

        Parameters
        ----------
        inputs : one input, a list or tuple of inputs, or any other iterable of them
            The class says what an input is.
        **options
            Options of the class, for this call.

        Returns
        -------
        result, list of results, or iterator
            The result of a single input; for a list or tuple a list, in input order; for any other iterable a lazy
            iterator (see `stream`).

        Raises
        ------
        TextError
            (a ValueError) For an input that is empty or too long. It has its index.
        TypeError
            For an input of another type, or an unknown option.
        """
        if isinstance(inputs, str | Mapping):
            return next(self.stream([inputs], **options))
        results = self.stream(inputs, **options)
        return list(results) if isinstance(inputs, list | tuple) else results

    def stream(self, inputs: Iterable[Any], **options: Any) -> Iterator[Any]:
        """Answer an iterable lazily; yield the results one by one, in input order.

        At most `batch_size` inputs are read ahead. A result does not depend on the other inputs of its batch (on the
        compiled backends, to the bit). Before an error of an input or of the iterable is raised, the results of all
        earlier inputs are yielded.

        Parameters
        ----------
        inputs : iterable
            See `__call__`.
        **options
            See `__call__`.

        Yields
        ------
        The result of the next input.
        """
        if isinstance(inputs, str | bytes | Mapping) or not isinstance(inputs, Iterable):
            raise self._error(TypeError, "inputs", self.input_types, type(inputs).__name__)
        changed = self._options.updated(options)
        self._check_options(changed)
        return self._stream(inputs, changed)

    def _stream(self, inputs: Iterable[Any], options: Any) -> Iterator[Any]:
        source = ((item, self._encode(index, item, options)) for index, item in enumerate(inputs))
        failure: Exception | None = None
        while failure is None:
            batch: list[tuple[Any, list[Row]]] = []
            try:
                # Not list(islice(...)): the inputs before a bad one must survive.
                for encoded in islice(source, options.batch_size):
                    batch.append(encoded)
            except Exception as error:
                failure = error
            if not batch:
                break
            outputs = self._run([row for _, rows in batch for row in rows], options)
            for item, rows in batch:
                yield self._decode(item, rows, list(islice(outputs, len(rows))), options)
        if failure is not None:
            raise failure

    def _run(self, rows: list[Row], options: Any) -> Iterator[Any]:
        """Yield what the model makes of each row, `batch_size` rows at a time."""
        for start in range(0, len(rows), options.batch_size):
            batch = rows[start : start + options.batch_size]
            width = max(len(row.ids) for row in batch)
            # The model takes the padding out again before it computes anything, so its values do not matter.
            ids = np.zeros((len(batch), width), dtype=np.int64)
            types, mask = np.zeros_like(ids), np.zeros(ids.shape, np.bool_)
            for i, row in enumerate(batch):
                n = len(row.ids)
                ids[i, :n], types[i, :n], mask[i, :n] = row.ids, row.types, True
            yield from self._forward(batch, ids, mask, types, options)

    # ---- methods of a task ----

    def _check_options(self, options: Any) -> None:  # noqa: B027 - optional
        """Check the options of a call against the model and the tokenizer."""

    def _encode(self, index: int, item: Any, options: Any) -> list[Row]:
        """Check an input and encode it as one or more rows."""
        return [self._encode_text(index, item, None, options)]

    @abstractmethod
    def _forward(self, rows: list[Row], ids: Any, mask: Any, types: Any, options: Any) -> Iterable[Any]:
        """Run a padded batch (B, L); return or yield the output of each row for `_decode`."""

    @abstractmethod
    def _decode(self, item: Any, rows: list[Row], outputs: list[Any], options: Any) -> Any:
        """Make the result of an input from the outputs of its rows."""

    # ---- helpers of tasks ----

    def _check_text(self, index: int, text: Any, name: str = "") -> None:
        """Check that a text is a str that is not blank; `name` tells several texts of an input apart."""
        what = f"{name}: " if name else ""
        if not isinstance(text, str):
            raise TypeError(f"{self.task}: text {index}: {what}expected a str, got {type(text).__name__}")
        if not text.strip():
            raise TextError(self.task, index, f"{what}expected a non-empty text, got {text!r:.40}")

    def _encode_text(self, index: int, text: Any, pair: Any, options: TruncationOptions) -> Row:
        """Encode a text or a pair of texts as one row."""
        for part in (text,) if pair is None else (text, pair):
            self._check_text(index, part)
        limits = {}
        if options.truncation:
            limits = {"truncation": options.truncation, "max_length": self._longest_row(options)}
        encoded = self._tokenize(index, text, pair, **limits)
        ids, most = encoded["input_ids"], self.model.config.max_position_embeddings
        if len(ids) > most:
            problem = f"expected at most {most} tokens, got {len(ids)}"
            raise TextError(self.task, index, problem, too_long=not options.truncation)
        if limits and len(ids) == limits["max_length"] and not any(end for _, end in encoded["offset_mapping"]):
            raise self._error(ValueError, "max_length", "room for tokens besides the special ones", len(ids))
        if not ids:  # the tokenizer adds no special tokens
            raise TextError(self.task, index, f"expected at least one token, got none of {text!r:.40}")
        return Row(ids, encoded["token_type_ids"], encoded["offset_mapping"])

    def _tokenize(self, index: int, *texts: Any, **options: Any) -> Any:
        """Call the tokenizer. What is wrong with a text, or has no row in the model, is an error of this input."""
        try:
            encoded = self.tokenizer(*texts, return_offsets_mapping=True, **options)
        except ValueError as error:
            if hasattr(error, "argument"):
                raise
            problem = str(error).removeprefix("text: ")
            argument = "truncation" if problem.startswith("truncation: ") else None
            raise TextError(self.task, index, problem, argument=argument) from None
        lacking = [key for key in COLUMNS if key not in encoded]
        if lacking:
            expected = f"a Tokenizer, or a callable whose results have {', '.join(COLUMNS)}"
            raise self._error(TypeError, "tokenizer", expected, f"none with {', '.join(lacking)}")
        rows = encoded["input_ids"]
        largest = max(chain.from_iterable(rows) if rows and isinstance(rows[0], list) else rows, default=0)
        if largest >= self.model.config.vocab_size:  # a special token that the model's vocabulary lacks
            token = self.tokenizer.convert_ids_to_tokens(largest)
            raise TextError(self.task, index, f"expected tokens of the model's vocabulary, got {token!r:.40}")
        return encoded

    def _longest_row(self, options: TruncationOptions) -> int:
        """Return the largest number of tokens of a row with truncation."""
        most = self.model.config.max_position_embeddings
        own = self._length or getattr(self.tokenizer, "max_length", None)  # another callable may have none
        return min(options.max_length or own or most, most)

    def _error(self, kind: type[Exception], argument: str, expected: str, got: Any) -> Exception:
        return error(kind, self.task, argument, expected, got)
