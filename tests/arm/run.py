"""Tests ARM builds on another machine: the kernels in C++, then the package and its tests in Python.

    python tests/arm/run.py [PART]

PART selects the rows with it in their names: "cortex-a72", "cortex-a76: C++, GCC". docs/arm.md has what is needed.
"""

from __future__ import annotations

import sys

import kernels
import python_tests
from machinery import Failed, Missing, Row, Unreachable, report


def run(only: str = "") -> int:
    rows: list[Row] = []
    skipped = []
    for name, check in (("kernels", kernels.check), ("Python", python_tests.check)):
        try:
            rows += check(only)
        except Missing as reason:
            skipped.append(f"{name}: {reason}")
        except Unreachable as error:
            rows.append(Row("", f"{name}: not tested, network fault", "", False, 0, str(error)))
        except Failed as error:
            rows.append(Row("", f"{name}: building", "", False, 0, str(error)))
    return report(rows, skipped)


if __name__ == "__main__":
    sys.exit(run(*sys.argv[1:2]))
