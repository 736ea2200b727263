"""The word lists, which lie in `data/` with one item per line.

A hyphen inside an item of the lexicon stands for a space. Repeated items are drawn more often. The names in braces are
slots: `{thing}`, `{person}` and `{who}` for a noun; `{word}`, `{adjective}`, `{mood}`, `{best}` and `{better}` for a
word with the polarity of the phrase; `{opposite}` for one of the other polarity.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def read(name: str) -> dict[str, Any]:
    """Return the lists of a file by name."""
    return json.loads((Path(__file__).parent / "data" / f"{name}.json").read_text(encoding="utf-8"))


_lexicon, PHRASES, _chat, _checks = map(read, ("lexicon", "phrases", "chat", "checks"))

GOOD, BAD = _lexicon["good"], _lexicon["bad"]  # adjectives
HAPPY, UNHAPPY = _lexicon["happy"], _lexicon["unhappy"]
LIKE, DISLIKE = _lexicon["like"], _lexicon["dislike"]
VERY = _lexicon["very"]
THINGS, PEOPLE, SOMEONE = _lexicon["things"], _lexicon["people"], _lexicon["someone"]
SUFFIXES = _lexicon["suffixes"]  # frequent endings, word pieces of their own

BE, NOT_BE = PHRASES["be"], PHRASES["not_be"]
FRAMES = PHRASES["frames"]  # short contexts for a word {w}, with another one {o}
CONNECT = PHRASES["connectives"]

CHAT_FRONT = _chat["openings"]
GOOD_FRONT, BAD_FRONT = _chat["good_openings"], _chat["bad_openings"]
SMILES, FROWNS = _chat["smiles"], _chat["frowns"]
SHORTHAND = _chat["shorthand"]
#: Signs outside the teacher's vocabulary, and what the teacher is shown in their place.
TEACHER_READS = {**{s: ":)" for s in SMILES if ord(s[0]) > 127}, **{s: ":(" for s in FROWNS if ord(s[0]) > 127}}

#: Everyday sentences that are never trained on; True means positive. The patterns of the first list were looked at
#: while the grammar was written, so it flatters the model. The second was written afterwards and only measured.
SPOT_CHECKS, FRESH_CHECKS = ([(text, good) for text, good in _checks[name]] for name in ("spot", "fresh"))
