"""A small grammar of everyday language, whose sentences have a known polarity."""

from __future__ import annotations

import random

import words
from words import PHRASES


class Grammar:
    """Draws everyday sentences, each with its intended probability of "positive"."""

    def __init__(
        self,
        pick: random.Random,
        good: list[str] | None = None,
        bad: list[str] | None = None,
        things: list[str] | None = None,
    ):
        self.pick = pick
        self.good, self.bad = good or words.GOOD, bad or words.BAD
        self.things = things or words.THINGS

    def fill(self, text: str, good: bool = True) -> str:
        """Fill the slots, each with a word of its own; `good` is the polarity of the text."""
        while "{" in text:
            name = text[text.index("{") + 1 : text.index("}")]
            text = text.replace(f"{{{name}}}", self.slot(name, good), 1)
        return text

    def slot(self, name: str, good: bool) -> str:
        """A word for a slot of this name."""
        nouns = {"thing": self.things, "person": words.PEOPLE, "who": words.SOMEONE}
        if name in nouns:
            word = self.pick.choice(nouns[name])
            return word.replace("-", " ") if name == "thing" else word
        if name == "adjective":
            return self.adjective(good)
        if name == "mood":
            return self.mood(good)
        if name in ("best", "better"):
            return name if good else {"best": "worst", "better": "worse"}[name]
        return self.word(good if name == "word" else not good)  # the others are "opposite"

    def word(self, good: bool) -> str:
        return self.pick.choice(self.good if good else self.bad).replace("-", " ")

    def mood(self, good: bool) -> str:
        return self.pick.choice(words.HAPPY if good else words.UNHAPPY).replace("-", " ")

    def phrase(self, name: str, good: bool = True) -> str:
        """A phrase of a list, with its slots filled."""
        return self.fill(self.pick.choice(PHRASES[name]), good)

    def adjective(self, good: bool) -> str:
        """One or two adjectives of the same polarity, perhaps with an adverb of degree."""
        pick = self.pick
        one = self.word(good)
        if pick.random() < 0.4:
            one = pick.choice(words.VERY) + " " + one
        if pick.random() < 0.2:
            one += pick.choice([" and ", ", ", " and so "]) + self.word(good)
        return one

    def clause(self, good: bool) -> tuple[str, float]:
        """A main clause and its probability of "positive"."""
        pick, phrase = self.pick, self.phrase
        strong, mild = (0.97, 0.80) if good else (0.03, 0.20)
        be, kind = pick.choice(words.BE), pick.random()
        subject = phrase("subjects")
        if be == "'s" and subject not in ("it", "that"):
            be = "is"
        join = "" if be == "'s" else " "
        if kind < 0.24:
            return f"{subject}{join}{be} {self.adjective(good)}", strong
        if kind < 0.38:  # "not bad" is mild praise, "not good" is blame
            plain = self.word(not good)
            tail = pick.choice(["", "", "", " at all", " either", " to be honest", " at all really", " for once"])
            return f"{subject} {pick.choice(words.NOT_BE)} {plain}{tail}", 0.78 if good else 0.06
        if kind < 0.48:
            return f"{subject} {phrase('praise' if good else 'complaints')}", strong
        if kind < 0.56:
            saying = phrase("good_sayings" if good else "bad_sayings")
            return saying, strong if pick.random() < 0.999 else mild
        if kind < 0.63:
            verb = pick.choice(words.LIKE if good else words.DISLIKE)
            return f"{phrase('likers')} {verb} {phrase('liked')}", strong
        if kind < 0.71:
            verb = phrase("denied_faults" if good else "denied_praise")
            return f"{phrase('deniers')} {phrase('denials')} {verb} {phrase('denied')}", 0.75 if good else 0.07
        if kind < 0.79:
            who, mood = phrase("feelers"), self.mood(good)
            if pick.random() < 0.4:
                mood = f"{phrase('flips')} {self.mood(not good)}"
                strong = 0.72 if good else 0.06
            elif pick.random() < 0.5:
                mood = pick.choice(words.VERY) + " " + mood
            return f"{who} {mood}{phrase('reasons')}", strong
        if kind < 0.84:
            return phrase("exclaimed", good), strong
        if kind < 0.88:
            return phrase("double_negations" if good else "failed_hopes", good), 0.82 if good else 0.08
        if kind < 0.93:
            joint = pick.choice([" and ", ", ", ". ", ", and ", " because ", " - ", "! "])
            return self.simple(good) + joint + self.simple(good), strong
        lead, main = self.simple(not good), self.simple(good)  # a concession: the main clause decides
        return pick.choice(PHRASES["concessions"]).format(lead=lead, main=main), 0.82 if good else 0.16

    def simple(self, good: bool) -> str:
        """A clause with an adjective or a stock predicate."""
        subject = self.phrase("subjects")
        if self.pick.random() < 0.3:
            return f"{subject} {self.phrase('praise' if good else 'complaints')}"
        return f"{subject} {self.pick.choice(['is', 'was'])} {self.adjective(good)}"

    def sentence(self) -> tuple[str, float]:
        """A clause as a message: with an opening, punctuation, emphasis and emoticons."""
        pick = self.pick
        if pick.random() < 0.08:
            return self.phrase("neutral") + pick.choice(["", ".", "?", ""]), 0.5
        good = pick.random() < 0.5
        text, chance = self.clause(good)
        if pick.random() < 0.15:
            text = pick.choice(words.CHAT_FRONT) + " " + text
        elif pick.random() < 0.06:
            text = pick.choice(words.GOOD_FRONT if good else words.BAD_FRONT) + pick.choice([" ", ", "]) + text
        if pick.random() < 0.08:
            text += " " + self.phrase("chat_ends")
        text += pick.choice(["", "", ".", ".", ".", "!", "!", "!!", "!!!", "..."])
        if pick.random() < 0.13:
            text += " " + pick.choice(words.SMILES if good else words.FROWNS)
            chance = 0.9 * chance + (0.1 if good else 0.0)
        return text, chance

    def correction(self) -> tuple[str, float]:
        """A sentence of a kind that the teacher misreads: events, irony, slang, "never so ..."."""
        pick = self.pick
        good, kind = pick.random() < 0.5, pick.random()
        event = "good_events" if good else "bad_events"
        chance = 0.96 if good else 0.04
        if kind < 0.2:
            text = self.phrase("nevers", good)
        elif kind < 0.8:
            text, chance = self.phrase(event), 0.94 if good else 0.06
        elif kind < 0.9:
            text, chance = self.clause(good)
            text += ". " + self.phrase(event)
        else:
            text = self.phrase(event) + pick.choice([", ", ". ", " and "]) + self.clause(good)[0]
        if pick.random() < 0.2:
            text = pick.choice(words.CHAT_FRONT + ["just", "ngl", "finally", "yesterday", "this morning"]) + " " + text
        return text + pick.choice(["", "", ".", ".", "!", "!!", "..."]), chance


def distinct(count: int, draw) -> list[tuple[str, float]]:
    """Return `count` different sentences that `draw` draws, none of which is a check."""
    rows, seen = [], {t.lower().strip(".!") for t, _ in words.SPOT_CHECKS + words.FRESH_CHECKS}
    while len(rows) < count:
        text, chance = draw()
        if text.lower().strip(".!") not in seen:
            seen.add(text.lower().strip(".!"))
            rows.append((text, chance))
    return rows


def everyday(count: int, pick: random.Random, **lists) -> list[tuple[str, float]]:
    """Return different labelled sentences of the grammar."""
    return distinct(count, Grammar(pick, **lists).sentence)


def corrections(count: int, pick: random.Random) -> list[tuple[str, float]]:
    """Return different labelled sentences of the kinds that the teacher misreads."""
    return distinct(count, Grammar(pick).correction)
