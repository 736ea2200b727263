"""``squeezeops check``: whether a converted model is intact."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from squeezeops.cli import streams
from squeezeops.squeezebert.files.built_in import BUILT_IN

SUMMARY = "check a converted model completely"
DESCRIPTION = """\
Check a file that squeezeops convert wrote: what loading checks, and what it leaves unread, such as the sums in packed
weights, the zeros beside them, and that numbers are finite.
"""
EPILOG = """\
Prints one line per check, then what is wrong. --json prints one object: {"path", "ok", "checks": [{"name", "what",
"number", "faults": [...]}, ...]}. The exit status is 0 if the file is intact, 1 if it is not, and 2 if there is no
converted model.

A weight or a scale that was changed to another valid number cannot be told from the right one.

  squeezeops check mnli.safetensors
"""
EXIT_DAMAGED = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EPILOG
    parser.add_argument("model", metavar="FILE", help=f"the file, its folder, or {BUILT_IN} for the one in the package")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Check, print, and return the exit status."""
    from squeezeops.squeezebert.conversion.check import check

    path, checks = check(arguments.model)
    ok = not any(one.faults for one in checks)
    streams.set_output(arguments.json)
    if arguments.json:
        print(streams.to_json({"path": path, "ok": ok, "checks": [asdict(one) for one in checks]}, indent=2))
    else:
        lines = [f"{'WRONG' if one.faults else 'ok':<6} {one.name:<11} {one.number:>6} {one.what}" for one in checks]
        lines += [f"{one.name}: {fault}" for one in checks for fault in one.faults]
        print("\n".join(line.translate(streams.ONE_LINE) for line in lines))
    return 0 if ok else EXIT_DAMAGED
