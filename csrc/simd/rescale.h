// Rows whose squares overflow or underflow, times a power of two, which is exact.
#ifndef SQZ_SIMD_RESCALE_H_
#define SQZ_SIMD_RESCALE_H_

#include <string.h>

#include "simd/common.h"

namespace sqz {
namespace {

// Mean squares in this range have lost nothing to overflow or underflow that the result could show: a square below
// 2^-126 has an error of at most 2^-150. NaN is not in the range.
SQZ_INLINE bool is_usual(float mean_square) { return mean_square >= 0x1p-100f && mean_square <= 0x1.fffffep127f; }

template <class I>
struct Rescale {
  using V = typename I::V;

  // out = x * factor; out may be x.
  static SQZ_RARE void times(int64_t n, const float *x, float factor, float *out) {
    const V f = I::set1(factor);
    const int64_t full = n / 16 * 16;
    const int rest = static_cast<int>(n - full);
    for (int64_t i = 0; i < full; i += 16) I::store(out + i, I::mul(I::load(x + i), f));
    if (rest) I::store_n(out + full, I::mul(I::load_n(x + full, rest), f), rest);
  }

  // Striped sums of squares. Beyond the end of a row load_n gives zeros, which leave them as they are.
  static SQZ_INLINE V squares(int64_t n, const float *x) {
    const int64_t full = n / 16 * 16;
    V acc = I::zero();
    for (int64_t i = 0; i < full; i += 16) acc = I::fma(I::load(x + i), I::load(x + i), acc);
    if (full < n) {
      const V v = I::load_n(x + full, static_cast<int>(n - full));
      acc = I::fma(v, v, acc);
    }
    return acc;
  }

  // Scales a row such that its amax, or `least` if that is greater, is in [2^40, 2^41), and returns the factor, which
  // is at most 2^127. So the sum of squares is far from overflow, and elements that underflow are too small to matter.
  static SQZ_INLINE float run(int64_t n, const float *x, float least, float *out) {
    V top = I::set1(least);
    const int64_t full = n / 16 * 16;
    const int rest = static_cast<int>(n - full);
    for (int64_t i = 0; i < full; i += 16) top = I::max(top, I::abs(I::load(x + i)));
    if (rest) top = I::max(top, I::abs(I::load_n(x + full, rest)));
    const float amax = I::reduce_max_tree(top);
    uint32_t bits;
    memcpy(&bits, &amax, 4);
    const uint32_t exponent = bits >> 23 & 255, wanted = 2 * 127 + 40 - exponent;
    bits = (wanted < 254 ? wanted : 254) << 23;
    float factor;
    memcpy(&factor, &bits, 4);
    times(n, x, factor, out);
    return factor;
  }
};

}  // namespace
}  // namespace sqz

#endif  // SQZ_SIMD_RESCALE_H_
