"""The pool of texts that the student learns from, and their labels."""

from __future__ import annotations

import argparse
import random
from collections import Counter

import numpy as np
from distort import Distorter, core
from grammar import corrections, everyday
from teacher import Teacher, for_teacher
from words import BAD, FRAMES, FRESH_CHECKS, GOOD, SPOT_CHECKS, THINGS


def build_pool(args: argparse.Namespace, data: dict, teacher: Teacher) -> dict:
    """Return the texts that the student learns from.

    Keys: ``text`` (what the student reads), ``read`` (what the teacher reads), ``gold`` (a probability, or -1 where
    only the teacher says it), ``weight``, ``words`` and ``tone`` (single words, and their log-odds).
    """
    pick = random.Random(args.seed + 1)
    phrases, sentences, tweets = data["phrases"], [s for s, _ in data["sentences"]], data["tweets"]
    frequent = Counter(core(w) for s in sentences + tweets for w in s.split())
    distort = Distorter(teacher, frequent, pick)
    rows: dict[str, tuple[str, float, float]] = {}

    def add(text: str, gold: float = -1.0, weight: float = 1.0, read: str | None = None) -> None:
        if text and text not in rows:
            rows[text] = (for_teacher(read or text), gold, weight)

    for text, gold in data["sentences"]:
        add(text, gold, args.sentence_weight)
    for text, gold in phrases:
        add(text, gold)
    for _ in range(args.copies):
        for text in sentences:
            new = distort.words(text, pick.choice([0.1, 0.2, 0.3]))
            if pick.random() < 0.30:
                new = distort.span(new)
            elif pick.random() < 0.10:
                new = distort.join(distort.span(text), distort.span(pick.choice(sentences)))
            add(new)
    long = [t for t, _ in phrases if 1 <= t.count(" ") <= 14]
    for _ in range(args.phrase_copies):
        text = pick.choice(long)
        add(distort.words(text, 0.3, 0.05, 0.08) if pick.random() < 0.75 else distort.join(text, pick.choice(long)))
    for _ in range(args.tweet_copies):
        for text in tweets:
            add(distort.span(distort.words(text, 0.2)) if _ else text)

    # Put each word of the teacher's vocabulary and of the treebank into a few short frames.
    words = sorted(set(distort.known) | {w for w in frequent if w.isalpha()})
    tone = teacher.score([f"it was {w}" for w in words], "tone of words") / 2 + teacher.score(words) / 2
    good = [w for w, z in zip(words, tone, strict=True) if z > 1.5]
    bad = [w for w, z in zip(words, tone, strict=True) if z < -1.5]
    print(f"{len(good)} words sound good, {len(bad)} bad, of {len(words)}", flush=True)
    for word, z in zip(words, tone, strict=True):
        strong = abs(z) > 0.8 or frequent[word] > 3
        for frame in pick.sample(FRAMES, 6 if strong else 3):
            add(frame.format(w=word, o=pick.choice(GOOD + BAD)))

    # Everyday sentences, once with the words of the grammar and once with any word that sounds good or bad.
    for count, extra in (
        (args.templates, {}),
        (args.templates, {"good": GOOD * 4 + good, "bad": BAD * 4 + bad, "things": THINGS * 20 + distort.known[:9000]}),
    ):
        for text, _ in everyday(count, pick, **extra):
            add(text if pick.random() < 0.8 else distort.words(text, 0.25, 0.03, 0.05))

    # Chat spelling: the teacher reads the clean text, the student the misspelt one.
    clean = pick.sample(list(rows), min(len(rows), args.typed))
    for text in clean:
        add(distort.typing(text), -1.0, 1.0, text)
    # Long messages train the late positions.
    everything = list(rows)
    for _ in range(args.long):
        parts, goal = [], pick.randint(30, 180)
        while sum(p.count(" ") + 1 for p in parts) < goal:
            parts.append(pick.choice(sentences) if pick.random() < 0.5 else pick.choice(everything))
        add(" ".join(p if p[-1] in ".!?" else p + "." for p in parts))
    spots = {t.lower().strip(".!") for t, _ in SPOT_CHECKS + FRESH_CHECKS}
    texts = [t for t in rows if t.lower().strip(".!") not in spots]
    return {
        "text": texts,
        "read": [rows[t][0] for t in texts],
        "gold": np.float32([rows[t][1] for t in texts]),
        "weight": np.float32([rows[t][2] for t in texts]),
        "words": words,
        "tone": tone,
    }


def stage_labels(args: argparse.Namespace, data: dict, teachers: list[Teacher]) -> dict:
    """Build the pool and let the teachers label it."""
    teacher = teachers[0]
    pool = build_pool(args, data, teacher)
    vocab = teacher.tokenizer.get_vocab()
    pool["known"] = [w for w in sorted(vocab, key=vocab.get) if w.isascii() and w.isalpha() and len(w) > 1]
    print(f"{len(pool['text'])} texts to label", flush=True)
    unique, place = np.unique(np.array(pool["read"], dtype=object), return_inverse=True)  # copies share a label
    pool["log_odds"] = np.mean([t.score(list(unique), f"teacher {i + 1}") for i, t in enumerate(teachers)], 0)[place]
    del pool["read"]
    return add_corrections(args, pool, Distorter(teacher, Counter(), random.Random(args.seed + 2)))


def add_corrections(args: argparse.Namespace, pool: dict, distort: Distorter) -> dict:
    """Append the sentences that the teacher misreads, with labels from the grammar, clean and in chat spelling."""
    rows = dict(corrections(args.corrections, distort.pick))
    rows.update({distort.typing(text): chance for text, chance in list(rows.items())[::3]})
    gold = np.float32(list(rows.values()))
    pool["text"] = pool["text"] + list(rows)
    pool["gold"] = np.concatenate([pool["gold"], gold])
    pool["weight"] = np.concatenate([pool["weight"], np.ones_like(gold)])
    pool["log_odds"] = np.concatenate([pool["log_odds"], np.log(gold / (1 - gold))])
    return pool
