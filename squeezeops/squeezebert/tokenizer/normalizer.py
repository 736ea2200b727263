r"""BERT's text normalisation and its division into words, for fixed versions of Unicode.

The ``tokenizers`` pipeline ``BertNormalizer`` + ``BertPreTokenizer`` has fixed tables: categories of Unicode 8,
canonical decomposition and combining classes of Unicode 9, lower-casing of Unicode 17. ``unicodedata`` changes with
each Python, so the classes are written out here, and ``str.lower`` and NFD are corrected where Python 3.10 to 3.14
differ.
"""

from __future__ import annotations

import operator
import re
import unicodedata

__all__ = ["CACHE_SIZE", "SPACE", "WHITESPACE", "BertNormalizer", "is_word_char", "word_pattern"]


def char_class(spec: str) -> str:
    """Turn ``"41+19 5F"`` (hexadecimal: first code point + number that follow) into the inside of a regex ``[...]``."""
    out = []
    for part in spec.split():
        first, _, more = part.partition("+")
        out.append(f"\\U{int(first, 16):08X}-\\U{int(first, 16) + int(more or '0', 16):08X}")
    return "".join(out)


# The tests compare each table with the reference pipeline for every code point.
# Nonspacing marks (Mn) of Unicode 8 that do not decompose. Dropped when accents are stripped.
MARKS = char_class(
    "300+3F 342 345+2A 483+4 591+2C 5BF 5C1+1 5C4+1 5C7 610+A 64B+14 670 6D6+6 6DF+5 6E7+1 6EA+3 711 730+1A 7A6+A "
    "7EB+8 816+3 81B+8 825+2 829+4 859+2 8E3+1F 93A 93C 941+7 94D 951+6 962+1 981 9BC 9C1+3 9CD 9E2+1 A01+1 A3C A41+1 "
    "A47+1 A4B+2 A51 A70+1 A75 A81+1 ABC AC1+4 AC7+1 ACD AE2+1 B01 B3C B3F B41+3 B4D B56 B62+1 B82 BC0 BCD C00 C3E+2 "
    "C46+1 C4A+3 C55+1 C62+1 C81 CBC CBF CC6 CCC+1 CE2+1 D01 D41+3 D4D D62+1 DCA DD2+2 DD6 E31 E34+6 E47+7 EB1 EB4+5 "
    "EBB+1 EC8+5 F18+1 F35 F37 F39 F71+1 F74 F77 F79+5 F80 F82+2 F86+1 F8D+5 F94+3 F99+3 F9E+3 FA3+3 FA8+3 FAD+B FBA+2 "
    "FC6 102D+3 1032+5 1039+1 103D+1 1058+1 105E+2 1071+3 1082 1085+1 108D 109D 135D+2 1712+2 1732+2 1752+1 1772+1 "
    "17B4+1 17B7+6 17C6 17C9+A 17DD 180B+2 18A9 1920+2 1927+1 1932 1939+2 1A17+1 1A1B 1A56 1A58+6 1A60 1A62 1A65+7 "
    "1A73+9 1A7F 1AB0+D 1B00+3 1B34 1B36+4 1B3C 1B42 1B6B+8 1B80+1 1BA2+3 1BA8+1 1BAB+2 1BE6 1BE8+1 1BED 1BEF+2 1C2C+7 "
    "1C36+1 1CD0+2 1CD4+C 1CE2+6 1CED 1CF4 1CF8+1 1DC0+35 1DFC+3 20D0+C 20E1 20E5+B 2CEF+2 2D7F 2DE0+1F 302A+3 3099+1 "
    "A66F A674+9 A69E+1 A6F0+1 A802 A806 A80B A825+1 A8C4 A8E0+11 A926+7 A947+A A980+2 A9B3 A9B6+3 A9BC A9E5 AA29+5 "
    "AA31+1 AA35+1 AA43 AA4C AA7C AAB0 AAB2+2 AAB7+1 AABE+1 AAC1 AAEC+1 AAF6 ABE5 ABE8 ABED FB1E FE00+F FE20+F 101FD "
    "102E0 10376+4 10A01+2 10A05+1 10A0C+3 10A38+2 10A3F 10AE5+1 11001 11038+E 1107F+2 110B3+3 110B9+1 11100+2 11127+4 "
    "1112D 11130+4 11173 11180+1 111B6+8 111CA+2 1122F+2 11234 11236+1 112DF 112E3+7 11300+1 1133C 11340 11366+6 "
    "11370+4 114B3+5 114BA 114BF+1 114C2+1 115B2+3 115BC+1 115BF+1 115DC+1 11633+7 1163D 1163F+1 116AB 116AD 116B0+5 "
    "116B7 1171D+2 11722+3 11727+4 16AF0+4 16B30+6 16F8F+3 1BC9D+1 1D167+2 1D17B+7 1D185+6 1D1AA+3 1D242+2 1DA00+36 "
    "1DA3B+31 1DA75 1DA84 1DA9B+4 1DAA1+E 1E8D0+6 E0100+EF"
)
# Punctuation (P*) of Unicode 8 and the other ASCII symbols.
PUNCTUATION = char_class(
    "21+E 3A+6 5B+5 7B+3 A1 A7 AB B6+1 BB BF 37E 387 55A+5 589+1 5BE 5C0 5C3 5C6 5F3+1 609+1 60C+1 61B 61E+1 66A+3 6D4 "
    "700+D 7F7+2 830+E 85E 964+1 970 AF0 DF4 E4F E5A+1 F04+E F14 F3A+3 F85 FD0+4 FD9+1 104A+5 10FB 1360+8 1400 166D+1 "
    "169B+1 16EB+2 1735+1 17D4+2 17D8+2 1800+A 1944+1 1A1E+1 1AA0+6 1AA8+5 1B5A+6 1BFC+3 1C3B+4 1C7E+1 1CC0+7 1CD3 "
    "2010+17 2030+13 2045+C 2053+B 207D+1 208D+1 2308+3 2329+1 2768+D 27C5+1 27E6+9 2983+15 29D8+3 29FC+1 2CF9+3 "
    "2CFE+1 2D70 2E00+2E 2E30+12 3001+2 3008+9 3014+B 3030 303D 30A0 30FB A4FE+1 A60D+2 A673 A67E A6F2+5 A874+3 A8CE+1 "
    "A8F8+2 A8FC A92E+1 A95F A9C1+C A9DE+1 AA5C+3 AADE+1 AAF0+1 ABEB FD3E+1 FE10+9 FE30+22 FE54+D FE63 FE68 FE6A+1 "
    "FF01+2 FF05+5 FF0C+3 FF1A+1 FF1F+1 FF3B+2 FF3F FF5B FF5D FF5F+6 10100+2 1039F 103D0 1056F 10857 1091F 1093F "
    "10A50+8 10A7F 10AF0+6 10B39+6 10B99+3 11047+6 110BB+1 110BE+3 11140+3 11174+1 111C5+4 111CD 111DB 111DD+2 11238+5 "
    "112A9 114C6 115C1+16 11641+2 1173C+2 12470+4 16A6E+1 16AF5 16B37+4 16B44 1BC9F 1DA87+4"
)
# Control, format, private use and surrogate code points (not unassigned ones), and U+FFFD. Dropped by cleaning.
REMOVED = char_class(
    "0+8 B+1 E+11 7F+20 AD 600+5 61C 6DD 70F 180E 200B+4 202A+4 2060+4 2066+9 D800+20FF FEFF FFF9+2 FFFD 110BD 1BCA0+3 "
    "1D173+7 E0001 E0020+5F F0000+FFFD 100000+FFFD"
)
# The property White_Space. Cleaning drops those that are control characters.
WHITESPACE = char_class("9+4 20 85 A0 1680 2000+A 2028+1 202F 205F 3000")

MARK = re.compile(f"[{MARKS}]")
DROP = re.compile(f"[{REMOVED}]")
SPACE = re.compile(f"[{WHITESPACE}]")
WORD = re.compile(f"[{PUNCTUATION}]|[^{PUNCTUATION}{WHITESPACE}]+")
# The same for ASCII text: scanning with small classes is several times faster.
ASCII_WORD = re.compile(r"[!-/:-@\[-`{-~]|[^!-/:-@\[-`{-~\t-\r ]+")
ASCII_DROP = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
ASCII_SPACES = {9: " ", 10: " ", 13: " "}
# Ideographs that get spaces around them. 2B820-2B91F are missing in the reference, too.
CJK = re.compile(f"[{char_class('3400+19BF 4E00+51FF F900+1FF 20000+A6DF 2A700+111F 2B920+158F 2F800+21F')}]")
# Marks with a combining class that stay in the text. Reordering by NFD is visible only with them.
KEPT_NONSTARTERS = char_class(
    "8D4+D 1B44 1BAA 1BF2+1 1DFB 302E+1 A953 A9C0 111C0 11235 1134D 11442 11446 116B6 11C3F 1D165+1 1D16D+5 1E000+6 "
    "1E008+10 1E01B+6 1E023+1 1E026+4 1E944+6"
)
KEPT_NONSTARTER = re.compile(f"[{KEPT_NONSTARTERS}]")
# Characters whose canonical decomposition is newer than Unicode 9.
LATER_NFD = re.compile(f"[{char_class('105C9 105E4 11383+E 113C5+3 11938 16121+7 16D68+2')}]")
# Lower-casing of Unicode 14 to 17, for older Pythons: (first, last, step, distance).
LATER_LOWER = {
    chr(upper): chr(upper + distance)
    for first, last, step, distance in (
        (0x1C89, 0x1C89, 1, 1), (0x2C2F, 0x2C2F, 1, 48), (0xA7C0, 0xA7C0, 1, 1), (0xA7CB, 0xA7CB, 1, 0x264 - 0xA7CB),
        (0xA7CC, 0xA7DA, 2, 1), (0xA7DC, 0xA7DC, 1, 0x19B - 0xA7DC), (0x10570, 0x1057A, 1, 39),
        (0x1057C, 0x1058A, 1, 39), (0x1058C, 0x10592, 1, 39), (0x10594, 0x10595, 1, 39), (0x10D50, 0x10D65, 1, 32),
        (0x16EA0, 0x16EB8, 1, 27),
    )
    for upper in range(first, last + 1, step)
}  # fmt: skip
OTHER_ALPHABETIC = re.compile(f"[{char_class('24B6+33 1F130+19 1F150+19 1F170+19 200C+1')}]")

CACHE_SIZE = 1 << 16  # entries


def nfd(char: str) -> str:
    return char if LATER_NFD.match(char) else unicodedata.normalize("NFD", char)


def combining_class(char: str) -> int:
    # Classes never change once assigned, so only the marks of Unicode 9 need a look-up.
    return unicodedata.combining(char) if MARK.match(char) or KEPT_NONSTARTER.match(char) else 0


def is_word_char(char: str) -> bool:
    """Whether a character is a letter, mark, digit or connector, which may not touch a single_word token."""
    category = unicodedata.category(char)
    return category[0] in "LM" or category in ("Nd", "Nl", "Pc") or bool(OTHER_ALPHABETIC.match(char))


def word_pattern(normal: str) -> re.Pattern[str]:
    """Return the pattern of words in a normalised text: punctuation marks, and runs of anything else but spaces."""
    return ASCII_WORD if normal.isascii() else WORD


class CharMap(dict[str, str]):
    """Cache of the normalised forms of characters."""

    def __init__(self, clean: bool = False, cjk: bool = False, strip: bool = False, lower: bool = False) -> None:
        super().__init__()
        self.flags = (clean, cjk, strip, lower)

    def __missing__(self, char: str) -> str:
        clean, cjk, strip, lower = self.flags
        out = char
        if clean:
            out = "" if DROP.match(char) else " " if SPACE.match(char) else char
        spaced = cjk and CJK.match(char)
        if strip:
            out = MARK.sub("", nfd(out)) if out else out
        if lower:
            # One by one, because lower() of a string treats word-final sigmas specially.
            out = "".join(LATER_LOWER.get(c) or c.lower() for c in out)
        out = f" {out} " if spaced else out
        if len(self) < CACHE_SIZE:
            self[char] = out
        return out


class BertNormalizer:
    """Normalises a text and tracks where each character came from.

    Parameters
    ----------
    clean_text, handle_chinese_chars, strip_accents, lowercase : bool
        The steps: drop control characters, put spaces around ideographs, drop accents, lower-case.
    """

    def __init__(self, clean_text: bool, handle_chinese_chars: bool, strip_accents: bool, lowercase: bool) -> None:
        self.clean, self.strip, self.lowercase = clean_text, strip_accents, lowercase
        self.full_map = CharMap(clean_text, handle_chinese_chars, strip_accents, lowercase)
        self.first_map = CharMap(clean_text, handle_chinese_chars)
        self.lower_map = CharMap(lower=lowercase)

    def __call__(self, text: str) -> tuple[str, list[int] | None]:
        """Return the normalised text and, for each of its characters, the original index (None: the same index)."""
        if text.isascii() and not (self.clean and ASCII_DROP.search(text)):
            if self.clean:
                text = text.translate(ASCII_SPACES)
            return (text.lower() if self.lowercase else text), None
        if self.strip and KEPT_NONSTARTER.search(text):
            return self.reordering(text)
        char_map = self.full_map
        parts = [char_map[char] for char in text]
        normal = "".join(parts)
        if len(normal) == len(text) and max(map(len, parts)) == 1:
            return normal, None
        return normal, [i for i, part in enumerate(parts) for _ in part]

    def reordering(self, text: str) -> tuple[str, list[int]]:
        """Normalise text in which NFD may reorder marks that are kept.

        As in the reference, origins are assigned in sequence after sorting, so a reordered mark gets the origin of the
        mark whose place it takes.
        """
        source = [(char, i) for i, original in enumerate(text) for char in self.first_map[original]]
        marks: list[tuple[int, str, bool]] = []
        ordered: list[tuple[int, str, bool]] = []
        for char, _ in source:
            for k, part in enumerate(nfd(char)):
                rank = combining_class(part)
                if rank == 0:
                    ordered += sorted(marks, key=operator.itemgetter(0))
                    marks.clear()
                (marks if rank else ordered).append((rank, part, k == 0))
        ordered += sorted(marks, key=operator.itemgetter(0))
        out, origin, taken = [], [], 0
        for _, part, is_first in ordered:
            taken += is_first
            if not MARK.match(part):
                lowered = self.lower_map[part]
                out.append(lowered)
                origin += [source[taken - 1][1]] * len(lowered)
        return "".join(out), origin
