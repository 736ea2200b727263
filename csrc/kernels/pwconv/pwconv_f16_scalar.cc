#include "kernels/pwconv/pwconv_float.inl"
#include "simd/f32_scalar.h"

namespace sqz {

extern const pwconv_f16_fn pwconv_f16_scalar = ConvolveF16<F32Scalar>::run;

}  // namespace sqz
