// Grouped pointwise convolution: packing of weights, quantised rows, and convolutions of one input.
#include "run/pwconv.h"

#include <stdio.h>

#include "api/call.h"
#include "api/operations.h"
#include "kernels/pwconv/pwconv_s8.h"
#include "kernels/quantize_rows/quantize_rows.h"

namespace sqz {

namespace {

// ---- sizes, of arrays and of pointers ------------------------------------------------------------------------------

sqz_status channels(const char *name, int64_t n) {
  SQZ_CHECK(n >= 0 && n <= kMaxChannels, "%s: expected 0 to 2^%d channels, got %lld", name, exponent(kMaxChannels),
            (long long)n);
  return SQZ_OK;
}

// Channels of a group that is rotated before it is quantised.
sqz_status rotated(const char *name, int64_t n, const char *what) {
  SQZ_CHECK(n % QuantizeRows::kBlock == 0, "%s: expected a multiple of %lld%s, got %lld", name,
            (long long)QuantizeRows::kBlock, what, (long long)n);
  return no_more_than(name, n, QuantizeRows::kMostRotated, what);
}

sqz_status conv_sizes(sqz_dtype dtype, int64_t groups, int64_t c_in, int64_t c_out) {
  SQZ_TRY(choice("dtype", dtype, SQZ_F32, SQZ_S8_ROTATED));
  SQZ_TRY(channels("c_in", c_in));
  SQZ_TRY(channels("c_out", c_out));
  SQZ_TRY(divisor("groups", groups, "c_in", c_in, "c_out", c_out));
  if (dtype == SQZ_S8_ROTATED) return rotated("c_in", c_in / groups, " channels per group for int8_rotated");
  if (dtype != SQZ_S8) return SQZ_OK;
  return no_more_than("c_in", c_in / groups, PackedS8::kMostGroupIn, " channels per group for int8");
}

int64_t packed_bytes(sqz_dtype dtype, int64_t groups, int64_t c_in, int64_t c_out) {
  return pwconv_packed_size(dtype, groups, c_in, c_out) * (dtype == SQZ_F32 ? 4 : dtype == SQZ_F16 ? 2 : 1);
}

sqz_status pack(sqz_dtype dtype, int64_t groups, int64_t c_in, int64_t c_out, const void *weight,
                sqz_dtype weight_dtype, void *packed) {
  float worst = 0;
  SQZ_CHECK(run_pwconv_pack(dtype, groups, c_in, c_out, weight, weight_dtype, packed, &worst),
            "weight: expected values up to 65504, the largest float16, got %g", static_cast<double>(worst));
  return SQZ_OK;
}

// ---- weights in arrays ---------------------------------------------------------------------------------------------

// (C_out, C_in / groups), with or without an axis of size 1 at the end.
sqz_status weight_shape(const sqz_array &weight, Types types) {
  SQZ_TRY(array("weight", weight, types));
  SQZ_CHECK(weight.rank == 2 || (weight.rank == 3 && weight.shape[2] == 1),
            "weight: expected shape (C_out, C_in / groups) or (C_out, C_in / groups, 1), got %s", text(weight).s);
  return SQZ_OK;
}

// Limits of a weight that is stored as `dtype`.
sqz_status weight_sizes(const sqz_array &weight, int64_t groups, sqz_dtype dtype) {
  const int64_t c_out = weight.shape[0], group_in = weight.shape[1];
  SQZ_CHECK(group_in == 0 || groups <= kMaxChannels / group_in,
            "weight: expected at most 2^%d input channels, got %lld groups of %lld", exponent(kMaxChannels),
            (long long)groups, (long long)group_in);
  SQZ_TRY(no_more_than("weight", c_out, kMaxChannels, " output channels"));
  if (dtype == SQZ_S8_ROTATED) return rotated("weight", group_in, " input channels per group for int8_rotated");
  if (dtype != SQZ_S8) return SQZ_OK;
  return no_more_than("weight", group_in, PackedS8::kMostGroupIn, " input channels per group for int8");
}

sqz_status at_line(const sqz_array &packed, int64_t bytes) {
  const auto place = static_cast<unsigned>(reinterpret_cast<uintptr_t>(packed.data) % 64);
  SQZ_CHECK(bytes == 0 || place == 0, "packed: expected an address that is a multiple of 64, got 64n + %u", place);
  return SQZ_OK;
}

// A copy of the bias, if there is one.
sqz_status bias_output(Call &call, const sqz_array &bias, sqz_array &out) {
  return given(bias) ? call.output(out, Shape(bias), {{"bias", &bias}}) : SQZ_OK;
}
sqz_status copy_bias(Call &call, const sqz_array &bias, const sqz_array &out) {
  const float *from = call.vector("bias", bias);
  for (int64_t i = 0; from && i < bias.shape[0]; ++i) floats(out)[i] = from[i];
  return call.status();
}

sqz_status check_and_run(Call &call, sqz_pack_pointwise_conv_args &a) {
  SQZ_TRY(weight_shape(a.weight, kF32 | kF16));
  const int64_t c_out = a.weight.shape[0];
  SQZ_TRY(optional("bias", a.bias, {c_out}));
  SQZ_TRY(divisor("groups", a.groups, "C_out", c_out));
  SQZ_TRY(choice("dtype", a.dtype, SQZ_F32, SQZ_S8_ROTATED));
  SQZ_TRY(weight_sizes(a.weight, a.groups, a.dtype));
  const int64_t c_in = a.groups * a.weight.shape[1];
  const int64_t bytes = packed_bytes(a.dtype, a.groups, c_in, c_out);
  if (bytes > PTRDIFF_MAX)  // on 32-bit systems
    return fail(SQZ_NO_MEMORY, "weight: expected memory for its packed form, got none");
  SQZ_TRY(call.output(a.packed, {bytes}, {{"weight", &a.weight}, {"bias", &a.bias}}, nullptr, SQZ_U8));
  SQZ_TRY(bias_output(call, a.bias, a.bias_out));
  SQZ_TRY(call.ready());
  SQZ_TRY(at_line(a.packed, bytes));
  const void *weight = call.dense("weight", a.weight);
  SQZ_TRY(copy_bias(call, a.bias, a.bias_out));
  return pack(a.dtype, a.groups, c_in, c_out, weight, a.weight.dtype, a.packed.data);
}

// The fields that describe a packed weight.
template <class Args>
sqz_status packed_weight(const Args &a) {
  SQZ_TRY(conv_sizes(a.dtype, a.groups, a.c_in, a.c_out));
  SQZ_TRY(array("packed", a.packed, kU8));
  const int64_t bytes = packed_bytes(a.dtype, a.groups, a.c_in, a.c_out), got = Shape(a.packed).elements();
  SQZ_CHECK(contiguous(a.packed), "packed: expected a C-contiguous buffer, got strides %s",
            text(a.packed.rank, a.packed.strides).s);
  SQZ_CHECK(got == bytes, "packed: expected %lld bytes, got %lld", (long long)bytes, (long long)got);
  SQZ_TRY(at_line(a.packed, bytes));
  return optional("bias", a.bias, {a.c_out});
}

sqz_status check_and_run(Call &call, sqz_use_packed_pointwise_conv_args &a) {
  SQZ_TRY(packed_weight(a));
  SQZ_TRY(bias_output(call, a.bias, a.bias_out));
  SQZ_TRY(call.ready());
  return copy_bias(call, a.bias, a.bias_out);
}

// ---- convolutions of arrays ----------------------------------------------------------------------------------------

sqz_status check_and_run(Call &call, sqz_pointwise_conv_args &a) {
  SQZ_TRY(rows("x", a.x));
  SQZ_TRY(weight_shape(a.weight, kF32));
  const int64_t c_out = a.weight.shape[0];
  SQZ_TRY(optional("bias", a.bias, {c_out}));
  const Shape from(a.x), to = from.with_last(c_out);
  const int64_t c_in = from.last();
  SQZ_TRY(divisor("groups", a.groups, "C_in", c_in, "C_out", c_out));
  SQZ_CHECK(a.weight.shape[1] == c_in / a.groups, "weight: expected shape (C_out, %lld), got %s",
            (long long)(c_in / a.groups), text(a.weight).s);
  SQZ_TRY(weight_sizes(a.weight, a.groups, SQZ_F32));
  SQZ_TRY(choice("activation", a.activation, SQZ_ACT_NONE, SQZ_ACT_TANH));
  SQZ_TRY(optional("residual", a.residual, to));
  SQZ_TRY(call.result(a.out, to, {{"x", &a.x}, {"weight", &a.weight}, {"bias", &a.bias}, {"residual", &a.residual}}));
  const auto x = call.rows("x", a.x), residual = call.rows("residual", a.residual);
  const float *bias = call.vector("bias", a.bias), *weight = call.vector("weight", a.weight);
  float *packed = static_cast<float *>(call.take("weight", packed_bytes(SQZ_F32, a.groups, c_in, c_out)));
  SQZ_TRY(call.status());
  SQZ_TRY(pack(SQZ_F32, a.groups, c_in, c_out, weight, SQZ_F32, packed));
  return sqz_pwconv_f32(from.rows(), a.groups, c_in, c_out, x.p, x.ld, packed, bias, a.activation, residual.p,
                        residual.ld, floats(a.out), c_out);
}

int64_t value_of(const int64_t *flag) { return flag ? *flag : 0; }

// An argument that asks for rotation, and the channels of the groups of `what`.
sqz_status rotation(const char *name, int64_t rotate, const char *what, int64_t n) {
  SQZ_CHECK(rotate == 0 || rotate == 1, "%s: expected 0 or 1, got %lld", name, (long long)rotate);
  return rotate ? rotated(what, n, " channels per group to rotate") : SQZ_OK;
}

// Bytes (..., width) and scales (..., groups).
sqz_status quantized_rows(const sqz_array &values, const sqz_array &scales, int64_t c_in, int64_t groups) {
  SQZ_TRY(array("x", values, kU8, "values"));
  SQZ_TRY(array("x", scales, kF32, "scales"));
  const int64_t width = quantized_width(c_in, groups);
  SQZ_CHECK(values.rank > 0 && values.shape[values.rank - 1] == width,
            "x: expected values of shape (..., %lld), got %s", (long long)width, text(values).s);
  const Shape wanted = Shape(values).with_last(groups);
  SQZ_CHECK(same_shape(scales, wanted), "x: expected scales of shape %s, got %s", text(wanted).s, text(scales).s);
  return SQZ_OK;
}

// Where quantised rows go: bytes (..., width) and scales (..., groups).
sqz_status quantized_output(Call &call, sqz_array &values, sqz_array &scales, const Shape &shape, int64_t groups,
                            std::initializer_list<Input> inputs) {
  SQZ_TRY(call.output(values, shape.with_last(quantized_width(shape.last(), groups)), inputs, nullptr, SQZ_U8));
  SQZ_TRY(call.output(scales, shape.with_last(groups), inputs));
  SQZ_CHECK(!values.data || !scales.data || !overlap(values, scales),
            "out: expected values apart from scales, got an overlap");
  return SQZ_OK;
}

sqz_status check_conv(Call &call, sqz_run_pointwise_conv_args &a) {
  SQZ_TRY(packed_weight(a));
  if (given(a.x_scales)) {
    SQZ_CHECK(is_int8(a.dtype), "x_scales: expected none for weights of another type than int8, got %s",
              type_name(a.x_scales));
    SQZ_TRY(quantized_rows(a.x, a.x_scales, a.c_in, a.groups));
  } else {
    SQZ_TRY(rows("x", a.x));
    SQZ_CHECK(a.x.shape[a.x.rank - 1] == a.c_in, "x: expected shape (..., %lld), got %s", (long long)a.c_in,
              text(a.x).s);
  }
  const Shape shape = Shape(a.x).with_last(a.c_out);
  SQZ_TRY(choice("activation", a.activation, SQZ_ACT_NONE, SQZ_ACT_TANH));
  SQZ_TRY(optional("residual", a.residual, shape));
  const std::initializer_list<Input> inputs = {
      {"x", &a.x}, {"x", &a.x_scales}, {"residual", &a.residual}, {"bias", &a.bias}, {"packed", &a.packed}};
  if (!a.quantize_groups) {
    SQZ_CHECK(!given(a.out_scales), "out_scales: expected none without quantize_groups, got %s",
              type_name(a.out_scales));
    return call.output(a.out, shape, inputs);
  }
  SQZ_TRY(divisor("quantize_groups", *a.quantize_groups, "C_out", a.c_out));
  SQZ_TRY(rotation("quantize_rotate", value_of(a.quantize_rotate), "quantize_groups", a.c_out / *a.quantize_groups));
  return quantized_output(call, a.out, a.out_scales, shape, *a.quantize_groups, inputs);
}

void read_input(Call &call, const sqz_run_pointwise_conv_args &a, PwconvInput *x) {
  x->rows = Shape(a.x).rows();
  x->c_in = a.c_in;
  if (given(a.x_scales)) {
    const auto bytes = call.rows<uint8_t>("x", a.x);
    x->q = bytes.p, x->ldq = bytes.ld;
    x->groups = a.groups;
    x->scales = call.vector("x", a.x_scales);
  } else {
    const auto rows = call.rows("x", a.x);
    x->x = rows.p, x->ldx = rows.ld;
  }
}

void read_part(Call &call, const sqz_run_pointwise_conv_args &a, PwconvPart *part) {
  *part = {};
  part->dtype = a.dtype, part->groups = a.groups, part->c_out = a.c_out;
  part->packed = a.packed.data;
  part->bias = call.vector("bias", a.bias);
  part->activation = a.activation;
  const auto residual = call.rows("residual", a.residual);
  part->residual = residual.p, part->ldr = residual.ld;
  if (a.quantize_groups) {
    part->groups_out = *a.quantize_groups;
    part->q_out = static_cast<uint8_t *>(a.out.data);
    part->ldq_out = quantized_width(a.c_out, part->groups_out);
    part->scales_out = floats(a.out_scales);
    part->rotate_out = value_of(a.quantize_rotate);
  } else {
    part->out = floats(a.out), part->ldo = a.c_out;
  }
}

// Results of convolutions in one call lie apart.
sqz_status apart(const sqz_run_pointwise_conv_args *args, int64_t i) {
  for (int64_t j = 0; j < i; ++j)
    for (const sqz_array *a : {&args[i].out, &args[i].out_scales})
      for (const sqz_array *b : {&args[j].out, &args[j].out_scales})
        SQZ_CHECK(!a->data || !b->data || !overlap(*a, *b),
                  "out: expected memory apart from the inputs, got an overlap with out[%lld]", (long long)j);
  return SQZ_OK;
}

sqz_status check_and_run(Call &call, sqz_run_pointwise_conv_args *args, int64_t count) {
  for (int64_t i = 0; i < count && !call.checked; ++i) {
    SQZ_TRY(check_conv(call, args[i]));
    SQZ_CHECK(same_view(args[i].x, args[0].x) && args[i].x_scales.data == args[0].x_scales.data,
              "x: expected one array for all convolutions, got another for the one at position %lld", (long long)i);
    SQZ_CHECK(!given(args[i].x_scales) || (args[i].dtype == args[0].dtype && args[i].groups == args[0].groups),
              "x: expected floats for weights of other types and groups, got quantised rows");
    SQZ_TRY(apart(args, i));
  }
  SQZ_TRY(call.ready());
  constexpr int64_t kFew = 4;  // that need no memory of the heap
  PwconvInput x = {};
  PwconvPart few[kFew];
  PwconvPart *parts = few;
  if (count > kFew) parts = static_cast<PwconvPart *>(call.take("args", count * int64_t{sizeof *parts}));
  read_input(call, args[0], &x);
  for (int64_t i = 0; parts && i < count; ++i) read_part(call, args[i], parts + i);
  SQZ_TRY(call.status());
  return run_pwconv(x, count, parts);
}

sqz_status check_and_run(Call &call, sqz_run_pointwise_conv_args &a) { return check_and_run(call, &a, 1); }

sqz_status check_and_run(Call &call, sqz_quantize_rows_args &a) {
  SQZ_TRY(rows("x", a.x));
  const Shape shape(a.x);
  SQZ_TRY(no_more_than("x", shape.last(), kMaxChannels, " channels"));
  SQZ_TRY(divisor("groups", a.groups, "C", shape.last()));
  SQZ_TRY(rotation("rotate", value_of(a.rotate), "x", shape.last() / a.groups));
  SQZ_TRY(quantized_output(call, a.values, a.scales, shape, a.groups, {{"x", &a.x}}));
  SQZ_TRY(call.ready());
  const auto x = call.rows("x", a.x);
  SQZ_TRY(call.status());
  return run_quantize_rows(shape.rows(), shape.last(), a.groups, value_of(a.rotate) != 0, x.p, x.ld,
                           static_cast<uint8_t *>(a.values.data), quantized_width(shape.last(), a.groups),
                           floats(a.scales));
}

// ---- pointers ------------------------------------------------------------------------------------------------------

sqz_status pack_pointers(sqz_dtype dtype, int64_t groups, int64_t c_in, int64_t c_out, const void *weight,
                         sqz_dtype weight_dtype, void *packed) {
  SQZ_TRY(conv_sizes(dtype, groups, c_in, c_out));
  SQZ_TRY(choice("weight_dtype", weight_dtype, SQZ_F32, SQZ_F16));
  SQZ_CHECK(weight || c_in * c_out == 0, "weight: expected a pointer, got NULL");
  SQZ_CHECK(packed || packed_bytes(dtype, groups, c_in, c_out) == 0, "packed: expected a pointer, got NULL");
  return pack(dtype, groups, c_in, c_out, weight, weight_dtype, packed);
}

sqz_status quantized_matrix(const char *name, const void *q, int64_t ldq, const char *scales_name, const float *scales,
                            int64_t rows, int64_t channels, int64_t groups) {
  SQZ_TRY(matrix(name, q, rows, quantized_width(channels, groups), ldq));
  return matrix(scales_name, scales, rows, groups, groups);
}

sqz_status quantized_sizes(int64_t n, int64_t groups) {
  SQZ_TRY(channels("channels", n));
  return divisor("groups", groups, "channels", n);
}

sqz_status check_input(const sqz_pwconv_input &x) {
  if (!x.q) return matrix("x", x.x, x.rows, x.c_in, x.ldx);
  SQZ_TRY(channels("c_in", x.c_in));
  SQZ_TRY(matrix("c_in", x.q, x.rows, x.c_in, x.c_in));  // the sizes alone
  SQZ_TRY(divisor("groups", x.groups, "c_in", x.c_in));
  return quantized_matrix("q", x.q, x.ldq, "scales", x.scales, x.rows, x.c_in, x.groups);
}

sqz_status check_part(const sqz_pwconv_input &x, const sqz_pwconv_part &p) {
  SQZ_TRY(conv_sizes(p.dtype, p.groups, x.c_in, p.c_out));
  SQZ_CHECK(is_int8(p.dtype) || !x.q, "dtype: expected int8 weights for a quantised input, got floats");
  SQZ_CHECK(!x.q || p.groups == x.groups, "groups: expected those of the quantised input, %lld, got %lld",
            (long long)x.groups, (long long)p.groups);
  if (p.q_out) {
    SQZ_TRY(divisor("groups_out", p.groups_out, "c_out", p.c_out));
    SQZ_TRY(quantized_matrix("q_out", p.q_out, p.ldq_out, "scales_out", p.scales_out, x.rows, p.c_out, p.groups_out));
    SQZ_TRY(rotation("rotate_out", p.rotate_out, "groups_out", p.c_out / p.groups_out));
  } else {
    SQZ_TRY(matrix("out", p.out, x.rows, p.c_out, p.ldo));
  }
  if (p.residual) SQZ_TRY(matrix("residual", p.residual, x.rows, p.c_out, p.ldr));
  SQZ_CHECK(p.packed || packed_bytes(p.dtype, p.groups, x.c_in, p.c_out) == 0, "packed: expected a pointer, got NULL");
  return choice("activation", p.activation, SQZ_ACT_NONE, SQZ_ACT_TANH);
}

int64_t packed_size(sqz_dtype dtype, int64_t groups, int64_t c_in, int64_t c_out) {
  return conv_sizes(dtype, groups, c_in, c_out) ? -1 : pwconv_packed_size(dtype, groups, c_in, c_out);
}

}  // namespace

}  // namespace sqz

using namespace sqz;

SQZ_OPERATION(pointwise_conv, "pointwise_conv", SQZ_IN(x), SQZ_IN(weight), SQZ_IN_OPTIONAL(bias), SQZ_INT(groups),
              SQZ_WORD(activation, 0, kActivationWords), SQZ_IN_OPTIONAL(residual), SQZ_OUT(out))
SQZ_OPERATION(pack_pointwise_conv, "PointwiseConv", SQZ_IN(weight), SQZ_IN_OPTIONAL(bias), SQZ_INT(groups),
              SQZ_WORD(dtype, SQZ_F32, kDtypeWords), SQZ_OUT(packed), SQZ_OUT(bias_out))
SQZ_OPERATION(use_packed_pointwise_conv, "PointwiseConv", SQZ_IN(packed), SQZ_IN_OPTIONAL(bias), SQZ_INT(c_in),
              SQZ_INT(c_out), SQZ_INT(groups), SQZ_WORD(dtype, SQZ_F32, kDtypeWords), SQZ_OUT(bias_out))
SQZ_OPERATION(run_pointwise_conv, "PointwiseConv", SQZ_IN(packed), SQZ_IN_OPTIONAL(bias), SQZ_INT(c_in), SQZ_INT(c_out),
              SQZ_INT(groups), SQZ_WORD(dtype, SQZ_F32, kDtypeWords), SQZ_IN(x), SQZ_IN_OPTIONAL(x_scales),
              SQZ_WORD(activation, 0, kActivationWords), SQZ_IN_OPTIONAL(residual), SQZ_INT_OPTIONAL(quantize_groups),
              SQZ_OUT(out), SQZ_OUT(out_scales), SQZ_INT_OPTIONAL(quantize_rotate))
SQZ_OPERATION(quantize_rows, "quantize_rows", SQZ_IN(x), SQZ_INT(groups), SQZ_OUT(values), SQZ_OUT(scales),
              SQZ_INT_OPTIONAL(rotate))

static sqz_status run_pointwise_convs(void *args, int64_t count, int32_t checked) {
  constexpr size_t size = sizeof(sqz_run_pointwise_conv_args);
  return with_size(args, size, count, checked, [](Call &call, void *a, int64_t n) {
    return check_and_run(call, static_cast<sqz_run_pointwise_conv_args *>(a), n);
  });
}
const sqz_operation sqz::operation_run_pointwise_convs =
    row_of<run_pointwise_conv_table>("run_pointwise_convs", "pointwise_convs", 1, run_pointwise_convs);

extern "C" {

sqz_status sqz_run_pointwise_convs(sqz_run_pointwise_conv_args *args, int64_t count) {
  return run_pointwise_convs(args, count, 0);
}

int64_t sqz_pwconv_packed_size_f32(int64_t groups, int64_t c_in, int64_t c_out) {
  return packed_size(SQZ_F32, groups, c_in, c_out);
}

int64_t sqz_pwconv_packed_size_f16(int64_t groups, int64_t c_in, int64_t c_out) {
  return packed_size(SQZ_F16, groups, c_in, c_out);
}

int64_t sqz_pwconv_packed_size_s8(int64_t groups, int64_t c_in, int64_t c_out) {
  return packed_size(SQZ_S8, groups, c_in, c_out);
}

sqz_status sqz_pwconv_pack_f32(int64_t groups, int64_t c_in, int64_t c_out, const void *weight, sqz_dtype weight_dtype,
                               float *packed) {
  return pack_pointers(SQZ_F32, groups, c_in, c_out, weight, weight_dtype, packed);
}

sqz_status sqz_pwconv_pack_f16(int64_t groups, int64_t c_in, int64_t c_out, const void *weight, sqz_dtype weight_dtype,
                               uint16_t *packed) {
  return pack_pointers(SQZ_F16, groups, c_in, c_out, weight, weight_dtype, packed);
}

sqz_status sqz_pwconv_pack_s8(int64_t groups, int64_t c_in, int64_t c_out, const void *weight, sqz_dtype weight_dtype,
                              void *packed) {
  return pack_pointers(SQZ_S8, groups, c_in, c_out, weight, weight_dtype, packed);
}

int64_t sqz_quantized_width_s8(int64_t channels, int64_t groups) {
  return quantized_sizes(channels, groups) ? -1 : quantized_width(channels, groups);
}

sqz_status sqz_quantize_rows_s8(int64_t rows, int64_t channels, int64_t groups, const float *x, int64_t ldx, uint8_t *q,
                                int64_t ldq, float *scales) {
  SQZ_TRY(quantized_sizes(channels, groups));
  SQZ_TRY(matrix("x", x, rows, channels, ldx));
  SQZ_TRY(quantized_matrix("q", q, ldq, "scales", scales, rows, channels, groups));
  return run_quantize_rows(rows, channels, groups, false, x, ldx, q, ldq, scales);
}

sqz_status sqz_pwconv_f32(int64_t rows, int64_t groups, int64_t c_in, int64_t c_out, const float *x, int64_t ldx,
                          const float *packed, const float *bias, sqz_activation activation, const float *residual,
                          int64_t ldr, float *out, int64_t ldo) {
  const sqz_pwconv_input input = {rows, c_in, x, ldx, nullptr, 0, nullptr, 0};
  sqz_pwconv_part part = {};
  part.dtype = SQZ_F32, part.groups = groups, part.c_out = c_out;
  part.packed = packed, part.bias = bias, part.activation = activation;
  part.residual = residual, part.ldr = ldr, part.out = out, part.ldo = ldo;
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
