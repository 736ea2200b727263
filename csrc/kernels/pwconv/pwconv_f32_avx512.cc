#include "kernels/pwconv/pwconv_float.inl"
#include "simd/f32_avx512.h"

namespace sqz {

extern const pwconv_f32_fn pwconv_f32_avx512 = ConvolveF32<F32Avx512>::run;

}  // namespace sqz
