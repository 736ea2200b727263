"""PointwiseConv.from_packed and .packed: the packed weight as bytes, used in place."""

import copy
import gc
import mmap
import pickle

import numpy as np
import pytest
from op_helpers import VARIANTS, assert_repeats, assert_same_bits, normal

from squeezeops import ops
from squeezeops.packing import TARGETS, packed_size

RNG = np.random.default_rng(8)
SHAPES = [(1, 1, 1), (1, 5, 3), (1, 16, 16), (2, 34, 6), (4, 64, 32), (3, 51, 15), (1, 0, 4), (1, 4, 0), (2, 48, 2)]
EVERY_DTYPE = pytest.mark.parametrize("dtype", TARGETS)


def aligned(data, offset=0):
    """Read-only bytes at a 64-byte boundary plus `offset`."""
    pages = mmap.mmap(-1, len(data) + offset + 1)
    pages[offset : offset + len(data)] = bytes(data)
    return memoryview(pages)[offset : offset + len(data)].toreadonly()


def example(groups, c_out, c_in, dtype):
    weight, bias = normal(RNG, c_out, c_in // groups), normal(RNG, c_out)
    return ops.PointwiseConv(weight, bias, groups=groups, dtype=dtype), bias


def sizes(conv):
    return {name: getattr(conv, name) for name in ("in_channels", "out_channels", "groups", "dtype")}


@EVERY_DTYPE
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_same_results(variant, shape, dtype):
    with variant.active():
        conv, bias = example(*shape, dtype)
        x, residual = normal(RNG, 5, shape[2]), normal(RNG, 5, shape[1])
        same = ops.PointwiseConv.from_packed(aligned(conv.packed), bias, **sizes(conv))
        assert repr(same) == repr(conv) and bytes(same.packed) == bytes(conv.packed)
        ops.PointwiseConv.from_packed(conv.packed, **sizes(conv))  # takes what `packed` gives
        expected = conv(x, activation="gelu", residual=residual)
        assert_repeats(same(x, activation="gelu", residual=residual), expected)
        assert_repeats(ops.pointwise_convs(x, [same, conv])[0], ops.pointwise_convs(x, [conv])[0])


@EVERY_DTYPE
@pytest.mark.parametrize("shape", SHAPES)
def test_every_backend_has_the_same_form(shape, dtype):
    groups, c_out, c_in = shape
    weight = normal(RNG, c_out, c_in // groups)
    weight.flat[::5] = 2.0**-130
    weight.flat[1::7] = -0.0
    forms = {}
    for name in ops.available_backends():
        with ops.backend(name):
            forms[name] = ops.PointwiseConv(weight, groups=groups, dtype=dtype).packed
    assert len({bytes(form) for form in forms.values()}) == 1
    for form in forms.values():
        assert form.nbytes == packed_size(groups, c_in, c_out, dtype)
        assert form.readonly and form.format == "B" and form.ndim == 1


def test_layout():
    """The layout that pwconv.h documents."""
    weight = np.arange(1, 2 * 17 * 3 + 1, dtype=np.float32).reshape(34, 3)
    packed = np.frombuffer(ops.PointwiseConv(weight, groups=2).packed, "<f4").reshape(2, 2, 3, 16)
    for group, panel, k, lane in np.ndindex(packed.shape):
        o = panel * 16 + lane
        assert packed[group, panel, k, lane] == (weight[group * 17 + o, k] if o < 17 else 0)


@pytest.mark.parametrize("backend", [name for name in ("native", "cffi") if name in ops.available_backends()])
def test_nothing_is_copied(backend):
    with ops.backend(backend):
        conv = ops.PointwiseConv(np.ones((16, 3), np.float32))
        memory = mmap.mmap(-1, 4096)
        memory[: len(conv.packed)] = bytes(conv.packed)
        same = ops.PointwiseConv.from_packed(memoryview(memory)[: len(conv.packed)], **sizes(conv))
        x = np.ones((1, 3), np.float32)
        assert same(x)[0, 0] == 3
        memory[:4] = np.float32(5).tobytes()
        assert same(x)[0, 0] == 7


@pytest.mark.parametrize("backend", ops.available_backends())
def test_the_memory_is_kept(backend):
    with ops.backend(backend):
        conv = ops.PointwiseConv(np.full((64, 64), 2, np.float32))
        memory = aligned(conv.packed)
        same = ops.PointwiseConv.from_packed(memory, **sizes(conv))
        memory.release()  # releases only the caller's view
        form = same.packed
        del memory
        gc.collect()
        assert same(np.ones((1, 64), np.float32)).tolist() == [[128.0] * 64]
        del same, conv
        gc.collect()
        assert bytes(form[:4]) == np.float32(2).tobytes()


@EVERY_DTYPE
@pytest.mark.parametrize("copied", [copy.deepcopy, copy.copy, lambda conv: pickle.loads(pickle.dumps(conv))])
@pytest.mark.parametrize("backend", ops.available_backends())
def test_copies(backend, copied, dtype):
    with ops.backend(backend):
        conv, bias = example(2, 34, 6, dtype)
        same = ops.PointwiseConv.from_packed(aligned(conv.packed), bias, **sizes(conv))
        x = normal(RNG, 3, 6)
        assert_same_bits(copied(same)(x), same(x))


def test_another_backend_uses_it_too():
    conv, bias = example(2, 34, 6, "float32")
    same = ops.PointwiseConv.from_packed(aligned(conv.packed), bias, **sizes(conv))
    x = normal(RNG, 3, 6)
    for name in ops.available_backends():
        with ops.backend(name):
            np.testing.assert_allclose(same(x), conv(x), rtol=1e-5, atol=1e-5)


GOOD = {"in_channels": 6, "out_channels": 34, "groups": 2}


@pytest.mark.parametrize(
    "changes, error, message",
    [
        (
            {"packed": np.zeros(192, np.float32)},
            TypeError,
            r"packed: expected a buffer of bytes, got one of format 'f'",
        ),
        ({"packed": aligned(bytes(767))}, ValueError, r"packed: expected 768 bytes, got 767"),
        ({"packed": aligned(bytes(1536))[::2]}, ValueError, r"packed: expected a C-contiguous buffer, got strides"),
        ({"packed": aligned(bytes(768), 4)}, ValueError, r"packed: expected an address that is a multiple of 64, got"),
        ({"groups": 4}, ValueError, r"groups: expected a divisor of in_channels = 6 and out_channels = 34, got 4"),
        ({"in_channels": -6}, ValueError, r"in_channels: expected an int from 0 to 2\^63 - 1, got -6"),
        ({"in_channels": 2**29}, ValueError, r"in_channels: expected at most 2\^28, got"),
        ({"out_channels": 2**62}, ValueError, r"out_channels: expected at most 2\^28, got"),
        ({"dtype": "bfloat16"}, ValueError, r"dtype: expected one of 'float32'.*, got 'bfloat16'"),
        ({"bias": np.zeros(33, np.float32)}, ValueError, r"bias: expected shape \(34,\), got \(33,\)"),
    ],
)
@pytest.mark.parametrize("backend", ops.available_backends())
def test_wrong_arguments(backend, changes, error, message):
    """What the messages say; test_contract.py has all wrong arguments."""
    with ops.backend(backend):
        good = {"packed": aligned(bytes(768)), "bias": np.zeros(34, np.float32), **GOOD}
        ops.PointwiseConv.from_packed(**good)
        with pytest.raises(error, match=f"^PointwiseConv: {message}"):
            ops.PointwiseConv.from_packed(**{**good, **changes})


@pytest.mark.skipif("cffi" not in ops.available_backends(), reason="the backend cffi is not installed")
def test_buffers_of_python_alone():
    from array import array

    with ops.backend("cffi"):
        packed = aligned(array("f", [2.0] + [0.0] * 15).tobytes())
        conv = ops.PointwiseConv.from_packed(packed, in_channels=1, out_channels=1)
        assert conv(array("f", [3.0])).tolist() == [6.0]
