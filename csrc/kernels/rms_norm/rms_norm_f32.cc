// RMSNorm. A row's sum of squares is 16 striped partial sums and then the reduction tree (reduce_add_tree of the
// traits). Four rows at once, because the sum of one row is a chain of dependent multiply-adds.
#include "kernels/rms_norm/rms_norm.h"
#include "kernels/target.h"
#include "simd/common.h"
#include "simd/rescale.h"

namespace sqz {
namespace {

template <class I>
struct RmsNorm {
  using V = typename I::V;

  static constexpr int kRows = 4;

  static SQZ_INLINE float mean_square(V squares, int64_t n, float eps) {
    return I::reduce_add_tree(squares) / static_cast<float>(n) + eps;
  }

  // The mean square plus eps of a row that overflows or underflows, which is scaled into `out`; out may be x.
  static SQZ_RARE float mean_square_of_scaled(int64_t n, const float *x, float eps, float *out) {
    const float factor = Rescale<I>::run(n, x, __builtin_sqrtf(eps), out);
    return mean_square(Rescale<I>::squares(n, out), n, eps * factor * factor);
  }

  template <int R>
  static SQZ_INLINE void rows(int64_t n, const float *x, int64_t ldx, const float *residual, int64_t ldr,
                              const float *weight, float eps, float *out, int64_t ldo) {
    const int64_t full = n / 16 * 16;
    const int rest = static_cast<int>(n - full);

    // Beyond the end of a row load_n gives zeros, which leave a sum of squares as it is.
    V acc[R];
    for (int r = 0; r < R; ++r) acc[r] = I::zero();
    if (residual) {
      for (int64_t i = 0; i < full; i += 16) {
#pragma GCC unroll 4
        for (int r = 0; r < R; ++r) {
          const V s = I::add(I::load(x + r * ldx + i), I::load(residual + r * ldr + i));
          I::store(out + r * ldo + i, s);
          acc[r] = I::fma(s, s, acc[r]);
        }
      }
      if (rest) {
        for (int r = 0; r < R; ++r) {
          const V s = I::add(I::load_n(x + r * ldx + full, rest), I::load_n(residual + r * ldr + full, rest));
          I::store_n(out + r * ldo + full, s, rest);
          acc[r] = I::fma(s, s, acc[r]);
        }
      }
      x = out;  // the next pass reads the sums that this one stored
      ldx = ldo;
    } else {
      for (int64_t i = 0; i < full; i += 16) {
#pragma GCC unroll 4
        for (int r = 0; r < R; ++r) {
          const V s = I::load(x + r * ldx + i);
          acc[r] = I::fma(s, s, acc[r]);
        }
      }
      if (rest) {
        for (int r = 0; r < R; ++r) {
          const V s = I::load_n(x + r * ldx + full, rest);
          acc[r] = I::fma(s, s, acc[r]);
        }
      }
    }

    V scale[R];
    float square[R];
    bool usual = true;
    for (int r = 0; r < R; ++r) {
      square[r] = mean_square(acc[r], n, eps);
      usual = usual && is_usual(square[r]);
    }
    if (__builtin_expect(!usual, 0)) {
      for (int r = 0; r < R; ++r) {
        if (is_usual(square[r]))
          Rescale<I>::times(n, x + r * ldx, 1, out + r * ldo);
        else
          square[r] = mean_square_of_scaled(n, x + r * ldx, eps, out + r * ldo);
      }
      x = out;
      ldx = ldo;
    }
    for (int r = 0; r < R; ++r) scale[r] = I::set1(1.0f / __builtin_sqrtf(square[r]));

    const V one = I::set1(1.0f);
    for (int64_t i = 0; i < full; i += 16) {
      const V w = weight ? I::load(weight + i) : one;
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r) I::store(out + r * ldo + i, I::mul(I::mul(I::load(x + r * ldx + i), scale[r]), w));
    }
    if (rest) {
      const V w = weight ? I::load_n(weight + full, rest) : one;
      for (int r = 0; r < R; ++r)
        I::store_n(out + r * ldo + full, I::mul(I::mul(I::load_n(x + r * ldx + full, rest), scale[r]), w), rest);
    }
  }

  static SQZ_INLINE void run(int64_t count, int64_t n, const float *x, int64_t ldx, const float *residual, int64_t ldr,
                             const float *weight, float eps, float *out, int64_t ldo) {
    int64_t r = 0;
    for (; r + kRows <= count; r += kRows)
      rows<kRows>(n, x + r * ldx, ldx, residual ? residual + r * ldr : nullptr, ldr, weight, eps, out + r * ldo, ldo);
    for (; r < count; ++r)
      rows<1>(n, x + r * ldx, ldx, residual ? residual + r * ldr : nullptr, ldr, weight, eps, out + r * ldo, ldo);
  }
};

}  // namespace

SQZ_KERNEL(rms_norm_f32, RmsNorm<Floats>::run, tile_of(RmsNorm<Floats>::kRows, "rows"));

}  // namespace sqz
