#include "run/rows.h"

#include "run/run.h"

namespace sqz {

sqz_status run_layer_norm(int64_t rows, int64_t n, const float *x, int64_t ldx, const float *residual, int64_t ldr,
                          const float *weight, const float *bias, float eps, float *out, int64_t ldo) {
  const Kernels *kernels;
  SQZ_TRY(begin(Op::layer_norm_f32, &kernels));
  if (rows == 0 || n == 0) return SQZ_OK;
  for_chunks(rows, row_grain(n), [&](int64_t begin, int64_t end) {
    FloatEnvironment environment;
    kernels->layer_norm_f32(end - begin, n, x + begin * ldx, ldx, residual ? residual + begin * ldr : nullptr, ldr,
                            weight, bias, eps, out + begin * ldo, ldo);
  });
  return SQZ_OK;
}

sqz_status run_l2_normalize(int64_t rows, int64_t n, const float *x, int64_t ldx, float eps, float *out, int64_t ldo) {
  const Kernels *kernels;
  SQZ_TRY(begin(Op::l2_normalize_f32, &kernels));
  if (rows == 0 || n == 0) return SQZ_OK;
  for_chunks(rows, row_grain(n), [&](int64_t begin, int64_t end) {
    FloatEnvironment environment;
    kernels->l2_normalize_f32(end - begin, n, x + begin * ldx, ldx, eps, out + begin * ldo, ldo);
  });
  return SQZ_OK;
}

sqz_status run_softmax(int64_t rows, int64_t n, const float *x, int64_t ldx, const void *mask, sqz_mask_kind mask_kind,
                       int64_t mask_stride, float scale, sqz_fully_masked fully_masked, float *out, int64_t ldo) {
  const Kernels *kernels;
  SQZ_TRY(begin(Op::softmax_f32, &kernels));
  if (rows == 0 || n == 0) return SQZ_OK;
  const int64_t mask_bytes = mask_kind == SQZ_MASK_NONE ? 0 : mask_stride * (mask_kind == SQZ_MASK_ADD ? 4 : 1);
  for_chunks(rows, row_grain(2 * n), [&](int64_t begin, int64_t end) {
    FloatEnvironment environment;
    kernels->softmax_f32(end - begin, n, x + begin * ldx, ldx,
                         mask ? static_cast<const char *>(mask) + begin * mask_bytes : nullptr, mask_kind, mask_stride,
                         scale, fully_masked, out + begin * ldo, ldo);
  });
  return SQZ_OK;
}

sqz_status run_activation(sqz_activation activation, int64_t n, const float *x, float *out) {
  const Kernels *kernels;
  SQZ_TRY(begin(Op::activation_f32, &kernels));
  for_chunks(n, kGrain, [&](int64_t begin, int64_t end) {
    FloatEnvironment environment;
    kernels->activation_f32(activation, end - begin, x + begin, out + begin);
  });
  return SQZ_OK;
}

}  // namespace sqz
