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

constexpr Op op_layer_norm = kLayerNorm, op_l2_normalize = kL2Normalize, op_softmax = kSoftmax,
             op_activation = kActivation, op_mean_pool = kMeanPool, op_embedding = kEmbedding,
             op_embedding_layer_norm = kEmbeddingLayerNorm, op_pwconv = kPwconv, op_attention = kAttention;

const KernelRow kRows[] = {
#define SQZ_KERNEL(op, dtype, isa, tile) {op_##op, isa_##isa, {#op, #dtype, #isa, tile, #op "_" #dtype "_" #isa}},
#include "dispatch/registry.def"
};
constexpr int kRowCount = sizeof kRows / sizeof kRows[0];

const char *const kNames[kIsaCount] = {"scalar", "sse2", "avx2", "avx512", "neon"};

Kernels fill_table(Isa isa) {
  Kernels k = {};
#define SQZ_KERNEL(op, dtype, tag, tile) \
  if (isa == isa_##tag) k.op = op##_##dtype##_##tag;
#include "dispatch/registry.def"
  return k;
}

// The pointers that this reads are constants, so the order of initialisation between files does not matter.
const Kernels kTables[kIsaCount] = {fill_table(kScalar), fill_table(kSse2), fill_table(kAvx2), fill_table(kAvx512),
                                    fill_table(kNeon)};

const char *symbol_of(Op op, Isa isa) {
  for (const KernelRow &row : kRows)
    if (row.op == op && row.isa == isa) return row.info.symbol;
  return "";
}

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
  char runnable[64];
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
  return isa != kNeon;
#elif defined(__aarch64__) || defined(__arm__)
  return isa == kScalar || isa == kNeon;
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
  last = symbol_of(op, isa);
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
