// LayerNorm, two passes: 16 striped partial sums a row, then the tree (simd/f32_*.h, reduce_add_tree).
// Four rows at once, because a row's sum is one chain of dependent additions.
//
// 768 columns, 128 rows, AVX-512, L2: 5.9 cycles for 16 values, 4.5 where all lies in L1. Copying them takes 3.1 in a
// loop of loads and stores, and 2.3 to 2.5 in memcpy. Measured and rejected, none faster: two, six or eight rows;
// prefetching the next rows or out; storing row after row; one loop to normalise a block and sum the next.
#include "kernels/layernorm/layernorm.h"
#include "simd/common.h"

namespace sqz {
namespace {

template <class I>
struct LayerNorm {
  using V = typename I::V;

  template <int R>
  static SQZ_INLINE void rows(int64_t n, const float *x, int64_t ldx, const float *residual, int64_t ldr,
                              const float *weight, const float *bias, float eps, float *out, int64_t ldo) {
    const int64_t full = n / 16 * 16;
    const int rest = static_cast<int>(n - full);
    const typename I::M tail = I::tail(rest);

    V acc[R];
    for (int r = 0; r < R; ++r) acc[r] = I::zero();
    if (residual) {
      for (int64_t i = 0; i < full; i += 16) {
#pragma GCC unroll 4
        for (int r = 0; r < R; ++r) {
          const V s = I::add(I::load(x + r * ldx + i), I::load(residual + r * ldr + i));
          I::store(out + r * ldo + i, s);
          acc[r] = I::add(acc[r], s);
        }
      }
      if (rest) {
        for (int r = 0; r < R; ++r) {
          const V s = I::add(I::load_n(x + r * ldx + full, rest), I::load_n(residual + r * ldr + full, rest));
          I::store_n(out + r * ldo + full, s, rest);
          acc[r] = I::select(tail, I::add(acc[r], s), acc[r]);
        }
      }
      x = out;  // the sums are read back from where they were put
      ldx = ldo;
    } else {
      for (int64_t i = 0; i < full; i += 16) {
#pragma GCC unroll 4
        for (int r = 0; r < R; ++r) acc[r] = I::add(acc[r], I::load(x + r * ldx + i));
      }
      if (rest) {
        for (int r = 0; r < R; ++r)
          acc[r] = I::select(tail, I::add(acc[r], I::load_n(x + r * ldx + full, rest)), acc[r]);
      }
    }

    V mean[R], scale[R];
    const float count = static_cast<float>(n);
    for (int r = 0; r < R; ++r) {
      mean[r] = I::set1(I::reduce_add_tree(acc[r]) / count);
      acc[r] = I::zero();
    }
    for (int64_t i = 0; i < full; i += 16) {
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r) {
        const V d = I::sub(I::load(x + r * ldx + i), mean[r]);
        acc[r] = I::fma(d, d, acc[r]);
      }
    }
    if (rest) {
      for (int r = 0; r < R; ++r) {
        const V d = I::sub(I::load_n(x + r * ldx + full, rest), mean[r]);
        acc[r] = I::select(tail, I::fma(d, d, acc[r]), acc[r]);
      }
    }
    for (int r = 0; r < R; ++r) scale[r] = I::set1(1.0f / __builtin_sqrtf(I::reduce_add_tree(acc[r]) / count + eps));

    const V one = I::set1(1.0f), zero = I::zero();
    for (int64_t i = 0; i < full; i += 16) {
      const V w = weight ? I::load(weight + i) : one, b = bias ? I::load(bias + i) : zero;
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r) {
        const V d = I::sub(I::load(x + r * ldx + i), mean[r]);
        I::store(out + r * ldo + i, I::fma(I::mul(d, scale[r]), w, b));
      }
    }
    if (rest) {
      const V w = weight ? I::load_n(weight + full, rest) : one, b = bias ? I::load_n(bias + full, rest) : zero;
      for (int r = 0; r < R; ++r) {
        const V d = I::sub(I::load_n(x + r * ldx + full, rest), mean[r]);
        I::store_n(out + r * ldo + full, I::fma(I::mul(d, scale[r]), w, b), rest);
      }
    }
  }

  static SQZ_INLINE void run(int64_t count, int64_t n, const float *x, int64_t ldx, const float *residual, int64_t ldr,
                             const float *weight, const float *bias, float eps, float *out, int64_t ldo) {
    int64_t r = 0;
    for (; r + 4 <= count; r += 4)
      rows<4>(n, x + r * ldx, ldx, residual ? residual + r * ldr : nullptr, ldr, weight, bias, eps, out + r * ldo, ldo);
    for (; r < count; ++r)
      rows<1>(n, x + r * ldx, ldx, residual ? residual + r * ldr : nullptr, ldr, weight, bias, eps, out + r * ldo, ldo);
  }
};

}  // namespace
}  // namespace sqz
