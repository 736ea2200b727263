// int8 on WebAssembly: i32x4.dot_i16x8_s multiplies eight 16-bit integers and adds neighbours, which is pmaddwd on x86.
// Bytes a + 128 are multiplied as they are, since they fit 16 bits, so sums start at the numbers of the panel.
#ifndef SQZ_SIMD_S8_WASM_H_
#define SQZ_SIMD_S8_WASM_H_

#include "simd/f32_wasm.h"

namespace sqz {
namespace {

struct S8Wasm {
  using Float = F32Wasm;
  using Epilogue = Float;
  struct Sum {
    v128_t q[4];
  };
  struct Four {
    v128_t a, b;  // the first two in each word, and the last two
  };
  struct Weights {
    v128_t a[4], b[4];  // of four channels each: the first two, and the last two
  };

  // A tile of three rows: V8 on a Zen 4 takes 1.1 times as long with two, and the same with four.
  static constexpr int kRegisters = 16, kSumRegisters = 4, kProductRegisters = 4;

  static SQZ_INLINE Sum start(const int32_t *first) {
    Sum s;
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) s.q[i] = wasm_v128_load(first + 4 * i);
    return s;
  }
  static SQZ_INLINE Weights load(const int8_t *p) {
    Weights w;
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      const v128_t x = wasm_i16x8_load8x8(p + 16 * i), y = wasm_i16x8_load8x8(p + 16 * i + 8);
      w.a[i] = wasm_i32x4_shuffle(x, y, 0, 2, 4, 6);
      w.b[i] = wasm_i32x4_shuffle(x, y, 1, 3, 5, 7);
    }
    return w;
  }
  static SQZ_INLINE Four broadcast(const uint8_t *p) {
    const v128_t x = wasm_u16x8_extend_low_u8x16(wasm_v128_load32_splat(p));
    return {wasm_i32x4_shuffle(x, x, 0, 0, 0, 0), wasm_i32x4_shuffle(x, x, 1, 1, 1, 1)};
  }
  static SQZ_INLINE Sum dot(Sum s, Four x, const Weights &w) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i)
      s.q[i] =
          wasm_i32x4_add(wasm_i32x4_add(s.q[i], wasm_i32x4_dot_i16x8(w.a[i], x.a)), wasm_i32x4_dot_i16x8(w.b[i], x.b));
    return s;
  }
  static SQZ_INLINE void renew(Four *x) { __asm__ volatile("" : "+r"(x->a), "+r"(x->b)); }

  static SQZ_INLINE Float::V to_float(Sum s) {
    Float::V r;
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) r.q[i] = wasm_f32x4_convert_i32x4(s.q[i]);
    return r;
  }

  static SQZ_INLINE Sum plus(Sum s, const int32_t *p) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) s.q[i] = wasm_i32x4_add(s.q[i], wasm_v128_load(p + 4 * i));
    return s;
  }
  static SQZ_INLINE void store_sum(int32_t *p, Sum s) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) wasm_v128_store(p + 4 * i, s.q[i]);
  }

  static SQZ_INLINE Sum add_weights(Sum s, const int8_t *w) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) s.q[i] = add_fours(s.q[i], wasm_v128_load(w + 16 * i));
    return s;
  }

  static SQZ_INLINE Sum interleave(const uint8_t *const (&rows)[4], int8_t *to, Sum s) {
    v128_t x[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) x[i] = sixteen(rows[i]);
    const v128_t a = low_bytes(x[0], x[1]), b = high_bytes(x[0], x[1]);
    const v128_t c = low_bytes(x[2], x[3]), d = high_bytes(x[2], x[3]);
    x[0] = wasm_i16x8_shuffle(a, c, 0, 8, 1, 9, 2, 10, 3, 11);
    x[1] = wasm_i16x8_shuffle(a, c, 4, 12, 5, 13, 6, 14, 7, 15);
    x[2] = wasm_i16x8_shuffle(b, d, 0, 8, 1, 9, 2, 10, 3, 11);
    x[3] = wasm_i16x8_shuffle(b, d, 4, 12, 5, 13, 6, 14, 7, 15);
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      wasm_v128_store(to + 16 * i, x[i]);
      s.q[i] = add_fours(s.q[i], x[i]);
    }
    return s;
  }
  static SQZ_INLINE Sum transpose_words(const uint8_t *const (&rows)[16], int8_t *to, Sum s) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      v128_t x[4];
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) x[j] = sixteen(rows[4 * i + j]);
      Float::transpose4(x);
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) {
        wasm_v128_store(to + 64 * j + 16 * i, x[j]);
        s.q[i] = add_fours(s.q[i], x[j]);
      }
    }
    return s;
  }

  using Amax = v128_t;
  static SQZ_INLINE Amax no_amax() { return wasm_i32x4_splat(0); }
  static SQZ_INLINE Amax amax(Amax m, Float::V x) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) m = wasm_i32x4_max(m, wasm_f32x4_abs(x.q[i]));
    return m;
  }
  static SQZ_INLINE Amax max_amax(Amax x, Amax y) { return wasm_i32x4_max(x, y); }
  static SQZ_INLINE uint32_t amax_bits(Amax m) {
    m = wasm_i32x4_max(m, wasm_i64x2_shuffle(m, m, 1, 1));
    m = wasm_i32x4_max(m, wasm_i32x4_shuffle(m, m, 1, 1, 1, 1));
    return static_cast<uint32_t>(wasm_i32x4_extract_lane(m, 0));
  }

  static SQZ_INLINE Float::V rotate16(Float::V x) {
    v128_t a[4], b[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) a[i] = rotate4(x.q[i]);
#pragma GCC unroll 4
    for (int i = 0; i < 4; i += 2) {
      b[i] = wasm_f32x4_add(a[i], a[i + 1]);
      b[i + 1] = wasm_f32x4_sub(a[i], a[i + 1]);
    }
    return {{wasm_f32x4_add(b[0], b[2]), wasm_f32x4_add(b[1], b[3]), wasm_f32x4_sub(b[0], b[2]),
             wasm_f32x4_sub(b[1], b[3])}};
  }

  static SQZ_INLINE void store_bytes(uint8_t *p, const Float::V (&x)[4]) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      const v128_t low = wasm_i16x8_narrow_i32x4(rounded(x[i].q[0]), rounded(x[i].q[1]));
      const v128_t high = wasm_i16x8_narrow_i32x4(rounded(x[i].q[2]), rounded(x[i].q[3]));
      wasm_v128_store(p + 16 * i, wasm_v128_xor(wasm_i8x16_narrow_i16x8(low, high), wasm_i8x16_splat(-128)));
    }
  }

 private:
  // The values a of 16 bytes a + 128.
  static SQZ_INLINE v128_t sixteen(const uint8_t *p) {
    return wasm_v128_xor(wasm_v128_load(p), wasm_i8x16_splat(-128));
  }
  static SQZ_INLINE v128_t low_bytes(v128_t x, v128_t y) {
    return wasm_i8x16_shuffle(x, y, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  }
  static SQZ_INLINE v128_t high_bytes(v128_t x, v128_t y) {
    return wasm_i8x16_shuffle(x, y, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
  }
  static SQZ_INLINE v128_t add_fours(v128_t s, v128_t w) {
    return wasm_i32x4_add(s, wasm_i32x4_extadd_pairwise_i16x8(wasm_i16x8_extadd_pairwise_i8x16(w)));
  }
  // rne(x) as integers. Adding 1.5 * 2^23 rounds to an integer, because the last bit is then worth 1.
  static SQZ_INLINE v128_t rounded(v128_t x) {
    const v128_t shift = wasm_f32x4_splat(12582912.0f);
    return wasm_i32x4_sub(wasm_f32x4_add(x, shift), shift);
  }
  static SQZ_INLINE v128_t rotate4(v128_t x) {
    const float minus = -0.0f;
    x = stage(x, wasm_i32x4_shuffle(x, x, 1, 0, 3, 2), wasm_f32x4_const(0, minus, 0, minus));
    return stage(x, wasm_i64x2_shuffle(x, x, 1, 0), wasm_f32x4_const(0, 0, minus, minus));
  }
  // x + other, or other - x where `signs` has a sign.
  static SQZ_INLINE v128_t stage(v128_t x, v128_t other, v128_t signs) {
    return wasm_f32x4_add(other, wasm_v128_xor(x, signs));
  }
};

}  // namespace
}  // namespace sqz

#endif  // SQZ_SIMD_S8_WASM_H_
