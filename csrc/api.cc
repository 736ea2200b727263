// The C interface: argument checks. csrc/run does the work.
#include "squeezeops/squeezeops.h"

#include <float.h>

#include "api_checks.h"
#include "isa/registry.h"
#include "run/attention.h"
#include "run/embedding.h"
#include "run/mean_pool.h"
#include "run/rows.h"
#include "threading/float_environment.h"
#include "threading/pool.h"

#ifndef SQZ_VERSION
#error "CMakeLists.txt defines SQZ_VERSION"
#endif

using namespace sqz;

namespace {

// A matrix, or one row for all with a stride of 0.
sqz_status check_mask(const void *p, int64_t rows, int64_t n, int64_t stride) {
  if (stride != 0) return check_matrix("mask", p, rows, n, stride);
  SQZ_CHECK(p || rows == 0 || n == 0, "mask: expected a pointer, got NULL");
  return SQZ_OK;
}

sqz_status check_eps(double eps) {
  SQZ_CHECK(eps >= 0 && eps <= FLT_MAX, "eps: expected a finite number >= 0, got %g", eps);
  return SQZ_OK;
}

// Where sequences begin and end in ragged rows.
sqz_status check_offsets(const char *name, const int32_t *offsets, int64_t batch) {
  SQZ_CHECK(offsets, "%s: expected a pointer, got NULL", name);
  SQZ_CHECK(offsets[0] == 0, "%s: expected to start at 0, got %d", name, offsets[0]);
  for (int64_t b = 0; b < batch; ++b)
    SQZ_CHECK(offsets[b + 1] >= offsets[b], "%s: expected values that do not decrease, got %d after %d", name,
              offsets[b + 1], offsets[b]);
  return SQZ_OK;
}

// A table of bytes has its rows' scales behind them.
sqz_status check_table(const char *name, const void *table, sqz_dtype dtype, int64_t rows, int64_t n) {
  if (dtype != SQZ_S8 || n < 0) return check_matrix(name, table, rows, n, n);
  return check_matrix(name, table, rows, n, n <= INT64_MAX - 4 ? n + 4 : n);
}

sqz_status check_ids(const char *name, const int64_t *ids, int64_t count, int64_t table_rows) {
  SQZ_CHECK(ids || count == 0, "%s: expected a pointer, got NULL", name);
  for (int64_t i = 0; i < count; ++i)
    SQZ_CHECK(ids[i] >= 0 && ids[i] < table_rows, "%s: expected values in [0, %lld), got %lld at position %lld", name,
              (long long)table_rows, (long long)ids[i], (long long)i);
  return SQZ_OK;
}

}  // namespace

extern "C" {

const char *sqz_version(void) { return SQZ_VERSION; }

int32_t sqz_isa_count(void) {
  int32_t n = 0;
  for (int i = 0; i < kIsaCount; ++i) n += isa_on_this_architecture(static_cast<Isa>(i));
  return n;
}

// Best first, so from the end of the enumeration.
static Isa isa_at(int32_t index) {
  for (int i = kIsaCount - 1; i >= 0; --i)
    if (isa_on_this_architecture(static_cast<Isa>(i)) && index-- == 0) return static_cast<Isa>(i);
  return kIsaCount;
}

const char *sqz_isa_name(int32_t index) {
  const Isa isa = isa_at(index);
  return isa == kIsaCount ? NULL : isa_name(isa);
}

sqz_isa_state sqz_isa_get_state(int32_t index) {
  const Isa isa = isa_at(index);
  if (isa == kIsaCount || !isa_compiled(isa)) return SQZ_ISA_NOT_COMPILED;
  return cpu_has(isa) ? SQZ_ISA_RUNNABLE : SQZ_ISA_NOT_ON_CPU;
}

const char *sqz_isa_chosen(void) {
  const Isa isa = chosen_isa();
  return isa == kIsaCount ? NULL : isa_name(isa);
}

sqz_status sqz_force_isa(const char *name) { return force_isa(name) ? SQZ_OK : SQZ_UNSUPPORTED; }

int32_t sqz_kernel_count(void) { return kernel_count(); }

sqz_status sqz_kernel_get_info(int32_t index, sqz_kernel_info *info) {
  SQZ_CHECK(index >= 0 && index < kernel_count(), "index: expected a value in [0, %d), got %d", kernel_count(), index);
  SQZ_CHECK(info, "info: expected a pointer, got NULL");
  const KernelRow &row = kernel_row(index);
  *info = row.info;
  const Isa isa = chosen_isa();
  info->in_use = isa != kIsaCount && &row_of(row.op, isa) == &row;
  return SQZ_OK;
}

sqz_status sqz_set_num_threads(int64_t n) {
  SQZ_CHECK(n >= 0 && n <= kMaxThreads, "n: expected a number from 1 to %d (0: the default), got %lld", kMaxThreads,
            (long long)n);
  set_num_threads(static_cast<int>(n));
  return threads_valid() ? SQZ_OK : SQZ_INVALID;
}

int32_t sqz_get_num_threads(void) { return threads_valid() ? num_threads() : -1; }

sqz_status sqz_layer_norm_f32(int64_t rows, int64_t n, const float *x, int64_t ldx, const float *residual, int64_t ldr,
                              const float *weight, const float *bias, double eps, float *out, int64_t ldo) {
  SQZ_TRY(check_matrix("x", x, rows, n, ldx));
  if (residual) SQZ_TRY(check_matrix("residual", residual, rows, n, ldr));
  SQZ_TRY(check_matrix("out", out, rows, n, ldo));
  SQZ_TRY(check_eps(eps));
  return run_layer_norm(rows, n, x, ldx, residual, ldr, weight, bias, narrow(eps), out, ldo);
}

sqz_status sqz_l2_normalize_f32(int64_t rows, int64_t n, const float *x, int64_t ldx, double eps, float *out,
                                int64_t ldo) {
  SQZ_TRY(check_matrix("x", x, rows, n, ldx));
  SQZ_TRY(check_matrix("out", out, rows, n, ldo));
  SQZ_TRY(check_eps(eps));
  return run_l2_normalize(rows, n, x, ldx, narrow(eps), out, ldo);
}

sqz_status sqz_softmax_f32(int64_t rows, int64_t n, const float *x, int64_t ldx, const void *mask,
                           sqz_mask_kind mask_kind, int64_t mask_stride, double scale, sqz_fully_masked fully_masked,
                           float *out, int64_t ldo) {
  SQZ_TRY(check_matrix("x", x, rows, n, ldx));
  SQZ_TRY(check_matrix("out", out, rows, n, ldo));
  SQZ_TRY(check_enum("mask_kind", mask_kind, SQZ_MASK_ADD));
  SQZ_TRY(check_enum("fully_masked", fully_masked, SQZ_MASKED_ZERO));
  if (mask_kind != SQZ_MASK_NONE) SQZ_TRY(check_mask(mask, rows, n, mask_stride));
  return run_softmax(rows, n, x, ldx, mask, mask_kind, mask_stride, narrow(scale), fully_masked, out, ldo);
}

sqz_status sqz_activation_f32(sqz_activation activation, int64_t n, const float *x, float *out) {
  SQZ_TRY(check_enum("activation", activation, SQZ_ACT_TANH));
  SQZ_TRY(check_matrix("x", x, 1, n, n));
  SQZ_TRY(check_matrix("out", out, 1, n, n));
  return run_activation(activation, n, x, out);
}

sqz_status sqz_mean_pool_f32(int64_t batch, int64_t length, int64_t n, const float *x, int64_t ldx, const uint8_t *mask,
                             int64_t mask_stride, float *out, int64_t ldo) {
  SQZ_CHECK(batch >= 0 && length >= 0 && (length == 0 || batch <= INT64_MAX / length),
            "batch: expected sizes >= 0 and fewer than 2^63 rows, got %lld sequences of %lld", (long long)batch,
            (long long)length);
  SQZ_TRY(check_matrix("x", x, batch * length, n, ldx));
  SQZ_TRY(check_matrix("out", out, batch, n, ldo));
  if (mask) SQZ_TRY(check_mask(mask, batch, length, mask_stride));
  return run_mean_pool(batch, length, n, x, ldx, mask, mask_stride, out, ldo);
}

sqz_status sqz_embedding_f32(int64_t count, int64_t n, const int64_t *ids, const void *table, sqz_dtype table_dtype,
                             int64_t table_rows, float *out, int64_t ldo) {
  SQZ_TRY(check_enum("table_dtype", table_dtype, SQZ_S8));
  SQZ_TRY(check_table("table", table, table_dtype, table_rows, n));
  SQZ_TRY(check_matrix("out", out, count, n, ldo));
  SQZ_TRY(check_ids("ids", ids, count, table_rows));
  return run_embedding(count, n, {ids, table, table_dtype}, out, ldo);
}

sqz_status sqz_embedding_layer_norm_f32(int64_t count, int64_t n, const int64_t *const ids[3],
                                        const void *const tables[3], const sqz_dtype dtypes[3],
                                        const int64_t table_rows[3], const float *weight, const float *bias, double eps,
                                        float *out, int64_t ldo) {
  static const char *const kIds[3] = {"ids", "position_ids", "type_ids"};
  static const char *const kTables[3] = {"table", "position_table", "type_table"};
  SQZ_CHECK(ids, "ids: expected an array of 3, got NULL");
  SQZ_CHECK(tables, "tables: expected an array of 3, got NULL");
  SQZ_CHECK(dtypes, "dtypes: expected an array of 3, got NULL");
  SQZ_CHECK(table_rows, "table_rows: expected an array of 3, got NULL");
  SQZ_TRY(check_matrix("out", out, count, n, ldo));
  for (int t = 0; t < 3; ++t) {
    SQZ_TRY(check_enum("dtypes", dtypes[t], SQZ_S8));
    SQZ_TRY(check_table(kTables[t], tables[t], dtypes[t], table_rows[t], n));
    SQZ_TRY(check_ids(kIds[t], ids[t], count, table_rows[t]));
  }
  SQZ_TRY(check_eps(eps));
  const EmbeddingTable t[3] = {
      {ids[0], tables[0], dtypes[0]}, {ids[1], tables[1], dtypes[1]}, {ids[2], tables[2], dtypes[2]}};
  return run_embedding_layer_norm(count, n, t, weight, bias, narrow(eps), out, ldo);
}

sqz_status sqz_attention_f32(const sqz_attention_args *args) {
  SQZ_CHECK(args, "args: expected a pointer, got NULL");
  const sqz_attention_args &a = *args;
  SQZ_TRY(check_enum("mask_kind", a.mask_kind, SQZ_MASK_ADD));
  SQZ_TRY(check_enum("fully_masked", a.fully_masked, SQZ_MASKED_ZERO));
  SQZ_CHECK(a.batch >= 0 && a.batch <= INT32_MAX, "batch: expected a size from 0 to 2^31 - 1, got %lld",
            (long long)a.batch);
  SQZ_CHECK(a.heads >= 0 && a.head_size >= 0 && a.heads <= (1 << 24) && a.head_size <= (1 << 24),
            "heads: expected sizes from 0 to 2^24, got %lld heads of %lld", (long long)a.heads, (long long)a.head_size);
  SQZ_TRY(check_offsets("q_offsets", a.q_offsets, a.batch));
  SQZ_TRY(check_offsets("k_offsets", a.k_offsets, a.batch));
  int64_t longest = 0, most_queries = 0, pairs = 0;  // fewer than 2^62, because all rows are fewer than 2^31
  for (int64_t b = 0; b < a.batch; ++b) {
    const int64_t queries = a.q_offsets[b + 1] - a.q_offsets[b], keys = a.k_offsets[b + 1] - a.k_offsets[b];
    if (queries > most_queries) most_queries = queries;
    if (keys > longest) longest = keys;
    pairs += queries * keys;
  }
  const int64_t columns = a.heads * a.head_size;
  SQZ_TRY(check_matrix("q", a.q, a.q_offsets[a.batch], columns, a.ldq));
  SQZ_TRY(check_matrix("k", a.k, a.k_offsets[a.batch], columns, a.ldk));
  if (!a.scores) {
    SQZ_TRY(check_matrix("v", a.v, a.k_offsets[a.batch], columns, a.ldv));
    SQZ_TRY(check_matrix("out", a.out, a.q_offsets[a.batch], columns, a.ldo));
  }
  constexpr int64_t kLimit = INT64_C(1) << 58;
  SQZ_CHECK(!a.scores || a.heads == 0 || pairs <= kLimit / a.heads,
            "scores: expected fewer than 2^58 elements, got %lld heads of %lld", (long long)a.heads, (long long)pairs);
  if (a.mask_kind != SQZ_MASK_NONE && longest > 0) {
    SQZ_CHECK(a.mask, "mask: expected a pointer, got NULL");
    const int64_t sizes[3] = {a.batch, a.heads, most_queries};
    for (int i = 0; i < 3 && !a.mask_ragged; ++i)
      SQZ_CHECK(a.mask_strides[i] >= 0 && a.mask_strides[i] <= kLimit / (sizes[i] > 1 ? sizes[i] : 1),
                "mask_strides: expected strides >= 0 and fewer than 2^58 elements, got a stride of %lld for %lld steps",
                (long long)a.mask_strides[i], (long long)sizes[i]);
  }
  return run_attention(a);
}

double sqz_attention_scale(int64_t head_size) { return reciprocal_root(head_size < 1 ? 1 : head_size); }

}  // extern "C"
