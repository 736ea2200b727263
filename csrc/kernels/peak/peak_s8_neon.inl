// Products of bytes in registers by the instructions of the inner loops in microkernel_s8_neon.inl.
#include "kernels/peak/peak_s8.inl"
#include "simd/s8_neon.h"

namespace sqz {
namespace {

struct PeakNeon : S8Neon {
#if defined(__ARM_FEATURE_MATMUL_INT8)
  static constexpr int kChains = 10;  // of two registers
#elif defined(__ARM_FEATURE_DOTPROD)
  static constexpr int kChains = 5;  // of four
#elif defined(__aarch64__)
  static constexpr int kChains = 4;
#else
  static constexpr int kChains = 2;  // there are 16 registers
#endif
  using Four = int8x16_t;
  struct Weights {
    int8x16_t a, b, c, d;
  };
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

 private:
  static SQZ_INLINE void dot4(int32x4_t &s, int8x16_t a, int8x16_t w) {
#ifdef __ARM_FEATURE_DOTPROD
    __asm__("sdot %0.4s, %1.16b, %2.4b[0]" : "+w"(s) : "w"(w), "w"(a));
#else
    s = vpadalq_s16(s, vmlal_s8(vmull_s8(vget_low_s8(w), vget_low_s8(a)), vget_high_s8(w), vget_high_s8(a)));
#endif
  }
};

}  // namespace
}  // namespace sqz
