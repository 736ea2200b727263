// Rows divided by their norms. A row's sum of squares is 16 striped partial sums and then the reduction tree
// (reduce_add_tree of the traits). Two rows at once, because the sum of one row is a chain of dependent multiply-adds.
// Four rows are no faster: the divisions take the time.
#include "kernels/l2_normalize/l2_normalize.h"

#include "isa/target.h"
#include "simd/common.h"

namespace sqz {
namespace {

template <class I>
struct L2Normalize {
  using V = typename I::V;

  static constexpr int kRows = 2;

  template <int R>
  static SQZ_INLINE void rows(int64_t n, const float *x, int64_t ldx, float eps, float *out, int64_t ldo) {
    const int64_t full = n / 16 * 16;
    const int rest = static_cast<int>(n - full);

    V acc[R], divisor[R];
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
    for (int r = 0; r < R; ++r) {
      const float norm = __builtin_sqrtf(I::reduce_add_tree(acc[r]));
      divisor[r] = I::set1(norm < eps ? eps : norm);  // keeps NaN
    }

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
