#include "kernels/layernorm/layernorm_f32.inl"
#include "simd/f32_avx512.h"

namespace sqz {

extern const layer_norm_f32_fn layer_norm_f32_avx512 = LayerNorm<F32Avx512>::run;

}  // namespace sqz
