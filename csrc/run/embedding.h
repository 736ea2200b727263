// Embedding lookup, alone and as the sum of three tables with LayerNorm.
#ifndef SQZ_RUN_EMBEDDING_H_
#define SQZ_RUN_EMBEDDING_H_

#include <stdint.h>

#include "kernels/embedding/embedding.h"

namespace sqz {

// Every id must be within its table, and no other thread may change it during the call.
sqz_status run_embedding(int64_t count, int64_t n, const EmbeddingTable &table, float *out, int64_t ldo);

// `weight` and `bias` may be null.
sqz_status run_embedding_layer_norm(int64_t count, int64_t n, const EmbeddingTable (&tables)[3], const float *weight,
                                    const float *bias, float eps, float *out, int64_t ldo);

}  // namespace sqz

#endif  // SQZ_RUN_EMBEDDING_H_
