// Quantisation of rows to bytes, with one scale per group of a row.
#ifndef SQZ_KERNELS_QUANTIZE_ROWS_QUANTIZE_ROWS_H_
#define SQZ_KERNELS_QUANTIZE_ROWS_QUANTIZE_ROWS_H_

#include <stdint.h>

#include "simd/common.h"

namespace sqz {

// A group is a part of a row with a scale of its own. Its bytes are padded with the byte of zero to a multiple of 4,
// because the kernels read four at a time:
//
//   x      [ group 0: n floats ][ group 1 ] ...
//   q      [ a + 128 of group 0, n bytes | 0 to 3 times 128 ][ group 1 ] ...
//   scales [ group 0 ][ group 1 ] ...
//
// With amax the largest |x| of the group: scale = amax / 127 and a = rne(x * (127 / amax)); both are 0 for
// amax < 2^-100. If an x is NaN or infinite, the scale is NaN and a is 0, so a product with the group is NaN.
// No clamp is needed: |x| * (127 / amax) exceeds 127 by two roundings at most, and rounds to 127. So a is never -128,
// whose negative AVX2 cannot represent, and no byte is 0.
//
// With `rotate`, each block of 128 channels is first multiplied by the Hadamard matrix of size 128, whose elements are
// 1 and -1: for h = 1, 2, 4, ..., 64, the elements i and i + h of each pair become their sum and their difference. That
// spreads an outlier over its block, so one scale serves all. Weights that are rotated too and divided by 128 give the
// same products, because the matrix is symmetric and its square is 128 times the identity.
struct QuantizeRows {
  static constexpr int64_t kBlock = 128;         // channels that are rotated together
  static constexpr int64_t kMostRotated = 8192;  // channels of a group, which are rotated on the stack

  int64_t rows, groups, n;  // n: channels of a group
  const float *x;
  int64_t ldx;
  uint8_t *q;
  int64_t ldq;    // bytes
  float *scales;  // (rows, groups), row stride lds
  int64_t lds;
  bool rotate;  // n is then a multiple of kBlock, at most kMostRotated

  static SQZ_INLINE int64_t width(int64_t n) { return (n + 3) / 4 * 4; }  // bytes of a group
};

using quantize_rows_s8_fn = void (*)(const QuantizeRows &args);

}  // namespace sqz

#endif  // SQZ_KERNELS_QUANTIZE_ROWS_QUANTIZE_ROWS_H_
