// What ops.def generates: the enumeration of ops, and tables with one member per row.
#ifndef SQZ_KERNELS_OPS_H_
#define SQZ_KERNELS_OPS_H_

#include "kernels/kernel.h"
#include "measure/peak.h"

#define SQZ_OP(op, dtype, trait)
#include "kernels/ops.def"  // the headers

namespace sqz {

enum class Op {
#define SQZ_OP(op, dtype, trait) op##_##dtype,
#include "kernels/ops.def"
};

constexpr int kOpCount = 0
#define SQZ_OP(op, dtype, trait) +1
#include "kernels/ops.def"
    ;

// The kernels that run under one ISA: its own, and those of the ISAs that it implies.
struct Kernels {
#define SQZ_OP(op, dtype, trait) op##_##dtype##_fn op##_##dtype;
#include "kernels/ops.def"
  // What follows pwconv_s8: of the ISA whose kernel that is, because floats may have other bits on an ISA without int8.
  activation_f32_fn activation_s8;
};

// The kernels that were compiled for one ISA; null where it has none of its own.
struct KernelSet {
#define SQZ_OP(op, dtype, trait) const Kernel<op##_##dtype##_fn> *op##_##dtype;
#include "kernels/ops.def"
  const PeakLoops *peak_f32;
  const PeakLoopS8 *peak_s8;
};

}  // namespace sqz

#endif  // SQZ_KERNELS_OPS_H_
