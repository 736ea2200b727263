// Loops that reach the limits of a core: multiply-adds in registers, and reads of memory. Benchmarks compare kernels
// with them.
#ifndef SQZ_MEASURE_PEAK_H_
#define SQZ_MEASURE_PEAK_H_

#include <stdint.h>

namespace sqz {

// Each loop returns a sum of all that it computed, so that the compiler cannot leave anything out.
struct PeakLoops {
  // `start` has kPeakStart numbers. They differ, so that the compiler cannot merge equal chains.
  float (*multiply_add)(int64_t steps, const float *start, float factor);
  int64_t operations;  // per step; a multiply-add counts as two
  // Sums of n floats, a multiple of kReadStep, read in three ways; which is fastest depends on the processor.
  float (*read[3])(int64_t n, const float *x);
};
constexpr int kPeakStart = 64 * 16;
constexpr int kReadWays = 3;
constexpr int64_t kReadStep = 256;

// Products of bytes in registers.
struct PeakLoopS8 {
  float (*dots)(int64_t steps, const uint8_t *a, const int8_t *w);  // 4 bytes a, kPeakStart bytes w
  int64_t operations;                                               // per step; a product and its addition count as two
};

}  // namespace sqz

#endif  // SQZ_MEASURE_PEAK_H_
