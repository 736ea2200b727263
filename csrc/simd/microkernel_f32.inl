// The register-blocked inner loop of pointwise convolution and of both products of attention.
//
//            panel 0      panel 1  ...  NP panels of 16 columns; element (k, lane) of panel j is at
//   k = 0   [16 floats]  [16 floats]    b + j * b_panel + k * b_step + lane
//   k = 1   [16 floats]  [16 floats]    or float16 (uint16_t), widened once for the rows of a tile
//
// acc[i][j] starts at +0 and becomes fma(a[i][k], b[k][j], acc), k ascending: one chain per output, whatever the tile.
#ifndef SQZ_SIMD_MICROKERNEL_F32_INL_
#define SQZ_SIMD_MICROKERNEL_F32_INL_

#include "simd/common.h"

namespace sqz {
namespace {

// Prefetch cursor: each step of k prefetches as many cache lines from `at` on as it takes weights, then advances `at`
// by `step` bytes. With a smaller step most of these lines were prefetched before, which costs nothing here: it is
// simpler than a loop that counts, and 2 to 7 % faster than breaking the inner loop every 8 steps.
struct Ahead {
  uintptr_t at;  // not a pointer: it may lie past the end of an array
  int64_t step;
};
struct NothingAhead {};

// Rows of the tallest tile of one panel that stays in registers: its accumulators, a row of the panel and a broadcast
// element; or as many as the trait's own loop has.
template <class I>
constexpr int tile_rows() {
  if (I::kOwnTileRows > 0) return I::kOwnTileRows;
  const int rows = (I::kRegisters - I::kVectorRegisters - 1) / I::kVectorRegisters;
  return rows > 1 ? rows : 1;
}

template <int Rows, int Panels>
struct TileSize {
  static constexpr int kTileRows = Rows, kTilePanels = Panels;
};

template <class I>
SQZ_INLINE typename I::V load_weights(const float *p) {
  return I::load(p);
}
template <class I>
SQZ_INLINE typename I::V load_weights(const uint16_t *p) {
  return I::load_half(p);
}

template <class I, int MR, int NP, class W, class A = NothingAhead>
SQZ_INLINE void multiply_tile(int64_t depth, const float *a, int64_t lda, const W *b, int64_t b_step, int64_t b_panel,
                              typename I::V (&acc)[MR][NP], A ahead = A()) {
  if constexpr (I::kOwnTileRows > 0) {
    static_assert(NP == 1, "a trait's own loop takes one panel");
    if constexpr (sizeof(A) > 1)
      return I::multiply(depth, a, lda, b, b_step, ahead.at, ahead.step, acc);
    else
      return I::multiply(depth, a, lda, b, b_step, reinterpret_cast<uintptr_t>(b), 1, acc);
  }
#pragma GCC unroll 16
  for (int i = 0; i < MR; ++i)
#pragma GCC unroll 4
    for (int j = 0; j < NP; ++j) acc[i][j] = I::zero();
  for (; depth > 0; --depth) {
    if constexpr (sizeof(A) > 1) {
      constexpr int kLines = (NP * 16 * static_cast<int>(sizeof(W)) + 63) / 64;
#pragma GCC unroll 4
      for (int j = 0; j < kLines; ++j) __builtin_prefetch(reinterpret_cast<const void *>(ahead.at + j * 64), 0, 3);
      ahead.at += ahead.step;
    }
    typename I::V w[NP];
#pragma GCC unroll 4
    for (int j = 0; j < NP; ++j) w[j] = load_weights<I>(b + j * b_panel);
#pragma GCC unroll 16
    for (int i = 0; i < MR; ++i) {
      const typename I::V x = I::set1(a[i * lda]);
#pragma GCC unroll 4
      for (int j = 0; j < NP; ++j) acc[i][j] = I::fma(x, w[j], acc[i][j]);
    }
    b += b_step;
    ++a;
    __asm__("" : "+r"(a));  // keeps GCC from holding one pointer per row, some of them on the stack
  }
}

}  // namespace
}  // namespace sqz

#endif  // SQZ_SIMD_MICROKERNEL_F32_INL_
