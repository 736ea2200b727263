// Operations of the C library by name, with inputs of their own: what bench.c times and arm/counted.c counts. Whoever
// includes this defines MEASURED(...), which runs its statements some times. An operation is a line of words:
//
//     pwconv DTYPE TOKENS C_IN C_OUT GROUPS ACTIVATION RESIDUAL      DTYPE: f32 f16 s8; ACTIVATION: none gelu tanh
//     quantize_rows TOKENS CHANNELS GROUPS
//     layer_norm TOKENS CHANNELS RESIDUAL
//     rms_norm ROWS CHANNELS
//     l2_normalize ROWS CHANNELS
//     embedding TOKENS CHANNELS                                      of a float16 table
//     embedding_layer_norm TOKENS CHANNELS                           of float16 tables
//     mean_pool TOKENS CHANNELS
//     activation ACTIVATION COUNT
//     softmax ROWS COLUMNS
//     attention DTYPE TOKENS CHANNELS HEADS                          f32 s8
//     layer DTYPE TOKENS ATTENTION                                   a layer of SqueezeBERT-base; ATTENTION: f32 s8
//
// The rows of int8 operations are quantised beforehand.
#ifndef BENCH_OPERATIONS_H_
#define BENCH_OPERATIONS_H_

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "squeezeops/squeezeops.h"

static void fail(const char *what) {
  fprintf(stderr, "%s\n", what);
  exit(1);
}

static void check(sqz_status status) {
  if (status != SQZ_OK) fail(sqz_error_message());
}

// The memory of an operation, freed after it.
static void *rooms[64];
static int room_count;

static void *room(int64_t bytes) {
  void *p = aligned_alloc(64, (size_t)(bytes + 63) / 64 * 64 + 64);
  if (!p) fail("no memory");
  if (room_count == sizeof rooms / sizeof *rooms) fail("too many arrays");
  return rooms[room_count++] = p;
}

// What an operation does: the kernel's row in the library's table, and the work of a call, in operations (two per
// multiply-add) or, for units of "GB/s", in bytes (each input and output once).
static struct {
  const char *op, *dtype, *unit;
  double work;
} about;

static void does(const char *op, const char *dtype, const char *unit, double work) {
  about.op = op, about.dtype = dtype, about.unit = unit, about.work = work;
}

// Pseudo-random numbers from -1 to 1, the same in each run.
static float *floats(int64_t n) {
  static uint32_t state = 1;
  float *p = room(n * 4);
  for (int64_t i = 0; i < n; ++i) {
    state = state * 1664525u + 1013904223u;
    p[i] = (float)(int32_t)state * 0x1p-31f;
  }
  return p;
}

static sqz_dtype dtype_of(const char *name) {
  if (!strcmp(name, "f32")) return SQZ_F32;
  if (!strcmp(name, "f16")) return SQZ_F16;
  if (!strcmp(name, "s8")) return SQZ_S8;
  fail("expected a dtype among f32, f16, s8");
  return SQZ_F32;
}

static const char *name_of(sqz_dtype dtype) { return dtype == SQZ_F32 ? "f32" : dtype == SQZ_F16 ? "f16" : "s8"; }

static sqz_activation activation_of(const char *name) {
  if (!strcmp(name, "none")) return SQZ_ACT_NONE;
  if (!strcmp(name, "gelu")) return SQZ_ACT_GELU;
  if (!strcmp(name, "tanh")) return SQZ_ACT_TANH;
  fail("expected an activation among none, gelu, tanh");
  return SQZ_ACT_NONE;
}

// A convolution with weights of its own; the caller adds what is read and written.
static sqz_pwconv_part convolution(sqz_dtype dtype, int64_t c_in, int64_t c_out, int64_t groups) {
  float *weight = floats(c_out * (c_in / groups));
  void *packed;
  if (dtype == SQZ_F32) {
    packed = room(sqz_pwconv_packed_size_f32(groups, c_in, c_out) * 4);
    check(sqz_pwconv_pack_f32(groups, c_in, c_out, weight, SQZ_F32, packed));
  } else if (dtype == SQZ_F16) {
    packed = room(sqz_pwconv_packed_size_f16(groups, c_in, c_out) * 2);
    check(sqz_pwconv_pack_f16(groups, c_in, c_out, weight, SQZ_F32, packed));
  } else {
    packed = room(sqz_pwconv_packed_size_s8(groups, c_in, c_out));
    check(sqz_pwconv_pack_s8(groups, c_in, c_out, weight, SQZ_F32, packed));
  }
  return (sqz_pwconv_part){
      .dtype = dtype, .groups = groups, .c_out = c_out, .packed = packed, .bias = floats(c_out), .ldo = c_out};
}

// Each runs the operation of a line, of which it gets the words after the first.
typedef char *const *words;

static int64_t number_from(int64_t least, const char *word) {
  char *end;
  const long long value = strtoll(word, &end, 10);
  if (end == word || *end || value < least || value > INT32_MAX) fail("expected sizes as whole numbers below 2^31");
  return value;
}

static int64_t number(const char *word) { return number_from(0, word); }
static int64_t divisor(const char *word) { return number_from(1, word); }

static void run_pwconv(words w) {
  const sqz_dtype dtype = dtype_of(w[0]);
  const int64_t tokens = number(w[1]), c_in = number(w[2]), c_out = number(w[3]), groups = divisor(w[4]);
  sqz_pwconv_part part = convolution(dtype, c_in, c_out, groups);
  part.activation = activation_of(w[5]);
  part.out = room(tokens * c_out * 4);
  part.residual = number(w[6]) ? floats(tokens * c_out) : NULL;
  part.ldr = c_out;
  sqz_pwconv_input input = {.rows = tokens, .c_in = c_in, .x = floats(tokens * c_in), .ldx = c_in};
  if (dtype == SQZ_S8) {
    const int64_t width = sqz_quantized_width_s8(c_in, groups);
    uint8_t *q = room(tokens * width);
    float *scales = room(tokens * groups * 4);
    check(sqz_quantize_rows_s8(tokens, c_in, groups, input.x, c_in, q, width, scales));
    input.q = q, input.ldq = width, input.scales = scales, input.groups = groups;
  }
  does("pwconv", name_of(dtype), dtype == SQZ_S8 ? "GOP/s" : "GFLOP/s", 2.0 * tokens * (c_in / groups) * c_out);
  MEASURED(check(sqz_pwconv(&input, 1, &part)));
}

static void run_quantize_rows(words w) {
  const int64_t tokens = number(w[0]), channels = number(w[1]), groups = divisor(w[2]);
  const int64_t width = sqz_quantized_width_s8(channels, groups);
  float *x = floats(tokens * channels), *scales = room(tokens * groups * 4);
  uint8_t *q = room(tokens * width);
  does("quantize_rows", "s8", "GB/s", tokens * (5.0 * channels + 4 * groups));
  MEASURED(check(sqz_quantize_rows_s8(tokens, channels, groups, x, channels, q, width, scales)));
}

static void run_layer_norm(words w) {
  const int64_t tokens = number(w[0]), n = number(w[1]);
  float *x = floats(tokens * n), *weight = floats(n), *bias = floats(n), *out = room(tokens * n * 4);
  float *added = number(w[2]) ? floats(tokens * n) : NULL;
  does("layer_norm", "f32", "GB/s", 8.0 * n * (tokens + 1) + (added ? 4.0 * n * tokens : 0));
  MEASURED(check(sqz_layer_norm_f32(tokens, n, x, n, added, n, weight, bias, 1e-12, out, n)));
}

static void run_rms_norm(words w) {
  const int64_t rows = number(w[0]), n = number(w[1]);
  float *x = floats(rows * n), *weight = floats(n), *out = room(rows * n * 4);
  does("rms_norm", "f32", "GB/s", 8.0 * n * rows + 4 * n);
  MEASURED(check(sqz_rms_norm_f32(rows, n, x, n, NULL, 0, weight, 1e-6, out, n)));
}

static void run_l2_normalize(words w) {
  const int64_t rows = number(w[0]), n = number(w[1]);
  float *x = floats(rows * n), *out = room(rows * n * 4);
  does("l2_normalize", "f32", "GB/s", 8.0 * n * rows);
  MEASURED(check(sqz_l2_normalize_f32(rows, n, x, n, 1e-12, out, n)));
}

static void run_mean_pool(words w) {
  const int64_t tokens = number(w[0]), n = number(w[1]);
  float *x = floats(tokens * n), *out = room(n * 4);
  does("mean_pool", "f32", "GB/s", 4.0 * n * (tokens + 1));
  MEASURED(check(sqz_mean_pool_f32(1, tokens, n, x, n, NULL, 0, out, n)));
}

static void gather(words w, int normalized) {
  const int64_t tokens = number(w[0]), n = number(w[1]);
  enum { kRows = 512 };
  uint16_t *table = room(kRows * n * 2);
  for (int64_t i = 0; i < kRows * n; ++i) table[i] = (uint16_t)(0x3000 + i % 4096);  // 0.125 to 2
  int64_t *ids = room(tokens * 8);
  for (int64_t i = 0; i < tokens; ++i) ids[i] = i * 37 % kRows;
  const int64_t *three_ids[3] = {ids, ids, ids}, rows[3] = {kRows, kRows, kRows};
  const void *tables[3] = {table, table, table};
  const sqz_dtype dtypes[3] = {SQZ_F16, SQZ_F16, SQZ_F16};
  float *weight = floats(n), *bias = floats(n), *out = room(tokens * n * 4);
  if (normalized) {
    does("embedding_layer_norm", "f32", "GB/s", tokens * (24 + 10.0 * n) + 8 * n);
    MEASURED(
        check(sqz_embedding_layer_norm_f32(tokens, n, three_ids, tables, dtypes, rows, weight, bias, 1e-12, out, n)));
  } else {
    does("embedding", "f32", "GB/s", tokens * (8 + 6.0 * n));
    MEASURED(check(sqz_embedding_f32(tokens, n, ids, table, SQZ_F16, kRows, out, n)));
  }
}

static void run_embedding(words w) { gather(w, 0); }
static void run_embedding_layer_norm(words w) { gather(w, 1); }

static void run_activation(words w) {
  const int64_t n = number(w[1]);
  float *x = floats(n), *out = room(n * 4);
  does("activation", "f32", "GB/s", 8.0 * n);
  MEASURED(check(sqz_activation_f32(activation_of(w[0]), n, x, out)));
}

static void run_softmax(words w) {
  const int64_t rows = number(w[0]), n = number(w[1]);
  float *x = floats(rows * n), *out = room(rows * n * 4);
  does("softmax", "f32", "GB/s", 8.0 * n * rows);
  MEASURED(check(sqz_softmax_f32(rows, n, x, n, NULL, SQZ_MASK_NONE, 0, 0.125, SQZ_MASKED_UNIFORM, out, n)));
}

static sqz_attention_f32_args attention(const int32_t *offsets, int64_t c, int64_t heads) {
  const int64_t size = c / heads;
  sqz_attention_f32_args a = {
      .batch = 1, .q_offsets = offsets, .k_offsets = offsets, .heads = heads, .head_size = size};
  a.ldq = a.ldk = a.ldv = a.ldo = c;
  a.scale = sqz_attention_scale(size);
  return a;
}

// Of quantised rows, whose values lack their bias and are scaled.
static sqz_attention_s8_args attention_s8(const int32_t *offsets, int64_t c, int64_t heads) {
  const int64_t size = c / heads;
  sqz_attention_s8_args a = {.batch = 1, .q_offsets = offsets, .k_offsets = offsets, .heads = heads, .head_size = size};
  a.ldq = a.ldk = a.ldv = sqz_quantized_width_s8(c, heads);
  if (a.ldq < 0) fail(sqz_error_message());
  a.ldo = c;
  a.scale = sqz_attention_scale(size);
  a.value_scale = floats(c), a.value_bias = floats(c);
  return a;
}

static void run_attention(words w) {
  const sqz_dtype dtype = dtype_of(w[0]);
  const int64_t tokens = number(w[1]), c = number(w[2]), heads = divisor(w[3]);
  const int32_t offsets[2] = {0, (int32_t)tokens};
  float *x[3] = {floats(tokens * c), floats(tokens * c), floats(tokens * c)}, *out = room(tokens * c * 4);
  does("attention", name_of(dtype), dtype == SQZ_S8 ? "GOP/s" : "GFLOP/s", 4.0 * tokens * tokens * c);
  if (dtype == SQZ_F32) {
    sqz_attention_f32_args args = attention(offsets, c, heads);
    args.q = x[0], args.k = x[1], args.v = x[2], args.out = out;
    MEASURED(check(sqz_attention_f32(&args)));
    return;
  }
  sqz_attention_s8_args args = attention_s8(offsets, c, heads);
  uint8_t *q[3];
  float *scales[3];
  for (int i = 0; i < 3; ++i) {
    q[i] = room(tokens * args.ldq), scales[i] = room(tokens * heads * 4);
    check(sqz_quantize_rows_s8(tokens, c, heads, x[i], c, q[i], args.ldq, scales[i]));
  }
  args.q = q[0], args.k = q[1], args.v = q[2], args.out = out;
  args.q_scales = scales[0], args.k_scales = scales[1], args.v_scales = scales[2];
  MEASURED(check(sqz_attention_s8(&args)));
}

// As squeezeops/squeezebert/model/layer.py runs a layer. With int8 weights, what lies between the last two convolutions
// is quantised as soon as it is computed; with int8 attention what that reads, too, and the biases of keys and values
// are left out and added later.
static void run_layer(words w) {
  const sqz_dtype dtype = dtype_of(w[0]), attends = dtype_of(w[2]);
  const int64_t tokens = number(w[1]);
  enum { C = 768, F = 3072, kHeads = 12, kStride = C + 16 };
  const int32_t offsets[2] = {0, (int32_t)tokens};
  float *x = floats(tokens * kStride), *wide = room(tokens * (F + 16) * 4), *weight = floats(C), *bias = floats(C);
  float *work[5];
  for (int i = 0; i < 5; ++i) work[i] = room(tokens * kStride * 4);
  const int64_t width = sqz_quantized_width_s8(F, 4);
  uint8_t *q = room(tokens * width);
  float *scales = room(tokens * 4 * 4);

  sqz_pwconv_part qkv[3];
  for (int i = 0; i < 3; ++i) {
    qkv[i] = convolution(dtype, C, C, 4);
    qkv[i].out = work[i];
    qkv[i].ldo = kStride;
  }
  sqz_attention_f32_args args = attention(offsets, C, kHeads);
  args.q = work[0], args.k = work[1], args.v = work[2], args.out = work[3];
  args.ldq = args.ldk = args.ldv = args.ldo = kStride;
  sqz_attention_s8_args args_s8 = attention_s8(offsets, C, kHeads);
  if (attends == SQZ_S8) {
    for (int i = 0; i < 3; ++i) {
      qkv[i].q_out = room(tokens * args_s8.ldq), qkv[i].ldq_out = args_s8.ldq;
      qkv[i].scales_out = room(tokens * kHeads * 4), qkv[i].groups_out = kHeads;
    }
    qkv[1].bias = qkv[2].bias = NULL;
    args_s8.q = qkv[0].q_out, args_s8.k = qkv[1].q_out, args_s8.v = qkv[2].q_out;
    args_s8.q_scales = qkv[0].scales_out, args_s8.k_scales = qkv[1].scales_out, args_s8.v_scales = qkv[2].scales_out;
    args_s8.out = work[3], args_s8.ldo = kStride;
  }
  sqz_pwconv_part post = convolution(dtype, C, C, 1), inner = convolution(dtype, C, F, 4),
                  outer = convolution(dtype, F, C, 4);
  post.out = work[0];
  post.residual = x;
  outer.out = work[4];
  outer.residual = work[0];
  post.ldo = post.ldr = outer.ldo = outer.ldr = kStride;
  inner.activation = SQZ_ACT_GELU;
  sqz_pwconv_input from_x = {.rows = tokens, .c_in = C, .x = x, .ldx = kStride}, from_context = from_x,
                   from_norm = from_x, from_inner = {.rows = tokens, .c_in = F};
  from_context.x = work[3];
  from_norm.x = work[0];
  if (dtype == SQZ_S8) {
    inner.q_out = q, inner.ldq_out = width, inner.scales_out = scales, inner.groups_out = 4;
    from_inner.q = q, from_inner.ldq = width, from_inner.scales = scales, from_inner.groups = 4;
  } else {
    inner.out = wide, inner.ldo = F + 16;
    from_inner.x = wide, from_inner.ldx = F + 16;
  }
  const double per_token = 3.0 * C * (C / 4) + C * C + 2.0 * (C / 4) * F;
  does("pwconv", name_of(dtype), dtype == SQZ_S8 ? "GOP/s" : "GFLOP/s",
       2 * tokens * per_token + 4.0 * tokens * tokens * C);
  MEASURED(check(sqz_pwconv(&from_x, 3, qkv));
           check(attends == SQZ_S8 ? sqz_attention_s8(&args_s8) : sqz_attention_f32(&args));
           check(sqz_pwconv(&from_context, 1, &post));
           check(sqz_layer_norm_f32(tokens, C, work[0], kStride, NULL, 0, weight, bias, 1e-12, work[0], kStride));
           check(sqz_pwconv(&from_norm, 1, &inner)); check(sqz_pwconv(&from_inner, 1, &outer));
           check(sqz_layer_norm_f32(tokens, C, work[4], kStride, NULL, 0, weight, bias, 1e-12, work[4], kStride)));
}

#define OPERATION(name, count) {#name, count, run_##name}
static const struct {
  const char *name;
  int count;  // of words after it
  void (*run)(words w);
} kOperations[] = {
    OPERATION(pwconv, 7),
    OPERATION(quantize_rows, 3),
    OPERATION(layer_norm, 3),
    OPERATION(rms_norm, 2),
    OPERATION(l2_normalize, 2),
    OPERATION(embedding, 2),
    OPERATION(embedding_layer_norm, 2),
    OPERATION(mean_pool, 2),
    OPERATION(activation, 2),
    OPERATION(softmax, 2),
    OPERATION(attention, 4),
    OPERATION(layer, 3),
};

// Run the operation of a line.
static void run_line(const char *text) {
  char line[256], *word[9];
  snprintf(line, sizeof line, "%s", text);
  int count = 0;
  for (char *w = strtok(line, " \n"); w && count < 9; w = strtok(NULL, " \n")) word[count++] = w;
  for (size_t i = 0; i < sizeof kOperations / sizeof *kOperations; ++i) {
    if (count != kOperations[i].count + 1 || strcmp(word[0], kOperations[i].name)) continue;
    kOperations[i].run(word + 1);
    while (room_count) free(rooms[--room_count]);
    return;
  }
  fprintf(stderr, "expected an operation and its words, such as \"layer_norm 128 768 0\", got: %s\n", text);
  exit(2);
}

#endif  // BENCH_OPERATIONS_H_
