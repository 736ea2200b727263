"""Checks of what loading a converted model leaves unread: the values of its tensors.

Kernels trust a packed weight. Those that multiply unsigned by signed bytes start from the sums that the file has; the
others do not need them. So a changed byte may change results on some machines alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from squeezeops.packing import INT8, PANEL, SCALE_BYTES, SUM_BYTES, pack, packed_size, unpack

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["PACKED_CHECKS", "int8_table_faults", "packed_faults", "value_faults"]

PACKED_CHECKS = ("sums", "padding", "values")
SHOWN = 5  # faults of one kind in a tensor that are described


def packed_faults(packed: Any, c_in: int, c_out: int, groups: int, dtype: str) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with a packed weight and the zeros after it: one of `PACKED_CHECKS`, and a description.

    The weight is unpacked and packed again: whatever the stored values determine must be equal.
    """
    import numpy as np

    given = np.frombuffer(packed, np.uint8)
    size = packed_size(groups, c_in, c_out, dtype)
    weight, scales = unpack(given[:size], c_in, c_out, groups, dtype)
    expected = np.zeros(len(given), np.uint8)
    expected[:size] = pack(weight, scales, dtype)
    wrong = np.flatnonzero(given != expected)
    panel_bytes, panels = packed_size(1, c_in // groups, PANEL, dtype), -(-(c_out // groups) // PANEL)
    in_sums = (wrong % panel_bytes < SUM_BYTES) & (wrong < size) & (dtype in INT8)

    def of_sum(place: int) -> str:
        panel, lane = place // panel_bytes, place % panel_bytes // 4
        right, got = (int(array[place : place + 4].view("<i4")[0]) for array in (expected, given))
        where = f"group {panel // panels}, output channel {panel % panels * PANEL + lane}"
        return f"{where}: expected the sum of its weights times -128, {right}, got {got}"

    yield from (("sums", fault) for fault in _described(np.unique(wrong[in_sums] // 4 * 4), of_sum))
    for fault in _described(wrong[~in_sums], lambda place: f"byte {place}: expected 0, got {given[place]}"):
        yield "padding", fault
    if dtype in INT8:
        of_values = [*_scale_faults(scales, "output channel"), *_byte_faults(weight)]
    else:
        of_values = list(value_faults(weight))
    yield from (("values", fault) for fault in of_values)


def int8_table_faults(table: NDArray[Any]) -> Iterator[str]:
    """Yield what is wrong with the values of an int8 embedding table, (V, C + SCALE_BYTES)."""
    import numpy as np

    yield from _scale_faults(np.ascontiguousarray(table[:, -SCALE_BYTES:]).view("<f4")[:, 0], "row")
    yield from _byte_faults(table[:, :-SCALE_BYTES])


def value_faults(array: NDArray[Any]) -> Iterator[str]:
    """Yield which floats are not finite."""
    import numpy as np

    if array.dtype.kind == "f":
        wrong = np.argwhere(~np.isfinite(array))
        yield from _described(wrong, lambda i: f"{i.tolist()}: expected a finite number, got {array[tuple(i)]}")


def _scale_faults(scales: NDArray[Any], of: str) -> Iterator[str]:
    import numpy as np

    wrong = np.flatnonzero(~np.isfinite(scales) | np.signbit(scales))
    yield from _described(wrong, lambda i: f"the scale of {of} {i}: expected a number from 0 on, got {scales[i]}")


def _byte_faults(array: NDArray[Any]) -> Iterator[str]:
    import numpy as np

    wrong = np.argwhere(array == -128)
    yield from _described(wrong, lambda i: f"{i.tolist()}: expected a byte from -127 to 127, got -128")


def _described(places: NDArray[Any], describe: Callable[[Any], str]) -> Iterator[str]:
    yield from map(describe, places[:SHOWN])
    if len(places) > SHOWN:
        yield f"and {len(places) - SHOWN} more"
