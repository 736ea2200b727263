// The C interface to pointwise convolution: argument checks. csrc/run does the work.
#include <stdio.h>

#include "api_checks.h"
#include "kernels/pwconv/pwconv_s8.h"
#include "run/pwconv.h"

using namespace sqz;

namespace {

constexpr int64_t kMostChannels = INT64_C(1) << 28;  // and groups, of which zero channels could have any number

sqz_status check_channels(int64_t channels, int64_t groups) {
  SQZ_CHECK(channels >= 0 && channels <= kMostChannels, "channels: expected 0 to 2^28, got %lld", (long long)channels);
  SQZ_CHECK(groups >= 1 && groups <= kMostChannels && channels % groups == 0,
            "groups: expected a divisor of %lld channels, got %lld", (long long)channels, (long long)groups);
  return SQZ_OK;
}

sqz_status check_groups(int64_t groups, int64_t c_in, int64_t c_out) {
  SQZ_CHECK(c_in >= 0 && c_in <= kMostChannels, "c_in: expected 0 to 2^28 channels, got %lld", (long long)c_in);
  SQZ_CHECK(c_out >= 0 && c_out <= kMostChannels, "c_out: expected 0 to 2^28 channels, got %lld", (long long)c_out);
  SQZ_CHECK(groups >= 1 && groups <= kMostChannels && c_in % groups == 0 && c_out % groups == 0,
            "groups: expected a divisor of %lld input and %lld output channels, got %lld", (long long)c_in,
            (long long)c_out, (long long)groups);
  return SQZ_OK;
}

sqz_status check_groups_s8(int64_t groups, int64_t c_in, int64_t c_out) {
  SQZ_TRY(check_groups(groups, c_in, c_out));
  SQZ_CHECK(c_in / groups <= PackedS8::kMostGroupIn, "c_in: expected at most 2^17 channels a group, got %lld",
            (long long)(c_in / groups));
  return SQZ_OK;
}

sqz_status check_weight(int64_t size, const void *weight, sqz_dtype weight_dtype, int64_t packed_size,
                        const void *packed) {
  SQZ_TRY(check_enum("weight_dtype", weight_dtype, SQZ_F16));
  SQZ_CHECK(weight || size == 0, "weight: expected a pointer, got NULL");
  SQZ_CHECK(packed || packed_size == 0, "packed: expected a pointer, got NULL");
  return SQZ_OK;
}

sqz_status check_quantized(const char *name, const void *q, int64_t ldq, const char *scales_name, const float *scales,
                           int64_t rows, int64_t channels, int64_t groups) {
  SQZ_TRY(check_matrix(name, q, rows, quantized_width(channels, groups), ldq));
  return check_matrix(scales_name, scales, rows, groups, groups);
}

sqz_status check_input(const sqz_pwconv_input &x) {
  if (!x.q) return check_matrix("x", x.x, x.rows, x.c_in, x.ldx);
  SQZ_TRY(check_matrix("c_in", x.q, x.rows, x.c_in, x.c_in));  // the sizes alone
  SQZ_TRY(check_channels(x.c_in, x.groups));
  return check_quantized("q", x.q, x.ldq, "scales", x.scales, x.rows, x.c_in, x.groups);
}

sqz_status check_part(const sqz_pwconv_input &x, const sqz_pwconv_part &p) {
  SQZ_TRY(check_enum("dtype", p.dtype, SQZ_S8));
  const bool s8 = p.dtype == SQZ_S8;
  SQZ_TRY(s8 ? check_groups_s8(p.groups, x.c_in, p.c_out) : check_groups(p.groups, x.c_in, p.c_out));
  SQZ_CHECK(s8 || !x.q, "dtype: expected int8 weights for a quantised input, got floats");
  SQZ_CHECK(!x.q || p.groups == x.groups, "groups: expected those of the quantised input, %lld, got %lld",
            (long long)x.groups, (long long)p.groups);
  if (p.q_out) {
    SQZ_CHECK(p.groups_out >= 1 && p.groups_out <= kMostChannels && p.c_out % p.groups_out == 0,
              "groups_out: expected a divisor of %lld, got %lld", (long long)p.c_out, (long long)p.groups_out);
    SQZ_TRY(check_quantized("q_out", p.q_out, p.ldq_out, "scales_out", p.scales_out, x.rows, p.c_out, p.groups_out));
  } else {
    SQZ_TRY(check_matrix("out", p.out, x.rows, p.c_out, p.ldo));
  }
  if (p.residual) SQZ_TRY(check_matrix("residual", p.residual, x.rows, p.c_out, p.ldr));
  SQZ_CHECK(p.packed || p.c_out == 0 || (x.c_in == 0 && !s8), "packed: expected a pointer, got NULL");
  return check_enum("activation", p.activation, SQZ_ACT_TANH);
}

}  // namespace

extern "C" {

int64_t sqz_pwconv_packed_size_f32(int64_t groups, int64_t c_in, int64_t c_out) {
  if (check_groups(groups, c_in, c_out)) return -1;
  return pwconv_packed_size(SQZ_F32, groups, c_in, c_out);
}

int64_t sqz_pwconv_packed_size_f16(int64_t groups, int64_t c_in, int64_t c_out) {
  if (check_groups(groups, c_in, c_out)) return -1;
  return pwconv_packed_size(SQZ_F16, groups, c_in, c_out);
}

int64_t sqz_pwconv_packed_size_s8(int64_t groups, int64_t c_in, int64_t c_out) {
  if (check_groups_s8(groups, c_in, c_out)) return -1;
  return pwconv_packed_size(SQZ_S8, groups, c_in, c_out);
}

sqz_status sqz_pwconv_pack_f32(int64_t groups, int64_t c_in, int64_t c_out, const void *weight, sqz_dtype weight_dtype,
                               float *packed) {
  SQZ_TRY(check_groups(groups, c_in, c_out));
  SQZ_TRY(check_weight(c_in * c_out, weight, weight_dtype, c_in * c_out, packed));
  run_pwconv_pack(SQZ_F32, groups, c_in, c_out, weight, weight_dtype, packed, nullptr);
  return SQZ_OK;
}

sqz_status sqz_pwconv_pack_f16(int64_t groups, int64_t c_in, int64_t c_out, const void *weight, sqz_dtype weight_dtype,
                               uint16_t *packed) {
  SQZ_TRY(check_groups(groups, c_in, c_out));
  SQZ_TRY(check_weight(c_in * c_out, weight, weight_dtype, c_in * c_out, packed));
  float worst;
  SQZ_CHECK(run_pwconv_pack(SQZ_F16, groups, c_in, c_out, weight, weight_dtype, packed, &worst),
            "weight: expected values up to 65504, the largest float16, got %g", static_cast<double>(worst));
  return SQZ_OK;
}

sqz_status sqz_pwconv_pack_s8(int64_t groups, int64_t c_in, int64_t c_out, const void *weight, sqz_dtype weight_dtype,
                              void *packed) {
  SQZ_TRY(check_groups_s8(groups, c_in, c_out));
  SQZ_TRY(check_weight(c_in * c_out, weight, weight_dtype, c_out, packed));
  run_pwconv_pack(SQZ_S8, groups, c_in, c_out, weight, weight_dtype, packed, nullptr);
  return SQZ_OK;
}

int64_t sqz_quantized_width_s8(int64_t channels, int64_t groups) {
  if (check_channels(channels, groups)) return -1;
  return quantized_width(channels, groups);
}

sqz_status sqz_quantize_rows_s8(int64_t rows, int64_t channels, int64_t groups, const float *x, int64_t ldx, uint8_t *q,
                                int64_t ldq, float *scales) {
  SQZ_TRY(check_channels(channels, groups));
  SQZ_TRY(check_matrix("x", x, rows, channels, ldx));
  SQZ_TRY(check_quantized("q", q, ldq, "scales", scales, rows, channels, groups));
  return run_quantize_rows(rows, channels, groups, x, ldx, q, ldq, scales);
}

sqz_status sqz_pwconv_f32(int64_t rows, int64_t groups, int64_t c_in, int64_t c_out, const float *x, int64_t ldx,
                          const float *packed, const float *bias, sqz_activation activation, const float *residual,
                          int64_t ldr, float *out, int64_t ldo) {
  sqz_pwconv_input input = {};
  input.rows = rows;
  input.c_in = c_in;
  input.x = x;
  input.ldx = ldx;
  sqz_pwconv_part part = {};
  part.dtype = SQZ_F32;
  part.groups = groups;
  part.c_out = c_out;
  part.packed = packed;
  part.bias = bias;
  part.activation = activation;
  part.residual = residual;
  part.ldr = ldr;
  part.out = out;
  part.ldo = ldo;
  SQZ_TRY(check_part(input, part));
  SQZ_TRY(check_input(input));
  return run_pwconv(input, 1, &part);
}

sqz_status sqz_pwconv(const sqz_pwconv_input *input, int64_t count, const sqz_pwconv_part *parts) {
  SQZ_CHECK(input, "input: expected a pointer, got NULL");
  SQZ_TRY(check_input(*input));
  SQZ_CHECK(count >= 0, "count: expected a number >= 0, got %lld", (long long)count);
  SQZ_CHECK(parts || count == 0, "parts: expected a pointer, got NULL");
  for (int64_t i = 0; i < count; ++i)
    if (const sqz_status status = check_part(*input, parts[i])) {
      char what[kMessageSize];
      snprintf(what, sizeof what, "%s", sqz_error_message());
      return fail(status, "parts[%lld].%s", (long long)i, what);
    }
  return run_pwconv(*input, count, parts);
}

}  // extern "C"
