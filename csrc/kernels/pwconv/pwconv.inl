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

#include "kernels/activation/activation_f32.inl"
#include "kernels/kernel.h"
#include "kernels/pwconv/pwconv.h"
#include "simd/microkernel_f32.inl"

namespace sqz {

#ifdef __wasm__  // which is downloaded: each convolution calls the kernel of activations and has no copy of it
extern const Kernel<activation_f32_fn> SQZ_SYMBOL(activation_f32);
#endif

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

// T is a tile: it has the float trait I of its epilogue, kTileRows, kTilePanels, Panels<NP>, panel_bytes(p), steps(p)
// (the iterations of its inner loop) and block<MR, NP>(p, row, g, panel, ahead, ...), which ends in store_tile(...).
// block calls a function of its own with plain arguments: inlined, some compilers keep on the stack what the inner loop
// needs. A is the float trait of activations: I, unless I is slow.
template <class T, class A = typename T::I>
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

    template <int MR>
    SQZ_INLINE void run() const {
      const int64_t c = g * p.group_out + o;
      const float *bias = p.bias ? p.bias + c : nullptr;
      const bool whole = columns == NP * 16;
      if (p.activation == SQZ_ACT_NONE && whole)
        return T::template block<MR, NP>(p, row, g, panel, ahead, p.out + (row * p.ldo + c - p.out_at), p.ldo, bias,
                                         p.residual ? p.residual + row * p.ldr + c : nullptr, p.ldr);
      // Activate in memory: the temporaries of an activation would spill beside a full set of accumulators anyway.
      alignas(64) float buffer[MR * NP * 16];
      T::template block<MR, NP>(p, row, g, panel, ahead, buffer, NP * 16, whole ? bias : nullptr, nullptr, 0);
      if constexpr (NP == 1 && PolynomialTuning<I>::kVectors == 1 && kCopies) {
        if (whole && !p.residual)
          return activate_rows(p.activation, MR, buffer, p.out + (row * p.ldo + c - p.out_at), p.ldo);
      }
      if (!whole && bias) add_rows(buffer, NP * 16, MR, bias, 0, buffer, NP * 16);
      activate(p.activation, MR * NP * 16, buffer);
      add_rows(buffer, NP * 16, MR, p.residual ? p.residual + row * p.ldr + c : nullptr, p.ldr,
               p.out + (row * p.ldo + c - p.out_at), p.ldo);
    }

    // to = from + added, or a copy, for the columns that exist.
    __attribute__((noinline)) void add_rows(const float *from, int64_t ldf, int rows, const float *added, int64_t lda,
                                            float *to, int64_t ldt) const {
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
  };

#ifdef __wasm__
  static constexpr bool kCopies = false;
  static void activate(sqz_activation activation, int64_t n, float *x) {
    SQZ_SYMBOL(activation_f32).run(activation, n, x, x);
  }
#else
  static constexpr bool kCopies = true;
  static __attribute__((noinline)) void activate(sqz_activation activation, int64_t n, float *x) {
    Activation<A>::run(activation, n, x, x);
  }
#endif

  // Activates rows of one vector straight into out.
  static __attribute__((noinline)) void activate_rows(sqz_activation activation, int rows, const float *x, float *out,
                                                      int64_t ldo) {
    Activation<A>::rows(activation, rows, x, out, ldo);
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
      with_rows<T::kTileRows>(static_cast<int>(rows), Tile<NP>{p, row, g, o, columns, panels.begin, ahead});
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
