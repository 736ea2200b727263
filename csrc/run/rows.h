// Ops that work on each row by itself.
#ifndef SQZ_RUN_ROWS_H_
#define SQZ_RUN_ROWS_H_

#include <stdint.h>

#include "squeezeops/squeezeops.h"

namespace sqz {

// `residual`, `weight` and `bias` may be null.
sqz_status run_layer_norm(int64_t rows, int64_t n, const float *x, int64_t ldx, const float *residual, int64_t ldr,
                          const float *weight, const float *bias, float eps, float *out, int64_t ldo);

sqz_status run_l2_normalize(int64_t rows, int64_t n, const float *x, int64_t ldx, float eps, float *out, int64_t ldo);

// The mask's row stride is in elements: floats for SQZ_MASK_ADD, else bytes; 0 repeats one row.
sqz_status run_softmax(int64_t rows, int64_t n, const float *x, int64_t ldx, const void *mask, sqz_mask_kind mask_kind,
                       int64_t mask_stride, float scale, sqz_fully_masked fully_masked, float *out, int64_t ldo);

sqz_status run_activation(sqz_activation activation, int64_t n, const float *x, float *out);

}  // namespace sqz

#endif  // SQZ_RUN_ROWS_H_
