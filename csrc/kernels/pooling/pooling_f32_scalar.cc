#include "kernels/pooling/pooling_f32.inl"
#include "simd/f32_scalar.h"

namespace sqz {

extern const mean_pool_f32_fn mean_pool_f32_scalar = MeanPool<F32Scalar>::run;

}  // namespace sqz
