// Embedding lookup, alone and as the sum of three tables with LayerNorm.
#include "run/embedding.h"

#include "api/call.h"
#include "api/operations.h"
#include "threading/float_environment.h"

namespace sqz {

namespace {

// ---- arrays --------------------------------------------------------------------------------------------------------

// What a kernel reads of a table and of ids, which are copied and checked.
sqz_status lookup(Call &call, const char *ids_name, const sqz_array &ids, const char *table_name,
                  const sqz_array &table, EmbeddingTable *to) {
  to->dtype = table.dtype;
  SQZ_TRY(call.ids(ids_name, ids, table.shape[0], &to->ids));
  return call.dense(table_name, table, &to->table);
}

const sqz_argument kEmbeddingArguments[] = {SQZ_IN(embedding, ids), SQZ_IN(embedding, table), SQZ_OUT(embedding, out)};

sqz_status check_and_run(sqz_embedding_args &a) {
  int64_t channels = -1;
  SQZ_TRY(table("table", a.table, &channels));
  SQZ_TRY(numbers("ids", a.ids));
  const Shape shape(a.ids);
  Call call(1);
  SQZ_TRY(call.output(a.out, shape.plus(channels), {{"table", &a.table}, {"ids", &a.ids}}));
  if (call.needs_out()) return SQZ_NEEDS_OUT;
  EmbeddingTable t;
  SQZ_TRY(lookup(call, "ids", a.ids, "table", a.table, &t));
  return run_embedding(shape.elements(), channels, t, floats(a.out), channels);
}

const sqz_argument kEmbeddingLayerNormArguments[] = {SQZ_IN(embedding_layer_norm, ids),
                                                     SQZ_IN(embedding_layer_norm, table),
                                                     SQZ_IN(embedding_layer_norm, position_ids),
                                                     SQZ_IN(embedding_layer_norm, position_table),
                                                     SQZ_IN(embedding_layer_norm, type_ids),
                                                     SQZ_IN(embedding_layer_norm, type_table),
                                                     SQZ_IN_OPTIONAL(embedding_layer_norm, weight),
                                                     SQZ_IN_OPTIONAL(embedding_layer_norm, bias),
                                                     SQZ_REAL(embedding_layer_norm, eps),
                                                     SQZ_OUT(embedding_layer_norm, out)};

constexpr const char *kIdsNames[3] = {"ids", "position_ids", "type_ids"};
constexpr const char *kTableNames[3] = {"table", "position_table", "type_table"};

sqz_status check_and_run(sqz_embedding_layer_norm_args &a) {
  const sqz_array *const tables[3] = {&a.table, &a.position_table, &a.type_table};
  const sqz_array *const ids[3] = {&a.ids, &a.position_ids, &a.type_ids};
  int64_t channels = -1;
  for (int t = 0; t < 3; ++t) SQZ_TRY(table(kTableNames[t], *tables[t], &channels));
  SQZ_TRY(numbers(kIdsNames[0], *ids[0]));
  const Shape shape(*ids[0]), row = {channels};
  for (int t = 1; t < 3; ++t) SQZ_TRY(shaped(kIdsNames[t], *ids[t], shape, kS32 | kS64));
  SQZ_TRY(optional("weight", a.weight, row));
  SQZ_TRY(optional("bias", a.bias, row));
  SQZ_TRY(epsilon(a.eps));
  Call call(1);
  SQZ_TRY(call.output(a.out, shape.plus(channels),
                      {{kTableNames[0], tables[0]},
                       {kTableNames[1], tables[1]},
                       {kTableNames[2], tables[2]},
                       {kIdsNames[0], ids[0]},
                       {kIdsNames[1], ids[1]},
                       {kIdsNames[2], ids[2]},
                       {"weight", &a.weight},
                       {"bias", &a.bias}}));
  if (call.needs_out()) return SQZ_NEEDS_OUT;
  EmbeddingTable t[3];
  for (int i = 0; i < 3; ++i) SQZ_TRY(lookup(call, kIdsNames[i], *ids[i], kTableNames[i], *tables[i], &t[i]));
  const float *weight, *bias;
  SQZ_TRY(call.dense("weight", a.weight, &weight));
  SQZ_TRY(call.dense("bias", a.bias, &bias));
  return run_embedding_layer_norm(shape.elements(), channels, t, weight, bias, narrow(a.eps), floats(a.out), channels);
}

// ---- pointers ------------------------------------------------------------------------------------------------------

// A table of bytes has its rows' scales behind them.
sqz_status table_matrix(const char *name, const void *table, sqz_dtype dtype, int64_t rows, int64_t n) {
  const int64_t width = dtype == SQZ_S8 && n >= 0 && n <= INT64_MAX - 4 ? n + 4 : n;
  return matrix(name, table, rows, width, width);
}

sqz_status ids_below(Call &call, const char *name, const int64_t *ids, int64_t count, int64_t limit,
                     const int64_t **copy) {
  SQZ_TRY(call.values(name, ids, count, copy));
  return in_range(name, *copy, count, limit);
}

}  // namespace

}  // namespace sqz

using namespace sqz;

SQZ_OPERATION(embedding, "embedding", kEmbeddingArguments)
SQZ_OPERATION(embedding_layer_norm, "embedding_layer_norm", kEmbeddingLayerNormArguments)
SQZ_OPERATIONS(kEmbeddings, &operation_embedding, &operation_embedding_layer_norm)

extern "C" {

sqz_status sqz_embedding_f32(int64_t count, int64_t n, const int64_t *ids, const void *table, sqz_dtype table_dtype,
                             int64_t table_rows, float *out, int64_t ldo) {
  SQZ_TRY(choice("table_dtype", table_dtype, SQZ_F32, SQZ_S8));
  SQZ_TRY(table_matrix("table", table, table_dtype, table_rows, n));
  SQZ_TRY(matrix("out", out, count, n, ldo));
  Call call(0);
  EmbeddingTable t = {nullptr, table, table_dtype};
  SQZ_TRY(ids_below(call, "ids", ids, count, table_rows, &t.ids));
  return run_embedding(count, n, t, out, ldo);
}

sqz_status sqz_embedding_layer_norm_f32(int64_t count, int64_t n, const int64_t *const ids[3],
                                        const void *const tables[3], const sqz_dtype dtypes[3],
                                        const int64_t table_rows[3], const float *weight, const float *bias, double eps,
                                        float *out, int64_t ldo) {
  SQZ_CHECK(ids, "ids: expected an array of 3, got NULL");
  SQZ_CHECK(tables, "tables: expected an array of 3, got NULL");
  SQZ_CHECK(dtypes, "dtypes: expected an array of 3, got NULL");
  SQZ_CHECK(table_rows, "table_rows: expected an array of 3, got NULL");
  SQZ_TRY(matrix("out", out, count, n, ldo));
  Call call(0);
  EmbeddingTable t[3];
  for (int i = 0; i < 3; ++i) {
    const int64_t limit = table_rows[i];
    t[i].table = tables[i];
    t[i].dtype = dtypes[i];
    SQZ_TRY(choice("dtypes", t[i].dtype, SQZ_F32, SQZ_S8));
    SQZ_TRY(table_matrix(kTableNames[i], t[i].table, t[i].dtype, limit, n));
    SQZ_TRY(ids_below(call, kIdsNames[i], ids[i], count, limit, &t[i].ids));
  }
  SQZ_TRY(epsilon(eps));
  return run_embedding_layer_norm(count, n, t, weight, bias, narrow(eps), out, ldo);
}

}  // extern "C"
