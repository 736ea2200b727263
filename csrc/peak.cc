// The C interface to the machine's own limits: how fast it multiplies and adds, and how fast it reads.
#include "kernels/peak/peak.h"

#include <atomic>

#include "dispatch/registry.h"
#include "error.h"
#include "threading/clock.h"
#include "threading/float_environment.h"
#include "threading/pool.h"

namespace sqz {

extern const PeakLoops peak_f32_scalar, peak_f32_sse2, peak_f32_avx2, peak_f32_avx512;

namespace {

const PeakLoops *loops_of(Isa isa) {
  switch (isa) {
#ifdef SQZ_HAVE_SSE2
    case kSse2: return &peak_f32_sse2;
#endif
#ifdef SQZ_HAVE_AVX2
    case kAvx2: return &peak_f32_avx2;
#endif
#ifdef SQZ_HAVE_AVX512
    case kAvx512: return &peak_f32_avx512;
#endif
    default: return &peak_f32_scalar;
  }
}

// What one thread did.
struct Share {
  int64_t begin, end, steps;
};

struct MultiplyAdd {
  const PeakLoops &loops;
  int threads;
  int64_t nanoseconds;
  std::atomic<int> arrived{0};
  std::atomic<bool> alone{false};  // the others did not come in time: they are not waited for again
  std::atomic<float> sink{0};
  float start[kPeakStart] = {};
  Share shares[kMaxThreads] = {};

  // All threads begin together, so that none has the machine for itself for a while.
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
      // x = x * 0.75 + 0.25 tends to 1.
      sink.store(loops.multiply_add(kSteps, start, 0.75f, 0.25f), std::memory_order_relaxed);
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

}  // namespace
}  // namespace sqz

using namespace sqz;

extern "C" {

sqz_status sqz_peak_fma(double seconds, double *operations_per_second) {
  if (!(seconds > 0 && seconds <= 10))
    return fail(SQZ_INVALID, "seconds: expected a number above 0, at most 10, got %g", seconds);
  if (!operations_per_second) return fail(SQZ_INVALID, "operations_per_second: expected a pointer, got NULL");
  const Isa isa = chosen_isa();
  if (isa == kIsaCount || !threads_valid()) return SQZ_UNSUPPORTED;
  MultiplyAdd job = {*loops_of(isa), num_threads(), static_cast<int64_t>(seconds * 1e9)};
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
  *operations_per_second = static_cast<double>(steps * job.loops.operations) * 1e9 / static_cast<double>(end - begin);
  return SQZ_OK;
}

sqz_status sqz_peak_read(int64_t n, const float *x, double *bytes_per_second) {
  constexpr int64_t kLeast = INT64_C(1) << 20, kMost = INT64_C(1) << 58;
  if (n < kLeast || n > kMost) return fail(SQZ_INVALID, "n: expected from 2^20 to 2^58 floats, got %lld", (long long)n);
  if (!x) return fail(SQZ_INVALID, "x: expected a pointer, got NULL");
  if (!bytes_per_second) return fail(SQZ_INVALID, "bytes_per_second: expected a pointer, got NULL");
  const Isa isa = chosen_isa();
  if (isa == kIsaCount || !threads_valid()) return SQZ_UNSUPPORTED;
  const int64_t chunks = int64_t{4} * num_threads(), chunk = n / chunks / kReadStep * kReadStep;
  double best = 0;
  for (int way = 0; way < kReadWays; ++way) {
    Read job = {loops_of(isa)->read[way], x, chunk};
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

}  // extern "C"
