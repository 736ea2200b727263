// Products of bytes on AVX512_VNNI in 512-bit registers.
#ifndef SQZ_SIMD_S8_VNNI512_H_
#define SQZ_SIMD_S8_VNNI512_H_

#include "simd/f32_avx512.h"
#include "simd/s8_x86.h"

namespace sqz {
namespace {

struct S8Vnni512 {
  using Float = F32Avx512;
  using Epilogue = Float;
  using Sum = __m512i;
  using Four = __m512i;
  using Weights = __m512i;

  static constexpr int kRegisters = 32, kSumRegisters = 1, kProductRegisters = 2;  // weights, a row's bytes

  static SQZ_INLINE Sum start(const int32_t *first) { return _mm512_loadu_si512(first); }
  static SQZ_INLINE Weights load(const int8_t *p) { return _mm512_loadu_si512(p); }
  static SQZ_INLINE Four broadcast(const uint8_t *p) {
    int32_t bytes;
    memcpy(&bytes, p, 4);
    return _mm512_set1_epi32(bytes);
  }
  // Not the intrinsic: with many accumulators GCC copies and spills them, which is three times slower.
  static SQZ_INLINE Sum dot(Sum s, Four a, Weights w) {
    __asm__("vpdpbusd %2, %1, %0" : "+v"(s) : "v"(a), "v"(w));
    return s;
  }
  static SQZ_INLINE Float::V to_float(Sum s) { return _mm512_cvtepi32_ps(s); }

  static SQZ_INLINE Sum plus(Sum s, const int32_t *p) { return _mm512_add_epi32(s, _mm512_loadu_si512(p)); }
  static SQZ_INLINE void store_sum(int32_t *p, Sum s) { _mm512_storeu_si512(p, s); }

  static SQZ_INLINE Sum add_weights(Sum s, const int8_t *w) { return dot(s, _mm512_set1_epi8(1), load(w)); }

  static SQZ_INLINE Sum interleave(const uint8_t *const (&rows)[4], int8_t *to, Sum s) {
    __m128i x[4];
    interleave_rows(rows, x);
    const __m256i low = _mm256_inserti128_si256(_mm256_castsi128_si256(x[0]), x[1], 1);
    const __m256i high = _mm256_inserti128_si256(_mm256_castsi128_si256(x[2]), x[3], 1);
    const __m512i w = _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
    _mm512_storeu_si512(to, w);
    return dot(s, _mm512_set1_epi8(1), w);
  }
  static SQZ_INLINE Sum transpose_words(const uint8_t *const (&rows)[16], int8_t *to, Sum s) {
    __m512i x[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      __m512i v = _mm512_castsi128_si512(load128(rows[i]));
      v = _mm512_inserti32x4(v, load128(rows[i + 4]), 1);
      v = _mm512_inserti32x4(v, load128(rows[i + 8]), 2);
      x[i] = _mm512_xor_si512(_mm512_inserti32x4(v, load128(rows[i + 12]), 3), _mm512_set1_epi8(-128));
    }
    const __m512i a = _mm512_unpacklo_epi32(x[0], x[1]), b = _mm512_unpackhi_epi32(x[0], x[1]);
    const __m512i c = _mm512_unpacklo_epi32(x[2], x[3]), d = _mm512_unpackhi_epi32(x[2], x[3]);
    const __m512i w[4] = {_mm512_unpacklo_epi64(a, c), _mm512_unpackhi_epi64(a, c), _mm512_unpacklo_epi64(b, d),
                          _mm512_unpackhi_epi64(b, d)};
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      _mm512_storeu_si512(to + 64 * i, w[i]);
      s = dot(s, _mm512_set1_epi8(1), w[i]);
    }
    return s;
  }

  using Amax = __m512i;
  static SQZ_INLINE Amax no_amax() { return _mm512_setzero_si512(); }
  static SQZ_INLINE Amax amax(Amax m, Float::V x) {
    return _mm512_max_epi32(m, _mm512_and_si512(_mm512_set1_epi32(0x7fffffff), _mm512_castps_si512(x)));
  }
  static SQZ_INLINE Amax max_amax(Amax a, Amax b) { return _mm512_max_epi32(a, b); }
  static SQZ_INLINE uint32_t amax_bits(Amax m) {
    const __m256i h = _mm256_max_epi32(_mm512_castsi512_si256(m), _mm512_extracti64x4_epi64(m, 1));
    __m128i q = _mm_max_epi32(_mm256_castsi256_si128(h), _mm256_extracti128_si256(h, 1));
    q = _mm_max_epi32(q, _mm_unpackhi_epi64(q, q));
    q = _mm_max_epi32(q, _mm_shuffle_epi32(q, 1));
    return static_cast<uint32_t>(_mm_cvtsi128_si32(q));
  }

  static SQZ_INLINE Float::V rotate16(Float::V x) {
    x = stage(x, _mm512_permute_ps(x, 0xb1), 0xaaaa);
    x = stage(x, _mm512_permute_ps(x, 0x4e), 0xcccc);
    x = stage(x, _mm512_shuffle_f32x4(x, x, 0xb1), 0xf0f0);
    return stage(x, _mm512_shuffle_f32x4(x, x, 0x4e), 0xff00);
  }

  static SQZ_INLINE void store_bytes(uint8_t *p, const Float::V (&x)[4]) {
    // `packs` interleaves 128-bit lanes; the permute restores order.
    const __m512i u = _mm512_packs_epi32(_mm512_cvtps_epi32(x[0]), _mm512_cvtps_epi32(x[1]));
    const __m512i v = _mm512_packs_epi32(_mm512_cvtps_epi32(x[2]), _mm512_cvtps_epi32(x[3]));
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    const __m512i bytes = _mm512_permutexvar_epi32(order, _mm512_packs_epi16(u, v));
    _mm512_storeu_si512(p, _mm512_xor_si512(bytes, _mm512_set1_epi8(-128)));
  }

  static SQZ_INLINE void renew(Four *a) { __asm__ volatile("" : "+v"(*a)); }

 private:
  // other - x in the lanes `second`, else x + other.
  static SQZ_INLINE __m512 stage(__m512 x, __m512 other, __mmask16 second) {
    return _mm512_mask_sub_ps(_mm512_add_ps(x, other), second, other, x);
  }
};

}  // namespace
}  // namespace sqz

#endif  // SQZ_SIMD_S8_VNNI512_H_
