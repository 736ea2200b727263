// What the functions of the C interface share: argument checks, the split over threads.
#ifndef SQZ_API_CHECKS_H_
#define SQZ_API_CHECKS_H_

#include "error.h"
#include "isa/registry.h"
#include "threading/float_environment.h"
#include "threading/pool.h"

namespace sqz {

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
inline int64_t at_most(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t at_least(int64_t a, int64_t b) { return a > b ? a : b; }

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

#define SQZ_CHECK(condition, ...) \
  if (!(condition)) return fail(SQZ_INVALID, __VA_ARGS__)

// Sizes of a matrix and its row stride; the last element's offset must fit ptrdiff_t with room to spare.
inline sqz_status check_matrix(const char *name, const void *p, int64_t rows, int64_t n, int64_t ld) {
  constexpr int64_t kLimit = INT64_C(1) << 58;
  SQZ_CHECK(rows >= 0 && n >= 0, "%s: expected sizes >= 0, got (%lld, %lld)", name, (long long)rows, (long long)n);
  SQZ_CHECK(ld >= n, "%s: expected a row stride >= %lld, got %lld", name, (long long)n, (long long)ld);
  SQZ_CHECK(rows == 0 || ld <= kLimit / rows, "%s: expected fewer than 2^58 elements, got %lld rows of %lld", name,
            (long long)rows, (long long)ld);
  SQZ_CHECK(p || rows == 0 || n == 0, "%s: expected a pointer, got NULL", name);
  return SQZ_OK;
}

#define SQZ_TRY(expression)                                      \
  do {                                                           \
    if (const sqz_status status_ = (expression)) return status_; \
  } while (0)

// An enumeration's value comes from other languages too.
inline sqz_status check_enum(const char *name, int value, int last) {
  SQZ_CHECK(value >= 0 && value <= last, "%s: expected a value from 0 to %d, got %d", name, last, value);
  return SQZ_OK;
}

// The chosen kernels and a valid thread count, or the reason why not.
inline sqz_status begin(Op op, const Kernels **kernels) {
  *kernels = kernels_for(op);
  return *kernels && threads_valid() ? SQZ_OK : SQZ_UNSUPPORTED;
}

}  // namespace sqz

#endif  // SQZ_API_CHECKS_H_
