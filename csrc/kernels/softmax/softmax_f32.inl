// Softmax of a row: scale and mask with a running max, exp with a striped sum, a correctly rounded quotient.
//
// Cycles per 16 keys without a mask on a Zen 5, with a division per vector: on AVX-512 9.9 at 512 keys per row, 10.8 at
// 128, 23 at 16 (two reductions per row); on AVX2 20, 20 and 33. The nine multiply-adds of exp alone take 4.5 cycles, a
// division 2.5; on Intel's cores a division takes 10.
#ifndef SQZ_KERNELS_SOFTMAX_SOFTMAX_F32_INL_
#define SQZ_KERNELS_SOFTMAX_SOFTMAX_F32_INL_

#include "kernels/softmax/softmax.h"
#include "simd/common.h"
#include "simd/math.h"
#include "simd/pair.h"

namespace sqz {
namespace {

template <class I>
struct Softmax {
  using V = typename I::V;
  using M = typename I::M;

  static constexpr int kBlockRows = 24;  // the most that block() takes

  // RN(e / t) for 0 <= e <= 1 and 1 <= t <= 2^46, from r = RN(1 / t): one division per row, not one per vector. The
  // quotient is not subnormal and the remainder is exact where e >= kLeast; a vector with a smaller e is divided.
  // docs/numerics.md proves that the bits are those of a division.
  static constexpr float kLeast = 0x1p-80f;
  template <class W>
  static SQZ_INLINE typename W::V quotient(typename W::V e, typename W::V t, typename W::V r) {
    const V least = I::set1(kLeast);
    if (__builtin_expect(I::any(I::lt(InTurn<W>::min(least, e), least)), 0)) return W::div(e, t);
    const typename W::V q = W::mul(e, r);
    return W::fma(W::fnma(q, t, e), r, q);
  }

  // Softmax of a few rows without a mask, in place; x is scaled already. Each pass goes over all rows, which hides the
  // reduction at the end of a row behind the next row. With kPadded, x may be read and written up to the end of the
  // last vector.
  template <bool kPadded>
  static SQZ_INLINE void block(int rows, int64_t n, float *x, int64_t ldx) {
    using W = typename Wide<I, PolynomialTuning<I>::kVectors >= 4 ? 4 : 1>::Type;
    constexpr int64_t kStep = W::kLanes;
    const int64_t full = n / 16 * 16;
    const int rest = static_cast<int>(n - full);
    const M tail = I::tail(rest);
    float top[kBlockRows], total[kBlockRows];
    for (int r = 0; r < rows; ++r) {
      const float *p = x + r * ldx;
      V a = I::set1(minus_infinity()), b = a;
      int64_t i = 0;
      for (; i + 32 <= full; i += 32) {
        a = I::max(I::load(p + i), a);
        b = I::max(I::load(p + i + 16), b);
      }
      if (i < full) a = I::max(I::load(p + i), a);
      if (rest) b = I::select(tail, I::max(kPadded ? I::load(p + full) : I::load_n(p + full, rest), b), b);
      top[r] = I::reduce_max_tree(I::max(a, b));
    }
    for (int r = 0; r < rows; ++r) {
      float *p = x + r * ldx;
      const V t = I::set1(top[r]);
      const typename W::V wide_t = W::set1(top[r]);
      V sum = I::zero();
      int64_t i = 0;
      if constexpr (kStep > 16) {
        for (; i + kStep <= full; i += kStep) {
          const typename W::V e = Math<W>::exp(W::sub(W::load(p + i), wide_t));
          W::store(p + i, e);
          sum = InTurn<W>::add(sum, e);
        }
      }
      for (; i < full; i += 16) {
        const V e = Math<I>::exp(I::sub(I::load(p + i), t));
        I::store(p + i, e);
        sum = I::add(sum, e);
      }
      if (rest) {
        const V e = Math<I>::exp(I::sub(kPadded ? I::load(p + full) : I::load_n(p + full, rest), t));
        if (kPadded)
          I::store(p + full, e);
        else
          I::store_n(p + full, e, rest);
        sum = I::select(tail, I::add(sum, e), sum);
      }
      total[r] = I::reduce_add_tree(sum);
    }
    for (int r = 0; r < rows; ++r) {
      float *p = x + r * ldx;
      const V t = I::set1(total[r]);
      const int64_t end = kPadded ? full + (rest ? 16 : 0) : full;
      int64_t i = 0;
      if constexpr (kStep > 16) {
        if (kStep <= end) {
          const typename W::V wide_t = W::set1(total[r]), reciprocal = W::set1(1.0f / total[r]);
          for (; i + kStep <= end; i += kStep) W::store(p + i, quotient<W>(W::load(p + i), wide_t, reciprocal));
        }
      }
      for (; i < end; i += 16) I::store(p + i, I::div(I::load(p + i), t));
      if (!kPadded && rest) I::store_n(p + full, I::div(I::load_n(p + full, rest), t), rest);
    }
  }

  // Which of the keys [i, i + count) the mask keeps; *added is what an additive mask adds to them.
  template <sqz_mask_kind Kind>
  static SQZ_INLINE M kept(const void *mask, int64_t i, int count, V *added) {
    *added = I::zero();
    if constexpr (Kind == SQZ_MASK_BOOL) {
      const uint8_t *p = static_cast<const uint8_t *>(mask) + i;
      if (count == 16) return I::nonzero_bytes(p);
      uint8_t bytes[16] = {0};
      for (int j = 0; j < count; ++j) bytes[j] = p[j];
      return I::nonzero_bytes(bytes);
    } else {
      const float *p = static_cast<const float *>(mask) + i;
      *added = count == 16 ? I::load(p) : I::load_n(p, count);
      // Not "mask > -inf": a NaN in the mask must reach the result.
      const M excluded = I::lt(*added, I::set1(-3.40282347e+38f));
      *added = I::select(excluded, I::zero(), *added);
      const V keep = I::select(excluded, I::zero(), I::set1(1.0f));
      return I::mask_and(I::lt(I::zero(), keep), I::tail(count));
    }
  }

  // Softmax of one row with a mask; false if every key is excluded, and out is then unspecified.
  template <sqz_mask_kind Kind>
  static SQZ_INLINE bool row(int64_t n, const float *x, const void *mask, float scale, float *out) {
    const V vscale = I::set1(scale);
    V top = I::set1(minus_infinity()), added;
    bool any = false;
    for (int64_t i = 0; i < n; i += 16) {
      const int count = static_cast<int>(min64(16, n - i));
      const M keep = kept<Kind>(mask, i, count, &added);
      V s = I::mul(count == 16 ? I::load(x + i) : I::load_n(x + i, count), vscale);
      if constexpr (Kind == SQZ_MASK_ADD) s = I::add(s, added);
      if (count == 16)
        I::store(out + i, s);
      else
        I::store_n(out + i, s, count);
      top = I::select(I::mask_and(keep, I::lt(top, s)), s, top);
      any = any || I::any(keep);
    }
    if (!any) return false;

    const V vtop = I::set1(I::reduce_max_tree(top));
    V sum = I::zero();
    for (int64_t i = 0; i < n; i += 16) {
      const int count = static_cast<int>(min64(16, n - i));
      const M keep = kept<Kind>(mask, i, count, &added);
      const V s = count == 16 ? I::load(out + i) : I::load_n(out + i, count);
      const V e = I::select(keep, Math<I>::exp(I::sub(s, vtop)), I::zero());
      if (count == 16)
        I::store(out + i, e);
      else
        I::store_n(out + i, e, count);
      sum = I::select(keep, I::add(sum, e), sum);
    }

    const V total = I::set1(I::reduce_add_tree(sum));
    for (int64_t i = 0; i < n; i += 16) {
      const int count = static_cast<int>(min64(16, n - i));
      M keep = kept<Kind>(mask, i, count, &added);
      if (count == 16)
        I::store(out + i, I::select(keep, I::div(I::load(out + i), total), I::zero()));
      else
        I::store_n(out + i, I::select(keep, I::div(I::load_n(out + i, count), total), I::zero()), count);
    }
    return true;
  }

  static SQZ_INLINE bool row(int64_t n, const float *x, const void *mask, sqz_mask_kind kind, float scale, float *out) {
    if (kind == SQZ_MASK_BOOL) return row<SQZ_MASK_BOOL>(n, x, mask, scale, out);
    return row<SQZ_MASK_ADD>(n, x, mask, scale, out);
  }

  static SQZ_INLINE void run(int64_t rows, int64_t n, const float *x, int64_t ldx, const void *mask, sqz_mask_kind kind,
                             int64_t mask_stride, float scale, sqz_fully_masked fully_masked, float *out, int64_t ldo) {
    if (kind == SQZ_MASK_NONE) {
      const V by = I::set1(scale);
      for (int64_t first = 0; first < rows; first += kBlockRows) {
        const int count = static_cast<int>(min64(kBlockRows, rows - first));
        for (int64_t r = first; r < first + count; ++r) {
          int64_t i = 0;
          for (; i + 16 <= n; i += 16) I::store(out + r * ldo + i, I::mul(I::load(x + r * ldx + i), by));
          const int rest = static_cast<int>(n - i);
          if (rest) I::store_n(out + r * ldo + i, I::mul(I::load_n(x + r * ldx + i, rest), by), rest);
        }
        block<false>(count, n, out + first * ldo, ldo);
      }
      return;
    }
    const int64_t mask_bytes = mask_stride * (kind == SQZ_MASK_ADD ? 4 : 1);
    for (int64_t r = 0; r < rows; ++r) {
      const void *m = static_cast<const char *>(mask) + r * mask_bytes;
      if (!row(n, x + r * ldx, m, kind, scale, out + r * ldo)) fill(n, fully_masked, out + r * ldo);
    }
  }

  static SQZ_INLINE void fill(int64_t n, sqz_fully_masked fully_masked, float *out) {
    const float value = fully_masked == SQZ_MASKED_ZERO ? 0.0f : 1.0f / static_cast<float>(n);
    for (int64_t i = 0; i < n; ++i) out[i] = value;
  }
};

}  // namespace
}  // namespace sqz

#endif  // SQZ_KERNELS_SOFTMAX_SOFTMAX_F32_INL_
