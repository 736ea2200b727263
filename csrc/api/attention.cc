// Multi-head attention over sequences of any lengths.
#include "run/attention.h"

#include "api/call.h"
#include "api/operations.h"
#include "threading/float_environment.h"

namespace sqz {

namespace {

// ---- arrays --------------------------------------------------------------------------------------------------------

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
sqz_status padded(const sqz_array &q, const sqz_array &k, int64_t num_heads, AttentionArgs *to, Shape *scores) {
  SQZ_TRY(array("q", q));
  SQZ_CHECK(q.rank == 3, "q: expected shape (B, Lq, C), got %s", text(q).s);
  SQZ_TRY(array("k", k));
  SQZ_CHECK(k.rank == 3 && k.shape[0] == q.shape[0] && k.shape[2] == q.shape[2],
            "k: expected shape (%lld, Lk, %lld), got %s", (long long)q.shape[0], (long long)q.shape[2], text(k).s);
  to->batch = q.shape[0];
  for (const sqz_array *a : {&q, &k})
    SQZ_CHECK(to->batch == 0 || a->shape[1] <= INT32_MAX / to->batch,
              "%s: expected fewer than 2^31 rows, got %lld sequences of %lld", a == &q ? "q" : "k",
              (long long)to->batch, (long long)a->shape[1]);
  *scores = {q.shape[0], num_heads, q.shape[1], k.shape[1]};
  return SQZ_OK;
}

// 0, length, 2 length, ...
const int32_t *equal_offsets(Call &call, const char *name, int64_t batch, int64_t length) {
  int32_t *at = static_cast<int32_t *>(call.take(name, (batch + 1) * 4));
  for (int64_t b = 0; at && b <= batch; ++b) at[b] = static_cast<int32_t>(b * length);
  return at;
}

// What kernels read. The offsets of a ragged batch are there already.
void read(Call &call, const sqz_array &q, const sqz_array &k, const sqz_array &mask, const Shape &scores,
          const double *scale, AttentionArgs *to) {
  if (!to->q_offsets) {
    to->q_offsets = equal_offsets(call, "q", to->batch, q.shape[1]);
    to->k_offsets = equal_offsets(call, "k", to->batch, k.shape[1]);
  }
  const auto queries = call.rows("q", q), keys = call.rows("k", k);
  to->q = queries.p, to->ldq = queries.ld;
  to->k = keys.p, to->ldk = keys.ld;
  const Mask m = call.mask_axes("mask", mask, to->mask_ragged ? Shape(mask) : scores);
  to->mask = m.p;
  to->mask_kind = m.kind;
  for (int i = 0; i < 3; ++i) to->mask_strides[i] = m.strides[i];
  to->scale = scale ? *scale : sqz_attention_scale(to->head_size);
}

// A ragged batch. Its offsets are checked before the mask and the output, in the order of the Python front.
sqz_status check_ragged(Call &call, sqz_attention_args &a, AttentionArgs *to) {
  const bool both = given(a.cu_seqlens);
  SQZ_CHECK(!both || !(given(a.cu_seqlens_q) || given(a.cu_seqlens_k)),
            "cu_seqlens: expected None next to cu_seqlens_q and cu_seqlens_k, got %s", type_name(a.cu_seqlens));
  SQZ_TRY(array("q", a.q));
  SQZ_CHECK(a.q.rank == 2, "q: expected shape (total, C) with cu_seqlens, got %s", text(a.q).s);
  const Shape shape(a.q);
  if (both) SQZ_TRY(shaped("k", a.k, shape));
  SQZ_TRY(array("k", a.k));
  SQZ_CHECK(a.k.rank == 2 && a.k.shape[1] == shape.last(), "k: expected shape (total, %lld), got %s",
            (long long)shape.last(), text(a.k).s);
  SQZ_TRY(shaped("v", a.v, Shape(a.k)));
  SQZ_TRY(heads(a.num_heads, shape.last(), to));
  const char *const of_queries = both ? "cu_seqlens" : "cu_seqlens_q", *const of_keys =
                                                                           both ? of_queries : "cu_seqlens_k";
  const sqz_array &queries = both ? a.cu_seqlens : a.cu_seqlens_q, &keys = both ? a.cu_seqlens : a.cu_seqlens_k;
  SQZ_TRY(offsets(of_queries, queries));
  SQZ_TRY(offsets(of_keys, keys));
  to->batch = queries.shape[0] - 1;
  to->q_offsets = call.offsets(of_queries, queries, a.q.shape[0]);
  to->k_offsets = both ? to->q_offsets : call.offsets(of_keys, keys, a.k.shape[0]);
  SQZ_TRY(call.status());
  SQZ_TRY(shaped(of_queries, queries, Shape(keys), kS32));
  to->mask_ragged = given(a.mask);
  return given(a.mask) ? shaped("mask", a.mask, {a.k.shape[0]}, kBool | kF32) : SQZ_OK;
}

sqz_status check_and_run(Call &call, sqz_attention_args &a) {
  const bool ragged = given(a.cu_seqlens) || given(a.cu_seqlens_q) || given(a.cu_seqlens_k);
  AttentionArgs args = {};
  Shape scores;
  if (ragged) {
    SQZ_TRY(check_ragged(call, a, &args));
  } else {
    SQZ_TRY(padded(a.q, a.k, a.num_heads, &args, &scores));
    SQZ_TRY(shaped("v", a.v, Shape(a.k)));
    SQZ_TRY(heads(a.num_heads, a.q.shape[2], &args));
    SQZ_TRY(mask("mask", a.mask, scores));
  }
  SQZ_TRY(choice("fully_masked", a.fully_masked, SQZ_MASKED_UNIFORM, SQZ_MASKED_ZERO));
  SQZ_TRY(call.result(a.out, Shape(a.q),
                      {{"q", &a.q},
                       {"k", &a.k},
                       {"v", &a.v},
                       {"mask", &a.mask},
                       {"cu_seqlens", &a.cu_seqlens},
                       {"cu_seqlens_q", &a.cu_seqlens_q},
                       {"cu_seqlens_k", &a.cu_seqlens_k}}));
  read(call, a.q, a.k, a.mask, scores, a.scale, &args);
  const auto v = call.rows("v", a.v);
  SQZ_TRY(call.status());
  args.v = v.p, args.ldv = v.ld;
  args.fully_masked = a.fully_masked;
  args.out = floats(a.out), args.ldo = args.heads * args.head_size;
  return run_attention(args);
}

sqz_status check_and_run(Call &call, sqz_attention_scores_args &a) {
  AttentionArgs args = {};
  Shape scores;
  SQZ_TRY(padded(a.q, a.k, a.num_heads, &args, &scores));
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
              SQZ_REAL_OPTIONAL(scale), SQZ_WORD(fully_masked, 0, kFullyMaskedWords), SQZ_OUT(out))
SQZ_OPERATION(attention_scores, "attention_scores", SQZ_IN(q), SQZ_IN(k), SQZ_INT(num_heads), SQZ_IN_OPTIONAL(mask),
              SQZ_REAL_OPTIONAL(scale), SQZ_OUT(out))

extern "C" {

sqz_status sqz_attention_f32(const sqz_attention_f32_args *args) {
  SQZ_CHECK(args, "args: expected a pointer, got NULL");
  sqz_attention_f32_args a = *args;
  SQZ_TRY(choice("mask_kind", a.mask_kind, SQZ_MASK_NONE, SQZ_MASK_ADD));
  SQZ_TRY(choice("fully_masked", a.fully_masked, SQZ_MASKED_UNIFORM, SQZ_MASKED_ZERO));
  SQZ_CHECK(a.batch >= 0 && a.batch <= INT32_MAX, "batch: expected a size from 0 to 2^31 - 1, got %lld",
            (long long)a.batch);
  SQZ_CHECK(a.heads >= 0 && a.head_size >= 0 && a.heads <= kMaxHeads && a.head_size <= kMaxHeads,
            "heads: expected sizes from 0 to 2^24, got %lld heads of %lld", (long long)a.heads, (long long)a.head_size);
  Call call;
  SQZ_TRY(offsets_of(call, "q_offsets", a.batch, &a.q_offsets));
  SQZ_TRY(offsets_of(call, "k_offsets", a.batch, &a.k_offsets));
  int64_t longest = 0, most_queries = 0, pairs = 0;  // fewer than 2^62, because all rows are fewer than 2^31
  for (int64_t b = 0; b < a.batch; ++b) {
    const int64_t queries = a.q_offsets[b + 1] - a.q_offsets[b], keys = a.k_offsets[b + 1] - a.k_offsets[b];
    if (queries > most_queries) most_queries = queries;
    if (keys > longest) longest = keys;
    pairs += queries * keys;
  }
  const int64_t columns = a.heads * a.head_size;
  SQZ_TRY(matrix("q", a.q, a.q_offsets[a.batch], columns, a.ldq));
  SQZ_TRY(matrix("k", a.k, a.k_offsets[a.batch], columns, a.ldk));
  if (!a.scores) {
    SQZ_TRY(matrix("v", a.v, a.k_offsets[a.batch], columns, a.ldv));
    SQZ_TRY(matrix("out", a.out, a.q_offsets[a.batch], columns, a.ldo));
  }
  SQZ_CHECK(!a.scores || a.heads == 0 || pairs <= kMaxElements / a.heads,
            "scores: expected fewer than 2^58 elements, got %lld heads of %lld", (long long)a.heads, (long long)pairs);
  if (a.mask_kind != SQZ_MASK_NONE && longest > 0) {
    SQZ_CHECK(a.mask, "mask: expected a pointer, got NULL");
    const int64_t sizes[3] = {a.batch, a.heads, most_queries};
    for (int i = 0; i < 3 && !a.mask_ragged; ++i)
      SQZ_CHECK(a.mask_strides[i] >= 0 && a.mask_strides[i] <= kMaxElements / (sizes[i] > 1 ? sizes[i] : 1),
                "mask_strides: expected strides >= 0 and fewer than 2^58 elements, got a stride of %lld for %lld steps",
                (long long)a.mask_strides[i], (long long)sizes[i]);
  }
  return run_attention(a);
}

double sqz_attention_scale(int64_t head_size) { return reciprocal_root(head_size < 1 ? 1 : head_size); }

}  // extern "C"
