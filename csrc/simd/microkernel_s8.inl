// The register-blocked inner loop of int8: sums of products of bytes.
//
//            panel 0         panel 1  ...  NP panels of 16 columns, `b_panel` bytes apart; four successive weights of
//   k = 0   [16][4 bytes]  [16][4 bytes]   each column lie together
//   k = 4   [16][4 bytes]  [16][4 bytes]
//
// sum[i][j] starts where the trait says, at 0 or at the numbers `first` of the panel, and adds the products of four
// bytes of a row and of a column, `steps` times.
#ifndef SQZ_SIMD_MICROKERNEL_S8_INL_
#define SQZ_SIMD_MICROKERNEL_S8_INL_

#include "simd/microkernel_f32.inl"

namespace sqz {
namespace {

// Tuning has the tile, kTileRows x kTilePanels panels.
template <class S, class Tuning>
struct MultiplyS8 {
  static constexpr int kTileRows = Tuning::kTileRows, kTilePanels = Tuning::kTilePanels;

  template <int MR, int NP, class A>
  static SQZ_INLINE void multiply(int64_t steps, const uint8_t *a, int64_t lda, const int8_t *b, const int32_t *first,
                                  int64_t b_panel, typename S::Sum (&sum)[MR][NP], A ahead) {
#pragma GCC unroll 4
    for (int j = 0; j < NP; ++j) {
      const typename S::Sum start = S::start(first + j * b_panel / 4);
#pragma GCC unroll 8
      for (int i = 0; i < MR; ++i) sum[i][j] = start;
    }
    for (int64_t k = 0; k < steps; ++k) {
      if constexpr (sizeof(A) > 1) {
#pragma GCC unroll 4
        for (int j = 0; j < NP; ++j) __builtin_prefetch(reinterpret_cast<const void *>(ahead.at + j * 64), 0, 3);
        ahead.at += ahead.step;
      }
      typename S::Weights w[NP];
#pragma GCC unroll 4
      for (int j = 0; j < NP; ++j) w[j] = S::load(b + j * b_panel);
#pragma GCC unroll 8
      for (int i = 0; i < MR; ++i) {
        const typename S::Four x = S::broadcast(a + i * lda);
#pragma GCC unroll 4
        for (int j = 0; j < NP; ++j) sum[i][j] = S::dot(sum[i][j], x, w[j]);
      }
      b += 64;
      a += 4;
      __asm__("" : "+r"(a));  // keeps GCC from holding one pointer per row, some of them on the stack
    }
  }
};

}  // namespace
}  // namespace sqz

#endif  // SQZ_SIMD_MICROKERNEL_S8_INL_
