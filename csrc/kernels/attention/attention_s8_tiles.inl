// Products of int8 attention on tiles: a block of 16 to 32 queries x 2 panels at a time, sums to memory, then the
// epilogue in registers, as in pwconv_s8_tiles.inl. The rest of a head runs on the kernel of another ISA.
#ifndef SQZ_KERNELS_ATTENTION_ATTENTION_S8_TILES_INL_
#define SQZ_KERNELS_ATTENTION_ATTENTION_S8_TILES_INL_

#include "kernels/attention/attention_s8.inl"
#include "simd/tiles_amx.h"

namespace sqz {
namespace {

template <class S, class Tiles>
struct AttentionTiles {
  using Sums = TileSums<Tiles>;
  using Own = AttentionS8<S>;
  static constexpr int kLeastRows = Sums::kRows, kLeastKeys = 17, kBlock = 2 * Sums::kRows, kPanels = 2;
  static constexpr int kTileRows = 8;  // of the epilogue
  static_assert(kBlock <= kAttentionS8MaxRows, "there is scratch memory for a block");

  struct Head : AttentionHeadS8 {
    Sums *tiles;
  };

  // A head of at least kLeastRows queries; from kLeastKeys keys on it gains. `rest` uses no tiles.
  static void run(const AttentionHeadS8 &h, attention_s8_fn rest) {
    static constexpr AttentionProductsS8 products = {block_rows, scores, values};
    Sums tiles(Sums::kRows, PackedS8::steps(h.head_size));
    Head head;
    static_cast<AttentionHeadS8 &>(head) = h;
    head.products = &products;
    head.tiles = &tiles;
    rest(head);
  }

  // Blocks of equal height, so that the last one has kLeastRows too.
  static int64_t block_rows(int64_t left) {
    const int64_t blocks = (left + kBlock - 1) / kBlock;
    return (left + blocks - 1) / blocks;
  }

  static void scores(const AttentionHeadS8 &h, int64_t row, int rows) {
    const typename Own::Scratch s(h);
    const Sums &tiles = tiles_for(h, PackedS8::steps(h.head_size));
    const uint8_t *q = h.q + row * h.ldq;
    float factors[kBlock];
    for (int i = 0; i < rows; ++i) factors[i] = h.q_scales[(row + i) * h.lds] * h.factor;
    const auto run = [&](auto width, int64_t panel) {
      constexpr int NP = decltype(width)::value;
      const uint8_t *k = s.k + panel * s.k_stride;
      multiply<NP>(tiles, q, h.ldq, rows, k, s.k_stride, [&](int i, const auto &sum) {
        Own::template finish_scores<kTileRows, NP>(sum, k, s.k_stride, factors + i, s.l + panel * 16,
                                                   s.scores + i * s.lds + panel * 16, s.lds);
      });
    };
    int64_t panel = 0;
    for (; panel + 1 < s.columns / 16; panel += 2) run(Width<2>(), panel);
    if (panel < s.columns / 16) run(Width<1>(), panel);
  }

  // The keys are rounded up to 64, so that no tile has another depth or needs a copy: the bytes of probabilities there
  // are 0. What is multiplied by them lies behind a panel; behind the last one begins other scratch memory.
  static void values(const AttentionHeadS8 &h, int64_t row, int rows, const float *factors) {
    const typename Own::Scratch s(h);
    const Sums &tiles = tiles_for(h, (s.columns + 63) / 64 * 16);
    const auto run = [&](auto width, int64_t d) {
      constexpr int NP = decltype(width)::value;
      const uint8_t *v = s.v + d / 16 * s.v_stride;
      multiply<NP>(tiles, s.p, s.ldp, rows, v, s.v_stride, [&](int i, const auto &sum) {
        Own::template finish_values<kTileRows, NP>(
            sum, v, s.v_stride, factors + i, h.value_scale ? h.value_scale + d : nullptr,
            h.value_bias ? h.value_bias + d : nullptr, h.out + (row + i) * h.ldo + d, h.ldo, h.head_size - d);
      });
    };
    int64_t d = 0;
    for (; d + 32 <= h.head_size; d += 32) run(Width<2>(), d);
    for (; d < h.head_size; d += 16) run(Width<1>(), d);
  }

 private:
  template <int NP>
  struct Width {
    static constexpr int value = NP;
  };

  static SQZ_INLINE const Sums &tiles_for(const AttentionHeadS8 &h, int64_t steps) {
    Sums &tiles = *static_cast<const Head &>(h).tiles;
    tiles.change_steps(steps);
    return tiles;
  }

  // The sums of a block of rows and of NP panels. The last tile of the epilogue may compute rows again.
  template <int NP, class Finish>
  static SQZ_INLINE void multiply(const Sums &tiles, const uint8_t *a, int64_t lda, int rows, const uint8_t *panel,
                                  int64_t stride, const Finish &finish) {
    alignas(64) int32_t sums[kBlock * 16 * NP];
    tiles.template block<NP>(a, lda, rows - Sums::kRows, reinterpret_cast<const int8_t *>(panel) + PackedS8::kHead,
                             stride, sums, TilesAhead{0, 0});
    for (int i = 0; i < rows; i += kTileRows) {
      const int first = i + kTileRows <= rows ? i : rows - kTileRows;
      typename S::Sum sum[kTileRows][NP];
      load_sums<S, kTileRows, NP>(sums + first * 16 * NP, panel, stride, sum);
      finish(first, sum);
    }
  }
};

}  // namespace
}  // namespace sqz

#endif  // SQZ_KERNELS_ATTENTION_ATTENTION_S8_TILES_INL_
