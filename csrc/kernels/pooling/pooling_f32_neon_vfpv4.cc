#include "kernels/pooling/pooling_f32.inl"
#include "simd/f32_neon.h"

namespace sqz {

extern const mean_pool_f32_fn mean_pool_f32_neon_vfpv4 = MeanPool<F32Neon>::run;

}  // namespace sqz
