// Pointwise convolution of floats, with weights W stored as float or as float16 (uint16_t).
//
//            tile     registers: accumulators, panels, broadcast
//   AVX-512  8 x 48   24 + 3 + 1 of 32   96 to 98 % of peak where weights are in L2, 90 to 95 % where they come from
//                                        memory (128 rows); 8 rows are bound by memory
//   AVX2     6 x 16   12 + 2 + 1 of 16
//   SSE2     2 x 16   8 + 4 + 1 of 16    a single row of float16 weights: 1 x 16, because widening takes constants in
//                                        registers
//   NEON 64  4 x 16   16 + 8 + 8 of 32   1.18 instructions per multiply-add at 768 channels per group, 1.21 at 192
//   NEON 32  2 x 16   8 + 4 + 1 of 16
//
// With GELU AVX-512 reaches 85 to 88 %: about 12 of its operations use the ports of the multiply-adds, 192 of which
// make an output, and an output of 3072 channels does not fit L2.
#ifndef SQZ_KERNELS_PWCONV_PWCONV_FLOAT_INL_
#define SQZ_KERNELS_PWCONV_PWCONV_FLOAT_INL_

#include "kernels/pwconv/pwconv.inl"

namespace sqz {
namespace {

struct F32Avx512;
struct F32Sse2;
// The tile for weights stored as W.
template <class I, class W>
struct PwconvTuning : TileSize<tile_rows<I>(), 1> {
  static_assert(!__is_base_of(F32Avx512, I) && (sizeof(W) == 4 || !__is_base_of(F32Sse2, I)), SQZ_DERIVED_TRAIT);
};
template <class W>
struct PwconvTuning<F32Avx512, W> : TileSize<8, 3> {};
template <>
struct PwconvTuning<F32Sse2, uint16_t> : TileSize<1, 1> {};  // widening takes constants in registers

template <class Trait, class W>
struct FloatTile {
  using I = Trait;
  static constexpr int kTileRows = PwconvTuning<I, W>::kTileRows, kTilePanels = PwconvTuning<I, W>::kTilePanels;
  template <int NP>
  using Panels = PanelsInPlace;

  static int64_t steps(const Pwconv &p) { return p.group_in; }
  static int64_t panel_bytes(const Pwconv &p) { return p.group_in * 16 * static_cast<int64_t>(sizeof(W)); }

  template <int NP>
  static SQZ_INLINE void block(int rows, const Pwconv &p, int64_t row, int64_t g, const uint8_t *panel, Ahead ahead,
                               float *out, int64_t ldo, const float *bias, const float *residual, int64_t ldr) {
    call_tile<FloatTile, NP>(rows, [&](auto multiply) SQZ_INLINE_LAMBDA {
      multiply(p.group_in, p.x + row * p.ldx + g * p.group_in, p.ldx, reinterpret_cast<const W *>(panel), ahead, out,
               ldo, bias, residual, ldr);
    });
  }

  template <int MR, int NP>
  static __attribute__((noinline)) void multiply(int64_t depth, const float *x, int64_t ldx, const W *panel,
                                                 Ahead ahead, float *out, int64_t ldo, const float *bias,
                                                 const float *residual, int64_t ldr) {
    typename I::V acc[MR][NP];
    multiply_tile<I, MR, NP>(depth, x, ldx, panel, 16, depth * 16, acc, ahead);
    store_tile<I, MR, NP>(acc, out, ldo, bias, residual, ldr);
  }
};

// Tiles of float32 over weights stored as float16: the panels of a column are widened once for all of its tiles.
template <class Trait>
struct WidenedTile : FloatTile<Trait, float> {
  static constexpr int64_t kBytes = 64 * 1024, kMostIn = kBytes / 64 / FloatTile<Trait, float>::kTilePanels;

  template <int NP>
  struct Panels {
    alignas(64) float widened[NP * 16 * kMostIn];
    const uint8_t *begin;

    Panels(const Pwconv &p, const uint8_t *packed) : begin(reinterpret_cast<const uint8_t *>(widened)) {
      const uint16_t *from = reinterpret_cast<const uint16_t *>(packed);
#pragma GCC unroll 4
      for (int64_t i = 0; i < NP * 16 * p.group_in; i += 16) Trait::store(widened + i, Trait::load_half(from + i));
    }
  };

  static int64_t panel_bytes(const Pwconv &p) { return FloatTile<Trait, uint16_t>::panel_bytes(p); }
};

// Takes up to 64 KB of stack. Weights are widened in the inner loop where a column has one tile, and in groups with
// more channels than there is room for.
template <class I>
struct ConvolveWidened {
  using Tile = WidenedTile<I>;
  static void run(const Pwconv &p, int64_t row_begin, int64_t row_end, int64_t panel_begin, int64_t panel_end) {
    using InLoop = FloatTile<I, uint16_t>;
    if (row_end - row_begin <= InLoop::kTileRows || p.group_in > Tile::kMostIn)
      return Convolve<InLoop>::run(p, row_begin, row_end, panel_begin, panel_end);
    Convolve<Tile>::run(p, row_begin, row_end, panel_begin, panel_end);
  }
};

// AVX2 and AVX-512 widen beside the multiply-adds: a pass of its own takes up to 19 % longer. The products of scalar
// code take so long that widening does not matter.
struct F32Neon;
template <class I>
struct ConvolveF16 : Convolve<FloatTile<I, uint16_t>> {
  static_assert(!__is_base_of(F32Sse2, I) && !__is_base_of(F32Neon, I), SQZ_DERIVED_TRAIT);
  using Tile = FloatTile<I, uint16_t>;
};
template <>
struct ConvolveF16<F32Sse2> : ConvolveWidened<F32Sse2> {};
template <>
struct ConvolveF16<F32Neon> : ConvolveWidened<F32Neon> {};

}  // namespace
}  // namespace sqz

#endif  // SQZ_KERNELS_PWCONV_PWCONV_FLOAT_INL_
