#include "kernels/attention/attention_f32.inl"
#include "simd/f32_avx2.h"

namespace sqz {

extern const attention_f32_fn attention_f32_avx2 = Attention<F32Avx2, 12, 6, 1, 6, 1>::run;

}  // namespace sqz
