"""The kernels of the Numba backend, written once over a vector of 16 float32 lanes as the compiled ones are.

`vector` has the vector type: `vector_llvm` for Numba, or `vector_python` where NUMBA_DISABLE_JIT=1 is set. `compiled`
has the decorators, `elementary` exp, tanh and GELU, `threads` the split of rows over threads; the others are kernels.
Arrays come to a kernel flat and C-contiguous, the inputs read-only, so that each kernel is compiled for one signature.
"""
