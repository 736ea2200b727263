// The instruction sets of isas.def: what this build and this processor have of them.
#ifndef SQZ_ISA_ISA_H_
#define SQZ_ISA_ISA_H_

namespace sqz {

enum Isa {
#define SQZ_ISA(tag, architecture, implies, floats, bytes, test) isa_##tag,
#include "isa/isas.def"
  kIsaCount
};

const char *isa_name(Isa isa);
Isa isa_implied(Isa isa);  // the ISA that stands in where this one has no kernel; itself for the plainest
bool isa_on_this_architecture(Isa isa);
bool isa_compiled(Isa isa);
// Asks the processor (CPUID, XGETBV) or the kernel's auxiliary vector, never a file: emulators and containers show the
// files of another machine. False for an ISA that was not compiled.
bool cpu_has(Isa isa);
inline bool isa_runnable(Isa isa) { return cpu_has(isa); }

}  // namespace sqz

#endif  // SQZ_ISA_ISA_H_
