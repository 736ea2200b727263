// 16-lane float vector of WebAssembly: four v128. Compiled with -mrelaxed-simd, where the host's relaxed_madd rounds
// once (cpu_has_wasm_relaxed_simd), it gives the bits of the other traits. Without, it multiplies and adds, and keeps
// to a tolerance.
#ifndef SQZ_SIMD_F32_WASM_H_
#define SQZ_SIMD_F32_WASM_H_

#include <wasm_simd128.h>

#include "simd/common.h"

// Ends of rows are calls: inlined, they would be a tenth of the module.
#define SQZ_CALLED __attribute__((noinline))

namespace sqz {
namespace {

struct F32Wasm : FloatDefaults<F32Wasm> {
  struct V {
    v128_t q[4];
  };
  using M = V;  // all-ones or all-zeros lanes

  static constexpr int kLanes = 16;
  // Those of x86-64. An engine for 64-bit ARM has more, but compiles the same module.
  static constexpr int kRegisters = 16, kVectorRegisters = 4;
  static constexpr int kOwnTileRows = 0;

#define SQZ_EACH(expr)                                                 \
  V r;                                                                 \
  _Pragma("GCC unroll 4") for (int i = 0; i < 4; ++i) r.q[i] = (expr); \
  return r

  static SQZ_INLINE V zero() { return set1(0.0f); }
  static SQZ_INLINE V set1(float x) { SQZ_EACH(wasm_f32x4_splat(x)); }
  static SQZ_INLINE V load(const float *p) { SQZ_EACH(wasm_v128_load(p + 4 * i)); }
  static SQZ_CALLED V load_n(const float *p, int n) {
    float buffer[16] = {0};
    for (int i = 0; i < n; ++i) buffer[i] = p[i];
    return load(buffer);
  }
  static SQZ_INLINE V load_half(const uint16_t *p) { SQZ_EACH(widen(wasm_u32x4_load16x4(p + 4 * i))); }
  static SQZ_CALLED V load_half_n(const uint16_t *p, int n) {
    uint16_t buffer[16] = {0};
    for (int i = 0; i < n; ++i) buffer[i] = p[i];
    return load_half(buffer);
  }
  static SQZ_INLINE void store(float *p, V x) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) wasm_v128_store(p + 4 * i, x.q[i]);
  }
  static SQZ_CALLED void store_n(float *p, V x, int n) {
    float buffer[16];
    store(buffer, x);
    for (int i = 0; i < n; ++i) p[i] = buffer[i];
  }

  static SQZ_INLINE V add(V x, V y) { SQZ_EACH(wasm_f32x4_add(x.q[i], y.q[i])); }
  static SQZ_INLINE V sub(V x, V y) { SQZ_EACH(wasm_f32x4_sub(x.q[i], y.q[i])); }
  static SQZ_INLINE V mul(V x, V y) { SQZ_EACH(wasm_f32x4_mul(x.q[i], y.q[i])); }
  static SQZ_INLINE V div(V x, V y) { SQZ_EACH(wasm_f32x4_div(x.q[i], y.q[i])); }
#ifdef __wasm_relaxed_simd__
  static SQZ_INLINE V fma(V x, V y, V z) { SQZ_EACH(wasm_f32x4_relaxed_madd(x.q[i], y.q[i], z.q[i])); }
  static SQZ_INLINE V fnma(V x, V y, V z) { SQZ_EACH(wasm_f32x4_relaxed_nmadd(x.q[i], y.q[i], z.q[i])); }
#else
  static SQZ_INLINE V fma(V x, V y, V z) { SQZ_EACH(wasm_f32x4_add(wasm_f32x4_mul(x.q[i], y.q[i]), z.q[i])); }
  static SQZ_INLINE V fnma(V x, V y, V z) { SQZ_EACH(wasm_f32x4_sub(z.q[i], wasm_f32x4_mul(x.q[i], y.q[i]))); }
#endif
  // pmax(y, x) is y < x ? x : y, and pmin(y, x) is x < y ? x : y.
  static SQZ_INLINE V max(V x, V y) { SQZ_EACH(wasm_f32x4_pmax(y.q[i], x.q[i])); }
  static SQZ_INLINE V min(V x, V y) { SQZ_EACH(wasm_f32x4_pmin(y.q[i], x.q[i])); }
  static SQZ_INLINE V abs(V x) { SQZ_EACH(wasm_f32x4_abs(x.q[i])); }
  static SQZ_INLINE V with_sign(V m, V s) {
    SQZ_EACH(wasm_v128_or(m.q[i], wasm_v128_and(s.q[i], wasm_f32x4_splat(-0.0f))));
  }
  static SQZ_INLINE V rint(V x) { SQZ_EACH(wasm_f32x4_nearest(x.q[i])); }
  // Adding 1.5 * 2^23 leaves an integer in the low bits; 127 is added with it. Conversions to integers saturate, which
  // takes several instructions on x86.
  static SQZ_INLINE V scale2(V x, V n) {
    SQZ_EACH(
        wasm_f32x4_mul(x.q[i], wasm_i32x4_shl(wasm_f32x4_add(n.q[i], wasm_f32x4_splat(12582912.0f + 127.0f)), 23)));
  }
  // A NaN has no low bits, so it stays as it is.
  static SQZ_INLINE V scale2_normal(V x, V n) {
    SQZ_EACH(wasm_i32x4_add(x.q[i], wasm_i32x4_shl(wasm_f32x4_add(n.q[i], wasm_f32x4_splat(12582912.0f)), 23)));
  }
  static SQZ_INLINE V scale2_or_zero(M m, V x, V n) {
    x = scale2(x, n);
    SQZ_EACH(wasm_v128_and(m.q[i], x.q[i]));
  }

  static SQZ_INLINE M tail(int n) {
    SQZ_EACH(wasm_i32x4_gt(wasm_i32x4_splat(n - 4 * i), wasm_i32x4_const(0, 1, 2, 3)));
  }
  static SQZ_INLINE M lt(V x, V y) { SQZ_EACH(wasm_f32x4_lt(x.q[i], y.q[i])); }
  static SQZ_INLINE M not_lt(V x, V y) { SQZ_EACH(wasm_v128_not(wasm_f32x4_lt(x.q[i], y.q[i]))); }
  static SQZ_INLINE M mask_and(M x, M y) { SQZ_EACH(wasm_v128_and(x.q[i], y.q[i])); }
  static SQZ_INLINE M nonzero_bytes(const uint8_t *p) {
    const v128_t x = wasm_i8x16_ne(wasm_v128_load(p), wasm_i8x16_splat(0));
    const v128_t low = wasm_i16x8_extend_low_i8x16(x), high = wasm_i16x8_extend_high_i8x16(x);
    return {{wasm_i32x4_extend_low_i16x8(low), wasm_i32x4_extend_high_i16x8(low), wasm_i32x4_extend_low_i16x8(high),
             wasm_i32x4_extend_high_i16x8(high)}};
  }
  static SQZ_INLINE bool any(M x) {
    return wasm_v128_any_true(wasm_v128_or(wasm_v128_or(x.q[0], x.q[1]), wasm_v128_or(x.q[2], x.q[3])));
  }
  static SQZ_INLINE V select(M m, V x, V y) { SQZ_EACH(wasm_v128_bitselect(x.q[i], y.q[i], m.q[i])); }

  static SQZ_INLINE void transpose(const float *const (&rows)[16], float *to) {
    for (int i = 0; i < 16; i += 4) {
      for (int k = 0; k < 16; k += 4) {
        v128_t x[4];
#pragma GCC unroll 4
        for (int j = 0; j < 4; ++j) x[j] = wasm_v128_load(rows[i + j] + k);
        transpose4(x);
#pragma GCC unroll 4
        for (int j = 0; j < 4; ++j) wasm_v128_store(to + (k + j) * 16 + i, x[j]);
      }
    }
  }
  // Of 4 x 4 words.
  static SQZ_INLINE void transpose4(v128_t (&x)[4]) {
    const v128_t a = wasm_i32x4_shuffle(x[0], x[1], 0, 4, 1, 5), b = wasm_i32x4_shuffle(x[0], x[1], 2, 6, 3, 7);
    const v128_t c = wasm_i32x4_shuffle(x[2], x[3], 0, 4, 1, 5), d = wasm_i32x4_shuffle(x[2], x[3], 2, 6, 3, 7);
    x[0] = wasm_i64x2_shuffle(a, c, 0, 2);
    x[1] = wasm_i64x2_shuffle(a, c, 1, 3);
    x[2] = wasm_i64x2_shuffle(b, d, 0, 2);
    x[3] = wasm_i64x2_shuffle(b, d, 1, 3);
  }

  static SQZ_INLINE float reduce_add_tree(V x) {
    v128_t q = wasm_f32x4_add(wasm_f32x4_add(x.q[0], x.q[2]), wasm_f32x4_add(x.q[1], x.q[3]));
    q = wasm_f32x4_add(q, wasm_i64x2_shuffle(q, q, 1, 1));
    return wasm_f32x4_extract_lane(q, 0) + wasm_f32x4_extract_lane(q, 1);
  }
  static SQZ_INLINE float reduce_max_tree(V x) {
    v128_t q = wasm_f32x4_pmax(wasm_f32x4_pmax(x.q[0], x.q[2]), wasm_f32x4_pmax(x.q[1], x.q[3]));
    q = wasm_f32x4_pmax(q, wasm_i64x2_shuffle(q, q, 1, 1));
    return wasm_f32x4_extract_lane(wasm_f32x4_pmax(q, wasm_i32x4_shuffle(q, q, 1, 1, 1, 1)), 0);
  }

#undef SQZ_EACH
#undef SQZ_CALLED

 private:
  // Widens four float16 in int32 lanes. Shifted into place they are too small by 2^112; infinity and NaN get their
  // exponent from `special`.
  static SQZ_INLINE v128_t widen(v128_t h) {
    const v128_t sign = wasm_i32x4_shl(wasm_v128_and(h, wasm_i32x4_splat(0x8000)), 16);
    h = wasm_v128_and(h, wasm_i32x4_splat(0x7fff));
    const v128_t special = wasm_v128_and(wasm_i32x4_gt(h, wasm_i32x4_splat(0x7bff)), wasm_i32x4_splat(0x7f800000));
    const v128_t x = wasm_f32x4_mul(wasm_i32x4_shl(h, 13), wasm_f32x4_splat(0x1p112f));
    return wasm_v128_or(x, wasm_v128_or(sign, special));
  }
};

}  // namespace
}  // namespace sqz

#endif  // SQZ_SIMD_F32_WASM_H_
