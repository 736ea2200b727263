r"""BERT's text normalisation and its division into words, for fixed versions of Unicode.

The ``tokenizers`` pipeline ``BertNormalizer`` + ``BertPreTokenizer`` has fixed tables: categories of Unicode 8,
canonical decomposition and combining classes of Unicode 9, lower-casing of Unicode 17; its added tokens know the word
characters of Unicode 16. ``unicodedata`` changes with each Python, so the classes are written out here, and
``str.lower`` and NFD are corrected where Python 3.10 to 3.14 differ.

Parsing the tables takes milliseconds, and ASCII texts need none of them: each is parsed when it is first used.
"""

from __future__ import annotations

import operator
import re
import unicodedata
from bisect import bisect_right
from functools import cache, cached_property

__all__ = ["SPACE", "WHITESPACE", "WORD_CHARS", "BertNormalizer", "word_pattern"]


class CharClass:
    """A set of characters, written as ``"41+19 5F"`` (hexadecimal: first code point + number that follow)."""

    def __init__(self, spec: str) -> None:
        self.spec = spec

    @cached_property
    def bounds(self) -> list[int]:
        """For each range the first code point, and the one after the last."""
        out = []
        for part in self.spec.split():
            first, _, more = part.partition("+")
            out += [int(first, 16), int(first, 16) + int(more or "0", 16) + 1]
        return out

    def __contains__(self, char: str) -> bool:
        return bisect_right(self.bounds, ord(char)) % 2 == 1

    @property
    def pattern(self) -> str:
        """The inside of a regex ``[...]``."""
        bounds = iter(self.bounds)
        return "".join(f"\\U{first:08X}-\\U{after - 1:08X}" for first, after in zip(bounds, bounds, strict=True))


# The tests compare each table with the reference pipeline for every code point.
# Nonspacing marks (Mn) of Unicode 8 that do not decompose. Dropped when accents are stripped.
MARKS = CharClass(
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
PUNCTUATION = CharClass(
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
REMOVED = CharClass(
    "0+8 B+1 E+11 7F+20 AD 600+5 61C 6DD 70F 180E 200B+4 202A+4 2060+4 2066+9 D800+20FF FEFF FFF9+2 FFFD 110BD 1BCA0+3 "
    "1D173+7 E0001 E0020+5F F0000+FFFD 100000+FFFD"
)
# Letters, marks, digits, connectors and joiners of Unicode 16, which may not touch a single_word token.
WORD_CHARS = CharClass(
    "30+9 41+19 5F 61+19 AA B5 BA C0+16 D8+1E F8+1C9 2C6+B 2E0+4 2EC 2EE 300+74 376+1 37A+3 37F 386 388+2 38C 38E+13 "
    "3A3+52 3F7+8A 483+AC 531+25 559 560+28 591+2C 5BF 5C1+1 5C4+1 5C7 5D0+1A 5EF+3 610+A 620+49 66E+65 6D5+7 6DF+9 "
    "6EA+12 6FF 710+3A 74D+64 7C0+35 7FA 7FD 800+2D 840+1B 860+A 870+17 889+5 897+4A 8E3+80 966+9 971+12 985+7 98F+1 "
    "993+15 9AA+6 9B2 9B6+3 9BC+8 9C7+1 9CB+3 9D7 9DC+1 9DF+4 9E6+B 9FC 9FE A01+2 A05+5 A0F+1 A13+15 A2A+6 A32+1 A35+1 "
    "A38+1 A3C A3E+4 A47+1 A4B+2 A51 A59+3 A5E A66+F A81+2 A85+8 A8F+2 A93+15 AAA+6 AB2+1 AB5+4 ABC+9 AC7+2 ACB+2 AD0 "
    "AE0+3 AE6+9 AF9+6 B01+2 B05+7 B0F+1 B13+15 B2A+6 B32+1 B35+4 B3C+8 B47+1 B4B+2 B55+2 B5C+1 B5F+4 B66+9 B71 B82+1 "
    "B85+5 B8E+2 B92+3 B99+1 B9C B9E+1 BA3+1 BA8+2 BAE+B BBE+4 BC6+2 BCA+3 BD0 BD7 BE6+9 C00+C C0E+2 C12+16 C2A+F "
    "C3C+8 C46+2 C4A+3 C55+1 C58+2 C5D C60+3 C66+9 C80+3 C85+7 C8E+2 C92+16 CAA+9 CB5+4 CBC+8 CC6+2 CCA+3 CD5+1 CDD+1 "
    "CE0+3 CE6+9 CF1+2 D00+C D0E+2 D12+32 D46+2 D4A+4 D54+3 D5F+4 D66+9 D7A+5 D81+2 D85+11 D9A+17 DB3+8 DBD DC0+6 DCA "
    "DCF+5 DD6 DD8+7 DE6+9 DF2+1 E01+39 E40+E E50+9 E81+1 E84 E86+4 E8C+17 EA5 EA7+16 EC0+4 EC6 EC8+6 ED0+9 EDC+3 F00 "
    "F18+1 F20+9 F35 F37 F39 F3E+9 F49+23 F71+13 F86+11 F99+23 FC6 1000+49 1050+4D 10A0+25 10C7 10CD 10D0+2A 10FC+14C "
    "124A+3 1250+6 1258 125A+3 1260+28 128A+3 1290+20 12B2+3 12B8+6 12C0 12C2+3 12C8+E 12D8+38 1312+3 1318+42 135D+2 "
    "1380+F 13A0+55 13F8+5 1401+26B 166F+10 1681+19 16A0+4A 16EE+A 1700+15 171F+15 1740+13 1760+C 176E+2 1772+1 "
    "1780+53 17D7 17DC+1 17E0+9 180B+2 180F+A 1820+58 1880+2A 18B0+45 1900+1E 1920+B 1930+B 1946+27 1970+4 1980+2B "
    "19B0+19 19D0+9 1A00+1B 1A20+3E 1A60+1C 1A7F+A 1A90+9 1AA7 1AB0+1E 1B00+4C 1B50+9 1B6B+8 1B80+73 1C00+37 1C40+9 "
    "1C4D+30 1C80+A 1C90+2A 1CBD+2 1CD0+2 1CD4+26 1D00+215 1F18+5 1F20+25 1F48+5 1F50+7 1F59 1F5B 1F5D 1F5F+1E 1F80+34 "
    "1FB6+6 1FBE 1FC2+2 1FC6+6 1FD0+3 1FD6+5 1FE0+C 1FF2+2 1FF6+6 200C+1 203F+1 2054 2071 207F 2090+C 20D0+20 2102 "
    "2107 210A+9 2115 2119+4 2124 2126 2128 212A+3 212F+A 213C+3 2145+4 214E 2160+28 24B6+33 2C00+E4 2CEB+8 2D00+25 "
    "2D27 2D2D 2D30+37 2D6F 2D7F+17 2DA0+6 2DA8+6 2DB0+6 2DB8+6 2DC0+6 2DC8+6 2DD0+6 2DD8+6 2DE0+1F 2E2F 3005+2 3021+E "
    "3031+4 3038+4 3041+55 3099+1 309D+2 30A1+59 30FC+3 3105+2A 3131+5D 31A0+1F 31F0+F 3400+19BF 4E00+568C A4D0+2D "
    "A500+10C A610+1B A640+32 A674+9 A67F+72 A717+8 A722+66 A78B+42 A7D0+1 A7D3 A7D5+7 A7F2+35 A82C A840+33 A880+45 "
    "A8D0+9 A8E0+17 A8FB A8FD+30 A930+23 A960+1C A980+40 A9CF+A A9E0+1E AA00+36 AA40+D AA50+9 AA60+16 AA7A+48 AADB+2 "
    "AAE0+F AAF2+4 AB01+5 AB09+5 AB11+5 AB20+6 AB28+6 AB30+2A AB5C+D AB70+7A ABEC+1 ABF0+9 AC00+2BA3 D7B0+16 D7CB+30 "
    "F900+16D FA70+69 FB00+6 FB13+4 FB1D+B FB2A+C FB38+4 FB3E FB40+1 FB43+1 FB46+6B FBD3+16A FD50+3F FD92+35 FDF0+B "
    "FE00+F FE20+F FE33+1 FE4D+2 FE70+4 FE76+86 FF10+9 FF21+19 FF3F FF41+19 FF66+58 FFC2+5 FFCA+5 FFD2+5 FFDA+2 "
    "10000+B 1000D+19 10028+12 1003C+1 1003F+E 10050+D 10080+7A 10140+34 101FD 10280+1C 102A0+30 102E0 10300+1F "
    "1032D+1D 10350+2A 10380+1D 103A0+23 103C8+7 103D1+4 10400+9D 104A0+9 104B0+23 104D8+23 10500+27 10530+33 10570+A "
    "1057C+E 1058C+6 10594+1 10597+A 105A3+E 105B3+6 105BB+1 105C0+33 10600+136 10740+15 10760+7 10780+5 10787+29 "
    "107B2+8 10800+5 10808 1080A+2B 10837+1 1083C 1083F+16 10860+16 10880+1E 108E0+12 108F4+1 10900+15 10920+19 "
    "10980+37 109BE+1 10A00+3 10A05+1 10A0C+7 10A15+2 10A19+1C 10A38+2 10A3F 10A60+1C 10A80+1C 10AC0+7 10AC9+1D "
    "10B00+35 10B40+15 10B60+12 10B80+11 10C00+48 10C80+32 10CC0+32 10D00+27 10D30+9 10D40+25 10D69+4 10D6F+16 "
    "10E80+29 10EAB+1 10EB0+1 10EC2+2 10EFC+20 10F27 10F30+20 10F70+15 10FB0+14 10FE0+16 11000+46 11066+F 1107F+3B "
    "110C2 110D0+18 110F0+9 11100+34 11136+9 11144+3 11150+23 11176 11180+44 111C9+3 111CE+C 111DC 11200+11 11213+24 "
    "1123E+3 11280+6 11288 1128A+3 1128F+E 1129F+9 112B0+3A 112F0+9 11300+3 11305+7 1130F+1 11313+15 1132A+6 11332+1 "
    "11335+4 1133B+9 11347+1 1134B+2 11350 11357 1135D+6 11366+6 11370+4 11380+9 1138B 1138E 11390+25 113B7+9 113C2 "
    "113C5 113C7+3 113CC+7 113E1+1 11400+4A 11450+9 1145E+3 11480+45 114C7 114D0+9 11580+35 115B8+8 115D8+5 11600+40 "
    "11644 11650+9 11680+38 116C0+9 116D0+13 11700+1A 1171D+E 11730+9 11740+6 11800+3A 118A0+49 118FF+7 11909 1190C+7 "
    "11915+1 11918+1D 11937+1 1193B+8 11950+9 119A0+7 119AA+2D 119DA+7 119E3+1 11A00+3E 11A47 11A50+49 11A9D 11AB0+48 "
    "11BC0+20 11BF0+9 11C00+8 11C0A+2C 11C38+8 11C50+9 11C72+1D 11C92+15 11CA9+D 11D00+6 11D08+1 11D0B+2B 11D3A "
    "11D3C+1 11D3F+8 11D50+9 11D60+5 11D67+1 11D6A+24 11D90+1 11D93+5 11DA0+9 11EE0+16 11F00+10 11F12+28 11F3E+4 "
    "11F50+A 11FB0 12000+399 12400+6E 12480+C3 12F90+60 13000+42F 13440+15 13460+F9A 14400+246 16100+39 16800+238 "
    "16A40+1E 16A60+9 16A70+4E 16AC0+9 16AD0+1D 16AF0+4 16B00+36 16B40+3 16B50+9 16B63+14 16B7D+12 16D40+2C 16D70+9 "
    "16E40+3F 16F00+4A 16F4F+38 16F8F+10 16FE0+1 16FE3+1 16FF0+1 17000+17F7 18800+4D5 18CFF+9 1AFF0+3 1AFF5+6 1AFFD+1 "
    "1B000+122 1B132 1B150+2 1B155 1B164+3 1B170+18B 1BC00+6A 1BC70+C 1BC80+8 1BC90+9 1BC9D+1 1CCF0+9 1CF00+2D "
    "1CF30+16 1D165+4 1D16D+5 1D17B+7 1D185+6 1D1AA+3 1D242+2 1D400+54 1D456+46 1D49E+1 1D4A2 1D4A5+1 1D4A9+3 1D4AE+B "
    "1D4BB 1D4BD+6 1D4C5+40 1D507+3 1D50D+7 1D516+6 1D51E+1B 1D53B+3 1D540+4 1D546 1D54A+6 1D552+153 1D6A8+18 1D6C2+18 "
    "1D6DC+1E 1D6FC+18 1D716+1E 1D736+18 1D750+1E 1D770+18 1D78A+1E 1D7AA+18 1D7C4+7 1D7CE+31 1DA00+36 1DA3B+31 1DA75 "
    "1DA84 1DA9B+4 1DAA1+E 1DF00+1E 1DF25+5 1E000+6 1E008+10 1E01B+6 1E023+1 1E026+4 1E030+3D 1E08F 1E100+2C 1E130+D "
    "1E140+9 1E14E 1E290+1E 1E2C0+39 1E4D0+29 1E5D0+2A 1E7E0+6 1E7E8+3 1E7ED+1 1E7F0+E 1E800+C4 1E8D0+6 1E900+4B "
    "1E950+9 1EE00+3 1EE05+1A 1EE21+1 1EE24 1EE27 1EE29+9 1EE34+3 1EE39 1EE3B 1EE42 1EE47 1EE49 1EE4B 1EE4D+2 1EE51+1 "
    "1EE54 1EE57 1EE59 1EE5B 1EE5D 1EE5F 1EE61+1 1EE64 1EE67+3 1EE6C+6 1EE74+3 1EE79+3 1EE7E 1EE80+9 1EE8B+10 1EEA1+2 "
    "1EEA5+4 1EEAB+10 1F130+19 1F150+19 1F170+19 1FBF0+9 20000+A6DF 2A700+1039 2B740+DD 2B820+1681 2CEB0+1D30 "
    "2EBF0+26D 2F800+21D 30000+134A 31350+105F E0100+EF"
)
# The property White_Space. Cleaning drops those that are control characters.
WHITESPACE = CharClass("9+4 20 85 A0 1680 2000+A 2028+1 202F 205F 3000").pattern
SPACE = re.compile(f"[{WHITESPACE}]")
# Words of ASCII text: scanning with small classes is several times faster.
ASCII_WORD = re.compile(r"[!-/:-@\[-`{-~]|[^!-/:-@\[-`{-~\t-\r ]+")
ASCII_DROP = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
ASCII_SPACES = {9: " ", 10: " ", 13: " "}
# Ideographs that get spaces around them. 2B820-2B91F are missing in the reference, too.
CJK = CharClass("3400+19BF 4E00+51FF F900+1FF 20000+A6DF 2A700+111F 2B920+158F 2F800+21F")
# Marks with a combining class that stay in the text. Reordering by NFD is visible only with them.
KEPT_NONSTARTERS = CharClass(
    "8D4+D 1B44 1BAA 1BF2+1 1DFB 302E+1 A953 A9C0 111C0 11235 1134D 11442 11446 116B6 11C3F 1D165+1 1D16D+5 1E000+6 "
    "1E008+10 1E01B+6 1E023+1 1E026+4 1E944+6"
)
HOLD_NONSTARTERS = CharClass("1D15E+6 1D1BB+5")  # characters that decompose to some of them
# Characters whose canonical decomposition is newer than Unicode 9.
LATER_NFD = CharClass("105C9 105E4 11383+E 113C5+3 11938 16121+7 16D68+2")
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

CACHE_SIZE = 1 << 16  # characters


@cache
def words() -> re.Pattern[str]:
    return re.compile(f"[{PUNCTUATION.pattern}]|[^{PUNCTUATION.pattern}{WHITESPACE}]+")


@cache
def nonstarters() -> re.Pattern[str]:
    """Return a pattern of the characters with which NFD may reorder marks that are kept."""
    return re.compile(f"[{KEPT_NONSTARTERS.pattern}{HOLD_NONSTARTERS.pattern}]")


def word_pattern(normal: str) -> re.Pattern[str]:
    """Return the pattern of words in a normalised text: punctuation marks, and runs of anything else but spaces."""
    return ASCII_WORD if normal.isascii() else words()


def nfd(char: str) -> str:
    return char if char in LATER_NFD else unicodedata.normalize("NFD", char)


def combining_class(char: str) -> int:
    # Classes never change once assigned, so only the marks of Unicode 9 need a look-up.
    return unicodedata.combining(char) if char in MARKS or char in KEPT_NONSTARTERS else 0


class CharMap(dict[str, str]):
    """Cache of the normalised forms of characters."""

    def __init__(self, clean: bool = False, cjk: bool = False, strip: bool = False, lower: bool = False) -> None:
        super().__init__()
        self.flags = (clean, cjk, strip, lower)

    def __missing__(self, char: str) -> str:
        clean, cjk, strip, lower = self.flags
        out = char
        if clean:
            out = "" if char in REMOVED else " " if SPACE.match(char) else char
        spaced = cjk and char in CJK
        if strip:
            out = "".join(c for c in nfd(out) if c not in MARKS) if out else out
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
        if self.strip and nonstarters().search(text):
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
            if part not in MARKS:
                lowered = self.lower_map[part]
                out.append(lowered)
                origin += [source[taken - 1][1]] * len(lowered)
        return "".join(out), origin
