"""Model folders: all formats of weights, and missing or broken ones."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch_helpers as tw

from squeezeops.squeezebert import SqueezeBert
from squeezeops.squeezebert.files.safetensors import read_tensors, write_file
from squeezeops.squeezebert.model.config import SqueezeBertConfig
from squeezeops.squeezebert.model.weights import load_folder

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture
def folder(tmp_path):
    """A copy of a golden model that a test may damage."""
    return Path(shutil.copytree(GOLDEN / "classification", tmp_path / "model"))


def save_safetensors(path: Path, tensors: dict[str, np.ndarray]) -> None:
    kinds = {name: ("F16" if array.dtype == np.float16 else "F32", array.shape) for name, array in tensors.items()}
    with open(path, "wb") as file:
        write_file(file, kinds, {}, (array.tobytes() for array in tensors.values()))


def save_torch(path: Path, tensors: dict[str, np.ndarray], layout=tw.zip_file) -> None:
    path.write_bytes(layout(tw.state_dict({name: tw.tensor(array) for name, array in tensors.items()})))


FAMILIES = {"model.safetensors": save_safetensors, "pytorch_model.bin": save_torch}


def split(folder: Path, name: str, parts: int = 3) -> Path:
    """Replace a folder's weights by shards and an index, in the format that `name` implies. Return the index."""
    weights = read_tensors(folder / "model.safetensors")
    stem, ending = os.path.splitext(name)
    labels = [f"{stem}-{i + 1:05}-of-{parts:05}{ending}" for i in range(parts)]
    files: dict[str, dict[str, np.ndarray]] = {label: {} for label in labels}
    places = {}
    for i, (tensor, array) in enumerate(weights.items()):
        files[labels[i % parts]][tensor] = array
        places[tensor] = labels[i % parts]
    for label, tensors in files.items():
        FAMILIES[name](folder / label, tensors)
    (folder / "model.safetensors").unlink()
    index = folder / f"{name}.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": places}))
    return index


def check_equal(weights: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert weights.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(weights[name], array, strict=True)


# ---- valid folders -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", [tw.zip_file, tw.pickles_file])
def test_weights_of_torch(folder, layout):
    expected = read_tensors(folder / "model.safetensors")
    save_torch(folder / "pytorch_model.bin", expected, layout)
    (folder / "model.safetensors").unlink()
    config, weights = load_folder(str(folder))
    assert isinstance(config, SqueezeBertConfig) and config.num_labels == 3
    check_equal(weights, expected)


@pytest.mark.parametrize("name", FAMILIES)
def test_weights_in_several_files(folder, name):
    expected = read_tensors(folder / "model.safetensors")
    split(folder, name)
    _, weights = load_folder(folder)
    check_equal(weights, expected)


def test_only_the_tensors_of_the_index_are_taken(folder):
    index = split(folder, "model.safetensors", 1)
    values = json.loads(index.read_text())
    del values["weight_map"]["classifier.bias"]
    index.write_text(json.dumps(values))
    _, weights = load_folder(folder)
    assert list(weights) == list(values["weight_map"]) and "classifier.bias" not in weights


def test_the_order_of_preference(folder):
    """All formats are there with different values. The preferred one is removed step by step."""
    weights = {"x": np.zeros(3, np.float32)}
    for i, name in enumerate(FAMILIES):
        FAMILIES[name](folder / name, {"x": weights["x"] + 2 * i})
        shard = f"part{os.path.splitext(name)[1]}"
        FAMILIES[name](folder / shard, {"x": weights["x"] + 2 * i + 1})
        (folder / f"{name}.index.json").write_text(json.dumps({"weight_map": {"x": shard}}))
    for i, name in enumerate(f"{name}{ending}" for name in FAMILIES for ending in ("", ".index.json")):
        assert load_folder(folder)[1]["x"][0] == i
        (folder / name).unlink()
    with pytest.raises(FileNotFoundError, match="got only 'part.bin'"):
        load_folder(folder)


def test_links_that_leave_the_folder(folder, tmp_path):
    """The files are links out of the folder, as in the cache of the Hugging Face Hub."""
    expected = read_tensors(folder / "model.safetensors")
    for name in FAMILIES:
        copy = Path(shutil.copytree(folder, tmp_path / f"of {name}"))
        split(copy, name)
        blobs = tmp_path / f"blobs of {name}"
        blobs.mkdir()
        for i, file in enumerate(sorted(copy.iterdir())):
            file.rename(blobs / f"{i}")
            file.symlink_to(blobs / f"{i}")
        check_equal(load_folder(copy)[1], expected)


def test_torch_is_not_imported(folder):
    save_torch(folder / "pytorch_model.bin", read_tensors(folder / "model.safetensors"))
    (folder / "model.safetensors").unlink()
    code = (
        "import sys; sys.modules['torch'] = sys.modules['safetensors'] = None\n"
        "from squeezeops.squeezebert.model.weights import load_folder\n"
        "from squeezeops.squeezebert.files import torch_pickle\n"
        "print(len(load_folder(sys.argv[1])[1]), 'pickle' in dir(torch_pickle))"
    )
    done = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(5 + 16 * 2 + 4), "False"]


# ---- broken folders ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("squeezebert/squeezebert-uncased", "expected a folder with a model, got no such folder"),
        ("model.safetensors", "expected a folder .* got a file"),
        (".", r"config\.json: expected the model's configuration, got no such file"),
    ],
)
def test_missing_folders(folder, path, message):
    (folder / "config.json").unlink()
    with pytest.raises(FileNotFoundError, match=message):
        load_folder(folder / path)


@pytest.mark.parametrize(
    ("others", "got"),
    [
        ([], "got no weights"),
        (["vocab.txt", "rust.txt"], "got no weights"),
        (["tf_model.h5"], "got only 'tf_model.h5' (TensorFlow's), which is not read"),
        (["flax_model.msgpack"], "got only 'flax_model.msgpack' (Flax's), which is not read"),
        (["model.onnx"], "got only 'model.onnx' (ONNX), which is not read"),
        (["squeezebert.q8.gguf"], "got only 'squeezebert.q8.gguf' (llama.cpp's), which is not read"),
        (["model.fp16.safetensors"], "got only 'model.fp16.safetensors' (safetensors under another name), which"),
        (
            ["b.bin", "a.pt"],
            "got only 'a.pt' (PyTorch's under another name), 'b.bin' (PyTorch's under another name), wh",
        ),
        (
            [f"{i}\n.onnx" for i in range(9)],
            "got only '0\\n.onnx' (ONNX), '1\\n.onnx' (ONNX), '2\\n.onnx' (ONNX), '3\\n.onnx'",
        ),
    ],
)
def test_missing_weights(folder, others, got):
    (folder / "model.safetensors").unlink()
    for other in others:
        (folder / other).write_bytes(b"")
    with pytest.raises(FileNotFoundError) as error:
        load_folder(folder)
    assert str(error.value).startswith(f"{folder}: expected model.safetensors or pytorch_model.bin, {got}")
    assert len(str(error.value)) < len(str(folder)) + 300


@pytest.mark.parametrize("name", FAMILIES)
def test_a_broken_link_is_an_error_even_with_other_weights(folder, name):
    save_torch(folder / "pytorch_model.bin", read_tensors(folder / "model.safetensors"))
    (folder / "model.safetensors").unlink()
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(folder / "nowhere")
    with pytest.raises(FileNotFoundError, match=f"{name}: expected .* got no such file"):
        load_folder(folder)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_pointer_of_git_lfs(folder, name):
    (folder / "model.safetensors").unlink()
    (folder / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 103271234\n")
    message = f"{folder / name}: expected weights, got a pointer to them: git lfs pull fetches the file"
    with pytest.raises(ValueError, match=f"^{message}"):
        load_folder(folder)


@pytest.mark.parametrize("name", FAMILIES)
def test_faults_of_shards(folder, name):
    """A shard that lacks a tensor, one that is cut off, and one that is missing."""
    index = split(folder, name)
    places = json.loads(index.read_text())["weight_map"]

    def message(error):
        with pytest.raises(error) as raised:
            load_folder(folder)
        return str(raised.value)

    shard = places["classifier.weight"]
    index.write_text(json.dumps({"weight_map": places | {"absent": shard}}))
    expected = f"{folder / shard}: expected the tensor 'absent', which {index} promises, got none"
    assert message(ValueError) == expected
    index.write_text(json.dumps({"weight_map": places}))
    _, cut, missing = (folder / label for label in sorted(set(places.values())))
    content = cut.read_bytes()
    cut.write_bytes(content[:-1])
    assert message(ValueError).startswith(f"{cut}: ")
    cut.write_bytes(content)
    missing.unlink()
    count = sum(place == missing.name for place in places.values())
    expected = f"{missing}: expected a file with {count} tensors of {index}, got no such file"
    assert message(FileNotFoundError) == expected


def weight_map(name: object) -> str:
    return json.dumps({"weight_map": {"x": name}})


PLAIN = "'x': expected the name of a .safetensors file in this folder"
INDICES = {  # name: (file, parts of the message)
    "empty": ("", "index: expected JSON, got "),
    "a list": ("[]", "index: expected a JSON object, got []"),
    "not JSON": ('{"weight_map": }', "index: expected JSON, got Expecting value at offset 15"),
    "cut short": (weight_map("a.safetensors")[:-1], "index: expected JSON"),
    "not UTF-8": (b'{"\xff": 1}', "index: expected UTF-8, got byte 0xff"),
    "deep": ('{"weight_map": ' + '{"x":' * 200_000, "index: expected JSON"),
    "deep metadata": ('{"metadata": ' + "[" * 200_000, "index: expected JSON"),
    "a tensor twice": ('{"weight_map": {"x": "a.safetensors", "x": "b.safetensors"}}', "every key once, got 'x' twice"),
    "a map twice": ('{"weight_map": {}, "weight_map": {}}', "every key once, got 'weight_map' twice"),
    "no map": ('{"metadata": {}}', "weight_map: expected an object that maps tensors to files, got None"),
    "an empty map": ('{"weight_map": {}}', "weight_map: expected an object that maps tensors to files, got {}"),
    "a map that is a list": ('{"weight_map": ["x"]}', "weight_map: expected an object", "got ['x']"),
    "a file that is a number": (weight_map(1), PLAIN, "got 1"),
    "a file that is null": (weight_map(None), PLAIN, "got None"),
    "a file that is a list": (weight_map(["a.safetensors"]), PLAIN, "got ['a.safetensors']"),
    "no name": (weight_map(""), PLAIN, "got ''"),
    "the folder": (weight_map("."), PLAIN),
    "the folder above": (weight_map(".."), PLAIN),
    "above": (weight_map("../other.safetensors"), PLAIN, "got '../other.safetensors'"),
    "far above": (weight_map("../" * 100 + "etc/other.safetensors"), PLAIN),
    "absolute": (weight_map("/etc/other.safetensors"), PLAIN),
    "below": (weight_map("a/b.safetensors"), PLAIN),
    "above, for Windows": (weight_map("..\\other.safetensors"), PLAIN),
    "a drive": (weight_map("C:other.safetensors"), PLAIN),
    "a stream": (weight_map("a.txt:b.safetensors"), PLAIN),
    "a zero": (weight_map("a\0.safetensors"), PLAIN),
    "a new line": (weight_map("a\n.safetensors"), PLAIN),
    "a lone surrogate": (weight_map("a\ud800.safetensors"), PLAIN),
    "a long name": (weight_map("a" * 100_000 + ".safetensors"), PLAIN),
    "of the other family": (weight_map("pytorch_model.bin"), PLAIN, "got 'pytorch_model.bin'"),
    "another index": (weight_map("model.safetensors.index.json"), PLAIN),
    "a long name of a tensor": (json.dumps({"weight_map": {"x" * 100_000: 5}}), "weight_map: 'xxx"),
    "longer than the limit": (
        '{"x": "' + "y" * 17 * 2**20 + '"}',
        "file: expected at most 16777216 bytes, got 17825801",
    ),
    "a number of many digits": ('{"weight_map": ' + "9" * 10_000 + "}", "weight_map: expected an object"),
}


@pytest.mark.parametrize("case", INDICES)
def test_hostile_indices(folder, case):
    content, *parts = INDICES[case]
    (folder / "model.safetensors").rename(folder / "a.safetensors")
    (folder.parent / "other.safetensors").write_bytes((folder / "a.safetensors").read_bytes())
    index = folder / "model.safetensors.index.json"
    index.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError) as error:
        load_folder(folder)
    message = str(error.value)
    assert message.startswith(f"{index}: ") and message.isprintable() and len(message) < len(str(index)) + 400
    for part in parts:
        assert part in message


def test_nothing_large_is_allocated_for_an_index(folder):
    (folder / "model.safetensors").unlink()
    with open(folder / "model.safetensors.index.json", "wb") as file:
        file.truncate(2**40)  # a sparse file of 1 TB
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="at most"):
            load_folder(folder)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes of POSIX")
@pytest.mark.parametrize(
    "name", ["config.json", "model.safetensors", "pytorch_model.bin", "model.safetensors.index.json"]
)
@pytest.mark.parametrize("make", ["mkfifo", "mkdir"])
def test_pipes_and_folders_are_refused(folder, name, make):
    """An archive may contain a pipe. open() would wait for a writer forever."""
    if name != "config.json":
        (folder / "model.safetensors").unlink()
    (folder / name).unlink(missing_ok=True)
    getattr(os, make)(folder / name)
    with pytest.raises(ValueError, match="got a folder or a special file") as error:
        load_folder(folder)
    assert str(error.value).startswith(str(folder / name))


# ---- tensors against the configuration -----------------------------------------------------------------------------


def test_all_faults_are_listed_in_one_error():
    config, weights = load_folder(GOLDEN / "classification")
    layer = "transformer.encoder.layers."
    del weights[f"{layer}0.attention.query.bias"]
    del weights["classifier.bias"]
    weights[f"{layer}1.output.conv1d.weight"] = np.zeros((32, 128, 1), np.float32)
    weights["transformer.pooler.dense.weight"] = np.zeros((32, 32), np.int64)
    weights[f"{layer}2.attention.query.bias"] = np.zeros(32, np.float32)
    weights["embeddings.LayerNorm.weight"] = np.zeros(32, np.float32)  # without the prefix of the others
    with pytest.raises(ValueError) as error:
        SqueezeBert(config, weights)
    assert str(error.value).splitlines() == [
        "checkpoint: expected the tensors that the configuration describes, got 6 differences:",
        f"  missing: {layer}0.attention.query.bias (32,)",
        f"  wrong shape: {layer}1.output.conv1d.weight: expected (32, 32, 1), got (32, 128, 1)",
        "  wrong dtype: transformer.pooler.dense.weight: expected float32, float16 or float64, got int64",
        "  missing: classifier.bias (3,)",
        f"  unknown: {layer}2.attention.query.bias",
        "  unknown: embeddings.LayerNorm.weight",
    ]


def test_the_folder_is_named_where_tensors_do_not_fit(folder):
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**values, "num_hidden_layers": 3, "num_labels": 2}))
    with pytest.raises(ValueError, match=r"16 differences") as error:
        SqueezeBert.from_pretrained(folder)
    assert str(error.value).startswith(f"{folder}: checkpoint: expected ")


def test_weights_must_be_arrays():
    config, weights = load_folder(GOLDEN / "classification")
    with pytest.raises(TypeError, match=r"classifier\.bias: expected a NumPy array, got list"):
        SqueezeBert(config, {**weights, "classifier.bias": [0.0, 0.0, 0.0]})
    swapped = weights["classifier.bias"].astype(">f4")
    with pytest.raises(ValueError, match=r"wrong dtype: classifier\.bias: expected .* or float64, got >f4"):
        SqueezeBert(config, {**weights, "classifier.bias": swapped})
