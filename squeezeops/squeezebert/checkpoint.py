"""Reads a model folder as Hugging Face writes it: ``config.json`` and ``model.safetensors``.

A safetensors file is an 8-byte little-endian length n, then n bytes of JSON that give each tensor's dtype, shape and
byte range, then the bytes. The header may come from anywhere, so every number in it is checked against the file's size
before anything is built from it; no value of a tensor is read. Only ``read_tensors`` imports NumPy.

Format: https://huggingface.co/docs/safetensors (the checks are those of its reference reader, and a limit on the rank).
"""

from __future__ import annotations

import json
import math
import mmap
import os
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, NoReturn

from squeezeops.squeezebert.config import SqueezeBertConfig

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["TensorInfo", "load_folder", "read_header", "read_tensors"]

MAX_HEADER = 100_000_000  # bytes; the reference reader's limit
MAX_RANK = 32  # NumPy 1's limit, far more than any tensor has
# safetensors' name of a dtype: bytes of an element, NumPy's name (None: NumPy has none)
DTYPES: dict[str, tuple[int, str | None]] = {
    "BOOL": (1, "?"),
    "U8": (1, "u1"),
    "I8": (1, "i1"),
    "U16": (2, "<u2"),
    "I16": (2, "<i2"),
    "F16": (2, "<f2"),
    "BF16": (2, None),
    "U32": (4, "<u4"),
    "I32": (4, "<i4"),
    "F32": (4, "<f4"),
    "U64": (8, "<u8"),
    "I64": (8, "<i8"),
    "F64": (8, "<f8"),
}


@dataclass(frozen=True)
class TensorInfo:
    """Where a tensor lies in its file.

    Attributes
    ----------
    dtype : str
        As safetensors names it ("F32", "F16", "BF16", ...).
    shape : tuple of int
    start, stop : int
        Byte range, counted from the beginning of the file.
    """

    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


def read_header(path: str | os.PathLike[str]) -> tuple[dict[str, TensorInfo], dict[str, str]]:
    """Read and check the header of a safetensors file.

    Returns
    -------
    tensors : dict of str to TensorInfo
        In the order of their bytes in the file.
    metadata : dict of str to str
        The header's ``__metadata__`` (empty where there is none).

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is cut short, has bytes left over, or its header contradicts itself or the file's size; the message
        names the file, the tensor, what was expected and what was found.
    """
    with open_file(path) as file:
        return parse_header(file, os.fspath(path))


def read_tensors(path: str | os.PathLike[str]) -> dict[str, NDArray[Any]]:
    """Map all tensors of a safetensors file into memory.

    Returns
    -------
    dict of str to ndarray
        Read-only views of the mapped file, whose pages are read on first use and shared between processes: float32,
        float16 and the integer types as they are. BF16 has no NumPy dtype: such a tensor is widened into a float32
        array of its own (exactly: bfloat16 is the upper half of a float32). So is a copy made of a tensor that does not
        lie on a multiple of its element size; files written by the safetensors library have none.

    Raises
    ------
    FileNotFoundError, ValueError
        As for `read_header`.

    Notes
    -----
    Replace a file that may be in use by renaming a new one over it. Cutting it short in place takes the pages away from
    under the arrays, and the operating system ends a process that touches them.
    """
    import numpy as np

    with open_file(path) as file:
        tensors, _ = parse_header(file, os.fspath(path))
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)  # lives on in the arrays' ``base``
    return {name: view(np, mapped, info) for name, info in tensors.items()}


def load_folder(path: str | os.PathLike[str]) -> tuple[SqueezeBertConfig, dict[str, NDArray[Any]]]:
    """Read the configuration and map the tensors of a local model folder. Nothing is downloaded.

    Raises
    ------
    FileNotFoundError
        If the folder, its ``config.json`` or its ``model.safetensors`` is missing; says what lies there instead.
    ValueError
        If one of the two files is not what it should be.
    """
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"from_pretrained: path: expected a str or a path, got {type(path).__name__}")
    folder = os.fspath(path)
    if not os.path.isdir(folder):
        got = "a file" if os.path.exists(folder) else "no such folder (models are not downloaded by name)"
        raise FileNotFoundError(f"{folder}: expected a folder with config.json and model.safetensors, got {got}")
    config = SqueezeBertConfig.from_json(os.path.join(folder, "config.json"))
    weights = os.path.join(folder, "model.safetensors")
    if not os.path.exists(weights):
        raise FileNotFoundError(f"{folder}: expected model.safetensors, got {describe_other_weights(folder)}")
    return config, read_tensors(weights)


def check_dtype(dtype: object) -> None:
    if dtype != "float32":
        raise ValueError(f"SqueezeBert: dtype: expected 'float32', got {dtype!r}")


def check_arguments(config: object, weights: object, dtype: object) -> None:
    """Check the arguments of ``SqueezeBert(config, weights, dtype=dtype)`` as far as their types go."""
    check_dtype(dtype)
    if not isinstance(config, SqueezeBertConfig):
        raise TypeError(f"SqueezeBert: config: expected a SqueezeBertConfig, got {type(config).__name__}")
    if not isinstance(weights, Mapping):
        raise TypeError(f"SqueezeBert: weights: expected a dict of arrays, got {type(weights).__name__}")
    for name in weights:
        if not isinstance(name, str):
            raise TypeError(f"SqueezeBert: weights: expected names as keys, got {name!r}")


def describe_other_weights(folder: str) -> str:
    """What a folder without ``model.safetensors`` holds in its place, and what to do about it."""
    if os.path.exists(os.path.join(folder, "pytorch_model.bin")):
        return (
            "only pytorch_model.bin, which is not supported yet. Where torch and safetensors are installed, this "
            "Python code converts it: "
            "import torch, safetensors.torch; "
            "weights = torch.load('pytorch_model.bin', map_location='cpu', weights_only=True); "
            "weights = {name: tensor.clone().contiguous() for name, tensor in weights.items()}; "
            "safetensors.torch.save_file(weights, 'model.safetensors')"
        )
    if os.path.exists(os.path.join(folder, "model.safetensors.index.json")):
        return "a checkpoint split into several files, which is not supported: save it as one"
    return "no weights"


# ---- the safetensors header ----------------------------------------------------------------------------------------


def open_file(path: str | os.PathLike[str]) -> IO[bytes]:
    try:
        return open(path, "rb")
    except FileNotFoundError:
        raise FileNotFoundError(f"{os.fspath(path)}: expected a safetensors file, got no such file") from None


def parse_header(file: IO[bytes], path: str) -> tuple[dict[str, TensorInfo], dict[str, str]]:
    def fail(what: str, expected: object, got: object) -> NoReturn:
        raise ValueError(f"{path}: {what}: expected {expected}, got {got}")

    size = os.fstat(file.fileno()).st_size
    if size < 8:
        fail("file", "at least 8 bytes", size)
    length = int.from_bytes(file.read(8), "little")
    if length > MAX_HEADER:
        fail("header length", f"at most {MAX_HEADER} bytes", length)
    if length > size - 8:
        fail("header length", f"at most the {size - 8} bytes that follow it", length)
    header = parse_json(file.read(length), fail)
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        fail("__metadata__", "an object that maps strings to strings", reprlib.repr(metadata))

    begin = 8 + length
    tensors = {name: parse_tensor(name, entry, begin, size, fail) for name, entry in header.items()}
    tensors = dict(sorted(tensors.items(), key=lambda item: (item[1].start, item[1].stop)))
    position = begin
    for name, info in tensors.items():  # the tensors tile the rest of the file: no overlap, no hole, nothing left over
        if info.start != position:
            relation = "overlaps the tensor before it" if info.start < position else "leaves a hole before it"
            fail(quote(name), f"data_offsets from {position - begin}", f"{info.start - begin} ({relation})")
        position = info.stop
    if position != size:
        fail("file", f"{position} bytes (header and tensors)", size)
    return tensors, metadata


def parse_json(text: bytes, fail: Callable[[str, object, object], NoReturn]) -> dict[str, Any]:
    """The header's JSON object. json alone would keep the last of two equal keys, and accept NaN for a number."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        entries = dict(pairs)
        if len(entries) != len(pairs):
            seen: set[str] = set()
            repeated = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
            fail("header", "every key once", f"{quote(repeated)} twice")
        return entries

    if text[:1] != b"{":
        fail("header", "a JSON object that begins with '{'", reprlib.repr(text[:20]))
    try:
        decoded = text.decode("utf-8")
    except UnicodeDecodeError as error:
        fail("header", "UTF-8", f"byte {text[error.start]:#04x} at offset {error.start}")
    try:
        # A long numeral stays a string: int() takes quadratic time, and the value is out of every range anyway.
        header = json.loads(
            decoded, object_pairs_hook=unique, parse_int=lambda text: int(text) if len(text) < 24 else text
        )
    except json.JSONDecodeError as error:
        fail("header", "JSON", f"{error.msg} at offset {error.pos}")
    except RecursionError:
        fail("header", "JSON", "values nested too deeply")
    return dict(header)


def parse_tensor(
    name: str, entry: object, begin: int, file_size: int, fail: Callable[[str, object, object], NoReturn]
) -> TensorInfo:
    """One tensor's entry, checked by itself and against the size of the file."""
    if not isinstance(entry, dict) or not entry.keys() >= {"dtype", "shape", "data_offsets"}:
        fail(quote(name), "an object with dtype, shape and data_offsets", reprlib.repr(entry))
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        fail(f"{quote(name)}: dtype", f"one of {', '.join(DTYPES)}", reprlib.repr(dtype))
    if not is_sizes(shape) or len(shape) > MAX_RANK:
        fail(f"{quote(name)}: shape", f"a list of at most {MAX_RANK} integers from 0 to 2**63 - 1", reprlib.repr(shape))
    if not is_sizes(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        fail(f"{quote(name)}: data_offsets", "two integers, begin <= end", reprlib.repr(offsets))
    start, stop = begin + offsets[0], begin + offsets[1]
    if stop > file_size:
        fail(f"{quote(name)}: data_offsets", f"an end of at most {file_size - begin}", offsets[1])
    nbytes = math.prod(shape) * DTYPES[dtype][0]
    if stop - start != nbytes:
        fail(f"{quote(name)}: data_offsets", f"{nbytes} bytes for {dtype} {shape}", f"{stop - start} ({offsets})")
    # An empty tensor matches no bytes whatever its other sizes, but NumPy refuses sizes like 0 x 2**62.
    if math.prod(size for size in shape if size) * DTYPES[dtype][0] >= 2**63:
        fail(f"{quote(name)}: shape", "a product, zeros aside, below 2**63 bytes", shape)
    return TensorInfo(dtype, tuple(shape), start, stop)


def is_sizes(value: object) -> bool:
    # type() and not isinstance(): true and false are integers to Python
    return isinstance(value, list) and all(type(item) is int and 0 <= item < 2**63 for item in value)


def quote(name: str) -> str:
    """A tensor's name for a message: escaped, and cut if a hostile file made it long."""
    return repr(name) if len(name) <= 120 else repr(name[:117] + "...")


def view(numpy: Any, mapped: mmap.mmap, info: TensorInfo) -> NDArray[Any]:
    array: NDArray[Any]
    itemsize, dtype = DTYPES[info.dtype]
    count = (info.stop - info.start) // itemsize
    if count == 0:  # frombuffer takes no empty buffer
        array = numpy.zeros(info.shape, dtype or "<f4")
    elif dtype is None:
        half = numpy.frombuffer(mapped, "<u2", count, info.start).astype("<u4")
        array = numpy.left_shift(half, 16, out=half).view("<f4").reshape(info.shape)
    else:
        array = numpy.frombuffer(mapped, dtype, count, info.start).reshape(info.shape)
        if not array.flags.aligned:
            array = array.copy()
    array.flags.writeable = False
    return array


# ---- the tensors of a model ----------------------------------------------------------------------------------------

Shape = tuple[int, ...]
BUFFERS = ("embeddings.position_ids",)  # stale buffers that older versions of transformers saved
HEADS = ("cls.", "classifier.", "qa_outputs.")  # how the names of the heads' tensors begin; they have no other prefix


def encoder_shapes(config: SqueezeBertConfig) -> dict[str, Shape]:
    """Names and shapes of the embeddings' and the encoder's tensors, without the prefix ``transformer.``.

    Convolutions have (C_out, C_in / groups, 1); `select_tensors` accepts them without the last axis too.
    """
    c, inner = config.hidden_size, config.intermediate_size
    shapes: dict[str, Shape] = {
        "embeddings.word_embeddings.weight": (config.vocab_size, c),
        "embeddings.position_embeddings.weight": (config.max_position_embeddings, c),
        "embeddings.token_type_embeddings.weight": (config.type_vocab_size, c),
        "embeddings.LayerNorm.weight": (c,),
        "embeddings.LayerNorm.bias": (c,),
    }
    convolutions = {
        "attention.query": (c, c, config.q_groups),
        "attention.key": (c, c, config.k_groups),
        "attention.value": (c, c, config.v_groups),
        "post_attention.conv1d": (c, c, config.post_attention_groups),
        "intermediate.conv1d": (inner, c, config.intermediate_groups),
        "output.conv1d": (c, inner, config.output_groups),
    }
    for i in range(config.num_hidden_layers):
        for name, (c_out, c_in, groups) in convolutions.items():
            shapes[f"encoder.layers.{i}.{name}.weight"] = (c_out, c_in // groups, 1)
            shapes[f"encoder.layers.{i}.{name}.bias"] = (c_out,)
        for name in ("post_attention.layernorm", "output.layernorm"):
            shapes[f"encoder.layers.{i}.{name}.weight"] = (c,)
            shapes[f"encoder.layers.{i}.{name}.bias"] = (c,)
    return shapes


def select_tensors(weights: Mapping[str, NDArray[Any]], shapes: Mapping[str, Shape]) -> dict[str, NDArray[Any]]:
    """Pick the tensors of `shapes` from a checkpoint's, and check them.

    Parameters
    ----------
    weights : mapping of str to ndarray
        Under Hugging Face's names. If one of them begins with ``transformer.`` the checkpoint is one of a model with a
        head, and all but the head's must; a base model that was saved on its own has no such prefix.
    shapes : mapping of str to tuple of int
        Names, without the prefix, and shapes. The last axis of a (C_out, C_in / groups, 1) may be left out.

    Returns
    -------
    dict of str to ndarray
        Under the names of `shapes`.

    Raises
    ------
    TypeError
        If a weight is no NumPy array.
    ValueError
        One for all that is wrong: every missing tensor, every unknown one, every one of the wrong shape or dtype (only
        float32 and float16 will do). Tensors of heads that `shapes` does not ask for are not unknown.
    """
    prefix = "transformer." if any(name.startswith("transformer.") for name in weights) else ""
    names = {name: name if name.startswith(HEADS) else prefix + name for name in shapes}  # ours to the checkpoint's
    faults = []
    for label, array in weights.items():
        if not hasattr(array, "__array_interface__"):  # a list, or another library's tensor
            raise TypeError(f"checkpoint: {label}: expected a NumPy array, got {type(array).__name__}")
    for name, shape in shapes.items():
        label = names[name]
        if label not in weights:
            faults.append(f"missing: {label} {shape}")
            continue
        array = weights[label]
        if array.shape != shape and not (len(shape) == 3 and array.shape == shape[:-1]):
            faults.append(f"wrong shape: {label}: expected {shape}, got {array.shape}")
        elif array.dtype.str not in ("<f4", "<f2"):
            faults.append(f"wrong dtype: {label}: expected float32 or float16, got {array.dtype}")
    unused = tuple(head for head in (*HEADS, "pooler.") if not any(name.startswith(head) for name in shapes))
    known = set(names.values())
    for label in weights:
        if label not in known and not label.removeprefix("transformer.").startswith((*unused, *BUFFERS)):
            faults.append(f"unknown: {label}")
    if faults:
        differences = f"{len(faults)} difference{'s' if len(faults) > 1 else ''}"
        raise ValueError(
            f"checkpoint: expected the tensors that the configuration describes, got {differences}:\n  "
            + "\n  ".join(faults)
        )
    return {name: weights[label] for name, label in names.items()}
