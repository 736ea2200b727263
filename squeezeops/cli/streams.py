"""Standard output, exit status, and errors and warnings in one line."""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from typing import Any, NoReturn, TextIO

EXIT_SKIPPED = 1  # some inputs have no result, the others have theirs
EXIT_ERROR = 2
EXIT_INTERRUPTED = 130  # what a shell reports for SIGINT ...
EXIT_CLOSED_PIPE = 141  # ... for SIGPIPE
EXIT_TERMINATED = 143  # ... and for SIGTERM

# Plain output has one result per line, so characters that break lines or columns are printed as spaces.
ONE_LINE = str.maketrans(dict.fromkeys("\t\n\v\f\r\x1c\x1d\x1e\x85\u2028\u2029", " "))
# JSON escapes what ends a line or controls a terminal, and what UTF-8 cannot encode. json.dumps leaves these.
ESCAPED = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff]")


class CommandError(Exception):
    """A problem to report in one line."""


class Terminated(BaseException):
    """Raised on SIGTERM."""


def set_output(json: bool) -> None:
    """Set the encoding of standard output; fail if it is closed."""
    if sys.stdout is None:
        raise CommandError("standard output is closed")
    if not isinstance(sys.stdout, TextIOWrapper):  # replaced by the caller of `main`
        return
    if json:
        sys.stdout.reconfigure(encoding="utf-8")  # JSON is UTF-8, whatever the terminal
    else:
        sys.stdout.reconfigure(errors="backslashreplace")  # escape what the terminal cannot show


def to_json(value: Any, indent: int | None = None) -> str:
    """Return JSON in UTF-8, in one line unless `indent` is given. A NaN or an infinity raises ValueError."""
    import json

    text = json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent)
    return ESCAPED.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def flush() -> None:
    if sys.stdout is not None:
        sys.stdout.flush()


def is_terminal(stream: TextIO | None) -> bool:
    return stream is not None and stream.isatty()


@contextmanager
def sigterm_unwinds() -> Iterator[None]:
    """Make SIGTERM raise, so that unfinished files are deleted, unless the caller of `main` has a handler."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return

    def terminate(number: int, frame: Any) -> NoReturn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one must not interrupt the clean-up
        raise Terminated

    signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextmanager
def warnings_in_one_line() -> Iterator[None]:
    """Print warnings in one line; Python would add a line of source."""

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        _print_line("warning", str(message))

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


def report(error: BaseException) -> int:
    """Print an error in one line, unless it ends silently; return the exit status."""
    if isinstance(error, Terminated):
        _discard(sys.stdout)  # a flush might wait for a blocked reader
        return EXIT_TERMINATED
    _silence(sys.stdout)
    if isinstance(error, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    if isinstance(error, BrokenPipeError):
        return EXIT_CLOSED_PIPE
    if not isinstance(error, Exception):
        raise error
    if os.environ.get("SQUEEZEOPS_DEBUG", "0") not in ("", "0"):
        import traceback

        traceback.print_exception(error)
    if isinstance(error, OSError) and error.strerror:
        message = f"{error.filename}: {error.strerror}" if error.filename is not None else error.strerror
    elif isinstance(error, CommandError | ValueError | TypeError | ImportError | OSError):
        message = str(error)
    else:
        message = f"{type(error).__name__}: {error}"
    _print_line("error", message)
    return EXIT_ERROR


def note(message: str) -> None:
    """Print a remark to standard error, in one line."""
    _print_line("note", message)


def complain(message: str) -> None:
    """Print an error that does not end the command."""
    _print_line("error", message)


def _print_line(kind: str, message: str) -> None:
    """Print to standard error, in one line."""
    if sys.stderr is None:  # closed; print would use standard output
        return
    try:
        print(f"squeezeops: {kind}:", " ".join(message.split()), file=sys.stderr, flush=True)
    except OSError:
        _silence(sys.stderr)


def _silence(stream: TextIO | None) -> None:
    """Flush a standard stream; if that fails, discard its contents.

    Otherwise the interpreter flushes again at exit and prints an error.
    """
    if stream is None:
        return
    try:
        stream.flush()
    except (OSError, ValueError):
        _discard(stream)


def _discard(stream: TextIO | None) -> None:
    """Discard what a standard stream holds, and what is written to it later."""
    if stream is None:
        return
    try:
        sink = os.open(os.devnull, os.O_WRONLY)
        os.dup2(sink, stream.fileno())
        os.close(sink)
    except (OSError, ValueError):
        pass  # not a real file
