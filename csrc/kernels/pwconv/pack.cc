// Packing of pointwise convolution weights: plain data movement, the same for every ISA.
#include "kernels/pwconv/pwconv.h"
#include "simd/common.h"

namespace sqz {

void pwconv_pack_f32(int64_t groups, int64_t group_in, int64_t group_out, const void *weight, sqz_dtype dtype,
                     float *packed) {
  const float *w32 = static_cast<const float *>(weight);
  const uint16_t *w16 = static_cast<const uint16_t *>(weight);
  for (int64_t g = 0; g < groups; ++g) {
    for (int64_t o0 = 0; o0 < group_out; o0 += 16) {
      const int64_t first = (g * group_out + o0) * group_in, valid = min64(16, group_out - o0);
      for (int64_t k = 0; k < group_in; ++k) {
        for (int64_t lane = 0; lane < 16; ++lane) {
          float w = 0.0f;
          if (lane < valid) {
            const int64_t i = first + lane * group_in + k;
            w = dtype == SQZ_F16 ? half_to_float(w16[i]) : w32[i];
            // A subnormal weight costs a hundred cycles per product on some cores and adds nothing to a sum.
            if (__builtin_fabsf(w) < 0x1p-126f) w = 0.0f;
          }
          *packed++ = w;
        }
      }
    }
  }
}

}  // namespace sqz
