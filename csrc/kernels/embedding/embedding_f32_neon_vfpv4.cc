#include "kernels/embedding/embedding_f32.inl"
#include "simd/f32_neon.h"

namespace sqz {

extern const embedding_f32_fn embedding_f32_neon_vfpv4 = Embedding<F32Neon>::gather;
extern const embedding_layer_norm_f32_fn embedding_layer_norm_f32_neon_vfpv4 = Embedding<F32Neon>::sum_layer_norm;

}  // namespace sqz
