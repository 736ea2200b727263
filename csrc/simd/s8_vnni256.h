// Products of bytes with VNNI in 256-bit registers: the instruction of AVX_VNNI, or the same one in the encoding of
// AVX512_VNNI with AVX512VL.
#ifndef SQZ_SIMD_S8_VNNI256_H_
#define SQZ_SIMD_S8_VNNI256_H_

#include "simd/s8_256.h"

namespace sqz {
namespace {

struct S8Vnni256 : S8Ymm {
  struct Weights {
    __m256i a, b;
  };

  static constexpr int kProductRegisters = 3;  // two of weights, a row's bytes

  static SQZ_INLINE Sum start(const int32_t *first) { return {load256(first), load256(first + 8)}; }
  static SQZ_INLINE Weights load(const int8_t *p) { return {load256(p), load256(p + 32)}; }
  static SQZ_INLINE Four broadcast(const uint8_t *p) { return four(p); }
  static SQZ_INLINE Sum dot(Sum s, Four a, Weights w) { return {dot8(s.a, a, w.a), dot8(s.b, a, w.b)}; }

 private:
  // Not the intrinsic: with many accumulators GCC copies and spills them, which is three times slower.
  static SQZ_INLINE __m256i dot8(__m256i s, __m256i a, __m256i w) {
#ifdef __AVX512VNNI__
    __asm__("vpdpbusd %2, %1, %0" : "+v"(s) : "v"(a), "v"(w));
#else
    __asm__("%{vex%} vpdpbusd %2, %1, %0" : "+x"(s) : "x"(a), "x"(w));
#endif
    return s;
  }
};

}  // namespace
}  // namespace sqz

#endif  // SQZ_SIMD_S8_VNNI256_H_
