#include "isa/registry.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <atomic>

#include "error.h"

namespace sqz {

#define SQZ_ISA(tag, architecture, implies, floats, bytes, test, permission) \
  extern const KernelSet kernels_##tag;                                      \
  bool cpu_has_##test();                                                     \
  bool permit_##permission();                                                \
  static_assert(isa_##implies <= isa_##tag, "isas.def: a row comes after the one that it implies");
#include "isa/isas.def"

namespace {

// What the build made of a row: CMakeLists.txt defines SQZ_BUILD_<tag> as one of these.
enum class Build {
  compiled,
  left_out,  // the compiler lacks it, or SQUEEZEOPS_WITHOUT_<tag> was set
  foreign    // of another architecture
};

// `value`, which exists only where the row was compiled, or else a null pointer.
#define SQZ_IF_COMPILED(tag, value) SQZ_IF_BUILD(SQZ_BUILD_##tag, value)
#define SQZ_IF_BUILD(build, value) SQZ_IF_BUILD_(build, value)
#define SQZ_IF_BUILD_(build, value) SQZ_IF_##build(value)
#define SQZ_IF_compiled(value) value
#define SQZ_IF_left_out(value) nullptr
#define SQZ_IF_foreign(value) nullptr

struct IsaRow {
  const char *name;
  Isa implies;
  Build build;
  bool (*cpu_has)();
  bool (*permit)();
  const KernelSet *kernels;
};
constexpr IsaRow kIsas[] = {
#define SQZ_ISA(tag, architecture, implies, floats, bytes, test, permission) \
  {#tag,                                                                     \
   isa_##implies,                                                            \
   Build::SQZ_BUILD_##tag,                                                   \
   SQZ_IF_COMPILED(tag, cpu_has_##test),                                     \
   SQZ_IF_COMPILED(tag, permit_##permission),                                \
   SQZ_IF_COMPILED(tag, &kernels_##tag)},
#include "isa/isas.def"
};

// Room for all names, separated by ", ".
constexpr size_t kNamesSize = 0
#define SQZ_ISA(tag, architecture, implies, floats, bytes, test, permission) +sizeof #tag + 1
#include "isa/isas.def"
    ;

// The kernel sets once more: as one list of rows, and per ISA with the kernels of the ISAs that it implies filled in.
struct Tables {
  int count = 0;
  KernelRow rows[kIsaCount * kOpCount] = {};
  const KernelRow *best[kIsaCount][kOpCount] = {};
  Kernels kernels[kIsaCount] = {};

  Tables() {
    for (int i = 0; i < kIsaCount; ++i) {
      const Isa isa = static_cast<Isa>(i);
      const KernelSet *own = kIsas[i].kernels;
      memcpy(best[i], best[kIsas[i].implies], sizeof best[i]);
      kernels[i] = kernels[kIsas[i].implies];
      if (!own) continue;
#define SQZ_OP(op, dtype, trait)                                                                      \
  if (const auto *kernel = own->op##_##dtype) {                                                       \
    add({Op::op##_##dtype, isa, {#op, #dtype, kIsas[i].name, kernel->tile.text, kernel->symbol, 0}}); \
    kernels[i].op##_##dtype = kernel->run;                                                            \
  }
#include "kernels/ops.def"
      if (const KernelRow *conv = best[i][static_cast<int>(Op::pwconv_s8)])  // the build may lack it
        kernels[i].activation_s8 = kernels[conv->isa].activation_f32;
    }
  }
  void add(const KernelRow &row) {
    rows[count] = row;
    best[row.isa][static_cast<int>(row.op)] = &rows[count++];
  }
};

constexpr const char *kOpNames[] = {
#define SQZ_OP(op, dtype, trait) #op "_" #dtype,
#include "kernels/ops.def"
};

// All that its constructor reads is constant, so the order of initialisation between files does not matter.
const Tables tables;

// What is known of each ISA. CPUID is slow, since a virtual machine traps it, and permission is asked for once.
enum class Known : char { nothing, fails, unasked, refused, runs };
std::atomic<Known> known[kIsaCount];

// Without asking for permission.
Known known_of(Isa isa) {
  if (!isa_compiled(isa)) return Known::fails;
  Known result = known[isa].load(std::memory_order_relaxed);
  if (result == Known::nothing) {
    result = kIsas[isa].cpu_has() ? Known::unasked : Known::fails;
    known[isa].store(result, std::memory_order_relaxed);
  }
  return result;
}

// Whether an ISA's kernels may run now.
bool permitted(Isa isa) {
  Known result = known_of(isa);
  if (result == Known::unasked) {
    result = kIsas[isa].permit() ? Known::runs : Known::refused;
    known[isa].store(result, std::memory_order_relaxed);
  }
  return result == Known::runs;
}

constexpr int kUndecided = -1;
std::atomic<int> chosen{kUndecided};
thread_local const char *last = "";

// "avx512, avx2, sse2, scalar"
void names_of(bool (*is)(Isa), char (&text)[kNamesSize]) {
  size_t used = 0;
  text[0] = '\0';
  for (int i = kIsaCount - 1; i >= 0; --i)
    if (is(static_cast<Isa>(i)))
      used += static_cast<size_t>(snprintf(text + used, kNamesSize - used, "%s%s", used ? ", " : "", kIsas[i].name));
}

// kIsaCount and a message if there is no such ISA or it cannot run.
Isa parse_isa(const char *argument, const char *name) {
  char runnable[kNamesSize];
  for (int i = 0; i < kIsaCount; ++i) {
    const Isa isa = static_cast<Isa>(i);
    if (strcmp(name, kIsas[i].name) != 0) continue;
    if (permitted(isa)) return isa;
    const char *reason = !isa_on_this_architecture(isa) ? "another architecture's"
                         : !isa_compiled(isa)           ? "left out of this build"
                         : isa_refused(isa)             ? "refused by the operating system"
                                                        : "not supported by this processor or operating system";
    names_of(isa_runnable, runnable);
    fail(SQZ_UNSUPPORTED, "%s: expected an ISA that runs here (%s), got '%s', which is %s", argument, runnable, name,
         reason);
    return kIsaCount;
  }
  names_of(isa_runnable, runnable);
  fail(SQZ_INVALID, "%s: expected an ISA that runs here (%s), got '%s'", argument, runnable, name);
  return kIsaCount;
}

void choose(Isa isa) { chosen.store(isa, std::memory_order_release); }

Isa default_isa() {
  const char *name = getenv("SQUEEZEOPS_ISA");
  if (name && name[0]) return parse_isa("SQUEEZEOPS_ISA", name);
  for (int i = kIsaCount - 1; i >= 0; --i)
    if (isa_runnable(static_cast<Isa>(i))) return static_cast<Isa>(i);
  char compiled[kNamesSize];
  names_of(isa_compiled, compiled);
  fail(SQZ_UNSUPPORTED, "isa: expected a processor for one of this build (%s), got another", compiled);
  return kIsaCount;
}

// The ISA that is forced, from SQUEEZEOPS_ISA, or the best. Permission for the best may not have been asked for.
Isa in_force() {
  int isa = chosen.load(std::memory_order_acquire);
  if (isa == kUndecided) {
    isa = default_isa();
    if (isa != kIsaCount) choose(static_cast<Isa>(isa));  // an error is reported at every call
  }
  return static_cast<Isa>(isa);
}

// Permission changes the process, so it is asked for as late as possible: when an ISA is forced, when somebody wants to
// know what is in use, or when a kernel that needs it is about to run. Only the default can be refused in the latter
// cases; the next ISA then takes its place.
Isa after_refusal(Isa isa) {
  int refused = isa;
  chosen.compare_exchange_strong(refused, kUndecided, std::memory_order_acq_rel);
  return in_force();
}

}  // namespace

const char *isa_name(Isa isa) { return kIsas[isa].name; }
Isa isa_implied(Isa isa) { return kIsas[isa].implies; }
bool isa_on_this_architecture(Isa isa) { return kIsas[isa].build != Build::foreign; }
bool isa_compiled(Isa isa) { return kIsas[isa].build == Build::compiled; }
bool isa_runnable(Isa isa) { return known_of(isa) == Known::unasked || known_of(isa) == Known::runs; }
bool isa_refused(Isa isa) { return known_of(isa) == Known::refused; }

int kernel_count() { return tables.count; }
const KernelRow &kernel_row(int index) { return tables.rows[index]; }
const KernelRow &row_of(Op op, Isa isa) { return *tables.best[isa][static_cast<int>(op)]; }
const KernelSet *kernel_set(Isa isa) { return kIsas[isa].kernels; }

Isa chosen_isa() {
  Isa isa = in_force();
  while (isa != kIsaCount && !permitted(isa)) isa = after_refusal(isa);
  return isa;
}

const Kernels *kernels_for(Op op) {
  Isa isa = in_force();
  if (isa != kIsaCount && !tables.best[isa][static_cast<int>(op)]) {
    fail(SQZ_UNSUPPORTED, "library: expected one built with %s, got one without", kOpNames[static_cast<int>(op)]);
    return nullptr;
  }
  while (isa != kIsaCount && !permitted(row_of(op, isa).isa)) isa = after_refusal(isa);
  if (isa == kIsaCount) return nullptr;
  last = row_of(op, isa).info.symbol;
  return &tables.kernels[isa];
}

const char *last_kernel() { return last; }

bool force_isa(const char *name) {
  if (!name) {
    chosen.store(kUndecided, std::memory_order_release);
    return true;
  }
  const Isa isa = parse_isa("isa", name);
  if (isa == kIsaCount) return false;
  choose(isa);
  return true;
}

}  // namespace sqz
