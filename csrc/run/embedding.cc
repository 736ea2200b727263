#include "run/embedding.h"

namespace sqz {

namespace {

// The table with its ids from `first` on.
EmbeddingTable from(const EmbeddingTable &table, int64_t first) {
  return {table.ids + first, table.table, table.dtype};
}

}  // namespace

sqz_status run_embedding(int64_t count, int64_t n, const EmbeddingTable &table, float *out, int64_t ldo) {
  return run_rows(Op::embedding_f32, count, n, [&](const Kernels &kernels, int64_t begin, int64_t end) {
    kernels.embedding_f32(end - begin, n, from(table, begin), out + begin * ldo, ldo);
  });
}

sqz_status run_embedding_layer_norm(int64_t count, int64_t n, const EmbeddingTable (&tables)[3], const float *weight,
                                    const float *bias, double eps, float *out, int64_t ldo) {
  return run_rows(Op::embedding_layer_norm_f32, count, n, [&](const Kernels &kernels, int64_t begin, int64_t end) {
    const EmbeddingTable t[3] = {from(tables[0], begin), from(tables[1], begin), from(tables[2], begin)};
    kernels.embedding_layer_norm_f32(end - begin, n, t, weight, bias, narrow(eps), out + begin * ldo, ldo);
  });
}

}  // namespace sqz
