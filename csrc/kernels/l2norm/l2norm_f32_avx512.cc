#include "kernels/l2norm/l2norm_f32.inl"
#include "simd/f32_avx512.h"

namespace sqz {

extern const l2_normalize_f32_fn l2_normalize_f32_avx512 = L2Normalize<F32Avx512>::run;

}  // namespace sqz
