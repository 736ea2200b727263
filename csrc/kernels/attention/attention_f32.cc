// Attention of one head: a block of query rows against all keys.
//   scores  = scale (q k^T), one chain over the head's elements   K is transposed to panels of 16 keys first
//   softmax = rows of scores, in place                            (kernels/softmax)
//   out     = p v, one chain over the keys, ascending             V is read in place
// There is no online rescaling: it would tie the bits to the tile.
//
//            scores   values   registers: accumulators, panels, broadcast          % of peak at 16, 32, 128, 384 tokens
//   AVX-512  12 x 2   6 x 4    24 + 2 + 1 and 24 + 4 + 1 of 32                      45, 61, 75, 72
//   AVX2      6 x 1   6 x 1    12 + 2 + 1 of 16 (a panel is two registers)          57, 63, 74, 71
//   SSE2      2 x 1   2 x 1    8 + 1 + 1 of 16 (the panel is read from memory)      48 at 128
//   NEON 64   4 x 1   4 x 1    16 + 8 + 8 of 32 (a panel is four registers)
//   NEON 32   2 x 1   2 x 1    8 + 4 + 1 of 16
//
// Tiles are rows x panels. The shares are for 12 heads of 64 on one thread of a busy machine; the time of softmax
// counts, its operations do not. On a quiet machine AVX-512 reaches 52, 69, 80 and 77 %, AVX2 81 % at 128. At 128
// tokens the products take four fifths of the time, within a few per cent of peak; softmax and packing take the rest.
//
// Measured and rejected: 12 x 2 for values too (V is read twice: 4 points less at 128), 8 x 3 for scores, 4 x 4 for
// values and 6 x 4 for scores (up to 3 points less at 384), blocks of 16 or 24 rows (no gain), prefetching the next
// keys and their values while packing (no gain). Not done: packing K once for all parts of a head's queries, which
// needs another barrier of the threads and would save what two queries cost.
#include "kernels/attention/attention.h"

#include "kernels/softmax/softmax_f32.inl"
#include "kernels/target.h"
#include "simd/microkernel_f32.inl"

namespace sqz {
namespace {

// A tile of scores is kScoreRows queries by kScorePanels panels of 16 keys, a tile of values kValueRows queries by
// kValuePanels panels of 16 elements. A block has kBlockRows queries, a multiple of both heights.
template <int ScoreRows, int ScorePanels, int ValueRows, int ValuePanels, int BlockRows>
struct AttentionTiles {
  static constexpr int kScoreRows = ScoreRows, kScorePanels = ScorePanels, kValueRows = ValueRows,
                       kValuePanels = ValuePanels, kBlockRows = BlockRows;
};
struct F32Avx512;
struct F32Neon;
template <class I>
struct LeastBlock : TileSize<8, 1> {
  static_assert(!__is_base_of(F32Neon, I), SQZ_DERIVED_TRAIT);
};
template <>
struct LeastBlock<F32Neon> : TileSize<16, 1> {};
template <class I, int Rows>
using OnePanel = AttentionTiles<Rows, 1, Rows, 1, (LeastBlock<I>::kTileRows + Rows - 1) / Rows * Rows>;
template <class I>
struct AttentionTuning : OnePanel<I, tile_rows<I>()> {
  static_assert(!__is_base_of(F32Avx512, I), SQZ_DERIVED_TRAIT);
};
template <>
struct AttentionTuning<F32Avx512> : AttentionTiles<12, 2, 6, 4, 12> {};

template <class I>
struct Attention {
  using V = typename I::V;
  using Tuning = AttentionTuning<I>;
  static constexpr int kScoreRows = Tuning::kScoreRows, kValueRows = Tuning::kValueRows;
  static_assert(Tuning::kBlockRows <= kAttentionMaxRows, "the scratch memory holds kAttentionMaxRows rows of scores");
  static_assert(Tuning::kBlockRows <= Softmax<I>::kBlockRows, "softmax takes at most kBlockRows rows at once");

  static SQZ_INLINE void pack_keys(const AttentionHead &h, float *packed) {
    for (int64_t key = 0; key < h.keys; key += 16) {
      // Lanes beyond the last key repeat it; their scores are not used.
      const float *rows[16];
      for (int i = 0; i < 16; ++i) rows[i] = h.k + min64(key + i, h.keys - 1) * h.ldk;
      int64_t d = 0;
      for (; d + 16 <= h.head_size; d += 16) {
        I::transpose(rows, packed);
        packed += 256;
        for (int i = 0; i < 16; ++i) rows[i] += 16;
      }
      for (; d < h.head_size; ++d)
        for (int i = 0; i < 16; ++i) *packed++ = *rows[i]++;
    }
  }

  // Copies the columns behind the last whole panel of V to a panel of 16: partial loads would take registers for their
  // masks.
  static SQZ_INLINE void pack_values(const AttentionHead &h, float *packed) {
    const int64_t begin = h.head_size / 16 * 16;
    if (begin == h.head_size) return;
    for (int64_t key = 0; key < h.keys; ++key)
      I::store(packed + key * 16, I::load_n(h.v + key * h.ldv + begin, static_cast<int>(h.head_size - begin)));
  }

  struct Scores {
    const AttentionHead &h;
    const float *packed;
    int64_t row;
    float *s;
    int64_t lds;

    // Not inline, and neither is the tile of values: with all tiles in one function the inner loops spill pointers.
    template <int MR, int NP>
    __attribute__((noinline)) static void tile(const float *q, int64_t ldq, int64_t head_size, const float *packed,
                                               float scale, float *s, int64_t lds) {
      V acc[MR][NP];
      multiply_tile<I, MR, NP>(head_size, q, ldq, packed, 16, 16 * head_size, acc);
      const V by = I::set1(scale);
#pragma GCC unroll 16
      for (int i = 0; i < MR; ++i)
#pragma GCC unroll 4
        for (int j = 0; j < NP; ++j) I::store(s + i * lds + j * 16, I::mul(acc[i][j], by));
    }
    template <int MR>
    SQZ_INLINE void run() const {
      const int64_t panels = lds / 16 - 1;
      for (int64_t panel = 0; panel < panels;) panel += next<MR, Tuning::kScorePanels>(panel, panels - panel);
    }
    // Computes the next tile. A tile of one panel takes almost as long as one of two, so it is used for a single
    // remaining panel only.
    template <int MR, int NP>
    SQZ_INLINE int64_t next(int64_t panel, int64_t left) const {
      if constexpr (NP > 1) {
        if (left < NP || (NP > 2 && left == NP + 1)) return next<MR, NP - 1>(panel, left);
      }
      tile<MR, NP>(h.q + row * h.ldq, h.ldq, h.head_size, packed + panel * 16 * h.head_size, h.scale, s + panel * 16,
                   lds);
      return NP;
    }
  };

  struct Values {
    const AttentionHead &h;
    const float *tail;  // from pack_values
    const float *p;
    int64_t lds, row;

    template <int MR, int NP>
    __attribute__((noinline)) static void tile(const float *p, int64_t lds, int64_t keys, const float *v, int64_t ldv,
                                               float *out, int64_t ldo, int64_t columns) {
      V acc[MR][NP];
      multiply_tile<I, MR, NP>(keys, p, lds, v, ldv, 16, acc);
#pragma GCC unroll 16
      for (int i = 0; i < MR; ++i) {
#pragma GCC unroll 4
        for (int j = 0; j < NP; ++j) {
          if (NP == 1 && columns < 16)
            I::store_n(out + i * ldo, acc[i][j], static_cast<int>(columns));
          else
            I::store(out + i * ldo + j * 16, acc[i][j]);
        }
      }
    }
    template <int MR>
    SQZ_INLINE void run() const {
      for (int64_t d = 0; d < h.head_size;) d += next<MR, Tuning::kValuePanels>(d, h.head_size - d);
    }
    template <int MR, int NP>
    SQZ_INLINE int64_t next(int64_t d, int64_t left) const {
      if constexpr (NP > 1) {
        if (left < NP * 16) return next<MR, NP - 1>(d, left);
      }
      tile<MR, NP>(p, lds, h.keys, left < 16 ? tail : h.v + d, left < 16 ? 16 : h.ldv, h.out + row * h.ldo + d, h.ldo,
                   left);
      return NP * 16;
    }
  };

  static SQZ_INLINE bool excluded(const AttentionHead &h, const void *mask, int64_t key) {
    if (h.mask_kind == SQZ_MASK_BOOL) return static_cast<const uint8_t *>(mask)[key] == 0;
    return static_cast<const float *>(mask)[key] < -3.40282347e+38f;
  }

  // The values of one row without the excluded keys, so that NaN in their rows of V cannot leak.
  static SQZ_INLINE void masked_values(const AttentionHead &h, const void *mask, const float *p, float *out) {
    for (int64_t d = 0; d < h.head_size; d += 64) {
      const int n = static_cast<int>(min64(64, h.head_size - d));
      V acc[4] = {I::zero(), I::zero(), I::zero(), I::zero()};
      for (int64_t key = 0; key < h.keys; ++key) {
        if (excluded(h, mask, key)) continue;
        const V w = I::set1(p[key]);
        const float *v = h.v + key * h.ldv + d;
        for (int j = 0; j * 16 < n; ++j)
          acc[j] = I::fma(w, n - j * 16 >= 16 ? I::load(v + j * 16) : I::load_n(v + j * 16, n - j * 16), acc[j]);
      }
      for (int j = 0; j * 16 < n; ++j) {
        if (n - j * 16 >= 16)
          I::store(out + d + j * 16, acc[j]);
        else
          I::store_n(out + d + j * 16, acc[j], n - j * 16);
      }
    }
  }

  static SQZ_INLINE void masked_scores(const AttentionHead &h, const void *mask, const float *s, float *out) {
    for (int64_t key = 0; key < h.keys; ++key) {
      float v = s[key];
      if (h.mask_kind == SQZ_MASK_ADD) v = v + static_cast<const float *>(mask)[key];
      out[key] = h.mask_kind != SQZ_MASK_NONE && excluded(h, mask, key) ? minus_infinity() : v;
    }
  }

  static SQZ_INLINE void run(const AttentionHead &h) {
    const int64_t lds = AttentionHead::key_columns(h.keys) + 16;
    float *packed = h.scratch, *s = packed + (lds - 16) * h.head_size;
    float *tail = s + kAttentionMaxRows * lds;
    pack_keys(h, packed);
    if (!h.scores) pack_values(h, tail);
    const int64_t mask_bytes = h.mask_stride * (h.mask_kind == SQZ_MASK_ADD ? 4 : 1);
    for (int64_t row = 0; row < h.queries; row += Tuning::kBlockRows) {
      const int rows = static_cast<int>(min64(Tuning::kBlockRows, h.queries - row));
      for (int i = 0; i < rows; i += kScoreRows)
        with_rows<kScoreRows>(static_cast<int>(min64(kScoreRows, rows - i)),
                              Scores{h, packed, row + i, s + i * lds, lds});
      if (h.mask_kind == SQZ_MASK_NONE && !h.scores) {
        if (h.keys > 0) Softmax<I>::template block<true>(rows, h.keys, s, lds);
        for (int i = 0; i < rows; i += kValueRows)
          with_rows<kValueRows>(static_cast<int>(min64(kValueRows, rows - i)),
                                Values{h, tail, s + i * lds, lds, row + i});
        continue;
      }
      for (int i = 0; i < rows; ++i) {
        const void *mask = static_cast<const char *>(h.mask) + (row + i) * mask_bytes;
        float *p = s + i * lds, *out = h.out + (row + i) * h.ldo;
        if (h.scores) {
          masked_scores(h, mask, p, h.scores + (row + i) * h.keys);
        } else if (Softmax<I>::row(h.keys, p, mask, h.mask_kind, 1.0f, p)) {
          masked_values(h, mask, p, out);
        } else {
          Softmax<I>::fill(h.keys, h.fully_masked, p);
          if (h.fully_masked == SQZ_MASKED_ZERO)
            for (int64_t d = 0; d < h.head_size; ++d) out[d] = 0.0f;
          else
            Values{h, tail, p, lds, row + i}.template run<1>();
        }
      }
    }
  }
};

}  // namespace

using Tuning = AttentionTuning<Floats>;
SQZ_KERNEL(attention_f32, Attention<Floats>::run,
           tile_of(Tuning::kScoreRows, 16 * Tuning::kScorePanels, Tuning::kValueRows, 16 * Tuning::kValuePanels));

}  // namespace sqz
