#include "kernels/pwconv/pwconv_s8.inl"
#include "simd/s8_scalar.h"

namespace sqz {

extern const pwconv_s8_fn pwconv_s8_scalar = ConvolveS8<S8Scalar>::run;

}  // namespace sqz
