"""The memory that holds a model's packed weights."""

import copy
import gc
import mmap
import pickle
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from op_helpers import assert_same_bits

from squeezeops import ops
from squeezeops.packing import CHUNK, Memory
from squeezeops.squeezebert import SqueezeBert

FOLDER = Path(__file__).parent / "golden" / "classification"


def address(piece):
    return np.frombuffer(piece, np.uint8).__array_interface__["data"][0]


def test_pieces():
    memory = Memory()
    sizes = [1, 64, 65, 0, 4096, 3 * 4096 + 5]
    pieces = [memory.take(size) for size in sizes]
    assert [piece.nbytes for piece in pieces] == sizes
    starts = [address(piece) for piece in pieces if piece.nbytes]
    assert all(start % 64 == 0 for start in starts)
    gaps = np.diff(starts)
    assert gaps.tolist() == [64, 64, 128, 4096]  # without gaps, rounded up to 64 bytes
    for i, piece in enumerate(pieces):
        piece[:] = bytes([i + 1]) * piece.nbytes
    assert [set(piece.tobytes()) for piece in pieces] == [{1}, {2}, {3}, set(), {5}, {6}]


def test_more_than_a_chunk():
    memory = Memory()
    first, large, after = memory.take(100), memory.take(CHUNK + 100), memory.take(CHUNK)
    for piece in (first, large, after):
        assert piece.nbytes in (100, CHUNK + 100, CHUNK) and not any(piece[:100]) and not any(piece[-100:])
        piece[-1] = 1


def test_the_last_piece_frees_its_chunk(monkeypatch):
    alive = []

    class Watched(mmap.mmap):
        def __new__(cls, *args, **kwargs):
            alive.append(1)
            return super().__new__(cls, *args, **kwargs)

        def __del__(self):
            alive.pop()

    monkeypatch.setattr(mmap, "mmap", Watched)
    memory = Memory()
    pieces = [memory.take(1000), memory.take(1000)]
    assert len(alive) == 1
    del memory
    pieces.pop(0)
    gc.collect()
    assert len(alive) == 1
    pieces[0][0] = 1
    pieces.pop()
    gc.collect()
    assert not alive


@pytest.mark.skipif("native" not in ops.available_backends(), reason="built without the native extension")
def test_memory_that_cannot_be_used():
    """Strided and reversed memory is refused before anything is written. test_contract.py has the rest."""
    room = np.zeros(2**14, np.uint8)
    room = room[-room.__array_interface__["data"][0] % 64 :]
    for piece in (room[:2048:2], room[1023::-1]):
        memory = SimpleNamespace(take=lambda size, piece=piece: piece)
        with ops.backend("native"), pytest.raises(ValueError, match="PointwiseConv: memory: expected .+, got .+"):
            ops.PointwiseConv(np.ones((16, 16), np.float32), memory=memory)  # 1024 bytes
    assert not room.any()


def test_threads_share_it():
    memory, taken = Memory(), []

    def take():
        for size in range(1, 400):
            piece = memory.take(size)
            piece[:] = bytes([size % 251]) * size
            taken.append(piece)

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == 4 * 399
    assert all(set(piece.tobytes()) == {piece.nbytes % 251} for piece in taken)


@pytest.mark.parametrize("backend", [name for name in ("native", "cffi") if name in ops.available_backends()])
def test_a_model_keeps_its_weights_there(backend, monkeypatch):
    sizes = []
    take = Memory.take
    monkeypatch.setattr(Memory, "take", lambda self, size: sizes.append(size) or take(self, size))
    with ops.backend(backend):
        model = SqueezeBert.from_pretrained(FOLDER)
        config = model.config
        layers = config.num_hidden_layers
        assert len(sizes) == 6 * layers + 2  # pooler and classifier
        logits = model([[1, 2, 3]]).logits
        for copied in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
            sizes.clear()
            assert_same_bits(copied([[1, 2, 3]]).logits, logits)
            assert len(sizes) == 6 * layers + 2  # packed again, into new memory
            assert_same_bits(copied([[1, 2, 3]]).logits, logits)
            assert len(sizes) == 6 * layers + 2
        memories = {id(conv._memory) for m in (model, copied) for conv in (m.layers[0].query, m.layers[-1].output)}
        assert len(memories) == 2


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks Linux how large its pages are")
def test_huge_pages():
    """Where the system gives huge pages on request, a chunk requests them."""
    enabled = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    if not enabled.exists() or "[never]" in enabled.read_text():
        pytest.skip(reason="this kernel has no large pages on request")
    piece = Memory().take(1000)
    start, flags = address(piece), None
    for line in Path("/proc/self/smaps").read_text().splitlines():
        head = line.split()[0]
        if "-" in head and not head.endswith(":"):
            low, high = (int(end, 16) for end in head.split("-"))
            inside = low <= start < high
        elif line.startswith("VmFlags:") and inside:
            flags = line.split()[1:]
    assert "hg" in flags
