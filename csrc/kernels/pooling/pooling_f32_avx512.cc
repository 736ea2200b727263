#include "kernels/pooling/pooling_f32.inl"
#include "simd/f32_avx512.h"

namespace sqz {

extern const mean_pool_f32_fn mean_pool_f32_avx512 = MeanPool<F32Avx512>::run;

}  // namespace sqz
