// A monotonic clock, and the CPU's pause instruction for spin loops.
#ifndef SQZ_THREADING_CLOCK_H_
#define SQZ_THREADING_CLOCK_H_

#include <stdint.h>
#include <time.h>

namespace sqz {

inline int64_t now_nanoseconds() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

// Call between two polls of a variable in a spin loop.
inline void pause() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__) || (defined(__arm__) && __ARM_ARCH >= 7)
  __asm__ volatile("yield");
#endif
}

}  // namespace sqz

#endif  // SQZ_THREADING_CLOCK_H_
