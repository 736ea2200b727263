#include "kernels/embedding/embedding_f32.inl"
#include "simd/f32_sse2.h"

namespace sqz {

extern const embedding_f32_fn embedding_f32_sse2 = Embedding<F32Sse2>::gather;
extern const embedding_layer_norm_f32_fn embedding_layer_norm_f32_sse2 = Embedding<F32Sse2>::sum_layer_norm;

}  // namespace sqz
