"""The command line: ``squeezeops classify``, ``zero-shot``, ``rerank``, ``tag``, ``answer``, ``fill-mask``, ``embed``,
``convert``, ``info``, ``bench``.

Results go to standard output. An error is one line on standard error and exit status 2; SQUEEZEOPS_DEBUG=1 adds the
traceback. Ctrl-C ends silently with status 130, SIGTERM with 143 and a closed output pipe with 141.

`tasks` has the table of the commands that run a model, `running` their shared part. Imports at the top are light, so
that ``--help`` and ``--version`` do not load NumPy.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from typing import NoReturn

from squeezeops._version import __version__
from squeezeops.cli import bench, convert, info, running, streams
from squeezeops.cli.streams import CommandError
from squeezeops.cli.tasks import COMMANDS

__all__ = ["main"]


class _Parser(argparse.ArgumentParser):
    """An ArgumentParser that reports errors in one line."""

    def error(self, message: str) -> NoReturn:
        raise CommandError(f"{message} (see {self.prog} --help)")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments after the program's name. Default: ``sys.argv[1:]``.

    Returns
    -------
    int
        The exit status: 0, or 2 for an error, 130 for Ctrl-C, 141 for a closed output pipe, 143 for SIGTERM.
    """
    try:
        try:
            with streams.sigterm_unwinds(), streams.warnings_in_one_line():
                arguments, unknown = _parser().parse_known_args(argv)
                if unknown:
                    raise CommandError(f"unrecognized arguments: {' '.join(unknown)} ({arguments.advice})")
                arguments.run(arguments)
            status = 0
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
    parser = _Parser(prog="squeezeops", description=description, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"squeezeops {__version__}")
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
    for name, module in (("convert", convert), ("info", info), ("bench", bench)):
        other = add(name, module.SUMMARY, module.DESCRIPTION)
        other.set_defaults(run=module.run, advice=f"see {other.prog} --help")
        module.add_arguments(other)
    return parser
