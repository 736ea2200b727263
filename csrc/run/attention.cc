#include "run/attention.h"

#include "run/run.h"
#include "schedule/attention.h"

namespace sqz {

namespace {

struct Context {
  const AttentionArgs &a;
  const AttentionSizes &sizes;
  const AttentionSchedule &schedule;
  attention_f32_fn run;
  float scale;
  float *memory;  // one slice per thread
  int64_t slice;
};

void run_task(void *context, int64_t i, int worker) {
  const Context &c = *static_cast<const Context *>(context);
  const AttentionArgs &a = c.a;
  const AttentionTask t = c.schedule.task(i);
  const int64_t q0 = a.q_offsets[t.sequence] + t.begin, k0 = a.k_offsets[t.sequence];
  const int64_t column = t.head * a.head_size;
  const int64_t mask_at =
      a.mask_ragged ? k0 : t.sequence * a.mask_strides[0] + t.head * a.mask_strides[1] + t.begin * a.mask_strides[2];
  AttentionHead h = {};
  h.queries = t.end - t.begin;
  h.keys = c.sizes.keys(t.sequence);
  h.head_size = a.head_size;
  h.q = a.q + q0 * a.ldq + column;
  h.ldq = a.ldq;
  h.k = a.k + k0 * a.ldk + column;
  h.ldk = a.ldk;
  h.mask_kind = a.mask_kind;
  if (a.mask_kind != SQZ_MASK_NONE)
    h.mask = static_cast<const char *>(a.mask) + mask_at * (a.mask_kind == SQZ_MASK_ADD ? 4 : 1);
  h.mask_stride = a.mask_ragged ? 0 : a.mask_strides[2];
  h.scale = c.scale;
  h.fully_masked = a.fully_masked;
  h.scratch = c.memory + worker * c.slice;
  if (a.scores) {
    int64_t before = 0;  // scores of one head of the sequences before this one
    for (int64_t b = 0; b < t.sequence; ++b) before += c.sizes.pairs(b);
    h.scores = a.scores + before * a.heads + (t.head * c.sizes.queries(t.sequence) + t.begin) * h.keys;
  } else {
    h.v = a.v + k0 * a.ldv + column;
    h.ldv = a.ldv;
    h.out = a.out + q0 * a.ldo + column;
    h.ldo = a.ldo;
  }
  FloatEnvironment environment;
  c.run(h);
}

}  // namespace

sqz_status run_attention(const AttentionArgs &a) {
  const Kernels *kernels;
  SQZ_TRY(begin(Op::attention_f32, &kernels));
  if (a.batch == 0 || a.q_offsets[a.batch] == 0 || a.heads == 0 || (a.head_size == 0 && !a.scores)) return SQZ_OK;
  const AttentionSizes sizes = {a.batch, a.q_offsets, a.k_offsets, a.heads};
  const int threads = num_threads();  // read once, because another thread may change it
  const int64_t slice = ceil_div(AttentionHead::scratch_size(sizes.max_keys(), a.head_size), 16) * 16;
  const int64_t entry_floats = a.batch * static_cast<int64_t>(sizeof(AttentionSchedule::Entry) / sizeof(float));
  float *memory = slice <= INT64_MAX / 8 / threads ? scratch(slice * threads + entry_floats) : nullptr;
  if (!memory)
    return fail(SQZ_NO_MEMORY, "attention: expected scratch memory for %d threads, %lld floats each, got none", threads,
                (long long)slice);
  const AttentionSchedule schedule(sizes, kAttentionMaxRows, threads,
                                   reinterpret_cast<AttentionSchedule::Entry *>(memory + slice * threads));
  Context context = {a, sizes, schedule, kernels->attention_f32, narrow(a.scale), memory, slice};
  parallel_for(schedule.tasks(), run_task, &context, threads);
  return SQZ_OK;
}

sqz_status run_attention(const sqz_attention_s8_args &) {
  return fail(SQZ_UNSUPPORTED, "attention: expected kernels for quantised rows, got none");
}

}  // namespace sqz
