"""The cffi backend: the compiled kernels for whatever has the buffer protocol, NumPy neither needed nor imported.

An array argument is a `memoryview`, an `array.array`, a ctypes array, a NumPy array: the format of its elements is its
type, and its shape counts. Except in NumPy arrays, bytes (format "B") stand for bools, and 16-bit integers ("H") for
the float16 with those bits. The result is `out`, if that is given; else a NumPy array, if an argument is one; else a
`memoryview`.

The library describes its operations in a table (`sqz_operation_get`), and checks the arrays itself: one loop over the
table converts the arguments of every op.
"""

from __future__ import annotations

import sys
from functools import partial
from itertools import repeat
from types import SimpleNamespace
from typing import Any, NamedTuple

from squeezeops.backends import _scalars as check
from squeezeops.backends._buffers import (
    NULL,
    address,
    describe,
    describe_result,
    empty,
    ffi,
    lib,
    pointer,
)
from squeezeops.backends._compiled import PackedConvs, describe_cpu
from squeezeops.backends._text import Encoder, Settings, utf8

EXCEPTIONS = {lib.SQZ_TYPE: TypeError, lib.SQZ_NO_MEMORY: MemoryError}


def _text(pointer: Any) -> str:
    return str(ffi.string(pointer).decode())


def _error(op: str, status: int) -> Exception:
    """What a function of the library complains about."""
    error: Exception = EXCEPTIONS.get(status, ValueError)(f"{op}: {_text(lib.sqz_error_message())}")
    error.argument = _text(lib.sqz_error_argument())  # type: ignore[attr-defined]
    return error


class _Bound:
    """The first arguments of many calls, converted once: those that describe a packed weight."""

    def __init__(self, values: tuple[Any, ...], fields: list[Any], keep: list[Any]) -> None:
        self.values, self.fields, self.keep = values, fields, keep


class _Operation:
    """An operation of the table, as a function of its arguments. A `_Bound` may stand in place of the first ones."""

    def __init__(self, row: Any) -> None:
        self.label, self.size = _text(row.label), row.size
        name = _text(row.name)
        # One call and several of an operation have the same struct.
        struct = f"sqz_{name.removesuffix('s') if row.several else name}_args"
        self.struct, self.structs = ffi.typeof(f"{struct} *"), ffi.typeof(f"{struct}[]")
        self.run = getattr(lib, f"sqz_{name}")
        arguments = [row.arguments[i] for i in range(row.argument_count)]
        self.names = [_text(a.name) for a in arguments]
        self.converters = [self._converter(a, name) for a, name in zip(arguments, self.names, strict=True)]
        self.results = [i for i, a in enumerate(arguments) if a.kind == lib.SQZ_ARG_OUT]
        self.is_array = [a.kind in (lib.SQZ_ARG_ARRAY, lib.SQZ_ARG_OUT) for a in arguments]

    def _converter(self, argument: Any, name: str) -> Any:
        """Return a function of the value and of a list that keeps what the field points to."""
        op = self.label
        if argument.kind == lib.SQZ_ARG_ARRAY:
            return describe
        if argument.kind == lib.SQZ_ARG_OUT:
            return describe_result
        if argument.kind == lib.SQZ_ARG_WORD:
            pointers = [argument.words[i] for i in range(argument.word_count)]
            words = tuple(None if word == NULL else _text(word) for word in pointers)
            codes: dict[Any, int] = {word: argument.first_word + i for i, word in enumerate(words)}

            def convert_word(value: Any, keep: list[Any]) -> int:
                if type(value) is not str and value is not None or value not in codes:
                    value = check.choice(op, name, value, words)
                return codes[value]

            return convert_word
        read, c_type = (check.int64, "int64_t *") if argument.kind == lib.SQZ_ARG_INT else (check.real, "double *")

        def convert_number(value: Any, keep: list[Any]) -> Any:
            if argument.optional and value is None:
                return NULL
            number = value if type(value) is float and read is check.real else read(op, name, value)
            if not argument.optional:
                return number
            keep.append(ffi.new(c_type, number))
            return keep[-1]

        return convert_number

    def convert(self, given: tuple[Any, ...], keep: list[Any]) -> tuple[list[Any], list[Any]]:
        """Return the arguments one by one, and the fields of their struct."""
        first = given[0]
        if type(first) is _Bound:
            fields, values = first.fields.copy(), [*first.values, *given[1:]]
            done = len(first.values)
        else:
            fields, values, done = [self.size], list(given), 0
        return values, fields + self._fields([*range(done, len(values))], values[done:], keep)

    def _fields(self, places: list[int], values: list[Any], keep: list[Any]) -> list[Any]:
        """Convert arguments of these places. Those that may run code of the caller come before arrays of NumPy.

        Such code, `__float__` or `__buffer__`, may give an array of NumPy other memory. Other buffers keep theirs.
        """
        ndarray = getattr(sys.modules.get("numpy"), "ndarray", None)
        fields: list[Any] = [None] * len(values)
        late = []
        for i, (place, value) in enumerate(zip(places, values, strict=True)):
            if self.is_array[place] and type(value) is ndarray:
                late.append(i)
            else:
                fields[i] = self.converters[place](value, keep)
        for i in late:
            fields[i] = self.converters[places[i]](values[i], keep)
        return fields

    def __call__(self, *given: Any) -> Any:
        keep: list[Any] = []
        values, fields = self.convert(given, keep)
        args = ffi.new(self.struct, fields)
        status = self.run(args)
        if status == lib.SQZ_NEEDS_OUT:
            self._allocate(values, args)
            status = self.run(args)
        if status:
            raise _error(self.label, status)
        return self._result(values)

    def several(self, bounds: tuple[_Bound, ...], *given: Any) -> tuple[Any, ...]:
        """Run one call per entry of `bounds`. All share the arguments that follow; the last has the results of each."""
        if not bounds:
            return ()
        keep: list[Any] = []
        calls = []
        first, results = len(bounds[0].values), self.results
        shared = [*given[:-1], *[None] * (len(self.names) - first - len(given) + 1)]
        outs = [out if isinstance(out, tuple) else (out,) for out in given[-1]]
        rooms = [[*out, *[None] * len(results)][: len(results)] for out in outs]
        places = [*range(first, len(self.names)), *results * len(bounds)]
        converted = self._fields(places, [*shared, *[room for each in rooms for room in each]], keep)
        common, described = converted[: len(shared)], iter(converted[len(shared) :])
        for bound, room in zip(bounds, rooms, strict=True):
            values, fields = [*bound.values, *shared], [*bound.fields, *common]
            for i, one, field in zip(results, room, described, strict=False):
                values[i], fields[i + 1] = one, field
            calls.append((values, fields))
        args = ffi.new(self.structs, [fields for _, fields in calls])
        status = self.run(args, len(calls))
        if status == lib.SQZ_NEEDS_OUT:
            for i, (values, _) in enumerate(calls):
                self._allocate(values, args[i])
            status = self.run(args, len(calls))
        if status:
            raise _error(self.label, status)
        return tuple([self._result(values) for values, _ in calls])

    def bind(self, *given: Any) -> _Bound:
        """Convert the first arguments."""
        keep: list[Any] = []
        pairs = zip(self.converters, given, strict=False)
        return _Bound(given, [self.size, *[convert(value, keep) for convert, value in pairs]], keep)

    def missing(self, *given: Any) -> list[tuple[str, tuple[int, ...]]]:
        """Return the dtypes and shapes of the results that a call would allocate."""
        keep: list[Any] = []
        values, fields = self.convert(given, keep)
        args = ffi.new(self.struct, fields)
        status = self.run(args)
        if status not in (lib.SQZ_OK, lib.SQZ_NEEDS_OUT):
            raise _error(self.label, status)
        return [(dtype, shape) for _, _, dtype, shape in self._asked(values, args)]

    def _asked(self, values: list[Any], args: Any) -> list[tuple[int, Any, str, tuple[int, ...]]]:
        """Return which results an operation asks for: their places, descriptors, dtypes and shapes."""
        found = []
        for i in self.results:
            if values[i] is None:
                out = getattr(args, self.names[i])
                if dtype := out.dtype:
                    shape = tuple(ffi.unpack(out.shape, out.rank))
                    found.append((i, out, "float32" if dtype == lib.SQZ_F32 else "uint8", shape))
        return found

    def _allocate(self, values: list[Any], args: Any) -> None:
        """Make room for results, in the struct and among the values."""
        ndarray = getattr(sys.modules.get("numpy"), "ndarray", ())
        of_numpy = any(map(isinstance, values, repeat(ndarray)))
        for i, out, dtype, shape in self._asked(values, args):
            values[i] = empty(self.label, shape, dtype, of_numpy)
            out.data = pointer(values[i])

    def _result(self, values: list[Any]) -> Any:
        results = [values[i] for i in self.results if values[i] is not None]
        return tuple(results) if len(results) > 1 else results[0] if results else None


_ROWS = [lib.sqz_operation_get(i) for i in range(lib.sqz_operation_count())]
_OPERATIONS = {_text(row.name): _Operation(row) for row in _ROWS}
globals().update(_OPERATIONS)

_packed_convs = PackedConvs(
    SimpleNamespace(
        pack_pointwise_conv=_OPERATIONS["pack_pointwise_conv"],
        pack_pointwise_conv_missing=_OPERATIONS["pack_pointwise_conv"].missing,
        use_packed_pointwise_conv=_OPERATIONS["use_packed_pointwise_conv"],
        run_pointwise_conv_bind=_OPERATIONS["run_pointwise_conv"].bind,
        bound_arguments=lambda bound: bound.values,
    ),
    allocate=lambda size: memoryview(bytearray(size)),
    bytes_of=lambda view: view.cast("B") if view.nbytes else memoryview(b""),
    address=address,
)
pack_pointwise_conv = _packed_convs.pack
use_packed_pointwise_conv = _packed_convs.use
packed_form = _packed_convs.form
run_pointwise_convs = _OPERATIONS["run_pointwise_convs"].several


# Texts: the functions that an Encoder calls.


class _Tokenizer(NamedTuple):
    handle: int
    kind: int | None  # the token type of a text alone, if there is but one


def _tokenizer_create(settings: Settings) -> _Tokenizer:
    keep: list[Any] = []

    def text(data: bytes) -> tuple[Any, int]:
        keep.append(ffi.from_buffer(data))
        return keep[-1], len(data)

    fields = settings._asdict()
    fields |= {name: text(fields[name]) for name in ("unk_token", "continuing_subword_prefix")}
    fields["vocab_bytes"] = text(settings.vocab_bytes)[0]
    for name in ("vocab_offsets", "vocab_ids"):
        fields[name] = ffi.from_buffer("int32_t[]", getattr(settings, name))
    added = [(text(content), *rest) for content, *rest in settings.added]
    for name, kind, items in (
        ("added", "sqz_added_token[]", added),
        ("single", "sqz_template_part[]", settings.single),
        ("pair", "sqz_template_part[]", settings.pair),
    ):
        fields |= {name: ffi.new(kind, items), f"{name}_count": len(items)}
    size = ffi.sizeof("sqz_tokenizer_args")
    args = ffi.new("sqz_tokenizer_args *", fields | {"size": size, "vocab_size": len(fields["vocab_ids"])})
    if status := lib.sqz_tokenizer_create(args):
        raise _error("Tokenizer", status)
    kinds = {kind for _, kind in settings.single}
    return _Tokenizer(args.tokenizer, kinds.pop() if len(kinds) == 1 else None)


_ENCODE, _PAIR = ffi.typeof("sqz_tokenizer_encode_args *"), ffi.typeof("sqz_text *")
_ENCODE_SIZE = ffi.sizeof(_ENCODE.item)
_USUAL = 256  # tokens of a text


class _Room:
    """Arguments of `sqz_tokenizer_encode`, with arrays for so many tokens."""

    def __init__(self, capacity: int) -> None:
        arrays = {name: ffi.new("int32_t[]", capacity) for name in ("ids", "type_ids", "words", "sequences")}
        arrays["offsets"] = ffi.new("int32_t[]", 2 * capacity)
        fixed = {"size": _ENCODE_SIZE, "accept_surrogates": 1, "capacity": capacity}
        self.args, self.keep = ffi.new(_ENCODE, fixed | arrays), arrays
        self.text = self.args.text
        ids, types, words, sequences, spans = (memoryview(ffi.buffer(array)).cast("i") for array in arrays.values())
        self.columns = {"input_ids": ids, "token_type_ids": types, "offset_mapping": spans, "word_ids": words}
        self.columns |= {"special_tokens_mask": sequences, "sequence_ids": sequences}


_rooms: list[_Room] = []  # those not in use: to make one takes as long as to encode a text


def _tokenizer_encode(
    tokenizer: _Tokenizer,
    text: Any,
    pair: Any,
    special_tokens: bool,
    truncation: int,
    max_length: int,
    columns: tuple[str, ...],
) -> dict[str, list[Any]] | None:
    if not isinstance(text, str) or not (pair is None or isinstance(pair, str)):
        return None
    data = utf8(text)
    first, second, kind = ffi.from_buffer(data), NULL, tokenizer.kind
    if pair is not None:
        data_pair = utf8(pair)
        keep = ffi.from_buffer(data_pair)
        second, kind = ffi.new(_PAIR, (keep, len(data_pair))), None
    try:
        room = _rooms.pop() if len(data) < 4 * _USUAL else _Room(len(data) // 2)
    except IndexError:
        room = _Room(_USUAL)
    status = lib.SQZ_NEEDS_OUT
    while status:
        args = room.args
        room.text.data, room.text.size, args.pair = first, len(data), second
        args.tokenizer, args.without_special_tokens = tokenizer.handle, not special_tokens
        args.truncation, args.max_length = truncation, max_length
        status, count = lib.sqz_tokenizer_encode(args), args.count
        if status == lib.SQZ_NEEDS_OUT:
            room = _Room(count)
        elif status:
            return None
    row: dict[str, Any] = {}
    for column in columns:
        if column == "attention_mask":
            row[column] = [1] * count
        elif column == "token_type_ids" and kind is not None:
            row[column] = [kind] * count
        elif column == "offset_mapping":
            ends = iter(room.columns[column][: 2 * count].tolist())
            row[column] = list(zip(ends, ends, strict=True))
        else:
            values: list[Any] = room.columns[column][:count].tolist()
            if column == "special_tokens_mask":
                values = [int(value < 0) for value in values]
            elif column in ("word_ids", "sequence_ids"):
                values = [None if value < 0 else value for value in values]
            row[column] = values
    if args.capacity == _USUAL:
        _rooms.append(room)
    return row


make_encoder = partial(
    Encoder,
    SimpleNamespace(
        tokenizer_create=_tokenizer_create,
        tokenizer_free=lambda tokenizer: lib.sqz_tokenizer_free(tokenizer.handle),
        tokenizer_encode=_tokenizer_encode,
    ),
)


# Threads and processor.


def set_num_threads(n: int) -> None:
    """See `squeezeops.set_num_threads`; the number is that of the native backend too."""
    status = lib.sqz_set_num_threads(check.num_threads(n))
    if status:
        raise _error("set_num_threads", status)


def get_num_threads() -> int:
    """See `squeezeops.get_num_threads`."""
    n = int(lib.sqz_get_num_threads())
    if n < 0:
        raise _error("get_num_threads", lib.SQZ_UNSUPPORTED)
    return n


def cpu_info() -> dict[str, Any]:
    """See `squeezeops.cpu_info`."""
    chosen = lib.sqz_isa_chosen()
    if chosen == NULL:
        raise _error("cpu_info", lib.SQZ_UNSUPPORTED)
    isas = [(_text(lib.sqz_isa_name(i)), lib.sqz_isa_get_state(i)) for i in range(lib.sqz_isa_count())]
    rows = []
    kernel = ffi.new("sqz_kernel_info *")
    for i in range(lib.sqz_kernel_count()):
        lib.sqz_kernel_get_info(i, kernel)
        row = {name: _text(getattr(kernel, name)) for name in ("op", "dtype", "symbol")}
        rows.append({**row, "in_use": kernel.in_use})
    return describe_cpu(_text(chosen), isas, rows)
