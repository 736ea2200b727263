"""The word pieces of the student, and what their embeddings begin with."""

from __future__ import annotations

import argparse
import math
import random
import re
from collections import Counter

import numpy as np
import torch
from grammar import everyday
from teacher import Teacher, for_teacher
from tokenizers import BertWordPieceTokenizer
from words import FROWNS, SHORTHAND, SMILES, SUFFIXES


def build_vocabulary(args: argparse.Namespace, data: dict, pool: dict) -> list[str]:
    """Choose the word pieces of the student.

    Characters and frequent endings come first, then pieces learnt from the words that will not fit, then whole words
    by priority: how frequent the word is, and how far its tone is from neutral. Regular forms (a stem and an ending,
    with the tone of the stem) become two pieces unless they are frequent.
    """
    split = re.compile(r"[a-z]+")
    sentences, tweets = Counter(), Counter()
    for text, _ in data["sentences"]:
        sentences.update(split.findall(text.lower()))
    for text in data["tweets"]:
        tweets.update(split.findall(text.lower()))
    spoken = Counter()
    for text, _ in everyday(20000, random.Random(5)):
        spoken.update(split.findall(text.lower()))
    rank = {w: i for i, w in enumerate(pool["known"])}  # the teacher's vocabulary begins with common words
    tone = dict(zip(pool["words"], pool["tone"], strict=True))
    middle = float(np.median(pool["tone"]))

    def priority(word: str) -> float:
        use = 3.0 * sentences[word] + 1.0 * tweets[word] + 0.5 * min(spoken[word], 40)
        common = 6.0 - math.log(1 + rank.get(word, 60000) / 300)
        return math.log(1 + use) + 0.6 * common + 0.8 * min(abs(tone.get(word, middle) - middle), 4.0)

    heard = set(tone) | set(spoken) | {w for w in tweets if tweets[w] > 2}
    candidates = {w for w in heard if w.isascii() and len(w) > 1}
    candidates |= {s for s in SHORTHAND.values() if s.isalpha()} | {"ll", "ve", "re", "omg", "lol", "wtf", "smh", "xd"}
    order = sorted(candidates, key=lambda w: (-priority(w), w))
    letters = "abcdefghijklmnopqrstuvwxyz"
    signs = "!\"#$%&'()*+,-./:;<=>?@[]_`{|}~\u2026\u2013\u2014\u2018\u2019\u201c\u201d\u00a3\u20ac"
    emoji = sorted({s[0] for s in SMILES + FROWNS if ord(s[0]) > 127})
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces = [*special, *signs, *emoji, *"0123456789", *letters]
    pieces += ["##" + c for c in "0123456789" + letters] + ["##" + s for s in SUFFIXES if len(s) > 1]
    room = args.vocab - len(pieces)
    # Learn frequent beginnings and continuations from the words that will not fit.
    outside = BertWordPieceTokenizer(lowercase=True)
    rest = order[int(0.7 * room) :]
    outside.train_from_iterator(
        rest + 2 * list(sentences),
        vocab_size=args.pieces,
        min_frequency=3,
        show_progress=False,
        special_tokens=special,
    )
    learnt = [p for p, _ in sorted(outside.get_vocab().items(), key=lambda kv: kv[1]) if p.lstrip("#").isalpha()]
    pieces += [
        p
        for p in learnt
        if p not in set(pieces) and len(p.lstrip("#")) > 1 and p.isascii() and (p.startswith("##") or len(p) <= 4)
    ]
    chosen = set(pieces)

    def regular(word: str) -> bool:
        for ending in SUFFIXES:
            stem = word[: -len(ending)]
            if word.endswith(ending) and len(stem) > 2 and stem in chosen and "##" + ending in chosen:
                return sentences[word] < 12 and abs(tone.get(word, middle) - tone.get(stem, middle)) < 0.7
        return False

    for word in order:
        if len(pieces) == args.vocab:
            break
        if word not in chosen and not regular(word):
            pieces.append(word)
            chosen.add(word)
    return pieces


def first_embeddings(vocab: list[str], teacher: Teacher, width: int) -> torch.Tensor:
    """Return initial word embeddings: principal components of the teacher's view of each piece.

    A piece is described by the mean of the teacher's input embeddings over the pieces that the teacher splits it into
    and, if it is a whole word, by the teacher's sentence vector and log-odds for that word alone.
    """
    theirs = teacher.tokenizer.get_vocab()
    table = teacher.encoder.embeddings.word_embeddings.weight.detach()
    table = table - table.mean(0)
    rows = []
    for piece in vocab:
        if piece in theirs:
            ids = [theirs[piece]]
        else:
            ids = teacher.tokenizer.encode(piece.lstrip("#") or "#", add_special_tokens=False).ids
        rows.append(table[ids].mean(0))
    inputs = torch.stack(rows)
    whole = torch.tensor([not p.startswith("##") and not p.startswith("[") for p in vocab]).float().unsqueeze(1)
    texts = [for_teacher(p) for p in vocab]
    sense = torch.from_numpy(teacher.score(texts, pooled=True))
    tone = torch.from_numpy(teacher.score(texts)).unsqueeze(1)
    blocks = []
    for block, share in ((inputs, 1.0), (sense, 1.0), (tone, 0.5)):
        if block is not inputs:
            block = (block - (block * whole).sum(0) / whole.sum()) * whole
        blocks.append(share * block / block.square().sum(1).mean().sqrt())
    u, s, _ = torch.linalg.svd(torch.cat(blocks, 1), full_matrices=False)
    out = u[:, :width] * s[:width].sqrt()  # the square root gives the weaker components more weight
    out = out @ torch.linalg.qr(torch.randn(width, width)).Q  # spread the components over the groups
    return 0.06 * out / out.square().mean().sqrt()
