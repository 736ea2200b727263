"""The kernels of the Numba backend, written once over a vector of 16 float32 lanes, like the C++ ones.

`vector` has the vector type: `vector_llvm` for Numba, or `vector_python` where NUMBA_DISABLE_JIT=1 is set. `compiled`
has the decorators, `elementary` exp, tanh and GELU, `threads` the split of rows over threads; the others are kernels.
Arrays are flat and C-contiguous, inputs read-only, so that a kernel is compiled once per type of weights or table.
"""
