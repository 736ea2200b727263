"""Run the command line, in the test's process or in one of its own."""

import io
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from limits import seconds

import squeezeops
from squeezeops import cli

PACKAGE = Path(squeezeops.__file__).parent
COMMAND = [sys.executable, "-m", "squeezeops"]
on_posix = pytest.mark.skipif(os.name != "posix", reason="signals, pipes and byte arguments of POSIX")


class Terminal(io.StringIO):
    """A stream that claims to be a terminal."""

    def isatty(self):
        return True


def environment(**changes):
    path = os.pathsep.join(filter(None, [str(PACKAGE.parent), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path, **changes}


def run(*arguments, stdin=b"", **changes):
    """Run the command in a process of its own; return (status, output, errors)."""
    done = subprocess.run(
        [*COMMAND, *arguments], input=stdin, capture_output=True, env=environment(**changes), timeout=seconds(120)
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def start(*arguments, **streams):
    """Start the command with pipes. SIGINT has its default handler even if the tests run in the background."""
    return subprocess.Popen(
        [*COMMAND, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def caller(capsys, monkeypatch):
    """Return a function that runs main() in this process and returns (status, output, errors)."""

    def call(*arguments, stdin=b""):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        status = cli.main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


def output(result):
    """Check that a call ended without an error or a warning; return its output."""
    status, out, err = result
    assert (status, err) == (0, "")
    return out


def check_error(result, pattern):
    """Check that a call ended with an error of one line; return its output."""
    status, out, err = result
    assert status == 2
    assert re.match("squeezeops: error: ", err), err
    assert err.count("\n") == 1 and err.endswith("\n"), err
    assert re.search(pattern, err), err
    return out
