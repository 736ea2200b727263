"""Time limits of the tests, which only end what hangs: a slow or busy machine gets more time."""

import os
import time

# Seconds of CPU time that `work` takes on one core of a Zen 4. The limits in the tests are several times what they
# need there.
REFERENCE = 0.010
LATER_LOAD = 4.0  # processes per core


def work():
    """Return the CPU time of a loop in Python."""
    started = time.process_time()
    sum(i * i for i in range(200_000))
    return time.process_time() - started


def slowness():
    """How many times the CPU time of the reference this machine takes, at least 1."""
    return max(1.0, min(work() for _ in range(3)) / REFERENCE)


def measured():
    """How many times the time of the reference a test may take: by this core's speed and by the load on it.

    The load may grow after it was measured.
    """
    load = os.getloadavg()[0] / (os.cpu_count() or 1) if hasattr(os, "getloadavg") else 1
    return slowness() * max(LATER_LOAD, load)


FACTOR = float(os.environ.get("SQUEEZEOPS_TEST_PATIENCE") or measured())


def seconds(limit):
    """Return a time limit for this machine, from one for the reference."""
    return limit * FACTOR
