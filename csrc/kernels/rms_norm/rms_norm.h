// RMSNorm over the rows of a matrix.
#ifndef SQZ_KERNELS_RMS_NORM_RMS_NORM_H_
#define SQZ_KERNELS_RMS_NORM_RMS_NORM_H_

#include <stdint.h>

namespace sqz {

// s = x + residual; out = (s * (1 / sqrt(sum(s * s)/n + eps))) * weight.
// residual and weight may be null; out may be x.
using rms_norm_f32_fn = void (*)(int64_t rows, int64_t n, const float *x, int64_t ldx, const float *residual,
                                 int64_t ldr, const float *weight, float eps, float *out, int64_t ldo);

}  // namespace sqz

#endif  // SQZ_KERNELS_RMS_NORM_RMS_NORM_H_
