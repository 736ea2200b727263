"""The cffi backend: any buffer, no NumPy, both modes of cffi, the bits of the native backend."""

import ctypes
import gc
import json
import mmap
import re
import struct
import sys
import threading
from array import array
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import buffer_calls
import golden_bits
import numpy as np
import pytest
from limits import seconds
from op_helpers import ALL_ISAS, EXACT_ISAS, ISAS, assert_same_bits, golden_isas, native, normal, ran_on, run_python
from pages import blocks

import squeezeops
from squeezeops import backends, ops
from squeezeops.benchmark.measure import without_garbage_collection

pytestmark = [
    pytest.mark.skipif(native is None, reason="built without the native extension"),
    pytest.mark.skipif("cffi" not in backends.available(), reason="cffi is not installed"),
]
WITHOUT_API_MODE = "import sys; sys.modules['squeezeops._cffi'] = None\n"


@pytest.fixture(autouse=True)
def on_cffi():
    with ops.backend("cffi"):
        yield


def view(array):
    """The array as a memoryview, so that nothing tells that it is NumPy's."""
    return memoryview(array)


def as_array(result):
    assert type(result) is memoryview and result.format == "f"
    return np.asarray(result)


# Bits.


@pytest.mark.parametrize("isa", [isa for isa in ALL_ISAS if isa not in golden_bits.TO_TOLERANCE])
def test_golden_bits(isa):
    golden = json.loads(golden_bits.FILE.read_text())
    native.force_isa(isa)  # there is one library under both backends
    try:
        for name, run in golden_bits.all_cases().items():
            if isa in golden_isas(name):
                assert golden_bits.digest(run()) == golden[name], name
                assert ran_on(isa) or not golden_bits.ends_with_its_kernels(name), name
    finally:
        native.force_isa(None)


def test_golden_bits_in_abi_mode():
    code = WITHOUT_API_MODE + (
        "import json, golden_bits; from squeezeops import ops; from squeezeops.backends import _buffers\n"
        "ops.set_backend('cffi'); found = golden_bits.compute()\n"
        "print(_buffers.mode, found == json.loads(golden_bits.FILE.read_text()))"
    )
    result = run_python("-c", code, SQUEEZEOPS_ISA=EXACT_ISAS[0])
    assert result.stdout.split() == ["ABI", "True"], result.stderr


# One library.


def test_shares_threads_and_processor_with_native():
    with ops.backend("native"):
        info, before = ops.cpu_info(), ops.get_num_threads()
    assert ops.cpu_info() == info and ops.get_num_threads() == before
    try:
        ops.set_num_threads(before + 1)
        assert native.get_num_threads() == before + 1
    finally:
        ops.set_num_threads(before)


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="the system lists no mapped files in /proc")
def test_one_library_is_loaded():
    code = (
        "import squeezeops._native; from squeezeops.backends import cffi, _buffers\n"
        "lines = open('/proc/self/maps').read().splitlines()\n"
        "print(_buffers.mode, *{line.split()[-1] for line in lines if 'libsqueezeops' in line})"
    )
    for prefix, mode in (("", "API"), (WITHOUT_API_MODE, "ABI")):
        result = run_python("-c", prefix + code)
        assert result.stdout.split() == [mode, squeezeops.get_library()], result.stderr


@pytest.mark.parametrize("isa", ISAS)
def test_forcing_by_environment(isa):
    code = "from squeezeops.backends import cffi; print(cffi.cpu_info()['isa'])"
    assert run_python("-c", code, SQUEEZEOPS_ISA=isa).stdout.strip() == isa
    result = run_python("-c", code.replace("cpu_info()['isa']", "tanh(bytearray(), None)"), SQUEEZEOPS_ISA="avx1024")
    assert "TypeError: tanh: x: expected an array of float32, got bytearray of format 'B'" in result.stderr
    result = run_python("-c", code, SQUEEZEOPS_ISA="avx1024")
    assert "ValueError: cpu_info: SQUEEZEOPS_ISA: expected an ISA that runs here (" in result.stderr


def test_another_version_of_the_library_is_an_error():
    code = "import squeezeops._version as v; v.__version__ = '0.0.1'; import squeezeops.backends.{}"
    for backend in ("cffi", "native"):
        error = run_python("-c", code.format(backend)).stderr
        assert f"ImportError: libsqueezeops: expected version 0.0.1, got {squeezeops.__version__}" in error


# Without NumPy, without cffi.


@pytest.mark.parametrize("mode", ["API", "ABI"])
def test_all_ops_with_numpy_blocked(mode):
    result = run_python(buffer_calls.__file__, mode)
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["mode"] == mode and found["numpy"] is None
    with ops.backend("native"):
        expected = buffer_calls.results(ops, lambda format, values, *shape: np.array(values, format).reshape(shape))
    called = {name.split()[0] for name in expected}
    about_backends = {"available_backends", "backend", "get_backend", "set_backend", "QuantizedRows", "RotatedRows"}
    assert called == set(ops.__all__) - about_backends - {"cpu_info", "get_num_threads", "set_num_threads"}
    assert found["results"].keys() == expected.keys()
    for name, parts in expected.items():
        assert found["results"][name] == [[list(part.shape), part.tobytes().hex()] for part in parts], name
        assert all(np.abs(part).max() > 0.01 for part in parts)


def test_the_documents_example_with_numpy_blocked():
    example = blocks("docs/c-library.md", "python")[0].text
    printed = re.findall(r"^print\(.*\)  # (.*)$", example, re.MULTILINE)
    result = run_python("-c", "import sys; sys.modules['numpy'] = None\n" + example)
    assert result.stdout.splitlines() == printed and len(printed) == 2, result.stderr


def test_cffi_is_not_installed():
    code = (
        "import sys; sys.modules['_cffi_backend'] = sys.modules['cffi'] = None\n"
        "import squeezeops; print(squeezeops.available_backends(), flush=True); squeezeops.set_backend('cffi')"
    )
    result = run_python("-c", code)
    assert "'cffi'" not in result.stdout and "'native'" in result.stdout
    assert re.search(r"ValueError: .*got 'cffi' \(to get it: .*pip install 'squeezeops\[cffi\]'\)$", result.stderr)


# Buffers.


def c_floats(array):
    """A ctypes array of two axes."""
    rows, columns = array.shape
    return (ctypes.c_float * columns * rows).from_buffer_copy(array.tobytes())


def mapped(array):
    memory = mmap.mmap(-1, max(array.nbytes, 1))
    memory[:] = array.tobytes()
    return memoryview(memory).cast("f", array.shape)


def unaligned(array):
    """Read-only too."""
    return memoryview(np.frombuffer(b"x" + array.tobytes(), array.dtype, array.size, 1).reshape(array.shape))


def test_float16(rng):
    weight, table = (normal(rng, 5, 4).astype(np.float16) for _ in range(2))
    x, ids = normal(rng, 3, 4), array("i", [4, 0])
    with ops.backend("native"):
        convolved, gathered = ops.PointwiseConv(weight)(x), ops.embedding(np.asarray(ids), table)
    for w, t in ((view(weight), view(table)), (view(weight.view(np.uint16)), view(table.view(np.uint16)))):
        assert_same_bits(as_array(ops.PointwiseConv(w)(view(x))), convolved)
        assert_same_bits(as_array(ops.embedding(ids, t)), gathered)


KINDS = {
    "memoryview": view,
    "bytes": lambda a: memoryview(a.tobytes()).cast("f", a.shape),
    "bytearray": lambda a: memoryview(bytearray(a.tobytes())).cast("f", a.shape),
    "array.array": lambda a: memoryview(array("f", a.ravel())).cast("B").cast("f", a.shape),
    "ctypes": c_floats,
    "mmap": mapped,
    "unaligned": unaligned,
    "Fortran order": lambda a: memoryview(np.asfortranarray(a)),
    "strided": lambda a: memoryview(np.repeat(a, 2, axis=1)[:, ::2]),
    "backwards": lambda a: memoryview(a[::-1, ::-1].copy()[::-1, ::-1]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_of_buffers(rng, kind):
    x, residual, weight = normal(rng, 6, 40), normal(rng, 6, 24), normal(rng, 24, 10)
    made = [KINDS[kind](a) for a in (x, residual, weight)]
    with ops.backend("native"):
        expected = ops.pointwise_conv(x, weight, groups=4, residual=residual), ops.softmax(x, mask=x)
    result = ops.pointwise_conv(made[0], made[2], groups=4, residual=made[1])
    assert_same_bits(as_array(result), expected[0])
    assert_same_bits(as_array(ops.softmax(made[0], mask=made[0])), expected[1])
    assert (
        repr(ops.PointwiseConv(made[2], groups=4))
        == "PointwiseConv(40, 24, groups=4, dtype='float32', bias=False, bytes=2560)"
    )
    # One NumPy array among the arguments makes a NumPy result.
    result = ops.pointwise_conv(made[0], weight, groups=4, residual=made[1])
    assert type(result) is np.ndarray
    assert_same_bits(result, expected[0])


def test_one_axis():
    x = array("f", [1, 2, 3, 4])
    with ops.backend("native"):
        expected = ops.tanh(np.asarray(x))
    for buffer in (x, (ctypes.c_float * 4)(*x), memoryview(array("f", [1, 0, 2, 0, 3, 0, 4, 0]))[::2]):
        assert_same_bits(as_array(ops.tanh(buffer)), expected)


def test_no_axes(rng):
    x = normal(rng, 1).reshape(())
    result = ops.gelu(memoryview(x))
    assert result.shape == ()
    with ops.backend("native"):
        assert_same_bits(as_array(result), ops.gelu(x))


@pytest.mark.parametrize("letter", ["i", "l", "q"])
def test_ids(rng, letter):
    table = normal(rng, 9, 5).astype(np.float16)
    for ids in (array(letter, [8, 0, 3]), struct.pack(f"3{letter}", 8, 0, 3)):
        buffer = memoryview(ids).cast("B").cast(letter)
        assert_same_bits(as_array(ops.embedding(buffer, memoryview(table))), table[[8, 0, 3]].astype(np.float32))
    matrix = memoryview(np.array([[8, 0, 3], [1, 1, 2]], letter)[:, ::2])
    result = ops.embedding(matrix, memoryview(table))
    assert_same_bits(as_array(result), table[[[8, 3], [1, 2]]].astype(np.float32))


BOOLS = {
    "bytes": lambda keep: bytes(keep),
    "bytearray": lambda keep: bytearray(keep),
    "array.array": lambda keep: array("B", keep),
    "bools": lambda keep: memoryview(bytes(keep)).cast("?"),
    "ctypes": lambda keep: (ctypes.c_bool * len(keep))(*keep),
    "any byte but 0": lambda keep: bytes(17 * k for k in keep),
}


@pytest.mark.parametrize("kind", BOOLS)
def test_bytes_are_masks(rng, kind):
    keep = [1, 0, 1, 1, 0]
    x, q = normal(rng, 3, 5), normal(rng, 5, 8)
    mask, given = np.array(keep, bool), BOOLS[kind](keep)
    with ops.backend("native"):
        softmax, pooled = ops.softmax(x, mask=mask), ops.mean_pool(q, mask=mask)
        offsets = np.array([0, 5], np.int32)
        attended = ops.attention(q, q, q, num_heads=2, cu_seqlens=offsets, mask=mask)
    assert_same_bits(as_array(ops.softmax(view(x), mask=given)), softmax)
    assert_same_bits(as_array(ops.mean_pool(view(q), mask=given)), pooled)
    result = ops.attention(*[view(q)] * 3, num_heads=2, cu_seqlens=array("i", [0, 5]), mask=given)
    assert_same_bits(as_array(result), attended)


@pytest.mark.parametrize("dtype", [bool, np.float32])
def test_masks_broadcast(rng, dtype):
    shapes = [(), (1,), (7,), (5, 1), (1, 7), (5, 7), (3, 1, 1), (3, 1, 7), (1, 5, 1), (3, 5, 7)]
    x, q, k = normal(rng, 2, 3, 5, 7), normal(rng, 2, 5, 12), normal(rng, 2, 7, 12)
    for shape in [*shapes, (2, 1, 1, 1), (2, 3, 1, 7), (1, 3, 5, 7), (2, 1, 5, 1), (2, 3, 5, 7)]:
        mask = np.asarray(normal(rng, *shape))
        if dtype is bool:
            mask = np.asarray(mask > -0.3)
        with ops.backend("native"):
            expected = ops.softmax(x, mask=mask), ops.attention(q, k, k, num_heads=3, mask=mask)
            scores = ops.attention_scores(q, k, num_heads=3, mask=mask)
        assert_same_bits(as_array(ops.softmax(view(x), mask=view(mask))), expected[0])
        result = ops.attention(view(q), view(k), view(k), num_heads=3, mask=view(mask))
        assert_same_bits(as_array(result), expected[1])
        assert_same_bits(as_array(ops.attention_scores(view(q), view(k), num_heads=3, mask=view(mask))), scores)


def test_no_elements():
    """Also where a mask would have to grow to none."""
    for shape in ((0,), (0, 4), (4, 0), (3, 0, 2)):
        assert ops.tanh(memoryview(np.zeros(shape, np.float32))).shape == shape
        x = memoryview(np.zeros((2, 4, *shape), np.float32))
        mask = memoryview(np.ones((2, 1, *(1 for _ in shape)), bool))
        assert ops.softmax(x, mask=mask).shape == x.shape
    x = np.zeros((0, 3, 8), np.float32)
    assert ops.attention(view(x), view(x), view(x), num_heads=2).shape == x.shape
    chained = ops.layer_norm(ops.tanh(view(x)))  # a result is an argument
    assert chained.shape == x.shape
    assert (
        ops.pointwise_conv(view(np.zeros((2, 0), np.float32)), view(np.zeros((3, 0), np.float32))).tolist()
        == [[0] * 3] * 2
    )


def test_no_elements_in_a_python_without_ctypes():
    """Only ctypes describes such memory to a memoryview. NumPy needs none."""
    code = (
        "import sys; sys.modules['_ctypes'] = None\n"
        "from squeezeops import ops\n"
        "x = memoryview(bytearray(12)).cast('f', (1, 3)); print(ops.tanh(x).shape)\n"
        "try: ops.tanh(x[:0])\nexcept ImportError as error: print(error)\n"
        "import numpy; print(ops.tanh(numpy.zeros((0, 3), numpy.float32)).shape)\n"
    )
    result = run_python("-c", code, SQUEEZEOPS_BACKEND="cffi")
    assert result.stdout.splitlines() == [
        "(1, 3)",
        "tanh: expected ctypes for a result of shape (0, 3), got a Python without it: give NumPy arrays",
        "(0, 3)",
    ], result.stderr


# Results.


def test_out_may_be_any_buffer(rng):
    x = normal(rng, 3, 4)
    with ops.backend("native"):
        expected = ops.gelu(x).tobytes()
    memory = bytearray(48)
    outs = [
        np.zeros((3, 4), np.float32),
        memoryview(memory).cast("f", (3, 4)),
        (ctypes.c_float * 4 * 3)(),
        mapped(0 * x),
    ]
    for out in outs:
        for given in (x, view(x)):
            memoryview(out).cast("B")[:] = bytes(48)
            assert ops.gelu(given, out=out) is out
            assert memoryview(out).tobytes() == expected
    flat = array("f", bytes(48))
    assert ops.gelu(array("f", x.ravel()), out=flat) is flat and flat.tobytes() == expected
    same = memoryview(bytearray(x.tobytes())).cast("f", (3, 4))
    assert ops.gelu(same, out=same) is same and same.tobytes() == expected


X = memoryview(bytes(48)).cast("f", (3, 4))
FLOAT32 = "an array of float32, got "
BIG_ENDIAN = ctypes.c_float.__ctype_be__ * 4 * 3
BAD_OUT = {
    "too small": (lambda: array("f", bytes(44)), ValueError, r"shape \(3, 4\), got \(11,\)"),
    "too large": (lambda: memoryview(bytearray(64)).cast("f", (4, 4)), ValueError, r"shape \(3, 4\), got \(4, 4\)"),
    "read-only": (lambda: X, ValueError, "a writeable array, got a read-only one"),
    "bytes": (lambda: bytes(48), TypeError, FLOAT32 + "bytes of format 'B'"),
    "double": (lambda: array("d", bytes(96)), TypeError, FLOAT32 + "array of format 'd'"),
    "int": (lambda: array("i", bytes(48)), TypeError, FLOAT32 + "array of format 'i'"),
    "swapped": (BIG_ENDIAN, TypeError, FLOAT32 + "c_float_be_Array_4_Array_3 of format '>f'"),
    "not contiguous": (
        lambda: memoryview(np.zeros((4, 3), np.float32).T), ValueError, r"a C-contiguous array, got strides \(4, 12\)",
    ),
    "unaligned": (
        lambda: memoryview(np.frombuffer(bytearray(49), np.float32, 12, 1).reshape(3, 4)), ValueError,
        "an aligned array, got an unaligned one",
    ),
    "list": (lambda: [0.0] * 12, TypeError, FLOAT32 + "list"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD_OUT)
def test_bad_out(what):
    make, exception, message = BAD_OUT[what]
    for op in (ops.tanh, ops.gelu, ops.layer_norm, ops.softmax, ops.l2_normalize):
        with pytest.raises(exception, match=rf"^{op.__name__}: out: expected {message}$"):
            op(X, out=make())


def test_wrong_elements():
    released = memoryview(bytes(16)).cast("f")
    released.release()
    for value, got in [
        (bytes(16), "bytes of format 'B'"),
        (array("d", [1]), "array of format 'd'"),
        (memoryview(b"abcd").cast("c"), "memoryview of format 'c'"),
        (released, "memoryview"),
        (np.float32(1), r"a float32 scalar \(numpy.atleast_1d\(x\) is an array\)"),
        (np.zeros(2), "float64"),
        (np.zeros(2, "M8[s]"), r"datetime64\[s\]"),
        ([1.0], "list"),
        (None, "NoneType"),
        ("text", "str"),
    ]:
        with pytest.raises(TypeError, match=f"^tanh: x: expected {FLOAT32}{got}$"):
            ops.tanh(value)


def test_nothing_is_held_after_a_call():
    """An array.array that someone holds cannot grow."""
    x, bias = array("f", [1, 2, 3, 4]), array("f", [1, 2])
    conv = ops.PointwiseConv(np.ones((2, 4), np.float32), bias)
    out = array("f", bytes(8))
    conv(x, out=out)
    for wrong in (x[:3], array("d", [1])):
        with pytest.raises((ValueError, TypeError)):
            conv(wrong, out=out)
    with pytest.raises(ValueError):
        conv(x, out=x)
    for given in (x, out):
        given.append(0)
    bias.append(0)
    assert conv.out_channels == 2  # it is still there, with a copy of the bias


def test_garbage_cycles_with_buffers():
    """An exception that refers to itself leaves its frames, with all that they hold, to the garbage collector."""
    calls = [
        lambda: ops.embedding(array("i", [99]), X, out=memoryview(bytearray(16)).cast("f", (1, 4))),
        lambda: ops.PointwiseConv(X)(memoryview(bytearray(48)).cast("f", (3, 4)), residual=X),
    ]
    with without_garbage_collection():
        for call in calls * 50:
            try:
                call()
            except ValueError as error:
                error.itself = error
        assert gc.collect() > 0


@pytest.mark.parametrize("shape", [(2**62, 4), (2**40, 2**30)])
def test_no_memory_for_the_result(shape):
    from squeezeops.backends import _buffers

    with pytest.raises(MemoryError):
        _buffers.allocate("op", shape)


# Threads.


def test_many_callers_at_once(rng):
    x, w = normal(rng, 200, 96), normal(rng, 192, 96)
    with ops.backend("native"):
        expected = ops.pointwise_conv(x, w, activation="gelu").tobytes()
    begin = threading.Barrier(4)

    def call():
        with ops.backend("cffi"):
            begin.wait()
            return [ops.pointwise_conv(view(x), view(w), activation="gelu").tobytes() for _ in range(10)]

    with ThreadPoolExecutor(4) as pool:
        for future in [pool.submit(call) for _ in range(4)]:
            assert set(future.result(timeout=seconds(100))) == {expected}


@pytest.mark.skipif(sys.platform == "win32", reason="the system has no fork")
def test_fork():
    code = (
        "import os; from array import array; from squeezeops.backends import cffi\n"
        "cffi.set_num_threads(3)\n"
        "x = memoryview(array('f', range(400 * 96))).cast('B').cast('f', (400, 96))\n"
        "w = x[:96]\n"
        "run = lambda: cffi.pointwise_conv(x, w, None, 1, 'tanh', None, None).tobytes()\n"
        "expected, child = run(), os.fork()\n"
        "if child == 0: os._exit(run() != expected)\n"
        "print(os.waitpid(child, 0)[1], run() == expected)"
    )
    assert run_python("-W", "ignore", "-c", code).stdout.split() == ["0", "True"]
