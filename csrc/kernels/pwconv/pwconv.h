// Grouped pointwise (1x1) convolution.
//
// Packed weights, one layout for every ISA: [G][ceil(C_out/G / 16)][C_in/G][16]
//
//   group 0 | panel 0:  k = 0      w[o0][0] w[o1][0] ... w[o15][0]      o0 .. o15: 16 successive output channels
//           |           k = 1      w[o0][1] w[o1][1] ... w[o15][1]
//           |           ...
//           |           k = K-1    w[o0][K-1]        ... w[o15][K-1]    K = C_in/G
//           | panel 1:  ...                                             a last, partial panel is filled with zeros
//   group 1 | ...
#ifndef SQZ_KERNELS_PWCONV_PWCONV_H_
#define SQZ_KERNELS_PWCONV_PWCONV_H_

#include <stdint.h>

#include "squeezeops/squeezeops.h"

namespace sqz {

struct PwconvF32 {
  int64_t groups, group_in, group_out;  // channels of one group
  const float *x;
  int64_t ldx;
  const float *packed;
  const float *bias;      // may be null
  const float *residual;  // may be null
  int64_t ldr;
  float *out;
  int64_t ldo;
  sqz_activation activation;

  int64_t panels_per_group() const { return (group_out + 15) / 16; }
};

// out = activation(conv(x) + bias) + residual for rows [row_begin, row_end) and for panels [panel_begin, panel_end)
// of all groups' panels, numbered through.
using pwconv_f32_fn = void (*)(const PwconvF32 &args, int64_t row_begin, int64_t row_end, int64_t panel_begin,
                               int64_t panel_end);

void pwconv_pack_f32(int64_t groups, int64_t group_in, int64_t group_out, const void *weight, sqz_dtype dtype,
                     float *packed);

}  // namespace sqz

#endif  // SQZ_KERNELS_PWCONV_PWCONV_H_
