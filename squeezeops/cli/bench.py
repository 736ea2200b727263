"""``squeezeops bench``: how fast the ops run on this machine, and how close to its peaks."""

from __future__ import annotations

import argparse
import math
import textwrap
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from squeezeops.benchmark import cases
from squeezeops.benchmark.cases import Op, Shape, describe
from squeezeops.cli import streams
from squeezeops.cli.running import MOST_THREADS, count
from squeezeops.cli.streams import CommandError

if TYPE_CHECKING:
    from squeezeops.benchmark.measure import Result
    from squeezeops.benchmark.variants import Variant

SUMMARY = "measure the ops on this machine"
DESCRIPTION = "Measure an op, or all of them, on each variant that runs here: backend, instruction set, dtype."
EPILOG = """\
The ops are {ops}.

Without --shape, each op is measured at the shapes of SqueezeBERT-base, for texts of 16, 32, 128 and 384 tokens.  To
measure another shape:

  squeezeops bench pointwise_conv --shape tokens=64,c_in=768,c_out=3072,groups=4

A row shows the median time of a call; the quartiles of the rate in GFLOP/s, GOP/s for int8 (two operations per
multiply-add) or GB/s (each input and output once); the p75 as a share of the machine's peak, and that peak; and how
many samples were accepted.

The peak in GFLOP/s or GOP/s is a loop of multiply-adds in registers, with the row's instruction set.  It runs just
before and after each sample; if the two differ by more than 6 %, the sample is dropped.  The peak in GB/s is the speed
of reading 256 MiB of memory; data in a cache can exceed it.
"""
SHAPE_OF_MODEL = "model"
TABLE = "  {:<8} {:<13} {:<5} {:>12} {:>9} {:>9} {:>9} {:<7} {:>8} {:>9}  {:>12}  {}"
HEADER = TABLE.format(
    "backend", "isa", "dtype", "time", "p25", "median", "p75", "", "of peak", "peak", "accepted", "kernel"
)


def _op_names() -> str:
    return ", ".join(sorted(op.name for op in cases.OPS))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EPILOG.format(ops=textwrap.fill(_op_names(), 112, initial_indent=" " * 12).strip())
    parser.add_argument("op", nargs="?", metavar="OP", help="the op to measure (default: all)")
    parser.add_argument(
        "--shape",
        type=_shape,
        action="append",
        dest="shapes",
        metavar="NAME=N,...",
        help=f"measure this shape; {SHAPE_OF_MODEL} stands for the model's shapes, the default; may be repeated",
    )
    parser.add_argument("--backend", action="append", metavar="NAME", help="only this backend; may be repeated")
    parser.add_argument("--isa", action="append", metavar="NAME", help="only this instruction set; may be repeated")
    parser.add_argument(
        "--threads",
        type=partial(count, most=MOST_THREADS),
        action="append",
        metavar="N",
        help="threads of an op (default: SQUEEZEOPS_NUM_THREADS, else all cores); may be repeated",
    )
    parser.add_argument(
        "--seconds", type=_seconds, metavar="S", default=0.2, help="time per row of the table (default: %(default)s)"
    )
    parser.add_argument(
        "--cold", action="store_true", help="use convolution weights that are in no cache, as in a model"
    )
    forms = parser.add_mutually_exclusive_group()
    forms.add_argument("--json", action="store_true", help="print one JSON object at the end")
    forms.add_argument(
        "--csv", action="store_true", help="print comma-separated values with a header, one line per row"
    )


def _shape(text: str) -> Shape | str:
    if text == SHAPE_OF_MODEL:
        return text
    try:
        return cases.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value <= 3600:
        raise argparse.ArgumentTypeError(f"expected a number above 0, at most 3600, got {text!r}")
    return value


def run(arguments: argparse.Namespace) -> None:
    """Measure and print."""
    jobs = _jobs(arguments)

    from squeezeops import ops
    from squeezeops.benchmark import machine, measure
    from squeezeops.benchmark.variants import chosen_isa

    variants = _variants(arguments)
    threads = arguments.threads or [ops.get_num_threads()]
    names = ", ".join(map(str, variants))
    if skipped := dict.fromkeys(op.name for op, _ in jobs if not _runnable(op, variants)):
        if arguments.op:
            raise CommandError(f"{arguments.op}: expected a variant that has a kernel for it, got {names}")
        streams.note(f"skipped, because there is no kernel for {names}: {', '.join(skipped)}")
        jobs = [(op, shape) for op, shape in jobs if op.name not in skipped]
    memory = measure.some_memory()
    isas = list(dict.fromkeys(variant.isa for variant in variants if variant.isa)) or chosen_isa()
    seconds, cold = arguments.seconds, arguments.cold

    def peaks() -> list[dict[str, Any]]:
        return [measure.machine_peaks(isas, n, memory) for n in threads]

    def groups() -> Iterator[list[Result]]:
        for n in threads:
            for op, shape in jobs:
                runnable = _runnable(op, variants)
                yield measure.bench(op, shape, runnable, threads=n, seconds=seconds, cold=cold, memory=memory)

    streams.set_output(arguments.json)
    print_groups = _print_json if arguments.json else _print_csv if arguments.csv else _print_table
    print_groups(machine.describe_machine(), peaks, groups())


def _jobs(arguments: argparse.Namespace) -> list[tuple[Op, Shape]]:
    """Return the ops and shapes asked for. Errors in them are reported before anything is measured."""
    if arguments.op is None and arguments.shapes:
        raise CommandError("--shape: expected an op before it, got none")
    chosen = [op for op in cases.OPS if arguments.op in (None, op.name)]
    if not chosen:
        raise CommandError(f"expected an op among {_op_names()}, got {arguments.op!r}")
    if arguments.cold and not any(op.has_weights for op in chosen):
        raise CommandError(f"--cold: expected an op that has weights, got {arguments.op}")
    return [
        (op, op.check(shape))
        for op in chosen
        for wanted in arguments.shapes or [SHAPE_OF_MODEL]
        for shape in (op.shapes if wanted == SHAPE_OF_MODEL else [wanted])
    ]


def _variants(arguments: argparse.Namespace) -> list[Variant]:
    from squeezeops import ops
    from squeezeops.benchmark.variants import all_variants

    for name in arguments.backend or []:
        if name not in ops.available_backends():
            raise CommandError(f"--backend: expected one of {', '.join(ops.available_backends())}, got {name!r}")
    variants = all_variants(arguments.backend)
    known = list(dict.fromkeys(variant.isa for variant in variants if variant.isa))
    for name in arguments.isa or []:
        if name not in known:
            raise CommandError(f"--isa: expected one that runs here ({', '.join(known) or 'none'}), got {name!r}")
    return [variant for variant in variants if not arguments.isa or variant.isa in arguments.isa]


def _runnable(op: Op, variants: Iterable[Variant]) -> list[Variant]:
    from squeezeops.benchmark.variants import has_kernel

    return [variant for variant in variants if has_kernel(variant, op)]


# ---- output ----------------------------------------------------------------------------------------------------------

Facts = dict[str, Any]
MeasurePeaks = Callable[[], list[dict[str, Any]]]


def _print_json(facts: Facts, peaks: MeasurePeaks, groups: Iterable[list[Result]]) -> None:
    import json

    before = peaks()
    results = [result.as_dict() for group in groups for result in group]
    report = {"machine": facts, "peaks": {"before": before, "after": peaks()}, "results": results}
    print(json.dumps(report, indent=1, ensure_ascii=False, allow_nan=False))


def _print_csv(facts: Facts, peaks: MeasurePeaks, groups: Iterable[list[Result]]) -> None:
    import csv
    import sys

    writer = None
    for group in groups:
        for result in group:
            row = {**_flat(result.as_dict()), **facts}
            if writer is None:
                writer = csv.DictWriter(sys.stdout, row, lineterminator="\n")
                writer.writeheader()
            writer.writerow(row)
        streams.flush()


def _flat(values: dict[str, Any]) -> dict[str, Any]:
    """Flatten a result: the quartiles of the rate become rate_p25, rate_median and rate_p75."""
    figures = values.pop("figures")
    values["shape"] = describe(values["shape"])
    for name, value in figures.items():
        if name in ("microseconds", "rate", "share"):
            for quartile in ("p25", "median", "p75"):
                values[f"{name}_{quartile}"] = None if value is None else value[quartile]
        else:
            values[name] = value
    return values


def _print_table(facts: Facts, peaks: MeasurePeaks, groups: Iterable[list[Result]]) -> None:
    print(f"{facts['processor']}, {facts['cpus']} CPUs, {facts['platform']}")
    print(f"squeezeops {facts['squeezeops']}, NumPy {facts['numpy']}, Python {facts['python']}")
    _print_peaks("before", peaks())
    for group in groups:
        first = group[0]
        cold = ", weights in no cache" if first.cold else ""
        print(f"\n{first.op.name} {describe(first.shape)} ({_threads(first.threads)}{cold})")
        print(HEADER)
        for result in group:
            print(_line(result))
        streams.flush()
    print()
    _print_peaks("after", peaks())


def _print_peaks(when: str, peaks: list[dict[str, Any]]) -> None:
    for peak in peaks:
        fma, int8 = (", ".join(f"{isa} {rate:.1f}" for isa, rate in peak[kind].items()) for kind in ("fma", "int8"))
        if peak["read"] is None:
            print(f"peak {when}: not measured: no compiled kernels")
        else:
            rates = [*([f"{fma} GFLOP/s"] if fma else []), *([f"int8 {int8} GOP/s"] if int8 else [])]
            print(f"peak {when}, {_threads(peak['threads'])}: {'; '.join(rates)}; reads {peak['read']:.1f} GB/s")
    streams.flush()


def _threads(n: int) -> str:
    return f"{n} thread{'s' if n > 1 else ''}"


def _line(result: Result) -> str:
    f = result.figures
    rate = [f"{value / 1e9:.2f}" for value in f.rate] if f.rate else ["-"] * 3
    return TABLE.format(
        result.variant.backend,
        result.variant.isa or "-",
        result.op.dtype,
        f"{1e6 * f.seconds.median:.1f} us" if f.seconds else "-",
        *rate,
        result.op.unit,
        f"{f.share.p75:.1%}" if f.share else "-",
        f"{f.peak / 1e9:.1f}" if f.peak else "-",
        f"{f.accepted} of {f.samples}",
        result.kernel,
    )
