"""The threads of the Numba backend: the split of rows, several callers, fork, the number of threads."""

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from limits import seconds
from op_helpers import assert_same_bits, native, normal
from test_numba import needs_numba, python
from test_threads import FORK, QUOTAS

from squeezeops import ops

pytestmark = needs_numba


def convolve(x):
    weight = np.linspace(-1, 1, 51 * 34, dtype=np.float32).reshape(51, 34)
    return ops.pointwise_conv(x, weight, activation="gelu", residual=x[:, :1] * weight[:, 0])


def test_ranges():
    """They make up the whole, in any number, of the sizes that were asked for, and on several threads."""
    from squeezeops.backends._numba import threads

    before = threads.get_num_threads()
    try:
        for number in (1, 2, 3, 8):
            threads.set_num_threads(number)
            for count, least, block, multiple in [
                (0, 1, 1, 1), (1, 1, 1, 1), (7, 8, 8, 1), (8, 1, 1, 1), (128, 20, 96, 8), (1000, 20, 96, 8),
                (997, 1, 1, 16), (12, 1, 1, 1), (100_000, 5000, 5000, 16),
            ]:  # fmt: skip
                ranges = []
                threads.run(lambda *both, to=ranges: to.append(both), count, least, block, multiple)
                ranges.sort()
                assert [i for first, last in ranges for i in (first, last)][1:-1:2] == [f for f, _ in ranges[1:]]
                assert ranges[0][0] == 0 and ranges[-1][1] == count
                assert len(ranges) <= 4 * number
                if len(ranges) > 1:
                    assert all(first % multiple == 0 for first, _ in ranges)
                    assert min(last - first for first, last in ranges[:-1]) >= least
    finally:
        threads.set_num_threads(before)


def test_several_threads_take_part(numba_backend):
    from squeezeops.backends._numba import threads

    ops.set_num_threads(3)
    everyone = threading.Barrier(3)
    seen = set()

    def part(first, last):
        if last <= 30:  # the first three ranges wait for each other
            everyone.wait(seconds(30))
        seen.add(threading.get_ident())

    threads.run(part, 120, 1)
    assert len(seen) == 3 and threading.get_ident() in seen


def test_an_exception_of_a_thread_reaches_the_caller(numba_backend):
    from squeezeops.backends._numba import threads

    ops.set_num_threads(3)
    raised = threading.Event()

    def part(first, last):
        if threading.current_thread() is not threading.main_thread():
            raised.set()
            raise MemoryError("none left")
        assert raised.wait(seconds(30))

    with pytest.raises(MemoryError, match="none left"):
        threads.run(part, 120, 1)
    threads.run(lambda first, last: None, 120, 1)


def test_no_thread_can_be_started(numba_backend, rng, monkeypatch):
    x = normal(rng, 300, 34)
    expected = convolve(x)
    monkeypatch.setattr(numba_backend, "PRODUCTS", 5000)
    ops.set_num_threads(4)

    def refuse(*args):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    for _ in range(3):
        assert_same_bits(convolve(x), expected)


def test_callers_in_many_threads(numba_backend, rng, monkeypatch):
    """Six at a time, each with the pool's help, while the number of threads changes."""
    monkeypatch.setattr(numba_backend, "PRODUCTS", 5000)
    inputs = [normal(rng, 100, 34) for _ in range(12)]
    ops.set_num_threads(3)
    expected = [convolve(x) for x in inputs]
    done = threading.Event()

    def work(x):
        with ops.backend("numba"):
            return [convolve(x) for _ in range(20)]

    def change():
        while not done.is_set():
            for n in (1, 4, 2):
                numba_backend.set_num_threads(n)
                time.sleep(0.001)

    changing = threading.Thread(target=change)
    changing.start()
    try:
        with ThreadPoolExecutor(6) as pool:
            for results, y in zip(pool.map(work, inputs), expected, strict=True):
                for result in results:
                    assert_same_bits(result, y)
    finally:
        done.set()
        changing.join()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_fork_with_running_workers():
    setup = "from squeezeops.backends import numba; numba.PRODUCTS = 10_000"
    assert python(FORK.format(setup=setup)).strip() == "done"


def test_number_of_threads_from_the_environment(numba_backend, monkeypatch):
    from squeezeops.backends._numba import threads

    monkeypatch.setattr(threads, "_number", None)
    for bad in ("0", "many", "1.5", "-2", "1000", "9" * 5000):
        monkeypatch.setenv("SQUEEZEOPS_NUM_THREADS", bad)
        message = f"SQUEEZEOPS_NUM_THREADS: expected a number from 1 to 256, got '{bad}'"
        for call in (ops.get_num_threads, lambda: ops.tanh(np.ones(1, np.float32))):
            with pytest.raises(ValueError, match=message):
                call()
    monkeypatch.setenv("SQUEEZEOPS_NUM_THREADS", "3")
    assert ops.get_num_threads() == 3


def test_default_number_of_threads(numba_backend, monkeypatch):
    from squeezeops.backends._numba import threads

    monkeypatch.delenv("SQUEEZEOPS_NUM_THREADS", raising=False)
    cpus = len(os.sched_getaffinity(0))
    for quota, expected in ((0, cpus), (0.5, 1), (1.5, min(2, cpus)), (1000, cpus)):
        monkeypatch.setattr(threads, "cpu_quota", lambda quota=quota: quota)
        assert threads._default() == expected


@pytest.mark.parametrize("name", QUOTAS)
def test_cgroup_quota(tmp_path, name):
    from squeezeops.backends._numba.threads import cpu_quota

    files, expected = QUOTAS[name]
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    assert cpu_quota(str(tmp_path)) == expected
    if native is not None:
        assert cpu_quota() == native.cpu_quota("")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork is of POSIX")
def test_fork_while_another_thread_compiles(tmp_path):
    """A child compiles too, and finds no lock taken by a thread that it does not have."""
    code = """
        import os, signal, sys, threading, time, warnings
        warnings.simplefilter("ignore")
        import numpy as np, squeezeops as s
        from numba.core.compiler_lock import global_compiler_lock
        s.set_backend("numba")
        s.set_num_threads(1)
        x = np.ones((8, 16), np.float32)
        thread = threading.Thread(target=lambda: s.attention(x[None], x[None], x[None], num_heads=1))
        thread.start()
        while not global_compiler_lock.is_locked() and thread.is_alive():
            time.sleep(0.001)
        child = os.fork()
        if child == 0:
            signal.alarm(int(sys.argv[1]))
            s.softmax(x)
            os._exit(0)
        thread.join()
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """
    assert python(code, int(seconds(100)), NUMBA_CACHE_DIR=str(tmp_path)).split() == ["0"]
