"""Accuracy of the exported student."""

from __future__ import annotations

import argparse
import math

import numpy as np
import torch
from corpus import accuracy
from student import score_student
from teacher import Teacher
from tokenizers import BertWordPieceTokenizer
from tqdm import tqdm
from treebank import read_trees
from words import FRESH_CHECKS, SPOT_CHECKS

FOLDER_LIMIT = 2_000_000  # bytes


def stage_evaluate(args: argparse.Namespace, data: dict, teachers: list[Teacher]) -> None:
    """Load the exported folder with transformers, compare the fast forward pass with it, and print its accuracy."""
    from transformers import BertTokenizer, SqueezeBertForSequenceClassification

    model, notes = SqueezeBertForSequenceClassification.from_pretrained(
        str(args.out), dtype=torch.float32, output_loading_info=True
    )
    assert not any(notes[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys")), notes
    model.eval()
    theirs = BertTokenizer.from_pretrained(str(args.out))
    ours = BertWordPieceTokenizer(str(args.out / "vocab.txt"), lowercase=True)

    @torch.inference_mode()
    def score(texts: list[str]) -> np.ndarray:
        out = []
        for text in tqdm(texts, desc="evaluate", mininterval=5):
            logits = model(**theirs(text, return_tensors="pt", truncation=True, max_length=args.positions)).logits[0]
            out.append(float(logits[1] - logits[0]))
        return np.array(out)

    spots = [t for t, _ in SPOT_CHECKS]
    gap = float(np.abs(score(spots) - score_student(model, ours, spots)).max())
    assert gap < 1e-4, f"the fast forward pass differs by {gap}"
    dev = [tree[-1] for tree in read_trees(args.data / "dev.trees")]
    size = sum(f.stat().st_size for f in args.out.rglob("*") if f.is_file())
    print(f"parameters             {sum(p.numel() for p in model.parameters())}")
    print(f"folder                 {size} bytes")
    print(f"fast forward differs   {gap:.1e}")
    for name, rows in (("validation", data["valid"]), ("SST-2 dev", dev)):
        kept = sum(label != 2 for _, label in rows)
        print(f"{name:10s} student     {accuracy(score([t for t, _ in rows]), rows):.2f} % of {kept}")
        if teachers:
            texts = [text for text, _ in rows]
            mean = np.mean([teacher.score(texts) for teacher in teachers], axis=0)
            print(f"{name:10s} teacher     {accuracy(mean, rows):.2f} %")
    for name, checks in (("spot", SPOT_CHECKS), ("fresh", FRESH_CHECKS)):
        right = 0
        for (text, good), z in zip(checks, score([t for t, _ in checks]), strict=True):
            right += (z > 0) == good
            print(f"{'ok  ' if (z > 0) == good else 'FAIL'} {1 / (1 + math.exp(-z)):.3f} {'+' if good else '-'} {text}")
        print(f"{name} checks           {right} of {len(checks)}")
    assert size <= FOLDER_LIMIT, f"{size} bytes is over the limit of {FOLDER_LIMIT}"
