// Ops that work on each row by itself, and the mean of rows.
#include "api/call.h"
#include "api/operations.h"
#include "run/run.h"

namespace sqz {

namespace {

sqz_status check_and_run(Call &call, sqz_layer_norm_args &a) {
  SQZ_TRY(rows("x", a.x));
  const Shape shape(a.x), channels = {shape.last()};
  SQZ_TRY(optional("weight", a.weight, channels));
  SQZ_TRY(optional("bias", a.bias, channels));
  SQZ_TRY(epsilon(a.eps));
  SQZ_TRY(optional("residual", a.residual, shape));
  SQZ_TRY(call.result(a.out, shape, {{"weight", &a.weight}, {"bias", &a.bias}, {"residual", &a.residual}}, &a.x));
  const auto x = call.rows("x", a.x), residual = call.rows("residual", a.residual);
  const float *weight = call.vector("weight", a.weight), *bias = call.vector("bias", a.bias);
  SQZ_TRY(call.status());
  return sqz_layer_norm_f32(shape.rows(), shape.last(), x.p, x.ld, residual.p, residual.ld, weight, bias, a.eps,
                            floats(a.out), shape.last());
}

sqz_status check_and_run(Call &call, sqz_rms_norm_args &a) {
  SQZ_TRY(rows("x", a.x));
  const Shape shape(a.x), channels = {shape.last()};
  SQZ_TRY(optional("weight", a.weight, channels));
  SQZ_TRY(epsilon(a.eps));
  SQZ_TRY(optional("residual", a.residual, shape));
  SQZ_TRY(call.result(a.out, shape, {{"weight", &a.weight}, {"residual", &a.residual}}, &a.x));
  const auto x = call.rows("x", a.x), residual = call.rows("residual", a.residual);
  const float *weight = call.vector("weight", a.weight);
  SQZ_TRY(call.status());
  return sqz_rms_norm_f32(shape.rows(), shape.last(), x.p, x.ld, residual.p, residual.ld, weight, a.eps, floats(a.out),
                          shape.last());
}

sqz_status check_and_run(Call &call, sqz_l2_normalize_args &a) {
  SQZ_TRY(rows("x", a.x));
  const Shape shape(a.x);
  SQZ_TRY(epsilon(a.eps));
  SQZ_TRY(call.result(a.out, shape, {}, &a.x));
  const auto x = call.rows("x", a.x);
  SQZ_TRY(call.status());
  return sqz_l2_normalize_f32(shape.rows(), shape.last(), x.p, x.ld, a.eps, floats(a.out), shape.last());
}

sqz_status check_and_run(Call &call, sqz_softmax_args &a) {
  SQZ_TRY(rows("x", a.x));
  const Shape shape(a.x);
  SQZ_TRY(mask("mask", a.mask, shape));
  SQZ_TRY(choice("fully_masked", a.fully_masked, SQZ_MASKED_UNIFORM, SQZ_MASKED_ZERO));
  SQZ_TRY(call.result(a.out, shape, {{"mask", &a.mask}}, &a.x));
  const auto x = call.rows("x", a.x);
  const Mask keep = call.mask_rows("mask", a.mask, shape);
  SQZ_TRY(call.status());
  return sqz_softmax_f32(shape.rows(), shape.last(), x.p, x.ld, keep.p, keep.kind, keep.strides[0], a.scale,
                         a.fully_masked, floats(a.out), shape.last());
}

sqz_status activate(Call &call, sqz_activation activation, const sqz_array &x, sqz_array &out) {
  SQZ_TRY(array("x", x));
  const Shape shape(x);
  SQZ_TRY(call.result(out, shape, {}, &x));
  const float *from = call.vector("x", x);
  SQZ_TRY(call.status());
  return sqz_activation_f32(activation, shape.elements(), from, floats(out));
}

sqz_status check_and_run(Call &call, sqz_gelu_args &a) {
  SQZ_TRY(choice("approximate", a.approximate, SQZ_APPROXIMATE_NONE, SQZ_APPROXIMATE_TANH));
  return activate(call, a.approximate == SQZ_APPROXIMATE_NONE ? SQZ_ACT_GELU : SQZ_ACT_GELU_TANH, a.x, a.out);
}

sqz_status check_and_run(Call &call, sqz_tanh_args &a) { return activate(call, SQZ_ACT_TANH, a.x, a.out); }

sqz_status check_and_run(Call &call, sqz_mean_pool_args &a) {
  SQZ_TRY(rows("x", a.x, 2));
  const Shape shape(a.x), sequences = shape.leading();
  SQZ_TRY(mask("mask", a.mask, sequences, kBool));
  SQZ_TRY(call.result(a.out, sequences.with_last(shape.last()), {{"x", &a.x}, {"mask", &a.mask}}));
  const auto x = call.rows("x", a.x);
  const Mask keep = call.mask_rows("mask", a.mask, sequences);
  SQZ_TRY(call.status());
  return sqz_mean_pool_f32(sequences.rows(), sequences.last(), shape.last(), x.p, x.ld,
                           static_cast<const uint8_t *>(keep.p), keep.strides[0], floats(a.out), shape.last());
}

}  // namespace

}  // namespace sqz

using namespace sqz;

SQZ_OPERATION(layer_norm, "layer_norm", SQZ_IN(x), SQZ_IN_OPTIONAL(weight), SQZ_IN_OPTIONAL(bias), SQZ_REAL(eps),
              SQZ_IN_OPTIONAL(residual), SQZ_OUT(out))
SQZ_OPERATION(rms_norm, "rms_norm", SQZ_IN(x), SQZ_IN_OPTIONAL(weight), SQZ_REAL(eps), SQZ_IN_OPTIONAL(residual),
              SQZ_OUT(out))
SQZ_OPERATION(l2_normalize, "l2_normalize", SQZ_IN(x), SQZ_REAL(eps), SQZ_OUT(out))
SQZ_OPERATION(softmax, "softmax", SQZ_IN(x), SQZ_IN_OPTIONAL(mask), SQZ_REAL(scale),
              SQZ_WORD(fully_masked, 0, kFullyMaskedWords), SQZ_OUT(out))
SQZ_OPERATION(gelu, "gelu", SQZ_IN(x), SQZ_WORD(approximate, 0, kApproximateWords), SQZ_OUT(out))
SQZ_OPERATION(tanh, "tanh", SQZ_IN(x), SQZ_OUT(out))
SQZ_OPERATION(mean_pool, "mean_pool", SQZ_IN(x), SQZ_IN_OPTIONAL(mask), SQZ_OUT(out))

// ---- pointers ------------------------------------------------------------------------------------------------------

extern "C" {

sqz_status sqz_layer_norm_f32(int64_t rows, int64_t n, const float *x, int64_t ldx, const float *residual, int64_t ldr,
                              const float *weight, const float *bias, double eps, float *out, int64_t ldo) {
  SQZ_TRY(matrix("x", x, rows, n, ldx));
  if (residual) SQZ_TRY(matrix("residual", residual, rows, n, ldr));
  SQZ_TRY(matrix("out", out, rows, n, ldo));
  SQZ_TRY(epsilon(eps));
  return run_rows(Op::layer_norm_f32, rows, n, [&](const Kernels &kernels, int64_t begin, int64_t end) {
    kernels.layer_norm_f32(end - begin, n, x + begin * ldx, ldx, residual ? residual + begin * ldr : nullptr, ldr,
                           weight, bias, narrow(eps), out + begin * ldo, ldo);
  });
}

sqz_status sqz_rms_norm_f32(int64_t rows, int64_t n, const float *x, int64_t ldx, const float *residual, int64_t ldr,
                            const float *weight, double eps, float *out, int64_t ldo) {
  SQZ_TRY(matrix("x", x, rows, n, ldx));
  if (residual) SQZ_TRY(matrix("residual", residual, rows, n, ldr));
  SQZ_TRY(matrix("out", out, rows, n, ldo));
  SQZ_TRY(epsilon(eps));
  return run_rows(Op::rms_norm_f32, rows, n, [&](const Kernels &kernels, int64_t begin, int64_t end) {
    kernels.rms_norm_f32(end - begin, n, x + begin * ldx, ldx, residual ? residual + begin * ldr : nullptr, ldr, weight,
                         narrow(eps), out + begin * ldo, ldo);
  });
}

sqz_status sqz_l2_normalize_f32(int64_t rows, int64_t n, const float *x, int64_t ldx, double eps, float *out,
                                int64_t ldo) {
  SQZ_TRY(matrix("x", x, rows, n, ldx));
  SQZ_TRY(matrix("out", out, rows, n, ldo));
  SQZ_TRY(epsilon(eps));
  return run_rows(Op::l2_normalize_f32, rows, n, [&](const Kernels &kernels, int64_t begin, int64_t end) {
    kernels.l2_normalize_f32(end - begin, n, x + begin * ldx, ldx, narrow(eps), out + begin * ldo, ldo);
  });
}

sqz_status sqz_softmax_f32(int64_t rows, int64_t n, const float *x, int64_t ldx, const void *mask,
                           sqz_mask_kind mask_kind, int64_t mask_stride, double scale, sqz_fully_masked fully_masked,
                           float *out, int64_t ldo) {
  SQZ_TRY(matrix("x", x, rows, n, ldx));
  SQZ_TRY(matrix("out", out, rows, n, ldo));
  SQZ_TRY(choice("mask_kind", mask_kind, SQZ_MASK_NONE, SQZ_MASK_ADD));
  SQZ_TRY(choice("fully_masked", fully_masked, SQZ_MASKED_UNIFORM, SQZ_MASKED_ZERO));
  if (mask_kind != SQZ_MASK_NONE) SQZ_TRY(matrix("mask", mask, rows, n, mask_stride == 0 ? n : mask_stride));
  const int64_t mask_bytes = mask_kind == SQZ_MASK_NONE ? 0 : mask_stride * (mask_kind == SQZ_MASK_ADD ? 4 : 1);
  return run_rows(Op::softmax_f32, rows, 2 * n, [&](const Kernels &kernels, int64_t begin, int64_t end) {
    kernels.softmax_f32(end - begin, n, x + begin * ldx, ldx,
                        mask ? static_cast<const char *>(mask) + begin * mask_bytes : nullptr, mask_kind, mask_stride,
                        narrow(scale), fully_masked, out + begin * ldo, ldo);
  });
}

sqz_status sqz_activation_f32(sqz_activation activation, int64_t n, const float *x, float *out) {
  SQZ_TRY(choice("activation", activation, SQZ_ACT_NONE, SQZ_ACT_TANH));
  SQZ_TRY(matrix("x", x, 1, n, n));
  SQZ_TRY(matrix("out", out, 1, n, n));
  return run_rows(Op::activation_f32, n, 1, [&](const Kernels &kernels, int64_t begin, int64_t end) {
    kernels.activation_f32(activation, end - begin, x + begin, out + begin, 16);
  });
}

sqz_status sqz_mean_pool_f32(int64_t batch, int64_t length, int64_t n, const float *x, int64_t ldx, const uint8_t *mask,
                             int64_t mask_stride, float *out, int64_t ldo) {
  SQZ_CHECK(batch >= 0 && length >= 0 && (length == 0 || batch <= INT64_MAX / length),
            "batch: expected sizes >= 0 and fewer than 2^63 rows, got %lld sequences of %lld", (long long)batch,
            (long long)length);
  SQZ_TRY(matrix("x", x, batch * length, n, ldx));
  SQZ_TRY(matrix("out", out, batch, n, ldo));
  if (mask) SQZ_TRY(matrix("mask", mask, batch, length, mask_stride == 0 ? length : mask_stride));
  return run_rows(Op::mean_pool_f32, batch, (length + 1) * n, [&](const Kernels &kernels, int64_t begin, int64_t end) {
    kernels.mean_pool_f32(end - begin, length, n, x + begin * length * ldx, ldx,
                          mask ? mask + begin * mask_stride : nullptr, mask_stride, out + begin * ldo, ldo);
  });
}

}  // extern "C"
