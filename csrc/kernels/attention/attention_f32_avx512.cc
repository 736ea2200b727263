#include "kernels/attention/attention_f32.inl"
#include "simd/f32_avx512.h"

namespace sqz {

extern const attention_f32_fn attention_f32_avx512 = Attention<F32Avx512, 12, 12, 2, 6, 4>::run;

}  // namespace sqz
