"""The command line: ``squeezeops classify``, ``zero-shot``, ``rerank``, ``tag``, ``answer``, ``fill-mask``, ``embed``,
``convert``, ``check``, ``info``, ``doctor``, ``bench``.

Results go to standard output. An error is one line on standard error and exit status 2, or 1 where other inputs have
their results (--on-error skip); SQUEEZEOPS_DEBUG=1 adds the traceback. Ctrl-C ends silently with status 130, SIGTERM
with 143 and a closed output pipe with 141.

`tasks` has the table of the commands that run a model, `running` their shared part. Imports at the top are light, so
that ``--help`` and ``--version`` do not load NumPy.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any, NoReturn

from squeezeops._version import __version__
from squeezeops.cli import bench, check, convert, doctor, info, running, streams
from squeezeops.cli.streams import CommandError
from squeezeops.cli.tasks import COMMANDS

__all__ = ["main"]


class _Parser(argparse.ArgumentParser):
    """An ArgumentParser that reports errors in one line, and an option that is given twice as one."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        for name in (None, "store"):
            self.register("action", name, _Once)

    def error(self, message: str) -> NoReturn:
        raise CommandError(f"{message} (see {self.prog} --help)")


class _Once(argparse._StoreAction):
    """The action `store`, which keeps one value: refuse to drop one that has been given before."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        given = namespace.__dict__.setdefault("_given", set())
        if option_string is not None and self.dest in given:
            raise argparse.ArgumentError(self, "expected once, got twice")
        given.add(self.dest)
        super().__call__(parser, namespace, values, option_string)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments after the program's name. Default: ``sys.argv[1:]``.

    Returns
    -------
    int
        The exit status: 0; 1 if --on-error skip has skipped inputs, 2 for an error, 130 for Ctrl-C, 141 for a closed
        output pipe, 143 for SIGTERM.
    """
    try:
        try:
            with streams.sigterm_unwinds(), streams.warnings_in_one_line():
                parser = _parser()
                if not (sys.argv[1:] if argv is None else argv):
                    parser.parse_args(["--help"])
                arguments, unknown = parser.parse_known_args(argv)
                if unknown:
                    raise CommandError(f"unrecognized arguments: {' '.join(unknown)} ({arguments.advice})")
                status = int(arguments.run(arguments) or 0)
        except SystemExit as finished:  # argparse has printed a help text or the version
            status = finished.code if isinstance(finished.code, int) else 0
        streams.flush()
        return status
    except BaseException as error:
        return streams.report(error)


def _parser() -> argparse.ArgumentParser:
    description = (
        "Labels, ranks, entities, answers, masked words and embeddings of texts, with SqueezeBERT and BERT models."
    )
    example = 'example: squeezeops classify "a gorgeous, witty, seductive movie"'
    parser = _Parser(prog="squeezeops", description=description, epilog=example, allow_abbrev=False)
    parser.add_argument("-V", "--version", action="version", version=f"squeezeops {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def add(name: str, summary: str, description: str) -> argparse.ArgumentParser:
        layout = argparse.RawDescriptionHelpFormatter
        return commands.add_parser(
            name, help=summary, description=description, formatter_class=layout, allow_abbrev=False
        )

    for command in COMMANDS:
        task = add(command.name, command.summary, command.description)
        task.epilog = command.epilog
        advice = f"see {task.prog} --help; -- goes before {command.noun}s that start with a dash"
        task.set_defaults(run=partial(running.run, command), advice=advice)
        running.add_arguments(command, task)
    for name, module in (("convert", convert), ("check", check), ("info", info), ("doctor", doctor), ("bench", bench)):
        other = add(name, module.SUMMARY, module.DESCRIPTION)
        other.set_defaults(run=module.run, advice=f"see {other.prog} --help")
        module.add_arguments(other)
    return parser
