"""A library in a process of its own, behind a pipe.

Messages are pickles: a request is a method of `Host` and its arguments, an answer ``(True, result)`` or
``(False, error)``.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, BinaryIO, NamedTuple

import bench.installed  # noqa: F401 before squeezeops is imported

RUN = "import sys; from bench.worker import main; main(sys.argv[1:])"  # -m would pickle its classes as __main__

PATIENCE = 60  # seconds for a process to end
SPINNING = 0.3  # seconds; a thread pool that still spins then is assumed never to stop


class WorkerError(RuntimeError):
    """The library failed in its process."""


class Missing(WorkerError):
    """The library is not installed, or cannot run here."""


class Prepared(NamedTuple):
    """What `Host` tells of a call: its result, the seconds of loading, and the seconds of one call."""

    result: Any
    loading: float
    once: float


class Host:
    """The methods that run in the process of a library."""

    def __init__(self, name: str, threads: int, cpus: Sequence[int]) -> None:
        self.name, self.threads, self.cpus = name, threads, cpus
        self.calls: dict[Any, Callable[[], Any]] = {}
        self.memory: Any = None

    def start(self) -> str:
        """Import the library, here rather than before, so that a missing one is an answer. Return its version."""
        from bench import libraries
        from squeezeops.benchmark import variants
        from squeezeops.benchmark.measure import fma_peak

        self.library = libraries.load(self.name)
        self.library.start(self.threads)
        kernels = variants.compiled_library()
        if kernels is not None:  # pin the threads that measure the peaks
            before = _threads()
            kernels.set_num_threads(self.threads)
            fma_peak()
            for thread, cpu in zip(_threads() - before, self.cpus[1:], strict=False):
                os.sched_setaffinity(thread, [cpu])
        return str(self.library.version())

    def forms(self, tokens: int, lengths: int) -> tuple[str, ...]:
        return tuple(self.library.forms(tokens, lengths))

    def forward(self, form: str, task: str, inputs: list[Any]) -> Any:
        return self._prepared(("forward", form), partial(self.library.forward, form, task, inputs))

    def precision(self) -> str:
        """Return what the last model computes in, if the library chooses that."""
        return str(self.library.precision())

    def op(self, name: str, shape: Any, cold: bool) -> Any:
        """Prepare an op; None if the library does not have it."""
        make = self.library.OPS.get(name, lambda **_: None)
        return self._prepared(("op", cold), partial(make, **shape, cold=cold))

    def _prepared(self, key: Any, make: Callable[[], Any]) -> Any:
        from squeezeops.benchmark.measure import prime

        self.calls.pop(key, None)
        begin = time.perf_counter()
        call = make()
        loading = time.perf_counter() - begin
        if call is None:
            return None
        self.calls[key] = call
        result, once = prime(call)
        return Prepared(result, loading, once)

    def keep(self, key: Any) -> None:
        """Release everything that was prepared except `key`; None releases all."""
        self.calls = {key: self.calls[key]} if key is not None else {}

    def sample(self, key: Any, calls: int, warm: bool, pause: float, int8: bool = False) -> Any:
        """Take a sample; its peaks are int8 products if `int8`, else float multiply-adds.

        With `warm`, an untimed call wakes the library's threads first, as in a series of calls. `settle` gets `pause`.
        """
        from squeezeops.benchmark.measure import fma_peak, int8_peak, take_sample, without_garbage_collection

        peak = int8_peak if int8 else fma_peak
        with without_garbage_collection(), _pinned(self.cpus[:1]):
            return tuple(take_sample(self.calls[key], calls, peak, warm=warm, settle=lambda: settle(pause)))

    def read_peak(self) -> float | None:
        """Return the speed of reading memory, in bytes per second."""
        from squeezeops.benchmark import measure

        if self.memory is None:
            self.memory = measure.some_memory()
        return None if self.memory is None else measure.read_peak(self.memory, self.threads)


def _threads() -> set[int]:
    """Return the threads of this process; none if the system does not list them."""
    folder = "/proc/self/task"
    return {int(name) for name in os.listdir(folder)} if os.path.isdir(folder) else set()


@contextmanager
def _pinned(cpus: Sequence[int]) -> Iterator[None]:
    """Pin the calling thread to these CPUs.

    Linux may wake a sleeping thread on the CPU of its waker, and leave both there for milliseconds. So every thread of
    every library gets its own CPU. Thread pools are pinned when they start. The caller is pinned only during a sample,
    because threads that it starts inherit its CPUs.
    """
    if not cpus:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def settle(
    pause: float, cpu: Callable[[], float] = time.process_time, sleep: Callable[[float], None] = time.sleep
) -> float:
    """Sleep in steps of `pause` seconds until the other threads of this process sleep too; return the total.

    A thread pool keeps spinning after a call (onnxruntime's for 50 ms), on CPUs that the next library needs.
    """
    waited = 0.0
    while pause and waited < SPINNING:
        before = cpu()
        sleep(pause)
        waited += pause
        if cpu() - before < pause / 4:
            break
    return waited


def serve(host: Any, requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer requests until the pipe is closed."""
    while True:
        try:
            method, arguments = pickle.load(requests)
        except EOFError:
            return
        try:
            answer = True, getattr(host, method)(*arguments)
        except ImportError as error:
            answer = False, ("missing", str(error))
        except Exception:
            answer = False, ("failed", traceback.format_exc())
        pickle.dump(answer, answers, pickle.HIGHEST_PROTOCOL)
        answers.flush()


class Worker:
    """The other end of the pipe: starts a library's process on the given CPUs, with our kernels held to `isa`.

    Tests have it run another `command`.
    """

    def __init__(
        self, name: str, threads: int, cpus: Sequence[int], command: Sequence[str] | None = None, isa: str = ""
    ) -> None:
        self.name = name
        variables = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
        variables |= {"OMP_PROC_BIND": "true", "OMP_PLACES": "threads"} if threads > 1 else {}
        variables |= {"SQUEEZEOPS_ISA": isa} if isa else {}
        arguments = [name, str(threads), *map(str, cpus)]
        self.process = subprocess.Popen(
            [*(command or [sys.executable, "-c", RUN]), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **variables},
        )

    def ask(self, method: str, *arguments: Any) -> Any:
        """Call a method of `Host` there. Raises Missing, or WorkerError if the method failed or the process ended."""
        requests, answers = self.process.stdin, self.process.stdout
        assert requests is not None and answers is not None
        try:
            pickle.dump((method, arguments), requests, pickle.HIGHEST_PROTOCOL)
            requests.flush()
            fine, value = pickle.load(answers)
        except (EOFError, BrokenPipeError, pickle.UnpicklingError):
            status = self.process.wait(PATIENCE)
            raise WorkerError(f"{self.name}: its process ended with status {status} in {method}") from None
        if fine:
            return value
        kind, text = value
        if kind == "missing":
            raise Missing(f"{self.name}: {text}")
        raise WorkerError(f"{self.name}: {method} failed:\n{text}")

    def close(self) -> None:
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def main(arguments: Sequence[str]) -> None:
    name, threads, *rest = arguments
    cpus = [int(cpu) for cpu in rest]
    if cpus:  # before the library makes its threads
        os.sched_setaffinity(0, cpus)
    # Libraries may print to standard output, which must not mix with the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    serve(Host(name, int(threads), cpus), sys.stdin.buffer, answers)
