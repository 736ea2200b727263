// Pointwise convolution.
//
//          panels:  0     1     2         A tile of kTileRows x (kTilePanels * 16) outputs is held in registers over
//          the
//   rows 0..7    [tile of 24 vectors]     whole depth: one chain of fma an output, since split-K would change the bits.
//   rows 8..15   [                  ]     A column is the tiles one below the other, so that its weights, which may
//   come
//   ...                                   from memory, are used by all rows of a block one after the other.
//
// While a column is computed the weights of the next are fetched, evenly over its tiles: memory is read all the time
// and not only by a column's first tile. That goes on past the end of the array, since a model's convolutions lie one
// after the other.
//
// AVX-512: 8 x 48, 24 accumulators + 3 panel vectors + 1 row element (28 of 32 registers); 96 to 98 % of the peak of
// multiply-adds where weights are in L2, 90 to 95 % where they come from memory (128 rows); 8 rows are bound by memory.
// AVX2: 6 x 16, 12 + 2 + 1 (15 of 16). SSE2: 2 x 16. NP = 1 panel keeps the AVX2 tile in registers.
// With GELU 80 to 84 %: about 12 of its operations take the ports of multiply-adds, 192 of which make an output, and
// the output of 3072 channels does not fit L2.
#include "kernels/activation/activation_f32.inl"
#include "kernels/pwconv/pwconv.h"
#include "simd/microkernel_f32.inl"

namespace sqz {
namespace {

template <class I>
struct Pwconv {
  using V = typename I::V;

  // One tile: rows from `row`, NP panels from output channel `o` of group g; `columns` of them exist.
  template <int NP>
  struct Tile {
    const PwconvF32 &p;
    int64_t row, g, o, columns;
    Ahead ahead;

    template <int MR>
    SQZ_INLINE void run() const {
      const int64_t depth = p.group_in, c = g * p.group_out + o;
      const float *x = p.x + row * p.ldx + g * depth;
      const float *panel = p.packed + (g * p.panels_per_group() * 16 + o) * depth;
      if (p.activation == SQZ_ACT_NONE && columns == NP * 16)
        return block<MR>(depth, x, p.ldx, panel, ahead, p.out + row * p.ldo + c, p.ldo, p.bias ? p.bias + c : nullptr,
                         p.residual ? p.residual + row * p.ldr + c : nullptr, p.ldr);
      // Through memory: an activation's temporaries beside a full set of accumulators would spill anyway.
      alignas(64) float buffer[MR * NP * 16];
      block<MR>(depth, x, p.ldx, panel, ahead, buffer, NP * 16, nullptr, nullptr, 0);
      switch (p.activation) {
        case SQZ_ACT_GELU: return epilogue<SQZ_ACT_GELU>(buffer, MR, c);
        case SQZ_ACT_GELU_TANH: return epilogue<SQZ_ACT_GELU_TANH>(buffer, MR, c);
        case SQZ_ACT_RELU: return epilogue<SQZ_ACT_RELU>(buffer, MR, c);
        case SQZ_ACT_TANH: return epilogue<SQZ_ACT_TANH>(buffer, MR, c);
        default: return epilogue<SQZ_ACT_NONE>(buffer, MR, c);
      }
    }

    // A function of its own with plain arguments: inlined, some compilers keep what the inner loop needs on the stack.
    template <int MR>
    static __attribute__((noinline)) void block(int64_t depth, const float *x, int64_t ldx, const float *panel,
                                                Ahead ahead, float *out, int64_t ldo, const float *bias,
                                                const float *residual, int64_t ldr) {
      V acc[MR][NP];
      multiply_tile<I, MR, NP>(depth, x, ldx, panel, 16, depth * 16, acc, ahead);
#pragma GCC unroll 4
      for (int j = 0; j < NP; ++j) {
        if (bias) {
          const V b = I::load(bias + j * 16);
#pragma GCC unroll 8
          for (int i = 0; i < MR; ++i) acc[i][j] = I::add(acc[i][j], b);
        }
        if (residual) {
#pragma GCC unroll 8
          for (int i = 0; i < MR; ++i) acc[i][j] = I::add(acc[i][j], I::load(residual + i * ldr + j * 16));
        }
#pragma GCC unroll 8
        for (int i = 0; i < MR; ++i) I::store(out + i * ldo + j * 16, acc[i][j]);
      }
    }

    template <sqz_activation A>
    __attribute__((noinline)) void epilogue(const float *buffer, int rows, int64_t c) const {
      for (int j = 0; j < NP; ++j) {
        const int64_t at = c + j * 16;
        const int n = static_cast<int>(min64(16, columns - j * 16));
        const float *from = buffer + j * 16, *r = p.residual ? p.residual + row * p.ldr + at : nullptr;
        float *out = p.out + row * p.ldo + at;
        V b = I::zero();
        if (p.bias) b = n == 16 ? I::load(p.bias + at) : I::load_n(p.bias + at, n);
        if (n == 16 && !r && p.bias) {
#pragma GCC unroll 1
          for (int i = 0; i < rows; ++i)
            I::store(out + i * p.ldo, Activation<I>::template apply<A>(I::add(I::load(from + i * NP * 16), b)));
          continue;
        }
        for (int i = 0; i < rows; ++i) {
          V v = I::load(from + i * NP * 16);
          if (p.bias) v = I::add(v, b);
          v = Activation<I>::template apply<A>(v);
          if (r) v = I::add(v, n == 16 ? I::load(r + i * p.ldr) : I::load_n(r + i * p.ldr, n));
          if (n == 16)
            I::store(out + i * p.ldo, v);
          else
            I::store_n(out + i * p.ldo, v, n);
        }
      }
    }
  };

  template <int NP>
  static void column(const PwconvF32 &p, int64_t row, int64_t row_end, int64_t g, int64_t o) {
    const int64_t columns = min64(NP * 16, p.group_out - o);
    const int64_t depth = p.group_in, panel = g * p.panels_per_group() + o / 16;
    // Tiles of equal height: a low one costs more a row.
    int64_t tiles = (row_end - row + I::kTileRows - 1) / I::kTileRows;
    Ahead ahead = {reinterpret_cast<uintptr_t>(p.packed + panel * depth * 16) + NP * 64 * depth,
                   (NP * 64 + tiles - 1) / tiles};
    for (; tiles > 0; --tiles) {
      const int64_t rows = (row_end - row + tiles - 1) / tiles;
      with_rows<I::kTileRows>(static_cast<int>(rows), Tile<NP>{p, row, g, o, columns, ahead});
      row += rows;
      ahead.at += ahead.step * depth;
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
