#include "run/mean_pool.h"

#include "run/run.h"

namespace sqz {

sqz_status run_mean_pool(int64_t batch, int64_t length, int64_t n, const float *x, int64_t ldx, const uint8_t *mask,
                         int64_t mask_stride, float *out, int64_t ldo) {
  const Kernels *kernels;
  SQZ_TRY(begin(Op::mean_pool_f32, &kernels));
  if (batch == 0 || n == 0) return SQZ_OK;
  for_chunks(batch, row_grain((length + 1) * n), [&](int64_t begin, int64_t end) {
    FloatEnvironment environment;
    kernels->mean_pool_f32(end - begin, length, n, x + begin * length * ldx, ldx,
                           mask ? mask + begin * mask_stride : nullptr, mask_stride, out + begin * ldo, ldo);
  });
  return SQZ_OK;
}

}  // namespace sqz
