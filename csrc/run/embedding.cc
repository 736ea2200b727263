#include "run/embedding.h"

#include "run/run.h"

namespace sqz {

namespace {

// The table with its ids from `first` on.
EmbeddingTable from(const EmbeddingTable &table, int64_t first) {
  return {table.ids + first, table.table, table.dtype};
}

}  // namespace

sqz_status run_embedding(int64_t count, int64_t n, const EmbeddingTable &table, float *out, int64_t ldo) {
  const Kernels *kernels;
  SQZ_TRY(begin(Op::embedding_f32, &kernels));
  if (count == 0 || n == 0) return SQZ_OK;
  for_chunks(count, row_grain(n), [&](int64_t begin, int64_t end) {
    FloatEnvironment environment;
    kernels->embedding_f32(end - begin, n, from(table, begin), out + begin * ldo, ldo);
  });
  return SQZ_OK;
}

sqz_status run_embedding_layer_norm(int64_t count, int64_t n, const EmbeddingTable (&tables)[3], const float *weight,
                                    const float *bias, float eps, float *out, int64_t ldo) {
  const Kernels *kernels;
  SQZ_TRY(begin(Op::embedding_layer_norm_f32, &kernels));
  if (count == 0 || n == 0) return SQZ_OK;
  for_chunks(count, row_grain(n), [&](int64_t begin, int64_t end) {
    FloatEnvironment environment;
    const EmbeddingTable t[3] = {from(tables[0], begin), from(tables[1], begin), from(tables[2], begin)};
    kernels->embedding_layer_norm_f32(end - begin, n, t, weight, bias, eps, out + begin * ldo, ldo);
  });
  return SQZ_OK;
}

}  // namespace sqz
