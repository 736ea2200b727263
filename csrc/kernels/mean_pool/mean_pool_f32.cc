// Mean over the rows of a sequence that a mask keeps. The row of the result holds the sums until they are divided.
// Four rows are added between a load and a store of the sums. So x is read once and in order, and the additions to the
// vectors of a row are independent chains, which hides their latency.
#include "kernels/mean_pool/mean_pool.h"

#include "isa/target.h"
#include "simd/common.h"

namespace sqz {
namespace {

template <class I>
struct MeanPool {
  using V = typename I::V;

  static constexpr int kRows = 4;

  // sum = ((sum + rows[0]) + rows[1]) + ...
  template <int R>
  static SQZ_INLINE void add(int64_t n, const float *const *rows, float *sum) {
    const int64_t full = n / 16 * 16;
    const int rest = static_cast<int>(n - full);
    for (int64_t i = 0; i < full; i += 16) {
      V s = I::load(sum + i);
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r) s = I::add(s, I::load(rows[r] + i));
      I::store(sum + i, s);
    }
    if (rest) {
      V s = I::load_n(sum + full, rest);
      for (int r = 0; r < R; ++r) s = I::add(s, I::load_n(rows[r] + full, rest));
      I::store_n(sum + full, s, rest);
    }
  }

  static SQZ_INLINE void divide(int64_t n, float divisor, float *sum) {
    const V d = I::set1(divisor);
    const int64_t full = n / 16 * 16;
    const int rest = static_cast<int>(n - full);
    for (int64_t i = 0; i < full; i += 16) I::store(sum + i, I::div(I::load(sum + i), d));
    if (rest) I::store_n(sum + full, I::div(I::load_n(sum + full, rest), d), rest);
  }

  static SQZ_INLINE void sequence(int64_t length, int64_t n, const float *x, int64_t ldx, const uint8_t *mask,
                                  float *out) {
    for (int64_t i = 0; i < n; ++i) out[i] = 0.0f;
    const float *rows[kRows];
    int64_t count = 0;
    for (int64_t l = 0; l < length; ++l) {
      if (mask && !mask[l]) continue;
      rows[count++ % kRows] = x + l * ldx;
      if (count % kRows == 0) add<kRows>(n, rows, out);
    }
    for (int64_t r = 0; r < count % kRows; ++r) add<1>(n, rows + r, out);
    if (count > 0) divide(n, static_cast<float>(count), out);
  }

  static SQZ_INLINE void run(int64_t batch, int64_t length, int64_t n, const float *x, int64_t ldx, const uint8_t *mask,
                             int64_t mask_stride, float *out, int64_t ldo) {
    for (int64_t b = 0; b < batch; ++b)
      sequence(length, n, x + b * length * ldx, ldx, mask ? mask + b * mask_stride : nullptr, out + b * ldo);
  }
};

}  // namespace

SQZ_KERNEL(mean_pool_f32, MeanPool<Floats>::run, tile_of(MeanPool<Floats>::kRows, "rows"));

}  // namespace sqz
