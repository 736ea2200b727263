// Ops that work on each row by itself: a task is a chunk of consecutive rows.
#ifndef SQZ_SCHEDULE_ROWS_H_
#define SQZ_SCHEDULE_ROWS_H_

#include "schedule/sizes.h"

namespace sqz {

// Elements of work that justify a task of their own: a few microseconds.
constexpr int64_t kGrain = 16384;

// The fewest rows of a task, for rows of `work` elements each.
inline int64_t row_grain(int64_t work) { return kGrain / work + 1; }

struct RowChunk {
  int64_t begin, end;
};

// All chunks have the same number of rows, but for a shorter last one.
struct RowSchedule {
  int64_t count, chunk, tasks;

  // At most four tasks per thread, so that a thread that is held up can be helped. Each has at least `grain` rows if
  // there are so many.
  RowSchedule(int64_t count, int64_t grain, int threads);
  RowChunk task(int64_t i) const { return {i * chunk, i * chunk + at_most(chunk, count - i * chunk)}; }
};

}  // namespace sqz

#endif  // SQZ_SCHEDULE_ROWS_H_
