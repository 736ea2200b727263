"""Vectors for whole texts, to compare and search them by: ``pipeline("feature-extraction")``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, overload

import numpy as np

from squeezeops import ops
from squeezeops.pipelines.base import Pipeline, Row, TextError, TruncationOptions
from squeezeops.squeezebert.files.sentence_transformers import POOLINGS, EmbeddingSettings, are_poolings
from squeezeops.squeezebert.model.squeezebert import SqueezeBert
from squeezeops.squeezebert.tokenizer.tokenizer import Tokenizer

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from typing_extensions import Self, Unpack

    from squeezeops.pipelines import types

    Floats = NDArray[np.float32]

__all__ = ["FeatureExtractionPipeline"]


@dataclass(frozen=True)
class FeatureExtractionOptions(TruncationOptions):
    task: ClassVar[str] = "feature-extraction"
    truncation: bool | str | None = None  # type: ignore[assignment]  # None until the model decides
    pooling: str | tuple[str, ...] = ("mean",)
    normalize: bool = True
    prompt: str | None = None
    prompt_name: str | None = None
    include_prompt: bool = True

    def check(self) -> None:
        undecided = self.truncation is None
        if undecided:
            self.set("truncation", True)
        super().check()
        if undecided:
            self.set("truncation", None)
        names = (self.pooling,) if isinstance(self.pooling, str) else self.pooling
        if not are_poolings(names):
            raise self.error(ValueError, "pooling", f"one or several of {POOLINGS}, each once", repr(self.pooling))
        self.set("pooling", tuple(names))
        self.check_flag("normalize")
        self.check_flag("include_prompt")
        for name in ("prompt", "prompt_name"):
            value = getattr(self, name)
            if not isinstance(value, str | None):
                raise self.error(TypeError, name, "None or a str", type(value).__name__)
        if self.prompt is not None and self.prompt_name is not None:
            raise self.error(ValueError, "prompt_name", "None with a prompt", repr(self.prompt_name))

    def updated(self, changes: Mapping[str, Any]) -> Self:
        for name, other in (("prompt", "prompt_name"), ("prompt_name", "prompt")):
            if name in changes:  # it replaces the other one
                changes = {other: None, **changes}
        return super().updated(changes)


class FeatureExtractionPipeline(Pipeline):
    """One vector for each text.

    An input is a str. The result is one float32 array: (n, C) for a list or tuple of n texts, (1, C) for a single str,
    where C is the model's ``hidden_size`` times the number of poolings. A stream yields arrays (C,).

    A folder with ``modules.json`` gives the embeddings of the package sentence-transformers: its files decide about
    pooling, norm, prompts, lower-casing and the length that texts are cut to, unless an option does. So does a file
    that was converted from such a folder. For any other model, the vector of a text is the mean of the last hidden
    states of its tokens, [CLS] and [SEP] included, divided by its 2-norm, so the dot product of two vectors is the
    cosine of their angle.

    The pipeline of the same name in transformers does not pool. Its hidden states are the ``last_hidden_state`` of
    `SqueezeBert` here. The model may have any task but "multiple-choice". Its head is not used.

    Parameters
    ----------
    model : SqueezeBert
    tokenizer : Tokenizer
        Made to lower-case texts if the folder asks for that. Another callable is used as it is.
    batch_size : int
        Texts per forward pass (32). Affects speed, not results.
    pooling : {"cls", "max", "mean"}, or a tuple or list of those
        The last hidden state of the first token, [CLS]; the largest value of each channel; the mean. Several are
        concatenated in this order. Default: the folder's, else "mean".
    normalize : bool
        Whether to divide by the norm. Default: the folder's, else True.
    prompt : str or None
        A text to put before each text. None: that of `prompt_name`.
    prompt_name : str or None
        The name of one of the folder's prompts. None: the folder's default, if it has one.
    include_prompt : bool
        Whether the tokens of a prompt take part in pooling. Default: the folder's, else True.
    truncation : bool or {"longest_first", "only_first", "only_second", "do_not_truncate"}
        Whether a text that is too long for the model is cut at its end; otherwise (False or "do_not_truncate") it is an
        error. Default: True for a folder with ``modules.json``, else False.
    max_length : int or None
        With truncation, the length to cut to, [CLS] and [SEP] included. None: the folder's, else the maximum of
        tokenizer and model.
    """

    task = "feature-extraction"
    model_tasks = ("base", "masked-lm", "text-classification", "token-classification", "question-answering")
    options_type = FeatureExtractionOptions
    _options: FeatureExtractionOptions

    def __init__(self, model: SqueezeBert, tokenizer: Any, **options: Any) -> None:
        if isinstance(model.embedding, Exception):
            raise model.embedding
        self._truncates = model.embedding is not None
        self._settings = settings = model.embedding or EmbeddingSettings()
        self._length = settings.max_length
        if settings.lower_case and isinstance(tokenizer, Tokenizer):
            tokenizer = tokenizer.lowercased()
        own = {name: getattr(settings, name) for name in ("pooling", "normalize", "include_prompt")}
        super().__init__(model, tokenizer, **{**own, **options})

    @overload  # type: ignore[override]
    def __call__(  # type: ignore[overload-overlap]
        self, inputs: str | list[str] | tuple[str, ...], **options: Unpack[types.FeatureExtractionOptions]
    ) -> Floats: ...
    @overload
    def __call__(
        self, inputs: Iterable[str], **options: Unpack[types.FeatureExtractionOptions]
    ) -> Iterator[Floats]: ...
    def __call__(self, inputs: Any, **options: Any) -> Any:
        result = super().__call__(inputs, **options)
        if not isinstance(inputs, str | list | tuple):
            return result
        return np.array(result, np.float32).reshape(-1, self.channels(**options))  # (0, C) for an empty list

    __call__.__doc__ = Pipeline.__call__.__doc__

    def channels(self, **options: Any) -> int:
        """Return the size of a vector.

        Parameters
        ----------
        **options
            As for a call.
        """
        return self.model.config.hidden_size * len(self._options.updated(options).pooling)

    def _check_options(self, options: FeatureExtractionOptions) -> None:
        if options.truncation is None:
            options.set("truncation", self._truncates)
            options.check()  # max_length needs truncation
        name, prompts = options.prompt_name, self._settings.prompts
        if name is not None and name not in prompts:
            expected = (
                f"one of the model's prompts, {tuple(prompts)}" if prompts else "None for a model without prompts"
            )
            raise self._error(ValueError, "prompt_name", expected, repr(name))

    def _prompt(self, options: FeatureExtractionOptions) -> str:
        if options.prompt is not None:
            return options.prompt
        name = self._settings.default_prompt_name if options.prompt_name is None else options.prompt_name
        return "" if name is None else self._settings.prompts[name]

    def _encode(self, index: int, item: Any, options: FeatureExtractionOptions) -> list[Row]:
        self._check_text(index, item)
        row = self._encode_text(index, self._prompt(options) + item, None, options)
        if len(row.ids) <= self._excluded(options):  # no [SEP] either
            raise TextError(self.task, index, f"expected tokens besides those of the prompt, got {item!r:.40}")
        return [row]

    def _excluded(self, options: FeatureExtractionOptions) -> int:
        """Return the number of tokens at the begin of each row that do not take part in pooling."""
        prompt = self._prompt(options)
        if options.include_prompt or not prompt:
            return 0
        # As in sentence-transformers: the prompt is encoded on its own, and [SEP] at its end does not count.
        limits = {"truncation": options.truncation, "max_length": self._longest_row(options)}
        ids = self.tokenizer(prompt, **(limits if options.truncation else {}))["input_ids"]
        return len(ids) - (bool(ids) and ids[-1] == getattr(self.tokenizer, "sep_token_id", None))

    def _forward(
        self, rows: list[Row], ids: Any, mask: Any, types: Any, options: FeatureExtractionOptions
    ) -> Iterator[Floats]:
        states = self.model.encoder()(ids, mask, types).last_hidden_state  # [B, L, C]
        assert states is not None
        first = self._excluded(options)
        mask[:, :first] = False
        pooled = []
        for name in options.pooling:
            if name == "cls":
                x = states[:, first].copy()  # [B, L, C] -> [B, C]
            elif name == "max":
                ends = [len(row.ids) for row in rows]
                # Adding 0 makes -0 to 0: which of the two a maximum returns depends on the instruction set.
                x = np.array([state[first:end].max(axis=0) for state, end in zip(states, ends, strict=True)]) + 0
            else:
                x = ops.mean_pool(states, mask=mask)  # [B, L, C] -> [B, C]
            pooled.append(x)
        x = np.concatenate(pooled, axis=1) if len(pooled) > 1 else pooled[0]
        if options.normalize:
            x = ops.l2_normalize(x)  # [B, C]
        yield from x

    def _decode(self, item: str, rows: list[Row], outputs: list[Floats], options: FeatureExtractionOptions) -> Floats:
        vector: Floats = outputs[0].copy()  # a view would keep the whole batch alive
        return vector
