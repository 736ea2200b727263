#include "kernels/pwconv/pwconv_float.inl"
#include "simd/f32_sse2.h"

namespace sqz {

extern const pwconv_f16_fn pwconv_f16_sse2 = ConvolveF16<F32Sse2>::run;

}  // namespace sqz
