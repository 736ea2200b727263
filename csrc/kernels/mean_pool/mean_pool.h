// Mean pooling: one row per sequence of rows.
#ifndef SQZ_KERNELS_MEAN_POOL_MEAN_POOL_H_
#define SQZ_KERNELS_MEAN_POOL_MEAN_POOL_H_

#include <stdint.h>

namespace sqz {

// out[b] = (0 + x[b, l0] + x[b, l1] + ...) / count over the rows l0 < l1 < ... that mask[b] keeps (all, if null); +0 if
// there are none. Row l of sequence b is at x + (b * length + l) * ldx.
using mean_pool_f32_fn = void (*)(int64_t batch, int64_t length, int64_t n, const float *x, int64_t ldx,
                                  const uint8_t *mask, int64_t mask_stride, float *out, int64_t ldo);

}  // namespace sqz

#endif  // SQZ_KERNELS_MEAN_POOL_MEAN_POOL_H_
