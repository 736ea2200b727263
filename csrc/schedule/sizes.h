// Integer arithmetic that schedules share. A schedule is a pure function: sizes and a number of threads in, tasks out.
// It starts no thread, runs no kernel and writes only to memory that the caller passes.
#ifndef SQZ_SCHEDULE_SIZES_H_
#define SQZ_SCHEDULE_SIZES_H_

#include <stdint.h>

namespace sqz {

// a >= 0, b > 0. Small calls have many such sizes, and a division takes longer than a branch.
inline int64_t ceil_div(int64_t a, int64_t b) { return a <= b ? a > 0 : a / b + (a % b != 0); }
inline int64_t at_most(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t at_least(int64_t a, int64_t b) { return a > b ? a : b; }

}  // namespace sqz

#endif  // SQZ_SCHEDULE_SIZES_H_
