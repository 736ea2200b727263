"""What there is to learn from: the phrases of the treebank, and tweets."""

from __future__ import annotations

import argparse
import html
import random
import re
from pathlib import Path

import numpy as np
from treebank import detokenise, read_trees

#: Probability of "positive" taught for the treebank's five labels.
SOFT = (0.02, 0.15, 0.50, 0.85, 0.98)
VALIDATION_TREES = 1000  # about 800 of them are not neutral


def read_tweets(folder: Path | None) -> list[str]:
    """Return the messages of every CoNLL file: one token and its tag per line, a blank line after each message."""
    messages = []
    for path in sorted(folder.glob("*.conll")) if folder else []:
        tokens: list[str] = []
        for line in path.read_text(encoding="utf-8").splitlines() + [""]:
            if line.strip():
                tokens.append(line.split("\t")[0].replace("\u00b4", "'"))
            elif tokens:
                text = detokenise(tokens)
                text = re.sub(r"\s*'\s*(s|re|ve|ll|d|m|t)\b", r"'\1", text)
                messages.append(html.unescape(re.sub(r"https?://\S+", "", text)).strip())
                tokens = []
    return [m for m in messages if 3 <= len(m) <= 300]


def stage_parse(args: argparse.Namespace) -> dict:
    """Split the training trees into phrases to train on and whole sentences for validation."""
    trees = read_trees(args.data / "train.trees")
    order = list(range(len(trees)))
    random.Random(args.seed).shuffle(order)
    held = set(order[:VALIDATION_TREES])
    valid = [t[-1] for i, t in enumerate(trees) if i in held]
    # Do not train on phrases of more than three words that occur in a validation tree.
    barred = {p.lower() for i in held for p, _ in trees[i] if p.count(" ") >= 3}
    votes: dict[str, list[int]] = {}
    sentences = []
    for i, tree in enumerate(trees):
        if i in held:
            continue
        for phrase, label in tree:
            if phrase.lower() not in barred:
                votes.setdefault(phrase, []).append(label)
        if tree[-1][0].lower() not in barred:
            sentences.append(tree[-1])
    phrases = [(p, sum(SOFT[v] for v in vs) / len(vs)) for p, vs in votes.items()]
    sentences = [(text, SOFT[label]) for text, label in sentences]
    return {"phrases": phrases, "sentences": sentences, "valid": valid, "tweets": read_tweets(args.tweets)}


def accuracy(log_odds: np.ndarray, rows: list[tuple[str, int]]) -> float:
    """Return the percentage of the rows that are not neutral whose log-odds have the sign of the label."""
    labels = np.array([label for _, label in rows])
    keep = labels != 2
    return 100.0 * float(np.mean((log_odds[keep] > 0) == (labels[keep] > 2)))
