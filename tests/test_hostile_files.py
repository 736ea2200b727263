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


@pytest.mark.parametrize("count", [119_547, 250_000])  # as many as multilingual BERT has, and twice
def test_large_vocabularies_load(tmp_path, count):
    """Of many scripts, in the forms that files have: indented and with added tokens, with escapes, and as lines."""
    scripts = (
        "##{}ing",
        "\u0434\u043e{}",
        "{}\u4e2d",
        "{}aktion",
        "\u0915{}",
        "\uac00{}",
        "\u0e01##{}",
        "\U00020000{}",
    )
    names, tokens = hostile_files.distinct(), list(hostile_files.SPECIALS)
    while len(tokens) < count:
        tokens.append(scripts[len(tokens) % len(scripts)].format(next(names)))
    added = [{"id": count + i, "content": f"<\u4e2d{i}>", "special": True} for i in range(1000)]
    model = hostile_files.tokenizer_json()["model"] | {"vocab": {token: i for i, token in enumerate(tokens)}}
    data = hostile_files.tokenizer_json(model=model, added_tokens=added)
    texts = {
        "indented": json.dumps(data, ensure_ascii=False, indent=2),
        "escaped": json.dumps(data),
        "lines": "\n".join(tokens),
    }
    paths = [
        hostile_files.write(tmp_path / name / ("vocab.txt" if name == "lines" else "tokenizer.json"), text)
        for name, text in texts.items()
    ]
    found = costs([("tokenizer", path) for path in paths], CPU_SECONDS)
    for path, (nbytes, _, result) in zip(paths, found, strict=True):
        assert result == "accepted" and nbytes <= BASE + FACTOR * weight(path), (path, result, nbytes)
        tokenizer = Tokenizer.from_pretrained(path)
        assert len(tokenizer) == count + (0 if "vocab.txt" in path else len(added))
        assert tokenizer.convert_ids_to_tokens([0, count - 1]) == [tokens[0], tokens[-1]]
        ids = tokenizer(f"\u4e2d <\u4e2d7> {tokens[9]}", add_special_tokens=False)["input_ids"]
        assert ("vocab.txt" in path or count + 7 in ids) and ids[-1] == 9


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


def template_of(count):
    special = {"[CLS]": {"id": "[CLS]", "ids": [2], "tokens": ["[CLS]"]}}
    single = [{"Sequence": {"id": "A", "type_id": 0}}] + [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}] * (count - 1)
    pair = [{"Sequence": {"id": part, "type_id": 0}} for part in "AB"]
    return {"type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": special}


def steps_of(count):
    return {"type": "Sequence", "normalizers": [{"type": "Lowercase"}] * count}


def test_as_much_as_a_tokenizer_may_have(tmp_path):
    model = {**hostile_files.tokenizer_json()["model"], "max_input_chars_per_word": limits.MAX_WORD}
    changes = {"model": model, "post_processor": template_of(limits.MAX_PIECES)}
    changes["added_tokens"] = [{"id": 8, "content": "x" * limits.MAX_ADDED_LENGTH}]
    tokenizer = Tokenizer.from_pretrained(hostile_files.sections(**changes)(tmp_path))
    assert tokenizer("a")["input_ids"] == [5] + [2] * (limits.MAX_PIECES - 1)
    Tokenizer.from_pretrained(hostile_files.sections(normalizer=steps_of(limits.MAX_PIECES))(tmp_path / "steps"))


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"added_tokens": [{"id": 8 + i, "content": f"<{i}>"} for i in range(limits.MAX_ADDED + 1)]}, "at most 20000"),
        ({"added_tokens": [{"id": 8, "content": "x" * 257}]}, r"added_tokens\[0\]: content: expected at most 256 char"),
        (
            {"model": {**hostile_files.tokenizer_json()["model"], "max_input_chars_per_word": 257}},
            "at most 256, got 257",
        ),
        ({"post_processor": template_of(limits.MAX_PIECES + 1)}, "post_processor: single: expected at most 64 pieces"),
        ({"normalizer": steps_of(limits.MAX_PIECES + 1)}, "normalizer: expected at most 64 steps, got more"),
    ],
)
def test_limits_of_a_tokenizer(tmp_path, changes, message):
    path = hostile_files.sections(**changes)(tmp_path)
    with pytest.raises(ValueError, match=message):
        Tokenizer.from_pretrained(path)
