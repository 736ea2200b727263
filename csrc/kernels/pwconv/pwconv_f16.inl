// Pointwise convolution with float16 weights: as that of float32, but that a vector of weights is widened when it is
// loaded, once for the rows of a tile. While the first tiles of a run of panels are computed, the next run's weights
// are fetched into L2, a little at each step.
#include "kernels/pwconv/epilogue.inl"
#include "kernels/pwconv/pwconv_f16.h"
#include "simd/microkernel_f32.inl"
#include "simd/rows.h"

namespace sqz {
namespace {

template <class I>
struct ConvolveF16 {
  using V = typename I::V;

  // Rows from `row`, NP panels from output channel `o` of group g.
  template <int NP>
  struct Tile {
    const PwconvF16 &p;
    Epilogue<I, PwconvF16, NP> *epilogue;
    int64_t row, g, o;
    const uint16_t *ahead;  // what to fetch, `step` elements after each input channel
    int64_t step;

    template <int MR>
    SQZ_INLINE void run() const {
      const int64_t depth = p.group_in, stride = depth * 16, fetched = opaque(step);
      const uint16_t *b = p.packed + (g * p.panels_per_group() * 16 + o) * depth;
      const uint16_t *next = ahead;
      Rows<float, MR> a(p.x + row * p.ldx + g * depth, p.ldx);
      V acc[MR][NP];
#pragma GCC unroll 16
      for (int i = 0; i < MR; ++i)
#pragma GCC unroll 4
        for (int j = 0; j < NP; ++j) acc[i][j] = I::zero();
      for (const uint16_t *end = opaque(b + stride); b != end;) {
        V w[NP];
#pragma GCC unroll 4
        for (int j = 0; j < NP; ++j) {
          w[j] = I::load_half(b + j * stride);
          if (j < (NP + 1) / 2) __builtin_prefetch(next + j * 32, 0, 2);
        }
#pragma GCC unroll 16
        for (int i = 0; i < MR; ++i) {
          const V x = I::set1(*a[i]);
#pragma GCC unroll 4
          for (int j = 0; j < NP; ++j) acc[i][j] = I::fma(x, w[j], acc[i][j]);
        }
        a.advance(1);
        b = opaque(b + 16);
        next = opaque(next + fetched);
      }
      epilogue->store(acc);
    }
  };

  template <int NP>
  static void column(const PwconvF16 &p, int64_t row, int64_t row_end, int64_t g, int64_t o) {
    const int64_t depth = p.group_in, panels = p.panels_per_group(), run = NP * depth * 16;
    const uint16_t *first = p.packed + (g * panels * 16 + o) * depth, *end = p.packed + p.groups * panels * 16 * depth;
    if (end > first + 2 * run) end = first + 2 * run;
    const bool alone = row_end - row <= I::kTileRows;
    Epilogue<I, PwconvF16, NP> epilogue(p, g * p.group_out + o, min64(NP * 16, p.group_out - o), row);
    Tile<NP> tile = {p, &epilogue, row, g, o, first + run, alone && NP > 2 ? NP * 16 : 32};
    for (; tile.row < row_end; tile.row += I::kTileRows) {
      if (tile.ahead >= end) tile.ahead = first, tile.step = 0;
      with_rows<I::kTileRows>(static_cast<int>(min64(I::kTileRows, row_end - tile.row)), tile);
      tile.ahead += tile.step * depth;
    }
    if (epilogue.rows > 0) epilogue.finish();
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
