#include "kernels/l2norm/l2norm_f32.inl"
#include "simd/f32_neon.h"

namespace sqz {

extern const l2_normalize_f32_fn l2_normalize_f32_neon = L2Normalize<F32Neon>::run;

}  // namespace sqz
