// Which ISAs this processor and its operating system run.
#ifndef SQZ_CPU_FEATURES_H_
#define SQZ_CPU_FEATURES_H_

namespace sqz {

// The ISA tags are CPU features, never CPU generations. The order is from plain to preferred.
//
//   avx2           AVX2, FMA, F16C
//   avxvnni        those, and AVX_VNNI: dot products of bytes in 256-bit registers
//   avx512         those of avx2, and AVX512F, BW, DQ, VL
//   avx512vl_vnni  those of avx512, and AVX512_VNNI, used in 256-bit registers
//   avx512vnni     the same features, used in 512-bit registers
//   neon           NEON; in 64-bit ARM a part of the architecture, with fused multiply-add
//   neon_vfpv4     32-bit ARM: NEON, and VFPv4, which brings fused multiply-add
//   neon_dotprod   64-bit ARM: FEAT_DotProd, dot products of four bytes
//   neon_i8mm      64-bit ARM: those, and FEAT_I8MM, products of 2 x 8 and 8 x 2 bytes
enum Isa {
  kScalar,
  kSse2,
  kAvx2,
  kAvxVnni,
  kAvx512,
  kAvx512VlVnni,
  kAvx512Vnni,
  kNeon,
  kNeonVfpv4,
  kNeonDotprod,
  kNeonI8mm,
  kIsaCount
};

// Whether code for `other` runs wherever code for `isa` does. An ISA need not have a kernel of its own for every op:
// the best one that it implies stands in.
bool isa_implies(Isa isa, Isa other);

// Asks the processor (CPUID, XGETBV) or the kernel's auxiliary vector, never a file: emulators and containers show the
// files of another machine.
bool cpu_has(Isa isa);

}  // namespace sqz

#endif  // SQZ_CPU_FEATURES_H_
