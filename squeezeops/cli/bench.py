"""``squeezeops bench``: how fast the ops run on this machine, and how close to its peaks."""

from __future__ import annotations

import argparse
import math
import textwrap
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

from squeezeops.backends import HOW_TO_GET
from squeezeops.benchmark import cases
from squeezeops.benchmark.cases import Op, Shape
from squeezeops.cli import reading, streams
from squeezeops.cli.running import MODEL_HELP, MOST_THREADS, check_one_dash, count
from squeezeops.cli.streams import CommandError
from squeezeops.packing import TARGETS

if TYPE_CHECKING:
    from squeezeops.benchmark.against import Theirs
    from squeezeops.benchmark.counters import Counters
    from squeezeops.benchmark.measure import Result
    from squeezeops.benchmark.variants import Variant

SUMMARY = "measure the ops on this machine"
DESCRIPTION = "Measure an op, or all of them, on each variant that runs here: backend, instruction set, dtype."
EPILOG = """\
The ops are {ops}.

Without --shape, each op is measured at the shapes of SqueezeBERT-base, for texts of 16, 32, 128 and 384 tokens.  To
measure another shape:

  squeezeops bench pointwise_conv --shape tokens=64,c_in=768,c_out=3072,groups=4

To measure your own kernel beside ours, after a comparison of the results:

  squeezeops bench softmax --against mymodule:softmax       a function in Python, called as squeezeops.softmax is
  squeezeops bench softmax --against ./libmine.so:softmax   one in C, with the arguments of sqz_softmax_f32

To see where the time of a forward pass goes, and whether a change made a difference:

  squeezeops bench model --tokens 128
  squeezeops bench layer_norm --json > before.json
  squeezeops bench layer_norm --json > after.json
  squeezeops bench --compare before.json after.json

A row shows the median time of a call; the quartiles of the rate in GFLOP/s, GOP/s for int8 (two operations per
multiply-add) or GB/s (each input and output once); the p75 as a share of the machine's peak, and that peak; and how
many samples were accepted.

The peak in GFLOP/s or GOP/s is a loop of multiply-adds in registers, with the row's instruction set.  It runs just
before and after each sample; if the two differ by more than 6 %, the sample is dropped.  The peak in GB/s is the speed
of reading 256 MiB of memory; data in a cache can exceed it.
"""
SHAPE_OF_MODEL = MODEL = "model"
SECONDS_OF_MODEL = 10  # times those of a row, for a whole table


def _op_names() -> str:
    return ", ".join(sorted(op.name for op in cases.OPS))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EPILOG.format(ops=textwrap.fill(_op_names(), 112, initial_indent=" " * 12).strip())
    parser.add_argument("op", nargs="?", metavar="OP", help=f"the op to measure (default: all), or {MODEL}")
    parser.add_argument(
        "--shape",
        type=_shape,
        action="append",
        dest="shapes",
        metavar="NAME=N,...",
        help=f"measure this shape; {SHAPE_OF_MODEL} stands for the model's shapes, the default; may be repeated",
    )
    parser.add_argument(
        "--backend",
        action="append",
        metavar="NAME",
        help=f"only this backend ({', '.join(HOW_TO_GET)}); may be repeated",
    )
    parser.add_argument(
        "--isa",
        action="append",
        metavar="NAME",
        help="only this instruction set (squeezeops info lists those that run here); may be repeated",
    )
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
    parser.add_argument(
        "--against",
        action="append",
        default=[],
        metavar="WHERE:NAME",
        help="a function of your own to measure beside the op: of a Python module or of a library (.so) in C; may be "
        "repeated",
    )
    parser.add_argument(
        "--compare", nargs=2, metavar=("BEFORE", "AFTER"), help="only compare two files of --json; - is standard input"
    )
    model = parser.add_argument_group(f"options of {MODEL}")
    model.add_argument("--model", metavar="MODEL", help=f"{MODEL_HELP} (default: SqueezeBERT-base with random weights)")
    model.add_argument("--tokens", type=count, metavar="N", help="length of the text (default: 128)")
    model.add_argument(
        "--dtype", choices=TARGETS, help="of the weights (default: float32, or what the file was converted to)"
    )
    model.add_argument(
        "--attention",
        choices=("float32", "int8"),
        help="arithmetic of attention (default: int8 for --dtype int8, or the file's)",
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
    """Measure and print, or compare."""
    _check_together(arguments)
    if arguments.compare:
        _compare(arguments)
    elif arguments.op == MODEL:
        _run_model(arguments)
    else:
        _run_ops(arguments)


def _check_together(arguments: argparse.Namespace) -> None:
    """Refuse options that have no meaning beside others."""
    if arguments.compare and (arguments.op or arguments.csv):
        raise CommandError(f"--compare: expected no op and no --csv beside it, got {arguments.op or '--csv'}")
    for_ops = ("shapes", "cold", "against", "csv")
    for name in for_ops if arguments.op == MODEL else ("model", "tokens", "dtype", "attention"):
        if getattr(arguments, name) not in (None, False, []):
            beside = "an op" if arguments.op == MODEL else MODEL
            raise CommandError(f"--{name.removesuffix('s') if name == 'shapes' else name}: expected {beside} before it")
    if arguments.op is None and (arguments.shapes or arguments.against):
        raise CommandError(f"--{'shape' if arguments.shapes else 'against'}: expected an op before it, got none")


def _run_ops(arguments: argparse.Namespace) -> None:
    jobs = _jobs(arguments)

    from squeezeops import ops
    from squeezeops.benchmark import machine, measure
    from squeezeops.benchmark.variants import chosen_isa
    from squeezeops.cli import bench_output

    variants = _variants(arguments)
    threads = arguments.threads or [ops.get_num_threads()]
    names = ", ".join(map(str, variants))
    if skipped := dict.fromkeys(op.name for op, _ in jobs if not _runnable(op, variants)):
        if arguments.op:
            raise CommandError(f"{arguments.op}: expected a variant that has a kernel for it, got {names}")
        streams.note(f"skipped, because there is no kernel for {names}: {', '.join(skipped)}")
        jobs = [(op, shape) for op, shape in jobs if op.name not in skipped]
    theirs = _theirs(arguments.against, jobs)
    memory = measure.some_memory()
    isas = list(dict.fromkeys(variant.isa for variant in variants if variant.isa)) or chosen_isa()
    counters, state = _counters(threads)
    options: dict[str, Any] = {"seconds": arguments.seconds, "cold": arguments.cold, "memory": memory}

    def peaks() -> list[dict[str, Any]]:
        return [measure.machine_peaks(isas, n, memory) for n in threads]

    def groups() -> Iterator[list[Result]]:
        for n in threads:
            for op, shape in jobs:
                rows = [*_runnable(op, variants), *theirs]
                yield measure.bench(op, shape, rows, threads=n, counters=counters, **options)

    streams.set_output(arguments.json)
    form = "json" if arguments.json else "csv" if arguments.csv else "table"
    bench_output.print_groups(form, {**machine.describe_machine(), "counters": state}, peaks, groups())


def _theirs(texts: list[str], jobs: list[tuple[Op, Shape]]) -> list[Theirs]:
    """Load the user's functions, and check their results before anything is measured."""
    from squeezeops.benchmark.against import load

    try:
        loaded = [load(text, jobs[0][0]) for text in texts]
        for one in loaded:
            for op, shape in jobs:
                one.check(op, shape)
    except ValueError as error:
        raise CommandError(f"--against: {error}") from error
    return loaded


def _counters(threads: list[int]) -> tuple[Counters | None, str]:
    """Return the processor's counters, and whether they count or why not."""
    from squeezeops.benchmark.counters import Counters

    if 1 not in threads:
        return None, "not counted: expected --threads 1, since the counters are those of the caller"
    try:
        return Counters(), "counted with 1 thread"
    except OSError as error:
        return None, f"not counted: {error}"


def _compare(arguments: argparse.Namespace) -> None:
    from squeezeops.benchmark.compare import compare, differences_of_machines, read_results
    from squeezeops.cli import bench_output

    check_one_dash("--compare", arguments.compare)
    reports = []
    for path in arguments.compare:
        with ExitStack() as stack:
            name, file = reading.open_input("--compare", path, stack)
            reports.append(read_results(name, file))
    before, after = reports
    for difference in differences_of_machines(before, after):
        streams.note(f"times can not be compared: {difference}")
    streams.set_output(arguments.json)
    bench_output.print_comparison(compare(before, after), arguments.json)


def _run_model(arguments: argparse.Namespace) -> None:
    """Measure a forward pass by op: on the backend in force, or on the variants that are asked for."""
    import numpy as np

    from squeezeops import ops
    from squeezeops.benchmark import forward, machine
    from squeezeops.benchmark.variants import chosen_isa, using_threads
    from squeezeops.cli import bench_output

    variants = _variants(arguments)
    if not (arguments.backend or arguments.isa):
        isa, name = chosen_isa(), ops.get_backend()
        variants = [v for v in variants if v.backend == name and v.isa in (None, *isa[:1])]
    name, dtype, model = _model(arguments)
    model = model.op_by_op()  # in C, there are no calls to time
    most = model.config.max_position_embeddings
    tokens = arguments.tokens or min(128, most)
    if tokens > most:
        raise CommandError(f"--tokens: expected at most {most}, got {tokens}")
    shape = (1,) * (len(model.head.axes) - 1) + (tokens,)  # a multiple choice has one
    ids = np.random.default_rng(0).integers(0, model.config.vocab_size, shape)
    streams.set_output(arguments.json)
    printer = bench_output.ModelPrinter(machine.describe_machine(), name, dtype, tokens, arguments.json)
    for threads in arguments.threads or [ops.get_num_threads()]:
        for variant in variants:
            with variant.active(), using_threads(threads):
                printer.add(variant, threads, forward.profile(lambda: model(ids), arguments.seconds * SECONDS_OF_MODEL))
    printer.end()


def _model(arguments: argparse.Namespace) -> tuple[str, str, Any]:
    """Return a model, its name and the dtype of its weights, with the arithmetic of attention if that is given."""
    import numpy as np

    from squeezeops.squeezebert.model.config import SqueezeBertConfig
    from squeezeops.squeezebert.model.squeezebert import SqueezeBert
    from squeezeops.squeezebert.model.tensors import encoder_shapes

    attention = arguments.attention

    def words(model: SqueezeBert) -> str:
        return str(model.dtype) if attention is None else f"{model.dtype} with {model.attention} attention"

    if arguments.model is not None:
        model = SqueezeBert.from_pretrained(arguments.model, dtype=arguments.dtype, attention=arguments.attention)
        return arguments.model, words(model), model
    config, dtype, random = SqueezeBertConfig(), arguments.dtype or "float32", np.random.default_rng(0)
    # As large as trained ones. Tables are float16, as in the official checkpoint.
    weights = {
        name: (random.standard_normal(shape, np.float32) * np.float32(0.04)).astype(
            "float16" if len(shape) == 2 else "float32"
        )
        for name, shape in encoder_shapes(config)
    }
    model = SqueezeBert(config, weights, dtype=dtype, attention=attention, task="base")
    return "SqueezeBERT-base, random weights", words(model), model


def _jobs(arguments: argparse.Namespace) -> list[tuple[Op, Shape]]:
    """Return the ops and shapes asked for. Errors in them are reported before anything is measured."""
    chosen = [op for op in cases.OPS if arguments.op in (None, op.name)]
    if not chosen:
        raise CommandError(f"expected an op among {_op_names()}, or {MODEL}, got {arguments.op!r}")
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
