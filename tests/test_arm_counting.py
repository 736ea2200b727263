"""What the counts of instructions of AArch64 are made of: the sort of an instruction, by its encoding."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from build_helpers import tool

sys.path.append(str(Path(__file__).resolve().parents[1]))  # after what is installed: only bench/ is taken from here

from bench.arm.counting import KINDS, kind, kinds, read_intervals  # noqa: E402

ASSEMBLER = {
    "fmla": "fmla v1.4s, v2.4s, v3.4s; fmls v1.2d, v2.2d, v3.2d; fmla v31.4s, v30.4s, v29.s[3]; "
    "fmla v1.2s, v2.2s, v3.2s",
    "dot": "sdot v1.4s, v2.16b, v3.16b; udot v1.4s, v2.16b, v3.16b; usdot v1.4s, v2.16b, v3.16b; "
    "sdot v1.4s, v2.16b, v3.4b[3]; sdot v31.2s, v30.8b, v29.8b",
    "mmla": "smmla v1.4s, v2.16b, v3.16b; ummla v31.4s, v30.16b, v29.16b; usmmla v1.4s, v2.16b, v3.16b",
    "mull": "smull v1.8h, v2.8b, v3.8b; smull2 v1.8h, v2.16b, v3.16b; smlal v1.8h, v2.8b, v3.8b; "
    "smlal2 v1.4s, v2.8h, v3.h[5]; umull v1.8h, v2.8b, v3.8b; smull v1.4s, v2.4h, v3.h[1]",
    "pairwise": "sadalp v1.4s, v2.8h; saddlp v1.8h, v2.16b; uadalp v1.4s, v2.8h",
    "load": "ldr q1, [x2]; ldr x1, [x2, x3]; ldp q1, q2, [x3], 32; ldp x1, x2, [x3]; ld1 {v1.4s}, [x2]; "
    "ld1 {v1.4s-v4.4s}, [x2], 64; ld1r {v1.4s}, [x2]; ldrsw x1, [x2]; ldur q1, [x2, -16]; ldr d1, [x2, x3]; "
    "ldrb w1, [x2]; ldr x1, .; ldaxr x1, [x2]; ldr h1, [x2]; ldr s1, [x2], 4",
    "store": "str q1, [x2]; str x1, [x2, x3]; stp q1, q2, [x3], 32; st1 {v1.4s}, [x2]; strb w1, [x2]; "
    "stur q1, [x2, -16]; stlxr w0, x1, [x2]; str s1, [x2], 4; stp x29, x30, [sp, -16]!",
    "prefetch": "prfm pldl1keep, [x1]; prfm pldl1keep, [x1, x2]; prfum pldl1keep, [x1, -8]",
    "branch": "b .; bl .; b.ne .; cbz x1, .; cbnz w1, .; tbz x1, 3, .; br x1; blr x2; ret",
    "vector": "fadd v1.4s, v2.4s, v3.4s; dup v1.4s, v2.s[1]; tbl v1.16b, {v2.16b}, v3.16b; fcvtl v1.4s, v2.4h; "
    "fmul s1, s2, s3; movi v1.4s, 0; fmov x1, d2; ext v1.16b, v2.16b, v3.16b, 8; fdiv v1.4s, v2.4s, v3.4s; "
    "sqadd v1.8h, v2.8h, v3.8h; zip1 v1.4s, v2.4s, v3.4s; fmadd s1, s2, s3, s4; scvtf v1.4s, v2.4s; bsl v1.16b, "
    "v2.16b, v3.16b",
    "integer": "add x1, x2, x3; subs x1, x2, 4; madd x1, x2, x3, x4; csel x1, x2, x3, eq; adrp x1, .; mov x1, 5; "
    "lsr x1, x2, 3",
    "other": "nop; mrs x1, fpcr; hint 100; dmb ish",
}


@pytest.mark.parametrize("name", KINDS)
def test_the_kind_of_an_instruction(name, tmp_path):
    mnemonics = [part.strip() for part in ASSEMBLER[name].split(";")]
    source, built = tmp_path / "some.s", tmp_path / "some.o"
    source.write_text(".arch armv8.6-a+i8mm+dotprod\n" + "\n".join(mnemonics) + "\n")
    subprocess.run([tool("aarch64-linux-gnu-as"), "-o", built, source], check=True)
    listing = subprocess.run(
        [tool("aarch64-linux-gnu-objdump"), "-d", built], check=True, capture_output=True, text=True
    ).stdout
    words = [int(word, 16) for word in re.findall(r"^ *[0-9a-f]+:\s+([0-9a-f]{8})\s", listing, re.M)]
    assert len(words) == len(mnemonics)
    assert [(text, kind(word)) for text, word in zip(mnemonics, words, strict=True)] == [(m, name) for m in mnemonics]


def test_every_kind_is_tried():
    assert set(ASSEMBLER) == set(KINDS)


def test_blocks_add_up(tmp_path):
    file = tmp_path / "counts"
    file.write_text("interval\n1000 2 d503201f d65f03c0\ninterval\n1000 3 d503201f d65f03c0\n1004 10 d65f03c0\n")
    first, second = read_intervals(file)
    assert first == {(0x1000, 0xD503201F): 2, (0x1004, 0xD65F03C0): 2}
    assert second == {(0x1000, 0xD503201F): 3, (0x1004, 0xD65F03C0): 19}
    assert kinds(second) == {"branch": 19, "other": 3}
