// Grouped pointwise (1x1) convolution.
//
// Packed weights, one layout for every ISA: [G][ceil(C_out/G / 16)][C_in/G][16], as float32 or float16
//
//   group 0 | panel 0:  k = 0      w[o0][0] w[o1][0] ... w[o15][0]      o0 .. o15: 16 successive output channels
//           |           k = 1      w[o0][1] w[o1][1] ... w[o15][1]
//           |           ...
//           |           k = K-1    w[o0][K-1]        ... w[o15][K-1]    K = C_in/G
//           | panel 1:  ...                                             a last, partial panel is filled with zeros
//   group 1 | ...
//
// float16 is widened as it is multiplied, which is exact, so the bits are those of the same weights as float32.
// pwconv_s8.h has the layout of int8.
#ifndef SQZ_KERNELS_PWCONV_PWCONV_H_
#define SQZ_KERNELS_PWCONV_PWCONV_H_

#include <stdint.h>

#include "simd/common.h"
#include "squeezeops/squeezeops.h"

namespace sqz {

struct Pwconv {
  int64_t groups, group_in, group_out;  // channels of one group
  const float *x;                       // what float weights multiply
  int64_t ldx;
  const uint8_t *q;  // what int8 weights multiply: as QuantizeRows makes them, in the same groups
  int64_t ldq;
  const float *scales;  // of q, (rows, groups)
  const void *packed;
  const float *bias;      // may be null
  const float *residual;  // may be null
  int64_t ldr;
  float *out;  // or of a part of the result; its first element is `out_at` elements, of this stride, into the whole
  int64_t ldo;
  int64_t out_at;
  sqz_activation activation;

  SQZ_INLINE int64_t panels_per_group() const { return (group_out + 15) / 16; }
};

// out = activation(conv(x) + bias) + residual for rows [row_begin, row_end) and for panels [panel_begin, panel_end)
// of all groups' panels, numbered through.
using pwconv_fn = void (*)(const Pwconv &args, int64_t row_begin, int64_t row_end, int64_t panel_begin,
                           int64_t panel_end);
using pwconv_f32_fn = pwconv_fn;
using pwconv_f16_fn = pwconv_fn;

void pwconv_pack_f32(int64_t groups, int64_t group_in, int64_t group_out, const void *weight, sqz_dtype dtype,
                     float *packed);

// Float32 weights are rounded to nearest even; below 2^-126 they count as 0. False if one is finite and above 65504,
// the largest float16; `worst` is then it.
bool pwconv_pack_f16(int64_t groups, int64_t group_in, int64_t group_out, const void *weight, sqz_dtype dtype,
                     uint16_t *packed, float *worst);

}  // namespace sqz

#endif  // SQZ_KERNELS_PWCONV_PWCONV_H_
