// The register-blocked inner loop that pointwise convolution and both halves of attention share.
//
//            panel 0      panel 1  ...  NP panels of 16 columns; element (k, lane) of panel j is at
//   k = 0   [16 floats]  [16 floats]    b + j * b_panel + k * b_step + lane
//   k = 1   [16 floats]  [16 floats]
//
// acc[i][j] starts at +0 and takes fma(a[i][k], b[k][j], acc), k ascending: one chain an output, whatever the tile.
#ifndef SQZ_SIMD_MICROKERNEL_F32_INL_
#define SQZ_SIMD_MICROKERNEL_F32_INL_

#include "simd/common.h"

namespace sqz {
namespace {

// Goes on with the chains for `depth` steps of k. `valid` < 16 limits the loads of a last, partial panel that must not
// be over-read (NP is 1 then).
template <class I, int MR, int NP, bool kPartial = false>
SQZ_INLINE void accumulate_tile(int64_t depth, const float *a, int64_t lda, const float *b, int64_t b_step,
                                int64_t b_panel, typename I::V (&acc)[MR][NP], int valid = 16) {
  static_assert(!kPartial || NP == 1, "a partial panel is taken alone");
  for (int64_t k = 0; k < depth; ++k) {
    typename I::V w[NP];
#pragma GCC unroll 4
    for (int j = 0; j < NP; ++j) w[j] = kPartial ? I::load_n(b, valid) : I::load(b + j * b_panel);
#pragma GCC unroll 8
    for (int i = 0; i < MR; ++i) {
      const typename I::V x = I::set1(a[i * lda + k]);
#pragma GCC unroll 4
      for (int j = 0; j < NP; ++j) acc[i][j] = I::fma(x, w[j], acc[i][j]);
    }
    b += b_step;
  }
}

template <class I, int MR, int NP>
SQZ_INLINE void clear_tile(typename I::V (&acc)[MR][NP]) {
#pragma GCC unroll 8
  for (int i = 0; i < MR; ++i)
#pragma GCC unroll 4
    for (int j = 0; j < NP; ++j) acc[i][j] = I::zero();
}

template <class I, int MR, int NP, bool kPartial = false>
SQZ_INLINE void multiply_tile(int64_t depth, const float *a, int64_t lda, const float *b, int64_t b_step,
                              int64_t b_panel, typename I::V (&acc)[MR][NP], int valid = 16) {
  clear_tile<I, MR, NP>(acc);
  accumulate_tile<I, MR, NP, kPartial>(depth, a, lda, b, b_step, b_panel, acc, valid);
}

// Calls f.template run<MR>() with MR = rows, 1 <= rows <= Max.
template <int Max, class F>
SQZ_INLINE void with_rows(int rows, const F &f) {
  if constexpr (Max > 1) {
    if (rows < Max) return with_rows<Max - 1>(rows, f);
  }
  f.template run<Max>();
}

}  // namespace
}  // namespace sqz

#endif  // SQZ_SIMD_MICROKERNEL_F32_INL_
