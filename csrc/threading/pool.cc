// The pool runs one job at a time. The atomic word `state` publishes it and counts the workers inside it:
//
//   state = epoch << 32 | open << 31 | workers inside
//
// A worker enters by a compare-and-swap, which succeeds only while the job is open. It takes indices until none is
// left, then leaves. The caller works too, closes the job when all indices are taken, and waits for the workers inside.
// So a sleeping worker never delays a short job.
#include "threading/workers.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#if defined(__linux__)
#include <sched.h>
#else
#include <unistd.h>
#endif

#include <atomic>
#include <initializer_list>

#include "threading/clock.h"
#include "threading/float_environment.h"

namespace sqz {

namespace {

constexpr uint64_t kOpen = 1ull << 31, kInside = kOpen - 1, kEpoch = 1ull << 32;
constexpr int64_t kSpinNanoseconds = 100000;

pthread_mutex_t serve = PTHREAD_MUTEX_INITIALIZER;  // held by the caller whose job runs
pthread_mutex_t guard = PTHREAD_MUTEX_INITIALIZER;  // of the two condition variables
pthread_cond_t published = PTHREAD_COND_INITIALIZER, left = PTHREAD_COND_INITIALIZER;
std::atomic<uint64_t> state{0};
Range ranges[kMaxThreads];
std::atomic<int> sleepers{0};
Job job;
int started = 0;  // number of workers; guarded by `serve`
pthread_t workers[kMaxThreads];
bool fork_handler = false;  // whether it is installed; guarded by `serve`
std::atomic<bool> may_spin{false};

// Returns true as soon as `ready` holds, false after kSpinNanoseconds.
template <class F>
bool spin(const F &ready) {
  if (!may_spin.load(std::memory_order_relaxed)) return ready();
  const int64_t end = now_nanoseconds() + kSpinNanoseconds;
  do {
    for (int i = 0; i < 64; ++i) {
      if (ready()) return true;
      pause();
    }
  } while (now_nanoseconds() < end);
  return false;
}

void leave() {
  const uint64_t before = state.fetch_sub(1, std::memory_order_acq_rel);
  if ((before & kInside) == 1 && !(before & kOpen)) {
    pthread_mutex_lock(&guard);
    pthread_cond_broadcast(&left);
    pthread_mutex_unlock(&guard);
  }
}

void *worker_main(void *argument) {
  const int worker = static_cast<int>(reinterpret_cast<intptr_t>(argument));
  uint64_t seen = 0;  // epoch of the last job that this worker entered
  for (;;) {
    uint64_t s = 0;
    const auto has_job = [&] {
      s = state.load(std::memory_order_seq_cst);
      return (s & kOpen) && (s & ~(kEpoch - 1)) != seen;
    };
    if (!spin(has_job)) {
      pthread_mutex_lock(&guard);
      sleepers.fetch_add(1, std::memory_order_seq_cst);
      while (!has_job()) pthread_cond_wait(&published, &guard);
      sleepers.fetch_sub(1, std::memory_order_relaxed);
      pthread_mutex_unlock(&guard);
    }
    if (!state.compare_exchange_weak(s, s + 1, std::memory_order_acq_rel)) continue;
    seen = s & ~(kEpoch - 1);
    if (worker < job.participants) {
      FloatEnvironment environment;
      Job(job).work(worker);
    }
    leave();
  }
  return nullptr;
}

// The child of a fork has no workers. The locks may be held by threads that exist only in the parent: reset them.
void after_fork_in_child() {
  pthread_mutex_init(&serve, nullptr);
  pthread_mutex_init(&guard, nullptr);
  pthread_cond_init(&published, nullptr);
  pthread_cond_init(&left, nullptr);
  state.store(0);
  sleepers.store(0);
  started = 0;
}

// Called with `serve` held. Stops when a thread cannot be created.
void start_workers(int wanted) {
  if (!fork_handler) fork_handler = pthread_atfork(nullptr, nullptr, after_fork_in_child) == 0;
  if (started >= wanted) return;
  // Workers inherit this mask. Block all signals except synchronous faults: the application's threads handle the rest.
  sigset_t all, before;
  sigfillset(&all);
  for (int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL}) sigdelset(&all, fault);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  pthread_attr_setstacksize(&attributes, 512 * 1024);
  while (started < wanted) {
    pthread_t thread;
    if (pthread_create(&thread, &attributes, worker_main, reinterpret_cast<void *>(intptr_t{started + 1})) != 0) break;
    workers[started++] = thread;
  }
  pthread_attr_destroy(&attributes);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

// Excludes the caller's CPU from the workers' affinity for one job. Linux tends to wake a thread on the waker's CPU and
// may leave both there for milliseconds while another CPU is idle: a forward pass of 16 tokens after a pause of 20 ms
// took 8.1 ms on two threads instead of 4.5 ms. Used with `serve` held.
class KeepOffThisCpu {
#if defined(__linux__)
 public:
  void begin() {
    const int cpu = sched_getcpu();
    if (cpu < 0 || cpu >= CPU_SETSIZE || started > kMost) return;
    for (count_ = 0; count_ < started; ++count_) {
      cpu_set_t set;
      changed_[count_] =
          pthread_getaffinity_np(workers[count_], sizeof set, &set) == 0 && CPU_ISSET(cpu, &set) && CPU_COUNT(&set) > 1;
      if (!changed_[count_]) continue;
      before_[count_] = set;
      CPU_CLR(cpu, &set);
      changed_[count_] = pthread_setaffinity_np(workers[count_], sizeof set, &set) == 0;
    }
  }
  // Errors are ignored on purpose. Restoring fails if the process lost all CPUs of the old mask meanwhile. Linux has
  // then moved the worker to the new set, so nothing needs to be restored.
  void end() {
    for (; count_ > 0; --count_)
      if (changed_[count_ - 1]) pthread_setaffinity_np(workers[count_ - 1], sizeof before_[0], &before_[count_ - 1]);
  }

 private:
  static constexpr int kMost = 15;  // with more workers some CPU is idle anyway, and the system calls cost time
  int count_ = 0;
  bool changed_[kMost];
  cpu_set_t before_[kMost];
#else
 public:
  void begin() {}
  void end() {}
#endif
};

int affinity_count() {
#if defined(__linux__)
  // The kernel's mask may be larger than 1024 CPUs. sched_getaffinity then fails with EINVAL: retry with a larger one.
  for (size_t cpus = 1024; cpus <= (1u << 18); cpus *= 4) {
    cpu_set_t *set = CPU_ALLOC(cpus);
    if (!set) break;
    const size_t size = CPU_ALLOC_SIZE(cpus);
    const bool ok = sched_getaffinity(0, size, set) == 0;
    const int error = errno, count = ok ? CPU_COUNT_S(size, set) : 0;
    CPU_FREE(set);
    if (ok) return count > 0 ? count : 1;
    if (error != EINVAL) break;
  }
  return 1;
#else
  const long n = sysconf(_SC_NPROCESSORS_ONLN);
  return n > 0 ? static_cast<int>(n) : 1;
#endif
}

}  // namespace

const bool kHasWorkers = true;

int prepare_workers(int n) {
  const int cpus = affinity_count();
  const double quota = cpu_quota("");
  int allowed = cpus;
  if (quota > 0 && quota < cpus) allowed = static_cast<int>(quota) + (quota > static_cast<int>(quota) ? 1 : 0);
  if (allowed < 1) allowed = 1;
  if (n == 0) n = allowed < kMaxThreads ? allowed : kMaxThreads;
  may_spin.store(n <= cpus && (quota == 0 || n <= quota), std::memory_order_relaxed);
  return n;
}

bool run_on_workers(int64_t count, Task task, void *context, int participants, bool wake) {
  if (pthread_mutex_trylock(&serve) != 0) return false;
  if (wake) start_workers(participants - 1);
  if (started == 0 || (!wake && sleepers.load(std::memory_order_relaxed) >= started)) {
    pthread_mutex_unlock(&serve);
    return false;
  }
  KeepOffThisCpu keep_off;
  job = {task, context, participants, ranges};
  job.share_out(count);
  state.store(((state.load(std::memory_order_relaxed) & ~(kEpoch - 1)) + kEpoch) | kOpen, std::memory_order_seq_cst);
  if (wake && sleepers.load(std::memory_order_seq_cst) > 0) {
    keep_off.begin();
    pthread_mutex_lock(&guard);
    pthread_cond_broadcast(&published);
    pthread_mutex_unlock(&guard);
  }
  Job(job).work(0);
  state.fetch_and(~kOpen, std::memory_order_acq_rel);
  const auto empty = [] { return (state.load(std::memory_order_acquire) & kInside) == 0; };
  if (!spin(empty)) {
    pthread_mutex_lock(&guard);
    while (!empty()) pthread_cond_wait(&left, &guard);
    pthread_mutex_unlock(&guard);
  }
  keep_off.end();
  pthread_mutex_unlock(&serve);
  return true;
}

namespace {

pthread_key_t exit_key;
pthread_once_t exit_once = PTHREAD_ONCE_INIT;

void make_exit_key() {
  pthread_key_create(&exit_key, [](void *) { free_scratch(); });
}

}  // namespace

bool free_scratch_at_thread_exit() {
  pthread_once(&exit_once, make_exit_key);
  return pthread_setspecific(exit_key, &exit_key) == 0;  // any value but null
}

}  // namespace sqz
