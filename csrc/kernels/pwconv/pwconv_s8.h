// Grouped pointwise convolution of bytes: exact int32 sums of products of int8 weights and int8 activations.
//
// Packed weights, one layout for every ISA: [G][ceil(C_out/G / 16)] panels of 128 + 64 ceil(C_in/G / 4) bytes.
//
//   group 0 | panel 0:  first   int32 [16]     -128 * (sum of the channel's weights): the start of a sum over bytes
//           |                                  a + 128 in place of a
//           |           scale   float [16]     of the channel: a weight is about scale * byte
//           |           k = 0   int8  [16][4]  w[o0][0] w[o0][1] w[o0][2] w[o0][3]  w[o1][0] ... w[o15][3]
//           |           k = 4   int8  [16][4]  w[o0][4] w[o0][5] ...                o0 .. o15: successive channels
//           |           ...                    beyond the last k, and in channels beyond the last, zeros
//           | panel 1:  ...
//   group 1 | ...
//
// All parts are multiples of 64 bytes, so each is aligned in memory or in a file that begins at such a multiple. A
// panel's scales lie beside its weights, so that they are fetched together.
//
// With amax the largest |w| of an output channel (|w| < 2^-126 counts as 0): scale = amax / 127 and
// byte = rne(w * (127 / amax)); both are 0 for amax < 2^-100. If a weight is NaN or infinite, the scale is NaN and the
// bytes are 0, so the channel's results are NaN.
#ifndef SQZ_KERNELS_PWCONV_PWCONV_S8_H_
#define SQZ_KERNELS_PWCONV_PWCONV_S8_H_

#include "kernels/pwconv/pwconv.h"

namespace sqz {

struct PackedS8 {
  // The most input channels of a group: 2^17 * 127 * 128 is below 2^31.
  static constexpr int64_t kMostGroupIn = INT64_C(1) << 17;
  static constexpr int64_t kHead = 128;  // bytes of a panel before its weights

  static SQZ_INLINE int64_t steps(int64_t group_in) { return (group_in + 3) / 4; }
  static SQZ_INLINE int64_t panel_bytes(int64_t group_in) { return kHead + 64 * steps(group_in); }
};

// As pwconv_fn, with conv(x) = (float(sum) * scale of the row) * scale of the channel.
using pwconv_s8_fn = pwconv_fn;

// With `rotate`, weights are rotated as QuantizeRows rotates rows, and divided by 128.
void pwconv_pack_s8(int64_t groups, int64_t group_in, int64_t group_out, const void *weight, sqz_dtype dtype,
                    bool rotate, uint8_t *packed);

}  // namespace sqz

#endif  // SQZ_KERNELS_PWCONV_PWCONV_S8_H_
