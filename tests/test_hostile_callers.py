"""Callers that release, resize or overwrite what an op reads, or end the interpreter under it: never a crash.

What used to crash runs in a process of its own.
"""

import copy
import gc
import mmap
import pickle
import sys
import warnings

import numpy as np
import pytest
from model_helpers import write_model
from op_helpers import assert_same_bits, normal, run_python

from squeezeops import backends, ops
from squeezeops.backends._text import settings_of
from squeezeops.backends.models import CompiledModel
from squeezeops.pipelines import default_model
from squeezeops.squeezebert import SqueezeBert, Tokenizer
from squeezeops.squeezebert.model.weights import load_folder

RNG = np.random.default_rng(9)
EVERY_BACKEND = pytest.mark.parametrize("backend", ops.available_backends())
COMPILED = pytest.mark.parametrize("backend", [name for name in ("native", "cffi") if name in ops.available_backends()])


def run(script: str, *arguments: str) -> None:
    """Run a program that writes "end" and nothing else."""
    done = run_python("-c", script, *arguments)
    assert (done.returncode, done.stdout, done.stderr) == (0, "end\n", "")


# Buffers.


RELEASES_PACKED = """
import copy, gc, mmap, pickle, sys
import numpy as np
from squeezeops import ops

ops.set_backend(sys.argv[1])
x = np.ones((2, 256), np.float32)
made = ops.PointwiseConv(np.full((256, 256), 2, np.float32))
pages = mmap.mmap(-1, len(made.packed))
pages[:] = bytes(made.packed)
used = ops.PointwiseConv.from_packed(pages, in_channels=256, out_channels=256)
del pages
for conv in (made, used, copy.copy(used), copy.deepcopy(used), pickle.loads(pickle.dumps(used))):
    for _ in range(2):
        with conv.packed as view:
            assert len(view) == 4 * 256 * 256
        view = None
        gc.collect()
        assert (conv(x) == 512).all() and (ops.pointwise_convs(x, [conv])[0] == 512).all()
    for backend in ops.available_backends():
        with ops.backend(backend), conv.packed as view:
            assert bytes(view) == bytes(conv.packed)
            assert (conv(x) == 512).all()
print("end")
"""


@EVERY_BACKEND
def test_released_packed(backend):
    run(RELEASES_PACKED, backend)


def whole_and_part(kind, size):
    """An owner of memory, and a view of `size` bytes of it at a multiple of 64."""
    owner = mmap.mmap(-1, size + 64) if kind == "mmap" else bytearray(size + 64)
    start = -np.frombuffer(owner, np.uint8).__array_interface__["data"][0] % 64
    return owner, memoryview(owner)[start : start + size]


def assert_cannot_be_freed(owner):
    attempts = (owner.close, lambda: owner.resize(1)) if isinstance(owner, mmap.mmap) else (owner.clear, owner.pop)
    for attempt in attempts:
        with pytest.raises(BufferError):
            attempt()


@COMPILED
@pytest.mark.parametrize("kind", ["bytearray", "mmap"])
def test_memory_in_use_cannot_be_freed(backend, kind):
    """That of `from_packed` and of `memory.take`, though the caller's own views of it are released."""

    class Pieces:
        def __init__(self):
            self.owners = []

        def take(self, size):
            owner, self.last = whole_and_part(kind, size)
            self.owners.append(owner)
            return self.last

    with ops.backend(backend):
        memory = Pieces()
        conv = ops.PointwiseConv(np.full((64, 64), 2, np.float32), memory=memory)
        memory.last.release()
        owner, part = whole_and_part(kind, len(conv.packed))
        part[:] = conv.packed
        used = ops.PointwiseConv.from_packed(part, in_channels=64, out_channels=64)
        part.release()
        for each, holder in ((conv, memory.owners[0]), (used, owner)):
            assert_cannot_be_freed(holder)
            each.packed.release()
            assert_cannot_be_freed(holder)
            assert each(np.ones((1, 64), np.float32)).tolist() == [[128.0] * 64]
        del conv, used, each
        gc.collect()
        for holder in (*memory.owners, owner):
            holder.close() if kind == "mmap" else holder.clear()


@COMPILED
def test_released_bias(backend):
    """A convolution has a copy of its bias."""
    weight, x = normal(RNG, 5, 7), normal(RNG, 3, 7)
    with ops.backend(backend):
        owner = bytearray(normal(RNG, 5).tobytes())
        bias = memoryview(owner).cast("f") if backend == "cffi" else np.frombuffer(owner, np.float32)
        conv = ops.PointwiseConv(weight, bias)
        used = ops.PointwiseConv.from_packed(conv.packed, bias, in_channels=7, out_channels=5)
        expected = conv(x)
        if backend == "cffi":
            bias.release()
            owner.clear()
        else:
            with pytest.raises(BufferError):
                owner.clear()
        assert_same_bits(conv(x), expected)
        assert_same_bits(used(x), expected)


class Lying(np.ndarray):
    """An array with a shape of its own."""

    lie = (7, 7)
    shape = property(lambda self: self.lie)


def reshape(array, shape):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # since NumPy 2.5
        array.shape = shape


@EVERY_BACKEND
def test_weights_reshaped_while_a_model_is_made(backend, monkeypatch, tmp_path):
    """Another thread may do it; the sizes of the model are those that were checked."""
    module, (config, mapped) = backends.load(backend), load_folder(write_model(tmp_path / "model", ["a", "b", "c"]))
    tensors, pack, given = {name: np.array(a) for name, a in mapped.items()}, module.pack_pointwise_conv, []

    def pack_and_reshape(*arguments):
        made = pack(*arguments)
        for array in given:
            reshape(array, (1, array.size))
        return made

    with ops.backend(backend):
        ids = np.array([[5, 6, 7], [8, 9, 10]])
        expected = SqueezeBert(config, tensors, task="text-classification")(ids).logits
        monkeypatch.setattr(module, "pack_pointwise_conv", pack_and_reshape)
        given += [array for array in tensors.values() if array.ndim == 2]
        model = SqueezeBert(config, tensors, task="text-classification")
        assert all(len(array) == 1 for array in given) and expected.shape == (2, 3)
        assert_same_bits(model(ids).logits, expected)


@COMPILED
def test_the_arrays_of_a_model(backend):
    """The library is told of them as they are, and asked for no result that does not fit."""
    with ops.backend(backend):
        model = SqueezeBert.from_pretrained(default_model())
        config, attention, task, given = model._compiled._describe()
        words = "embeddings.word_embeddings.weight"
        vocabulary, channels = given[words].shape
        every, strided = given[words], np.repeat(given[words], 2, axis=0)[::2]
        for table, opens in ((every, True), (every[: vocabulary // 2], False), (strided, False)):
            table = table.view(Lying)
            table.lie = (vocabulary, channels)
            compiled = CompiledModel(lambda table=table: (config, attention, task, given | {words: table}))
            ids = np.array([[1, 2, 3]])
            results = {"logits": np.empty((1, 2), np.float32)}
            assert compiled.run(ids, None, None, None, results) == opens
        for wrong in ({"logits": np.empty((1, 1), np.float32)}, {"hidden": np.empty((1, 2, channels), np.float32)}):
            assert not model._compiled.run(ids, None, None, None, wrong)
        model.head.classifier.out_channels = 1
        with pytest.raises(ValueError, match=r"^PointwiseConv: out: expected shape \(1, 2\), got \(1, 1\)"):
            model(ids)


def test_copies_share_tied_tables(tmp_path):
    """The views of a table that the words and the decoder share are one array, which is copied once."""
    model = SqueezeBert.from_pretrained(write_model(tmp_path / "model", task="masked-lm"))
    for each in (model, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert np.shares_memory(each.words, each.head.decoder._weight)


@pytest.mark.parametrize("letter", ["a", "é"])  # of ASCII, the number of characters is that of bytes
@EVERY_BACKEND
def test_text_of_a_subclass(backend, letter):
    """Its own methods do not decide how many bytes the library reads."""

    class Text(str):
        def __len__(self):
            return 6000

        def encode(self, *_):
            return b"x" * 6000

    vocab = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", letter, "good", "movie"])}
    text = f"a good movie {letter}"
    with ops.backend(backend):
        plain, other = (Tokenizer({kind(word): i for word, i in vocab.items()}) for kind in (str, Text))
        expected = plain(text).input_ids
        assert other(text).input_ids == other(Text(text)).input_ids == expected
        assert settings_of({Text(word): i for word, i in vocab.items()}, plain.settings()) == settings_of(
            vocab, plain.settings()
        )


# Another thread writes.


WRITES = """
import sys, threading
import numpy as np
from squeezeops import backends

sys.setswitchinterval(1e-5)
backend = backends.load(sys.argv[1])
rng = np.random.default_rng(1)

def hold(name, call, array, at, bad):
    good, expected, done = array[at], call(), threading.Event()

    def write():
        while not done.is_set():
            array[at] = bad
            array[at] = good

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for _ in range(30):
            try:
                result = call()
            except ValueError as error:
                assert f": {name}: expected " in str(error), error
            else:
                assert np.array_equal(result, expected), name
    finally:
        done.set()
        thread.join()

count, table = 20_000, rng.standard_normal((10, 4), np.float32)
bytes_table = np.concatenate([np.ones((10, 4), np.int8), np.full((10, 1), 1, np.float32).view(np.int8)], 1)
for dtype, bad in ((np.int64, 2**40), (np.int64, -(2**40)), (np.int32, 2**31 - 1)):
    numbers = rng.integers(0, 10, count).astype(dtype)
    for rows in (table, bytes_table):
        hold("ids", lambda: backend.embedding(numbers, rows, None), numbers, -1, bad)

def sums():
    return backend.embedding_layer_norm(ids[0], table, ids[1], table, ids[2], table, None, None, 1e-5, None)

ids = [rng.integers(0, 10, count) for _ in range(3)]
for name, array in zip(("ids", "position_ids", "type_ids"), ids):
    hold(name, sums, array, -1, 2**40)

x = rng.standard_normal((1000, 4), np.float32)
keys, queries = (np.arange(0, 1001, 4, dtype=np.int32) for _ in range(2))
for name, array, offsets in (
    ("cu_seqlens", keys, (keys, None, None)),
    ("cu_seqlens_q", queries, (None, queries, keys)),
    ("cu_seqlens_k", keys, (None, queries, keys)),
):
    def attend():
        return backend.attention(x, x, x, 1, *offsets, None, None, "zero", *[None] * 6)

    hold(name, attend, array, 125, 2**30)
print("end")
"""


@EVERY_BACKEND
def test_ids_and_offsets_that_change(backend):
    """An op uses the numbers that it checked: it returns the result of good ones, or complains of bad ones."""
    run(WRITES, backend)


SIGNALS = """
import signal, sys
import numpy as np
from squeezeops import ops

ops.set_backend(sys.argv[1])
x, y = np.ones((3, 5), np.float32), np.ones((2, 3, 4), np.float32)
busy = False

def handle(*_):
    global busy
    if not busy:
        busy = True
        ops.tanh(y)
        busy = False

signal.signal(signal.SIGALRM, handle)
convs = [ops.PointwiseConv(np.ones((n, 5), np.float32)) for n in (2, 4)]
signal.setitimer(signal.ITIMER_REAL, 2e-4, 2e-4)
for _ in range(1000):
    assert ops.tanh(x).shape == (3, 5)
    assert [scales.shape for scales in ops.quantize_rows(x)] == [(3, 8), (3, 1)]
    assert [result.shape for result in ops.pointwise_convs(x, convs)] == [(3, 2), (3, 4)]
signal.setitimer(signal.ITIMER_REAL, 0)
print("end")
"""


@EVERY_BACKEND
def test_a_signal_handler_calls_an_op(backend):
    """In the middle of another, which allocates its own result."""
    run(SIGNALS, backend)


RESIZES = """
import array, gc, mmap, sys, threading, time, warnings
import numpy as np
from squeezeops import ops

warnings.simplefilter("ignore", DeprecationWarning)  # of setting a shape, since NumPy 2.5
sys.setswitchinterval(1e-5)
ops.set_backend(sys.argv[1])
ROWS, C = 300, 256
refused = 0

def holders():
    yield np.ones((ROWS, C), np.float32)
    if sys.argv[1] == "cffi":
        size = 4 * ROWS * C
        for owner in (bytearray(size), array.array("f", bytes(size)), mmap.mmap(-1, size)):
            yield owner

def changes(owner):
    def shape(*sizes):
        owner.shape = sizes
    if isinstance(owner, np.ndarray):
        return [lambda: owner.resize(3), lambda: shape(C, ROWS), lambda: shape(ROWS * C, 1), lambda: shape(ROWS, C)]
    if isinstance(owner, mmap.mmap):
        return [owner.close, lambda: owner.resize(1 << 20)]
    return [owner.clear, lambda: owner.extend(bytes(1 << 20)), owner.pop] if hasattr(owner, "clear") else [
        owner.pop, lambda: owner.extend([0.0] * (1 << 18))
    ]

def view(owner):
    return owner if isinstance(owner, np.ndarray) else memoryview(owner).cast("B").cast("f", (ROWS, C))

weight, bias, mask = np.ones((C, C), np.float32), np.ones(C, np.float32), np.ones((ROWS, C), np.float32)
conv = ops.PointwiseConv(weight, bias)
calls = (
    lambda x: ops.gelu(x),
    lambda x: ops.layer_norm(x, bias, bias),
    lambda x: ops.softmax(x, mask=mask),
    lambda x: ops.attention(x, x, x, num_heads=4, cu_seqlens=np.arange(0, ROWS + 1, 50, dtype=np.int32)),
    lambda x: conv(x),
    lambda x: ops.quantize_rows(x),
    lambda x: ops.layer_norm(x, out=x),
)
for call in calls:
    for owner in holders():
        done, count = threading.Event(), 0

        def change(owner=owner):
            global refused
            while not done.is_set():
                for each in changes(owner):
                    try:
                        each()
                    except (BufferError, ValueError, IndexError):
                        refused += 1

        thread = threading.Thread(target=change)
        thread.start()
        end = time.monotonic() + 0.05
        while time.monotonic() < end or count == 0:
            count += 1
            try:
                one = view(owner)
                call(one)
                if isinstance(one, memoryview):
                    one.release()
            except (BufferError, ValueError, TypeError):  # the thread was first
                pass
        done.set()
        thread.join()
assert refused
print("end")
"""


@EVERY_BACKEND
def test_another_thread_resizes(backend):
    """What is in use keeps its memory, and an op the shape that it checked."""
    run(RESIZES, backend)


TURNS = """
import sys, tempfile, warnings
from itertools import islice
from pathlib import Path
import numpy as np
from model_helpers import write_model
from op_helpers import parts
from op_table import TABLE
from squeezeops import ops
from squeezeops.squeezebert import SqueezeBert

warnings.simplefilter("ignore", DeprecationWarning)  # of setting a shape, since NumPy 2.5
ops.set_backend(sys.argv[1])
rng = np.random.default_rng(1)
changed = 0

def attend_bytes(num_heads, out=None, **flat):
    rows = [ops.QuantizedRows(flat.pop(name), flat.pop(name + "_scales")) for name in "qkv"]
    return ops.attention(*rows, num_heads=num_heads, out=out, **flat)

def convolve_bytes(values, scales, **rest):
    return conv(ops.QuantizedRows(values, scales), **rest)

def run_model(**inputs):
    return model(**inputs).logits

def floats(*shape):
    return rng.standard_normal(shape).astype(np.float32)

def calls_of_all_ops():
    for case in TABLE:
        for arguments in islice(case.calls(rng, 2), 8):
            yield case.call, arguments

def calls():
    rows = {}
    for name in "qkv":
        rows[name], rows[name + "_scales"] = ops.quantize_rows(floats(12, 16), groups=2)
    ends = {"value_scale": floats(16), "value_bias": floats(16)}
    offsets, mask = np.array([0, 5, 12], np.int32), rng.random(12) < 0.6
    yield attend_bytes, rows | ends | {"num_heads": 2, "cu_seqlens": offsets, "mask": mask, "out": floats(12, 16)}
    plain = {name: floats(12, 16) for name in ("q", "k", "v", "out")}
    yield ops.attention, plain | {"num_heads": 2, "cu_seqlens": offsets, "mask": mask}
    batch = {name: value.reshape(3, 4, -1) for name, value in rows.items()}
    yield attend_bytes, batch | ends | {"num_heads": 2, "mask": mask.reshape(3, 1, 1, 4)}
    flat = {name: rows[name][:, :8] if len(name) == 1 else rows[name] for name in rows}  # heads of up to 4 channels
    flat = {name: np.ascontiguousarray(value) for name, value in flat.items()}
    yield attend_bytes, flat | {"num_heads": 2, "cu_seqlens": offsets, "out": floats(12, 8)}
    yield attend_bytes, flat | {"num_heads": 2, "cu_seqlens": offsets, "out": floats(24, 8)}  # refused as it is
    yield convolve_bytes, {"values": rows["q"], "scales": rows["q_scales"], "residual": floats(12, 8)}
    yield ops.softmax, {"x": floats(3, 4, 5), "mask": floats(3, 4, 1), "axis": 1, "out": floats(3, 4, 5)}
    yield ops.pointwise_conv, {
        "x": floats(2, 4, 5), "weight": floats(6, 4), "bias": floats(6), "residual": floats(2, 6, 5),
        "layout": "NCW", "out": floats(2, 6, 5),
    }
    compiled = sys.argv[1] in ("native", "cffi")  # which read what a model is given by its address
    for dtype in (np.int64, np.int32, np.int8) if compiled else ():  # the same bytes each
        ids, types = (np.ones((2, 16 // np.dtype(dtype).itemsize), dtype) for _ in range(2))
        yield run_model, {"input_ids": ids, "attention_mask": np.ones(ids.shape, dtype), "token_type_ids": types}
    for dtype in (np.int64, np.bool_):
        ids, mask = np.array([[5, 6, 7], [8, 9, 3]]), np.array([[1, 0, 1], [1, 1, 1]], dtype)
        given = {"attention_mask": mask, "token_type_ids": 1 - ids % 2, "logits_mask": ids == 6}
        yield run_model, {"input_ids": ids} | given

def turn(array):
    array.shape = array.shape[::-1] if array.ndim != 1 else (array.size, 1)

def join(array):
    array.shape = (array.shape[0] // 2, 2 * array.shape[1])

def widen(array):
    array.dtype = np.complex128  # the widest: fewer elements

def reverse(array):
    array[...] = array[::-1].copy() if array.ndim else 1 - array

def flip(array):
    array[...] = 1 - array.astype(np.int8) if array.dtype == np.bool_ else array + 100  # other masks; ids too large

def run(call, arguments, array, change, moment):
    '''Call an op. At an event of its Python code, change an array; return whether, and the bits.'''
    global changed
    shape, dtype, values, left = array.shape, array.dtype, array.copy(), moment

    def event(frame, *_):
        nonlocal left
        where = frame.f_globals.get("__name__", "")
        if where in ("squeezeops.backends.numpy", "squeezeops.backends.numba"):  # kernels, which have thousands
            sys.setprofile(None)
            return
        if not where.startswith("squeezeops."):
            return
        left -= 1
        if left == 0:
            change(array)

    sys.setprofile(event)
    try:
        result = call(**arguments)
    except (TypeError, ValueError):
        result = None
    finally:
        sys.setprofile(None)
        array.dtype = dtype
        array.shape = shape
        array[...] = values
    result = None if result is None else [part.tobytes() for part in parts(result)]
    changed += left <= 0
    return left <= 0, result

conv = ops.PointwiseConv(floats(8, 8), groups=2, dtype="int8")
with tempfile.TemporaryDirectory() as folder:
    model = SqueezeBert.from_pretrained(write_model(Path(folder), ["O", "PER", "LOC"], task="token-classification"))
every = [*calls_of_all_ops(), *calls()]
changes = [(*call, turn) for call in every] + [(*call, widen) for call in calls()]
changes += [(*call, change) for call in every for change in (reverse, flip)]
changes += [(*call, join) for call in calls()]
for call, arguments, change in changes:
    for name, array in arguments.items():
        if not isinstance(array, np.ndarray) or not array.flags.c_contiguous:
            continue
        if change is widen and (array.shape[-1] if array.ndim else 1) * array.itemsize % 16:
            continue
        if change is join and (array.ndim != 2 or len(array) % 2):
            continue
        if change in (reverse, flip) and (array.dtype.char not in "?ilq" or not array.size):
            continue
        with np.errstate(all="ignore"):
            _, as_it_was = run(call, arguments, array, change, 10**9)
            more, as_changed = run(call, arguments, array, change, 1)
            assert as_it_was is not None or arguments["out"].shape == (24, 8), (call, name)
            moment = 1
            while more:
                moment += 1
                more, result = run(call, arguments, array, change, moment)
                assert result in (None, as_it_was, as_changed), (call, name, change, moment)
assert changed
print("end")
"""


@EVERY_BACKEND
def test_an_array_changed_at_any_moment(backend):
    """Its shape, dtype, ids, offsets or mask: the result is that of one array or the other, or an error."""
    run(TURNS, backend)


RELEASES = """
import sys, threading
import numpy as np
from squeezeops import ops

sys.setswitchinterval(1e-5)
ops.set_backend("cffi")
x = np.ones((400, 400), np.float32)
expected = ops.gelu(x).tobytes()
for _ in range(50):
    view = memoryview(bytearray(x.tobytes())).cast("f", (400, 400))
    thread = threading.Thread(target=view.release)
    thread.start()
    try:
        assert bytes(ops.gelu(view)) == expected
    except TypeError as error:  # the thread was first
        assert "x: expected an array of float32" in str(error), error
    thread.join()
print("end")
"""


@pytest.mark.skipif("cffi" not in ops.available_backends(), reason="cffi is not installed")
def test_another_thread_releases_a_view():
    run(RELEASES)


# The end of the interpreter.


ENDS = """
import sys, threading, time
import numpy as np
from squeezeops import ops

ops.set_backend(sys.argv[1])
ops.set_num_threads(1)
x = np.ones((1000, 1000), np.float32)
mask = np.ones((1000, 1), bool)  # which is expanded
running = threading.Barrier(3)

class Memory:
    def take(self, size):
        time.sleep(0.01)
        piece = np.zeros(size + 64, np.uint8)
        return piece[-piece.__array_interface__["data"][0] % 64 :][:size]

calls = {
    "gelu": lambda: ops.gelu(x),
    "softmax": lambda: ops.softmax(x[::-1], mask=mask),
    "PointwiseConv": lambda: ops.PointwiseConv(x[:64, :64], memory=Memory()),
}

def work(call=calls[sys.argv[2]]):
    call()
    running.wait()
    while True:
        call()

class Slow:
    def __del__(self, sleep=time.sleep):
        sleep(0.3)  # The interpreter is ending, and the threads come back from their ops.

slow = Slow()
for _ in range(2):
    threading.Thread(target=work, daemon=True).start()
running.wait()
print("end", flush=True)
"""


@EVERY_BACKEND
@pytest.mark.parametrize("op", ["gelu", "softmax", "PointwiseConv"])
def test_the_interpreter_ends_under_an_op(backend, op):
    for _ in range(3):
        run(ENDS, backend, op)


# Python code that an op runs while it converts its arguments.


HOOKS = """
import sys, warnings
import numpy as np
from squeezeops import ops

warnings.simplefilter("ignore", DeprecationWarning)  # of setting a shape, since NumPy 2.5
ops.set_backend(sys.argv[1])

class Hook(float):
    def __float__(self):
        self.run()
        return float.__add__(self, 0.0)

class Index:
    def __init__(self, value):
        self.value = value

    def __index__(self):
        self.run()
        return self.value

def shrink(array):
    array.resize(1, refcheck=False)  # the memory of a large array goes back to the system

def reshape(array):
    array.shape = array.shape[::-1] if array.ndim > 1 else (array.size, 1)

ROWS, C = 200, 1024  # each array has memory of its own from the system

def floats(*shape):
    return np.ones(shape, np.float32)

def cases():
    eps, scale, heads, groups = Hook(1e-5), Hook(0.5), Index(2), Index(2)
    yield lambda: (ops.layer_norm, {"x": floats(ROWS, C), "weight": floats(C), "bias": floats(C), "eps": eps})
    yield lambda: (ops.layer_norm, {
        "x": floats(ROWS, C), "residual": floats(ROWS, C),
        "eps": eps, "out": floats(ROWS, C),
    })
    yield lambda: (ops.rms_norm, {"x": floats(ROWS, C), "weight": floats(C), "eps": eps, "out": floats(ROWS, C)})
    yield lambda: (ops.l2_normalize, {"x": floats(ROWS, C), "eps": eps, "out": floats(ROWS, C)})
    yield lambda: (ops.softmax, {
        "x": floats(ROWS, C), "mask": np.ones((ROWS, C), bool),
        "scale": scale, "out": floats(ROWS, C),
    })
    yield lambda: (ops.softmax, {"x": floats(ROWS, C), "mask": floats(ROWS, C), "scale": scale})
    def three(*shape):
        return {name: floats(*shape) for name in "qkv"}

    yield lambda: (ops.attention, {**three(10_000, 6, 8), "num_heads": heads, "scale": scale})
    yield lambda: (ops.attention, {
        **three(60_000, 8),
        "num_heads": heads, "cu_seqlens": np.arange(0, 60_001, 6, dtype=np.int32),
    })
    yield lambda: (ops.attention_scores, {
        "q": floats(10_000, 6, 8), "k": floats(10_000, 6, 8),
        "num_heads": 2, "scale": scale,
    })
    yield lambda: (ops.quantize_rows, {"x": floats(ROWS, C), "groups": groups})
    yield lambda: (ops.pointwise_conv, {"x": floats(ROWS, C), "weight": floats(C, C // 2), "groups": groups})
    yield lambda: (ops.PointwiseConv, {"weight": floats(C, C // 2), "bias": floats(C), "groups": groups})
    ids = np.arange(100_000)
    yield lambda: (ops.embedding_layer_norm, {
        "ids": ids, "table": floats(100_000, 8), "position_ids": ids, "position_table": floats(100_000, 8),
        "type_ids": ids, "type_table": floats(100_000, 8), "weight": floats(8), "bias": floats(8), "eps": eps,
    })

def spoil(array):
    if array.dtype.kind == "i":
        array[:] = 2**31 - 2

for make in cases():
    for name, value in make()[1].items():
        for hook in [key for key, number in make()[1].items() if isinstance(number, (Hook, Index))]:
            for change in (shrink, reshape, spoil) if isinstance(value, np.ndarray) else ():
                function, arguments = make()
                for other in arguments.values():
                    if isinstance(other, (Hook, Index)):
                        other.run = lambda: None
                arguments[hook].run = lambda: change(arguments[name])
                try:
                    function(**arguments)
                except (TypeError, ValueError, MemoryError, IndexError):
                    pass
print("end")
"""


@EVERY_BACKEND
def test_numbers_that_change_arrays(backend):
    """`__float__` and `__index__` run before an op looks at its arrays, or on arrays that it does not use."""
    run(HOOKS, backend)


BUFFERS = """
import sys, warnings
import numpy as np
from squeezeops import ops

warnings.simplefilter("ignore", DeprecationWarning)  # of setting a shape, since NumPy 2.5
ops.set_backend(sys.argv[1])
ROWS, C = 200, 1024  # each array has memory of its own from the system
ran = 0

class Hook:
    def __init__(self, array):
        self.array, self.run, self.released = array, lambda: None, lambda: None

    def __buffer__(self, flags):
        global ran
        ran += 1
        self.run()
        return memoryview(self.array)

    def __release_buffer__(self, view):
        self.released()

class Array(np.ndarray):
    run = staticmethod(lambda: None)

    def __buffer__(self, flags):
        self.run()
        return np.ndarray.__buffer__(self, flags)

    @property
    def dtype(self):
        self.run()
        return np.ndarray.dtype.__get__(self)

def shrink(array):
    array.resize(1, refcheck=False)  # the memory of a large array goes back to the system

def reshape(array):
    array.shape = array.shape[::-1] if array.ndim > 1 else (array.size, 1)

def floats(*shape):
    return np.ones(shape, np.float32)

def cases():
    yield lambda: (ops.layer_norm, [floats(ROWS, C), floats(C), floats(C)], {"out": floats(ROWS, C)})
    yield lambda: (ops.softmax, [floats(ROWS, C)], {"mask": np.ones((ROWS, C), bool), "out": floats(ROWS, C)})
    yield lambda: (ops.attention, [floats(6000, 8) for _ in "qkv"], {
        "num_heads": 2, "cu_seqlens": np.arange(0, 6001, 6, dtype=np.int32), "out": floats(6000, 8),
    })
    yield lambda: (ops.pointwise_conv, [floats(ROWS, C), floats(C, C), floats(C)], {"out": floats(ROWS, C)})
    yield lambda: (ops.embedding, [np.zeros(100_000, np.int64), floats(10, 16)], {"out": floats(100_000, 16)})
    yield lambda: (ops.PointwiseConv, [floats(C, C), floats(C)], {})
    convs = [ops.PointwiseConv(floats(C, C), floats(C)) for _ in range(2)]
    yield lambda: (lambda x, a, b: ops.pointwise_convs(x, convs, out=(a, b)),
                   [floats(ROWS, C), floats(ROWS, C), floats(ROWS, C)], {})
    yield lambda: (lambda x, a: ops.pointwise_convs(x, convs, out=(None, a)), [floats(ROWS, C), floats(ROWS, C)], {})
    yield lambda: (lambda x, out: convs[0](x, out=out), [floats(ROWS, C), floats(ROWS, C)], {})
    yield lambda: (lambda x, values, scales: ops.quantize_rows(x, out=ops.QuantizedRows(values, scales)),
                   [floats(ROWS, C), np.empty((ROWS, C), np.uint8), floats(ROWS, 1)], {})
    packed = convs[0].packed
    yield lambda: (lambda p, b: ops.PointwiseConv.from_packed(p, b, in_channels=C, out_channels=C),
                   [np.frombuffer(bytearray(packed), np.uint8).copy(), floats(C)], {})

for make in cases():
    _, positional, keywords = make()
    names = [*range(len(positional)), *keywords]
    for hooked in names:
        for changed in names:
            for wrap in (Hook, lambda array: array.view(Array)):
                for change in (shrink, reshape):
                    function, positional, keywords = make()
                    arguments = dict(enumerate(positional)) | keywords
                    if not isinstance(arguments[hooked], np.ndarray) or not isinstance(arguments[changed], np.ndarray):
                        continue
                    target = arguments[changed]
                    hook = arguments[hooked] = wrap(arguments[hooked])
                    if hooked == changed and wrap is not Hook:
                        continue
                    def run(target=target, change=change):
                        try:
                            change(target)
                        except (ValueError, BufferError):
                            pass  # it is not its own memory, or a view of it is in use
                    hook.run = run
                    hook.released = run
                    try:
                        function(*[arguments[i] for i in range(len(positional))],
                                 **{name: arguments[name] for name in keywords})
                    except (TypeError, ValueError, MemoryError, IndexError):
                        pass
                    hook.run = lambda: None
assert ran or sys.argv[1] != "cffi"
print("end")
"""

if sys.version_info >= (3, 12):  # which has `__buffer__`

    @EVERY_BACKEND
    def test_buffers_of_other_memory(backend):
        """An array of NumPy has its own memory, whatever its class returns for it."""

        class Other(np.ndarray):
            def __buffer__(self, flags):
                return memoryview(np.ones((500, 1000), np.float32)[:, ::2])

        with ops.backend(backend):
            x = np.ones((1, 1), np.float32)
            assert_same_bits(ops.tanh(x.view(Other)), ops.tanh(x))

    @EVERY_BACKEND
    def test_buffers_that_change_arrays(backend):
        """`__buffer__` and `__release_buffer__` run before an op looks at its arrays, or after it has used them."""
        run(BUFFERS, backend)
