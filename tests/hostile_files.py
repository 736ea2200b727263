"""Files that would cost far more than they weigh, and a process that measures what reading one costs.

A file is made in an empty folder; its maker returns the path that a reader of `READERS` takes.
"""

from __future__ import annotations

import io
import itertools
import json
import struct
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

BASE, FACTOR = 64 * 2**20, 8  # reading costs at most BASE + FACTOR * bytes of the files
SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
CONFIG = {"model_type": "squeezebert", "hidden_size": 16, "embedding_size": 16, "num_attention_heads": 2}
CONFIG |= {"num_hidden_layers": 1, "intermediate_size": 32}
MIB = 2**20


# ---- readers -----------------------------------------------------------------------------------------------------


def read_config(path: str) -> None:
    from squeezeops.squeezebert.model.config import SqueezeBertConfig

    SqueezeBertConfig.from_json(path)


def read_tokenizer(path: str) -> None:
    from squeezeops import Tokenizer

    tokenizer = Tokenizer.from_pretrained(path)
    tokenizer.decode(tokenizer("a" * 10_000 + " b" * 10_000)["input_ids"])
    tokenizer(["ab"], ["c"], padding=True)


def read_header(path: str) -> None:
    from squeezeops.squeezebert.files import safetensors

    safetensors.read_tensors(path)


def read_weights(path: str) -> None:
    from squeezeops.squeezebert.files import checkpoint

    checkpoint.load_weights(path)


def read_torch(path: str) -> None:
    from squeezeops.squeezebert.files import torch_file

    torch_file.read_tensors(path)


def read_embedding(path: str) -> None:
    from squeezeops.squeezebert.files import sentence_transformers

    sentence_transformers.read_embedding(path)


def read_converted(path: str) -> None:
    from squeezeops import SqueezeBert, Tokenizer

    SqueezeBert.from_pretrained(path)
    Tokenizer.from_pretrained(path)


def read_bench(path: str) -> None:
    from squeezeops.benchmark.compare import read_results

    with open(path, "rb") as file:
        read_results(path, file)


READERS: dict[str, Callable[[str], None]] = {
    name.removeprefix("read_"): function for name, function in list(globals().items()) if name.startswith("read_")
}


# ---- JSON --------------------------------------------------------------------------------------------------------


def distinct() -> Iterator[str]:
    """Short strings, each once."""
    letters = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    return ("".join(item) for size in itertools.count(1) for item in itertools.product(letters, repeat=size))


def repeated(item: str) -> Callable[[int], str]:
    return lambda size: f"[{','.join([item] * (size // (len(item) + 1) - 1))}]"


def pairs(value: str) -> Callable[[int], str]:
    def make(size: int) -> str:
        parts, total = [], 2
        for name in distinct():
            total += len(name) + len(value) + 4
            if total > size:
                return f"{{{','.join(parts)}}}"
            parts.append(f'"{name}":{value}')
        raise AssertionError

    return make


def strings(size: int) -> str:
    names = itertools.takewhile(lambda name: len(name) < 5, distinct())
    return json.dumps(list(itertools.islice(names, size // 8)))


def wide_strings(size: int) -> str:
    return json.dumps(["a" * 40 + "\N{GRINNING FACE}" + name for name in itertools.islice(distinct(), size // 56)])


JSON: dict[str, Callable[[int], str]] = {  # bytes to a value of about that many
    "lists": repeated("[]"),
    "objects": repeated("{}"),
    "lists of one": repeated("[0]"),
    "objects of one": repeated('{"a":0}'),
    "lists of lists": repeated("[[[[]]]]"),
    "floats": repeated("1e9"),
    "integers": repeated("999"),
    "long integers": repeated("12345678901234567890123"),
    "pairs": pairs("999"),
    "pairs of lists": pairs("[]"),
    "pairs of objects": pairs('{"a":0}'),
    "strings": strings,
    "wide strings": wide_strings,
    "long string": lambda size: json.dumps("a" * size),
    "wide string": lambda size: json.dumps("a" * size + "\N{GRINNING FACE}", ensure_ascii=False),
    "commas": lambda size: json.dumps("," * size),
    "spaces": lambda size: " " * size + "0",
    "digits": lambda size: "1" * size,
    "nested": lambda size: "[" * size,
    "one key": lambda size: "{" + ",".join(['"a":0'] * (size // 6)) + "}",
}


def with_member(values: dict[str, Any], text: str, key: str = "x") -> str:
    """Return the JSON of an object with one more member, whose value is given as its text."""
    return f'{{"{key}":{text},{json.dumps(values)[1:]}'


# ---- files -------------------------------------------------------------------------------------------------------


def write(path: Path, content: str | bytes) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def tokenizer_json(**changes: Any) -> dict[str, Any]:
    vocab = {token: i for i, token in enumerate([*SPECIALS, "a", "b", "##b"])}
    return {
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": None,
        "decoder": None,
        "model": {
            "type": "WordPiece",
            "unk_token": "[UNK]",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": vocab,
        },
        **changes,
    }


def folder_with(folder: Path, name: str, content: str) -> str:
    write(folder / "vocab.txt", "\n".join([*SPECIALS, "a", "b", "##b"]))
    write(folder / name, content)
    return str(folder)


def safetensors_file(path: Path, header: str | bytes, data: bytes = b"") -> str:
    text = header if isinstance(header, bytes) else header.encode()
    return write(path, struct.pack("<Q", len(text)) + text + data)


def tensors_of_nothing(size: int) -> str:
    entry = '"{}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}'
    return "{" + ",".join(entry.format(name) for name in itertools.islice(distinct(), size // (len(entry) + 3))) + "}"


def tensors_of_many_axes(size: int) -> str:
    axes = ",".join(["999999999999"] * 31)
    entry = f'"{{}}":{{{{"dtype":"F32","shape":[0,{axes}],"data_offsets":[0,0]}}}}'
    return "{" + ",".join(entry.format(name) for name in itertools.islice(distinct(), size // len(entry))) + "}"


def torch_zip(path: Path, pickle: bytes, entries: int = 0) -> str:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a/data.pkl", pickle)
        for i in range(entries):
            archive.writestr(f"a/{i}", b"")
    return write(path, file.getvalue())


def json_files(where: Callable[[Path, str], str], *names: str) -> dict[str, Callable[[Path, int], str]]:
    return {name: lambda folder, size, make=JSON[name]: where(folder, make(size)) for name in names or JSON}


def sections(**changes: Any) -> Callable[[Path], str]:
    return lambda folder: write(folder / "tokenizer.json", json.dumps(tokenizer_json(**changes)))


def template(items: int, ids: int) -> Callable[[Path], str]:
    """A post-processor whose special token has many ids, and is in the template many times."""
    special = {"[CLS]": {"id": "[CLS]", "ids": [2] * ids, "tokens": ["[CLS]"] * ids}}
    piece = {"SpecialToken": {"id": "[CLS]", "type_id": 0}}
    post = {"type": "TemplateProcessing", "single": [piece] * items, "pair": [piece] * items, "special_tokens": special}
    return sections(post_processor=post)


def nested_sections(key: str, inner: str, leaf: dict[str, Any]) -> Callable[[Path], str]:
    """Sequences in sequences, each with some leaves of its own."""

    def make(folder: Path) -> str:
        section: dict[str, Any] = {"type": "Sequence", inner: [leaf] * 30}
        for _ in range(200):
            section = {"type": "Sequence", inner: [section, *[leaf] * 30]}
        return sections(**{key: section})(folder)

    return make


def cubic_words(folder: Path) -> str:
    """A vocabulary with a token as long as the text that almost fits, and pieces of one character."""
    model = tokenizer_json()["model"]
    model["vocab"] |= {"##a": 8, "##" + "a" * 9_000 + "c": 9, "a" * 9_000 + "c": 10}
    return sections(model=model | {"max_input_chars_per_word": 10**6})(folder)


def added_tokens(count: int, length: int, alike: bool = True) -> Callable[[Path], str]:
    def make(folder: Path) -> str:
        names = itertools.islice(distinct(), count)
        contents = ["a" * length + name if alike else name + "a" * length for name in names]
        records = [{"id": 8 + i, "content": content, "special": False} for i, content in enumerate(contents)]
        return sections(added_tokens=records)(folder)

    return make


def added_of_all_lengths(folder: Path) -> str:
    records = [{"id": 8 + i, "content": "a" * (i + 1) + "!", "special": False} for i in range(2000)]
    return sections(added_tokens=records)(folder)


def vocab_lines(item: Callable[[Iterator[str]], str]) -> Callable[[Path, int], str]:
    def make(folder: Path, size: int) -> str:
        names = distinct()
        text = "\n".join([*SPECIALS, *(item(names) for _ in range(size // (len(item(distinct())) + 5)))])
        return write(folder / "vocab.txt", text)

    return make


def pickle_of(*opcodes: bytes) -> Callable[[Path, int], str]:
    def make(folder: Path, size: int) -> str:
        body = b"".join(opcodes)
        return torch_zip(folder / "pytorch_model.bin", b"\x80\x02" + body * (size // len(body)) + b".")

    return make


def wide_pickle(folder: Path, size: int) -> str:
    text = ("a" * size + "\N{GRINNING FACE}").encode()
    return torch_zip(folder / "pytorch_model.bin", b"\x80\x02X" + struct.pack("<I", len(text)) + text + b".")


def old_pickle(folder: Path, size: int) -> str:
    return write(folder / "pytorch_model.bin", b"\x80\x02" + b"]" * size + b".")


def converted(**texts: str) -> Callable[[Path], str]:
    def make(folder: Path) -> str:
        metadata = {"squeezeops_format": "2", "requires": "", "attention": "float32", "dtype": "float32"}
        metadata |= {"task": "base", "config.json": json.dumps(CONFIG), **texts}
        return safetensors_file(folder / "x.safetensors", json.dumps({"__metadata__": metadata}, ensure_ascii=False))

    return make


def config_file(folder: Path, text: str) -> str:
    return write(folder / "config.json", with_member(CONFIG, text))


def tokenizer_file(folder: Path, text: str) -> str:
    return write(folder / "tokenizer.json", with_member(tokenizer_json(), text))


def vocabulary(folder: Path, text: str) -> str:
    data = json.dumps(tokenizer_json(model={**tokenizer_json()["model"], "vocab": "HERE"}))
    return write(folder / "tokenizer.json", data.replace('"HERE"', text))


def config_beside(name: str, key: str = "x") -> Callable[[Path, str], str]:
    return lambda folder, text: folder_with(folder, name, with_member({}, text, key).removesuffix(",}") + "}")


def numbered_tokens(size: int) -> str:
    """A vocabulary, as real ones are: short tokens, each with an id of its own."""
    names = itertools.chain(SPECIALS, distinct())
    return json.dumps({name: i for i, name in enumerate(itertools.islice(names, size // 15))})


def index_file(folder: Path, text: str) -> str:
    write(folder / "model.safetensors.index.json", with_member({"weight_map": {"a": "b.safetensors"}}, text))
    return str(folder)


def index_map(folder: Path, text: str) -> str:
    write(folder / "model.safetensors.index.json", with_member({"metadata": {}}, text, "weight_map"))
    return str(folder)


def modules_file(folder: Path, text: str) -> str:
    write(folder / "modules.json", text)
    return str(folder)


def header_file(folder: Path, text: str) -> str:
    return safetensors_file(folder / "x.safetensors", with_member({"__metadata__": {}}, text))


def bench_file(folder: Path, text: str) -> str:
    return write(folder / "x.json", with_member({"results": [], "machine": {}}, text))


WORST = ("lists", "objects of one", "pairs of objects", "pairs", "wide string")
SIZES = (2 * MIB, 5 * MIB, 16 * MIB - 4096, 40 * MIB)
# By reader: files of any size, and files of one size. Each may be accepted or refused.
SIZED: dict[str, dict[str, Callable[[Path, int], str]]] = {
    "config": json_files(config_file),
    "tokenizer": {
        **{f"tokenizer.json: {k}": v for k, v in json_files(tokenizer_file, *WORST).items()},
        "vocabulary": lambda folder, size: vocabulary(folder, numbered_tokens(size)),
        **{f"tokenizer_config: {k}": v for k, v in json_files(config_beside("tokenizer_config.json"), "lists").items()},
        **{
            f"special_tokens_map: {k}": v
            for k, v in json_files(config_beside("special_tokens_map.json"), "objects of one").items()
        },
        **{f"added_tokens: {k}": v for k, v in json_files(config_beside("added_tokens.json"), "lists").items()},
        "vocab.txt: lines": vocab_lines(next),
        "vocab.txt: wide lines": vocab_lines(lambda names: "\N{GRINNING FACE}" + next(names)),
        "vocab.txt: no lines": vocab_lines(lambda names: ""),
        "vocab.txt: long lines": vocab_lines(lambda names: "a" * 100 + next(names)),
    },
    "header": {
        **json_files(header_file, *WORST),
        "tensors of nothing": lambda folder, size: safetensors_file(folder / "x.safetensors", tensors_of_nothing(size)),
        "tensors of many axes": lambda folder, size: safetensors_file(
            folder / "x.safetensors", tensors_of_many_axes(size)
        ),
    },
    "weights": {
        **{f"index: {k}": v for k, v in json_files(index_file, "objects of one").items()},
        **{f"weight_map: {k}": v for k, v in json_files(index_map, "pairs").items()},
    },
    "embedding": json_files(modules_file, "lists", "objects of one"),
    "bench": json_files(bench_file, "lists", "objects of one"),
    "torch": {
        "lists": pickle_of(b"]"),
        "dicts": pickle_of(b"}"),
        "marks": pickle_of(b"("),
        "memo": pickle_of(b"]\x94"),
        "strings": pickle_of(b"\x8c\x01a"),
        "numbers": pickle_of(b"J\xff\xff\xff\x7f"),
        "wide string": wide_pickle,
        "entries": lambda folder, size: torch_zip(folder / "pytorch_model.bin", b"\x80\x02}.", size // 100),
        "old layout": old_pickle,
    },
}
FIXED: dict[str, dict[str, Callable[[Path], str]]] = {
    "tokenizer": {
        "template": template(1_000, 2_000),
        "long template": template(3_000, 3_000),
        "nested normalizers": nested_sections("normalizer", "normalizers", {"type": "Lowercase"}),
        "nested pre-tokenizers": nested_sections("pre_tokenizer", "pretokenizers", {"type": "BertPreTokenizer"}),
        "nested processors": nested_sections("post_processor", "processors", {"type": "BertProcessing"}),
        "nested decoders": nested_sections("decoder", "decoders", {"type": "WordPiece"}),
        "cubic words": cubic_words,
        "long added tokens": added_tokens(20_000, 200),
        "longer added tokens": added_tokens(2_000, 5_000),
        "many added tokens": added_tokens(100_000, 1, alike=False),
        "added tokens of all lengths": added_of_all_lengths,
    },
    "converted": {
        **{
            f"config.json: {name}": converted(**{"config.json": with_member(CONFIG, JSON[name](15 * MIB))})
            for name in ("long string",)
        },
    },
}

MEASURE = """
import json, os, resource, sys, time
from hostile_files import READERS, memory
import squeezeops, squeezeops.squeezebert, squeezeops.benchmark.compare
import squeezeops.squeezebert.files.torch_file

seconds, *cases = sys.argv[1:]
for reader in READERS:
    try:
        READERS[reader](sys.argv[0] + "/missing")
    except (ValueError, OSError):
        pass
for reader, path in zip(cases[::2], cases[1::2]):
    child = os.fork()  # each file has a fresh process, which has imported everything
    if child == 0:
        resource.setrlimit(resource.RLIMIT_CPU, (int(seconds),) * 2)
        before, start = memory(reset=True), time.process_time()
        try:
            READERS[reader](path)
            result = "accepted"
        except (ValueError, FileNotFoundError) as error:
            result = f"{type(error).__name__}: {str(error).replace(path, '...')}"
            assert len(result) < 1000, len(result)
        used = time.process_time() - start
        print(json.dumps([memory() - before, used, result]), flush=True)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    if status:
        print(json.dumps([0, 1e9, f"ended with {status}"]), flush=True)
"""


def memory(reset: bool = False) -> int:
    """The largest resident memory of this process, in bytes, since it was reset."""
    if reset:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))


def costs(cases: list[tuple[str, str]], seconds: int) -> list[tuple[int, float, str]]:
    """Read files, each in a process of its own that has so much CPU time: bytes, seconds, and what came out."""
    from op_helpers import run_python

    done = run_python("-c", MEASURE, str(seconds), *itertools.chain.from_iterable(cases))
    lines = [tuple(json.loads(line)) for line in done.stdout.splitlines()]
    assert len(lines) == len(cases), done.stderr
    return lines


def cost(reader: str, path: str, seconds: int) -> tuple[int, float, str]:
    return costs([(reader, path)], seconds)[0]


def weight(path: str) -> int:
    """The bytes of a file, or of all files in a folder."""
    place = Path(path)
    return sum(file.stat().st_size for file in ([place] if place.is_file() else place.rglob("*")) if file.is_file())


def all_files() -> Iterator[tuple[str, str, Callable[[Path], str]]]:
    """Yield (reader, name, maker) of every file."""
    for reader, files in SIZED.items():
        for name, sized in files.items():
            for size in SIZES:
                yield reader, f"{name}: {size // MIB} MiB", lambda folder, sized=sized, size=size: sized(folder, size)
    for reader, fixed in FIXED.items():
        for name, make in fixed.items():
            yield reader, name, make


def main() -> None:
    """Print the cost of each file whose name has one of the given words in it."""
    import tempfile

    print("reader | file | bytes | MB | MB allowed | seconds | result")
    for reader, name, make in all_files():
        if not any(word in f"{reader}: {name}" for word in sys.argv[1:] or [""]):
            continue
        with tempfile.TemporaryDirectory() as folder:
            path = make(Path(folder))
            size = weight(path)
            nbytes, seconds, result = cost(reader, path, 60)
        allowed = BASE + FACTOR * size
        flag = "!" if nbytes > allowed or seconds > 3 else " "
        figures = f"{size} | {nbytes / 1e6:.0f} | {allowed / 1e6:.0f} | {seconds:.2f}"
        print(f"{flag} {reader} | {name} | {figures} | {result:.150}", flush=True)


if __name__ == "__main__":
    main()
