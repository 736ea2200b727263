"""The shared part of the commands that run a model: the table's row type, common options, and the loop over texts."""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from squeezeops.cli import reading, streams
from squeezeops.cli.reading import Input
from squeezeops.cli.streams import CommandError
from squeezeops.packing import TARGETS
from squeezeops.squeezebert.files.built_in import BUILT_IN
from squeezeops.squeezebert.model.storage import ATTENTIONS

if TYPE_CHECKING:
    from squeezeops.pipelines import Pipeline

MOST = 2**31 - 1  # of a number on the command line
MOST_THREADS = 256  # of squeezeops.ops.set_num_threads
MODEL_HELP = (
    "a folder in Hugging Face's layout, a file that squeezeops convert wrote, the name of a model in the local Hugging "
    f"Face cache, or {BUILT_IN} for the one in the package"
)


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
    example: str = ""  # arguments of the epilog's example
    after_noun: str = ""  # what may follow on a line of the input
    make_item: Callable[[argparse.Namespace], Callable[[str], Any]] = lambda arguments: str
    if_too_long: str = "--truncation cuts it"
    built_in: bool = False  # whether there is a built-in model
    # What to print of all inputs and results; without it, results are printed as they come.
    arrange: Callable[[argparse.Namespace, list[tuple[Any, Any]]], list[tuple[Any, Any]]] | None = None

    @property
    def epilog(self) -> str:
        noun = self.noun
        when = "Lines are answered as they arrive, so an open pipe works."
        if self.arrange is not None:
            when = "Nothing is printed before the last line is read."
        return f"""\
{self.output}
--input takes UTF-8 with one {noun} per line. {when}
Without {noun}s, a pipe is read as --input - is. Blank lines at the end are ignored. Others are errors, because
results would not match the lines of the input; --blank-lines keep prints an empty line for each (null with --json).

Put -- before the first {noun} if one starts with a dash. An example:

  squeezeops {self.name} {self.example}
"""


def add_arguments(command: Command, parser: argparse.ArgumentParser) -> None:
    """Add a command's own options and the common ones to its parser."""
    noun = command.noun
    parser.add_argument("texts", nargs="*", metavar=noun.upper(), help=f"a {noun}; - alone is standard input")
    line = f"one {noun} per line{command.after_noun}"
    parser.add_argument(
        "--input",
        action="append",
        metavar="FILE",
        help=f"read a file with {line}; - is standard input; may be repeated",
    )
    parser.add_argument(
        "--blank-lines",
        choices=("error", "skip", "keep"),
        default="error",
        help="blank lines of --input that others follow: refuse them, skip them, or answer with an empty line, so that "
        "results match the lines (default: %(default)s)",
    )
    parser.add_argument(
        "--on-error",
        choices=("stop", "skip"),
        default="stop",
        help=f"a bad {noun} ends the command, or is reported with its line number, and at the end the exit status is "
        f"{streams.EXIT_SKIPPED} (default: %(default)s)",
    )
    forms = parser.add_mutually_exclusive_group()
    forms.add_argument("--json", action="store_true", help="print one JSON object per line")
    command.add_options(parser, forms)
    more = f" (default: {BUILT_IN})" if command.built_in else ""
    parser.add_argument("--model", metavar="MODEL", required=not command.built_in, help=MODEL_HELP + more)
    default = "float32, or what the file was converted to" + (", int8 for the built-in" if command.built_in else "")
    parser.add_argument("--dtype", choices=TARGETS, help=f"storage of the model's weights (default: {default})")
    parser.add_argument(
        "--attention",
        choices=ATTENTIONS,
        help="arithmetic of attention (default: int8 for --dtype int8, or the file's)",
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


def run(command: Command, arguments: argparse.Namespace) -> int:
    """Run a command: print or write the result of each text. Return the exit status."""
    try:
        return process(command, arguments)
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


def process(command: Command, arguments: argparse.Namespace) -> int:
    """Do the work of `run`; errors name the options of the pipeline."""
    choose_input(command, arguments)
    for name, option in arguments.option_names.items():
        value = getattr(arguments, name, None)
        for text in value if isinstance(value, list | tuple) else [value]:
            if isinstance(text, str):
                check_encodable(option, text)
    output = getattr(arguments, "output", None)
    with ExitStack() as stack:
        # Report errors of arguments and file names before the model is loaded.
        make_item = command.make_item(arguments)
        batches: Iterable[list[Input]]
        if arguments.input is None:
            batches = [list(texts_as_inputs(command, arguments.texts, make_item))]
        else:
            files = [reading.open_input("--input", path, stack) for path in arguments.input]
            batches = reading.read_items(files, arguments.batch_size, make_item, command.noun, arguments.blank_lines)
            batches = reading.with_progress(
                batches, [file for _, file in files], f"{command.noun}s", stack, scrolls=output is None
            )
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
            no_row = [math.nan] * pipe.channels()

            def write(item: Any, result: Any) -> None:
                append(no_row if item is None else result)

        answers = Answers(command, pipe, arguments)
        if command.arrange is None:
            answers.write(batches, write, holes=output is not None)
        else:
            results: list[tuple[Any, Any]] = []
            answers.write(batches, lambda item, result: results.append((item, result)), holes=True)
            for item, result in command.arrange(arguments, results):
                write(item, result)
        return answers.report()


def choose_input(command: Command, arguments: argparse.Namespace) -> None:
    """Check that there are texts or files, and let a dash or a pipe stand for a file."""
    texts, noun = arguments.texts, f"{command.noun}s"
    if arguments.input is not None and texts:
        raise CommandError(f"expected either {noun} or --input FILE, got both")
    if "-" in texts and len(texts) > 1:
        raise CommandError(f"expected either {noun} or -, which is standard input, got both")
    context_is_piped = getattr(arguments, "context_file", None) == "-"
    if texts == ["-"] or (not (texts or arguments.input or context_is_piped) and reading.input_is_waiting()):
        arguments.texts, arguments.input = [], ["-"]
    if not arguments.texts and arguments.input is None:
        raise CommandError(f"expected {noun} or --input FILE (see squeezeops {command.name} --help)")
    check_one_dash("--input", arguments.input or [])


def check_one_dash(option: str, paths: Sequence[str]) -> None:
    if paths.count("-") > 1:
        raise CommandError(f"{option}: expected - once, got {paths.count('-')}")


def texts_as_inputs(command: Command, texts: Iterable[str], make_item: Callable[[str], Any]) -> Iterator[Input]:
    """Yield what is on the command line."""
    for number, text in enumerate(texts, start=1):
        place = f"{command.noun} {number}"
        note_a_file(place, text, f"--input {text} reads its lines")
        try:
            check_encodable(place, text)
            yield Input(place, make_item(text))
        except CommandError as error:
            yield Input(place, problem=str(error).removeprefix(f"{place}: "))


def note_a_file(place: str, text: str, advice: str) -> None:
    """Tell somebody who gives a file's name as a text what reads the file."""
    with suppress(OSError, ValueError):  # not even the name of a file
        if os.path.isfile(text):
            streams.note(f"{place} is the name of a file; {advice}")


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
    """Return a function that prints an input and its result; an item of None is a blank line that is kept."""

    def print_json(item: Any, result: Any) -> None:
        fields = None if item is None else command.json_object(arguments, item, result)
        for name, number in numbers(fields):
            if not math.isfinite(number):  # JSON has no such numbers
                raise CommandError(f"{name}: expected a number, got {number}")
        print(streams.to_json(fields))

    def print_columns(item: Any, result: Any) -> None:
        for columns in [[]] if item is None else command.lines(item, result):
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


class Answers:
    """The results of a command's inputs, and what becomes of inputs that have none."""

    def __init__(self, command: Command, pipe: Pipeline, arguments: argparse.Namespace) -> None:
        self.pipe, self.command, self.option_names = pipe, command, arguments.option_names
        self.stops = arguments.on_error == "stop"
        self.inputs = self.failed = 0

    def write(self, batches: Iterable[list[Input]], write: Callable[[Any, Any], None], holes: bool) -> None:
        """Pass each item and its result to `write`; with `holes`, also (None, None) for an input that has failed."""
        for batch in batches:
            for given, result in self.of(batch):
                self.inputs += given.item is not None or bool(given.problem)
                if given.problem:
                    self.fail(given.place, given.problem)
                    if not holes:
                        continue
                try:
                    write(None if given.problem else given.item, result)
                except CommandError as error:  # not a number
                    self.fail(given.place, str(error))
            streams.flush()

    def of(self, batch: list[Input]) -> Iterator[tuple[Input, Any]]:
        """Yield inputs with their results; those that the pipeline refuses with their problems."""
        from squeezeops.pipelines import TextError

        items = [given.item for given in batch if given.item is not None]
        results, asked = self.pipe.stream(items), 0
        for given in batch:
            if given.item is None:
                yield given, None
                continue
            asked += 1
            try:
                result = next(results)
            except TextError as error:
                hint = f" ({self.command.if_too_long})" if error.too_long else ""
                problem = in_terms_of_options(error.problem, error, self.option_names)
                yield Input(given.place, problem=f"{problem}{hint}"), None
                results = self.pipe.stream(items[asked:])
            else:
                yield given, result

    def fail(self, place: str, problem: str) -> None:
        if self.stops:
            raise CommandError(f"{place}: {problem}")
        streams.complain(f"{place}: {problem}")
        self.failed += 1

    def report(self) -> int:
        """Say how many inputs have no result, and return the exit status."""
        if not self.failed:
            return 0
        has = "has" if self.failed == 1 else "have"
        streams.complain(f"{self.failed} of {self.inputs} {self.command.noun}s {has} no result")
        return streams.EXIT_SKIPPED


def check_encodable(place: str, text: str) -> None:
    """Refuse an argument whose bytes were not UTF-8, which Python decodes to lone surrogates."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise CommandError(f"{place}: expected valid UTF-8, got {text!a:.60}") from error
