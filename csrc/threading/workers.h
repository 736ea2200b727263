// What a build with threads of its own (pool.cc) and one without (no_threads.cc) do differently.
#ifndef SQZ_THREADING_WORKERS_H_
#define SQZ_THREADING_WORKERS_H_

#include <atomic>

#include "threading/pool.h"

namespace sqz {

// Each participant starts with its own contiguous range of indices, then steals from the other ranges. So neighbouring
// rows stay in one core's cache, and from op to op a core gets the same rows.
struct alignas(64) Range {
  std::atomic<int64_t> next;
  int64_t end;
};

struct Job {
  Task task;
  void *context;
  int participants;
  Range *ranges;  // one per participant

  void share_out(int64_t count) const;
  void work(int worker) const;
};

// Whether there are workers at all.
extern const bool kHasWorkers;

// Call when the number of threads is chosen; 0 is the default. Returns the number that a call will use.
int prepare_workers(int n);

// Shares a job out to the caller and to workers. Returns false, with nothing done, if there is no worker for it.
bool run_on_workers(int64_t count, Task task, void *context, int participants, bool wake);

// Returns false if it cannot be arranged that the calling thread's end calls free_scratch().
bool free_scratch_at_thread_exit();

}  // namespace sqz

#endif  // SQZ_THREADING_WORKERS_H_
