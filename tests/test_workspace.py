"""Workspaces, which a model reuses for each forward pass: same results, no aliasing, no memory growth."""

import contextvars
import copy
import ctypes
import gc
import itertools
import os
import pickle
import sys
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from model_helpers import kept, write_model
from op_helpers import VARIANTS, assert_same_bits, run_python
from test_squeezebert import GOLDEN, INPUTS, MODELS, OF_TOKENS, arrays_of, expected_of, load

from squeezeops import ops
from squeezeops.squeezebert import SqueezeBert
from squeezeops.squeezebert.model import batch, squeezebert
from squeezeops.squeezebert.model.workspace import Workspace, Workspaces

NATIVE = [name for name in ("native",) if name in ops.available_backends()]
FEW = pytest.mark.parametrize("variant", VARIANTS[:2], ids=str, indirect=True)  # the reference and the fastest
compiled = pytest.mark.skipif(not NATIVE, reason="built without the native extension")


@pytest.fixture(autouse=True)
def in_python(monkeypatch):
    """The forward pass in C has memory of its own, see test_c_model.py."""
    monkeypatch.setattr(squeezebert, "COMPILED", ())


def assert_same_output(found, expected):
    found, expected = arrays_of(found), arrays_of(expected)
    assert found.keys() == expected.keys()
    for key, array in found.items():
        assert_same_bits(array, expected[key])


def memory_of(model):
    return [w._memory for w in model._workspaces._idle if w._memory is not None]


def assert_apart(output, model):
    """Check that the output does not overlap memory that the model reuses."""
    kept_arrays = [np.frombuffer(memory, np.uint8) for memory in memory_of(model)]
    assert kept_arrays
    for array in arrays_of(output).values():
        assert array.flags.writeable
        assert not any(np.shares_memory(array, other) for other in kept_arrays)


# ---- parts ----------------------------------------------------------------------------------------------------------


@FEW
@pytest.mark.parametrize(
    "name, attention", [*((name, "float32") for name in MODELS), ("odd_groups", "int8"), ("masked_lm", "int8")]
)
def test_parts_give_the_same(variant, name, attention, rng, monkeypatch):
    """All outputs, with parts of one sequence, of several, and of all."""
    expected = expected_of(name)
    inputs = [expected[key] for key in INPUTS]
    model = load(name, attention=attention)
    options = [{}, {"output_hidden_states": True}, {"output_attentions": True}]
    if name in OF_TOKENS:
        keep = kept(expected["attention_mask"])
        options += [{"logits_mask": some & keep} for some in (rng.random(keep.shape) < 0.3, np.zeros_like(keep))]
    for rows, option in itertools.product((inputs, inputs[:1], [inputs[0], np.ones_like(inputs[0])]), options):
        if "logits_mask" in option and rows is not inputs:
            option = {"logits_mask": np.ones_like(option["logits_mask"])}
        monkeypatch.setattr(batch, "PART", 512)
        whole = arrays_of(model(*rows, **option))
        for most in (1, 11, 17, 30):
            monkeypatch.setattr(batch, "PART", most)
            parts = arrays_of(model(*rows, **option))
            assert parts.keys() == whole.keys()
            for key, array in parts.items():
                if variant.backend == "numpy":  # the bits of a BLAS may depend on the number of rows
                    off = 1e-4 if attention == "float32" else 0.05  # which may change a byte
                    np.testing.assert_allclose(array, whole[key], rtol=off, atol=off)
                else:
                    assert_same_bits(array, whole[key])


def test_parts_are_whole_sequences():
    config = load("odd_groups").config
    mask = np.arange(10) < np.array([3, 10, 1, 5, 5, 9, 2])[:, None]
    ids = np.arange(70).reshape(7, 10) % config.vocab_size
    whole = batch.make_batch(config, ("batch", "tokens"), ids, mask, None, mask & (ids % 3 == 0))
    with pytest.MonkeyPatch.context() as patch:
        for most in (1, 2, 10, 11, 13, 16, 34, 35):
            patch.setattr(batch, "PART", most)
            parts = list(whole.parts())
            assert np.concatenate([part.ids for part in parts]).tolist() == whole.ids.tolist()
            assert np.concatenate([part.positions for part in parts]).tolist() == whole.positions.tolist()
            assert [part.sequences.start for part in parts[1:]] == [part.sequences.stop for part in parts[:-1]]
            assert parts[0].sequences.start == 0 and parts[-1].sequences.stop == 7
            chosen = []
            for part in parts:
                count = part.sequences.stop - part.sequences.start
                assert part.size == (count, 10) and (len(part.ids) <= most or count == 1)
                assert part.chosen_before == len(chosen)
                chosen += part.ids[part.chosen.indices].tolist()
                assert part.chosen.cu_rows[-1] == len(part.chosen.indices)
            assert chosen == whole.ids[whole.chosen.indices].tolist() == [i for i in whole.ids.tolist() if i % 3 == 0]
            for part, after in itertools.pairwise(parts):  # no part has room for one more sequence
                assert len(part.ids) + after.cu_seqlens[1] > most


# ---- workspaces -----------------------------------------------------------------------------------------------------


ROW, WIDE = [48], [33]  # bytes and scales: 33 channels in 3 groups, each padded to a multiple of 4
FLOATS = {"x": ROW, "q": ROW, "k": ROW, "v": ROW, "context": ROW, "chosen": ROW, "attended": ROW, "wide": WIDE}
FLOATS["quantized"] = [36, 3]
IN_INT8 = FLOATS | dict.fromkeys("qkv", [56, 2])  # of 26 channels padded to 28 per head


def flat(part):
    """The arrays of a part of the activations: one, or those of quantised rows."""
    return list(part) if isinstance(part, tuple) else [part]


@pytest.mark.parametrize("channels, heads, widths", [(48, 0, FLOATS), (52, 2, IN_INT8)])
def test_arrays_of_a_workspace(channels, heads, widths):
    widths = {name: [channels] if width is ROW else width for name, width in widths.items()}
    room = Workspace(channels, 33, 3, heads)
    for n in (1, 7, 64, 65, 3, 200, 200, 0):
        work = room.rows(n)
        assert list(work._fields) == list(widths)
        for some, count in ((work, n), (work.first(n // 2), n // 2)):
            shapes = {name: [a.shape for a in flat(part)] for name, part in some._asdict().items()}
            assert shapes == {name: [(count, c) for c in width] for name, width in widths.items()}
            assert type(some.quantized) is ops.QuantizedRows and (type(some.k) is ops.QuantizedRows) == bool(heads)
        assert (work.attended is work.q) == (not heads)  # the queries are not needed any more
        arrays = [a for name, part in work._asdict().items() if heads or name != "attended" for a in flat(part)]
        for i, array in enumerate(arrays):
            assert array.flags.c_contiguous and array.flags.writeable
            assert array.__array_interface__["data"][0] % 64 == 0
            array[...] = i
        assert all((array == i).all() for i, array in enumerate(arrays))
        assert room.rows(n) is work
    memory = room._memory
    room.rows(256)
    assert room._memory is memory  # it grows in large steps
    room.rows(257)
    assert room._memory is not memory


def test_failed_allocation(monkeypatch):
    """A workspace that could not grow is unchanged, and can grow the next time."""
    room = Workspace(48, 33, 3)
    room.rows(3)

    def none(size):
        raise OSError("no memory")

    with monkeypatch.context() as patch:
        patch.setattr("squeezeops.squeezebert.model.workspace.pages", none)
        with pytest.raises(OSError):
            room.rows(500)
        assert len(room.rows(5).x) == 5
    assert len(room.rows(500).x) == 500


def test_a_workspace_is_used_again():
    pool = Workspaces(16, 32, 4)
    first, second = pool.take(), pool.take()
    assert first is not second
    pool.give(first)
    assert pool.take() is first
    for room in (first, second, *(pool.take() for _ in range(os.cpu_count() + 5))):
        pool.give(room)
    assert len(pool._idle) == os.cpu_count()


@FEW
def test_an_exception_in_the_middle(variant, monkeypatch):
    """The workspace is returned, and the next pass gives the right results."""
    model, ids = load("classification"), [[1, 2, 3], [4, 5, 6]]
    expected = model(ids)
    (room,) = model._workspaces._idle
    layer = model.layers[1]

    class Broken:
        dtype = "float32"

        def __call__(self, *args, **kwargs):
            raise KeyboardInterrupt

    for known in (ids, np.array(ids)):
        for at in ("query", "intermediate"):
            model.layers[1] = replace(layer, **{at: Broken()})
            with pytest.raises((KeyboardInterrupt, TypeError)):
                model(known)
            assert model._workspaces._idle == [room]
            model.layers[1] = layer
            assert_same_output(model(known), expected)
        for inputs in (([[1, 2, 100]],), (ids, [[1]])):
            with pytest.raises(ValueError):
                model(*inputs)
            assert model._workspaces._idle == [room]
        assert_same_output(model(known), expected)


@FEW
@pytest.mark.parametrize(
    "name, dtype", [("classification", "float32"), ("token_classification", "float32"), ("classification", "int8")]
)
def test_many_threads(variant, name, dtype, rng):
    model = load(name, dtype=dtype)
    inputs = [rng.integers(0, 60, (1 + i % 3, 1 + i % 5)) for i in range(12)]
    expected = [load(name, dtype=dtype)(ids) for ids in inputs]
    start = threading.Barrier(6)

    def work(i):
        start.wait()
        for j in range(30):
            at = (i * 7 + j) % len(inputs)
            output = model(inputs[at])
            assert_same_output(output, expected[at])
            for array in arrays_of(output).values():
                array[...] = np.nan

    with ThreadPoolExecutor(6) as pool:
        for done in [pool.submit(contextvars.copy_context().run, work, i) for i in range(6)]:
            done.result()
    assert 1 <= len(model._workspaces._idle) <= os.cpu_count()


@FEW
def test_copies_have_workspaces_of_their_own(variant):
    model, ids = load("classification"), np.array([[1, 2, 3]])
    size = len(pickle.dumps(model))
    expected = model(ids)
    model(ids)
    assert memory_of(model) and len(pickle.dumps(model)) == size
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert not memory_of(other)
        assert_same_output(other(ids), expected)
        assert_same_output(other(ids), expected)
    assert_same_output(model(ids), expected)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_after_a_fork():
    """The child uses its copy of the parent's workspace; neither sees changes of the other."""
    code = f"""
import os, sys
import numpy as np
from squeezeops.squeezebert import SqueezeBert
model = SqueezeBert.from_pretrained({str(GOLDEN / "classification")!r})
ids = [np.array([[i, 2, 3]]) for i in range(1, 40)]
expected = [model(i).logits for i in ids]
child = os.fork()
for i, logits in zip(ids if child else ids[::-1], expected if child else expected[::-1]):
    for _ in range(20):
        assert (model(i).logits == logits).all()
if child:
    sys.exit(os.waitpid(child, 0)[1])
os._exit(0)
"""
    result = run_python("-W", "ignore", "-c", code)
    assert result.returncode == 0, result.stderr


# ---- memory ---------------------------------------------------------------------------------------------------------


class Blocks:
    """Measures allocations of Python and NumPy with tracemalloc."""

    def __enter__(self):
        tracemalloc.start()
        return self

    def __exit__(self, *_):
        tracemalloc.stop()

    def growth(self, function, times=50):
        """Return by how many bytes the memory grew after `times` calls, and at its peak."""
        function()
        gc.collect()
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(times):
            function()
        peak = tracemalloc.get_traced_memory()[1]
        gc.collect()
        after = tracemalloc.get_traced_memory()[0]
        return after - before, peak - before


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """Models with large enough activations: 2 layers, 64 positions."""
    folder = tmp_path_factory.mktemp("wide")
    return {
        task: write_model(folder / task, labels, task=task, positions=64)
        for task, labels in [
            ("base", None),
            ("text-classification", ["a", "b"]),
            ("token-classification", ["a", "b", "c"]),
            ("question-answering", None),
            ("masked-lm", None),
        ]
    }


@pytest.mark.parametrize(
    "task", ["base", "text-classification", "token-classification", "question-answering", "masked-lm"]
)
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "int8"])
@pytest.mark.parametrize("name", NATIVE)  # NumPy's operations allocate temporary arrays
def test_no_allocation_in_the_steady_state(wide, task, padded, dtype, name):
    """A call allocates only its results and small arrays for the ids. Activations would be a hundred times larger."""
    with ops.backend(name):
        model = SqueezeBert.from_pretrained(wide[task], dtype=dtype)
        ids = np.random.default_rng(0).integers(0, model.config.vocab_size, (8, 64))
        mask = (np.arange(64) < np.arange(57, 65)[:, None]).astype(int) if padded else None
        # The activations are 7 arrays of 512 rows with 16 or 32 channels, 256 KB in total. An input has 4 KB.
        model(ids, mask)
        result = sum(array.nbytes for array in arrays_of(model(ids, mask)).values())
        with Blocks() as blocks:
            grown, peak = blocks.growth(lambda: model(ids, mask))
    assert grown < 10_000  # after 50 calls
    assert peak < result + 70_000


@compiled
@pytest.mark.parametrize("lengths", [[64], [8, 64, 33], [1, 2, 3, 4, 5, 6, 7, 8]])
def test_memory_does_not_grow_with_the_calls(wide, lengths):
    model = SqueezeBert.from_pretrained(wide["base"])
    inputs = [np.ones((16, length), int) for length in lengths]
    mask = np.ones((16, max(lengths)), int)
    mask[:, -1] = 0

    def call():
        for ids in inputs:
            model(ids)
        model(inputs[lengths.index(max(lengths))], mask)

    call()
    with Blocks() as blocks:
        assert blocks.growth(call)[0] < 10_000  # after 50 calls
    (room,) = model._workspaces._idle
    assert len(room._memory) < 2 * 4 * 16 * max(64, max(lengths)) * (6 * 16 + 32)


@compiled
@pytest.mark.parametrize("attention", ["float32", "int8"])
def test_large_batches_take_no_more_room(wide, attention):
    model = SqueezeBert.from_pretrained(wide["base"], attention=attention)
    for count in (8, 400, 8):
        model(np.ones((count, 64), int))
        (room,) = model._workspaces._idle
        assert len(room._memory) < 1.2 * 4 * batch.PART * (6 * 16 + 32)


@compiled
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks glibc what it has given out")
def test_the_library_allocates_nothing_in_the_steady_state():
    """The heap size and the allocated bytes of malloc do not change in many passes."""
    code = f"""
import ctypes, gc
import numpy as np
from squeezeops.squeezebert import SqueezeBert
class Info(ctypes.Structure):
    names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
    _fields_ = [(name, ctypes.c_size_t) for name in names.split()]
mallinfo2 = ctypes.CDLL(None).mallinfo2
mallinfo2.restype = Info
model = SqueezeBert.from_pretrained({str(GOLDEN / "classification")!r})
ids, mask = np.ones((2, 16), int), np.ones((2, 16), int)
mask[1, 5:] = 0
def usage():
    gc.collect()
    info = mallinfo2()
    return info.arena + info.hblkhd, info.uordblks
def run():
    for _ in range(200):
        model(ids); model(ids, mask); model(ids[:, :9])
run()
for _ in range(3):  # in which a leak goes on
    before = usage()
    run()
    after = usage()
    if after[0] == before[0] and abs(after[1] - before[1]) < 32768:  # of 600 passes
        break
else:
    raise AssertionError((before, after))
"""
    if not hasattr(ctypes.CDLL(None), "mallinfo2"):
        pytest.skip(reason="this C library does not tell what it has given out")
    for threads in ("1", "2"):
        result = run_python("-c", code, SQUEEZEOPS_NUM_THREADS=threads)
        assert result.returncode == 0, result.stderr
