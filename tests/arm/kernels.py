"""Builds the kernels for 64- and 32-bit ARM and runs `kernel_test.cc` on each processor that qemu-user emulates.

The results must be those of this machine's scalar kernels: to the bit on AArch64, with GCC and with Clang; floats to a
tolerance on ARMv7. An instruction that the processor lacks is an illegal instruction under qemu too, except a
multiply-add on ARMv7, which is searched for in the disassembly.
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial
from pathlib import Path

from machinery import (
    AARCH64_CLANG,
    AARCH64_GCC,
    ARMV7_GCC,
    PROCESSORS,
    ROOT,
    Build,
    Failed,
    Job,
    Processor,
    Row,
    need,
    run,
    run_jobs,
)

from kernel_tables import isa_of_object, isas_on, without_simd  # isort: skip

HOST = Build("host", None)
# Trap unaligned pointers: they fault on some processors, but not under qemu.
TRAP = "-fsanitize=alignment -fsanitize-undefined-trap-on-error"
ALIGNED = replace(ARMV7_GCC, name="armv7-aligned", flags=TRAP)

# Instructions that objects may contain only if they were compiled for one of the named ISAs.
FORBIDDEN = {
    "aarch64": (
        (r"[us]dot|usdot|bfdot", "neon_dotprod|neon_i8mm"),
        (r"[us]mmla|usmmla|bfmmla", "neon_i8mm"),
        (r"(cas|swp|ld(add|clr|eor|set|[us]max|[us]min))(a|al|l)?[bh]?", ""),  # atomics of ARMv8.1
    ),
    "armv7": (
        (r"vfn?m[as].*", "neon_vfpv4"),
        (r"v(mla|mls|mul|add|sub|ld[1-4]|st[1-4])\.([ius]?(8|16|32|64)|f32)\s+[{dq].*", "neon|neon_vfpv4"),
    ),
}


def program(build: Build) -> Path:
    """Build the library and its test."""
    build.make("squeezeops_static", *(without_simd() if build is HOST else ()))
    test, made = ROOT / "tests" / "arm" / "kernel_test.cc", build.folder / "kernel_test"
    library, include = build.folder / "libsqueezeops.a", (f"-I{ROOT / 'csrc'}", f"-I{ROOT / 'csrc' / 'include'}")
    if not made.exists() or made.stat().st_mtime < max(file.stat().st_mtime for file in (test, library)):
        flags = ("-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror", "-Wno-psabi", "-static", "-pthread")
        run(*build.compiler(), *flags, *include, test, library, "-lm", "-o", made)
    return made


def check_kernels(processor: Processor, test: Path, expected: Path) -> str:
    """Run the test; the kernels that ran must be those that the processor should have."""
    output = run(*processor.qemu(), test, "check", expected)
    ran = re.findall(r"^(\w+): (\d+) cases, 0 wrong", output, re.MULTILINE)
    default = re.search(r"^default: f16 (\S+) f32 (\S+) s8 (\S+)$", output, re.MULTILINE)
    wanted = (processor.floats, processor.floats, processor.int8)
    if default is None or default.groups() != wanted:
        raise Failed(f"{output}expected the kernels {wanted} by default")
    if tuple(isa for isa, _ in ran) != processor.isas or len({count for _, count in ran}) != 1:
        raise Failed(f"{output}expected {processor.isas} forced in turn, with as many cases each")
    return f"{processor.floats}, int8 {processor.int8}; forced: {' '.join(processor.isas)}"


def check_instructions(build: Build) -> str:
    """No object contains an instruction that its instruction set does not guarantee."""
    architecture = build.architecture or ""
    objects = sorted(build.folder.glob("CMakeFiles/squeezeops_*.dir/csrc/**/*.o"))
    seen, expected = {isa_of_object(path) for path in objects}, {None, *(isa.tag for isa in isas_on(architecture))}
    if seen != expected:
        raise Failed(f"expected objects of {expected} in {build.folder}, got {seen}")
    wrong, unseen = [], {pattern for pattern, allowed in FORBIDDEN[architecture] if allowed}
    for path in objects:
        listing = run(f"{build.target}-objdump", "--disassemble", "--no-show-raw-insn", path)
        isa = isa_of_object(path)
        for pattern, allowed in FORBIDDEN[architecture]:
            lines = re.findall(rf"^ *[0-9a-f]+:\t((?:{pattern})(?:\s.*)?)$", listing, re.MULTILINE)
            if lines:
                unseen.discard(pattern)
                if isa not in allowed.split("|"):
                    wrong.append(f"{path.name} of {isa}: {lines[0]}")
    wrong += [f"no object at all has {pattern}, so what looks for it finds nothing" for pattern in unseen]
    if wrong:
        raise Failed("\n".join(wrong))
    return f"{len(objects)} objects"


def check(only: str = "") -> list[Row]:
    """Run all jobs, or the rows with `only` in their names, such as "cortex-a72: C++, GCC"."""
    need("cmake", "ninja", "g++", "aarch64-linux-gnu-g++", "arm-linux-gnueabihf-g++", "qemu-aarch64", "qemu-arm")
    runs = [
        (processor, build, what)
        for processor in PROCESSORS
        for build, what in (
            (AARCH64_GCC, "C++, GCC"),
            (AARCH64_CLANG, "C++, Clang"),
            (ARMV7_GCC, "C++, GCC"),
            (ALIGNED, "C++, alignment checked"),
        )
        if build.architecture == processor.architecture and only in f"{processor.model}: {what}"
    ]
    for architecture in FORBIDDEN:
        played = {isa for processor in PROCESSORS if processor.architecture == architecture for isa in processor.isas}
        missing = {isa.tag for isa in isas_on(architecture)} - played
        if missing:
            raise Failed(f"no processor here is expected to run {', '.join(sorted(missing))}")
    if not runs:
        return []
    expected = HOST.folder / "expected"
    run(program(HOST), "write", expected)
    programs = {build: program(build) for build in {build: None for _, build, _ in runs}}
    jobs = [
        Job(processor.model, what, partial(check_kernels, processor, programs[build], expected))
        for processor, build, what in runs
    ]
    jobs += [
        Job(build.architecture or "", f"disassembly, {build.name}", partial(check_instructions, build))
        for build in programs
        if build is not ALIGNED
    ]
    return run_jobs(jobs)
