"""The vector of 16 float32 lanes of the kernels: LLVM's, or NumPy's with NUMBA_DISABLE_JIT=1.

Besides the functions it has + - * / and < (lane by lane), and & of two masks.
"""

from typing import TYPE_CHECKING

from numba import config

if TYPE_CHECKING or config.DISABLE_JIT:
    from squeezeops.backends._numba.vector_python import *  # noqa: F403
else:
    from squeezeops.backends._numba.vector_llvm import *  # noqa: F403
