// int8 in plain C, 16 sums at a time: the reference of the other traits, whose interface is in interface.h.
//
// An activation a lies in memory as the byte a + 128. A trait that multiplies these bytes as they are starts its sums
// at -128 times the sum of the weights, which a panel holds; one that multiplies a starts at 0. Integer sums are exact,
// so all traits give the same.
#ifndef SQZ_SIMD_S8_SCALAR_H_
#define SQZ_SIMD_S8_SCALAR_H_

#include "simd/f32_scalar.h"

namespace sqz {
namespace {

template <class I>
SQZ_INLINE typename I::V rotate16_scalar(typename I::V x) {
#pragma GCC unroll 1
  for (int h = 1; h < 16; h *= 2) {
    typename I::V other;
    for (int i = 0; i < 16; ++i) other.v[i] = x.v[i ^ h];
    const typename I::V sum = I::add(x, other), difference = I::sub(other, x);
    for (int i = 0; i < 16; ++i) x.v[i] = i & h ? difference.v[i] : sum.v[i];
  }
  return x;
}

struct S8Scalar {
  using Float = F32Scalar;
  using Epilogue = Float;
  struct Sum {
    int32_t v[16];
  };
  struct Four {
    int32_t v[4];
  };
  struct Weights {
    const int8_t *p;
  };

  static constexpr int kRegisters = 1, kSumRegisters = 1, kProductRegisters = 1;

  static SQZ_INLINE Sum start(const int32_t *) { return {{0}}; }
  static SQZ_INLINE Weights load(const int8_t *p) { return {p}; }
  static SQZ_INLINE Four broadcast(const uint8_t *p) { return {{p[0] - 128, p[1] - 128, p[2] - 128, p[3] - 128}}; }
  static SQZ_INLINE Sum dot(Sum s, Four a, Weights w) {
    for (int i = 0; i < 16; ++i)
      for (int k = 0; k < 4; ++k) s.v[i] += a.v[k] * w.p[4 * i + k];
    return s;
  }
  static SQZ_INLINE Float::V to_float(Sum s) {
    Float::V r;
    for (int i = 0; i < 16; ++i) r.v[i] = static_cast<float>(s.v[i]);
    return r;
  }

  // Sums plus 16 int32.
  static SQZ_INLINE Sum plus(Sum s, const int32_t *p) {
    for (int i = 0; i < 16; ++i) s.v[i] += p[i];
    return s;
  }
  static SQZ_INLINE void store_sum(int32_t *p, Sum s) { memcpy(p, s.v, sizeof s.v); }

  // Plus the four weights of each of 16 channels.
  static SQZ_INLINE Sum add_weights(Sum s, const int8_t *w) {
    for (int i = 0; i < 64; ++i) s.v[i / 4] += w[i];
    return s;
  }

  // Packing of rows of bytes a + 128 as panels of a: 16 bytes of each of four rows become the products' four weights of
  // 16 channels; 16 bytes of each of 16 rows become four times the four weights of 16 channels. Both return `s` plus
  // all weights of each channel.
  static SQZ_INLINE Sum interleave(const uint8_t *const (&rows)[4], int8_t *to, Sum s) {
    for (int i = 0; i < 64; ++i) to[i] = static_cast<int8_t>(rows[i % 4][i / 4] - 128);
    return add_weights(s, to);
  }
  static SQZ_INLINE Sum transpose_words(const uint8_t *const (&rows)[16], int8_t *to, Sum s) {
    for (int i = 0; i < 256; ++i) to[i] = static_cast<int8_t>(rows[i / 4 % 16][i / 64 * 4 + i % 4] - 128);
    for (int i = 0; i < 256; i += 64) s = add_weights(s, to + i);
    return s;
  }

  // amax by the bits of the magnitudes: their order is that of the magnitudes, with infinity and then NaN at the end.
  using Amax = uint32_t;
  static SQZ_INLINE Amax no_amax() { return 0; }
  static SQZ_INLINE Amax amax(Amax m, Float::V x) {
    for (int i = 0; i < 16; ++i) {
      uint32_t bits;
      memcpy(&bits, &x.v[i], 4);
      bits &= 0x7fffffffu;
      m = m < bits ? bits : m;
    }
    return m;
  }
  static SQZ_INLINE Amax max_amax(Amax a, Amax b) { return a < b ? b : a; }
  static SQZ_INLINE uint32_t amax_bits(Amax m) { return m; }

  // The stages h = 1, 2, 4 and 8 of a rotation: x[i] + x[i + h] and x[i] - x[i + h] for each i without the bit h.
  static SQZ_INLINE Float::V rotate16(Float::V x) { return rotate16_scalar<Float>(x); }

  // rne(x) + 128 as bytes, for 64 floats |x| <= 127 in four vectors.
  static SQZ_INLINE void store_bytes(uint8_t *p, const Float::V (&x)[4]) {
    for (int i = 0; i < 64; ++i) {
      // Adding 1.5 * 2^23 rounds to an integer, because the last bit is then worth 1, and leaves it in the low bits.
      const float shifted = x[i / 16].v[i % 16] + 12582912.0f;
      uint32_t bits;
      memcpy(&bits, &shifted, 4);
      p[i] = static_cast<uint8_t>(bits + 128);
    }
  }

  // For the peak loop: makes the compiler assume that *a changed.
  static SQZ_INLINE void renew(Four *a) {
    __asm__ volatile("" : "+r"(a->v[0]), "+r"(a->v[1]), "+r"(a->v[2]), "+r"(a->v[3]));
  }
};

}  // namespace
}  // namespace sqz

#endif  // SQZ_SIMD_S8_SCALAR_H_
