// The table of operations, in parts: each row stands next to the checks of its operation.
#ifndef SQZ_API_OPERATIONS_H_
#define SQZ_API_OPERATIONS_H_

#include <stddef.h>

#include "api/call.h"

namespace sqz {

struct Operations {
  const sqz_operation *const *rows;
  int32_t count;
};
extern const Operations kConvolutions, kRowOperations, kEmbeddings, kAttention;

constexpr const char *kActivationWords[] = {nullptr, "gelu", "gelu_tanh", "relu", "tanh"};
constexpr const char *kFullyMaskedWords[] = {"uniform", "zero"};
constexpr const char *kApproximateWords[] = {"none", "tanh"};
constexpr const char *kDtypeWords[] = {"float32", "float16", "int8", "int8_rotated"};  // from SQZ_F32

// Arguments of an operation `op`.
#define SQZ_ROW(op, field, kind, optional, first, count, words) \
  {#field, kind, optional, offsetof(sqz_##op##_args, field), count, first, words}
#define SQZ_IN(op, field) SQZ_ROW(op, field, SQZ_ARG_ARRAY, 0, 0, 0, nullptr)
#define SQZ_IN_OPTIONAL(op, field) SQZ_ROW(op, field, SQZ_ARG_ARRAY, 1, 0, 0, nullptr)
#define SQZ_OUT(op, field) SQZ_ROW(op, field, SQZ_ARG_OUT, 1, 0, 0, nullptr)
#define SQZ_INT(op, field) SQZ_ROW(op, field, SQZ_ARG_INT, 0, 0, 0, nullptr)
#define SQZ_INT_OPTIONAL(op, field) SQZ_ROW(op, field, SQZ_ARG_INT, 1, 0, 0, nullptr)
#define SQZ_REAL(op, field) SQZ_ROW(op, field, SQZ_ARG_REAL, 0, 0, 0, nullptr)
#define SQZ_REAL_OPTIONAL(op, field) SQZ_ROW(op, field, SQZ_ARG_REAL, 1, 0, 0, nullptr)
#define SQZ_WORD(op, field, first, words) \
  SQZ_ROW(op, field, SQZ_ARG_WORD, 0, first, static_cast<int32_t>(sizeof(words) / sizeof(*words)), words)

// The row and the C function of an operation; sqz::check_and_run(Args &) does the work. Outside of namespaces.
#define SQZ_OPERATION(op, label, arguments)                                                                          \
  static const sqz_operation operation_##op = {#op,                                                                  \
                                               label,                                                                \
                                               sizeof(sqz_##op##_args),                                              \
                                               0,                                                                    \
                                               static_cast<int32_t>(sizeof(arguments) / sizeof(*arguments)),         \
                                               arguments,                                                            \
                                               [](void *args, int64_t count) {                                       \
                                                 SQZ_TRY(single(count));                                             \
                                                 return sqz_##op(static_cast<sqz_##op##_args *>(args));              \
                                               }};                                                                   \
  static_assert(sizeof(sqz_##op##_args) <= sqz::kMaxStruct, "with_size() copies the arguments to its stack");        \
  extern "C" sqz_status sqz_##op(sqz_##op##_args *args) {                                                            \
    return with_size(args, sizeof *args, [](void *a) { return check_and_run(*static_cast<sqz_##op##_args *>(a)); }); \
  }

// The rows of one file. Outside of namespaces.
#define SQZ_OPERATIONS(part, ...)                                  \
  static const sqz_operation *const part##_rows[] = {__VA_ARGS__}; \
  const sqz::Operations sqz::part = {part##_rows, static_cast<int32_t>(sizeof(part##_rows) / sizeof(*part##_rows))};

inline sqz_status single(int64_t count) {
  SQZ_CHECK(count == 1, "count: expected 1, got %lld", (long long)count);
  return SQZ_OK;
}

}  // namespace sqz

#endif  // SQZ_API_OPERATIONS_H_
