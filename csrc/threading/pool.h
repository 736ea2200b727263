// The library's own small thread pool.
#ifndef SQZ_THREADING_POOL_H_
#define SQZ_THREADING_POOL_H_

#include <stddef.h>
#include <stdint.h>

namespace sqz {

// Runs task(context, i, worker) for every i in [0, count), in any order, on the caller and on pool workers; `worker` is
// the participant's number. Never fails: where no thread can be created, where the pool serves another caller, or after
// a fork until its threads exist again, the caller does more of the work itself.
using Task = void (*)(void *context, int64_t i, int worker);
// There are at most `limit` participants, so worker < limit, which bounds the scratch memory that a caller needs.
constexpr int kMaxThreads = 256;
void parallel_for(int64_t count, Task task, void *context, int limit = kMaxThreads);

// Threads of one call, the caller's included.
int num_threads();
void set_num_threads(int n);  // 0: the default

// 64-byte aligned scratch memory of the calling thread, kept for its next call; null if out of memory.
float *scratch(int64_t floats);

// CPUs that the cgroup quota (v2, then v1) below `root` grants; 0 if there is no limit.
double cpu_quota(const char *root);

// False (and a message) if SQUEEZEOPS_NUM_THREADS is invalid.
bool threads_valid();

}  // namespace sqz

#endif  // SQZ_THREADING_POOL_H_
