"""``squeezeops bench``: how fast the ops run here, and how near to what the machine can do."""

from __future__ import annotations

import argparse
import math
import textwrap
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from squeezeops.benchmark import shapes
from squeezeops.cli import streams
from squeezeops.cli.running import MOST_THREADS, count
from squeezeops.cli.streams import CommandError

if TYPE_CHECKING:
    from squeezeops.benchmark.cases import Op
    from squeezeops.benchmark.measure import Result
    from squeezeops.benchmark.variants import Variant

    Job = tuple[Op, shapes.Shape]

SUMMARY = "measure the ops on this machine"
DESCRIPTION = "Measure an op, or all of them, on each variant that runs here: backend, instruction set, dtype."
EPILOG = """\
The ops are {ops}.

Without --shape they are taken at the shapes at which SqueezeBERT-base runs them, for texts of 16, 32, 128 and
384 tokens.  A shape of your own:

  squeezeops bench pointwise_conv --shape tokens=64,c_in=768,c_out=3072,groups=4

A row says how long a call takes at the median; GFLOP/s, in int8 GOP/s (two operations a multiply-add), or GB/s (each
input and output once) at the quartiles; what the p75 is of the machine's peak, and that peak; how many samples were
accepted.

The peak of GFLOP/s or GOP/s is multiply-adds in registers, by the instruction set of the row, just before and after
each sample; where the two differ by more than 6 %, the sample is dropped.  The peak of GB/s is the speed of reading
256 MiB of memory; what lies in a cache may exceed it.
"""
SHAPE_OF_MODEL = "model"
TABLE = "  {:<8} {:<7} {:<5} {:>12} {:>9} {:>9} {:>9} {:<7} {:>8} {:>9}  {:>12}  {}"
HEADER = TABLE.format(
    "backend", "isa", "dtype", "time", "p25", "median", "p75", "", "of peak", "peak", "accepted", "kernel"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EPILOG.format(ops=textwrap.fill(", ".join(shapes.op_names()), 112, initial_indent=" " * 12).strip())
    parser.add_argument("op", nargs="?", metavar="OP", help="the op to measure (default: all)")
    parser.add_argument(
        "--shape",
        type=_shape,
        action="append",
        dest="shapes",
        metavar="NAME=N,...",
        help=f"measure this shape instead of the model's, which are called {SHAPE_OF_MODEL}; may be repeated",
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
        "--seconds", type=_seconds, metavar="S", default=0.2, help="time for a row of the table (default: %(default)s)"
    )
    parser.add_argument(
        "--cold", action="store_true", help="convolve with weights that are in no cache, as a model does"
    )
    forms = parser.add_mutually_exclusive_group()
    forms.add_argument("--json", action="store_true", help="print one JSON object, when all is measured")
    forms.add_argument("--csv", action="store_true", help="print comma-separated values with a header, a line a row")


def _shape(text: str) -> shapes.Shape | str:
    if text == SHAPE_OF_MODEL:
        return text
    try:
        return shapes.parse(text)
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
    for op, _ in jobs:
        _runnable(op, variants)
    memory = measure.some_memory()
    isas = list(dict.fromkeys(variant.isa for variant in variants if variant.isa)) or chosen_isa()
    facts = machine.describe_machine()

    def peaks() -> list[dict[str, Any]]:
        return [measure.machine_peaks(isas, n, memory) for n in threads]

    def groups() -> Iterator[list[Result]]:
        for n in threads:
            for op, shape in jobs:
                yield measure.bench(
                    op,
                    shape,
                    _runnable(op, variants),
                    threads=n,
                    seconds=arguments.seconds,
                    cold=arguments.cold,
                    memory=memory,
                )

    streams.set_output(arguments.json)
    print_groups = _print_json if arguments.json else _print_csv if arguments.csv else _print_table
    print_groups(facts, peaks, groups())


def _jobs(arguments: argparse.Namespace) -> list[Job]:
    """The ops and shapes asked for; what is wrong with them shows before anything is measured."""
    if arguments.op is None and arguments.shapes:
        raise CommandError("--shape: expected an op before it, got none")
    if arguments.op is not None and arguments.op not in shapes.op_names():
        raise CommandError(f"expected an op among {', '.join(shapes.op_names())}, got {arguments.op!r}")

    from squeezeops.benchmark import cases

    chosen = cases.OPS if arguments.op is None else [cases.op_of(arguments.op)]
    if arguments.cold and not any(op.has_weights for op in chosen):
        raise CommandError(f"--cold: expected an op that has weights, got {arguments.op}")
    jobs = []
    for op in chosen:
        for shape in arguments.shapes or [SHAPE_OF_MODEL]:
            wanted = shapes.model_shapes(op.name) if shape == SHAPE_OF_MODEL else [shape]
            jobs += [(op, op.check(one)) for one in wanted]
    return jobs


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

    having = [variant for variant in variants if has_kernel(variant, op)]
    if not having:
        raise CommandError(
            f"{op.name}: expected a variant that has a kernel for it, got {', '.join(map(str, variants))}"
        )
    return having


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
    """Put a result in one level: the quartiles of the rate become rate_p25, rate_median, rate_p75."""
    figures = values.pop("figures")
    values["shape"] = shapes.describe(values["shape"])
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
        print(f"\n{first.op} {shapes.describe(first.shape)} ({_threads(first.threads)}{cold})")
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
            print(f"peak {when}: not measured, for want of compiled kernels")
        else:
            rates = [*([f"{fma} GFLOP/s"] if fma else []), *([f"int8 {int8} GOP/s"] if int8 else [])]
            print(f"peak {when}, {_threads(peak['threads'])}: {'; '.join(rates)}; reads {peak['read']:.1f} GB/s")
    streams.flush()


def _threads(n: int) -> str:
    return f"{n} thread{'s' if n > 1 else ''}"


def _line(result: Result) -> str:
    f = result.figures
    rate = [f"{value:.2f}" for value in f.rate] if f.rate else ["-"] * 3
    return TABLE.format(
        result.backend,
        result.isa or "-",
        result.dtype,
        f"{f.microseconds.median:.1f} us" if f.microseconds else "-",
        *rate,
        result.unit,
        f"{f.share.p75:.1%}" if f.share else "-",
        f"{f.peak:.1f}" if f.peak else "-",
        f"{f.accepted} of {f.samples}",
        result.kernel,
    )
