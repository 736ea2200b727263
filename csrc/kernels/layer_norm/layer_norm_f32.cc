// LayerNorm in two passes. A sum is 16 striped partial sums and then the reduction tree (reduce_add_tree of the
// traits), for each block of columns. Four rows at once, because the sum of one row is a chain of dependent additions.
//
// One float does not hold the mean of a row far from zero: its rounding error would show in the result. So the first
// pass sums differences from a pivot near the mean, and the mean is a float and what its rounding lost.
//
// AVX-512, 128 rows of 768 columns from L2 on a Zen 4: 6.8 cycles per 16 values, as without a pivot, because the first
// pass waits for L2. Rejected there: to sum the differences from the rounded mean in the second pass instead, 7.6; fma
// in place of subtraction and multiplication in the third, 7.3. Sums of blocks are scalars: as vectors they made GCC 12
// keep accumulators in memory. On a Zen 5, before the pivot, copying the values took half of the time, and none of
// these was faster: two, six or eight rows; prefetching the next rows or out; storing row after row; one loop that
// normalises a block and sums the next.
#include "kernels/layer_norm/layer_norm.h"
#include "kernels/target.h"
#include "simd/common.h"
#include "simd/rescale.h"

namespace sqz {
namespace {

template <class I>
struct LayerNorm {
  using V = typename I::V;

  static constexpr int kRows = kLayerNormRows;
  // Columns of a block. Rounding errors grow with the number of additions to an accumulator.
  static constexpr int64_t kBlock = 1024;

  // The first columns of a row; their mean is the pivot.
  static SQZ_INLINE V first(int64_t n, const float *x) {
    return n < 16 ? I::load_n(x, static_cast<int>(n)) : I::load(x);
  }

  // Sums of x - pivot, or of s - pivot with s = x + residual, which is stored.
  template <int R>
  static SQZ_INLINE void offsets(int64_t n, const float *x, int64_t ldx, const float *residual, int64_t ldr,
                                 float *stored, int64_t lds, const float (&pivots)[R], float (&sums)[R]) {
    V pivot[R];
    for (int r = 0; r < R; ++r) {
      pivot[r] = I::set1(pivots[r]);
      sums[r] = 0;
    }
    for (int64_t begin = 0; begin < n; begin += kBlock) {
      const int64_t end = min64(n, begin + kBlock), full = begin + (end - begin) / 16 * 16;
      const int rest = static_cast<int>(end - full);
      V acc[R];
      for (int r = 0; r < R; ++r) acc[r] = I::zero();
      if (residual) {
        for (int64_t i = begin; i < full; i += 16) {
#pragma GCC unroll 4
          for (int r = 0; r < R; ++r) {
            const V s = I::add(I::load(x + r * ldx + i), I::load(residual + r * ldr + i));
            I::store(stored + r * lds + i, s);
            acc[r] = I::add(acc[r], I::sub(s, pivot[r]));
          }
        }
      } else {
        for (int64_t i = begin; i < full; i += 16) {
#pragma GCC unroll 4
          for (int r = 0; r < R; ++r) acc[r] = I::add(acc[r], I::sub(I::load(x + r * ldx + i), pivot[r]));
        }
      }
      if (rest) {
        for (int r = 0; r < R; ++r) {
          V s = I::load_n(x + r * ldx + full, rest);
          if (residual) {
            s = I::add(s, I::load_n(residual + r * ldr + full, rest));
            I::store_n(stored + r * lds + full, s, rest);
          }
          acc[r] = I::select(I::tail(rest), I::add(acc[r], I::sub(s, pivot[r])), acc[r]);
        }
      }
      for (int r = 0; r < R; ++r) sums[r] += I::reduce_add_tree(acc[r]);
    }
  }

  // Sums of the squares of the differences of the rows from their means.
  template <int R>
  static SQZ_INLINE void squares(int64_t n, const float *x, int64_t ldx, const float (&means)[R], float (&sums)[R]) {
    V mean[R];
    for (int r = 0; r < R; ++r) {
      mean[r] = I::set1(means[r]);
      sums[r] = 0;
    }
    for (int64_t begin = 0; begin < n; begin += kBlock) {
      const int64_t end = min64(n, begin + kBlock), full = begin + (end - begin) / 16 * 16;
      const int rest = static_cast<int>(end - full);
      V acc[R];
      for (int r = 0; r < R; ++r) acc[r] = I::zero();
      for (int64_t i = begin; i < full; i += 16) {
#pragma GCC unroll 4
        for (int r = 0; r < R; ++r) {
          const V d = I::sub(I::load(x + r * ldx + i), mean[r]);
          acc[r] = I::fma(d, d, acc[r]);
        }
      }
      if (rest) {
        for (int r = 0; r < R; ++r) {
          const V d = I::sub(I::load_n(x + r * ldx + full, rest), mean[r]);
          acc[r] = I::select(I::tail(rest), I::fma(d, d, acc[r]), acc[r]);
        }
      }
      for (int r = 0; r < R; ++r) sums[r] += I::reduce_add_tree(acc[r]);
    }
  }

  // The mean is pivot + offset; `mean` is that, rounded, and `rest` what the rounding lost.
  struct Mean {
    float pivot, offset;

    SQZ_INLINE float mean() const { return pivot + offset; }
    SQZ_INLINE float rest() const { return offset - (mean() - pivot); }
    // The squares are of differences from mean(), not from the mean.
    SQZ_INLINE float variance(float mean_square) const {
      const float v = mean_square - rest() * rest();
      return v < 0 ? 0 : v;  // keeps NaN
    }
  };

  // A row that overflows or underflows, or has a bad pivot. It is scaled into `out`, which may be x.
  static SQZ_RARE Mean scaled(int64_t n, const float *x, float eps, float *out, float *variance_eps) {
    const float factor = Rescale<I>::run(n, x, __builtin_sqrtf(eps), out), count = static_cast<float>(n);
    float scaled_eps = eps * factor * factor, pivot[1], sum[1];
    if (eps > 0 && scaled_eps < 0x1p-126f) scaled_eps = 0x1p-126f;  // else a constant row would be 0 / 0
    Mean m = {0, I::reduce_add_tree(first(n, out)) / static_cast<float>(min64(n, 16))};
    for (int i = 0; i < 2; ++i) {
      pivot[0] = m.mean();
      offsets<1>(n, out, 0, nullptr, 0, nullptr, 0, pivot, sum);
      m = {pivot[0], sum[0] / count};
    }
    pivot[0] = m.mean();
    squares<1>(n, out, 0, pivot, sum);
    *variance_eps = m.variance(sum[0] / count) + scaled_eps;
    return m;
  }

  template <int R>
  static SQZ_INLINE void rows(int64_t n, const float *x, int64_t ldx, const float *residual, int64_t ldr,
                              const float *weight, const float *bias, float eps, float *out, int64_t ldo) {
    const int64_t full = n / 16 * 16;
    const int rest = static_cast<int>(n - full);
    const float count = static_cast<float>(n), few = static_cast<float>(min64(n, 16));

    float pivot[R], mean[R], sum[R], variance_eps[R];
    Mean m[R];
    for (int r = 0; r < R; ++r) {
      V v = first(n, x + r * ldx);
      if (residual) v = I::add(v, first(n, residual + r * ldr));
      pivot[r] = I::reduce_add_tree(v) / few;
    }
    offsets<R>(n, x, ldx, residual, ldr, out, ldo, pivot, sum);
    if (residual) {
      x = out;  // the next passes read the sums that this one stored
      ldx = ldo;
    }
    for (int r = 0; r < R; ++r) {
      m[r] = {pivot[r], sum[r] / count};
      mean[r] = m[r].mean();
    }
    squares<R>(n, x, ldx, mean, sum);

    bool exact[R], all = true;
    for (int r = 0; r < R; ++r) {
      variance_eps[r] = m[r].variance(sum[r] / count) + eps;
      exact[r] = is_usual(variance_eps[r]) && m[r].offset * m[r].offset <= 4 * variance_eps[r];
      all = all && exact[r];
    }
    if (__builtin_expect(!all, 0)) {
      for (int r = 0; r < R; ++r) {
        if (exact[r])
          Rescale<I>::times(n, x + r * ldx, 1, out + r * ldo);
        else
          m[r] = scaled(n, x + r * ldx, eps, out + r * ldo, &variance_eps[r]);
      }
      x = out;
      ldx = ldo;
    }

    V center[R], below[R], scale[R];
    for (int r = 0; r < R; ++r) {
      const float factor = 1.0f / __builtin_sqrtf(variance_eps[r]);
      center[r] = I::set1(m[r].mean());
      scale[r] = I::set1(factor);
      below[r] = I::set1(m[r].rest());
    }
    const V one = I::set1(1.0f), zero = I::zero();
    for (int64_t i = 0; i < full; i += 16) {
      const V w = weight ? I::load(weight + i) : one, b = bias ? I::load(bias + i) : zero;
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r) {
        const V d = I::sub(I::load(x + r * ldx + i), center[r]);
        I::store(out + r * ldo + i, I::fma(I::mul(I::sub(d, below[r]), scale[r]), w, b));
      }
    }
    if (rest) {
      const V w = weight ? I::load_n(weight + full, rest) : one, b = bias ? I::load_n(bias + full, rest) : zero;
      for (int r = 0; r < R; ++r) {
        const V d = I::sub(I::load_n(x + r * ldx + full, rest), center[r]);
        I::store_n(out + r * ldo + full, I::fma(I::mul(I::sub(d, below[r]), scale[r]), w, b), rest);
      }
    }
  }

  static SQZ_INLINE void run(int64_t count, int64_t n, const float *x, int64_t ldx, const float *residual, int64_t ldr,
                             const float *weight, const float *bias, float eps, float *out, int64_t ldo) {
    int64_t r = 0;
    for (; r + kRows <= count; r += kRows)
      rows<kRows>(n, x + r * ldx, ldx, residual ? residual + r * ldr : nullptr, ldr, weight, bias, eps, out + r * ldo,
                  ldo);
    for (; r < count; ++r)
      rows<1>(n, x + r * ldx, ldx, residual ? residual + r * ldr : nullptr, ldr, weight, bias, eps, out + r * ldo, ldo);
  }
};

}  // namespace

SQZ_KERNEL(layer_norm_f32, LayerNorm<Floats>::run, tile_of(kLayerNormRows, "rows"));

}  // namespace sqz
