"""``squeezeops doctor``: what `info` says, what is missing, and a self-test of bits and speed."""

from __future__ import annotations

import argparse
import os
from typing import Any

from squeezeops.cli import info, streams

SUMMARY = "check this installation on this machine"
DESCRIPTION = """\
Describe this installation as squeezeops info does, then check it, in about 2 s: whether ops and the built-in model
return the bits that they return on every machine, and how long a convolution takes.

The time that is expected follows from the machine's peak, which a loop of multiply-adds in registers measures just
before and after: operations / (peak * the share of it that such kernels reach). So a kernel that is built badly shows.
A machine that is throttled, or that others load, slows the loop as well: it shows only in how far the peaks lie apart.
The exit status is 1 if bits are wrong.
"""
EPILOG = """\
Examples:

  squeezeops doctor
  squeezeops doctor --json
"""
# Of the peak on one thread at SHAPE, as measured on a Zen 4: 82 to 97 % for AVX2 and AVX-512, 69 % for scalar and SSE2.
SHARES = {"pointwise_conv": 0.8, "pointwise_conv_int8": 0.8}
WITHOUT_SHARE = {"amx_int8"}  # whose peak no convolution comes near: the next instruction set is measured
SHAPE: dict[str, Any] = {"tokens": 128, "c_in": 768, "c_out": 768, "groups": 4, "activation": "none", "residual": 0}
SLOW = 2.0  # times the expected time: worth a look
UNSTEADY = 1.5  # largest peak / smallest
SECONDS = 0.6  # per op


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EPILOG
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Print the description and the findings; return 1 if bits are wrong."""
    facts = examine()
    streams.set_output(arguments.json)
    if arguments.json:
        print(streams.to_json(facts, indent=2))
    else:
        lines = [*info.as_lines(facts), *_lines(facts)]
        print("\n".join(line.translate(streams.ONE_LINE) for line in lines))
    return streams.EXIT_SKIPPED if facts["bits"]["wrong"] else 0


def examine() -> dict[str, Any]:
    """Return what `info` says, and ``memory``, ``install``, ``bits``, ``speed`` and ``advice``."""
    from squeezeops.backends import HOW_TO_GET

    facts = info.describe_installation()
    facts["memory"] = _memory()
    facts["install"] = {name: how for name, how in HOW_TO_GET.items() if name not in facts["backends"]}
    facts["bits"] = _bits(facts)
    facts["speed"] = _speed(facts)
    facts["advice"] = _advice(facts)
    return facts


def _memory() -> dict[str, int | None]:
    """Return bytes: of the machine, those available, and the limit of the control group; None if unknown."""
    found: dict[str, int | None] = {"total": None, "available": None, "limit": None}
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            sizes = dict(line.split(":") for line in file)
        for name, key in (("total", "MemTotal"), ("available", "MemAvailable")):
            found[name] = int(sizes[key].split()[0]) * 1024
        with open("/sys/fs/cgroup/memory.max", encoding="ascii") as file:
            found["limit"] = int(file.read())
    except (OSError, ValueError, KeyError):  # not Linux, or no limit
        pass
    return found


def _bits(facts: dict[str, Any]) -> dict[str, Any]:
    from squeezeops.benchmark import golden

    isa, backend = facts["cpu"]["isa"], facts["backend"]
    compiled = backend in ("native", "cffi")
    if not compiled or isa in golden.TO_TOLERANCE:
        why = f"{isa if compiled else 'the backend ' + backend} computes to a tolerance"
        return {"checked": 0, "wrong": [], "skipped": why}
    return {"checked": len(golden.BITS), "wrong": golden.wrong_cases(), "skipped": None}


def _speed(facts: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a row per op: time expected and measured, in seconds, on one thread; none without compiled kernels."""
    from squeezeops.benchmark.cases import op_of
    from squeezeops.benchmark.measure import bench
    from squeezeops.benchmark.variants import Variant, compiled_library, has_kernel

    if facts["backend"] not in ("native", "cffi") or compiled_library() is None:
        return []
    isas = facts["cpu"]["isas"]
    isas = isas[isas.index(facts["cpu"]["isa"]) :]  # those after it have the kernels that it has not
    variants = [Variant(facts["backend"], isa) for isa in isas if isa not in WITHOUT_SHARE]
    rows = []
    for name, share in SHARES.items():
        op = op_of(name)
        shape = SHAPE | ({"quantized": 0} if op.int8 else {})
        variant = next(variant for variant in variants if has_kernel(variant, op))
        (found,) = bench(op, shape, [variant], threads=1, seconds=SECONDS, cold=False, memory=None)
        peaks = [peak for sample in found.taken for peak in (sample.before, sample.after) if peak]
        seconds = min(sample.seconds for sample in found.taken)
        expected = found.case.flops / (max(peaks) * share)
        rows.append(
            {
                "op": name,
                "kernel": found.kernel,
                "share": share,
                "peak": max(peaks),
                "slowest_peak": sorted(peaks)[len(peaks) // 20],
                "expected": expected,
                "measured": seconds,
            }
        )
    return rows


def _advice(facts: dict[str, Any]) -> list[str]:
    advice = [f"wrong bits in {name}: please report it, with this output" for name in facts["bits"]["wrong"]]
    for row in facts["speed"]:
        if row["measured"] > SLOW * row["expected"]:
            advice.append(f"{row['op']} takes {row['measured'] / row['expected']:.1f} times what is expected")
        if row["peak"] > UNSTEADY * row["slowest_peak"]:
            factor = row["peak"] / row["slowest_peak"]
            advice.append(f"the speed varies by a factor of {factor:.1f}: the machine is throttled, or others load it")
            break
    if facts["threads"] < facts["cpus"]:
        reason = "SQUEEZEOPS_NUM_THREADS" if os.environ.get("SQUEEZEOPS_NUM_THREADS") else "a CPU quota"
        advice.append(f"{facts['threads']} of {facts['cpus']} CPUs are used, because of {reason}")
    if "native" in facts["install"]:
        advice.append(f"ops are slow without the backend native: {facts['install']['native']}")
    return advice


def _lines(facts: dict[str, Any]) -> list[str]:
    cpu, bits = facts["cpu"], facts["bits"]
    memory = [f"{size / 1e9:.1f} GB {name}" for name, size in facts["memory"].items() if size is not None]
    rows: list[tuple[str, object]] = [("memory", ", ".join(memory) or "unknown")]
    if "amx_int8" in [*cpu["isas"], *cpu.get("missing", {})]:
        rows.append(("AMX", "permitted" if "amx_int8" in cpu["isas"] else cpu["missing"]["amx_int8"]))
    rows += [("to install", f"{name}: {how}") for name, how in facts["install"].items()]
    right = bits["checked"] - len(bits["wrong"])
    rows.append(
        ("bits", f"not compared: {bits['skipped']}" if bits["skipped"] else f"{right} of {bits['checked']} right")
    )
    for row in facts["speed"]:
        times = f"{row['expected'] * 1e6:.0f} us expected, {row['measured'] * 1e6:.0f} us measured"
        rows.append(
            ("speed", f"{row['op']}: {times} ({row['share']:.0%} of {row['peak'] / 1e9:.0f} Gop/s; {row['kernel']})")
        )
    if not facts["speed"]:
        rows.append(("speed", "not measured: it needs the backend native or cffi"))
    rows += [("advice", line) for line in facts["advice"]] or [("advice", "none: all is well")]
    return [info.row(name, value) for name, value in rows]
