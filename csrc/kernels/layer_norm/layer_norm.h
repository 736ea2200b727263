// LayerNorm over the rows of a matrix.
#ifndef SQZ_KERNELS_LAYER_NORM_LAYER_NORM_H_
#define SQZ_KERNELS_LAYER_NORM_LAYER_NORM_H_

#include <stdint.h>

namespace sqz {

// s = x + residual; d = s - sum(s)/n; out = d * (1 / sqrt(sum(d*d)/n + eps)) * weight + bias. The mean is not rounded
// to a float, and no finite s overflows. residual, weight and bias may be null; out may be x.
using layer_norm_f32_fn = void (*)(int64_t rows, int64_t n, const float *x, int64_t ldx, const float *residual,
                                   int64_t ldr, const float *weight, const float *bias, float eps, float *out,
                                   int64_t ldo);

// Rows that the kernel works on at a time.
constexpr int kLayerNormRows = 4;

}  // namespace sqz

#endif  // SQZ_KERNELS_LAYER_NORM_LAYER_NORM_H_
