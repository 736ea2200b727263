// In place of pool.cc in a build without threads (SQUEEZEOPS_THREADS=OFF): the caller does all the work.
#include "threading/workers.h"

namespace sqz {

const bool kHasWorkers = false;

int prepare_workers(int n) { return n ? n : 1; }

bool run_on_workers(int64_t, Task, void *, int, bool) { return false; }

// The scratch memory of a thread that ends is lost. Most programs without threads have one.
bool free_scratch_at_thread_exit() { return true; }

double cpu_quota(const char *) { return 0; }

}  // namespace sqz
