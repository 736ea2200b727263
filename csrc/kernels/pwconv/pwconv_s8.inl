// Pointwise convolution of bytes: tiles of kTileRows x kTilePanels sums held in registers over the whole depth, the
// panels of a tile outermost, so that weights come from memory once for a block of rows. While the first tiles of a run
// of panels are computed, the next run's weights are fetched into L2, a little at each step.
#include "kernels/pwconv/epilogue.inl"
#include "kernels/pwconv/pwconv_s8.h"
#include "kernels/quantize/quantize.h"
#include "simd/microkernel_f32.inl"
#include "simd/rows.h"

namespace sqz {
namespace {

template <class S>
struct ConvolveS8 {
  using I = typename S::Float;
  using V = typename I::V;

  // Rows from `row`, NP panels from `panel`.
  template <int NP>
  struct Tile {
    const PwconvS8 &p;
    Epilogue<I, PwconvS8, NP> *epilogue;
    int64_t row, g;
    const uint8_t *panel;
    const uint8_t *ahead;  // what to fetch, `step` bytes after each four channels
    int64_t step;

    template <int MR>
    SQZ_INLINE void run() const {
      const int64_t stride = p.panel_bytes(), steps = p.steps(), fetched = opaque(step);
      Rows<uint8_t, MR> q(p.q + row * p.ldq + g * steps * 4, p.ldq);
      const int8_t *w = reinterpret_cast<const int8_t *>(panel) + 128;
      const uint8_t *next = ahead;
      typename S::Sum sum[MR][NP];
#pragma GCC unroll 4
      for (int j = 0; j < NP; ++j) {
        const typename S::Sum first = S::start(reinterpret_cast<const int32_t *>(panel + j * stride));
#pragma GCC unroll 16
        for (int i = 0; i < MR; ++i) sum[i][j] = first;
      }
      for (const int8_t *end = opaque(w + steps * 64); w != end;) {
        typename S::Weights b[NP];
#pragma GCC unroll 4
        for (int j = 0; j < NP; ++j) {
          b[j] = S::load(w + j * stride);
          __builtin_prefetch(next + j * 64, 0, 2);
        }
#pragma GCC unroll 16
        for (int i = 0; i < MR; ++i) {
          const typename S::Four a = S::broadcast(q[i]);
#pragma GCC unroll 4
          for (int j = 0; j < NP; ++j) sum[i][j] = S::dot(sum[i][j], a, b[j]);
        }
        q.advance(4);
        w = opaque(w + 64);
        next = opaque(next + fetched);
      }
      const float *scales = p.scales + row * p.groups + g;
      V y[MR][NP];
#pragma GCC unroll 4
      for (int j = 0; j < NP; ++j) {
        const V channel = I::load(reinterpret_cast<const float *>(panel + j * stride + 64));
#pragma GCC unroll 16
        for (int i = 0; i < MR; ++i)
          y[i][j] = I::mul(I::mul(S::to_float(sum[i][j]), I::set1(scales[i * p.groups])), channel);
      }
      epilogue->store(y);
    }
  };

  template <int NP>
  static void column(const PwconvS8 &p, int64_t row, int64_t row_end, int64_t g, int64_t o, const uint8_t *panel,
                     const uint8_t *end) {
    const int64_t run = NP * p.panel_bytes(), tiles = (row_end - row + S::kTileRows - 1) / S::kTileRows;
    if (end > panel + 2 * run) end = panel + 2 * run;
    Epilogue<I, PwconvS8, NP> epilogue(p, g * p.group_out + o, min64(NP * 16, p.group_out - o), row);
    Tile<NP> tile = {p, &epilogue, row, g, panel, panel + run, 64 * (tiles < NP ? (NP + tiles - 1) / tiles : 1)};
    for (; tile.row < row_end; tile.row += S::kTileRows) {
      if (tile.ahead >= end) tile.ahead = panel, tile.step = 0;
      with_rows<S::kTileRows>(static_cast<int>(min64(S::kTileRows, row_end - tile.row)), tile);
      tile.ahead += tile.step * p.steps();
    }
    if (epilogue.rows > 0) epilogue.finish();
  }

  // NP = min(kTilePanels, panels left)
  template <int NP>
  static SQZ_INLINE void column_of(int64_t left, const PwconvS8 &p, int64_t row, int64_t row_end, int64_t g, int64_t o,
                                   const uint8_t *panel, const uint8_t *end) {
    if constexpr (NP > 1) {
      if (left < NP) return column_of<NP - 1>(left, p, row, row_end, g, o, panel, end);
    }
    column<NP>(p, row, row_end, g, o, panel, end);
  }

  static SQZ_INLINE void run(const PwconvS8 &p, int64_t row_begin, int64_t row_end, int64_t panel_begin,
                             int64_t panel_end) {
    const int64_t per_group = p.panels_per_group();
    const uint8_t *end = p.packed + p.groups * per_group * p.panel_bytes();
    for (int64_t panel = panel_begin; panel < panel_end;) {
      const int64_t g = panel / per_group, in_group = panel % per_group;
      const int64_t left = min64(per_group - in_group, panel_end - panel);
      column_of<S::kTilePanels>(left, p, row_begin, row_end, g, in_group * 16, p.packed + panel * p.panel_bytes(), end);
      panel += min64(S::kTilePanels, left);
    }
  }
};

}  // namespace
}  // namespace sqz
