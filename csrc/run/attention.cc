#include "run/attention.h"

#include "run/run.h"

namespace sqz {

sqz_status run_attention(const AttentionArgs &a) {
  int64_t longest = 0, pairs = 0;  // fewer than 2^62, because all rows are fewer than 2^31
  for (int64_t b = 0; b < a.batch; ++b) {
    const int64_t queries = a.q_offsets[b + 1] - a.q_offsets[b], keys = a.k_offsets[b + 1] - a.k_offsets[b];
    longest = at_least(longest, keys);
    pairs += queries * keys;
  }
  const Kernels *kernels;
  SQZ_TRY(begin(kAttention, &kernels));
  if (a.batch == 0 || a.q_offsets[a.batch] == 0 || a.heads == 0 || (a.head_size == 0 && !a.scores)) return SQZ_OK;

  // A task is a part of the queries of a head of a sequence; each packs the head's keys for itself, which costs about
  // as much as two queries. A sequence has so many parts that no task is more than a quarter of a thread's share, and
  // those with the most work come first, so that threads end together whatever the lengths.
  struct Part {
    int64_t first_task, sequence, queries;  // queries of a part
  };
  struct Context {
    const AttentionArgs &a;
    attention_f32_fn run;
    float scale;
    int64_t slice;
    float *memory;
    Part *parts;  // one a sequence with queries
    int64_t count;
  } c = {a, kernels->attention, narrow(a.scale), 0, nullptr, nullptr, 0};
  const int threads = num_threads();
  c.slice = ceil_div(AttentionHead::scratch_size(longest, a.head_size), 16) * 16;
  const int64_t part_floats = a.batch * static_cast<int64_t>(sizeof(Part) / sizeof(float));
  c.memory = c.slice <= INT64_MAX / 8 / threads ? scratch(c.slice * threads + part_floats) : nullptr;
  if (!c.memory)
    return fail(SQZ_NO_MEMORY, "attention: expected scratch memory for %d threads, %lld floats each, got none", threads,
                (long long)c.slice);
  c.parts = reinterpret_cast<Part *>(c.memory + c.slice * threads);
  // Sorted by the binary digits of their work; within a power of two any order does.
  int64_t place[65] = {0};
  const auto work = [&](int64_t b) {
    return int64_t{a.q_offsets[b + 1] - a.q_offsets[b]} * (a.k_offsets[b + 1] - a.k_offsets[b]);
  };
  const auto rank = [&](int64_t b) { return work(b) == 0 ? 64 : __builtin_clzll(work(b)); };
  for (int64_t b = 0; b < a.batch; ++b)
    if (a.q_offsets[b + 1] > a.q_offsets[b]) ++place[rank(b)];
  for (int64_t &p : place) {
    const int64_t n = p;
    p = c.count;
    c.count += n;
  }
  for (int64_t b = 0; b < a.batch; ++b)
    if (a.q_offsets[b + 1] > a.q_offsets[b]) c.parts[place[rank(b)]++].sequence = b;
  const int64_t most = threads == 1 ? pairs + 1 : (pairs / (4 * threads) + 1) * at_most(a.heads, 4 * threads);
  int64_t tasks = 0;
  for (int64_t i = 0; i < c.count; ++i) {
    Part &part = c.parts[i];
    const int64_t b = part.sequence, queries = a.q_offsets[b + 1] - a.q_offsets[b];
    part.queries = ceil_div(ceil_div(queries, ceil_div(work(b) + 1, most)), kAttentionMaxRows) * kAttentionMaxRows;
    part.first_task = tasks;
    tasks += a.heads * ceil_div(queries, part.queries);
  }
  parallel_for(
      tasks,
      [](void *context, int64_t i, int worker) {
        const Context &x = *static_cast<const Context *>(context);
        const AttentionArgs &a = x.a;
        int64_t low = 0, high = x.count;  // the last part with first_task <= i
        while (high - low > 1) {
          const int64_t middle = (low + high) / 2;
          (x.parts[middle].first_task <= i ? low : high) = middle;
        }
        const Part &p = x.parts[low];
        const int64_t b = p.sequence, q0 = a.q_offsets[b], k0 = a.k_offsets[b], queries = a.q_offsets[b + 1] - q0,
                      keys = a.k_offsets[b + 1] - k0;
        const int64_t splits = ceil_div(queries, p.queries), head = (i - p.first_task) / splits;
        const int64_t first = (i - p.first_task) % splits * p.queries, last = at_most(first + p.queries, queries);
        const int64_t column = head * a.head_size;
        const int64_t mask_at =
            a.mask_ragged ? k0 : b * a.mask_strides[0] + head * a.mask_strides[1] + first * a.mask_strides[2];
        AttentionHead h = {};
        h.queries = last - first;
        h.keys = keys;
        h.head_size = a.head_size;
        h.q = a.q + (q0 + first) * a.ldq + column;
        h.ldq = a.ldq;
        h.k = a.k + k0 * a.ldk + column;
        h.ldk = a.ldk;
        h.mask_kind = a.mask_kind;
        if (a.mask_kind != SQZ_MASK_NONE)
          h.mask = static_cast<const char *>(a.mask) + mask_at * (a.mask_kind == SQZ_MASK_ADD ? 4 : 1);
        h.mask_stride = a.mask_ragged ? 0 : a.mask_strides[2];
        h.scale = x.scale;
        h.fully_masked = a.fully_masked;
        h.scratch = x.memory + worker * x.slice;
        if (a.scores) {
          int64_t before = 0;  // scores of the sequences before this one
          for (int64_t s = 0; s < b; ++s)
            before += int64_t{a.q_offsets[s + 1] - a.q_offsets[s]} * (a.k_offsets[s + 1] - a.k_offsets[s]);
          h.scores = a.scores + before * a.heads + (head * queries + first) * keys;
        } else {
          h.v = a.v + k0 * a.ldv + column;
          h.ldv = a.ldv;
          h.out = a.out + (q0 + first) * a.ldo + column;
          h.ldo = a.ldo;
        }
        FloatEnvironment environment;
        x.run(h);
      },
      &c, threads);
  return SQZ_OK;
}

}  // namespace sqz
