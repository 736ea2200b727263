#include "kernels/attention/attention_f32.inl"
#include "simd/f32_avx512.h"

namespace sqz {

extern const attention_f32_fn attention_f32_avx512 = Attention<F32Avx512>::run;

}  // namespace sqz
