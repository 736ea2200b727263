// Attention: a task is a run of queries of one head of one sequence.
#ifndef SQZ_SCHEDULE_ATTENTION_H_
#define SQZ_SCHEDULE_ATTENTION_H_

#include "schedule/sizes.h"

namespace sqz {

// Sequences of any lengths, one after the other. Sequence b has the query rows from q_offsets[b] to q_offsets[b + 1]
// and the key rows from k_offsets[b] to k_offsets[b + 1]. Offsets begin at 0 and do not decrease.
struct AttentionSizes {
  int64_t batch;
  const int32_t *q_offsets, *k_offsets;
  int64_t heads;  // at most 2^24

  int64_t queries(int64_t b) const { return q_offsets[b + 1] - q_offsets[b]; }
  int64_t keys(int64_t b) const { return k_offsets[b + 1] - k_offsets[b]; }
  int64_t pairs(int64_t b) const { return queries(b) * keys(b); }  // the work of one head

  int64_t max_keys() const;
  int64_t pairs() const;  // of all sequences; below 2^62
};

struct AttentionTask {
  int64_t sequence, head;
  int64_t begin, end;  // queries of the sequence
};

// Each task packs the keys of its head again, which costs about as much as two queries. So a sequence is split no
// further than needed: no task has more than a quarter of a thread's share of the work, but for the round-up to whole
// blocks of queries. The sequences with the most work come first, so that threads finish together whatever the lengths.
class AttentionSchedule {
 public:
  // What the schedule remembers of a sequence.
  struct Entry {
    int64_t first_task, sequence;
    int64_t queries;  // of a task
  };

  // `block` is the number of queries that a kernel handles at once. `entries` is memory for one entry per sequence;
  // the schedule keeps the pointer.
  AttentionSchedule(const AttentionSizes &sizes, int64_t block, int threads, Entry *entries);
  int64_t tasks() const { return tasks_; }
  AttentionTask task(int64_t i) const;

 private:
  AttentionSizes sizes_;
  Entry *entries_;
  int64_t count_ = 0;  // sequences that have queries
  int64_t tasks_ = 0;
};

}  // namespace sqz

#endif  // SQZ_SCHEDULE_ATTENTION_H_
