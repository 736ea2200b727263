"""Files that would cost more than they weigh: reading one takes at most 64 MiB and 8 times its size, and little time.

`python tests/hostile_files.py` prints what every file costs.
"""

import json

import hostile_files
import pytest
from hostile_files import BASE, FACTOR, FIXED, MIB, SIZED, costs, weight

from squeezeops import Tokenizer
from squeezeops.squeezebert.files import limits

CPU_SECONDS = 20  # per file, on any machine: what was quadratic takes minutes


def check_costs(reader, makers, folder):
    paths = [make(folder / str(i)) for i, (_, make) in enumerate(makers)]
    found = costs([(reader, path) for path in paths], CPU_SECONDS)
    for (name, _), path, (nbytes, seconds, result) in zip(makers, paths, found, strict=True):
        assert seconds < CPU_SECONDS, f"{name}: {result}"
        assert nbytes <= BASE + FACTOR * weight(path), f"{name}: {result}"


def test_the_limits_are_those_promised():
    assert (limits.MEMORY, limits.FACTOR) == (BASE, FACTOR)


@pytest.mark.parametrize("size", [2 * MIB, 5 * MIB, 16 * MIB - 4096])
@pytest.mark.parametrize("reader", SIZED)
def test_files_with_many_values(tmp_path, reader, size):
    makers = [(name, lambda folder, make=make: make(folder, size)) for name, make in SIZED[reader].items()]
    check_costs(reader, makers, tmp_path)


@pytest.mark.parametrize("reader", FIXED)
def test_files_of_a_special_form(tmp_path, reader):
    check_costs(reader, list(FIXED[reader].items()), tmp_path)


def test_files_beyond_the_limit(tmp_path):
    """They are refused before they are read; what may be a pipe, once the limit is read."""
    cases = [(reader, next(iter(SIZED[reader].values()))(tmp_path / reader, 40 * MIB)) for reader in SIZED]
    for (reader, _), (nbytes, _, result) in zip(cases, costs(cases, CPU_SECONDS), strict=True):
        most = 24 * MIB if reader == "bench" else 8 * MIB
        assert "ValueError: " in result and "at most 16777216 bytes" in result and nbytes < most, reader


@pytest.mark.parametrize("count", [120_000, 250_000])
def test_large_vocabularies_load(tmp_path, count):
    scripts = ("##{}ing", "\u0434\u043e{}", "{}\u4e2d", "{}aktion", "\u0915{}")
    tokens = list(hostile_files.SPECIALS)
    for name in hostile_files.distinct():
        tokens.append(scripts[len(tokens) % 5].format(name))
        if len(tokens) == count:
            break
    vocab = {token: i for i, token in enumerate(tokens)}
    assert len(vocab) == count
    paths = [hostile_files.vocabulary(tmp_path / "json", json.dumps(vocab, ensure_ascii=False))]
    paths.append(hostile_files.write(tmp_path / "text" / "vocab.txt", "\n".join(tokens)))
    for path in paths:
        tokenizer = Tokenizer.from_pretrained(path)
        assert len(tokenizer) == count
        assert tokenizer.convert_ids_to_tokens([0, count - 1]) == [tokens[0], tokens[-1]]


def test_many_added_tokens_match(tmp_path):
    """The leftmost, then longest one."""
    records = [{"id": 8 + i, "content": "<" * (i % 240 + 1) + f"{i}>"} for i in range(limits.MAX_ADDED)]
    tokenizer = Tokenizer.from_pretrained(hostile_files.sections(added_tokens=records)(tmp_path))
    for i in (0, 249, 250, limits.MAX_ADDED - 1):
        assert tokenizer(f"a{records[i]['content']}b", add_special_tokens=False)["input_ids"][1:-1] == [8 + i]


def test_an_added_token_that_begins_another(tmp_path):
    records = [{"id": 8 + i, "content": content} for i, content in enumerate(("<a", "<a>b", "<"))]
    tokenizer = Tokenizer.from_pretrained(hostile_files.sections(added_tokens=records)(tmp_path))
    assert tokenizer("<a>b<a<", add_special_tokens=False)["input_ids"] == [9, 8, 10]


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"added_tokens": [{"id": 8 + i, "content": f"<{i}>"} for i in range(limits.MAX_ADDED + 1)]}, "at most 20000"),
        ({"added_tokens": [{"id": 8, "content": "x" * 257}]}, r"added_tokens\[0\]: content: expected at most 256 char"),
        (
            {"model": {**hostile_files.tokenizer_json()["model"], "max_input_chars_per_word": 257}},
            "at most 256, got 257",
        ),
    ],
)
def test_limits_of_a_tokenizer(tmp_path, changes, message):
    path = hostile_files.sections(**changes)(tmp_path)
    with pytest.raises(ValueError, match=message):
        Tokenizer.from_pretrained(path)
