"""What a figure was taken on."""

from __future__ import annotations

import os
import platform
from typing import Any

import numpy as np

from squeezeops._version import __version__

__all__ = ["describe_machine"]


def describe_machine() -> dict[str, Any]:
    """Return versions, platform and processor by name, for people and files to keep with a figure."""
    return {
        "squeezeops": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "platform": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cpus": _cpus(),
    }


def _processor() -> str:
    """Its name. A label, no more: in emulators and containers the file may tell of another machine."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            for line in file:
                name, colon, value = line.partition(":")
                if colon and name.strip() in ("model name", "Model"):  # x86; a Raspberry Pi's
                    return " ".join(value.split())
    except OSError:
        pass
    return platform.processor() or "unknown"


def _cpus() -> int:
    """CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
