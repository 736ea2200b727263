// 16-lane float vector on SSE2: four xmm registers. There is no fused multiply-add, so this trait keeps to a tolerance
// and not to the bits of the others.
#ifndef SQZ_SIMD_F32_SSE2_H_
#define SQZ_SIMD_F32_SSE2_H_

#include <emmintrin.h>

#include "simd/common.h"

namespace sqz {
namespace {

struct F32Sse2 : FloatDefaults<F32Sse2> {
  struct V {
    __m128 q[4];
  };
  using M = V;  // all-ones or all-zeros lanes

  static constexpr int kLanes = 16;
  static constexpr int kRegisters = 16, kVectorRegisters = 4;
  static constexpr int kOwnTileRows = 0;

#define SQZ_EACH(expr)                         \
  V r;                                         \
  for (int i = 0; i < 4; ++i) r.q[i] = (expr); \
  return r

  static SQZ_INLINE V zero() { SQZ_EACH(_mm_setzero_ps()); }
  static SQZ_INLINE V set1(float x) { SQZ_EACH(_mm_set1_ps(x)); }
  static SQZ_INLINE V load(const float *p) { SQZ_EACH(_mm_loadu_ps(p + 4 * i)); }
  static SQZ_INLINE V load_n(const float *p, int n) {
    float buffer[16] = {0};
    memcpy(buffer, p, static_cast<size_t>(n) * 4);
    return load(buffer);
  }
  static SQZ_INLINE V load_half(const uint16_t *p) {
    V r;
    for (int i = 0; i < 2; ++i) {
      const __m128i h = _mm_loadu_si128(reinterpret_cast<const __m128i *>(p + 8 * i));
      r.q[2 * i] = widen(_mm_unpacklo_epi16(h, _mm_setzero_si128()));
      r.q[2 * i + 1] = widen(_mm_unpackhi_epi16(h, _mm_setzero_si128()));
    }
    return r;
  }
  static SQZ_INLINE V load_half_n(const uint16_t *p, int n) {
    float buffer[16] = {0};
    for (int i = 0; i < n; ++i) buffer[i] = half_to_float(p[i]);
    return load(buffer);
  }
  static SQZ_INLINE void store(float *p, V x) {
    for (int i = 0; i < 4; ++i) _mm_storeu_ps(p + 4 * i, x.q[i]);
  }
  static SQZ_INLINE void store_n(float *p, V x, int n) {
    float buffer[16];
    store(buffer, x);
    memcpy(p, buffer, static_cast<size_t>(n) * 4);
  }

  static SQZ_INLINE V add(V x, V y) { SQZ_EACH(_mm_add_ps(x.q[i], y.q[i])); }
  static SQZ_INLINE V sub(V x, V y) { SQZ_EACH(_mm_sub_ps(x.q[i], y.q[i])); }
  static SQZ_INLINE V mul(V x, V y) { SQZ_EACH(_mm_mul_ps(x.q[i], y.q[i])); }
  static SQZ_INLINE V div(V x, V y) { SQZ_EACH(_mm_div_ps(x.q[i], y.q[i])); }
  static SQZ_INLINE V fma(V x, V y, V z) { SQZ_EACH(_mm_add_ps(_mm_mul_ps(x.q[i], y.q[i]), z.q[i])); }
  static SQZ_INLINE V fnma(V x, V y, V z) { SQZ_EACH(_mm_sub_ps(z.q[i], _mm_mul_ps(x.q[i], y.q[i]))); }
  static SQZ_INLINE V max(V x, V y) { SQZ_EACH(_mm_max_ps(x.q[i], y.q[i])); }
  static SQZ_INLINE V min(V x, V y) { SQZ_EACH(_mm_min_ps(x.q[i], y.q[i])); }
  static SQZ_INLINE V abs(V x) { SQZ_EACH(_mm_andnot_ps(sign(), x.q[i])); }
  static SQZ_INLINE V with_sign(V m, V s) { SQZ_EACH(_mm_or_ps(m.q[i], _mm_and_ps(sign(), s.q[i]))); }
  static SQZ_INLINE V rint(V x) { SQZ_EACH(_mm_cvtepi32_ps(_mm_cvtps_epi32(x.q[i]))); }
  static SQZ_INLINE V scale2(V x, V n) {
    SQZ_EACH(_mm_mul_ps(
        x.q[i], _mm_castsi128_ps(_mm_slli_epi32(_mm_add_epi32(_mm_cvtps_epi32(n.q[i]), _mm_set1_epi32(127)), 23))));
  }

  static SQZ_INLINE M tail(int n) {
    SQZ_EACH(_mm_castsi128_ps(_mm_cmpgt_epi32(_mm_set1_epi32(n - 4 * i), _mm_setr_epi32(0, 1, 2, 3))));
  }
  static SQZ_INLINE M lt(V x, V y) { SQZ_EACH(_mm_cmplt_ps(x.q[i], y.q[i])); }
  static SQZ_INLINE M not_lt(V x, V y) { SQZ_EACH(_mm_cmpnlt_ps(x.q[i], y.q[i])); }
  static SQZ_INLINE M mask_and(M x, M y) { SQZ_EACH(_mm_and_ps(x.q[i], y.q[i])); }
  static SQZ_INLINE M nonzero_bytes(const uint8_t *p) {
    SQZ_EACH(_mm_castsi128_ps(
        _mm_cmpgt_epi32(_mm_setr_epi32(p[4 * i], p[4 * i + 1], p[4 * i + 2], p[4 * i + 3]), _mm_setzero_si128())));
  }
  static SQZ_INLINE bool any(M x) {
    return _mm_movemask_ps(_mm_or_ps(_mm_or_ps(x.q[0], x.q[1]), _mm_or_ps(x.q[2], x.q[3]))) != 0;
  }
  static SQZ_INLINE V select(M m, V x, V y) { SQZ_EACH(select4(m.q[i], x.q[i], y.q[i])); }

  static SQZ_INLINE void transpose(const float *const (&rows)[16], float *to) {
    for (int i = 0; i < 16; i += 4) {
      for (int k = 0; k < 16; k += 4) {
        __m128 a = _mm_loadu_ps(rows[i] + k), b = _mm_loadu_ps(rows[i + 1] + k), c = _mm_loadu_ps(rows[i + 2] + k),
               d = _mm_loadu_ps(rows[i + 3] + k);
        _MM_TRANSPOSE4_PS(a, b, c, d);
        _mm_storeu_ps(to + k * 16 + i, a);
        _mm_storeu_ps(to + (k + 1) * 16 + i, b);
        _mm_storeu_ps(to + (k + 2) * 16 + i, c);
        _mm_storeu_ps(to + (k + 3) * 16 + i, d);
      }
    }
  }

  static SQZ_INLINE float reduce_add_tree(V x) {
    __m128 q = _mm_add_ps(_mm_add_ps(x.q[0], x.q[2]), _mm_add_ps(x.q[1], x.q[3]));
    q = _mm_add_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_add_ss(q, _mm_shuffle_ps(q, q, 1)));
  }
  static SQZ_INLINE float reduce_max_tree(V x) {
    __m128 q = max4(max4(x.q[0], x.q[2]), max4(x.q[1], x.q[3]));
    q = max4(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(max4(q, _mm_shuffle_ps(q, q, 1)));
  }

#undef SQZ_EACH

 private:
  // Widens four float16 in int32 lanes. Shifted into place they are too small by 2^112; infinity and NaN get their
  // exponent from `special`.
  static SQZ_INLINE __m128 widen(__m128i h) {
    const __m128i sign = _mm_slli_epi32(_mm_and_si128(h, _mm_set1_epi32(0x8000)), 16);
    h = _mm_and_si128(h, _mm_set1_epi32(0x7fff));
    const __m128i special = _mm_and_si128(_mm_cmpgt_epi32(h, _mm_set1_epi32(0x7bff)), _mm_set1_epi32(0x7f800000));
    const __m128 x = _mm_mul_ps(_mm_castsi128_ps(_mm_slli_epi32(h, 13)), _mm_set1_ps(0x1p112f));
    return _mm_or_ps(x, _mm_castsi128_ps(_mm_or_si128(sign, special)));
  }
  static SQZ_INLINE __m128 sign() { return _mm_set1_ps(-0.0f); }
  static SQZ_INLINE __m128 select4(__m128 m, __m128 x, __m128 y) {
    return _mm_or_ps(_mm_and_ps(m, x), _mm_andnot_ps(m, y));
  }
  static SQZ_INLINE __m128 max4(__m128 x, __m128 y) { return select4(_mm_cmplt_ps(x, y), y, x); }
};

}  // namespace
}  // namespace sqz

#endif  // SQZ_SIMD_F32_SSE2_H_
