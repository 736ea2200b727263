"""The inner loops of the micro-kernels, as the compiler in CXX makes them, do not use the stack.

A micro-kernel multiplies a tile of a matrix in a function of its own, which MICROKERNELS matches. Elementwise loops may
use the stack: exp and GELU have more coefficients than some instruction sets have registers.
"""

import os
import re
import textwrap

import pytest
from build_helpers import ROOT, cmake_build, run, tool
from disassembly import disassemble, find_loops
from kernel_tables import ISAS, OPS, included, isas_on, object_of, source_of

from squeezeops import backends

# Without the loops for a last, partial panel, which some instruction sets copy first.
MICROKERNELS = r"::(multiply<|tile<\d+, \d+(, false)?>|multiply_add\(|dots\()"


def tiles():
    """Sizes of the tiles of each kernel that has some, by name and instruction set, from the registry's "8x48"."""
    if "native" not in backends.available():
        return {}
    sizes = {}
    for row in backends.load("native").kernel_table():
        if row["isa"] != "scalar":
            found = re.findall(r"(\d+)x(\d+)", row["tile"])
            sizes[f"{row['op']}_{row['dtype']}", row["isa"]] = {int(rows) * int(columns) for rows, columns in found}
    return {kernel: tile for kernel, tile in sizes.items() if tile}


def tiled(isas):
    """The kernels that multiply tiles: those whose source includes the micro-kernels."""
    return {
        (op.name, isa.tag)
        for isa in isas
        for op in OPS.values()
        if isa.tag != "scalar" and isa.has(op)
        if any(header.startswith("simd/microkernel_") for header in included(source_of(op.name, isa.tag)))
    }


TILES = tiles()
PEAKS = sorted({(f"peak_{'s8' if name.endswith('s8') else 'f32'}", isa) for name, isa in TILES})
compiled = pytest.mark.skipif("native" not in backends.available(), reason="built without the native extension")


@pytest.fixture(scope="module")
def objects(tmp_path_factory):
    """The objects of kernels with tiles and of peak loops, by name and instruction set."""
    paths = {kernel: object_of(*kernel) for kernel in [*TILES, *PEAKS]}
    folder = cmake_build(tmp_path_factory.mktemp("build"), targets=paths.values())
    return {kernel: folder / path for kernel, path in paths.items()}


@pytest.fixture(scope="module")
def microkernels(objects):
    """Their inner loops."""
    objdump = tool(os.environ.get("OBJDUMP", "objdump"))
    found = {}
    for kernel, path in objects.items():
        loops = find_loops(disassemble(path, objdump), "_".join(kernel))
        found[kernel] = [loop for loop in loops if re.search(MICROKERNELS, loop.symbol)]
    return found


@compiled
def test_inner_loops_leave_the_stack_alone(microkernels, record_property):
    record_property("read", sorted({isa for _, isa in microkernels}))
    faults = [str(loop) for loops in microkernels.values() for loop in loops if loop.spills]
    assert not faults, "these use the stack, where > is:\n" + "\n\n".join(faults)


@compiled
def test_every_tile_is_the_one_that_was_compiled(microkernels):
    """The registry's tiles are in the objects, and no larger ones."""
    isas = [isa for isa in ISAS.values() if isa.tag in backends.load("native").cpu_info()["compiled"]]
    assert set(TILES) == tiled(isas)
    for kernel, sizes in TILES.items():
        outputs = {loop.outputs for loop in microkernels[kernel]}
        assert sizes <= outputs and max(sizes) == max(outputs), kernel
    assert all(microkernels.values())


@compiled
def test_objects_of_different_isas_share_no_symbol(objects):
    """The linker would keep one copy of a shared one, perhaps the one that needs the most, and run it everywhere.

    Nor does an object run code at start-up, on a processor that may lack its instructions.
    """
    for (name, isa), path in objects.items():
        defined = [line.split()[1:] for line in run(tool("nm"), "--defined-only", path).splitlines()]
        shared = [symbol for kind, symbol in defined if kind.isupper() or kind in "uvw"]
        assert len(shared) == 1 and f"{name}_{isa}" in shared[0]
        assert "init_array" not in run(tool("objdump"), "-h", path)


def test_micro_kernels_of_aarch64(tmp_path):
    """Cross-compiled, because no native compiler need be there; with Clang where CXX is Clang."""
    tool("aarch64-linux-gnu-g++")
    objdump, cxx = tool("aarch64-linux-gnu-objdump"), os.environ.get("CXX", "")
    options = [f"-DCMAKE_TOOLCHAIN_FILE={ROOT / 'tests' / 'arm' / 'aarch64.cmake'}"]
    if "clang" in cxx:
        options += [f"-DCMAKE_CXX_COMPILER={cxx}", f"-DCMAKE_C_COMPILER={cxx.replace('++', '')}"]
    tiles = {
        ("pwconv_f32", "neon"): 64,
        ("pwconv_f16", "neon"): 64,
        ("pwconv_s8", "neon_dotprod"): 96,
        ("pwconv_s8", "neon_i8mm"): 96,
        ("attention_f32", "neon"): 64,
        ("attention_s8", "neon_dotprod"): 96,
        ("attention_s8", "neon_i8mm"): 96,
        ("peak_f32", "neon"): 96,
    }
    # The former is a part of the convolution's function, so no name tells its inner loop. Both multiply by smull, which
    # is no fused multiply-add.
    inlined = {("pwconv_s8", "neon"), ("attention_s8", "neon")}
    assert tiles.keys() - {("peak_f32", "neon")} == tiled(isas_on("aarch64")) - inlined
    objects = {object_of(*kernel): kernel for kernel in tiles}
    folder = cmake_build(tmp_path, *options, targets=objects)
    for path, kernel in objects.items():
        found = [
            loop for loop in find_loops(disassemble(folder / path, objdump)) if re.search(MICROKERNELS, loop.symbol)
        ]
        assert [str(loop) for loop in found if loop.spills] == []
        inner = [loop for loop in found if loop.innermost] or found  # without epilogues, where loops have some
        assert max(loop.outputs for loop in inner) == tiles[kernel]


# The reader of listings.


def loops(code, target="elf64-x86-64"):
    """The inner loops of a listing, one line per instruction with its address."""
    return find_loops(
        f"kernel.o:     file format {target}\n\n0000000000000000 <f>:\n{textwrap.dedent(code)}", "kernel.o"
    )


def accesses(loop):
    assert not loop.innermost or loop.spills == loop.stack_accesses
    return [str(instruction) for instruction in loop.stack_accesses]


CLEAN = """
   0:	push   %rbp
   1:	sub    $0x40,%rsp
   5:	mov    %rdi,0x8(%rsp)
   a:	vxorps %xmm0,%xmm0,%xmm0
   e:	nopw   0x0(%rax,%rax,1)
  10:	vmovups (%rdx),%ymm1
  14:	vbroadcastss (%rsi,%rax,4),%ymm2
  1a:	lea    0x10(%rsp),%rcx
  1f:	vfmadd231ps %ymm1,%ymm2,%ymm0
  24:	vfmadd231ps 0x20(%rdx),%ymm2,%ymm3
  2a:	add    $0x40,%rdx
  2e:	add    $0x1,%rax
  32:	cmp    %rax,%rdi
  35:	jne    10 <f+0x10>
  37:	mov    0x8(%rsp),%rdi
  3c:	ret
"""


def test_a_loop_in_registers():
    (loop,) = loops(CLEAN)
    assert accesses(loop) == [] and str(loop.instructions[0]) == "vmovups (%rdx),%ymm1"
    assert (loop.multiply_adds, loop.outputs, loop.loads, len(loop.instructions)) == (2, 16, 3, 9)


@pytest.mark.parametrize(
    "instruction",
    [
        "vmovaps 0x20(%rsp),%ymm2",
        "vmovups %ymm2,(%rsp)",
        "vfmadd231ps -0x60(%rsp),%ymm2,%ymm0",
        "vmovups (%rsp,%rax,4),%ymm2",
        "call   0 <f>",
        "push   %rax",
    ],
)
def test_a_loop_that_spills(instruction):
    (loop,) = loops(CLEAN.replace("vbroadcastss (%rsi,%rax,4),%ymm2", instruction))
    assert accesses(loop) == [" ".join(instruction.split())]
    assert re.search(rf"kernel\.o: f\n  .*\n> +14: {re.escape(accesses(loop)[0])}\n", str(loop))


def test_a_frame_pointer_and_an_ordinary_register():
    """%rbp is a frame pointer only in a function that sets it up as one."""
    ordinary = CLEAN.replace("%rsi,%rax,4", "%rbp,%rax,4")
    assert accesses(*loops(ordinary)) == []
    frame = ordinary.replace("sub    $0x40,%rsp", "mov    %rsp,%rbp")
    assert accesses(*loops(frame)) == ["vbroadcastss (%rbp,%rax,4),%ymm2"]
    index = frame.replace("%rbp,%rax,4", "%rsi,%rbp,4")
    assert accesses(*loops(index)) == []
    other = f"{frame}\n0000000000000080 <g>:\n{ordinary}"
    assert list(map(len, map(accesses, loops(other)))) == [1, 0]


def test_a_loop_in_a_loop():
    """Each has the instructions that lie in no inner loop."""
    inner, outer = sorted(loops(NESTED), key=lambda loop: len(loop.instructions))
    assert [i.address for i in inner.instructions] == [0x8, 0xC, 0x10] and accesses(inner) == []
    assert [i.address for i in outer.instructions] == [0, 4, 0x14, 0x18, 0x1C] and len(accesses(outer)) == 2
    assert (inner.innermost, outer.innermost) == (True, False)
    assert list(map(str, outer.spills)) == ["vmovaps %ymm0,0x20(%rsp)"]  # not the pointer's
    (inner,) = loops(NESTED.replace("vfmadd231ps %ymm1,%ymm2,%ymm3", "nop"))
    assert accesses(inner) == []


NESTED = """
   0:	mov    0x8(%rsp),%rdx
   4:	vxorps %xmm0,%xmm0,%xmm0
   8:	vfmadd231ps %ymm1,%ymm2,%ymm0
   c:	add    $0x1,%rax
  10:	jne    8 <f+0x8>
  14:	vfmadd231ps %ymm1,%ymm2,%ymm3
  18:	vmovaps %ymm0,0x20(%rsp)
  1c:	jne    0 <f>
  20:	ret
"""


def test_a_loop_that_is_entered_in_its_middle():
    """Its head lies above the jump that closes it, a rare path lies behind, and `continue` is a second jump back."""
    (loop,) = loops("""
   0:	jmp    10 <f+0x10>
   2:	nopl   0x0(%rax)
   4:	vfmadd231ps %zmm1,%zmm2,%zmm0
   8:	add    $0x1,%rax
   c:	je     30 <f+0x30>
  10:	test   %rcx,%rcx
  14:	jle    4 <f+0x4>
  18:	dec    %rcx
  1c:	jg     40 <f+0x40>
  20:	jmp    10 <f+0x10>
  30:	ret
  40:	vmovups 0x8(%rsp),%zmm2
  44:	jmp    4 <f+0x4>
""")
    assert [i.address for i in loop.instructions] == [4, 8, 0xC, 0x10, 0x14, 0x18, 0x1C, 0x20, 0x40, 0x44]
    assert len(accesses(loop)) == 1


@pytest.mark.parametrize(
    ("code", "expected"),  # instructions at 0, 4, 8, ...; multiply-adds, outputs and loads of each loop
    [
        ("notrack jmp *%rax; vfmadd231ps %ymm1,%ymm2,%ymm0; jne 4; ret", [(1, 8, 0)]),  # behind a jump table
        ("jne 10; vmovaps 0x20(%rsp),%ymm0; vfmadd231ps %ymm1,%ymm2,%ymm0; ret; neg %rdi; jmp 8", []),  # a jump back
        (
            "movss (%rdi),%xmm4; shufps $0x0,%xmm4,%xmm4; mulps %xmm4,%xmm5; addps %xmm5,%xmm0; mulps %xmm6,%xmm4; "
            "addps %xmm4,%xmm1; jne 0; ret",
            [(2, 8, 1)],
        ),
        ("mulps %xmm4,%xmm5; mulps %xmm5,%xmm5; jne 0", []),
        ("vfmadd231ss %xmm4,%xmm5,%xmm6; jne 0", []),
        (  # unrolled: the outputs are those of one step
            "vfmadd231ps (%rdi){1to16},%zmm4,%zmm0; vfmadd231ps 0x4(%rdi){1to16},%zmm4,%zmm1{%k1}; "
            "vfmadd231ps (%rdi){1to16},%zmm5,%zmm0; vfmadd231ps 0x4(%rdi){1to16},%zmm5,%zmm1{%k1}; jb 0",
            [(4, 32, 4)],
        ),
        ("vpdpbusd %ymm1,%ymm2,%ymm0; jne 0", [(1, 8, 0)]),
        ("tileloadd (%rax,%rcx,1),%tmm6; tdpbusd %tmm6,%tmm4,%tmm0; tdpbusd %tmm6,%tmm5,%tmm2; jne 0", [(2, 512, 1)]),
        ("{vex} vpdpbusd %ymm1,%ymm2,%ymm0; jne 0", [(1, 8, 0)]),
        ("vpmaddubsw %ymm1,%ymm2,%ymm3; vpmaddwd %ymm4,%ymm3,%ymm3; vpaddd %ymm3,%ymm0,%ymm0; jne 0", [(1, 8, 0)]),
    ],
)
def test_what_a_loop_computes(code, expected):
    lines = [re.sub(r"^(j\w+) ([0-9a-f]+)$", r"\1 \2 <f>", line) for line in code.split("; ")]
    found = loops("".join(f"   {4 * i:x}:\t{line}\n" for i, line in enumerate(lines)))
    assert [(loop.multiply_adds, loop.outputs, loop.loads) for loop in found] == expected


AARCH64 = """
   0:	stp	x29, x30, [sp, #-64]!
   4:	ldr	q0, [x0, x2]
   8:	ldr	q1, [x29, #16]
   c:	fmla	v2.4s, v0.4s, v1.s[0]
  10:	add	x2, x2, #0x10	// #16
  14:	b.ne	4 <f+0x4>  // b.any
  18:	ldp	x29, x30, [sp], #64
  1c:	ret
"""


def test_aarch64():
    (loop,) = loops(AARCH64, "elf64-littleaarch64")
    assert (loop.multiply_adds, loop.outputs, loop.loads, accesses(loop)) == (1, 4, 2, [])
    (loop,) = loops(AARCH64.replace("[x29, #16]", "[sp, #16]"), "elf64-littleaarch64")
    assert accesses(loop) == ["ldr q1, [sp, #16]"]
    frame = AARCH64.replace("4:", "2:	mov	x29, sp\n   4:", 1)
    assert accesses(*loops(frame, "elf64-littleaarch64")) == ["ldr q1, [x29, #16]"]
    for add in ("sdot	v2.4s, v0.16b, v1.4b[0]", "udot	v2.4s, v0.16b, v1.16b", "smmla	v2.4s, v0.16b, v1.16b"):
        (loop,) = loops(AARCH64.replace("fmla	v2.4s, v0.4s, v1.s[0]", add), "elf64-littleaarch64")
        assert (loop.multiply_adds, loop.outputs) == (1, 4)
