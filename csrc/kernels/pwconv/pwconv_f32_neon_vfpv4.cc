#include "kernels/pwconv/pwconv_float.inl"
#include "simd/f32_neon.h"

namespace sqz {

extern const pwconv_f32_fn pwconv_f32_neon_vfpv4 = ConvolveF32<F32Neon>::run;

}  // namespace sqz
