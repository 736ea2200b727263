"""The caller's floating-point modes do not change results, and calls do not change the modes.

Tested with flush-to-zero and another rounding mode, set before or after the first call, on pool and Python threads; and
with all floating-point exceptions as traps, which would end the process.
"""

import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from limits import seconds
from op_helpers import assert_same_bits, native, parts, run_python
from op_table import TABLE

from squeezeops import ops

pytestmark = [
    pytest.mark.skipif(native is None, reason="built without the native extension"),
    pytest.mark.skipif(os.uname().machine != "x86_64", reason="sets the control register of x86"),
]

ROUND_UP, FLUSH = 0x4000, 0x8040  # in MXCSR; FLUSH is FTZ and DAZ


def control_register():
    """Functions that set and get MXCSR of the calling thread, written as machine code."""
    import ctypes
    import mmap

    code = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    code.write(b"\x0f\xae\x17\xc3" + b"\x0f\xae\x1f\xc3")  # ldmxcsr [rdi]; ret; stmxcsr [rdi]; ret
    address = ctypes.addressof(ctypes.c_char.from_buffer(code))
    function = ctypes.CFUNCTYPE(None, ctypes.POINTER(ctypes.c_uint32))
    load, store = function(address), function(address + 4)

    def put(value):
        load(ctypes.byref(ctypes.c_uint32(value)))

    def get(keep=code):
        word = ctypes.c_uint32()
        store(ctypes.byref(word))
        return word.value

    return put, get


@pytest.fixture
def mxcsr():
    put, get = control_register()
    before = get()
    yield put, get
    put(before)


# Every op with each of its options: subnormal values, and numbers whose nearest float32 is below or above.
CALLS = [(op.call, arguments) for op in TABLE for arguments in op.calls(np.random.default_rng(5), 60)]


def run():
    with ops.backend("native"):
        return [part for call, arguments in CALLS for part in parts(call(**arguments))]


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("mode", [ROUND_UP, FLUSH, ROUND_UP | FLUSH], ids=["up", "flush", "both"])
def test_modes_of_the_caller(mxcsr, mode, threads):
    put, get = mxcsr
    before = ops.get_num_threads()
    expected = run()
    try:
        ops.set_num_threads(threads)
        put(0x1F80 | mode)
        results = run()
        after = get()
    finally:
        put(0x1F80)
        ops.set_num_threads(before)
    assert after & 0xFFC0 == 0x1F80 | mode, "the caller's modes were not restored"
    for result, one in zip(results, expected, strict=True):
        assert_same_bits(result, one)


def test_modes_take_effect(mxcsr):
    """Flush-to-zero and rounding change NumPy's results. If this fails, the other tests prove nothing."""
    put, _ = mxcsr
    tiny = np.full(64, 1e-38, np.float32)
    small = tiny * np.float32(0.1)
    put(0x1F80 | FLUSH | ROUND_UP)
    flushed, up = tiny * np.float32(0.1), np.ones(64, np.float32) + np.float32(1e-9)
    put(0x1F80)
    assert (small > 0).all() and (flushed == 0).all() and (up > 1).all()


def test_modes_of_two_threads(mxcsr):
    expected, results = run(), {}
    put, _ = mxcsr

    def thread(mode):
        put(0x1F80 | mode)
        results[mode] = [run() for _ in range(2)]

    threads = [threading.Thread(target=thread, args=(mode,)) for mode in (ROUND_UP | FLUSH, 0)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(results) == 2
    for runs in results.values():
        for one in runs:
            for result, want in zip(one, expected, strict=True):
                assert_same_bits(result, want)


def test_modes_set_before_the_first_call(tmp_path):
    """Worker threads inherit the modes of the thread that starts them."""
    code = f"""
import sys
sys.path.insert(0, {os.path.dirname(__file__)!r})
import numpy as np
from test_float_environment import control_register, run, FLUSH, ROUND_UP, ops
if sys.argv[1] == "modes":
    put, get = control_register()
    ops.set_num_threads(4)
    put(0x1F80 | FLUSH | ROUND_UP)
    results = run()
    put(0x1F80)
else:
    results = run()
np.savez(sys.argv[2], *results)
"""
    for mode in ("modes", "plain"):
        subprocess.run([sys.executable, "-c", code, mode, tmp_path / f"{mode}.npz"], check=True, timeout=seconds(120))
    with np.load(tmp_path / "modes.npz") as modes, np.load(tmp_path / "plain.npz") as plain:
        assert len(modes.files) >= len(CALLS)
        for name in modes.files:
            assert_same_bits(modes[name], plain[name])


WITH_TRAPS = """
import math, sys
import numpy as np
from c_model import CError, CModel, in_memory
from test_converted_format import VERSION_1
from test_float_environment import CALLS, control_register, ops
from squeezeops.pipelines import default_model
from squeezeops.squeezebert.files.safetensors import read_header

put, get = control_register()
# Each exception is a trap, even that of an inexact result; for cffi, which computes with numbers, the usual ones.
TRAPS = 0x1100 if sys.argv[1] == "cffi" else 0

def trap(call, *args, **kwargs):
    put(TRAPS)
    try:
        return call(*args, **kwargs)
    except (ValueError, CError):
        return None
    finally:
        assert get() & 0xFFC0 == TRAPS
        put(0x1F80)

def spoiled(array):
    array = array.copy()
    bits = array.reshape(-1).view(f"u{array.itemsize}")
    for first, value in enumerate((math.nan, -math.inf, 1e-40, 65504)):
        array.reshape(-1)[first::7] = value
    bits[4::7] = 0x7F800001 if array.itemsize == 4 else 0x7C01  # a signalling NaN
    return array

def ops_of(backend, threads):
    ops.set_backend(backend)
    ops.set_num_threads(threads)
    for call, arguments in CALLS:
        trap(call, **arguments)
        for name, value in arguments.items():
            if isinstance(value, float):
                for bad in (math.nan, math.inf, -1.0, 5e-324, 1e300):
                    trap(call, **{**arguments, name: bad})
            elif isinstance(value, np.ndarray) and value.dtype.kind == "f":
                trap(call, **{**arguments, name: spoiled(value)})

def models():
    tiny = VERSION_1.read_bytes()
    for old, new in ((b": 12", b": 12"), (b": 12", b":1e9"), (b": 12", b":1.5"), (b": 0.05,", b":1e-319")):
        assert old in tiny
        if model := trap(CModel, in_memory(tiny.replace(old, new))):
            for text in ("The good movies!", "bad " * 20, b"\\xff", ""):
                trap(model.classify, text)
    file = default_model() / "model.safetensors"
    data, bias = in_memory(file.read_bytes()), read_header(file)[0]["classifier.bias"]
    for bad in (math.nan, -math.inf, 3e38):
        data[bias.start : bias.stop].view(np.float32)[:] = bad
        trap(CModel(data).classify, "a good movie")

models() if sys.argv[1] == "models" else ops_of(sys.argv[1], int(sys.argv[2]))
print("end")
"""


@pytest.mark.parametrize("what", [("native", "1"), ("native", "2"), ("cffi", "1"), ("models",)], ids=str)
def test_traps_of_the_caller(what):
    """NaN and what overflows, underflows or is rounded must raise no SIGFPE, wherever the library meets it."""
    done = run_python("-c", WITH_TRAPS, *what)
    assert (done.returncode, done.stdout, done.stderr) == (0, "end\n", "")
