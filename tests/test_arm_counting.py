"""What the counts of instructions of AArch64 are made of: the sort of an instruction, by its encoding."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[1]))  # after what is installed: only bench/ is taken from here

from bench.arm.counting import KINDS, kind, kinds, read_intervals  # noqa: E402

WORDS = """
fmla 4e23cc41 fmla v1.4s, v2.4s, v3.4s
fmla 4ee3cc41 fmls v1.2d, v2.2d, v3.2d
fmla 4fbd1bdf fmla v31.4s, v30.4s, v29.s[3]
fmla 0e23cc41 fmla v1.2s, v2.2s, v3.2s
dot 4e839441 sdot v1.4s, v2.16b, v3.16b
dot 6e839441 udot v1.4s, v2.16b, v3.16b
dot 4e839c41 usdot v1.4s, v2.16b, v3.16b
dot 4fa3e841 sdot v1.4s, v2.16b, v3.4b[3]
dot 0e9d97df sdot v31.2s, v30.8b, v29.8b
mmla 4e83a441 smmla v1.4s, v2.16b, v3.16b
mmla 6e9da7df ummla v31.4s, v30.16b, v29.16b
mmla 4e83ac41 usmmla v1.4s, v2.16b, v3.16b
mull 0e23c041 smull v1.8h, v2.8b, v3.8b
mull 4e23c041 smull2 v1.8h, v2.16b, v3.16b
mull 0e238041 smlal v1.8h, v2.8b, v3.8b
mull 4f532841 smlal2 v1.4s, v2.8h, v3.h[5]
mull 2e23c041 umull v1.8h, v2.8b, v3.8b
mull 0f53a041 smull v1.4s, v2.4h, v3.h[1]
pairwise 4e606841 sadalp v1.4s, v2.8h
pairwise 4e202841 saddlp v1.8h, v2.16b
pairwise 6e606841 uadalp v1.4s, v2.8h
load 3dc00041 ldr q1, [x2]
load f8636841 ldr x1, [x2, x3]
load acc10861 ldp q1, q2, [x3], 32
load a9400861 ldp x1, x2, [x3]
load 4c407841 ld1 {v1.4s}, [x2]
load 4cdf2841 ld1 {v1.4s-v4.4s}, [x2], 64
load 4d40c841 ld1r {v1.4s}, [x2]
load b9800041 ldrsw x1, [x2]
load 3cdf0041 ldur q1, [x2, -16]
load fc636841 ldr d1, [x2, x3]
load 39400041 ldrb w1, [x2]
load 58000001 ldr x1, .
load c85ffc41 ldaxr x1, [x2]
load 7d400041 ldr h1, [x2]
load bc404441 ldr s1, [x2], 4
store 3d800041 str q1, [x2]
store f8236841 str x1, [x2, x3]
store ac810861 stp q1, q2, [x3], 32
store 4c007841 st1 {v1.4s}, [x2]
store 39000041 strb w1, [x2]
store 3c9f0041 stur q1, [x2, -16]
store c800fc41 stlxr w0, x1, [x2]
store bc004441 str s1, [x2], 4
store a9bf7bfd stp x29, x30, [sp, -16]!
prefetch f9800020 prfm pldl1keep, [x1]
prefetch f8a26820 prfm pldl1keep, [x1, x2]
prefetch f89f8020 prfum pldl1keep, [x1, -8]
branch 14000000 b .
branch 94000000 bl .
branch 54000001 b.ne .
branch b4000001 cbz x1, .
branch 35000001 cbnz w1, .
branch 36180001 tbz x1, 3, .
branch d61f0020 br x1
branch d63f0040 blr x2
branch d65f03c0 ret
vector 4e23d441 fadd v1.4s, v2.4s, v3.4s
vector 4e0c0441 dup v1.4s, v2.s[1]
vector 4e030041 tbl v1.16b, {v2.16b}, v3.16b
vector 0e217841 fcvtl v1.4s, v2.4h
vector 1e230841 fmul s1, s2, s3
vector 4f000401 movi v1.4s, 0
vector 9e660041 fmov x1, d2
vector 6e034041 ext v1.16b, v2.16b, v3.16b, 8
vector 6e23fc41 fdiv v1.4s, v2.4s, v3.4s
vector 4e630c41 sqadd v1.8h, v2.8h, v3.8h
vector 4e833841 zip1 v1.4s, v2.4s, v3.4s
vector 1f031041 fmadd s1, s2, s3, s4
vector 4e21d841 scvtf v1.4s, v2.4s
vector 6e631c41 bsl v1.16b, v2.16b, v3.16b
integer 8b030041 add x1, x2, x3
integer f1001041 subs x1, x2, 4
integer 9b031041 madd x1, x2, x3, x4
integer 9a830041 csel x1, x2, x3, eq
integer 90000001 adrp x1, .
integer d28000a1 mov x1, 5
integer d343fc41 lsr x1, x2, 3
other d503201f nop
other d53b4401 mrs x1, fpcr
other d5032c9f hint 100
other d5033bbf dmb ish
"""


@pytest.mark.parametrize("line", WORDS.strip().splitlines())
def test_the_kind_of_an_instruction(line):
    name, word, text = line.split(" ", 2)
    assert kind(int(word, 16)) == name, text


def test_every_kind_is_tried():
    assert {line.split()[0] for line in WORDS.strip().splitlines()} == set(KINDS)


def test_blocks_add_up(tmp_path):
    file = tmp_path / "counts"
    file.write_text("interval\n1000 2 d503201f d65f03c0\ninterval\n1000 3 d503201f d65f03c0\n1004 10 d65f03c0\n")
    first, second = read_intervals(file)
    assert first == {(0x1000, 0xD503201F): 2, (0x1004, 0xD65F03C0): 2}
    assert second == {(0x1000, 0xD503201F): 3, (0x1004, 0xD65F03C0): 19}
    assert kinds(second) == {"branch": 19, "other": 3}
