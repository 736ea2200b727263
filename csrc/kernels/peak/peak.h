// Loops that get from a core what it has: multiply-adds in registers, and reads of memory. What an op does is judged by
// them.
#ifndef SQZ_KERNELS_PEAK_PEAK_H_
#define SQZ_KERNELS_PEAK_PEAK_H_

#include <stdint.h>

namespace sqz {

// Each returns a sum of all that it computed, so that the compiler leaves nothing out.
struct PeakLoops {
  // From kPeakStart numbers, different ones or the compiler would have to be trusted not to see that they are equal.
  float (*multiply_add)(int64_t steps, const float *start, float factor);
  int64_t operations;  // of one step, two a multiply-add
  // Sums of n floats (a multiple of kReadStep), read in three ways: which is fastest depends on the processor.
  float (*read[3])(int64_t n, const float *x);
};
constexpr int kPeakStart = 64 * 16;
constexpr int kReadWays = 3;
constexpr int64_t kReadStep = 256;

// Products of bytes, in registers.
struct PeakLoopS8 {
  float (*dots)(int64_t steps, const uint8_t *a, const int8_t *w);  // 4 of a, kPeakStart of w
  int64_t operations;                                               // of one step, two a product
};

}  // namespace sqz

#endif  // SQZ_KERNELS_PEAK_PEAK_H_
