// Operations on four floats with 32-bit ARM's NEON, for f32_neon.h. It flushes subnormals to zero and, without VFPv4,
// has no fused multiply-add, so this trait keeps to a tolerance and not to the bits of the others.
#ifndef SQZ_SIMD_NEON_ARMV7_H_
#define SQZ_SIMD_NEON_ARMV7_H_

#include <arm_neon.h>

#include "simd/common.h"

namespace sqz {
namespace {

struct Neon {
#ifdef __ARM_FEATURE_FMA
  static SQZ_INLINE float32x4_t fma(float32x4_t x, float32x4_t y, float32x4_t z) { return vfmaq_f32(z, x, y); }
  static SQZ_INLINE float32x4_t fnma(float32x4_t x, float32x4_t y, float32x4_t z) { return vfmsq_f32(z, x, y); }
#else
  static SQZ_INLINE float32x4_t fma(float32x4_t x, float32x4_t y, float32x4_t z) { return vmlaq_f32(z, x, y); }
  static SQZ_INLINE float32x4_t fnma(float32x4_t x, float32x4_t y, float32x4_t z) { return vmlsq_f32(z, x, y); }
#endif
  // The bits of x as an integer, plus y * z.
  static SQZ_INLINE float32x4_t mla(float32x4_t x, int32x4_t y, int32x4_t z) {
    return vreinterpretq_f32_s32(vmlaq_s32(vreinterpretq_s32_f32(x), y, z));
  }
  // By the scalar unit: NEON has only estimates.
  static SQZ_INLINE float32x4_t div(float32x4_t x, float32x4_t y) {
    return float32x4_t{x[0] / y[0], x[1] / y[1], x[2] / y[2], x[3] / y[3]};
  }
  // For |x| < 2^22 or NaN. Adding 2^23 rounds to an integer, because the last bit is then worth 1.
  static SQZ_INLINE float32x4_t rint(float32x4_t x) {
    const float32x4_t shift = vdupq_n_f32(8388608.0f);
    return vbslq_f32(vdupq_n_u32(0x80000000u), x, vsubq_f32(vaddq_f32(vabsq_f32(x), shift), shift));
  }
  static SQZ_INLINE bool any(uint32x4_t x) {
    const uint64x2_t y = vreinterpretq_u64_u32(x);
    return (vgetq_lane_u64(y, 0) | vgetq_lane_u64(y, 1)) != 0;
  }

  // Widens eight float16.
  static SQZ_INLINE void widen(uint16x8_t h, float32x4_t *low, float32x4_t *high) {
#ifdef __ARM_FEATURE_FMA  // VFPv4 converts float16; GCC has the intrinsic only with -mfp16-format
    __asm__("vcvt.f32.f16 %q0, %P1" : "=w"(*low) : "w"(vget_low_u16(h)));
    __asm__("vcvt.f32.f16 %q0, %P1" : "=w"(*high) : "w"(vget_high_u16(h)));
#else
    *low = widen4(vmovl_u16(vget_low_u16(h)));
    *high = widen4(vmovl_u16(vget_high_u16(h)));
#endif
  }

  static SQZ_INLINE void transpose(float32x4_t *x) {
    const float32x4x2_t a = vtrnq_f32(x[0], x[1]), b = vtrnq_f32(x[2], x[3]);
    x[0] = vcombine_f32(vget_low_f32(a.val[0]), vget_low_f32(b.val[0]));
    x[1] = vcombine_f32(vget_low_f32(a.val[1]), vget_low_f32(b.val[1]));
    x[2] = vcombine_f32(vget_high_f32(a.val[0]), vget_high_f32(b.val[0]));
    x[3] = vcombine_f32(vget_high_f32(a.val[1]), vget_high_f32(b.val[1]));
  }

 private:
  // Shifts the exponent into place and adds 112 to it, or 224 for infinity and NaN. Subnormal halves are integers times
  // 2^-24.
  [[maybe_unused]] static SQZ_INLINE float32x4_t widen4(uint32x4_t h) {
    const uint32x4_t sign = vshlq_n_u32(vandq_u32(h, vdupq_n_u32(0x8000)), 16);
    h = vandq_u32(h, vdupq_n_u32(0x7fff));
    const uint32x4_t more = vdupq_n_u32(112u << 23), special = vcgtq_u32(h, vdupq_n_u32(0x7bff));
    const uint32x4_t normal = vaddq_u32(vaddq_u32(vshlq_n_u32(h, 13), more), vandq_u32(special, more));
    const float32x4_t subnormal = vmulq_f32(vcvtq_f32_u32(h), vdupq_n_f32(0x1p-24f));
    const uint32x4_t is_normal = vcgtq_u32(h, vdupq_n_u32(0x3ff));
    return vreinterpretq_f32_u32(vorrq_u32(sign, vbslq_u32(is_normal, normal, vreinterpretq_u32_f32(subnormal))));
  }
};

}  // namespace
}  // namespace sqz

#endif  // SQZ_SIMD_NEON_ARMV7_H_
