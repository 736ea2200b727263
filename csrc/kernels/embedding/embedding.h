// Embedding gather, alone and as the sum of three tables with LayerNorm.
#ifndef SQZ_KERNELS_EMBEDDING_EMBEDDING_H_
#define SQZ_KERNELS_EMBEDDING_EMBEDDING_H_

#include <stdint.h>

#include "squeezeops/squeezeops.h"

namespace sqz {

// Rows of n elements. A row of bytes (SQZ_S8) is followed by its scale, a float.
struct EmbeddingTable {
  const int64_t *ids;  // in range: the caller checks
  const void *table;
  sqz_dtype dtype;
};

// out[i] = table[ids[i]]; float16 is widened exactly, a byte is float(byte) * scale.
using embedding_f32_fn = void (*)(int64_t count, int64_t n, const EmbeddingTable &table, float *out, int64_t ldo);

// out[i] = LayerNorm((t[0] + t[1]) + t[2]).
using embedding_layer_norm_f32_fn = void (*)(int64_t count, int64_t n, const EmbeddingTable (&t)[3],
                                             const float *weight, const float *bias, float eps, float *out,
                                             int64_t ldo);

}  // namespace sqz

#endif  // SQZ_KERNELS_EMBEDDING_EMBEDDING_H_
