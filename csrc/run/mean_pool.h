// The mean of each sequence's rows.
#ifndef SQZ_RUN_MEAN_POOL_H_
#define SQZ_RUN_MEAN_POOL_H_

#include <stdint.h>

#include "squeezeops/squeezeops.h"

namespace sqz {

// x: (batch * length, n). mask: (batch, length), may be null; a stride of 0 repeats one row.
sqz_status run_mean_pool(int64_t batch, int64_t length, int64_t n, const float *x, int64_t ldx, const uint8_t *mask,
                         int64_t mask_stride, float *out, int64_t ldo);

}  // namespace sqz

#endif  // SQZ_RUN_MEAN_POOL_H_
