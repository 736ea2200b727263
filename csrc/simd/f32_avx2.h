// 16-lane float vector on AVX2 + FMA + F16C: two ymm registers.
#ifndef SQZ_SIMD_F32_AVX2_H_
#define SQZ_SIMD_F32_AVX2_H_

#include <immintrin.h>

#include "simd/common.h"

namespace sqz {
namespace {

struct F32Avx2 : FloatDefaults<F32Avx2> {
  struct V {
    __m256 a, b;
  };
  using M = V;  // all-ones or all-zeros lanes

  static constexpr int kLanes = 16;
  static constexpr int kRegisters = 16, kVectorRegisters = 2;
  static constexpr int kOwnTileRows = 0;

  static SQZ_INLINE V zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
  static SQZ_INLINE V set1(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
  static SQZ_INLINE V load(const float *p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
  static SQZ_INLINE V load_n(const float *p, int n) {
    return {_mm256_maskload_ps(p, tail8(n)), n > 8 ? _mm256_maskload_ps(p + 8, tail8(n - 8)) : _mm256_setzero_ps()};
  }
  static SQZ_INLINE V load_half(const uint16_t *p) {
    return {_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i *>(p))),
            _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i *>(p + 8)))};
  }
  static SQZ_INLINE V load_half_n(const uint16_t *p, int n) {
    uint16_t buffer[16] = {0};
    for (int i = 0; i < n; ++i) buffer[i] = p[i];
    return load_half(buffer);
  }
  static SQZ_INLINE void store(float *p, V x) {
    _mm256_storeu_ps(p, x.a);
    _mm256_storeu_ps(p + 8, x.b);
  }
  static SQZ_INLINE void store_n(float *p, V x, int n) {
    _mm256_maskstore_ps(p, tail8(n), x.a);
    if (n > 8) _mm256_maskstore_ps(p + 8, tail8(n - 8), x.b);
  }

  static SQZ_INLINE V add(V x, V y) { return {_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)}; }
  static SQZ_INLINE V sub(V x, V y) { return {_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)}; }
  static SQZ_INLINE V mul(V x, V y) { return {_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)}; }
  static SQZ_INLINE V div(V x, V y) { return {_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)}; }
  static SQZ_INLINE V fma(V x, V y, V z) { return {_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)}; }
  static SQZ_INLINE V fnma(V x, V y, V z) { return {_mm256_fnmadd_ps(x.a, y.a, z.a), _mm256_fnmadd_ps(x.b, y.b, z.b)}; }
  static SQZ_INLINE V max(V x, V y) { return {_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)}; }
  static SQZ_INLINE V min(V x, V y) { return {_mm256_min_ps(x.a, y.a), _mm256_min_ps(x.b, y.b)}; }
  static SQZ_INLINE V abs(V x) { return {_mm256_andnot_ps(sign(), x.a), _mm256_andnot_ps(sign(), x.b)}; }
  static SQZ_INLINE V with_sign(V m, V s) {
    return {_mm256_or_ps(m.a, _mm256_and_ps(sign(), s.a)), _mm256_or_ps(m.b, _mm256_and_ps(sign(), s.b))};
  }
  static SQZ_INLINE V rint(V x) {
    return {_mm256_round_ps(x.a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC),
            _mm256_round_ps(x.b, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
  }
  static SQZ_INLINE V scale2(V x, V n) { return {scale2_8(x.a, n.a), scale2_8(x.b, n.b)}; }

  static SQZ_INLINE M tail(int n) { return {_mm256_castsi256_ps(tail8(n)), _mm256_castsi256_ps(tail8(n - 8))}; }
  static SQZ_INLINE M lt(V x, V y) {
    return {_mm256_cmp_ps(x.a, y.a, _CMP_LT_OQ), _mm256_cmp_ps(x.b, y.b, _CMP_LT_OQ)};
  }
  static SQZ_INLINE M not_lt(V x, V y) {
    return {_mm256_cmp_ps(x.a, y.a, _CMP_NLT_UQ), _mm256_cmp_ps(x.b, y.b, _CMP_NLT_UQ)};
  }
  static SQZ_INLINE M mask_and(M x, M y) { return {_mm256_and_ps(x.a, y.a), _mm256_and_ps(x.b, y.b)}; }
  static SQZ_INLINE M nonzero_bytes(const uint8_t *p) { return {nonzero8(p), nonzero8(p + 8)}; }
  static SQZ_INLINE bool any(M x) { return _mm256_movemask_ps(_mm256_or_ps(x.a, x.b)) != 0; }
  static SQZ_INLINE V select(M m, V x, V y) {
    return {_mm256_blendv_ps(y.a, x.a, m.a), _mm256_blendv_ps(y.b, x.b, m.b)};
  }

  static SQZ_INLINE void transpose(const float *const (&rows)[16], float *to) {
    for (int i = 0; i < 16; i += 8)
      for (int k = 0; k < 16; k += 8) transpose8(rows + i, k, to + k * 16 + i);
  }

  static SQZ_INLINE float reduce_add_tree(V x) {
    const __m256 h = _mm256_add_ps(x.a, x.b);
    __m128 q = _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
    q = _mm_add_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_add_ss(q, _mm_shuffle_ps(q, q, 1)));
  }
  static SQZ_INLINE float reduce_max_tree(V x) {
    const __m256 h = _mm256_blendv_ps(x.a, x.b, _mm256_cmp_ps(x.a, x.b, _CMP_LT_OQ));
    __m128 q = max4(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
    q = max4(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(max4(q, _mm_shuffle_ps(q, q, 1)));
  }

 private:
  // The loads combine halves of two rows in a register; then pairs of elements are interleaved, then fours.
  static SQZ_INLINE void transpose8(const float *const *rows, int k, float *to) {
    __m256 x[8], y[8];
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) {
      const float *low = rows[i % 4] + k + i / 4 * 4, *high = rows[i % 4 + 4] + k + i / 4 * 4;
      x[i] = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(low)), _mm_loadu_ps(high), 1);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 8; i += 2) {
      y[i] = _mm256_unpacklo_ps(x[i], x[i + 1]);
      y[i + 1] = _mm256_unpackhi_ps(x[i], x[i + 1]);
    }
#pragma GCC unroll 2
    for (int i = 0; i < 8; i += 4) {
      _mm256_storeu_ps(to + i * 16, _mm256_shuffle_ps(y[i], y[i + 2], 0x44));
      _mm256_storeu_ps(to + (i + 1) * 16, _mm256_shuffle_ps(y[i], y[i + 2], 0xee));
      _mm256_storeu_ps(to + (i + 2) * 16, _mm256_shuffle_ps(y[i + 1], y[i + 3], 0x44));
      _mm256_storeu_ps(to + (i + 3) * 16, _mm256_shuffle_ps(y[i + 1], y[i + 3], 0xee));
    }
  }
  static SQZ_INLINE __m256 sign() { return _mm256_set1_ps(-0.0f); }
  // Lanes below n, for any n.
  static SQZ_INLINE __m256i tail8(int n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  }
  static SQZ_INLINE __m256 scale2_8(__m256 x, __m256 n) {
    const __m256i e = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
    return _mm256_mul_ps(x, _mm256_castsi256_ps(_mm256_slli_epi32(e, 23)));
  }
  static SQZ_INLINE __m256 nonzero8(const uint8_t *p) {
    const __m256i w = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i *>(p)));
    return _mm256_castsi256_ps(_mm256_cmpgt_epi32(w, _mm256_setzero_si256()));
  }
  static SQZ_INLINE __m128 max4(__m128 x, __m128 y) { return _mm_blendv_ps(x, y, _mm_cmp_ps(x, y, _CMP_LT_OQ)); }
};

}  // namespace
}  // namespace sqz

#endif  // SQZ_SIMD_F32_AVX2_H_
