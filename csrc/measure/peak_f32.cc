// The float loops of peak.h.
#include "isa/target.h"
#include "measure/peak.h"

namespace sqz {
namespace {

template <class I>
struct Peak {
  using V = typename I::V;

  // Independent accumulators of 16 lanes. A multiply-add has a latency of 4 cycles on most processors, and 2 begin per
  // cycle, so 8 registers hide it. Three quarters of the registers leave room for the factor.
  static constexpr int kMost = I::kRegisters * 3 / 4 / I::kVectorRegisters;
  static constexpr int kChains = kMost < 1 ? 1 : kMost > 12 ? 12 : kMost;

  // x = x * factor + x, because NEON adds to the register that holds the result: another addend would cost a copy.
  static float multiply_add(int64_t steps, const float *start, float factor) {
    static_assert(16 * kChains <= kPeakStart, "a number for each lane");
    V acc[kChains];
    const V x = I::set1(factor);
#pragma GCC unroll 16
    for (int i = 0; i < kChains; ++i) acc[i] = I::load(start + 16 * i);
    for (int64_t s = 0; s < steps; ++s) {
#pragma GCC unroll 16
      for (int i = 0; i < kChains; ++i) acc[i] = I::fma(acc[i], x, acc[i]);
    }
#pragma GCC unroll 16
    for (int i = 1; i < kChains; ++i) acc[0] = I::add(acc[0], acc[i]);
    return I::reduce_add_tree(acc[0]);
  }

  // Reads from `Streams` places at once, and prefetches `Ahead` floats ahead (0: no prefetch).
  template <int Streams, int Ahead>
  static float read(int64_t n, const float *x) {
    constexpr int kVectors = 4;  // per stream and step
    static_assert(kReadStep % (Streams * kVectors * 16) == 0, "kReadStep is a multiple of each step");
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
};

}  // namespace

using Loops = Peak<Floats>;
extern const PeakLoops SQZ_SYMBOL(peak_f32);
const PeakLoops SQZ_SYMBOL(peak_f32) = {
    Loops::multiply_add, 2 * 16 * Loops::kChains, {Loops::read<1, 0>, Loops::read<1, 1024>, Loops::read<4, 0>}};

}  // namespace sqz
