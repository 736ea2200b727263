"""Kernels touch no memory but their own: arrays next to unreadable pages, inputs on pages that cannot be written.

A kernel that loads a whole vector where there is less, and then ignores the excess, gives right results and looks fine
next to the bands of NaN of the other tests. Here the processor stops it. That ends the process, so it is another one.
"""

import ctypes
import json
import mmap
import signal
import sys
import tempfile
from collections import defaultdict
from inspect import signature
from typing import ClassVar

import golden_bits
import numpy as np
import pytest
from op_helpers import ALL_ISAS, Variant, assert_repeats, golden_isas, isas_with, parts, run_python

from squeezeops import backends, ops
from squeezeops.packing import LINE

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks Linux to protect pages")

PAGE, NONE = mmap.PAGESIZE, 0
# The ops that take arrays; `pointwise_convs` takes convolutions too.
FUNCTIONS = [name for name in ops.__all__ if "out" in signature(getattr(ops, name)).parameters]
FUNCTIONS.remove("pointwise_convs")
# Where the unreadable page is; "apart" is after the array, with gaps between the rows of inputs.
SIDES = ("after", "before", "apart")
GAP = 5  # elements


class Pages:
    """Pages between two unreadable ones, mapped twice: to write to, and to read alone."""

    def __init__(self, count):
        with tempfile.TemporaryFile() as file:
            file.truncate((count + 2) * PAGE)
            for name, protection in (("writeable", mmap.PROT_READ | mmap.PROT_WRITE), ("readable", mmap.PROT_READ)):
                memory = np.frombuffer(mmap.mmap(file.fileno(), 0, prot=protection), np.uint8)
                for page in (0, count + 1):
                    address = ctypes.c_void_p(memory.ctypes.data + page * PAGE)
                    assert ctypes.CDLL(None).mprotect(address, ctypes.c_size_t(PAGE), NONE) == 0
                setattr(self, name, memory)


class Fences:
    """Puts arrays beside unreadable pages. The pages are used again after `release`: a system may take long to map."""

    free: ClassVar[defaultdict[int, list[Pages]]] = defaultdict(list)  # by their number

    def __init__(self, side):
        self.side, self.taken = side, []

    def take(self, size):
        """Bytes, once to write to and once to read alone."""
        count = -(-size // PAGE)
        pages = self.free[count].pop() if self.free[count] else Pages(count)
        self.taken.append((count, pages))
        start = PAGE if self.side == "before" else (count + 1) * PAGE - size
        return pages.writeable[start : start + size], pages.readable[start : start + size]

    def release(self):
        for count, pages in self.taken:
            self.free[count].append(pages)
        self.taken = []

    def keep_array(self, array, writeable=False):
        if array.size == 0 or array.ndim == 0:
            return array
        gaps = GAP if self.side == "apart" and not writeable else 0
        strides = np.empty((*array.shape[:-1], array.shape[-1] + gaps), array.dtype).strides
        size = array.itemsize + sum((n - 1) * stride for n, stride in zip(array.shape, strides, strict=True))
        to_write, to_read = (np.ndarray(array.shape, array.dtype, part, 0, strides) for part in self.take(size))
        to_write[...] = array
        return to_write if writeable else to_read

    def keep(self, value, writeable=False):
        """An array, or those of quantised rows; anything else stays as it is."""
        if isinstance(value, ops.QuantizedRows):
            return type(value)(*(self.keep_array(part, writeable) for part in value))
        return self.keep_array(value, writeable) if isinstance(value, np.ndarray) else value


class FencedWeights(Fences):
    """Memory of packed weights, which start at a multiple of a cache line."""

    def take(self, size):
        return super().take(-(-size // LINE) * LINE)[0]


def with_fences(function, side):
    """Call `function` with fenced arrays, with a result of its own and with a fenced `out`."""

    def call(*args, **kwargs):
        fences = Fences(side)
        args = [fences.keep(a) for a in args]
        kwargs = {name: fences.keep(a) for name, a in kwargs.items()}
        result = function(*args, **kwargs)
        out = fences.keep(result, writeable=True)
        function(*args, **kwargs, out=out)
        for part, wanted in zip(parts(out), parts(result), strict=True):
            assert_repeats(part, wanted)
        fences.release()
        return result

    return call


def put_fences(side):
    """Call all public functions with fenced arrays from now on."""
    for name in FUNCTIONS:
        setattr(ops, name, with_fences(getattr(ops, name), side))

    class FencedConv(ops.PointwiseConv):
        def __init__(self, weight, bias=None, **kwargs):
            self.fences, self.memory = Fences(side), FencedWeights(side)
            super().__init__(self.fences.keep(weight), self.fences.keep(bias), **kwargs, memory=self.memory)

        def __del__(self):
            self.fences.release()
            self.memory.release()

        __call__ = with_fences(ops.PointwiseConv.__call__, side)

    # A method gets the object first, which is no array and passes through.
    ops.PointwiseConv = FencedConv


def run_golden(isa):
    """The golden cases: what the table of ops has no entry for is in them."""
    golden = json.loads(golden_bits.FILE.read_text())
    for name, run in golden_bits.all_cases().items():
        if name.startswith("embedded_model/"):
            continue  # it works in place, and is made of the ops that are all here
        if isa and isa not in isas_with(golden_bits.kernels_of(name)):
            continue
        print(name, flush=True)
        digest = golden_bits.digest(run())
        assert isa not in golden_isas(name) or digest == golden[name]


def run_table(isa, few):
    """Each op of the table at all its sizes, or at a few."""
    import op_table  # after put_fences(), because it keeps the functions

    rng, calls = np.random.default_rng(3), 0
    for op in op_table.TABLE:
        if isa and isa not in isas_with(op.kernel):
            continue
        for size in [op.typical, *(op.sizes[:: len(op.sizes) // 4] if few else op.sizes)]:
            for rows in op.rows[-3:] if few else op.rows:
                for changes in op.at_all_sizes:
                    print(op.name, rows, size, changes, flush=True)
                    op.call(**op.arguments(rng, rows, size, **changes))
                    calls += 1
    return calls


def run_all(backend, isa, side, last):
    """Run what there is behind fences; `last`, if it is "beyond", goes beyond one."""
    put_fences(side)
    with Variant(backend, isa or None).active():
        if last == "beyond":
            x = Fences(side).keep(np.zeros(7, np.float32))
            print("beyond", flush=True)
            np.lib.stride_tricks.as_strided(x, (8,), (-4 if side == "before" else 4,)).copy()
        run_golden(isa)
        calls = run_table(isa, few=not isa)
    print(f"{calls} calls")


def run_in_another_process(*arguments):
    code = "import sys, test_memory; test_memory.run_all(*sys.argv[1:])"
    result = run_python("-c", code, *arguments)
    return result.returncode, result.stdout.split("\n")[-2:][0], result.stderr


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("isa", ALL_ISAS)
def test_native_stays_within_its_arrays(isa, side, record_property):
    code, last, errors = run_in_another_process("native", isa, side, "")
    assert code == 0, last + errors
    record_property("ran", [f"{isa} {last}"])


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("backend", [name for name in ("cffi", "numba") if name in backends.available()])
def test_others_stay_within_their_arrays(backend, side, record_property):
    code, last, errors = run_in_another_process(backend, "", side, "")
    assert code == 0, last + errors
    record_property("ran", [f"{backend} {last}"])


@pytest.mark.parametrize("side", SIDES)
def test_the_fences_work(side):
    code, last, _ = run_in_another_process("numpy", "", side, "beyond")
    assert (code, last) == (-signal.SIGSEGV, "beyond")
