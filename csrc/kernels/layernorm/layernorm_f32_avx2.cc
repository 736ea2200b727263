#include "kernels/layernorm/layernorm_f32.inl"
#include "simd/f32_avx2.h"

namespace sqz {

extern const layer_norm_f32_fn layer_norm_f32_avx2 = LayerNorm<F32Avx2>::run;

}  // namespace sqz
