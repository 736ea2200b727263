// Rows of a matrix divided by their Euclidean norms.
#ifndef SQZ_KERNELS_L2_NORMALIZE_L2_NORMALIZE_H_
#define SQZ_KERNELS_L2_NORMALIZE_L2_NORMALIZE_H_

#include <stdint.h>

namespace sqz {

// out = x / max(sqrt(sum(x * x)), eps); a NaN norm stays NaN. out may be x.
using l2_normalize_f32_fn = void (*)(int64_t rows, int64_t n, const float *x, int64_t ldx, float eps, float *out,
                                     int64_t ldo);

}  // namespace sqz

#endif  // SQZ_KERNELS_L2_NORMALIZE_L2_NORMALIZE_H_
