// Multi-head attention over sequences of any lengths.
#include "run/attention.h"

#include "api/call.h"
#include "api/operations.h"
#include "threading/float_environment.h"

namespace sqz {

namespace {

// ---- arrays --------------------------------------------------------------------------------------------------------

// What q, k and v are: floats, or the values of quantised rows.
struct Kind {
  Types types;
  const char *what, *of, *channels;
};
constexpr Kind kFloats = {kF32, "an array", "", "C"}, kBytes = {kU8, "values", "values of ", "W"};

sqz_status heads(int64_t num_heads, int64_t channels, AttentionArgs *to) {
  SQZ_TRY(divisor("num_heads", num_heads, "C", channels));
  SQZ_CHECK(num_heads <= kMaxHeads && channels / num_heads <= kMaxHeads,
            "num_heads: expected at most 2^24 heads of 2^24 channels, got %lld of %lld", (long long)num_heads,
            (long long)(channels / num_heads));
  to->heads = num_heads;
  to->head_size = channels / num_heads;
  return SQZ_OK;
}

// q (B, Lq, C) and k (B, Lk, C); the shapes of the scores.
template <class To>
sqz_status padded(const Kind &kind, const sqz_array &q, const sqz_array &k, int64_t num_heads, To *to, Shape *scores) {
  SQZ_TRY(array("q", q, kind.types, kind.what));
  SQZ_CHECK(q.rank == 3, "q: expected %sshape (B, Lq, %s), got %s", kind.of, kind.channels, text(q).s);
  SQZ_TRY(array("k", k, kind.types, kind.what));
  SQZ_CHECK(k.rank == 3 && k.shape[0] == q.shape[0] && k.shape[2] == q.shape[2],
            "k: expected %sshape (%lld, Lk, %lld), got %s", kind.of, (long long)q.shape[0], (long long)q.shape[2],
            text(k).s);
  to->batch = q.shape[0];
  for (const sqz_array *a : {&q, &k})
    SQZ_CHECK(to->batch == 0 || a->shape[1] <= INT32_MAX / to->batch,
              "%s: expected fewer than 2^31 rows, got %lld sequences of %lld", a == &q ? "q" : "k",
              (long long)to->batch, (long long)a->shape[1]);
  *scores = {q.shape[0], num_heads, q.shape[1], k.shape[1]};
  return SQZ_OK;
}

// v, of k's shape.
sqz_status values(const Kind &kind, const sqz_array &v, const sqz_array &k) {
  SQZ_TRY(array("v", v, kind.types, kind.what));
  SQZ_CHECK(same_shape(v, Shape(k)), "v: expected %sshape %s, got %s", kind.of, text(k).s, text(v).s);
  return SQZ_OK;
}

// 0, length, 2 length, ...
const int32_t *equal_offsets(Call &call, const char *name, int64_t batch, int64_t length) {
  int32_t *at = static_cast<int32_t *>(call.take(name, (batch + 1) * 4));
  for (int64_t b = 0; at && b <= batch; ++b) at[b] = static_cast<int32_t>(b * length);
  return at;
}

// What kernels read, but for the elements of v. The offsets of a ragged batch are there already.
template <class T, class To>
Mask read(Call &call, const sqz_array &q, const sqz_array &k, const sqz_array &mask, const Shape &scores,
          const double *scale, To *to) {
  if (!to->q_offsets) {
    to->q_offsets = equal_offsets(call, "q", to->batch, q.shape[1]);
    to->k_offsets = equal_offsets(call, "k", to->batch, k.shape[1]);
  }
  const auto queries = call.rows<T>("q", q), keys = call.rows<T>("k", k);
  to->q = queries.p, to->ldq = queries.ld;
  to->k = keys.p, to->ldk = keys.ld;
  to->scale = scale ? *scale : sqz_attention_scale(to->head_size);
  return call.mask_axes("mask", mask, to->mask_ragged ? Shape(mask) : scores);
}

void read(Call &call, const sqz_array &q, const sqz_array &k, const sqz_array &mask, const Shape &scores,
          const double *scale, AttentionArgs *to) {
  const Mask m = read<float>(call, q, k, mask, scores, scale, to);
  to->mask = m.p;
  to->mask_kind = m.kind;
  for (int i = 0; i < 3; ++i) to->mask_strides[i] = m.strides[i];
}

bool ragged(const sqz_attention_args &a) {
  return given(a.cu_seqlens) || given(a.cu_seqlens_q) || given(a.cu_seqlens_k);
}

// q (total_q, C) and k (total_k, C) of a ragged batch.
sqz_status ragged_rows(const Kind &kind, const sqz_attention_args &a) {
  const bool both = given(a.cu_seqlens);
  SQZ_CHECK(!both || !(given(a.cu_seqlens_q) || given(a.cu_seqlens_k)),
            "cu_seqlens: expected None next to cu_seqlens_q and cu_seqlens_k, got %s", type_name(a.cu_seqlens));
  SQZ_TRY(array("q", a.q, kind.types, kind.what));
  SQZ_CHECK(a.q.rank == 2, "q: expected %sshape (total, %s) with cu_seqlens, got %s", kind.of, kind.channels,
            text(a.q).s);
  SQZ_TRY(array("k", a.k, kind.types, kind.what));
  SQZ_CHECK(!both || same_shape(a.k, Shape(a.q)), "k: expected %sshape %s, got %s", kind.of, text(a.q).s, text(a.k).s);
  SQZ_CHECK(a.k.rank == 2 && a.k.shape[1] == a.q.shape[1], "k: expected %sshape (total, %lld), got %s", kind.of,
            (long long)a.q.shape[1], text(a.k).s);
  return SQZ_OK;
}

// The offsets of a ragged batch, checked before the mask and the output, in the order of the Python front.
template <class To>
sqz_status ragged_offsets(Call &call, sqz_attention_args &a, To *to) {
  const bool both = given(a.cu_seqlens);
  const char *const of_queries = both ? "cu_seqlens" : "cu_seqlens_q", *const of_keys =
                                                                           both ? of_queries : "cu_seqlens_k";
  const sqz_array &queries = both ? a.cu_seqlens : a.cu_seqlens_q, &keys = both ? a.cu_seqlens : a.cu_seqlens_k;
  SQZ_TRY(offsets(of_queries, queries));
  SQZ_TRY(offsets(of_keys, keys));
  to->batch = queries.shape[0] - 1;
  to->q_offsets = call.offsets(of_queries, queries, a.q.shape[0]);
  to->k_offsets = both ? to->q_offsets : call.offsets(of_keys, keys, a.k.shape[0]);
  SQZ_TRY(call.status());
  to->mask_ragged = given(a.mask);
  return shaped(of_queries, queries, Shape(keys), kS32);
}

sqz_status key_mask(const sqz_attention_args &a, const Shape &scores, Types types) {
  if (!given(a.mask) || !ragged(a)) return mask("mask", a.mask, scores, types);
  return shaped("mask", a.mask, {a.k.shape[0]}, types);
}

sqz_status result(Call &call, sqz_attention_args &a, const Shape &shape) {
  return call.result(a.out, shape,
                     {{"q", &a.q},
                      {"q", &a.q_scales},
                      {"k", &a.k},
                      {"k", &a.k_scales},
                      {"v", &a.v},
                      {"v", &a.v_scales},
                      {"mask", &a.mask},
                      {"cu_seqlens", &a.cu_seqlens},
                      {"cu_seqlens_q", &a.cu_seqlens_q},
                      {"cu_seqlens_k", &a.cu_seqlens_k},
                      {"value_scale", &a.value_scale},
                      {"value_bias", &a.value_bias}});
}

sqz_status of_floats(Call &call, sqz_attention_args &a) {
  for (const Input &of_bytes : {Input{"value_scale", &a.value_scale}, Input{"value_bias", &a.value_bias}})
    SQZ_CHECK(!given(*of_bytes.array), "%s: expected None for rows of floats, got %s", of_bytes.name,
              type_name(*of_bytes.array));
  AttentionArgs args = {};
  Shape scores;
  SQZ_TRY(ragged(a) ? ragged_rows(kFloats, a) : padded(kFloats, a.q, a.k, a.num_heads, &args, &scores));
  SQZ_TRY(values(kFloats, a.v, a.k));
  SQZ_TRY(heads(a.num_heads, a.q.shape[a.q.rank - 1], &args));
  if (ragged(a)) SQZ_TRY(ragged_offsets(call, a, &args));
  SQZ_TRY(key_mask(a, scores, kBool | kF32));
  SQZ_TRY(choice("fully_masked", a.fully_masked, SQZ_MASKED_UNIFORM, SQZ_MASKED_ZERO));
  SQZ_TRY(result(call, a, Shape(a.q)));
  read(call, a.q, a.k, a.mask, scores, a.scale, &args);
  const auto v = call.rows("v", a.v);
  SQZ_TRY(call.status());
  args.v = v.p, args.ldv = v.ld;
  args.fully_masked = a.fully_masked;
  args.out = floats(a.out), args.ldo = args.heads * args.head_size;
  return run_attention(args);
}

// The longest of the sequences.
int64_t longest(int64_t batch, const int32_t *offsets) {
  int64_t most = 0;
  for (int64_t b = 0; b < batch; ++b)
    if (offsets[b + 1] - offsets[b] > most) most = offsets[b + 1] - offsets[b];
  return most;
}

sqz_status byte_heads(int64_t num_heads, int64_t width) {
  SQZ_TRY(divisor("num_heads", num_heads, "W", width));
  const int64_t n = width / num_heads;
  SQZ_CHECK(n % 4 == 0, "num_heads: expected heads of a multiple of 4 bytes, got %lld of %lld", (long long)num_heads,
            (long long)n);
  SQZ_CHECK(num_heads <= kMaxHeads && n <= kMaxByteHead,
            "num_heads: expected at most 2^24 heads of 2^17 channels, got %lld of %lld", (long long)num_heads,
            (long long)n);
  return SQZ_OK;
}

sqz_status row_scales(const char *name, const sqz_array &scales, const sqz_array &values, int64_t num_heads) {
  SQZ_TRY(array(name, scales, kF32, "scales"));
  const Shape shape = Shape(values).with_last(num_heads);
  SQZ_CHECK(same_shape(scales, shape), "%s: expected scales of shape %s, got %s", name, text(shape).s, text(scales).s);
  return SQZ_OK;
}

// Whether rows of so many channels have so many bytes.
bool pads_to(int64_t channels, int64_t num_heads, int64_t width) {
  return channels % num_heads == 0 && (channels / num_heads + 3) / 4 * 4 == width / num_heads;
}

// The channels of the result. The bytes do not tell how many of them fill up a head; value_scale, value_bias and out
// do.
sqz_status channels_out(const sqz_attention_args &a, int64_t width, int64_t *channels) {
  *channels = -1;
  for (const Input &of : {Input{"value_scale", &a.value_scale}, Input{"value_bias", &a.value_bias}}) {
    if (!given(*of.array)) continue;
    if (*channels >= 0) return shaped(of.name, *of.array, {*channels});
    SQZ_TRY(array(of.name, *of.array));
    const int64_t n = width / a.num_heads;
    SQZ_CHECK(of.array->rank == 1 && pads_to(of.array->shape[0], a.num_heads, width),
              "%s: expected shape (C,) with C / num_heads from %lld to %lld, got %s", of.name,
              (long long)(n ? n - 3 : 0), (long long)n, text(*of.array).s);
    *channels = of.array->shape[0];
  }
  if (*channels >= 0) return SQZ_OK;
  const bool told = given(a.out) && !array("out", a.out) && a.out.rank == a.q.rank &&
                    pads_to(a.out.shape[a.out.rank - 1], a.num_heads, width);
  *channels = told ? a.out.shape[a.out.rank - 1] : width;
  return SQZ_OK;
}

sqz_status of_bytes(Call &call, sqz_attention_args &a) {
  sqz_attention_s8_args args = {};
  Shape scores;
  SQZ_TRY(ragged(a) ? ragged_rows(kBytes, a) : padded(kBytes, a.q, a.k, a.num_heads, &args, &scores));
  SQZ_TRY(values(kBytes, a.v, a.k));
  const int64_t width = a.q.shape[a.q.rank - 1];
  SQZ_TRY(byte_heads(a.num_heads, width));
  SQZ_TRY(row_scales("q", a.q_scales, a.q, a.num_heads));
  SQZ_TRY(row_scales("k", a.k_scales, a.k, a.num_heads));
  SQZ_TRY(row_scales("v", a.v_scales, a.v, a.num_heads));
  if (ragged(a)) SQZ_TRY(ragged_offsets(call, a, &args));
  const int64_t keys = ragged(a) ? longest(args.batch, args.k_offsets) : a.k.shape[1];
  SQZ_TRY(no_more_than("k", keys, kMaxByteKeys, " keys per sequence"));
  if (!ragged(a)) scores.n[2] = 1;  // one row of keys for all queries
  SQZ_TRY(key_mask(a, scores, kBool));
  SQZ_TRY(choice("fully_masked", a.fully_masked, SQZ_MASKED_UNIFORM, SQZ_MASKED_ZERO));
  int64_t channels;
  SQZ_TRY(channels_out(a, width, &channels));
  SQZ_TRY(result(call, a, Shape(a.q).with_last(channels)));
  args.heads = a.num_heads;
  args.head_size = channels / a.num_heads;
  const Mask m = read<uint8_t>(call, a.q, a.k, a.mask, scores, a.scale, &args);
  args.mask = static_cast<const uint8_t *>(m.p);
  for (int i = 0; i < 2; ++i) args.mask_strides[i] = m.strides[i];
  const auto v = call.rows<uint8_t>("v", a.v);
  args.v = v.p, args.ldv = v.ld;
  args.q_scales = call.vector("q", a.q_scales);
  args.k_scales = call.vector("k", a.k_scales);
  args.v_scales = call.vector("v", a.v_scales);
  args.value_scale = call.vector("value_scale", a.value_scale);
  args.value_bias = call.vector("value_bias", a.value_bias);
  SQZ_TRY(call.status());
  args.fully_masked = a.fully_masked;
  args.out = floats(a.out), args.ldo = channels;
  return run_attention(args);
}

sqz_status check_and_run(Call &call, sqz_attention_args &a) {
  return given(a.q_scales) || given(a.k_scales) || given(a.v_scales) ? of_bytes(call, a) : of_floats(call, a);
}

sqz_status check_and_run(Call &call, sqz_attention_scores_args &a) {
  AttentionArgs args = {};
  Shape scores;
  SQZ_TRY(padded(kFloats, a.q, a.k, a.num_heads, &args, &scores));
  SQZ_TRY(heads(a.num_heads, a.q.shape[2], &args));
  SQZ_TRY(mask("mask", a.mask, scores));
  SQZ_TRY(call.result(a.out, scores, {{"q", &a.q}, {"k", &a.k}, {"mask", &a.mask}}));
  if (scores.elements() == 0) return SQZ_OK;
  read(call, a.q, a.k, a.mask, scores, a.scale, &args);
  SQZ_TRY(call.status());
  args.scores = floats(a.out);
  return run_attention(args);
}

// ---- pointers ------------------------------------------------------------------------------------------------------

sqz_status batch_size(int64_t batch) {
  SQZ_CHECK(batch >= 0 && batch <= INT32_MAX, "batch: expected a size from 0 to 2^31 - 1, got %lld", (long long)batch);
  return SQZ_OK;
}

sqz_status mask_strides(int axes, const int64_t *sizes, const int64_t *strides) {
  for (int i = 0; i < axes; ++i)
    SQZ_CHECK(strides[i] >= 0 && strides[i] <= kMaxElements / (sizes[i] > 1 ? sizes[i] : 1),
              "mask_strides: expected strides >= 0 and fewer than 2^58 elements, got a stride of %lld for %lld steps",
              (long long)strides[i], (long long)sizes[i]);
  return SQZ_OK;
}

sqz_status offsets_of(Call &call, const char *name, int64_t batch, const int32_t **offsets) {
  *offsets = call.values(name, *offsets, batch + 1);
  SQZ_TRY(call.status());
  return ascending(name, *offsets, batch);
}

}  // namespace

}  // namespace sqz

using namespace sqz;

SQZ_OPERATION(attention, "attention", SQZ_IN(q), SQZ_IN(k), SQZ_IN(v), SQZ_INT(num_heads), SQZ_IN_OPTIONAL(cu_seqlens),
              SQZ_IN_OPTIONAL(cu_seqlens_q), SQZ_IN_OPTIONAL(cu_seqlens_k), SQZ_IN_OPTIONAL(mask),
              SQZ_REAL_OPTIONAL(scale), SQZ_WORD(fully_masked, 0, kFullyMaskedWords), SQZ_OUT(out),
              SQZ_IN_OPTIONAL(q_scales), SQZ_IN_OPTIONAL(k_scales), SQZ_IN_OPTIONAL(v_scales),
              SQZ_IN_OPTIONAL(value_scale), SQZ_IN_OPTIONAL(value_bias))
SQZ_OPERATION(attention_scores, "attention_scores", SQZ_IN(q), SQZ_IN(k), SQZ_INT(num_heads), SQZ_IN_OPTIONAL(mask),
              SQZ_REAL_OPTIONAL(scale), SQZ_OUT(out))

extern "C" {

sqz_status sqz_attention_f32(const sqz_attention_f32_args *args) {
  SQZ_CHECK(args, "args: expected a pointer, got NULL");
  sqz_attention_f32_args a = *args;
  SQZ_TRY(choice("mask_kind", a.mask_kind, SQZ_MASK_NONE, SQZ_MASK_ADD));
  SQZ_TRY(choice("fully_masked", a.fully_masked, SQZ_MASKED_UNIFORM, SQZ_MASKED_ZERO));
  SQZ_TRY(batch_size(a.batch));
  SQZ_CHECK(a.heads >= 0 && a.head_size >= 0 && a.heads <= kMaxHeads && a.head_size <= kMaxHeads,
            "heads: expected sizes from 0 to 2^24, got %lld heads of %lld", (long long)a.heads, (long long)a.head_size);
  Call call;
  SQZ_TRY(offsets_of(call, "q_offsets", a.batch, &a.q_offsets));
  SQZ_TRY(offsets_of(call, "k_offsets", a.batch, &a.k_offsets));
  int64_t pairs = 0;  // fewer than 2^62, because all rows are fewer than 2^31
  for (int64_t b = 0; b < a.batch; ++b)
    pairs += int64_t{a.q_offsets[b + 1] - a.q_offsets[b]} * (a.k_offsets[b + 1] - a.k_offsets[b]);
  const int64_t columns = a.heads * a.head_size;
  SQZ_TRY(matrix("q", a.q, a.q_offsets[a.batch], columns, a.ldq));
  SQZ_TRY(matrix("k", a.k, a.k_offsets[a.batch], columns, a.ldk));
  if (!a.scores) {
    SQZ_TRY(matrix("v", a.v, a.k_offsets[a.batch], columns, a.ldv));
    SQZ_TRY(matrix("out", a.out, a.q_offsets[a.batch], columns, a.ldo));
  }
  SQZ_CHECK(!a.scores || a.heads == 0 || pairs <= kMaxElements / a.heads,
            "scores: expected fewer than 2^58 elements, got %lld heads of %lld", (long long)a.heads, (long long)pairs);
  if (a.mask_kind != SQZ_MASK_NONE && longest(a.batch, a.k_offsets) > 0) {
    SQZ_CHECK(a.mask, "mask: expected a pointer, got NULL");
    const int64_t sizes[3] = {a.batch, a.heads, longest(a.batch, a.q_offsets)};
    if (!a.mask_ragged) SQZ_TRY(mask_strides(3, sizes, a.mask_strides));
  }
  return run_attention(a);
}

sqz_status sqz_attention_s8(const sqz_attention_s8_args *args) {
  SQZ_CHECK(args, "args: expected a pointer, got NULL");
  sqz_attention_s8_args a = *args;
  SQZ_TRY(choice("fully_masked", a.fully_masked, SQZ_MASKED_UNIFORM, SQZ_MASKED_ZERO));
  SQZ_TRY(batch_size(a.batch));
  SQZ_CHECK(a.heads >= 0 && a.head_size >= 0 && a.heads <= kMaxHeads && a.head_size <= kMaxByteHead,
            "heads: expected at most 2^24 heads of 2^17 channels, got %lld of %lld", (long long)a.heads,
            (long long)a.head_size);
  Call call;
  SQZ_TRY(offsets_of(call, "q_offsets", a.batch, &a.q_offsets));
  SQZ_TRY(offsets_of(call, "k_offsets", a.batch, &a.k_offsets));
  const int64_t keys = longest(a.batch, a.k_offsets);
  SQZ_TRY(no_more_than("k_offsets", keys, kMaxByteKeys, " keys per sequence"));
  const int64_t queries = a.q_offsets[a.batch], rows = a.k_offsets[a.batch];
  const int64_t width = a.heads * ((a.head_size + 3) / 4 * 4), channels = a.heads * a.head_size;
  SQZ_TRY(matrix("q", a.q, queries, width, a.ldq));
  SQZ_TRY(matrix("q_scales", a.q_scales, queries, a.heads, a.heads));
  SQZ_TRY(matrix("k", a.k, rows, width, a.ldk));
  SQZ_TRY(matrix("k_scales", a.k_scales, rows, a.heads, a.heads));
  SQZ_TRY(matrix("v", a.v, rows, width, a.ldv));
  SQZ_TRY(matrix("v_scales", a.v_scales, rows, a.heads, a.heads));
  SQZ_TRY(matrix("out", a.out, queries, channels, a.ldo));
  const int64_t sizes[2] = {a.batch, a.heads};
  if (a.mask && !a.mask_ragged && keys > 0) SQZ_TRY(mask_strides(2, sizes, a.mask_strides));
  return run_attention(a);
}

double sqz_attention_scale(int64_t head_size) { return reciprocal_root(head_size < 1 ? 1 : head_size); }

}  // extern "C"
