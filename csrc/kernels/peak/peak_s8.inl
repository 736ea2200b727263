// The loop of peak.h for products of bytes, by the instruction that the kernels have.
#include "kernels/peak/peak.h"
#include "simd/common.h"

namespace sqz {
namespace {

// Chains: independent vectors of 16 sums, as many as hide the latency and stay in registers.
template <class S, int Chains>
struct PeakS8 {
  static float dots(int64_t steps, const uint8_t *a, const int8_t *w) {
    static_assert(64 * Chains <= kPeakStart, "a number for each lane");
    typename S::Sum sum[Chains];
    typename S::Four x = S::broadcast(a);
    const typename S::Weights y = S::load(w);
#pragma GCC unroll 16
    for (int i = 0; i < Chains; ++i) sum[i] = S::start(reinterpret_cast<const int32_t *>(w + 64 * i));
    for (int64_t s = 0; s < steps; ++s) {
#pragma GCC unroll 16
      for (int i = 0; i < Chains; ++i) {
        S::renew(&x);
        sum[i] = S::dot(sum[i], x, y);
      }
    }
    typename S::Ieee::V total = S::to_float(sum[0]);
#pragma GCC unroll 16
    for (int i = 1; i < Chains; ++i) total = S::Ieee::add(total, S::to_float(sum[i]));
    return S::Ieee::reduce_add_tree(total);
  }

  static constexpr PeakLoopS8 loop() { return {dots, 2 * 64 * Chains}; }
};

}  // namespace
}  // namespace sqz
