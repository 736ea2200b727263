// Operations on four floats with 64-bit ARM's NEON, for f32_neon.h. ARMv8.0 has all of them.
#ifndef SQZ_SIMD_NEON_AARCH64_H_
#define SQZ_SIMD_NEON_AARCH64_H_

#include <arm_neon.h>

#include "simd/common.h"

namespace sqz {
namespace {

struct Neon {
  static SQZ_INLINE float32x4_t fma(float32x4_t x, float32x4_t y, float32x4_t z) { return vfmaq_f32(z, x, y); }
  static SQZ_INLINE float32x4_t fnma(float32x4_t x, float32x4_t y, float32x4_t z) { return vfmsq_f32(z, x, y); }
  // The bits of x as an integer, plus y * z. In assembly, because between the types of the intrinsics GCC 12 would copy
  // x.
  static SQZ_INLINE float32x4_t mla(float32x4_t x, int32x4_t y, int32x4_t z) {
    __asm__("mla %0.4s, %1.4s, %2.4s" : "+w"(x) : "w"(y), "w"(z));
    return x;
  }
  static SQZ_INLINE float32x4_t div(float32x4_t x, float32x4_t y) { return vdivq_f32(x, y); }
  static SQZ_INLINE float32x4_t rint(float32x4_t x) { return vrndnq_f32(x); }
  static SQZ_INLINE bool any(uint32x4_t x) { return vmaxvq_u32(x) != 0; }

  // Widens eight float16.
  static SQZ_INLINE void widen(uint16x8_t h, float32x4_t *low, float32x4_t *high) {
    const float16x8_t x = vreinterpretq_f16_u16(h);
    *low = vcvt_f32_f16(vget_low_f16(x));
    *high = vcvt_high_f32_f16(x);
  }

  static SQZ_INLINE void transpose(float32x4_t *x) {
    const float64x2_t a = vreinterpretq_f64_f32(vtrn1q_f32(x[0], x[1])),
                      b = vreinterpretq_f64_f32(vtrn2q_f32(x[0], x[1])),
                      c = vreinterpretq_f64_f32(vtrn1q_f32(x[2], x[3])),
                      d = vreinterpretq_f64_f32(vtrn2q_f32(x[2], x[3]));
    x[0] = vreinterpretq_f32_f64(vtrn1q_f64(a, c));
    x[1] = vreinterpretq_f32_f64(vtrn1q_f64(b, d));
    x[2] = vreinterpretq_f32_f64(vtrn2q_f64(a, c));
    x[3] = vreinterpretq_f32_f64(vtrn2q_f64(b, d));
  }
};

}  // namespace
}  // namespace sqz

#endif  // SQZ_SIMD_NEON_AARCH64_H_
