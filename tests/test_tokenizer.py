"""The tokenizer against Hugging Face ``tokenizers``: the same ids and offsets.

``SQUEEZEOPS_FUZZ=N`` makes the random tests N times as long.
"""

import json
import os
import pickle
import random
import re
import threading
import time
import tracemalloc
import unicodedata
from pathlib import Path

import pytest
import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors

from squeezeops import ops
from squeezeops.squeezebert.tokenizer import normalizer
from squeezeops.squeezebert.tokenizer import tokenizer as module
from squeezeops.squeezebert.tokenizer.tokenizer import Tokenizer

DATA = Path(__file__).parents[2] / "shared" / "data"
RELEASE = tuple(map(int, tokenizers.__version__.split(".")[:2]))
FUZZ = int(os.environ.get("SQUEEZEOPS_FUZZ", "1"))
SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
NO_CLEANING = {"clean_text": False, "handle_chinese_chars": False, "strip_accents": False, "lowercase": False}
FLAGS = {
    "uncased": {},
    "cased": {"lowercase": False},
    "cased-stripped": {"lowercase": False, "strip_accents": True},
    "uncased-accents": {"strip_accents": False},
    "no-cjk": {"handle_chinese_chars": False},
    "not-cleaned": {"clean_text": False},
    "nothing": NO_CLEANING,
}

# Characters that tokenizers get wrong: expanded, dropped, reordered, joined, lower-cased, treated as spaces...
TRICKY = (
    "İıßẞΣσςﬁǅǆÅÅéñçüŵậệāẹ́ßſʼn½²①Ⅳℌℵ豈更車樂館\u0340\u0344\u0f73\u0f75\u0f81"
    "\u0301\u0300\u0323\u0302\u0308\u0327\u0345\u0489\u20dd\u1ab0\u0488"
    "\u302a\u302e\u302f\u1b44\u1baa\u1bf2\ua953\ua9c0\U000111c0\U00011235\U0001d165\U0001d16d\u08d4\u1dfb\U0001e000"
    "\U0001e94a\u0f71\u0f72\u0f74\u093c\u094d\u0bcd\u0e38\u0e48\u05b0\u05bc\u064b\u0651\u3099\u309a"
    "한글각낢각ᄒ中文字日本語の々〇、。「」・ー㐀\U00020000\U0002a6df\U0002b820\U0002b91f\U0002f800"
    "👩👨‍💻❤️🏳️‍🌈👍🏽\U0001f1eb\u200d\ufe0f\u20e3\u200b\u200c\u2060\ufeff\u00ad\u061c\u180e"
    "\t\n\r\x0b\x0c\x00\x01\x1c\x1f\x7f\x85\xa0\u1680\u2003\u2028\u2029\u202f\u205f\u3000\ufffd\ufffe"
    "…—–‘’“”«»¿¡§¶·‐‿⁀$+<=>^`|~_°©™€₿\u166d\U000111c9\u0df4\u2e52\u1734"
    "\ue000\U000f0000\U0010fffd\u0378\u0530\U000e0041\U000e0100\U00011938\U0001133b\u0897\u1c89\ua7cb\U00016ea0"
    "\U00010570"
)
TEXT = (
    "the a of and film movie was n't 's don't isn't Hello WORLD Élan café naïve résumé ångström Αθήνα ΟΔΥΣΣΕΥΣ "
    "İstanbul Москва ёлка łódź שלום مرحبا हिन्दी தமிழ் ไทย 한국어 日本 tokenization unaffable "
    "http://t.co/x1 @user #tag U.S.A. 3.14"
)
WORDS = TEXT.split()


def fold(text):
    """Approximate the normalisation, to put useful pieces into the vocabulary."""
    return "".join(c for c in unicodedata.normalize("NFD", text) if unicodedata.category(c) != "Mn").lower()


def make_vocab():
    rng = random.Random(7)
    chars = dict.fromkeys("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
    chars |= dict.fromkeys("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")
    for c in TRICKY:
        # Leave some out, so that [UNK] occurs.
        if rng.random() < 0.85:
            chars |= dict.fromkeys(c + c.lower() + unicodedata.normalize("NFD", c) + fold(c))
    tokens = SPECIALS + [c for c in chars if not c.isspace()] + [f"##{c}" for c in chars]
    tokens += ["the", "film", "##ing", "##ation", "token", "##iz", "hello", "elan", "cafe", "Hello", "中文", "##éé"]
    tokens += ["un", "##aff", "##able", "mask", "[", "is", "##n", "αθ", "##ηνα", "istanbul", "한", "##글", "中", "文"]
    return {token: i for i, token in enumerate(dict.fromkeys(tokens))}


VOCAB = make_vocab()
HALVES = {"##a": 7, "##b": 8}


def reference(vocab=VOCAB, **flags):
    """The tokenizer of ``BertTokenizerFast``."""
    tok = tokenizers.Tokenizer(models.WordPiece(vocab, unk_token="[UNK]", max_input_chars_per_word=100))
    defaults = {"clean_text": True, "handle_chinese_chars": True, "strip_accents": None, "lowercase": True}
    tok.normalizer = normalizers.BertNormalizer(**(defaults | flags))
    tok.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tok.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[("[CLS]", vocab["[CLS]"]), ("[SEP]", vocab["[SEP]"])],
    )
    tok.decoder = decoders.WordPiece(prefix="##", cleanup=True)
    tok.add_special_tokens(SPECIALS)
    return tok


def fields_of(encoding):
    """The reference's result in our format."""
    return {
        "word_ids": encoding.word_ids,
        "sequence_ids": encoding.sequence_ids,
        "input_ids": encoding.ids,
        "token_type_ids": encoding.type_ids,
        "attention_mask": encoding.attention_mask,
        "offset_mapping": encoding.offsets,
    }


def aligned(encoding):
    """Columns of all rows that show how they are aligned with their texts."""
    rows = [encoding[i] for i in range(len(encoding.input_ids))]
    names = {"word_ids": "word_ids", "sequence_ids": "sequence_ids", "offset_mapping": "offsets"}
    return {key: [getattr(row, name) for row in rows] for key, name in names.items()}


def columns_of(encoding):
    """The columns of one row with its alignment."""
    row = encoding[0]
    columns = {"word_ids": row.word_ids, "sequence_ids": row.sequence_ids, "offset_mapping": row.offsets}
    return columns | encoding


def assert_same(ours, theirs, *texts, **kwargs):
    got = columns_of(ours(*texts, **kwargs))
    expected = theirs.encode(*texts, add_special_tokens=kwargs.get("add_special_tokens", True))
    assert got == fields_of(expected), [t.encode("unicode_escape") for t in texts]


def disagreements():
    """Characters that the installed ``tokenizers`` lower-cases differently.

    Its tables come from the Rust compiler that built it. They equal ours only with Unicode 17. Others can differ only
    in characters that got a lower-case form after Unicode 13.
    """
    lower = normalizers.Lowercase()
    out = {c for c, small in normalizer.LATER_LOWER.items() if lower.normalize_str(c) != small}
    return out | {
        c for c in map(chr, range(0x80, 0x3000)) if lower.normalize_str(c) != normalizer.CharMap(lower=True)[c]
    }


AVOID = disagreements()


def random_text(rng):
    parts = []
    for _ in range(rng.randint(1, 12)):
        kind = rng.random()
        if kind < 0.3:
            parts.append(rng.choice(WORDS))
        elif kind < 0.6:
            parts.append("".join(rng.choices(TRICKY, k=rng.randint(1, 6))))
        elif kind < 0.7:
            parts.append("".join(chr(rng.randint(0, 0x24F)) for _ in range(rng.randint(1, 5))))
        elif kind < 0.78:
            parts.append("".join(chr(rng.randint(0x250, 0xFFFF)) for _ in range(rng.randint(1, 4))))
        elif kind < 0.84:
            parts.append(chr(rng.choice((rng.randint(0x10000, 0x323AF), rng.randint(0x10000, 0x10FFFF)))))
        elif kind < 0.9:
            # Combining marks after a base character, in any order.
            marks = [c for c in TRICKY if unicodedata.category(c)[0] == "M"]
            parts.append(rng.choice("aęΩがक각ậ") + "".join(rng.choices(marks, k=rng.randint(1, 6))))
        elif kind < 0.96:
            parts.append(rng.choice((*SPECIALS, "[sep]", "[MASK", "##a", "[UNK][UNK]", "[CLS] [SEP]", "[Mask]")))
        else:
            parts.append(rng.choice("aé中İ'\u0301") * rng.choice((99, 100, 101, 150)))
        parts.append(rng.choice(("", "", " ", " ", " ", "  ", "\n", ",", "\u00a0")))
    text = "".join(parts)
    return "".join(c for c in text if c not in AVOID and not "\ud800" <= c <= "\udfff")


@pytest.fixture(autouse=True)
def in_python():
    """A backend without a tokenizer of its own; test_c_tokenizer.py compares those of the others with this one."""
    with ops.backend("numpy"):
        yield


@pytest.fixture(scope="module")
def ours():
    return Tokenizer(VOCAB)


@pytest.fixture(scope="module")
def theirs():
    return reference()


# ------------------------------------------------------------------------------------------------ against the reference


@pytest.mark.parametrize("flags", FLAGS.values(), ids=FLAGS)
def test_random_texts(flags):
    ours, theirs = Tokenizer(VOCAB, **flags), reference(**flags)
    rng = random.Random(20)
    for _ in range(700 * FUZZ):
        assert_same(ours, theirs, random_text(rng))


@pytest.mark.parametrize("flags", [{}, NO_CLEANING, {"clean_text": False, "lowercase": False, "strip_accents": True}])
def test_every_code_point(flags):
    ours, theirs = Tokenizer(VOCAB, **flags), reference(**flags)
    # Planes 3 to 13 are almost unassigned, 15 and 16 are for private use: a sample of them is enough.
    points = [*range(0x32400), *range(0x32400, 0x110000, 61), *range(0xE0000, 0xE0200)]
    chars = [c for c in map(chr, points) if not "\ud800" <= c <= "\udfff" and c not in AVOID]
    for i in range(0, len(chars), 100):
        # One word per character: a character that is dropped, split or treated as a space changes the tokens.
        text = " ".join(f"a{c}b" for c in chars[i : i + 100])
        assert ours._normalize(text)[0] == theirs.normalizer.normalize_str(text), hex(ord(chars[i]))
        assert_same(ours, theirs, text)


def test_lower_casing_differs_only_in_new_characters():
    assert set(normalizer.LATER_LOWER) >= AVOID


def test_random_pairs_and_truncation():
    rng = random.Random(21)
    ours, theirs = Tokenizer(VOCAB), reference()
    outcomes = set()
    for _ in range(1500 * FUZZ):
        texts = [random_text(rng) for _ in range(rng.randint(1, 2))]
        strategy = rng.choice(("longest_first", "only_first", "only_second"))
        limit, special = rng.randint(3, 60), rng.random() < 0.8
        theirs.enable_truncation(limit, strategy=strategy)
        try:
            theirs.encode(*texts)
        except Exception as error:
            outcomes.add(str(error)[:25])
            with pytest.raises(ValueError, match="truncation: "):
                ours(*texts, truncation=strategy, max_length=limit)
        else:
            outcomes.add(strategy)
            assert_same(ours, theirs, *texts, truncation=strategy, max_length=limit)
        theirs.no_truncation()
        assert_same(ours, theirs, *texts, add_special_tokens=special)
    assert len(outcomes) == 5  # three strategies and two errors


def windows_of(theirs, *texts, **options):
    """The reference's windows of one text or pair, in our format."""
    first = theirs.encode(*texts, **options)
    windows = [fields_of(window) for window in (first, *first.overflowing)]
    columns = {key: [window[key] for window in windows] for key in windows[0]}
    return columns | {"overflow_to_sample_mapping": [0] * len(windows)}


def test_random_windows():
    rng = random.Random(25)
    ours, theirs = Tokenizer(VOCAB), reference()
    outcomes = dict.fromkeys(("one row", "windows", "refused"), 0)
    for _ in range(1500 * FUZZ):
        texts = [random_text(rng) for _ in range(rng.randint(1, 2))]
        strategy = rng.choice(("only_first", "only_second") if len(texts) > 1 else ("only_first", True))
        special = rng.random() < 0.8
        limit = rng.randint(3, 40)
        stride = rng.randint(0, rng.choice((2, limit)))
        options = {"truncation": strategy, "max_length": limit, "stride": stride, "add_special_tokens": special}
        options |= {"return_overflowing_tokens": True}
        sizes = [len(ours.tokenize(text)) for text in texts]
        specials = len(texts) + 1 if special else 0
        target = 1 if strategy == "only_second" else 0
        room = limit - specials - sum(sizes[:target] + sizes[target + 1 :])
        fits = sum(sizes) <= limit - specials
        if not fits and stride >= room:
            outcomes["refused"] += 1  # the reference panics, or refuses the options before it sees a text
            with pytest.raises(ValueError, match=r"^(stride|truncation|max_length): "):
                ours(*texts, **options)
            continue
        # The reference always demands a stride below limit - 2, although texts that fit need no stride.
        if not fits and stride >= limit - 2:
            continue
        strategy = "longest_first" if strategy is True else strategy
        theirs.enable_truncation(limit, stride=0 if fits else stride, strategy=strategy)
        got = ours(*texts, **options)
        windows = windows_of(theirs, *texts, add_special_tokens=special)
        assert got | aligned(got) == windows, (texts, options)
        outcomes["windows" if len(got["input_ids"]) > 1 else "one row"] += 1
        theirs.no_truncation()
    assert min(outcomes.values()) > 150 * FUZZ, outcomes


@pytest.mark.skipif(not DATA.is_dir(), reason=f"the texts of {DATA} are not part of the project")
@pytest.mark.parametrize("flags", [{}, {"lowercase": False}])
def test_corpora(flags):
    ours, theirs = Tokenizer(VOCAB, **flags), reference(**flags)
    texts = []
    for file in sorted(DATA.glob("sst/*.trees")):
        lines = file.read_text(encoding="utf-8").splitlines()
        texts += [" ".join(re.findall(r" ([^() ]+)\)", line)) for line in lines]
    for file in sorted(DATA.glob("wnut17/*.conll")):
        messages = file.read_text(encoding="utf-8").split("\n\n")
        texts += [" ".join(row.split("\t")[0] for row in message.split("\n")) for message in messages]
    assert len(texts) > 5000
    texts = texts[:: 3 if flags else 1]
    batch = ours(texts, return_offsets_mapping=True)
    for i, expected in enumerate(theirs.encode_batch(texts)):
        assert batch["input_ids"][i] == expected.ids, texts[i]
        assert batch["offset_mapping"][i] == expected.offsets, texts[i]


def test_decode(ours, theirs):
    rng = random.Random(22)
    for _ in range(500 * FUZZ):
        ids = rng.choices(range(len(VOCAB)), k=rng.randint(0, 30))
        ids += theirs.encode(random_text(rng)).ids
        for skip in (True, False):
            assert ours.decode(ids, skip) == theirs.decode(ids, skip_special_tokens=skip)
        tokens = ours.convert_ids_to_tokens(ids)
        assert ours.convert_tokens_to_string(tokens) == theirs.decoder.decode(tokens)
    assert ours.decode(ours("Hello , the film is cafe ?")["input_ids"]) == "hello, the film is cafe?"


@pytest.mark.parametrize(
    ("text", "tokens", "offsets"),
    [
        ("Élan", ["elan"], [(0, 4)]),
        ("e\u0301lan", ["elan"], [(0, 5)]),
        ("cafe\u0301", ["cafe"], [(0, 4)]),
        ("İstanbul", ["istanbul"], [(0, 8)]),
        ("中文", ["中", "文"], [(0, 1), (1, 2)]),
        ("a\u200bb", ["a", "##b"], [(0, 1), (2, 3)]),
        ("[SEP]a[sep]", ["[SEP]", "a", "[", "s", "##e", "##p", "]"], None),
        ("Σς", ["σ", "##ς"], [(0, 1), (1, 2)]),
        ("x" * 101, ["[UNK]"], [(0, 101)]),
        ("", [], []),
        (" \t\n\u200b\u0301", [], []),
    ],
)
def test_examples(ours, theirs, text, tokens, offsets):
    assert ours.tokenize(text) == tokens
    assert offsets is None or ours(text, add_special_tokens=False)[0].offsets == offsets
    assert_same(ours, theirs, text)


def test_hangul_pieces_share_the_span_of_their_syllable():
    vocab = {t: i for i, t in enumerate([*SPECIALS, "ᄒ", "##ᅡ", "##ᆫ"])}
    assert_same(Tokenizer(vocab), reference(vocab), "한")
    assert Tokenizer(vocab)("한", add_special_tokens=False)[0].offsets == [(0, 1)] * 3


def test_unpaired_surrogates_are_dropped(ours):
    assert ours.tokenize("a\ud800b \udfff") == ["a", "##b"]
    assert Tokenizer(VOCAB, clean_text=False).tokenize("a\ud800b") == ["[UNK]"]


# -------------------------------------------------------------------------------------------------------------- loading


ADDED = [
    tokenizers.AddedToken("<Tag>", normalized=False),
    tokenizers.AddedToken("<Tag>x", normalized=False),
    tokenizers.AddedToken("New Film", normalized=True),
    tokenizers.AddedToken("Él", normalized=True, single_word=True),
    tokenizers.AddedToken("ab", normalized=False, single_word=True),
    tokenizers.AddedToken("<l>", normalized=False, lstrip=True, special=True),
    tokenizers.AddedToken("<r>", normalized=True, rstrip=True),
    tokenizers.AddedToken("<lr>", normalized=False, lstrip=True, rstrip=True),
    tokenizers.AddedToken("the", normalized=True, single_word=True),
]


@pytest.mark.parametrize("processor", ["template", "bert", "odd", "none"])
@pytest.mark.parametrize("flags", [{}, {"lowercase": False}, {"clean_text": False}], ids=["uncased", "cased", "raw"])
def test_tokenizer_json(tmp_path, processor, flags):
    theirs = reference(**flags)
    if processor == "bert":
        theirs.post_processor = processors.BertProcessing(("[SEP]", VOCAB["[SEP]"]), ("[CLS]", VOCAB["[CLS]"]))
    elif processor == "odd":
        theirs.post_processor = processors.TemplateProcessing(
            single="$A:2 [SEP]:3", pair="$B:1 [MASK]:0 $A:0", special_tokens=[("[SEP]", 3), ("[MASK]", 4)]
        )
    elif processor == "none":
        theirs.post_processor = None
        theirs.decoder = None
    theirs.add_tokens(ADDED)
    theirs.save(str(tmp_path / "tokenizer.json"))
    # The library would apply these by default; transformers and this class do not.
    data = json.loads((tmp_path / "tokenizer.json").read_text(encoding="utf-8"))
    data["truncation"] = {"direction": "Right", "max_length": 8, "strategy": "LongestFirst", "stride": 0}
    (tmp_path / "tokenizer.json").write_text(json.dumps(data), encoding="utf-8")
    ours = Tokenizer.from_pretrained(tmp_path)
    assert len(ours) == theirs.get_vocab_size() and ours.vocab_size == len(VOCAB)
    rng = random.Random(23)
    pieces = [token.content for token in ADDED]
    pieces += [" ", " ", "\t", "x", ".", "é", "\u0301", "new  film", "él", "ÉL", "THE"]
    for _ in range(250 * FUZZ):
        texts = [
            "".join(rng.choice(pieces) if rng.random() < 0.9 else random_text(rng) for _ in range(rng.randint(1, 10)))
            for _ in range(rng.randint(1, 2))
        ]
        # Remove characters that this Python does not know: it cannot tell whether they are part of a word, which
        # `single_word` tokens depend on.
        texts = ["".join(c for c in text if unicodedata.category(c) != "Cn") for text in texts]
        special = rng.random() < 0.7
        assert_same(ours, theirs, *texts, add_special_tokens=special)
        ids = theirs.encode(*texts).ids
        if RELEASE < (0, 23):  # they decode tokens that match normalised text differently
            ids = [i for i in ids if i not in range(len(VOCAB), len(ours)) or ours.convert_ids_to_tokens(i) == "<r>"]
        assert ours.decode(ids) == theirs.decode(ids)
        assert ours.decode(ids, skip_special_tokens=False) == theirs.decode(ids, skip_special_tokens=False)


def test_tokenizer_json_of_early_releases(tmp_path, ours):
    data = json.loads(reference().to_str())
    del data["model"]["type"], data["normalizer"]["strip_accents"]
    (tmp_path / "tokenizer.json").write_text(json.dumps(data), encoding="utf-8")
    assert tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json")).encode("Élan").tokens[1] == "elan"
    assert Tokenizer.from_pretrained(tmp_path)("Élan") == ours("Élan")


def post(change, message):
    """A row of the table: keys of the post-processor to replace, and the message."""
    return "post_processor", change, message


def sequence(**keys):
    return {"single": [{"Sequence": keys}]}


MOST = "max_input_chars_per_word"
BERT = {"type": "BertProcessing", "cls": ["[CLS]", 2]}
UNSUPPORTED = [  # a section of tokenizer.json, or "section: key", what to replace it with, and the message
    ("model", {"type": "BPE", "vocab": {}, "merges": []}, "model: expected WordPiece, got 'BPE'"),
    ("model", {"vocab": {}, "merges": []}, "model: expected WordPiece, got None"),
    ("model", {"type": "WordPiece"}, "model: vocab: expected dict, got None"),
    ("model", [], r"model: expected WordPiece, got \[\]"),
    ("model", "WordPiece", "model: expected WordPiece, got 'WordPiece'"),
    ("normalizer", {"type": "NFKC"}, "normalizer: expected BertNormalizer or NFD or .*, got 'NFKC'"),
    ("normalizer", 3, "normalizer: expected BertNormalizer or .*, got 3"),
    ("normalizer", {"type": ["BertNormalizer"]}, r"normalizer: expected BertNormalizer .* \['BertNormalizer'\]"),
    ("pre_tokenizer", {"type": "Whitespace"}, "expected BertPreTokenizer, got 'Whitespace'"),
    post({"type": "RobertaProcessing"}, "expected .* got 'RobertaProcessing'"),
    ("post_processor", 3, "post_processor: expected .* got 3"),
    ("decoder", {"type": "ByteLevel"}, "decoder: expected WordPiece, got 'ByteLevel'"),
    ("decoder", {"type": "WordPiece", "prefix": None, "cleanup": True}, "decoder: prefix: expected str, got None"),
    ("decoder", {"type": "WordPiece", "prefix": "##", "cleanup": 1}, "decoder: cleanup: expected bool, got 1"),
    ("added_tokens", [{"id": 9, "content": "[SEP]"}], r"'\[SEP\]': expected id 3, got 9"),
    ("added_tokens", {}, "added_tokens: expected list, got {}"),
    ("added_tokens", ["x"], r"added_tokens\[0\]: expected Mapping, got 'x'"),
    ("added_tokens", [{"id": 2**31, "content": "x"}], r"added_tokens\[0\]: .* \[0, 2\*\*31\), got 'x': 2147483648"),
    ("added_tokens", [{"id": "1", "content": "x"}], r"added_tokens\[0\]: .* got 'x': '1'"),
    ("added_tokens", [{"id": 1, "content": ["x"]}], r"added_tokens\[0\]: .* got \['x'\]: 1"),
    ("added_tokens", [{"id": 2000, "content": "x", "lstrip": "no"}], r"\[0\]: lstrip: expected bool, got 'no'"),
    ("model: max_input_chars_per_word", "100", "expected int, got '100'"),
    ("model: max_input_chars_per_word", 100.0, "expected int, got 100.0"),
    ("model: max_input_chars_per_word", True, "expected int, got True"),
    ("model: max_input_chars_per_word", None, "expected int, got None"),
    ("model: max_input_chars_per_word", -1, "expected at least 0, got -1"),
    ("model: continuing_subword_prefix", None, "expected str, got None"),
    ("model: unk_token", ["[UNK]"], r"expected str, got \['\[UNK\]'\]"),
    ("model: vocab", list(VOCAB), r"expected dict, got \["),
    ("normalizer: clean_text", 1, "expected bool, got 1"),
    ("normalizer: clean_text", None, "expected bool, got None"),
    ("normalizer: handle_chinese_chars", "true", "expected bool, got 'true'"),
    ("normalizer: lowercase", [], r"expected bool, got \[\]"),
    ("normalizer: strip_accents", 0, "expected bool or None, got 0"),
    *(("model: vocab", VOCAB | {"a": i}, f".* int in .* got 'a': {i!r}") for i in (10**30, -5, "1", True, None)),
    post(sequence(id="C", type_id=0), r"single\[0\]: expected .* got .*'id': 'C'"),
    post(sequence(id=["A"], type_id=0), r"single\[0\]: expected .* got {'Sequence'"),
    post(sequence(id="A"), r"single\[0\]: expected .* got {'Sequence': {'id': 'A'}}"),
    post(sequence(id="A", type_id="0"), r"single\[0\]: type_id: .* got 'A': '0'"),
    post(sequence(id="A", type_id=-1), r"single\[0\]: type_id: .* got 'A': -1"),
    post({"pair": [{"SpecialToken": {"id": "<x>", "type_id": 0}}]}, r"pair\[0\]: expected .* got {'SpecialToken'"),
    post({"pair": [{}]}, r"pair\[0\]: expected .* got {}"),
    post({"pair": ["A"]}, r"pair\[0\]: expected .* got 'A'"),
    post({"pair": None}, "pair: expected list, got None"),
    post({"special_tokens": []}, r"special_tokens: expected dict, got \[\]"),
    post({"special_tokens": {"[CLS]": 2}}, r"special_tokens: '\[CLS\]': expected dict, got 2"),
    post({"special_tokens": {"[CLS]": {}}}, r"special_tokens: '\[CLS\]': ids: expected list, got None"),
    post({"special_tokens": {"[CLS]": {"ids": [[2]]}}}, r"special_tokens: .* got '\[CLS\]': \[2\]"),
    post({"special_tokens": {"[CLS]": {"ids": ["A"]}}}, r"special_tokens: .* got '\[CLS\]': 'A'"),
    post({"special_tokens": {t: {"ids": [9999]} for t in SPECIALS}}, r"ids \[9999\] are not in the vocabulary"),
    post(BERT, "sep: expected a token and its id, got None"),
    post({"type": "BertProcessing", "cls": "ab"}, "cls: expected a token and its id, got 'ab'"),
    post({"type": "BertProcessing", "cls": ["[CLS]", "2"]}, r"cls: expected .* got '\[CLS\]': '2'"),
    post({"type": "BertProcessing", "cls": [["[CLS]"], 2]}, r"cls: expected .* got \['\[CLS\]'\]: 2"),
    post(BERT | {"sep": ["[SEP]", 4]}, r"sep: '\[SEP\]': expected id 3 as in the vocabulary, got 4"),
]


@pytest.mark.parametrize(("place", "value", "message"), UNSUPPORTED)
def test_unsupported_tokenizer_json(tmp_path, place, value, message):
    data = json.loads(reference().to_str())
    section, _, key = place.partition(": ")
    if key:
        data[section][key] = value
        message = f"{key}: {message}"
    elif section == "post_processor" and isinstance(value, dict):
        data[section] |= value
        message = f"post_processor: {message}"
    else:
        data[section] = value
    assert_refused(tmp_path, "tokenizer.json", data, message)


def assert_refused(folder, name, data, message):
    file = folder / name
    file.write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(ValueError, match=f"^{re.escape(str(file))}: .*{message}"):
        Tokenizer.from_pretrained(folder)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("model_max_length", 128.5, "expected int or None, got 128.5"),
        ("model_max_length", "128", "expected int or None, got '128'"),
        ("model_max_length", True, "expected int or None, got True"),
        ("model_max_length", float("nan"), "expected int or None, got nan"),
        ("model_max_length", -1, "expected at least 1, got -1"),
        ("cls_token", {"content": ["a"]}, r"content: expected str, got \['a'\]"),
        ("cls_token", {}, "content: expected str, got None"),
        ("pad_token", 3, "expected str, got 3"),
        ("do_lower_case", "yes", "expected bool, got 'yes'"),
        ("tokenize_chinese_chars", None, "expected bool, got None"),
        ("strip_accents", 1, "expected bool or None, got 1"),
    ],
)
def test_malformed_config(tmp_path, key, value, message):
    (tmp_path / "vocab.txt").write_text("\n".join(SPECIALS), encoding="utf-8")
    assert_refused(tmp_path, "tokenizer_config.json", {key: value}, f"{key}: {message}")
    reference().save(str(tmp_path / "tokenizer.json"))
    assert_refused(tmp_path, "tokenizer_config.json", {key: value}, f"{key}: {message}")


def nodes(value, path=()):
    yield path
    # One entry of a vocabulary is enough.
    for key in list(value)[:6] if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield from nodes(value[key], (*path, key))


def broken_copies(data, values):
    """Copies of a JSON value with each of its parts replaced by each of the values, or removed."""
    for path in nodes(data, ("top",)):
        for bad in values:
            broken = json.loads(json.dumps({"top": data}))
            parent = broken
            for key in path[:-1]:
                parent = parent[key]
            parent[path[-1]] = bad
            if bad == "removed":
                del parent[path[-1]]
            yield (path, bad), broken.get("top")


def check_broken(folder, text, case, starts):
    """Check that the files of a folder work, or raise an error that begins with the name of one of them."""
    try:
        tok = Tokenizer.from_pretrained(folder)
        tok.decode(tok([text], ["a"], padding=True)["input_ids"][0])
    except ValueError as error:
        assert str(error).startswith(starts), case


BAD_VALUES = (None, True, -1, 10**30, 1.5, "x", "", [], [1], {}, {"x": 1})


@pytest.mark.parametrize("processor", ["TemplateProcessing", "BertProcessing"])
def test_every_broken_value_is_a_value_error(tmp_path, processor):
    config = {"cls_token": {"content": "[CLS]"}, "sep_token": "[SEP]", "model_max_length": 9, "strip_accents": None}
    small = {token: i for i, token in enumerate([*SPECIALS, "a"])}
    intact = {"tokenizer.json": json.loads(reference(small).to_str()), "tokenizer_config.json": config}
    if processor == "BertProcessing":
        intact["tokenizer.json"] |= {"post_processor": BERT | {"sep": ["[SEP]", 3]}}
    for name, data in intact.items():
        for other, content in intact.items():
            (tmp_path / other).write_text(json.dumps(content), encoding="utf-8")
        assert Tokenizer.from_pretrained(tmp_path)("a")["input_ids"] == [2, 5, 3]
        for case, broken in broken_copies(data, (*BAD_VALUES, ["A", 1], "removed")):
            (tmp_path / name).write_text(json.dumps(broken), encoding="utf-8")
            # If the vocabulary lacks a special token, either file may be wrong.
            check_broken(tmp_path, "A b aa [SEP]", case, tuple(f"{tmp_path / file}: " for file in intact))


def test_long_lines_of_spaces(tmp_path):
    blanks = "".join(c for c in map(chr, range(0x10000)) if re.match(f"[{normalizer.WHITESPACE}]", c) and c != "\n")
    lines = [*SPECIALS, f"a{blanks}", f"b{' ' * 300_000}c", "d\x1c", f"{blanks}e"]
    (tmp_path / "vocab.txt").write_bytes("\n".join(lines).encode())
    start = time.process_time()
    tokens = list(Tokenizer.from_pretrained(tmp_path)._vocab)
    assert tokens[5:] == ["a", *lines[6:]]
    assert time.process_time() - start < 20  # quadratic time would be minutes


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_vocab_txt(tmp_path, newline):
    lines = [*SPECIALS, "a", "", "##b", "a", "c \u3000", "", "d"]
    file = tmp_path / "vocab.txt"
    file.write_bytes(newline.join([*lines, ""]).encode())
    expected = models.WordPiece.read_file(str(file))
    for path in (tmp_path, file, str(file)):
        ours = Tokenizer.from_pretrained(path)
        specials = dict(zip(SPECIALS, range(5), strict=True))
        assert ours._vocab == expected == specials | {"a": 8, "": 10, "##b": 7, "c": 9, "d": 11}
        assert ours.max_length is None and ours.vocab_size == len(ours) == 10
        assert_same(ours, reference(expected), "ab c d [SEP]")
    file.write_bytes(file.read_bytes().rstrip())
    assert Tokenizer.from_pretrained(file)._vocab == expected


def test_vocab_txt_with_config(tmp_path):
    names = {f"{kind}_token": f"<{kind}>" for kind in ("unk", "cls", "sep", "pad")}
    tokens = [*names.values(), "[MASK]", "A", "a", "É", "é", "中文"]
    (tmp_path / "vocab.txt").write_text("\n".join(tokens), encoding="utf-8")
    config = {
        **names,
        "pad_token": {"content": "<pad>", "lstrip": False},
        "do_lower_case": False,
        "tokenize_chinese_chars": False,
        "model_max_length": 77,
    }

    def load(**changes):
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(config | changes), encoding="utf-8")
        return Tokenizer.from_pretrained(tmp_path)

    ours = load()
    assert ours.tokenize("A É 中文 <sep>") == ["A", "É", "中文", "<sep>"]
    assert (ours.unk_token_id, ours.cls_token_id, ours.sep_token_id) == (0, 1, 2)
    assert (ours.pad_token_id, ours.mask_token_id) == (3, 4)
    assert ours("A")["input_ids"] == [1, 5, 2] and ours.max_length == 77
    assert load(do_lower_case=True, strip_accents=False).tokenize("A É") == ["a", "é"]
    assert load(strip_accents=True).tokenize("A É a\u0301") == ["A", "<unk>", "a"]
    assert load(tokenize_chinese_chars=True).tokenize("中文") == ["<unk>", "<unk>"]
    for unlimited in (int(1e30), 1e30, float("inf"), None):
        assert load(model_max_length=unlimited).max_length is None
    with pytest.raises(ValueError, match=r"tokenizer_config\.json: do_lower_case: expected bool, got 'yes'"):
        load(do_lower_case="yes")
    with pytest.raises(ValueError, match=r"vocab\.txt: .*\['<x>'\] are missing"):
        load(cls_token="<x>")


# The five special tokens and added tokens, as `transformers` writes them.
DECODER = {str(i): {"content": token, "special": True} for i, token in enumerate(SPECIALS)}
DECODER["5"] = {"content": "the", "single_word": True, "special": False}
DECODER["9"] = {"content": "<Ent>", "normalized": True, "special": False}
DECODER["10"] = {"content": "<l>", "lstrip": True, "rstrip": True, "special": True}
PLAIN = dict.fromkeys(("lstrip", "rstrip", "normalized", "single_word"), False)
DECODER = {key: PLAIN | record for key, record in DECODER.items()}
ADDED_LINES = [*SPECIALS, "the", "film", "a", "##b"]
ADDED_FOLDERS = {
    "decoder": {
        "tokenizer_config": {"tokenizer_class": "BertTokenizer", "added_tokens_decoder": DECODER},
        "added_tokens": {"<ignored>": 9},
    },
    "partial": {"tokenizer_config": {"added_tokens_decoder": {"9": {"content": "<Ent>", "special": True}}}},
    "legacy": {
        "tokenizer_config": {"do_lower_case": True},
        "added_tokens": {"<l>": 10, "<Ent>": 9},
        "special_tokens_map": {
            "mask_token": {"content": "[MASK]", "lstrip": True, "rstrip": False, "normalized": False},
            "additional_special_tokens": ["<l>", "film"],
        },
    },
    "map": {"special_tokens_map": {"cls_token": "[SEP]", "additional_special_tokens": ["the"]}},
    "specials-added": {
        "tokenizer_config": {"cls_token": "<c>", "added_tokens_decoder": {"9": {"content": "<c>", "special": True}}}
    },
    "typed": {
        "tokenizer_config": {
            "mask_token": {"__type": "AddedToken", "content": "[MASK]", "lstrip": True, "normalized": True},
            "bos_token": "film",
        }
    },
    "named-not-special": {"tokenizer_config": {"eos_token": "<E>", "added_tokens_decoder": {"9": {"content": "<E>"}}}},
    "none": {},
}
ADDED_TEXTS = [
    "the  <Ent> film<ent>b <l>  a",
    "a [MASK] [mask] [SEP]the",
    "THE bathe <c> film <ignored> <E> <e>",
    "Film",
]


def write_vocab_folder(folder, files):
    (folder / "vocab.txt").write_text("\n".join(ADDED_LINES), encoding="utf-8")
    for name, data in files.items():
        (folder / f"{name}.json").write_text(json.dumps(data), encoding="utf-8")


def test_vocab_txt_with_added_tokens(tmp_path):
    write_vocab_folder(tmp_path, ADDED_FOLDERS["decoder"])
    ours = Tokenizer.from_pretrained(tmp_path)
    assert (len(ours), ours.vocab_size, ours.largest_id) == (11, 9, 9)  # <l> is special
    row = ours("The <Ent>a  <l>  film the", add_special_tokens=False)
    assert row["input_ids"] == [5, 9, 7, 10, 6, 5]
    assert row[0].offsets == [(0, 3), (4, 9), (9, 10), (10, 17), (17, 21), (22, 25)]
    assert ours.decode([9, 10, 7]) == "<ent> a"
    write_vocab_folder(tmp_path, ADDED_FOLDERS["legacy"])
    ours = Tokenizer.from_pretrained(tmp_path)
    row = ours("<ENT> a<l> <L> [MASK]", add_special_tokens=False)
    assert ours.convert_ids_to_tokens(row["input_ids"]) == ["<Ent>", "a", "<l>", *["[UNK]"] * 3, "[MASK]"]
    assert row[0].offsets[-1] == (14, 21)  # including the space before it


@pytest.mark.oracle
@pytest.mark.parametrize("files", ADDED_FOLDERS.values(), ids=ADDED_FOLDERS)
def test_transformers_reads_the_same_added_tokens(tmp_path, files):
    transformers = pytest.importorskip("transformers")
    write_vocab_folder(tmp_path, files)
    ours, theirs = Tokenizer.from_pretrained(tmp_path), transformers.BertTokenizerFast.from_pretrained(tmp_path)
    assert len(ours) == len(theirs)
    for text in ADDED_TEXTS:
        assert_same(ours, theirs.backend_tokenizer, text)
    # Version 5 no longer treats the additional tokens of special_tokens_map.json as special.
    if transformers.__version__.startswith("4.") or "special_tokens_map" not in files:
        assert ours._specials == {t.content for t in theirs.added_tokens_decoder.values() if t.special}


B = {"content": "b"}
BESIDE = {  # per file beside vocab.txt: its content and the message
    "added_tokens_decoder": [
        (None, "added_tokens_decoder: expected dict, got None"),
        ({"x": B}, "'x': expected an id of its own"),
        ({"9" * 5000: B}, "expected an id of its own"),
        ({"9": B, "09": {"content": "c"}}, "'09': exp"),
        ({"9": "b"}, "added_tokens_decoder: '9': expected dict, got 'b'"),
        ({"9": {}}, "added_tokens_decoder: '9': .* got None: 9"),
        ({"9": {"content": ""}}, "'9': content: expected a token, got"),
        ({"9": B | {"lstrip": 0}}, "'9': lstrip: expected bo"),
        ({"12": B}, "'b': expected id 9, got 12"),
        ({"9": {"content": "the"}}, "'the': expected id 5, got 9"),
        ({"2": B}, "'b': expected id 9, got 2"),
        ({"9": B, "10": B}, "'10': 'b': expected id 9, got 10"),
    ],
    "tokenizer_config": [
        ({"additional_special_tokens": "the"}, "additional_special_tokens: expected list .*'the'"),
        ({"additional_special_tokens": [3]}, r"additional_special_tokens\[0\]: expected str, got 3"),
        ({"tokenizer_class": "BertJapaneseTokenizer"}, "class: expected one of .*'BertJapaneseTok"),
        ({"tokenizer_class": "RobertaTokenizerFast"}, "tokenizer_class: .* got 'RobertaTokenizerF"),
        ({"tokenizer_class": "PreTrainedTokenizerFast"}, "tokenizer_class: expected one of "),
        ({"tokenizer_class": 3}, "tokenizer_class: expected str or None, got 3"),
        ({"word_tokenizer_type": "mecab"}, "word_tokenizer_type: expected 'basic', got 'mecab'"),
        ({"subword_tokenizer_type": "character"}, "expected 'wordpiece', got 'character'"),
        ({"do_basic_tokenize": False}, "do_basic_tokenize: expected True, got False"),
        ({"do_basic_tokenize": 0}, "do_basic_tokenize: expected bool, got 0"),
    ],
    "special_tokens_map": [
        ({"cls_token": 3}, "cls_token: expected str, got 3"),
        ([], "expected a JSON object"),
    ],
    "added_tokens": [
        ({"<x>": "9"}, "expected a str with an int in .* got '<x>': '9'"),
        ({"<x>": 9, "<y>": 9}, "'<y>': expected an id of its own, got 9 again"),
        ({"<x>": 10}, "'<x>': expected id 9, got 10"),
        ({"": 9}, "content: expected a token, got ''"),
        ([], "expected a JSON object"),
    ],
    "config": [({"tokenizer_class": "BertJapaneseTokenizer"}, "tokenizer_class: .* got 'BertJapaneseTokenizer'")],
}


@pytest.mark.parametrize(("name", "data", "message"), [(name, *row) for name, rows in BESIDE.items() for row in rows])
def test_unsupported_files_beside_vocab_txt(tmp_path, name, data, message):
    write_vocab_folder(tmp_path, {})
    Tokenizer.from_pretrained(tmp_path)
    if name == "added_tokens_decoder":
        name, data = "tokenizer_config", {name: data}
    assert_refused(tmp_path, f"{name}.json", data, message)


def test_every_broken_value_beside_vocab_txt_is_a_value_error(tmp_path):
    for files in (ADDED_FOLDERS["decoder"], ADDED_FOLDERS["legacy"]):
        for name, data in files.items():
            write_vocab_folder(tmp_path, files)
            for case, broken in broken_copies(data, BAD_VALUES):
                write_vocab_folder(tmp_path, {name: broken})
                check_broken(tmp_path, "The b aa [SEP]", case, f"{tmp_path}/")
        (tmp_path / "special_tokens_map.json").unlink(missing_ok=True)


def test_tokenizer_classes(tmp_path):
    types = {"word_tokenizer_type": "basic", "subword_tokenizer_type": "wordpiece", "do_basic_tokenize": True}
    for name in (None, "BertTokenizer", "BertTokenizerFast", "SqueezeBertTokenizer", "ElectraTokenizerFast"):
        write_vocab_folder(tmp_path, {"tokenizer_config": types | {"tokenizer_class": name}})
        assert Tokenizer.from_pretrained(tmp_path).tokenize("the ab") == ["the", "a", "##b"]
    # A general class follows tokenizer.json.
    reference().save(str(tmp_path / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "model_input_names": ["token_type_ids"]}
    write_vocab_folder(tmp_path, {"tokenizer_config": config})
    assert Tokenizer.from_pretrained(tmp_path).tokenize("the") == ["the"]


def test_tokenizer_json_is_preferred(tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join(SPECIALS), encoding="utf-8")
    (tmp_path / "tokenizer_config.json").write_text('{"model_max_length": 9, "do_lower_case": false}', encoding="utf-8")
    reference().save(str(tmp_path / "tokenizer.json"))
    with pytest.warns(UserWarning, match=r"tokenizer\.json: normalizer: lowercase true: not used"):
        ours = Tokenizer.from_pretrained(tmp_path)
    assert ours.tokenize("Hello") == ["Hello"] and ours.max_length == 9
    assert Tokenizer.from_pretrained(tmp_path / "vocab.txt").tokenize("hello") == ["[UNK]"]


def test_missing_and_broken_files(tmp_path):
    for path in (tmp_path, tmp_path / "vocab.txt"):
        with pytest.raises(FileNotFoundError, match=re.escape(str(path))):
            Tokenizer.from_pretrained(path)
    for path, got in ((None, "None"), (3, "3"), (b"vocab.txt", "b'vocab.txt'")):
        with pytest.raises(TypeError, match=f"path: expected str or PathLike, got {got}"):
            Tokenizer.from_pretrained(path)
    for name, content in (
        ("vocab.txt", b"a\nb"),
        ("vocab.txt", b"\xff\xfe"),
        ("tokenizer.json", b"{"),
        ("tokenizer.json", b"[]"),
        ("tokenizer.json", b"[" * 200_000),
        ("tokenizer.json", b"9" * 10_000),
        ("tokenizer_config.json", b"[1]"),
        ("tokenizer_config.json", b'{"a":' * 200_000),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=re.escape(str(tmp_path / name))):
            Tokenizer.from_pretrained(tmp_path)


# ------------------------------------------------------------------------------------------------------------ interface


def test_batches(ours):
    texts, pairs = ["the film", "", "a b c d e"], ["x", "y z", "[MASK]"]
    assert ours([]) == ours((), padding=True) == ours([], []) == {key: [] for key in ours("a")}
    for arguments in ((texts,), (texts, pairs)):
        batch = ours(*arguments)
        rows = [ours(*row) for row in zip(*arguments, strict=True)]
        assert batch == {key: [row[key] for row in rows] for key in batch}
        padded = ours(*arguments, padding=True)
        width = max(map(len, batch["input_ids"]))
        for key, fill in (("input_ids", 0), ("token_type_ids", 0), ("attention_mask", 0)):
            assert padded[key] == [row + [fill] * (width - len(row)) for row in batch[key]]
    assert ours(texts, truncation=True, max_length=4)["input_ids"][2] == ours("a b", max_length=4)["input_ids"]
    assert ours("a", padding=True) == ours("a")


def test_windows(ours):
    options = {"truncation": True, "max_length": 5, "return_overflowing_tokens": True}
    rows = ours("a b c d e f", stride=1, **options)
    assert [ours.decode(row) for row in rows["input_ids"]] == ["a b c", "c d e", "e f"]
    assert rows[2].offsets == [(0, 0), (8, 9), (10, 11), (0, 0)]
    assert rows["overflow_to_sample_mapping"] == [0, 0, 0]
    assert ours("a b c d e", stride=1, **options)["input_ids"] == rows["input_ids"][:2]  # the last one is exactly full
    assert ours("a", stride=1, **options)["input_ids"] == [ours("a")["input_ids"]]
    whole = ours("a b c d e f", return_overflowing_tokens=True)
    assert whole["input_ids"] == [ours("a b c d e f")["input_ids"]]
    assert Tokenizer(VOCAB, max_length=5)("a b c d e f", **options | {"max_length": None}, stride=1) == rows


def test_windows_of_a_list(ours):
    texts, pairs = ["a", "a b c", ""], ["x y z the film", "x", "x y z"]
    options = {"truncation": "only_second", "max_length": 7, "stride": 1, "return_overflowing_tokens": True}
    rows = ours(texts, pairs, **options)
    assert rows.overflow_to_sample_mapping == [0, 0, 1, 2]
    alone = [ours(*pair, **options) for pair in zip(texts, pairs, strict=True)]
    for key in rows.keys() - {"overflow_to_sample_mapping"}:
        assert rows[key] == [row for sample in alone for row in sample[key]]
    assert [rows[i] for i in range(4)] == [*(alone[0][i] for i in range(2)), alone[1][0], alone[2][0]]
    padded = ours(texts, pairs, padding=True, **options)
    for name, fill in (("attention_mask", 0), ("offsets", (0, 0)), ("word_ids", None), ("sequence_ids", None)):
        for i in range(4):
            row = getattr(rows[i], name)
            assert getattr(padded[i], name) == row + [fill] * (7 - len(row))
    empty = ours([], return_overflowing_tokens=True)
    assert empty.pop("overflow_to_sample_mapping") == [] and empty == ours([])


def test_alignment(ours):
    row = ours("isn't tokenization", "中文 [MASK]")
    assert row.tokens()[1:-1] == (["is", "##n", "'", "t", "token", "##iz", "##ation", "[SEP]", "中", "文", "[MASK]"])
    assert row.word_ids() == [None, 0, 0, 1, 2, 3, 3, 3, None, 0, 1, 2, None]
    assert row.sequence_ids() == [None, *[0] * 7, None, 1, 1, 1, None]
    batch = ours(["a", ""])
    assert batch.word_ids(0) == [None, 0, None] and batch.word_ids(1) == [None, None]


def test_conversions(ours):
    assert ours.convert_tokens_to_ids("the") == VOCAB["the"]
    assert ours.convert_tokens_to_ids(["the", "nonsense"]) == [VOCAB["the"], 1]
    assert ours.convert_ids_to_tokens(2) == "[CLS]"
    assert ours.convert_ids_to_tokens([2, 3]) == ["[CLS]", "[SEP]"]
    assert Tokenizer(list(VOCAB))("the film") == ours("the film")
    assert pickle.loads(pickle.dumps(ours))("the Film") == ours("the Film")
    for bad in ([len(VOCAB)], [-1]):
        with pytest.raises(ValueError, match="ids: expected ids of the vocabulary"):
            ours.decode(bad)
        with pytest.raises(ValueError, match="ids: expected ids of the vocabulary"):
            ours.convert_ids_to_tokens(bad)


def test_long_texts_are_cut_only_when_asked():
    tok = Tokenizer(VOCAB, max_length=5)
    assert len(tok("a b c d e f")["input_ids"]) == 8
    assert len(tok("a b c d e f", truncation="do_not_truncate")["input_ids"]) == 8
    assert tok("a b c d e f", truncation=True) == tok("a b c")
    assert tok("a b c d e f", truncation=True, max_length=4) == tok("a b")
    assert tok("a b c", truncation=True, max_length=2)["input_ids"] == [2, 3]


WINDOWS = {"truncation": True, "max_length": 4, "stride": 2, "return_overflowing_tokens": True}


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((b"a",), {}, TypeError, "text: expected str, got bytes"),
        ((None,), {}, TypeError, "text: expected str, got NoneType"),
        ((3,), {}, TypeError, "text: expected str, got int"),
        ((["a", None],), {}, TypeError, r"text\[1\]: expected str, got NoneType"),
        (("a", 3), {}, TypeError, "text_pair: expected str, got int"),
        (("a", ["b"]), {}, TypeError, r"text_pair: expected str, got list \(is_split"),
        ((["a"], "b"), {}, ValueError, "text_pair: expected a list of 1 texts, .* got str"),
        ((["a"], ["b", "c"]), {}, ValueError, "text_pair: expected a list of 1 texts, .* got 2"),
        ((["a"], [1]), {}, TypeError, r"text_pair\[0\]: expected str, got int"),
        (("a",), {"truncation": True, "max_length": 1}, ValueError, "max_length: .* the 2 special tokens, got 1"),
        (("a", "b"), {"truncation": True, "max_length": 2}, ValueError, "max_length: .* the 3 special tokens, got 2"),
        (("a",), {"truncation": True}, ValueError, "max_length: truncation needs one"),
        (("a",), {"truncation": "shortest"}, ValueError, "truncation: expected .* got 'shortest'"),
        (("a",), {"truncation": True, "max_length": 0}, ValueError, "max_length: expected at least 1, got 0"),
        (("a",), {"max_length": 2.0}, TypeError, "max_length: expected int or None, got 2.0"),
        (("a",), {"max_length": True}, TypeError, "max_length: expected int or None, got True"),
        (("a b",), {"truncation": "only_second", "max_length": 3}, ValueError, "'only_second' cannot shorten"),
        (("a",), {"stride": -1}, ValueError, "stride: expected at least 0, got -1"),
        (("a",), {"stride": 1.0}, TypeError, "stride: expected int, got 1.0"),
        (("a",), {"return_overflowing_tokens": 1}, TypeError, "return_overflowing_tokens: expected bool, got 1"),
        (("a b c",), WINDOWS, ValueError, "stride: expected less than the 2 tokens that a window has room for, got 2"),
        (("a b c",), WINDOWS | {"max_length": 2}, ValueError, "stride: expected less than the 0 tokens .*, got 2"),
        (("a", "b"), WINDOWS, ValueError, "truncation: expected 'only_first' or 'only_second' .* pair, got True"),
        (("a b", "c"), {"truncation": "only_second", "max_length": 4}, ValueError, "take off 2 tokens, .* has only 1"),
    ],
)
def test_bad_calls(ours, arguments, options, error, message):
    with pytest.raises(error, match=message):
        ours(*arguments, **options)


BAD_OPTIONS = {
    "lowercase": None, "strip_accents": 0, "handle_chinese_chars": "yes", "clean_text": 1, "unk_token": None,
    "cls_token": ["[CLS]"], "mask_token": b"[MASK]", "max_length": "9", "continuing_subword_prefix": None,
    "max_input_chars_per_word": 9.0, "added_tokens": 3,
}  # fmt: skip


def test_bad_arguments_elsewhere(ours):
    def fails(message, call, *arguments, error=TypeError, **options):
        with pytest.raises(error, match=message):
            call(*arguments, **options)

    fails("text: expected str, got bytes", ours.tokenize, b"a")
    fails("ids: expected a sequence of int, got int", ours.decode, 3)
    for ids in ("ab", [1.0], [None], 2.5):
        fails("ids: expected ", ours.convert_ids_to_tokens, ids)
    for tokens in ("ab", 3, [1], ["a", None]):
        fails("tokens: expected ", ours.convert_tokens_to_string, tokens)
    fails("vocab: expected a dict of token to id or a list of tokens, got str", Tokenizer, "vocab.txt")
    for vocab in ({"a": "1"}, {"a": True}, {1: 1}, [["a"]], [*SPECIALS, None]):
        fails("vocab: expected a str with an int in .* got ", Tokenizer, vocab)
    for i in (-5, 2**31, 10**30):
        fails(f"vocab: expected a str with an int in .* got 'a': {i}", Tokenizer, VOCAB | {"a": i}, error=ValueError)
    for name, bad in BAD_OPTIONS.items():
        fails(f"^{name}: expected .* got {re.escape(repr(bad))}", Tokenizer, VOCAB, **{name: bad})
    added = ({"content": "[SEP]", "id": 3, "special": None},)
    fails(r"added_tokens\[0\]: special: expected bool, got None", Tokenizer, VOCAB, added_tokens=added)
    fails(f"{MOST}: expected at least 0, got -1", Tokenizer, VOCAB, error=ValueError, **{MOST: -1})
    fails(r"special tokens \['\[CLS\]'\] are missing", Tokenizer, ["[PAD]", "[UNK]", "[SEP]"], error=ValueError)
    fails("max_length: expected at least 1, got -3", Tokenizer, VOCAB, error=ValueError, max_length=-3)


def test_threads_and_a_full_cache(monkeypatch):
    monkeypatch.setattr(normalizer, "CACHE_SIZE", 50)
    monkeypatch.setattr(module, "MOST_RECENT", 10_000)
    rng = random.Random(24)
    texts = [random_text(rng) for _ in range(100)]
    expected = Tokenizer(VOCAB)(texts)
    shared, results = Tokenizer(VOCAB), []
    threads = [threading.Thread(target=lambda: results.append(shared(texts) == expected)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 8
    assert len(shared._recent) + len(shared._older) <= 80


def test_unseen_words_take_bounded_memory():
    tok = Tokenizer({**{token: i for i, token in enumerate(SPECIALS)}, **dict(zip("ab", (5, 6), strict=True))} | HALVES)
    rng = random.Random(26)
    tracemalloc.start()
    try:
        peaks = []
        for _ in range(4):
            tracemalloc.reset_peak()
            for _ in range(1000):  # words of 100 pieces
                tok.tokenize(" ".join("".join(rng.choices("ab", k=100)) for _ in range(4)))
            peaks.append(tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()
    assert len(tok._recent) > 100
    assert peaks[-1] < 2.1 * module.MOST_RECENT and peaks[-1] < 1.05 * peaks[1], peaks


def test_words_in_use_survive_unseen_ones(monkeypatch):
    monkeypatch.setattr(module, "MOST_RECENT", 100_000)
    tok, turns = Tokenizer(VOCAB), 0
    for i in range(3000):
        older = tok._older
        assert tok.tokenize(f"the {i}x film") == ["the", *tok.tokenize(f"{i}x"), "film"]
        assert {"the", f"{i}x", "film"} <= tok._recent.keys() | tok._older.keys()
        turns += tok._older is not older
        assert len(tok._recent) + len(tok._older) < 1000
    assert turns > 3
    long = Tokenizer(VOCAB, max_input_chars_per_word=10**6)
    long.tokenize("a" * 2000)
    assert not long._recent  # as large as a good part of the cache
