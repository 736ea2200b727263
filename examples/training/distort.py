"""New texts out of old ones."""

from __future__ import annotations

import random
from collections import Counter

import torch
import torch.nn.functional as F
from teacher import Teacher
from words import CONNECT, SHORTHAND


def core(word: str) -> str:
    """Return the word in lower case, without the punctuation around it."""
    return word.lower().strip(".,;:!?\"'()[]-")


class Distorter:
    """Distorts texts: swaps words for neighbours in the teacher's embedding, drops words, cuts, joins, misspells."""

    def __init__(self, teacher: Teacher, frequent: Counter, pick: random.Random):
        self.pick = pick
        vocab = teacher.tokenizer.get_vocab()
        known = [w for w in sorted(vocab, key=vocab.get) if w.isascii() and w.isalpha() and len(w) > 2]
        table = teacher.encoder.embeddings.word_embeddings.weight.detach()[[vocab[w] for w in known]]
        table = F.normalize(table - table.mean(0), dim=1)
        near = torch.cat([(part @ table.T).topk(13, dim=1).indices[:, 1:] for part in table.split(2048)])
        self.near = {w: [known[j] for j in row] for w, row in zip(known, near.tolist(), strict=True)}
        self.known = known
        self.common = [w for w, n in frequent.most_common(6000) if w.isalpha()]

    def words(self, text: str, swap: float = 0.15, drop: float = 0.06, stray: float = 0.03) -> str:
        """Swap words for neighbours, drop some, and replace a few with random ones."""
        pick, out = self.pick, []
        for word in text.split():
            chance, plain = pick.random(), core(word)
            if chance < drop:
                continue
            if chance < drop + stray and plain:
                word = word.lower().replace(plain, pick.choice(self.common if pick.random() < 0.6 else self.known))
            elif chance < drop + stray + swap and plain in self.near:
                word = word.lower().replace(plain, pick.choice(self.near[plain]))
            out.append(word)
        return " ".join(out) or text

    def span(self, text: str) -> str:
        """Return a random run of at least three words."""
        words = text.split()
        if len(words) < 5:
            return text
        size = self.pick.randint(3, len(words) - 1)
        start = self.pick.randint(0, len(words) - size)
        return " ".join(words[start : start + size])

    def join(self, one: str, two: str) -> str:
        """Return two texts with a connective between them."""
        return one.rstrip(" .") + self.pick.choice(CONNECT) + two

    def typing(self, text: str) -> str:
        """Spell as in a chat: with shorthand, missing apostrophes, stretched letters and typing errors."""
        pick, words = self.pick, text.split()
        for i, word in enumerate(words):
            if pick.random() < 0.4 and word.lower() in SHORTHAND:
                words[i] = SHORTHAND[word.lower()]
            elif len(word) > 3 and word.isalpha():
                at, chance = pick.randrange(1, len(word) - 1), pick.random()
                if chance < 0.05:
                    words[i] = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
                elif chance < 0.09:
                    words[i] = word[:at] + word[at + 1 :]
                elif chance < 0.15:
                    vowels = [j for j, c in enumerate(word) if c in "aeiouy"]
                    if vowels:
                        j = pick.choice(vowels)
                        words[i] = word[:j] + word[j] * pick.randint(2, 5) + word[j + 1 :]
        return " ".join(words)
