// Elementwise activations: the polynomials of simd/math.h over an array, several vectors at a time (simd/pair.h).
//
// GELU of 16 values takes 8.8 cycles on AVX-512 with eight vectors at a time (one: 12.6, two: 11.3, four: 10.1) and 22
// on AVX2 with four (one: 24; eight spill: 58). Its 13 multiply-adds alone take 6.5 and 13. On 64-bit NEON it is 145
// instructions, 52 of them multiply-adds; llvm-mca predicts 67 cycles on Neoverse N1, whose ports need 50.
#ifndef SQZ_KERNELS_ACTIVATION_ACTIVATION_F32_INL_
#define SQZ_KERNELS_ACTIVATION_ACTIVATION_F32_INL_

#include "kernels/activation/activation.h"
#include "simd/math.h"
#include "simd/pair.h"

namespace sqz {
namespace {

template <class I>
struct Activation {
  // On one vector, or with a Pair for W on several.
  template <sqz_activation A, class W = I>
  static SQZ_INLINE typename W::V apply(typename W::V x) {
    if constexpr (A == SQZ_ACT_GELU) return Math<W>::gelu(x);
    if constexpr (A == SQZ_ACT_GELU_TANH) return Math<W>::gelu_tanh(x);
    if constexpr (A == SQZ_ACT_RELU) return Math<W>::relu(x);
    if constexpr (A == SQZ_ACT_TANH) return Math<W>::tanh(x);
    return x;
  }

  template <sqz_activation A>
  static SQZ_INLINE void run(int64_t n, const float *x, float *out, int64_t step) {
    if constexpr (PolynomialTuning<I>::kVectors > 1) {
      using W = typename Wide<I, PolynomialTuning<I>::kVectors>::Type;
      int64_t i = 0;
      for (; i + W::kLanes <= n; i += W::kLanes) W::store(out + i, apply<A, W>(W::load(x + i)));
      for (; i < n; i += 16) {
        const int rest = n - i < 16 ? static_cast<int>(n - i) : 16;
        const typename I::V y = apply<A>(rest < 16 ? I::load_n(x + i, rest) : I::load(x + i));
        if (rest < 16) return I::store_n(out + i, y, rest);
        I::store(out + i, y);
      }
    } else {
      const int64_t rest = n & 15, whole = n - rest;
      float *to = out;
      for (const float *from = x; from != x + whole; from += 16, to += step) I::store(to, apply<A>(I::load(from)));
      if (__builtin_expect(rest != 0, 0)) {
        const int count = static_cast<int>(rest);
        I::store_n(out + whole, apply<A>(I::load_n(x + whole, count)), count);
      }
    }
  }

  static SQZ_INLINE void run(sqz_activation activation, int64_t n, const float *x, float *out, int64_t step) {
    switch (activation) {
      case SQZ_ACT_GELU: return run<SQZ_ACT_GELU>(n, x, out, step);
      case SQZ_ACT_GELU_TANH: return run<SQZ_ACT_GELU_TANH>(n, x, out, step);
      case SQZ_ACT_RELU: return run<SQZ_ACT_RELU>(n, x, out, step);
      case SQZ_ACT_TANH: return run<SQZ_ACT_TANH>(n, x, out, step);
      default: return run<SQZ_ACT_NONE>(n, x, out, step);
    }
  }
};

}  // namespace
}  // namespace sqz

#endif  // SQZ_KERNELS_ACTIVATION_ACTIVATION_F32_INL_
