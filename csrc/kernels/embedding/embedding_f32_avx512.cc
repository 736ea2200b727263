#include "kernels/embedding/embedding_f32.inl"
#include "simd/f32_avx512.h"

namespace sqz {

extern const embedding_f32_fn embedding_f32_avx512 = Embedding<F32Avx512>::gather;
extern const embedding_layer_norm_f32_fn embedding_layer_norm_f32_avx512 = Embedding<F32Avx512>::sum_layer_norm;

}  // namespace sqz
