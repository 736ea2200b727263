// The loops of peak.h over a trait.
#include "kernels/peak/peak.h"
#include "simd/common.h"

namespace sqz {
namespace {

// Chains: independent accumulators of 16 lanes. To hide the latency of a multiply-add (4 cycles on most processors, and
// 2 begin in each) it takes 8 registers; more than 14 of 16, or 30 of 32, would not stay in registers.
template <class I, int Chains>
struct Peak {
  using V = typename I::V;

  // x = x * factor + x: NEON adds to the register that holds the result, so for another term it would copy that first.
  static float multiply_add(int64_t steps, const float *start, float factor) {
    static_assert(16 * Chains <= kPeakStart, "a number for each lane");
    V acc[Chains];
    const V x = I::set1(factor);
#pragma GCC unroll 16
    for (int i = 0; i < Chains; ++i) acc[i] = I::load(start + 16 * i);
    for (int64_t s = 0; s < steps; ++s) {
#pragma GCC unroll 16
      for (int i = 0; i < Chains; ++i) acc[i] = I::fma(acc[i], x, acc[i]);
    }
#pragma GCC unroll 16
    for (int i = 1; i < Chains; ++i) acc[0] = I::add(acc[0], acc[i]);
    return I::reduce_add_tree(acc[0]);
  }

  // From `Streams` places at once; `Ahead`: by how many floats a prefetch runs ahead, 0 for none.
  template <int Streams, int Ahead>
  static float read(int64_t n, const float *x) {
    constexpr int kVectors = 4;  // a step's, of each stream
    static_assert(kReadStep % (Streams * kVectors * 16) == 0, "a step is a whole one for each way of reading");
    const int64_t part = n / Streams;
    V acc[2] = {I::zero(), I::zero()};
    for (int64_t i = 0; i < part; i += kVectors * 16) {
#pragma GCC unroll 4
      for (int s = 0; s < Streams; ++s) {
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) {
          const float *p = x + s * part + i + v * 16;
          if (Ahead) __builtin_prefetch(p + Ahead);
          acc[v % 2] = I::add(acc[v % 2], I::load(p));
        }
      }
    }
    return I::reduce_add_tree(I::add(acc[0], acc[1]));
  }

  static constexpr PeakLoops loops() {
    return {multiply_add, 2 * 16 * Chains, {read<1, 0>, read<1, 1024>, read<4, 0>}};
  }
};

}  // namespace
}  // namespace sqz
