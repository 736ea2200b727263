"""Reads inner loops from the disassembly of kernels: what they compute, and whether they use the stack.

    PYTHONPATH=tests python -m disassembly BUILD_FOLDER [PART_OF_A_PATH]

lists the loops of a build's SIMD kernels that multiply and add: numbers in accumulators, multiply-adds, loads, all
instructions, stack accesses, spills, symbol.
"""

import os
import re
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

LANES = {"xmm": 4, "ymm": 8, "zmm": 16, "tmm": 256, "v": 4}  # floats per register


@dataclass(frozen=True)
class Architecture:
    """Regular expressions for mnemonics and operands."""

    jump: str
    final: str  # nothing runs on to the next instruction
    padding: str  # mnemonic and operands
    stack_use: str  # uses the stack without naming it in an operand
    no_access: str  # has a memory operand but accesses no memory
    load: str  # mnemonic and operands
    stack: str
    frame: str  # what is on the stack in a function with a frame pointer
    frame_setup: str  # mnemonic and operands
    fused: str
    product: str
    sum: str
    destination: str
    vector: str


X86 = Architecture(
    jump=r"j\w+|loop\w*",
    final=r"jmpq?|retq?|ud2|hlt",
    padding=r"nop.*|xchg %ax, *%ax",
    stack_use=r"(call|push|pop|leave|enter)\w*",
    no_access=r"lea\w*|nop\w*|prefetch\w*",
    load=r".*\).*,.*|.*\)",
    stack=r"\(%[re]sp\b",
    frame=r"\(%rbp\b",
    frame_setup=r"movq? %rsp, *%rbp",
    fused=r"vfn?m(add|sub)\d+p[sd]|vpdpbusds?|tdpb[su]{2}d",
    product=r"mulps|vpmaddwd",
    sum=r"addps|vpaddd",
    destination=r"%([xyzt]mm)(\d+)[^%]*(\{%k\d\}(\{z\})?)?$",
    vector=r"%[xyzt]mm\d",
)
AARCH64 = Architecture(
    jump=r"b|b\.\w+|cbn?z|tbn?z",
    final=r"b|br|ret|udf|brk",
    padding=r"nop",
    stack_use=r"blr?",
    no_access=r"prfm\w*",
    load=r"ld.*",
    stack=r"\[sp\b",
    frame=r"\[x29\b",
    frame_setup=r"(mov|add) x29, sp.*",
    fused=r"fml[as]|[us]{1,2}dot|[us]{1,2}mmla",
    product=r"(?!)",
    sum=r"(?!)",
    destination=r"^(v)(\d+)\.",
    vector=r"\b[vqds]\d",
)
ARCHITECTURES = {"elf64-x86-64": X86, "elf64-littleaarch64": AARCH64}


@dataclass(frozen=True)
class Instruction:
    address: int
    name: str
    operands: str

    def __str__(self):
        return f"{self.name} {self.operands}".rstrip()

    def target(self):
        """The target of a direct jump."""
        found = re.search(r"(?:^|[ ,])(?:0x)?([0-9a-f]+)(?: <|$)", self.operands)
        return int(found[1], 16) if found else None


@dataclass(frozen=True)
class Loop:
    """A loop of a function, without its inner loops."""

    file: str
    symbol: str
    architecture: Architecture
    has_frame: bool
    innermost: bool
    instructions: tuple

    def named(self, *patterns):
        return [i for i in self.instructions if any(re.fullmatch(pattern, i.name) for pattern in patterns)]

    @cached_property
    def multiply_adds(self):
        """Fused multiply-adds, and pairs of a product and a sum."""
        products, sums = self.named(self.architecture.product), self.named(self.architecture.sum)
        return len(self.named(self.architecture.fused)) + min(len(products), len(sums))

    @cached_property
    def outputs(self):
        """Numbers in all registers that multiply-adds write to: the size of the tile, unrolled or not."""
        adds = self.named(self.architecture.fused, self.architecture.sum)
        found = (re.search(self.architecture.destination, add.operands) for add in adds)
        return sum(LANES[kind] for kind, _ in {(match[1], match[2]) for match in found if match})

    @cached_property
    def loads(self):
        memory = [i for i in self.instructions if re.search(r"[(\[]", i.operands)]
        accesses = (i for i in memory if not re.fullmatch(self.architecture.no_access, i.name))
        return sum(bool(re.fullmatch(self.architecture.load, str(i))) for i in accesses)

    @cached_property
    def stack_accesses(self):
        arch = self.architecture
        places = f"{arch.stack}|{arch.frame}" if self.has_frame else arch.stack
        return [
            i
            for i in self.instructions
            if re.fullmatch(arch.stack_use, i.name)
            or (re.search(places, i.operands) and not re.fullmatch(arch.no_access, i.name))
        ]

    @cached_property
    def spills(self):
        """Unwanted stack accesses. A loop around an inner loop may reload pointers."""
        vectors = [i for i in self.stack_accesses if re.search(self.architecture.vector, i.operands)]
        return self.stack_accesses if self.innermost else vectors

    def __str__(self):
        accesses = set(self.spills)
        lines = [f"{'>' if i in accesses else ' '} {i.address:6x}: {i}" for i in self.instructions]
        return "\n".join([f"{self.file}: {self.symbol}", *lines])


PREFIX = r"(?:notrack|bnd|rep\w*|lock|data16|cs|\{e?vex\})"


def parse(listing):
    """Return the architecture and the functions of a listing: (symbol, instructions)."""
    architecture, functions = None, []
    for line in listing.splitlines():
        if found := re.search(r"file format (\S+)", line):
            architecture = ARCHITECTURES[found[1]]
        elif found := re.match(r"[0-9a-f]+ <(.+)>:$", line):
            functions.append((found[1], []))
        elif found := re.match(rf" *([0-9a-f]+):\s+(?:{PREFIX} +)*([\w.]+)\s*(.*)", line):
            operands = re.split(r"\s(?:# |//)", found[3])[0].strip()
            functions[-1][1].append(Instruction(int(found[1], 16), found[2], operands))
    return architecture, functions


def own_parts(architecture, instructions):
    """For each natural loop: whether it is innermost, and the indices that lie in no inner loop, ascending.

    A jump back does not always close a loop: compilers move rare paths behind the end of a function and jump back from
    there. It does if its target dominates it; the body is what reaches the jump without passing the target. Jump tables
    of switches are not followed, so a loop around one is not found.
    """
    index = {instruction.address: i for i, instruction in enumerate(instructions)}
    after = [[] for _ in instructions]
    for i, instruction in enumerate(instructions):
        if re.fullmatch(architecture.jump, instruction.name) and (to := index.get(instruction.target())) is not None:
            after[i].append(to)
        if not re.fullmatch(architecture.final, instruction.name) and i + 1 < len(instructions):
            after[i].append(i + 1)

    # Depth first. Unreachable code is padding, or the target of a jump table.
    entries, before, back, on_the_way = set(), {}, [], {}
    for entry, instruction in enumerate(instructions):
        if entry in before or re.fullmatch(architecture.padding, str(instruction)):
            continue
        entries.add(entry)
        before[entry] = []
        on_the_way[entry] = iter(after[entry])
        while on_the_way:
            i = next(reversed(on_the_way))
            if (to := next(on_the_way[i], None)) is None:
                del on_the_way[i]
                continue
            if to not in before:
                before[to] = []
                on_the_way[to] = iter(after[to])
            elif to in on_the_way:
                back.append((to, i))
            before[to].append(i)

    bodies = defaultdict(set)  # by head; `continue` makes several jumps back to one head
    for head, tail in back:
        body, rest = {head}, [tail]
        while rest:
            i = rest.pop()
            if i not in body:
                body.add(i)
                rest += before[i]
        if not entries & (body - {head}):
            bodies[head] |= body
    inner = {head: [bodies[i] for i in body & bodies.keys() - {head}] for head, body in bodies.items()}
    return [(not inner[head], sorted(body.difference(*inner[head]))) for head, body in bodies.items()]


def find_loops(listing, file=""):
    """The loops of a listing that multiply and add, each without its inner loops.

    Most are innermost; but a compiler may unroll a short inner loop completely.
    """
    architecture, functions = parse(listing)
    loops = []
    for symbol, instructions in functions:
        has_frame = any(re.fullmatch(architecture.frame_setup, str(i)) for i in instructions)
        for innermost, part in own_parts(architecture, instructions):
            loop = Loop(file, symbol, architecture, has_frame, innermost, tuple(instructions[i] for i in part))
            if loop.multiply_adds:
                loops.append(loop)
    return loops


def disassemble(path, objdump="objdump"):
    options = ["--disassemble", "--demangle", "--no-show-raw-insn"]
    return subprocess.run([objdump, *options, os.fspath(path)], check=True, capture_output=True, text=True).stdout


def find_objects(build):
    """Objects of the SIMD kernels below a build folder."""
    return sorted(
        path
        for path in Path(build).rglob("squeezeops_*.dir/csrc/*/**/*.o")
        if not re.search(r"/squeezeops_(core|scalar)\.dir/", path.as_posix())
    )


def main(build, part=""):
    print(f"{'outputs':>8} {'multiply-adds':>14} {'loads':>6} {'all':>6} {'stack':>6} {'spills':>6}")
    for path in find_objects(build):
        if part in os.fspath(path):
            isa = re.search(r"/squeezeops_(\w+)\.dir/", path.as_posix())
            for loop in find_loops(disassemble(path), f"{isa[1]} {path.name}"):
                sizes = map(len, (loop.instructions, loop.stack_accesses, loop.spills))
                counts = loop.outputs, loop.multiply_adds, loop.loads, *sizes
                print("{:8} {:14} {:6} {:6} {:6} {:6}".format(*counts), f" {loop.file} {loop.symbol}")


if __name__ == "__main__":
    main(*sys.argv[1:])
