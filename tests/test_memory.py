"""Kernels touch no memory but their own: arrays next to unreadable pages, inputs on pages that cannot be written.

A kernel that loads a whole vector where there is less, and then ignores the excess, gives right results and looks fine
next to the bands of NaN of the other tests. Here the processor stops it. That ends the process, so it is another one.
"""

import ctypes
import json
import mmap
import signal
import sys
from inspect import signature

import golden_bits
import numpy as np
import pytest
from op_helpers import ALL_ISAS, Variant, golden_isas, isas_with, run_python

from squeezeops import ops

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks Linux to protect pages")

PAGE = mmap.PAGESIZE
NONE, READ, WRITE = 0, 1, 2
# The ops that take arrays; `pointwise_convs` takes convolutions too.
FUNCTIONS = [name for name in ops.__all__ if "out" in signature(getattr(ops, name)).parameters]
FUNCTIONS.remove("pointwise_convs")


def fenced(array, side, writeable=False):
    """A copy of `array` that ends where an unreadable page begins, or begins where one ends."""
    if array.size == 0:
        return array
    pages = -(-array.nbytes // PAGE)
    memory = mmap.mmap(-1, (pages + 2) * PAGE)
    start = PAGE if side == "before" else (pages + 1) * PAGE - array.nbytes
    copied = np.frombuffer(memory, array.dtype, array.size, start).reshape(array.shape)
    copied[...] = array
    address = copied.__array_interface__["data"][0] - start
    for page, count, protection in [
        (0, 1, NONE),
        (1, pages, READ | (WRITE if writeable else 0)),
        (pages + 1, 1, NONE),
    ]:
        region = ctypes.c_void_p(address + page * PAGE), ctypes.c_size_t(count * PAGE)
        assert ctypes.CDLL(None).mprotect(*region, protection) == 0
    return copied


def with_fences(function, side):
    """Call `function` with fenced arrays, with a result of its own and with a fenced `out`."""

    def call(*args, **kwargs):
        args = [ops.QuantizedRows(*(fenced(b, side) for b in a)) if isinstance(a, tuple) else a for a in args]
        args = [fenced(a, side) if isinstance(a, np.ndarray) else a for a in args]
        kwargs = {name: fenced(a, side) if isinstance(a, np.ndarray) else a for name, a in kwargs.items()}
        result = function(*args, **kwargs)
        if isinstance(result, tuple):  # has no out
            return result
        out = fenced(np.zeros_like(result), side, writeable=True)
        function(*args, **kwargs, out=out)
        assert golden_bits.digest(out) == golden_bits.digest(result)
        return result

    return call


def run_all(backend, isa, side, last):
    """Run the golden cases behind fences; `last`, if it is "true", goes beyond one."""
    for name in FUNCTIONS:
        setattr(ops, name, with_fences(getattr(ops, name), side))

    class FencedConv(ops.PointwiseConv):
        def __init__(self, weight, bias=None, **kwargs):
            bias = bias if bias is None else fenced(bias, side)
            super().__init__(fenced(weight, side), bias, **kwargs)

        __call__ = with_fences(ops.PointwiseConv.__call__, side)

    # A method gets the object first, which is no array and passes through.
    ops.PointwiseConv = FencedConv
    golden = json.loads(golden_bits.FILE.read_text())
    with Variant(backend, isa or None).active():
        for name, run in golden_bits.all_cases().items():
            if name.startswith("embedded_model/"):
                continue  # it works in place, and is made of the ops that are all here
            if isa and isa not in isas_with(golden_bits.kernels_of(name)):
                continue
            print(name, flush=True)
            digest = golden_bits.digest(run())
            assert isa not in golden_isas(name) or digest == golden[name]
    if last == "true":
        x = fenced(np.zeros(7, np.float32), side)
        print("beyond", flush=True)
        np.lib.stride_tricks.as_strided(x, (8,), (4 if side == "after" else -4,)).copy()
    print("done")


def run_in_another_process(*arguments):
    code = "import sys, test_memory; test_memory.run_all(*sys.argv[1:])"
    result = run_python("-c", code, *arguments)
    return result.returncode, result.stdout.split("\n")[-2:][0], result.stderr


@pytest.mark.parametrize("side", ["after", "before"])
@pytest.mark.parametrize("isa", ALL_ISAS)
def test_native_stays_within_its_arrays(isa, side):
    code, last, errors = run_in_another_process("native", isa, side, "false")
    assert (code, last) == (0, "done"), errors


@pytest.mark.parametrize("side", ["after", "before"])
def test_the_fences_work(side):
    code, last, _ = run_in_another_process("numpy", "", side, "true")
    assert (code, last) == (-signal.SIGSEGV, "beyond")
