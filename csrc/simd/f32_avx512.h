// 16-lane float vector on AVX-512 (F, BW, DQ, VL): one zmm register, masks in k registers.
#ifndef SQZ_SIMD_F32_AVX512_H_
#define SQZ_SIMD_F32_AVX512_H_

#include <immintrin.h>

#include "simd/common.h"

namespace sqz {
namespace {

struct F32Avx512 : FloatDefaults<F32Avx512> {
  using V = __m512;
  using M = __mmask16;

  static constexpr int kLanes = 16;
  static constexpr int kRegisters = 32, kVectorRegisters = 1;
  static constexpr int kOwnTileRows = 0;

  static SQZ_INLINE V zero() { return _mm512_setzero_ps(); }
  static SQZ_INLINE V set1(float a) { return _mm512_set1_ps(a); }
  static SQZ_INLINE V load(const float *p) { return _mm512_loadu_ps(p); }
  static SQZ_INLINE V load_n(const float *p, int n) { return _mm512_maskz_loadu_ps(tail(n), p); }
  static SQZ_INLINE V load_half(const uint16_t *p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i *>(p)));
  }
  static SQZ_INLINE V load_half_n(const uint16_t *p, int n) {
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(tail(n), p));
  }
  static SQZ_INLINE void store(float *p, V a) { _mm512_storeu_ps(p, a); }
  static SQZ_INLINE void store_n(float *p, V a, int n) { _mm512_mask_storeu_ps(p, tail(n), a); }

  static SQZ_INLINE V add(V a, V b) { return _mm512_add_ps(a, b); }
  static SQZ_INLINE V sub(V a, V b) { return _mm512_sub_ps(a, b); }
  static SQZ_INLINE V mul(V a, V b) { return _mm512_mul_ps(a, b); }
  static SQZ_INLINE V div(V a, V b) { return _mm512_div_ps(a, b); }
  static SQZ_INLINE V fma(V a, V b, V c) { return _mm512_fmadd_ps(a, b, c); }
  static SQZ_INLINE V fnma(V a, V b, V c) { return _mm512_fnmadd_ps(a, b, c); }
  static SQZ_INLINE V max(V a, V b) { return _mm512_max_ps(a, b); }
  static SQZ_INLINE V min(V a, V b) { return _mm512_min_ps(a, b); }
  static SQZ_INLINE V abs(V a) { return _mm512_andnot_ps(set1(-0.0f), a); }
  static SQZ_INLINE V with_sign(V magnitude, V s) { return _mm512_or_ps(magnitude, _mm512_and_ps(set1(-0.0f), s)); }
  static SQZ_INLINE V rint(V a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  static SQZ_INLINE V scale2(V a, V n) { return _mm512_scalef_ps(a, n); }
  // As in FloatDefaults, in one instruction less each.
  static SQZ_INLINE V min_abs(V a, V limit) { return _mm512_range_ps(a, limit, 0b1010); }  // magnitudes, sign 0
  static SQZ_INLINE V split(V a, V *rest) {
    *rest = _mm512_reduce_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    return sub(a, *rest);
  }
  static SQZ_INLINE V scale2_or_zero(M m, V a, V n) { return _mm512_maskz_scalef_ps(m, a, n); }
  static SQZ_INLINE V greater(V a, V b) { return max(a, b); }
  static SQZ_INLINE V scale2_normal(V a, V n) { return scale2(a, n); }

  static SQZ_INLINE M tail(int n) { return static_cast<M>((1u << n) - 1u); }
  static SQZ_INLINE M lt(V a, V b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
  static SQZ_INLINE M not_lt(V a, V b) { return _mm512_cmp_ps_mask(a, b, _CMP_NLT_UQ); }
  static SQZ_INLINE M mask_and(M a, M b) { return static_cast<M>(a & b); }
  static SQZ_INLINE M nonzero_bytes(const uint8_t *p) {
    const __m128i b = _mm_loadu_si128(reinterpret_cast<const __m128i *>(p));
    return _mm_test_epi8_mask(b, b);
  }
  static SQZ_INLINE bool any(M a) { return a != 0; }
  static SQZ_INLINE V select(M m, V a, V b) { return _mm512_mask_blend_ps(m, b, a); }

  // The loads combine quarters of four rows in a register; then pairs of elements are interleaved, then fours: 32
  // shuffles.
  static SQZ_INLINE void transpose(const float *const (&rows)[16], float *to) {
#pragma GCC unroll 4
    for (int k = 0; k < 16; k += 4) {
      V x[4];
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) {
        V v = _mm512_castps128_ps512(_mm_loadu_ps(rows[i] + k));
        v = _mm512_mask_broadcast_f32x4(v, 0x00f0, _mm_loadu_ps(rows[i + 4] + k));
        v = _mm512_mask_broadcast_f32x4(v, 0x0f00, _mm_loadu_ps(rows[i + 8] + k));
        x[i] = _mm512_mask_broadcast_f32x4(v, 0xf000, _mm_loadu_ps(rows[i + 12] + k));
      }
      const V a = _mm512_unpacklo_ps(x[0], x[1]), b = _mm512_unpackhi_ps(x[0], x[1]);
      const V c = _mm512_unpacklo_ps(x[2], x[3]), d = _mm512_unpackhi_ps(x[2], x[3]);
      store(to + k * 16, _mm512_shuffle_ps(a, c, 0x44));
      store(to + k * 16 + 16, _mm512_shuffle_ps(a, c, 0xee));
      store(to + k * 16 + 32, _mm512_shuffle_ps(b, d, 0x44));
      store(to + k * 16 + 48, _mm512_shuffle_ps(b, d, 0xee));
    }
  }

  static SQZ_INLINE float reduce_add_tree(V a) {
    const __m256 h = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    __m128 q = _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
    q = _mm_add_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_add_ss(q, _mm_shuffle_ps(q, q, 1)));
  }
  static SQZ_INLINE float reduce_max_tree(V a) {
    const __m256 h = max8(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    __m128 q = max4(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
    q = max4(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(max4(q, _mm_shuffle_ps(q, q, 1)));
  }

 private:
  // Compare and select, not vmaxps, because x86 and NEON differ on NaN.
  static SQZ_INLINE __m256 max8(__m256 a, __m256 b) { return _mm256_blendv_ps(a, b, _mm256_cmp_ps(a, b, _CMP_LT_OQ)); }
  static SQZ_INLINE __m128 max4(__m128 a, __m128 b) { return _mm_blendv_ps(a, b, _mm_cmp_ps(a, b, _CMP_LT_OQ)); }
};

}  // namespace
}  // namespace sqz

#endif  // SQZ_SIMD_F32_AVX512_H_
