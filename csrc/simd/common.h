// Helpers of all kernels, the same for every ISA.
#ifndef SQZ_SIMD_COMMON_H_
#define SQZ_SIMD_COMMON_H_

#include <stdint.h>
#include <string.h>

#define SQZ_INLINE inline __attribute__((always_inline))
#define SQZ_INLINE_LAMBDA __attribute__((always_inline))
#define SQZ_RARE __attribute__((noinline, cold))  // runs seldom: compiled for size

// Tile sizes and the like are specialised per trait. A trait that derives from another does not match the other's
// specialisation and would silently get the default, so the defaults reject such traits with this message.
#define SQZ_DERIVED_TRAIT "a trait that derives from a tuned one needs a specialisation of its own here"

namespace sqz {
namespace {

// Exact. Signalling NaNs become quiet, as with the conversion instructions.
SQZ_INLINE float half_to_float(uint16_t h) {
  const uint32_t sign = static_cast<uint32_t>(h & 0x8000u) << 16, exponent = (h >> 10) & 31u;
  uint32_t mantissa = h & 0x3ffu, bits;
  if (exponent == 31) {
    bits = sign | 0x7f800000u | (mantissa ? 0x400000u | mantissa << 13 : 0);
  } else if (exponent != 0) {
    bits = sign | (exponent + 112) << 23 | mantissa << 13;
  } else {
    // Subnormal halves are normal floats: mantissa * 2^-24, without rounding.
    float r = static_cast<float>(mantissa) * 0x1p-24f;
    memcpy(&bits, &r, 4);
    bits |= sign;
  }
  float r;
  memcpy(&r, &bits, 4);
  return r;
}

// What a trait of floats inherits, unless its instruction set has something better.
template <class I>
struct FloatDefaults {
  // The lesser of |a| and the limit; the limit where a is NaN.
  template <class V>
  static SQZ_INLINE V min_abs(V a, V limit) {
    return I::min(I::abs(a), limit);
  }
  // rint(a); what is left of a, which is exact, goes to *rest. The signs of zeros are any.
  template <class V>
  static SQZ_INLINE V split(V a, V *rest) {
    const V whole = I::rint(a);
    *rest = I::sub(a, whole);
    return whole;
  }
  // The greater one; NaN where b is NaN; b where it is a zero and a is -0.
  template <class V>
  static SQZ_INLINE V greater(V a, V b) {
    return I::max(a, b);
  }
  // 16 floats that a loop adds to again and again, and such that nothing is added to.
  static SQZ_INLINE auto load_addend(const float *p) { return I::load(p); }
  static SQZ_INLINE auto load_once(const float *p) { return I::load(p); }
  // The greatest lane; any sign where that is a zero, and NaN or another lane where one is NaN.
  template <class V>
  static SQZ_INLINE float reduce_max(V a) {
    return I::reduce_max_tree(a);
  }
  // scale2(a, n) where it and a are normal numbers, or a and n are NaN.
  template <class V>
  static SQZ_INLINE V scale2_normal(V a, V n) {
    return I::scale2(a, n);
  }
  // scale2(a, n) where m is true; elsewhere +0, for any a and n.
  template <class M, class V>
  static SQZ_INLINE V scale2_or_zero(M m, V a, V n) {
    return I::select(m, I::scale2(a, n), I::zero());
  }
};

// The addends of a polynomial, as vectors; a trait may specialise this.
template <class I, const auto &c>
struct Addends {
  SQZ_INLINE typename I::V operator[](int i) const { return I::set1(c[i]); }
};

SQZ_INLINE int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }
SQZ_INLINE int64_t round_up(int64_t a, int64_t multiple) { return (a + multiple - 1) / multiple * multiple; }

// Without <math.h>, so that kernels need no standard header for it.
SQZ_INLINE float minus_infinity() { return -__builtin_inff(); }

// Calls f.template run<MR>() with MR = rows, 1 <= rows <= Max.
template <int Max, class F>
SQZ_INLINE void with_rows(int rows, const F &f) {
  if constexpr (Max > 1) {
    if (rows < Max) return with_rows<Max - 1>(rows, f);
  }
  f.template run<Max>();
}

}  // namespace
}  // namespace sqz

#endif  // SQZ_SIMD_COMMON_H_
