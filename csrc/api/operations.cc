#include "api/operations.h"

namespace sqz {

namespace {
constexpr const Operations *kParts[] = {&kConvolutions, &kRowOperations, &kEmbeddings, &kAttention};
}  // namespace

}  // namespace sqz

extern "C" int32_t sqz_operation_count(void) {
  int32_t count = 0;
  for (const sqz::Operations *part : sqz::kParts) count += part->count;
  return count;
}

extern "C" const sqz_operation *sqz_operation_get(int32_t index) {
  if (index < 0) return nullptr;
  for (const sqz::Operations *part : sqz::kParts) {
    if (index < part->count) return part->rows[index];
    index -= part->count;
  }
  return nullptr;
}
