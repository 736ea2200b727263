// Embedding lookup, alone and as the sum of three tables with LayerNorm.
#ifndef SQZ_RUN_EMBEDDING_H_
#define SQZ_RUN_EMBEDDING_H_

#include "run/run.h"

namespace sqz {

// On checked ids, which no other thread can change.
sqz_status run_embedding(int64_t count, int64_t n, const EmbeddingTable &table, float *out, int64_t ldo);
sqz_status run_embedding_layer_norm(int64_t count, int64_t n, const EmbeddingTable (&tables)[3], const float *weight,
                                    const float *bias, double eps, float *out, int64_t ldo);

}  // namespace sqz

#endif  // SQZ_RUN_EMBEDDING_H_
