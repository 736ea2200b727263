// Elementwise activations: the polynomials of simd/math.h over an array.
#include "kernels/activation/activation.h"
#include "simd/math.h"

namespace sqz {
namespace {

template <class I>
struct Activation {
  using V = typename I::V;

  template <sqz_activation A>
  static SQZ_INLINE V apply(V x) {
    if constexpr (A == SQZ_ACT_GELU) return Math<I>::gelu(x);
    if constexpr (A == SQZ_ACT_GELU_TANH) return Math<I>::gelu_tanh(x);
    if constexpr (A == SQZ_ACT_RELU) return Math<I>::relu(x);
    if constexpr (A == SQZ_ACT_TANH) return Math<I>::tanh(x);
    return x;
  }

  template <sqz_activation A>
  static SQZ_INLINE void run(int64_t n, const float *x, float *out) {
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) I::store(out + i, apply<A>(I::load(x + i)));
    const int rest = static_cast<int>(n - i);
    if (rest) I::store_n(out + i, apply<A>(I::load_n(x + i, rest)), rest);
  }

  static SQZ_INLINE void run(sqz_activation activation, int64_t n, const float *x, float *out) {
    switch (activation) {
      case SQZ_ACT_GELU: return run<SQZ_ACT_GELU>(n, x, out);
      case SQZ_ACT_GELU_TANH: return run<SQZ_ACT_GELU_TANH>(n, x, out);
      case SQZ_ACT_RELU: return run<SQZ_ACT_RELU>(n, x, out);
      case SQZ_ACT_TANH: return run<SQZ_ACT_TANH>(n, x, out);
      default: return run<SQZ_ACT_NONE>(n, x, out);
    }
  }
};

}  // namespace
}  // namespace sqz
