// Pointwise convolution: tiles, columns, and the epilogue. The tile itself is in pwconv_float.inl or pwconv_s8.inl.
//
// clang-format off
//          panels:  0     1     2
//   rows 0..7    [tile of 24 vectors]
//   rows 8..15   [                  ]
//   ...
// clang-format on
//
// A tile of kTileRows x (kTilePanels * 16) outputs stays in registers over the whole depth: one chain of additions per
// output, because split-K would change the bits of floats. A column is the tiles below each other, so that its weights,
// which may come from memory, are used by all rows of a block in turn.
//
// While a column is computed the weights of the next one are prefetched, spread evenly over its tiles: memory is read
// all the time and not only during the first tile of a column. That goes on past the end of the array, because a
// model's convolutions lie one after the other.
#ifndef SQZ_KERNELS_PWCONV_PWCONV_INL_
#define SQZ_KERNELS_PWCONV_PWCONV_INL_

#include "kernels/pwconv/pwconv.h"
#include "simd/microkernel_f32.inl"
#include "simd/pair.h"

namespace sqz {
namespace {

// The epilogue without an activation, in registers: out = (acc + bias) + residual.
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

// Where the tiles of a column read its panels: in the packed weights.
struct PanelsInPlace {
  const uint8_t *begin;
  SQZ_INLINE PanelsInPlace(const Pwconv &, const uint8_t *packed) : begin(packed) {}
};

// Calls f(multiply<rows, NP>) of a tile T.
template <class T, int NP, class F>
struct CallTile {
  const F &f;
  template <int MR>
  SQZ_INLINE void run() const {
    f(T::template multiply<MR, NP>);
  }
};
template <class T, int NP, class F>
SQZ_INLINE void call_tile(int rows, const F &f) {
  with_rows<T::kTileRows>(rows, CallTile<T, NP, F>{f});
}

// T is a tile: it has the float trait I of its epilogue, kTileRows, kTilePanels, Panels<NP>, panel_bytes(p), steps(p)
// (the iterations of its inner loop) and block<NP>(rows, p, row, g, panel, ahead, ...), which calls multiply<rows, NP>,
// which ends in store_tile(...). That is a function of its own with plain arguments: inlined, some compilers keep on
// the stack what the inner loop needs.
template <class T>
struct Convolve {
  using I = typename T::I;
  using V = typename I::V;

  // One tile: rows from `row`, NP panels from output channel `o` of group g, packed at `panel`. The group has `columns`
  // of these output channels.
  template <int NP>
  struct Tile {
    const Pwconv &p;
    int64_t row, g, o, columns;
    const uint8_t *panel;
    Ahead ahead;

    SQZ_INLINE void run(int rows) const {
      const int64_t c = g * p.group_out + o;
      const float *bias = p.bias ? p.bias + c : nullptr,
                  *residual = p.residual ? p.residual + row * p.ldr + c : nullptr;
      float *out = p.out + (row * p.ldo + c - p.out_at);
      const bool whole = columns == NP * 16, direct = p.activation == SQZ_ACT_NONE && whole;
      // Activate in memory: the temporaries of an activation would spill beside a full set of accumulators anyway.
      alignas(64) float buffer[T::kTileRows * NP * 16];
      T::template block<NP>(rows, p, row, g, panel, ahead, direct ? out : buffer, direct ? p.ldo : NP * 16,
                            whole ? bias : nullptr, direct ? residual : nullptr, p.ldr);
      if (direct) return;
      if constexpr (NP == 1 && PolynomialTuning<I>::kVectors == 1) {
        if (whole && !residual) return p.activate(p.activation, rows * 16, buffer, out, p.ldo);
      }
      if (!whole && bias) add_rows(columns, buffer, NP * 16, rows, bias, 0, buffer, NP * 16);
      p.activate(p.activation, rows * NP * 16, buffer, buffer, 16);
      add_rows(columns, buffer, NP * 16, rows, residual, p.ldr, out, p.ldo);
    }
  };

  // to = from + added, or a copy, for the columns that exist. Not a member of Tile, which would then lie in memory.
  static __attribute__((noinline)) void add_rows(int64_t columns, const float *from, int64_t ldf, int rows,
                                                 const float *added, int64_t lda, float *to, int64_t ldt) {
    for (int i = 0; i < rows; ++i) {
      for (int64_t j = 0; j < columns; j += 16) {
        const int n = static_cast<int>(min64(16, columns - j));
        V v = I::load(from + i * ldf + j);
        if (added) v = I::add(v, n == 16 ? I::load(added + i * lda + j) : I::load_n(added + i * lda + j, n));
        if (n == 16)
          I::store(to + i * ldt + j, v);
        else
          I::store_n(to + i * ldt + j, v, n);
      }
    }
  }

  template <int NP>
  static void column(const Pwconv &p, int64_t row, int64_t row_end, int64_t g, int64_t o, const uint8_t *packed) {
    const int64_t columns = min64(NP * 16, p.group_out - o), bytes = NP * T::panel_bytes(p), steps = T::steps(p);
    // Tiles of equal height, because a low tile costs more per row.
    int64_t tiles = (row_end - row + T::kTileRows - 1) / T::kTileRows;
    const typename T::template Panels<NP> panels(p, packed);
    Ahead ahead = {reinterpret_cast<uintptr_t>(packed) + static_cast<uintptr_t>(bytes), 0};
    if (steps > 0) ahead.step = (bytes + tiles * steps - 1) / (tiles * steps);
    for (; tiles > 0; --tiles) {
      const int64_t rows = (row_end - row + tiles - 1) / tiles;
      Tile<NP>{p, row, g, o, columns, panels.begin, ahead}.run(static_cast<int>(rows));
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
    static_assert(T::kTilePanels <= kPwconvPanels, "kPwconvPanels is the width of the widest tile");
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
