#include "kernels/pwconv/pwconv_float.inl"
#include "simd/f32_sse2.h"

namespace sqz {

extern const pwconv_f32_fn pwconv_f32_sse2 = ConvolveF32<F32Sse2>::run;

}  // namespace sqz
