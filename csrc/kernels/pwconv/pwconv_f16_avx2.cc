#include "kernels/pwconv/pwconv_float.inl"
#include "simd/f32_avx2.h"

namespace sqz {

extern const pwconv_f16_fn pwconv_f16_avx2 = ConvolveF16<F32Avx2>::run;

}  // namespace sqz
