// The table of one ISA's kernels: this file is compiled once per ISA, as the kernels are. It holds constants only,
// since code that ran at start-up with this ISA's flags would end a process on a processor without it.
#include "kernels/ops.h"

#include "isa/target.h"

#ifdef SQZ_FLOATS
#define SQZ_IF_floats(...) __VA_ARGS__
#define SQZ_POINTER_floats(name) &SQZ_SYMBOL(name)
#else
#define SQZ_IF_floats(...)
#define SQZ_POINTER_floats(name) nullptr
#endif
#ifdef SQZ_BYTES
#define SQZ_IF_bytes(...) __VA_ARGS__
#define SQZ_POINTER_bytes(name) &SQZ_SYMBOL(name)
#else
#define SQZ_IF_bytes(...)
#define SQZ_POINTER_bytes(name) nullptr
#endif

namespace sqz {

#define SQZ_OP(op, dtype, trait) SQZ_IF_##trait(extern const Kernel<op##_##dtype##_fn> SQZ_SYMBOL(op##_##dtype);)
#include "kernels/ops.def"
SQZ_IF_floats(extern const PeakLoops SQZ_SYMBOL(peak_f32);) SQZ_IF_bytes(extern const PeakLoopS8 SQZ_SYMBOL(peak_s8);)

    extern const KernelSet SQZ_SYMBOL(kernels);
const KernelSet SQZ_SYMBOL(kernels) = {
#define SQZ_OP(op, dtype, trait) SQZ_POINTER_##trait(op##_##dtype),
#include "kernels/ops.def"
    SQZ_POINTER_floats(peak_f32), SQZ_POINTER_bytes(peak_s8)};

}  // namespace sqz
