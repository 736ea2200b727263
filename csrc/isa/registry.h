// The table of kernels, and the choice of the ISA whose kernels run.
#ifndef SQZ_ISA_REGISTRY_H_
#define SQZ_ISA_REGISTRY_H_

#include "isa/isa.h"
#include "kernels/ops.h"

namespace sqz {

struct KernelRow {
  Op op;
  Isa isa;
  sqz_kernel_info info;
};

int kernel_count();
const KernelRow &kernel_row(int index);
// The kernel that runs an op under an ISA.
const KernelRow &row_of(Op op, Isa isa);
// What was compiled for an ISA; null if it was not compiled.
const KernelSet *kernel_set(Isa isa);

// The ISA in force: forced, from SQUEEZEOPS_ISA, or the best; kIsaCount (and a message) if SQUEEZEOPS_ISA is invalid.
// Asks the operating system for what it needs, as kernels_for() does if the op's kernel needs it.
Isa chosen_isa();
// Null (and a message) if chosen_isa() is invalid, or if the op was left out of the build. Notes `op` as the thread's
// last kernel.
const Kernels *kernels_for(Op op);
const char *last_kernel();
bool force_isa(const char *name);  // null: back to the default; false (and a message) if it cannot run

}  // namespace sqz

#endif  // SQZ_ISA_REGISTRY_H_
