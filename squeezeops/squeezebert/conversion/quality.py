"""Measures what a dtype costs: the error of each convolution, and of the model's outputs.

None of this affects the results of a model.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from squeezeops import ops
from squeezeops.packing import INT8, pack_table, rotated, unpack
from squeezeops.squeezebert.model.squeezebert import SqueezeBert
from squeezeops.squeezebert.model.storage import ROWS, dtype_of, storable
from squeezeops.squeezebert.model.tensors import groups_by_part
from squeezeops.squeezebert.tokenizer.tokenizer import Tokenizer

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from squeezeops.squeezebert.model.config import SqueezeBertConfig
    from squeezeops.squeezebert.model.output import SqueezeBertOutput

__all__ = ["SENTENCES", "Agreement", "LayerError", "compare", "layer_errors", "sample", "table_error", "tokenizer_of"]

SENTENCES = (
    "The train to the coast leaves at half past seven, and it is rarely late.",
    "I have never been so bored by a film about dragons.",
    "She poured the tea, sat down by the window and read the letter twice.",
    "What a wonderful evening that was!",
    "Prices rose by 3.2 percent in March, the bank said on Tuesday.",
    "He plays the violin badly, but with great conviction.",
    "Nobody knows who built the bridge.",
    "The committee will meet in Geneva next week to discuss the new rules for fishing.",
    "It broke after two days, and the shop refused to take it back.",
    "Water boils at a lower temperature high up in the mountains.",
    "Did you remember to lock the door?",
    "An honest, funny and quietly moving story of two brothers.",
    "Where the path divides, keep to the left until you see the mill.",
    "The patient was given 40 mg twice a day without any effect.",
    "Thank you for your patience; we are looking into the problem.",
    "Not bad, not good, just long.",
    "In 1969, Margaret Hamilton stood beside a stack of code as tall as herself.",
    "Our dog is afraid of balloons, umbrellas and the postman.",
    "The second half is much better than the first.",
    "To make the dough, mix flour, salt and a little oil with warm water.",
    "Rain is expected in the north, with strong winds along the coast and snow above 800 metres during the night.",
    "Yes.",
    "If the sensor fails, the valve closes by itself within a second.",
    "They promised to call, and of course they never did.",
)
RANDOM_TOKENS = 24  # of a sample text where there is no vocabulary


@dataclass(frozen=True)
class LayerError:
    """The relative error (2-norm) of a convolution or an embedding table.

    Attributes
    ----------
    weight : float
        Error of the weights.
    output : float or None
        Error of a convolution's output on the sample texts, from exact inputs and without the bias.
    """

    weight: float
    output: float | None = None


@dataclass(frozen=True)
class Agreement:
    """How the outputs of two models compare over some texts.

    Attributes
    ----------
    what : str
        The output: "logits", "start_logits and end_logits" or "embeddings" (means of the last hidden states).
    largest : float
        The largest difference of a value.
    mean_cosine, worst_cosine : float
        Cosine of the angle between the outputs of a text, or of a token for outputs per token.
    same, of : int
        Number of outputs with the same argmax, and of all; both 0 where an argmax has no meaning.
    """

    what: str
    largest: float
    mean_cosine: float
    worst_cosine: float
    same: int
    of: int


def sample(
    tokenizer: Tokenizer | None, config: SqueezeBertConfig, texts: Sequence[str] = SENTENCES
) -> dict[str, NDArray[Any]]:
    """Return inputs of a model, [B, L]: the encoded texts, or as many rows of random tokens without a tokenizer."""
    most = config.max_position_embeddings
    if tokenizer is None:
        random = np.random.default_rng(0)
        ids = random.integers(0, config.vocab_size, (len(texts), min(RANDOM_TOKENS, most)))
        return {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    encoded = tokenizer(list(texts), truncation=True, max_length=min(tokenizer.max_length or most, most), padding=True)
    return {name: np.array(encoded[name]) for name in ("input_ids", "attention_mask", "token_type_ids")}


class Probe:
    """Stands in for a convolution of a layer, and accumulates the error of a less exact one at every call."""

    def __init__(self, conv: ops.PointwiseConv, weight: NDArray[Any], dtype: Any, looked: Callable[[], None]) -> None:
        self.conv, self.groups, self.dtype = conv, conv.groups, conv.dtype
        self.exact = ops.PointwiseConv(weight, groups=conv.groups)
        self.stored = ops.PointwiseConv(weight, groups=conv.groups, dtype=dtype)
        self.squares = np.zeros(2)  # sums of squares: of the differences, and of the exact values
        self.looked: Callable[[], None] | None = looked  # called at the first call

    def __call__(self, x: Any, **arguments: Any) -> Any:
        self.look(x)
        return self.conv(x, **arguments)

    def look(self, x: Any) -> None:
        exact, stored = (conv(x).astype(float) for conv in (self.exact, self.stored))
        self.squares += ((stored - exact) ** 2).sum(), (exact**2).sum()
        if self.looked is not None:
            self.looked()
            self.looked = None


def layer_errors(
    model: SqueezeBert,
    arrays: Mapping[str, NDArray[Any]],
    dtype: str,
    inputs: Mapping[str, NDArray[Any]],
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, LayerError]:
    """Return the errors that the encoder's convolutions have when stored in `dtype`, by their names.

    Parameters
    ----------
    model : SqueezeBert
        The exact model.
    arrays : mapping of str to ndarray
        Its tensors, under the names of `model.tensors`.
    dtype : {"float16", "int8"}
        Weights beyond the range of float16 stay float32. Convolutions that `storage.dtype_of` rotates are.
    inputs : mapping of str to ndarray
        As from `sample`.
    progress : callable, optional
        Called with the number of measured convolutions and their total.
    """
    done = 0

    def looked() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, len(probes))

    model, layers = model.encoder(), model.layers
    model.layers = []
    probes: dict[str, Probe] = {}
    fields = ("query", "key", "value", "post_attention", "intermediate", "output")
    for i, layer in enumerate(layers):
        of_layer = {}
        for part, attribute in zip(groups_by_part(model.config), fields, strict=True):
            name = f"encoder.layers.{i}.{part}"
            weight, conv = matrix(arrays[f"{name}.weight"]), getattr(layer, attribute)
            chosen, _ = dtype_of(name, dtype, weight, conv.groups)
            of_layer[attribute] = Probe(
                conv, weight, chosen if chosen == "int8_rotated" else storable(dtype, weight), looked
            )
            probes[name] = of_layer[attribute]
        plain = {name: getattr(layer, name) for name in fields[:3]}  # of `pointwise_convs`, which bypasses __call__
        model.layers.append(replace(layer, **{**of_layer, **plain}))
    states = run(model, inputs, output_hidden_states=True).hidden_states
    assert states is not None
    for i in range(len(model.layers)):
        for part in ("attention.query", "attention.key", "attention.value"):
            probes[f"encoder.layers.{i}.{part}"].look(states[i])  # padding is 0 and adds no error
    return {name: LayerError(weight_error(probe), ratio(*probe.squares)) for name, probe in probes.items()}


def matrix(weight: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(weight.reshape(weight.shape[:2]))


def weight_error(probe: Probe) -> float:
    exact, stored = (unpacked(conv) for conv in (probe.exact, probe.stored))
    return ratio(((stored - exact) ** 2).sum(), (exact**2).sum())


def table_error(table: NDArray[Any]) -> float:
    """Return the relative error of an embedding table in int8."""
    squares = np.zeros(2)
    for start in range(0, len(table), ROWS):
        exact = np.ascontiguousarray(table[start : start + ROWS], np.float32)
        rows = pack_table(*ops.quantize_rows(exact), channels=exact.shape[1])
        difference = ops.embedding(np.arange(len(rows)), rows).astype(float) - exact
        squares += (difference**2).sum(), (exact.astype(float) ** 2).sum()
    return ratio(*squares)


def unpacked(conv: ops.PointwiseConv) -> NDArray[Any]:
    """Return the weight that a convolution multiplies with, as float64."""
    values, scales = unpack(conv.packed, conv.in_channels, conv.out_channels, conv.groups, conv.dtype)
    exact = values.astype(float)
    exact = exact * scales.reshape(exact.shape[0], -1, 1) if conv.dtype in INT8 else exact
    return rotated(exact) if conv.dtype == "int8_rotated" else exact  # packing has divided by 128


def ratio(difference: float, whole: float) -> float:
    """Return the square root of the quotient of two sums of squares; 0 for 0 / 0."""
    return float(np.sqrt(difference / whole)) if whole else float(difference and np.inf)


def compare(before: SqueezeBert, after: SqueezeBert, inputs: Mapping[str, NDArray[Any]]) -> Agreement:
    """Run two models of one task on the same inputs."""
    if before.head.axes[1:2] == ("choices",):
        inputs = {name: array[:, None] for name, array in inputs.items()}  # one choice each
    outputs = run(before, inputs), run(after, inputs)
    names = [name for name in ("logits", "start_logits", "end_logits") if getattr(outputs[0], name) is not None]
    names = names or ["last_hidden_state"]
    what = "embeddings" if names == ["last_hidden_state"] else " and ".join(names)
    kept = np.asarray(inputs["attention_mask"]).astype(bool)
    exact, close = ([rows_of(getattr(output, name), kept, name) for name in names] for output in outputs)
    pairs = [(a.astype(float), b.astype(float)) for a, b in zip(exact, close, strict=True)]
    cosines = np.concatenate([cosine(a, b) for a, b in pairs])
    says = what != "embeddings" and pairs[0][0].shape[-1] > 1
    same = [a.argmax(axis=-1) == b.argmax(axis=-1) for a, b in pairs] if says else []
    return Agreement(
        what,
        float(np.max([np.abs(a - b).max(initial=0) for a, b in pairs])),  # NaN if one is
        float(cosines.mean()),
        float(cosines.min()),
        int(sum(part.sum() for part in same)),
        int(sum(part.size for part in same)),
    )


def rows_of(array: NDArray[Any], kept: NDArray[Any], name: str) -> NDArray[Any]:
    """Return an output as rows, one per text or per token without the padding."""
    if name == "last_hidden_state":
        return ops.mean_pool(array, mask=kept)
    return array[kept] if array.ndim == 3 else array  # padding is 0


def cosine(a: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]:
    """Return the cosines of the angles between rows: 1 between zero rows, 0 between a zero row and another."""
    norms = [np.linalg.norm(rows, axis=-1) for rows in (a, b)]
    both = (norms[0] == 0) & (norms[1] == 0)
    with np.errstate(invalid="ignore"):
        products, norm = (a * b).sum(axis=-1), norms[0] * norms[1]
        cosines: NDArray[Any] = np.divide(products, norm, where=norm != 0, out=both.astype(float))
    return cosines


def run(model: SqueezeBert, inputs: Mapping[str, NDArray[Any]], **options: bool) -> SqueezeBertOutput:
    types = inputs.get("token_type_ids")
    return model(inputs["input_ids"], inputs["attention_mask"], types, **options)


def tokenizer_of(path: str | os.PathLike[str]) -> Tokenizer | None:
    """Return the tokenizer of a model, or None if it has none that can be read."""
    try:
        return Tokenizer.from_pretrained(path)
    except (FileNotFoundError, ValueError):
        return None
