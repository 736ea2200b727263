"""Processes that use the package: how they end, fork, start others and run out of things.

docs/security.md has the table of promises, with the tests of other files.
"""

import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from limits import seconds
from model_helpers import write_model
from op_helpers import run_python

import squeezeops
from squeezeops import ops

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the promises are for Linux")
COMPILED = [name for name in ("native", "cffi") if name in ops.available_backends()]
if not COMPILED:
    pytest.skip(reason="built without the native extension", allow_module_level=True)

USE = """
import os, sys, threading, time
import numpy as np
import squeezeops
from squeezeops import ops

def logits(classify, text="a good movie"):
    return classify([text])[0]["score"]

def wait():  # in nothing that an exception could leave with a lock taken
    while True:
        time.sleep(0.01)
"""


def start(code, *arguments, command=(), **environment):
    """Start Python on a program, which finds the package and the tests."""
    path = os.pathsep.join([str(Path(squeezeops.__file__).parents[1]), *sys.path])
    return subprocess.Popen(
        [*command, sys.executable, "-W", "ignore", "-c", textwrap.dedent(code), *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": path, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Its default handler, even if the tests run in the background.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def run(code, *arguments, **options):
    """Run a program to its end; return its status, output and errors."""
    with start(code, *arguments, **options) as process:
        try:
            output, errors = process.communicate(timeout=seconds(100))
        finally:
            process.kill()
    return process.returncode, output, errors


def check(code, *arguments, **options):
    """Run a program that writes "end" alone."""
    status, output, errors = run(code, *arguments, **options)
    assert (status, output, errors) == (0, "end\n", ""), errors


# ---- the end ---------------------------------------------------------------------------------------------------------

ENDS = {  # The last lines, what follows a signal, and the status.
    "returns": ("", None, 0),
    "raises": ("raise RuntimeError('on purpose')", None, 1),
    "Ctrl-C": ("print('ready', flush=True)\nwait()", signal.SIGINT, -signal.SIGINT),
}
WAYS = {
    "threads": """
        from concurrent.futures import ThreadPoolExecutor
        classify = squeezeops.pipeline("text-classification")
        pool = ThreadPoolExecutor(2)
        def work():
            for _ in range(20):
                logits(classify)
        futures = [pool.submit(work) for _ in range(8)]
    """,
    "processes": """
        from concurrent.futures import ProcessPoolExecutor
        from multiprocessing import get_context
        pool = ProcessPoolExecutor(2, get_context("fork"))
        classify = squeezeops.pipeline("text-classification")
        def work(text):
            return logits(classify, text)
        assert len(set(pool.map(work, ["good"] * 8))) == 1
        futures = [pool.submit(work, "good") for _ in range(100)]
    """,
    "a server": """
        import http.server, json, urllib.request
        classify = squeezeops.pipeline("text-classification")
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                body = json.dumps(logits(classify)).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
            def log_message(self, *_):
                pass
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.handle_error = lambda *_: None  # clients that end
        threading.Thread(target=server.serve_forever, daemon=True).start()
        def ask():
            try:
                while True:
                    urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/").read()
            except OSError:
                pass
        def client():
            threading.Thread(target=ask, daemon=True).start()
        urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/").read()
        client(), client()
    """,
    "a pipeline": """
        classify = squeezeops.pipeline("text-classification")
        texts = ("good " * (i % 50 + 1) for i in range(10**9))
        results = classify.stream(texts)
        for _ in range(20):
            next(results)
        def wait():
            for _ in results:
                pass
    """,
}


@pytest.mark.parametrize("backend", COMPILED)
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("way", WAYS)
def test_the_status_at_the_end(backend, end, way):
    last, number, status = ENDS[end]
    with start(USE + textwrap.dedent(WAYS[way]) + last, SQUEEZEOPS_BACKEND=backend) as process:
        try:
            if number:
                assert process.stdout.readline() == "ready\n", process.stderr.read()
                process.send_signal(number)
            output, errors = process.communicate(timeout=seconds(100))
        finally:
            process.kill()
    assert (process.returncode, output) == (status, ""), errors
    if status == 0:
        assert errors == ""
    else:
        assert ("on purpose" if end == "raises" else "KeyboardInterrupt") in errors


# ---- other processes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", COMPILED)
def test_nested_forks_from_threads(backend):
    """A fork during inference, from a thread, and again in the child: each process gets the same results."""
    check(
        USE
        + """
classify = squeezeops.pipeline("text-classification")
ops.set_num_threads(3)
expected, done = logits(classify), threading.Event()

def use():
    while not done.is_set():
        assert logits(classify) == expected

def fork(depth):
    child = os.fork()
    if child == 0:
        good = all(logits(classify) == expected for _ in range(3))
        os._exit(0 if good and (depth == 0 or fork(depth - 1)) else 1)
    return os.waitpid(child, 0)[1] == 0

threads = [threading.Thread(target=use) for _ in range(2)]
results = []
forking = [threading.Thread(target=lambda: results.extend(fork(2) for _ in range(3))) for _ in range(2)]
for thread in threads + forking:
    thread.start()
for thread in forking:
    thread.join()
done.set()
for thread in threads:
    thread.join()
assert results == [True] * 6, results
print("end")
""",
        SQUEEZEOPS_BACKEND=backend,
    )


@pytest.mark.parametrize("method", ["spawn", "forkserver", "fork"])
def test_start_methods(tmp_path, method):
    """A pipeline is pickled for the workers, which get the same results."""
    program = tmp_path / "program.py"
    program.write_text(
        USE
        + f"""
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

if __name__ == "__main__":
    classify = squeezeops.pipeline("text-classification")
    texts = ["good", "bad", "a movie", "so so"]
    expected = [logits(classify, text) for text in texts]
    with ProcessPoolExecutor(2, get_context({method!r})) as pool:
        assert list(pool.map(partial(logits, classify), texts)) == expected
    print("end")
"""
    )
    done = run_python(str(program))
    assert (done.returncode, done.stdout, done.stderr) == (0, "end\n", "")


def test_gunicorn_preload(tmp_path):
    """The model is loaded and used before the workers are forked."""
    pytest.importorskip("gunicorn", reason="gunicorn is not installed")
    (tmp_path / "app.py").write_text(
        USE
        + """
classify = squeezeops.pipeline("text-classification")
ops.set_num_threads(2)
expected = logits(classify)

def app(environ, start_response):
    start_response("200 OK", [])
    same = all(logits(classify) == expected for _ in range(3))
    return [f"{os.getpid() if same else 0} ".encode()]
"""
    )
    check(
        """
import os, signal, socket, subprocess, sys, time, urllib.request
listener = socket.create_server(("127.0.0.1", 0))
port = listener.getsockname()[1]
command = [sys.executable, "-m", "gunicorn", "--preload", "--workers", "2", "--threads", "2", "--bind",
           f"fd://{listener.fileno()}", "--log-level", "error", "--chdir", sys.argv[1], "app:app"]
server = subprocess.Popen(command, pass_fds=[listener.fileno()])
workers = set()
deadline = time.monotonic() + float(sys.argv[2])
while len(workers) < 2 and time.monotonic() < deadline:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/") as answer:
        workers.add(int(answer.read()))
assert len(workers) == 2 and 0 not in workers and server.pid not in workers, workers
server.send_signal(signal.SIGTERM)
assert server.wait(float(sys.argv[2])) == 0
print("end")
""",
        tmp_path,
        seconds(60),
    )


SUBINTERPRETER = """
import sys
try:
    import _interpreters as interpreters
    kinds = ["legacy", "isolated"]
except ImportError:
    import _xxsubinterpreters as interpreters
    kinds = [False, True] if sys.version_info >= (3, 12) else [False]
code = f'''
import warnings
warnings.simplefilter("ignore")  # of NumPy, that it does not support subinterpreters
from squeezeops import backends
try:
    ops = backends.load({sys.argv[1]!r})
    import numpy
    result = ops.tanh(numpy.ones(3, "f"), None).tolist()
except ImportError as error:
    result = " ".join(str(error).split())
print(result, flush=True)
'''
for kind in kinds:
    if isinstance(kind, str):
        interpreter = interpreters.create(kind)
    else:
        interpreter = interpreters.create(isolated=kind)
    failed = interpreters.run_string(interpreter, code)
    assert failed is None, failed
    interpreters.destroy(interpreter)
"""


@pytest.mark.parametrize("backend", ops.available_backends())
def test_subinterpreters(backend):
    """`native` and `numba` refuse, the others work; NumPy and cffi refuse isolated ones. Nothing waits forever."""
    status, output, errors = run(SUBINTERPRETER, backend)
    assert status == 0, errors
    legacy, *isolated = output.splitlines()
    assert len(isolated) == (sys.version_info >= (3, 12))
    for line in isolated:
        assert "cannot be loaded" in line and "interpreter" in line
    if backend in ("native", "numba"):
        assert "expected the main interpreter, got a subinterpreter" in legacy
    else:
        assert legacy.startswith("[0.76159")


# ---- what a system may lack ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def namespace():
    """A function of shell commands that mount; it returns the start of a command line that sees those mounts alone."""
    unshare = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--mount", "--map-root-user"]
    if not shutil.which("unshare") or subprocess.run([*unshare, "true"], capture_output=True).returncode:
        pytest.skip(reason="the system permits no namespace of mounts")
    return lambda mounts: [*unshare, "sh", "-ec", f'{mounts}\nexec "$@"', "sh"]


CONVOLVE = (
    USE
    + """
ops.set_backend(sys.argv[1])
x = np.linspace(-1, 1, 400 * 192, dtype=np.float32).reshape(400, 192)
def convolve():
    return ops.pointwise_conv(x, np.ascontiguousarray(x[:192])).tobytes()
"""
)


@pytest.mark.parametrize("backend", ops.available_backends())
def test_neither_proc_nor_sys(namespace, backend):
    """The processor and its instruction sets are asked by instructions, and the affinity by a system call."""
    check(
        CONVOLVE
        + """
assert os.listdir("/proc") == os.listdir("/sys") == []
assert ops.cpu_info()["isa"]
expected = convolve()
if sys.argv[1] != "numpy":  # its threads are those of its BLAS
    assert ops.get_num_threads() == len(os.sched_getaffinity(0))
    ops.set_num_threads(3)
    assert convolve() == expected
squeezeops.pipeline("text-classification")("a good movie")
print("end")
""",
        backend,
        command=namespace("mount -t tmpfs none /proc\nmount -t tmpfs none /sys"),
        SQUEEZEOPS_NUM_THREADS="",
    )


@pytest.mark.parametrize("backend", COMPILED)
def test_too_little_memory(backend):
    """An op that gets no memory raises MemoryError, and works again when there is some."""
    check(
        CONVOLVE
        + """
import resource
ops.set_num_threads(1)
expected = convolve()
x = np.ones((1 << 12, 1 << 10), np.float32)
with open("/proc/self/statm") as file:
    used = int(file.read().split()[0]) * resource.getpagesize()
_, hard = resource.getrlimit(resource.RLIMIT_AS)
resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 20), hard))
for call in (
    lambda: ops.gelu(x),
    lambda: ops.pointwise_conv(x, x),
    lambda: ops.PointwiseConv(x, dtype="int8"),
    lambda: ops.attention(x, x, x, num_heads=16, cu_seqlens=np.array([0, 1 << 12], np.int32)),
):
    try:
        call()
    except MemoryError as error:
        assert "expected memory for" in str(error) or "scratch memory" in str(error), error
    else:
        raise AssertionError("there was memory")
resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
x = np.linspace(-1, 1, 400 * 192, dtype=np.float32).reshape(400, 192)
assert convolve() == expected
print("end")
""",
        backend,
    )


def test_a_small_stack_for_signals():
    """Ops run, and the pool starts, where signals have the smallest stack that Linux takes."""
    check(
        CONVOLVE
        + """
import ctypes
class Stack(ctypes.Structure):
    _fields_ = [("address", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t)]
memory, libc = ctypes.create_string_buffer(1 << 16), ctypes.CDLL(None)
for size in range(2048, 1 << 16, 256):
    if libc.sigaltstack(ctypes.byref(Stack(ctypes.addressof(memory), 0, size)), None) == 0:
        break
assert size < 1 << 15
expected = convolve()
ops.set_num_threads(3)
assert convolve() == expected
ops.PointwiseConv(x, dtype="int8")(x)
print("end")
""",
        "native" if "native" in COMPILED else "cffi",
    )


# ---- files -----------------------------------------------------------------------------------------------------------


def test_a_full_disk(namespace, tmp_path):
    """A conversion that finds no room ends with a message, and leaves the old file and nothing else."""
    folder = write_model(tmp_path / "model", ["a", "b"])
    room = tmp_path / "room"
    room.mkdir()
    check(
        f"""
import os, sys
from squeezeops.cli import main
room, folder = {str(room)!r}, {str(folder)!r}
with open(f"{{room}}/model.safetensors", "wb") as file:
    file.write(b"old")
with open(f"{{room}}/other", "wb") as file:
    file.write(bytes(60 << 10))
sys.stderr = open({str(tmp_path / "errors")!r}, "w")
assert main(["convert", folder, f"{{room}}/model.safetensors", "--force"]) != 0
assert sorted(os.listdir(room)) == ["model.safetensors", "other"]
assert open(f"{{room}}/model.safetensors", "rb").read() == b"old"
print("end")
""",
        command=namespace(f"mount -t tmpfs -o size=64k none '{room}'"),
    )
    assert "model.safetensors: No space left on device" in (tmp_path / "errors").read_text()


@pytest.mark.parametrize("backend", ops.available_backends())
def test_a_cache_that_cannot_be_written(namespace, tmp_path, backend):
    """Nothing of the package depends on a folder that it may write to."""
    cache = tmp_path / "cache"
    cache.mkdir()
    check(
        USE
        + """
ops.set_backend(sys.argv[1])
assert os.statvfs(sys.argv[2]).f_flag & os.ST_RDONLY and os.statvfs(squeezeops.__path__[0]).f_flag & os.ST_RDONLY
ops.tanh(np.ones(5, np.float32))
print("end")
""",
        backend,
        cache,
        command=namespace(
            f"mount --bind -o ro '{squeezeops.__path__[0]}' '{squeezeops.__path__[0]}'\n"
            f"mount -t tmpfs -o ro none '{cache}'"
        ),
        NUMBA_CACHE_DIR=str(cache),
        HOME=str(cache),
        TMPDIR=str(cache),
        XDG_CACHE_HOME=str(cache),
        HF_HOME=str(cache),
    )


def test_a_file_that_is_truncated_while_it_is_mapped(tmp_path):
    """Not to be prevented: reading such a page is a SIGBUS. A new file under the name does no harm."""
    folder = write_model(tmp_path / "model", ["a", "b"], words=[f"w{i}" for i in range(3000)])
    code = """
import os, sys
import numpy as np
from squeezeops.squeezebert.files.safetensors import read_tensors
path, change = sys.argv[1:]
size = os.path.getsize(path)
tensors = read_tensors(path)
expected = sum(float(np.sum(array)) for array in tensors.values())
if change == "replace":
    with open(path + ".new", "wb") as file:
        file.write(bytes(size))
    os.replace(path + ".new", path)
else:
    os.truncate(path, 0)
print("changed", flush=True)
assert sum(float(np.sum(array)) for array in tensors.values()) == expected
print("end")
"""
    path = folder / "model.safetensors"
    assert run(code, path, "replace") == (0, "changed\nend\n", "")
    shutil.copy(write_model(tmp_path / "again", ["a", "b"], words=[f"w{i}" for i in range(3000)]) / path.name, path)
    assert run(code, path, "truncate")[:2] == (-signal.SIGBUS, "changed\n")
