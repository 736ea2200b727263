// Grouped pointwise convolution with weights stored as float16: pwconv.h's layout with elements of two bytes. They are
// widened, which is exact, as they are multiplied, so the bits are those of the same weights as float32.
#ifndef SQZ_KERNELS_PWCONV_PWCONV_F16_H_
#define SQZ_KERNELS_PWCONV_PWCONV_F16_H_

#include <stdint.h>

#include "squeezeops/squeezeops.h"

namespace sqz {

struct PwconvF16 {
  int64_t groups, group_in, group_out;  // channels of one group
  const float *x;
  int64_t ldx;
  const uint16_t *packed;
  const float *bias;      // may be null
  const float *residual;  // may be null
  int64_t ldr;
  float *out;
  int64_t ldo;
  sqz_activation activation;
  static constexpr int64_t out_at = 0;  // out is the whole result

  int64_t panels_per_group() const { return (group_out + 15) / 16; }
};

// As pwconv_f32_fn.
using pwconv_f16_fn = void (*)(const PwconvF16 &args, int64_t row_begin, int64_t row_end, int64_t panel_begin,
                               int64_t panel_end);

// Float32 weights are rounded to nearest even; below 2^-126 they count as 0. False if one is finite and above 65504,
// the largest float16; `worst` is then it.
bool pwconv_pack_f16(int64_t groups, int64_t group_in, int64_t group_out, const void *weight, sqz_dtype dtype,
                     uint16_t *packed, float *worst);

}  // namespace sqz

#endif  // SQZ_KERNELS_PWCONV_PWCONV_F16_H_
