#include "kernels/layernorm/layernorm_f32.inl"
#include "simd/f32_sse2.h"

namespace sqz {

extern const layer_norm_f32_fn layer_norm_f32_sse2 = LayerNorm<F32Sse2>::run;

}  // namespace sqz
