"""A backend for the ops over a WebAssembly module: the C library in a memory of its own, with 32-bit pointers.

As the cffi backend does, it reads the table of operations. A call copies its arguments into the module's memory and
its results out.
"""

from __future__ import annotations

import struct
from types import SimpleNamespace
from typing import Any

import numpy as np

from squeezeops.backends._compiled import PackedConvs, describe_cpu

NO_MEMORY, TYPE, NEEDS_OUT = 2, 4, 5  # sqz_status
EXCEPTIONS = {TYPE: TypeError, NO_MEMORY: MemoryError}
ARRAY, OUT, INT, REAL, WORD = range(5)  # sqz_argument_kind
F32, F16, S8, U8, BOOL, S32, S64, OTHER = 1, 2, 3, 5, 6, 7, 8, 10  # sqz_dtype
DTYPES = {"float32": F32, "float16": F16, "int8": S8, "uint8": U8, "bool": BOOL, "int32": S32, "int64": S64}
ARRAY_STRUCT = struct.Struct("<IIiiIIi")  # sqz_array: type, data, dtype, rank, shape, strides, readonly
MAX_RANK, LINE = 64, 64


class Block:
    """What one call needs in the module's memory, and the places in it that hold addresses of other places."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.pointers: list[int] = []
        self.arrays: dict[int, int] = {}  # by id: an array that is given twice lies at one place

    def add(self, data: bytes, align: int = 8) -> int:
        self.data += bytes(-len(self.data) % align)
        at = len(self.data)
        self.data += data
        return at

    def point(self, place: int, to: int) -> None:
        struct.pack_into("<I", self.data, place, to)
        self.pointers.append(place)

    def placed(self, base: int) -> bytes:
        for place in self.pointers:
            struct.pack_into("<I", self.data, place, struct.unpack_from("<I", self.data, place)[0] + base)
        return bytes(self.data)


class Bound(tuple[Any, ...]):
    """The first arguments of many calls: those that describe a packed weight."""


class Operation:
    """A row of the table, as a function of its arguments. A `Bound` may stand in place of the first ones."""

    def __init__(self, module: Module, address: int) -> None:
        self.module = module
        name, label, self.size, self.multiple, count, arguments, _ = struct.unpack("<IIIiiII", module.read(address, 28))
        self.name, self.label = module.text(name), module.text(label)
        self.arguments = []
        for i in range(count):
            row = struct.unpack("<IiiIiiI", module.read(arguments + 28 * i, 28))
            argument, kind, optional, offset, word_count, first, words = row
            pointers = struct.unpack(f"<{word_count}I", module.read(words, 4 * word_count)) if words else ()
            codes = {module.text(word) if word else None: first + j for j, word in enumerate(pointers)}
            self.arguments.append((module.text(argument), kind, bool(optional), offset, codes))

    def __call__(self, *given: Any) -> Any:
        return self.run([given])[0]

    def many(self, bounds: tuple[Bound, ...], *given: Any) -> tuple[Any, ...]:
        """One call per entry of `bounds`. All share the arguments that follow; the last has the results of each."""
        calls = []
        for bound, out in zip(bounds, given[-1], strict=True):
            outs = out if isinstance(out, tuple) else (out,)
            shared = [*given[:-1], *[None] * (len(self.arguments) - len(bound) - len(given) + 1)]
            call = [*bound, *shared]
            results = [i for i, argument in enumerate(self.arguments) if argument[1] == OUT]
            for i, room in zip(results, outs, strict=False):
                call[i] = room
            calls.append(tuple(call))
        return tuple(self.run(calls)) if calls else ()

    def missing(self, *given: Any) -> list[tuple[str, tuple[int, ...]]]:
        """The dtypes and shapes of the results that a call would allocate."""
        call = self.expanded(given)
        room = self.attempt([call])[1][0]
        return [(a.dtype.name, a.shape) for a, was in zip(room, call, strict=True) if a is not was]

    def expanded(self, given: tuple[Any, ...]) -> tuple[Any, ...]:
        if isinstance(given[0], Bound):
            given = (*given[0], *given[1:])
        return given + (None,) * (len(self.arguments) - len(given))

    def run(self, calls: list[tuple[Any, ...]]) -> list[Any]:
        """Run calls with one struct each; return their results."""
        calls = [self.expanded(call) for call in calls]
        status, calls = self.attempt(calls)
        if status == NEEDS_OUT:
            _, calls = self.attempt(calls)
        results = []
        for call in calls:
            found = [a for a, (_, kind, *_) in zip(call, self.arguments, strict=True) if kind == OUT and a is not None]
            results.append(tuple(found) if len(found) > 1 else found[0] if found else None)
        return results

    def attempt(self, calls: list[tuple[Any, ...]]) -> tuple[int, list[tuple[Any, ...]]]:
        """Call the function; return its status and the arguments, with new arrays where it asks for memory."""
        block = Block()
        # The structs lie together.
        first = block.add(bytes(self.size * len(calls)))
        structs = [first + i * self.size for i in range(len(calls))]
        places = [
            [self.put(block, at, argument, value) for argument, value in zip(self.arguments, call, strict=True)]
            for at, call in zip(structs, calls, strict=True)
        ]
        room = self.module.allocate(len(block.data) + LINE)
        base = room + -room % LINE
        count = (str(len(calls)),) if self.multiple else ()
        name = f"sqz_{self.name}"
        (status,), (after,) = self.module.host.exchange(
            [(base, block.placed(base))], [(name, base, *count)], [(base, len(block.data))]
        )
        self.module.host.exchange(calls=[("free", room)])
        if status not in (0, NEEDS_OUT):
            raise self.module.error(self.label, status)
        done = []
        for at, call, where in zip(structs, calls, places, strict=True):
            given = list(call)
            for i, (_, kind, _, offset, _) in enumerate(self.arguments):
                if kind != OUT:
                    continue
                _, _, dtype, rank, shape, _, _ = ARRAY_STRUCT.unpack_from(after, at + offset)
                if given[i] is None:
                    if dtype:
                        sizes = struct.unpack_from(f"<{rank}i", after, shape - base)
                        given[i] = np.empty(sizes, "float32" if dtype == F32 else "uint8")
                elif status == 0:
                    given[i][...] = np.frombuffer(after, given[i].dtype, given[i].size, where[i]).reshape(
                        given[i].shape
                    )
            done.append(tuple(given))
        return status, done

    def put(self, block: Block, struct_at: int, argument: Any, value: Any) -> int:
        """Write an argument to its field; return where the elements of an array are."""
        _, kind, optional, offset, codes = argument
        struct.pack_into("<I", block.data, struct_at, self.size)
        place = struct_at + offset
        if kind == WORD:
            struct.pack_into("<i", block.data, place, codes[value])
        elif kind in (INT, REAL):
            if value is not None:
                packed = struct.pack("<q" if kind == INT else "<d", value)
                if optional:
                    block.point(place, block.add(packed))
                else:
                    block.data[place : place + 8] = packed
        elif value is not None:
            dtype, shape = DTYPES.get(value.dtype.name, OTHER), value.shape
            ARRAY_STRUCT.pack_into(block.data, place, 0, 0, dtype, len(shape), 0, 0, 0)
            block.point(place, block.add(value.dtype.name.encode() + b"\0"))
            block.point(place + 16, block.add(struct.pack(f"<{len(shape)}i", *shape)))
            if id(value) not in block.arrays:
                block.arrays[id(value)] = block.add(np.ascontiguousarray(value).tobytes(), LINE)
            block.point(place + 4, block.arrays[id(value)])
            return block.arrays[id(value)]
        elif kind == OUT:
            ARRAY_STRUCT.pack_into(block.data, place, 0, 0, 0, MAX_RANK, 0, 0, 0)
            block.point(place + 16, block.add(bytes(4 * MAX_RANK)))
        return 0


class Module:
    """A backend over a host of the module (hosts.py)."""

    __name__ = "squeezeops.backends.wasm"

    def __init__(self, host: Any) -> None:
        self.host = host
        count = self.call("sqz_operation_count")
        rows = [Operation(self, self.call("sqz_operation_get", i)) for i in range(count)]
        self.operations = {row.name: row for row in rows}
        for name, row in self.operations.items():
            setattr(self, name, row)
        convs = PackedConvs(
            SimpleNamespace(
                pack_pointwise_conv=self.operations["pack_pointwise_conv"],
                pack_pointwise_conv_missing=self.operations["pack_pointwise_conv"].missing,
                use_packed_pointwise_conv=self.operations["use_packed_pointwise_conv"],
                run_pointwise_conv_bind=lambda *given: Bound(given),
                bound_arguments=lambda bound: bound,
            ),
            allocate=lambda size: np.empty(size, np.uint8),
            bytes_of=lambda view: np.frombuffer(view, np.uint8),
            address=lambda array: array.ctypes.data,
        )
        self.pack_pointwise_conv, self.use_packed_pointwise_conv = convs.pack, convs.use
        self.packed_form = convs.form
        self.run_pointwise_convs = self.operations["run_pointwise_convs"].many

    def call(self, name: str, *arguments: Any) -> Any:
        return self.host.exchange(calls=[(name, *arguments)])[0][0]

    def read(self, address: int, size: int) -> bytes:
        return bytes(self.host.exchange(reads=[(address, size)])[1][0])

    def text(self, address: int) -> str:
        """A string of the module that ends in a zero."""
        found = b""
        while b"\0" not in found:
            found += self.read(address + len(found), 32)
        return found.partition(b"\0")[0].decode()

    def put_text(self, text: str) -> int:
        """Copy a string to the module; `free` frees it."""
        data = text.encode() + b"\0"
        address = self.allocate(len(data))
        self.host.exchange(writes=[(address, data)])
        return address

    def allocate(self, size: int) -> int:
        address = self.call("malloc", size)
        if not address:
            raise MemoryError(f"no memory for {size} bytes")
        return int(address)

    def error(self, op: str, status: int) -> Exception:
        return EXCEPTIONS.get(status, ValueError)(f"{op}: {self.text(self.call('sqz_error_message'))}")

    def force_isa(self, name: str | None) -> None:
        address = self.put_text(name) if name else 0
        if status := self.call("sqz_force_isa", address):
            raise self.error("force_isa", status)

    def set_num_threads(self, n: int) -> None:
        if status := self.call("sqz_set_num_threads", str(n)):
            raise self.error("set_num_threads", status)

    def get_num_threads(self) -> int:
        return int(self.call("sqz_get_num_threads"))

    def cpu_info(self) -> dict[str, Any]:
        isas = [
            (self.text(self.call("sqz_isa_name", i)), self.call("sqz_isa_get_state", i))
            for i in range(self.call("sqz_isa_count"))
        ]
        kernel = self.allocate(24)
        rows = []
        for i in range(self.call("sqz_kernel_count")):
            self.call("sqz_kernel_get_info", i, kernel)
            op, dtype, _, _, symbol, in_use = struct.unpack("<IIIIIi", self.read(kernel, 24))
            rows.append({"op": self.text(op), "dtype": self.text(dtype), "symbol": self.text(symbol), "in_use": in_use})
        self.call("free", kernel)
        return describe_cpu(self.text(self.call("sqz_isa_chosen")), isas, rows)
