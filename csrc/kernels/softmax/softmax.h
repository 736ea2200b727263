// Softmax over the rows of a matrix, with an optional mask.
#ifndef SQZ_KERNELS_SOFTMAX_SOFTMAX_H_
#define SQZ_KERNELS_SOFTMAX_SOFTMAX_H_

#include <stdint.h>

#include "squeezeops/squeezeops.h"

namespace sqz {

// s = x * scale, plus an additive mask; out = exp(s - max) / sum over the keys that the mask keeps, +0 elsewhere.
// mask_stride is the number of elements between rows of the mask. out may be x.
using softmax_f32_fn = void (*)(int64_t rows, int64_t n, const float *x, int64_t ldx, const void *mask,
                                sqz_mask_kind mask_kind, int64_t mask_stride, float scale,
                                sqz_fully_masked fully_masked, float *out, int64_t ldo);

}  // namespace sqz

#endif  // SQZ_KERNELS_SOFTMAX_SOFTMAX_H_
