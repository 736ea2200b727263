// The number of threads, who runs a job (the pool, the caller's executor or the caller alone), and scratch memory.
#include <stdlib.h>

#include "error.h"
#include "memory.h"
#include "threading/float_environment.h"
#include "threading/workers.h"

namespace sqz {

namespace {

std::atomic<int> chosen_threads{0};
sqz_execute_fn execute = nullptr;
void *execute_context;

struct Scratch {
  float *memory;
  size_t floats;
};
thread_local Scratch own = {};

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
  FloatEnvironment environment;  // for the cgroup quota
  if (n == 0) n = threads_from_environment();
  if (n >= 0) chosen_threads.store(prepare_workers(n), std::memory_order_release);
}

void run_participant(void *argument, int32_t index) {
  FloatEnvironment environment;
  static_cast<const Job *>(argument)->work(index);
}

void run_on_executor(int64_t count, Task task, void *context, int participants) {
  Range ranges[kMaxThreads];
  Job job = {task, context, participants, ranges};
  job.share_out(count);
  // The executor may run other calls on this thread meanwhile: they must not use the scratch memory of this one.
  const Scratch mine = own;
  own = {};
  execute(execute_context, participants, run_participant, &job);
  free_scratch();
  own = mine;
  job.work(0);  // what the executor has left
}

}  // namespace

bool threads_valid() {
  if (!chosen_threads.load(std::memory_order_acquire)) choose(0);  // every call reports an invalid variable
  return chosen_threads.load(std::memory_order_acquire) > 0;
}

int num_threads() {
  return (kHasWorkers || execute) && threads_valid() ? chosen_threads.load(std::memory_order_acquire) : 1;
}

void set_num_threads(int n) { choose(n); }

void set_executor(sqz_execute_fn function, void *context) {
  execute = function;
  execute_context = context;
}

void Job::share_out(int64_t count) const {
  const int64_t each = count / participants, more = count % participants;  // the first `more` ranges get one more index
  for (int64_t p = 0, begin = 0; p < participants; ++p) {
    ranges[p].next.store(begin, std::memory_order_relaxed);
    ranges[p].end = begin += each + (p < more);
  }
}

void Job::work(int worker) const {
  for (int n = 0; n < participants; ++n) {
    Range &range = ranges[(worker + n) % participants];
    for (;;) {
      const int64_t i = range.next.fetch_add(1, std::memory_order_relaxed);
      if (i >= range.end) break;
      task(context, i, worker);
    }
  }
}

void parallel_for(int64_t count, Task task, void *context, int limit, bool wake) {
  // Read the number once: another thread may change it at any time.
  int64_t threads = num_threads();
  if (threads > limit) threads = limit;
  const int participants = static_cast<int>(count < threads ? count : threads);
  if (participants > 1 && execute && wake) return run_on_executor(count, task, context, participants);
  if (participants > 1 && !execute && run_on_workers(count, task, context, participants, wake)) return;
  for (int64_t i = 0; i < count; ++i) task(context, i, 0);
}

void free_scratch() {
  deallocate(own.memory);
  own = {};
}

float *scratch(int64_t wanted) {
  if (wanted < 0 || static_cast<uint64_t>(wanted) > PTRDIFF_MAX / sizeof(float)) return nullptr;
  const size_t floats = static_cast<size_t>(wanted);
  if (own.floats < floats) {
    free_scratch();
    float *memory = free_scratch_at_thread_exit() ? static_cast<float *>(allocate(floats * sizeof(float))) : nullptr;
    if (!memory) return nullptr;
    own = {memory, floats};
  }
  return own.memory;
}

}  // namespace sqz
