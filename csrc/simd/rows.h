// Addresses in an inner loop, in few registers.
#ifndef SQZ_SIMD_ROWS_H_
#define SQZ_SIMD_ROWS_H_

#include "simd/common.h"

namespace sqz {
namespace {

// The same address, of which the compiler no longer knows where it came from. Without that, GCC computes an offset for
// each row ahead of a loop, Clang carries a pointer along for each, and both then keep some of them on the stack.
template <class T>
SQZ_INLINE T opaque(T x) {
  __asm__("" : "+r"(x));
  return x;
}

// The rows of a tile: an address for every four of them, the stride and three times the stride.
template <class T, int N>
struct Rows {
  const T *first[(N + 3) / 4];
  int64_t stride, three;

  SQZ_INLINE Rows(const T *p, int64_t stride) : stride(stride), three(opaque(3 * stride)) {
#pragma GCC unroll 4
    for (int b = 0; b < (N + 3) / 4; ++b) first[b] = opaque(p + 4 * b * stride);
  }
  SQZ_INLINE const T *operator[](int i) const { return first[i / 4] + (i % 4 == 3 ? three : i % 4 * stride); }
  SQZ_INLINE void advance(int64_t n) {
#pragma GCC unroll 4
    for (int b = 0; b < (N + 3) / 4; ++b) first[b] = opaque(first[b] + n);
  }
};

}  // namespace
}  // namespace sqz

#endif  // SQZ_SIMD_ROWS_H_
