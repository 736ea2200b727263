"""Checks the arguments of `PointwiseConv.from_packed`; `squeezeops.packing` has the format."""

from __future__ import annotations

from typing import Any

from squeezeops.backends import _scalars as check
from squeezeops.packing import LINE, MOST_ROTATED, ROTATED, STORAGE, packed_size


def packed_weight(
    op: str, packed: Any, in_channels: Any, out_channels: Any, groups: Any, dtype: Any
) -> tuple[memoryview, int, int, int]:
    """Check all but the address; return the bytes, the channels and the groups."""
    dtype = check.choice(op, "dtype", dtype, STORAGE)
    c_in, c_out = check.size(op, "in_channels", in_channels), check.size(op, "out_channels", out_channels)
    for name, channels in (("in_channels", c_in), ("out_channels", c_out)):
        if channels > check.MOST_CHANNELS:
            raise check.error(ValueError, op, name, "at most 2^28", channels)
    number = check.divisor(op, "groups", groups, in_channels=c_in, out_channels=c_out)
    if dtype == "int8" and c_in // number > check.MOST_INT8_DEPTH:
        raise check.error(ValueError, op, "in_channels", "at most 2^17 per group for int8", c_in // number)
    if dtype == "int8_rotated":
        check_rotated(op, "in_channels", c_in // number, "channels per group for int8_rotated")
    try:
        view = memoryview(packed)
    except (TypeError, ValueError, BufferError):  # NumPy cannot describe some dtypes to others
        raise check.error(TypeError, op, "packed", "a buffer of bytes", check.kind(packed)) from None
    if view.format not in ("B", "b", "c", "<B"):
        raise check.error(TypeError, op, "packed", "a buffer of bytes", f"one of format {view.format!r}")
    if not view.c_contiguous:
        raise check.error(ValueError, op, "packed", "a C-contiguous buffer", f"strides {view.strides}")
    size = packed_size(number, c_in, c_out, dtype)
    if view.nbytes != size:
        raise check.error(ValueError, op, "packed", f"{size} bytes", view.nbytes)
    return (view.cast("B") if size else memoryview(b"")).toreadonly(), c_in, c_out, number


def check_rotated(op: str, name: str, channels: int, what: str) -> None:
    """Check the channels of a group that is rotated before it is quantised."""
    if channels % ROTATED:
        raise check.error(ValueError, op, name, f"a multiple of {ROTATED} {what}", channels)
    if channels > MOST_ROTATED:
        raise check.error(ValueError, op, name, f"at most 2^13 {what}", channels)


def check_address(op: str, address: int, size: int) -> None:
    """Check the alignment of a packed weight."""
    if size and address % LINE:
        expected = f"an address that is a multiple of {LINE}"
        raise check.error(ValueError, op, "packed", expected, f"{LINE}n + {address % LINE}")
