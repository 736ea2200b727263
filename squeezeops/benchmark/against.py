"""The user's own kernel as a row beside ours: a function in Python, or one in C with the signature of ours.

A Python function is called as the one of `squeezeops.ops`. A C function is called as the pointer function of
`squeezeops.h`; this module has the only list of how the arguments of one become those of the other.
"""

from __future__ import annotations

import ctypes
import importlib
import inspect
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np

from squeezeops import ops
from squeezeops.benchmark.cases import Function, Op, Shape, describe
from squeezeops.benchmark.variants import Variant

__all__ = ["Theirs", "largest_difference", "load"]

TOLERANCE, TOLERANCE_INT8 = 1e-4, 0.02  # of the amax of a result; int8 may be quantised in another way
DTYPES = {"float32": 1, "float16": 2, "int8": 3}  # sqz_dtype
ACTIVATIONS = (None, "gelu", "gelu_tanh", "relu", "tanh")  # sqz_activation

# ---- C functions -----------------------------------------------------------------------------------------------------


class _Attention(ctypes.Structure):
    """sqz_attention_f32_args."""

    _fields_ = [
        ("batch", ctypes.c_int64), ("q_offsets", ctypes.c_void_p), ("k_offsets", ctypes.c_void_p),
        ("heads", ctypes.c_int64), ("head_size", ctypes.c_int64),
        ("q", ctypes.c_void_p), ("ldq", ctypes.c_int64), ("k", ctypes.c_void_p), ("ldk", ctypes.c_int64),
        ("v", ctypes.c_void_p), ("ldv", ctypes.c_int64), ("mask", ctypes.c_void_p), ("mask_kind", ctypes.c_int),
        ("mask_strides", ctypes.c_int64 * 3), ("mask_ragged", ctypes.c_int32), ("scale", ctypes.c_double),
        ("fully_masked", ctypes.c_int), ("out", ctypes.c_void_p), ("ldo", ctypes.c_int64), ("scores", ctypes.c_void_p),
    ]  # fmt: skip


class _AttentionInt8(ctypes.Structure):
    """sqz_attention_s8_args."""

    _fields_ = [
        ("batch", ctypes.c_int64), ("q_offsets", ctypes.c_void_p), ("k_offsets", ctypes.c_void_p),
        ("heads", ctypes.c_int64), ("head_size", ctypes.c_int64),
        ("q", ctypes.c_void_p), ("ldq", ctypes.c_int64), ("q_scales", ctypes.c_void_p),
        ("k", ctypes.c_void_p), ("ldk", ctypes.c_int64), ("k_scales", ctypes.c_void_p),
        ("v", ctypes.c_void_p), ("ldv", ctypes.c_int64), ("v_scales", ctypes.c_void_p),
        ("mask", ctypes.c_void_p), ("mask_strides", ctypes.c_int64 * 2), ("mask_ragged", ctypes.c_int32),
        ("scale", ctypes.c_double), ("fully_masked", ctypes.c_int), ("value_scale", ctypes.c_void_p),
        ("value_bias", ctypes.c_void_p), ("out", ctypes.c_void_p), ("ldo", ctypes.c_int64),
    ]  # fmt: skip


def _word(value: int) -> ctypes.c_int:
    """An enumeration."""
    return ctypes.c_int(value)


def _address(array: Any) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.__array_interface__["data"][0])


def _heads(struct: Any, a: Any, values: tuple[Any, Any, Any]) -> Any:
    """The arguments that both kinds of attention have."""
    (batch, tokens, c), ld = a.out.shape, values[0].shape[-1]
    a.offsets = np.arange(batch + 1, dtype=np.int32) * np.int32(tokens)
    args = struct(batch=batch, heads=a.num_heads, head_size=c // a.num_heads, ldq=ld, ldk=ld, ldv=ld, ldo=c)
    args.q_offsets = args.k_offsets = _address(a.offsets)
    args.q, args.k, args.v, args.out = map(_address, (*values, a.out))
    args.scale = np.float32(1) / np.sqrt(np.float32(c // a.num_heads))
    return args


def _attention(a: Any) -> tuple[Any, ...]:
    return (ctypes.byref(_heads(_Attention, a, (a.q, a.k, a.v))),)


def _attention_int8(a: Any) -> tuple[Any, ...]:
    args = _heads(_AttentionInt8, a, (a.q.values, a.k.values, a.v.values))
    args.q_scales, args.k_scales, args.v_scales = (_address(rows.scales) for rows in (a.q, a.k, a.v))
    args.value_bias = _address(a.value_bias)
    return (ctypes.byref(args),)


def _embeddings(a: Any) -> tuple[Any, ...]:
    tables = a.table, a.position_table, a.type_table
    ids = (ctypes.c_void_p * 3)(*map(_address, (a.ids, a.position_ids, a.type_ids)))
    dtypes = (ctypes.c_int * 3)(*(DTYPES[str(table.dtype)] for table in tables))
    rows = (ctypes.c_int64 * 3)(*map(len, tables))
    n, addresses = a.out.shape[1], (ctypes.c_void_p * 3)(*map(_address, tables))
    return a.ids.size, n, ids, addresses, dtypes, rows, a.weight, a.bias, float(a.eps), a.out, n


def _pwconv(a: Any) -> tuple[Any, ...]:
    n, word = a.out.shape[1], _word(ACTIVATIONS.index(a.activation))
    sizes = len(a.x), a.groups, a.x.shape[1], n
    return *sizes, a.x, a.x.shape[1], a.packed, a.bias, word, a.residual, n, a.out, n


# By name of the benchmark: the arguments in C of those in Python. Ints are int64_t, floats double, arrays pointers.
CONVERT: dict[str, Callable[[Any], tuple[Any, ...]]] = {
    "pointwise_conv": _pwconv,
    "quantize_rows": lambda a: (
        *a.x.shape, a.groups, a.x, a.x.shape[1], a.out.values, a.out.values.shape[1], a.out.scales,
    ),
    "attention": _attention,
    "attention_int8": _attention_int8,
    "layer_norm": lambda a: (
        *a.x.shape, a.x, a.x.shape[1], a.residual, 0, a.weight, a.bias, float(a.eps), a.out, a.x.shape[1],
    ),
    "rms_norm": lambda a: (
        *a.x.shape, a.x, a.x.shape[1], a.residual, 0, a.weight, float(a.eps), a.out, a.x.shape[1],
    ),
    "l2_normalize": lambda a: (*a.x.shape, a.x, a.x.shape[1], float(a.eps), a.out, a.x.shape[1]),
    "softmax": lambda a: (
        *a.x.shape, a.x, a.x.shape[1], None, _word(0), 0, float(a.scale), _word(0), a.out, a.x.shape[1],
    ),
    "gelu": lambda a: (_word(2 if a.approximate == "tanh" else 1), a.x.size, a.x, a.out),
    "tanh": lambda a: (_word(ACTIVATIONS.index("tanh")), a.x.size, a.x, a.out),
    "embedding": lambda a: (
        a.ids.size, a.out.shape[1], a.ids, a.table, _word(DTYPES[str(a.table.dtype)]), len(a.table), a.out,
        a.out.shape[1],
    ),
    "embedding_layer_norm": _embeddings,
    "mean_pool": lambda a: (*a.x.shape, a.x, a.x.shape[2], None, 0, a.out, a.x.shape[2]),
}  # fmt: skip


class _Symbol:
    """A C function in the place of a public one. A benchmark repeats its arguments: the first call converts them."""

    def __init__(self, function: Any, public: Function, convert: Callable[[Any], tuple[Any, ...]], **more: Any) -> None:
        self.function, self.signature, self.convert, self.more = function, inspect.signature(public), convert, more
        self.arguments: tuple[Any, ...] = ()
        self.given = SimpleNamespace(out=None)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not self.arguments:
            bound = self.signature.bind(*args, **kwargs)
            bound.apply_defaults()
            self.given = SimpleNamespace(**bound.arguments, **self.more)  # keeps the arrays
            self.arguments = tuple(map(_c, self.convert(self.given)))
        status = self.function(*self.arguments)
        if status:
            raise ValueError(f"expected the status 0, got {status}")
        return self.given.out


def _c(value: Any) -> Any:
    if value is None:
        return ctypes.c_void_p()
    if isinstance(value, np.ndarray):
        return _address(value)
    return {int: ctypes.c_int64, float: ctypes.c_double}.get(type(value), lambda same: same)(value)


def _in_c(function: Any, op: Op) -> Function:
    """Return what makes a `_Symbol` of the arguments of the public function; of a convolution, for its weight."""
    convert = CONVERT[op.name]
    if op.public is not ops.PointwiseConv:
        last = _Symbol(function, op.public, convert)

        def call(*args: Any, out: Any, **kwargs: Any) -> Any:
            nonlocal last
            if last.given.out is not out:  # of another case
                last = _Symbol(function, op.public, convert)
            return last(*args, out=out, **kwargs)

        return call

    def conv(weight: Any, bias: Any, *, groups: int, dtype: Any) -> Function:
        ours = ops.PointwiseConv(weight, groups=groups, dtype=dtype)
        packed = np.frombuffer(ours.packed, np.uint8)
        return _Symbol(function, ours.__call__, convert, packed=packed, bias=bias, groups=groups)

    return conv


# ---- a row of the table ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Theirs(Variant):
    """What `load` found. It runs on the backend in force, and its name is in the place of the kernel's."""

    name: str = ""
    function: Function | None = None

    @contextmanager
    def active(self) -> Iterator[None]:
        yield

    def kernel(self) -> str:
        return self.name

    def check(self, op: Op, shape: Shape) -> None:
        """Compare its result with ours. Raises ValueError if they differ, and if it fails."""
        ours = op.make(**shape, cold=False, function=None).call()
        try:
            theirs = op.make(**shape, cold=False, function=self.function).call()
        except Exception as error:
            raise self._error(f"{type(error).__name__}: {error}") from error
        tolerance, parts = TOLERANCE_INT8 if op.int8 else TOLERANCE, ours if isinstance(ours, tuple) else (ours,)
        found = theirs if isinstance(theirs, tuple) else (theirs,)
        if len(found) != len(parts) or not all(isinstance(part, np.ndarray) for part in found):
            raise self._error(f"expected the result, {len(parts)} arrays, got {type(theirs).__name__}")
        found = tuple(map(np.asarray, found))  # not of a subclass
        if wrong := [part.dtype for part in found if part.dtype.kind not in "fiu"]:
            raise self._error(f"expected a result of numbers, got {wrong[0]}")
        for part, wanted in zip(found, parts, strict=True):
            amax = float(np.abs(wanted).max(initial=0.0)) or 1.0  # far below 1 for softmax
            difference = largest_difference(wanted / amax, part / amax)
            if not difference <= tolerance:
                at = f"{op.name} {describe(shape)}"
                expected = f"our result to {tolerance} of its amax"
                raise self._error(f"{at}: expected {expected}, got a difference of {difference:.3g}")

    def _error(self, message: str) -> ValueError:
        return ValueError(f"{self.name}: {message}")


def largest_difference(ours: Any, theirs: Any) -> float:
    """Return the largest difference, relative to the larger of 1 and the amax of ours.

    Infinite if the shapes differ, or if there is a NaN.
    """
    if ours.shape != theirs.shape:
        return float("inf")
    with np.errstate(invalid="ignore"):
        difference = float(np.abs(ours.astype(np.float64) - theirs).max(initial=0.0))
    return difference / max(1.0, float(np.abs(ours).max(initial=0.0))) if difference == difference else float("inf")


def load(text: str, op: Op) -> Theirs:
    """Load ``module:function`` or ``path/to/library.so:symbol``. Raises ValueError, which begins with the text."""
    theirs = Theirs("yours", name=text)
    place, colon, name = text.rpartition(":")
    if not (place and colon and name):
        raise theirs._error("expected module:function or path/to/library.so:symbol")
    in_c = ".so" in os.path.basename(place)
    if in_c and op.name not in CONVERT:
        raise theirs._error(f"expected a function in Python: none in C is called in the place of {op.name}")
    try:
        if in_c:
            symbol = getattr(ctypes.CDLL(os.path.abspath(place)), name)
            return Theirs("yours", name=text, function=_in_c(symbol, op))
        if "" not in sys.path:
            sys.path.insert(0, "")  # as python -m has it, and a console script has not
        return Theirs("yours", name=text, function=getattr(importlib.import_module(place), name))
    except (AttributeError, ImportError, OSError) as error:
        raise theirs._error(str(error)) from error
    except Exception as error:  # of the module
        raise theirs._error(f"{type(error).__name__}: {error}") from error
