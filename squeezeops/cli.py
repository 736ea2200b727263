"""The command line: ``squeezeops classify`` and ``squeezeops info``.

Results go to standard output.  An error is one line on standard error and exit status 2; SQUEEZEOPS_DEBUG=1 adds the
traceback.  Ctrl-C ends with status 130 and a closed output pipe with 141, both quietly.

Only light modules are imported at the top: ``--help`` and ``--version`` answer without loading NumPy.
"""

from __future__ import annotations

import argparse
import codecs
import os
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from importlib import import_module
from typing import Any, BinaryIO, NoReturn, TextIO

PROGRESS_DELAY = 1.0  # seconds; a shorter run shows no bar

EXIT_ERROR = 2
EXIT_INTERRUPTED = 130  # what a shell reports for SIGINT ...
EXIT_CLOSED_PIPE = 141  # ... and for SIGPIPE

# One line of plain output is one text: what would break the line or the columns is shown as a space.
ONE_LINE = str.maketrans(dict.fromkeys("\t\n\v\f\r\x1c\x1d\x1e\x85\u2028\u2029", " "))

CLASSIFY_EPILOG = """\
One line a text on standard output, in input order: label, score, text, separated by tabs.  With --top-k or --all the
line holds several pairs of label and score, best first.  With --json it is an object: {"text", "label", "score"}, or
{"text", "scores": [{"label", "score"}, ...]} with --top-k or --all.

--input takes UTF-8 with one text a line.  A blank line between texts is an error, since the lines of output would no
longer match the lines of input; blank lines at the end are ignored.  Lines are answered as they arrive, so a pipe
that stays open works too.

Put -- before a text that starts with a dash:  squeezeops classify --json -- "-- what a film"
"""


class CommandError(Exception):
    """A problem to report in one line."""


class _Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors follow this program's rule of one line."""

    def error(self, message: str) -> NoReturn:
        raise CommandError(f"{message} (see {self.prog} --help)")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments after the program's name; ``sys.argv[1:]`` if left out.

    Returns
    -------
    int
        The exit status: 0, or 2 for an error, 130 for Ctrl-C, 141 for a closed output pipe.
    """
    try:
        try:
            arguments = _parser().parse_args(argv)
            arguments.run(arguments)
            status = 0
        except SystemExit as finished:  # argparse has printed a help text or the version
            status = finished.code if isinstance(finished.code, int) else 0
        _flush()
        return status
    except KeyboardInterrupt:
        _silence(sys.stdout)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        _silence(sys.stdout)
        return EXIT_CLOSED_PIPE
    except Exception as error:
        return _report(error)


def _parser() -> argparse.ArgumentParser:
    from squeezeops import __version__

    parser = _Parser(prog="squeezeops", description="Text classification with SqueezeBERT.", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"squeezeops {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    classify = commands.add_parser(
        "classify",
        help="label texts",
        description="Label texts, by default as POSITIVE or NEGATIVE with the model that ships with squeezeops.",
        epilog=CLASSIFY_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    classify.set_defaults(run=_classify)
    classify.add_argument("texts", nargs="*", metavar="TEXT", help="a text to label")
    classify.add_argument("--input", metavar="FILE", help="read the texts from a file, one a line; - is standard input")
    classify.add_argument("--json", action="store_true", help="print one JSON object a line")
    ranks = classify.add_mutually_exclusive_group()
    ranks.add_argument("--top-k", type=_count, metavar="N", help="print the N best labels of a text")
    ranks.add_argument("--all", action="store_true", help="print all labels of a text")
    classify.add_argument("--truncation", action="store_true", help="cut texts that are too long for the model")
    classify.add_argument("--model", metavar="FOLDER", help="a model in Hugging Face's layout, instead of the built-in")
    classify.add_argument("--dtype", default="float32", help="the model's arithmetic (default: %(default)s)")
    classify.add_argument(
        "--threads", type=_count, metavar="N", help="threads (default: SQUEEZEOPS_NUM_THREADS, else all cores)"
    )
    classify.add_argument(
        "--batch-size", type=_count, metavar="N", default=32, help="texts at once, at most (default: %(default)s)"
    )

    info = commands.add_parser(
        "info",
        help="describe this installation",
        description="Describe this installation: versions, processor, kernels, built-in model.",
        allow_abbrev=False,
    )
    info.set_defaults(run=_info)
    info.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def _count(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = 0
    if not 1 <= value < 2**31:
        bound = "of at least 1" if value < 1 else "below 2**31"
        raise argparse.ArgumentTypeError(f"expected a whole number {bound}, got {text!r}")
    return value


# ---- classify --------------------------------------------------------------------------------------------------------


def _classify(arguments: argparse.Namespace) -> None:
    if arguments.input is None and not arguments.texts:
        raise CommandError("expected texts or --input FILE (see squeezeops classify --help)")
    if arguments.input is not None and arguments.texts:
        raise CommandError("expected either texts or --input FILE, got both")
    if arguments.input is None:
        for number, text in enumerate(arguments.texts, start=1):
            if not _encodable(text):
                raise CommandError(f"text {number}: expected valid UTF-8, got {text!a:.60}")
        _write_results([arguments.texts], _load(arguments), _formatter(arguments), "text ")
        return
    with ExitStack() as stack:
        name, file = _open(arguments.input, stack)  # before the model: a wrong name should show at once
        classify = _load(arguments)
        batches = _with_progress(_read(name, file, arguments.batch_size), file, stack)
        _write_results(batches, classify, _formatter(arguments), f"{name}: line ")


def _load(arguments: argparse.Namespace) -> Any:
    """Return a function from an iterable of texts to an iterator of results."""
    from squeezeops import ops
    from squeezeops.pipelines import pipeline

    if arguments.threads is not None:
        ops.set_num_threads(arguments.threads)
    options: dict[str, Any] = {"truncation": arguments.truncation, "batch_size": arguments.batch_size}
    if arguments.all or arguments.top_k is not None:
        options["top_k"] = arguments.top_k
    return pipeline("text-classification", arguments.model, dtype=arguments.dtype, **options).stream


def _write_results(
    batches: Iterable[list[str]],
    classify: Callable[[list[str]], Iterator[Any]],
    line_of: Callable[[str, Any], str],
    place: str,
) -> None:
    """Print the results of all batches.  A bad text is reported by `place` and its number, from 1."""
    from squeezeops.pipelines import TextError

    done = 0
    for texts in batches:
        try:
            for text, result in zip(texts, classify(texts), strict=True):
                print(line_of(text, result))
        except TextError as error:
            hint = " (--truncation cuts it)" if error.too_long else ""
            raise CommandError(f"{place}{done + error.index + 1}: {error.problem}{hint}") from error
        _flush()
        done += len(texts)


def _formatter(arguments: argparse.Namespace) -> Callable[[str, Any], str]:
    """Return a function that makes a line of output from a text and its result."""
    if arguments.json:
        import json

        _set_output(encoding="utf-8")  # JSON is UTF-8, whatever the terminal

        def as_json(text: str, result: Any) -> str:
            found = {"scores": result} if isinstance(result, list) else result
            return json.dumps({"text": text, **found}, ensure_ascii=False, allow_nan=False)

        return as_json

    _set_output(errors="backslashreplace")  # a terminal that cannot show an emoji is no reason to stop

    def as_columns(text: str, result: Any) -> str:
        found = result if isinstance(result, list) else [result]
        columns = [column for entry in found for column in (entry["label"], f"{entry['score']:.4f}")]
        return "\t".join(column.translate(ONE_LINE) for column in (*columns, text))

    return as_columns


def _encodable(text: str) -> bool:
    """Return False for an argument whose bytes were not UTF-8: Python puts lone surrogates in their place."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _open(path: str, stack: ExitStack) -> tuple[str, BinaryIO]:
    """Open the input; return the name to use in messages, and the file."""
    if path != "-":
        return path, stack.enter_context(open(path, "rb"))
    if sys.stdin is None:
        raise CommandError("--input: standard input is closed")
    return "standard input", sys.stdin.buffer


def _read(name: str, file: Any, batch_size: int) -> Iterator[list[str]]:
    """Yield the texts of the input in lists of at most `batch_size`.

    A list is shorter when the input has no further line ready, so a program that writes into a pipe line by line gets
    its answers line by line.  Before an error is raised, all texts before the bad line are yielded.
    """
    number = 0
    blank = 0  # the first blank line, forgiven as long as no text follows
    for lines in _arriving_lines(file):
        batch: list[str] = []
        problem = ""
        for line in lines:
            number += 1
            if number == 1:
                line = line.removeprefix(codecs.BOM_UTF8)
            try:
                text = line.decode("utf-8").removesuffix("\r")
            except UnicodeDecodeError as error:
                byte, column = line[error.start], error.start + 1
                problem = f"line {number}: expected UTF-8, got the byte 0x{byte:02x} at position {column}"
                break
            if not text.strip():
                blank = blank or number
                continue
            if blank:
                problem = f"line {blank}: expected a text, got a blank line"
                break
            batch.append(text)
            if len(batch) == batch_size:
                yield batch
                batch = []
        if batch:
            yield batch
        if problem:
            raise CommandError(f"{name}: {problem}")


def _arriving_lines(file: Any) -> Iterator[list[bytes]]:
    """Yield lists of lines: those that each read of the file completes."""
    unfinished: list[bytes] = []
    while chunk := file.read1(1 << 16):  # one system call: returns what there is, waits only when there is nothing
        head, newline, tail = chunk.rpartition(b"\n")
        if newline:
            lines = b"".join([*unfinished, head]).split(b"\n")
            unfinished = []
            yield lines
        unfinished.append(tail)
    last = b"".join(unfinished)
    if last:
        yield [last]


def _with_progress(batches: Iterable[list[str]], file: BinaryIO, stack: ExitStack) -> Iterable[list[str]]:
    """Show a progress bar while the batches pass, where there is someone to see it and tqdm is installed.

    When the results themselves scroll over the terminal they are the progress, and a bar would tear them apart.
    """
    if not _is_terminal(sys.stderr) or _is_terminal(sys.stdout):
        return batches
    try:
        tqdm = import_module("tqdm").tqdm
    except ImportError:
        return batches
    bar = stack.enter_context(tqdm(total=_count_lines(file), unit=" texts", delay=PROGRESS_DELAY, file=sys.stderr))

    def watched() -> Iterator[list[str]]:
        for batch in batches:
            yield batch
            bar.update(len(batch))

    return watched()


def _is_terminal(stream: TextIO | None) -> bool:
    return stream is not None and stream.isatty()


def _count_lines(file: BinaryIO) -> int | None:
    """Return the number of lines of a regular file that has not been read from yet, None for anything else."""
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        return None
    start = file.tell()
    count = 0
    last = b"\n"
    while chunk := file.read(1 << 20):
        count += chunk.count(b"\n")
        last = chunk[-1:]
    file.seek(start)
    return count + (last != b"\n")


# ---- info ------------------------------------------------------------------------------------------------------------


def _info(arguments: argparse.Namespace) -> None:
    facts = _facts()
    if arguments.json:
        import json

        _set_output(encoding="utf-8")
        print(json.dumps(facts, indent=2, ensure_ascii=False))
    else:
        _set_output(errors="backslashreplace")
        print("\n".join(_describe(facts)))


def _facts() -> dict[str, Any]:
    """Collect what ``squeezeops info`` tells."""
    import platform

    import numpy

    from squeezeops import __version__, ops

    return {
        "squeezeops": __version__,
        "python": platform.python_version(),
        "numpy": numpy.__version__,
        "platform": f"{platform.system()} {platform.machine()}",
        "backend": ops.get_backend(),
        "backends": list(ops.available_backends()),
        "threads": ops.get_num_threads(),
        "cpu": ops.cpu_info(),
        "model": _model_facts(),
    }


def _model_facts() -> dict[str, Any] | None:
    """Describe the built-in model without loading it; None if this installation has none."""
    from math import prod

    from squeezeops.pipelines import default_model
    from squeezeops.squeezebert.safetensors import read_header

    folder = default_model()
    if not folder.is_dir():
        return None
    tensors, _ = read_header(folder / "model.safetensors")
    return {
        "path": str(folder),
        "parameters": sum(prod(tensor.shape) for tensor in tensors.values()),
        "bytes": sum(path.stat().st_size for path in folder.iterdir() if path.is_file()),
    }


def _describe(facts: dict[str, Any]) -> list[str]:
    """Lay the facts out for reading."""
    cpu, model = facts["cpu"], facts["model"]
    rows = [(name, facts[name]) for name in ("squeezeops", "python", "numpy", "platform")]
    rows.append(("backend", f"{facts['backend']} (available: {', '.join(facts['backends'])})"))
    if "native" not in facts["backends"]:
        rows.append(("", "the native extension is not built; NumPy does the arithmetic"))
    rows.append(("threads", facts["threads"]))
    if cpu["isas"]:
        rows.append(("instructions", f"{cpu['isa']} (runnable here: {', '.join(cpu['isas'])})"))
    for isa, reason in cpu.get("missing", {}).items():
        rows.append(("left out", f"{isa}: {reason}"))
    title = "kernels"
    for op, symbol in cpu["kernels"].items():
        rows.append((title, f"{op}: {symbol}"))
        title = ""
    if model is None:
        rows.append(("model", "none built in"))
    else:
        rows.append(("model", model["path"]))
        rows.append(("", f"{model['parameters']:,} parameters, {model['bytes']:,} bytes"))
    return [f"{name:<13} {value}" for name, value in rows]


# ---- streams and errors ----------------------------------------------------------------------------------------------


def _set_output(**settings: str) -> None:
    if hasattr(sys.stdout, "reconfigure"):  # not where a caller has put another object in its place
        sys.stdout.reconfigure(**settings)


def _flush() -> None:
    if sys.stdout is not None:
        sys.stdout.flush()


def _silence(stream: TextIO | None) -> None:
    """Write out what a standard stream still holds; if that fails, throw it away.

    Otherwise the interpreter tries once more on its way out, and complains.
    """
    if stream is None:
        return
    try:
        stream.flush()
    except (OSError, ValueError):
        try:
            sink = os.open(os.devnull, os.O_WRONLY)
            os.dup2(sink, stream.fileno())
            os.close(sink)
        except (OSError, ValueError):
            pass  # not a real file


def _report(error: Exception) -> int:
    """Print an error in one line; return the exit status."""
    _silence(sys.stdout)
    if os.environ.get("SQUEEZEOPS_DEBUG", "0") not in ("", "0"):
        import traceback

        traceback.print_exception(error)
    if isinstance(error, OSError) and error.strerror:
        message = f"{error.filename}: {error.strerror}" if error.filename is not None else error.strerror
    elif isinstance(error, CommandError | ValueError | TypeError | ImportError | OSError):
        message = str(error)
    else:
        message = f"{type(error).__name__}: {error}"
    if sys.stderr is None:  # closed by the caller; print would then take standard output
        return EXIT_ERROR
    try:
        print("squeezeops: error:", " ".join(message.split()), file=sys.stderr, flush=True)
    except OSError:
        _silence(sys.stderr)
    return EXIT_ERROR
