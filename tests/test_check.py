"""``squeezeops check`` finds damage in every region of a converted model that loading leaves unread."""

import json
import re
import shutil
import struct

import numpy as np
import pytest
from cli_helpers import caller, check_error, output
from model_helpers import CHECKPOINT, write_model
from test_convert import EXPONENTS, QUERY, WORD_TABLE, Edited, write_wide
from test_squeezebert import GOLDEN

from squeezeops.packing import TARGETS, pack, packed_size, padded
from squeezeops.pipelines import default_model
from squeezeops.squeezebert.conversion.check import check
from squeezeops.squeezebert.conversion.convert import convert
from squeezeops.squeezebert.files.verification import packed_faults

NAMES = ["loading", "sums", "padding", "values", "vocabulary", "metadata"]


@pytest.fixture
def call(capsys, monkeypatch):
    return caller(capsys, monkeypatch)


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """An int8 model with a vocabulary; its groups have 4 of 16 channels. Tests that change it must copy it."""
    folder = write_model(tmp_path_factory.mktemp("models") / "reviews", ["bad", "so so", "good"], seed=3)
    convert(folder, path := tmp_path_factory.mktemp("converted") / "model.safetensors")
    return path


@pytest.fixture
def damaged(converted, tmp_path):
    """A function that changes a copy and returns the faults that are found: (check, fault)."""

    def damaged(change, source=converted):
        file = Edited(shutil.copy(source, tmp_path / "damaged.safetensors"))
        change(file)
        file.write()
        return faults(file.path)

    return damaged


def faults(path):
    return [(one.name, fault) for one in check(path)[1] for fault in one.faults]


def put(name, offset, data):
    """A change of bytes of a tensor, from `offset` on; a negative one counts from its end."""

    def change(file):
        begin, end = file.header[name]["data_offsets"]
        start = (begin if offset >= 0 else end) + offset
        assert begin <= start <= start + len(data) <= end and file.data[start : start + len(data)] != data
        file.data = file.data[:start] + data + file.data[start + len(data) :]

    return change


def flip(name, offset):
    def change(file):
        begin, end = file.header[name]["data_offsets"]
        put(name, offset, bytes([file.data[(begin if offset >= 0 else end) + offset] ^ 1]))(file)

    return change


# ---- intact files ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", TARGETS)
@pytest.mark.parametrize("name", ["odd_groups", "float16", "bert_masked_lm", "question_answering"])
def test_what_convert_writes_is_intact(tmp_path, name, dtype):
    convert(GOLDEN / name, out := tmp_path / "model.safetensors", dtype=dtype)
    path, checks = check(out)
    assert path == str(out) and [one.name for one in checks] == NAMES
    assert [fault for one in checks for fault in one.faults] == []
    assert {one.name: one.number > 0 for one in checks} == dict.fromkeys(NAMES, True) | {
        "sums": dtype == "int8",
        "vocabulary": False,
    }


@pytest.mark.parametrize("path", [default_model(), GOLDEN / "version_1.safetensors", GOLDEN / "version_2.safetensors"])
def test_earlier_versions_are_intact(path):
    checks = check(path)[1]
    assert [fault for one in checks for fault in one.faults] == [] and all(one.number > 0 for one in checks)


def test_rotated_weights_are_intact(tmp_path):
    """And those of a BERT's values, which are float16."""
    convert(write_wide(tmp_path / "wide"), out := tmp_path / "model.safetensors")
    assert "rotation" in Edited(out).metadata["requires"] and faults(out) == []
    file = Edited(out)
    flip(f"{QUERY}.packed", 0)(file)
    file.write()
    assert [name for name, _ in faults(out)] == ["sums"]


# ---- every region ----------------------------------------------------------------------------------------------------

# Panels of the queries: 4 groups with one panel of 128 + 64 bytes, for 4 input channels and 4 of 16 output channels.
PANEL = 192
assert packed_size(4, 16, 16, "int8") == 4 * PANEL
NAN, INFINITE = struct.pack("<f", float("nan")), struct.pack("<f", float("inf"))
REGIONS = {
    "a sum": (
        flip(f"{QUERY}.packed", PANEL + 4),
        "sums",
        rf"{QUERY}\.packed: group 1, output channel 1: expected the sum of its weights times -128, -?\d+, got -?\d+",
    ),
    "a weight": (
        flip(f"{QUERY}.packed", 2 * PANEL + 128 + 5),
        "sums",
        "group 2, output channel 1: expected",
    ),
    "the sum of a channel that is none": (flip(f"{QUERY}.packed", 4 * 15), "sums", "output channel 15: .* 0, got 1"),
    "the scale of a channel that is none": (
        flip(f"{QUERY}.packed", 64 + 4 * 15),
        "padding",
        "byte 124: expected 0",
    ),
    "a weight of a channel that is none": (flip(f"{QUERY}.packed", -1), "padding", "byte 767: expected 0, got 1"),
    "a scale": (
        put(f"{QUERY}.packed", 64, NAN),
        "values",
        "output channel 0: expected .*, got nan",
    ),
    "a negative scale": (put(f"{QUERY}.packed", 64, b"\0\0\0\x80"), "values", "expected a number from 0 on, got -0.0"),
    "a byte of a table": (
        put(WORD_TABLE, 0, b"\x80"),
        "values",
        r"\[0, 0\]: expected a byte from -127 to 127",
    ),
    "a scale of a table": (
        put(WORD_TABLE, -4, INFINITE),
        "values",
        "the scale of row 15: expected .*, got inf",
    ),
    "a float16 table": (
        put("embeddings.position_embeddings.weight", 2, b"\0\x7c"),
        "values",
        r"weight: \[0, 1\]: expected a finite number, got inf",
    ),
    "a bias": (put(f"{QUERY}.bias", 4, NAN), "values", r"bias: \[1\]: expected a finite number, got nan"),
    "a LayerNorm": (put("embeddings.LayerNorm.weight", -4, INFINITE), "values", r"\[15\]: expected a finite number"),
    "a float32 weight": (
        put("classifier.packed", 0, NAN),
        "values",
        r"packed: \[0, 0, 0\]: expected a finite",
    ),
    "a float32 channel that is none": (flip("classifier.packed", -1), "padding", "byte 1023: expected 0, got 1"),
    "an exponent": (put(EXPONENTS, 0, b"\x01"), "loading", "exponents from -16 to 0, got 1"),
    "a token": (put("vocab.bytes", 0, b"\xff"), "vocabulary", "tokens in UTF-8"),
    "the order of tokens": (put("vocab.bytes", 0, b"z"), "vocabulary", "in the order of their bytes"),
    "an offset": (put("vocab.offsets", 0, b"\x01"), "vocabulary", "numbers that ascend from 0"),
    "an id": (put("vocab.ids", 0, b"\0\x01"), "vocabulary", "expected ids below the model's vocab_size, 16, got 2"),
    "a negative id": (put("vocab.ids", -1, b"\x80"), "vocabulary", "expected ids from 0 on"),
}


@pytest.mark.parametrize("region", REGIONS)
def test_a_changed_byte(damaged, region):
    change, name, message = REGIONS[region]
    found = damaged(change)
    assert [kind for kind, _ in found] == [name] and re.search(message, found[0][1]), found


def text(name, value):
    return lambda file: file.metadata.__setitem__(name, value)


TEXTS = {
    "the tokenizer's settings": (text("tokenizer", "{"), "vocabulary", "tokenizer: "),
    "no settings": (
        lambda file: file.metadata.pop("tokenizer"),
        "vocabulary",
        "tokenizer: expected settings for",
    ),
    "the source": (text("source", "["), "metadata", "source: file: expected JSON"),
    "the format": (text("format", "x"), "metadata", "format: expected 'squeezeops', got 'x'"),
    "what it requires": (text("requires", "rotation int8-attention"), "metadata", "requires: expected 'rotation' for "),
    "the configuration": (text("config.json", "{}"), "loading", ""),
}


@pytest.mark.parametrize("name", TEXTS)
def test_a_changed_text(damaged, name):
    change, kind, message = TEXTS[name]
    found = damaged(change)
    assert [kind for kind, _ in found] == [kind] and re.search(message, found[0][1]), found


def test_the_padding_of_the_header(converted, tmp_path):
    path = tmp_path / "model.safetensors"
    content = converted.read_bytes()
    end = 8 + struct.unpack_from("<Q", content)[0]
    text = content[8:end].rstrip()
    assert len(text) < end - 9  # there is some
    path.write_bytes(content[: end - 1] + b"\n" + content[end:])
    assert faults(path) == [("metadata", "expected spaces after the header's JSON, got b'\\n'")]


def test_the_zeros_after_the_panels():
    """One panel of an odd depth in float16 is no multiple of 64 bytes."""
    packed = np.zeros(padded(size := packed_size(1, 15, 3, "float16")), np.uint8)
    packed[:size] = pack(np.ones((1, 3, 15), np.float32), None, "float16")
    assert len(packed) == size + 32 and list(packed_faults(packed, 15, 3, 1, "float16")) == []
    packed[-1] = 7
    assert list(packed_faults(packed, 15, 3, 1, "float16")) == [("padding", f"byte {size + 31}: expected 0, got 7")]


def test_many_faults_are_counted(damaged):
    def spoil(file):
        begin, end = file.header[f"{QUERY}.bias"]["data_offsets"]
        file.data = file.data[:begin] + NAN * ((end - begin) // 4) + file.data[end:]

    found = damaged(spoil)
    assert len(found) == 6 and found[-1] == ("values", f"{QUERY}.bias: and 11 more")


def test_a_head_that_is_not_loaded(damaged, tmp_path):
    """Its tensors are checked, too, as far as the configuration tells their sizes."""

    def add(name, dtype, shape, data):
        return lambda file: file.insert(name, dtype, shape, data, at=len(file.data))

    assert damaged(add("qa_outputs.bias", "F32", [2], bytes(8))) == []
    found = damaged(add("qa_outputs.bias", "F32", [2], NAN * 2))
    assert len(found) == 2 and found[0][1].startswith("qa_outputs.bias: [0]: expected a finite number")
    size = packed_size(1, 16, 2, "float32")
    assert damaged(lambda f: f.insert("qa_outputs.packed", "F32", [size // 4], bytes(size))) == []
    found = damaged(lambda f: f.insert("qa_outputs.packed", "F32", [size // 4], bytes(size - 1) + b"\1"))
    assert found == [("padding", f"qa_outputs.packed: byte {size - 1}: expected 0, got 1")]
    found = damaged(lambda f: f.insert("qa_outputs.packed", "F32", [16], bytes(64)))
    assert found == [("values", "qa_outputs.packed: expected a packed weight of a known head, got F32 of (16,)")]


def test_random_damage_is_found_or_harmless(converted, tmp_path):
    """A flipped bit is found, unless it makes another valid number or text. No damage raises anything else."""
    content, path = converted.read_bytes(), tmp_path / "model.safetensors"
    tensors = Edited(converted).header
    end = 8 + struct.unpack_from("<Q", content)[0]
    packed = [e["data_offsets"] for name, e in tensors.items() if name.endswith(".packed") and e["dtype"] == "U8"]
    rng = np.random.default_rng(0)
    found = 0
    for place in rng.integers(0, len(content), 150):
        changed = bytearray(content)
        changed[place] ^= 1 << rng.integers(8)
        path.write_bytes(changed)
        damage = faults(path)
        found += bool(damage)
        for begin, stop in packed:
            inside = place - end - begin
            if 0 <= inside < stop - begin and not 64 <= inside % PANEL < 128 and stop - begin == 4 * PANEL:
                assert damage  # all but scales
    assert 30 < found < 150


# ---- the command -----------------------------------------------------------------------------------------------------


def test_the_command(call, converted, tmp_path):
    lines = output(call("check", converted)).splitlines()
    assert [line.split()[:2] for line in lines] == [["ok", name] for name in NAMES]
    assert all(int(line.split()[2]) > 0 for line in lines)
    facts = json.loads(output(call("check", converted.parent, "--json")))
    assert facts["path"] == str(converted) and facts["ok"] is True
    assert [one["name"] for one in facts["checks"]] == NAMES and not any(one["faults"] for one in facts["checks"])
    assert output(call("check", "built-in"))


def test_the_command_on_damage(call, converted, tmp_path):
    file = Edited(shutil.copy(converted, tmp_path / "damaged.safetensors"))
    flip(f"{QUERY}.packed", 0)(file)
    file.write()
    status, out, err = call("check", file.path)
    assert (status, err) == (1, "")
    assert re.findall("^(?:ok|WRONG)", out, re.M) == ["ok", "WRONG", "ok", "ok", "ok", "ok"]
    assert out.splitlines()[-1].startswith(f"sums: {QUERY}.packed: group 0, output channel 0: expected")
    status, out, _ = call("check", "--json", file.path)
    assert status == 1 and json.loads(out)["ok"] is False


def test_the_command_on_what_does_not_load(call, converted, tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(converted.read_bytes()[:-1])
    status, out, _ = call("check", path)
    assert status == 1 and out.startswith("WRONG  loading") and re.search(r"^loading: .*expected .*, got", out, re.M)
    assert len(out.splitlines()) == 2


def test_what_is_no_converted_model(call, tmp_path):
    check_error(call("check", tmp_path / "none.safetensors"), "none.safetensors: expected")
    check_error(call("check", CHECKPOINT), "convert wrote, got the folder of a checkpoint")
