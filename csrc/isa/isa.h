// The instruction sets (ISAs) of isas.def: which of them this build has, and which of those run here.
#ifndef SQZ_ISA_ISA_H_
#define SQZ_ISA_ISA_H_

namespace sqz {

enum Isa {
#define SQZ_ISA(tag, architecture, implies, floats, bytes, test, permission) isa_##tag,
#include "isa/isas.def"
  kIsaCount
};

const char *isa_name(Isa isa);
Isa isa_implied(Isa isa);  // the ISA that runs what this one has no kernel for; itself for scalar
bool isa_on_this_architecture(Isa isa);
bool isa_compiled(Isa isa);
bool isa_runnable(Isa isa);  // compiled, processor and operating system can run it, and no permission was refused
bool isa_refused(Isa isa);   // the operating system was asked for permission and refused it

}  // namespace sqz

#endif  // SQZ_ISA_ISA_H_
