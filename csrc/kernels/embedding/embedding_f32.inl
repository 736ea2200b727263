// Embedding gather: rows are copied or widened, summed in the order of the tables, and normalised in place.
#include "kernels/embedding/embedding.h"
#include "kernels/layernorm/layernorm_f32.inl"
#include "simd/common.h"

namespace sqz {
namespace {

template <class I>
struct Embedding {
  using V = typename I::V;

  static SQZ_INLINE V load(const EmbeddingTable &t, int64_t element, int count) {
    if (t.dtype == SQZ_F16) {
      const uint16_t *p = static_cast<const uint16_t *>(t.table) + element;
      return count == 16 ? I::load_half(p) : I::load_half_n(p, count);
    }
    const float *p = static_cast<const float *>(t.table) + element;
    return count == 16 ? I::load(p) : I::load_n(p, count);
  }

  static SQZ_INLINE void gather(int64_t count, int64_t n, const EmbeddingTable &t, float *out, int64_t ldo) {
    for (int64_t r = 0; r < count; ++r) {
      for (int64_t i = 0; i < n; i += 16) {
        const int lanes = static_cast<int>(min64(16, n - i));
        const V v = load(t, t.ids[r] * n + i, lanes);
        if (lanes == 16)
          I::store(out + r * ldo + i, v);
        else
          I::store_n(out + r * ldo + i, v, lanes);
      }
    }
  }

  static SQZ_INLINE void sum_layer_norm(int64_t count, int64_t n, const EmbeddingTable (&t)[3], const float *weight,
                                        const float *bias, float eps, float *out, int64_t ldo) {
    for (int64_t r = 0; r < count; ++r) {
      for (int64_t i = 0; i < n; i += 16) {
        const int lanes = static_cast<int>(min64(16, n - i));
        const V v = I::add(I::add(load(t[0], t[0].ids[r] * n + i, lanes), load(t[1], t[1].ids[r] * n + i, lanes)),
                           load(t[2], t[2].ids[r] * n + i, lanes));
        if (lanes == 16)
          I::store(out + r * ldo + i, v);
        else
          I::store_n(out + r * ldo + i, v, lanes);
      }
    }
    LayerNorm<I>::run(count, n, out, ldo, nullptr, 0, weight, bias, eps, out, ldo);
  }
};

}  // namespace
}  // namespace sqz
