#include "kernels/pwconv/pwconv_float.inl"
#include "simd/f32_avx2.h"

namespace sqz {

extern const pwconv_f32_fn pwconv_f32_avx2 = ConvolveF32<F32Avx2>::run;

}  // namespace sqz
