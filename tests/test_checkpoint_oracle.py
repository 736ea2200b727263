"""Files written by torch give the same tensors here. test_model_oracle.py has those of transformers."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import pytest
import torch_helpers as tw

from squeezeops.squeezebert.files.torch_file import read_tensors

pytestmark = pytest.mark.oracle


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason="needs torch")


@pytest.fixture(params=["zip", "pickles"])
def save(request, torch, tmp_path):
    """A function that calls torch.save with one of the formats and returns the path."""

    def save(value, **options):
        path = tmp_path / "pytorch_model.bin"
        torch.save(value, path, _use_new_zipfile_serialization=request.param == "zip", **options)
        assert (path.read_bytes()[:2] == b"PK") == (request.param == "zip")
        return path

    return save


def check_equal(torch, arrays, tensors):
    assert list(arrays) == list(tensors)
    for name, tensor in tensors.items():
        tensor = tensor.detach()
        expected = (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
        np.testing.assert_array_equal(arrays[name], expected, strict=True)
        assert not arrays[name].flags.writeable and arrays[name].flags.aligned


def values(torch, dtype, shape):
    torch.manual_seed(1)
    numbers = 100 * torch.randn(shape)
    return numbers > 0 if dtype == torch.bool else numbers.to(dtype)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_dtype(torch, save, protocol):
    dtypes = torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64
    dtypes += torch.float16, torch.bfloat16, torch.float32, torch.float64
    tensors = {str(dtype): values(torch, dtype, (3, 5)) for dtype in dtypes}
    check_equal(torch, read_tensors(save(tensors, pickle_protocol=protocol)), tensors)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_views(torch, save, protocol):
    base, half = values(torch, torch.float32, (6, 8)), values(torch, torch.bfloat16, (4, 4))
    tensors = OrderedDict(
        base=base,
        again=base,
        transposed=base.t(),
        column=base[:, 3],
        rows=base[1:6:2],
        cube=base.view(2, 3, 8).permute(2, 0, 1),
        scalar=base[2, 3],
        axis=base[2:3, None],
        expanded=torch.arange(5).expand((1, -1)),
        empty=torch.zeros(0, 3),
        empty_view=base[:, 8:],
        half=half,
        half_view=half[1:, ::2].t(),
        parameter=torch.nn.Parameter(base[:2]),
        frozen=torch.nn.Parameter(half, requires_grad=False),
    )
    arrays = read_tensors(save(tensors, pickle_protocol=protocol))
    check_equal(torch, arrays, tensors)
    for name in ("again", "transposed", "column", "rows", "cube", "scalar", "axis", "parameter"):
        assert np.shares_memory(arrays[name], arrays["base"])
    assert np.shares_memory(arrays["half_view"], arrays["half"])


def test_state_dicts_and_options(torch, save):
    module = torch.nn.Sequential(torch.nn.Linear(7, 5), torch.nn.BatchNorm1d(5), torch.nn.Embedding(11, 3))
    check_equal(torch, read_tensors(save(module.state_dict())), module.state_dict())
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        check_equal(torch, read_tensors(save(module.state_dict())), module.state_dict())
    finally:
        torch.serialization.set_crc32_options(before)


def test_many_tensors(torch, save):
    """More tensors than fit into one batch of the pickler, and enough names for long memo indices."""
    tensors = {f"encoder.layers.{i}.weight": torch.full((2, 3), float(i)) for i in range(2_500)}
    check_equal(torch, read_tensors(save(tensors)), tensors)


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning")
def test_files_without_a_dict_of_tensors(torch, save):
    linear = torch.nn.Linear(2, 2)
    for value, message in (
        (linear, "names 'torch.nn.modules.linear.Linear', which is not a tensor|a whole model"),
        ({"state_dict": linear.state_dict(), "epoch": 3}, "a training checkpoint.* under 'state_dict' by itself"),
        (list(linear.state_dict().values()), "a dict of tensors, got list"),
        (
            {"x": torch.zeros(3, dtype=torch.uint16)},
            "names 'torch.UntypedStorage|names 'torch._utils._rebuild_tensor_v3'",
        ),
        ({"x": torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)}, "names 'torch._utils._rebuild_qtensor'"),
        ({"x": torch.zeros(3, dtype=torch.complex64)}, "names 'torch.ComplexFloatStorage'"),
        ({"x": torch.eye(3).to_sparse()}, "names 'torch._utils._rebuild_sparse_tensor'"),
        ({"x": torch.zeros(1).expand(99)}, "without many repeats"),
        ({"x": torch.zeros(3, dtype=torch.complex64).imag._neg_view()}, "a dict of tensors|a call of"),
    ):
        with pytest.raises(ValueError, match=message):
            read_tensors(save(value))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torchscript(torch, tmp_path):
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match="got a program of TorchScript"):
        read_tensors(tmp_path / "pytorch_model.bin")


@pytest.mark.parametrize("write", [tw.zip_file, tw.pickles_file])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_torch_reads_files_of_torch_helpers(torch, tmp_path, write, protocol):
    rng = np.random.default_rng(1)
    arrays = {dtype: rng.integers(0, 2, (3, 5)).astype(dtype) for dtype in ("?", "u1", "i2", "i8", "f2", "f4", "f8")}
    path = tmp_path / "pytorch_model.bin"
    path.write_bytes(write(tw.state_dict({name: tw.tensor(array) for name, array in arrays.items()}), protocol))
    tensors = torch.load(path, weights_only=False)  # weights_only=True supports only protocol 2
    assert list(tensors) == list(arrays) and tensors._metadata[""] == {"version": 1}
    check_equal(torch, read_tensors(path), tensors)
    for name, array in arrays.items():
        np.testing.assert_array_equal(tensors[name].numpy(), array)


def test_a_few_repeats(torch, tmp_path):
    """A few repeated elements are accepted: an unused expanded buffer must not make a file unreadable."""
    torch.save({"x": torch.arange(3.0)[:, None].expand(3, 4)}, tmp_path / "pytorch_model.bin")
    found = read_tensors(tmp_path / "pytorch_model.bin")["x"]
    assert found.tolist() == [[0.0] * 4, [1.0] * 4, [2.0] * 4]
