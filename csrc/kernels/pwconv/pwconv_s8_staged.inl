// Pointwise convolution of bytes whose inner loop L wants rows, and perhaps panels, in another order. They are
// rearranged on the stack: the rows of a group once for all of its panels, and a panel once for all of these rows.
#ifndef SQZ_KERNELS_PWCONV_PWCONV_S8_STAGED_INL_
#define SQZ_KERNELS_PWCONV_PWCONV_S8_STAGED_INL_

#include "kernels/pwconv/pwconv_s8.inl"

namespace sqz {
namespace {

template <class L>
struct StagedTile {
  using I = S8Neon::Epilogue;
  static constexpr int kTileRows = L::kTileRows;

  // p.q holds the rearranged rows of this group only.
  template <int NP>
  static SQZ_INLINE void block(int rows, const Pwconv &p, int64_t row, int64_t g, const uint8_t *panel, Ahead ahead,
                               float *out, int64_t ldo, const float *bias, const float *residual, int64_t ldr) {
    call_tile<StagedTile, NP>(rows, [&](auto multiply) SQZ_INLINE_LAMBDA {
      multiply(PackedS8::steps(p.group_in), p.q + row * p.ldq, panel, ahead, p.scales + row * p.groups + g, p.groups,
               out, ldo, bias, residual, ldr);
    });
  }

  template <int MR, int NP>
  static __attribute__((noinline)) void multiply(int64_t steps, const uint8_t *q, const uint8_t *panel, Ahead ahead,
                                                 const float *scales, int64_t lds, float *out, int64_t ldo,
                                                 const float *bias, const float *residual, int64_t ldr) {
    S8Neon::Sum sum[MR][1];
    L::template multiply<MR>(steps, q, reinterpret_cast<const int8_t *>(panel) + PackedS8::kHead,
                             reinterpret_cast<const int32_t *>(panel), sum, ahead);
    finish_s8<S8Neon, MR, 1>(sum, panel, 0, scales, lds, out, ldo, bias, residual, ldr);
  }
};

// Takes up to 66 KB of stack. Otherwise computes few rows, and groups with more channels than there is room for.
template <class L, class Otherwise>
struct ConvolveStaged {
  using Tile = typename Convolve<StagedTile<L>>::template Tile<1>;
  static constexpr int64_t kRowBytes = 48 * 1024;
  static_assert(kRowBytes >= (L::kMostIn + 16) * L::kTileRows, "room for a tile");

  static void run(const Pwconv &p, int64_t row_begin, int64_t row_end, int64_t panel_begin, int64_t panel_end) {
    if (row_end - row_begin < L::kLeastRows || p.group_in > L::kMostIn || p.group_in == 0)
      return Otherwise::run(p, row_begin, row_end, panel_begin, panel_end);
    alignas(64) uint8_t rows[kRowBytes], panel[L::kPanelBytes];
    const int64_t per_group = p.panels_per_group(), steps = PackedS8::steps(p.group_in), ldq = L::row_bytes(steps);
    const int64_t bytes = PackedS8::panel_bytes(p.group_in);
    // Split the rows into as few parts as there is room for, of about equal height: each part reads the weights again.
    const int64_t most = kRowBytes / ldq / L::kTileRows * L::kTileRows, parts = (row_end - row_begin + most - 1) / most;
    const int64_t height = round_up((row_end - row_begin + parts - 1) / parts, L::kTileRows);
    for (int64_t first = panel_begin; first < panel_end;) {
      const int64_t g = first / per_group, end = min64((g + 1) * per_group, panel_end);
      for (int64_t row = row_begin; row < row_end; row += height) {
        const int64_t count = min64(height, row_end - row);
        Pwconv part = p;
        part.q = rows;
        part.ldq = ldq;
        part.scales += row * p.groups;
        part.out_at -= row * p.ldo;
        if (p.residual) part.residual += row * p.ldr;
        for (int64_t i = 0; i < count; i += L::kTileRows)
          L::stage_rows(min64(L::kTileRows, count - i), 4 * steps, p.q + (row + i) * p.ldq + g * 4 * steps, p.ldq,
                        rows + i * ldq);
        for (int64_t i = first; i < end; ++i) {
          const uint8_t *packed = static_cast<const uint8_t *>(p.packed) + i * bytes;
          column(part, count, g, i % per_group * 16, L::stage_panel(steps, packed, panel), packed + bytes);
        }
      }
      first = end;
    }
  }

  // One panel for all rows of `p`; `next` is what to prefetch.
  static void column(const Pwconv &p, int64_t rows, int64_t g, int64_t o, const uint8_t *panel, const uint8_t *next) {
    const int64_t steps = PackedS8::steps(p.group_in), turns = (rows + L::kTileRows - 1) / L::kTileRows * steps;
    Ahead ahead = {reinterpret_cast<uintptr_t>(next), (PackedS8::panel_bytes(p.group_in) + turns - 1) / turns};
    for (int64_t row = 0; row < rows; row += L::kTileRows) {
      Tile{p, row, g, o, min64(16, p.group_out - o), panel, ahead}.run(
          static_cast<int>(min64(L::kTileRows, rows - row)));
      ahead.at += static_cast<uintptr_t>(ahead.step * steps);
    }
  }
};

using ConvolveS8Dotprod = ConvolveStaged<MultiplyS8DotprodStaged, ConvolveS8<S8Neon, MultiplyS8Dotprod>>;

}  // namespace
}  // namespace sqz

#endif  // SQZ_KERNELS_PWCONV_PWCONV_S8_STAGED_INL_
