"""Fuzz targets of the readers: a file in a folder whose other files are fine is read, or refused by a ValueError."""

from __future__ import annotations

import io
import json
import pickle
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hostile_files
from model_helpers import write_model

from squeezeops import SqueezeBert, Tokenizer
from squeezeops.benchmark import compare
from squeezeops.squeezebert.conversion.check import check
from squeezeops.squeezebert.conversion.convert import convert
from squeezeops.squeezebert.files import checkpoint, safetensors, sentence_transformers, torch_file
from squeezeops.squeezebert.model.config import SqueezeBertConfig

GOLDEN = Path(__file__).parents[1] / "golden"
TEXT = "A b ab [SEP] <x> <y>\N{LATIN SMALL LETTER E WITH ACUTE}\N{GRINNING FACE}\u4e2d"
SENTENCES = ({"type": "sentence_transformers.models.Transformer", "path": ""},)
SENTENCES += ({"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"},)


def encoded(value: Any) -> bytes:
    return json.dumps(value).encode()


def prepare(folder: Path) -> None:
    """Make the other files: a small model with a vocabulary."""
    hostile_files.write(folder / "vocab.txt", "\n".join([*hostile_files.SPECIALS, "a", "b", "##b"]))
    hostile_files.write(folder / "1_Pooling" / "config.json", "{}")


def use_tokenizer(tokenizer: Tokenizer) -> None:
    try:
        ids = tokenizer([TEXT], ["b"], padding=True)["input_ids"][0]
    except ValueError as error:  # of a vocabulary without [UNK], or of settings without a token to pad with
        assert str(error).startswith(("text: ", "padding: ")), error
        return
    assert all(type(i) is int and i >= 0 for i in ids)
    tokenizer.decode(ids)
    same = Tokenizer.from_settings(tokenizer._vocab, json.loads(json.dumps(tokenizer.settings())))
    assert same.decode(ids) == tokenizer.decode(ids)


def read_config(folder: Path) -> None:
    config = SqueezeBertConfig.from_json(folder / "config.json")
    SqueezeBertConfig.from_dict(json.loads(json.dumps(vars(config))))


def read_tokenizer(folder: Path) -> None:
    use_tokenizer(Tokenizer.from_pretrained(folder))


def read_tensors(folder: Path) -> None:
    tensors = checkpoint.load_weights(str(folder))
    for array in tensors.values():
        assert not array.flags.writeable
        array.sum()  # reads every element


def read_header(folder: Path) -> None:
    for array in safetensors.read_tensors(folder / "x.safetensors").values():
        array.sum()


def read_torch(folder: Path) -> None:
    for array in torch_file.read_tensors(folder / "pytorch_model.bin").values():
        array.sum()


def read_embedding(folder: Path) -> None:
    settings = sentence_transformers.read_embedding(str(folder))
    assert settings is None or set(settings.pooling) <= set(sentence_transformers.POOLINGS)


def read_converted(folder: Path) -> None:
    path = str(folder / "x.safetensors")
    model = SqueezeBert.from_pretrained(path)
    model([[0, 1]])
    use_tokenizer(Tokenizer.from_pretrained(path))


def read_checked(folder: Path) -> None:
    path = str(folder / "x.safetensors")
    check(path)
    SqueezeBert.from_pretrained(path)  # which checks less


def read_bench(folder: Path) -> None:
    with open(folder / "x.json", "rb") as file:
        results = compare.read_results("x.json", file)
    list(compare.differences_of_machines(results, results))


def state_dict() -> bytes:
    """The pickle of a dict with one tensor."""
    storage = b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\0" + b"0X\x03\0\0\0cpuK\x06tQ"
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"K\0K\x02K\x03\x86K\x03K\x01\x86\x89N" + b"tR"
    return b"\x80\x02}X\x01\0\0\0a" + tensor + b"s."


def torch_archive(program: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("m/data.pkl", program)
        archive.writestr("m/data/0", bytes(24))
    return file.getvalue()


def old_torch_file() -> bytes:
    parts = [pickle.dumps(part, 2) for part in (torch_file.MAGIC_NUMBER, 1001, {"little_endian": True}, {}, [])]
    return b"".join(parts)


def converted_models() -> list[bytes]:
    """Small models in files of every version, task and kind of weights."""
    made = [(GOLDEN / f"version_{version}.safetensors").read_bytes() for version in (1, 2)]
    kinds = [("float32", None), ("float16", None), ("int8", "float32"), ("int8", "int8")]
    tasks = ("base", "text-classification", "token-classification", "question-answering", "masked-lm")
    with tempfile.TemporaryDirectory() as folder:
        for i, task in enumerate(tasks):
            labels = ["bad", "gut \U0001f642"] if task.endswith("classification") else None
            checkpoint = write_model(Path(folder) / task, labels, task=task)
            for dtype, attention in kinds if i < 2 else kinds[-1:]:
                path = Path(folder) / "out.safetensors"
                convert(checkpoint, path, dtype=dtype, attention=attention, force=True)
                made.append(path.read_bytes())
    return made


def tokenizer_files() -> list[bytes]:
    post = {"type": "TemplateProcessing", "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [2], "tokens": ["[CLS]"]}}}
    cls, a, b = (
        {"SpecialToken": {"id": "[CLS]", "type_id": 0}},
        *({"Sequence": {"id": part, "type_id": i}} for i, part in enumerate("AB")),
    )
    bert = {"type": "BertProcessing", "cls": ["[CLS]", 2], "sep": ["[SEP]", 3]}
    normalizer = {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "lowercase": True}
    sequence = {"type": "Sequence", "normalizers": [{"type": "NFD"}, {"type": "StripAccents"}, {"type": "Lowercase"}]}
    added = [{"id": 8, "content": "<x>", "single_word": True, "lstrip": True, "normalized": True, "special": False}]
    decoder = {"type": "WordPiece", "prefix": "##", "cleanup": True}
    made = hostile_files.tokenizer_json
    return [
        encoded(made(post_processor={**post, "single": [cls, a], "pair": [cls, a, b]}, normalizer=normalizer)),
        encoded(made(post_processor=bert, normalizer=sequence, added_tokens=added, decoder=decoder)),
        encoded(made(truncation={"direction": "Left"}, padding={"direction": "Right", "pad_token": "[PAD]"})),
    ]


def measured() -> bytes:
    row = {"op": "a", "shape": {"tokens": 1}, "dtype": "f32", "backend": "native", "isa": None, "cold": False}
    row |= {"threads": 1, "raw": [[10.0, 2.0, 2.0]] * 3}
    return encoded({"machine": {"cpus": 2}, "results": [row]})


CONFIG = {**hostile_files.CONFIG, "id2label": {"0": "a", "1": "b"}, "architectures": ["SqueezeBertModel"]}
SETTINGS = {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": 10, "cls_token": "[CLS]"}
SETTINGS |= {"added_tokens_decoder": {"8": {"content": "<x>", "special": False}}, "padding_side": "left"}
DISTIL = {"model_type": "distilbert", "dim": 16, "n_heads": 2, "n_layers": 1, "hidden_dim": 32, "activation": "gelu"}


def plain_header() -> bytes:
    header = {"__metadata__": {"a": "b"}, "x": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}
    header |= {"y": {"dtype": "BF16", "shape": [4], "data_offsets": [24, 32]}}
    text = encoded(header)
    return len(text).to_bytes(8, "little") + text + bytes(32)


INDEX = encoded({"metadata": {}, "weight_map": {"x": "model-1.safetensors", "y": "model-1.safetensors"}})
Target = tuple[str, Callable[[Path], None], Callable[[], list[bytes]]]
# By name: the file of the input, what reads it, and inputs to begin with.
READERS: dict[str, Target] = {
    "config": ("config.json", read_config, lambda: [encoded(CONFIG), encoded(DISTIL)]),
    "tokenizer": ("tokenizer.json", read_tokenizer, tokenizer_files),
    "tokenizer_config": ("tokenizer_config.json", read_tokenizer, lambda: [encoded(SETTINGS)]),
    "special_tokens_map": (
        "special_tokens_map.json",
        read_tokenizer,
        lambda: [encoded({"cls_token": "[CLS]", "pad_token": {"content": "[PAD]", "lstrip": False}})],
    ),
    "added_tokens": ("added_tokens.json", read_tokenizer, lambda: [encoded({"<x>": 8, "<y>": 9})]),
    "vocabulary": (
        "vocab.txt",
        read_tokenizer,
        lambda: ["\n".join([*hostile_files.SPECIALS, "a", "##b\u3000"]).encode()],
    ),
    "header": ("x.safetensors", read_header, lambda: [plain_header()]),
    "index": ("model.safetensors.index.json", read_tensors, lambda: [INDEX]),
    "torch": ("pytorch_model.bin", read_torch, lambda: [torch_archive(state_dict()), old_torch_file()]),
    "pickle": ("pytorch_model.bin", read_torch, lambda: [state_dict()]),
    "modules": ("modules.json", read_embedding, lambda: [encoded(SENTENCES)]),
    "pooling": ("1_Pooling/config.json", read_embedding, lambda: [encoded({"pooling_mode_cls_token": True})]),
    "prompts": (
        "config_sentence_transformers.json",
        read_embedding,
        lambda: [encoded({"prompts": {"query": "query: "}, "default_prompt_name": "query"})],
    ),
    "converted": ("x.safetensors", read_converted, converted_models),
    "checked": ("x.safetensors", read_checked, converted_models),
    "bench": ("x.json", read_bench, lambda: [measured()]),
}


def run_reader(name: str, data: bytes, folder: Path) -> None:
    """Read an input. A message is short and has no line of the file's own."""
    file, read, _ = READERS[name]
    prepare(folder)
    if name in ("pooling", "prompts"):
        hostile_files.write(folder / "modules.json", encoded(SENTENCES))
    if name == "index":
        hostile_files.write(folder / "model-1.safetensors", plain_header())
    hostile_files.write(folder / file, torch_archive(data) if name == "pickle" else data)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            read(folder)
    except (ValueError, FileNotFoundError) as error:
        assert len(str(error)) < 4000, len(str(error))
