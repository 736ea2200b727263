"""The split of an op's rows over threads.

Numba's parallel=True is not usable: one of its threading layers ends a forked child, another one must not be called
from two threads at a time.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import PurePosixPath

from squeezeops.backends._scalars import MOST_THREADS, error

_lock = threading.Lock()
_number: int | None = None
_pool: ThreadPoolExecutor | None = None


def _after_fork() -> None:
    """Start anew in a child, which has none of its parent's threads, and maybe a lock held by one of them."""
    global _lock, _pool
    _lock, _pool = threading.Lock(), None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def get_num_threads() -> int:
    """Threads of a call, the caller's included: as set, or SQUEEZEOPS_NUM_THREADS, or one for each usable CPU."""
    global _number
    if _number is None:
        _number = _default()
    return _number


def set_num_threads(number: int) -> None:
    """Set the threads of a call."""
    global _number, _pool
    with _lock:
        if number != _number and _pool is not None:
            _pool.shutdown(wait=False)  # calls in progress end on it
            _pool = None
        _number = number


def run(function: Callable[[int, int], object], count: int, least: int, block: int = 1, multiple: int = 1) -> None:
    """Call function(first, last) for ranges that make up range(count).

    Each thread has one range of at least `least`, or up to four of at least `block`; all but the last are multiples of
    `multiple`. The caller takes part, and at the end waits only for the threads that have begun. So it never waits for
    another caller's work, and works alone where no thread can be started.
    """
    number = get_num_threads()
    ranges = min(count // least, max(number, min(count // block // number, 4) * number))
    if number == 1 or ranges <= 1:
        function(0, count)
        return
    chunk = math.ceil(count / ranges / multiple) * multiple
    starts = iter(range(0, count, chunk))
    taking = threading.Lock()

    def work() -> None:
        while True:
            with taking:
                first = next(starts, count)
            if first >= count:
                return
            function(first, min(first + chunk, count))

    helpers = []
    try:
        for _ in range(min(number, math.ceil(count / chunk)) - 1):
            helpers.append(_the_pool(number).submit(work))
    except RuntimeError:  # no thread can be started, or the interpreter is about to end
        pass
    try:
        work()
    finally:
        begun = [helper for helper in helpers if not helper.cancel()]
        wait(begun)
    for helper in begun:
        helper.result()  # raises its exception


def _the_pool(number: int) -> ThreadPoolExecutor:
    global _pool
    with _lock:
        if _pool is None:
            _pool = ThreadPoolExecutor(number - 1, thread_name_prefix="squeezeops")
        return _pool


def _default() -> int:
    text = os.environ.get("SQUEEZEOPS_NUM_THREADS", "")
    if text:
        if not (text.isascii() and text.isdigit() and len(text) < 9 and 1 <= int(text) <= MOST_THREADS):
            expected = f"a number from 1 to {MOST_THREADS}"
            raise error(ValueError, "get_num_threads", "SQUEEZEOPS_NUM_THREADS", expected, repr(text))
        return int(text)
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cpu_quota()
    return max(1, min(cpus, math.ceil(quota) if quota else cpus, MOST_THREADS))


def cpu_quota(root: str = "") -> float:
    """CPUs of the cgroup quota (v2, then v1) of this process, below a folder; 0 if there is no limit.

    A container with a quota of two CPUs on a machine of 64 shows 64 in its affinity mask; with more threads than quota,
    Linux stops all of them for the rest of each period.
    """
    quotas: list[float] = []
    for line in _lines(f"{root}/proc/self/cgroup"):  # hierarchy:controllers:/group
        _, _, rest = line.partition(":")
        controllers, found, group = rest.partition(":")
        if found and not controllers:
            quotas += _quotas(f"{root}/sys/fs/cgroup", group, _quota_v2)
        elif found and "cpu" in controllers.split(","):
            quotas += _quotas(f"{root}/sys/fs/cgroup/cpu", group, _quota_v1)
    return min(quotas, default=0)


def _quotas(mount: str, group: str, read: Callable[[str], tuple[str, str]]) -> Iterator[float]:
    """The quotas of a group and of the groups above it."""
    for folder in (PurePosixPath(group), *PurePosixPath(group).parents):
        try:
            quota, period = map(float, read(mount + str(folder).rstrip("/")))
        except ValueError:  # no such file, or "max"
            continue
        if quota > 0 and period > 0:  # -1 is no limit
            yield quota / period


def _quota_v2(folder: str) -> tuple[str, str]:
    quota, period = " ".join(_lines(f"{folder}/cpu.max")).split()
    return quota, period


def _quota_v1(folder: str) -> tuple[str, str]:
    (quota,), (period,) = (_lines(f"{folder}/cpu.cfs_{name}_us") for name in ("quota", "period"))
    return quota, period


def _lines(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().splitlines()
    except OSError:
        return []
