// Which ISAs this processor and its operating system run.
#ifndef SQZ_CPU_FEATURES_H_
#define SQZ_CPU_FEATURES_H_

namespace sqz {

// The ISA tags are CPU features, never CPU generations. The order is from plain to preferred.
enum Isa { kScalar, kSse2, kAvx2, kAvx512, kNeon, kIsaCount };

// Asks the processor (CPUID, XGETBV) or the kernel's auxiliary vector, never a file: emulators and containers show the
// files of another machine.
bool cpu_has(Isa isa);

}  // namespace sqz

#endif  // SQZ_CPU_FEATURES_H_
