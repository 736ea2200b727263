// The C interface to the convolution with float16 weights.
#include "api_checks.h"

using namespace sqz;

extern "C" {

int64_t sqz_pwconv_packed_size_f16(int64_t groups, int64_t c_in, int64_t c_out) {
  return sqz_pwconv_packed_size_f32(groups, c_in, c_out);
}

sqz_status sqz_pwconv_pack_f16(int64_t groups, int64_t c_in, int64_t c_out, const void *weight, sqz_dtype weight_dtype,
                               uint16_t *packed) {
  SQZ_TRY(check_groups(groups, c_in, c_out));
  SQZ_TRY(check_enum("weight_dtype", weight_dtype, SQZ_F16));
  const int64_t size = c_in * c_out;
  SQZ_CHECK(weight || size == 0, "weight: expected a pointer, got NULL");
  SQZ_CHECK(packed || size == 0, "packed: expected a pointer, got NULL");
  if (size == 0) return SQZ_OK;
  FloatEnvironment environment;
  float worst;
  SQZ_CHECK(pwconv_pack_f16(groups, c_in / groups, c_out / groups, weight, weight_dtype, packed, &worst),
            "weight: expected values up to 65504, the largest float16, got %g", static_cast<double>(worst));
  return SQZ_OK;
}

sqz_status sqz_pwconv_f16(int64_t rows, int64_t groups, int64_t c_in, int64_t c_out, const float *x, int64_t ldx,
                          const uint16_t *packed, const float *bias, sqz_activation activation, const float *residual,
                          int64_t ldr, float *out, int64_t ldo) {
  SQZ_TRY(check_groups(groups, c_in, c_out));
  SQZ_TRY(check_matrix("x", x, rows, c_in, ldx));
  SQZ_TRY(check_matrix("out", out, rows, c_out, ldo));
  if (residual) SQZ_TRY(check_matrix("residual", residual, rows, c_out, ldr));
  SQZ_CHECK(packed || c_in == 0 || c_out == 0, "packed: expected a pointer, got NULL");
  SQZ_TRY(check_enum("activation", activation, SQZ_ACT_TANH));
  const Kernels *kernels;
  SQZ_TRY(begin(kPwconvF16, &kernels));
  if (rows == 0 || c_out == 0) return SQZ_OK;
  const PwconvF16 args = {groups, c_in / groups, c_out / groups, x, ldx, packed, bias, residual, ldr,
                          out,    ldo,           activation};
  // Panels outermost: a block of rows that stays in the second cache goes through all of them.
  constexpr int64_t kRowBlock = 96, kPanelBlock = 6;
  const int64_t panels = groups * args.panels_per_group();
  for (int64_t row = 0; row < rows; row += kRowBlock) {
    const int64_t row_end = at_most(row + kRowBlock, rows);
    const int64_t work = (row_end - row) * args.group_in * 16 * kPanelBlock;
    for_chunks(ceil_div(panels, kPanelBlock), (INT64_C(1) << 19) / (work + 1) + 1, [&](int64_t begin, int64_t end) {
      FloatEnvironment environment;
      kernels->pwconv_f16(args, row, row_end, begin * kPanelBlock, at_most(end * kPanelBlock, panels));
    });
  }
  return SQZ_OK;
}

}  // extern "C"
