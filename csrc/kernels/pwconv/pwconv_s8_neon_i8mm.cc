// Rows and panels are rearranged in pairs on the stack: rows of a group once for all its panels, and a panel once for
// all those rows. With few rows, or with more channels than there is room for, sdot is faster.
#include "kernels/pwconv/pwconv_s8.inl"
#include "simd/microkernel_s8_neon.inl"

namespace sqz {
namespace {

using Dotprod = ConvolveS8<S8Neon, MultiplyS8Dotprod>;

struct I8mmTile {
  using I = S8Neon::Float;
  using L = MultiplyS8I8mm;
  static constexpr int kTileRows = L::kTileRows;

  static int64_t steps(const Pwconv &p) { return (p.group_in + 7) / 8; }
  static int64_t panel_bytes(const Pwconv &p) { return PackedS8::kHead + 128 * steps(p); }

  // p.q and p.scales are those of the rows in pairs.
  template <int MR, int NP>
  static SQZ_INLINE void block(const Pwconv &p, int64_t row, int64_t g, const uint8_t *panel, Ahead ahead, float *out,
                               int64_t ldo, const float *bias, const float *residual, int64_t ldr) {
    multiply<MR>(steps(p), p.q + row * p.ldq, p.ldq, panel, ahead, p.scales + row * p.groups + g, p.groups, out, ldo,
                 bias, residual, ldr);
  }

  template <int MR>
  static __attribute__((noinline)) void multiply(int64_t steps, const uint8_t *q, int64_t ldq, const uint8_t *panel,
                                                 Ahead ahead, const float *scales, int64_t lds, float *out, int64_t ldo,
                                                 const float *bias, const float *residual, int64_t ldr) {
    S8Neon::Sum sum[MR][1];
    L::multiply<MR>(steps, q, ldq, reinterpret_cast<const int8_t *>(panel) + PackedS8::kHead,
                    reinterpret_cast<const int32_t *>(panel), sum, ahead);
    finish_s8<S8Neon, MR, 1>(sum, panel, 0, scales, lds, out, ldo, bias, residual, ldr);
  }
};

struct ConvolveI8mm {
  static constexpr int64_t kFewRows = 8, kMostIn = 1024, kRowBytes = 48 * 1024;

  static void run(const Pwconv &p, int64_t row_begin, int64_t row_end, int64_t panel_begin, int64_t panel_end) {
    if (row_end - row_begin < kFewRows || p.group_in > kMostIn || p.group_in == 0)
      return Dotprod::run(p, row_begin, row_end, panel_begin, panel_end);
    alignas(64) uint8_t rows[kRowBytes], panel[PackedS8::kHead + 16 * kMostIn];
    const int64_t per_group = p.panels_per_group(), width = I8mmTile::steps(p) * 8;
    const int64_t height = kRowBytes / width / I8mmTile::kTileRows * I8mmTile::kTileRows;
    for (int64_t first = panel_begin; first < panel_end;) {
      const int64_t g = first / per_group, end = min64((g + 1) * per_group, panel_end);
      for (int64_t row = row_begin; row < row_end; row += height) {
        Pwconv part = p;
        const int64_t count = min64(height, row_end - row);
        MultiplyS8I8mm::pair_rows(count, QuantizeRows::width(p.group_in),
                                  p.q + row * p.ldq + g * QuantizeRows::width(p.group_in), p.ldq, rows);
        part.q = rows;
        part.ldq = width;
        part.scales += row * p.groups;
        part.out_at -= row * p.ldo;
        if (p.residual) part.residual += row * p.ldr;
        for (int64_t i = first; i < end; ++i) {
          const int64_t bytes = PackedS8::panel_bytes(p.group_in);
          const uint8_t *packed = static_cast<const uint8_t *>(p.packed) + i * bytes;
          memcpy(panel, packed, PackedS8::kHead);
          MultiplyS8I8mm::pair_steps(PackedS8::steps(p.group_in),
                                     reinterpret_cast<const int8_t *>(packed) + PackedS8::kHead,
                                     reinterpret_cast<int8_t *>(panel) + PackedS8::kHead);
          column(part, count, g, i % per_group * 16, panel, packed + bytes);
        }
      }
      first = end;
    }
  }

  // All rows of `p`; `next` is what is needed after this panel.
  static void column(const Pwconv &p, int64_t rows, int64_t g, int64_t o, const uint8_t *panel, const uint8_t *next) {
    const int64_t tiles = (rows + I8mmTile::kTileRows - 1) / I8mmTile::kTileRows, steps = tiles * I8mmTile::steps(p);
    Ahead ahead = {reinterpret_cast<uintptr_t>(next), (PackedS8::panel_bytes(p.group_in) + steps - 1) / steps};
    for (int64_t row = 0; row < rows; row += I8mmTile::kTileRows) {
      const Convolve<I8mmTile>::Tile<1> tile = {p, row, g, o, min64(16, p.group_out - o), panel, ahead};
      with_rows<I8mmTile::kTileRows>(static_cast<int>(min64(I8mmTile::kTileRows, rows - row)), tile);
      ahead.at += static_cast<uintptr_t>(ahead.step * I8mmTile::steps(p));
    }
  }
};

}  // namespace

extern const pwconv_s8_fn pwconv_s8_neon_i8mm = ConvolveI8mm::run;

}  // namespace sqz
