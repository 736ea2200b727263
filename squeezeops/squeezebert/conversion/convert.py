"""Converts a checkpoint to a model in one file, which loads without copying; `files.converted` reads it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from squeezeops import __version__, ops
from squeezeops.packing import INT8, LINE, SCALE_BYTES, packed_size, padded
from squeezeops.squeezebert.conversion.quality import LayerError, layer_errors, sample, table_error
from squeezeops.squeezebert.files import safetensors
from squeezeops.squeezebert.files.atomic import atomic_file
from squeezeops.squeezebert.files.checkpoint import weight_files
from squeezeops.squeezebert.files.converted import (
    ATTENTION,
    EMBEDDING,
    FORMAT,
    INT8_ATTENTION,
    PACKED,
    REQUIRES,
    ROTATION,
    STORED,
    TOKENIZER,
    VERSION,
    VOCABULARY,
    ConvertedFile,
    find_file,
    pack_vocabulary,
)
from squeezeops.squeezebert.files.hub_cache import COMMIT, find_folder
from squeezeops.squeezebert.files.safetensors import DTYPES
from squeezeops.squeezebert.files.sentence_transformers import FILES, read_embedding
from squeezeops.squeezebert.model import heads
from squeezeops.squeezebert.model.equalise import equalised
from squeezeops.squeezebert.model.squeezebert import SqueezeBert
from squeezeops.squeezebert.model.storage import (
    ROWS,
    TOO_LARGE,
    attention_of,
    check_dtype,
    dtype_of,
    dtype_of_table,
    finite_max,
    storable,
    stored_table,
)
from squeezeops.squeezebert.model.tensors import (
    EXPONENTS,
    WORDS,
    encoder_shapes,
    exponent_shapes,
    groups_of,
    in_encoder,
    select_tensors,
)
from squeezeops.squeezebert.model.weights import load_folder
from squeezeops.squeezebert.tokenizer.tokenizer import Tokenizer

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from squeezeops.squeezebert.model.config import SqueezeBertConfig

__all__ = ["Conversion", "StoredLayer", "convert"]

# The files that `Tokenizer.from_pretrained` may read.
TOKENIZER_FILES = (
    "tokenizer.json",
    "vocab.txt",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
)
# A safety net below the rules of `model.storage`: a convolution whose output error on the sample texts is larger (see
# `quality.LayerError`) is stored in float16 instead of int8. The largest error is 0.013 in the built-in model, and
# 0.019 in all-MiniLM-L6-v2 among the convolutions that the rules store in int8.
MOST_ERROR = 0.02


@dataclass
class Stored:
    """A tensor of the file that is written."""

    name: str
    dtype: str  # as safetensors names it
    shape: tuple[int, ...]
    make: Callable[[], Any]  # returns its bytes

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64)) * DTYPES[self.dtype][0]


@dataclass(frozen=True)
class StoredLayer:
    """How a convolution, or the table of word embeddings, is stored.

    Attributes
    ----------
    dtype : str
        For "int8", "int8_rotated" too.
    reason : str
        Why it is not in the dtype of the conversion; empty if it is.
    error : LayerError or None
        The error in the dtype of the conversion. Measured for the encoder's convolutions and for a table in int8.
    """

    dtype: str
    reason: str = ""
    error: LayerError | None = None


@dataclass
class Conversion:
    """The result of `convert`.

    Attributes
    ----------
    path : str
        The file.
    dtype, attention, task : str
    bytes_before, bytes_after : int
        Sizes of the checkpoint's weights and of the file.
    layers : dict of str to StoredLayer
        Each convolution and the table of word embeddings, by name; without reasons and errors if the file is a copy.
    rounded : dict of str to float
        For each tensor that was rounded to float16, the largest change of a value divided by the largest magnitude.
    """

    path: str
    dtype: str
    attention: str
    task: str
    bytes_before: int = 0
    bytes_after: int = 0
    layers: dict[str, StoredLayer] = field(default_factory=dict)
    rounded: dict[str, float] = field(default_factory=dict)


def convert(
    checkpoint: str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    dtype: str = "int8",
    attention: str | None = None,
    task: str | None = None,
    force: bool = False,
    measure: bool = False,
    progress: Callable[[str, int, int], None] | None = None,
) -> Conversion:
    """Write a checkpoint as a converted model.

    The file appears under its name only when it is complete. The same checkpoint gives the same bytes.

    Parameters
    ----------
    checkpoint : str or path
        A folder in Hugging Face's layout, or a model's name in the local Hugging Face cache. A converted model of the
        same `dtype`, attention and task is copied.
    path : str or path
        The file to write; its name ends in .safetensors.
    dtype : {"float32", "float16", "int8"}
        The storage of the model, with the bits of `SqueezeBert(config, weights, dtype=dtype, attention=attention)`. For
        "int8" the word embeddings are int8, too. For "int8" and "float16", other embedding tables and a masked-LM
        head's decoder are float16 unless a value is too large. What else the checkpoint has in float16 stays in
        float16.
    attention : {"float32", "int8"}, optional
        The arithmetic of attention. Default: "int8" for the dtype "int8", else "float32"; that of a converted model.
    task : str, optional
        The head to store. Default: that of the task that the checkpoint was saved for.
    force : bool
        Whether to replace an existing file.
    measure : bool
        Whether to measure the errors of the convolutions for "float16", too. For "int8" they always are, because a
        convolution with an output error above 2 % on sample texts stays in float16 (which changes its bits).
    progress : callable, optional
        Called with "measuring", the number of measured convolutions and their total; then with "writing", the number of
        written bytes and their total.

    Returns
    -------
    Conversion

    Raises
    ------
    FileExistsError
        If the file exists, and not `force`.
    TypeError, ValueError, OSError
        As for `SqueezeBert.from_pretrained`; for a `checkpoint` that is converted to another dtype, attention or task;
        for a `path` that does not end in .safetensors or is one of the checkpoint's files.
    """
    check_dtype(dtype)
    chosen = attention_of(dtype, attention)
    target = check_target(path, force)
    folder = find_folder(checkpoint)
    found = find_file(folder)
    if found is not None:
        return copy(ConvertedFile(found), target, dtype, attention, task, force)
    config, weights = load_folder(folder)
    if target in (os.path.realpath(os.path.join(folder, name)) for name in weight_files(folder)):
        raise ValueError(
            f"{os.fspath(path)}: expected another name than those of the checkpoint's files, got one of them"
        )
    tokenizer, embedding = None, read_embedding(folder)
    with suppress(FileNotFoundError):  # a model without a vocabulary
        tokenizer = Tokenizer.from_pretrained(folder)
    try:
        task = heads.choose_task(task, config, weights)
        shapes = heads.HEADS[task].shapes(config, weights)
        shapes |= heads.BaseHead.shapes(config, weights)  # a pooler, so that the file serves the task "base", too
        arrays = select_tensors(config, weights, shapes)
        errors: dict[str, LayerError] = {}
        if dtype == "int8" or (measure and dtype == "float16"):
            exact, inputs = SqueezeBert(config, weights, task=task), sample(tokenizer, config)
            report = None if progress is None else partial(progress, "measuring")
            errors = layer_errors(exact, arrays, dtype, inputs, report)
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from None
    done = Conversion(target, dtype, chosen, task)
    names = [name for name, _ in chain(encoder_shapes(config), shapes.items())]
    if chosen == "int8":
        arrays = equalised(config, arrays)
        names += [name for name, _ in exponent_shapes(config)]
    stored = plan(config, names, arrays, errors, done)
    others = ("config.json", *TOKENIZER_FILES, *FILES)
    files = [*weight_files(folder), *(name for name in others if os.path.isfile(os.path.join(folder, name)))]
    features = [ROTATION] if any(layer.dtype == "int8_rotated" for layer in done.layers.values()) else []
    features += [INT8_ATTENTION] if chosen == "int8" else []
    metadata = {
        "format": "squeezeops",
        FORMAT: str(VERSION),
        "squeezeops_version": __version__,
        REQUIRES: " ".join(features),
        "dtype": dtype,
        "task": task,
        ATTENTION: chosen,
        "source": json.dumps({"name": name_of(folder, checkpoint), "sha256": {f: digest(folder, f) for f in files}}),
        "config.json": json.dumps(asdict(config)),
    }
    if tokenizer is not None:
        metadata[TOKENIZER] = json.dumps(tokenizer.settings())
        stored += plan_vocabulary(tokenizer.vocab)
    if embedding is not None:
        metadata[EMBEDDING] = json.dumps(embedding.to_json())
    stored = in_order(stored)
    done.bytes_before = sum(os.path.getsize(os.path.join(folder, file)) for file in weight_files(folder))
    total, written = sum(entry.size for entry in stored), 0

    def data() -> Iterator[Any]:
        nonlocal written
        for entry in stored:
            yield entry.make()
            written += entry.size
            if progress is not None:
                progress("writing", written, total)

    with atomic_file(target, replace=force) as file:
        safetensors.write_file(file, {e.name: (e.dtype, e.shape) for e in stored}, metadata, data())
        done.bytes_after = file.tell()
    return done


def copy(
    opened: ConvertedFile, target: str, dtype: str, attention: str | None, task: str | None, force: bool
) -> Conversion:
    """Copy a converted model."""
    if dtype != opened.dtype or attention not in (None, opened.attention) or task not in (None, opened.task):
        wanted = dtype + (f" with {attention} attention" if attention else "") + (f" for {task}" if task else "")
        got = f"a model that is converted already, to {opened.dtype}"
        got += f" with {opened.attention} attention for {opened.task}" if attention else f" for {opened.task}"
        opened.fail("model", f"a checkpoint to convert to {wanted}", got)
    if target == os.path.realpath(opened.path):
        opened.fail("model", "a file other than the one to write", "the same file")
    with atomic_file(target, replace=force) as file:
        file.write(opened.mapped)
    size = len(opened.mapped)
    return Conversion(target, dtype, opened.attention, opened.task, size, size, layers_of(opened))


def layers_of(opened: ConvertedFile) -> dict[str, StoredLayer]:
    """Return how a file stores its convolutions and its table of word embeddings; measure nothing."""
    dtypes = {stored: dtype for dtype, stored in STORED.items()}
    return {
        name.removesuffix(PACKED).removesuffix(".weight"): StoredLayer(
            "int8" if name == WORDS and info.dtype == "I8" else dtypes[info.dtype]
        )
        for name, info in opened.tensors.items()
        if (name == WORDS or name.endswith(PACKED)) and info.dtype in dtypes
    }


def check_target(path: str | os.PathLike[str], force: bool) -> str:
    """Check the name of the file to write; return its path without links."""
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"convert: path: expected a str or a path, got {type(path).__name__}")
    name = os.fsdecode(path)
    if not name.endswith(".safetensors"):
        raise ValueError(f"{name}: expected the name of a file, ending in .safetensors")
    target = os.path.realpath(name)
    if os.path.lexists(target):
        if not os.path.isfile(target):
            raise ValueError(f"{name}: expected the name of a file, got a folder or a special file")
        if not force:
            raise FileExistsError(f"{name}: expected the name of a new file, got one that exists")
    elif not os.path.isdir(os.path.dirname(target)):
        raise FileNotFoundError(f"{name}: expected a name in a folder, got no folder {os.path.dirname(target)}")
    return target


def plan(
    config: SqueezeBertConfig,
    names: list[str],
    arrays: dict[str, NDArray[Any]],
    errors: dict[str, LayerError],
    done: Conversion,
) -> list[Stored]:
    """Return the model's tensors of the file."""
    stored = []
    for name in names:
        array = arrays[name]
        if name.endswith(EXPONENTS):
            stored.append(Stored(name, "I8", array.shape, partial(np.ascontiguousarray, array)))
        elif array.ndim == 1:
            stored.append(Stored(name, "F32", array.shape, partial(np.ascontiguousarray, array, "<f4")))
        elif name.startswith("embeddings."):
            stored.append(plan_table(name, array, done))
        else:
            conv = name.removesuffix(".weight")
            groups = groups_of(conv, config)
            done.layers[conv] = choose(conv, array, groups, errors.get(conv), done.dtype)
            stored.append(plan_conv(conv, array, groups, done.layers[conv].dtype, done))
    return stored


def in_order(stored: list[Stored]) -> list[Stored]:
    """Sort tensors: sizes that are multiples of 64 bytes first, then by size of an element, so that all are aligned."""
    return sorted(stored, key=lambda entry: (entry.size % LINE != 0, -DTYPES[entry.dtype][0]))


def plan_vocabulary(vocab: Mapping[str, int]) -> list[Stored]:
    parts = pack_vocabulary(vocab)
    return [
        Stored(name, dtype, (len(parts[name]) // DTYPES[dtype][0],), partial(bytes, parts[name]))
        for name, dtype in VOCABULARY.items()
    ]


def plan_table(name: str, array: NDArray[Any], done: Conversion) -> Stored:
    dtype = dtype_of_table(name, done.dtype, array)
    if name == WORDS:
        error = LayerError(table_error(array)) if dtype == "int8" else None
        reason = TOO_LARGE if done.dtype == "float16" and dtype == "float32" else ""
        done.layers[name.removesuffix(".weight")] = StoredLayer(dtype, reason, error)

    def make() -> Any:
        if dtype == "float16" and array.dtype == np.float32:
            done.rounded[name] = rounding(array)
        return stored_table(name, array, done.dtype)

    if dtype == "int8":
        return Stored(name, "I8", (array.shape[0], array.shape[1] + SCALE_BYTES), make)
    return Stored(name, STORED[dtype], array.shape, make)


def choose(name: str, array: NDArray[Any], groups: int, error: LayerError | None, dtype: str) -> StoredLayer:
    """Choose the dtype of a convolution."""
    stored, reason = dtype_of(name, dtype, array, groups)
    if not in_encoder(name) and array.dtype == np.float16:  # a head computes in float32 from either, with equal bits
        return StoredLayer("float16")
    if stored in INT8 and error is not None and not (error.output or 0) <= MOST_ERROR:  # NaN is too large, too
        reason = f"in int8 its output would be off by {error.output:.3f}, more than {MOST_ERROR}"
        stored = storable("float16", array)
    return StoredLayer(stored, reason, error)


def plan_conv(name: str, array: NDArray[Any], groups: int, dtype: Any, done: Conversion) -> Stored:
    c_out, depth = array.shape[:2]
    size = packed_size(groups, groups * depth, c_out, dtype)

    def make() -> Any:
        if dtype == "float16" and array.dtype == np.float32:
            done.rounded[f"{name}.weight"] = rounding(array)
        packed = ops.PointwiseConv(np.ascontiguousarray(array), groups=groups, dtype=dtype).packed
        return packed if size == padded(size) else bytes(packed) + bytes(padded(size) - size)

    return Stored(name + PACKED, STORED[dtype], (padded(size) // DTYPES[STORED[dtype]][0],), make)


def rounding(array: NDArray[Any]) -> float:
    """Return the largest change of a finite value by rounding to float16, relative to the largest finite value."""
    most = finite_max(array)
    largest = 0.0
    for start in range(0, len(array), ROWS):
        part = array[start : start + ROWS]
        change = np.abs(np.subtract(part, part.astype(np.float16), where=np.isfinite(part), out=np.zeros_like(part)))
        largest = max(largest, float(change.max(initial=0)))
    return largest / most if most else 0.0


def name_of(folder: str, checkpoint: str | os.PathLike[str]) -> str:
    """Return the name of the source, without its path on this machine."""
    given = os.fsdecode(checkpoint)
    if COMMIT.fullmatch(os.path.basename(folder)) and not os.path.exists(given):
        return f"{given}@{os.path.basename(folder)}"
    return os.path.basename(os.path.realpath(folder))


def digest(folder: str, name: str) -> str:
    with open(os.path.join(folder, name), "rb") as file:
        total = hashlib.sha256()
        while chunk := file.read(1 << 20):
            total.update(chunk)
    return total.hexdigest()
