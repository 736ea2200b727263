// The CPU tests of isas.def: cpu_has_<test>() says whether processor and operating system can run an ISA's code. Every
// ISA is tested, also when another one is forced, so a test changes nothing. It asks CPUID, XGETBV or the auxiliary
// vector, never a file: emulators and containers show the files of another machine.
//
// What the operating system must permit first is asked for by permit_<permission>(): in_force() in registry.cc says
// when.
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "squeezeops: packed weights and kernels are for little-endian processors"
#endif

#include <stdint.h>

#if defined(__x86_64__)
#include <cpuid.h>
#ifdef __linux__
#include <sys/syscall.h>
#include <unistd.h>
#endif
#elif defined(__linux__) && (defined(__aarch64__) || defined(__arm__))
#include <sys/auxv.h>
#elif defined(__wasm__)
#include <wasm_simd128.h>
#endif

namespace sqz {

#define SQZ_ISA(tag, architecture, implies, floats, bytes, test, permission) \
  bool cpu_has_##test();                                                     \
  bool permit_##permission();
#include "isa/isas.def"

bool cpu_has_always() { return true; }
bool permit_none() { return true; }

#if defined(__x86_64__)

namespace {

struct Cpuid {
  uint32_t a = 0, b = 0, c = 0, d = 0;
};

// A leaf, all zeros where the processor has none of that number.
Cpuid cpuid(uint32_t leaf, uint32_t subleaf) {
  Cpuid r;
  __get_cpuid_count(leaf, subleaf, &r.a, &r.b, &r.c, &r.d);
  return r;
}

bool bit(uint32_t word, int n) { return (word >> n) & 1; }

// Registers, as bits of XCR0.
constexpr uint64_t kXmm = 1 << 1;
constexpr uint64_t kYmmHigh = 1 << 2;  // the upper halves of ymm
constexpr uint64_t kMasks = 1 << 5;
constexpr uint64_t kZmmHigh = 1 << 6;  // the upper halves of zmm0 to zmm15
constexpr uint64_t kZmm16 = 1 << 7;    // zmm16 to zmm31
constexpr uint64_t kAvx = kXmm | kYmmHigh, kAvx512 = kAvx | kMasks | kZmmHigh | kZmm16;
constexpr long kTileData = 18;
[[maybe_unused]] constexpr uint64_t kTiles = 1ul << 17 | 1ul << kTileData;  // their shapes, and what they hold

// Whether the operating system saves these registers on a context switch.
bool saves(uint64_t registers) {
  if (!bit(cpuid(1, 0).c, 27)) return false;  // OSXSAVE: XGETBV may be used
  uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return ((static_cast<uint64_t>(high) << 32 | low) & registers) == registers;
}

}  // namespace

bool cpu_has_sse2() { return bit(cpuid(1, 0).d, 26); }

// AVX, FMA, F16C, AVX2 and the ymm registers.
bool cpu_has_avx2() {
  const uint32_t c = cpuid(1, 0).c;
  return saves(kAvx) && bit(c, 28) && bit(c, 12) && bit(c, 29) && bit(cpuid(7, 0).b, 5);
}

// AVX512F, BW, DQ, VL and the zmm and mask registers.
bool cpu_has_avx512() {
  const uint32_t b = cpuid(7, 0).b;
  return cpu_has_avx2() && saves(kAvx512) && bit(b, 16) && bit(b, 30) && bit(b, 17) && bit(b, 31);
}

bool cpu_has_avx512_vnni() { return cpu_has_avx512() && bit(cpuid(7, 0).c, 11); }

#ifndef SQZ_STAND_INS  // else a test has these

bool cpu_has_avxvnni() { return cpu_has_avx2() && cpuid(7, 0).a >= 1 && bit(cpuid(7, 1).a, 4); }

// AMX_TILE and AMX_INT8, and a palette 1 with eight tiles of 16 rows of 64 bytes: some virtual machines show the
// features without a palette.
bool cpu_has_amx_int8() {
  const uint32_t d = cpuid(7, 0).d;
  if (!cpu_has_avx512_vnni() || !saves(kTiles) || !bit(d, 24) || !bit(d, 25) || cpuid(0x1d, 0).a < 1) return false;
  const Cpuid palette = cpuid(0x1d, 1);
  return palette.b >> 16 >= 8 && (palette.b & 0xffff) >= 64 && (palette.c & 0xffff) >= 16;
}

// Linux gives permission to the whole process, and for good. It refuses if a thread has a signal stack that is too
// small for the tiles (sigaltstack); afterwards such a stack is refused.
bool permit_tiles() {
#ifdef __linux__
  constexpr long kRequest = 0x1023;  // ARCH_REQ_XCOMP_PERM, which older headers lack
  return syscall(SYS_arch_prctl, kRequest, kTileData) == 0;
#else
  return false;
#endif
}

#endif

#elif defined(__aarch64__)

bool cpu_has_neon() { return true; }  // a part of the architecture

#ifdef __linux__
// Linux's numbers; only recent headers have their names.
bool cpu_has_neon_dotprod() { return getauxval(AT_HWCAP) & 1ul << 20; }
bool cpu_has_neon_i8mm() { return cpu_has_neon_dotprod() && (getauxval(AT_HWCAP2) & 1ul << 13); }
#else
bool cpu_has_neon_dotprod() { return false; }
bool cpu_has_neon_i8mm() { return false; }
#endif

#elif defined(__arm__)

#ifdef __linux__
bool cpu_has_neon() { return getauxval(AT_HWCAP) & 1ul << 12; }
bool cpu_has_neon_vfpv4() { return cpu_has_neon() && (getauxval(AT_HWCAP) & 1ul << 16); }
#else
bool cpu_has_neon() { return false; }
bool cpu_has_neon_vfpv4() { return false; }
#endif

#elif defined(__wasm__)

// A host without SIMD refuses the module as a whole.
bool cpu_has_wasm_simd128() { return true; }

// Whether relaxed_madd and relaxed_nmadd round once, as a host may choose for itself: (1 + 2^-12)^2 is 1 + 2^-11 +
// 2^-24, of which a product that is rounded to a float loses the last part.
__attribute__((target("relaxed-simd"))) bool cpu_has_wasm_relaxed() {
  volatile float x = 1.0f + 0x1p-12f, y = 1.0f + 0x1p-11f;
  const v128_t a = wasm_f32x4_splat(x), b = wasm_f32x4_splat(y), lost = wasm_f32x4_splat(0x1p-24f);
  const v128_t more = wasm_f32x4_relaxed_madd(a, a, wasm_f32x4_neg(b)), less = wasm_f32x4_relaxed_nmadd(a, a, b);
  return wasm_i32x4_all_true(wasm_v128_and(wasm_f32x4_eq(more, lost), wasm_f32x4_eq(less, wasm_f32x4_neg(lost))));
}

#endif

}  // namespace sqz
