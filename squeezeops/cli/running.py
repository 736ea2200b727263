"""The shared part of the commands that run a model: the table's row type, common options, and the loop over texts."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from squeezeops.cli import reading, streams
from squeezeops.cli.streams import CommandError

if TYPE_CHECKING:
    from squeezeops.pipelines import Pipeline

MOST = 2**31 - 1  # of a number on the command line
MOST_THREADS = 256  # of squeezeops.ops.set_num_threads


class Command(NamedTuple):
    """A row of the table of commands."""

    name: str
    task: str  # of the pipeline
    summary: str
    description: str
    output: str  # the first paragraph of the epilog
    add_options: Callable[[argparse.ArgumentParser, Any], None]  # the group holds --json and its alternatives
    options: tuple[str, ...]  # the arguments that are options of the pipeline
    lines: Callable[[Any, Any], Iterable[list[str]]]  # input, result -> columns of each line
    json_object: Callable[[argparse.Namespace, Any, Any], dict[str, Any]]  # input, result -> object of --json
    noun: str = "text"
    after_noun: str = ""  # what may follow on a line of the input
    make_item: Callable[[argparse.Namespace], Callable[[str], Any]] = lambda arguments: str
    if_too_long: str = "--truncation cuts it"
    built_in: bool = False  # whether there is a built-in model
    # What to print of all inputs and results; without it, results are printed as they come.
    arrange: Callable[[argparse.Namespace, list[tuple[Any, Any]]], list[tuple[Any, Any]]] | None = None

    @property
    def epilog(self) -> str:
        noun, model = self.noun, "" if self.built_in else "--model MODEL "
        when = "Lines are answered as they arrive, so an open pipe works."
        if self.arrange is not None:
            when = "Nothing is printed before the last line is read."
        return f"""\
{self.output}
--input takes UTF-8 with one {noun} per line. A blank line in between is an error, because results would not match the
lines of the input; blank lines at the end are ignored. {when}

Put -- before a {noun} that starts with a dash: squeezeops {self.name} {model}--json -- "-- a {noun}"
"""


def add_arguments(command: Command, parser: argparse.ArgumentParser) -> None:
    """Add a command's own options and the common ones to its parser."""
    noun = command.noun
    parser.add_argument("texts", nargs="*", metavar=noun.upper(), help=f"a {noun}")
    line = f"one {noun} per line{command.after_noun}"
    parser.add_argument("--input", metavar="FILE", help=f"read a file with {line}; - is standard input")
    forms = parser.add_mutually_exclusive_group()
    forms.add_argument("--json", action="store_true", help="print one JSON object per line")
    command.add_options(parser, forms)
    where = "a folder in Hugging Face's layout, a file that squeezeops convert wrote, or the name of a model in the "
    where += "local Hugging Face cache"
    if command.built_in:
        where += ", instead of the built-in"
    parser.add_argument("--model", metavar="MODEL", required=not command.built_in, help=where)
    default = "float32, or what the file was converted to" + (", int8 for the built-in" if command.built_in else "")
    parser.add_argument("--dtype", help=f"storage of the model's weights (default: {default})")
    parser.add_argument(
        "--attention", help="arithmetic of attention, float32 or int8 (default: int8 for --dtype int8, or the file's)"
    )
    parser.add_argument(
        "--threads",
        type=partial(count, most=MOST_THREADS),
        metavar="N",
        help="threads (default: SQUEEZEOPS_NUM_THREADS, else all cores)",
    )
    parser.add_argument(
        "--batch-size",
        type=count,
        metavar="N",
        default=32,
        help=f"largest number of {noun}s at once (default: %(default)s)",
    )
    # Of two options for one argument, the first gives the name.
    names = {action.dest: action.option_strings[-1] for action in reversed(parser._actions) if action.option_strings}
    parser.set_defaults(option_names={name: names[name] for name in ("batch_size", *command.options)})


def count(text: str, least: int = 1, most: int = MOST) -> int:
    """Parse an option that takes a number from `least` to `most`."""
    try:
        value = int(text)
    except ValueError:
        value = least - 1
    if not least <= value <= most:
        bound = f"of at least {least}" if value < least else "below 2**31" if most == MOST else f"of at most {most}"
        raise argparse.ArgumentTypeError(f"expected a whole number {bound}, got {text!r}")
    return value


def run(command: Command, arguments: argparse.Namespace) -> None:
    """Run a command: print or write the result of each text."""
    try:
        process(command, arguments)
    except (CommandError, TypeError, ValueError) as error:
        message = str(error).removeprefix(f"{command.task}: ")
        raise CommandError(in_terms_of_options(message, error, arguments.option_names)) from error


def in_terms_of_options(message: str, error: Exception, names: Mapping[str, str]) -> str:
    """Replace names of a pipeline's options by those of the command line in the message of an error about one."""
    argument: Any = getattr(error, "argument", None)
    if argument not in names:
        return message
    expected, *got = message.removeprefix(f"{argument}: ").partition(", got ")
    for name, option in names.items():
        if "_" in name:  # no word of English
            expected = expected.replace(name, option)
    return "".join([f"{names[argument]}: {expected}", *got])


def process(command: Command, arguments: argparse.Namespace) -> None:
    """Do the work of `run`; errors name the options of the pipeline."""
    if arguments.input is None and not arguments.texts:
        raise CommandError(f"expected {command.noun}s or --input FILE (see squeezeops {command.name} --help)")
    if arguments.input is not None and arguments.texts:
        raise CommandError(f"expected either {command.noun}s or --input FILE, got both")
    for name, option in arguments.option_names.items():
        value = getattr(arguments, name, None)
        for text in value if isinstance(value, list | tuple) else [value]:
            if isinstance(text, str):
                check_encodable(option, text)
    output = getattr(arguments, "output", None)
    with ExitStack() as stack:
        # Report errors of arguments and file names before the model is loaded.
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
        if output is None:
            streams.set_output(arguments.json)
        pipe = load(command, arguments)
        if output is None:
            write = printer(command, arguments)
        else:
            from squeezeops.cli.array_file import array_file
            from squeezeops.pipelines import FeatureExtractionPipeline

            assert isinstance(pipe, FeatureExtractionPipeline)  # no other command has the option
            append = stack.enter_context(array_file(output, pipe.channels()))

            def write(item: Any, result: Any) -> None:
                append(result)

        results: list[tuple[Any, Any]] = []
        keep = write if command.arrange is None else lambda item, result: results.append((item, result))
        write_results(command, batches, pipe, keep, place, arguments.option_names)
        if command.arrange is not None:
            for item, result in command.arrange(arguments, results):
                write(item, result)


def load(command: Command, arguments: argparse.Namespace) -> Pipeline:
    """Make the pipeline with the options that are among the arguments."""
    from squeezeops import ops
    from squeezeops.pipelines import pipeline

    if arguments.threads is not None:
        ops.set_num_threads(arguments.threads)
    options = {name: getattr(arguments, name) for name in ("batch_size", *command.options) if name in arguments}
    if "max_length" in options and "truncation" in command.options and not options.setdefault("truncation", True):
        raise CommandError("--max-length: expected texts that may be cut, got --no-truncation")
    return pipeline(command.task, arguments.model, dtype=arguments.dtype, attention=arguments.attention, **options)


def printer(command: Command, arguments: argparse.Namespace) -> Callable[[Any, Any], None]:
    """Return a function that prints an input and its result."""

    def print_json(item: Any, result: Any) -> None:
        fields = command.json_object(arguments, item, result)
        for name, number in numbers(fields):
            if not math.isfinite(number):  # JSON has no such numbers
                raise CommandError(f"{name}: expected a number, got {number}")
        print(json.dumps(fields, ensure_ascii=False, allow_nan=False))

    def print_columns(item: Any, result: Any) -> None:
        for columns in command.lines(item, result):
            print("\t".join(column.translate(streams.ONE_LINE) for column in columns))

    return print_json if arguments.json else print_columns


def numbers(value: Any, name: str = "") -> Iterator[tuple[str, float]]:
    """Yield the floats in a JSON value, each with its key."""
    if isinstance(value, float):
        yield name, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from numbers(inner, key)
    elif isinstance(value, list):
        for inner in value:
            yield from numbers(inner, name)


def write_results(
    command: Command,
    batches: Iterable[list[Any]],
    pipe: Pipeline,
    write: Callable[[Any, Any], None],
    place: str,
    option_names: Mapping[str, str],
) -> None:
    """Write the results of all batches. Errors name an input by `place` and its number, from 1."""
    from squeezeops.pipelines import TextError

    done = 0
    for items in batches:
        try:
            for number, (item, result) in enumerate(zip(items, pipe.stream(items), strict=True), start=done + 1):
                try:
                    write(item, result)
                except CommandError as error:
                    raise CommandError(f"{place}{number}: {error}") from error
        except TextError as error:
            hint = f" ({command.if_too_long})" if error.too_long else ""
            problem = in_terms_of_options(error.problem, error, option_names)
            raise CommandError(f"{place}{done + error.index + 1}: {problem}{hint}") from error
        streams.flush()
        done += len(items)


def check_encodable(place: str, text: str) -> None:
    """Refuse an argument whose bytes were not UTF-8, which Python decodes to lone surrogates."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise CommandError(f"{place}: expected valid UTF-8, got {text!a:.60}") from error
