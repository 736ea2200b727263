// Several vectors at a time, for the polynomials of math.h: Pair<I> is a trait of 32 lanes, Pair<Pair<I>> one of 64.
// The polynomial of one vector is a chain of dependent operations, four cycles apart, and a core's schedulers hold only
// a few of its operations. Two chains side by side keep the units busy. Each lane sees the operations of I, so the bits
// are those of I.
#ifndef SQZ_SIMD_PAIR_H_
#define SQZ_SIMD_PAIR_H_

#include "simd/common.h"

namespace sqz {
namespace {

template <class I>
struct Pair {
  struct V {
    typename I::V a, b;
  };
  struct M {
    typename I::M a, b;
  };

  static constexpr int kLanes = 2 * I::kLanes;

  static SQZ_INLINE V zero() { return {I::zero(), I::zero()}; }
  static SQZ_INLINE V set1(float x) { return {I::set1(x), I::set1(x)}; }
  static SQZ_INLINE V load(const float *p) { return {I::load(p), I::load(p + I::kLanes)}; }
  static SQZ_INLINE void store(float *p, V x) {
    I::store(p, x.a);
    I::store(p + I::kLanes, x.b);
  }

  static SQZ_INLINE V add(V x, V y) { return {I::add(x.a, y.a), I::add(x.b, y.b)}; }
  static SQZ_INLINE V sub(V x, V y) { return {I::sub(x.a, y.a), I::sub(x.b, y.b)}; }
  static SQZ_INLINE V mul(V x, V y) { return {I::mul(x.a, y.a), I::mul(x.b, y.b)}; }
  static SQZ_INLINE V div(V x, V y) { return {I::div(x.a, y.a), I::div(x.b, y.b)}; }
  static SQZ_INLINE V fma(V x, V y, V z) { return {I::fma(x.a, y.a, z.a), I::fma(x.b, y.b, z.b)}; }
  static SQZ_INLINE V fnma(V x, V y, V z) { return {I::fnma(x.a, y.a, z.a), I::fnma(x.b, y.b, z.b)}; }
  static SQZ_INLINE V max(V x, V y) { return {I::max(x.a, y.a), I::max(x.b, y.b)}; }
  static SQZ_INLINE V min(V x, V y) { return {I::min(x.a, y.a), I::min(x.b, y.b)}; }
  static SQZ_INLINE V abs(V x) { return {I::abs(x.a), I::abs(x.b)}; }
  static SQZ_INLINE V with_sign(V m, V s) { return {I::with_sign(m.a, s.a), I::with_sign(m.b, s.b)}; }
  static SQZ_INLINE V rint(V x) { return {I::rint(x.a), I::rint(x.b)}; }
  static SQZ_INLINE V scale2(V x, V n) { return {I::scale2(x.a, n.a), I::scale2(x.b, n.b)}; }
  static SQZ_INLINE V min_abs(V x, V limit) { return {I::min_abs(x.a, limit.a), I::min_abs(x.b, limit.b)}; }
  static SQZ_INLINE V split(V x, V *rest) { return {I::split(x.a, &rest->a), I::split(x.b, &rest->b)}; }
  static SQZ_INLINE V greater(V x, V y) { return {I::greater(x.a, y.a), I::greater(x.b, y.b)}; }
  static SQZ_INLINE V scale2_or_zero(M m, V x, V n) {
    return {I::scale2_or_zero(m.a, x.a, n.a), I::scale2_or_zero(m.b, x.b, n.b)};
  }
  static SQZ_INLINE M lt(V x, V y) { return {I::lt(x.a, y.a), I::lt(x.b, y.b)}; }
  static SQZ_INLINE M not_lt(V x, V y) { return {I::not_lt(x.a, y.a), I::not_lt(x.b, y.b)}; }
  static SQZ_INLINE V select(M m, V x, V y) { return {I::select(m.a, x.a, y.a), I::select(m.b, x.b, y.b)}; }
};

// N vectors, a power of two.
template <class I, int N>
struct Wide {
  using Type = Pair<typename Wide<I, N / 2>::Type>;
};
template <class I>
struct Wide<I, 1> {
  using Type = I;
};

// A striped sum or minimum and the vectors of x in turn, which is the order of one vector at a time.
template <class I>
struct InTurn {
  static SQZ_INLINE typename I::V add(typename I::V sum, typename I::V x) { return I::add(sum, x); }
  static SQZ_INLINE typename I::V min(typename I::V least, typename I::V x) { return I::min(least, x); }
};
template <class I>
struct InTurn<Pair<I>> {
  template <class U>
  static SQZ_INLINE U add(U sum, typename Pair<I>::V x) {
    return InTurn<I>::add(InTurn<I>::add(sum, x.a), x.b);
  }
  template <class U>
  static SQZ_INLINE U min(U least, typename Pair<I>::V x) {
    return InTurn<I>::min(InTurn<I>::min(least, x.a), x.b);
  }
};

// How many vectors a polynomial takes at a time. One vector of four registers has chains enough.
struct F32Avx2;
struct F32Avx512;
template <int N>
struct Vectors {
  static constexpr int kVectors = N;
};
template <class I>
struct PolynomialTuning : Vectors<1> {
  static_assert(!__is_base_of(F32Avx2, I) && !__is_base_of(F32Avx512, I), SQZ_DERIVED_TRAIT);
};
template <>
struct PolynomialTuning<F32Avx2> : Vectors<4> {};  // eight spill
template <>
struct PolynomialTuning<F32Avx512> : Vectors<8> {};

}  // namespace
}  // namespace sqz

#endif  // SQZ_SIMD_PAIR_H_
