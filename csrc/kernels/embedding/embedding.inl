// Embedding lookup: rows are copied, widened or dequantised.
#ifndef SQZ_KERNELS_EMBEDDING_EMBEDDING_INL_
#define SQZ_KERNELS_EMBEDDING_EMBEDDING_INL_

#include <string.h>

#include "kernels/embedding/embedding.h"
#include "simd/common.h"

namespace sqz {
namespace {

template <class I>
struct Embedding {
  using V = typename I::V;

  // Elements [i, i + count) of the row that the r-th id selects.
  static SQZ_INLINE V load(const EmbeddingTable &t, int64_t r, int64_t n, int64_t i, int count) {
    if (t.dtype == SQZ_S8) return load_bytes(static_cast<const int8_t *>(t.table) + t.ids[r] * (n + 4), n, i, count);
    const int64_t element = t.ids[r] * n + i;
    if (t.dtype == SQZ_F16) {
      const uint16_t *p = static_cast<const uint16_t *>(t.table) + element;
      return count == 16 ? I::load_half(p) : I::load_half_n(p, count);
    }
    const float *p = static_cast<const float *>(t.table) + element;
    return count == 16 ? I::load(p) : I::load_n(p, count);
  }

  // Converts through memory: every compiler vectorises this loop, so the traits need no conversion of bytes.
  static SQZ_INLINE V load_bytes(const int8_t *row, int64_t n, int64_t i, int count) {
    float values[16] = {}, scale;
    memcpy(&scale, row + n, sizeof scale);
    if (count == 16) {
      for (int lane = 0; lane < 16; ++lane) values[lane] = static_cast<float>(row[i + lane]);
    } else {
      for (int lane = 0; lane < count; ++lane) values[lane] = static_cast<float>(row[i + lane]);
    }
    return I::mul(I::load(values), I::set1(scale));
  }

  static SQZ_INLINE void gather(int64_t count, int64_t n, const EmbeddingTable &t, float *out, int64_t ldo) {
    for (int64_t r = 0; r < count; ++r) {
      for (int64_t i = 0; i < n; i += 16) {
        const int lanes = static_cast<int>(min64(16, n - i));
        const V v = load(t, r, n, i, lanes);
        if (lanes == 16)
          I::store(out + r * ldo + i, v);
        else
          I::store_n(out + r * ldo + i, v, lanes);
      }
    }
  }
};

}  // namespace
}  // namespace sqz

#endif  // SQZ_KERNELS_EMBEDDING_EMBEDDING_INL_
