// What the run_* functions share. They take checked arguments, look up the kernel, split the work over threads, get
// scratch memory and call the kernel under the library's float environment. They check nothing: csrc/api does.
#ifndef SQZ_RUN_RUN_H_
#define SQZ_RUN_RUN_H_

#include "dispatch/registry.h"
#include "error.h"
#include "threading/float_environment.h"
#include "threading/pool.h"

namespace sqz {

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
inline int64_t at_most(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t at_least(int64_t a, int64_t b) { return a > b ? a : b; }

// The kernels of the chosen ISA. Fails (with a message) if SQUEEZEOPS_ISA or SQUEEZEOPS_NUM_THREADS is invalid.
inline sqz_status begin(Op op, const Kernels **kernels) {
  *kernels = kernels_for(op);
  return *kernels && threads_valid() ? SQZ_OK : SQZ_UNSUPPORTED;
}

// Elements of work worth a task of their own, a few microseconds.
constexpr int64_t kRowGrain = 16384;

// Splits [0, count) into equal chunks of at least `grain`, a few per thread, and calls body(begin, end) for each.
template <class Body>
void for_chunks(int64_t count, int64_t grain, const Body &body) {
  struct Context {
    const Body &body;
    int64_t count, chunk;
  };
  const int64_t chunks = at_most(ceil_div(count, grain < 1 ? 1 : grain), int64_t{4} * num_threads());
  if (chunks <= 1) return body(int64_t{0}, count);
  Context context{body, count, ceil_div(count, chunks)};
  parallel_for(
      ceil_div(count, context.chunk),
      [](void *c, int64_t i, int) {
        const Context &x = *static_cast<const Context *>(c);
        x.body(i * x.chunk, at_most((i + 1) * x.chunk, x.count));
      },
      &context);
}

}  // namespace sqz

#endif  // SQZ_RUN_RUN_H_
