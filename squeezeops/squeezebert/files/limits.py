"""Limits of files that may come from anywhere. `docs/security.md` lists them.

Reading a file costs at most `MEMORY` bytes and `FACTOR` times its own size, whether it is accepted or refused. Python
objects take more than the text that they are made from: an empty list needs 2 bytes of JSON and 64 of memory. So a text
is refused by what its values would take, counted before any of them is made.
"""

from __future__ import annotations

__all__ = [
    "CONTAINER",
    "FACTOR",
    "ITEM",
    "MAX_ADDED",
    "MAX_ADDED_LENGTH",
    "MAX_DIRECTORY",
    "MAX_JSON",
    "MAX_OPCODES",
    "MAX_PICKLE",
    "MAX_PIECES",
    "MAX_RANK",
    "MAX_SHARING",
    "MAX_WORD",
    "MEMORY",
    "NAME",
    "tokens_cost",
]

MEMORY, FACTOR = 64 * 2**20, 8

MAX_JSON = 16 * 2**20  # bytes of a JSON file, of the header of a safetensors file, and of a vocab.txt
MAX_RANK = 32  # of a tensor: the limit of NumPy 1
MAX_PIECES = 64  # of a tokenizer's template, and steps of each of its sections
MAX_ADDED = 20_000  # added tokens
MAX_ADDED_LENGTH = 256  # characters of one
MAX_WORD = 256  # max_input_chars_per_word in a file: the time of a word is its third power
# A tensor takes about 30 opcodes, 150 bytes of pickle and 100 bytes of an archive's directory.
MAX_OPCODES = 400_000
MAX_PICKLE = 16 * 2**20  # bytes
MAX_DIRECTORY = 2 * 2**20  # bytes; zipfile allocates a kilobyte for each 50 of them
MAX_SHARING = 16  # largest ratio of the tensors' bytes to the file's: views add almost nothing to a file

# Bytes of memory per ":", per "[" or "{" and per "," of JSON; the most on any CPython.
NAME, CONTAINER, ITEM = 200, 96, 64


def tokens_cost(count: int, is_ascii: bool) -> int:
    """Return how many bytes a vocabulary takes: a string and a number per token, and two dicts of them."""
    slots = 1 << (3 * count // 2).bit_length()  # a power of two, at most two thirds of them used
    return (108 if is_ascii else 128) * count + 40 * slots
