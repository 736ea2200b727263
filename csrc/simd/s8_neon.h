// int8 on NEON: the epilogue and the quantisation of all its ISAs, and the products of plain NEON.
//
// Plain NEON has no dot product. vmull_s8 multiplies 8 bytes to 16 bits, vmlal_s8 adds 8 more products (two of at most
// 127 * 127 fit), and vpadalq_s16 adds neighbours to 32 bits: 3 instructions for 16 products. A panel's row of four k
// gives eight sums, two per channel (Pairs), which are added at the end.
#ifndef SQZ_SIMD_S8_NEON_H_
#define SQZ_SIMD_S8_NEON_H_

#include "simd/f32_neon.h"
#include "simd/s8_scalar.h"

namespace sqz {
namespace {

#ifndef __aarch64__
// The scalar unit of 32-bit ARM, for the epilogue: NEON there flushes subnormals to zero, this unit does not. The sums
// are exact, so the results have the same bits as everywhere. In assembly, because Clang would use NEON for four of
// them.
struct F32Vfp : F32Scalar {
  static SQZ_INLINE V add(V x, V y) {
    for (int i = 0; i < 16; ++i) __asm__("vadd.f32 %0, %0, %1" : "+t"(x.v[i]) : "t"(y.v[i]));
    return x;
  }
  static SQZ_INLINE V sub(V x, V y) {
    for (int i = 0; i < 16; ++i) __asm__("vsub.f32 %0, %0, %1" : "+t"(x.v[i]) : "t"(y.v[i]));
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
  using Epilogue = F32Neon;
#else
  using Epilogue = F32Vfp;
#endif
  struct Sum {
    int32x4_t a, b, c, d;
  };
  struct Pairs {
    int32x4_t a0, a1, b0, b1, c0, c1, d0, d1;
  };
  using Four = int8x16_t;
  struct Weights {
    int8x16_t a, b, c, d;
  };

#if defined(__ARM_FEATURE_MATMUL_INT8)
  static constexpr int kRegisters = 32, kSumRegisters = 2, kProductRegisters = 12;
#elif defined(__ARM_FEATURE_DOTPROD)
  static constexpr int kRegisters = 32, kSumRegisters = 4, kProductRegisters = 12;
#elif defined(__aarch64__)
  static constexpr int kRegisters = 32, kSumRegisters = 4, kProductRegisters = 16;
#else
  static constexpr int kRegisters = 16, kSumRegisters = 4, kProductRegisters = 8;
#endif

  static SQZ_INLINE Sum zero() { return {vdupq_n_s32(0), vdupq_n_s32(0), vdupq_n_s32(0), vdupq_n_s32(0)}; }
  static SQZ_INLINE Pairs no_pairs() {
    const int32x4_t z = vdupq_n_s32(0);
    return {z, z, z, z, z, z, z, z};
  }
  static SQZ_INLINE Sum add_pairs(const Pairs &p) {
    return {add_neighbours(p.a0, p.a1), add_neighbours(p.b0, p.b1), add_neighbours(p.c0, p.c1),
            add_neighbours(p.d0, p.d1)};
  }
  static SQZ_INLINE Float::V to_vector(Sum s) {
    return {vcvtq_f32_s32(s.a), vcvtq_f32_s32(s.b), vcvtq_f32_s32(s.c), vcvtq_f32_s32(s.d)};
  }
  static SQZ_INLINE Epilogue::V to_float(Sum s) {
#ifdef __aarch64__
    return to_vector(s);
#else
    Epilogue::V y;
    Float::store(y.v, to_vector(s));
    return y;
#endif
  }

  static SQZ_INLINE Sum plus(Sum s, const int32_t *p) {
    return {vaddq_s32(s.a, vld1q_s32(p)), vaddq_s32(s.b, vld1q_s32(p + 4)), vaddq_s32(s.c, vld1q_s32(p + 8)),
            vaddq_s32(s.d, vld1q_s32(p + 12))};
  }
  static SQZ_INLINE void store_sum(int32_t *p, Sum s) {
    vst1q_s32(p, s.a), vst1q_s32(p + 4, s.b), vst1q_s32(p + 8, s.c), vst1q_s32(p + 12, s.d);
  }

  static SQZ_INLINE Sum add_weights(Sum s, const int8_t *w) {
    return {add_fours(s.a, vld1q_s8(w)), add_fours(s.b, vld1q_s8(w + 16)), add_fours(s.c, vld1q_s8(w + 32)),
            add_fours(s.d, vld1q_s8(w + 48))};
  }

  static SQZ_INLINE Sum interleave(const uint8_t *const (&rows)[4], int8_t *to, Sum s) {
    const int8x16x4_t x = {{sixteen(rows[0]), sixteen(rows[1]), sixteen(rows[2]), sixteen(rows[3])}};
    vst4q_s8(to, x);
    const int16x8_t low = vaddq_s16(vaddl_s8(vget_low_s8(x.val[0]), vget_low_s8(x.val[1])),
                                    vaddl_s8(vget_low_s8(x.val[2]), vget_low_s8(x.val[3])));
    const int16x8_t high = vaddq_s16(vaddl_s8(vget_high_s8(x.val[0]), vget_high_s8(x.val[1])),
                                     vaddl_s8(vget_high_s8(x.val[2]), vget_high_s8(x.val[3])));
    return {vaddw_s16(s.a, vget_low_s16(low)), vaddw_s16(s.b, vget_high_s16(low)), vaddw_s16(s.c, vget_low_s16(high)),
            vaddw_s16(s.d, vget_high_s16(high))};
  }
  static SQZ_INLINE Sum transpose_words(const uint8_t *const (&rows)[16], int8_t *to, Sum s) {
    return {transpose4(rows, to, s.a), transpose4(rows + 4, to + 16, s.b), transpose4(rows + 8, to + 32, s.c),
            transpose4(rows + 12, to + 48, s.d)};
  }

  // The values a of the bytes a + 128.
  static SQZ_INLINE int8x16_t without_128(uint8x16_t x) {
#ifdef __aarch64__  // in place: Clang would take one more register, which the inner loops do not have
    __asm__("eor %0.16b, %0.16b, %1.16b" : "+w"(x) : "w"(vdupq_n_u8(128)));
#else
    x = veorq_u8(x, vdupq_n_u8(128));
#endif
    return vreinterpretq_s8_u8(x);
  }
  // From bytes a + 128: 16 successive activations, or four of them repeated four times.
  static SQZ_INLINE int8x16_t sixteen(const uint8_t *p) { return without_128(vld1q_u8(p)); }
  static SQZ_INLINE int8x16_t four(const uint8_t *p) {
    uint32_t bytes;
    memcpy(&bytes, p, 4);
    return without_128(vreinterpretq_u8_u32(vdupq_n_u32(bytes)));
  }

  // Products by the instruction of the inner loops in microkernel_s8_neon.inl, for the peak loop alone.
  static SQZ_INLINE Sum start(const int32_t *) { return zero(); }
  static SQZ_INLINE Weights load(const int8_t *p) {
    return {vld1q_s8(p), vld1q_s8(p + 16), vld1q_s8(p + 32), vld1q_s8(p + 48)};
  }
  static SQZ_INLINE Four broadcast(const uint8_t *p) { return four(p); }
  static SQZ_INLINE Sum dot(Sum s, Four a, const Weights &w) {
#ifdef __ARM_FEATURE_MATMUL_INT8
    __asm__("usmmla %0.4s, %1.16b, %2.16b" : "+w"(s.a) : "w"(a), "w"(w.a));  // 32 products each
    __asm__("usmmla %0.4s, %1.16b, %2.16b" : "+w"(s.b) : "w"(a), "w"(w.b));
#else
    dot4(s.a, a, w.a), dot4(s.b, a, w.b), dot4(s.c, a, w.c), dot4(s.d, a, w.d);
#endif
    return s;
  }
  static SQZ_INLINE void renew(Four *a) { __asm__ volatile("" : "+w"(*a)); }

  using Amax = uint32x4_t;
  static SQZ_INLINE Amax no_amax() { return vdupq_n_u32(0); }
  static SQZ_INLINE Amax amax(Amax m, Float::V x) {
    return vmaxq_u32(m,
                     vmaxq_u32(vmaxq_u32(magnitude(x.a), magnitude(x.b)), vmaxq_u32(magnitude(x.c), magnitude(x.d))));
  }
  static SQZ_INLINE Amax max_amax(Amax x, Amax y) { return vmaxq_u32(x, y); }
  static SQZ_INLINE uint32_t amax_bits(Amax m) {
#ifdef __aarch64__
    return vmaxvq_u32(m);
#else
    const uint32x2_t d = vmax_u32(vget_low_u32(m), vget_high_u32(m));
    return vget_lane_u32(vpmax_u32(d, d), 0);
#endif
  }

  static SQZ_INLINE Epilogue::V rotate16(Epilogue::V x) {
#ifdef __aarch64__
    const float32x4_t a = rotate4(x.a), b = rotate4(x.b), c = rotate4(x.c), d = rotate4(x.d);
    const F32Neon::V y = {vaddq_f32(a, b), vsubq_f32(a, b), vaddq_f32(c, d), vsubq_f32(c, d)};
    return {vaddq_f32(y.a, y.c), vaddq_f32(y.b, y.d), vsubq_f32(y.a, y.c), vsubq_f32(y.b, y.d)};
#else
    return rotate16_scalar<Epilogue>(x);
#endif
  }

  static SQZ_INLINE void store_bytes(uint8_t *p, const Float::V (&x)[4]) {
    for (int i = 0; i < 4; ++i) vst1q_u8(p + 16 * i, low_bytes<128>(x[i]));
  }
  // The bytes rne(x) + kMore. Adding 1.5 * 2^23 rounds to an integer, because the last bit is then worth 1, and leaves
  // it in the low bits; kMore is added with it.
  template <int kMore>
  static SQZ_INLINE uint8x16_t low_bytes(Float::V x) {
#ifdef __aarch64__
    const uint16x8_t low = vuzp1q_u16(rounded<kMore>(x.a), rounded<kMore>(x.b)),
                     high = vuzp1q_u16(rounded<kMore>(x.c), rounded<kMore>(x.d));
    return vuzp1q_u8(vreinterpretq_u8_u16(low), vreinterpretq_u8_u16(high));
#else
    const auto narrow = [](uint16x8_t word) { return vmovn_u32(vreinterpretq_u32_u16(word)); };
    const uint16x8_t low = vcombine_u16(narrow(rounded<kMore>(x.a)), narrow(rounded<kMore>(x.b)));
    const uint16x8_t high = vcombine_u16(narrow(rounded<kMore>(x.c)), narrow(rounded<kMore>(x.d)));
    return vcombine_u8(vmovn_u16(low), vmovn_u16(high));
#endif
  }

 private:
  static SQZ_INLINE int32x4_t add_fours(int32x4_t s, int8x16_t w) { return vpadalq_s16(s, vpaddlq_s8(w)); }
  // 16 bytes of each of four rows to four times the four weights of four channels; returns `s` plus all of them.
  static SQZ_INLINE int32x4_t transpose4(const uint8_t *const *rows, int8_t *to, int32x4_t s) {
    float32x4_t w[4] = {words(rows[0]), words(rows[1]), words(rows[2]), words(rows[3])};
    Neon::transpose(w);
    for (int i = 0; i < 4; ++i) {
      vst1q_s8(to + 64 * i, vreinterpretq_s8_f32(w[i]));
      s = add_fours(s, vreinterpretq_s8_f32(w[i]));
    }
    return s;
  }
  static SQZ_INLINE float32x4_t words(const uint8_t *p) { return vreinterpretq_f32_s8(sixteen(p)); }
#ifndef __ARM_FEATURE_MATMUL_INT8
  static SQZ_INLINE void dot4(int32x4_t &s, int8x16_t a, int8x16_t w) {
#ifdef __ARM_FEATURE_DOTPROD
    __asm__("sdot %0.4s, %1.16b, %2.4b[0]" : "+w"(s) : "w"(w), "w"(a));
#else
    s = vpadalq_s16(s, vmlal_s8(vmull_s8(vget_low_s8(w), vget_low_s8(a)), vget_high_s8(w), vget_high_s8(a)));
#endif
  }
#endif
  static SQZ_INLINE int32x4_t add_neighbours(int32x4_t x, int32x4_t y) {
#ifdef __aarch64__
    return vpaddq_s32(x, y);
#else
    return vcombine_s32(vpadd_s32(vget_low_s32(x), vget_high_s32(x)), vpadd_s32(vget_low_s32(y), vget_high_s32(y)));
#endif
  }
#ifdef __aarch64__
  static SQZ_INLINE float32x4_t rotate4(float32x4_t x) {
    const uint32_t h1[4] = {0, 0x80000000u, 0, 0x80000000u}, h2[4] = {0, 0, 0x80000000u, 0x80000000u};
    x = stage(x, vrev64q_f32(x), vld1q_u32(h1));
    return stage(x, vextq_f32(x, x, 2), vld1q_u32(h2));
  }
  // x + other, or other - x where `signs` has a sign.
  static SQZ_INLINE float32x4_t stage(float32x4_t x, float32x4_t other, uint32x4_t signs) {
    return vaddq_f32(other, vreinterpretq_f32_u32(veorq_u32(vreinterpretq_u32_f32(x), signs)));
  }
#endif
  static SQZ_INLINE uint32x4_t magnitude(float32x4_t x) { return vreinterpretq_u32_f32(vabsq_f32(x)); }

  template <int kMore>
  static SQZ_INLINE uint16x8_t rounded(float32x4_t x) {
    return vreinterpretq_u16_f32(vaddq_f32(x, vdupq_n_f32(12582912.0f + kMore)));
  }
};

}  // namespace
}  // namespace sqz

#endif  // SQZ_SIMD_S8_NEON_H_
