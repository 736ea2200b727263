#include "dispatch/registry.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <atomic>

#include "error.h"

namespace sqz {

#define SQZ_KERNEL(op, dtype, isa, tile) extern const op##_##dtype##_fn op##_##dtype##_##isa;
#include "dispatch/registry.def"

namespace {

constexpr Isa isa_scalar = kScalar;
#ifdef SQZ_HAVE_SSE2
constexpr Isa isa_sse2 = kSse2;
#endif
#ifdef SQZ_HAVE_AVX2
constexpr Isa isa_avx2 = kAvx2;
#endif
#ifdef SQZ_HAVE_AVX512
constexpr Isa isa_avx512 = kAvx512;
#endif
#ifdef SQZ_HAVE_AVXVNNI
constexpr Isa isa_avxvnni = kAvxVnni;
#endif
#ifdef SQZ_HAVE_AVX512VL_VNNI
constexpr Isa isa_avx512vl_vnni = kAvx512VlVnni;
#endif
#ifdef SQZ_HAVE_AVX512VNNI
constexpr Isa isa_avx512vnni = kAvx512Vnni;
#endif
#ifdef SQZ_HAVE_NEON
[[maybe_unused]] constexpr Isa isa_neon = kNeon;
#endif
#ifdef SQZ_HAVE_NEON_VFPV4
[[maybe_unused]] constexpr Isa isa_neon_vfpv4 = kNeonVfpv4;
#endif
#ifdef SQZ_HAVE_NEON_DOTPROD
[[maybe_unused]] constexpr Isa isa_neon_dotprod = kNeonDotprod;
#endif
#ifdef SQZ_HAVE_NEON_I8MM
[[maybe_unused]] constexpr Isa isa_neon_i8mm = kNeonI8mm;
#endif

const KernelRow kRows[] = {
#define SQZ_KERNEL(op, dtype, isa, tile) \
  {Op::op##_##dtype, isa_##isa, {#op, #dtype, #isa, tile, #op "_" #dtype "_" #isa, 0}},
#include "dispatch/registry.def"
};
constexpr int kRowCount = sizeof kRows / sizeof kRows[0];

const char *const kNames[kIsaCount] = {"scalar",     "sse2", "avx2",       "avxvnni",      "avx512",   "avx512vl_vnni",
                                       "avx512vnni", "neon", "neon_vfpv4", "neon_dotprod", "neon_i8mm"};

Kernels fill_table(Isa isa) {
  Kernels k = {};
// Better ones come later and take the place of plainer ones.
#define SQZ_KERNEL(op, dtype, tag, tile) \
  if (isa_implies(isa, isa_##tag)) k.op##_##dtype = op##_##dtype##_##tag;
#include "dispatch/registry.def"
  return k;
}

// The pointers that this reads are constants, so the order of initialisation between files does not matter.
const Kernels kTables[kIsaCount] = {fill_table(kScalar),      fill_table(kSse2),    fill_table(kAvx2),
                                    fill_table(kAvxVnni),     fill_table(kAvx512),  fill_table(kAvx512VlVnni),
                                    fill_table(kAvx512Vnni),  fill_table(kNeon),    fill_table(kNeonVfpv4),
                                    fill_table(kNeonDotprod), fill_table(kNeonI8mm)};

constexpr int kUndecided = -1;
std::atomic<int> chosen{kUndecided};
thread_local const char *last = "";

// "avx512, avx2, sse2, scalar" into a buffer.
void runnable_names(char *text, size_t size) {
  size_t used = 0;
  text[0] = '\0';
  for (int i = kIsaCount - 1; i >= 0; --i)
    if (isa_runnable(static_cast<Isa>(i)) && used < size)
      used += static_cast<size_t>(snprintf(text + used, size - used, "%s%s", used ? ", " : "", kNames[i]));
}

// kIsaCount and a message if there is no such ISA or it cannot run.
Isa parse_isa(const char *argument, const char *name) {
  char runnable[96];
  runnable_names(runnable, sizeof runnable);
  for (int i = 0; i < kIsaCount; ++i) {
    const Isa isa = static_cast<Isa>(i);
    if (strcmp(name, kNames[i]) != 0) continue;
    if (isa_runnable(isa)) return isa;
    const char *reason = !isa_on_this_architecture(isa) ? "another architecture's"
                         : !isa_compiled(isa)           ? "left out, because the compiler lacked it"
                                                        : "not supported by this processor or operating system";
    fail(SQZ_UNSUPPORTED, "%s: expected an ISA that runs here (%s), got '%s', which is %s", argument, runnable, name,
         reason);
    return kIsaCount;
  }
  fail(SQZ_INVALID, "%s: expected an ISA that runs here (%s), got '%s'", argument, runnable, name);
  return kIsaCount;
}

Isa default_isa() {
  const char *name = getenv("SQUEEZEOPS_ISA");
  if (name && name[0]) return parse_isa("SQUEEZEOPS_ISA", name);
  for (int i = kIsaCount - 1; i > 0; --i)
    if (isa_runnable(static_cast<Isa>(i))) return static_cast<Isa>(i);
  return kScalar;
}

}  // namespace

const char *isa_name(Isa isa) { return kNames[isa]; }

bool isa_on_this_architecture(Isa isa) {
#if defined(__x86_64__) || defined(__i386__)
  return isa < kNeon;
#elif defined(__aarch64__)
  return isa == kScalar || isa == kNeon || isa == kNeonDotprod || isa == kNeonI8mm;
#elif defined(__arm__)
  return isa == kScalar || isa == kNeon || isa == kNeonVfpv4;
#else
  return isa == kScalar;
#endif
}

bool isa_compiled(Isa isa) {
  for (const KernelRow &row : kRows)
    if (row.isa == isa) return true;
  return false;
}

int kernel_count() { return kRowCount; }
const KernelRow &kernel_row(int index) { return kRows[index]; }

const KernelRow &row_of(Op op, Isa isa) {
  const KernelRow *best = nullptr;  // there is a scalar one, which every ISA implies
  for (const KernelRow &row : kRows)
    if (row.op == op && isa_implies(isa, row.isa)) best = &row;
  return *best;
}

Isa chosen_isa() {
  int isa = chosen.load(std::memory_order_acquire);
  if (isa == kUndecided) {
    isa = default_isa();
    if (isa != kIsaCount) chosen.store(isa, std::memory_order_release);  // an error is reported at every call
  }
  return static_cast<Isa>(isa);
}

const Kernels *kernels_for(Op op) {
  const Isa isa = chosen_isa();
  if (isa == kIsaCount) return nullptr;
  last = row_of(op, isa).info.symbol;
  return &kTables[isa];
}

const char *last_kernel() { return last; }

bool force_isa(const char *name) {
  if (!name) {
    chosen.store(kUndecided, std::memory_order_release);
    return true;
  }
  const Isa isa = parse_isa("isa", name);
  if (isa == kIsaCount) return false;
  chosen.store(isa, std::memory_order_release);
  return true;
}

}  // namespace sqz
