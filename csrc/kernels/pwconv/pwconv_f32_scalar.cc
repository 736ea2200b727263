#include "kernels/pwconv/pwconv_float.inl"
#include "simd/f32_scalar.h"

namespace sqz {

extern const pwconv_f32_fn pwconv_f32_scalar = ConvolveF32<F32Scalar>::run;

}  // namespace sqz
