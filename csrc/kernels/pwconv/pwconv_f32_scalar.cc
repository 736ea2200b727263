#include "kernels/pwconv/pwconv_f32.inl"
#include "simd/f32_scalar.h"

namespace sqz {

extern const pwconv_f32_fn pwconv_f32_scalar = Pwconv<F32Scalar>::run;

}  // namespace sqz
