// Pointwise convolution with float16 weights: as that of float32, but that a vector of weights is widened when it is
// loaded, once for the rows of a tile. While the first tiles of a run of panels are computed, the next run's weights
// are fetched into L2.
#include "kernels/pwconv/epilogue.inl"
#include "kernels/pwconv/pwconv_f16.h"
#include "simd/microkernel_f32.inl"

namespace sqz {
namespace {

template <class I>
struct ConvolveF16 {
  using V = typename I::V;

  // One tile: rows from `row`, NP panels from output channel `o` of group g; `columns` of them exist.
  template <int NP>
  struct Tile {
    const PwconvF16 &p;
    int64_t row, g, o, columns;
    const char *ahead;  // what to fetch, `step` bytes after each input channel
    int64_t step;

    template <int MR>
    SQZ_INLINE void run() const {
      const int64_t depth = p.group_in, c = g * p.group_out + o, lda = p.ldx;
      const uint16_t *b = p.packed + (g * p.panels_per_group() * 16 + o) * depth;
      const float *a = p.x + row * lda + g * depth;
      const char *next = ahead;
      V acc[MR][NP];
#pragma GCC unroll 16
      for (int i = 0; i < MR; ++i)
#pragma GCC unroll 4
        for (int j = 0; j < NP; ++j) acc[i][j] = I::zero();
      for (int64_t k = 0; k < depth; ++k) {
        V w[NP];
#pragma GCC unroll 4
        for (int j = 0; j < NP; ++j) w[j] = I::load_half(b + j * depth * 16);
#pragma GCC unroll 2
        for (int j = 0; j < (NP + 1) / 2; ++j) __builtin_prefetch(next + j * 64, 0, 2);
        next += step;
#pragma GCC unroll 16
        for (int i = 0; i < MR; ++i) {
          const V x = I::set1(a[i * lda + k]);
#pragma GCC unroll 4
          for (int j = 0; j < NP; ++j) acc[i][j] = I::fma(x, w[j], acc[i][j]);
        }
        b += 16;
      }
      if (p.activation == SQZ_ACT_NONE && columns == NP * 16)
        return Epilogue<I, PwconvF16>::store_plain(p, acc, row, c);
      // Through memory: an activation's temporaries beside a full set of sums would spill anyway.
      alignas(64) float buffer[MR * NP * 16];
#pragma GCC unroll 16
      for (int i = 0; i < MR; ++i)
#pragma GCC unroll 4
        for (int j = 0; j < NP; ++j) I::store(buffer + (i * NP + j) * 16, acc[i][j]);
      Epilogue<I, PwconvF16>::finish(p, buffer, MR, NP, row, c, columns);
    }
  };

  template <int NP>
  static void column(const PwconvF16 &p, int64_t row, int64_t row_end, int64_t g, int64_t o) {
    const int64_t depth = p.group_in, per_group = p.panels_per_group();
    const char *run = reinterpret_cast<const char *>(p.packed + (g * per_group * 16 + o) * depth);
    const char *ahead = run + NP * depth * 32;
    const char *end = reinterpret_cast<const char *>(p.packed + p.groups * per_group * 16 * depth);
    if (end > ahead + NP * depth * 32) end = ahead + NP * depth * 32;
    const bool alone = row_end - row <= I::kTileRows;
    Tile<NP> tile = {p, row, g, o, min64(NP * 16, p.group_out - o), ahead, alone && NP > 2 ? NP * 32 : 64};
    for (; tile.row < row_end; tile.row += I::kTileRows) {
      if (tile.ahead >= end) tile.ahead = run, tile.step = 0;
      with_rows<I::kTileRows>(static_cast<int>(min64(I::kTileRows, row_end - tile.row)), tile);
      tile.ahead += tile.step * depth;
    }
  }

  // NP = min(kTilePanels, panels left)
  template <int NP>
  static SQZ_INLINE void column_of(int64_t left, const PwconvF16 &p, int64_t row, int64_t row_end, int64_t g,
                                   int64_t o) {
    if constexpr (NP > 1) {
      if (left < NP) return column_of<NP - 1>(left, p, row, row_end, g, o);
    }
    column<NP>(p, row, row_end, g, o);
  }

  static SQZ_INLINE void run(const PwconvF16 &p, int64_t row_begin, int64_t row_end, int64_t panel_begin,
                             int64_t panel_end) {
    const int64_t per_group = p.panels_per_group();
    for (int64_t panel = panel_begin; panel < panel_end;) {
      const int64_t g = panel / per_group, in_group = panel % per_group;
      const int64_t left = min64(per_group - in_group, panel_end - panel);
      column_of<I::kTilePanels>(left, p, row_begin, row_end, g, in_group * 16);
      panel += min64(I::kTilePanels, left);
    }
  }
};

}  // namespace
}  // namespace sqz
