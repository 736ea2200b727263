"""A small grammar of everyday language, whose sentences have a known polarity."""

from __future__ import annotations

import random

import words


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

    def fill(self, text: str) -> str:
        """Fill the slots with nouns."""
        while "{thing}" in text:
            text = text.replace("{thing}", self.pick.choice(self.things).replace("-", " "), 1)
        while "{person}" in text:
            text = text.replace("{person}", self.pick.choice(words.PEOPLE), 1)
        return text

    def word(self, good: bool) -> str:
        return self.pick.choice(self.good if good else self.bad).replace("-", " ")

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
        pick, fill = self.pick, self.fill
        strong, mild = (0.97, 0.80) if good else (0.03, 0.20)
        be, kind = pick.choice(words.BE), pick.random()
        subject = fill(pick.choice(words.SUBJECT))
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
            return f"{subject} {pick.choice(words.PRAISE if good else words.COMPLAINT)}", strong
        if kind < 0.56:
            return fill(
                pick.choice(words.GOOD_SAYING if good else words.BAD_SAYING)
            ), strong if pick.random() < 0.999 else mild
        if kind < 0.63:
            who = pick.choice(["i", "i", "i", "we", "they", "my friends", "my kids", "everyone"])
            verb = pick.choice(words.LIKE if good else words.DISLIKE)
            what = pick.choice(["this", "it", "the {thing}", "their {thing}", "this {thing}"])
            return fill(f"{who} {verb} {what}"), strong
        if kind < 0.71:
            who = pick.choice(["i", "i", "we", "you will", "they"])
            no = pick.choice(["don't", "do not", "didn't", "did not", "don't really", "never", "can't really", "won't"])
            verb = pick.choice(
                ["hate", "dislike", "regret", "mind"]
                if good
                else ["like", "love", "enjoy", "recommend", "trust", "want", "need"]
            )
            what = pick.choice(["this", "it", "the {thing}", "that {thing}", "your {thing}", "this {thing} at all"])
            return fill(f"{'you' if who == 'you will' else who} {no} {verb} {what}"), 0.75 if good else 0.07
        if kind < 0.79:
            who, am = pick.choice(
                [
                    ("i", "am"),
                    ("i", "'m"),
                    ("we", "are"),
                    ("i", "was"),
                    ("i", "feel"),
                    ("she", "is"),
                    ("he", "was"),
                    ("they", "were"),
                    ("my wife", "is"),
                    ("my husband", "was"),
                ]
            )
            gap = "" if am == "'m" else " "
            mood = pick.choice(words.HAPPY if good else words.UNHAPPY).replace("-", " ")
            if pick.random() < 0.4:
                flip = pick.choice(["not", "not very", "not at all", "not really", "never", "far from", "no longer"])
                mood = flip + " " + pick.choice(words.UNHAPPY if good else words.HAPPY).replace("-", " ")
                strong = 0.72 if good else 0.06
            elif pick.random() < 0.5:
                mood = pick.choice(words.VERY) + " " + mood
            with_ = pick.choice(
                [
                    "",
                    " with this",
                    " with the {thing}",
                    " about it",
                    " with my {thing}",
                    " today",
                    " about the {thing}",
                    " right now",
                ]
            )
            return fill(f"{who}{gap}{am} {mood}{with_}"), strong
        if kind < 0.84:
            noun = fill("{thing}")
            return pick.choice(
                [
                    f"what a {self.word(good)} {noun}",
                    f"such a {self.word(good)} {noun}",
                    f"a {self.adjective(good)} {noun}",
                    f"{self.word(good)} {noun}",
                    f"had a {self.word(good)} time at the {noun}",
                    f"best {noun} ever" if good else f"worst {noun} ever",
                    f"this is the {'best' if good else 'worst'} {noun} in town",
                    f"i have never had a {'better' if good else 'worse'} {noun}",
                    f"the {'best' if good else 'worst'} {noun} i have ever had",
                ]
            ), strong
        if kind < 0.88:
            return fill(
                pick.choice(
                    [
                        "there is nothing wrong with the {thing}",
                        "no issues with the {thing}",
                        "never had any trouble with it",
                        "without a doubt the best {thing}",
                        "you can't go wrong with this {thing}",
                        "not a single complaint",
                        "the {thing} never fails to impress",
                        "the {thing} is anything but " + self.word(False),
                        "the {thing} is far from " + self.word(False),
                        "couldn't find a better {thing}",
                        "no bugs at all",
                        "i was worried but the {thing} was fine",
                        "it was hard to find fault with the {thing}",
                        "i wouldn't call it " + self.word(False),
                        "nobody could dislike this {thing}",
                    ]
                    if good
                    else [
                        "there is nothing good about the {thing}",
                        "nothing but trouble with the {thing}",
                        "not a good {thing}",
                        "the {thing} fails to deliver",
                        "this {thing} lacks everything",
                        "the {thing} is anything but " + self.word(True),
                        "the {thing} is far from " + self.word(True),
                        "i expected a better {thing}",
                        "i couldn't find anything nice about the {thing}",
                        "no one was " + self.word(True),
                        "the {thing} could have been so much better",
                        "it is hard to like this {thing}",
                        "i wouldn't call it " + self.word(True),
                        "nobody liked the {thing}",
                        "it would be nice if the {thing} worked",
                        "i wish the {thing} was " + self.word(True),
                        "if only it was " + self.word(True),
                        "it was supposed to be " + self.word(True),
                        "i thought it would be " + self.word(True),
                        "they promised a {thing} that is " + self.word(True),
                    ]
                )
            ), 0.82 if good else 0.08
        if kind < 0.93:
            first, _ = self.simple(good)
            second, _ = self.simple(good)
            return first + pick.choice([" and ", ", ", ". ", ", and ", " because ", " - ", "! "]) + second, strong
        lead, _ = self.simple(not good)  # a concession: the main clause decides
        main, _ = self.simple(good)
        return pick.choice(
            [
                f"{lead} but {main}",
                f"{lead}, but {main}",
                f"although {lead}, {main}",
                f"even though {lead}, {main}",
                f"{main} even though {lead}",
                f"{main}, although {lead}",
                f"{lead}. however, {main}",
                f"{lead} yet {main}",
            ]
        ), 0.82 if good else 0.16

    def simple(self, good: bool) -> tuple[str, float]:
        """A clause with an adjective or a stock predicate."""
        subject = self.fill(self.pick.choice(words.SUBJECT))
        if self.pick.random() < 0.3:
            return f"{subject} {self.pick.choice(words.PRAISE if good else words.COMPLAINT)}", 0.0
        return f"{subject} {self.pick.choice(['is', 'was'])} {self.adjective(good)}", 0.0

    def sentence(self) -> tuple[str, float]:
        """A clause as a message: with an opening, punctuation, emphasis and emoticons."""
        pick = self.pick
        if pick.random() < 0.08:
            return self.fill(pick.choice(words.NEUTRAL)) + pick.choice(["", ".", "?", ""]), 0.5
        good = pick.random() < 0.5
        text, chance = self.clause(good)
        if pick.random() < 0.15:
            text = pick.choice(words.CHAT_FRONT) + " " + text
        elif pick.random() < 0.06:
            text = pick.choice(words.GOOD_FRONT if good else words.BAD_FRONT) + pick.choice([" ", ", "]) + text
        if pick.random() < 0.08:
            text += " " + pick.choice(
                [
                    "lol",
                    "tbh",
                    "imo",
                    "though",
                    "for me",
                    "today",
                    "again",
                    "as usual",
                    "anymore",
                    "right now",
                    "in my opinion",
                    "guys",
                    "this time",
                    "so far",
                    "overall",
                ]
            )
        text += pick.choice(["", "", ".", ".", ".", "!", "!", "!!", "!!!", "..."])
        if pick.random() < 0.13:
            text += " " + pick.choice(words.SMILES if good else words.FROWNS)
            chance = 0.9 * chance + (0.1 if good else 0.0)
        return text, chance


def everyday(count: int, pick: random.Random, **lists) -> list[tuple[str, float]]:
    """Return `count` different sentences of the grammar, none of which is a check."""
    grammar, seen = Grammar(pick, **lists), {t.lower().strip(".!") for t, _ in words.SPOT_CHECKS + words.FRESH_CHECKS}
    rows = []
    while len(rows) < count:
        text, chance = grammar.sentence()
        if text.lower().strip(".!") not in seen:
            seen.add(text.lower().strip(".!"))
            rows.append((text, chance))
    return rows


def corrections(count: int, pick: random.Random) -> list[tuple[str, float]]:
    """Return labelled sentences of kinds that the teacher misreads: events, irony, slang, "never so ..."."""
    rows, seen = [], {t.lower().strip(".!") for t, _ in words.SPOT_CHECKS + words.FRESH_CHECKS}
    grammar = Grammar(pick)
    while len(rows) < count:
        good = pick.random() < 0.5
        mood = pick.choice(words.HAPPY if good else words.UNHAPPY).replace("-", " ")
        kind = pick.random()
        if kind < 0.2:
            text = pick.choice(
                [
                    f"i have never been so {mood}",
                    f"i've never been so {mood} in my life",
                    f"never felt so {mood} before",
                    f"i have never been more {mood}",
                    f"never been so {mood} with a {{thing}}",
                    f"she has never been so {mood}",
                    f"i have never seen such a {grammar.word(good)} {{thing}}",
                    f"never had such a {grammar.word(good)} time",
                    f"i have never had such {grammar.word(good)} {{thing}}",
                    f"never met such {grammar.word(good)} people",
                    f"nothing has ever made me so {mood}",
                    f"i couldn't be more {mood}",
                    f"we could not have been more {mood}",
                    f"it has never been so {grammar.word(good)}",
                    f"so {mood} right now",
                    f"so {mood} rn",
                    f"feeling so {mood}",
                ]
            )
            chance = 0.96 if good else 0.04
        elif kind < 0.8:
            text, chance = pick.choice(words.GOOD_EVENT if good else words.BAD_EVENT), 0.94 if good else 0.06
        elif kind < 0.9:
            text, chance = grammar.clause(good)
            text += ". " + pick.choice(words.GOOD_EVENT if good else words.BAD_EVENT)
        else:
            first, second = pick.choice(words.GOOD_EVENT if good else words.BAD_EVENT), grammar.clause(good)[0]
            text, chance = first + pick.choice([", ", ". ", " and "]) + second, 0.96 if good else 0.04
        text = grammar.fill(text.replace("{who}", pick.choice(words.SOMEONE)))
        if pick.random() < 0.2:
            text = pick.choice(words.CHAT_FRONT + ["just", "ngl", "finally", "yesterday", "this morning"]) + " " + text
        text += pick.choice(["", "", ".", ".", "!", "!!", "..."])
        if text.lower().strip(".!") not in seen:
            seen.add(text.lower().strip(".!"))
            rows.append((text, chance))
    return rows
