// Attention of one head: a block of query rows against all keys.
//   scores  = q k^T, one chain over the head's elements        K is packed to panels of 16 keys first
//   softmax = rows of scores, scale and mask inside            (kernels/softmax)
//   out     = p v, one chain over the keys, ascending          V is read in place
// No online rescaling: it would tie the bits to the tile.
#include "kernels/attention/attention.h"
#include "kernels/softmax/softmax_f32.inl"
#include "simd/microkernel_f32.inl"

namespace sqz {
namespace {

template <class I>
struct Attention {
  using V = typename I::V;
  static_assert(I::kTileRows <= kAttentionMaxRows, "the scratch memory holds kAttentionMaxRows rows of scores");

  static SQZ_INLINE void pack_keys(const AttentionHead &h, float *packed) {
    for (int64_t key0 = 0; key0 < h.keys; key0 += 16) {
      const int64_t valid = min64(16, h.keys - key0);
      for (int64_t d = 0; d < h.head_size; ++d)
        for (int64_t lane = 0; lane < 16; ++lane) *packed++ = lane < valid ? h.k[(key0 + lane) * h.ldk + d] : 0.0f;
    }
  }

  struct Scores {
    const AttentionHead &h;
    const float *packed;
    int64_t row;
    float *s;
    int64_t lds;

    // Not inline, nor is the other: with all tiles in one function the pointers of the inner loops spill.
    template <int MR, int NP>
    __attribute__((noinline)) void columns(int64_t key0) const {
      V acc[MR][NP];
      multiply_tile<I, MR, NP>(h.head_size, h.q + row * h.ldq, h.ldq, packed + key0 * h.head_size, 16, 16 * h.head_size,
                               acc);
#pragma GCC unroll 8
      for (int i = 0; i < MR; ++i)
#pragma GCC unroll 4
        for (int j = 0; j < NP; ++j) I::store(s + i * lds + key0 + j * 16, acc[i][j]);
    }
    template <int MR>
    SQZ_INLINE void run() const {
      int64_t key = 0;
      for (; key + I::kTilePanels * 16 <= lds - 16; key += I::kTilePanels * 16) columns<MR, I::kTilePanels>(key);
      for (; key < lds - 16; key += 16) columns<MR, 1>(key);
    }
  };

  struct Values {
    const AttentionHead &h;
    const float *p;
    int64_t lds, row;

    template <int MR, int NP, bool kPartial>
    __attribute__((noinline)) void columns(int64_t d, int valid) const {
      V acc[MR][NP];
      multiply_tile<I, MR, NP, kPartial>(h.keys, p, lds, h.v + d, h.ldv, 16, acc, valid);
#pragma GCC unroll 8
      for (int i = 0; i < MR; ++i) {
#pragma GCC unroll 4
        for (int j = 0; j < NP; ++j) {
          float *out = h.out + (row + i) * h.ldo + d + j * 16;
          if (kPartial)
            I::store_n(out, acc[i][j], valid);
          else
            I::store(out, acc[i][j]);
        }
      }
    }
    template <int MR>
    SQZ_INLINE void run() const {
      int64_t d = 0;
      for (; d + I::kTilePanels * 16 <= h.head_size; d += I::kTilePanels * 16)
        columns<MR, I::kTilePanels, false>(d, 16);
      for (; d + 16 <= h.head_size; d += 16) columns<MR, 1, false>(d, 16);
      if (d < h.head_size) columns<MR, 1, true>(d, static_cast<int>(h.head_size - d));
    }
  };

  static SQZ_INLINE bool excluded(const AttentionHead &h, const void *mask, int64_t key) {
    if (h.mask_kind == SQZ_MASK_BOOL) return static_cast<const uint8_t *>(mask)[key] == 0;
    return static_cast<const float *>(mask)[key] < -3.40282347e+38f;
  }

  // The value sum of one row that skips excluded keys, so that NaN in their rows of V cannot leak.
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
      float v = s[key] * h.scale;
      if (h.mask_kind == SQZ_MASK_ADD) v = v + static_cast<const float *>(mask)[key];
      out[key] = h.mask_kind != SQZ_MASK_NONE && excluded(h, mask, key) ? minus_infinity() : v;
    }
  }

  static SQZ_INLINE void run(const AttentionHead &h) {
    const int64_t lds = AttentionHead::key_columns(h.keys) + 16;
    float *packed = h.scratch, *s = packed + (lds - 16) * h.head_size;
    pack_keys(h, packed);
    const int64_t mask_bytes = h.mask_stride * (h.mask_kind == SQZ_MASK_ADD ? 4 : 1);
    for (int64_t row = 0; row < h.queries; row += I::kTileRows) {
      const int rows = static_cast<int>(min64(I::kTileRows, h.queries - row));
      with_rows<I::kTileRows>(rows, Scores{h, packed, row, s, lds});
      if (h.mask_kind == SQZ_MASK_NONE && !h.scores) {
        for (int i = 0; i < rows; ++i)
          Softmax<I>::template row<SQZ_MASK_NONE>(h.keys, s + i * lds, nullptr, h.scale, s + i * lds);
        with_rows<I::kTileRows>(rows, Values{h, s, lds, row});
        continue;
      }
      for (int i = 0; i < rows; ++i) {
        const void *mask = static_cast<const char *>(h.mask) + (row + i) * mask_bytes;
        float *p = s + i * lds, *out = h.out + (row + i) * h.ldo;
        if (h.scores) {
          masked_scores(h, mask, p, h.scores + (row + i) * h.keys);
        } else if (Softmax<I>::row(h.keys, p, mask, h.mask_kind, h.scale, p)) {
          masked_values(h, mask, p, out);
        } else {
          Softmax<I>::fill(h.keys, h.fully_masked, p);
          if (h.fully_masked == SQZ_MASKED_ZERO)
            for (int64_t d = 0; d < h.head_size; ++d) out[d] = 0.0f;
          else
            Values{h, p, lds, row + i}.template run<1>();
        }
      }
    }
  }
};

}  // namespace
}  // namespace sqz
