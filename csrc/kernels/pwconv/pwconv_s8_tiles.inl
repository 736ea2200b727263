// Pointwise convolution of bytes on tiles: 32 rows x 2 panels at a time, sums to memory, then the epilogue in
// registers.
//
// A tile of sums starts at 0, and the epilogue adds the panel's `first`: loading it into tiles would take longer, and
// the products would wait for it. Products and epilogue are not interleaved: while tiles multiply, the processor runs
// 512-bit instructions at half their rate, so nothing is gained.
#ifndef SQZ_KERNELS_PWCONV_PWCONV_S8_TILES_INL_
#define SQZ_KERNELS_PWCONV_PWCONV_S8_TILES_INL_

#include "kernels/pwconv/pwconv_s8.inl"
#include "simd/tiles_amx.h"

namespace sqz {
namespace {

// A convolution whose sums from row `first` on are known, for some panels.
struct SummedPwconv : Pwconv {
  int64_t first;
  const int32_t *sums;
};

// The epilogue as a tile of Convolve, whose multiply() has nothing left to multiply.
template <class S>
struct SummedTile {
  using I = typename S::Epilogue;
  static constexpr int kTileRows = 8, kTilePanels = 2;

  template <int NP>
  static SQZ_INLINE void block(int rows, const Pwconv &p, int64_t row, int64_t g, const uint8_t *panel, Ahead,
                               float *out, int64_t ldo, const float *bias, const float *residual, int64_t ldr) {
    const SummedPwconv &summed = static_cast<const SummedPwconv &>(p);
    call_tile<SummedTile, NP>(rows, [&](auto multiply) SQZ_INLINE_LAMBDA {
      multiply(summed.sums + (row - summed.first) * (16 * NP), panel, PackedS8::panel_bytes(p.group_in),
               p.scales + row * p.groups + g, p.groups, out, ldo, bias, residual, ldr);
    });
  }

  template <int MR, int NP>
  static __attribute__((noinline)) void multiply(const int32_t *sums, const uint8_t *panel, int64_t stride,
                                                 const float *scales, int64_t lds, float *out, int64_t ldo,
                                                 const float *bias, const float *residual, int64_t ldr) {
    typename S::Sum sum[MR][NP];
    load_sums<S, MR, NP>(sums, panel, stride, sum);
    finish_s8<S, MR, NP>(sum, panel, stride, scales, lds, out, ldo, bias, residual, ldr);
  }
};

template <class S, class Tiles>
struct ConvolveTiles {
  using Sums = TileSums<Tiles>;
  using Epilogue = SummedTile<S>;
  template <int NP>
  using Tile = typename Convolve<Epilogue>::template Tile<NP>;
  static constexpr int64_t kLeastRows = Sums::kRows, kBlock = 2 * Sums::kRows;

  static void run(const Pwconv &p, int64_t row_begin, int64_t row_end, int64_t panel_begin, int64_t panel_end) {
    const Sums sums(Sums::kRows, PackedS8::steps(p.group_in));
    const int64_t per_group = p.panels_per_group(), bytes = PackedS8::panel_bytes(p.group_in);
    for (int64_t panel = panel_begin; panel < panel_end;) {
      const int64_t g = panel / per_group, in_group = panel % per_group;
      const int64_t left = min64(per_group - in_group, panel_end - panel);
      const uint8_t *packed = static_cast<const uint8_t *>(p.packed) + panel * bytes;
      if (left > 1)
        column<2>(sums, p, row_begin, row_end, g, in_group * 16, packed);
      else
        column<1>(sums, p, row_begin, row_end, g, in_group * 16, packed);
      panel += min64(2, left);
    }
  }

  // NP panels for all rows, at least kLeastRows, in blocks of kBlock.
  template <int NP>
  static __attribute__((noinline)) void column(const Sums &sums_of, const Pwconv &p, int64_t row, int64_t row_end,
                                               int64_t g, int64_t o, const uint8_t *panel) {
    alignas(64) int32_t sums[kBlock * 16 * NP];
    SummedPwconv summed;
    static_cast<Pwconv &>(summed) = p;
    summed.sums = sums;
    const int64_t columns = min64(NP * 16, p.group_out - o), bytes = PackedS8::panel_bytes(p.group_in);
    const uint8_t *q = p.q + g * QuantizeRows::width(p.group_in);
    // The weights of the next column are prefetched all the time: products alone are too short for that. A product of
    // 16 steps takes about as long as a tile of the epilogue, or half of one with an activation.
    const int64_t blocks = (row_end - row + kBlock - 1) / kBlock, fetches = p.activation == SQZ_ACT_NONE ? 1 : 2;
    const int64_t products = blocks * ((PackedS8::steps(p.group_in) + 15) / 16);
    const int64_t places = products + fetches * tiles_of(row_end - row);
    TilesAhead ahead = {reinterpret_cast<uintptr_t>(panel) + static_cast<uintptr_t>(NP * bytes),
                        (NP * bytes / 64 + places - 1) / places};
    while (row < row_end) {
      const int64_t end = min64(row + kBlock, row_end);
      summed.first = min64(row, end - Sums::kRows);  // of 16 rows at least: those before `row` are computed again
      ahead.at =
          sums_of.template block<NP>(q + summed.first * p.ldq, p.ldq, end - summed.first - Sums::kRows,
                                     reinterpret_cast<const int8_t *>(panel) + PackedS8::kHead, bytes, sums, ahead);
      for (int64_t tiles = tiles_of(end - row); tiles > 0; --tiles) {
        for (int64_t i = 0; i < fetches; ++i) ahead.fetch();
        const int64_t rows = (end - row + tiles - 1) / tiles;
        Tile<NP>{summed, row, g, o, columns, panel, {}}.run(static_cast<int>(rows));
        row += rows;
      }
    }
  }

  static SQZ_INLINE int64_t tiles_of(int64_t rows) { return (rows + Epilogue::kTileRows - 1) / Epilogue::kTileRows; }
};

}  // namespace
}  // namespace sqz

#endif  // SQZ_KERNELS_PWCONV_PWCONV_S8_TILES_INL_
