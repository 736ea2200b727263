// Pointwise convolution: tiles and columns, and what follows the sums. The tile itself is that of pwconv_float.inl or
// pwconv_s8.inl.
//
//          panels:  0     1     2         A tile of kTileRows x (kTilePanels * 16) outputs is held in registers over
//          the
//   rows 0..7    [tile of 24 vectors]     whole depth: one chain of additions an output, since split-K would change the
//   rows 8..15   [                  ]     bits of floats. A column is the tiles one below the other, so that its
//   weights,
//   ...                                   which may come from memory, are used by all rows of a block in turn.
//
// While a column is computed the weights of the next are fetched, evenly over its tiles: memory is read all the time
// and not only by a column's first tile. That goes on past the end of the array, since a model's convolutions lie one
// after the other.
#ifndef SQZ_KERNELS_PWCONV_PWCONV_INL_
#define SQZ_KERNELS_PWCONV_PWCONV_INL_

#include "kernels/activation/activation_f32.inl"
#include "kernels/pwconv/pwconv.h"
#include "simd/microkernel_f32.inl"

namespace sqz {
namespace {

// The end of a tile without an activation, in registers: out = (acc + bias) + residual.
template <class I, int MR, int NP>
SQZ_INLINE void store_tile(typename I::V (&acc)[MR][NP], float *out, int64_t ldo, const float *bias,
                           const float *residual, int64_t ldr) {
#pragma GCC unroll 4
  for (int j = 0; j < NP; ++j) {
    if (bias) {
      const typename I::V b = I::load(bias + j * 16);
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

// T, a tile: the type I of its floats, kTileRows, kTilePanels; panel_bytes(p) and steps(p), the turns of its inner
// loop; and block<MR, NP>(p, row, g, panel, ahead, ...), which ends in store_tile(...). That calls a function of its
// own with plain arguments: inlined, some compilers keep what the inner loop needs on the stack.
template <class T>
struct Convolve {
  using I = typename T::I;
  using V = typename I::V;

  // One tile: rows from `row`, NP panels from output channel `o` of group g, packed at `panel`; `columns` of them
  // exist.
  template <int NP>
  struct Tile {
    const Pwconv &p;
    int64_t row, g, o, columns;
    const uint8_t *panel;
    Ahead ahead;

    template <int MR>
    SQZ_INLINE void run() const {
      const int64_t c = g * p.group_out + o;
      if (p.activation == SQZ_ACT_NONE && columns == NP * 16)
        return T::template block<MR, NP>(p, row, g, panel, ahead, p.out + (row * p.ldo + c - p.out_at), p.ldo,
                                         p.bias ? p.bias + c : nullptr,
                                         p.residual ? p.residual + row * p.ldr + c : nullptr, p.ldr);
      // Through memory: an activation's temporaries beside a full set of accumulators would spill anyway.
      alignas(64) float buffer[MR * NP * 16];
      T::template block<MR, NP>(p, row, g, panel, ahead, buffer, NP * 16, nullptr, nullptr, 0);
      switch (p.activation) {
        case SQZ_ACT_GELU: return epilogue<SQZ_ACT_GELU>(buffer, MR, c);
        case SQZ_ACT_GELU_TANH: return epilogue<SQZ_ACT_GELU_TANH>(buffer, MR, c);
        case SQZ_ACT_RELU: return epilogue<SQZ_ACT_RELU>(buffer, MR, c);
        case SQZ_ACT_TANH: return epilogue<SQZ_ACT_TANH>(buffer, MR, c);
        default: return epilogue<SQZ_ACT_NONE>(buffer, MR, c);
      }
    }

    template <sqz_activation A>
    __attribute__((noinline)) void epilogue(const float *buffer, int rows, int64_t c) const {
      for (int j = 0; j < NP; ++j) {
        const int64_t at = c + j * 16;
        const int n = static_cast<int>(min64(16, columns - j * 16));
        const float *from = buffer + j * 16, *r = p.residual ? p.residual + row * p.ldr + at : nullptr;
        float *out = p.out + (row * p.ldo + at - p.out_at);
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
  static void column(const Pwconv &p, int64_t row, int64_t row_end, int64_t g, int64_t o, const uint8_t *panel) {
    const int64_t columns = min64(NP * 16, p.group_out - o), bytes = NP * T::panel_bytes(p), steps = T::steps(p);
    // Tiles of equal height: a low one costs more a row.
    int64_t tiles = (row_end - row + T::kTileRows - 1) / T::kTileRows;
    Ahead ahead = {reinterpret_cast<uintptr_t>(panel) + static_cast<uintptr_t>(bytes), 0};
    if (steps > 0) ahead.step = (bytes + tiles * steps - 1) / (tiles * steps);
    for (; tiles > 0; --tiles) {
      const int64_t rows = (row_end - row + tiles - 1) / tiles;
      with_rows<T::kTileRows>(static_cast<int>(rows), Tile<NP>{p, row, g, o, columns, panel, ahead});
      row += rows;
      ahead.at += static_cast<uintptr_t>(ahead.step * steps);
    }
  }

  // NP = min(kTilePanels, panels left)
  template <int NP>
  static SQZ_INLINE void column_of(int64_t left, const Pwconv &p, int64_t row, int64_t row_end, int64_t g, int64_t o,
                                   const uint8_t *panel) {
    if constexpr (NP > 1) {
      if (left < NP) return column_of<NP - 1>(left, p, row, row_end, g, o, panel);
    }
    column<NP>(p, row, row_end, g, o, panel);
  }

  static void run(const Pwconv &p, int64_t row_begin, int64_t row_end, int64_t panel_begin, int64_t panel_end) {
    const int64_t per_group = p.panels_per_group(), bytes = T::panel_bytes(p);
    for (int64_t panel = panel_begin; panel < panel_end;) {
      const int64_t g = panel / per_group, in_group = panel % per_group;
      const int64_t left = min64(per_group - in_group, panel_end - panel);
      column_of<T::kTilePanels>(left, p, row_begin, row_end, g, in_group * 16,
                                static_cast<const uint8_t *>(p.packed) + panel * bytes);
      panel += min64(T::kTilePanels, left);
    }
  }
};

}  // namespace
}  // namespace sqz

#endif  // SQZ_KERNELS_PWCONV_PWCONV_INL_
