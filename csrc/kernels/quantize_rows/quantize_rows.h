// Quantisation of rows to bytes, with a scale for each group of a row.
#ifndef SQZ_KERNELS_QUANTIZE_ROWS_QUANTIZE_ROWS_H_
#define SQZ_KERNELS_QUANTIZE_ROWS_QUANTIZE_ROWS_H_

#include <stdint.h>

#include "simd/common.h"

namespace sqz {

// A row's part in a group: channels with their scale. The bytes are those of the channels, filled up to a multiple of 4
// with the byte of zero, so that groups of bytes can be read four at a time:
//
//   x      [ group 0: n floats ][ group 1 ] ...
//   q      [ a + 128 of group 0, n bytes | 0 to 3 times 128 ][ group 1 ] ...
//   scales [ group 0 ][ group 1 ] ...
//
// With m the largest |x| of the group: scale = m / 127 and a = rne(x * (127 / m)); for m < 2^-100 both are 0. If there
// is a NaN or an infinity, the scale is NaN and a is 0: a product with such a group is NaN.
// (No clamp is needed: |x| * (127 / m) is at most 127 and two roundings, which rounds to 127. So no a is -128, of which
// AVX2 could not tell the negative, and no byte is 0.)
struct QuantizeRows {
  int64_t rows, groups, n;  // n: channels of a group
  const float *x;
  int64_t ldx;
  uint8_t *q;
  int64_t ldq;    // bytes
  float *scales;  // (rows, groups), row stride lds
  int64_t lds;

  static SQZ_INLINE int64_t width(int64_t n) { return (n + 3) / 4 * 4; }  // bytes of a group
};

using quantize_rows_s8_fn = void (*)(const QuantizeRows &args);

}  // namespace sqz

#endif  // SQZ_KERNELS_QUANTIZE_ROWS_QUANTIZE_ROWS_H_
