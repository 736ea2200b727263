"""What the compiled backends share: packed convolutions, and the description of the processor. No NumPy here.

The handle of a packed convolution is what a binding's `run_pointwise_conv_bind` returns for the arguments that describe
the weight. The bindings differ in what an array of bytes is.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from squeezeops.backends._scalars import error, kind
from squeezeops.packing import LINE


class PackedConvs:
    """The functions of a backend that make handles.

    Parameters
    ----------
    binding : module or object
        Has the operations as functions; with `_missing` at the end of the name, one that tells what a call would
        allocate, and with `_bind` one that converts the first arguments once for many calls.
    allocate : callable
        Returns an array of so many bytes.
    bytes_of : callable
        Returns the memory of a memoryview as an array of bytes, which keeps it from being freed.
    address : callable
        Returns where an array of bytes begins.
    """

    def __init__(
        self,
        binding: Any,
        allocate: Callable[[int], Any],
        bytes_of: Callable[[memoryview], Any],
        address: Callable[[Any], int],
    ) -> None:
        self.binding, self.allocate, self.bytes_of, self.address = binding, allocate, bytes_of, address

    def pack(self, weight: Any, bias: Any, groups: Any, dtype: Any, memory: Any) -> Any:
        """Check and pack a weight, into a piece of `memory` if there is one."""
        _, (size,) = self.binding.pack_pointwise_conv_missing(weight, bias, groups, dtype, None, None)[0]
        if memory is None or size == 0:
            try:
                room = self.allocate(size + LINE)
            except MemoryError:
                expected = f"memory for {size} bytes of packed weights"
                raise error(MemoryError, "PointwiseConv", "weight", expected, "none") from None
            start = -self.address(room) % LINE
            packed = room[start : start + size]
        else:
            packed = self._piece(memory.take(size), size)
        results = self.binding.pack_pointwise_conv(weight, bias, groups, dtype, packed, None)
        shape: Any = memoryview(weight).shape
        c_out, group_in = shape[:2]
        number = operator.index(groups)
        copied = None if bias is None else results[1]
        return self.binding.run_pointwise_conv_bind(packed, copied, number * group_in, c_out, number, dtype)

    def _piece(self, given: Any, size: int) -> Any:
        op, name = "PointwiseConv", "memory"
        try:
            view = memoryview(given)  # one that nobody else can release
        except (TypeError, ValueError, BufferError):  # NumPy cannot describe some dtypes to others
            raise error(TypeError, op, name, "a buffer of bytes", kind(given)) from None
        if view.readonly:
            raise error(ValueError, op, name, "a writeable buffer", "a read-only one")
        if not view.c_contiguous:
            raise error(ValueError, op, name, "a C-contiguous buffer", f"strides {view.strides}")
        if view.nbytes < size:
            raise error(ValueError, op, name, f"at least {size} bytes", view.nbytes)
        piece = self.bytes_of(view)
        if self.address(piece) % LINE:
            got = f"{LINE}n + {self.address(piece) % LINE}"
            raise error(ValueError, op, name, f"an address that is a multiple of {LINE}", got)
        return piece[:size]

    def use(self, packed: memoryview, bias: Any, c_in: int, c_out: int, groups: int, dtype: str) -> Any:
        """Check a packed weight, which stays where it is."""
        own = self.bytes_of(memoryview(packed))
        copied = self.binding.use_packed_pointwise_conv(own, bias, c_in, c_out, groups, dtype, None)
        return self.binding.run_pointwise_conv_bind(own, copied, c_in, c_out, groups, dtype)

    def form(self, handle: Any) -> Any:
        """The packed bytes."""
        return self.binding.bound_arguments(handle)[0]


# By sqz_isa_state.
_WHY_NOT = {
    0: "left out of this build",
    1: "not supported by this processor or operating system",
    3: "refused by the operating system",
}
_RUNNABLE = 2


def describe_cpu(chosen: str, isas: list[tuple[str, int]], kernels: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what `squeezeops.cpu_info` does, of the names and states of ISAs and of the rows of the kernel table."""
    return {
        "isas": [name for name, state in isas if state == _RUNNABLE],
        "compiled": [name for name, state in isas if state != 0],
        "missing": {name: _WHY_NOT[state] for name, state in isas if state != _RUNNABLE},
        "isa": chosen,
        "kernels": {
            row["op"] + ("" if row["dtype"] == "f32" else f"_{row['dtype']}"): row["symbol"]
            for row in kernels
            if row["in_use"]
        },
    }
