// Pointwise convolution of bytes: tiles of kTileRows x kTilePanels sums held in registers over the whole depth, the
// panels of a tile outermost, so that weights come from memory once for a block of rows. While the first tiles of a run
// of panels are computed, the next run's weights are fetched into L2.
#include "kernels/pwconv/epilogue.inl"
#include "kernels/pwconv/pwconv_s8.h"
#include "kernels/quantize/quantize.h"
#include "simd/microkernel_f32.inl"

namespace sqz {
namespace {

template <class S>
struct ConvolveS8 {
  using I = typename S::Float;
  using V = typename I::V;

  // Rows from `row`, NP panels from `panel`, output channels from c on, of which `columns` exist.
  template <int NP>
  struct Tile {
    const PwconvS8 &p;
    int64_t row, g, c, columns;
    const uint8_t *panel;
    const uint8_t *ahead;  // what to fetch, `step` bytes after each four channels
    int64_t step;

    template <int MR>
    SQZ_INLINE void run() const {
      const int64_t stride = p.panel_bytes(), steps = p.steps(), ldq = p.ldq;
      const uint8_t *q = p.q + row * ldq + g * steps * 4, *next = ahead;
      const int8_t *w = reinterpret_cast<const int8_t *>(panel) + 128;
      typename S::Sum sum[MR][NP];
#pragma GCC unroll 4
      for (int j = 0; j < NP; ++j) {
        const typename S::Sum first = S::start(reinterpret_cast<const int32_t *>(panel + j * stride));
#pragma GCC unroll 16
        for (int i = 0; i < MR; ++i) sum[i][j] = first;
      }
      for (int64_t k = 0; k < steps; ++k) {
        typename S::Weights b[NP];
#pragma GCC unroll 4
        for (int j = 0; j < NP; ++j) {
          b[j] = S::load(w + j * stride);
          __builtin_prefetch(next + j * 64, 0, 2);
        }
#pragma GCC unroll 16
        for (int i = 0; i < MR; ++i) {
          const typename S::Four a = S::broadcast(q + i * ldq);
#pragma GCC unroll 4
          for (int j = 0; j < NP; ++j) sum[i][j] = S::dot(sum[i][j], a, b[j]);
        }
        q += 4;
        w += 64;
        next += step;
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
      if (p.activation == SQZ_ACT_NONE && columns == NP * 16) return Epilogue<I, PwconvS8>::store_plain(p, y, row, c);
      // Through memory: an activation's temporaries beside a full set of sums would spill anyway.
      alignas(64) float buffer[MR * NP * 16];
#pragma GCC unroll 16
      for (int i = 0; i < MR; ++i)
#pragma GCC unroll 4
        for (int j = 0; j < NP; ++j) I::store(buffer + (i * NP + j) * 16, y[i][j]);
      Epilogue<I, PwconvS8>::finish(p, buffer, MR, NP, row, c, columns);
    }
  };

  template <int NP>
  static void column(const PwconvS8 &p, int64_t row, int64_t row_end, int64_t g, int64_t o, const uint8_t *panel,
                     const uint8_t *end) {
    const int64_t tiles = (row_end - row + S::kTileRows - 1) / S::kTileRows;
    const uint8_t *ahead = panel + NP * p.panel_bytes();
    if (end > ahead + NP * p.panel_bytes()) end = ahead + NP * p.panel_bytes();
    const int64_t lines = tiles >= NP ? 1 : (NP + tiles - 1) / tiles;
    Tile<NP> tile = {p, row, g, g * p.group_out + o, min64(NP * 16, p.group_out - o), panel, ahead, 64 * lines};
    for (; tile.row < row_end; tile.row += S::kTileRows) {
      if (tile.ahead >= end) tile.ahead = panel, tile.step = 0;
      with_rows<S::kTileRows>(static_cast<int>(min64(S::kTileRows, row_end - tile.row)), tile);
      tile.ahead += tile.step * p.steps();
    }
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
