// 16-lane float vector on NEON: four q registers. 64-bit ARM has 32 of them and gives the bits of the other traits;
// 32-bit ARM has 16 and keeps to a tolerance.
#ifndef SQZ_SIMD_F32_NEON_H_
#define SQZ_SIMD_F32_NEON_H_

#include "simd/common.h"
#ifdef __aarch64__
#include "simd/microkernel_neon.h"
#include "simd/neon_aarch64.h"
#else
#include "simd/neon_armv7.h"
#endif

namespace sqz {
namespace {

struct F32Neon : FloatDefaults<F32Neon> {
  // Four members, not an array: with arrays of q registers GCC 12 stores values that nobody reads.
  struct V {
    float32x4_t a, b, c, d;
  };
  struct M {  // all-ones or all-zeros lanes
    uint32x4_t a, b, c, d;
  };

  static constexpr int kLanes = 16;
#ifdef __aarch64__
  static constexpr int kRegisters = 32, kVectorRegisters = 4;
  static constexpr int kOwnTileRows = 4;  // of multiply()

  // Eight steps use at most eight cache lines of weights, and two of them are prefetched per eight steps: that covers
  // all lines where a column has four tiles or more, and else the first ones.
  template <int MR, class W>
  static SQZ_INLINE void multiply(int64_t depth, const float *a, int64_t lda, const W *b, int64_t b_step, uintptr_t at,
                                  int64_t ahead, V (&acc)[MR][1]) {
    const int64_t step = b_step * static_cast<int64_t>(sizeof(W)), eight = min64(8 * ahead, 128);
    multiply_neon<MR>(depth, a, lda, b, step, at, eight, acc[0][0], acc[MR > 1][0], acc[MR > 2 ? 2 : 0][0],
                      acc[MR - 1][0]);
  }
#else
  static constexpr int kRegisters = 16, kVectorRegisters = 4;
  static constexpr int kOwnTileRows = 0;
#endif

  static SQZ_INLINE V zero() { return set1(0.0f); }
  static SQZ_INLINE V set1(float x) { return {vdupq_n_f32(x), vdupq_n_f32(x), vdupq_n_f32(x), vdupq_n_f32(x)}; }
  static SQZ_INLINE V load(const float *p) {
    return {vld1q_f32(p), vld1q_f32(p + 4), vld1q_f32(p + 8), vld1q_f32(p + 12)};
  }
  static SQZ_INLINE V load_n(const float *p, int n) {
    return {load4(p, n), load4(p + 4, n - 4), load4(p + 8, n - 8), load4(p + 12, n - 12)};
  }
  static SQZ_INLINE V load_half(const uint16_t *p) {
    V r;
    Neon::widen(vld1q_u16(p), &r.a, &r.b);
    Neon::widen(vld1q_u16(p + 8), &r.c, &r.d);
    return r;
  }
  static SQZ_INLINE V load_half_n(const uint16_t *p, int n) {
    uint16_t buffer[16] = {0};
    for (int i = 0; i < n; ++i) buffer[i] = p[i];
    return load_half(buffer);
  }
  static SQZ_INLINE void store(float *p, V x) {
    vst1q_f32(p, x.a);
    vst1q_f32(p + 4, x.b);
    vst1q_f32(p + 8, x.c);
    vst1q_f32(p + 12, x.d);
  }
  static SQZ_INLINE void store_n(float *p, V x, int n) {
    store4(p, x.a, n);
    store4(p + 4, x.b, n - 4);
    store4(p + 8, x.c, n - 8);
    store4(p + 12, x.d, n - 12);
  }

  static SQZ_INLINE V add(V x, V y) {
    return {vaddq_f32(x.a, y.a), vaddq_f32(x.b, y.b), vaddq_f32(x.c, y.c), vaddq_f32(x.d, y.d)};
  }
  static SQZ_INLINE V sub(V x, V y) {
    return {vsubq_f32(x.a, y.a), vsubq_f32(x.b, y.b), vsubq_f32(x.c, y.c), vsubq_f32(x.d, y.d)};
  }
  static SQZ_INLINE V mul(V x, V y) {
    return {vmulq_f32(x.a, y.a), vmulq_f32(x.b, y.b), vmulq_f32(x.c, y.c), vmulq_f32(x.d, y.d)};
  }
  static SQZ_INLINE V div(V x, V y) {
    return {Neon::div(x.a, y.a), Neon::div(x.b, y.b), Neon::div(x.c, y.c), Neon::div(x.d, y.d)};
  }
  static SQZ_INLINE V fma(V x, V y, V z) {
    return {Neon::fma(x.a, y.a, z.a), Neon::fma(x.b, y.b, z.b), Neon::fma(x.c, y.c, z.c), Neon::fma(x.d, y.d, z.d)};
  }
  static SQZ_INLINE V fnma(V x, V y, V z) {
    return {Neon::fnma(x.a, y.a, z.a), Neon::fnma(x.b, y.b, z.b), Neon::fnma(x.c, y.c, z.c), Neon::fnma(x.d, y.d, z.d)};
  }
  // Compare and select: NEON's own max and min differ from those of x86 on NaN and on zeros of both signs.
  static SQZ_INLINE V max(V x, V y) { return select(lt(y, x), x, y); }
  static SQZ_INLINE V min(V x, V y) { return select(lt(x, y), x, y); }
  static SQZ_INLINE V abs(V x) { return {vabsq_f32(x.a), vabsq_f32(x.b), vabsq_f32(x.c), vabsq_f32(x.d)}; }
  static SQZ_INLINE V with_sign(V m, V s) {
    const uint32x4_t sign = vdupq_n_u32(0x80000000u);
    return select({sign, sign, sign, sign}, s, m);
  }
  static SQZ_INLINE V rint(V x) { return {Neon::rint(x.a), Neon::rint(x.b), Neon::rint(x.c), Neon::rint(x.d)}; }
  static SQZ_INLINE V scale2(V x, V n) {
    return {scale4(x.a, n.a), scale4(x.b, n.b), scale4(x.c, n.c), scale4(x.d, n.d)};
  }

  // As in FloatDefaults, in fewer instructions.
#ifdef __aarch64__
  static SQZ_INLINE V min_abs(V x, V limit) {
    x = abs(x);
    return {vminnmq_f32(x.a, limit.a), vminnmq_f32(x.b, limit.b), vminnmq_f32(x.c, limit.c), vminnmq_f32(x.d, limit.d)};
  }
  // In assembly: the compiler would load once, and copy each time, since a sum takes the register of its addend.
  static SQZ_INLINE V load_addend(const float *p) {
    V r;
    __asm__ volatile("ldp %q0, %q1, [%2]"
                     : "=w"(r.a), "=w"(r.b)
                     : "r"(p), "m"(*reinterpret_cast<const float(*)[8]>(p)));
    __asm__ volatile("ldp %q0, %q1, [%2, 32]"
                     : "=w"(r.c), "=w"(r.d)
                     : "r"(p), "m"(*reinterpret_cast<const float(*)[16]>(p)));
    return r;
  }
  static SQZ_INLINE V load_once(const float *p) {
    const float32x4x4_t x = vld1q_f32_x4(p);
    return {x.val[0], x.val[1], x.val[2], x.val[3]};
  }
  static SQZ_INLINE float reduce_max(V x) { return vmaxvq_f32(vmaxq_f32(vmaxq_f32(x.a, x.b), vmaxq_f32(x.c, x.d))); }
#endif
  // NaN becomes 0 as an integer, so it stays NaN in the sum.
  static SQZ_INLINE V greater(V x, V y) {
    return {vmaxq_f32(x.a, y.a), vmaxq_f32(x.b, y.b), vmaxq_f32(x.c, y.c), vmaxq_f32(x.d, y.d)};
  }
  static SQZ_INLINE V scale2_normal(V x, V n) {
    return {add_exponent(x.a, n.a), add_exponent(x.b, n.b), add_exponent(x.c, n.c), add_exponent(x.d, n.d)};
  }

  static SQZ_INLINE M tail(int n) {
    const int32_t first[4] = {0, 1, 2, 3};
    const int32x4_t lane = vld1q_s32(first);
    return {vcgtq_s32(vdupq_n_s32(n), lane), vcgtq_s32(vdupq_n_s32(n - 4), lane), vcgtq_s32(vdupq_n_s32(n - 8), lane),
            vcgtq_s32(vdupq_n_s32(n - 12), lane)};
  }
  static SQZ_INLINE M lt(V x, V y) {
    return {vcltq_f32(x.a, y.a), vcltq_f32(x.b, y.b), vcltq_f32(x.c, y.c), vcltq_f32(x.d, y.d)};
  }
  static SQZ_INLINE M not_lt(V x, V y) {
    const M less = lt(x, y);
    return {vmvnq_u32(less.a), vmvnq_u32(less.b), vmvnq_u32(less.c), vmvnq_u32(less.d)};
  }
  static SQZ_INLINE M mask_and(M x, M y) {
    return {vandq_u32(x.a, y.a), vandq_u32(x.b, y.b), vandq_u32(x.c, y.c), vandq_u32(x.d, y.d)};
  }
  static SQZ_INLINE M nonzero_bytes(const uint8_t *p) {
    const uint8x16_t x = vld1q_u8(p);
    const uint16x8_t low = vmovl_u8(vget_low_u8(x)), high = vmovl_u8(vget_high_u8(x));
    return {nonzero4(vget_low_u16(low)), nonzero4(vget_high_u16(low)), nonzero4(vget_low_u16(high)),
            nonzero4(vget_high_u16(high))};
  }
  static SQZ_INLINE bool any(M x) { return Neon::any(vorrq_u32(vorrq_u32(x.a, x.b), vorrq_u32(x.c, x.d))); }
  static SQZ_INLINE V select(M m, V x, V y) {
    return {vbslq_f32(m.a, x.a, y.a), vbslq_f32(m.b, x.b, y.b), vbslq_f32(m.c, x.c, y.c), vbslq_f32(m.d, x.d, y.d)};
  }

  static SQZ_INLINE void transpose(const float *const (&rows)[16], float *to) {
#pragma GCC unroll 4
    for (int i = 0; i < 16; i += 4) {
#pragma GCC unroll 4
      for (int k = 0; k < 16; k += 4) {
        float32x4_t x[4] = {vld1q_f32(rows[i] + k), vld1q_f32(rows[i + 1] + k), vld1q_f32(rows[i + 2] + k),
                            vld1q_f32(rows[i + 3] + k)};
        Neon::transpose(x);
        for (int j = 0; j < 4; ++j) vst1q_f32(to + (k + j) * 16 + i, x[j]);
      }
    }
  }

  static SQZ_INLINE float reduce_add_tree(V x) {
    const float32x4_t q = vaddq_f32(vaddq_f32(x.a, x.c), vaddq_f32(x.b, x.d));
    const float32x2_t d = vadd_f32(vget_low_f32(q), vget_high_f32(q));
    return vget_lane_f32(d, 0) + vget_lane_f32(d, 1);
  }
  static SQZ_INLINE float reduce_max_tree(V x) {
    const float32x4_t q = max4(max4(x.a, x.c), max4(x.b, x.d));
    const float32x2_t low = vget_low_f32(q), high = vget_high_f32(q), d = vbsl_f32(vclt_f32(low, high), high, low);
    return vget_lane_f32(d, 0) < vget_lane_f32(d, 1) ? vget_lane_f32(d, 1) : vget_lane_f32(d, 0);
  }

 private:
  static SQZ_INLINE float32x4_t max4(float32x4_t x, float32x4_t y) { return vbslq_f32(vcltq_f32(x, y), y, x); }
  static SQZ_INLINE float32x4_t scale4(float32x4_t x, float32x4_t n) {
    const int32x4_t e = vaddq_s32(vcvtq_s32_f32(n), vdupq_n_s32(127));
    return vmulq_f32(x, vreinterpretq_f32_s32(vshlq_n_s32(e, 23)));
  }
  static SQZ_INLINE float32x4_t add_exponent(float32x4_t x, float32x4_t n) {
    return Neon::mla(x, vcvtq_s32_f32(n), vdupq_n_s32(1 << 23));
  }
  static SQZ_INLINE uint32x4_t nonzero4(uint16x4_t x) { return vcgtq_u32(vmovl_u16(x), vdupq_n_u32(0)); }

  // The first n of four, for any n.
  static SQZ_INLINE float32x4_t load4(const float *p, int n) {
    if (n >= 4) return vld1q_f32(p);
    float32x4_t r = vdupq_n_f32(0.0f);
    if (n > 0) r = vld1q_lane_f32(p, r, 0);
    if (n > 1) r = vld1q_lane_f32(p + 1, r, 1);
    if (n > 2) r = vld1q_lane_f32(p + 2, r, 2);
    return r;
  }
  static SQZ_INLINE void store4(float *p, float32x4_t x, int n) {
    if (n >= 4) return vst1q_f32(p, x);
    if (n > 0) vst1q_lane_f32(p, x, 0);
    if (n > 1) vst1q_lane_f32(p + 1, x, 1);
    if (n > 2) vst1q_lane_f32(p + 2, x, 2);
  }
};

#ifdef __aarch64__
// NEON adds to the register that holds the result, so an addend that must survive costs a copy. A load costs as much,
// so the addends are loaded, two registers at a time, from a table that holds each eight times. Two pointers, whose
// common origin the asm hides from the compiler, keep it from loading once and copying.
template <const auto &addends>
struct Addends<F32Neon, addends> {
  static constexpr int kCount = static_cast<int>(sizeof addends / sizeof addends[0]);
  struct Table {
    alignas(16) float v[kCount][8];
    constexpr Table() : v() {
      for (int i = 0; i < kCount; ++i)
        for (int j = 0; j < 8; ++j) v[i][j] = addends[i];
    }
  };
  static constexpr Table kTable = Table();
  const float *a, *c;

  template <int origin>
  static SQZ_INLINE const float *table() {
    const float *p;
    __asm__("" : "=r"(p) : "0"(&kTable.v[0][0]), "i"(origin));
    return p;
  }
  SQZ_INLINE Addends() : a(table<0>()), c(table<1>()) {}
  SQZ_INLINE F32Neon::V operator[](int i) const {
    return {vld1q_f32(a + 8 * i), vld1q_f32(a + 8 * i + 4), vld1q_f32(c + 8 * i), vld1q_f32(c + 8 * i + 4)};
  }
};
#endif

}  // namespace
}  // namespace sqz

#endif  // SQZ_SIMD_F32_NEON_H_
