// The table of one ISA's kernels: this file is compiled once per ISA, as the kernels are. It holds constants only,
// since code that ran at start-up with this ISA's flags would end a process on a processor without it.
#include "kernels/ops.h"

// CMakeLists.txt defines SQZ_HAS_<op>_<dtype> as yes or no.
#define SQZ_IF(has, value, otherwise) SQZ_IF_(has, value, otherwise)
#define SQZ_IF_(has, value, otherwise) SQZ_IF_##has(value, otherwise)
#define SQZ_IF_yes(value, otherwise) value
#define SQZ_IF_no(value, otherwise) otherwise
#define SQZ_EXTERN(name, type) SQZ_IF(SQZ_HAS_##name, extern const type SQZ_SYMBOL(name);, )
#define SQZ_POINTER(name) SQZ_IF(SQZ_HAS_##name, &SQZ_SYMBOL(name), nullptr)

namespace sqz {

#define SQZ_OP(op, dtype, trait) SQZ_EXTERN(op##_##dtype, Kernel<op##_##dtype##_fn>)
#include "kernels/ops.def"
SQZ_EXTERN(peak_f32, PeakLoops)
SQZ_EXTERN(peak_s8, PeakLoopS8)

extern const KernelSet SQZ_SYMBOL(kernels);
const KernelSet SQZ_SYMBOL(kernels) = {
#define SQZ_OP(op, dtype, trait) SQZ_POINTER(op##_##dtype),
#include "kernels/ops.def"
    SQZ_POINTER(peak_f32), SQZ_POINTER(peak_s8)};

}  // namespace sqz
