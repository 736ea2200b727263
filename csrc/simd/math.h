// exp, log2, tanh and GELU over the vector trait: the same operations in the same order on every ISA.
// The constants are float32 minimax fits that docs/polynomials.py makes and checks; backends/numpy.py has them too.
#ifndef SQZ_SIMD_MATH_H_
#define SQZ_SIMD_MATH_H_

#include "simd/common.h"

namespace sqz {
namespace {

template <class I>
struct Math {
  using V = typename I::V;

  // Coefficients of the polynomials, from x^0 on.
  static constexpr float kExp[] = {0.49999994f, 0.166665196f, 0.0416684076f, 0.00836891402f, 0.00138141913f};
  static constexpr float kTanh[] = {-0.333332807f, 0.133314416f, -0.0537397154f, 0.0206390861f, -0.00570498686f};
  static constexpr float kLog2Q[] = {-0.999991655f,  -1.15121973f,     -0.458695829f,   -0.0535520948f,
                                     0.00821138639f, -0.000831133511f, 4.68577382e-05f, -1.08079598e-06f};
  static constexpr float kExp2[] = {1.00000012f,  0.693146944f,   0.240221158f,
                                    0.055507157f, 0.00967577007f, 0.00132762431f};

  static constexpr float kExp2Bytes[] = {253.981735f, 176.088287f, 61.6232262f, 14.0136032f};
  static constexpr float kLog2[] = {1.44268167f,   -0.721094847f, 0.481642336f,
                                    -0.371062458f, 0.292749316f,  -0.145224512f};

  template <const auto &c>
  static SQZ_INLINE V horner(V x) {
    constexpr int kLast = static_cast<int>(sizeof c / sizeof c[0]) - 1;
    V p = I::set1(c[kLast]);
    const Addends<I, c> addends;
#pragma GCC unroll 16
    for (int i = kLast - 1; i >= 0; --i) p = I::fma(p, x, addends[i]);
    return p;
  }

  // e^x for x <= 88, at most 2 ULP off; exactly +0 below -87.33, so never subnormal; NaN stays NaN.
  static SQZ_INLINE V exp(V x) {
    constexpr float kLog2e = 1.44269504f, kLn2High = 0.693359375f, kLn2Low = -2.12194440e-4f;
    const typename I::M normal = I::not_lt(x, I::set1(-87.33f));  // elsewhere n and p are garbage
    const V n = I::rint(I::mul(x, I::set1(kLog2e)));
    V r = I::fma(n, I::set1(-kLn2High), x);
    r = I::fma(n, I::set1(-kLn2Low), r);
    const V p = I::add(I::fma(I::mul(r, r), horner<kExp>(r), r), I::set1(1.0f));
    return I::scale2_or_zero(normal, p, n);
  }

  // 254 * 2^x for -126 <= x <= 0, off by 7.5e-5 of it: enough for what is rounded to one of 254 levels.
  static SQZ_INLINE V exp2_bytes(V x) {
    V rest;
    const V n = I::split(x, &rest);
    return I::scale2_normal(horner<kExp2Bytes>(rest), n);
  }

  // log2 of 2^n (1 + z) for -0.25 <= z < 0.5, at most 2.3e-6 off before the last rounding, and exact for z = 0.
  static SQZ_INLINE V log2(V n, V z) { return I::fma(horner<kLog2>(z), z, n); }

  // At most 2 ULP off. Near zero a polynomial, because 1 - 2/(e^2t + 1) cancels there.
  static SQZ_INLINE V tanh(V x) {
    const V t = I::abs(x), u = I::mul(t, t);
    const V small = I::fma(I::mul(t, u), horner<kTanh>(u), t);
    V t2 = I::add(t, t);
    t2 = I::min(I::set1(20.0f), t2);
    const V one = I::set1(1.0f);
    const V large = I::sub(one, I::div(I::set1(2.0f), I::add(exp(t2), one)));
    return I::with_sign(I::select(I::lt(t, I::set1(0.625f)), small, large), x);
  }

  // x * Phi(x) = relu(x) - t * Q(t) with t = |x| and the upper tail Q(t) = 2^P(t): no division, and accurate relative
  // to the result deep into the negative tail. Error <= 2e-7 * max(1, |x|). Beyond 13.1 the tail is below the smallest
  // normal number: +0. NaN only passes through the max, so it keeps its sign and its payload.
  static SQZ_INLINE V gelu(V x) {
    const V t = I::min_abs(x, I::set1(13.1f));
    V rest;
    const V n = I::split(horner<kLog2Q>(t), &rest);
    const typename I::M normal = I::not_lt(n, I::set1(-126.0f));
    const V q = I::scale2_or_zero(normal, horner<kExp2>(rest), n);
    return I::fnma(t, q, I::greater(I::set1(-0.0f), x));
  }

  // 0.5 x (1 + tanh(z)) = x / (1 + e^-2z), z = sqrt(2/pi) (x + 0.044715 x^3): the quotient keeps the negative tail.
  static SQZ_INLINE V gelu_tanh(V x) {
    const V xc = I::max(I::set1(-20.0f), x);
    const V cube = I::mul(I::mul(xc, xc), xc);
    V z = I::mul(I::set1(-1.59576912f), I::fma(I::set1(0.044715f), cube, xc));
    z = I::min(I::set1(88.0f), z);
    return I::div(xc, I::add(I::set1(1.0f), exp(z)));
  }

  static SQZ_INLINE V relu(V x) { return I::max(I::zero(), x); }
};

}  // namespace
}  // namespace sqz

#endif  // SQZ_SIMD_MATH_H_
