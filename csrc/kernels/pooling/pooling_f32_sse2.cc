#include "kernels/pooling/pooling_f32.inl"
#include "simd/f32_sse2.h"

namespace sqz {

extern const mean_pool_f32_fn mean_pool_f32_sse2 = MeanPool<F32Sse2>::run;

}  // namespace sqz
