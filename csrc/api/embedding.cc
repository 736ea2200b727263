// Embedding lookup, alone and as the sum of three tables with LayerNorm.
#include "run/embedding.h"

#include "api/call.h"
#include "api/operations.h"

namespace sqz {

namespace {

constexpr const char *kIdsNames[3] = {"ids", "position_ids", "type_ids"};
constexpr const char *kTableNames[3] = {"table", "position_table", "type_table"};

// ---- arrays --------------------------------------------------------------------------------------------------------

sqz_status check_and_run(Call &call, sqz_embedding_args &a) {
  int64_t channels = -1;
  SQZ_TRY(table("table", a.table, &channels));
  SQZ_TRY(numbers("ids", a.ids));
  const Shape shape(a.ids);
  SQZ_TRY(call.result(a.out, shape.plus(channels), {{"table", &a.table}, {"ids", &a.ids}}));
  const EmbeddingTable t = {call.ids("ids", a.ids, a.table.shape[0]), call.dense("table", a.table), a.table.dtype};
  SQZ_TRY(call.status());
  return run_embedding(shape.elements(), channels, t, floats(a.out), channels);
}

sqz_status check_and_run(Call &call, sqz_embedding_layer_norm_args &a) {
  const Input tables[3] = {
      {kTableNames[0], &a.table}, {kTableNames[1], &a.position_table}, {kTableNames[2], &a.type_table}};
  const Input ids[3] = {{kIdsNames[0], &a.ids}, {kIdsNames[1], &a.position_ids}, {kIdsNames[2], &a.type_ids}};
  int64_t channels = -1;
  for (const Input &t : tables) SQZ_TRY(table(t.name, *t.array, &channels));
  SQZ_TRY(numbers(ids[0].name, a.ids));
  const Shape shape(a.ids), row = {channels};
  for (int t = 1; t < 3; ++t) SQZ_TRY(shaped(ids[t].name, *ids[t].array, shape, kS32 | kS64));
  SQZ_TRY(optional("weight", a.weight, row));
  SQZ_TRY(optional("bias", a.bias, row));
  SQZ_TRY(epsilon(a.eps));
  SQZ_TRY(
      call.result(a.out, shape.plus(channels),
                  {tables[0], tables[1], tables[2], ids[0], ids[1], ids[2], {"weight", &a.weight}, {"bias", &a.bias}}));
  EmbeddingTable read[3];
  for (int t = 0; t < 3; ++t)
    read[t] = {call.ids(ids[t].name, *ids[t].array, tables[t].array->shape[0]),
               call.dense(tables[t].name, *tables[t].array), tables[t].array->dtype};
  const float *weight = call.vector("weight", a.weight), *bias = call.vector("bias", a.bias);
  SQZ_TRY(call.status());
  return run_embedding_layer_norm(shape.elements(), channels, read, weight, bias, a.eps, floats(a.out), channels);
}

// ---- pointers ------------------------------------------------------------------------------------------------------

// Checks a table, of which the rows of bytes end with their scales, and the ids, which are copied.
sqz_status lookup(Call &call, int t, const int64_t *ids, int64_t count, int64_t n, int64_t rows,
                  EmbeddingTable *table) {
  const int64_t width = table->dtype == SQZ_S8 && n >= 0 && n <= INT64_MAX - 4 ? n + 4 : n;
  SQZ_TRY(matrix(kTableNames[t], table->table, rows, width, width));
  table->ids = call.values(kIdsNames[t], ids, count);
  SQZ_TRY(call.status());
  return in_range(kIdsNames[t], table->ids, count, rows);
}

}  // namespace

}  // namespace sqz

using namespace sqz;

SQZ_OPERATION(embedding, "embedding", SQZ_IN(ids), SQZ_IN(table), SQZ_OUT(out))
SQZ_OPERATION(embedding_layer_norm, "embedding_layer_norm", SQZ_IN(ids), SQZ_IN(table), SQZ_IN(position_ids),
              SQZ_IN(position_table), SQZ_IN(type_ids), SQZ_IN(type_table), SQZ_IN_OPTIONAL(weight),
              SQZ_IN_OPTIONAL(bias), SQZ_REAL(eps), SQZ_OUT(out))

extern "C" {

sqz_status sqz_embedding_f32(int64_t count, int64_t n, const int64_t *ids, const void *table, sqz_dtype table_dtype,
                             int64_t table_rows, float *out, int64_t ldo) {
  SQZ_TRY(choice("table_dtype", table_dtype, SQZ_F32, SQZ_S8));
  SQZ_TRY(matrix("out", out, count, n, ldo));
  Call call;
  EmbeddingTable t = {nullptr, table, table_dtype};
  SQZ_TRY(lookup(call, 0, ids, count, n, table_rows, &t));
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
  Call call;
  EmbeddingTable t[3];
  for (int i = 0; i < 3; ++i) {
    t[i] = {nullptr, tables[i], dtypes[i]};
    SQZ_TRY(choice("dtypes", t[i].dtype, SQZ_F32, SQZ_S8));
    SQZ_TRY(lookup(call, i, ids[i], count, n, table_rows[i], &t[i]));
  }
  SQZ_TRY(epsilon(eps));
  return run_embedding_layer_norm(count, n, t, weight, bias, eps, out, ldo);
}

}  // extern "C"
