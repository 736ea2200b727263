#include "kernels/pwconv/pwconv_float.inl"
#include "simd/f32_avx512.h"

namespace sqz {

extern const pwconv_f16_fn pwconv_f16_avx512 = ConvolveF16<F32Avx512>::run;

}  // namespace sqz
