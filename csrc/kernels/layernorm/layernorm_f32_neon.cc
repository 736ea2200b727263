#include "kernels/layernorm/layernorm_f32.inl"
#include "simd/f32_neon.h"

namespace sqz {

extern const layer_norm_f32_fn layer_norm_f32_neon = LayerNorm<F32Neon>::run;

}  // namespace sqz
