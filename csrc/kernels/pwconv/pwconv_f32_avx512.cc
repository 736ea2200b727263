#include "kernels/pwconv/pwconv_f32.inl"
#include "simd/f32_avx512.h"

namespace sqz {

extern const pwconv_f32_fn pwconv_f32_avx512 = Pwconv<F32Avx512>::run;

}  // namespace sqz
