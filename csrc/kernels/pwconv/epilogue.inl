// What follows the sums of a tile: bias, activation, residual. For the kernels that take it through memory.
#ifndef SQZ_KERNELS_PWCONV_EPILOGUE_INL_
#define SQZ_KERNELS_PWCONV_EPILOGUE_INL_

#include "kernels/activation/activation_f32.inl"
#include "simd/common.h"

namespace sqz {
namespace {

// P: arguments with bias, activation, residual, ldr, out, ldo, out_at.
template <class I, class P>
struct Epilogue {
  using V = typename I::V;

  // Into the registers of a full tile without an activation: out = (acc + bias) + residual.
  template <int MR, int NP>
  static SQZ_INLINE void store_plain(const P &p, V (&acc)[MR][NP], int64_t row, int64_t c) {
#pragma GCC unroll 4
    for (int j = 0; j < NP; ++j) {
      if (p.bias) {
        const V b = I::load(p.bias + c + j * 16);
#pragma GCC unroll 16
        for (int i = 0; i < MR; ++i) acc[i][j] = I::add(acc[i][j], b);
      }
      if (p.residual) {
#pragma GCC unroll 16
        for (int i = 0; i < MR; ++i)
          acc[i][j] = I::add(acc[i][j], I::load(p.residual + (row + i) * p.ldr + c + j * 16));
      }
#pragma GCC unroll 16
      for (int i = 0; i < MR; ++i) I::store(p.out + ((row + i) * p.ldo + c + j * 16 - p.out_at), acc[i][j]);
    }
  }

  // From a buffer of `rows` by `panels` vectors: out = activation(buffer + bias) + residual, `columns` of them.
  template <sqz_activation A>
  static __attribute__((noinline)) void finish(const P &p, const float *buffer, int rows, int panels, int64_t row,
                                               int64_t c, int64_t columns) {
    for (int i = 0; i < rows; ++i) {
      for (int j = 0; j < panels; ++j) {
        const int64_t at = c + j * 16;
        const int n = static_cast<int>(min64(16, columns - j * 16));
        V v = I::load(buffer + (i * panels + j) * 16);
        if (p.bias) v = I::add(v, n == 16 ? I::load(p.bias + at) : I::load_n(p.bias + at, n));
        v = Activation<I>::template apply<A>(v);
        if (p.residual) {
          const float *r = p.residual + (row + i) * p.ldr + at;
          v = I::add(v, n == 16 ? I::load(r) : I::load_n(r, n));
        }
        float *out = p.out + ((row + i) * p.ldo + at - p.out_at);
        if (n == 16)
          I::store(out, v);
        else
          I::store_n(out, v, n);
      }
    }
  }

  static SQZ_INLINE void finish(const P &p, const float *buffer, int rows, int panels, int64_t row, int64_t c,
                                int64_t columns) {
    switch (p.activation) {
      case SQZ_ACT_GELU: return finish<SQZ_ACT_GELU>(p, buffer, rows, panels, row, c, columns);
      case SQZ_ACT_GELU_TANH: return finish<SQZ_ACT_GELU_TANH>(p, buffer, rows, panels, row, c, columns);
      case SQZ_ACT_RELU: return finish<SQZ_ACT_RELU>(p, buffer, rows, panels, row, c, columns);
      case SQZ_ACT_TANH: return finish<SQZ_ACT_TANH>(p, buffer, rows, panels, row, c, columns);
      default: return finish<SQZ_ACT_NONE>(p, buffer, rows, panels, row, c, columns);
    }
  }
};

}  // namespace
}  // namespace sqz

#endif  // SQZ_KERNELS_PWCONV_EPILOGUE_INL_
