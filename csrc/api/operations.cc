#include "api/operations.h"

namespace sqz {

namespace {
constexpr const sqz_operation *kOperations[] = {
#define SQZ_ADDRESS(op) &operation_##op,
    SQZ_OPERATIONS(SQZ_ADDRESS)};
constexpr int32_t kCount = sizeof kOperations / sizeof *kOperations;
}  // namespace

}  // namespace sqz

extern "C" int32_t sqz_operation_count(void) { return sqz::kCount; }

extern "C" const sqz_operation *sqz_operation_get(int32_t index) {
  return index >= 0 && index < sqz::kCount ? sqz::kOperations[index] : nullptr;
}
