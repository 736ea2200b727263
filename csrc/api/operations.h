// The table of operations. Each row stands below the checks of its operation; operations.cc lists them.
#ifndef SQZ_API_OPERATIONS_H_
#define SQZ_API_OPERATIONS_H_

#include <stddef.h>

#include "api/call.h"

namespace sqz {

constexpr const char *kActivationWords[] = {nullptr, "gelu", "gelu_tanh", "relu", "tanh"};
constexpr const char *kFullyMaskedWords[] = {"uniform", "zero"};
constexpr const char *kApproximateWords[] = {"none", "tanh"};
constexpr const char *kDtypeWords[] = {"float32", "float16", "int8", "int8_rotated"};  // from SQZ_F32

// Arguments of an operation, for SQZ_OPERATION: its struct is `Args` there.
#define SQZ_ARGUMENT(field, kind, optional, first, count, words) \
  {#field, kind, optional, offsetof(Args, field), count, first, words}
#define SQZ_IN(field) SQZ_ARGUMENT(field, SQZ_ARG_ARRAY, 0, 0, 0, nullptr)
#define SQZ_IN_OPTIONAL(field) SQZ_ARGUMENT(field, SQZ_ARG_ARRAY, 1, 0, 0, nullptr)
#define SQZ_OUT(field) SQZ_ARGUMENT(field, SQZ_ARG_OUT, 1, 0, 0, nullptr)
#define SQZ_INT(field) SQZ_ARGUMENT(field, SQZ_ARG_INT, 0, 0, 0, nullptr)
#define SQZ_INT_OPTIONAL(field) SQZ_ARGUMENT(field, SQZ_ARG_INT, 1, 0, 0, nullptr)
#define SQZ_REAL(field) SQZ_ARGUMENT(field, SQZ_ARG_REAL, 0, 0, 0, nullptr)
#define SQZ_REAL_OPTIONAL(field) SQZ_ARGUMENT(field, SQZ_ARG_REAL, 1, 0, 0, nullptr)
#define SQZ_WORD(field, first, words) \
  SQZ_ARGUMENT(field, SQZ_ARG_WORD, 0, first, static_cast<int32_t>(sizeof(words) / sizeof(*words)), words)

template <class Table>
constexpr sqz_operation row_of(const char *name, const char *label, int32_t several, decltype(sqz_operation::run) run) {
  constexpr auto count = static_cast<int32_t>(sizeof Table::arguments / sizeof *Table::arguments);
  return {name, label, sizeof(typename Table::Args), several, count, Table::arguments, run};
}

// The row and the C function of an operation; sqz::check_and_run(Call &, Args &) does the work. Outside of namespaces.
#define SQZ_OPERATION(op, label, ...)                                                                              \
  namespace {                                                                                                      \
  struct op##_table {                                                                                              \
    using Args = sqz_##op##_args;                                                                                  \
    static constexpr sqz_argument arguments[] = {__VA_ARGS__};                                                     \
    static sqz_status run(void *args, int64_t count, int32_t checked) {                                            \
      SQZ_CHECK(count == 1, "count: expected 1, got %lld", (long long)count);                                      \
      return with_size(args, sizeof(Args), 1, checked,                                                             \
                       [](Call &call, void *a, int64_t) { return check_and_run(call, *static_cast<Args *>(a)); }); \
    }                                                                                                              \
  };                                                                                                               \
  }                                                                                                                \
  const sqz_operation sqz::operation_##op = row_of<op##_table>(#op, label, 0, op##_table::run);                    \
  extern "C" sqz_status sqz_##op(sqz_##op##_args *args) { return op##_table::run(args, 1, 0); }

// All operations, in the order of sqz_operation_get().
// clang-format off
#define SQZ_OPERATIONS(X) \
  X(pointwise_conv) X(pack_pointwise_conv) X(use_packed_pointwise_conv) X(run_pointwise_conv) X(run_pointwise_convs) \
  X(quantize_rows) X(layer_norm) X(rms_norm) X(l2_normalize) X(softmax) X(gelu) X(tanh) X(mean_pool) X(embedding) \
  X(embedding_layer_norm) X(attention) X(attention_scores)
// clang-format on
#define SQZ_DECLARE(op) extern const sqz_operation operation_##op;
SQZ_OPERATIONS(SQZ_DECLARE)
#undef SQZ_DECLARE

}  // namespace sqz

#endif  // SQZ_API_OPERATIONS_H_
