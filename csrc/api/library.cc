// Version, instruction sets, kernels and threads.
#include "api/checks.h"
#include "isa/registry.h"
#include "threading/pool.h"

#ifndef SQZ_VERSION
#error "CMakeLists.txt defines SQZ_VERSION"
#endif

using namespace sqz;

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
  return isa_runnable(isa) ? SQZ_ISA_RUNNABLE : isa_refused(isa) ? SQZ_ISA_REFUSED : SQZ_ISA_NOT_ON_CPU;
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
  SQZ_CHECK(n >= 0 && n <= kMaxThreads, "n: expected a number from 1 to %d, got %lld", kMaxThreads, (long long)n);
  set_num_threads(static_cast<int>(n));
  return threads_valid() ? SQZ_OK : SQZ_UNSUPPORTED;
}

void sqz_set_executor(sqz_execute_fn execute, void *context) { set_executor(execute, context); }

void sqz_free_scratch(void) { free_scratch(); }

int32_t sqz_get_num_threads(void) { return threads_valid() ? num_threads() : -1; }

}  // extern "C"
