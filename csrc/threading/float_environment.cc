#include "threading/float_environment.h"

#include <math.h>

#if defined(__x86_64__) || defined(__SSE__)
#include <xmmintrin.h>
#endif

namespace sqz {

#if defined(__x86_64__) || defined(__SSE__)

// All exceptions masked, round to nearest, no flush-to-zero, no denormals-are-zero.
FloatEnvironment::FloatEnvironment() : saved_(_mm_getcsr()) {
  if ((saved_ & ~0x3fu) != 0x1f80u) _mm_setcsr(0x1f80u);
}
FloatEnvironment::~FloatEnvironment() {
  // Restore the status flags too: the caller must not see a kernel's "inexact".
  _mm_setcsr(static_cast<unsigned>(saved_));
}

#elif defined(__aarch64__)

FloatEnvironment::FloatEnvironment() {
  __asm__ volatile("mrs %0, fpcr" : "=r"(saved_));
  if (saved_) __asm__ volatile("msr fpcr, %0" ::"r"(uint64_t{0}));
}
FloatEnvironment::~FloatEnvironment() {
  if (saved_) __asm__ volatile("msr fpcr, %0" ::"r"(saved_));
}

#elif defined(__arm__) && defined(__ARM_FP)

FloatEnvironment::FloatEnvironment() {
  uint32_t fpscr;
  __asm__ volatile("vmrs %0, fpscr" : "=r"(fpscr));
  saved_ = fpscr;
  if (fpscr & 0x07ffff00u) __asm__ volatile("vmsr fpscr, %0" ::"r"(fpscr & ~0x07ffff00u));
}
FloatEnvironment::~FloatEnvironment() {
  if (saved_ & 0x07ffff00u) __asm__ volatile("vmsr fpscr, %0" ::"r"(static_cast<uint32_t>(saved_)));
}

#else

FloatEnvironment::FloatEnvironment() : saved_(0) {}
FloatEnvironment::~FloatEnvironment() { (void)saved_; }

#endif

// volatile: a compiler may move plain arithmetic across the change of modes, but not a volatile access.
float narrow(double x) {
  FloatEnvironment environment;
  volatile double from = x;
  volatile float to = static_cast<float>(from);
  return to;
}

bool between(double x, double low, double high) {
  FloatEnvironment environment;
  volatile double from = x;
  return from >= low && from <= high;
}

float reciprocal_root(int64_t n) {
  FloatEnvironment environment;
  volatile double from = static_cast<double>(n);
  volatile float to = static_cast<float>(1 / sqrt(from));
  return to;
}

}  // namespace sqz
