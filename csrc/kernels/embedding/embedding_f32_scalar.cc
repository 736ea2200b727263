#include "kernels/embedding/embedding_f32.inl"
#include "simd/f32_scalar.h"

namespace sqz {

extern const embedding_f32_fn embedding_f32_scalar = Embedding<F32Scalar>::gather;
extern const embedding_layer_norm_f32_fn embedding_layer_norm_f32_scalar = Embedding<F32Scalar>::sum_layer_norm;

}  // namespace sqz
