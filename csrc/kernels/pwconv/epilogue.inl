// What follows the sums of a tile: bias, activation, residual.
//
// A full tile without an activation is stored from registers. Any other waits in a buffer, in L1, for the tiles below
// it: an activation's temporaries beside a full set of sums would spill, and its latency is hidden by many vectors.
#ifndef SQZ_KERNELS_PWCONV_EPILOGUE_INL_
#define SQZ_KERNELS_PWCONV_EPILOGUE_INL_

#include "kernels/activation/activation_f32.inl"
#include "simd/common.h"

namespace sqz {
namespace {

// Of rows from `first` on and NP panels from channel c on, of which `columns` channels exist.
// P: arguments with bias, activation, residual, ldr, out, ldo, out_at.
template <class I, class P, int NP>
struct Epilogue {
  using V = typename I::V;
  static constexpr int kRows = 64;

  const P &p;
  int64_t c, columns, first;
  int rows = 0;
  alignas(64) float buffer[kRows * NP * 16];

  SQZ_INLINE Epilogue(const P &p, int64_t c, int64_t columns, int64_t first)
      : p(p), c(c), columns(columns), first(first) {}

  // out = activation(y + bias) + residual for the next MR rows, at once or at last with finish().
  template <int MR>
  SQZ_INLINE void store(V (&y)[MR][NP]) {
    if (p.bias) {
#pragma GCC unroll 4
      for (int j = 0; j < NP; ++j) {
        const int n = static_cast<int>(columns - j * 16);
        const V b = n >= 16 ? I::load(p.bias + c + j * 16) : I::load_n(p.bias + c + j * 16, n);
#pragma GCC unroll 16
        for (int i = 0; i < MR; ++i) y[i][j] = I::add(y[i][j], b);
      }
    }
    if (p.activation == SQZ_ACT_NONE && columns >= NP * 16) {
#pragma GCC unroll 4
      for (int j = 0; j < NP; ++j) {
        if (p.residual) {
#pragma GCC unroll 16
          for (int i = 0; i < MR; ++i)
            y[i][j] = I::add(y[i][j], I::load(p.residual + (first + i) * p.ldr + c + j * 16));
        }
#pragma GCC unroll 16
        for (int i = 0; i < MR; ++i) I::store(p.out + ((first + i) * p.ldo + c + j * 16 - p.out_at), y[i][j]);
      }
      first += MR;
      return;
    }
    if (rows + MR > kRows) finish();
#pragma GCC unroll 16
    for (int i = 0; i < MR; ++i)
#pragma GCC unroll 4
      for (int j = 0; j < NP; ++j) I::store(buffer + ((rows + i) * NP + j) * 16, y[i][j]);
    rows += MR;
  }

  __attribute__((noinline)) void finish() {
    Activation<I>::run(p.activation, rows * NP * 16, buffer, buffer);
    for (int i = 0; i < rows; ++i, ++first) {
      float *out = p.out + (first * p.ldo + c - p.out_at);
      const float *residual = p.residual ? p.residual + first * p.ldr + c : nullptr;
      for (int j = 0; j < NP; ++j) {
        const int n = static_cast<int>(min64(16, columns - j * 16));
        V v = I::load(buffer + (i * NP + j) * 16);
        if (residual) v = I::add(v, n == 16 ? I::load(residual + j * 16) : I::load_n(residual + j * 16, n));
        if (n == 16)
          I::store(out + j * 16, v);
        else
          I::store_n(out + j * 16, v, n);
      }
    }
    rows = 0;
  }
};

}  // namespace
}  // namespace sqz

#endif  // SQZ_KERNELS_PWCONV_EPILOGUE_INL_
