// The int8 loop of peak.h, with the instructions of the kernels.
#include "isa/target.h"
#include "measure/peak.h"

namespace sqz {
namespace {

template <class S>
struct PeakS8 {
  // Independent vectors of 16 sums, as many as hide the latency and stay in registers.
  static constexpr int kMost = (S::kRegisters - S::kProductRegisters) / S::kSumRegisters;
  static constexpr int kChains = kMost < 1 ? 1 : kMost > 12 ? 12 : kMost;

  static float dots(int64_t steps, const uint8_t *a, const int8_t *w) {
    static_assert(64 * kChains <= kPeakStart, "a number for each lane");
    typename S::Sum sum[kChains];
    typename S::Four x = S::broadcast(a);
    const typename S::Weights y = S::load(w);
#pragma GCC unroll 16
    for (int i = 0; i < kChains; ++i) sum[i] = S::start(reinterpret_cast<const int32_t *>(w + 64 * i));
    for (int64_t s = 0; s < steps; ++s) {
#pragma GCC unroll 16
      for (int i = 0; i < kChains; ++i) {
        S::renew(&x);
        sum[i] = S::dot(sum[i], x, y);
      }
    }
    typename S::Epilogue::V total = S::to_float(sum[0]);
#pragma GCC unroll 16
    for (int i = 1; i < kChains; ++i) total = S::Epilogue::add(total, S::to_float(sum[i]));
    return S::Epilogue::reduce_add_tree(total);
  }
};

}  // namespace

extern const PeakLoopS8 SQZ_SYMBOL(peak_s8);
const PeakLoopS8 SQZ_SYMBOL(peak_s8) = {PeakS8<Bytes>::dots, 2 * 64 * PeakS8<Bytes>::kChains};

}  // namespace sqz
