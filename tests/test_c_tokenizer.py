"""The tokenizer in C: the same ids and offsets as the one in Python, and bad input refused."""

import random

import pytest
from test_tokenizer import FLAGS, FUZZ, VOCAB, random_text

from squeezeops.backends._buffers import ffi, lib
from squeezeops.squeezebert.tokenizer.tokenizer import Tokenizer

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
    struct.max_input_chars_per_word = settings["max_input_chars_per_word"]
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

    def __call__(self, text, pair=None, *, add_special_tokens=True, truncation="none", max_length=0):
        args = Arguments("sqz_tokenizer_encode_args", tokenizer=self.handle, accept_surrogates=1)
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
            assert (
                struct.capacity < room <= sum(len(t.encode("utf-8", "surrogatepass")) for t in (text, pair or "")) + 3
            )
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
            "offsets": list(zip(offsets[::2], offsets[1::2], strict=True)),
            "word_ids": [None if word < 0 else word for word in words],
            "sequence_ids": [None if sequence < 0 else sequence for sequence in sequences],
        }

    def __del__(self):
        lib.sqz_tokenizer_free(self.handle)


@pytest.mark.parametrize("flags", FLAGS.values(), ids=FLAGS)
def test_random_texts(flags):
    python = Tokenizer(VOCAB, **flags)
    in_c = InC(python)
    rng = random.Random(30)
    for _ in range(1500 * FUZZ):
        text = random_text(rng)
        assert in_c(text) == python(text, return_alignment=True), ascii(text)
