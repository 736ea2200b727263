"""Reads a pickled dict of tensors, as ``torch.save`` writes it, without calling anything that it names.

A pickle is a program that may call any function, and Python's unpickler would execute it. `Machine` knows only the
opcodes that a dict of tensors needs. It compares the names of functions with a list and refuses all others.
"""

from __future__ import annotations

import io
import reprlib
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pickletools import genops
from types import NoneType
from typing import Any

from squeezeops.squeezebert.files.checks import Fail, is_sizes, quote
from squeezeops.squeezebert.files.limits import MAX_OPCODES

__all__ = ["ADVICE", "Machine", "Storage", "Stream", "Tensor", "brief"]

MAX_NAME = 1000  # characters of a name or of a storage's key
STORAGES = {  # class: dtype in safetensors' spelling
    "torch.BoolStorage": "BOOL",
    "torch.ByteStorage": "U8",
    "torch.CharStorage": "I8",
    "torch.ShortStorage": "I16",
    "torch.IntStorage": "I32",
    "torch.LongStorage": "I64",
    "torch.HalfStorage": "F16",
    "torch.BFloat16Storage": "BF16",
    "torch.FloatStorage": "F32",
    "torch.DoubleStorage": "F64",
}
CALLS = (
    "collections.OrderedDict",
    "torch.Size",
    "torch._utils._rebuild_parameter",
    "torch._utils._rebuild_tensor",
    "torch._utils._rebuild_tensor_v2",
)
ADVICE = "torch.save(model.state_dict(), ...) writes what is expected"


@dataclass(frozen=True)
class Global:
    """A name of `CALLS` or `STORAGES`, as a value in a pickle."""

    name: str


@dataclass(frozen=True)
class Storage:
    key: str
    dtype: str  # in safetensors' spelling
    numel: int


@dataclass(frozen=True, eq=False, repr=False)  # a shape may be a cyclic value, on which both would not end
class Tensor:
    """A tensor as the pickle describes it; not checked yet."""

    storage: Storage
    offset: Any
    shape: Any
    stride: Any


class Brief(reprlib.Repr):
    """Formats the outermost levels of a value, and no instance whose own repr might recurse."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 2

    def repr_instance(self, value: object, level: int) -> str:
        plain = isinstance(value, bool | float | bytes | NoneType)
        return super().repr_instance(value, level) if plain else f"<{type(value).__name__}>"


brief = Brief().repr


class Stream(io.BytesIO):
    """The input of `genops`, which reads whole lines and interprets backslashes in them."""

    def readline(self, size: int | None = -1, /) -> bytes:
        line = super().readline(MAX_NAME)
        if b"\\" in line:
            raise ValueError("a line with a backslash")
        return line


class Machine:
    """Runs a pickle whose opcodes build numbers, strings, tuples, lists, dicts and `Tensor`, and nothing else.

    The pickle's length bounds memory and time. Values are never traversed, copied, compared or printed in depth, so
    nesting, sharing and cycles cost no more than their opcodes.
    """

    def __init__(self, fail: Fail) -> None:
        self.fail = fail
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []  # the stacks below the marks
        self.memo: dict[int, Any] = {}  # a dict, because a file may claim any index
        self.storages: dict[str, Storage] = {}

    def run(self, stream: Stream) -> Any:
        """Run the pickle at the stream's position and return its value."""
        for count, (name, argument) in enumerate(self.opcodes(stream)):
            if count == MAX_OPCODES:
                self.fail("pickle", f"at most {MAX_OPCODES} opcodes", "more")
            try:
                self.step(name, argument)
            except (IndexError, KeyError):
                self.fail("pickle", f"opcode {name} with its operands", "none")
        if len(self.stack) != 1 or self.marks:
            self.fail("pickle", "one value at its end", f"{len(self.stack)} and {len(self.marks)} open marks")
        return self.stack[0]

    def opcodes(self, stream: Stream) -> Iterator[tuple[str, Any]]:
        try:
            for opcode, argument, _ in genops(stream):
                yield opcode.name, argument
        except (ValueError, OverflowError) as error:
            self.fail("pickle", "a complete one", quote(str(error)))

    def step(self, name: str, argument: Any) -> None:
        stack = self.stack
        match name:
            case "PROTO" | "FRAME" | "STOP":
                pass
            case "NONE":
                stack.append(None)
            case "NEWTRUE" | "NEWFALSE":
                stack.append(name == "NEWTRUE")
            case "BININT" | "BININT1" | "BININT2" | "LONG1" | "BINFLOAT":
                stack.append(argument)
            case "BINUNICODE" | "SHORT_BINUNICODE" | "BINUNICODE8" | "BINBYTES" | "SHORT_BINBYTES" | "BINBYTES8":
                stack.append(argument)
            case "EMPTY_DICT":
                stack.append({})
            case "EMPTY_LIST":
                stack.append([])
            case "EMPTY_TUPLE":
                stack.append(())
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                length = int(name[-1])
                if len(stack) < length:
                    raise IndexError
                stack[-length:] = [tuple(stack[-length:])]
            case "MARK":
                self.marks.append(stack)
                self.stack = []
            case "TUPLE":
                items = self.pop_mark()
                self.stack.append(tuple(items))
            case "APPEND":
                item = stack.pop()
                self.top(list, name).append(item)
            case "APPENDS":
                items = self.pop_mark()
                self.top(list, name).extend(items)
            case "SETITEM":
                value, key = stack.pop(), stack.pop()
                self.set_items([key, value], name)
            case "SETITEMS":
                self.set_items(self.pop_mark(), name)
            case "BINPUT" | "LONG_BINPUT":
                self.memo[argument] = stack[-1]
            case "MEMOIZE":
                self.memo[len(self.memo)] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(self.memo[argument])
            case "GLOBAL":
                stack.append(self.find(argument.replace(" ", ".")))
            case "STACK_GLOBAL":
                attribute, module = stack.pop(), stack.pop()
                if not isinstance(module, str) or not isinstance(attribute, str):
                    self.fail("pickle", "a name as two strings", f"{type(module).__name__}, {type(attribute).__name__}")
                stack.append(self.find(f"{module}.{attribute}"))
            case "BINPERSID":
                stack.append(self.storage(stack.pop()))
            case "REDUCE":
                arguments, function = stack.pop(), stack.pop()
                stack.append(self.call(function, arguments))
            case "BUILD":  # the versions of a state dict's modules; ignored
                state = stack.pop()
                target = self.top(OrderedDict, name)
                if not isinstance(state, dict) or len(state) != 1 or "_metadata" not in state:
                    self.fail(
                        "pickle", "no attributes but a state dict's _metadata", f"others of {len(target)} tensors"
                    )
            case _:
                named = f" {quote(argument)}" if isinstance(argument, str) else ""
                self.fail("pickle", "the opcodes of a dict of tensors", f"{name}{named} ({ADVICE})")

    def pop_mark(self) -> list[Any]:
        items, self.stack = self.stack, self.marks.pop()
        return items

    def top(self, kind: type, name: str) -> Any:
        if not isinstance(self.stack[-1], kind):
            self.fail("pickle", f"opcode {name} after {kind.__name__}", type(self.stack[-1]).__name__)
        return self.stack[-1]

    def set_items(self, items: list[Any], name: str) -> None:
        target = self.top(dict, name)
        if len(items) % 2:
            raise IndexError
        for key, value in zip(items[::2], items[1::2], strict=True):
            # Hashing a tuple traverses it, and large integers can be chosen to collide.
            if type(key) is not str and not (type(key) is int and 0 <= key < 2**31):
                self.fail("pickle", "strings or integers from 0 to 2**31 - 1 as keys", brief(key))
            if key in target:
                self.fail("pickle", "every key of a dict once", f"{brief(key)} twice")
            target[key] = value

    def find(self, name: str) -> Global:
        if name not in CALLS and name not in STORAGES:
            got = f"one that names {quote(name)}, which is not a tensor (it was not run; {ADVICE})"
            self.fail("pickle", "a dict of tensors", got)
        return Global(name)

    def storage(self, persistent_id: object) -> Storage:
        """Make a storage from ("storage", class, key, device, elements), in the old layout with a None at the end."""
        match persistent_id if isinstance(persistent_id, tuple) and len(persistent_id) <= 6 else None:
            case ("storage", Global(name), str(key), str(), int(numel), *view) if name in STORAGES and not any(view):
                if len(key) > MAX_NAME:
                    self.fail("storage", f"a key of at most {MAX_NAME} characters", quote(key))
                if not is_sizes([numel]):
                    self.fail(f"storage {quote(key)}", "a count from 0 to 2**63 - 1", brief(numel))
                storage = Storage(key, STORAGES[name], numel)
                if self.storages.setdefault(key, storage) != storage:
                    before = self.storages[key]
                    expected = f"{before.numel} elements of {before.dtype} as before"
                    self.fail(f"storage {quote(key)}", expected, f"{numel} of {storage.dtype}")
                return storage
            case ("module", *_):
                self.fail("pickle", "a dict of tensors", f"a whole model ({ADVICE})")
        self.fail("pickle", "the tuple of a storage", f"another {type(persistent_id).__name__}")

    def call(self, function: object, arguments: object) -> Any:
        name = function.name if isinstance(function, Global) else type(function).__name__
        match name, arguments if isinstance(arguments, tuple) and len(arguments) <= 7 else None:
            case "collections.OrderedDict", ():
                return OrderedDict()
            case "torch.Size", (tuple() as sizes,):
                return sizes
            case "torch._utils._rebuild_parameter", (Tensor() as tensor, _, _):
                return tensor
            case "torch._utils._rebuild_tensor", (Storage() as storage, offset, shape, stride):
                return Tensor(storage, offset, shape, stride)
            case "torch._utils._rebuild_tensor_v2", (Storage() as storage, offset, shape, stride, _, _, *rest):
                if rest in ([], [None], [{}]):  # a dict with keys marks negated or conjugated values
                    return Tensor(storage, offset, shape, stride)
        self.fail("pickle", f"a call of {' or '.join(CALLS)} as torch writes it", f"one of {quote(name)}")

    def tensors(self, stream: Stream) -> dict[str, Tensor]:
        """Run the pickle and return its value, which must be a dict of tensors."""
        value = self.run(stream)
        if not isinstance(value, dict):
            self.fail("pickle", "a dict of tensors", f"{type(value).__name__} ({ADVICE})")
        for key, item in value.items():
            if not isinstance(key, str) or not isinstance(item, Tensor):
                got = f"one with {type(item).__name__} for {brief(key)}"
                inner = next((name for name in ("state_dict", "model_state_dict", "model") if name in value), None)
                advice = ADVICE if inner is None else f"a training checkpoint? Save what is under {inner!r} by itself"
                self.fail("pickle", "a dict of tensors", f"{got} ({advice})")
        return value
