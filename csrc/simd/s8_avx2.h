// Products of bytes on AVX2: vpmaddubsw multiplies unsigned by signed bytes and adds pairs, saturating at 2^15 - 1.
// Here it multiplies |w| by sign(a, w), whose product is w a; a pair is at most 2 * 127 * 127 = 32258 and cannot
// saturate. a is never -128, whose negative would be itself.
#ifndef SQZ_SIMD_S8_AVX2_H_
#define SQZ_SIMD_S8_AVX2_H_

#include "simd/s8_256.h"

namespace sqz {
namespace {

struct S8Avx2 : S8Ymm {
  struct Weights {
    __m256i a, b, abs_a, abs_b;
  };

  static constexpr int kProductRegisters = 7;  // four of weights, a row's bytes, ones, a temporary

  static SQZ_INLINE Sum start(const int32_t *) { return {_mm256_setzero_si256(), _mm256_setzero_si256()}; }
  static SQZ_INLINE Weights load(const int8_t *p) {
    const __m256i a = load256(p), b = load256(p + 32);
    return {a, b, _mm256_abs_epi8(a), _mm256_abs_epi8(b)};
  }
  static SQZ_INLINE Four broadcast(const uint8_t *p) { return _mm256_xor_si256(four(p), _mm256_set1_epi8(-128)); }
  static SQZ_INLINE Sum dot(Sum s, Four a, const Weights &w) {
    return {dot8(s.a, a, w.a, w.abs_a), dot8(s.b, a, w.b, w.abs_b)};
  }

 private:
  static SQZ_INLINE __m256i dot8(__m256i s, __m256i a, __m256i w, __m256i abs_w) {
    // Not the intrinsics: compilers interleave the instructions of several products and spill accumulators for that.
    __m256i t;
    __asm__(
        "vpsignb %3, %2, %1\n\t"
        "vpmaddubsw %1, %4, %1\n\t"
        "vpmaddwd %5, %1, %1\n\t"
        "vpaddd %1, %0, %0"
        : "+x"(s), "=&x"(t)
        : "x"(a), "x"(w), "x"(abs_w), "x"(_mm256_set1_epi16(1)));
    return s;
  }
};

}  // namespace
}  // namespace sqz

#endif  // SQZ_SIMD_S8_AVX2_H_
