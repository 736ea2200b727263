"""The thread pool: number of threads, fork, concurrent callers, failing thread creation, the cgroup quota."""

import concurrent.futures
import itertools
import os
import subprocess
import sys
import textwrap
import threading

import numpy as np
import pytest
from limits import seconds
from op_helpers import assert_same_bits, native, normal, parts, run_python
from op_table import TABLE

from squeezeops import ops

pytestmark = pytest.mark.skipif(native is None, reason="built without the native extension")


lists_threads = pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="the system lists no threads in /proc")


@pytest.fixture(autouse=True)
def native_with_its_thread_count():
    with ops.backend("native"):
        before = ops.get_num_threads()
        yield
        ops.set_num_threads(before)


@pytest.fixture
def work(rng):
    """A function with enough work for several threads, and its result on one thread."""
    calls = [(op.call, op.arguments(rng, 400)) for op in TABLE]

    def run():
        return [part for call, arguments in calls for part in parts(call(**arguments))]

    ops.set_num_threads(1)
    return run, run()


def assert_same(results, expected):
    for result, one in zip(results, expected, strict=True):
        assert_same_bits(result, one)


def python(code, *arguments, **environment):
    environment = {"SQUEEZEOPS_BACKEND": "native"} | environment
    return run_python("-c", textwrap.dedent(code), *map(str, arguments), **environment)


def tasks():
    """The number of threads of this process, including those that Python does not know."""
    return len(os.listdir("/proc/self/task"))


def test_more_threads_than_processors(work):
    run, expected = work
    ops.set_num_threads(16)
    assert ops.get_num_threads() == 16
    for _ in range(5):
        assert_same(run(), expected)


@pytest.mark.parametrize("heads", [1, 3, 12])
@pytest.mark.parametrize("lengths", [[130], [8] * 20 + [200], [0, 33, 0, 1, 90, 7, 90, 0], [0, 0]], ids=str)
def test_attention_is_split_by_work(rng, heads, lengths):
    """The longest sequences run first and are split, but each row is stored where it belongs."""
    offsets = np.cumsum([0, *lengths], dtype=np.int32)
    q, k, v = (normal(rng, offsets[-1], heads * 16) for _ in range(3))
    mask = rng.random(offsets[-1]) < 0.5
    results = []
    for n in (1, 2, 5):
        ops.set_num_threads(n)
        plain = ops.attention(q, k, v, num_heads=heads, cu_seqlens=offsets)
        results.append([plain, ops.attention(q, k, v, num_heads=heads, cu_seqlens=offsets, mask=mask)])
    for result in results[1:]:
        assert_same(result, results[0])
    for begin, end in itertools.pairwise(offsets):
        alone = (a[begin:end] for a in (q, k, v))
        part = ops.attention(*alone, num_heads=heads, cu_seqlens=np.array([0, end - begin], np.int32))
        assert_same_bits(results[0][0][begin:end], part)


@lists_threads
def test_workers_really_start(work):
    run, _ = work
    ops.set_num_threads(5)
    run()
    assert tasks() >= 5


@lists_threads
@pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2, reason="there is one CPU to run on"
)
def test_affinity_of_workers_is_restored():
    """A call keeps the workers that it wakes off its own CPU, but only until it returns."""
    code = """
        import os, time, numpy as np
        from squeezeops import ops
        ops.set_num_threads(2)
        x, w = np.ones((200, 192), np.float32), np.ones((384, 192), np.float32)
        mine = os.sched_getaffinity(0)
        before = set(os.listdir("/proc/self/task"))
        ops.pointwise_conv(x, w)
        (worker,) = set(os.listdir("/proc/self/task")) - before
        for cpus in (mine, {min(mine)}, {max(mine)}):
            os.sched_setaffinity(int(worker), cpus)
            for _ in range(3):
                time.sleep(0.02)  # longer than a worker spins
                ops.pointwise_conv(x, w)
                assert os.sched_getaffinity(int(worker)) == cpus
        assert os.sched_getaffinity(0) == mine
    """
    result = python(code)
    assert result.returncode == 0, result.stderr


@lists_threads
def test_a_small_call_wakes_no_thread():
    """It would take less time than waking one. While workers wait for work, they take part."""
    code = """
        import os, sys, time, numpy as np
        from squeezeops import ops
        ops.set_num_threads(2)
        small, x, w = np.ones((16, 768), np.float32), np.ones((200, 192), np.float32), np.ones((384, 192), np.float32)
        before = set(os.listdir("/proc/self/task"))
        expected = ops.l2_normalize(small)
        assert set(os.listdir("/proc/self/task")) == before
        ops.pointwise_conv(x, w)
        (worker,) = set(os.listdir("/proc/self/task")) - before

        def sleeps():
            with open(f"/proc/self/task/{worker}/status") as file:
                fields = dict(line.split(":", 1) for line in file)
            return fields["State"].split()[0], int(fields["voluntary_ctxt_switches"])

        def rest():
            last, end = None, time.monotonic() + float(sys.argv[1])
            while (now := sleeps()) != last or now[0] != "S":
                assert time.monotonic() < end, now
                last = now
                time.sleep(0.02)
            return now[1]

        before = rest()
        for _ in range(20):
            assert (ops.l2_normalize(small) == expected).all()
            time.sleep(0.002)
        assert sleeps() == ("S", before)
        ops.pointwise_conv(x, w)
        assert rest() > before
        for _ in range(200):
            ops.pointwise_conv(x, w)
            assert (ops.l2_normalize(small) == expected).all()
    """
    result = python(code, seconds(10))
    assert result.returncode == 0, result.stderr


def test_environment():
    code = "import squeezeops; print(squeezeops.get_num_threads())"
    assert python(code, SQUEEZEOPS_NUM_THREADS="3").stdout.strip() == "3"
    for bad in ("0", "many", "1.5", "-2", "1000"):
        result = python(code, SQUEEZEOPS_NUM_THREADS=bad)
        message = f"SQUEEZEOPS_NUM_THREADS: expected a number from 1 to 256, got '{bad}'"
        assert result.returncode == 1 and message in result.stderr
        result = python("import squeezeops, numpy; squeezeops.tanh(numpy.ones(1, 'f'))", SQUEEZEOPS_NUM_THREADS=bad)
        assert result.returncode == 1 and message in result.stderr


def test_status_for_a_wrong_environment():
    pytest.importorskip("cffi", reason="cffi is not installed")
    code = "from squeezeops.backends._buffers import lib; print(lib.sqz_set_num_threads(0) == lib.SQZ_UNSUPPORTED)"
    assert python(code, SQUEEZEOPS_NUM_THREADS="many").stdout.strip() == "True"


def test_default_is_what_affinity_and_quota_allow():
    cpus = len(os.sched_getaffinity(0))
    quota = native.cpu_quota("")
    expected = min(cpus, -int(-quota // 1)) if quota else cpus
    env = {k: v for k, v in os.environ.items() if k != "SQUEEZEOPS_NUM_THREADS"}
    code = "import squeezeops; print(squeezeops.get_num_threads())"
    out = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True).stdout
    assert out.strip() == str(max(1, min(expected, 256)))
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); " + code
    out = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True).stdout
    assert out.strip() == "1"


def test_many_callers_at_once(work):
    run, expected = work
    ops.set_num_threads(3)
    begin = threading.Barrier(6)

    def caller():
        with ops.backend("native"):
            begin.wait()
            for _ in range(15):
                assert_same(run(), expected)

    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        for future in [pool.submit(caller) for _ in range(6)]:
            future.result(timeout=seconds(100))


def test_the_number_changes_during_calls(work):
    """A call divides its scratch by the number of threads at its start; it must not use more threads later."""
    run, expected = work
    done = threading.Event()

    def change():
        with ops.backend("native"):
            while not done.is_set():
                for n in (1, 8, 2, 5):
                    ops.set_num_threads(n)

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(70):
            assert_same(run(), expected)
    finally:
        done.set()
        thread.join()


FORK = """
    import os, threading, warnings
    warnings.simplefilter("ignore")  # newer Pythons warn of fork with threads: that is what this is about
    import numpy as np, squeezeops as s
    {setup}
    x = np.linspace(-1, 1, 400 * 192, dtype=np.float32).reshape(400, 192)
    w = np.ascontiguousarray(x[:192, :192])
    s.set_num_threads(4)
    run = lambda: s.pointwise_conv(x, w, activation="gelu").tobytes()
    expected = run()
    stop = threading.Event()

    def other():  # keeps the pool busy, so that some forks find its locks taken
        while not stop.is_set():
            run()

    thread = threading.Thread(target=other)
    thread.start()
    for _ in range(12):
        child = os.fork()
        if child == 0:
            same = all(run() == expected for _ in range(3))
            os._exit(0 if same and len(os.listdir("/proc/self/task")) >= 4 else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert run() == expected
    stop.set()
    thread.join()
    print("done")
"""


@lists_threads
def test_fork_with_running_workers():
    """A child process does not inherit the workers. It starts its own, and those of the parent go on."""
    result = python(FORK.format(setup=""))
    assert result.stdout.strip() == "done", result.stderr


def test_no_thread_can_be_started():
    """The caller then does all the work. RLIMIT_NPROC does not apply to root, so the test becomes another user."""
    result = python(
        """
        import os, resource, threading
        import numpy as np, squeezeops as s
        s.set_num_threads(4)
        s.cpu_info()
        import squeezeops._native as native
        if os.getuid() == 0:
            os.setgid(65534); os.setuid(65534)
        resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
        try:
            threading.Thread(target=print).start()
        except RuntimeError:
            pass
        else:
            raise SystemExit("the limit is not in force")
        x = np.linspace(-1, 1, 400 * 192, dtype=np.float32).reshape(400, 192)
        y = s.pointwise_conv(x, np.ascontiguousarray(x[:192]))
        assert len(os.listdir("/proc/self/task")) == 1
        s.set_num_threads(1)
        assert y.tobytes() == s.pointwise_conv(x, np.ascontiguousarray(x[:192])).tobytes()
        print("done")
        """,
        OPENBLAS_NUM_THREADS="1",
    )
    assert result.stdout.strip() == "done", result.stderr


@lists_threads
def test_signals_reach_python(work):
    """Workers block signals, so that Ctrl-C reaches Python's main thread."""
    run, _ = work
    ops.set_num_threads(4)
    run()
    blocked = 0
    for task in os.listdir("/proc/self/task"):
        with open(f"/proc/self/task/{task}/status") as file:
            mask = next(int(line.split()[1], 16) for line in file if line.startswith("SigBlk"))
        blocked += bool(mask & (1 << 1))  # SIGINT
    assert blocked >= 3


QUOTAS = {
    "v2": ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/cpu.max": "150000 100000\n"}, 1.5),
    "v2, of a group above": (
        {
            "proc/self/cgroup": "0::/a/b\n",
            "sys/fs/cgroup/a/b/cpu.max": "max 100000\n",
            "sys/fs/cgroup/a/cpu.max": "50000 100000\n",
            "sys/fs/cgroup/cpu.max": "400000 100000\n",
        },
        0.5,
    ),
    "v2, in a container": ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "200000 100000\n"}, 2),
    "v2, no limit": ({"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/cpu.max": "max 100000\n"}, 0),
    "v1": (
        {
            "proc/self/cgroup": "5:memory:/m\n4:cpu,cpuacct:/d\n3:cpuset:/s\n",
            "sys/fs/cgroup/cpu/d/cpu.cfs_quota_us": "300000\n",
            "sys/fs/cgroup/cpu/d/cpu.cfs_period_us": "100000\n",
        },
        3,
    ),
    "v1, no limit": (
        {
            "proc/self/cgroup": "4:cpuacct,cpu:/d\n",
            "sys/fs/cgroup/cpu/d/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu/d/cpu.cfs_period_us": "100000\n",
        },
        0,
    ),
    "v1, in a container that sees its own group as the root": (
        {
            "proc/self/cgroup": "4:cpu:/docker/123\n",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "100000\n",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "50000\n",
        },
        2,
    ),
    "nothing there": ({}, 0),
    "nonsense": ({"proc/self/cgroup": "x\n::\n0::/a\n", "sys/fs/cgroup/a/cpu.max": "1 0\n"}, 0),
}


@pytest.mark.parametrize("name", QUOTAS)
def test_cgroup_quota(tmp_path, name):
    files, expected = QUOTAS[name]
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    assert native.cpu_quota(str(tmp_path)) == expected
