#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "squeezeops: packed weights and kernels are for little-endian processors"
#endif

#include "cpu/features.h"

#include <stdint.h>

#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>
#elif defined(__linux__) && (defined(__aarch64__) || defined(__arm__))
#include <sys/auxv.h>
#endif

namespace sqz {

bool isa_implies(Isa isa, Isa other) {
  constexpr unsigned scalar = 1u << kScalar, sse2 = scalar | 1u << kSse2, avx2 = sse2 | 1u << kAvx2,
                     avx512 = avx2 | 1u << kAvx512, neon = scalar | 1u << kNeon, dotprod = neon | 1u << kNeonDotprod;
  constexpr unsigned kImplied[kIsaCount] = {scalar,
                                            sse2,
                                            avx2,
                                            avx2 | 1u << kAvxVnni,
                                            avx512,
                                            avx512 | 1u << kAvx512VlVnni,
                                            avx512 | 1u << kAvx512Vnni,
                                            neon,
                                            neon | 1u << kNeonVfpv4,
                                            dotprod,
                                            dotprod | 1u << kNeonI8mm};
  return isa != kIsaCount && kImplied[isa] >> other & 1;
}

#if defined(__x86_64__) || defined(__i386__)

namespace {

bool bit(uint32_t word, int n) { return (word >> n) & 1; }

// Register state that the operating system saves on a context switch.
uint64_t enabled_state() {
  uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return static_cast<uint64_t>(high) << 32 | low;
}

}  // namespace

bool cpu_has(Isa isa) {
  uint32_t a, b, c, d, c1, d1, most = 0, b7 = 0, c7 = 0, a71 = 0;
  if (!__get_cpuid(1, &a, &b, &c1, &d1)) return isa == kScalar;
  if (__get_cpuid_count(7, 0, &most, &b7, &c7, &d) && most >= 1) __get_cpuid_count(7, 1, &a71, &b, &c, &d);
  const uint64_t state = bit(c1, 27) ? enabled_state() : 0;
  const bool ymm = (state & 0x06) == 0x06, zmm = (state & 0xe6) == 0xe6;
  const bool avx2 = ymm && bit(c1, 28) && bit(c1, 12) && bit(c1, 29) && bit(b7, 5);             // AVX, FMA, F16C, AVX2
  const bool avx512 = avx2 && zmm && bit(b7, 16) && bit(b7, 30) && bit(b7, 17) && bit(b7, 31);  // F, BW, DQ, VL
  switch (isa) {
    case kScalar: return true;
    case kSse2: return bit(d1, 26);
    case kAvx2: return avx2;
    case kAvxVnni: return avx2 && bit(a71, 4);
    case kAvx512: return avx512;
    case kAvx512VlVnni:
    case kAvx512Vnni: return avx512 && bit(c7, 11);
    default: return false;
  }
}

#elif defined(__linux__) && defined(__aarch64__)

bool cpu_has(Isa isa) {
  // Linux's numbers, by name only in recent headers.
  constexpr unsigned long kHwcapAsimdDp = 1ul << 20, kHwcap2I8mm = 1ul << 13;
  const bool dotprod = getauxval(AT_HWCAP) & kHwcapAsimdDp;
  switch (isa) {
    case kScalar:
    case kNeon: return true;
    case kNeonDotprod: return dotprod;
    case kNeonI8mm: return dotprod && (getauxval(AT_HWCAP2) & kHwcap2I8mm);
    default: return false;
  }
}

#elif defined(__linux__) && defined(__arm__)

bool cpu_has(Isa isa) {
  constexpr unsigned long kHwcapNeon = 1ul << 12, kHwcapVfpv4 = 1ul << 16;
  const unsigned long capabilities = getauxval(AT_HWCAP);
  const bool neon = capabilities & kHwcapNeon;
  switch (isa) {
    case kScalar: return true;
    case kNeon: return neon;
    case kNeonVfpv4: return neon && (capabilities & kHwcapVfpv4);
    default: return false;
  }
}

#elif defined(__aarch64__)

bool cpu_has(Isa isa) { return isa == kScalar || isa == kNeon; }

#else

bool cpu_has(Isa isa) { return isa == kScalar; }

#endif

}  // namespace sqz
