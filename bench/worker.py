"""A library in a process of its own, behind a pipe.

Messages are pickles, a method of `Host` with its arguments one way, ``(True, result)`` or ``(False, text of an error)``
the other.
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
from typing import Any, BinaryIO, NamedTuple

import bench.installed  # noqa: F401 before squeezeops is imported

RUN = "import sys; from bench.worker import main; main(sys.argv[1:])"  # with -m its classes would be those of __main__

__all__ = ["Missing", "Prepared", "Worker", "WorkerError", "serve", "settle"]

SPINNING = 0.3  # seconds after which a pool that still spins is taken to do so always


class WorkerError(RuntimeError):
    """A library failed in its process."""


class Missing(WorkerError):
    """A library that is not installed, or cannot run here."""


class Prepared(NamedTuple):
    """What a run returned, the seconds that it took to get there, and those of a call."""

    result: Any
    loading: float
    once: float


class Host:
    """What a worker does with its library."""

    def __init__(self, library: Any, threads: int, cpus: Sequence[int]) -> None:
        self.library, self.threads, self.cpus = library, threads, cpus
        self.calls: dict[Any, Callable[[], Any]] = {}
        self.memory: Any = None

    def start(self) -> str:
        from squeezeops.benchmark import variants
        from squeezeops.benchmark.measure import fma_peak

        self.library.start(self.threads)
        kernels = variants.compiled_library()
        if kernels is not None:  # for the peaks
            before = _threads()
            kernels.set_num_threads(self.threads)
            fma_peak()
            for thread, cpu in zip(_threads() - before, self.cpus[1:], strict=False):
                os.sched_setaffinity(thread, [cpu])
        return str(self.library.version())

    def forms(self, tokens: int, lengths: int) -> tuple[str, ...]:
        return tuple(self.library.forms(tokens, lengths))

    def forward(self, form: str, task: str, inputs: list[Any]) -> Prepared:
        prepared: Prepared = self._prepared(("forward", form), lambda: self.library.forward(form, task, inputs))
        return prepared

    def op(self, name: str, shape: Any, cold: bool) -> Prepared | None:
        prepared: Prepared | None = self._prepared(("op", cold), lambda: self.library.op(name, shape, cold))
        return prepared

    def _prepared(self, key: Any, make: Callable[[], Any]) -> Any:
        self.calls.pop(key, None)
        begin = time.perf_counter()
        call = make()
        loading = time.perf_counter() - begin
        if call is None:
            return None
        self.calls[key] = call
        result = call()
        times = []
        for _ in range(3):
            begin = time.perf_counter()
            call()
            times.append(time.perf_counter() - begin)
            if sum(times) > 1:
                break
        return Prepared(result, loading, min(times))

    def keep(self, key: Any) -> None:
        """Let go of all that was prepared but this; None for everything."""
        self.calls = {key: self.calls[key]} if key is not None else {}

    def sample(self, key: Any, calls: int, warm: bool, pause: float, int8: bool = False) -> Any:
        """Time a call, or the mean of `calls`, between two peaks: of products of bytes if `int8`, or of multiply-adds.

        `warm` calls once before, untimed: the library's threads are awake then, as in the middle of many calls. After
        the last call `settle` waits until they sleep, in steps of `pause` seconds.
        """
        from squeezeops.benchmark.measure import Sample, fma_peak, int8_peak, without_garbage_collection

        call, peak = self.calls[key], int8_peak if int8 else fma_peak
        repeats = range(calls)
        with without_garbage_collection(), _pinned(self.cpus[:1]):
            before = peak()
            if warm:
                call()
            begin = time.perf_counter()
            for _ in repeats:
                call()
            seconds = (time.perf_counter() - begin) / calls
            settle(pause)
            return tuple(Sample(seconds, before, peak()))

    def read_peak(self) -> float | None:
        """The speed of reading memory, in bytes a second."""
        from squeezeops.benchmark import measure

        if self.memory is None:
            self.memory = measure.some_memory()
        return None if self.memory is None else measure.read_peak(self.memory, self.threads)


def _threads() -> set[int]:
    """The threads of this process; where they cannot be told, none."""
    folder = "/proc/self/task"
    return {int(name) for name in os.listdir(folder)} if os.path.isdir(folder) else set()


@contextmanager
def _pinned(cpus: Sequence[int]) -> Iterator[None]:
    """Hold the calling thread to these CPUs.

    Linux may wake a sleeping thread on the CPU of the one that wakes it, and leave both there for milliseconds. So all
    libraries are measured with each thread on a CPU of its own. The pools are pinned when they are made; the caller is
    only for as long as it takes a sample, as threads that it makes would have its CPU alone.
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
    """Sleep, in steps of `pause` seconds, until the other threads of this process do so too, and return how long.

    Pools of threads spin for some time after a call, onnxruntime's for 50 ms, on CPUs that the next library is to have.
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
    """Answer requests until there are no more."""
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
    """The other end of the pipe. Calling a method of `Host` by name is `ask`.

    Parameters
    ----------
    name : str
        Of a library.
    threads : int
    cpus : sequence of int
        Those that the process is held to.
    command : sequence of str, optional
        What is run in place of this module.
    isa : str, optional
        The instruction set that our kernels are held to there.
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
        """Call a method there.

        Raises
        ------
        Missing
            If the library is not there.
        WorkerError
            If the method failed, or the process ended.
        """
        requests, answers = self.process.stdin, self.process.stdout
        assert requests is not None and answers is not None
        try:
            pickle.dump((method, arguments), requests, pickle.HIGHEST_PROTOCOL)
            requests.flush()
            fine, value = pickle.load(answers)
        except (EOFError, BrokenPipeError, pickle.UnpicklingError):
            status = self.process.wait(10)
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
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def main(arguments: Sequence[str]) -> None:
    name, threads, *rest = arguments
    cpus = [int(cpu) for cpu in rest]
    if cpus:  # before the library makes its threads
        os.sched_setaffinity(0, cpus)
    # What libraries print must not come between the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)

    from bench import libraries

    class Loading(Host):
        """Imports the library at the first request, whose answer tells if there is none."""

        def start(self) -> str:
            self.library = libraries.load(name)
            return super().start()

    serve(Loading(None, int(threads), cpus), sys.stdin.buffer, answers)
