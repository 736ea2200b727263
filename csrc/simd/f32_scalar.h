// 16-lane float vector of plain floats: the portable reference that the other traits must equal to the bit.
//
// Every trait offers the same static functions over V (16 floats) and M (16 booleans); interface.h lists them. A kernel
// is written once and gives the same bits on each, because an operation is one IEEE operation per lane and reduce_* use
// one tree.
#ifndef SQZ_SIMD_F32_SCALAR_H_
#define SQZ_SIMD_F32_SCALAR_H_

#include <stdint.h>
#include <string.h>

#include "simd/common.h"

namespace sqz {
namespace {

struct F32Scalar : FloatDefaults<F32Scalar> {
  struct V {
    float v[16];
  };
  struct M {
    bool v[16];
  };

  static constexpr int kLanes = 16;
  static constexpr int kRegisters = 1, kVectorRegisters = 1;  // there are none to fill: a tile is one vector
  static constexpr int kOwnTileRows = 0;

#define SQZ_EACH(expr)                          \
  V r;                                          \
  for (int i = 0; i < 16; ++i) r.v[i] = (expr); \
  return r
#define SQZ_EACH_M(expr)                        \
  M r;                                          \
  for (int i = 0; i < 16; ++i) r.v[i] = (expr); \
  return r

  static SQZ_INLINE V zero() { SQZ_EACH(0.0f); }
  static SQZ_INLINE V set1(float a) { SQZ_EACH(a); }
  static SQZ_INLINE V load(const float *p) { SQZ_EACH(p[i]); }
  static SQZ_INLINE V load_n(const float *p, int n) { SQZ_EACH(i < n ? p[i] : 0.0f); }
  static SQZ_INLINE V load_half(const uint16_t *p) { SQZ_EACH(half_to_float(p[i])); }
  static SQZ_INLINE V load_half_n(const uint16_t *p, int n) { SQZ_EACH(i < n ? half_to_float(p[i]) : 0.0f); }
  static SQZ_INLINE void store(float *p, V a) { memcpy(p, a.v, sizeof a.v); }
  static SQZ_INLINE void store_n(float *p, V a, int n) { memcpy(p, a.v, static_cast<size_t>(n) * 4); }

  static SQZ_INLINE V add(V a, V b) { SQZ_EACH(a.v[i] + b.v[i]); }
  static SQZ_INLINE V sub(V a, V b) { SQZ_EACH(a.v[i] - b.v[i]); }
  static SQZ_INLINE V mul(V a, V b) { SQZ_EACH(a.v[i] * b.v[i]); }
  static SQZ_INLINE V div(V a, V b) { SQZ_EACH(a.v[i] / b.v[i]); }
  static SQZ_INLINE V fma(V a, V b, V c) { SQZ_EACH(__builtin_fmaf(a.v[i], b.v[i], c.v[i])); }
  static SQZ_INLINE V fnma(V a, V b, V c) { SQZ_EACH(__builtin_fmaf(-a.v[i], b.v[i], c.v[i])); }  // c - a * b
  // The second operand if one is NaN or both are zeros, like vmaxps and vminps of x86.
  static SQZ_INLINE V max(V a, V b) { SQZ_EACH(b.v[i] < a.v[i] ? a.v[i] : b.v[i]); }
  static SQZ_INLINE V min(V a, V b) { SQZ_EACH(a.v[i] < b.v[i] ? a.v[i] : b.v[i]); }
  static SQZ_INLINE V abs(V a) { SQZ_EACH(__builtin_fabsf(a.v[i])); }
  // The magnitude, which is not negative, with the sign bit of s.
  static SQZ_INLINE V with_sign(V magnitude, V s) { SQZ_EACH(__builtin_copysignf(magnitude.v[i], s.v[i])); }
  // Rounds to the nearest even integer, for |a| < 2^22 or NaN; keeps the sign of zero.
  static SQZ_INLINE V rint(V a) {
    SQZ_EACH(__builtin_copysignf((__builtin_fabsf(a.v[i]) + 8388608.0f) - 8388608.0f, a.v[i]));
  }
  // a * 2^n for integral n in [-126, 127]; any n where a is NaN.
  static SQZ_INLINE V scale2(V a, V n) { SQZ_EACH(a.v[i] * pow2(n.v[i])); }

  static SQZ_INLINE M tail(int n) { SQZ_EACH_M(i < n); }
  static SQZ_INLINE M lt(V a, V b) { SQZ_EACH_M(a.v[i] < b.v[i]); }
  static SQZ_INLINE M not_lt(V a, V b) { SQZ_EACH_M(!(a.v[i] < b.v[i])); }
  static SQZ_INLINE M mask_and(M a, M b) { SQZ_EACH_M(a.v[i] && b.v[i]); }
  static SQZ_INLINE M nonzero_bytes(const uint8_t *p) { SQZ_EACH_M(p[i] != 0); }
  static SQZ_INLINE bool any(M a) {
    bool r = false;
    for (int i = 0; i < 16; ++i) r = r || a.v[i];
    return r;
  }
  static SQZ_INLINE V select(M m, V a, V b) { SQZ_EACH(m.v[i] ? a.v[i] : b.v[i]); }

  // to[k * 16 + i] = rows[i][k] for 16 rows and columns.
  static SQZ_INLINE void transpose(const float *const (&rows)[16], float *to) {
    for (int k = 0; k < 16; ++k)
      for (int i = 0; i < 16; ++i) to[k * 16 + i] = rows[i][k];
  }

  // Lanes i and i+8, then i+4, i+2, i+1.
  static SQZ_INLINE float reduce_add_tree(V a) {
    for (int h = 8; h > 0; h /= 2)
      for (int i = 0; i < h; ++i) a.v[i] = a.v[i] + a.v[i + h];
    return a.v[0];
  }
  static SQZ_INLINE float reduce_max_tree(V a) {
    for (int h = 8; h > 0; h /= 2)
      for (int i = 0; i < h; ++i) a.v[i] = a.v[i] < a.v[i + h] ? a.v[i + h] : a.v[i];
    return a.v[0];
  }

#undef SQZ_EACH
#undef SQZ_EACH_M

 private:
  static SQZ_INLINE float pow2(float n) {
    const uint32_t bits = n >= -126.0f && n <= 127.0f ? static_cast<uint32_t>(static_cast<int>(n) + 127) << 23 : 0;
    float r;
    memcpy(&r, &bits, 4);
    return r;
  }
};

}  // namespace
}  // namespace sqz

#endif  // SQZ_SIMD_F32_SCALAR_H_
