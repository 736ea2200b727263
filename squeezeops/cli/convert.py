"""``squeezeops convert``: writes a checkpoint as one file that loads at once."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from squeezeops.cli import streams
from squeezeops.cli.running import MODEL_HELP, check_encodable
from squeezeops.cli.streams import CommandError
from squeezeops.packing import TARGETS
from squeezeops.squeezebert.model.heads import HEADS
from squeezeops.squeezebert.model.storage import ATTENTIONS

if TYPE_CHECKING:
    from squeezeops.squeezebert.conversion.convert import Conversion

SUMMARY = "write a model as one file that loads at once"
DESCRIPTION = "Write a model as one safetensors file, which every --model and SqueezeBert.from_pretrained take."
EPILOG = """\
OUT ends in .safetensors. It holds packed weights, the configuration and the vocabulary. It appears when it is
complete, and is the same, byte for byte, whenever the same model is converted.

int8 is the fastest and takes a quarter of float32's memory for the encoder. float16 takes half and, for a float16
checkpoint, gives the results of float32. Embedding tables are float16 with either; with int8, word embeddings are int8.
The built-in model is int8 already and is copied. With int8, attention multiplies bytes, too; long texts gain most from
that, and the error grows a little with their length. --attention float32 leaves it as it is in float32.

What int8 gives, on one thread: a SqueezeBERT runs 2.5 to 2.7 times as fast as in float32 up to 128 tokens. A BERT runs
2 to 3 times as fast; its value layers stay float16 for precision. The embeddings of all-MiniLM-L6-v2 then have a
cosine of 0.9997 to those of float32, at worst 0.998. Layers of a BERT with channels that are no multiple of 128 stay
mostly float16, and gain little.

  squeezeops convert ./squeezebert-mnli mnli.safetensors --check
  squeezeops classify --model mnli.safetensors "A text."
"""
BAR = 40  # characters


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EPILOG
    parser.add_argument("checkpoint", metavar="MODEL", help=f"the model to convert: {MODEL_HELP}")
    parser.add_argument("out", metavar="OUT", help="the file to write")
    parser.add_argument(
        "--dtype",
        choices=TARGETS,
        default="int8",
        help="storage of the encoder's weights (default: %(default)s)",
    )
    parser.add_argument(
        "--attention",
        choices=ATTENTIONS,
        help="arithmetic of attention (default: int8 with --dtype int8, else float32)",
    )
    parser.add_argument(
        "--task",
        choices=tuple(HEADS),
        metavar="TASK",
        help=f"the task to convert for: {', '.join(HEADS)} (default: the one that the model was saved for)",
    )
    parser.add_argument("--check", action="store_true", help="compare the outputs before and after")
    parser.add_argument(
        "--text",
        dest="texts",
        action="append",
        metavar="TEXT",
        help="with --check, compare on this text instead of English samples; may be repeated",
    )
    parser.add_argument("--report", action="store_true", help="print a table of the layers and their errors")
    parser.add_argument("--force", action="store_true", help="replace an existing file")
    parser.add_argument("--quiet", action="store_true", help="print only the output of --check and --report")


def run(arguments: argparse.Namespace) -> None:
    """Convert, and print a summary."""
    if arguments.texts and not arguments.check:
        raise CommandError("--text: expected --check with it, got none")
    for number, text in enumerate(arguments.texts or [], start=1):
        check_encodable(f"--text {number}", text)
        if not text.strip():
            raise CommandError(f"--text {number}: expected a text, got {text!r:.40}")

    from squeezeops.squeezebert.conversion import quality
    from squeezeops.squeezebert.conversion.convert import convert
    from squeezeops.squeezebert.files.hub_cache import find_folder

    if arguments.texts and quality.tokenizer_of(find_folder(arguments.checkpoint)) is None:
        raise CommandError("--text: expected a model with a vocabulary, got one without")
    streams.set_output(False)
    try:
        with progress_bar(not arguments.quiet) as progress:
            done = convert(
                arguments.checkpoint,
                arguments.out,
                dtype=arguments.dtype,
                attention=arguments.attention,
                task=arguments.task,
                force=arguments.force,
                measure=arguments.report,
                progress=progress,
            )
    except FileExistsError as error:
        raise CommandError(f"{error} (--force replaces it)") from error
    lines: list[str] = []
    if arguments.report:
        lines += report(done)
    if not arguments.quiet:
        lines += summary(done, arguments.out)
    print("\n".join(lines), end="\n" if lines else "")
    streams.flush()
    if arguments.check:
        print(check(arguments.checkpoint, done, arguments.texts))


@contextmanager
def progress_bar(wanted: bool) -> Iterator[Callable[[str, int, int], None] | None]:
    """Yield a function that shows a progress bar, if standard error is a terminal. The bar is erased at the end."""
    stream = sys.stderr
    if not wanted or not streams.is_terminal(stream):
        yield None
        return

    def show(stage: str, done: int, total: int) -> None:
        full = BAR * done // max(total, 1)
        amount = f"{done / 1e6:.1f} of {total / 1e6:.1f} MB" if stage == "writing" else f"{done} of {total} layers"
        stream.write(f"\r\x1b[K{stage} [{'#' * full}{'.' * (BAR - full)}] {amount}")
        stream.flush()

    try:
        yield show
    finally:
        stream.write("\r\x1b[K")
        stream.flush()


def summary(done: Conversion, out: str) -> Iterator[str]:
    """Yield a summary of the conversion, line by line."""
    share = done.bytes_after / max(done.bytes_before, 1)
    yield f"{out}: {done.dtype} with {done.attention} attention, {done.task}"
    yield f"  {done.bytes_before:,} bytes of weights before, a file of {done.bytes_after:,} after ({share:.0%})"
    others = sum(bool(layer.reason) for layer in done.layers.values())
    if others:  # heads are not counted
        all_ = others + sum(layer.dtype.removesuffix("_rotated") == done.dtype for layer in done.layers.values())
        yield f"  {others} of {all_} layers are not in {done.dtype} (--report says which and why)"
    if done.rounded:
        worst = max(done.rounded, key=lambda name: done.rounded[name])
        tensors = "1 tensor was" if len(done.rounded) == 1 else f"{len(done.rounded)} tensors were"
        yield f"  {tensors} rounded to float16, {worst} most: by up to {done.rounded[worst]:.2g} of its largest value"


def report(done: Conversion) -> Iterator[str]:
    """Yield a table with one line per layer."""
    width = max(map(len, done.layers), default=5)
    yield f"{'layer':<{width}}  {'dtype':<12}  {'weights off':>11}  {'output off':>10}"
    for name, layer in done.layers.items():
        error = layer.error
        weight, output = (error.weight, error.output) if error else (None, None)
        figures = "  ".join(
            [f"{'-' if weight is None else f'{weight:.5f}':>11}", f"{'-' if output is None else f'{output:.5f}':>10}"]
        )
        yield f"{name:<{width}}  {layer.dtype:<12}  {figures}  {layer.reason}".rstrip()
    if any(layer.error for layer in done.layers.values()):
        yield f"off: by how much {done.dtype} changes them, as a part of the norm; the output is that for sample texts"


def check(checkpoint: str | os.PathLike[str], done: Conversion, texts: list[str] | None) -> str:
    """Compare the outputs of the model before and after."""
    from squeezeops.squeezebert import SqueezeBert
    from squeezeops.squeezebert.conversion import quality

    before = SqueezeBert.from_pretrained(checkpoint, task=done.task)
    after = SqueezeBert.from_pretrained(done.path)
    tokenizer = quality.tokenizer_of(done.path)
    inputs = quality.sample(tokenizer, before.config, texts or quality.SENTENCES)
    found = quality.compare(before, after, inputs)
    what = "texts" if tokenizer else "rows of random tokens"
    line = f"check: {found.what} of {len(inputs['input_ids'])} {what}: off by at most {found.largest:.4g}, "
    line += f"cosine {found.mean_cosine:.5f} on average and {found.worst_cosine:.5f} at worst"
    return f"{line}, the same label for {found.same} of {found.of}" if found.of else line
