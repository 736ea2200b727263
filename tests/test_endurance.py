"""A short run of `endurance.py`, which by hand runs a million forwards."""

import sys

import pytest
from op_helpers import native, run_python

pytestmark = [
    pytest.mark.skipif(native is None, reason="built without the native extension"),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads Linux's /proc"),
]


def test_short():
    """In a process of its own, whose memory no other test has used."""
    done = run_python("-c", "import endurance; endurance.main(300, 30)")
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(done.stdout.splitlines()) >= 6  # more if something was counted twice


LEAKS = """
import os
import endurance
kept = []
leak = {"memory": lambda: kept.append(bytes(200_000)), "descriptor": lambda: kept.append(os.open("/", os.O_RDONLY))}
endurance.endure("planted", leak[os.environ["LEAK"]], 30)
"""


@pytest.mark.parametrize(("leak", "message"), [("memory", "memory grew by"), ("descriptor", "descriptors: expected")])
def test_a_planted_leak_is_found(leak, message):
    done = run_python("-c", LEAKS, LEAK=leak)
    assert done.returncode == 1 and message in done.stderr, done.stderr
