// Pointwise convolution of bytes.
//
// AVX-512 VNNI: 8 x 48, 24 sums + 3 panel vectors + 1 row's bytes (28 of 32 registers). 256-bit VNNI: 6 x 16,
// 12 + 2 + 1 (15 of 16). AVX2, which takes four instructions for a product: 4 x 16, 8 + 4 + 3 (15 of 16). NEON has
// inner loops of its own: microkernel_s8_neon.inl.
#ifndef SQZ_KERNELS_PWCONV_PWCONV_S8_INL_
#define SQZ_KERNELS_PWCONV_PWCONV_S8_INL_

#include "kernels/pwconv/pwconv.inl"
#include "kernels/pwconv/pwconv_s8.h"
#include "kernels/quantize_rows/quantize_rows.h"
#include "simd/microkernel_s8.inl"
#ifdef __ARM_NEON
#include "simd/microkernel_s8_neon.inl"  // specialises MultiplyS8
#endif

namespace sqz {
namespace {

// Rows of the tallest tile of one panel that stays in registers.
template <class S>
constexpr int tile_rows_s8() {
  const int rows = (S::kRegisters - S::kProductRegisters) / S::kSumRegisters;
  return rows > 1 ? rows : 1;
}
struct S8Vnni512;
template <class S>
struct PwconvS8Tuning : TileSize<tile_rows_s8<S>(), 1> {
  static_assert(!__is_base_of(S8Vnni512, S), SQZ_DERIVED_TRAIT);
};
template <>
struct PwconvS8Tuning<S8Vnni512> : TileSize<8, 3> {};

// The epilogue: y = (float(sum) * scale of the row) * scale of the channel, then as for floats.
template <class S, int MR, int NP>
SQZ_INLINE void finish_s8(const typename S::Sum (&sum)[MR][NP], const uint8_t *panel, int64_t stride,
                          const float *scales, int64_t lds, float *out, int64_t ldo, const float *bias,
                          const float *residual, int64_t ldr) {
  using I = typename S::Epilogue;
  typename I::V y[MR][NP];
#pragma GCC unroll 4
  for (int j = 0; j < NP; ++j) {
    const typename I::V channel = I::load(reinterpret_cast<const float *>(panel + j * stride + 64));
#pragma GCC unroll 8
    for (int i = 0; i < MR; ++i) y[i][j] = I::mul(I::mul(S::to_float(sum[i][j]), I::set1(scales[i * lds])), channel);
  }
  store_tile<I, MR, NP>(y, out, ldo, bias, residual, ldr);
}

// L is the inner loop: MultiplyS8, or one of an ISA's own.
template <class S, class L = MultiplyS8<S, PwconvS8Tuning<S>>>
struct S8Tile {
  using I = typename S::Epilogue;
  static constexpr int kTileRows = L::kTileRows, kTilePanels = L::kTilePanels;
  template <int NP>
  using Panels = PanelsInPlace;

  static int64_t steps(const Pwconv &p) { return PackedS8::steps(p.group_in); }
  static int64_t panel_bytes(const Pwconv &p) { return PackedS8::panel_bytes(p.group_in); }

  template <int NP>
  static SQZ_INLINE void block(int rows, const Pwconv &p, int64_t row, int64_t g, const uint8_t *panel, Ahead ahead,
                               float *out, int64_t ldo, const float *bias, const float *residual, int64_t ldr) {
    call_tile<S8Tile, NP>(rows, [&](auto multiply) SQZ_INLINE_LAMBDA {
      multiply(steps(p), p.q + row * p.ldq + g * QuantizeRows::width(p.group_in), p.ldq, panel, ahead,
               p.scales + row * p.groups + g, p.groups, out, ldo, bias, residual, ldr);
    });
  }

  template <int MR, int NP>
  static __attribute__((noinline)) void multiply(int64_t steps, const uint8_t *q, int64_t ldq, const uint8_t *panel,
                                                 Ahead ahead, const float *scales, int64_t lds, float *out, int64_t ldo,
                                                 const float *bias, const float *residual, int64_t ldr) {
    const int64_t stride = PackedS8::kHead + 64 * steps;
    typename S::Sum sum[MR][NP];
    L::template multiply<MR, NP>(steps, q, ldq, reinterpret_cast<const int8_t *>(panel) + PackedS8::kHead,
                                 reinterpret_cast<const int32_t *>(panel), stride, sum, ahead);
    finish_s8<S, MR, NP>(sum, panel, stride, scales, lds, out, ldo, bias, residual, ldr);
  }
};

template <class S, class L = MultiplyS8<S, PwconvS8Tuning<S>>>
using ConvolveS8 = Convolve<S8Tile<S, L>>;

}  // namespace
}  // namespace sqz

#endif  // SQZ_KERNELS_PWCONV_PWCONV_S8_INL_
