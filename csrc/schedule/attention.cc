#include "schedule/attention.h"

namespace sqz {

int64_t AttentionSizes::max_keys() const {
  int64_t most = 0;
  for (int64_t b = 0; b < batch; ++b) most = at_least(most, keys(b));
  return most;
}

int64_t AttentionSizes::pairs() const {
  int64_t sum = 0;
  for (int64_t b = 0; b < batch; ++b) sum += pairs(b);
  return sum;
}

AttentionSchedule::AttentionSchedule(const AttentionSizes &sizes, int64_t block, int threads, Entry *entries)
    : sizes_(sizes), entries_(entries) {
  if (sizes.heads == 0) return;
  // Sort by the position of the highest bit of the work. Sequences whose work is within a factor of two keep their
  // order.
  int64_t place[65] = {0};
  const auto rank = [&](int64_t b) { return sizes.pairs(b) == 0 ? 64 : __builtin_clzll(sizes.pairs(b)); };
  for (int64_t b = 0; b < sizes.batch; ++b)
    if (sizes.queries(b) > 0) ++place[rank(b)];
  for (int64_t &p : place) {
    const int64_t n = p;
    p = count_;
    count_ += n;
  }
  for (int64_t b = 0; b < sizes.batch; ++b)
    if (sizes.queries(b) > 0) entries[place[rank(b)]++].sequence = b;

  const int64_t all = sizes.pairs(), pieces = int64_t{4} * threads;
  const int64_t most = threads == 1 ? all + 1 : (all / pieces + 1) * at_most(sizes.heads, pieces);
  for (int64_t i = 0; i < count_; ++i) {
    Entry &e = entries[i];
    const int64_t queries = sizes.queries(e.sequence);
    const int64_t splits = ceil_div(sizes.pairs(e.sequence) + 1, most);
    e.queries = ceil_div(ceil_div(queries, splits), block) * block;
    e.first_task = tasks_;
    tasks_ += sizes.heads * ceil_div(queries, e.queries);
  }
}

AttentionTask AttentionSchedule::task(int64_t i) const {
  int64_t low = 0, high = count_;  // find the last entry with first_task <= i
  while (high - low > 1) {
    const int64_t middle = (low + high) / 2;
    (entries_[middle].first_task <= i ? low : high) = middle;
  }
  const Entry &e = entries_[low];
  const int64_t queries = sizes_.queries(e.sequence), splits = ceil_div(queries, e.queries);
  const int64_t head = (i - e.first_task) / splits, begin = (i - e.first_task) % splits * e.queries;
  return {e.sequence, head, begin, at_most(begin + e.queries, queries)};
}

}  // namespace sqz
