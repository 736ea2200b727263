// What a build with threads of its own (pool.cc) and one without (no_threads.cc) do differently.
#ifndef SQZ_THREADING_WORKERS_H_
#define SQZ_THREADING_WORKERS_H_

#include "threading/pool.h"

namespace sqz {

// Call when the number of threads is chosen; 0 is the default. Returns the number that a call will use.
int prepare_workers(int n);

// Shares a job out to the caller and to workers. Returns false, with nothing done, if there is no worker for it.
bool run_on_workers(int64_t count, Task task, void *context, int participants, bool wake);

// Returns false if it cannot be arranged that the calling thread's end calls free_scratch().
bool free_scratch_at_thread_exit();

}  // namespace sqz

#endif  // SQZ_THREADING_WORKERS_H_
