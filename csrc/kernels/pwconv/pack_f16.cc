// Packing of pointwise convolution weights as float16: the same for every ISA.
#include "kernels/pwconv/pwconv.h"
#include "simd/common.h"

namespace sqz {

namespace {

// Rounds to nearest even. The caller rejects |w| > 65504; |w| < 2^-25 gives 0.
uint16_t float_to_half(float w) {
  uint32_t bits;
  memcpy(&bits, &w, 4);
  const uint16_t sign = static_cast<uint16_t>(bits >> 16 & 0x8000u);
  bits &= 0x7fffffffu;
  if (bits > 0x7f800000u) return static_cast<uint16_t>(sign | 0x7e00u | (bits >> 13 & 0x1ffu));
  if (bits == 0x7f800000u) return static_cast<uint16_t>(sign | 0x7c00u);
  if (bits < 0x38800000u) {  // subnormal halves are multiples of 2^-24, the last bit of 0.5: adding 0.5 rounds
    float magnitude;
    memcpy(&magnitude, &bits, 4);
    const float shifted = magnitude + 0.5f;
    memcpy(&bits, &shifted, 4);
    return static_cast<uint16_t>(sign | (bits - 0x3f000000u));
  }
  bits += 0xfffu + (bits >> 13 & 1);  // a carry into the exponent is right
  return static_cast<uint16_t>(sign | ((bits - (112u << 23)) >> 13));
}

}  // namespace

bool pwconv_pack_f16(int64_t groups, int64_t group_in, int64_t group_out, const void *weight, sqz_dtype dtype,
                     uint16_t *packed, float *worst) {
  const float *w32 = static_cast<const float *>(weight);
  const uint16_t *w16 = static_cast<const uint16_t *>(weight);
  *worst = 0.0f;
  for (int64_t i = 0; dtype == SQZ_F32 && i < groups * group_out * group_in; ++i) {
    const float magnitude = __builtin_fabsf(w32[i]);
    if (magnitude < __builtin_inff() && magnitude > __builtin_fabsf(*worst)) *worst = w32[i];
  }
  if (__builtin_fabsf(*worst) > 65504.0f) return false;
  for (int64_t g = 0; g < groups; ++g) {
    for (int64_t o0 = 0; o0 < group_out; o0 += 16) {
      const int64_t first = (g * group_out + o0) * group_in, valid = min64(16, group_out - o0);
      for (int64_t k = 0; k < group_in; ++k)
        for (int64_t lane = 0; lane < 16; ++lane) {
          const int64_t i = first + lane * group_in + k;
          const uint16_t w = lane >= valid ? uint16_t{0} : dtype == SQZ_F16 ? w16[i] : float_to_half(w32[i]);
          *packed++ = w & 0x7fffu ? w : uint16_t{0};  // -0 becomes +0, as in the other storage types
        }
    }
  }
  return true;
}

}  // namespace sqz
