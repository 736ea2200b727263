#include "kernels/pwconv/pwconv_f32.inl"
#include "simd/f32_avx2.h"

namespace sqz {

extern const pwconv_f32_fn pwconv_f32_avx2 = Pwconv<F32Avx2>::run;

}  // namespace sqz
