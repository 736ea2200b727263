"""Errors, and checks of the arguments that are not arrays. Importing this does not import NumPy.

Every message reads ``op: argument: expected ..., got ...``: a TypeError for a wrong type or dtype, a ValueError for a
wrong shape or value. The exception names the argument as its attribute `argument`, too.
"""

from __future__ import annotations

import operator
import sys
from typing import Any

ACTIVATIONS = (None, "gelu", "gelu_tanh", "relu", "tanh")
APPROXIMATE = ("none", "tanh")
FULLY_MASKED = ("uniform", "zero")
MOST_CHANNELS = 2**28  # and groups: without a limit, zero channels could have any number of them
MOST_HEADS = 2**24  # channels of a head, too
MOST_INT8_DEPTH = 2**17  # channels of a group, or of a head, whose products an int32 can sum up
MOST_INT8_KEYS = 2**16  # rows of v, likewise
MOST_THREADS = 256
MOST_TEXT = 900  # characters of a type, so that the compiled backends have room for all of a message
FLOAT_MAX = (2 - 2**-23) * 2.0**127


def error(exception: type[Exception], op: str, argument: str, expected: str, got: object) -> Exception:
    """Return the exception for a bad argument."""
    try:
        text = f"{op}: {argument}: expected {expected}, got {got}"
    except ValueError:  # Python does not write ints of thousands of digits
        text = f"{op}: {argument}: expected {expected}, got an int of too many digits"
    result = exception(text)
    result.argument = argument  # type: ignore[attr-defined]
    return result


def is_numpy(value: object, name: str) -> bool:
    """Return whether `value` is an instance of that class of NumPy, without importing NumPy."""
    return isinstance(value, getattr(sys.modules.get("numpy"), name, ()))


def own_view(value: Any) -> Any:
    """Return a view of an array of NumPy, whose shape and dtype nobody else can set; any other object as it is."""
    numpy: Any = sys.modules.get("numpy")
    return numpy.ndarray.view(value, numpy.ndarray) if numpy and isinstance(value, numpy.ndarray) else value


def is_torch(value: object) -> bool:
    return type(value).__module__.partition(".")[0] == "torch"


def kind(value: Any) -> str:
    """Return the name of a type in a message: the dtype of an array, else the class."""
    if is_numpy(value, "ndarray"):
        return str(value.dtype)[:MOST_TEXT]
    if is_numpy(value, "generic"):
        return f"a {value.dtype} scalar"
    name = type(value).__name__[:MOST_TEXT]
    return f"torch.{name}" if is_torch(value) else name


def array_kind(value: Any) -> str:
    """Return `kind(value)` in place of an array, and how to make an array of it."""
    if is_numpy(value, "generic"):
        how = "numpy.atleast_1d(x)"
    elif is_torch(value):
        wide = ".float()" if str(getattr(value, "dtype", "")) == "torch.bfloat16" else ""  # NumPy has no bfloat16
        how = f"x.detach(){wide}.cpu().numpy()"
    else:
        how = "numpy.asarray(x)" if hasattr(type(value), "__array__") and not is_numpy(value, "ndarray") else ""
    return kind(value) + (f" ({how} is an array)" if how else "")


def integer(op: str, name: str, value: Any) -> int:
    """Check an int. A bool is not one."""
    try:
        if isinstance(value, bool) or is_numpy(value, "bool_"):
            raise TypeError
        return operator.index(value)
    except TypeError:
        raise error(TypeError, op, name, "an int", kind(value)) from None


def int64(op: str, name: str, value: Any) -> int:
    """Check an int for the C interface, which judges those that it can hold. All of them count something."""
    number = integer(op, name, value)
    if number < -(2**63):
        raise error(ValueError, op, name, "a positive int", number)
    if number >= 2**63:
        raise error(ValueError, op, name, "below 2^63", number)
    return number


def size(op: str, name: str, value: Any) -> int:
    """Check an int that is not negative."""
    number = integer(op, name, value)
    if not 0 <= number < 2**63:
        raise error(ValueError, op, name, "an int from 0 to 2^63 - 1", number)
    return number


def divisor(op: str, name: str, value: Any, **sizes: int) -> int:
    """Check a positive int that divides every one of `sizes`."""
    number = int64(op, name, value)
    if number < 1:
        raise error(ValueError, op, name, "a positive int", number)
    if number > MOST_CHANNELS:
        raise error(ValueError, op, name, "at most 2^28", number)
    if any(size % number for size in sizes.values()):
        wanted = " and ".join(f"{key} = {size}" for key, size in sizes.items())
        raise error(ValueError, op, name, f"a divisor of {wanted}", number)
    return number


def num_threads(value: Any) -> int:
    """Check a number of threads."""
    number = integer("set_num_threads", "n", value)
    if not 1 <= number <= MOST_THREADS:
        raise error(ValueError, "set_num_threads", "n", f"a number from 1 to {MOST_THREADS}", number)
    return number


def real(op: str, name: str, value: Any) -> float:
    """Check a number."""
    if type(value) not in (float, int):
        from numbers import Real  # imported late: floats and ints do not need it

        if isinstance(value, bool) or not isinstance(value, Real):
            one = "x.item()" if is_torch(value) or is_numpy(value, "ndarray") else ""
            raise error(TypeError, op, name, "a number", kind(value) + (f" ({one} is a number)" if one else ""))
    try:
        return float(value)
    except OverflowError:
        raise error(ValueError, op, name, "a number that a float can hold", "a larger one") from None


def epsilon(op: str, value: object) -> float:
    """Check the eps of a normalisation: finite as a float32, not negative."""
    number = real(op, "eps", value)
    if not 0 <= number <= FLOAT_MAX:
        raise error(ValueError, op, "eps", f"a number from 0 to {FLOAT_MAX:g}", f"{number:g}")
    return number


def choice(op: str, name: str, value: object, allowed: tuple[str | None, ...]) -> Any:
    """Check one of a few words, and return it: a subclass of str may have an equality of its own."""
    for word in allowed:
        if value is None if word is None else isinstance(value, str) and str.__eq__(value, word):
            return word
    got = value if type(value) is int else repr(value)
    raise error(ValueError, op, name, f"one of {', '.join(map(repr, allowed))}", got)
