"""Compare GELU and tanh of every float, infinities and NaNs included, between the instruction sets of this machine.

    PYTHONPATH=tests python tests/every_float.py

prints what differs from scalar, or nothing. It takes some minutes; test_activation.py takes a sample. exp is inside
tanh and the tanh form of GELU.
"""

from collections.abc import Iterator

import numpy as np
from op_helpers import EXACT_ISAS, Variant, bits

from squeezeops import ops

FUNCTIONS = {
    "gelu": lambda x: ops.gelu(x).view(np.uint32),  # the NaNs too are the same
    "gelu, tanh": lambda x: bits(ops.gelu(x, approximate="tanh")),
    "tanh": lambda x: bits(ops.tanh(x)),
}


def differences(step: int) -> Iterator[str]:
    """What differs from scalar, among every step-th float."""
    chunk = step << 22
    for start in range(0, 2**32, chunk):
        x = np.arange(start, min(start + chunk, 2**32), step, dtype=np.int64).astype(np.uint32).view(np.float32)
        for name, function in FUNCTIONS.items():
            with Variant("native", "scalar").active():
                expected = function(x)
            for isa in EXACT_ISAS:
                with Variant("native", isa).active():
                    wrong = np.flatnonzero(function(x) != expected)
                if wrong.size:
                    yield f"{name} on {isa}: {wrong.size} of {x.size}, first {x[wrong[0]].view(np.uint32):#010x}"


if __name__ == "__main__":
    for difference in differences(1):
        print(difference)
