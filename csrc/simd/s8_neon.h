// Bytes on NEON: what all its ISAs share in quantising rows, and the products of plain NEON.
//
// Plain NEON has no dot product. vmull_s8 multiplies 8 bytes to 16 bits, vmlal_s8 adds 8 more products (two of at most
// 127 * 127 fit), and vpadalq_s16 adds neighbours to 32 bits: 3 instructions for 16 products. A panel's row of four k
// gives eight sums of two channels' pairs of k (Pairs), which are added at the end.
#ifndef SQZ_SIMD_S8_NEON_H_
#define SQZ_SIMD_S8_NEON_H_

#include "simd/f32_neon.h"
#include "simd/f32_scalar.h"

namespace sqz {
namespace {

#ifndef __aarch64__
// The scalar unit. NEON of 32-bit ARM flushes denormals to zero, this one does not, so that what follows the sums,
// which are exact, has the same bits as everywhere. In assembly, because Clang would put four of them on NEON.
struct F32Vfp : F32Scalar {
  static SQZ_INLINE V add(V x, V y) {
    for (int i = 0; i < 16; ++i) __asm__("vadd.f32 %0, %0, %1" : "+t"(x.v[i]) : "t"(y.v[i]));
    return x;
  }
  static SQZ_INLINE V mul(V x, V y) {
    for (int i = 0; i < 16; ++i) __asm__("vmul.f32 %0, %0, %1" : "+t"(x.v[i]) : "t"(y.v[i]));
    return x;
  }
};
#endif

struct S8Neon {
  using Float = F32Neon;
#ifdef __aarch64__
  using Ieee = F32Neon;
#else
  using Ieee = F32Vfp;
#endif
  struct Sum {
    int32x4_t a, b, c, d;
  };
  struct Pairs {
    int32x4_t a0, a1, b0, b1, c0, c1, d0, d1;
  };

  static SQZ_INLINE Sum zero() { return {vdupq_n_s32(0), vdupq_n_s32(0), vdupq_n_s32(0), vdupq_n_s32(0)}; }
  static SQZ_INLINE Pairs no_pairs() {
    const int32x4_t z = vdupq_n_s32(0);
    return {z, z, z, z, z, z, z, z};
  }
  static SQZ_INLINE Sum add_pairs(const Pairs &p) {
    return {add_neighbours(p.a0, p.a1), add_neighbours(p.b0, p.b1), add_neighbours(p.c0, p.c1),
            add_neighbours(p.d0, p.d1)};
  }
  static SQZ_INLINE Ieee::V to_float(Sum s) {
    const F32Neon::V x = {vcvtq_f32_s32(s.a), vcvtq_f32_s32(s.b), vcvtq_f32_s32(s.c), vcvtq_f32_s32(s.d)};
#ifdef __aarch64__
    return x;
#else
    Ieee::V y;
    F32Neon::store(y.v, x);
    return y;
#endif
  }

  // The bytes a of the bytes a + 128.
  static SQZ_INLINE int8x16_t without_128(uint8x16_t x) {
#ifdef __aarch64__  // in place: Clang would take one more register, which an inner loop does not have
    __asm__("eor %0.16b, %0.16b, %1.16b" : "+w"(x) : "w"(vdupq_n_u8(128)));
#else
    x = veorq_u8(x, vdupq_n_u8(128));
#endif
    return vreinterpretq_s8_u8(x);
  }
  // 16 successive activations, or four of them four times, from their bytes a + 128.
  static SQZ_INLINE int8x16_t sixteen(const uint8_t *p) { return without_128(vld1q_u8(p)); }
  static SQZ_INLINE int8x16_t four(const uint8_t *p) {
    uint32_t bytes;
    memcpy(&bytes, p, 4);
    return without_128(vreinterpretq_u8_u32(vdupq_n_u32(bytes)));
  }

  using Most = uint32x4_t;
  static SQZ_INLINE Most no_most() { return vdupq_n_u32(0); }
  static SQZ_INLINE Most most(Most m, Float::V x) {
    return vmaxq_u32(m,
                     vmaxq_u32(vmaxq_u32(magnitude(x.a), magnitude(x.b)), vmaxq_u32(magnitude(x.c), magnitude(x.d))));
  }
  static SQZ_INLINE Most most_of_two(Most x, Most y) { return vmaxq_u32(x, y); }
  static SQZ_INLINE uint32_t most_of(Most m) {
#ifdef __aarch64__
    return vmaxvq_u32(m);
#else
    const uint32x2_t d = vmax_u32(vget_low_u32(m), vget_high_u32(m));
    return vget_lane_u32(vpmax_u32(d, d), 0);
#endif
  }

  static SQZ_INLINE void store_bytes(uint8_t *p, const Float::V (&x)[4]) {
    for (int i = 0; i < 4; ++i) vst1q_u8(p + 16 * i, low_bytes(x[i]));
  }

 private:
  static SQZ_INLINE int32x4_t add_neighbours(int32x4_t x, int32x4_t y) {
#ifdef __aarch64__
    return vpaddq_s32(x, y);
#else
    return vcombine_s32(vpadd_s32(vget_low_s32(x), vget_high_s32(x)), vpadd_s32(vget_low_s32(y), vget_high_s32(y)));
#endif
  }
  static SQZ_INLINE uint32x4_t magnitude(float32x4_t x) { return vreinterpretq_u32_f32(vabsq_f32(x)); }

  // Beyond 2^23 the last bit is worth 1, so the addition rounds, and the integer stands in the last bits, here with the
  // 128 that the byte has on top.
  static SQZ_INLINE uint16x8_t rounded(float32x4_t x) {
    return vreinterpretq_u16_f32(vaddq_f32(x, vdupq_n_f32(12582912.0f + 128.0f)));
  }
  static SQZ_INLINE uint8x16_t low_bytes(Float::V x) {
#ifdef __aarch64__
    const uint16x8_t low = vuzp1q_u16(rounded(x.a), rounded(x.b)), high = vuzp1q_u16(rounded(x.c), rounded(x.d));
    return vuzp1q_u8(vreinterpretq_u8_u16(low), vreinterpretq_u8_u16(high));
#else
    const auto narrow = [](uint16x8_t word) { return vmovn_u32(vreinterpretq_u32_u16(word)); };
    const uint16x8_t low = vcombine_u16(narrow(rounded(x.a)), narrow(rounded(x.b)));
    const uint16x8_t high = vcombine_u16(narrow(rounded(x.c)), narrow(rounded(x.d)));
    return vcombine_u8(vmovn_u16(low), vmovn_u16(high));
#endif
  }
};

}  // namespace
}  // namespace sqz

#endif  // SQZ_SIMD_S8_NEON_H_
