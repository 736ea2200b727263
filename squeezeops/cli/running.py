"""What the commands that run a model share: their common options, and the way from texts to results."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from squeezeops.cli import reading, streams
from squeezeops.cli.streams import CommandError

if TYPE_CHECKING:
    from squeezeops.cli.tasks import Command
    from squeezeops.pipelines import Pipeline


def add_arguments(command: Command, parser: argparse.ArgumentParser) -> None:
    """Give the parser of a command its own options, among those that all commands have."""
    noun = command.noun
    parser.add_argument("texts", nargs="*", metavar=noun.upper(), help=f"a {noun}")
    parser.add_argument("--input", metavar="FILE", help=f"read a file with one {noun} a line; - is standard input")
    forms = parser.add_mutually_exclusive_group()
    forms.add_argument("--json", action="store_true", help="print one JSON object a line")
    command.add_options(parser, forms)
    where = "a folder in Hugging Face's layout, or the name of a model in the local Hugging Face cache"
    if command.built_in:
        where += ", instead of the built-in"
    parser.add_argument("--model", metavar="MODEL", required=not command.built_in, help=where)
    parser.add_argument("--dtype", default="float32", help="the model's arithmetic (default: %(default)s)")
    parser.add_argument(
        "--threads", type=count, metavar="N", help="threads (default: SQUEEZEOPS_NUM_THREADS, else all cores)"
    )
    parser.add_argument(
        "--batch-size", type=count, metavar="N", default=32, help=f"{noun}s at once, at most (default: %(default)s)"
    )


def count(text: str, least: int = 1) -> int:
    """The type of an option that takes a number from `least` on."""
    try:
        value = int(text)
    except ValueError:
        value = least - 1
    if not least <= value < 2**31:
        bound = f"of at least {least}" if value < least else "below 2**31"
        raise argparse.ArgumentTypeError(f"expected a whole number {bound}, got {text!r}")
    return value


def run(command: Command, arguments: argparse.Namespace) -> None:
    """Run a command: print a result for each text, or write it to the output file."""
    if arguments.input is None and not arguments.texts:
        raise CommandError(f"expected {command.noun}s or --input FILE (see squeezeops {command.name} --help)")
    if arguments.input is not None and arguments.texts:
        raise CommandError(f"expected either {command.noun}s or --input FILE, got both")
    output = getattr(arguments, "output", None)
    with ExitStack() as stack:
        # What the arguments and the names of files have wrong shows at once, before the model is loaded.
        make_item = command.make_item(arguments)
        batches: Iterable[list[Any]]
        if arguments.input is None:
            place = f"{command.noun} "
            for number, text in enumerate(arguments.texts, start=1):
                check_encodable(f"{place}{number}", text)
            batches = [[make_item(text) for text in arguments.texts]]
        else:
            name, file = reading.open_input("--input", arguments.input, stack)
            place = f"{name}: line "
            batches = reading.read_items(name, file, arguments.batch_size, make_item, command.noun)
            batches = reading.with_progress(batches, file, f"{command.noun}s", stack, scrolls=output is None)
        pipe = load(command, arguments)
        if output is None:
            streams.set_output(arguments.json)
            write = printer(command, arguments)
        else:
            from squeezeops.cli.array_file import array_file

            append = stack.enter_context(array_file(output, pipe.model.config.hidden_size))

            def write(item: Any, result: Any) -> None:
                append(result)

        write_results(command, batches, pipe, write, place)


def load(command: Command, arguments: argparse.Namespace) -> Pipeline:
    """Make the pipeline, with those of its options that the arguments hold."""
    from squeezeops import ops
    from squeezeops.pipelines import pipeline

    if arguments.threads is not None:
        ops.set_num_threads(arguments.threads)
    options = {name: getattr(arguments, name) for name in ("batch_size", *command.options) if name in arguments}
    return pipeline(command.task, arguments.model, dtype=arguments.dtype, **options)


def printer(command: Command, arguments: argparse.Namespace) -> Callable[[Any, Any], None]:
    """Return a function that prints an input and its result."""

    def print_json(item: Any, result: Any) -> None:
        print(json.dumps(command.json_object(arguments, item, result), ensure_ascii=False, allow_nan=False))

    def print_columns(item: Any, result: Any) -> None:
        for columns in command.lines(item, result):
            print("\t".join(column.translate(streams.ONE_LINE) for column in columns))

    return print_json if arguments.json else print_columns


def write_results(
    command: Command,
    batches: Iterable[list[Any]],
    pipe: Pipeline,
    write: Callable[[Any, Any], None],
    place: str,
) -> None:
    """Write the results of all batches.  A bad input is reported by `place` and its number, from 1."""
    from squeezeops.pipelines import TextError

    done = 0
    for items in batches:
        try:
            for item, result in zip(items, pipe.stream(items), strict=True):
                write(item, result)
        except TextError as error:
            hint = f" ({command.if_too_long})" if error.too_long else ""
            raise CommandError(f"{place}{done + error.index + 1}: {error.problem}{hint}") from error
        streams.flush()
        done += len(items)


def check_encodable(place: str, text: str) -> None:
    """Refuse an argument whose bytes were not UTF-8: Python puts lone surrogates in their place."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise CommandError(f"{place}: expected valid UTF-8, got {text!a:.60}") from error
