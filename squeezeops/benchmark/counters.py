"""Instructions and cycles of the calling thread in user mode, where Linux lets us read the processor's counters.

Most virtual machines have none. The group of counters is opened by the system call perf_event_open(2).
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Callable, Mapping

__all__ = ["HARDWARE", "Counters"]

NUMBERS = {"x86_64": 298, "aarch64": 241, "armv7l": 364, "armv8l": 364}  # of the system call
HARDWARE = {"instructions": (0, 1), "cycles": (0, 0)}  # type and number, as in <linux/perf_event.h>
SIZE, GROUP, USER_ONLY = 64, 8, 1 << 5 | 1 << 6  # of the first version of the struct; read all; not kernel, hypervisor
TRIES = 5
WHY_NOT = {
    errno.ENOENT: "this machine has no such counters (as most virtual machines)",
    errno.EOPNOTSUPP: "this machine has no such counters (as most virtual machines)",
    errno.EACCES: "not permitted (see /proc/sys/kernel/perf_event_paranoid)",
    errno.EPERM: "not permitted (see /proc/sys/kernel/perf_event_paranoid; or the container forbids it)",
}


class Counters:
    """An open group of counters. Raises OSError with the reason if there is none."""

    def __init__(self, events: Mapping[str, tuple[int, int]] = HARDWARE) -> None:
        self.names, self.files = list(events), list[int]()
        number = NUMBERS.get(platform.machine())
        if platform.system() != "Linux" or number is None:
            raise OSError(f"expected Linux on x86 or ARM, got {platform.system()} {platform.machine()}")
        libc = ctypes.CDLL(None, use_errno=True)
        for kind, event in events.values():
            attributes = struct.pack("=IIQQQQQ16x", kind, SIZE, event, 0, 0, GROUP, USER_ONLY)
            leader = self.files[0] if self.files else -1
            file = libc.syscall(ctypes.c_long(number), attributes, 0, -1, leader, ctypes.c_ulong(0))
            if file < 0:
                self.close()
                reason = ctypes.get_errno()
                raise OSError(WHY_NOT.get(reason, f"perf_event_open: {os.strerror(reason)}"))
            self.files.append(file)

    def close(self) -> None:
        while self.files:
            os.close(self.files.pop())

    def read(self) -> list[int]:
        count, *values = struct.unpack(f"={1 + len(self.names)}Q", os.read(self.files[0], 8 * (1 + len(self.names))))
        return values

    def count(self, call: Callable[[], object], calls: int) -> dict[str, float]:
        """Return the events of a call, with those of calling it from Python: the least of some tries of `calls`."""

        def least(function: Callable[[], object]) -> list[int]:
            tries = []
            for _ in range(TRIES):
                before = self.read()
                for _ in range(calls):
                    function()
                tries.append([b - a for a, b in zip(before, self.read(), strict=True)])
            return [min(of_one) for of_one in zip(*tries, strict=True)]

        empty = least(lambda: None)
        return {
            name: max(0, n - nothing) / calls for name, n, nothing in zip(self.names, least(call), empty, strict=True)
        }
