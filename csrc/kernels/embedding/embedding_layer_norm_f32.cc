// The rows of several tables are summed in the order of the tables and normalised in place.
#include "kernels/embedding/embedding.inl"
#include "kernels/layer_norm/layer_norm.h"
#include "kernels/target.h"

namespace sqz {

extern const Kernel<layer_norm_f32_fn> SQZ_SYMBOL(layer_norm_f32);  // of the same ISA: a second copy would be large

namespace {

using Rows = Embedding<Floats>;

void sum_layer_norm(int64_t count, int64_t n, const EmbeddingTable (&t)[3], const float *weight, const float *bias,
                    float eps, float *out, int64_t ldo) {
  for (int64_t r = 0; r < count; ++r) {
    for (int64_t i = 0; i < n; i += 16) {
      const int lanes = static_cast<int>(min64(16, n - i));
      const Floats::V v = Floats::add(Floats::add(Rows::load(t[0], r, n, i, lanes), Rows::load(t[1], r, n, i, lanes)),
                                      Rows::load(t[2], r, n, i, lanes));
      if (lanes == 16)
        Floats::store(out + r * ldo + i, v);
      else
        Floats::store_n(out + r * ldo + i, v, lanes);
    }
  }
  SQZ_SYMBOL(layer_norm_f32).run(count, n, out, ldo, nullptr, 0, weight, bias, eps, out, ldo);
}

}  // namespace

SQZ_KERNEL(embedding_layer_norm_f32, sum_layer_norm, tile_of(kLayerNormRows, "rows"));

}  // namespace sqz
