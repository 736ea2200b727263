#include "run/attention.h"

#include "run/run.h"
#include "schedule/attention.h"

namespace sqz {

namespace {

// Args are those of the op, for floats or for quantised rows. Its kernel computes queries of one head.
template <class Args, class Head>
struct Context {
  const Args &a;
  const AttentionSizes &sizes;
  const AttentionSchedule &schedule;
  void (*run)(const Head &);
  float scale;
  char *memory;  // one slice per thread
  int64_t slice;
};

void fill(const Context<AttentionArgs, AttentionHead> &c, const AttentionTask &t, AttentionHead *h) {
  const AttentionArgs &a = c.a;
  const int64_t q0 = a.q_offsets[t.sequence] + t.begin, k0 = a.k_offsets[t.sequence];
  const int64_t column = t.head * a.head_size;
  const int64_t mask_at =
      a.mask_ragged ? k0 : t.sequence * a.mask_strides[0] + t.head * a.mask_strides[1] + t.begin * a.mask_strides[2];
  h->q = a.q + q0 * a.ldq + column;
  h->ldq = a.ldq;
  h->k = a.k + k0 * a.ldk + column;
  h->ldk = a.ldk;
  h->mask_kind = a.mask_kind;
  if (a.mask_kind != SQZ_MASK_NONE)
    h->mask = static_cast<const char *>(a.mask) + mask_at * (a.mask_kind == SQZ_MASK_ADD ? 4 : 1);
  h->mask_stride = a.mask_ragged ? 0 : a.mask_strides[2];
  h->scale = c.scale;
  if (a.scores) {
    int64_t before = 0;  // scores of one head of the sequences before this one
    for (int64_t b = 0; b < t.sequence; ++b) before += c.sizes.pairs(b);
    h->scores = a.scores + before * a.heads + (t.head * c.sizes.queries(t.sequence) + t.begin) * h->keys;
  } else {
    h->v = a.v + k0 * a.ldv + column;
    h->ldv = a.ldv;
  }
  h->scratch = reinterpret_cast<float *>(c.memory);
}

void fill(const Context<AttentionS8Args, AttentionHeadS8> &c, const AttentionTask &t, AttentionHeadS8 *h) {
  const AttentionS8Args &a = c.a;
  const int64_t q0 = a.q_offsets[t.sequence] + t.begin, k0 = a.k_offsets[t.sequence];
  const int64_t column = t.head * QuantizeRows::width(a.head_size);
  h->q = a.q + q0 * a.ldq + column;
  h->ldq = a.ldq;
  h->k = a.k + k0 * a.ldk + column;
  h->ldk = a.ldk;
  h->v = a.v + k0 * a.ldv + column;
  h->ldv = a.ldv;
  h->q_scales = a.q_scales + q0 * a.heads + t.head;
  h->k_scales = a.k_scales + k0 * a.heads + t.head;
  h->v_scales = a.v_scales + k0 * a.heads + t.head;
  h->lds = a.heads;
  if (a.mask) h->mask = a.mask + (a.mask_ragged ? k0 : t.sequence * a.mask_strides[0] + t.head * a.mask_strides[1]);
  h->factor = c.scale * 1.44269504f;
  if (a.value_scale) h->value_scale = a.value_scale + t.head * a.head_size;
  if (a.value_bias) h->value_bias = a.value_bias + t.head * a.head_size;
  h->scratch = c.memory;
}

template <class Args, class Head>
void run_task(void *context, int64_t i, int worker) {
  Context<Args, Head> c = *static_cast<const Context<Args, Head> *>(context);
  const Args &a = c.a;
  const AttentionTask t = c.schedule.task(i);
  FloatEnvironment environment;
  c.memory += worker * c.slice;
  Head h = {};
  h.queries = t.end - t.begin;
  h.keys = c.sizes.keys(t.sequence);
  h.head_size = a.head_size;
  h.fully_masked = a.fully_masked;
  h.out = a.out ? a.out + (a.q_offsets[t.sequence] + t.begin) * a.ldo + t.head * a.head_size : nullptr;
  h.ldo = a.ldo;
  fill(c, t, &h);
  c.run(h);
}

// `slice` is the scratch memory of a thread in bytes, `block` the number of queries that the kernel handles at once.
template <class Args, class Head>
sqz_status run(const Args &a, const AttentionSizes &sizes, void (*kernel)(const Head &), int64_t slice, int block) {
  const int threads = num_threads();  // read once, because another thread may change it
  slice = ceil_div(slice, 64) * 64;
  const int64_t entries = a.batch * static_cast<int64_t>(sizeof(AttentionSchedule::Entry));
  float *memory = slice <= INT64_MAX / 8 / threads ? scratch(ceil_div(slice * threads + entries, 4)) : nullptr;
  if (!memory)
    return fail(SQZ_NO_MEMORY, "attention: expected scratch memory for %d threads, %lld bytes each, got none", threads,
                (long long)slice);
  char *const bytes = reinterpret_cast<char *>(memory);
  const AttentionSchedule schedule(sizes, block, threads,
                                   reinterpret_cast<AttentionSchedule::Entry *>(bytes + slice * threads));
  Context<Args, Head> context = {a, sizes, schedule, kernel, narrow(a.scale), bytes, slice};
  parallel_for(schedule.tasks(), run_task<Args, Head>, &context, threads);
  return SQZ_OK;
}

}  // namespace

sqz_status run_attention(const AttentionArgs &a) {
  const Kernels *kernels;
  SQZ_TRY(begin(Op::attention_f32, &kernels));
  if (a.batch == 0 || a.q_offsets[a.batch] == 0 || a.heads == 0 || (a.head_size == 0 && !a.scores)) return SQZ_OK;
  const AttentionSizes sizes = {a.batch, a.q_offsets, a.k_offsets, a.heads};
  const int64_t floats = AttentionHead::scratch_size(sizes.max_keys(), a.head_size);
  return run(a, sizes, kernels->attention_f32, at_most(floats, INT64_MAX / 8) * 4, kAttentionMaxRows);
}

sqz_status run_attention(const AttentionS8Args &a) {
  const Kernels *kernels;
  SQZ_TRY(begin(Op::attention_s8, &kernels));
  if (a.batch == 0 || a.q_offsets[a.batch] == 0 || a.heads == 0 || a.head_size == 0) return SQZ_OK;
  const AttentionSizes sizes = {a.batch, a.q_offsets, a.k_offsets, a.heads};
  return run(a, sizes, kernels->attention_s8, AttentionHeadS8::scratch_size(sizes.max_keys(), a.head_size),
             kAttentionS8MaxRows);
}

}  // namespace sqz
