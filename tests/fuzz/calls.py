"""Fuzz targets of the ops: a call with one changed argument, or with any, on every backend and ISA.

All must raise the same error, or return the same shapes, and all but `numpy` and SSE2 the same bits.
"""

from __future__ import annotations

import itertools
import os
import warnings
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
from buffer_calls import calls
from op_helpers import INT8_ISAS, ISAS, TO_TOLERANCE, Variant

from squeezeops import backends, ops


class Input:
    """Bytes that decide; zeros after the last one."""

    def __init__(self, data: bytes) -> None:
        self.data = itertools.chain(data, itertools.repeat(0))

    def byte(self) -> int:
        return next(self.data)

    def pick(self, values: Sequence[Any]) -> Any:
        return values[(self.byte() * 256 + self.byte()) % len(values)]


class Index:
    def __init__(self, value: Any) -> None:
        self.value = value

    def __index__(self) -> Any:
        if isinstance(self.value, Exception):
            raise self.value
        return self.value

    def __repr__(self) -> str:
        return f"Index({self.value!r})"


class Float(Index):
    __index__: Any = None

    def __float__(self) -> Any:
        return Index.__index__(self)


class Fails:
    def __repr__(self) -> str:
        return "Fails()"

    @property
    def __array_interface__(self) -> Any:
        raise KeyError("array interface")

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise KeyError("array")


NUMBERS = (0, 1, -1, 2, 3, 2**15, 2**31 - 1, 2**31, 2**32, 2**62, 2**63, -(2**63) - 1, 2**70, 1.5, -0.0, 1e-320, 1e308)
NUMBERS += (float("nan"), float("inf"), 1e39, True, np.int8(3), np.uint64(2**64 - 1), np.float16(1), np.float64(0.5))
OBJECTS: tuple[Any, ...] = (None, "", "zero", "relu", "float32", "\0", "\ud800", (), [], [1.0], [[1], [2, 3]])
OBJECTS += (
    {},
    object,
    Ellipsis,
    1j,
    Index(1),
    Index(2**70),
    Index("x"),
    Index(RuntimeError("index")),
    Float(0.5),
    Fails(),
)
OBJECTS += (np.zeros(0, np.float32), np.float32(1), np.zeros((), np.float32), np.zeros(3, "O"), np.zeros(2, "S3"))
OBJECTS += (np.zeros(2, "M8[s]"), np.zeros(2, [("a", "f4")]), np.zeros((1,) * 30, "f4"))
DTYPES = ("f4", ">f4", "f2", "f8", "i1", "u1", "?", "i2", "i4", "i8", "u8", ">i4", "c8", "g")
Change = Callable[[Any], Any]


def unaligned(array: Any) -> Any:
    room = np.zeros(array.nbytes + 1, np.uint8)
    result = room[1:].view(array.dtype).reshape(array.shape) if array.nbytes else array
    if array.nbytes:
        result[...] = array
    return result


def readonly(array: Any) -> Any:
    array = array.copy()
    array.flags.writeable = False
    return array


def filled(value: float) -> Change:
    def change(array: Any) -> Any:
        array = array.copy()
        with np.errstate(all="ignore"):
            array[(slice(None, None, 2), ...) if array.ndim else ()] = np.array(value).astype(array.dtype)
        return array

    return change


ARRAYS: tuple[Change, ...] = (
    unaligned,
    readonly,
    lambda a: a[::-1],
    lambda a: a[..., ::-1],
    lambda a: a[::2],
    lambda a: a[..., ::2],
    lambda a: a[:0],
    lambda a: a[..., :0],
    lambda a: a[:-1],
    lambda a: a[..., :-1],
    lambda a: a.T,
    lambda a: np.asfortranarray(a),
    lambda a: a[None],
    lambda a: a[..., None],
    lambda a: a.reshape(-1),
    lambda a: np.repeat(a, 2, -1),
    lambda a: np.concatenate([a, a]),
    lambda a: np.broadcast_to(a, (2, *a.shape)),
    lambda a: np.broadcast_to(a[:1], a.shape),
    lambda a: np.broadcast_to(np.zeros((), a.dtype), a.shape),
    lambda a: a.view(np.recarray),
    lambda a: a.tolist(),
    *(lambda a, dtype=dtype: a.astype(dtype) for dtype in DTYPES),
    *(filled(value) for value in (0, 1, 100, -1, float("nan"), float("inf"), 3e38, 1e-40)),
)


@cache
def table() -> dict[str, tuple[Callable[..., Any], dict[str, Any]]]:
    def array(format: str, values: Any, *shape: int) -> Any:
        return np.array(values, {"q": "i8", "i": "i4", "B": "u1"}.get(format, format)).reshape(shape)

    def quantize_rotated(x: Any, groups: Any, rotate: Any, out_values: Any = None, out_scales: Any = None) -> Any:
        out = None if out_values is None else ops.QuantizedRows(out_values, out_scales)
        return ops.quantize_rows(x, groups=groups, rotate=rotate, out=out)

    def rotated_conv(x_values: Any, x_scales: Any, residual: Any, quantize_groups: Any, quantize_rotate: Any) -> Any:
        conv = ops.PointwiseConv(array("f", [0.5] * 128 * 128, 128, 128), dtype="int8_rotated")
        x = ops.RotatedRows(x_values, x_scales)
        return conv(x, residual=residual, quantize_groups=quantize_groups, quantize_rotate=quantize_rotate)

    rows = array("f", [i % 13 / 16 for i in range(3 * 256)], 3, 256)
    values, scales = array("B", [130] * 3 * 128, 3, 128), array("f", [0.5] * 3, 3, 1)
    return calls(ops, array) | {
        "quantize_rows rotated": (quantize_rotated, {
            "x": rows, "groups": 2, "rotate": True, "out_values": array("B", [0] * 3 * 256, 3, 256),
            "out_scales": array("f", [0] * 6, 3, 2),
        }),
        "PointwiseConv rotated": (rotated_conv, {
            "x_values": values, "x_scales": scales, "residual": rows[:, :128], "quantize_groups": 1,
            "quantize_rotate": True,
        }),
    }  # fmt: skip


@cache
def variants() -> tuple[Variant, ...]:
    chosen = [Variant("native", isa) for isa in dict.fromkeys([*ISAS, *INT8_ISAS])]
    others = ("cffi", "numpy", *(["numba"] if os.environ.get("FUZZ_NUMBA") else []))  # which compiles for seconds
    return (*chosen, *(Variant(name) for name in others if name in backends.available()))


def change_of(choice: Input, value: Any) -> tuple[Change, str]:
    """Choose a change of an argument."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kind = choice.byte() % 4
        if isinstance(value, np.ndarray) and kind:
            i = choice.byte() % len(ARRAYS)
            return ARRAYS[i], f"array change {i}"
        other = choice.pick(NUMBERS if kind == 1 else OBJECTS)
        return lambda _: other, repr(other)[:80]


def outcome(variant: Variant, function: Callable[..., Any], arguments: dict[str, Any], changes: Any) -> Any:
    """What a call returns, or the type and the text of its error."""
    made = {key: value.copy() if isinstance(value, np.ndarray) else value for key, value in arguments.items()}
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        for key, change in changes:
            made[key] = change(made[key])
        try:
            with variant.active():
                result = function(**made)
        except (TypeError, ValueError, MemoryError, RuntimeError, KeyError) as error:
            return type(error).__name__, str(error)
    if not isinstance(result, (tuple, list)):
        result = [result]
    return [bits(np.asarray(part)) for part in result]


def bits(array: Any) -> tuple[Any, ...]:
    """The shape, dtype and bits of an array; those of a NaN are not promised."""
    if array.dtype.kind == "f":
        array = np.where(np.isnan(array), np.array(np.nan, array.dtype), array)
    return array.shape, array.dtype.str, array.tobytes()


def run_call(data: bytes, change_one: bool, only: Sequence[str] = ()) -> str:
    """Make a call on every variant and compare; return what was called and what came out."""
    choice = Input(data)
    name = choice.pick(sorted(table()))
    function, arguments = table()[name]
    changes: list[tuple[str, Change]] = []
    said = []
    while not changes:
        for key in sorted(arguments) if not change_one else [choice.pick(sorted(arguments))]:
            if not change_one and choice.byte() % 3 != 1 and (changes or key != max(arguments)):
                continue
            change, text = change_of(choice, arguments[key])
            changes.append((key, change))
            said.append(f"{key}: {text}")
    made = {key: value.copy() if isinstance(value, np.ndarray) else value for key, value in arguments.items()}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for key, change in changes:
                made[key] = change(made[key])
    except (TypeError, ValueError, AttributeError, IndexError, OverflowError):
        return f"{name}: no such change"
    chosen = [variant for variant in variants() if not only or variant.backend in only]
    found = [(variant, outcome(variant, function, arguments, changes)) for variant in chosen]
    exact = all(as_promised(key, a) for key, a in made.items() if key.endswith("_values"))
    compare(name, said, found, change_one, exact)
    return f"{name}: {', '.join(said)}: {found[0][1] if isinstance(found[0][1], tuple) else 'accepted'}"


def as_promised(key: str, values: Any) -> bool:
    """Return whether no byte is 0 and the heads of q, k and v, of 3 channels, are filled up with 128."""
    if getattr(values, "dtype", None) != np.uint8:
        return True
    return bool((values != 0).all() and (key[0] not in "qkv" or (values.reshape(-1)[3::4] == 128).all()))


def compare(name: str, said: list[str], found: list[tuple[Variant, Any]], texts: bool, exact: bool) -> None:
    first, expected = found[0]
    for variant, result in found[1:]:
        where = f"{name}: {', '.join(said)}: {first} and {variant}"
        if isinstance(expected, tuple) or isinstance(result, tuple):
            both = isinstance(expected, tuple) and isinstance(result, tuple)
            assert both, f"{where}: {brief(expected)}, {brief(result)}"
            assert not texts or expected == result, f"{where}: {expected}, {result}"
        elif variant.backend == "numpy" or variant.isa in TO_TOLERANCE or not exact:
            assert [part[:2] for part in expected] == [part[:2] for part in result], where
        else:
            assert expected == result, f"{where}: other bits"


def brief(result: Any) -> str:
    return f"{result}" if isinstance(result, tuple) else "accepted"
