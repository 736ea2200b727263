"""The native backend: the compiled kernels for NumPy arrays, which the C library checks (csrc/api).

The extension has a function for each operation of the library's table.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from squeezeops import _native
from squeezeops._library import check_version
from squeezeops._native import *  # noqa: F403
from squeezeops._native import __version__ as _version
from squeezeops.backends._compiled import PackedConvs, describe_cpu
from squeezeops.backends._scalars import num_threads
from squeezeops.backends._text import Encoder

check_version(_version)

_packed_convs = PackedConvs(
    _native,
    allocate=lambda size: np.empty(size, np.uint8),
    bytes_of=lambda view: np.asarray(view.cast("B")) if view.nbytes else np.empty(0, np.uint8),
    address=lambda array: array.__array_interface__["data"][0],
)
pack_pointwise_conv = _packed_convs.pack
use_packed_pointwise_conv = _packed_convs.use
packed_form = _packed_convs.form
make_encoder = partial(Encoder, _native)


def set_num_threads(n: int) -> None:
    """See `squeezeops.set_num_threads`."""
    _native.set_num_threads(num_threads(n))


def cpu_info() -> dict[str, Any]:
    """See `squeezeops.cpu_info`."""
    return describe_cpu(_native.isa_chosen(), _native.isas(), _native.kernel_table())
