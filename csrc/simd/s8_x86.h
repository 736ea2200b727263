// What all byte traits of x86 share.
#ifndef SQZ_SIMD_S8_X86_H_
#define SQZ_SIMD_S8_X86_H_

#include <immintrin.h>

#include "simd/common.h"

namespace sqz {
namespace {

SQZ_INLINE __m128i load128(const uint8_t *p) { return _mm_loadu_si128(reinterpret_cast<const __m128i *>(p)); }

// interleave() of the traits, in registers.
SQZ_INLINE void interleave_rows(const uint8_t *const (&rows)[4], __m128i (&to)[4]) {
  __m128i x[4];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) x[i] = _mm_xor_si128(load128(rows[i]), _mm_set1_epi8(-128));
  const __m128i a = _mm_unpacklo_epi8(x[0], x[1]), b = _mm_unpackhi_epi8(x[0], x[1]);
  const __m128i c = _mm_unpacklo_epi8(x[2], x[3]), d = _mm_unpackhi_epi8(x[2], x[3]);
  to[0] = _mm_unpacklo_epi16(a, c);
  to[1] = _mm_unpackhi_epi16(a, c);
  to[2] = _mm_unpacklo_epi16(b, d);
  to[3] = _mm_unpackhi_epi16(b, d);
}

}  // namespace
}  // namespace sqz

#endif  // SQZ_SIMD_S8_X86_H_
