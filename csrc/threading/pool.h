// Work for several threads.
#ifndef SQZ_THREADING_POOL_H_
#define SQZ_THREADING_POOL_H_

#include <stddef.h>
#include <stdint.h>

#include "squeezeops/squeezeops.h"

namespace sqz {

// Runs task(context, i, worker) for every i in [0, count), in any order, on the caller and on workers of the pool.
// `worker` is the number of the participant, from 0 (the caller). At most `limit` take part, so worker < limit: the
// caller may have allocated scratch for that many. A job that is not worth waking sleeping workers has `wake` false.
//
// Never fails. If no thread can be created, if an executor does nothing, if the pool is busy with another caller's job,
// or after a fork until the workers exist again, the caller does more of the work itself.
using Task = void (*)(void *context, int64_t i, int worker);
constexpr int kMaxThreads = 256;
void parallel_for(int64_t count, Task task, void *context, int limit = kMaxThreads, bool wake = true);

// The number of threads of one call, including the caller's.
int num_threads();
void set_num_threads(int n);  // 0 restores the default

// Runs jobs in place of the pool; null: the pool.
void set_executor(sqz_execute_fn execute, void *context);

// Scratch of the calling thread, 64-byte aligned. It is kept for the next call. Null if the allocation fails.
float *scratch(int64_t floats);
void free_scratch();

// The cgroup CPU quota of this process (v1 or v2) in CPUs; 0 if there is none. Paths are below `root`, "" for the
// system.
double cpu_quota(const char *root);

// Returns false and sets the error message if SQUEEZEOPS_NUM_THREADS is invalid.
bool threads_valid();

}  // namespace sqz

#endif  // SQZ_THREADING_POOL_H_
