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
// float16 is widened exactly before it is multiplied, so the bits are those of the same weights as float32.
// pwconv_s8.h has the layout of int8.
#ifndef SQZ_KERNELS_PWCONV_PWCONV_H_
#define SQZ_KERNELS_PWCONV_PWCONV_H_

#include <stdint.h>

#include "kernels/activation/activation.h"
#include "simd/common.h"
#include "squeezeops/squeezeops.h"

namespace sqz {

// The widest tile of any ISA, in panels. The schedule makes tasks of multiples of it, so that tiles of one and of three
// panels are not cut at the end of a task. Those of two may be: neon_dotprod has them, for few rows.
constexpr int kPwconvPanels = 3;

struct Pwconv {
  int64_t groups, group_in, group_out;  // channels of one group
  const float *x;                       // input of float weights
  int64_t ldx;
  const uint8_t *q;  // input of int8 weights, from quantize_rows with the same groups
  int64_t ldq;
  const float *scales;  // of q, (rows, groups)
  const void *packed;
  const float *bias;      // may be null
  const float *residual;  // may be null
  int64_t ldr;
  // Element (row, channel) of the result is out[row * ldo + channel - out_at]: `out` may hold a part of the result.
  float *out;
  int64_t ldo;
  int64_t out_at;
  sqz_activation activation;
  activation_f32_fn activate;  // the kernel of the same ISA, or of the nearest that it implies

  SQZ_INLINE int64_t panels_per_group() const { return (group_out + 15) / 16; }
};

// out = activation(conv(x) + bias) + residual for rows [row_begin, row_end) and for panels [panel_begin, panel_end)
// of all groups, counted over the groups.
using pwconv_fn = void (*)(const Pwconv &args, int64_t row_begin, int64_t row_end, int64_t panel_begin,
                           int64_t panel_end);
using pwconv_f32_fn = pwconv_fn;
using pwconv_f16_fn = pwconv_fn;

void pwconv_pack_f32(int64_t groups, int64_t group_in, int64_t group_out, const void *weight, sqz_dtype dtype,
                     float *packed);

// Rounds float32 weights to nearest even; |w| < 2^-126 counts as 0. False if a finite |w| is above 65504, the largest
// float16; `worst` is then the largest of them.
bool pwconv_pack_f16(int64_t groups, int64_t group_in, int64_t group_out, const void *weight, sqz_dtype dtype,
                     uint16_t *packed, float *worst);

}  // namespace sqz

#endif  // SQZ_KERNELS_PWCONV_PWCONV_H_
