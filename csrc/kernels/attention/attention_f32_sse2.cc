#include "kernels/attention/attention_f32.inl"
#include "simd/f32_sse2.h"

namespace sqz {

extern const attention_f32_fn attention_f32_sse2 = Attention<F32Sse2, 8, 2, 1, 2, 1>::run;

}  // namespace sqz
