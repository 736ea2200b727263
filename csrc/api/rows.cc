// Ops that work on each row by itself, and the mean of rows.
#include "api/call.h"
#include "api/operations.h"
#include "run/run.h"

namespace sqz {

namespace {

// ---- the kernels, on checked arguments; `residual`, `weight`, `bias` and `mask` may be null -------------------------

sqz_status run_layer_norm(int64_t rows, int64_t n, const float *x, int64_t ldx, const float *residual, int64_t ldr,
                          const float *weight, const float *bias, float eps, float *out, int64_t ldo) {
  return run_rows(Op::layer_norm_f32, rows, n, [&](const Kernels &kernels, int64_t begin, int64_t end) {
    kernels.layer_norm_f32(end - begin, n, x + begin * ldx, ldx, residual ? residual + begin * ldr : nullptr, ldr,
                           weight, bias, eps, out + begin * ldo, ldo);
  });
}

sqz_status run_rms_norm(int64_t rows, int64_t n, const float *x, int64_t ldx, const float *residual, int64_t ldr,
                        const float *weight, float eps, float *out, int64_t ldo) {
  return run_rows(Op::rms_norm_f32, rows, n, [&](const Kernels &kernels, int64_t begin, int64_t end) {
    kernels.rms_norm_f32(end - begin, n, x + begin * ldx, ldx, residual ? residual + begin * ldr : nullptr, ldr, weight,
                         eps, out + begin * ldo, ldo);
  });
}

sqz_status run_l2_normalize(int64_t rows, int64_t n, const float *x, int64_t ldx, float eps, float *out, int64_t ldo) {
  return run_rows(Op::l2_normalize_f32, rows, n, [&](const Kernels &kernels, int64_t begin, int64_t end) {
    kernels.l2_normalize_f32(end - begin, n, x + begin * ldx, ldx, eps, out + begin * ldo, ldo);
  });
}

// The mask's row stride is in elements: floats for SQZ_MASK_ADD, else bytes; 0 repeats one row.
sqz_status run_softmax(int64_t rows, int64_t n, const float *x, int64_t ldx, const void *mask, sqz_mask_kind mask_kind,
                       int64_t mask_stride, float scale, sqz_fully_masked fully_masked, float *out, int64_t ldo) {
  const int64_t mask_bytes = mask_kind == SQZ_MASK_NONE ? 0 : mask_stride * (mask_kind == SQZ_MASK_ADD ? 4 : 1);
  return run_rows(Op::softmax_f32, rows, 2 * n, [&](const Kernels &kernels, int64_t begin, int64_t end) {
    kernels.softmax_f32(end - begin, n, x + begin * ldx, ldx,
                        mask ? static_cast<const char *>(mask) + begin * mask_bytes : nullptr, mask_kind, mask_stride,
                        scale, fully_masked, out + begin * ldo, ldo);
  });
}

sqz_status run_activation(sqz_activation activation, int64_t n, const float *x, float *out) {
  return run_rows(Op::activation_f32, n, 1, [&](const Kernels &kernels, int64_t begin, int64_t end) {
    kernels.activation_f32(activation, end - begin, x + begin, out + begin);
  });
}

// x: (batch * length, n). mask: (batch, length); a stride of 0 repeats one row.
sqz_status run_mean_pool(int64_t batch, int64_t length, int64_t n, const float *x, int64_t ldx, const uint8_t *mask,
                         int64_t mask_stride, float *out, int64_t ldo) {
  return run_rows(Op::mean_pool_f32, batch, (length + 1) * n, [&](const Kernels &kernels, int64_t begin, int64_t end) {
    kernels.mean_pool_f32(end - begin, length, n, x + begin * length * ldx, ldx,
                          mask ? mask + begin * mask_stride : nullptr, mask_stride, out + begin * ldo, ldo);
  });
}

// ---- arrays --------------------------------------------------------------------------------------------------------

const sqz_argument kLayerNormArguments[] = {
    SQZ_IN(layer_norm, x),     SQZ_IN_OPTIONAL(layer_norm, weight),   SQZ_IN_OPTIONAL(layer_norm, bias),
    SQZ_REAL(layer_norm, eps), SQZ_IN_OPTIONAL(layer_norm, residual), SQZ_OUT(layer_norm, out)};

sqz_status check_and_run(sqz_layer_norm_args &a) {
  SQZ_TRY(rows("x", a.x));
  const Shape shape(a.x), channels = {shape.last()};
  SQZ_TRY(optional("weight", a.weight, channels));
  SQZ_TRY(optional("bias", a.bias, channels));
  SQZ_TRY(epsilon(a.eps));
  SQZ_TRY(optional("residual", a.residual, shape));
  Call call(1);
  SQZ_TRY(call.output(a.out, shape, {{"weight", &a.weight}, {"bias", &a.bias}, {"residual", &a.residual}}, &a.x));
  if (call.needs_out()) return SQZ_NEEDS_OUT;
  Rows<float> x, residual;
  const float *weight, *bias;
  SQZ_TRY(call.rows("x", a.x, &x));
  SQZ_TRY(call.rows("residual", a.residual, &residual));
  SQZ_TRY(call.dense("weight", a.weight, &weight));
  SQZ_TRY(call.dense("bias", a.bias, &bias));
  return run_layer_norm(shape.rows(), shape.last(), x.p, x.ld, residual.p, residual.ld, weight, bias, narrow(a.eps),
                        floats(a.out), shape.last());
}

const sqz_argument kRmsNormArguments[] = {SQZ_IN(rms_norm, x), SQZ_IN_OPTIONAL(rms_norm, weight),
                                          SQZ_REAL(rms_norm, eps), SQZ_IN_OPTIONAL(rms_norm, residual),
                                          SQZ_OUT(rms_norm, out)};

sqz_status check_and_run(sqz_rms_norm_args &a) {
  SQZ_TRY(rows("x", a.x));
  const Shape shape(a.x), channels = {shape.last()};
  SQZ_TRY(optional("weight", a.weight, channels));
  SQZ_TRY(epsilon(a.eps));
  SQZ_TRY(optional("residual", a.residual, shape));
  Call call(1);
  SQZ_TRY(call.output(a.out, shape, {{"weight", &a.weight}, {"residual", &a.residual}}, &a.x));
  if (call.needs_out()) return SQZ_NEEDS_OUT;
  Rows<float> x, residual;
  const float *weight;
  SQZ_TRY(call.rows("x", a.x, &x));
  SQZ_TRY(call.rows("residual", a.residual, &residual));
  SQZ_TRY(call.dense("weight", a.weight, &weight));
  return run_rms_norm(shape.rows(), shape.last(), x.p, x.ld, residual.p, residual.ld, weight, narrow(a.eps),
                      floats(a.out), shape.last());
}

const sqz_argument kL2NormalizeArguments[] = {SQZ_IN(l2_normalize, x), SQZ_REAL(l2_normalize, eps),
                                              SQZ_OUT(l2_normalize, out)};

sqz_status check_and_run(sqz_l2_normalize_args &a) {
  SQZ_TRY(rows("x", a.x));
  const Shape shape(a.x);
  SQZ_TRY(epsilon(a.eps));
  Call call(1);
  SQZ_TRY(call.output(a.out, shape, {}, &a.x));
  if (call.needs_out()) return SQZ_NEEDS_OUT;
  Rows<float> x;
  SQZ_TRY(call.rows("x", a.x, &x));
  return run_l2_normalize(shape.rows(), shape.last(), x.p, x.ld, narrow(a.eps), floats(a.out), shape.last());
}

const sqz_argument kSoftmaxArguments[] = {SQZ_IN(softmax, x), SQZ_IN_OPTIONAL(softmax, mask), SQZ_REAL(softmax, scale),
                                          SQZ_WORD(softmax, fully_masked, 0, kFullyMaskedWords), SQZ_OUT(softmax, out)};

sqz_status check_and_run(sqz_softmax_args &a) {
  SQZ_TRY(rows("x", a.x));
  const Shape shape(a.x);
  SQZ_TRY(mask("mask", a.mask, shape));
  SQZ_TRY(choice("fully_masked", a.fully_masked, SQZ_MASKED_UNIFORM, SQZ_MASKED_ZERO));
  Call call(1);
  SQZ_TRY(call.output(a.out, shape, {{"mask", &a.mask}}, &a.x));
  if (call.needs_out()) return SQZ_NEEDS_OUT;
  Rows<float> x;
  Mask keep;
  SQZ_TRY(call.rows("x", a.x, &x));
  SQZ_TRY(call.mask_rows("mask", a.mask, shape, &keep));
  return run_softmax(shape.rows(), shape.last(), x.p, x.ld, keep.p, keep.kind, keep.strides[0], narrow(a.scale),
                     a.fully_masked, floats(a.out), shape.last());
}

sqz_status activate(sqz_activation activation, const sqz_array &x, sqz_array &out) {
  SQZ_TRY(array("x", x));
  const Shape shape(x);
  Call call(1);
  SQZ_TRY(call.output(out, shape, {}, &x));
  if (call.needs_out()) return SQZ_NEEDS_OUT;
  const float *from;
  SQZ_TRY(call.dense("x", x, &from));
  return run_activation(activation, shape.elements(), from, floats(out));
}

const sqz_argument kGeluArguments[] = {SQZ_IN(gelu, x), SQZ_WORD(gelu, approximate, 0, kApproximateWords),
                                       SQZ_OUT(gelu, out)};

sqz_status check_and_run(sqz_gelu_args &a) {
  SQZ_TRY(choice("approximate", a.approximate, SQZ_APPROXIMATE_NONE, SQZ_APPROXIMATE_TANH));
  return activate(a.approximate == SQZ_APPROXIMATE_NONE ? SQZ_ACT_GELU : SQZ_ACT_GELU_TANH, a.x, a.out);
}

const sqz_argument kTanhArguments[] = {SQZ_IN(tanh, x), SQZ_OUT(tanh, out)};

sqz_status check_and_run(sqz_tanh_args &a) { return activate(SQZ_ACT_TANH, a.x, a.out); }

const sqz_argument kMeanPoolArguments[] = {SQZ_IN(mean_pool, x), SQZ_IN_OPTIONAL(mean_pool, mask),
                                           SQZ_OUT(mean_pool, out)};

sqz_status check_and_run(sqz_mean_pool_args &a) {
  SQZ_TRY(rows("x", a.x, 2));
  const Shape shape(a.x), sequences = shape.leading();
  SQZ_TRY(mask("mask", a.mask, sequences, kBool));
  Call call(1);
  SQZ_TRY(call.output(a.out, sequences.with_last(shape.last()), {{"x", &a.x}, {"mask", &a.mask}}));
  if (call.needs_out()) return SQZ_NEEDS_OUT;
  Rows<float> x;
  Mask keep;
  SQZ_TRY(call.rows("x", a.x, &x));
  SQZ_TRY(call.mask_rows("mask", a.mask, sequences, &keep));
  return run_mean_pool(sequences.rows(), sequences.last(), shape.last(), x.p, x.ld,
                       static_cast<const uint8_t *>(keep.p), keep.strides[0], floats(a.out), shape.last());
}

// ---- pointers ------------------------------------------------------------------------------------------------------

// A matrix, or one row for all with a stride of 0.
sqz_status mask_matrix(const void *p, int64_t rows, int64_t n, int64_t stride) {
  if (stride != 0) return matrix("mask", p, rows, n, stride);
  SQZ_CHECK(p || rows == 0 || n == 0, "mask: expected a pointer, got NULL");
  return SQZ_OK;
}

}  // namespace

}  // namespace sqz

using namespace sqz;

SQZ_OPERATION(layer_norm, "layer_norm", kLayerNormArguments)
SQZ_OPERATION(rms_norm, "rms_norm", kRmsNormArguments)
SQZ_OPERATION(l2_normalize, "l2_normalize", kL2NormalizeArguments)
SQZ_OPERATION(softmax, "softmax", kSoftmaxArguments)
SQZ_OPERATION(gelu, "gelu", kGeluArguments)
SQZ_OPERATION(tanh, "tanh", kTanhArguments)
SQZ_OPERATION(mean_pool, "mean_pool", kMeanPoolArguments)
SQZ_OPERATIONS(kRowOperations, &operation_layer_norm, &operation_rms_norm, &operation_l2_normalize, &operation_softmax,
               &operation_gelu, &operation_tanh, &operation_mean_pool)

extern "C" {

sqz_status sqz_layer_norm_f32(int64_t rows, int64_t n, const float *x, int64_t ldx, const float *residual, int64_t ldr,
                              const float *weight, const float *bias, double eps, float *out, int64_t ldo) {
  SQZ_TRY(matrix("x", x, rows, n, ldx));
  if (residual) SQZ_TRY(matrix("residual", residual, rows, n, ldr));
  SQZ_TRY(matrix("out", out, rows, n, ldo));
  SQZ_TRY(epsilon(eps));
  return run_layer_norm(rows, n, x, ldx, residual, ldr, weight, bias, narrow(eps), out, ldo);
}

sqz_status sqz_rms_norm_f32(int64_t rows, int64_t n, const float *x, int64_t ldx, const float *residual, int64_t ldr,
                            const float *weight, double eps, float *out, int64_t ldo) {
  SQZ_TRY(matrix("x", x, rows, n, ldx));
  if (residual) SQZ_TRY(matrix("residual", residual, rows, n, ldr));
  SQZ_TRY(matrix("out", out, rows, n, ldo));
  SQZ_TRY(epsilon(eps));
  return run_rms_norm(rows, n, x, ldx, residual, ldr, weight, narrow(eps), out, ldo);
}

sqz_status sqz_l2_normalize_f32(int64_t rows, int64_t n, const float *x, int64_t ldx, double eps, float *out,
                                int64_t ldo) {
  SQZ_TRY(matrix("x", x, rows, n, ldx));
  SQZ_TRY(matrix("out", out, rows, n, ldo));
  SQZ_TRY(epsilon(eps));
  return run_l2_normalize(rows, n, x, ldx, narrow(eps), out, ldo);
}

sqz_status sqz_softmax_f32(int64_t rows, int64_t n, const float *x, int64_t ldx, const void *mask,
                           sqz_mask_kind mask_kind, int64_t mask_stride, double scale, sqz_fully_masked fully_masked,
                           float *out, int64_t ldo) {
  SQZ_TRY(matrix("x", x, rows, n, ldx));
  SQZ_TRY(matrix("out", out, rows, n, ldo));
  SQZ_TRY(choice("mask_kind", mask_kind, SQZ_MASK_NONE, SQZ_MASK_ADD));
  SQZ_TRY(choice("fully_masked", fully_masked, SQZ_MASKED_UNIFORM, SQZ_MASKED_ZERO));
  if (mask_kind != SQZ_MASK_NONE) SQZ_TRY(mask_matrix(mask, rows, n, mask_stride));
  return run_softmax(rows, n, x, ldx, mask, mask_kind, mask_stride, narrow(scale), fully_masked, out, ldo);
}

sqz_status sqz_activation_f32(sqz_activation activation, int64_t n, const float *x, float *out) {
  SQZ_TRY(choice("activation", activation, SQZ_ACT_NONE, SQZ_ACT_TANH));
  SQZ_TRY(matrix("x", x, 1, n, n));
  SQZ_TRY(matrix("out", out, 1, n, n));
  return run_activation(activation, n, x, out);
}

sqz_status sqz_mean_pool_f32(int64_t batch, int64_t length, int64_t n, const float *x, int64_t ldx, const uint8_t *mask,
                             int64_t mask_stride, float *out, int64_t ldo) {
  SQZ_CHECK(batch >= 0 && length >= 0 && (length == 0 || batch <= INT64_MAX / length),
            "batch: expected sizes >= 0 and fewer than 2^63 rows, got %lld sequences of %lld", (long long)batch,
            (long long)length);
  SQZ_TRY(matrix("x", x, batch * length, n, ldx));
  SQZ_TRY(matrix("out", out, batch, n, ldo));
  if (mask) SQZ_TRY(mask_matrix(mask, batch, length, mask_stride));
  return run_mean_pool(batch, length, n, x, ldx, mask, mask_stride, out, ldo);
}

}  // extern "C"
