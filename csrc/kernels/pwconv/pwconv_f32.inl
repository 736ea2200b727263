// Pointwise convolution: tiles of kTileRows x kTilePanels held in registers over the whole depth (split-K would change
// the bits), the panels of a tile outermost so that weights come from memory once for a block of rows. A column is what
// kTilePanels panels have to do: its tiles one below the other.
#include "kernels/activation/activation_f32.inl"
#include "kernels/pwconv/pwconv.h"
#include "simd/microkernel_f32.inl"

namespace sqz {
namespace {

template <class I>
struct Pwconv {
  using V = typename I::V;

  // Fetches the weights of the next column while this one's are used, so that memory is read all the time and not only
  // by the first tile of a column: `lines` cache lines for every kPrefetchStep steps of k. Into L1: L2 alone was 5 %
  // slower at 128 rows, 15 to 20 % at 8, where nothing is used twice. Steps of 4 gain nothing, steps of 32 lose 3 to 20
  // %.
  static constexpr int64_t kPrefetchStep = 8;
  struct Prefetch {
    const float *next, *end;
    int64_t lines;

    SQZ_INLINE void fetch() {
      const float *stop = next + lines * 16;
      if (stop > end) stop = end;
      for (; next < stop; next += 16) __builtin_prefetch(next, 0, 3);
    }
  };

  // One tile: rows from `row`, NP panels from output channel `o` of group g; `columns` of them exist.
  template <int NP>
  struct Tile {
    const PwconvF32 &p;
    int64_t row, g, o, columns;
    Prefetch &ahead;

    template <int MR>
    SQZ_INLINE void run() const {
      const int64_t depth = p.group_in, c = g * p.group_out + o;
      const float *panel = p.packed + (g * p.panels_per_group() * 16 + o) * depth;
      V acc[MR][NP];
      const float *x = p.x + row * p.ldx + g * depth;
      clear_tile<I, MR, NP>(acc);
      for (int64_t k = 0; k < depth; k += kPrefetchStep) {
        ahead.fetch();
        accumulate_tile<I, MR, NP>(min64(kPrefetchStep, depth - k), x + k, p.ldx, panel + k * 16, 16, depth * 16, acc);
      }
      if (p.activation == SQZ_ACT_NONE && columns == NP * 16) {
        store_plain(acc, c);
      } else {
        // Through memory: an activation's temporaries beside a full set of accumulators would spill anyway.
        alignas(64) float buffer[MR * NP * 16];
#pragma GCC unroll 8
        for (int i = 0; i < MR; ++i)
#pragma GCC unroll 4
          for (int j = 0; j < NP; ++j) I::store(buffer + (i * NP + j) * 16, acc[i][j]);
        switch (p.activation) {
          case SQZ_ACT_GELU: return epilogue<SQZ_ACT_GELU>(buffer, MR, c);
          case SQZ_ACT_GELU_TANH: return epilogue<SQZ_ACT_GELU_TANH>(buffer, MR, c);
          case SQZ_ACT_RELU: return epilogue<SQZ_ACT_RELU>(buffer, MR, c);
          case SQZ_ACT_TANH: return epilogue<SQZ_ACT_TANH>(buffer, MR, c);
          default: return epilogue<SQZ_ACT_NONE>(buffer, MR, c);
        }
      }
    }

    template <int MR>
    SQZ_INLINE void store_plain(V (&acc)[MR][NP], int64_t c) const {
#pragma GCC unroll 4
      for (int j = 0; j < NP; ++j) {
        if (p.bias) {
          const V b = I::load(p.bias + c + j * 16);
#pragma GCC unroll 8
          for (int i = 0; i < MR; ++i) acc[i][j] = I::add(acc[i][j], b);
        }
        if (p.residual) {
#pragma GCC unroll 8
          for (int i = 0; i < MR; ++i)
            acc[i][j] = I::add(acc[i][j], I::load(p.residual + (row + i) * p.ldr + c + j * 16));
        }
#pragma GCC unroll 8
        for (int i = 0; i < MR; ++i) I::store(p.out + (row + i) * p.ldo + c + j * 16, acc[i][j]);
      }
    }

    template <sqz_activation A>
    __attribute__((noinline)) void epilogue(const float *buffer, int rows, int64_t c) const {
      for (int i = 0; i < rows; ++i) {
        for (int j = 0; j < NP; ++j) {
          const int64_t at = c + j * 16;
          const int n = static_cast<int>(min64(16, columns - j * 16));
          V v = I::load(buffer + (i * NP + j) * 16);
          if (p.bias) v = I::add(v, n == 16 ? I::load(p.bias + at) : I::load_n(p.bias + at, n));
          v = Activation<I>::template apply<A>(v);
          if (p.residual) {
            const float *r = p.residual + (row + i) * p.ldr + at;
            v = I::add(v, n == 16 ? I::load(r) : I::load_n(r, n));
          }
          float *out = p.out + (row + i) * p.ldo + at;
          if (n == 16)
            I::store(out, v);
          else
            I::store_n(out, v, n);
        }
      }
    }
  };

  template <int NP>
  static void column(const PwconvF32 &p, int64_t row, int64_t row_end, int64_t g, int64_t o) {
    const int64_t columns = min64(NP * 16, p.group_out - o);
    const int64_t depth = p.group_in, panel = g * p.panels_per_group() + o / 16;
    const int64_t after = p.groups * p.panels_per_group() - (panel + NP);  // panels
    // Tiles of equal height: a low one costs more a row.
    int64_t tiles = (row_end - row + I::kTileRows - 1) / I::kTileRows;
    Prefetch ahead = {p.packed + (panel + NP) * depth * 16, nullptr, 0};
    ahead.end = ahead.next + min64(NP, after) * depth * 16;
    if (depth > 0) {
      const int64_t fetches = (depth + kPrefetchStep - 1) / kPrefetchStep * tiles;
      ahead.lines = (NP * depth + fetches - 1) / fetches;
    }
    for (; tiles > 0; --tiles) {
      const int64_t rows = (row_end - row + tiles - 1) / tiles;
      with_rows<I::kTileRows>(static_cast<int>(rows), Tile<NP>{p, row, g, o, columns, ahead});
      row += rows;
    }
  }

  // NP = min(kTilePanels, panels left)
  template <int NP>
  static SQZ_INLINE void column_of(int64_t left, const PwconvF32 &p, int64_t row, int64_t row_end, int64_t g,
                                   int64_t o) {
    if constexpr (NP > 1) {
      if (left < NP) return column_of<NP - 1>(left, p, row, row_end, g, o);
    }
    column<NP>(p, row, row_end, g, o);
  }

  static SQZ_INLINE void run(const PwconvF32 &p, int64_t row_begin, int64_t row_end, int64_t panel_begin,
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
