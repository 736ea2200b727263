#include "measure/measure.h"

#include <float.h>

#include <atomic>

#include "error.h"
#include "isa/registry.h"
#include "threading/clock.h"
#include "threading/float_environment.h"
#include "threading/pool.h"

namespace sqz {

namespace {

// The loops of the best ISA that `isa` implies and that has some. Null in a build without ops of that type.
template <class Loops>
const Loops *loops_of(Isa isa, const Loops *KernelSet::*member) {
  for (;; isa = isa_implied(isa)) {
    const KernelSet *own = kernel_set(isa);
    if (own && own->*member) return own->*member;
    if (isa == isa_implied(isa)) return nullptr;
  }
}

sqz_status without_loops() {
  return fail(SQZ_UNSUPPORTED, "library: expected one built with ops of this type, got one without");
}

// The time and the steps of one thread.
struct Share {
  int64_t begin, end, steps;
};

struct MultiplyAdd {
  const PeakLoops *loops;     // floats, or else
  const PeakLoopS8 *loop_s8;  // bytes
  int threads;
  int64_t nanoseconds;
  std::atomic<int> arrived{0};
  std::atomic<bool> alone{false};  // some threads did not arrive in time: do not wait again
  std::atomic<float> sink{0};
  float start[kPeakStart] = {};
  uint8_t bytes[4] = {129, 130, 127, 131};
  int8_t weights[kPeakStart] = {1, -2, 3, -4};
  Share shares[kMaxThreads] = {};

  // The factor is so small that the numbers hardly change over thousands of steps.
  float compute(int64_t steps) const {
    return loops ? loops->multiply_add(steps, start, 0x1p-20f) : loop_s8->dots(steps, bytes, weights);
  }
  int64_t operations() const { return loops ? loops->operations : loop_s8->operations; }

  // All threads begin together, so that none has the machine to itself.
  void meet() {
    constexpr int64_t kPatience = 2000000;
    arrived.fetch_add(1, std::memory_order_acq_rel);
    const int64_t deadline = now_nanoseconds() + kPatience;
    while (arrived.load(std::memory_order_acquire) < threads && !alone.load(std::memory_order_relaxed)) {
      if (now_nanoseconds() > deadline) alone.store(true, std::memory_order_relaxed);
      pause();
    }
  }

  void run(Share *share) {
    constexpr int64_t kSteps = 1000;  // some microseconds, so that the clock costs nothing
    FloatEnvironment environment;
    meet();
    share->begin = share->end = now_nanoseconds();
    share->steps = 0;
    do {
      sink.store(compute(kSteps), std::memory_order_relaxed);
      share->steps += kSteps;
      share->end = now_nanoseconds();
    } while (share->end - share->begin < nanoseconds);
  }
};

struct Read {
  float (*sum)(int64_t n, const float *x);
  const float *x;
  int64_t chunk;
  std::atomic<float> sink{0};
};

sqz_status peak_of(bool bytes, double seconds, double *operations_per_second) {
  FloatEnvironment environment;
  if (!between(seconds, DBL_TRUE_MIN, 10))
    return fail(SQZ_INVALID, "seconds: expected a number above 0, at most 10, got %g", seconds);
  if (!operations_per_second) return fail(SQZ_INVALID, "operations_per_second: expected a pointer, got NULL");
  const Isa isa = chosen_isa();
  if (isa == kIsaCount || !threads_valid()) return SQZ_UNSUPPORTED;
  MultiplyAdd job = {bytes ? nullptr : loops_of(isa, &KernelSet::peak_f32),
                     bytes ? loops_of(isa, &KernelSet::peak_s8) : nullptr, num_threads(),
                     static_cast<int64_t>(seconds * 1e9)};
  if (!job.loops && !job.loop_s8) return without_loops();
  for (int i = 0; i < kPeakStart; ++i) job.start[i] = 1.0f + static_cast<float>(i) / kPeakStart;
  parallel_for(
      job.threads,
      [](void *context, int64_t i, int) {
        MultiplyAdd &job = *static_cast<MultiplyAdd *>(context);
        job.run(&job.shares[i]);
      },
      &job, job.threads);
  int64_t steps = 0, begin = job.shares[0].begin, end = job.shares[0].end;
  for (int i = 0; i < job.threads; ++i) {
    steps += job.shares[i].steps;
    if (job.shares[i].begin < begin) begin = job.shares[i].begin;
    if (job.shares[i].end > end) end = job.shares[i].end;
  }
  *operations_per_second = static_cast<double>(steps * job.operations()) * 1e9 / static_cast<double>(end - begin);
  return SQZ_OK;
}

}  // namespace
}  // namespace sqz

using namespace sqz;

extern "C" {

sqz_status sqz_measure_fma(double seconds, double *operations_per_second) {
  return peak_of(false, seconds, operations_per_second);
}

sqz_status sqz_measure_s8(double seconds, double *operations_per_second) {
  return peak_of(true, seconds, operations_per_second);
}

sqz_status sqz_measure_read(int64_t n, const float *x, double *bytes_per_second) {
  constexpr int64_t kLeast = INT64_C(1) << 20, kMost = INT64_C(1) << 58;
  if (n < kLeast || n > kMost) return fail(SQZ_INVALID, "n: expected from 2^20 to 2^58 floats, got %lld", (long long)n);
  if (!x) return fail(SQZ_INVALID, "x: expected a pointer, got NULL");
  if (!bytes_per_second) return fail(SQZ_INVALID, "bytes_per_second: expected a pointer, got NULL");
  const Isa isa = chosen_isa();
  if (isa == kIsaCount || !threads_valid()) return SQZ_UNSUPPORTED;
  const PeakLoops *const loops = loops_of(isa, &KernelSet::peak_f32);
  if (!loops) return without_loops();
  const int64_t chunks = int64_t{4} * num_threads(), chunk = n / chunks / kReadStep * kReadStep;
  double best = 0;
  for (int way = 0; way < kReadWays; ++way) {
    Read job = {loops->read[way], x, chunk};
    const int64_t begin = now_nanoseconds();
    parallel_for(
        chunks,
        [](void *context, int64_t i, int) {
          Read &job = *static_cast<Read *>(context);
          FloatEnvironment environment;
          job.sink.store(job.sum(job.chunk, job.x + i * job.chunk), std::memory_order_relaxed);
        },
        &job);
    const int64_t time = now_nanoseconds() - begin;
    const double rate = static_cast<double>(chunks * chunk * 4) * 1e9 / static_cast<double>(time);
    if (rate > best) best = rate;
  }
  *bytes_per_second = best;
  return SQZ_OK;
}

const char *sqz_measure_last_kernel(void) { return last_kernel(); }

double sqz_measure_cpu_quota(const char *root) { return cpu_quota(root ? root : ""); }

}  // extern "C"
