"""A description of the machine, to keep with a figure."""

from __future__ import annotations

import os
import platform
from typing import Any

import numpy as np

from squeezeops._version import __version__

__all__ = ["describe_machine"]


def describe_machine() -> dict[str, Any]:
    """Return versions, platform, processor and number of CPUs."""
    return {
        "squeezeops": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "platform": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cpus": _cpus(),
    }


def _processor() -> str:
    """Return its name, for display only: emulators and containers may show another machine's file."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            for line in file:
                name, colon, value = line.partition(":")
                if colon and name.strip() in ("model name", "Model"):  # x86, Raspberry Pi
                    return " ".join(value.split())
    except OSError:
        pass
    return platform.processor() or "unknown"


def _cpus() -> int:
    """Return the number of CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
