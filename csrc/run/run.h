// What the run_* functions share. They take checked arguments, look up the kernel, split the work over threads, get
// scratch memory and call the kernel under the library's float environment. They check nothing: csrc/api does.
#ifndef SQZ_RUN_RUN_H_
#define SQZ_RUN_RUN_H_

#include "error.h"
#include "isa/registry.h"
#include "schedule/rows.h"
#include "threading/float_environment.h"
#include "threading/pool.h"

namespace sqz {

// The kernels of the chosen ISA. Fails (with a message) if the build lacks the op, or if SQUEEZEOPS_ISA or
// SQUEEZEOPS_NUM_THREADS is invalid.
inline sqz_status begin(Op op, const Kernels **kernels) {
  *kernels = kernels_for(op);
  return *kernels && threads_valid() ? SQZ_OK : SQZ_UNSUPPORTED;
}

// Calls body(begin, end) for consecutive chunks of [0, count), of at least `grain` each if there are so many.
template <class Body>
void for_chunks(int64_t count, int64_t grain, const Body &body) {
  struct Context {
    const Body &body;
    RowSchedule schedule;
  } context{body, {count, grain, num_threads()}};
  if (context.schedule.tasks == 1) return body(int64_t{0}, count);
  parallel_for(
      context.schedule.tasks,
      [](void *c, int64_t i, int) {
        const Context &x = *static_cast<const Context *>(c);
        const RowChunk chunk = x.schedule.task(i);
        x.body(chunk.begin, chunk.end);
      },
      &context, kMaxThreads, context.schedule.wakes);
}

// Calls run(kernels, begin, end) for chunks of rows that have `work` elements each, if there is any work.
template <class Run>
sqz_status run_rows(Op op, int64_t rows, int64_t work, const Run &run) {
  const Kernels *kernels;
  SQZ_TRY(begin(op, &kernels));
  if (rows == 0 || work == 0) return SQZ_OK;
  for_chunks(rows, row_grain(work), [&](int64_t begin, int64_t end) {
    FloatEnvironment environment;
    run(*kernels, begin, end);
  });
  return SQZ_OK;
}

}  // namespace sqz

#endif  // SQZ_RUN_RUN_H_
