// Ops that work on each row by itself: a task is a chunk of consecutive rows.
#ifndef SQZ_SCHEDULE_ROWS_H_
#define SQZ_SCHEDULE_ROWS_H_

#include "schedule/sizes.h"

namespace sqz {

// Elements of work that justify a task for a thread that waits for one: about a microsecond.
constexpr int64_t kGrain = 4096;
// Tasks that justify waking a thread.
constexpr int64_t kWakeTasks = 4;

// The fewest rows of a task, for rows of `work` elements each.
inline int64_t row_grain(int64_t work) { return kGrain / work + 1; }

struct RowChunk {
  int64_t begin, end;
};

// All chunks have the same number of rows, but for a shorter last one.
struct RowSchedule {
  int64_t count, chunk, tasks;
  bool wakes;  // there is enough work to wake sleeping threads

  // Four tasks per thread, so that a thread that is held up can be helped; else at most one, so that a thread gets the
  // same rows from op to op. Each has at least `grain` rows if there are so many.
  RowSchedule(int64_t count, int64_t grain, int threads);
  RowChunk task(int64_t i) const { return {i * chunk, i * chunk + at_most(chunk, count - i * chunk)}; }
};

}  // namespace sqz

#endif  // SQZ_SCHEDULE_ROWS_H_
