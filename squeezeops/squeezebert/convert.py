"""Converts a checkpoint to a model in one file, which loads without copying; `converted` reads it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from squeezeops import ops
from squeezeops._version import __version__
from squeezeops.backends._packed import LINE, packed_size
from squeezeops.backends._scalars import SCALE_BYTES
from squeezeops.squeezebert import heads, safetensors
from squeezeops.squeezebert.checkpoint import load_folder, weight_files
from squeezeops.squeezebert.converted import FORMAT, PACKED, STORED, VERSION, ConvertedFile, find_file
from squeezeops.squeezebert.hub_cache import COMMIT, find_folder
from squeezeops.squeezebert.model import SqueezeBert
from squeezeops.squeezebert.quality import LayerError, layer_errors, sample, table_error, tokenizer_of
from squeezeops.squeezebert.safetensors import DTYPES, MAX_JSON
from squeezeops.squeezebert.tables import stored_table
from squeezeops.squeezebert.tensors import (
    TOO_LARGE,
    WORDS,
    check_dtype,
    dtype_of,
    dtype_of_table,
    encoder_shapes,
    finite_max,
    groups_of,
    in_encoder,
    select_tensors,
    storable,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from squeezeops.squeezebert.config import SqueezeBertConfig

__all__ = ["Conversion", "StoredLayer", "convert"]

# What `Tokenizer.from_pretrained` reads, in a folder with the first and in one without it.
TOKENIZER_FILES = (
    ("tokenizer.json", "tokenizer_config.json"),
    ("vocab.txt", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
)
# A net below the rule of `tensors.dtype_of`: a convolution whose output is further off than this on the sample texts,
# see `quality.LayerError`, is stored in float16 though the rule has it in int8. In the built-in model none is off by
# more than 0.013; in all-MiniLM-L6-v2, of those that the rule has in int8, by more than 0.019.
MOST_ERROR = 0.02
ROWS = 4096  # of a table, looked at at a time


@dataclass
class Stored:
    """A tensor of the file to be."""

    name: str
    dtype: str  # as safetensors names it
    shape: tuple[int, ...]
    make: Callable[[], Any]  # its bytes

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64)) * DTYPES[self.dtype][0]


@dataclass(frozen=True)
class StoredLayer:
    """How a convolution, or the table of words, is stored.

    Attributes
    ----------
    dtype : str
    reason : str
        The rule that has it in another dtype than was asked for; else empty.
    error : LayerError or None
        What it would be in the dtype that was asked for; only the encoder's are measured, and a table in int8.
    """

    dtype: str
    reason: str = ""
    error: LayerError | None = None


@dataclass
class Conversion:
    """What was done.

    Attributes
    ----------
    path : str
        The file.
    dtype, task : str
    bytes_before, bytes_after : int
        Sizes of the checkpoint's weights and of the file.
    layers : dict of str to StoredLayer
        What each convolution and the table of words are stored in, by their names; of a copy, without reasons.
    rounded : dict of str to float
        For each tensor that was rounded to float16, the largest change of a value, as a part of the tensor's largest.
    """

    path: str
    dtype: str
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
    task: str | None = None,
    force: bool = False,
    measure: bool = False,
    progress: Callable[[str, int, int], None] | None = None,
) -> Conversion:
    """Write a checkpoint as a converted model.

    The file appears under its name when it is complete. The same checkpoint gives the same bytes.

    Parameters
    ----------
    checkpoint : str or path
        A folder in Hugging Face's layout, or a model's name in the local Hugging Face cache. A model that is converted
        already, to the same `dtype` and for the same task, is copied.
    path : str or path
        Of the file to write, which ends in .safetensors.
    dtype : {"float32", "float16", "int8"}
        What the model is stored and computed in, to the bits of `SqueezeBert(config, weights, dtype=dtype)`. For "int8"
        the table of words is int8 too. Other embedding tables and a masked-LM head's decoder are float16 then, and for
        "float16", unless a value is too large for it. Whatever else the checkpoint has as float16 stays so.
    task : str, optional
        The head to store; by default that of the task which the checkpoint was saved for.
    force : bool
        Whether to replace a file that is there.
    measure : bool
        Whether to measure the errors of the convolutions for "float16" too; for "int8" they always are, because a
        convolution whose output is off by more than 2 % on sample texts stays in float16 (with other bits, then).
    progress : callable, optional
        Called with "measuring", how many convolutions are measured and how many there are, and then with "writing", how
        many bytes are written, and of how many.

    Returns
    -------
    Conversion

    Raises
    ------
    FileExistsError
        If the file is there, and not `force`.
    TypeError, ValueError, OSError
        As of `SqueezeBert.from_pretrained`; for a `checkpoint` that is converted to something else, and a `path` that
        does not end in .safetensors or is one of the checkpoint's files.
    """
    check_dtype(dtype)
    target = check_target(path, force)
    folder = find_folder(checkpoint)
    found = find_file(folder)
    if found is not None:
        return copy(ConvertedFile(found), target, dtype, task, force)
    config, weights = load_folder(folder)
    if target in (os.path.realpath(os.path.join(folder, name)) for name in weight_files(folder)):
        raise ValueError(f"{os.fspath(path)}: expected a name apart from the checkpoint's, got one of its files")
    try:
        task = heads.choose_task(task, config, weights)
        shapes = heads.HEADS[task].shapes(config, weights)
        shapes |= heads.BaseHead.shapes(config, weights)  # a pooler, so that the file will do for the task "base" too
        arrays = select_tensors(config, weights, shapes)
        errors: dict[str, LayerError] = {}
        if dtype == "int8" or (measure and dtype == "float16"):
            exact, inputs = SqueezeBert(config, weights, task=task), sample(tokenizer_of(folder), config)
            report = None if progress is None else partial(progress, "measuring")
            errors = layer_errors(exact, arrays, dtype, inputs, report)
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from None
    done = Conversion(target, dtype, task)
    names = [name for name, _ in chain(encoder_shapes(config), shapes.items())]
    stored = plan(config, names, arrays, errors, done)
    texts = read_texts(folder)
    files = [*weight_files(folder), *texts]
    metadata = {
        "format": "squeezeops",
        FORMAT: str(VERSION),
        "squeezeops_version": __version__,
        "dtype": dtype,
        "task": task,
        "source": json.dumps({"name": name_of(folder, checkpoint), "sha256": {f: digest(folder, f) for f in files}}),
        **texts,
    }
    done.bytes_before = sum(os.path.getsize(os.path.join(folder, file)) for file in weight_files(folder))
    total, written = sum(entry.size for entry in stored), 0

    def data() -> Iterator[Any]:
        nonlocal written
        for entry in stored:
            yield entry.make()
            written += entry.size
            if progress is not None:
                progress("writing", written, total)

    with open_for_renaming(target, force) as file:
        safetensors.write_file(file, {e.name: (e.dtype, e.shape) for e in stored}, metadata, data())
        done.bytes_after = file.tell()
    return done


def copy(opened: ConvertedFile, target: str, dtype: str, task: str | None, force: bool) -> Conversion:
    """What there is to do where all is done."""
    if dtype != opened.dtype or task not in (None, opened.task):
        got = f"a model that is converted already, to {opened.dtype} for {opened.task}"
        opened.fail("model", f"a checkpoint to convert to {dtype}{f' for {task}' if task else ''}", got)
    if target == os.path.realpath(opened.path):
        opened.fail("model", "a name apart from that of the file to write", "the same file")
    with open_for_renaming(target, force) as file:
        file.write(opened.mapped)
    size = len(opened.mapped)
    return Conversion(target, dtype, opened.task, size, size, layers_of(opened))


def layers_of(opened: ConvertedFile) -> dict[str, StoredLayer]:
    """What a file's convolutions and its table of words are stored in; nothing is measured."""
    dtypes = {stored: dtype for dtype, stored in STORED.items()} | {"I8": "int8"}  # a table's bytes have a sign
    return {
        name.removesuffix(PACKED).removesuffix(".weight"): StoredLayer(dtypes[info.dtype])
        for name, info in opened.tensors.items()
        if (name == WORDS or name.endswith(PACKED)) and info.dtype in dtypes
    }


def check_target(path: str | os.PathLike[str], force: bool) -> str:
    """The file behind the name that is to be written."""
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"convert: path: expected a str or a path, got {type(path).__name__}")
    name = os.fsdecode(path)
    if not name.endswith(".safetensors"):
        raise ValueError(f"{name}: expected the name of a file, ending in .safetensors")
    target = os.path.realpath(name)
    if os.path.lexists(target):
        if not os.path.isfile(target):
            raise ValueError(f"{name}: expected the name of a file, got a folder or something else that is no file")
        if not force:
            raise FileExistsError(f"{name}: expected the name of a new file, got one that is there")
    elif not os.path.isdir(os.path.dirname(target)):
        raise FileNotFoundError(f"{name}: expected a name in a folder, got no folder {os.path.dirname(target)}")
    return target


@contextmanager
def open_for_renaming(target: str, force: bool) -> Iterator[IO[bytes]]:
    """Open a file that gets its name when it is complete and on the disk; after an error there is none."""
    temporary = f"{target}.{os.urandom(4).hex()}.tmp"
    file = open(temporary, "xb")  # noqa: SIM115
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if not force and os.path.lexists(target):
            raise FileExistsError(f"{target}: expected the name of a new file, got one that has appeared")
        os.replace(temporary, target)
    except BaseException:
        with suppress(FileNotFoundError):  # it has its name already
            os.unlink(temporary)
        raise
    if os.name == "posix":  # the name, too
        folder = os.open(os.path.dirname(target), os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def plan(
    config: SqueezeBertConfig,
    names: list[str],
    arrays: dict[str, NDArray[Any]],
    errors: dict[str, LayerError],
    done: Conversion,
) -> list[Stored]:
    """What the file will hold, in order: sizes that are multiples of 64 bytes first, of bytes last."""
    stored = []
    for name in names:
        array = arrays[name]
        if array.ndim == 1:
            stored.append(Stored(name, "F32", array.shape, partial(np.ascontiguousarray, array, "<f4")))
        elif name.startswith("embeddings."):
            stored.append(plan_table(name, array, done))
        else:
            conv = name.removesuffix(".weight")
            groups = groups_of(conv, config)
            done.layers[conv] = choose(conv, array, groups, errors.get(conv), done.dtype)
            stored.append(plan_conv(conv, array, groups, done.layers[conv].dtype, done))
    return sorted(stored, key=lambda entry: (entry.size % LINE != 0, -DTYPES[entry.dtype][0]))


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
    """What to store a convolution in."""
    stored, reason = dtype_of(name, dtype, array, groups)
    if not in_encoder(name) and array.dtype == np.float16:  # a head computes in float32 on either, to the same bits
        return StoredLayer("float16")
    if stored == "int8" and error is not None and not (error.output or 0) <= MOST_ERROR:  # NaN is no good error
        reason = f"in int8 its output would be off by {error.output:.3f}, more than {MOST_ERROR}"
        stored = storable("float16", array)
    return StoredLayer(stored, reason, error)


def plan_conv(name: str, array: NDArray[Any], groups: int, dtype: str, done: Conversion) -> Stored:
    c_out, depth = array.shape[:2]
    size = packed_size(groups, groups * depth, c_out, dtype)
    padded = -(-size // LINE) * LINE

    def make() -> Any:
        if dtype == "float16" and array.dtype == np.float32:
            done.rounded[f"{name}.weight"] = rounding(array)
        packed = ops.PointwiseConv(np.ascontiguousarray(array), groups=groups, dtype=dtype).packed
        return packed if size == padded else bytes(packed) + bytes(padded - size)

    return Stored(name + PACKED, STORED[dtype], (padded // DTYPES[STORED[dtype]][0],), make)


def rounding(array: NDArray[Any]) -> float:
    """The largest change of a finite value by rounding to float16, as a part of the largest finite value."""
    most = finite_max(array)
    largest = 0.0
    for start in range(0, len(array), ROWS):
        part = array[start : start + ROWS]
        change = np.abs(np.subtract(part, part.astype(np.float16), where=np.isfinite(part), out=np.zeros_like(part)))
        largest = max(largest, float(change.max(initial=0)))
    return largest / most if most else 0.0


def read_texts(folder: str) -> dict[str, str]:
    """config.json and the tokenizer's files."""
    names = next((names for names in TOKENIZER_FILES if os.path.isfile(os.path.join(folder, names[0]))), ())
    texts = {}
    for name in ("config.json", *names):
        file = os.path.join(folder, name)
        if not os.path.isfile(file):
            continue
        if os.path.getsize(file) > MAX_JSON:
            raise ValueError(f"{file}: expected at most {MAX_JSON} bytes, got {os.path.getsize(file)}")
        with open(file, "rb") as content:
            try:
                texts[name] = content.read().decode("utf-8")
            except UnicodeDecodeError as error:
                raise ValueError(f"{file}: expected UTF-8, got another byte at offset {error.start}") from None
    return texts


def name_of(folder: str, checkpoint: str | os.PathLike[str]) -> str:
    """What the source is called, without where it lies on this machine."""
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
