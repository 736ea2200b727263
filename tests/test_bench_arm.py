"""What bench/arm makes of counts and models: no ARM, no emulator and no cross compiler is needed."""

import json
import re
import sys
from pathlib import Path

import pytest
from kernel_tables import isas_on

sys.path.append(str(Path(__file__).resolve().parents[1]))  # after what is installed: only bench/ is taken from here

from bench.arm import check, estimate  # noqa: E402
from bench.arm.__main__ import TOKENS  # noqa: E402
from bench.arm.counting import KINDS, kind, kinds, read_intervals  # noqa: E402
from bench.arm.cycles import MODELS  # noqa: E402
from bench.arm.instructions import CPUS, key, model_cases  # noqa: E402
from bench.arm.layer import FLOAT_ATTENTION  # noqa: E402
from bench.arm.loops import inner_loops, largest  # noqa: E402
from squeezeops.benchmark.cases import OPS  # noqa: E402

RESULTS = Path(__file__).resolve().parents[1] / "bench/results"

WORDS = {
    "fmla": (
        "4e23cc41 fmla v1.4s, v2.4s, v3.4s; 4ee3cc41 fmls v1.2d, v2.2d, v3.2d; "
        "4fbd1bdf fmla v31.4s, v30.4s, v29.s[3]; 0e23cc41 fmla v1.2s, v2.2s, v3.2s"
    ),
    "dot": (
        "4e839441 sdot v1.4s, v2.16b, v3.16b; 6e839441 udot v1.4s, v2.16b, v3.16b; "
        "4e839c41 usdot v1.4s, v2.16b, v3.16b; 4fa3e841 sdot v1.4s, v2.16b, v3.4b[3]; "
        "0e9d97df sdot v31.2s, v30.8b, v29.8b"
    ),
    "mmla": (
        "4e83a441 smmla v1.4s, v2.16b, v3.16b; 6e9da7df ummla v31.4s, v30.16b, v29.16b; "
        "4e83ac41 usmmla v1.4s, v2.16b, v3.16b"
    ),
    "mull": (
        "0e23c041 smull v1.8h, v2.8b, v3.8b; 4e23c041 smull2 v1.8h, v2.16b, v3.16b; "
        "0e238041 smlal v1.8h, v2.8b, v3.8b; 4f532841 smlal2 v1.4s, v2.8h, v3.h[5]; "
        "2e23c041 umull v1.8h, v2.8b, v3.8b; 0f53a041 smull v1.4s, v2.4h, v3.h[1]"
    ),
    "pairwise": "4e606841 sadalp v1.4s, v2.8h; 4e202841 saddlp v1.8h, v2.16b; 6e606841 uadalp v1.4s, v2.8h",
    "load": (
        "3dc00041 ldr q1, [x2]; f8636841 ldr x1, [x2, x3]; acc10861 ldp q1, q2, [x3], 32; "
        "a9400861 ldp x1, x2, [x3]; 4c407841 ld1 {v1.4s}, [x2]; 4cdf2841 ld1 {v1.4s-v4.4s}, [x2], 64; "
        "4d40c841 ld1r {v1.4s}, [x2]; b9800041 ldrsw x1, [x2]; 3cdf0041 ldur q1, [x2, -16]; "
        "fc636841 ldr d1, [x2, x3]; 39400041 ldrb w1, [x2]; 58000001 ldr x1, .; c85ffc41 ldaxr x1, [x2]; "
        "7d400041 ldr h1, [x2]; bc404441 ldr s1, [x2], 4"
    ),
    "store": (
        "3d800041 str q1, [x2]; f8236841 str x1, [x2, x3]; ac810861 stp q1, q2, [x3], 32; "
        "4c007841 st1 {v1.4s}, [x2]; 39000041 strb w1, [x2]; 3c9f0041 stur q1, [x2, -16]; "
        "c800fc41 stlxr w0, x1, [x2]; bc004441 str s1, [x2], 4; a9bf7bfd stp x29, x30, [sp, -16]!"
    ),
    "prefetch": (
        "f9800020 prfm pldl1keep, [x1]; f8a26820 prfm pldl1keep, [x1, x2]; f89f8020 prfum pldl1keep, [x1, -8]"
    ),
    "branch": (
        "14000000 b .; 94000000 bl .; 54000001 b.ne .; b4000001 cbz x1, .; 35000001 cbnz w1, .; "
        "36180001 tbz x1, 3, .; d61f0020 br x1; d63f0040 blr x2; d65f03c0 ret"
    ),
    "vector": (
        "4e23d441 fadd v1.4s, v2.4s, v3.4s; 4e0c0441 dup v1.4s, v2.s[1]; "
        "4e030041 tbl v1.16b, {v2.16b}, v3.16b; 0e217841 fcvtl v1.4s, v2.4h; 1e230841 fmul s1, s2, s3; "
        "4f000401 movi v1.4s, 0; 9e660041 fmov x1, d2; 6e034041 ext v1.16b, v2.16b, v3.16b, 8; "
        "6e23fc41 fdiv v1.4s, v2.4s, v3.4s; 4e630c41 sqadd v1.8h, v2.8h, v3.8h; "
        "4e833841 zip1 v1.4s, v2.4s, v3.4s; 1f031041 fmadd s1, s2, s3, s4; 4e21d841 scvtf v1.4s, v2.4s; "
        "6e631c41 bsl v1.16b, v2.16b, v3.16b"
    ),
    "integer": (
        "8b030041 add x1, x2, x3; f1001041 subs x1, x2, 4; 9b031041 madd x1, x2, x3, x4; "
        "9a830041 csel x1, x2, x3, eq; 90000001 adrp x1, .; d28000a1 mov x1, 5; d343fc41 lsr x1, x2, 3"
    ),
    "other": "d503201f nop; d53b4401 mrs x1, fpcr; d5032c9f hint 100; d5033bbf dmb ish",
}


@pytest.mark.parametrize("name", KINDS)
def test_the_kind_of_an_instruction(name):
    for line in WORDS[name].split("; "):
        assert kind(int(line.split()[0], 16)) == name, line


def test_blocks_add_up(tmp_path):
    file = tmp_path / "counts"
    file.write_text("interval\n1000 2 d503201f d65f03c0\ninterval\n1000 3 d503201f d65f03c0\n1004 10 d65f03c0\n")
    first, second = read_intervals(file)
    assert first == {(0x1000, 0xD503201F): 2, (0x1004, 0xD65F03C0): 2}
    assert second == {(0x1000, 0xD503201F): 3, (0x1004, 0xD65F03C0): 19}
    assert kinds(second) == {"branch": 19, "other": 3}


LISTING = """
kernel.o:     file format elf64-littleaarch64

0000000000000000 <multiply>:
   0:	ldr	q0, [x1], #16
   4:	fmla	v16.4s, v0.4s, v1.s[0]
   8:	fmla	v17.4s, v0.4s, v1.s[1]
   c:	subs	x0, x0, #0x1
  10:	b.ne	0 <multiply>  // b.any
  14:	cbz	x2, 28 <multiply+0x28>
  18:	fmla	v16.4s, v0.4s, v1.s[0]
  1c:	subs	x2, x2, #0x1
  20:	add	x3, x3, #0x1
  24:	b.ne	18 <multiply+0x18>
  28:	ret

0000000000000040 <copy>:
  40:	ldr	q0, [x1], #16
  44:	str	q0, [x0], #16
  48:	subs	x2, x2, #0x1
  4c:	b.ne	40 <copy>
  50:	ret
"""


def test_inner_loops_are_found_and_can_be_assembled():
    loops = inner_loops(LISTING, "kernel.o")
    assert [(loop.symbol, loop.products, loop.accumulators) for loop in loops] == [
        ("multiply", 2, 2),
        ("multiply", 1, 1),
    ]
    loop = largest(loops)
    assert loop.assembly().splitlines() == [
        ".Lloop:",
        "ldr q0, [x1], #16",
        "fmla v16.4s, v0.4s, v1.s[0]",
        "fmla v17.4s, v0.4s, v1.s[1]",
        "subs x0, x0, #0x1",
        "b.ne .Lloop",
    ]
    assert [str(i) for i in loop.arithmetic] == ["fmla v16.4s, v0.4s, v1.s[0]", "fmla v17.4s, v0.4s, v1.s[1]"]
    assert inner_loops(LISTING, symbols={"copy"}) == []


def test_matrix_products_are_the_loop_where_there_are_some():
    body = "   0:\t{0}\n   4:\tsubs\tx0, x0, #0x1\n   8:\tb.ne\t0 <f>\n   c:\tret\n"
    head = "k.o:     file format elf64-littleaarch64\n0000000000000000 <f>:\n"
    dot = inner_loops(head + body.format("sdot\tv0.4s, v1.16b, v2.16b\n   2:\tsdot\tv3.4s, v1.16b, v2.16b"))
    matrix = inner_loops(head + body.format("usmmla\tv0.4s, v1.16b, v2.16b"))
    assert largest(dot + matrix) == matrix[0]


def test_a_polynomial_is_no_tile():
    head = "k.o:     file format elf64-littleaarch64\n0000000000000000 <f>:\n"
    lines = [f"fmla\tv{i}.4s, v30.4s, v31.4s" for i in range(4)] + [f"fmul\tv{i}.4s, v{i}.4s, v31.4s" for i in range(5)]
    polynomial = "".join(f"{4 * i:4x}:\t{line}\n" for i, line in enumerate([*lines, "b.ne\t0 <f>", "ret"]))
    (loop,) = inner_loops(head + polynomial)
    assert loop.accumulators == 4 and not loop.multiplies
    products = "0:\tfmla\tv0.4s, v1.4s, v2.s[0]\n4:\tfmla\tv0.4s, v1.4s, v2.s[1]\n"
    (tile,) = inner_loops(f"{head}{products}8:\tb.ne\t0 <f>\nc:\tret\n")
    assert largest([loop, tile]) == tile


def test_every_instruction_set_is_counted():
    assert set(CPUS) == {isa.tag for isa in isas_on("aarch64")} - {"scalar"}


def test_every_operation_of_the_model_is_counted():
    other_models = {"rms_norm"}  # no op of SqueezeBERT or BERT
    assert {case.op for case in model_cases("neon", [16, 32])} == {op.name for op in OPS} - other_models
    assert {case.op for case in model_cases("neon_i8mm", [32])} == {
        "attention_int8",
        "pointwise_conv_int8",
        "quantize_rows",
    }
    (conv,) = (case for case in model_cases("neon_dotprod", [32]) if case.shape.get("activation") == "gelu")
    assert conv.line == "pwconv s8 32 768 3072 4 gelu 0"
    assert conv.units == 32 * 192 * 3072 // 16
    (attention,) = (case for case in model_cases("neon_dotprod", [32]) if case.op == "attention_int8")
    assert (attention.line, attention.units) == ("attention s8 32 768 12", 2 * 32 * 32 * 768 // 16)


def test_the_driver_knows_every_operation():
    driver = (Path(__file__).parents[1] / "bench" / "operations.h").read_text(encoding="utf-8")
    known = set(re.findall(r"OPERATION\((\w+), \d", driver))
    assert {case.line.split()[0] for case in model_cases("neon", TOKENS)} == known - {"layer"}


def lines_of(factor, of_float32=1.0):
    """What `check` says of recorded figures, all of them multiplied; by another factor what int8 is compared with."""
    lines = []
    for hold, name in ((check.hold_instructions, "instructions"), (check.hold_cycles, "cycles")):
        rows = recorded(name)
        now = [{**row, "inner_loop": row.get("inner_loop") and {**row["inner_loop"]}} for row in rows]
        for row in now:
            for figure in ("instructions", "cycles", "over_limit"):
                if figure in row:
                    row[figure] *= factor
            if row["inner_loop"]:
                row["inner_loop"]["per_product"] *= factor
        lines += hold(now, rows)
    rows = recorded("layer")
    floats = {row["name"] for row in rows if row["name"] == check.FLOAT32 or FLOAT_ATTENTION in row["name"]}
    return lines + check.hold_layer(
        [
            {**row, "instructions": row["instructions"] * (of_float32 if row["name"] in floats else factor)}
            for row in rows
            if row["name"].startswith("squeezeops")
        ],
        rows,
    )


def test_figures_may_fall_but_not_rise():
    def missed(*factors):
        return {(line.what, line.why) for line in lines_of(*factors) if not line.fine}

    known = {(what, "target") for what in check.MISSED}
    every = {(line.what, line.why) for line in lines_of(1)}
    assert missed(1, 1) == missed(1.001, 1.001) == known and len(every) > 50
    assert missed(0.5) == set()
    risen = missed(1.01, 1.01)
    assert {name for name in every if name[1] == "recorded"} <= risen
    ratios = {(what, why) for what, why in every if why == "target" and "by dot products" in what}
    assert len(ratios) == 3 and missed(2, 2) == every - ratios | known
    assert {(line.what, line.why) for line in check.hold_instructions(recorded("instructions"), [])} == {
        (what, why) for what, why in every if why == "target" and "FMLA" in what
    }  # what is new has no recorded limit


def test_an_estimate_lies_between_the_longer_part_and_the_sum():
    layer = {"tokens": 32, "instructions": 1300e6, "inner_loop": {"fmla": 1000e6, "load": 100e6}}
    layers = [{**layer, "name": name} for name in ("squeezeops float32", "squeezeops int8, neon", check.INT8)]
    cycles = [{"kernel": m.kernel, "processor": m.processor, "cycles": 8.0, "products": 16} for m in MODELS]
    rows = estimate.estimate_rows(layers, cycles)
    assert len(rows) == 2 * len(estimate.BOARDS)
    pi5 = next(r for r in rows if r["board"].endswith("5") and r["dtype"] == "float32")
    compute = 12 * (500e6 + 200e6 / 2.0) / 2.4e6
    memory = 12 * (3 * 768 * 192 + 768 * 768 + 2 * 768 * 768) * 4 / 10e6
    assert pi5["compute"] == pytest.approx(compute)
    assert pi5["memory"] == pytest.approx(memory)
    assert pi5["on 1"] == pytest.approx((compute, compute + memory))
    assert pi5["on 4"] == pytest.approx((max(compute / 4, memory), compute / 4 + memory))


# What is recorded must reach the targets, and the documentation must show what is recorded.


def recorded(name):
    return json.loads((RESULTS / f"arm-{name}.json").read_text(encoding="utf-8"))[name]


def test_the_recorded_figures_reach_their_targets():
    targets = [line for line in lines_of(1) if line.why == "target"]
    assert len(targets) == 30
    assert {line.what for line in targets if not line.fine} <= check.MISSED <= {line.what for line in targets}
    layer = {row["name"]: row["instructions"] for row in recorded("layer") if row["tokens"] == 32}
    best = min(count for name, count in layer.items() if name.startswith("onnxruntime"))
    assert layer[check.FLOAT32] / best in [line.reached for line in targets if "in onnxruntime's" in line.what]


def test_every_model_and_shape_is_recorded():
    assert {(r["kernel"], r["processor"]) for r in recorded("cycles")} == {(m.kernel, m.processor) for m in MODELS}
    names = {key(r) for r in recorded("instructions")}
    missing = [case for isa in CPUS for case in model_cases(isa, [16, 32]) if key(case._asdict()) not in names]
    command = "python -m bench.arm instructions --tokens 16 --tokens 32 --json bench/results/arm-instructions.json"
    assert missing == [], f"record them: {command}"


def test_the_documentation_shows_the_recorded_estimate():
    text = (RESULTS.parents[1] / "docs/arm.md").read_text(encoding="utf-8")
    for line in estimate.markdown(estimate.recorded(RESULTS)):
        assert line in text, line
