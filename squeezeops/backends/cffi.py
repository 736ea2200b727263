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
import threading
from types import SimpleNamespace
from typing import Any

from squeezeops.backends import _scalars as check
from squeezeops.backends._buffers import (
    NULL,
    address,
    c_sizes,
    describe,
    describe_result,
    empty,
    ffi,
    lib,
    pointer,
)
from squeezeops.backends._compiled import PackedConvs, describe_cpu

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


class _Calls(threading.local):
    """How many calls of operations this thread has made."""

    count = 0


_calls = _Calls()


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
        for convert, value in zip(self.converters[done:], values[done:], strict=True):
            fields.append(convert(value, keep))
        return values, fields

    def __call__(self, *given: Any) -> Any:
        keep: list[Any] = []
        values, fields = self.convert(given, keep)
        args = ffi.new(self.struct, fields)
        _calls.count = number = _calls.count + 1
        status = self.run(args)
        while status == lib.SQZ_NEEDS_OUT:
            asked = self._asked(args)
            if _calls.count == number:
                self._allocate(values, args, asked, keep)
            else:
                self._forget(args)
                number = _calls.count
            status = self.run(args)
        if status:
            raise _error(self.label, status)
        return self._result(values)

    def several(self, bounds: tuple[_Bound, ...], *given: Any) -> tuple[Any, ...]:
        """Run one call per entry of `bounds`. All share the arguments that follow; the last has a result for each."""
        keep: list[Any] = []
        calls = []
        for bound, out in zip(bounds, given[-1], strict=True):
            rest = [*given[:-1], *[None] * (len(self.names) - len(bound.values) - len(given) + 1)]
            rest[self.results[0] - len(bound.values)] = out
            calls.append(self.convert((bound, *rest), keep))
        args = ffi.new(self.structs, [fields for _, fields in calls])
        count = len(calls)
        _calls.count = number = _calls.count + 1
        status = self.run(args, count)
        while status == lib.SQZ_NEEDS_OUT:
            asked = [self._asked(args[i]) for i in range(count)]
            for i, (values, _) in enumerate(calls):
                if _calls.count == number:
                    self._allocate(values, args[i], asked[i], keep)
                else:
                    self._forget(args[i])
            number = _calls.count
            status = self.run(args, count)
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
        _, fields = self.convert(given, keep)
        args = ffi.new(self.struct, fields)
        while True:
            _calls.count = number = _calls.count + 1
            status = self.run(args)
            if status not in (lib.SQZ_OK, lib.SQZ_NEEDS_OUT):
                raise _error(self.label, status)
            asked = [(dtype, shape) for _, dtype, shape in self._asked(args)]
            if _calls.count == number:
                return asked
            self._forget(args)

    def _forget(self, args: Any) -> None:
        """Let an operation ask for its results again.

        The shapes last until the library's next call in this thread. A signal handler or a finaliser may make one
        before they are read: whoever reads them looks at the number of calls afterwards.
        """
        for i in self.results:
            out = getattr(args, self.names[i])
            if not out.data:
                out.dtype = lib.SQZ_NONE

    def _asked(self, args: Any) -> list[tuple[int, str, tuple[int, ...]]]:
        """Return which results an operation asks for, with their dtypes and shapes."""
        found = []
        for i in self.results:
            out = getattr(args, self.names[i])
            dtype = out.dtype
            if dtype and not out.data:
                shape = tuple(out.shape[0 : out.rank]) if out.rank else ()
                found.append((i, "float32" if dtype == lib.SQZ_F32 else "uint8", shape))
        return found

    def _allocate(
        self, values: list[Any], args: Any, asked: list[tuple[int, str, tuple[int, ...]]], keep: list[Any]
    ) -> None:
        """Make room for results, in the struct and among the values."""
        ndarray = getattr(sys.modules.get("numpy"), "ndarray", ())
        of_numpy = False
        for value in values:
            of_numpy = of_numpy or isinstance(value, ndarray)
        for i, dtype, shape in asked:
            values[i] = empty(self.label, shape, dtype, of_numpy)
            sizes = c_sizes(shape)
            keep.append(sizes)
            out = getattr(args, self.names[i])
            out.data, out.shape = pointer(values[i]), sizes

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
