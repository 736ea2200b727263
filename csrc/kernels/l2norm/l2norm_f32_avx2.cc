#include "kernels/l2norm/l2norm_f32.inl"
#include "simd/f32_avx2.h"

namespace sqz {

extern const l2_normalize_f32_fn l2_normalize_f32_avx2 = L2Normalize<F32Avx2>::run;

}  // namespace sqz
