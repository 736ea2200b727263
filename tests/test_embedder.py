"""What an embedding program sets for the whole process: the library's allocator and its executor."""

import random
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from limits import seconds
from op_helpers import assert_same_bits, native, normal, parts
from op_table import TABLE

import squeezeops
from squeezeops import ops
from squeezeops.squeezebert.conversion.convert import convert

if native is None:
    pytest.skip(reason="built without the native extension", allow_module_level=True)
pytest.importorskip("cffi", reason="cffi is not installed")

from squeezeops.backends._buffers import ffi, lib  # noqa: E402

every_op = pytest.mark.parametrize("op", TABLE, ids=lambda op: op.name)


@pytest.fixture(autouse=True)
def clean():
    """The native backend, with its settings restored and no scratch memory from before."""
    with ops.backend("native"):
        before = ops.get_num_threads()
        lib.sqz_free_scratch()
        yield
        lib.sqz_set_executor(ffi.NULL, ffi.NULL)
        assert lib.sqz_set_allocator(ffi.NULL, ffi.NULL, ffi.NULL) == lib.SQZ_OK
        ops.set_num_threads(before)


def assert_same(result, expected):
    for part, wanted in zip(parts(result), parts(expected), strict=True):
        assert_same_bits(part, wanted)


class Allocator:
    """Counts, and remembers what is not released. The allocation with the number `failing` fails."""

    def __init__(self):
        self.count, self.failing, self.live = 0, None, {}
        self.allocate = ffi.callback("sqz_allocate_fn", self._allocate)
        self.release = ffi.callback("sqz_release_fn", self._release)

    def _allocate(self, context, size):
        assert context == self.context
        self.count += 1
        if self.count - 1 == self.failing:
            return ffi.NULL
        memory = ffi.new("char[]", size)
        self.live[int(ffi.cast("intptr_t", memory))] = memory
        return memory

    def _release(self, context, memory):
        assert context == self.context
        del self.live[int(ffi.cast("intptr_t", memory))]

    def set(self, context=0):
        self.context = ffi.cast("void *", context)
        assert lib.sqz_set_allocator(self.allocate, self.release, self.context) == lib.SQZ_OK

    def unset(self):
        """Free what the library keeps, which must be all there is."""
        lib.sqz_free_scratch()
        assert lib.sqz_set_allocator(ffi.NULL, ffi.NULL, ffi.NULL) == lib.SQZ_OK
        assert not self.live


def in_other_order(arguments):
    """Matrices by columns, which kernels cannot read in place: they are copied."""
    return {n: np.asfortranarray(a) if isinstance(a, np.ndarray) and a.ndim == 2 else a for n, a in arguments.items()}


@every_op
def test_every_allocation_comes_from_the_allocator_and_may_fail(op, rng):
    for arguments in map(in_other_order, op.calls(rng)):
        expected = op.call(**arguments)
        lib.sqz_free_scratch()
        allocator = Allocator()
        allocator.set()
        assert_same(op.call(**arguments), expected)
        allocator.unset()
        count = allocator.count
        for failing in range(count):
            allocator.count, allocator.failing = 0, failing
            allocator.set()
            with pytest.raises(MemoryError, match=": expected .*, got none"):
                op.call(**arguments)
            allocator.unset()
        allocator.count, allocator.failing = 0, count  # as many as before, so none fails
        allocator.set()
        assert_same(op.call(**arguments), expected)
        allocator.unset()


def logits_of(path):
    """Open the model, run it once and close it; logits, or None if there is no memory."""
    model, logits = ffi.new("sqz_model *"), ffi.new("float[8]")
    status = lib.sqz_model_open(path, ffi.NULL, model)
    if status == lib.SQZ_OK:
        ids = ffi.new("int64_t[]", [2, 3, 4, 3])
        args = ffi.new("sqz_model_run_args *", {"model": model[0], "batch": 1, "length": 4, "ids": ids})
        args.size, args.logits = ffi.sizeof("sqz_model_run_args"), logits
        status = lib.sqz_model_run(args)
        assert lib.sqz_model_close(model[0]) == lib.SQZ_OK
    if status == lib.SQZ_OK:
        return bytes(ffi.buffer(logits))
    assert status == lib.SQZ_NO_MEMORY, ffi.string(lib.sqz_error_message())
    assert re.match(r".+: expected .*, got none", ffi.string(lib.sqz_error_message()).decode())


@pytest.mark.parametrize("golden", [None, "classification", "bert_classification"])
def test_models_and_the_allocator(golden, tmp_path):
    """The built-in model, in int8, and others in float32."""
    path = Path(squeezeops.__file__).parent / "models" / "sentiment" / "model.safetensors"
    if golden:
        path = tmp_path / "model.safetensors"
        convert(Path(__file__).parent / "golden" / golden, path, dtype="float32")
    expected = logits_of(bytes(path))
    lib.sqz_free_scratch()
    failing = 0
    while True:
        allocator = Allocator()
        allocator.failing = failing
        allocator.set()
        found = logits_of(bytes(path))
        allocator.unset()
        if found:
            break
        failing += 1
    assert found == expected and failing > 3


def test_the_allocator_is_called(rng):
    """Both kinds of memory: scratch, which is kept for the next call, and copies."""
    allocator = Allocator()
    allocator.set(2**40 + 1)
    x = normal(rng, 64, 64)
    ops.quantize_rows(np.asfortranarray(x))
    assert allocator.count == 1 and not allocator.live
    conv = ops.PointwiseConv(normal(rng, 64, 64), dtype="int8")
    conv(x)
    assert allocator.count > 1 and len(allocator.live) == 1
    count = allocator.count
    conv(x)
    assert allocator.count == count
    allocator.unset()


def test_memory_goes_back_where_it_came_from(rng):
    """Scratch is freed by the functions that it came from: after others are set, and at the end of its thread."""
    x = normal(rng, 64, 64)
    conv = ops.PointwiseConv(normal(rng, 64, 64), dtype="int8")
    conv(x)  # its scratch is malloc's
    first, second = Allocator(), Allocator()
    first.set(1)
    lib.sqz_free_scratch()
    assert first.count == 0
    seen = []

    def call():
        with ops.backend("native"):
            conv(x)
        seen.append(len(first.live))
        second.set(2)

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()  # Python's part of it has ended; the rest ends soon
    end = time.monotonic() + seconds(10)
    while first.live and time.monotonic() < end:
        time.sleep(0.01)
    assert seen == [1] and not first.live
    second.unset()


def test_half_an_allocator():
    allocator = Allocator()
    for functions, name in [((allocator.allocate, ffi.NULL), "release"), ((ffi.NULL, allocator.release), "allocate")]:
        assert lib.sqz_set_allocator(*functions, ffi.NULL) == lib.SQZ_INVALID
        assert ffi.string(lib.sqz_error_message()) == f"{name}: expected a function, got NULL".encode()
        assert ffi.string(lib.sqz_error_argument()) == name.encode()


# Executors, as functions of the shares.


def in_reverse(shares):
    for share in reversed(shares):
        share()


def some(shares):
    for share in shares[1::2]:
        share()


def none(shares):
    pass


def in_many_threads(shares):
    """More threads than the library was told of, some of them at once."""
    with ThreadPoolExecutor(16) as pool:
        for future in [pool.submit(share) for share in random.Random(len(shares)).sample(shares, len(shares))]:
            future.result()


def with_calls_between(shares):
    """Another call of the library on the same thread, as a pool makes that takes other work while it waits."""
    x = np.arange(64 * 64, dtype=np.float32).reshape(64, 64)
    for share in shares:
        ops.PointwiseConv(x, dtype="int8")(x)
        share()


EXECUTORS = {function.__name__: function for function in (in_reverse, some, none, in_many_threads, with_calls_between)}


class Executor:
    def __init__(self, run):
        self.run, self.counts, self.inside = run, [], threading.local()
        self.execute = ffi.callback("sqz_execute_fn", self._execute)

    def _execute(self, context, count, share, argument):
        self.counts.append(count)
        if getattr(self.inside, "yes", False):
            return
        self.inside.yes = True
        self.run([lambda i=i: share(argument, i) for i in range(count)])
        self.inside.yes = False

    def set(self):
        lib.sqz_set_executor(self.execute, ffi.NULL)


@pytest.mark.parametrize("name", EXECUTORS)
@every_op
def test_an_executor_changes_no_bit(op, rng, name):
    calls = [op.arguments(rng, *size) for size in [(400,), *op.large]]
    ops.set_num_threads(1)
    expected = [op.call(**arguments) for arguments in calls]
    executor = Executor(EXECUTORS[name])
    executor.set()
    assert lib.sqz_get_num_threads() == 1
    for threads in (2, 5):
        ops.set_num_threads(threads)
        for arguments, wanted in zip(calls, expected, strict=True):
            executor.counts.clear()
            assert_same(op.call(**arguments), wanted)
            assert all(1 < count <= threads for count in executor.counts)
        assert executor.counts, "the work was too little for an executor"


def test_an_executor_in_place_of_the_library_s_threads(rng):
    """Without one the library's own threads work, and small calls use neither."""
    x = normal(rng, 400, 400)
    ops.set_num_threads(3)
    expected = ops.softmax(x)
    executor = Executor(in_reverse)
    executor.set()
    assert_same(ops.softmax(x), expected)
    assert executor.counts == [3]
    ops.softmax(x[:4])
    assert executor.counts == [3]
    lib.sqz_set_executor(ffi.NULL, ffi.NULL)
    assert_same(ops.softmax(x), expected)
    assert executor.counts == [3]


def test_many_callers_use_an_executor_at_once(rng):
    x, weight = normal(rng, 400, 64), normal(rng, 64, 64)
    conv = ops.PointwiseConv(weight, dtype="int8")
    expected = conv(x)
    ops.set_num_threads(4)
    executor = Executor(in_many_threads)
    executor.set()

    def call(_):
        with ops.backend("native"):
            return conv(x)

    with ThreadPoolExecutor(4) as pool:
        for result in pool.map(call, range(16)):
            assert_same(result, expected)
    assert len(executor.counts) >= 16
