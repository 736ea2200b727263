#include "kernels/pwconv/pwconv_float.inl"
#include "simd/f32_neon.h"

namespace sqz {

extern const pwconv_f16_fn pwconv_f16_neon = ConvolveF16<F32Neon>::run;

}  // namespace sqz
