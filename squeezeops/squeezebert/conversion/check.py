"""Checks a converted model completely: what loading checks, and what it leaves unread."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import chain

from squeezeops.packing import INT8, packed_size, padded
from squeezeops.squeezebert.files import safetensors, verification
from squeezeops.squeezebert.files.checks import fail_for, parse_json
from squeezeops.squeezebert.files.converted import (
    PACKED,
    REQUIRES,
    ROTATION,
    STORED,
    TOKENIZER,
    VOCABULARY,
    ConvertedFile,
    find_file,
)
from squeezeops.squeezebert.files.hub_cache import find_folder
from squeezeops.squeezebert.model.heads import HEADS
from squeezeops.squeezebert.model.squeezebert import SqueezeBert
from squeezeops.squeezebert.model.tensors import WORDS, encoder_shapes, exponent_shapes, groups_of
from squeezeops.squeezebert.model.weights import config_of
from squeezeops.squeezebert.tokenizer.tokenizer import Tokenizer

__all__ = ["Check", "check"]


@dataclass
class Check:
    """One of the checks of a file.

    Attributes
    ----------
    name : str
    what : str
        What is checked.
    number : int
        How many of that there are.
    faults : list of str
        What is wrong: "tensor: expected ..., got ...".
    """

    name: str
    what: str
    number: int = 0
    faults: list[str] = field(default_factory=list)


def check(path: str | os.PathLike[str]) -> tuple[str, list[Check]]:
    """Check a converted model.

    Parameters
    ----------
    path : str or path
        As for `SqueezeBert.from_pretrained`.

    Returns
    -------
    file : str
        The converted model that is there.
    checks : list of Check
        If the first one, "loading", finds a fault, there are no others.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is the folder of a checkpoint.
    """
    loading = Check("loading", "tensors whose names, sizes, dtypes and offsets agree with the settings")
    checks, file = [loading], find_folder(path)
    try:
        found = find_file(file)
        if found is not None:
            file, opened = found, ConvertedFile(found)
            model = SqueezeBert.from_pretrained(found)
    except ValueError as error:
        loading.faults.append(str(error).removeprefix(f"{file}: "))
        return file, checks
    if found is None:
        raise ValueError(f"{file}: expected a file that squeezeops convert wrote, got the folder of a checkpoint")
    loading.number = len(opened.tensors)
    checks += _check_tensors(opened)
    checks += [_check_vocabulary(opened, model.config.vocab_size), _check_metadata(opened)]
    return file, checks


def _check_tensors(opened: ConvertedFile) -> list[Check]:
    """Check the values of all tensors but those of the vocabulary."""
    checks = {
        "sums": Check("sums", "int8 weights with the sums that their bytes have"),
        "padding": Check("padding", "packed weights with zeros beside and after their values"),
        "values": Check("values", "tensors of finite numbers, with scales from 0 on and bytes from -127 to 127"),
    }
    assert tuple(checks) == verification.PACKED_CHECKS
    config, dtypes = config_of(opened), {stored: dtype for dtype, stored in STORED.items()}
    shapes = dict(chain(encoder_shapes(config), exponent_shapes(config)))
    for task in (opened.task, *HEADS):  # its own head first: others may have tensors of the same names
        shapes = HEADS[task].shapes(config, opened.names) | shapes
    for name, info in opened.tensors.items():
        faults: Iterable[tuple[str, str]]
        if name in VOCABULARY:
            continue
        counted = ["values"]
        if name.endswith(PACKED):
            conv = name.removesuffix(PACKED)
            dtype, groups = dtypes.get(info.dtype, ""), groups_of(conv, config)
            c_out, depth = shapes.get(f"{conv}.weight", (0, 0))[:2]
            sizes = (groups * depth, c_out, groups, dtype)
            size = padded(packed_size(groups, *sizes[:2], dtype)) if dtype and c_out else None
            if size != info.stop - info.start:  # of a head that is not loaded
                faults = [("values", f"expected a packed weight of a known head, got {info.dtype} of {info.shape}")]
            else:
                packed = memoryview(opened.mapped)[info.start : info.stop]
                faults = verification.packed_faults(packed, *sizes)
                counted += ["padding"] + ["sums"] * (dtype in INT8)
        else:
            array = safetensors.view(opened.mapped, info)
            of_values = verification.int8_table_faults if _is_int8_table(name, info) else verification.value_faults
            faults = (("values", fault) for fault in of_values(array))
        for kind in counted:
            checks[kind].number += 1
        for kind, fault in faults:
            checks[kind].faults.append(f"{name}: {fault}")
    return list(checks.values())


def _is_int8_table(name: str, info: safetensors.TensorInfo) -> bool:
    return name == WORDS and info.dtype == "I8"


def _check_vocabulary(opened: ConvertedFile, vocab_size: int) -> Check:
    """Check the vocabulary and the tokenizer's settings, which a model alone does not need."""
    result = Check("vocabulary", "tokens in order, each once, with ids of the model")
    try:
        tokenizer = Tokenizer.from_pretrained(opened.path)
    except FileNotFoundError:  # a model without texts
        if VOCABULARY.keys() & opened.tensors.keys():
            result.faults.append(f"{TOKENIZER}: expected settings for the vocabulary that is there, got none")
        return result
    except ValueError as error:
        result.faults.append(str(error).removeprefix(f"{opened.path}: "))
        return result
    result.number = len(tokenizer)
    if tokenizer.largest_id >= vocab_size:
        result.faults.append(f"expected ids below the model's vocab_size, {vocab_size}, got {tokenizer.largest_id}")
    return result


def _check_metadata(opened: ConvertedFile) -> Check:
    """Check what is for people, and what the file promises without need."""
    metadata, padding = opened.metadata, safetensors.read_padding(opened.path)
    result = Check("metadata", "texts that agree with the tensors", len(metadata))
    if padding.strip(b" "):
        result.faults.append(f"expected spaces after the header's JSON, got {padding.strip(b' ')!r:.40}")
    if opened.version == 1:
        return result
    packed = {info.dtype for name, info in opened.tensors.items() if name.endswith(PACKED)}
    if opened.rotates and STORED["int8_rotated"] not in packed:  # loading refuses the opposite
        result.faults.append(f"{REQUIRES}: expected {ROTATION!r} for rotated weights alone, got it without them")
    if metadata.get("format") != "squeezeops":
        result.faults.append(f"format: expected 'squeezeops', got {metadata.get('format')!r:.40}")
    try:
        parse_json(metadata.get("source", "").encode("utf-8", "replace"), "file", fail_for("source"))
    except ValueError as error:
        result.faults.append(str(error))
    return result
