"""The tokenizer in C: the same ids and offsets as the one in Python, and bad input refused."""

import importlib.util
import os
import pickle
import random
import re
import shlex
import subprocess
import threading

import pytest
from build_helpers import ROOT, run, tool
from test_tokenizer import ADDED as ADDED_TOKENS
from test_tokenizer import FLAGS, FUZZ, NO_CLEANING, VOCAB, columns_of, random_text

import squeezeops
from squeezeops import ops
from squeezeops.backends._buffers import ffi, lib
from squeezeops.squeezebert.tokenizer import normalizer
from squeezeops.squeezebert.tokenizer.tokenizer import Tokenizer

COMPILED = [name for name in ("native", "cffi") if name in ops.available_backends()]

PARTS = {"A": lib.SQZ_FIRST_TEXT, "B": lib.SQZ_SECOND_TEXT}
ADDED = ("single_word", "lstrip", "rstrip", "normalized", "special")


def message():
    return ffi.string(lib.sqz_error_message()).decode()


class Arguments:
    """A struct of arguments and what it points to."""

    def __init__(self, name, **fields):
        self.keep = []
        self.struct = ffi.new(f"{name} *", {"size": ffi.sizeof(name)})
        for field, value in fields.items():
            setattr(self.struct, field, value)

    def text(self, text):
        data = ffi.new("char[]", text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
        self.keep.append(data)
        return (data, len(data) - 1)

    def array(self, kind, values):
        self.keep.append(ffi.new(f"{kind}[]", values))
        return self.keep[-1]


def arguments_of(tokenizer):
    """What makes the tokenizer in C that does the same."""
    settings = tokenizer.settings()
    tokens = sorted((token.encode("utf-8", "surrogatepass"), i) for token, i in tokenizer.vocab.items())
    ends = [0]
    for token, _ in tokens:
        ends.append(ends[-1] + len(token))
    args = Arguments("sqz_tokenizer_args", vocab_size=len(tokens))
    struct = args.struct
    struct.vocab_bytes = args.array("char", b"".join(token for token, _ in tokens))
    struct.vocab_offsets = args.array("int32_t", ends)
    struct.vocab_ids = args.array("int32_t", [i for _, i in tokens])
    for name in ("lowercase", "strip_accents", "handle_chinese_chars", "clean_text", "split_special_tokens"):
        setattr(struct, name, settings[name])
    struct.unk_token = args.text(settings["unk_token"])
    struct.continuing_subword_prefix = args.text(settings["continuing_subword_prefix"])
    struct.max_input_chars_per_word = min(settings["max_input_chars_per_word"], 2**63 - 1)
    records = settings["added_tokens"]
    added = [(args.text(r["content"]), r["id"], *(r.get(flag, False) for flag in ADDED)) for r in records]
    struct.added, struct.added_count = args.array("sqz_added_token", added), len(added)
    for name in ("single", "pair"):
        parts = [(PARTS.get(part, part), type_id) for part, type_id in settings[name]]
        setattr(struct, name, args.array("sqz_template_part", parts))
        setattr(struct, f"{name}_count", len(parts))
    struct.max_length = settings["max_length"] or 0
    struct.truncation_side = lib.SQZ_SIDE_LEFT if settings["truncation_side"] == "left" else lib.SQZ_SIDE_RIGHT
    return args


class InC:
    """A tokenizer in C, called as that in Python."""

    def __init__(self, tokenizer):
        args = arguments_of(tokenizer)
        assert lib.sqz_tokenizer_create(args.struct) == lib.SQZ_OK, message()
        self.handle = args.struct.tokenizer
        self.copies = 2 if args.struct.single_count == 2 else 1  # of a text in an odd template of these tests

    def __call__(self, text, pair=None, *, add_special_tokens=True, truncation="none", max_length=0, **fields):
        args = Arguments("sqz_tokenizer_encode_args", tokenizer=self.handle, **{"accept_surrogates": 1} | fields)
        struct = args.struct
        struct.text = args.text(text)
        if pair is not None:
            struct.pair = args.array("sqz_text", [args.text(pair)])
        struct.without_special_tokens = not add_special_tokens
        struct.truncation = getattr(lib, f"SQZ_TRUNCATE_{truncation.upper()}")
        struct.max_length = max_length
        status = lib.sqz_tokenizer_encode(struct)  # asks for room
        names = ("ids", "type_ids", "offsets", "words", "sequences")
        while status == lib.SQZ_NEEDS_OUT:
            room = struct.count
            sizes = struct.text.size + (struct.pair.size if pair is not None else 0)
            assert struct.capacity < room <= sizes * self.copies + 3
            for name in names:
                setattr(struct, name, args.array("int32_t", [-7] * (room * (2 if name == "offsets" else 1))))
            struct.capacity = room
            status = lib.sqz_tokenizer_encode(struct)
        if status:
            raise ValueError(message())
        count = struct.count
        ids, types, offsets, words, sequences = (
            ffi.unpack(getattr(struct, name), count * (2 if name == "offsets" else 1)) if count else []
            for name in names
        )
        return {
            "input_ids": ids,
            "token_type_ids": types,
            "attention_mask": [1] * count,
            "offset_mapping": list(zip(offsets[::2], offsets[1::2], strict=True)),
            "word_ids": [None if word < 0 else word for word in words],
            "sequence_ids": [None if sequence < 0 else sequence for sequence in sequences],
        }

    def __del__(self):
        lib.sqz_tokenizer_free(self.handle)


# What is inside.


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    first, *flags = shlex.split(os.environ.get("CXX", "c++"))
    path = tmp_path_factory.mktemp("text") / "text_test"
    # An integer overflow traps, which needs no library of the sanitizer.
    trap = ("-fsanitize=undefined", "-fsanitize-undefined-trap-on-error")
    sources = [
        ROOT / "tests" / "text_test.cc",
        *(ROOT / "csrc" / f"{name}.cc" for name in ("handles", "memory", "error")),
    ]
    options = ["-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror", f"-I{ROOT}/csrc", f"-I{ROOT}/csrc/include", *trap]
    run(tool(first, "g++", "clang++"), *flags, *options, *sources, "-o", path)
    return path


def test_tables_are_those_of_the_normalizer():
    spec = importlib.util.spec_from_file_location("tables", ROOT / "csrc" / "text" / "tables.py")
    tables = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tables)
    text = (ROOT / "csrc" / "text" / "tables.inc").read_text(encoding="utf-8")
    assert tables.text() == text, "run: python csrc/text/tables.py"
    sizes = re.findall(r"^const uint(\d+)_t \w+\[(\d+)\]", text, re.MULTILINE)
    assert 20_000 < sum(int(bits) // 8 * int(count) for bits, count in sizes) < 40_000  # bytes


@pytest.mark.parametrize("flags", [(1, 1, 1, 1), (0, 0, 0, 1), (0, 1, 1, 0)])
def test_every_code_point(program, flags):
    found = subprocess.run([program, "normalize", *map(str, flags)], capture_output=True, check=True).stdout
    char_map = normalizer.CharMap(*map(bool, flags))
    forms = (char_map[chr(c)].encode("utf-8", "surrogatepass") for c in range(0x110000))
    assert found == b"".join(bytes([len(form)]) + form for form in forms)


def test_every_kind(program):
    spaces = {ord(c) for c in map(chr, range(0x110000)) if normalizer.SPACE.match(c)}
    kinds = bytearray(0x110000)
    for characters, kind in ((normalizer.PUNCTUATION, 2), (normalizer.WORD_CHARS, 4)):
        bounds = iter(characters.bounds)
        for first, after in zip(bounds, bounds, strict=True):
            for c in range(first, after):
                kinds[c] += kind
    for c in spaces:
        kinds[c] += 1
    assert subprocess.run([program, "kinds"], capture_output=True, check=True).stdout == kinds


@pytest.mark.parametrize("what", ["sets", "memory"])
def test_inside(program, what):
    run(program, what)


# As in Python.


@pytest.mark.parametrize("flags", FLAGS.values(), ids=FLAGS)
def test_random_texts(flags):
    python = Tokenizer(VOCAB, **flags)
    in_c = InC(python)
    rng = random.Random(30)
    for _ in range(1500 * FUZZ):
        text = random_text(rng)
        expected = columns_of(python(text))
        assert in_c(text) == expected, ascii(text)
        # Offsets in bytes are at the same characters.
        ends = [len(text[:end].encode()) for end in range(len(text) + 1)]
        offsets = [(ends[first], ends[last]) for first, last in expected["offset_mapping"]]
        assert in_c(text, offset_unit=lib.SQZ_UNIT_BYTE)["offset_mapping"] == offsets, ascii(text)


def test_surrogates():
    for flags in ({}, NO_CLEANING):
        python = Tokenizer(VOCAB | {"\ud800": 99999, "##\udfff": 99998}, **flags)
        in_c = InC(python)
        for text in ("a\ud800b \udfff", "\ud800", "\ud800\udfff", "\udfffé"):
            assert in_c(text) == columns_of(python(text))


@pytest.mark.parametrize("side", ["right", "left"])
def test_random_pairs_and_truncation(side):
    rng = random.Random(31)
    python = Tokenizer(VOCAB, truncation_side=side, max_length=20)
    in_c = InC(python)
    outcomes = set()
    for _ in range(1500 * FUZZ):
        texts = [random_text(rng) if rng.random() < 0.95 else "" for _ in range(rng.randint(1, 2))]
        strategy = rng.choice(("longest_first", "only_first", "only_second", False))
        options = {"add_special_tokens": rng.random() < 0.8}
        limit = rng.choice((None, rng.randint(1, 60)))
        try:
            expected = columns_of(python(*texts, truncation=strategy, max_length=limit, **options))
        except ValueError as error:
            outcomes.add(str(error)[:33])
            with pytest.raises(ValueError, match=f"^{re.escape(str(error))}$"):
                in_c(*texts, truncation=strategy or "none", max_length=limit or 0, **options)
        else:
            outcomes.add(strategy)
            assert in_c(*texts, truncation=strategy or "none", max_length=limit or 0, **options) == expected
    assert len(outcomes) == 4 + 4, (
        outcomes
    )  # errors: only_second of one text, too much to take off each, too many special tokens


def added_records():
    records = [{"content": "[SEP]", "id": VOCAB["[SEP]"], "special": True}]
    flags = ("single_word", "lstrip", "rstrip", "normalized", "special")
    for i, token in enumerate(ADDED_TOKENS):
        records.append({"content": token.content, **{flag: getattr(token, flag) for flag in flags}})
        records[-1]["id"] = VOCAB.get(token.content, 5000 + i)
    more = [
        (" ", {"rstrip": True}),
        ("  x", {}),
        ("É", {"normalized": True, "lstrip": True}),
        ("\u0301", {"normalized": True}),
    ]
    more += [("é", {"normalized": True}), ("中", {"normalized": True}), ("中", {"single_word": True, "rstrip": True})]
    for i, (content, flags) in enumerate(more):
        records.append({"content": content, "id": VOCAB.get(content, 6000 + i), **flags})
    return records


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("flags", [{}, {"lowercase": False}, {"clean_text": False}], ids=["uncased", "cased", "raw"])
def test_added_tokens(flags, split):
    rng = random.Random(32)
    records = added_records()
    pieces = [record["content"] for record in records]
    pieces += [" ", " ", "\t", "x", ".", "é", "\u0301", "new  film", "él", "ÉL", "THE", "\u3000", "\xa0", "〮\u0301"]
    for round in range(8):
        chosen = records[: len(ADDED_TOKENS) + 1] if round < 3 else rng.sample(records, rng.randint(1, len(records)))
        python = Tokenizer(VOCAB, added_tokens=chosen, split_special_tokens=split, **flags)
        in_c = InC(python)
        for _ in range(150 * FUZZ):
            several = [
                "".join(
                    rng.choice(pieces) if rng.random() < 0.9 else random_text(rng) for _ in range(rng.randint(1, 10))
                )
                for _ in range(rng.randint(1, 2))
            ]
            assert in_c(*several) == columns_of(python(*several)), several


def test_odd_settings():
    rng = random.Random(33)
    long = "".join(rng.choices("ab", k=150))
    vocab = VOCAB | {long: 9000, f"##{long}": 9001, "": 9002, "##": 9003}
    for settings in (
        {"continuing_subword_prefix": ""},
        {"continuing_subword_prefix": "é"},
        {"continuing_subword_prefix": "no token begins so"},
        {"max_input_chars_per_word": 0},
        {"max_input_chars_per_word": 3},
        {"max_input_chars_per_word": 10**30},
        {"unk_token": "the"},
    ):
        python = Tokenizer(vocab, **settings)
        in_c = InC(python)
        for _ in range(150 * FUZZ):
            text = random_text(rng) + rng.choice(("", long, long * 3, f"{long}a", long[1:]))
            assert in_c(text) == columns_of(python(text)), ascii(text)
    settings = Tokenizer(VOCAB).settings()
    for single, pair in (
        ([], [["B", 7], [3, 2], ["A", 2**31 - 1]]),
        ([["A", 0], ["A", 1]], [["A", 0]]),
        ([["B", 1]], []),
    ):
        python = Tokenizer.from_settings(VOCAB, settings | {"single": single, "pair": pair})
        in_c = InC(python)
        for texts in (("the film",), ("the film", "é"), ("the film", ""), ("",)):
            assert in_c(*texts) == columns_of(python(*texts))
    without = {token: i for token, i in VOCAB.items() if token != "[UNK]"}
    in_c = InC(Tokenizer(without))
    assert in_c("the film") == InC(Tokenizer(VOCAB))("the film")
    with pytest.raises(
        ValueError, match=r"^text: expected words of the vocabulary, which has no '\[UNK\]', got '\u2620'$"
    ):
        in_c("the \u2620")
    with pytest.raises(ValueError, match=r"^pair: .* got '\u2620{13}\.\.\.'$"):
        in_c("the", "\u2620" * 99)


# The class in Python, on the backends that have C.


def warm(tokenizer):
    """Encode so much that the class makes its tokenizer in C."""
    tokenizer(["a" * 100] * (tokenizer.vocab_size // 25 + 1))
    return tokenizer


def outcome(tokenizer, *arguments, **options):
    try:
        encoding = tokenizer(*arguments, **options)
        return dict(encoding), encoding._rows()
    except (TypeError, ValueError) as error:
        return type(error), str(error), getattr(error, "argument", None)


@pytest.mark.parametrize("backend", COMPILED)
def test_the_class_uses_it(backend, monkeypatch):
    with squeezeops.backend(backend):
        tokenizer = Tokenizer(VOCAB)
        tokenizer("the film")
        assert not tokenizer._encoders  # not worth it yet
        warm(tokenizer)
        expected = tokenizer("the film")
        monkeypatch.setattr(tokenizer, "_encode", None)
        assert tokenizer("the film") == expected
        assert tokenizer(["the film"])["input_ids"] == [expected["input_ids"]]
    monkeypatch.undo()
    with squeezeops.backend("numpy"):
        monkeypatch.setattr(tokenizer, "_encode", None)
        with pytest.raises(TypeError, match="NoneType"):
            tokenizer("the film")


@pytest.mark.parametrize("backend", COMPILED)
def test_the_class_gives_the_same(backend):
    rng = random.Random(34)
    python, compiled = Tokenizer(VOCAB, max_length=30), Tokenizer(VOCAB, max_length=30)
    strange = [None, 3, b"a", ["a"], "a\ud800b", "\udfff", "é" * 5000, "a " * 5000]
    kinds = set()
    with squeezeops.backend(backend):
        warm(compiled)
    for _ in range(600 * FUZZ):
        count = rng.choice((None, 0, 1, 3))

        def some(count=count):
            one = [rng.choice(strange) if rng.random() < 0.06 else random_text(rng) for _ in range(count or 1)]
            return one[0] if count is None else rng.choice((list, tuple))(one[:count])

        arguments = [some() for _ in range(rng.randint(1, 2))]
        flags = ("add_special_tokens", "return_overflowing_tokens", "return_offsets_mapping", "return_attention_mask")
        flags += ("return_special_tokens_mask", "return_length", "return_token_type_ids")
        options = {
            "truncation": rng.choice((None, False, True, "only_first", "only_second", "do_not_truncate")),
            "max_length": rng.choice((None, 1, 5, 12)),
            "padding": rng.choice((False, True, "max_length")),
            "is_split_into_words": rng.random() < 0.05,
            **{flag: rng.random() < 0.3 for flag in flags},
        }
        expected = outcome(python, *arguments, **options)
        with squeezeops.backend(backend):
            assert outcome(compiled, *arguments, **options) == expected, (arguments, options)
        kinds.add(dict if isinstance(expected[0], dict) else expected[0])
    assert kinds == {dict, TypeError, ValueError}


@pytest.mark.parametrize("backend", COMPILED)
def test_the_class_follows_its_attributes(backend):
    with squeezeops.backend(backend):
        tokenizer = warm(Tokenizer(VOCAB))
        tokenizer.truncation_side = "left"
        ids = tokenizer("the film mask", truncation=True, max_length=3)["input_ids"]
        assert ids == [VOCAB["[CLS]"], VOCAB["mask"], VOCAB["[SEP]"]]
        copied = pickle.loads(pickle.dumps(tokenizer))
        assert copied("the film") == tokenizer("the film") and not copied._encoders or copied._encoders


@pytest.mark.parametrize("backend", COMPILED)
def test_threads(backend):
    rng = random.Random(35)
    texts = [random_text(rng) for _ in range(300)] + ["the film " * 2000]
    expected = Tokenizer(VOCAB)(texts)
    results = []

    def encode(tokenizer):
        with squeezeops.backend(backend):
            results.append([warm(tokenizer)(texts) == expected for _ in range(5)])

    shared = Tokenizer(VOCAB)
    threads = [threading.Thread(target=encode, args=(shared,)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [[True] * 5] * 6


# Bad input.


def test_bad_texts():
    in_c = InC(Tokenizer(VOCAB))
    for bad, at in (
        (b"a\xff", 1), (b"\x80", 0), (b"ab\xc3", 2), (b"\xc0\x80", 0), (b"\xc1\xbf", 0), (b"\xe0\x80\x80", 0),
        (b"\xed\xa0\x80", 0), (b"12345678\xf0\x8f\xbf\xbf", 8), (b"\xf4\x90\x80\x80", 0), (b"\xf5\x80\x80\x80", 0),
        (b"\xe2\x82", 0), (b"\xf0\x9f\x98", 0), (b"\xe2a\x82", 0), (b"\xf8\x88\x80\x80\x80", 0),
    ):  # fmt: skip
        for name, texts in (("text", (bad,)), ("pair", ("a", bad))):
            with pytest.raises(ValueError, match=rf"^{name}: expected UTF-8, got byte 0x{bad[at]:02x} at {at}$"):
                in_c(*texts, accept_surrogates=0)
    assert in_c(b"a\xed\xa0\x80b") == in_c("a\ud800b")


def test_random_bytes():
    """Never a crash; and what is UTF-8 is encoded as by the class."""
    python = Tokenizer(VOCAB, added_tokens=added_records())
    in_c = InC(python)
    rng = random.Random(36)
    valid = 0
    for _ in range(4000 * FUZZ):
        data = bytearray(random_text(rng).encode())
        for _ in range(rng.choice((0, 0, 1, 3))):
            place = rng.randrange(len(data) + 1)
            data[place : place + rng.randint(0, 2)] = rng.randbytes(rng.randint(0, 2))
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            with pytest.raises(ValueError, match=f"^text: expected UTF-8, got byte .* at {error.start}$"):
                in_c(bytes(data), accept_surrogates=0)
        else:
            valid += 1
            assert in_c(bytes(data), accept_surrogates=0) == columns_of(python(text))
    assert valid > 1000 * FUZZ


def refused(args, function, expected, status=None):
    assert function(args.struct) == (lib.SQZ_INVALID if status is None else status)
    assert message() == expected and ffi.string(lib.sqz_error_argument()).decode() == expected.partition(":")[0]


def test_bad_tokenizers():
    def bad(expected, **fields):
        args = arguments_of(Tokenizer(VOCAB))
        for name, value in fields.items():
            if isinstance(value, tuple) and isinstance(value[0], str):
                value = args.array(*value)
            setattr(args.struct, name, value)
        refused(args, lib.sqz_tokenizer_create, expected)
        assert args.struct.tokenizer == 0

    count = len(VOCAB)
    pointer = "expected a pointer, got NULL"
    assert lib.sqz_tokenizer_create(NULL := ffi.NULL) == lib.SQZ_INVALID and message() == f"args: {pointer}"
    size = ffi.sizeof("sqz_tokenizer_args")
    for wrong in (0, 4, size - 1, size - 8, ffi.offsetof("sqz_tokenizer_args", "tokenizer") + 4):
        bad(f"size: expected that of the struct, {size} bytes, got {wrong}", size=wrong)
    bad(f"vocab_bytes: {pointer}", vocab_bytes=NULL)
    bad(f"vocab_offsets: {pointer}", vocab_offsets=NULL)
    bad(f"vocab_ids: {pointer}", vocab_ids=NULL)
    for size in (-1, 2**31, 2**62):
        bad(f"vocab_size: expected a number from 0 to 2^31 - 2, got {size}", vocab_size=size)
    ids = ("int32_t", [0] * (count - 1) + [-5])
    bad("vocab_ids: expected ids >= 0, got -5", vocab_ids=ids)
    bad("vocab_offsets: expected 0 at first, got 1", vocab_offsets=("int32_t", [1] * (count + 1)))
    bad(
        "vocab_offsets: expected ascending numbers, got 0 after 2",
        vocab_offsets=("int32_t", [0, 2] + [0] * (count - 1)),
    )
    bad("vocab_offsets: expected ascending numbers, got -9 after 0", vocab_offsets=("int32_t", [0] * count + [-9]))
    order = "vocab_bytes: expected tokens in ascending order, each once, got another order at 1"
    two = {"vocab_size": 2, "vocab_offsets": ("int32_t", [0, 1, 2])}
    bad(order, vocab_bytes=("char", b"ba"), **two)
    bad(order, vocab_bytes=("char", b"aa"), **two)
    bad("vocab_bytes: expected tokens in UTF-8, got another one at 0", vocab_bytes=("char", "é".encode()), **two)
    bad("unk_token: expected UTF-8, got byte 0xff at 1", unk_token=(b := ffi.new("char[]", b"a\xff"), 2))
    bad(f"unk_token: {pointer}", unk_token=(NULL, 2))
    bad("continuing_subword_prefix: expected a size from 0 to 2^31 - 1, got -1", continuing_subword_prefix=(b, -1))
    bad("continuing_subword_prefix: expected UTF-8, got byte 0xff at 1", continuing_subword_prefix=(b, 2))
    bad("max_input_chars_per_word: expected a number >= 0, got -1", max_input_chars_per_word=-1)
    bad("max_length: expected a number >= 0, got -1", max_length=-1)
    bad("truncation_side: expected a value from 0 to 1, got 2", truncation_side=2)
    bad(f"added: {pointer}", added=NULL)
    bad("added_count: expected a number from 0 to 2^31 - 2, got -1", added_count=-1)
    bad(f"added: {pointer}", added=("sqz_added_token", [((NULL, 1), 3)]), added_count=1)
    bad("added: expected ids >= 0, got -1", added=("sqz_added_token", [((NULL, 0), -1)]), added_count=1)
    bad("added[0].content: expected UTF-8, got byte 0xff at 1", added=("sqz_added_token", [((b, 2), 1)]), added_count=1)
    for name in ("single", "pair"):
        bad(f"{name}: {pointer}", **{name: NULL})
        bad(f"{name}_count: expected a number from 0 to 2^31 - 2, got -7", **{f"{name}_count": -7})
        part = {f"{name}_count": 1, name: ("sqz_template_part", [(-3, 0)])}
        bad(f"{name}: expected ids >= 0, SQZ_FIRST_TEXT or SQZ_SECOND_TEXT, got -3", **part)
        part[name] = ("sqz_template_part", [(2, -1)])
        bad(f"{name}: expected token types >= 0, got -1", **part)


def test_bad_calls():
    in_c = InC(Tokenizer(VOCAB))
    data = ffi.new("char[]", b"the film")

    def bad(expected, status=None, **fields):
        args = Arguments("sqz_tokenizer_encode_args", **({"tokenizer": in_c.handle, "text": (data, 8)} | fields))
        refused(args, lib.sqz_tokenizer_encode, expected, status)

    assert lib.sqz_tokenizer_encode(ffi.NULL) == lib.SQZ_INVALID and message() == "args: expected a pointer, got NULL"
    beyond = in_c.handle + 10**6  # the next ones may be those of other tests
    for handle in (0, 1, beyond, in_c.handle ^ (1 << 32), 2**64 - 1):
        bad(f"tokenizer: expected an open handle, got {handle}", tokenizer=handle)
    bad("text: expected a pointer, got NULL", text=(ffi.NULL, 1))
    bad("text: expected a size from 0 to 2^31 - 1, got -1", text=(data, -1))
    bad("text: expected a size from 0 to 2^31 - 1, got 2147483648", text=(data, 2**31))
    bad("pair: expected a pointer, got NULL", pair=(pair := ffi.new("sqz_text *", (ffi.NULL, 1))))
    bad("truncation: expected a value from 0 to 3, got 4", truncation=4)
    bad("max_length: expected a number >= 0, got -1", max_length=-1)
    bad("max_length: expected a number > 0 to truncate to, got 0, and the tokenizer has none", truncation=1)
    bad("offset_unit: expected a value from 0 to 1, got 2", offset_unit=2)
    bad("capacity: expected a number >= 0, got -1", capacity=-1)
    size = ffi.sizeof("sqz_tokenizer_encode_args")
    bad(f"size: expected that of the struct, {size} bytes, got 4", size=4)
    pair.data, pair.size = data, 8

    # Without room nothing is written; each array may be left out.
    ids = ffi.new("int32_t[]", [-7] * 8)
    args = Arguments("sqz_tokenizer_encode_args", tokenizer=in_c.handle, text=(data, 8), pair=pair, ids=ids, capacity=6)
    assert lib.sqz_tokenizer_encode(args.struct) == lib.SQZ_NEEDS_OUT
    assert args.struct.count == 7 and list(ids) == [-7] * 8
    args.struct.capacity = 8
    assert lib.sqz_tokenizer_encode(args.struct) == lib.SQZ_OK
    assert list(ids) == [*in_c("the film", "the film")["input_ids"], -7]
    args.struct.ids = ffi.NULL
    assert lib.sqz_tokenizer_encode(args.struct) == lib.SQZ_OK and args.struct.count == 7


def test_free():
    in_c = InC(Tokenizer(VOCAB))
    assert lib.sqz_tokenizer_free(0) == lib.SQZ_OK
    assert lib.sqz_tokenizer_free(in_c.handle) == lib.SQZ_OK
    for _ in range(2):
        assert lib.sqz_tokenizer_free(in_c.handle) == lib.SQZ_INVALID
        assert message() == f"tokenizer: expected an open handle, got {in_c.handle}"
    with pytest.raises(ValueError, match="tokenizer: expected an open handle"):
        in_c("the film")
    old, in_c.handle = in_c.handle, 0
    other = InC(Tokenizer(VOCAB))
    assert other.handle != old
