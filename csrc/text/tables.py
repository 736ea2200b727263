"""Write tables.inc, the character tables of the text in C: ``python csrc/text/tables.py``.

They are those of ``squeezeops/squeezebert/tokenizer/normalizer.py``, asked for every code point. That module gives the
same answers on every Python, and so does this one.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from squeezeops.squeezebert.tokenizer.normalizer import (  # noqa: E402
    CJK,
    MARKS,
    PUNCTUATION,
    REMOVED,
    SPACE,
    WORD_CHARS,
    CharClass,
    CharMap,
    combining_class,
    nfd,
)

CODE_POINTS = 0x110000
FLAGS = ("removed", "space", "cjk", "punctuation", "dropped", "decomposes", "lowers")
HANGUL = range(0xAC00, 0xD7A4)  # decomposed by arithmetic
DOTTED_I = "\u0130"  # the only character that lower-cases to two
LONG = 0xD800  # targets from here on are places in a table of those that do not fit


def members(characters: CharClass) -> set[str]:
    bounds = iter(characters.bounds)
    return {chr(c) for first, after in zip(bounds, bounds, strict=True) for c in range(first, after)}


class Tables:
    """What the C sources need to know about each code point."""

    def __init__(self) -> None:
        everything = "".join(map(chr, range(CODE_POINTS)))
        lower = CharMap(lower=True)
        lowered = {c: lower[c] for c in everything if lower[c] != c}
        assert [c for c, small in lowered.items() if len(small) > 1] == [DOTTED_I] and lowered[DOTTED_I] == "i\u0307"
        removed, cjk, punctuation, marks, words = map(members, (REMOVED, CJK, PUNCTUATION, MARKS, WORD_CHARS))
        spaces = set(SPACE.findall(everything))
        kept = {}  # what is left of a character when its marks are dropped, if that is something else
        classes = []
        for c in everything:
            parts = nfd(c)
            rest = c if parts == c and c not in marks else "".join(part for part in parts if part not in marks)
            rank = combining_class(parts[0])
            # Only then can marks after a first part be forgotten before marks are sorted.
            assert not (rank and rest) or rest == c
            if rest and rest != c:
                kept[c] = rest
            known = (c in removed, c in spaces, c in cjk, c in punctuation, not rest, c in kept, c in lowered)
            classes.append((sum(flag << i for i, flag in enumerate(known)), rank))
        self.properties = sorted(set(classes))
        number = {key: i for i, key in enumerate(self.properties)}
        self.classes = Stages([number[key] for key in classes], 16, 32)
        self.words = Stages([c in words for c in everything], 128, 16)

        self.lower = []  # first code point and distance of each run of characters that lower-case by this distance
        for c, small in lowered.items():
            distance = ord(small) - ord(c) if c != DOTTED_I else 0
            if not self.lower or self.lower[-1][1] != distance:
                self.lower.append((ord(c), distance))

        self.runs, self.targets, self.long = [], [], []  # a run: first code point, number, place of its targets
        for c, rest in kept.items():
            if ord(c) in HANGUL:
                continue
            first, count, place = self.runs[-1] if self.runs else (0, 0, 0)
            if ord(c) == first + count:
                self.runs[-1] = first, count + 1, place
            else:
                self.runs.append((ord(c), 1, len(self.targets)))
            if len(rest) == 1 and ord(rest) < 0x10000:
                self.targets.append(ord(rest))
            else:
                self.targets.append(LONG + len(self.long))
                self.long += [*(ord(part) | 1 << 31 for part in rest[:-1]), ord(rest[-1])]
        assert not any(LONG <= ord(part) < 0xE000 for rest in kept.values() for part in rest)
        assert len(self.long) < 0xE000 - LONG and CODE_POINTS < 1 << 31


class Stages:
    """A table of `block` values per entry of the second stage, of which `group` form an entry of the first."""

    def __init__(self, values: list[int], block: int, group: int) -> None:
        self.values, blocks = self.share(values, block)
        self.second, self.first = self.share(blocks, group)

    @staticmethod
    def share(values: list[int], size: int) -> tuple[list[int], list[int]]:
        """Return the distinct blocks of that size, one after the other, and the number of each block's."""
        place: dict[tuple[int, ...], int] = {}
        numbers = [place.setdefault(tuple(values[i : i + size]), len(place)) for i in range(0, len(values), size)]
        return [value for block in place for value in block], numbers


def pack(bits: list[int]) -> list[int]:
    return [sum(bit << k for k, bit in enumerate(bits[i : i + 32])) for i in range(0, len(bits), 32)]


def text() -> str:
    """Return the contents of tables.inc."""
    tables = Tables()
    out = ["// Written by tables.py, from squeezeops/squeezebert/tokenizer/normalizer.py. Do not edit.\n"]
    names = ", ".join(f"k{flag.capitalize()} = {1 << i}" for i, flag in enumerate(FLAGS))
    out.append(f"enum : uint8_t {{ {names} }};\nconstexpr uint32_t kLongFirst = {LONG};\n")

    def table(name: str, values: list[int], bits: int) -> None:
        assert all(0 <= value < 1 << bits for value in values)
        out.append(f"const uint{bits}_t {name}[{len(values)}] = {{\n")
        line = ""
        for value in values:
            if len(line) > 120 - len(f"{value},"):
                out.append(f"{line}\n")
                line = ""
            line += f"{value},"
        out.append(f"{line}\n}};\n")

    table("kFlags", [flags for flags, _ in tables.properties], 8)
    table("kRanks", [rank for _, rank in tables.properties], 8)
    table("kClassFirst", tables.classes.first, 8)
    table("kClassSecond", tables.classes.second, 16)
    table("kClassValues", tables.classes.values, 8)
    table("kWordFirst", tables.words.first, 8)
    table("kWordSecond", tables.words.second, 8)
    table("kWordBits", pack(tables.words.values), 32)
    table("kLowerFirst", [first for first, _ in tables.lower], 32)
    table("kLowerDistance", [distance % (1 << 32) for _, distance in tables.lower], 32)
    table("kRunFirst", [run[0] for run in tables.runs], 32)
    table("kRunPlace", [run[2] for run in tables.runs], 16)
    table("kTargets", tables.targets, 16)
    table("kLongTargets", tables.long, 32)
    return "".join(out)


if __name__ == "__main__":
    Path(__file__).with_name("tables.inc").write_text(text(), encoding="utf-8")
