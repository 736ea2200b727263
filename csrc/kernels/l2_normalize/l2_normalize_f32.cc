// Rows divided by their norms. A row's sum of squares is 16 striped partial sums and then the reduction tree
// (reduce_add_tree of the traits). Two rows at once, because the sum of one row is a chain of dependent multiply-adds.
// Four rows are no faster: the divisions take the time.
#include "kernels/l2_normalize/l2_normalize.h"
#include "kernels/target.h"
#include "simd/common.h"
#include "simd/rescale.h"

namespace sqz {
namespace {

template <class I>
struct L2Normalize {
  using V = typename I::V;

  static constexpr int kRows = 2;

  static SQZ_INLINE float divisor_of(V squares, float eps) {
    const float norm = __builtin_sqrtf(I::reduce_add_tree(squares));
    return norm < eps ? eps : norm;  // keeps NaN
  }

  // Neither overflow nor underflow of the squares shows in the result: see is_usual. An eps that is greater than what
  // underflows is right too.
  static SQZ_INLINE bool is_exact(float divisor) { return divisor >= 0x1p-50f && divisor <= 0x1.fffffep127f; }

  // The divisor of another row, which is scaled into `out`; out may be x.
  static SQZ_RARE float divisor_of_scaled(int64_t n, const float *x, float eps, float *out) {
    const float factor = Rescale<I>::run(n, x, 0, out);
    return divisor_of(Rescale<I>::squares(n, out), eps * factor);
  }

  template <int R>
  static SQZ_INLINE void rows(int64_t n, const float *x, int64_t ldx, float eps, float *out, int64_t ldo) {
    const int64_t full = n / 16 * 16;
    const int rest = static_cast<int>(n - full);

    V acc[R];
    for (int r = 0; r < R; ++r) acc[r] = I::zero();
    for (int64_t i = 0; i < full; i += 16) {
#pragma GCC unroll 2
      for (int r = 0; r < R; ++r) {
        const V v = I::load(x + r * ldx + i);
        acc[r] = I::fma(v, v, acc[r]);
      }
    }
    if (rest) {
      const typename I::M tail = I::tail(rest);
      for (int r = 0; r < R; ++r) {
        const V v = I::load_n(x + r * ldx + full, rest);
        acc[r] = I::select(tail, I::fma(v, v, acc[r]), acc[r]);
      }
    }
    float least[R];
    bool exact = true;
    for (int r = 0; r < R; ++r) {
      least[r] = divisor_of(acc[r], eps);
      exact = exact && is_exact(least[r]);
    }
    if (__builtin_expect(!exact, 0)) {
      for (int r = 0; r < R; ++r) {
        if (is_exact(least[r]))
          Rescale<I>::times(n, x + r * ldx, 1, out + r * ldo);
        else
          least[r] = divisor_of_scaled(n, x + r * ldx, eps, out + r * ldo);
      }
      x = out;
      ldx = ldo;
    }
    V divisor[R];
    for (int r = 0; r < R; ++r) divisor[r] = I::set1(least[r]);

    for (int64_t i = 0; i < full; i += 16) {
#pragma GCC unroll 2
      for (int r = 0; r < R; ++r) I::store(out + r * ldo + i, I::div(I::load(x + r * ldx + i), divisor[r]));
    }
    if (rest) {
      for (int r = 0; r < R; ++r)
        I::store_n(out + r * ldo + full, I::div(I::load_n(x + r * ldx + full, rest), divisor[r]), rest);
    }
  }

  static SQZ_INLINE void run(int64_t count, int64_t n, const float *x, int64_t ldx, float eps, float *out,
                             int64_t ldo) {
    int64_t r = 0;
    for (; r + kRows <= count; r += kRows) rows<kRows>(n, x + r * ldx, ldx, eps, out + r * ldo, ldo);
    for (; r < count; ++r) rows<1>(n, x + r * ldx, ldx, eps, out + r * ldo, ldo);
  }
};

}  // namespace

SQZ_KERNEL(l2_normalize_f32, L2Normalize<Floats>::run, tile_of(L2Normalize<Floats>::kRows, "rows"));

}  // namespace sqz
