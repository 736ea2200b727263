#include "kernels/layernorm/layernorm_f32.inl"
#include "simd/f32_scalar.h"

namespace sqz {

extern const layer_norm_f32_fn layer_norm_f32_scalar = LayerNorm<F32Scalar>::run;

}  // namespace sqz
