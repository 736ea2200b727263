// Quantisation and packing of pointwise convolution weights to bytes: the same for every ISA.
#include "kernels/pwconv/pwconv_s8.h"
#include "kernels/quantize_rows/quantize_rows.h"
#include "simd/common.h"

namespace sqz {

namespace {

float weight_at(const void *weight, sqz_dtype dtype, int64_t i) {
  const float w = dtype == SQZ_F16 ? half_to_float(static_cast<const uint16_t *>(weight)[i])
                                   : static_cast<const float *>(weight)[i];
  return __builtin_fabsf(w) < 0x1p-126f ? 0.0f : w;
}

// The weights of an output channel, k ascending, rotated block by block or as they are.
struct Weights {
  const void *weight;
  sqz_dtype dtype;
  bool rotate;
  float block[QuantizeRows::kBlock];

  float at(int64_t first, int64_t k) {
    constexpr int n = QuantizeRows::kBlock;
    if (!rotate) return weight_at(weight, dtype, first + k);
    if (k % n == 0) {
      for (int i = 0; i < n; ++i) block[i] = weight_at(weight, dtype, first + k + i);
      for (int h = 1; h < n; h *= 2)
        for (int i = 0; i < n; ++i) {
          if (i & h) continue;
          const float a = block[i], b = block[i + h];
          block[i] = a + b, block[i + h] = a - b;
        }
    }
    return block[k % n] * (1.0f / n);
  }
};

}  // namespace

void pwconv_pack_s8(int64_t groups, int64_t group_in, int64_t group_out, const void *weight, sqz_dtype dtype,
                    bool rotate, uint8_t *packed) {
  Weights weights = {weight, dtype, rotate, {}};
  const int64_t steps = (group_in + 3) / 4, panels = (group_out + 15) / 16, panel_bytes = 128 + 64 * steps;
  memset(packed, 0, static_cast<size_t>(groups * panels * panel_bytes));
  for (int64_t o = 0; o < groups * group_out; ++o) {
    const int64_t in_group = o % group_out, lane = in_group % 16;
    uint8_t *panel = packed + (o / group_out * panels + in_group / 16) * panel_bytes;
    float most = 0.0f;
    bool finite = true;
    for (int64_t k = 0; k < group_in; ++k) {
      const float magnitude = __builtin_fabsf(weights.at(o * group_in, k));
      finite = finite && magnitude < __builtin_inff();
      most = most < magnitude ? magnitude : most;
    }
    float scale = 0.0f;
    int32_t sum = 0;
    if (!finite) {
      scale = __builtin_nanf("");
    } else if (most >= 0x1p-100f) {
      scale = most / 127.0f;
      const float factor = 127.0f / most;
      int8_t *bytes = reinterpret_cast<int8_t *>(panel) + 128 + lane * 4;
      for (int64_t k = 0; k < group_in; ++k) {
        // Adding 1.5 * 2^23 rounds to an integer, because the last bit is then worth 1, and leaves it in the low bits.
        const float shifted = weights.at(o * group_in, k) * factor + 12582912.0f;
        uint32_t bits;
        memcpy(&bits, &shifted, 4);
        const int8_t byte = static_cast<int8_t>(bits & 0xff);
        bytes[k / 4 * 64 + k % 4] = byte;
        sum += byte;
      }
    }
    const int32_t first = -128 * sum;
    memcpy(panel + lane * 4, &first, 4);
    memcpy(panel + 64 + lane * 4, &scale, 4);
  }
}

}  // namespace sqz
