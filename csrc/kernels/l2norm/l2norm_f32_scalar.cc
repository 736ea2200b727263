#include "kernels/l2norm/l2norm_f32.inl"
#include "simd/f32_scalar.h"

namespace sqz {

extern const l2_normalize_f32_fn l2_normalize_f32_scalar = L2Normalize<F32Scalar>::run;

}  // namespace sqz
