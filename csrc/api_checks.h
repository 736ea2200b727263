// Argument checks that the functions of the C interface share.
#ifndef SQZ_API_CHECKS_H_
#define SQZ_API_CHECKS_H_

#include "error.h"

namespace sqz {

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

// An enumeration's value comes from other languages too.
inline sqz_status check_enum(const char *name, int value, int last) {
  SQZ_CHECK(value >= 0 && value <= last, "%s: expected a value from 0 to %d, got %d", name, last, value);
  return SQZ_OK;
}

}  // namespace sqz

#endif  // SQZ_API_CHECKS_H_
