"""Batches of rows of similar length, and files that are written whole."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch


def length_batches(lengths: np.ndarray, tokens: int, most: int, rng: np.random.Generator | None) -> list[np.ndarray]:
    """Split rows into batches of similar length, of at most `tokens` padded tokens and `most` rows.

    With a generator the batches are random: rows are shuffled, then sorted by length within large pools, and the
    batches are shuffled. Without one, all rows are sorted by length.
    """
    rows = np.arange(len(lengths)) if rng is None else rng.permutation(len(lengths))
    pool = len(rows) if rng is None else 64 * most
    batches = []
    for start in range(0, len(rows), pool):
        part = rows[start : start + pool]
        part = part[np.argsort(lengths[part], kind="stable")]
        batch: list[int] = []
        for row in part:
            if batch and (len(batch) == most or (len(batch) + 1) * int(lengths[row]) > tokens):
                batches.append(np.array(batch))
                batch = []
            batch.append(row)
        batches.append(np.array(batch))
    if rng is not None:
        rng.shuffle(batches)  # type: ignore[arg-type]
    return batches


def pad(ids: list[list[int]]) -> torch.Tensor:
    """Stack token ids into an int64 tensor [rows, longest], padded with 0."""
    out = np.zeros((len(ids), max(map(len, ids))), dtype=np.int64)
    for row, tokens in enumerate(ids):
        out[row, : len(tokens)] = tokens
    return torch.from_numpy(out)


def save_atomically(obj, path: Path) -> None:
    """Save to another file, then rename it, so that an interrupted run never leaves half a file."""
    part = path.with_suffix(".part")
    torch.save(obj, part)
    os.replace(part, path)
