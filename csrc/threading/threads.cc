// The number of threads, the choice between workers and the caller alone, and the scratch memory of a thread.
#include <stdlib.h>

#include <atomic>

#include "error.h"
#include "threading/workers.h"

namespace sqz {

namespace {

std::atomic<int> chosen_threads{0};

// The value of SQUEEZEOPS_NUM_THREADS; 0 if it is not set, -1 (with an error message) if it is invalid.
int threads_from_environment() {
  const char *text = getenv("SQUEEZEOPS_NUM_THREADS");
  if (!text || !text[0]) return 0;
  char *end;
  const long n = strtol(text, &end, 10);
  if (*end || n < 1 || n > kMaxThreads) {
    fail(SQZ_INVALID, "SQUEEZEOPS_NUM_THREADS: expected a number from 1 to %d, got '%s'", kMaxThreads, text);
    return -1;
  }
  return static_cast<int>(n);
}

void choose(int n) {
  if (n == 0) n = threads_from_environment();
  if (n >= 0) chosen_threads.store(prepare_workers(n), std::memory_order_release);
}

}  // namespace

bool threads_valid() {
  if (!chosen_threads.load(std::memory_order_acquire)) choose(0);  // every call reports an invalid variable
  return chosen_threads.load(std::memory_order_acquire) > 0;
}

int num_threads() { return threads_valid() ? chosen_threads.load(std::memory_order_acquire) : 1; }

void set_num_threads(int n) { choose(n); }

void parallel_for(int64_t count, Task task, void *context, int limit, bool wake) {
  // Read the number once: another thread may change it at any time.
  int64_t threads = num_threads();
  if (threads > limit) threads = limit;
  const int participants = static_cast<int>(count < threads ? count : threads);
  if (participants > 1 && run_on_workers(count, task, context, participants, wake)) return;
  for (int64_t i = 0; i < count; ++i) task(context, i, 0);
}

namespace {

struct Scratch {
  float *memory;
  size_t floats;
};
thread_local Scratch own = {};

}  // namespace

void free_scratch() {
  free(own.memory);
  own = {};
}

float *scratch(int64_t wanted) {
  if (wanted < 0 || static_cast<uint64_t>(wanted) > PTRDIFF_MAX / sizeof(float)) return nullptr;
  const size_t floats = static_cast<size_t>(wanted);
  if (own.floats < floats) {
    free_scratch();
    void *memory = nullptr;
    if (!free_scratch_at_thread_exit() || posix_memalign(&memory, 64, floats * sizeof(float)) != 0) return nullptr;
    own = {static_cast<float *>(memory), floats};
  }
  return own.memory;
}

}  // namespace sqz
