"""The shared part of the commands that run a model: the table's row type, common options, and the loop over texts."""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from squeezeops._version import __version__
from squeezeops.cli import reading, streams
from squeezeops.cli.progress import progress
from squeezeops.cli.reading import FORMATS, Input, Reader
from squeezeops.cli.streams import CommandError
from squeezeops.cli.table_file import TableFile, table_file
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


WINDOW = 32  # batches that are read at once for --output, and sorted by length
HASHED = 1 << 23  # bytes at both ends of a model's file that tell it from another
ECHOED = ("text", "text_pair", "question")  # fields of a result that repeat the input
BULK = """

--output writes rows to a file .jsonl or .csv, which appears when it is complete. Until then its rows are in FILE.part.
If the command is interrupted, even by kill -9, the same command with --resume goes on, and no row is lost or repeated.\
"""


class Command(NamedTuple):
    """A row of the table of commands."""

    name: str
    task: str  # of the pipeline
    summary: str
    description: str
    output: str  # the first paragraph of the epilog
    add_options: Callable[[argparse.ArgumentParser], None]
    options: tuple[str, ...]  # the arguments that are options of the pipeline
    lines: Callable[[Any, Any], Iterable[list[str]]]  # input, result -> columns of each line
    json_object: Callable[[argparse.Namespace, Any, Any], dict[str, Any]]  # input, result -> object of --json
    noun: str = "text"
    example: str = ""  # arguments of the epilog's example
    after_noun: str = ""  # what may follow on a line of the input
    make_item: Callable[[argparse.Namespace], Callable[[str], Any]] = lambda arguments: str
    if_too_long: str = "--truncation cuts it"
    built_in: bool = False  # whether there is a built-in model
    arrays: bool = False  # whether results make an array
    fields: tuple[str, ...] = ("text",)  # of a row, with the texts of an item
    takes_pairs: Callable[[argparse.Namespace], bool] = lambda arguments: False  # or the first of them alone
    # What to print of all inputs and results; without it, results are printed as they come.
    arrange: Callable[[argparse.Namespace, list[tuple[Input, Any]]], list[tuple[Input, Any]]] | None = None

    @property
    def epilog(self) -> str:
        noun = self.noun
        when = "Lines are answered as they arrive, so an open pipe works."
        if self.arrange is not None:
            when = "Nothing is printed before the last line is read."
        bulk = "" if self.arrange is not None else BULK
        return f"""\
{self.output}
--input takes UTF-8 with one {noun} per line. {when}
Without {noun}s, a pipe is read as --input - is. Blank lines at the end are ignored. Others are errors, because
results would not match the lines of the input; --blank-lines keep prints an empty line for each (null with --json).

A file FILE.jsonl has one JSON object per line, FILE.csv a header and rows. --field names the field of the {noun}.
--json{bulk and " and --output"} print the other fields, too, before those of the result.{bulk}

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
        help=f"read a file with {line}, or with rows: FILE.jsonl, FILE.csv; a file .gz is decompressed; - is standard "
        "input; may be repeated",
    )
    parser.add_argument(
        "--input-format",
        choices=(*dict.fromkeys(("lines", *FORMATS.values())),),
        help="format of --input (default: by the name)",
    )
    names = " and ".join(command.fields)
    parser.add_argument(
        "--field",
        action="append",
        metavar="NAME",
        help=f"field of a row with the {noun}{'; the second of two has the other' * (len(command.fields) > 1)} "
        f"(default: {names})",
    )
    parser.add_argument(
        "--prefix",
        default="",
        metavar="TEXT",
        help="put this before the names of the result's fields; needed if a row has such a field",
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
    if command.arrange is None:
        endings = (".jsonl", ".csv", *[".npy"] * command.arrays)
        what = "rows" + " or an array" * command.arrays
        forms.add_argument(
            "--output", type=partial(_output_name, endings), metavar="FILE", help=f"write {what}: {', '.join(endings)}"
        )
        existing = parser.add_mutually_exclusive_group()
        existing.add_argument("--resume", action="store_true", help="go on with a run that was interrupted")
        existing.add_argument("--force", action="store_true", help="replace an existing --output")
    parser.add_argument("--progress", action="store_true", help="report progress even if standard error is no terminal")
    command.add_options(parser)
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
    options = {action.dest: action.option_strings[-1] for action in reversed(parser._actions) if action.option_strings}
    parser.set_defaults(option_names={name: options[name] for name in ("batch_size", *command.options)})


def _output_name(endings: Sequence[str], name: str) -> str:
    if not name.endswith(tuple(endings)):
        raise argparse.ArgumentTypeError(f"expected a name that ends in {' or '.join(endings)}, got {name!r}")
    return name


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
    table: TableFile | None = None
    with ExitStack() as stack:
        # Report errors of arguments and file names before the model is loaded.
        make_item = command.make_item(arguments)
        check_table(arguments, output)
        reader = open_reader(command, arguments, make_item, stack)
        if output is None:
            streams.set_output(arguments.json)
        elif not output.endswith(".npy"):
            settings = table_settings(command, arguments, make_item)
            table = stack.enter_context(table_file(output, settings, arguments.resume, arguments.force))
            if table.complete:
                return streams.EXIT_SKIPPED if table.state.get("failed") else 0
        pipe = load(command, arguments)
        answers = Answers(command, pipe, arguments, sort=output is not None)
        if table is not None:
            write = row_writer(command, arguments, table)
            answers.restore(table.state)
        elif output is None:
            write = printer(command, arguments)
        else:
            write = array_writer(output, pipe, stack)
        if reader is None:
            batches: Iterable[list[Input]] = [list(texts_as_inputs(command, arguments.texts, make_item))]
        elif output is None:
            batches = reader.batches(arguments.batch_size, prompt=True)
        else:
            done = table.state.get("files", ()) if table is not None else ()
            batches = reader.batches(WINDOW * arguments.batch_size, prompt=False, done=done)
        scrolls = output is None and streams.is_terminal(sys.stdout)
        shown = arguments.progress or (reader is not None and streams.is_terminal(sys.stderr) and not scrolls)
        files = [] if reader is None else [file for _, file in reader.files]
        advance = stack.enter_context(progress(files, f"{command.noun}s", shown))
        results: list[tuple[Input, Any]] = []
        for batch in batches:
            if command.arrange is None:
                answers.write(batch, write, holes=output is not None and table is None)
            else:
                answers.write(batch, lambda given, result: results.append((given, result)), holes=True)
            if table is None:
                streams.flush()
            else:
                table.commit({**answers.counts, "files": [] if reader is None else reader.positions})
            advance(len(batch))
        if command.arrange is not None:
            for given, result in command.arrange(arguments, results):
                write(given, result)
        if table is not None:
            table.finish({**answers.counts, "files": [] if reader is None else reader.positions})
        return answers.report()


def check_table(arguments: argparse.Namespace, output: str | None) -> None:
    """Check the options of rows and of files with rows."""
    if output is None or output.endswith(".npy"):
        for option in ("resume", "force"):
            if getattr(arguments, option, False):
                raise CommandError(f"--{option}: expected --output FILE.jsonl or FILE.csv with it")
    if arguments.prefix and output is None and not arguments.json:
        raise CommandError("--prefix: expected --json or --output with it")
    check_encodable("--prefix", arguments.prefix)


def open_reader(
    command: Command, arguments: argparse.Namespace, make_item: Callable[..., Any], stack: ExitStack
) -> Reader | None:
    """Open the files of --input, if they are given."""
    count = 1 + command.takes_pairs(arguments)
    fields = arguments.field or command.fields[:count]
    if len(fields) != count:
        raise CommandError(f"--field: expected {count} of them, got {len(fields)}")
    if arguments.input is None:
        for option, value in (("--field", arguments.field), ("--input-format", arguments.input_format)):
            if value:
                raise CommandError(f"{option}: expected --input FILE with it")
        return None
    if arguments.field and "lines" in arguments.formats:
        raise CommandError("--field: expected files .jsonl or .csv, or --input-format")
    files = [reading.open_input("--input", path, stack) for path in arguments.input]
    return Reader(files, arguments.formats, fields, make_item, command.noun, arguments.blank_lines)


def table_settings(command: Command, arguments: argparse.Namespace, make_item: Callable[..., Any]) -> dict[str, Any]:
    """Return what the rows of a table depend on, besides the input."""
    from hashlib import blake2b

    from squeezeops import ops

    names = ("dtype", "attention", "input_format", "field", "prefix", "blank_lines")
    constant = None if command.takes_pairs(arguments) else repr(make_item("")).encode()  # parts of all items
    return {
        "version": __version__,
        "command": command.name,
        "--pair or --context": constant and blake2b(constant, digest_size=16).hexdigest(),
        "--model": model_hash(arguments.model or BUILT_IN),
        "SQUEEZEOPS_BACKEND": ops.get_backend(),
        **{f"--{name.replace('_', '-')}": getattr(arguments, name) for name in names},
        **{arguments.option_names[name]: getattr(arguments, name, None) for name in command.options},
    }


def model_hash(name: str) -> str:
    """Return a hash of the files of a model: of their names, sizes and contents, but of the middle of large ones."""
    from hashlib import blake2b

    from squeezeops.squeezebert.files.hub_cache import find_folder

    path = name if os.path.exists(name) else find_folder(name)
    found = (
        [path] if os.path.isfile(path) else [os.path.join(at, file) for at, _, files in os.walk(path) for file in files]
    )
    total = blake2b(digest_size=16)
    for file in sorted(found):
        with open(file, "rb") as opened:
            size = os.fstat(opened.fileno()).st_size
            total.update(f"{os.path.relpath(file, path)} {size} ".encode())
            total.update(opened.read(HASHED))
            opened.seek(max(opened.tell(), size - HASHED))
            total.update(opened.read())
    return total.hexdigest()


def output_row(command: Command, arguments: argparse.Namespace, given: Input, result: Any) -> dict[str, Any] | None:
    """Return the fields of an input, then those of its result; None for a blank line."""
    if given.item is None:
        return None
    fields = command.json_object(arguments, given.item, result)
    own = given.row or {name: value for name, value in fields.items() if name in ECHOED}
    found = {arguments.prefix + name: value for name, value in fields.items() if name not in ECHOED}
    for name in found:
        if name in own:
            raise CommandError(f"expected no field {name!r}, which the result has (--prefix TEXT renames that one)")
    row = {**own, **found}
    for name, number in numbers(row):
        if not math.isfinite(number):  # JSON has no such numbers
            raise CommandError(f"{name}: expected a number, got {number}")
    return row


def row_writer(command: Command, arguments: argparse.Namespace, table: TableFile) -> Callable[[Input, Any], None]:
    return lambda given, result: table.append(output_row(command, arguments, given, result))


def array_writer(output: str, pipe: Pipeline, stack: ExitStack) -> Callable[[Input, Any], None]:
    """Return a function that appends a result to an array; a row of NaN if there is none."""
    from squeezeops.cli.array_file import array_file
    from squeezeops.pipelines import FeatureExtractionPipeline

    assert isinstance(pipe, FeatureExtractionPipeline)  # no other command has arrays
    append = stack.enter_context(array_file(output, pipe.channels()))
    no_row = [math.nan] * pipe.channels()
    return lambda given, result: append(no_row if given.item is None else result)


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
    arguments.formats = [arguments.input_format or reading.input_format(path) for path in arguments.input or ()]


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


def printer(command: Command, arguments: argparse.Namespace) -> Callable[[Input, Any], None]:
    """Return a function that prints an input and its result; an item of None is a blank line that is kept."""

    def print_json(given: Input, result: Any) -> None:
        print(streams.to_json(output_row(command, arguments, given, result)))

    def print_columns(given: Input, result: Any) -> None:
        for columns in [[]] if given.item is None else command.lines(given.item, result):
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

    def __init__(self, command: Command, pipe: Pipeline, arguments: argparse.Namespace, sort: bool) -> None:
        self.pipe, self.command, self.option_names = pipe, command, arguments.option_names
        self.stops, self.sort = arguments.on_error == "stop", sort
        self.inputs = self.failed = 0

    @property
    def counts(self) -> dict[str, int]:
        return {"inputs": self.inputs, "failed": self.failed}

    def restore(self, counts: Mapping[str, Any]) -> None:
        """Go on from the counts of another run."""
        self.inputs, self.failed = counts.get("inputs", 0), counts.get("failed", 0)

    def write(self, batch: list[Input], write: Callable[[Input, Any], None], holes: bool) -> None:
        """Pass each input and its result to `write`; with `holes`, an input without an item for one that has failed."""
        for given, result in self.sorted(batch) if self.sort else self.of(batch):
            self.inputs += given.item is not None or bool(given.problem)
            if given.problem:
                self.fail(given.place, given.problem)
                if not holes:
                    continue
            try:
                write(Input(given.place) if given.problem else given, result)
            except CommandError as error:  # not a number, or what a table does not take
                self.fail(given.place, str(error))

    def sorted(self, batch: list[Input]) -> list[tuple[Input, Any]]:
        """Return what `of` yields, but compute texts of similar length together."""
        order = sorted(range(len(batch)), key=lambda index: _length(batch[index].item))
        found = dict(zip(order, self.of([batch[index] for index in order]), strict=True))
        return [found[index] for index in range(len(batch))]

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


def _length(item: Any) -> int:
    texts = [item] if isinstance(item, str) else item.values() if isinstance(item, dict) else item or ()
    return sum(map(len, texts))


def check_encodable(place: str, text: str) -> None:
    """Refuse an argument whose bytes were not UTF-8, which Python decodes to lone surrogates."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise CommandError(f"{place}: expected valid UTF-8, got {text!a:.60}") from error
