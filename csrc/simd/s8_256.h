// What the byte traits with 256-bit registers share: all but the products.
#ifndef SQZ_SIMD_S8_256_H_
#define SQZ_SIMD_S8_256_H_

#include "simd/f32_avx2.h"
#include "simd/s8_x86.h"

namespace sqz {
namespace {

struct S8Ymm {
  using Float = F32Avx2;
  using Epilogue = Float;
  struct Sum {
    __m256i a, b;
  };
  using Four = __m256i;

  static constexpr int kRegisters = 16, kSumRegisters = 2;

  static SQZ_INLINE Four four(const uint8_t *p) {
    int32_t bytes;
    memcpy(&bytes, p, 4);
    return _mm256_set1_epi32(bytes);
  }
  static SQZ_INLINE __m256i load256(const void *p) { return _mm256_loadu_si256(static_cast<const __m256i *>(p)); }
  static SQZ_INLINE Float::V to_float(Sum s) { return {_mm256_cvtepi32_ps(s.a), _mm256_cvtepi32_ps(s.b)}; }

  static SQZ_INLINE Sum plus(Sum s, const int32_t *p) {
    return {_mm256_add_epi32(s.a, load256(p)), _mm256_add_epi32(s.b, load256(p + 8))};
  }
  static SQZ_INLINE void store_sum(int32_t *p, Sum s) {
    _mm256_storeu_si256(reinterpret_cast<__m256i *>(p), s.a);
    _mm256_storeu_si256(reinterpret_cast<__m256i *>(p + 8), s.b);
  }

  static SQZ_INLINE Sum add_weights(Sum s, const int8_t *w) {
    return {add_fours(s.a, load256(w)), add_fours(s.b, load256(w + 32))};
  }

  static SQZ_INLINE Sum interleave(const uint8_t *const (&rows)[4], int8_t *to, Sum s) {
    __m128i x[4];
    interleave_rows(rows, x);
    return add_stored(s, to, _mm256_inserti128_si256(_mm256_castsi128_si256(x[0]), x[1], 1),
                      _mm256_inserti128_si256(_mm256_castsi128_si256(x[2]), x[3], 1));
  }
  static SQZ_INLINE Sum transpose_words(const uint8_t *const (&rows)[16], int8_t *to, Sum s) {
    __m256i low[4], high[4];
    transpose8(rows, low);
    transpose8(rows + 8, high);
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) s = add_stored(s, to + 64 * i, low[i], high[i]);
    return s;
  }

  using Amax = __m256i;
  static SQZ_INLINE Amax no_amax() { return _mm256_setzero_si256(); }
  static SQZ_INLINE Amax amax(Amax m, Float::V x) {
    const __m256i magnitude = _mm256_set1_epi32(0x7fffffff);
    m = _mm256_max_epi32(m, _mm256_and_si256(magnitude, _mm256_castps_si256(x.a)));
    return _mm256_max_epi32(m, _mm256_and_si256(magnitude, _mm256_castps_si256(x.b)));
  }
  static SQZ_INLINE Amax max_amax(Amax a, Amax b) { return _mm256_max_epi32(a, b); }
  static SQZ_INLINE uint32_t amax_bits(Amax m) {
    __m128i q = _mm_max_epi32(_mm256_castsi256_si128(m), _mm256_extracti128_si256(m, 1));
    q = _mm_max_epi32(q, _mm_unpackhi_epi64(q, q));
    q = _mm_max_epi32(q, _mm_shuffle_epi32(q, 1));
    return static_cast<uint32_t>(_mm_cvtsi128_si32(q));
  }

  static SQZ_INLINE Float::V rotate16(Float::V x) {
    const __m256 a = rotate8(x.a), b = rotate8(x.b);
    return {_mm256_add_ps(a, b), _mm256_sub_ps(a, b)};
  }

  static SQZ_INLINE void store_bytes(uint8_t *p, const Float::V (&x)[4]) {
    for (int i = 0; i < 2; ++i) {
      const Float::V u = x[2 * i], v = x[2 * i + 1];
      // `packs` interleaves 128-bit lanes; the permute restores order.
      const __m256i uu = _mm256_packs_epi32(_mm256_cvtps_epi32(u.a), _mm256_cvtps_epi32(u.b));
      const __m256i vv = _mm256_packs_epi32(_mm256_cvtps_epi32(v.a), _mm256_cvtps_epi32(v.b));
      const __m256i bytes =
          _mm256_permutevar8x32_epi32(_mm256_packs_epi16(uu, vv), _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
      _mm256_storeu_si256(reinterpret_cast<__m256i *>(p + 32 * i), _mm256_xor_si256(bytes, _mm256_set1_epi8(-128)));
    }
  }

  static SQZ_INLINE void renew(Four *a) { __asm__ volatile("" : "+x"(*a)); }

 private:
  // 16 bytes of each of 8 rows.
  static SQZ_INLINE void transpose8(const uint8_t *const *rows, __m256i (&to)[4]) {
    __m256i x[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i)
      x[i] =
          _mm256_xor_si256(_mm256_inserti128_si256(_mm256_castsi128_si256(load128(rows[i])), load128(rows[i + 4]), 1),
                           _mm256_set1_epi8(-128));
    const __m256i a = _mm256_unpacklo_epi32(x[0], x[1]), b = _mm256_unpackhi_epi32(x[0], x[1]);
    const __m256i c = _mm256_unpacklo_epi32(x[2], x[3]), d = _mm256_unpackhi_epi32(x[2], x[3]);
    to[0] = _mm256_unpacklo_epi64(a, c);
    to[1] = _mm256_unpackhi_epi64(a, c);
    to[2] = _mm256_unpacklo_epi64(b, d);
    to[3] = _mm256_unpackhi_epi64(b, d);
  }
  static SQZ_INLINE Sum add_stored(Sum s, int8_t *to, __m256i low, __m256i high) {
    _mm256_storeu_si256(reinterpret_cast<__m256i *>(to), low);
    _mm256_storeu_si256(reinterpret_cast<__m256i *>(to + 32), high);
    return {add_fours(s.a, low), add_fours(s.b, high)};
  }
  static SQZ_INLINE __m256i add_fours(__m256i s, __m256i w) {
    const __m256i pairs = _mm256_maddubs_epi16(_mm256_set1_epi8(1), w);
    return _mm256_add_epi32(s, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
  }
  static SQZ_INLINE __m256 rotate8(__m256 x) {
    const float minus = -0.0f;
    x = stage(x, _mm256_permute_ps(x, 0xb1), _mm256_setr_ps(0, minus, 0, minus, 0, minus, 0, minus));
    x = stage(x, _mm256_permute_ps(x, 0x4e), _mm256_setr_ps(0, 0, minus, minus, 0, 0, minus, minus));
    return stage(x, _mm256_permute2f128_ps(x, x, 1), _mm256_setr_ps(0, 0, 0, 0, minus, minus, minus, minus));
  }
  // x + other, or other - x where `signs` has a sign.
  static SQZ_INLINE __m256 stage(__m256 x, __m256 other, __m256 signs) {
    return _mm256_add_ps(other, _mm256_xor_ps(x, signs));
  }
};

}  // namespace
}  // namespace sqz

#endif  // SQZ_SIMD_S8_256_H_
