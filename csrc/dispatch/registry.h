// The table of kernels and the choice among them.
#ifndef SQZ_DISPATCH_REGISTRY_H_
#define SQZ_DISPATCH_REGISTRY_H_

#include "cpu/features.h"
#include "kernels/activation/activation.h"
#include "kernels/attention/attention.h"
#include "kernels/embedding/embedding.h"
#include "kernels/l2norm/l2norm.h"
#include "kernels/layernorm/layernorm.h"
#include "kernels/pooling/pooling.h"
#include "kernels/pwconv/pwconv.h"
#include "kernels/pwconv/pwconv_s8.h"
#include "kernels/quantize/quantize.h"
#include "kernels/softmax/softmax.h"

namespace sqz {

// What runs under one ISA: its own kernels, and for the other ops the best that it implies.
struct Kernels {
  layer_norm_f32_fn layer_norm_f32;
  l2_normalize_f32_fn l2_normalize_f32;
  softmax_f32_fn softmax_f32;
  activation_f32_fn activation_f32;
  mean_pool_f32_fn mean_pool_f32;
  embedding_f32_fn embedding_f32;
  embedding_layer_norm_f32_fn embedding_layer_norm_f32;
  pwconv_f32_fn pwconv_f32;
  pwconv_f16_fn pwconv_f16;
  pwconv_s8_fn pwconv_s8;
  quantize_rows_s8_fn quantize_rows_s8;
  attention_f32_fn attention_f32;
};

enum class Op {
  layer_norm_f32,
  l2_normalize_f32,
  softmax_f32,
  activation_f32,
  mean_pool_f32,
  embedding_f32,
  embedding_layer_norm_f32,
  pwconv_f32,
  pwconv_f16,
  pwconv_s8,
  quantize_rows_s8,
  attention_f32
};

struct KernelRow {
  Op op;
  Isa isa;
  sqz_kernel_info info;
};

const char *isa_name(Isa isa);
bool isa_on_this_architecture(Isa isa);
bool isa_compiled(Isa isa);
inline bool isa_runnable(Isa isa) { return isa_compiled(isa) && cpu_has(isa); }

int kernel_count();
const KernelRow &kernel_row(int index);
// The row of the kernel that runs an op under an ISA.
const KernelRow &row_of(Op op, Isa isa);

// The ISA in force: forced, from SQUEEZEOPS_ISA, or the best; kIsaCount (and a message) if SQUEEZEOPS_ISA is invalid.
Isa chosen_isa();
// Null (and a message) if chosen_isa() is invalid. Notes `op` as the thread's last kernel.
const Kernels *kernels_for(Op op);
const char *last_kernel();
bool force_isa(const char *name);  // null: back to the default; false (and a message) if it cannot run

}  // namespace sqz

#endif  // SQZ_DISPATCH_REGISTRY_H_
