#include "kernels/l2norm/l2norm_f32.inl"
#include "simd/f32_sse2.h"

namespace sqz {

extern const l2_normalize_f32_fn l2_normalize_f32_sse2 = L2Normalize<F32Sse2>::run;

}  // namespace sqz
